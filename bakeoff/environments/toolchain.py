"""What the commands of one role of a row run with.

A Python environment, and the tools that are found in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bakeoff.environments import building as environments
from bakeoff.environments.building import PythonEnvironment
from bakeoff.environments.compiled import with_caches
from bakeoff.environments.installed import why_refused
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import ToolError
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.schema import Environment
from bakeoff.matrix.settings import TOOLS
from bakeoff.tools import engines, swift


@dataclass(frozen=True)
class Toolchain:
    """The environment of a row's *role*, "train" or "serve", whether it is built yet or not.

    Attributes:
        model: the row, as errors and the timeline name it.
        tell: takes an event of the run with its values.
    """

    environment: Environment
    role: str
    model: str
    workspace: Workspace
    tell: Callable[..., None]

    def prepare(self) -> None:
        """Build the environment, unless it is there."""

        def tell(how_far: str) -> None:
            place = f"environment {self.environment.name}"
            self.tell("progress", stage=place, model=self.model, how_far=how_far)

        environments.ensure_environment(self.environment, self.workspace.environments, tell)

    def check(self, command: Command) -> None:
        """Hold *command* against the tools, as far as they were asked.

        The running environment is asked by the doctor; one that was built meanwhile is asked now.

        Raises:
            ToolError: they would refuse it; names the nearest word that they know.
        """
        environment_built = self._built()
        if environment_built is None:
            return
        elsewhere = not environments.is_running(self.environment)
        if refused := why_refused(command, environment_built, self.workspace.cache, ask_now=elsewhere):
            raise ToolError(
                f"{self.model}: {'; '.join(refused)}. Change it in the row, or name another environment "
                f"for {self.role!r}. The line: {command}"
            )

    @property
    def python(self) -> str:
        """Its interpreter, also where it is yet to be built."""
        if environment_built := self._built():
            return str(environment_built.python)
        root = self.workspace.environments
        return str(root / environments.digest(self.environment) / "venv" / "bin" / "python")

    @property
    def swift(self) -> str:
        """Its version of ms-swift, whose flags the lines must have."""
        return environments.swift_version(self.environment, self.workspace.environments) or swift.NEWEST

    @property
    def versions(self) -> dict[str, str]:
        """Those of :data:`TOOLS` that it has, with their versions."""
        environment_built = self._built()
        versions = {name: environment_built.version(name) for name in TOOLS} if environment_built else {}
        return {name: version for name, version in versions.items() if version}

    def within(self, command: Command) -> Command:
        """Return *command* with what the environment adds.

        Another one than ours must not see our packages.
        """
        if environments.is_running(self.environment):
            return replace(command, env={**command.env, **self.environment.env})
        return Command(command.argv, {**command.env, "PYTHONPATH": "", **self.environment.env}, command.cwd)

    def with_caches(self, command: Command) -> Command:
        """Return an engine's *command* that starts warm after its first start.

        What the engine compiles is kept in the store, by its version and PyTorch's. For the start alone: the lines
        that are shown and compared stay without it.
        """
        engine = next(
            (name for name, server in engines.SERVERS.items() if server.module == command.module), ""
        )
        if command.module == engines.FRONT:
            engine = "vllm"
        if not engine:
            return command
        versions = self.versions
        version = "-".join(
            (engine, versions.get(engine, "unknown"), "torch", versions.get("torch", "unknown"))
        )
        return with_caches(command, engine, self.workspace.cache / "compiled" / version)

    def _built(self) -> PythonEnvironment | None:
        return environments.built(self.environment, self.workspace.environments)
