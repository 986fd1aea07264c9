"""What a check finds, and what the checks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bakeoff.environments.building import PythonEnvironment
from bakeoff.environments.installed import (
    Asking,
    Installed,
)
from bakeoff.matrix.schema import Matrix, ModelSpec
from bakeoff.workspace import Workspace

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that would go wrong (error), may spoil the result (warning) or is worth knowing (note)."""

    level: Level
    place: str
    """Rows, suite or part of the machine."""
    what: str
    remedy: str
    rows: tuple[str, ...] = ()
    """The rows that would fail of it; none where it is of the machine or of the comparison."""

    def __str__(self) -> str:
        return f"{self.level}: {self.place}: {self.what}\n    -> {self.remedy}"


@dataclass
class Visit:
    """What the checks share."""

    rows: Sequence[ModelSpec]
    matrix: Matrix
    workspace: Workspace
    data_dir: Path | None
    environ: Mapping[str, str]
    asking: Asking | None = None
    environments: dict[str, PythonEnvironment] = field(default_factory=dict)
    tools: dict[str, Installed] = field(default_factory=dict)

    def environment(self, row: ModelSpec, role: str) -> PythonEnvironment | None:
        """The environment that *row* uses in a *role*, where it is built."""
        return self.environments.get(getattr(row.environment, role))

    def installed(self, row: ModelSpec, role: str) -> Installed | None:
        """What the ms-swift of that environment accepts."""
        return self.tools.get(getattr(row.environment, role))

    def users(self, name: str) -> tuple[str, ...]:
        """The rows whose commands run in environment *name*."""
        return tuple(row.name for row in self.rows if not row.url and name in dict(row.environment).values())


REMOTE_CODE = ("chatglm2", "chatglm3", "internlm", "internlm2", "baichuan", "baichuan2")
"""Model types whose code comes with the weights and was written for transformers 4."""


_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "MODELSCOPE_OFFLINE")


def offline(visit: Visit) -> str:
    """The variables that put the hubs' clients offline; empty for none."""
    return " and ".join(name for name in _OFFLINE if visit.environ.get(name) in ("1", "true", "True"))


def cached(visit: Visit, kind: str, hub_id: str) -> bool:
    """Whether a hub's cache on this machine holds something of *hub_id*."""
    environ, home = visit.environ, Path.home() / ".cache"
    hf = Path(environ.get("HF_HUB_CACHE") or f"{environ.get('HF_HOME') or home / 'huggingface'}/hub")
    modelscope = Path(environ.get("MODELSCOPE_CACHE") or home / "modelscope")
    name = f"{kind}s/{hub_id}"
    newer = modelscope / f"{kind}s" / hub_id.replace("/", "--")
    owner, _, rest = hub_id.partition("/")
    spelled = (name, f"{kind}s/{owner}/{rest.replace('.', '___')}")  # as its library writes dots
    older = [root / spelling for spelling in spelled for root in (modelscope, modelscope / "hub")]
    places = (hf / name.replace("/", "--"), newer, *older)
    return any(place.is_dir() for place in places)


def tracks_in_swanlab(visit: Visit, row: ModelSpec) -> bool:
    """Whether the row's training reports to SwanLab."""
    tools = visit.installed(row, "train")
    has_it = tools is None or "swanlab_project" in tools.flags["sft"]
    return row.trains and row.training.tracker == "swanlab" and has_it
