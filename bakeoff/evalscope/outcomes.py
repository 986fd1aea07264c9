"""What a finished plan left, as rows of the tables."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bakeoff.errors import ScoreError
from bakeoff.files import read_rows
from bakeoff.sentences import restored


def read_results(work_dir: Path) -> dict[str, dict[str, Any]]:
    """The results of the last finished plan of *work_dir*, by suite; ``folder`` says where each suite's files lie.

    Of a suite that broke there is only ``error``, which says why.

    Raises:
        ScoreError: no plan has finished there.
    """
    index = work_dir / "results.json"
    if not index.is_file():
        raise ScoreError(f"{index}: no evaluation has finished there; its log says why")
    index_of = json.loads(index.read_text(encoding="utf-8"))
    results: dict[str, dict[str, Any]] = {name: {"error": why} for name, why in index_of["errors"].items()}
    for name, folder in index_of["suites"].items():
        result = restored(json.loads((work_dir / folder / "result.json").read_text(encoding="utf-8")))
        results[name] = {**result, "folder": str(work_dir / folder)}
    return results


def how_far(work_dir: Path) -> tuple[int, int] | None:
    """How many questions of a running evaluation are answered, and of how many; None until they are read."""
    try:
        asked = json.loads((work_dir / "asked.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    files = [path for one in asked["folders"] for path in (work_dir / one / "predictions").rglob("*.jsonl")]
    return sum(path.read_bytes().count(b"\n") for path in files), asked["questions"]


def score_rows(
    result: Mapping[str, Any], *, run_id: str, model: str, variant: str, fingerprint: str
) -> list[dict[str, Any]]:
    """The rows of the scores table that *result* (of :func:`read_results`) holds."""
    context = {"run_id": run_id, "model": model, "variant": variant, "fingerprint": fingerprint}
    rows = []
    for row in result["scores"]:
        values = {
            k: math.nan if v is None and k in ("value", "worst", "best", "chance") else v
            for k, v in row.items()
        }
        rows.append({**values, **context})
    return rows


def sample_rows(result: Mapping[str, Any], *, model: str, variant: str) -> list[dict[str, Any]]:
    """The rows of the samples table that belong to *result*."""
    rows = read_rows(Path(result["folder"]) / "samples.jsonl")
    return [
        {
            **row,
            "correct": math.nan if row["correct"] is None else row["correct"],
            "model": model,
            "variant": variant,
        }
        for row in rows
    ]
