"""LoRA training with frozen weights in 8 bits, for ms-swift.

A file for ``swift sft --external_plugins``.

The matrix products of the frozen layers are most of the work of a LoRA training, and Hopper's tensor cores do them
twice as fast in FP8 (E4M3) as in bfloat16. Each frozen weight is rounded once, every output channel with a scale of
its own, and once more along its other side for the backward pass; activations and gradients are rounded as they come,
every token with a scale of its own (the largest absolute value becomes 448). LoRA itself, its gradients, the output
layer, norms and attention stay as they are, and so do the weights that are saved. It computes LoRA as ``fused_lora``
does, whether that is named, too, or not.

It changes the arithmetic: products are 3 to 4 % (of their norm) off. So it is an option, and no row's default: whoever
takes it shows by the paired comparison with the row without it that nothing is lost. It needs two bytes more per
frozen weight on the card, and one of compute capability 8.9 or newer.
"""

from __future__ import annotations

import functools
import importlib.util
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for CPUs comes without it
    triton = None

LARGEST = 448.0
"""Of torch.float8_e4m3fn."""
_TILE = (4096, 8)
"""Columns that a program reads at a time, and its warps."""


def _beside(name: str) -> Any:
    """Return the plugin *name* beside this one.

    Also where this project is not installed.
    """
    spec = importlib.util.spec_from_file_location(
        f"_beside_frozen_fp8_{name}", Path(__file__).with_name(f"{name}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lora = _beside("fused_lora")


class Rounded(NamedTuple):
    """A matrix in 8 bits, and what each row has to be multiplied with."""

    values: torch.Tensor
    scales: torch.Tensor


if triton is not None:

    @triton.jit  # type: ignore[untyped-decorator]
    def _round_kernel(wide, values, scales, width, largest, tile: tl.constexpr):  # type: ignore[no-untyped-def]
        """Round one row.

        It is read for its largest value, and once more out of the cache.
        """
        row = tl.program_id(0).to(tl.int64)
        columns = tl.arange(0, tile)
        top = tl.zeros((tile,), tl.float32)
        for start in tl.range(0, width, tile):
            within = start + columns < width
            read = tl.load(wide + row * width + start + columns, within, 0.0).to(tl.float32)
            top = tl.maximum(top, tl.abs(read))
        most = tl.max(top, 0)
        tl.store(scales + row, tl.where(most > 0, most / largest, 1.0))
        inverse = tl.where(most > 0, largest / most, 1.0)
        for start in tl.range(0, width, tile):
            within = start + columns < width
            read = tl.load(wide + row * width + start + columns, within, 0.0).to(tl.float32)
            small = tl.minimum(tl.maximum(read * inverse, -largest), largest).to(values.dtype.element_ty)
            tl.store(values + row * width + start + columns, small, within)


def rounded(wide: torch.Tensor) -> Rounded:
    """Round *wide* (rows, columns), each row with its own scale."""
    height, width = wide.shape
    if not (triton is not None and wide.is_cuda):
        top = wide.float().abs().amax(1, keepdim=True)
        scales = torch.where(top > 0, top / LARGEST, torch.ones_like(top))
        return Rounded((wide.float() / scales).to(torch.float8_e4m3fn), scales)
    wide = wide.contiguous()
    values = torch.empty_like(wide, dtype=torch.float8_e4m3fn)
    scales = wide.new_empty(height, 1, dtype=torch.float32)
    tile, warps = _TILE
    _round_kernel[(height,)](wide, values, scales, width, LARGEST, tile, num_warps=warps)
    return Rounded(values, scales)


def multiply(left: Rounded, right: Rounded, dtype: torch.dtype) -> torch.Tensor:
    """``left @ right.T`` out of 8 bits, added up in float32."""
    if not left.values.is_cuda:
        return ((left.values.float() * left.scales) @ (right.values.float() * right.scales).T).to(dtype)
    return torch._scaled_mm(
        left.values,
        right.values.t(),
        scale_a=left.scales,
        scale_b=right.scales.t(),
        out_dtype=dtype,
        use_fast_accum=True,
    )


class _Last:
    """The rounded form of the last input: query, key and value read the same one."""

    def __init__(self) -> None:
        self.seen: tuple[weakref.ref[Any], int, Rounded] | None = None

    def of(self, x: Any) -> Rounded:
        """Round *x*, seen as rows."""
        if self.seen:
            seen, version, small = self.seen
            if version == x._version and id(seen()) == id(x):
                return small
        small = rounded(x.detach().reshape(-1, x.shape[-1]))
        self.seen = (weakref.ref(x), x._version, small)
        return small


LAST = _Last()


class Frozen(NamedTuple):
    """A frozen weight (out, in), rounded for the forward and for the backward pass."""

    along_in: Rounded
    along_out: Rounded


def frozen(base: Any) -> Frozen:
    """Return the rounded weight of the linear layer *base*.

    It is made when it is first asked for.
    """
    cached = getattr(base, "_frozen_fp8", None)
    if cached is None or cached[0] != base.weight._version:
        weight = base.weight.detach()
        cached = (base.weight._version, Frozen(rounded(weight), rounded(weight.t().contiguous())))
        base._frozen_fp8 = cached
    rounds: Frozen = cached[1]
    return rounds


class FrozenLoraLinear(torch.autograd.Function):  # type: ignore[misc]
    """``fused_lora.LoraLinear`` with the frozen product, and its part of the input's gradient, out of 8 bits."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, base: Any, a: torch.Tensor, b: torch.Tensor, drop: tuple[float, float, int]
    ) -> torch.Tensor:
        """Shapes: x (…, in), a (rank, in), b (out, rank).

        *drop* is LoRA's scale, dropout rate and seed.
        """
        scaling, rate, seed = drop
        rows = x.reshape(-1, x.shape[-1])
        narrow = lora.project(rows, a, seed=seed, rate=rate)
        out = multiply(LAST.of(x), frozen(base).along_in, x.dtype)
        if base.bias is not None:
            out += base.bias
        lora.spread(narrow, factor=b.T, out=out, scale=scaling)
        ctx.save_for_backward(rows, a, b, narrow)
        ctx.base, ctx.drop = base, drop
        return out.view(*x.shape[:-1], b.shape[0])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients for x, a and b."""
        rows, a, b, narrow = ctx.saved_tensors
        scaling, rate, seed = ctx.drop
        upstream = gradients[0].reshape(-1, b.shape[0])
        thin = lora.project(upstream, b.T, scale=scaling)
        for_b = lora.spread(narrow, wide=upstream, scale=scaling)
        for_x = None
        if ctx.needs_input_grad[0]:
            for_x = multiply(rounded(upstream), frozen(ctx.base).along_out, upstream.dtype)
        for_a = lora.spread(thin, factor=a, out=for_x, wide=rows, seed=seed, rate=rate)
        assert for_a is not None
        assert for_b is not None
        shaped = None if for_x is None else for_x.view(*gradients[0].shape[:-1], rows.shape[1])
        return shaped, None, for_a.to(a.dtype), for_b.T.to(b.dtype), None


def fuse(forward: Any) -> Any:
    """Return PEFT's *forward* with 8-bit products.

    It is replaced wherever ``fused_lora`` would replace it.
    """

    @functools.wraps(forward)
    def fused(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        base = self.base_layer
        if args or kwargs or lora.why_not_fused(self, x) or base.in_features % 16 or base.out_features % 16:
            return forward(self, x, *args, **kwargs)
        (name,) = (name for name in self.active_adapters if name in self.lora_A)
        rate = float(getattr(self.lora_dropout[name], "p", 0.0)) if self.training else 0.0
        # from the CPU's generator, as fused_lora draws it: the same seed drops the same elements
        seed = int(torch.randint(2**31, ())) if rate else 0
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        return FrozenLoraLinear.apply(x, base, a, b, (self.scaling[name], rate, seed))

    fused.is_frozen_fp8 = True  # type: ignore[attr-defined]
    fused.is_fused = True  # type: ignore[attr-defined]  # so that fused_lora, named after it, does not go before it
    return fused


def install() -> None:
    """Replace the forward pass of PEFT's linear layers, once.

    Raises:
        RuntimeError: the card has no 8-bit products.
    """
    from peft.tuners.lora import layer

    if torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9):
        raise RuntimeError(
            "frozen_fp8 needs a card of compute capability 8.9 or newer; take it out of the row's plugins"
        )
    if not getattr(layer.Linear.forward, "is_frozen_fp8", False):
        layer.Linear.forward = fuse(layer.Linear.forward)


if __name__.startswith("_swift_external_"):
    install()
