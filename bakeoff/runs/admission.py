"""Which rows of a run may begin: what the doctor finds stops a row."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from bakeoff.chain.chain import Bench
from bakeoff.doctor.doctor import findings
from bakeoff.doctor.finding import Finding, Visit
from bakeoff.environments.building import PythonEnvironment, ask
from bakeoff.execution.runner import Runner
from bakeoff.foundation.command import Command
from bakeoff.foundation.files import write_json


def before_run(rows: Sequence[str], bench: Bench, run: Path) -> dict[str, str]:
    """Why rows must not begin, by row; every finding is told to the timeline.

    Args:
        rows: names of the rows that are going to run.
        run: folder of the run; the processes that share it look once.
    """
    stored = run / "doctor.json"
    with bench.stages.lock(run):
        if not stored.exists():
            specs = [bench.matrix.models[name] for name in rows]
            asking = partial(_asking, bench.runner, run / "doctor.log")
            visit = Visit(specs, bench.matrix, bench.workspace, bench.lines_of, bench.data_dir, asking=asking)
            current = findings(visit)
            for finding in current:
                bench.stages.timeline.tell("finding", **asdict(finding))
            write_json(stored, [asdict(finding) for finding in current if finding.level == "error"])
        errors = [Finding(**finding) for finding in json.loads(stored.read_text(encoding="utf-8"))]
    words = {name: [str(finding) for finding in errors if name in finding.rows] for name in rows}
    return {
        name: f"{name} does not begin: the doctor found (pytest --doctor)\n" + "\n".join(lines)
        for name, lines in words.items()
        if lines
    }


def _asking(runner: Runner, log: Path, environment: PythonEnvironment, out: Path) -> None:
    """A query by the runner, whose keeper has imported ms-swift."""
    if environment.python == Path(sys.executable):
        argv = (sys.executable, "-m", "bakeoff.environments.probe", "installed", str(out))
        runner.run(Command(argv, {"CUDA_VISIBLE_DEVICES": ""}), log, timeout_s=300, stall_s=300)
    else:
        ask(environment.python, "installed", out=out)
