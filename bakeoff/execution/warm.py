"""The keeper: a process that starts commands and ends them with itself.

Nearly all of a tiny stage is imports. The keeper imports the heavy modules once and *forks* a child for each
``python -m <module>`` line of its own interpreter; every other command is executed as usual. Either way a child
is a session of its own with its own log, so a crash stays in the child.

Protocol: JSON lines over the socket given as file descriptor.
``{"start": id, "argv": [...], "env": {...}, "cwd": path, "log": path}`` is answered by ``{"id", "pid"}`` and, when
the child has ended, by ``{"id", "status", "maxrss_kib", "seconds"}``. When the socket closes, for whatever
reason, every child's process group is killed: nothing outlives the one who asked for it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TypedDict

PR_SET_PDEATHSIG = 1
ON_CARDS = ("bakeoff.parity_probe", "swift.pipelines.export.export")
"""Modules that use a card for a minute, of which imports were a third."""

FORKED = {
    "OMP_NUM_THREADS": "1",  # read when torch is imported; no pool of threads survives a fork
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # else imports ask for the card, and then no fork can
}
"""Environment of a keeper with modules imported."""


class Request(TypedDict):
    """A command to start, as a line of the protocol holds it."""

    start: str
    argv: list[str]
    env: dict[str, str]
    cwd: str | None
    log: str


def starts_as_fork(module: str, visible: str | None) -> bool:
    """Return whether *module* runs in a fork where *visible* names the cards.

    A training on a card runs for hours, so its imports do not matter; a service wants a process of its own.
    """
    return visible == "" or module.startswith("bakeoff.") or module in ON_CARDS


def main(argv: list[str]) -> int:
    """Serve the socket of a file descriptor with modules imported."""
    os.setsid()
    control = socket.socket(fileno=int(argv[0]))
    os.set_inheritable(control.fileno(), False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in argv[1:]:
        import_module(module)
    _send(control, {"ready": True})
    Keeper(control).serve()
    return 0


class Keeper:
    """Starts children on request and reports their end."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.children: dict[int, tuple[str, float]] = {}
        self.wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._end)

    def serve(self) -> None:
        """Work until the socket closes."""
        selector = selectors.DefaultSelector()
        selector.register(self.control, selectors.EVENT_READ)
        selector.register(self.wake_read, selectors.EVENT_READ)
        pending = b""
        while True:
            for key, _ in selector.select():
                if key.fileobj is self.control:
                    chunk = self.control.recv(1 << 20)
                    if not chunk:
                        self._end()
                    *lines, pending = (pending + chunk).split(b"\n")
                    for line in lines:
                        self._start(json.loads(line))
                else:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.wake_read, 4096)
                    self._reap()

    def _start(self, request: Request) -> None:
        pid = os.fork()
        if pid == 0:
            self.control.close()
            os.close(self.wake_read)
            _become(request)
        self.children[pid] = (request["start"], time.monotonic())
        _send(self.control, {"id": request["start"], "pid": pid})

    def _reap(self) -> None:
        while self.children:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.children:
                name, began = self.children.pop(pid)
                _kill_group(pid)  # whatever the stage left behind in its session
                answer = {
                    "id": name,
                    "status": os.waitstatus_to_exitcode(status),
                    "maxrss_kib": usage.ru_maxrss,
                }
                _send(self.control, {**answer, "seconds": time.monotonic() - began})

    def _end(self, *_: object) -> None:
        for pid in self.children:
            _kill_group(pid)
        os._exit(0)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _send(control: socket.socket, message: Mapping[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        control.sendall(json.dumps(message).encode() + b"\n")


def _become(request: Request) -> None:
    """Turn the forked child into the command; does not return."""
    code = 1
    try:
        keeper = os.getppid()
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        Path(request["log"]).parent.mkdir(parents=True, exist_ok=True)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        if request["cwd"]:
            os.chdir(request["cwd"])
        argv = request["argv"]
        os.environ.update(request["env"])
        if argv[0] == sys.executable and argv[1:2] == ["-m"] and _warm(argv[2]) and _fits(argv[2]):
            sys.argv = [argv[2], *argv[3:]]
            sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            runpy.run_module(argv[2], run_name="__main__", alter_sys=True)
            code = 0
        else:
            os.execvpe(argv[0], argv, os.environ)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):  # what a normal exit does, without unwinding into the keeper
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _fits(module: str) -> bool:
    """Whether a fork of this process can run *module*.

    CUDA refuses a fork of a process that has asked for a card. What uses a card wants all processors, too.
    """
    if module not in ON_CARDS or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return True
    torch = sys.modules.get("torch")
    refused = getattr(getattr(torch, "cuda", None), "_is_in_bad_fork", None)
    if torch is None or refused is None or refused():
        os.environ.pop("OMP_NUM_THREADS", None)
        return False
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return True


def _warm(module: str) -> bool:
    """Whether *module* belongs to a package that is imported already."""
    return module.split(".")[0] in sys.modules or module.startswith("bakeoff.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
