"""Reads the rows of a training set as ms-swift's loader does."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bakeoff.foundation.errors import Complaint, DataError
from bakeoff.foundation.files import read_text
from bakeoff.foundation.sentences import of_error
from bakeoff.foundation.texts import has_half_character
from bakeoff.matrix.datasets import dataset_files
from bakeoff.training_data import reasons

Row = Mapping[str, object]
_READ = (".jsonl", ".json", ".csv", ".txt", ".parquet", ".arrow")
_OTHER_SPLIT = re.compile(r"(^|[^a-z])(test|dev|valid|validation|val|eval)([^a-z]|$)")


def training_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, or of the training split of a folder.

    Raises:
        DataError: it cannot be read; ms-swift would end with an error of its own.
    """
    for file in _training_files(path):
        yield from _rows(file)


def _training_files(path: Path) -> list[Path]:
    if not path.is_dir():
        if path.suffix not in _READ:  # ms-swift takes it for the id of a hub
            raise DataError(
                Complaint(str(path), reasons.OTHER_KIND(suffix=path.suffix), reasons.GIVE_KINDS())
            )
        return [path]
    files = [file for file in dataset_files(path) if file.suffix in _READ]
    training = [
        file for file in files if not _OTHER_SPLIT.search(str(file.relative_to(path).with_suffix("")).lower())
    ]
    if not files:
        raise DataError(Complaint(str(path), reasons.NO_DATA(), reasons.GIVE_FILES()))
    return training or files


def _rows(path: Path) -> Iterator[Row]:
    if path.suffix in (".parquet", ".arrow"):
        yield from _columns(path)
        return
    text = read_text(path)
    if path.suffix == ".csv":
        try:
            yield from _with_numbers(list(csv.DictReader(text.split("\n"), restval="")))
        except csv.Error as error:
            raise DataError(
                Complaint(str(path), reasons.UNREADABLE(error=of_error(error)), reasons.WRITE_CSV())
            ) from None
    elif path.suffix == ".txt":
        yield from ({"text": line} for line in text.removesuffix("\n").split("\n") if text)
    else:
        yield from _json(path, text)


_NUMBER = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*|")


def _with_numbers(rows: Sequence[Mapping[str, object]]) -> Iterator[Row]:
    """Yield *rows* with columns of numbers as the loader takes them."""
    numbers = set()
    for name in rows[0] if rows else ():
        texts = [row.get(name) for row in rows]
        if any(texts) and all(isinstance(text, str) and _NUMBER.fullmatch(text) for text in texts):
            numbers.add(name)
    for row in rows:
        yield {name: float(str(text)) if name in numbers and text else text for name, text in row.items()}


def _json(path: Path, text: str) -> Iterator[Row]:
    """A list of objects, one object, or one a line, whatever the name."""
    if (whole := _one_object(text)) is not None:
        yield _checked(path, 1, whole)
        return
    if text.lstrip()[:1] == "[":
        try:
            loaded = json.loads(text, object_pairs_hook=_mapping)
        except (ValueError, RecursionError) as error:
            raise DataError(
                Complaint(str(path), reasons.UNREADABLE(error=of_error(error)), reasons.WRITE_LINES())
            ) from None
        for number, row in enumerate(loaded, 1):
            yield _checked(path, number, row)
        return
    for number, line in enumerate(text.split("\n"), 1):
        rest = line.strip()
        while rest:  # objects may follow one another without a line's end
            try:
                row, end = _DECODER.raw_decode(rest)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    Complaint(
                        f"{path}:{number}", reasons.NO_JSON(error=of_error(error)), reasons.ONE_A_LINE()
                    )
                ) from None
            yield _checked(path, number, row)
            rest = rest[end:].lstrip()


def _one_object(text: str) -> object:
    """Return the only object of *text*, spread over lines; None for others."""
    first = text.lstrip().split("\n", 1)[0].rstrip()
    if not first.startswith("{") or first.endswith("}"):
        return None
    try:
        whole: object = json.loads(text, object_pairs_hook=_mapping)
    except (ValueError, RecursionError):
        return None
    return whole


def _mapping(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(reasons.TWICE(name=twice))
    return row


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
