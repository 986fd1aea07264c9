"""Checks the replies of a speed run: what is no reply must not look fast.

EvalScope's client counts every stream under HTTP 200 as a success, and keeps all of them in a database beside its
figures. The checks are those of an evaluation, made after the clock has stopped.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bakeoff.endpoint.answers import Answer, BadAnswer, joined_parts, read_answer, why_no_reply
from bakeoff.foundation.error_texts import may_be_error_text, skeleton
from bakeoff.foundation.sentences import Template, joined
from bakeoff.foundation.texts import beginning_of

NO_REPLIES = Template(
    "evalscope.streamed.no_replies",
    "{count} of {total} replies are none ({reasons})",
    zh="{total} 条回复中有 {count} 条不是有效回复（{reasons}）",
    en="{count} of {total} replies are not valid ({reasons})",
)
NOT_STREAMED = Template(
    "evalscope.streamed.not_streamed",
    "{count} of {total} replies came whole where a stream was asked for, so that there is no time to the first token",
    zh="已请求流式输出，但 {total} 条回复中有 {count} 条一次性返回，无法测得首词元时间",
    en="{count} of {total} replies were not streamed as requested, so the time to the first token is unknown",
)
COUNTS_TOO_MANY = Template(
    "evalscope.streamed.counts_too_many",
    "the service counts {tokens} tokens in replies of {size} bytes, asked for at most {most} a reply",
    zh="服务统计了 {tokens} 个词元，而回复共 {size} 字节（每条最多 {most} 个词元）",
    en="the service reports {tokens} tokens for replies of {size} bytes; at most {most} per reply were requested",
)
NOT_COUNTED = Template(
    "evalscope.streamed.not_counted",
    "{count} of {total} replies came without a count of their tokens",
    zh="{total} 条回复中有 {count} 条未返回词元数",
)

_MOST_REASONS = 3
_TOKENS_A_BYTE = 2
"""No token is shorter than a byte; as many again may be special ones, which a text does not show."""


@dataclass(frozen=True)
class Checked:
    """The replies of one load, looked at.

    Attributes:
        succeeded: requests that EvalScope's client calls a success.
        reasons: how many of them are no reply, by the reason.
        not_streamed: how many came whole.
        why_not_tokens: why the service's count of tokens cannot be right; empty where it can.
    """

    succeeded: int
    reasons: Mapping[str, int]
    not_streamed: int = 0
    why_not_tokens: str = ""

    @property
    def bad(self) -> int:
        """How many of the successes are no reply."""
        return sum(self.reasons.values())

    @property
    def why_not(self) -> str:
        """What speaks against the figures; empty for nothing."""
        listed = Counter(self.reasons).most_common(_MOST_REASONS)
        return joined(
            [
                NO_REPLIES(
                    count=self.bad,
                    total=self.succeeded,
                    reasons=", ".join(f"{count} × {reason}" for reason, count in listed),
                )
                if self.bad
                else "",
                NOT_STREAMED(count=self.not_streamed, total=self.succeeded) if self.not_streamed else "",
                self.why_not_tokens,
            ]
        )


@dataclass(frozen=True)
class _Reply:
    prompt: str
    text: str
    streamed: bool
    tokens: int
    most_tokens: int
    why_none: str


def check_replies(database: Path, answers_as: str = "") -> Checked:
    """Check every reply in EvalScope's *database* of one load.

    Args:
        answers_as: the model that must have answered; empty where replies name none.
    """
    columns = "request, response_messages, completion_tokens, is_stream"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute(f"SELECT {columns} FROM result WHERE success = 1").fetchall()
    replies = [
        _reply(str(request), _unpacked(messages), tokens, bool(streamed), answers_as)
        for request, messages, tokens, streamed in rows
    ]
    repeated = _error_texts(replies)
    reasons = Counter(
        reply.why_none or repeated[skeleton(reply.text)]
        for reply in replies
        if reply.why_none or skeleton(reply.text) in repeated
    )
    whole = sum(not reply.streamed for reply in replies)
    return Checked(len(replies), reasons, whole, _why_not_tokens(replies))


class _Plain(pickle.Unpickler):
    """Reads lists, texts and numbers, and makes nothing else."""

    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a reply")


def _unpacked(column: object) -> list[object]:
    try:
        value = _Plain(io.BytesIO(base64.b64decode(str(column)))).load()
    except (ValueError, EOFError, pickle.UnpicklingError):
        return []
    return value if isinstance(value, list) else []


def _reply(
    request: str, messages: Sequence[object], tokens: object, streamed: bool, answers_as: str
) -> _Reply:
    body = json.loads(request)
    most = body.get("max_tokens") or body.get("max_completion_tokens") or 0
    text, why_none = "", ""
    try:
        answer = _joined(messages) if streamed else _whole(messages)
        text = answer.text + _thoughts(answer.raw)
        why_none = why_no_reply(answer) or _why_unfinished(answer, text, answers_as)
    except BadAnswer as error:
        why_none = str(error)
    return _Reply(
        prompt=json.dumps(body.get("messages"), ensure_ascii=False),
        text=text,
        streamed=streamed,
        tokens=tokens if isinstance(tokens, int) else 0,
        most_tokens=most if isinstance(most, int) else 0,
        why_none=why_none,
    )


def _why_unfinished(answer: Answer, text: str, answers_as: str) -> str:
    if answers_as and answer.model not in ("", answers_as):
        return f"{beginning_of(answer.model)!r} answered, {answers_as!r} was asked"
    if not text.strip():
        return "the reply is empty"
    return "" if answer.finish else "the reply broke off before its end"


def _whole(messages: Sequence[object]) -> Answer:
    if len(messages) != 1 or not isinstance(messages[0], dict):
        raise BadAnswer(f"no chat completion came: {beginning_of(messages[0] if messages else '')!r}")
    return read_answer(json.dumps(messages[0]).encode())


def _joined(messages: Sequence[object]) -> Answer:
    """The pieces of a stream as one answer.

    Raises:
        BadAnswer: they are none.
    """
    texts, thoughts, finish, names = [], [], "", {""}
    for piece in messages:
        choices = piece.get("choices") if isinstance(piece, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(piece, dict) or not isinstance(choice, dict):
            raise BadAnswer(f"a piece of the reply is no text: {beginning_of(piece)}")
        delta = choice.get("delta") or {}
        if not isinstance(delta, dict):
            raise BadAnswer(f"a piece of the reply is no text: {beginning_of(delta)}")
        texts.append(joined_parts(delta.get("content")))
        thoughts.append(_thoughts({"choices": [{"message": delta}]}))
        finish = str(choice.get("finish_reason") or finish)
        names.add(str(piece.get("model") or ""))
    if len(names) > 2:
        raise BadAnswer(f"several models answered at once: {beginning_of(', '.join(sorted(names - {''})))}")
    raw = {"choices": [{"message": {"reasoning_content": "".join(thoughts)}}]}
    return Answer("".join(texts), finish, max(names), "", raw)


def _thoughts(raw: Mapping[str, object]) -> str:
    """What the model thought before its reply, as far as it is shown."""
    choices = raw.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    message = choice.get("message") if isinstance(choice, dict) else None
    shown = [message.get(name) for name in ("reasoning_content", "reasoning") if isinstance(message, dict)]
    return next((text for text in shown if isinstance(text, str) and text), "")


def _error_texts(replies: Sequence[_Reply]) -> dict[str, str]:
    """The texts with which a service seems to fail, and the reason in words.

    One short text that speaks of a failure, in reply to three questions; see :func:`may_be_error_text`.
    """
    prompts: dict[str, set[str]] = {}
    for reply in replies:
        if not reply.why_none and may_be_error_text(reply.text):
            prompts.setdefault(skeleton(reply.text), set()).add(reply.prompt)
    return {
        text: f"several questions got the same error text: {beginning_of(text)!r}"
        for text, questions in prompts.items()
        if len(questions) >= 3
    }


def _why_not_tokens(replies: Sequence[_Reply]) -> str:
    good = [reply for reply in replies if not reply.why_none]
    tokens, size = sum(reply.tokens for reply in good), sum(len(reply.text.encode()) for reply in good)
    most = max((reply.most_tokens for reply in good), default=0)
    uncounted = sum(not reply.tokens for reply in good)
    if uncounted:
        return NOT_COUNTED(count=uncounted, total=len(good))
    over = any(reply.tokens > reply.most_tokens > 0 for reply in good)
    if good and (over or tokens > _TOKENS_A_BYTE * size):
        return COUNTS_TOO_MANY(tokens=tokens, size=size, most=most)
    return ""
