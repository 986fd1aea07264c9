"""Claims about recipes with several seeds, and about losses by tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bakeoff.report.findings import Findings, Subject
from bakeoff.statistics.measuring import FEWEST_CLUSTERS
from bakeoff.statistics.recipes import Recipes, compare_recipes
from bakeoff.statistics.retention import MARGIN, Retention, judged, retention

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Table = tuple[pd.DataFrame, pd.Series]


def retentions(
    findings: Findings, tables: Mapping[str, Table], pairs: Sequence[tuple[str, str]]
) -> list[Retention]:
    """Return what tuning kept of each base, on every suite.

    One family over all of them.

    Args:
        tables: suite -> scores [sample x subject] of the trusted subjects, and the subset of each sample.
        pairs: names of the tuned subject and of its base.
    """
    drafts = []
    for suite, (matrix, clusters) in tables.items():
        codes = sampled_subsets(clusters)
        for tuned, base in pairs:
            if {tuned, base} <= set(matrix.columns):
                first, second = matrix[tuned].to_numpy(dtype=float), matrix[base].to_numpy(dtype=float)
                margin = findings.margin.get(suite, MARGIN)
                drafts.append(retention(tuned, suite, first, second, margin=margin, clusters=codes))
    return judged(drafts)


def recipe_comparisons(findings: Findings, tables: Mapping[str, Table]) -> dict[str, Recipes]:
    """Return suite -> comparison of recipes with several seeds.

    A recipe takes part with the seeds whose score is trusted; a sample without a reply counts as wrong, as elsewhere.
    """
    recipes = findings.recipes
    if all(len(models) < 2 for models in recipes.values()):
        return {}
    suites: dict[str, dict[str, NDArray[np.float64]]] = {}
    codes: dict[str, NDArray[np.int64] | None] = {}
    for suite, (matrix, clusters) in tables.items():
        for recipe, models in recipes.items():
            names = [str(Subject(model, "tuned")) for model in models]
            columns = [name for name in names if name in matrix.columns]
            if columns:
                scores = matrix[columns].fillna(0.0).to_numpy(dtype=float)
                suites.setdefault(suite, {})[recipe] = scores
        codes[suite] = sampled_subsets(clusters)
    return compare_recipes(suites, codes)


def sampled_subsets(clusters: pd.Series) -> NDArray[np.int64] | None:
    """Return subset codes; None where subsets are too few for a sample."""
    import numpy as np

    present, codes = np.unique(clusters.astype(str).to_numpy(dtype=str), return_inverse=True)
    return codes if len(present) >= FEWEST_CLUSTERS else None
