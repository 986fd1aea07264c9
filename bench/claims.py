"""Do our claims hold for raters not asked and for runs not made?

And however often somebody looks? Populations are simulated.

    python bench/claims.py [--runs 4000] [false few power plan scatter seeds retention judge looks]

Counts studies with a false difference, how often 95 % intervals hold the truth, and how often a true difference is
found. Prints Markdown tables; exit code 1 if a number lies outside its limits (a false difference in at most 5 % of
studies; intervals 93 to 97 %, above that only where cases are few). What is counted in a limited number of runs may
lie beyond a limit by two standard errors. Ratings and recipes are analysed by :mod:`batched`, which a test holds
against the product study by study; judges and what tuning lost by the product itself.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from itertools import combinations

import numpy as np
from batched import (
    Floats,
    Pairs,
    Spreads,
    compare_pairs,
    mean_squares,
    pair_errors,
    pooled_error,
    rated_means,
    rated_pairs,
    sign_flips_differ,
)
from claims_of_runs import judge, lost, seeds
from limits import failures, head, line, mark
from parts import run_parts
from populations import CASE_MODEL, REST, Panel, blocks, likert, mean_rating, uneven
from scipy.special import ndtr, stdtr

from bakeoff.statistics.crossed import variance_parts
from bakeoff.statistics.peeking import always_valid_p
from bakeoff.statistics.significance import PairsOf, shaffer
from bakeoff.statistics.study import detectable

CASES = (20, 40, 100)
RATERS = (3, 5, 8)
TASTES = (0.0, 0.25, 0.35)

NAIVE = 200
"""Studies per line of the usual mistake, which needs no more to be seen."""

PAIRS = list(combinations(range(6), 2))
NAMED = [(f"m{a}", f"m{b}") for a, b in PAIRS]
WITH_BEST = np.array([5 in pair for pair in PAIRS])


def averaged_first(cubes: Floats) -> float:
    """Return how often the usual mistake sees a difference.

    It tests the mean over raters over cases, with Bonferroni.
    """
    means = cubes.mean(axis=3)
    first, second = np.triu_indices(means.shape[2], 1)
    return float(sign_flips_differ(means[..., first] - means[..., second]).mean())


def adjusted(p: Floats) -> Floats:
    """Return p of six models' pairs after Shaffer's correction.

    [study x pair]. Where the first step fails none can be below the level, and 1 stands for all.
    """
    after = np.ones_like(p)
    for study in np.flatnonzero(p.min(axis=1) * p.shape[1] < 0.05):
        after[study] = shaffer([PairsOf(NAMED, list(p[study]))])[0]
    return after


def false(runs: int) -> None:
    """Six equal models."""
    head(
        *("cases", "raters", "rater x model SD", "raters averaged first: false, %"),
        *("false, %", "pair, %", "mean, %"),
    )
    panels = [Panel(cases, raters, taste) for cases in CASES for raters in RATERS for taste in TASTES]
    for number, panel in enumerate(panels):
        rng = np.random.default_rng(1_000 + number)
        truth = mean_rating(panel.taste)
        usual = averaged_first(likert(rng, min(runs, NAIVE), panel))
        counts = np.zeros(3)
        for size in blocks(runs, panel.cases * panel.raters * 6):
            cubes = likert(rng, size, panel)
            pairs = rated_pairs(cubes)
            counts += size * np.array(
                [(pairs.least < 0.05).mean(), pairs.hold(), rated_means(cubes).hold(truth)]
            )
        wrong, pair, mean = counts / runs
        line(
            *(panel.cases, panel.raters, panel.taste, f"{100 * usual:.0f}"),
            mark(f"{panel}: false", wrong, 0.0, 0.05, runs),
            mark(f"{panel}: pair", pair, 0.93, 0.97, runs),
            mark(f"{panel}: mean", mean, 0.93, 0.97, runs),
        )


def few(runs: int) -> None:
    """Measure the mean of one model on few cases near the top of the scale.

    No interval may be a point.
    """
    head("fives, %", "raters", "cases", "covers, %", "points in")
    rng = np.random.default_rng(2_000)
    for share in (0.5, 0.9, 0.97):
        for raters in (1, 3):
            for cases in (2, 3, 4, 8, 12, 30):
                fives = rng.random((runs, cases, 1, raters)) < share
                lower = rng.choice([2.0, 3.0, 4.0], p=[0.2, 0.2, 0.6], size=fives.shape)
                means = rated_means(np.where(fives, 5.0, lower))
                name = f"{share:.0%} fives, {raters} raters, {cases} cases"
                points = float((means.high - means.low < 1e-9).mean())
                line(
                    *(f"{100 * share:g}", raters, cases),
                    mark(name, means.hold(5 * share + 3.4 * (1 - share)), 0.93, 1.0, runs),
                    mark(f"{name}: points", points, 0.0, 0.0),
                )


def oracle(panel: Panel, quality: tuple[float, ...], rng: np.random.Generator) -> tuple[float, float]:
    """Return the true variance of a difference, and our degrees of freedom.

    From one study so large that hardly anything is left to chance.
    """
    cases, raters = panel.cases, panel.raters
    parts = variance_parts(likert(rng, 1, Panel(1_000, 300, panel.taste), quality)[0])
    rater = 2 * (parts["rater x model"] / raters + parts["rest"] / cases / raters)
    case = 2 * (parts["case x model"] / cases + parts["rest"] / cases / raters)
    rest = 2 * parts["rest"] / cases / raters
    variance = rater + case - rest
    shares = (
        rater**2 / (5 * (raters - 1)),
        case**2 / (5 * (cases - 1)),
        rest**2 / (5 * (cases - 1) * (raters - 1)),
    )
    return variance, variance**2 / sum(shares)


def power(runs: int) -> None:
    """Measure how often one model is told from five equal, lesser ones.

    By us, and by analyses that know more.
    """
    head(
        *(
            "cases",
            "raters",
            "rater x model SD",
            "better by",
            "ours, %",
            "oracle, same df, %",
            "oracle, normal, %",
        ),
        "false among the equal five, %",
    )
    cells = (
        (Panel(20, 3, 0.0), 0.6),
        (Panel(20, 3, 0.25), 0.9),
        (Panel(40, 5, 0.25), 0.6),
        (Panel(40, 3, 0.35), 1.1),
        (Panel(100, 8, 0.35), 0.55),
    )
    for number, (panel, better) in enumerate(cells):
        rng = np.random.default_rng(3_000 + number)
        quality = (0.0, 0.0, 0.0, 0.0, 0.0, better)
        variance, freedom = oracle(panel, quality, rng)
        powers, wrong = np.zeros(3), 0
        for size in blocks(runs, panel.cases * panel.raters * 6):
            pairs = rated_pairs(likert(rng, size, panel, quality))
            score = -np.abs(pairs.difference) / math.sqrt(variance)
            ways = [
                adjusted(np.asarray(p)) < 0.05 for p in (pairs.p, 2 * stdtr(freedom, score), 2 * ndtr(score))
            ]
            powers += [float(way[:, WITH_BEST].mean(axis=1).sum()) for way in ways]
            wrong += int(ways[0][:, ~WITH_BEST].any(axis=1).sum())
        ours, same, normal = powers / runs
        line(
            *(panel.cases, panel.raters, panel.taste, better),
            mark(f"{panel}: power", ours, 0.9 * same, 1.0),
            *(f"{100 * same:.1f}", f"{100 * normal:.1f}"),
            mark(f"{panel}: false", wrong / runs, 0.0, 0.05, runs),
        )


def planned(runs: int) -> None:
    """Measure how often a study finds the difference that its plan promises.

    One model is better than the others by what four studies of five are to find.
    """
    head("cases", "raters", "models", "rater x model SD", "promised at 80 %, points", "found, %")
    cells = (
        *((Panel(cases, raters, 0.25), 6) for cases, raters in ((12, 3), (24, 2), (24, 3), (24, 8), (60, 5))),
        *((Panel(cases, raters, 0.25), 2) for cases, raters in ((12, 3), (24, 2), (24, 5), (100, 14))),
        *((Panel(24, raters, taste), 6) for raters, taste in ((3, 0.0), (3, 0.35), (8, 0.35))),
    )
    for number, (panel, models) in enumerate(cells):
        rng = np.random.default_rng(8_000 + number)
        variance = {"case x model": CASE_MODEL**2, "rater x model": panel.taste**2, "rest": REST**2}
        better = detectable(panel.cases, panel.raters, models, variance=variance)
        with_best = np.array([models - 1 in pair for pair in combinations(range(models), 2)])
        share = 0.0
        for size in blocks(runs, panel.cases * panel.raters * models):
            cubes = uneven(rng, size, panel, (1.0,) * models)
            cubes[:, :, -1] += better
            pairs = rated_pairs(cubes)
            share += size * float((pairs.p[:, with_best] * len(with_best) < 0.05).mean())
        line(
            *(panel.cases, panel.raters, models, panel.taste, f"{better:.2f}"),
            mark(f"{panel}, {models} models: planned", share / runs, 0.75, 0.85, runs),
        )


def scatter(runs: int) -> None:
    """Compare models of which some scatter more than others.

    "Pooled": what an analysis finds that takes all models to scatter alike. The better model scatters as most do.
    """
    head(
        *("cases", "raters", "rater x model SD", "scatter", "pooled: false, %", "false, %", "pair, %"),
        *("better by", "pooled: found, %", "found, %"),
    )
    kinds = {
        "alike": (1.0,) * 6,
        "one three times": (3.0, *(1.0,) * 5),
        "two twice": (2.0, 2.0, *(1.0,) * 4),
        "one a third": (1 / 3, *(1.0,) * 5),
    }
    sizes = ((Panel(20, 3, 0.0), 0.6), (Panel(20, 3, 0.25), 0.9), (Panel(40, 5, 0.25), 0.6))
    cells = [
        (panel, better, kind) for panel, better in (*sizes, (Panel(100, 8, 0.35), 0.55)) for kind in kinds
    ]
    for number, (panel, better, kind) in enumerate(cells):
        rng = np.random.default_rng(3_500 + number)
        wrong, powers, pair = np.zeros(2), np.zeros(2), 0.0
        for size in blocks(runs, panel.cases * panel.raters * 6):
            cubes = uneven(rng, size, panel, kinds[kind])
            wrong += [float((pairs.least < 0.05).sum()) for pairs in both_ways(cubes)]
            pair += size * both_ways(cubes)[1].hold()
            cubes[:, :, 5] += better
            powers += [
                float((adjusted(pairs.p) < 0.05)[:, WITH_BEST].mean(axis=1).sum())
                for pairs in both_ways(cubes)
            ]
        wrong, powers = wrong / runs, powers / runs
        name = f"{panel}, {kind}"
        line(
            *(panel.cases, panel.raters, panel.taste, kind, f"{100 * wrong[0]:.1f}"),
            mark(f"{name}: false", wrong[1], 0.0, 0.05, runs),
            mark(f"{name}: pair", pair / runs, 0.93, 0.97, runs),
            *(better, f"{100 * powers[0]:.1f}"),
            mark(f"{name}: found", powers[1], 0.9 * powers[0], 1.0),
        )


def both_ways(cubes: Floats) -> tuple[Pairs, Pairs]:
    """Return the pairs with all models' scatter pooled, and as we do."""
    squares = mean_squares(cubes)
    pooled = pooled_error(cubes, squares)
    alike = Spreads(
        *(np.repeat(part[:, None], len(PAIRS), axis=1) for part in (pooled.variance, pooled.freedom))
    )
    return compare_pairs(cubes, alike), compare_pairs(cubes, pair_errors(cubes, squares))


