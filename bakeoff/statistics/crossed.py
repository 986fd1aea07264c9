"""Variance in a crossed table of ratings [case x model x rater].

Cases and raters are random, models fixed: expected mean squares of the crossed design, degrees of freedom by
Satterthwaite's rule as in Hillis 2007 (Statistics in Medicine 26:596). docs/statistics.md has it in plain words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Squares(NamedTuple):
    """Mean squares and degrees of freedom of a crossed table [case x model x rater], one rating per cell."""

    square: dict[str, float]
    freedom: dict[str, float]


def mean_squares(cube: Floats) -> Squares:
    """Return mean squares and degrees of freedom by axes: "c", "cm", …"""
    cases, models, raters = cube.shape
    sizes = {"c": cases, "m": models, "r": raters}
    order = "cmr"
    mean = {
        letters: cube.mean(
            axis=tuple(order.index(name) for name in order if name not in letters), keepdims=True
        )
        for letters in ("", "c", "m", "r", "cm", "cr", "mr", "cmr")
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
    return Squares(square, freedom)


def variance_parts(cube: Floats) -> dict[str, float]:
    """Return the variance parts of a complete table, none below 0.

    *cube*: [case x model x rater]; parts in points squared, cases and raters random, models fixed (expected mean
    squares of the crossed design). NaN for what a single case, model or rater cannot show.
    """
    cases, models, raters = cube.shape
    m, df = mean_squares(cube)
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


class Spread(NamedTuple):
    """Variance of a mean, or of a difference of means, and its degrees of freedom."""

    variance: float
    freedom: float


def at_least_a_case(error: Spread, size: tuple[int, int, int], width: float) -> Spread:
    """Return *error*, or what one case more would leave.

    That case went one point the other way: equal ratings everywhere promise no sharp difference, and raters who all
    agree are still few. *size*: of cases, models and raters; *width*: of the scale.
    """
    cases, models, raters = size
    floor = (width / 4 / (cases + 1)) ** 2
    if error.variance >= floor:
        return error
    return Spread(floor, min(error.freedom, cases - 1.0, (models - 1.0) * (raters - 1.0)))


def _sum_of(terms: Sequence[tuple[float, float]], least: float = 0.0) -> Spread:
    """Return the sum of mean squares, with Satterthwaite's degrees of freedom.

    *terms*: (mean square times its weight, degrees of freedom); weights may be negative.
    """
    total = max(sum(square for square, _ in terms), least)
    spread = sum(square**2 / df for square, df in terms if df > 0)
    fewest = min((df for _, df in terms if df > 0), default=1.0)
    most = sum(df for _, df in terms)
    return Spread(total, min(max(total**2 / spread, fewest), most) if spread > 0 else fewest)


def pair_error(squares: Squares, cases: int, raters: int) -> Spread:
    """Return the spread of a difference of two models' means.

    Raters' and cases' own tastes in models are in it, and the rest.
    """
    square, df = squares
    taste = square["cm"] - square["cmr"]
    terms = [(square["mr"], df["mr"])]
    if taste > 0:
        terms += [(square["cm"], df["cm"]), (-square["cmr"], df["cmr"])]
    # A rater part below the rest is chance: raters are never worth more than independent ratings.
    error = _sum_of(terms, least=max(square["mr"], 0.0))
    scale = 2 / (cases * raters)
    return Spread(error.variance * scale, error.freedom)


def errors(cube: Floats) -> tuple[Spread, list[Spread]]:
    """Return the spread of a difference of two means, and of each mean.

    *cube* [case x model x rater] is complete, with two cases or more; the difference is NaN for a single rater.
    """
    cases, models, raters = cube.shape
    squares = mean_squares(cube)
    pair = pair_error(squares, cases, raters) if raters > 1 and models > 1 else Spread(math.nan, math.nan)
    return pair, [mean_error(cube, place, squares) for place in range(models)]


def mean_error(cube: Floats, place: int, squares: Squares) -> Spread:
    """Return the spread of one model's mean.

    From its own cases, and from raters over all models.
    """
    cases, models, raters = cube.shape
    table = cube[:, place, :]
    if raters == 1:
        return Spread(float(table.var(ddof=1)) / cases, cases - 1)
    alone = mean_squares(table[:, None, :])
    square, df = squares
    terms = [(square["r"] / models, df["r"])]
    if models > 1:
        terms.append(((models - 1) * square["mr"] / models, df["mr"]))
    taste = alone.square["c"] - alone.square["cr"]
    if taste > 0:
        terms.append((taste, alone.freedom["c"]))
    total = sum(part for part, _ in terms)
    if total <= 0:
        return Spread(0.0, min(cases, raters) - 1)
    # Satterthwaite's rule promises too much where one part with two degrees of freedom rules and happens to come out
    # small (93 % instead of 95 %); weighing the parts' own degrees of freedom (Cochran 1964) too little (97 %).
    satterthwaite = total**2 / sum(part**2 / df for part, df in terms)
    cochran = total / sum(part / df for part, df in terms)
    freedom = cochran**0.8 * satterthwaite**0.2
    return Spread(total / (cases * raters), freedom)
