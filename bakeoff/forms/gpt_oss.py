"""GPT-OSS out of MXFP4 into bfloat16; everything else is as published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bakeoff.forms import mxfp4
from bakeoff.forms.family import ABSENT, Family, Json, Step, integer, rename

if TYPE_CHECKING:
    pass


def _gpt_oss_config(config: Json) -> dict[str, object]:
    native = {
        key: value for key, value in config.items() if key not in ("quantization_config", "torch_dtype")
    }
    return {**native, "dtype": "bfloat16"}


def _gpt_oss_steps(config: Json) -> Iterator[Step]:
    yield rename("model.embed_tokens.weight", "model.embed_tokens.weight")
    for layer in range(integer(config, "num_hidden_layers")):
        here = f"model.layers.{layer}"
        for projection in ("q_proj", "k_proj", "v_proj", "o_proj"):
            for kind in ("weight", "bias"):
                name = f"{here}.self_attn.{projection}.{kind}"
                yield rename(name, name)
        experts = f"{here}.mlp.experts"
        for projection in ("gate_up_proj", "down_proj"):
            packed = tuple(f"{experts}.{projection}_{part}" for part in ("blocks", "scales"))
            yield Step(packed, (f"{experts}.{projection}",), mxfp4.unpack, mxfp4.holds_the_same)
            yield rename(f"{experts}.{projection}_bias", f"{experts}.{projection}_bias")
        for name in (
            "self_attn.sinks",
            "mlp.router.weight",
            "mlp.router.bias",
            "input_layernorm.weight",
            "post_attention_layernorm.weight",
        ):
            yield rename(f"{here}.{name}", f"{here}.{name}")
    yield rename("model.norm.weight", "model.norm.weight")
    yield rename("lm_head.weight", "lm_head.weight")


GPT_OSS = Family(
    name="GPT-OSS",
    model_type="gpt_oss",
    required={"tie_word_embeddings": (False, ABSENT)},
    used=("quantization_config", "num_hidden_layers"),
    config=_gpt_oss_config,
    steps=_gpt_oss_steps,
    copies_config=True,
    releases=("gpt-oss-20b",),
    brings_code=False,
)
