"""Real legs of a tiny row through a real cluster that fails: the scores stay those of one process, and nothing is left.

Each test takes minutes, so they run where ``BAKEOFF_CLUSTER_CHAIN`` is set; :mod:`tests.test_clusters` shows the same
dispatching with pretended legs in seconds.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clusters import HOSTS, CardWatch, RayCluster, SlurmCluster, child_of, ray, slurm, wait_until
from tests.test_clusters import MATRIX, ROOT, scores

__all__ = ["ray", "slurm"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("BAKEOFF_CLUSTER_CHAIN"),
        reason="takes a row through clusters that fail, minutes each; set BAKEOFF_CLUSTER_CHAIN=1",
    ),
]
TRAINING, MERGE, EVALUATION = "swift.cli.sft", "swift.cli.export", "evalscope"
"""What stands in the command line of a stage."""


def matrix_with(max_steps: int = 300, on_cards: bool = False, **executor: object) -> dict[str, Any]:
    """The matrix of one row whose training takes long enough to be hit, and is saved often."""
    raw = copy.deepcopy(MATRIX)
    raw["models"] = {"one": raw["models"]["one"]}
    raw["models"]["one"]["training"] |= {"max_steps": max_steps, "save_steps": 5, "logging_steps": 5}
    if on_cards:
        raw["models"]["one"]["needs"] = {"gpu_memory_gib": 10}
    return {**raw, "executor": executor} if executor else raw


def command(matrix: dict[str, Any], folder: Path, name: str) -> tuple[list[str], Path]:
    """The line that runs *matrix*, and its store."""
    file, store = folder / f"{name}.yaml", folder / f"{name}-store"
    file.write_text(yaml.safe_dump(matrix))
    argv = [sys.executable, "-m", "pytest", "benchmarks/", "-p", "no:cacheprovider", "--store", str(store)]
    return [*argv, "--matrix", str(file)], store


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """The scores of the row in one process that nothing disturbs."""
    argv, store = command(matrix_with(), tmp_path_factory.mktemp("here"), "here")
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return scores(store)


class Session:
    """The pytest session of a user on the host that submits."""

    def __init__(
        self,
        cluster: SlurmCluster | RayCluster,
        name: str,
        max_steps: int = 300,
        on_cards: bool = False,
        **executor: object,
    ) -> None:
        self.cluster, self.lab = cluster, cluster.lab
        argv, self.store = command(matrix_with(max_steps, on_cards, **executor), cluster.lab.folder, name)
        self.log = cluster.lab.folder / f"{name}.log"
        argv = ["env", "--default-signal=INT", *argv]  # tests in the background ignore it, and pass that on
        tools = cluster.lab.folder / "tools"
        if on_cards:
            tools.mkdir()
            shutil.copy(ROOT / "tests" / "fakes" / "tools" / "nvidia-smi", tools)
        path = os.pathsep.join([str(tools), os.environ["PATH"]])
        self.process = cluster.lab.start(None, argv, self.log, **cluster.env, PATH=path)

    def events(self, **facts: object) -> list[dict[str, Any]]:
        rows = []
        for path in self.store.glob("runs/*/events.jsonl"):
            for line in path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):
                    row = json.loads(line)
                    if all(row.get(key) == value for key, value in facts.items()):
                        rows.append(row)
        return rows

    def running(self, words: str) -> tuple[str, int]:
        """Wait until a command with *words* runs, and return its host and its process there."""
        running: list[tuple[str, int]] = []

        def look() -> bool:
            for path in (self.store / "processes").glob("*.json"):
                with contextlib.suppress(OSError, ValueError):
                    note = json.loads(path.read_text())
                    if words in note["command"] and note["host"] in HOSTS:
                        running.append((note["host"], note["pid"]))
            return bool(running) or self.process.poll() is not None

        wait_until(look, 400, str(self.log), every_s=0.02)
        assert running, self.log.read_text()
        return running[0]

    def freeze(self, words: str) -> tuple[str, int]:
        """Hold a command with *words* where it is, so that it cannot end before what is to hit it."""
        host, pid = self.running(words)
        os.killpg(os.getpgid(self.lab.seen_from_here(host, pid)), signal.SIGSTOP)
        return host, pid

    def checkpoints(self) -> int:
        """The step of the newest whole checkpoint; 0 for none."""
        saved = self.store.glob("models/one/**/checkpoint-*/trainer_state.json")
        return max((int(path.parent.name.rpartition("-")[2]) for path in saved), default=0)

    def checkpoint(self) -> None:
        """Wait until the training has saved something to continue from."""
        wait_until(lambda: self.checkpoints() or self.process.poll() is not None, 400, str(self.log))

    def end(self, timeout_s: float = 600) -> int:
        return self.process.wait(timeout_s)

    def signal(self, number: int) -> None:
        os.kill(child_of(self.process.pid), number)

    def left(self) -> list[str]:
        """Everything of ours that still runs on any host."""
        return [line for line in self.lab.processes() if str(self.store) in line or "bakeoff." in line]

    def lost(self) -> list[str]:
        return [event["why"] for event in self.events(event="leg", phase="lost")]

    def see_loss(self, before: int, what: str) -> None:
        """Wait until more than *before* attempts were lost."""
        wait_until(lambda: len(self.lost()) > before or self.process.poll() is not None, 600, what)
        assert len(self.lost()) > before, self.log.read_text()


@contextlib.contextmanager
def repaired(cluster: SlurmCluster | RayCluster, host: str) -> Iterator[None]:
    """Kill *host*; it joins again when the block ends."""
    cluster.lab.kill_host(host)
    yield
    cluster.lab.start_host(host)
    cluster.join(host)


def test_slurm_loses_nodes_in_a_training_a_merge_and_an_evaluation(
    slurm: SlurmCluster, expected: list[tuple[Any, ...]]
) -> None:
    session = Session(slurm, "nodes", kind="slurm", restarts=5)
    for words in (TRAINING, MERGE, EVALUATION):
        if words is TRAINING:
            session.checkpoint()
        host, _ = session.freeze(words)
        count = len(session.lost())
        with repaired(slurm, host):
            session.see_loss(count, "the loss is seen")
    assert session.end() == 0, session.log.read_text()
    assert scores(session.store) == expected
    assert session.left() == []
    assert any("checkpoint" in json.dumps(event) for event in session.events(event="stage", stage="train"))


def test_slurm_cuts_a_cable_and_heals_it_and_preempts_and_no_card_has_two_holders(
    slurm: SlurmCluster, expected: list[tuple[Any, ...]]
) -> None:
    with CardWatch(slurm.lab.folder) as watch:
        session = Session(slurm, "cable", on_cards=True, kind="slurm", restarts=5)
        session.checkpoint()
        host, pid = session.freeze(TRAINING)
        slurm.lab.cut(host)
        session.see_loss(0, "the loss is seen: the leg has begun elsewhere")
        assert slurm.lab.run(host, "kill", "-CONT", "--", f"-{pid}").returncode == 0
        wait_until(
            lambda: session.events(event="stage", stage="train", outcome="ran"),
            300,
            "what the copy that was cut off does is not recorded, and the other one trains",
        )
        preempted, _ = session.freeze(EVALUATION)
        slurm.lab.heal(host)
        wait_until(
            lambda: host in slurm.run("sinfo", "-h", "-N", "-t", "idle,mix,alloc", "-o", "%n"), 300, "healed"
        )
        count = len(session.lost())
        urgent = ["sbatch", "-p", "urgent", "-w", preempted, "--exclusive", "-o", "/dev/null"]
        slurm.run(*urgent, "--wrap", "sleep 5")
        session.see_loss(count, "the preemption is seen")
        assert session.end() == 0, session.log.read_text()
        assert scores(session.store) == expected
        wait_until(lambda: not session.left(), 30, "left behind")
    trainings = session.events(event="stage", stage="train")
    assert [event["host"] for event in trainings if event["outcome"] == "ran"] != [host]
    assert [event["outcome"] for event in trainings if event["outcome"] == "ran"] == ["ran"]
    assert watch.clashes == []
    assert len({mark for marks in watch.holders.values() for mark in marks}) >= 5  # each attempt at each leg


def test_slurm_ends_a_leg_at_its_time_limit_and_the_next_start_goes_on(slurm: SlurmCluster) -> None:
    session = Session(
        slurm, "late", max_steps=20_000, kind="slurm", restarts=9, time="4"
    )  # asked to end at 3
    session.see_loss(0, "the time limit is seen")
    assert any("time limit" in why and "got on" in why for why in session.lost()), session.lost()
    wait_until(
        lambda: session.events(event="leg", leg="one-train", phase="running", start=2), 300, "begins again"
    )
    before = session.checkpoints()
    wait_until(lambda: session.checkpoints() > before, 300, "the training goes on from its checkpoint")
    session.signal(signal.SIGINT)
    assert session.end(120) == 2, session.log.read_text()
    wait_until(lambda: not session.left(), 30, "left behind")
    assert slurm_jobs(slurm) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["slurm", "ray"])
def test_a_session_that_is_ended_leaves_nothing_and_the_next_one_goes_on(
    kind: str, number: int, request: pytest.FixtureRequest, expected: list[tuple[Any, ...]]
) -> None:
    cluster = request.getfixturevalue(kind)
    session = Session(cluster, f"ended-{number}", kind=kind)
    session.checkpoint()
    session.running(TRAINING)
    session.signal(number)
    assert session.end(120) == 2, session.log.read_text()
    wait_until(lambda: not session.left(), 30, "left behind")
    if kind == "slurm":
        assert slurm_jobs(cluster) == []
    assert list((session.store / "processes").glob("*.json")) == []
    again = Session(cluster, f"ended-{number}", kind=kind)
    assert again.end() == 0, again.log.read_text()
    assert scores(again.store) == expected
    assert any("checkpoint" in json.dumps(event) for event in again.events(event="stage", stage="train"))


def slurm_jobs(cluster: SlurmCluster) -> list[str]:
    """The jobs that are queued or run."""
    return [line for line in cluster.jobs() if line.split()[2] in ("PENDING", "RUNNING", "COMPLETING")]


def test_ray_loses_a_node_in_a_training_and_an_evaluation(
    ray: RayCluster, expected: list[tuple[Any, ...]]
) -> None:
    session = Session(ray, "nodes", kind="ray", restarts=5)
    session.checkpoint()
    for words in (TRAINING, EVALUATION):
        host, _ = session.freeze(words)
        count = len(session.lost())
        with repaired(ray, host):
            session.see_loss(count, "the loss is seen")
    assert session.end() == 0, session.log.read_text()
    assert scores(session.store) == expected
    assert session.left() == []
