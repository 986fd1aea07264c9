"""Judgements as CSV, for spreadsheets and statistics programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bakeoff.judgement.rubric import COMMENTS, CRISIS_CHECKS, DIMENSIONS

EXPORT_FIELDS = ("test_case_id", "model_name", "judge_id", "timestamp", *DIMENSIONS, *COMMENTS, "confidence")
"""Field names of the export, in the guide's order; further columns follow them."""

FURTHER = (
    "variant",
    "source",
    "outcome",
    "study_id",
    "repeat",
    *CRISIS_CHECKS,
    "seconds",
    "rubric_sha",
    "id",
)


def judgements_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """*rows* of judgements as CSV, the guide's field names first.

    A comment that a spreadsheet would take for a formula gets a leading apostrophe. Replies nobody could
    judge, and failures of judge models, are rows without scores; column ``outcome`` says which.
    """
    named = []
    for row in rows:
        model = f"{row['model']}/{row['variant']}" if row["variant"] else row["model"]
        more = {"test_case_id": row["case_id"], "timestamp": row["created_at"], "model_name": model}
        named.append({**row, **more})
    return csv_of([*EXPORT_FIELDS, *FURTHER], named)


def csv_of(fields: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """*rows* as CSV with the columns *fields*, without formulas that a spreadsheet would run."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _no_formula(value) for key, value in row.items()})
    return text.getvalue()


def _no_formula(value: object) -> object:
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )
