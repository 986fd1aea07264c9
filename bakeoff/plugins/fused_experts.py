"""The experts of GPT-OSS in grouped products and four kernels, for ``swift sft --external_plugins``.

transformers runs a mixture of experts as grouped matrix products, with some twenty passes over the activations
around them (gathering, biases, clamps, gates, weights, sums), and keeps most of the results for the backward pass.
Here each of those steps is one kernel, and only the output of the first product is kept.

What is computed is transformers' ``GptOssExperts``: per token and chosen expert ``(up + 1) * gate * sigmoid(1.702
gate) @ down + bias`` with clamped gate and up, weighted by the router and summed; sums in float32. The experts'
weights are frozen, as LoRA on linear layers leaves them; where one is trained, transformers' own code runs.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for CPUs comes without it
    triton = None

_TILE_ROWS, _TILE_COLUMNS, _WARPS = 16, 128, 4


class Gate(NamedTuple):
    """``swiglu_alpha`` and ``swiglu_limit`` of the model's configuration."""

    alpha: float
    limit: float


class Order(NamedTuple):
    """Pairs of token and chosen expert, sorted by expert."""

    experts: torch.Tensor
    """int64 (pairs): the expert of each sorted pair."""
    pairs: torch.Tensor
    """int64 (pairs): for each sorted pair its number, ``token * chosen + choice``."""
    places: torch.Tensor
    """int64 (pairs): the inverse of *pairs*."""
    ends: torch.Tensor
    """int32 (experts): where each expert's pairs end."""


def order(chosen: torch.Tensor, experts: int) -> Order:
    """Sort the pairs of *chosen*, int64 (tokens, choices), by expert, without waiting for the device."""
    sorted_experts, pairs = torch.sort(chosen.reshape(-1), stable=True)
    places = torch.empty_like(pairs)
    places[pairs] = torch.arange(len(pairs), device=pairs.device)
    ends = torch.searchsorted(sorted_experts, torch.arange(experts, device=pairs.device), right=True)
    return Order(sorted_experts, pairs, places, ends.to(torch.int32))


if triton is not None:

    @triton.jit  # type: ignore[untyped-decorator]
    def _gate_kernel(  # type: ignore[no-untyped-def]
        product,
        bias,
        experts,
        upstream,
        weights,
        out,
        partial,
        height,
        width,
        parts,
        alpha,
        limit,
        backward: tl.constexpr,
        tile_rows: tl.constexpr,
        tile_columns: tl.constexpr,
    ):
        """out (height, width) = gate(product + bias); backward its gradient (height, 2 width) and sums."""
        rows = tl.program_id(0) * tile_rows + tl.arange(0, tile_rows)
        columns = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
        double = tl.program_id(1) * 2 * tile_columns + tl.arange(0, 2 * tile_columns)
        inside = (rows < height)[:, None] & (columns < width)[None, :]
        both = (rows < height)[:, None] & (double < 2 * width)[None, :]
        wide = rows.to(tl.int64)[:, None] * (2 * width) + double[None, :]
        expert = tl.load(experts + rows, rows < height, 0)
        tile = tl.load(product + wide, both, 0.0).to(tl.float32)
        tile += tl.load(bias + expert[:, None] * (2 * width) + double[None, :], both, 0.0).to(tl.float32)
        gate, up = tl.split(tl.reshape(tile, (tile_rows, tile_columns, 2)))
        low = tl.minimum(gate, limit)
        bounded = tl.minimum(tl.maximum(up, -limit), limit) + 1.0
        share = 1.0 / (1.0 + tl.exp(-alpha * low))
        thin = rows.to(tl.int64)[:, None] * width + columns[None, :]
        if backward:
            flow = tl.load(upstream + thin, inside, 0.0).to(tl.float32)
            value = bounded * low * share
            total = tl.sum(tl.where(inside, flow * value, 0.0), 1)
            tl.store(partial + rows.to(tl.int64) * parts + tl.program_id(1), total, rows < height)
            flow *= tl.load(weights + rows, rows < height, 0.0).to(tl.float32)[:, None]
            to_gate = flow * bounded * share * (1.0 + alpha * low * (1.0 - share))
            to_up = flow * low * share
            to_gate = tl.where(gate <= limit, to_gate, 0.0)
            to_up = tl.where((up >= -limit) & (up <= limit), to_up, 0.0)
            pair = tl.reshape(tl.join(to_gate, to_up), (tile_rows, 2 * tile_columns))
            tl.store(out + wide, pair.to(out.dtype.element_ty), both)
        else:
            tl.store(out + thin, (bounded * low * share).to(out.dtype.element_ty), inside)

    @triton.jit  # type: ignore[untyped-decorator]
    def _collect_kernel(  # type: ignore[no-untyped-def]
        rows_of,
        places,
        weights,
        bias,
        experts,
        out,
        height,
        width,
        choices: tl.constexpr,
        weighted: tl.constexpr,
        tile_columns: tl.constexpr,
    ):
        """out[t] = sum over its choices of weight * (rows_of[place] + bias[expert]), or of rows_of[place] alone."""
        token = tl.program_id(0)
        columns = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
        within = columns < width
        total = tl.zeros((tile_columns,), tl.float32)
        for choice in tl.static_range(choices):
            place = tl.load(places + token * choices + choice)
            row = tl.load(rows_of + place.to(tl.int64) * width + columns, within, 0.0).to(tl.float32)
            if weighted:
                expert = tl.load(experts + place)
                row += tl.load(bias + expert * width + columns, within, 0.0).to(tl.float32)
                row *= tl.load(weights + token * choices + choice).to(tl.float32)
            total += row
        tl.store(out + token.to(tl.int64) * width + columns, total.to(out.dtype.element_ty), within)


