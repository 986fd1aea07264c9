"""What a finished plan left, as rows of the tables."""

from __future__ import annotations

import json
import math
from pathlib import Path

from bakeoff.evalscope.types import SampleRow, ScoreRow, SuiteResult
from bakeoff.foundation.errors import ScoreError
from bakeoff.foundation.files import read_rows
from bakeoff.foundation.sentences import restored


def read_results(work_dir: Path) -> dict[str, SuiteResult]:
    """The results of the last finished plan of *work_dir*, by suite.

    ``folder`` says where each suite's files lie.

    Of a suite that broke there is only ``error``, which says why.

    Raises:
        ScoreError: no plan has finished there.
    """
    index = work_dir / "results.json"
    if not index.is_file():
        raise ScoreError(f"{index}: no evaluation has finished there; its log says why")
    index_of = json.loads(index.read_text(encoding="utf-8"))
    results: dict[str, SuiteResult] = {name: {"error": why} for name, why in index_of["errors"].items()}
    for name, folder in index_of["suites"].items():
        result: SuiteResult = restored(
            json.loads((work_dir / folder / "result.json").read_text(encoding="utf-8"))
        )
        result["folder"] = str(work_dir / folder)
        results[name] = result
    return results


def how_far(work_dir: Path) -> tuple[int, int] | None:
    """How many questions are answered, and of how many; None before."""
    try:
        plan = json.loads((work_dir / "asked.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    files = [
        path for folder in plan["folders"] for path in (work_dir / folder / "predictions").rglob("*.jsonl")
    ]
    return sum(path.read_bytes().count(b"\n") for path in files), plan["questions"]


def score_rows(
    result: SuiteResult, *, run_id: str, model: str, variant: str, fingerprint: str
) -> list[ScoreRow]:
    """The rows of the scores table that *result* holds."""
    rows: list[ScoreRow] = []
    for row in result["scores"]:
        whole: ScoreRow = {
            **row,
            "run_id": run_id,
            "model": model,
            "variant": variant,
            "fingerprint": fingerprint,
            "value": _number(row["value"]),
            "worst": _number(row["worst"]),
            "best": _number(row["best"]),
            "chance": _number(row["chance"]),
        }
        rows.append(whole)
    return rows


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def sample_rows(result: SuiteResult, *, model: str, variant: str) -> list[SampleRow]:
    """The rows of the samples table that belong to *result*."""
    rows: list[SampleRow] = read_rows(Path(result["folder"]) / "samples.jsonl")
    return [
        {
            **row,
            "correct": _number(row["correct"]),
            "model": model,
            "variant": variant,
        }
        for row in rows
    ]
