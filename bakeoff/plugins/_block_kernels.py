"""Kernels of ``fused_blocks``, which a row names.

SwiGLU between three LoRA layers, and the gradients of layers that share an input. By itself it changes nothing. The
dropout masks are those of ``fused_lora``. Every function has a reference in plain PyTorch, which runs where there are
no kernels.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for CPUs comes without it
    triton = None

_GATE = (32, 64, 4)
_GATE_BACK = (64, 64, 4)
_GATHER = ((32, 64, 4), (16, 128, 4), (64, 32, 4))
"""Rows and columns of a tile, warps of a program: the fastest of a dozen on an H200; for one, two and three layers."""
_PROGRAMS = 1056
"""Programs that a launch aims at: eight for each of an H100's or H200's 132 multiprocessors."""


def beside(name: str) -> Any:
    """Return the plugin *name* beside this one.

    Also where this project is not installed.
    """
    spec = importlib.util.spec_from_file_location(
        f"_beside_fused_blocks_{name}", Path(__file__).with_name(f"{name}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lora = beside("fused_lora")


class Drop(NamedTuple):
    """Dropout of one layer's input: the seed of its mask and its rate."""

    seed: int
    rate: float

    @property
    def scale(self) -> float:
        """What the elements that stay are multiplied with."""
        return 1 / (1 - self.rate)

    def mask(self, wide: torch.Tensor) -> torch.Tensor:
        """*wide* (rows, columns) with the dropped elements 0."""
        if not self.rate:
            return wide
        return wide * lora.keep_mask(wide.shape[0], wide.shape[1], self.seed, self.rate, wide.device)


class Gate(NamedTuple):
    """What SwiGLU reads: outputs of the frozen gate and up, and the factors of their LoRA parts."""

    bases: tuple[torch.Tensor, torch.Tensor]
    """Of gate and of up, (rows, intermediate), before LoRA."""
    thin: tuple[torch.Tensor, torch.Tensor]
    """(rows, rank): the input's projections by both A."""
    b: tuple[torch.Tensor, torch.Tensor]
    """Both B, (intermediate, rank)."""
    scales: tuple[float, float]
    """LoRA's scale of both."""


