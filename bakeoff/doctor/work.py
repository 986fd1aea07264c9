"""What a row has to do: tokens to train on, questions to answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bakeoff.foundation.errors import BakeoffError
from bakeoff.matrix.datasets import dataset_name
from bakeoff.matrix.schema import Matrix, ModelSpec, Suite
from bakeoff.suites.rows import FORMATS, questions
from bakeoff.training_data.health import check_dataset
from bakeoff.training_data.rows import training_rows

UNKNOWN_QUESTIONS = 1000
"""Of a hub's suite whose questions nobody counted here."""


@dataclass(frozen=True)
class Published:
    """How large a suite is that comes from a hub."""

    questions: int
    subsets: int


PUBLISHED: Mapping[str, Published] = {"ceval": Published(1346, 52), "cmmlu": Published(11582, 67)}


@dataclass(frozen=True)
class Work:
    """What a row has to do.

    Attributes:
        tokens: of its training data, for one epoch; None where they are at a hub.
        questions: of each suite that it answers.
        rows: of its training data.
    """

    tokens: int | None
    questions: Mapping[str, int]
    rows: int = 0


def work_of(spec: ModelSpec, matrix: Matrix, data_dir: Path | None) -> Work:
    """Return what *spec* has to train on and to answer."""
    counts = {suite.name: questions_of(suite, data_dir) for suite in matrix.suites_of(spec)}
    if not spec.trains:
        return Work(0, counts)
    tokens, rows = _training_of(spec)
    return Work(tokens, counts, rows)


def _training_of(spec: ModelSpec) -> tuple[int | None, int]:
    """The tokens and rows of its training data; None where some are not here."""
    total, dialogues = 0.0, 0.0
    for text in spec.dataset:
        name = dataset_name(text)
        if name.path is None or not name.path.exists():
            return None, 0
        rows, tokens = _counted(name.path, _mark(name.path), spec.training.max_length)
        share = name.rows / rows if name.rows is not None and rows else 1.0
        total += tokens * share
        dialogues += rows * share
    return round(total), round(dialogues)


def _mark(path: Path) -> tuple[int, ...]:
    """What changes with the content of a file or folder."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return tuple(number for file in files for number in (file.stat().st_size, file.stat().st_mtime_ns))


@cache
def _counted(path: Path, mark: tuple[int, ...], max_length: int) -> tuple[int, float]:
    """The rows and the estimated tokens of training data."""
    try:
        health = check_dataset(path, max_length=max_length)
        rows = health.rows if health.whole else sum(1 for _ in training_rows(path))
    except (BakeoffError, OSError):  # the doctor says why
        return 0, 0.0
    short = sum(tokens for tokens in health.tokens if tokens <= max_length)
    return rows, short * rows / max(health.rows, 1)


def questions_of(suite: Suite, data_dir: Path | None) -> int:
    """Return how many questions *suite* asks, all orders of options counted."""
    subsets = _subsets_of(suite, data_dir)
    if suite.limit and suite.limit_per == "subset":
        subsets = [min(count, suite.limit) for count in subsets]
    total = math.fsum(subsets)
    if suite.limit and suite.limit_per == "total":
        total = min(total, suite.limit)
    return round(total * suite.orders)


def _subsets_of(suite: Suite, data_dir: Path | None) -> list[float]:
    """The questions of each subset that is asked for."""
    folder = suite.folder(data_dir)
    if folder is not None and suite.benchmark in FORMATS:
        counts = _read(suite.benchmark, folder, _mark(folder) if folder.is_dir() else ())
        return [count for name, count in counts.items() if not suite.subsets or name in suite.subsets]
    published = PUBLISHED.get(suite.benchmark, Published(UNKNOWN_QUESTIONS, 1))
    chosen = min(len(suite.subsets), published.subsets) if suite.subsets else published.subsets
    return [published.questions / published.subsets] * chosen


@cache
def _read(benchmark: str, folder: Path, mark: tuple[int, ...]) -> dict[str, int]:
    try:
        return {name: len(part) for name, part in questions(benchmark, folder).items()}
    except (BakeoffError, OSError):  # the doctor says why
        return {}
