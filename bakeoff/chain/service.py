"""A model behind an OpenAI-compatible service and its process.

Readiness, identity, liveness and the stop ladder.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests

from bakeoff.chain.ports import HOST, bindable, free_port, listener
from bakeoff.endpoint.address import http_session, key_of, shown_url
from bakeoff.endpoint.answers import BadAnswer, is_version_of, read_answer
from bakeoff.endpoint.models import listed_models, shown_names
from bakeoff.endpoint.streams import lines_of, pieces_of
from bakeoff.endpoint.transfer import arriving, in_pieces, post
from bakeoff.execution.gpus import cards
from bakeoff.execution.runner import Process, Runner, failure, tail
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import NotReady, ServiceError
from bakeoff.foundation.secrecy import redact
from bakeoff.foundation.sentences import Template
from bakeoff.foundation.texts import printable, why_untrusted, words_of
from bakeoff.store.facts import HealthFacts

ENDED = Template(
    "chain.service.ended",
    "{name} ended with code {code}; log: {log}",
    zh="{name} 已退出（退出码 {code}），日志：{log}",
    en="{name} exited with code {code}; log: {log}",
)
NAMELESS = Template(
    "chain.service.nameless",
    "{asked!r} was asked, and replies do not say which model answers",
    zh="请求的模型是 {asked!r}，回复中没有说明由哪个模型作答",
    en="{asked!r} was requested; the replies do not say which model answered",
)
OTHER_NAME = Template(
    "chain.service.other_name",
    "{asked!r} was asked, and {answers!r} answers",
    zh="请求的模型是 {asked!r}，实际作答的是 {answers!r}",
    en="{asked!r} was requested, but {answers!r} answered",
)

CANARY_TIMEOUT_S = 120.0
LONGEST_STREAM_S = 1800.0
"""Longest time for one whole streamed reply; a small machine writes slowly."""


@dataclass
class Service:
    """A service that answered; ``url`` ends in ``/v1``.

    Attributes:
        fingerprint: digest of what answers (weights, adapter, template, engine, versions).
        facts: seconds to each step of readiness, restarts, and the canary's reply.
    """

    url: str
    served_name: str
    fingerprint: str
    process: Process | None = None
    key_env: str | None = None
    facts: dict[str, object] = field(default_factory=dict)

    def why_dead(self) -> str:
        """Return how the service ended, empty while it runs."""
        if self.process is None or self.process.alive():
            return ""
        return ENDED(name=self.served_name, code=self.process.returncode, log=self.process.log)

    @property
    def by_hand(self) -> str:
        """The line that starts it or, where somebody else does, asks it."""
        return str(self.process.command) if self.process else f"curl {shown_url(self.url)}/models"

    def models(self, timeout_s: float = 10) -> list[str]:
        """The names under ``/v1/models``.

        Raises:
            requests.RequestException: nobody answered, or not as such a service does.
        """
        return listed_models(self._session(), self.url, timeout_s)

    def complete(
        self, messages: list[dict[str, str]], *, timeout_s: float = CANARY_TIMEOUT_S, **options: object
    ) -> Any:
        """The answer to one chat completion, as the service's JSON."""
        body = {"model": self.served_name, "messages": messages, "temperature": 0, **options}
        url = f"{self.url}/chat/completions"
        with post(self._session(), url, body, self._key(), timeout_s=timeout_s) as answer:
            content = b"".join(in_pieces(arriving(answer), time.monotonic() + timeout_s))
            if not answer.ok:
                raise ServiceError(
                    f"{shown_url(self.url)} answered {answer.status_code}: {words_of(content, self._key())}"
                )
            return read_answer(content, answer.headers.get("content-type", "")).raw

    def stream(
        self, messages: list[dict[str, str]], *, timeout_s: float = CANARY_TIMEOUT_S, **options: object
    ) -> Iterator[str]:
        """Yield the pieces of one reply as they are written.

        *timeout_s* is the longest silence.

        Raises:
            ServiceError: it refused the request, went silent or broke off.
        """
        body = {"model": self.served_name, "messages": messages, "stream": True, **options}
        url = f"{self.url}/chat/completions"
        ended, seen = False, "the connection was closed"
        try:
            with post(self._session(), url, body, self._key(), timeout_s=timeout_s) as answer:
                if not answer.ok:
                    content = b"".join(in_pieces(arriving(answer), time.monotonic() + timeout_s))
                    raise ServiceError(
                        f"{shown_url(self.url)} answered {answer.status_code}: {words_of(content, self._key())}"
                    )
                for piece, last in pieces_of(lines_of(answer, LONGEST_STREAM_S)):
                    ended |= last
                    if piece or not last:
                        yield piece
        except (requests.RequestException, ValueError, BadAnswer) as error:
            ended, seen = False, _brief(error)
        if not ended:
            if self.process:
                self.process.wait(1)  # its end is told a moment later
            why = self.why_dead() or f"see whether it still runs, by hand: curl {shown_url(self.url)}/models"
            raise ServiceError(f"{shown_url(self.url)}: the reply broke off ({redact(seen)}); {why}")

    def _key(self) -> str:
        return key_of(self.key_env, self.url)

    def _session(self) -> requests.Session:
        session = http_session(self.url)
        session.headers["Authorization"] = f"Bearer {self._key() or 'EMPTY'}"
        return session


