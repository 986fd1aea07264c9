"""Legs of rows as jobs: the seam, a real Slurm and a real Ray, and a store that several hosts share."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import clusters
import pytest
import yaml
from clusters import Lab, RayCluster, SlurmCluster, wait_until

from bakeoff.execution import dispatch, runner
from bakeoff.execution.dispatch import Bounds, Dispatch
from bakeoff.execution.executor import Busy, Job, State, chosen, time_limit_s
from bakeoff.execution.legs import Leg, duration, in_order, legs_of, lower_bound
from bakeoff.execution.slurm import Slurm
from bakeoff.execution.slurm_programs import run
from bakeoff.execution.slurm_states import state_of
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import BakeoffError, MatrixError, StoreError
from bakeoff.foundation.sentences import in_chinese
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import parse_matrix
from bakeoff.matrix.schema import ExecutorSpec
from bakeoff.store import locks
from bakeoff.store.events import Event
from bakeoff.store.facts import TrainingFacts
from bakeoff.store.locks import why_locks_unusable
from bakeoff.store.placements import placements
from bakeoff.store.stage import Stage
from bakeoff.store.stages import Done, Stages, Timeline
from tests.chains import plant_tools

slurm, ray = clusters.slurm, clusters.ray
ROOT = Path(__file__).parents[1]


# -- the words ---------------------------------------------------------------------------------------------------


def test_here_is_the_default_and_needs_no_package() -> None:
    assert chosen(None, None).kind == "here"
    code = "import sys, conftest, bakeoff.execution.executor as e; e.chosen('ray', None); print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr


def test_make_test_installs_ray_as_it_was_tested_and_a_run_needs_none() -> None:
    shown = {
        target: subprocess.run(
            ["make", "-n", "-B", target], capture_output=True, text=True, cwd=ROOT, check=True
        )
        for target in ("test", "smoke")
    }
    assert ["'.[ray]'" in done.stdout for done in shown.values()] == [True, False]
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {"ray", "msgpack"} <= pinned


def test_the_option_adds_to_what_the_matrix_says_of_the_same_kind() -> None:
    matrix = ExecutorSpec(kind="slurm", partition="gpu", time="1:00:00")
    assert chosen("slurm:account=lab,time=2-0", matrix) == ExecutorSpec(
        kind="slurm", partition="gpu", account="lab", time="2-0"
    )
    assert chosen("ray://head:10001", matrix) == ExecutorSpec(kind="ray", address="ray://head:10001")
    assert chosen("ray:10.0.0.1:6379", matrix).address == "10.0.0.1:6379"
    assert chosen("slurm:gres=gpu:h100:{},max_jobs=4", None).max_jobs == 4


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("slrum", "is it 'slurm'"),
        ("", "is not known"),
        ("slurm:partion=gpu", "is it 'partition'"),
        ("slurm:partition", "write key=value"),
        ("slurm:time=soon", "time: string should match"),
        ("slurm:max_jobs=none", "max_jobs: input should be a valid integer"),
        ("slurm:partition=-x", "slurm.partition: must be a word"),
        ("slurm:extra=--output=/tmp/x", "--output is set by the harness"),
        ("slurm:extra=--wrap", "--wrap is set by the harness"),
        ("slurm:extra=--arr=1-3", "--arr is set by the harness"),  # sbatch takes any beginning of an option
        ("slurm:extra=-a1-3", "-a1-3 is set by the harness"),
        ("slurm:gres=gpu:2", "must hold {} once"),
        ("slurm:prelude=export HF_TOKEN=abcdefghijk", "holds a secret"),
        ("slurm:extra=--my-token=abcdefghijk", "a secret by its name"),
        ("ray:partition=gpu,address=", "address"),
        ("here:now", "here takes no words"),
    ],
)
def test_an_unknown_word_is_refused(option: str, words: str) -> None:
    if option.startswith("ray:partition"):
        assert chosen(option, None).address  # an address that no cluster answers at
        return
    with pytest.raises(MatrixError) as refused:
        chosen(option, None)
    assert words in str(refused.value)


def test_mistakes_of_an_executor_are_told_with_those_of_the_matrix() -> None:
    rows = {"models": {"a": {"model": "tiny:llama", "tune": False}}}
    with pytest.raises(MatrixError) as refused:
        parse_matrix({**rows, "executor": {"kind": "ray", "partition": "gpu", "qo": "x", "time": 86400}})
    assert "executor: 'qo' is not known; is it 'qos'?" in str(refused.value)
    assert "executor.time" in str(refused.value)
    with pytest.raises(MatrixError, match=r"executor\.partition: is Slurm's"):
        parse_matrix({**rows, "executor": {"kind": "ray", "partition": "gpu"}})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("1:30", 90), ("2:00:00", 7200), ("1-0", 86400), ("1-2:30", 95400), (None, None)],
)
def test_time_limits_are_read_as_sbatch_reads_them(text: str | None, seconds: float | None) -> None:
    assert time_limit_s(text) == seconds


def test_a_secret_is_in_no_script_and_no_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "sk-planted-0123456789")
    monkeypatch.setattr("bakeoff.execution.slurm.run", lambda *argv, **_: "")
    executor = Slurm(ExecutorSpec(kind="slurm", partition="gpu", account="lab", extra=("--reservation=r",)))
    job = Job(
        name="j",
        command=Command(("python", "-V")),
        env=dict(os.environ),
        folder=tmp_path,
        log=tmp_path / "log",
    )
    assert "--partition=gpu" in executor.arguments(job)
    assert "--reservation=r" in executor.arguments(job)
    assert "planted" not in executor.script(job) + str(executor.arguments(job)) + repr(job)
    shown = Job(
        name="j",
        command=Command(("curl", "-H", "sk-planted-0123456789")),
        env={},
        folder=tmp_path,
        log=tmp_path / "log",
    )
    with pytest.raises(BakeoffError, match="would show a secret"):
        executor.script(shown)


def test_a_job_that_sbatch_queued_without_an_answer_is_not_queued_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, job_folder = tmp_path / "bin", tmp_path / "job"
    job_folder.mkdir()
    programs.mkdir()
    for name, script in (
        ("scontrol", "exit 0"),
        ("sbatch", f"echo $SBATCH_WAIT $* >>{tmp_path}/calls; echo 'Socket timed out on send/recv'; exit 1"),
        ("squeue", f'[ -n "$SQUEUE_PARTITION" ] || printf "9 /else\\n77 {job_folder}/job.sh\\n"'),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(
        "SQUEUE_PARTITION", "mine"
    )  # what a user sets for himself would hide jobs, or have sbatch wait
    monkeypatch.setenv("SBATCH_WAIT", "waits")
    executor = Slurm(ExecutorSpec(kind="slurm"))
    job = Job(
        name="j", command=Command(("true",)), env=dict(os.environ), folder=job_folder, log=tmp_path / "log"
    )
    with pytest.raises(Busy, match="timed out"):
        executor.submit(job)
    executor.submit(job)
    calls = (tmp_path / "calls").read_text()
    assert calls.count("--job-name=j") == 1
    assert "waits" not in calls
    assert executor._ids == {"j": "77"}
    monkeypatch.setenv("SBATCH_CLUSTERS", "other")
    assert "SLURM_CLUSTERS" in executor.why_unusable([job])


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ("Batch job submission failed: Required partition not available (inactive or drain)", True),
        (
            "Batch job submission failed: Job violates accounting/QOS policy (QOSMaxSubmitJobPerUserLimit)",
            True,
        ),
        ("Unable to contact slurm controller (connect failure)", True),
        ("Batch job submission failed: Requested node configuration is not available", False),
        ("Batch job submission failed: Invalid account or account/partition combination specified", False),
    ],
)
def test_what_may_pass_is_tried_again(answer: str, passes: bool) -> None:
    with pytest.raises(BakeoffError) as refused:
        run("sh", "-c", 'echo "sbatch: error: $0" >&2; exit 1', answer)
    assert (type(refused.value) is Busy) == passes
    assert answer in str(refused.value)


def test_a_look_at_many_legs_and_their_end_is_one_call_of_squeue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def answer(*argv: str, **_: object) -> str:
        calls.append(" ".join(argv[:2]))
        number = calls.count("sbatch --parsable")
        line = "".join(
            f"{cell:<{width}}" for cell, width in (("RUNNING", 20), ("0", 12), ("None", 120), ("n1", 200))
        )
        listed = "".join(f"{each:<20}{line}\n" for each in range(1, 25))
        return {"sbatch": f"{number}\n", "squeue": listed}.get(argv[0], "")

    monkeypatch.setattr("bakeoff.execution.slurm.run", answer)
    legs = [Leg(f"row{number}", "base") for number in range(24)]
    house = House(tmp_path, legs)
    house.dispatch.executor = executor = Slurm(ExecutorSpec(kind="slurm"))
    for _ in range(3):
        house.dispatch.step()
    assert (calls.count("sbatch --parsable"), calls.count("squeue -h")) == (24, 2)
    assert {state.phase for state in executor.states().values()} == {"running"}
    monkeypatch.setattr(dispatch, "STOP_S", 0.0)
    calls.clear()
    house.dispatch.close()
    assert calls == [
        "squeue -h",
        *["scancel --batch"] * 24,
        *(f"scancel {number}" for number in range(1, 25)),
        "scancel 1",
    ]
    pace = []
    for age_s in (0, 119, 121, 599, 601):
        monkeypatch.setattr(executor, "_opened", time.monotonic() - age_s)
        pace.append(60 / executor.look_s)
    assert pace == [30, 30, 12, 12, 4]  # calls a minute


def test_the_cards_of_a_cluster_are_those_of_nodes_that_take_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = (
        "gpu* n1 gpu:h100:4(S:0-1) h100,big idle\ngpu* n2 gpu:h100:4,shard:9 h100 mix\ngpu* n3 gpu:4 (null) down*\n"
        "gpu* n4 gpu:a100:2,gpu:h100:1 a100 alloc\nold n5 gpu:8 (null) idle\ngpu* n6 (null) (null) idle\n"
    )
    monkeypatch.setattr("bakeoff.execution.slurm.run", lambda *argv, **_: listed)
    for words, cards in (
        ({}, 11), ({"gres": "gpu:h100:{}"}, 9), ({"constraint": "h100"}, 8), ({"partition": "old,gpu"}, 19),
        ({"partition": "none"}, 0),
    ):  # fmt: skip
        assert Slurm(ExecutorSpec.model_validate({"kind": "slurm", **words})).cards() == cards


# -- order and makespan ------------------------------------------------------------------------------------------


def makespan(legs: Sequence[Leg], cards: int) -> float:
    """How long *legs* take in our order."""
    return duration(in_order(legs, cards), cards)


def recorded_rows(count: int, seed: int) -> list[Leg]:
    """Legs of *count* rows with durations as docs/performance.md records them, in seconds."""
    draw = random.Random(seed)
    legs = []
    for number in range(count):
        tokens = 5_000 * 1_460
        speed = draw.choice([17_514, 16_548, 4_430, 6_000])
        train = tokens / speed + 35 + draw.uniform(0, 60)
        serve = [
            draw.choice([61, 71]) + 67 + draw.choice([300, 1_500]) * draw.uniform(0.8, 1.2) for _ in range(2)
        ]
        row = f"row{number}"
        legs += [Leg(row, "train", seconds=train), Leg(row, "base", seconds=serve[0])]
        legs.append(Leg(row, "tuned", after=(f"{row}-train",), seconds=serve[1]))
    return legs


@pytest.mark.parametrize("cards", [1, 8, 64])
@pytest.mark.parametrize("rows", [6, 24, 100])
def test_the_makespan_is_near_the_lower_bound(rows: int, cards: int) -> None:
    for seed in range(5):
        legs = recorded_rows(rows, seed)
        assert lower_bound(legs, cards) <= makespan(legs, cards) * (1 + 1e-9)
        assert makespan(legs, cards) <= 1.15 * lower_bound(legs, cards)


@pytest.mark.parametrize(("seed", "optimum_s"), [(3, 2956), (13, 3155), (17, 2864)])
def test_six_rows_on_eight_cards_take_what_an_exact_search_takes(seed: int, optimum_s: int) -> None:
    """Of 20 draws these are all where the optimum, proved by a solver, is not what the longest path first gives."""
    legs = recorded_rows(6, seed)
    assert optimum_s - 1 <= makespan(legs, 8) <= 1.01 * optimum_s
    plain = duration(in_order(legs), 8)
    assert plain > 1.01 * optimum_s


def test_no_order_is_longer_than_that_of_the_longest_path() -> None:
    legs = [replace(leg, gpus=4 if leg.row in ("row1", "row4") else 1) for leg in recorded_rows(5, 1)]
    for at_once in (3, 8):
        ours, plain = in_order(legs, 8, at_once), in_order(legs)
        assert {leg.name for leg in ours} == {leg.name for leg in plain}
        assert duration(ours, 8, at_once=at_once) <= duration(plain, 8, at_once=at_once)


def test_the_longest_remaining_path_begins_first() -> None:
    legs = [
        Leg("a", "base", seconds=50),
        Leg("a", "train", seconds=30),
        Leg("a", "tuned", after=("a-train",), seconds=40),
        Leg("b", "train", seconds=60),
    ]
    assert [leg.name for leg in in_order(legs)] == ["a-train", "b-train", "a-base", "a-tuned"]


def test_a_tuned_model_waits_for_a_training_of_this_run_only() -> None:
    together = legs_of([("a", None, "t1"), ("a", "base", "t2")], {}, shared={"a"})
    assert [leg.after for leg in together] == [(), ("a-train",)]
    legs = legs_of([("a", None, "t1"), ("a", "tuned", "t2"), ("a", "tuned", "t3"), ("b", "tuned", "t4")], {})
    assert [(leg.name, leg.tests, leg.after) for leg in legs] == [
        ("a-train", ("t1",), ()),
        ("a-tuned", ("t2", "t3"), ("a-train",)),
        ("b-tuned", ("t4",), ()),
    ]


def test_where_each_leg_ran_how_long_it_was_queued_and_what_was_lost_is_kept_for_the_report() -> None:
    from bakeoff.report.rendering import _environment
    from fixtures.describing import described, described_in_chinese

    told: list[dict[str, Any]] = [
        {"event": "legs", "executor": "slurm", "legs": ["a-train", "a-tuned"], "at_least_s": 7200, "about_s": 9000,
         "cards": 1, "expected_s": {"a-train": 3600.0, "a-tuned": 1800.0}},
        {"event": "started", "stage": "train"},
        {"event": "leg", "leg": "a-train", "phase": "queued", "why": "Priority"},
        {"event": "leg", "leg": "a-train", "phase": "running", "host": "n1", "queued_s": 70, "start": 1},
        {"event": "leg", "leg": "a-train", "phase": "lost", "why": "NODE_FAIL <n1>", "then": "begins again"},
        {"event": "leg", "leg": "a-train", "phase": "running", "host": "n2", "queued_s": 50, "start": 2},
        {"event": "stage", "leg": "a-train", "host": "n2", "stage": "train", "outcome": "ran"},
        {"event": "stage", "leg": "a-train", "host": "n2", "stage": "export", "outcome": "reused"},
        {"event": "leg", "leg": "a-train", "phase": "ended", "seconds": 3700, "why": ""},
        {"event": "leg", "leg": "a-tuned", "phase": "not begun", "why": "train failed"},
        {"event": "legs", "executor": "slurm", "phase": "ended", "seconds": 9300},
    ]  # fmt: skip
    (leg,) = placements(told)
    assert (leg["hosts"], leg["stages"], leg["queued_s"]) == (["n1", "n2"], [["train", "n2"]], 120)
    assert leg["lost"] == ["NODE_FAIL <n1>"]
    assert (leg["expected_s"], leg["seconds"]) == (3600.0, 3700)
    assert [described(cast(Event, event)) for event in (told[0], told[-1])] == [
        "slurm: 2 legs; about 2 h 30 on 1 card if none waits in the queue; they take at least 2 h 00",
        "slurm: all legs ended after 2 h 35",
    ]
    assert [described_in_chinese(cast(Event, event)) for event in (told[0], told[-1])] == [
        "slurm：2 个作业；若不排队，1 张 GPU 约需 2 小时 30 分；至少需要 2 小时 00 分",
        "slurm：全部作业已结束，共用时 2 小时 35 分",
    ]
    page = _environment().get_template("legs.html.j2").render(f={"legs": [leg]})
    assert "n1 → n2" in page
    assert "NODE_FAIL &lt;n1&gt;" in page
    assert _environment().get_template("legs.html.j2").render(f={"legs": []}).strip() == ""


# -- dispatch, on an executor that does as it is told -------------------------------------------------------------


class Scripted:
    """An executor whose jobs are in the states that a test gives them."""

    keeps_time = True
    look_s = 0.01

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.submitted: list[str] = []
        self.stopped: list[tuple[str, bool]] = []
        self.plan: dict[str, list[State]] = {}
        self.refusals: list[Busy] = []
        self.closed = False

    def why_unusable(self, jobs: Sequence[Job]) -> str:
        return ""

    def cards(self) -> int:
        return 0

    def submit(self, job: Job) -> None:
        if self.refusals:
            raise self.refusals.pop()
        self.submitted.append(job.name)

    def states(self) -> Mapping[str, State]:
        return {
            name: plan.pop(0) if len(plan) > 1 else plan[0]
            for name, plan in self.plan.items()
            if name in self.submitted and plan
        }

    def stop(self, name: str, *, kill: bool = False) -> None:
        self.stopped.append((name, kill))

    def close(self) -> None:
        self.closed = True


class House:
    """A dispatch over a scripted executor."""

    def __init__(self, folder: Path, legs: Sequence[Leg], **bounds: Any) -> None:
        self.folder, self.events = folder, list[dict[str, Any]]()
        self.executor = Scripted(folder)
        jobs = {}
        for leg in legs:
            (folder / leg.name).mkdir()
            place = folder / leg.name
            jobs[leg.name] = Job(
                name=leg.name, command=Command(()), env={}, folder=place, log=place / "leg.log"
            )
        self.dispatch = Dispatch(
            self.executor,
            legs,
            jobs,
            tell=lambda event, **facts: self.events.append({"event": event, **facts}),
            copy=self.events.append,
            bounds=Bounds(**bounds),
        )

    def begin(self, leg: str, token: str, host: str = "n1") -> None:
        with (self.folder / leg / "begun.jsonl").open("a") as file:
            file.write(json.dumps({"token": token, "host": host}) + "\n")

    def report(self, leg: str, token: str, *rows: object) -> None:
        with (self.folder / leg / f"reports-{token}.jsonl").open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def stage(self, leg: str, outcome: str, why: str = "") -> None:
        with (self.folder / leg / "events.jsonl").open("a") as file:
            file.write(
                json.dumps({"event": "stage", "stage": "train", "outcome": outcome, "why": why}) + "\n"
            )


TRAIN, BASE, TUNED = Leg("a", "train"), Leg("a", "base"), Leg("a", "tuned", after=("a-train",))
REPORT = {"report": {"nodeid": "t", "when": "teardown"}}


def test_a_leg_whose_node_was_lost_begins_again_and_its_first_reports_do_not_count(tmp_path: Path) -> None:
    house = House(tmp_path, [TRAIN], restarts=1)
    house.executor.plan["a-train"] = [State("running"), State("lost", "NODE_FAIL", "n1"), State("running")]
    house.dispatch.step()
    house.begin("a-train", "first")
    house.report("a-train", "first", {"report": {"nodeid": "t", "when": "call", "outcome": "failed"}})
    house.dispatch.step()
    house.dispatch.step()
    assert house.executor.submitted == ["a-train", "a-train"]
    house.begin("a-train", "second", "n2")
    house.report("a-train", "second", REPORT, {"exit": 0})
    house.executor.plan["a-train"] = [State("ended", returncode=0)]
    outcome = house.dispatch.wait("a-train")
    assert (outcome.why, outcome.reports) == ("", [REPORT["report"]])
    assert [event["phase"] for event in house.events if event["event"] == "leg"].count("lost") == 1


def test_time_in_the_queue_counts_neither_a_lost_attempt_nor_the_wait_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, clock = House(tmp_path, [BASE]), [100.0]
    monkeypatch.setattr(dispatch, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda _: None))
    house.executor.plan["a-base"] = [State("queued")]
    house.dispatch.step()
    for after_s, state, token in (
        (7, State("running"), "first"), (50, State("queued"), ""), (3, State("running"), "second"),
    ):  # fmt: skip
        clock[0] += after_s
        house.executor.plan["a-base"] = [state]
        if token:
            house.begin("a-base", token)
        house.dispatch.step()
    assert [event["queued_s"] for event in house.events if event.get("phase") == "running"] == [7, 3]


def test_the_end_of_a_leg_is_seen_on_the_disk_before_the_next_look_at_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, clock, looks = House(tmp_path, [BASE]), [100.0], list[float]()
    ask = house.executor.states

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        if clock[0] == 130.0:
            house.report("a-base", "x", REPORT, {"exit": 0})

    def states() -> Mapping[str, State]:
        looks.append(clock[0])
        house.executor.plan["a-base"] = [
            State("ended", returncode=0) if clock[0] > 130.0 else State("running")  # completing, for a moment
        ]
        return ask()

    monkeypatch.setattr(dispatch, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    monkeypatch.setattr(house.executor, "look_s", 15.0)
    monkeypatch.setattr(house.executor, "states", states)
    house.begin("a-base", "x")
    assert house.dispatch.wait("a-base").reports == [REPORT["report"]]
    assert looks == [100.0, 115.0, 130.0, 135.0]


def test_how_often_a_leg_begins_again_is_bounded_and_told(tmp_path: Path) -> None:
    house = House(tmp_path, [TRAIN], restarts=2)
    house.executor.plan["a-train"] = [State("lost", "NODE_FAIL")]
    outcome = house.dispatch.wait("a-train")
    assert house.executor.submitted == ["a-train"] * 3
    assert "it lost its node 3 times, and executor.restarts allows 2" in outcome.why


def test_a_training_that_failed_is_not_begun_again_by_the_leg_behind_it(tmp_path: Path) -> None:
    house = House(tmp_path, [TRAIN, TUNED])
    house.dispatch.step()
    assert house.executor.submitted == ["a-train"]
    house.begin("a-train", "x")
    house.stage("a-train", "failed", "out of memory")
    house.report("a-train", "x", REPORT, {"exit": 1})
    house.executor.plan["a-train"] = [State("ended", returncode=1)]
    assert house.dispatch.wait("a-train").why == ""
    assert house.dispatch.wait("a-tuned").why == "a-tuned did not begin: train failed: out of memory"
    assert house.executor.submitted == ["a-train"]


@pytest.mark.parametrize(("outcome", "submissions"), [("ran", 2), ("reused", 1)])
def test_a_time_limit_is_another_start_only_where_something_was_done(
    tmp_path: Path, outcome: str, submissions: int
) -> None:
    house = House(tmp_path, [BASE])
    house.executor.plan["a-base"] = [State("running")]
    house.dispatch.step()
    house.begin("a-base", "x")
    house.stage("a-base", outcome)
    house.report("a-base", "x", {"exit": 2})
    house.executor.plan["a-base"] = [State("ended", "it ran past its time limit", "n1", 2, True)]
    house.dispatch.step()
    house.dispatch.step()
    assert len(house.executor.submitted) == submissions
    if submissions == 1:
        assert "it ran past its time limit" in house.dispatch.wait("a-base").why


def test_a_leg_whose_job_somebody_cancelled_does_not_begin_again(tmp_path: Path) -> None:
    house = House(tmp_path, [BASE])
    house.executor.plan["a-base"] = [State("running")]
    house.dispatch.step()
    house.begin("a-base", "x")
    house.stage("a-base", "ran")
    house.report("a-base", "x", {"exit": 2})
    house.executor.plan["a-base"] = [state_of("CANCELLED", "15", "None", "n1")]
    assert "somebody cancelled its job" in house.dispatch.wait("a-base").why
    assert house.executor.submitted == ["a-base"]


def test_a_full_queue_is_asked_seldom_and_takes_the_legs_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path, [TRAIN, BASE])
    monkeypatch.setattr(dispatch, "FULL_S", 0.0)
    house.executor.refusals = [Busy("the queue is full")] * 3
    house.dispatch.step()  # each leg is refused
    assert [event["why"] for event in house.events] == ["the queue is full"] * 2
    house.dispatch.step()
    assert house.executor.submitted == ["a-train"]
    monkeypatch.setattr(dispatch, "FULL_S", 600.0)
    house.executor.plan["a-train"] = [State("lost", "NODE_FAIL")]
    house.executor.refusals = [Busy("the queue is full")] * 9
    for _ in range(9):
        house.dispatch.step()
    assert len(house.executor.refusals) == 8
    assert house.dispatch.ways["a-train"].lost == 1  # what it was before is not counted twice
    monkeypatch.setattr(dispatch, "PATIENCE_S", -1.0)
    house.dispatch._full_until = 0.0
    assert "could not be queued" in house.dispatch.wait("a-train").why


def test_a_controller_that_is_away_is_not_the_end_of_a_job(tmp_path: Path) -> None:
    house = House(tmp_path, [BASE])
    for _ in range(5):
        house.dispatch.step()
    assert house.dispatch.ways["a-base"].outcome is None


def test_a_job_that_never_began_says_where_to_look(tmp_path: Path) -> None:
    house = House(tmp_path, [BASE])
    house.executor.plan["a-base"] = [State("ended", "", "n2", 53)]
    why = house.dispatch.wait("a-base").why
    assert "ended on n2 before the harness began (exit code 53)" in why
    assert "visible there" in why
    (tmp_path / "b").mkdir()
    refused = House(tmp_path / "b", [BASE])
    refused.executor.plan["a-base"] = [State("ended", "", "n2", 4)]
    (tmp_path / "b" / "a-base" / "leg.log").write_text("warning: x\n\nERROR: n2: the lock is not seen here\n")
    told = refused.dispatch.wait("a-base").why.splitlines()[0]
    assert told == "a-base: its harness refused to begin on n2: n2: the lock is not seen here"
    chinese = in_chinese(why).splitlines()
    assert chinese[0].startswith("a-base：作业在 n2 上于本程序启动之前就结束了（退出码 53）")
    assert chinese[1].endswith("leg.log 的最后几行：")


def test_a_chinese_terminal_tells_in_chinese_why_legs_wait_are_lost_and_end(tmp_path: Path) -> None:
    from fixtures.describing import described, described_in_chinese

    house = House(tmp_path, [TRAIN, TUNED], restarts=1)
    timeline = Timeline(tmp_path / "timeline.jsonl")
    house.dispatch.tell = timeline.tell
    lost = state_of("NODE_FAIL", "0", "None", "n1")
    house.executor.plan["a-train"] = [
        State("queued", "Priority"),
        lost,
        state_of("PREEMPTED", "0", "None", "n1"),
    ]
    house.dispatch.wait("a-train")
    house.dispatch.wait("a-tuned")
    told = [json.loads(line) for line in timeline.path.read_text().splitlines()]
    too_often = "已 2 次失去节点，而 executor.restarts 只允许 1 次"
    assert [described_in_chinese(event) for event in told] == [
        "a-train：排队中：Priority",
        "a-train：节点故障（NODE_FAIL）；重新开始（第 1 次，至多 1 次）",
        f"a-train：被更高优先级的作业抢占（PREEMPTED）；{too_often}",
        f"a-tuned：没有开始：a-train：被更高优先级的作业抢占（PREEMPTED）；{too_often}",
    ]
    assert described(told[1]) == "a-train: its node failed (NODE_FAIL); begins again (1 of at most 1)"
    told.insert(1, {"event": "leg", "leg": "a-train", "phase": "running", "host": "n1", "queued_s": 1})
    assert in_chinese(placements(told)[0]["lost"][0]) == "节点故障（NODE_FAIL）"


def test_a_chinese_terminal_is_refused_in_chinese(tmp_path: Path) -> None:
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(yaml.safe_dump(MATRIX))
    argv = [sys.executable, "-m", "pytest", "benchmarks/", "-p", "no:cacheprovider", "--matrix", str(matrix)]
    argv += ["--store", str(tmp_path / "store"), "--executor", "slurm"]
    env = {**os.environ, "PATH": str(tmp_path), "LC_ALL": "zh_CN.UTF-8"}
    for more, words in (
        ((), "--executor slurm: slurm：本机没有 scontrol 程序；请在登录节点上运行"),
        (("-n", "2"), "使用 --executor slurm 时 -n 没有意义"),  # rows would run in workers of this machine
    ):
        done = subprocess.run([*argv, *more], cwd=ROOT, capture_output=True, text=True, check=False, env=env)
        assert (done.returncode, words in done.stdout + done.stderr) == (4, True), done.stdout + done.stderr
    assert not list(tmp_path.glob("store/models/*"))


def test_no_more_jobs_than_allowed_and_an_orderly_end(tmp_path: Path) -> None:
    house = House(tmp_path, [TRAIN, BASE, Leg("b", "train")], max_jobs=2)
    house.executor.plan = {name: [State("running")] for name in ("a-train", "a-base", "b-train")}
    house.dispatch.step()
    house.dispatch.step()
    assert len(house.executor.submitted) == 2
    house.executor.plan = {name: [State("ended", returncode=2)] for name in house.executor.plan}
    house.dispatch.close()
    assert house.executor.stopped == [(name, False) for name in house.executor.submitted]
    assert house.executor.closed


@pytest.mark.parametrize(
    ("state", "reason", "phase"),
    [
        ("PENDING", "Priority", "queued"),
        ("PENDING", "PartitionTimeLimit", "ended"),
        ("PENDING", "JobHeldUser", "ended"),
        ("PENDING", "launch failed requeued held", "lost"),
        ("PENDING", "launch_failed_requeued_held", "lost"),
        ("RUNNING", "None", "running"),
        ("COMPLETING", "None", "running"),
        ("NODE_FAIL", "None", "lost"),
        ("PREEMPTED", "None", "lost"),
        ("TIMEOUT", "TimeLimit", "ended"),
        ("OUT_OF_MEMORY", "OutOfMemory", "ended"),
    ],
)
def test_states_of_slurm(state: str, reason: str, phase: str) -> None:
    assert state_of(state, "0", reason, "n1").phase == phase


# -- a store that several hosts share ------------------------------------------------------------------------------


def test_a_file_system_without_locks_is_told_before_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert why_locks_unusable(tmp_path) == ""

    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    assert "no usable locks (Function not implemented)" in why_locks_unusable(tmp_path)
    monkeypatch.setattr(locks.fcntl, "flock", lambda *_: None)
    assert "grants a lock twice" in why_locks_unusable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_attempt_that_was_superseded_records_nothing(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    late = Stages(workspace, Timeline(tmp_path / "events.jsonl"), superseded=lambda: "begun again on n2")
    stage = Stage(
        name="train", row="row", folder=late.folder("train", "row", {}), recipe={}, facts=TrainingFacts
    )

    def work(output: Path) -> Done:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("x")
        return Done()

    with pytest.raises(StoreError, match="begun again on n2"):
        late.ensure(stage, work)
    assert not stage.record.exists()


def test_a_record_that_another_host_has_just_written_is_not_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of NFS says that a name is absent until it lists the folder, and then sees it."""
    workspace = Workspace(tmp_path)
    stages = Stages(workspace, Timeline(tmp_path / "events.jsonl"))
    folder = stages.folder("train", "row", {})
    stage = Stage(name="train", row="row", folder=folder, recipe={}, facts=TrainingFacts)

    def work(output: Path) -> Done:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("x")
        return Done()

    assert stages.ensure(stage, work).outcome == "ran"
    listed, read, listing = set[Path](), Path.read_text, Path.iterdir

    def iterdir(self: Path) -> Iterator[Path]:
        listed.add(self)
        return listing(self)

    def read_text(self: Path, *args: Any, **options: Any) -> str:
        if self == stage.record and folder not in listed:
            raise OSError(2 if not listed else 116, "cached")
        return read(self, *args, **options)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.setattr(Path, "read_text", read_text)
    again = Stages(workspace, Timeline(tmp_path / "events.jsonl"))
    assert again.ensure(stage, work).outcome == "reused"
    assert folder in listed


