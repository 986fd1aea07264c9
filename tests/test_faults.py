"""Whatever befalls a stage, the end is the one of an undisturbed run; see docs/faults.md.

The tools are the small programs in tests/fakes/tools; the engine, its processes and its locks are real.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from bakeoff import evalscope
from bakeoff.chain import deployment as deployment_module
from bakeoff.chain.chain import Bench, Chain
from bakeoff.chain.deployment import Deployment
from bakeoff.chain.evaluation import Evaluation
from bakeoff.chain.ports import free_port
from bakeoff.chain.replies import replies
from bakeoff.chain.service import Service, who_answers
from bakeoff.chain.speed import speed
from bakeoff.execution.runner import Process, Runner, end_orphans
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import BakeoffError, CommandFailed, ServiceError, Stalled
from bakeoff.foundation.provenance import ContentHashes
from bakeoff.foundation.workspace import Workspace
from bakeoff.judgement.replies import load_cases
from bakeoff.judgement.soundness import ASKED_AGAIN
from bakeoff.report import Findings, section
from bakeoff.runs import runs
from bakeoff.runs.finishing import finish as finish_run
from bakeoff.store.stages import Record, Stages, Timeline
from fixtures.describing import described
from tests.chains import matrix_with, plant_base, plant_tools
from tests.fakes.service import serving as asked_service
from tests.unprobed import Unprobed

ROOT = Path(__file__).parents[1]
TOOLS = Path(__file__).parent / "fakes" / "tools"
STEPS = 12
TRAINING = {
    "batch_size": 8,
    "gradient_accumulation": 4,
    "max_steps": STEPS,
    "save_steps": 2,
    "fused_loss": True,
    "tracker": "none",
}
LIMITS = {"train_s": 60.0, "export_s": 60.0, "evaluate_s": 240.0, "stall_s": 4.0, "retries": 0}


class AsksWarm(Runner):
    """Starts every tool from scratch, but EvalScope from *warm*, which has imported it."""

    def __init__(self, processes: Path, warm: Runner) -> None:
        super().__init__(processes, warm=False)
        self.asking = warm

    def start(self, command: Command, log: Path) -> Process:
        return self.asking.start(command, log) if asks(command) else super().start(command, log)

    def forget(self, process: Process) -> None:
        if asks(process.command):
            self.asking.forget(process)
        else:
            super().forget(process)


def asks(command: Command) -> bool:
    return (command.module or "").startswith("bakeoff.evalscope")


@dataclass
class House:
    """A store with the fake tools, and runs in it; *asking* has imported EvalScope."""

    root: Path
    store: Path
    monkeypatch: pytest.MonkeyPatch
    row: dict[str, Any] = field(default_factory=dict)
    asking: Runner | None = None

    def __post_init__(self) -> None:
        base = self.root / "base"
        if not base.exists():
            plant_base(base)
        (self.root / "once").mkdir(exist_ok=True)
        for name, value in {
            "PYTHONPATH": f"{TOOLS}{os.pathsep}{ROOT}",
            "FAKE_SWIFT_ONCE": str(self.root / "once"),
            "FAKE_SWIFT_STEPS": str(self.root / "steps"),
            "FAKE_SWIFT": "",
        }.items():
            self.monkeypatch.setenv(name, value)

    def break_(self, faults: str) -> None:
        self.monkeypatch.setenv("FAKE_SWIFT", faults)

    @property
    def changes(self) -> dict[str, Any]:
        row = {"model": str(self.root / "base"), "training": TRAINING, "limits": LIMITS, **self.row}
        return {**row, "limits": {**LIMITS, **row["limits"]}}

    @contextlib.contextmanager
    def run(self, warm: Runner | None = None) -> Iterator[Chain]:
        """What one run of pytest holds: processes (or those of *warm*), the stages of the row."""
        matrix = matrix_with(**self.changes)
        workspace = Workspace(self.store)
        end_orphans(workspace.processes)
        runner = warm or self._runner(workspace.processes)
        stages = Stages(workspace, Timeline(self.store / "events.jsonl"))
        bench = Bench(matrix, workspace, stages, runner, ContentHashes(workspace.cache / "hashes.json"))
        try:
            yield Chain(matrix.models["tiny"], bench)
        finally:
            if not warm:
                runner.close()

    def _runner(self, processes: Path) -> Runner:
        return AsksWarm(processes, self.asking) if self.asking else Runner(processes, warm=False)

    def result(self) -> dict[str, str]:
        """Train, merge, serve, ask; digests of what each left."""
        with self.run() as chain, contextlib.closing(Unprobed(chain, "tuned")) as deployment:
            adapter = chain.train().folder / "adapter_model.safetensors"
            merged = chain.export().folder / "model.safetensors"
            deployment.health()
            answer = deployment.service().complete([{"role": "user", "content": "你好"}])
            return {
                "adapter": hashlib.sha256(adapter.read_bytes()).hexdigest(),
                "merged": hashlib.sha256(merged.read_bytes()).hexdigest(),
                "reply": answer["choices"][0]["message"]["content"],
            }

    def steps(self) -> list[int]:
        """The updates that the fake really did, in their order."""
        return [int(line) for line in (self.root / "steps").read_text().splitlines()]

    def folder(self, stage: str) -> Path:
        return next((self.store / "models" / "tiny").glob(f"{stage}-*"))

    def left_behind(self) -> list[str]:
        """Processes of this store, notes of them, and locks that somebody holds."""
        notes = [self.store / "processes", *([self.asking.processes] if self.asking else [])]
        left = [str(path) for folder in notes for path in folder.glob("*")]
        for path in (self.store / "locks").glob("*.lock"):
            try:
                FileLock(path, timeout=0).acquire().lock.release()
            except TimeoutError:
                left.append(str(path))
        return left + [" ".join(process.cmdline()) for process in self.processes()]

    def processes(self) -> list[psutil.Process]:
        """Everything alive that names this store, but us."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                named = any(str(self.store) in part for part in process.cmdline())
                if named and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr("bakeoff.execution.attempts.BACKOFF_S", 0.01)
    return House(tmp_path, tmp_path / "store", monkeypatch)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a run without any failure ends in."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        root = tmp_path_factory.mktemp("undisturbed")
        house = House(root, root / "store", monkeypatch)
        found = house.result()
        assert house.steps() == list(range(1, STEPS + 1))
        assert house.left_behind() == []
    return found


