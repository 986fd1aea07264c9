"""What a comparison will cost, and which differences it can show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bakeoff.foundation.sentences import Statement, Template
from bakeoff.matrix.schema import Matrix
from bakeoff.runs.forecast import Forecast
from bakeoff.statistics.power import minimum_detectable_difference

ENDS = Template(
    "start.estimate.ends",
    "started now, it ends about {when}",
    zh="现在开始，约 {when} 结束",
)
ENDS_ON_CARDS = Template(
    "start.estimate.ends_on_cards",
    "started now, it ends about {when}; `-n {cards}` uses {cards} cards at once and ends about {sooner}",
    zh="现在开始，约 {when} 结束；`-n {cards}` 同时使用 {cards} 块 GPU，约 {sooner} 结束",
)
GPU_HOURS = Template(
    "start.estimate.gpu_hours",
    "{hours:.1f} GPU hours",
    zh="GPU {hours:.1f} 小时",
)


@dataclass(frozen=True)
class Estimate:
    """The hours of a forecast.

    Attributes:
        gpu_hours: hours of one card, all rows together.
        hours: hours until the end, one row after another.
        hours_on_cards: the same, with a row on each card there is.
        cards: how many rows can run at once.
    """

    gpu_hours: float
    hours: float
    hours_on_cards: float
    cards: int

    def in_words(self, now: datetime) -> Iterator[Statement]:
        """Yield hours of the cards and the end of a run that starts *now*."""
        if self.gpu_hours:
            yield GPU_HOURS(hours=self.gpu_hours)
        if self.cards > 1:
            sooner = _clock(now, self.hours_on_cards)
            yield ENDS_ON_CARDS(when=_clock(now, self.hours), cards=self.cards, sooner=sooner)
        else:
            yield ENDS(when=_clock(now, self.hours))


def _clock(now: datetime, hours: float) -> str:
    return (now + timedelta(hours=hours)).strftime("%m-%d %H:%M")


def estimate(matrix: Matrix, forecasts: Sequence[Forecast], cards: int) -> Estimate:
    """Return the hours of *forecasts* on a machine with so many *cards*."""
    gpu = cpu = 0.0
    busy = [0.0] * max(cards, 1)
    for row in sorted(forecasts, key=lambda row: -row.seconds):  # as the scheduler begins, the longest first
        spec = matrix.models[row.row]
        if spec.on_cpu:
            cpu += row.seconds
            continue
        gpu += row.seconds * spec.cards
        busy.sort()
        for number in range(min(spec.cards, len(busy))):
            busy[number] += row.seconds
    longest, rows = max(busy), sum(not spec.on_cpu for spec in matrix.models.values())
    total = sum(row.seconds for row in forecasts)
    return Estimate(gpu / 3600, total / 3600, (longest + cpu) / 3600, min(cards, rows))


def points_seen(questions: int, models: int) -> float:
    """The smallest difference in points that *questions* can show."""
    pairs = max(models * (models - 1) // 2, 1)
    points = minimum_detectable_difference(questions, pairs=pairs)
    return math.inf if points > 1 else 100 * points