def test_a_leg_begins_only_where_the_lock_of_its_session_is_seen(tmp_path: Path) -> None:
    leg = tmp_path / "row-base"
    leg.mkdir()
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "fixtures.leg", "--leg", str(leg)]
    argv += [
        "--leg-run",
        "run/legs/row-base",
        "--store",
        str(tmp_path / "store"),
        "benchmarks/test_train.py",
        "-k",
        "llama",
    ]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "is not seen here" in done.stdout + done.stderr
    assert not (leg / "begun.jsonl").exists()


def test_a_note_of_another_host_is_left_alone_and_counts_as_running(tmp_path: Path) -> None:
    note = {
        "host": "n9",
        "boot": "x",
        "pids": "pid:[1]",
        "pid": 1,
        "born": "x 1",
        "owner": 1,
        "command": "serve /a",
    }
    (tmp_path / "n9-1.json").write_text(json.dumps(note))
    assert runner.end_orphans(tmp_path) == []
    assert runner.running(tmp_path) == ["on n9: serve /a"]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if why := clusters.why_no_namespaces():
        pytest.skip(why)
    with clusters.lab(tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_lab_ends_with_the_tests_however_these_end(tmp_path: Path, number: int) -> None:
    if why := clusters.why_no_namespaces():
        pytest.skip(why)
    code = (
        "import sys, time\nfrom pathlib import Path\nimport clusters\n"
        "with clusters.lab(Path(sys.argv[1]) / 'lab') as lab:\n"
        "    print(*(lab.start(host, ['sleep', '4711'], lab.log).pid for host in (None, 'n1')), flush=True)\n"
        "    time.sleep(600)\n"
    )
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    argv = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout
        started = [int(word) for word in tests.stdout.readline().split()]
        tests.send_signal(number)
    assert len(started) == 2
    wait_until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), 20, "the lab outlived its tests"
    )


