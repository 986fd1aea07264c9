"""Build a full-size model with random weights: real speed and memory where no model hub can be reached.

    python bench/gpu/random_model.py --out /dev/shm/qwen --text dialogues.jsonl

The tokenizer is a byte-level BPE of few pieces, trained on the dialogues, so that a SMILE dialogue has about 1,450
tokens; the embedding keeps the architecture's own size.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

CHATML = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{%- endif -%}"
    "{%- for m in messages -%}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
LLAMA3 = (
    "{{- '<|begin_of_text|>' -}}"
    "{%- for m in messages -%}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] + '<|eot_id|>' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif -%}"
)
HARMONY = (
    "{{- '<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\nCurrent date: ' + strftime_now('%Y-%m-%d') + '\n\nReasoning: medium\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>' -}}"
    "{%- for m in messages -%}"
    "{%- if m['role'] == 'assistant' -%}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] }}"
    "{{- '<|end|>' if not loop.last else '<|return|>' -}}"
    "{%- else -%}{{ '<|start|>' + m['role'] + '<|message|>' + m['content'] + '<|end|>' }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start|>assistant' }}{%- endif -%}"
)
FAMILIES: dict[str, tuple[str, tuple[str, str, str], list[str]]] = {
    "qwen2": (CHATML, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), []),
    "llama": (
        LLAMA3,
        ("<|finetune_right_pad_id|>", "<|begin_of_text|>", "<|eot_id|>"),
        ["<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>"],
    ),
    "gpt_oss": (
        HARMONY,
        ("<|endoftext|>", "<|startoftext|>", "<|return|>"),
        ["<|constrain|>", "<|channel|>", "<|start|>", "<|end|>", "<|message|>", "<|call|>"],
    ),
}
"""Chat template; the pieces for padding, beginning and end; further special pieces."""
CONFIGS: dict[str, dict[str, Any]] = {
    "llama3.1-8b": {
        "family": "llama",
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    },
    "gpt-oss-20b": {
        "family": "gpt_oss",
        "vocab_size": 201088,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_hidden_layers": 24,
        "num_local_experts": 32,
        "num_experts_per_tok": 4,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "sliding_window": 128,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
    },
    "qwen2.5-7b": {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "use_cache": True,
    },
    "qwen2.5-32b": {
        "vocab_size": 152064,
        "hidden_size": 5120,
        "intermediate_size": 27648,
        "num_hidden_layers": 64,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "use_cache": True,
    },
    "tiny": {
        "vocab_size": 1024,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": False,
    },
}


def tokenizer(text: Path, pieces: int, family: str) -> Any:
    """A byte-level BPE of *pieces* pieces from a sharegpt file, with the family's special tokens and chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    rows = [json.loads(line) for line in text.read_text(encoding="utf-8").splitlines()[:1000]]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=pieces, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bpe.train_from_iterator((turn["value"] for row in rows for turn in row["conversations"]), trainer)
    template, (pad, begin, end), further = FAMILIES[family]
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=begin,
        eos_token=end,
        pad_token=pad,
        additional_special_tokens=[pad, begin, end, *further],
        chat_template=template,
    )


def released(vocabulary: Path) -> Any:
    """Return GPT-OSS's own tokenizer from the file ``o200k_base.tiktoken``.

    Its engines refuse any other.
    """
    from tiktoken_ext import openai_public
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    openai_public.load_tiktoken_bpe = lambda *_, **__: {}
    encoding = openai_public.o200k_harmony()
    special = {number: name for name, number in encoding["special_tokens"].items()}  # 200018 has two names
    pieces = TikTokenConverter(vocab_file=str(vocabulary), pattern=encoding["pat_str"]).converted()
    pieces.add_special_tokens(
        [AddedToken(name, normalized=False, special=True) for _, name in sorted(special.items())]
    )
    template, (pad, begin, end), _ = FAMILIES["gpt_oss"]
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces, bos_token=begin, eos_token=end, pad_token=pad, chat_template=template
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True, help="sharegpt JSONL for the tokenizer")
    parser.add_argument("--config", choices=sorted(CONFIGS), default="qwen2.5-7b")
    parser.add_argument("--pieces", type=int, default=500)
    parser.add_argument("--vocabulary", type=Path, help="o200k_base.tiktoken: GPT-OSS's own pieces instead")
    parser.add_argument("--layers", type=int, help="fewer layers than the architecture has")
    options = parser.parse_args()

    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    began = time.perf_counter()
    settings = dict(CONFIGS[options.config])
    family = str(settings.pop("family", "qwen2"))
    words = (
        released(options.vocabulary)
        if options.vocabulary
        else tokenizer(options.text, options.pieces, family)
    )
    if options.layers:
        settings["num_hidden_layers"] = options.layers
    ids = dict(
        zip(
            ("pad_token_id", "bos_token_id", "eos_token_id"),
            words.convert_tokens_to_ids(list(FAMILIES[family][1])),
            strict=True,
        )
    )
    config = AutoConfig.for_model(family, **settings, **ids)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config)
    model.generation_config.do_sample = False
    model.save_pretrained(options.out, max_shard_size="4GB")
    words.save_pretrained(options.out)
    parameters = sum(one.numel() for one in model.parameters())
    spread = float(model.model.layers[0].self_attn.q_proj.weight.float().std())
    took = time.perf_counter() - began
    print(f"{options.out}: {parameters / 1e9:.3f}e9 parameters, std {spread:.4f}, {took:.1f} s")


if __name__ == "__main__":
    main()