@contextmanager
def serving(
    build: Callable[[int], Command],
    *,
    served_name: str,
    fingerprint: str,
    runner: Runner,
    log: Path,
    port: int | None = None,
    ready_timeout_s: float = 600,
) -> Iterator[Service]:
    """Start a service, yield it ready, and end its process group.

    Args:
        build: the serving command for a port.
        served_name: the name it must list.
        fingerprint: see :class:`Service`.
        runner: starts the command.
        log: receives its output; what an earlier service wrote there is removed.
        port: a fixed port; None takes a free one.
        ready_timeout_s: seconds until it must list its name; the canary has its own limit.

    Raises:
        ServiceError: the port is answered by somebody else.
        NotReady: wanted / waited / last seen / last log lines / the command to run by hand.
    """
    log.unlink(missing_ok=True)
    attempts = 1 if port else 3
    for attempt in range(attempts):
        here = port or free_port()
        if occupant := who_answers(here):
            raise ServiceError(
                f"{served_name}: port {here} is taken: {occupant}. "
                "End it, or leave 'port' out of the matrix for a free one"
            )
        command = build(here)
        service = Service(f"http://{HOST}:{here}/v1", served_name, fingerprint)
        _await_port(command, here)
        before = _free_gib(command)
        service.process = runner.start(command, log)
        try:
            try:
                _wait_until_ready(service, here, ready_timeout_s)
            except _TakenMeanwhile:
                if attempt + 1 < attempts:
                    continue
                raise
            yield service
            return
        finally:
            _end(service, runner)
            _await_memory(service, command, before)


class _TakenMeanwhile(NotReady):
    """The port was taken between our look and our start."""


def restart(service: Service, runner: Runner, ready_timeout_s: float) -> None:
    """Start a service that died again, on its own port.

    Raises:
        NotReady: it did not come back.
    """
    assert service.process
    command, log = service.process.command, service.process.log
    _end(service, runner)
    port = _port(service)
    _await_port(command, port)
    service.process = runner.start(command, log)
    service.facts["restarts"] = HealthFacts.read(service.facts).restarts + 1
    _wait_until_ready(service, port, ready_timeout_s)


def _await_port(command: Command, port: int) -> None:
    """Wait until *command* can have *port*."""
    deadline = time.monotonic() + 75
    while not (bindable(port, _moves_on(command)) or listener(port)) and time.monotonic() < deadline:
        time.sleep(0.5)


def _moves_on(command: Command) -> bool:
    """Return whether it silently takes the next free port."""
    return (command.module or "").startswith("swift.")


def _port(service: Service) -> int:
    return int(service.url.rpartition(":")[2].removesuffix("/v1"))


def _end(service: Service, runner: Runner) -> None:
    """End the process group and what its members started outside."""
    process = service.process
    assert process
    family = _family(process.pid)
    process.stop()
    for member in family:
        with contextlib.suppress(
            psutil.NoSuchProcess
        ):  # psutil compares the time of birth, so it is the same one
            if member.is_running():
                member.kill()
    psutil.wait_procs(family, timeout=10)
    runner.forget(process)


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _free_gib(command: Command) -> float:
    """Return the free memory of all cards that *command* may use."""
    visible = command.env.get("CUDA_VISIBLE_DEVICES")
    if visible == "":
        return 0.0
    numbers = visible.split(",") if visible else None
    return sum(card.free_gib for card in cards() if numbers is None or str(card.number) in numbers)


def _await_memory(service: Service, command: Command, before_gib: float, patience_s: float = 30.0) -> None:
    """Wait until the cards are as free as before."""
    deadline = time.monotonic() + patience_s
    while (missing := before_gib - _free_gib(command)) > 0.5 and time.monotonic() < deadline:
        time.sleep(1)
    if missing > 0.5:
        service.facts["memory_not_returned_gib"] = round(missing, 1)


def _wait_until_ready(service: Service, port: int, timeout_s: float) -> None:
    process = service.process
    assert process
    began = looked = time.monotonic()
    seen = "nothing listened"
    while True:
        waited = time.monotonic() - began
        if time.monotonic() - looked > 1:
            looked = time.monotonic()
            _refuse_move(service, port, waited)
        if not process.alive():
            raise _not_ready(service, f"/v1/models to list {service.served_name!r}", waited, _ending(process))
        try:
            names = service.models()
            if service.served_name in names:
                break
            seen = f"/v1/models listed {names}"
            _refuse_stranger(service, port, waited)
        except NotReady:
            raise
        except (ServiceError, requests.RequestException, KeyError, TypeError, ValueError) as error:
            seen = _brief(error)
        if waited > timeout_s:
            raise _not_ready(service, f"/v1/models to list {service.served_name!r}", waited, seen)
        time.sleep(0.1 if waited < 10 else 1)
    _refuse_stranger(service, port, waited)
    service.facts["seconds_to_models"] = round(time.monotonic() - began, 2)
    _canary(service, began)


