"""The database of ratings: whether its tables fit one another.

What a rater is shown follows from the study and the rater's number; times follow one another; and the counters of
SQLite are those of the rows.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from bakeoff.judgement.blind import Study, read_study
from bakeoff.judgement.database import content_sha
from bakeoff.judgement.rubric import COMMENTS, CRISIS_CHECKS, DIMENSIONS
from bakeoff.verify.audit import Audit

_RULE = "ratings"
_TOKEN = re.compile(r"[\w-]{8,64}")
_DRAWN = re.compile(r"[0-9a-f]{32}")
_UNEVEN = ("arena",)
"""Tables whose counter may run ahead: a row that stands there already is not written again."""
_COMPARED = ("study_id", "judge_id", "first_reply", "second_reply", "repeat", "rubric_sha")
Record = Mapping[str, object]


def check_database(audit: Audit, place: str, path: Path, same_code: bool) -> None:
    """Hold the tables of a database of ratings against one another.

    *same_code*: whether this version drew up its queues.
    """
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        tables = _tables(db)
        _check_counters(audit, f"{place} sqlite_sequence", db, tables)
    _check_times(audit, place, tables)
    if tables.get("erasure"):
        return  # what was removed is missed in all that follows
    studies = {str(row["study_id"]): read_study(str(row["content"])) for row in tables.get("study", ())}
    if same_code:
        _check_queues(audit, place, tables, studies)
        _check_sums(audit, place, tables)
    _check_ratings(audit, place, tables, studies)


def _tables(db: sqlite3.Connection) -> dict[str, list[Record]]:
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
    tables: dict[str, list[Record]] = {}
    for name in names:
        cursor = db.execute(f'SELECT * FROM "{name}"')
        columns = [column[0] for column in cursor.description]
        tables[name] = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return tables


def _check_counters(
    audit: Audit, place: str, db: sqlite3.Connection, tables: Mapping[str, Sequence[Record]]
) -> None:
    """See that SQLite's counters are those of the tables that are counted."""
    counted = {
        name
        for name, sql in db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
        if "AUTOINCREMENT" in str(sql).upper()
    }
    stated = [(str(row["name"]), row["seq"]) for row in tables.get("sqlite_sequence", ())]
    audit.compare(_RULE, f"{place} names", len({name for name, _ in stated} & counted), len(stated))
    kept = dict(stated)
    for name in sorted(counted):
        highest = max((int(str(row["id"])) for row in tables[name]), default=0)
        count = kept.get(name, 0)
        if tables.get("erasure") or name in _UNEVEN:
            audit.compare(_RULE, f"{place} {name}", isinstance(count, int) and count >= highest, True)
        else:
            audit.compare(_RULE, f"{place} {name}", count, highest)


def _check_times(audit: Audit, place: str, tables: Mapping[str, Sequence[Record]]) -> None:
    """See that times can be read, and that study, queue and ratings follow."""
    times: dict[tuple[str, int], datetime] = {}
    for table, rows in tables.items():
        for number, row in enumerate(rows):
            for column, value in row.items():
                if column.endswith("_at"):
                    time = _time(value)
                    audit.compare(
                        _RULE, f"{place} {table} {number} {column} is a time", time is not None, True
                    )
                    if time:
                        times[table, number] = time
    added = {
        str(row["study_id"]): times[at]
        for number, row in enumerate(tables.get("study", ()))
        if (at := ("study", number)) in times
    }
    enrolled: dict[tuple[str, str], datetime] = {}
    for number, row in enumerate(tables.get("enrolment", ())):
        time, first = times.get(("enrolment", number)), added.get(str(row["study_id"]))
        if time and first:
            audit.compare(_RULE, f"{place} enrolment {number} before its study", time < first, False)
            enrolled[str(row["study_id"]), str(row["rater_id"])] = time
    for number, row in enumerate(tables.get("judgement", ())):
        time, first = (
            times.get(("judgement", number)),
            enrolled.get((str(row["study_id"]), str(row["judge_id"]))),
        )
        if time and first:
            audit.compare(_RULE, f"{place} judgement {number} before its queue", time < first, False)


def _time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return time if time.tzinfo else None


def _check_queues(
    audit: Audit, place: str, tables: Mapping[str, Sequence[Record]], studies: Mapping[str, Study]
) -> None:
    """Compare what each rater was shown with a queue drawn up anew."""
    shown: dict[tuple[str, str], set[tuple[object, ...]]] = defaultdict(set)
    for row in tables.get("item", ()):
        screen = (row["screen"], row["slot"], row["case_id"], row["reply_id"], row["repeat"])
        shown[str(row["study_id"]), str(row["rater_id"])].add(screen)
    queues = {(str(row["study_id"]), str(row["rater_id"])): row for row in tables.get("enrolment", ())}
    audit.compare(_RULE, f"{place} queues", sorted(shown), sorted(queues))
    for (study_id, rater), row in queues.items():
        study = studies.get(study_id)
        if study is None or not isinstance(row["rater_index"], int):
            audit.compare(_RULE, f"{place} queue of {rater}", False, True)
            continue
        ways = [_queue(study, row["rater_index"], skips) for skips in (False, True)]
        is_drawn = shown[study_id, rater] in ways
        audit.compare(
            _RULE, f"{place} queue of {rater} is that of rater {row['rater_index']}", is_drawn, True
        )


