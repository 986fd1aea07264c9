"""What the judgements of a study say.

Scores with intervals, agreement, raters; crisis cases on their own. :mod:`~bakeoff.judgement.summary` says what the
summary holds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from bakeoff.foundation.sentences import in_chinese
from bakeoff.judgement.agreement import intra_rater, severity
from bakeoff.judgement.blind import Study
from bakeoff.judgement.claims import Compare, Table, always_valid
from bakeoff.judgement.erasure import erasures
from bakeoff.judgement.incomplete import compare_incomplete
from bakeoff.judgement.judged import judged_by_model
from bakeoff.judgement.parts import part_verdicts
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.rows import point
from bakeoff.judgement.rubric import DIMENSIONS
from bakeoff.judgement.soundness import doubts_of_study
from bakeoff.judgement.summary import Comment, Number, PartVerdicts, RaterTables, StudyFacts, Summary
from bakeoff.judgement.tables import (
    PARTS,
    as_plain,
    judgement_table,
    one_row_per_score,
    rating_tables,
    records,
    rubric_of,
)
from bakeoff.statistics.raters import Rated, Ratings, compare_ratings

if TYPE_CHECKING:
    import pandas as pd

SCALE = (1.0, 5.0)


def summarise(
    store: RatingStore,
    study_id: str,
    *,
    difference: float = 0.5,
    alpha: float = 0.05,
    raters: Collection[str] = (),
    topic: str = "",
) -> Summary:
    """Return what results tab and report show of one study, as plain data.

    NaN is None.

    Args:
        difference: the difference in points (scale 1..5) that ``needed`` asks for.
        alpha: one minus the confidence of every interval.
        raters: only judgements of these people; none given: of everybody.
        topic: only cases on this topic.
    """
    study = store.study(study_id)
    rubric = rubric_of(store, study_id)
    rows = judgement_table(store, study, rubric)
    people = _chosen(rows[rows["source"] == "study"], study, raters, topic)
    scored = {
        name: people[(people["crisis"] == crisis) & (people["outcome"] == "scored")]
        for name, crisis in PARTS.items()
    }
    done = {rater: store.progress(study_id, rater) for rater in store.raters(study_id)}
    tables = rating_tables({name: in_part[in_part["repeat"] == 0] for name, in_part in scored.items()})
    # Where each rater saw some of the cases, no block of cases and raters is complete.
    compare: Compare = compare_incomplete if study.is_partial else compare_ratings
    rated = _rated(tables, alpha, compare)
    # who looks while raters are at work looks more than once
    at_every_look = always_valid(tables, rated, alpha=alpha, scale=SCALE, compare=compare)
    running = any(now < total for now, total in done.values())
    parts: dict[str, PartVerdicts | None] = {}
    for name, in_part in scored.items():
        compared = {key[1]: (each, at_every_look[key]) for key, each in rated.items() if key[0] == name}
        parts[name] = (
            part_verdicts(in_part, study, compared, running, (difference, alpha)) if len(in_part) else None
        )
    history = [row for row in store.judgements(study_id, history=True) if row["source"] == "study"]
    summary: Summary = {
        "study": _described(store, study, rubric),
        "counts": {
            "judgements": len(people),
            "cannot_judge": int((people["outcome"] == "cannot_judge").sum()),
            "corrections": sum(row["corrects"] is not None for row in history),
            "raters": {rater: {"done": now, "total": total} for rater, (now, total) in done.items()},
            "other_rubric": sum(row["rubric_sha"] != rubric for row in store.judgements(study_id)),
        },
        "parts": parts,
        "raters": _raters(people[people["outcome"] == "scored"], alpha),
        "comments": _comments(people, study),
        "judges": judged_by_model(store, study_id, alpha=alpha),
        "chat": _chat(store),
    }
    return as_plain(summary)


def _described(store: RatingStore, study: Study, rubric: str) -> StudyFacts:
    """What is said of the study itself."""
    return {
        "id": study.study_id,
        "title": study.title,
        "layout": study.layout,
        "subjects": list(study.subjects),
        "cases": len(study.cases),
        "crisis_cases": sum(case.crisis for case in study.cases),
        "missing": [list(each) for each in study.missing],
        "named": [[each.case_id, each.subject, list(each.found)] for each in study.replies if each.found],
        "doubts": [
            {"subject": subject, "why": str(why), "why_zh": in_chinese(why)}
            for subject, why in doubts_of_study(study).items()
        ],
        "rubric": rubric,
        "reference": study.reference,
        "topics": sorted({case.topic for case in study.cases}),
        "erased": erasures(store, study.study_id),
        "weights": {
            subject: ", ".join(
                sorted({item.fingerprint for item in study.replies if item.subject == subject})
            )
            for subject in study.subjects
        },
    }


def _comments(people: pd.DataFrame, study: Study) -> list[Comment]:
    reply = {each.reply_id: each for each in study.replies}
    return [
        {
            "case": row["case_id"],
            "subject": reply[row["reply_id"]].subject,
            "rater": row["judge_id"],
            "strengths": row["strengths"],
            "weaknesses": row["weaknesses"],
            "suggestions": row["suggestions"],
        }
        for row in people.to_dict("records")
        if row["strengths"] or row["weaknesses"] or row["suggestions"]
    ]


def _chosen(people: pd.DataFrame, study: Study, raters: Collection[str], topic: str) -> pd.DataFrame:
    if raters:
        people = people[people["judge_id"].isin(list(raters))]
    if topic:
        about = {case.id for case in study.cases if case.topic == topic}
        people = people[people["case_id"].isin(about)]
    return people


def _rated(tables: Mapping[Table, Ratings], alpha: float, compare: Compare) -> dict[Table, Rated]:
    """Return the comparison of models of every table.

    Parts and dimensions together are one family of pairs.
    """
    names = {f"{part} {dimension}": (part, dimension) for part, dimension in tables}
    compared = compare({name: tables[key] for name, key in names.items()}, alpha=alpha, scale=SCALE)
    return {key: compared[name] for name, key in names.items()}


def _raters(rows: pd.DataFrame, alpha: float) -> RaterTables:
    if rows.empty:
        return {"consistency": [], "severity": []}
    again = intra_rater(one_row_per_score(rows), ("reply_id", "dimension"), alpha)
    first = rows[rows["repeat"] == 0].copy()
    first["mean"] = first[list(DIMENSIONS)].mean(axis=1)
    harsh = severity(first.pivot(index="reply_id", columns="judge_id", values="mean"), alpha)
    return {"consistency": records(again), "severity": records(harsh)}


def _chat(store: RatingStore) -> dict[str, dict[str, Number]]:
    results: dict[str, dict[str, Number]] = {}
    rows = [row for row in store.judgements() if row["source"] == "chat" and row["outcome"] == "scored"]
    for model in sorted({row["model"] for row in rows}):
        mine = [row for row in rows if row["model"] == model]
        points = {
            name: [score for row in mine if (score := point(row, name)) is not None] for name in DIMENSIONS
        }
        means = {name: sum(each) / len(each) if each else None for name, each in points.items()}
        results[model] = means | {"n": len(mine)}
    return results
