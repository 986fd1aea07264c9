"""What decides a result, and how two of them differ in words."""

from __future__ import annotations

import json
from collections.abc import Mapping

from bakeoff.foundation.sentences import Template, joined
from bakeoff.store.stage import Identity

CHANGED = Template(
    "store.identity.changed", "{key}: {before} is now {after}", zh="{key}：由 {before} 变为 {after}"
)
AND_MORE = Template("store.identity.and_more", "and {count} more", zh="另有 {count} 处")
ABSENT = Template("store.identity.absent", "absent", zh="无", en="none")


def plain(identity: Identity) -> dict[str, object]:
    """Return *identity* as it comes back from a JSON file."""
    return dict(json.loads(json.dumps(dict(identity), default=str)))


def differences(before: Identity, after: Identity) -> str:
    """Return what changed between two identities, in words.

    Such as ``learning_rate: '2e-4' is now '1e-4'``.
    """
    old, new = _flat(before), _flat(after)
    words = []
    for key in [*new, *(k for k in old if k not in new)]:
        if old.get(key) != new.get(key):
            words.append(CHANGED(key=key, before=_short(old.get(key)), after=_short(new.get(key))))
    return joined([*words[:6], *([AND_MORE(count=len(words) - 6)] if len(words) > 6 else [])])


def _flat(identity: Identity, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in identity.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _short(value: object) -> str:
    if value is None:
        return ABSENT()
    text = str(value)
    is_digest = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return repr(text[:10] + "…" if is_digest else text)
