"""The terminal follows a run, calmly."""

from __future__ import annotations

from pathlib import Path

from bakeoff.stages import Timeline
from fixtures.progress import Progress, described

STAGE = {"event": "stage", "model": "a", "variant": "tuned", "stage": "deploy", "seconds": 1.26, "facts": {}}


def test_what_was_done_has_a_line_and_what_was_reused_has_none() -> None:
    assert described({**STAGE, "outcome": "ran"}) == "a tuned: deploy: done in 1.3 s"
    assert described({**STAGE, "outcome": "reused"}) == ""
    assert described({"event": "started", "model": "a"}) == ""


def test_an_evaluation_is_named_by_its_suite_and_a_failure_by_its_first_line() -> None:
    assert described({**STAGE, "outcome": "ran", "facts": {"suite": "ceval"}}).startswith("a tuned: ceval: ")
    failed = described({**STAGE, "outcome": "failed", "why": "no memory\nlast lines …"})
    assert failed == "a tuned: deploy: failed after 1 s: no memory"


def test_every_event_is_told_once_whoever_wrote_it(tmp_path: Path) -> None:
    told: list[str] = []
    progress = Progress(tmp_path / "events.jsonl", told.append)
    timeline = Timeline(tmp_path / "events.jsonl")
    for step in (1, 2):
        timeline.tell("progress", stage="train", model="a", how_far=f"step {step}/2")
    progress.close()
    assert told == ["a: train: step 1/2", "a: train: step 2/2"]


def test_a_run_without_events_ends(tmp_path: Path) -> None:
    Progress(tmp_path / "none.jsonl", print).close()
