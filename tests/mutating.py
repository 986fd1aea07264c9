"""One random change to any file that a report stands on: of a value, a row, a letter, or of the file."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.tampering import another, change_of_side_file, kind_of, leaves

ODD = (None, True, 0, -1, 1e9, "", "x", [], {})
"""Values of other types that an edit may leave."""


@dataclass(frozen=True)
class Edit:
    """A change to one file.

    Attributes:
        content: of the file afterwards; None: it is gone.
        kind: what was changed, without the place in a table or a list.
    """

    path: Path
    content: bytes | None
    kind: str


@contextlib.contextmanager
def edited(edit: Edit) -> Iterator[None]:
    """Let the change be there for a while."""
    before = edit.path.read_bytes()
    if edit.content is None:
        edit.path.unlink()
    else:
        edit.path.write_bytes(edit.content)
    try:
        yield
    finally:
        edit.path.write_bytes(before)


def class_of(path: Path, base: Path) -> str:
    """Return the place of a file without what names a row, a run or a digest."""
    name = re.sub(r"[0-9a-f]{10,}|\d{8}-\d{6}-[0-9a-f]{4}", "#", path.relative_to(base).as_posix())
    name = re.sub(r"(models)/[^/]+/", r"\1/*/", name)
    return re.sub(
        r"-\d+-\d+\.js$|/(?:base|tuned)/[^/]+/|-(?:base|tuned)-#|(?<=evaluate)-[^/]*|[^/]*(?=\.jsonl$)",
        "*",
        name,
    )


def random_edit(rng: np.random.Generator, paths: Sequence[Path], base: Path) -> Edit:
    """Return a change that leaves another content, each class of file being as likely as any other."""
    classes: dict[str, list[Path]] = {}
    for path in paths:
        classes.setdefault(class_of(path, base), []).append(path)
    names = sorted(classes)
    while True:
        name = names[int(rng.integers(len(names)))]
        path = sorted(classes[name])[int(rng.integers(len(classes[name])))]
        what, content = _changes_of(path)[int(rng.integers(len(_changes_of(path))))](path, rng)
        if what and content != path.read_bytes() and not _is_same_data(path, content):
            return Edit(path, content, f"{name}: {what}")


Change = Callable[[Path, np.random.Generator], tuple[str, bytes | None]]


def _changes_of(path: Path) -> list[Change]:
    whole: list[Change] = [_gone]
    if path.suffix == ".json":
        return [_leaf] * 8 + [_row, _key] + whole
    if path.suffix == ".jsonl":
        return [_leaf] * 8 + [_row] * 3 + [_key] + whole
    if path.suffix in (".yaml", ".yml"):
        return [_yaml_leaf] * 6 + whole
    if path.suffix == ".csv":
        return [_cell] * 6 + [_csv_row] * 3 + whole
    if path.suffix == ".parquet":
        return [_parquet] * 8 + whole
    if path.suffix == ".js":
        return [change_of_side_file] * 6 + whole  # type: ignore[list-item]
    if path.suffix == ".html":
        return [_page] * 12 + whole
    if path.suffix == ".sqlite":
        return [_database]
    return [_letter] * 6 + whole


def _is_same_data(path: Path, content: bytes | None) -> bool:
    """Return whether a file says the same as before."""
    if content is None:
        return False
    if path.suffix == ".json":
        return bool(json.loads(content) == json.loads(path.read_bytes()))
    if path.suffix == ".parquet":
        import pandas as pd

        before, after = (pd.read_parquet(source) for source in (path, io.BytesIO(content)))
        return bool(before.equals(after)) or _text_of(before) == _text_of(after)
    if path.suffix == ".sqlite":  # an edit that a constraint refused
        with contextlib.closing(sqlite3.connect(":memory:")) as db:
            db.deserialize(content[:18] + b"\x01\x01" + content[20:])  # no log beside it
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source:
                return _rows_of(db) == _rows_of(source)
    if path.suffix == ".jsonl" and path.parent.parent.name in ("predictions", "reviews"):
        # they stand in the order in which replies came, which says nothing
        return sorted(content.splitlines()) == sorted(_written(_content(path)[0], is_lines=True).splitlines())
    if path.suffix == ".csv":
        return list(csv.reader(io.StringIO(content.decode()))) == _csv_lines(path)
    return False


def _text_of(table: Any) -> str:
    """Return a table as JSON, in which a value that is not there is null, whatever stands for it."""
    return str(table.to_json(orient="split", double_precision=15))


def _rows_of(db: sqlite3.Connection) -> dict[str, list[Any]]:
    """Return the rows of every table."""
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
    return {name: db.execute(f'SELECT * FROM "{name}"').fetchall() for name in sorted(names)}


def _gone(path: Path, rng: np.random.Generator) -> tuple[str, bytes | None]:
    others = [other for other in path.parent.parent.rglob(path.name) if other != path]
    if others and rng.random() < 0.5:
        return "file of another place", others[int(rng.integers(len(others)))].read_bytes()
    return "file gone", None


def _content(path: Path) -> tuple[Any, bool]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()], True
    return json.loads(text), False


def _written(content: Any, is_lines: bool) -> bytes:
    if is_lines:
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content).encode()
    return json.dumps(content, ensure_ascii=False, indent=2).encode()


def _by_kind(rng: np.random.Generator, content: Any) -> tuple[Any, ...] | None:
    """Return the place of a value, each kind of place being as likely as any other."""
    kinds: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    for place, _ in leaves(content):
        kinds.setdefault(kind_of(place, content), []).append(place)
    if not kinds:
        return None
    kind = sorted(kinds)[int(rng.integers(len(kinds)))]
    return kinds[kind][int(rng.integers(len(kinds[kind])))]


def _changed_value(rng: np.random.Generator, value: Any) -> Any:
    if rng.random() < 0.15:
        return ODD[int(rng.integers(len(ODD)))]
    if isinstance(value, str) and value and rng.random() < 0.6:
        at = int(rng.integers(len(value)))
        old = value[at]
        new = (
            str((int(old) + 1 + int(rng.integers(9))) % 10)
            if old in "0123456789"
            else "Q"
            if old != "Q"
            else "W"
        )
        return value[:at] + new + value[at + 1 :]
    return another(value)


def _inside(content: Any, place: Sequence[Any]) -> Any:
    for key in place:
        content = content[key]
    return content


def _leaf(path: Path, rng: np.random.Generator) -> tuple[str, bytes | None]:
    content, is_lines = _content(path)
    place = _by_kind(rng, content)
    if not place:
        return "", None
    kind = " ".join(kind_of(place, content))
    holder = _inside(content, place[:-1])
    holder[place[-1]] = _changed_value(rng, holder[place[-1]])
    return kind, _written(content, is_lines)


def _key(path: Path, rng: np.random.Generator) -> tuple[str, bytes | None]:
    """A key gone, or one more."""
    content, is_lines = _content(path)
    place = _by_kind(rng, content)
    while place and isinstance(place[-1], int):
        place = place[:-1]
    if not place:
        return "", None
    kind = " ".join(kind_of(place, content))
    holder = _inside(content, place[:-1])
    if rng.random() < 0.8:
        del holder[place[-1]]
        return f"{kind} gone", _written(content, is_lines)
    holder[f"{place[-1]}_more"] = holder[place[-1]]
    return f"{kind} more", _written(content, is_lines)


def _row(path: Path, rng: np.random.Generator) -> tuple[str, bytes | None]:
    """A row of a list gone, twice there, exchanged with another, or a value of both exchanged."""
    content, is_lines = _content(path)
    lists = [(("",), content)] if isinstance(content, list) and content else []
    lists += [(place, rows) for place, rows in _lists(content)]
    if not lists:
        return "", None
    place, rows = lists[int(rng.integers(len(lists)))]
    kind = " ".join(str(key) if not isinstance(key, int) else "*" for key in place)
    return f"{kind} {_of_rows(rows, rng)}", _written(content, is_lines)


def _lists(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], list[Any]]]:
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in items:
        if isinstance(value, list) and value:
            yield (*place, key), value
        if isinstance(value, dict | list):
            yield from _lists(value, (*place, key))


def _of_rows(rows: list[Any], rng: np.random.Generator) -> str:
    first = int(rng.integers(len(rows)))
    second = int(rng.integers(len(rows)))
    how = int(rng.integers(4))
    if how == 0 or len(rows) < 2:
        rows.pop(first)
        return "row gone"
    if how == 1:
        rows.insert(second, json.loads(json.dumps(rows[first])))
        return "row twice"
    if how == 2:
        rows[first], rows[second] = rows[second], rows[first]
        return "rows exchanged"
    one, other = rows[first], rows[second]
    if not isinstance(one, dict) or not isinstance(other, dict):
        rows[first] = other
        return "row of another"
    names = sorted(name for name in one.keys() & other.keys() if one[name] != other[name])
    if names:
        name = names[int(rng.integers(len(names)))]
        one[name], other[name] = other[name], one[name]
        return f"{name} of two rows"
    return "nothing"


def _yaml_leaf(path: Path, rng: np.random.Generator) -> tuple[str, bytes | None]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    place = _by_kind(rng, content)
    if not place:
        return "", None
    holder = _inside(content, place[:-1])
    holder[place[-1]] = another(holder[place[-1]])
    return " ".join(map(str, place)), yaml.safe_dump(content, allow_unicode=True, sort_keys=False).encode()


def _csv_lines(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _csv_written(lines: list[list[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(lines)
    return buffer.getvalue().encode()


def _cell(path: Path, rng: np.random.Generator) -> tuple[str, bytes | None]:
    lines = _csv_lines(path)
    if len(lines) < 2:
        return "", None
    row, column = 1 + int(rng.integers(len(lines) - 1)), int(rng.integers(len(lines[0])))
    cell = lines[row][column]
    try:
        lines[row][column] = repr(float(cell) + 0.01)
    except ValueError:
        lines[row][column] = str(_changed_value(rng, cell) if cell else "x")
    return f"column {lines[0][column]}", _csv_written(lines)


def _csv_row(path: Path, rng: np.random.Generator) -> tuple[str, bytes | None]:
    lines = _csv_lines(path)
    if len(lines) < 2:
        return "", None
    rows = lines[1:]
    what = _of_rows(rows, rng)
    return what, _csv_written([lines[0], *rows])


def _parquet(path: Path, rng: np.random.Generator) -> tuple[str, bytes | None]:
    import pandas as pd

    table = pd.read_parquet(path)
    if rng.random() < 0.2:
        rows = list(range(len(table)))
        what = _of_rows(rows, rng)
        table = table.iloc[rows]
    else:
        column = str(table.columns[int(rng.integers(len(table.columns)))])
        row = int(rng.integers(len(table)))
        value = table[column].iloc[row]
        value = value.item() if isinstance(value, np.generic) else value
        new = another(None if value is None or value != value else value)
        what = f"column {column}"
        values = table[column].astype(object).tolist()
        values[row] = new
        with contextlib.suppress(Exception):
            table[column] = pd.Series(values, index=table.index).astype(table[column].dtype)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return what, buffer.getvalue()


def _page(path: Path, rng: np.random.Generator) -> tuple[str, bytes | None]:
    """A figure or a letter of what a reader sees, of an attribute, or a line gone, twice there, or exchanged."""
    text = path.read_text(encoding="utf-8")
    start = text.index("</style>")
    kinds = {
        "figure": r"(?<=[>\s(\[])\d",
        "letter": r"(?<=>)[^<>\s]",
        "attribute": r'(?<==")[^"<>]',
        "line gone": r"\n[^\n]*\S[^\n]*(?=\n)",
        "line twice": r"\n[^\n]*\S[^\n]*(?=\n)",
    }
    kind = sorted(kinds)[int(rng.integers(len(kinds)))]
    matches = list(re.finditer(kinds[kind], text[start:]))
    match = matches[int(rng.integers(len(matches)))]
    begin, end = match.start() + start, match.end() + start
    new = {"line gone": "", "line twice": match[0] * 2}.get(kind, "7" if match[0] != "7" else "3")
    where = re.sub(r"\s+", " ", text[max(0, begin - 50) : end + 20])
    return f"{kind} …{where}…", (text[:begin] + new + text[end:]).encode()


def _letter(path: Path, rng: np.random.Generator) -> tuple[str, bytes | None]:
    content = path.read_bytes()
    if not content:
        return "", None
    at = int(rng.integers(len(content)))
    while content[at] >= 0x80 or content[at] < 0x20:
        at = int(rng.integers(len(content)))
    return "letter", content[:at] + (b"7" if content[at : at + 1] != b"7" else b"3") + content[at + 1 :]


def _database(path: Path, rng: np.random.Generator) -> tuple[str, bytes | None]:
    """A value in a row of a table, a row gone, or one twice there."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source:
            source.backup(db)
        for kind, name in db.execute(
            "SELECT type, name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            db.execute(f'DROP {kind} "{name}"')
        tables = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        ]
        filled = [name for name in tables if db.execute(f'SELECT COUNT(*) FROM "{name}"').fetchone()[0]]
        table = filled[int(rng.integers(len(filled)))]
        (rowid,) = db.execute(f'SELECT rowid FROM "{table}" ORDER BY random() LIMIT 1').fetchone()
        if rng.random() < 0.2:
            db.execute(f'DELETE FROM "{table}" WHERE rowid = ?', (rowid,))
            what = "row gone"
        else:
            columns = [row[1] for row in db.execute(f'PRAGMA table_info("{table}")').fetchall()]
            column = columns[int(rng.integers(len(columns)))]
            (value,) = db.execute(f'SELECT "{column}" FROM "{table}" WHERE rowid = ?', (rowid,)).fetchone()
            what = f"column {column}"
            with contextlib.suppress(sqlite3.Error):
                db.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', (another(value), rowid))
        db.commit()
        db.execute("PRAGMA journal_mode=DELETE")
        return f"table {table} {what}", db.serialize()
