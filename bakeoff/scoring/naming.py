"""Puts letters in the place of the options' own words.

``The answer is Relief, not Joy`` says what ``The answer is C, not A`` says, so that one set of rules reads both.
"""

from __future__ import annotations

import re
from functools import lru_cache

from bakeoff.scoring.labels import LETTERS

_LONGEST = 600
_COMMON = re.compile(
    r"(?:不?正确|不?对|错误?|[是否]|不是|真|假|true|false|yes|no|right|wrong|(?:in)?correct|[A-J]+|以上.*|都.*"
    r"|all of .*|none of .*|both .*|neither .*|不确定|无法.*|其[他它余])",
    re.IGNORECASE,
)
"""Options whose words are said for other reasons than to name them."""
_NUMBER = re.compile(r"\d{1,6}(?:\.\d+)?%?")


def in_letters(text: str, options: tuple[str, ...]) -> str:
    """Return *text*, in plain form, with the letters of the options it names.

    It stays as it is where the options cannot be told by their words.
    """
    if len(text) > _LONGEST:
        return text
    letters = _letters_of(options)
    lowered = text.lower()
    if not any(option in lowered for option in letters):  # before a pattern is made for this question alone
        return text
    return _pattern_of(options).sub(lambda match: _letter(match, letters), text)


@lru_cache(maxsize=1024)
def _letters_of(words: tuple[str, ...]) -> dict[str, str]:
    """Return the letter of each option, none where words do not tell them."""
    if len(words) > len(LETTERS) or len({w.lower() for w in words}) < len(words):
        return {}
    numbers = all(_NUMBER.fullmatch(option) for option in words)
    if any((_too_short(option) and not numbers) or _COMMON.fullmatch(option) for option in words):
        return {}
    if numbers and any(_ambiguous(option, index, len(words)) for index, option in enumerate(words)):
        return {}
    return {option.lower(): letter for option, letter in zip(words, LETTERS, strict=False)}


@lru_cache(maxsize=256)
def _pattern_of(words: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of an option's words with their letter around."""
    named = "|".join(_whole(option) for option in sorted(words, key=len, reverse=True))
    label = r"(?:(?<![A-Za-z0-9])(?P<label>(?-i:[A-J]|[a-j](?=[.、:)])))"
    label += r"[*_`)\]】]*[ \t]?[.、:)(—-]?[ \t]?[*_`\"'“‘「(]*)?"
    after = r"(?:[*_`\"'”’」)]*[ ]?\((?:option |选项 ?)?(?P<behind>(?-i:[A-J]))(?:选?项)?\))?"
    return re.compile(rf"{label}(?P<words>{named}){after}", re.IGNORECASE)


def _ambiguous(option: str, index: int, count: int) -> bool:
    """Whether the number may as well tell the place of another option."""
    return option.isdigit() and 1 <= int(option) <= count and int(option) != index + 1


def _too_short(option: str) -> bool:
    return len(option) < (2 if re.search(r"[\u4e00-\u9fff]", option) else 3)


def _whole(option: str) -> str:
    """Return a pattern of *option* that is no part of a longer Latin word."""
    if _NUMBER.fullmatch(option):
        return rf"(?<![\w.第]){re.escape(option)}(?!\w|[.、):]\s?\w)|(?<=选){re.escape(option)}(?!\w|[.])"
    ahead = r"(?<![A-Za-z0-9])" if re.match(r"[A-Za-z0-9]", option) else ""
    behind = r"(?![A-Za-z0-9])" if re.search(r"[A-Za-z0-9]$", option) else ""
    return f"{ahead}{re.escape(option)}{behind}"


def _letter(match: re.Match[str], letters: dict[str, str]) -> str:
    """Return the letter of what matched, unless another letter stands by it."""
    letter = letters[match["words"].lower()]
    beside = {(name or "").upper() for name in (match["label"], match["behind"])} - {""}
    if beside - {letter}:
        return match[0]
    opened = match[0][: match.start("words") - match.start()] if match["label"] else ""
    return re.sub(r"^.*?([*_`\"'“‘「(]*)$", r"\1", opened) + letter