def _queue(study: Study, index: int, skips_crises: bool) -> set[tuple[object, ...]]:
    """Return what a rater of that number is shown, with or without crises."""
    screens = [
        screen for screen in study.screens(index) if not (skips_crises and study.case(screen.case_id).crisis)
    ]
    return {
        (number, slot, screen.case_id, reply, int(screen.repeat))
        for number, screen in enumerate(screens)
        for slot, reply in enumerate(screen.reply_ids)
    }


def _check_ratings(
    audit: Audit, place: str, tables: Mapping[str, Sequence[Record]], studies: Mapping[str, Study]
) -> None:
    """Hold each rating against the reply and the rater that it belongs to."""
    items = {row["item_id"]: row for row in tables.get("item", ())}
    handed: dict[str, list[Record]] = defaultdict(list)
    for row in tables.get("judgement", ()):
        where = f"{place} judgement {row['id']}"
        if row["source"] != "chat":
            audit.compare(_RULE, f"{where} token", bool(_TOKEN.fullmatch(str(row["token"]))), True)
        if row["source"] == "study" and row["item_id"] in items:
            audit.compare(_RULE, f"{where} judge_id", row["judge_id"], items[row["item_id"]]["rater_id"])
        study = studies.get(str(row["study_id"]))
        if study is not None and row["reply_id"] is not None:
            reply = study.reply(str(row["reply_id"]))
            stated = [row["model"], row["variant"]]
            audit.compare(_RULE, f"{where} model", stated, [reply.model, reply.variant])
        handed[str(row["token"])].append(row)
    _check_tokens(audit, place, handed)
    for token, rows in handed.items():
        slots = sorted(int(str(row["slot"])) for row in rows)
        audit.compare(_RULE, f"{place} slots of {token}", slots, list(range(len(rows))))
        audit.compare(_RULE, f"{place} sums of {token}", len({row["payload_sha"] for row in rows}), 1)


def _check_tokens(audit: Audit, place: str, handed: Mapping[str, Sequence[Record]]) -> None:
    """See that the random names of submissions look alike.

    The page draws them, other programs may name them otherwise; a single one of another form was edited.
    """
    drawn = [token for token, rows in handed.items() if rows[0]["source"] == "study"]
    odd = [token for token in drawn if not _DRAWN.fullmatch(token)]
    if len(odd) < 2 < len(drawn):
        audit.compare(_RULE, f"{place} names of submissions that the page does not give", odd, [])


def _check_sums(audit: Audit, place: str, tables: Mapping[str, Sequence[Record]]) -> None:
    """Compute what each submission was called by its content once more."""
    handed: dict[str, list[Record]] = defaultdict(list)
    for row in tables.get("judgement", ()):
        handed[str(row["token"])].append(row)
    for token, rows in handed.items():
        first = rows[0]
        if first["source"] == "model":
            identity = [first[name] for name in ("study_id", "reply_id", "judge_id", "repeat", "rubric_sha")]
            audit.compare(_RULE, f"{place} token of judgement {first['id']}", token, content_sha(identity))
            for row in rows:
                audit.compare(_RULE, f"{place} judgement {row['id']} payload_sha", row["payload_sha"], "")
        elif first["source"] == "study":
            content = {str(row["item_id"]): _submitted(row) for row in rows}
            audit.compare(_RULE, f"{place} sum of {token}", first["payload_sha"], content_sha(content))
    tries: Counter[tuple[object, ...]] = Counter()
    for row in tables.get("comparison", ()):
        key = tuple(row[name] for name in _COMPARED)
        audit.compare(
            _RULE, f"{place} token of comparison {row['id']}", row["token"], content_sha([*key, tries[key]])
        )
        tries[key] += 1


def _submitted(row: Record) -> dict[str, object]:
    """Return a rating as its rater handed it in, without the seconds."""
    return {
        "scores": {name: row[name] for name in DIMENSIONS if row[name] is not None},
        "confidence": row["confidence"],
        **{name: row[name] for name in COMMENTS},
        "cannot_judge": row["outcome"] == "cannot_judge",
        "crisis": {name: bool(row[name]) for name in CRISIS_CHECKS if row[name] is not None},
        "corrects": row["corrects"],
        "seconds": None,
    }
