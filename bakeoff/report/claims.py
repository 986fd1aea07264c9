"""Claims about recipes with several seeds, and about losses by tuning."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bakeoff.report.findings import Findings, Subject
from bakeoff.statistics.measuring import FEWEST_CLUSTERS
from bakeoff.statistics.recipes import (
    Recipes,
    compare_recipes,
    engine_variance,
    repeat_variance,
    with_measured,
)
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
    return {
        suite: replace(
            compared,
            variance=with_measured(
                compared.variance,
                _repeats(findings, suite),
                _engines(findings, suite, tables[suite][0]),
            ),
        )
        for suite, compared in compare_recipes(suites, codes).items()
    }


def _repeats(findings: Findings, suite: str) -> dict[str, float]:
    """Return recipe -> variance of a repeated evaluation.

    Where right-or-wrong questions were asked twice.
    """
    own = findings.samples_by_suite.get(suite)
    if own is None or not own["correct"].dropna().isin((0.0, 1.0)).all():
        return {}
    counts: dict[str, list[int]] = {}
    for evaluation in findings.evaluations:
        noise = evaluation.get("noise")
        if noise and evaluation["suite"] == suite and evaluation["variant"] == "tuned":
            twice, same = counts.setdefault(str(evaluation["model"]), [0, 0])
            counts[str(evaluation["model"])] = [twice + noise["asked_twice"], same + noise["same_grades"]]
    repeats = {}
    for recipe, models in findings.recipes.items():
        measured = [counts[model] for model in models if model in counts]
        if measured:
            repeats[recipe] = repeat_variance(
                sum(twice for twice, _ in measured), sum(same for _, same in measured)
            )
    return repeats


def _engines(findings: Findings, suite: str, matrix: pd.DataFrame) -> dict[str, float]:
    """Return recipe -> variance between engines.

    Where rows have the same weights behind different ones.
    """
    scores = findings.scores[(findings.scores["suite"] == suite) & (findings.scores["fingerprint"] != "")]
    alike: dict[str, list[Subject]] = {}
    for model, variant, fingerprint in scores[["model", "variant", "fingerprint"]].drop_duplicates().values:
        if str(Subject(model, variant)) in matrix.columns:
            alike.setdefault(str(fingerprint), []).append(Subject(model, variant))
    recipe_of = {model: recipe for recipe, models in findings.recipes.items() for model in models}
    served = {
        Subject(str(stage.get("model")), str(stage.get("variant"))): engine_in(str(stage.get("command", "")))
        for stage in findings.stages
        if stage.get("stage") == "deploy"
    }
    engines: dict[str, float] = {}
    for subjects in alike.values():
        by_engine = {served.get(subject, ""): str(subject) for subject in subjects}
        if len(by_engine) > 1 and "" not in by_engine:
            value = engine_variance(matrix[list(by_engine.values())].fillna(0.0).to_numpy(dtype=float))
            for subject in subjects:
                name = recipe_of.get(subject.model, subject.model)
                engines[name] = max(value, engines.get(name, 0.0))
    return engines


def engine_in(command: str) -> str:
    """Return the engine of a command line; "" where it names none."""
    backend = re.search(r"--infer_backend[ =](\S+)", command)
    module = re.search(r" -m (\S+)", command) or re.search(r"(?:^|[ /])(vllm|sglang|lmdeploy)\b", command)
    return backend[1] if backend else module[1] if module else ""


def sampled_subsets(clusters: pd.Series) -> NDArray[np.int64] | None:
    """Return subset codes; None where subsets are too few for a sample."""
    import numpy as np

    present, codes = np.unique(clusters.astype(str).to_numpy(dtype=str), return_inverse=True)
    return codes if len(present) >= FEWEST_CLUSTERS else None
