"""What ms-swift leaves on the disk: checkpoints, adapters, merged weights.

Every function only reads: what is whole, what is cut short, and what a training measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from bakeoff.foundation.files import readable_rows
from bakeoff.foundation.sentences import Template
from bakeoff.matrix.settings import Training

STEP = Template("tools.checkpoints.step", "step {step}, loss {loss}", zh="第 {step} 步，损失 {loss}")
STEP_AND_LEFT = Template(
    "tools.checkpoints.step_and_left",
    "step {step}, loss {loss}, {left} left",
    zh="第 {step} 步，损失 {loss}，剩余 {left}",
)
NO_CHECKPOINT = Template(
    "tools.checkpoints.no_checkpoint",
    "it has no complete checkpoint",
    zh="没有完整的检查点",
    en="no complete checkpoint",
)
NOT_THE_LAST = Template(
    "tools.checkpoints.not_the_last",
    "its newest complete checkpoint is of step {step} of {steps}",
    zh="最新的完整检查点在第 {step} 步，共 {steps} 步",
    en="the newest complete checkpoint is step {step} of {steps}",
)
NO_ADAPTER = Template(
    "tools.checkpoints.no_adapter",
    "{name} is cut short, or of no LoRA adapter",
    zh="{name} 不完整，或不是 LoRA 适配器的",
    en="{name} is incomplete or not that of a LoRA adapter",
)
OTHER_SETTING = Template(
    "tools.checkpoints.other_setting",
    "{name} says {held}, and the training {wanted}",
    zh="{name} 中为 {held}，而训练设置为 {wanted}",
    en="{name} has {held}, but the training asks for {wanted}",
)
EXTRA_SETTING = Template(
    "tools.checkpoints.extra_setting",
    "{name} has a {key}, which the training does not",
    zh="{name} 中有 {key}，而训练设置中没有",
    en="{name} has {key}, which the training does not set",
)
NO_TARGET = Template(
    "tools.checkpoints.no_target",
    "adapter_config.json has no target_modules for the adapter's {module}",
    zh="adapter_config.json 的 target_modules 不含适配器中的 {module}",
    en="target_modules in adapter_config.json do not cover the adapter's {module}",
)
MISSING_OR_CUT = Template(
    "tools.checkpoints.missing_or_cut",
    "{name} is missing or cut short",
    zh="{name} 缺失或不完整",
    en="{name} is missing or incomplete",
)
NO_TENSOR = Template(
    "tools.checkpoints.no_tensor",
    "{name} holds no tensor",
    zh="{name} 中没有任何张量",
    en="{name} contains no tensors",
)
OTHER_SIZE = Template(
    "tools.checkpoints.other_size",
    "{name} has {actual} bytes instead of {expected}",
    zh="{name} 为 {actual} 字节，应为 {expected} 字节",
)
NO_WEIGHTS = Template(
    "tools.checkpoints.no_weights",
    "{folder} has no config.json or no *.safetensors",
    zh="{folder} 中没有 config.json 或 *.safetensors",
)
INDEX_CUT = Template(
    "tools.checkpoints.index_cut", "{index} is cut short", zh="{index} 不完整", en="{index} is incomplete"
)
LACKS = Template("tools.checkpoints.lacks", "{folder} lacks {files}", zh="{folder} 中缺少 {files}")


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
    """Return why the training in *output* cannot be used.

    In words; empty where its newest whole checkpoint is its last.

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
    """Return where an adapter is not what *training* asks for.

    In words; empty where it is.

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
    settings: dict[str, object] = {
        "lora_rank": training.lora_rank,
        "lora_alpha": training.lora_alpha,
        "use_rslora": False,
        "use_dora": False,
        **training.extra,
    }
    for key, value, flag in (("r", rank, "lora_rank"), ("lora_alpha", alpha, "lora_alpha")):
        if value != float(str(settings[flag])):
            return OTHER_SETTING(name=path.name, held=f"{key} {value:g}", wanted=f"{flag} {settings[flag]}")
    for flag in ("use_rslora", "use_dora"):
        if bool(config.get(flag)) != (str(settings[flag]).lower() == "true"):
            actual = f"{flag} {config.get(flag)}"
            return OTHER_SETTING(name=path.name, held=actual, wanted=str(settings[flag]))
    if not config.get("target_parameters"):  # peft writes patterns of its own for experts
        for key in ("alpha_pattern", "rank_pattern"):
            if config.get(key) and key not in training.extra:
                return EXTRA_SETTING(name=path.name, key=key)
    return _why_other_targets(checkpoint, config, str(settings.get("target_modules") or ""), training)


def _why_other_targets(checkpoint: Path, config: Mapping[str, object], extra: str, training: Training) -> str:
    """Return where an adapter's modules are not the training's.

    Or not those of its own tensors.
    """
    targets = config.get("target_modules")
    modules = extra.split() or list(training.target_modules)
    chosen = not any(name.startswith("all-") for name in modules) and "target_regex" not in training.extra
    if chosen and isinstance(targets, list) and set(targets) != set(modules):
        actual = f"target_modules {' '.join(sorted(map(str, targets)))}"
        return OTHER_SETTING(name="adapter_config.json", held=actual, wanted=" ".join(sorted(modules)))
    if config.get("target_parameters"):  # of experts, which are no modules, and share one pair of matrices
        return ""
    for module, (rank, _) in adapter_shapes(checkpoint).items():
        if isinstance(targets, list) and not any(f".{module}".endswith(f".{name}") for name in targets):
            return NO_TARGET(module=module)
        if rank != config.get("r") and not config.get("rank_pattern"):
            return f"adapter_config.json says r {config.get('r')}, and {module} is of rank {rank}"
    return ""


_MOST_HEADER_BYTES = 100_000_000
"""Of a safetensors file; its own library reads no more."""
_LORA = re.compile(r"^(?:base_model\.model\.)?(.+)\.lora_(A|B)(?:\.[^.]+)?\.weight$")


def adapter_shapes(checkpoint: Path) -> dict[str, tuple[int, tuple[int, int]]]:
    """Return rank, outputs and inputs of each adapted module.

    From the file's header.

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
    """Return why *adapter* cannot have been trained on *base*.

    In words; empty where its shapes fit.

    Quantized weights, and those of modules that have another name in the base, are not compared.
    """
    weights: dict[str, tuple[str, list[int]]] = {}
    for file in base.glob("*.safetensors"):
        weights |= _header(file)
    for module, (_, shape) in sorted(adapter_shapes(adapter).items()):
        dtype, base_shape = weights.get(f"{module}.weight", ("", []))
        if dtype in ("F32", "F16", "BF16") and sorted(base_shape) != sorted(shape):
            return (
                f"it adapts {module} of shape {shape[0]} x {shape[1]}, which is "
                f"{' x '.join(map(str, base_shape))} in the base {base}: it was trained on another base"
            )
    return ""


