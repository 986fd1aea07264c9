"""Bootstrap intervals over samples within subsets, or over subsets."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


class Resampling(NamedTuple):
    """Bootstrap draws and how they are to be read."""

    draws: Floats
    """[resample x column] means."""
    scale: float
    """The draws spread too little by this factor: sqrt(G / (G - 1)) for G clusters."""
    df: float
    """Degrees of freedom of Student's t for the tails."""


def effective_clusters(sizes: Ints) -> float:
    """Return how many clusters of equal size are worth these *sizes*.

    Kish, Survey Sampling 1965, section 8.2.
    """
    return float(sizes.sum()) ** 2 / float((sizes.astype(float) ** 2).sum())


def resample_clusters(values: Floats, clusters: Ints, resamples: int, rng: np.random.Generator) -> Resampling:
    """Return the means when whole clusters are drawn anew.

    *values*: [sample x column]; *clusters*: codes 0..G-1. NaN count neither above nor below the fraction line. Only
    per-cluster sums are weighted, so the cost does not grow with n.
    """
    import numpy as np

    sizes = np.bincount(clusters)
    count = len(sizes)
    finite = np.isfinite(values)
    above = np.zeros((count, values.shape[1]))
    below = np.zeros((count, values.shape[1]))
    np.add.at(above, clusters, np.where(finite, values, 0.0))
    np.add.at(below, clusters, finite.astype(float))
    weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = (weights @ above) / (weights @ below)
    effective = effective_clusters(sizes)
    return Resampling(draws, math.sqrt(effective / (effective - 1)), effective - 1)


def resample_samples(
    values: Floats, strata: Ints | None, resamples: int, rng: np.random.Generator, keys: int | None = None
) -> Resampling:
    """Return the means when samples are drawn anew in each stratum.

    *values*: [sample x column]. From a stratum of m samples m - 1 are drawn, which makes its variance unbiased even
    for small m (McCarthy & Snowden 1985); strata of one sample are put together. Equal rows share one weight; with
    very many different rows *resamples* falls, never below 2,000. *keys*: the first so many columns determine the
    others.
    """
    import numpy as np

    codes = _no_singletons(np.zeros(len(values), dtype=int) if strata is None else strata)
    key = np.nan_to_num(values[:, :keys], nan=np.inf)
    _, first, counts = np.unique(np.column_stack([codes, key]), axis=0, return_index=True, return_counts=True)
    resamples = min(resamples, max(2_000, 10_000_000 // len(first)))
    rows, of = values[first], codes[first]
    finite = np.isfinite(rows)
    both = np.hstack([np.where(finite, rows, 0.0), finite.astype(float)])
    sums = np.zeros((resamples, both.shape[1]))
    present = np.unique(of)
    for stratum in present:
        here = of == stratum
        size = int(counts[here].sum())
        drawn = max(size - 1, 1)
        for block in _blocks(resamples, max(1, 4_000_000 // size)):
            weights = multinomial_weights(counts[here], drawn, block.stop - block.start, rng)
            sums[block] += (weights @ both[here]) * (size / drawn)
    above, below = np.hsplit(sums, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = above / below
    return Resampling(draws, 1.0, max(1, len(values) - len(present)))


def multinomial_weights(counts: Ints, drawn: int, resamples: int, rng: np.random.Generator) -> Floats:
    """Return how often each category is drawn: [resample x category].

    *drawn* draws in proportion to *counts*.
    """
    import numpy as np

    size, kinds = int(counts.sum()), len(counts)
    if kinds * 8 < drawn:
        return rng.multinomial(drawn, counts / size, size=resamples).astype(float)
    # One binomial per category is slower than one integer per draw once nearly every row is its own category.
    of = np.repeat(np.arange(kinds), counts)[rng.integers(size, size=(resamples, drawn))]
    flat = (of + kinds * np.arange(resamples)[:, None]).ravel()
    return np.bincount(flat, minlength=resamples * kinds).reshape(resamples, kinds).astype(float)


def _blocks(total: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def _no_singletons(strata: Ints) -> Ints:
    import numpy as np

    sizes = np.bincount(strata)
    lone = np.flatnonzero(sizes == 1)
    if lone.size == 0 or len(strata) == 1:
        return strata
    partner = lone[0] if lone.size > 1 else int(np.argmax(sizes))
    return np.where(np.isin(strata, lone), partner, strata)


def expanded_percentiles(resampling: Resampling, alpha: float = 0.05) -> Floats:
    """Return the bootstrap percentile intervals: [2 x column].

    Their tails are widened as Student's t is wider than the normal. Without this a percentile interval is too short
    for few clusters (Hesterberg, The American Statistician 2015, section 3.3).
    """
    import numpy as np
    from scipy.special import ndtr, stdtrit

    tail = float(ndtr(resampling.scale * stdtrit(resampling.df, alpha / 2)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        ends: Floats = np.nanquantile(resampling.draws, [tail, 1 - tail], axis=0)
    return ends
