"""Intraclass correlation: how far raters agree on the same units.

For one rater, and for the mean of all.

ICC(2,1) and ICC(2,k) of Shrout & Fleiss (Psychological Bulletin 1979; 86:420): units and raters are both a sample,
agreement is absolute. k is the number of raters whose mean is reported.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.foundation.errors import RatingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


class Reliability(NamedTuple):
    """ICC(2,1) and ICC(2,k) with their intervals; NaN where nothing varies, or too little was rated.

    ``units`` were rated by every one of the ``raters``.
    """

    single: float
    single_low: float
    single_high: float
    mean: float
    mean_low: float
    mean_high: float
    units: int
    raters: int


def icc(ratings: ArrayLike, *, alpha: float = 0.05) -> Reliability:
    """Return the intraclass correlations of *ratings* [unit x rater].

    Units that a rater left out are not counted; a rater who left out more than half of them is not either.

    Raises:
        RatingError: *ratings* is no table of numbers.
    """
    import numpy as np
    from scipy.special import fdtri

    try:
        table = np.asarray(ratings, dtype=float)
    except (TypeError, ValueError) as error:
        raise RatingError(f"icc: ratings must be numbers, NaN for none ({error})") from None
    if table.ndim != 2:
        raise RatingError(f"icc: wanted a table [unit x rater], not {table.ndim} dimension(s)")
    if table.size:
        table = table[:, np.isfinite(table).mean(axis=0) > 0.5]
        table = table[np.isfinite(table).all(axis=1)]
    n, k = table.shape
    nothing = Reliability(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, n, k)
    if n < 2 or k < 2:
        return nothing
    by_unit, by_rater, all_over = table.mean(axis=1), table.mean(axis=0), table.mean()
    units = k * float(((by_unit - all_over) ** 2).sum()) / (n - 1)
    raters = n * float(((by_rater - all_over) ** 2).sum()) / (k - 1)
    rest = float(((table - by_unit[:, None] - by_rater[None, :] + all_over) ** 2).sum()) / ((n - 1) * (k - 1))
    total = units + (k - 1) * rest + k * (raters - rest) / n
    if total <= 1e-12:
        return nothing
    single = (units - rest) / total
    if rest <= 1e-12 * total and raters <= 1e-12 * total:
        return Reliability(1.0, math.nan, 1.0, 1.0, math.nan, 1.0, n, k)
    averaged = units + (raters - rest) / n
    mean = (units - rest) / averaged if averaged > 1e-12 else math.nan
    # Satterthwaite's degrees of freedom of the raters' and the rest's mean squares together
    ratio = raters / rest if rest > 0 else math.inf
    if math.isinf(ratio):
        freedom = k - 1.0
    else:
        core = n * (1 + (k - 1) * single) - k * single
        freedom = (k - 1) * (n - 1) * (k * single * ratio + core) ** 2
        freedom /= (n - 1) * (k * single * ratio) ** 2 + core**2
    most, least = (float(fdtri(*df, 1 - alpha / 2)) for df in ((n - 1, freedom), (freedom, n - 1)))
    noise = k * raters + (k * n - k - n) * rest
    low = n * (units - most * rest) / (most * noise + n * units)
    high = n * (least * units - rest) / (noise + n * least * units)
    return Reliability(single, low, high, mean, _stepped_up(low, k), _stepped_up(high, k), n, k)


def _stepped_up(single: float, raters: int) -> float:
    """Spearman & Brown: the reliability of a mean of so many raters."""
    below = 1 + (raters - 1) * single
    return raters * single / below if below > 0 else -math.inf
