"""How a row is trained and served, and what it needs, as types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Scalar = str | int | float | bool

Names = Annotated[tuple[str, ...], Field(strict=False)]

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
"""Of a row, a suite or an environment: it becomes part of folders, test names and pages."""

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=255)]
"""The name of an environment variable."""

LOADS_ADAPTERS = ("transformers", "vllm")
"""Engines that really load an adapter beside the base (way A); the others would silently serve the base."""

BATCH_INVARIANT = ("vllm", "sglang")
"""Engines that can answer alike whatever else is in flight."""

Engine = Literal["transformers", "lmdeploy", "vllm", "sglang"]
TOOLS = ("ms-swift", "transformers", "peft", "torch", *get_args(Engine)[1:])
"""The packages whose versions decide what a stage makes."""


@dataclass(frozen=True)
class Usual:
    """Between what a number usually lies; others are told, and taken."""

    least: float
    most: float


Share = Annotated[float, Usual(0, 0.5)]
"""Of the training; more than half is seldom meant."""
Seconds = Annotated[float, Usual(30, 30 * 24 * 3600)]
"""What a stage may take."""


class Part(BaseModel):
    """A part of the matrix: what it does not know is a mistake."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, protected_namespaces=(), allow_inf_nan=False
    )


FLASH_ATTENTION = ("flash_attn", "flash_attention_2", "flash_attention_3", "flash_attention_4")


class Training(Part):
    """LoRA fine-tuning with ``swift sft``; the defaults are the guide's shared configuration."""

    tuner: Literal["lora"] = "lora"
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    max_length: Annotated[int, Usual(32, 131072)] = Field(
        3072, ge=8, description="tokens; longer dialogues are dropped by ms-swift"
    )
    packing: bool = Field(
        False, description="needs a flash attention; packs dialogues into rows of max_length"
    )
    gradient_checkpointing: bool = True
    batch_size: int = Field(8, ge=1, description="dialogues (or packs) per device and forward pass")
    gradient_accumulation: int = Field(4, ge=1, description="forward passes per update")
    learning_rate: float = Field(2e-4, gt=0, le=10)
    epochs: float = Field(1, gt=0)
    max_steps: int | None = Field(None, ge=1, description="updates; overrides epochs")
    warmup_ratio: Share = Field(0.1, ge=0, lt=1)
    lora_rank: int = Field(8, ge=1, le=65536)
    lora_alpha: int = Field(32, ge=1)
    target_modules: Names = ("all-linear",)
    attention: str | None = Field(
        None, description="flash_attn, flash_attention_4, sdpa, eager …; None: the model's own"
    )
    fused_loss: bool = Field(False, description="--use_liger_kernel: same mathematics, a third of the memory")
    router_aux_loss_coef: Annotated[float | None, Usual(0, 0.1)] = Field(
        None, ge=0, description="mixture-of-experts models only"
    )
    eval_batch_size: int | None = Field(None, ge=1)
    eval_steps: int | None = Field(None, ge=1)
    validation_share: Share = Field(
        0.0, ge=0, lt=1, description="share of the dialogues held out for eval_steps"
    )
    save_steps: int = Field(200, ge=1)
    save_total_limit: int = Field(3, ge=1)
    logging_steps: int = Field(20, ge=1)
    data_workers: Annotated[int, Usual(0, 64)] = Field(0, ge=0)
    plugins: Names = Field((), description="files of bakeoff/plugins that speed a GPU row up, without .py")
    seed: Annotated[int, Usual(0, 2**32)] = Field(42, ge=0, lt=2**32)
    tracker: Literal["none", "tensorboard", "swanlab"] = Field(
        "tensorboard", description="where SwanLab cannot be used, TensorBoard tracks the training"
    )
    tracker_mode: Literal["cloud", "local", "offline"] = Field(
        "cloud",
        description="SwanLab's; offline: kept in swanlog/ for 'swanlab sync'; local: for its own dashboard",
    )
    tracker_project: str = "multi-model-psychology"
    extra: dict[str, Scalar] = Field({}, description="further flags of swift sft, without the dashes")

    @property
    def row_tokens(self) -> int:
        """Tokens of the longest row of a batch: a dialogue, or a pack."""
        return int(self.extra.get("packing_length", self.max_length)) if self.packing else self.max_length

    @property
    def effective_batch(self) -> int:
        """Dialogues (packs with ``packing``) per update and device."""
        return self.batch_size * self.gradient_accumulation


class Serving(Part):
    """Deployment behind an OpenAI-compatible service on the loopback interface."""

    engine: Engine = "transformers"
    way: Literal["merged", "adapter"] = Field(
        "merged", description="guide 4: B (merged weights) or A (base + adapter)"
    )
    shared: bool = Field(
        False,
        description="way adapter only: one service for the base and all adapters on it, each under its own name",
    )
    port: Annotated[int | None, Usual(1024, 65535)] = Field(
        None, ge=1, le=65535, description="None: a free port"
    )
    session_len: Annotated[int | None, Usual(256, 1_000_000)] = Field(
        None, ge=1, description="tokens of prompt and reply together"
    )
    max_batch_size: int = Field(8, ge=1)
    memory_share: float = Field(
        0.8, gt=0, lt=1, description="share of the free device memory for weights and KV cache"
    )
    tensor_parallel: int = Field(1, ge=1)
    in_flight: int = Field(8, ge=1, description="requests that an evaluation keeps open at once")
    ready_timeout_s: Seconds = Field(600, gt=0)
    restarts: int = Field(
        2, ge=0, description="how often a service that dies or hangs during an evaluation is started again"
    )
    deterministic: bool = Field(
        False,
        description="vllm and sglang only: replies that do not depend on what else is in flight, at a cost in speed",
    )
    extra: dict[str, Scalar] = Field(
        {}, description="further flags of the serving command, without the dashes"
    )


class Limits(Part):
    """Time limits per stage; ``stall_s`` is the longest silence of a log that still counts as work."""

    train_s: Seconds = Field(72 * 3600, gt=0)
    export_s: Seconds = Field(2 * 3600, gt=0)
    evaluate_s: Seconds = Field(12 * 3600, gt=0)
    stall_s: Seconds = Field(1800, gt=0)
    retries: int = Field(2, ge=0, description="further attempts after a failure that may pass")


class Needs(Part):
    """What a row asks of the machine; a row whose needs are not met is skipped with that reason."""

    gpu_memory_gib: float = Field(0, ge=0, description="free memory of each card; 0: runs on the CPU")
    packages: Names = ()


class Roles(Part):
    """Names of the Python environments that train and serve a row; ``default`` is the one pytest runs in."""

    train: str = "default"
    serve: str = "default"
