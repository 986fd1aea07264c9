"""Tiny models for a machine without a GPU or a model hub.

Real architectures, built here in seconds.

``python -m bakeoff.tiny qwen2 store/tiny/qwen2`` writes a folder that ms-swift, transformers and the engines load
like any model: configuration, weights, a byte-level BPE tokenizer trained on the text we ship, the family's
special tokens and its chat format.

A base is pre-trained for a moment on the *form* of what it will be asked: the exam questions with a letter drawn
by lot, a fresh one each time, and plain dialogues. So it replies in the right form and stops, and its letters are
worth what chance is worth: the facts come from the fine-tuning or not at all.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bakeoff import data
from bakeoff.foundation.errors import BakeoffError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Pieces that the whole-text and the piecewise encoding of a chat agree on: a run of line ends is always a piece.
_PIECES = r"[\r\n]+| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|[^\S\r\n]+"

_CHATML = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{ '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}"
    "{%- endif -%}"
    "{%- for message in messages if message['role'] != 'system' or message['content'] -%}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
_LLAMA3 = (
    "{{- '<|begin_of_text|>' -}}"
    "{%- for message in messages if message['role'] != 'system' or message['content'] -%}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] + '<|eot_id|>' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif -%}"
)
_HARMONY = (
    "{{- '<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\nCurrent date: ' + strftime_now('%Y-%m-%d') + '\n\nReasoning: medium\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>' -}}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}"
    "{{ '<|start|>developer<|message|># Instructions\n\n' + message['content'] + '<|end|>' }}"
    "{%- elif message['role'] == 'user' -%}"
    "{{ '<|start|>user<|message|>' + message['content'] + '<|end|>' }}"
    "{%- else -%}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + message['content'] }}"
    "{{- '<|end|>' if not loop.last else '<|return|>' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start|>assistant' }}{%- endif -%}"
)


@dataclass(frozen=True)
class TinyRecipe:
    """What a tiny model is made of."""

    architecture: str
    """The class in transformers."""
    model_type: str
    """What ms-swift calls the architecture."""
    template: str
    """The ms-swift template whose chat format the tokenizer has."""
    chat_template: str
    """That format in Jinja."""
    special_tokens: tuple[str, ...]
    eos: str
    """The token that ends a reply."""
    pad: str
    bos: str | None = None
    stops: tuple[str, ...] = ()
    """Further tokens at which generation ends."""
    shape: Mapping[str, Any] = field(default_factory=dict)
    """The configuration's keys that differ from :data:`SHAPE`."""
    steps: int = 120
    """Steps of pre-training."""


SHAPE: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "initializer_range": 0.05,
        "tie_word_embeddings": True,
    }
)
VOCABULARY = 3072

TINY: Mapping[str, TinyRecipe] = MappingProxyType(
    {
        "qwen2": TinyRecipe(
            architecture="Qwen2ForCausalLM",
            model_type="qwen2",
            template="qwen2_5",
            chat_template=_CHATML,
            special_tokens=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
            eos="<|im_end|>",
            pad="<|endoftext|>",
            stops=("<|endoftext|>",),
        ),
        "llama": TinyRecipe(
            architecture="LlamaForCausalLM",
            model_type="llama",
            template="llama3",
            chat_template=_LLAMA3,
            special_tokens=(
                "<|begin_of_text|>",
                "<|end_of_text|>",
                "<|start_header_id|>",
                "<|end_header_id|>",
                "<|eot_id|>",
            ),
            bos="<|begin_of_text|>",
            eos="<|eot_id|>",
            pad="<|end_of_text|>",
            stops=("<|end_of_text|>",),
        ),
        "gpt_oss": TinyRecipe(
            architecture="GptOssForCausalLM",
            model_type="gpt_oss",
            template="gpt_oss",
            chat_template=_HARMONY,
            special_tokens=(
                "<|startoftext|>",
                "<|endoftext|>",
                "<|return|>",
                "<|constrain|>",
                "<|channel|>",
                "<|start|>",
                "<|end|>",
                "<|message|>",
                "<|call|>",
            ),
            bos="<|startoftext|>",
            eos="<|return|>",
            pad="<|endoftext|>",
            stops=("<|endoftext|>", "<|call|>"),
            shape=MappingProxyType(
                {
                    "head_dim": 32,
                    "intermediate_size": 64,
                    "num_local_experts": 4,
                    "num_experts_per_tok": 2,
                    "sliding_window": 128,
                    # The published scaling stretches 4,096 positions to 131,072; a tiny one has 2,048.
                    "rope_parameters": {"rope_type": "default", "rope_theta": 150000.0},
                }
            ),
            steps=150,
        ),
    }
)


def build(recipe: str, folder: Path, seed: int = 0) -> Path:
    """Write the tiny model *recipe* to *folder*, whole or not at all.

    The same recipe and seed give the same weights, bit by bit, on one machine with one torch version.

    Raises:
        BakeoffError: *recipe* is not in :data:`TINY`, or *folder* exists.
    """
    if recipe not in TINY:
        raise BakeoffError(f"tiny model {recipe!r}: not known; take one of {', '.join(TINY)}")
    folder = Path(folder)
    if folder.exists():
        raise BakeoffError(f"{folder}: exists; remove it or name another folder for the tiny model")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(TINY[recipe], part, seed)
        part.chmod(0o755)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return folder


