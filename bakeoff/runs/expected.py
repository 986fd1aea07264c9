"""How long the stages of a row may take: as before, else by their work.

The work is what the training data, the suites and the settings of the row make it. `bakeoff new`, the doctor, the
first lines of a run, ``--dry-run`` and the order of rows on several cards all ask this module.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from bakeoff.chain.chain import Chain
from bakeoff.doctor.work import Work, work_of
from bakeoff.matrix.schema import ModelSpec, Suite
from bakeoff.matrix.seeds import is_further_seed, needs_no_merge
from bakeoff.matrix.sharing import host_of
from bakeoff.store.facts import Facts
from bakeoff.store.stage import Stage
from bakeoff.store.stages import Record
from bakeoff.tools import memory

Basis = Literal["measured", "partly", "work", "size"]
"""Where the seconds of a row come from: earlier runs of all or some of its stages, or a guess.

A guess goes by the work of the row, or by the size of the model alone where its training data are at a hub.
"""

BILLIONS = 7e9
TRAIN_TOKENS_PER_S = 15_000.0
"""Training of a 7B model in packs on an H100 or H200 (docs/performance.md); padded batches reach a third."""
QUESTIONS_PER_S = 20.0
"""Evaluation of a 7B model behind lmdeploy at 256 in flight, short replies (docs/performance.md)."""
PROCESSOR_IS_SLOWER = 500.0
"""How much longer a processor takes for the same tokens."""
SECONDS_PER_BILLION = 600.0
"""A row whose data are not here, per 1e9 parameters: about 75 minutes for 7B, as docs/performance.md measured."""
STAGE_S: Mapping[str, float] = {
    "convert": 105.0,
    "train": 30.0,
    "export": 45.0,
    "parity": 30.0,
    "deploy": 130.0,
    "evaluate": 5.0,
    "replies": 10.0,
}
"""What a stage of a 7B row takes whatever its data: loading, starting, writing weights (docs/performance.md)."""
TINY_S: Mapping[str, float] = {
    "build": 4.0,
    "convert": 4.0,
    "train": 5.0,
    "export": 3.0,
    "parity": 3.0,
    "deploy": 4.0,
    "evaluate": 2.0,
    "replies": 4.0,
}
"""The same of a tiny row on two processor cores."""
TINY = 1e8
"""Parameters below which a model counts as tiny."""
TINY_TOKENS_PER_S = 8_000.0
TINY_QUESTIONS_PER_S = 20.0


@dataclass(frozen=True)
class Expected:
    """What the stages of a row may take.

    Attributes:
        measured: seconds by "stage variant suite", of the stages that ran before on this store.
        guessed: the same of the others.
        basis: where the sum comes from.
    """

    measured: Mapping[str, float]
    guessed: Mapping[str, float]
    basis: Basis

    @property
    def seconds(self) -> float:
        """The whole row, if nothing of it is reused."""
        return math.fsum((*self.measured.values(), *self.guessed.values()))


def expected(chain: Chain, rows: Collection[str]) -> Expected:
    """Return what the stages of *chain*'s row may take, beside *rows*."""
    spec, bench = chain.spec, chain.bench
    work = work_of(spec, bench.matrix, bench.data_dir)
    measured: dict[str, float] = {}
    guessed: dict[str, float] = {}
    for stage, suite in _with_suites(chain):
        if record := bench.stages.newest(stage):
            measured[key_of(record)] = record.seconds
        elif not (stage.row != spec.name and stage.row in rows) and stage.name != "speed":
            key = " ".join(filter(None, (stage.name, stage.variant, suite.name if suite else "")))
            guessed[key] = _guess(chain, stage, suite, work)
    if work.tokens is None and "train" in guessed and not measured:
        return Expected({}, {"": SECONDS_PER_BILLION * _parameters(spec) / 1e9}, "size")
    basis: Basis = "work" if not measured else "partly" if any(guessed.values()) else "measured"
    return Expected(measured, guessed, basis)


