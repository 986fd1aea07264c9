"""How long a run will take and what it needs; afterwards, what differed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from bakeoff.chain.chain import Bench, Chain
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.datasets import is_local_model
from bakeoff.matrix.schema import Matrix, ModelSpec
from bakeoff.runs.expected import Basis, expected, key_of
from bakeoff.store.stages import Record
from bakeoff.tools import memory

TINY_GIB = 0.05
"""What a tiny row writes."""
_BASIS: dict[Basis, tuple[str, str]] = {
    "measured": ("as its stages took before", "按各阶段以往用时"),
    "partly": (
        "some stages as they took before, the others a guess by its size and data",
        "部分阶段按以往用时，其余按模型大小与数据量估计",
    ),
    "work": ("a guess by its size and data: it never ran here", "按模型大小与数据量估计，此前未在本机运行过"),
    "size": (
        "a guess by its size: it never ran here, and its training data are at a hub",
        "按模型大小估计，此前未在本机运行过，训练数据在站点上",
    ),
}


@dataclass(frozen=True)
class Forecast:
    """What one row will take if nothing of it is reused.

    Attributes:
        stages: seconds by "stage variant suite", of those that ran before on this store.
        seconds: of the whole row.
        disk_gib: checkpoints and merged weights; None where the size of the base is not known here.
        download_gib: of a base that comes from a hub; 0 for one on this machine, None where its size is not known.
        memory_gib: of one card, by training or serving, whichever needs more; 0 on the CPU, None where not known.
        basis: where *seconds* comes from.
    """

    row: str
    stages: dict[str, float]
    seconds: float
    disk_gib: float | None
    download_gib: float | None
    memory_gib: float | None
    basis: Basis = "work"

    def __str__(self) -> str:
        """The forecast in one line."""
        source = _BASIS[self.basis][0]
        sizes = {
            "disk": self.disk_gib,
            "download": self.download_gib,
            "device memory": self.memory_gib,
        }
        parts = [f"{what} {_gib(size)}" for what, size in sizes.items() if size != 0]
        return (
            f"{self.row}: about {_duration(self.seconds)} ({source}){'; ' if parts else ''}{', '.join(parts)}"
        )

    def in_chinese(self) -> str:
        """The forecast in one line of Chinese."""
        source = _BASIS[self.basis][1]
        sizes = {"磁盘": self.disk_gib, "下载": self.download_gib, "显存": self.memory_gib}
        parts = [f"{what} {_gib_in_chinese(size)}" for what, size in sizes.items() if size != 0]
        took = duration_in_chinese(self.seconds)
        return f"{self.row}：约 {took}（{source}）{'；' if parts else ''}{'，'.join(parts)}"


def duration_in_chinese(seconds: float) -> str:
    """*seconds* as people say it."""
    for unit, name in ((3600, "小时"), (60, "分钟")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} 秒"


def _gib_in_chinese(size: float | None) -> str:
    if size is None:
        return "未知（需要模型的 config.json）"
    return f"{size:.0f} GiB" if size >= 1 else f"{size:.1f} GiB" if size >= 0.1 else "不到 0.1 GiB"


def forecast(
    matrix: Matrix, rows: Iterable[str], workspace: Workspace, data_dir: Path | None = None
) -> list[Forecast]:
    """Return what each of *rows* will take; nothing is started or fetched."""
    bench = Bench.at_rest(matrix, workspace, data_dir)
    names = list(rows)
    return [_of_row(Chain(matrix.models[name], bench), names) for name in names]


def _of_row(chain: Chain, rows: Sequence[str]) -> Forecast:
    spec, will = chain.spec, expected(chain, rows)
    stages, seconds = dict(will.measured), will.seconds
    shape = None if spec.url else memory.shape_of(_base(chain))
    if spec.url:
        return Forecast(spec.name, stages, seconds, 0.0, 0.0, 0.0, will.basis)
    base_gib = memory.disk_gib(shape, spec, "base") if shape else None
    download = 0.0 if not spec.model or spec.tiny or is_local_model(spec.model) else base_gib
    device = None
    if shape:
        device = memory.serving_gib(shape, spec)
        if spec.trains:
            device = max(device, _training_gib(shape, spec))
    disk = TINY_GIB if spec.tiny else None
    if base_gib is not None and shape:
        merged = base_gib if spec.tune and not spec.weights else 0.0
        converted = base_gib if chain.form_folder else 0.0
        disk = merged + converted + (memory.disk_gib(shape, spec, "train") if spec.trains else 0.0)
    device = 0.0 if spec.on_cpu else device
    return Forecast(spec.name, stages, seconds, disk, download, device, will.basis)


def _training_gib(shape: memory.Shape, spec: ModelSpec) -> float:
    """Return what a training needs of each of its row's cards."""
    training = spec.training
    if memory.is_parted_by_fsdp(spec):
        training = training.model_copy(update={"fused_loss": False})
    return memory.training_gib(shape, training, spec.cards, sharded=memory.is_sharded(spec))


