"""Cards of this machine, and leases of them that a crash cannot keep."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A GPU as ``nvidia-smi`` numbers it."""

    number: int
    name: str
    total_gib: float
    free_gib: float


def cards() -> list[Card]:
    """The cards that ``CUDA_VISIBLE_DEVICES`` leaves visible; empty without a driver."""
    query = "--query-gpu=index,name,memory.total,memory.free"
    try:
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    allowed = None if visible is None else {int(v) for v in visible.split(",") if v.strip().isdigit()}
    found = []
    for line in done.stdout.splitlines():
        number, name, total, free = (part.strip() for part in line.split(","))
        if allowed is None or int(number) in allowed:
            found.append(Card(int(number), name, float(total) / 1024, float(free) / 1024))
    return found
