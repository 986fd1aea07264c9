"""The walls of the house: who may import whom, and what collecting must not import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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


def test_the_facts_know_nobody() -> None:
    for name in ("errors.py", "command.py", "workspace.py"):
        assert not {one for one in imports(ROOT / "bakeoff" / name) if one.startswith("bakeoff")}


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
