"""What decides a result, as a mapping, and how two of them differ in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bakeoff.store.stage import Identity


def plain(identity: Identity) -> dict[str, Any]:
    """Return *identity* as it comes back from a JSON file."""
    return dict(json.loads(json.dumps(dict(identity), default=str)))


def differences(before: Identity, after: Identity) -> str:
    """What changed between two identities, in words: ``learning_rate: '2e-4' is now '1e-4'``."""
    old, new = _flat(before), _flat(after)
    words = []
    for key in [*new, *(k for k in old if k not in new)]:
        if old.get(key) != new.get(key):
            words.append(f"{key}: {_short(old.get(key))} is now {_short(new.get(key))}")
    return "; ".join(words[:6]) + (f"; and {len(words) - 6} more" if len(words) > 6 else "")


def _flat(identity: Identity, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in identity.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _short(value: object) -> str:
    if value is None:
        return "absent"
    text = str(value)
    is_digest = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return repr(text[:10] + "…" if is_digest else text)
