"""A blind study: which replies are shown, to whom, in which order.

Makers' names are hidden in what is shown.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bakeoff.foundation.errors import RatingError
from bakeoff.judgement.hiding import hide_makers
from bakeoff.judgement.replies import Case, Reply
from bakeoff.scoring.reading import without_thinking

Layout = Literal["one-by-one", "side-by-side"]
LAYOUTS: tuple[Layout, ...] = ("one-by-one", "side-by-side")
Reference = Literal["none", "before", "after", "model"]
REFERENCES: tuple[Reference, ...] = ("none", "before", "after", "model")


@dataclass(frozen=True)
class ShownReply:
    """One reply as raters see it.

    Attributes:
        reply_id: what judgements refer to; a hash of case, subject and content.
        shown: the text on the screen; *found* lists the makers' names that it held.
        fingerprint: of the weights that answered; "" where nobody noted it.
    """

    reply_id: str
    case_id: str
    model: str
    variant: str
    text: str
    shown: str
    status: str
    found: tuple[str, ...]
    fingerprint: str = ""

    @property
    def subject(self) -> str:
        """``model/variant``."""
        return f"{self.model}/{self.variant}"


@dataclass(frozen=True)
class Practice:
    """A reply whose scores are known beforehand, to train raters with or to see whether they read.

    Attributes:
        scores: dimension -> point; a dimension that is not in it has no known score.
        messages_en, shown_en: the same in English, for whoever reads the page in English; empty: there is one text.
        why_zh, why_en: what raters are told afterwards.
    """

    key: str
    messages: tuple[dict[str, str], ...]
    shown: str
    scores: dict[str, int]
    why_zh: str = ""
    why_en: str = ""
    messages_en: tuple[dict[str, str], ...] = ()
    shown_en: str = ""


@dataclass(frozen=True)
class Screen:
    """What one rater sees at once: a case and one reply (one-by-one) or all replies (side-by-side).

    Attributes:
        repeat: 0 for the first showing, 1 where the rater sees the same again, to measure their consistency.
    """

    case_id: str
    reply_ids: tuple[str, ...]
    repeat: int


@dataclass(frozen=True)
class Study:
    """Cases x subjects, fixed before the first rater begins. Holds model names: for the owner only.

    Attributes:
        repeat_share: share of what a rater sees that is shown a second time, 0 to 0.5.
        missing: ``(case, subject, why)`` of replies that never came; stated in the results, shown to nobody.
        planned_raters, raters_per_case: each case goes to *raters_per_case* of *planned_raters* people; 0: to all.
        reference: who is shown what a good reply does: nobody ("none"), people and judge model before they score
            ("before"), people once they have scored ("after"), or a judge model alone ("model").
        training, attention: replies with known scores, shown before the others and among them; never counted.
    """

    study_id: str
    title: str
    layout: Layout
    seed: int
    repeat_share: float
    cases: tuple[Case, ...]
    replies: tuple[ShownReply, ...]
    missing: tuple[tuple[str, str, str], ...] = ()
    planned_raters: int = 0
    raters_per_case: int = 0
    reference: Reference = "model"
    training: tuple[Practice, ...] = ()
    attention: tuple[Practice, ...] = ()

    @property
    def is_partial(self) -> bool:
        """Whether a rater sees some of the cases only."""
        return 0 < self.raters_per_case < self.planned_raters

    @property
    def subjects(self) -> tuple[str, ...]:
        """``model/variant`` of everything compared, sorted."""
        return tuple(sorted({reply.subject for reply in self.replies}))

    def case(self, case_id: str) -> Case:
        """The case called *case_id*."""
        return next(case for case in self.cases if case.id == case_id)

    def case_for_model(self, case_id: str) -> Case:
        """Return the case as a judge model reads it.

        Without the reference points where the judge model must not see them.
        """
        case = self.case(case_id)
        return case if self.reference in ("before", "model") else replace(case, what_a_good_reply_does=())

    def reply(self, reply_id: str) -> ShownReply:
        """The reply called *reply_id*."""
        return next(reply for reply in self.replies if reply.reply_id == reply_id)

    def to_json(self) -> str:
        """The study as text; :func:`read_study` reads it."""
        content = asdict(self)
        for (
            name,
            default,
        ) in _LATER.items():  # so that a study of an earlier version keeps its text and its name
            if content[name] == default:
                del content[name]
        for practice in (*content.get("training", ()), *content.get("attention", ())):
            for name in ("messages_en", "shown_en"):
                if not practice[name]:
                    del practice[name]
        return json.dumps({"format": "bakeoff-study/1", **content}, ensure_ascii=False, indent=1)

    def cases_of(self, rater_index: int) -> list[Case]:
        """The cases that the rater of this number sees, in the study's order.

        With *raters_per_case*, places are dealt out in turn, crises first: every case goes to exactly as many
        raters, and no rater has two cases more than another. Whoever comes after the planned ones takes the part of
        an earlier rater.
        """
        if not self.is_partial:
            return list(self.cases)
        dealt = list(self.cases)
        random.Random(f"{self.seed}/{self.study_id}/dealt").shuffle(dealt)
        dealt.sort(key=lambda case: not case.crisis)
        part = rater_index % self.planned_raters
        mine = {
            case.id
            for place, case in enumerate(dealt)
            for copy in range(self.raters_per_case)
            if (place * self.raters_per_case + copy) % self.planned_raters == part
        }
        return [case for case in self.cases if case.id in mine]

    def screens(self, rater_index: int) -> list[Screen]:
        """The queue of the rater who enrolled as number *rater_index* (from 0).

        Cases come in random order. Within a case the replies follow a row of the Williams design, and rows are
        taken in turn over cases and raters, so that every subject stands at every position equally often (to
        within one) and follows every other one equally often. Repeats come from the first half of the queue and
        stand in the second.
        """
        chance = random.Random(f"{self.seed}/{self.study_id}/{rater_index}")
        subjects = list(self.subjects)
        random.Random(f"{self.seed}/{self.study_id}").shuffle(subjects)
        rows = williams(len(subjects))
        cases = self.cases_of(rater_index)
        chance.shuffle(cases)
        cell = {(reply.case_id, reply.subject): reply.reply_id for reply in self.replies}
        blocks: list[list[Screen]] = []
        for place, case in enumerate(cases):
            row = rows[(rater_index * len(cases) + place) % len(rows)]
            ids = [cell[case.id, subjects[s]] for s in row if (case.id, subjects[s]) in cell]
            if self.layout == "side-by-side":
                blocks.append([Screen(case.id, tuple(ids), 0)] if ids else [])
            else:
                blocks.append([Screen(case.id, (reply_id,), 0) for reply_id in ids])
        return self._with_repeats(blocks, chance, rater_index, subjects)

    def _with_repeats(
        self, blocks: list[list[Screen]], chance: random.Random, rater_index: int, subjects: list[str]
    ) -> list[Screen]:
        half = (len(blocks) + 1) // 2
        early = [screen for block in blocks[:half] for screen in block]
        repeats = round(self.repeat_share * sum(map(len, blocks)))
        if self.repeat_share > 0 and early:
            repeats = max(1, repeats)
        chance.shuffle(early)
        if self.layout == "one-by-one":
            of = {reply.reply_id: reply.subject for reply in self.replies}
            turn = {subject: (n - rater_index) % len(subjects) for n, subject in enumerate(subjects)}
            seen: dict[str, int] = {}
            rank: list[tuple[int, int, Screen]] = []
            for screen in early:
                subject = of[screen.reply_ids[0]]
                rank.append((seen.get(subject, 0), turn[subject], screen))
                seen[subject] = seen.get(subject, 0) + 1
            early = [screen for _, _, screen in sorted(rank, key=lambda each: each[:2])]
        late = [*blocks[half:], []]
        for screen in early[:repeats]:
            again = Screen(screen.case_id, tuple(reversed(screen.reply_ids)), 1)
            late[chance.randrange(len(late))].append(again)
        return [screen for block in [*blocks[:half], *late] for screen in block]


_LATER: dict[str, object] = {
    "planned_raters": 0,
    "raters_per_case": 0,
    "reference": "model",
    "training": (),
    "attention": (),
}


def williams(size: int) -> list[list[int]]:
    """Return the rows of a Williams design for *size* treatments.

    *size* rows when even, twice as many when odd. Each treatment stands equally often at each position and directly
    follows each other one equally often. E. J. Williams, Australian Journal of Scientific Research A 2 (1949)
    149-168.
    """
    first = [n // 2 if n % 2 == 0 else size - (n + 1) // 2 for n in range(size)]
    rows = [[(value + shift) % size for value in first] for shift in range(size)]
    return rows if size % 2 == 0 else rows + [row[::-1] for row in rows]


@dataclass(frozen=True, kw_only=True)
class Presentation:
    """How the replies of a study are shown; see :class:`Study` for layout, seed and repeats.

    Attributes:
        hide: replace makers' names in what is shown; with False they stay and are only listed as found.
        names: what else to hide, beside makers, rows of the matrix and served names.
    """

    layout: Layout = "one-by-one"
    seed: int = 0
    repeat_share: float = 0.1
    hide: bool = True
    names: tuple[str, ...] = ()


def build_study(
    replies: Iterable[Reply],
    cases: Sequence[Case],
    presentation: Presentation = Presentation(),
    *,
    study_id: str,
    title: str = "",
) -> Study:
    """Return a study of *replies* to *cases*; see :class:`Study`.

    Raises:
        RatingError: an impossible setting, a subject that answered a case twice or in another version, subjects
            that were asked with unlike settings, or nothing to show.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.\-]{0,63}", study_id):
        raise RatingError(
            f"study id {study_id!r}: letters, digits, '_', '.' and '-' only, at most 64",
            f"研究编号 {study_id!r} 只能含字母、数字、“_”“.”“-”，最多 64 个字符",
        )
    _check_presentation(study_id, presentation)
    by_id = {case.id: case for case in cases}
    replies = [reply for reply in replies if reply.case_id in by_id]
    _check_settings(study_id, replies)
    answered = _answered(study_id, replies, by_id)
    called = {name for reply in replies for name in (reply.model, reply.served_name) if len(name) > 2}
    shown = {
        key: _shown(study_id, reply, presentation, called)
        for key, reply in answered.items()
        if reply.status != "errored"
    }
    if not shown:
        raise RatingError(
            f"study {study_id}: no reply to show; gather replies to these cases first",
            f"研究 {study_id}：没有可展示的回复；请先收集模型对这些个案的回复",
        )
    missing = [
        (case_id, subject, reply.error or "errored")
        for (case_id, subject), reply in answered.items()
        if reply.status == "errored"
    ]
    subjects = sorted({subject for _, subject in answered})
    for case in cases:
        missing += [(case.id, each, "never asked") for each in subjects if (case.id, each) not in answered]
    return Study(
        study_id=study_id,
        title=title or study_id,
        layout=presentation.layout,
        seed=presentation.seed,
        repeat_share=presentation.repeat_share,
        cases=tuple(case for case in cases if any(key[0] == case.id for key in shown)),
        replies=tuple(shown[key] for key in sorted(shown)),
        missing=tuple(missing),
    )


