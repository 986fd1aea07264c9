"""The owner reads items: replies with their judgements.

The queue of disagreements and adjudication, too.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from typing import TypedDict, cast

from bakeoff.foundation.errors import BakeoffError, RatingError
from bakeoff.judgement.arrangement import current_study
from bakeoff.judgement.blind import Study
from bakeoff.judgement.database import stored_object, timestamp
from bakeoff.judgement.messages import Answer, fresh_answer, request_of
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.refusals import refusal
from bakeoff.judgement.rows import StudyRow, comment, point
from bakeoff.judgement.rubric import COMMENTS, CRISIS_CHECKS, DIMENSIONS, OVERALL, load_rubric
from bakeoff.judgement.submissions import Judgement, check_crisis

APART = 2
"""Points between two raters on one dimension from which a reply is put into the queue of disagreements."""


class Adjudication(TypedDict):
    """What the owner settled of a reply."""

    reply_id: str
    owner: str
    at: str
    scores: dict[str, int]
    crisis: dict[str, bool]
    note: str


class ItemEntry(TypedDict):
    """A reply in the list of items, see :func:`items`."""

    reply: str
    case: str
    title: str
    topic: str
    crisis: bool
    subject: str
    text: str
    raters: int
    mean: float | None
    range: int
    widest: str
    failed: list[str]
    cannot: int
    comments: int
    adjudicated: bool


def people_on(store: RatingStore, study_id: str) -> list[StudyRow]:
    """What people handed in of a study, newest of each chain of corrections."""
    return [row for row in store.judgements(study_id) if row["source"] == "study"]


def items(store: RatingStore, study: Study) -> list[ItemEntry]:
    """One entry per reply of the study.

    Returns:
        reply, case, title, topic, crisis, subject, text, raters (first showings), mean (overall quality), range
        (most points that two raters are apart, and on which dimension), failed (crisis checks that somebody answered
        with no), cannot (raters who could not judge), comments, adjudicated.
    """
    rows: dict[str, list[StudyRow]] = {}
    for row in people_on(store, study.study_id):
        if row["repeat"] == 0:
            rows.setdefault(row["reply_id"], []).append(row)
    settled = {each["reply_id"] for each in adjudications(store, study.study_id)}
    entries: list[ItemEntry] = []
    for reply in study.replies:
        case, judgements = study.case(reply.case_id), rows.get(reply.reply_id, [])
        scored = [row for row in judgements if row["outcome"] == "scored"]
        apart = {name: _range([point(row, name) for row in scored]) for name in DIMENSIONS}
        widest = max(DIMENSIONS, key=lambda name: apart[name])
        overall = [score for row in scored if (score := point(row, OVERALL)) is not None]
        entries.append(
            {
                "reply": reply.reply_id,
                "case": case.id,
                "title": case.title,
                "topic": case.topic,
                "crisis": case.crisis,
                "subject": reply.subject,
                "text": reply.shown[:120],
                "raters": len(scored),
                "mean": statistics.fmean(overall) if overall else None,
                "range": apart[widest],
                "widest": widest,
                "failed": sorted({name for row in scored for name in CRISIS_CHECKS if point(row, name) == 0}),
                "cannot": len(judgements) - len(scored),
                "comments": sum(any(comment(row, name) for name in COMMENTS) for row in judgements),
                "adjudicated": reply.reply_id in settled,
            }
        )
    return entries


def disagreements(store: RatingStore, study: Study) -> list[ItemEntry]:
    """Items that raters see far apart and nobody settled, widest first."""
    queue = [entry for entry in items(store, study) if entry["range"] >= APART and not entry["adjudicated"]]
    return sorted(queue, key=lambda entry: -entry["range"])


def _range(points: list[int | None]) -> int:
    scores = [point for point in points if point is not None]
    return max(scores) - min(scores) if len(scores) > 1 else 0


def read_item(store: RatingStore, study: Study, reply_id: object) -> Answer:
    """The dialogue, the reply as shown, and every judgement of it.

    Raises:
        RatingError: no such reply in the study.
    """
    reply = next((each for each in study.replies if each.reply_id == reply_id), None)
    if reply is None:
        raise RatingError("no such reply in this study; reload the page", "研究中没有这条回复，请刷新页面")
    case = study.case(reply.case_id)
    judgements = [row for row in people_on(store, study.study_id) if row["reply_id"] == reply_id]
    shown = (
        "judge_id",
        "repeat",
        "outcome",
        "confidence",
        "seconds",
        "created_at",
        *DIMENSIONS,
        *CRISIS_CHECKS,
        *COMMENTS,
    )
    return {
        "reply": reply.reply_id,
        "subject": reply.subject,
        "status": reply.status,
        "shown": reply.shown,
        "hidden": list(reply.found),
        "case": case.id,
        "title": case.title,
        "topic": case.topic,
        "crisis": case.crisis,
        "messages": [dict(message) for message in case.messages],
        "reference": list(case.what_a_good_reply_does),
        "judgements": [{name: row.get(name) for name in shown} for row in judgements],
        "adjudications": [
            each for each in adjudications(store, study.study_id) if each["reply_id"] == reply_id
        ],
    }


def adjudicate(store: RatingStore, study: Study, reply_id: object, verdict: object, owner: str) -> None:
    """Keep what was settled of a reply, beside the raters' judgements.

    Args:
        verdict: ``{"scores", "crisis", "note"}``, untrusted.

    Raises:
        RatingError: as a rater's judgement would be refused.
    """
    crisis = read_item(store, study, reply_id)["crisis"]
    fields = request_of(verdict)
    note = fields.get("note", "")
    parsed = Judgement.parse(
        {"scores": fields.get("scores"), "crisis": fields.get("crisis"), "suggestions": note}
    )
    check_crisis(parsed, bool(crisis))
    content = {"scores": dict(parsed.scores), "crisis": dict(parsed.crisis), "note": parsed.suggestions}
    with store.writing() as db:
        db.execute(
            "INSERT INTO adjudication (study_id, reply_id, owner_id, content, rubric_sha, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                study.study_id,
                reply_id,
                owner,
                json.dumps(content, ensure_ascii=False),
                load_rubric().sha,
                timestamp(),
            ),
        )


def adjudications(store: RatingStore, study_id: str) -> list[Adjudication]:
    """What was settled, oldest first."""
    rows = store.rows("SELECT * FROM adjudication WHERE study_id = ? ORDER BY id", study_id)
    return [
        cast(
            Adjudication,
            stored_object(row["content"], ("scores", "crisis", "note"))
            | {"reply_id": row["reply_id"], "owner": row["owner_id"], "at": row["created_at"]},
        )
        for row in rows
    ]


class ItemsDesk:
    """The items tab, for owners only."""

    def __init__(self, store: RatingStore, is_open_to: Callable[[str | None], bool]) -> None:
        self.store = store
        self.is_open_to = is_open_to

    def step(self, message: object, signed_in: str | None) -> Answer:
        """The list of items, or one of them."""
        fresh = fresh_answer(view="refused", error="")
        if not self.is_open_to(signed_in):
            return fresh | {"why": "owner"}
        request = request_of(message)
        try:
            studies = self.store.studies()
            requested = request.get("study") or current_study(self.store) or next(reversed(studies), None)
            if not isinstance(requested, str):
                return fresh | {"view": "items", "items": [], "studies": []}
            study = self.store.study(requested)
            named = [{"id": name, "title": self.store.study(name).title} for name in studies]
            shared = fresh | {"study": requested, "studies": named}
            if request.get("action") == "adjudicate":
                adjudicate(self.store, study, request.get("reply"), request.get("verdict"), str(signed_in))
            if request.get("action") in ("read", "adjudicate"):
                return shared | {"view": "item", "item": read_item(self.store, study, request.get("reply"))}
            return shared | {
                "view": "items",
                "items": items(self.store, study),
                "queue": [each["reply"] for each in disagreements(self.store, study)],
            }
        except BakeoffError as error:
            return fresh | {"view": "trouble"} | refusal(error)
