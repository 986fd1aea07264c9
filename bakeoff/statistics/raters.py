"""What ratings say about models when both the cases and the raters are a sample of others.

Averaging over raters first, and testing over cases alone, answers for exactly these raters: more cases then
make a difference between *their* tastes ever more certain. Here cases and raters are both random and models
fixed (multi-reader multi-case analysis: Dorfman, Berbaum & Metz 1992; Obuchowski & Rockette 1995; degrees of
freedom by Satterthwaite's rule as in Hillis 2007). docs/statistics.md has it in plain words, and
bench/claims.py measures that it keeps its promise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.errors import ScoreError
from bakeoff.statistics.intervals import Interval
from bakeoff.statistics.significance import holm, tie_groups

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEWEST_RATERS = 2
"""One rater's taste cannot be told from what other raters would say."""

HOURS_PER_REPLY = 90 / 3600
"""Hours to read and score one reply: about a minute and a half."""


@dataclass(frozen=True)
class Ratings:
    """Ratings of every model's reply to every case by every rater.

    Attributes:
        cube: [case x model x rater], NaN for none.
        models, cases, raters: what the three axes are.
    """

    cube: Floats
    models: tuple[str, ...]
    cases: tuple[str, ...]
    raters: tuple[str, ...]

    @classmethod
    def of(cls, table: pd.DataFrame) -> Ratings:
        """Ratings from rows with case, model, rater and score; repeats of a rater are averaged."""
        import numpy as np

        rows = table.dropna(subset=["score"])
        axes = [sorted(map(str, rows[name].unique())) for name in ("case", "model", "rater")]
        total, count = np.zeros([len(axis) for axis in axes]), np.zeros([len(axis) for axis in axes])
        places = tuple(
            rows[name].astype(str).map({label: place for place, label in enumerate(axis)}).to_numpy(dtype=int)
            for name, axis in zip(("case", "model", "rater"), axes, strict=True)
        )
        np.add.at(total, places, rows["score"].to_numpy(dtype=float))
        np.add.at(count, places, 1.0)
        cube = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        return cls(cube, tuple(axes[1]), tuple(axes[0]), tuple(axes[2]))


@dataclass(frozen=True)
class Pair:
    """Two models: *difference* is the mean of a minus that of b, in points of the scale.

    ``p_adjusted`` and ``verdict`` ("ahead", "behind", "tie"; "untested" where nothing could come out) follow from
    Holm over the family.
    """

    a: str
    b: str
    difference: float
    low: float
    high: float
    df: float
    p: float
    p_adjusted: float
    verdict: str


@dataclass(frozen=True)
class Score:
    """The mean of one model over cases and raters, with its interval; NaN ends where none can be given."""

    subject: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rated:
    """What may be said about the models of one table of ratings.

    Attributes:
        scores, pairs: of the complete block of cases and raters; means of all ratings where no block is complete.
        groups: letters per model; empty where nothing could come out.
        variance: variance part -> points squared: case, rater, case x model, rater x model, case x rater, rest.
        cases, raters: how many stand in the complete block.
        left_out: cases, raters and models with gaps that the comparison leaves out, by name.
        why: why there are no letters, and what a study needs for them, in English and Chinese; empty with letters.
    """

    scores: tuple[Score, ...]
    pairs: tuple[Pair, ...]
    groups: Mapping[str, str]
    variance: Mapping[str, float]
    cases: int
    raters: int
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    why: tuple[str, str] = ("", "")


# ------------------------------ what could come out


