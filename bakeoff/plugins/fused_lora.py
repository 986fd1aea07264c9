"""LoRA layers that read and write each activation once, for ``swift sft --external_plugins``.

PEFT keeps LoRA weights in float32, so each of the 196 layers of a 7B model copies its bfloat16 input to float32,
drops out, copies it back, and keeps those copies for the backward pass. Here one kernel reads the input, drops out
and projects it; one adds the product to the base layer's output; two more do the backward pass. The dropout mask
is a hash of (seed, element), so it is computed again instead of stored.

What is computed is what PEFT computes: ``x W' + b + alpha/r * dropout(x) A' B'`` with the dropout rate of the run
(Hu et al., arXiv 2106.09685, section 4.1), bfloat16 products accumulated in float32, float32 gradients for A and B.
Layers it does not know (DoRA, several adapters, quantised or float32 bases, the CPU) stay PEFT's.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for CPUs comes without it
    triton = None

_MIX = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
_WORD = 0xFFFFFFFF
_PROJECT = (32, 128, 4)
_ADD = (64, 128, 4)
_GRADIENT = (64, 64, 4)
"""Rows and columns of a tile, warps of a program: the fastest of those that bench/gpu/kernels.py tries."""
_PROGRAMS = 1056
"""Programs that a launch aims at: eight for each of an H100's or H200's 132 multiprocessors."""


def keep_mask(rows: int, columns: int, seed: int, rate: float, device: Any = "cpu") -> torch.Tensor:
    """Which elements dropout keeps: bool of shape (rows, columns), False with probability *rate*.

    The reference for the kernels: element (i, j) hashes ``i * columns + j`` modulo 2**32.
    """
    word = torch.arange(rows * columns, dtype=torch.int64, device=device) & _WORD
    word = (word * _MIX[0] + seed) & _WORD
    word = ((word ^ (word >> 15)) * _MIX[1]) & _WORD
    word = ((word ^ (word >> 13)) * _MIX[2]) & _WORD
    return (word >= _threshold(rate)).view(rows, columns)


def _threshold(rate: float) -> int:
    return min(int(rate * 2**32), _WORD)


if triton is not None:

    @triton.jit
    def _kept(rows, columns, width, seed, threshold):  # type: ignore[no-untyped-def]
        word = rows.to(tl.uint32) * width.to(tl.uint32) + columns.to(tl.uint32)
        word = word * 0x9E3779B1 + seed.to(tl.uint32)
        word = (word ^ (word >> 15)) * 0x85EBCA77
        word = (word ^ (word >> 13)) * 0xC2B2AE3D
        return word >= threshold.to(tl.uint32)

    @triton.jit(do_not_specialize=["seed", "threshold", "height"])  # type: ignore[untyped-decorator]
    def _project_kernel(  # type: ignore[no-untyped-def]
        wide,
        factor,
        narrow,
        height,
        width,
        seed,
        threshold,
        scale,
        rank: tl.constexpr,
        padded: tl.constexpr,
        drop: tl.constexpr,
        tile_rows: tl.constexpr,
        tile_columns: tl.constexpr,
    ):
        """narrow (height, rank) = scale * mask(wide) @ factor.T for a tile of rows."""
        rows = tl.program_id(0) * tile_rows + tl.arange(0, tile_rows)
        ranks = tl.arange(0, padded)
        inside = rows < height
        line = wide + rows.to(tl.int64)[:, None] * width
        total = tl.zeros((tile_rows, padded), tl.float32)
        for start in tl.range(0, width, tile_columns, num_stages=3):
            columns = start + tl.arange(0, tile_columns)
            within = columns < width
            tile = tl.load(line + columns[None, :], inside[:, None] & within[None, :], 0.0)
            if drop:
                tile = tl.where(_kept(rows[:, None], columns[None, :], width, seed, threshold), tile, 0.0)
            weights = tl.load(
                factor + ranks.to(tl.int64)[None, :] * width + columns[:, None],
                within[:, None] & (ranks < rank)[None, :],
                0.0,
            )
            total = tl.dot(tile, weights.to(tile.dtype), total)
        target = narrow + rows.to(tl.int64)[:, None] * rank + ranks[None, :]
        tl.store(
            target,
            (total * scale).to(narrow.dtype.element_ty),
            inside[:, None] & (ranks < rank)[None, :],
        )

    @triton.jit(do_not_specialize=["seed", "threshold", "height"])  # type: ignore[untyped-decorator]
    def _spread_kernel(  # type: ignore[no-untyped-def]
        narrow,
        factor,
        out,
        wide,
        partial,
        height,
        width,
        rows_each,
        by_rank,
        by_column,
        seed,
        threshold,
        scale,
        rank: tl.constexpr,
        padded: tl.constexpr,
        drop: tl.constexpr,
        add: tl.constexpr,
        gradient: tl.constexpr,
        tile_rows: tl.constexpr,
        tile_columns: tl.constexpr,
    ):
        """out += scale * mask(narrow @ factor) and partial = scale * narrow.T @ mask(wide), either or both."""
        columns = tl.program_id(0) * tile_columns + tl.arange(0, tile_columns)
        ranks = tl.arange(0, padded)
        within = columns < width
        used = ranks < rank
        kind = narrow.dtype.element_ty
        if add:
            weights = tl.load(
                factor + ranks[:, None] * by_rank + columns.to(tl.int64)[None, :] * by_column,
                used[:, None] & within[None, :],
                0.0,
            ).to(kind)
        total = tl.zeros((padded, tile_columns), tl.float32)
        first = tl.program_id(1) * rows_each
        for start in tl.range(first, tl.minimum(first + rows_each, height), tile_rows, num_stages=3):
            rows = start + tl.arange(0, tile_rows)
            inside = (rows < height)[:, None] & within[None, :]
            at = rows.to(tl.int64)[:, None] * width + columns[None, :]
            thin = tl.load(
                narrow + rows.to(tl.int64)[:, None] * rank + ranks[None, :],
                (rows < height)[:, None] & used[None, :],
                0.0,
            )
            if drop:
                kept = _kept(rows[:, None], columns[None, :], width, seed, threshold)
            if add:
                more = tl.dot(thin, weights) * scale
                if drop:
                    more = tl.where(kept, more, 0.0)
                tile = tl.load(out + at, inside, 0.0)
                tl.store(out + at, (tile.to(tl.float32) + more).to(kind), inside)
            if gradient:
                tile = tl.load(wide + at, inside, 0.0)
                if drop:
                    tile = tl.where(kept, tile, 0.0)
                total = tl.dot(tl.trans(thin), tile, total)
        if gradient:
            at_rank = (tl.program_id(1) * rank + ranks).to(tl.int64)[:, None] * width
            tl.store(partial + at_rank + columns[None, :], total * scale, used[:, None] & within[None, :])


def project(
    wide: torch.Tensor, factor: torch.Tensor, *, seed: int = 0, rate: float = 0.0, scale: float = 1.0
) -> torch.Tensor:
    """``scale / (1 - rate) * dropout_mask(wide) @ factor.T``.

    Args:
        wide: (rows, columns), contiguous.
        factor: (rank, columns), any strides; used in the dtype of *wide*.
        seed: of the dropout mask, 32 bits.
        rate: share of the elements that are dropped.
        scale: applied before the result is rounded.

    Returns:
        (rows, rank), in the dtype of *wide*.
    """
    height, width = wide.shape
    rank = factor.shape[0]
    scale /= 1 - rate
    if not _has_kernels(wide):
        masked = wide * keep_mask(height, width, seed, rate, wide.device) if rate else wide
        return (masked.float() @ factor.to(wide.dtype).float().T * scale).to(wide.dtype)
    narrow = wide.new_empty(height, rank)
    tile_rows, tile_columns, warps = _PROJECT
    _project_kernel[(triton.cdiv(height, tile_rows),)](
        wide,
        factor.contiguous(),
        narrow,
        height,
        width,
        seed,
        _threshold(rate),
        scale,
        rank,
        _padded(rank),
        rate > 0,
        tile_rows,
        tile_columns,
        num_warps=warps,
    )
    return narrow


def spread(
    narrow: torch.Tensor,
    *,
    factor: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
    wide: torch.Tensor | None = None,
    seed: int = 0,
    rate: float = 0.0,
    scale: float = 1.0,
) -> torch.Tensor | None:
    """Backward of :func:`project`, and the second half of a LoRA layer.

    With *out* and *factor* (rank, columns), ``out += scale / (1 - rate) * dropout_mask(narrow @ factor)`` in place.
    With *wide*, returns ``scale / (1 - rate) * narrow.T @ dropout_mask(wide)``, float32 of shape (rank, columns).
    """
    shaped = out if out is not None else wide
    assert shaped is not None
    height, width = shaped.shape
    rank = narrow.shape[1]
    scale /= 1 - rate
    if not _has_kernels(shaped):
        kept = keep_mask(height, width, seed, rate, shaped.device) if rate else 1.0
        if out is not None and factor is not None:
            more = narrow.float() @ factor.to(narrow.dtype).float() * scale
            out.copy_((out.float() + more * kept).to(out.dtype))
        return None if wide is None else narrow.float().T @ (wide.float() * kept) * scale
    tile_rows, tile_columns, warps = _ADD if wide is None else _GRADIENT
    blocks = triton.cdiv(width, tile_columns)
    parts = max(1, min(_PROGRAMS // blocks, triton.cdiv(height, 4 * tile_rows)))
    rows_each = triton.cdiv(triton.cdiv(height, parts), tile_rows) * tile_rows
    parts = triton.cdiv(height, rows_each)
    partial = (
        narrow.new_empty(parts, rank, width, dtype=torch.float32) if wide is not None else narrow.new_empty(0)
    )
    _spread_kernel[(blocks, parts)](
        narrow,
        narrow if factor is None else factor,
        narrow if out is None else out,
        narrow if wide is None else wide,
        partial,
        height,
        width,
        rows_each,
        0 if factor is None else factor.stride(0),
        0 if factor is None else factor.stride(1),
        seed,
        _threshold(rate),
        scale,
        rank,
        _padded(rank),
        rate > 0,
        out is not None,
        wide is not None,
        tile_rows,
        tile_columns,
        num_warps=warps,
    )
    return None if wide is None else partial.sum(0)


def _has_kernels(tensor: torch.Tensor) -> bool:
    return triton is not None and (tensor.is_cuda or _interpreted())


def _interpreted() -> bool:
    return bool(triton.knobs.runtime.interpret)


def _padded(rank: int) -> int:
    return max(16, 1 << (rank - 1).bit_length())


class LoraLinear(torch.autograd.Function):  # type: ignore[misc]
    """``x @ weight.T + bias + scaling * dropout(x) @ a.T @ b.T`` with a frozen *weight*."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
        rate: float,
        seed: int,
    ) -> torch.Tensor:
        """Shapes: x (…, in), weight (out, in), a (rank, in), b (out, rank)."""
        rows = x.reshape(-1, x.shape[-1])
        narrow = project(rows, a, seed=seed, rate=rate)
        out = torch.nn.functional.linear(rows, weight, bias)
        spread(narrow, factor=b.T, out=out, scale=scaling)
        ctx.save_for_backward(rows, weight, a, b, narrow)
        ctx.scaling, ctx.rate, ctx.seed = scaling, rate, seed
        return out.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients for x, a and b."""
        rows, weight, a, b, narrow = ctx.saved_tensors
        upstream = gradients[0].reshape(-1, weight.shape[0])
        thin = project(upstream, b.T, scale=ctx.scaling)
        for_b = spread(narrow, wide=upstream, scale=ctx.scaling)
        for_x = upstream @ weight if ctx.needs_input_grad[0] else None
        for_a = spread(thin, factor=a, out=for_x, wide=rows, seed=ctx.seed, rate=ctx.rate)
        assert for_a is not None
        assert for_b is not None
        shaped = None if for_x is None else for_x.view(*gradients[0].shape[:-1], rows.shape[1])
        return shaped, None, None, for_a.to(a.dtype), for_b.T.to(b.dtype), None, None, None


def why_not_fused(layer: Any, x: torch.Tensor) -> str:
    """Why PEFT's own forward must run for this LoRA *layer* and input, in words; empty where it need not."""
    base = layer.base_layer
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if layer.disable_adapters or layer.merged or len(active) != 1:
        return "not exactly one active, unmerged adapter"
    (name,) = active
    a, b, dropout = layer.lora_A[name], layer.lora_B[name], layer.lora_dropout[name]
    if name in layer.lora_variant or b.bias is not None:
        return "not a plain LoRA"
    if type(base) is not torch.nn.Linear or base.weight.requires_grad:
        return "the base layer is not a frozen nn.Linear"
    if not x.is_cuda or x.dtype not in (torch.bfloat16, torch.float16) or x.dtype != base.weight.dtype:
        return "not a half-precision layer on a GPU"
    if not isinstance(dropout, torch.nn.Dropout | torch.nn.Identity):
        return f"dropout is a {type(dropout).__name__}"
    return "" if a.weight.is_cuda and torch.is_grad_enabled() else "no gradient wanted"


