"""Where what a record names lies today; a store may have been moved."""

from __future__ import annotations

import json
from pathlib import Path


def evidence_of(root: Path, result: Path) -> Path | None:
    """Return the folder of the replies behind *result*; None if gone."""
    try:
        content = json.loads(result.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    folder = place_of(root, str(content.get("folder", ""))) if isinstance(content, dict) else None
    return folder if folder and folder.is_dir() else None


def place_of(root: Path, place: str) -> Path | None:
    """Return where *place* lies in the store *root* today.

    The store may have been moved; None where *place* is no part of it. A store is named by no record, so the part of
    the path below it begins at a folder that every store has.
    """
    parts = Path(place).parts
    starts = [at for at, part in enumerate(parts) if part in ("models", "tiny", "hubs", "forms", "runs")]
    inside = [root.joinpath(*parts[at:]) for at in starts if ".." not in parts[at:]]
    return next((path for path in inside if path.exists()), inside[-1] if inside else None)
