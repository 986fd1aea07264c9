"""Simulated studies of which the truth is known: ratings, and answers.

The first axis is always the study.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

MOST_NUMBERS = 1_000_000
"""Random numbers that a block of studies may take: more would not stay in a processor's cache."""

EQUAL = (0.0,) * 6
"""The quality of six equal models."""

SEVERITY, CASE, CASE_MODEL, CASE_RATER, REST = 0.3, 0.5, 0.4, 0.3, 0.6
"""Standard deviations of ratings, in points."""


@dataclass(frozen=True)
class Panel:
    """How many cases and raters a study has, and how raters differ.

    Attributes:
        taste: standard deviation, in points, of how much a rater likes one model in particular.
    """

    cases: int
    raters: int
    taste: float

    def __str__(self) -> str:
        return f"{self.cases} cases, {self.raters} raters, SD {self.taste:g}"


def blocks(runs: int, numbers: int) -> Iterator[int]:
    """Yield how many studies to simulate at once, *runs* in all.

    *numbers*: random numbers of one study.
    """
    size = max(1, min(runs, MOST_NUMBERS // numbers))
    for start in range(0, runs, size):
        yield min(size, runs - start)


def likert(
    rng: np.random.Generator, studies: int, panel: Panel, quality: tuple[float, ...] = EQUAL
) -> Floats:
    """Return ratings 1 to 5: [study x case x model x rater].

    *quality*: of each model, in points beyond 3.3.
    """
    points = (
        3.3 + np.array(quality)[None, None, :, None] + _scattered(rng, studies, panel, (1.0,) * len(quality))
    )
    return np.asarray(np.clip(np.round(points), 1, 5))


def uneven(rng: np.random.Generator, studies: int, panel: Panel, scatter: tuple[float, ...]) -> Floats:
    """Return ratings of equal models that scatter so many times as much.

    Not rounded or cut off: that would move the mean of a model that scatters.
    """
    return 5 + _scattered(rng, studies, panel, scatter)


def _scattered(rng: np.random.Generator, studies: int, panel: Panel, scatter: tuple[float, ...]) -> Floats:
    cases, models, raters = panel.cases, len(scatter), panel.raters
    times = np.array(scatter)[None, None, :, None]
    noise = rng.standard_normal((studies, cases, models, raters)) * (REST * times)
    noise += CASE * rng.standard_normal((studies, cases, 1, 1))
    noise += CASE_MODEL * times * rng.standard_normal((studies, cases, models, 1))
    noise += SEVERITY * rng.standard_normal((studies, 1, 1, raters))
    noise += panel.taste * rng.standard_normal((studies, 1, models, raters))
    noise += CASE_RATER * rng.standard_normal((studies, cases, 1, raters))
    return noise


def mean_rating(taste: float) -> float:
    """Return the mean of all ratings of a model of quality 0, exactly."""
    spread = math.sqrt(taste**2 + sum(sd**2 for sd in (SEVERITY, CASE, CASE_MODEL, CASE_RATER, REST)))
    return 1 + sum(float(ndtr((3.3 - point - 0.5) / spread)) for point in range(1, 5))


LIKED, QUESTION, QUESTION_RECIPE, RUN = 0.4, 1.0, 0.9, 0.4
"""Mean and standard deviations of what an answer follows, which is right above 0."""

SLOPE = 0.264
"""Change of the share of right answers per unit of what they follow, at 61 % right."""


@dataclass(frozen=True)
class Training:
    """Recipes, each trained under several seeds and asked so many questions.

    Attributes:
        sd: standard deviation of a seed's score.
        wild: per recipe, how many times as much its seeds vary; none: all alike.
    """

    questions: int
    recipes: int
    seeds: int
    sd: float
    wild: tuple[float, ...] = ()

    def __str__(self) -> str:
        size = f"{self.questions} questions, {self.recipes} recipes, {self.seeds} seeds"
        return f"{size}, SD {self.sd:g}{', one wild' if self.wild else ''}"


def answers(rng: np.random.Generator, studies: int, training: Training) -> Floats:
    """Return answers of equal recipes, 1 for right.

    [study x question x recipe x seed]
    """
    questions, recipes, seeds = training.questions, training.recipes, training.seeds
    moved = training.sd / SLOPE * rng.standard_normal((studies, 1, recipes, seeds))
    if training.wild:
        moved *= np.array(training.wild)[None, None, :, None]
    liked = RUN * rng.standard_normal((studies, questions, recipes, seeds))
    liked += LIKED + QUESTION * rng.standard_normal((studies, questions, 1, 1))
    liked += QUESTION_RECIPE * rng.standard_normal((studies, questions, recipes, 1)) + moved
    return np.asarray(liked > 0, dtype=float)


def share_right(sd: float) -> float:
    """Return the share of right answers of a recipe, exactly."""
    return float(ndtr(LIKED / math.sqrt(QUESTION**2 + QUESTION_RECIPE**2 + RUN**2 + (sd / SLOPE) ** 2)))


BIASES: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "none": lambda truth, rng: truth,
    "a point too high": lambda truth, rng: truth + 1,
    "twice as wide": lambda truth, rng: 2 * truth,
    "blind to half of the replies": lambda truth, rng: np.where(rng.random(truth.shape) < 0.5, truth, 1.0),
    "squared": lambda truth, rng: truth**2,
}
"""What a judge model sees of replies whose true score is *truth*."""
