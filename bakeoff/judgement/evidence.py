"""The dialogues, replies, scores and comments behind ratings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from bakeoff.judgement.blind import Study
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.rows import StudyRow
from bakeoff.judgement.rubric import COMMENTS, CRISIS_CHECKS, DIMENSIONS
from bakeoff.judgement.tables import rubric_of
from bakeoff.judgement.verdicts import summarise


class RatingShown(TypedDict):
    """One rating of a reply."""

    rater: str
    """Pseudonym of a person, or name of the judge model."""
    by_model: bool
    repeat: int
    """0 for the first rating of the reply, else which repetition it is."""
    cannot_judge: bool
    scores: dict[str, int]
    checks: dict[str, bool]
    comments: dict[str, str]


class ReplyShown(TypedDict):
    """One reply of a study with its ratings."""

    subject: str
    case: str
    title: str
    crisis: bool
    messages: list[dict[str, str]]
    text: str
    """The reply as raters saw it: names of models in it are hidden."""
    ratings: list[RatingShown]


def with_evidence(store: RatingStore, study_id: str) -> dict[str, Any]:
    """Return the summary of a study with pseudonyms, and its ``items``.

    The report is passed around, so that it names no rater: people are R1, R2 … in the order of their enrolment.
    """
    study = store.study(study_id)
    rows = [row for row in store.judgements(study_id) if row["source"] in ("study", "model")]
    people = [*store.raters(study_id), *(row["judge_id"] for row in rows if row["source"] == "study")]
    names = {name: f"R{number}" for number, name in enumerate(dict.fromkeys(people), 1)}
    summary = pseudonymous(summarise(store, study_id), names)
    rubric = rubric_of(store, study_id)
    shown = [row for row in rows if row["rubric_sha"] == rubric]
    return summary | {"items": _items(study, shown, names)}


def pseudonymous(summary: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, object]:
    """Return *summary* with *names* (name -> pseudonym) in place of raters."""

    def rows(table: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
        return [{**row, "rater": names.get(row["rater"], row["rater"])} for row in table]

    def part(content: Mapping[str, Any] | None) -> dict[str, object] | None:
        if content is None:
            return None
        scores = {
            dimension: {**scored, "left_out": _left_out(scored.get("left_out") or {}, names)}
            for dimension, scored in content["scores"].items()
        }
        return {
            **content,
            "raters": [names.get(rater, rater) for rater in content["raters"]],
            "scores": scores,
        }

    counts = summary["counts"]
    done = {names.get(rater, rater): progress for rater, progress in counts["raters"].items()}
    return {
        **summary,
        "counts": {**counts, "raters": done},
        "parts": {name: part(content) for name, content in summary["parts"].items()},
        "raters": {name: rows(table) for name, table in summary["raters"].items()},
        "comments": rows(summary["comments"]),
    }


def _left_out(axes: Mapping[str, list[str]], names: Mapping[str, str]) -> dict[str, list[str]]:
    return {
        axis: [names.get(name, name) if axis == "rater" else name for name in left]
        for axis, left in axes.items()
    }


def _items(study: Study, rows: Sequence[StudyRow], names: Mapping[str, str]) -> list[ReplyShown]:
    """Return every rated reply with its ratings, people before judge models."""
    by_reply: dict[str, list[StudyRow]] = {}
    for row in sorted(rows, key=lambda row: (row["source"] == "model", row["repeat"])):
        by_reply.setdefault(row["reply_id"], []).append(row)
    items: list[ReplyShown] = []
    for reply in study.replies:
        if reply.reply_id not in by_reply:
            continue
        case = study.case(reply.case_id)
        items.append(
            {
                "subject": reply.subject,
                "case": case.id,
                "title": case.title,
                "crisis": case.crisis,
                "messages": [{str(k): str(v) for k, v in message.items()} for message in case.messages],
                "text": reply.shown,
                "ratings": [_rating(row, names) for row in by_reply[reply.reply_id]],
            }
        )
    return items


def _rating(row: Mapping[str, Any], names: Mapping[str, str]) -> RatingShown:
    by_model = row["source"] == "model"
    rater = str(row["judge_id"])
    return {
        "rater": rater if by_model else names.get(rater, rater),
        "by_model": by_model,
        "repeat": int(row["repeat"]),
        "cannot_judge": row["outcome"] != "scored",
        "scores": {name: int(row[name]) for name in DIMENSIONS if row[name] is not None},
        "checks": {name: bool(row[name]) for name in CRISIS_CHECKS if row[name] is not None},
        "comments": {name: str(row[name]) for name in COMMENTS if row[name]},
    }
