"""Serving commands by engine.

``swift deploy``, or the engine's own server on merged weights.

``swift deploy`` cannot drive a current lmdeploy (it imports names that lmdeploy dropped in 0.12), and lmdeploy
behind it silently serves the base when it is given an adapter; so the engines for GPUs are started themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bakeoff.foundation.command import Command, flags
from bakeoff.matrix.schema import ModelSpec
from bakeoff.matrix.settings import LOADS_ADAPTERS
from bakeoff.tools import swift

__all__ = ["LOADS_ADAPTERS", "SERVERS", "serve", "with_adapters"]


def serve(
    spec: ModelSpec,
    *,
    model: str,
    served_name: str,
    port: int,
    adapter: Path | None = None,
    python: str = "python",
    version: str = swift.NEWEST,
) -> Command:
    """Return the line that serves *model* on a port of this machine.

    With *adapter* it is way A; the URL is ``http://127.0.0.1:<port>/v1``.
    """
    if spec.serving.engine == "transformers":
        return swift.deploy(
            spec,
            model=model,
            served_name=served_name,
            port=port,
            adapter=adapter,
            python=python,
            version=version,
        )
    server = SERVERS[spec.serving.engine]
    line = (server.module, *server.arguments(spec, model, served_name, port, adapter))
    argv = (python, "-m", *(_with_fronts(line) if FRONTS in spec.serving.extra else line))
    trust = ("--trust-remote-code",) if spec.trust_remote_code else ()
    return Command(
        (*argv, *trust, *_invariance_flags(spec), *_switches(spec.serving.extra)),
        ({"CUDA_VISIBLE_DEVICES": spec.visible} if spec.visible else {}) | _invariance_env(spec),
    )


FRONTS = "api-server-count"
"""vLLM's flag for several processes that read and write for one engine."""
FRONT = "vllm.entrypoints.cli.main"
"""The module that starts these."""


def _with_fronts(line: tuple[str, ...]) -> tuple[str, ...]:
    """Return vLLM's *line* for several front ends.

    Only ``vllm serve`` starts these.
    """
    _, _, model, *rest = line
    return (FRONT, "serve", model, *rest)


def with_adapters(line: Command, adapters: Mapping[str, Path]) -> Command:
    """Return a *line* that serves an adapter, with further ones beside it.

    Args:
        line: of a shared service.
        adapters: folders by the names under which they answer.
    """
    if not adapters:
        return line
    vllm = "--lora-modules" in line.argv
    at = line.argv.index("--lora-modules" if vllm else "--adapters") + 2
    named = tuple(f"{name}={folder}" for name, folder in adapters.items())
    # One adapter computes at a time, as in a service of its own; the others wait in memory.
    waiting = ("--max-cpu-loras", str(1 + len(adapters))) if vllm else ()
    return replace(line, argv=(*line.argv[:at], *named, *waiting, *line.argv[at:]))


def _invariance_flags(spec: ModelSpec) -> tuple[str, ...]:
    """Return what frees SGLang's replies from the batch around them."""
    applies = spec.serving.deterministic and spec.serving.engine == "sglang"
    return ("--enable-deterministic-inference",) if applies else ()


def _invariance_env(spec: ModelSpec) -> dict[str, str]:
    """The same for vLLM, which reads it from the environment."""
    applies = spec.serving.deterministic and spec.serving.engine == "vllm"
    return {"VLLM_BATCH_INVARIANT": "1"} if applies else {}


def _switches(extra: Mapping[str, object]) -> tuple[str, ...]:
    """Return *extra* as flags: true is a bare switch, false none."""
    argv: tuple[str, ...] = ()
    for name, value in extra.items():
        argv += (f"--{name}",) if value is True else () if value is False else flags({name: value})
    return argv


def _lmdeploy(spec: ModelSpec, model: str, name: str, port: int, adapter: Path | None) -> tuple[str, ...]:
    s = spec.serving
    options: dict[str, object] = {
        "model-name": name,
        "server-name": "127.0.0.1",
        "server-port": port,
        "dtype": spec.training.dtype,
        "tp": s.tensor_parallel,
        "session-len": s.session_len,
        "max-batch-size": s.max_batch_size,
        "cache-max-entry-count": s.memory_share,
        "logprobs-mode": "raw_logprobs",  # else it refuses to tell them, and with them who answers
    }
    return ("serve", "api_server", model, *flags(options))


def _vllm(spec: ModelSpec, model: str, name: str, port: int, adapter: Path | None) -> tuple[str, ...]:
    s = spec.serving
    base = spec.served_name("base") if s.shared else f"{name}-without-adapter"
    options: dict[str, object] = {
        "model": model,
        "served-model-name": base if adapter else name,
        "host": "127.0.0.1",
        "port": port,
        "dtype": spec.training.dtype,
        "tensor-parallel-size": s.tensor_parallel,
        "max-model-len": s.session_len,
        "max-num-seqs": s.max_batch_size,
        "gpu-memory-utilization": s.memory_share,
    }
    way_a: tuple[str, ...] = ()
    if adapter:
        name = spec.served_name("tuned") if s.shared else name
        rank = ("--max-lora-rank", str(_room_for(_rank(spec, adapter))))
        way_a = (
            "--enable-lora",
            *rank,
            "--lora-modules",
            f"{spec.served_name('tuned') if s.shared else name}={adapter}",
        )
    return (*flags(options), *way_a)


VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for ``--max-lora-rank``; its default is 16."""


def _room_for(rank: int) -> int:
    return next((room for room in VLLM_RANKS if room >= rank), rank)


def _rank(spec: ModelSpec, adapter: Path) -> int:
    """Return the largest rank in *adapter*.

    Of one that exists already from its file, else that of the training.
    """
    config = adapter / "adapter_config.json"
    if not spec.adapter or not config.is_file():
        return spec.training.lora_rank
    content = json.loads(config.read_text(encoding="utf-8"))
    return max(int(content["r"]), *(int(rank) for rank in (content.get("rank_pattern") or {}).values()), 0)


def _sglang(spec: ModelSpec, model: str, name: str, port: int, adapter: Path | None) -> tuple[str, ...]:
    s = spec.serving
    options: dict[str, object] = {
        "model-path": model,
        "served-model-name": name,
        "host": "127.0.0.1",
        "port": port,
        "dtype": spec.training.dtype,
        "tp-size": s.tensor_parallel,
        "context-length": s.session_len,
        "max-running-requests": s.max_batch_size,
        "mem-fraction-static": s.memory_share,
    }
    return flags(options)


class Server(NamedTuple):
    """An engine's own server: the module that starts it, and the arguments that follow."""

    module: str
    arguments: Callable[[ModelSpec, str, str, int, Path | None], tuple[str, ...]]


SERVERS = {
    "lmdeploy": Server("lmdeploy", _lmdeploy),
    "vllm": Server("vllm.entrypoints.openai.api_server", _vllm),
    "sglang": Server("sglang.launch_server", _sglang),
}
"""The engines beside ms-swift's own, by the name of their package."""
