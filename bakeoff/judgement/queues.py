"""Studies of the store, who takes part, and every rater's queue."""

from __future__ import annotations

import secrets
from functools import cached_property

from bakeoff.foundation.errors import RatingError
from bakeoff.judgement.blind import Study, read_study
from bakeoff.judgement.database import Database, timestamp
from bakeoff.judgement.submissions import Item, check_rater, short


class Queues(Database):
    """Studies and queues, in the file of the judgements."""

    @cached_property
    def _studies(self) -> dict[str, Study]:
        return {}

    def add_study(self, study: Study) -> None:
        """Keep *study*; adding the same one again changes nothing.

        Raises:
            RatingError: another study of that name is kept already.
        """
        with self.writing() as db:
            stored = db.execute("SELECT content FROM study WHERE study_id = ?", (study.study_id,)).fetchone()
            if stored is None:
                db.execute(
                    "INSERT INTO study VALUES (?, ?, ?)", (study.study_id, study.to_json(), timestamp())
                )
            elif read_study(str(stored["content"])) != study:
                raise RatingError(
                    f"{self.path}: a study called {study.study_id!r} with other content is kept here; "
                    "give the new one its own --id, so that judgements stay with what was shown",
                    f"{self.path}：已有同名但内容不同的研究 {study.study_id!r}；"
                    "请用 --id 给新研究另取编号，以免评分与所见内容不符",
                )

    def studies(self) -> list[str]:
        """Ids of the studies kept, oldest first."""
        return [row["study_id"] for row in self.rows("SELECT study_id FROM study ORDER BY added_at, rowid")]

    def study(self, study_id: str) -> Study:
        """The study called *study_id*.

        Raises:
            RatingError: there is none.
        """
        if study_id not in self._studies:
            rows = self.rows("SELECT content FROM study WHERE study_id = ?", study_id)
            if not rows:
                present = ", ".join(self.studies()) or "none"
                raise RatingError(
                    f"{self.path}: no study {short(study_id)}; there are: {present}",
                    f"{self.path}：没有研究 {short(study_id)}；现有：{present}",
                )
            self._studies[study_id] = read_study(str(rows[0]["content"]))
        return self._studies[study_id]

    def is_enrolled(self, study_id: str, rater_id: str) -> bool:
        """Whether the rater has a queue in the study."""
        return bool(
            self.rows("SELECT 1 FROM enrolment WHERE study_id = ? AND rater_id = ?", study_id, rater_id)
        )

    def enrol(self, study_id: str, rater_id: str, *, skip_crises: bool = False) -> int:
        """Return the rater's index (from 0); the first call draws up their queue.

        Args:
            skip_crises: leave crisis cases out of it.

        Raises:
            RatingError: no such study, or an impossible name.
        """
        rater_id = check_rater(rater_id)
        study = self.study(study_id)
        with self.writing() as db:
            enrolled = db.execute(
                "SELECT rater_index FROM enrolment WHERE study_id = ? AND rater_id = ?", (study_id, rater_id)
            ).fetchone()
            if enrolled is not None:
                return int(enrolled["rater_index"])
            first = db.execute(
                "SELECT COALESCE(MAX(rater_index) + 1, 0) FROM (SELECT rater_index FROM enrolment WHERE study_id = ? "
                "UNION ALL SELECT rater_index FROM erasure WHERE study_id = ?)",
                (study_id, study_id),
            ).fetchone()[0]
            enrolments = db.execute("SELECT rater_index FROM enrolment WHERE study_id = ?", (study_id,))
            index = _next_index(study, int(first), [row["rater_index"] for row in enrolments])
            screens = [
                screen
                for screen in study.screens(index)
                if not (skip_crises and study.case(screen.case_id).crisis)
            ]
            db.execute("INSERT INTO enrolment VALUES (?, ?, ?, ?)", (study_id, rater_id, index, timestamp()))
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
                    for number, screen in enumerate(screens)
                    for slot, reply_id in enumerate(screen.reply_ids)
                ],
            )
        return int(index)

    def progress(self, study_id: str, rater_id: str) -> tuple[int, int]:
        """Screens done, and screens in all, of one rater."""
        row = self.rows(
            "SELECT COUNT(*) AS total, COALESCE(SUM(done), 0) AS done FROM (SELECT screen, MIN(EXISTS (SELECT 1 "
            "FROM judgement j WHERE j.item_id = i.item_id)) AS done FROM item i "
            "WHERE study_id = ? AND rater_id = ? GROUP BY screen)",
            study_id,
            rater_id,
        )[0]
        return int(row["done"]), int(row["total"])

    def next_screen(self, study_id: str, rater_id: str) -> int | None:
        """Number of the rater's first screen that is not done; None when all are."""
        row = self.rows(
            "SELECT MIN(screen) AS screen FROM item i WHERE study_id = ? AND rater_id = ? AND NOT EXISTS "
            "(SELECT 1 FROM judgement j WHERE j.item_id = i.item_id)",
            study_id,
            rater_id,
        )[0]
        return None if row["screen"] is None else int(row["screen"])

    def items(self, study_id: str, rater_id: str, screen: int) -> list[Item]:
        """Return the items of one screen in order; empty without such a screen."""
        rows = self.rows(
            "SELECT item_id, case_id, reply_id, repeat FROM item WHERE study_id = ? AND rater_id = ? AND screen = ? "
            "ORDER BY slot",
            study_id,
            rater_id,
            screen,
        )
        return [Item(**row) for row in map(dict, rows)]

    def case_of_item(self, rater_id: str, item_id: str) -> str | None:
        """Return the case of an item of the rater's queue; None elsewhere."""
        rows = self.rows("SELECT case_id FROM item WHERE item_id = ? AND rater_id = ?", item_id, rater_id)
        return str(rows[0]["case_id"]) if rows else None

    def screen_of_item(self, item_id: str) -> int | None:
        """Return the number of the screen that shows the item, or None."""
        rows = self.rows("SELECT screen FROM item WHERE item_id = ?", item_id)
        return int(rows[0]["screen"]) if rows else None

    def has_done_case(self, study_id: str, rater_id: str, case_id: str) -> bool:
        """Whether nothing of a case is left for the rater, repeats included."""
        left = self.rows(
            "SELECT 1 FROM item i WHERE study_id = ? AND rater_id = ? AND case_id = ? AND NOT EXISTS "
            "(SELECT 1 FROM judgement j WHERE j.item_id = i.item_id) LIMIT 1",
            study_id,
            rater_id,
            case_id,
        )
        return not left

    def raters(self, study_id: str) -> list[str]:
        """People enrolled in the study, in order of enrolment."""
        rows = self.rows("SELECT rater_id FROM enrolment WHERE study_id = ? ORDER BY rater_index", study_id)
        return [row["rater_id"] for row in rows]


def _next_index(study: Study, first: int, enrolled: list[int]) -> int:
    """The number of the next rater, from *first* on.

    It is the first whose part of the cases has the fewest raters: with raters per case, a rater who was erased leaves
    their part to whoever comes next.
    """
    if not study.is_partial:
        return first
    parts = [index % study.planned_raters for index in enrolled]
    return min(
        range(first, first + study.planned_raters), key=lambda n: parts.count(n % study.planned_raters)
    )
