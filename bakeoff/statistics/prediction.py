"""A judge's scores, corrected by people's: prediction-powered.

People score some replies, a judge model scores all. The judge's mean over the replies that people left out, minus its
mean over those they scored, tells how hard the remaining ones are in its eyes; added with the weight that the judge
deserves, it makes the estimate sharper and, whatever the judge's bias, not wrong (PPI++: Angelopoulos, Duchi & Zrnic,
arXiv 2311.01453, the mean with power tuning; the regression estimator of double sampling, Cochran 1977, chapter 12).
docs/statistics.md has it in plain words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from bakeoff.foundation.errors import ScoreError
from bakeoff.statistics.crossed import Spread, mean_error, mean_squares
from bakeoff.statistics.raters import Pair, Ratings, Score, adjusted_pairs, complete_block
from bakeoff.statistics.scatter import pair_errors
from bakeoff.statistics.significance import tie_groups

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEWEST_LABELS = 8
"""Below this many cases that people scored, the judge's weight is a guess."""


@dataclass(frozen=True)
class Corrected:
    """A mean of people's scores, sharpened by a judge's.

    Attributes:
        weight: how much the judge's scores count: 0 for a judge that agrees with nobody.
        labels: replies that people scored.
        others: replies that the judge alone scored.
        saved: share of people's labels that the judge spares: those needed for the same interval without it.
    """

    value: float
    low: float
    high: float
    weight: float
    labels: int
    others: int
    saved: float


def judge_weight(people: Floats, judge: Floats, others: Floats) -> float:
    """Return the weight of the judge with the smallest variance.

    ``slope / (1 + n / N)``, the slope of people's scores on the judge's, n scores of people and N of the judge alone.
    It is shrunk by ``1 - 2 / F``, F of the slope's test, so that a judge who agrees with people by luck alone counts
    for nothing. 0 where the judge always says the same, or scored nothing else. Several columns (models) share one
    weight.
    """
    first, second = _columns(people), _columns(judge)
    rest = _columns(others)
    if not len(rest) or len(first) < 3:
        return 0.0
    centred, spread = first - first.mean(axis=0), second - second.mean(axis=0)
    squares = float((spread**2).sum())
    if squares <= 1e-12:
        return 0.0
    slope = float((centred * spread).sum()) / squares
    explained = slope**2 * squares
    left = float((centred**2).sum()) - explained
    freedom = first.size - first.shape[1] - 1
    beyond_luck = 1 - 2 * left / freedom / explained if explained > 1e-12 else 0.0
    return slope * max(0.0, beyond_luck) / (1 + len(first) / len(rest))


def _columns(values: Floats) -> Floats:
    return values[:, None] if values.ndim == 1 else values


def corrected_mean(
    people: Floats, judge: Floats, others: Floats, *, alpha: float = 0.05, weight: float | None = None
) -> Corrected:
    """Return the mean that people would give to all replies.

    From their scores of some, and the judge's of all.

    Args:
        people: scores by people.
        judge: the judge's scores of the same replies.
        others: the judge's scores of replies that people did not score.
        weight: of the judge; chosen by :func:`judge_weight` where it is not given.

    Raises:
        ScoreError: the first two differ in length, a score is missing, or there are fewer than three.
    """
    import numpy as np
    from scipy.special import stdtrit

    if people.shape != judge.shape or len(people) < 3:
        raise ScoreError(
            f"corrected_mean: {len(people)} scores of people stand against {len(judge)} of the judge; give both for "
            "the same replies, three or more"
        )
    if not all(np.isfinite(values).all() for values in (people, judge, others)):
        raise ScoreError("corrected_mean: a score is missing; leave out replies that either lacks")
    chosen = judge_weight(people, judge, others) if weight is None else weight
    rest = people - chosen * judge
    count, further = len(people), len(others)
    value = float(rest.mean()) + (chosen * float(others.mean()) if further else chosen * float(judge.mean()))
    is_fitted = weight is None and bool(chosen)
    freedom = count - 1 - is_fitted
    residuals = rest - rest.mean()
    if is_fitted:
        # The weight was fitted to the same labels: a reply that pulls at it hides its own residual (MacKinnon & White
        # 1985, HC3).
        pull = 1 / count + (judge - judge.mean()) ** 2 / float(((judge - judge.mean()) ** 2).sum() or 1.0)
        variance = float(((residuals / np.maximum(1 - pull, 0.1)) ** 2).sum()) * (1 - 1 / count) / count**2
    else:
        variance = float((residuals**2).sum()) / freedom / count
    if further > 1:
        variance += chosen**2 * float(others.var(ddof=1)) / further
    reach = float(stdtrit(freedom, 1 - alpha / 2)) * math.sqrt(variance)
    plain = float(people.var(ddof=1)) / count
    saved = max(0.0, 1 - variance / plain) if plain > 0 else 0.0
    return Corrected(value, value - reach, value + reach, chosen, count, further, saved)


@dataclass(frozen=True)
class CorrectedRatings:
    """Means and pairs of models from people's ratings of some cases and a judge's of all.

    Attributes:
        scores, pairs, groups: as of :class:`~bakeoff.statistics.raters.Rated`; cases and raters are both a sample.
        weight: of the judge.
        labels, others: cases that people scored, and that the judge alone did.
        saved: share of people's cases that the judge spares, as far as differences of models go.
    """

    scores: tuple[Score, ...]
    pairs: tuple[Pair, ...]
    groups: Mapping[str, str]
    weight: float
    labels: int
    others: int
    saved: float


