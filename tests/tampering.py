"""One small change to a file of a store or a report, of every kind that a file has room for."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

Leaf = tuple[Any, ...]


@contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    """Let *path* hold *content* for a while."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def leaves(value: Any, place: Leaf = ()) -> Iterator[tuple[Leaf, Any]]:
    """Yield every value that is no container, with its place."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from leaves(inside, (*place, key))
    elif isinstance(value, list):
        for number, inside in enumerate(value):
            yield from leaves(inside, (*place, number))
    else:
        yield place, value


def kind_of(place: Leaf, rows: list[Any] | dict[str, Any]) -> tuple[str, ...]:
    """Return the class of a leaf: its keys, any row of a list standing for all; what metrics and stages are, apart."""
    kind, value = [], rows
    for key in place:
        value = value[key]
        if isinstance(key, int):
            names = ("metric", "stage", "status") if isinstance(value, dict) else ()
            kind.append("/".join(str(value[name]) for name in names if name in value) or "*")
        else:
            kind.append(str(key))
    return tuple(kind)


def another(value: Any) -> Any:
    """Return a value of the same type that is not *value*."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return round(value + 0.03125, 6)
    return 0.5 if value is None else f"{value[:-1]}{'B' if value[-1:] != 'B' else 'C'}"


def with_change(content: Any, place: Leaf) -> Any:
    """Return a copy of *content* with another value at *place*."""
    copy = json.loads(json.dumps(content))
    inside = copy
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = another(inside[place[-1]])
    return copy


def changes_of_json(path: Path, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Yield, for every class of value in a JSON file, the file with one such value changed, and what was changed."""
    is_lines = path.suffix == ".jsonl"
    text = path.read_text(encoding="utf-8")
    content = [json.loads(line) for line in text.splitlines()] if is_lines else json.loads(text)
    kinds: dict[tuple[str, ...], list[Leaf]] = {}
    for place, _ in leaves(content):
        kinds.setdefault(kind_of(place, content), []).append(place)
    for kind, places in kinds.items():
        changed_content = with_change(content, places[int(rng.integers(len(places)))])
        lines = changed_content if is_lines else [changed_content]
        yield (
            f"{path.name} {' '.join(kind)}",
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines).encode(),
        )


def change_of_rows(path: Path, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return a JSON file with a row gone, or with a value of two rows exchanged, and what was changed."""
    is_lines = path.suffix == ".jsonl"
    text = path.read_text(encoding="utf-8")
    content = [json.loads(line) for line in text.splitlines()] if is_lines else json.loads(text)
    rows = content if isinstance(content, list) else content["samples"] or content["scores"]
    first, second = (int(place) for place in rng.choice(len(rows), 2, replace=False))
    names = [name for name in rows[first] if rows[first][name] != rows[second].get(name)]
    if rng.random() < 0.5 or not names:
        what = f"row {first} gone"
        rows.pop(first)
    else:
        name = names[int(rng.integers(len(names)))]
        what = f"{name} of rows {first} and {second}"
        rows[first][name], rows[second][name] = rows[second].get(name), rows[first][name]
    lines = content if is_lines else [content]
    return what, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines).encode()


def change_of_side_file(path: Path, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return a file of samples beside the page with one value changed within its packed data, and its place."""
    text = path.read_text(encoding="utf-8")
    packed = re.search(r'"([A-Za-z0-9+/=]{40,})"', text)
    assert packed
    content = json.loads(zlib.decompress(base64.b64decode(packed[1]), 31))
    places = [place for place, _ in leaves(content)]
    place = places[int(rng.integers(len(places)))]
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    data = packer.compress(json.dumps(with_change(content, place), ensure_ascii=False).encode())
    changed_text = text.replace(packed[1], base64.b64encode(data + packer.flush()).decode())
    return str(place), changed_text.encode()


def change_of_page(path: Path, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return a page with a line gone, a letter or a measure of a drawing changed, and what was changed."""
    text = path.read_text(encoding="utf-8")
    kinds = (r"\n[^\n]*\S[^\n]*(?=\n)", r"(?<=>)[^<>\s]", r'(?<=[xy]=")\d')
    matches = list(re.finditer(kinds[int(rng.integers(len(kinds)))], text[text.index("</style>") :]))
    match = matches[int(rng.integers(len(matches)))]
    begin = match.start() + text.index("</style>")
    new = "" if match[0].startswith("\n") else "7" if match[0] != "7" else "3"
    return text[begin - 40 : begin + 40], (text[:begin] + new + text[begin + len(match[0]) :]).encode()
