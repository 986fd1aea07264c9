"""While a row is on a card, the next one's base is made; whatever befalls that, the row's own turn ends the same."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from bakeoff.chain.chain import Bench, Chain
from bakeoff.execution.runner import Runner, end_orphans
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.files import readable_rows
from bakeoff.foundation.provenance import ContentHashes
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import load_matrix
from bakeoff.runs import ahead
from bakeoff.runs.ahead import Ahead, HeardTimeline, free_memory_gib, identity_of
from bakeoff.store.stages import Stages, Timeline
from bakeoff.tools import memory
from bakeoff.verify.__main__ import main as verify
from fixtures.describing import described, described_in_chinese
from tests.chains import plant_base, plant_tools
from tests.conftest import PytestRun

MEASURED = ("started", "seconds", "peak_memory_gib")
ROOT = Path(__file__).parents[1]
FAKES = f"{ROOT / 'tests' / 'fakes' / 'tools'}{os.pathsep}{ROOT}"
SHAPE = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "intermediate_size": 8,
    "vocab_size": 8,
    "num_attention_heads": 1,
}
MATRIX = """
defaults:
  dataset: ['shipped:facts_train.jsonl']
  needs: {gpu_memory_gib: 70}
  model_type: llama
  template: llama3
  training: {dtype: float32, max_length: 512, max_steps: 1, learning_rate: 5e-3, tracker: none}
  limits: {retries: 0}
