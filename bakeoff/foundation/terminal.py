"""Sentences and errors in the language of the terminal."""

from __future__ import annotations

import os
import sys
import unicodedata

from bakeoff.foundation.errors import RatingError
from bakeoff.foundation.sentences import in_chinese, language_of, of_error


def is_chinese() -> bool:
    """Return whether the locale of this process is Chinese."""
    return language_of(os.environ) == "zh"


def localized(text: str) -> str:
    """Return a statement in the terminal's language; another text as it is."""
    return in_chinese(text) if is_chinese() else text


def localized_error(error: BaseException) -> str:
    """Return what *error* says, in the terminal's language where it can."""
    if is_chinese() and isinstance(error, RatingError) and error.zh:
        return error.zh
    return localized(of_error(error))


def complain(error: BaseException, before: str = "") -> None:
    """Print *error* on stderr, after the words *before*."""
    print(f"{before}{localized_error(error)}", file=sys.stderr, flush=True)


def cells(text: str) -> int:
    """Return how many cells of a terminal *text* takes."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return *text* with blanks up to *width* cells; *right*: before it."""
    blanks = " " * max(0, width - cells(text))
    return blanks + text if right else text + blanks
