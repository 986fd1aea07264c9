"""What ratings say about models where raters saw some of the cases only.

Whoever sees a case sees every model's reply to it, so that a case with a rater is a block. Blocks are split into their
mean over models and into contrasts of models; in both, cases and raters are crossed random effects whose variance
parts are estimated by restricted maximum likelihood (Patterson & Thompson, Biometrika 1971; 58:545). Degrees of
freedom follow Satterthwaite's rule from the expected information. In a complete design the estimates are those of
:mod:`bakeoff.statistics.raters`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.judgement.blind import Study
from bakeoff.statistics.crossed import Spread, at_least_a_case
from bakeoff.statistics.icc import Reliability, icc
from bakeoff.statistics.intervals import bounded_interval
from bakeoff.statistics.raters import Pair, Rated, Ratings, Score, decided
from bakeoff.statistics.study import why_no_letters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Places = NDArray[np.intp]

MOST_STEPS = 100
_LEAST_REST = 1e-6
"""The rest as a share of all variance, at least: without any rest the likelihood has no maximum."""


class Components(NamedTuple):
    """Variance parts of a crossed layout, and what follows for its mean.

    *first* and *second* are those of the two factors (NaN where it cannot be told from the rest); *variance* is that
    of the estimated *means* (one per layer), *freedom* its degrees of freedom.
    """

    first: float
    second: float
    rest: float
    means: Floats
    variance: float
    freedom: float


def crossed_components(layers: Floats, first: Places, second: Places) -> Components:
    """Return the variance parts of *layers* [observation x layer].

    By restricted maximum likelihood. All layers share the parts, each has a mean of its own. *first* and *second*
    say for every observation which level of either factor it belongs to.
    """
    import numpy as np

    count = len(layers)
    # A factor with a level of its own for every observation is the rest itself, and one with a single level the mean.
    is_told = [1 < len(np.unique(places)) < count for places in (first, second)]
    designs = [
        (places[:, None] == np.unique(places)[None, :]).astype(float)
        for places, told_apart in zip((first, second), is_told, strict=True)
        if told_apart
    ]
    total = float(layers.var(axis=0, ddof=1).mean()) if count > 1 else 0.0
    if count < 2 or total <= 1e-12:
        parts = np.zeros(len(designs) + 1)
        state = None
    else:
        parts = np.full(len(designs) + 1, total / (len(designs) + 1))
        state = _State.at(parts, layers, designs)
        for _ in range(MOST_STEPS):
            step = _scored(state, parts, total)
            state = _State.at(step, layers, designs)
            done = float(np.abs(step - parts).max()) < 1e-7 * total
            parts = step
            if done:
                break
    of = iter(parts[:-1])
    shown = [float(next(of)) if told_apart else math.nan for told_apart in is_told]
    if state is None:
        return Components(shown[0], shown[1], 0.0, layers.mean(axis=0), 0.0, max(1.0, count - 1.0))
    spread = float(state.gradient @ np.linalg.pinv(state.information) @ state.gradient)
    freedom = 2 * state.variance**2 / spread if spread > 0 else count - 1.0
    return Components(
        shown[0], shown[1], float(parts[-1]), state.means, state.variance, min(max(freedom, 1.0), count - 1.0)
    )


class _State(NamedTuple):
    """Score and expected information of the parts, and variance and gradient of a layer's mean."""

    score: Floats
    information: Floats
    means: Floats
    variance: float
    gradient: Floats

    @classmethod
    def at(cls, parts: Floats, layers: Floats, designs: Sequence[Floats]) -> _State:
        """Return the state at *parts*: of the designs, then of the rest."""
        import numpy as np

        count, rest = len(layers), float(parts[-1])
        design = np.concatenate([np.zeros((count, 0)), *designs], axis=1)
        weights = np.repeat(parts[:-1], [each.shape[1] for each in designs])
        products = design.T @ design
        # The covariance is rest * 1 + design * weights * design'; Woodbury inverts it in the size of the factors.
        middle = weights[:, None] * np.linalg.inv(rest * np.eye(len(weights)) + products * weights[None, :])

        def solved(values: Floats) -> Floats:
            return np.asarray((values - design @ (middle @ (design.T @ values))) / rest)

        ones = solved(np.ones((count, 1)))[:, 0]
        whole = float(ones.sum())
        means = ones @ layers / whole
        residual = solved(layers - means)
        projected = solved(design)
        projected -= np.outer(ones, design.T @ ones) / whole
        inner = middle @ products
        trace = (count - np.trace(inner)) / rest - ones @ ones / whole
        twice = (count - 2 * np.trace(inner) + np.sum(inner * inner.T)) / rest**2
        twice += (ones @ ones / whole) ** 2 - 2 * ones @ solved(ones[:, None])[:, 0] / whole
        ends = np.cumsum([0, *[each.shape[1] for each in designs]])
        places = [slice(low, high) for low, high in pairwise(ends)]
        cross = design.T @ projected
        size = len(parts)
        score, information, gradient = np.zeros(size), np.zeros((size, size)), np.zeros(size)
        for k, place in enumerate(places):
            score[k] = np.sum((design[:, place].T @ residual) ** 2) - layers.shape[1] * np.trace(
                cross[place, place]
            )
            for m, other in enumerate(places):
                information[k, m] = np.sum(cross[place, other] ** 2)
            information[k, -1] = information[-1, k] = np.sum(projected[:, place] ** 2)
            gradient[k] = np.sum((design[:, place].T @ ones) ** 2)
        score[-1] = np.sum(residual**2) - layers.shape[1] * trace
        information[-1, -1] = twice
        gradient[-1] = ones @ ones
        return cls(score / 2, information * layers.shape[1] / 2, means, 1 / whole, gradient / whole**2)


