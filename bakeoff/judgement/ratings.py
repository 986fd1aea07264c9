"""The store of judgements; rows are only added.

Studies, queues, and what people and judge models handed in.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast, overload

from bakeoff.foundation.errors import RatingError
from bakeoff.foundation.files import replacing
from bakeoff.judgement.arrangement import CLOSED, is_open
from bakeoff.judgement.blind import Study
from bakeoff.judgement.database import content_sha, timestamp
from bakeoff.judgement.export import judgements_csv
from bakeoff.judgement.queues import Queues
from bakeoff.judgement.rows import ComparisonRow, JudgementRow, ProbeRow, StudyRow, Winner
from bakeoff.judgement.rubric import COMMENTS, CRISIS_CHECKS, DIMENSIONS, load_rubric
from bakeoff.judgement.submissions import Judgement, check_crisis, check_rater, check_token, short


class RatingStore(Queues):
    """All judgements, in one SQLite file.

    Rows are only ever added. A judgement is on the disk (WAL, ``synchronous=FULL``) before the method that took it
    returns. Any number of threads and processes may use the same file.

    Raises:
        StoreError: the file is not a store, or cannot be written.
    """

    def rubric_columns(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        """Return the rubric's columns of a judgement, and the values allowed."""
        return (DIMENSIONS, "BETWEEN 1 AND 5"), (CRISIS_CHECKS, "IN (0, 1)")

    def record(self, rater_id: str, token: object, verdicts: Mapping[str, Judgement]) -> list[int]:
        """Keep the verdicts on one screen, all or none; return their numbers.

        *verdicts*: item id -> judgement. Handing in the same again under the same *token* counts once and returns the
        same numbers.

        Raises:
            RatingError: an item that is not this rater's, one already judged, a broken rule of the rubric, or a
                token used before for something else.
        """
        rater_id = check_rater(rater_id)
        token = check_token(token)
        if not verdicts:
            raise RatingError(
                "nothing was handed in; score at least one reply", "没有收到评分，请至少评一条回复"
            )
        for item_id, judgement in verdicts.items():
            if not re.fullmatch(r"[0-9a-f]{24}", item_id):
                raise RatingError(f"item {short(item_id)}: no item is called so; reload the page")
            judgement.check()
        sha = content_sha({item: vars(judgement) | {"seconds": None} for item, judgement in verdicts.items()})
        with self.writing() as db:
            before = self._handed_in(db, token, rater_id, sha)
            if before:
                return before
            ids = []
            for slot, (item_id, judgement) in enumerate(verdicts.items()):
                item = db.execute("SELECT * FROM item WHERE item_id = ?", (item_id,)).fetchone()
                if item is None or item["rater_id"] != rater_id:
                    raise RatingError(
                        f"item {short(item_id)} is not in your queue; reload the page to go on with yours",
                        "这条回复不在你的队列里，请刷新页面后继续",
                    )
                study = self.study(item["study_id"])
                if not is_open(db, item["study_id"]):
                    raise RatingError(CLOSED.english, CLOSED.chinese)
                check_crisis(judgement, study.case(item["case_id"]).crisis)
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
                db.execute("DELETE FROM draft WHERE item_id = ?", (item["item_id"],))
            return ids

    def record_chat(
        self, rater_id: str, token: object, model: str, messages: Sequence[Mapping[str, str]], j: Judgement
    ) -> int:
        """Keep a verdict on a chat and return its number.

        The rater saw the name of the model.

        Raises:
            RatingError: as :meth:`record`, or an empty conversation.
        """
        rater_id = check_rater(rater_id)
        token = check_token(token)
        j.check()
        if not any(message.get("role") == "assistant" for message in messages):
            raise RatingError(
                "the conversation holds no reply yet; send a message first",
                "对话里还没有回复，请先发一条消息",
            )
        turns = [{"role": m["role"], "content": m["content"]} for m in messages]
        sha = content_sha([model, turns, vars(j) | {"seconds": None}])
        with self.writing() as db:
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
                case_id=f"chat-{content_sha(turns)[:12]}",
                repeat=0,
                model=model,
                variant="",
                judge_id=rater_id,
                detail=json.dumps({"messages": turns}, ensure_ascii=False),
            )

    def record_model(
        self,
        study: Study,
        reply_id: str,
        judge_id: str,
        repeat: int,
        verdict: Judgement | None,
        detail: Mapping[str, object],
    ) -> int:
        """Keep a judge model's verdict on a reply and return its number.

        None stands for a verdict that nobody can read. A verdict that is held already for this reply, *repeat* and
        rubric is returned and not written again; a failure is followed by another row when it is tried again.
        """
        reply = study.reply(reply_id)
        if verdict is not None:
            verdict.check()
            check_crisis(verdict, study.case(reply.case_id).crisis)
        with self.writing() as db:
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
                token=content_sha(identity),
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
        winner: Winner,
        detail: Mapping[str, object],
    ) -> None:
        """Keep which of two replies a judge model preferred.

        first | second (as shown) | tie | failed.
        """
        case_id = study.reply(first).case_id
        key = [study.study_id, judge_id, first, second, repeat, load_rubric().sha]
        with self.writing() as db:
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
                    content_sha([*key, len(tries)]),
                    *key[:2],
                    case_id,
                    *key[2:5],
                    winner,
                    timestamp(),
                    load_rubric().sha,
                    json.dumps(dict(detail), ensure_ascii=False),
                ),
            )

    def record_probe(self, study: Study, judge_id: str, reply_id: str, plain: int, planted: int) -> None:
        """Keep the scores of a reply without and with a planted instruction.

        Of overall quality, by a judge model.
        """
        with self.writing() as db:
            db.execute(
                "INSERT INTO probe (study_id, judge_id, reply_id, plain, planted, rubric_sha, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (study.study_id, judge_id, reply_id, plain, planted, load_rubric().sha, timestamp()),
            )

    def probes(self, judge_id: str) -> list[ProbeRow]:
        """Return what :meth:`record_probe` kept of a judge, oldest first.

        Under any study.
        """
        rows = self.rows("SELECT * FROM probe WHERE judge_id = ? ORDER BY id", judge_id)
        return [cast(ProbeRow, dict(row)) for row in rows]

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
            "created_at": timestamp(),
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

    @overload
    def judgements(self, study_id: str, *, history: bool = False) -> list[StudyRow]: ...

    @overload
    def judgements(self, study_id: None = None, *, history: bool = False) -> list[JudgementRow]: ...

    def judgements(
        self, study_id: str | None = None, *, history: bool = False
    ) -> list[StudyRow] | list[JudgementRow]:
        """Return the judgements, oldest first.

        The newest of each chain of corrections, or with *history* all of them.

        Args:
            study_id: only this study's; None gives everything, chat judgements too.
        """
        newest = "" if history else "AND NOT EXISTS (SELECT 1 FROM judgement c WHERE c.corrects = j.id)"
        which = "1" if study_id is None else "study_id = ?"
        rows = self.rows(
            f"SELECT * FROM judgement j WHERE {which} {newest} ORDER BY id", *([study_id] if study_id else [])
        )
        return cast("list[JudgementRow]", [dict(row) for row in rows])

    def of_item(self, item_id: str) -> StudyRow | None:
        """The newest judgement on an item, or None."""
        rows = self.rows("SELECT * FROM judgement WHERE item_id = ? ORDER BY id DESC LIMIT 1", item_id)
        return cast(StudyRow, dict(rows[0])) if rows else None

    def comparisons(self, study_id: str) -> list[ComparisonRow]:
        """Return the pairwise verdicts of judge models on a study, oldest first.

        Failures, too.
        """
        rows = self.rows("SELECT * FROM comparison WHERE study_id = ? ORDER BY id", study_id)
        return [cast(ComparisonRow, dict(row)) for row in rows]

    def csv_text(self, study_id: str | None = None) -> str:
        """Return the judgements that count as CSV.

        See :func:`~bakeoff.judgement.export.judgements_csv`.
        """
        return judgements_csv(self.judgements(study_id) if study_id else self.judgements())

    def export_csv(self, path: Path, study_id: str | None = None) -> None:
        """Write :meth:`csv_text` to *path*, for its owner only.

        With the byte order mark that spreadsheets need.
        """
        with replacing(path) as draft:
            draft.touch(mode=0o600)
            draft.write_text(self.csv_text(study_id), encoding="utf-8-sig", newline="")
