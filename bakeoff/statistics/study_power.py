"""How far apart two models must lie for a study of ratings to see it.

A few raters know their own variance badly: the mean square from which the standard error and its degrees of freedom
are taken may come out at a tenth of its expectation, or at three times as much. The usual ``(t + z) * standard error``
takes it as known, and promises 80 % where 55 to 75 % of studies find the difference. Here the limit of significance is
computed at every quantile of the mean squares, and the power is the mean over them, as the noncentral t is a mean over
one variance.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_QUANTILES = (20, 20, 3)
"""At how many quantiles the mean squares rater x model, case x model and rest are looked at."""


class Parts(NamedTuple):
    """Variance parts of ratings, in points squared."""

    case_model: float
    rater_model: float
    rest: float


class Size(NamedTuple):
    """How many cases, raters and models a study has."""

    cases: int
    raters: int
    models: int


@lru_cache(maxsize=4096)
def least_difference(size: Size, parts: Parts, level: float, power: float, width: float) -> float:
    """Return the difference in points found with *power*.

    By the analysis of :func:`bakeoff.statistics.raters.compare_ratings` where all models scatter alike.

    Args:
        level: two-sided, of a single pair.
        width: of the scale; infinite is returned where it would not do.
    """
    from scipy.special import ndtr

    limits = _limits(size, parts, level, width)
    cases, raters, _ = size
    variance = parts.rater_model / raters + parts.case_model / cases + parts.rest / (cases * raters)
    error = math.sqrt(max(2 * variance, 1e-12))

    def is_found(difference: float) -> bool:
        ends = ndtr((difference - limits) / error) + ndtr((-difference - limits) / error)
        return float(ends.mean()) >= power

    if not is_found(width):
        return math.inf
    low, high = 0.0, width
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return high


def _limits(size: Size, parts: Parts, level: float, width: float) -> Floats:
    """Return the observed differences from which a pair is significant.

    At every combination of quantiles of the mean squares, in points.
    """
    import numpy as np

    cases, raters, models = size
    df = ((models - 1) * (raters - 1), (models - 1) * (cases - 1), (models - 1) * (cases - 1) * (raters - 1))
    expected = (parts.rest + cases * parts.rater_model, parts.rest + raters * parts.case_model, parts.rest)
    of_raters, of_cases, of_rest = np.meshgrid(
        *(
            square * _quantiles(freedom, count)
            for square, freedom, count in zip(expected, df, _QUANTILES, strict=True)
        )
    )
    has_taste = of_cases > of_rest
    total = of_raters + np.where(has_taste, of_cases - of_rest, 0.0)
    below = of_raters**2 / df[0] + np.where(has_taste, of_cases**2 / df[1] + of_rest**2 / df[2], 0.0)
    fewest = np.where(has_taste, float(min(df)), float(df[0]))
    freedom = np.divide(total**2, below, out=fewest.copy(), where=below > 0)
    freedom = np.minimum(np.maximum(freedom, fewest), np.where(has_taste, sum(df), df[0]))
    variance = 2 * total / (cases * raters)
    floor = (width / 4 / (cases + 1)) ** 2  # as bakeoff.statistics.crossed.at_least_a_case
    freedom = np.where(variance < floor, np.minimum(freedom, min(cases - 1.0, float(df[0]))), freedom)
    reach = np.exp(np.interp(np.log(freedom), *_student(level)))
    return np.asarray(reach * np.sqrt(np.maximum(variance, floor))).ravel()


@lru_cache(maxsize=64)
def _student(level: float) -> tuple[Floats, Floats]:
    """Return logarithms of degrees of freedom, and of Student's t at *level*.

    A table, since the quantile itself takes longer than all the rest.
    """
    import numpy as np
    from scipy.special import stdtrit

    at = np.concatenate([np.linspace(0, 4, 400), np.linspace(4.1, 25, 100)])
    return at, np.asarray(np.log(stdtrit(np.exp(at), 1 - level / 2)))


@lru_cache(maxsize=1024)
def _quantiles(freedom: int, count: int) -> Floats:
    """Return the means of *count* equal parts of chi-square over freedom."""
    import numpy as np
    from scipy.special import chdtri, gammainc

    ends = chdtri(freedom, 1 - np.arange(count + 1) / count)
    below = np.append(gammainc(freedom / 2 + 1, ends[:-1] / 2), 1.0)
    return np.asarray(np.diff(below) * count)
