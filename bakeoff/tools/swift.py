"""The only file that knows ms-swift's flags: ``sft``, ``export`` and ``deploy`` as command lines.

Every function is pure: it looks at nothing but its arguments. The modules are started directly
(``python -m swift.cli.sft``), because a SIGTERM to the ``swift`` wrapper leaves its child running.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from bakeoff.command import LAUNCHER, Command, flags
from bakeoff.files import readable_rows
from bakeoff.matrix.datasets import dataset_argument
from bakeoff.matrix.schema import PLUGINS, ModelSpec
from bakeoff.matrix.settings import FLASH_ATTENTION, Training
from bakeoff.parity_probe import PLUGIN_FLAGS
from bakeoff.plugins.prompt_date import VARIABLE as PROMPT_DATE
from bakeoff.sentences import Template
from bakeoff.tools import memory

NO_CHECKPOINT = Template(
    "tools.swift.no_checkpoint",
    "it has no complete checkpoint",
    zh="没有完整的检查点",
    en="no complete checkpoint",
)
NOT_THE_LAST = Template(
    "tools.swift.not_the_last",
    "its newest complete checkpoint is of step {step} of {steps}",
    zh="最新的完整检查点在第 {step} 步，共 {steps} 步",
    en="the newest complete checkpoint is step {step} of {steps}",
)
NO_ADAPTER = Template(
    "tools.swift.no_adapter",
    "{name} is cut short, or of no LoRA adapter",
    zh="{name} 不完整，或不是 LoRA 适配器的",
    en="{name} is incomplete or not that of a LoRA adapter",
)
OTHER_SETTING = Template(
    "tools.swift.other_setting",
    "{name} says {held}, and the training {wanted}",
    zh="{name} 中为 {held}，而训练设置为 {wanted}",
    en="{name} has {held}, but the training asks for {wanted}",
)
EXTRA_SETTING = Template(
    "tools.swift.extra_setting",
    "{name} has a {key}, which the training does not",
    zh="{name} 中有 {key}，而训练设置中没有",
    en="{name} has {key}, which the training does not set",
)
NO_TARGET = Template(
    "tools.swift.no_target",
    "adapter_config.json has no target_modules for the adapter's {module}",
    zh="adapter_config.json 的 target_modules 不含适配器中的 {module}",
    en="target_modules in adapter_config.json do not cover the adapter's {module}",
)
MISSING_OR_CUT = Template(
    "tools.swift.missing_or_cut",
    "{name} is missing or cut short",
    zh="{name} 缺失或不完整",
    en="{name} is missing or incomplete",
)
OTHER_SIZE = Template(
    "tools.swift.other_size",
    "{name} has {actual} bytes instead of {expected}",
    zh="{name} 为 {actual} 字节，应为 {expected} 字节",
)
NO_WEIGHTS = Template(
    "tools.swift.no_weights",
    "{folder} has no config.json or no *.safetensors",
    zh="{folder} 中没有 config.json 或 *.safetensors",
)
INDEX_CUT = Template(
    "tools.swift.index_cut", "{index} is cut short", zh="{index} 不完整", en="{index} is incomplete"
)
LACKS = Template("tools.swift.lacks", "{folder} lacks {files}", zh="{folder} 中缺少 {files}")

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
    """``swift sft``: LoRA fine-tuning of *base* into *output* (guide, section 2).

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
        "dataset": [dataset_argument(one) for one in spec.dataset],
        "torch_dtype": t.dtype,
        "max_length": t.max_length,
        "packing": t.packing or None,
        "gradient_checkpointing": t.gradient_checkpointing,
        "per_device_train_batch_size": t.batch_size,
        "per_device_eval_batch_size": t.eval_batch_size,
        "gradient_accumulation_steps": t.gradient_accumulation,
        "learning_rate": t.learning_rate,
        "num_train_epochs": t.epochs,
        "max_steps": t.max_steps,
        "warmup_ratio": t.warmup_ratio,
        "lora_rank": t.lora_rank,
        "lora_alpha": t.lora_alpha,
        "target_modules": t.target_modules,
        "router_aux_loss_coef": t.router_aux_loss_coef,
        "split_dataset_ratio": t.validation_share or None,
        "eval_steps": t.eval_steps,
        "save_steps": t.save_steps,
        "save_total_limit": t.save_total_limit,
        "logging_steps": t.logging_steps,
        "dataloader_num_workers": t.data_workers,
        "dataset_num_proc": 1,
        "attn_impl": t.attention,
        "use_liger_kernel": t.fused_loss or None,
        "seed": t.seed,
        "output_dir": output,
        "add_version": False,
        "check_model": False,
        "report_to": t.tracker,
        **_tracker(spec),
        "use_cpu": spec.on_cpu or None,
        "external_plugins": (
            *plugins,
            *_plugins(spec),
            *(PLUGINS / f"{one}.py" for one in t.plugins),
            *_offline_tracker(spec, version),
            *([PLUGINS / "end_with_launcher.py"] if spec.cards > 1 else ()),
        ),
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


