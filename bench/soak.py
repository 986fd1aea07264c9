"""The smoke rows again and again, killed at random: ``python bench/soak.py [--kills 10] [--rows tiny-qwen2]``.

Each round starts the run and sends SIGKILL, after a random while, to pytest, to its whole process tree, or to one
of its children. After the last round it runs to the end and once more, and holds scores, processes and disk against
an undisturbed run in a store of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


def start(store: Path, rows: str) -> subprocess.Popen[bytes]:
    """pytest on the benchmarks."""
    line = [
        sys.executable,
        "-m",
        "pytest",
        "benchmarks/",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        rows,
        f"--store={store}",
    ]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def scores(store: Path) -> list[tuple[object, ...]]:
    """The scores of the last run that ended, without times."""
    last = max(store.glob("runs/*/scores.json"))
    columns = (
        "model",
        "variant",
        "suite",
        "subset",
        "metric",
        "value",
        "n_asked",
        "n_answered",
        "fingerprint",
    )
    return sorted(tuple(row[c] for c in columns) for row in json.loads(last.read_text(encoding="utf-8")))


def left(store: Path) -> list[str]:
    """Command lines of processes that still speak of *store*."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if str(store) in line and process.pid != os.getpid():
                found.append(line[:120])
    return found


def size_mib(store: Path) -> float:
    """Disk that *store* takes, without its runs."""
    files = (p for p in store.rglob("*") if p.is_file() and "runs" not in p.relative_to(store).parts)
    return sum(p.stat().st_size for p in files) / 2**20


def main() -> int:
    """0 when nothing was lost and nothing leaked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rows", default="tiny-qwen2")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="bakeoff-soak-") as folder:
        calm, killed = Path(folder, "calm"), Path(folder, "killed")
        began = time.monotonic()
        if start(calm, options.rows).wait(600):
            raise SystemExit("the undisturbed run failed")
        whole_s = time.monotonic() - began
        for number in range(options.kills):
            run = start(killed, options.rows)
            after_s = chance.uniform(1, whole_s)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(after_s)
            tree = psutil.Process(run.pid).children(recursive=True) if run.poll() is None else []
            victim = chance.choice(["pytest", "tree", "child"])
            if victim == "child" and tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    chance.choice(tree).kill()
                run.wait(600)  # told, and the run ends by itself
            elif run.poll() is None:
                for process in tree if victim == "tree" else []:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                run.send_signal(signal.SIGKILL)
                run.wait()
            time.sleep(1)
            behind = left(killed) or "nothing"
            print(
                f"round {number + 1}: {victim} killed after {after_s:.1f} s; left behind: {behind}",
                flush=True,
            )
        ended = [start(killed, options.rows).wait(600) for _ in range(2)]
        same = scores(calm) == scores(killed)
        grown = size_mib(killed) - size_mib(calm)
        behind = left(killed) or "nothing"
        print(f"exit codes {ended}; scores equal: {same}; left behind: {behind}; disk {grown:+.2f} MiB")
        return 0 if ended == [0, 0] and same and not left(killed) else 1


if __name__ == "__main__":
    sys.exit(main())
