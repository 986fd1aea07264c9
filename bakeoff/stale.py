"""What no row of the matrix refers to any more.

``python -m bakeoff.stale`` lists stages of another recipe, tiny bases of another source, downloads of another commit,
environments of another content, finished caches of evaluations and what pasted lines left, with their sizes. After a
yes it removes them. Runs, judgements and the replies that were judged are never touched, nor is what somebody works on
or serves.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from bakeoff.chain.chain import Bench, Chain
from bakeoff.chain.results import readable
from bakeoff.environments import building as environments
from bakeoff.execution.runner import running
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.sentences import Template
from bakeoff.foundation.terminal import complain, localized, tell
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import load_matrix
from bakeoff.matrix.schema import Matrix
from bakeoff.store.facts import EvaluationFacts, EvaluationResult, Facts
from bakeoff.store.stage import Stage
from bakeoff.tools import hubs

ALL_NEEDED = Template(
    "stale.all_needed",
    "{matrix} refers to everything in {store}",
    zh="{store} 中的所有内容都由 {matrix} 引用，无可清理",
)
REMOVE = Template(
    "stale.remove",
    "remove {count} folders, {size} MiB? [y/N] ",
    zh="删除 {count} 个文件夹，共 {size} MiB？[y/N] ",
)
NOTHING_REMOVED = Template("stale.nothing_removed", "nothing was removed", zh="未删除任何内容")
REMOVED = Template("stale.removed", "removed {count} folders", zh="已删除 {count} 个文件夹")
STAYED = Template(
    "stale.stayed",
    "stayed, because somebody works on it or it is not ours to remove: {folder}",
    zh="保留未删（正在使用，或无权删除）：{folder}",
)

STAGES = ("train", "export", "deploy", "parity", "evaluate", "speed")
"""The stages whose folders may go; what they measured is kept in the runs."""


@dataclass(frozen=True)
class Stale:
    """A folder that nothing refers to."""

    folder: Path
    size_bytes: int


def stale(matrix: Matrix, workspace: Workspace) -> list[Stale]:
    """What no row of *matrix* refers to any more, the largest first."""
    referred = {folder.resolve() for folder in _referred(matrix, workspace)}
    candidates = [
        folder
        for stage in STAGES
        for folder in workspace.root.glob(f"models/*/{stage}-*")
        if not folder.is_symlink()
    ]
    for shared in (workspace.tiny, workspace.forms, workspace.hubs, workspace.environments):
        candidates += shared.glob("*")
    candidates += workspace.root.glob("models/*/by-hand/*")
    candidates += [
        cache
        for cache in workspace.root.glob("models/*/evaluation/*/*/*")
        # answers of an evaluation that is yet to finish are what the next run takes up
        if (cache / "result.json").exists()
        or cache.relative_to(workspace.models).parts[0] not in matrix.models
    ]
    listed = [
        Stale(place, _size(place))
        for place in candidates
        if place.is_dir() and place.resolve() not in referred
    ]
    return sorted(listed, key=lambda place: (-place.size_bytes, place.folder))


def remove(candidates: list[Stale], workspace: Workspace) -> list[Path]:
    """Remove *found*, but what somebody works on; returns what stayed."""
    stayed = []
    workspace.locks.mkdir(parents=True, exist_ok=True)
    served = running(workspace.processes)
    for candidate in candidates:
        if any(str(candidate.folder) in command for command in served):
            stayed.append(candidate.folder)
            continue
        parts = candidate.folder.relative_to(workspace.root).parts
        name = "-".join(parts[:4] if parts[2:3] == ("evaluation",) else parts)
        lock = workspace.locks / f"{name}.lock"
        if candidate.folder.parent == workspace.environments:
            lock = workspace.environments / f"{candidate.folder.name}.lock"
        try:
            with FileLock(lock, timeout=0):
                # the record goes first, so that half a folder is never taken for a whole one
                for record in ("record.json", "environment.json"):
                    (candidate.folder / record).unlink(missing_ok=True)
                shutil.rmtree(candidate.folder)
        except (Timeout, OSError):
            stayed.append(candidate.folder)
    return stayed


def _referred(matrix: Matrix, workspace: Workspace) -> Iterator[Path]:
    """Yield every folder that a row of *matrix* means, there or not."""
    bench = Bench.at_rest(matrix, workspace)
    for spec in matrix.models.values():
        for place in (spec.adapter, spec.weights, spec.model):
            if place:  # a row may start from what another one left
                yield from Path(place).expanduser().absolute().parents
        chain = Chain(spec, bench)
        for source in chain.origins.sources():
            if not chain.origins.known_commit(
                source
            ):  # whichever of them the next run finds to be the right one
                yield from hubs.store_folders(workspace.hubs, source)
        for stage in chain.stages():
            yield stage.folder
            yield from stage.keeps
            if stage.facts is EvaluationFacts:
                yield from _caches(stage, workspace)
    for environment in matrix.environments.values():
        yield workspace.environments / environments.digest(environment)


def _caches(stage: Stage[Facts], workspace: Workspace) -> Iterator[Path]:
    """Yield the folder with the answers behind the result of an evaluation."""
    if name := Path(EvaluationResult.read(readable(stage.output)).folder).name:
        # its name alone: a store that was moved or copied still says where it lay
        yield workspace.evaluation(stage.row, stage.variant) / str(stage.recipe["suite"]) / name


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size if not path.is_dir() or path.is_symlink() else 0
    return total


def main(argv: list[str]) -> int:
    """List, ask, remove; exit code 1 where something stayed."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--matrix", type=Path, default=Path("model_matrix.yaml"))
    options.add_argument("--store", type=Path, default=Path("store"))
    options.add_argument("--yes", action="store_true", help="remove without asking")
    arguments = options.parse_args(argv)
    workspace = Workspace(arguments.store.absolute())
    try:
        candidates = stale(load_matrix(arguments.matrix), workspace)
    except BakeoffError as error:
        complain(error)
        return 1
    if not candidates:
        tell(ALL_NEEDED(matrix=arguments.matrix, store=arguments.store))
        return 0
    for candidate in candidates:
        print(f"{candidate.size_bytes / 2**20:10.1f} MiB  {candidate.folder.relative_to(workspace.root)}")
    total = sum(candidate.size_bytes for candidate in candidates) / 2**20
    if not arguments.yes:
        try:
            answer = input(localized(REMOVE(count=len(candidates), size=f"{total:.1f}")))
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            tell(NOTHING_REMOVED())
            return 0
    stayed = remove(candidates, workspace)
    tell(REMOVED(count=len(candidates) - len(stayed)))
    for folder in stayed:
        tell(STAYED(folder=folder))
    return int(bool(stayed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
