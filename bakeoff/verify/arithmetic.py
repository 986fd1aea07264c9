"""Formulas that a verifier must not borrow from what it verifies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

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


def t_tail(score: float, freedom: float) -> float:
    """Return the two-sided p of Student's t.

    The regularised incomplete beta function at ``freedom / (freedom + score^2)``, as a continued fraction (Lentz's
    method; Abramowitz & Stegun 26.5.8 and 26.7.1).
    """
    x = freedom / (freedom + score * score)
    a, b = freedom / 2, 0.5
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(b, a, 1 - x)
    return _beta(a, b, x)


def _beta(a: float, b: float, x: float) -> float:
    if x <= 0:
        return 0.0
    tiny = 1e-300
    upper, lower = 1.0, 0.0
    value = 1.0
    for step in range(400):
        half = step // 2
        if step == 0:
            term = 1.0
        elif step % 2 == 0:
            term = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        else:
            term = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        lower = 1 / ((1 + term * lower) or tiny)
        upper = (1 + term / upper) or tiny
        value *= upper * lower
        if step and abs(1 - upper * lower) < 1e-15:
            break
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) * (value - 1) / a


def clustered_t(differences: Sequence[float], clusters: Sequence[str]) -> float:
    """Return the two-sided p of a mean of 0 when whole clusters were sampled.

    Liang & Zeger's variance, with as many degrees of freedom as clusters of equal size would give (Kish), less one.
    """
    sums: dict[str, float] = {}
    sizes: dict[str, int] = {}
    middle = mean(differences)
    for value, cluster in zip(differences, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + value - middle
        sizes[cluster] = sizes.get(cluster, 0) + 1
    if len(sums) < 2 or not any(differences):
        return 1.0
    count = len(differences)
    effective = count**2 / sum(size**2 for size in sizes.values())
    variance = math.fsum(part**2 for part in sums.values()) * effective / (effective - 1) / count**2
    spread = math.fsum((value - middle) ** 2 for value in differences)
    if variance == 0 or spread == 0:
        # every cluster has the same mean: as likely as that all of them lie on one side by chance
        return max(5e-324, 2.0 ** (1 - len(sums))) if middle else 1.0
    return t_tail(middle / math.sqrt(variance), effective - 1)


def sign_flips(differences: Sequence[float], resamples: int = 9_999, seed: int = 0) -> float:
    """Return the two-sided p of Fisher's randomisation test.

    All sign changes where there are no more than *resamples*, else as many at random, from the same *seed* as the
    report; above 2,000 differences the normal limit.
    """
    import numpy as np

    values = np.array(differences, dtype=float)
    count, seen = len(values), abs(math.fsum(differences))
    if count > 2_000:
        spread = math.sqrt(math.fsum(value * value for value in differences))
        return math.erfc(seen / spread / math.sqrt(2)) if spread else 1.0
    is_every = 2**count <= resamples
    if is_every:
        totals = np.zeros(1)
        for value in values:
            totals = np.concatenate([totals + value, totals - value])
    else:
        flips = np.random.default_rng(seed).integers(0, 2, size=(resamples, count), dtype=np.int8)
        totals = values.sum() - 2 * (flips @ values)
    reached = int((np.abs(totals) >= seen - 1e-9 * (1 + seen)).sum())
    return reached / len(totals) if is_every else (reached + 1) / (resamples + 1)


def groups_of(names: Sequence[str], different: Iterable[tuple[str, str]]) -> set[frozenset[str]]:
    """Return the largest groups without a *different* pair: the letters.

    They are the maximal cliques of the graph of pairs that were not told apart.
    """
    apart = {frozenset(pair) for pair in different}
    groups: set[frozenset[str]] = {frozenset()}
    for name in names:
        joined = {
            frozenset({name, *(other for other in group if frozenset((name, other)) not in apart)})
            for group in groups
        }
        candidates = groups | joined
        groups = {group for group in candidates if not any(group < other for other in candidates)}
    return groups - {frozenset()}
