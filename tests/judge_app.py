"""Starts the judge as a person would, and speaks to it as a browser does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from bakeoff.judgement.blind import Layout, Presentation, Study, build_study
from bakeoff.judgement.replies import Case, Reply
from bakeoff.judgement.rubric import CRISIS_CHECKS, DIMENSIONS

ROOT = Path(__file__).parents[1]
HOSTILE = (
    "<script>window.hacked=1</script><img src=x onerror='window.hacked=1'> ${window.hacked=1} {{constructor}}"
)


def cases(count: int, crisis: Sequence[int] = (0,)) -> list[Case]:
    """Short dialogues; those at the places in *crisis* are crisis cases."""
    return [
        Case(
            f"case-{n}",
            f"Case {n}",
            "topic",
            n in crisis,
            ({"role": "user", "content": f"I feel low, number {n}."},),
        )
        for n in range(count)
    ]


def study(count: int = 4, subjects: int = 2, *, layout: Layout = "one-by-one", repeats: float = 0.1) -> Study:
    """A study whose replies carry their quality as "Q=digit"; subject m0 is best, and every reply is hostile text."""
    asked = cases(count)
    replies = [
        Reply(
            case.id, f"m{m}", "tuned", f"Reply Q={max(1, 5 - m - n % 2)} of number {n}. {HOSTILE}", "answered"
        )
        for n, case in enumerate(asked)
        for m in range(subjects)
    ]
    return build_study(replies, asked, Presentation(layout=layout, repeat_share=repeats), study_id="trial")


def verdict(score: int, *, crisis: bool = False, **more: Any) -> dict[str, Any]:
    """A complete judgement as the page sends it."""
    checks = dict.fromkeys(CRISIS_CHECKS, True) if crisis else {}
    return {"scores": dict.fromkeys(DIMENSIONS, score), "crisis": checks, "confidence": 3, **more}


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass
class App:
    """A judge that is running."""

    process: subprocess.Popen[bytes]
    url: str
    store: Path
    log: Path

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def judge(store: Path, *arguments: str | Path, port: int | None = None) -> Iterator[App]:
    """``python -m judge`` with *arguments*, until the block ends."""
    port = port or free_port()
    log = store.parent / f"judge-{port}.log"
    command = [
        sys.executable,
        "-m",
        "judge",
        "--store",
        str(store),
        "--port",
        str(port),
        *map(str, arguments),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(store.parent)}
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=store.parent, stdout=output, stderr=output, env=environment)
    app = App(process, f"http://127.0.0.1:{port}", store, log)
    try:
        with session() as http:
            for _ in range(600):
                assert process.poll() is None, log.read_text(encoding="utf-8")
                try:
                    http.get(app.url, timeout=5)
                    break
                except requests.ConnectionError:
                    time.sleep(0.1)
            else:
                raise AssertionError(f"not ready: {log.read_text(encoding='utf-8')}")
        yield app
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                app.kill()


def session() -> requests.Session:
    """A session that asks no proxy."""
    made = requests.Session()
    made.trust_env = False
    return made


class Client:
    """One rater at the page's own addresses, without a browser."""

    def __init__(self, url: str, rater: str, password: str = "") -> None:
        self.url, self.rater, self.http = url, "" if password else rater, session()
        if password:
            answer = self.http.post(
                f"{url}/login", data={"username": rater, "password": password}, timeout=60
            )
            assert answer.status_code == 200, answer.text

    def send(self, message: Any, api: str = "desk", *more: Any) -> dict[str, Any]:
        """What the page gets back for *message*."""
        body = {"data": [message, *more], "session_hash": "a" * 11}
        answer = self.http.post(f"{self.url}/gradio_api/run/{api}", json=body, timeout=60)
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:500]}"
        found: dict[str, Any] = answer.json()["data"][0]
        return found

    def open(self) -> dict[str, Any]:
        """The next screen; the first time, the first one."""
        return self.send({"action": "start", "rater": self.rater})

    def score(self, screen: dict[str, Any], score: int, **more: Any) -> dict[str, Any]:
        """Give every reply on *screen* the same *score*; the next screen."""
        return self.send(self.scoring(screen, score, **more))

    def scoring(self, screen: dict[str, Any], score: int, **more: Any) -> dict[str, Any]:
        """The message that hands in *score* for *screen*."""
        verdicts = {
            reply["item"]: verdict(score, crisis=screen["crisis"], **more) for reply in screen["replies"]
        }
        return {"action": "score", "rater": self.rater, "token": screen["token"], "verdicts": verdicts}
