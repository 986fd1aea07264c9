"""From findings to what may be said: per suite the scores, their intervals, tie groups and differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bakeoff.report.findings import Findings, Subject

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Cell:
    """One score with how it came about."""

    subject: Subject
    suite: str
    value: float
    """0..1; NaN when there is none."""
    low: float
    high: float
    """Ends of the 95 % interval, NaN when there is none."""
    letters: str
    """Tie group within the suite, among subjects of the same kind; empty when not compared."""
    n_asked: int
    n_answered: int
    missing: dict[str, int]
    """How many were unparsed, empty, truncated, errored; only those above zero."""
    worst: float
    best: float
    chance: float
    trusted: bool
    why_not: str
    few_shot: int
    fingerprint: str
    n_leaked: int


@dataclass
class SuiteView:
    """Everything the report says about one suite."""

    name: str
    metric: str
    cells: dict[Subject, Cell]
    other_metrics: dict[str, dict[Subject, float]]
    subsets: pd.DataFrame
    """Value per subset (rows) and subject (columns), headline metric, trusted scores only."""
    subset_sizes: dict[str, int]
    n_questions: int
    families: list[Any] = field(default_factory=list)

    @property
    def trusted(self) -> list[Cell]:
        """The scores that may be compared."""
        return [cell for cell in self.cells.values() if cell.trusted and not math.isnan(cell.value)]


def headline_metric(findings: Findings, suite: str) -> str:
    """The metric that the suite is compared by: the one which the per-sample verdicts average to.

    A suite may report several metrics while each sample carries one verdict; tests on samples speak about the
    metric whose totals lie closest to the samples' means. Without samples it is the first one reported.
    """
    totals = findings.scores[(findings.scores["suite"] == suite) & (findings.scores["subset"] == "ALL")]
    metrics = [str(one) for one in dict.fromkeys(totals["metric"])]
    samples = findings.samples
    if len(metrics) < 2 or samples.empty:
        return metrics[0] if metrics else ""
    own = samples[samples["suite"] == suite]
    means = own.groupby(["model", "variant"], observed=True)["correct"].mean()
    joined = totals.join(means.rename("mean_correct"), on=["model", "variant"])
    joined = joined[joined["trusted"]] if joined["trusted"].any() else joined
    distance = (joined["value"] - joined["mean_correct"]).abs().groupby(joined["metric"]).mean()
    return min(metrics, key=lambda one: (distance.get(one, math.inf), metrics.index(one)))


def suite_views(findings: Findings) -> list[SuiteView]:
    """One view per suite, in the order of the scores table."""
    return [_suite_view(findings, suite) for suite in findings.suites]


def _suite_view(findings: Findings, suite: str) -> SuiteView:
    scores = findings.scores[findings.scores["suite"] == suite]
    metric = headline_metric(findings, suite)
    head = scores[scores["metric"] == metric]
    totals = head[head["subset"] == "ALL"].drop_duplicates(["model", "variant"], keep="last")
    samples = findings.samples[findings.samples["suite"] == suite]
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
    parts = head[(head["subset"] != "ALL") & head["trusted"]]
    subsets = parts.pivot_table(
        index="subset", columns=["model", "variant"], values="value", aggfunc="last", sort=False
    )
    return SuiteView(
        name=suite,
        metric=metric,
        cells=cells,
        other_metrics=others,
        subsets=subsets,
        subset_sizes={
            str(k): int(n) for k, n in parts.groupby("subset", sort=False)["n_asked"].max().items()
        },
        n_questions=int(totals["n_asked"].max()) if len(totals) else 0,
    )


def _cell(subject: Subject, suite: str, row: Mapping[Any, Any], n_leaked: int) -> Cell:
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
        why_not=str(row["why_not"]),
        few_shot=int(row["few_shot"]),
        fingerprint=str(row["fingerprint"]),
        n_leaked=n_leaked,
    )
