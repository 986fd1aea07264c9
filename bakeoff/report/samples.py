"""The sample browser's data, packed so that the page opens at once."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakeoff.files import write_text
from bakeoff.report.findings import Findings, Subject
from bakeoff.report.views import SuiteView

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
SIDE_FOLDER = "samples"
PER_FILE = 1_000
"""Questions of a side file."""
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
    n_files: int
    """Side files that hold all questions with their whole texts."""


def pack(findings: Findings, views: list[SuiteView], budget_bytes: int = BUDGET_BYTES) -> list[Packed]:
    """The browsable part of every suite with samples.

    Where not everything fits, what is there is spread over the suite's subjects (of knowledge) and over outcomes:
    broken by tuning, disagreement, leaked, missing, all wrong, the rest. What a suite leaves unused goes to the
    following ones.
    """
    present = [view for view in views if view.name in findings.samples_by_suite]
    packed = []
    left = budget_bytes
    for number, view in enumerate(sorted(present, key=lambda part: part.n_questions)):
        samples = findings.samples_by_suite[view.name]
        part = _pack(view.name, samples, left // (len(present) - number), list(view.cells))
        left -= len(part.data)
        packed.append(part)
    order = {view.name: place for place, view in enumerate(views)}
    return sorted(packed, key=lambda part: order[part.suite])


@dataclass(frozen=True)
class _Table:
    """One suite's samples, question by question: which row of the table each subject's reply is in."""

    samples: pd.DataFrame
    subjects: list[Subject]
    subsets: list[str]
    subset_codes: NDArray[np.int64]
    rows: NDArray[np.int64]
    """[question x subject]: row of *samples*, -1 where the subject was not asked."""
    values: NDArray[np.float64]

    @classmethod
    def of(cls, samples: pd.DataFrame) -> _Table:
        """Arrange *samples* by question.

        A question that a subject was asked twice stands there twice.
        """
        import numpy as np
        import pandas as pd

        model_codes, models = pd.factorize(samples["model"])
        kind_codes, kinds = pd.factorize(samples["variant"])
        subject_codes, pairs = pd.factorize(model_codes * len(kinds) + kind_codes)
        subjects = [
            Subject(str(models[int(pair) // len(kinds)]), str(kinds[int(pair) % len(kinds)]))
            for pair in pairs
        ]
        sample_codes, _ = pd.factorize(samples["sample_id"])
        again = pd.Series(sample_codes).groupby([subject_codes, sample_codes], sort=False).cumcount()
        keys, _ = pd.factorize(sample_codes * (int(again.max()) + 1) + again.to_numpy())
        rows = np.full((int(keys.max()) + 1, len(subjects)), -1)
        rows[keys, subject_codes] = np.arange(len(samples))
        correct = samples["correct"].to_numpy(dtype=float)
        subset_codes, subsets = pd.factorize(samples["subset"])
        return cls(
            samples,
            subjects,
            [str(subset) for subset in subsets],
            subset_codes,
            rows,
            np.where(rows >= 0, correct[rows], np.nan),
        )

    @property
    def first(self) -> NDArray[np.int64]:
        """[question]: a row that holds its text."""
        return np_max(self.rows)

    def disagree(self) -> NDArray[np.bool_]:
        """[question]: whether verdicts differ between subjects."""
        lowest, highest = self._range()
        graded = set(self.samples["correct"].dropna().unique()) - {0.0, 1.0}
        return highest - lowest > (0.2 if graded else 0.0)

    def _range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        import numpy as np

        gone = np.isnan(self.values)
        return np.where(gone, np.inf, self.values).min(axis=1), np.where(gone, -np.inf, self.values).max(
            axis=1
        )

    def spread(self) -> NDArray[np.int64]:
        """Return questions so ordered that any beginning is spread."""
        import numpy as np

        leaked = self.samples["leaked"].to_numpy(dtype=bool)
        present = self.rows >= 0
        lost = self.samples["status"].to_numpy(dtype=object)[self.rows] != "answered"
        outcome = np.select(
            [
                _broke(self.subjects, self.values),
                self.disagree(),
                (present & leaked[self.rows]).any(axis=1),
                (present & lost).any(axis=1),
                self._range()[1] < 0.5,
            ],
            [0, 1, 2, 3, 4],
            5,
        )
        return _spread(self.subset_codes[self.first], outcome, self.samples["index"].to_numpy()[self.first])

    def entries(self, sequence: NDArray[np.int64], clip: Callable[[str, int], str]) -> Iterator[list[Any]]:
        """Question by question, texts a block at a time, which is what costs."""
        for start in range(0, len(sequence), _BLOCK):
            questions = sequence[start : start + _BLOCK]
            used = np_unique(self.rows[questions])
            part = self.samples.iloc[used]
            texts = {name: part[name].to_numpy(dtype=object).tolist() for name in _TEXTS}
            place = dict(zip(used.tolist(), range(len(used)), strict=True))
            yield from self.rendered(questions, texts, place, clip)

    def rendered(
        self,
        questions: NDArray[np.int64],
        texts: Mapping[str, Sequence[Any]],
        place: Mapping[int, int] | Sequence[int],
        clip: Callable[[str, int], str],
    ) -> Iterator[list[Any]]:
        """Each of *questions*; *texts* holds row ``r`` at ``place[r]``."""
        first, (correct, index, leaked) = self.first, self._numbers
        for question, rows in zip(questions.tolist(), self.rows[questions].tolist(), strict=True):
            head = int(first[question])
            at = place[head]
            options = texts["options"][at]
            yield [
                texts["sample_id"][at],
                index[head],
                int(self.subset_codes[head]),
                clip(texts["question"][at], QUESTION_CHARS),
                json.loads(options) if isinstance(options, str) and options else list(options or ()),
                clip(texts["target"][at], QUESTION_CHARS),
                int(any(row >= 0 and leaked[row] for row in rows)),
                [_answer(texts, place[row], correct[row], clip) if row >= 0 else 0 for row in rows],
            ]

    @cached_property
    def _numbers(self) -> tuple[list[float], list[int], list[bool]]:
        """Grade, index and leakage of each row, as plain values, which a loop reads fastest."""
        return (
            self.samples["correct"].to_numpy(dtype=float).tolist(),
            self.samples["index"].to_numpy().tolist(),
            self.samples["leaked"].to_numpy(dtype=bool).tolist(),
        )


def np_unique(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows that are there, each once, in order."""
    import numpy as np

    return np.unique(rows[rows >= 0])


