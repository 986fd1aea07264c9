"""Dispatches pretended legs on a cluster: ``dispatching.py FOLDER SPEC LEGS`` prints events and outcomes as JSON lines.

SPEC is an executor of a matrix, LEGS a list of ``[row, kind, seconds, gpus]``. Ctrl-C ends the legs in order.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from bakeoff.execution.dispatch import Bounds, Dispatch
from bakeoff.execution.executor import Job, open_executor, time_limit_s
from bakeoff.execution.legs import Leg
from bakeoff.foundation.command import Command
from bakeoff.matrix.schema import ExecutorSpec

FAKE = Path(__file__).parent / "fakes" / "leg.py"


def say(event: str, **facts: object) -> None:
    print(json.dumps({"event": event, **facts}, default=str), flush=True)


def main() -> int:
    root, spec = Path(sys.argv[1]), ExecutorSpec.model_validate(json.loads(sys.argv[2]))
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell has those of its background ignore Ctrl-C
        signal.signal(number, signal.default_int_handler)
    legs, jobs = [], {}
    for rank, (row, kind, seconds, gpus) in enumerate(json.loads(sys.argv[3])):
        after = (f"{row}-train",) if kind == "tuned" else ()
        leg = Leg(row, kind, ("test",), after, gpus, seconds)
        folder = root / leg.name
        folder.mkdir(parents=True)
        command = Command((sys.executable, str(FAKE), str(folder), str(seconds)))
        name = f"{root.name}-{leg.name}"
        jobs[leg.name] = Job(
            name=name,
            command=command,
            env=dict(os.environ),
            folder=folder,
            log=folder / "leg.log",
            gpus=gpus,
            rank=rank,
        )
        legs.append(leg)
    executor = open_executor(spec)
    if why := executor.why_unusable(list(jobs.values())):
        say("unusable", why=why)
        executor.close()
        return 4
    limit_s = time_limit_s(spec.time)
    dispatch = Dispatch(
        executor, legs, jobs, tell=say, copy=lambda event: None, bounds=Bounds(spec.restarts, limit_s=limit_s)
    )
    try:
        for leg in legs:
            outcome = dispatch.wait(leg.name)
            say("outcome", leg=leg.name, why=outcome.why, reports=len(outcome.reports))
    except KeyboardInterrupt:
        say("interrupted")
        return 2
    finally:
        dispatch.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
