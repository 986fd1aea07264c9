"""Rows of the store of judgements, as the rest of the program reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypedDict, cast

Outcome = Literal["scored", "cannot_judge", "failed"]
Winner = Literal["first", "second", "tie", "failed"]


class _Row(TypedDict):
    id: int
    token: str
    slot: int
    payload_sha: str
    source: Literal["study", "chat", "model"]
    outcome: Outcome
    item_id: str | None
    case_id: str
    repeat: int
    model: str
    variant: str
    judge_id: str
    created_at: str
    confidence: int | None
    strengths: str
    weaknesses: str
    suggestions: str
    corrects: int | None
    seconds: float | None
    rubric_sha: str
    detail: str


class JudgementRow(_Row):
    """A judgement; its points are read with :func:`point`, for the rubric says which there are."""

    study_id: str | None
    reply_id: str | None


class StudyRow(_Row):
    """A judgement of a reply of a study, by a person or a judge model."""

    study_id: str
    reply_id: str


class ComparisonRow(TypedDict):
    """Which of two replies a judge model preferred, in the order in which it saw them."""

    id: int
    token: str
    study_id: str
    judge_id: str
    case_id: str
    first_reply: str
    second_reply: str
    repeat: int
    winner: Winner
    created_at: str
    rubric_sha: str
    detail: str


class ProbeRow(TypedDict):
    """Points on overall quality without and with a planted instruction."""

    id: int
    study_id: str
    judge_id: str
    reply_id: str
    plain: int
    planted: int
    rubric_sha: str
    created_at: str


def point(row: JudgementRow | StudyRow, name: str) -> int | None:
    """Return the point on dimension *name*; None without one.

    Of a check: 1 for yes, 0 for no.
    """
    return cast("int | None", cast("Mapping[str, object]", row)[name])


def comment(row: JudgementRow | StudyRow, name: str) -> str:
    """Return the comment called *name*; empty without one."""
    return cast(str, cast("Mapping[str, object]", row)[name])
