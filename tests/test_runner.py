"""Commands run in a process group of their own, and leave nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from bakeoff.execution import warm
from bakeoff.execution.runner import Runner, birth, end_orphans, first_error, tail
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import CommandFailed, OutOfMemory, Stalled, TimeLimit, in_short


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    made = Runner(tmp_path / "processes")
    yield made
    made.close()


def python(code: str, **env: str) -> Command:
    return Command((sys.executable, "-c", code), env)


def run(runner: Runner, command: Command, log: Path, timeout_s: float = 60, stall_s: float = 60) -> float:
    return runner.run(command, log, timeout_s=timeout_s, stall_s=stall_s).peak_memory_gib


def gone(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return True


def wait_until(condition: object, timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if callable(condition) and condition():
            return True
        time.sleep(0.05)
    return False


def test_output_goes_to_the_log_and_memory_is_measured(runner: Runner, tmp_path: Path) -> None:
    peak = run(
        runner,
        python("x = bytearray(200 << 20); print('done', __import__('os').environ['A'])", A="b"),
        tmp_path / "log",
    )
    assert (tmp_path / "log").read_text() == "done b\n"
    assert peak > 0.19


def test_a_crash_is_told_with_code_last_lines_log_and_the_line_to_run(runner: Runner, tmp_path: Path) -> None:
    command = python("print('first'); raise SystemExit(3)")
    with pytest.raises(CommandFailed) as caught:
        run(runner, command, tmp_path / "log")
    told = str(caught.value)
    assert caught.value.returncode == 3
    assert all(part in told for part in ("exit code 3", "first", str(tmp_path / "log"), str(command)))


def test_what_went_wrong_first_is_told_beside_the_last_lines(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("Traceback (most recent call last):\nKeyError: 'of an earlier attempt'\n")
    child = "print('of a child:', flush=True); import no_such_package"
    code = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])\n"
        "print('waiting\\n' * 30, flush=True); raise RuntimeError('the child did not start, see above')"
    )
    with pytest.raises(CommandFailed) as caught:
        run(runner, python(code), tmp_path / "log")
    told, cause = str(caught.value), "ModuleNotFoundError: No module named 'no_such_package'"
    assert told.count(cause) == 1
    assert in_short(told) == (
        f"{sys.executable} ended with exit code 1: RuntimeError: the child did not start, see above "
        f"(first error: {cause})"
    )
    with pytest.raises(CommandFailed) as alone:
        run(runner, python("raise RuntimeError('alone')"), tmp_path / "other")
    assert "first error" not in str(alone.value)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("(Engine pid=8) ERROR 11-29 [core.py:1] torch.OutOfMemoryError: no room", "torch.OutOfMemoryError: no room"),
        ("[rank0]: ValueError", "ValueError"),
        ('    raise RuntimeError("see above")', ""),
        ('WARNING: Failed to import: ModuleNotFoundError("x")', ""),
    ],
)  # fmt: skip
def test_how_a_traceback_ends_is_found_behind_what_a_logger_puts_before_it(
    tmp_path: Path, line: str, found: str
) -> None:
    (tmp_path / "log").write_text(f"ImportError: outside\nx Traceback (most recent call last):\n{line}\n")
    assert first_error(tmp_path / "log") == found
    assert first_error(tmp_path / "none") == ""


def test_a_segfault_does_not_take_us_along(runner: Runner, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="signal 11"):
        run(runner, python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"), tmp_path / "log")
    run(runner, python("print('next')"), tmp_path / "next")
    assert (tmp_path / "next").read_text() == "next\n"


def test_a_forked_module_that_crashes_does_not_take_its_keeper_along(runner: Runner, tmp_path: Path) -> None:
    """The warm path: the module is run in a fork, not in a new interpreter."""
    line = Command((sys.executable, "-m", "bakeoff.evalscope", "run", str(tmp_path / "no-plan.json")))
    for _ in range(2):
        with pytest.raises(CommandFailed) as caught:
            runner.run(line, tmp_path / "log", timeout_s=120, stall_s=120)
        assert caught.value.returncode == 1
    assert "no-plan.json" in tail(tmp_path / "log")


@pytest.mark.parametrize(
    ("module", "visible", "asked", "forks", "threads"),
    [
        ("bakeoff.parity_probe", "0", False, True, True),
        ("bakeoff.parity_probe", "0", True, False, False),
        ("bakeoff.parity_probe", None, True, False, False),
        ("bakeoff.parity_probe", "", True, True, False),  # uses no card
        ("swift.pipelines.export.export", "3", False, True, True),
        ("bakeoff.evalscope", "0", True, True, False),
    ],
)
def test_a_fork_uses_a_card_only_if_the_keeper_never_asked_for_it(
    monkeypatch: pytest.MonkeyPatch, module: str, visible: str | None, asked: bool, forks: bool, threads: bool
) -> None:
    given: list[int] = []
    cuda = SimpleNamespace(_is_in_bad_fork=lambda: asked)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, set_num_threads=given.append))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert warm._fits(module) is forks
    assert bool(given) is threads
    assert ("OMP_NUM_THREADS" in os.environ) is forks, "a new interpreter takes all processors"


def test_trainings_and_services_on_a_card_start_from_nothing_and_short_stages_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, ...]] = []

    def keeper(modules: tuple[str, ...], mark: str) -> object:
        seen.append(modules)
        return SimpleNamespace(alive=lambda: True)

    monkeypatch.setattr("bakeoff.execution.runner._Keeper", keeper)

    def imported(module: str, **env: str) -> int:
        seen.clear()
        Runner(tmp_path)._keeper(Command((sys.executable, "-m", module), env))
        return len(seen[0])

    for module in ("swift.pipelines.train.sft", "swift.pipelines.infer.deploy"):
        assert imported(module, CUDA_VISIBLE_DEVICES="0") == 0
        assert imported(module, CUDA_VISIBLE_DEVICES="") == 3
    for module in ("swift.pipelines.export.export", "bakeoff.parity_probe"):
        assert imported(module, CUDA_VISIBLE_DEVICES="0") == imported(module) == 3


def test_memory_that_ran_out_has_an_error_of_its_own(runner: Runner, tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory):
        run(
            runner,
            python("raise RuntimeError('torch.OutOfMemoryError: CUDA out of memory. Tried')"),
            tmp_path / "log",
        )


def test_a_command_past_its_time_limit_is_ended_with_its_children(runner: Runner, tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(p.pid)); time.sleep(600)"
    )
    with pytest.raises(TimeLimit, match="time limit of 2 s"):
        run(runner, python(code), tmp_path / "log", timeout_s=2)
    assert wait_until(lambda: gone(int((tmp_path / "child").read_text())))


def test_silence_is_a_stall(runner: Runner, tmp_path: Path) -> None:
    with pytest.raises(Stalled, match="printed nothing for 1 s"):
        run(
            runner,
            python("import time; print('x', flush=True); time.sleep(600)"),
            tmp_path / "log",
            stall_s=1,
        )


def test_the_deaf_are_killed(runner: Runner, tmp_path: Path) -> None:
    deaf = python(
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    process = runner.start(deaf, tmp_path / "log")
    assert wait_until(lambda: "up" in tail(tmp_path / "log"))
    assert process.stop(grace_s=0.5) == -signal.SIGKILL


def test_nothing_outlives_a_killed_owner(tmp_path: Path) -> None:
    """kill -9 of the process that started a command ends the command."""
    code = f"""
