"""A stage as a value; nothing has happened yet.

What decides it, where it is kept and how it is checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from bakeoff.foundation.command import Command
from bakeoff.foundation.sentences import Template
from bakeoff.store.facts import Facts

OUTPUT_GONE = Template(
    "store.stage.output_gone", "its output is gone", zh="产物已不存在", en="Its output is missing"
)

Check = Callable[[Path], str]
"""Looks at an output; returns words for what is wrong with it, or nothing."""
Identity = Mapping[str, object]
F_co = TypeVar("F_co", bound=Facts, covariant=True)


def why_gone(output: Path) -> str:
    """Return in words that *output* is missing; empty where it exists."""
    return "" if output.exists() else OUTPUT_GONE()


def nothing(output: Path) -> str:
    """Return "": a :data:`Check` that finds nothing."""
    return ""


@dataclass(frozen=True)
class Limits:
    """How long a stage may take, in seconds, and how often it is tried again."""

    timeout_s: float = math.inf
    stall_s: float = math.inf
    retries: int = 0


@dataclass(frozen=True, kw_only=True)
class Line:
    """A command line of a stage, as a person could paste it.

    Attributes:
        command: may hold placeholders, see :meth:`bakeoff.foundation.command.Command.filled`.
        title: what it is for.
        role: "train" or "serve": the environment of the row whose tools must know its flags; empty for none.
        instead: whether it is an alternative to the line before.
    """

    command: Command
    title: str
    role: str = ""
    instead: bool = False


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[F_co]):
    """One stage of a row, before it runs.

    Attributes:
        name: its kind, such as "train".
        row: the row of the matrix.
        variant: "base", "tuned" or nothing.
        folder: holds its record, its log and its output; named by a digest of the recipe.
        recipe: what the matrix says of it.
        inputs: versions and content that the result depends on; looking them up may make what is missing.
        recipe_counts: whether the recipe is a part of the identity; else it only names the folder.
        facts: the type of what it measures.
        lines: its command lines in the order of the guide; none for work that is done in this process.
        places: what stands for the placeholders of the lines.
        needs: what is leased while it runs, see :func:`bakeoff.execution.gpus.leased`; empty for nothing.
        limits: time and tries.
        output_name: name of the output inside *folder*.
        log: what the work prints; None: ``stage.log`` inside *folder*.
        keeps: folders that its lines use beside its own.
        why_broken: what is wrong with the output.
        why_again: what another run may add to an intact output.
    """

    name: str
    row: str
    variant: str = ""
    folder: Path
    recipe: Identity
    inputs: Callable[[], Identity] = dict
    recipe_counts: bool = True
    facts: type[F_co]
    lines: tuple[Line, ...] = ()
    places: Mapping[Path, Path] = field(default_factory=dict)
    needs: str = ""
    limits: Limits = Limits()
    output_name: str = "output"
    log: Path | None = None
    keeps: tuple[Path, ...] = ()
    why_broken: Check = why_gone
    why_again: Check = nothing

    @property
    def output(self) -> Path:
        """Return the file or folder that the stage leaves."""
        return self.folder / self.output_name

    @property
    def record(self) -> Path:
        """Return the file that says how the output was made."""
        return self.folder / "record.json"

    @property
    def log_file(self) -> Path:
        """Return the file that receives what the work prints."""
        return self.log or self.folder / "stage.log"

    def identity(self) -> dict[str, object]:
        """Return everything that decides the result; see :attr:`inputs`."""
        return {**(self.recipe if self.recipe_counts else {}), **self.inputs()}

    def command(self, line: Line) -> Command:
        """Return the command of *line* with the places of this store."""
        return line.command.filled(self.places)
