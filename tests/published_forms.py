"""Tiny models in the form in which the four families are published: tensor names, files, tokenizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import save_file

from bakeoff.forms import families, mxfp4

Tensors = dict[str, torch.Tensor]
LETTERS = "我最近睡不好总是担心工作听起来这段时间您承受了小的压力愿意多说一点吗"
TEXT = "\n".join(
    [
        *(LETTERS[i : i + 9] + "，" + LETTERS[-i - 7 : -i - 1] + "。" for i in range(20)),
        "The capital of France is Paris. Answer with a single letter: A, B, C or D.",
        "  two  spaces\tand a tab, 12345 digits 67890",
    ]
)
DUMMY_PREFIX = {"chatglm": True, "internlm2": False, "baichuan": False}
USER_DEFINED = {
    "chatglm": (),
    "internlm2": tuple(f"[UNUSED_TOKEN_{i}]" for i in range(141, 147)),
    "baichuan": ("<reserved_106>", "<reserved_107>"),
}


def tokenizer_model(kind: str, folder: Path) -> Path:
    """Train a SentencePiece model with the options of the family *kind*."""
    corpus = folder / "corpus.txt"
    corpus.write_text(TEXT, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=480,
        hard_vocab_limit=False,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=DUMMY_PREFIX[kind],
        user_defined_symbols=list(USER_DEFINED[kind]),
        minloglevel=2,
    )
    corpus.unlink()
    (folder / "tokenizer.vocab").unlink()
    return folder / "tokenizer.model"


class Draw:
    """Random tensors that bite: sharp attention, uneven norms, large biases."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def matrix(self, *shape: int, scale: float = 0.2) -> torch.Tensor:
        return torch.randn(shape, generator=self.generator) * scale

    def norm(self, size: int) -> torch.Tensor:
        return 1 + 0.3 * self.matrix(size, scale=1.0)


