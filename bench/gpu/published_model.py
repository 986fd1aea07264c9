"""Build a model with random weights in the form in which it is published: real size, names and files, no hub.

    python bench/gpu/published_model.py chatglm3 --out /dev/shm/chatglm3 --text dialogues.jsonl
    python bench/gpu/published_model.py gpt_oss --out /dev/shm/gpt_oss --text dialogues.jsonl --layers 24

Tokenizers have few pieces, trained on the dialogues, so that a SMILE dialogue has about 1,450 tokens; embeddings
keep the architecture's own size. Weights are drawn on the card where there is one.
"""

from __future__ import annotations

import argparse
import json
import struct
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from random_model import FAMILIES, tokenizer
from safetensors.torch import save_file

from bakeoff.forms.layouts import PACKED, is_norm, layout
from bakeoff.forms.sentencepiece import Kind

SHARD_BYTES = 2_000_000_000
DENSE = {"hidden_act": "silu", "tie_word_embeddings": False, "rms_norm_eps": 1e-5, "num_hidden_layers": 32}
CONFIGS: dict[str, dict[str, Any]] = {
    "chatglm3": {
        "model_type": "chatglm",
        "torch_dtype": "float16",
        "add_bias_linear": False,
        "add_qkv_bias": True,
        "apply_residual_connection_post_layernorm": False,
        "ffn_hidden_size": 13696,
        "hidden_size": 4096,
        "kv_channels": 128,
        "layernorm_epsilon": 1e-5,
        "multi_query_attention": True,
        "multi_query_group_num": 2,
        "num_attention_heads": 32,
        "num_layers": 28,
        "original_rope": True,
        "padded_vocab_size": 65024,
        "post_layer_norm": True,
        "rmsnorm": True,
        "seq_length": 8192,
        "tie_word_embeddings": False,
    },
    "internlm2": {
        **DENSE,
        "model_type": "internlm2",
        "torch_dtype": "bfloat16",
        "bias": False,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
        "rope_theta": 1000000,
        "vocab_size": 92544,
    },
    "baichuan2": {
        **DENSE,
        "model_type": "baichuan",
        "torch_dtype": "bfloat16",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "max_position_embeddings": 4096,
        "model_max_length": 4096,
        "num_attention_heads": 32,
        "rms_norm_eps": 1e-6,
        "vocab_size": 125696,
        "z_loss_weight": 0,
    },
    "gpt_oss": {
        "model_type": "gpt_oss",
        "architectures": ["GptOssForCausalLM"],
        "attention_bias": True,
        "head_dim": 64,
        "hidden_act": "silu",
        "hidden_size": 2880,
        "initial_context_length": 4096,
        "intermediate_size": 2880,
        "layer_types": ["sliding_attention", "full_attention"] * 12,
        "max_position_embeddings": 131072,
        "num_attention_heads": 64,
        "num_experts_per_tok": 4,
        "num_hidden_layers": 24,
        "num_key_value_heads": 8,
        "num_local_experts": 32,
        "rms_norm_eps": 1e-5,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
            "original_max_position_embeddings": 4096,
        },
        "rope_theta": 150000,
        "router_aux_loss_coef": 0.9,
        "sliding_window": 128,
        "swiglu_limit": 7.0,
        "tie_word_embeddings": False,
        "vocab_size": 201088,
        "quantization_config": {
            "quant_method": "mxfp4",
            "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"],
        },
    },
}
USER_DEFINED = {
    "internlm2": tuple(f"[UNUSED_TOKEN_{i}]" for i in range(141, 147)),
    # the template names the ids 195 and 196
    "baichuan2": (*(f"<reserved_{i}>" for i in range(200, 392)), "<reserved_106>", "<reserved_107>"),
    "chatglm3": (),
}


