"""The events of a run's timeline, as types.

Every line of ``events.jsonl`` is a JSON object with ``time`` and ``event``; the other keys depend on the kind of event.
A line that was cut short, or is no object, is no event.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TypedDict, cast

MADE_AHEAD = "made ahead"
"""Event of the timeline: a stage was made while another row was on the card."""
NOT_AHEAD = "not made ahead"
"""Event of the timeline: why not; without words where it failed, which the row tells at its turn."""


class Event(TypedDict, total=False):
    """What a line of the timeline may hold; times are seconds."""

    time: str
    event: str
    model: str
    variant: str
    stage: str
    suite: str
    outcome: str
    seconds: float
    why: str
    facts: Mapping[str, object]
    output: str
    how_far: str
    holder: str
    held: list[str]
    level: str
    place: str
    what: str
    remedy: str
    executor: str
    legs: list[str]
    at_least_s: float
    about_s: float
    cards: int
    leg: str
    phase: str
    host: str
    queued_s: float
    then: str
    gib: float
    command: str


def event_of(line: str | bytes) -> Event | None:
    """Return the event of a *line*; None for one that holds none."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return cast(Event, row) if isinstance(row, dict) else None


def events_of(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of *lines*."""
    for line in lines:
        if event := event_of(line):
            yield event


def suite_of(event: Event) -> str:
    """Return the suite that *event* is about; empty for none."""
    return str((event.get("facts") or {}).get("suite") or event.get("suite") or "")
