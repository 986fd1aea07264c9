"""The smoke rows again and again, killed at random: ``python bench/soak.py [--rounds 10] [--kills 2] [--rows tiny]``.

Each round begins with an empty store. Its run is killed up to ``--kills`` times, at least once, each time after a
random while and one of: pytest, its whole process tree, one of its keepers, one running stage. Then it runs to the
end, and its scores, processes, open descriptors and disk are held against those of an undisturbed run. The last line
sums everything up.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
COLUMNS = ["model", "variant", "suite", "subset", "metric", "value", "n_asked", "n_answered", "fingerprint"]
VICTIMS = ("pytest", "tree", "keeper", "stage")


@dataclass
class Run:
    """pytest on the benchmarks, as a user starts it."""

    store: Path
    rows: str
    descriptors: int = 0
    """The most that pytest or one of its keepers had open at a time."""
    process: psutil.Popen = field(init=False)

    def __post_init__(self) -> None:
        argv = [sys.executable, "-m", "pytest", "benchmarks/", "-q", "-p", "no:cacheprovider"]
        argv += ["-k", self.rows, f"--store={self.store}", f"--html={self.store}/reports/"]
        null = subprocess.DEVNULL
        self.process = psutil.Popen(argv, cwd=ROOT, stdout=null, stderr=null)

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None where it still runs after *seconds*."""
        deadline = time.monotonic() + seconds
        while (code := self.process.poll()) is None and time.monotonic() < deadline:
            for process in [self.process, *self.keepers()]:
                with contextlib.suppress(psutil.Error):
                    self.descriptors = max(self.descriptors, process.num_fds())
            time.sleep(0.5)
        return code

    def tree(self) -> list[psutil.Process]:
        try:
            return list(self.process.children(recursive=True))
        except psutil.NoSuchProcess:
            return []

    def keepers(self) -> list[psutil.Process]:
        """Its keepers, without the stages that they forked: those lead sessions of their own, under a keeper."""
        found = []
        for process in self.process.children() if self.process.is_running() else []:
            with contextlib.suppress(psutil.Error):
                if "bakeoff.execution.warm" in process.cmdline():
                    found.append(process)
        return found

    def stages(self) -> list[psutil.Process]:
        found = []
        for note in (self.store / "processes").glob("*.json"):
            with contextlib.suppress(OSError, ValueError, psutil.Error):
                found.append(psutil.Process(json.loads(note.read_text(encoding="utf-8"))["pid"]))
        return found

    def kill(self, victim: str, chance: random.Random) -> None:
        """SIGKILL to *victim*; where pytest is not, it is waited for, for it tells what failed and ends by itself."""
        if victim in ("pytest", "tree"):
            _kill([*(self.tree() if victim == "tree" else ()), self.process])
        elif there := self.keepers() if victim == "keeper" else self.stages():
            _kill([chance.choice(there)])
        if self.wait(900) is None:
            raise SystemExit(f"a run did not end after its {victim} was killed")


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def scores(store: Path) -> list[tuple[object, ...]]:
    """The scores of the last run that ended, without times."""
    last = max(store.glob("runs/*/scores.json"))
    return sorted(tuple(row[c] for c in COLUMNS) for row in json.loads(last.read_text(encoding="utf-8")))


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
    """Disk that *store* takes, without its runs and their reports."""
    files = (
        p
        for p in store.rglob("*")
        if p.is_file() and p.relative_to(store).parts[0] not in ("runs", "reports")
    )
    return sum(p.stat().st_size for p in files) / 2**20


def main() -> int:
    """0 when nothing was lost and nothing leaked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=2, help="per round")
    parser.add_argument("--rows", default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    lost = behind = leaked = kills = 0
    grown = 0.0
    with tempfile.TemporaryDirectory(prefix="bakeoff-soak-") as folder:
        calm = Path(folder, "calm")
        began = time.monotonic()
        undisturbed = Run(calm, options.rows)
        if undisturbed.wait(1800) != 0:
            raise SystemExit("the undisturbed run failed")
        whole_s = time.monotonic() - began
        for number in range(1, options.rounds + 1):
            store = Path(folder, f"round-{number}")
            told: list[str] = []
            while not told:
                shutil.rmtree(store, ignore_errors=True)
                passed_s = 0.0
                for moment_s in sorted(chance.uniform(1, whole_s) for _ in range(options.kills)):
                    began = time.monotonic()
                    run, victim = Run(store, options.rows), chance.choice(VICTIMS)
                    if run.wait(moment_s - passed_s) is None:
                        run.kill(victim, chance)
                        told.append(f"{victim} after {moment_s - passed_s:.0f} s")
                        passed_s = moment_s
                    elif not told:  # the machine is quicker than it was: a round without a kill shows nothing
                        whole_s = min(whole_s, time.monotonic() - began)
                        break
            last = Run(store, options.rows)
            code = last.wait(1800)
            time.sleep(1)
            same = code == 0 and scores(store) == scores(calm)
            remains, more = left(store), size_mib(store) - size_mib(calm)
            lost, behind, kills = lost + (not same), behind + len(remains), kills + len(told)
            # a run that has less to do may have fewer open, never many more
            leaked, grown = leaked + (last.descriptors > undisturbed.descriptors + 8), max(grown, more)
            print(
                f"round {number}: killed {', '.join(told)}; exit code {code}, scores equal: {same}, "
                f"left behind: {remains or 'nothing'}, descriptors {last.descriptors}, disk {more:+.2f} MiB",
                flush=True,
            )
            shutil.rmtree(store)
        print(
            f"soak: {options.rounds} rounds of a run of {whole_s:.0f} s, {kills} kills: {lost} with other "
            f"scores, {behind} processes left behind, {leaked} with more descriptors than the undisturbed "
            f"{undisturbed.descriptors}, disk at most {grown:+.2f} MiB"
        )
    return int(bool(lost or behind or leaked))


if __name__ == "__main__":
    sys.exit(main())
