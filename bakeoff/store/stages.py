"""Run a stage once, keep it, and say why it ran again.

The record on disk is the truth.

A stage's folder is named by a digest of its *recipe* (what the matrix says); the record in it holds the whole
*identity* (recipe, versions, content of the inputs). The record is removed first and written last, so half a stage is
never taken for a whole one. It also keeps the digest of each file that the stage made: what was changed,
swapped or added since is not the stage's output, and is made anew.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from bakeoff.foundation.errors import BakeoffError, NotInStore, StoreError
from bakeoff.foundation.files import append_line, look_again, write_json
from bakeoff.foundation.provenance import ContentHashes, digest
from bakeoff.foundation.secrecy import redact, redacted
from bakeoff.foundation.sentences import Statement, Template, of_error, restored, with_statements
from bakeoff.foundation.workspace import Workspace
from bakeoff.store import locks, seals
from bakeoff.store.facts import Facts
from bakeoff.store.identity import differences, plain
from bakeoff.store.stage import Identity, Stage

Outcome = Literal["ran", "reused", "failed", "skipped"]
PROGRESS_S = 30.0
"""How often the timeline is told how far a stage is."""

RAN = Template("store.stages.ran", "ran: {why}", zh="{why}", en="{why}")
REUSED = Template(
    "store.stages.reused",
    "reused: made {started}, and nothing that it depends on has changed",
    zh="复用 {started} 的结果，所依赖的内容均未改变",
    en="Reused from {started}: nothing it depends on has changed",
)
FIRST_TIME = Template("store.stages.first_time", "for the first time", zh="首次运行", en="First run")
UNFINISHED = Template(
    "store.stages.unfinished",
    "the last attempt did not finish",
    zh="上次未完成",
    en="The previous attempt did not finish",
)
FOLDER_GONE = Template(
    "store.stages.folder_gone", "its folder was removed", zh="文件夹已被删除", en="Its folder was removed"
)
INTERRUPTED = Template(
    "store.stages.interrupted",
    "interrupted; the next run takes up here",
    zh="运行被中断，下次从此处继续",
    en="Interrupted; the next run continues here",
)
NOT_IN_STORE = Template(
    "store.stages.not_in_store",
    "{model}: {stage} is not in the store ({why}); run `pytest benchmarks/ -k {model}`",
    zh="{model}：存档中没有 {stage}（{why}），请运行 `pytest benchmarks/ -k {model}`",
)


@dataclass
class Record:
    """What a stage did.

    Attributes:
        output: what it left, a file or a folder.
        why: in words, why it ran or could be reused.
        seconds: wall time of the run that made the output.
        peak_memory_gib: of the largest process; None where unknown.
        facts: what the stage measured.
        made: SHA-256 of the output's files by name; None in a record of a time when it was not kept.
    """

    stage: str
    model: str
    variant: str
    outcome: Outcome
    why: str
    command: str
    log: str
    output: str
    started: str
    seconds: float
    identity: dict[str, object]
    peak_memory_gib: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    made: dict[str, str] | None = None


@dataclass
class Done:
    """What the work of a stage returns.

    Attributes:
        seconds: its share of the time, where it was done together with others; None: all of it.
    """

    command: str = ""
    peak_memory_gib: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None


class Timeline:
    """The one log of a run that a person can follow: a JSON line per event."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def tell(self, event: str, **facts: object) -> None:
        """Append *event*.

        A line is written in one go, so several processes may share the file.
        """
        append_line(self.path, redacted(with_statements({"time": now(), "event": event, **facts})))

    def progress(self, how_far: Callable[[], str], **facts: object) -> Callable[[], None]:
        """Return what tells how far a stage is, each time it is called.

        But not more often than every half minute.
        """
        last_time = time.monotonic()

        def tell() -> None:
            nonlocal last_time
            if time.monotonic() - last_time > PROGRESS_S and (words := how_far()):
                last_time = time.monotonic()
                self.tell("progress", how_far=words, **facts)

        return tell


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Stages:
    """Runs stages at most once per identity.

    Args:
        workspace: where they are kept.
        timeline: told of every stage.
        may_run: False turns a missing stage into :class:`~bakeoff.foundation.errors.NotInStore`.
        superseded: says why nothing may be recorded any more, in words; empty while it may.
    """

    def __init__(
        self,
        workspace: Workspace,
        timeline: Timeline,
        *,
        may_run: bool = True,
        superseded: Callable[[], str] = lambda: "",
    ) -> None:
        self.superseded = superseded
        self.workspace = workspace
        self.timeline = timeline
        self.may_run = may_run
        self._hashes = ContentHashes(workspace.cache / "hashes.json")
        self._failed: dict[str, Exception] = {}
        self._told: set[str] = set()

    def folder(self, stage: str, model: str, recipe: Identity, variant: str = "") -> Path:
        """Return where a stage with this *recipe* is kept.

        The folder holds its record, its log and its output.
        """
        name = "-".join(part for part in (stage, variant, digest(recipe)[:10]) if part)
        return self.workspace.model(model) / name

    def ensure(self, stage: Stage[Facts], work: Callable[[Path], Done]) -> Record:
        """Return the record of *stage*, run unless an intact one is stored.

        Args:
            stage: what is to be there.
            work: does it into the output that it is given; raises when it fails.

        Raises:
            NotInStore: it would have to run, and may not.
            Exception: what *work* raised, now or earlier in this run; an OSError becomes a StoreError.
        """
        identity = plain(stage.identity())
        if earlier := self._failed.get(str(stage.folder)):
            raise earlier
        with _apart(), self.lock(stage.folder):
            if (record := read_record(stage.record)) is None:  # another host may just have written it
                look_again(stage.folder.parent, stage.folder)
                record = read_record(stage.record)
            why = self._why(record, identity, stage)
            altered = "" if record and why else self._why_altered(record, stage)
            if altered:
                why = RAN(why=altered)
            if record and not why and self.may_run and (more := stage.why_again(stage.output)):
                why = RAN(why=more)
            if record and not why:
                self._adopt(record, stage.record)
                record.outcome, record.log = "reused", str(stage.log or record.log)
                record.why = REUSED(started=record.started)
                return self._tell(record)
            if not self.may_run:
                raise NotInStore(NOT_IN_STORE(model=stage.row, stage=stage.name, why=why))
            if altered:  # the work must not go on from what somebody else put there
                _remove(stage.output)
            elif record and record.made is not None:
                self._remove_unmade(record.made, stage.output)
            stage.record.unlink(missing_ok=True)
            (stage.folder / seals.NAME).unlink(missing_ok=True)
            return self._tell(self._run(stage, identity, why, work))

    def _run(
        self, stage: Stage[Facts], identity: dict[str, object], why: str, work: Callable[[Path], Done]
    ) -> Record:
        """Do *work*, and return its record, which is now on the disk."""
        log, output = str(stage.log_file), str(stage.output)
        record = Record(
            stage.name, stage.row, stage.variant, "ran", why, "", log, output, now(), 0.0, identity
        )
        began = time.monotonic()
        try:
            self.timeline.tell(
                "started", stage=stage.name, model=stage.row, variant=stage.variant, why=why, log=record.log
            )
            done = work(stage.output)
            if problem := stage.why_broken(stage.output):
                raise BakeoffError(f"{stage.row}: {stage.name} ended well, but {problem}; log: {record.log}")
        except KeyboardInterrupt:
            self._tell_failed(record, began, INTERRUPTED())
            raise
        except Exception as raised:
            ours = isinstance(raised, BakeoffError)
            error = _of_the_system(record, raised) if isinstance(raised, OSError) else raised
            self._failed[str(stage.folder)] = error
            words = of_error(error) if ours else f"{type(error).__name__}: {error}"
            with contextlib.suppress(OSError):  # a full disk takes no event either
                self._tell_failed(record, began, words)
            if error is raised:
                raise
            raise error from None
        record.command, record.peak_memory_gib = done.command, done.peak_memory_gib
        record.facts = done.facts
        record.seconds = round(_own_s(began) if done.seconds is None else done.seconds, 2)
        record.made = seals.contents(self._hashes, stage.output)
        if why := self.superseded():
            raise StoreError(f"{stage.row}: {stage.name}: {why}")
        try:
            write_json(stage.record, redacted(with_statements(asdict(record))))
            seals.seal(stage.record)
        except OSError as error:
            raise _of_the_system(record, error) from None
        return record

    def _why_altered(self, record: Record | None, stage: Stage[Facts]) -> str:
        """Return in words what somebody changed since *stage* was done.

        Of a record that was removed, its seal tells what was made.
        """
        if record and (edited := seals.why_edited(stage.record)):
            return edited
        seal = seals.seal_of(stage.folder)
        made = record.made if record else seal.made if seal and stage.output.exists() else None
        return "" if made is None else seals.why_altered(made, seals.contents(self._hashes, stage.output))

    def _remove_unmade(self, made: Mapping[str, str], output: Path) -> None:
        """Remove what the stage did not make, before its work goes on."""
        if output.is_dir():
            for name in seals.changed(made, seals.contents(self._hashes, output)):
                (output / name).unlink(missing_ok=True)

    def _adopt(self, record: Record, path: Path) -> None:
        """Add the digests and the seal that an old *record* lacks."""
        if not self.may_run or (record.made is not None and path.with_name(seals.NAME).exists()):
            return
        with contextlib.suppress(OSError):  # a store that can only be read is reused all the same
            if record.made is None:
                record.made = seals.contents(self._hashes, Path(record.output))
                content = json.loads(path.read_text(encoding="utf-8"))
                write_json(path, {**content, "made": record.made})
            seals.seal(path)

    def _tell_failed(self, record: Record, began: float, why: str) -> None:
        record.outcome = "failed"
        record.why = why if isinstance(why, Statement) else redact(why)
        record.seconds = round(_own_s(began), 2)
        self._tell(record)

    def current(self, stage: Stage[Facts]) -> bool:
        """Return whether the store holds *stage*, with nothing to redo."""
        record = read_record(stage.record)
        return bool(
            record
            and not differences(record.identity, plain(stage.identity()))
            and not stage.why_broken(stage.output)
            and not stage.why_again(stage.output)
            and not self._why_altered(record, stage)
        )

    def newest(self, stage: Stage[Facts]) -> Record | None:
        """Return the record of *stage*, or the newest of another recipe."""
        return read_record(stage.record) or self._newest_sibling(stage.folder)

    def lock(self, folder: Path) -> AbstractContextManager[None]:
        """Return what lets one process at a time work in *folder*."""
        name = "-".join(folder.relative_to(self.workspace.root).parts)
        return locks.lock(self.workspace.locks, name, self.timeline.tell)

    def _why(self, record: Record | None, identity: Identity, stage: Stage[Facts]) -> str:
        if record is None:
            older = self._newest_sibling(stage.folder)
            if older is None:
                first = not stage.folder.exists()
                return RAN(why=FIRST_TIME() if first else UNFINISHED())
            return RAN(why=differences(older.identity, identity) or FOLDER_GONE())
        if changed := differences(record.identity, identity):
            return RAN(why=changed)
        if problem := stage.why_broken(stage.output):
            return RAN(why=problem)
        return ""

    @staticmethod
    def _newest_sibling(folder: Path) -> Record | None:
        kind = folder.name.rpartition("-")[0]
        records = [read_record(p) for p in folder.parent.glob(f"{kind}-*/record.json") if p.parent != folder]
        same = [r for r in records if r and Path(r.output).parent.name.rpartition("-")[0] == kind]
        return max(same, key=lambda r: r.started, default=None)

    def _tell(self, record: Record) -> Record:
        key = f"{record.output}"
        if key not in self._told:
            self._told.add(key)
            self.timeline.tell("stage", **{k: v for k, v in asdict(record).items() if k != "made"})
        return record