def _has_kernels(tensor: torch.Tensor) -> bool:
    return triton is not None and (tensor.is_cuda or bool(triton.knobs.runtime.interpret))


def _parts(
    product: torch.Tensor, bias: torch.Tensor, experts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    tile = product.float() + bias.float()[experts]
    return tile[:, ::2], tile[:, 1::2]


def gated(product: torch.Tensor, bias: torch.Tensor, experts: torch.Tensor, gate: Gate) -> torch.Tensor:
    """``(up + 1) * glu`` of the first product: (pairs, 2 width) and bias (experts, 2 width) to (pairs, width)."""
    height, width = product.shape[0], product.shape[1] // 2
    if not _has_kernels(product):
        low, up = _parts(product, bias, experts)
        low = low.clamp(max=gate.limit)
        value = (up.clamp(-gate.limit, gate.limit) + 1) * low * torch.sigmoid(gate.alpha * low)
        return value.to(product.dtype)
    out = product.new_empty(height, width)
    blocks = triton.cdiv(width, _TILE_COLUMNS)
    _gate_kernel[(triton.cdiv(height, _TILE_ROWS), blocks)](
        product, bias, experts, product, product, out, product, height, width, blocks,
        gate.alpha, gate.limit, False, _TILE_ROWS, _TILE_COLUMNS, num_warps=_WARPS,
    )  # fmt: skip
    return out


def gated_back(
    product: torch.Tensor,
    bias: torch.Tensor,
    experts: torch.Tensor,
    upstream: torch.Tensor,
    weights: torch.Tensor,
    gate: Gate,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of the first product, (pairs, 2 width), and ``sum(upstream * gated)`` per pair, float32 (pairs).

    *upstream* (pairs, width) comes without the router's *weights* (pairs), which the gradient includes.
    """
    height, width = upstream.shape
    if not _has_kernels(product):
        gates, up = _parts(product, bias, experts)
        low, bounded = gates.clamp(max=gate.limit), up.clamp(-gate.limit, gate.limit) + 1
        share = torch.sigmoid(gate.alpha * low)
        total = (upstream.float() * bounded * low * share).sum(-1)
        flow = upstream.float() * weights.float()[:, None]
        to_gate = flow * bounded * share * (1 + gate.alpha * low * (1 - share)) * (gates <= gate.limit)
        to_up = flow * low * share * (up.abs() <= gate.limit)
        return torch.stack([to_gate, to_up], -1).flatten(1).to(product.dtype), total
    out = torch.empty_like(product)
    blocks = triton.cdiv(width, _TILE_COLUMNS)
    partial = product.new_empty(height, blocks, dtype=torch.float32)
    _gate_kernel[(triton.cdiv(height, _TILE_ROWS), blocks)](
        product, bias, experts, upstream, weights, out, partial, height, width, blocks,
        gate.alpha, gate.limit, True, _TILE_ROWS, _TILE_COLUMNS, num_warps=_WARPS,
    )  # fmt: skip
    return out, partial.sum(1)


def collect(
    rows: torch.Tensor,
    places: torch.Tensor,
    tokens: int,
    weights: torch.Tensor | None = None,
    **biased: torch.Tensor,
) -> torch.Tensor:
    """Sum each token's rows, (pairs, width) to (tokens, width), in float32.

    With *weights* (tokens, choices) each row gets its expert's ``bias`` (experts, width) first, by ``experts``
    (pairs), and is multiplied.
    """
    width, choices = rows.shape[1], len(places) // tokens
    if not _has_kernels(rows):
        summands = rows[places].float()
        if weights is not None:
            summands = (
                summands + biased["bias"].float()[biased["experts"][places]]
            ) * weights.float().reshape(-1, 1)
        return summands.view(tokens, choices, width).sum(1).to(rows.dtype)
    out = rows.new_empty(tokens, width)
    tile = min(1024, triton.next_power_of_2(width))
    _collect_kernel[(tokens, triton.cdiv(width, tile))](
        rows, places, rows if weights is None else weights, biased.get("bias", rows), biased.get("experts", places),
        out, tokens, width, choices, weights is not None, tile, num_warps=_WARPS,
    )  # fmt: skip
    return out


def grouped(rows: torch.Tensor, weight: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """(pairs, in) times each pair's expert of *weight* (experts, in, out): (pairs, out)."""
    if rows.is_cuda:
        product: Callable[..., torch.Tensor] = (
            getattr(torch.nn.functional, "grouped_mm", None) or torch._grouped_mm
        )
        return product(rows, weight, offs=ends)
    edges = [0, *ends.tolist()]
    return torch.cat([rows[a:b] @ weight[i] for i, (a, b) in enumerate(itertools.pairwise(edges))])


class Experts(torch.autograd.Function):  # type: ignore[misc]
    """All chosen experts of all tokens; gradients for the tokens and the router's weights."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weights: torch.Tensor,
        into: tuple[torch.Tensor, torch.Tensor],
        back: tuple[torch.Tensor, torch.Tensor],
        by_expert: Order,
        gate: Gate,
    ) -> torch.Tensor:
        """Shapes: x (tokens, size), weights (tokens, choices), into and back: an expert's matrices and biases."""
        choices = weights.shape[1]
        product = grouped(x[by_expert.pairs // choices], into[0], by_expert.ends)
        down = grouped(gated(product, into[1], by_expert.experts, gate), back[0], by_expert.ends)
        ctx.save_for_backward(product, weights, *into, *back, *by_expert)
        ctx.gate = gate
        return collect(down, by_expert.places, len(x), weights, bias=back[1], experts=by_expert.experts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients for x and the router's weights."""
        product, weights, into, into_bias, back, back_bias, experts, pairs, places, ends = ctx.saved_tensors
        upstream, choices = gradients[0], weights.shape[1]
        rows = upstream[pairs // choices]
        flow = grouped(rows, back.transpose(1, 2), ends)
        for_product, totals = gated_back(
            product, into_bias, experts, flow, weights.reshape(-1)[pairs], ctx.gate
        )
        totals = totals[places].view_as(weights)
        chosen = experts[places].view_as(weights)
        totals = totals + (upstream @ back_bias.T.to(upstream.dtype)).gather(1, chosen)
        for_x = collect(grouped(for_product, into.transpose(1, 2), ends), places, len(upstream))
        return for_x, totals.to(weights.dtype), None, None, None, None


def why_not_fused(experts: Any, x: torch.Tensor) -> str:
    """Why transformers' own forward must run for these *experts*, in words; empty where it need not."""
    frozen = (experts.gate_up_proj, experts.gate_up_proj_bias, experts.down_proj, experts.down_proj_bias)
    if not all(isinstance(weight, torch.Tensor) and not weight.requires_grad for weight in frozen):
        return "the experts are quantised or trained"
    if not _has_kernels(x) or x.dtype != torch.bfloat16 or any(weight.dtype != x.dtype for weight in frozen):
        return "not bfloat16 on a GPU"
    return "" if torch.is_grad_enabled() else "no gradient wanted"


def fuse(forward: Any) -> Any:
    """``GptOssExperts.forward``, replaced where :func:`why_not_fused` has no objection."""

    @functools.wraps(forward)
    def fused(
        self: Any, hidden_states: torch.Tensor, router_indices: Any = None, routing_weights: Any = None
    ) -> Any:
        if why_not_fused(self, hidden_states):
            return forward(self, hidden_states, router_indices, routing_weights)
        return Experts.apply(
            hidden_states.reshape(-1, hidden_states.shape[-1]),
            routing_weights,
            (self.gate_up_proj, self.gate_up_proj_bias),
            (self.down_proj, self.down_proj_bias),
            order(router_indices, self.num_experts),
            Gate(float(self.alpha), float(self.limit)),
        ).view_as(hidden_states)

    fused.is_fused = True  # type: ignore[attr-defined]
    return fused


def install() -> None:
    """Replace the experts' forward pass of GPT-OSS in this process, once."""
    from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts

    if not getattr(GptOssExperts.forward, "is_fused", False):
        GptOssExperts.forward = fuse(GptOssExperts.forward)


if __name__.startswith("_swift_external_"):
    install()
