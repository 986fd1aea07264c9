"""What may be said about scores: :func:`compare` one suite, or :func:`compare_suites` as one family of pairs.

The parts are usable alone: :mod:`~bakeoff.statistics.intervals`, :mod:`~bakeoff.statistics.significance`,
:mod:`~bakeoff.statistics.bootstrap` and :mod:`~bakeoff.statistics.power`. docs/statistics.md explains each method
in plain words; bench/coverage.py measures that the intervals hold what they say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bakeoff.statistics.measuring import Missing, Settings, Subsets, measure
from bakeoff.statistics.power import (
    least_detectable,
    minimum_detectable_difference,
)
from bakeoff.statistics.significance import holm, tie_groups

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """What may be said about the subjects (model and variant) of one suite.

    Attributes:
        scores: one row per subject: subject, value, low, high (``1 - alpha`` interval of value), worst,
            best (value if all missing samples were at the bottom / top of the scale), n (samples behind
            value), n_missing, method.
        pairs: one row per pair: a, b, n, n_missing (samples that at least one of the two lacks), only_a,
            only_b (samples that only one got right; for graded scores: scored higher), difference (value of
            a minus value of b), low, high, worst, best (the difference if all missing samples went against
            / for a), p_mcnemar (NaN for graded scores), p_permutation (NaN for right/wrong scores),
            p_clustered (NaN unless subsets are sampled), p (the largest of them), p_least (p if all missing
            samples went against the one ahead), p_adjusted (Holm over the family), effect, effect_low,
            effect_high, effect_name, cohens_h, mdd (see below, for this pair's own rate of disagreement, at least .10),
            verdict ("ahead", "behind", "tie", "depends on missing": a as seen from b), words (the verdict
            as a sentence).
        groups: letters per subject, best first. Two subjects share a letter exactly when they were not told
            apart. Empty when only chosen pairs were compared.
        mdd: minimum detectable difference of a typical pair: with the family's correction, at the power
            asked for; NaN where no pair disagreed, so that it cannot be estimated.
        least: the smallest observed difference that the exact test could call significant at this n and family;
            NaN for graded scores.
        family: how many pairs the adjustment of p spans.
        alpha: chance of one or more false differences in the family.
        missing: how missing samples were treated.
        method: how the intervals were made, in words.
    """

    scores: pd.DataFrame
    pairs: pd.DataFrame
    groups: dict[str, str]
    mdd: float
    least: float
    family: int
    alpha: float
    missing: Missing
    method: str


def compare(
    matrix: pd.DataFrame,
    clusters: pd.Series | None = None,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    alpha: float = 0.05,
    missing: Missing = "wrong",
    subsets: Subsets = "sampled",
    scale: tuple[float, float] = (0.0, 1.0),
    power: float = 0.8,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """What may be said about the subjects of one suite; every subject answered (or failed on) the same
    samples.

    Args:
        matrix: [sample x subject]; 1 right, 0 wrong, NaN no score. Other numbers make it graded.
        clusters: the subset of each sample, aligned with *matrix*; None or a single one: samples are
            independent.
        pairs: compare only these, e.g. (tuned, base) of each model; default: each with each.
        alpha: one minus the confidence of intervals; chance of one or more false differences in the family
            of pairs.
        missing: what a missing sample counts as: "wrong" or "worst" the bottom of *scale*, "best" its top;
            "exclude" leaves it out of the score, and out of a pair if either lacks it. Bounds for all of
            them are returned whatever is chosen, and a difference that missing samples could undo is
            reported as "depends on missing".
        subsets: "sampled": conclusions reach beyond the subsets at hand, whole subsets are resampled;
            "fixed": to new questions of exactly these subsets, questions are resampled within each. Fewer
            than 10 subsets are always fixed.
        scale: lowest and highest possible score, e.g. (1, 5) for Likert ratings.
        power: of :attr:`Comparison.mdd`.
        resamples: bootstrap resamples.
        seed: of the bootstrap; the same table gives the same numbers.

    Raises:
        ScoreError: the table is empty, a score lies outside *scale*, a name is unknown, or *clusters* does
            not fit.
    """
    return compare_suites(
        {"": (matrix, clusters)},
        pairs=pairs,
        alpha=alpha,
        missing=missing,
        subsets=subsets,
        scale=scale,
        power=power,
        resamples=resamples,
        seed=seed,
    )[""]


def compare_suites(
    tables: Mapping[str, tuple[pd.DataFrame, pd.Series | None]],
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    alpha: float = 0.05,
    missing: Missing = "wrong",
    subsets: Subsets = "sampled",
    scale: tuple[float, float] = (0.0, 1.0),
    power: float = 0.8,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Comparison]:
    """:func:`compare` for each suite, with *one* family of pairs over all of them.

    Six equal models on five suites are 75 pairs: adjusted suite by suite, about one report in five would
    hold a false difference; adjusted together, at most one in twenty. *tables*: suite -> (matrix,
    clusters). Chosen *pairs* are compared where a suite holds both names.
    """
    import pandas as pd

    settings = Settings(alpha, missing, subsets, scale, resamples, seed)
    measured = {}
    for suite, (matrix, clusters) in tables.items():
        present = {*matrix.columns}
        chosen = pairs if pairs is None or len(tables) == 1 else [p for p in pairs if {*p} <= present]
        measured[suite] = measure(matrix, clusters, chosen, settings)
    family = sum(len(item.pairs) for item in measured.values())
    adjusted = iter(holm([row["p"] for item in measured.values() for row in item.pairs]))
    least = iter(holm([row["p_least"] for item in measured.values() for row in item.pairs]))
    result = {}
    for suite, item in measured.items():
        detect = partial(
            minimum_detectable_difference, alpha=alpha, power=power, pairs=max(family, 1),
            design_effect=item.design_effect, graded=item.graded,
        )  # fmt: skip
        rates = [row.pop("discordance") for row in item.pairs]
        for row, rate in zip(item.pairs, rates, strict=True):
            row["p_adjusted"] = next(adjusted)
            row["mdd"] = math.nan if math.isnan(rate) and row["n"] else detect(row["n"], rate)
            row["verdict"] = _verdict(row, alpha, robust=next(least) < alpha)
            row["words"] = _words(row, alpha, item.percent)
        different = [(row["a"], row["b"]) for row in item.pairs if row["verdict"] in ("ahead", "behind")]
        order = item.scores.sort_values("value", ascending=False, kind="stable")["subject"]
        known = [rate for rate in rates if not math.isnan(rate)]
        unseen = math.nan if rates or item.graded else 0.25
        result[suite] = Comparison(
            scores=item.scores,
            pairs=pd.DataFrame(item.pairs, columns=list(_PAIR_COLUMNS)),
            groups=tie_groups(list(order), different) if pairs is None else {},
            mdd=detect(item.n, sum(known) / len(known) if known else unseen),
            least=math.nan if item.graded else least_detectable(item.n, alpha, max(family, 1)),
            family=family,
            alpha=alpha,
            missing=missing,
            method=item.method,
        )
    return result


_PAIR_COLUMNS = (
    *("a", "b", "n", "n_missing", "only_a", "only_b", "difference", "low", "high", "worst", "best"),
    *("p_mcnemar", "p_permutation", "p_clustered", "p", "p_least", "p_adjusted"),
    *("effect", "effect_low", "effect_high", "effect_name", "cohens_h", "mdd", "verdict", "words"),
)


def _verdict(row: Mapping[str, Any], alpha: float, robust: bool) -> str:
    if not row["p_adjusted"] < alpha:
        return "tie"
    if not robust:
        return "depends on missing"
    return "ahead" if row["difference"] > 0 else "behind"


def _words(row: Mapping[str, Any], alpha: float, percent: bool) -> str:
    unit, by = (" points", 100) if percent else ("", 1)
    sign = -1 if row["difference"] < 0 else 1
    ahead, behind = (row["a"], row["b"]) if sign > 0 else (row["b"], row["a"])
    low, high = sorted((sign * row["low"] * by, sign * row["high"] * by))
    numbers = (
        f"{abs(row['difference']) * by:.1f}{unit} ({1 - alpha:.0%} interval {low:.1f} to {high:.1f}; "
        f"adjusted p = {row['p_adjusted']:.2g})"
    )
    if row["verdict"] == "tie":
        return f"{ahead} and {behind} cannot be told apart on {row['n']} samples: {numbers}"
    doubt = f", but {row['n_missing']} missing samples could undo that"
    return (
        f"{ahead} is ahead of {behind} by {numbers}{doubt if row['verdict'] == 'depends on missing' else ''}"
    )
