"""What a rater's page sends and gets: one message in, one screen out.

No model name ever leaves here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict

from bakeoff.foundation.errors import BakeoffError, RatingError
from bakeoff.judgement.arrangement import Arrangement, arrangement_of, current_study
from bakeoff.judgement.blind import Practice, Study
from bakeoff.judgement.messages import Answer, Request, fresh_answer, request_of
from bakeoff.judgement.progress import (
    SECONDS_PER_REPLY,
    attention_item,
    drafts_of,
    due_attention,
    events,
    keep_draft,
    next_training,
    note_event,
    own_judgements,
    practised,
    seconds_left,
)
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.refusals import refusal
from bakeoff.judgement.rows import comment, point
from bakeoff.judgement.rubric import COMMENTS, CRISIS_CHECKS, DIMENSIONS
from bakeoff.judgement.submissions import Judgement, check_rater


class Desk:
    """The blind study as raters meet it. Holds nothing of any rater: the store knows who is where.

    Args:
        study_id: the study of whoever was invited to no other.
        study_of: the study that a rater was invited to; None where to none in particular.
    """

    def __init__(
        self,
        store: RatingStore,
        study_id: str | None,
        study_of: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self.store = store
        self.study_id = study_id
        self.study_of = study_of
        if study_id is not None:
            store.study(study_id)

    def step(self, message: object, signed_in: str | None) -> Answer:
        """The next thing to show, after doing what *message* asks.

        Args:
            message: untrusted: ``{"action": "open" | "start" | "score" | "show" | "list" | "practise", "rater",
                "screen", "token", "verdicts", "consent", "skip_crises", "key", "scores"}``. Only "start" draws up a
                queue, so that looking at the page takes nobody's place.
            signed_in: the name the server vouches for; it wins over ``rater``, which counts only without sign-in.

        Returns:
            ``view`` is "name", "none" (no study), "welcome", "training", "feedback", "screen", "list", "done",
            "closed" or "refused" (leave the page as it is); ``error`` holds a refusal in words, and then nothing was
            kept.
        """
        request = request_of(message)
        fresh = fresh_answer(error="", rater="")
        claimed = signed_in or request.get("rater")
        try:
            if not claimed:
                current = current_study(self.store) or self.study_id
                return fresh | {"view": "name" if current else "none"}
            rater = self._rater(request, signed_in)
        except BakeoffError as error:
            return fresh | {"view": "refused" if signed_in else "name"} | refusal(error)
        fresh["rater"] = rater
        try:
            study_id = self.study_of(rater) or current_study(self.store) or self.study_id
            if study_id is None:
                return fresh | {"view": "none"}
            return fresh | self._answer(self.store.study(study_id), rater, request)
        except BakeoffError as error:
            return fresh | {"view": "refused"} | refusal(error)

    def keep_draft(self, message: object, signed_in: str | None) -> Answer:
        """Keep the draft ``{"rater", "item", "draft"}``; whether it is kept."""
        request = request_of(message)
        try:
            keep_draft(self.store, self._rater(request, signed_in), request.get("item"), request.get("draft"))
        except BakeoffError as error:
            return {"kept": False, **refusal(error)}
        return {"kept": True}

    @staticmethod
    def _rater(request: Request, signed_in: str | None) -> str:
        rater = check_rater(signed_in or request.get("rater"))
        if signed_in and request.get("rater") not in (None, "", signed_in):
            raise RatingError(
                f"you are signed in as {signed_in}; nobody hands in for another rater",
                f"您登录的是 {signed_in}，不能替别人提交",
            )
        return rater

    def _answer(self, study: Study, rater: str, request: Request) -> Answer:
        action = request.get("action")
        arrangement = arrangement_of(self.store, study.study_id)
        if not self.store.is_enrolled(study.study_id, rater):
            if not arrangement.is_open():
                return {"view": "closed", "title": study.title}
            if action != "start":
                return self._welcome(study, arrangement)
            self._begin(study, arrangement, rater, request)
        if action == "list":
            mine = own_judgements(self.store, study.study_id, rater)
            return self._shared(study, rater) | {"view": "list", "own": mine}
        if action == "practise":
            return self._practised(study, rater, request)
        training = next_training(self.store, study, rater) if arrangement.is_open() else None
        if training:
            return self._training(study, *training)
        shown: Answer = {}
        if action == "score":
            self._keep(study, rater, request)
            if study.reference == "after":
                shown = self._reference_after(study, rater, request)
        number = request.get("screen") if action == "show" else None
        return self._screen(study, rater, number) | shown

    def _welcome(self, study: Study, arrangement: Arrangement) -> Answer:
        screens = study.screens(0)
        crises = sum(study.case(screen.case_id).crisis for screen in screens)
        per_screen = len(study.subjects) if study.layout == "side-by-side" else 1
        return {
            "view": "welcome",
            "title": study.title,
            "layout": study.layout,
            "screens": len(screens),
            "crisis_screens": crises,
            "minutes": round(len(screens) * per_screen * SECONDS_PER_REPLY / 60),
            "training": len(study.training),
            "arrangement": asdict(arrangement),
        }

    def _begin(self, study: Study, arrangement: Arrangement, rater: str, request: Request) -> None:
        needs_consent = bool(arrangement.consent_zh or arrangement.consent_en)
        if needs_consent and request.get("consent") is not True:
            raise RatingError("please read and tick the statement of consent first", "请先阅读并勾选知情同意")
        skip = request.get("skip_crises") is True and arrangement.may_skip_crises
        self.store.enrol(study.study_id, rater, skip_crises=skip)
        text = {"zh": arrangement.consent_zh, "en": arrangement.consent_en} if needs_consent else {}
        note_event(self.store, study.study_id, rater, "consent", {"text": text, "skip_crises": skip})

    def _training(self, study: Study, place: int, practice: Practice) -> Answer:
        return {
            "view": "training",
            "title": study.title,
            "layout": "one-by-one",
            "place": place + 1,
            "of": len(study.training),
            "key": practice.key,
            "token": secrets.token_hex(16),
            "topic": "",
            "crisis": False,
            **_in_both_languages(practice),
            "replies": [
                {
                    "item": practice.key,
                    "text": practice.shown,
                    "text_en": practice.shown_en,
                    "status": "answered",
                    "verdict": None,
                }
            ],
        }

    def _practised(self, study: Study, rater: str, request: Request) -> Answer:
        practice = next((reply for reply in study.training if reply.key == request.get("key")), None)
        if practice is None:
            raise RatingError("no such training reply; reload the page", "没有这条练习回复，请刷新页面")
        verdict = Judgement.parse({"scores": request.get("scores")})
        unscored = {reply.key for reply in study.training} - {
            each["key"] for each in events(self.store, study.study_id, "training", rater)
        }
        result = practised(practice, verdict.scores)
        if practice.key in unscored:  # a double click counts once
            note_event(self.store, study.study_id, rater, "training", result)
        return {
            "view": "feedback",
            "title": study.title,
            "expected": practice.scores,
            "yours": dict(verdict.scores),
            "why_zh": practice.why_zh,
            "why_en": practice.why_en,
            "text": practice.shown,
            "text_en": practice.shown_en,
            "left": len(unscored - {practice.key}),
        }

    def _keep(self, study: Study, rater: str, request: Request) -> None:
        verdicts = request.get("verdicts")
        if not isinstance(verdicts, Mapping):
            raise RatingError(
                "verdicts: wanted an object of item -> judgement; reload the page", "数据不完整，请刷新页面"
            )
        parsed = {str(item): Judgement.parse(raw) for item, raw in verdicts.items()}
        for practice in study.attention:
            verdict = parsed.get(attention_item(study, rater, practice))
            if verdict is not None and len(parsed) == 1:
                note_event(
                    self.store, study.study_id, rater, "attention", practised(practice, verdict.scores)
                )
                return
        self.store.record(rater, request.get("token", ""), parsed)

    def _reference_after(self, study: Study, rater: str, request: Request) -> Answer:
        """The reference points of the case that was just finished.

        They wait for the last reply to the case, so that nobody scores one of them with more knowledge than the others.
        """
        verdicts = request.get("verdicts")
        first = str(next(iter(verdicts), "")) if isinstance(verdicts, Mapping) else ""
        case_id = self.store.case_of_item(rater, first)
        if case_id is None or not self.store.has_done_case(study.study_id, rater, case_id):
            return {}
        case = study.case(case_id)
        gist = next(each["content"] for each in reversed(case.messages) if each["role"] == "user")
        screen = self.store.screen_of_item(first)
        points = list(case.what_a_good_reply_does)
        return {"reference_after": points, "reference_gist": gist, "reference_screen": screen}

    def _shared(self, study: Study, rater: str) -> Answer:
        done, total = self.store.progress(study.study_id, rater)
        arrangement = arrangement_of(self.store, study.study_id)
        return {
            "done": done,
            "total": total,
            "title": study.title,
            "layout": study.layout,
            "seconds_left": round(seconds_left(self.store, study, rater, total - done)),
            "pause_after": arrangement.pause_after,
            "help_zh": arrangement.help_zh,
            "help_en": arrangement.help_en,
            "open": arrangement.is_open(),
        }

    def _screen(self, study: Study, rater: str, requested: object) -> Answer:
        shared = self._shared(study, rater)
        done, total = self.store.progress(study.study_id, rater)
        number = requested if type(requested) is int else self.store.next_screen(study.study_id, rater)
        if number is None:
            return shared | {"view": "done"}
        if not shared["open"] and type(requested) is not int:
            return shared | {"view": "closed"}
        if not 0 <= number < total:
            raise RatingError(f"screen {number} is outside 0..{total - 1}; reload the page")
        attention = (
            due_attention(self.store, study, rater, done, total) if type(requested) is not int else None
        )
        if attention:
            return shared | self._attention(study, rater, attention, number)
        items = self.store.items(study.study_id, rater, number)
        case = study.case(items[0].case_id)
        drafts = drafts_of(self.store, [item.item_id for item in items])
        verdicts = {item.item_id: self._verdict(item.item_id) for item in items}
        if not shared["open"] and not any(verdicts.values()):
            return shared | {"view": "closed"}
        seen = study.reference == "before" or (
            study.reference == "after" and self.store.has_done_case(study.study_id, rater, case.id)
        )
        return shared | {
            "view": "screen",
            "screen": number,
            "token": secrets.token_hex(16),
            "topic": case.topic,
            "crisis": case.crisis,
            "messages": [dict(message) for message in case.messages],
            "messages_en": [],
            "reference": list(case.what_a_good_reply_does) if seen else [],
            "replies": [
                {
                    "item": item.item_id,
                    "text": study.reply(item.reply_id).shown,
                    "text_en": "",
                    "status": study.reply(item.reply_id).status,
                    "verdict": verdicts[item.item_id],
                    "draft": drafts.get(item.item_id),
                }
                for item in items
            ],
        }

    def _attention(self, study: Study, rater: str, practice: Practice, number: int) -> Answer:
        item = attention_item(study, rater, practice)
        reply = {
            "item": item,
            "text": practice.shown,
            "text_en": practice.shown_en,
            "status": "answered",
            "verdict": None,
            "draft": None,
        }
        return {
            "view": "screen",
            "screen": number,
            "token": secrets.token_hex(16),
            "topic": "",
            "crisis": False,
            **_in_both_languages(practice),
            "reference": [],
            "replies": [reply],
        }

    def _verdict(self, item_id: str) -> Answer | None:
        row = self.store.of_item(item_id)
        if row is None:
            return None
        scored = row["outcome"] == "scored"
        return {
            "corrects": row["id"],
            "cannot_judge": not scored,
            "confidence": row["confidence"],
            "scores": {
                name: point(row, name) for name in DIMENSIONS if scored and point(row, name) is not None
            },
            "crisis": {
                name: bool(point(row, name)) for name in CRISIS_CHECKS if point(row, name) is not None
            },
            **{name: comment(row, name) for name in COMMENTS},
        }


def _in_both_languages(practice: Practice) -> Answer:
    return {
        "messages": [dict(message) for message in practice.messages],
        "messages_en": [dict(message) for message in practice.messages_en],
    }
