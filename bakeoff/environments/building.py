"""Python environments: built on first use from their requirements, kept by the content of what was asked for.

The environments' folder (``store/environments``) holds one folder per content hash: ``venv/``, ``build.log`` and
``environment.json``. The record is removed first and written last, so a build that was killed is done again and never
taken for a whole one; a file lock keeps two processes from building the same one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from bakeoff.errors import EnvironmentFailed
from bakeoff.matrix.schema import Environment

PROBE = Path(__file__).with_name("probe.py")
_HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__")


@dataclass(frozen=True)
class PythonEnvironment:
    """An environment that is there: what runs a row's commands, and what is installed in it."""

    name: str
    python: Path
    python_version: str
    versions: Mapping[str, str]
    """Every distribution (normalised name) with its version."""
    digest: str
    """Hash of what was asked for; for ``default``, of what is installed."""
    log: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that the matrix adds for commands of this environment."""

    def version(self, package: str) -> str | None:
        """The version of *package*, or None where it is not installed."""
        return self.versions.get(_normalised(package))


BUILD_S = 2 * 3600.0
"""Seconds that a build may take in all."""
PROGRESS_S = 30.0


def interpreter(environment: Environment, root: Path) -> Path | None:
    """The interpreter of *environment* as it is, without listing what is installed there; None before it is built."""
    if is_running(environment):
        return Path(sys.executable)
    there = built(environment, root)
    return there.python if there else None


def ensure_environment(
    environment: Environment, root: Path, tell: Callable[[str], object] = lambda how_far: None
) -> PythonEnvironment:
    """The environment *environment*, built under *root* unless it is there already.

    An environment without requirements, named ``default``, is the running interpreter's.

    Args:
        tell: told when a build begins, and every half minute how far it is.

    Raises:
        EnvironmentFailed: it cannot be built; the message names the requirement, the log and the way out.
    """
    if is_running(environment):
        return running_environment(environment)
    if found := built(environment, root):
        return found
    from filelock import FileLock

    folder = root / digest(environment)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f"{folder.name}.lock"):
        return built(environment, root) or _build(environment, folder, tell)


def is_running(environment: Environment) -> bool:
    """Whether *environment* is the one this program runs in."""
    return environment.name == "default" or not (environment.requirements or environment.python)


def built(environment: Environment, root: Path) -> PythonEnvironment | None:
    """The environment as an earlier build left it under *root*, or None; never builds."""
    if is_running(environment):
        return running_environment(environment)
    folder = root / digest(environment)
    try:
        record = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
        python = folder / record["python"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not python.exists():
        return None
    return PythonEnvironment(
        environment.name,
        python,
        record["python_version"],
        record["versions"],
        folder.name,
        folder / "build.log",
        dict(environment.env),
    )


def digest(environment: Environment) -> str:
    """The content hash that names the folder of *environment*: requirements, Python and constraints, no names."""
    asked = {
        "requirements": sorted(environment.requirements),
        "python": _python_version(environment),
        "constraints": constraints(environment.requirements),
        "machine": f"{sys.platform}-{platform.machine()}",
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def constraints(requirements: Sequence[str]) -> list[str]:
    """What every build is held to on this machine.

    Without a GPU that is the CPU build of torch found in the running environment: a plain ``torch`` would otherwise
    bring gigabytes of CUDA libraries. A requirement that excludes that version is left to its own devices.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    torch = _here("torch") or ""
    if not torch.endswith("+cpu") or _has_gpu():
        return []
    for text in requirements:
        try:
            one = Requirement(text)
        except InvalidRequirement:
            continue
        if _normalised(one.name) == "torch" and not one.specifier.contains(torch, prereleases=True):
            return []
    return [f"torch=={torch}"]


