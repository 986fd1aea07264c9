"""The commands of each row, to be run by hand, and where their logs are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from bakeoff.report.costs import Record, facts_of, kind_of, stage_of


def commands(stages: Sequence[Record]) -> list[tuple[str, Sequence[Record], str]]:
    """Return (model, its records with a command, all of them as one script)."""
    grouped: dict[str, list[Record]] = {}
    for record in stages:
        if record.get("command"):
            grouped.setdefault(str(record.get("model", "")), []).append(record)
    return [
        (model, [{"outcome": "", **each, "stage": stage_of(each)} for each in records], script(records))
        for model, records in grouped.items()
    ]


def script(records: Sequence[Record]) -> str:
    """Return the commands of one row as a script to run in one go.

    A service runs in the background while it is asked, and no longer.
    """
    lines: list[str] = []
    serving = False
    for record in records:
        kind, command = kind_of(record), str(record["command"])
        if serving and kind in ("train", "export", "deploy", "build", "convert"):
            lines.append("kill $service; wait $service")
            serving = False
        url = facts_of(record).get("by_hand_url", "http://127.0.0.1:8000/v1")
        if kind == "deploy" and not command.startswith("curl "):  # somebody else's service is only asked
            lines.append(f"{command} &\nservice=$!")
            asks = f"curl --noproxy '*' --silent --fail --output /dev/null {url}/models"
            lines.append(f"until {asks}; do kill -0 $service || break; sleep 2; done")
            serving = True
        else:
            lines.append(command)
    return "\n".join([*lines, *(["kill $service; wait $service"] if serving else [])]) + "\n"


def log_link(record: Record, reports_dir: Path) -> str:
    """Return the relative address of a stage's log; empty without one."""
    log = Path(str(record.get("log") or ""))
    if not record.get("log") or not log.is_file():
        return ""
    return quote(Path(os.path.relpath(log.resolve(), reports_dir.resolve())).as_posix())
