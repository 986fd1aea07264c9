"""Runs a command: process group, log, time limits, and why it ended."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psutil

from bakeoff.execution.warm import FORKED, starts_as_fork
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import DISK_IS_FULL, CommandFailed, OutOfMemory, Stalled, TimeLimit
from bakeoff.foundation.files import write_json
from bakeoff.foundation.secrecy import redact, scrub
from bakeoff.foundation.texts import printable

GRACE_S = 10.0
"""How long a process group may take to end after SIGTERM, before SIGKILL."""

_SWIFT = ("swift.pipelines.train.sft", "swift.pipelines.export.export", "swift.pipelines.infer.deploy")
WARM: dict[str, tuple[str, ...]] = {
    "swift": _SWIFT,
    "bakeoff.tiny": _SWIFT,
    "bakeoff.forms": _SWIFT,
    "bakeoff.parity_probe": _SWIFT,
    "bakeoff.environments.probe": _SWIFT,
    "bakeoff.evalscope": (
        "evalscope.run",
        "datasets",
        "bakeoff.suites.adapters",
        "bakeoff.evalscope.evaluating",
    ),
}
"""Modules to import ahead for a ``python -m`` line, by the prefix of its module."""


_MARK = "BAKEOFF_RUNNER"
"""In the environment of everything that a runner started."""


@dataclass
class Process:
    """A running or ended command, which leads a session and a group."""

    command: Command
    log: Path
    pid: int = 0
    returncode: int | None = None
    peak_memory_gib: float = 0.0
    seconds: float = 0.0
    log_from: int = 0
    """Bytes of the log that were there before it."""
    _changed: threading.Condition = field(default_factory=threading.Condition, repr=False)

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.returncode is None

    def wait(self, timeout_s: float | None = None) -> int | None:
        """The exit code (negative for a signal), or None after *timeout_s*."""
        with self._changed:
            self._changed.wait_for(lambda: self.returncode is not None, timeout_s)
        return self.returncode

    def stop(self, grace_s: float = GRACE_S) -> int | None:
        """End the whole process group: SIGTERM, *grace_s* seconds, SIGKILL."""
        for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 30.0)):
            if not self.alive():
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            self.wait(patience_s)
        return self.returncode

    def quoted(self, lines: int = 20) -> str:
        """The last *lines* of the log and its first error, for a message."""
        last = tail(self.log, lines)
        first = first_error(self.log, self.log_from)
        head = f"first error: {first}\n" if first and not last.endswith(first) else ""
        return f"{head}last lines of {self.log}:\n{_indent(last)}"


def tail(log: Path, lines: int = 20) -> str:
    """The last *lines* of the file *log*, without secrets."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 64 * 1024))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    shown = [line.rsplit("\r", 1)[-1].rstrip() for line in text.rstrip().splitlines()]
    return printable(redact("\n".join(shown[-lines:])))


_ERROR = re.compile(r"(?:^|\s)((?:\w+\.)*[A-Z]\w*(?:Error|Exception|Exit)(?:: .+)?)$")


def first_error(log: Path, since: int = 0) -> str:
    """How the first traceback in *log* after *since* ends, without secrets.

    Its last lines tell only the consequence where one failure caused another.
    """
    within = False
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(since)
        for line in file:
            text = line.decode("utf-8", "replace").rstrip()
            if text.endswith("Traceback (most recent call last):"):
                within = True
            elif within and (match := _ERROR.search(text)):
                return redact(match[1])
    return ""


