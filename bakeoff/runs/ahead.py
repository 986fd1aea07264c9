"""Make what the next row needs before its card, while a row is on one.

Download, build, conversion and Python environments need no card, and on one card a row's would wait for the end of the
row before. A process of its own makes them meanwhile, under the locks and with the records of any run: the row finds
them in the store at its turn. What fails here is tried again then, and reported then.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Collection, Sequence
from pathlib import Path

import psutil

from bakeoff.chain.chain import Bench, Chain
from bakeoff.execution.runner import Process, Runner
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import BakeoffError, MatrixError
from bakeoff.foundation.provenance import ContentHashes, digest
from bakeoff.foundation.secrecy import load_env_file, redact
from bakeoff.foundation.sentences import Template
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import load_matrix
from bakeoff.matrix.schema import Matrix, ModelSpec
from bakeoff.runs.forecast import forecast
from bakeoff.store.events import MADE_AHEAD, NOT_AHEAD
from bakeoff.store.stages import Stages, Timeline, read_record
from bakeoff.tools import memory

WITHOUT_CARD = ("download", "build", "convert")
"""Stages that may be made ahead."""
MEMORY_GIB = 8.0
"""More than a build or a conversion was seen to need (docs/forms.md)."""
MEANWHILE = Template(
    "runs.ahead.meanwhile",
    "made ahead, while {row} was on the card",
    zh="在 {row} 占用显卡期间提前完成",
)
NO_ROOM = Template(
    "runs.ahead.no_room",
    "not made ahead: with {beside} it needs {needed:.0f} GiB of disk, and {free:.1f} are free",
    zh="未提前准备：与 {beside} 合计需要 {needed:.0f} GiB 磁盘，剩余 {free:.1f} GiB",
)
NO_MEMORY = Template(
    "runs.ahead.no_memory",
    "not made ahead: beside {beside} it needs {needed:.0f} GiB of memory, and {free:.1f} are free",
    zh="未提前准备：{beside} 运行期间还需要 {needed:.0f} GiB 内存，剩余 {free:.1f} GiB",
)
NO_SIZE = Template(
    "runs.ahead.no_size",
    "not made ahead: its size, or that of {beside}, is not known before its config.json is here",
    zh="未提前准备：尚无 config.json，无法得知它或 {beside} 的大小",
)


# -- in the run ----------------------------------------------------------------------------------------------------


class HeardTimeline(Timeline):
    """A timeline whose events somebody listens to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.ahead: Ahead | None = None

    def tell(self, event: str, **facts: object) -> None:
        """Append *event*, and pass it on."""
        super().tell(event, **facts)
        if self.ahead is not None and event == "started":
            self.ahead.hear(str(facts["model"]), str(facts["stage"]))


