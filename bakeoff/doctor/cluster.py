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

from bakeoff import provenance
from bakeoff.command import Command
from bakeoff.doctor.finding import Finding
from bakeoff.errors import BakeoffError
from bakeoff.execution.executor import Executor, Job, State, open_executor
from bakeoff.execution.gpus import count_of
from bakeoff.files import write_json
from bakeoff.matrix.schema import ExecutorSpec, ModelSpec
from bakeoff.store.locks import why_locks_unusable
from bakeoff.workspace import Workspace

PATIENCE_S = 600.0
"""How long a probe may wait in the queue."""
CLOCK_S = 5.0
"""A difference of clocks that makes times of a run hard to read."""

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
    place = f"executor {spec.kind}"
    folder = workspace.root / "probes" / secrets.token_hex(6)
    folder.mkdir(mode=0o700, parents=True)
    if why := why_locks_unusable(workspace.locks):
        yield Finding("error", "store", why.split("; ")[0], why.split("; ", 1)[-1])
        return
    try:
        executor = open_it(spec)
    except BakeoffError as error:
        yield Finding("error", place, str(error), "see docs/clusters.md")
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
            yield Finding("error", place, why, "mend the words of executor: in the matrix, or of --executor")
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
    list(folder.iterdir())  # an NFS client looks again
    try:
        answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        where = f" on {state.host}" if state and state.host else ""
        what = "did not begin" if state is None or state.phase == "queued" else f"left no answer{where}"
        reason = f" ({state.why})" if state and state.why else ""
        yield Finding(
            "error",
            place,
            f"a probe {what}{reason}: nothing shows that a node sees {folder} under this path",
            f"put --store on a disk that every node mounts at the same place; the probe's log: {job.log}",
        )
        return
    host = answer["host"]
    if answer["nonce"] != nonce:
        yield Finding(
            "error", place, f"{host} reads another store at {folder}", "mount one disk at this path"
        )
    if answer["locked"] is not True:
        why = "does not see" if answer["locked"] is False else f"cannot use ({answer['locked']})"
        yield Finding(
            "error",
            "store",
            f"{host} {why} a lock that is held here: two hosts could run a stage at once",
            "put --store on a file system whose locks reach from host to host (NFS with its lock daemon, Lustre "
            "mounted with -o flock)",
        )
    mine = {**provenance.versions(provenance.TOOLS), "python": platform.python_version()}
    theirs = {**answer["versions"], "python": answer["python"]}
    differing = [
        f"{name} {mine[name]} here, {theirs.get(name)} there"
        for name in mine
        if mine[name] != theirs.get(name)
    ]
    if differing:
        yield Finding(
            "error",
            place,
            f"{host} has other packages: {', '.join(differing)}",
            "use one .venv on the shared disk",
        )
    if abs(off_s := answer["time"] - began) > CLOCK_S + executor.look_s:
        yield Finding(
            "warning",
            place,
            f"the clock of {host} differs by about {off_s:.0f} s",
            "let NTP set the clocks of all hosts",
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
