"""The product's analyses of ratings and recipes, for many studies at once.

A simulation analyses thousands of studies; one after the other that takes longer than anybody waits. Here an array has
one more axis in front, the study. ``tests/test_claims.py`` holds every number against the product's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import polygamma, stdtr, stdtrit

Floats = NDArray[np.float64]

SCALE = (1.0, 5.0)


@dataclass(frozen=True)
class Squares:
    """Mean squares per study, and their degrees of freedom, by axes: "c", "cm", …"""

    square: dict[str, Floats]
    freedom: dict[str, int]


@dataclass(frozen=True)
class Spreads:
    """Variances of means or differences, and their degrees of freedom."""

    variance: Floats
    freedom: Floats


@dataclass(frozen=True)
class Pairs:
    """The differences of all pairs, in the order of ``combinations``: [study x pair]."""

    difference: Floats
    low: Floats
    high: Floats
    p: Floats

    @property
    def least(self) -> Floats:
        """Return each study's smallest p, after the first step of Holm.

        Shaffer's first step is the same; no pair is told apart unless this is below the level.
        """
        return np.asarray(self.p.min(axis=1) * self.p.shape[1])

    def hold(self, truth: float = 0.0) -> float:
        """Return the share of intervals that hold *truth*."""
        return float(((self.low <= truth) & (truth <= self.high)).mean())


@dataclass(frozen=True)
class Means:
    """Means and their intervals: [study x model]."""

    value: Floats
    low: Floats
    high: Floats

    def hold(self, truth: float) -> float:
        """Return the share of intervals that hold *truth*."""
        return float(((self.low <= truth) & (truth <= self.high)).mean())


def mean_squares(cubes: Floats) -> Squares:
    """Return the mean squares of *cubes* [study x case x model x rater]."""
    sizes = dict(zip("cmr", cubes.shape[1:], strict=True))
    centred = cubes - cubes.mean(axis=(1, 2, 3), keepdims=True)
    total: dict[str, Floats] = {}
    for name in ("c", "m", "r", "cm", "cr", "mr", "cmr"):
        repeats = math.prod(size for letter, size in sizes.items() if letter not in name)
        sums = np.einsum(f"scmr->s{name}", centred)
        total[name] = np.einsum(f"s{name},s{name}->s", sums, sums) / repeats
    square: dict[str, Floats] = {}
    freedom: dict[str, int] = {}
    alone: dict[str, Floats] = {}
    for name, value in total.items():
        alone[name] = value - sum(alone[part] for part in alone if set(part) < set(name))
        freedom[name] = math.prod(sizes[letter] - 1 for letter in name)
        square[name] = np.maximum(alone[name], 0.0) / max(freedom[name], 1) * bool(freedom[name])
    return Squares(square, freedom)


def _divided(above: Floats, below: Floats, otherwise: float | Floats) -> Floats:
    filled = np.broadcast_to(np.asarray(otherwise, dtype=float), np.broadcast(above, below).shape).copy()
    return np.divide(above, below, out=filled, where=below > 0)


def pooled_error(cubes: Floats, squares: Squares) -> Spreads:
    """Return the spread of a difference, all models' scatter pooled.

    As :func:`bakeoff.statistics.crossed.pair_error`.
    """
    _, cases, _, raters = cubes.shape
    square, df = squares.square, squares.freedom
    has_taste = square["cm"] > square["cmr"]
    total = square["mr"] + np.where(has_taste, square["cm"] - square["cmr"], 0.0)
    terms = square["mr"] ** 2 / df["mr"] + np.where(
        has_taste, square["cm"] ** 2 / df["cm"] + square["cmr"] ** 2 / df["cmr"], 0.0
    )
    fewest = np.where(has_taste, min(df["mr"], df["cm"], df["cmr"]), df["mr"]).astype(float)
    most = np.where(has_taste, df["mr"] + df["cm"] + df["cmr"], df["mr"])
    freedom = np.minimum(np.maximum(_divided(total**2, terms, 0.0), fewest), most)
    return Spreads(total * 2 / (cases * raters), np.where(terms > 0, freedom, fewest))


def pair_errors(cubes: Floats, squares: Squares) -> Spreads:
    """Return the spread of every pair: [study x pair].

    As :func:`bakeoff.statistics.scatter.pair_errors`.
    """
    _, cases, models, raters = cubes.shape
    pairs = list(combinations(range(models), 2))
    pooled = pooled_error(cubes, squares)
    variance = np.repeat(pooled.variance[:, None], len(pairs), axis=1)
    freedom = np.repeat(pooled.freedom[:, None], len(pairs), axis=1)
    if models < 3 or cases < 3:
        return Spreads(variance, freedom)
    differ, variances, share = _moderated(cubes)
    if not differ.any():
        return Spreads(variance, freedom)
    square, df = {name: value[differ, None] for name, value in squares.square.items()}, squares.freedom
    first, second = (list(places) for places in zip(*pairs, strict=True))
    case = raters * (variances[:, first] + variances[:, second])
    total = np.maximum(case + 2 * (square["mr"] - square["cmr"]), 2 * square["mr"])
    of_cases = np.minimum(_freedom_of_cases(variances, pairs, cases) / share[:, None], df["cm"])
    terms = (2 * square["mr"]) ** 2 / df["mr"] + (2 * square["cmr"]) ** 2 / df["cmr"] + case**2 / of_cases
    fewest, most = min(df["mr"], cases - 1), df["mr"] + df["cm"] + df["cmr"]
    variance[differ] = total / (cases * raters)
    freedom[differ] = np.minimum(np.maximum(total**2 / terms, fewest), most)
    return Spreads(variance, freedom)


def _moderated(cubes: Floats) -> tuple[NDArray[np.bool_], Floats, Floats]:
    """Return which studies have models that differ in scatter.

    And those studies' variances [study x model], and how far each rests on its own.
    """
    _, cases, models, _ = cubes.shape
    means = cubes.mean(axis=3)
    left = (
        means
        - means.mean(axis=2, keepdims=True)
        - means.mean(axis=1, keepdims=True)
        + means.mean(axis=(1, 2), keepdims=True)
    )
    seen = (left**2).sum(axis=1) / (cases - 1)
    freedom = (cases - 1) * (1 - 1 / models)
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.log(seen).var(axis=1, ddof=1) - float(polygamma(1, freedom / 2))
    differ = (seen.min(axis=1) > 0) & (excess > 1e-4)
    seen, prior = seen[differ], 2 * _inverse_trigamma(excess[differ])
    total = seen.sum(axis=1, keepdims=True) / (1 - 1 / models)
    alone = np.maximum((seen - total / models**2) / (1 - 2 / models), 0.25 * seen)
    share = freedom / (prior + freedom)
    mean = alone.mean(axis=1, keepdims=True)
    return differ, mean + share[:, None] * (alone - mean), share


def _inverse_trigamma(values: Floats) -> Floats:
    x = 0.5 + 1 / values
    for _ in range(50):
        trigamma = polygamma(1, x)
        step = trigamma * (1 - trigamma / values) / polygamma(2, x)
        x = x + step
        if np.all(np.abs(step) < 1e-10 * x):
            break
    return np.asarray(x)


def _freedom_of_cases(variances: Floats, pairs: list[tuple[int, int]], cases: int) -> Floats:
    """Return the freedom of each pair's own scatter: [study x pair]."""
    models = variances.shape[1]
    centred = np.eye(models) - 1 / models
    covariance = np.einsum("ij,sj,jk->sik", centred, variances, centred)
    form = np.full((len(pairs), models), -2 / models**2 / (1 - 1 / models))
    for row, pair in zip(form, pairs, strict=True):
        row[list(pair)] += 1
    trace = np.einsum("pi,sii->sp", form, covariance)
    squared = np.einsum("pi,pj,sij,sji->sp", form, form, covariance, covariance, optimize=True)
    return np.asarray((cases - 1) * trace**2 / squared)


