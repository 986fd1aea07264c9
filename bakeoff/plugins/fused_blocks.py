"""LoRA blocks whose layers read and write once what they share.

A file for ``swift sft --external_plugins``, after ``fused_lora``.

``fused_lora`` fuses each LoRA layer by itself. What is left between layers is memory traffic: gate and up write their
LoRA parts into outputs of 19,000 columns that SwiGLU reads again, and query, key and value add three gradients for one
input. Here the three layers of an attention are one autograd node, and a whole MLP is another:

* SwiGLU adds the LoRA parts of gate and up as it reads them. Its backward pass adds down's part to the gradient, works
  out the gradients of gate and up, and in the same go those of their B and of down's A; its output is computed again
  instead of stored, which saves a sixth of the card's memory.
* One kernel adds up the gradients for a shared input, with the LoRA parts, and works out every A's.

What is computed is what ``fused_lora`` computes, dropout masks included; sums are rounded less often. With
``frozen_fp8`` in the row's plugins the frozen products are its own. Other attention layers and MLPs (biases in the MLP,
another activation, different ranks or rates, the CPU) stay as they are.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

_spec = importlib.util.spec_from_file_location(
    "_block_kernels", Path(__file__).with_name("_block_kernels.py")
)
assert _spec is not None
assert _spec.loader is not None
kernels: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kernels)
lora: Any = kernels.lora
fp8: Any = kernels.beside("frozen_fp8")
_QUERIES = ("q_proj", "k_proj", "v_proj")
_MLP = ("gate_proj", "up_proj", "down_proj")


class Block(NamedTuple):
    """The frozen layers of a block, LoRA's scale and dropout of each, and whether their products are in 8 bits."""

    bases: tuple[Any, ...]
    scales: tuple[float, ...]
    drops: tuple[Any, ...]
    in_8_bits: bool

    def forward(self, x: torch.Tensor, layers: slice) -> list[torch.Tensor]:
        """``x @ weight.T + bias`` of the *layers*; x is (rows, columns)."""
        bases = self.bases[layers]
        if not self.in_8_bits:
            return [torch.nn.functional.linear(x, base.weight, base.bias) for base in bases]
        rounded = fp8.rounded(x)
        outs = [fp8.multiply(rounded, fp8.frozen(base).along_in, x.dtype) for base in bases]
        return [
            out if base.bias is None else out.add_(base.bias) for out, base in zip(outs, bases, strict=True)
        ]

    def back(self, upstream: torch.Tensor, layer: int) -> torch.Tensor:
        """``upstream @ weight`` of the *layer*."""
        base = self.bases[layer]
        if not self.in_8_bits:
            return upstream @ base.weight
        product: torch.Tensor = fp8.multiply(
            fp8.rounded(upstream), fp8.frozen(base).along_out, upstream.dtype
        )
        return product

    def project(self, x: torch.Tensor, a: Sequence[torch.Tensor], first: int = 0) -> list[torch.Tensor]:
        """Return the input's projections by every A, (rows, rank) each.

        *first* is the layer of the first.
        """
        return [
            lora.project(x, factor, seed=drop.seed, rate=drop.rate)
            for factor, drop in zip(a, self.drops[first : first + len(a)], strict=True)
        ]


