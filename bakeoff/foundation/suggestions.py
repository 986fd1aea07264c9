"""The end of a sentence about a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The nearest known *names*, or all where they are few, as a question."""
    names = list(names)
    nearest = [option for option in names if option.lower() == name.strip().lower()]
    nearest = nearest or difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if nearest:
        return f"; is it {' or '.join(repr(option) for option in nearest)}?"
    if not names:
        return "; none is defined"
    return f"; known: {', '.join(names)}" if len(names) <= 60 else ""