_WITHIN_S = ContextVar("seconds of the stages that the work of this one waited for", default=0.0)


@contextmanager
def _apart() -> Iterator[None]:
    """Keep a stage's time out of that of the stage that asks for it."""
    before, began = _WITHIN_S.get(), time.monotonic()
    _WITHIN_S.set(0.0)
    try:
        yield
    finally:
        _WITHIN_S.set(before + time.monotonic() - began)


def _own_s(began: float) -> float:
    """Seconds since *began*, less those of stages within."""
    return time.monotonic() - began - _WITHIN_S.get()


def _of_the_system(record: Record, error: OSError) -> StoreError:
    """*error* in our words: most often the disk is full."""
    remedy = "free some space (`make clean-stale`) and" if error.errno == errno.ENOSPC else "see to it and"
    return StoreError(
        f"{record.model}: {record.stage} stopped: {error}; {remedy} run again: it takes up here. log: {record.log}"
    )


def read_record(path: Path) -> Record | None:
    """Return the record in the file *path*, None where it is unreadable.

    Output and log are those beside it, wherever the store has been moved since.
    """
    try:
        record = record_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return None
    if record is None or not Path(record.output).name:
        return None
    record.output = str(path.parent / Path(record.output).name)
    record.log = str(path.parent / "stage.log")
    return record


