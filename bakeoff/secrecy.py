"""Secrets stay in the environment: their values are taken out of whatever is shown or kept."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

NAMES = re.compile(r"(TOKEN|(^|_|API)KEY|SECRET|PASSWORD|PASSWD|CREDENTIAL)S?$", re.IGNORECASE)
"""Environment variables whose values are secrets."""

_declared: set[str] = set()


def declare(name: str) -> None:
    """Take the value of the environment variable *name* for a secret, whatever it is called."""
    _declared.add(name)


_HARMLESS = {"", "EMPTY", "none", "None", "0", "1", "true", "false"}


def secrets() -> list[str]:
    """The values of all secret variables of this process, longest first."""
    named = {v for n, v in os.environ.items() if n in _declared or NAMES.search(n)}
    found = {value for value in named if value not in _HARMLESS and len(value) >= 6}
    return sorted(found, key=len, reverse=True)


def redact(text: str) -> str:
    """*text* with every secret value replaced by ``***``."""
    for value in secrets():
        text = text.replace(value, "***")
    return text


def redacted(value: Any) -> Any:
    """*value* as JSON can hold it, what it has no word for as text, with every secret taken out of its texts.

    To be done before it is serialised: JSON writes a quotation mark or a backslash of a secret otherwise.
    """
    if isinstance(value, Mapping):
        return {key: redacted(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float) else redact(str(value))


def scrub(path: Path) -> None:
    """Cross every secret value out of the file *path*, without changing its length: somebody may be appending."""
    values = [value.encode() for value in secrets()]
    if not values or not path.is_file():
        return
    content = path.read_bytes()
    with path.open("r+b") as file:
        for value in values:
            at = content.find(value)
            while at >= 0:
                file.seek(at)
                file.write(b"*" * len(value))
                at = content.find(value, at + len(value))


def scrub_leftovers(logs: Iterable[Path]) -> None:
    """Scrub those *logs* whose stage was killed before it could: newer than the record beside them, or without one."""
    for log in logs:
        try:
            record = log.with_name("record.json").stat().st_mtime
        except OSError:
            record = 0.0
        with contextlib.suppress(OSError):
            if log.stat().st_mtime > record:
                scrub(log)


def load_env_file(path: Path) -> list[str]:
    """Put the ``NAME=value`` lines of *path* into the environment, without overriding; returns the names set."""
    names = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            name, separator, value = line.strip().removeprefix("export ").partition("=")
            if separator and name.isidentifier() and name not in os.environ:
                os.environ[name] = value.strip().strip("'\"")
                names.append(name)
    return names
