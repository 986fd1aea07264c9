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
from bakeoff.foundation.secrecy import redact
from bakeoff.foundation.sentences import Statement, Template
from bakeoff.tools import hubs
from bakeoff.tools.hubs import Source

ASK_S = 120.0
MODEL = Template("doctor.hubs.model", "model {id}", zh="模型 {id}")
DATASET = Template("doctor.hubs.dataset", "dataset {id}", zh="数据集 {id}")
CORRECT = Template("doctor.hubs.correct", "correct the matrix", zh="请修正矩阵")
NOT_WHOLE = Template(
    "doctor.hubs.not_whole",
    "{variables} is set, and the cache has no whole {source} ({folder} has {have})",
    zh="已设置 {variables}，而缓存中没有完整的 {source}（{folder} 中有 {have}）",
)
NOT_WHOLE_NOTHING = Template(
    "doctor.hubs.not_whole_nothing",
    "{variables} is set, and the cache has no whole {source} ({folder} has nothing)",
    zh="已设置 {variables}，而缓存中没有完整的 {source}（{folder} 为空）",
)
FETCH = Template(
    "doctor.hubs.fetch",
    "fetch it once without {variables}, or name a revision that is there",
    zh="请先在不设置 {variables} 的情况下下载一次，或指定已有的 revision",
)
FROM_CACHE = Template(
    "doctor.hubs.from_cache",
    "{hub} does not answer: the run takes what the cache has",
    zh="{hub} 没有响应：将使用缓存中的内容",
)
LOOK_AT_NETWORK = Template(
    "doctor.hubs.look_at_network",
    "look at the network for the newest",
    zh="如需最新内容，请检查网络",
)
NO_ANSWER = Template(
    "doctor.hubs.no_answer",
    "{hub} does not answer, and no cache has the whole of it",
    zh="{hub} 没有响应，缓存中也没有完整的副本",
)
NETWORK_OR = Template(
    "doctor.hubs.network_or",
    "look at the network (proxy, HF_ENDPOINT, MODELSCOPE_ENDPOINT), or give a folder",
    zh="请检查网络（代理、HF_ENDPOINT、MODELSCOPE_ENDPOINT），或改用本地文件夹",
)


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
            yield Finding("error", _place(source), what, remedy or CORRECT(), tuple(users[source]))


def _place(source: Source) -> Statement:
    return (MODEL if source.kind == "model" else DATASET)(id=source.id)


def _offline(
    visit: Visit, source: Source, variables: str, rows: tuple[str, ...], noted: str
) -> Iterator[Finding]:
    """What a cache lacks of *source*."""
    if hubs.find_cached(source, visit.environ, noted) or not cached(visit, source.kind, source.id):
        return
    folder = hubs.repository_folder(source, visit.environ) / "snapshots"
    have = [path.name for path in sorted(folder.glob("*"))[:5]]
    lacks = NOT_WHOLE if have else NOT_WHOLE_NOTHING
    facts = {"have": have} if have else {}
    yield Finding(
        "error",
        _place(source),
        lacks(variables=variables, source=source, folder=folder.parent, **facts),
        FETCH(variables=variables),
        rows,
    )


def _not_answered(visit: Visit, source: Source, rows: tuple[str, ...], noted: str) -> Finding:
    hub = hubs.TITLES[source.hub]
    if hubs.find_cached(source, visit.environ, noted):
        return Finding("warning", _place(source), FROM_CACHE(hub=hub), LOOK_AT_NETWORK())
    return Finding("error", _place(source), NO_ANSWER(hub=hub), NETWORK_OR(), rows)


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
