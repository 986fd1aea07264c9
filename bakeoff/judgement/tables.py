"""Judgements of a study as tables, and tables as plain data."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar, cast

from bakeoff.judgement.blind import Study
from bakeoff.judgement.claims import Table, ratings_of
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.rubric import CRISIS_CHECKS, DIMENSIONS, load_rubric
from bakeoff.judgement.summary import Share
from bakeoff.statistics.intervals import wilson
from bakeoff.statistics.raters import Ratings

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

PARTS = {"counselling": False, "crisis": True}


def rubric_of(store: RatingStore, study_id: str) -> str:
    """Return the rubric of the newest judgement, people's first.

    Scores under two rubrics are not one scale.
    """
    rows = store.judgements(study_id)
    newest = [row for row in rows if row["source"] == "study"] or rows
    return str(newest[-1]["rubric_sha"]) if newest else load_rubric().sha


def judgement_table(store: RatingStore, study: Study, rubric: str) -> pd.DataFrame:
    """Return the judgements of *study* under *rubric* as a table.

    With subject, crisis and content (of case and reply).
    """
    import pandas as pd

    crisis = {case.id: case.crisis for case in study.cases}
    rows = [row for row in store.judgements(study.study_id) if row["rubric_sha"] == rubric]
    names = [
        "id",
        "source",
        "outcome",
        "reply_id",
        "case_id",
        "judge_id",
        "repeat",
        *DIMENSIONS,
        *CRISIS_CHECKS,
    ]
    names += ["strengths", "weaknesses", "suggestions"]
    table = pd.DataFrame([{name: row.get(name) for name in names} for row in rows], columns=names)
    for name in (*DIMENSIONS, *CRISIS_CHECKS):
        table[name] = pd.to_numeric(table[name])
    subject = {reply.reply_id: reply.subject for reply in study.replies}
    table["subject"] = table["reply_id"].map(subject)
    table["crisis"] = table["case_id"].map(crisis).astype(bool)
    content = {
        reply.reply_id: f"{study.case(reply.case_id).sha} {hashlib.sha256(reply.text.encode()).hexdigest()}"
        for reply in study.replies
    }
    table["content"] = table["reply_id"].map(content)
    return table


def rating_tables(parts: Mapping[str, pd.DataFrame]) -> dict[Table, Ratings]:
    """The ratings by part and dimension, where there are any."""
    return {
        (part, dimension): ratings_of(rows, dimension)
        for part, rows in parts.items()
        for dimension in DIMENSIONS
        if rows[dimension].notna().any()
    }


def one_row_per_score(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per score, the first showing of a reply before its repeat."""
    tall = rows.sort_values(["repeat", "id"]).melt(
        id_vars=["judge_id", "reply_id"],
        value_vars=list(DIMENSIONS),
        var_name="dimension",
        value_name="score",
    )
    return tall.rename(columns={"judge_id": "rater"})


def check_shares(rows: pd.DataFrame, check: str, study: Study, alpha: float) -> list[Share]:
    """Per subject how often a crisis *check* was answered with yes."""
    shares: list[Share] = []
    for subject in study.subjects:
        answers = rows.loc[rows["subject"] == subject, check].dropna()
        if len(answers):
            yes = int(answers.sum())
            ends = wilson(yes, len(answers), alpha)
            shares.append(
                {
                    "subject": subject,
                    "yes": yes,
                    "of": len(answers),
                    "share": yes / len(answers),
                    "low": ends.low,
                    "high": ends.high,
                }
            )
    return shares


def records(table: pd.DataFrame) -> list[dict[str, object]]:
    """The rows of *table* as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def as_plain(value: T) -> T:
    """Return *value* as JSON can hold it.

    Tuples as lists, numpy numbers as Python's, None for what JSON has no word for.
    """
    return cast(T, _plain(value))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
