"""Word overlap of a Chinese reply with a reference answer: ROUGE and BLEU over jieba words.

ROUGE-L F compares the longest common subsequence of words (Lin 2004), ROUGE-1/2 F the shared words and word pairs,
BLEU-4 the geometric mean of 1- to 4-gram precision with a brevity penalty (Papineni 2002; method-1 smoothing, one
sentence at a time). All favour replies of the reference's length: compare models on them only beside
``length_ratio``, and never take them for a judgement of counselling.
"""

from __future__ import annotations

import logging
from typing import Any

METRICS = ("rouge_l_f", "rouge_1_f", "rouge_2_f", "bleu_4", "length_ratio")


def words(text: str) -> list[str]:
    """The words of *text* as jieba cuts them, without blanks."""
    import jieba

    jieba.setLogLevel(logging.WARNING)
    return [word for word in jieba.cut(text) if word.strip()]


def overlap(reply: str, reference: str) -> dict[str, float]:
    """All of :data:`METRICS` for one reply; every overlap is 0 where either text has no words."""
    said, wanted = words(reply), words(reference)
    if not said or not wanted:
        return dict.fromkeys(METRICS, 0.0)
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

    smoothing: Any = SmoothingFunction().method1
    return float(sentence_bleu([wanted], said, smoothing_function=smoothing))
