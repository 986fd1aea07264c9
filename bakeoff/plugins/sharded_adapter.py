"""Writes the adapter of a training whose weights lie in parts on several cards.

With FSDP ms-swift 4.6 leaves ``adapter_model.safetensors`` without a single tensor, and with exit code 0: what it
merges later is the base. The trained matrices are in ``pytorch_model_fsdp.bin`` beside it, gathered from all cards.
"""

from __future__ import annotations

from pathlib import Path

WHOLE, ADAPTER = "pytorch_model_fsdp.bin", "adapter_model.safetensors"


def complete(checkpoint: Path) -> None:
    """Fill the adapter of *checkpoint* from the gathered weights, where it has no tensor."""
    import torch
    from safetensors.torch import load_file, save_file

    if not (checkpoint / WHOLE).is_file() or load_file(checkpoint / ADAPTER):
        return
    gathered = torch.load(checkpoint / WHOLE, weights_only=True, map_location="cpu")
    matrices = {  # PEFT's files leave out the adapter's name
        name.replace(".default.", "."): tensor.contiguous()
        for name, tensor in gathered.items()
        if ".lora_" in name
    }
    save_file(matrices, checkpoint / ADAPTER, metadata={"format": "pt"})


def fill_adapters() -> None:
    """From now on each checkpoint of a training gets its adapter."""
    from transformers import Trainer

    save = Trainer._save_checkpoint

    def save_checkpoint(self: Trainer, *arguments: object, **options: object) -> None:
        save(self, *arguments, **options)
        if self.args.should_save:
            complete(Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}")

    Trainer._save_checkpoint = save_checkpoint


if __name__ != "bakeoff.plugins.sharded_adapter":  # ms-swift 4.6 names it by a hash
    fill_adapters()
