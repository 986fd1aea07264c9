"""What several test modules ask for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chains import built, plant_tools, tiny, warm
from tests.forking import forks

__all__ = ["built", "forks", "tiny", "warm"]  # one of each for all modules, which ask for them by name
ROOT = Path(__file__).parents[1]
SLOWEST = [
    "test_faults.py",
    "test_clusters.py",
    "test_wiring.py",
    "test_chain.py",
    "test_parity.py",
    "test_hubs.py",
    "test_evalscope.py",
    "test_judge.py",
    "test_judge_browser.py",
    "test_judge_network.py",
    "test_forms.py",
    "test_sabotaged_services.py",
    "test_doctor.py",
]
"""Files that take minutes, the longest first: begun last, one of them would keep one worker after the other's end."""
PytestRun = Callable[..., subprocess.CompletedProcess[str]]


def pytest_pycollect_makemodule() -> None:
    """Load the profile, and keep to one thread, before the first test module is imported.

    Not at the top: pytest reads this file also where no test of the harness is asked for, and hypothesis takes 1 s.
    """
    from hypothesis import settings

    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)

    if settings.get_current_profile_name() != "any machine":  # each profile refers to the one before
        # the first example may wait for scipy's import
        settings.register_profile("any machine", deadline=None)
        settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest files; within a file the order stays."""
    place = {name: number for number, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(SLOWEST)))


@pytest.fixture
def test_data() -> Path:
    """Public evaluation data of the developer; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("BAKEOFF_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no evaluation data at {folder}; set BAKEOFF_TEST_DATA")
    return folder


ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""What computes here, and rows on pretended cards, would take all threads, which spin for each other."""


@pytest.fixture
def run_pytest(tmp_path: Path) -> PytestRun:
    """Runs pytest from the project's root as a user does, with a store of its own."""

    def run(*arguments: str, timeout_s: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-p",
                "no:cacheprovider",
                "--store",
                str(tmp_path / "store"),
                *arguments,
            ],
            cwd=ROOT,
            env={**os.environ, **ONE_THREAD, **env},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


@pytest.fixture
def four_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has the pretended cards of tests/fakes/tools/nvidia-smi, all visible."""
    tools = ROOT / "tests" / "fakes" / "tools"
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def known_tools(tmp_path: Path) -> None:
    """The store of :func:`run_pytest` knows what ms-swift accepts; finding out takes its imports, 8 s."""
    plant_tools(tmp_path / "store")