class Runner:
    """Starts commands through keepers (:mod:`bakeoff.execution.warm`).

    Args:
        processes: folder that gets one file per running process group, so that a later run can end what a killed
            one left behind.
        warm: import the heavy modules once and fork; False executes every command from scratch.
    """

    def __init__(self, processes: Path, *, warm: bool = True) -> None:
        self.processes = processes
        self.warm = warm
        self._keepers: dict[tuple[str, ...], _Keeper] = {}
        self._mark = uuid.uuid4().hex

    def start(self, command: Command, log: Path) -> Process:
        """Start *command* with its output appended to *log*."""
        process = Process(command, log, log_from=_size(log))
        self._keeper(command).start(process)
        try:
            born = birth(process.pid)
        except OSError:
            return process  # it has ended already
        note = {
            **_this_host(),
            "pid": process.pid,
            "born": born,
            "owner": os.getpid(),
            "owner_born": birth(os.getpid()),
            "mark": self._mark,
            "command": redact(str(command)),
        }
        try:
            write_json(self._note(process), note)
        except BaseException:
            process.stop()  # what is on no note must not run
            raise
        return process

    def run(
        self,
        command: Command,
        log: Path,
        *,
        timeout_s: float,
        stall_s: float,
        progress: Callable[[], object] = lambda: None,
    ) -> Process:
        """Run *command* to its end and return the process.

        Args:
            command: what to run.
            log: receives its output.
            timeout_s: seconds it may take in all.
            stall_s: seconds it may be silent.
            progress: called every half second; another value than before is no silence.

        Raises:
            TimeLimit, Stalled: it was ended for that reason.
            OutOfMemory: the log says so.
            CommandFailed: any other exit code but 0.
        """
        process = self.start(command, log)
        began = heard = time.monotonic()
        life: object = None
        try:
            while process.wait(0.5) is None:
                now = time.monotonic()
                if (sign := (_size(log), progress())) != life:
                    life, heard = sign, now
                if now - began > timeout_s:
                    process.stop()
                    raise failure(process, TimeLimit, f"ran past its time limit of {timeout_s:g} s")
                if now - heard > stall_s:
                    process.stop()
                    raise failure(process, Stalled, f"printed nothing for {stall_s:g} s")
        finally:
            if process.alive():
                process.stop()
            self.forget(process)
        if process.returncode:
            raise failure(process)
        return process

    def forget(self, process: Process) -> None:
        """Take an ended process off the books and secrets out of its log."""
        self._note(process).unlink(missing_ok=True)
        scrub(process.log)

    def _note(self, process: Process) -> Path:
        """The file that describes *process* to other sessions and hosts."""
        return self.processes / f"{_this_host()['host']}-{self._mark[:8]}-{process.pid}.json"

    def close(self) -> None:
        """End every keeper, and with it every process that it started."""
        for keeper in self._keepers.values():
            keeper.close()
        self._keepers.clear()

    def _keeper(self, command: Command) -> _Keeper:
        module = command.module or ""
        ours = self.warm and command.argv[0] == sys.executable and command.processes == 1
        forked = ours and starts_as_fork(module, command.env.get("CUDA_VISIBLE_DEVICES"))
        modules = next((m for prefix, m in WARM.items() if forked and module.startswith(prefix)), ())
        keeper = self._keepers.get(modules)
        if keeper is None or not keeper.alive():
            keeper = self._keepers[modules] = _Keeper(modules, self._mark)
        return keeper


def failure(process: Process, kind: type[CommandFailed] | None = None, what: str = "") -> CommandFailed:
    """The error for how *process* ended: cause, log, and the command line."""
    quoted = process.quoted()
    if kind is None:
        code = process.returncode or 0
        what = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        kind = OutOfMemory if any(sign in quoted for sign in _NO_MEMORY) else CommandFailed
    name = process.command.module or process.command.argv[0]
    full = f"\n{DISK_IS_FULL}: free some space (`make clean-stale`)" if _NO_ROOM.search(quoted) else ""
    return kind(
        f"{name} {what}\n{quoted}{full}\nby hand: {redact(str(process.command))}",
        returncode=process.returncode,
        log=process.log,
    )


_NO_ROOM = re.compile(
    r"No space left on device|Disk quota exceeded|iostream error|PytorchStreamWriter failed writing|file write failed"
)
"""How Python, PyTorch and safetensors tell of a full disk."""
_NO_MEMORY = ("OutOfMemoryError", "CUDA out of memory", "MemoryError", "Cannot allocate memory")


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()) or "    (empty)"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def end_orphans(processes: Path) -> list[str]:
    """End process groups of killed runs; return their command lines.

    A note names a process and its starter by id *and* time of birth: ids are used again. Of a session whose leader is
    gone, only processes that carry our runner's mark in their environment are ours.
    """
    ended = []
    for note in _notes(processes):
        try:
            facts = json.loads(note.read_text())
        except (OSError, ValueError):  # gone meanwhile, or cut short
            note.unlink(missing_ok=True)
            continue
        if _elsewhere(facts):
            if facts["host"] == socket.gethostname() and facts["boot"] != _this_host()["boot"]:
                note.unlink(missing_ok=True)  # this machine was started anew since
            continue
        if _alive(facts["owner"], facts.get("owner_born")):
            continue
        for process in _session(facts["pid"], facts["born"], facts.get("mark")):
            with contextlib.suppress(psutil.Error):
                process.kill()
                process.wait(10)
                ended.append(facts["command"])
        note.unlink(missing_ok=True)
    return list(dict.fromkeys(ended))


