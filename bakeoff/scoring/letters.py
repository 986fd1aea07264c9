"""Read a choice from the log-probabilities of a reply's letter.

A service gives for each token of a reply the likeliest alternatives. At the token where the reply states its letter,
the alternatives that are letters of the question are gathered over their spellings (``A``, `` A``, ``Ａ``, ``(A``) and
normalised. A letter that is not among the alternatives counts as less likely than all of them; where no letter is
among them nothing is read, and nothing is guessed.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bakeoff.scoring.extraction import extract_choice
from bakeoff.scoring.labels import LETTERS

RULES = 1
"""Version of these rules; raise it by hand with a change after which kept answers should be graded anew."""

BELOW = 1.0
"""How far below the least likely alternative a letter counts that is not among them, in nats."""

_SPACES = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": "\n"})
_AROUND = " \t\n*_`'\"“”‘’「」『』()[]【】<>《》{}$:;,.、。!#=\\"
_REFERS = re.compile(
    r"以上|上述|[前后][两二三四]项|(?:都|均|皆|全)(?:不?(?:是|对|正确)|错)|\b(?:all|none|both|neither)\b|\b(?:above|following)\b|"
    r"[A-J]\s*(?:[和与及或、,/&+]|and|or)\s*[A-J](?![A-Za-z])|^[A-J]{2,4}$|[①②③④⑤⑥⑦⑧⑨⑩]",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Reading:
    """What a reply says of the letters of its question.

    Attributes:
        logprobs: normalised log-probability of each letter as it was shown; empty where no letter was found.
        mass: share of the probability that all letters have together, before it was normalised.
        begins: the reply's own text, as far as it was given.
    """

    logprobs: Mapping[str, float]
    mass: float
    begins: str

    @property
    def is_read(self) -> bool:
        """Whether a letter was found."""
        return bool(self.logprobs)


def letter_of(token: str, letters: str) -> str:
    """Return which of *letters* the *token* spells, marks aside, or ""."""
    bare = unicodedata.normalize("NFKC", token.translate(_SPACES)).strip(_AROUND)
    return bare if len(bare) == 1 and bare in letters else ""


def read_letters(content: object, letters: str, reply: str = "") -> Reading:
    """Return what the tokens of a reply say of *letters*.

    Args:
        content: the tokens, ``choices[0].logprobs.content``.
        letters: of the question.
        reply: the text that they make, for tokens that are parts of characters.

    The letter is read at the first token that states it, as :func:`~bakeoff.scoring.extraction.extract_choice` reads
    the text up to there. A reply of one token that is no letter is read by its alternatives.
    """
    tokens = [token for token in content if isinstance(token, Mapping)] if isinstance(content, list) else []
    begins = _text(tokens)
    begins = reply if "\ufffd" in begins and reply else begins
    place = _place(tokens, letters, reply)
    if place is None:
        return Reading({}, 0.0, begins)
    alternatives = _alternatives(tokens[place])
    spelled: dict[str, list[float]] = {}
    for text, logprob in alternatives:
        if letter := letter_of(text, letters):
            spelled.setdefault(letter, []).append(logprob)
    if not spelled:
        return Reading({}, 0.0, begins)
    gathered = {letter: _log_sum(values) for letter, values in spelled.items()}
    mass = min(1.0, math.exp(_log_sum(gathered.values())))
    least = min(logprob for _, logprob in alternatives) - BELOW
    whole = {letter: gathered.get(letter, least) for letter in letters}
    total = _log_sum(whole.values())
    return Reading({letter: value - total for letter, value in whole.items()}, mass, begins)


def _place(tokens: Sequence[Mapping[str, object]], letters: str, reply: str) -> int | None:
    for place, token in enumerate(tokens):
        letter = letter_of(_spelling(token), letters)
        goes_on = place + 1 < len(tokens) and re.match("[A-Za-z]", _spelling(tokens[place + 1]))
        if not letter or goes_on:
            continue
        text = _text(tokens[: place + 1])
        if extract_choice(reply if "\ufffd" in text else text, [""] * len(letters)) == letter:
            return place
    return 0 if len(tokens) == 1 else None


def _spelling(token: Mapping[str, object]) -> str:
    """Return the text of one *token*, from its bytes where it has no other."""
    text, numbers = token.get("token"), token.get("bytes")
    if not text and isinstance(numbers, list) and all(isinstance(n, int) and 0 <= n < 256 for n in numbers):
        return bytes(numbers).decode("utf-8", "replace")
    return str(text or "")


def _text(tokens: Sequence[Mapping[str, object]]) -> str:
    """Return the text of *tokens*, from bytes where characters are split."""
    texts = [_spelling(token) for token in tokens]
    pieces = [token.get("bytes") for token in tokens]
    if all(isinstance(piece, list) for piece in pieces) and any("\ufffd" in text for text in texts):
        numbers = [number for piece in pieces if isinstance(piece, list) for number in piece]
        if all(isinstance(number, int) and 0 <= number < 256 for number in numbers):
            return bytes(numbers).decode("utf-8", "replace")
    return "".join(texts).translate(_SPACES)


def _alternatives(token: Mapping[str, object]) -> list[tuple[str, float]]:
    """Return the likeliest tokens at a place and their log-probabilities.

    The chosen one is among them, and each is there once. Two with one text are two tokens where their log-probabilities
    differ: some services strip the spaces of what they list.
    """
    listed = token.get("top_logprobs")
    alternatives: dict[tuple[str, float], None] = {}
    for item in [*(listed if isinstance(listed, list) else ()), token]:
        if not isinstance(item, Mapping):
            continue
        if item is token and any(_spelling(token) == text for text, _ in alternatives):
            continue
        logprob = item.get("logprob")
        if isinstance(logprob, int | float) and not isinstance(logprob, bool) and math.isfinite(logprob):
            alternatives[_spelling(item), min(0.0, float(logprob))] = None
    return list(alternatives)


def _log_sum(values: Iterable[float]) -> float:
    values = list(values)
    top = max(values)
    return top + math.log(math.fsum(math.exp(value - top) for value in values))


def rotated(count: int, order: int) -> list[int]:
    """Return which option stands at each place of *order* (0: as asked)."""
    return [(place + order) % count for place in range(count)]


def refers_to_others(options: Iterable[str]) -> bool:
    """Return whether an option speaks of the others (以上都对, A和B, both).

    The order of such options cannot be changed.
    """
    return any(_REFERS.search(f"{option}\n{unicodedata.normalize('NFKC', option)}") for option in options)


def averaged(readings: Sequence[Reading], count: int) -> dict[str, float]:
    """Return each option's mean log-probability over the orders read.

    It stands by the option's letter in the question itself; {} where no order was read.

    Args:
        readings: of order 0, 1, …; see :func:`rotated`.
    """
    shares = [0.0] * count
    used = [(order, reading) for order, reading in enumerate(readings) if reading.is_read]
    for order, reading in used:
        for place, option in enumerate(rotated(count, order)):
            shares[option] += math.exp(reading.logprobs[LETTERS[place]]) / len(used)
    return (
        {LETTERS[i]: math.log(share) if share else -math.inf for i, share in enumerate(shares)}
        if used
        else {}
    )


def chosen(logprobs: Mapping[str, float]) -> str:
    """Return the likeliest letter; "" where none is, or two are."""
    ranked = sorted(logprobs, key=lambda letter: -logprobs[letter])
    if not ranked or (len(ranked) > 1 and logprobs[ranked[0]] == logprobs[ranked[1]]):
        return ""
    return ranked[0]


def position_bias(questions: Iterable[Sequence[Reading]]) -> dict[str, float]:
    """Return how much each letter adds to the probability of its option.

    It is the mean difference to the same option's probability over all orders.

    Only questions that were asked in several orders tell anything.
    """
    apart: dict[str, list[float]] = {}
    for readings in questions:
        count = max((len(reading.logprobs) for reading in readings), default=0)
        if len(readings) < 2 or not all(reading.is_read for reading in readings):
            continue
        mean = averaged(readings, count)
        for order, reading in enumerate(readings):
            for place, option in enumerate(rotated(count, order)):
                share = math.exp(reading.logprobs[LETTERS[place]])
                apart.setdefault(LETTERS[place], []).append(share - math.exp(mean[LETTERS[option]]))
    return {letter: math.fsum(values) / len(values) for letter, values in sorted(apart.items())}
