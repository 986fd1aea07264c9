"""The forms that users type, through the real pytest."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from bakeoff.store.stages import Record
from fixtures.config import refuse_unwritable
from tests.chains import plant_base, plant_tools
from tests.synthetic_findings import synthetic_findings
from tests.test_report import saved

ROOT = Path(__file__).parents[1]
TOOLS = Path(__file__).parent / "fakes" / "tools"
WITH_AND_WITHOUT_WORKERS = pytest.mark.parametrize("workers", [(), ("-n", "1")])
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
    others = "--ignore-glob=*/test_[!w]*"  # reading all files of tests takes a while
    shown = run_pytest("--collect-only", "-q", "-k", "test_walls", others).stdout
    assert "tests/test_walls.py" in shown
    assert "benchmarks/" not in shown


def test_options_may_name_a_folder_outside(run_pytest: PytestRun, tmp_path: Path) -> None:
    done = run_pytest("-m", "train", "--data-dir", str(tmp_path), "--collect-only", "-q")
    assert collected(done) or "test_train.py" in done.stdout
    assert "test_walls" not in done.stdout


@WITH_AND_WITHOUT_WORKERS
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


def test_every_kind_of_mistake_is_told_in_one_message(run_pytest: PytestRun, tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text(
        "models:\n"
        "  a: {model: o/m, dataset: [o/d], model_type: qwen2_5, template: qwen2_55, suites: [x]}\n"
        "  b: {model: 'tiny:qwen3', dataset: [nosuch.txt], environment: {train: new, serve: new}, template: unheard}\n"
        "  c: {model: o/m, model: o/m, dataset: [o/d], group: [full]}\n"
        "  d: {model: o/m, dataset: [o/d], training: {learning_rate: .inf}}\n"
        "  e: {url: 'http://127.0.0.1:9/v1', served_model: m, template: of_the_service}\n"
        "groups:\n  smok: {}\n"
        "environments:\n  new: {requirements: [ms-swift==3.0.3]}\n"
        "suites:\n  x: {benchmark: cevall}\n"
    )
    done = run_pytest("benchmarks/", "--matrix", str(path))
    assert done.returncode == 4
    told = done.stdout + done.stderr
    assert "9 mistakes" in told
    for said in (
        "a.model_type: the ms-swift of environment 'default' does not know 'qwen2_5'; is it 'qwen2'?",
        "a.template: the ms-swift of environment 'default' does not know 'qwen2_55'; is it 'qwen2_5'?",
        "b.model: there is no tiny recipe 'qwen3'; is it 'qwen2'",
        "b.dataset: no file 'nosuch.txt'",
        "'model' is given twice (again in line 4)",
        "c.group: input should be 'full' or 'smoke'",
        "d.training.learning_rate: input should be a finite number",
        "groups: 'smok' is not known; is it 'smoke'",
        "cevall",
    ):
        assert said in told
    assert not (tmp_path / "store").exists()


def test_suites_are_held_against_the_installed_evalscope(run_pytest: PytestRun, matrix: Path) -> None:
    matrix.write_text(matrix.read_text().replace("benchmark: facts_exam", "benchmark: facts_exm"))
    done = run_pytest("benchmarks/", "--matrix", str(matrix))
    assert done.returncode == 4
    assert "'facts_exam'" in done.stdout + done.stderr


def test_rows_that_cannot_run_here_are_skipped_with_the_reason(
    run_pytest: PytestRun, matrix: Path, tmp_path: Path
) -> None:
    done = run_pytest("benchmarks/", "--matrix", str(matrix), "-k", "big", f"--html={tmp_path / 'reports'}/")
    assert done.returncode == 0
    assert done.stdout.count("skipped: big: needs a GPU with 70000 GiB") == 1
    assert (tmp_path / "reports" / "index.html").is_file()


def test_a_report_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("file", "file/sub", "nowhere", "nowhere/sub", "loop", "n" * 300, "n" * 5000):
        with pytest.raises(
            pytest.UsageError, match=r"(?s)^--html: .* cannot be written \(.*\); name another folder$"
        ):
            refuse_unwritable("--html", tmp_path / name / "index.html")
    refuse_unwritable("--html", tmp_path / "new" / "folder" / "index.html")
    assert not (tmp_path / "new").exists()


def test_a_report_may_be_named_as_a_file(run_pytest: PytestRun, matrix: Path, tmp_path: Path) -> None:
    run_pytest("benchmarks/", "--matrix", str(matrix), "-k", "big", f"--html={tmp_path / 'mine.html'}")
    assert "<link" not in (tmp_path / "mine.html").read_text(encoding="utf-8")


def test_what_is_not_in_the_store_is_said_not_run(
    run_pytest: PytestRun, matrix: Path, tmp_path: Path
) -> None:
    done = run_pytest("benchmarks/", "--matrix", str(matrix), "-k", "small and exam", "--no-run")
    assert done.returncode == 0
    assert re.search("^skipped: small: .* is not in the store", done.stdout, re.MULTILINE)
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


@WITH_AND_WITHOUT_WORKERS
def test_dry_run_prints_the_chain_in_order_and_runs_nothing(
    run_pytest: PytestRun, matrix: Path, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    done = run_pytest("benchmarks/", "--matrix", str(matrix), "--dry-run", *workers)
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
    assert not list((tmp_path / "store").glob("runs/*"))


@WITH_AND_WITHOUT_WORKERS
def test_rows_that_are_not_like_for_like_end_a_strict_run(
    run_pytest: PytestRun, matrix: Path, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    told = matrix.read_text().replace("big: {", "big: {training: {epochs: 2}, ").replace("70000", "0")
    told = told.replace("group: smoke, ", "")
    matrix.write_text(told)
    done = run_pytest("benchmarks/", "--matrix", str(matrix), "--strict-comparability", *workers)
    assert done.returncode == 4
    assert "epochs: 2 (big); 1 (small)" in done.stdout + done.stderr
    assert not list((tmp_path / "store").glob("runs/*"))


@pytest.mark.parametrize(
    ("choice", "runs", "said"),
    [
        ("auto", "big", "skipped: small: left out because a full-size row can run here; --rows smoke runs"),
        ("full", "big", "skipped: small: left out by --rows full"),
        ("smoke", "small", "skipped: big: left out by --rows smoke"),
    ],
)
def test_rows_are_chosen_by_size_and_the_others_are_told(
    run_pytest: PytestRun, matrix: Path, choice: str, runs: str, said: str
) -> None:
    matrix.write_text(matrix.read_text().replace("70000", "70"))
    asked = ("benchmarks/", "--matrix", str(matrix), "-m", "train", "--rows", choice)
    cards = {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": "0"}
    told = [
        line
        for line in run_pytest(*asked, "--no-run", **cards).stdout.splitlines()
        if line.startswith("skipped: ")
    ]
    assert len(told) == 2
    assert any(line.startswith(said) for line in told)
    assert any(line.startswith(f"skipped: {runs}: ") and "is not in the store" in line for line in told)
    assert re.findall("^# == (.*)$", run_pytest(*asked, "--dry-run", **cards).stdout, re.MULTILINE) == [runs]


def test_without_a_card_the_tiny_rows_run_whatever_the_size_asked_for(
    run_pytest: PytestRun, matrix: Path
) -> None:
    for choice in ("auto", "smoke"):
        done = run_pytest("benchmarks/", "--matrix", str(matrix), "-m", "train", "--no-run", "--rows", choice)
        assert "skipped: big: needs a GPU with 70000 GiB" in done.stdout
        assert "skipped: small: small: " in done.stdout


def test_collecting_asks_for_the_cards_once(run_pytest: PytestRun, matrix: Path, tmp_path: Path) -> None:
    counting = tmp_path / "bin" / "nvidia-smi"
    counting.parent.mkdir()
    counting.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\nexec {TOOLS}/nvidia-smi\n")
    counting.chmod(0o755)
    run_pytest(
        "benchmarks/",
        "--matrix",
        str(matrix),
        "--collect-only",
        PATH=f"{counting.parent}{os.pathsep}{os.environ['PATH']}",
    )
    assert (tmp_path / "asked").read_text().splitlines() == ["asked"]


def test_a_question_about_the_merge_is_asked_only_where_one_is_served(run_pytest: PytestRun) -> None:
    names = collected(run_pytest("-m", "deploy", "-k", "tiny-qwen2", "--collect-only", "-q"))
    assert [name for name in names if "base_plus_adapter" in name] == [
        "benchmarks/test_parity.py::test_merged_weights_are_base_plus_adapter[tiny-qwen2-tuned]"
    ]


def test_training_comes_before_anything_is_served_and_base_before_tuned(
    run_pytest: PytestRun, matrix: Path
) -> None:
    names = collected(
        run_pytest("benchmarks/", "--matrix", str(matrix), "-k", "small", "--collect-only", "-q")
    )
    position = {name: place for place, name in enumerate(names)}
    base = [p for name, p in position.items() if "small-base" in name]
    assert max(p for name, p in position.items() if "test_train" in name or "test_export" in name) < min(base)
    assert min(p for name, p in position.items() if "small-tuned" in name) > max(base)


def test_a_row_stays_with_one_worker(run_pytest: PytestRun) -> None:
    shown = run_pytest("benchmarks/", "-k", "tiny", "--no-run", "-n", "2", "-v").stdout
    workers: dict[str, set[str]] = {}
    for worker, row in re.findall(
        r"^\[(gw\d)\].*?\[(tiny-(?:qwen2|llama|gpt-oss(?!-)))\b", shown, re.MULTILINE
    ):
        workers.setdefault(row, set()).add(worker)
    assert len(workers) == 3
    assert all(len(those) == 1 for those in workers.values())


def test_the_longest_row_begins_first(run_pytest: PytestRun, tmp_path: Path) -> None:
    for row, seconds in (("tiny-qwen2", 5.0), ("tiny-llama", 50.0), ("tiny-gpt-oss", 900.0)):
        folder = tmp_path / "store" / "models" / row / "train-1"
        folder.mkdir(parents=True)
        record = Record("train", row, "", "ran", "", "", "", str(folder / "output"), "", seconds, {})
        (folder / "record.json").write_text(json.dumps(asdict(record)))
    shown = run_pytest("benchmarks/", "-k", "tiny", "--no-run", "-n", "1", "-v").stdout
    worked = re.findall(r"^\[gw\d\].*?\[(tiny-(?:qwen2|llama|gpt-oss))", shown, re.MULTILINE)
    assert list(dict.fromkeys(worked)) == ["tiny-gpt-oss", "tiny-llama", "tiny-qwen2"]


@WITH_AND_WITHOUT_WORKERS
@pytest.mark.usefixtures("known_tools")
def test_doctor_tells_and_runs_nothing(
    run_pytest: PytestRun, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    done = run_pytest("--doctor", "-k", "tiny", *workers)
    assert "->" in done.stdout or "nothing speaks against this run" in done.stdout
    assert " passed" not in done.stdout
    assert not (tmp_path / "store" / "models").exists()
    assert not (tmp_path / "store" / "runs").exists()


def test_markers_are_registered_and_documented(run_pytest: PytestRun) -> None:
    shown = run_pytest("--markers").stdout
    assert all(
        f"@pytest.mark.{name}:" in shown for name in ("train", "export", "deploy", "eval", "judge", "speed")
    )


def test_schema_is_json() -> None:
    path = Path(__file__).parents[1] / "docs" / "model_matrix.schema.json"
    assert "models" in json.loads(path.read_text(encoding="utf-8"))["properties"]


def test_base_and_tuned_get_along_with_one_card(run_pytest: PytestRun, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    card = tmp_path / "bin" / "nvidia-smi"
    card.write_text("#!/bin/sh\necho '0, Pretended 80GB, 81920, 81920, GPU-00000000-fake'\n")
    card.chmod(0o755)
    plant_tools(tmp_path / "store")
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(
        "models:\n"
        "  tiny-card:\n"
        f"    model: {plant_base(tmp_path / 'base')}\n"
        "    model_type: llama\n"
        "    template: llama3\n"
        "    dataset: ['shipped:facts_train.jsonl']\n"
        "    needs: {gpu_memory_gib: 70}\n"
        "    training: {dtype: float32, max_length: 512, max_steps: 2, learning_rate: 5e-3, tracker: none}\n"
    )
    path = f"{card.parent}{os.pathsep}{os.environ['PATH']}"
    options = ("-p", "tests.unprobed", "-m", "train or export or deploy", "-k", "not parity")
    fakes = f"{TOOLS}{os.pathsep}{ROOT}"
    done = run_pytest(*options, "--matrix", str(matrix), PATH=path, PYTHONPATH=fakes)
    assert done.returncode == 0, done.stdout
    told = [json.loads(line) for line in next(tmp_path.glob("store/runs/*/events.jsonl")).open()]
    assert [
        one["stage"] for one in told if one["event"] == "stage" and one["stage"] in ("train", "deploy")
    ] == [
        "train",
        "deploy",
        "deploy",
    ]


def test_rows_that_are_skipped_here_do_not_make_a_comparison_unlike(
    run_pytest: PytestRun, tmp_path: Path
) -> None:
    matrix = tmp_path / "matrix.yaml"
    row = "{model: owner/a, dataset: [owner/d], training: {learning_rate: 1e-4}"
    matrix.write_text(
        f"models:\n  a: {row}}}\n  b: {row.replace('1e-4', '2e-4')}, needs: {{gpu_memory_gib: 70000}}}}\n"
    )
    strict = ("benchmarks/", "--matrix", str(matrix), "--strict-comparability", "--dry-run")
    assert run_pytest(*strict).returncode == 0
    matrix.write_text(matrix.read_text().replace("70000", "0"))
    done = run_pytest(*strict)
    assert done.returncode == 4
    assert "learning rate: 0.0001 (a); 0.0002 (b)" in done.stdout + done.stderr


TYPO = """
defaults:
  group: smoke
  model: BASE
  model_type: llama
  template: llama3
  dataset: ["shipped:facts_train.jsonl"]
  training: {tracker: none, max_steps: 2}
  suites: [exam]
