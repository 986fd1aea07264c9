"""Compute a published model by hand and compare.

From its original tensors, with transformers on the native form.

Nothing here shares code with the conversion: layouts, rotary positions and norms are written out again from the models'
published descriptions, in float32 with angles in float64. A check that is shorter than about 2,000 positions cannot see
a wrong rope, since its slow frequencies have hardly turned by then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.forms.shards import Shards
from bakeoff.forms.streaming import Streamed, in_slices

if TYPE_CHECKING:
    import torch

POSITIONS = 2_100
TOLERANCE = 1e-3
"""Largest difference of float32 logits; a wrong rope, cut or order gives at least ten times as much."""
COMPARED = 64
"""Positions at either end whose logits are compared; all the others are attended to."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a model that the forward pass needs."""

    layers: int
    heads: int
    key_heads: int
    head: int
    epsilon: float


Turn = Callable[["torch.Tensor"], "torch.Tensor"]


def largest_difference(source: Path, native: Path, *, layers: int | None = None, seed: int = 0) -> float:
    """Return the largest difference of logits from the original's.

    The original is computed by hand, the native form by transformers.

    Args:
        source: the published folder.
        native: its converted copy.
        layers: how many of the first layers are computed; None: all. Two are enough to see a wrong layout or rope, and
            cost seconds on a CPU at full width.
        seed: of the drawn token ids.
    """
    import torch

    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    generator = torch.Generator().manual_seed(seed)
    size = config.get("padded_vocab_size", config.get("vocab_size"))
    ids = torch.randint(size, (1, POSITIONS), generator=generator)
    with torch.inference_mode():
        by_hand = _logits(config, source, ids[0], layers)
        by_transformers = _native_logits(native, ids, layers)
    return float((by_hand - by_transformers).abs().max())