def swift_version(environment: Environment, root: Path) -> str | None:
    """The ms-swift of *environment*: the one found there, else the one its requirements pin, else None.

    So a dry run speaks the right words before the environment is built. Of a range it is the newest whose words differ.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    if is_running(environment):
        return _here("ms-swift")
    there = built(environment, root)
    if there:
        return there.version("ms-swift")
    for text in environment.requirements:
        try:
            one = Requirement(text)
        except InvalidRequirement:
            continue
        if _normalised(one.name) == "ms-swift":
            pins = [clause.version for clause in one.specifier if clause.operator in ("==", "===", "~=")]
            return next((v for v in (*DIALECTS, *pins) if one.specifier.contains(v)), None)
    return None


DIALECTS = ("4.6.0", "3.12.6", "3.6.4", "3.5.3", "3.4.1", "3.2.2", "3.1.1", "3.0.3")
"""Versions of ms-swift that differ in the words of a command line (see :mod:`bakeoff.tools.swift`), newest first."""


def running_environment(environment: Environment | None = None) -> PythonEnvironment:
    """The environment this program runs in."""
    packages = _installed()
    asked = json.dumps([platform.python_version(), packages], sort_keys=True)
    return PythonEnvironment(
        environment.name if environment else "default",
        Path(sys.executable),
        platform.python_version(),
        packages,
        hashlib.sha256(asked.encode()).hexdigest()[:16],
        None,
        dict(environment.env) if environment else {},
    )


def ask(python: Path, question: str, *arguments: str, out: Path, timeout_s: float = 300) -> dict[str, Any]:
    """What ``probe.py`` answers to *question* when *python* runs it; the answer stays in *out*.

    Raises:
        EnvironmentFailed: the interpreter could not answer; the message ends with its last lines.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    line = [str(python), str(PROBE), question, str(out), *arguments]
    try:
        done = subprocess.run(
            line, capture_output=True, text=True, env=_clean(), timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentFailed(
            f"{python}: no answer to {question!r} in {timeout_s:g} s; run it by hand: {' '.join(line)}"
        ) from None
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        raise EnvironmentFailed(f"{python}: cannot answer {question!r}; by hand: {' '.join(line)}\n{last}")
    answer: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return answer


def _build(environment: Environment, folder: Path, tell: Callable[[str], object]) -> PythonEnvironment:
    record, venv, log = folder / "environment.json", folder / "venv", folder / "build.log"
    record.unlink(missing_ok=True)
    shutil.rmtree(venv, ignore_errors=True)
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    held = folder / "constraints.txt"
    held.write_text("".join(f"{one}\n" for one in constraints(environment.requirements)), encoding="utf-8")
    uv = shutil.which("uv")
    wanted = _python_version(environment)
    if uv:
        lines = [
            [uv, "venv", "--quiet", "--python", wanted, str(venv)],
            [uv, "pip", "install", "--python", str(python), "-c", str(held), *environment.requirements],
        ]
    else:
        lines = [
            [_interpreter(environment, wanted), "-m", "venv", str(venv)],
            [str(python), "-m", "pip", "install", "--no-input", "-c", str(held), *environment.requirements],
        ]
    tell(f"building, which takes minutes; log: {log}")
    deadline = time.monotonic() + BUILD_S
    with log.open("w", encoding="utf-8") as out:
        for line in lines:
            returncode = _run(environment, line, out, deadline, tell)
            if returncode and _cannot_keep(held, log):
                tell(f"its requirements cannot live with {held.read_text().strip()}: built without it")
                held.write_text("")
                returncode = _run(environment, line, out, deadline, tell)
            if returncode:
                raise EnvironmentFailed(_why_not_built(environment, log, returncode))
    found = ask(python, "versions", out=folder / "versions.json")
    if "ms-swift" in found["packages"]:
        # an environment can resolve and still not be importable (a pyarrow without the names that datasets wants)
        try:
            ask(python, "installed", out=folder / "installed.json")
        except EnvironmentFailed as error:
            raise EnvironmentFailed(
                f"environment {environment.name!r} installs, but its ms-swift cannot be imported: pin the package "
                f"that the last lines name (docs/environments.md has pins that work). Log: {log}\n{error}"
            ) from None
    written = record.with_suffix(".part")
    written.write_text(
        json.dumps(
            {
                "requirements": list(environment.requirements),
                "constraints": held.read_text(encoding="utf-8").splitlines(),
                "builder": Path(lines[1][0]).name if uv else "pip",
                "python": str(python.relative_to(folder)),
                "python_version": found["python"],
                "versions": found["packages"],
            },
            indent=1,
        ),
        encoding="utf-8",
    )
    written.replace(record)
    whole = built(environment, folder.parent)
    assert whole, record
    return whole


def _run(
    environment: Environment, line: list[str], out: IO[str], deadline: float, tell: Callable[[str], object]
) -> int:
    """The exit code of *line*, whose output goes to *out*."""
    out.write(f"$ {' '.join(line)}\n")
    out.flush()
    log = Path(out.name)
    with subprocess.Popen(line, stdout=out, stderr=subprocess.STDOUT, env=_clean()) as process:
        try:
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise EnvironmentFailed(
                        f"environment {environment.name!r} was not built in {BUILD_S:g} s; build it by hand: "
                        f"python -m bakeoff.environments {environment.name}. Log: {log}"
                    )
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(min(PROGRESS_S, left))
                said = log.read_text("utf-8", errors="replace").strip().splitlines()
                tell(said[-1].strip()[:120] if said else "building")
        except BaseException:
            process.kill()
            raise


def _cannot_keep(held: Path, log: Path) -> bool:
    """Whether the resolver refused what this machine, not the matrix, holds a build to."""
    said = log.read_text("utf-8", errors="replace")
    versions = [one.partition("==")[2] for one in held.read_text(encoding="utf-8").split()]
    impossible = "ResolutionImpossible" in said or "No solution found" in said
    return impossible and any(
        version in said.rpartition("\n$ ")[2].partition("\n")[2] for version in versions
    )


_COMPLAINT = re.compile(
    r"satisfies the requirement|No matching distribution|Cannot install|conflicting dependencies|Failed building wheel"
    r"|Failed to build|No solution found|Because |unsatisfiable|not a valid|Invalid requirement|Expected "
    r"|No space left|timed out|No interpreter found|subprocess-exited-with-error",
)


def _why_not_built(environment: Environment, log: Path, returncode: int) -> str:
    lines = [re.sub(r"^[\s×╰─▶│]+", "", one) for one in log.read_text("utf-8", errors="replace").splitlines()]
    output = [one for one in lines if not one.startswith(("$ ", "WARNING"))]
    complaints = [one for one in output if _COMPLAINT.search(one)][:6] or output[-6:]
    said = " ".join(complaints).lower()
    guilty = [one for one in environment.requirements if _name(one) in said]
    head = ", ".join(map(repr, guilty)) if guilty else "one of its requirements"
    return (
        f"environment {environment.name!r}: {head} cannot be installed for Python {_python_version(environment)} "
        f"(exit code {returncode}). Change environments.{environment.name}.requirements in the matrix, or the index "
        f"that pip reads. Log: {log}\n" + "\n".join(complaints)
    )


def _interpreter(environment: Environment, wanted: str) -> str:
    """An interpreter of version *wanted*, for ``venv``."""
    if platform.python_version().startswith(f"{wanted}.") or platform.python_version() == wanted:
        return sys.executable
    if found := shutil.which(f"python{wanted}"):
        return found
    raise EnvironmentFailed(
        f"environment {environment.name!r} wants Python {wanted}, and there is no python{wanted} on the PATH: "
        "install it, or install uv (pip install uv), which fetches interpreters itself"
    )


def _python_version(environment: Environment) -> str:
    return environment.python or ".".join(platform.python_version_tuple()[:2])


def _clean() -> dict[str, str]:
    """The caller's variables without those that would let its packages into another environment.

    uv does not read pip's settings, so those given as variables are passed on to it.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
    for pip, uv in (
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
        ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
    ):
        if pip in kept:
            kept.setdefault(uv, kept[pip])
    return kept | {"PYTHONNOUSERSITE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _name(requirement: str) -> str:
    return _normalised(re.split(r"[\s\[<>=!~;@(]", requirement.strip(), maxsplit=1)[0])


@cache
def _here(package: str) -> str | None:
    """The version of *package* in the running environment: asked at collection, where listing all takes too long."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def _installed() -> dict[str, str]:
    from bakeoff.environments.probe import versions

    packages: dict[str, str] = versions()["packages"]
    return packages


def _has_gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def main(argv: list[str]) -> int:
    """Build environments of a matrix now: ``python -m bakeoff.environments [--store FOLDER] NAME …``."""
    import argparse

    from bakeoff.matrix.loading import load_matrix
    from bakeoff.workspace import Workspace

    parser = argparse.ArgumentParser(prog="python -m bakeoff.environments", description=main.__doc__)
    parser.add_argument("--matrix", type=Path, default=Path("model_matrix.yaml"))
    parser.add_argument("--store", type=Path, default=Path("store"))
    parser.add_argument("names", nargs="+", metavar="NAME")
    given = parser.parse_args(argv)
    matrix = load_matrix(given.matrix)
    if unknown := [name for name in given.names if name not in matrix.environments]:
        parser.error(f"no environment {', '.join(unknown)}; the matrix has {', '.join(matrix.environments)}")
    for name in given.names:
        found = ensure_environment(matrix.environments[name], Workspace(given.store).environments, print)
        print(f"{name}: {found.python} (Python {found.python_version}, ms-swift {found.version('ms-swift')})")
    return 0
