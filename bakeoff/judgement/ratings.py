"""Human and model judgements: the rubric, the append-only store, the export."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from bakeoff.errors import RatingError, StoreError
from bakeoff.files import replacing
from bakeoff.judgement.blind import Study, read_study

RUBRIC = Path(__file__).with_name("rubric.yaml")
COMMENTS = ("strengths", "weaknesses", "suggestions")
OVERALL = "overall_quality"
"""The dimension that calibration, duels and plans go by; every rubric has it."""

_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")


def _named(part: str) -> dict[str, str]:
    """Key -> Chinese name of every entry of *part* of the rubric, in the rubric's order."""
    import yaml

    try:
        entries = yaml.safe_load(RUBRIC.read_bytes())[part]
        named = {str(each["key"]): str(each["name"]["zh"]) for each in entries}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise StoreError(
            f"{RUBRIC}: {part} cannot be read ({error}); each needs key, name, question"
        ) from None
    wrong = sorted(key for key in named if not _KEY.fullmatch(key))
    if wrong or len(named) < len(entries):
        why = f"{wrong[0]!r} is no name of a column" if wrong else "a key stands twice"
        raise StoreError(f"{RUBRIC}: {part}: {why}; use small letters, digits and _")
    return named


_DIMENSION_NAMES, _CHECK_NAMES = _named("dimensions"), _named("crisis")
DIMENSIONS = tuple(_DIMENSION_NAMES)
"""The rubric alone says which there are."""

CRISIS_CHECKS = tuple(_CHECK_NAMES)
NAMES_ZH = _DIMENSION_NAMES | dict(zip(COMMENTS, ("优点", "不足", "改进建议"), strict=True))
EXPORT_FIELDS = ("test_case_id", "model_name", "judge_id", "timestamp", *DIMENSIONS, *COMMENTS, "confidence")
"""Field names of the export, in the guide's order; further columns follow them."""

MAX_COMMENT_CHARS = 4000
NAME = re.compile(r"[^\W_][\w.@\- ]{0,39}")
"""What a rater may be called: letters (any script), digits, and ``_ . @ -`` and spaces after the first."""


@dataclass(frozen=True)
class Rubric:
    """The questions and the anchors in words for every point, in Chinese and English.

    Attributes:
        content: the YAML file as it stands: scale, dimensions, confidence, crisis.
        sha: twelve hex digits of the file's content; kept with every judgement.
    """

    content: dict[str, Any]
    sha: str


@cache
def load_rubric() -> Rubric:
    """The rubric that people and judge models share, from ``rubric.yaml`` beside this module.

    Raises:
        StoreError: a dimension or an anchor is missing in either language.
    """
    import yaml

    path = RUBRIC
    raw = path.read_bytes()
    content = yaml.safe_load(raw)
    if OVERALL not in DIMENSIONS:
        raise StoreError(f"{path}: dimensions are {', '.join(DIMENSIONS)}; one of them must be {OVERALL}")
    for each in [*content["dimensions"], content["confidence"]]:
        for point in range(1, 6):
            anchor = each["anchors"].get(point, {})
            if not (anchor.get("zh") and anchor.get("en")):
                raise StoreError(f"{path}: {each['name']['en']} has no anchor for {point} in both languages")
    return Rubric(content, hashlib.sha256(raw).hexdigest()[:12])