def _scored(state: _State, parts: Floats, total: float) -> Floats:
    """Return *parts* after a step of Fisher's scoring, none below 0."""
    import numpy as np

    free = np.ones(len(parts), dtype=bool)
    while True:
        step = np.zeros(len(parts))
        inside = state.information[np.ix_(free, free)]
        step[free] = np.linalg.lstsq(inside, state.score[free], rcond=None)[0]
        # A part at 0 that would fall below stays there, and the others step on without it.
        bound = free & (parts <= 0) & (step < 0)
        bound[-1] = False
        if not bound.any():
            break
        free &= ~bound
    moved = np.maximum(parts + step, 0.0)
    moved[-1] = max(moved[-1], _LEAST_REST * total)
    return moved


# ------------------------------ models


class _Blocks(NamedTuple):
    """Scores of every model by block: [block x model], and the places of the block's case and rater."""

    scores: Floats
    models: tuple[str, ...]
    case: Places
    rater: Places
    left_out: dict[str, tuple[str, ...]]

    @property
    def cases(self) -> int:
        return len({*self.case.tolist()})

    @property
    def raters(self) -> int:
        return len({*self.rater.tolist()})


def compare_incomplete(
    tables: Mapping[str, Ratings], *, alpha: float = 0.05, scale: tuple[float, float] = (1.0, 5.0)
) -> dict[str, Rated]:
    """Compare the models of each table, with one correction over all pairs.

    As :func:`~bakeoff.statistics.raters.compare_ratings`, where each rater saw some of the cases only. Blocks that
    lack a model's score are left out and named.
    """
    drafts = {name: _draft(ratings, alpha, scale) for name, ratings in tables.items()}
    return decided(drafts, alpha)


def _blocks(ratings: Ratings) -> _Blocks:
    import numpy as np

    cube = ratings.cube
    seen = np.isfinite(cube).any(axis=1)
    # A model that lacks more than half of the blocks is left out, instead of the blocks.
    share = np.isfinite(cube).transpose(0, 2, 1)[seen].mean(axis=0) if seen.any() else np.zeros(cube.shape[1])
    chosen = share > 0.5
    whole = np.isfinite(cube[:, chosen]).all(axis=1) & seen & chosen.any()
    case, rater = np.nonzero(whole)
    left_out = {}
    if not chosen.all():
        left_out["models"] = tuple(np.asarray(ratings.models, dtype=object)[~chosen].tolist())
    gaps = [
        f"{ratings.cases[c]} by {ratings.raters[r]}" for c, r in zip(*np.nonzero(seen & ~whole), strict=True)
    ]
    if gaps:
        left_out["cases"] = tuple(gaps)
    models = tuple(name for name, is_in in zip(ratings.models, chosen, strict=True) if is_in)
    return _Blocks(cube[:, chosen].transpose(0, 2, 1)[whole], models, case, rater, left_out)


