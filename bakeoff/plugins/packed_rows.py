"""Packed rows without waiting for the GPU, and without a flash-attention wheel, for ``--external_plugins``.

Packing puts several dialogues into one row, and attention must not cross their borders. transformers works the
borders out from ``position_ids`` on the GPU, in every layer, and reads them back; it hands flash-attention 4 a tensor
where that wants an int; ms-swift reads back which tokens have a label. After each such wait the card idles until
the host has caught up. Here the collator, which has all of it on the CPU, sends the borders and the places of the
labels along with the row.

Where flash-attention 2 is not installed (no wheel exists for current PyTorch), ``--attn_impl flash_attn`` uses the
flash attention that PyTorch itself contains.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch

IGNORED = -100
"""Label of a token that is not trained."""
PLACES = "labelled_places"


def borders(position_ids: torch.Tensor) -> dict[str, Any]:
    """The keyword arguments of transformers' ``FlashAttentionKwargs`` for one packed row.

    Args:
        position_ids: (1, tokens); each dialogue starts at 0.

    Returns:
        ``cu_seq_lens_q/k``: int32 (dialogues + 1), the cumulative lengths; ``max_length_q/k``: int, the longest.
    """
    flat = position_ids.reshape(-1)
    starts = torch.nonzero(flat == 0).reshape(-1)
    edges = torch.cat([starts, starts.new_tensor([flat.numel()])]).to(torch.int32)
    longest = int(edges.diff().max())
    return {"cu_seq_lens_q": edges, "cu_seq_lens_k": edges, "max_length_q": longest, "max_length_k": longest}


def labelled_places(labels: torch.Tensor) -> torch.Tensor | None:
    """Where the (1, tokens) *labels* are no padding: int64 (labelled); None if the first token has a label."""
    places = torch.nonzero(labels.reshape(-1) != IGNORED).reshape(-1)
    return None if not len(places) or int(places[0]) == 0 else places


def send_along(collate: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """ms-swift's ``Template._data_collator``, its packed rows with :func:`borders` and :func:`labelled_places`."""

    @functools.wraps(collate)
    def with_places(self: Any, batch: Any, **kwargs: Any) -> dict[str, Any]:
        row = collate(self, batch, **kwargs)
        positions, labels = row.get("position_ids"), row.get("labels")
        if not self.padding_free or positions is None or positions.dim() != 2:
            return row
        if "cu_seq_lens_q" not in row:
            row.update(borders(positions))
        places = None if labels is None or "loss_scale" in row else labelled_places(labels)
        if places is not None:
            row[PLACES] = places
        return row

    return with_places


def take_places(prepare: Callable[..., Any]) -> Callable[..., Any]:
    """The trainer's ``_prepare_inputs``; what the model does not know is put aside for :func:`keep_places`."""

    @functools.wraps(prepare)
    def prepared(self: Any, inputs: Any) -> Any:
        self.labelled_places = inputs.pop(PLACES, None)
        return prepare(self, inputs)

    return prepared


def keep_places(prepare: Callable[..., None]) -> Callable[..., None]:
    """The trainer's ``prepare_logits_to_keep``: the same result from places that are known already."""

    @functools.wraps(prepare)
    def kept(self: Any, inputs: Any) -> None:
        places = getattr(self, "labelled_places", None)
        if places is None:
            return prepare(self, inputs)
        labels = inputs["labels"].reshape(-1)
        places = places.to(labels.device, non_blocking=True)
        inputs["labels"] = torch.nn.functional.pad(labels[places], (1, 0), value=IGNORED)[None]
        # A token predicts the next one; the last place answers for nothing, as in the original.
        inputs["logits_to_keep"] = torch.nn.functional.pad(places - 1, (0, 1), value=labels.numel() - 1)

    return kept


def without_search(preprocess: Callable[..., Any]) -> Callable[..., Any]:
    """transformers' ``_preprocess_mask_arguments``; flash attention has no mask in which to look for borders."""
    signature = inspect.signature(preprocess)

    @functools.wraps(preprocess)
    def preprocessed(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        if str(bound.arguments["config"]._attn_implementation).startswith("flash_attention"):
            bound.arguments["position_ids"] = None
        return preprocess(*bound.args, **bound.kwargs)

    return preprocessed


def torch_varlen(
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
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
) -> torch.Tensor:
    """``flash_attn_varlen_func`` by PyTorch's own flash attention; shapes (tokens, heads, head size).

    Raises:
        NotImplementedError: the model caps its scores or has attention sinks; without them it would be another.
    """
    if softcap or s_aux is not None:
        raise NotImplementedError(
            "PyTorch's flash attention has no score cap and no attention sinks: install flash-attn, "
            "or train this row unpacked (packing: false, attention: null)"
        )
    result = torch.ops.aten._flash_attention_forward(
        q,
        k,
        v,
        cu_seqlens_q.to(torch.int32),
        cu_seqlens_k.to(torch.int32),
        int(max_seqlen_q),
        int(max_seqlen_k),
        dropout_p,
        causal,
        False,
        scale=softmax_scale,
        window_size_left=window_size[0] if window_size[0] >= 0 else None,
        window_size_right=window_size[1] if window_size[1] >= 0 else None,
    )
    attended: torch.Tensor = result[0]
    return attended


def torch_dense(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
) -> torch.Tensor:
    """``flash_attn_func`` by PyTorch; shapes (batch, tokens, heads, head size)."""
    attended = torch.nn.functional.scaled_dot_product_attention(
        *(one.transpose(1, 2) for one in (q, k, v)),
        dropout_p=dropout_p,
        scale=softmax_scale,
        is_causal=causal,
        enable_gqa=q.shape[2] != k.shape[2],
    )
    return attended.transpose(1, 2)


def lend_flash_attention() -> bool:
    """Let transformers find PyTorch's flash attention where it looks for flash-attention 2; False if it has one."""
    import transformers.modeling_flash_attention_utils as flash

    entry = flash.FLASH_ATTENTION_COMPATIBILITY_MATRIX[2]
    if entry["general_availability_check"]():
        return False
    entry["general_availability_check"] = lambda: True
    imports = flash._lazy_imports

    @functools.wraps(imports)
    def lent(implementation: str | None, *args: Any, **kwargs: Any) -> Any:
        if implementation != "flash_attention_2":
            return imports(implementation, *args, **kwargs)
        return torch_dense, torch_varlen, *((None,) * _spare(flash)), flash._pad_input, flash._unpad_input

    flash._lazy_imports = lent
    return True


def _spare(flash: Any) -> int:
    """How many entries stand between the varlen function and ``pad_input``: one since transformers 5."""
    return 1 if hasattr(flash, "_flash_with_kvcache_fn") else 0


def install() -> None:
    """Patch ms-swift's collator and trainer and transformers' masks and flash attention, once per process."""
    from swift.template.base import Template
    from swift.trainers import Seq2SeqTrainer
    from transformers import masking_utils

    if hasattr(Template, "sends_places"):
        return
    Template.sends_places = True
    Template._data_collator = send_along(Template._data_collator)
    Seq2SeqTrainer._prepare_inputs = take_places(Seq2SeqTrainer._prepare_inputs)
    Seq2SeqTrainer.prepare_logits_to_keep = keep_places(Seq2SeqTrainer.prepare_logits_to_keep)
    if hasattr(masking_utils, "_preprocess_mask_arguments"):
        masking_utils._preprocess_mask_arguments = without_search(masking_utils._preprocess_mask_arguments)
    if torch.cuda.is_available():
        lend_flash_attention()


if __name__.startswith("_swift_external_"):
    install()
