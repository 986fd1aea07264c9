"""Packs what pytest needs into the wheel: ``conftest.py`` and ``benchmarks/`` go to ``bakeoff/_project/``."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithProject(build_py):
    """Copies the project's own tests beside the engine; a clone (an editable installation) has them already."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "bakeoff" / "_project"
        (target / "benchmarks").mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / "conftest.py", target)
        for file in (ROOT / "benchmarks").glob("*.py"):
            shutil.copy2(file, target / "benchmarks")


setup(cmdclass={"build_py": BuildWithProject})
