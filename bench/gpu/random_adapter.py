"""Write a LoRA adapter of random numbers for every linear layer: random_adapter.py MODEL FOLDER [SEED]"""

from __future__ import annotations

import json
import sys
from pathlib import Path

RANK = 8


def main(model: Path, folder: Path, seed: int = 1) -> None:
    """Read the shapes out of the weights, and write the adapter."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    tensors, modules = {}, set()
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                if "_proj.weight" not in name:
                    continue
                high, wide = file.get_slice(name).get_shape()
                layer = f"base_model.model.{name.removesuffix('.weight')}"
                tensors[f"{layer}.lora_A.weight"] = torch.randn(RANK, wide) * 0.02
                tensors[f"{layer}.lora_B.weight"] = torch.randn(high, RANK) * 0.02
                modules.add(layer.rsplit(".", 1)[1])
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(folder / "adapter_model.safetensors"))
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 32, "lora_dropout": 0.0, "bias": "none",
        "target_modules": sorted(modules), "base_model_name_or_path": str(model), "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
