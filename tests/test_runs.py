"""A run as a whole: what it hands to the report and tells the terminal."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bakeoff.evalscope.speed import Speed, speed_rows
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import parse_matrix
from bakeoff.runs import plan, runs
from bakeoff.runs.finishing import finish as finish_run
from bakeoff.runs.unmatched import unmatched, why_no_stage
from bakeoff.scoring.tables import write_scores
from bakeoff.store.stages import Record

RUN = "20260302-101500-abcd"


def test_the_terminal_tells_how_fast_a_service_was(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    speeds = [Speed(1, 16, 16, 0.1234, 1.5, 40.0, 0.5), Speed(8, 32, 32, 0.9, 4.25, 300.0, 2.0)]
    rows = speed_rows(speeds, run_id=RUN, model="tiny", variant="base", fingerprint="")
    write_scores(rows, workspace.run(RUN))
    line = next(runs.summary(workspace, RUN))
    assert line.split()[:3] == ["tiny", "base", "speed"]
    assert "0.123 s to the first token at 1 in flight, 40 tokens/s at 1 in flight" in line
    assert "300 tokens/s at 8 in flight" in line


def test_a_run_keeps_what_each_evaluation_says_of_itself(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    sample = {
        "sample_id": "q", "model": "a", "variant": "", "suite": "exam", "subset": "x", "index": 0, "question": "",
        "options": "", "target": "A", "reply": "", "extracted": "A", "extracted_alt": "A", "status": "answered",
        "correct": 1.0, "prompt_sha": "", "latency_s": 0.1, "leaked": False,
    }  # fmt: skip
    events = []
    for variant, why in (("base", "the data is away"), ("tuned", "")):
        result: dict[str, Any] = {
            "suite": "exam",
            "benchmark": "facts_exam",
            "agreement": 1.0,
            "answers": {"A": 1},
            "alarms": ["100.0% of the answers are A"],
            "leakage_not_checked": why,
            "leakage": [] if why else [{"suite": "exam", "expected": False, "n_asked": 1, "n_leaked": 1}],
            "leaked_questions": {} if why else {"q": {"kind": "exact"}},
            "scores": [],
            "samples": [{**sample, "variant": variant}],
        }
        output = tmp_path / variant / "result.json"
        output.parent.mkdir()
        output.write_text(json.dumps(result), encoding="utf-8")
        record = Record(
            "evaluate", "a", variant, "ran", "", "", "", str(output), "", 1.0, {}, facts={"suite": "exam"}
        )
        events.append({"event": "stage", "time": "", **asdict(record)})
    workspace.run(RUN).mkdir(parents=True)
    lines = "".join(json.dumps(event) + "\n" for event in events)
    (workspace.run(RUN) / "events.jsonl").write_text(lines, encoding="utf-8")
    row = {"model": "tiny:qwen2", "model_type": "qwen2", "template": "qwen2_5", "tune": False}
    matrix = parse_matrix({"models": {"a": row}})
    finish_run(workspace, RUN, matrix, [])
    run = json.loads((workspace.run(RUN) / "run.json").read_text(encoding="utf-8"))
    assert [(one["variant"], one["agreement"], one["answers"]) for one in run["evaluations"]] == [
        ("base", 1.0, {"A": 1}),
        ("tuned", 1.0, {"A": 1}),
    ]
    # The base was evaluated before training fetched the data: the tuned model's findings are its own.
    assert [one["leakage_not_checked"] for one in run["evaluations"]] == ["", ""]
    assert [(one["variant"], one["n_leaked"]) for one in run["leakage"]] == [("base", 1), ("tuned", 1)]


@pytest.mark.parametrize(
    ("keyword", "marks", "end"),
    [
        ("quen", "", "is it 'qwen'?"),
        ("tiny and tunde", "", "is it 'tuned'?"),
        ("", "trian", "is it 'train'?"),
        ("zzz", "", "-k 'zzz'"),
        ("qwen and llama", "", "-k 'qwen and llama'"),
    ],
)
def test_a_selection_that_matches_nothing_says_what_was_meant(keyword: str, marks: str, end: str) -> None:
    row = {"model": "o/m", "dataset": ["o/d"], "suites": ["exam"]}
    matrix = parse_matrix({"models": {"qwen2.5-7b": row, "tiny-llama": row}, "suites": {"exam": {}}})
    first, rows, rest = unmatched(keyword, marks, matrix)
    assert first.endswith(end)
    assert (rows, "train, export" in rest) == ("rows: qwen2.5-7b, tiny-llama", True)
    assert not re.search("[a-z]{4,} [a-z]{4,}", "".join(unmatched("", "trian", matrix, chinese=True)))


@pytest.mark.parametrize(
    ("keyword", "marks", "words"),
    [
        ("", "Train", "is it 'train'?"),
        ("", "evaluate", "is it 'eval'?"),
        ("", "train and eval", "a test has one stage (join stages by 'or')"),
        ("tuned", "train", "train and export are of a row"),
    ],
)
def test_a_contradiction_or_the_wrong_case_is_answered(keyword: str, marks: str, words: str) -> None:
    matrix = parse_matrix({"models": {"qwen2.5-7b": {"model": "o/m", "dataset": ["o/d"]}}})
    assert words in next(iter(unmatched(keyword, marks, matrix)))
    assert plan.names_a_stage(marks)
    assert bool(why_no_stage(marks)) == ("is it" in words)
    assert why_no_stage("train or not (slow and speed)") == ""
    assert not plan.names_a_stage("not slow and not browser")
