"""Time what the host of a card costs: imports, forks, hashing.

python bench/gpu/host.py --model /dev/shm/qwen [--files-at-once 1 8]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

FORKED = """
import json, os, sys, time
began = time.monotonic()
from importlib import import_module
for module in sys.argv[1:]:
    import_module(module)
took = time.monotonic() - began
from bakeoff.probes.loading import has_asked_for_card
asked, at = has_asked_for_card(), time.monotonic()
reading, writing = os.pipe()
if os.fork() == 0:
    try:
        import torch
        said = str(torch.ones(3, device="cuda").sum().item()) if torch.cuda.is_available() else "no card"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"[:200]
    os.write(writing, said.encode())
    os._exit(0)
os.close(writing)
said = os.read(reading, 1000).decode()
print(json.dumps({"imports_s": round(took, 1), "asked_for_card": asked, "fork_said": said,
                  "fork_s": round(time.monotonic() - at, 1)}))
"""


def forked(environment: dict[str, str], modules: tuple[str, ...]) -> dict[str, object]:
    """Return what a fork after importing *modules* says of the card."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", FORKED, *modules],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    except subprocess.TimeoutExpired as error:
        return {"failed": f"{error}"[-200:]}
    try:
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))
    except (IndexError, ValueError):
        return {"failed": done.stderr[-600:]}


def hashed(folder: Path, at_once: int) -> dict[str, float]:
    """Return the speed of hashing a *folder* with so many files at once."""
    from bakeoff.foundation import provenance

    provenance.READERS = at_once
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e9
    with tempfile.TemporaryDirectory() as place:
        began = time.monotonic()
        provenance.ContentHashes(Path(place) / "cache.json").of(folder, ("*.safetensors",))
        took = time.monotonic() - began
    return {
        "files_at_once": at_once,
        "gb": round(size, 2),
        "seconds": round(took, 2),
        "gb_per_s": round(size / took, 2),
    }


def main() -> None:
    """Print all of it as JSON."""
    from bakeoff.execution.runner import WARM

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--files-at-once", type=int, nargs="*", default=[1, 8])
    options = parser.parse_args()
    print(json.dumps({
        "processors": len(os.sched_getaffinity(0)),
        "imports": forked({}, WARM["bakeoff.parity_probe"]),
        "by_the_driver's_list": forked({"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}, WARM["bakeoff.parity_probe"]),
        "transformers": forked({"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}, ("transformers",)),
        "hashing": [hashed(options.model, number) for number in options.files_at_once],
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
