"""ChatGLM3-6B as Llama: heads reordered for Llama's rope."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bakeoff.forms.family import ABSENT, MLP, SPLIT, Family, Json, Step, integer, llama, rename, same
from bakeoff.forms.sentencepiece import Specials

if TYPE_CHECKING:
    import torch


def chatglm3_rope(size: int, context: int) -> dict[str, object]:
    """Return the Llama 3.1 rope that turns half a head.

    The first half; the rest stays as it is.

    ChatGLM3 turns R = *size* / 2 dimensions by 10000^(-2i/R). With theta = 10000^(size/R) Llama's own frequencies
    theta^(-2i/size) are the same for the first R/2 pairs. Llama 3.1's scaling divides the frequencies whose wave is
    longer than a limit by ``factor``: the limit lies between the last pair that turns and the next one.

    Args:
        size: dimensions of a head.
        context: positions that the model was trained for.
    """
    theta, turning = 10000.0**2, size // 4

    def wave(pair: int) -> float:
        return float(2 * math.pi * theta ** (2 * pair / size))

    last, following = wave(turning - 1), wave(turning)
    shortest, longest = last * (following / last) ** (1 / 3), last * (following / last) ** (2 / 3)
    reach = (
        context // 2
    )  # transformers wants it below max_position_embeddings; only its ratio to the factors counts
    return {
        "rope_theta": theta,
        "rope_type": "llama3",
        "factor": 1e20,
        "low_freq_factor": reach / longest,
        "high_freq_factor": reach / shortest,
        "original_max_position_embeddings": reach,
    }


def _chatglm3_config(config: Json) -> dict[str, object]:
    rope = chatglm3_rope(integer(config, "kv_channels"), integer(config, "seq_length"))
    theta = rope.pop("rope_theta")
    return llama(
        config,
        vocab_size=config["padded_vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["ffn_hidden_size"],
        num_hidden_layers=config["num_layers"],
        num_attention_heads=config["num_attention_heads"],
        num_key_value_heads=config["multi_query_group_num"],
        head_dim=config["kv_channels"],
        max_position_embeddings=config["seq_length"],
        rms_norm_eps=config["layernorm_epsilon"],
        rope_theta=theta,
        rope_scaling=rope,
        attention_bias=True,
        eos_token_id=2,
        pad_token_id=0,
    )


def chatglm3_order(size: int) -> list[int]:
    """Return the original's row for each row of a native head.

    Neighbours (2i, 2i+1) become (i, i + size/2).
    """
    turned = size // 2
    even, odd = list(range(0, turned, 2)), list(range(1, turned, 2))
    rest = list(range(turned, size))
    return [*even, *rest[: turned // 2], *odd, *rest[turned // 2 :]]


def _chatglm3_steps(config: Json) -> Iterator[Step]:
    size, heads = integer(config, "kv_channels"), integer(config, "num_attention_heads")
    rows = [n * size for n in (heads, *[integer(config, "multi_query_group_num")] * 2)]
    order = chatglm3_order(size)
    back = sorted(range(size), key=order.__getitem__)

    def turn(part: torch.Tensor, by: list[int]) -> torch.Tensor:
        return part.view(-1, size, *part.shape[1:])[:, by].reshape(part.shape)

    def split(qkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, v = qkv.split(rows)
        return turn(q, order), turn(k, order), v

    def join(qkv: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> bool:
        import torch

        return same(torch.cat([turn(q, back), turn(k, back), v]), qkv)

    def halves(both: torch.Tensor, *parts: torch.Tensor) -> bool:
        import torch

        return same(torch.cat(parts), both)

    def with_bias(dense: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return dense, dense.new_zeros(dense.shape[0])  # Llama's attention_bias gives o_proj a bias, too

    def proves_bias(dense: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> bool:
        return same(dense, weight) and not bool(bias.any())

    yield rename("transformer.embedding.word_embeddings.weight", "model.embed_tokens.weight")
    for layer in range(integer(config, "num_layers")):
        old, new = f"transformer.encoder.layers.{layer}", f"model.layers.{layer}"
        for kind in ("weight", "bias"):
            targets = tuple(f"{new}.self_attn.{name}_proj.{kind}" for name in "qkv")
            yield Step((f"{old}.self_attention.query_key_value.{kind}",), targets, split, join)
        o_proj = f"{new}.self_attn.o_proj"
        yield Step(
            (f"{old}.self_attention.dense.weight",),
            (f"{o_proj}.weight", f"{o_proj}.bias"),
            with_bias,
            proves_bias,
        )
        gate_up = tuple(f"{new}.mlp.{name}.weight" for name in MLP[:2])
        yield Step((f"{old}.mlp.dense_h_to_4h.weight",), gate_up, lambda both: both.chunk(2), halves)
        yield rename(f"{old}.mlp.dense_4h_to_h.weight", f"{new}.mlp.down_proj.weight")
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield rename(f"{old}.{norm}.weight", f"{new}.{norm}.weight")
    yield rename("transformer.encoder.final_layernorm.weight", "model.norm.weight")
    yield rename("transformer.output_layer.weight", "lm_head.weight")


_CHATGLM3_ADDED = (
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
)
CHATGLM3 = Family(
    name="ChatGLM3-6B",
    model_type="chatglm",
    required={
        "original_rope": (True,),
        "rope_ratio": (ABSENT, 1, None),
        "seq_length": (8192,),
        "add_bias_linear": (False,),
        "add_qkv_bias": (True,),
        "apply_residual_connection_post_layernorm": (False,),
        "multi_query_attention": (True,),
        "post_layer_norm": (True,),
        "rmsnorm": (True,),
        "tie_word_embeddings": (False, ABSENT),
        "quantization_bit": (0, ABSENT),
        "quantization_config": (ABSENT,),
        "pre_seq_len": (None, ABSENT),
        "prefix_projection": (False, ABSENT),
    },
    used=(
        "padded_vocab_size",
        "hidden_size",
        "ffn_hidden_size",
        "num_layers",
        "num_attention_heads",
        "multi_query_group_num",
        "kv_channels",
        "layernorm_epsilon",
    ),
    config=_chatglm3_config,
    steps=_chatglm3_steps,
    unused=lambda name: name == "transformer.rotary_pos_emb.inv_freq",
    specials=Specials(
        renamed={},
        added={64789 + i: text for i, text in enumerate(_CHATGLM3_ADDED)},
        opening=("[gMASK]", "<sop>"),
    ),
    generation={"eos_token_id": 2, "pad_token_id": 0},
    release_tokenizer="e7dc4c393423b76e4373e5157ddc34803a0189ba96b21ddbb40269d31468a6f2",
    ends=("<|user|>", "<|observation|>"),
    releases=("chatglm3-6b",),
    note=SPLIT(),
)
