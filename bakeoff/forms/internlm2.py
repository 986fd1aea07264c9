"""InternLM2-Chat-7B as LlamaForCausalLM: names, and wqkv cut by key head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bakeoff.forms.family import ABSENT, MLP, SPLIT, Family, Json, Step, integer, llama, rename, same
from bakeoff.forms.sentencepiece import Specials

if TYPE_CHECKING:
    import torch


def _internlm2_config(config: Json) -> dict[str, object]:
    same_name = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    return llama(
        config,
        **{key: config[key] for key in same_name},
        num_key_value_heads=config["num_key_value_heads"],
        max_position_embeddings=config["max_position_embeddings"],
        rms_norm_eps=config["rms_norm_eps"],
        rope_theta=float(str(config["rope_theta"])),
        eos_token_id=2,
    )


def _internlm2_steps(config: Json) -> Iterator[Step]:
    heads, key_heads = integer(config, "num_attention_heads"), integer(config, "num_key_value_heads")
    hidden, group = integer(config, "hidden_size"), heads // key_heads
    size = hidden // heads

    def split(wqkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
        # For each key head: its query heads, then its key, then its value.
        grouped = wqkv.view(key_heads, group + 2, size, hidden)
        parts = grouped[:, :group], grouped[:, group], grouped[:, group + 1]
        return tuple(part.reshape(-1, hidden) for part in parts)

    def join(wqkv: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> bool:
        import torch

        q = q.view(key_heads, group, size, hidden)
        k, v = (part.view(key_heads, 1, size, hidden) for part in (k, v))
        return same(torch.cat([q, k, v], dim=1).reshape(wqkv.shape), wqkv)

    yield rename("model.tok_embeddings.weight", "model.embed_tokens.weight")
    for layer in range(integer(config, "num_hidden_layers")):
        here = f"model.layers.{layer}"
        attention = f"{here}.self_attn"
        targets = tuple(f"{attention}.{name}_proj.weight" for name in "qkv")
        yield Step((f"{here}.attention.wqkv.weight",), targets, split, join)
        yield rename(f"{here}.attention.wo.weight", f"{attention}.o_proj.weight")
        for old, new in zip(("w1", "w3", "w2"), MLP, strict=True):
            yield rename(f"{here}.feed_forward.{old}.weight", f"{here}.mlp.{new}.weight")
        yield rename(f"{here}.attention_norm.weight", f"{here}.input_layernorm.weight")
        yield rename(f"{here}.ffn_norm.weight", f"{here}.post_attention_layernorm.weight")
    yield rename("model.norm.weight", "model.norm.weight")
    yield rename("output.weight", "lm_head.weight")


_INTERNLM2_NAMES = ("plugin", "interpreter", "action_end", "action_start", "im_end", "im_start")
INTERNLM2 = Family(
    name="InternLM2",
    model_type="internlm2",
    required={
        "bias": (False,),
        "hidden_act": ("silu",),
        "tie_word_embeddings": (False, ABSENT),
        # "dynamic" changes nothing up to max_position_embeddings, and the native form states that length.
        "rope_scaling": (
            None,
            ABSENT,
            {"type": "dynamic", "factor": 1.0},
            {"type": "dynamic", "factor": 2.0},
        ),
        "quantization_config": (ABSENT,),
        "max_position_embeddings": (32768,),
    },
    used=(
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "rms_norm_eps",
        "rope_theta",
    ),
    config=_internlm2_config,
    steps=_internlm2_steps,
    unused=lambda name: name.endswith("rotary_emb.inv_freq"),
    specials=Specials(
        renamed={f"[UNUSED_TOKEN_{141 + i}]": f"<|{name}|>" for i, name in enumerate(_INTERNLM2_NAMES)},
        added={},
        opening=("<s>",),
        pad="</s>",
    ),
    generation={"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2},
    release_tokenizer="f868398fc4e05ee1e8aeba95ddf18ddcc45b8bce55d5093bead5bbf80429b48b",
    ends=("<|im_end|>",),
    releases=("internlm2-chat-7b",),
    note=SPLIT(),
)
