"""Overlap of a reply with its reference, by the verifier's own code.

ROUGE-L, ROUGE-1, ROUGE-2 (F measures), BLEU-4 and the ratio of lengths, over the words that the project cuts: the
definitions are those of :mod:`bakeoff.suites.overlap`, the code is not. What is known of a reference is kept, since
every model was asked for it.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache

from bakeoff.suites.overlap import METRICS, words

_ORDERS = (1, 2, 3, 4)
_SMALLEST = 0.1
"""What stands for no shared n-gram at all (Chen and Cherry's first method)."""


@dataclass(frozen=True)
class _Text:
    """The words of a text, and what is counted of them once."""

    words: tuple[str, ...]

    @cached_property
    def grams(self) -> dict[int, Counter[tuple[str, ...]]]:
        """Return how often each sequence of 1 to 4 words stands in the text."""
        return {
            order: Counter(zip(*(self.words[first:] for first in range(order)), strict=False))
            for order in _ORDERS
        }

    @cached_property
    def places(self) -> dict[str, int]:
        """Return the places of each word, as bits."""
        places: dict[str, int] = {}
        for at, word in enumerate(self.words):
            places[word] = places.get(word, 0) | (1 << at)
        return places


@lru_cache(maxsize=65536)
def _reference(text: str) -> _Text:
    """Return a reference cut into words; it is asked for once per model."""
    return _Text(tuple(words(text)))


@lru_cache(maxsize=65536)
def overlap_of(reply: str, reference: str) -> dict[str, float]:
    """Return the overlap of a final part with its reference.

    The same pair is asked for many times.
    """
    ours, theirs = _Text(tuple(words(reply))), _reference(reference)
    if not ours.words or not theirs.words:
        return dict.fromkeys(METRICS, 0.0)
    if ours.words == theirs.words:
        return dict.fromkeys(METRICS, 1.0)
    lengths = len(ours.words), len(theirs.words)
    shared = {order: _shared(ours.grams[order], theirs.grams[order]) for order in _ORDERS}
    return {
        "rouge_l_f": _balanced(_longest(ours, theirs), *lengths),
        "rouge_1_f": _balanced(shared[1], *lengths),
        "rouge_2_f": _balanced(shared[2], *(max(0, length - 1) for length in lengths)),
        "bleu_4": _bleu(shared, *lengths),
        "length_ratio": lengths[0] / lengths[1],
    }


def _shared(ours: Counter[tuple[str, ...]], theirs: Counter[tuple[str, ...]]) -> int:
    """Return how many sequences stand in both texts, each as often as in both."""
    return sum(min(count, theirs[gram]) for gram, count in ours.items() if gram in theirs)


def _balanced(common: int, first: int, second: int) -> float:
    """Return the F1 measure: twice what is shared, divided by both together."""
    return 2 * common / (first + second) if first and second else 0.0


def _longest(ours: _Text, theirs: _Text) -> int:
    """Return the length of the longest common subsequence.

    A set bit says that the row of the usual table does not rise there; words of ours that theirs lack change no row.
    """
    full = (1 << len(theirs.words)) - 1
    row, places = full, theirs.places
    for word in ours.words:
        if at := places.get(word):
            kept = row & at
            row = ((row + kept) | (row - kept)) & full
    return len(theirs.words) - row.bit_count()


def _bleu(shared: dict[int, int], ours: int, theirs: int) -> float:
    """Return BLEU-4; a reply of fewer than four words has fewer orders."""
    if not shared[1]:
        return 0.0
    orders = range(1, min(4, ours) + 1)
    precisions = [(shared[order] or _SMALLEST) / (ours - order + 1) for order in orders]
    brevity = 1.0 if ours > theirs else math.exp(1 - theirs / ours)
    return brevity * math.exp(math.fsum(map(math.log, precisions)) / len(precisions))
