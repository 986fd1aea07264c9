"""The forms that users type, through the real pytest."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.synthetic_findings import synthetic_findings
from tests.test_report import saved

PytestRun = Callable[..., subprocess.CompletedProcess[str]]


def collected(done: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"^(benchmarks/\S+::\S+)$", done.stdout, re.MULTILINE)


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    path = tmp_path / "matrix.yaml"
    path.write_text(
        "models:\n"
        "  big: {model: owner/big, dataset: [owner/data], needs: {gpu_memory_gib: 70000}, suites: [ceval]}\n"
        "  small: {group: smoke, model: 'tiny:qwen2', dataset: ['shipped:facts_train.jsonl'], suites: [ceval, exam]}\n"
        "suites:\n"
        "  ceval: {hub: false}\n"
        "  exam: {benchmark: facts_exam, data: 'shipped:facts_exam', expect: {tuned_at_least: 0.9}}\n"
    )
    return path


def test_a_marker_without_a_path_means_the_benchmarks(run_pytest: PytestRun) -> None:
    names = collected(run_pytest("-m", "train", "-k", "qwen", "--collect-only", "-q"))
    assert names
    assert all("test_train.py" in name and "qwen" in name for name in names)


def test_stages_are_joined_by_or(run_pytest: PytestRun) -> None:
    names = collected(run_pytest("-m", "export or deploy", "-k", "tiny", "--collect-only", "-q"))
    assert {name.split("::")[0] for name in names} >= {
        "benchmarks/test_export.py",
        "benchmarks/test_deploy.py",
    }
    assert not [name for name in names if "test_train" in name]


def test_a_suite_is_chosen_by_name(run_pytest: PytestRun) -> None:
    names = collected(run_pytest("-m", "eval", "-k", "ceval", "--collect-only", "-q"))
    assert names
    assert all("ceval" in name for name in names)


def test_without_a_marker_the_harness_tests_itself(run_pytest: PytestRun) -> None:
    shown = run_pytest("--collect-only", "-q", "-k", "test_walls").stdout
    assert "tests/test_walls.py" in shown
    assert "benchmarks/" not in shown


def test_options_may_name_a_folder_outside(run_pytest: PytestRun, tmp_path: Path) -> None:
    done = run_pytest("-m", "train", "--data-dir", str(tmp_path), "--collect-only", "-q")
    assert collected(done) or "test_train.py" in done.stdout
    assert "test_walls" not in done.stdout


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_name_that_matches_nothing_is_a_usage_error(
    run_pytest: PytestRun, workers: tuple[str, ...]
) -> None:
    done = run_pytest("benchmarks/", "-k", "qwen9", *workers)
    assert done.returncode == 4
    assert "nothing matches -k 'qwen9'" in done.stdout + done.stderr


def test_mistakes_of_the_matrix_are_told_before_anything_runs(run_pytest: PytestRun, tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text(
        "models:\n  a: {model: o/m, dataset: [o/d], training: {bach_size: 1}, suites: [x]}\n"
        "suites:\n  x: {benchmark: cevall}\n"
    )
    done = run_pytest("benchmarks/", "--matrix", str(path))
    assert done.returncode == 4
    assert "'bach_size' is not known; is it 'batch_size'" in done.stdout + done.stderr
    assert not (tmp_path / "store").exists()


def test_suites_are_held_against_the_installed_evalscope(run_pytest: PytestRun, matrix: Path) -> None:
    matrix.write_text(matrix.read_text().replace("benchmark: facts_exam", "benchmark: facts_exm"))
    done = run_pytest("benchmarks/", "--matrix", str(matrix))
    assert done.returncode == 4
    assert "'facts_exam'" in done.stdout + done.stderr


def test_rows_that_cannot_run_here_are_skipped_with_the_reason(
    run_pytest: PytestRun, matrix: Path, tmp_path: Path
) -> None:
    done = run_pytest(
        "benchmarks/", "--matrix", str(matrix), "-k", "big", "-rs", f"--html={tmp_path / 'reports'}/"
    )
    assert done.returncode == 0
    assert "needs a GPU with 70000 GiB" in done.stdout
    assert (tmp_path / "reports" / "index.html").is_file()


def test_a_report_may_be_named_as_a_file(run_pytest: PytestRun, matrix: Path, tmp_path: Path) -> None:
    run_pytest("benchmarks/", "--matrix", str(matrix), "-k", "big", f"--html={tmp_path / 'mine.html'}")
    assert "<link" not in (tmp_path / "mine.html").read_text(encoding="utf-8")


def test_what_is_not_in_the_store_is_said_not_run(
    run_pytest: PytestRun, matrix: Path, tmp_path: Path
) -> None:
    done = run_pytest("benchmarks/", "--matrix", str(matrix), "-k", "small and exam", "--no-run", "-rs")
    assert done.returncode == 0
    assert "is not in the store" in done.stdout
    assert not list((tmp_path / "store").glob("tiny/*/output"))


def test_a_gate_wants_something_to_compare_with(run_pytest: PytestRun, matrix: Path) -> None:
    done = run_pytest("benchmarks/", "--matrix", str(matrix), "-k", "big", "--fail-on-regression")
    assert done.returncode == 4
    assert "--fail-on-regression needs --compare RUN" in done.stdout + done.stderr


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_a_gate_is_red_where_every_row_was_skipped(
    run_pytest: PytestRun, matrix: Path, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    earlier = synthetic_findings(15, models=2, suites=("ceval",))
    saved(earlier, tmp_path / "store", "monday")
    options = ["benchmarks/", "--matrix", str(matrix), "-k", "big", "--compare", "last", *workers]
    assert run_pytest(*options).returncode == 0
    done = run_pytest(*options, "--fail-on-regression")
    assert done.returncode == 1
    assert "--fail-on-regression: this run made no score" in done.stdout


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_a_run_notes_what_it_was_to_score_also_where_that_was_skipped(
    run_pytest: PytestRun, matrix: Path, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    matrix.write_text(
        matrix.read_text().replace(
            "suites:\n",
            "  away: {url: 'http://127.0.0.1:9/v1', served_model: x, suites: [ceval, exam]}\nsuites:\n",
        )
    )
    done = run_pytest("benchmarks/", "--matrix", str(matrix), "-k", "away and base", "-m", "eval", *workers)
    assert done.returncode == 1, done.stdout
    told = json.loads(next(tmp_path.glob("store/runs/*/run.json")).read_text(encoding="utf-8"))
    assert sorted(told["asked"]) == [["away", "base", "ceval"], ["away", "base", "exam"]]


def test_dry_run_prints_the_chain_in_order_and_runs_nothing(
    run_pytest: PytestRun, matrix: Path, tmp_path: Path
) -> None:
    done = run_pytest("benchmarks/", "--matrix", str(matrix), "--dry-run")
    assert done.returncode == 0
    big = done.stdout[done.stdout.index("# == big") :]
    wanted = [
        "swift.cli.sft",
        "swift.cli.export",
        "swift.cli.deploy",
        "curl --noproxy '*' http://127.0.0.1:8000/v1/models",
    ]
    places = [big.index(part) for part in wanted]
    assert places == sorted(places)
    small = done.stdout[done.stdout.index("# == small") :]
    assert "-m bakeoff.tiny qwen2" in small
    assert "--datasets facts_exam" in small
    assert not list((tmp_path / "store").glob("models/*"))


def test_base_is_asked_before_training_and_tuned_after(run_pytest: PytestRun, matrix: Path) -> None:
    names = collected(
        run_pytest("benchmarks/", "--matrix", str(matrix), "-k", "small", "--collect-only", "-q")
    )
    position = {name: place for place, name in enumerate(names)}
    first_train = min(p for name, p in position.items() if "test_train" in name)
    assert max(p for name, p in position.items() if "small-base" in name) < first_train
    assert min(p for name, p in position.items() if "small-tuned" in name) > first_train


def test_a_row_stays_with_one_worker(run_pytest: PytestRun) -> None:
    shown = run_pytest("benchmarks/", "-k", "tiny", "--no-run", "-n", "2", "-v").stdout
    workers: dict[str, set[str]] = {}
    for worker, row in re.findall(r"^\[(gw\d)\].*?\[(tiny-(?:qwen2|llama|gpt-oss))", shown, re.MULTILINE):
        workers.setdefault(row, set()).add(worker)
    assert len(workers) == 3
    assert all(len(those) == 1 for those in workers.values())


def test_doctor_tells_and_runs_nothing(run_pytest: PytestRun, tmp_path: Path) -> None:
    done = run_pytest("--doctor", "-k", "tiny")
    assert "->" in done.stdout or "nothing speaks against this run" in done.stdout
    assert " passed" not in done.stdout
    assert not (tmp_path / "store" / "models").exists()


def test_markers_are_registered_and_documented(run_pytest: PytestRun) -> None:
    shown = run_pytest("--markers").stdout
    assert all(
        f"@pytest.mark.{name}:" in shown for name in ("train", "export", "deploy", "eval", "judge", "speed")
    )


def test_schema_is_json() -> None:
    path = Path(__file__).parents[1] / "docs" / "model_matrix.schema.json"
    assert "models" in json.loads(path.read_text(encoding="utf-8"))["properties"]
