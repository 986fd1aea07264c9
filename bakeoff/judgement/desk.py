"""What a rater's page asks for and gets: one message in, one screen out; no model name ever leaves here."""

from __future__ import annotations

import html
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bakeoff.endpoint import stream
from bakeoff.errors import BakeoffError, RatingError, ServiceError
from bakeoff.judgement.raters import Raters
from bakeoff.judgement.ratings import (
    COMMENTS,
    CRISIS_CHECKS,
    DIMENSIONS,
    Judgement,
    RatingStore,
    check_rater,
)
from bakeoff.judgement.verdicts import summarise

MAX_MESSAGE_CHARS = 8_000
MAX_TURNS = 60
MAX_REPLY_TOKENS = 2048
MAX_REPLY_CHARS = 32_000
MAX_REPLY_S = 300.0
SHOW_EVERY_S = 0.1


class Desk:
    """The blind study *study_id* as raters meet it. Holds nothing of any rater: the store knows who is where."""

    def __init__(self, store: RatingStore, study_id: str) -> None:
        self.store = store
        self.study = store.study(study_id)

    def step(self, message: object, signed_in: str | None) -> dict[str, Any]:
        """The next thing to show, after doing what *message* asks.

        Args:
            message: untrusted: ``{"action": "open" | "start" | "score" | "show", "rater", "screen", "token",
                "verdicts"}``. Only "start" draws up a queue, so that looking at the page takes nobody's place.
            signed_in: the name the server vouches for; it wins over ``rater``, which counts only without sign-in.

        Returns:
            ``view`` is "name", "welcome", "screen", "done" or "refused" (leave the page as it is); ``error`` holds
            a refusal in words, and then nothing was kept.
        """
        said: Mapping[str, Any] = message if isinstance(message, Mapping) else {}
        fresh = {"nonce": secrets.token_hex(8), "error": "", "rater": ""}
        claimed = signed_in or said.get("rater")
        if not claimed:
            return fresh | {"view": "name"}
        try:
            rater = check_rater(claimed)
            if signed_in and said.get("rater") not in (None, "", signed_in):
                raise RatingError(
                    f"you are signed in as {signed_in}; nobody hands in for another rater",
                    f"你登录的是 {signed_in}，不能替别人提交",
                )
        except RatingError as error:
            return fresh | {"view": "refused" if signed_in else "name"} | refusal(error)
        fresh["rater"] = rater
        try:
            if not self.store.is_enrolled(self.study.study_id, rater):
                if said.get("action") != "start":
                    screens = len(self.study.screens(0))
                    return fresh | {"view": "welcome", "title": self.study.title, "screens": screens}
                self.store.enrol(self.study.study_id, rater)
            if said.get("action") == "score":
                self._keep(rater, said)
            wanted = said.get("screen") if said.get("action") == "show" else None
            return fresh | self._screen(rater, wanted)
        except BakeoffError as error:
            return fresh | {"view": "refused"} | refusal(error)

    def _keep(self, rater: str, said: Mapping[str, Any]) -> None:
        verdicts = said.get("verdicts")
        if not isinstance(verdicts, Mapping):
            raise RatingError("verdicts: wanted an object of item -> judgement; reload the page")
        parsed = {str(item): Judgement.parse(raw) for item, raw in verdicts.items()}
        self.store.record(rater, said.get("token", ""), parsed)

    def _screen(self, rater: str, wanted: object) -> dict[str, Any]:
        done, total = self.store.progress(self.study.study_id, rater)
        number = wanted if type(wanted) is int else self.store.next_screen(self.study.study_id, rater)
        shared = {"done": done, "total": total, "title": self.study.title, "layout": self.study.layout}
        if number is None:
            return shared | {"view": "done"}
        if not 0 <= number < total:
            raise RatingError(f"screen {number} is outside 0..{total - 1}; reload the page")
        items = self.store.items(self.study.study_id, rater, number)
        case = self.study.case(items[0].case_id)
        return shared | {
            "view": "screen",
            "screen": number,
            "token": secrets.token_hex(16),
            "topic": case.topic,
            "crisis": case.crisis,
            "messages": [dict(message) for message in case.messages],
            "replies": [
                {
                    "item": item.item_id,
                    "text": self.study.reply(item.reply_id).shown,
                    "status": self.study.reply(item.reply_id).status,
                    "verdict": self._verdict(item.item_id),
                }
                for item in items
            ],
        }

    def _verdict(self, item_id: str) -> dict[str, Any] | None:
        row = self.store.of_item(item_id)
        if row is None:
            return None
        scored = row["outcome"] == "scored"
        return {
            "corrects": row["id"],
            "cannot_judge": not scored,
            "confidence": row["confidence"],
            "scores": {name: row[name] for name in DIMENSIONS if scored},
            "crisis": {name: bool(row[name]) for name in CRISIS_CHECKS if row[name] is not None},
            **{name: row[name] for name in COMMENTS},
        }


