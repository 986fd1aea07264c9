"""A leg as far as a dispatcher sees one: ``leg.py FOLDER SECONDS [EXIT]`` begins, works, reports and ends.

It starts a child that outlives a careless end; SIGTERM ends it in order, with the exit code of an interrupted harness.
On the cards that its job has, it holds the leases that a stage holds, and its child computes there. A file ``enough``
in its folder ends it early.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

folder, seconds, code = Path(sys.argv[1]), float(sys.argv[2]), int((sys.argv[3:] or ["0"])[0])
token = uuid.uuid4().hex


def on_cards() -> dict[str, str]:
    """The environment of the child, once the cards are leased."""
    from bakeoff.execution.gpus import Card, Leases, common_folder

    numbers = [int(number) for number in filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","))]
    cards = [Card(number, "Pretended", 80.0, 80.0) for number in numbers]
    leases = Leases(common_folder()).lease(cards, lambda card: card.total_gib, who=token, count=len(cards))
    held = stack.enter_context(leases)
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, held)), "BAKEOFF_RUNNER": token}


stack = contextlib.ExitStack()


def append(name: str, row: object) -> None:
    with (folder / name).open("a") as file:
        file.write(json.dumps(row) + "\n")


def end(*_: object) -> None:
    if child:
        child.kill()
    append(f"reports-{token}.jsonl", {"exit": 2})
    sys.exit(2)


child = None
signal.signal(signal.SIGTERM, end)
append("begun.jsonl", {"token": token, "host": socket.gethostname(), "pid": os.getpid()})
env = on_cards() if os.environ.get("CUDA_VISIBLE_DEVICES") else {}
child = subprocess.Popen(["sleep", "3601"], env={**os.environ, **env, "FOLDER": str(folder)})
secret = "secret" if os.environ.get("MY_API_KEY") else "nothing"
print("cards", os.environ.get("CUDA_VISIBLE_DEVICES"), secret, flush=True)
append(
    "events.jsonl", {"event": "stage", "stage": "train", "outcome": "ran", "why": "ran: for the first time"}
)
deadline = time.monotonic() + seconds
while time.monotonic() < deadline and not (folder / "enough").exists():
    time.sleep(0.1)
child.kill()
append(f"reports-{token}.jsonl", {"report": {"nodeid": "test", "when": "teardown"}})
append(f"reports-{token}.jsonl", {"exit": code})
sys.exit(code)