if triton is not None:
    _kept = lora._kept

    @triton.jit
    def _thin(narrow, rows, ranks, height, rank):  # type: ignore[no-untyped-def]
        """Rows of a (height, rank) matrix, padded."""
        at = narrow + rows.to(tl.int64)[:, None] * rank + ranks[None, :]
        return tl.load(at, (rows < height)[:, None] & (ranks < rank)[None, :], 0.0)

    @triton.jit
    def _factor(factor, ranks, columns, width, rank, by_rank, by_column, kind):  # type: ignore[no-untyped-def]
        """Columns of an A or B as (padded rank, columns)."""
        at = factor + ranks[:, None] * by_rank + columns.to(tl.int64)[None, :] * by_column
        return tl.load(at, (ranks < rank)[:, None] & (columns < width)[None, :], 0.0).to(kind)

    @triton.jit
    def _layer(base, at, inside, narrow, factor, scale):  # type: ignore[no-untyped-def]
        """A tile of a layer's output, rounded as the layer rounds it, in float32."""
        out = tl.load(base + at, inside, 0.0).to(tl.float32) + tl.dot(narrow, factor) * scale
        return out.to(base.dtype.element_ty).to(tl.float32)

    @triton.jit(do_not_specialize=["height"])  # type: ignore[untyped-decorator]
    def _gate_kernel(  # type: ignore[no-untyped-def]
        gate,
        up,
        thin_gate,
        thin_up,
        b_gate,
        b_up,
        act,
        height,
        width,
        scale_gate,
        scale_up,
        rank: tl.constexpr,
        padded: tl.constexpr,
        tile_rows: tl.constexpr,
        tile_columns: tl.constexpr,
    ):
        """SwiGLU of gate and up, each with its LoRA part."""
        rows = tl.program_id(0) * tile_rows + tl.arange(0, tile_rows)
        columns = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
        ranks = tl.arange(0, padded)
        kind = gate.dtype.element_ty
        inside = (rows < height)[:, None] & (columns < width)[None, :]
        at = rows.to(tl.int64)[:, None] * width + columns[None, :]
        with_gate = _factor(b_gate, ranks, columns, width, rank, 1, rank, kind)
        with_up = _factor(b_up, ranks, columns, width, rank, 1, rank, kind)
        g = _layer(gate, at, inside, _thin(thin_gate, rows, ranks, height, rank), with_gate, scale_gate)
        u = _layer(up, at, inside, _thin(thin_up, rows, ranks, height, rank), with_up, scale_up)
        tl.store(act + at, ((g * tl.sigmoid(g)).to(kind).to(tl.float32) * u).to(kind), inside)

    @triton.jit(do_not_specialize=["seed", "threshold", "height", "parts"])  # type: ignore[untyped-decorator]
    def _gate_back_kernel(  # type: ignore[no-untyped-def]
        gate,
        up,
        upstream,
        thin_gate,
        thin_up,
        thin_down,
        b_gate,
        b_up,
        a_down,
        for_gate,
        for_up,
        partial,
        height,
        width,
        rows_each,
        parts,
        seed,
        threshold,
        scale_gate,
        scale_up,
        scale_down,
        rank: tl.constexpr,
        padded: tl.constexpr,
        drop: tl.constexpr,
        tile_rows: tl.constexpr,
        tile_columns: tl.constexpr,
    ):
        """Gradients of gate and up, and of both B and of down's A.

        partial is (3, parts, rank, width).
        """
        columns = tl.program_id(0) * tile_columns + tl.arange(0, tile_columns)
        ranks = tl.arange(0, padded)
        kind = gate.dtype.element_ty
        with_gate = _factor(b_gate, ranks, columns, width, rank, 1, rank, kind)
        with_up = _factor(b_up, ranks, columns, width, rank, 1, rank, kind)
        with_down = _factor(a_down, ranks, columns, width, rank, width, 1, kind)
        total_gate = tl.zeros((padded, tile_columns), tl.float32)
        total_up = tl.zeros((padded, tile_columns), tl.float32)
        total_down = tl.zeros((padded, tile_columns), tl.float32)
        first = tl.program_id(1) * rows_each
        for start in tl.range(first, tl.minimum(first + rows_each, height), tile_rows, num_stages=3):
            rows = start + tl.arange(0, tile_rows)
            inside = (rows < height)[:, None] & (columns < width)[None, :]
            at = rows.to(tl.int64)[:, None] * width + columns[None, :]
            narrow_gate = _thin(thin_gate, rows, ranks, height, rank)
            narrow_up = _thin(thin_up, rows, ranks, height, rank)
            narrow_down = _thin(thin_down, rows, ranks, height, rank)
            g = _layer(gate, at, inside, narrow_gate, with_gate, scale_gate)
            u = _layer(up, at, inside, narrow_up, with_up, scale_up)
            sigmoid = tl.sigmoid(g)
            silu = g * sigmoid
            act = (silu.to(kind).to(tl.float32) * u).to(kind)
            more = tl.dot(narrow_down, with_down) * scale_down
            if drop:
                kept = _kept(rows[:, None], columns[None, :], width, seed, threshold)
                more = tl.where(kept, more, 0.0)
                act = tl.where(kept, act, 0.0)
            change = (tl.load(upstream + at, inside, 0.0).to(tl.float32) + more).to(kind).to(tl.float32)
            of_up = (change * silu).to(kind)
            of_gate = (change * (silu * (1 - sigmoid) + sigmoid) * u).to(kind)
            tl.store(for_up + at, of_up, inside)
            tl.store(for_gate + at, of_gate, inside)
            total_gate = tl.dot(tl.trans(narrow_gate), of_gate, total_gate)
            total_up = tl.dot(tl.trans(narrow_up), of_up, total_up)
            total_down = tl.dot(tl.trans(narrow_down), act, total_down)
        at_rank = partial + (tl.program_id(1) * rank + ranks).to(tl.int64)[:, None] * width + columns[None, :]
        stored = (ranks < rank)[:, None] & (columns < width)[None, :]
        step = parts.to(tl.int64) * rank * width
        tl.store(at_rank, total_gate * scale_gate, stored)
        tl.store(at_rank + step, total_up * scale_up, stored)
        tl.store(at_rank + 2 * step, total_down * scale_down, stored)

    @triton.jit  # type: ignore[untyped-decorator]
    def _take(  # type: ignore[no-untyped-def]
        x,
        kept,
        narrow,
        factor,
        product,
        at,
        inside,
        scale,
        total,
        change,
        drop: tl.constexpr,
        add: tl.constexpr,
    ):
        """One layer's part of a tile: its A's gradient so far, and the input's."""
        part = tl.where(kept, x, 0.0) if drop else x
        total = tl.dot(tl.trans(narrow), part, total)
        if add:
            more = tl.dot(narrow, factor) * scale
            more = tl.where(kept, more, 0.0) if drop else more
            change += tl.load(product + at, inside, 0.0).to(tl.float32) + more
        return total, change

    @triton.jit(do_not_specialize=["seed0", "seed1", "seed2", "threshold", "height", "parts"])  # type: ignore[untyped-decorator]
    def _gather_kernel(  # type: ignore[no-untyped-def]
        product0,
        product1,
        product2,
        wide,
        thin,
        a0,
        a1,
        a2,
        out,
        partial,
        height,
        width,
        rows_each,
        parts,
        seed0,
        seed1,
        seed2,
        threshold,
        scale,
        rank: tl.constexpr,
        padded: tl.constexpr,
        drop: tl.constexpr,
        layers: tl.constexpr,
        add: tl.constexpr,
        tile_rows: tl.constexpr,
        tile_columns: tl.constexpr,
    ):
        """out = sum of product_m + scale * mask_m(thin_m @ a_m).

        partial (layers, parts, rank, width) receives the gradients of every A.
        """
        columns = tl.program_id(0) * tile_columns + tl.arange(0, tile_columns)
        ranks = tl.arange(0, padded)
        kind = wide.dtype.element_ty
        with0 = _factor(a0, ranks, columns, width, rank, width, 1, kind)
        with1 = _factor(a1, ranks, columns, width, rank, width, 1, kind)
        with2 = _factor(a2, ranks, columns, width, rank, width, 1, kind)
        total0 = tl.zeros((padded, tile_columns), tl.float32)
        total1 = tl.zeros((padded, tile_columns), tl.float32)
        total2 = tl.zeros((padded, tile_columns), tl.float32)
        first = tl.program_id(1) * rows_each
        after = height.to(tl.int64) * rank
        for start in tl.range(first, tl.minimum(first + rows_each, height), tile_rows, num_stages=2):
            rows = start + tl.arange(0, tile_rows)
            inside = (rows < height)[:, None] & (columns < width)[None, :]
            at = rows.to(tl.int64)[:, None] * width + columns[None, :]
            x = tl.load(wide + at, inside, 0.0)
            change = tl.zeros((tile_rows, tile_columns), tl.float32)
            kept = _kept(rows[:, None], columns[None, :], width, seed0, threshold)
            narrow = _thin(thin, rows, ranks, height, rank)
            total0, change = _take(
                x, kept, narrow, with0, product0, at, inside, scale, total0, change, drop, add
            )
            if layers > 1:
                kept = _kept(rows[:, None], columns[None, :], width, seed1, threshold)
                narrow = _thin(thin + after, rows, ranks, height, rank)
                total1, change = _take(
                    x, kept, narrow, with1, product1, at, inside, scale, total1, change, drop, add
                )
            if layers > 2:
                kept = _kept(rows[:, None], columns[None, :], width, seed2, threshold)
                narrow = _thin(thin + 2 * after, rows, ranks, height, rank)
                total2, change = _take(
                    x, kept, narrow, with2, product2, at, inside, scale, total2, change, drop, add
                )
            if add:
                tl.store(out + at, change.to(kind), inside)
        at_rank = partial + (tl.program_id(1) * rank + ranks).to(tl.int64)[:, None] * width + columns[None, :]
        stored = (ranks < rank)[:, None] & (columns < width)[None, :]
        step = parts.to(tl.int64) * rank * width
        tl.store(at_rank, total0 * scale, stored)
        if layers > 1:
            tl.store(at_rank + step, total1 * scale, stored)
        if layers > 2:
            tl.store(at_rank + 2 * step, total2 * scale, stored)