HOLD = """
import sys, time
from pathlib import Path
from bakeoff.foundation.command import Command
from bakeoff.execution.runner import Runner, end_orphans, running
from bakeoff.store import locks
from bakeoff.store.facts import TrainingFacts
from bakeoff.store.stage import Stage
from bakeoff.store.stages import Done, Stages, Timeline
from bakeoff.foundation.workspace import Workspace
locks.SILENT_S = 0.5
workspace = Workspace(Path(sys.argv[1]))
stages = Stages(workspace, Timeline(workspace.root / "events.jsonl"))
runner = Runner(workspace.processes, warm=False)
end_orphans(workspace.processes)
def work(output):
    (workspace.root / "starts").open("a").write("x")
    waits = Command(("sh", "-c", 'until [ -e "$0" ]; do sleep 0.1; done', sys.argv[2]))
    runner.run(waits, output.with_name("stage.log"), timeout_s=60, stall_s=60)
    output.write_text("done")
    return Done()
folder = stages.folder("train", "row", {})
stage = Stage(name="train", row="row", folder=folder, recipe={}, facts=TrainingFacts)
print(stages.ensure(stage, work).outcome)
runner.close()
"""


def test_hosts_with_own_process_ids_do_a_stage_once_and_leave_each_others_processes(hosts: Lab) -> None:
    store = hosts.folder / "store"
    store.mkdir()
    log = hosts.folder / "first.log"
    go, events = store / "go", store / "events.jsonl"
    first = hosts.start("n1", [sys.executable, "-c", HOLD, str(store), str(go)], log)
    wait_until(lambda: list((store / "processes").glob("*.json")), 60, log.read_text())
    second = hosts.start("n2", [sys.executable, "-c", HOLD, str(store), str(go)], hosts.folder / "second.log")
    wait_until(lambda: '"waiting"' in events.read_text(), 60, "the second host waits")
    go.touch()
    assert first.wait(60) == 0, log.read_text()
    assert second.wait(60) == 0, (hosts.folder / "second.log").read_text()
    assert (log.read_text().strip(), (hosts.folder / "second.log").read_text().strip()) == ("ran", "reused")
    assert (store / "starts").read_text() == "x"
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert next(event["holder"] for event in told if event["event"] == "waiting").endswith("on n1")


