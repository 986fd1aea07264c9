"""What a comparison will cost, and which differences it can show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bakeoff.matrix.schema import Matrix, ModelSpec
from bakeoff.matrix.seeds import needs_no_merge
from bakeoff.statistics.power import minimum_detectable_difference
from bakeoff.tools import memory

TOKENS_PER_S = 15_000.0
"""Training of a 7B model in packs on an H100 or H200 (docs/performance.md); padded batches reach a third."""
QUESTIONS_PER_S = 20.0
"""Evaluation of a 7B model behind lmdeploy at 256 in flight, short replies (docs/performance.md)."""
SERVICE_S = 240.0
"""Merge, start, health and identity checks of a variant."""
START_S = 120.0
"""Of that, the start of its service, which a shared one has once for all its names."""
MERGE_S = 45.0
"""Of that, the merge of a tuned variant (33 to 55 s for 7B)."""
TINY_S = 50.0
"""A tiny row on two processor cores, everything included."""
BILLIONS = 7e9
PUBLISHED_QUESTIONS: Mapping[str, int] = {"ceval": 1346, "cmmlu": 11582}
"""Questions of the sets that come from a hub."""


@dataclass(frozen=True)
class Estimate:
    """Rough figures for a matrix.

    Attributes:
        download_gib: weights that come from a hub.
        disk_gib: what the run writes, downloads included.
        gpu_hours: hours of one card, all rows together.
        hours: hours until the end, with the cards there are.
    """

    download_gib: float
    disk_gib: float
    gpu_hours: float
    hours: float

    def ends(self, now: datetime) -> str:
        """When the run will end, as day and time."""
        return (now + timedelta(hours=self.hours)).strftime("%m-%d %H:%M")


def estimate(matrix: Matrix, tokens: int, counts: Mapping[str, int], cards: int) -> Estimate:
    """Return what the rows of *matrix* will take.

    Args:
        tokens: of the training data, for one epoch.
        counts: questions of each suite.
        cards: GPUs of this machine.
    """
    download = disk = card_s = cpu_s = 0.0
    for spec in matrix.models.values():
        if spec.tiny is not None or spec.on_cpu:
            cpu_s += TINY_S
            disk += 0.05
            continue
        shape = memory.shape_of(spec.model or "")
        parameters = shape.parameters if shape else BILLIONS
        base = parameters * 2 / memory.GIB
        download += 0.0 if Path(spec.model or "").expanduser().is_dir() else base
        trained = base * spec.trains
        if shape and spec.trains:
            trained += memory.disk_gib(shape, spec, "train")
        disk += base + trained
        card_s += row_seconds(spec, parameters, tokens, sum(counts.get(name, 0) for name in spec.suites))
    hours = (card_s / max(cards, 1) + cpu_s) / 3600
    return Estimate(download, disk + 8 * (card_s > 0), card_s / 3600, hours)


def row_seconds(spec: ModelSpec, parameters: float, tokens: int, questions: int) -> float:
    """Return the card seconds of *spec*: training, then every evaluation."""
    slower = parameters / BILLIONS
    rate = TOKENS_PER_S if spec.training.packing else TOKENS_PER_S / 3
    training = tokens * spec.training.epochs / rate * slower if spec.trains else 0.0
    asking = questions / QUESTIONS_PER_S * slower + SERVICE_S - START_S - MERGE_S
    starts = int("base" in spec.variants) if spec.serving.shared else len(spec.variants)
    merges = int(spec.trains and "tuned" in spec.variants and not needs_no_merge(spec))
    return training * spec.seeds + len(spec.variants) * asking + merges * MERGE_S + starts * START_S


def points_seen(questions: int, models: int) -> float:
    """The smallest difference in points that *questions* can show."""
    pairs = max(models * (models - 1) // 2, 1)
    points = minimum_detectable_difference(questions, pairs=pairs)
    return math.inf if points > 1 else 100 * points
