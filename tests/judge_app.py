"""Starts the judge as a person would, and speaks to it as a browser does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
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

    process: subprocess.Popen[bytes] | ForkServerProcess
    url: str
    store: Path
    log: Path

    def has_ended(self) -> bool:
        """Whether the process is no more."""
        if isinstance(self.process, subprocess.Popen):
            return self.process.poll() is not None
        return not self.process.is_alive()

    def end(self, how: signal.Signals, patience_s: float) -> bool:
        """Send the signal *how*, and wait; whether the process ended."""
        assert self.process.pid is not None
        os.kill(self.process.pid, how)
        until = time.monotonic() + patience_s
        while not self.has_ended() and time.monotonic() < until:
            time.sleep(0.02)
        return self.has_ended()

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        assert self.end(signal.SIGKILL, 60)


WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(
    ["judge.__main__", "judge.app", "judge.guard", "judge.patience", "uvicorn", "pytest"]
)


def _in_fork(arguments: Sequence[str], folder: str, log: str, environment: Mapping[str, str]) -> None:
    """What ``python -m judge`` does, in a process that need not import everything first."""
    from judge.__main__ import main

    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv[:] = ["judge", *arguments]
    sys.exit(main(arguments))


def _started(
    arguments: Sequence[str], folder: Path, log: Path, fresh: bool
) -> subprocess.Popen[bytes] | ForkServerProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    if not fresh:
        process = WARM.Process(target=_in_fork, args=(arguments, str(folder), str(log), environment))
        process.start()
        return process
    command = [sys.executable, "-m", "judge", *arguments]
    with log.open("ab") as output:
        return subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, env=environment)


@contextmanager
def judge(store: Path, *arguments: str | Path, port: int | None = None, fresh: bool = False) -> Iterator[App]:
    """``python -m judge`` with *arguments*, until the block ends.

    Args:
        fresh: in a new interpreter, as people start it; else in a fork of a process that has imported everything,
            which spares seconds each time.
    """
    port = port or free_port()
    log = store.parent / f"judge-{port}.log"
    log.touch()
    words = ["--store", str(store), "--port", str(port), *map(str, arguments)]
    app = App(_started(words, store.parent, log, fresh), f"http://127.0.0.1:{port}", store, log)
    try:
        with session() as http:
            for _ in range(600):
                assert not app.has_ended(), log.read_text(encoding="utf-8")
                try:
                    http.get(app.url, timeout=5)
                    break
                except requests.ConnectionError:
                    time.sleep(0.1)
            else:
                raise AssertionError(f"not ready: {log.read_text(encoding='utf-8')}")
        yield app
    finally:
        if not app.has_ended() and not app.end(signal.SIGTERM, 20):
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