def _check_presentation(study_id: str, presentation: Presentation) -> None:
    if presentation.layout not in LAYOUTS:
        raise RatingError(
            f"study {study_id}: layout {presentation.layout!r} is not known; one of {', '.join(LAYOUTS)}",
            f"研究 {study_id}：没有版式 {presentation.layout!r}；可选：{'、'.join(LAYOUTS)}",
        )
    if not 0 <= presentation.repeat_share <= 0.5:
        raise RatingError(
            f"study {study_id}: repeat_share {presentation.repeat_share} is outside 0..0.5",
            f"研究 {study_id}：重复比例 {presentation.repeat_share} 不在 0 到 0.5 之间",
        )


def _answered(
    study_id: str, replies: Iterable[Reply], cases: Mapping[str, Case]
) -> dict[tuple[str, str], Reply]:
    """Return (case, subject) -> its reply, or why there is none."""
    answered: dict[tuple[str, str], Reply] = {}
    for reply in replies:
        subject, case = f"{reply.model}/{reply.variant}", cases[reply.case_id]
        if (case.id, subject) in answered:
            raise RatingError(
                f"study {study_id}: {subject} answers case {case.id} twice; give one file each",
                f"研究 {study_id}：{subject} 对个案 {case.id} 有两份回复；每个模型请只给一个文件",
            )
        if reply.case_sha and reply.case_sha != case.sha:
            raise RatingError(
                f"study {study_id}: {subject} answered another version of case {case.id} "
                f"({reply.case_sha}, now {case.sha}); gather its replies again",
                f"研究 {study_id}：{subject} 回答的是个案 {case.id} 的另一版本"
                f"（{reply.case_sha}，现为 {case.sha}）；请重新收集它的回复",
            )
        answered[case.id, subject] = reply
    return answered


