# mypy: disable-error-code="misc"
# EvalScope ships no types: its classes are Any here.
"""Asks a service on EvalScope's behalf and never hands an error over as an answer.

EvalScope turns some HTTP errors into reply texts and would grade them; here every failure is raised, so that no
prediction is stored and the next run asks again.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
from evalscope.api.model import GenerateConfig, ModelOutput
from evalscope.models.openai_compatible import OpenAICompatibleAPI
from openai import APIConnectionError, APIStatusError, InternalServerError, RateLimitError

from bakeoff.errors import ServiceError

_ERROR_TEXT = re.compile(
    r"\s*(?:\[ERROR\]|Traceback \(most recent call last\)|Internal Server Error|(?:CUDA|torch)\S* out of memory"
    r"|\{\s*[\"'](?:error|detail|object)[\"']\s*:\s*(?:\{|[\"'](?:error|.{0,40}(?:error|exceed|not found))))",
    re.IGNORECASE,
)
_FAILED_FINISH = {"error", "abort", "aborted", "cancelled"}


def prompt_sha(messages: Sequence[Any]) -> str:
    """Sixteen hex digits of a rendered prompt: roles and texts of all its messages."""
    joined = "\x1e".join(f"{message.role}\x1f{message.text}" for message in messages)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


class AskingAPI(OpenAICompatibleAPI):
    """An OpenAI-compatible service that several suites ask at once.

    At most *in_flight* requests are open at any time. A refused, slow, busy or failing request is tried
    *attempts* times with growing pauses. After *patience* questions in a row have failed, whatever the suite,
    the service counts as gone and the remaining questions fail at once.

    Attributes:
        errors: why each failed prompt has no reply, by :func:`prompt_sha`.
        requests: HTTP requests made.
        answered: replies received.
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
        attempts: int = 3,
        pause_s: float = 0.5,
        patience: int = 16,
    ) -> None:
        local = urlsplit(service_url).hostname in ("127.0.0.1", "localhost", "::1")
        limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
        super().__init__(
            model_name=served_name,
            base_url=service_url,
            api_key=api_key,
            config=GenerateConfig(),
            max_retries=0,
            http_client=httpx.Client(trust_env=not local, limits=limits, timeout=timeout_s),
        )
        self.answers_as = answers_as or served_name
        self.slots = threading.BoundedSemaphore(in_flight)
        self.timeout_s, self.attempts, self.pause_s, self.patience = timeout_s, attempts, pause_s, patience
        self.errors: dict[str, str] = {}
        self.requests = self.answered = self.failed_in_a_row = 0
        self.lock = threading.Lock()

    def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> Any:
        """The service's reply; raises whatever kept it from coming."""
        config = config.model_copy(update={"retries": 1, "timeout": config.timeout or self.timeout_s})
        try:
            with self.slots:
                output = self._ask(input, tools, tool_choice, config)
        except Exception as error:
            with self.lock:
                self.errors[prompt_sha(input)] = (
                    f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
                )
            raise
        with self.lock:
            self.errors.pop(prompt_sha(input), None)
        return output

    def _ask(self, messages: Any, tools: Any, tool_choice: Any, config: Any) -> ModelOutput:
        # Once several questions have failed on end, further pauses would only add up.
        attempts = self.attempts if self.failed_in_a_row < 3 else 1
        for attempt in range(1, attempts + 1):
            with self.lock:
                if self.failed_in_a_row >= self.patience:
                    raise ServiceError(
                        f"{self.base_url}: {self.patience} questions in a row failed; not asked"
                    )
                self.requests += 1
            try:
                output = super().generate(messages, tools, tool_choice, config)
                self._refuse_errors(output)
            except Exception as error:
                if attempt < attempts and _worth_another(error):
                    time.sleep(self.pause_s * 2 ** (attempt - 1))
                    continue
                # A prompt that is refused for what it is says nothing about the service.
                if not (isinstance(error, APIStatusError) and error.status_code in (400, 413, 422)):
                    with self.lock:
                        self.failed_in_a_row += 1
                raise
            with self.lock:
                self.failed_in_a_row = 0
                self.answered += 1
            return output
        raise AssertionError("attempts is at least 1")

    def _refuse_errors(self, output: ModelOutput) -> None:
        if output.error:
            raise ServiceError(f"error in the reply: {output.error}")
        finish = (output.metadata or {}).get("finish_reasons", {}).values()
        if failed := _FAILED_FINISH.intersection(finish):
            raise ServiceError(f"the reply ended with finish_reason {', '.join(failed)}")
        if output.stop_reason == "content_filter" and not output.completion:
            raise ServiceError("the service's content filter took the reply")
        if _ERROR_TEXT.match(output.completion or ""):
            raise ServiceError(f"the reply is a service's error text: {output.completion[:200]}")
        if output.model and not str(output.model).startswith(self.answers_as):
            raise ServiceError(f"{output.model!r} answered, {self.answers_as!r} was asked")

    def handle_bad_request(self, ex: APIStatusError) -> Any:
        """Raise *ex*: EvalScope would make its text the answer."""
        raise ex


def _worth_another(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, APIConnectionError | RateLimitError | InternalServerError):
        return True
    return isinstance(error, ValueError) and "no choices" in str(error)
