"""Many raters at once on the judge's page: ``python bench/judge_load.py [--raters 50] [--screens 10]``.

Starts the page with a study, lets every rater hand in their screens as fast as the page answers (each with a draft
before, a fifth sent twice), and says how long submissions took and whether anything was lost, mixed or doubled.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from judge_app import Client, judge, study  # noqa: E402

from bakeoff.judgement.ratings import RatingStore  # noqa: E402

MOST_P95_S = 1.0


class Load:
    """What the raters did and how long it took."""

    def __init__(self, screens: int, pause_s: float) -> None:
        self.screens = screens
        self.pause_s = pause_s
        self.seconds: list[float] = []
        self.sent: dict[str, list[tuple[str, int]]] = {}
        self.failures: list[str] = []
        self._lock = threading.Lock()

    def work(self, url: str, number: int) -> None:
        """One rater, from the first screen to the last."""
        name = f"rater{number}"
        try:
            rater, marks = Client(url, name), []
            screen = rater.open()
            for place in range(self.screens):
                if screen["view"] != "screen":
                    break
                score, mark = number % 5 + 1, f"{name} screen {screen['screen']}"
                draft = {"rater": name, "item": screen["replies"][0]["item"], "draft": {"strengths": mark}}
                rater.send(draft, "draft")
                message = rater.scoring(screen, score, strengths=mark)
                begin = time.perf_counter()
                screen = rater.send(message)
                took = time.perf_counter() - begin
                if place % 5 == 0:
                    rater.send(message)
                marks.append((mark, score))
                with self._lock:
                    self.seconds.append(took)
                time.sleep(self.pause_s)
            with self._lock:
                self.sent[name] = marks
        except Exception as error:
            with self._lock:
                self.failures.append(f"{name}: {error!r}")


def main() -> int:
    """Measure once; 1 where something was lost, mixed or doubled, or submissions took too long."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--raters", type=int, default=50)
    options.add_argument("--screens", type=int, default=10)
    options.add_argument(
        "--pause", type=float, default=2.0, help="seconds a rater thinks before the next screen"
    )
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "study.json").write_text(study(12, 3, repeats=0).to_json(), encoding="utf-8")
        load = Load(asked.screens, asked.pause)
        with judge(path / "ratings.sqlite", "--study", path / "study.json") as app:
            threads = [threading.Thread(target=load.work, args=(app.url, n)) for n in range(asked.raters)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        rows = RatingStore(path / "ratings.sqlite").judgements("trial", history=True)
        kept: dict[str, list[tuple[str, int]]] = {}
        for row in rows:
            kept.setdefault(row["judge_id"], []).append((row["strengths"], row["empathy"]))
    p95 = statistics.quantiles(load.seconds, n=20)[-1] if len(load.seconds) > 1 else float("nan")
    whole = kept == load.sent and not load.failures
    found = {
        "raters": asked.raters,
        "submissions": len(load.seconds),
        "median_s": round(statistics.median(load.seconds), 3),
        "p95_s": round(p95, 3),
        "nothing_lost_mixed_or_doubled": whole,
        "failures": load.failures[:3],
    }
    print(json.dumps(found, indent=1))
    return int(not whole or p95 > MOST_P95_S)


if __name__ == "__main__":
    sys.exit(main())
