"""The sample browser's data, packed so that the page opens at once."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from bakeoff.report.findings import Findings, Subject
from bakeoff.report.questions import Clip, Table, tables_of
from bakeoff.report.side_files import PER_FILE
from bakeoff.report.views import SuiteView

BUDGET_BYTES = 3_300_000
"""Room for all suites together, as base64 in the page."""
_BATCH = 40


@dataclass(frozen=True)
class Packed:
    """One suite's questions and replies, gzip then base64, and what was left out."""

    suite: str
    data: str
    n_shown: int
    n_questions: int
    n_disagreeing: int
    """Questions on which verdicts differ between subjects."""
    n_disagreeing_shown: int
    n_clipped: int
    """Texts that were shortened in the middle."""
    n_files: int
    """Side files that hold all questions with their whole texts."""


def pack(findings: Findings, views: list[SuiteView], budget_bytes: int = BUDGET_BYTES) -> list[Packed]:
    """The browsable part of every suite with samples.

    Where not everything fits, what is there is spread over the suite's subjects (of knowledge) and over outcomes:
    broken by tuning, disagreement, leaked, missing, all wrong, the rest. What a suite leaves unused goes to the
    following ones.
    """
    tables = tables_of(findings)
    present = [view for view in views if view.name in tables]
    packed = []
    left = budget_bytes
    for number, view in enumerate(sorted(present, key=lambda part: part.n_questions)):
        part = _pack(view.name, tables[view.name], left // (len(present) - number), list(view.cells))
        left -= len(part.data)
        packed.append(part)
    order = {view.name: place for place, view in enumerate(views)}
    return sorted(packed, key=lambda part: order[part.suite])


def _pack(suite: str, table: Table, budget: int, order: Sequence[Subject]) -> Packed:
    sequence, clip = table.spread(), Clip()
    shown = sorted(
        range(len(table.subjects)),
        key=lambda at: order.index(table.subjects[at]) if table.subjects[at] in order else len(order),
    )
    head = {
        "suite": suite,
        "subjects": [list(entry) for entry in table.subjects],
        "order": shown,
        "subsets": table.subsets,
    }
    engine = zlib.compressobj(6, zlib.DEFLATED, 31)
    raw_budget = budget * 3 // 4 - 4_000
    chunks = [engine.compress((json.dumps(head, ensure_ascii=False)[:-1] + ', "rows": [').encode())]
    size, count = len(chunks[0]), 0
    stream = table.lines(sequence, clip)
    while (not count or size <= raw_budget) and (batch := list(islice(stream, _BATCH))):
        text = ("," if count else "") + ",\n".join(batch)
        chunk = engine.compress(text.encode()) + engine.flush(zlib.Z_SYNC_FLUSH)
        chunks.append(chunk)
        size += len(chunk)
        count += len(batch)
    chunks.append(engine.compress(b"]}") + engine.flush())
    return Packed(
        suite=suite,
        data=base64.b64encode(b"".join(chunks)).decode(),
        n_shown=count,
        n_questions=len(sequence),
        n_disagreeing=int(table.disagree.sum()),
        n_disagreeing_shown=int(table.disagree[sequence[:count]].sum()),
        n_clipped=clip.count,
        n_files=-(-len(sequence) // PER_FILE),
    )
