"""The table [sample x subject] of a suite, and checks of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bakeoff.foundation.errors import ScoreError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def sample_matrix(samples: pd.DataFrame, suite: str) -> tuple[pd.DataFrame, pd.Series]:
    """Return the table of a suite, and the subset of each sample.

    The table is [sample x subject]. A subject is named "model (variant)". A question that stands twice in the suite
    stays two samples. A sample that a subject was not asked, or that has no score, is NaN.

    Raises:
        ScoreError: there is no sample of *suite*.
    """
    import numpy as np
    import pandas as pd

    rows = samples[samples["suite"] == suite]
    if rows.empty:
        suites = ", ".join(sorted(map(str, samples["suite"].unique()))) or "none"
        raise ScoreError(f"samples: no sample of suite {suite!r}; the table holds: {suites}")
    rows = rows[["model", "variant", "subset", "sample_id", "index", "correct"]]
    rows = rows.sort_values("index", kind="stable")
    # Codes instead of texts: at a hundred thousand replies a pivot over texts takes most of the time.
    who, names = pd.factorize(rows["model"].astype(str) + " (" + rows["variant"].astype(str) + ")")
    subset, subsets = pd.factorize(rows["subset"], sort=True)
    sample, samples_ids = pd.factorize(rows["sample_id"], sort=True)
    again = rows.groupby([who, subset, sample], sort=False).cumcount().to_numpy()
    times = int(again.max()) + 1
    keys, place = np.unique((subset * len(samples_ids) + sample) * times + again, return_inverse=True)
    values = np.full((len(keys), len(names)), np.nan)
    values[place, who] = rows["correct"].to_numpy(dtype=float)
    index = pd.MultiIndex.from_arrays(
        [
            subsets.take(keys // times // len(samples_ids)),
            samples_ids.take(keys // times % len(samples_ids)),
            keys % times,
        ],
        names=["subset", "sample_id", "again"],
    )
    matrix = pd.DataFrame(values, index=index, columns=pd.Index(names, name="subject"))
    return matrix, matrix.index.get_level_values("subset").to_series(index=matrix.index)


def checked(matrix: pd.DataFrame, scale: tuple[float, float]) -> tuple[list[str], Floats]:
    """Return names and values of *matrix*.

    Raises:
        ScoreError: it is empty, a name stands twice, or a score lies outside *scale*.
    """
    import numpy as np

    names = [str(name) for name in matrix.columns]
    if matrix.empty:
        raise ScoreError(
            "compare: the table has no samples or no subjects; give one row per sample, one column each"
        )
    if len(set(names)) < len(names):
        raise ScoreError("compare: a subject stands twice in the table; name each column differently")
    values = matrix.to_numpy(dtype=float, na_value=np.nan)
    outside = values[np.isfinite(values) & ((values < scale[0]) | (values > scale[1]))]
    if outside.size or np.isinf(values).any():
        value = float(outside[0]) if outside.size else math.inf
        raise ScoreError(f"compare: score {value:g} lies outside scale {scale}; pass scale=(lowest, highest)")
    return names, values


def subset_codes(matrix: pd.DataFrame, clusters: pd.Series | None) -> Ints | None:
    """Return the subset codes 0..G-1 of the rows; None for one subset."""
    import numpy as np

    if clusters is None:
        return None
    if len(clusters) != len(matrix) or not clusters.index.equals(matrix.index):
        raise ScoreError(
            f"compare: clusters ({len(clusters)} rows) is not aligned with the table ({len(matrix)} rows); "
            "give one subset per sample under the same index"
        )
    if clusters.isna().any():
        raise ScoreError("compare: a sample has no subset; name one, or pass clusters=None")
    present, codes = np.unique(clusters.astype(str).to_numpy(dtype=str), return_inverse=True)
    return codes if len(present) > 1 else None
