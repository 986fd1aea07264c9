"""Whether what a service sent is the reply of a model.

Evaluation, canary, judge and chat read answers through these checks.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from dataclasses import dataclass, replace
from typing import Any

from bakeoff.foundation.error_texts import is_error_text
from bakeoff.foundation.errors import ServiceError
from bakeoff.foundation.secrecy import redact, redacted
from bakeoff.foundation.texts import beginning_of, clean, decoded, kind_of

REPLIES = frozenset({200, 201, 203})
"""Status codes of a whole reply; 206 is a part of one, 202 and 204 are none."""
_FAILED_FINISH = re.compile(
    r"error|abort|cancel|fail|time.?out|network|interrupt|insufficient|filter|sensitive|safety|risk|block|prohibit"
    r"|recitation|moderat|violat|spii|malformed|censor",
    re.IGNORECASE,
)
_CUT_FINISH = re.compile(r"\w*(?:length|max_?(?:output_)?tokens|token_limit)", re.IGNORECASE)


class BadAnswer(ServiceError):
    """A service answered with HTTP 200, and what came is no reply of a model."""


class EndlessAnswer(BadAnswer):
    """An answer went past the size limit or the deadline; asking again would do the same."""


@dataclass(frozen=True)
class Answer:
    """A chat completion that passed every check.

    Attributes:
        text: what the model said; "" for null.
        model: the name that answered; "" where the service does not say.
        fingerprint: its ``system_fingerprint``, likewise.
        raw: the service's JSON, with the text joined and whole characters only.
    """

    text: str
    finish: str
    model: str
    fingerprint: str
    raw: dict[str, Any]


def joined_parts(content: object) -> str:
    """The text of *content*: a string, null, or a list of text parts.

    Raises:
        BadAnswer: it is anything else.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part if isinstance(part, str) else _part(part) for part in content]
        return "".join(texts)
    raise BadAnswer(f"the reply's content is no text but {kind_of(content)}: {beginning_of(content)}")


def _part(part: object) -> str:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    if isinstance(part, dict) and part.get("type") in ("thinking", "reasoning", "refusal"):
        return ""
    raise BadAnswer(f"a part of the reply is no text: {beginning_of(part)}")


class _Ambiguous(ValueError):
    """JSON says two things under one key."""


