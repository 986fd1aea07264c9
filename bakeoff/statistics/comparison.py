"""What may be said about scores, of one suite or of many.

:func:`compare` takes one suite, :func:`compare_suites` several as one family of pairs.
The parts are usable alone: :mod:`~bakeoff.statistics.intervals`, :mod:`~bakeoff.statistics.significance`,
:mod:`~bakeoff.statistics.bootstrap` and :mod:`~bakeoff.statistics.power`. docs/statistics.md explains each method
in plain words; bench/coverage.py measures that the intervals hold what they say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Unpack

from bakeoff.statistics.measurement import Measured, Missing, Options, PairRow, Settings
from bakeoff.statistics.measuring import measure
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
        least: the smallest observed difference that the exact test could call significant at this n, at the step that
            Holm's rule reached in this family; NaN for graded scores.
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
    **options: Unpack[Options],
) -> Comparison:
    """Return what may be said about the subjects of one suite.

    Every subject answered (or failed on) the same samples.

    Args:
        matrix: [sample x subject]; 1 right, 0 wrong, NaN no score. Other numbers make it graded.
        clusters: the subset of each sample, aligned with *matrix*; None or a single one: samples are
            independent.
        pairs: compare only these, e.g. (tuned, base) of each model; default: each with each.
        options: what differs from the defaults of :class:`~bakeoff.statistics.measurement.Settings`.

    Raises:
        ScoreError: the table is empty, a score lies outside the scale, a name is unknown, or *clusters* does
            not fit.
    """
    return compare_suites({"": (matrix, clusters)}, pairs=pairs, **options)[""]


def compare_suites(
    tables: Mapping[str, tuple[pd.DataFrame, pd.Series | None]],
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    **options: Unpack[Options],
) -> dict[str, Comparison]:
    """:func:`compare` for each suite, with *one* family of pairs.

    Six equal models on five suites are 75 pairs: adjusted suite by suite, about one report in five would
    hold a false difference; adjusted together, at most one in twenty. *tables*: suite -> (matrix,
    clusters). Chosen *pairs* are compared where a suite holds both names.
    """
    settings = Settings(**options)
    measured = {}
    for suite, (matrix, clusters) in tables.items():
        present = {*matrix.columns}
        chosen = pairs if pairs is None or len(tables) == 1 else [p for p in pairs if {*p} <= present]
        measured[suite] = measure(matrix, clusters, chosen, settings)
    family = sum(len(item.pairs) for item in measured.values())
    p_adjusted = holm([row["p"] for item in measured.values() for row in item.pairs])
    # What Holm's rule has told apart burdens the rest no more, so that a smaller difference may be significant.
    untold = max(1, family - sum(p < settings.alpha for p in p_adjusted))
    adjusted = iter(p_adjusted)
    least = iter(holm([row["p_least"] for item in measured.values() for row in item.pairs]))
    result = {}
    for suite, item in measured.items():
        rows = [_judged(row, next(adjusted), next(least), item, settings.alpha) for row in item.pairs]
        result[suite] = replace(
            _compared(item, rows, settings, family, letters=pairs is None),
            least=math.nan if item.graded else least_detectable(item.n, settings.alpha, untold),
        )
    return result


class _Verdict(PairRow):
    """A pair, judged within its family."""

    p_adjusted: float
    verdict: str
    words: str


def _judged(row: PairRow, p: float, p_least: float, item: Measured, alpha: float) -> _Verdict:
    """Return *row* with its verdict from the adjusted p and p_least."""
    verdict = "tie"
    if p < alpha:
        ahead = "ahead" if row["difference"] > 0 else "behind"
        verdict = ahead if p_least < alpha else "depends on missing"
    return {**row, "p_adjusted": p, "verdict": verdict, "words": _words(row, p, verdict, alpha, item.percent)}


def _compared(
    item: Measured, rows: Sequence[_Verdict], settings: Settings, family: int, *, letters: bool
) -> Comparison:
    """Return the comparison of one suite, its pairs judged."""
    import pandas as pd

    detect = partial(
        minimum_detectable_difference, alpha=settings.alpha, power=settings.power, pairs=max(family, 1),
        design_effect=item.design_effect, graded=item.graded,
    )  # fmt: skip
    table = [
        {**row, "mdd": math.nan if math.isnan(rate) and row["n"] else detect(row["n"], rate)}
        for row, rate in zip(rows, item.discordance, strict=True)
    ]
    different = [(row["a"], row["b"]) for row in rows if row["verdict"] in ("ahead", "behind")]
    order = item.scores.sort_values("value", ascending=False, kind="stable")["subject"]
    rates = [rate for rate in item.discordance if not math.isnan(rate)]
    unseen = math.nan if item.discordance or item.graded else 0.25
    return Comparison(
        scores=item.scores,
        pairs=pd.DataFrame(table, columns=list(_PAIR_COLUMNS)),
        groups=tie_groups(list(order), different) if letters else {},
        mdd=detect(item.n, sum(rates) / len(rates) if rates else unseen),
        least=math.nan,
        family=family,
        alpha=settings.alpha,
        missing=settings.missing,
        method=item.method,
    )


_PAIR_COLUMNS = (
    *("a", "b", "n", "n_missing", "only_a", "only_b", "difference", "low", "high", "worst", "best"),
    *("p_mcnemar", "p_permutation", "p_clustered", "p", "p_least", "p_adjusted"),
    *("effect", "effect_low", "effect_high", "effect_name", "cohens_h", "mdd", "verdict", "words"),
)


_TINY = 1e-100
"""Below it a p is a limit, not a number."""


def _words(row: PairRow, p: float, verdict: str, alpha: float, percent: bool) -> str:
    if not row["n"]:
        return f"{row['a']} and {row['b']} cannot be compared: no sample has a score of both"
    unit, by = (" points", 100) if percent else ("", 1)
    sign = -1 if row["difference"] < 0 else 1
    ahead, behind = (row["a"], row["b"]) if sign > 0 else (row["b"], row["a"])
    low, high = sorted((sign * row["low"] * by, sign * row["high"] * by))
    numbers = (
        f"{abs(row['difference']) * by:.1f}{unit} ({1 - alpha:.0%} interval {low:.1f} to {high:.1f}; "
        f"adjusted p {f'= {p:.2g}' if p > _TINY else f'< {_TINY:g}'})"
    )
    if verdict == "tie":
        return f"{ahead} and {behind} cannot be told apart on {row['n']} samples: {numbers}"
    doubt = f", but {row['n_missing']} missing samples could undo that"
    return f"{ahead} is ahead of {behind} by {numbers}{doubt if verdict == 'depends on missing' else ''}"
