"""Where the legs of a run ran, from its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NotRequired, TypedDict

from bakeoff.foundation.sentences import statement_of


class Placement(TypedDict):
    """Where a leg of a run ran, as ``run.json`` has it."""

    leg: str
    hosts: list[str]
    stages: list[list[str]]
    queued_s: float
    seconds: float | None
    lost: list[str]
    expected_s: NotRequired[float]


def placements(events: Iterable[Mapping[str, object]]) -> list[Placement]:
    """Return where each leg of a run ran, from its *events*.

    Each has ``leg``, ``hosts`` in their order, ``stages`` with the host that did each, ``queued_s`` of all its starts,
    ``seconds`` of the last one, ``lost``: why it had to begin again, each time, and ``expected_s`` where that was told.
    """
    places: dict[str, Placement] = {}
    expected: Mapping[object, object] = {}
    for event in events:
        if event.get("event") == "legs" and isinstance(seconds_of := event.get("expected_s"), dict):
            expected = seconds_of
        if not (name := event.get("leg")):
            continue
        leg = places.setdefault(
            str(name),
            {"leg": str(name), "hosts": [], "stages": [], "queued_s": 0, "seconds": None, "lost": []},
        )
        if isinstance(seconds := expected.get(name), int | float):
            leg["expected_s"] = seconds
        phase, host = event.get("phase"), str(event.get("host") or "")
        if event.get("event") == "leg" and phase == "running":
            leg["hosts"].append(host)
            leg["queued_s"] += _number(event.get("queued_s")) or 0
        elif event.get("event") == "leg" and phase == "lost":
            leg["lost"].append(statement_of(event, "why") if event.get("why") else "")
        elif event.get("event") == "leg" and phase == "ended":
            leg["seconds"] = _number(event.get("seconds"))
        elif event.get("event") == "stage" and event.get("outcome") == "ran":
            leg["stages"].append([str(event.get("stage")), host])
    return [leg for leg in places.values() if leg["hosts"]]


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) else None
