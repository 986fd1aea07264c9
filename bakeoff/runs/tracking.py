"""Scores of a stored run in SwanLab, logged by a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bakeoff.foundation.secrecy import redact

KEY = "SWANLAB_API_KEY"
PATIENCE_S = 120.0


def log_scores(store: Path, run_id: str) -> str:
    """Log the scores in a separate process; return what came of it."""
    argv = [sys.executable, "-m", "bakeoff.runs.tracking", str(store), run_id]
    if not os.environ.get(KEY):
        return f"--log-scores: {KEY} is not set; put it into .env, then: {' '.join(argv)}"
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        if done.returncode == 0:
            return f"scores logged to SwanLab as {run_id}"
        lines = done.stderr.strip().splitlines()
        why = lines[-1] if lines else f"exit code {done.returncode}"
    except (OSError, subprocess.SubprocessError) as error:
        why = str(error)
    return redact(f"--log-scores: not logged: {why}; the run is kept, try again with: {' '.join(argv)}")


def main(argv: list[str]) -> int:
    """Log every trusted total, and return the exit code."""
    store, run_id = argv
    import swanlab

    from bakeoff.report import Findings

    findings = Findings.from_store(Path(store), run_id)
    table = findings.scores
    totals = table[(table["subset"] == "ALL") & table["trusted"]]
    heads = totals.drop_duplicates(
        ["suite", "model", "variant"]
    )  # the first metric of a suite is its headline
    swanlab.init(project="bakeoff", experiment_name=run_id, config=findings.provenance)
    swanlab.log({f"{row.suite}/{row.model} ({row.variant})": row.value for row in heads.itertuples()})
    swanlab.finish()
    print(f"{len(heads)} scores logged to SwanLab as {run_id}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