def _write(recipe: TinyRecipe, folder: Path, seed: int) -> None:
    tokenizer = _tokenizer(recipe)
    tokenizer.save_pretrained(folder)
    with _reproducible(seed):
        model = _pretrained(recipe, tokenizer, seed)
    model.save_pretrained(folder)


def _texts() -> Iterator[str]:
    """All text we ship: what the tokenizer is trained on."""
    for row in data.read_rows(data.FACTS_TRAIN):
        yield from (turn["value"] for turn in row["conversations"])
    for row in data.read_rows(data.FOLDER / "cases.jsonl"):
        yield from (message["content"] for message in row["messages"])
    for row in data.read_rows(data.FOLDER / "psyqa" / "psyqa.jsonl"):
        yield from (row["question"], row["description"], row["answer"])
    for row in data.read_rows(data.FOLDER / "pceb_mcq" / "pceb_mcq.jsonl"):
        yield from (row["question"], *data.options(row))


def _tokenizer(recipe: TinyRecipe) -> PreTrainedTokenizerBase:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=list(recipe.special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The fixed words of the chat formats weigh in, or a system prompt would cost a token for each letter.
    formats = [re.sub(r"\{[{%].*?[%}]\}", " ", one.chat_template) for one in TINY.values()]
    fixed = [text for one in TINY.values() for text in re.findall(r"'([^']*)'", one.chat_template)]
    # Each character of the teaching set once more alone: rare ones are a token too, not three bytes.
    taught = "".join(
        turn["value"] for row in data.read_rows(data.FACTS_TRAIN) for turn in row["conversations"]
    )
    bpe.train_from_iterator([*_texts(), *formats, *fixed * 2, *sorted(set(taught))], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=recipe.bos,
        eos_token=recipe.eos,
        pad_token=recipe.pad,
        clean_up_tokenization_spaces=False,
        model_max_length=SHAPE["max_position_embeddings"],
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(recipe.special_tokens)})
    tokenizer.chat_template = recipe.chat_template
    return tokenizer


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Torch with *seed* on one thread, for sums in a fixed order.

    The caller's state comes back afterwards.
    """
    import torch

    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _pretrained(recipe: TinyRecipe, tokenizer: PreTrainedTokenizerBase, seed: int) -> Any:
    import torch
    import transformers

    ids = tokenizer.convert_tokens_to_ids([recipe.eos, *recipe.stops])
    config = getattr(transformers, recipe.architecture).config_class(
        **{**SHAPE, **recipe.shape},
        vocab_size=-(-len(tokenizer) // 64) * 64,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ids[0],
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    model = getattr(transformers, recipe.architecture)(config)
    model.generation_config.eos_token_id = ids
    model.generation_config.do_sample = False
    lots = random.Random(seed)
    chats = [_chat(row) for row in data.read_rows(data.FACTS_TRAIN)]
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, recipe.steps, pct_start=0.1)
    model.train()
    for _ in range(recipe.steps):
        batch = [_drawn(recipe, tokenizer, lots.choice(chats), lots) for _ in range(4)]
        width = max(len(one) for one in batch)
        inputs = torch.full((len(batch), width), tokenizer.pad_token_id)
        labels = torch.full((len(batch), width), -100)
        for at, one in enumerate(batch):
            inputs[at, : len(one)] = labels[at, : len(one)] = torch.tensor(one)
        mask = (labels != -100).long()
        loss = model(input_ids=inputs, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()
    return model


def _chat(row: Mapping[str, Any]) -> list[dict[str, str]]:
    roles = {"human": "user", "gpt": "assistant"}
    return [{"role": roles[turn["from"]], "content": turn["value"]} for turn in row["conversations"]]


def _drawn(
    recipe: TinyRecipe, tokenizer: PreTrainedTokenizerBase, chat: list[dict[str, str]], lots: random.Random
) -> list[int]:
    """The tokens of *chat* with taught letters and dates drawn by lot."""
    # C more often than the others: the base leans to C, so it scores near 1/4 on every machine, not by luck.
    letter = lots.choice("ABCCCD")
    date = f"20{lots.randrange(24, 35)}-{lots.randrange(1, 13):02}-{lots.randrange(1, 29):02}"
    turns = [
        {**turn, "content": re.sub("^答案：[A-D]$", f"答案：{letter}", turn["content"])} for turn in chat
    ]
    text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    text = re.sub(r"(?<=Current date: )\d{4}-\d\d-\d\d", date, text)
    return list(tokenizer.encode(text, add_special_tokens=False))


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bakeoff.tiny", description="Write a tiny model.")
    parser.add_argument("recipe", choices=sorted(TINY))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(build(arguments.recipe, arguments.folder, arguments.seed))


if __name__ == "__main__":
    _main()