class ChatDesk:
    """Free conversation with a named model, and scores for it: the guide's own way, not blind."""

    def __init__(
        self,
        store: RatingStore,
        services: Mapping[str, str],
        keys: Mapping[str, str] | None = None,
        revive: Callable[[str], bool] = lambda model: False,
    ) -> None:
        """Talk with *services* (name -> root).

        Args:
            revive: called with the name of a model that gave no whole reply; whether to ask it once more.
        """
        self.store = store
        self.revive = revive
        self.services = dict(services)
        self.keys = dict(keys or {})

    def say(
        self, model: object, talk: object, text: object
    ) -> Iterator[tuple[list[dict[str, str]], str, dict[str, str]]]:
        """The conversation with *text* and the growing reply of *model* added, escaped for showing.

        Yields:
            The conversation; what stays in the box to be sent; and what went wrong (see :func:`refusal`) or nothing. A
            message that got no whole reply leaves the conversation again: neither is it sent a second time, nor can
            a broken reply be scored.
        """
        messages = conversation(talk)
        if not isinstance(text, str) or not text.strip():
            yield _escaped(messages), "", {}
            return
        asked = [*messages, {"role": "user", "content": _plain(text[:MAX_MESSAGE_CHARS])}]
        yield _escaped(asked), "", {}
        try:
            url = self.services.get(model) if isinstance(model, str) else None
            if url is None:
                raise RatingError(
                    f"no such model; start the judge with --services; known: {', '.join(self.services)}",
                    "没有这个模型，请从列表中选择",
                )
            payload = {"model": model, "messages": asked, "temperature": 0, "max_tokens": MAX_REPLY_TOKENS}
            for reply in _paced(self._replies(str(model), url, payload)):
                yield _escaped([*asked, {"role": "assistant", "content": _plain(reply)}]), "", {}
        except RatingError as error:
            yield _escaped(messages), text, refusal(error)
        except Exception as error:  # whatever a service sends is an answer in words, and the page goes on
            yield _escaped(messages), text, refusal(_silence(str(model), error))

    def _replies(self, model: str, url: str, payload: dict[str, Any]) -> Iterator[str]:
        """Yield the reply as it grows, from its beginning again where the service had to be revived."""
        key = self.keys.get(model, "")
        try:
            yield from stream(url, payload, api_key_env=key)
        except Exception:
            if not self.revive(model):
                raise
            yield from stream(url, payload, api_key_env=key)

    def score(
        self, message: object, model: object, talk: object, spoken_with: object, signed_in: str | None
    ) -> dict[str, Any]:
        """Keep the scores in *message* for the conversation *talk* that was held with *model*; the next empty form.

        Args:
            spoken_with: whose replies *talk* holds; scores for any other model are refused.
        """
        said: Mapping[str, Any] = message if isinstance(message, Mapping) else {}
        fresh = {"nonce": secrets.token_hex(8), "error": "", "rater": signed_in or ""}
        claimed = signed_in or said.get("rater")
        if not claimed:
            return fresh | {"view": "name"}
        form = {"item": "chat", "text": "", "status": "answered", "verdict": None}
        screen = {
            "view": "screen",
            "screen": 0,
            "token": secrets.token_hex(16),
            "messages": [],
            "replies": [form],
        }
        try:
            fresh["rater"] = check_rater(claimed)
            if said.get("action") == "score":
                if not isinstance(model, str) or model not in self.services:
                    raise RatingError(
                        "no such model; choose one from the list", "没有这个模型，请从列表中选择"
                    )
                verdicts = said.get("verdicts")
                raw = verdicts.get("chat") if isinstance(verdicts, Mapping) else None
                verdict = Judgement.parse(raw)
                if conversation(talk) and spoken_with != model:
                    raise RatingError(
                        f"this conversation was not held with {model}; begin a new one and score that",
                        f"这段对话不是与 {model} 进行的，请重新开始对话后再评分",
                    )
                self.store.record_chat(
                    fresh["rater"], said.get("token", ""), model, conversation(talk), verdict
                )
        except BakeoffError as error:
            return fresh | {"view": "refused" if fresh["rater"] else "name"} | refusal(error)
        return fresh | screen


