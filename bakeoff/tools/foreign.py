"""What a model's folder would run, or decide, by files that nobody read.

Every function only reads. What cannot be read is refused, too: another program might read it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from bakeoff.matrix.schema import PLUGINS
from bakeoff.probes.loading import PLUGIN_FLAGS

MOST_BYTES = 64 * 2**20
_CONFIGS = (
    "config.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "generation_config.json",
    "adapter_config.json",
)
_IMPLEMENTATION = re.compile(r"_?(attn|experts)_implementation(_internal)?")
"""Where transformers takes "owner/name" for code to fetch from a hub."""
_LIBRARIES = ("transformers", "peft", "torch")


class Named(NamedTuple):
    """A file of a folder, and what in it names code."""

    file: str
    by: str


def own_code(folder: Path) -> Named | None:
    """Return what in *folder* makes a loader run code of the model's own.

    None where the libraries' own code is meant.
    """
    if (folder / "custom_generate" / "generate.py").exists():
        return Named("custom_generate/generate.py", "custom_generate")
    for name in _CONFIGS:
        if not (folder / name).exists():
            continue
        content = _json(folder / name)
        if content is None:
            return Named(name, "it is no JSON that can be read")
        for key, value in _entries(content):
            if why := _names_code(key, value):
                return Named(name, why)
    return None


def own_plugin(folder: Path) -> str:
    """Return a Python file that ``args.json`` names and that is none of ours.

    ms-swift would import it; empty for none. Its trainings leave ``args.json`` beside their checkpoints and merges.
    """
    arguments = _arguments(folder)
    ours = {path.name for path in PLUGINS.glob("*.py")}  # the row's own line brings these
    for flag in PLUGIN_FLAGS:
        named = arguments.get(flag) or []
        for file in named if isinstance(named, list) else [named]:
            if not isinstance(file, str) or Path(file).name not in ours:
                return str(file)[:200]
    return ""


def own_settings(folder: Path) -> str:
    """Return a setting in ``args.json`` that changes how the model is loaded.

    Another task, for example, or the name of a file to read. Empty where there is none; how prompts are rendered does
    not count.
    """
    arguments = _arguments(folder)
    for name, is_harmless in _SETTINGS.items():
        value = arguments.get(name)
        if value is not None and not is_harmless(value):
            return f"'{name}' is {str(value)[:120]!r}"
    return ""


def path_in_index(folder: Path) -> str:
    """Return the first name in an index of shards that leaves *folder*."""
    for index in sorted(folder.glob("*.index.json")):
        content = _json(index)
        shards = content.get("weight_map") if isinstance(content, Mapping) else None
        for shard in shards.values() if isinstance(shards, Mapping) else ():
            if not isinstance(shard, str) or Path(shard).name != shard:
                return f"{index.name}: {str(shard)[:200]!r}"
    return ""


def is_plain_text(value: object) -> bool:
    """Whether ms-swift takes *value* as it is; a name in .txt it reads."""
    return isinstance(value, str) and not value.endswith(".txt")


def is_name(value: object) -> bool:
    """Whether *value* can name something built in, and no file or place."""
    return isinstance(value, str) and bool(re.fullmatch(r"[\w.+,-]{0,200}", value))


def _is_empty(value: object) -> bool:
    return value in ([], {}, "")


_SETTINGS: Mapping[str, Callable[[object], bool]] = {
    "system": is_plain_text,
    "response_prefix": is_plain_text,
    "task_type": lambda value: value == "causal_lm",
    **dict.fromkeys(("tuner_type", "train_type", "attn_impl", "experts_impl", "torch_dtype"), is_name),
    **dict.fromkeys(
        ("new_special_tokens", "num_labels", "problem_type", "rope_scaling", "max_model_len"), _is_empty
    ),
    **dict.fromkeys(("quant_method", "quant_bits", "hqq_axis"), _is_empty),
}
"""What ms-swift takes from ``args.json`` where a line does not say it, and which values change nothing."""


def _arguments(folder: Path) -> Mapping[str, object]:
    content = _json(folder / "args.json")
    return content if isinstance(content, dict) else {}


def _json(path: Path) -> object:
    """The content of a file; None where there is none that can be read."""
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:  # a pipe or a device would not end
            return None
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content


def _entries(content: object) -> Iterator[tuple[str, object]]:
    """All keys and values of *content*, at any depth."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _names_code(key: str, value: object) -> str:
    """Return what in an entry of a configuration names code; else empty."""
    if key == "auto_map" and value:
        return key
    if _IMPLEMENTATION.fullmatch(key):
        chosen = value.values() if isinstance(value, dict) else [value]
        return key if any("/" in str(each) for each in chosen) else ""
    if key == "megatron_core" and value not in (None, "", "megatron.core"):
        return key
    if key == "auto_mapping" and isinstance(value, dict):
        library = str(value.get("parent_library") or "transformers")
        return "" if library.partition(".")[0] in _LIBRARIES else key
    return ""
