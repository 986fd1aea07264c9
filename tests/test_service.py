"""Readiness, identity of the listener, and an end that leaves nothing behind; against small real servers."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest

from bakeoff.chain.ports import bindable, free_port
from bakeoff.chain.service import Service, restart, serving, who_answers
from bakeoff.execution.runner import Runner
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import NotReady, ServiceError

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


def test_comments_of_a_stream_are_no_reply_and_one_that_breaks_off_is_told(serve: Serve) -> None:
    with serve("--reply", "慢慢说", "--cut") as service:
        pieces = service.stream(HELLO)
        assert next(pieces) == "慢"
        with pytest.raises(ServiceError, match=r"the reply broke off \(.*tiny-sft ended with code 9; log: "):
            list(pieces)
        with pytest.raises(ServiceError, match=r"the reply broke off \(ConnectionError"):
            list(service.stream(HELLO))


def test_a_service_elsewhere_is_reached_through_the_proxy_and_one_here_is_not(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve() as service:
        monkeypatch.setenv("http_proxy", service.url.removesuffix("/v1"))
        assert Service("http://models.example/v1", "m", "").models() == ["tiny-sft"]
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        assert service.models() == ["tiny-sft"]


def test_the_log_is_that_of_this_service_and_not_of_an_earlier_one(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "serve.log").write_text("torch.OutOfMemoryError: CUDA out of memory, yesterday\n")
    with pytest.raises(NotReady) as told, serve("--crash"):
        pass
    assert "yesterday" not in str(told.value)


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


@pytest.fixture
def as_swift(tmp_path: Path) -> Callable[..., Command]:
    """The fake server's line as one of ms-swift, which the port is waited for."""
    package = tmp_path / "swift"
    (package / "cli").mkdir(parents=True)
    for folder in (package, package / "cli"):
        (folder / "__init__.py").touch()
    start = f"import runpy; runpy.run_path({str(SERVER)!r}, run_name='__main__')\n"
    (package / "cli" / "deploy.py").write_text(start)

    def build(port: int, *flags: str) -> Command:
        argv = ("--served_model_name", "tiny-sft", "--port", str(port), *flags)
        return Command((sys.executable, "-m", "swift.cli.deploy", *argv), {"PYTHONPATH": str(tmp_path)})

    return build


def test_a_fixed_port_on_which_a_connection_lingers_is_waited_for(
    serve: Serve, as_swift: Callable[..., Command]
) -> None:
    port = free_port()
    options: dict[str, Any] = {"port": port, "build": lambda port: as_swift(port, "--moves-on", "--lingers")}
    with socket.socket() as client:
        with serve(**options):
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET /v1/models HTTP/1.1\r\n\r\n")
            assert b"200" in client.recv(1024)
        # closed by a reset, or the connection would linger for a minute more
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        closing = threading.Timer(1.5, client.close)
        closing.start()
        with serve(**options) as service:
            assert service.models() == ["tiny-sft"]
        closing.join()


def test_a_server_that_takes_another_port_is_found_at_once_or_asked_again_with_a_free_one(
    serve: Serve, as_swift: Callable[..., Command]
) -> None:
    ports: list[int] = []

    def moved_once(port: int) -> Command:
        ports.append(port)
        return as_swift(port, *(("--moved",) if len(ports) == 1 else ()))

    with serve(build=moved_once) as service:
        assert service.url == f"http://127.0.0.1:{ports[1]}/v1"
    port = next(port for port in iter(free_port, 0) if bindable(port + 1, lingering_counts=True))
    with (
        pytest.raises(NotReady, match=rf"on port {port}\n.*\nlast seen: it listens on port {port + 1}"),
        serve(port=port, build=lambda port: as_swift(port, "--moved")),
    ):
        pass


def test_who_listens_on_that_port_of_another_address_is_not_in_the_way(serve: Serve) -> None:
    port = free_port()
    with contextlib.ExitStack() as stack:
        for last in range(2, 12):  # the system names listeners in any order
            stack.enter_context(socket.create_server((f"127.0.0.{last}", port)))
        with serve(port=port) as service:
            assert service.process
            assert f"process {service.process.pid} " in who_answers(port)


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