def _shown(study_id: str, reply: Reply, presentation: Presentation, called: set[str]) -> ShownReply:
    text, hidden = hide_makers(reply.text, {*called, *presentation.names})
    identity = f"{study_id}\0{reply.case_id}\0{reply.model}/{reply.variant}\0{reply.text}"
    return ShownReply(
        reply_id=hashlib.sha256(identity.encode()).hexdigest()[:16],
        case_id=reply.case_id,
        model=reply.model,
        variant=reply.variant,
        text=reply.text,
        shown=text if presentation.hide else without_thinking(reply.text),
        status=reply.status,
        found=tuple(hidden),
        fingerprint=reply.fingerprint,
    )


def _check_settings(study_id: str, replies: Sequence[Reply]) -> None:
    """Refuse replies that were generated with different settings.

    A longer limit alone makes better replies.
    """
    by_settings: dict[str, Reply] = {}
    for reply in replies:
        if reply.settings:
            by_settings.setdefault(json.dumps(reply.settings, sort_keys=True), reply)
    if len(by_settings) > 1:
        first, other = list(by_settings.values())[:2]
        apart = {
            key: (first.settings.get(key), other.settings.get(key))
            for key in sorted({*first.settings, *other.settings})
            if first.settings.get(key) != other.settings.get(key)
        }
        differences = ", ".join(f"{key} {left!r} and {right!r}" for key, (left, right) in apart.items())
        raise RatingError(
            f"study {study_id}: {first.model}/{first.variant} and {other.model}/{other.variant} were asked with unlike "
            f"settings ({differences}); gather one of them again",
            f"研究 {study_id}：{first.model}/{first.variant} 与 {other.model}/{other.variant} 的提问设置不同"
            f"（{differences}）；请重新收集其中一方的回复",
        )


