"""What no row refers to is listed, and goes after a yes; runs and judgements stay."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from bakeoff.chain.chain import Chain
from bakeoff.chain.deployment import Deployment
from bakeoff.chain.evaluation import Evaluation
from bakeoff.execution.runner import Runner
from bakeoff.foundation.command import Command
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import load_matrix
from bakeoff.stale import remove, stale
from bakeoff.tools.hubs import Source, store_folder
from tests.chains import ROW, SUITE, bench_in

KEPT = (
    "runs/1/run.json",
    "judge/ratings.sqlite",
    "models/gone/replies/tuned.jsonl",
    "models/gone/replies-tuned-1/r",
    "models/tiny/by-hand/base-exam/reports/r",
    "models/tiny/evaluation/base/exam/5555555555/predictions/p",  # yet to finish
)
STALE = (
    "models/tiny/train-0000000000/output/w",
    "models/gone/export-1111111111/output/w",
    "models/tiny/evaluate-exam-base-2222222222/result.json",
    "tiny/llama-3333333333/output/w",
    "environments/4444/venv/w",
    "models/tiny/speed-base-6666666666/result.json",
    "models/tiny/by-hand/base-gone/reports/r",
    "models/tiny/evaluation/base/exam/7777777777/result.json",
    "models/gone/evaluation/base/exam/8888888888/predictions/p",
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one row's current folders, and others."""
    matrix = tmp_path / "matrix.json"
    matrix.write_text(json.dumps({"models": {"tiny": ROW}, "suites": {"exam": SUITE}}))
    store = tmp_path / "store"
    chain = Chain(
        load_matrix(matrix).models["tiny"], bench_in(store, Runner(store / "p"), load_matrix(matrix))
    )
    current = [chain.train_folder() / "output/w", Path(chain.base_path()) / "w", chain.export_folder() / "w"]
    for path in [*current, *(store / name for name in (*KEPT, *STALE))]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(2**20))
    return store


def clean(store: Path, *flags: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    argv = [
        "-m",
        "bakeoff.stale",
        "--store",
        str(store),
        "--matrix",
        str(store.parent / "matrix.json"),
        *flags,
    ]
    return subprocess.run(
        [sys.executable, *argv], input=answer, capture_output=True, text=True, timeout=60, check=False
    )


def files(store: Path) -> set[str]:
    return {
        str(path.relative_to(store)) for path in store.rglob("*") if path.is_file() and path.suffix != ".lock"
    }


def test_only_what_no_row_refers_to_goes(store: Path) -> None:
    before = files(store)
    done = clean(store, "--yes")
    assert done.returncode == 0, done.stderr
    assert before - files(store) == set(STALE)
    assert "1.0 MiB  models/tiny/train-0000000000" in done.stdout
    assert "refers to everything" in clean(store, "--yes").stdout


@pytest.mark.parametrize("answer", ["", "n\n", "maybe\n"])
def test_nothing_goes_without_a_yes(store: Path, answer: str) -> None:
    before = files(store)
    done = clean(store, answer=answer)
    assert "remove 9 folders, 9.0 MiB?" in done.stdout
    assert files(store) == before


def test_a_yes_removes(store: Path) -> None:
    assert "removed 9 folders" in clean(store, answer="y\n").stdout


def test_what_somebody_works_on_stays(store: Path) -> None:
    workspace = Workspace(store)
    workspace.locks.mkdir()
    found = stale(load_matrix(store.parent / "matrix.json"), workspace)
    with FileLock(workspace.locks / "models-tiny-train-0000000000.lock"):
        stayed = remove(found, workspace)
    assert [path.name for path in stayed] == ["train-0000000000"]
    assert (store / STALE[0]).exists()


def test_what_is_served_stays(store: Path) -> None:
    workspace = Workspace(store)
    served = store / "models/gone/export-1111111111/output"
    runner = Runner(workspace.processes, warm=False)
    code = "import time; time.sleep(600)"
    process = runner.start(Command((sys.executable, "-c", code, "--model", str(served))), store / "log")
    try:
        done = clean(store, "--yes")
    finally:
        process.stop()
        runner.forget(process)
        runner.close()
    assert f"somebody works on it or it is not ours to remove: {served.parent}" in done.stdout
    assert (served / "w").exists()
    assert clean(store, "--yes").returncode == 0
    assert not served.exists()


def test_the_answers_behind_a_result_stay_with_it(store: Path) -> None:
    cache = store / "models/tiny/evaluation/base/exam/9999999999"
    cache.mkdir(parents=True)
    (cache / "result.json").write_text("{}")
    matrix = load_matrix(store.parent / "matrix.json")
    chain = Chain(matrix.models["tiny"], bench_in(store, Runner(store / "p"), matrix))
    kept = Evaluation(Deployment(chain, "base"), ()).folder(matrix.suites["exam"])
    kept.mkdir(parents=True)
    (kept / "result.json").write_text(json.dumps({"folder": str(cache)}))
    clean(store, "--yes")
    assert cache.exists()


def test_a_hubs_files_go_when_no_row_takes_them(store: Path) -> None:
    commit = "a" * 40
    rows = {
        "pinned": {**ROW, "model": "o/base", "revision": commit},
        "by-branch": {**ROW, "dataset": ["o/data"]},  # nobody has asked where it is
    }
    matrix = store.parent / "matrix.json"
    matrix.write_text(json.dumps({"models": {"tiny": ROW, **rows}, "suites": {"exam": SUITE}}))
    base = Source("modelscope", "model", "o/base", commit)
    hubs = store / "hubs"
    needed = [store_folder(hubs, base, commit), hubs / "o--data-aaaaaaaaaa"]
    unneeded = [
        store_folder(hubs, base, "b" * 40),
        hubs / "o--gone-bbbbbbbbbb",
        hubs / "o--data-more-cccccccccc",
    ]
    for folder in (*needed, *unneeded):
        (folder / "files").mkdir(parents=True)
        (folder / "record.json").write_text("{}")
    done = clean(store, "--yes")
    assert done.returncode == 0, done.stderr
    assert [folder.exists() for folder in (*needed, *unneeded)] == [True, True, False, False, False]


@pytest.mark.parametrize("how", ["copied", "moved", "linked", "linked within"])
def test_a_store_that_lies_elsewhere_now_lists_what_it_did(store: Path, how: str) -> None:
    matrix = load_matrix(store.parent / "matrix.json")
    chain = Chain(matrix.models["tiny"], bench_in(store, Runner(store / "p"), matrix))
    for variant in ("base", "tuned"):
        cache = store / f"models/tiny/evaluation/{variant}/exam/9999999999"
        cache.mkdir(parents=True)
        (cache / "result.json").write_text("{}")
        result = Evaluation(Deployment(chain, variant), ()).folder(matrix.suites["exam"]) / "result.json"
        result.parent.mkdir(parents=True)
        result.write_text(json.dumps({"folder": str(cache)}))
    before = {one.folder.relative_to(store) for one in stale(matrix, Workspace(store))}
    there = store.parent / "elsewhere" / "store"
    there.parent.mkdir()
    if how == "linked within":
        shutil.copytree(store, there)
        (there / "models").rename(there.parent / "on another disk")
        (there / "models").symlink_to("../on another disk")
        how = ""
    {"": lambda: None, "copied": lambda: shutil.copytree(store, there), "moved": lambda: store.rename(there),
     "linked": lambda: there.symlink_to(store)}[how]()  # fmt: skip
    assert {one.folder.relative_to(there) for one in stale(matrix, Workspace(there))} == before
    assert len(before) == len(STALE)
