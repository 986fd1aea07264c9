"""What to say where ``-k`` and ``-m`` select no test."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from bakeoff.matrix.schema import VARIANTS, Matrix
from bakeoff.runs.plan import MARKERS

LEVELS = (
    "a test has one stage (join stages by 'or'); train and export are of a row, deploy, judge and speed also of its "
    "base or tuned, eval also of a suite"
)
LEVELS_IN_CHINESE = (
    "一个测试只属于一个阶段（用 or 连接多个阶段）；train、export 只分模型行，"
    "deploy、judge、speed 再分 base 与 tuned，eval 再分测试集"
)
"""What a selection of names that all exist may have missed."""


def unmatched(keyword: str, marks: str, matrix: Matrix, *, chinese: bool = False) -> Iterator[str]:
    """Yield the lines for a selection that matches nothing."""
    options = " ".join(f"{flag} {text!r}" for flag, text in (("-k", keyword), ("-m", marks)) if text)
    every = [*matrix.models, *matrix.suites, *VARIANTS, *MARKERS]
    hints = [
        *_meant(keyword, every),
        *_meant(marks, list(MARKERS), cased=True),
    ]
    rows, suites, stages = (", ".join(names) for names in (matrix.models, matrix.suites, MARKERS))
    words = [*_words(keyword.lower()), *_words(marks)]
    exist = all(any(word in name for name in every) for word in words)
    exist = exist and any(word in (*MARKERS, *VARIANTS) for word in words)
    if chinese:
        more = f"；是否想写 {'、'.join(hints)}？" if hints else f"；{LEVELS_IN_CHINESE}" if exist else ""
        yield f"错误：没有任何测试符合 {options}{more}"
        yield f"模型行：{rows}"
        yield f"测试集：{suites}；阶段（-m）：{stages}"
        return
    more = f"; is it {' or '.join(hints)}?" if hints else f"; {LEVELS}" if exist else ""
    yield f"ERROR: nothing matches {options}{more}"
    yield f"rows: {rows}"
    yield f"suites: {suites}; stages (-m): {stages}"


def why_no_stage(expression: str, *, chinese: bool = False) -> str:
    """Return why a word of ``-m`` is no stage and which it may be, or "".

    pytest refuses such a word by itself, without a hint.
    """
    wrong = {word: _meant(word, list(MARKERS), cased=True) for word in _words(expression)}
    meant = {word: names for word, names in wrong.items() if names}
    stages = ", ".join(MARKERS)
    if chinese:
        return "；".join(
            f"-m：没有名为 {word!r} 的阶段；是否想写 {'、'.join(names)}？阶段有 {stages}"
            for word, names in meant.items()
        )
    return "; ".join(
        f"-m: {word!r} is no stage; is it {' or '.join(names)}? stages: {stages}"
        for word, names in meant.items()
    )


def _words(expression: str) -> list[str]:
    """The names in an expression of ``-k`` or ``-m``."""
    return [word for word in re.findall(r"[\w.-]+", expression) if word not in ("and", "or", "not")]


def _meant(expression: str, names: Sequence[str], *, cased: bool = False) -> list[str]:
    """The names, or parts of names, nearest to words that match none.

    Args:
        expression: of ``-k`` or ``-m``.
        names: what it may select.
        cased: whether upper and lower case are told apart, as ``-m`` does.
    """
    parts = [part for name in names for part in re.findall(r"[a-z]{3,}", name)]
    words = list(dict.fromkeys([*parts, *names]))
    meant = []
    for written in _words(expression):
        word = written.lower()
        if cased and written != word and word in names:
            meant.append(word)
        if word in names if cased else any(word in name for name in names):
            continue
        meant += difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return [repr(name) for name in dict.fromkeys(meant)]
