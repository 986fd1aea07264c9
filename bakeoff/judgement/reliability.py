"""The intraclass correlation that papers report: two-way random effects, absolute agreement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Icc:
    """ICC(2,1) and ICC(2,k) of a complete table [unit x rater]; NaN where nothing varies or too little is complete.

    Attributes:
        single: ICC(2,1), of one rater; *mean*: ICC(2,k), of the mean of all.
        low, high: ends of the interval of ICC(2,k).
        units, raters: of the complete table.
    """

    single: float
    mean: float
    low: float
    high: float
    units: int
    raters: int


def icc2(table: NDArray[np.float64], alpha: float = 0.05) -> Icc:
    """ICC(2,1) and ICC(2,k) of the units that every rater scored.

    Shrout & Fleiss, Psychological Bulletin 86 (1979) 420-428; interval by McGraw & Wong, Psychological Methods 1
    (1996) 30-46.
    """
    import numpy as np
    from scipy.stats import f

    whole = table[~np.isnan(table).any(axis=1)]
    n, k = whole.shape
    nothing = Icc(math.nan, math.nan, math.nan, math.nan, n, k)
    if n < 2 or k < 2:
        return nothing
    mean = whole.mean()
    between = k * float(((whole.mean(axis=1) - mean) ** 2).sum()) / (n - 1)
    judges = n * float(((whole.mean(axis=0) - mean) ** 2).sum()) / (k - 1)
    total = float(((whole - mean) ** 2).sum())
    rest = max(0.0, total - between * (n - 1) - judges * (k - 1)) / ((n - 1) * (k - 1))
    down = between + (k - 1) * rest + k * (judges - rest) / n
    if total <= 0 or down <= 0 or between + (judges - rest) / n <= 0:
        return nothing
    single = (between - rest) / down
    average = (between - rest) / (between + (judges - rest) / n)
    if rest <= 1e-12:
        return Icc(single, average, math.nan, math.nan, n, k)
    ratio, part = judges / rest, n * (1 + (k - 1) * single) - k * single
    freedom = (k - 1) * (n - 1) * (k * single * ratio + part) ** 2
    freedom /= (n - 1) * (k * single * ratio) ** 2 + part**2
    upper, lower = f.ppf(1 - alpha / 2, n - 1, freedom), f.ppf(1 - alpha / 2, freedom, n - 1)
    noise = k * judges + (k * n - k - n) * rest
    low = n * (between - upper * rest) / (upper * noise + n * between)
    high = n * (lower * between - rest) / (noise + n * lower * between)
    ends = [float(k * end / (1 + (k - 1) * end)) for end in (low, high)]
    return Icc(single, average, ends[0], ends[1], n, k)