@dataclass(frozen=True)
class Judgement:
    """One person's (or model's) verdict on one reply, as it is handed in.

    Attributes:
        scores: all dimensions of the rubric, whole numbers 1..5; empty when *cannot_judge*.
        confidence: 1..5, or None where it was not stated.
        crisis: the three yes-or-no checks; wanted for crisis cases, refused elsewhere.
        corrects: the judgement that this one replaces; the old row stays.
        seconds: how long the screen was open.
    """

    scores: Mapping[str, int] = field(default_factory=dict)
    confidence: int | None = None
    strengths: str = ""
    weaknesses: str = ""
    suggestions: str = ""
    cannot_judge: bool = False
    crisis: Mapping[str, bool] = field(default_factory=dict)
    corrects: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, raw: object) -> Judgement:
        """A judgement from untrusted input, such as what a browser or a judge model sent.

        Raises:
            RatingError: an unknown field, or a value of the wrong type, range or length.
        """
        if not isinstance(raw, Mapping):
            raise RatingError(f"judgement: wanted an object with scores, not {type(raw).__name__}")
        unknown = set(raw) - set(cls.__dataclass_fields__)
        if unknown:
            raise RatingError(
                f"judgement: unknown field {_short(sorted(map(str, unknown))[0])}; known: scores, confidence …"
            )
        fields = {name: value for name, value in raw.items() if value is not None}
        for name in COMMENTS:
            if not isinstance(fields.get(name, ""), str):
                raise RatingError(f"{name}: wanted text, not {type(fields[name]).__name__}")
        for name in ("scores", "crisis"):
            if not isinstance(fields.get(name, {}), Mapping):
                raise RatingError(f"{name}: wanted an object, not {type(fields[name]).__name__}")
        judgement = cls(**fields)
        judgement.check()
        return judgement

    def check(self) -> None:
        """Raise RatingError unless every field is of its type, range and length."""
        for name in COMMENTS:
            text = getattr(self, name)
            if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
                raise RatingError(
                    f"{name}: holds half a character (a lone surrogate); type the comment again",
                    f"{NAMES_ZH[name]}里有半个字符，请重新输入这段文字",
                )
            if len(text) > MAX_COMMENT_CHARS:
                raise RatingError(
                    f"{name}: {len(text):,} characters; at most {MAX_COMMENT_CHARS:,}. Shorten the comment",
                    f"{NAMES_ZH[name]}有 {len(text):,} 个字，最多 {MAX_COMMENT_CHARS:,} 个，请缩短",
                )
        if not isinstance(self.cannot_judge, bool):
            raise RatingError(f"cannot_judge: wanted true or false, not {_short(self.cannot_judge)}")
        unknown = sorted(
            map(str, (set(self.scores) - set(DIMENSIONS)) | (set(self.crisis) - set(CRISIS_CHECKS)))
        )
        if unknown:
            raise RatingError(
                f"judgement: {_short(unknown[0])} is no dimension of the rubric; known: {', '.join(DIMENSIONS)}"
            )
        for name, value in [*self.scores.items(), ("confidence", self.confidence)]:
            if value is None and name == "confidence":
                continue
            if type(value) is not int or not 1 <= value <= 5:
                raise RatingError(
                    f"{name}: {_short(value)} is not a whole number from 1 to 5; choose one of the five points"
                )
        for name, answer in self.crisis.items():
            if not isinstance(answer, bool):
                raise RatingError(f"{name}: wanted true or false, not {_short(answer)}")
        missing = [name for name in DIMENSIONS if name not in self.scores]
        if missing and not self.cannot_judge:
            raise RatingError(
                f"no score for {', '.join(missing)}; score every dimension or choose 'cannot judge'",
                f"还没有评分：{'、'.join(NAMES_ZH[name] for name in missing)}；请评完所有维度，或选“无法判断”",
            )
        if self.cannot_judge and (self.scores or self.crisis):
            raise RatingError("'cannot judge' together with scores; leave one of them out")
        if self.corrects is not None and type(self.corrects) is not int:
            raise RatingError(f"corrects: wanted the number of a judgement, not {_short(self.corrects)}")
        if self.seconds is not None and not (
            isinstance(self.seconds, int | float) and 0 <= self.seconds < 1e7
        ):
            raise RatingError(f"seconds: {_short(self.seconds)} is no duration")


def check_rater(rater_id: object) -> str:
    """*rater_id* itself, trimmed, when somebody may be called so.

    Raises:
        RatingError: otherwise; names the rule.
    """
    name = rater_id.strip() if isinstance(rater_id, str) else ""
    if not NAME.fullmatch(name):
        raise RatingError(
            f"rater {_short(rater_id)}: a name is 1 to 40 letters, digits, spaces and . @ - _, "
            "beginning with a letter or digit",
            f"编号 {_short(rater_id)} 不可用：1 到 40 个字母、汉字、数字、空格或 . @ - _，以字母、汉字或数字开头",
        )
    return name


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


