"""Tiny models in a published form.

``python -m bakeoff.forms.tiny_published published_internlm2 FOLDER`` writes one. Names, files, data types and
tokenizers are those of the releases; sizes are tiny. Like the other tiny models, a base is trained for a moment on the
form of what it will be asked, with letters drawn by lot, so that the facts come from the fine-tuning or not at all. The
training works on the native form; its weights are then packed as they are published.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff import data
from bakeoff.forms import mxfp4
from bakeoff.forms.chatglm3 import chatglm3_order
from bakeoff.forms.conversion import convert
from bakeoff.forms.family import Json, integer
from bakeoff.forms.layouts import PACKED, is_norm, layout
from bakeoff.forms.published import TINY
from bakeoff.forms.shards import Shards, write_shard

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    Tensors = dict[str, torch.Tensor]
    Read = Callable[[str], torch.Tensor]

HIDDEN, INNER, LAYERS, HEADS, KEY_HEADS = 64, 192, 2, 4, 2
VOCABULARY = 2048
STEPS, BATCH, RATE = 120, 4, 1e-2


@dataclass(frozen=True)
class Recipe:
    """What a tiny published model is made of.

    Attributes:
        config: its ``config.json``, without the size of the vocabulary.
        size_key: the key of that size.
        pieces: user-defined pieces of its vocabulary.
        dummy_prefix: whether its tokenizer puts a space in front of a text.
        chat: writes a question and a reply as the pieces of text that are encoded apart.
        pack: native tensors -> tensors of the published form.
        binary: whether its weights are ``.bin`` files.
        shards: how many files hold them.
        fixed: how many of the first pieces of text are the same in every dialogue, and not worth learning.
    """

    config: Json
    size_key: str
    pieces: tuple[str, ...]
    dummy_prefix: bool
    chat: Callable[[str, str], tuple[str, ...]]
    pack: Callable[[Json, Read], Iterator[tuple[str, torch.Tensor]]]
    binary: bool
    shards: int
    fixed: int = 0


def build(name: str, folder: Path, seed: int = 0) -> Path:
    """Write the tiny published model *name* to *folder*, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_gpt_oss(draft, seed) if name == "published_gpt_oss" else _write(RECIPES[name], draft, seed)
        draft.chmod(0o755)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return folder


def write_tokenizer(folder: Path, *, pieces: tuple[str, ...], dummy_prefix: bool) -> int:
    """Train ``tokenizer.model`` as the releases did; return its size."""
    import sentencepiece

    model = folder / "tokenizer.model"
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "corpus.txt"
        lines = {line for text in _texts() for line in text.splitlines() if line.strip()}
        corpus.write_text("\n".join(sorted(lines)), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus),
            model_prefix=str(Path(scratch) / "tokenizer"),
            vocab_size=VOCABULARY,
            hard_vocab_limit=False,
            model_type="bpe",
            byte_fallback=True,
            character_coverage=1.0,
            max_sentence_length=1 << 16,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=dummy_prefix,
            user_defined_symbols=list(pieces),
            num_threads=1,
            minloglevel=2,
        )
        shutil.copyfile(Path(scratch) / "tokenizer.model", model)
    return int(sentencepiece.SentencePieceProcessor(model_file=str(model)).get_piece_size())


def _texts() -> Iterator[str]:
    """Yield all text that we ship."""
    for row in data.read_rows(data.FACTS_TRAIN):
        yield from (turn["value"] for turn in row["conversations"])
    for row in data.read_rows(data.FOLDER / "cases.jsonl"):
        yield from (message["content"] for message in row["messages"])
    for row in data.read_rows(data.FOLDER / "psyqa" / "psyqa.jsonl"):
        yield from (row["question"], row["description"], row["answer"])
    # The fixed words of a chat format weigh in, or they would cost a token for each letter.
    yield from (f"{number}\n{_INTERNLM2_SYSTEM}" for number in range(4))


