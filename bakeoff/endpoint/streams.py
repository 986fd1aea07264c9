"""Asks a service for a chat completion and gives it as it grows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

import requests

from bakeoff.endpoint.address import http_session, key_of, shown_url
from bakeoff.endpoint.answers import FAILED_FINISH, BadAnswer, joined_parts, parsed
from bakeoff.endpoint.texts import beginning_of, words_of
from bakeoff.endpoint.transfer import MAX_BYTES, arriving, in_pieces, post
from bakeoff.error_texts import is_error_text
from bakeoff.errors import ServiceError
from bakeoff.secrecy import redact


def pieces_of(lines: Iterable[bytes]) -> Iterator[tuple[str, bool]]:
    """The pieces of a streamed reply, each with whether it is the last.

    Raises:
        BadAnswer: an event is no piece of a reply.
    """
    for line in lines:
        if not line.startswith(b"data:"):
            continue  # an event's name, or a comment that keeps the connection open
        if (data := line[5:].strip()) == b"[DONE]":
            yield "", True
            continue
        event = parsed(data, "text/event-stream")
        if event.get("error"):
            raise BadAnswer(f"error in the reply: {beginning_of(event['error'])}")
        for choice in event.get("choices") or ():
            if not isinstance(choice, dict):
                raise BadAnswer(f"a piece of the reply is no text: {beginning_of(choice)}")
            delta = choice.get("delta") or {}
            if not isinstance(delta, dict):
                raise BadAnswer(f"a piece of the reply is no text: {beginning_of(delta)}")
            if (finish := choice.get("finish_reason")) in (*FAILED_FINISH, "content_filter"):
                raise BadAnswer(f"the reply ended with finish_reason {finish}")
            yield joined_parts(delta.get("content")), bool(finish)


def lines_of(answer: requests.Response, timeout_s: float, limit: int = MAX_BYTES) -> Iterator[bytes]:
    """The lines of a streamed *answer* within the limits of size and time.

    Raises:
        EndlessAnswer: it goes past them.
    """
    rest = b""
    for piece in in_pieces(arriving(answer), time.monotonic() + timeout_s, limit):
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line.rstrip(b"\r") for line in lines)
    if rest:
        yield rest.rstrip(b"\r")


def stream(
    service_url: str, payload: Mapping[str, object], *, api_key_env: str = "", timeout_s: float = 300.0
) -> Iterator[str]:
    """The reply to *payload* as it grows: each item is all text so far.

    A long one comes a few times a second.

    Raises:
        ServiceError: the service refused, went silent or broke off; says what was last seen.
    """
    text, key, where = "", key_of(api_key_env, service_url), shown_url(service_url)
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
            for piece, _ in pieces_of(lines_of(answer, timeout_s)):
                text += piece
                # a long one is shown whole a few times a second: each showing costs as much as its length
                if text != shown and (len(text) < 1000 or time.monotonic() - last > 0.2):
                    shown, last = text, time.monotonic()
                    yield text
    except BadAnswer as error:
        raise ServiceError(f"{where}: the reply broke off ({redact(str(error))})") from None
    except (requests.RequestException, ValueError) as error:
        words = redact(f"{type(error).__name__}: {error}")
        raise ServiceError(f"{where}: the reply broke off ({words}); is it running?") from None
    if not text:
        raise ServiceError(f"{where}: {payload.get('model')!r} answered nothing; see the service's log")
    if is_error_text(text):
        raise ServiceError(f"{where}: the reply is a service's error text: {beginning_of(text)}")
    if text != shown:
        yield text