def cases_needed(models: int, alpha: float = 0.05) -> int:
    """The fewest cases on which two of *models* models could be told apart.

    If every single case goes the same way, chance alone does so with probability 2^(1 - cases); after
    Bonferroni's first step of Holm over the pairs that has to stay below *alpha*.
    """
    pairs = max(1, models * (models - 1) // 2)
    return max(2, math.floor(1 + math.log2(pairs / alpha)) + 1)


def why_no_letters(cases: int, raters: int, models: int, alpha: float = 0.05) -> tuple[str, str]:
    """Why a study of this size could tell no two models apart, in English and Chinese; empty where it could."""
    fewest = cases_needed(models, alpha)
    if raters < FEWEST_RATERS:
        who, who_zh = ("one rater", "只有 1 位评分者") if raters == 1 else ("no rater", "没有评分者")
        return (
            f"no letters: {who} cannot show what other raters would say; at least {FEWEST_RATERS} raters "
            f"(better 5 or more) and {fewest} cases are needed for {models} models",
            f"不给出显著性分组：{who_zh}，无法推断其他评分者会如何评分；比较 {models} 个模型至少需要 "
            f"{FEWEST_RATERS} 位评分者（最好 5 位以上）和 {fewest} 个个案",
        )
    if cases < fewest:
        count = "1 case" if cases == 1 else f"{cases} cases"
        return (
            f"no letters: with {count} no difference between {models} models could come out, whatever the ratings; "
            f"at least {fewest} cases and {FEWEST_RATERS} raters (better 5 or more) are needed",
            f"不给出显著性分组：个案太少（{cases} 个），无论怎样评分，{models} 个模型之间的差异都不可能显著；"
            f"至少需要 {fewest} 个个案和 "
            f"{FEWEST_RATERS} 位评分者（最好 5 位以上）",
        )
    return "", ""


PLANNED = {"case x model": 0.25, "rater x model": 0.06, "rest": 0.5}
"""Variance parts to plan with before anybody has rated, points squared of a scale 1 to 5: standard deviations of
0.5, 0.25 and 0.7 points."""


def detectable(
    cases: int,
    raters: int,
    models: int,
    *,
    variance: Mapping[str, float] = PLANNED,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """The smallest true difference in points that such a study finds with probability *power*.

    Infinite for a single rater or case. Bonferroni's level stands for Holm's first step.
    """
    from scipy.special import ndtri, stdtrit

    if cases < 2 or raters < FEWEST_RATERS or models < 2:
        return math.inf
    pairs = models * (models - 1) / 2
    shares = [
        (2 * variance["rater x model"] / raters, (models - 1) * (raters - 1)),
        (2 * variance["case x model"] / cases, (models - 1) * (cases - 1)),
        (2 * variance["rest"] / cases / raters, (models - 1) * (cases - 1) * (raters - 1)),
    ]
    total = sum(share for share, _ in shares)
    if total <= 0:
        return 0.0
    df = total**2 / sum(share**2 / freedom for share, freedom in shares)
    return float((stdtrit(df, 1 - alpha / 2 / pairs) + ndtri(power)) * math.sqrt(total))


class Plan(NamedTuple):
    """Raters and cases that find a difference with 80 % power, and the hours of people they take together."""

    raters: int
    cases: int
    hours: float


def plan_study(
    difference: float,
    models: int,
    *,
    cases: int = 0,
    raters: int = FEWEST_RATERS,
    variance: Mapping[str, float] = PLANNED,
    alpha: float = 0.05,
) -> Plan | None:
    """The cheapest study that finds *difference* points with 80 % power, from *cases* and *raters* upwards.

    More raters come first: their taste does not average out over cases. None where 50 raters and 400 cases would
    not do.

    Raises:
        ScoreError: *difference* is not above 0.
    """
    if not difference > 0:
        raise ScoreError("plan_study: difference must be above 0: no study tells equals apart")
    plans = []
    least = max(cases, cases_needed(models, alpha))
    for number in range(max(raters, FEWEST_RATERS), 51):
        wanted = (
            count
            for count in [*range(least, 100), *range(max(least, 100), 401, 10)]
            if detectable(count, number, models, variance=variance, alpha=alpha) <= difference
        )
        count = next(wanted, None)
        if count is not None:
            plans.append(Plan(number, count, number * count * models * HOURS_PER_REPLY))
    return min(plans, key=lambda plan: (round(plan.hours, 6), plan.cases), default=None)


def study_outlook(
    cases: int, models: int, *, raters: int = 3, difference: float = 0.5, alpha: float = 0.05
) -> tuple[str, str]:
    """What a study of this size can show, before people work on it, in English and Chinese."""
    if models < 2:
        return "one model: nothing is compared", "只有一个模型，不作比较"
    plan = plan_study(difference, models, cases=0, alpha=alpha)
    needed, needed_zh = "", ""
    if plan:
        needed = (
            f"; {difference:g} points need about {plan.raters} raters x {plan.cases} cases "
            f"({plan.hours:.0f} hours of people)"
        )
        needed_zh = (
            f"；要检出 {difference:g} 分的差异，约需 {plan.raters} 位评分者 × {plan.cases} 个个案"
            f"（共约 {plan.hours:.0f} 人时）"
        )
    why, why_zh = why_no_letters(cases, max(raters, FEWEST_RATERS), models, alpha)
    if why:
        return why + needed, why_zh + needed_zh
    least = detectable(cases, raters, models, alpha=alpha)
    hours = cases * models * raters * HOURS_PER_REPLY
    return (
        f"{cases} cases, {models} models and {raters} raters ({hours:.0f} hours of people) find a difference of about "
        f"{least:.1f} points in four studies of five" + (needed if least > difference else ""),
        f"{cases} 个个案、{models} 个模型、{raters} 位评分者（共约 {hours:.0f} 人时）"
        f"在 80% 检验效能下可检出约 {least:.1f} 分的差异" + (needed_zh if least > difference else ""),
    )


# ------------------------------ analysis


class Block(NamedTuple):
    """Ratings without gaps: [case x model x rater], what its axes are, and what was left out for it."""

    cube: Floats
    cases: tuple[str, ...]
    models: tuple[str, ...]
    left_out: dict[str, tuple[str, ...]]


def complete_block(ratings: Ratings) -> Block:
    """The block without gaps that remains when what has most gaps is left out first.

    A model is left out only where it lacks more than half of the ratings of the others' cases and raters.
    """
    import numpy as np

    axes = (list(ratings.cases), list(ratings.models), list(ratings.raters))
    cube, dropped = ratings.cube, ([], [], [])  # type: ignore[var-annotated]
    while cube.size and np.isnan(cube).any():
        gaps = [np.isnan(cube).mean(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
        worst = [float(share.max()) for share in gaps]
        worst[1] = worst[1] if worst[1] > 0.5 else -1.0
        # A case is the smallest loss; raters are few, and a model is what the study is about.
        axis = max((0, 2, 1), key=lambda at: worst[at])
        place = int(gaps[axis].argmax())
        dropped[axis].append(axes[axis].pop(place))
        cube = np.delete(cube, place, axis=axis)
    left_out = {
        name: tuple(gone) for name, gone in zip(("cases", "models", "raters"), dropped, strict=True) if gone
    }
    return Block(cube, tuple(axes[0]), tuple(axes[1]), left_out)


class _Squares(NamedTuple):
    """Mean squares and degrees of freedom of a crossed table [case x model x rater], one rating per cell."""

    square: dict[str, float]
    freedom: dict[str, float]


def _mean_squares(cube: Floats) -> _Squares:
    cases, models, raters = cube.shape
    sizes = {"c": cases, "m": models, "r": raters}
    order = "cmr"
    mean = {
        kept: cube.mean(axis=tuple(order.index(name) for name in order if name not in kept), keepdims=True)
        for kept in ("", "c", "m", "r", "cm", "cr", "mr", "cmr")
    }
    effect: dict[str, Floats] = {}
    for name in mean:
        effect[name] = mean[name] - sum(effect[part] for part in effect if set(part) < set(name))
    square, freedom = {}, {}
    for name in mean:
        if not name:
            continue
        df = math.prod(sizes[letter] - 1 for letter in name)
        repeats = math.prod(sizes[letter] for letter in order if letter not in name)
        freedom[name] = df
        square[name] = float((effect[name] ** 2).sum() * repeats / df) if df else 0.0
    return _Squares(square, freedom)


def variance_parts(cube: Floats) -> dict[str, float]:
    """Variance parts of a complete table [case x model x rater], in points squared, none below 0.

    Cases and raters random, models fixed (expected mean squares of the crossed design). NaN for what a single case,
    model or rater cannot show.
    """
    cases, models, raters = cube.shape
    m, df = _mean_squares(cube)
    parts = {
        "case": (m["c"] - m["cr"]) / (models * raters),
        "rater": (m["r"] - m["cr"]) / (models * cases),
        "case x model": (m["cm"] - m["cmr"]) / raters,
        "rater x model": (m["mr"] - m["cmr"]) / cases,
        "case x rater": (m["cr"] - m["cmr"]) / models,
        "rest": m["cmr"],
    }
    needs = {
        "case": "cr", "rater": "cr", "case x model": "cmr",
        "rater x model": "cmr", "case x rater": "cmr", "rest": "cmr",
    }  # fmt: skip
    return {name: max(0.0, value) if df[needs[name]] else math.nan for name, value in parts.items()}


class _Error(NamedTuple):
    variance: float
    freedom: float


def _sum_of(terms: Sequence[tuple[float, float]], least: float = 0.0) -> _Error:
    """Satterthwaite: the sum of mean squares (weight included, signs allowed) and its degrees of freedom."""
    total = max(sum(square for square, _ in terms), least)
    spread = sum(square**2 / df for square, df in terms if df > 0)
    fewest = min((df for _, df in terms if df > 0), default=1.0)
    most = sum(df for _, df in terms)
    return _Error(total, min(max(total**2 / spread, fewest), most) if spread > 0 else fewest)


def _pair_error(squares: _Squares, cases: int, raters: int) -> _Error:
    """Of a difference of two means: raters' and cases' own tastes in models, and the rest."""
    square, df = squares
    taste = square["cm"] - square["cmr"]
    terms = [(square["mr"], df["mr"])]
    if taste > 0:
        terms += [(square["cm"], df["cm"]), (-square["cmr"], df["cmr"])]
    # A rater part below the rest is chance: raters are never worth more than independent ratings.
    error = _sum_of(terms, least=max(square["mr"], 0.0))
    scale = 2 / (cases * raters)
    return _Error(error.variance * scale, error.freedom)


def errors(cube: Floats) -> tuple[tuple[float, float], list[tuple[float, float]]]:
    """Return variance and degrees of freedom of a difference of two models' means, and of each model's mean.

    *cube* [case x model x rater] is complete, with two cases or more; the difference is NaN for a single rater.
    """
    cases, models, raters = cube.shape
    squares = _mean_squares(cube)
    pair = _pair_error(squares, cases, raters) if raters > 1 and models > 1 else _Error(math.nan, math.nan)
    return pair, [_mean_error(cube, place, squares) for place in range(models)]


def _mean_error(cube: Floats, place: int, squares: _Squares) -> _Error:
    """Of one model's mean: the spread of its own cases, and of raters over all models."""
    cases, models, raters = cube.shape
    one = cube[:, place, :]
    if raters == 1:
        return _Error(float(one.var(ddof=1)) / cases, cases - 1)
    alone = _mean_squares(one[:, None, :])
    square, df = squares
    terms = [(square["r"] / models, df["r"])]
    if models > 1:
        terms.append(((models - 1) * square["mr"] / models, df["mr"]))
    taste = alone.square["c"] - alone.square["cr"]
    if taste > 0:
        terms.append((taste, alone.freedom["c"]))
    total = sum(part for part, _ in terms)
    if total <= 0:
        return _Error(0.0, min(cases, raters) - 1)
    # Satterthwaite's rule promises too much where one part with two degrees of freedom rules and happens to come out
    # small (93 % instead of 95 %); weighing the parts' own degrees of freedom (Cochran 1964) too little (97 %).
    satterthwaite = total**2 / sum(part**2 / df for part, df in terms)
    cochran = total / sum(part / df for part, df in terms)
    freedom = cochran**0.8 * satterthwaite**0.2
    return _Error(total / (cases * raters), freedom)


def bounded_interval(
    mean: float,
    error: tuple[float, float],
    cases: int,
    scale: tuple[float, float],
    alpha: float = 0.05,
    raters: int = 1,
) -> Interval:
    """Student's t interval of a mean on a bounded scale that cannot shrink to a point.

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
    kept = variance * (cases / size) ** 2
    total = kept + added
    df = total**2 / (kept**2 / freedom + added**2 / (cases - 1))
    reach = float(stdtrit(df, 1 - alpha / 2)) * math.sqrt(total)
    return Interval(max(bottom, min(mean, middle - reach)), min(top, max(mean, middle + reach)))


def compare_ratings(
    tables: Mapping[str, Ratings],
    *,
    alpha: float = 0.05,
    scale: tuple[float, float] = (1.0, 5.0),
) -> dict[str, Rated]:
    """Compare the models of each table (a dimension, a part), with Holm over the pairs of all of them.

    Cases and raters are random, models fixed: a difference that is called so is to be expected of other raters and
    other cases, too. Ratings that lack somewhere are left out with their case or rater, and named.

    Raises:
        ScoreError: a rating outside *scale*.
    """
    blocks = {name: complete_block(ratings) for name, ratings in tables.items()}
    drafts = {name: _draft(tables[name], block, alpha, scale) for name, block in blocks.items()}
    every = [
        (name, place) for name, one in drafts.items() if not one.why[0] for place in range(len(one.pairs))
    ]
    adjusted = holm([drafts[name].pairs[place].p for name, place in every])
    found: dict[tuple[str, int], float] = dict(zip(every, adjusted, strict=True))
    return {name: _judged(name, one, found, alpha) for name, one in drafts.items()}


def _judged(name: str, draft: Rated, adjusted: Mapping[tuple[str, int], float], alpha: float) -> Rated:
    pairs = []
    for place, pair in enumerate(draft.pairs):
        p = adjusted.get((name, place), math.nan)
        verdict = "untested" if math.isnan(p) else "tie"
        if p < alpha:
            verdict = "ahead" if pair.difference > 0 else "behind"
        pairs.append(
            Pair(*(pair.a, pair.b, pair.difference, pair.low, pair.high), pair.df, pair.p, p, verdict)
        )
    order = [one.subject for one in sorted(draft.scores, key=lambda one: -one.value)]
    different = [(pair.a, pair.b) for pair in pairs if pair.verdict in ("ahead", "behind")]
    compared = {pair.a for pair in pairs} | {pair.b for pair in pairs}
    groups = {} if draft.why[0] else tie_groups([one for one in order if one in compared], different)
    return Rated(
        draft.scores,
        tuple(pairs),
        groups,
        draft.variance,
        draft.cases,
        draft.raters,
        draft.left_out,
        draft.why,
    )


def _draft(ratings: Ratings, block: Block, alpha: float, scale: tuple[float, float]) -> Rated:
    import numpy as np

    values = ratings.cube[np.isfinite(ratings.cube)]
    if values.size and (values.min() < scale[0] or values.max() > scale[1]):
        outside = values[(values < scale[0]) | (values > scale[1])][0]
        raise ScoreError(
            f"compare_ratings: rating {outside:g} lies outside scale {scale}; pass scale=(lowest, highest)"
        )
    cube = block.cube
    cases, models, raters = cube.shape
    if not cube.size:
        cases = models = raters = 0
    scores = [
        _loose_score(ratings, name, scale, alpha) for name in ratings.models if name not in block.models
    ]
    why = why_no_letters(cases, raters, max(2, models), alpha) if len(ratings.models) > 1 else ("", "")
    if why[0] and block.left_out and not why_no_letters(*_whole(ratings), alpha)[0]:
        why = _too_many_gaps(cases, raters, block.left_out)
    if cases < 2:
        rest = [_loose_score(ratings, name, scale, alpha) for name in block.models]
        return Rated(tuple(scores + rest), (), {}, {}, cases, raters, block.left_out, why)
    squares = _mean_squares(cube)
    for place, name in enumerate(block.models):
        mean = float(cube[:, place].mean())
        ends = bounded_interval(mean, _mean_error(cube, place, squares), cases, scale, alpha, raters)
        scores.append(Score(name, mean, *ends))
    pairs = _pairs(cube, block.models, squares, alpha, scale) if raters > 1 else ()
    parts = variance_parts(cube)
    return Rated(tuple(scores), pairs, {}, parts, cases, raters, block.left_out, why)


def _whole(ratings: Ratings) -> tuple[int, int, int]:
    return len(ratings.cases), len(ratings.raters), len(ratings.models)


def _too_many_gaps(cases: int, raters: int, left_out: Mapping[str, tuple[str, ...]]) -> tuple[str, str]:
    gone = ", ".join(f"{len(names)} {kind}" for kind, names in left_out.items())
    return (
        f"no letters: only {cases} cases were rated for every model by the same {raters} raters ({gone} with gaps are "
        "left out); let the raters finish their queues",
        f"不给出字母分组：所有模型都由同一批评审评过的只有 {cases} 个个案、{raters} 位评审；请评审评完各自的队列",
    )


def _loose_score(ratings: Ratings, name: str, scale: tuple[float, float], alpha: float) -> Score:
    """The mean over what is there, for a model that no complete block holds; its interval is over cases."""
    import numpy as np

    cube = ratings.cube[:, ratings.models.index(name), :]
    cells = [float(row[np.isfinite(row)].mean()) for row in cube if np.isfinite(row).any()]
    if len(cells) < 2:
        return Score(name, cells[0] if cells else math.nan, math.nan, math.nan)
    mean = float(np.mean(cells))
    error = (float(np.var(cells, ddof=1)) / len(cells), len(cells) - 1.0)
    return Score(name, mean, *bounded_interval(mean, error, len(cells), scale, alpha))


def _pairs(
    cube: Floats, names: Sequence[str], squares: _Squares, alpha: float, scale: tuple[float, float]
) -> tuple[Pair, ...]:
    from scipy.special import stdtr, stdtrit

    cases, models, raters = cube.shape
    if models < 2:
        return ()
    variance, freedom = _pair_error(squares, cases, raters)
    # As if one case more had gone one point the other way: equal ratings everywhere promise no sharp difference.
    width = scale[1] - scale[0]
    floor = (width / 4 / (cases + 1)) ** 2
    if variance < floor:
        variance, freedom = floor, min(freedom, float(cases - 1))
    error = math.sqrt(variance)
    reach = float(stdtrit(freedom, 1 - alpha / 2)) * error
    pairs = []
    for a, b in combinations(range(models), 2):
        apart = float(cube[:, a].mean() - cube[:, b].mean())
        p = 2 * float(stdtr(freedom, -abs(apart) / error))
        low, high = max(-width, apart - reach), min(width, apart + reach)
        pairs.append(Pair(names[a], names[b], apart, low, high, freedom, p, math.nan, "untested"))
    return tuple(pairs)
