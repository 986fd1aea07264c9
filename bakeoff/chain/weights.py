"""Weights that somebody else made: what is taken, what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from bakeoff.foundation.errors import DataError
from bakeoff.foundation.provenance import TENSORS, WEIGHTS, ContentHashes
from bakeoff.foundation.sentences import Template
from bakeoff.matrix.schema import ModelSpec
from bakeoff.tools import checkpoints, foreign

OTHER_BASE = Template(
    "chain.weights.other_base",
    "the adapter says that it was trained on {named}, and this row's base is {base}",
    zh="适配器记录的训练基座是 {named}，而此处的基座是 {base}",
    en="the adapter was trained on {named}, but this row's base is {base}",
)

OTHER_SETTING = Template(
    "chain.weights.other_setting",
    "{file} of the weights says {name} {value}, and the base's {base}: replies differ by that, too",
    zh="权重的 {file} 中 {name} 为 {value}，而基座为 {base}：回复的差异也可能来自这一设置",
    en="{file} of the weights sets {name} to {value}, but the base's to {base}: replies may differ for that, too",
)

_SETTINGS = {
    "generation_config.json": (
        *(
            "repetition_penalty",
            "no_repeat_ngram_size",
            "suppress_tokens",
            "begin_suppress_tokens",
            "bad_words_ids",
        ),
        *("sequence_bias", "exponential_decay_length_penalty", "length_penalty", "num_beams", "min_length"),
        *("min_new_tokens", "forced_bos_token_id", "forced_eos_token_id", "eos_token_id"),
    ),
    "config.json": (
        *(
            "rope_theta",
            "rope_scaling",
            "rope_parameters",
            "rms_norm_eps",
            "layer_norm_eps",
            "layer_norm_epsilon",
        ),
        *("hidden_act", "sliding_window", "use_sliding_window", "num_attention_heads", "num_key_value_heads"),
        *("num_experts_per_tok", "attention_bias", "logit_scale", "final_logit_softcapping"),
    ),
}
"""What decides a reply beside the weights, and which no training changes."""
_DEFAULTS: Mapping[str, object] = {
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "length_penalty": 1.0,
    "num_beams": 1,
    "min_length": 0,
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "sequence_bias")),
    **dict.fromkeys(("exponential_decay_length_penalty", "min_new_tokens", "forced_bos_token_id")),
    "forced_eos_token_id": None,
}


def content_of(path: str, spec: ModelSpec, hashes: ContentHashes) -> str:
    """Return the digest of the model at *path*, or its name on a hub.

    Raises:
        DataError: the folder holds no model, or one with Python code of its own that the row does not trust.
    """
    folder = Path(path)
    if not folder.is_dir():
        return f"hub:{path}"
    if not spec.trust_remote_code and (code := foreign.own_code(folder)):
        raise DataError(
            f"{spec.name}: {folder / code.file} names Python code of the model's own ({code.by}), which runs only "
            "for rows that say 'trust_remote_code: true'; say so if you trust it, or remove it where the installed "
            "transformers knows the model"
        )
    if stray := foreign.path_in_index(folder):
        raise DataError(
            f"{spec.name}: {folder / stray} is no file of this folder; mend the index of the shards"
        )
    try:
        return hashes.of(folder, WEIGHTS)
    except FileNotFoundError:
        raise DataError(
            f"{spec.name}: {folder} holds no model; it needs config.json and *.safetensors"
        ) from None


def refuse_plugins(folder: Path, spec: ModelSpec) -> None:
    """Refuse an ``args.json`` that names Python files or settings.

    Files that somebody else's *folder* names are never imported, and only how prompts are rendered is taken from it.

    Raises:
        DataError: it names one, and the row does not trust the folder's code.
    """
    if spec.trust_remote_code:
        return
    if setting := foreign.own_settings(folder):
        raise DataError(
            f"{spec.name}: {folder / 'args.json'}: {setting}, and ms-swift would load the model by it; a file beside "
            "weights decides nothing here. Say it in 'training.extra' and 'serving.extra' where you want it, and "
            "remove it from args.json"
        )
    if file := foreign.own_plugin(folder):
        raise DataError(
            f"{spec.name}: {folder / 'args.json'} names a Python file that its training imported ({file!r}); "
            "a file beside weights decides nothing here. If the prompts depend on it, name a copy that you trust "
            "in 'training.extra' and 'serving.extra' (external_plugins), and remove it from args.json"
        )


def refuse_adapter(folder: Path, base: Path, spec: ModelSpec) -> None:
    """Raise DataError where an adapter is cut short or misfits *base*."""
    if problem := checkpoints.why_truncated(folder / "adapter_model.safetensors"):
        raise DataError(f"{spec.name}.adapter: {folder}: {problem}; point 'adapter' at a checkpoint folder")
    refuse_plugins(folder, spec)
    if base.is_dir() and (problem := checkpoints.why_other_base(folder, base)):
        raise DataError(f"{spec.name}.adapter: {folder}: {problem}")


def why_doubtful_base(adapter: Path, base: str, hashes: ContentHashes) -> str:
    """Return why *adapter* may be of another base, or nothing."""
    trained_on = checkpoints.trained_on(adapter)
    if not trained_on or trained_on == base:
        return ""
    if Path(trained_on).is_dir() and Path(base).is_dir():
        same = hashes.each(Path(trained_on), TENSORS) == hashes.each(Path(base), TENSORS)
    else:  # a cache of a hub, or another machine, has the model's name somewhere in its place
        same = _name_in(trained_on) == _name_in(base)
    return "" if same else OTHER_BASE(named=trained_on, base=base)


def other_settings(weights: Path, base: Path) -> list[str]:
    """Return which settings beside *weights* are not the *base*'s.

    What one of the two does not say of a reply is at its default; what it does not say of the model is not compared.
    """
    words: list[str] = []
    for file, names in _SETTINGS.items():
        ours, theirs = (_object_in(folder / file) for folder in (weights, base))
        for name in names:
            value, before = (side.get(name, _DEFAULTS.get(name)) for side in (ours, theirs))
            if (name not in _DEFAULTS and (value is None or before is None)) or _comparable(
                value
            ) == _comparable(before):
                continue
            words.append(OTHER_SETTING(file=file, name=name, value=str(value)[:80], base=str(before)[:80]))
    return words


def _comparable(value: object) -> object:
    if isinstance(value, Mapping):  # newer versions of transformers write more of a mapping
        return {name: value[name] for name in ("rope_theta", "rope_type", "factor") if name in value}
    if isinstance(value, int | float):
        return [str(float(value))]
    return sorted(str(item) for item in value) if isinstance(value, list) else [str(value)]


def _object_in(path: Path) -> Mapping[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


_NO_NAME = re.compile(r"output|snapshots?|models?|master|main|[0-9a-f]{40}|last-checkpoint|checkpoint-\d+")


def _name_in(place: str) -> str:
    """Return the name that *place* gives a model, however spelt.

    *place* is a hub id or a folder of a hub's cache.
    """
    parts = place.lower().replace("--", "/").replace("___", ".").split("/")
    return next((part for part in reversed(parts) if part and not _NO_NAME.fullmatch(part)), "")
