"""Where a result comes from: versions, commit, machine, hashes."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import metadata
from pathlib import Path

from filelock import FileLock

from bakeoff.foundation.files import write_json

TOOLS = (
    "bakeoff",
    "ms-swift",
    "evalscope",
    "transformers",
    "peft",
    "torch",
    "pytest",
    "gradio",
)


@cache
def versions(names: tuple[str, ...]) -> dict[str, str]:
    """The installed versions of *names*; what is not installed is left out."""
    installed = {}
    for name in names:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


@cache
def commit(folder: Path) -> str:
    """The Git commit of *folder*; empty outside a checkout.

    It ends in ``+`` when files differ from it.
    """
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def machine(gpus: Sequence[str]) -> dict[str, object]:
    """Return system, Python, processors, memory in GiB, and the *gpus*."""
    import psutil

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "processors": os.cpu_count() or 0,
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "gpus": list(gpus),
    }


def digest(value: object) -> str:
    """SHA-256 of *value* as canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


READERS = 8
"""Files that are hashed at once, at most."""


class ContentHashes:
    """SHA-256 of files and folders.

    A file is read again only when its size or time of change differs.

    Args:
        cache: JSON file that remembers what was hashed.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._lock = threading.Lock()

    def of(self, path: Path, patterns: Iterable[str] = ("*",)) -> str:
        """The hash of a file, or of a folder's files that match *patterns*.

        That of a folder is over names and contents.

        Raises:
            FileNotFoundError: there is nothing at *path*.
        """
        if path.is_file():
            return self._file(path)
        files = _matching(path, patterns)
        if not files:
            raise FileNotFoundError(path)
        return digest([(str(p.relative_to(path)), value) for p, value in self._files(files)])

    def each(self, path: Path, patterns: Iterable[str] = ("*",)) -> dict[str, str]:
        """The hash of each file of a folder that matches *patterns*, by name.

        Of a file, its own.
        """
        if path.is_file():
            return {path.name: self._file(path)}
        return {str(p.relative_to(path)): value for p, value in self._files(_matching(path, patterns))}

    def _files(self, paths: Sequence[Path]) -> Sequence[tuple[Path, str]]:
        """The hash of each of *paths*, in their order, several at a time.

        One core takes a minute for 65 GB, while the cards wait; reading and hashing leave Python's lock.
        """
        if len(paths) < 2:
            return [(path, self._file(path)) for path in paths]
        with ThreadPoolExecutor(min(READERS, len(os.sched_getaffinity(0)))) as readers:
            return list(zip(paths, readers.map(self._file, paths), strict=True))

    def _file(self, path: Path) -> str:
        stat = path.stat()
        key = str(path.resolve())
        # The time of change cannot be set back, as the time of modification can.
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        remembered = self._read().get(key)
        if remembered and remembered[:3] == stamp:
            return str(remembered[3])
        with path.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").hexdigest()
        if stat.st_size > 1 << 20:  # small files are cheaper to read than to remember
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            with self._lock, FileLock(f"{self.cache}.lock"):
                write_json(self.cache, {**self._read(), key: [*stamp, value]})
        return value

    def _read(self) -> dict[str, list[object]]:
        try:
            content = json.loads(self.cache.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted({p for pattern in patterns for p in folder.rglob(pattern) if p.is_file()})


WEIGHTS = (
    "*.safetensors",
    "*model*.bin",  # pytorch_model-00001-of-00007.bin, not a checkpoint's training_args.bin
    "*.py",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "*.jinja",
    "adapter_config.json",
)
"""The files of a model folder that decide what it answers."""

TENSORS = ("*.safetensors", "*model*.bin")
"""The files of a model folder that hold its weights, and nothing else."""

MADE = (*WEIGHTS, "args.json", "*token*.json", "vocab.json", "merges.txt", "*.model", "chat_template.json")
"""The files of a folder that a stage made by which a later run recognises it."""

INDEX = ".index.json"
"""Ending of the file that says which shard holds which weight: one that it leaves out would be drawn anew, at random.
Records of earlier versions do not know it."""
