"""The owner's studio: making a study, inviting raters, watching over it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypedDict, cast

from bakeoff.foundation.errors import BakeoffError, RatingError
from bakeoff.judgement.arrangement import (
    SUGGESTED,
    arrange,
    arrangement_of,
    changed,
    current_study,
    open_study,
)
from bakeoff.judgement.blind import (
    Presentation,
    Study,
    build_study,
)
from bakeoff.judgement.erasure import erase_identity, erase_judgements, erasures
from bakeoff.judgement.invitations import MOST_AT_ONCE, Invitations, link, qr_rows
from bakeoff.judgement.messages import Answer, Request, fresh_answer, request_of
from bakeoff.judgement.progress import SECONDS_PER_REPLY, case_balance, rater_progress
from bakeoff.judgement.raters import Raters
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.refusals import refusal
from bakeoff.judgement.replies import Case, Reply
from bakeoff.judgement.rubric import DIMENSIONS
from bakeoff.judgement.submissions import short
from bakeoff.judgement.wishes import Wish, practice
from bakeoff.statistics.study import outlook


@dataclass(frozen=True)
class Material:
    """What a study can be made of: gathered replies, the cases they answer, and what was left out and why."""

    replies: Sequence[Reply] = ()
    cases: Sequence[Case] = ()
    left_out: Sequence[str] = ()


class StudioDesk:
    """The studio tab: one message in, the state of all studies out; for owners only.

    Args:
        material: what the last run gathered, read anew for each request that needs it.
    """

    def __init__(
        self,
        store: RatingStore,
        raters: Raters | None,
        material: Callable[[], Material],
        study_id: str | None = None,
    ) -> None:
        self.store = store
        self.raters = raters
        self.material = material
        self.study_id = study_id
        self.invitations = Invitations(raters) if raters else None

    def is_open_to(self, signed_in: str | None) -> bool:
        """Whether this person may manage studies: owners who signed in."""
        return self.raters is not None and self.raters.is_owner(signed_in)

    def step(self, message: object, signed_in: str | None) -> Answer:
        """Do what *message* asks, and show where everything stands.

        Args:
            message: untrusted: ``{"action": "show" | "plan" | "make" | "open" | "arrange" | "invite" |
                "renew" | "remove" | "erase", …}``.
        """
        fresh = fresh_answer(view="refused", error="")
        if not self.is_open_to(signed_in):
            return fresh | {"why": "owner"}
        request = request_of(message)
        actions: dict[object, Callable[[Request, str], Answer]] = {
            "plan": self._plan,
            "make": self._make,
            "open": self._open,
            "arrange": self._arrange,
            "invite": self._invite,
            "renew": self._renew,
            "remove": self._remove,
            "erase": self._erase,
        }
        try:
            action = request.get("action")
            work = actions.get(action) if isinstance(action, str) else None
            done = work(request, str(signed_in)) if work else {}
            return fresh | {"view": "studio"} | self._state() | done
        except BakeoffError as error:
            return fresh | {"view": "trouble"} | refusal(error)

    def _state(self) -> Answer:
        material = self.material()
        current = current_study(self.store) or self.study_id
        return {
            "subjects": _subjects(material),
            "cases": _shown_cases(material),
            "left_out": list(material.left_out),
            "practice": {part: len(practice(part)) for part in ("training", "attention")},
            "suggested": asdict(SUGGESTED),
            "studies": [self._study(name, current) for name in reversed(self.store.studies())],
            "current": current,
            "people": self.invitations.listed() if self.invitations else [],
        }

    def _study(self, name: str, current: str | None) -> Answer:
        study, arrangement = self.store.study(name), arrangement_of(self.store, name)
        return {
            "id": name,
            "title": study.title,
            "subjects": list(study.subjects),
            "cases": len(study.cases),
            "crises": sum(case.crisis for case in study.cases),
            "layout": study.layout,
            "reference": study.reference,
            "planned_raters": study.planned_raters,
            "raters_per_case": study.raters_per_case,
            "training": len(study.training),
            "attention": len(study.attention),
            "is_current": name == current,
            "is_open": arrangement.is_open(),
            "arrangement": asdict(arrangement),
            "progress": rater_progress(self.store, study),
            "balance": case_balance(self.store, study),
            "erased": erasures(self.store, name),
        }

    # -- making one

    def _build(self, wish: Wish, study_id: str) -> Study:
        material = self.material()
        case_ids = {case.id for case in material.cases}
        strange = [name for name in wish.cases if name not in case_ids]
        if strange:
            raise RatingError(f"no case {short(strange[0])}; reload the page")
        chosen = [reply for reply in material.replies if f"{reply.model}/{reply.variant}" in wish.subjects]
        missing = set(wish.subjects) - {f"{reply.model}/{reply.variant}" for reply in chosen}
        if missing:
            raise RatingError(f"no replies of {short(sorted(missing)[0])}; reload the page")
        study = build_study(
            chosen,
            [case for case in material.cases if case.id in wish.cases],
            Presentation(layout=wish.layout, seed=secrets.randbelow(2**31), repeat_share=wish.repeats),
            study_id=study_id,
            title=wish.title,
        )
        return replace(
            study,
            planned_raters=wish.raters,
            raters_per_case=wish.raters_per_case,
            reference=wish.reference,
            training=(*practice("training")[: wish.training], *wish.own_training),
            attention=practice("attention")[: wish.attention],
        )

    def _plan(self, request: Request, _: str) -> Answer:
        wish = Wish.parse(request.get("wish"))
        study = self._build(wish, "plan")
        shown = {case.id for case in study.cases}
        unanswered = [
            case.title for case in self.material().cases if case.id in wish.cases and case.id not in shown
        ]
        return {"plan": {**plan_of(study, wish.raters), "unanswered": unanswered}}

    def _make(self, request: Request, owner: str) -> Answer:
        wish = Wish.parse(request.get("wish"))
        texts = request.get("arrangement")
        arrangement = changed(SUGGESTED, dict(texts) if isinstance(texts, Mapping) else {})
        if not arrangement.is_open():
            raise RatingError(
                "the deadline is over already, or the study frozen: nobody could rate; choose a later date",
                "截止时间已过（或研究已冻结），没有人能评分，请选择更晚的时间",
            )
        study = self._build(wish, f"study-{secrets.token_hex(4)}")
        self.store.add_study(study)
        arrange(self.store, study.study_id, asdict(arrangement), owner)
        open_study(self.store, study.study_id, owner)
        return {"made": study.study_id}

    # -- running it

    def _chosen(self, request: Request) -> str:
        study_id = request.get("study")
        if not isinstance(study_id, str):
            raise RatingError("study: wanted a name")
        return self.store.study(study_id).study_id

    def _open(self, request: Request, owner: str) -> Answer:
        open_study(self.store, self._chosen(request), owner)
        return {}

    def _arrange(self, request: Request, owner: str) -> Answer:
        changes = request.get("changes")
        if not isinstance(changes, Mapping):
            raise RatingError("changes: wanted an object")
        arrange(self.store, self._chosen(request), cast(Mapping[str, object], changes), owner)
        return {"arranged": True}

    def _invite(self, request: Request, _: str) -> Answer:
        assert self.invitations
        labels, count, days = request.get("labels", []), request.get("count", 1), request.get("days", 14)
        if (
            not isinstance(labels, list)
            or type(count) is not int
            or not 0 < max(count, len(labels)) <= MOST_AT_ONCE
        ):
            raise RatingError(f"invite 1 to {MOST_AT_ONCE} people at once", f"一次可邀请 1–{MOST_AT_ONCE} 人")
        study_id, base = self._chosen(request), request.get("base")
        link(base, "")
        labels = [*labels, *[""] * (count - len(labels))]
        invited = [self.invitations.invite(study_id, label, days) for label in labels]
        return {"links": [self._link(base, each.rater, each.token, each.expires) for each in invited]}

    def _renew(self, request: Request, _: str) -> Answer:
        assert self.invitations
        link(request.get("base"), "")
        invitation = self.invitations.again(str(request.get("rater")), request.get("days", 14))
        return {
            "links": [self._link(request.get("base"), invitation.rater, invitation.token, invitation.expires)]
        }

    @staticmethod
    def _link(base: object, rater: str, token: str, expires: float) -> Answer:
        address = link(base, token)
        return {"rater": rater, "link": address, "expires": expires, "qr": qr_rows(address)}

    def _remove(self, request: Request, owner: str) -> Answer:
        assert self.raters
        self._not_oneself(request, owner)
        self.raters.remove(str(request.get("rater")))
        return {}

    def _erase(self, request: Request, owner: str) -> Answer:
        self._not_oneself(request, owner)
        if request.get("what") not in ("identity", "judgements"):
            raise RatingError("erase: wanted identity or judgements")
        work = erase_judgements if request["what"] == "judgements" else erase_identity
        erased = work(self.store, str(request.get("rater")), self.raters)
        return {"gone": {"called": erased.called, "judgements": erased.judgements}}

    def _not_oneself(self, request: Request, owner: str) -> None:
        if request.get("rater") == owner or (self.raters and self.raters.is_owner(str(request.get("rater")))):
            raise RatingError("an owner is removed on the command line only", "负责人只能在命令行中移除")


class CaseShown(TypedDict):
    """A case in a list, and whether any model replied to it."""

    id: str
    title: str
    topic: str
    crisis: bool
    turns: int
    answered: bool


def _shown_cases(material: Material) -> list[CaseShown]:
    answered = {reply.case_id for reply in material.replies if reply.status != "errored"}
    return [
        {
            "id": case.id,
            "title": case.title,
            "topic": case.topic,
            "crisis": case.crisis,
            "turns": len(case.messages),
            "answered": case.id in answered,
        }
        for case in material.cases
    ]


class Choice(TypedDict):
    """A model that a study can show, and whether it is chosen at first."""

    subject: str
    replies: int
    chosen: bool


def _subjects(material: Material) -> list[Choice]:
    counts: dict[str, int] = {}
    for reply in material.replies:
        counts.setdefault(f"{reply.model}/{reply.variant}", 0)
        counts[f"{reply.model}/{reply.variant}"] += reply.status != "errored"
    return [
        {"subject": name, "replies": count, "chosen": name.endswith("/tuned")}
        for name, count in sorted(counts.items())
    ]


class StudyPlan(TypedDict):
    """What a study asks of raters, and what it will be able to show, see :func:`plan_of`."""

    screens: int
    hours: float
    total_hours: float
    ratings_per_case: int
    counselling: int
    crisis: int
    detectable: float | None
    outlook: str
    outlook_zh: str


def plan_of(study: Study, raters: int) -> StudyPlan:
    """What the study asks of each rater, and what it will be able to show.

    Returns:
        screens and hours (of the rater with most), total_hours, ratings_per_case, counselling and crisis (cases),
        detectable (points; None where nothing could come out), outlook and outlook_zh in words.
    """
    queues = [study.screens(index) for index in range(study.planned_raters or raters)]
    replies = [sum(len(screen.reply_ids) for screen in queue) for queue in queues]
    per_case = study.raters_per_case or raters
    counselling = sum(not case.crisis for case in study.cases)
    expected = outlook(counselling, len(study.subjects), raters=per_case, dimensions=len(DIMENSIONS))
    least, (english, chinese) = expected.detectable, expected.words
    if study.is_partial:
        english += "; with partial assignment differences are tested by a mixed model of cases and raters"
        chinese += "；部分分配时，差异由个案与评分者的混合效应模型检验"
    return {
        "screens": max(map(len, queues)),
        "hours": max(replies) * SECONDS_PER_REPLY / 3600,
        "total_hours": sum(replies) * SECONDS_PER_REPLY / 3600,
        "ratings_per_case": per_case,
        "counselling": counselling,
        "crisis": len(study.cases) - counselling,
        "detectable": least if math.isfinite(least) else None,
        "outlook": english,
        "outlook_zh": chinese,
    }
