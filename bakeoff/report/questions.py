"""Samples of a suite by question, as the page's scripts read them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from bakeoff.report.findings import Findings, Subject

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

REPLY_CHARS = 700
QUESTION_CHARS = 1_200
STATUS = ("answered", "unparsed", "empty", "truncated", "errored")
_TEXTS = ("question", "options", "target", "reply", "extracted", "extracted_alt", "sample_id", "status")
_BLOCK = 500
"""Questions whose texts are taken out of the table at once."""
_Shorten = Callable[[str, int], str]
"""Returns a text in at most so many characters."""


@lru_cache(maxsize=1)  # the page and the files beside it are made from the same tables
def tables_of(findings: Findings) -> Mapping[str, Table]:
    """Return the table of every suite with samples."""
    return {suite: Table.of(samples) for suite, samples in findings.samples_by_suite.items()}


@dataclass(frozen=True)
class Table:
    """One suite's samples by question: each subject's row in the table."""

    samples: pd.DataFrame
    subjects: list[Subject]
    subsets: list[str]
    subset_codes: NDArray[np.int64]
    rows: NDArray[np.int64]
    """[question x subject]: row of *samples*, -1 where the subject was not asked."""
    values: NDArray[np.float64]

    @classmethod
    def of(cls, samples: pd.DataFrame) -> Table:
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

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """[question]: a row that holds its text."""
        import numpy as np

        return np.asarray(self.rows.max(axis=1), dtype=np.int64)

    @cached_property
    def leaked(self) -> NDArray[np.bool_]:
        """[question]: whether the training data of any subject holds it."""
        import numpy as np

        leaked = self.samples["leaked"].to_numpy(dtype=bool)
        return np.asarray(((self.rows >= 0) & leaked[self.rows]).any(axis=1), dtype=bool)

    @cached_property
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

        lost = (self.samples["status"] != "answered").to_numpy(dtype=bool)[self.rows]
        outcome = np.select(
            [
                _broke(self.subjects, self.values),
                self.disagree,
                self.leaked,
                ((self.rows >= 0) & lost).any(axis=1),
                self._range()[1] < 0.5,
            ],
            [0, 1, 2, 3, 4],
            5,
        )
        return _spread(self.subset_codes[self.first], outcome, self.samples["index"].to_numpy()[self.first])

    def lines(self, questions: NDArray[np.int64], shorten: _Shorten | None = None) -> Iterator[str]:
        """Yield each of *questions* as JSON.

        A list of: id, index, subset, question, options, correct answer, whether it leaked, and for each subject its
        reply, extracted answer, status and grade, then the answer by the second rule where it is another; 0 where
        the subject was not asked.
        """
        import numpy as np

        whole = len(questions) == len(self.rows)
        texts = self._texts(self.samples) if whole else {}
        for start in range(0, len(questions), _BLOCK):
            block = questions[start : start + _BLOCK]
            rows = self.rows[block]
            used = np.unique(rows[rows >= 0])
            part = (
                {name: [column[row] for row in used.tolist()] for name, column in texts.items()}
                if whole
                else self._texts(self.samples.iloc[used])
            )
            yield from self._block(block, used, part, shorten)

    @staticmethod
    def _texts(samples: pd.DataFrame) -> dict[str, list[str]]:
        return {name: samples[name].to_numpy(dtype=object).tolist() for name in _TEXTS}

    def _block(
        self,
        questions: NDArray[np.int64],
        used: NDArray[np.int64],
        texts: Mapping[str, Sequence[str]],
        shorten: _Shorten | None,
    ) -> Iterator[str]:
        """Yield *questions*; *texts* are those of the rows *used*."""
        import numpy as np

        rows, heads = self.rows[questions], self.first[questions]
        correct = self.samples["correct"].to_numpy(dtype=float)[used]
        answers = [*_answers(texts, correct, shorten), "0"]
        places = np.where(rows >= 0, np.searchsorted(used, rows), len(used)).tolist()
        for at, index, subset, leaked, place in zip(
            np.searchsorted(used, heads).tolist(),
            self.samples["index"].to_numpy()[heads].tolist(),
            self.subset_codes[heads].tolist(),
            self.leaked[questions].tolist(),
            places,
            strict=True,
        ):
            question, target = texts["question"][at], texts["target"][at]
            if shorten:
                question, target = shorten(question, QUESTION_CHARS), shorten(target, QUESTION_CHARS)
            yield (
                f"[{encode_basestring(texts['sample_id'][at])},{index},{subset},{encode_basestring(question)},"
                f"{_options(texts['options'][at])},{encode_basestring(target)},{int(leaked)},"
                f"[{','.join([answers[each] for each in place])}]]"
            )


def _answers(
    texts: Mapping[str, Sequence[str]], correct: NDArray[np.float64], shorten: _Shorten | None
) -> Iterator[str]:
    """Yield each reply with what was made of it, as JSON."""
    import numpy as np

    grades, which = np.unique(correct, return_inverse=True)
    grade_texts = ["null" if math.isnan(grade) else json.dumps(round(grade, 3)) for grade in grades.tolist()]
    endings: dict[tuple[str, str, str, int], str] = {}
    for key, reply in zip(
        zip(texts["extracted"], texts["extracted_alt"], texts["status"], which.tolist(), strict=True),
        texts["reply"],
        strict=True,
    ):
        ending = endings.get(key)
        if ending is None:
            extracted, other, status, grade = key
            code = STATUS.index(status) if status in STATUS else 0
            second = "" if other == extracted else f",{encode_basestring(other)}"
            ending = endings[key] = f",{encode_basestring(extracted)},{code},{grade_texts[grade]}{second}]"
        yield f"[{encode_basestring(shorten(reply, REPLY_CHARS) if shorten else reply)}{ending}"


@lru_cache(maxsize=1024)
def _options(text: str) -> str:
    """Return a JSON list, which may be empty text, without blanks."""
    return json.dumps(json.loads(text) if text else [], ensure_ascii=False, separators=(",", ":"))


def _broke(subjects: Sequence[Subject], values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[question]: whether a model was right before tuning and is not after it."""
    import numpy as np

    place = {subject: number for number, subject in enumerate(subjects)}
    broke = np.zeros(len(values), dtype=bool)
    for (model, variant), base in place.items():
        tuned = place.get(Subject(model, "tuned"))
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


class Clip:
    """Shortens a text in the middle: the end of a reply is where the answer stands."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, text: str, most: int) -> str:
        """Return *text* in at most *most* characters of its own."""
        if len(text) <= most:
            return text
        self.count += 1
        head = most * 2 // 3
        return f"{text[:head]} ⟦… {len(text) - most} …⟧ {text[head - most :]}"
