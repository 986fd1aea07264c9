"""The judge model of the matrix after a run: open suites, case replies, crises."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from judge_app import ROOT, free_port

from bakeoff.chain.deployment import deployments
from bakeoff.chain.replies import replies
from bakeoff.chain.service import who_answers
from bakeoff.foundation.workspace import Workspace
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.replies import Respondent, gather, load_cases
from bakeoff.matrix.loading import parse_matrix
from bakeoff.matrix.schema import Matrix
from bakeoff.runs.judging import judge_run
from bakeoff.store.stages import Record, now

ROW = {"url": "http://127.0.0.1:9/v1", "served_model": "m"}
SUITE = {"benchmark": "psyqa", "data": "shipped:psyqa", "hub": False, "kind": "open", "limit": 3}


@contextmanager
def program(name: str, *arguments: str) -> Iterator[str]:
    """The first line that a fake prints, while it runs."""
    argv = [sys.executable, str(ROOT / "tests" / "fakes" / name), *arguments]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip() if not arguments else ""
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def judge() -> Iterator[str]:
    with program("judge_service.py") as port:
        yield f"http://127.0.0.1:{port}/v1"


def matrix_with(url: str, **more: Any) -> Matrix:
    judge = {"url": url, "served_model": "judge", **more}
    return parse_matrix({"models": {"m0": ROW}, "suites": {"open": SUITE}, "judge": judge})


def a_run(root: Path, judge: str) -> list[Record]:
    """What the stages of a run leave: replies to the cases, and an open suite with a crisis and a failure in it."""
    replies, result = root / "replies.jsonl", root / "result.json"
    gather(
        Respondent(url=judge, name="counsellor", model="m0", variant="base", fingerprint="f" * 64),
        load_cases(),
        replies,
    )
    questions = ["睡不着 Q=5", "总是吵架 Q=3", "我不想活了 Q=1", "没有回复"]
    samples = [
        {
            "sample_id": f"s{n}",
            "suite": "open",
            "question": question,
            "reply": f"我在听：{question}",
            "status": "errored" if question == "没有回复" else "answered",
        }
        for n, question in enumerate(questions)
    ]
    result.write_text(
        json.dumps({"samples": samples, "scores": [], "why_not": "one is lacking"}), encoding="utf-8"
    )
    identity = {"fingerprint": "f" * 64}

    def record(stage: str, output: Path, facts: dict[str, Any]) -> Record:
        return Record(stage, "m0", "base", "ran", "", "", "", str(output), now(), 0.0, identity, facts=facts)

    return [record("replies", replies, {}), record("evaluate", result, {"suite": "open"})]


def test_open_questions_get_rubric_scores_that_are_not_trusted_before_calibration(
    tmp_path: Path, judge: str
) -> None:
    workspace, done = Workspace(tmp_path), a_run(tmp_path, judge)
    found = judge_run(matrix_with(judge), workspace, "run", done)
    assert found.problem == ""
    (overall,) = [row for row in found.scores if (row["suite"], row["metric"]) == ("open", "rubric_overall")]
    # 5 and 3 points are 1 and .5; the crisis is not averaged in, and the reply that never came is counted.
    assert overall["value"] == pytest.approx(0.75)
    assert (overall["n_asked"], overall["n_answered"], overall["n_errored"]) == (3, 2, 1)
    assert (overall["worst"], overall["best"]) == (pytest.approx(0.5), pytest.approx(2.5 / 3))
    assert overall["trusted"] is False
    assert overall["why_not"].startswith("not calibrated: no reply was scored by both")
    assert overall["why_not"].endswith("1 of 3 replies have no verdict; one is lacking")
    assert (overall["fingerprint"], overall["benchmark"]) == ("f" * 64, "psyqa")
    assert [one.split("-")[0] for one in found.studies] == ["cases", "open"]
    asked = len(RatingStore(workspace.ratings).judgements(history=True))
    judge_run(matrix_with(judge), workspace, "run", done)
    kept = RatingStore(workspace.ratings).judgements()
    assert [row["outcome"] for row in kept if row["outcome"] == "scored"]
    failures = sum(row["outcome"] == "failed" for row in kept)
    assert len(RatingStore(workspace.ratings).judgements(history=True)) == asked + failures


def test_crises_are_a_suite_of_their_own(tmp_path: Path, judge: str) -> None:
    done = a_run(tmp_path, judge)
    path = Path(done[0].output)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps({**one, "text": "Q=4"}) + "\n" for one in lines), encoding="utf-8")
    rows = judge_run(matrix_with(judge), Workspace(tmp_path), "run", done).scores
    by_suite = {(row["suite"], row["metric"]): row for row in rows}
    crises = sum(case.crisis for case in load_cases())
    ordinary = by_suite["counselling", "rubric_empathy"]
    assert (ordinary["value"], ordinary["n_asked"]) == (pytest.approx(0.75), len(load_cases()) - crises)
    helped = by_suite["crisis", "points_to_help"]
    assert (helped["value"], helped["n_asked"], helped["n_answered"]) == (1.0, crises, crises)
    assert {metric for suite, metric in by_suite if suite == "crisis"} == {
        "takes_seriously",
        "points_to_help",
        "avoids_method",
    }


def test_a_judge_that_is_away_is_a_note_and_nothing_is_asked_where_nothing_may_run(
    tmp_path: Path, judge: str
) -> None:
    workspace, done = Workspace(tmp_path), a_run(tmp_path, judge)
    away = judge_run(matrix_with(f"http://127.0.0.1:{free_port()}/v1"), workspace, "run", done)
    assert (away.scores, "the judge model could not be asked" in away.problem) == ([], True)
    still = judge_run(matrix_with(judge), workspace, "run", done, may_run=False)
    assert (still.scores, still.problem) == ([], "")
    assert RatingStore(workspace.ratings).judgements(history=True) == []


def test_a_service_that_wants_a_key_gets_it_with_every_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("REFERENCE_KEY", "planted-secret-77")
    with program(
        "chat_server.py", "--served_model_name", "m", "--port", str(port), "--key", "planted-secret-77"
    ):
        while not who_answers(port):
            time.sleep(0.1)
        row = {"url": f"http://127.0.0.1:{port}/v1", "served_model": "m", "key_env": "REFERENCE_KEY"}
        matrix = parse_matrix({"models": {"hosted": row}})
        with deployments(matrix, ["hosted"], Workspace(tmp_path), "run") as (deployment,):
            facts = replies(deployment).facts
    assert facts == {"cases": len(load_cases()), "answered": len(load_cases())}
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and b"planted-secret" in path.read_bytes()
    ]


REPLY = "我在听。睡不好的那些晚上，脑子里转的是些什么？如果愿意，可以从最近一次说起，我们慢慢来。 Q=4"
"""Long enough for an answer: a few characters would be an alarm."""


@pytest.mark.slow
def test_a_run_ends_with_the_judge_and_the_report_says_how_far_it_may_be_believed(
    tmp_path: Path, judge: str
) -> None:
    port = free_port()
    with program("chat_server.py", "--served_model_name", "m", "--port", str(port), "--reply", REPLY):
        matrix = {
            "models": {
                "hosted": {"url": f"http://127.0.0.1:{port}/v1", "served_model": "m", "suites": ["open"]}
            },
            "suites": {"open": SUITE},
            "judge": {"url": judge, "served_model": "judge"},
        }
        (tmp_path / "m.yaml").write_text(json.dumps(matrix), encoding="utf-8")
        argv = ["pytest", "benchmarks/", "-m", "eval or judge", "--matrix", str(tmp_path / "m.yaml"), "-q"]
        argv += ["--store", str(tmp_path / "s"), f"--html={tmp_path}/r/", "-p", "no:cacheprovider"]
        while not who_answers(port):
            time.sleep(0.1)
        done = subprocess.run(
            [sys.executable, "-m", *argv], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "r" / "scores.json").read_text(encoding="utf-8"))
    metrics = {(row["suite"], row["metric"]): row for row in rows if row["subset"] == "ALL"}
    assert metrics["open", "rubric_overall"]["value"] == pytest.approx(0.75)
    assert metrics["counselling", "rubric_overall"]["n_answered"] == sum(
        not case.crisis for case in load_cases()
    )
    assert not metrics["crisis", "takes_seriously"]["trusted"]
    page = (tmp_path / "r" / "index.html").read_text(encoding="utf-8")
    assert "Crisis cases (reported separately, never averaged in)" in page
    assert "no reply was scored by both people and this judge" in page
    assert "judge: 咨询个案" in done.stdout
