"""What a row needs of the machine: packages, and cards of a size."""

from __future__ import annotations

from functools import cache

from bakeoff.environments import building as environments
from bakeoff.execution import gpus
from bakeoff.foundation.sentences import Template
from bakeoff.matrix.schema import Matrix, ModelSpec

NEEDS_PACKAGE = Template(
    "chain.needs.needs_package",
    "needs the package {package}, which is not installed",
    zh="缺少软件包 {package}",
    en="the package {package} is not installed",
)
NEEDS_GPU = Template(
    "chain.needs.needs_gpu",
    "needs a GPU with {gib:g} GiB; this machine has none",
    zh="需要 {gib:g} GiB 显存的 GPU，本机没有 GPU",
    en="needs a GPU with {gib:g} GiB of memory; this machine has no GPU",
)
NEEDS_DEEPSPEED = Template(
    "chain.needs.needs_deepspeed",
    "training.extra.deepspeed needs the package deepspeed, which is not installed; pip install deepspeed, or take it "
    "out: large weights are then shared by PyTorch's own FSDP",
    zh="training.extra.deepspeed 需要安装 deepspeed；也可去掉该项，由 PyTorch 自带的 FSDP 分片",
)
NEEDS_MORE_GPUS = Template(
    "chain.needs.needs_more_gpus",
    "needs {cards} GPUs with {gib:g} GiB each; this machine has {here} of that size",
    zh="需要 {cards} 张显存不低于 {gib:g} GiB 的显卡，本机只有 {here} 张",
)
NEEDS_LARGER_GPU = Template(
    "chain.needs.needs_larger_gpu",
    "needs a GPU with {gib:g} GiB; the largest here has {largest:.0f} GiB",
    zh="需要 {gib:g} GiB 显存的 GPU，本机最大的只有 {largest:.0f} GiB",
    en="needs a GPU with {gib:g} GiB of memory; the largest here has {largest:.0f} GiB",
)


def why_unmet(spec: ModelSpec, matrix: Matrix) -> str:
    """Return why this machine cannot run *spec*, empty where it can.

    Packages are looked for in the running environment, unless the row has others for everything: what is in those
    their requirements say.
    """
    from importlib.util import find_spec

    here = any(environments.is_running(matrix.environments[name]) for _, name in spec.environment)
    for package in spec.needs.packages if here else ():
        if find_spec(package) is None:
            return NEEDS_PACKAGE(package=package)
    if here and "deepspeed" in spec.training.extra and spec.trains and find_spec("deepspeed") is None:
        return NEEDS_DEEPSPEED()
    return "" if spec.on_cpu or spec.url else _why_no_cards(spec)


def _why_no_cards(spec: ModelSpec) -> str:
    """Return in words why the cards are too few or too small.

    Empty where they are not.
    """
    needed, sizes = spec.needs.gpu_memory_gib, _card_sizes_gib()
    several = max(gpus.count_of(spec, stage) for stage in ("train", "serve"))
    if not sizes:
        return NEEDS_GPU(gib=needed)
    if max(sizes) < needed:
        return NEEDS_LARGER_GPU(gib=needed, largest=max(sizes))
    fitting = sum(size >= needed for size in sizes)
    return NEEDS_MORE_GPUS(cards=several, gib=needed, here=fitting) if fitting < several else ""


@cache
def _card_sizes_gib() -> tuple[float, ...]:
    """Return the memory of each card, asked once per process.

    nvidia-smi takes its time, and collecting asks for every row and test.
    """
    return tuple(card.total_gib for card in gpus.cards())