AHEAD = """
import datetime, time
real, moment = time.time, datetime.datetime
time.time = lambda: real() + 3600
class Ahead(moment):
    @classmethod
    def now(cls, tz=None): return moment.fromtimestamp(time.time(), tz)
datetime.datetime = Ahead
"""
"""A clock that is an hour ahead."""


def test_a_host_that_cannot_write_says_so_and_one_that_dies_keeps_no_lock(hosts: Lab) -> None:
    store = hosts.folder / "nasty"
    store.mkdir()

    def hold(host: str, mount: str = "true", clock: str = "") -> str:
        line = shlex.join([sys.executable, "-c", clock + HOLD, str(store), "/"])
        private = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
        done = hosts.run(host, *private, f"{mount} && exec {line}")
        return (done.stdout + done.stderr).strip().splitlines()[-1]

    assert "train stopped: [Errno 28] No space left on device" in hold(
        "n1", f"mount -t tmpfs -o size=64k,nr_inodes=10 none {store}"
    )
    only_read = f"mount --bind {store} {store} && mount -o remount,ro,bind {store}"
    said = hold("n1", only_read)
    assert said.endswith(
        "nothing can be written there on n1 (Read-only file system); mount it so that it can be written, or give "
        "another --store"
    )
    dies = hosts.start(
        "n3",
        [sys.executable, "-c", AHEAD + HOLD, str(store), str(store / "never")],
        hosts.folder / "dies.log",
    )
    wait_until(lambda: list((store / "processes").glob("n3-*.json")), 60)
    hosts.kill_host("n3")
    dies.wait(20)
    assert hold("n2") == "ran"  # nobody holds the lock
    assert runner.running(store / "processes")  # what the other host did is not known here
    hosts.start_host("n3")
    assert hold("n3", clock=AHEAD) == "reused"
    assert runner.running(store / "processes") == []  # it was started anew, so its notes are void
    assert "Read-only" in hold("n2", only_read)


