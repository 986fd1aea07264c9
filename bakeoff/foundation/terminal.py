"""Sentences and errors in the language of the terminal."""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import TextIO

from bakeoff.foundation.errors import BakeoffError, MatrixError
from bakeoff.foundation.sentences import in_chinese, language_of, of_error


def is_chinese() -> bool:
    """Return whether the locale of this process is Chinese."""
    return language_of(os.environ) == "zh"


def localized(text: str) -> str:
    """Return a statement in the terminal's language; another text as it is."""
    return in_chinese(text) if is_chinese() else text


def localized_error(error: BaseException) -> str:
    """Return what *error* says, in the terminal's language where it can."""
    if not is_chinese():
        return str(error)
    if isinstance(error, MatrixError):
        return "\n".join(
            [
                f"{error.source}：{len(error.complaints)} 处错误",
                *(f"- {in_chinese(each)}" for each in error.complaints),
            ]
        )
    zh = error.zh if isinstance(error, BakeoffError) else ""
    return zh or in_chinese(of_error(error))


def tell(text: str, *, to: TextIO | None = None) -> None:
    """Print a statement in the terminal's language; on stdout by default."""
    print(localized(text), file=to, flush=True)


def complain(error: BaseException, before: str = "", most: int | None = None) -> None:
    """Print *error* on stderr after *before*, in *most* characters."""
    print(f"{before}{localized_error(error)}"[:most], file=sys.stderr, flush=True)


def cells(text: str) -> int:
    """Return how many cells of a terminal *text* takes."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return *text* with blanks up to *width* cells; *right*: before it."""
    blanks = " " * max(0, width - cells(text))
    return blanks + text if right else text + blanks
