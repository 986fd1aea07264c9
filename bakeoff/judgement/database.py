"""The SQLite file behind studies and judgements.

Tables, triggers, transactions.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from bakeoff.foundation.errors import StoreError
from bakeoff.judgement.rubric import COMMENTS, CRISIS_CHECKS, DIMENSIONS

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS study (
    study_id TEXT PRIMARY KEY, content TEXT NOT NULL, added_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS enrolment (
    study_id TEXT NOT NULL REFERENCES study, rater_id TEXT NOT NULL, rater_index INTEGER NOT NULL,
    enrolled_at TEXT NOT NULL, PRIMARY KEY (study_id, rater_id), UNIQUE (study_id, rater_index));
CREATE TABLE IF NOT EXISTS item (
    item_id TEXT PRIMARY KEY, study_id TEXT NOT NULL REFERENCES study, rater_id TEXT NOT NULL,
    screen INTEGER NOT NULL, slot INTEGER NOT NULL, case_id TEXT NOT NULL, reply_id TEXT NOT NULL,
    repeat INTEGER NOT NULL, UNIQUE (study_id, rater_id, screen, slot));
CREATE TABLE IF NOT EXISTS judgement (
    id INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL, slot INTEGER NOT NULL, payload_sha TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('study', 'chat', 'model')), outcome TEXT NOT NULL
        CHECK (outcome IN ('scored', 'cannot_judge', 'failed')),
    study_id TEXT, item_id TEXT REFERENCES item, reply_id TEXT, case_id TEXT NOT NULL, repeat INTEGER NOT NULL,
    model TEXT NOT NULL, variant TEXT NOT NULL, judge_id TEXT NOT NULL, created_at TEXT NOT NULL,
    {", ".join(f"{name} INTEGER CHECK ({name} BETWEEN 1 AND 5)" for name in (*DIMENSIONS, "confidence"))},
    {", ".join(f"{name} TEXT NOT NULL DEFAULT ''" for name in COMMENTS)},
    {", ".join(f"{name} INTEGER CHECK ({name} IN (0, 1))" for name in CRISIS_CHECKS)},
    corrects INTEGER UNIQUE REFERENCES judgement, seconds REAL, rubric_sha TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT '{{}}', UNIQUE (token, slot));
CREATE TABLE IF NOT EXISTS probe (
    id INTEGER PRIMARY KEY AUTOINCREMENT, study_id TEXT NOT NULL, judge_id TEXT NOT NULL, reply_id TEXT NOT NULL,
    plain INTEGER NOT NULL, planted INTEGER NOT NULL, rubric_sha TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS draft (
    item_id TEXT PRIMARY KEY REFERENCES item, rater_id TEXT NOT NULL, content TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS setting (
    id INTEGER PRIMARY KEY AUTOINCREMENT, study_id TEXT NOT NULL, name TEXT NOT NULL, content TEXT NOT NULL,
    set_by TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, study_id TEXT NOT NULL, rater_id TEXT NOT NULL, kind TEXT NOT NULL,
    content TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS adjudication (
    id INTEGER PRIMARY KEY AUTOINCREMENT, study_id TEXT NOT NULL, reply_id TEXT NOT NULL, owner_id TEXT NOT NULL,
    content TEXT NOT NULL, rubric_sha TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS arena (
    id INTEGER PRIMARY KEY AUTOINCREMENT, talk_id TEXT NOT NULL, rater_id TEXT NOT NULL, kind TEXT NOT NULL,
    turn INTEGER NOT NULL, content TEXT NOT NULL, created_at TEXT NOT NULL, UNIQUE (talk_id, kind, turn));
CREATE TABLE IF NOT EXISTS erasure (
    id INTEGER PRIMARY KEY AUTOINCREMENT, study_id TEXT NOT NULL, what TEXT NOT NULL, judgements INTEGER NOT NULL,
    rater_index INTEGER, called TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS draft_of_rater ON draft (rater_id);
CREATE INDEX IF NOT EXISTS event_of_rater ON event (study_id, rater_id, kind);
CREATE INDEX IF NOT EXISTS judgement_of_item ON judgement (item_id);
CREATE UNIQUE INDEX IF NOT EXISTS one_judgement_per_item ON judgement (item_id) WHERE corrects IS NULL;
CREATE TABLE IF NOT EXISTS comparison (
    id INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL UNIQUE, study_id TEXT NOT NULL, judge_id TEXT NOT NULL,
    case_id TEXT NOT NULL, first_reply TEXT NOT NULL, second_reply TEXT NOT NULL, repeat INTEGER NOT NULL,
    winner TEXT NOT NULL CHECK (winner IN ('first', 'second', 'tie', 'failed')), created_at TEXT NOT NULL,
    rubric_sha TEXT NOT NULL, detail TEXT NOT NULL DEFAULT '{{}}');
"""

