"""Jobs on a Slurm cluster, by ``sbatch``, ``squeue`` and ``scancel``."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bakeoff.execution import endings
from bakeoff.execution.executor import Job, State, time_limit_s
from bakeoff.execution.slurm_programs import run
from bakeoff.execution.slurm_states import state_of
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.files import write_text
from bakeoff.foundation.secrecy import redact
from bakeoff.foundation.sentences import joined, of_error
from bakeoff.matrix.schema import ExecutorSpec

GONE_S = 60.0
"""How long after its submission a job that squeue does not list may not have been listed yet."""
GRACE_S = 60
"""How long before its time limit a job is asked to end in order."""

_AWAY = re.compile(r"down|drain|drng|fail|maint|unk|inval|.*\*")
"""States of nodes that take no job."""
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
        self._seen: Mapping[str, State] = {}
        self._unsure: set[str] = set()
        """Names of jobs that may be queued: sbatch left without an answer."""
        run("scontrol", "ping")

    @property
    def look_s(self) -> float:
        """Return the seconds between calls of squeue, more in longer runs."""
        age_s = time.monotonic() - self._opened
        return 2.0 if age_s < 120 else 5.0 if age_s < 600 else 15.0

    def why_unusable(self, jobs: Sequence[Job]) -> str:
        """Return what ``sbatch --test-only`` says against *jobs*, by size."""
        if clusters := os.environ.get("SBATCH_CLUSTERS"):
            return endings.OTHER_CLUSTERS(clusters=clusters)
        for job in {job.gpus: job for job in jobs}.values():
            try:
                run("sbatch", "--test-only", *self.arguments(job), "--wrap", "true", env=job.env)
            except BakeoffError as error:
                return joined((of_error(error), self._why_away()))
        return self._why_too_long()

    def _why_away(self) -> str:
        """Say so where no node takes jobs now; sbatch does not."""
        with contextlib.suppress(BakeoffError):
            states = [row[0] for row in self._of_partitions("%t", "--Node")]
            away = bool(states) and all(map(_AWAY.match, states))
            return endings.ALL_AWAY(count=len(states), states=sorted(set(states))) if away else ""
        return ""

    def _why_too_long(self) -> str:
        """Why the partition would let a job of our time limit wait for ever."""
        limit_s = time_limit_s(self.spec.time)
        allowed = [row[0] for row in self._of_partitions("%l")]
        if not limit_s or not allowed or any(text == "infinite" for text in allowed):
            return ""
        if limit_s <= max(time_limit_s(text) or 0.0 for text in allowed):
            return ""
        return endings.TOO_LONG(time=self.spec.time, allowed=allowed)

    def cards(self) -> int:
        """Return how many cards the nodes have that are up and allowed."""
        kind = re.escape(self.spec.gres.split("{}")[0])
        counts: dict[str, int] = {}
        with contextlib.suppress(BakeoffError):
            for name, cards, features, state in self._of_partitions("%n %G %f %t", "--Node"):
                suits = self.spec.constraint in (None, *features.split(","))
                if suits and not _AWAY.match(state):
                    counts[name] = sum(map(int, re.findall(rf"\b{kind}(?:[^:(,]+:)?(\d+)", cards)))
        return sum(counts.values())

    def _of_partitions(self, columns: str, *options: str) -> list[list[str]]:
        """What sinfo says of the partitions that jobs may run in."""
        lines = run("sinfo", "--noheader", *options, f"--format=%P {columns}").splitlines()
        names = (self.spec.partition or os.environ.get("SBATCH_PARTITION", "")).split(",")
        rows = [line.split() for line in lines]
        return [
            rest for name, *rest in rows if name.rstrip("*") in names or ("" in names and name.endswith("*"))
        ]

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
            raise BakeoffError(endings.SHOWS_SECRET(job=job.name))
        return text

    def submit(self, job: Job) -> None:
        """Queue *job*, after an earlier session's job of the same name."""
        path = job.folder / "job.sh"
        write_text(path, self.script(job))
        arguments = ("--parsable", "--dependency=singleton", *self.arguments(job), str(path))
        number = self._queued(job.name, path) if job.name in self._unsure else ""
        self._unsure.add(job.name)
        number = number or run("sbatch", *arguments, env=job.env).strip().splitlines()[-1].split(";")[0]
        self._unsure.discard(job.name)
        self._ids[job.name] = number
        self._since[job.name] = time.monotonic()
        self._ended.pop(job.name, None)

    @staticmethod
    def _queued(name: str, script: Path) -> str:
        """The number of a job that sbatch queued although it seemed to fail."""
        user = f"--user={getpass.getuser()}"
        listed = run("squeue", "-h", f"--name={name}", user, "--format=%i %o")
        rows = [line.partition(" ") for line in listed.splitlines()]
        numbers = [number for number, _, command in rows if command.strip() == str(script)]
        return max(numbers, key=lambda number: (len(number), number), default="")

    def states(self) -> Mapping[str, State]:
        """Return the states of the jobs, as far as the controller answers."""
        open_jobs = {name: number for name, number in self._ids.items() if name not in self._ended}
        states = dict(self._ended)
        if not open_jobs:
            return states
        form = "jobid:.20,state:.20,exit_code:.12,reason:.120,nodelist:.200"
        try:
            listed = run("squeue", "-h", "--states=all", f"--user={getpass.getuser()}", f"--Format={form}")
        except BakeoffError:
            return states  # not "over": nothing is known
        rows = {line[:20].strip(): line for line in listed.splitlines()}
        for name, number in open_jobs.items():
            if line := rows.get(number):
                cells = (line[a:b].strip() for a, b in ((20, 40), (40, 52), (52, 172), (172, None)))
                states[name] = state_of(*cells)
            elif time.monotonic() - self._since[name] > GONE_S:
                states[name] = State("ended", endings.NOT_LISTED())
            if name in states and states[name].phase in ("ended", "lost"):
                self._ended[name] = states[name]
                if endings.NEVER.made(states[name].why) or endings.NOT_LAUNCHED.made(
                    states[name].why
                ):  # else it stays in the queue, held
                    run("scancel", number, check=False)
        self._seen = states
        return states

    def stop(self, name: str, *, kill: bool = False) -> None:
        """Send SIGTERM to the command alone, or cancel the whole job."""
        number, state = self._ids.get(name), self._seen.get(name)
        if number is None or name in self._ended:
            return
        in_order = not kill and state is not None and state.phase == "running"
        run("scancel", *(("--batch", "--signal=TERM") if in_order else ()), number, check=False)
        if state and state.phase == "queued":
            self._ended[name] = State("ended", endings.LEFT_QUEUE())

    def close(self) -> None:
        """Cancel whatever is still there."""
        if left := [number for name, number in self._ids.items() if name not in self._ended]:
            run("scancel", *left, check=False)