def _canary(service: Service, began: float) -> None:
    try:
        answer = service.complete([{"role": "user", "content": "你好"}], max_tokens=8)
        reply = answer["choices"][0]["message"]
    except (requests.RequestException, ServiceError, KeyError, IndexError, TypeError, ValueError) as error:
        raise _not_ready(service, "a canary completion", time.monotonic() - began, _brief(error)) from None
    service.facts["seconds_to_answer"] = round(time.monotonic() - began, 2)
    service.facts["canary"] = str(reply.get("content"))[:80]
    for fact, name in (("answers_as", "model"), ("system_fingerprint", "system_fingerprint")):
        service.facts[fact] = answer.get(name) if isinstance(answer.get(name), str) else ""


def who_answers_as(service: Service) -> str:
    """Return a caution about the name that answered the canary."""
    name = HealthFacts.read(service.facts).answers_as
    if not name:
        return NAMELESS(asked=service.served_name)
    if not is_version_of(service.served_name, name):
        return OTHER_NAME(asked=service.served_name, answers=name)
    return ""


def reach(service: Service) -> None:
    """See that a service that somebody else runs lists our name and answers.

    Raises:
        NotReady: it does not; says what it has instead.
    """
    began = time.monotonic()
    awaited = f"{shown_url(service.url)}/models to list {service.served_name!r}"
    try:
        names = service.models()
    except (ServiceError, requests.RequestException, KeyError, TypeError, ValueError) as error:
        raise _not_ready(service, awaited, time.monotonic() - began, _brief(error)) from None
    if service.served_name not in names:
        raise _not_ready(service, awaited, time.monotonic() - began, shown_names(names, service.served_name))
    _canary(service, began)


def _refuse_stranger(service: Service, port: int, waited_s: float) -> None:
    """Raise where somebody else's process listens on *port*."""
    process, pid = service.process, listener(port)
    assert process
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        ours = {process.pid, *(member.pid for member in _family(process.pid))}
        if pid not in ours and os.getsid(pid) != process.pid:
            awaited = f"our process {process.pid} on port {port}"
            seen = f"process {pid} listens there"
            raise _not_ready(service, awaited, waited_s, seen, _TakenMeanwhile)


def _refuse_move(service: Service, port: int, waited_s: float) -> None:
    """Raise where our process took another port than *port*."""
    process = service.process
    assert process
    if not _moves_on(process.command):
        return
    with contextlib.suppress(psutil.Error):
        family = [psutil.Process(process.pid), *_family(process.pid)]
        ports = {
            connection.laddr.port
            for member in family
            for connection in member.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        if port not in ports and (others := sorted(p for p in ports if port < p <= port + 100)):
            awaited = f"our process {process.pid} on port {port}"
            seen = f"it listens on port {others[0]}: {port} is taken, or connections to an ended server linger there"
            raise _not_ready(service, awaited, waited_s, seen, _TakenMeanwhile)


def _not_ready(
    service: Service, awaited: str, waited_s: float, seen: str, kind: type[NotReady] = NotReady
) -> NotReady:
    words = f"{service.served_name} is not ready\nwanted: {awaited}\nwaited: {waited_s:.0f} s"
    words += f"\nlast seen: {redact(seen)}"
    if service.process:
        words += f"\n{service.process.quoted(15)}{_short_of_memory(service.process.log)}"
    return kind(f"{words}\nby hand: {service.by_hand}")


_NO_MEMORY = re.compile(
    r"out ?of ?memory|no available memory for the cache|free memory on device", re.IGNORECASE
)


def _short_of_memory(log: Path) -> str:
    """Return the way out of a lack of memory that *log* tells of."""
    if not _NO_MEMORY.search(tail(log, 200)):
        return ""
    return (
        "\nout of memory: lower the row's serving: session_len, max_batch_size (down to 1) or memory_share, "
        "or end what else runs on the card"
    )


def _ending(process: Process) -> str:
    return str(failure(process)).splitlines()[0]


def _brief(error: Exception) -> str:
    words = printable(redact(str(error)))
    return f"{type(error).__name__}: {words[:300]}{why_untrusted(words)}"


def who_answers(port: int) -> str:
    """Return in words what is found on *port*, empty for nothing."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex((HOST, port)) != 0:
            return ""
    owner = ""
    if pid := listener(port):
        with contextlib.suppress(psutil.Error):
            owner = f"process {pid} ({redact(' '.join(psutil.Process(pid).cmdline())[:120])}), "
    try:
        names = Service(f"http://{HOST}:{port}/v1", "", "").models(timeout_s=3)
        return f"{owner}a service that lists {names}"
    except (ServiceError, requests.RequestException, KeyError, TypeError, ValueError):
        return f"{owner}no OpenAI-compatible service"
