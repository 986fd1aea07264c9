"""Secrets stay in the environment: their values are taken out of whatever is shown or kept."""

from __future__ import annotations

import os
import re
from pathlib import Path

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


def scrub(path: Path) -> None:
    """Take every secret value out of the file *path*, in place, where there is one."""
    values = [value.encode() for value in secrets()]
    if not values or not path.is_file():
        return
    content = path.read_bytes()
    cleaned = content
    for value in values:
        cleaned = cleaned.replace(value, b"***")
    if cleaned != content:
        path.write_bytes(cleaned)


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