def _ends(hidden: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.cat([hidden[:COMPARED], hidden[-COMPARED:]])


def _native_logits(native: Path, ids: torch.Tensor, layers: int | None) -> torch.Tensor:
    import torch

    model = Streamed(native, torch.float32, layers)
    return model.logits(_ends(model.hidden(ids)[0]))


def _logits(
    config: Mapping[str, object], source: Path, ids: torch.Tensor, layers: int | None
) -> torch.Tensor:
    import torch

    model = _MODELS[str(config["model_type"])](config, source)
    shape = model.shape
    hidden = model.embedding(ids)
    for number in range(layers or shape.layers):
        part = model.layer(number)
        hidden = hidden + _attention(_norm(hidden, part["before"], shape.epsilon), part, shape, model.turn)
        inner = _norm(hidden, part["after"], shape.epsilon)
        gate, up = inner @ part["gate"].T, inner @ part["up"].T
        hidden = hidden + (gate * gate.sigmoid() * up) @ part["down"].T
        del part  # before the next layer comes
    last = _norm(_ends(hidden), model.final(), shape.epsilon)
    return torch.cat([last @ rows.T for rows in model.head()], dim=-1)


def _norm(hidden: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    return hidden * (hidden.square().mean(-1, keepdim=True) + epsilon).rsqrt() * weight


def _attention(
    hidden: torch.Tensor, part: Mapping[str, torch.Tensor], shape: Shape, turn: Turn
) -> torch.Tensor:
    """Attend causally, a head at a time, to save memory.

    Only one matrix of scores is in memory.
    """
    import torch

    bias = {name: part.get(f"{name} bias", torch.zeros(())) for name in "qkv"}
    q, k, v = ((hidden @ part[name].T + bias[name]).view(len(hidden), -1, shape.head) for name in "qkv")
    later = torch.ones(len(hidden), len(hidden), dtype=torch.bool).triu(1)
    keys = [turn(k[:, head]) for head in range(shape.key_heads)]
    outputs = []
    for head in range(shape.heads):
        key_head = head // (shape.heads // shape.key_heads)
        scores = turn(q[:, head]) @ keys[key_head].T / shape.head**0.5
        outputs.append(scores.masked_fill(later, float("-inf")).softmax(-1) @ v[:, key_head])
    return torch.cat(outputs, dim=-1) @ part["o"].T


def _angles(positions: int, dimensions: int, base: float) -> torch.Tensor:
    """Return the angle of each position and pair.

    position x base^(-2i / dimensions).
    """
    import torch

    pairs = torch.arange(0, dimensions, 2, dtype=torch.float64)
    return torch.arange(positions, dtype=torch.float64)[:, None] * base ** (-pairs / dimensions)


class _Original:
    """The tensors of a published folder, in float32.

    Each is read from a file that is opened for it, so that its pages leave the memory with it.
    """

    EMBEDDING: str
    HEAD: str
    NORM: str

    def __init__(self, source: Path) -> None:
        self.source = source

    def stored(self, name: str) -> torch.Tensor:
        return Shards(self.source).read(name)

    def read(self, name: str) -> torch.Tensor:
        return self.stored(name).float()

    def embedding(self, ids: torch.Tensor) -> torch.Tensor:
        return self.stored(self.EMBEDDING)[ids].float()

    def head(self) -> Iterator[torch.Tensor]:
        """Yield the rows of the head in slices."""
        for rows in in_slices(self.stored(self.HEAD)):
            yield rows.float()

    def final(self) -> torch.Tensor:
        return self.read(self.NORM)


class _ByHalves(_Original):
    """Pairs lie half a head apart (InternLM2, Baichuan2)."""

    NORM = "model.norm.weight"

    def __init__(self, source: Path, base: float) -> None:
        super().__init__(source)
        self.base = base

    def turn(self, head: torch.Tensor) -> torch.Tensor:
        import torch

        angles = _angles(len(head), head.shape[1], self.base)
        cos, sin = angles.cos().float(), angles.sin().float()
        first, second = head.chunk(2, dim=1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=1)


class _InternLM2(_ByHalves):
    EMBEDDING, HEAD = "model.tok_embeddings.weight", "output.weight"

    def __init__(self, config: Mapping[str, object], source: Path) -> None:
        super().__init__(source, float(str(config["rope_theta"])))
        numbers = {name: value for name, value in config.items() if isinstance(value, int)}
        heads, hidden = numbers["num_attention_heads"], numbers["hidden_size"]
        self.shape = Shape(
            numbers["num_hidden_layers"],
            heads,
            numbers["num_key_value_heads"],
            hidden // heads,
            float(str(config["rms_norm_eps"])),
        )

    def layer(self, number: int) -> Mapping[str, torch.Tensor]:
        import torch

        def part(name: str) -> torch.Tensor:
            return self.read(f"model.layers.{number}.{name}.weight")

        rows = part("attention.wqkv").split(self.shape.head)
        each = self.shape.heads // self.shape.key_heads + 2
        groups = [rows[at : at + each] for at in range(0, len(rows), each)]
        return {
            "q": torch.cat([row for group in groups for row in group[:-2]]),
            "k": torch.cat([group[-2] for group in groups]),
            "v": torch.cat([group[-1] for group in groups]),
            "o": part("attention.wo"),
            "gate": part("feed_forward.w1"),
            "up": part("feed_forward.w3"),
            "down": part("feed_forward.w2"),
            "before": part("attention_norm"),
            "after": part("ffn_norm"),
        }


class _Baichuan2(_ByHalves):
    EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"

    def __init__(self, config: Mapping[str, object], source: Path) -> None:
        super().__init__(source, 10_000.0)
        heads, hidden = int(str(config["num_attention_heads"])), int(str(config["hidden_size"]))
        layers = int(str(config["num_hidden_layers"]))
        self.shape = Shape(layers, heads, heads, hidden // heads, float(str(config["rms_norm_eps"])))

    def head(self) -> Iterator[torch.Tensor]:
        for rows in in_slices(self.stored(self.HEAD)):
            # the model divides in the type in which its weights are stored
            yield (rows / rows.norm(dim=1, keepdim=True)).float()

    def layer(self, number: int) -> Mapping[str, torch.Tensor]:
        def part(name: str) -> torch.Tensor:
            return self.read(f"model.layers.{number}.{name}.weight")

        packed = part("self_attn.W_pack")
        third = len(packed) // 3
        return {
            "q": packed[:third],
            "k": packed[third : 2 * third],
            "v": packed[2 * third :],
            "o": part("self_attn.o_proj"),
            "gate": part("mlp.gate_proj"),
            "up": part("mlp.up_proj"),
            "down": part("mlp.down_proj"),
            "before": part("input_layernorm"),
            "after": part("post_attention_layernorm"),
        }


class _ChatGLM3(_Original):
    """The first half of a head turns, by neighbours."""

    EMBEDDING, HEAD = "transformer.embedding.word_embeddings.weight", "transformer.output_layer.weight"
    NORM = "transformer.encoder.final_layernorm.weight"

    def __init__(self, config: Mapping[str, object], source: Path) -> None:
        super().__init__(source)
        numbers = {name: value for name, value in config.items() if isinstance(value, int)}
        self.shape = Shape(
            numbers["num_layers"],
            numbers["num_attention_heads"],
            numbers["multi_query_group_num"],
            numbers["kv_channels"],
            float(str(config["layernorm_epsilon"])),
        )

    def turn(self, head: torch.Tensor) -> torch.Tensor:
        half = head.shape[1] // 2
        angles = _angles(len(head), half, 10_000.0)
        cos, sin = angles.cos().float(), angles.sin().float()
        result = head.clone()
        even, odd = head[:, 0:half:2], head[:, 1:half:2]
        result[:, 0:half:2], result[:, 1:half:2] = even * cos - odd * sin, odd * cos + even * sin
        return result

    def layer(self, number: int) -> Mapping[str, torch.Tensor]:
        def part(name: str) -> torch.Tensor:
            return self.read(f"transformer.encoder.layers.{number}.{name}")

        queries = self.shape.heads * self.shape.head
        keys = self.shape.key_heads * self.shape.head
        weight = part("self_attention.query_key_value.weight")
        bias = part("self_attention.query_key_value.bias")
        both = part("mlp.dense_h_to_4h.weight")
        return {
            "q": weight[:queries],
            "k": weight[queries : queries + keys],
            "v": weight[queries + keys :],
            "q bias": bias[:queries],
            "k bias": bias[queries : queries + keys],
            "v bias": bias[queries + keys :],
            "o": part("self_attention.dense.weight"),
            "gate": both[: len(both) // 2],
            "up": both[len(both) // 2 :],
            "down": part("mlp.dense_4h_to_h.weight"),
            "before": part("input_layernorm.weight"),
            "after": part("post_attention_layernorm.weight"),
        }


_MODELS: Mapping[str, Callable[..., _InternLM2 | _Baichuan2 | _ChatGLM3]] = {
    "internlm2": _InternLM2,
    "baichuan": _Baichuan2,
    "chatglm": _ChatGLM3,
}
BY_HAND = frozenset(_MODELS)
"""Model types whose forward pass is written out here."""