def _launch(cards: int) -> tuple[str, ...]:
    """What ``NPROC_PER_NODE=N swift sft`` starts, on a port that is free and under an address that stays here."""
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
    """How the weights lie on the cards of a row that has several: whole on each, or in parts where they are large."""
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
    """``swift export --merge_lora``: *checkpoint* merged into *base*, as a folder of its own (guide, section 3).

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
    """``swift deploy``: *model* behind an OpenAI-compatible service (guide, section 4).

    Way B serves merged weights; way A is the base with an *adapter*, which only the transformers and vLLM
    backends load.
    """
    s = spec.serving
    options: dict[str, object] = {
        **_model(spec, model),
        "adapters": adapter,
        "infer_backend": s.engine,
        "torch_dtype": spec.training.dtype,
        "served_model_name": served_name,
        "host": "127.0.0.1",
        "port": port,
        "max_model_len": s.session_len,
        "max_batch_size": s.max_batch_size if s.engine == "transformers" else None,
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
    """SwanLab's flags without its token, which ms-swift would print; SwanLab reads SWANLAB_API_KEY itself."""
    t = spec.training
    if t.tracker != "swanlab":
        return {}
    return {
        "swanlab_project": t.tracker_project,
        "swanlab_mode": "local" if t.tracker_mode == "offline" else t.tracker_mode,
        "swanlab_exp_name": f"{spec.name}-sft",
    }


def _offline_tracker(spec: ModelSpec, version: str) -> tuple[Path, ...]:
    t = spec.training
    offline = t.tracker == "swanlab" and t.tracker_mode == "offline" and _number(version) >= (3, 1)
    return (PLUGINS / "swanlab_offline.py",) if offline else ()


_SWANLAB_FRAME = re.compile(r'File "[^"]*-packages/swanlab/')
_SWANLAB_ERROR = re.compile(r"swanlab\.|.*(install swanlab|No module named 'swanlab)")


def why_untracked(log: str) -> str:
    """SwanLab's own error at the end of a training's *log*; empty where something else ended the training.

    SwanLab calls nothing of the trainer, so an exception that passed through its code is its own.
    """
    _, found, last = log.rpartition("Traceback (most recent call last):\n")
    said = re.search(r"^[A-Za-z_][\w.]*(?::.*)?$", last, re.MULTILINE) if found else None
    if said and (_SWANLAB_FRAME.search(last) or _SWANLAB_ERROR.match(said[0])):
        return said[0]
    return ""


def _environment(spec: ModelSpec) -> Mapping[str, str]:
    day = {PROMPT_DATE: spec.prompt_date} if spec.prompt_date else {}
    if spec.on_cpu:
        return CPU_ENVIRONMENT | day
    return {"CUDA_VISIBLE_DEVICES": spec.visible, **day} if spec.visible else day


def _plugins(spec: ModelSpec) -> tuple[Path, ...]:
    """What a model with code of its own or without, or a prompt with a date, needs: see each file's docstring."""
    names: tuple[str, ...] = ("rotary_check.py",)
    if not spec.trust_remote_code:
        names = ("refuse_model_code.py",)
    names += ("prompt_date.py",) if spec.prompt_date else ()
    names += (OWN_TEMPLATES[spec.template],) if spec.template in OWN_TEMPLATES else ()
    return tuple(PLUGINS / name for name in names)


