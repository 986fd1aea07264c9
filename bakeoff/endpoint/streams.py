"""Asks a service for a chat completion and gives it as it grows."""

from __future__ import annotations

import codecs
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping

import requests

from bakeoff.endpoint.address import http_session, key_of, shown_url
from bakeoff.endpoint.answers import BadAnswer, is_failed, joined_parts, parsed, read_answer
from bakeoff.endpoint.transfer import MAX_BYTES, arriving, in_pieces, post
from bakeoff.foundation.error_texts import is_error_text
from bakeoff.foundation.errors import ServiceError
from bakeoff.foundation.secrecy import redact
from bakeoff.foundation.texts import beginning_of, why_untrusted, words_of


def pieces_of(lines: Iterable[bytes]) -> Iterator[tuple[str, bool]]:
    """The pieces of a streamed reply, each with whether it is the last.

    Raises:
        BadAnswer: an event is no piece of a reply.
    """
    for name, data in _events(lines):
        if data == b"[DONE]":
            yield "", True
            continue
        event = parsed(data, "text/event-stream")
        if event.get("error") or name == b"error" or _is_failure(event):
            raise BadAnswer(f"error in the reply: {beginning_of(event.get('error') or event)}")
        choices = event.get("choices") or ()
        if not isinstance(choices, list | tuple):
            raise BadAnswer(f"a piece of the reply is no text: {beginning_of(choices)}")
        for choice in choices:
            if not isinstance(choice, dict):
                raise BadAnswer(f"a piece of the reply is no text: {beginning_of(choice)}")
            if choice.get("index") not in (0, "0", None):
                continue  # another reply beside the first
            delta = choice.get("delta") or {}
            if not isinstance(delta, dict):
                raise BadAnswer(f"a piece of the reply is no text: {beginning_of(delta)}")
            if is_failed(str((finish := choice.get("finish_reason")) or "")):
                raise BadAnswer(f"the reply ended with finish_reason {finish}")
            yield joined_parts(delta.get("content")), bool(finish)


def _is_failure(event: Mapping[str, object]) -> bool:
    """Whether an *event* without choices tells of a failure."""
    return "choices" not in event and (
        event.get("object") == "error" or any(event.get(name) for name in ("message", "msg", "detail"))
    )


def _events(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The events of a stream, each with its name and its data.

    An event ends at a blank line, and its lines of data are joined. Many services leave the blank lines out: a line
    of data that is whole by itself is an event, too.
    """
    name, data = b"", b""
    for number, line in enumerate(lines):
        if number == 0:
            line = line.removeprefix(codecs.BOM_UTF8)
        if line.startswith(b"event:"):
            name = line[6:].strip()
        elif line.startswith(b"data:"):
            first, data = not data, data + line[5:].strip()
            if data == b"[DONE]" or (first and _is_json(data)):
                yield name, data
                data = b""
        elif not line.strip():
            if data:
                yield name, data
            name, data = b"", b""
    if data:
        yield name, data


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def lines_of(answer: requests.Response, timeout_s: float, limit: int = MAX_BYTES) -> Iterator[bytes]:
    """The lines of a streamed *answer* within the limits of size and time.

    A line ends with CR, LF or both.

    Raises:
        EndlessAnswer: it goes past them.
    """
    rest = b""
    for piece in in_pieces(arriving(answer), time.monotonic() + timeout_s, limit):
        *lines, rest = _LINE_END.split(rest + piece)
        yield from lines
    if rest:
        yield rest.rstrip(b"\r")


_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
"""A CR at the end of what came may be half of the two."""


def stream(
    service_url: str, payload: Mapping[str, object], *, api_key_env: str = "", timeout_s: float = 300.0
) -> Iterator[str]:
    """The reply to *payload* as it grows: each item is all text so far.

    A long one comes a few times a second.

    Raises:
        ServiceError: the service refused, went silent or broke off; says what was last seen.
    """
    text, ended, key, where = "", False, key_of(api_key_env, service_url), shown_url(service_url)
    url, shown, last = f"{service_url.rstrip('/')}/chat/completions", "", 0.0
    try:
        with (
            http_session(service_url) as session,
            post(
                session, url, {"max_tokens": 4096, **payload, "stream": True}, key, timeout_s=timeout_s
            ) as answer,
        ):
            if answer.status_code != 200:
                body = b"".join(in_pieces(arriving(answer), time.monotonic() + timeout_s))
                raise ServiceError(f"{where}: HTTP {answer.status_code}: {words_of(body, key)}")
            for piece, last_one in _streamed(answer, timeout_s):
                text, ended = text + piece, ended or last_one
                # a long one is shown whole a few times a second: each showing costs as much as its length
                if text != shown and (len(text) < 1000 or time.monotonic() - last > 0.2):
                    shown, last = text, time.monotonic()
                    yield redact(text)
    except BadAnswer as error:
        raise ServiceError(f"{where}: the reply broke off ({redact(str(error))})") from None
    except (requests.RequestException, ValueError) as error:
        words = redact(f"{type(error).__name__}: {error}")
        way_out = why_untrusted(words) or "; is it running?"
        raise ServiceError(f"{where}: the reply broke off ({words}){way_out}") from None
    if not text:
        raise ServiceError(f"{where}: {payload.get('model')!r} answered nothing; see the service's log")
    if is_error_text(text):
        raise ServiceError(f"{where}: the reply is a service's error text: {beginning_of(text)}")
    if text != shown:
        yield redact(text)
    if not ended:
        raise ServiceError(f"{where}: the reply broke off (the connection was closed before its end)")


def _streamed(answer: requests.Response, timeout_s: float) -> Iterator[tuple[str, bool]]:
    """The pieces of *answer*; of a reply that came whole, the one piece."""
    content_type = answer.headers.get("content-type", "")
    if content_type.startswith("application/json"):
        body = b"".join(in_pieces(arriving(answer), time.monotonic() + timeout_s))
        yield read_answer(body, content_type).text, True
    else:
        yield from pieces_of(lines_of(answer, timeout_s))
