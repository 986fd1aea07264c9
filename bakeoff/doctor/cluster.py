"""Whether a cluster answers, has the cards, and sees the same store.

One job per run is the probe: it reads what was written here, writes an answer beside it, and tries a lock that is held
here.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from filelock import FileLock

from bakeoff.doctor.finding import STORE, Finding
from bakeoff.execution.executor import Executor, Job, State, open_executor
from bakeoff.execution.gpus import count_of
from bakeoff.foundation import provenance
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.files import look_again, write_json
from bakeoff.foundation.sentences import Template, joined, of_error, parts_of
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.schema import ExecutorSpec, ModelSpec
from bakeoff.store.locks import why_locks_unusable

PATIENCE_S = 600.0
"""How long a probe may wait in the queue."""
CLOCK_S = 5.0
"""A difference of clocks that makes times of a run hard to read."""

EXECUTOR = Template("doctor.cluster.executor", "executor {kind}", zh="执行器 {kind}")
SEE_DOCS = Template("doctor.cluster.see_docs", "see docs/clusters.md", zh="见 docs/clusters.md")
MEND_WORDS = Template(
    "doctor.cluster.mend_words",
    "mend the words of executor: in the matrix, or of --executor",
    zh="请修正矩阵中的 executor: 或 --executor 的参数",
)
NOT_BEGUN = Template(
    "doctor.cluster.not_begun",
    "a probe did not begin{reason}: nothing shows that a node sees {folder} under this path",
    zh="探测作业没有开始{reason}：无法确认计算节点能以此路径看到 {folder}",
)
UNANSWERED = Template(
    "doctor.cluster.unanswered",
    "a probe left no answer{reason}: nothing shows that a node sees {folder} under this path",
    zh="探测作业没有留下结果{reason}：无法确认计算节点能以此路径看到 {folder}",
)
UNANSWERED_ON = Template(
    "doctor.cluster.unanswered_on",
    "a probe left no answer on {host}{reason}: nothing shows that a node sees {folder} under this path",
    zh="探测作业在 {host} 上没有留下结果{reason}：无法确认计算节点能以此路径看到 {folder}",
)
IN_BRACKETS = Template("doctor.cluster.in_brackets", " ({why})", zh="（{why}）")
SAME_PLACE = Template(
    "doctor.cluster.same_place",
    "put --store on a disk that every node mounts at the same place; the probe's log: {log}",
    zh="请将 --store 放在所有节点以相同路径挂载的磁盘上；探测作业的日志：{log}",
)
ANOTHER_STORE = Template(
    "doctor.cluster.another_store",
    "{host} reads another store at {folder}",
    zh="{host} 在 {folder} 读到的是另一个存档",
)
ONE_DISK = Template("doctor.cluster.one_disk", "mount one disk at this path", zh="请在此路径挂载同一磁盘")
LOCK_UNSEEN = Template(
    "doctor.cluster.lock_unseen",
    "{host} does not see a lock that is held here: two hosts could run a stage at once",
    zh="{host} 看不到本机持有的锁：两台主机可能同时运行同一阶段",
)
LOCK_UNUSABLE = Template(
    "doctor.cluster.lock_unusable",
    "{host} cannot use ({why}) a lock that is held here: two hosts could run a stage at once",
    zh="{host} 无法使用本机持有的锁（{why}）：两台主机可能同时运行同一阶段",
)
LOCKS_THAT_REACH = Template(
    "doctor.cluster.locks_that_reach",
    "put --store on a file system whose locks reach from host to host (NFS with its lock daemon, Lustre mounted with "
    "-o flock)",
    zh="请将 --store 放在支持跨主机锁的文件系统上（启用锁服务的 NFS，或以 -o flock 挂载的 Lustre）",
)
OTHER_PACKAGES = Template(
    "doctor.cluster.other_packages",
    "{host} has other packages: {packages}",
    zh="{host} 的软件包不同：{packages}",
)
HERE_AND_THERE = Template(
    "doctor.cluster.here_and_there",
    "{name} {here} here, {there} there",
    zh="{name}：本机 {here}，对方 {there}",
)
SHARED_VENV = Template(
    "doctor.cluster.shared_venv", "use one .venv on the shared disk", zh="请在共享磁盘上使用同一个 .venv"
)
CLOCK = Template(
    "doctor.cluster.clock",
    "the clock of {host} differs by about {seconds:.0f} s",
    zh="{host} 的时钟相差约 {seconds:.0f} 秒",
)
NTP = Template("doctor.cluster.ntp", "let NTP set the clocks of all hosts", zh="请用 NTP 同步所有主机的时钟")

PROBE = """
import importlib.metadata as m, json, os, platform, socket, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
asked = json.loads((folder / "question.json").read_text())
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
try:
    from filelock import FileLock, Timeout
    lock = FileLock(folder / "held.lock")
    try: lock.acquire(timeout=0); lock.release(); locked = False
    except Timeout: locked = True