# -- real clusters -------------------------------------------------------------------------------------------------


class Driver:
    """``tests/dispatching.py``, which runs where jobs are submitted."""

    def __init__(
        self, cluster: SlurmCluster | RayCluster, name: str, spec: dict[str, Any], legs: list[Any]
    ) -> None:
        self.root = cluster.lab.folder / name
        self.log = cluster.lab.folder / f"{name}.log"
        argv = [sys.executable, str(ROOT / "tests" / "dispatching.py"), str(self.root)]
        self.process = cluster.lab.start(
            None,
            [*argv, json.dumps(spec), json.dumps(legs)],
            self.log,
            **cluster.env,
            MY_API_KEY="sk-planted-0123456789",
        )

    def events(self, **wanted: object) -> list[dict[str, Any]]:
        rows = []
        for line in self.log.read_text().splitlines() if self.log.exists() else ():
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and all(row.get(key) == value for key, value in wanted.items()):
                    rows.append(row)
        return rows

    def see(self, timeout_s: float = 90, **wanted: object) -> dict[str, Any]:
        wait_until(lambda: self.events(**wanted) or self.process.poll() is not None, timeout_s, str(self.log))
        assert self.events(**wanted), self.log.read_text()
        return self.events(**wanted)[-1]

    def end(self, timeout_s: float = 120) -> int:
        return self.process.wait(timeout_s)

    def interrupt(self) -> None:
        """Ctrl-C where the driver runs: nsenter's child."""
        os.kill(clusters.child_of(self.process.pid), signal.SIGINT)


