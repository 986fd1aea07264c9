"""What to say where ``-k`` and ``-m`` select no test."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from bakeoff.matrix.schema import VARIANTS, Matrix
from bakeoff.runs.plan import MARKERS


def unmatched(keyword: str, marks: str, matrix: Matrix, *, chinese: bool = False) -> Iterator[str]:
    """Yield the lines for a selection that matches nothing."""
    options = " ".join(f"{flag} {text!r}" for flag, text in (("-k", keyword), ("-m", marks)) if text)
    hints = [
        *_meant(keyword, [*matrix.models, *matrix.suites, *VARIANTS, *MARKERS]),
        *_meant(marks, list(MARKERS)),
    ]
    rows, suites, stages = (", ".join(names) for names in (matrix.models, matrix.suites, MARKERS))
    if chinese:
        yield f"错误：没有任何测试符合 {options}" + (f"；是否想写 {'、'.join(hints)}？" if hints else "")
        yield f"模型行：{rows}"
        yield f"测试集：{suites}；阶段（-m）：{stages}"
        return
    yield f"ERROR: nothing matches {options}" + (f"; is it {' or '.join(hints)}?" if hints else "")
    yield f"rows: {rows}"
    yield f"suites: {suites}; stages (-m): {stages}"


def _meant(expression: str, names: Sequence[str]) -> list[str]:
    """The names, or parts of names, nearest to words that match none."""
    parts = [part for name in names for part in re.findall(r"[a-z]{3,}", name)]
    words = list(dict.fromkeys([*parts, *names]))
    meant = []
    for word in re.findall(r"[\w.-]+", expression.lower()):
        if word in ("and", "or", "not") or any(word in name for name in names):
            continue
        meant += difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return [repr(name) for name in dict.fromkeys(meant)]