def wait_until(condition: Callable[[], object], timeout_s: float = 60) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


# -- a stage fails; the next run takes up there -----------------------------------------------------------------------

FAILING = {
    "train-sigterm": ("sft:term@5", CommandFailed, "ended by signal 15"),
    "train-sigkill": ("sft:kill@5", CommandFailed, "ended by signal 9"),
    "train-sigkill-before-the-first-checkpoint": ("sft:kill@1", CommandFailed, "ended by signal 9"),
    "train-sigkill-at-the-last-step": (f"sft:kill@{STEPS}", CommandFailed, "ended by signal 9"),
    "train-exception": ("sft:crash@7", CommandFailed, "RuntimeError: failed on purpose"),
    "train-hang": ("sft:hang@7", Stalled, "printed nothing for 4 s"),
    "train-no-more-bytes": ("sft:full@7", CommandFailed, "File too large"),
    "train-torn-checkpoint": ("sft:tear@6", CommandFailed, "ended by signal 9"),
    "train-exit-0-too-early": ("sft:lie@7", CommandFailed, f"at step 6 of {STEPS}"),
    "export-sigterm": ("export:term@2", CommandFailed, "ended by signal 15"),
    "export-sigkill": ("export:kill@2", CommandFailed, "ended by signal 9"),
    "export-exception": ("export:crash@1", CommandFailed, "RuntimeError: failed on purpose"),
    "export-hang": ("export:hang@2", Stalled, "printed nothing for 4 s"),
    "export-no-more-bytes": ("export:full@1", CommandFailed, "File too large"),
    "export-torn-weights": ("export:tear@1", CommandFailed, "ended by signal 9"),
    "export-exit-0-too-early": ("export:lie@2", BakeoffError, "ended well, but"),
    "deploy-sigterm": ("deploy:term@1", ServiceError, "ended by signal 15"),
    "deploy-sigkill": ("deploy:kill@1", ServiceError, "ended by signal 9"),
    "deploy-exception": ("deploy:crash@1", ServiceError, "RuntimeError: failed on purpose"),
    "deploy-hang": ("deploy:hang@1", ServiceError, "is not ready"),
    "deploy-exit-0": ("deploy:lie@1", ServiceError, "ended with exit code 0"),
}


@pytest.mark.parametrize("case", FAILING)
def test_the_run_after_a_failure_ends_as_an_undisturbed_one(
    house: House, undisturbed: dict[str, str], case: str
) -> None:
    faults, kind, told = FAILING[case]
    if case == "deploy-hang":
        house.row = {"serving": {"engine": "transformers", "ready_timeout_s": 2.0}}
    house.break_(faults)
    with pytest.raises(kind) as caught:
        house.result()
    assert told in str(caught.value)
    assert "stage.log" in str(caught.value)
    assert house.left_behind() == []
    house.row = {}
    assert house.result() == undisturbed
    assert house.left_behind() == []
    if case.startswith("train"):
        assert len(house.steps()) <= STEPS + 2  # no more than the steps since the last whole checkpoint
    else:
        assert house.steps() == list(range(1, STEPS + 1))  # what had been done was not done again


# -- a failure that may pass is tried again in the same run -----------------------------------------------------------


@pytest.mark.parametrize(
    "faults", ["sft:term@5", "sft:kill@5", "sft:network@5", "sft:hang@5", "sft:tear@6", "export:kill@2"]
)
def test_what_may_pass_is_tried_again(house: House, undisturbed: dict[str, str], faults: str) -> None:
    house.row = {"limits": {"retries": 1}}
    house.break_(faults)
    assert house.result() == undisturbed
    assert len(house.steps()) <= STEPS + 2
    assert house.left_behind() == []


@pytest.mark.parametrize("faults", ["sft:flag@3", "sft:crash@3", "export:flag@1"])
def test_what_will_not_pass_is_not_tried_again(
    house: House, undisturbed: dict[str, str], faults: str
) -> None:
    (house.root / "base").rename(house.root / "base503")  # a number that is no answer of a server
    house.row = {"limits": {"retries": 5}, "model": str(house.root / "base503")}
    house.break_(faults)
    with pytest.raises(CommandFailed, match="exit code 1"):
        house.result()
    assert house.left_behind() == []
    assert house.result() == undisturbed  # each happens once, so a second attempt would have passed


def test_no_memory_steps_down_at_the_same_effective_batch(house: House, undisturbed: dict[str, str]) -> None:
    house.break_("sft:oom@3")
    assert house.result() == undisturbed
    with house.run() as chain:
        facts = chain.train().record.facts  # type: ignore[union-attr]
    assert (facts["batch_size"], facts["effective_batch"]) == (1, 32)
    assert [told.split(":")[0] for told in facts["attempts"]] == [
        f"out of memory at batch {batch}" for batch in (8, 4, 2)
    ]


