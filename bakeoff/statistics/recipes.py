"""Claims about a recipe from several training runs of it.

Seeds and questions are both a sample.

A seed (order of the data, LoRA initialisation) is nested in its recipe, a question is crossed with everything:
``score = recipe + question + question x recipe + seed(recipe) + rest``. The difference of two recipes then has the
variance of its mean over questions, plus what seeds vary beyond what finitely many questions let them vary:

    V = var_q(d) / N + sum over both of (s2 - e / N) / S

with ``d`` the difference per question of the means over seeds, ``s2`` the variance of seeds' scores, ``e`` the rest
within a recipe (question x seed), N questions and S seeds; degrees of freedom by Satterthwaite's rule (1946). It is
the random-effects analysis of Cornfield & Tukey (1956) for this design, the same that multi-reader studies use, with
seeds in the place of readers. docs/statistics.md has it in plain words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.foundation.errors import ScoreError
from bakeoff.statistics.bootstrap import effective_clusters
from bakeoff.statistics.crossed import Spread
from bakeoff.statistics.raters import Pair
from bakeoff.statistics.significance import SMALLEST_P, holm, tie_groups

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

FEWEST_SEEDS = 2
"""One training run cannot show how far another would lie from it."""


@dataclass(frozen=True)
class RecipeScore:
    """The score of a recipe: its mean over seeds and questions.

    Attributes:
        claim: "recipe" where several seeds were trained; "run" where a single one was, and the interval is about
            other questions alone.
        sd_seeds: standard deviation of the seeds' scores; NaN for a single one.
    """

    recipe: str
    value: float
    low: float
    high: float
    seeds: int
    sd_seeds: float
    claim: str


@dataclass(frozen=True)
class Recipes:
    """What may be said about the recipes of one suite.

    Attributes:
        scores: of every recipe, those of a single run included.
        pairs: of recipes with several seeds.
        groups: letters of recipes with several seeds; empty where fewer than two have them.
        variance: variance part -> recipe -> on the squared scale of the score; see :func:`variance_table` and
            :func:`with_measured`.
        questions: how many questions every run was asked.
    """

    scores: tuple[RecipeScore, ...]
    pairs: tuple[Pair, ...]
    groups: Mapping[str, str]
    variance: Mapping[str, Mapping[str, float]]
    questions: int


def variance_table(scores: Floats) -> dict[str, float]:
    """Return the variance parts of one recipe's *scores*.

    *scores*: [question x seed] or [question x seed x repeat]. Expected mean squares of the crossed design, none below
    0: ``question`` (how much questions differ), ``seed`` (how much another training run moves the score), ``question
    x seed`` (which questions a run gets right for no other reason), ``repeat`` (the same run evaluated again; NaN,
    and part of ``question x seed``, where nothing was evaluated twice). NaN for what one seed or question cannot
    show.
    """
    import numpy as np

    cube = np.asarray(scores, dtype=float)
    cube = cube[:, :, None] if cube.ndim == 2 else cube
    questions, seeds, repeats = cube.shape
    if not cube.size:
        return dict.fromkeys(("question", "seed", "question x seed", "repeat"), math.nan)
    again = float(cube.var(axis=2, ddof=1).mean()) if repeats > 1 else math.nan
    means = cube.mean(axis=2)
    square = _squares(means)
    rest = square.rest - (again / repeats if repeats > 1 else 0.0)
    return {
        "question": _at_least_zero((square.question - square.rest) / seeds),
        "seed": _at_least_zero((square.seed - square.rest) / questions),
        "question x seed": _at_least_zero(rest),
        "repeat": again,
    }


def repeat_variance(twice: int, same: int) -> float:
    """Return the variance of a grade when the same run is evaluated again.

    Right-or-wrong grades of *twice* questions that were asked twice, *same* of them with the same grade: half the share
    that differs (two draws that differ with probability 2 p (1 - p) have the variance p (1 - p)). NaN for no question.
    """
    return (1 - same / twice) / 2 if twice else math.nan


def engine_variance(scores: Floats) -> float:
    """Return how much another engine moves the score of the same weights.

    *scores*: [question x engine]; the variance between engines' means beyond what finitely many questions explain, none
    below 0; NaN for one engine or question.
    """
    if scores.shape[1] < 2 or len(scores) < 2:
        return math.nan
    square = _squares(scores)
    return max(0.0, (square.seed - square.rest) / len(scores))


def with_measured(
    variance: Mapping[str, Mapping[str, float]],
    repeat: Mapping[str, float],
    engine: Mapping[str, float],
) -> dict[str, dict[str, float]]:
    """Return a variance table with what was measured beside the seeds.

    Args:
        variance: part -> recipe -> variance.
        repeat: recipe -> :func:`repeat_variance`; it is taken out of ``question x seed``, which holds it otherwise.
        engine: recipe -> :func:`engine_variance`; the table has the part where any recipe has it.
    """
    parts = {part: dict(values) for part, values in variance.items()}
    for recipe, value in repeat.items():
        if recipe in parts.get("repeat", {}) and not math.isnan(value):
            parts["repeat"][recipe] = value
            parts["question x seed"][recipe] = _at_least_zero(parts["question x seed"][recipe] - value)
    shown = {recipe: value for recipe, value in engine.items() if not math.isnan(value)}
    return {**parts, "engine": shown} if shown else parts


def _at_least_zero(variance: float) -> float:
    return variance if math.isnan(variance) else max(0.0, variance)


class _Squares(NamedTuple):
    question: float
    seed: float
    rest: float


def _squares(table: Floats) -> _Squares:
    """Return the mean squares of a table [question x seed].

    NaN for what has no degree of freedom.
    """
    questions, seeds = table.shape
    by_question, by_seed, all_over = table.mean(axis=1), table.mean(axis=0), table.mean()
    question = float(by_question.var(ddof=1)) * seeds if questions > 1 else math.nan
    if seeds < FEWEST_SEEDS or questions < 2:
        return _Squares(question, math.nan, math.nan)
    rest = table - by_question[:, None] - by_seed[None, :] + all_over
    freedom = (questions - 1) * (seeds - 1)
    return _Squares(question, float(by_seed.var(ddof=1)) * questions, float((rest**2).sum()) / freedom)


def _over_questions(values: Floats, clusters: Ints | None) -> Spread:
    """Return the spread of the mean of *values*.

    Whole clusters are sampled where there are any (Liang & Zeger 1986).
    """
    import numpy as np

    count = len(values)
    plain = Spread(float(values.var(ddof=1)) / count, count - 1.0)
    if clusters is None:
        return plain
    effective = effective_clusters(np.bincount(clusters))
    if effective <= 1:
        return plain  # one cluster shows nothing of others
    sums = np.bincount(clusters, weights=values - values.mean())
    variance = float((sums**2).sum()) * effective / (effective - 1) / count**2
    return Spread(variance, effective - 1) if variance > plain.variance else plain


class _Seeds(NamedTuple):
    """Pooled over recipes: variance of the seeds' scores, the rest within a recipe, their degrees of freedom."""

    variance: float
    rest: float
    freedom: float
    freedom_of_rest: float