class Ahead:
    """Prepares the next row of a run while a row is on a card.

    One row ahead and no further. Which rows there are, and what is asked of each, the run's shared services know; that
    is nothing where rows are divided among workers or jobs.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._begun: set[str] = set()
        self._processes: list[Process] = []
        self._lock = threading.Lock()

    def hear(self, row: str, stage: str) -> None:
        """Begin with the next row, since *stage* of *row* begins."""
        requested, models = self.bench.shared.requested, self.bench.matrix.models
        if stage in WITHOUT_CARD or row not in requested or models[row].on_cpu or models[row].url:
            return
        rows = list(requested)
        following = "".join(rows[rows.index(row) + 1 :][:1])
        with self._lock:
            if not following or models[following].url or following in self._begun:
                return
            self._begun.add(following)
            with contextlib.suppress(BakeoffError, OSError):  # the row makes it at its turn
                self._processes.append(self._start(following, beside=row))

    def _start(self, row: str, beside: str) -> Process:
        bench, run = self.bench, self.bench.stages.timeline.path.parent
        places = ("--matrix", str(Path(bench.matrix.source).absolute()), "--store", str(bench.workspace.root))
        marks = ",".join(sorted(bench.shared.requested[row]))
        expected = identity_of(bench.matrix, row)
        options = ("--run", run.name, "--beside", beside, "--marks", marks, "--expect", expected)
        line = ("nice", "-n", "10", sys.executable, "-m", "bakeoff.runs.ahead", *places, *options, row)
        return bench.runner.start(Command(line), run / "ahead.log")

    def close(self) -> None:
        """End what is still being made; the next run takes up there."""
        with self._lock:
            for process in self._processes:
                process.stop()
                self.bench.runner.forget(process)
            self._processes.clear()


def identity_of(matrix: Matrix, row: str) -> str:
    """Return the digest of what the matrix says of *row*.

    The file may have been edited since the run began.
    """
    spec = matrix.models[row]
    environments = [matrix.environments[name].model_dump(mode="json") for _, name in spec.environment]
    return digest([spec.model_dump(mode="json"), environments])


# -- in the process beside it --------------------------------------------------------------------------------------


class QuietTimeline(Timeline):
    """A timeline that is told what was made ahead, and no failure."""

    def __init__(self, path: Path, beside: str) -> None:
        super().__init__(path)
        self.beside = beside

    def tell(self, event: str, **facts: object) -> None:
        """Append *event*, unless the row itself will tell it at its turn."""
        if event == "waiting" or (event == "stage" and facts["outcome"] != "ran"):
            return
        super().tell(event, **facts)
        if event == "stage":
            subject = {name: facts[name] for name in ("stage", "model", "variant", "output")}
            super().tell(MADE_AHEAD, **subject, why=MEANWHILE(row=self.beside))


def is_prepared(chain: Chain) -> bool:
    """Return whether no stage and no environment is left to make ahead."""
    spec, stages = chain.spec, [stage for stage in chain.stages() if stage.name in WITHOUT_CARD]
    downloads = sum(stage.name == "download" for stage in stages)
    return (
        downloads == len(chain.origins.sources())  # of another one not even the commit is known
        and all(read_record(stage.record) for stage in stages)
        and all(chain.tools(role).versions for role, _ in spec.environment)
    )


def why_no_room(beside: ModelSpec, spec: ModelSpec, bench: Bench) -> str:
    """Return why disk or memory may not suffice for two rows at once.

    In words; empty where they do.
    """
    rows = [each for each in (beside, spec) if not each.tiny]
    entries = forecast(bench.matrix, [each.name for each in rows], bench.workspace)
    sizes = [entry.disk_gib for entry in entries]
    sizes += [entry.download_gib for entry in entries if entry.row == spec.name]  # the other one's is over
    if None in sizes:
        return NO_SIZE(beside=beside.name)
    needed, free = sum(filter(None, sizes)), memory.room_gib(bench.workspace.root)[1]
    if needed > free:
        return NO_ROOM(beside=beside.name, needed=needed, free=free)
    shape = memory.shape_of(Chain(beside, bench).base_path())
    needed = MEMORY_GIB + (memory.disk_gib(shape, beside, "base") if shape else 0.0)  # a merge loads them
    free = free_memory_gib()
    return "" if needed <= free else NO_MEMORY(beside=beside.name, needed=needed, free=free)


def free_memory_gib(group: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the memory that is free, within the limit of a container."""
    free = float(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no limit, or no second version of cgroups
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        parts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        free = min(free, limit - used + int(parts.get("inactive_file", 0)))
    return free / memory.GIB


def prepare(chain: Chain, marks: Collection[str]) -> None:
    """Make what tests with *marks* need before they need a card.

    Raises:
        BakeoffError: something cannot be made.
    """
    spec = chain.spec
    trains = spec.trains and not {"train", "export", "tuned"}.isdisjoint(marks)
    if trains or "base" in marks or not spec.weights:
        chain.base()
    if trains:
        for dataset in spec.dataset:
            chain.origins.dataset_identity(dataset)
        chain.tools("train").prepare()
    if not {"base", "tuned"}.isdisjoint(marks):
        chain.tools("serve").prepare()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str]) -> int:
    """Prepare a row of a run; the run itself writes this line."""
    parser = argparse.ArgumentParser(prog="python -m bakeoff.runs.ahead", description=main.__doc__)
    for name in ("matrix", "store"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("run", "beside", "marks", "expect"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("row")
    options = parser.parse_args(argv)
    load_env_file(Path(".env"), lambda line: None)
    workspace = Workspace(options.store)
    timeline = QuietTimeline(workspace.run(options.run) / "events.jsonl", options.beside)
    try:
        matrix = load_matrix(options.matrix)
        if options.row not in matrix.models or identity_of(matrix, options.row) != options.expect:
            return 0
    except MatrixError:  # it is being edited
        return 0
    runner = Runner(workspace.processes, warm=False)
    hashes = ContentHashes(workspace.cache / "hashes.json")
    bench = Bench(matrix, workspace, Stages(workspace, timeline), runner, hashes)
    try:
        why = _work(options.row, options.beside, options.marks.split(","), bench)
        if why is not None:
            timeline.tell(NOT_AHEAD, model=options.row, why=why)
    except KeyboardInterrupt:
        return 130
    finally:
        runner.close()
    return 0


def _work(row: str, beside: str, marks: Collection[str], bench: Bench) -> str | None:
    """Prepare *row*; return why not, or "" where its turn will tell."""
    spec = bench.matrix.models[row]
    at_rest = Bench.at_rest(bench.matrix, bench.workspace)
    if is_prepared(Chain(spec, at_rest)):
        return None
    if why := why_no_room(bench.matrix.models[beside], spec, at_rest):
        return why
    once = spec.model_copy(update={"limits": spec.limits.model_copy(update={"retries": 0})})
    try:
        prepare(Chain(once, bench), marks)
    except (BakeoffError, OSError) as error:
        print(redact(str(error)), flush=True)
        return ""
    return None


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(
        OSError
    ):  # if memory runs out all the same, this ends and not the row on the card
        Path("/proc/self/oom_score_adj").write_text("900")
    sys.exit(main(sys.argv[1:]))
