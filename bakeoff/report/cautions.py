"""What happened on the way to the scores that a reader should know."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from bakeoff.foundation.sentences import Template
from bakeoff.parity.answers import SHOWN
from bakeoff.report.findings import Findings
from bakeoff.report.words import both, said, stage_names, subject_names
from bakeoff.store.events import MADE_AHEAD

LEFT_BEHIND = "ended what a killed run left behind"
NOT_RETURNED = "memory not returned"
MOVED = "branch moved"
NOT_ASKED = "hub not asked"
NOTED = (LEFT_BEHIND, NOT_RETURNED, MOVED, NOT_ASKED, MADE_AHEAD)
"""Events of the timeline that a run keeps for its report."""
RESTARTED = Template(
    "report.cautions.restarted",
    "the service died and was started again: {why}",
    zh="服务中途停止，已重启：{why}",
)
MEMORY_HELD = Template(
    "report.cautions.memory_held",
    "{gib:.1f} GiB of GPU memory did not come back after its service ended",
    zh="服务结束后仍有 {gib:.1f} GiB 显存未释放",
    en="{gib:.1f} GiB of GPU memory was not released after its service ended",
)
CLEANED_UP = Template(
    "report.cautions.cleaned_up",
    "ended what a killed run left behind: {command}",
    zh="已清理上次被强制终止的运行所遗留的进程：{command}",
    en="ended a process that a killed run had left behind: {command}",
)
_Names = tuple[str, str]
"""Whom it concerns, in Chinese and English."""


def cautions(findings: Findings) -> list[tuple[Markup, Markup]]:
    """(who, what in both languages), each thing once for all whom it concerns."""
    grouped: dict[Markup, list[_Names]] = {}
    for who, what in [*_of_stages(findings), *_of_events(findings)]:
        grouped.setdefault(said(what), []).append(who)
    return [(_listed(who), what) for what, who in grouped.items()]


def _listed(names: list[_Names]) -> Markup:
    every = [pair for pair in dict.fromkeys(names) if pair[0]]
    zh, en = "、".join(pair[0] for pair in every), ", ".join(pair[1] for pair in every)
    return both(f"{zh}：", f"{en}: ") if every else Markup("")


def _of_stages(findings: Findings) -> Iterator[tuple[_Names, str]]:
    for record in findings.stages:
        facts = record.get("facts") or {}
        who = subject_names(str(record.get("model", "")), str(record.get("variant", "")))
        suite = f" · {facts['suite']}" if facts.get("suite") else ""
        for alarm in facts.get("alarms") or ():
            yield (who[0] + suite, who[1] + suite), alarm
        restarts = facts.get("restarts")
        for why in restarts if isinstance(restarts, list | tuple) else ():
            yield who, RESTARTED(why=why)
        for warning in facts.get("warnings") or ():
            yield who, warning
        identity = facts.get("identity")
        if isinstance(identity, str) and identity not in ("", SHOWN):
            yield who, identity
        zh, en = stage_names(str(record.get("stage", "")))
        for attempt in facts.get("attempts") or ():
            yield (f"{who[0]} · {zh}", f"{who[1]} · {en}"), attempt


def _of_events(findings: Findings) -> Iterator[tuple[_Names, str]]:
    for event in findings.events:
        model = str(event.get("model", ""))
        if event["event"] == NOT_RETURNED:
            yield (model, model), MEMORY_HELD(gib=event["gib"])
        elif event["event"] in (MOVED, NOT_ASKED):
            yield (model, model), event["why"]
        elif event["event"] == LEFT_BEHIND:
            yield ("", ""), CLEANED_UP(command=event["command"])
