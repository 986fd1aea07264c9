"""One request and its answer, within limits of size, time and redirects."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from bakeoff.endpoint.address import shown_url
from bakeoff.endpoint.answers import BadAnswer, EndlessAnswer
from bakeoff.foundation.texts import beginning_of

MAX_BYTES = 4 * 2**20
"""Largest answer that is read; the longest replies have some ten thousand letters."""


MAX_REDIRECTS = 5


BUSY = frozenset({429, 503, 529})
"""Status codes whose ``Retry-After`` is waited for."""


REDIRECTS = frozenset({301, 302, 307, 308})
"""Followed with the same request; 303 would turn it into a GET."""


def retry_after_s(headers: Mapping[str, str]) -> float:
    """The seconds of ``Retry-After``; 0 where none can be read."""
    value = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return seconds if 0 <= seconds < float("inf") else 0.0
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return 0.0


def in_pieces(pieces: Iterable[bytes], deadline: float, limit: int = MAX_BYTES) -> Iterator[bytes]:
    """*pieces* of an answer within *limit* bytes and the *deadline*.

    The deadline is one of ``time.monotonic``.

    Raises:
        EndlessAnswer: they do not.
    """
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise EndlessAnswer(f"the answer is larger than {limit // 2**20} MiB; not read on")
        if time.monotonic() > deadline:
            raise EndlessAnswer(
                f"the answer was not whole when its time was over (Timeout, {size} bytes so far)"
            )
        yield piece


def arriving(answer: requests.Response) -> Iterator[bytes]:
    """The body of *answer* as it arrives, in pieces of any size.

    Waiting for full ones would outlast every deadline.

    Raises:
        requests.ConnectionError: it broke off.
    """
    try:
        while piece := answer.raw.read1(16 * 1024, decode_content=True):
            yield piece
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.ReadTimeout(str(error)) from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise requests.ConnectionError(str(error)) from None


def refuse_nested(encoding: str) -> None:
    """Raise where a body is compressed several times over.

    Each layer may be a thousand times what it holds, and all are unpacked at once.

    Raises:
        EndlessAnswer: it is.
    """
    if "," in encoding:
        raise EndlessAnswer(f"the answer is compressed several times ({beginning_of(encoding)}); not read")


def redirected(url: str, location: str) -> tuple[str, bool]:
    """Where a redirect leads, and whether that is the same host.

    Only the same host may see the key.

    Raises:
        BadAnswer: to nothing that can be asked.
    """
    target = urljoin(url, location)
    before, after = urlsplit(url), urlsplit(target)
    if after.scheme not in ("http", "https") or not after.hostname:
        raise BadAnswer(f"redirected to {beginning_of(shown_url(target))}, which is no http(s) address")
    upgraded = (before.scheme, after.scheme) == ("http", "https")
    same = before.hostname == after.hostname and (
        upgraded or (before.scheme, before.port) == (after.scheme, after.port)
    )
    return target, same


def post(
    session: requests.Session, url: str, payload: Mapping[str, object], key: str, *, timeout_s: float
) -> requests.Response:
    """The open answer to *payload*, redirects followed.

    Each is followed with the same request; the key goes to the same host only.

    Raises:
        requests.RequestException: nobody answered.
        BadAnswer: the redirects lead nowhere.
    """
    headers = {"Authorization": f"Bearer {key or 'EMPTY'}", "Accept-Encoding": "identity"}
    for _ in range(MAX_REDIRECTS + 1):
        answer = session.post(
            url, json=payload, headers=headers, timeout=timeout_s, stream=True, allow_redirects=False
        )
        if answer.status_code not in REDIRECTS or "location" not in answer.headers:
            refuse_nested(answer.headers.get("content-encoding", ""))
            return answer
        answer.close()
        url, same_host = redirected(url, answer.headers["location"])
        if not same_host:
            headers.pop("Authorization", None)
    raise BadAnswer(f"redirected more than {MAX_REDIRECTS} times, last to {shown_url(url)}")