@dataclass(frozen=True)
class Item:
    """One reply on a rater's screen; *item_id* is random and says nothing about the model."""

    item_id: str
    case_id: str
    reply_id: str
    repeat: int


_SCHEMA = f"""
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
CREATE INDEX IF NOT EXISTS judgement_of_item ON judgement (item_id);
CREATE UNIQUE INDEX IF NOT EXISTS one_judgement_per_item ON judgement (item_id) WHERE corrects IS NULL;
CREATE TABLE IF NOT EXISTS comparison (
    id INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL UNIQUE, study_id TEXT NOT NULL, judge_id TEXT NOT NULL,
    case_id TEXT NOT NULL, first_reply TEXT NOT NULL, second_reply TEXT NOT NULL, repeat INTEGER NOT NULL,
    winner TEXT NOT NULL CHECK (winner IN ('first', 'second', 'tie', 'failed')), created_at TEXT NOT NULL,
    rubric_sha TEXT NOT NULL, detail TEXT NOT NULL DEFAULT '{{}}');
""" + "".join(
    f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb.upper()} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;\n"
    for table in ("judgement", "comparison", "item", "study", "probe")
    for verb in ("update", "delete")
)


class RatingStore:
    """All judgements, in one SQLite file that only its owner can read.

    Rows are only ever added. A judgement is on the disk (WAL, ``synchronous=FULL``) before the method that took it
    returns. Any number of threads and processes may use the same file.

    Raises:
        StoreError: the file is not a store, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._studies: dict[str, Study] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.chmod(0o600)
            self._db = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            with self._writing():
                for statement in _statements(_SCHEMA):
                    self._db.execute(statement)
                self._add_columns()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"{path}: cannot be used as the store of judgements ({error}); give another --store"
            ) from None

    def _add_columns(self) -> None:
        """Add what the rubric asks for now and an older store has no column for; its old rows have no answer there."""
        present = {row["name"] for row in self._db.execute("PRAGMA table_info(judgement)")}
        for names, allowed in ((DIMENSIONS, "BETWEEN 1 AND 5"), (CRISIS_CHECKS, "IN (0, 1)")):
            for name in names:
                if name not in present:
                    self._db.execute(
                        f"ALTER TABLE judgement ADD COLUMN {name} INTEGER CHECK ({name} {allowed})"
                    )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and on the disk when the block ends."""
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
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"{self.path}: nothing was kept ({error}); make room or end what locks it, then hand in again"
            ) from None

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        try:
            with self._lock:
                return self._db.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{self.path}: cannot be read ({error}); put a copy back, or move it away to begin a new one"
            ) from None

    def add_study(self, study: Study) -> None:
        """Keep *study*; adding the same one again changes nothing.

        Raises:
            RatingError: another study of that name is kept already.
        """
        with self._writing() as db:
            held = db.execute("SELECT content FROM study WHERE study_id = ?", (study.study_id,)).fetchone()
            if held is None:
                db.execute("INSERT INTO study VALUES (?, ?, ?)", (study.study_id, study.to_json(), _now()))
            elif read_study(str(held["content"])) != study:
                raise RatingError(
                    f"{self.path}: a study called {study.study_id!r} with other content is kept here; "
                    "give the new one its own --id, so that judgements stay with what was shown"
                )

    def studies(self) -> list[str]:
        """Ids of the studies kept, oldest first."""
        return [row["study_id"] for row in self._rows("SELECT study_id FROM study ORDER BY added_at, rowid")]

    def study(self, study_id: str) -> Study:
        """The study called *study_id*.

        Raises:
            RatingError: there is none.
        """
        if study_id not in self._studies:
            rows = self._rows("SELECT content FROM study WHERE study_id = ?", study_id)
            if not rows:
                kept = ", ".join(self.studies()) or "none"
                raise RatingError(f"{self.path}: no study {_short(study_id)}; kept are: {kept}")
            self._studies[study_id] = read_study(str(rows[0]["content"]))
        return self._studies[study_id]

    def is_enrolled(self, study_id: str, rater_id: str) -> bool:
        """Whether the rater has a queue in the study."""
        return bool(
            self._rows("SELECT 1 FROM enrolment WHERE study_id = ? AND rater_id = ?", study_id, rater_id)
        )

    def enrol(self, study_id: str, rater_id: str) -> int:
        """The rater's index in the study (from 0); the first call draws up their queue.

        Raises:
            RatingError: no such study, or an impossible name.
        """
        rater_id = check_rater(rater_id)
        study = self.study(study_id)
        with self._writing() as db:
            known = db.execute(
                "SELECT rater_index FROM enrolment WHERE study_id = ? AND rater_id = ?", (study_id, rater_id)
            ).fetchone()
            if known is not None:
                return int(known["rater_index"])
            index = int(
                db.execute("SELECT COUNT(*) FROM enrolment WHERE study_id = ?", (study_id,)).fetchone()[0]
            )
            db.execute("INSERT INTO enrolment VALUES (?, ?, ?, ?)", (study_id, rater_id, index, _now()))
            db.executemany(
                "INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        secrets.token_hex(12),
                        study_id,
                        rater_id,
                        number,
                        slot,
                        screen.case_id,
                        reply_id,
                        screen.repeat,
                    )
                    for number, screen in enumerate(study.screens(index))
                    for slot, reply_id in enumerate(screen.reply_ids)
                ],
            )
        return index

    def progress(self, study_id: str, rater_id: str) -> tuple[int, int]:
        """Screens done, and screens in all, of one rater."""
        row = self._rows(
            "SELECT COUNT(*) AS total, COALESCE(SUM(done), 0) AS done FROM (SELECT screen, MIN(EXISTS (SELECT 1 "
            "FROM judgement j WHERE j.item_id = i.item_id)) AS done FROM item i "
            "WHERE study_id = ? AND rater_id = ? GROUP BY screen)",
            study_id,
            rater_id,
        )[0]
        return int(row["done"]), int(row["total"])

    def next_screen(self, study_id: str, rater_id: str) -> int | None:
        """Number of the rater's first screen that is not done; None when all are."""
        row = self._rows(
            "SELECT MIN(screen) AS screen FROM item i WHERE study_id = ? AND rater_id = ? AND NOT EXISTS "
            "(SELECT 1 FROM judgement j WHERE j.item_id = i.item_id)",
            study_id,
            rater_id,
        )[0]
        return None if row["screen"] is None else int(row["screen"])

    def items(self, study_id: str, rater_id: str, screen: int) -> list[Item]:
        """What stands on one screen of the rater, in order; empty when there is no such screen."""
        rows = self._rows(
            "SELECT item_id, case_id, reply_id, repeat FROM item WHERE study_id = ? AND rater_id = ? AND screen = ? "
            "ORDER BY slot",
            study_id,
            rater_id,
            screen,
        )
        return [Item(**row) for row in map(dict, rows)]

    def record(self, rater_id: str, token: str, verdicts: Mapping[str, Judgement]) -> list[int]:
        """Keep the verdicts on one screen (item id -> judgement), all or none; their numbers.

        Handing in the same again under the same *token* counts once and returns the same numbers.

        Raises:
            RatingError: an item that is not this rater's, one already judged, a broken rule of the rubric, or a
                token used before for something else.
        """
        rater_id = check_rater(rater_id)
        _check_token(token)
        if not verdicts:
            raise RatingError(
                "nothing was handed in; score at least one reply", "没有收到评分，请至少评一条回复"
            )
        for item_id, judgement in verdicts.items():
            if not re.fullmatch(r"[0-9a-f]{24}", item_id):
                raise RatingError(f"item {_short(item_id)}: no item is called so; reload the page")
            judgement.check()
        sha = _sha({item: vars(judgement) | {"seconds": None} for item, judgement in verdicts.items()})
        with self._writing() as db:
            before = self._handed_in(db, token, rater_id, sha)
            if before:
                return before
            ids = []
            for slot, (item_id, judgement) in enumerate(verdicts.items()):
                item = db.execute("SELECT * FROM item WHERE item_id = ?", (item_id,)).fetchone()
                if item is None or item["rater_id"] != rater_id:
                    raise RatingError(
                        f"item {_short(item_id)} is not in your queue; reload the page to go on with yours",
                        "这条回复不在你的队列里，请刷新页面后继续",
                    )
                study = self.study(item["study_id"])
                self._check_crisis(judgement, study.case(item["case_id"]).crisis)
                self._check_correction(db, judgement, item["item_id"])
                reply = study.reply(item["reply_id"])
                ids.append(
                    self._insert(
                        db,
                        judgement,
                        token=token,
                        slot=slot,
                        payload_sha=sha,
                        source="study",
                        study_id=item["study_id"],
                        item_id=item["item_id"],
                        reply_id=item["reply_id"],
                        case_id=item["case_id"],
                        repeat=item["repeat"],
                        model=reply.model,
                        variant=reply.variant,
                        judge_id=rater_id,
                    )
                )
            return ids

    def record_chat(
        self, rater_id: str, token: str, model: str, messages: Sequence[Mapping[str, str]], j: Judgement
    ) -> int:
        """Keep a verdict on a conversation with a model whose name the rater saw; its number.

        Raises:
            RatingError: as :meth:`record`, or an empty conversation.
        """
        rater_id = check_rater(rater_id)
        _check_token(token)
        j.check()
        if not any(message.get("role") == "assistant" for message in messages):
            raise RatingError(
                "the conversation holds no reply yet; send a message first",
                "对话里还没有回复，请先发一条消息",
            )
        said = [{"role": m["role"], "content": m["content"]} for m in messages]
        sha = _sha([model, said, vars(j) | {"seconds": None}])
        with self._writing() as db:
            before = self._handed_in(db, token, rater_id, sha)
            if before:
                return before[0]
            return self._insert(
                db,
                j,
                token=token,
                slot=0,
                payload_sha=sha,
                source="chat",
                case_id=f"chat-{_sha(said)[:12]}",
                repeat=0,
                model=model,
                variant="",
                judge_id=rater_id,
                detail=json.dumps({"messages": said}, ensure_ascii=False),
            )

    def record_model(
        self,
        study: Study,
        reply_id: str,
        judge_id: str,
        repeat: int,
        verdict: Judgement | None,
        detail: Mapping[str, Any],
    ) -> int:
        """Keep a judge model's verdict on a reply, or (None) that it gave none that can be read; its number.

        A verdict that is held already for this reply, *repeat* and rubric is returned and not written again; a failure
        is followed by another row when it is tried again.
        """
        reply = study.reply(reply_id)
        if verdict is not None:
            verdict.check()
            self._check_crisis(verdict, study.case(reply.case_id).crisis)
        with self._writing() as db:
            attempts = db.execute(
                "SELECT id, outcome FROM judgement WHERE source = 'model' AND study_id = ? AND reply_id = ? "
                "AND judge_id = ? AND repeat = ? AND rubric_sha = ? ORDER BY id",
                (study.study_id, reply_id, judge_id, repeat, load_rubric().sha),
            ).fetchall()
            if attempts and attempts[-1]["outcome"] != "failed":
                return int(attempts[-1]["id"])
            identity = [study.study_id, reply_id, judge_id, repeat, load_rubric().sha]
            return self._insert(
                db,
                verdict,
                token=_sha(identity),
                slot=len(attempts),
                payload_sha="",
                source="model",
                study_id=study.study_id,
                reply_id=reply_id,
                case_id=reply.case_id,
                repeat=repeat,
                model=reply.model,
                variant=reply.variant,
                judge_id=judge_id,
                corrects=attempts[-1]["id"] if attempts else None,
                detail=json.dumps(dict(detail), ensure_ascii=False),
            )

    def record_comparison(
        self,
        study: Study,
        judge_id: str,
        first: str,
        second: str,
        repeat: int,
        winner: str,
        detail: Mapping[str, Any],
    ) -> None:
        """Keep which of two replies a judge model preferred: first | second (as shown) | tie | failed."""
        case_id = study.reply(first).case_id
        key = [study.study_id, judge_id, first, second, repeat, load_rubric().sha]
        with self._writing() as db:
            tries = db.execute(
                "SELECT winner FROM comparison WHERE study_id = ? AND judge_id = ? AND first_reply = ? "
                "AND second_reply = ? AND repeat = ? AND rubric_sha = ?",
                key,
            ).fetchall()
            if any(row["winner"] != "failed" for row in tries):
                return
            db.execute(
                "INSERT INTO comparison (token, study_id, judge_id, case_id, first_reply, second_reply, repeat, "
                "winner, created_at, rubric_sha, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    _sha([*key, len(tries)]),
                    *key[:2],
                    case_id,
                    *key[2:5],
                    winner,
                    _now(),
                    load_rubric().sha,
                    json.dumps(dict(detail), ensure_ascii=False),
                ),
            )

    def record_probe(self, study: Study, judge_id: str, reply_id: str, plain: int, planted: int) -> None:
        """Keep how a judge model scored a reply's overall quality, and the same reply with an instruction planted."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO probe (study_id, judge_id, reply_id, plain, planted, rubric_sha, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (study.study_id, judge_id, reply_id, plain, planted, load_rubric().sha, _now()),
            )

    def probes(self, judge_id: str) -> list[dict[str, Any]]:
        """What :meth:`record_probe` kept of a judge, under any study, oldest first."""
        return [
            dict(row) for row in self._rows("SELECT * FROM probe WHERE judge_id = ? ORDER BY id", judge_id)
        ]

    def _handed_in(self, db: sqlite3.Connection, token: str, judge_id: str, sha: str) -> list[int]:
        rows = db.execute(
            "SELECT id, judge_id, payload_sha FROM judgement WHERE token = ? ORDER BY slot", (token,)
        ).fetchall()
        if any(row["judge_id"] != judge_id or row["payload_sha"] != sha for row in rows):
            raise RatingError(
                "this submission was recorded before with other content; open the screen again to correct it",
                "这次提交此前已用别的内容记录过，请重新打开这一屏再修改",
            )
        return [int(row["id"]) for row in rows]

    @staticmethod
    def _check_crisis(judgement: Judgement, crisis: bool) -> None:
        if judgement.cannot_judge:
            return
        if crisis and set(judgement.crisis) != set(CRISIS_CHECKS):
            raise RatingError(
                f"a crisis case needs a yes or no for each of {', '.join(CRISIS_CHECKS)}",
                "危机情境的三项核查都要回答“是”或“否”",
            )
        if not crisis and judgement.crisis:
            raise RatingError("crisis checks belong to crisis cases only; leave them out here")

    @staticmethod
    def _check_correction(db: sqlite3.Connection, judgement: Judgement, item_id: str) -> None:
        last = db.execute("SELECT MAX(id) AS id FROM judgement WHERE item_id = ?", (item_id,)).fetchone()[
            "id"
        ]
        if last is None and judgement.corrects is not None:
            raise RatingError(
                f"judgement {judgement.corrects} is not of this item; there is nothing to correct"
            )
        if last is not None and judgement.corrects is None:
            raise RatingError(
                "this reply is scored already (in another tab?); open it again to correct the score",
                "这条回复已经评过（在另一个标签页？），请重新打开再修改",
            )
        if last is not None and judgement.corrects != last:
            raise RatingError(
                "the score changed meanwhile (in another tab?); open it again to correct the newest one",
                "评分已在别处改过（另一个标签页？），请重新打开最新的再修改",
            )

    def _insert(self, db: sqlite3.Connection, judgement: Judgement | None, **values: object) -> int:
        row: dict[str, object] = {
            "created_at": _now(),
            "rubric_sha": load_rubric().sha,
            "outcome": "failed",
            **values,
        }
        if judgement is not None:
            row["outcome"] = "cannot_judge" if judgement.cannot_judge else "scored"
            row |= {**judgement.scores, "confidence": judgement.confidence, "seconds": judgement.seconds}
            row |= {name: getattr(judgement, name) for name in COMMENTS}
            row |= {name: int(answer) for name, answer in judgement.crisis.items()}
            row["corrects"] = row.get("corrects", judgement.corrects)
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        return int(
            db.execute(f"INSERT INTO judgement ({names}) VALUES ({marks})", list(row.values())).lastrowid or 0
        )

    def judgements(self, study_id: str | None = None, *, history: bool = False) -> list[dict[str, Any]]:
        """Rows of the table, oldest first: the newest of each chain of corrections, or with *history* all of them.

        Args:
            study_id: only this study's; None gives everything, chat judgements too.
        """
        newest = "" if history else "AND NOT EXISTS (SELECT 1 FROM judgement c WHERE c.corrects = j.id)"
        which = "1" if study_id is None else "study_id = ?"
        rows = self._rows(
            f"SELECT * FROM judgement j WHERE {which} {newest} ORDER BY id", *([study_id] if study_id else [])
        )
        return [dict(row) for row in rows]

    def of_item(self, item_id: str) -> dict[str, Any] | None:
        """The newest judgement on an item, or None."""
        rows = self._rows("SELECT * FROM judgement WHERE item_id = ? ORDER BY id DESC LIMIT 1", item_id)
        return dict(rows[0]) if rows else None

    def comparisons(self, study_id: str) -> list[dict[str, Any]]:
        """All pairwise verdicts of judge models on a study, failures too, oldest first."""
        return [
            dict(row)
            for row in self._rows("SELECT * FROM comparison WHERE study_id = ? ORDER BY id", study_id)
        ]

    def raters(self, study_id: str) -> list[str]:
        """People enrolled in the study, in order of enrolment."""
        rows = self._rows("SELECT rater_id FROM enrolment WHERE study_id = ? ORDER BY rater_index", study_id)
        return [row["rater_id"] for row in rows]

    def csv_text(self, study_id: str | None = None) -> str:
        """The judgements that count as CSV, the guide's field names first.

        A comment that a spreadsheet would take for a formula gets a leading apostrophe. Replies nobody could
        judge, and failures of judge models, are rows without scores; column ``outcome`` says which.
        """
        more = (
            "variant",
            "source",
            "outcome",
            "study_id",
            "repeat",
            *CRISIS_CHECKS,
            "seconds",
            "rubric_sha",
            "id",
        )
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, [*EXPORT_FIELDS, *more], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in self.judgements(study_id):
            named = row | {"test_case_id": row["case_id"], "timestamp": row["created_at"]}
            named["model_name"] = f"{row['model']}/{row['variant']}" if row["variant"] else row["model"]
            writer.writerow({key: _no_formula(value) for key, value in named.items()})
        return text.getvalue()

    def export_csv(self, path: Path, study_id: str | None = None) -> None:
        """Write :meth:`csv_text` to *path*, for its owner only, with the byte order mark spreadsheets ask for."""
        with replacing(path) as draft:
            draft.touch(mode=0o600)
            draft.write_text(self.csv_text(study_id), encoding="utf-8-sig", newline="")


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _no_formula(value: object) -> object:
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def _check_token(token: object) -> None:
    if not isinstance(token, str) or not re.fullmatch(r"[\w-]{8,64}", token):
        raise RatingError(
            f"submission token {_short(token)}: wanted 8 to 64 letters or digits; reload the page"
        )


def _sha(value: object) -> str:
    return hashlib.sha256(
        json.dumps(value, ensure_ascii=False, sort_keys=True, default=dict).encode()
    ).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