def _with_own(given: object, spec: ModelSpec) -> object:
    """The plugins *given* by 'extra' beside ours, which they must not replace."""
    return (*_plugins(spec), given) if isinstance(given, str) else given


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
    """*options*, which are ms-swift 4.6's, in the words of *version*, with the defaults that changed made explicit.

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


def last_checkpoint(output: Path) -> Path | None:
    """The newest complete checkpoint of a training folder, or None.

    A checkpoint is complete when its trainer state, its adapter and its optimizer are whole; one that a kill cut
    short is passed over, and so is the ``checkpoint-N-merged`` that an export may leave beside them.
    """
    numbered = [(int(m[1]), p) for p in output.glob("checkpoint-*") if (m := _CHECKPOINT.fullmatch(p.name))]
    for _, folder in sorted(numbered, reverse=True):
        if not why_incomplete(folder):
            return folder
    return None


def why_unfinished(output: Path, training: Training | None = None) -> str:
    """Why the training in *output* cannot be used, in words; empty where its newest whole checkpoint is its last.

    After the last one was cut short an older whole one is a place to continue from, not a result. Where *training* is
    given, the adapter must also be what it asks for.
    """
    checkpoint = last_checkpoint(output)
    if checkpoint is None:
        return NO_CHECKPOINT()
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    step, steps = state.get("global_step"), state.get("max_steps")
    if step != steps:
        return NOT_THE_LAST(step=step, steps=steps)
    return why_other_adapter(checkpoint, training) if training else ""


def why_other_adapter(checkpoint: Path, training: Training) -> str:
    """Where the adapter in *checkpoint* is not the one that *training* asks for, in words; empty where it is.

    Its ``adapter_config.json`` decides with which strength the matrices are applied, and to which modules.
    """
    path = checkpoint / "adapter_config.json"
    if not path.exists():
        return ""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        rank, alpha = float(config["r"]), float(config["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return NO_ADAPTER(name=path.name)
    wanted: dict[str, object] = {
        "lora_rank": training.lora_rank,
        "lora_alpha": training.lora_alpha,
        "use_rslora": False,
        "use_dora": False,
        **training.extra,
    }
    for key, value, flag in (("r", rank, "lora_rank"), ("lora_alpha", alpha, "lora_alpha")):
        if value != float(str(wanted[flag])):
            return OTHER_SETTING(name=path.name, held=f"{key} {value:g}", wanted=f"{flag} {wanted[flag]}")
    for flag in ("use_rslora", "use_dora"):
        if bool(config.get(flag)) != (str(wanted[flag]).lower() == "true"):
            held = f"{flag} {config.get(flag)}"
            return OTHER_SETTING(name=path.name, held=held, wanted=str(wanted[flag]))
    if not config.get("target_parameters"):  # peft writes patterns of its own for experts
        for key in ("alpha_pattern", "rank_pattern"):
            if config.get(key) and key not in training.extra:
                return EXTRA_SETTING(name=path.name, key=key)
    return _why_other_targets(checkpoint, config, str(wanted.get("target_modules") or ""), training)


def _why_other_targets(checkpoint: Path, config: Mapping[str, object], extra: str, training: Training) -> str:
    """Where the modules of an adapter's *config* are not those of *training*, or not those of its tensors."""
    targets = config.get("target_modules")
    wanted = extra.split() or list(training.target_modules)
    chosen = not any(name.startswith("all-") for name in wanted) and "target_regex" not in training.extra
    if chosen and isinstance(targets, list) and set(targets) != set(wanted):
        held = f"target_modules {' '.join(sorted(map(str, targets)))}"
        return OTHER_SETTING(name="adapter_config.json", held=held, wanted=" ".join(sorted(wanted)))
    if config.get("target_parameters"):  # of experts, which are no modules, and share one pair of matrices
        return ""
    for module, (rank, _) in adapter_shapes(checkpoint).items():
        if isinstance(targets, list) and not any(f".{module}".endswith(f".{name}") for name in targets):
            return NO_TARGET(module=module)
        if rank != config.get("r") and not config.get("rank_pattern"):
            return f"adapter_config.json says r {config.get('r')}, and {module} is of rank {rank}"
    return ""


