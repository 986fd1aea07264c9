"""The board at the end of a run: scores with intervals and tie groups."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bakeoff.foundation.sentences import in_chinese, plural
from bakeoff.report.words import metric_names
from bakeoff.runs.following import WORDS, fitted

if TYPE_CHECKING:
    from bakeoff.report.views import Analysis, Cell

WIDTH = 80


def board(analysis: Analysis, *, chinese: bool) -> Iterator[str]:
    """A block for each suite, best first; what is not a score says why."""
    for view in analysis.views:
        number = f"{view.n_questions:,}"
        questions = f"{number} 题" if chinese else f"{number} {plural(view.n_questions, 'question')}"
        metric = metric_names(view.metric)[not chinese]
        yield fitted(f"{view.name} · {metric} · {questions}", WIDTH).rstrip()
        for cell in view.ordered():
            yield fitted(_line(cell, chinese), WIDTH).rstrip()


def _line(cell: Cell, chinese: bool) -> str:
    variant = WORDS.get(cell.subject.variant, cell.subject.variant) if chinese else cell.subject.variant
    name = f"  {fitted(cell.subject.model, 24)} {fitted(variant, 6)}"
    if math.isnan(cell.value):
        return (
            f"{name}  {f'没有成绩：{in_chinese(cell.why_not)}' if chinese else f'no score: {cell.why_not}'}"
        )
    value = f"{100 * cell.value:5.1f}"
    if not cell.trusted:
        return f"{name} {value}  {f'无效：{in_chinese(cell.why_not)}' if chinese else f'invalid: {cell.why_not}'}"
    interval = "" if math.isnan(cell.low) else f"[{100 * cell.low:.1f}, {100 * cell.high:.1f}]"
    line = f"{name} {value}  {fitted(interval, 14)}  {cell.letters}"
    absent = cell.n_asked - cell.n_answered
    if not absent:
        return line
    words = f"{absent}/{cell.n_asked} 题无答案" if chinese else f"{absent} of {cell.n_asked} missing"
    return f"{line}  {words}"
