"""Python environments, built on first use from requirements.

They are kept by the content of what was asked for.

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

from bakeoff.foundation.errors import EnvironmentFailed
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
    """Return the interpreter of *environment*, None before it is built."""
    if is_running(environment):
        return Path(sys.executable)
    environment_built = built(environment, root)
    return environment_built.python if environment_built else None


def ensure_environment(
    environment: Environment, root: Path, tell: Callable[[str], object] = lambda how_far: None
) -> PythonEnvironment:
    """Return *environment*, built under *root* unless it is there.

    An environment without requirements, named ``default``, is the running interpreter's.

    Args:
        tell: told when a build begins, and every half minute how far it is.

    Raises:
        EnvironmentFailed: it cannot be built; the message names the requirement, the log and the way out.
    """
    if is_running(environment):
        return running_environment(environment)
    if ready := built(environment, root):
        return ready
    from filelock import FileLock

    folder = root / digest(environment)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f"{folder.name}.lock"):
        return built(environment, root) or _build(environment, folder, tell)


def is_running(environment: Environment) -> bool:
    """Whether *environment* is the one this program runs in."""
    return environment.name == "default" or not (environment.requirements or environment.python)


def built(environment: Environment, root: Path) -> PythonEnvironment | None:
    """Return the environment that an earlier build left, or None."""
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
    """Return the content hash that names an environment's folder."""
    content = {
        "requirements": sorted(environment.requirements),
        "python": _python_version(environment),
        "constraints": constraints(environment.requirements),
        "machine": f"{sys.platform}-{platform.machine()}",
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


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
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if _normalised(requirement.name) == "torch" and not requirement.specifier.contains(
            torch, prereleases=True
        ):
            return []
    return [f"torch=={torch}"]


def swift_version(environment: Environment, root: Path) -> str | None:
    """Return the ms-swift of *environment*, or None.

    The one found there, else the one its requirements pin.

    So a dry run speaks the right words before the environment is built. Of a range it is the newest whose words differ.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    if is_running(environment):
        return _here("ms-swift")
    environment_built = built(environment, root)
    if environment_built:
        return environment_built.version("ms-swift")
    for text in environment.requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if _normalised(requirement.name) == "ms-swift":
            pins = [
                clause.version for clause in requirement.specifier if clause.operator in ("==", "===", "~=")
            ]
            return next((v for v in (*DIALECTS, *pins) if requirement.specifier.contains(v)), None)
    return None


DIALECTS = ("4.6.0", "3.12.6", "3.6.4", "3.5.3", "3.4.1", "3.2.2", "3.1.1", "3.0.3")
"""Versions of ms-swift that differ in the words of a command line (see :mod:`bakeoff.tools.swift`), newest first."""


def running_environment(environment: Environment | None = None) -> PythonEnvironment:
    """The environment this program runs in."""
    packages, digest_of_packages = _installed()
    return PythonEnvironment(
        environment.name if environment else "default",
        Path(sys.executable),
        platform.python_version(),
        packages,
        digest_of_packages,
        None,
        dict(environment.env) if environment else {},
    )


def ask(python: Path, question: str, *arguments: str, out: Path, timeout_s: float = 300) -> Mapping[str, Any]:
    """Return what ``probe.py`` answers to *question* under *python*.

    The answer stays in *out*.

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
    answer: Mapping[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return answer


def _build(environment: Environment, folder: Path, tell: Callable[[str], object]) -> PythonEnvironment:
    record, venv, log = folder / "environment.json", folder / "venv", folder / "build.log"
    record.unlink(missing_ok=True)
    shutil.rmtree(venv, ignore_errors=True)
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    constraints_file = folder / "constraints.txt"
    constraints_file.write_text(
        "".join(f"{requirement}\n" for requirement in constraints(environment.requirements)), encoding="utf-8"
    )
    uv = shutil.which("uv")
    lines = _lines(environment, venv, python, constraints_file, uv)
    tell(f"building, which takes minutes; log: {log}")
    deadline = time.monotonic() + BUILD_S
    with log.open("w", encoding="utf-8") as out:
        for line in lines:
            returncode = _run(environment, line, out, deadline, tell)
            if returncode and _cannot_keep(constraints_file, log):
                tell(
                    f"its requirements cannot live with {constraints_file.read_text().strip()}: built without it"
                )
                constraints_file.write_text("")
                returncode = _run(environment, line, out, deadline, tell)
            if returncode:
                raise EnvironmentFailed(_why_not_built(environment, log, returncode))
    versions = ask(python, "versions", out=folder / "versions.json")
    if "ms-swift" in versions["packages"]:
        # an environment can resolve and still not be importable (a pyarrow without the names that datasets wants)
        try:
            ask(python, "installed", out=folder / "installed.json")
        except EnvironmentFailed as error:
            raise EnvironmentFailed(
                f"environment {environment.name!r} installs, but its ms-swift cannot be imported: pin the package "
                f"that the last lines name (docs/environments.md has pins that work). Log: {log}\n{error}"
            ) from None
    content = {
        "requirements": list(environment.requirements),
        "constraints": constraints_file.read_text(encoding="utf-8").splitlines(),
        "builder": Path(lines[1][0]).name if uv else "pip",
        "python": str(python.relative_to(folder)),
        "python_version": versions["python"],
        "versions": versions["packages"],
    }
    written = record.with_suffix(".part")
    written.write_text(json.dumps(content, indent=1), encoding="utf-8")
    written.replace(record)
    whole = built(environment, folder.parent)
    assert whole, record
    return whole


def _lines(
    environment: Environment, venv: Path, python: Path, constraints_file: Path, uv: str | None
) -> list[list[str]]:
    """Return the lines that make the folder *venv* and install into it."""
    version, pinned = _python_version(environment), ["-c", str(constraints_file), *environment.requirements]
    if uv:
        make = [uv, "venv", "--quiet", "--python", version, str(venv)]
        return [make, [uv, "pip", "install", "--python", str(python), *pinned]]
    make = [_interpreter(environment, version), "-m", "venv", str(venv)]
    return [make, [str(python), "-m", "pip", "install", "--no-input", *pinned]]


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
                log_lines = log.read_text("utf-8", errors="replace").strip().splitlines()
                tell(log_lines[-1].strip()[:120] if log_lines else "building")
        except BaseException:
            process.kill()
            raise


def _cannot_keep(constraints_file: Path, log: Path) -> bool:
    """Return whether the resolver refused what this machine demands."""
    log_text = log.read_text("utf-8", errors="replace")
    versions = [line.partition("==")[2] for line in constraints_file.read_text(encoding="utf-8").split()]
    impossible = "ResolutionImpossible" in log_text or "No solution found" in log_text
    return impossible and any(
        version in log_text.rpartition("\n$ ")[2].partition("\n")[2] for version in versions
    )


_COMPLAINT = re.compile(
    r"satisfies the requirement|No matching distribution|Cannot install|conflicting dependencies|Failed building wheel"
    r"|Failed to build|No solution found|Because |unsatisfiable|not a valid|Invalid requirement|Expected "
    r"|No space left|timed out|No interpreter found|subprocess-exited-with-error",
)


def _why_not_built(environment: Environment, log: Path, returncode: int) -> str:
    lines = [
        re.sub(r"^[\s×╰─▶│]+", "", line) for line in log.read_text("utf-8", errors="replace").splitlines()
    ]
    output = [line for line in lines if not line.startswith(("$ ", "WARNING"))]
    complaints = [line for line in output if _COMPLAINT.search(line)][:6] or output[-6:]
    words = " ".join(complaints).lower()
    guilty = [line for line in environment.requirements if _name(line) in words]
    head = ", ".join(map(repr, guilty)) if guilty else "one of its requirements"
    return (
        f"environment {environment.name!r}: {head} cannot be installed for Python {_python_version(environment)} "
        f"(exit code {returncode}). Change environments.{environment.name}.requirements in the matrix, or the index "
        f"that pip reads. Log: {log}\n" + "\n".join(complaints)
    )


def _interpreter(environment: Environment, version: str) -> str:
    """An interpreter of *version*, for ``venv``."""
    if platform.python_version().startswith(f"{version}.") or platform.python_version() == version:
        return sys.executable
    if program := shutil.which(f"python{version}"):
        return program
    raise EnvironmentFailed(
        f"environment {environment.name!r} wants Python {version}, and there is no python{version} on the PATH: "
        "install it, or install uv (pip install uv), which fetches interpreters itself"
    )


def _python_version(environment: Environment) -> str:
    return environment.python or ".".join(platform.python_version_tuple()[:2])


def _clean() -> dict[str, str]:
    """Return the caller's variables without those that leak packages.

    They would let its packages into another environment.

    uv does not read pip's settings, so those given as variables are passed on to it.
    """
    variables = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
    for pip, uv in (
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
        ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
    ):
        if pip in variables:
            variables.setdefault(uv, variables[pip])
    return variables | {"PYTHONNOUSERSITE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _name(requirement: str) -> str:
    return _normalised(re.split(r"[\s\[<>=!~;@(]", requirement.strip(), maxsplit=1)[0])


@cache
def _here(package: str) -> str | None:
    """Return the version of *package* in the running environment."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def _installed() -> tuple[dict[str, str], str]:
    """Return the packages of the running environment, and their digest."""
    from bakeoff.environments.probe import packages

    content = json.dumps([platform.python_version(), versions := packages()], sort_keys=True)
    return versions, hashlib.sha256(content.encode()).hexdigest()[:16]


def _has_gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def main(argv: list[str]) -> int:
    """Build environments of a matrix now.

    ``python -m bakeoff.environments [--store FOLDER] NAME …``.
    """
    import argparse

    from bakeoff.foundation.workspace import Workspace
    from bakeoff.matrix.loading import load_matrix

    parser = argparse.ArgumentParser(prog="python -m bakeoff.environments", description=main.__doc__)
    parser.add_argument("--matrix", type=Path, default=Path("model_matrix.yaml"))
    parser.add_argument("--store", type=Path, default=Path("store"))
    parser.add_argument("names", nargs="+", metavar="NAME")
    options = parser.parse_args(argv)
    matrix = load_matrix(options.matrix)
    if unknown := [name for name in options.names if name not in matrix.environments]:
        parser.error(f"no environment {', '.join(unknown)}; the matrix has {', '.join(matrix.environments)}")
    for name in options.names:
        environment = ensure_environment(
            matrix.environments[name], Workspace(options.store).environments, print
        )
        print(
            f"{name}: {environment.python} (Python {environment.python_version}, "
            f"ms-swift {environment.version('ms-swift')})"
        )
    return 0
