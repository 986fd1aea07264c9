"""Baichuan2-7B as Llama: W_pack cut in three, the head normalised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bakeoff.forms.family import ABSENT, MLP, SPLIT, Family, Json, Step, integer, llama, rename, same
from bakeoff.forms.sentencepiece import Specials

if TYPE_CHECKING:
    import torch


def _baichuan2_config(config: Json) -> dict[str, object]:
    keys = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
        "rms_norm_eps",
    )
    return llama(
        config,
        **{key: config[key] for key in keys},
        num_key_value_heads=config["num_attention_heads"],
        rope_theta=10000.0,
        eos_token_id=2,
        pad_token_id=0,
    )


def _normalised(head: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the head as the model itself computes it (``NormHead``).

    It does so before its first reply.
    """
    import torch

    return (torch.nn.functional.normalize(head),)


def _proves_normalised(head: torch.Tensor, native: torch.Tensor) -> bool:
    import torch

    for rows, result in zip(head.split(4096), native.split(4096), strict=True):
        exact = rows.double()
        exact = exact / exact.norm(dim=1, keepdim=True).clamp_min(1e-12)
        allowed = 4 * torch.finfo(head.dtype).eps * exact.abs() + torch.finfo(head.dtype).tiny
        if not bool(((result.double() - exact).abs() <= allowed).all()):
            return False
    return bool(native.dtype == head.dtype)


def _baichuan2_steps(config: Json) -> Iterator[Step]:
    def join(packed: torch.Tensor, *parts: torch.Tensor) -> bool:
        import torch

        return same(torch.cat(parts), packed)

    yield rename("model.embed_tokens.weight", "model.embed_tokens.weight")
    for layer in range(integer(config, "num_hidden_layers")):
        here = f"model.layers.{layer}"
        targets = tuple(f"{here}.self_attn.{name}_proj.weight" for name in "qkv")
        yield Step((f"{here}.self_attn.W_pack.weight",), targets, lambda packed: packed.chunk(3), join)
        unchanged = ("self_attn.o_proj", *(f"mlp.{name}" for name in MLP))
        for name in (*unchanged, "input_layernorm", "post_attention_layernorm"):
            yield rename(f"{here}.{name}.weight", f"{here}.{name}.weight")
    yield rename("model.norm.weight", "model.norm.weight")
    yield Step(("lm_head.weight",), ("lm_head.weight",), _normalised, _proves_normalised)


BAICHUAN2 = Family(
    name="Baichuan2-7B",
    model_type="baichuan",
    required={
        "hidden_act": ("silu",),
        "tie_word_embeddings": (False, ABSENT),
        # The 13B model has ALiBi instead of rotary positions and states no max_position_embeddings.
        "max_position_embeddings": (4096,),
        "model_max_length": (4096, ABSENT),
        "z_loss_weight": (0, ABSENT),
        "quantization_config": (ABSENT,),
    },
    used=(
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "rms_norm_eps",
    ),
    config=_baichuan2_config,
    steps=_baichuan2_steps,
    unused=lambda name: name.endswith("rotary_emb.inv_freq"),
    specials=Specials(renamed={}, added={}, opening=()),
    generation={"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
    release_tokenizer="79452955be6b419a65984273a9f08af86042e1c2a75ee3ba989cbf620a133cc2",
    releases=("baichuan2-7b-chat",),
    note=SPLIT(),
)