import sys, time
from pathlib import Path
from bakeoff.foundation.command import Command
from bakeoff.execution.runner import Runner
runner = Runner(Path({str(tmp_path)!r}) / "processes")
process = runner.start(Command((sys.executable, "-c", "import time; time.sleep(600)")), Path({str(tmp_path)!r}) / "log")
print(process.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        pid = int(owner.stdout.readline())
        assert not gone(pid)
        owner.kill()
        assert wait_until(lambda: gone(pid), 120)  # a keeper that imports sees its owner's end after that


SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


Sleepers = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def sleepers() -> Iterator[Sleepers]:
    """Starts processes with sessions of their own, and ends them afterwards."""
    with contextlib.ExitStack() as stack:

        def start(argv: Sequence[str] = SLEEP, **env: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(argv, start_new_session=True, env={**os.environ, **env})
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


def dead_pid() -> int:
    ask = [sys.executable, "-c", "import os; print(os.getpid())"]
    return int(subprocess.run(ask, capture_output=True, check=True).stdout)


def noted(folder: Path, pid: int, **changes: object) -> None:
    """A note as a runner writes it, of a run that was killed."""
    with contextlib.suppress(OSError):
        changes.setdefault("born", birth(pid))
    told = {"pid": pid, "owner": dead_pid(), "owner_born": "boot 1", "mark": "m", "command": "x", **changes}
    (folder / f"{pid}.json").write_text(json.dumps(told))


def test_orphans_of_a_killed_run_are_ended_and_only_those(tmp_path: Path, sleepers: Sleepers) -> None:
    orphan, other = sleepers(), sleepers()
    noted(tmp_path, orphan.pid)
    noted(tmp_path, other.pid, owner=os.getpid(), owner_born=birth(os.getpid()))
    assert end_orphans(tmp_path) == ["x"]
    assert gone(orphan.pid)
    assert other.poll() is None


def test_a_stranger_who_was_given_the_id_of_an_orphan_is_left_alone(
    tmp_path: Path, sleepers: Sleepers
) -> None:
    stranger = sleepers()
    noted(tmp_path, stranger.pid, born="an earlier boot 4711")
    assert end_orphans(tmp_path) == []
    assert stranger.poll() is None
    assert list(tmp_path.iterdir()) == []


def test_an_owner_s_id_that_was_given_to_another_does_not_keep_an_orphan(
    tmp_path: Path, sleepers: Sleepers
) -> None:
    orphan = sleepers()
    noted(tmp_path, orphan.pid, owner=os.getpid(), owner_born="an earlier boot 4711")
    assert end_orphans(tmp_path) == ["x"]
    assert gone(orphan.pid)


@pytest.mark.parametrize("mark", ["m", "another"])
def test_what_outlives_the_leader_of_its_session_is_ended_where_it_carries_our_mark(
    tmp_path: Path, mark: str
) -> None:
    code = f"import subprocess; print(subprocess.Popen({SLEEP!r}).pid, flush=True)"
    leader = subprocess.Popen(
        [sys.executable, "-c", code],
        start_new_session=True,
        env={**os.environ, "BAKEOFF_RUNNER": mark},
        stdout=subprocess.PIPE,
    )
    assert leader.stdout
    with leader.stdout:
        child = psutil.Process(int(leader.stdout.readline()))
    try:
        leader.wait()
        noted(tmp_path, leader.pid, born="it is dead")
        assert end_orphans(tmp_path) == (["x"] if mark == "m" else [])
        assert gone(child.pid) == (mark == "m")
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def test_a_note_tells_who_started_what(runner: Runner, tmp_path: Path) -> None:
    process = runner.start(Command(tuple(SLEEP)), tmp_path / "log")
    note = json.loads(next((tmp_path / "processes").glob(f"*-{process.pid}.json")).read_text())
    assert (note["born"], note["owner_born"]) == (birth(process.pid), birth(os.getpid()))
    child = psutil.Process(process.pid)
    # A process that becomes another program has no environment for a moment.
    assert wait_until(lambda: child.environ().get("BAKEOFF_RUNNER") == note["mark"])
    process.stop()


def test_secrets_do_not_stay_in_a_log(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWANLAB_API_KEY", "planted-secret-1")
    with pytest.raises(CommandFailed) as caught:
        run(
            runner,
            python("import os; print(os.environ['SWANLAB_API_KEY']); raise SystemExit(1)"),
            tmp_path / "log",
        )
    assert "planted-secret-1" not in str(caught.value) + (tmp_path / "log").read_text()
