"""Sentences in the language of the terminal."""

from __future__ import annotations

from bakeoff.foundation.sentences import in_chinese
from bakeoff.foundation.texts import printable, whole_characters

Say = tuple[str, str]
"""A sentence in Chinese and in English."""


class Both(str):
    """A sentence in English that holds its Chinese."""

    zh: str

    def __new__(cls, en: str, zh: str) -> Both:
        """Return *en*, whose Chinese is *zh*."""
        text = super().__new__(cls, en)
        text.zh = zh
        return text


class Speaker:
    """Prints and asks in one language.

    Args:
        language: zh or en.
        takes_defaults: answer every question with its default.

    Attributes:
        ended: the input has ended, so that no question will be answered.
    """

    def __init__(self, language: str, *, takes_defaults: bool) -> None:
        self.language = language
        self.takes_defaults = takes_defaults
        self.ended = False

    def text(self, zh: str, en: str) -> str:
        """The sentence in the language of the terminal."""
        return zh if self.language == "zh" else en

    def tell(self, zh: str, en: str) -> None:
        """Print a line."""
        print(shown(self.text(zh, en)), flush=True)

    def say(self, sentence: str) -> None:
        """Print a statement, a complaint or a text in that language."""
        self.tell(in_chinese(sentence), sentence)

    def ask(self, zh: str, en: str, default: str = "") -> str:
        """The answer to a question, or *default*."""
        if self.takes_defaults:
            return default
        hint = f" [{default}]" if default else ""
        try:
            return input(f"{self.text(zh, en)}{hint}: ").strip().strip("\ufeff") or default
        except EOFError:
            self.ended = True
            return default


def shown(text: str) -> str:
    """Return *text* as any terminal can show it."""
    return printable(whole_characters(text))
