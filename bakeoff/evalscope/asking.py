# mypy: disable-error-code="misc"
# EvalScope ships no types: its classes are Any here.
"""Asks a service on EvalScope's behalf and never hands an error over as an answer.

EvalScope turns some HTTP errors into reply texts and would grade them; here every failure is raised, so that no
prediction is stored and the next run asks again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from queue import LifoQueue
from typing import Any

import httpx
from evalscope.api.model import GenerateConfig, ModelOutput
from evalscope.models.openai_compatible import OpenAICompatibleAPI
from openai import APIConnectionError, APIStatusError, InternalServerError, RateLimitError
from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy

from bakeoff.endpoint import http_session
from bakeoff.errors import ServiceError

_STATUS = (
    r"(?:Bad\ Request|Unauthorized|Forbidden|Not\ Found|Request\ Time-?out|Payload\ Too\ Large|Too\ Many\ Requests"
    r"|Internal\ Server\ Error|Bad\ Gateway|Service\ (?:Temporarily\ )?Unavailable|Gateway\ Time-?out)"
)
# Words with which a service fails. A reply may speak of such things, so they count only where a service would put
# them: at the beginning and, unless nobody else would write them, with nothing but the machine's details behind.
_ERROR_TEXT = re.compile(
    rf"""\s*(?:
      \[ERROR\]
    | Traceback\ \(most\ recent\ call\ last\)
    | This\ model's\ maximum\ context\ length\ is\ \d
    | Error\ code:\ [45]\d\d\s*(?:-|$)
    | (?:\w+\.)*(?:RuntimeError|OutOfMemoryError|(?:API)?(?:Connection|Timeout|Status)Error|APIError|HTTPError
        |BadRequestError|RateLimitError|InternalServerError|ServiceUnavailableError|EngineDeadError)\s*:
    | (?:CUDA|torch\S*)\ (?:error:|out\ of\ memory\s*(?:[.:]|$))
    | upstream\ (?:connect\ error|request\ timeout)
    | no\ healthy\ upstream
    | (?:HTTP\S*\s+)?(?:Error\s+)?(?:[45]\d\d[\s:-]+)?{_STATUS}\.?\s*(?:$|[\n<{{])
    | (?:Rate\ limit\ (?:reached|exceeded)|Request\ timed\ out|Connection\ (?:error|refused|reset(?:\ by\ peer)?))
        \s*(?:$|[\n.:])
    | <(?:!doctype\ html|html)\b.{{0,600}}?
        (?:<(?:title|h1|h2|center|body|p|b)>\s*(?:Error\s+)?[45]\d\d\b|[45]\d\d\s+{_STATUS})
    | \{{\s*["'](?:error|detail|object)["']\s*:\s*(?:\{{|["'](?:error|.{{0,40}}(?:error|exceed|not\ found)))
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_WHO = (
    r"[\W_]*(?:(?:非常|很|十分)?(?:抱歉|对不起)[\W_]*)?(?:当前|目前|现在)?"
    r"(?:系统|服务器?|模型|网络|接口|请求|访问人数|用户)(?:当前|目前|内部|暂时)?"
)
_BUSY_TEXT = re.compile(
    rf"{_WHO}(?:繁忙|过载|不可用|开小差了?)[\W_]*"
    rf"|{_WHO}(?:太|正|过于)?(?:繁忙|忙|过载|过多|异常|出错|错误|超时|不可用|拥挤|开小差了?)[\W_]*"
    r"请?您?(?:稍后|稍候|稍等|过一会儿?|几分钟后)?[\W_]*(?:再|重)?(?:试|重试|再来|访问|提问)(?:一下|一次|吧)?[\W_]*"
)
_ERROR_KEYS = {"error", "message", "code", "status", "status_code", "type", "param", "request_id"}
_FAILED_FINISH = {"error", "abort", "aborted", "cancelled"}


def prompt_sha(messages: Sequence[Any]) -> str:
    """Sixteen hex digits of a rendered prompt: roles and texts of all its messages."""
    joined = "\x1e".join(f"{message.role}\x1f{message.text}" for message in messages)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def is_error_text(reply: str) -> bool:
    """Whether *reply* is what a service says when it fails, rather than what a model says."""
    return bool(_ERROR_TEXT.match(reply) or _BUSY_TEXT.fullmatch(reply) or _is_error_object(reply))


def _is_error_object(reply: str) -> bool:
    """Whether *reply* is a JSON object that tells of an error and of nothing else."""
    if not reply.lstrip().startswith("{"):
        return False
    try:
        told = json.loads(reply)
    except ValueError:
        return False
    codes = [told.get(name) for name in ("code", "status", "status_code", "statusCode")]
    failed = any(str(code).isdigit() and 400 <= int(str(code)) <= 599 for code in codes)
    return bool(
        (told.get("error") and told.keys() <= _ERROR_KEYS)
        or ("message" in told and failed)
        or told.keys() == {"detail"}
    )


class _Slots(httpx.BaseTransport):
    """*count* requests at a time, each on a connection of its own.

    The pool of an httpx client looks at every connection that it has whenever a request begins or ends, under a lock:
    with 256 in flight that takes several times the processor time of all else that a request needs.
    """

    def __init__(self, count: int, service_url: str) -> None:
        # a client with a transport of its own does not look for proxies itself
        proxies = get_environ_proxies(service_url) if http_session(service_url).trust_env else {}
        proxy = select_proxy(service_url, proxies)
        proxy = prepend_scheme_if_needed(proxy, "http") if proxy else None  # type: ignore[no-untyped-call]
        certificates = httpx.create_ssl_context()  # once: it reads a file
        # the last used one first: it is still connected
        self.free: LifoQueue[httpx.HTTPTransport] = LifoQueue()
        for _ in range(count):
            self.free.put(httpx.HTTPTransport(verify=certificates, proxy=proxy))
        self.mine = threading.local()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Wait for a slot; what this thread asks in the block goes over that slot's connection."""
        self.mine.transport = transport = self.free.get()
        try:
            yield
        finally:
            self.free.put(transport)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self.mine.transport.handle_request(request)  # type: ignore[no-any-return]


class AskingAPI(OpenAICompatibleAPI):
    """An OpenAI-compatible service that several suites ask at once.

    At most *in_flight* requests are open at any time. A refused, slow or failing request is tried *attempts* times
    with growing pauses. A busy service (429) is waited for, as long as it asks with ``Retry-After`` or with growing
    pauses, up to *timeout_s* seconds for a question. After *patience* questions in a row have failed, whatever the
    suite, the service counts as gone and the remaining questions fail at once.

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
        self.slots = _Slots(in_flight, service_url)
        super().__init__(
            model_name=served_name,
            base_url=service_url,
            api_key=api_key,
            config=GenerateConfig(),
            max_retries=0,
            http_client=httpx.Client(transport=self.slots, timeout=timeout_s),
        )
        self.answers_as = answers_as or served_name
        self.timeout_s, self.attempts, self.pause_s, self.patience = timeout_s, attempts, pause_s, patience
        self.errors: dict[str, str] = {}
        self.requests = self.answered = self.failed_in_a_row = 0
        self.lock = threading.Lock()

    def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> Any:
        """The service's reply; raises whatever kept it from coming."""
        config = config.model_copy(update={"retries": 1, "timeout": config.timeout or self.timeout_s})
        try:
            with self.slots.one():
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
        failures = waits = 0
        give_up = time.monotonic() + self.timeout_s
        while True:
            with self.lock:
                if self.failed_in_a_row >= self.patience:
                    raise ServiceError(
                        f"{self.base_url}: {self.patience} questions in a row failed; not asked"
                    )
                self.requests += 1
            try:
                output = super().generate(messages, tools, tool_choice, config)
                self._refuse_errors(output)
            except RateLimitError as error:
                # Busy is not broken: a spell of it must not use up the attempts, nor make the service count as gone.
                pause_s = _asked_to_wait_s(error) or min(self.pause_s * 2**waits, 8.0)
                waits += 1
                if time.monotonic() + pause_s > give_up:
                    self._failed()
                    raise
                time.sleep(pause_s)
            except Exception as error:
                failures += 1
                # Once several questions have failed on end, further pauses would only add up.
                attempts = self.attempts if self.failed_in_a_row < 3 else 1
                if failures >= attempts or not _worth_another(error):
                    # A prompt that is refused for what it is says nothing about the service.
                    if not (isinstance(error, APIStatusError) and error.status_code in (400, 413, 422)):
                        self._failed()
                    raise
                time.sleep(self.pause_s * 2 ** (failures - 1))
            else:
                with self.lock:
                    self.failed_in_a_row = 0
                    self.answered += 1
                return output

    def _failed(self) -> None:
        with self.lock:
            self.failed_in_a_row += 1

    def _refuse_errors(self, output: ModelOutput) -> None:
        if output.error:
            raise ServiceError(f"error in the reply: {output.error}")
        finish = (output.metadata or {}).get("finish_reasons", {}).values()
        if failed := _FAILED_FINISH.intersection(finish):
            raise ServiceError(f"the reply ended with finish_reason {', '.join(failed)}")
        if output.stop_reason == "content_filter" and not output.completion:
            raise ServiceError("the service's content filter took the reply")
        if is_error_text(output.completion or ""):
            raise ServiceError(f"the reply is a service's error text: {output.completion[:200]}")
        if output.model and not str(output.model).startswith(self.answers_as):
            raise ServiceError(f"{output.model!r} answered, {self.answers_as!r} was asked")

    def handle_bad_request(self, ex: APIStatusError) -> Any:
        """Raise *ex*: EvalScope would make its text the answer."""
        raise ex


def _worth_another(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, APIConnectionError | InternalServerError):
        return True
    return isinstance(error, ValueError) and "no choices" in str(error)


def _asked_to_wait_s(error: APIStatusError) -> float:
    """The seconds of the reply's ``Retry-After``; 0 where it has none that can be read."""
    told = error.response.headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        return max(0.0, float(told))
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    return 0.0
