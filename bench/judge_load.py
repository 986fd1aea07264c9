"""Measure many raters at once on the judge's page: ``python bench/judge_load.py [--raters 50]``.

Starts the page with a study, lets every rater hand in their screens as fast as the page answers (each with a draft
before, a fifth sent twice), and says how long submissions took and whether anything was lost, mixed or doubled.

With ``--strangers 60`` raters sign in, and the second half of their screens is handed in while that many strangers
try names and passwords without end: the ratio of both halves' medians, and the memory of the page before and during
the flood, do not depend on how fast the machine is.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from judge_app import Client, judge, session, study  # noqa: E402

from bakeoff.judgement.raters import Raters  # noqa: E402
from bakeoff.judgement.ratings import RatingStore  # noqa: E402

MOST_P95_S = 1.0
MOST_SLOWDOWN = 5.0
"""How many times longer a submission may take while strangers flood the sign-in, who share the same cores."""
MOST_GROWTH_MIB = 256.0
PASSWORD = "a long password for the load"


class Load:
    """What the raters did and how long it took."""

    def __init__(self, screens: int, pause_s: float) -> None:
        self.screens = screens
        self.pause_s = pause_s
        self.seconds: list[float] = []
        self.sent: dict[str, list[tuple[str, int]]] = {}
        self.failures: list[str] = []
        self._lock = threading.Lock()

    def run(self, url: str, clients: Sequence[Client] | int) -> None:
        """Let all raters work at once; *clients*: signed in, or how many where nobody signs in."""
        people = [None] * clients if isinstance(clients, int) else clients
        threads = [threading.Thread(target=self.work, args=(url, n, each)) for n, each in enumerate(people)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def work(self, url: str, number: int, client: Client | None = None) -> None:
        """One rater, from the first screen to the last."""
        name = f"rater{number}"
        try:
            rater, marks = client or Client(url, name), []
            screen = rater.open()
            for place in range(self.screens):
                if screen["view"] != "screen":
                    break
                score, mark = number % 5 + 1, f"{name} screen {screen['screen']}"
                draft = {
                    "rater": rater.rater,
                    "item": screen["replies"][0]["item"],
                    "draft": {"strengths": mark},
                }
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


@dataclass
class Flood:
    """Strangers who try to sign in until they are told to stop."""

    url: str
    strangers: int
    answers: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Flood:
        """Begin."""
        for number in range(self.strangers):
            self._threads.append(threading.Thread(target=self._try, args=(number,)))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, when the last attempt has been answered."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _try(self, number: int) -> None:
        http, attempt = session(), 0
        while not self._over.is_set():
            attempt += 1
            # Every second one tries a name that exists.
            name = f"rater{number}" if number % 2 else f"nobody{number}-{attempt}"
            guess = {"username": name, "password": f"guess {attempt}"}
            # An address of its own for each, as in a flood from many machines: the page believes a proxy beside it.
            headers = {"X-Forwarded-For": f"203.0.113.{number % 250}"}
            try:
                answer = http.post(f"{self.url}/login", data=guess, headers=headers, timeout=120)
                self.answers[str(answer.status_code)] += 1
            except OSError:
                self.answers["no answer"] += 1


def resident_mib(process: int) -> float:
    """Resident memory of a process in MiB."""
    fields = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * resource.getpagesize() / 2**20


def under_flood(raters: int, screens: int, pause_s: float, strangers: int) -> int:
    """Measure raters in peace, then the same ones during a flood; 1 where they get slow or the page large."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "study.json").write_text(study(12, 3, repeats=0).to_json(), encoding="utf-8")
        people = Raters(path / "raters.json")
        for number in range(raters):
            people.add(f"rater{number}", PASSWORD)
        options = ("--study", path / "study.json", "--raters", people.path)
        with judge(path / "ratings.sqlite", *options, fresh=True) as app:
            clients = [Client(app.url, f"rater{number}", PASSWORD) for number in range(raters)]
            peace = Load(screens // 2, pause_s)
            peace.run(app.url, clients)
            before = resident_mib(app.process.pid)
            during = Load(screens - screens // 2, pause_s)
            with Flood(app.url, strangers) as flood:
                time.sleep(3)
                during.run(app.url, clients)
                grown = resident_mib(app.process.pid) - before
    medians = [statistics.median(load.seconds) for load in (peace, during)]
    measured = {
        "raters": raters,
        "strangers": strangers,
        "median_in_peace_s": round(medians[0], 4),
        "median_in_the_flood_s": round(medians[1], 4),
        "slowdown": round(medians[1] / medians[0], 2),
        "memory_before_mib": round(before),
        "memory_grown_mib": round(grown),
        "answers_to_strangers": dict(flood.answers),
        "failures": (peace.failures + during.failures)[:3],
    }
    print(json.dumps(measured, indent=1))
    calm = measured["slowdown"] <= MOST_SLOWDOWN and grown <= MOST_GROWTH_MIB
    return int(not calm or bool(measured["failures"]))


def main() -> int:
    """Measure once; 1 where something was lost, mixed or doubled, or submissions took too long."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--raters", type=int, default=50)
    options.add_argument("--screens", type=int, default=10)
    options.add_argument(
        "--pause", type=float, default=2.0, help="seconds a rater thinks before the next screen"
    )
    options.add_argument("--strangers", type=int, default=0, help="measure raters beside a flood of sign-ins")
    wishes = options.parse_args()
    if wishes.strangers:
        return under_flood(wishes.raters, wishes.screens, wishes.pause, wishes.strangers)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "study.json").write_text(study(12, 3, repeats=0).to_json(), encoding="utf-8")
        load = Load(wishes.screens, wishes.pause)
        with judge(path / "ratings.sqlite", "--study", path / "study.json", fresh=True) as app:
            load.run(app.url, wishes.raters)
        rows = RatingStore(path / "ratings.sqlite").judgements("trial", history=True)
        stored: dict[str, list[tuple[str, int]]] = {}
        for row in rows:
            stored.setdefault(row["judge_id"], []).append((row["strengths"], row["empathy"]))
    p95 = statistics.quantiles(load.seconds, n=20)[-1] if len(load.seconds) > 1 else float("nan")
    whole = stored == load.sent and not load.failures
    measured = {
        "raters": wishes.raters,
        "submissions": len(load.seconds),
        "median_s": round(statistics.median(load.seconds), 3),
        "p95_s": round(p95, 3),
        "nothing_lost_mixed_or_doubled": whole,
        "failures": load.failures[:3],
    }
    print(json.dumps(measured, indent=1))
    return int(not whole or p95 > MOST_P95_S)


if __name__ == "__main__":
    sys.exit(main())
