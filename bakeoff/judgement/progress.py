"""Where a rater is: drafts, events, pace, and judgements so far.

Events are consent, training and attention checks.
"""

from __future__ import annotations

import hashlib
import json
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Required, TypedDict, cast

from bakeoff.foundation.errors import RatingError
from bakeoff.judgement.blind import Practice, Study
from bakeoff.judgement.database import stored_object, timestamp
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.rows import point
from bakeoff.judgement.rubric import COMMENTS, CRISIS_CHECKS, DIMENSIONS
from bakeoff.judgement.submissions import MAX_COMMENT_CHARS

SECONDS_PER_REPLY = 90.0
"""To read and score one reply, before anything is known of the rater."""

FASTEST_CHARS_PER_S = 25.0
"""Nobody reads a reply faster than this (about 1,500 Chinese characters a minute) and also scores it."""

FEWEST_TIMED = 3


# ------------------------------ drafts

Draft = dict[str, object]
"""Unfinished scores, checks and comments of a form, as the page sent them and gets them back."""


def keep_draft(store: RatingStore, rater_id: str, item_id: object, content: object) -> None:
    """Keep the unfinished scores of an item; an empty draft is forgotten.

    Raises:
        RatingError: an item of somebody else's queue, or something that is no draft.
    """
    if not isinstance(item_id, str) or not re.fullmatch(r"[0-9a-f]{24}", item_id):
        raise RatingError("draft: no item is called so; reload the page")
    draft = _clean_draft(content)
    with store.writing() as db:
        item = db.execute("SELECT study_id, rater_id FROM item WHERE item_id = ?", (item_id,)).fetchone()
        if item is None or item["rater_id"] != rater_id:
            raise RatingError(
                "this item is not in your queue; reload the page", "这条回复不在您的队列里，请刷新页面"
            )
        last = db.execute("SELECT MAX(id) AS id FROM judgement WHERE item_id = ?", (item_id,)).fetchone()[
            "id"
        ]
        if last != (content.get("corrects") if isinstance(content, Mapping) else None):
            raise RatingError("this reply has been handed in meanwhile", "这条回复已经提交")
        if draft:
            db.execute(
                "INSERT OR REPLACE INTO draft VALUES (?, ?, ?, ?)",
                (item_id, rater_id, json.dumps(draft, ensure_ascii=False), timestamp()),
            )
        else:
            db.execute("DELETE FROM draft WHERE item_id = ?", (item_id,))


def _clean_draft(content: object) -> Draft:
    """What of *content* may stand in a form; nothing else is kept."""
    if not isinstance(content, Mapping):
        raise RatingError("draft: wanted an object")
    draft: Draft = {}
    scores, crisis = content.get("scores"), content.get("crisis")
    if isinstance(scores, Mapping):
        saved = {key: scores[key] for key in DIMENSIONS if _is_point(scores.get(key))}
        draft |= {"scores": saved} if saved else {}
    if isinstance(crisis, Mapping):
        saved = {key: crisis[key] for key in CRISIS_CHECKS if isinstance(crisis.get(key), bool)}
        draft |= {"crisis": saved} if saved else {}
    if _is_point(content.get("confidence")):
        draft["confidence"] = content["confidence"]
    if content.get("cannot_judge") is True:
        draft["cannot_judge"] = True
    for name in COMMENTS:
        text = content.get(name)
        if isinstance(text, str) and text:
            draft[name] = text[:MAX_COMMENT_CHARS].encode("utf-8", "replace").decode("utf-8")
    return draft


def _is_point(value: object) -> bool:
    return type(value) is int and 1 <= value <= 5


def drafts_of(store: RatingStore, item_ids: Iterable[str]) -> dict[str, Draft]:
    """Item -> its draft, where it has one."""
    ids = list(item_ids)
    marks = ", ".join("?" * len(ids))
    rows = store.rows(f"SELECT item_id, content FROM draft WHERE item_id IN ({marks})", *ids)
    return {row["item_id"]: stored_object(row["content"]) for row in rows}


# ------------------------------ events

_EVENT_FIELDS = {
    "consent": ("text",),
    "training": ("key", "exact", "of", "within_one"),
    "attention": ("key", "exact", "of"),
}


class Practised(TypedDict):
    """How the scores of a reply compare with the known ones: of so many, *exact* and *within_one*."""

    key: str
    scores: dict[str, int]
    of: int
    exact: int
    within_one: int


class Event(TypedDict, total=False):
    """Something that happened to a rater; the fields of :class:`Practised` are those of training and attention."""

    rater: Required[str]
    at: Required[str]
    text: dict[str, str]
    skip_crises: bool
    key: str
    scores: dict[str, int]
    of: int
    exact: int
    within_one: int


