"""Readiness, identity of the listener, and an end that leaves nothing behind; against small real servers."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest

from bakeoff.command import Command
from bakeoff.errors import NotReady, ServiceError
from bakeoff.runner import Runner
from bakeoff.service import Service, free_port, restart, serving, who_answers

SERVER = Path(__file__).parent / "fakes" / "chat_server.py"
HELLO = [{"role": "user", "content": "你好"}]

Serve = Callable[..., AbstractContextManager[Service]]


def line(port: int, *flags: str, name: str = "tiny-sft") -> Command:
    argv = ("--served_model_name", name, "--port", str(port), *flags)
    return Command((sys.executable, str(SERVER), *argv))


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = Runner(tmp_path_factory.mktemp("processes"))
    yield runner
    runner.close()


@pytest.fixture
def serve(runner: Runner, tmp_path: Path) -> Serve:
    """Serve the fake with some flags."""

    def start(*flags: str, **options: Any) -> AbstractContextManager[Service]:
        options = {"ready_timeout_s": 30, "build": lambda port: line(port, *flags), **options}
        return serving(
            served_name="tiny-sft", fingerprint="f" * 64, runner=runner, log=tmp_path / "serve.log", **options
        )

    return start


@contextlib.contextmanager
def stranger(port: int, *flags: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's server on *port*."""
    process = subprocess.Popen(line(port, *flags, name=name).argv)
    try:
        while not who_answers(port):
            assert process.poll() is None
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_ready_service_answers_and_is_gone_afterwards(serve: Serve) -> None:
    with serve("--reply", "在的") as service:
        assert service.models() == ["tiny-sft"]
        assert service.facts["canary"] == "在的"
        assert service.facts["answers_as"] == "tiny-sft"
        assert service.fingerprint == "f" * 64
        assert service.process
        pid, port = service.process.pid, int(service.url.rpartition(":")[2].removesuffix("/v1"))
    assert not psutil.pid_exists(pid)
    assert who_answers(port) == ""


def test_a_reply_streams_piece_by_piece(serve: Serve) -> None:
    with serve("--reply", "慢慢说") as service:
        assert list(service.stream(HELLO)) == ["慢", "慢", "说"]


def test_a_slow_start_is_waited_for(serve: Serve) -> None:
    with serve("--slow-start", "1.5") as service:
        assert service.facts["seconds_to_models"] >= 1.5


def test_a_crash_is_told_with_its_code_its_last_words_and_the_line_to_run(serve: Serve) -> None:
    with pytest.raises(NotReady) as told, serve("--crash"):
        pass
    for part in (
        "wanted: /v1/models to list 'tiny-sft'",
        "exit code 3",
        "no such weights",
        f"by hand: {sys.executable}",
    ):
        assert part in str(told.value)


def test_a_service_that_never_listens_is_given_up_and_ended(serve: Serve) -> None:
    with (
        pytest.raises(NotReady, match=r"waited: 1 s\nlast seen: ConnectionError"),
        serve("--slow-start", "60", ready_timeout_s=1),
    ):
        pass


def test_a_service_that_lists_another_name_is_not_ours(serve: Serve) -> None:
    with (
        pytest.raises(NotReady, match=r"last seen: /v1/models listed \['qwen-base'\]"),
        serve("--lists", "qwen-base", ready_timeout_s=2),
    ):
        pass


def test_a_service_that_answers_no_json_is_not_ready(serve: Serve) -> None:
    with pytest.raises(NotReady, match="wanted: a canary completion"), serve("--garbage"):
        pass


def test_a_taken_port_is_refused_with_what_was_found_there(serve: Serve) -> None:
    port = free_port()
    with stranger(port, name="yesterday-sft") as other:
        with (
            pytest.raises(
                ServiceError, match=rf"{port} is taken: process {other.pid} .* lists \['yesterday-sft'\]"
            ),
            serve(port=port),
        ):
            pass
        assert other.poll() is None  # it is not ours to end


def test_a_port_held_by_something_else_is_refused_too(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(ServiceError, match=r"is taken: .*no OpenAI-compatible service"), serve(port=port):
            pass


def test_a_stranger_under_our_very_name_is_found_out(serve: Serve) -> None:
    """It came between our look at the port and our start; ours listens elsewhere, as ms-swift would."""
    port = free_port()
    with contextlib.ExitStack() as stack:

        def build(wanted: int) -> Command:
            stack.enter_context(stranger(wanted, name="tiny-sft"))
            return line(free_port())

        with pytest.raises(NotReady, match=rf"our process \d+ on port {port}"), serve(port=port, build=build):
            pass


def test_without_a_fixed_port_another_one_is_taken_then(serve: Serve) -> None:
    ports: list[int] = []
    with contextlib.ExitStack() as stack:

        def build(wanted: int) -> Command:
            ports.append(wanted)
            if len(ports) > 1:
                return line(wanted)
            stack.enter_context(stranger(wanted, name="other-sft"))
            return line(free_port())

        with serve(build=build) as service:
            assert service.url == f"http://127.0.0.1:{ports[1]}/v1"


def test_a_dead_service_comes_back_on_its_own_port(serve: Serve, runner: Runner, tmp_path: Path) -> None:
    with serve("--die-at", "2", "--once", str(tmp_path / "died")) as service:
        url = service.url
        with pytest.raises(Exception, match=r"Connection|RemoteDisconnected"):
            service.complete(HELLO)
        assert service.process
        service.process.wait(10)
        assert "ended with code 9" in service.why_dead()
        restart(service, runner, 30)
        assert service.url == url
        assert service.why_dead() == ""
        assert service.complete(HELLO)["choices"]
        assert service.facts["restarts"] == 1


@pytest.mark.slow
def test_a_service_deaf_to_sigterm_ends_with_its_grandchildren(serve: Serve, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with serve("--deaf", str(pids)) as service:
        port = int(service.url.rpartition(":")[2].removesuffix("/v1"))
        family = [int(pid) for pid in pids.read_text().split()]
        assert all(psutil.pid_exists(pid) for pid in family)
    assert [pid for pid in family if psutil.pid_exists(pid)] == []
    assert who_answers(port) == ""


@pytest.mark.parametrize(
    "said",
    ["torch.OutOfMemoryError: CUDA out of memory.", "ValueError: No available memory for the cache blocks."],
)
def test_a_service_without_memory_is_told_with_what_to_lower(serve: Serve, said: str) -> None:
    def build(port: int) -> Command:
        return Command((sys.executable, "-c", f"import sys; sys.exit({said!r})"))

    with (
        pytest.raises(NotReady, match=r"serving: session_len, max_batch_size \(down to 1\) or memory_share"),
        serve(build=build),
    ):
        pass


def test_a_service_that_ends_for_another_reason_is_told_without_advice_on_memory(serve: Serve) -> None:
    with pytest.raises(NotReady) as caught, serve("--crash"):
        pass
    assert "memory_share" not in str(caught.value)
