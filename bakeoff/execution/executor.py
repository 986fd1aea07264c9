"""The interface to what runs legs: a job, its state, an executor.

An executor only places jobs and says how they are. What a job is, when one begins again and what its end means is
decided in :mod:`bakeoff.execution.dispatch`, for every executor alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pydantic import ValidationError

from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import BakeoffError, Complaint, MatrixError
from bakeoff.foundation.sentences import Template
from bakeoff.foundation.suggestions import suggestion
from bakeoff.matrix.complaints import shown
from bakeoff.matrix.executors import of_executor
from bakeoff.matrix.mistakes import OTHER
from bakeoff.matrix.schema import ExecutorSpec

NOT_KNOWN = Template("execution.executor.not_known", "{name} is not known", zh="没有 {name}")
NOT_KNOWN_BUT = Template(
    "execution.executor.not_known_but", "{name} is not known; {hint}", zh="没有 {name}；{hint}"
)
NO_WORDS = Template(
    "execution.executor.no_words",
    "here takes no words, found {value}",
    zh="here 后面不接内容，实际是 {value}",
)
WRITE_PAIR = Template("execution.executor.write_pair", "write key=value", zh="请写 key=value")

Phase = Literal["queued", "running", "ended", "lost"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command that is to run once on one node.

    Attributes:
        name: unique among the jobs of a cluster that run at the same time.
        env: the whole environment of the command, secrets included; it must reach no file and no command line.
        folder: its place on the shared disk; it exists.
        log: gets what the command prints, appended.
        gpus: cards of one node.
        rank: 0 for the job that should begin first.
    """

    name: str
    command: Command
    env: Mapping[str, str] = field(repr=False)
    folder: Path
    log: Path
    gpus: int = 0
    rank: int = 0


@dataclass(frozen=True)
class State:
    """How a job is.

    Attributes:
        why: the reason that it waits, was lost, or ended; empty where there is none to tell.
        host: the node that it runs on, or ran on.
        returncode: exit code of an ended one; None where the cluster does not know.
        out_of_time: whether the cluster ended it at its time limit.
        cancelled: whether somebody ended or held it with the cluster's own means.
    """

    phase: Phase
    why: str = ""
    host: str = ""
    returncode: int | None = None
    out_of_time: bool = False
    cancelled: bool = False


class Busy(BakeoffError):
    """The cluster cannot take a job, or answer, now; later it may."""


class Executor(Protocol):
    """Places jobs on the nodes of a cluster.

    Attributes:
        keeps_time: whether the cluster itself ends jobs at their time limit.
    """

    keeps_time: bool

    @property
    def look_s(self) -> float:
        """Seconds between two looks at the jobs that a polite guest leaves."""

    def why_unusable(self, jobs: Sequence[Job]) -> str:
        """Return why the cluster would never run one of *jobs*; else empty."""

    def cards(self) -> int:
        """Return how many cards its nodes have; 0 where that is not known."""

    def submit(self, job: Job) -> None:
        """Queue *job*; one of the same name that ended may be submitted again.

        Raises:
            Busy: another try may succeed.
            BakeoffError: none will.
        """

    def states(self) -> Mapping[str, State]:
        """Return the states of the submitted jobs, where they are known."""

    def stop(self, name: str, *, kill: bool = False) -> None:
        """Ask a job to end in order, or *kill* it with all that it started."""

    def close(self) -> None:
        """Leave the cluster; jobs that still run are killed."""


def chosen(option: str | None, matrix: ExecutorSpec | None) -> ExecutorSpec:
    """Return the executor that *option* and the matrix describe.

    The option is ``here``, ``ray``, ``ray://ADDRESS`` (or ``ray:ADDRESS``), ``slurm`` or ``slurm:key=value,…``.

    Raises:
        MatrixError: a word of it is not known; all mistakes are listed.
    """
    if option is None:
        return matrix or ExecutorSpec()
    kind, _, rest = option.partition(":")
    if kind not in ("here", "ray", "slurm"):
        raise MatrixError(_unknown(option, kind, ("here", "ray", "slurm")), "--executor")
    words: dict[str, object] = {"kind": kind}
    complaints: list[str] = []
    if kind == "ray" and rest:
        words["address"] = f"ray:{rest}" if rest.startswith("//") else rest
    elif kind == "here" and rest:
        complaints.append(NO_WORDS(value=shown(rest)))
    elif rest:
        complaints += _pairs(rest, words)
    below = matrix.model_dump(exclude_unset=True) if matrix and matrix.kind == kind else {}
    try:
        spec = ExecutorSpec.model_validate({**below, **words})
    except ValidationError as error:
        complaints += [
            Complaint(str(problem["loc"][-1]), OTHER(rule=problem["msg"].lower()))
            for problem in error.errors()
        ]
        raise MatrixError(complaints, "--executor") from None
    complaints += of_executor(spec, kind)
    if complaints:
        raise MatrixError(complaints, "--executor")
    return spec


def _unknown(shown_as: str, name: str, names: Sequence[str]) -> str:
    """Return that a word is not known, with the nearest of *names*."""
    hint = suggestion(name, names)
    return NOT_KNOWN_BUT(name=shown(shown_as), hint=hint) if hint else NOT_KNOWN(name=shown(shown_as))


def _pairs(text: str, words: dict[str, object]) -> list[str]:
    """Put ``key=value`` pairs of *text* into *words*; return the mistakes."""
    names = [name for name in ExecutorSpec.model_fields if name not in ("name", "kind", "address")]
    complaints: list[str] = []
    for pair in re.split(r",(?=[^,=]*=)", text):
        key, equals, value = pair.partition("=")
        if not equals or not value:
            complaints.append(Complaint(shown(pair), WRITE_PAIR()))
        elif key not in names:
            complaints.append(_unknown(key, key, names))
        elif key in ("cpus", "restarts", "max_jobs"):
            words[key] = int(value) if value.isdecimal() and value.isascii() else value
        else:
            words[key] = (value,) if key in ("extra", "launch") else value
    return complaints


def time_limit_s(text: str | None) -> float | None:
    """Return the seconds of a time limit as sbatch writes it; None for none."""
    if text is None:
        return None
    days, dash, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    units = (3600, 60, 1) if dash or len(parts) == 3 else (60, 1)  # days-hours…, h:m:s, else m[:s]
    return float(int(days or 0) * 86400 + sum(part * unit for part, unit in zip(parts, units, strict=False)))


def memory_bytes(text: str | None) -> float:
    """Return bytes of an amount such as 64G; a bare number is megabytes."""
    if not text:
        return 0.0
    number, unit = (text[:-1], text[-1]) if text[-1] in "KMGT" else (text, "M")
    return float(int(number) << 10 * ("KMGT".index(unit) + 1))


def open_executor(spec: ExecutorSpec) -> Executor:
    """Return the executor that *spec* names; its package is imported only now.

    Raises:
        BakeoffError: the cluster cannot be reached, or its package is missing.
    """
    if spec.kind == "slurm":
        from bakeoff.execution.slurm import Slurm

        return Slurm(spec)
    if spec.kind == "ray":
        from bakeoff.execution.ray import Ray

        return Ray(spec)
    raise ValueError(f"{spec.kind}: rows run in this process")
