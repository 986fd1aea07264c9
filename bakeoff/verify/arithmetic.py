"""Formulas that a verifier must not borrow from what it verifies."""

from __future__ import annotations

import math
from collections.abc import Sequence

_Z = 1.959963984540054
"""The normal quantile of a 95 % interval."""


def mean(values: Sequence[float]) -> float:
    """Return the mean; NaN of nothing."""
    return math.fsum(values) / len(values) if values else math.nan


def wilson(right: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of *right* out of *count*."""
    share, square = right / count, _Z**2 / count
    centre = (share + square / 2) / (1 + square)
    reach = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def agresti_min(only_a: int, only_b: int, count: int) -> tuple[float, float]:
    """Return Agresti and Min's 95 % interval of a paired difference.

    Half a sample more in each cell.
    """
    total = count + 2
    apart = (only_a - only_b) / total
    reach = _Z * math.sqrt(((only_a + only_b + 1) / total - apart**2) / total)
    return max(-1.0, apart - reach), min(1.0, apart + reach)


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the two-sided p of McNemar's exact test.

    So few heads, or fewer, of a fair coin, doubled.
    """
    total, fewer = only_a + only_b, min(only_a, only_b)
    term, tail = 1, 0
    for heads in range(fewer + 1):
        tail += term
        term = term * (total - heads) // (heads + 1)
    return (
        min(1.0, 2 * tail / 2**total)
        if total < 1000
        else min(1.0, math.exp(math.log(2 * tail) - total * math.log(2)))
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p in the order of *p_values*."""
    ordered = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(ordered):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = highest
    return adjusted