def compare_pairs(cubes: Floats, spreads: Spreads, alpha: float = 0.05) -> Pairs:
    """Return the pairs of *cubes* with these spreads.

    As :func:`bakeoff.statistics.raters.compare_ratings` has them, before the correction.
    """
    _, cases, models, raters = cubes.shape
    width = SCALE[1] - SCALE[0]
    floor = (width / 4 / (cases + 1)) ** 2
    is_sharp = spreads.variance < floor
    few = min(cases - 1.0, (models - 1.0) * (raters - 1.0))
    variance = np.where(is_sharp, floor, spreads.variance)
    freedom = np.where(is_sharp, np.minimum(spreads.freedom, few), spreads.freedom)
    means = cubes.mean(axis=(1, 3))
    first, second = np.triu_indices(models, 1)
    apart, spread = means[:, first] - means[:, second], np.sqrt(variance)
    reach = stdtrit(freedom, 1 - alpha / 2) * spread
    p = 2 * stdtr(freedom, -np.abs(apart) / spread)
    return Pairs(apart, np.maximum(-width, apart - reach), np.minimum(width, apart + reach), p)


def rated_pairs(cubes: Floats) -> Pairs:
    """Return the pairs of *cubes* as a report has them."""
    return compare_pairs(cubes, pair_errors(cubes, mean_squares(cubes)))


