"""Scores, intervals, tie groups and differences of a run's suites."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bakeoff.foundation.sentences import statement_of
from bakeoff.report.claims import recipe_comparisons, retentions
from bakeoff.report.findings import Findings, Subject
from bakeoff.report.views import INTEREST, Analysis, Cell, Difference, SuiteView
from bakeoff.scoring.scores import CRISIS

if TYPE_CHECKING:
    import pandas as pd

    from bakeoff.statistics.comparison import Comparison

_GONE = -1.0
_Table = tuple["pd.DataFrame", "pd.Series"]
"""Verdicts [sample x subject] and the subset of each sample."""
_Ends = tuple[float, float]
"""Ends of an interval."""


def headline_metric(findings: Findings, suite: str) -> str:
    """Return the metric that the suite's models are compared by.

    A suite may report several metrics while each sample carries one verdict; tests on samples speak about the
    metric whose totals lie closest to the samples' means. Without samples it is the first one reported.
    """
    totals = findings.scores[(findings.scores["suite"] == suite) & (findings.scores["subset"] == "ALL")]
    metrics = [str(metric) for metric in dict.fromkeys(totals["metric"])]
    samples = findings.samples_by_suite.get(suite)
    if len(metrics) < 2 or samples is None:
        return metrics[0] if metrics else ""
    means = samples.groupby(["model", "variant"], observed=True)["correct"].mean()
    joined = totals.join(means.rename("mean_correct"), on=["model", "variant"])
    joined = joined[joined["trusted"]] if joined["trusted"].any() else joined
    distance = (joined["value"] - joined["mean_correct"]).abs().groupby(joined["metric"]).mean()
    return min(metrics, key=lambda metric: (distance.get(metric, math.inf), metrics.index(metric)))


@dataclass(frozen=True)
class _Families:
    """Subjects that are compared with each other, and (tuned, base) pairs by name."""

    delivered: list[Subject]
    """Each model's tuned variant where there is one, else its base."""
    bases: list[Subject]
    tuning: list[tuple[str, str]]


@dataclass(frozen=True)
class _Compared:
    """Comparisons of one suite: all subjects, the delivered models, their bases."""

    everyone: Comparison
    delivered: Comparison | None
    bases: Comparison | None

    @property
    def letters(self) -> dict[str, str]:
        """Subject -> tie group; small letters among bases."""
        small = self.bases.groups if self.bases is not None else {}
        capitals = self.delivered.groups if self.delivered is not None else {}
        return {**{name: letters.lower() for name, letters in small.items()}, **capitals}


@lru_cache(maxsize=1)  # the page and the tables are made from one analysis
def analyse(findings: Findings) -> Analysis:
    """Return scores, intervals and tested differences of all suites.

    Three families of differences, each corrected as a whole over all suites: between the models as delivered, between
    their bases, and tuned against base. Scores that cannot be trusted take part in none.
    """
    from bakeoff.statistics.comparison import compare_suites

    views = [_suite_view(findings, suite) for suite in findings.suites]
    tables: dict[str, _Table] = {}
    own_intervals: dict[tuple[str, str], _Ends] = {}
    for view in views:
        table = _shared_table(findings, view, own_intervals)
        if table is not None:
            tables[view.name] = table
    families = _families(findings, tables)
    everyone = compare_suites(tables, pairs=families.tuning) if tables else {}
    first = compare_suites(_only(tables, families.delivered))
    second = compare_suites(_only(tables, families.bases)) if families.bases != families.delivered else {}
    names = {str(subject): subject for subject in findings.subjects}
    for view in views:
        if view.name in everyone:
            compared = _Compared(everyone[view.name], first.get(view.name), second.get(view.name))
            _fill(view, compared, own_intervals, names)
            view.delivered = [
                cell.subject for cell in view.ordered() if cell.ranked and cell.subject in families.delivered
            ]
    retained = retentions(findings, tables, families.tuning)
    recipes = recipe_comparisons(findings, tables)
    for view in views:
        view.retention = {names[each.name].model: each for each in retained if each.suite == view.name}
        view.recipes = recipes.get(view.name)
    order = _order(findings.models, families.delivered, views)
    for view in views:
        view.arrange(order)
    return Analysis(
        views=views,
        order=order,
        family=next((comparison.family for comparison in first.values()), 0),
        tuning_family=next((comparison.family for comparison in everyone.values()), 0),
    )