def looks(runs: int) -> None:
    """Look at six equal models after every second of sixty cases.

    From the tenth on.
    """
    head(
        *("raters", "rater x model SD", "ordinary p: false at some look, %", "always-valid p, %"),
        "or at the end, %",
    )
    for number, panel in enumerate(
        (Panel(60, 3, 0.0), Panel(60, 3, 0.35), Panel(60, 5, 0.25), Panel(60, 8, 0.35))
    ):
        rng = np.random.default_rng(7_000 + number)
        counts = np.zeros(3)
        for size in blocks(runs, 60 * panel.raters * 6):
            cubes = likert(rng, size, panel)
            seen, at_any_look = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
            last = seen
            for cases in range(10, 61, 2):
                pairs = rated_pairs(cubes[:, :cases])
                last = pairs.least < 0.05
                seen = seen | last
                always = [always_valid_p(float(p), cases) * len(PAIRS) for p in pairs.p.min(axis=1)]
                at_any_look |= np.array(always) < 0.05
            counts += [seen.sum(), at_any_look.sum(), (at_any_look | last).sum()]
        ordinary, always_valid, ever = counts / runs
        line(
            *(panel.raters, panel.taste, f"{100 * ordinary:.1f}"),
            mark(f"{panel}: looks", always_valid, 0.0, 0.05, runs),
            mark(f"{panel}: looks and the end", ever, 0.0, 0.05, runs),
        )


PARTS: dict[str, Callable[[int], None]] = {
    "false": false,
    "few": few,
    "power": power,
    "plan": planned,
    "scatter": scatter,
    "seeds": seeds,
    "retention": lost,
    "judge": judge,
    "looks": looks,
}


if __name__ == "__main__":
    sys.exit(run_parts(PARTS, failures, __doc__ or "", runs=4_000))
