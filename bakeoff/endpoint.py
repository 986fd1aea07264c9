"""Asks an OpenAI-compatible service for chat completions, whole or as they grow.

Evaluation, canary, judge and chat read a service's answers through the same checks: a size limit, a deadline for the
whole answer, :func:`read_answer` for its form, and error texts that come as replies.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.utils import get_environ_proxies, select_proxy

from bakeoff.error_texts import is_error_text
from bakeoff.errors import ServiceError
from bakeoff.secrecy import redact

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
"""The hosts that are this machine."""

MAX_ATTEMPTS = 3
MAX_BYTES = 4 * 2**20
"""Largest answer that is read; the longest replies have some ten thousand letters."""
MAX_REDIRECTS = 5
BUSY = frozenset({429, 503, 529})
"""Status codes whose ``Retry-After`` is waited for."""
REDIRECTS = frozenset({301, 302, 307, 308})
"""Followed with the same request; 303 would turn it into a GET."""
FAILED_FINISH = frozenset({"error", "abort", "aborted", "cancelled"})


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


def http_session(url: str) -> requests.Session:
    """A session for *url* that asks no proxy for loopback addresses."""
    session = requests.Session()
    if (urlsplit(url).hostname or "") in LOOPBACK:
        session.trust_env = False
    else:
        proxy = proxy_of(url)
        if proxy:
            session.proxies = {"http": proxy, "https": proxy}
            session.trust_env = False
    return session


def proxy_of(url: str) -> str:
    """The proxy that the environment names for *url*, with a scheme; "" for none.

    Raises:
        ServiceError: it speaks SOCKS, and the packages for that are missing.
    """
    if (urlsplit(url).hostname or "") in LOOPBACK:
        return ""
    proxy = select_proxy(url, get_environ_proxies(url))
    if not proxy:
        return ""
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    scheme, _, rest = proxy.partition("://")
    if not scheme.lower().startswith("socks"):
        return proxy
    missing = [package for package in ("socksio", "socks") if importlib.util.find_spec(package) is None]
    if missing:
        install = " ".join("PySocks" if package == "socks" else package for package in missing)
        raise ServiceError(
            f"{shown_url(url)}: the environment names a SOCKS proxy ({shown_url(proxy)}), which needs more packages: "
            f"pip install {install}; or name an HTTP proxy, or put the host into NO_PROXY"
        )
    return f"socks5://{rest}" if scheme.lower() == "socks" else proxy


def shown_url(url: str) -> str:
    """*url* without user name, password and query, to be shown."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else redact(url)


def spared_by_proxies(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """``NO_PROXY`` and ``no_proxy`` with the loopback addresses added to what the user already lists there."""
    listed: list[str] = []
    for name in ("NO_PROXY", "no_proxy"):
        listed += [item.strip() for item in environ.get(name, "").split(",") if item.strip()]
    hosts = [*(item for item in listed if item not in LOOPBACK), "127.0.0.1", "localhost", "::1"]
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(dict.fromkeys(hosts)))


def key_of(api_key_env: str | None, url: str = "") -> str:
    """The key in the environment variable *api_key_env*, without white space around it; "" where none is named.

    Raises:
        ServiceError: the variable is empty, or no HTTP header can carry its value.
    """
    if not api_key_env:
        return ""
    where = f"{shown_url(url)}: " if url else ""
    key = os.environ.get(api_key_env, "").strip()
    if not key:
        raise ServiceError(f"{where}environment variable {api_key_env} is empty; export it before starting")
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise ServiceError(
            f"{where}{api_key_env} holds characters that no HTTP header can carry (white space within, or letters "
            "other than ASCII); export the key alone"
        )
    return key