def fuse(forward: Any) -> Any:
    """PEFT's ``lora.Linear.forward``, replaced where :func:`why_not_fused` has no objection."""

    @functools.wraps(forward)
    def fused(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or why_not_fused(self, x):
            return forward(self, x, *args, **kwargs)
        (name,) = (name for name in self.active_adapters if name in self.lora_A)
        rate = float(getattr(self.lora_dropout[name], "p", 0.0)) if self.training else 0.0
        # From the CPU's generator: gradient checkpointing restores it, so recomputing draws the same mask.
        seed = int(torch.randint(2**31, ())) if rate else 0
        base = self.base_layer
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        return LoraLinear.apply(x, base.weight, base.bias, a, b, self.scaling[name], rate, seed)

    fused.is_fused = True  # type: ignore[attr-defined]
    return fused


def install() -> None:
    """Replace the forward pass of PEFT's LoRA linear layers in this process, once.

    Raises:
        ImportError: the machine has a GPU, and Triton is not installed.
    """
    from peft.tuners.lora import layer

    if triton is None and torch.cuda.is_available():
        raise ImportError(
            "fused_lora needs triton, which PyTorch for CUDA brings along; "
            "install it (pip install triton) or take fused_lora out of the row's plugins"
        )
    if not getattr(layer.Linear.forward, "is_fused", False):
        layer.Linear.forward = fuse(layer.Linear.forward)


if __name__.startswith("_swift_external_"):
    install()
