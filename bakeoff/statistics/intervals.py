"""Closed intervals: accuracies, differences, means, effect sizes."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


class Interval(NamedTuple):
    """A confidence interval, in the unit of the value it belongs to."""

    low: float
    high: float


def wilson(right: float, n: float, alpha: float = 0.05) -> Interval:
    """Return Wilson's score interval for *right* out of *n*.

    E. B. Wilson, JASA 1927; 22:209. NaN for n = 0. The standard library suffices for it, since the process that asks
    the questions loads no scipy.
    """
    if n == 0:
        return Interval(math.nan, math.nan)
    z = NormalDist().inv_cdf(alpha / 2)
    share, square = right / n, z * z / n
    middle = (share + square / 2) / (1 + square)
    reach = -z * math.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    # rounding must not leave the share itself outside
    return Interval(max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach)))


def clustered_wilson(
    right: float, n: int, clusters: int | float, design_effect: float, alpha: float = 0.05
) -> Interval:
    """Return Wilson's interval for samples that come in *clusters*.

    *clusters* is their effective number; *n* shrinks by the design effect, and Student's t with clusters - 1 degrees
    of freedom replaces the normal (Korn & Graubard, Survey Methodology 1998). Unlike a bootstrap it stays right close
    to 0 and 1.
    """
    from scipy.special import ndtr, stdtrit

    inflated = max(1.0, design_effect)
    tail = 2 * float(ndtr(stdtrit(max(clusters - 1, 1), alpha / 2)))
    return wilson(right / inflated, n / inflated, tail)


def agresti_min(only_a: int, only_b: int, n: int, alpha: float = 0.05) -> Interval:
    """Return the interval of the difference of two paired accuracies.

    It holds even without a single disagreement: Wald's formula with half a sample added to each of the four cells
    (Agresti & Min, Statistics in Medicine 2005). NaN for n = 0.
    """
    from scipy.special import ndtri

    if n == 0:
        return Interval(math.nan, math.nan)
    total = n + 2
    difference = (only_a - only_b) / total
    spread = math.sqrt((only_a + only_b + 1) / total - difference**2) / math.sqrt(total)
    reach = -float(ndtri(alpha / 2)) * spread
    return Interval(max(-1.0, difference - reach), min(1.0, difference + reach))


def matched_odds_ratio(only_a: float, only_b: float, alpha: float = 0.05) -> tuple[float, Interval]:
    """Return only_a / only_b and its interval: a alone right, b alone.

    Wilson's interval for a's share of the disagreements, taken to odds (conditional on them: Breslow & Day
    1980, section 5.2). NaN and (0, inf) without a disagreement; inf where b alone was never right.
    """
    total = only_a + only_b
    if total == 0:
        return math.nan, Interval(0.0, math.inf)
    low, high = wilson(only_a, total, alpha)
    return odds(only_a / total), Interval(odds(low), odds(high))


def odds(share: float) -> float:
    """Return the odds of a share; inf for a share of 1."""
    return math.inf if share >= 1 else share / (1 - share)


def cohens_h(first: float, second: float) -> float:
    """Return the difference of two proportions on the arcsine scale.

    .2 small, .5 medium, .8 large (Cohen 1988, chapter 6).
    """
    return 2 * math.asin(math.sqrt(first)) - 2 * math.asin(math.sqrt(second))


def bounded_interval(
    mean: float,
    error: tuple[float, float],
    cases: int,
    scale: tuple[float, float],
    alpha: float = 0.05,
    raters: int = 1,
) -> Interval:
    """Return Student's t interval of a mean on a bounded scale.

    It cannot shrink to a point.

    Half a case is put at each end of the scale beforehand, as Agresti & Min do for shares, so that five cases
    without a fault do not promise a faultless sixth; *raters* who judged alike share it out (by their square root,
    for they are no independent cases). *error*: variance of the mean and its degrees of freedom.
    NaN below two cases.
    """
    from scipy.special import stdtrit

    if cases < 2:
        return Interval(math.nan, math.nan)
    bottom, top = scale
    variance, freedom = error
    weight = 1 / math.sqrt(raters)
    size = cases + weight
    middle = (cases * mean + weight * (bottom + top) / 2) / size
    added = cases * (mean - middle) ** 2 + weight * ((bottom - middle) ** 2 + (top - middle) ** 2) / 2
    added *= weight / size**2
    shrunk = variance * (cases / size) ** 2
    total = shrunk + added
    df = total**2 / (shrunk**2 / freedom + added**2 / (cases - 1))
    reach = float(stdtrit(df, 1 - alpha / 2)) * math.sqrt(total)
    return Interval(max(bottom, min(mean, middle - reach)), min(top, max(mean, middle + reach)))
