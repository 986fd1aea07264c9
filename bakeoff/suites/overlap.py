"""Word overlap of reply and reference: ROUGE and BLEU over jieba words.

ROUGE-L F compares the longest common subsequence of words (Lin 2004, section 3: the F measure with beta 1 over the
whole text), ROUGE-1/2 F the shared words and word pairs (section 2), BLEU-4 the geometric mean of 1- to 4-gram
precision with a brevity penalty (Papineni et al. 2002; for one reply at a time with method 1 of Chen and Cherry
2014, and for replies under four words with the orders that they have). Reply and reference are normalised alike, so
a reply that repeats its reference scores 1 in every metric. All favour replies of the reference's length: compare
models on them only beside ``length_ratio``, and never take them for a judgement of counselling.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from bakeoff.scoring.reading import final_part

_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f\xad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]"
)
"""Characters that nobody sees, such as zero-width spaces, direction marks and the variants of an emoji."""

_WRAPPED = re.compile(r"(?<=[\u3400-\u9fff])[ \t]*\r?\n[ \t]*(?=[\u3400-\u9fff])")
"""A line that ends within a Chinese sentence: layout, which would cut a word in two."""

METRICS = ("rouge_l_f", "rouge_1_f", "rouge_2_f", "bleu_4", "length_ratio")


def words(text: str) -> list[str]:
    """Return the words of *text*'s final part, as jieba cuts them."""
    import jieba

    jieba.setLogLevel(logging.WARNING)
    return [
        word for word in jieba.cut(_WRAPPED.sub("", _INVISIBLE.sub("", final_part(text)))) if word.strip()
    ]


def overlap(reply: str, reference: str) -> dict[str, float]:
    """Return all :data:`METRICS` of a reply; 0 where a text has no words."""
    ours, theirs = words(reply), words(reference)
    if not ours or not theirs:
        return dict.fromkeys(METRICS, 0.0)
    if ours == theirs:  # a single word has no pairs of words, which would make it 0
        return dict.fromkeys(METRICS, 1.0)
    return {
        "rouge_l_f": _f(_common_subsequence(ours, theirs), len(ours), len(theirs)),
        "rouge_1_f": _ngram_f(ours, theirs, 1),
        "rouge_2_f": _ngram_f(ours, theirs, 2),
        "bleu_4": _bleu(ours, theirs),
        "length_ratio": len(ours) / len(theirs),
    }


def _f(common: int, first: int, second: int) -> float:
    return 2 * common / (first + second) if first and second else 0.0


def _common_subsequence(first: list[str], second: list[str]) -> int:
    """Return the length of the longest common subsequence.

    It is bit-parallel (Hyyrö 2004): an integer holds a whole row.
    """
    where: dict[str, int] = {}
    for i, word in enumerate(first):
        where[word] = where.get(word, 0) | 1 << i
    full = (1 << len(first)) - 1
    row = full
    for word in second:
        match = row & where.get(word, 0)
        row = (row + match) | (row - match)
        row &= full
    return len(first) - row.bit_count()


def _ngram_f(reply: list[str], reference: list[str], n: int) -> float:
    from collections import Counter

    ours, right = (Counter(zip(*(text[i:] for i in range(n)), strict=False)) for text in (reply, reference))
    return _f((ours & right).total(), ours.total(), right.total())


def _bleu(reply: list[str], reference: list[str]) -> float:
    from nltk.translate.bleu_score import (  # type: ignore[import-untyped]  # nltk ships no types
        SmoothingFunction,
        sentence_bleu,
    )

    order = min(4, len(reply))
    smoothing: Any = SmoothingFunction().method1
    return float(sentence_bleu([reference], reply, [1 / order] * order, smoothing_function=smoothing))
