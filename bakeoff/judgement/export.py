"""Judgements as CSV, for spreadsheets and statistics programs."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from bakeoff.judgement.rows import JudgementRow, StudyRow
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

_SIGNS = ("=", "+", "-", "@", "|", "%", "\N{MINUS SIGN}")
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}
"""Control characters as they are drawn: some programs end a field, or the file, at NUL or Ctrl-Z."""
_CELLS = re.compile(r"([;\t\n])")
"""Where a spreadsheet of another language, told to separate at semicolons or tabs, begins a cell inside a text."""
_CALLS = re.compile(r"[(|!\uff08\uff5c\uff01]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def judgements_csv(rows: Iterable[JudgementRow | StudyRow]) -> str:
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
    """Return *rows* as CSV with the columns *fields*.

    A spreadsheet runs no formula in it.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _no_formula(value) for key, value in row.items()})
    return text.getvalue()


def _no_formula(value: object) -> object:
    """Return *value*, with an apostrophe where a spreadsheet would calculate.

    A bare number stays one.
    """
    if not isinstance(value, str) or not value or _NUMBER.fullmatch(value):
        return value
    value = value.replace("\r\n", "\n").replace("\r", "\n")  # a lone carriage return would not be quoted
    value = value.translate(_PICTURES)
    guarded = "'" if _begins_formula(value) or value[0] in "\t\n" else ""
    cells = _CELLS.split(value)
    for place in range(2, len(cells), 2):
        # In a prose list "- so" is left alone: what is called has parentheses, what is started a bar.
        if _CALLS.search(cells[place]) and _begins_formula(cells[place]):
            cells[place] = f"'{cells[place]}"
    return guarded + "".join(cells)


def _begins_formula(cell: str) -> bool:
    """Whether a spreadsheet would calculate *cell*."""
    # Spreadsheets drop blanks, marks that are not seen and quotes before they look at the sign.
    begin = next(
        (
            sign
            for sign in cell
            if sign not in "\"'"
            and unicodedata.category(sign)[0] not in "ZC"
            and not "\u2400" <= sign <= "\u2421"
        ),
        "",
    )
    return unicodedata.normalize("NFKC", begin)[:1] in _SIGNS
