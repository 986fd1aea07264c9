"""A run against an earlier one: what moved beyond noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bakeoff.foundation.sentences import Template, in_languages, statement_of
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
Verdict = Literal["better", "worse", "same", "new", "gone", "not comparable"]

_WORDS: dict[str, tuple[str, str]] = {
    "better": ("变好", "better"),
    "worse": ("变差", "worse"),
    "same": ("无显著变化", "no measurable change"),
    "new": ("上次没有", "not in that run"),
    "gone": ("本次没有", "not in this run"),
}


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
        if words := _WORDS.get(self.verdict):
            return words
        zh, en = in_languages(self.why) or (self.why, self.why)
        return f"不可比：{zh}", f"not comparable: {en}"

    @property
    def regression(self) -> bool:
        """Whether it is worse beyond noise, or no longer a score."""
        lost = math.isnan(self.after) and not math.isnan(self.before)
        return self.verdict == "worse" or (self.verdict == "not comparable" and lost)

    def __str__(self) -> str:
        numbers = f"{_points(self.before)} -> {_points(self.after)}"
        if math.isnan(self.difference):
            return f"{self.subject} on {self.suite}: {numbers}, {self.words[1]}"
        return (
            f"{self.subject} on {self.suite}: {numbers}, {self.words[1]} ({100 * self.difference:+.1f} points "
            f"on {self.n} shared samples, 95% interval {100 * self.low:+.1f} to {100 * self.high:+.1f}, "
            f"adjusted p = {self.p:.2g})"
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
        lines = [str(change) for change in moved(self.changes) if change.verdict != "same"]
        noise = sum(change.verdict == "same" and change.difference != 0 for change in self.changes)
        if noise:
            lines.append(f"{noise} {'score' if noise == 1 else 'scores'} changed within noise")
        return "\n".join([f"since {self.run_id}:", *(lines or ["no score changed"])])


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
    reasons = [str(change) for change in changes if change.regression or change in lost]
    if all(change.verdict in ("new", "gone", "not comparable") for change in changes):
        reasons.append(
            f"no score was compared: {len(after.scores)} rows of scores in {after.run_id or 'this run'}"
        )
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
    return "no score" if math.isnan(value) else f"{100 * value:.1f}"
