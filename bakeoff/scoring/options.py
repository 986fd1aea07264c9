"""Prepares the options of a question once for all replies to it.

A test asks each question of many models, and a check reads all of their replies again: what is made of the options
alone is kept between them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Self

from bakeoff.foundation.characters import TRADITIONAL, simplified

MOST_OPTIONS = 10
"""Options that have a letter."""

# Runs of marks are shortened and repetitions bounded: a model that repeats itself for pages must not cost minutes.
_RUN = re.compile(r"(?:(?![\ue000-\ue009])[\W_]){12,}")
_LONG_RUN = re.compile(r"[\W_]{12}")
_CIRCLED = "①②③④⑤⑥⑦⑧⑨⑩"
_CIRCLED_KEPT = {ord(sign): chr(0xE000 + i) for i, sign in enumerate(_CIRCLED)}
_INVISIBLE = dict.fromkeys([*range(0x200B, 0x2010), 0x2060, 0xFEFF, 0xAD])
_SQUARED = {0x1F170 + i: letter for i, letter in enumerate("ABCDEFGHIJ")}
_TRANSLATED = _INVISIBLE | _CIRCLED_KEPT | _SQUARED
_TO_TRANSLATE = re.compile(f"[{''.join(map(chr, _TRANSLATED))}]")
_TO_SIMPLIFY = re.compile(f"[{TRADITIONAL}]")
_AROUND = re.compile(r"^[\W_]+|[\W_]+$")
_CIRCLE = re.compile("[\ue000-\ue009]")
_LIKE_LABELS = re.compile(r"[A-Ja-j]+|[\d.\s]{1,2}")
_NO_WORD = re.compile(r"[\W_]+")
_WORD = re.compile(r"[^\W_]")


def plain_form(text: str) -> str:
    """Return *text* in simplified, half-width characters, long runs cut."""
    if text.isascii():
        text = text.strip()
    else:
        # a look for what a table would change costs a tenth of the table
        text = text.translate(_TRANSLATED) if _TO_TRANSLATE.search(text) else text
        text = unicodedata.normalize("NFKC", text)
        text = (simplified(text) if _TO_SIMPLIFY.search(text) else text).strip()
    if not _LONG_RUN.search(text):
        return text
    return _RUN.sub(lambda run: f"{run[0][:4]}{chr(10) if chr(10) in run[0] else ' '}{run[0][-4:]}", text)


def bare(text: str) -> str:
    """Return the letters and digits of *text* in lower case."""
    return _NO_WORD.sub("", text).lower()


class OptionSet:
    """The options of one question in plain form.

    Attributes:
        whole: all options; ``texts``: those that have a letter; ``count``: how many these are.
        glosses: the options without marks around.
        words: the options that can be recognised by their words, by index; ``long_words``: those of two signs or more.
        circles: whether circled numbers are labels, since no option holds any.
    """

    def __init__(self, options: Sequence[str]) -> None:
        self.whole = tuple(plain_form(option).strip("。.;,、 ") for option in options)
        self.texts = self.whole[:MOST_OPTIONS]
        self.count = len(self.texts)
        self.glosses = [_AROUND.sub("", option) for option in self.texts]
        self.circles = not any(_CIRCLE.search(option) for option in self.texts)
        # Options such as "AB" look like labels: there, letters are labels.
        self.words = {
            i: words
            for i, words in enumerate(self.texts)
            if words and not _LIKE_LABELS.fullmatch(words) and self.texts.count(words) == 1
        }
        self.long_words = {i: words for i, words in self.words.items() if len(words) > 1}

    @cached_property
    def again(self) -> Self:
        """The options prepared once more, for a reader of a part of a reply."""
        again = type(self)(self.texts)
        return self if again.texts == self.whole else again

    @cached_property
    def bare(self) -> list[str]:
        """The letters and digits of each option in lower case."""
        return [bare(option) for option in self.texts]

    def equal_to(self, text: str) -> list[int]:
        """Return the options whose letters and digits are those of *text*."""
        first = _WORD.search(text)
        if first is None or not any(words.startswith(first[0].lower()) for words in self.bare):
            return []
        said = bare(text)
        return [i for i, words in enumerate(self.bare) if words == said]

    @cached_property
    def longest_first(self) -> list[str]:
        """The words of two signs or more, the longest first."""
        return sorted(self.long_words.values(), key=len, reverse=True)


@lru_cache(maxsize=4096)
def prepared(options: tuple[str, ...]) -> OptionSet:
    """Return *options*, as a question gives them, prepared for reading."""
    return OptionSet(options)