def corrected_ratings(
    people: Mapping[str, Ratings],
    judge: Mapping[str, Mapping[tuple[str, str], float]],
    *,
    alpha: float = 0.05,
    scale: tuple[float, float] = (1.0, 5.0),
) -> dict[str, CorrectedRatings]:
    """Return the corrected comparison of each table (a dimension).

    Shaffer's correction spans the pairs of all of them.

    Args:
        people: table -> ratings by people; the block that all of them completed is used.
        judge: table -> (case, model) -> the judge's score, mean over its repeats.

    Returns:
        Tables for which people completed 8 cases or more, and the judge scored at least two further ones.
    """
    drafts = {}
    for name, ratings in people.items():
        draft = _corrected(ratings, judge.get(name, {}), alpha, scale)
        if draft:
            drafts[name] = draft
    adjusted = adjusted_pairs({name: draft.pairs for name, draft in drafts.items()})
    comparisons = {}
    for name, draft in drafts.items():
        pairs = []
        for pair, p in zip(draft.pairs, adjusted[name], strict=True):
            way = "ahead" if pair.difference > 0 else "behind"
            pairs.append(replace(pair, p_adjusted=p, verdict=way if p < alpha else "tie"))
        order = [score.subject for score in sorted(draft.scores, key=lambda score: -score.value)]
        different = [(pair.a, pair.b) for pair in pairs if pair.verdict != "tie"]
        comparisons[name] = replace(
            draft, pairs=tuple(pairs), groups=tie_groups(order, different) if pairs else {}
        )
    return comparisons


def _corrected(
    ratings: Ratings, judge: Mapping[tuple[str, str], float], alpha: float, scale: tuple[float, float]
) -> CorrectedRatings | None:
    import numpy as np

    block = complete_block(ratings)
    labelled, models, cube = block.cases, block.models, block.cube
    scored = [place for place, case in enumerate(labelled) if all((case, model) in judge for model in models)]
    further = sorted({case for case, _ in judge} - set(labelled))
    others = [case for case in further if all((case, model) in judge for model in models)]
    if len(scored) < FEWEST_LABELS or len(others) < 2 or not cube.size:
        return None
    cube = cube[scored]
    first = np.array([[judge[labelled[place], model] for model in models] for place in scored])
    rest = np.array([[judge[case, model] for model in models] for case in others])
    weight = judge_weight(cube.mean(axis=2), first, rest)
    left = cube - weight * first[:, :, None]
    values = left.mean(axis=(0, 2)) + weight * rest.mean(axis=0)
    squares = mean_squares(left)
    mean_errors = [mean_error(left, place, squares) for place in range(len(models))]
    several = cube.shape[2] > 1 and len(models) > 1
    between = pair_errors(left, squares) if several else []
    plain = pair_errors(cube, mean_squares(cube)) if several else []
    scores = []
    for place, model in enumerate(models):
        added = weight**2 * float(rest[:, place].var(ddof=1)) / len(rest)
        reach = _reach(mean_errors[place], added, len(rest), alpha)
        value = float(values[place])
        low, high = max(scale[0], value - reach), min(scale[1], value + reach)
        scores.append(Score(model, min(max(value, scale[0]), scale[1]), low, high))
    pairs, variance = _corrected_pairs(values, weight * rest, models, between, alpha, scale)
    before = sum(error.variance for error in plain)
    spared = max(0.0, 1 - variance / before) if before > 0 else 0.0
    return CorrectedRatings(tuple(scores), tuple(pairs), {}, weight, len(scored), len(others), spared)


def _reach(error: tuple[float, float], added: float, others: int, alpha: float) -> float:
    """Return half the interval of a mean.

    *added*: variance from the judge's own sample.
    """
    from scipy.special import stdtrit

    variance, freedom = _total(error, added, others)
    return float(stdtrit(freedom, 1 - alpha / 2)) * math.sqrt(variance)


def _total(error: tuple[float, float], added: float, others: int) -> tuple[float, float]:
    variance, freedom = error
    total = variance + added
    if total <= 0:
        return 0.0, freedom
    return total, total**2 / (variance**2 / freedom + added**2 / (others - 1))


def _corrected_pairs(
    values: Floats,
    rest: Floats,
    models: Sequence[str],
    errors: Sequence[Spread],
    alpha: float,
    scale: tuple[float, float],
) -> tuple[list[Pair], float]:
    """Return the pairs, and the sum of the variances of their differences.

    *errors*: of people's part, none where a single rater cannot show it; *rest*: the judge's scores times its weight.
    """
    from scipy.special import stdtr, stdtrit

    width = scale[1] - scale[0]
    pairs, variances = [], []
    for (a, b), error in zip(combinations(range(len(models)), 2), errors, strict=False):
        added = float((rest[:, a] - rest[:, b]).var(ddof=1)) / len(rest)
        variance, freedom = _total(error, added, len(rest))
        variance = max(variance, (width / 4 / (len(rest) + 1)) ** 2)
        variances.append(variance)
        apart, spread = float(values[a] - values[b]), math.sqrt(variance)
        reach = float(stdtrit(freedom, 1 - alpha / 2)) * spread
        p = 2 * float(stdtr(freedom, -abs(apart) / spread))
        low, high = max(-width, apart - reach), min(width, apart + reach)
        pairs.append(Pair(models[a], models[b], apart, low, high, freedom, p, math.nan, "untested"))
    return pairs, sum(variances)
