"""ms-swift's command lines: ``sft``, ``export`` and ``deploy``.

The only file that knows its flags.

Every function is pure: it looks at nothing but its arguments. The modules are started directly
(``python -m swift.cli.sft``), because a SIGTERM to the ``swift`` wrapper leaves its child running.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from bakeoff.foundation.command import LAUNCHER, Command, flags
from bakeoff.matrix.datasets import dataset_argument
from bakeoff.matrix.schema import PLUGINS, ModelSpec
from bakeoff.matrix.settings import FLASH_ATTENTION, Training
from bakeoff.plugins.prompt_date import VARIABLE as PROMPT_DATE
from bakeoff.tools import memory

CPU_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
"""One thread per process: on a busy machine several spin for each other (9 s became 127 s at load 4)."""


OWN_TEMPLATES = {"chatglm3_native": "chatglm3_template.py"}
"""Templates that ms-swift does not have, and the plugin that registers each."""
NEWEST = "4.6.0"
"""The ms-swift whose words this file uses; :func:`_spoken` puts them into those of older ones."""


def sft(
    spec: ModelSpec,
    *,
    base: str,
    output: Path,
    python: str = "python",
    version: str = NEWEST,
    resume: Path | None = None,
    plugins: tuple[Path, ...] = (),
) -> Command:
    """Return the ``swift sft`` line: LoRA of *base* into *output*.

    Guide, section 2.

    Args:
        spec: the row.
        base: hub id or folder of the base model.
        output: receives ``checkpoint-<step>``, ``logging.jsonl`` and ``args.json`` themselves.
        python: the interpreter of the environment that trains the row.
        version: that environment's ms-swift; the line is in its words.
        resume: a checkpoint of *output* to continue from.
        plugins: Python files that ms-swift imports before it starts.
    """
    t = memory.of_each_card(spec.training, spec.cards)
    options: dict[str, object] = {
        **_model(spec, base),
        "tuner_type": t.tuner,
        "dataset": [dataset_argument(dataset) for dataset in spec.dataset],
        "torch_dtype": t.dtype,
        "max_length": t.max_length,
        "packing": t.packing or None,
        "gradient_checkpointing": t.gradient_checkpointing,
        **_updates(t),
        **_lora(t),
        "router_aux_loss_coef": t.router_aux_loss_coef,
        "split_dataset_ratio": t.validation_share or None,
        **_intervals(t),
        "dataloader_num_workers": t.data_workers,
        "dataset_num_proc": 1,
        "attn_impl": t.attention,
        "use_liger_kernel": (t.fused_loss and not memory.is_parted_by_fsdp(spec)) or None,
        "seed": t.seed,
        "output_dir": output,
        "add_version": False,
        "check_model": False,
        "report_to": t.tracker,
        **_tracker(spec),
        "use_cpu": spec.on_cpu or None,
        "external_plugins": (*plugins, *_training_plugins(spec, version)),
        "resume_from_checkpoint": resume,
        **_spread(spec),
        **t.extra,
    }
    options["external_plugins"] = _with_own(options["external_plugins"], spec)
    argv = flags(_spoken(options, "sft", version))
    # Long packs of changing length break the allocator's memory into pieces: 134 GiB instead of 53 were seen.
    allocator = {} if spec.on_cpu else {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    launch = ("-m", LAUNCHER, *_launch(spec.cards)) if spec.cards > 1 else ()
    return Command((python, *launch, "-m", "swift.cli.sft", *argv), {**_environment(spec), **allocator})


def _updates(t: Training) -> dict[str, object]:
    """Return of how much an update is made, and how many there are."""
    return {
        "per_device_train_batch_size": t.batch_size,
        "per_device_eval_batch_size": t.eval_batch_size,
        "gradient_accumulation_steps": t.gradient_accumulation,
        "learning_rate": t.learning_rate,
        "num_train_epochs": t.epochs,
        "max_steps": t.max_steps,
        "warmup_ratio": t.warmup_ratio,
    }


def _lora(t: Training) -> dict[str, object]:
    return {"lora_rank": t.lora_rank, "lora_alpha": t.lora_alpha, "target_modules": t.target_modules}


def _intervals(t: Training) -> dict[str, object]:
    """Return how often it is looked at, saved and logged, in steps."""
    return {
        "eval_steps": t.eval_steps,
        "save_steps": t.save_steps,
        "save_total_limit": t.save_total_limit,
        "logging_steps": t.logging_steps,
    }


def _training_plugins(spec: ModelSpec, version: str) -> tuple[Path, ...]:
    """Return the plugins of a training: the row's, and ours that it needs."""
    return (
        *_plugins(spec),
        *(PLUGINS / f"{name}.py" for name in spec.training.plugins),
        *_offline_tracker(spec, version),
        *([PLUGINS / "end_with_launcher.py"] if spec.cards > 1 else ()),
        *([PLUGINS / "sharded_adapter.py"] if memory.is_parted_by_fsdp(spec) else ()),
    )


