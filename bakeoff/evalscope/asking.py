# mypy: disable-error-code="misc"
# EvalScope ships no types: its classes are Any here.
"""Asks a service on EvalScope's behalf; an error is never an answer.

EvalScope turns some HTTP errors into reply texts and would grade them; here every failure is raised, so that no
prediction is stored and the next run asks again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import LifoQueue
from typing import Any, TypeVar

import httpx
from evalscope.api.model import GenerateConfig
from evalscope.models.openai_compatible import OpenAICompatibleAPI
from openai import APIConnectionError, APIStatusError, InternalServerError, RateLimitError

from bakeoff.endpoint.address import own_certificates, proxy_of
from bakeoff.endpoint.answers import REPLIES, Answer, BadAnswer, EndlessAnswer, read_answer
from bakeoff.endpoint.transfer import (
    BUSY,
    MAX_REDIRECTS,
    REDIRECTS,
    in_pieces,
    redirected,
    refuse_nested,
    retry_after_s,
)
from bakeoff.evalscope.connections import TimedTransport
from bakeoff.evalscope.types import Message
from bakeoff.foundation.error_texts import is_error_text
from bakeoff.foundation.errors import ServiceError
from bakeoff.foundation.secrecy import redact
from bakeoff.foundation.texts import beginning_of, decoded, printable, why_untrusted

__all__ = ["AskingAPI", "is_error_text", "prompt_sha"]


T = TypeVar("T")
ANYBODY = "*"
"""Stands for every name that may answer, where a line is run by hand and no canary was asked before."""


def prompt_sha(messages: Sequence[Message]) -> str:
    """Sixteen hex digits of a rendered prompt: all roles and texts."""
    joined = "\x1e".join(f"{message.role}\x1f{message.text}" for message in messages)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


class _Slots(httpx.BaseTransport):
    """*count* requests at a time, each on a connection of its own.

    The pool of an httpx client looks at every connection that it has whenever a request begins or ends, under a lock:
    with 256 in flight that takes several times the processor time of all else that a request needs.
    """

    def __init__(self, count: int, service_url: str, timeout_s: float) -> None:
        # a client with a transport of its own does not look for proxies itself
        proxy = proxy_of(service_url) or None
        self.timeout_s = timeout_s
        certificates = _certificates()  # once: it reads a file
        # the last used one first: it is still connected
        self.free: LifoQueue[TimedTransport] = LifoQueue()
        for _ in range(count):
            self.free.put(TimedTransport(timeout_s, certificates, proxy))
        self.mine = threading.local()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a slot; this thread's requests go over its connection."""
        self.mine.transport = transport = self.free.get()
        try:
            yield
        finally:
            self.free.put(transport)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The checked answer to *request*; what is no reply raises BadAnswer.

        Redirects are followed with the same request.
        """
        self.mine.answer = None
        for _ in range(MAX_REDIRECTS + 1):
            response = self.mine.transport.handle_request(request)
            if response.status_code not in REDIRECTS or "location" not in response.headers:
                return self._read(response)
            response.close()
            url, same_host = redirected(str(request.url), response.headers["location"])
            headers = [(k, v) for k, v in request.headers.raw if k.lower() != b"host"]
            if not same_host:
                headers = [(k, v) for k, v in headers if k.lower() not in _SECRET_HEADERS]
            extensions = request.extensions
            request = httpx.Request(
                request.method, url, headers=headers, content=request.read(), extensions=extensions
            )
        raise BadAnswer(f"redirected more than {MAX_REDIRECTS} times")

    def _read(self, response: httpx.Response) -> httpx.Response:
        deadline = time.monotonic() + self.timeout_s
        try:
            refuse_nested(response.headers.get("content-encoding", ""))
            body = b"".join(in_pieces(response.iter_bytes(), deadline))
        finally:
            response.close()
        headers = {k: v for k, v in response.headers.items() if k not in _BODY_HEADERS}
        if response.status_code in REPLIES:
            self.mine.answer = answer = read_answer(body, headers.get("content-type", ""))
            body = json.dumps(_completion(answer), ensure_ascii=False).encode()
            headers["content-type"] = "application/json"
        elif response.status_code < 300:
            # the client would take it for a reply
            raise BadAnswer(
                f"HTTP {response.status_code} in place of a reply: {beginning_of(decoded(body))!r}"
            )
        else:
            body = decoded(body).encode("utf-8", "replace")
        return httpx.Response(response.status_code, headers=headers, content=body)


def _certificates() -> ssl.SSLContext:
    bundle = own_certificates()
    if not bundle:
        return httpx.create_ssl_context(trust_env=False)
    is_folder = Path(bundle).is_dir()
    return ssl.create_default_context(
        cafile=None if is_folder else bundle, capath=bundle if is_folder else None
    )


def _completion(answer: Answer) -> dict[str, object]:
    """*answer* as EvalScope's types want it.

    Nothing else is passed on: no tools were offered, and odd values beside the reply say nothing of it.
    """
    created, usage = answer.raw.get("created"), answer.raw.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    counts = {
        name: int(counts[name])
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
        if isinstance(counts.get(name), int | float) and 0 <= counts[name] < 1e12
    }
    choice = answer.raw["choices"][0]
    texts = ("role", "content", "refusal", "reasoning_content", "reasoning")
    message = {
        name: value
        for name in texts
        if isinstance(value := choice["message"].get(name), str) or name == "content"
    }
    whole: dict[str, object] = {
        "id": str(answer.raw.get("id") or ""),
        "created": created if isinstance(created, int) else 0,
        "model": answer.model,
        "object": "chat.completion",
        "system_fingerprint": answer.fingerprint or None,
        "choices": [{"index": 0, "finish_reason": answer.finish or "stop", "message": message}],
    }
    if len(counts) >= 2:
        whole["usage"] = {
            "total_tokens": sum(counts.values()),
            "prompt_tokens": 0,
            "completion_tokens": 0,
        } | counts
    return whole


_SECRET_HEADERS = {b"authorization", b"cookie", b"api-key", b"x-api-key"}
_OF_THE_CLIENT = {"timeout", "extra_headers", "extra_body"}
_BODY_HEADERS = {"content-length", "content-encoding", "transfer-encoding"}


@dataclass(frozen=True)
class Tries:
    """How often a service is asked before a question, and before the service, is given up.

    Attributes:
        attempts: requests for one question.
        pause_s: seconds after the first failure; doubled each time.
        patience: questions in a row that fail before the service counts as gone.
    """

    attempts: int = 3
    pause_s: float = 0.5
    patience: int = 16


class AskingAPI(OpenAICompatibleAPI):
    """An OpenAI-compatible service that several suites ask at once.

    At most *in_flight* requests are open at any time. A refused, slow or failing request is tried several times with
    growing pauses (*tries*). A busy service (429) is waited for, as long as it asks with ``Retry-After`` or with
    growing pauses, up to *timeout_s* seconds for a question. After ``tries.patience`` questions in a row have failed,
    whatever the suite, the service counts as gone and the remaining questions fail at once.

    Attributes:
        errors: why each failed prompt has no reply, by :func:`prompt_sha`.
        requests: HTTP requests made.
        answered: replies received.
        names: how many replies came from each (model, system fingerprint).
    """

    def __init__(
        self,
        served_name: str,
        service_url: str,
        api_key: str,
        *,
        in_flight: int,
        answers_as: str = "",
        timeout_s: float = 120.0,
        tries: Tries = Tries(),
    ) -> None:
        self.slots = _Slots(in_flight, service_url, timeout_s)
        super().__init__(
            model_name=served_name,
            base_url=service_url,
            api_key=api_key,
            config=GenerateConfig(),
            max_retries=0,
            http_client=httpx.Client(transport=self.slots, timeout=timeout_s),
        )
        self.answers_as = answers_as or served_name
        self.timeout_s, self.tries = timeout_s, tries
        self.errors: dict[str, str] = {}
        self.names: Counter[tuple[str, str]] = Counter()
        self.requests = self.answered = self.failed_in_a_row = 0
        self.lock = threading.Lock()

    def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> Any:
        """The service's reply; raises whatever kept it from coming."""
        config = config.model_copy(update={"retries": 1, "timeout": config.timeout or self.timeout_s})
        with self._noting(prompt_sha(input)):
            return self._ask(lambda: super(AskingAPI, self).generate(input, tools, tool_choice, config))

    def tokens(self, messages: Sequence[Message], settings: Mapping[str, object]) -> Answer:
        """The checked answer to *messages*, with what the service says of tokens.

        Raises:
            Exception: whatever kept it from coming; noted in :attr:`errors`.
        """
        body = {key: value for key, value in settings.items() if key not in _OF_THE_CLIENT}
        body["messages"] = [{"role": str(m.role), "content": m.text} for m in messages]
        extra = settings.get("extra_body")
        body |= {"model": self.model_name, **(extra if isinstance(extra, dict) else {})}
        if "stop_seqs" in body:
            body["stop"] = body.pop("stop_seqs")
        options: Any = {"timeout": settings.get("timeout") or self.timeout_s}
        if headers := settings.get("extra_headers"):
            options["headers"] = headers

        def once() -> Answer:
            # past the client's types, which would be made for nothing
            self.client.post("/chat/completions", cast_to=httpx.Response, body=body, options=options)
            answer = self.slots.mine.answer
            assert isinstance(answer, Answer)
            return answer

        with self._noting(prompt_sha(messages)):
            return self._ask(once)

    @contextlib.contextmanager
    def _noting(self, sha: str) -> Iterator[None]:
        """Give the block a slot; keep what fails as the error of prompt *sha*."""
        try:
            with self.slots.taken():
                yield
        except Exception as error:
            with self.lock:
                self.errors[sha] = in_words(error)
            raise
        with self.lock:
            self.errors.pop(sha, None)

    def ask_alone(self, messages: Sequence[Message], config: GenerateConfig) -> str | None:
        """The text of one more reply to *messages*; None where none comes.

        Leaves :attr:`errors` as they are.
        """
        earlier = self.errors.get(prompt_sha(messages))
        try:
            return str(self.generate(messages, [], "none", config).completion or "")
        except Exception:
            self.errors.pop(prompt_sha(messages), None)
            if earlier is not None:
                self.errors[prompt_sha(messages)] = earlier
            return None

    def _ask(self, once: Callable[[], T]) -> T:
        """What *once* gives, tried again as the class says."""
        failures = waits = 0
        give_up = time.monotonic() + self.timeout_s
        while True:
            with self.lock:
                if self.failed_in_a_row >= self.tries.patience:
                    raise ServiceError(
                        f"{self.base_url}: {self.tries.patience} questions in a row failed; not asked"
                    )
                self.requests += 1
            try:
                output = once()
                self._refuse_others(self.slots.mine.answer)
            except Exception as failure:
                error = _cause(failure)
                asks_to_wait_s = _asks_to_wait_s(error)
                if asks_to_wait_s or isinstance(error, RateLimitError):
                    # Busy is not broken: it must not use up the attempts, nor make the service count as gone.
                    pause_s = asks_to_wait_s or min(self.tries.pause_s * 2**waits, 8.0)
                    waits += 1
                    if time.monotonic() + pause_s > give_up:
                        self._failed()
                        raise error from None
                    time.sleep(pause_s)
                    continue
                failures += 1
                # Once several questions have failed on end, further pauses would only add up.
                attempts = self.tries.attempts if self.failed_in_a_row < 3 else 1
                if failures >= attempts or not _worth_another(error):
                    # A prompt that is refused for what it is says nothing about the service.
                    if not (isinstance(error, APIStatusError) and error.status_code in (400, 413, 422)):
                        self._failed()
                    raise error from None
                time.sleep(self.tries.pause_s * 2 ** (failures - 1))
            else:
                with self.lock:
                    self.failed_in_a_row = 0
                    self.answered += 1
                return output

    def _failed(self) -> None:
        with self.lock:
            self.failed_in_a_row += 1

    def _refuse_others(self, answer: Answer | None) -> None:
        """Raise where another model than the canary's answered; count who did."""
        if answer is None:
            return
        if answer.model and self.answers_as not in (answer.model, ANYBODY):
            raise ServiceError(f"{answer.model!r} answered, {self.answers_as!r} was asked")
        with self.lock:
            self.names[answer.model, answer.fingerprint] += 1

    def handle_bad_request(self, ex: APIStatusError) -> Any:
        """Raise *ex*: EvalScope would make its text the answer."""
        raise ex


