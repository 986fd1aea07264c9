"""Train the same rows in several ways, one process after the other, and say what each costs.

    python bench/gpu/train_speed.py --model /dev/shm/qwen --data dialogues.jsonl --out OUT guide ours

Every process imports while its predecessor still trains and waits for its turn; nothing else shares the card.
Time is read from CUDA events at the beginning of each forward pass, so the host never waits for the card on
our account. A step's time runs from its first forward pass to the next step's first; the first
steps are left out. Tokens are counted without padding.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PLUGINS = HERE.parents[1] / "bakeoff" / "plugins"
DATASHEET_FLOPS = 989e12
"""Dense bfloat16 of an H100 or H200 (SXM), NVIDIA datasheet."""

TEMPLATES = {"qwen2": "qwen2_5", "llama": "llama3", "gpt_oss": "gpt_oss"}
"""By the model type, which ms-swift calls as the model's own configuration does."""

COMMON: dict[str, object] = {
    "tuner_type": "lora",
    "torch_dtype": "bfloat16",
    "max_length": 3072,
    "learning_rate": 2e-4,
    "warmup_ratio": 0.1,
    "save_strategy": "no",
    "logging_steps": 1,
    "report_to": "none",
    "check_model": "false",
    "add_version": "false",
    "dataset_shuffle": "false",
    "train_dataloader_shuffle": "false",
    "dataset_num_proc": 4,
    "dataloader_num_workers": 1,
    # the packing worker would import ms-swift anew, 14 s in which the card waits
    "dataloader_multiprocessing_context": "fork",
}
"""The rows in file order, so that every configuration's n-th update sees (nearly) the same dialogues."""

GUIDE = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 4,
    "gradient_checkpointing": "true",
}
PACKED = {
    "packing": "true",
    "packing_strategy": "sequential",
    "per_device_train_batch_size": 1,
    "use_liger_kernel": "true",
}
WAITLESS = {"logging_nan_inf_filter": "false"}
"""The filter reads every loss back: the host waits for the card after each backward pass."""
LONG = {
    **PACKED,
    **WAITLESS,
    "packing_length": 12288,
    "gradient_accumulation_steps": 4,
    "gradient_checkpointing": "false",
    "dataloader_num_workers": 4,
    "dataloader_prefetch_factor": 2,
}
"""4 x 12,288 tokens: as many tokens per update as the guide's 8 x 4 dialogues. All passes of an update are fetched at
once, so one worker, which tokenises as it goes, keeps the card waiting."""

OURS = ("packed_rows", "fused_lora", "large_loss_chunks")
THREE = {"packing_length": 15360, "gradient_accumulation_steps": 3}
"""Three longer passes of as many tokens."""
BLOCKS = ("packed_rows", "fused_lora", "fused_blocks", "large_loss_chunks")
SPARSE = {"router_aux_loss_coef": 1e-3, "max_length": 2048, "learning_rate": 1e-4, "warmup_ratio": 0.05}
"""What the row of GPT-OSS-20B says, besides its batch of 1 x 16."""
OURS_SPARSE = ("packed_rows", "attention_sinks", "fused_lora", "fused_experts", "large_loss_chunks")
PACKED_SPARSE = {
    **LONG,
    **SPARSE,
    "attn_impl": "flash_attn",
    "packing_length": 8192,
    "gradient_accumulation_steps": 3,
}
"""3 x 8,192 tokens: as many per update as 16 dialogues."""

