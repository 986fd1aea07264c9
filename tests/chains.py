"""Real tiny chains for the tests: built, trained for a few steps and merged once, by the real ms-swift."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from bakeoff.chain.chain import Bench, Chain
from bakeoff.environments.building import running_environment
from bakeoff.environments.installed import cache_file, installed
from bakeoff.execution.runner import Runner
from bakeoff.foundation.provenance import ContentHashes
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import parse_matrix
from bakeoff.matrix.schema import Matrix, ModelSpec
from bakeoff.store.stages import Stages, Timeline

STORE = Path(os.environ.get("BAKEOFF_STORE", Path(__file__).parents[1] / "store"))
ROW: dict[str, Any] = {
    "model": "tiny:llama",
    "model_type": "llama",
    "template": "llama3",
    "dataset": ["shipped:facts_train.jsonl"],
    "training": {
        "dtype": "float32",
        "max_length": 512,
        "gradient_checkpointing": False,
        "batch_size": 4,
        "gradient_accumulation": 1,
        "learning_rate": 5e-3,
        "max_steps": 12,
        "tracker": "none",
    },
    "serving": {"engine": "transformers", "restarts": 2},
    "limits": {"train_s": 600.0, "export_s": 300.0, "evaluate_s": 300.0, "stall_s": 300.0, "retries": 0},
    "suites": ["exam"],
}
SUITE = {"benchmark": "facts_exam", "data": "shipped:facts_exam", "hub": False, "few_shot": 0, "chance": 0.25}


def matrix_with(**changes: Any) -> Matrix:
    """A matrix of one row, ``tiny``, which differs from :data:`ROW` by *changes*; None takes a key away."""
    row = {key: value for key, value in {**ROW, **changes}.items() if value is not None}
    return parse_matrix({"models": {"tiny": row}, "suites": {"exam": SUITE}})


def bench_in(store: Path, runner: Runner, matrix: Matrix) -> Bench:
    workspace = Workspace(store)
    stages = Stages(workspace, Timeline(store / "events.jsonl"))
    return Bench(matrix, workspace, stages, runner, ContentHashes(workspace.cache / "hashes.json"))


def plant_tools(store: Path) -> None:
    """Let *store* know what the running environment's ms-swift accepts."""
    environment = running_environment()
    kept = cache_file(environment, STORE / "cache")
    installed(environment, STORE / "cache")
    own = store / "cache" / "installed" / kept.name
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    own.parent.mkdir(parents=True)
    own.write_bytes(kept.read_bytes())


def plant_base(folder: Path) -> Path:
    """A base model as far as the fake tools look at one."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    header = b'{"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"base")
    return folder


class Tiny:
    """Chains of rows in one store, with one runner."""

    def __init__(self, store: Path, runner: Runner) -> None:
        self.store, self.runner = store, runner

    def chain(self, store: Path | None = None, **changes: Any) -> Chain:
        matrix = matrix_with(**changes)
        return Chain(matrix.models["tiny"], bench_in(store or self.store, self.runner, matrix))

    def spec(self, **changes: Any) -> ModelSpec:
        return matrix_with(**changes).models["tiny"]


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """The runner that all test modules share: ms-swift is imported once (9 s), and EvalScope (3 s)."""
    runner = Runner(tmp_path_factory.mktemp("warm") / "processes")
    yield runner
    runner.close()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, warm: Runner) -> Tiny:
    """What the test modules share; a stage that one of them ran is reused by the next.

    With pytest-xdist, the first worker trains and merges the row for all: each begins with a copy of that store.
    """
    ours = tmp_path_factory.getbasetemp()
    store = ours / "tiny-chains"
    if "PYTEST_XDIST_WORKER" in os.environ:
        whole = ours.parent / "tiny-chains-of-all"
        with FileLock(ours.parent / "tiny-chains.lock"):
            if not (whole / "whole").exists():
                Tiny(whole, warm).chain().export()
                (whole / "whole").touch()
        shutil.copytree(whole, store, symlinks=True)
        for record in store.rglob("record.json"):
            record.write_text(record.read_text().replace(str(whole), str(store)))
    return Tiny(store, warm)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the tiny model of a recipe, which its command line builds once for all workers."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def folder(recipe: str) -> Path:
        place = shared / "tiny-models" / recipe
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(shared / f"tiny-model-{recipe}.lock"):
            if not (place / "model").exists():
                line = [sys.executable, "-m", "bakeoff.tiny", recipe, str(place / "model")]
                done = subprocess.run(
                    line, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False
                )
                assert done.returncode == 0, done.stderr
        return place / "model"

    return folder
