"""Ratings as duels: win rates, strengths, and how many items are needed.

Duels and judgements come tidy, one row each. docs/statistics.md explains each measure in plain words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bakeoff.foundation.errors import RatingError
from bakeoff.statistics.bootstrap import Resampling, effective_clusters, expanded_percentiles
from bakeoff.statistics.intervals import wilson
from bakeoff.statistics.power import samples_needed

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST_ITEMS = 8
"""Below this many, the spread of differences is too uncertain to plan with: its own interval spans a factor of four."""


def duels(judgements: pd.DataFrame, by: Sequence[str] = ("rater", "item")) -> pd.DataFrame:
    """Return scores as duels: every two models of a group meet once.

    Groups share the columns *by*.

    Args:
        judgements: one row per judgement: model, score and the columns of *by*. Repeats of a model in a
            group are averaged.
        by: what the two must share, e.g. rater and item.

    Returns:
        One row per duel: a, b (model names, a before b in order of the alphabet), outcome (1 a scored
        higher, .5 the same, 0), and the columns of *by*.
    """
    scores = judgements.dropna(subset=["score"]).groupby([*by, "model"], as_index=False)["score"].mean()
    met = scores.merge(scores, on=list(by), suffixes=("_a", "_b"))
    met = met[met["model_a"] < met["model_b"]]
    outcome = ((met["score_a"] > met["score_b"]) + 0.5 * (met["score_a"] == met["score_b"])).astype(float)
    named: pd.DataFrame = met.assign(outcome=outcome).rename(columns={"model_a": "a", "model_b": "b"})
    return named[["a", "b", "outcome", *by]].reset_index(drop=True)


def win_rates(
    met: pd.DataFrame, by: str = "item", *, alpha: float = 0.05, resamples: int = 2_000, seed: int = 0
) -> pd.DataFrame:
    """Share of duels that a wins against b, a tie counting half.

    Args:
        met: one row per duel: a, b, outcome and the column *by*.
        by: what is resampled for the interval: duels over the same item are not independent.
        alpha: one minus the confidence of the interval.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        One row per pair that met: a, b, duels, ties, rate, low, high.
    """
    import numpy as np
    import pandas as pd

    results = []
    for (a, b), rows in met.groupby(["a", "b"], sort=True):
        items = np.unique(rows[by].astype(str).to_numpy(dtype=str), return_inverse=True)[1]
        outcome = rows["outcome"].to_numpy(dtype=float)
        won = np.bincount(items, weights=outcome)
        fought = np.bincount(items).astype(float)
        rate = float(outcome.mean())
        if len(fought) < 10 or rate in (0.0, 1.0) or np.ptp(won / fought) < 1e-12:
            low, high = wilson(float(won.sum() / fought.mean()), len(fought), alpha)
        else:
            draws = np.random.default_rng(seed).multinomial(
                len(fought), np.full(len(fought), 1 / len(fought)), size=resamples
            )
            size = effective_clusters(fought.astype(np.int64))
            spread = Resampling(
                (draws @ won / (draws @ fought))[:, None], math.sqrt(size / (size - 1)), size - 1
            )
            low, high = expanded_percentiles(spread, alpha)[:, 0]
        ties = int((outcome == 0.5).sum())
        results.append(
            {
                "a": a,
                "b": b,
                "duels": len(rows),
                "ties": ties,
                "rate": rate,
                "low": float(low),
                "high": float(high),
            }
        )
    return pd.DataFrame(results, columns=["a", "b", "duels", "ties", "rate", "low", "high"])


def bradley_terry(
    met: pd.DataFrame,
    by: str = "item",
    *,
    prior_ties: float = 0.1,
    alpha: float = 0.05,
    resamples: int = 1_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return Bradley-Terry strengths; a tie counts as half a win each.

    Biometrika 1952.

    Args:
        met: one row per duel: a, b, outcome (1, .5, 0) and the column *by*.
        by: what is resampled for the interval.
        prior_ties: ties put between every two models beforehand; keeps the strength of one that always won
            finite.
        alpha: one minus the confidence of the interval.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        One row per model, strongest first: model, strength (log odds, mean 0 over the models: a beats b
        with probability 1 / (1 + exp(strength of b - strength of a))), low, high (NaN where duels went one way
        only, or nearly, and where all items say the same: no end is known), duels.

    Raises:
        RatingError: fewer than two models met.
    """
    import numpy as np
    import pandas as pd

    models = sorted({*met["a"], *met["b"]})
    count = len(models)
    if count < 2:
        raise RatingError(
            "bradley_terry: fewer than two models met; judge at least two models on the same items"
        )
    a, b = (met[side].map(models.index).to_numpy(dtype=int) for side in "ab")
    outcome = met["outcome"].to_numpy(dtype=float)
    items = np.unique(met[by].astype(str).to_numpy(dtype=str), return_inverse=True)[1]
    size = int(items.max()) + 1
    wins = np.zeros((size, count, count))
    np.add.at(wins, (items, a, b), outcome)
    np.add.at(wins, (items, b, a), 1 - outcome)
    prior = prior_ties / 2 * (1 - np.eye(count))
    strength = _strengths(wins.sum(axis=0)[None] + prior)[0]
    low, high = np.full((2, count), math.nan)
    if size >= 2:
        drawn = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=resamples)
        low, high = _ends(wins, drawn, prior, effective_clusters(np.bincount(items)), alpha)
    met_by = np.bincount(a, minlength=count) + np.bincount(b, minlength=count)
    table = pd.DataFrame({"model": models, "strength": strength, "low": low, "high": high, "duels": met_by})
    return table.sort_values("strength", ascending=False, kind="stable").reset_index(drop=True)