except Exception as error: locked = str(error)
answer = {"nonce": asked["nonce"], "host": socket.gethostname(), "time": time.time(),
          "python": platform.python_version(), "locked": locked,
          "versions": {name: version(name) for name in asked["packages"]}}
draft = folder / "answer.tmp"
draft.write_text(json.dumps(answer)); os.replace(draft, folder / "answer.json")
"""
"""Run by ``python -c`` on a node; it needs nothing of ours."""


def check_cluster(
    spec: ExecutorSpec,
    rows: Sequence[ModelSpec],
    workspace: Workspace,
    *,
    open_it: Callable[[ExecutorSpec], Executor] = open_executor,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Finding]:
    """Yield what prevents *rows* from running on the cluster of *spec*."""
    place = EXECUTOR(kind=spec.kind)
    folder = workspace.root / "probes" / secrets.token_hex(6)
    folder.mkdir(mode=0o700, parents=True)
    if why := why_locks_unusable(workspace.locks):
        what, *remedy = parts_of(why)
        yield Finding("error", STORE(), what, joined(remedy))
        return
    try:
        executor = open_it(spec)
    except BakeoffError as error:
        yield Finding("error", place, of_error(error), SEE_DOCS())
        return
    try:
        largest = max(
            (
                count_of(row, stage)
                for row in rows
                for stage in ("train", "serve")
                if not (row.on_cpu or row.url)
            ),
            default=0,
        )
        sizes = [_job(folder, gpus, environ) for gpus in dict.fromkeys((0, min(1, largest), largest))]
        if why := executor.why_unusable(sizes):
            yield Finding("error", place, why, MEND_WORDS())
            return
        yield from _probed(executor, sizes[0], folder, place)
    finally:
        executor.close()


def _job(folder: Path, gpus: int, environ: Mapping[str, str] | None) -> Job:
    command = Command((sys.executable, "-c", PROBE, str(folder)), cwd=folder)
    env = dict(os.environ if environ is None else environ)
    return Job(
        name=f"bakeoff-probe-{folder.name}",
        command=command,
        env=env,
        folder=folder,
        log=folder / "probe.log",
        gpus=gpus,
    )


def _probed(executor: Executor, job: Job, folder: Path, place: str) -> Iterator[Finding]:
    nonce = secrets.token_hex(8)
    write_json(folder / "question.json", {"nonce": nonce, "packages": list(provenance.TOOLS)})
    with FileLock(folder / "held.lock"):
        executor.submit(job)
        state, began = _wait(executor, job), time.time()
    look_again(folder)
    try:
        answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        reason = IN_BRACKETS(why=state.why) if state and state.why else ""
        facts = {"reason": reason, "folder": folder}
        if state is None or state.phase == "queued":
            what = NOT_BEGUN(**facts)
        else:
            what = UNANSWERED_ON(host=state.host, **facts) if state.host else UNANSWERED(**facts)
        yield Finding("error", place, what, SAME_PLACE(log=job.log))
        return
    host = answer["host"]
    if answer["nonce"] != nonce:
        yield Finding("error", place, ANOTHER_STORE(host=host, folder=folder), ONE_DISK())
    if answer["locked"] is not True:
        unseen = answer["locked"] is False
        what = LOCK_UNSEEN(host=host) if unseen else LOCK_UNUSABLE(host=host, why=answer["locked"])
        yield Finding("error", STORE(), what, LOCKS_THAT_REACH())
    mine = {**provenance.versions(provenance.TOOLS), "python": platform.python_version()}
    theirs = {**answer["versions"], "python": answer["python"]}
    differing = [
        HERE_AND_THERE(name=name, here=mine[name], there=theirs.get(name))
        for name in mine
        if mine[name] != theirs.get(name)
    ]
    if differing:
        yield Finding(
            "error",
            place,
            OTHER_PACKAGES(host=host, packages=differing),
            SHARED_VENV(),
        )
    if abs(off_s := answer["time"] - began) > CLOCK_S + executor.look_s:
        yield Finding(
            "warning",
            place,
            CLOCK(host=host, seconds=off_s),
            NTP(),
        )


def _wait(executor: Executor, job: Job) -> State | None:
    """The state in which a probe ended, or the last one that was seen."""
    deadline, state = time.monotonic() + PATIENCE_S, None
    while time.monotonic() < deadline:
        state = executor.states().get(job.name, state)
        if state and state.phase in ("ended", "lost"):
            break
        time.sleep(executor.look_s)
    return state
