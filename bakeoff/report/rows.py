"""Rows of ``run.json`` as the report reads them.

A store of an older version may lack a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict


class StageRow(TypedDict, total=False):
    """What a stage did; see :class:`bakeoff.store.stages.Record`."""

    stage: str
    model: str
    variant: str
    outcome: str
    why: str
    command: str
    log: str
    output: str
    started: str
    seconds: float
    identity: Mapping[str, object]
    peak_memory_gib: float | None
    facts: Mapping[str, Any]
    made: Mapping[str, str] | None


class PublishedRow(TypedDict):
    """A published score beside ours."""

    model: str
    variant: str
    suite: str
    ours: float
    published: float
    protocol: str
    source: str
    warning: str


class LeakRow(TypedDict):
    """Exam questions met in training; a value is ours without them."""

    model: str
    variant: str
    suite: str
    n_leaked: int
    n_asked: int
    value_without: NotRequired[float | None]
    expected: NotRequired[bool]


class EvaluationRow(TypedDict, total=False):
    """What is noted of an evaluation beside its scores.

    Attributes:
        agreement: of two extraction rules, 0..1.
        answers: how often each letter was read.
        leakage_not_checked: why not; empty where it was.
    """

    model: str
    variant: str
    suite: str
    agreement: float | None
    answers: Mapping[str, int]
    alarms: list[str]
    leakage_not_checked: str
    noise: Mapping[str, Any] | None
    letters: Mapping[str, Any] | None