def trained_on(adapter: Path) -> str:
    """Return the base that an adapter's configuration names, or nothing."""
    try:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    name = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    return name if isinstance(name, str) else ""


def _header(weights: Path) -> dict[str, tuple[str, list[int]]]:
    """Return dtype and shape of each tensor of a safetensors file.

    Nothing where it cannot be read.
    """
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
    """Return what *checkpoint* lacks, in words; empty if complete."""
    import zipfile

    state = checkpoint / "trainer_state.json"
    try:
        json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return MISSING_OR_CUT(name=state.name)
    adapter = checkpoint / "adapter_model.safetensors"
    if problem := why_truncated(adapter):
        return problem
    if not _header(adapter):
        return NO_TENSOR(name=adapter.name)
    if not zipfile.is_zipfile(checkpoint / "scheduler.pt"):
        return MISSING_OR_CUT(name="scheduler.pt")
    if not any(zipfile.is_zipfile(path) for path in _optimizers(checkpoint)):
        return MISSING_OR_CUT(name="optimizer.pt")
    return ""


def _optimizers(checkpoint: Path) -> Iterator[Path]:
    """Yield where *checkpoint* may keep the optimizer's state.

    Of one process, of FSDP, of DeepSpeed.
    """
    yield checkpoint / "optimizer.pt"
    yield checkpoint / "optimizer.bin"
    try:  # DeepSpeed writes this file when all processes have written theirs
        newest = (checkpoint / "latest").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return
    if re.fullmatch(r"global_step\d+", newest):
        yield from (checkpoint / newest).glob("*optim_states.pt")


def why_truncated(weights: Path) -> str:
    """Return what is wrong with the size of a safetensors file.

    In words; empty for a whole one.

    The format opens with the header's length (8 bytes, little endian) and the header, a JSON object whose
    ``data_offsets`` say where the data ends: https://huggingface.co/docs/safetensors.
    """
    try:
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MOST_HEADER_BYTES:
                return MISSING_OR_CUT(name=weights.name)
            header = json.loads(file.read(length))
        end = max((t["data_offsets"][1] for n, t in header.items() if n != "__metadata__"), default=0)
        if isinstance(end, bool) or not isinstance(end, int):
            return MISSING_OR_CUT(name=weights.name)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, MemoryError, RecursionError):
        return MISSING_OR_CUT(name=weights.name)
    expected = 8 + length + end
    actual = weights.stat().st_size
    return "" if actual == expected else OTHER_SIZE(name=weights.name, actual=actual, expected=expected)


def why_weights_broken(folder: Path) -> str:
    """Return what a folder of merged weights lacks, in words.

    Empty for a whole one.
    """
    shards = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if not (folder / "config.json").is_file() or not shards:
        return NO_WEIGHTS(folder=folder)
    if index.is_file():
        try:
            listed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            return INDEX_CUT(index=index)
        if missing := sorted(listed - {shard.name for shard in shards}):
            return LACKS(folder=folder, files=missing)
    return next((problem for shard in shards if (problem := why_truncated(shard))), "")


def how_far(output: Path) -> str:
    """Return how far a training is; empty before the first step.

    From the last line of its ``logging.jsonl``.
    """
    try:
        row = readable_rows(output / "logging.jsonl")[-1]
        values = {"step": row["global_step/max_steps"], "loss": row["loss"]}
        left = row.get("remaining_time")
        return STEP_AND_LEFT(**values, left=left) if left else STEP(**values)
    except (OSError, ValueError, IndexError, KeyError):
        return ""


def training_facts(output: Path, since: int = 0) -> dict[str, object]:
    """Return what a training measured.

    Read from ``logging.jsonl`` and the last checkpoint.

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
