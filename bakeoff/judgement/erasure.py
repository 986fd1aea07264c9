"""Erasing on request: the identity or all judgements of a rater.

The study stays readable and says what was erased.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypedDict, cast

from bakeoff.foundation.errors import RatingError
from bakeoff.foundation.files import write_json
from bakeoff.foundation.sentences import plural
from bakeoff.judgement.database import APPEND_ONLY, TRIGGERS, statements, timestamp
from bakeoff.judgement.raters import Raters
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.submissions import check_rater


class Erased(NamedTuple):
    """What went: *called* stands for the rater from now on."""

    called: str
    judgements: int
    studies: tuple[str, ...]


_RATER_COLUMNS = (
    ("enrolment", "rater_id"),
    ("item", "rater_id"),
    ("draft", "rater_id"),
    ("event", "rater_id"),
    ("arena", "rater_id"),
    ("judgement", "judge_id"),
    ("setting", "set_by"),
    ("adjudication", "owner_id"),
)
"""Wherever the store says who somebody is."""


def erase_identity(store: RatingStore, rater_id: str, raters: Raters | None = None) -> Erased:
    """Forget who *rater_id* is, everywhere; what they scored stays.

    Raises:
        RatingError: nobody has this name.
    """
    rater_id = check_rater(rater_id)
    studies, _ = _known(store, rater_id, raters)
    called = _new_code(store)
    with _erasing(store) as db:
        for table, column in _RATER_COLUMNS:
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (called, rater_id))
        for study_id in studies or ("",):
            _note(db, study_id, "identity", 0, None, called)
    _forget(raters, rater_id)
    _forget_in_runs(store, lambda ratings: _renamed(ratings, rater_id, called))
    return Erased(called, 0, studies)


def erase_judgements(store: RatingStore, rater_id: str, raters: Raters | None = None) -> Erased:
    """Remove all that *rater_id* handed in, and who that was.

    Raises:
        RatingError: nobody has this name.
    """
    rater_id = check_rater(rater_id)
    studies, count = _known(store, rater_id, raters)
    called = _new_code(store)
    with _erasing(store) as db:
        indexes = dict(
            db.execute(
                "SELECT study_id, rater_index FROM enrolment WHERE rater_id = ?", (rater_id,)
            ).fetchall()
        )
        counts = dict(
            db.execute(
                "SELECT study_id, COUNT(*) FROM judgement WHERE judge_id = ? AND source = 'study' GROUP BY study_id",
                (rater_id,),
            ).fetchall()
        )
        db.execute("UPDATE judgement SET corrects = NULL, item_id = NULL WHERE judge_id = ?", (rater_id,))
        for table, column in _RATER_COLUMNS:
            if table in ("setting", "adjudication"):  # the owner's own acts, not ratings
                db.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (called, rater_id))
            elif table not in ("item", "judgement"):
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (rater_id,))
        db.execute("DELETE FROM judgement WHERE judge_id = ? AND source != 'model'", (rater_id,))
        db.execute("DELETE FROM item WHERE rater_id = ?", (rater_id,))
        for study_id in studies or ("",):
            _note(db, study_id, "judgements", counts.get(study_id, 0), indexes.get(study_id), called)
    _forget(raters, rater_id)
    _forget_in_runs(store, lambda ratings: _without(ratings, rater_id))
    return Erased(called, count, studies)


class Erasure(TypedDict):
    """What was erased of a study."""

    what: str
    judgements: int
    called: str
    at: str


def erasures(store: RatingStore, study_id: str) -> list[Erasure]:
    """What was erased of the study: what, judgements, called, at."""
    rows = store.rows(
        "SELECT what, judgements, called, created_at AS at FROM erasure WHERE study_id = ? ORDER BY id",
        study_id,
    )
    return [cast(Erasure, dict(row)) for row in rows]


def _known(store: RatingStore, rater_id: str, raters: Raters | None) -> tuple[tuple[str, ...], int]:
    studies = tuple(
        row["study_id"]
        for row in store.rows(
            "SELECT study_id FROM enrolment WHERE rater_id = ? ORDER BY enrolled_at", rater_id
        )
    )
    count = store.rows(
        "SELECT COUNT(*) AS n FROM judgement WHERE judge_id = ? AND source != 'model'", rater_id
    )
    elsewhere = any(
        store.rows(f"SELECT 1 FROM {table} WHERE {column} = ? LIMIT 1", rater_id)
        for table, column in _RATER_COLUMNS
    )
    if not elsewhere and (raters is None or rater_id not in raters.names):
        store.compact()  # an erasure that was kept from it left old rows in the free pages
        raise RatingError(
            f"{store.path}: nobody is called {rater_id!r} here; nothing was erased",
            f"{store.path}：这里没有 {rater_id!r}；未删除任何内容",
        )
    return studies, int(count[0]["n"])


def _new_code(store: RatingStore) -> str:
    number = store.rows("SELECT COUNT(DISTINCT called) AS n FROM erasure")[0]["n"] + 1
    return f"erased-{number}"


def _note(
    db: sqlite3.Connection, study_id: str, what: str, count: int, index: int | None, called: str
) -> None:
    db.execute(
        "INSERT INTO erasure (study_id, what, judgements, rater_index, called, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        (study_id, what, count, index, called, timestamp()),
    )


@contextmanager
def _erasing(store: RatingStore) -> Iterator[sqlite3.Connection]:
    """A transaction in which rows may change and go, without a trace."""
    with store.writing() as db:
        db.execute("PRAGMA defer_foreign_keys = ON")
        for table in APPEND_ONLY:
            for verb in ("update", "delete"):
                db.execute(f"DROP TRIGGER IF EXISTS {table}_no_{verb}")
        yield db
        for statement in statements(TRIGGERS):
            db.execute(statement)
    store.compact()


def _forget(raters: Raters | None, rater_id: str) -> None:
    if raters is not None and rater_id in raters.names:
        raters.remove(rater_id)


def _forget_in_runs(store: RatingStore, changed: Callable[[object], object]) -> None:
    """Change what the runs of the store say of its ratings.

    They hold raters' names and comments.
    """
    if store.path.parent.name != "judge":
        return
    for path in sorted(store.path.parents[1].glob("runs/*/run.json")):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            run = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(run, dict) and run.get("ratings"):
                ratings = changed(run["ratings"])
                if ratings != run["ratings"]:
                    write_json(path, {**run, "ratings": ratings})


def _renamed(content: object, rater_id: str, called: str) -> object:
    """Return *content* with *called* in place of the rater's name."""
    if isinstance(content, dict):
        return {
            called if key == rater_id else key: _renamed(value, rater_id, called)
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [_renamed(each, rater_id, called) for each in content]
    return called if content == rater_id else content


def _without(content: object, rater_id: str) -> object:
    """Return *content* without what stands under the rater's name."""
    if isinstance(content, dict):
        return {key: _without(value, rater_id) for key, value in content.items() if key != rater_id}
    if isinstance(content, list):
        return [
            _without(each, rater_id)
            for each in content
            if each != rater_id and not (isinstance(each, dict) and each.get("rater") == rater_id)
        ]
    return content


def described(erased: list[Erasure]) -> tuple[str, str]:
    """What was erased, in a sentence in English and Chinese."""
    gone = [each for each in erased if each["what"] == "judgements"]
    anonymous = len(erased) - len(gone)
    english, chinese = [], []
    if gone:
        count = sum(each["judgements"] for each in gone)
        english.append(
            f"all {count} ratings by {len(gone)} {plural(len(gone), 'rater')} were erased on request"
        )
        chinese.append(f"应要求删除了 {len(gone)} 位评分者的全部 {count} 次评分")
    if anonymous:
        english.append(
            f"the identity of {anonymous} {plural(anonymous, 'rater')} was erased on request; their ratings were kept"
        )
        chinese.append(f"应要求删除了 {anonymous} 位评分者的身份信息，其评分保留")
    return "; ".join(english), "；".join(chinese)
