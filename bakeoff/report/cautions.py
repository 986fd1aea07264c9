"""What happened on the way to the scores that a reader should know, gathered from the stages and the timeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from bakeoff.report.findings import Findings
from bakeoff.report.words import both, said

LEFT_BEHIND = "ended what a killed run left behind"
NOT_RETURNED = "memory not returned"
MOVED = "branch moved"
NOT_ASKED = "hub not asked"
NOTED = (LEFT_BEHIND, NOT_RETURNED, MOVED, NOT_ASKED)
"""Events of the timeline that a run keeps for its report."""


def cautions(findings: Findings) -> list[tuple[str, Markup]]:
    """(who, what in both languages), each thing once for all whom it concerns."""
    grouped: dict[Markup, list[str]] = {}
    for who, what in [*_of_stages(findings), *_of_events(findings)]:
        grouped.setdefault(what, []).append(who)
    return [(", ".join(filter(None, dict.fromkeys(who))), what) for what, who in grouped.items()]


def _of_stages(findings: Findings) -> Iterator[tuple[str, Markup]]:
    for record in findings.stages:
        facts: dict[str, Any] = record.get("facts") or {}
        variant = f" ({record['variant']})" if record.get("variant") else ""
        who = f"{record.get('model', '')}{variant}"
        suite = f" · {facts['suite']}" if facts.get("suite") else ""
        for alarm in facts.get("alarms") or ():
            yield who + suite, said(alarm)
        for why in facts.get("restarts") or ():
            yield who, both(f"服务中途停止，已重启：{why}", f"the service died and was started again: {why}")
        for warning in facts.get("warnings") or ():
            yield who, said(warning)
        doubt = str(facts.get("identity") or "")
        if doubt.startswith("not shown"):
            why = doubt.removeprefix("not shown").lstrip(": ")
            zh = f"未能证明作答的就是训练出的模型：{why}"
            yield who, both(zh, f"not shown to be the trained model: {why}")
        for attempt in facts.get("attempts") or ():
            yield f"{who} · {record.get('stage', '')}", said(attempt)


def _of_events(findings: Findings) -> Iterator[tuple[str, Markup]]:
    for event in findings.events:
        if event["event"] == NOT_RETURNED:
            gib = f"{event['gib']:.1f} GiB"
            en = f"{gib} of GPU memory did not come back after its service ended"
            yield str(event.get("model", "")), both(f"服务结束后仍有 {gib} 显存未释放", en)
        elif event["event"] in (MOVED, NOT_ASKED):
            zh = "分支自上次运行以来已移动" if event["event"] == MOVED else "模型站没有应答，使用了本机缓存"
            yield str(event.get("model", "")), both(f"{zh}：{event['why']}", event["why"])
        else:
            command = event["command"]
            zh = f"已清理上次被强制终止的运行所遗留的进程：{command}"
            yield "", both(zh, f"ended what a killed run left behind: {command}")
