"""Names and shapes of every tensor of a published model.

From its ``config.json``.

For models that are built in a published form: tiny ones for the smoke run, and random ones at full size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from bakeoff.forms.family import Json, integer

Entry = tuple[str, tuple[int, ...]]
PACKED = ("_blocks", "_scales")
"""Endings of the tensors that hold MXFP4 blocks and their scales, both uint8."""


def layout(config: Json) -> Iterator[Entry]:
    """Yield name and shape of each tensor of a model with *config*."""
    return _LAYOUTS[str(config["model_type"])](config)


def is_norm(name: str) -> bool:
    """Return whether *name* is a normalisation's weight, about 1."""
    return "norm" in name


def _internlm2(config: Json) -> Iterator[Entry]:
    hidden, inner, size = (integer(config, f"{key}_size") for key in ("hidden", "intermediate", "vocab"))
    head = hidden // integer(config, "num_attention_heads")
    rows = hidden + 2 * head * integer(config, "num_key_value_heads")
    yield "model.tok_embeddings.weight", (size, hidden)
    for layer in range(integer(config, "num_hidden_layers")):
        here = f"model.layers.{layer}"
        yield f"{here}.attention.wqkv.weight", (rows, hidden)
        yield f"{here}.attention.wo.weight", (hidden, hidden)
        yield f"{here}.feed_forward.w1.weight", (inner, hidden)
        yield f"{here}.feed_forward.w2.weight", (hidden, inner)
        yield f"{here}.feed_forward.w3.weight", (inner, hidden)
        yield f"{here}.attention_norm.weight", (hidden,)
        yield f"{here}.ffn_norm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    yield "output.weight", (size, hidden)


def _baichuan2(config: Json) -> Iterator[Entry]:
    hidden, inner, size = (integer(config, f"{key}_size") for key in ("hidden", "intermediate", "vocab"))
    yield "model.embed_tokens.weight", (size, hidden)
    for layer in range(integer(config, "num_hidden_layers")):
        here = f"model.layers.{layer}"
        yield f"{here}.self_attn.W_pack.weight", (3 * hidden, hidden)
        yield f"{here}.self_attn.o_proj.weight", (hidden, hidden)
        yield f"{here}.mlp.gate_proj.weight", (inner, hidden)
        yield f"{here}.mlp.down_proj.weight", (hidden, inner)
        yield f"{here}.mlp.up_proj.weight", (inner, hidden)
        yield f"{here}.input_layernorm.weight", (hidden,)
        yield f"{here}.post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (size, hidden)


def _chatglm3(config: Json) -> Iterator[Entry]:
    hidden, inner, size = (
        integer(config, key) for key in ("hidden_size", "ffn_hidden_size", "padded_vocab_size")
    )
    head, heads = integer(config, "kv_channels"), integer(config, "num_attention_heads")
    rows = (heads + 2 * integer(config, "multi_query_group_num")) * head
    yield "transformer.embedding.word_embeddings.weight", (size, hidden)
    yield "transformer.rotary_pos_emb.inv_freq", (head // 4,)
    for layer in range(integer(config, "num_layers")):
        here = f"transformer.encoder.layers.{layer}"
        yield f"{here}.input_layernorm.weight", (hidden,)
        yield f"{here}.self_attention.query_key_value.weight", (rows, hidden)
        yield f"{here}.self_attention.query_key_value.bias", (rows,)
        yield f"{here}.self_attention.dense.weight", (hidden, heads * head)
        yield f"{here}.post_attention_layernorm.weight", (hidden,)
        yield f"{here}.mlp.dense_h_to_4h.weight", (2 * inner, hidden)
        yield f"{here}.mlp.dense_4h_to_h.weight", (hidden, inner)
    yield "transformer.encoder.final_layernorm.weight", (hidden,)
    yield "transformer.output_layer.weight", (size, hidden)


def _gpt_oss(config: Json) -> Iterator[Entry]:
    hidden, inner, size = (integer(config, f"{key}_size") for key in ("hidden", "intermediate", "vocab"))
    head, heads = integer(config, "head_dim"), integer(config, "num_attention_heads")
    experts = integer(config, "num_local_experts")
    rows = {"q": heads * head} | dict.fromkeys("kv", integer(config, "num_key_value_heads") * head)
    yield "model.embed_tokens.weight", (size, hidden)
    for layer in range(integer(config, "num_hidden_layers")):
        here = f"model.layers.{layer}"
        for name, count in rows.items():
            yield f"{here}.self_attn.{name}_proj.weight", (count, hidden)
            yield f"{here}.self_attn.{name}_proj.bias", (count,)
        yield f"{here}.self_attn.o_proj.weight", (hidden, heads * head)
        yield f"{here}.self_attn.o_proj.bias", (hidden,)
        yield f"{here}.self_attn.sinks", (heads,)
        yield f"{here}.mlp.router.weight", (experts, hidden)
        yield f"{here}.mlp.router.bias", (experts,)
        for name, outputs, inputs in (("gate_up", 2 * inner, hidden), ("down", hidden, inner)):
            packed = f"{here}.mlp.experts.{name}_proj"
            yield f"{packed}_blocks", (experts, outputs, inputs // 32, 16)
            yield f"{packed}_scales", (experts, outputs, inputs // 32)
            yield f"{packed}_bias", (experts, outputs)
        yield f"{here}.input_layernorm.weight", (hidden,)
        yield f"{here}.post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (size, hidden)


_LAYOUTS: Mapping[str, Callable[[Json], Iterator[Entry]]] = {
    "internlm2": _internlm2,
    "baichuan": _baichuan2,
    "chatglm": _chatglm3,
    "gpt_oss": _gpt_oss,
}
