"""Do 95 % intervals hold the truth in 93 to 97 of 100 cases?

And do six equal models stay equal?

    python bench/coverage.py [--runs 2000] [scores graded agreement duels equal speed]

Data are drawn from a population whose truth is known, analysed by the same functions as a report, and
counted. Prints Markdown tables; exit code 1 if a number lies outside its limits. Without names every part
runs (about half an hour on one core).
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
from parts import run_parts
from scipy.stats import multivariate_normal, norm

from bakeoff.judgement.agreement import Agreement, fleiss_kappa, krippendorff_alpha, severity, weighted_kappa
from bakeoff.judgement.duels import bradley_terry, win_rates
from bakeoff.statistics.comparison import compare, compare_suites
from bakeoff.statistics.measurement import Subsets

SIZES = (50, 100, 232, 1_346)
SUBSET, TASTE = 0.10, 0.03
"""Variance on the latent scale of how hard a subset is, and of how well one model in particular does on
it."""

failures: list[str] = []


def mark(name: str, share: float, low: float, high: float) -> str:
    if low <= share <= high:
        return f"{100 * share:.1f}"
    failures.append(f"{name}: {100 * share:.1f} is outside {100 * low:g} to {100 * high:g}")
    return f"**{100 * share:.1f}**"


def table(*columns: str) -> None:
    print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))


def line(name: str, *cells: object, low: float = 0.93, high: float = 0.97) -> None:
    row = " ".join(str(cell) for cell in (name, *cells) if not isinstance(cell, float))
    shown = [mark(row, cell, low, high) if isinstance(cell, float) else str(cell) for cell in cells]
    print("| " + " | ".join([name, *shown]) + " |", flush=True)


def sizes_of_subsets(rng: np.random.Generator, n: int, subsets: int) -> np.ndarray:
    """Unequal sizes, none below one (two where they fit), as in C-Eval."""
    least = min(2, n // subsets)
    weight = rng.gamma(8, size=subsets)
    return least + rng.multinomial(n - least * subsets, weight / weight.sum())


def answers(
    rng: np.random.Generator,
    n: int,
    accuracy: np.ndarray,
    kind: str,
    subsets: int,
    shared: float,
    taste: float = TASTE,
) -> tuple[pd.DataFrame, pd.Series | None, np.ndarray]:
    """Return right/wrong of each model, the subsets, and the truth.

    The true accuracies are those of the population, or of exactly
    these subsets.
    """
    models = len(accuracy)
    mu = norm.ppf(accuracy)
    if kind == "none":
        codes, level, between = np.zeros(n, dtype=int), np.zeros((1, models)), 0.0
    else:
        sizes = sizes_of_subsets(rng, n, subsets)
        codes, between = np.repeat(np.arange(subsets), sizes), SUBSET + taste
        level = math.sqrt(SUBSET) * rng.normal(size=(subsets, 1)) + math.sqrt(taste) * rng.normal(
            size=(subsets, models)
        )
    rest = 1 - between
    noise = math.sqrt(shared * rest) * rng.normal(size=(n, 1)) + math.sqrt((1 - shared) * rest) * rng.normal(
        size=(n, models)
    )
    right = (mu + level[codes] + noise > 0).astype(float)
    truth = norm.cdf((mu + level) / math.sqrt(rest))[codes].mean(axis=0) if kind == "fixed" else accuracy
    return (
        pd.DataFrame(right, columns=[f"m{i}" for i in range(models)]),
        None if kind == "none" else pd.Series(codes),
        truth,
    )


def scenarios() -> Iterator[tuple[str, int, int, float]]:
    """Yield the scenarios of the coverage tables.

    Kind of subsets, samples, subsets, share of the variance within subsets that two models have in
    common.
    """
    yield from (("none", n, 0, 0.6) for n in SIZES)
    yield from (("sampled", n, g, 0.6) for n, g in [(50, 10), (100, 20), (100, 50), (232, 29), (1_346, 52)])
    yield from (("fixed", n, g, 0.6) for n, g in [(50, 2), (100, 4), (100, 50), (232, 7), (1_346, 52)])
    yield from (("none", n, 0, 0.97) for n in SIZES)
    yield from ((kind, 1_346, 52, 0.97) for kind in ("sampled", "fixed"))


def scores(runs: int) -> None:
    table("subsets", "n", "number of subsets", "disagreement, %", "accuracy", "difference", "odds ratio")
    for number, (kind, n, subsets, shared) in enumerate(scenarios()):
        rng = np.random.default_rng(100 + number)
        hit, apart = Counter[str](), 0.0
        for seed in range(runs):
            first = rng.uniform(0.3, 0.9)
            accuracy = np.array(
                [first, np.clip(first + rng.normal(0, 0.04 if shared < 0.9 else 0.01), 0.2, 0.95)]
            )
            answered, clusters, truth = answers(rng, n, accuracy, kind, subsets, shared)
            comparison = compare(
                answered,
                clusters,
                subsets="fixed" if kind == "fixed" else "sampled",
                resamples=2_000,
                seed=seed,
            )
            score, pair = comparison.scores.iloc[0], comparison.pairs.iloc[0]
            apart += pair["only_a"] + pair["only_b"]
            hit["accuracy"] += score["low"] <= truth[0] <= score["high"]
            hit["difference"] += pair["low"] <= truth[0] - truth[1] <= pair["high"]
            if kind != "fixed":
                # The latent correlation of two models within the population, subsets included.
                between = 0.0 if kind == "none" else SUBSET + TASTE
                rho = shared * (1 - between) + (SUBSET if between else 0.0)
                both = multivariate_normal.cdf(norm.ppf(accuracy), cov=[[1, rho], [rho, 1]])
                odds = (accuracy[0] - both) / (accuracy[1] - both)
                hit["odds"] += pair["effect_low"] <= odds <= pair["effect_high"]
        cells = [
            hit["accuracy"] / runs,
            hit["difference"] / runs,
            hit["odds"] / runs if kind != "fixed" else "-",
        ]
        # Of three or four disagreements no interval covers 95 %: outcomes come in lumps. It may be
        # cautious, not short.
        few = apart / runs < 10
        line(kind, n, subsets or "-", f"{100 * apart / runs / n:.0f}", *cells, high=0.99 if few else 0.97)


def graded(runs: int) -> None:
    """Likert means: 1 to 5, rounded and cut, so skewed near the ends."""
    table("subsets", "n", "number of subsets", "mean", "difference", "Cohen's dz")

    def draw(rng: np.random.Generator, n: int, subsets: int) -> tuple[np.ndarray, np.ndarray | None]:
        codes = np.repeat(np.arange(subsets), sizes_of_subsets(rng, n, subsets)) if subsets else None
        level = 0.3 * rng.normal(size=(subsets, 2))[codes] if codes is not None else 0.0
        quality = (
            3.6
            + np.array([0.15, 0.0])
            + level
            + 0.7 * rng.normal(size=(n, 1))
            + 0.6 * rng.normal(size=(n, 2))
        )
        return np.clip(np.round(quality), 1, 5), codes

    for number, (n, subsets) in enumerate([(50, 0), (100, 0), (232, 0), (1_346, 0), (100, 20), (1_346, 52)]):
        rng = np.random.default_rng(300 + number)
        population = draw(rng, 2_000_000, 400_000 if subsets else 0)[0]
        apart = population[:, 0] - population[:, 1]
        hit = Counter[str]()
        for seed in range(runs):
            rated, codes = draw(rng, n, subsets)
            clusters = None if codes is None else pd.Series(codes)
            comparison = compare(
                pd.DataFrame(rated, columns=["a", "b"]), clusters, scale=(1, 5), resamples=2_000, seed=seed
            )
            score, pair = comparison.scores.iloc[0], comparison.pairs.iloc[0]
            hit["mean"] += score["low"] <= population[:, 0].mean() <= score["high"]
            hit["difference"] += pair["low"] <= apart.mean() <= pair["high"]
            hit["dz"] += pair["effect_low"] <= apart.mean() / apart.std() <= pair["effect_high"]
        line(
            "sampled" if subsets else "none",
            n,
            subsets or "-",
            *(hit[key] / runs for key in ("mean", "difference", "dz")),
        )


def likert(rng: np.random.Generator, units: int, raters: int, noise: float) -> np.ndarray:
    quality = rng.normal(size=(units, 1)) + noise * rng.normal(size=(units, raters)) + 0.2 * np.arange(raters)
    return np.clip(np.round(3 + 1.1 * quality), 1, 5)


def agreement(runs: int) -> None:
    table("what", "units", "truth", "coverage")
    measures: dict[str, tuple[Callable[..., Agreement], tuple[float, ...]]] = {
        "Krippendorff's alpha, ordinal": (krippendorff_alpha, (0.4, 0.9)),
        "Krippendorff's alpha, nominal": (partial(krippendorff_alpha, level="nominal"), (0.4,)),
        "Fleiss' kappa": (fleiss_kappa, (0.4,)),
        "weighted kappa": (lambda rated, **how: weighted_kappa(rated[:, 0], rated[:, 1], **how), (0.4, 0.9)),
    }
    for number, (name, (measure, noises)) in enumerate(measures.items()):
        for noise in noises:
            rng = np.random.default_rng(500 + number)
            pieces = [measure(likert(rng, 1_000, 3, noise), resamples=1).value for _ in range(500)]
            truth = float(np.mean(pieces))
            for n in SIZES:
                ends = (measure(likert(rng, n, 3, noise), resamples=1_000, seed=seed) for seed in range(runs))
                line(name, n, f"{truth:.2f}", sum(row.low <= truth <= row.high for row in ends) / runs)
    rng = np.random.default_rng(600)
    rated = likert(rng, 1_000_000, 3, 0.5)
    truth = float((rated[:, 0] - rated[:, 1:].mean(axis=1)).mean())
    for n in SIZES:
        tables = (severity(pd.DataFrame(likert(rng, n, 3, 0.5))).iloc[0] for _ in range(runs))
        line(
            "rater severity",
            n,
            f"{truth:.2f}",
            sum(row["low"] <= truth <= row["high"] for row in tables) / runs,
        )


def duels(runs: int) -> None:
    """Let four models of known strength meet on every item, judged twice.

    The item favours one or the other.
    """
    strength = np.array([0.6, 0.2, -0.2, -0.6])
    names = np.array(list("abcd"))
    first, second = np.triu_indices(4, 1)

    def draw(rng: np.random.Generator, items: int) -> pd.DataFrame:
        taste = strength + 0.5 * rng.normal(size=(items, 4))
        seen = taste[:, None, :] + rng.gumbel(size=(items, 2, 4))
        apart = seen[:, :, first] - seen[:, :, second]
        outcome = np.where(np.abs(apart) < 0.3, 0.5, apart > 0).reshape(-1)
        repeat = items * 2
        of = np.repeat(np.arange(items), 2 * len(first))
        met = {"a": np.tile(names[first], repeat), "b": np.tile(names[second], repeat)}
        return pd.DataFrame({**met, "outcome": outcome.astype(float), "item": of})

    rng = np.random.default_rng(700)
    population = draw(rng, 200_000).assign(item=0)
    truth = bradley_terry(population, resamples=2).set_index("model")["strength"]
    rate = population.groupby(["a", "b"])["outcome"].mean()[("a", "b")]
    table("what", "items", "truth", "coverage")
    for n in SIZES:
        won = fitted = 0
        for seed in range(runs):
            met = draw(rng, n)
            row = win_rates(met[(met["a"] == "a") & (met["b"] == "b")], resamples=1_000, seed=seed).iloc[0]
            won += row["low"] <= rate <= row["high"]
            best = bradley_terry(met, resamples=500, seed=seed).set_index("model").loc["a"]
            fitted += best["low"] <= truth["a"] <= best["high"]
        line("win rate", n, f"{rate:.2f}", won / runs)
        line("Bradley-Terry strength", n, f"{truth['a']:.2f}", fitted / runs)


def equal(runs: int) -> None:
    """Send six models of equal accuracy through Holm and letters.

    Any second letter is a false difference.
    """
    table("subsets", "n", "number of subsets", "missing, %", "runs with a false difference, %")
    cases = [
        *(("none", n, 0, 0.0) for n in SIZES),
        *(("sampled", n, g, 0.0) for n, g in [(100, 20), (232, 29), (1_346, 52)]),
        *(("fixed", n, g, 0.0) for n, g in [(232, 7), (1_346, 52)]),
        ("none", 232, 0, 0.02),
    ]
    for number, (kind, n, subsets, missing) in enumerate(cases):
        rng = np.random.default_rng(800 + number)
        false = 0
        for seed in range(runs):
            accuracy = np.full(6, rng.uniform(0.4, 0.85))
            taste = 0.0 if kind == "fixed" else TASTE  # equal on exactly these subsets, not only on average
            answered, clusters, _ = answers(rng, n, accuracy, kind, subsets, 0.6, taste)
            answered = answered.mask(rng.random(answered.shape) < missing)
            way: Subsets = "fixed" if kind == "fixed" else "sampled"
            comparison = compare(answered, clusters, subsets=way, resamples=100, seed=seed)
            false += len(set(comparison.groups.values())) > 1
        line(kind, n, subsets or "-", f"{100 * missing:g}", false / runs, low=0.0, high=0.05)
    rng = np.random.default_rng(900)
    rounds = max(1, runs // 5)
    false = 0
    suites = [
        ("a", "none", 100, 0),
        ("b", "none", 232, 0),
        ("c", "sampled", 400, 20),
        ("d", "fixed", 300, 7),
        ("e", "none", 50, 0),
    ]
    for _ in range(rounds):
        tables = {
            name: answers(rng, n, np.full(6, 0.65), kind, g, 0.6, 0.0 if kind == "fixed" else TASTE)[:2]
            for name, kind, n, g in suites
        }
        found_all = compare_suites(tables, resamples=100)
        false += any(len(set(each.groups.values())) > 1 for each in found_all.values())
    line("five suites as one family", "50 to 400", "-", "0", false / rounds, low=0.0, high=0.05)


def speed(runs: int) -> None:
    """Measure the seconds for six subjects and 12,000 samples.

    No limit is checked, for machines differ.
    """
    del runs
    table("what", "seconds")
    rng = np.random.default_rng(0)
    compare(pd.DataFrame({"a": [1.0, 0.0], "b": [0.0, 1.0]}))  # imports
    answered, clusters, _ = answers(rng, 12_000, np.full(6, 0.65), "sampled", 67, 0.6)
    likert_like = pd.DataFrame(rng.random((12_000, 6)), columns=list("abcdef"))
    calls: dict[str, Callable[[], object]] = {
        "right/wrong, no subsets": lambda: compare(answered),
        "right/wrong, 67 sampled subsets": lambda: compare(answered, clusters),
        "right/wrong, 67 fixed subsets": lambda: compare(answered, clusters, subsets="fixed"),
        "graded, no subsets": lambda: compare(likert_like),
    }
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        line(name, f"{time.perf_counter() - start:.2f}")


PARTS = {part.__name__: part for part in (scores, graded, agreement, duels, equal, speed)}


if __name__ == "__main__":
    sys.exit(run_parts(PARTS, failures, __doc__ or "", runs=2_000))
