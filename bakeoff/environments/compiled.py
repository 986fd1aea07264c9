"""Where engines keep what they compile: in the store, by version.

An engine that starts for the first time compiles its model (vLLM: about a minute for one of 7B); the next start reads
the result. By default it lies in the home folder, which a container or a rented machine loses, and vLLM makes the
model's folder part of the name under which it looks, so that base and merge of one row, and each further recipe,
compile the same again. What is compiled depends on the architecture (its ``config.json`` is part of that name, too),
on flags and versions, and on no weight.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bakeoff.foundation.command import Command

VARIABLES: Mapping[str, Mapping[str, str]] = {
    "vllm": {"VLLM_CACHE_ROOT": "vllm", "TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor"},
    "lmdeploy": {"TRITON_CACHE_DIR": "triton"},
    "sglang": {"TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor"},
}
"""Engine -> the variables that say where it keeps what it compiled, and the folder for each."""
_BY_PATH = ("vllm",)
"""Engines that look by the model's path, as it is written."""


def with_caches(
    command: Command, engine: str, folder: Path, environ: Mapping[str, str] | None = None
) -> Command:
    """Return the line of an *engine* that keeps in *folder* what it compiles.

    For vLLM it also names the model from the folder around it, so that models of one architecture find what one of
    them has compiled.

    Args:
        folder: of the engine's version.
        environ: what somebody has set there, or in the row's environment, stays.
    """
    environ = os.environ if environ is None else environ
    chosen = {
        name: str(folder / part)
        for name, part in VARIABLES.get(engine, {}).items()
        if name not in command.env and not environ.get(name)
    }
    command = replace(command, env={**command.env, **chosen})
    model = _model_of(command)
    if engine not in _BY_PATH or command.cwd or not model or not model.is_absolute() or not model.is_dir():
        return command
    argv = tuple(model.name if part == str(model) else part for part in command.argv)
    return replace(command, argv=argv, cwd=model.parent)


def _model_of(command: Command) -> Path | None:
    """Return what the line loads: after ``--model``, or ``serve``."""
    named = command.value_of("--model") or command.value_of("serve")
    return Path(named) if named else None
