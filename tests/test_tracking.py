"""Scores to SwanLab, here a small package of that name on the path."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bakeoff.runs.tracking import KEY, log_scores
from tests.synthetic_findings import synthetic_findings
from tests.test_report import saved

FAKE = """
import json, os
from pathlib import Path

def init(project, experiment_name, config):
    if os.environ.get("FAKE_SWANLAB") == "away":
        raise ConnectionError("cannot log in with " + os.environ["SWANLAB_API_KEY"])
    Path(os.environ["FAKE_SWANLAB"]).write_text(json.dumps([project, experiment_name]))

def log(values):
    with Path(os.environ["FAKE_SWANLAB"]).open("a") as file:
        file.write("\\n" + json.dumps(values))

def finish():
    pass
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fakes" / "swanlab").mkdir(parents=True)
    (tmp_path / "fakes" / "swanlab" / "__init__.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'fakes'}{os.pathsep}{Path(__file__).parents[1]}")
    monkeypatch.setenv(KEY, "planted-swanlab-4713")
    saved(synthetic_findings(15, models=2, suites=("ceval",), awkward=False), tmp_path / "store", "monday")
    return tmp_path / "store"


def test_every_trusted_total_is_logged(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SWANLAB", str(tmp_path / "logged"))
    assert log_scores(store, "monday") == "scores logged to SwanLab as monday"
    named, values = map(json.loads, (tmp_path / "logged").read_text().splitlines())
    assert named == ["bakeoff", "monday"]
    assert len(values) == 4
    assert all(name.startswith("ceval/") and 0 <= value <= 1 for name, value in values.items())


def test_a_tracker_that_is_away_is_told_without_its_key(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SWANLAB", "away")
    told = log_scores(store, "monday")
    assert "not logged: ConnectionError: cannot log in with" in told
    assert "planted-swanlab" not in told
    monkeypatch.delenv(KEY)
    assert "SWANLAB_API_KEY is not set" in log_scores(store, "monday")