models:
  first: {model: ROOT/base}
  second: {model: ROOT/gpt-oss}
  third: {model: ROOT/other/gpt-oss}
  huge: {model: ROOT/base, needs: {gpu_memory_gib: 70000}}
  near: {model: ROOT/base, needs: {gpu_memory_gib: 0}}
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that must be converted: tiny, in the published form of GPT-OSS."""
    from tests.published_forms import gpt_oss

    return gpt_oss(tmp_path_factory.mktemp("published") / "gpt-oss")


class House:
    """A store, a matrix, a pretended card, and the small programs that stand for ms-swift.

    A training waits until a base has been converted.
    """

    def __init__(self, root: Path, published: Path) -> None:
        self.root, self.store, self.matrix = root, root / "store", root / "matrix.yaml"
        (plant_base(root / "base") / "config.json").write_text(json.dumps(SHAPE))
        shutil.copytree(published, root / "gpt-oss")
        shutil.copytree(published, root / "other" / "gpt-oss")
        self.matrix.write_text(MATRIX.replace("ROOT", str(root)))
        (root / "bin").mkdir()
        card = root / "bin" / "nvidia-smi"
        card.write_text("#!/bin/sh\necho '0, Pretended 80GB, 81920, 81920, GPU-00000000-fake'\n")
        card.chmod(0o755)

    @property
    def environ(self) -> dict[str, str]:
        path = f"{self.root / 'bin'}{os.pathsep}{os.environ['PATH']}"
        faults = {"FAKE_SWIFT": "sft:until@1", "FAKE_SWIFT_UNTIL": str(self.store / "forms")}
        return {"PATH": path, "PYTHONPATH": FAKES, **faults}

    def options(self, *more: str) -> list[str]:
        return ["benchmarks/", "--cold", "-m", "train", "--matrix", str(self.matrix), *more]

    def events(self, run: str = "*") -> list[dict[str, Any]]:
        return [
            event for path in self.store.glob(f"runs/{run}/events.jsonl") for event in readable_rows(path)
        ]

    def at(self, kind: str, row: str, stage: str) -> list[int]:
        """The places of such events in the timeline."""
        key = (kind, row, stage)
        return [n for n, e in enumerate(self.events()) if (e["event"], e.get("model"), e.get("stage")) == key]

    def bench(self, timeline: Timeline | None = None) -> Bench:
        workspace = Workspace(self.store)
        timeline = timeline or Timeline(workspace.run("r") / "events.jsonl")
        runner = Runner(workspace.processes, warm=False)
        hashes = ContentHashes(workspace.cache / "hashes.json")
        return Bench(load_matrix(self.matrix), workspace, Stages(workspace, timeline), runner, hashes)

    @contextlib.contextmanager
    def turn(self, row: str) -> Iterator[Chain]:
        """The row in a run, at its own turn."""
        bench = self.bench()
        try:
            yield Chain(bench.matrix.models[row], bench)
        finally:
            bench.runner.close()

    def left_behind(self) -> list[str]:
        """Processes of this store, and notes of them."""
        notes = [str(path) for path in (self.store / "processes").glob("*")]
        return notes + [" ".join(process.cmdline()) for process in self.processes()]

    def make_ahead(self, row: str = "second", **changes: str) -> list[dict[str, Any]]:
        """Run the process beside a run in this one; return what it told."""
        expected = identity_of(load_matrix(self.matrix), row)
        values = {"run": "r", "beside": "first", "marks": "train", "expect": expected, **changes}
        options = [part for name, value in values.items() for part in (f"--{name}", value)]
        assert ahead.main(["--matrix", str(self.matrix), "--store", str(self.store), *options, row]) == 0
        return self.events()

    def processes(self) -> list[psutil.Process]:
        """Everything alive that names this place, but us."""
        living = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                names = any(str(self.root) in part for part in process.cmdline())
                if names and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    living.append(process)
        return living


@pytest.fixture
def house(tmp_path: Path, published: Path) -> House:
    return House(tmp_path, published)


def wait_until(condition: Callable[[], object], timeout_s: float = 60) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


# -- a real run ----------------------------------------------------------------------------------------------------


def test_the_next_row_is_converted_while_the_row_before_trains(
    run_pytest: PytestRun, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    plant_tools(house.store)
    options = house.options("-k", "first or second or huge", f"--html={house.root / 'report.html'}")
    done = run_pytest(*options, **house.environ)
    assert done.returncode == 0, done.stdout
    (begun,) = house.at("started", "second", "convert")
    assert house.at("started", "first", "train")[0] < begun < house.at("stage", "first", "train")[0]
    outcomes = [house.events()[place]["outcome"] for place in house.at("stage", "second", "convert")]
    assert outcomes == ["ran", "reused"]
    assert len(house.at("made ahead", "second", "convert")) == 1
    assert "second: convert: made ahead, while first was on the card" in done.stdout
    assert not {event.get("model") for event in house.events()} & {"third", "huge"}  # deselected, skipped
    run = json.loads(next(house.store.glob("runs/*/run.json")).read_text())
    (stage,) = (stage for stage in run["stages"] if stage["stage"] == "convert")
    assert (stage["outcome"], stage["why"]) == ("ran", "ran: for the first time")
    page = (house.root / "report.html").read_text()
    assert "made ahead, while first was on the card" in page
    assert "在 first 占用显卡期间提前完成" in page
    assert verify([str(house.store)]) == 0, capsys.readouterr().out
    assert house.left_behind() == []


def test_workers_and_their_rows_make_nothing_ahead(run_pytest: PytestRun, house: House) -> None:
    plant_tools(house.store)
    done = run_pytest(*house.options("-k", "first or second", "-n", "2"), **house.environ)
    assert done.returncode == 0, done.stdout
    assert len(house.at("stage", "second", "convert")) == 1
    assert list(house.store.glob("runs/*/ahead.log")) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_ends_takes_along_what_it_makes_ahead(
    house: House, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    plant_tools(house.store)
    for name, value in {**house.environ, "FAKE_SWIFT_UNTIL": "never"}.items():
        monkeypatch.setenv(name, value)
    # a shell starts what it puts into the background deaf to SIGINT; a terminal does not
    hearing = "import signal, pytest\nsignal.signal(signal.SIGINT, signal.default_int_handler)\npytest.main()"
    options = house.options("-p", "no:cacheprovider", "--store", str(house.store))
    run = subprocess.Popen([sys.executable, "-c", hearing, *options], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: house.at("started", "second", "convert"))
        run.send_signal(number)
        run.wait(60)
    finally:
        run.kill()
    assert wait_until(lambda: not house.processes(), 20), house.processes()
    # nothing is told of what was cut short; what ended before the signal came is told, and whole
    outcome = "reused" if house.at("stage", "second", "convert") else "ran"
    # who started it may die a moment after it
    assert wait_until(lambda: not (end_orphans(house.store / "processes") or house.left_behind()), 20)
    with house.turn("second") as chain:
        assert chain.base().record.outcome == outcome  # type: ignore[union-attr]
    assert house.left_behind() == []


# -- the process beside a run --------------------------------------------------------------------------------------


def test_what_is_made_ahead_has_the_record_of_its_own_turn(house: House) -> None:
    def record(store: Path) -> dict[str, Any]:
        (path,) = store.glob("forms/*/record.json")
        content = json.loads(path.read_text().replace(str(store), "STORE"))
        return {name: value for name, value in content.items() if name not in MEASURED}

    told = house.make_ahead()
    assert [event["event"] for event in told if event["event"] != "progress"] == [
        "started",
        "stage",
        "made ahead",
    ]
    assert described(told[-1]) == "second: convert: made ahead, while first was on the card"
    assert described_in_chinese(told[-1]) == "second：转换：在 first 占用显卡期间提前完成"
    made = record(house.store)
    assert house.make_ahead() == told  # nothing is left to do
    with house.turn("second") as chain:
        assert chain.base().record.outcome == "reused"  # type: ignore[union-attr]
    house.store = house.root / "another"
    with house.turn("second") as chain:
        chain.base()
    assert record(house.store) == made


def test_a_failure_ahead_is_told_at_the_row_s_own_turn_and_once(house: House) -> None:
    shard = next((house.root / "gpt-oss").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-8])
    told = house.make_ahead()
    assert [(event["event"], event.get("why")) for event in told[1:]] == [("not made ahead", "")]
    assert described(told[-1]) == described_in_chinese(told[-1]) == ""
    with house.turn("second") as chain:
        for _ in range(2):
            with pytest.raises(BakeoffError, match=r"bakeoff\.forms ended with exit code"):
                chain.base()
    failed = [event for event in house.events() if event.get("outcome") == "failed"]
    assert [event["model"] for event in failed] == ["second"]


@pytest.mark.parametrize(
    ("room", "free", "shape", "words"),
    [
        (0.0, 500.0, SHAPE, "not made ahead: with first it needs 0 GiB of disk, and 0.0 are free"),
        (50.0, 7.9, SHAPE, "not made ahead: beside first it needs 8 GiB of memory, and 7.9 are free"),
        (
            50.0,
            500.0,
            {},
            "not made ahead: its size, or that of first, is not known before its config.json is here",
        ),
    ],
)
def test_without_room_for_two_rows_nothing_is_made_ahead(
    house: House, monkeypatch: pytest.MonkeyPatch, room: float, free: float, shape: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr(memory, "room_gib", lambda folder: (folder, room))
    monkeypatch.setattr(ahead, "free_memory_gib", lambda: free)
    (house.root / "base" / "config.json").write_text(json.dumps({"model_type": "llama", **shape}))
    (event,) = house.make_ahead()
    assert described(event) == f"second: {words}"
    assert described_in_chinese(event).startswith("second：未提前准备：")
    assert not (house.store / "forms").exists()


def test_a_matrix_that_was_edited_since_is_left_to_the_next_run(house: House) -> None:
    assert house.make_ahead(expect="of the run") == []
    house.matrix.write_text("models: [")
    options = ["--run", "r", "--beside", "first", "--marks", "train", "--expect", "x", "second"]
    assert ahead.main(["--matrix", str(house.matrix), "--store", str(house.store), *options]) == 0
    assert house.events() == []


def test_the_memory_of_a_container_counts(tmp_path: Path) -> None:
    for name, content in {"max": 3 * memory.GIB, "current": 2 * memory.GIB}.items():
        (tmp_path / f"memory.{name}").write_text(f"{content}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {memory.GIB // 2}\n")
    assert free_memory_gib(tmp_path) == pytest.approx(1.5)
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory_gib(tmp_path) == pytest.approx(free_memory_gib(tmp_path / "absent"), rel=0.5)


# -- which row, and when -------------------------------------------------------------------------------------------


@dataclass
class Begun:
    """A process that ends when it is told to."""

    row: str
    runs: bool = True

    def alive(self) -> bool:
        return self.runs

    def stop(self) -> None:
        self.runs = False


@dataclass
class Recorder:
    """A runner that starts nothing."""

    begun: list[Begun] = field(default_factory=list)
    forgotten: list[Begun] = field(default_factory=list)

    def start(self, command: Command, log: Path) -> Begun:
        self.begun.append(Begun(command.argv[-1]))
        return self.begun[-1]

    def forget(self, process: Begun) -> None:
        self.forgotten.append(process)


@pytest.fixture
def heard(house: House) -> tuple[HeardTimeline, Recorder]:
    timeline, recorder = HeardTimeline(house.store / "runs" / "r" / "events.jsonl"), Recorder()
    bench = replace(house.bench(timeline), runner=recorder)  # type: ignore[arg-type]
    bench.shared.requested = {row: {"train"} for row in ("near", "first", "second", "third")}
    timeline.ahead = Ahead(bench)
    return timeline, recorder


def test_one_row_ahead_once_and_only_beside_a_row_on_a_card(heard: tuple[HeardTimeline, Recorder]) -> None:
    timeline, recorder = heard

    def rows(model: str, stage: str, event: str = "started") -> list[str]:
        timeline.tell(event, model=model, stage=stage)
        return [process.row for process in recorder.begun]

    assert rows("near", "train") == []  # its row needs no card
    assert rows("first", "convert") == rows("first", "train", "stage") == rows("absent", "train") == []
    assert rows("first", "train") == ["second"]
    assert rows("first", "deploy") == ["second"]
    assert recorder.begun[0].runs  # the environments of the second are still being built
    assert rows("second", "train") == ["second", "third"]
    assert rows("second", "evaluate") == rows("third", "train") == ["second", "third"]
    assert timeline.ahead
    timeline.ahead.close()
    assert [process.row for process in recorder.forgotten] == ["second", "third"]


def test_what_still_runs_ends_with_the_session(heard: tuple[HeardTimeline, Recorder]) -> None:
    timeline, recorder = heard
    assert timeline.ahead
    timeline.ahead.hear("first", "train")
    assert recorder.begun[0].runs
    timeline.ahead.close()
    assert not recorder.begun[0].runs


def test_where_rows_are_divided_among_workers_nobody_knows_the_next(
    heard: tuple[HeardTimeline, Recorder],
) -> None:
    timeline, recorder = heard
    assert timeline.ahead
    timeline.ahead.bench.shared.requested = {}
    timeline.ahead.hear("first", "train")
    assert recorder.begun == []
