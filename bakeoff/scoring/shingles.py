"""Texts as the search for leaks compares them, in characters or words."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

from bakeoff.foundation.characters import simplified

SHINGLE = 4
"""Characters per shingle (two Chinese words), or words where a script writes blanks between them."""
Shingle = tuple[str, ...]

_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,40}>|<\|[^|<>\n]{0,40}\|>")
_TOKEN = re.compile(
    r"(?P<label>(?<![A-Za-z0-9])[A-J]\s?[.、:,)\]](?![A-Za-z]\.))"
    r"|[A-Za-z0-9\u00c0-\u024f\u0370-\u052f]+|[^\W_]"
)


def tokens_of(text: str) -> list[str]:
    """Return the characters or words of *text*."""
    return tokens_and_labels(text)[0]


def tokens_and_labels(text: str) -> tuple[list[str], list[int]]:
    """Return the characters or words of *text*, and where labels stand.

    Scripts without blanks give characters, the others whole words.

    The text is read in compatibility form, in simplified characters and without tags; the label of an option (``A.``)
    is no word.
    """
    text = simplified(unicodedata.normalize("NFKC", _TAG.sub("", text)))
    tokens: list[str] = []
    labels = []
    for match in _TOKEN.finditer(text):
        if match["label"]:
            labels.append(len(tokens))
        else:
            tokens.append(match[0].lower())
    return tokens, labels


def places_of(part: list[str], tokens: list[str], shift: int) -> list[int]:
    """Return where *part* stands in *tokens*, each moved by *shift*."""
    return [
        place + shift
        for place in range(len(tokens) - len(part) + 1)
        if tokens[place : place + len(part)] == part
    ]


def joined_tokens(tokens: list[str]) -> str:
    """Return *tokens* as one text in which a part of them can be looked for."""
    return "\0".join(["", *tokens, ""])


def share_of_pairs(part: list[str], tokens: list[str]) -> float:
    """Return the share of *part*'s neighbouring pairs in *tokens*."""
    pieces = set(pairwise(part))
    if not pieces:
        return float(joined_tokens(part) in joined_tokens(tokens))
    return len(pieces & set(pairwise(tokens))) / len(pieces)


def size_of(tokens: list[str]) -> int:
    """Characters, a word of a script with blanks counting as two."""
    return sum(2 if token.isascii() else 1 for token in tokens)


def shingles_of(tokens: list[str]) -> frozenset[Shingle]:
    """Return the runs of :data:`SHINGLE` neighbours in *tokens*."""
    return frozenset(tuple(tokens[i : i + SHINGLE]) for i in range(len(tokens) - SHINGLE + 1))
