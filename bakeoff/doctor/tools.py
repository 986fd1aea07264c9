"""Packages, keys and prompts that a row's tools need."""

from __future__ import annotations

from collections.abc import Iterator

from bakeoff.doctor import comparability
from bakeoff.doctor.finding import (
    REMOTE_CODE,
    Finding,
    Visit,
    tracks_in_swanlab,
)

_NO_FLASH = ("chatglm2", "chatglm3", "baichuan", "baichuan2")
_FLASH = {
    "flash_attn": "flash-attn",
    "flash_attention_2": "flash-attn",
    "flash_attention_3": "flash-attn-3",
    "flash_attention_4": "flash-attn-4",
}


def check_remote_code(visit: Visit) -> Iterator[Finding]:
    """Yield which rows' own code does not fit their tools."""
    for row in visit.rows:
        roles = [r for r, w in (("train", row.trains), ("serve", row.serving.engine == "transformers")) if w]
        for role in roles if row.model_type in REMOTE_CODE else ():
            environment = visit.environment(row, role)
            version = environment.version("transformers") if environment else None
            if environment and version and int(version.split(".")[0]) >= 5:
                yield Finding(
                    "error",
                    row.name,
                    f"its remote code was written for transformers 4, and environment {environment.name!r} has "
                    f"{version}: rotary positions become uninitialised memory, mostly without an error",
                    "name an environment with transformers 4.41.2 under 'environment' (docs/environments.md)",
                )
        if row.serving.engine == "lmdeploy" and row.model_type in ("baichuan", "baichuan2"):
            yield Finding(
                "error",
                row.name,
                "lmdeploy no longer serves Baichuan models (since 0.18)",
                "serving: {engine: transformers} (or vllm) for this row",
            )


def check_packages(visit: Visit) -> Iterator[Finding]:
    """Yield which packages rows need and their environments lack."""
    for row in visit.rows:
        training = visit.environment(row, "train")
        requirements: list[tuple[str, str]] = []
        if row.trains and row.training.attention in _FLASH:
            package = _FLASH[row.training.attention]
            if "packed_rows" not in row.training.plugins:  # which lends PyTorch's own
                requirements.append((package, f"attention: sdpa (without packing), or install {package}"))
            if row.model_type in _NO_FLASH:
                yield Finding(
                    "error",
                    row.name,
                    f"the code of {row.model_type} models has no flash attention",
                    "training: {attention: null, packing: false} for this row",
                )
        if row.trains and row.training.fused_loss and row.model_type in REMOTE_CODE:
            yield Finding(
                "error",
                row.name,
                f"no fused loss knows the code of {row.model_type} models",
                "training: {fused_loss: false, batch_size: 4, gradient_accumulation: 8}: the same effective batch",
            )
        elif row.trains and row.training.fused_loss and not row.on_cpu:
            requirements.append(
                ("liger-kernel", "fused_loss: false (four times the memory), or install liger-kernel")
            )
        if training and tracks_in_swanlab(visit, row) and training.version("swanlab") is None:
            yield Finding(
                "warning",
                row.name,
                f"environment {training.name!r} has no swanlab: TensorBoard tracks instead",
                "install swanlab, or say tracker: tensorboard",
            )
        for package, remedy in requirements if training else ():
            if training and training.version(package) is None:
                yield Finding("error", row.name, f"needs {package} in environment {training.name!r}", remedy)
        serving = visit.environment(row, "serve")
        engine = row.serving.engine
        if serving and not row.url and engine != "transformers" and serving.version(engine) is None:
            yield Finding(
                "error",
                row.name,
                f"is served by {engine}, which environment {serving.name!r} does not have",
                f"environment: {{serve: …}} with one that requires {engine}, or serving: {{engine: transformers}}",
            )


def check_tokens(visit: Visit) -> Iterator[Finding]:
    """Yield which keys are not set."""
    for row in visit.rows:
        cloud = tracks_in_swanlab(visit, row) and row.training.tracker_mode == "cloud"
        if cloud and not visit.environ.get("SWANLAB_API_KEY"):
            old = (
                " (SwanLab does not read the guide's SWANLAB_TOKEN)"
                if visit.environ.get("SWANLAB_TOKEN")
                else ""
            )
            yield Finding(
                "warning",
                row.name,
                f"SwanLab's cloud needs SWANLAB_API_KEY{old}; without it nothing is tracked there",
                "put SWANLAB_API_KEY=… into .env, or tracker_mode: local, or tracker: tensorboard",
            )
        if row.key_env and not visit.environ.get(row.key_env):
            yield Finding("error", row.name, f"{row.key_env} is not set", f"put {row.key_env}=… into .env")


def check_prompts(visit: Visit) -> Iterator[Finding]:
    """Yield which prompts change from day to day."""
    for row in visit.rows:
        if comparability.has_dated_prompt(row.template) and not row.prompt_date and not row.url:
            yield Finding(
                "warning",
                row.name,
                f"template {row.template} prints the day's date into every prompt: scores drift from day to day",
                "prompt_date: YYYY-MM-DD (any fixed day)"
                + (", or template: llama3" * (row.template == "llama3_2")),
            )
