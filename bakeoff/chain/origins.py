"""What a row takes from a hub.

A hub is asked for the commit once a run; files are fetched before anything stands on them, and kept apart.

The commit is part of the folder's name and of every identity that stands on it, so a branch that moved makes new stages
beside the old ones.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.execution.attempts import Attempts
from bakeoff.execution.runner import tail
from bakeoff.foundation.errors import BakeoffError, CommandFailed, DataError, NotInStore
from bakeoff.foundation.files import write_json
from bakeoff.foundation.provenance import digest
from bakeoff.foundation.sentences import Template, joined
from bakeoff.matrix.datasets import dataset_argument, dataset_identity, dataset_name
from bakeoff.matrix.schema import ModelSpec
from bakeoff.store.facts import DownloadFacts
from bakeoff.store.stage import Limits, Line, Stage
from bakeoff.store.stages import Done, Record, now, read_record
from bakeoff.tools import hubs
from bakeoff.tools.hubs import Cached, Source

if TYPE_CHECKING:
    from bakeoff.chain.chain import Bench

MOVED = "branch moved"
"""Event of the timeline: a branch is not where it was when a run asked last."""
NOT_ASKED = "hub not asked"
"""Event of the timeline: what the cache holds was taken, and nobody knows whether it is the newest."""
CACHE_WITHOUT_ANSWER = Template(
    "chain.origins.cache_without_answer",
    "{hub} does not answer: what the cache has of {id} is taken, commit {commit}",
    zh="{hub} 没有应答：使用本机缓存中的 {id}（提交 {commit}）",
    en="{hub} does not answer: the cached copy of {id} is used (commit {commit})",
)
CACHE_AFTER_REFUSAL = Template(
    "chain.origins.cache_after_refusal",
    "{hub} refuses: what the cache has of {id} is taken, commit {commit}",
    zh="{hub} 拒绝访问：使用本机缓存中的 {id}（提交 {commit}）",
    en="{hub} refuses access: the cached copy of {id} is used (commit {commit})",
)
HAS_MOVED = Template(
    "chain.origins.has_moved",
    "{source} was {before} when it was last asked for and is {now} now: what stands on it is made again",
    zh="{source} 的分支自上次运行以来已移动，由 {before} 变为 {now}：相关结果将重新生成",
    en="{source} moved from {before} to {now} since the last run: everything built on it is made again",
)
STAY = Template(
    "chain.origins.stay",
    "'revision: {before}' would have kept it",
    zh="如需固定版本，请写 revision: {before}",
    en="`revision: {before}` pins it",
)
NOT_THE_HUBS = Template(
    "chain.origins.not_the_hubs",
    "{path} is not what the hub has under this name",
    zh="{path} 与模型站上的同名文件不同",
    en="{path} differs from the hub's file of that name",
)
RESOLVE_S = 180.0
_UNKNOWN = "unknown-"
"""Begins the name of a snapshot whose cache does not say of which commit it is."""


@dataclass(frozen=True)
class Snapshot:
    """What a row has of a repository: a folder, its commit, and the record of its download."""

    source: Source
    commit: str
    folder: Path
    record: Record | None = None

    @property
    def name(self) -> str:
        """The repository and its commit, as they stand in identities."""
        return f"{self.source.hub}:{self.source.id}@{self.commit}"


class Origins:
    """The hub's models and data of one row.

    Args:
        spec: the row.
        bench: store, runner and timeline of the run.
    """

    def __init__(self, spec: ModelSpec, bench: Bench) -> None:
        self.spec = spec
        self.bench = bench
        self._fetched: dict[Source, Snapshot] = {}
        self._failed: dict[Source, BakeoffError] = {}
        self._sizes: dict[Source, str] = {}

    # -- for the chain ---------------------------------------------------------------------------------------------

    @cached_property
    def model(self) -> Source | None:
        """The repository of the base; None for one that lies here."""
        return hubs.model_source(self.spec, os.environ)

    def dataset(self, dataset: str) -> Source | None:
        """Return the repository of a data set; None for a local one."""
        return hubs.dataset_source(dataset, self.spec.use_hf, os.environ) if self.spec.trains else None

    def sources(self) -> list[Source]:
        """Everything that the row takes from a hub, the base first."""
        data = [self.dataset(dataset) for dataset in self.spec.dataset]
        return list(dict.fromkeys(source for source in (self.model, *data) if source))

    def base(self) -> Snapshot | None:
        """Return the base, fetched now unless it is here."""
        return self.snapshot(self.model) if self.model else None

    def base_path(self) -> str:
        """Return the folder of the base."""
        base = self.base()
        return str(base.folder) if base else self.spec.model or ""

    def identity(self, content: str) -> str:
        """The fingerprint of a base whose files have the digest *content*."""
        base = self.base()
        return f"hub:{base.name} {content}" if base else content

    def commits(self, variant: str) -> dict[str, list[str]]:
        """Return the commits that a *variant* stands on."""
        if self.spec.url or (variant == "tuned" and self.spec.weights):
            return {}
        sources = self.sources() if variant == "tuned" else [self.model] if self.model else []
        names = [snapshot.name for source in sources if (snapshot := self.snapshot(source))]
        return {"hub": names} if names else {}

    def with_data(self, spec: ModelSpec) -> ModelSpec:
        """*spec* with the folders of its hub's data in place of their ids."""
        return spec.model_copy(update={"dataset": tuple(self._argument(dataset) for dataset in spec.dataset)})

    def dataset_names(self) -> list[str]:
        """The row's data as the matrix names them, those of a hub by their commit."""
        return [self._by_commit(dataset) or dataset for dataset in self.spec.dataset]

    def dataset_arguments(self) -> list[str]:
        """Return the row's data as an evaluation knows them."""
        return [self._by_commit(dataset) or dataset_argument(dataset) for dataset in self.spec.dataset]

    def dataset_places(self) -> list[str]:
        """Where the row's data can be read; the id of what is not here."""
        snapshots = [(dataset, self._data(dataset)) for dataset in self.spec.dataset]
        return [
            str(snapshot.folder) if snapshot else dataset_argument(dataset) for dataset, snapshot in snapshots
        ]

    def dataset_identity(self, dataset: str) -> str:
        """What tells the content of *dataset* apart."""
        snapshot = self._data(dataset)
        if snapshot is None:
            return dataset_identity(dataset, self.bench.hashes.of)
        name = dataset_name(dataset)
        part = f":{name.subset}#{name.rows}" if name.subset or name.rows else ""
        return f"hub:{snapshot.name}{part} {dataset_identity(str(snapshot.folder), self.bench.hashes.of)}"

    def stages(self) -> Iterator[Stage[DownloadFacts]]:
        """Yield the download of each source whose commit is known."""
        for source in self.sources():
            if commit := self.known_commit(source):
                yield self._stage(source, commit)

    # -- one repository --------------------------------------------------------------------------------------------

    def snapshot(self, source: Source) -> Snapshot | None:
        """What this row has of *source*, fetched now unless it is here.

        Where nothing may run, it is the one that a run asked for last, or None.

        Raises:
            DataError: the hub cannot give it, or is not to be asked and no cache has it.
        """
        if source in self._failed:
            raise self._failed[source]
        if source not in self._fetched:
            if not self.bench.stages.may_run:
                commit = self.known_commit(source)
                if not commit:
                    return None
                folder = self._folder(source, commit)
                return Snapshot(source, commit, folder, read_record(folder.parent / "record.json"))
            try:
                self._fetched[source] = self._fetch(source)
            except NotInStore:
                raise
            except BakeoffError as error:
                self._failed[source] = error
                raise
        return self._fetched[source]

    def _fetch(self, source: Source) -> Snapshot:
        began = now()
        try:
            commit, cached = self._resolve(source)
        except BakeoffError as error:
            self._tell_failed(source, began, error)
            raise
        stage = self._stage(source, commit)
        record = self.bench.stages.ensure(
            stage, lambda folder: self._download(source, commit, cached, folder)
        )
        return Snapshot(source, commit, stage.output, record)

    def _stage(self, source: Source, commit: str) -> Stage[DownloadFacts]:
        output = self._folder(source, commit)
        limits = self.spec.limits
        return Stage(
            name="download",
            row=self.spec.name,
            folder=output.parent,
            recipe=hubs.recipe(source, commit),
            facts=DownloadFacts,
            lines=(Line(command=hubs.fetching(source, commit, output), title=f"download: {source}"),),
            limits=Limits(limits.train_s, limits.stall_s, limits.retries),
            output_name=output.name,
            why_broken=hubs.why_links_broken,
        )

    def _folder(self, source: Source, commit: str) -> Path:
        # the model's name comes last: ms-swift recognises models and data by it
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", source.name).lstrip(".") or "files"
        return hubs.store_folder(self.bench.workspace.hubs, source, commit) / name

    def _download(self, source: Source, commit: str, cached: Cached | None, output: Path) -> Done:
        shutil.rmtree(output, ignore_errors=True)
        facts: dict[str, object] = {"source": str(source), "revision": source.branch, "commit": commit}
        bench, limits = self.bench, self.spec.limits
        log, out = output.parent / "stage.log", output.parent / "fetched.json"
        if cached and (why := self._why_altered(cached, out)):
            if variables := hubs.offline(source.hub, os.environ):
                raise DataError(f"{self.spec.name}: {why}; unset {variables}, and it is fetched again")
            cached = None
        if cached:
            hubs.link_snapshot(cached.folder, output, code=source.kind == "model")
            return Done("", None, {**facts, "from": str(cached.folder)})
        log.unlink(missing_ok=True)
        out.unlink(missing_ok=True)
        if how_much := self._sizes.get(source):
            bench.stages.timeline.tell("progress", stage="download", model=self.spec.name, how_far=how_much)
        tell = bench.stages.timeline.progress(lambda: tail(log, 1), stage="download", model=self.spec.name)
        command = hubs.fetching(source, commit, output, out)
        attempts = Attempts(limits.retries)
        while True:
            try:
                process = bench.runner.run(
                    command, log, timeout_s=limits.train_s, stall_s=limits.stall_s, progress=tell
                )
                break
            except CommandFailed as error:
                attempts.again(error)
        answer = _answer(out, f"{self.spec.name}: download")
        facts |= {"size": answer["size"], "files": answer["files"], "attempts": attempts.notes}
        return Done(str(hubs.fetching(source, commit, output)), process.peak_memory_gib, facts)

    def _why_altered(self, cached: Cached, out: Path) -> str:
        """Return which file of a snapshot is not the hub's."""
        listed = {**hubs.hashes_by_name(cached.folder), **hubs.texts_in(out, "sha256")}
        for name, expected in listed.items():
            path = cached.folder / name
            if not path.is_file() or self.bench.hashes.of(path) != expected:
                return NOT_THE_HUBS(path=path)
        return ""

    # -- its commit ------------------------------------------------------------------------------------------------

    def _resolve(self, source: Source) -> tuple[str, Cached | None]:
        """The commit that this run takes, and where the cache has the whole of it."""
        with self.bench.stages.lock(self.bench.workspace.hubs):
            notes, taken = hubs.texts_in(self._notes), hubs.texts_in(self._taken)
            noted, commit = notes.get(source.key, ""), taken.get(source.key, "")
            cached = None
            if commit or hubs.is_commit(source.branch):
                pinned = Source(source.hub, source.kind, source.id, commit or source.branch)
                cached = hubs.find_cached(pinned, os.environ)
                commit = commit or (source.branch if cached else "")
            if not commit or commit.startswith(_UNKNOWN):
                commit, cached = self._ask(source, noted)
            if noted and noted != commit and not hubs.is_commit(source.branch) and source.key not in taken:
                self._tell(MOVED, source, _moved(source, noted, commit))
            write_json(self._notes, {**notes, source.key: commit})
            if self._taken:
                write_json(self._taken, {**taken, source.key: commit})
        return commit, cached

    def _ask(self, source: Source, noted: str) -> tuple[str, Cached | None]:
        """Ask the hub, or the cache where the hub cannot be asked."""
        where = hubs.repository_folder(source, os.environ)
        if variables := hubs.offline(source.hub, os.environ):
            if cached := hubs.find_cached(source, os.environ, noted):
                return _commit_of(cached), cached
            have = ", ".join(path.name for path in sorted((where / "snapshots").glob("*"))[:5])
            others = f" (it has {have})" if have else ""
            raise DataError(
                f"{self.spec.name}: {source} is not whole in the cache {where}{others}, and {variables} is set; fetch "
                f"it once without {variables}, or give a folder as '{source.kind}'"
            )
        try:
            answer = self._asked(source)
        except (CommandFailed, DataError) as error:
            cached = hubs.find_cached(source, os.environ, noted)
            answers = isinstance(error, DataError)
            why = f"{hubs.TITLES[source.hub]} {'refuses' if answers else 'does not answer'}"
            if cached:
                commit = _commit_of(cached)
                form = CACHE_AFTER_REFUSAL if answers else CACHE_WITHOUT_ANSWER
                words = form(hub=hubs.TITLES[source.hub], id=source.id, commit=commit[:12])
                self._tell(NOT_ASKED, source, words)
                return commit, cached
            if isinstance(error, DataError):
                raise
            last = tail(error.log, 1) if error.log else str(error).splitlines()[0]
            raise DataError(
                f"{self.spec.name}: {why}, and the cache {where} has no whole {source}: {last}; look at the network "
                f"(proxy, {_endpoint(source)}), or give a folder as '{source.kind}'"
            ) from None
        commit = str(answer["commit"])
        lacking = hubs.gib(answer["lacking"])
        size = f"{answer['files']} files, {hubs.gib(answer['size'])}"
        self._sizes[source] = f"{source}: {size}, {lacking} to fetch"
        pinned = Source(source.hub, source.kind, source.id, commit)
        return commit, hubs.find_cached(pinned, os.environ) if not answer["lacking"] else None

    def _asked(self, source: Source) -> hubs.Answer:
        out = self.bench.workspace.cache / "hubs" / f"{digest(source.key)[:16]}.json"
        log = out.with_suffix(".log")
        for path in (out, log):
            path.unlink(missing_ok=True)
        self.bench.runner.run(hubs.resolving(source, out), log, timeout_s=RESOLVE_S, stall_s=RESOLVE_S)
        return _answer(out, self.spec.name)

    def known_commit(self, source: Source) -> str:
        """Return the commit that is known without asking.

        One that is named, or the last one that a run took.
        """
        if hubs.is_commit(source.branch):
            return source.branch
        return hubs.texts_in(self._taken).get(source.key) or hubs.texts_in(self._notes).get(source.key, "")

    @property
    def _notes(self) -> Path:
        """Where each branch was when a run asked last."""
        return hubs.notes_file(self.bench.workspace.cache)

    @property
    def _taken(self) -> Path | None:
        """Return the commits of this run, which its processes share."""
        folder = self.bench.stages.timeline.path.parent
        return folder / "hubs.json" if folder.parent == self.bench.workspace.runs else None

    # -- words -----------------------------------------------------------------------------------------------------

    def _data(self, dataset: str) -> Snapshot | None:
        source = self.dataset(dataset)
        return self.snapshot(source) if source else None

    def _by_commit(self, dataset: str) -> str:
        """Return a hub's data set with its commit instead of its branch."""
        snapshot = self._data(dataset)
        if snapshot is None:
            return ""
        name = dataset_name(dataset)
        rest = (f":{name.subset}" if name.subset else "") + (f"#{name.rows}" if name.rows else "")
        return f"{snapshot.name}{rest}"

    def _argument(self, dataset: str) -> str:
        """Return a data set as ``--dataset`` takes it."""
        snapshot = self._data(dataset)
        if snapshot is None:
            return dataset
        name = dataset_name(dataset)
        rest = (f":{name.subset}" if name.subset else "") + (f"#{name.rows}" if name.rows else "")
        return f"{snapshot.folder}{rest}"

    def _tell(self, event: str, source: Source, why: str) -> None:
        self.bench.stages.timeline.tell(event, model=self.spec.name, source=str(source), why=why)

    def _tell_failed(self, source: Source, began: str, error: BakeoffError) -> None:
        """Let the run know of a download that could not even begin."""
        folder = self.bench.workspace.hubs / source.name
        record = Record(
            "download",
            self.spec.name,
            "",
            "failed",
            str(error),
            "",
            "",
            str(folder),
            began,
            0.0,
            {"id": source.id},
        )
        self.bench.stages.timeline.tell("stage", **{k: v for k, v in asdict(record).items() if k != "made"})


def _answer(out: Path, who: str) -> hubs.Answer:
    """What the client wrote.

    Raises:
        DataError: what it could not do, in words.
    """
    try:
        answer: hubs.Answer = json.loads(out.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"{who}: the hub's client wrote no answer into {out}; run again") from None
    if message := answer.get("message"):
        raise DataError(f"{who}: {message}")
    return answer


def _commit_of(cached: Cached) -> str:
    """Return the commit of a snapshot."""
    if cached.commit:
        return cached.commit
    files = [
        (str(path.relative_to(cached.folder)), path.stat().st_size)
        for path in sorted(cached.folder.rglob("*"))
        if path.is_file()
    ]
    return f"{_UNKNOWN}{digest(files)[:12]}"


def _moved(source: Source, before: str, commit: str) -> str:
    stays = [STAY(before=before)] if hubs.is_commit(before) else []
    return joined([HAS_MOVED(source=source, before=before[:12], now=commit[:12]), *stays])


def _endpoint(source: Source) -> str:
    return "HF_ENDPOINT" if source.hub == "huggingface" else "MODELSCOPE_ENDPOINT"