def chatglm3(folder: Path, seed: int = 0) -> Path:
    """32-dimensional heads, 4 of them over 2 key heads; two ``.bin`` shards in float16."""
    layers, hidden, heads, key_heads, head, inner, size = 2, 64, 4, 2, 32, 96, 512
    draw, tensors = Draw(seed), Tensors()
    tensors["transformer.embedding.word_embeddings.weight"] = draw.matrix(size, hidden)
    tensors["transformer.rotary_pos_emb.inv_freq"] = torch.ones(head // 4)
    for layer in range(layers):
        here = f"transformer.encoder.layers.{layer}"
        rows = (heads + 2 * key_heads) * head
        tensors |= {
            f"{here}.input_layernorm.weight": draw.norm(hidden),
            f"{here}.self_attention.query_key_value.weight": draw.matrix(rows, hidden),
            f"{here}.self_attention.query_key_value.bias": draw.matrix(rows, scale=0.5),
            f"{here}.self_attention.dense.weight": draw.matrix(hidden, heads * head),
            f"{here}.post_attention_layernorm.weight": draw.norm(hidden),
            f"{here}.mlp.dense_h_to_4h.weight": draw.matrix(2 * inner, hidden),
            f"{here}.mlp.dense_4h_to_h.weight": draw.matrix(hidden, inner),
        }
    tensors["transformer.encoder.final_layernorm.weight"] = draw.norm(hidden)
    tensors["transformer.output_layer.weight"] = draw.matrix(size, hidden)
    config = {
        "model_type": "chatglm",
        "architectures": ["ChatGLMModel"],
        "auto_map": {"AutoConfig": "configuration_chatglm.ChatGLMConfig"},
        "add_bias_linear": False,
        "add_qkv_bias": True,
        "apply_residual_connection_post_layernorm": False,
        "ffn_hidden_size": inner,
        "hidden_size": hidden,
        "kv_channels": head,
        "layernorm_epsilon": 1e-5,
        "multi_query_attention": True,
        "multi_query_group_num": key_heads,
        "num_attention_heads": heads,
        "num_layers": layers,
        "original_rope": True,
        "padded_vocab_size": size,
        "post_layer_norm": True,
        "rmsnorm": True,
        "seq_length": 8192,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
    }
    halves = {name: tensor.half() for name, tensor in tensors.items()}
    return _publish(folder, config, halves, kind="chatglm", binary=True)


def internlm2(folder: Path, seed: int = 0) -> Path:
    """8 query heads over 2 key heads; two safetensors shards in bfloat16."""
    layers, hidden, heads, key_heads, inner, size = 2, 128, 8, 2, 160, 512
    head = hidden // heads
    draw, tensors = Draw(seed), Tensors()
    tensors["model.tok_embeddings.weight"] = draw.matrix(size, hidden)
    for layer in range(layers):
        here = f"model.layers.{layer}"
        tensors |= {
            f"{here}.attention.wqkv.weight": draw.matrix((heads + 2 * key_heads) * head, hidden),
            f"{here}.attention.wo.weight": draw.matrix(hidden, hidden),
            f"{here}.feed_forward.w1.weight": draw.matrix(inner, hidden),
            f"{here}.feed_forward.w2.weight": draw.matrix(hidden, inner),
            f"{here}.feed_forward.w3.weight": draw.matrix(inner, hidden),
            f"{here}.attention_norm.weight": draw.norm(hidden),
            f"{here}.ffn_norm.weight": draw.norm(hidden),
        }
    tensors["model.norm.weight"] = draw.norm(hidden)
    tensors["output.weight"] = draw.matrix(size, hidden)
    config = {
        "model_type": "internlm2",
        "architectures": ["InternLM2ForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_internlm2.InternLM2Config"},
        "bias": False,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "max_position_embeddings": 32768,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": key_heads,
        "rms_norm_eps": 1e-5,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
        "rope_theta": 1000000,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": size,
    }
    return _publish(folder, config, {n: t.bfloat16() for n, t in tensors.items()}, kind="internlm2")


def baichuan2(folder: Path, seed: int = 0) -> Path:
    """A packed W_pack and a head with rows of uneven length; one ``.bin`` file in bfloat16."""
    layers, hidden, heads, inner, size = 2, 128, 4, 160, 512
    draw, tensors = Draw(seed), Tensors()
    tensors["model.embed_tokens.weight"] = draw.matrix(size, hidden)
    for layer in range(layers):
        here = f"model.layers.{layer}"
        tensors |= {
            f"{here}.self_attn.W_pack.weight": draw.matrix(3 * hidden, hidden),
            f"{here}.self_attn.o_proj.weight": draw.matrix(hidden, hidden),
            f"{here}.mlp.gate_proj.weight": draw.matrix(inner, hidden),
            f"{here}.mlp.down_proj.weight": draw.matrix(hidden, inner),
            f"{here}.mlp.up_proj.weight": draw.matrix(inner, hidden),
            f"{here}.input_layernorm.weight": draw.norm(hidden),
            f"{here}.post_attention_layernorm.weight": draw.norm(hidden),
        }
    tensors["model.norm.weight"] = draw.norm(hidden)
    tensors["lm_head.weight"] = draw.matrix(size, hidden) * torch.linspace(0.2, 3, size)[:, None]
    config = {
        "model_type": "baichuan",
        "architectures": ["BaichuanForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_baichuan.BaichuanConfig"},
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "max_position_embeddings": 4096,
        "model_max_length": 4096,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": size,
        "z_loss_weight": 0,
    }
    bfloats = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    return _publish(folder, config, bfloats, kind="baichuan", binary=True, shards=1)


def gpt_oss(folder: Path, seed: int = 0) -> Path:
    """Experts in MXFP4 blocks, everything else in bfloat16, as transformers' own config writes it."""
    from transformers import GptOssConfig

    layers, hidden, heads, key_heads, head, inner, size, experts = 2, 64, 4, 2, 32, 64, 512, 4
    draw, tensors = Draw(seed), Tensors()
    tensors["model.embed_tokens.weight"] = draw.matrix(size, hidden)
    for layer in range(layers):
        here = f"model.layers.{layer}"
        for name, rows in (("q", heads), ("k", key_heads), ("v", key_heads)):
            tensors[f"{here}.self_attn.{name}_proj.weight"] = draw.matrix(rows * head, hidden)
            tensors[f"{here}.self_attn.{name}_proj.bias"] = draw.matrix(rows * head)
        tensors |= {
            f"{here}.self_attn.o_proj.weight": draw.matrix(hidden, heads * head),
            f"{here}.self_attn.o_proj.bias": draw.matrix(hidden),
            f"{here}.self_attn.sinks": draw.matrix(heads),
            f"{here}.mlp.router.weight": draw.matrix(experts, hidden),
            f"{here}.mlp.router.bias": draw.matrix(experts),
            f"{here}.mlp.experts.gate_up_proj_bias": draw.matrix(experts, 2 * inner),
            f"{here}.mlp.experts.down_proj_bias": draw.matrix(experts, hidden),
            f"{here}.input_layernorm.weight": draw.norm(hidden),
            f"{here}.post_attention_layernorm.weight": draw.norm(hidden),
        }
        for name, rows, columns in (("gate_up", 2 * inner, hidden), ("down", hidden, inner)):
            blocks = torch.randint(256, (experts, rows, columns // 32, 16), generator=draw.generator)
            scales = torch.randint(118, 126, (experts, rows, columns // 32), generator=draw.generator)
            tensors[f"{here}.mlp.experts.{name}_proj_blocks"] = blocks.to(torch.uint8)
            tensors[f"{here}.mlp.experts.{name}_proj_scales"] = scales.to(torch.uint8)
    tensors["model.norm.weight"] = draw.norm(hidden)
    tensors["lm_head.weight"] = draw.matrix(size, hidden)
    config: dict[str, Any] = GptOssConfig(
        num_hidden_layers=layers,
        num_local_experts=experts,
        num_experts_per_tok=2,
        vocab_size=size,
        hidden_size=hidden,
        intermediate_size=inner,
        head_dim=head,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        sliding_window=16,
    ).to_dict()
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    bfloats = {name: t if t.dtype == torch.uint8 else t.bfloat16() for name, t in tensors.items()}
    assert mxfp4.VALUES[7] == 6.0
    return _publish(folder, config, bfloats, kind="")


def _publish(
    folder: Path,
    config: dict[str, Any],
    tensors: Tensors,
    *,
    kind: str,
    binary: bool = False,
    shards: int = 2,
) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, default=str), encoding="utf-8")
    (folder / "LICENSE").write_text("terms of the model\n", encoding="utf-8")
    (folder / "modeling_evil.py").write_text("raise SystemExit('foreign code ran')\n", encoding="utf-8")
    if kind:
        tokenizer_model(kind, folder)
    names = sorted(tensors)
    stem, suffix = ("pytorch_model", "bin") if binary else ("model", "safetensors")
    parts = [names[i::shards] for i in range(shards)]
    index = {}
    for number, part in enumerate(parts, 1):
        file = f"{stem}.{suffix}" if shards == 1 else f"{stem}-{number:05d}-of-{shards:05d}.{suffix}"
        content = {name: tensors[name].contiguous() for name in part}
        if binary:
            torch.save(content, folder / file)
        else:
            save_file(content, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    if shards > 1:
        document = {"metadata": {}, "weight_map": index}
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


BUILDERS = {"ChatGLM3-6B": chatglm3, "InternLM2": internlm2, "Baichuan2-7B": baichuan2, "GPT-OSS": gpt_oss}
DENSE = ("ChatGLM3-6B", "InternLM2", "Baichuan2-7B")
assert {family.name for family in families.FAMILIES} == set(BUILDERS)
