"""Jobs on a Slurm cluster, by ``sbatch``, ``squeue`` and ``scancel``."""

from __future__ import annotations

import getpass
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence

from bakeoff.errors import BakeoffError
from bakeoff.execution.executor import Job, State, time_limit_s
from bakeoff.execution.slurm_states import state_of
from bakeoff.files import write_text
from bakeoff.matrix.schema import ExecutorSpec
from bakeoff.secrecy import redact

GONE_S = 60.0
"""How long after its submission a job that squeue does not list may not have been listed yet."""
GRACE_S = 60
"""How long before its time limit a job is asked to end in order."""

_WORDS = {name: name for name in ("partition", "account", "qos", "constraint", "time")}
_WORDS |= {"cpus-per-task": "cpus", "mem": "memory"}


class Slurm:
    """An executor; see :class:`bakeoff.execution.executor.Executor`."""

    keeps_time = True

    def __init__(self, spec: ExecutorSpec) -> None:
        self.spec = spec
        self._opened = time.monotonic()
        self._ids: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._ended: dict[str, State] = {}
        _run("scontrol", "ping")

    @property
    def look_s(self) -> float:
        """Return the seconds between calls of squeue, more in longer runs."""
        age_s = time.monotonic() - self._opened
        return 2.0 if age_s < 120 else 5.0 if age_s < 600 else 15.0

    def why_unusable(self, jobs: Sequence[Job]) -> str:
        """Return what ``sbatch --test-only`` says against *jobs*, by size."""
        for job in {job.gpus: job for job in jobs}.values():
            try:
                _run("sbatch", "--test-only", *self.arguments(job), "--wrap", "true", env=job.env)
            except BakeoffError as error:
                return str(error)
        return self._why_too_long()

    def _why_too_long(self) -> str:
        """Why the partition would let a job of our time limit wait for ever."""
        limit_s = time_limit_s(self.spec.time)
        rows = [line.split() for line in _run("sinfo", "--noheader", "--format=%P %l").splitlines()]
        partitions = (self.spec.partition or "").split(",")
        allowed = [
            row[1]
            for row in rows
            if row[0].rstrip("*") in partitions or ("" in partitions and row[0].endswith("*"))
        ]
        if not limit_s or not allowed or any(text == "infinite" for text in allowed):
            return ""
        if limit_s <= max(time_limit_s(text) or 0.0 for text in allowed):
            return ""
        return f"slurm: the time limit {self.spec.time} is above that of the partition, {', '.join(allowed)}"

    def arguments(self, job: Job) -> list[str]:
        """Return the arguments of ``sbatch``: the site's, and ours."""
        spec = self.spec
        words = [(flag, getattr(spec, key)) for flag, key in _WORDS.items()]
        words += [("gres", spec.gres.format(job.gpus))] * bool(job.gpus)
        return [
            f"--job-name={job.name}",
            "--nodes=1",
            "--ntasks=1",
            "--requeue",
            "--open-mode=append",
            f"--output={job.log}",
            f"--chdir={job.command.cwd or job.folder}",
            "--export=ALL",  # values travel in the environment of sbatch
            f"--signal=B:TERM@{GRACE_S}",
            f"--nice={job.rank}",
            *(f"--{name}={value}" for name, value in words if value is not None),
            *spec.extra,
        ]

    def script(self, job: Job) -> str:
        """Return the batch script of *job*, whose shell becomes the command."""
        sets = [f"export {name}={shlex.quote(value)}" for name, value in job.command.env.items()]
        line = shlex.join([*self.spec.launch, *job.command.argv])
        text = "\n".join(
            ["#!/bin/bash", *sets, *filter(None, [self.spec.prelude.rstrip()]), f"exec {line}", ""]
        )
        if redact(text) != text:
            raise BakeoffError(
                f"{job.name}: its script would show a secret; put it into the environment or .env"
            )
        return text

    def submit(self, job: Job) -> None:
        """Queue *job*, after an earlier session's job of the same name."""
        path = job.folder / "job.sh"
        write_text(path, self.script(job))
        arguments = ("--parsable", "--dependency=singleton", *self.arguments(job), str(path))
        answer = _run("sbatch", *arguments, env=job.env)
        self._ids[job.name] = answer.strip().splitlines()[-1].split(";")[0]
        self._since[job.name] = time.monotonic()
        self._ended.pop(job.name, None)

    def states(self) -> Mapping[str, State]:
        """Return the states of the jobs, as far as the controller answers."""
        open_jobs = {name: number for name, number in self._ids.items() if name not in self._ended}
        states = dict(self._ended)
        if not open_jobs:
            return states
        form = "jobid:.20,state:.20,exit_code:.12,reason:.60,nodelist:.200"
        try:
            listed = _run("squeue", "-h", "--states=all", f"--user={getpass.getuser()}", f"--Format={form}")
        except BakeoffError:
            return states  # not "over": nothing is known
        rows = {line[:20].strip(): line for line in listed.splitlines()}
        for name, number in open_jobs.items():
            if line := rows.get(number):
                states[name] = state_of(
                    *(line[a:b].strip() for a, b in ((20, 40), (40, 52), (52, 112), (112, None)))
                )
            elif time.monotonic() - self._since[name] > GONE_S:
                states[name] = State("ended", "the queue no longer lists it")
            if name in states and states[name].phase in ("ended", "lost"):
                self._ended[name] = states[name]
        return states

    def stop(self, name: str, *, kill: bool = False) -> None:
        """Send SIGTERM to the command alone, or cancel the whole job."""
        if (number := self._ids.get(name)) is None or name in self._ended:
            return
        state = self.states().get(name)
        if state and state.phase in ("ended", "lost"):
            return
        in_order = not kill and state is not None and state.phase == "running"
        _run("scancel", *(("--batch", "--signal=TERM") if in_order else ()), number, check=False)
        if state and state.phase == "queued":
            self._ended[name] = State("ended", "it left the queue")

    def close(self) -> None:
        """Cancel whatever is still there."""
        left = [number for name, number in self._ids.items() if name not in self._ended]
        if left:
            _run("scancel", *left, check=False)


def _run(*argv: str, env: Mapping[str, str] | None = None, check: bool = True) -> str:
    """Run a program of Slurm and return what it prints.

    Raises:
        BakeoffError: it is missing, hangs or refuses.
    """
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        raise BakeoffError(
            f"slurm: no program {argv[0]} here; run this on a login node, or choose another --executor"
        ) from None
    except subprocess.TimeoutExpired:
        raise BakeoffError(f"slurm: {argv[0]} did not answer within 120 s; ask the site") from None
    if done.returncode and check:
        answer = " ".join(f"{done.stdout} {done.stderr}".split())
        raise BakeoffError(redact(f"slurm: {argv[0]} refused: {answer or f'exit code {done.returncode}'}"))
    return done.stdout