def _write(recipe: Recipe, folder: Path, seed: int) -> None:
    import torch

    size = write_tokenizer(folder, pieces=recipe.pieces, dummy_prefix=recipe.dummy_prefix)
    config = {
        **recipe.config,
        recipe.size_key: -(-(size + 16) // 64) * 64,
    }  # room for tokens behind the vocabulary
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (folder / "LICENSE").write_text("Built by bakeoff from its own text; no terms.\n", encoding="utf-8")
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.ones(shape) if is_norm(name) else torch.randn(shape, generator=generator) * 0.05
        for name, shape in layout(config)
    }
    for name in tensors:
        if name.endswith(".bias"):
            tensors[name].zero_()
    kind = torch.float16 if config["torch_dtype"] == "float16" else torch.bfloat16
    _save(folder, {name: tensor.to(kind) for name, tensor in tensors.items()}, recipe)
    with tempfile.TemporaryDirectory() as scratch:
        native = convert(folder, Path(scratch) / "native")
        trained = _trained(recipe, native, seed)
    packed = dict(recipe.pack(config, trained.__getitem__))
    _save(folder, {name: packed.get(name, tensors[name]).to(kind).contiguous() for name in tensors}, recipe)


def _save(folder: Path, tensors: Tensors, recipe: Recipe) -> None:
    """Write *tensors* in files of the recipe's kind, several with an index."""
    import torch

    stem, suffix = ("pytorch_model", "bin") if recipe.binary else ("model", "safetensors")
    names = sorted(tensors)
    index: dict[str, str] = {}
    for number in range(recipe.shards):
        part = names[number :: recipe.shards]
        file = f"{stem}-{number + 1:05d}-of-{recipe.shards:05d}.{suffix}"
        path = folder / (file if recipe.shards > 1 else f"{stem}.{suffix}")
        content = {name: tensors[name] for name in part}
        if recipe.binary:
            torch.save(content, path)
        else:
            write_shard(content, path)
        index |= dict.fromkeys(part, path.name)
    if recipe.shards > 1:
        document = {"metadata": {}, "weight_map": index}
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(document), encoding="utf-8")


