"""How long the report takes to build and to open, and how much it weighs: ``python bench/report.py``.

The findings are synthetic: 6 models, base and tuned, on 5 suites. 2,400 questions per suite are 12,000 questions in
all (144,000 replies), 6,000 are 360,000 replies (6 x 5 x 12,000), and ``--samples 12000`` gives 720,000. They are
written to a store first, so that reading it is measured too; built are the page and the tables. Opening is measured
in headless Chromium from the start of the navigation to the end of the load event, then to the first page of the
sample browser.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
LIMITS = {"build_s": 10.0, "size_mb": 5.0, "open_s": 2.0}
"""What the project promises for its report."""

_BUILD = """
import sys, time, resource
from pathlib import Path
start = time.perf_counter()
from bakeoff.report import Findings, write_page, write_tables
findings = Findings.from_store(Path(sys.argv[1]))
read = time.perf_counter()
write_page(findings, Path(sys.argv[2]))
page = time.perf_counter()
write_tables(findings, Path(sys.argv[2]))
used = resource.getrusage(resource.RUSAGE_SELF)
cpu, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024**2
print(read - start, page - start, time.perf_counter() - start, cpu, memory, len(findings.samples))
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/report.py", description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[2_400, 6_000], help="questions per suite")
    parser.add_argument("--reply-chars", type=int, default=200, help="characters of a reply, about")
    arguments = parser.parse_args()
    worst = 0
    for per_suite in arguments.samples:
        with tempfile.TemporaryDirectory() as folder:
            measured = measure(Path(folder), per_suite, arguments.reply_chars)
        measured["kept"] = all(
            measured[key] <= limit for key, limit in LIMITS.items() if measured[key] is not None
        )
        worst |= not measured["kept"]
        print(json.dumps(measured))
    return worst


def measure(folder: Path, per_suite: int, reply_chars: int) -> dict[str, Any]:
    """Build in a fresh process, then open in a browser (None without one)."""
    from tests.synthetic_findings import synthetic_findings
    from tests.test_report import saved

    findings = synthetic_findings(per_suite, reply_chars=reply_chars, awkward=False)
    saved(findings, folder / "store", "bench")
    del findings
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, str(folder / "store"), str(folder / "reports")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    read_s, page_s, build_s, cpu_s, memory_gib, samples = map(float, done.stdout.split())
    page = folder / "reports" / "index.html"
    opened = open_page(page)
    return {
        "samples": int(samples),
        "read_s": round(read_s, 2),
        "page_s": round(page_s, 2),
        "build_s": round(build_s, 2),
        "build_cpu_s": round(cpu_s, 2),
        "memory_gib": round(memory_gib, 2),
        "size_mb": round(page.stat().st_size / 1e6, 2),
        "side_files": len(side := list((page.parent / "samples").glob("*.js"))),
        "side_mb": round(sum(path.stat().st_size for path in side) / 1e6, 1),
        "open_s": opened[0] if opened else None,
        "browse_s": opened[1] if opened else None,
        "load_average": round(os.getloadavg()[0], 1),
    }


def open_page(page: Path) -> tuple[float, float] | None:
    """Seconds to load *page*, and from scrolling to the sample browser until it shows something."""
    chromium, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver_path):
        return None
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    try:
        driver.get("about:blank")
        driver.get(page.as_uri())
        timing = "const t = performance.getEntriesByType('navigation')[0]; return t.loadEventEnd"
        loaded = float(driver.execute_script(timing)) / 1000
        start = time.perf_counter()
        driver.execute_script("document.getElementById('bk-samples').scrollIntoView()")
        while not driver.execute_script("return document.querySelectorAll('#bk-samples .sample').length"):
            if time.perf_counter() - start > 60:
                raise TimeoutError("the sample browser showed nothing for 60 s")
            time.sleep(0.02)
        return round(loaded, 2), round(time.perf_counter() - start, 2)
    finally:
        driver.quit()


if __name__ == "__main__":
    raise SystemExit(main())
