"""Built-in settings: two groups, and the six models of the guide.

They lie beside this file in ``presets.yaml``. A file that writes a group of its own replaces the one here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypedDict, cast

import yaml

FILE = Path(__file__).with_name("presets.yaml")
Settings = Mapping[str, object]


class Presets(TypedDict):
    """The content of ``presets.yaml``: settings by name."""

    groups: dict[str, dict[str, object]]
    models: dict[str, dict[str, object]]
    architectures: dict[str, dict[str, object]]
    environments: dict[str, dict[str, object]]


@cache
def presets() -> Presets:
    """The content of ``presets.yaml``: groups, models, environments."""
    return cast(Presets, yaml.safe_load(FILE.read_text(encoding="utf-8")))


def preset_of(defaults: Settings, groups: Settings, row: Settings) -> dict[str, object]:
    """What *row* starts from; nothing unless its group is a built-in one.

    A row without ``group`` takes ``full`` where its model is one of the guide's six, whose needs are known. In
    ``full``, dense models of a measured architecture train in packs, as those of the guide do. A row that gives its
    own ``training.batch_size`` is taken as it is written.
    """
    group, model = row.get("group", defaults.get("group")), row.get("model", defaults.get("model"))
    settings = presets()["models"].get(model.lower()) if isinstance(model, str) else None
    if group is None and settings is not None:
        group = "full"
    if not isinstance(group, str) or group not in presets()["groups"] or group in groups or "url" in row:
        return {}
    training = row.get("training", {})
    if group == "full" and isinstance(training, dict) and "batch_size" in training:
        return {}  # what full needs, and how it is served, was measured with its own batch
    preset = dict(presets()["groups"][group])
    if settings is None:
        architecture = row.get("model_type", defaults.get("model_type"))
        settings = presets()["architectures"].get(str(architecture), {})
    return laid_over(preset, settings) if group == "full" else preset


def laid_over(under: Settings, over: Settings) -> dict[str, object]:
    """Return *under* with *over* on top, one level deep.

    A mapping below that level, such as the flags of an engine, is taken whole: they belong together.
    """
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = {**below, **value} if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def environments_for(sections: Mapping[str, Settings]) -> dict[str, object]:
    """The environments that the presets of a file's rows name."""
    defaults, groups = sections["defaults"], sections["groups"]
    rows = [row for row in sections["models"].values() if isinstance(row, dict)]
    roles = [preset_of(defaults, groups, row).get("environment", {}) for row in rows]
    names = {name for role in roles if isinstance(role, dict) for name in role.values()}
    return {name: value for name, value in presets()["environments"].items() if name in names}