_ON_THE_WAY = frozenset([
    "choices", "index", "message", "delta", "role", "content", "refusal", "text", "type", "finish_reason", "model",
    "error", "logprobs", "token", "logprob", "top_logprobs",
])  # fmt: skip
"""Keys of a completion by which a reply is found, judged and read."""


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of *pairs*.

    Raises:
        _Ambiguous: a key on the way to the reply stands for two values: which of them is meant, nobody can tell.
    """
    value = dict(pairs)
    if len(value) < len(pairs):
        twins = [name for name, item in pairs if name in _ON_THE_WAY and item != value[name]]
        if twins:
            raise _Ambiguous(f"JSON came that says {twins[0]!r} twice")
    return value


def parsed(body: bytes, content_type: str = "") -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        BadAnswer: it is none, or too deep; says what came instead.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    if why := _why_not_utf8(body, content_type):
        raise BadAnswer(f"{why} came, where JSON is UTF-8: {_shown(body, content_type)}")
    text = body.decode("utf-8", "replace")
    try:
        value = clean(json.loads(text, object_pairs_hook=_without_twins))
    except _Ambiguous as error:
        raise BadAnswer(f"{error}: {_shown(body, content_type)}") from None
    except ValueError:
        raise BadAnswer(f"no JSON came: {_shown(body, content_type)}") from None
    except RecursionError:
        raise BadAnswer(f"JSON nested too deep came: {_shown(body, content_type)}") from None
    if not isinstance(value, dict):
        raise BadAnswer(f"no chat completion came but {kind_of(value)}: {_shown(body, content_type)}")
    return value


def _shown(body: bytes, content_type: str) -> str:
    return f"HTTP 200, {content_type.partition(';')[0] or 'no type'}, {beginning_of(decoded(body))!r}"


def _why_not_utf8(body: bytes, content_type: str) -> str:
    """What *body* is in place of UTF-8, in words; empty where it is.

    One half of a character is let pass: some services cut a reply by its bytes.
    """
    declared = re.search(r"charset\s*=\s*\"?([\w.:-]+)", content_type, re.IGNORECASE)
    name = declared[1] if declared else ""
    if name and not body.isascii():
        with contextlib.suppress(LookupError):
            if codecs.lookup(name).name not in ("utf-8", "utf-8-sig", "ascii", "iso8859-1"):
                return f"text in {name}"
    with contextlib.suppress(UnicodeDecodeError):
        body.decode()
        return ""
    halves = body.decode("utf-8", "replace").count("\ufffd") - body.count("\ufffd".encode())
    if halves <= 1:
        return ""
    with contextlib.suppress(UnicodeDecodeError):
        body.decode("gb18030")
        return "text in another encoding (GBK, it seems)"
    return "text that is no UTF-8"


def read_answer(body: bytes, content_type: str = "") -> Answer:
    """The chat completion in the *body* of an answer with HTTP 200.

    A service that knows a key may write it into a reply, too: secrets are crossed out before anything is kept.

    Raises:
        BadAnswer: it holds no reply of a model.
    """
    value = parsed(body, content_type)
    text = body.decode("utf-8", "replace")
    if redact(text) != text:  # one look at the whole is cheaper than one at each of its texts
        value = redacted(value)
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        what = value.get("error") or value.get("message") or value.get("detail") or value
        raise BadAnswer(f"HTTP 200 without a reply (no choices): {beginning_of(what)}")
    choice = _first(choices)
    value["choices"] = [choice]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise BadAnswer(f"HTTP 200 without a reply (no message): {beginning_of(choice)}")
    if why := _why_not_said(message):
        raise BadAnswer(why)
    text = joined_parts(message.get("content"))
    if not text.strip() and isinstance(refusal := message.get("refusal"), str) and refusal.strip():
        text = message["content"] = refusal  # the model did say something: that it does not answer
    finish = choice.get("finish_reason")
    if isinstance(finish, str) and _CUT_FINISH.fullmatch(finish):
        choice["finish_reason"] = finish = "length"  # one word for it, whoever writes MAX_TOKENS
    model, fingerprint = value.get("model"), value.get("system_fingerprint")
    message["content"] = None if message.get("content") is None else text
    answer = Answer(
        text,
        finish if isinstance(finish, str) else "",
        model if isinstance(model, str) else "",
        fingerprint if isinstance(fingerprint, str) else "",
        value,
    )
    if why := why_no_reply(answer):
        raise BadAnswer(why)
    return answer


def _first(choices: list[Any]) -> dict[str, Any]:
    """The first of *choices* by its number.

    Some services list the alternatives of several workers as they come.

    Raises:
        BadAnswer: several with other texts could be it.
    """
    listed = [choice for choice in choices if isinstance(choice, dict)]
    first = [choice for choice in listed if str(choice.get("index")) in ("0", "0.0")] or listed
    messages = [choice.get("message") for choice in first]
    contents = [message.get("content") if isinstance(message, dict) else message for message in messages]
    if any(content != contents[0] for content in contents):
        raise BadAnswer(f"{len(first)} replies came, none of which is the first: {beginning_of(contents)}")
    return first[0]


_SPEAKERS = {"assistant", "model", "ai", "bot", ""}


def _why_not_said(message: dict[str, Any]) -> str:
    """Why *message* is not what the model said, in words; "" where it is."""
    role = message.get("role")
    if role is None or (isinstance(role, str) and role.strip().lower() in _SPEAKERS):
        message["role"] = "assistant"
    else:
        return f"the reply is not the model's but of role {beginning_of(role)}: {beginning_of(message)}"
    calls = message.get("tool_calls") or message.get("function_call")
    if isinstance(calls, list | dict) and not message.get("content"):
        return f"a call of a tool came in place of a reply, and none was offered: {beginning_of(calls)}"
    return ""


def named_cut(answer: Answer, limit: object) -> Answer:
    """*answer*, its finish ``length`` where it has *limit* tokens.

    Some services call such a reply whole. Of few tokens a whole reply may have just as many, and more tokens than bytes
    are no count of its text.
    """
    usage = answer.raw.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if not isinstance(limit, int) or tokens not in (limit, limit + 1) or limit < _FEW_TOKENS:
        return answer
    if limit > len(answer.text.encode("utf-8", "replace")):
        return answer
    return replace(answer, finish="length")


_FEW_TOKENS = 32


def why_no_reply(answer: Answer) -> str:
    """Why *answer* is not what a model said, in words; empty where it is."""
    if answer.raw.get("error"):
        return f"error in the reply: {beginning_of(answer.raw['error'])}"
    if answer.finish == "content_filter":
        return f"the service's content filter {'cut' if answer.text else 'took'} the reply"
    if is_failed(answer.finish):
        return f"the reply ended with finish_reason {answer.finish}"
    if is_error_text(answer.text):
        return f"the reply is a service's error text: {beginning_of(answer.text)}"
    return ""


def is_failed(finish: str) -> bool:
    """Whether this finish_reason names a failure or a filter.

    Each vendor has words of its own: sensitive, SAFETY, network_error, insufficient_system_resource …
    """
    return bool(_FAILED_FINISH.search(finish))


def is_version_of(model: str, name: str) -> bool:
    """Whether *name* is *model*, or a dated or tagged version of it."""
    if name == model or not name:
        return True
    tag = name.removeprefix(model)
    return tag != name and bool(re.fullmatch(r"(?:[-@:._](?:v?\d[\d.\-]*|latest|preview|stable|exp))+", tag))
