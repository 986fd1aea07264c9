"""Files beside the page: each question whole, and the prompts as sent."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from bakeoff.foundation.files import readable_rows, write_text
from bakeoff.report.findings import Findings, Subject
from bakeoff.report.questions import Table, tables_of
from bakeoff.store.places import evidence_of, place_of

SIDE_FOLDER = "samples"
PER_FILE = 1_000
"""Questions of a side file."""


def side_name(findings: Findings, suite: str) -> str:
    """Return how the names of side files begin, relative to the page.

    A number and ``.js`` follow.
    """
    return f"{SIDE_FOLDER}/{findings.run_id}-{sorted(findings.samples_by_suite).index(suite)}-"


def write_side_files(findings: Findings, reports_dir: Path) -> None:
    """Write every question, whole, into files loaded on demand.

    With the prompts as sent, as far as the store still has them. A page that was opened from a disk may load scripts
    from its folder, and nothing else: each file calls ``bakeoffSamples`` with the part that it holds. Those of earlier
    runs are removed.
    """
    folder = reports_dir / SIDE_FOLDER
    for old in folder.glob("*.js"):
        old.unlink()
    with ThreadPoolExecutor(2) as pool:  # zlib works outside Python's lock
        writes = [
            pool.submit(_write_side_file, reports_dir, side_name(findings, suite), number, text)
            for suite, table in tables_of(findings).items()
            for number, text in enumerate(_side_texts(table, _prompts(findings, suite, table)))
        ]
        for write in writes:
            write.result()


def _side_texts(table: Table, prompts: Mapping[str, object]) -> Iterator[bytes]:
    """Yield what the side files of a suite hold, as JSON."""
    sequence = table.first.argsort(kind="stable")
    shas: list[str] = table.samples["prompt_sha"].tolist() if prompts else []
    lines = table.lines(sequence)
    for start in range(0, len(sequence), PER_FILE):
        part = sequence[start : start + PER_FILE]
        sent = (
            [_sent(rows, shas, prompts) for rows in table.rows[part].tolist()]
            if prompts
            else [[]] * len(part)
        )
        used = {sha: prompts[sha] for every in sent for sha in every}
        yield "".join(
            (
                '{"rows":[',
                ",".join(islice(lines, PER_FILE)),
                f'],"sent":{json.dumps(sent, separators=(",", ":"))},"prompts":',
                json.dumps(used, ensure_ascii=False, separators=(",", ":")),
                "}",
            )
        ).encode()


def _sent(rows: Sequence[int], shas: Sequence[str], prompts: Mapping[str, object]) -> list[str]:
    """Return the digests of the prompts that asked one question."""
    return sorted({shas[row] for row in rows if row >= 0} & prompts.keys())


def _write_side_file(reports_dir: Path, begin: str, number: int, content: bytes) -> None:
    packed = zlib.compressobj(1, zlib.DEFLATED, 31)
    text = base64.b64encode(packed.compress(content) + packed.flush()).decode()
    write_text(
        reports_dir / f"{begin}{number}.js",
        f"bakeoffSamples({json.dumps(begin)},{number},{json.dumps(text)})",
    )


def _prompts(findings: Findings, suite: str, table: Table) -> dict[str, object]:
    """Return digest -> messages of the prompts sent for *suite*.

    Models are mostly sent the same messages: files of a subject whose prompts are known already are not read.
    """
    prompts: dict[str, object] = {}
    if findings.root is None:
        return prompts
    shas = table.samples["prompt_sha"].to_numpy(dtype=object)
    for record in findings.stages:
        subject = Subject(str(record.get("model")), str(record.get("variant")))
        about = record.get("facts")
        if (
            record.get("stage") != "evaluate"
            or not isinstance(about, Mapping)
            or about.get("suite") != suite
            or subject not in table.subjects
        ):
            continue
        rows = table.rows[:, table.subjects.index(subject)]
        if prompts.keys() >= set(shas[rows[rows >= 0]]):
            continue
        output = place_of(findings.root, str(record.get("output") or ""))
        folder = evidence_of(findings.root, output) if output else None
        path = folder / "prompts.jsonl" if folder else None
        for row in readable_rows(path) if path and path.is_file() else ():
            if "prompt_sha" in row and "messages" in row:
                prompts[str(row["prompt_sha"])] = row["messages"]
    return prompts