_LORA = re.compile(r"^(?:base_model\.model\.)?(.+)\.lora_(A|B)(?:\.[^.]+)?\.weight$")


def adapter_shapes(checkpoint: Path) -> dict[str, tuple[int, tuple[int, int]]]:
    """The rank of each module that an adapter adapts, and the module's outputs and inputs; from the file's header.

    What has another form than two matrices is left out.
    """
    halves: dict[str, dict[str, list[int]]] = {}
    for name, (_, shape) in _header(checkpoint / "adapter_model.safetensors").items():
        if (match := _LORA.match(name)) and len(shape) == 2:
            halves.setdefault(match[1], {})[match[2]] = shape
    return {
        module: (pair["A"][0], (pair["B"][0], pair["A"][1]))
        for module, pair in halves.items()
        if pair.keys() == {"A", "B"}
    }


def why_other_base(adapter: Path, base: Path) -> str:
    """Why *adapter* cannot have been trained on the model in *base*, in words; empty where its shapes fit.

    Quantized weights, and those of modules that have another name in the base, are not compared.
    """
    weights: dict[str, tuple[str, list[int]]] = {}
    for file in base.glob("*.safetensors"):
        weights |= _header(file)
    for module, (_, shape) in sorted(adapter_shapes(adapter).items()):
        dtype, there = weights.get(f"{module}.weight", ("", []))
        if dtype in ("F32", "F16", "BF16") and sorted(there) != sorted(shape):
            return (
                f"it adapts {module} of shape {shape[0]} x {shape[1]}, which is {' x '.join(map(str, there))} in the "
                f"base {base}: it was trained on another base"
            )
    return ""


def trained_on(adapter: Path) -> str:
    """The base that the configuration of *adapter* names; empty where it names none."""
    try:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    name = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    return name if isinstance(name, str) else ""


def _header(weights: Path) -> dict[str, tuple[str, list[int]]]:
    """The dtype and shape of each tensor of a safetensors file; nothing where it cannot be read."""
    try:
        with weights.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return {
            name: (str(tensor["dtype"]), [int(n) for n in tensor["shape"]])
            for name, tensor in header.items()
            if name != "__metadata__"
        }
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        MemoryError,
        OverflowError,
        RecursionError,
    ):
        return {}


_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def why_incomplete(checkpoint: Path) -> str:
    """What is missing or cut short in *checkpoint*, in words; empty for a complete one."""
    import zipfile

    state = checkpoint / "trainer_state.json"
    try:
        json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return MISSING_OR_CUT(name=state.name)
    adapter = checkpoint / "adapter_model.safetensors"
    if problem := why_truncated(adapter):
        return problem
    if not zipfile.is_zipfile(checkpoint / "scheduler.pt"):
        return MISSING_OR_CUT(name="scheduler.pt")
    if not any(zipfile.is_zipfile(path) for path in _optimizers(checkpoint)):
        return MISSING_OR_CUT(name="optimizer.pt")
    return ""


def _optimizers(checkpoint: Path) -> Iterator[Path]:
    """Where the optimizer's state may lie in *checkpoint*: of one process, of FSDP, of DeepSpeed."""
    yield checkpoint / "optimizer.pt"
    yield checkpoint / "optimizer.bin"
    try:  # DeepSpeed writes this file when all processes have written theirs
        newest = (checkpoint / "latest").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return
    if re.fullmatch(r"global_step\d+", newest):
        yield from (checkpoint / newest).glob("*optim_states.pt")


def why_truncated(weights: Path) -> str:
    """What is wrong with the size of a safetensors file, in words; empty for a whole one.

    The format opens with the header's length (8 bytes, little endian) and the header, a JSON object whose
    ``data_offsets`` say where the data ends: https://huggingface.co/docs/safetensors.
    """
    try:
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        end = max((t["data_offsets"][1] for n, t in header.items() if n != "__metadata__"), default=0)
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError):
        return MISSING_OR_CUT(name=weights.name)
    expected = 8 + length + end
    actual = weights.stat().st_size
    return "" if actual == expected else OTHER_SIZE(name=weights.name, actual=actual, expected=expected)