models:
  typo: {training: {extra: {lerning_rate: 1}}}
  sound: {}
suites:
  exam: {benchmark: facts_exam, data: 'shipped:facts_exam', hub: false}
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_row_whose_flags_ms_swift_would_refuse_begins_no_stage_while_the_others_run(
    run_pytest: PytestRun, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    plant_tools(tmp_path / "store")
    base = plant_base(tmp_path / "base")
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(TYPO.replace("BASE", str(base)))
    fakes = f"{TOOLS}{os.pathsep}{ROOT}"
    options = ("--matrix", str(matrix), "--cold", "-k", "typo or train", *workers)
    done = run_pytest("benchmarks/", *options, PYTHONPATH=fakes)
    told = "--lerning_rate is not known to ms-swift 4.6.0\n    -> use --learning_rate"
    assert f"typo does not begin: the doctor found (pytest --doctor)\nerror: typo: {told}" in done.stdout
    assert done.returncode == 1
    told = "error: typo: --lerning_rate is not known to ms-swift 4.6.0 -> use"
    assert sum(line.startswith(told) for line in done.stdout.splitlines()) == 1
    timeline = next((tmp_path / "store" / "runs").glob("*/events.jsonl")).read_text(encoding="utf-8")
    events = [json.loads(line) for line in timeline.splitlines()]
    assert {one["model"] for one in events if one["event"] == "started"} == {"sound"}
    assert [one["outcome"] for one in events if one.get("stage") == "train" and "outcome" in one] == ["ran"]
    run = json.loads(next((tmp_path / "store" / "runs").glob("*/run.json")).read_text(encoding="utf-8"))
    used = run["provenance"]["environments"]
    assert list(used) == ["default"]
    assert used["default"]["versions"]["ms-swift"] == "4.6.0"
    assert used["default"]["digest"]