def _shared_table(
    findings: Findings, view: SuiteView, own_intervals: dict[tuple[str, str], _Ends]
) -> _Table | None:
    """Return verdicts on questions that all trusted subjects share.

    None without any.

    A subject that was asked more questions has its interval on all of them, which goes into *own_intervals*.
    """
    from bakeoff.statistics.comparison import compare

    coded, clusters = _asked(findings, view)
    shared = coded.notna().all(axis=1)
    if coded.columns.empty or not shared.any():
        return None
    matrix = coded.where(coded != _GONE)
    view.n_compared = int(shared.sum())
    for name in coded.columns[coded.notna().sum() > view.n_compared]:
        questions = coded[name].notna()
        alone = compare(matrix.loc[questions, [name]], clusters[questions], pairs=[])
        own_intervals[view.name, name] = _ends(alone)[name]
    return matrix.loc[shared], clusters[shared]


def _families(findings: Findings, tables: Mapping[str, _Table]) -> _Families:
    """Return who is compared with whom.

    Further seeds of a recipe are no models of their own.
    """
    firsts = {children[0] for children in findings.recipes.values()}
    by_model = {
        model: [subject for subject in findings.subjects if subject.model == model]
        for model in findings.models
        if model in firsts
    }
    scored = {name for matrix, _ in tables.values() for name in matrix.columns}
    pairs = [(str(variants[-1]), str(variants[0])) for variants in by_model.values() if len(variants) > 1]
    return _Families(
        delivered=[variants[-1] for variants in by_model.values() if variants],
        bases=[
            variants[0]
            for variants in by_model.values()
            if len(variants) > 1 or (variants and variants[0].variant == "base")
        ],
        tuning=[pair for pair in pairs if scored.issuperset(pair)],
    )


def _fill(
    view: SuiteView,
    compared: _Compared,
    own_intervals: Mapping[tuple[str, str], _Ends],
    names: Mapping[str, Subject],
) -> None:
    """Put differences, intervals and letters into *view*."""
    view.method = compared.everyone.method
    view.tuning = {d.a.model: d for d in _differences(view.name, compared.everyone, names)}
    if compared.delivered is not None:
        view.pairs = _differences(view.name, compared.delivered, names)
        view.mdd, view.least = compared.delivered.mdd, compared.delivered.least
    view.base_pairs = _differences(view.name, compared.bases, names) if compared.bases is not None else []
    letters = compared.letters
    intervals = _ends(compared.everyone)
    for subject, cell in view.cells.items():
        ends = own_intervals.get((view.name, str(subject))) or intervals.get(str(subject))
        if ends is not None and cell.ranked:
            low, high = ends
            view.cells[subject] = replace(cell, low=low, high=high, letters=letters.get(str(subject), ""))


def _ends(comparison: Comparison) -> dict[str, _Ends]:
    """Return the interval of each subject's score."""
    rows = comparison.scores[["subject", "low", "high"]].itertuples(index=False)
    return {str(subject): (float(low), float(high)) for subject, low, high in rows}


def _asked(findings: Findings, view: SuiteView) -> tuple[pd.DataFrame, pd.Series]:
    """Verdicts [sample x trusted subject] and the subset of each sample.

    NaN: the subject was not asked; ``_GONE``: it was, but there is no reply to grade (not answered and not graded as
    right), which the tests count as wrong, saying when that decides.
    """
    import pandas as pd

    from bakeoff.statistics.tables import sample_matrix

    trusted = {str(cell.subject) for cell in view.cells.values() if cell.ranked}
    samples = findings.samples_by_suite.get(view.name)
    if samples is None or not trusted:
        return pd.DataFrame(), pd.Series(dtype=object)
    gone = (samples["status"] != "answered") & ~(samples["correct"] > 0)
    coded = samples[["suite", "model", "variant", "subset", "sample_id", "index"]].assign(
        correct=samples["correct"].mask(gone, _GONE)
    )
    matrix, clusters = sample_matrix(coded, view.name)
    return matrix[[name for name in matrix.columns if name in trusted]], clusters


def _only(
    tables: Mapping[str, _Table], subjects: Sequence[Subject]
) -> dict[str, tuple[pd.DataFrame, pd.Series | None]]:
    names = {str(subject) for subject in subjects}
    chosen: dict[str, tuple[pd.DataFrame, pd.Series | None]] = {}
    for suite, (matrix, clusters) in tables.items():
        columns = [name for name in matrix.columns if name in names]
        if len(columns) > 1:
            chosen[suite] = (matrix[columns], clusters)
    return chosen


def _differences(suite: str, comparison: Comparison, names: Mapping[str, Subject]) -> list[Difference]:
    return [
        Difference(
            suite=suite,
            a=names[row["a"]],
            b=names[row["b"]],
            n=int(row["n"]),
            value=float(row["difference"]),
            low=float(row["low"]),
            high=float(row["high"]),
            p=float(row["p_adjusted"]),
            effect=float(row["effect"]),
            effect_low=float(row["effect_low"]),
            effect_high=float(row["effect_high"]),
            effect_name=str(row["effect_name"]),
            verdict=str(row["verdict"]),
            only_a=int(row["only_a"]),
            only_b=int(row["only_b"]),
            mdd=float(row["mdd"]),
        )
        for row in comparison.pairs.to_dict("records")
    ]


