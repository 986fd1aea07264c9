"""Train a row on one card and on several, with the harness's own lines, and say what each costs and what it learns.

    python bench/gpu/several_cards.py --model /dev/shm/qwen --data dialogues.jsonl --out OUT 1 2

Each number is a training on so many cards, one after the other. Time is that of the trainer's own log between the
first steps, which are left out, and the last; tokens are those of the data, without padding.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from bakeoff.foundation.files import readable_rows
from bakeoff.matrix.schema import ModelSpec
from bakeoff.tools import checkpoints, memory, swift


def row(options: argparse.Namespace, cards: int) -> ModelSpec:
    """The row that *cards* cards train."""
    family = json.loads((options.model / "config.json").read_text(encoding="utf-8"))["model_type"]
    training = {
        "batch_size": options.batch,
        "gradient_accumulation": options.effective // options.batch,
        "fused_loss": True,
        "max_steps": options.steps,
        "save_steps": options.steps,
        "logging_steps": 1,
        "data_workers": 2,
        "tracker": "none",
        "extra": {"lora_dropout": 0, **({"fsdp": ""} if options.whole else {})},
    }
    return ModelSpec.model_validate(
        {
            "name": f"on-{cards}",
            "model": str(options.model),
            "model_type": family,
            "template": {"qwen2": "qwen2_5", "llama": "llama3"}[family],
            "dataset": [f"{options.data}#{options.rows}"],
            "gpus": cards,
            "needs": {"gpu_memory_gib": 1},
            "training": training,
        }
    )


def measure(options: argparse.Namespace, cards: int) -> dict[str, object]:
    """Train on *cards* cards, and return what was measured."""
    spec, output = row(options, cards), options.scratch / f"on-{cards}"
    command = swift.sft(spec, base=str(options.model), output=output, python=sys.executable)
    visible = ",".join(map(str, range(cards)))
    began = time.monotonic()
    with (options.out / f"on-{cards}.log").open("w") as log:
        done = subprocess.run(
            command.argv,
            env={**os.environ, **command.env, "CUDA_VISIBLE_DEVICES": visible},
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=options.limit_s,
            check=False,
        )
    facts = checkpoints.training_facts(output) if output.exists() else {}
    rows = readable_rows(output / "logging.jsonl") if (output / "logging.jsonl").exists() else []
    at = {  # seconds since the first step began, by step
        step: step * float(one["train_speed(s/it)"])
        for one in rows
        if "train_speed(s/it)" in one and "global_step/max_steps" in one
        for step in [int(str(one["global_step/max_steps"]).split("/")[0])]
    }
    last, first = max(at, default=0), options.warm_up
    step_s = (at[last] - at[first]) / (last - first) if first in at and last > first else None
    tokens = float(str(facts.get("train_dataset", "0")).split("±")[0]) * options.effective
    shape = memory.shape_of(str(options.model))
    sharded = memory.is_sharded(spec)
    return {
        "cards": cards,
        "exit": done.returncode,
        "sharded": sharded,
        "seconds_per_step": step_s and round(step_s, 3),
        "tokens_per_s": step_s and round(tokens / step_s, 1),
        "memory_gib": facts.get("memory_gib"),
        "expected_gib": shape and round(memory.training_gib(shape, spec.training, cards, sharded=sharded), 1),
        "loss": facts.get("loss_curve"),
        "incomplete": checkpoints.why_incomplete(newest)
        if (newest := checkpoints.last_checkpoint(output))
        else "no checkpoint",
        "wall_s": round(time.monotonic() - began, 1),
        "command": str(command),
    }


def main() -> int:
    """Measure each number of cards, and compare with the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cards", nargs="+", type=int)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", required=True, help="sharegpt JSONL")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/several_cards"))
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--effective", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--warm-up", type=int, default=3, help="steps that are not counted")
    parser.add_argument("--whole", action="store_true", help="keep the weights whole on each card")
    parser.add_argument("--limit-s", type=float, default=240, help="for one training")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = [measure(options, cards) for cards in options.cards]
    path = options.out / f"several-{options.model.name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for one in found:
        print({key: value for key, value in one.items() if key != "command"}, flush=True)
        if one["exit"]:
            print((options.out / f"on-{one['cards']}.log").read_text(errors="replace")[-2500:], flush=True)
    first, last = found[0]["tokens_per_s"], found[-1]["tokens_per_s"]
    if len(found) > 1 and isinstance(first, float) and isinstance(last, float):
        print(
            f"{found[-1]['cards']} cards train {last / first:.2f} times as fast as {found[0]['cards']}",
            flush=True,
        )
    return int(any(one["exit"] for one in found))


if __name__ == "__main__":
    sys.exit(main())