def _launch(cards: int) -> tuple[str, ...]:
    """Return what ``NPROC_PER_NODE=N swift sft`` starts.

    On a port that is free and under an address that stays here.
    """
    return ("--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node", str(cards))


FSDP: Mapping[str, object] = {
    "fsdp_version": 2,
    "reshard_after_forward": True,
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "cpu_ram_efficient_loading": True,
    "state_dict_type": "FULL_STATE_DICT",
}
"""ms-swift's ``--fsdp fsdp2``, but for checkpoints: of shards alone, none would hold an adapter to be merged."""


def _spread(spec: ModelSpec) -> dict[str, object]:
    """Return how the weights lie on the cards of a row with several.

    Whole on each, or in parts where they are large.
    """
    if spec.cards == 1:
        return {}
    if spec.on_cpu:
        return {"ddp_backend": "gloo"}
    if {"deepspeed", "fsdp"} & set(spec.training.extra) or not memory.is_sharded(spec):
        return {}
    config = {**FSDP, "activation_checkpointing": spec.training.gradient_checkpointing}
    shards = json.dumps({"fsdp": "full_shard auto_wrap", "fsdp_config": config})
    return {"fsdp": shards, "gradient_checkpointing": False}


def export(
    spec: ModelSpec,
    *,
    checkpoint: Path,
    base: str,
    output: Path,
    python: str = "python",
    version: str = NEWEST,
) -> Command:
    """Return the ``swift export`` line: *checkpoint* merged into *base*.

    As a folder of its own; guide, section 3.

    *output* must not exist: with ``--exist_ok`` ms-swift would save nothing and return 0.
    """
    options: dict[str, object] = {
        **_model(spec, base),
        "adapters": checkpoint,
        "merge_lora": True,
        "torch_dtype": spec.training.dtype,
        "safe_serialization": True,
        "max_shard_size": "2GB",
        "output_dir": output,
        "attn_impl": _attention(spec),
        "external_plugins": _plugins(spec),
    }
    argv = flags(_spoken(options, "export", version))
    return Command((python, "-m", "swift.cli.export", *argv), _environment(spec))


def deploy(
    spec: ModelSpec,
    *,
    model: str,
    served_name: str,
    port: int,
    adapter: Path | None = None,
    python: str = "python",
    version: str = NEWEST,
) -> Command:
    """Return the ``swift deploy`` line: *model* behind a service.

    OpenAI-compatible; guide, section 4.

    Way B serves merged weights; way A is the base with an *adapter*, which only the transformers and vLLM
    backends load.
    """
    s = spec.serving
    options: dict[str, object] = {
        **_model(spec, model),
        "adapters": f"{spec.served_name('tuned')}={adapter}" if s.shared else adapter,
        "infer_backend": s.engine,
        "torch_dtype": spec.training.dtype,
        "served_model_name": spec.served_name("base") if s.shared else served_name,
        "host": "127.0.0.1",
        "port": port,
        "max_model_len": s.session_len,
        "max_batch_size": _batch_size(spec),
        "attn_impl": _attention(spec),
        "vllm_tensor_parallel_size": s.tensor_parallel
        if s.engine == "vllm" and s.tensor_parallel > 1
        else None,
        "external_plugins": (*_plugins(spec), *_serving_plugins(version)),
        **s.extra,
    }
    options["external_plugins"] = _with_own(options["external_plugins"], spec)
    argv = flags(_spoken(options, "deploy", version))
    return Command((python, "-m", "swift.cli.deploy", *argv), _environment(spec))


def _batch_size(spec: ModelSpec) -> int | None:
    """Return how many requests ms-swift's own engine computes at once."""
    if spec.serving.engine != "transformers":
        return None
    # ms-swift names one adapter for a whole batch, which PEFT refuses; requests that come together fail
    return 1 if spec.serving.shared else spec.serving.max_batch_size


def _model(spec: ModelSpec, model: str) -> dict[str, object]:
    return {
        "model": model,
        "model_revision": spec.revision if model == spec.model else None,
        "model_type": spec.model_type,
        "template": spec.template,
        "use_hf": spec.use_hf or None,
    }


def _attention(spec: ModelSpec) -> str | None:
    """How a model attends after its training; base and tuned alike.

    A line that does not say gets what the checkpoint's ``args.json`` names, which may be a flash attention that only a
    plugin of the training brought. PyTorch's own attention (sdpa) has no sinks.
    """
    attention = spec.training.attention
    if attention not in FLASH_ATTENTION:
        return attention
    return "eager" if "attention_sinks" in spec.training.plugins else "sdpa"


