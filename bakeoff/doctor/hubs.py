"""Whether models and data of hubs can be fetched, or are cached whole."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bakeoff.doctor.finding import Finding, Visit, cached
from bakeoff.secrecy import redact
from bakeoff.tools import hubs
from bakeoff.tools.hubs import Source

ASK_S = 120.0


def check_hubs(visit: Visit) -> Iterator[Finding]:
    """Yield which models and data of hubs are not available."""
    users: dict[Source, list[str]] = {}
    for row in visit.rows:
        if row.url:
            continue
        data = [
            hubs.dataset_source(dataset, row.use_hf, visit.environ) for dataset in row.dataset if row.trains
        ]
        for source in dict.fromkeys((hubs.model_source(row, visit.environ), *data)):
            if source:
                users.setdefault(source, []).append(row.name)
    to_ask = []
    notes = hubs.texts_in(hubs.notes_file(visit.workspace.cache))
    for source, rows in users.items():
        if variables := hubs.offline(source.hub, visit.environ):
            yield from _offline(visit, source, variables, tuple(rows), notes.get(source.key, ""))
        elif visit.asking and not (hubs.is_commit(source.branch) and hubs.find_cached(source, visit.environ)):
            to_ask.append(source)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(4) as pool:
        places = [Path(folder) / f"{number}.json" for number in range(len(to_ask))]
        answers = list(pool.map(lambda source, out: _ask(visit, source, out), to_ask, places))
    for source, problem in zip(to_ask, answers, strict=True):
        if problem is None:
            yield _not_answered(visit, source, tuple(users[source]), notes.get(source.key, ""))
        elif problem:
            what, _, remedy = problem.partition("; ")
            place = f"{source.kind} {source.id}"
            yield Finding("error", place, what, remedy or "correct the matrix", tuple(users[source]))


def _offline(
    visit: Visit, source: Source, variables: str, rows: tuple[str, ...], noted: str
) -> Iterator[Finding]:
    """What a cache lacks of *source*."""
    if hubs.find_cached(source, visit.environ, noted) or not cached(visit, source.kind, source.id):
        return
    folder = hubs.repository_folder(source, visit.environ) / "snapshots"
    have = ", ".join(path.name for path in sorted(folder.glob("*"))[:5]) or "nothing"
    yield Finding(
        "error",
        f"{source.kind} {source.id}",
        f"{variables} is set, and the cache has no whole {source} ({folder.parent} has {have})",
        f"fetch it once without {variables}, or name a revision that is there",
        rows,
    )


def _not_answered(visit: Visit, source: Source, rows: tuple[str, ...], noted: str) -> Finding:
    hub, place = hubs.TITLES[source.hub], f"{source.kind} {source.id}"
    if hubs.find_cached(source, visit.environ, noted):
        what, remedy = (
            f"{hub} does not answer: the run takes what the cache has",
            "look at the network for the newest",
        )
        return Finding("warning", place, what, remedy)
    return Finding(
        "error",
        place,
        f"{hub} does not answer, and no cache has the whole of it",
        "look at the network (proxy, HF_ENDPOINT, MODELSCOPE_ENDPOINT), or give a folder",
        rows,
    )


def _ask(visit: Visit, source: Source, out: Path) -> str | None:
    """Why *source* is not available; None where the hub does not answer."""
    command = hubs.resolving(source, out)
    try:
        subprocess.run(
            command.argv, env={**os.environ, **visit.environ}, capture_output=True, timeout=ASK_S, check=True
        )
        answer = json.loads(out.read_text(encoding="utf-8"))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return redact(str(answer.get("message", "")))
