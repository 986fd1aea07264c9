"""Where the benchmarks are: beside the package, or installed inside it."""

from __future__ import annotations

from pathlib import Path

_PACKAGED = Path(__file__).parents[1] / "_project"


def project_folder() -> Path:
    """The folder that holds ``conftest.py`` and ``benchmarks/``."""
    return _PACKAGED if (_PACKAGED / "conftest.py").is_file() else Path(__file__).parents[2]
