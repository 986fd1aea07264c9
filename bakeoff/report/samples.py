"""The sample browser's data: as many questions as fit, packed so that the page opens at once."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from bakeoff.report.analysis import SuiteView
from bakeoff.report.findings import Findings, Subject

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

BUDGET_BYTES = 3_300_000
"""Room for all suites together, as base64 in the page."""
REPLY_CHARS = 700
QUESTION_CHARS = 1_200
STATUS = ("answered", "unparsed", "empty", "truncated", "errored")
_TEXTS = ("question", "options", "target", "reply", "extracted", "extracted_alt", "sample_id", "status")
_BATCH = 40
_BLOCK = 2_000


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


def pack(findings: Findings, views: list[SuiteView], budget_bytes: int = BUDGET_BYTES) -> list[Packed]:
    """The browsable part of every suite with samples.

    Where not everything fits, what is there is spread over the suite's subjects (of knowledge) and over outcomes:
    broken by tuning, disagreement, leaked, missing, all wrong, the rest. What a suite leaves unused goes to the
    following ones.
    """
    present = [view for view in views if view.name in findings.samples_by_suite]
    packed = []
    left = budget_bytes
    for number, view in enumerate(sorted(present, key=lambda one: one.n_questions)):
        samples = findings.samples_by_suite[view.name]
        one = _pack(view.name, samples, left // (len(present) - number), list(view.cells))
        left -= len(one.data)
        packed.append(one)
    order = {view.name: place for place, view in enumerate(views)}
    return sorted(packed, key=lambda one: order[one.suite])


def _pack(suite: str, samples: pd.DataFrame, budget: int, order: Sequence[Subject]) -> Packed:
    import numpy as np
    import pandas as pd

    (model_codes, models), (kind_codes, kinds) = (
        pd.factorize(samples["model"]),
        pd.factorize(samples["variant"]),
    )
    subject_codes, pairs = pd.factorize(model_codes * len(kinds) + kind_codes)
    subjects = [
        Subject(str(models[int(pair) // len(kinds)]), str(kinds[int(pair) % len(kinds)])) for pair in pairs
    ]
    shown = sorted(
        range(len(subjects)),
        key=lambda at: order.index(subjects[at]) if subjects[at] in order else len(order),
    )
    sample_codes, _ = pd.factorize(samples["sample_id"])
    again = pd.Series(sample_codes).groupby([subject_codes, sample_codes], sort=False).cumcount().to_numpy()
    keys, _ = pd.factorize(sample_codes * (int(again.max()) + 1) + again)
    count = int(keys.max()) + 1
    rows = np.full((count, len(subjects)), -1)
    rows[keys, subject_codes] = np.arange(len(samples))
    correct = samples["correct"].to_numpy(dtype=float)
    values = np.where(rows >= 0, correct[rows], np.nan)
    lowest = np.where(np.isnan(values), np.inf, values).min(axis=1)
    highest = np.where(np.isnan(values), -np.inf, values).max(axis=1)
    disagree = highest - lowest > (0.2 if set(np.unique(correct[~np.isnan(correct)])) - {0.0, 1.0} else 0.0)
    first = rows.max(axis=1)
    subset_codes, subsets = pd.factorize(samples["subset"])
    leaked = samples["leaked"].to_numpy(dtype=bool)
    asked_rows = rows >= 0
    gone = (asked_rows & (samples["status"].to_numpy(dtype=object)[rows] != "answered")).any(axis=1)
    outcome = np.select(
        [
            _broke(subjects, values),
            disagree,
            (asked_rows & leaked[rows]).any(axis=1),
            gone,
            highest < 0.5,
        ],
        [0, 1, 2, 3, 4],
        5,
    )
    sequence = _spread(subset_codes[first], outcome, samples["index"].to_numpy()[first])

    index = samples["index"].to_numpy()
    clip = _Clip()

    def entries() -> Iterator[list[Any]]:
        """Question by question; texts are taken out of the table a block at a time, which is what costs."""
        for start in range(0, count, _BLOCK):
            questions = sequence[start : start + _BLOCK]
            used = np.unique(rows[questions][rows[questions] >= 0])
            part = samples.iloc[used]
            place = {int(row): number for number, row in enumerate(used)}
            texts = {name: part[name].to_numpy(dtype=object).tolist() for name in _TEXTS}
            for question in questions:
                yield entry(int(question), texts, place)

    def entry(question: int, texts: dict[str, list[Any]], place: dict[int, int]) -> list[Any]:
        asked = rows[question]
        answers: list[Any] = []
        for row in asked:
            if row < 0:
                answers.append(0)
                continue
            at = place[int(row)]
            value = None if math.isnan(correct[row]) else round(float(correct[row]), 3)
            said, other = texts["extracted"][at], texts["extracted_alt"][at]
            status = STATUS.index(texts["status"][at]) if texts["status"][at] in STATUS else 0
            answer = [clip(texts["reply"][at], REPLY_CHARS), said, status, value]
            answers.append([*answer, other] if other != said else answer)
        head = int(first[question])
        at = place[head]
        options = texts["options"][at]
        return [
            texts["sample_id"][at],
            int(index[head]),
            int(subset_codes[head]),
            clip(texts["question"][at], QUESTION_CHARS),
            json.loads(options) if isinstance(options, str) and options else list(options or ()),
            clip(texts["target"][at], QUESTION_CHARS),
            int(leaked[asked[asked >= 0]].any()),
            answers,
        ]

    head = {
        "suite": suite,
        "subjects": [list(one) for one in subjects],
        "order": shown,
        "subsets": [str(one) for one in subsets],
    }
    engine = zlib.compressobj(6, zlib.DEFLATED, 31)
    raw_budget = budget * 3 // 4 - 4_000
    chunks = [engine.compress((json.dumps(head, ensure_ascii=False)[:-1] + ', "rows": [').encode())]
    size, held = len(chunks[0]), 0
    stream = entries()
    while (not held or size <= raw_budget) and (batch := list(islice(stream, _BATCH))):
        text = ",\n".join(json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in batch)
        chunk = engine.compress((("," if held else "") + text).encode()) + engine.flush(zlib.Z_SYNC_FLUSH)
        chunks.append(chunk)
        size += len(chunk)
        held += len(batch)
    chunks.append(engine.compress(b"]}") + engine.flush())
    return Packed(
        suite=suite,
        data=base64.b64encode(b"".join(chunks)).decode(),
        n_shown=held,
        n_questions=count,
        n_disagreeing=int(disagree.sum()),
        n_disagreeing_shown=int(disagree[sequence[:held]].sum()),
        n_clipped=clip.count,
    )


def _broke(subjects: Sequence[tuple[str, str]], values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[question]: whether a model was right before tuning and is not after it."""
    import numpy as np

    place = {subject: number for number, subject in enumerate(subjects)}
    broke = np.zeros(len(values), dtype=bool)
    for (model, variant), base in place.items():
        tuned = place.get((model, "tuned"))
        if variant == "base" and tuned is not None:
            broke |= (values[:, base] >= 0.5) & (values[:, tuned] < 0.5)
    return broke


def _spread(
    subset: NDArray[np.int64], outcome: NDArray[np.int64], index: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Questions in an order of which every beginning is spread over outcomes, and within each over subsets.

    One question of each outcome in turn, each from the next subset; a rare outcome runs out first.
    """
    import numpy as np
    import pandas as pd

    table = pd.DataFrame({"subset": subset, "outcome": outcome, "index": index})
    table = table.sort_values("index", kind="stable")
    table["turn"] = table.groupby(["outcome", "subset"], sort=False).cumcount()
    # Each outcome starts at another subset: a few questions of each are not all of the first subsets.
    subsets = int(table["subset"].max()) + 1
    table["start"] = (table["subset"] + table["outcome"]) % subsets
    table = table.sort_values(["turn", "start", "index"], kind="stable")
    table["round"] = table.groupby("outcome", sort=False).cumcount()
    return np.asarray(table.sort_values(["round", "outcome"], kind="stable").index, dtype=np.int64)


class _Clip:
    """Shortens a text in the middle: the end of a reply is where the answer stands."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, text: str, most: int) -> str:
        if len(text) <= most:
            return text
        self.count += 1
        head = most * 2 // 3
        return f"{text[:head]} ⟦… {len(text) - most} …⟧ {text[head - most :]}"
