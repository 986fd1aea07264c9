"""Legs as jobs of a cluster: submitted, watched, repeated and ended.

Each leg has a folder on the shared disk. The far side appends a line to ``begun.jsonl`` when it starts and writes what
it found to ``reports-<token>.jsonl``, whose last line is its exit code; its timeline is ``events.jsonl``. Whoever
began last owns the leg: what an attempt whose node was lost writes later is not looked at, and it may not record.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bakeoff.execution.endings import (
    AGAIN,
    ASKED_TO_END,
    BEFORE_HARNESS,
    BEFORE_HARNESS_ON,
    BOTH,
    GOT_ON,
    LOST,
    NO_LAST_WORD,
    NOT_BEGUN,
    NOT_CONFIRMED,
    NOT_QUEUED,
    NOT_QUEUED_IN,
    OF_LEG,
    PAST_LIMIT,
    REFUSED_THERE,
    RUN_ENDED,
    STAGE_FAILED,
    TOO_OFTEN,
    WITH_LOG,
)
from bakeoff.execution.executor import Busy, Executor, Job, State
from bakeoff.execution.legs import Leg, in_order
from bakeoff.execution.runner import tail
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.files import look_again, readable_rows
from bakeoff.foundation.sentences import Statement, of_error, restored

STOP_S = 40.0
"""How long legs may take to end in order before they are killed."""
SETTLE_S = 90.0
"""How long a file that another host wrote may be unseen here: caches of NFS hold for a minute."""
GLANCE_S, HURRIES = 5.0, 3
"""Seconds between looks at the shared disk for the end of a leg, which hurries so many looks at the cluster."""
FULL_S = 30.0
"""How long no job is given to a cluster that could not take one."""
PATIENCE_S = 3600.0
"""How long a cluster may take no job, while none of ours is there."""
REFUSAL = "ERROR: "
"""Begins the last line of a harness that refuses to run."""
INTERRUPTED = 2
"""Exit code of a harness that was asked to end."""


Report = dict[str, object]
"""A report as ``pytest_report_to_serializable`` makes it, which pytest alone reads."""


@dataclass(frozen=True)
class Start:
    """An attempt at a leg that has begun, as the far side noted it."""

    host: str
    token: str


class Tell(Protocol):
    """Takes an event of the run, as a timeline of the store does."""

    def __call__(self, event: str, **facts: object) -> None:
        """Note *event*."""


@dataclass
class Outcome:
    """How a leg ended.

    Attributes:
        reports: what its tests found, serialised by pytest.
        why: what went wrong with the leg itself, in words; empty where its reports say everything.
        failed_stage: the first stage of it that failed, in words.
    """

    reports: list[Report] = field(default_factory=list)
    why: str = ""
    failed_stage: str = ""


@dataclass
class _Way:
    """What is known of one leg."""

    leg: Leg
    job: Job
    state: State | None = None
    outcome: Outcome | None = None
    queued_at: float = 0.0
    running_at: float = 0.0
    stopped: str = ""
    read: int = 0
    starts: int = 0
    starts_before: int = 0
    """Those of earlier submissions."""
    submissions: int = 0
    hurried: int = 0
    """How often the cluster was asked early, because this leg seemed to have ended."""
    lost: int = 0
    progress: int = 0
    """Stages done and steps told so far, in every attempt."""
    progress_before: int = 0
    failed_stage: str = ""
    ended_at: float = 0.0
    announced: str = ""
    """Why it is queued, as last told."""
    put_off: bool = False
    """Whether it is to be submitted once the cluster takes a job."""

    @property
    def is_there(self) -> bool:
        """Whether the cluster has its job."""
        return self.outcome is None and self.submissions > 0 and not self.put_off


@dataclass(frozen=True)
class Bounds:
    """How far a cluster is used.

    Attributes:
        restarts: how often a leg whose node was lost may begin again.
        max_jobs: how many legs may be queued or run at once; None: all.
        limit_s: seconds that a job may take from its start; None: no limit.
    """

    restarts: int = 3
    max_jobs: int | None = None
    limit_s: float | None = None


class Dispatch:
    """Runs legs on an executor until each has an outcome.

    Args:
        executor: where they run.
        jobs: a job for each leg, by its name.
        legs: all that are to run.
        tell: notes an event.
        copy: takes a line of a leg's timeline over into that of the run.
        bounds: how often a leg may begin again, how many may run, and how long.
    """

    def __init__(
        self,
        executor: Executor,
        legs: Sequence[Leg],
        jobs: Mapping[str, Job],
        *,
        tell: Tell,
        copy: Callable[[Mapping[str, object]], None],
        bounds: Bounds,
    ) -> None:
        self.executor = executor
        ordered = sorted(in_order(legs), key=lambda leg: jobs[leg.name].rank)
        self.ways = {leg.name: _Way(leg, jobs[leg.name]) for leg in ordered}
        self.tell, self.copy = tell, copy
        self.restarts, self.max_jobs, self.limit_s = bounds.restarts, bounds.max_jobs, bounds.limit_s
        self._full_since = self._full_until = 0.0

    def wait(self, name: str) -> Outcome:
        """Return the outcome of the leg *name*, once it has one."""
        while (outcome := self.ways[name].outcome) is None:
            self.step()
            if self.ways[name].outcome is None:
                self._rest()
        return outcome

    def _rest(self) -> None:
        """Pause until the next look, or until the disk shows that a leg ended."""
        until = time.monotonic() + self.executor.look_s
        while (left_s := until - time.monotonic()) > 0:
            time.sleep(min(left_s, GLANCE_S))
            for way in self.ways.values():
                running = way.is_there and way.running_at and way.hurried < HURRIES
                if running and _reports(way.job.folder)[1] is not None:
                    way.hurried += 1  # its job may take a moment to end
                    return

    def step(self) -> None:
        """Look once at every leg, and submit what may begin."""
        states = self.executor.states()
        for way in self.ways.values():
            if way.is_there:
                self._follow(way)
                if state := states.get(way.job.name):
                    self._changed(way, state)
        for way in self.ways.values():
            busy = sum(other.is_there for other in self.ways.values())
            if way.is_there or way.outcome or (self.max_jobs and busy >= self.max_jobs):
                continue
            before = [self.ways[name].outcome for name in way.leg.after if name in self.ways]
            if any(outcome is None for outcome in before):
                continue
            if why := next((o.failed_stage or o.why for o in before if o and (o.failed_stage or o.why)), ""):
                way.outcome = Outcome(why=NOT_BEGUN(leg=way.leg.name, why=why))
                self.tell("leg", leg=way.leg.name, phase="not begun", why=why)
                continue
            self._submit(way)

    def _submit(self, way: _Way) -> None:
        now = time.monotonic()
        if not way.put_off:
            way.put_off, way.queued_at = True, now
        if now < self._full_until:
            return
        way.state, way.running_at, way.ended_at, way.hurried = None, 0.0, 0.0, 0
        way.progress_before, way.starts_before = way.progress, way.starts
        try:
            self.executor.submit(way.job)
        except Busy as error:
            self._full(way, error)
        except BakeoffError as error:
            way.outcome = Outcome(why=NOT_QUEUED(leg=way.leg.name, error=of_error(error)))
        else:
            way.submissions += 1
            way.put_off, self._full_since = False, 0.0

    def _full(self, way: _Way, error: Busy) -> None:
        """Put *way* off, and give up where nothing shows that the cluster works."""
        now = time.monotonic()
        self._full_since, self._full_until = self._full_since or now, now + FULL_S
        waited_s = now - self._full_since
        if waited_s > PATIENCE_S and not any(other.is_there for other in self.ways.values()):
            facts = {"minutes": waited_s / 60, "error": of_error(error)}
            for other in self.ways.values():
                other.outcome = other.outcome or Outcome(why=NOT_QUEUED_IN(leg=other.leg.name, **facts))
        elif (why := of_error(error)) != way.announced:
            way.announced = why
            self.tell("leg", leg=way.leg.name, phase="queued", why=why)

    def _changed(self, way: _Way, state: State) -> None:
        starts = _starts(way.job.folder)
        if len(starts) > way.starts:
            if way.starts > way.starts_before:  # the cluster itself put it back into the queue
                self._lost(way, state.why or LOST())
            way.starts = len(starts)
            way.running_at = way.running_at or time.monotonic()
            where = starts[-1].host or state.host
            queued = round(time.monotonic() - way.queued_at)
            self.tell("leg", leg=way.leg.name, phase="running", host=where, queued_s=queued, start=way.starts)
        if state.phase == "queued":
            if way.running_at:  # the cluster put it back
                way.queued_at, way.running_at = time.monotonic(), 0.0
            if state.why and state.why != way.announced:
                way.announced = state.why
                self.tell("leg", leg=way.leg.name, phase="queued", why=state.why)
        elif state.phase == "running":
            way.running_at = way.running_at or time.monotonic()
            self._keep_time(way)
        elif state.phase == "lost":
            self._lost(way, state.why)
            if way.outcome is None:
                self._submit(way)
        elif state.phase == "ended":
            way.ended_at = way.ended_at or time.monotonic()
            self._ended(way, state)
        way.state = state

    def _keep_time(self, way: _Way) -> None:
        ran_s = time.monotonic() - way.running_at
        if self.limit_s and not self.executor.keeps_time and ran_s > self.limit_s and not way.stopped:
            way.stopped = PAST_LIMIT(seconds=self.limit_s)
            self.executor.stop(way.job.name)
        elif self.limit_s and way.stopped and ran_s > self.limit_s + STOP_S:
            self.executor.stop(way.job.name, kill=True)

    def _lost(self, way: _Way, why: str) -> None:
        way.lost += 1
        enough = TOO_OFTEN(times=way.lost, most=self.restarts)
        again = enough if way.lost > self.restarts else AGAIN(times=way.lost, most=self.restarts)
        self.tell("leg", leg=way.leg.name, phase="lost", why=why, then=again)
        if way.lost > self.restarts:
            way.outcome = Outcome(why=OF_LEG(leg=way.leg.name, why=BOTH(why=why, then=enough)))
            self.executor.stop(way.job.name, kill=True)

    def _ended(self, way: _Way, state: State) -> None:
        """Take the reports of an ended leg, once they are all there."""
        reports, code = _reports(way.job.folder)
        killed = state.returncode not in (0, 1, 3, 4, 5)
        patience_s = 2.0 if killed else SETTLE_S
        if code is None and time.monotonic() - way.ended_at < patience_s and _starts(way.job.folder):
            return
        self._follow(way)
        out_of_time = state.out_of_time or PAST_LIMIT.made(way.stopped) or code == INTERRUPTED
        if code is not None and code != INTERRUPTED and not state.out_of_time:
            way.outcome = Outcome(reports, way.stopped, way.failed_stage)
        elif (
            out_of_time
            and not state.cancelled
            and way.progress > way.progress_before
            and way.lost < self.restarts
        ):
            way.stopped = ""
            self._lost(way, GOT_ON(why=self._why(way, state, code)))
            self._submit(way)
            return
        else:
            words = self._why(way, state, code)
            quoted = tail(way.job.log, 12)
            lines = "\n".join(f"    {line}" for line in quoted.splitlines()) or "    (empty)"
            why = WITH_LOG(leg=way.leg.name, why=words, log=way.job.log, lines=lines)
            way.outcome = Outcome(reports, why, way.failed_stage)
        took = round(time.monotonic() - (way.running_at or way.queued_at))
        self.tell("leg", leg=way.leg.name, phase="ended", seconds=took, why=in_a_line(way.outcome.why))

    def _why(self, way: _Way, state: State, code: int | None) -> str:
        if way.stopped or state.why:
            return way.stopped or state.why
        if code == INTERRUPTED:
            return ASKED_TO_END()
        if _starts(way.job.folder):
            return NO_LAST_WORD(code=state.returncode)
        last = tail(way.job.log, 1).strip()
        if last.startswith(REFUSAL):
            return REFUSED_THERE(host=state.host or "?", error=last.removeprefix(REFUSAL))
        facts = {"code": state.returncode, "folder": way.job.folder}
        return BEFORE_HARNESS_ON(host=state.host, **facts) if state.host else BEFORE_HARNESS(**facts)

    def _follow(self, way: _Way) -> None:
        """Take over what the timeline of a leg says since the last look."""
        path = way.job.folder / "events.jsonl"
        look_again(path.parent)
        with contextlib.suppress(OSError), path.open("rb") as file:
            file.seek(way.read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                way.read += len(line)
                with contextlib.suppress(ValueError):
                    self._take(way, json.loads(line))

    def _take(self, way: _Way, event: Mapping[str, object]) -> None:
        if event.get("event") == "progress":
            way.progress += 1
        elif event.get("event") == "stage":
            way.progress += event.get("outcome") == "ran"
            if event.get("outcome") == "failed" and not str(event.get("why")).startswith("interrupted"):
                why = restored(event)["why"]
                way.failed_stage = way.failed_stage or STAGE_FAILED(stage=event.get("stage"), why=why)
            elif event.get("outcome") != "failed":
                way.failed_stage = ""
        host = next((start.host or None for start in reversed(_starts(way.job.folder))), None)
        self.copy({**event, "leg": way.leg.name, "host": host})

    def close(self) -> None:
        """End every running leg in order, and then with force."""
        left = {name: way for name, way in self.ways.items() if way.is_there}
        try:
            if left:
                self.executor.states()  # who runs by now is asked once, not once a leg
            for way in left.values():
                self.executor.stop(way.job.name)
            for kill, patience_s in ((False, STOP_S), (True, STOP_S)):
                deadline = time.monotonic() + patience_s
                while left and time.monotonic() < deadline:
                    states = self.executor.states()
                    for name, way in list(left.items()):
                        state = states.get(way.job.name)
                        if state and state.phase in ("ended", "lost"):
                            self._follow(way)
                            self.tell("leg", leg=name, phase="stopped", why=RUN_ENDED())
                            del left[name]
                    if left:
                        time.sleep(min(2.0, self.executor.look_s))
                for way in left.values() if not kill else ():
                    self.executor.stop(way.job.name, kill=True)
            for name, way in left.items():
                self.tell("leg", leg=name, phase="stopped", why=NOT_CONFIRMED(job=way.job.name))
        finally:
            self.executor.close()


def in_a_line(why: str) -> str:
    """Return *why* a leg ended without the lines of its log."""
    if isinstance(why, Statement) and WITH_LOG.made(why):
        return OF_LEG(leg=why.values["leg"], why=why.values["why"])
    return why


def _starts(folder: Path) -> list[Start]:
    """The attempts at a leg that have begun, oldest first."""
    look_again(folder)
    try:
        rows = [row for row in readable_rows(folder / "begun.jsonl") if isinstance(row, dict)]
    except OSError:
        return []
    return [Start(str(row.get("host") or ""), str(row.get("token") or "")) for row in rows]


def _reports(folder: Path) -> tuple[list[Report], int | None]:
    """The reports of the last attempt, and its exit code where it ended."""
    starts = _starts(folder)
    if not starts:
        return [], None
    try:
        rows = readable_rows(folder / f"reports-{starts[-1].token}.jsonl")
    except OSError:
        return [], None
    code = next((row["exit"] for row in rows if "exit" in row), None)
    return [row["report"] for row in rows if "report" in row], code