def _draft(ratings: Ratings, alpha: float, scale: tuple[float, float]) -> Rated:
    import numpy as np

    blocks = _blocks(ratings)
    count, models = blocks.scores.shape
    cases, raters = blocks.cases, blocks.raters
    why = why_no_letters(cases, raters, max(2, models), alpha) if len(ratings.models) > 1 else ("", "")
    loose = tuple(_loose(ratings, name) for name in ratings.models if name not in blocks.models or cases < 2)
    if cases < 2:
        return Rated(loose, (), {}, {}, cases, raters, blocks.left_out, why)
    mean = crossed_components(blocks.scores.mean(axis=1, keepdims=True), blocks.case, blocks.rater)
    variance: dict[str, float] = {}
    pairs: tuple[Pair, ...] = ()
    apart = None
    if models > 1:
        # Orthonormal contrasts: each has the variance of half a difference of two models.
        basis = np.linalg.qr(np.column_stack([np.ones(models), np.eye(models)[:, 1:]]))[0][:, 1:]
        apart = crossed_components(blocks.scores @ basis, blocks.case, blocks.rater)
        centred = basis @ apart.means
        variance = {
            "case": mean.first,
            "rater": mean.second,
            "case x model": apart.first,
            "rater x model": apart.second,
            "case x rater": max(0.0, mean.rest - apart.rest / models),
            "rest": apart.rest,
        }
    scores = []
    for place, name in enumerate(blocks.models):
        value, error, freedom = float(mean.means[0]), mean.variance, mean.freedom
        if apart is not None:
            more = (1 - 1 / models) * apart.variance
            value += float(centred[place])
            error += more
            below = mean.variance**2 / mean.freedom + more**2 / apart.freedom
            freedom = error**2 / below if below > 0 else mean.freedom
        value = min(max(round(value, 12), scale[0]), scale[1])
        ends = bounded_interval(value, (error, freedom), cases, scale, alpha, max(1, round(count / cases)))
        scores.append(Score(name, value, *ends))
    if apart is not None and raters > 1:
        pairs = _pairs(blocks, centred, apart, alpha, scale)
    return Rated((*loose, *scores), pairs, {}, variance, cases, raters, blocks.left_out, why)


def _pairs(
    blocks: _Blocks, centred: Floats, apart: Components, alpha: float, scale: tuple[float, float]
) -> tuple[Pair, ...]:
    from scipy.special import stdtr, stdtrit

    width = scale[1] - scale[0]
    size = (blocks.cases, len(blocks.models), blocks.raters)
    variance, freedom = at_least_a_case(Spread(2 * apart.variance, apart.freedom), size, width)
    error = math.sqrt(variance)
    reach = float(stdtrit(freedom, 1 - alpha / 2)) * error
    pairs = []
    for a, b in combinations(range(len(blocks.models)), 2):
        difference = float(centred[a] - centred[b])
        p = 2 * float(stdtr(freedom, -abs(difference) / error))
        low, high = max(-width, difference - reach), min(width, difference + reach)
        names = blocks.models[a], blocks.models[b]
        pairs.append(Pair(*names, difference, low, high, freedom, p, math.nan, "untested"))
    return tuple(pairs)


def _loose(ratings: Ratings, name: str) -> Score:
    """Return the mean over what is there, without an interval."""
    import numpy as np

    values = ratings.cube[:, ratings.models.index(name), :]
    values = values[np.isfinite(values)]
    return Score(name, float(values.mean()) if values.size else math.nan, math.nan, math.nan)


# ------------------------------ agreement


def icc_incomplete(ratings: ArrayLike) -> Reliability:
    """Return ICC(2,1) and ICC(2,k) of [unit x rater] with gaps.

    From the variance parts of units, raters and rest, without an interval; k is how many ratings a unit has (harmonic
    mean, rounded). Units with a single rating count, for they show how units differ.
    """
    import numpy as np

    table = np.asarray(ratings, dtype=float)
    unit, rater = np.nonzero(np.isfinite(table))
    per_unit = np.isfinite(table).sum(axis=1)
    units, nothing = int((per_unit > 1).sum()), math.nan
    raters = (
        round(len(per_unit[per_unit > 0]) / float((1 / per_unit[per_unit > 0]).sum()))
        if per_unit.any()
        else 0
    )
    empty = Reliability(nothing, nothing, nothing, nothing, nothing, nothing, units, raters)
    if units < 2 or len(np.unique(rater)) < 2:
        return empty
    parts = crossed_components(table[unit, rater][:, None], unit, rater)
    total = parts.first + parts.second + parts.rest
    if not total > 1e-12:
        return empty
    single, k = parts.first / total, max(raters, 1)
    mean = k * single / (1 + (k - 1) * single)
    return Reliability(single, nothing, nothing, mean, nothing, nothing, units, raters)


def reliability(ratings: ArrayLike, study: Study, alpha: float = 0.05) -> Reliability:
    """Return the ICC of [reply x rater] as the design of *study* allows."""
    return icc_incomplete(ratings) if study.is_partial else icc(ratings, alpha=alpha)