def _tracker(spec: ModelSpec) -> dict[str, object]:
    """Return SwanLab's flags without its token.

    ms-swift would print it; SwanLab reads SWANLAB_API_KEY itself.
    """
    t = spec.training
    if t.tracker != "swanlab":
        return {}
    return {
        "swanlab_project": t.tracker_project,
        "swanlab_mode": "local" if t.tracker_mode == "offline" else t.tracker_mode,
        "swanlab_exp_name": f"{spec.trained_as}-sft",
    }


def _offline_tracker(spec: ModelSpec, version: str) -> tuple[Path, ...]:
    t = spec.training
    offline = t.tracker == "swanlab" and t.tracker_mode == "offline" and _number(version) >= (3, 1)
    return (PLUGINS / "swanlab_offline.py",) if offline else ()


_SWANLAB_FRAME = re.compile(r'File "[^"]*-packages/swanlab/')
_SWANLAB_ERROR = re.compile(r"swanlab\.|.*(install swanlab|No module named 'swanlab)")


def why_untracked(log: str) -> str:
    """Return SwanLab's own error at the end of a training's *log*.

    Empty where something else ended the training.

    SwanLab calls nothing of the trainer, so an exception that passed through its code is its own.
    """
    _, traceback, last = log.rpartition("Traceback (most recent call last):\n")
    message = re.search(r"^[A-Za-z_][\w.]*(?::.*)?$", last, re.MULTILINE) if traceback else None
    if message and (_SWANLAB_FRAME.search(last) or _SWANLAB_ERROR.match(message[0])):
        return message[0]
    return ""


def _environment(spec: ModelSpec) -> Mapping[str, str]:
    day = {PROMPT_DATE: spec.prompt_date} if spec.prompt_date else {}
    if spec.on_cpu:
        return CPU_ENVIRONMENT | day
    return {"CUDA_VISIBLE_DEVICES": spec.visible, **day} if spec.visible else day


def _plugins(spec: ModelSpec) -> tuple[Path, ...]:
    """Return the plugins that every stage of a row needs.

    For a model with code of its own or without, or a prompt with a date: see each file's docstring.
    """
    names: tuple[str, ...] = ("rotary_check.py",)
    if not spec.trust_remote_code:
        names = ("refuse_model_code.py",)
    names += ("prompt_date.py",) if spec.prompt_date else ()
    names += (OWN_TEMPLATES[spec.template],) if spec.template in OWN_TEMPLATES else ()
    return tuple(PLUGINS / name for name in names)


def _with_own(plugins: object, spec: ModelSpec) -> object:
    """Return the *plugins* that 'extra' names beside ours, or *plugins*."""
    return (*_plugins(spec), plugins) if isinstance(plugins, str) else plugins


def _serving_plugins(version: str) -> tuple[Path, ...]:
    return (PLUGINS / "finish_reason.py",) if _number(version) < (3, 6) else ()


_RENAMED: tuple[tuple[tuple[int, int], str, str], ...] = (
    ((4, 0), "tuner_type", "train_type"),
    ((3, 5), "vllm_tensor_parallel_size", "tensor_parallel_size"),
    ((3, 3), "use_liger_kernel", "use_liger"),
    ((3, 1), "external_plugins", "custom_register_path"),
)
"""Since this version -> the name it has now, the name it had."""

_ADDED: tuple[tuple[tuple[int, int], str], ...] = (
    ((3, 7), "router_aux_loss_coef"),
    ((3, 1), "swanlab_project"),
    ((3, 1), "swanlab_mode"),
    ((3, 1), "swanlab_exp_name"),
)
"""Since this version -> a flag that an older one cannot carry out; it is left out there."""


def _spoken(options: Mapping[str, object], stage: str, version: str) -> dict[str, object]:
    """Return *options*, which are ms-swift 4.6's, as *version* has them.

    With the defaults that changed made explicit.

    The versions are those in whose source a name was first found, among 3.0.3, the last of each of 3.1 to 3.12,
    4.0.0 and 4.6.0.
    """
    number = _number(version)
    new_to_old = {new: old for since, new, old in _RENAMED if number < since}
    unknown = {name for since, name in _ADDED if number < since}
    spoken = {new_to_old.get(name, name): value for name, value in options.items() if name not in unknown}
    if number >= (4, 0):
        return spoken
    if spoken.get("infer_backend") == "transformers":
        spoken["infer_backend"] = "pt"
    if spoken.get("template") == "chatglm4":
        spoken["template"] = "glm4"
    if stage == "sft" and number < (3, 6) and spoken.get("split_dataset_ratio") is None:
        spoken |= {"split_dataset_ratio": 0, "eval_strategy": "no"}  # 1 % was held out
    if stage == "sft" and number < (3, 2):
        spoken.setdefault("adam_beta2", 0.95)  # it was 0.999
    if number < (3, 1) and spoken.get("report_to") == "swanlab":
        spoken["report_to"] = "tensorboard"
    return spoken


def _number(version: str) -> tuple[int, int]:
    major, minor, *_ = (int(part) for part in re.findall(r"\d+", f"{version}.0")[:2])
    return major, minor
