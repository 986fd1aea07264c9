"""Packing for GPT-OSS: flash attention with attention sinks, for ``--external_plugins`` after ``packed_rows``.

GPT-OSS adds one learned score per head, its sink, to the softmax of every query (OpenAI, arXiv 2508.10925, section
2.2). ms-swift packs rows only with flash attention, transformers wants a kernel from a hub for sinks, and the flash
attention in PyTorch has none. But it returns the logarithm of each query's softmax sum, and that is enough:

* forward: with ``lse' = log(exp(lse) + exp(sink))`` every weight, and with them the output, shrinks by
  ``exp(lse - lse')``;
* backward: the kernel recomputes the weights from the logarithm it is given, and subtracts from their gradient
  ``rowsum(dO * O)``. The sink has no value vector, so with the output and the logarithm from above both are right.

The sinks stay frozen, as LoRA leaves them.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch


class Rows(NamedTuple):
    """Borders and rules of one packed row."""

    borders: torch.Tensor
    """int32 (dialogues + 1), the cumulative lengths."""
    longest: int
    """Tokens of the longest dialogue."""
    scale: float
    causal: bool
    window: int
    """How many tokens before its own a query sees; -1: all."""


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rows: Rows
) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Attention without sinks: output (tokens, heads, size), log of softmax sums (heads, tokens), kernel's state."""
    if q.is_cuda:
        out, lse, *state, _ = torch.ops.aten._flash_attention_forward(
            q,
            k,
            v,
            rows.borders,
            rows.borders,
            rows.longest,
            rows.longest,
            0.0,
            rows.causal,
            False,
            **_flags(rows),
        )
        return out, lse, state
    heads = q.shape[1]
    pieces = [
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            *(_batch(part, heads) for part in parts),
            attn_mask=_mask(len(parts[0]), rows, q),
            scale=rows.scale,
        )
        for parts in _dialogues(rows, q, k, v)
    ]
    out = torch.cat([piece[0][0].transpose(0, 1) for piece in pieces])
    return out, torch.cat([piece[1][0] for piece in pieces], -1), None


def attend_back(
    gradient: torch.Tensor, saved: tuple[torch.Tensor, ...], rows: Rows, state: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients for q, k and v, from the *saved* q, k, v, output and logarithm."""
    q, k, v, out, lse = saved
    if q.is_cuda:
        borders, longest = (rows.borders, rows.borders), (rows.longest, rows.longest)
        grads: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = torch.ops.aten._flash_attention_backward(
            gradient, q, k, v, out, lse, *borders, *longest, 0.0, rows.causal, *state, **_flags(rows)
        )
        return grads
    heads, groups = q.shape[1], k.shape[1]
    pieces = [
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            *(_batch(part, heads) for part in parts),
            logarithm.T[None].contiguous(),
            0.0,
            False,
            attn_mask=_mask(len(parts[0]), rows, q),
            scale=rows.scale,
        )
        for *parts, logarithm in _dialogues(rows, gradient, q, k, v, out, lse.T)
    ]
    for_q, *shared = (torch.cat([piece[i][0].transpose(0, 1) for piece in pieces]) for i in range(3))
    for_k, for_v = (whole.unflatten(1, (groups, heads // groups)).sum(2) for whole in shared)
    return for_q, for_k, for_v


def _flags(rows: Rows) -> dict[str, Any]:
    window = {} if rows.window < 0 else {"window_size_left": rows.window, "window_size_right": 0}
    return {"scale": rows.scale, **window}


def _dialogues(rows: Rows, *tensors: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    lengths = rows.borders.diff().tolist()
    return list(zip(*(tensor.split(lengths) for tensor in tensors), strict=True))


def _batch(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """(tokens, groups, size) as (1, heads, tokens, size)."""
    return tensor.repeat_interleave(heads // tensor.shape[1], 1).transpose(0, 1)[None].contiguous()


def _mask(length: int, rows: Rows, like: torch.Tensor) -> torch.Tensor | None:
    """Additive mask (1, 1, length, length) of a causal, maybe windowed dialogue."""
    distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    hidden = (distance < 0) if rows.causal else torch.zeros_like(distance, dtype=torch.bool)
    if rows.window >= 0:
        hidden |= distance > rows.window
    return torch.zeros(1, 1, length, length, dtype=like.dtype).masked_fill(hidden, float("-inf"))


class SinkAttention(torch.autograd.Function):  # type: ignore[misc]
    """Attention over packed dialogues with one sink per head; exact gradients for q, k and v."""

    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sinks: torch.Tensor, rows: Rows
    ) -> torch.Tensor:
        """Shapes: q (tokens, heads, size), k and v (tokens, groups, size), sinks (heads)."""
        out, lse, ctx.state = attend(q, k, v, rows)
        with_sink = torch.logaddexp(lse, sinks.to(lse.dtype)[:, None])
        out = (out * (lse - with_sink).exp().T[..., None]).to(q.dtype)
        ctx.save_for_backward(q, k, v, out, with_sink)
        ctx.rows = rows
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients for q, k and v."""
        return *attend_back(gradients[0].contiguous(), ctx.saved_tensors, ctx.rows, ctx.state), None, None


def varlen(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    s_aux: torch.Tensor | None = None,
) -> torch.Tensor:
    """``flash_attn_varlen_func`` with sinks; shapes (tokens, heads, head size).

    Raises:
        NotImplementedError: attention dropout, trainable sinks or queries and keys of different lengths.
    """
    if dropout_p or s_aux is None or s_aux.requires_grad or max_seqlen_q != max_seqlen_k:
        raise NotImplementedError(
            "attention_sinks trains packed rows with frozen sinks and without attention dropout: "
            "take it out of the row's plugins and train unpacked (packing: false, attention: null)"
        )
    scale = softmax_scale if softmax_scale is not None else float(q.shape[-1]) ** -0.5
    rows = Rows(cu_seqlens_q.to(torch.int32), int(max_seqlen_q), scale, causal, window_size[0])
    attended: torch.Tensor = SinkAttention.apply(q, k, v, s_aux, rows)
    return attended


def dense(q: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Refuse rows that are not packed: nothing here knows their padding."""
    raise NotImplementedError("attention_sinks attends over packed rows only: set packing: true")


def install() -> None:
    """Let ms-swift pack GPT-OSS, and transformers attend with sinks where it asks for flash-attention 2."""
    import transformers.modeling_flash_attention_utils as flash
    from swift.template import TEMPLATE_MAPPING
    from transformers.models.gpt_oss.modeling_gpt_oss import GptOssPreTrainedModel

    GptOssPreTrainedModel._compatible_flash_implementations = ["flash_attention_2"]
    TEMPLATE_MAPPING["gpt_oss"].template_cls.support_padding_free = True
    flash.FLASH_ATTENTION_COMPATIBILITY_MATRIX[2]["general_availability_check"] = lambda: True
    imports = flash._lazy_imports

    @functools.wraps(imports)
    def with_sinks(implementation: str | None, *args: Any, **kwargs: Any) -> Any:
        if implementation != "flash_attention_2":
            return imports(implementation, *args, **kwargs)
        spare = (None,) * hasattr(flash, "_flash_with_kvcache_fn")
        return dense, varlen, *spare, flash._pad_input, flash._unpad_input

    flash._lazy_imports = with_sinks


if __name__.startswith("_swift_external_"):
    install()