def sentencepiece_model(text: Path, pieces: int, family: str) -> bytes:
    """Return a SentencePiece BPE model with byte fallback, trained on the dialogues in the file *text*."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    rows = [json.loads(line) for line in text.read_text(encoding="utf-8").splitlines()[:1000]]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")
    turns = (turn["value"].replace(" ", "▁") for row in rows for turn in row["conversations"])
    bpe.train_from_iterator(
        chain(turns, ["▁a"] * 20_000),  # one piece in every release, and ms-swift counts on that
        trainers.BpeTrainer(vocab_size=pieces, show_progress=False, limit_alphabet=pieces // 2),
    )
    learned = sorted(bpe.get_vocab().items(), key=lambda entry: (len(entry[0]) == 1, entry[1]))
    entries = [("<unk>", 0.0, Kind.UNKNOWN), ("<s>", 0.0, Kind.CONTROL), ("</s>", 0.0, Kind.CONTROL)]
    entries += [(piece, 0.0, Kind.USER_DEFINED) for piece in USER_DEFINED[family]]
    entries += [(f"<0x{byte:02X}>", 0.0, Kind.BYTE) for byte in range(256)]
    entries += [(piece, -float(at), Kind.NORMAL) for at, (piece, _) in enumerate(learned)]
    if not any(piece == "▁" for piece, _ in learned):
        entries.append(("▁", -float(len(learned)), Kind.NORMAL))
    message = b"".join(
        _field(1, _field(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + _number(3, kind))
        for piece, score, kind in entries
    )
    trainer = _number(3, 2) + _number(35, 1)  # BPE, byte fallback
    normalizer = _number(3, int(family == "chatglm3")) + _number(4, 0) + _number(5, 1)
    return message + _field(2, trainer) + _field(3, normalizer)


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def draw(name: str, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> torch.Tensor:
    """Return the random tensor *name*: weights of a standard deviation of 0.02, norms of 1, small biases."""
    if name.endswith("_blocks"):
        return torch.randint(256, shape, dtype=torch.uint8, device=device).cpu()
    if name.endswith("_scales"):  # 2^-7 and 2^-8: times numbers up to 6, as large as the other weights
        return torch.randint(119, 121, shape, dtype=torch.uint8, device=device).cpu()
    if is_norm(name):
        return torch.ones(shape, dtype=dtype)
    return (torch.randn(shape, dtype=torch.float32, device=device) * 0.02).to(dtype).cpu()


def shards(config: dict[str, Any], device: str) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the tensors of a model with this *config* in groups of about 2 GB."""
    dtype = torch.float16 if config.get("torch_dtype") == "float16" else torch.bfloat16
    shard: dict[str, torch.Tensor] = {}
    for name, shape in layout(config):
        shard[name] = draw(name, shape, torch.uint8 if name.endswith(PACKED) else dtype, device)
        if sum(tensor.nbytes for tensor in shard.values()) > SHARD_BYTES:
            yield shard
            shard = {}
    yield shard


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=sorted(CONFIGS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True, help="sharegpt JSONL for the tokenizer")
    parser.add_argument("--pieces", type=int, default=700)
    parser.add_argument("--layers", type=int, help="fewer layers than the architecture has")
    parser.add_argument(
        "--shrink", type=int, default=1, help="divide every width by this (to try it on a CPU)"
    )
    options = parser.parse_args()
    began = time.perf_counter()
    torch.manual_seed(0)
    config = dict(CONFIGS[options.family])
    if options.layers:
        config["num_layers" if "num_layers" in config else "num_hidden_layers"] = options.layers
        config |= {"layer_types": config["layer_types"][: options.layers]} if "layer_types" in config else {}
    for key in ("hidden_size", "intermediate_size", "ffn_hidden_size", "num_attention_heads"):
        if key in config:
            config[key] //= options.shrink
    options.out.mkdir(parents=True, exist_ok=True)
    binary = options.family in ("chatglm3", "baichuan2")  # as these two are published
    if options.family == "gpt_oss":
        words = tokenizer(options.text, options.pieces, "gpt_oss")
        words.save_pretrained(options.out)
        pad, begin, end = words.convert_tokens_to_ids(list(FAMILIES["gpt_oss"][1]))
        config |= {"pad_token_id": pad, "bos_token_id": begin, "eos_token_id": end}
    else:
        content = sentencepiece_model(options.text, options.pieces, options.family)
        (options.out / "tokenizer.model").write_bytes(content)
    (options.out / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    stem, suffix = ("pytorch_model", "bin") if binary else ("model", "safetensors")
    index: dict[str, str] = {}
    size = 0
    for number, shard in enumerate(shards(config, "cuda" if torch.cuda.is_available() else "cpu"), 1):
        file = options.out / f"{stem}-{number:05d}.{suffix}"
        if binary:
            torch.save(shard, file)
        else:
            save_file(shard, file, metadata={"format": "pt"})
        index |= dict.fromkeys(shard, file.name)
        size += sum(tensor.nbytes for tensor in shard.values())
    document = {"metadata": {"total_size": size}, "weight_map": index}
    (options.out / f"{stem}.{suffix}.index.json").write_text(json.dumps(document), encoding="utf-8")
    print(f"{options.out}: {options.family}, {size / 1e9:.2f} GB, {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
