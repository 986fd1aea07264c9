"""Compute with a native form, one layer in memory at a time.

transformers' own model does the work; only its weights are read when a layer needs them, and dropped behind it. A model
of any size fits into the memory of one layer, the head in slices, and what is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakeoff.forms.shards import Shards

if TYPE_CHECKING:
    import torch

ROWS = 8_192
"""Rows of a head that are computed with at a time."""


def in_slices(rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the *rows* of a large matrix in slices."""
    yield from rows.split(ROWS)


class Streamed:
    """The native form in a folder as transformers computes it.

    Args:
        native: the folder.
        dtype: what is computed in.
        layers: how many of the first layers; None: all.
    """

    def __init__(self, native: Path, dtype: torch.dtype, layers: int | None = None) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        self.native, self.dtype = native, dtype
        self.config: Any = AutoConfig.from_pretrained(native)
        self.config.num_hidden_layers = layers or self.config.num_hidden_layers
        with torch.device("meta"):  # names and shapes alone
            whole = AutoModelForCausalLM.from_config(self.config, attn_implementation=self._attention())
        self._decoder: Any = whole.model.eval()
        self._decoder.rotary_emb = type(self._decoder.rotary_emb)(self.config)  # computed, never stored
        self._load(self._decoder.norm, "model.norm.")
        for number, layer in enumerate(self._decoder.layers):
            layer.register_forward_pre_hook(partial(self._arrive, prefix=f"model.layers.{number}."))
            layer.register_forward_hook(_leave)

    def hidden(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the last hidden states of a batch of token *ids*."""
        embedded = self._shards().read("model.embed_tokens.weight")[ids].to(self.dtype)
        states: torch.Tensor = self._decoder(inputs_embeds=embedded, use_cache=False).last_hidden_state
        return states

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits of *hidden* states, the head read in slices."""
        import torch

        head = self._shards().read("lm_head.weight")
        return torch.cat([hidden @ rows.to(self.dtype).T for rows in in_slices(head)], dim=-1)

    def _attention(self) -> str:
        return "eager" if self.config.model_type == "gpt_oss" else "sdpa"  # sdpa has no sinks

    def _shards(self) -> Shards:
        return Shards(self.native)  # of its own: pages that were read leave the memory with it

    def _load(self, module: torch.nn.Module, prefix: str) -> None:
        shards = self._shards()
        weights = {name: shards.read(prefix + name).to(self.dtype, copy=True) for name in module.state_dict()}
        module.load_state_dict(weights, assign=True)

    def _arrive(self, layer: torch.nn.Module, inputs: object, *, prefix: str) -> None:
        self._load(layer, prefix)


def _leave(layer: torch.nn.Module, inputs: object, output: object) -> None:
    layer.to("meta")
