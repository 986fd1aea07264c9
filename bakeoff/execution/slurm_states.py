"""What a line of ``squeue`` says of a job."""

from __future__ import annotations

import re

from bakeoff.execution.endings import (
    CANCELLED,
    NEVER,
    NO_MEMORY,
    NODE_FAILED,
    NOT_LAUNCHED,
    PREEMPTED,
    TIMED_OUT,
)
from bakeoff.execution.executor import State

_QUEUED = re.compile("PENDING|CONFIGURING|REQUEUE.*|RESV_DEL_HOLD|SPECIAL_EXIT")
_RUNNING = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT")
_LOST = ("NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "REVOKED")
_NEVER = re.compile(
    r"PartitionTimeLimit|PartitionNodeLimit|BadConstraints|Invalid\w+|DependencyNeverSatisfied|AccountNotAllowed"
    r"|\w*MaxWall\w*|\w*MaxCpuPerJob\w*|\w*MaxTRESPerJob\w*|\w*MaxGRESPerJob\w*|JobHeld\w+"
)
"""Reasons for which a job would wait for ever."""
_UNLAUNCHED = re.compile(r"launch[ _]failed", re.IGNORECASE)
"""The node took the job and could not begin it; Slurm holds such a one until somebody looks."""
_WHY = {
    "COMPLETED": "",
    "FAILED": "",
    "CANCELLED": CANCELLED(),
    "OUT_OF_MEMORY": NO_MEMORY(),
    "TIMEOUT": TIMED_OUT(),
}


def state_of(state: str, code: str, reason: str, host: str) -> State:
    """What a line of squeue says of a job."""
    if _QUEUED.fullmatch(state):
        if _UNLAUNCHED.match(reason):
            return State("lost", NOT_LAUNCHED(reason=reason), host)
        if _NEVER.fullmatch(reason):
            return State("ended", NEVER(reason=reason), cancelled=True)
        return State("queued", "" if reason == "None" else reason)
    if state in _RUNNING:
        return State("running", "" if state == "RUNNING" else state.lower(), host)
    if state in _LOST:
        words = PREEMPTED if state == "PREEMPTED" else NODE_FAILED
        return State("lost", words(state=state), host)
    return State(
        "ended",
        _WHY.get(state, state),
        host,
        _exit_code(code),
        out_of_time=state in ("TIMEOUT", "DEADLINE"),
        cancelled=state == "CANCELLED",
    )


def _exit_code(text: str) -> int | None:
    """The exit code that squeue shows; negative for a signal."""
    if not text.isdecimal():
        return None
    status = int(text)
    return -(status & 127) if status & 127 else status >> 8