def _pooled(tables: Sequence[Floats]) -> _Seeds:
    several = [table for table in tables if table.shape[1] >= FEWEST_SEEDS]
    freedom = sum(table.shape[1] - 1 for table in several)
    questions = len(several[0])
    variance = sum(float(table.mean(axis=0).var(ddof=1)) * (table.shape[1] - 1) for table in several)
    rest = sum(_squares(table).rest * (table.shape[1] - 1) for table in several)
    return _Seeds(variance / freedom, rest / freedom, float(freedom), float(freedom * (questions - 1)))


def _floor(questions: int) -> float:
    """Return the least variance of a mean.

    It is that of one question more that had gone the other way: equal answers everywhere promise no sharp score.
    """
    return 1 / (questions + 2) ** 2


def _error(over_questions: Spread, by_pair: float, weight: float, pooled: _Seeds, questions: int) -> Spread:
    """Return the spread of a mean, or of a difference, over both samples.

    Args:
        by_pair: the seeds' part by the recipes' own seeds alone.
        weight: sum of 1 / seeds over the recipes in it.
    """
    # Few seeds know their spread badly, so it is pooled; but a recipe that varies more than the others counts as such.
    seeds = max(pooled.variance * weight, by_pair)
    within = pooled.rest * weight / questions
    floor = _floor(questions)
    beyond = seeds - within
    variance = max(over_questions.variance + beyond, over_questions.variance, seeds, floor)
    spread = (
        over_questions.variance**2 / over_questions.freedom
        + seeds**2 / pooled.freedom
        + within**2 / pooled.freedom_of_rest
    )
    if variance <= floor:  # seeds that all agree are still that few
        return Spread(floor, min(over_questions.freedom, pooled.freedom))
    freedom = variance**2 / spread
    most = over_questions.freedom + pooled.freedom
    return Spread(variance, min(max(freedom, min(pooled.freedom, over_questions.freedom)), most))


