"""A command line as a value: what is run is what can be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

OUTPUT = Path("\0OUTPUT")
"""Stands for the folder that receives what a command makes, until :meth:`Command.filled`."""
CHECKPOINT = Path("\0CHECKPOINT")
"""Stands for the adapter that a command reads. No argument of a command can hold a NUL, so nothing else means it."""


LAUNCHER = "torch.distributed.run"
"""The module that starts another one in several processes of one host."""


@dataclass(frozen=True)
class Command:
    """A program with its arguments, the variables it adds to the environment and its folder.

    ``str(command)`` is the line to paste into a POSIX shell. Secrets belong into neither ``argv`` nor
    ``env``: a command inherits them from the environment of the one who runs it.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None

    def __str__(self) -> str:
        assignments = [f"{name}={shlex.quote(value)}" for name, value in self.env.items()]
        place = ["cd", shlex.quote(str(self.cwd)), "&&"] if self.cwd else []
        return " ".join([*place, *assignments, shlex.join(self.argv)])

    def filled(self, places: Mapping[Path, Path]) -> Command:
        """Return the command with *places* instead of the placeholders."""
        argv = self.argv
        for placeholder, place in places.items():
            argv = tuple(part.replace(str(placeholder), str(place)) for part in argv)
        return replace(self, argv=argv)

    @property
    def module(self) -> str | None:
        """The module of a ``python -m module …`` line; None for other lines."""
        at = self._module_at
        return self.argv[at] if at else None

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows the module, or the program of a line without one."""
        return self.argv[self._module_at + 1 :]

    @property
    def processes(self) -> int:
        """In how many processes the line runs its module."""
        return int(self.value_of("--nproc_per_node") or 1) if LAUNCHER in self.argv[:3] else 1

    @property
    def _module_at(self) -> int:
        """The place of the module in ``argv``; 0 where there is none."""
        if len(self.argv) < 3 or self.argv[1] != "-m":
            return 0
        if self.argv[2] != LAUNCHER:
            return 2
        return next((at + 1 for at in range(3, len(self.argv) - 1) if self.argv[at] == "-m"), 2)

    def value_of(self, flag: str) -> str | None:
        """The argument that follows *flag*; None where the line lacks it."""
        try:
            return self.argv[self.argv.index(flag) + 1]
        except (ValueError, IndexError):
            return None


def flags(options: Mapping[str, object]) -> tuple[str, ...]:
    """*options* as ``--name value`` pairs, in their order.

    None leaves an option out, True and False become ``true`` and ``false`` as ms-swift reads them, and a list
    or tuple becomes several values after one flag.
    """
    argv: list[str] = []
    for name, value in options.items():
        if value is None:
            continue
        argv.append(f"--{name}")
        values = value if isinstance(value, list | tuple) else (value,)
        argv.extend(_text(item) for item in values)
    return tuple(argv)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
