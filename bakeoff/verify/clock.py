"""The times of a run's timeline: whether they can be as they stand.

What a row does follows in time what it did before, a stage begins when its beginning is told and ends after it, and
nothing is told before the run began or twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from bakeoff.foundation.files import readable_rows
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, Row

_RULE = "times"
_ROUNDING = timedelta(seconds=2)
"""Times are whole seconds, and an event is told a moment after it happened."""
_CLOCKS = timedelta(minutes=2)
"""How much the clocks of a cluster's hosts may differ."""


def check_times(audit: Audit, evidence: Evidence) -> None:
    """Hold the times of the timeline against each other."""
    path = evidence.run_folder / "events.jsonl" if evidence.run_folder else None
    if path is None or not path.is_file():
        return
    with audit.reading("events.jsonl"):
        rows = list(readable_rows(path))
        began = datetime.strptime(evidence.run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
        several = bool(evidence.run.get("legs"))
        latest: dict[tuple[str, str], datetime] = {}
        for number, row in enumerate(rows, 1):
            where = f"events.jsonl:{number} {row.get('event')} {row.get('stage', '')}".strip()
            time = _time(row["time"])
            audit.compare(
                _RULE, f"{where} before the run", time < began - _CLOCKS * several - _ROUNDING, False
            )
            who = (str(row.get("model")), str(row.get("variant")))
            before = latest.get(who, began)
            slack = _CLOCKS * several + _ROUNDING
            audit.compare(
                _RULE, f"{where} time before the row's event above it", time < before - slack, False
            )
            latest[who] = max(before, time)
        _check_beginnings(audit, rows)


def _check_beginnings(audit: Audit, rows: Sequence[Row]) -> None:
    """See that a stage that ran began when the timeline says so."""
    begun: dict[tuple[str, str, str], set[datetime]] = {}
    made: set[tuple[str, str]] = set()
    for number, row in enumerate(rows, 1):
        if row.get("event") not in ("started", "stage") or "model" not in row:
            continue
        who = (str(row["stage"]), str(row["model"]), str(row.get("variant") or ""))
        if row["event"] == "started":
            begun.setdefault(who, set()).add(_time(row["time"]))
            continue
        where = f"events.jsonl:{number} {' '.join(who).strip()}"
        started, told = _time(row["started"]), _time(row["time"])
        if row.get("outcome") in ("ran", "reused"):
            audit.compare(_RULE, f"{where} told before it started", told < started - _ROUNDING, False)
        if row.get("outcome") == "ran":
            name = (str(row.get("output")), str(row["started"]))
            audit.compare(_RULE, f"{where} twice", name in made, False)
            made.add(name)
        if row.get("outcome") == "ran" and who in begun:
            is_begun = any(abs(started - time) <= _ROUNDING for time in begun[who])
            audit.compare(_RULE, f"{where} started when it was begun", is_begun, True)


def _time(text: object) -> datetime:
    """Return a time as the timeline writes it.

    Raises:
        ValueError: it is none, or names no offset.
    """
    time = datetime.fromisoformat(str(text))
    if time.tzinfo is None:
        raise ValueError(f"{text!r} names no offset from UTC")
    return time