def _ends(wins: Floats, drawn: NDArray[np.int64], prior: Floats, clusters: float, alpha: float) -> Floats:
    """Return the intervals [end x model] of the strengths over *drawn*.

    *drawn* is [resample x item]; NaN where no end is known.
    """
    import numpy as np

    size, count = wins.shape[:2]
    table = (drawn @ wins.reshape(size, -1)).reshape(-1, count, count)
    # Where duels go one way only, the strength is the prior's word, and so are the ends.
    if not _bounded(wins.sum(axis=0)[None])[0] or (~_bounded(table)).mean() > alpha / 2:
        return np.full((2, count), math.nan)
    worth = max(clusters, 1.5)
    spread = Resampling(_strengths(table + prior), math.sqrt(worth / (worth - 1)), worth - 1)
    ends = np.asarray(expanded_percentiles(spread, alpha))
    # Items that all say the same do not show how far others would be from them.
    return np.where(ends[1] - ends[0] > 1e-9, ends, math.nan)


def _bounded(wins: Floats) -> NDArray[np.bool_]:
    """[resample]: whether the strengths are finite without a prior.

    They are where every model beat every other, over any detour (Ford, American Mathematical Monthly 1957).
    """
    import numpy as np

    count = wins.shape[1]
    beats = (wins > 0) | np.eye(count, dtype=bool)
    for middle in range(count):
        beats |= beats[:, :, [middle]] & beats[:, [middle], :]
    return np.asarray(beats.all(axis=(1, 2)))


def _strengths(wins: Floats) -> Floats:
    """Return the log strengths [resample x model] by maximum likelihood.

    *wins* is [resample x winner x loser]; Newton's method.
    """
    import numpy as np

    count = wins.shape[1]
    met = wins + wins.transpose(0, 2, 1)
    strength = np.zeros(wins.shape[:2])
    for _ in range(100):
        chance = 1 / (1 + np.exp(np.clip(strength[:, None, :] - strength[:, :, None], -500, 500)))
        slope = wins.sum(axis=2) - (met * chance).sum(axis=2)
        curve = -met * chance * (1 - chance)
        curve[:, np.arange(count), np.arange(count)] -= curve.sum(axis=2)
        # Strengths are known up to a constant only; the added ones fix their sum at 0.
        step = np.linalg.solve(curve + 1 / count, slope[:, :, None])[:, :, 0]
        strength += np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:
            break
    return np.asarray(strength - strength.mean(axis=1, keepdims=True), dtype=float)


def items_needed(
    differences: Iterable[float], target: float, *, alpha: float = 0.05, power: float = 0.8, pairs: int = 1
) -> int:
    """Return how many items find a true difference of *target* points.

    Each judged as these were; found with probability *power*.

    Args:
        differences: per item judged so far, the mean score of one model minus that of the other (points of
            the scale).
        target: the difference worth finding, in points.
        alpha: chance of a false difference in the family.
        power: chance to find it.
        pairs: how many pairs of models the family holds.

    Raises:
        RatingError: fewer than eight differences, or all alike: their spread is unknown.
        ScoreError: *target* is 0.
    """
    import numpy as np

    finite = np.array([d for d in differences if math.isfinite(d)])
    if len(finite) < LEAST_ITEMS or np.ptp(finite) == 0:
        raise RatingError(
            f"items_needed: {len(finite)} differences ({len(set(finite))} different ones) do not show how far such "
            f"differences spread; judge {LEAST_ITEMS} items or more"
        )
    return max(2, samples_needed(target, float(finite.var(ddof=1)), alpha, power, pairs, graded=True))


def items_needed_range(
    differences: Iterable[float], target: float, *, alpha: float = 0.05, power: float = 0.8, pairs: int = 1
) -> tuple[int, int, int]:
    """Return :func:`items_needed` between the ends of its 90 % interval.

    Low, as estimated, high. The spread of the differences is an estimate itself; its interval is that of a variance
    (chi-square), which after eight items spans a factor of six. Plan with the high end to be sure.

    Raises:
        RatingError, ScoreError: as :func:`items_needed`.
    """
    from scipy.special import chdtri

    finite = [d for d in differences if math.isfinite(d)]
    needed = items_needed(finite, target, alpha=alpha, power=power, pairs=pairs)
    freedom = len(finite) - 1
    mean = sum(finite) / len(finite)
    squares = sum((d - mean) ** 2 for d in finite)
    low, high = (
        max(
            2,
            samples_needed(target, squares / float(chdtri(freedom, tail)), alpha, power, pairs, graded=True),
        )
        for tail in (0.05, 0.95)
    )
    return low, needed, high