def _base(chain: Chain) -> str:
    try:
        return chain.base_path() if chain.spec.tiny else chain.spec.model or ""
    except BakeoffError:
        return ""


def lines_in_chinese(forecasts: Sequence[Forecast], workspace: Workspace) -> Iterator[str]:
    """Yield the forecast in Chinese: in total, then row by row."""
    if not forecasts:
        return
    free = memory.room_gib(Path(workspace.root))[1]
    parts = []
    for what, key in (("磁盘", "disk_gib"), ("下载", "download_gib")):
        sizes = [getattr(entry, key) for entry in forecasts]
        unknown = sum(size is None for size in sizes)
        more = f"（{len(forecasts)} 行中有 {unknown} 行未知）" if unknown else ""
        if any(sizes) or unknown:
            parts.append(f"{what} {_gib_in_chinese(math.fsum(filter(None, sizes)))}{more}")
    total = duration_in_chinese(math.fsum(entry.seconds for entry in forecasts))
    yield f"预计（若无可沿用的结果）：逐行运行共 {total}；{'，'.join([*parts, f'磁盘剩余 {free:.0f} GiB'])}"
    yield from (f"  {entry.in_chinese()}" for entry in forecasts)


def lines(forecasts: Sequence[Forecast], workspace: Workspace) -> Iterator[str]:
    """Yield the forecast in words: in total, then row by row."""
    if not forecasts:
        return
    total = sum(entry.seconds for entry in forecasts)
    sums = {
        "disk": [entry.disk_gib for entry in forecasts],
        "download": [entry.download_gib for entry in forecasts],
    }
    parts = []
    for what, sizes in sums.items():
        unknown = sum(size is None for size in sizes)
        more = f" (not known for {unknown} of {len(forecasts)} rows)" if unknown else ""
        if any(sizes) or unknown:
            parts.append(f"{what} {_gib(sum(filter(None, sizes)))}{more}")
    free = memory.room_gib(Path(workspace.root))[1]
    parts.append(f"{free:.0f} GiB of disk are free")
    yield f"forecast, if nothing is reused: {_duration(total)} one row after another; {', '.join(parts)}"
    yield from (f"  {entry}" for entry in forecasts)


class ForecastRow(TypedDict):
    """A forecast as ``forecast.json`` has it; see :class:`Forecast`."""

    row: str
    stages: dict[str, float]
    seconds: float
    disk_gib: float | None
    download_gib: float | None
    memory_gib: float | None
    basis: NotRequired[Basis]


class PlannedStage(TypedDict):
    """Expected and real seconds of a stage, as ``run.json`` has them."""

    model: str
    stage: str
    planned_s: float | None
    took_s: float


def compared(forecasts: Sequence[ForecastRow], done: Sequence[Record]) -> list[PlannedStage]:
    """Return the expected and the real seconds of each stage that ran."""
    planned = {
        (entry["row"], stage): seconds for entry in forecasts for stage, seconds in entry["stages"].items()
    }
    return [
        {
            "model": record.model,
            "stage": key_of(record),
            "planned_s": planned.get((record.model, key_of(record))),
            "took_s": record.seconds,
        }
        for record in done
        if record.outcome == "ran"
    ]


def difference(stages: Sequence[PlannedStage]) -> str:
    """What differed from the forecast, in one line; empty without a forecast."""
    comparable = [(stage, planned) for stage in stages if (planned := stage["planned_s"]) is not None]
    if not comparable:
        return ""
    expected = math.fsum(planned for _, planned in comparable)
    took = math.fsum(stage["took_s"] for stage, _ in comparable)
    worst, planned = max(comparable, key=lambda pair: abs(pair[0]["took_s"] - pair[1]))
    return (
        f"forecast: {len(comparable)} stages were to take {_duration(expected)} and took {_duration(took)}; "
        f"furthest off: {worst['model']} {worst['stage']}, "
        f"{_duration(worst['took_s'])} instead of {_duration(planned)}"
    )


def as_rows(forecasts: Sequence[Forecast]) -> list[ForecastRow]:
    """Return *forecasts* as JSON holds them."""
    return [cast(ForecastRow, asdict(row)) for row in forecasts]


def _gib(size: float | None) -> str:
    if size is None:
        return "not known before its config.json is here"
    return f"{size:.1f} GiB" if size >= 0.05 else "under 0.1 GiB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
