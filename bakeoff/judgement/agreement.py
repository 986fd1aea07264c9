"""How far raters agree, with others and with themselves.

Ratings come as a table [unit x rater] of numbers with NaN where a rater did not judge a unit, or tidy: one
row per judgement. docs/statistics.md explains each measure in plain words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from bakeoff.foundation.errors import RatingError
from bakeoff.statistics.bootstrap import multinomial_weights
from bakeoff.statistics.intervals import Interval, wilson

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

Level = Literal["nominal", "ordinal", "interval", "ratio"]

RELIABLE = 0.8
TENTATIVE = 0.667

LEAST_UNITS = 3
"""Below this many units rated twice, agreement is not read as a word: two replies alike show nothing."""

MOST_VALUES = 100
"""A table of value by value per unit is kept in memory; ratings with more values are measurements."""


@dataclass(frozen=True)
class Agreement:
    """A coefficient of agreement: 1 perfect, 0 what chance would give, below 0 worse than chance.

    Attributes:
        value: the coefficient; NaN where every rating is the same, or nothing can be paired.
        low: lower end of its interval.
        high: upper end of its interval.
        units: how many units were rated at least twice; no other tells anything about agreement.
        ratings: how many ratings these units have together.
        reading: "reliable", "tentative", "not reliable" or "undefined", see :func:`reading`.
    """

    value: float
    low: float
    high: float
    units: int
    ratings: int
    reading: str


def reading(value: float) -> str:
    """Return the conventional reading of an agreement coefficient.

    Krippendorff, Content Analysis, chapter on reliability: from .80 "reliable"; from .667 "tentative":
    only tentative conclusions; below "not reliable"; NaN "undefined".
    """
    if math.isnan(value):
        return "undefined"
    return "reliable" if value >= RELIABLE else "tentative" if value >= TENTATIVE else "not reliable"


def krippendorff_alpha(
    ratings: ArrayLike | pd.DataFrame,
    level: Level = "ordinal",
    *,
    alpha: float = 0.05,
    resamples: int = 2_000,
    seed: int = 0,
) -> Agreement:
    """Return Krippendorff's alpha of *ratings* [unit x rater], gaps allowed.

    One minus observed over expected disagreement (Krippendorff, Computing Krippendorff's Alpha-Reliability,
    2011). The interval comes from resampling units: other units like these, rated by raters like these.

    Raises:
        RatingError: *ratings* is no table of numbers, *level* is unknown, a ratio scale holds a negative
            number, or there are more than 100 different ratings on a scale other than interval.
    """
    import numpy as np

    table = _as_table(ratings, "krippendorff_alpha")
    if level not in ("nominal", "ordinal", "interval", "ratio"):
        raise RatingError(
            f"krippendorff_alpha: level {level!r} is unknown; use nominal, ordinal, interval or ratio"
        )
    table = table[np.isfinite(table).sum(axis=1) >= 2]
    rated = np.isfinite(table)
    values = np.unique(table[rated])
    if level == "ratio" and (values < 0).any():
        raise RatingError(
            f"krippendorff_alpha: rating {values[0]:g} has no place on a ratio scale; use level='interval'"
        )
    if len(values) < 2:
        return Agreement(math.nan, math.nan, math.nan, len(table), int(rated.sum()), "undefined")
    if level != "interval" and len(values) > MOST_VALUES:
        raise RatingError(
            f"krippendorff_alpha: {len(values)} different ratings are too many for level {level!r} (at most "
            f"{MOST_VALUES}); round them, or use level='interval'"
        )
    if level == "interval":
        filled, raters = np.where(rated, table, 0.0), rated.sum(axis=1)
        total, squares = filled.sum(axis=1), (filled**2).sum(axis=1)
        within = (raters * squares - total**2) / (raters - 1)
        features = np.column_stack([within, raters, total, squares])
        value, ends = _by_units(features, _interval_alpha, alpha, resamples, seed)
    else:
        counts = np.stack([(table == each).sum(axis=1) for each in values], axis=1).astype(float)
        # Pairs of values within a unit, each unit weighing as many as it has ratings.
        pairs = counts[:, :, None] * counts[:, None, :]
        pairs[:, np.arange(len(values)), np.arange(len(values))] -= counts
        pairs /= (counts.sum(axis=1) - 1)[:, None, None]
        features = np.hstack([pairs.reshape(len(table), -1), counts])
        value, ends = _by_units(features, partial(_alpha, values=values, level=level), alpha, resamples, seed)
    return _agreement(value, ends, len(table), int(rated.sum()))


def _agreement(value: float, ends: Interval, units: int, ratings: int) -> Agreement:
    word = reading(value) if units >= LEAST_UNITS else "undefined"
    return Agreement(value, *ends, units, ratings, word)


def _as_table(ratings: ArrayLike | pd.DataFrame, caller: str) -> Floats:
    """*ratings* as numbers [unit x rater]."""
    import numpy as np

    try:
        table = np.asarray(ratings, dtype=float)
    except (TypeError, ValueError) as error:
        raise RatingError(f"{caller}: ratings must be numbers, NaN for none ({error})") from None
    if table.size == 0:
        return table.reshape(0, 2)
    if table.ndim != 2:
        raise RatingError(f"{caller}: wanted a table [unit x rater], not {table.ndim} dimension(s)")
    return table


def _alpha(sums: Floats, values: Floats, level: Level) -> Floats:
    """Return alpha per resample from *sums*.

    The coincidences of value with value, row by row, then how often each occurs.
    """
    import numpy as np

    kinds = len(values)
    together, margin = sums[:, :-kinds].reshape(-1, kinds, kinds), sums[:, -kinds:]
    place = np.broadcast_to(values, margin.shape)
    if level == "ordinal":
        place = np.cumsum(margin, axis=1) - margin / 2
    distance = np.abs(place[:, :, None] - place[:, None, :])
    if level == "nominal":
        distance = (distance > 0).astype(float)
    elif level == "ratio":
        total = place[:, :, None] + place[:, None, :]
        distance = np.divide(distance, total, out=np.zeros_like(distance), where=total > 0)
    squared = distance**2
    observed = (together * squared).sum(axis=(1, 2))
    expected = (margin[:, :, None] * margin[:, None, :] * squared).sum(axis=(1, 2)) / (margin.sum(axis=1) - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(expected > 0, 1 - observed / expected, np.nan), dtype=float)


def _interval_alpha(sums: Floats) -> Floats:
    """Return alpha per resample for squared distances, from four sums.

    Disagreement within units, ratings, their total, their squares.
    """
    import numpy as np

    observed, n, total, squares = sums.T
    expected = (n * squares - total**2) / (n - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(expected > 1e-12 * n, 1 - observed / expected, np.nan), dtype=float)


def fleiss_kappa(
    ratings: ArrayLike | pd.DataFrame, *, alpha: float = 0.05, resamples: int = 2_000, seed: int = 0
) -> Agreement:
    """Return Fleiss' kappa of *ratings* [unit x rater].

    Psychological Bulletin 1971; the interval is by resampling units. Categories have no order; every unit needs as
    many ratings as any other (whose they are does not matter).

    Raises:
        RatingError: units have unequally many ratings, or fewer than two.
    """
    import numpy as np

    table = _as_table(ratings, "fleiss_kappa")
    rated = np.isfinite(table)
    per_unit = rated.sum(axis=1)
    if not len(table) or per_unit.min() < 2 or per_unit.min() != per_unit.max():
        raise RatingError(
            "fleiss_kappa: each unit needs the same number of ratings, two or more; use krippendorff_alpha"
        )
    counts = np.stack([(table == value).sum(axis=1) for value in np.unique(table[rated])], axis=1).astype(
        float
    )

    raters = counts[0].sum()
    agreed = ((counts**2).sum(axis=1) - raters) / (raters * (raters - 1))

    def coefficient(sums: Floats) -> Floats:
        count, share = sums[:, 1], sums[:, 2:]
        chance = ((share / share.sum(axis=1, keepdims=True)) ** 2).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(
                np.where(chance < 1, (sums[:, 0] / count - chance) / (1 - chance), np.nan), dtype=float
            )

    features = np.column_stack([agreed, np.ones(len(table)), counts])
    value, ends = _by_units(features, coefficient, alpha, resamples, seed)
    return _agreement(value, ends, len(table), int(rated.sum()))


def weighted_kappa(
    first: Sequence[float] | Floats,
    second: Sequence[float] | Floats,
    weights: Literal["none", "linear", "quadratic"] = "quadratic",
    *,
    alpha: float = 0.05,
    resamples: int = 2_000,
    seed: int = 0,
) -> Agreement:
    """Return Cohen's weighted kappa of two raters on the same units.

    Disagreements weigh by their distance (Cohen 1968). *first* and *second* are aligned; units that either lacks
    (NaN) are left out and not counted in ``units``. Distances are those of the numbers given, so a Likert point that
    nobody used still counts. Interval by resampling units.

    Raises:
        RatingError: the two differ in length, are no numbers, or *weights* is unknown.
    """
    import numpy as np

    if weights not in ("none", "linear", "quadratic"):
        raise RatingError(f"weighted_kappa: weights {weights!r} are unknown; use none, linear or quadratic")
    try:
        x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    except (TypeError, ValueError) as error:
        raise RatingError(f"weighted_kappa: ratings must be numbers, NaN for none ({error})") from None
    if x.shape != y.shape:
        raise RatingError(
            f"weighted_kappa: {x.size} ratings stand against {y.size}; give both for each unit, NaN for none"
        )
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    values = np.unique(np.concatenate([x, y]))
    if len(values) < 2:
        return Agreement(math.nan, math.nan, math.nan, len(x), 2 * len(x), "undefined")
    ones, twos = (x[:, None] == values).astype(float), (y[:, None] == values).astype(float)
    gap = np.abs(values[:, None] - values[None, :])
    cost = {"none": (gap > 0).astype(float), "linear": gap, "quadratic": gap**2}[weights]
    own_cost = (ones @ cost * twos).sum(axis=1)

    def coefficient(sums: Floats) -> Floats:
        left, right = np.hsplit(sums[:, 2:], 2)
        expected = (left @ cost * right).sum(axis=1) / sums[:, 1]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(expected > 0, 1 - sums[:, 0] / expected, np.nan), dtype=float)

    features = np.column_stack([own_cost, np.ones(len(x)), ones, twos])
    value, ends = _by_units(features, coefficient, alpha, resamples, seed)
    return _agreement(value, ends, len(x), 2 * len(x))


def _by_units(
    features: Floats, coefficient: Callable[[Floats], Floats], alpha: float, resamples: int, seed: int
) -> tuple[float, Interval]:
    """Return *coefficient* of the sums of *features*, with its interval.

    *features* is [unit x feature]; the interval resamples units. BCa with tails as Student's t; bias and acceleration
    after Efron, JASA 1987: a coefficient near its upper end has a skewed distribution.
    """
    import numpy as np
    from scipy.special import ndtr, ndtri, stdtrit

    units = len(features)
    total = features.sum(axis=0)
    value = float(coefficient(total[None])[0])
    if math.isnan(value) or units < 3:
        return value, Interval(math.nan, math.nan)
    weights = multinomial_weights(
        np.ones(units, dtype=np.int64), units, resamples, np.random.default_rng(seed)
    )
    draws = coefficient(weights @ features)
    draws = draws[np.isfinite(draws)]
    without = coefficient(total - features)
    pull = np.nanmean(without) - without[np.isfinite(without)] if np.isfinite(without).any() else without[:0]
    spread = float((pull**2).sum())
    # Where one unit's removal leaves no variation, or every resample says the same, a resample shows nothing.
    if not np.isfinite(without).all() or spread == 0 or not len(draws) or np.ptp(draws) < 1e-12:
        return value, Interval(_one_sided(value, units, alpha), 1.0 if value > 0 else math.nan)
    acceleration = float((pull**3).sum()) / (6 * spread**1.5)
    below = float((draws < value).mean() + (draws == value).mean() / 2)
    bias = float(ndtri(min(max(below, 0.5 / len(draws)), 1 - 0.5 / len(draws))))
    reach = math.sqrt(units / (units - 1)) * float(stdtrit(units - 1, 1 - alpha / 2))
    tails = [float(ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))) for z in (-reach, reach)]
    low, high = (float(end) for end in np.quantile(draws, tails))
    if high - low < 1e-12:
        return value, Interval(_one_sided(value, units, alpha), 1.0 if value > 0 else math.nan)
    return value, Interval(low, high)


def _one_sided(value: float, units: int, alpha: float) -> float:
    """Return the lower end where no unit disagreed.

    It follows from the share of disagreement that so many units may hide. ``1 - alpha ** (1 / units)`` (Clopper &
    Pearson without an event), twice, as if it stood against an expected disagreement of one half. NaN for any other
    value: nothing bounds it.
    """
    return max(-1.0, 1 - 2 * (1 - alpha ** (1 / units))) if value > 1 - 1e-9 else math.nan


def intra_rater(
    judgements: pd.DataFrame, unit: Sequence[str] = ("item",), alpha: float = 0.05
) -> pd.DataFrame:
    """How a rater judges when the same unit comes again.

    Args:
        judgements: one row per judgement in the order given: rater, the columns of *unit*, score.
        unit: the columns that together name what was judged, e.g. ("item", "model", "dimension").
        alpha: one minus the confidence of the interval.

    Returns:
        One row per rater with a repeat: rater, repeats, exact (share judged the same again), low, high
        (Wilson), within_one (share at most one point apart), drift (mean of second minus first), kappa
        (quadratically weighted, NaN if undefined).
    """
    import pandas as pd

    rows = judgements.dropna(subset=["score"])
    turn = rows.groupby(["rater", *unit]).cumcount()
    keys = ["rater", *unit]
    twice = rows[turn == 0].merge(rows[turn == 1], on=keys, suffixes=("_1", "_2"))
    results = []
    for rater, repeated in twice.groupby("rater", sort=True):
        apart = (repeated["score_2"] - repeated["score_1"]).astype(float)
        same = int((apart == 0).sum())
        ends = wilson(same, len(repeated), alpha)
        kappa = weighted_kappa(
            repeated["score_1"].to_numpy(float), repeated["score_2"].to_numpy(float), resamples=1
        )
        results.append(
            {
                "rater": rater,
                "repeats": len(repeated),
                "exact": same / len(repeated),
                "low": ends.low,
                "high": ends.high,
                "within_one": float((apart.abs() <= 1).mean()),
                "drift": float(apart.mean()),
                "kappa": kappa.value,
            }
        )
    return pd.DataFrame(
        results, columns=["rater", "repeats", "exact", "low", "high", "within_one", "drift", "kappa"]
    )


def severity(ratings: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Return how much higher or lower each rater scores than the others.

    Only units that a rater shares with others are compared.

    Args:
        ratings: [unit x rater], NaN for none.
        alpha: one minus the confidence of the interval.

    Returns:
        One row per rater: rater, units (judged jointly with another), severity (mean over these units of
        own score minus the mean of the others; negative: harsher), low, high (Student's t over units; NaN
        below two units, and where all units say the same: how far others would spread is not known then).
    """
    import numpy as np
    import pandas as pd
    from scipy.stats import t

    table = ratings.to_numpy(dtype=float, na_value=np.nan)
    rated = np.isfinite(table)
    others = rated.sum(axis=1, keepdims=True) - rated
    rest = np.where(rated, np.nansum(table, axis=1, keepdims=True) - np.nan_to_num(table), np.nan)
    apart = np.divide(rest, others, out=np.full_like(table, np.nan), where=rated & (others > 0))
    apart = table - apart
    rows = []
    for place, rater in enumerate(ratings.columns):
        distances = apart[np.isfinite(apart[:, place]), place]
        mean = float(distances.mean()) if len(distances) else math.nan
        reach = math.nan
        if len(distances) > 1 and np.ptp(distances) > 1e-9:
            reach = float(
                t.isf(alpha / 2, len(distances) - 1) * distances.std(ddof=1) / math.sqrt(len(distances))
            )
        rows.append(
            {
                "rater": rater,
                "units": len(distances),
                "severity": mean,
                "low": mean - reach,
                "high": mean + reach,
            }
        )
    return pd.DataFrame(rows)
