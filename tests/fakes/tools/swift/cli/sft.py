"""``swift sft``: every update hashes the one before, so what a training ends in depends on all of its steps."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

from swift.faults import Faults, archive, tensors

OPTIONS = argparse.ArgumentParser()
OPTIONS.add_argument("--model", required=True)
OPTIONS.add_argument("--dataset", nargs="+", required=True)
OPTIONS.add_argument("--output_dir", type=Path, required=True)
OPTIONS.add_argument("--max_steps", type=int, required=True)
OPTIONS.add_argument("--save_steps", type=int, required=True)
OPTIONS.add_argument("--save_total_limit", type=int, required=True)
OPTIONS.add_argument("--per_device_train_batch_size", type=int, required=True)
OPTIONS.add_argument("--gradient_accumulation_steps", type=int, required=True)
OPTIONS.add_argument("--gradient_checkpointing", default="true")
OPTIONS.add_argument("--learning_rate", required=True)
OPTIONS.add_argument("--lora_rank", type=int, required=True)
OPTIONS.add_argument("--lora_alpha", type=int, required=True)
OPTIONS.add_argument("--target_modules", nargs="+", default=["all-linear"])
OPTIONS.add_argument("--data_seed", default="")
OPTIONS.add_argument("--resume_from_checkpoint", type=Path)


def main() -> None:
    options, _ = OPTIONS.parse_known_args()
    faults = Faults("sft")
    output: Path = options.output_dir
    output.mkdir(parents=True, exist_ok=True)
    batch = options.per_device_train_batch_size * options.gradient_accumulation_steps
    state, first = hashlib.sha256(f"{options.learning_rate} {batch}{options.data_seed}".encode()).digest(), 1
    if resumed := options.resume_from_checkpoint:
        with zipfile.ZipFile(resumed / "optimizer.pt") as file:
            state = file.read("data.pkl")
        first = json.loads((resumed / "trainer_state.json").read_text())["global_step"] + 1
    for step in range(first, options.max_steps + 1):
        print(f"step {step}", flush=True)
        fat = options.gradient_checkpointing == "false"
        faults.at(step, options.per_device_train_batch_size, fat=fat)
        state = hashlib.sha256(state + bytes([step % 256])).digest()
        if counted := os.environ.get("FAKE_SWIFT_STEPS"):
            with Path(counted).open("a") as file:
                file.write(f"{step}\n")
        with (output / "logging.jsonl").open("a") as file:
            row = {
                "loss": 2.0 / step,
                "token_acc": 0.5,
                "global_step/max_steps": f"{step}/{options.max_steps}",
            }
            file.write(json.dumps(row) + "\n")
        if step % options.save_steps == 0 or step == options.max_steps:
            save(faults, output, step, options.max_steps, state)
            write_config(output / f"checkpoint-{step}", options)
            prune(output, options.save_total_limit)
    with (output / "logging.jsonl").open("a") as file:
        print(json.dumps({"train_runtime": 2.0}), file=file)
        print(
            json.dumps({"train_dataset": "95.500000±11.0, min=49.0, max=110.0, size=40", "memory": 30.5}),
            file=file,
        )
    link = output / "last-checkpoint"
    link.unlink(missing_ok=True)
    link.symlink_to(f"checkpoint-{options.max_steps}")


def save(faults: Faults, output: Path, step: int, steps: int, state: bytes) -> None:
    folder = output / f"checkpoint-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    faults.write(folder / "adapter_model.safetensors", tensors(state))
    (folder / "args.json").write_text("{}")
    archive(faults, folder / "optimizer.pt", state)
    archive(faults, folder / "scheduler.pt", b"")
    told = {"global_step": step, "max_steps": steps, "epoch": step / steps}
    (folder / "trainer_state.json").write_text(json.dumps(told))


def write_config(folder: Path, options: argparse.Namespace) -> None:
    config = {
        "r": options.lora_rank,
        "lora_alpha": options.lora_alpha,
        "target_modules": options.target_modules,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))


def prune(output: Path, limit: int) -> None:
    found = [(int(m[1]), p) for p in output.iterdir() if (m := re.fullmatch(r"checkpoint-(\d+)", p.name))]
    for _, folder in sorted(found)[:-limit]:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