def sleepers(cluster: SlurmCluster | RayCluster) -> list[str]:
    """What pretended legs started and left, on any host."""
    return [line for line in cluster.lab.processes() if "sleep 3601" in line or "fakes/leg.py" in line]


@pytest.mark.slow
def test_slurm_refuses_before_anything_is_queued(slurm: SlurmCluster) -> None:
    for number, (spec, words) in enumerate(
        [
            ({"partition": "nowhere"}, "invalid partition"),
            ({"constraint": "b200"}, "feature"),
            ({"gres": "gpu:b200:{}"}, "configuration is not available"),
            ({"time": "9-0"}, "time limit"),
        ]
    ):
        driver = Driver(slurm, f"refused{number}", {"kind": "slurm", **spec}, [["a", "base", 1, 1]])
        assert driver.end() == 4, driver.log.read_text()
        assert words in driver.events(event="unusable")[0]["why"].lower()
    assert slurm.jobs() == []


@pytest.mark.slow
def test_the_doctor_asks_slurm(slurm: SlurmCluster) -> None:
    store = slurm.lab.folder / "doctored"
    plant_tools(store)
    matrix = slurm.lab.folder / "doctored.yaml"
    matrix.write_text(yaml.safe_dump(MATRIX))
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "benchmarks/",
        "--doctor",
        "-p",
        "no:cacheprovider",
        "--store",
        str(store),
    ]
    argv += ["--matrix", str(matrix), "--executor"]
    done = slurm.lab.run(None, *argv, "slurm", **slurm.env)
    assert (done.returncode, "error: " in done.stdout) == (0, False), done.stdout
    (answer,) = store.glob("probes/*/answer.json")
    assert json.loads(answer.read_text())["locked"] is True
    done = slurm.lab.run(None, *argv, "slurm:partition=nowhere", **slurm.env)
    assert done.returncode == 1
    assert "invalid partition" in done.stdout.lower()