def test_a_step_down_that_keeps_the_batch_goes_on_from_the_newest_checkpoint(
    house: House, undisturbed: dict[str, str]
) -> None:
    house.row = {"training": {**TRAINING, "gradient_checkpointing": False}}
    house.break_("sft:fat@9")
    assert house.result() == undisturbed
    assert house.steps() == list(range(1, STEPS + 1))
    with house.run() as chain:
        facts = chain.train().record.facts  # type: ignore[union-attr]
    assert [told.split(":")[0] for told in facts["attempts"]] == [
        "out of memory at batch 8",
        "continued from checkpoint-8",
    ]


def test_a_training_that_had_stepped_down_continues_there_after_a_kill(
    house: House, undisturbed: dict[str, str]
) -> None:
    house.break_("sft:oom@3,sft:kill@9")
    with pytest.raises(CommandFailed, match="signal 9"):
        house.result()
    before = len(house.steps())
    assert house.result() == undisturbed
    assert len(house.steps()) - before == STEPS - 8


@pytest.mark.parametrize(
    ("faults", "told"),
    [("sft:untracked@7", "swanlab.exceptions.AuthenticationError"), ("sft:hang@7", "a silence")],
)
def test_a_tracker_that_is_away_stops_no_training_and_costs_no_step(
    house: House, undisturbed: dict[str, str], faults: str, told: str
) -> None:
    house.row = {"training": {**TRAINING, "tracker": "swanlab"}}
    house.break_(faults)
    assert house.result() == undisturbed
    assert house.steps() == list(range(1, STEPS + 1))
    with house.run() as chain:
        (first, second) = chain.train().record.facts["attempts"]  # type: ignore[union-attr]
    assert first.startswith(told)
    assert first.endswith("TensorBoard tracks the rest of this training")
    assert second == "continued from checkpoint-6"


def test_a_training_whose_tracker_was_away_is_taken_up_after_a_kill(
    house: House, undisturbed: dict[str, str]
) -> None:
    house.row = {"training": {**TRAINING, "tracker": "swanlab"}}
    house.break_("sft:untracked@5,sft:kill@9")
    with pytest.raises(CommandFailed, match="signal 9"):
        house.result()
    assert house.result() == undisturbed
    assert house.steps() == list(range(1, STEPS + 1))


def test_a_failure_that_is_not_the_trackers_is_not_laid_at_its_door(house: House) -> None:
    house.row = {"training": {**TRAINING, "tracker": "swanlab"}}
    house.break_("sft:crash@3")
    with pytest.raises(CommandFailed, match="failed on purpose"):
        house.result()


# -- what was whole is found corrupt ----------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


CORRUPT: dict[str, Callable[[House], object]] = {
    "train-adapter": lambda h: cut(
        h.folder("train") / f"output/checkpoint-{STEPS}/adapter_model.safetensors"
    ),
    "train-optimizer": lambda h: cut(h.folder("train") / f"output/checkpoint-{STEPS}/optimizer.pt"),
    "train-state": lambda h: cut(h.folder("train") / f"output/checkpoint-{STEPS}/trainer_state.json"),
    "train-record": lambda h: cut(h.folder("train") / "record.json"),
    "train-every-checkpoint": lambda h: shutil.rmtree(h.folder("train") / "output"),
    "train-begun-and-record": lambda h: [cut(h.folder("train") / n) for n in ("begun.json", "record.json")],
    "export-weights": lambda h: cut(h.folder("export") / "output/model.safetensors"),
    "export-record": lambda h: cut(h.folder("export") / "record.json"),
    "export-gone": lambda h: shutil.rmtree(h.folder("export") / "output"),
    "train-log": lambda h: [
        (h.folder("train") / "output/logging.jsonl").write_bytes('{"loss": 2.0, "训'.encode()[:-1]),
        (h.folder("train") / "record.json").unlink(),
    ],
    "export-index": lambda h: write(h.folder("export") / "output/model.safetensors.index.json", '{"weight_'),
    "deploy-record": lambda h: cut(h.folder("deploy") / "record.json"),
    "deploy-health-gone": lambda h: (h.folder("deploy") / "health.json").unlink(),
    "pytest-timeline": lambda h: cut(h.store / "events.jsonl"),
    "pytest-note": lambda h: write(h.store / "processes" / "1.json", '{"pid": 1'),
    "pytest-hashes": lambda h: write(h.store / "cache" / "hashes.json", "["),
}


@pytest.mark.parametrize("case", CORRUPT)
def test_what_was_cut_short_is_made_again(house: House, undisturbed: dict[str, str], case: str) -> None:
    house.result()
    CORRUPT[case](house)
    assert house.result() == undisturbed
    assert house.result() == undisturbed
    if case.startswith("train-") and case not in ("train-every-checkpoint", "train-begun-and-record"):
        assert len(house.steps()) <= STEPS + 2
    assert house.left_behind() == []