APPEND_ONLY = (
    *("judgement", "comparison", "item", "study", "probe"),
    *("setting", "event", "adjudication", "arena", "erasure"),
)
"""Tables whose rows nobody changes or removes; only :mod:`~bakeoff.judgement.erasure` may, and says that it did."""

_NOT_COMPACT = (
    "{path}: rows are removed, but the file could not be written anew ({why}); end the page and "
    "erase once more"
)

TRIGGERS = "".join(
    f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb.upper()} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;\n"
    for table in APPEND_ONLY
    for verb in ("update", "delete")
)


class Database:
    """One SQLite file that only its owner can read.

    What a block of :meth:`writing` did is on the disk (WAL, ``synchronous=FULL``) when the block ends. Any number of
    threads and processes may use the same file.

    Raises:
        StoreError: the file is not a store, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.chmod(0o600)
            self._db = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            with self.writing():
                for statement in statements(SCHEMA + TRIGGERS):
                    self._db.execute(statement)
                self._add_columns()
        except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
            raise StoreError(
                f"{path}: cannot be used as the store of judgements ({error}); give another --store"
            ) from None

    def rubric_columns(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        """Return the rubric's columns of a judgement, and the values allowed."""
        return ()

    def _add_columns(self) -> None:
        """Add columns of the rubric that an older store lacks.

        Its old rows have no answer there.
        """
        present = {row["name"] for row in self._db.execute("PRAGMA table_info(judgement)")}
        for names, allowed in self.rubric_columns():
            for name in names:
                if name not in present:
                    self._db.execute(
                        f"ALTER TABLE judgement ADD COLUMN {name} INTEGER CHECK ({name} {allowed})"
                    )

    def compact(self) -> None:
        """Rewrite the file, so that removed rows cannot be recovered from it.

        Neither from its free pages nor from its log.

        Raises:
            StoreError: somebody else holds the file; what was removed is gone from the tables all the same.
        """
        try:
            with self._lock:
                self._db.execute("VACUUM")
                # Where somebody still reads, it raises nothing: the log would stay, and old rows in it.
                is_busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise StoreError(_NOT_COMPACT.format(path=self.path, why=error)) from None
        if is_busy:
            raise StoreError(_NOT_COMPACT.format(path=self.path, why="somebody else reads it"))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and on the disk when the block ends.

        Raises:
            StoreError: the file is full, locked or damaged; nothing was kept.
        """
        try:
            with self._lock:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    # A full disk may have ended the transaction already.
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
        except sqlite3.IntegrityError:
            raise
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"{self.path}: nothing was kept ({error}); make room or end what locks it, then hand in again"
            ) from None
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{self.path}: nothing was kept, the file is damaged ({error}); put a copy back, or move it away to "
                "begin a new one"
            ) from None

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """What *query* finds, its question marks filled with *values*."""
        try:
            with self._lock:
                return self._db.execute(query, values).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{self.path}: cannot be read ({error}); put a copy back, or move it away to begin a new one"
            ) from None


def statements(script: str) -> Iterator[str]:
    """The statements of *script*, one at a time."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def stored_object(text: object, fields: Iterable[str] = ()) -> dict[str, object]:
    """The JSON object that a row holds as *text*, with *fields* at least.

    Raises:
        StoreError: it holds something else; somebody wrote into the file, or it is damaged.
    """
    try:
        content = json.loads(str(text))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not set(fields) <= set(content):
        raise StoreError(
            "the store of judgements is damaged: a row does not hold what was written into it; put a copy back"
        )
    return content


def content_sha(value: object) -> str:
    """SHA-256 of *value* as JSON."""
    return hashlib.sha256(
        json.dumps(value, ensure_ascii=False, sort_keys=True, default=dict).encode()
    ).hexdigest()


def timestamp() -> str:
    """Now, in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
