"""Which questions of a suite occur in the data a model was tuned on.

A question is compared with each training dialogue by the share of its character shingles (overlapping pieces of
:data:`SHINGLE` characters, after normalisation) that the dialogue contains: the containment of Broder (1997), which
a long dialogue around a short question does not dilute. 1 with the whole text inside is *exact*; at least
:data:`NEAR` is a *near* duplicate. Shingles of the questions form an inverted index, so each dialogue is read once.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from bakeoff.errors import DataError

SHINGLE = 4
"""Characters per shingle: two Chinese words."""
NEAR = 0.7
"""Containment from which a question counts as a near duplicate."""
SHORTEST = 8
"""Characters below which a question says too little to be recognised; it is never called leaked."""

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Leak:
    """Where a question occurs in the training data.

    Attributes:
        overlap: share of the question's shingles found there, 0 to 1.
        source: file and row (from 1) of the dialogue that holds most of it.
    """

    kind: Literal["exact", "near"]
    overlap: float
    source: str


def normalised(text: str) -> str:
    """*text* without blanks, punctuation, case and width."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text)).lower()


def leaks(questions: Mapping[K, str], dialogues: Iterable[tuple[str, str]]) -> dict[K, Leak]:
    """The questions that occur in *dialogues*, each with the place that holds most of it.

    Args:
        questions: text by any key.
        dialogues: pairs of a source and the dialogue's text, as :func:`training_dialogues` yields them.
    """
    texts = {key: normalised(text) for key, text in questions.items()}
    texts = {key: text for key, text in texts.items() if len(text) >= SHORTEST}
    index: dict[str, list[K]] = {}
    sizes: dict[K, int] = {}
    for key, text in texts.items():
        pieces = _shingles(text)
        sizes[key] = len(pieces)
        for piece in pieces:
            index.setdefault(piece, []).append(key)
    known = index.keys()
    found: dict[K, Leak] = {}
    for source, dialogue in dialogues:
        text = normalised(dialogue)
        hits = Counter(key for piece in _shingles(text) & known for key in index[piece])
        for key, count in hits.items():
            overlap = count / sizes[key]
            if overlap < NEAR or (
                key in found and overlap <= found[key].overlap and found[key].kind == "exact"
            ):
                continue
            leak = Leak("exact" if texts[key] in text else "near", overlap, source)
            if key not in found or (leak.kind == "exact", overlap) > (
                found[key].kind == "exact",
                found[key].overlap,
            ):
                found[key] = leak
    return found


def _shingles(text: str) -> set[str]:
    return {text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1)}


def training_dialogues(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Every row of the training files as one text, whatever schema ms-swift would read it in.

    Raises:
        DataError: a file is missing, or a row is not JSON.
    """
    for path in paths:
        try:
            rows = list(_rows(path))
        except FileNotFoundError:
            raise DataError(f"{path}: no such training file") from None
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: not JSON ({error})") from None
        for number, row in enumerate(rows, 1):
            yield f"{path.name}:{number}", "\n".join(_texts(row))


def _rows(path: Path) -> Iterator[Any]:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".csv":
        yield from csv.DictReader(text.splitlines())
    elif path.suffix == ".json":
        loaded = json.loads(text)
        yield from loaded if isinstance(loaded, list) else [loaded]
    else:
        yield from (json.loads(line) for line in text.splitlines() if line.strip())


_NAMES = {"id", "from", "role", "system", "images", "audios", "videos"}


def _texts(value: Any) -> Iterator[str]:
    """All texts of a row: turns, queries, histories; ids and roles are not texts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name not in _NAMES:
                yield from _texts(one)