def _grid(height: int, width: int, tile_rows: int, tile_columns: int) -> tuple[int, int, int]:
    """Blocks of columns, parts of the rows, and how many rows each part has."""
    blocks = triton.cdiv(width, tile_columns)
    parts = max(1, min(_PROGRAMS // blocks, triton.cdiv(height, 4 * tile_rows)))
    rows_each = triton.cdiv(triton.cdiv(height, parts), tile_rows) * tile_rows
    return blocks, triton.cdiv(height, rows_each), rows_each


def _outputs(into: Gate) -> list[torch.Tensor]:
    """Outputs of gate and up in float32, rounded as a layer rounds them."""
    kind = into.bases[0].dtype
    sides = zip(*into, strict=True)
    return [
        (base.float() + thin.float() @ b.to(kind).float().T * s).to(kind).float()
        for base, thin, b, s in sides
    ]


def gated(into: Gate) -> torch.Tensor:
    """SwiGLU of *into*: (rows, intermediate)."""
    height, width = into.bases[0].shape
    kind, rank = into.bases[0].dtype, into.thin[0].shape[-1]
    if not lora._has_kernels(into.bases[0]):
        g, u = _outputs(into)
        return (torch.nn.functional.silu(g).to(kind).float() * u).to(kind)
    act = torch.empty_like(into.bases[0])
    rows, columns, warps = _GATE
    grid = (triton.cdiv(height, rows), triton.cdiv(width, columns))
    both = (b.contiguous() for b in into.b)
    sizes = (rank, lora._padded(rank), rows, columns)
    _gate_kernel[grid](
        *into.bases, *into.thin, *both, act, height, width, *into.scales, *sizes, num_warps=warps
    )
    return act


def gated_back(
    into: Gate, upstream: torch.Tensor, thin: torch.Tensor, a_down: torch.Tensor, drop: Drop
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Backward of :func:`gated` and of the first half of down's LoRA part.

    Args:
        into: what SwiGLU read.
        upstream: (rows, intermediate), the gradient for SwiGLU's output through the frozen down alone.
        thin: (rows, rank), the gradient for down's narrow side.
        a_down: (rank, intermediate).
        drop: of down's input.

    Returns:
        Gradients for gate and for up (rows, intermediate), and float32 (3, rank, intermediate): for B of gate and B of
        up, both transposed, and for A of down.
    """
    height, width = into.bases[0].shape
    kind, rank = into.bases[0].dtype, thin.shape[-1]
    if not lora._has_kernels(upstream):
        g, u = _outputs(into)
        sigmoid = torch.sigmoid(g)
        silu = g * sigmoid
        act = drop.mask((silu.to(kind).float() * u).to(kind))
        more = drop.mask(thin.float() @ a_down.to(kind).float() * drop.scale)
        change = (upstream.float() + more).to(kind).float()
        for_gate, for_up = (change * (silu * (1 - sigmoid) + sigmoid) * u).to(kind), (change * silu).to(kind)
        pairs = zip((*into.thin, thin), (for_gate, for_up, act), (*into.scales, drop.scale), strict=True)
        return for_gate, for_up, torch.stack([left.float().T @ right.float() * s for left, right, s in pairs])
    rows, columns, warps = _GATE_BACK
    blocks, parts, rows_each = _grid(height, width, rows, columns)
    for_gate, for_up = torch.empty_like(upstream), torch.empty_like(upstream)
    partial = thin.new_empty(3, parts, rank, width, dtype=torch.float32)
    factors = (factor.contiguous() for factor in (*into.b, a_down))
    shape = (height, width, rows_each, parts, drop.seed, lora._threshold(drop.rate))
    sizes = (rank, lora._padded(rank), drop.rate > 0, rows, columns)
    _gate_back_kernel[(blocks, parts)](
        *(*into.bases, upstream, *into.thin, thin, *factors, for_gate, for_up, partial),
        *(*shape, *into.scales, drop.scale, *sizes),
        num_warps=warps,
    )
    return for_gate, for_up, partial.sum(1)


def gather(
    products: Sequence[torch.Tensor],
    wide: torch.Tensor,
    thin: torch.Tensor,
    factors: Sequence[torch.Tensor],
    drops: Sequence[Drop],
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Gradients for an input that up to three layers share, and for their A.

    Args:
        products: of every layer (rows, columns), through its frozen weight; empty where the input needs no gradient.
        wide: (rows, columns), the input.
        thin: (layers, rows, rank), gradients for the narrow sides.
        factors: A of every layer, (rank, columns).
        drops: of every layer, with one rate.

    Returns:
        Gradient for the input, and float32 (layers, rank, columns): for every A.
    """
    height, width = wide.shape
    count, rank = len(factors), thin.shape[-1]
    if not lora._has_kernels(wide):
        sides = [
            (side.float() * drop.scale, a, drop) for side, a, drop in zip(thin, factors, drops, strict=True)
        ]
        for_a = [side.T @ drop.mask(wide).float() for side, _, drop in sides]
        more = [drop.mask(side @ a.to(wide.dtype).float()) for side, a, drop in sides]
        total = sum((product.float() for product in products), sum(more, torch.zeros_like(more[0])))
        return total.to(wide.dtype) if products else None, torch.stack(for_a)
    rows, columns, warps = _GATHER[count - 1]
    blocks, parts, rows_each = _grid(height, width, rows, columns)
    partial = wide.new_empty(count, parts, rank, width, dtype=torch.float32)
    out = torch.empty_like(wide) if products else None
    sizes = (rank, lora._padded(rank), drops[0].rate > 0, count, out is not None, rows, columns)
    seeds = _three([drop.seed for drop in drops])
    _gather_kernel[(blocks, parts)](
        *_three(products or [wide]),
        wide,
        thin,
        *_three([a.contiguous() for a in factors]),
        wide if out is None else out,
        partial,
        *(height, width, rows_each, parts, *seeds, lora._threshold(drops[0].rate), drops[0].scale, *sizes),
        num_warps=warps,
    )
    return out, partial.sum(1)


def _three(many: Sequence[Any]) -> tuple[Any, ...]:
    """Return three arguments; what a kernel does not read repeats the first."""
    return (*many, many[0], many[0])[:3]