def rated_means(cubes: Floats, alpha: float = 0.05) -> Means:
    """Return the models' means with the intervals that a report has."""
    _, cases, _, raters = cubes.shape
    spreads = _mean_errors(cubes)
    value = cubes.mean(axis=(1, 3))
    bottom, top = SCALE
    weight = 1 / math.sqrt(raters)
    size = cases + weight
    middle = (cases * value + weight * (bottom + top) / 2) / size
    added = cases * (value - middle) ** 2 + weight * ((bottom - middle) ** 2 + (top - middle) ** 2) / 2
    added *= weight / size**2
    shrunk = spreads.variance * (cases / size) ** 2
    total = shrunk + added
    df = total**2 / (shrunk**2 / spreads.freedom + added**2 / (cases - 1))
    reach = stdtrit(df, 1 - alpha / 2) * np.sqrt(total)
    low = np.maximum(bottom, np.minimum(value, middle - reach))
    return Means(value, low, np.minimum(top, np.maximum(value, middle + reach)))


def _mean_errors(cubes: Floats) -> Spreads:
    """Return the spread of each mean.

    As :func:`bakeoff.statistics.crossed.mean_error`.
    """
    studies, cases, models, raters = cubes.shape
    if raters == 1:
        variance = cubes[..., 0].var(axis=1, ddof=1) / cases
        return Spreads(variance, np.full(variance.shape, cases - 1.0))
    tables = cubes.transpose(0, 2, 1, 3).reshape(studies * models, cases, 1, raters)
    alone = mean_squares(tables)
    squares = mean_squares(cubes)
    terms = [(squares.square["r"][:, None] / models, squares.freedom["r"])]
    if models > 1:
        terms.append(((models - 1) * squares.square["mr"][:, None] / models, squares.freedom["mr"]))
    taste = (alone.square["c"] - alone.square["cr"]).reshape(studies, models)
    terms.append((np.maximum(taste, 0.0), alone.freedom["c"]))
    total = np.asarray(sum(part for part, _ in terms))
    satterthwaite = _divided(total**2, np.asarray(sum(part**2 / df for part, df in terms)), 1.0)
    cochran = _divided(total, np.asarray(sum(part / df for part, df in terms)), 1.0)
    freedom = np.where(total > 0, cochran**0.8 * satterthwaite**0.2, min(cases, raters) - 1.0)
    return Spreads(total / (cases * raters), freedom)


@dataclass(frozen=True)
class RecipeStudies:
    """Recipes of many studies: their pairs, and the intervals of their means."""

    pairs: Pairs
    means: Means


