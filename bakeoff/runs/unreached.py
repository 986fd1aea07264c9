"""What a run that ended early never came to, such as after ``-x``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import PurePosixPath

from bakeoff.foundation.sentences import Template
from bakeoff.matrix.schema import VARIANTS, Matrix

NOT_REACHED = Template(
    "runs.unreached.not_reached",
    "the run ended before its turn; run again: it goes on from here",
    zh="运行提前结束，尚未轮到；再次运行即可继续",
)
_STAGES = {"eval": "evaluate", "judge": "replies"}
"""Tests that are not named after their stage."""


def unreached(tests: Iterable[str], reached: Collection[str], matrix: Matrix) -> Iterator[tuple[str, str]]:
    """Yield (what, why) of rows, and stages of rows, that no test came to.

    Args:
        tests: ids of the tests that were selected.
        reached: ids of those that were begun, or skipped.
        matrix: has the rows that the ids name.
    """
    named = dict(_parameters(matrix))
    begun: set[str] = set()
    left: dict[str, dict[str, None]] = {}
    stages_begun: set[tuple[str, str]] = set()
    for test in tests:
        match = re.fullmatch(r"(.*)::[^\[]*\[(.*)\]", test)
        if not match or (row := named.get(match[2])) is None:
            continue
        name = PurePosixPath(match[1]).stem.removeprefix("test_")
        suite = match[2].removeprefix(row).strip("-").partition("-")[2] if name == "eval" else ""
        stage = f"{_STAGES.get(name, name)}{f':{suite}' if suite else ''}"
        if test in reached:
            begun.add(row)
            stages_begun.add((match[2], stage))
        elif (match[2], stage) not in stages_begun:
            left.setdefault(row, {})[stage] = None
    for row, stages in left.items():
        if row not in begun:
            yield row, NOT_REACHED()
        else:
            yield from ((f"{row} · {stage}", NOT_REACHED()) for stage in stages)


def _parameters(matrix: Matrix) -> Iterator[tuple[str, str]]:
    """Yield how the id of a test may name a row, and the row."""
    for row in matrix.models:
        yield row, row
        for variant in VARIANTS:
            yield f"{row}-{variant}", row
            yield from ((f"{row}-{variant}-{suite}", row) for suite in matrix.suites)
