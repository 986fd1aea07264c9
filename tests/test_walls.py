"""The walls of the house: who may import whom, and what collecting must not import."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("structure", ROOT / "bench" / "structure.py")
assert SPEC
assert SPEC.loader
structure = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(structure)
HEAVY = {
    "torch",
    "transformers",
    "swift",
    "evalscope",
    "gradio",
    "scipy",
    "statsmodels",
    "datasets",
    "matplotlib",
    "pandas",
    "pyarrow",
    "hypothesis",
    "anyio",
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
    return found


def engine() -> list[Path]:
    return sorted((ROOT / "bakeoff").rglob("*.py"))


@pytest.mark.parametrize("path", engine(), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_engine_never_hears_of_pytest_gradio_or_the_judge(path: Path) -> None:
    forbidden = {"pytest", "gradio", "judge", "fixtures", "benchmarks", "conftest"}
    assert not {name for name in imports(path) if name.split(".")[0] in forbidden}


def test_only_the_adapters_know_evalscope() -> None:
    knowing = {
        p.relative_to(ROOT / "bakeoff").parts[0]
        for p in engine()
        if any(n.split(".")[0] == "evalscope" for n in imports(p))
    }
    assert knowing <= {"evalscope", "suites", "data"}  # data: writes the exam in EvalScope's prompt form


STACK = {
    "facts": "foundation plugins probes parity_probe data",
    "values": "statistics scoring matrix endpoint store execution",
    "adapters": "parity forms tiny suites training_data tools environments evalscope",
    "judgement": "judgement",
    "the chain": "chain",
    "a run": "doctor report verify runs stale chat start",
}
"""A room imports only rooms that stand before it; its own program may import anything."""
NEVER = {
    "parity": {"chain", "store"},
    "store": {"matrix", "chain"},
    "judgement": {"report", "chain", "runs"},
    "report": {"runs", "judgement", "chain"},
    "chain": {"doctor", "report", "runs"},
}
"""Arrows that the order would allow or that came up before: each would tie two ideas together."""


def test_imports_between_rooms_run_one_way() -> None:
    graph = {name: rooms for name, rooms in structure.arrows().items() if not name.startswith("python -m")}
    order = " ".join(STACK.values()).split()
    assert sorted(order) == sorted(graph)
    climbing = [(a, b) for a, rooms in graph.items() for b in rooms if order.index(b) >= order.index(a)]
    assert climbing == []
    assert [(a, b) for a, rooms in NEVER.items() for b in rooms & graph[a]] == []


def test_the_map_shows_every_room_on_its_floor() -> None:
    rows = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
    for floor, names in STACK.items():
        (row,) = (line for line in rows if line.startswith(f"| {floor} |"))
        assert [name for name in names.split() if f"`{name}" not in row] == []


def test_a_benchmark_asks_for_fixtures_and_starts_nothing() -> None:
    for path in (ROOT / "benchmarks").glob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not imports(path) & {"subprocess", "os", "requests"}
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While)], path


def test_collecting_the_benchmarks_imports_nothing_heavy() -> None:
    code = (
        "import sys, pytest\n"
        "code = pytest.main(['benchmarks/', '--collect-only', '-q', '-p', 'no:cacheprovider'])\n"
        f"print('HEAVY', sorted({HEAVY!r} & set(sys.modules)), int(code))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines()[-1] == "HEAVY [] 0", done.stdout[-2000:] + done.stderr[-2000:]
