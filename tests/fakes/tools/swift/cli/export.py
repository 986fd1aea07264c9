"""``swift export --merge_lora``: the merged weights hash the base and the adapter."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from swift.faults import Faults, read_tensors, tensors

OPTIONS = argparse.ArgumentParser()
OPTIONS.add_argument("--model", type=Path, required=True)
OPTIONS.add_argument("--adapters", type=Path, required=True)
OPTIONS.add_argument("--output_dir", type=Path, required=True)


def main() -> None:
    options, _ = OPTIONS.parse_known_args()
    faults = Faults("export")
    base = read_tensors(options.model / "model.safetensors")
    adapter = read_tensors(options.adapters / "adapter_model.safetensors")
    options.output_dir.mkdir(parents=True)
    faults.at(1)
    print("merging", flush=True)
    shutil.copyfile(options.model / "config.json", options.output_dir / "config.json")
    faults.at(2)
    faults.write(options.output_dir / "model.safetensors", tensors(base + adapter, 65536))


if __name__ == "__main__":
    main()
