"""Reads the rows of a training set as ms-swift's loader does."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bakeoff.foundation.errors import Complaint, DataError
from bakeoff.foundation.files import repeated_name, unpacked_text
from bakeoff.foundation.sentences import of_error
from bakeoff.foundation.texts import has_half_character
from bakeoff.matrix.datasets import dataset_files
from bakeoff.training_data import reasons

Row = Mapping[str, object]
_READ = (".jsonl", ".json", ".csv", ".txt", ".parquet", ".arrow")
_OTHER_SPLIT = re.compile(r"(^|[^a-z])(test|dev|valid|validation|val|eval)([^a-z]|$)")
_BLANK = " \t\r\n"
"""What may stand between the values of JSON; a form feed may not."""


def training_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, or of the training split of a folder.

    Raises:
        DataError: it cannot be read; ms-swift would end with an error of its own.
    """
    columns: set[str] | None = None
    for file in _training_files(path):
        seen: set[str] = set()
        for row in file_rows(file):
            seen.update(map(str, row))
            yield row
        # the first file says which columns there are; one that lacks some is filled up
        if columns is not None and (further := sorted(seen - columns)):
            why = reasons.FURTHER_COLUMNS(names=list(map(repr, further)))
            raise DataError(Complaint(str(file), why, reasons.SAME_COLUMNS()))
        columns = columns or seen


def _kind_of(file: Path) -> str:
    """The suffix that tells how *file* is read; a packed one has two."""
    return Path(file.stem).suffix if file.suffix == ".gz" else file.suffix


def _training_files(path: Path) -> list[Path]:
    if not path.is_dir():
        if path.suffix not in _READ:  # ms-swift takes it for the id of a hub
            raise DataError(
                Complaint(str(path), reasons.OTHER_KIND(suffix=path.suffix), reasons.GIVE_KINDS())
            )
        return [path]
    files = [file for file in dataset_files(path) if _kind_of(file) in _READ]
    training = [
        file for file in files if not _OTHER_SPLIT.search(str(file.relative_to(path).with_suffix("")).lower())
    ]
    if not files:
        raise DataError(Complaint(str(path), reasons.NO_DATA(), reasons.GIVE_FILES()))
    return _of_one_kind(training or files)


_ALIKE = {".json": ".jsonl"}
_PREFERRED = (".parquet", ".jsonl", ".json", ".csv")


def _of_one_kind(files: Sequence[Path]) -> list[Path]:
    """The files of the kind that is most common: the loader reads no others."""
    counts = Counter(_kind_of(file) for file in files)
    kind = max(counts, key=lambda name: (counts[name], *(name == other for other in _PREFERRED), name))
    kind = _ALIKE.get(kind, kind)
    return [file for file in files if _ALIKE.get(_kind_of(file), _kind_of(file)) == kind]


def file_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of one file.

    Raises:
        DataError: it cannot be read.
    """
    kind = _kind_of(path)
    if kind in (".parquet", ".arrow"):
        yield from _columns(path)
        return
    text, packed = unpacked_text(path, reasons.WRITE_JSONL())
    if kind == ".csv":
        yield from _table(path, text)
    elif kind == ".txt":
        yield from ({"text": line} for line in text.removesuffix("\n").split("\n") if text)
    else:
        yield from _json(path, text, packed or path.read_bytes()[:1])


def _table(path: Path, text: str) -> Iterator[Row]:
    """Yield the rows of a CSV, with the types that pandas sees in them."""
    import pandas as pd  # as the loader does: what is a number, a truth value or nothing is decided there
    import pyarrow as pa

    try:
        for part in pd.read_csv(io.StringIO(text), chunksize=10_000):
            for row in pa.Table.from_pandas(part, preserve_index=False).to_pylist():
                yield {name: "" if value is None else value for name, value in row.items()}
    except pd.errors.EmptyDataError:
        return
    except (ValueError, pa.ArrowException) as error:
        raise DataError(
            Complaint(str(path), reasons.UNREADABLE(error=of_error(error)), reasons.WRITE_CSV())
        ) from None


def _json(path: Path, text: str, first: bytes) -> Iterator[Row]:
    """A list, or objects one after another, whatever the name."""
    if text.lstrip(_BLANK)[:1] == "[":
        if first != b"[":
            raise DataError(Complaint(str(path), reasons.LIST_LATER(), reasons.BEGIN_WITH_LIST()))
        yield from _listed(path, text)
        return
    place, number = 0, 1
    while True:
        rest = place
        while rest < len(text) and text[rest] in _BLANK:
            rest += 1
        if rest == len(text):
            return
        number += text.count("\n", place, rest)
        try:
            row, place = _DECODER.raw_decode(text, rest)
        except (ValueError, RecursionError) as error:
            why = reasons.NO_JSON(error=of_error(error))
            raise DataError(Complaint(f"{path}:{number}", why, reasons.ONE_A_LINE())) from None
        yield _checked(path, number, row)
        number += text.count("\n", rest, place)


def _listed(path: Path, text: str) -> Iterator[Row]:
    """Yield the rows of a list, in which texts stand for replies."""
    try:
        loaded = json.loads(text, object_pairs_hook=_mapping)
    except (ValueError, RecursionError) as error:
        raise DataError(
            Complaint(str(path), reasons.UNREADABLE(error=of_error(error)), reasons.WRITE_LINES())
        ) from None
    texts = bool(loaded) and all(isinstance(row, str) for row in loaded)
    for number, row in enumerate(loaded, 1):
        yield _checked(path, number, {"text": row} if texts else row)


def _mapping(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if (name := repeated_name(pairs)) is not None:
        raise ValueError(reasons.TWICE(name=name))
    return dict(pairs)


_DECODER = json.JSONDecoder(object_pairs_hook=_mapping)


def _checked(path: Path, number: int, row: object) -> Row:
    if not isinstance(row, dict):
        raise DataError(
            Complaint(
                str(path),
                reasons.NO_OBJECT(number=number, kind=type(row).__name__),
                reasons.MUST_BE_OBJECT(),
            )
        )
    if has_half_character(json.dumps(row, ensure_ascii=False)):
        raise DataError(
            Complaint(
                str(path),
                reasons.HALF(number=number),
                reasons.WRITE_ANEW(),
            )
        )
    return row


def _columns(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
        else:
            with pa.memory_map(str(path)) as file:
                table = pa.ipc.open_stream(file).read_all()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            Complaint(str(path), reasons.UNREADABLE(error=of_error(error)), reasons.WRITE_JSONL())
        ) from None
    for batch in table.to_batches(max_chunksize=1000):
        yield from batch.to_pylist()