def running(processes: Path) -> list[str]:
    """The command lines of the process groups that run now.

    Of another host only its notes are seen: what stands on one counts as running until that host takes it away.
    """
    lines = []
    for note in _notes(processes):
        with contextlib.suppress(OSError, ValueError, KeyError):
            facts = json.loads(note.read_text())
            if _elsewhere(facts):
                lines.append(f"on {facts['host']}: {facts['command']}")
            elif _session(facts["pid"], facts["born"], facts.get("mark")):
                lines.append(str(facts["command"]))
    return lines


def _notes(processes: Path) -> Iterator[Path]:
    return iter(sorted(processes.glob("*.json"))) if processes.is_dir() else iter(())


@cache
def _this_host() -> Mapping[str, str]:
    """What identifies this host or container, whose process ids are its own."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    pids = str(Path("/proc/self/ns/pid").readlink())
    return {"host": socket.gethostname(), "boot": boot, "pids": pids}


def _elsewhere(note: Mapping[str, object]) -> bool:
    """Whether a *note* is of another host."""
    return "host" in note and any(note.get(key) != _this_host()[key] for key in ("boot", "pids"))


def birth(pid: int) -> str:
    """When the process *pid* was born: the boot, and clock ticks since.

    A time of day would change whenever the clock is set.

    Raises:
        OSError: there is no such process.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return f"{boot} {state.rpartition(')')[2].split()[19]}"  # field 22 of proc(5)


def _alive(pid: int, born: str | None) -> bool:
    """Whether the process *pid*, born then (None: whenever), runs."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE) and born in (None, birth(pid))
    except (psutil.NoSuchProcess, OSError):
        return False


def _session(leader: int, born: str, mark: str | None) -> list[psutil.Process]:
    """What lives of the session that our *leader*, born at that time, opened."""
    try:
        if birth(leader) != born:
            return []  # somebody else has the id now, so our session is over
        ours = True
    except OSError:
        ours = False
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) != leader or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if ours or (mark and process.environ().get(_MARK) == mark):
                members.append(process)
    return members


class _Keeper:
    """The client's end of one keeper process."""

    def __init__(self, modules: tuple[str, ...], mark: str) -> None:
        ours, theirs = socket.socketpair()
        env = {**os.environ, "TOKENIZERS_PARALLELISM": "false", _MARK: mark, **(FORKED if modules else {})}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bakeoff.execution.warm", str(theirs.fileno()), *modules],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=env,
        )
        theirs.close()
        self.socket = ours
        self._ids = itertools.count()
        self._running: dict[str, Process] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def alive(self) -> bool:
        return self.process.poll() is None

    def start(self, process: Process) -> None:
        name = str(next(self._ids))
        with self._lock:
            self._running[name] = process
        request: dict[str, object] = {
            "start": name,
            "argv": list(process.command.argv),
            "env": dict(process.command.env),
            "cwd": str(process.command.cwd) if process.command.cwd else None,
            "log": str(process.log),
        }
        process.log.parent.mkdir(parents=True, exist_ok=True)
        process.log.touch(mode=0o600)  # what a tool prints is only known afterwards
        with contextlib.suppress(BrokenPipeError):
            self.socket.sendall(json.dumps(request).encode() + b"\n")
        with process._changed:
            process._changed.wait_for(lambda: process.pid or process.returncode is not None, 300)
        if not process.pid:
            error = self.process.stderr.read().decode(errors="replace") if self.process.stderr else ""
            raise CommandFailed(f"the keeper could not start {process.command}\n{_indent(error[-2000:])}")

    def _listen(self) -> None:
        with self.socket.makefile("rb") as answers, contextlib.suppress(ConnectionResetError):
            for line in answers:
                answer = json.loads(line)
                if "id" not in answer:
                    continue
                process = self._running[answer["id"]]
                with process._changed:
                    if "pid" in answer:
                        process.pid = answer["pid"]
                    else:
                        process.peak_memory_gib = answer["maxrss_kib"] / 1024**2
                        process.seconds = answer["seconds"]
                        process.returncode = answer["status"]
                        del self._running[answer["id"]]
                    process._changed.notify_all()
        for process in self._running.values():  # the keeper died, and took its children along, not theirs
            if process.pid:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            with process._changed:
                process.returncode = -signal.SIGKILL
                process._changed.notify_all()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        if self.process.stderr:
            self.process.stderr.close()
