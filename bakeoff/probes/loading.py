"""How a row's environment loads models, templates and plugins."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

TEMPLATE_OPTIONS = (
    "system",
    "agent_template",
    "use_chat_template",
    "template_backend",
    "response_prefix",
    "enable_thinking",
    "preserve_thinking",
    "add_non_thinking_prefix",
    "loss_scale",
)
"""What of a training's arguments decides how a dialogue is rendered."""


PLUGIN_FLAGS = ("external_plugins", "custom_register_path")
"""The flag for plugins, and its name before ms-swift 3.1."""

_NOT_STARTED = 3
"""The answer of CUDA's driver before it was started (CUDA_ERROR_NOT_INITIALIZED)."""


def use_hub(use_hf: bool) -> None:
    """Take hub ids from Hugging Face instead of ModelScope."""
    if use_hf:
        os.environ["USE_HF"] = "1"


def import_plugins(files: Iterable[str]) -> None:
    """Import *files* as the modules that ms-swift makes of them."""
    for file in files:
        sys.path.insert(0, str(Path(file).parent))
        import_module(Path(file).stem)


def swift_api() -> tuple[Callable[..., Any], Callable[..., Any], type]:
    """This ms-swift's loader, template maker and deploy arguments."""
    try:
        from swift.arguments import DeployArguments
        from swift.model import get_model_processor
        from swift.template import get_template
    except ImportError:  # before ms-swift 4
        from swift.llm import DeployArguments, get_template
        from swift.llm import get_model_tokenizer as get_model_processor
    return get_model_processor, get_template, DeployArguments


def import_ahead(renders: Iterable[Mapping[str, Any]]) -> None:
    """Import once what the forks of *renders* would import anew.

    On the machine of a card that took each of three forks 15 seconds. A fork may ask for the card only if nothing here
    has done so; torch then looks at the driver's list instead (NVML). No plugin is imported.
    """
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    if any(how["by"] != "tokenizer" for how in renders):
        swift_api()
    assert import_module("transformers").AutoTokenizer


def has_asked_for_card() -> bool:
    """Whether this process has started CUDA, so that no fork of it could."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return int(driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int()))) != _NOT_STARTED


def local_folder(model: str) -> str:
    """The folder of *model*, which may be a hub id that was fetched before."""
    if Path(model).is_dir():
        return model
    try:
        from swift.utils import safe_snapshot_download
    except ImportError:  # before ms-swift 4
        from swift.llm import safe_snapshot_download
    return str(safe_snapshot_download(model))


def training_template(how: Mapping[str, Any]) -> Any:
    """The template with which ms-swift trains.

    See :func:`~bakeoff.probes.rendering.render`.
    """
    load, get_template, _ = swift_api()
    spoken = {"true": True, "false": False}
    options: dict[str, Any] = {
        name: spoken.get(value, value) if isinstance(value, str) else value
        for name, value in (how.get("options") or {}).items()
    }
    # Plugins come from the row's own line alone: a file beside weights must not say what is imported.
    import_plugins(plugin for flag in PLUGIN_FLAGS for plugin in options.get(flag) or ())
    if how.get("args"):
        options |= json.loads(Path(how["args"]).read_text(encoding="utf-8"))
    model_type = options.get("model_type") or how.get("model_type")
    _, processor = load(
        how["model"], load_model=False, model_type=model_type, use_hf=bool(options.get("use_hf")) or None
    )
    parameters = signature(get_template).parameters
    chosen = {
        key: options[key] for key in TEMPLATE_OPTIONS if key in parameters and options.get(key) is not None
    }
    if options.get("system") is not None:
        chosen["default_system"] = options["system"]
    if next(iter(parameters)) == "template_type":  # before ms-swift 4
        return get_template(options.get("template"), processor, **chosen)
    return get_template(processor, template_type=options.get("template"), **chosen)


def tokenizer_of(template: Any) -> Any:
    """The tokenizer of an ms-swift *template*."""
    return getattr(template, "tokenizer", None) or template.processor
