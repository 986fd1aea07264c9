"""The chat tab: talk with a model whose name is shown, then score it."""

from __future__ import annotations

import html
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping

from bakeoff.endpoint.streams import stream
from bakeoff.foundation.errors import BakeoffError, RatingError, ServiceError
from bakeoff.judgement.messages import Answer, fresh_answer, request_of
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.refusals import plain, refusal
from bakeoff.judgement.submissions import Judgement, check_rater

MAX_MESSAGE_CHARS = 8_000
MAX_TURNS = 60
MAX_REPLY_TOKENS = 2048
MAX_REPLY_CHARS = 32_000
MAX_REPLY_S = 300.0
SHOW_EVERY_S = 0.1


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
        """Yield the conversation with *text* and the growing reply of *model*.

        All of it is escaped for showing.

        Yields:
            The conversation; what stays in the box to be sent; and what went wrong (see :func:`refusal`) or nothing. A
            message that got no whole reply leaves the conversation again: neither is it sent a second time, nor can
            a broken reply be scored.
        """
        messages = conversation(talk)
        if not isinstance(text, str) or not text.strip():
            yield _escaped(messages), "", {}
            return
        turns = [*messages, {"role": "user", "content": plain(text[:MAX_MESSAGE_CHARS])}]
        yield _escaped(turns), "", {}
        try:
            url = self.services.get(model) if isinstance(model, str) else None
            if url is None:
                raise RatingError(
                    f"no such model; start the judge with --services; known: {', '.join(self.services)}",
                    "没有这个模型，请从列表中选择",
                )
            payload: dict[str, object] = {
                "model": model,
                "messages": turns,
                "temperature": 0,
                "max_tokens": MAX_REPLY_TOKENS,
            }
            for reply in _paced(self._replies(str(model), url, payload)):
                yield _escaped([*turns, {"role": "assistant", "content": plain(reply)}]), "", {}
        except RatingError as error:
            yield _escaped(messages), text, refusal(error)
        except Exception as error:  # whatever a service sends is an answer in words, and the page goes on
            yield _escaped(messages), text, refusal(_silence(str(model), error))

    def _replies(self, model: str, url: str, payload: dict[str, object]) -> Iterator[str]:
        """Yield the reply as it grows; from its beginning again after a revival."""
        key = self.keys.get(model, "")
        try:
            yield from stream(url, payload, api_key_env=key)
        except Exception:
            if not self.revive(model):
                raise
            yield from stream(url, payload, api_key_env=key)

    def score(
        self, message: object, model: object, talk: object, spoken_with: object, signed_in: str | None
    ) -> Answer:
        """Keep the scores in *message* for *talk*; return the next empty form.

        Args:
            spoken_with: whose replies *talk* holds; scores for any other model are refused.
        """
        request = request_of(message)
        rater = signed_in or ""
        fresh = fresh_answer(error="", rater=rater)
        claimed = signed_in or request.get("rater")
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
            fresh["rater"] = rater = check_rater(claimed)
            if request.get("action") == "score":
                if not isinstance(model, str) or model not in self.services:
                    raise RatingError(
                        "no such model; choose one from the list", "没有这个模型，请从列表中选择"
                    )
                verdicts = request.get("verdicts")
                raw = verdicts.get("chat") if isinstance(verdicts, Mapping) else None
                verdict = Judgement.parse(raw)
                if conversation(talk) and spoken_with != model:
                    raise RatingError(
                        f"this conversation was not held with {model}; begin a new one and score that",
                        f"这段对话不是与 {model} 进行的，请重新开始对话后再评分",
                    )
                self.store.record_chat(rater, request.get("token", ""), model, conversation(talk), verdict)
        except BakeoffError as error:
            return fresh | {"view": "refused" if rater else "name"} | refusal(error)
        return fresh | screen


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
    """Return what a rater may read of *error*.

    No address and no text of an answer; those go to the owner's log.
    """
    print(f"judge: {model}: {type(error).__name__}: {error}"[:2000], file=sys.stderr, flush=True)
    status = re.search(r"\bHTTP \d{3}\b", str(error))
    detail = f" ({status[0]})" if status else ""
    return RatingError(
        f"the model does not answer{detail}; try again, or tell whoever runs this page",
        f"模型没有回答{detail}，请重试，或告诉研究负责人",
    )


def _escaped(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    # Gradio's chat keeps "harmless" HTML even with Markdown off, so an image in a reply would be fetched.
    return [{"role": turn["role"], "content": html.escape(turn["content"], quote=False)} for turn in messages]


def conversation(talk: object) -> list[dict[str, str]]:
    """Return the turns of an untrusted, escaped chat value.

    Plain role and content, text parts only.
    """
    messages: list[dict[str, str]] = []
    for turn in talk if isinstance(talk, list) else []:
        if not isinstance(turn, Mapping) or turn.get("role") not in ("user", "assistant"):
            continue
        content = turn.get("content")
        parts = content if isinstance(content, list) else [content]
        texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
        text = "".join(part for part in texts if isinstance(part, str))
        messages.append(
            {"role": str(turn["role"]), "content": plain(html.unescape(text))[:MAX_MESSAGE_CHARS]}
        )
    return messages[-MAX_TURNS:]