_DEFAULTS: Mapping[str, object] = {
    **dict.fromkeys(("stage", "model", "variant", "why", "command", "log", "started"), ""),
    "outcome": "ran",
    "seconds": 0.0,
    "peak_memory_gib": None,
    "facts": {},
    "made": None,
}
"""What a record says of what it does not hold."""
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "seconds": (int, float),
    "peak_memory_gib": (int, float),
    "facts": dict,
    "made": dict,
}


def record_of(content: object) -> Record | None:
    """Return the record that a mapping holds, of any version.

    None without identity and output.

    Keys that this version does not know are passed over; what is absent, or of another type, has its default.
    """
    content = restored(content)
    if not isinstance(content, dict):
        return None
    identity, output = content.get("identity"), content.get("output")
    if not isinstance(identity, dict) or not isinstance(output, str):
        return None
    usable = {
        name: content[name] if isinstance(content.get(name), _KINDS.get(name, str)) else _plain_copy(default)
        for name, default in _DEFAULTS.items()
    }
    return Record(identity=identity, output=output, **usable)


def _plain_copy(value: object) -> Any:
    return dict(value) if isinstance(value, dict) else value


def _remove(output: Path) -> None:
    if output.is_dir() and not output.is_symlink():
        shutil.rmtree(output)
    else:
        output.unlink(missing_ok=True)