def in_words(error: Exception) -> str:
    """What *error* says, on one line, with its cause.

    It quotes what the service wrote.
    """
    text, cause = str(error), error.__cause__ or error.__context__
    if isinstance(error, APIConnectionError) and cause and str(cause) not in text:
        text = f"{text} ({type(cause).__name__}: {cause})"
    if isinstance(error, APIStatusError) and text == f"Error code: {error.status_code}":
        text = f"{text} - {error.response.text}" if error.response.text.strip(" {}") else text
    text = printable(redact(" ".join(text.split())))
    return f"{type(error).__name__}: {text[:400]}{why_untrusted(text)}"


def _cause(error: Exception) -> Exception:
    """What went wrong below *error*.

    OpenAI's client calls whatever its transport raises a connection error.
    """
    cause = error.__cause__ or error.__context__
    return cause if isinstance(error, APIConnectionError) and isinstance(cause, BadAnswer) else error


def _worth_another(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, BadAnswer):
        return not isinstance(error, EndlessAnswer) and "no choices" in str(error)
    if why_untrusted(in_words(error)):
        return False
    return isinstance(error, APIConnectionError | InternalServerError)


def _asks_to_wait_s(error: Exception) -> float:
    """The seconds that a busy service asks to wait; 0 where it does not."""
    if isinstance(error, APIStatusError) and error.status_code in BUSY:
        return retry_after_s(error.response.headers)
    return 0.0