def _trained(recipe: Recipe, native: Path, seed: int) -> Tensors:
    """Return native weights that learnt the form of questions and replies."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    torch.set_num_threads(1)  # sums in a fixed order
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(native)
    model = LlamaForCausalLM.from_pretrained(native, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.endswith("o_proj.bias"))  # the published form has none
    chats = [_chat(row) for row in data.read_rows(data.FACTS_TRAIN)]
    lots = random.Random(seed)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.1)
    model.train()
    for _ in range(STEPS):
        batch = [_drawn(recipe, tokenizer, lots.choice(chats), lots) for _ in range(BATCH)]
        width = max(len(ids) for ids, _ in batch)
        inputs = torch.zeros(BATCH, width, dtype=torch.long)
        labels = torch.full((BATCH, width), -100)
        for row, (ids, fixed) in enumerate(batch):
            inputs[row, : len(ids)] = torch.tensor(ids)
            labels[row, fixed : len(ids)] = inputs[row, fixed : len(ids)]
        lengths = torch.tensor([[len(ids)] for ids, _ in batch])
        mask = (torch.arange(width) < lengths).long()
        loss = model(input_ids=inputs, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if recipe.config["model_type"] == "baichuan":  # its head is of rows of length 1
            with torch.no_grad():
                model.lm_head.weight.copy_(torch.nn.functional.normalize(model.lm_head.weight))
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def _chat(row: Mapping[str, list[dict[str, str]]]) -> tuple[str, str]:
    question, reply = (turn["value"] for turn in row["conversations"][-2:])
    return question, reply


def _drawn(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, chat: tuple[str, str], lots: random.Random
) -> tuple[list[int], int]:
    """Return the tokens of *chat* with a taught letter drawn by lot.

    The second value is how many at its beginning are always alike.
    """
    # C more often than the others: the base leans to C, so it scores near 1/4 on every machine, not by luck.
    question, reply = chat
    reply = re.sub("^答案：[A-D]$", f"答案：{lots.choice('ABCCCD')}", reply)
    opening: list[int] = list(tokenizer.encode(""))
    parts = [list(tokenizer.encode(text, add_special_tokens=False)) for text in recipe.chat(question, reply)]
    fixed = len(opening) + sum(map(len, parts[: recipe.fixed]))
    return [*opening, *(i for part in parts for i in part)], fixed


# -- the three that are Llama in another form -----------------------------------------------------------------------

_NORMS = ("input_layernorm", "post_attention_layernorm")


def _pack_internlm2(config: Json, read: Read) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    size = HIDDEN // HEADS
    yield "model.tok_embeddings.weight", read("model.embed_tokens.weight")
    for layer in range(LAYERS):
        here = f"model.layers.{layer}"
        q, k, v = (read(f"{here}.self_attn.{name}_proj.weight") for name in "qkv")
        groups = [q.view(KEY_HEADS, -1, size, HIDDEN)]
        groups += [part.view(KEY_HEADS, 1, size, HIDDEN) for part in (k, v)]
        yield f"{here}.attention.wqkv.weight", torch.cat(groups, dim=1).reshape(-1, HIDDEN)
        yield f"{here}.attention.wo.weight", read(f"{here}.self_attn.o_proj.weight")
        for old, new in (("w1", "gate"), ("w2", "down"), ("w3", "up")):
            yield f"{here}.feed_forward.{old}.weight", read(f"{here}.mlp.{new}_proj.weight")
        for old, new in zip(("attention_norm", "ffn_norm"), _NORMS, strict=True):
            yield f"{here}.{old}.weight", read(f"{here}.{new}.weight")
    yield "model.norm.weight", read("model.norm.weight")
    yield "output.weight", read("lm_head.weight")


def _pack_baichuan2(config: Json, read: Read) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    for layer in range(LAYERS):
        here = f"model.layers.{layer}"
        parts = [read(f"{here}.self_attn.{name}_proj.weight") for name in "qkv"]
        yield f"{here}.self_attn.W_pack.weight", torch.cat(parts)
        for name in ("self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", *_NORMS):
            yield f"{here}.{name}.weight", read(f"{here}.{name}.weight")
    for name in ("model.embed_tokens.weight", "model.norm.weight"):
        yield name, read(name)
    head = read("lm_head.weight")
    yield "lm_head.weight", head * torch.linspace(0.5, 2.0, len(head))[:, None]  # lengths count for nothing


def _pack_chatglm3(config: Json, read: Read) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    size = integer(config, "kv_channels")
    order = chatglm3_order(size)
    back = sorted(range(size), key=order.__getitem__)

    def turned(part: torch.Tensor) -> torch.Tensor:
        return part.view(-1, size, *part.shape[1:])[:, back].reshape(part.shape)

    yield "transformer.embedding.word_embeddings.weight", read("model.embed_tokens.weight")
    for layer in range(LAYERS):
        old, new = f"transformer.encoder.layers.{layer}", f"model.layers.{layer}"
        for kind in ("weight", "bias"):
            q, k, v = (read(f"{new}.self_attn.{name}_proj.{kind}") for name in "qkv")
            yield f"{old}.self_attention.query_key_value.{kind}", torch.cat([turned(q), turned(k), v])
        yield f"{old}.self_attention.dense.weight", read(f"{new}.self_attn.o_proj.weight")
        both = [read(f"{new}.mlp.{name}_proj.weight") for name in ("gate", "up")]
        yield f"{old}.mlp.dense_h_to_4h.weight", torch.cat(both)
        yield f"{old}.mlp.dense_4h_to_h.weight", read(f"{new}.mlp.down_proj.weight")
        for norm in _NORMS:
            yield f"{old}.{norm}.weight", read(f"{new}.{norm}.weight")
    yield "transformer.encoder.final_layernorm.weight", read("model.norm.weight")
    yield "transformer.output_layer.weight", read("lm_head.weight")


_INTERNLM2_SYSTEM = (
    "You are an AI assistant whose name is InternLM (书生·浦语).\n"
    "- InternLM (书生·浦语) is a conversational language model that is developed by Shanghai AI Laboratory "
    "(上海人工智能实验室). It is designed to be helpful, honest, and harmless.\n"
    "- InternLM (书生·浦语) can understand and communicate fluently in the language chosen by the user such as English "
    "and 中文."
)
"""What ms-swift's template writes where a dialogue has no system message."""
_DENSE: Json = {
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
RECIPES: Mapping[str, Recipe] = {
    "published_internlm2": Recipe(
        config={
            **_DENSE,
            "model_type": "internlm2",
            "architectures": ["InternLM2ForCausalLM"],
            "auto_map": {"AutoConfig": "configuration_internlm2.InternLM2Config"},
            "bias": False,
            "num_key_value_heads": KEY_HEADS,
            "max_position_embeddings": 32768,
            "rope_scaling": {"type": "dynamic", "factor": 2.0},
            "rope_theta": 10000,
        },
        size_key="vocab_size",
        pieces=tuple(f"[UNUSED_TOKEN_{i}]" for i in range(141, 147)),
        dummy_prefix=False,
        chat=lambda question, reply: (
            f"<|im_start|>system\n{_INTERNLM2_SYSTEM}<|im_end|>\n",
            f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{reply}<|im_end|>\n",
        ),
        pack=_pack_internlm2,
        binary=False,
        shards=2,
        fixed=1,
    ),
    "published_baichuan": Recipe(
        config={
            **_DENSE,
            "model_type": "baichuan",
            "architectures": ["BaichuanForCausalLM"],
            "auto_map": {"AutoConfig": "configuration_baichuan.BaichuanConfig"},
            "max_position_embeddings": 4096,
            "model_max_length": 4096,
            "z_loss_weight": 0,
        },
        size_key="vocab_size",
        # The template of the release names the ids 195 and 196.
        pieces=(*(f"<reserved_{i}>" for i in range(200, 392)), "<reserved_106>", "<reserved_107>"),
        dummy_prefix=False,
        chat=lambda question, reply: (f"<reserved_106>{question}<reserved_107>{reply}</s>",),
        pack=_pack_baichuan2,
        binary=True,
        shards=1,
    ),
    "published_chatglm": Recipe(
        config={
            "model_type": "chatglm",
            "architectures": ["ChatGLMModel"],
            "auto_map": {"AutoConfig": "configuration_chatglm.ChatGLMConfig"},
            "add_bias_linear": False,
            "add_qkv_bias": True,
            "apply_residual_connection_post_layernorm": False,
            "ffn_hidden_size": INNER,
            "hidden_size": HIDDEN,
            "kv_channels": HIDDEN // HEADS,
            "layernorm_epsilon": 1e-5,
            "multi_query_attention": True,
            "multi_query_group_num": KEY_HEADS,
            "num_attention_heads": HEADS,
            "num_layers": LAYERS,
            "original_rope": True,
            "post_layer_norm": True,
            "rmsnorm": True,
            "seq_length": 8192,
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
        },
        size_key="padded_vocab_size",
        pieces=(),
        dummy_prefix=True,
        chat=lambda question, reply: (f"<|user|>\n {question}<|assistant|>\n", reply, "<|user|>"),
        pack=_pack_chatglm3,
        binary=True,
        shards=2,
    ),
}


# -- GPT-OSS ---------------------------------------------------------------------------------------------------------


def _write_gpt_oss(folder: Path, seed: int) -> None:
    """Write the tiny GPT-OSS, experts in MXFP4, the rest in bfloat16."""
    import torch

    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "plain"
        line = (sys.executable, "-m", "bakeoff.tiny", "gpt_oss", str(plain), "--seed", str(seed))
        subprocess.run(line, check=True, capture_output=True)
        shards = Shards(plain)
        config = json.loads((plain / "config.json").read_text(encoding="utf-8"))
        config |= {"tie_word_embeddings": False, "dtype": "bfloat16"}
        config["quantization_config"] = {
            "quant_method": "mxfp4",
            "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"],
        }
        tensors: Tensors = {}
        for name, _ in layout(config):
            if name.endswith(PACKED):
                packed, _, part = name.rpartition("_")
                blocks, scales = mxfp4.pack(shards.read(packed))
                tensors[name] = blocks if part == "blocks" else scales
            else:
                source = name if name in shards else "model.embed_tokens.weight"
                tensors[name] = shards.read(source).to(torch.bfloat16)
        for file in plain.iterdir():
            if file.suffix != ".safetensors" and file.name != "config.json":
                shutil.copyfile(file, folder / file.name)
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    names = sorted(tensors)
    index: dict[str, str] = {}
    for number in range(2):
        file_name = f"model-{number + 1:05d}-of-00002.safetensors"
        write_shard({name: tensors[name] for name in names[number::2]}, folder / file_name)
        index |= dict.fromkeys(names[number::2], file_name)
    document = {"metadata": {}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(document), encoding="utf-8")


def main() -> None:
    """Write a tiny model in a published form."""
    parser = argparse.ArgumentParser(prog="python -m bakeoff.forms.tiny_published", description=main.__doc__)
    parser.add_argument("recipe", choices=sorted(TINY))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(build(arguments.recipe, arguments.folder, arguments.seed))


if __name__ == "__main__":
    main()