def np_max(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """[question]: the last row that any subject has of it."""
    import numpy as np

    return np.asarray(rows.max(axis=1), dtype=np.int64)


def _answer(
    texts: Mapping[str, Sequence[Any]], at: int, correct: float, clip: Callable[[str, int], str]
) -> list[Any]:
    """Return reply, extraction, status, grade; second extraction if other."""
    value = None if math.isnan(correct) else round(correct, 3)
    extracted, other = texts["extracted"][at], texts["extracted_alt"][at]
    status = STATUS.index(texts["status"][at]) if texts["status"][at] in STATUS else 0
    answer = [clip(texts["reply"][at], REPLY_CHARS), extracted, status, value]
    return [*answer, other] if other != extracted else answer


def _pack(suite: str, samples: pd.DataFrame, budget: int, order: Sequence[Subject]) -> Packed:
    table = _Table.of(samples)
    sequence, disagree, clip = table.spread(), table.disagree(), _Clip()
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
    stream = table.entries(sequence, clip)
    while (not count or size <= raw_budget) and (batch := list(islice(stream, _BATCH))):
        text = ",\n".join(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in batch)
        chunk = engine.compress((("," if count else "") + text).encode()) + engine.flush(zlib.Z_SYNC_FLUSH)
        chunks.append(chunk)
        size += len(chunk)
        count += len(batch)
    chunks.append(engine.compress(b"]}") + engine.flush())
    return Packed(
        suite=suite,
        data=base64.b64encode(b"".join(chunks)).decode(),
        n_shown=count,
        n_questions=len(sequence),
        n_disagreeing=int(disagree.sum()),
        n_disagreeing_shown=int(disagree[sequence[:count]].sum()),
        n_clipped=clip.count,
        n_files=-(-len(sequence) // PER_FILE),
    )


def side_name(findings: Findings, suite: str) -> str:
    """Return how the names of side files begin, relative to the page.

    A number and ``.js`` follow.
    """
    return f"{SIDE_FOLDER}/{findings.run_id}-{sorted(findings.samples_by_suite).index(suite)}-"


def write_side_files(findings: Findings, reports_dir: Path) -> None:
    """Write every question, whole, into files loaded on demand.

    With whole texts, and prompts as sent.

    A page that was opened from a disk may load scripts from its folder, and nothing else: each file calls
    ``bakeoffSamples`` with the part that it holds. Those of earlier runs are removed.
    """
    folder = reports_dir / SIDE_FOLDER
    for old in folder.glob("*.js"):
        old.unlink()
    with ThreadPoolExecutor(2) as pool:  # zlib works outside Python's lock
        writes = [
            pool.submit(_write_side_file, reports_dir, side_name(findings, suite), number, text)
            for suite in findings.samples_by_suite
            for number, text in enumerate(_side_texts(findings, suite))
        ]
        for write in writes:
            write.result()


def _side_texts(findings: Findings, suite: str) -> Iterator[bytes]:
    """Yield what the side files of *suite* hold, as JSON."""
    samples, prompts = findings.samples_by_suite[suite], _prompts(findings, suite)
    table = _Table.of(samples)
    texts = {name: samples[name].to_numpy(dtype=object).tolist() for name in _TEXTS}
    shas = samples["prompt_sha"].to_numpy(dtype=object)
    sequence = table.first.argsort(kind="stable")
    everywhere = range(len(samples))
    for start in range(0, len(sequence), PER_FILE):
        part = sequence[start : start + PER_FILE]
        rows = list(table.rendered(part, texts, everywhere, lambda text, most: text))
        sent: list[list[str]] = [[]] * len(part)
        if prompts:
            asked_with = table.rows[part].tolist()
            sent = [
                sorted({str(shas[row]) for row in rows_of if row >= 0} & prompts.keys())
                for rows_of in asked_with
            ]
        content = {
            "rows": rows,
            "sent": sent,
            "prompts": {sha: prompts[sha] for every in sent for sha in every},
        }
        yield json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _write_side_file(reports_dir: Path, begin: str, number: int, content: bytes) -> None:
    packed = zlib.compressobj(1, zlib.DEFLATED, 31)
    text = base64.b64encode(packed.compress(content) + packed.flush()).decode()
    write_text(
        reports_dir / f"{begin}{number}.js",
        f"bakeoffSamples({json.dumps(begin)},{number},{json.dumps(text)})",
    )


def _prompts(findings: Findings, suite: str) -> dict[str, Any]:
    """Return digest -> messages of the prompts sent for *suite*.

    As far as the store still has them.
    """
    prompts: dict[str, Any] = {}
    for record in findings.stages:
        if record.get("stage") == "evaluate" and (record.get("facts") or {}).get("suite") == suite:
            for path in Path(str(record.get("output") or "")).parent.parent.glob("*/prompts.jsonl"):
                for line in path.read_text(encoding="utf-8").splitlines():
                    with suppress(ValueError, KeyError, TypeError):
                        row = json.loads(line)
                        prompts[str(row["prompt_sha"])] = row["messages"]
    return prompts


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
    """Return questions spread over outcomes, then over subsets.

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