def why_weights_broken(folder: Path) -> str:
    """What is missing from a folder of merged weights, in words; empty for a whole one."""
    shards = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if not (folder / "config.json").is_file() or not shards:
        return NO_WEIGHTS(folder=folder)
    if index.is_file():
        try:
            wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            return INDEX_CUT(index=index)
        if missing := sorted(wanted - {shard.name for shard in shards}):
            return LACKS(folder=folder, files=missing)
    return next((problem for shard in shards if (problem := why_truncated(shard))), "")


def own_code(folder: Path) -> str:
    """The file of a model's *folder* that names Python code to load it with; empty where transformers' own is meant."""
    for name in ("config.json", "tokenizer_config.json"):
        try:
            told = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(told, dict) and told.get("auto_map"):
            return name
    return ""


def own_plugin(folder: Path) -> str:
    """A Python file that ``args.json`` in *folder* has ms-swift import, and that is none of ours; empty for none.

    A training of ms-swift leaves the file beside its checkpoints and merges.
    """
    try:
        told = json.loads((folder / "args.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    ours = {path.name for path in PLUGINS.glob("*.py")}  # the row's own line brings these
    for flag in PLUGIN_FLAGS if isinstance(told, dict) else ():
        named = told.get(flag) or []
        for file in named if isinstance(named, list) else [named]:
            if not isinstance(file, str) or Path(file).name not in ours:
                return str(file)[:200]
    return ""


def how_far(output: Path) -> str:
    """How far a training is, from the last line of its ``logging.jsonl``; empty before the first step."""
    try:
        row = readable_rows(output / "logging.jsonl")[-1]
        left = f", {row['remaining_time']} left" if row.get("remaining_time") else ""
        return f"step {row['global_step/max_steps']}, loss {row['loss']}{left}"
    except (OSError, ValueError, IndexError, KeyError):
        return ""


def training_facts(output: Path, since: int = 0) -> dict[str, object]:
    """What a training measured, read from ``logging.jsonl`` and the last checkpoint.

    Args:
        output: its folder.
        since: step of the checkpoint that it was continued from; ``train_runtime`` counts from there.

    Returns:
        ``global_step`` and ``max_steps``; ``loss_curve`` as [step, loss] pairs and ``token_accuracy`` of the last
        logged step; ``train_s``; ``memory_gib`` on a GPU; where ms-swift counted the data set's tokens (not under
        ``lazy_tokenize``), ``tokens`` per epoch and ``tokens_per_s``, both without padding.
        A resumed training logs some steps twice: the last one counts.
    """
    checkpoint = last_checkpoint(output)
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8")) if checkpoint else {}
    facts: dict[str, object] = {
        "checkpoint": checkpoint.name if checkpoint else "",
        "global_step": state.get("global_step", 0),
        "max_steps": state.get("max_steps", -1),
        "epochs": state.get("epoch"),
    }
    curve: dict[int, float] = {}
    try:
        rows = readable_rows(output / "logging.jsonl")
    except OSError:
        rows = []
    for row in rows:
        if "loss" in row and "global_step/max_steps" in row:
            curve[int(str(row["global_step/max_steps"]).split("/")[0])] = float(row["loss"])
            facts["token_accuracy"] = row.get("token_acc")
        for theirs, ours in (
            ("train_runtime", "train_s"),
            ("memory(GiB)", "memory_gib"),
            ("memory", "memory_gib"),
        ):
            if isinstance(row.get(theirs), int | float):
                facts[ours] = row[theirs]
        if "train_dataset" in row:
            facts["train_dataset"] = row["train_dataset"]
    # "94.425000±11.013373, min=49.000000, max=110.000000, size=40": of rows, or of packs
    counted = re.match(r"([\d.]+)±.*size=(\d+)", str(facts.get("train_dataset")))
    if counted:
        facts["tokens"] = round(float(counted[1]) * int(counted[2]))
        done, seconds, steps = state.get("epoch"), facts.get("train_s"), state.get("global_step", 0)
        if done and steps > since and isinstance(seconds, int | float) and seconds > 0:
            here = float(counted[1]) * int(counted[2]) * done * (steps - since) / steps
            facts["tokens_per_s"] = round(here / seconds, 1)
    facts["loss_curve"] = [[step, loss] for step, loss in sorted(curve.items())]
    return facts
