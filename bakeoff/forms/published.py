"""Which bases have a native form, and the line that converts them.

A folder is recognised by its ``config.json``, a hub id by the name of the release, a tiny model by its recipe.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from bakeoff.forms.conversion import RECORD, VERSION, contents, examine, family_of
from bakeoff.forms.families import FAMILIES
from bakeoff.forms.family import Family
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import DataError
from bakeoff.foundation.sentences import Template, of_error

NO_CONFIG = Template(
    "forms.published.no_config", "{folder} has no config.json", zh="{folder} 中没有 config.json"
)

TINY = {f"published_{family.model_type}": family for family in FAMILIES}
"""Recipes of tiny models in a published form; see :mod:`bakeoff.forms.tiny_published`."""
BUILDERS = (
    "23361b2b4a5bb890f20e73d57fe8b9f2958abbb3733dc488e48aca2748d69b62",  # bakeoff/tiny.py
    "8329ba63bc0c9f630c5210b9abbed65f899b9bab91d3726239fa545b489f5d67",  # bakeoff/forms/tiny_published.py
)
"""Versions of the programs that build tiny bases; give another word where one builds other weights or files.

The first ones are the SHA-256 of the programs of then, which stores of that time hold.
"""


def published_form(model: str, *, trusts_code: bool) -> Family | None:
    """Return the family in whose published form *model* is, or None.

    Args:
        model: a folder, a hub id, or ``tiny:`` and a recipe.
        trusts_code: whether the row runs the code that comes with a model; then nothing needs to be converted.
    """
    if model.startswith("tiny:"):
        return TINY.get(model.removeprefix("tiny:"))
    folder = Path(model).expanduser()
    if folder.is_dir():
        try:
            family = family_of(folder)
        except DataError:  # no model folder at all: the stage that loads it says so
            return None
    else:
        name = model.rstrip("/").rpartition("/")[2].lower()
        family = next((each for each in FAMILIES if name in each.releases), None)
    return None if family and family.brings_code and trusts_code else family


def identity_of(model: str, digest: Callable[[Path], str], *, use_hf: bool) -> dict[str, object]:
    """Return what decides the native copy of *model*.

    The content of a folder, or the name at a hub.
    """
    folder = Path(model).expanduser()
    source: object = {"hub": model, "use_hf": use_hf}
    if folder.is_dir():
        source = contents(folder, digest)
    return {"convert": {"version": VERSION}, "inputs": {"published": source}}


def convert_command(source: str, target: Path, *, use_hf: bool) -> Command:
    """Return the line that converts *source* into *target*.

    *source* is a folder or a hub id, *target* a folder.
    """
    hub = ("--use-hf",) if use_hf and not Path(source).is_dir() else ()
    return Command((sys.executable, "-m", "bakeoff.forms", source, str(target), *hub))


def why_refused(model: str, *, trusts_code: bool) -> str:
    """Return in words why *model* cannot be converted.

    Empty where it can or need not be.
    """
    if model.startswith("tiny:") or not Path(model).expanduser().is_dir():
        return ""
    if published_form(model, trusts_code=trusts_code) is None:
        return ""
    try:
        examine(Path(model).expanduser())
    except DataError as error:
        return of_error(error)
    return ""


def why_unbuilt(folder: Path) -> str:
    """Return what a published *folder* lacks, empty for a whole one."""
    try:
        contents(folder, str)
    except DataError as error:
        return of_error(error)
    return "" if (folder / "config.json").is_file() else NO_CONFIG(folder=folder)


def last_line(log: Path) -> str:
    """Return the last line of the *log* of a conversion: how far it is."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    except OSError:
        return ""
    return next((line.strip()[-120:] for line in reversed(lines) if line.strip()), "")


def facts_of(native: Path) -> dict[str, object]:
    """Return what the record of a conversion says, and its warnings.

    Without the long list of its tensors.
    """
    record = json.loads((native / RECORD).read_text(encoding="utf-8"))
    tensors = record.pop("tensors")
    notes = [family.note for family in FAMILIES if family.name == record.get("family") and family.note]
    return {
        "conversion": record | {"tensors": sum(len(targets) for _, targets in tensors)},
        "warnings": notes,
    }
