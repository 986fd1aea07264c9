"""Where a result comes from: versions, commit, machine, and hashes of what went in."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import subprocess
import threading
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from filelock import FileLock

from bakeoff.errors import DataError

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
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def commit(folder: Path) -> str:
    """The Git commit of *folder*, with ``+`` when files differ from it; empty outside a checkout."""
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


def machine() -> dict[str, object]:
    """The machine in a few words: system, Python, processors, memory in GiB, cards."""
    import psutil

    from bakeoff.execution.gpus import cards

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "processors": os.cpu_count() or 0,
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "gpus": [f"{card.name}, {card.total_gib:.0f} GiB" for card in cards()],
    }


def digest(value: object) -> str:
    """SHA-256 of *value* as canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class ContentHashes:
    """SHA-256 of files and folders; a file is read again only when its size or time of change differs.

    Args:
        cache: JSON file that remembers what was hashed.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._lock = threading.Lock()

    def of(self, path: Path, patterns: Iterable[str] = ("*",)) -> str:
        """The hash of a file, or of the names and contents of a folder's files that match *patterns*.

        Raises:
            FileNotFoundError: there is nothing at *path*.
        """
        if path.is_file():
            return self._file(path)
        files = sorted({p for pattern in patterns for p in path.rglob(pattern) if p.is_file()})
        if not files:
            raise FileNotFoundError(path)
        return digest([(str(p.relative_to(path)), self._file(p)) for p in files])

    def _file(self, path: Path) -> str:
        stat = path.stat()
        key = str(path.resolve())
        stamp = [stat.st_size, stat.st_mtime_ns]
        known = self._read().get(key)
        if known and known[:2] == stamp:
            return str(known[2])
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if stat.st_size > 1 << 20:  # small files are cheaper to read than to remember
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            with self._lock, FileLock(f"{self.cache}.lock"):
                write_json(self.cache, {**self._read(), key: [*stamp, found]})
        return found

    def _read(self) -> dict[str, list[object]]:
        try:
            known = json.loads(self.cache.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


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


def write_json(path: Path, value: object) -> None:
    """Write *value* to *path* so that a reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=1, default=str)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def utf8_text(path: Path) -> str:
    """Return the text of *path*, without a byte order mark.

    Raises:
        DataError: it cannot be opened, or is not UTF-8; the message names the file, the byte and the way out.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = "; give a file in it" if error.errno == errno.EISDIR else ""
        raise DataError(f"{path}: cannot be read ({os.strerror(error.errno or 0)}){hint}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(not_utf8(path, content, error)) from None


def not_utf8(path: Path, content: bytes, error: UnicodeDecodeError) -> str:
    """Return in words where *content* of *path* stops being UTF-8, and what to do about it."""
    guess = " (it looks like UTF-16)" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
    line = content.count(b"\n", 0, error.start) + 1
    return f"{path}:{line}: not UTF-8{guess}: byte 0x{content[error.start]:02x} at {error.start}; save it as UTF-8"
