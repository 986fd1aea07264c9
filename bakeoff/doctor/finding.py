"""What a check finds, and what the checks share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bakeoff.environments.building import PythonEnvironment
from bakeoff.environments.installed import (
    Asking,
    Installed,
)
from bakeoff.foundation.sentences import Statement, Template, in_chinese
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.schema import Matrix, ModelSpec
from bakeoff.store.stage import Line
from bakeoff.tools.hubs import is_true

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")

PLACES = Template("doctor.finding.places", "{places}", zh="{places}")
DATASET = Template("doctor.finding.dataset", "dataset {name}", zh="数据集 {name}")
STORE = Template("doctor.finding.store", "store", zh="存档")
_ERROR = Template("doctor.finding.error", "error: {place}: {what}", zh="错误：{place}：{what}")
_WARNING = Template("doctor.finding.warning", "warning: {place}: {what}", zh="警告：{place}：{what}")
_NOTE = Template("doctor.finding.note", "note: {place}: {what}", zh="提示：{place}：{what}")
_LINES = dict(zip(LEVELS, (_ERROR, _WARNING, _NOTE), strict=True))

NOTHING = Template("doctor.finding.nothing", "nothing speaks against this run", zh="没有发现问题，可以运行")
COUNTED = Template("doctor.finding.counted", "{counts}. {advice}", zh="{counts}。{advice}")
_ERRORS = Template("doctor.finding.errors", "{count} errors", zh="{count} 项错误")
_AN_ERROR = Template("doctor.finding.an_error", "1 error", zh="1 项错误")
_WARNINGS = Template("doctor.finding.warnings", "{count} warnings", zh="{count} 项警告")
_A_WARNING = Template("doctor.finding.a_warning", "1 warning", zh="1 项警告")
_NOTES = Template("doctor.finding.notes", "{count} notes", zh="{count} 项提示")
_A_NOTE = Template("doctor.finding.a_note", "1 note", zh="1 项提示")
_COUNTS: dict[Level, tuple[Template, Template]] = {
    "error": (_AN_ERROR, _ERRORS),
    "warning": (_A_WARNING, _WARNINGS),
    "note": (_A_NOTE, _NOTES),
}
_MEND = Template(
    "doctor.finding.mend",
    "Rows with an error would fail or be skipped: correct the errors first.",
    zh="有错误的模型行会失败或被跳过：请先修正错误。",
)
_LOOK = Template(
    "doctor.finding.look",
    "The run can begin; read the warnings first.",
    zh="可以运行；请先查看警告。",
)
_READY = Template("doctor.finding.ready", "The run can begin.", zh="可以运行。")


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

    @property
    def zh(self) -> str:
        """The finding in Chinese, as far as its words are statements."""
        line = _LINES[self.level](place=self.place, what=self.what)
        return f"{line.zh}\n    -> {in_chinese(self.remedy)}"


def merged(repeated: Iterable[Finding], rows: Sequence[str]) -> list[Finding]:
    """Return the findings, those of several rows once under all their names."""
    alike: dict[tuple[Level, str, str], list[Finding]] = {}
    for finding in repeated:
        alike.setdefault((finding.level, finding.what, finding.remedy), []).append(finding)
    return [
        Finding(
            level,
            _places([finding.place for finding in same]),
            what,
            remedy,
            tuple(
                row for row in rows if any(row == finding.place or row in finding.rows for finding in same)
            ),
        )
        for (level, what, remedy), same in alike.items()
    ]


def _places(places: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(places))
    return PLACES(places=distinct) if len(distinct) > 1 else distinct[0]


def lines_of(findings: Sequence[Finding], *, chinese: bool) -> list[str]:
    """Return every finding, errors first, and a line that sums them up."""
    ordered = sorted(findings, key=lambda finding: LEVELS.index(finding.level))
    total = summary_of(findings)
    if chinese:
        return [*(finding.zh for finding in ordered), total.zh]
    return [*map(str, ordered), str(total)]


def summary_of(findings: Sequence[Finding]) -> Statement:
    """Return how many findings of each level there are, and what follows."""
    if not findings:
        return NOTHING()
    levels = [finding.level for finding in findings]
    counts = []
    for level, (single, several) in _COUNTS.items():
        if number := levels.count(level):
            counts.append(single() if number == 1 else several(count=number))
    advice = _MEND if "error" in levels else _LOOK if "warning" in levels else _READY
    return COUNTED(counts=counts, advice=advice())


LinesOf = Callable[[ModelSpec], Sequence[Line]]
"""The command lines of a row's stages, as the chain builds them."""


@dataclass
class Visit:
    """What the checks share.

    Attributes:
        lines_of: the command lines of a row's stages.
        data_dir: evaluation data of the user, see :class:`~bakeoff.matrix.schema.Suite`.
        environ: the environment variables of the run.
        asking: see :func:`~bakeoff.environments.installed.installed`.
    """

    rows: Sequence[ModelSpec]
    matrix: Matrix
    workspace: Workspace
    lines_of: LinesOf
    data_dir: Path | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
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
    return " and ".join(name for name in _OFFLINE if is_true(visit.environ.get(name)))


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
