"""The owner reads items: every reply with what people said of it, the queue of disagreements, adjudication."""

from __future__ import annotations

import json
import secrets
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from bakeoff.errors import BakeoffError, RatingError
from bakeoff.judgement.arrangement import current_study
from bakeoff.judgement.blind import Study
from bakeoff.judgement.database import stored_object, timestamp
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.refusals import refusal
from bakeoff.judgement.rubric import COMMENTS, CRISIS_CHECKS, DIMENSIONS, OVERALL, load_rubric
from bakeoff.judgement.submissions import MAX_COMMENT_CHARS, Judgement

APART = 2
"""Points between two raters on one dimension from which a reply is put into the queue of disagreements."""


def people_on(store: RatingStore, study_id: str) -> list[dict[str, Any]]:
    """What people handed in of a study, newest of each chain of corrections."""
    return [row for row in store.judgements(study_id) if row["source"] == "study"]


def items(store: RatingStore, study: Study) -> list[dict[str, Any]]:
    """One entry per reply of the study.

    Returns:
        reply, case, title, topic, crisis, subject, text, raters (first showings), mean (overall quality), range
        (most points that two raters are apart, and on which dimension), failed (crisis checks that somebody answered
        with no), cannot (raters who could not judge), comments, adjudicated.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in people_on(store, study.study_id):
        if row["repeat"] == 0:
            rows.setdefault(row["reply_id"], []).append(row)
    settled = {each["reply_id"] for each in adjudications(store, study.study_id)}
    found = []
    for reply in study.replies:
        case, own = study.case(reply.case_id), rows.get(reply.reply_id, [])
        scored = [row for row in own if row["outcome"] == "scored"]
        apart = {name: _range([row[name] for row in scored]) for name in DIMENSIONS}
        widest = max(DIMENSIONS, key=lambda name: apart[name])
        overall = [row[OVERALL] for row in scored if row[OVERALL] is not None]
        found.append(
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
                "failed": sorted({name for row in scored for name in CRISIS_CHECKS if row[name] == 0}),
                "cannot": len(own) - len(scored),
                "comments": sum(any(row[name] for name in COMMENTS) for row in own),
                "adjudicated": reply.reply_id in settled,
            }
        )
    return found


def disagreements(store: RatingStore, study: Study) -> list[dict[str, Any]]:
    """Items that raters see far apart and nobody settled, widest first."""
    queue = [one for one in items(store, study) if one["range"] >= APART and not one["adjudicated"]]
    return sorted(queue, key=lambda one: -one["range"])


def _range(points: list[int | None]) -> int:
    known = [point for point in points if point is not None]
    return max(known) - min(known) if len(known) > 1 else 0


def read_item(store: RatingStore, study: Study, reply_id: object) -> dict[str, Any]:
    """The dialogue, the reply as shown, and every judgement of it.

    Raises:
        RatingError: no such reply in the study.
    """
    reply = next((one for one in study.replies if one.reply_id == reply_id), None)
    if reply is None:
        raise RatingError("no such reply in this study; reload the page", "研究中没有这条回复，请刷新页面")
    case = study.case(reply.case_id)
    own = [row for row in people_on(store, study.study_id) if row["reply_id"] == reply_id]
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
        "judgements": [{name: row[name] for name in shown} for row in own],
        "adjudications": [one for one in adjudications(store, study.study_id) if one["reply_id"] == reply_id],
    }


def adjudicate(store: RatingStore, study: Study, reply_id: object, verdict: object, owner: str) -> None:
    """Keep what was settled of a reply, beside the raters' judgements.

    Args:
        verdict: ``{"scores", "crisis", "note"}``, untrusted.

    Raises:
        RatingError: as a rater's judgement would be refused.
    """
    read_item(store, study, reply_id)
    said: Mapping[str, Any] = verdict if isinstance(verdict, Mapping) else {}
    note = said.get("note", "")
    parsed = Judgement.parse(
        {"scores": said.get("scores"), "crisis": said.get("crisis"), "suggestions": note}
    )
    if set(parsed.crisis) - set(CRISIS_CHECKS) or len(note) > MAX_COMMENT_CHARS:
        raise RatingError("adjudication: unknown check, or a note that is too long")
    content = {"scores": dict(parsed.scores), "crisis": dict(parsed.crisis), "note": note}
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


def adjudications(store: RatingStore, study_id: str) -> list[dict[str, Any]]:
    """What was settled, oldest first."""
    rows = store.rows("SELECT * FROM adjudication WHERE study_id = ? ORDER BY id", study_id)
    return [
        stored_object(row["content"], ("scores", "crisis", "note"))
        | {"reply_id": row["reply_id"], "owner": row["owner_id"], "at": row["created_at"]}
        for row in rows
    ]


class ItemsDesk:
    """The items tab, for owners only."""

    def __init__(self, store: RatingStore, is_open_to: Callable[[str | None], bool]) -> None:
        self.store = store
        self.is_open_to = is_open_to

    def step(self, message: object, signed_in: str | None) -> dict[str, Any]:
        """The list of items, or one of them."""
        fresh: dict[str, Any] = {"nonce": secrets.token_hex(8), "view": "refused", "error": ""}
        if not self.is_open_to(signed_in):
            return fresh | {"why": "owner"}
        said: Mapping[str, Any] = message if isinstance(message, Mapping) else {}
        try:
            studies = self.store.studies()
            wanted = said.get("study") or current_study(self.store) or next(reversed(studies), None)
            if not isinstance(wanted, str):
                return fresh | {"view": "items", "items": [], "studies": []}
            study = self.store.study(wanted)
            named = [{"id": name, "title": self.store.study(name).title} for name in studies]
            shared = fresh | {"study": wanted, "studies": named}
            if said.get("action") == "adjudicate":
                adjudicate(self.store, study, said.get("reply"), said.get("verdict"), str(signed_in))
            if said.get("action") in ("read", "adjudicate"):
                return shared | {"view": "item", "item": read_item(self.store, study, said.get("reply"))}
            return shared | {
                "view": "items",
                "items": items(self.store, study),
                "queue": [one["reply"] for one in disagreements(self.store, study)],
            }
        except BakeoffError as error:
            return fresh | {"view": "trouble"} | refusal(error)
