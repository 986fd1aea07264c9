"""The end of a sentence about a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest *known* names, or all where they are few, as a question."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f"; is it {' or '.join(repr(one) for one in near)}?"
    return f"; known: {', '.join(known)}" if len(known) <= 60 else ""
