"""Errors of pairs of models, some of which scatter more than others.

Pooling the scatter of all models over cases promises too much for a model that scatters more than the rest, and too
little for the others; each model's own is uncertain. Here a model's own is drawn towards the mean of all, the more, the
less the models differ in it beyond chance: moderated variances (Smyth, Statistical Applications in Genetics and
Molecular Biology 2004; 3:3). How raters differ in taste stays pooled: few raters show that of all models together.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.statistics.crossed import Spread, Squares, pair_error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_LEAST_EXCESS = 1e-4
"""Variance of log scatter beyond chance below which models count as alike."""
_LEAST_SHARE = 0.25
"""Of what a model's residuals show of its own scatter: an estimate may not come out near 0, or below."""


class _Scatter(NamedTuple):
    """Variances of models over cases, and how far each rests on its own."""

    variances: Floats
    own: float


def pair_errors(cube: Floats, squares: Squares) -> list[Spread]:
    """Return the spread of the difference of every two models' means.

    In the order of ``combinations``; *cube* [case x model x rater] is complete, with two raters or more.
    """
    cases, models, raters = cube.shape
    pooled = pair_error(squares, cases, raters)
    pairs = list(combinations(range(models), 2))
    scatter = _moderated(cube)
    if scatter is None:
        return [pooled] * len(pairs)
    return [_spread(cube.shape, squares, scatter, pair) for pair in pairs]


def _moderated(cube: Floats) -> _Scatter | None:
    """Return the scatter of each model over cases; None where all are alike.

    So they count where they differ no more than by chance, and where there are too few to tell.
    """
    import numpy as np
    from scipy.special import polygamma

    cases, models, _ = cube.shape
    if models < 3 or cases < 3:
        return None
    means = cube.mean(axis=2)
    left = means - means.mean(axis=1, keepdims=True) - means.mean(axis=0, keepdims=True) + means.mean()
    seen = (left**2).sum(axis=0) / (cases - 1)
    if seen.min() <= 0:
        return None
    freedom = (cases - 1) * (1 - 1 / models)
    excess = float(np.log(seen).var(ddof=1)) - float(polygamma(1, freedom / 2))
    if excess <= _LEAST_EXCESS:
        return None
    prior = 2 * _inverse_trigamma(excess)
    # a residual holds its own model's scatter less a share, and a share of all the others'
    total = seen.sum() / (1 - 1 / models)
    own = np.maximum((seen - total / models**2) / (1 - 2 / models), _LEAST_SHARE * seen)
    share = freedom / (prior + freedom)
    return _Scatter(own.mean() + share * (own - own.mean()), share)


def _inverse_trigamma(value: float) -> float:
    """Return the x whose trigamma function is *value* (Newton's method)."""
    from scipy.special import polygamma

    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x


def _spread(shape: tuple[int, ...], squares: Squares, scatter: _Scatter, pair: tuple[int, int]) -> Spread:
    """Return the spread of one pair: both models' scatter, and raters' tastes."""
    cases, _, raters = shape
    square, df = squares
    case = raters * float(scatter.variances[list(pair)].sum())
    taste = 2 * (square["mr"] - square["cmr"])
    # A rater part below the rest is chance: raters are never worth more than independent ratings.
    total = max(case + taste, 2 * square["mr"])
    of_cases = min(_freedom_of_cases(scatter.variances, pair, cases) / scatter.own, df["cm"])
    terms = ((2 * square["mr"], df["mr"]), (2 * square["cmr"], df["cmr"]), (case, of_cases))
    spread = sum(part**2 / freedom for part, freedom in terms)
    fewest, most = min(df["mr"], cases - 1), df["mr"] + df["cm"] + df["cmr"]
    return Spread(total / (cases * raters), min(max(total**2 / spread, fewest), most))


def _freedom_of_cases(variances: Floats, pair: tuple[int, int], cases: int) -> float:
    """Return the degrees of freedom of two models' own scatter together.

    Their sum is a quadratic form of the residuals over cases, A; with their covariance S these are
    ``tr(AS)^2 / tr(ASAS)`` for each case but one.
    """
    import numpy as np

    models = len(variances)
    centred = np.eye(models) - 1 / models
    covariance = centred @ np.diag(variances) @ centred
    form = np.full(models, -2 / models**2 / (1 - 1 / models))
    form[list(pair)] += 1
    product = form[:, None] * covariance
    return float((cases - 1) * np.trace(product) ** 2 / math.fsum((product * product.T).ravel()))