def note_event(
    store: RatingStore, study_id: str, rater_id: str, kind: str, content: Mapping[str, object]
) -> None:
    """Keep that something happened: "consent", "training", "attention"."""
    with store.writing() as db:
        db.execute(
            "INSERT INTO event (study_id, rater_id, kind, content, created_at) VALUES (?, ?, ?, ?, ?)",
            (study_id, rater_id, kind, json.dumps(dict(content), ensure_ascii=False), timestamp()),
        )


def events(store: RatingStore, study_id: str, kind: str, rater_id: str | None = None) -> list[Event]:
    """What :func:`note_event` kept, oldest first, with ``rater`` and ``at``.

    A practice reply or an attention check counts once for each rater: two tabs may hand it in at the same time.
    """
    mine = "" if rater_id is None else "AND rater_id = ?"
    rows = store.rows(
        f"SELECT rater_id, content, created_at FROM event WHERE study_id = ? AND kind = ? {mine} ORDER BY id",
        study_id,
        kind,
        *([] if rater_id is None else [rater_id]),
    )
    noted = [
        cast(
            Event,
            stored_object(row["content"], _EVENT_FIELDS.get(kind, ()))
            | {"rater": row["rater_id"], "at": row["created_at"]},
        )
        for row in rows
    ]
    first: dict[tuple[str, str], Event] = {}
    for place, event in enumerate(noted):
        first.setdefault((event["rater"], event.get("key") or f"event {place}"), event)
    return list(first.values())


def practised(practice: Practice, scores: Mapping[str, int]) -> Practised:
    """How *scores* compare with the known ones."""
    apart = [abs(scores[name] - point) for name, point in practice.scores.items() if name in scores]
    return {
        "key": practice.key,
        "scores": dict(scores),
        "of": len(practice.scores),
        "exact": sum(each == 0 for each in apart),
        "within_one": sum(each <= 1 for each in apart),
    }


def next_training(store: RatingStore, study: Study, rater_id: str) -> tuple[int, Practice] | None:
    """The first training reply that the rater has not scored, and its place."""
    if not study.training:
        return None
    done = {each["key"] for each in events(store, study.study_id, "training", rater_id)}
    return next(
        ((n, practice) for n, practice in enumerate(study.training) if practice.key not in done), None
    )


def attention_item(study: Study, rater_id: str, practice: Practice) -> str:
    """The name of an attention check's item; it looks like any other's."""
    return hashlib.sha256(f"{study.study_id}/{rater_id}/{practice.key}".encode()).hexdigest()[:24]


def due_attention(store: RatingStore, study: Study, rater_id: str, done: int, total: int) -> Practice | None:
    """The attention check to be shown now; they are spread evenly."""
    if not study.attention:
        return None
    answered = {each["key"] for each in events(store, study.study_id, "attention", rater_id)}
    for place, practice in enumerate(study.attention, 1):
        if practice.key not in answered and done >= place * total / (len(study.attention) + 1):
            return practice
    return None


# ------------------------------ pace


class DoneReply(TypedDict):
    """A reply in a rater's own list: its beginning, and the points or None where a point is lacking."""

    text: str
    scores: list[int | None]
    draft: bool
    cannot_judge: bool


class DoneScreen(TypedDict):
    """A screen that a rater has done or begun."""

    screen: int
    topic: str
    replies: list[DoneReply]


def own_judgements(store: RatingStore, study_id: str, rater_id: str) -> list[DoneScreen]:
    """Each screen of the rater's that is done or begun, in order."""
    rows = store.rows(
        "SELECT i.screen, i.item_id, i.case_id, i.reply_id, i.repeat, d.content AS draft FROM item i "
        "LEFT JOIN draft d ON d.item_id = i.item_id WHERE i.study_id = ? AND i.rater_id = ? ORDER BY i.screen, i.slot",
        study_id,
        rater_id,
    )
    newest = {row["item_id"]: row for row in store.judgements(study_id) if row["judge_id"] == rater_id}
    study = store.study(study_id)
    screens: dict[int, DoneScreen] = {}
    for row in rows:
        verdict = newest.get(row["item_id"])
        if verdict is None and row["draft"] is None:
            continue
        entry = screens.setdefault(
            row["screen"],
            {"screen": row["screen"], "topic": study.case(row["case_id"]).topic, "replies": []},
        )
        scores = (
            [point(verdict, name) for name in DIMENSIONS]
            if verdict and verdict["outcome"] == "scored"
            else []
        )
        entry["replies"].append(
            {
                "text": study.reply(row["reply_id"]).shown[:40],
                "scores": scores,
                "draft": row["draft"] is not None,
                "cannot_judge": bool(verdict and verdict["outcome"] == "cannot_judge"),
            }
        )
    return list(screens.values())