class LoraSiblings(torch.autograd.Function):  # type: ignore[misc]
    """LoRA layers of one input: ``x @ w_m.T + bias_m + scale_m * mask_m(x) @ a_m.T @ b_m.T`` each."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, block: Block, *factors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Shapes: x (…, in), A (rank, in), B (out, rank).

        *factors* are A of every layer and then B of every layer.
        """
        rows = x.reshape(-1, x.shape[-1])
        count = len(block.bases)
        thin = block.project(rows, factors[:count])
        outs = block.forward(rows, slice(None))
        for out, narrow, b, scale in zip(outs, thin, factors[count:], block.scales, strict=True):
            lora.spread(narrow, factor=b.T, out=out, scale=scale)
        ctx.save_for_backward(rows, *thin, *factors)
        ctx.block = block
        return tuple(out.view(*x.shape[:-1], out.shape[-1]) for out in outs)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients for x and the factors."""
        block, count = ctx.block, len(ctx.block.bases)
        rows, *saved = ctx.saved_tensors
        thin, a, b = saved[:count], saved[count : 2 * count], saved[2 * count :]
        upstream = [gradient.reshape(-1, gradient.shape[-1]) for gradient in gradients]
        sides = list(zip(upstream, b, block.scales, thin, strict=True))
        narrow = torch.stack(
            [lora.project(change, factor.T, scale=scale) for change, factor, scale, _ in sides]
        )
        for_b = [
            lora.spread(before, wide=change, scale=scale).T.to(factor.dtype)
            for change, factor, scale, before in sides
        ]
        products = (
            [block.back(change, layer) for layer, change in enumerate(upstream)]
            if ctx.needs_input_grad[0]
            else []
        )
        for_x, for_a = kernels.gather(products, rows, narrow, a, block.drops)
        shaped = None if for_x is None else for_x.view(*gradients[0].shape[:-1], rows.shape[1])
        return (
            shaped,
            None,
            *(change.to(factor.dtype) for change, factor in zip(for_a, a, strict=True)),
            *for_b,
        )


class LoraMlp(torch.autograd.Function):  # type: ignore[misc]
    """``down(silu(gate(x)) * up(x))`` of three LoRA layers without biases."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, block: Block, *factors: torch.Tensor) -> torch.Tensor:
        """Shapes: x (…, hidden).

        *factors* are A of gate, up and down, and then their B.
        """
        rows = x.reshape(-1, x.shape[-1])
        into = kernels.Gate(
            tuple(block.forward(rows, slice(2))),
            tuple(block.project(rows, factors[:2])),
            factors[3:5],
            block.scales[:2],
        )
        act = kernels.gated(into)
        (narrow,) = block.project(act, factors[2:3], 2)
        (out,) = block.forward(act, slice(2, 3))
        lora.spread(narrow, factor=factors[5].T, out=out, scale=block.scales[2])
        ctx.save_for_backward(rows, *into.bases, *into.thin, narrow, *factors)
        ctx.block = block
        return out.view(*x.shape[:-1], out.shape[-1])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients for x and the factors."""
        block = ctx.block
        rows, gate, up, thin_gate, thin_up, narrow, *factors = ctx.saved_tensors
        b_down, scale_down = factors[5], block.scales[2]
        upstream = gradients[0].reshape(-1, gradients[0].shape[-1])
        for_narrow = lora.project(upstream, b_down.T, scale=scale_down)
        for_b_down = lora.spread(narrow, wide=upstream, scale=scale_down)
        into = kernels.Gate((gate, up), (thin_gate, thin_up), tuple(factors[3:5]), block.scales[:2])
        *sides, (for_b_gate, for_b_up, for_a_down) = kernels.gated_back(
            into, block.back(upstream, 2), for_narrow, factors[2], block.drops[2]
        )
        for_thin = [
            lora.project(side, b.T, scale=s) for side, b, s in zip(sides, into.b, into.scales, strict=True)
        ]
        products = (
            [block.back(side, layer) for layer, side in enumerate(sides)] if ctx.needs_input_grad[0] else []
        )
        for_x, for_a = kernels.gather(products, rows, torch.stack(for_thin), factors[:2], block.drops[:2])
        shaped = None if for_x is None else for_x.view(*gradients[0].shape[:-1], rows.shape[1])
        changes = (*for_a, for_a_down, for_b_gate.T, for_b_up.T, for_b_down.T)
        return (
            shaped,
            None,
            *(change.to(factor.dtype) for change, factor in zip(changes, factors, strict=True)),
        )


def why_not_fused(layers: Sequence[Any], x: torch.Tensor) -> str:
    """Return why LoRA *layers* must run one by one; empty if they need not."""
    if not all(hasattr(layer, "lora_A") for layer in layers):
        return "a layer has no LoRA"
    reason: str = next(filter(None, (lora.why_not_fused(layer, x) for layer in layers)), "")
    kinds = set() if reason else {(_weight(layer, "lora_A").shape[0], _rate(layer)) for layer in layers}
    return reason or ("ranks or dropout rates differ" if len(kinds) > 1 else "")


def _adapter(layer: Any) -> str:
    (name,) = (name for name in layer.active_adapters if name in layer.lora_A)
    return str(name)


def _weight(layer: Any, side: str) -> torch.Tensor:
    weight: torch.Tensor = getattr(layer, side)[_adapter(layer)].weight
    return weight


def _rate(layer: Any) -> float:
    return float(getattr(layer.lora_dropout[_adapter(layer)], "p", 0.0)) if layer.training else 0.0


def block_of(layers: Sequence[Any]) -> tuple[Block, list[torch.Tensor]]:
    """The block that LoRA *layers* make, and A and then B of each."""
    bases = tuple(layer.base_layer for layer in layers)
    # from the CPU's generator, one for each layer, as fused_lora draws them: the same seed drops the same elements
    drops = tuple(
        kernels.Drop(int(torch.randint(2**31, ())) if rate else 0, rate)
        for rate in (_rate(layer) for layer in layers)
    )
    # frozen_fp8 leaves layers whose sides are no multiples of 16 to PEFT
    in_8_bits = getattr(type(layers[0]).forward, "is_frozen_fp8", False) and not any(
        side % 16 for base in bases for side in (base.in_features, base.out_features)
    )
    factors = [_weight(layer, side) for side in ("lora_A", "lora_B") for layer in layers]
    return Block(bases, tuple(layer.scaling[_adapter(layer)] for layer in layers), drops, in_8_bits), factors


def fuse_attention(forward: Any) -> Any:
    """Return an attention's *forward* that works q, k and v out together."""

    @functools.wraps(forward)
    def fused(self: Any, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        layers = [getattr(self, name) for name in _QUERIES]
        if why_not_fused(layers, hidden_states):
            return forward(self, hidden_states, *args, **kwargs)
        block, factors = block_of(layers)
        outs = LoraSiblings.apply(hidden_states, block, *factors)
        try:
            for layer, out in zip(layers, outs, strict=True):
                layer.__dict__["forward"] = functools.partial(_ready, out)
            return forward(self, hidden_states, *args, **kwargs)
        finally:
            for layer in layers:
                layer.__dict__.pop("forward", None)

    fused.is_fused_block = True  # type: ignore[attr-defined]
    return fused


def _ready(out: torch.Tensor, _x: torch.Tensor) -> torch.Tensor:
    return out


def fuse_mlp(forward: Any) -> Any:
    """A gated MLP's *forward*, replaced where its layers allow it."""

    @functools.wraps(forward)
    def fused(self: Any, x: torch.Tensor) -> Any:
        layers = [getattr(self, name) for name in _MLP]
        activation = getattr(getattr(self, "config", None), "hidden_act", None)
        if activation not in ("silu", "swish") or why_not_fused(layers, x):
            return forward(self, x)
        if any(layer.base_layer.bias is not None for layer in layers):
            return forward(self, x)
        block, factors = block_of(layers)
        return LoraMlp.apply(x, block, *factors)

    fused.is_fused_block = True  # type: ignore[attr-defined]
    return fused


def install() -> None:
    """Replace the forward passes of Llama's, Qwen2's and Liger's blocks, once.

    Raises:
        ImportError: the machine has a GPU, and Triton is not installed.
    """
    from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP
    from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, Qwen2MLP

    # Where CUTLASS's Python package is installed (flash-attention 4 and vLLM bring it), Liger 0.8.5 takes its kernels
    # for rotary positions, whose launch costs the host 9 ms: 10,200 tokens/s instead of 17,500 were measured.
    os.environ.setdefault("LIGER_KERNEL_IMPL_ROPE", "triton")
    lora.install()
    blocks = [
        (LlamaAttention, fuse_attention),
        (Qwen2Attention, fuse_attention),
        (LlamaMLP, fuse_mlp),
        (Qwen2MLP, fuse_mlp),
    ]
    if importlib.util.find_spec("liger_kernel"):
        from liger_kernel.transformers.swiglu import LigerSwiGLUMLP

        blocks.append((LigerSwiGLUMLP, fuse_mlp))
    for kind, fuse in blocks:
        if not getattr(kind.forward, "is_fused_block", False):
            kind.forward = fuse(kind.forward)


if __name__.startswith("_swift_external_"):
    install()
