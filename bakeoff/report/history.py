"""A run against an earlier one: what moved beyond noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bakeoff.foundation.sentences import Statement, Template, statement_of
from bakeoff.store.identity import differences

if TYPE_CHECKING:
    import pandas as pd

    from bakeoff.report.findings import Findings, Subject
    from bakeoff.statistics.comparison import Comparison

NOTHING_SHARED = Template(
    "report.history.nothing_shared",
    "the two runs share no sample",
    zh="两次运行没有共同的题目",
    en="the two runs share no question",
)
NO_VALUE = Template("report.history.no_value", "no value", zh="没有成绩", en="no score")
UNTESTED = Template(
    "report.history.untested",
    "{subject} on {suite}: {before} -> {after}, {verdict}",
    zh="{subject} 在 {suite} 上：{before} -> {after}，{verdict}",
)
TESTED = Template(
    "report.history.tested",
    "{subject} on {suite}: {before} -> {after}, {verdict} ({difference} points on {n} shared samples, 95% interval "
    "{low} to {high}, adjusted p = {p})",
    zh="{subject} 在 {suite} 上：{before} -> {after}，{verdict}（共同题目 {n} 题，{difference} 分，"
    "95% 置信区间 {low} 至 {high}，校正后 p = {p}）",
)
NOISE = Template(
    "report.history.noise", "{count} scores changed within noise", zh="{count} 项成绩的变化在随机波动之内"
)
NOISE_ONE = Template(
    "report.history.noise_one", "1 score changed within noise", zh="1 项成绩的变化在随机波动之内"
)
SINCE = Template("report.history.since", "since {run}:", zh="与 {run} 相比：")
UNCHANGED = Template("report.history.unchanged", "no score changed", zh="成绩均无变化")
NONE_COMPARED = Template(
    "report.history.none_compared",
    "no score was compared: {rows} rows of scores in {run}",
    zh="没有可比较的成绩：{run} 中有 {rows} 行成绩",
)
NO_POINTS = Template("report.history.no_points", "no score", zh="无成绩")
THIS_RUN = Template("report.history.this_run", "this run", zh="本次运行")
Verdict = Literal["better", "worse", "same", "new", "gone", "not comparable"]


_VERDICTS = {
    "better": Template("report.history.better", "better", zh="变好"),
    "worse": Template("report.history.worse", "worse", zh="变差"),
    "same": Template("report.history.same", "no measurable change", zh="无显著变化"),
    "new": Template("report.history.new", "not in that run", zh="上次没有"),
    "gone": Template("report.history.gone", "not in this run", zh="本次没有"),
}
INCOMPARABLE = Template("report.history.incomparable", "not comparable: {why}", zh="不可比：{why}")

_Key = tuple["Subject", str]
_Total = tuple[float, str]
"""A score, and why it is none; empty for a score."""


@dataclass(frozen=True)
class Change:
    """One score then and now, tested on the samples that both runs asked."""

    subject: Subject
    suite: str
    before: float
    after: float
    """0..1; NaN where there is no score."""
    difference: float
    """After minus before on the shared samples; NaN without any."""
    low: float
    high: float
    p: float
    """Adjusted by Holm over all changes of the comparison."""
    n: int
    """Samples that both runs asked."""
    verdict: Verdict
    why: str = ""
    """Why it is not comparable, in words."""

    @property
    def words(self) -> tuple[str, str]:
        """The verdict in Chinese and English."""
        return self._verdict.zh, self._verdict.en

    @property
    def _verdict(self) -> Statement:
        words = _VERDICTS.get(self.verdict)
        return words() if words else INCOMPARABLE(why=self.why)

    @property
    def regression(self) -> bool:
        """Whether it is worse beyond noise, or no longer a score."""
        lost = math.isnan(self.after) and not math.isnan(self.before)
        return self.verdict == "worse" or (self.verdict == "not comparable" and lost)

    def __str__(self) -> str:
        return self.line

    @property
    def line(self) -> Statement:
        """All of it in a line of the terminal."""
        values: dict[str, object] = {
            "subject": str(self.subject),
            "suite": self.suite,
            "before": _points(self.before),
            "after": _points(self.after),
            "verdict": self._verdict,
        }
        if math.isnan(self.difference):
            return UNTESTED(**values)
        return TESTED(
            **values,
            difference=f"{100 * self.difference:+.1f}",
            n=self.n,
            low=f"{100 * self.low:+.1f}",
            high=f"{100 * self.high:+.1f}",
            p=f"{self.p:.2g}",
        )


def changes(before: Findings, after: Findings, alpha: float = 0.05) -> list[Change]:
    """Every score of either run, then and now, in the order of *after*.

    Scores are compared by a paired test on the samples that both runs asked, with one Holm family over all of them:
    six models that did not change yield a false "worse" in at most *alpha* of the comparisons, not in each score.
    A score that is not trusted in one of the runs, or that was asked for otherwise (another benchmark, other examples,
    other generation settings), is not comparable.
    """
    from bakeoff.report.analysis import headline_metric
    from bakeoff.statistics.comparison import compare_suites

    metrics = {suite: headline_metric(after, suite) for suite in after.suites}
    metrics |= {suite: headline_metric(before, suite) for suite in before.suites if suite not in metrics}
    then, now = dict(_totals(before, metrics)), dict(_totals(after, metrics))
    keys = [*now, *(key for key in then if key not in now)]
    sides = [_replies(findings) for findings in (before, after)]
    protocols = [_protocols(findings) for findings in (before, after)]
    otherwise = {key: _otherwise(protocols[0][key], protocols[1][key]) for key in now if key in then}
    tables: dict[str, tuple[pd.DataFrame, pd.Series | None]] = {}
    for place, key in enumerate(keys):
        if (
            not otherwise.get(key)
            and key in then
            and key in now
            and then[key][1] == now[key][1] == ""
            and all(key in replies for replies in sides)
        ):
            table = _shared(sides[0][key], sides[1][key])
            if table is not None:
                tables[str(place)] = table
    compared = compare_suites(tables, alpha=alpha) if tables else {}
    return [
        _change(key, (then.get(key), now.get(key)), compared.get(str(place)), otherwise.get(key, ""))
        for place, key in enumerate(keys)
    ]


def _change(
    key: _Key, totals: tuple[_Total | None, _Total | None], comparison: Comparison | None, otherwise: str
) -> Change:
    """Return what became of one score.

    Args:
        totals: the score then and now; None where a run has none.
        comparison: the test on shared samples; None where there was none.
        otherwise: what was asked otherwise, in words; empty for nothing.
    """
    (old, why_old), (new, why_new) = (total or (math.nan, "") for total in totals)
    row = comparison.pairs.iloc[0] if comparison is not None else None
    verdict: Verdict
    why = ""
    if row is not None:
        verdict = {"ahead": "better", "behind": "worse"}.get(row["verdict"], "same")  # type: ignore[assignment]
    elif totals[0] is None:
        verdict = "new"
    elif totals[1] is None:
        verdict = "gone"
    else:
        verdict = "not comparable"
        why = why_new or why_old or otherwise or NOTHING_SHARED()
    return Change(
        subject=key[0],
        suite=key[1],
        before=math.nan if why_old else old,
        after=math.nan if why_new else new,
        difference=math.nan if row is None else float(row["difference"]),
        low=math.nan if row is None else float(row["low"]),
        high=math.nan if row is None else float(row["high"]),
        p=math.nan if row is None else float(row["p_adjusted"]),
        n=0 if row is None else int(row["n"]),
        verdict=verdict,
        why=why,
    )


@dataclass(frozen=True)
class Since:
    """What became of every score since an earlier run."""

    run_id: str
    """The earlier run."""
    changes: Sequence[Change]

    @classmethod
    def of(cls, before: Findings, after: Findings) -> Since:
        """Every score of *after*, held against *before*."""
        return cls(before.run_id, changes(before, after))

    def __str__(self) -> str:
        return "\n".join(self.lines(chinese=False))

    def lines(self, *, chinese: bool) -> list[str]:
        """Return what the terminal says, in one language."""
        lines = [change.line for change in moved(self.changes) if change.verdict != "same"]
        noise = sum(change.verdict == "same" and change.difference != 0 for change in self.changes)
        if noise:
            lines.append(NOISE_ONE() if noise == 1 else NOISE(count=noise))
        told = [SINCE(run=self.run_id), *(lines or [UNCHANGED()])]
        return [line.zh if chinese else str(line) for line in told]


def moved(changes: Sequence[Change]) -> list[Change]:
    """Those of *found* in which anything is different, the regressions first."""
    different = [change for change in changes if change.verdict != "same" or change.difference != 0]
    return sorted(different, key=lambda change: (not change.regression, change.verdict == "same"))


def why_failed(changes: Sequence[Change], after: Findings) -> list[str]:
    """Return why *after* fails against the earlier run; empty for a pass.

    A pass wants at least one score tested and none worse. A trusted score that is gone counts where *after* was to make
    it; where a run does not know what it was to make, every one counts.
    """
    requested = None if after.asked is None else set(after.asked)
    lost = [
        change
        for change in changes
        if change.verdict == "gone"
        and not math.isnan(change.before)
        and (requested is None or (*change.subject, change.suite) in requested)
    ]
    reasons: list[str] = [change.line for change in changes if change.regression or change in lost]
    if all(change.verdict in ("new", "gone", "not comparable") for change in changes):
        reasons.append(NONE_COMPARED(rows=len(after.scores), run=after.run_id or THIS_RUN()))
    return reasons


def _totals(findings: Findings, metrics: dict[str, str]) -> Iterator[tuple[_Key, tuple[float, str]]]:
    """(subject, suite) -> (value, why it is not a score)."""
    from bakeoff.report.findings import Subject

    table = findings.scores[findings.scores["subset"] == "ALL"]
    for row in table.to_dict("records"):
        if row["metric"] == metrics.get(row["suite"]):
            value = float(row["value"])
            why = (
                "" if row["trusted"] and not math.isnan(value) else statement_of(row, "why_not") or NO_VALUE()
            )
            yield (Subject(str(row["model"]), str(row["variant"])), str(row["suite"])), (value, why)


def _protocols(findings: Findings) -> dict[_Key, dict[str, object]]:
    """Return how each suite was asked.

    Its benchmark, its examples and, where the stage's record has them, the settings.
    """
    from bakeoff.report.findings import Subject

    protocols: dict[_Key, dict[str, object]] = {}
    for row in findings.scores.to_dict("records"):
        key = Subject(str(row["model"]), str(row["variant"])), str(row["suite"])
        protocols[key] = {"benchmark": row["benchmark"], "few_shot": row["few_shot"]}
    for record in findings.stages:
        suite = (record.get("identity") or {}).get("suite")
        key = (
            Subject(record.get("model", ""), record.get("variant", "")),
            (record.get("facts") or {}).get("suite", ""),
        )
        if isinstance(suite, dict) and key in protocols:
            protocols[key]["generation"] = suite.get("generation") or {}
    return protocols


def _otherwise(before: dict[str, object], after: dict[str, object]) -> str:
    """Return what was asked otherwise, in words; empty for nothing.

    Only what both know is compared.
    """
    shared = before.keys() & after.keys()
    old, new = (
        {name: value for name, value in protocol.items() if name in shared} for protocol in (before, after)
    )
    return differences(old, new)


def _replies(findings: Findings) -> dict[_Key, pd.DataFrame]:
    from bakeoff.report.findings import Subject

    columns = ["suite", "model", "variant", "subset", "sample_id", "status", "correct"]
    grouped = findings.samples[columns].groupby(["suite", "model", "variant"], observed=True, sort=False)
    return {(Subject(str(m), str(v)), str(s)): replies for (s, m, v), replies in grouped}


def _shared(before: pd.DataFrame, after: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series] | None:
    """Return verdicts [sample x (after, before)]; missing ones are NaN."""
    sides = []
    for name, replies in (("after", after), ("before", before)):
        gone = (replies["status"] != "answered") & ~(replies["correct"] > 0)
        keyed = replies.assign(
            again=replies.groupby("sample_id").cumcount(), **{name: replies["correct"].mask(gone)}
        )
        sides.append(keyed.set_index(["sample_id", "again"]))
    both = sides[0][["subset", "after"]].join(sides[1][["before"]], how="inner")
    if both.empty:
        return None
    return both[["after", "before"]].astype(float), both["subset"]


def _points(value: float) -> str:
    return NO_POINTS() if math.isnan(value) else f"{100 * value:.1f}"