def seconds_of(store: RatingStore, study_id: str) -> dict[str, list[tuple[float, str]]]:
    """Rater -> (seconds, reply) of each timed judgement of theirs."""
    rows = store.rows(
        "SELECT judge_id, seconds, reply_id FROM judgement WHERE study_id = ? AND source = 'study' "
        "AND corrects IS NULL AND seconds IS NOT NULL ORDER BY id",
        study_id,
    )
    times: dict[str, list[tuple[float, str]]] = {}
    for row in rows:
        times.setdefault(row["judge_id"], []).append((float(row["seconds"]), row["reply_id"]))
    return times


def seconds_left(store: RatingStore, study: Study, rater_id: str, screens: int) -> float:
    """How long *screens* more take this rater, by their own median."""
    per_screen = len(study.subjects) if study.layout == "side-by-side" else 1
    rows = store.rows(
        "SELECT seconds FROM judgement WHERE study_id = ? AND judge_id = ? AND source = 'study' "
        "AND corrects IS NULL AND seconds IS NOT NULL ORDER BY id DESC LIMIT 30",
        study.study_id,
        rater_id,
    )
    taken = [float(row["seconds"]) for row in rows]
    # The seconds of a screen are those of each of its replies.
    each = statistics.median(taken) if len(taken) >= FEWEST_TIMED else SECONDS_PER_REPLY * per_screen
    return screens * each


class Passed(TypedDict):
    """Attention checks that were passed, of so many."""

    passed: int
    of: int


class Trained(TypedDict):
    """Training scores at most a point off, of so many."""

    within_one: int
    of: int


class RaterProgress(TypedDict):
    """How far a rater is, see :func:`rater_progress`."""

    rater: str
    done: int
    total: int
    median: float | None
    speeding: int
    timed: int
    attention: Passed
    training: Trained
    last: str | None


def rater_progress(store: RatingStore, study: Study) -> list[RaterProgress]:
    """How far each rater is and how carefully they work, for the owner.

    Returns:
        Per rater: rater, done, total, median (seconds a reply), speeding (judgements faster than anybody reads), timed,
        attention {passed, of}, training {within_one, of}, last (time of the newest judgement).
    """
    timed = seconds_of(store, study.study_id)
    lengths = {reply.reply_id: len(reply.shown) for reply in study.replies}
    last = {
        row["judge_id"]: row["at"]
        for row in store.rows(
            "SELECT judge_id, MAX(created_at) AS at FROM judgement WHERE study_id = ? AND source = 'study' "
            "GROUP BY judge_id",
            study.study_id,
        )
    }
    checks, training = (events(store, study.study_id, kind) for kind in ("attention", "training"))
    entries: list[RaterProgress] = []
    for rater in store.raters(study.study_id):
        done, total = store.progress(study.study_id, rater)
        taken = timed.get(rater, [])
        fast = [
            seconds
            for seconds, reply in taken
            if seconds < max(2.0, lengths.get(reply, 0) / FASTEST_CHARS_PER_S)
        ]
        passed = [each["exact"] == each["of"] for each in checks if each["rater"] == rater]
        trained = [each for each in training if each["rater"] == rater]
        entries.append(
            {
                "rater": rater,
                "done": done,
                "total": total,
                "median": statistics.median(seconds for seconds, _ in taken) if taken else None,
                "speeding": len(fast),
                "timed": len(taken),
                "attention": {"passed": sum(passed), "of": len(passed)},
                "training": {
                    "within_one": sum(each["within_one"] for each in trained),
                    "of": sum(each["of"] for each in trained),
                },
                "last": last.get(rater),
            }
        )
    return entries


class CaseBalance(TypedDict):
    """How many raters the cases have, see :func:`case_balance`."""

    planned: int
    assigned: list[list[int]]
    rated: list[list[int]]
    short: list[str]


def case_balance(store: RatingStore, study: Study) -> CaseBalance:
    """How many raters each case has got, beside the plan.

    Returns:
        planned (raters per case), assigned and rated ([raters, cases] pairs: so many cases have so many raters, and are
        rated whole by so many), short (titles of cases that fewer people than planned have in their queues).
    """
    rows = store.rows(
        "SELECT case_id, COUNT(*) AS assigned, SUM(done) AS rated FROM (SELECT case_id, rater_id, MIN(EXISTS (SELECT 1 "
        "FROM judgement j WHERE j.item_id = i.item_id)) AS done FROM item i WHERE study_id = ? AND repeat = 0 "
        "GROUP BY case_id, rater_id) GROUP BY case_id",
        study.study_id,
    )
    counts = {row["case_id"]: (int(row["assigned"]), int(row["rated"])) for row in rows}
    each = [counts.get(case.id, (0, 0)) for case in study.cases]
    planned = study.raters_per_case or study.planned_raters
    return {
        "planned": planned,
        "assigned": [list(pair) for pair in sorted(Counter(assigned for assigned, _ in each).items())],
        "rated": [list(pair) for pair in sorted(Counter(rated for _, rated in each).items())],
        "short": [
            case.title for case, (assigned, _) in zip(study.cases, each, strict=True) if assigned < planned
        ],
    }