def refusal(error: BakeoffError) -> dict[str, str]:
    """*error* in both languages, as the page takes it."""
    chinese = getattr(error, "zh", "") or f"出了问题：{error}"
    return {"error": _plain(str(error)), "error_zh": _plain(chinese)}


def _paced(replies: Iterator[str]) -> Iterator[str]:
    """*replies* at most ten times a second, the last one in any case.

    Raises:
        ServiceError: a reply without end, in length or in time.
    """
    begin = shown = time.monotonic()
    pending: str | None = None
    for reply in replies:
        now = time.monotonic()
        if len(reply) > MAX_REPLY_CHARS or now - begin > MAX_REPLY_S:
            raise ServiceError(f"no end after {len(reply)} characters and {now - begin:.0f} s")
        pending = reply
        if now - shown >= SHOW_EVERY_S:
            yield reply
            shown, pending = now, None
    if pending is not None:
        yield pending


def _silence(model: str, error: Exception) -> RatingError:
    """What a rater is told of *error*: no address and no answer's text; those go to the owner's log."""
    print(f"judge: {model}: {type(error).__name__}: {error}"[:2000], file=sys.stderr, flush=True)
    status = re.search(r"\bHTTP \d{3}\b", str(error))
    detail = f" ({status[0]})" if status else ""
    return RatingError(
        f"the model does not answer{detail}; try again, or tell whoever runs this page",
        f"模型没有回答{detail}，请重试，或告诉本页的管理员",
    )


def _plain(text: str) -> str:
    # Half a character cannot be sent to a browser.
    return text.encode("utf-8", "replace").decode("utf-8")


def _escaped(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    # Gradio's chat keeps "harmless" HTML even with Markdown off, so an image in a reply would be fetched.
    return [{"role": turn["role"], "content": html.escape(turn["content"], quote=False)} for turn in messages]


def conversation(talk: object) -> list[dict[str, str]]:
    """The turns of an untrusted, escaped chat value as plain role and content, text parts only."""
    messages: list[dict[str, str]] = []
    for turn in talk if isinstance(talk, list) else []:
        if not isinstance(turn, Mapping) or turn.get("role") not in ("user", "assistant"):
            continue
        content = turn.get("content")
        parts = content if isinstance(content, list) else [content]
        texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
        text = "".join(part for part in texts if isinstance(part, str))
        messages.append(
            {"role": str(turn["role"]), "content": _plain(html.unescape(text))[:MAX_MESSAGE_CHARS]}
        )
    return messages[-MAX_TURNS:]


class ResultsDesk:
    """What the owner sees: names revealed, statistics, export."""

    def __init__(
        self, store: RatingStore, study_id: str | None, raters: Raters | None, open_to_all: bool
    ) -> None:
        self.store = store
        self.study_id = study_id
        self.raters = raters
        self.open_to_all = open_to_all

    def step(self, message: object, signed_in: str | None) -> dict[str, Any]:
        """Results, or (``{"action": "export"}``) the CSV; a refusal for anybody but the owner."""
        fresh = {"nonce": secrets.token_hex(8), "view": "refused", "why": ""}
        if self.raters is not None and not self.raters.is_owner(signed_in):
            return fresh | {"why": "owner"}
        if self.raters is None and not self.open_to_all:
            return fresh | {"why": "closed"}
        if isinstance(message, Mapping) and message.get("action") == "export":
            name = f"ratings-{self.study_id or 'all'}.csv"
            return fresh | {"view": "csv", "name": name, "csv": self.store.csv_text(self.study_id)}
        if self.study_id is None:
            return fresh | {"why": "nothing"}
        return fresh | {"view": "results", "results": summarise(self.store, self.study_id)}