CONFIGS: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "guide": (GUIDE, ()),
    "guide-llama": ({**GUIDE, "per_device_train_batch_size": 6, "gradient_accumulation_steps": 6}, ()),
    "guide-liger": ({**GUIDE, "use_liger_kernel": "true"}, ()),
    # flash attention 4 with packs of max_length, as it runs once the lengths are ints
    "packed-fa4": (
        {
            **PACKED,
            "attn_impl": "flash_attention_4",
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 4,
            "gradient_checkpointing": "false",
        },
        ("packed_rows",),
    ),
    "packed-fa4-recompute": (
        {
            **PACKED,
            "attn_impl": "flash_attention_4",
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 2,
            "gradient_checkpointing": "true",
        },
        ("packed_rows",),
    ),
    "packed": ({**LONG, "attn_impl": "flash_attn"}, ("packed_rows",)),
    "packed-nodropout": ({**LONG, "attn_impl": "flash_attn", "lora_dropout": 0}, ("packed_rows",)),
    "ours": ({**LONG, "attn_impl": "flash_attn"}, OURS),
    "ours-fp8": ({**LONG, "attn_impl": "flash_attn"}, (*OURS, "frozen_fp8")),
    "ours-blocks": ({**LONG, "attn_impl": "flash_attn"}, BLOCKS),
    "ours-blocks-15k-fa4": ({**LONG, **THREE, "attn_impl": "flash_attention_4"}, BLOCKS),
    "ours-blocks-fp8-15k-fa4": ({**LONG, **THREE, "attn_impl": "flash_attention_4"}, (*BLOCKS, "frozen_fp8")),
    "ours-blocks-fa4": ({**LONG, "attn_impl": "flash_attention_4"}, BLOCKS),
    "ours-blocks-fp8": ({**LONG, "attn_impl": "flash_attn"}, (*BLOCKS, "frozen_fp8")),
    "ours-blocks-fp8-fa4": ({**LONG, "attn_impl": "flash_attention_4"}, (*BLOCKS, "frozen_fp8")),
    "ours-fa4": ({**LONG, "attn_impl": "flash_attention_4"}, OURS),
    "ours-nodropout": (
        {**LONG, "attn_impl": "flash_attn", "lora_dropout": 0},
        OURS,
    ),
    "ours-8k": (
        {**LONG, "attn_impl": "flash_attn", "packing_length": 8704, "gradient_accumulation_steps": 6},
        OURS,
    ),
    "ours-llama": (  # 36 dialogues per update, the guide's 6 x 6
        {**LONG, "attn_impl": "flash_attn", "packing_length": 10752, "gradient_accumulation_steps": 5},
        OURS,
    ),
    "guide-gpt-oss": (
        {
            **SPARSE,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 16,
            "gradient_checkpointing": "true",
            "use_liger_kernel": "true",
        },
        (),
    ),
    "flex-gpt-oss": (
        {
            **SPARSE,
            "attn_impl": "flex_attention",
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 2,
            "gradient_checkpointing": "true",
            "use_liger_kernel": "true",
        },
        (),
    ),
    "packed-gpt-oss": (PACKED_SPARSE, ("packed_rows", "attention_sinks")),
    "ours-gpt-oss": (PACKED_SPARSE, OURS_SPARSE),
    "ours-gpt-oss-12k": (
        {**PACKED_SPARSE, "packing_length": 12288, "gradient_accumulation_steps": 2},
        OURS_SPARSE,
    ),
    "ours-recompute": (
        {
            **LONG,
            "attn_impl": "flash_attn",
            "packing_length": 24576,
            "gradient_accumulation_steps": 2,
            "gradient_checkpointing": "true",
        },
        OURS,
    ),
}


def argv(name: str, options: argparse.Namespace) -> list[str]:
    """The command line of ``swift sft`` for configuration *name*."""
    chosen, plugins = CONFIGS[name.removesuffix("+profile")]
    family = json.loads(Path(options.model, "config.json").read_text(encoding="utf-8"))["model_type"]
    flags: dict[str, object] = {
        "model": options.model,
        "model_type": family,
        "template": TEMPLATES[family],
        "dataset": f"{options.data}#{options.rows}",
        "output_dir": f"{options.scratch}/{name}",
        "max_steps": options.steps,
        **COMMON,
        **chosen,
        **({"attn_impl": options.attention} if options.attention and "attn_impl" in chosen else {}),
    }
    line = [part for flag, value in flags.items() for part in (f"--{flag}", str(value))]
    files = [str(PLUGINS / f"{plugin}.py") for plugin in plugins] + list(options.plugin)
    return [*line, *options.extra.split(), *(["--external_plugins", *files] if files else [])]


def floating_operations(config: Any, tokens: float, squares: float, recompute: bool) -> dict[str, float]:
    """Floating-point operations of LoRA training on *tokens* tokens.

    Args:
        config: of a Qwen2- or Llama-like model, or of a mixture of experts, of which the chosen ones count.
        tokens: without padding.
        squares: sum of the squared lengths of the dialogues.
        recompute: whether the forward pass is done twice.

    Returns:
        ``model``: 2N forward and 2N for the gradient of the activations (frozen weights have no gradient), N the
        weights in matrix products, output layer included; causal attention twice L**2 * width per layer forward,
        double that backward. ``executed``: the same plus the recomputed forward pass.
    """
    width = config.hidden_size
    head = getattr(config, "head_dim", None) or width // config.num_attention_heads
    attention = 2 * width * config.num_attention_heads * head + 2 * width * config.num_key_value_heads * head
    layer = attention + 3 * width * config.intermediate_size * getattr(config, "num_experts_per_tok", 1)
    weights = config.num_hidden_layers * layer + width * config.vocab_size
    scores = 2 * squares * config.num_attention_heads * head * config.num_hidden_layers
    forward = 2 * weights * tokens + scores
    model = forward + 2 * weights * tokens + 2 * scores
    return {"model": model, "executed": model + (forward if recompute else 0)}


