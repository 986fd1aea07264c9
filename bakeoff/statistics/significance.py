"""Paired tests, their correction over a family, and letters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.statistics.bootstrap import effective_clusters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


SMALLEST_P = 1e-300
"""No test returns a smaller p: one of exactly 0 would claim what no sample can show."""


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the two-sided p of the exact McNemar test.

    Are the disagreements a fair coin? (McNemar 1947; binomial form)
    """
    from scipy.special import bdtr

    return min(1.0, max(SMALLEST_P, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5))))


def sign_flip_tests(differences: Floats, resamples: int = 9_999, seed: int = 0) -> Floats:
    """Return the two-sided p per pair of paired differences.

    *differences*: [sample x pair]; the hypothesis is a mean of 0. Fisher's randomisation test: a sample's sign is
    flipped at random. Every flip is tried where that takes no more than *resamples*, else that many at random
    (smallest p: 1 / (resamples + 1)). Above 2,000 samples the normal limit of the same distribution (mean 0,
    variance: sum of squares) takes over. NaN count as no difference.
    """
    import numpy as np
    from scipy.special import ndtr

    filled = np.nan_to_num(np.asarray(differences, dtype=float))
    n = len(filled)
    seen = np.abs(filled.sum(axis=0))
    moved = filled.any(axis=0)
    if n > 2_000:
        spread = np.sqrt((filled**2).sum(axis=0))
        far = np.divide(seen, spread, out=np.zeros_like(seen), where=moved)
        return np.asarray(np.maximum(SMALLEST_P, 2 * ndtr(-far)), dtype=float)
    every = 2**n <= resamples
    if every:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    else:
        bits = np.random.default_rng(seed).integers(0, 2, size=(resamples, n), dtype=np.int8)
    flipped = np.abs((1.0 - 2.0 * bits) @ filled)
    reached = (flipped >= seen - 1e-9 * (1 + seen)).sum(axis=0)
    return np.asarray(reached / 2**n if every else (reached + 1) / (resamples + 1), dtype=float)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return *p_values* adjusted by Holm's step-down rule.

    Scandinavian Journal of Statistics 1979; 6:65.
    """
    adjusted = [0.0] * len(p_values)
    reached = 0.0
    for done, place in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        reached = max(reached, min(1.0, (len(p_values) - done) * p_values[place]))
        adjusted[place] = reached
    return adjusted


class PairsOf(NamedTuple):
    """The p of the differences of *pairs*."""

    pairs: Sequence[tuple[str, str]]
    p_values: Sequence[float]


_MOST_GROUPED = 8
"""Models whose every grouping is looked at; of more, pairs are only counted, which is never less cautious."""


def shaffer(tables: Sequence[PairsOf]) -> list[list[float]]:
    """Return the p of pairs in *tables*, adjusted over all of them.

    Holm's rule with what pairs imply for each other (Shaffer, Journal of the American Statistical Association 1986;
    81:826): where A differs from B, C cannot equal both. A step multiplies by how many pairs can still be equal, never
    by more than Holm's; the first is Holm's, so that equal models are told apart as rarely.
    """
    adjusted = [[1.0] * len(table.p_values) for table in tables]
    apart: list[list[tuple[str, str]]] = [[] for _ in tables]
    left = [len(table.p_values) for table in tables]
    reached = 0.0
    every = ((p, at, place) for at, table in enumerate(tables) for place, p in enumerate(table.p_values))
    for p, at, place in sorted(every):
        pair = tables[at].pairs[place]
        equal = sum(left) - left[at] + _still_equal(tables[at].pairs, apart[at], pair)
        reached = max(reached, equal * p)
        if reached >= 1:
            break
        adjusted[at][place] = reached
        apart[at].append(pair)
        left[at] = _still_equal(tables[at].pairs, apart[at])
    return adjusted


def _still_equal(
    pairs: Sequence[tuple[str, str]], apart: Sequence[tuple[str, str]], equal: tuple[str, ...] = ()
) -> int:
    """Return how many of *pairs* can be equal at most.

    Those *apart* differ, those in *equal* do not; equality makes groups, so that of three models never two pairs alone
    are equal.
    """
    place = {name: at for at, name in enumerate(sorted({name for pair in pairs for name in pair}))}
    if len(place) > _MOST_GROUPED:
        most = math.comb(len(place), 2) - len(apart)
        counted = max((count for count in _equal_pairs(len(place)) if count <= most), default=0)
        return min(counted, len(pairs) - len(apart))
    differs = [0] * len(place)
    for a, b in apart:
        differs[place[a]] |= 1 << place[b]
        differs[place[b]] |= 1 << place[a]
    tested = [1 << place[a] | 1 << place[b] for a, b in pairs]

    @cache
    def is_group(models: int) -> bool:
        return not any(models >> at & 1 and models & differs[at] for at in range(len(place)))

    @cache
    def most_equal(models: int, together: int = 0) -> int:
        """Return the most equal pairs of *models*, those *together* in one group."""
        if is_group(models):
            return sum(pair & models == pair for pair in tested)
        first = together or models & -models
        others, best = models ^ first, 0
        with_first = others
        while True:
            group = first | with_first
            if is_group(group):
                inside = sum(pair & group == pair for pair in tested)
                best = max(best, inside + most_equal(others ^ with_first))
            if not with_first:
                return best
            with_first = (with_first - 1) & others

    return most_equal((1 << len(place)) - 1, sum(1 << place[name] for name in equal))


@cache
def _equal_pairs(models: int) -> tuple[int, ...]:
    """Return how many pairs of *models* can be equal at once, ascending."""
    counts = {
        size * (size - 1) // 2 + rest for size in range(1, models + 1) for rest in _equal_pairs(models - size)
    }
    return tuple(sorted(counts or {0}))


def clustered_t_test(differences: Floats, clusters: Ints) -> tuple[float, float]:
    """Is the mean of paired *differences* 0, when whole clusters were sampled?

    Returns:
        p of Student's t on the cluster-robust standard error (Liang & Zeger 1986; for evaluations Miller,
        arXiv 2411.00640), with the effective number of clusters less one as degrees of freedom, and the
        design effect: clustered variance over that of independent samples. p is 1 where nothing differs,
        the design effect then 1. Where all clusters have the same mean, their spread is known from nothing: p is
        then that of all of them on one side by chance.
    """
    import numpy as np
    from scipy.special import stdtr

    finite = np.isfinite(differences)
    values, of = differences[finite], clusters[finite]
    present = len(np.unique(of))
    if not values.any() or present < 2:
        return 1.0, 1.0
    sizes = np.bincount(of)
    effective = effective_clusters(sizes)
    n, mean = len(values), float(values.mean())
    sums = np.bincount(of, weights=values - mean)
    variance = float((sums**2).sum()) * effective / (effective - 1) / n**2
    independent = float(values.var(ddof=1)) / n
    if variance == 0 or independent == 0:
        return (max(SMALLEST_P, 2.0 ** (1 - present)) if mean else 1.0), 1.0
    p = float(2 * stdtr(effective - 1, -abs(mean) / math.sqrt(variance)))
    return max(SMALLEST_P, p), variance / independent


def tie_groups(order: Sequence[str], different: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the letters of each name, by insert-and-absorb.

    Piepho, Journal of Computational and Graphical Statistics 2004; 13:456.

    Args:
        order: all names, best first; the best is in group A.
        different: the pairs that were told apart, in any order.

    Returns:
        name -> letters such as "A" or "AB". Two names share a letter exactly when they are not in
        *different*.
    """
    groups: list[frozenset[str]] = [frozenset(order)]
    for a, b in different:
        split = [part for group in groups if {a, b} <= group for part in (group - {a}, group - {b})]
        rest = [group for group in groups if not {a, b} <= group]
        for part in split:
            if not any(part <= group for group in rest):
                rest = [group for group in rest if not group < part]
                rest.append(part)
        groups = rest
    rank = {name: place for place, name in enumerate(order)}
    groups.sort(key=lambda group: sorted(rank[name] for name in group))
    return {
        name: "".join(_letter(place) for place, group in enumerate(groups) if name in group) for name in order
    }


def _letter(place: int) -> str:
    """Return the symbol of a group: A, B, … Z, A', B', …"""
    return chr(ord("A") + place % 26) + "'" * (place // 26)
