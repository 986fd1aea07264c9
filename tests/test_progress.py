"""The terminal follows a run, calmly."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.foundation.sentences import with_statements
from bakeoff.store import stages
from bakeoff.store.stages import Timeline
from fixtures.describing import described, described_in_chinese
from fixtures.live_server import LiveServer
from fixtures.progress import Progress
from tests.test_chain import somebody_s_service

RAN = {
    "event": "stage",
    "model": "a",
    "variant": "tuned",
    "stage": "deploy",
    "outcome": "ran",
    **with_statements({"why": stages.RAN(why=stages.FIRST_TIME())}),
    "seconds": 1.26,
    "facts": {},
}


def test_what_was_done_says_why_and_what_begins_has_no_line() -> None:
    assert described(RAN) == "a tuned: deploy: done in 1.3 s (for the first time)"
    assert described({"event": "started", "model": "a"}) == ""


def test_the_lines_are_chinese_where_the_terminal_is() -> None:
    assert described_in_chinese(RAN) == "a 微调：部署：完成，用时 1.3 秒（首次运行）"
    failed = described_in_chinese({**RAN, "outcome": "failed", "why": "no memory"})
    assert failed == "a 微调：部署：1 秒后失败：no memory"
    assert described_in_chinese({"event": "started", "model": "a"}) == ""


def test_who_waits_for_a_card_is_told_for_whom() -> None:
    held = ["card 0: 70 GiB by b (train), process 7"]
    told = described({"event": "waiting for a card", "model": "a", "stage": "train", "held": held})
    assert told == "a: train: waiting for a card; card 0: 70 GiB by b (train), process 7"


def test_an_evaluation_is_named_by_its_suite_and_a_failure_by_its_first_line_and_its_logs_last() -> None:
    assert described({**RAN, "facts": {"suite": "ceval"}}).startswith("a tuned: ceval: ")
    failed = described({**RAN, "outcome": "failed", "why": "no memory\nlast lines …"})
    assert failed == "a tuned: deploy: failed after 1 s: no memory"
    why = (
        "export ended with exit code 1\nlast lines of its log:\n    at line 7\n    ImportError: no x\nlog: /l"
    )
    failed = described({**RAN, "outcome": "failed", "why": why})
    assert failed.endswith(": export ended with exit code 1: ImportError: no x")


def test_every_event_is_told_once_whoever_wrote_it(tmp_path: Path) -> None:
    told: list[str] = []
    progress = Progress(tmp_path / "events.jsonl", told.append)
    timeline = Timeline(tmp_path / "events.jsonl")
    for step in (1, 2):
        timeline.tell("progress", stage="train", model="a", how_far=f"step {step}/2")
    progress.close()
    assert told == ["a: train: step 1/2", "a: train: step 2/2"]


def test_what_a_variant_reused_is_one_line(tmp_path: Path) -> None:
    happened = [
        *({**RAN, "outcome": "reused", "variant": "", "stage": stage} for stage in ("train", "export")),
        *({**RAN, "outcome": "reused", "stage": stage} for stage in ("deploy", "evaluate", "evaluate")),
        {**RAN, "stage": "speed"},
    ]
    lines = "".join(f"{json.dumps(event)}\n" for event in happened)
    (tmp_path / "events.jsonl").write_text(lines)
    told: list[str] = []
    Progress(tmp_path / "events.jsonl", told.append).close()
    assert told == [
        "a: reused: train, export",
        "a tuned: reused: deploy, evaluate (2 suites)",
        "a tuned: speed: done in 1.3 s (for the first time)",
    ]


def test_a_line_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event": "prog\n' + '{"event": "心'.encode()[:-1] + b"\n")
    Timeline(path).tell("progress", stage="train", model="a", how_far="step 1/2")
    told: list[str] = []
    Progress(path, told.append).close()
    assert told == ["a: train: step 1/2"]


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_log_has_whole_lines_and_no_dots(
    run_pytest: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, workers: tuple[str, ...]
) -> None:
    with somebody_s_service() as url:
        matrix = tmp_path / "matrix.yaml"
        row = f"{{url: '{url}', served_model: reference}}"
        matrix.write_text(f"models:\n  one: {row}\n  two: {{url: '{url}', served_model: unknown}}\n")
        asked = ("benchmarks/test_deploy.py", "--matrix", str(matrix), *workers)
        first, second = (run_pytest(*asked).stdout.splitlines() for _ in range(2))
    done = [line for line in first if line.startswith("one base: deploy: done in ")]
    assert [line.endswith(" s (for the first time)") for line in done] == [True]
    assert "FAILED benchmarks/test_deploy.py::test_service_is_healthy[two-base]" in first
    assert [line for line in first if line.startswith("two base: deploy: failed after ")]
    assert "one base: reused: deploy" in second


def test_a_run_without_events_ends(tmp_path: Path) -> None:
    Progress(tmp_path / "none.jsonl", print).close()


def test_the_live_page_is_served_on_this_machine_alone_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("beside it")
    server = LiveServer(tmp_path / "live.html", 0)
    port = int(server.url.split(":")[2].split("/")[0])

    def ask(path: str, method: str = "GET", host: str = f"127.0.0.1:{port}") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(method, path, headers={"Host": host})
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body

    try:
        assert ask("/live.html")[0] == 503  # not written yet
        (tmp_path / "live.html").write_text("how far")
        assert ask("/live.html") == ask("/") == ask("/live.html?t=1") == (200, "how far")
        assert ask("/", "HEAD") == (200, "")
        for path in ("/secret.txt", "/../secret.txt", "//secret.txt", "/live.html/../secret.txt", "/%2e%2e/"):
            assert ask(path)[0] == 404
        assert ask("/", host="evil.example:80")[0] == 403
        assert ask("/", "POST")[0] == 501
        with pytest.raises(OSError, match="in use"):
            LiveServer(tmp_path / "live.html", port)
    finally:
        server.close()
    with pytest.raises(OSError, match="refused"):
        ask("/")