def compare_recipes(
    suites: Mapping[str, Mapping[str, Floats]],
    clusters: Mapping[str, Ints | None] | None = None,
    *,
    alpha: float = 0.05,
) -> dict[str, Recipes]:
    """Compare the recipes of every suite, with one family of pairs.

    Args:
        suites: suite -> recipe -> scores 0..1 [question x seed]; all recipes of a suite on the same questions.
        clusters: suite -> subset code of each question, where whole subsets are taken as sampled.

    Raises:
        ScoreError: recipes of a suite differ in their number of questions, or a score is missing.
    """
    subsets = clusters or {}
    drafts = {name: _pairs_of(name, tables, subsets.get(name), alpha) for name, tables in suites.items()}
    adjusted = iter(holm([pair.p for pairs in drafts.values() for pair in pairs]))
    compared = {}
    for name, tables in suites.items():
        pairs = tuple(_judged(pair, next(adjusted), alpha) for pair in drafts[name])
        scores = _scores_of(tables, subsets.get(name), alpha)
        order = [score.recipe for score in sorted(scores, key=lambda score: -score.value)]
        several = [recipe for recipe in order if tables[recipe].shape[1] >= FEWEST_SEEDS]
        different = [(pair.a, pair.b) for pair in pairs if pair.verdict != "tie"]
        parts: dict[str, dict[str, float]] = {}
        for recipe, table in tables.items():
            for part, value in variance_table(table).items():
                parts.setdefault(part, {})[recipe] = value
        compared[name] = Recipes(
            scores,
            pairs,
            tie_groups(several, different) if pairs else {},
            parts,
            len(next(iter(tables.values()), ())),
        )
    return compared


def _judged(pair: Pair, p_adjusted: float, alpha: float) -> Pair:
    verdict = "tie"
    if p_adjusted < alpha:
        verdict = "ahead" if pair.difference > 0 else "behind"
    return Pair(pair.a, pair.b, pair.difference, pair.low, pair.high, pair.df, pair.p, p_adjusted, verdict)


def _checked(suite: str, tables: Mapping[str, Floats]) -> None:
    import numpy as np

    sizes = {len(table) for table in tables.values()}
    if len(sizes) > 1:
        raise ScoreError(
            f"compare_recipes: recipes of {suite!r} were asked {sorted(sizes)} questions; give shared ones"
        )
    for recipe, table in tables.items():
        if table.ndim != 2 or not np.isfinite(table).all():
            raise ScoreError(
                f"compare_recipes: {recipe!r} lacks a score in {suite!r}; give one per question and seed"
            )


def _pairs_of(suite: str, tables: Mapping[str, Floats], clusters: Ints | None, alpha: float) -> list[Pair]:
    from scipy.special import stdtr, stdtrit

    _checked(suite, tables)
    several = {recipe: table for recipe, table in tables.items() if table.shape[1] >= FEWEST_SEEDS}
    if len(several) < 2 or len(next(iter(several.values()))) < 2:
        return []
    pooled = _pooled(list(several.values()))
    pairs = []
    for a, b in combinations(several, 2):
        first, second = several[a], several[b]
        apart = first.mean(axis=1) - second.mean(axis=1)
        weight = 1 / first.shape[1] + 1 / second.shape[1]
        by_pair = sum(float(table.mean(axis=0).var(ddof=1)) / table.shape[1] for table in (first, second))
        error = _error(_over_questions(apart, clusters), by_pair, weight, pooled, len(apart))
        difference, width = float(apart.mean()), math.sqrt(error.variance)
        reach = float(stdtrit(error.freedom, 1 - alpha / 2)) * width
        p = max(SMALLEST_P, 2 * float(stdtr(error.freedom, -abs(difference) / width)))
        low, high = max(-1.0, difference - reach), min(1.0, difference + reach)
        pairs.append(Pair(a, b, difference, low, high, error.freedom, p, math.nan, "tie"))
    return pairs


def _scores_of(tables: Mapping[str, Floats], clusters: Ints | None, alpha: float) -> tuple[RecipeScore, ...]:
    from scipy.special import stdtrit

    several = [table for table in tables.values() if table.shape[1] >= FEWEST_SEEDS and len(table) > 1]
    pooled = _pooled(several) if several else None
    scores = []
    for recipe, table in tables.items():
        questions, seeds = table.shape
        value = float(table.mean()) if table.size else math.nan
        spread = float(table.mean(axis=0).std(ddof=1)) if seeds >= FEWEST_SEEDS and questions else math.nan
        claim = "recipe" if seeds >= FEWEST_SEEDS else "run"
        if questions < 2 or not seeds:
            scores.append(RecipeScore(recipe, value, math.nan, math.nan, seeds, spread, claim))
            continue
        error = _over_questions(table.mean(axis=1), clusters)
        if pooled and seeds >= FEWEST_SEEDS:
            error = _error(error, spread**2 / seeds, 1 / seeds, pooled, questions)
        error = Spread(max(error.variance, _floor(questions)), error.freedom)
        reach = float(stdtrit(error.freedom, 1 - alpha / 2)) * math.sqrt(error.variance)
        low, high = max(0.0, value - reach), min(1.0, value + reach)
        scores.append(RecipeScore(recipe, value, low, high, seeds, spread, claim))
    return tuple(scores)
