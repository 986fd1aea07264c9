"""A sentence in both languages, and how names are listed in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LISTED = 3
"""How many things of a kind a sentence names before it counts the rest."""


class Sentence(NamedTuple):
    """One sentence in both languages."""

    zh: str
    en: str
    link: str = ""
    """Where on the page its evidence stands, such as ``#bk-failed``; empty for no link."""
    bad: bool = False
    """Whether it reports a failure."""


def joined(names: Sequence[str]) -> str:
    """Names as English lists them: "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def both_lists(names: Sequence[str], most: int | None = None) -> Sentence:
    """Names listed in both languages, beyond *most* as a count."""
    shown = list(names if most is None or len(names) <= most else names[:most])
    rest = len(names) - len(shown)
    zh = "、".join(shown)
    if rest:
        zh = f"{spaced(zh)}等 {len(names)} 个"
    return Sentence(zh, joined([*shown, *([f"{rest} more"] if rest else [])]))


def spaced(text: str) -> str:
    """Return *text* as it stands before Chinese: a space after a Latin end."""
    return f"{text} " if text[-1:].isascii() else text


def trailing(text: str) -> str:
    """Return *text* as it stands after Chinese: a space before a Latin start."""
    return f" {text}" if text[:1].isascii() else text


def inset(text: str) -> str:
    """Return *text* as it stands within Chinese: a space at each Latin end."""
    return spaced(trailing(text))