def printable(text: str) -> str:
    """*text* with control characters, terminal escapes and direction marks shown, not obeyed."""
    return _CONTROLS.sub(
        lambda match: f"\\x{ord(match[0]):02x}" if ord(match[0]) < 256 else f"\\u{ord(match[0]):04x}", text
    )


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def whole_characters(text: str) -> str:
    """*text* with U+FFFD for each half of a character, which no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def clean(value: Any) -> Any:
    """JSON *value* with whole characters only."""
    if isinstance(value, str):
        return value if value.isascii() else whole_characters(value)
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {clean(name): clean(item) for name, item in value.items()}
    return value


def joined_parts(content: object) -> str:
    """The text of a message's *content*: a string, null, or a list of text parts.

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
    raise BadAnswer(f"the reply's content is no text but {_kind(content)}: {_beginning(content)}")


def _part(part: object) -> str:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    if isinstance(part, dict) and part.get("type") in ("thinking", "reasoning", "refusal"):
        return ""
    raise BadAnswer(f"a part of the reply is no text: {_beginning(part)}")


def _kind(value: object) -> str:
    names = {dict: "a mapping", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def _beginning(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return printable(redact(" ".join(whole_characters(text[:400]).split())))[:100]


def parsed(body: bytes, content_type: str = "") -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        BadAnswer: it is none, or too deep; says what came instead.
    """
    text = body.decode("utf-8", "replace")
    came = f"HTTP 200, {content_type.partition(';')[0] or 'no type'}, {_beginning(text)!r}"
    try:
        value = clean(json.loads(text))
    except ValueError:
        raise BadAnswer(f"no JSON without a reply came: {came}") from None
    except RecursionError:
        raise BadAnswer(f"JSON nested too deep came: {came}") from None
    if not isinstance(value, dict):
        raise BadAnswer(f"no chat completion came but {_kind(value)}: {came}")
    return value


def read_answer(body: bytes, content_type: str = "") -> Answer:
    """The chat completion in the *body* of an answer with HTTP 200.

    Raises:
        BadAnswer: it holds no reply of a model.
    """
    value = parsed(body, content_type)
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        what = value.get("error") or value.get("message") or value.get("detail") or value
        raise BadAnswer(f"HTTP 200 without a reply (no choices): {_beginning(what)}")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise BadAnswer(f"HTTP 200 without a reply (no message): {_beginning(choices[0])}")
    text = joined_parts(message.get("content"))
    finish = choices[0].get("finish_reason")
    model, fingerprint = value.get("model"), value.get("system_fingerprint")
    message["content"] = None if message.get("content") is None else text
    message.setdefault("role", "assistant")
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


def why_no_reply(answer: Answer) -> str:
    """Why *answer* is not what a model said, in words; empty where it is."""
    if answer.raw.get("error"):
        return f"error in the reply: {_beginning(answer.raw['error'])}"
    if answer.finish in FAILED_FINISH:
        return f"the reply ended with finish_reason {answer.finish}"
    if answer.finish == "content_filter" and not answer.text:
        return "the service's content filter took the reply"
    if is_error_text(answer.text):
        return f"the reply is a service's error text: {_beginning(answer.text)}"
    return ""


def is_version_of(asked: str, name: str) -> bool:
    """Whether the model *name* is *asked*, or *asked* with a date or a tag of its version."""
    if name == asked or not name:
        return True
    tag = name.removeprefix(asked)
    return tag != name and bool(re.fullmatch(r"(?:[-@:._](?:v?\d[\d.\-]*|latest|preview|stable|exp))+", tag))


def retry_after_s(headers: Mapping[str, str]) -> float:
    """The seconds of an answer's ``Retry-After``; 0 where it has none that can be read."""
    value = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return seconds if 0 <= seconds < float("inf") else 0.0
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return 0.0


def in_pieces(pieces: Iterable[bytes], deadline: float, limit: int = MAX_BYTES) -> Iterator[bytes]:
    """*pieces* of an answer, as long as they keep to the *limit* of bytes and to the *deadline* (monotonic).

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
    """The body of *answer* as it arrives, in pieces of any size: waiting for full ones would outlast every deadline.

    Raises:
        requests.ConnectionError: it broke off.
    """
    try:
        while piece := answer.raw.read1(64 * 1024, decode_content=True):
            yield piece
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.ReadTimeout(str(error)) from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise requests.ConnectionError(str(error)) from None


def redirected(url: str, location: str) -> tuple[str, bool]:
    """Where a redirect from *url* leads, and whether that is the same host, which alone may see the key.

    Raises:
        BadAnswer: to nothing that can be asked.
    """
    target = urljoin(url, location)
    before, after = urlsplit(url), urlsplit(target)
    if after.scheme not in ("http", "https") or not after.hostname:
        raise BadAnswer(f"redirected to {_beginning(shown_url(target))}, which is no http(s) address")
    upgraded = (before.scheme, after.scheme) == ("http", "https")
    same = before.hostname == after.hostname and (
        upgraded or (before.scheme, before.port) == (after.scheme, after.port)
    )
    return target, same


def post(
    session: requests.Session, url: str, payload: Mapping[str, Any], key: str, *, timeout_s: float
) -> requests.Response:
    """The open answer to *payload*, redirects followed with the same request; the key goes to the same host only.

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
            return answer
        answer.close()
        url, same_host = redirected(url, answer.headers["location"])
        if not same_host:
            headers.pop("Authorization", None)
    raise BadAnswer(f"redirected more than {MAX_REDIRECTS} times, last to {shown_url(url)}")


def ask(
    session: requests.Session,
    url: str,
    payload: Mapping[str, Any],
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
                if answer.status_code == 200:
                    return read_answer(body, answer.headers.get("content-type", ""))
                last = f"HTTP {answer.status_code}: {body[:300].decode('utf-8', 'replace')}"
                again = answer.status_code == 429 or answer.status_code >= 500
                if answer.status_code in BUSY:
                    asks_to_wait_s = retry_after_s(answer.headers)
        except BadAnswer as error:
            last, again = str(error), not isinstance(error, EndlessAnswer)
        except (requests.RequestException, ValueError, OSError) as error:
            last = f"{type(error).__name__}: {error}"
        if asks_to_wait_s and waited_s + asks_to_wait_s <= timeout_s:
            waited_s += asks_to_wait_s
            time.sleep(asks_to_wait_s)
            continue
        attempts += 1
        if not again or attempts == MAX_ATTEMPTS:
            break
        time.sleep(pause)
        pause *= 2
    last = printable(redact(last.replace(key, "***") if key else last))
    raise ServiceError(
        f"{shown_url(url)}: no reply from {payload.get('model')!r} after {attempts} attempts; last seen: {last}"
    )


def complete(
    session: requests.Session,
    url: str,
    payload: dict[str, Any],
    *,
    api_key_env: str = "",
    timeout_s: float = 300.0,
    pause_s: float = 1.0,
) -> tuple[str, str]:
    """The text of the answer to *payload* ("" for null) and its finish reason; see :func:`ask`."""
    answer = ask(session, url, payload, api_key_env=api_key_env, timeout_s=timeout_s, pause_s=pause_s)
    return answer.text, answer.finish


def pieces_of(lines: Iterable[bytes]) -> Iterator[tuple[str, bool]]:
    """The pieces of a streamed reply, each with whether the service says that it is the last.

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
            raise BadAnswer(f"error in the reply: {_beginning(event['error'])}")
        for choice in event.get("choices") or ():
            if not isinstance(choice, dict):
                raise BadAnswer(f"a piece of the reply is no text: {_beginning(choice)}")
            delta = choice.get("delta") or {}
            if not isinstance(delta, dict):
                raise BadAnswer(f"a piece of the reply is no text: {_beginning(delta)}")
            yield joined_parts(delta.get("content")), bool(choice.get("finish_reason"))


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
    service_url: str, payload: dict[str, Any], *, api_key_env: str = "", timeout_s: float = 300.0
) -> Iterator[str]:
    """The reply to *payload* as it grows: each item is the whole text so far, a few times a second where it is long.

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
                words = body[:300].decode("utf-8", "replace")
                words = words.replace(key, "***") if key else words
                raise ServiceError(f"{where}: HTTP {answer.status_code}: {printable(redact(words))}")
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
        raise ServiceError(f"{where}: the reply is a service's error text: {_beginning(text)}")
    if text != shown:
        yield text