def row_seconds(spec: ModelSpec, parameters: float, tokens: int, questions: int) -> float:
    """Return a guess at the seconds of a row with this much work on a card.

    Training, then every evaluation; nothing of it is measured.
    """
    work, pace = Work(tokens, {"": questions}), Pace.of(spec, parameters, on_cpu=False)
    total = pace.of_stage(spec, "train", work) if spec.trains else 0.0
    if spec.trains and "tuned" in spec.variants and not needs_no_merge(spec):
        total += pace.of_stage(spec, "export", work)
    starts = int("base" in spec.variants) if spec.serving.shared else len(spec.variants)
    names = ["parity", "evaluate", *([] if is_further_seed(spec) else ["replies"])]
    each = [pace.of_stage(spec, name, work) for name in names]
    return total + starts * pace.of_stage(spec, "deploy", work) + len(spec.variants) * math.fsum(each)


@dataclass(frozen=True)
class Pace:
    """How fast a model of some size is trained and asked.

    Attributes:
        fixed: seconds of a stage whatever its data.
        tokens_per_s: in training.
        questions_per_s: in an evaluation.
    """

    fixed: Mapping[str, float]
    tokens_per_s: float
    questions_per_s: float

    @classmethod
    def of(cls, spec: ModelSpec, parameters: float, *, on_cpu: bool) -> Pace:
        """Return the pace of *spec*, whose model has so many *parameters*."""
        if parameters < TINY:
            return cls(TINY_S, TINY_TOKENS_PER_S, TINY_QUESTIONS_PER_S)
        slower = parameters / BILLIONS
        speed = 1 / PROCESSOR_IS_SLOWER if on_cpu else 1.0
        packed = 1.0 if spec.training.packing else 1 / 3
        fixed = {stage: seconds * max(slower, 0.2) for stage, seconds in STAGE_S.items()}
        tokens_per_s = TRAIN_TOKENS_PER_S * packed * spec.cards * speed / slower
        return cls(fixed, tokens_per_s, QUESTIONS_PER_S * speed / slower)

    def of_stage(self, spec: ModelSpec, stage: str, work: Work, suite: str = "") -> float:
        """Return the seconds of a *stage* of *spec*."""
        seconds = self.fixed.get(stage, 0.0)
        if stage == "train":
            return seconds + _trained_tokens(spec, work) / self.tokens_per_s
        return seconds + (work.questions.get(suite, 0) / self.questions_per_s if stage == "evaluate" else 0.0)


def key_of(record: Record) -> str:
    """Return what a stage is called among those of its row."""
    return " ".join(filter(None, (record.stage, record.variant, str(record.facts.get("suite") or ""))))


def _with_suites(chain: Chain) -> Iterator[tuple[Stage[Facts], Suite | None]]:
    """Yield the stages of a row, those that evaluate with their suite."""
    suites = {
        variant: iter(chain.bench.matrix.suites_of(chain.spec)) for variant in ("", *chain.spec.variants)
    }
    for stage in chain.stages():
        yield stage, next(suites[stage.variant], None) if stage.name == "evaluate" else None


def _guess(chain: Chain, stage: Stage[Facts], suite: Suite | None, work: Work) -> float:
    """Return the seconds of a stage that never ran here."""
    spec = chain.spec
    if (stage.name == "export" and needs_no_merge(spec)) or (
        stage.name == "replies" and is_further_seed(spec)
    ):
        return 0.0
    if stage.name == "deploy" and spec.serving.shared:
        is_guest = host_of(spec, chain.bench.matrix.models) != spec.name
        if is_guest or (stage.variant == "tuned" and "base" in spec.variants):
            return 0.0
    if stage.name == "deploy" and spec.url:
        return 0.0
    pace = Pace.of(spec, _parameters(spec), on_cpu=spec.on_cpu and not spec.url)
    return pace.of_stage(spec, stage.name, work, suite.name if suite else "")


def _trained_tokens(spec: ModelSpec, work: Work) -> float:
    training, tokens = spec.training, work.tokens or 0
    if training.max_steps is None or not (training.packing or work.rows):
        return tokens * training.epochs
    each = training.row_tokens if training.packing else tokens / work.rows
    return training.max_steps * training.effective_batch * each


def _parameters(spec: ModelSpec) -> float:
    return TINY / 100 if spec.tiny else memory.parameters_of(spec.model or spec.weights or "") or BILLIONS
