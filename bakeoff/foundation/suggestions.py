"""The end of a sentence about a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from bakeoff.foundation.sentences import Template

IS_IT = Template(
    "foundation.suggestions.is_it", "is it {names}?", zh="是否应为 {names}？", between=(" or ", " 或 ")
)
NEAREST = Template("foundation.suggestions.nearest", "nearest: {names}", zh="最接近的有：{names}")
NONE_DEFINED = Template("foundation.suggestions.none_defined", "none is defined", zh="目前一个也没有定义")
KNOWN = Template("foundation.suggestions.known", "known: {names}", zh="可用的有：{names}")


def suggestion(name: str, names: Iterable[str], most: int = 60) -> str:
    """The nearest known *names* as a statement, or all if at most *most*."""
    names = list(names)
    nearest = [option for option in names if option.lower() == name.strip().lower()]
    nearest = nearest or difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if nearest:
        return IS_IT(names=[repr(option) for option in nearest])
    if not names:
        return NONE_DEFINED()
    return KNOWN(names=names) if len(names) <= most else ""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """What :func:`suggestion` says, with the semicolon before it."""
    hint = suggestion(name, names)
    return f"; {hint}" if hint else ""
