"""What each stage and each model took: time, memory, speed and GPU hours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bakeoff.foundation.errors import in_short
from bakeoff.foundation.sentences import Statement, joined

Record = Mapping[str, object]
"""A stage's record, as ``run.json`` holds it."""


@dataclass(frozen=True)
class Cost:
    """One line of the table of stages, in the form in which it is shown."""

    model: str
    stage: str
    variant: str
    outcome: str
    seconds: float
    card_memory: str
    memory: str
    speed: str
    gpu_hours: str
    why: str
    link: str


def gpu_hours(record: Record) -> float | None:
    """Wall hours of a stage times the cards it held; None where it held none."""
    gpus = _number(facts_of(record).get("gpus"))
    return seconds_of(record) * gpus / 3600 if gpus else None


def why_of(record: Record) -> str:
    """Return why the stage ended so: a statement whole, an error in one line."""
    why = record.get("why") or ""
    return why if isinstance(why, Statement) else in_short(str(why))


def facts_of(record: Record) -> Mapping[str, object]:
    """Return the facts of a stage; empty where it noted none."""
    facts = record.get("facts")
    return facts if isinstance(facts, Mapping) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _memory(record: Record) -> tuple[float | None, float | None]:
    """Peak memory of the card and of the machine in GiB."""
    card, machine = (
        _number(facts_of(record).get("memory_gib")) or None,
        _number(record.get("peak_memory_gib")),
    )
    return card, None if card and machine == card else machine


def _shown(number: float | None, form: str) -> str:
    return "–" if number is None else format(number, form)


def cost_of(record: Record, link: str, ahead: Mapping[str, str] = MappingProxyType({})) -> Cost:
    """Return a line of the table of stages; *link* leads to its log.

    *ahead* says of outputs that they were made ahead of the row's turn.
    """
    card, machine = _memory(record)
    return Cost(
        model=str(record.get("model", "")),
        stage=stage_of(record),
        variant=str(record.get("variant", "")),
        outcome=str(record.get("outcome", "")),
        seconds=seconds_of(record) or math.nan,
        card_memory=_shown(card, ".1f"),
        memory=_shown(machine, ".1f"),
        speed=_shown(_number(facts_of(record).get("tokens_per_s")), ",.0f"),
        gpu_hours=_shown(gpu_hours(record), ".2f"),
        why=joined((why_of(record), ahead.get(str(record.get("output")), ""))),
        link=link,
    )


@dataclass(frozen=True)
class Spent:
    """What one model took, over all its stages."""

    model: str
    seconds: dict[str, float]
    card_memory: str
    memory: str
    speed: str
    gpu_hours: str


def summary(stages: Sequence[Record]) -> list[Spent]:
    """Return what each model took, over all its stages."""
    spent = []
    for model in dict.fromkeys(str(record.get("model", "")) for record in stages):
        records = [record for record in stages if str(record.get("model", "")) == model]
        seconds: dict[str, float] = {}
        for record in records:
            seconds[kind_of(record)] = seconds.get(kind_of(record), 0.0) + seconds_of(record)
        cards, machines = zip(*map(_memory, records), strict=True)
        speeds = [_number(facts_of(record).get("tokens_per_s")) for record in records]
        hours = [h for record in records if (h := gpu_hours(record)) is not None]
        spent.append(
            Spent(
                model=model,
                seconds=seconds,
                card_memory=_shown(max(filter(None, cards), default=None), ".1f"),
                memory=_shown(max(filter(None, machines), default=None), ".1f"),
                speed=_shown(next(filter(None, reversed(speeds)), None), ",.0f"),
                gpu_hours=_shown(sum(hours) if hours else None, ".2f"),
            )
        )
    return spent


def stage_of(record: Record) -> str:
    """Return the stage's name, with its suite where it has one."""
    suite = facts_of(record).get("suite")
    return f"{record.get('stage', '')}{f':{suite}' if suite else ''}"


def kind_of(record: Record) -> str:
    """Return the stage without its suite, such as ``eval``."""
    return str(record.get("stage", "")).split(":")[0]


def seconds_of(record: Record) -> float:
    """Return how long the stage took; 0 where it did not note it."""
    return _number(record.get("seconds")) or 0.0
