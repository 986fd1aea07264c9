"""Closed intervals of accuracies, of their differences and of effect sizes."""

from __future__ import annotations

import math
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
    """Wilson's score interval for an accuracy of *right* out of *n* (E. B. Wilson, JASA 1927); NaN for n =
    0.
    """
    from statsmodels.stats.proportion import proportion_confint

    if n == 0:
        return Interval(math.nan, math.nan)
    low, high = proportion_confint(right, n, alpha=alpha, method="wilson")
    return Interval(float(low), float(high))


def clustered_wilson(
    right: float, n: int, clusters: int | float, design_effect: float, alpha: float = 0.05
) -> Interval:
    """Wilson's interval for an accuracy whose *n* samples come in (effectively) so many *clusters*.

    *n* shrinks by the design effect, and Student's t with clusters - 1 degrees of freedom replaces the normal (Korn &
    Graubard, Survey Methodology 1998). Unlike a bootstrap it stays right close to 0 and 1.
    """
    from scipy.special import ndtr, stdtrit

    inflated = max(1.0, design_effect)
    tail = 2 * float(ndtr(stdtrit(max(clusters - 1, 1), alpha / 2)))
    return wilson(right / inflated, n / inflated, tail)


def agresti_min(only_a: int, only_b: int, n: int, alpha: float = 0.05) -> Interval:
    """Interval for the difference of two paired accuracies, right even without a single disagreement.

    Wald's formula with half a sample added to each of the four cells (Agresti & Min, Statistics in Medicine
    2005).
    """
    from scipy.special import ndtri

    total = n + 2
    difference = (only_a - only_b) / total
    spread = math.sqrt((only_a + only_b + 1) / total - difference**2) / math.sqrt(total)
    reach = -float(ndtri(alpha / 2)) * spread
    return Interval(max(-1.0, difference - reach), min(1.0, difference + reach))


def matched_odds_ratio(only_a: float, only_b: float, alpha: float = 0.05) -> tuple[float, Interval]:
    """How much more often a alone was right than b alone: only_a / only_b, and its interval.

    Wilson's interval for a's share of the disagreements, taken to odds (conditional on them: Breslow & Day
    1980, section 5.2). NaN and (0, inf) without a disagreement; inf where b alone was never right.
    """
    total = only_a + only_b
    if total == 0:
        return math.nan, Interval(0.0, math.inf)
    low, high = wilson(only_a, total, alpha)
    return odds(only_a / total), Interval(odds(low), odds(high))


def odds(share: float) -> float:
    """The odds of a share; inf for a share of 1."""
    return math.inf if share >= 1 else share / (1 - share)


def cohens_h(first: float, second: float) -> float:
    """Difference of two proportions on the arcsine scale; .2 small, .5 medium, .8 large (Cohen 1988,
    chapter 6).
    """
    return 2 * math.asin(math.sqrt(first)) - 2 * math.asin(math.sqrt(second))