def compare_recipes(answers: Floats, alpha: float = 0.05) -> RecipeStudies:
    """Return the comparison of *answers* [study x question x recipe x seed].

    As :func:`bakeoff.statistics.recipes.compare_recipes` without subsets, before the correction.
    """
    _, questions, recipes, seeds = answers.shape
    sums = answers.sum(axis=3)
    means = sums / seeds
    by_seed = answers.mean(axis=1)
    value = by_seed.mean(axis=2)
    alone = by_seed.var(axis=2, ddof=1)
    within = np.einsum("sqrk,sqrk->sr", answers, answers) - np.einsum("sqr,sqr->sr", sums, sums) / seeds
    within -= questions * alone * (seeds - 1)
    rest = within.mean(axis=1) / ((questions - 1) * (seeds - 1))
    pooled = alone.mean(axis=1)
    freedom = (float(recipes * (seeds - 1)), float(recipes * (seeds - 1) * (questions - 1)))
    left = means - value[:, None, :]
    covariance = np.einsum("sqa,sqb->sab", left, left, optimize=True) / (questions - 1)
    first, second = np.triu_indices(recipes, 1)
    variances = np.einsum("saa->sa", covariance)
    apart = variances[:, first] + variances[:, second] - 2 * covariance[:, first, second]
    by_pair = (alone[:, first] + alone[:, second]) / seeds
    error = _seed_error(apart / questions, by_pair, 2 / seeds, (pooled, rest), freedom, questions)
    difference, spread = value[:, first] - value[:, second], np.sqrt(error.variance)
    reach = stdtrit(error.freedom, 1 - alpha / 2) * spread
    p = np.maximum(1e-300, 2 * stdtr(error.freedom, -np.abs(difference) / spread))
    pairs = Pairs(difference, np.maximum(-1.0, difference - reach), np.minimum(1.0, difference + reach), p)
    single = _seed_error(variances / questions, alone / seeds, 1 / seeds, (pooled, rest), freedom, questions)
    reach = stdtrit(single.freedom, 1 - alpha / 2) * np.sqrt(single.variance)
    return RecipeStudies(pairs, Means(value, np.maximum(0.0, value - reach), np.minimum(1.0, value + reach)))


def _seed_error(
    over_questions: Floats,
    by_pair: Floats,
    weight: float,
    pooled: tuple[Floats, Floats],
    freedom: tuple[float, float],
    questions: int,
) -> Spreads:
    """Return the spread over questions and seeds: [study x mean or pair].

    *pooled*: the variance of seeds' scores and the rest within a recipe; *freedom*: of both.
    """
    seeds = np.maximum(pooled[0][:, None] * weight, by_pair)
    within = pooled[1][:, None] * weight / questions
    floor = 1 / (questions + 2) ** 2
    variance = np.maximum.reduce([over_questions + seeds - within, over_questions, seeds])
    of_questions = questions - 1.0
    terms = over_questions**2 / of_questions + seeds**2 / freedom[0] + within**2 / freedom[1]
    fewest = min(freedom[0], of_questions)
    degrees = np.minimum(np.maximum(_divided(variance**2, terms, fewest), fewest), of_questions + freedom[0])
    is_sharp = variance <= floor
    return Spreads(np.where(is_sharp, floor, variance), np.where(is_sharp, fewest, degrees))


def sign_flips_differ(differences: Floats, alpha: float = 0.05, resamples: int = 9_999) -> NDArray[np.bool_]:
    """Return per study whether sign flips with Bonferroni find a difference.

    *differences*: [study x sample x pair]. As :func:`bakeoff.statistics.significance.sign_flip_tests` with random
    flips, which are the same for all studies of one size.
    """
    _, samples, pairs = differences.shape
    bits = np.random.default_rng(0).integers(0, 2, size=(resamples, samples), dtype=np.int8)
    signs = 1.0 - 2.0 * bits
    differ = []
    for study in differences:
        seen = np.abs(study.sum(axis=0))
        reached = (np.abs(signs @ study) >= seen - 1e-9 * (1 + seen)).sum(axis=0)
        differ.append(bool(((reached + 1) / (resamples + 1) * pairs < alpha).any()))
    return np.array(differ)
