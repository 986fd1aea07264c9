"""Do letters of ratings speak for raters not asked? Six equal models, cases and raters drawn from populations.

    python bench/claims.py [--runs 1000] [false few]

Counts studies with a false difference, and how often 95 % intervals hold the truth: of a difference between two
models, and of a model's mean. Prints Markdown tables; exit code 1 if a number lies outside its limits (a false
difference in at most 5 % of studies; intervals 93 to 97 %, of means up to 98, above that only where cases are few).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np

from bakeoff.statistics.raters import Rated, Ratings, compare_ratings
from bakeoff.statistics.significance import sign_flip_tests

CASES = (20, 40, 100)
RATERS = (3, 5, 8)
TASTES = (0.0, 0.25, 0.35)
"""Standard deviation, in points, of how much a rater likes one model in particular."""

failures: list[str] = []


def likert(
    rng: np.random.Generator, cases: int, raters: int, taste: float, quality: tuple[float, ...] = (0.0,) * 6
) -> np.ndarray:
    """[case x model x rater] ratings 1 to 5 of models with this *quality* beyond 3.3 points."""
    models = len(quality)
    return np.clip(
        np.round(
            3.3
            + np.array(quality)[None, :, None]
            + 0.5 * rng.normal(size=(cases, 1, 1))
            + 0.4 * rng.normal(size=(cases, models, 1))
            + 0.3 * rng.normal(size=(1, 1, raters))
            + taste * rng.normal(size=(1, models, raters))
            + 0.3 * rng.normal(size=(cases, 1, raters))
            + 0.6 * rng.normal(size=(cases, models, raters))
        ),
        1,
        5,
    )


def analysed(cube: np.ndarray) -> Rated:
    """What a report says of *cube*."""
    cases, models, raters = (
        tuple(f"{kind}{n}" for n in range(size)) for kind, size in zip("cmr", cube.shape, strict=True)
    )
    return compare_ratings({"": Ratings(cube, models, cases, raters)})[""]


def mark(name: str, share: float, low: float, high: float) -> str:
    """*share* in per cent, bold where it leaves its limits."""
    if low <= share <= high:
        return f"{100 * share:.1f}"
    failures.append(f"{name}: {100 * share:.1f} is outside {100 * low:g} to {100 * high:g}")
    return f"**{100 * share:.1f}**"


def averaged_first(cube: np.ndarray) -> bool:
    """Whether a test over cases of the mean over raters, with Bonferroni, sees a difference: the usual mistake."""
    means = cube.mean(axis=2)
    first, second = np.triu_indices(means.shape[1], 1)
    return bool((sign_flip_tests(means[:, first] - means[:, second]) * len(first) < 0.05).any())


def false(runs: int) -> None:
    """Six equal models."""
    print(
        "\n| cases | raters | rater x model SD | raters averaged first: false, % | false, % | pair, % | mean, % |"
    )
    print("|" + "---|" * 7)
    for number, (cases, raters, taste) in enumerate(
        (cases, raters, taste) for cases in CASES for raters in RATERS for taste in TASTES
    ):
        rng = np.random.default_rng(1_000 + number)
        truth = float(likert(rng, 2_000, 300, taste).mean())
        wrong = naive = 0
        pair = mean = 0.0
        for run in range(runs):
            cube = likert(rng, cases, raters, taste)
            found = analysed(cube)
            wrong += len(set(found.groups.values())) > 1
            pair += np.mean([each.low <= 0 <= each.high for each in found.pairs])
            mean += np.mean([each.low <= truth <= each.high for each in found.scores])
            naive += run < 200 and averaged_first(cube)
        name = f"{cases} cases, {raters} raters, SD {taste:g}"
        cells = (
            mark(f"{name}: false", wrong / runs, 0.0, 0.05),
            mark(f"{name}: pair", pair / runs, 0.93, 0.97),
            mark(f"{name}: mean", mean / runs, 0.93, 0.98),
        )
        usual = f"{100 * naive / min(runs, 200):.0f}"
        print(f"| {cases} | {raters} | {taste:g} | {usual} | " + " | ".join(cells) + " |", flush=True)


def few(runs: int) -> None:
    """The mean of one model on few cases, near the top of the scale: no interval may be a point."""
    print("\n| fives, % | raters | cases | covers, % | points in |")
    print("|" + "---|" * 5)
    rng = np.random.default_rng(2_000)
    for share in (0.5, 0.9, 0.97):
        for raters in (1, 3):
            for cases in (2, 3, 4, 8, 12, 30):
                truth = 5 * share + 3.4 * (1 - share)
                held = points = 0
                for _ in range(runs):
                    fives = rng.random((cases, 1, raters)) < share
                    lower = rng.choice([2.0, 3.0, 4.0], p=[0.2, 0.2, 0.6], size=fives.shape)
                    score = analysed(np.where(fives, 5.0, lower)).scores[0]
                    held += score.low <= truth <= score.high
                    points += score.high - score.low < 1e-9
                name = f"{share:.0%} fives, {raters} raters, {cases} cases"
                cells = mark(name, held / runs, 0.93, 1.0), mark(f"{name}: points", points / runs, 0.0, 0.0)
                print(f"| {100 * share:g} | {raters} | {cases} | {cells[0]} | {cells[1]} |", flush=True)


PARTS: dict[str, Callable[[int], None]] = {"false": false, "few": few}


def main() -> int:
    """Run the parts that the command line names."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--runs", type=int, default=1_000, help="studies per line (default 1000)")
    arguments.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    chosen = arguments.parse_args()
    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        arguments.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for name in chosen.parts or PARTS:
        start = time.perf_counter()
        print(f"\n## {name} ({chosen.runs:,} runs)")
        PARTS[name](chosen.runs)
        print(f"\n{time.perf_counter() - start:.0f} s", flush=True)
    print("\n" + ("\n".join(failures) if failures else "every number lies within its limits"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