@pytest.mark.slow
def test_slurm_leases_cards_and_shows_no_secret(slurm: SlurmCluster) -> None:
    driver = Driver(
        slurm, "cards", {"kind": "slurm", "constraint": "h100"}, [["a", "base", 1, 1], ["b", "base", 1, 1]]
    )
    assert driver.end() == 0, driver.log.read_text()
    assert [event["why"] for event in driver.events(event="outcome")] == ["", ""]
    said = sorted((driver.root / f"{row}-base" / "leg.log").read_text() for row in "ab")
    assert [line.split()[-1] for line in said] == ["secret", "secret"]
    assert {event["host"] for event in driver.events(phase="running")} == {"n1"}
    for path in [*driver.root.rglob("*"), driver.log]:
        assert not path.is_file() or b"planted" not in path.read_bytes()


@pytest.mark.slow
def test_slurm_begins_a_leg_again_whose_node_died_was_cut_off_or_preempted(slurm: SlurmCluster) -> None:
    with clusters.CardWatch(slurm.lab.folder) as watch:
        driver = Driver(slurm, "killed", {"kind": "slurm"}, [["a", "train", 300, 2], ["b", "train", 300, 2]])
        dead, cut = (driver.see(phase="running", leg=f"{row}-train")["host"] for row in "ab")
        wait_until(lambda: len(watch.holders) == 4, 20, "both legs are on their cards")
        slurm.lab.kill_host(dead)
        slurm.lab.cut(cut)
        assert driver.see(phase="running", leg="a-train", start=2)["host"] not in (dead, cut)
        wait_until(lambda: watch.attempts() == 3, 60, "the second attempt is on its cards")
        driver.see(phase="queued", leg="b-train")
        (driver.root / "a-train" / "enough").touch()
        slurm.lab.heal(cut)
        driver.see(phase="running", leg="b-train", start=2)
        wait_until(lambda: watch.attempts() == 4, 60, "so is that of the other leg")
        (driver.root / "b-train" / "enough").touch()
        assert driver.end() == 0, driver.log.read_text()
        assert [event["why"] for event in driver.events(event="outcome")] == ["", ""]
        assert [event["leg"] for event in driver.events(phase="lost")] == ["a-train", "b-train"]
        slurm.lab.start_host(dead)
        slurm.join(dead)
        wait_until(lambda: slurm.idle() == 3, 60, "the nodes come back")

        driver = Driver(slurm, "preempted", {"kind": "slurm"}, [["a", "train", 300, 2]])
        host = driver.see(phase="running")["host"]
        wait_until(lambda: watch.attempts() == 5, 60, "the leg to preempt is on its cards")
        slurm.run("sbatch", "-p", "urgent", "-w", host, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
        driver.see(phase="running", start=2)
        wait_until(lambda: watch.attempts() == 6, 60, "it is on its cards again")
        (driver.root / "a-train" / "enough").touch()
        assert driver.end() == 0, driver.log.read_text()
        assert driver.events(phase="lost")
        assert driver.events(event="outcome")[0]["why"] == ""
        wait_until(lambda: not sleepers(slurm), 20, "left behind")
    assert watch.clashes == []


@pytest.mark.slow
def test_slurm_legs_outlive_a_restart_of_the_controller_but_not_a_cancelled_job(slurm: SlurmCluster) -> None:
    legs = [["a", "train", 7, 1], ["a", "tuned", 1, 1], ["b", "base", 300, 0], ["c", "base", 300, 0]]
    driver = Driver(slurm, "restarted", {"kind": "slurm"}, legs)
    for leg in ("a-train", "b-base", "c-base"):
        driver.see(phase="running", leg=leg)
    numbers = {name: number for number, name, *_ in (line.split() for line in slurm.jobs())}
    shown = slurm.run("scontrol", "show", "job", "-d", "-d") + "\n".join(slurm.lab.processes())
    assert "restarted-b-base" in shown
    assert "planted" not in shown
    slurm.run("scontrol", "update", "NodeName=n1,n2,n3", "State=DRAIN", "Reason=repair")
    slurm.stop_controller()
    slurm.start_controller()
    slurm.run("scancel", numbers["restarted-b-base"])
    slurm.run("scontrol", "hold", numbers["restarted-c-base"])
    slurm.run("scontrol", "requeue", numbers["restarted-c-base"])
    driver.see(
        phase="ended", leg="a-train"
    )  # nodes that are drained go on with what runs, and take nothing new
    assert re.search("DRAINED|UnavailableNodes", driver.see(phase="queued", leg="a-tuned")["why"])
    refused = Driver(slurm, "drained", {"kind": "slurm"}, [["d", "base", 1, 0]])
    assert refused.end() == 4, refused.log.read_text()
    assert "none of the 3 nodes of the partition takes jobs now (drain" in refused.log.read_text()
    slurm.run("scontrol", "update", "NodeName=n1,n2,n3", "State=RESUME")
    assert driver.end() == 0, driver.log.read_text()
    outcomes = {event["leg"]: event["why"].split("\n")[0] for event in driver.events(event="outcome")}
    assert (outcomes["a-train"], outcomes["a-tuned"]) == ("", "")
    assert outcomes["b-base"] == "b-base: somebody cancelled its job"
    assert outcomes["c-base"].startswith("c-base: it would never start: JobHeld")
    assert slurm.jobs() == []  # nor is a held one left
    for path in [*slurm.folder.glob("*.log"), *driver.root.rglob("*"), driver.log]:
        assert not path.is_file() or b"planted" not in path.read_bytes()


@pytest.mark.slow
def test_slurm_ends_a_run_in_order_at_ctrl_c(slurm: SlurmCluster) -> None:
    legs = [["a", "train", 300, 0], ["a", "tuned", 300, 0], ["b", "base", 300, 2]]
    driver = Driver(slurm, "stopped", {"kind": "slurm"}, legs)
    driver.see(phase="running", leg="a-train")
    driver.see(phase="running", leg="b-base")
    driver.interrupt()
    assert driver.end(60) == 2, driver.log.read_text()
    assert slurm.jobs() == []
    for leg in ("a-train", "b-base"):
        (reports,) = (driver.root / leg).glob("reports-*.jsonl")
        assert json.loads(reports.read_text()) == {"exit": 2}  # each had its time to end
    wait_until(lambda: not sleepers(slurm), 20, "left behind")


@pytest.mark.slow
def test_ray_begins_again_keeps_the_time_and_ends_in_order(ray: RayCluster) -> None:
    refused = Driver(ray, "refused", {"kind": "ray"}, [["a", "base", 1, 5]])
    assert refused.end() == 4, refused.log.read_text()
    assert "needs a node with GPU 5" in refused.events(event="unusable")[0]["why"]

    driver = Driver(ray, "killed", {"kind": "ray"}, [["a", "train", 12, 1]])
    host = driver.see(phase="running")["host"]
    ray.lab.kill_host(host)
    assert driver.end() == 0, driver.log.read_text()
    hosts = [event["host"] for event in driver.events(phase="running")]
    assert (len(hosts), hosts[0] != hosts[1]) == (2, True)
    assert driver.events(event="outcome")[0]["why"] == ""

    late = Driver(ray, "late", {"kind": "ray", "time": "0:05", "restarts": 0}, [["a", "train", 300, 0]])
    assert late.end() == 0, late.log.read_text()
    assert "time limit of 5 s" in late.events(event="outcome")[0]["why"]

    stopped = Driver(ray, "stopped", {"kind": "ray"}, [["a", "train", 300, 0], ["b", "base", 300, 2]])
    stopped.see(phase="running", leg="a-train")
    stopped.see(phase="running", leg="b-base")
    stopped.interrupt()
    assert stopped.end(60) == 2, stopped.log.read_text()
    wait_until(lambda: not sleepers(ray), 20, "left behind")
    for path in [*driver.root.rglob("*"), driver.log]:
        assert not path.is_file() or b"planted" not in path.read_bytes()


MATRIX = {
    "models": {
        name: {
            "group": "smoke",
            "model": "tiny:llama",
            "model_type": "llama",
            "template": "llama3",
            "dataset": ["shipped:facts_train.jsonl"],
            "training": {
                "dtype": "float32", "max_length": 512, "gradient_checkpointing": False, "batch_size": 4,
                "gradient_accumulation": 1, "learning_rate": rate, "max_steps": 12, "logging_steps": 2,
                "tracker": "none",
            },
            "limits": {"train_s": 600, "export_s": 300, "evaluate_s": 300, "stall_s": 300, "retries": 0},
            "suites": ["exam"],
        }
        for name, rate in (("one", 5e-3), ("two", 4e-3))
    },
    "suites": {
        "exam": {
            "benchmark": "facts_exam", "data": "shipped:facts_exam", "hub": False, "few_shot": 0, "limit": 8,
            "may_be_untrusted": "a tiny model was never taught to answer this",
        }
    },
}  # fmt: skip


def scores(store: Path) -> list[tuple[Any, ...]]:
    run = max((store / "runs").iterdir())
    rows = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    return sorted((row["model"], row["variant"], row["subset"], row["metric"], row["value"]) for row in rows)


@pytest.fixture(scope="module")
def scores_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], list[tuple[Any, ...]]]]:
    """What waits for the scores of the two rows in one process, which runs beside the first cluster."""
    folder = tmp_path_factory.mktemp("here")
    matrix, log = folder / "matrix.yaml", folder / "log"
    matrix.write_text(yaml.safe_dump(MATRIX))
    argv = [sys.executable, "-m", "pytest", "benchmarks/", "-p", "no:cacheprovider", "--store"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*argv, str(folder / "store"), "--matrix", str(matrix)],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait() -> list[tuple[Any, ...]]:
        assert process.wait(600) == 0, log.read_text()
        return scores(folder / "store")

    yield wait
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def lose_a_node(cluster: SlurmCluster, store: Path) -> str:
    """Kill the host that works on a leg of *store* as soon as a command of a stage runs there."""
    notes = store / "processes"
    wait_until(lambda: list(notes.glob("n*.json")), 120, "no stage begins")
    host = next(notes.glob("n*.json")).name.partition("-")[0]
    cluster.lab.kill_host(host)
    return host


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["slurm", "ray"])
def test_rows_through_the_whole_chain_have_the_scores_of_one_process(
    kind: str, scores_here: Callable[[], list[tuple[Any, ...]]], request: pytest.FixtureRequest
) -> None:
    cluster = request.getfixturevalue(kind)
    matrix, log = cluster.lab.folder / "matrix.yaml", cluster.lab.folder / "chain.log"
    store = cluster.lab.folder / "store"
    matrix.write_text(yaml.safe_dump({**MATRIX, "executor": {"kind": kind}}))
    argv = [sys.executable, "-m", "pytest", "benchmarks/", "-p", "no:cacheprovider", "--store", str(store)]
    argv += ["--matrix", str(matrix)]
    process = cluster.lab.start(None, argv, log, **cluster.env)
    lost = lose_a_node(cluster, store)
    assert process.wait(600) == 0, log.read_text()
    assert scores(store) == scores_here()
    run = max((store / "runs").iterdir())
    assert len(list((run / "legs").glob("*/begun.jsonl"))) == 6
    notes = [path.name for path in (store / "processes").glob("*")]
    assert [name for name in notes if name.partition("-")[0] != lost] == []
    placed = json.loads((run / "run.json").read_text(encoding="utf-8"))["legs"]
    names = [f"{row}-{leg}" for row in ("one", "two") for leg in ("train", "base", "tuned")]
    assert sorted(leg["leg"] for leg in placed) == sorted(names)
    assert all(leg["hosts"] and leg["expected_s"] for leg in placed)
    assert any(leg["lost"] for leg in placed)
    cluster.lab.start_host(lost)
    cluster.join(lost)
    if kind == "slurm":
        again = cluster.lab.run(None, *argv, "--executor", "here", timeout_s=300, **cluster.env)
        assert again.returncode == 0, again.stdout
        assert "done in" not in again.stdout  # every stage is reused
