"""The smoke run against its own ``--dry-run`` lines, pasted one after another: ``python bench/smoke.py``.

One run measures, in stores of its own: the pasted lines (each in a new process, the services started and ended as a
person would), the smoke run, a second run, and collection. It prints a table for docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import requests

from bakeoff.chain.ports import bindable
from bakeoff.chain.stages import BY_HAND_PORT as PORT

ROOT = Path(__file__).parents[1]


def pasted(store: Path) -> dict[str, float]:
    """Seconds of the dry run's lines, by stage."""
    lines = pytest(store, "--dry-run", "-k", "tiny").stdout.splitlines()
    took: dict[str, float] = {}
    service: subprocess.Popen[bytes] | None = None
    stage = ""
    for line in lines:
        if line.startswith("#"):
            stage = line.lstrip("# ").split(":")[0].split(" (")[0].split(",")[0]
        elif re.match(r"([A-Z_a-z]+=\S* )*\S*python", line):
            serves = stage.startswith("serve") and "swift.cli.deploy" in line
            if serves:
                end(service)
            began = time.monotonic()
            if serves:
                service = subprocess.Popen(
                    line,
                    shell=True,
                    start_new_session=True,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                wait_for(f"http://127.0.0.1:{PORT}/v1/models")
            else:
                subprocess.run(
                    line, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            name = stage.split()[0]
            took[name] = took.get(name, 0.0) + time.monotonic() - began
    end(service)
    return took


def end(service: subprocess.Popen[bytes] | None) -> None:
    """End a service and wait until its port may be used again: ms-swift would silently take the next one."""
    if service:
        os.killpg(service.pid, signal.SIGTERM)
        service.wait()
        deadline = time.monotonic() + 75
        while not bindable(PORT, lingering_counts=True) and time.monotonic() < deadline:
            time.sleep(0.5)


def wait_for(url: str, timeout_s: float = 120) -> None:
    """Wait until *url* answers."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if requests.get(url, timeout=1).ok:
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise TimeoutError(url)


def pytest(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest on the benchmarks, from the project's root."""
    line = [
        sys.executable,
        "-m",
        "pytest",
        "benchmarks/",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--store={store}",
        *arguments,
    ]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def timed(store: Path, *arguments: str) -> tuple[float, float]:
    """Wall seconds and peak memory in GiB (resident, shared pages counted once per process group) of a run."""
    peak = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.5):
            total = 0
            for process in psutil.Process().children(recursive=True):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            peak = max(peak, total / 1024**3)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    code = pytest(store, *arguments).returncode
    took = time.monotonic() - began
    done.set()
    watcher.join()
    if code:
        raise SystemExit(f"pytest {' '.join(arguments)} ended with {code}")
    return took, peak


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--without-lines", action="store_true", help="leave the pasted lines out")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, by_hand = Path(folder, "store"), Path(folder, "by-hand")
        report = f"--html={folder}/reports/"
        first, peak = timed(store, report)
        second, _ = timed(store, report)
        began = time.monotonic()
        pytest(store, "--collect-only")
        collecting = time.monotonic() - began
        print(
            f"smoke run {first:.1f} s, peak {peak:.2f} GiB; second run {second:.1f} s; collecting {collecting:.1f} s"
        )
        if not chosen.without_lines:
            took = pasted(by_hand)
            print("pasted lines: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items()))
            total = sum(took.values())
            print(f"pasted lines {total:.1f} s; the smoke run takes {first / total:.2f} of that")


if __name__ == "__main__":
    main()
