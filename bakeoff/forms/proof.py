"""What is computed with a native form before it is used.

The same logits as by hand, and words that make sense.

How much is computed follows from its cost, and is part of what is recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from bakeoff.forms import reference
from bakeoff.forms.conversion import family_of, sha256
from bakeoff.forms.streaming import Streamed
from bakeoff.foundation.errors import DataError

SMALL_BYTES = 200_000_000
"""Up to this size all layers are computed by hand; of a larger model the first two."""
LARGE_BYTES = 24_000_000_000
"""A model beyond this is not asked to speak on a CPU."""
TEXTS = (
    "我最近总是睡不好，一躺下就开始担心工作上的事情。朋友劝我去看心理咨询师，可是我一直没有下定决心。",
    "The capital of France is Paris, and the capital of Italy is Rome. Both cities are visited by millions of people.",
    "一年有十二个月，一个星期有七天，一天有二十四个小时。春天之后是夏天，夏天之后是秋天。",
)
"""Plain sentences that any trained model finds easy."""
FAR_BELOW = 0.5
"""Share of the loss of guessing that the mean loss per token of trained weights stays under, with a wide margin."""


def prove(
    source: Path, native: Path, progress: Callable[[str], None] = lambda message: None
) -> dict[str, object]:
    """Return what was computed with *native*, and what came out.

    It is the copy of the published *source*.

    Raises:
        DataError: the copy computes something else, or the weights of a release do not speak.
    """
    size = sum(file.stat().st_size for file in native.glob("*.safetensors"))
    progress("computing the first tokens by hand and with the native form")
    forward = _forward(source, native, size)
    progress("letting the native form read plain sentences")
    return {"forward": forward, "speech": _speech(source, native, size)}


def _forward(source: Path, native: Path, size: int) -> dict[str, object]:
    family = family_of(source)
    if family is None or family.model_type not in reference.BY_HAND:
        return {"not_run": "every number was compared when it was packed again"}
    layers = None if size <= SMALL_BYTES else 2
    difference = reference.largest_difference(source, native, layers=layers)
    if not difference <= reference.TOLERANCE:
        raise DataError(
            f"{source}: its native form computes other logits than the original ({difference:.2g} apart, at most "
            f"{reference.TOLERANCE:g} are allowed); the conversion is not right for this model"
        )
    return {"positions": reference.POSITIONS, "layers": layers or "all", "largest_difference": difference}


def _speech(source: Path, native: Path, size: int) -> dict[str, object]:
    if not (native / "tokenizer.json").is_file():
        return {"not_run": "no tokenizer.json"}
    if size > LARGE_BYTES:
        return {"not_run": f"{size / 1e9:.0f} GB of weights on a CPU"}
    loss, chance = _mean_loss(native)
    family = family_of(source)
    tokenizer = source / "tokenizer.model"
    released = bool(
        family
        and family.release_tokenizer
        and tokenizer.is_file()
        and sha256(tokenizer) == family.release_tokenizer
    )
    if released and not loss <= FAR_BELOW * chance:
        raise DataError(
            f"{source}: its weights do not speak: a mean loss of {loss:.2f} per token of plain text, where guessing "
            f"has {chance:.2f}; the weights are not those of the release, or were damaged: download them again"
        )
    return {"loss": round(loss, 4), "chance": round(chance, 4), "required": released}


def _mean_loss(native: Path) -> tuple[float, float]:
    """Return the mean loss per token of :data:`TEXTS`, and that of guessing."""
    import torch
    from torch.nn import functional
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(native)
    texts = [torch.tensor(tokenizer.encode(text)) for text in TEXTS]
    model = Streamed(native, torch.bfloat16)
    with torch.inference_mode():
        # tokens after the end of a text change nothing before it
        hidden = model.hidden(torch.nn.utils.rnn.pad_sequence(texts, batch_first=True))
        losses = [
            functional.cross_entropy(model.logits(states[: len(ids) - 1]).float(), ids[1:], reduction="sum")
            for states, ids in zip(hidden, texts, strict=True)
        ]
    tokens = sum(len(ids) - 1 for ids in texts)
    return float(sum(losses)) / tokens, math.log(model.config.vocab_size)
