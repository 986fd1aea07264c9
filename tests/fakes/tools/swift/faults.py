"""Failures on request, and the files that ms-swift leaves.

``FAKE_SWIFT=sft:kill@5,export:full@1`` names failures as ``program:kind@step``; with ``FAKE_SWIFT_ONCE=<folder>`` each
happens only once. A step is one update of ``sft``, one of the two files of ``export``, one completion of ``deploy``.

Kinds: ``term`` and ``kill`` (by signal), ``crash`` (an exception), ``network`` (one that may pass), ``flag`` (one that
will not), ``untracked`` (SwanLab refuses the key, while it is the tracker), ``hang`` (silence), ``oom`` (while the
batch is above 1), ``fat`` (out of memory while nothing is recomputed), ``full`` (the system refuses to write on),
``tear`` (killed in the middle of a file), ``lie`` (exit code 0 before the work is done), ``slow`` (a second per step
from there on), ``until`` (waits for a record in ``FAKE_SWIFT_UNTIL``), ``told`` (prints its environment).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import signal
import sys
import time
import zipfile
from pathlib import Path


class AuthenticationError(Exception):
    """SwanLab's, as a traceback names it."""

    __module__ = "swanlab.exceptions"


class Faults:
    """Those of one program."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.torn = False
        asked = [one.partition(":") for one in os.environ.get("FAKE_SWIFT", "").split(",") if one]
        self.wanted = {
            int(step or 1): kind
            for name, _, (kind, _, step) in ((n, c, rest.partition("@")) for n, c, rest in asked)
            if name == program
        }

    def at(self, step: int, batch: int = 1, *, fat: bool = False) -> None:
        """Fail now where a failure is due at *step*."""
        if any(kind == "slow" and step >= first for first, kind in self.wanted.items()):
            time.sleep(1)
        kind = self.wanted.get(step, "")
        if kind == "untracked" and "swanlab" not in sys.argv:
            return
        if kind in ("", "slow") or not self._first(f"{kind}@{step}", batch, fat):
            return
        if kind in ("term", "kill"):
            os.kill(os.getpid(), signal.SIGTERM if kind == "term" else signal.SIGKILL)
            time.sleep(60)
        elif kind == "crash":
            raise RuntimeError("failed on purpose")
        elif kind == "network":
            raise OSError("HTTPSConnectionPool: Connection reset by peer")
        elif kind == "flag":
            sys.exit("ValueError: remaining_argv: ['--bach_size']")
        elif kind == "untracked":
            raise AuthenticationError("Please check if the provided API key is correct.")
        elif kind == "hang":
            time.sleep(600)
        elif kind in ("oom", "fat"):
            raise RuntimeError("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB")
        elif kind == "full":
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        elif kind == "tear":
            self.torn = True
        elif kind == "lie":
            sys.exit(0)
        elif kind == "until":
            deadline = time.monotonic() + 60
            folder = Path(os.environ["FAKE_SWIFT_UNTIL"])
            while not any(folder.glob("*/record.json")) and time.monotonic() < deadline:
                time.sleep(0.05)
        elif kind == "told":
            print(*(f"{name}={value}" for name, value in os.environ.items()), sep="\n", flush=True)

    def _first(self, what: str, batch: int, fat: bool) -> bool:
        if what.startswith(("oom", "fat")):
            return fat if what.startswith("fat") else batch > 1
        folder = os.environ.get("FAKE_SWIFT_ONCE")
        if not folder:
            return True
        mark = Path(folder) / f"{self.program}:{what}"
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def write(self, path: Path, content: bytes) -> None:
        """Write a file as a kill may find it: in two halves."""
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            if self.torn and path.suffix == ".safetensors":
                os.kill(os.getpid(), signal.SIGKILL)
            file.write(content[len(content) // 2 :])


def tensors(state: bytes, size: int = 32768) -> bytes:
    """A valid safetensors file whose one tensor grows out of *state*."""
    data = hashlib.shake_256(state).digest(size)
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + data


def read_tensors(path: Path) -> bytes:
    """The file *path*, or an error as safetensors raises it."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if len(content) != 8 + length + json.loads(content[8 : 8 + length])["w"]["data_offsets"][1]:
        raise OSError(errno.EIO, f"MetadataIncompleteBuffer: {path}")
    return content


def archive(faults: Faults, path: Path, content: bytes) -> None:
    """A zip file, as ``torch.save`` writes one."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", content)
