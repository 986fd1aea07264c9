"""Sentences in the language of the terminal."""

from __future__ import annotations

Say = tuple[str, str]
"""A sentence in Chinese and in English."""


class Speaker:
    """Prints and asks in one language.

    Args:
        language: zh or en.
        takes_defaults: answer every question with its default.
    """

    def __init__(self, language: str, *, takes_defaults: bool) -> None:
        self.language = language
        self.takes_defaults = takes_defaults

    def text(self, zh: str, en: str) -> str:
        """The sentence in the language of the terminal."""
        return zh if self.language == "zh" else en

    def tell(self, zh: str, en: str) -> None:
        """Print a line."""
        print(self.text(zh, en), flush=True)

    def ask(self, zh: str, en: str, default: str = "") -> str:
        """The answer to a question, or *default*."""
        if self.takes_defaults:
            return default
        hint = f" [{default}]" if default else ""
        try:
            return input(f"{self.text(zh, en)}{hint}: ").strip() or default
        except EOFError:
            return default
