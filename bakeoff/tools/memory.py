"""Device memory: table 8.1, a ladder of batches, an estimate.

The table is the guide's; the ladder leads down from an out-of-memory.

The ladder keeps the effective batch, so that a row that had to step down still trains the same mathematics.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bakeoff.matrix.schema import ModelSpec
from bakeoff.matrix.settings import FLASH_ATTENTION, Training

GIB = 2**30


@dataclass(frozen=True)
class BatchAdvice:
    """A line of the guide's table 8.1."""

    size: str
    batch_size: int
    gradient_accumulation: int

    @property
    def effective_batch(self) -> int:
        """Dialogues per update."""
        return self.batch_size * self.gradient_accumulation


TABLE_8_1 = (
    BatchAdvice("6-7B", 8, 4),
    BatchAdvice("8B", 6, 6),
    BatchAdvice("20B", 1, 16),
    BatchAdvice("short of memory", 1, 32),
)


def ladder(training: Training, *, fused_loss: bool = True) -> Iterator[Training]:
    """Return what to try after an out-of-memory, rung by rung.

    Each has the same effective batch.

    First what does not change the batch: the fused cross-entropy kernel (the logits are never held), then
    recomputation of activations. Then the batch halves and the accumulation doubles: 8 x 4, 4 x 8, 2 x 16, 1 x 32.

    Args:
        fused_loss: whether such a kernel knows the model; none knows code that comes with the weights.
    """
    if fused_loss and not training.fused_loss:
        training = training.model_copy(update={"fused_loss": True})
        yield training
    if not training.gradient_checkpointing:
        training = training.model_copy(update={"gradient_checkpointing": True})
        yield training
    effective = training.effective_batch
    batch = training.batch_size
    while batch > 1:
        batch = next(size for size in range(batch // 2, 0, -1) if effective % size == 0)
        training = training.model_copy(
            update={"batch_size": batch, "gradient_accumulation": effective // batch}
        )
        yield training


def of_each_card(training: Training, cards: int) -> Training:
    """Return *training* as each of several *cards* does it.

    An update still sees as many dialogues.

    ms-swift deals the rows of an update out in turn, so the cards together see those that one card would. Where the
    effective batch cannot be dealt out evenly, the matrix is refused (:mod:`bakeoff.matrix.complaints`).
    """
    if cards == 1:
        return training
    share = max(1, training.effective_batch // cards)
    batch = next(size for size in range(min(training.batch_size, share), 0, -1) if share % size == 0)
    return training.model_copy(update={"batch_size": batch, "gradient_accumulation": share // batch})


@dataclass(frozen=True)
class Shape:
    """What decides how much memory a decoder needs; sizes as in its ``config.json``."""

    parameters: float
    hidden: int
    layers: int
    intermediate: int
    """Width of the feed-forward part that one token passes (all active experts together)."""
    vocabulary: int
    heads: int

    def lora_parameters(self, rank: int) -> float:
        """Return the parameters of a LoRA on all linear layers.

        rank x (in + out) per matrix, seven matrices per layer.
        """
        return self.layers * rank * (8 * self.hidden + 3 * (self.hidden + self.intermediate))


# Published configurations of the guide's models.
_SHAPES = {
    "qwen2.5-7b-instruct": Shape(7.62e9, 3584, 28, 18944, 152064, 28),
    "meta-llama-3.1-8b-instruct": Shape(8.03e9, 4096, 32, 14336, 128256, 32),
    "chatglm3-6b": Shape(6.24e9, 4096, 28, 13696, 65024, 32),
    "internlm2-chat-7b": Shape(7.74e9, 4096, 32, 14336, 92544, 32),
    "baichuan2-7b-chat": Shape(7.51e9, 4096, 32, 11008, 125696, 32),
    "gpt-oss-20b": Shape(20.9e9, 2880, 24, 4 * 2880, 201088, 64),
}


def shape_of(model: str) -> Shape | None:
    """Return the shape of *model*, None where it is unknown.

    A folder's from its ``config.json``, one of the guide's by its name.
    """
    config = Path(model).expanduser() / "config.json"
    if not config.is_file():
        return _SHAPES.get(model.rstrip("/").rsplit("/", 1)[-1].lower())
    try:
        read = json.loads(config.read_text(encoding="utf-8"))
        hidden = int(read["hidden_size"])
        layers = int(read.get("num_hidden_layers") or read["num_layers"])
        wide = int(read.get("intermediate_size") or read["ffn_hidden_size"])
        vocabulary = int(read.get("vocab_size") or read["padded_vocab_size"])
        experts = int(read.get("num_local_experts") or 1)
        active = wide * int(read.get("num_experts_per_tok") or 1)
        heads = int(read["num_attention_heads"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    parameters = 2 * vocabulary * hidden + layers * (4 * hidden**2 + 3 * hidden * wide * experts)
    return Shape(float(parameters), hidden, layers, active, vocabulary, heads)


BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
WHOLE_GIB = 40.0
"""Weights above this lie in parts on the cards of a row that has several: half of a usual card of 80 GB."""
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)b(?![A-Za-z0-9])", re.IGNORECASE)


def is_sharded(spec: ModelSpec) -> bool:
    """Return whether the weights lie in parts on a row's cards.

    While it trains.

    Its ``training.extra`` may say so. Else its size decides, which a folder's ``config.json`` tells, or a hub's name
    ("-32B-"): what a machine holds by chance must not change the line.
    """
    extra = spec.training.extra
    if spec.cards == 1 or spec.on_cpu:
        return False
    if "deepspeed" in extra or "fsdp" in extra:
        return bool(extra.get("fsdp")) or "zero3" in str(extra.get("deepspeed"))
    return parameters_of(spec.model or "") * BYTES[spec.training.dtype] / GIB > WHOLE_GIB


def parameters_of(model: str) -> float:
    """Return how many parameters *model* has; 0 where nothing tells.

    A folder's ``config.json`` does, or the name ("-32B-").
    """
    shape, sizes = shape_of(model), _SIZE.findall(model)
    return shape.parameters if shape else max((float(size) * 1e9 for size in sizes), default=0.0)


def is_parted_by_fsdp(spec: ModelSpec) -> bool:
    """Return whether it is PyTorch's FSDP that shares the weights out.

    No fused loss reads them then: it takes the output layer's part on one card for the whole.
    """
    return is_sharded(spec) and "deepspeed" not in spec.training.extra


def training_gib(shape: Shape, training: Training, cards: int = 1, *, sharded: bool = False) -> float:
    """Return a rough peak of each card's memory while training.

    In GiB, with every dialogue at ``max_length``.

    Several *cards* share the batch (:func:`of_each_card`), and where it is *sharded* the weights: each then holds its
    part and two whole layers, the one at work and the one that comes next.

    Weights, plus LoRA parameters with gradients and Adam's two moments (16 bytes each), plus per token

    - kept activations, in elements: hidden (recomputation) or 8 hidden + 4.7 intermediate (none), per layer; with the
      plugin ``fused_lora``, which keeps no copies of a layer's input, 2.4 intermediate, and with ``fused_blocks``,
      which does not keep SwiGLU's output either, 1.4;
    - one layer's backward: 4 hidden + 4.3 intermediate, after what it keeps without recomputation;
    - without the fused loss, 28 bytes per entry of the vocabulary (logits, their float32 copies and gradients);

    plus, with the plugin ``frozen_fp8``, two rounded copies of each weight of a layer (12.4 GiB more were measured);
    plus, without flash attention, the mask of batch x heads x length^2, plus 1.5 GiB for the runtime. The factors are
    fitted to six runs of Qwen2.5-7B on an H200: measured 134.5, 36.6, 30.1 and 91.4 GiB, with ``fused_lora`` 65.9 and
    50.8; the formula says 132, 34, 30, 94, 66 and 51; with ``fused_blocks`` 54.7 and 64.6 were measured, and it says
    54 and 63. Another architecture may be off by a quarter.
    """
    training = of_each_card(training, cards)
    size = BYTES[training.dtype]
    tokens = training.batch_size * training.row_tokens
    plugins = {*training.plugins}
    of_intermediate = (
        1.4 if "fused_blocks" in plugins else 2.4 if {"fused_lora", "frozen_fp8"} & plugins else 4.7
    )
    saved = 8 * shape.hidden + of_intermediate * shape.intermediate
    backward = 4 * shape.hidden + 4.3 * shape.intermediate
    if training.gradient_checkpointing:
        activations = shape.layers * shape.hidden + saved + backward
    else:
        activations = shape.layers * saved + backward
    weights, adapter = shape.parameters * size, 16 * shape.lora_parameters(training.lora_rank)
    if "frozen_fp8" in training.plugins:
        weights += 2 * (shape.parameters - 2 * shape.hidden * shape.vocabulary)
    if sharded:
        weights, adapter = weights / cards + 2 * weights / shape.layers, adapter / cards
    total = weights + adapter + tokens * activations * size
    if not training.fused_loss:
        total += 28 * tokens * shape.vocabulary
    if training.attention not in FLASH_ATTENTION:
        total += training.batch_size * shape.heads * training.max_length**2 * size
    return total / GIB + 1.5


def serving_gib(shape: Shape, spec: ModelSpec) -> float:
    """Return the least memory of each card that serving needs.

    In GiB: weights, keys and values of one full session.

    Keys and values are counted for all heads, which is an upper bound for grouped-query attention.
    """
    size = BYTES[spec.training.dtype]
    session = (spec.serving.session_len or spec.training.max_length) * shape.layers * 2 * shape.hidden
    return (shape.parameters + session) * size / spec.serving.tensor_parallel / GIB + 1.5


def disk_gib(shape: Shape, spec: ModelSpec, what: str) -> float:
    """Return the disk that the stage *what* writes, in GiB.

    ``base`` stands for the weights to begin with.

    Training keeps checkpoints, each with the LoRA parameters and Adam's two moments in float32 (12 bytes each); the
    export is as large as the base.
    """
    if what == "train":
        return spec.training.save_total_limit * 12 * shape.lora_parameters(spec.training.lora_rank) / GIB
    return shape.parameters * BYTES[spec.training.dtype] / GIB


def room_gib(folder: Path) -> tuple[Path, float]:
    """Return an existing folder for *folder*, and its free GiB.

    *folder* itself, or the nearest one above it that exists.
    """
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    return existing, shutil.disk_usage(existing).free / GIB


def why_short_of_disk(needed_gib: float, folder: Path, what: str) -> str:
    """Return how *folder* lacks room for *what*, with the way out.

    In words; empty where *needed_gib* fit.
    """
    disk, free = room_gib(folder)
    if needed_gib <= free:
        return ""
    return (
        f"{what} will need about {needed_gib:.0f} GiB, and {disk} has {free:.1f} free: `make clean-stale` makes room, "
        "and --store names another disk"
    )