def _order(models: Sequence[str], delivered: Sequence[Subject], views: Sequence[SuiteView]) -> list[str]:
    """Return models by mean score over the suites that all have.

    Models that lack a score keep their order, last.

    The suite of crises is no part of a mean.
    """
    views = [view for view in views if view.name != CRISIS]
    values = {
        subject.model: {view.name: view.cells[subject].value for view in views if _ranked(view, subject)}
        for subject in delivered
    }
    rankable = {model: scores for model, scores in values.items() if scores}
    shared = set.intersection(*(set(scores) for scores in rankable.values())) if rankable else set()
    if not shared:
        return list(models)
    mean = {model: sum(scores[suite] for suite in shared) / len(shared) for model, scores in rankable.items()}
    return sorted(models, key=lambda model: (-mean.get(model, -math.inf), models.index(model)))


def _ranked(view: SuiteView, subject: Subject) -> bool:
    return subject in view.cells and view.cells[subject].ranked


def _suite_view(findings: Findings, suite: str) -> SuiteView:
    scores = findings.scores[findings.scores["suite"] == suite]
    metric = headline_metric(findings, suite)
    head = scores[scores["metric"] == metric]
    totals = head[head["subset"] == "ALL"].drop_duplicates(["model", "variant"], keep="last")
    samples = findings.samples_by_suite.get(suite, findings.samples.iloc[:0])
    leaked = samples[samples["leaked"]].groupby(["model", "variant"], observed=True).size()
    rows = {Subject(str(row["model"]), str(row["variant"])): row for row in totals.to_dict("records")}
    cells = {
        subject: _cell(subject, suite, rows[subject], int(leaked.get(tuple(subject), 0)))
        for subject in findings.subjects
        if subject in rows
    }
    others: dict[str, dict[Subject, float]] = {}
    rest = scores[(scores["metric"] != metric) & (scores["subset"] == "ALL") & scores["trusted"]]
    for row in rest.to_dict("records"):
        others.setdefault(str(row["metric"]), {})[Subject(str(row["model"]), str(row["variant"]))] = row[
            "value"
        ]
    subsets, invalid, sizes = _subset_values(head, [s for s, cell in cells.items() if cell.trusted])
    return SuiteView(
        name=suite,
        metric=metric,
        cells=cells,
        other_metrics=others,
        subsets=subsets,
        subset_sizes=sizes,
        invalid_subsets=invalid,
        interest=findings.interest.get(suite, INTEREST),
        n_questions=int(totals["n_asked"].max()) if len(totals) else 0,
    )


def _subset_values(
    head: pd.DataFrame, sure: Sequence[Subject]
) -> tuple[pd.DataFrame, dict[tuple[str, Subject], str], dict[str, int]]:
    """Return values [subset x subject], reasons of invalid ones, sizes."""
    keys = ["model", "variant"]
    parts = head[head["subset"] != "ALL"].drop_duplicates(["subset", *keys], keep="last")
    parts = parts[parts.set_index(keys).index.isin(sure)]
    invalid = {
        (str(row["subset"]), Subject(str(row["model"]), str(row["variant"]))): statement_of(row, "why_not")
        for row in parts[~parts["trusted"]].to_dict("records")
    }
    order = parts["subset"].drop_duplicates()
    columns = parts[keys].drop_duplicates()
    values = parts.assign(value=parts["value"].where(parts["trusted"])).set_index(["subset", *keys])["value"]
    table = values.unstack(keys).reindex(order) if len(parts) else values.unstack(keys)
    table = table[[tuple(pair) for pair in columns.to_numpy()]] if len(parts) else table
    sizes = parts.groupby("subset", sort=False)["n_asked"].max()
    return table, invalid, {str(subset): int(n) for subset, n in sizes.items()}


def _cell(subject: Subject, suite: str, row: Mapping[Hashable, Any], n_leaked: int) -> Cell:
    missing = {kind: int(row[f"n_{kind}"]) for kind in ("unparsed", "empty", "truncated", "errored")}
    return Cell(
        subject=subject,
        suite=suite,
        value=float(row["value"]),
        low=math.nan,
        high=math.nan,
        letters="",
        n_asked=int(row["n_asked"]),
        n_answered=int(row["n_answered"]),
        missing={kind: count for kind, count in missing.items() if count},
        worst=float(row["worst"]),
        best=float(row["best"]),
        chance=float(row["chance"]),
        trusted=bool(row["trusted"]),
        why_not=statement_of(row, "why_not"),
        few_shot=int(row["few_shot"]),
        fingerprint=str(row["fingerprint"]),
        n_leaked=n_leaked,
    )
