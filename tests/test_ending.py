"""The board with which a run ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bakeoff.foundation.terminal import cells
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import parse_matrix
from bakeoff.report.analysis import analyse
from bakeoff.runs import runs
from bakeoff.runs.ending import WIDTH, board
from bakeoff.runs.unreached import unreached
from tests.synthetic_findings import synthetic_findings


@pytest.mark.parametrize("chinese", [False, True])
def test_every_score_has_its_interval_or_says_why_it_is_none(chinese: bool) -> None:
    analysis = analyse(synthetic_findings(40, models=3))
    lines = list(board(analysis, chinese=chinese))
    assert max(map(cells, lines)) <= WIDTH
    scores = [cell for view in analysis.views for cell in view.ordered()]
    assert len(lines) == len(scores) + len(analysis.views)
    assert lines[0].startswith("ceval · 正确率 · 40 题" if chinese else "ceval · accuracy · 40 questions")
    of_cells = [line for line in lines if line.startswith("  ")]
    gaps = [
        (cell, line) for cell, line in zip(scores, of_cells, strict=True) if cell.n_answered < cell.n_asked
    ]
    assert any(cell.ranked for cell, _ in gaps)
    for cell, line in gaps:
        words = "{}/{} 题无答案" if chinese else "{} of {} missing"
        assert not cell.ranked or line.endswith(words.format(cell.n_asked - cell.n_answered, cell.n_asked))
    assert sum("[" in line for line in lines) >= sum(cell.ranked for cell in scores) > 0
    words = ("无效", "没有成绩") if chinese else ("invalid", "no score")
    assert sum(any(word in line for word in words) for line in lines) == sum(
        not cell.ranked for cell in scores
    )


def ended(store: Path, run_id: str) -> Workspace:
    """A store with one more run, which measured the speed of a service."""
    folder = store / "runs" / run_id
    folder.mkdir(parents=True)
    row = {"model": "m", "variant": "base", "suite": "speed", "benchmark": "evalscope perf", "value": None}
    rows = [
        {**row, "metric": metric, "subset": f"{load} in flight", "why_not": "16 of 16 replies are none"}
        for load in (1, 8)
        for metric in ("ttft_s", "output_tokens_per_s")
    ]
    (folder / "scores.json").write_text(json.dumps(rows), encoding="utf-8")
    times = {"run_id": run_id, "started_at": run_id, "finished_at": "", "stages": []}
    (folder / "run.json").write_text(json.dumps(times), encoding="utf-8")
    return Workspace(store)


def test_a_speed_that_is_not_given_says_why_and_a_clock_that_was_set_back_is_told(tmp_path: Path) -> None:
    ended(tmp_path, "20260101-000000-ab")
    lines = list(runs.summary(ended(tmp_path, "20260102-000000-ab"), "20260102-000000-ab"))
    (line,) = [" ".join(line.split()) for line in lines if line.startswith("m ")]
    assert line == "m base speed invalid at 1 in flight, 8 in flight: 16 of 16 replies are none"
    assert not any("clock" in line for line in lines)
    ended(tmp_path, "29990101-000000-ab")
    told = "\n".join(runs.summary(Workspace(tmp_path), "20260102-000000-ab"))
    assert "the clock is behind run 29990101-000000-ab, which `make report` takes for the newest" in told
    assert "python -m bakeoff.report --run 20260102-000000-ab" in told


def ids_of(*parameters: str) -> list[str]:
    return [
        f"benchmarks/test_{name}.py::test_something[{each}]"
        for each in parameters
        for name in (
            ("eval",) if each.endswith("exam") else ("judge",) if "-" in each else ("train", "export")
        )
    ]


@pytest.mark.parametrize(
    ("reached", "expected"),
    [
        ((), ["a-b", "a"]),
        (("a-b",), ["a-b · evaluate:exam", "a-b · replies", "a"]),
        (("a-b", "a-b-tuned-exam", "a-b-tuned", "a"), []),
        (("a-b", "a-b-tuned-exam", "a-b-tuned"), ["a"]),
    ],
)
def test_what_a_run_never_came_to_is_named(reached: tuple[str, ...], expected: list[str]) -> None:
    row = {"url": "http://127.0.0.1:9/v1", "served_model": "m"}
    suite = {"benchmark": "ceval", "few_shot": 0}
    matrix = parse_matrix({"models": {"a-b": row, "a": row}, "suites": {"exam": suite}})
    selected = ids_of("a-b", "a-b-tuned-exam", "a-b-tuned", "a")
    listed = list(unreached([*selected, "tests/test_own.py::test_it"], set(ids_of(*reached)), matrix))
    assert [what for what, _ in listed] == expected
    assert all("ended before its turn" in why for _, why in listed)
