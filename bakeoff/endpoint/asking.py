"""Asks a service for one whole chat completion."""

from __future__ import annotations

import time
from collections.abc import Mapping

import requests

from bakeoff.endpoint.address import key_of, shown_url
from bakeoff.endpoint.answers import REPLIES, Answer, BadAnswer, EndlessAnswer, named_cut, read_answer
from bakeoff.endpoint.transfer import BUSY, arriving, in_pieces, post, retry_after_s
from bakeoff.foundation.errors import ServiceError
from bakeoff.foundation.texts import why_untrusted, words_of

MAX_ATTEMPTS = 3


def ask(
    session: requests.Session,
    url: str,
    payload: Mapping[str, object],
    *,
    api_key_env: str | None = "",
    timeout_s: float = 300.0,
    pause_s: float = 1.0,
) -> Answer:
    """POST *payload* to ``<url>/chat/completions``; the checked answer.

    Connection failures, 429, 5xx and answers without a reply are tried again (three attempts in all, the pause
    doubled); other refusals are not. A busy service's ``Retry-After`` is waited for within *timeout_s*.

    Args:
        api_key_env: *name* of the environment variable that holds the key; the key itself is never logged.
        timeout_s: longest time for one whole answer, and for all waiting that the service asks for.

    Raises:
        ServiceError: with the service's own words (secrets blanked out).
    """
    key = key_of(api_key_env, url)
    attempts, waited_s, pause = 0, 0.0, pause_s
    while True:
        asks_to_wait_s, again = 0.0, True
        try:
            with post(
                session, f"{url.rstrip('/')}/chat/completions", payload, key, timeout_s=timeout_s
            ) as answer:
                deadline = time.monotonic() + timeout_s
                body = b"".join(in_pieces(arriving(answer), deadline))
                if answer.status_code in REPLIES:
                    reply = read_answer(body, answer.headers.get("content-type", ""))
                    return named_cut(reply, payload.get("max_tokens"))
                last = f"HTTP {answer.status_code}: {words_of(body, key)}"
                again = answer.status_code == 429 or answer.status_code >= 500
                if answer.status_code in BUSY:
                    asks_to_wait_s = retry_after_s(answer.headers)
        except BadAnswer as error:
            last, again = str(error), not isinstance(error, EndlessAnswer)
        except (requests.RequestException, ValueError, OSError) as error:
            last = f"{type(error).__name__}: {error}"
            again = not why_untrusted(last)
        if asks_to_wait_s and waited_s + asks_to_wait_s <= timeout_s:
            waited_s += asks_to_wait_s
            time.sleep(asks_to_wait_s)
            continue
        attempts += 1
        if not again or attempts == MAX_ATTEMPTS:
            break
        time.sleep(pause)
        pause *= 2
    last = words_of(last.encode("utf-8", "replace"), key, 1000)
    raise ServiceError(
        f"{shown_url(url)}: no reply from {payload.get('model')!r} after {attempts} attempts; last seen: {last}"
        f"{why_untrusted(last)}"
    )


def complete(
    session: requests.Session,
    url: str,
    payload: Mapping[str, object],
    *,
    api_key_env: str = "",
    timeout_s: float = 300.0,
    pause_s: float = 1.0,
) -> tuple[str, str]:
    """Text and finish reason of the answer to *payload*; see :func:`ask`.

    The text is "" for null.
    """
    answer = ask(session, url, payload, api_key_env=api_key_env, timeout_s=timeout_s, pause_s=pause_s)
    return answer.text, answer.finish
