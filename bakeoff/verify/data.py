"""Questions and training data that the program ships, and the run's.

Whoever rewrites a question, drops one from every record or trains on other data has to change what this installation
holds, too.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from bakeoff.foundation.provenance import ContentHashes
from bakeoff.matrix.datasets import SHIPPED
from bakeoff.matrix.loading import read_matrix
from bakeoff.matrix.schema import Matrix, Suite
from bakeoff.suites import OURS
from bakeoff.suites.rows import Question, questions
from bakeoff.verify import words
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, Row
from bakeoff.verify.ledgers import options_of
from bakeoff.verify.manifest import MATRIX

_RULE = "shipped data"
_OURS = "shipped:"


def check_data(audit: Audit, evidence: Evidence) -> None:
    """Hold digests and questions of a run against the data of this program."""
    path = evidence.tables / MATRIX
    if not path.is_file():
        return
    matrix, _ = read_matrix(path)
    _check_alike(audit, evidence)
    for stage in evidence.stages:
        place = f"{stage['stage']} {stage['model']} {stage['variant']}".strip()
        if stage["stage"] == "evaluate":
            _check_suite(audit, evidence, matrix, stage)
        for text, digest in _trained_on(matrix, stage):
            expected = _digest(SHIPPED / text.removeprefix(_OURS))
            if expected and digest != expected:
                audit.note(words.OTHER_DATA(place=place, data=text))
            elif expected:
                audit.compare(_RULE, f"{place} {text}", digest, expected)


def _check_alike(audit: Audit, evidence: Evidence) -> None:
    """See that all models were asked the same questions of the same data."""
    first: dict[tuple[str, str], tuple[str, list[list[str]]]] = {}
    for stage in evidence.stages:
        who = (str(stage["model"]), str(stage["variant"]), str(stage["facts"].get("suite")))
        samples, data = evidence.samples_of.get(who), str(stage["identity"].get("data"))
        if stage["stage"] != "evaluate" or not samples or str(stage["output"]) in evidence.superseded:
            continue
        if stage["outcome"] != "ran" and data.startswith("hub:"):
            continue  # of another day, when the hub may have held other questions
        asked = [[str(row[name]) for name in ("subset", "sample_id", "target")] for row in samples]
        other, expected = first.setdefault((who[2], data), (" ".join(who), asked))
        audit.compare_raw(_RULE, " ".join(who), f"questions against {other}", asked, expected)


def _check_suite(audit: Audit, evidence: Evidence, matrix: Matrix, stage: Row) -> None:
    """Hold the questions of an evaluation against those of its suite."""
    suite, stated = stage["identity"].get("suite"), stage["identity"].get("data")
    spec = matrix.suites.get(str(suite.get("name"))) if isinstance(suite, dict) else None
    if spec is None or stated is None or not (spec.data or "").startswith(_OURS):
        return
    who = (str(stage["model"]), str(stage["variant"]), spec.name)
    folder = SHIPPED / (spec.data or "").removeprefix(_OURS)
    if _digest(folder) != stated:
        audit.note(words.OTHER_DATA(place=" ".join(who), data=spec.data))
        return
    audit.compare(_RULE, f"{' '.join(who)} data", stated, _digest(folder))
    samples = evidence.samples_of.get(who)
    if spec.benchmark in OURS and samples:
        with audit.reading(" ".join(who)):
            _check_questions(audit, " ".join(who), spec, folder, samples)


def _check_questions(audit: Audit, place: str, suite: Suite, folder: Path, samples: Sequence[Row]) -> None:
    """See that samples are the questions of *folder*, all where no limit is."""
    shipped = _shipped(suite.benchmark, folder)
    parts = {name: part for name, part in shipped.items() if not suite.subsets or name in suite.subsets}
    known = Counter(
        (name, question.text, question.options, question.target)
        for name, part in parts.items()
        for question in part
    )
    asked = Counter(
        (str(row["subset"]), str(row["question"]), tuple(options_of(row)), str(row["target"]))
        for row in samples
    )
    for name, text, *_ in asked - known:
        audit.fail(_RULE, f"{place} {name}", text, words.A_QUESTION())
    total, limit = known.total(), suite.limit
    if limit is not None:
        sizes = [len(part) for part in parts.values()] if suite.limit_per == "subset" else [total]
        total = sum(min(size, limit) for size in sizes)
    if not suite.few_shot:  # what is shown as an example is not asked
        audit.compare(_RULE, f"{place} questions", asked.total(), total)


def _trained_on(matrix: Matrix, stage: Row) -> Iterator[tuple[str, str]]:
    """Yield the shipped data that a stage was trained on, with its digest."""
    spec = matrix.models.get(str(stage["model"]))
    inputs = stage["identity"].get("inputs")
    stated = inputs.get("dataset") if isinstance(inputs, dict) and stage["stage"] == "train" else None
    if stage["stage"] == "evaluate":
        stated = stage["identity"].get("training")
    if spec is None or not isinstance(stated, list) or len(stated) != len(spec.dataset):
        return
    for text, digest in zip(map(str, spec.dataset), stated, strict=True):
        if text.startswith(_OURS):
            yield text, str(digest)


@lru_cache(maxsize=16)
def _shipped(benchmark: str, folder: Path) -> dict[str, list[Question]]:
    return questions(benchmark, folder)


@lru_cache(maxsize=64)
def _digest(path: Path) -> str:
    """Return the digest of shipped data; "" where this version lacks it."""
    if not path.exists():
        return ""
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        return ContentHashes(Path(scratch) / "hashes.json").of(path)