# -- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_will_be_too_small_is_told_before_it_is_full(house: House, small_disk: Path) -> None:
    house.store = small_disk / "store"
    sizes = {"hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 11008}
    config = {"model_type": "llama", "vocab_size": 32000, "num_attention_heads": 32, **sizes}
    write(house.root / "base" / "config.json", json.dumps(config))
    house.result()
    events = map(json.loads, (house.store / "events.jsonl").read_text().splitlines())
    told = [described(event) for event in events if event["event"] == "short of disk"]
    assert [line.partition(" will need about ")[0] for line in told] == ["tiny: train", "tiny: export"]
    assert all("clean-stale" in line for line in told)


def fill(disk: Path, free_kib: int) -> Path:
    """Leave *free_kib* of the file system *disk*; returns the file that takes the rest."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(ballast, max(0, ballast.stat().st_size - free_kib * 1024))
    return ballast


@pytest.mark.parametrize("free_kib", [0, 8, 24, 60, 100, 140, 180])
def test_a_disk_that_fills_up_anywhere_loses_nothing(
    house: House, undisturbed: dict[str, str], small_disk: Path, free_kib: int
) -> None:
    house.store = small_disk / "store"
    house.store.mkdir()
    ballast = fill(small_disk, free_kib)
    with pytest.raises((BakeoffError, OSError)) as caught:
        house.result()
    assert isinstance(caught.value, BakeoffError) or caught.value.errno == errno.ENOSPC
    ballast.unlink()
    assert house.result() == undisturbed
    assert house.left_behind() == []


# -- ports, and two runs at once --------------------------------------------------------------------------------------


def test_a_taken_port_is_told_and_free_afterwards(house: House, undisturbed: dict[str, str]) -> None:
    port = free_port()
    house.row = {"serving": {"engine": "transformers", "port": port}}
    fake = [sys.executable, str(TOOLS.parent / "chat_server.py"), "--port", str(port)]
    stranger = subprocess.Popen(fake)
    try:
        assert wait_until(lambda: who_answers(port))
        with pytest.raises(ServiceError, match=f"port {port} is taken: process {stranger.pid} "):
            house.result()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert house.result() == undisturbed
    assert who_answers(port) == ""
    assert house.left_behind() == []


@pytest.mark.parametrize("kind", ["term", "kill", "crash"])
def test_a_service_that_fails_while_it_is_asked_is_gone_afterwards(
    house: House, undisturbed: dict[str, str], kind: str
) -> None:
    house.break_(f"deploy:{kind}@4")
    house.monkeypatch.delenv("FAKE_SWIFT_ONCE")
    with (
        contextlib.suppress(Exception),
        house.run() as chain,
        contextlib.closing(Unprobed(chain, "tuned")) as d,
    ):
        service = d.service()
        for _ in range(4):
            service.complete([{"role": "user", "content": "你好"}])
    assert house.left_behind() == []
    house.break_("")
    assert house.result() == undisturbed


class Unfit(Deployment):
    """Whose running service is held against facts that lack what they must have."""

    def parity(self) -> Record:
        return Record("parity", "tiny", self.variant, "ran", "", "", "", "", "", 0.0, {}, None, {})


def test_a_service_is_ended_whatever_goes_wrong_when_it_is_looked_at(house: House) -> None:
    with house.run() as chain:
        with pytest.raises(KeyError):
            Unfit(chain, "base").service()
        assert not list((house.store / "processes").glob("*"))


@pytest.mark.parametrize("faults", ["", "sft:kill@5", "export:kill@2"])
def test_two_runs_at_once_do_each_step_once(house: House, undisturbed: dict[str, str], faults: str) -> None:
    house.row = {"limits": {"retries": 1}}
    house.break_(faults)
    found: list[dict[str, str]] = []
    runs = [threading.Thread(target=lambda: found.append(house.result())) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert found == [undisturbed, undisturbed]
    assert len(house.steps()) <= STEPS + 2
    assert house.left_behind() == []


# -- pytest itself ----------------------------------------------------------------------------------------------------


@dataclass
class RealRun:
    """``pytest benchmarks/ -m "train or export"`` (or other *stages*) of the row, as a user starts it."""

    house: House
    more: tuple[str, ...] = ()
    stages: str = "train or export"
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        row = {**matrix_with(**self.house.changes).models["tiny"].model_dump(exclude_none=True), "name": None}
        kept = {k: v for k, v in row.items() if k not in ("name", "needs", "environment") and v != ()}
        matrix = self.house.root / "matrix.json"  # which is YAML, too
        matrix.write_text(json.dumps({"models": {"tiny": {**kept, "suites": []}}}))
        if not (self.house.store / "cache").exists():
            plant_tools(self.house.store)
        argv = ["-m", "pytest", "-p", "no:cacheprovider", "--cold", "benchmarks/", "-m", self.stages]
        argv += [
            "--store",
            str(self.house.store),
            "--matrix",
            str(matrix),
            f"--html={self.house.root}/reports/",
            *self.more,
        ]
        pipe = subprocess.PIPE
        # A shell starts what it puts into the background deaf to SIGINT; a terminal does not.
        hearing = "; ".join(
            [
                "import runpy, signal, sys",
                "signal.signal(signal.SIGINT, signal.default_int_handler)",
                "sys.argv[:] = sys.argv[1:]",
                "runpy.run_module('pytest', run_name='__main__', alter_sys=True)",
            ]
        )
        assert argv[:2] == ["-m", "pytest"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", hearing, *argv[1:]],
            cwd=ROOT,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self) -> str:
        """What it printed, when it has ended."""
        return self.process.communicate(timeout=120)[0]

    def reached(self, step: int) -> bool:
        """Wait until its training has done *step*."""
        return wait_until(
            lambda: (self.house.root / "steps").exists() and step in self.house.steps(), timeout_s=60
        )


def digests(house: House) -> dict[str, str]:
    adapter = house.folder("train") / "output/last-checkpoint/adapter_model.safetensors"
    merged = house.folder("export") / "output/model.safetensors"
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in (("adapter", adapter), ("merged", merged))
    }


def finish(house: House, undisturbed: dict[str, str]) -> None:
    """The next run takes up, and ends as an undisturbed one."""
    assert wait_until(lambda: not house.processes(), 20), house.left_behind()
    house.break_("")
    run = RealRun(house)
    assert " failed" not in (told := run.end()), told
    assert run.process.returncode == 0, told
    assert {k: v for k, v in undisturbed.items() if k != "reply"} == digests(house)
    assert house.left_behind() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "more"),
    [(signal.SIGINT, ()), (signal.SIGTERM, ()), (signal.SIGTERM, ("-n", "2"))],
    ids=["sigint", "sigterm", "sigterm-workers"],
)
def test_pytest_that_is_asked_to_end_reports_what_is_there(
    house: House, undisturbed: dict[str, str], number: signal.Signals, more: tuple[str, ...]
) -> None:
    house.break_("sft:slow@5")
    run = RealRun(house, more)
    assert run.reached(5)
    asked = time.monotonic()
    run.process.send_signal(number)
    told = run.end()
    assert time.monotonic() - asked < (60 if more else 30), told
    assert run.process.returncode == pytest.ExitCode.INTERRUPTED, told
    assert not house.processes()
    assert (house.root / "reports" / "index.html").is_file()
    run_json = next(house.store.glob("runs/*/run.json"))
    stages = json.loads(run_json.read_text())["stages"]
    assert [(s["stage"], s["outcome"]) for s in stages] == [("train", "failed")]
    assert "interrupted" in stages[0]["why"]
    finish(house, undisturbed)
    assert len(house.steps()) <= STEPS + 3


@pytest.mark.slow
@pytest.mark.parametrize("victims", ["pytest", "whole tree", "keeper"])
def test_kill_of_pytest_leaves_nothing_and_loses_nothing(
    house: House, undisturbed: dict[str, str], victims: str
) -> None:
    house.break_("sft:slow@5")
    run = RealRun(house)
    assert run.reached(5)
    tree = psutil.Process(run.process.pid).children(recursive=True)
    if victims == "whole tree":
        run.process.kill()
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    elif victims == "keeper":
        next(p for p in tree if "bakeoff.execution.warm" in p.cmdline()).kill()
        house.break_("")
    else:
        run.process.kill()
    run.end()
    assert wait_until(lambda: not any(p.is_running() and p.status() != "zombie" for p in tree), 20)
    finish(house, undisturbed)
    assert len(house.steps()) <= STEPS + 3


@pytest.mark.slow
@pytest.mark.parametrize("faults", ["sft:crash@5", "sft:hang@5", "export:crash@1"])
def test_pytest_tells_what_failed_and_takes_up_there(
    house: House, undisturbed: dict[str, str], faults: str
) -> None:
    house.break_(faults)
    house.monkeypatch.setenv("CI", "true")  # pytest's summary cuts no line short there
    run = RealRun(house)
    told = run.end()
    assert run.process.returncode == 1, told
    assert told.count("last lines of ") == 1  # in full for one test, in short for those that stand on it
    assert "the same error as of benchmarks/test_" in told
    assert "stage.log" in told
    assert told.count("/events.jsonl") >= 2  # with the error, too, not only at the end
    finish(house, undisturbed)


@pytest.mark.slow
def test_two_pytests_at_once_train_once(house: House, undisturbed: dict[str, str]) -> None:
    runs = [RealRun(house), RealRun(house)]
    told = [run.end() for run in runs]
    assert [run.process.returncode for run in runs] == [0, 0], told
    assert house.steps() == list(range(1, STEPS + 1))
    finish(house, undisturbed)


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_planted_secrets_are_nowhere(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = {"SWANLAB_API_KEY": "planted-swanlab-4711", "REFERENCE_PASS": "planted-reference-4712"}
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    house.break_("sft:told@1,export:told@1,deploy:told@1")
    house.row = {"key_env": "REFERENCE_PASS"}
    house.result()
    house.break_("sft:told@1,sft:crash@2")
    house.monkeypatch.delenv("FAKE_SWIFT_ONCE")
    house.row = {"training": {**TRAINING, "learning_rate": 1e-4}, "key_env": "REFERENCE_PASS"}
    told = RealRun(house).end()
    files = [path for path in house.root.rglob("*") if path.is_file()]
    assert any("FAKE_SWIFT=" in path.read_text(errors="ignore") for path in files)  # they did print it all
    assert "failed on purpose" in told
    for value in planted.values():
        assert value not in told
        assert [str(path) for path in files if value.encode() in path.read_bytes()] == []


@pytest.mark.slow
def test_a_secret_in_the_log_of_a_killed_run_is_for_the_owner_only_and_gone_with_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWANLAB_API_KEY", "planted-swanlab-4711")
    house.break_("sft:told@1,sft:slow@2")
    run = RealRun(house)
    assert run.reached(3)
    # the run first: it scrubs the log of a child that dies
    for process in [run.process, *psutil.Process(run.process.pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    run.end()
    log = house.folder("train") / "stage.log"
    assert "planted-swanlab-4711" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(house.store.stat().st_mode) == 0o700
    RealRun(house, ("--no-run",)).end()
    assert "planted-swanlab-4711" not in log.read_text()
    assert "step 2" in log.read_text()


# -- evaluate and judge: a service of somebody else is asked ----------------------------------------------------------


def killing_once_asked(service: Any, processes: Path, number: signal.Signals) -> threading.Thread:
    """A thread that sends *number* to what runs, by its notes in *processes*, after a dozen requests."""

    def kill() -> None:
        wait_until(lambda: service.stats()["requests"] > 12, 90)
        for note in processes.glob("*.json"):
            os.kill(json.loads(note.read_text())["pid"], number)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["sigterm", "sigkill"])
def test_an_evaluation_that_is_killed_goes_on_at_the_unanswered_questions(
    house: House, warm: Runner, number: signal.Signals
) -> None:
    port = free_port()
    there = ("--port", str(port), "--reply", "always:A", "--name", "reference")
    url, imports = f"http://127.0.0.1:{port}/v1", {"stall_s": 60.0}  # they are silent, and may be slow
    house.row = {"model": None, "url": url, "served_model": "reference", "limits": imports}
    house.asking = warm

    def scores() -> list[dict[str, Any]]:
        with house.run() as chain, contextlib.closing(Deployment(chain, "base")) as deployment:
            suite = chain.bench.matrix.suites["exam"]
            rows = Evaluation(deployment, [suite]).result(suite)["scores"]
        return [{k: v for k, v in row.items() if k != "finished_at"} for row in rows]

    with asked_service(*there, "--latency-s", "0.7") as service:
        killer = killing_once_asked(service, warm.processes, number)
        with pytest.raises(CommandFailed, match=f"signal {number.value}"):
            scores()
        killer.join()
    assert house.left_behind() == []
    with asked_service(*there) as service:
        found = scores()
        asked_again = service.stats()["requests"]
        house.store = house.root / "another"
        assert found == scores()
        assert asked_again < service.stats()["requests"] - asked_again
    assert house.left_behind() == []


@dataclass
class Exam:
    """The suite ``exam`` asked of a service of somebody else, by forks of one warm process."""

    house: House
    warm: Runner
    port: int = field(default_factory=free_port)

    def serving(self, *flags: str) -> contextlib.AbstractContextManager[Any]:
        place = ("--port", str(self.port), "--name", "reference")
        self.house.monkeypatch.setattr("bakeoff.chain.evaluation.ASK_ALONE", 0)  # requests are counted here
        self.house.row = {
            "model": None,
            "url": f"http://127.0.0.1:{self.port}/v1",
            "served_model": "reference",
        }
        return asked_service(*place, "--reply", "random:1", *flags)

    def result(self, service: Any = None) -> tuple[dict[str, Any], int]:
        """The result but for its times, and how many questions the service was asked for it (without the canary)."""
        before = service.stats()["requests"] if service else 0
        with self.house.run(self.warm) as chain, contextlib.closing(Deployment(chain, "base")) as deployment:
            suite = chain.bench.matrix.suites["exam"]
            evaluation = Evaluation(deployment, [suite])
            kept = evaluation.result(suite)
            assert Path(evaluation.record(suite).log).is_file()
        # the fingerprint of a service of somebody else is its address, and so is a part of the record's place
        differing = ("finished_at", "fingerprint", "record")
        scores = [{k: v for k, v in row.items() if k not in differing} for row in kept["scores"]]
        asked = service.stats()["requests"] - before if service else 0
        return {"trusted": kept["trusted"], "ledger": kept["ledger"], "scores": scores}, max(0, asked - 1)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, warm: Runner) -> dict[str, Any]:
    """The result of an evaluation that nothing befell."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        root = tmp_path_factory.mktemp("calm")
        exam = Exam(House(root, root / "store", monkeypatch), warm)
        with exam.serving() as service:
            found, asked = exam.result(service)
    assert asked == found["ledger"]["asked"] == 32
    return found


@pytest.fixture
def exam(house: House, warm: Runner) -> Exam:
    return Exam(house, warm)


def test_questions_that_got_no_reply_are_asked_by_the_next_run_and_only_those(
    exam: Exam, calm: dict[str, Any]
) -> None:
    with exam.serving("--fault", "500:20-") as service:
        found, _ = exam.result(service)
        assert not found["trusted"]
        missing = found["ledger"]["errored"]
        assert 0 < missing < 32
    with exam.serving() as service:
        assert exam.result(service) == (calm, missing)
        assert exam.result(service) == (calm, 0)
    assert exam.house.left_behind() == []


def test_a_refused_question_is_not_asked_again(exam: Exam) -> None:
    with exam.serving("--fault", "context:2") as service:
        found, _ = exam.result(service)
        assert found["ledger"]["errored"] == 1
        assert exam.result(service) == (found, 0)


def test_an_evaluation_that_breaks_is_done_by_the_next_run(exam: Exam, calm: dict[str, Any]) -> None:
    in_the_way = exam.house.store / "models/tiny/evaluation/base/exam"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    with exam.serving() as service:
        with pytest.raises(CommandFailed, match=r"(?s)evaluation\.log.*NotADirectoryError"):
            exam.result(service)
        in_the_way.unlink()
        assert exam.result(service) == (calm, 32)
    assert exam.house.left_behind() == []


def test_an_evaluation_whose_service_falls_silent_is_ended_and_goes_on(
    exam: Exam, calm: dict[str, Any]
) -> None:
    with exam.serving("--fault", "slow:12-", "--slow-s", "600") as service, pytest.raises(Stalled):
        exam.result(service)
    assert exam.house.left_behind() == []
    with exam.serving() as service:
        found, asked = exam.result(service)
    assert found == calm
    assert asked <= 32 - 10 + 1
    assert exam.house.left_behind() == []


def test_what_ends_an_evaluation_ends_it_for_every_suite_of_the_run(exam: Exam) -> None:
    with (
        exam.serving("--fault", "slow:4-", "--slow-s", "600") as service,
        exam.house.run(exam.warm) as chain,
        contextlib.closing(Deployment(chain, "base")) as deployment,
    ):
        suite = chain.bench.matrix.suites["exam"]
        other = suite.model_copy(update={"name": "another"})
        evaluation = Evaluation(deployment, [suite, other])
        with pytest.raises(Stalled):
            evaluation.result(suite)
        asked = service.stats()["requests"]
        with pytest.raises(Stalled):
            evaluation.result(other)
        assert service.stats()["requests"] == asked
    assert exam.house.left_behind() == []


def test_an_evaluation_that_is_killed_once_is_taken_up_in_the_same_run(
    exam: Exam, calm: dict[str, Any]
) -> None:
    with exam.serving("--latency-s", "0.7") as service:
        exam.house.row |= {"limits": {"retries": 1}, "serving": {"in_flight": 4}}
        killer = killing_once_asked(service, exam.warm.processes, signal.SIGKILL)
        found, asked = exam.result(service)
        killer.join()
    assert found == calm
    assert 32 < asked < 64
    told = [json.loads(line) for line in (exam.house.store / "events.jsonl").read_text().splitlines()]
    attempts = [one["facts"]["attempts"] for one in told if one.get("stage") == "evaluate" and "facts" in one]
    assert attempts == [["attempt 1 failed: bakeoff.evalscope ended by signal 9"]]
    assert exam.house.left_behind() == []


@pytest.mark.parametrize("fault", ["500", "garbage", "bad"])
def test_a_service_that_refuses_or_babbles_still_answers_and_is_left_alone(fault: str) -> None:
    with asked_service("--fault", fault) as there:
        ours = Service(there.url, "m", "", process=object())  # type: ignore[arg-type]
        deployment_module.see_answering(ours)
        assert there.stats()["requests"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("waited_s", "stall_s", "said"),
    [
        (120.0, 10.0, "bakeoff.evalscope printed nothing for 10 s"),
        (2.0, 200.0, "tiny-base runs, and answers no more (ReadTimeout)"),
    ],
    ids=["silence", "timeouts"],
)
def test_a_service_that_hangs_while_it_is_examined_is_started_again(
    house: House, warm: Runner, monkeypatch: pytest.MonkeyPatch, waited_s: float, stall_s: float, said: str
) -> None:
    house.asking = warm
    house.break_("deploy:hang@12")
    house.row = {"limits": {"stall_s": stall_s}, "serving": {"engine": "transformers", "restarts": 1}}
    plan = partial(evalscope.evaluation_plan, timeout_s=waited_s)
    monkeypatch.setattr(evalscope, "evaluation_plan", plan)
    monkeypatch.setattr(deployment_module, "CANARY_TIMEOUT_S", waited_s)
    with house.run() as chain, contextlib.closing(Unprobed(chain, "base")) as deployment:
        suite = chain.bench.matrix.suites["exam"]
        record = Evaluation(deployment, [suite]).record(suite)
    assert record.facts["attempts"] == [f"attempt 1 failed: {said}"]
    assert len(record.facts["restarts"]) == 1
    result = json.loads(Path(record.output).read_text(encoding="utf-8"))
    assert (result["ledger"]["asked"], result["ledger"]["errored"]) == (32, 0)
    assert house.left_behind() == []


@pytest.mark.parametrize(
    ("name", "asked"),
    [("record.json", 0), ("result.json", 0), ("samples.jsonl", 0), ("predictions/*/*.jsonl", 1)],
)
def test_an_evaluation_that_was_cut_short_is_made_whole(
    exam: Exam, calm: dict[str, Any], name: str, asked: int
) -> None:
    cache = exam.house.store / "models/tiny/evaluation/base/exam"
    with exam.serving() as service:
        exam.result(service)
        if name in ("record.json", "result.json"):
            cut(exam.house.folder("evaluate") / name)
        else:
            torn = next(cache.glob(f"*/{name}"))
            torn.write_bytes(torn.read_bytes()[:-20])
            (exam.house.folder("evaluate") / "record.json").unlink()
        assert exam.result(service) == (calm, asked)
        assert exam.result(service) == (calm, 0)
    assert exam.house.left_behind() == []


def test_a_result_that_is_torn_when_the_run_is_put_together_is_told_in_the_report(exam: Exam) -> None:
    with exam.serving() as service:
        exam.result(service)
    workspace = Workspace(exam.house.store)
    workspace.run("20260101-000000-ab").mkdir(parents=True)
    shutil.copy(exam.house.store / "events.jsonl", workspace.run("20260101-000000-ab"))
    cut(exam.house.folder("evaluate") / "result.json")
    reports = exam.house.root / "reports"
    finish_run(workspace, "20260101-000000-ab", matrix_with(**exam.house.changes), [])
    page = section(Findings.from_store(workspace.root, "20260101-000000-ab"), reports)
    told = "\n".join(runs.summary(workspace, "20260101-000000-ab"))
    assert "result.json cannot be read: result.json is cut short" in told
    assert "result.json cannot be read: result.json is" in page


@pytest.mark.parametrize("free_kib", [24, 100])
def test_an_evaluation_on_a_full_disk_goes_on_when_there_is_room(
    exam: Exam, calm: dict[str, Any], small_disk: Path, free_kib: int
) -> None:
    exam.house.store = small_disk / "store"
    with exam.serving() as service:
        ballast = fill(small_disk, free_kib)
        with pytest.raises((BakeoffError, OSError)):
            exam.result(service)
        ballast.unlink()
        assert exam.result(service)[0] == calm
    assert exam.house.left_behind() == []


def test_two_runs_at_once_ask_each_question_once(exam: Exam, calm: dict[str, Any]) -> None:
    found: list[dict[str, Any]] = []
    with exam.serving() as service:
        runs = [threading.Thread(target=lambda: found.append(exam.result()[0])) for _ in range(2)]
        for run in runs:
            run.start()
        for run in runs:
            run.join(60)
        assert service.stats()["requests"] <= 32 + 2  # a canary each
    assert found == [calm, calm]
    assert exam.house.left_behind() == []


def test_an_evaluation_that_finds_its_port_taken_asks_nobody(
    house: House, undisturbed: dict[str, str]
) -> None:
    port = free_port()
    house.row = {"serving": {"engine": "transformers", "port": port}}
    with asked_service("--port", str(port), "--name", "tiny-sft", "--reply", "always:A") as stranger:
        with house.run() as chain, contextlib.closing(Unprobed(chain, "tuned")) as deployment:
            suite = chain.bench.matrix.suites["exam"]
            with pytest.raises(ServiceError, match=f"port {port} is taken"):
                Evaluation(deployment, [suite]).result(suite)
        assert stranger.stats()["requests"] == 0
    assert house.result() == undisturbed
    assert house.left_behind() == []


@pytest.mark.slow
def test_a_service_that_died_before_its_speed_was_measured_is_started_again(
    house: House, warm: Runner
) -> None:
    pytest.importorskip("sse_starlette", reason="needs the perf extra: pip install 'evalscope[perf]'")
    house.asking = warm
    house.row = {"limits": {"stall_s": 120.0}}
    with house.run() as chain, contextlib.closing(Unprobed(chain, "base")) as deployment:
        process = deployment.service().process
        assert process
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
        record = speed(deployment)
    rows = json.loads(Path(record.output).read_text(encoding="utf-8"))["scores"]
    assert {row["n_errored"] for row in rows} == {0}, [row["why_not"] for row in rows]
    assert len(record.facts["restarts"]) == 1
    assert house.left_behind() == []


# -- judge ------------------------------------------------------------------------------------------------------------


def gathered(house: House) -> list[str]:
    """The replies of the row, whose service somebody else runs, to the judge's cases."""
    with house.run() as chain, contextlib.closing(Deployment(chain, "base")) as deployment:
        record = replies(deployment)
        assert Path(record.log).is_file()
        lines = Path(record.output).read_text(encoding="utf-8").splitlines()
    return sorted(json.loads(line)["text"] for line in lines)


CASES = len(load_cases())


@pytest.mark.slow
def test_replies_that_a_killed_pytest_had_gathered_are_not_asked_for_again(house: House) -> None:
    port = free_port()
    there = ("--port", str(port), "--reply", "慢慢说", "--name", "reference")
    url = f"http://127.0.0.1:{port}/v1"
    house.row = {"model": None, "url": url, "served_model": "reference", "serving": {"in_flight": 2}}
    with asked_service(*there, "--latency-s", "2") as service:
        run = RealRun(house, stages="judge")
        assert wait_until(lambda: service.stats()["requests"] >= 6, 90)  # a canary, 2 or 3 answered, 2 open
        run.process.kill()
        run.end()
    with asked_service(*there) as service:
        assert len(gathered(house)) == CASES
        assert service.stats()["requests"] < CASES + ASKED_AGAIN  # with a canary: at least 2 are kept
    assert house.left_behind() == []


def test_replies_of_a_service_that_falls_silent_are_asked_for_by_the_next_run_and_only_those(
    house: House,
) -> None:
    port, canary, answered = free_port(), 1, 5
    there = ("--port", str(port), "--reply", "慢慢说", "--name", "reference")
    house.row = {
        "model": None,
        "url": f"http://127.0.0.1:{port}/v1",
        "served_model": "reference",
        "serving": {"in_flight": CASES},
        "limits": {"stall_s": 1.0},
    }
    with asked_service(*there, "--fault", f"slow:{canary + answered + 1}-", "--slow-s", "600"):
        assert gathered(house) == [""] * (CASES - answered) + ["慢慢说"] * answered
        assert house.left_behind() == []
    with asked_service(*there) as service:
        assert gathered(house) == ["慢慢说"] * CASES
        assert service.stats()["requests"] <= CASES - answered + canary + ASKED_AGAIN
    assert house.left_behind() == []


def test_replies_that_find_the_disk_full_are_gathered_when_there_is_room(
    house: House, small_disk: Path
) -> None:
    house.store = small_disk / "store"
    with asked_service("--reply", "慢慢说" * 1000, "--name", "reference") as service:
        house.row = {"model": None, "url": service.url, "served_model": "reference"}
        ballast = fill(small_disk, 40)
        with pytest.raises((BakeoffError, OSError)):
            gathered(house)
        ballast.unlink()
        assert gathered(house) == ["慢慢说" * 1000] * CASES
    assert house.left_behind() == []


def test_two_runs_at_once_gather_the_replies_once(house: House) -> None:
    found: list[list[str]] = []
    with asked_service("--reply", "慢慢说", "--name", "reference") as service:
        house.row = {"model": None, "url": service.url, "served_model": "reference"}
        runs = [threading.Thread(target=lambda: found.append(gathered(house))) for _ in range(2)]
        for run in runs:
            run.start()
        for run in runs:
            run.join(60)
        assert service.stats()["requests"] <= CASES + 2 + ASKED_AGAIN  # a canary each
    assert found == [["慢慢说"] * CASES] * 2
    assert house.left_behind() == []


@pytest.mark.parametrize("case", ["torn", "gone", "truncated record", "edited copy", "copy gone"])
def test_replies_for_the_judge_that_were_cut_short_are_gathered_again(house: House, case: str) -> None:
    with asked_service("--reply", "慢慢说", "--name", "reference") as service:
        house.row = {"model": None, "url": service.url, "served_model": "reference"}
        whole = gathered(house)
        record = house.folder("replies") / "record.json"
        output = house.folder("replies") / "replies.jsonl"
        (copy,) = house.folder("replies").parent.glob("replies/*.jsonl")
        if case == "gone":
            output.unlink()
        elif case == "copy gone":
            copy.unlink()
        elif case == "edited copy":
            copy.write_text(copy.read_text(encoding="utf-8").replace("慢慢说", "别急"), encoding="utf-8")
        else:
            cut(record)
            if case == "torn":
                cut(output)
        assert gathered(house) == whole
        assert copy.read_bytes() == output.read_bytes()
        assert house.left_behind() == []