class Meter:
    """Records when each forward pass begins and what it sees."""

    def __init__(self, profile: Path | None = None, first: int = 0, last: int = 0) -> None:
        self.passes: list[tuple[Any, Any, Any, Any, int]] = []
        self.steps: list[int] = []
        self.profile, self.first, self.last = profile, first, last
        self.profiler: Any = None

    def attach(self) -> None:
        import torch
        from swift.trainers import Seq2SeqTrainer

        train = Seq2SeqTrainer.training_step
        meter = self

        def training_step(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            meter.before(self.state.global_step, inputs, torch)
            return train(self, model, inputs, *args, **kwargs)

        Seq2SeqTrainer.training_step = training_step

    def before(self, step: int, inputs: Any, torch: Any) -> None:
        if self.profile and len(self.passes) == self.first:
            torch.cuda.synchronize()
            kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
            self.profiler = torch.profiler.profile(activities=kinds, record_shapes=False)
            self.profiler.start()
        if self.profiler is not None and len(self.passes) == self.last:
            self.stop(torch)
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        event: Any = None
        if torch.cuda.is_available():
            event = torch.cuda.Event(enable_timing=True)
            event.record()
        # Kept as it is and read at the end: reading now would make the host wait.
        lengths = inputs["position_ids"] if mask is None else mask.sum(-1)
        labelled = (inputs["labels"] != -100).sum()
        self.passes.append((event or time.perf_counter(), lengths, labelled, mask is None, ids.numel()))
        self.steps.append(step)

    def stop(self, torch: Any) -> None:
        torch.cuda.synchronize()
        self.profiler.stop()
        events = self.profiler.key_averages()
        assert self.profile is not None
        table = events.table(sort_by="self_device_time_total", row_limit=70, max_name_column_width=90)
        self.profile.write_text(table, encoding="utf-8")
        self.profiler = None

    def read(self) -> list[dict[str, float]]:
        """One entry per step but the last: seconds, tokens, squares, labelled, padded, dialogues."""
        first: dict[int, int] = {}
        for index, step in enumerate(self.steps):
            first.setdefault(step, index)
        entries = []
        for step in sorted(first)[:-1]:
            here, there = first[step], first[step + 1]
            begin, end = self.passes[here][0], self.passes[there][0]
            seconds = end - begin if isinstance(begin, float) else begin.elapsed_time(end) / 1e3
            lengths = [one for entry in self.passes[here:there] for one in _lengths(entry[1], entry[3])]
            entries.append(
                {
                    "seconds": seconds,
                    "tokens": sum(lengths),
                    "squares": sum(one * one for one in lengths),
                    "labelled": sum(int(entry[2]) for entry in self.passes[here:there]),
                    "padded": sum(entry[4] for entry in self.passes[here:there]),
                    "dialogues": len(lengths),
                }
            )
        return entries

    def pass_seconds(self) -> list[list[float]]:
        """From the beginning of each forward pass to the next one's, a list per step."""
        found: dict[int, list[float]] = {}
        for step, here, there in zip(self.steps, self.passes, self.passes[1:], strict=False):
            took = there[0] - here[0] if isinstance(here[0], float) else here[0].elapsed_time(there[0]) / 1e3
            found.setdefault(step, []).append(round(took, 4))
        return list(found.values())


def _lengths(seen: Any, packed: bool) -> list[int]:
    """Lengths of the dialogues of a batch: *seen* is a packed row's position_ids, or the lengths themselves."""
    if not packed:
        return [int(one) for one in seen.tolist()]
    places = seen.reshape(-1).tolist()
    starts = [index for index, place in enumerate(places) if place == 0]
    return [end - start for start, end in zip(starts, [*starts[1:], len(places)], strict=True)]


def worker(name: str, options: argparse.Namespace) -> None:
    """Import everything, wait for a line on standard input, train, write ``<name>.json``."""
    import torch
    from swift import sft_main

    profiled = name.endswith("+profile")
    per_step = int(str(CONFIGS[name.removesuffix("+profile")][0]["gradient_accumulation_steps"]))
    meter = Meter(options.out / f"{name}.txt" if profiled else None, 2 * per_step, 3 * per_step)
    meter.attach()
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    line = argv(name, options)
    result = sft_main(line)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.synchronize()
    wall = time.perf_counter() - began
    from transformers import AutoConfig

    entries = meter.read()
    steady = entries[options.warm_up :]
    seconds = sum(one["seconds"] for one in steady)
    tokens = sum(one["tokens"] for one in steady)
    recompute = CONFIGS[name.removesuffix("+profile")][0]["gradient_checkpointing"] == "true"
    work = floating_operations(
        AutoConfig.from_pretrained(options.model), tokens, sum(one["squares"] for one in steady), recompute
    )
    history = [one for one in result["log_history"] if "loss" in one]
    report = {
        "name": name,
        "command": "swift sft " + " ".join(line),
        "versions": {
            key: _version(key) for key in ("torch", "transformers", "ms-swift", "peft", "liger-kernel")
        },
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "steps_measured": len(steady),
        "tokens_per_s": round(tokens / seconds, 1) if seconds else None,
        "seconds_per_step": round(seconds / len(steady), 3) if steady else None,
        "tokens_per_step": round(tokens / len(steady)) if steady else None,
        "padding_share": round(1 - tokens / sum(one["padded"] for one in steady), 4) if steady else None,
        "labelled_share": round(sum(one["labelled"] for one in steady) / tokens, 4) if steady else None,
        "model_tflops": round(work["model"] / seconds / 1e12, 1) if seconds else None,
        "executed_tflops": round(work["executed"] / seconds / 1e12, 1) if seconds else None,
        "mfu": round(work["model"] / seconds / DATASHEET_FLOPS, 4) if seconds else None,
        "peak_allocated_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1) if on_gpu else None,
        "peak_reserved_gib": round(torch.cuda.max_memory_reserved() / 2**30, 1) if on_gpu else None,
        "wall_s": round(wall, 1),
        "loss": [round(one["loss"], 5) for one in history],
        "grad_norm": [round(float(one["grad_norm"]), 5) for one in history],
        "pass_seconds": meter.pass_seconds(),
        "steps": [{key: round(value, 4) for key, value in one.items()} for one in entries],
    }
    (options.out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="+", help=f"of {', '.join(CONFIGS)}; with +profile: a kernel table too"
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="sharegpt JSONL")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scratch", default="/tmp/train_speed")
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=3, help="steps that are not counted")
    parser.add_argument("--plain-allocator", action="store_true", help="PyTorch's allocator as it comes")
    parser.add_argument("--limit-s", type=float, default=240, help="for one configuration")
    parser.add_argument("--attention", help="instead of the configuration's own attention implementation")
    parser.add_argument("--plugin", action="append", default=[], help="a further plugin file")
    parser.add_argument("--extra", default="", help="further flags of swift sft, in one string")
    parser.add_argument("--wait-for", type=Path, help="file that says the model is there; import meanwhile")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.worker:
        worker(options.names[0], options)
        return 0
    rest = sys.argv[1:]
    for name in options.names:
        rest.remove(name)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if not options.plain_allocator:
        environment["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
    started = []
    for name in options.names:
        log = (options.out / f"{name}.log").open("w")
        line = [sys.executable, __file__, name, "--worker", *rest]
        process = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        started.append((name, process))
    while options.wait_for and not options.wait_for.exists():
        time.sleep(0.2)
    failed = 0
    for name, process in started:
        began = time.perf_counter()
        try:
            process.communicate(b"go\n", timeout=options.limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        took = time.perf_counter() - began
        path = options.out / f"{name}.json"
        if process.returncode or not path.exists():
            failed += 1
            tail = (options.out / f"{name}.log").read_text(errors="replace")[-1800:]
            print(f"== {name}: exit {process.returncode} after {took:.0f} s\n{tail}", flush=True)
            continue
        report = json.loads(path.read_text())
        keys = (
            "tokens_per_s",
            "seconds_per_step",
            "tokens_per_step",
            "padding_share",
            "model_tflops",
            "mfu",
            "peak_allocated_gib",
            "peak_reserved_gib",
            "wall_s",
            "loss",
        )
        print(f"== {name}", {key: report[key] for key in keys}, f"process {took:.0f} s", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
