"""Asks an OpenAI-compatible service for chat completions, whole or as they grow."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests

from bakeoff.errors import ServiceError

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
"""The hosts that are this machine."""

MAX_ATTEMPTS = 3


def http_session(url: str) -> requests.Session:
    """A session for *url* that asks no proxy for loopback addresses."""
    session = requests.Session()
    if (urlsplit(url).hostname or "") in LOOPBACK:
        session.trust_env = False
    return session


def complete(
    session: requests.Session,
    url: str,
    payload: dict[str, Any],
    *,
    api_key_env: str = "",
    timeout_s: float = 300.0,
    pause_s: float = 1.0,
) -> tuple[str, str]:
    """POST *payload* to ``<url>/chat/completions``; the reply's text ("" for null) and its finish reason.

    Connection failures, 429 and 5xx are tried again (three attempts in all, the pause doubled); other
    refusals are not.

    Args:
        api_key_env: *name* of the environment variable that holds the key; the key itself is never logged.

    Raises:
        ServiceError: with the service's own words (the key blanked out).
    """
    key = _key(url, api_key_env)
    headers = {"Authorization": f"Bearer {key or 'EMPTY'}"}
    said = ""
    for attempt in range(MAX_ATTEMPTS):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            answer = session.post(
                f"{url.rstrip('/')}/chat/completions", json=payload, headers=headers, timeout=timeout_s
            )
        except requests.RequestException as error:
            said = f"{type(error).__name__}: {error}"
            continue
        if answer.status_code == 200:
            try:
                choice = answer.json()["choices"][0]
                return choice["message"].get("content") or "", choice.get("finish_reason") or ""
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                said = f"HTTP 200 without a reply ({type(error).__name__}): {answer.text[:300]}"
                continue
        said = f"HTTP {answer.status_code}: {answer.text[:300]}"
        if answer.status_code != 429 and answer.status_code < 500:
            break
    if key:
        said = said.replace(key, "***")
    raise ServiceError(
        f"{url}: no reply from {payload.get('model')!r} after {attempt + 1} attempts; last seen: {said}"
    )


def _key(url: str, api_key_env: str) -> str:
    key = os.environ.get(api_key_env, "") if api_key_env else ""
    if api_key_env and not key:
        raise ServiceError(f"{url}: environment variable {api_key_env} is empty; export it before starting")
    return key


def stream(
    service_url: str, payload: dict[str, Any], *, api_key_env: str = "", timeout_s: float = 300.0
) -> Iterator[str]:
    """The reply to *payload* as it grows: each item is the whole text so far.

    Raises:
        ServiceError: the service refused, went silent or broke off; says what was last seen.
    """
    text, key = "", _key(service_url, api_key_env)
    try:
        with (
            http_session(service_url) as session,
            session.post(
                f"{service_url.rstrip('/')}/chat/completions",
                json={**payload, "stream": True},
                headers={"Authorization": f"Bearer {key or 'EMPTY'}"},
                stream=True,
                timeout=timeout_s,
            ) as answer,
        ):
            if answer.status_code != 200:
                said = answer.text.replace(key, "***") if key else answer.text
                raise ServiceError(f"{service_url}: HTTP {answer.status_code}: {said[:300]}")
            for line in answer.iter_lines():
                if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                    choices = json.loads(line[5:]).get("choices") or [{}]
                    text += (choices[0].get("delta") or {}).get("content") or ""
                    yield text
    except (requests.RequestException, ValueError) as error:
        raise ServiceError(
            f"{service_url}: the reply broke off ({type(error).__name__}: {error}); is it running?"
        ) from None
    if not text:
        raise ServiceError(f"{service_url}: {payload.get('model')!r} answered nothing; see the service's log")