def read_study(source: Path | str) -> Study:
    """The study in the file *source*, or in *source* itself when it is a text.

    Raises:
        RatingError: no such file, or not a study.
    """
    place = str(source) if isinstance(source, Path) else "study"
    try:
        data: dict[str, Any] = json.loads(
            source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        )
        if data.pop("format") != "bakeoff-study/1":
            raise ValueError("unknown format")
        data["cases"] = tuple(
            Case(
                **{
                    **c,
                    "messages": tuple(c["messages"]),
                    "what_a_good_reply_does": tuple(c["what_a_good_reply_does"]),
                }
            )
            for c in data["cases"]
        )
        data["replies"] = tuple(
            ShownReply(**{**reply, "found": tuple(reply["found"])}) for reply in data["replies"]
        )
        data["missing"] = tuple(tuple(each) for each in data["missing"])
        for name in ("training", "attention"):
            data[name] = tuple(
                Practice(
                    **{
                        **each,
                        "messages": tuple(each["messages"]),
                        "messages_en": tuple(each.get("messages_en", ())),
                    }
                )
                for each in data.get(name, ())
            )
        return Study(**data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RatingError(
            f"{place}: not a study ({error}); build one with `python -m judge study`",
            f"{place}：不是研究文件（{error}）；用 `python -m judge study` 新建",
        ) from None
