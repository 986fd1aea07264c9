"""Word overlap of a Chinese reply with a reference answer: ROUGE and BLEU over jieba words.

ROUGE-L F compares the longest common subsequence of words (Lin 2004, section 3: the F measure with beta 1 over the
whole text), ROUGE-1/2 F the shared words and word pairs (section 2), BLEU-4 the geometric mean of 1- to 4-gram
precision with a brevity penalty (Papineni et al. 2002; for one reply at a time with method 1 of Chen and Cherry
2014, and for replies under four words with the orders that they have). Reply and reference are normalised alike, so
a reply that repeats its reference scores 1 in every metric. All favour replies of the reference's length: compare
models on them only beside ``length_ratio``, and never take them for a judgement of counselling.
"""

from __future__ import annotations

import logging
from typing import Any

from bakeoff.scoring.extraction import final_part

METRICS = ("rouge_l_f", "rouge_1_f", "rouge_2_f", "bleu_4", "length_ratio")


def words(text: str) -> list[str]:
    """The words of the final part of *text* in compatibility form, as jieba cuts them, without blanks."""
    import jieba

    jieba.setLogLevel(logging.WARNING)
    return [word for word in jieba.cut(final_part(text)) if word.strip()]


def overlap(reply: str, reference: str) -> dict[str, float]:
    """All of :data:`METRICS` for one reply; every overlap is 0 where either text has no words."""
    said, wanted = words(reply), words(reference)
    if not said or not wanted:
        return dict.fromkeys(METRICS, 0.0)
    if said == wanted:  # a single word has no pairs of words, which would make it 0
        return dict.fromkeys(METRICS, 1.0)
    return {
        "rouge_l_f": _f(_common_subsequence(said, wanted), len(said), len(wanted)),
        "rouge_1_f": _ngram_f(said, wanted, 1),
        "rouge_2_f": _ngram_f(said, wanted, 2),
        "bleu_4": _bleu(said, wanted),
        "length_ratio": len(said) / len(wanted),
    }


def _f(common: int, said: int, wanted: int) -> float:
    return 2 * common / (said + wanted) if said and wanted else 0.0


def _common_subsequence(one: list[str], other: list[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004): an integer holds a whole row."""
    where: dict[str, int] = {}
    for i, word in enumerate(one):
        where[word] = where.get(word, 0) | 1 << i
    full = (1 << len(one)) - 1
    row = full
    for word in other:
        match = row & where.get(word, 0)
        row = (row + match) | (row - match)
        row &= full
    return len(one) - row.bit_count()


def _ngram_f(said: list[str], wanted: list[str], n: int) -> float:
    from collections import Counter

    given, right = (Counter(zip(*(text[i:] for i in range(n)), strict=False)) for text in (said, wanted))
    return _f((given & right).total(), given.total(), right.total())


def _bleu(said: list[str], wanted: list[str]) -> float:
    from nltk.translate.bleu_score import (  # type: ignore[import-untyped]  # nltk ships no types
        SmoothingFunction,
        sentence_bleu,
    )

    order = min(4, len(said))
    smoothing: Any = SmoothingFunction().method1
    return float(sentence_bleu([wanted], said, [1 / order] * order, smoothing_function=smoothing))
