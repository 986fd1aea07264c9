"""What the owner may change while a study runs, with its history.

Texts for raters, deadline, freeze; every change is kept.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import NamedTuple

from bakeoff.foundation.errors import RatingError, StoreError
from bakeoff.foundation.texts import has_half_character
from bakeoff.judgement.database import Database, stored_object, timestamp
from bakeoff.judgement.submissions import short

MOST_TEXT_CHARS = 4_000
TEXTS = ("purpose", "consent", "warning", "help")
NO_PAUSE_ZH = "建议休息前的条数应为 0 到 1000 的整数（0＝不提示）"


class Words(NamedTuple):
    """A sentence in both languages."""

    english: str
    chinese: str


CLOSED = Words(
    "the study is closed (frozen, or past its deadline); nothing more can be handed in",
    "研究已结束（已冻结或已过截止时间），不能再提交评分",
)


@dataclass(frozen=True)
class Arrangement:
    """How raters are received.

    Attributes:
        purpose, consent, warning, help: texts, ``_zh`` and ``_en``; with a consent text raters have to tick it before
            they begin, with *warning* and *help* they read both first, and *help* stays in reach on every crisis case.
        may_skip_crises: raters may leave crisis cases out.
        pause_after: a break is proposed after so many replies; 0 never.
        deadline: date and time (ISO 8601, with its zone) after which nothing is taken; "" for none.
        frozen: nothing is taken any more.
    """

    purpose_zh: str = ""
    purpose_en: str = ""
    consent_zh: str = ""
    consent_en: str = ""
    warning_zh: str = "部分个案涉及自杀、自伤等内容，可能引起不适。您可以随时暂停或退出。"
    warning_en: str = (
        "Some cases deal with suicide or self-harm and may be upsetting. You can pause or stop at any time."
    )
    help_zh: str = "如需支持：心理援助热线 12356；紧急情况请拨打 110 或 120。"
    help_en: str = (
        "If you need support yourself, call your local crisis line (China: 12356; emergencies: 110 or 120)."
    )
    may_skip_crises: bool = True
    pause_after: int = 20
    deadline: str = ""
    frozen: bool = False

    def is_open(self) -> bool:
        """Whether judgements are taken now."""
        return not self.frozen and (
            not self.deadline or datetime.now(UTC) <= datetime.fromisoformat(self.deadline)
        )


SUGGESTED = Arrangement(
    purpose_zh="本研究比较不同语言模型对心理咨询求助的回复。您将看到求助内容和匿名回复，请按评分标准打分；模型名称始终隐藏。",
    purpose_en=(
        "This study compares how language models reply to people who seek counselling. You will see a case and "
        "anonymous replies, and score them by a rating guide; model names stay hidden."
    ),
    consent_zh=(
        "我自愿参加，已知晓可以随时退出且无需说明理由；我的评分以编号保存，仅用于本研究；我可以要求删除我的身份信息或全部评分。"
    ),
    consent_en=(
        "I take part of my own free will and may stop at any time without giving a reason. My ratings are stored under "
        "a code and used for this study only. I can ask to have my identity, or all of my ratings, erased."
    ),
)
"""What the owner starts from when making a study."""


def arrangement_of(store: Database, study_id: str) -> Arrangement:
    """How the raters of the study are received now."""
    rows = store.rows(
        "SELECT content FROM setting WHERE study_id = ? AND name = 'arrangement' ORDER BY id DESC LIMIT 1",
        study_id,
    )
    return _arrangement(rows[0]["content"]) if rows else Arrangement()


def changed(arrangement: Arrangement, changes: Mapping[str, object]) -> Arrangement:
    """*arrangement* with what *changes* names.

    Raises:
        RatingError: an unknown name, or a value of the wrong type or length.
    """
    kinds = {each.name: type(each.default) for each in fields(Arrangement)}
    for name, value in changes.items():
        if name not in kinds:
            raise RatingError(
                f"{short(name)}: no such setting; there are: {', '.join(kinds)}",
                f"没有这项设置：{short(name)}；可用的有：{'、'.join(kinds)}",
            )
        if type(value) is not kinds[name]:
            chinese = NO_PAUSE_ZH if name == "pause_after" else ""
            raise RatingError(f"{name}: {short(value)} is of the wrong type", chinese)
        if isinstance(value, str):
            _check_text(name, value)
        if name == "pause_after" and not 0 <= int(str(value)) <= 1000:
            raise RatingError(f"pause_after: {short(value)} is outside 0..1000", NO_PAUSE_ZH)
    return replace(arrangement, **changes)  # type: ignore[arg-type]


def arrange(store: Database, study_id: str, changes: Mapping[str, object], owner: str) -> Arrangement:
    """Change what *changes* names; the new arrangement.

    Raises:
        RatingError: as :func:`changed`.
    """
    arrangement = changed(arrangement_of(store, study_id), changes)
    with store.writing() as db:
        put_setting(db, study_id, "arrangement", asdict(arrangement), owner)
    return arrangement


def _check_text(name: str, value: str) -> None:
    if len(value) > MOST_TEXT_CHARS:
        raise RatingError(
            f"{name}: {len(value):,} characters; at most {MOST_TEXT_CHARS:,}",
            f"{name} 有 {len(value):,} 个字，最多 {MOST_TEXT_CHARS:,} 个，请缩短",
        )
    if has_half_character(value):
        raise RatingError(f"{name}: holds half a character", f"{name}：含有不完整的字符，请重新输入")
    if name == "deadline" and value:
        try:
            aware = datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            aware = False
        if not aware:
            raise RatingError(
                f"deadline: {short(value)} is no date and time with a zone, such as 2027-01-31T18:00+08:00",
                f"截止时间 {short(value)} 无法识别",
            )


def put_setting(db: sqlite3.Connection, study_id: str, name: str, content: object, owner: str) -> None:
    """Note a setting inside a transaction; the newest of a name counts."""
    db.execute(
        "INSERT INTO setting (study_id, name, content, set_by, created_at) VALUES (?, ?, ?, ?, ?)",
        (study_id, name, json.dumps(content, ensure_ascii=False), owner, timestamp()),
    )


def _arrangement(text: object) -> Arrangement:
    content = stored_object(text)
    try:
        return Arrangement(**content)  # type: ignore[arg-type] # checked before it was kept
    except TypeError:
        raise StoreError(
            "the store of judgements is damaged, or of a later version: it arranges a study in an unknown way"
        ) from None


def is_open(db: sqlite3.Connection, study_id: str) -> bool:
    """Whether the study takes judgements, seen from inside a transaction."""
    row = db.execute(
        "SELECT content FROM setting WHERE study_id = ? AND name = 'arrangement' ORDER BY id DESC LIMIT 1",
        (study_id,),
    ).fetchone()
    return row is None or _arrangement(row["content"]).is_open()


def current_study(store: Database) -> str | None:
    """The study that the owner opened to raters last, if any."""
    rows = store.rows("SELECT study_id FROM setting WHERE name = 'current' ORDER BY id DESC LIMIT 1")
    return str(rows[0]["study_id"]) if rows else None


def open_study(store: Database, study_id: str, owner: str) -> None:
    """Let raters meet this study who were invited to no other."""
    with store.writing() as db:
        put_setting(db, study_id, "current", True, owner)
