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
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import httpx
from evalscope.api.messages.perf_metrics import PerformanceMetrics
from evalscope.api.model import GenerateConfig, ModelOutput
from evalscope.models.openai_compatible import OpenAICompatibleAPI
from evalscope.models.utils.openai import model_output_from_openai, openai_chat_messages
from openai import APIConnectionError, APIStatusError, InternalServerError, RateLimitError

from bakeoff.endpoint.answers import Answer, BadAnswer, EndlessAnswer
from bakeoff.endpoint.transfer import BUSY, retry_after_s
from bakeoff.evalscope.connections import ENCODINGS, Slots
from bakeoff.evalscope.types import Message
from bakeoff.foundation.error_texts import is_error_text
from bakeoff.foundation.errors import ServiceError
from bakeoff.foundation.secrecy import redact
from bakeoff.foundation.texts import printable, why_untrusted

__all__ = ["AskingAPI", "is_error_text", "prompt_sha"]


T = TypeVar("T")
ANYBODY = "*"
"""Stands for every name that may answer, where a line is run by hand and no canary was asked before."""


def prompt_sha(messages: Sequence[Message]) -> str:
    """Sixteen hex digits of a rendered prompt: all roles and texts."""
    joined = "\x1e".join(f"{message.role}\x1f{message.text}" for message in messages)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


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
    if "completion_tokens" not in counts and {"total_tokens", "prompt_tokens"} <= counts.keys():
        counts["completion_tokens"] = max(0, counts["total_tokens"] - counts["prompt_tokens"])
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


_OF_THE_CLIENT = {"timeout", "extra_headers", "extra_body", "extra_query"}
_MESSAGE = dict.fromkeys(("role", "content", "refusal", "reasoning_content", "reasoning", "tool_calls"))
_USAGE = dict.fromkeys(("prompt_tokens_details", "completion_tokens_details"))


def _as_objects(completion: Mapping[str, Any]) -> SimpleNamespace:
    """*completion* as objects, which EvalScope's converters read.

    The client's own classes would check each field once more, for a third of all that a question costs.
    """
    (choice,) = completion["choices"]
    message = SimpleNamespace(**(_MESSAGE | choice["message"]))
    usage = completion.get("usage")
    return SimpleNamespace(
        id=completion["id"],
        model=completion["model"],
        choices=[SimpleNamespace(**(choice | {"message": message, "logprobs": None}))],
        usage=SimpleNamespace(**(_USAGE | usage)) if usage else None,
    )


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


class _ForTheClient(httpx.BaseTransport):
    """Carries the client's requests, or hands it an answer that came past it.

    So a refusal or a broken connection becomes the client's own error.
    """

    def __init__(self, slots: Slots) -> None:
        self.slots = slots

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer to *request* as the client reads it."""
        came, self.slots.mine.came = getattr(self.slots.mine, "came", None), None
        if isinstance(came, Exception):
            raise came
        if came is None:
            came = self.slots.answer(request)
        if isinstance(came, Answer):
            return httpx.Response(200, json=_completion(came))
        return cast(httpx.Response, came)


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
        self.slots = Slots(in_flight, service_url, timeout_s)
        http_client = httpx.Client(
            transport=_ForTheClient(self.slots), timeout=timeout_s, headers={"accept-encoding": ENCODINGS}
        )
        super().__init__(
            model_name=served_name,
            base_url=service_url,
            api_key=api_key,
            config=GenerateConfig(),
            max_retries=0,
            http_client=http_client,
        )
        listed = {**self.client.default_headers, **self.client.auth_headers}
        named = {name: value for name, value in listed.items() if isinstance(value, str)}
        self.headers = httpx.Headers({**http_client.headers, **{k.lower(): v for k, v in named.items()}})
        self.url = f"{self.base_url}/chat/completions"
        self.settings: tuple[GenerateConfig, dict[str, Any]] | None = None
        self.answers_as = answers_as or served_name
        self.timeout_s, self.tries = timeout_s, tries
        self.errors: dict[str, str] = {}
        self.names: Counter[tuple[str, str]] = Counter()
        self.requests = self.answered = self.failed_in_a_row = 0
        self.lock = threading.Lock()

    def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> Any:
        """The service's reply; raises whatever kept it from coming."""
        with self._noting(prompt_sha(input)):
            if tools:
                config = config.model_copy(update={"retries": 1, "timeout": config.timeout or self.timeout_s})
                return self._ask(lambda: super(AskingAPI, self).generate(input, tools, tool_choice, config))
            style = config.reasoning_history or "reasoning_field"
            messages = openai_chat_messages(input, reasoning_format=style, base_url=self.base_url)
            request = self._request({"messages": messages, **self._params(config)})
            return self._ask(lambda: self._output(request))

    def _params(self, config: GenerateConfig) -> dict[str, Any]:
        """What EvalScope sends beside the messages, by *config*."""
        if self.settings is None or self.settings[0] is not config:
            params = self.completion_params(config=config, tools=False)
            self.validate_request_params(params)
            self.settings = config, params
        return self.settings[1]

    def _output(self, request: httpx.Request) -> ModelOutput:
        """The reply to *request* as EvalScope's classes, by its own converters."""
        began = time.monotonic()
        completion: Any = _as_objects(_completion(self._answer(request)))
        output = model_output_from_openai(completion, self.chat_choices_from_completion(completion, []))
        output.time = time.monotonic() - began
        usage = output.usage
        output.message.perf_metrics = PerformanceMetrics(
            latency=output.time,
            input_tokens=usage.input_tokens if usage else 0,
            output_tokens=usage.output_tokens if usage else 0,
        )
        return output

    def tokens(self, messages: Sequence[Message], settings: Mapping[str, object]) -> Answer:
        """The checked answer to *messages*, with what the service says of tokens.

        Raises:
            Exception: whatever kept it from coming; noted in :attr:`errors`.
        """
        named = [{"role": str(m.role), "content": m.text} for m in messages]
        params = {**settings, "messages": named, "model": self.model_name}
        if "stop_seqs" in params:
            params["stop"] = params.pop("stop_seqs")
        with self._noting(prompt_sha(messages)):
            request = self._request(params)
            return self._ask(lambda: self._answer(request))

    def _request(self, params: Mapping[str, Any]) -> httpx.Request:
        """The request that the client would make of *params*, made quickly."""
        body = {name: value for name, value in params.items() if name not in _OF_THE_CLIENT}
        body |= params.get("extra_body") or {}
        headers = self.headers
        if extra := params.get("extra_headers"):
            headers = httpx.Headers(headers)
            headers.update(extra)
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        patience = params.get("timeout") or self.timeout_s
        return httpx.Request(
            "POST",
            self.url,
            params=params.get("extra_query") or None,
            headers=headers,
            content=content.encode(),
            extensions={"timeout": httpx.Timeout(patience).as_dict()},
        )

    def _answer(self, request: httpx.Request) -> Answer:
        """The checked answer to *request*.

        Raises:
            BadAnswer: what came is no reply.
            OpenAIError: nothing came, or a refusal; what the client makes of it.
        """
        came: Answer | httpx.Response | Exception
        try:
            came = self.slots.answer(request)
        except BadAnswer:
            raise
        except Exception as error:
            came = error
        if not isinstance(came, Answer):
            self.slots.mine.came = came
            try:
                self.client.post("/chat/completions", cast_to=httpx.Response, body={})
            finally:
                self.slots.mine.came = None
            raise ServiceError(f"{self.base_url}: the client could not read the answer")
        return came

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
