"""The paper pack: data, scripts, tables, figures, methods paragraph."""

from __future__ import annotations

import io
import math
import statistics
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakeoff.errors import RatingError
from bakeoff.files import replacing
from bakeoff.judgement.blind import Study
from bakeoff.judgement.export import csv_of
from bakeoff.judgement.items import adjudications
from bakeoff.judgement.paper_texts import codebook, figure_of_means, methods, r_script, readme, spss_syntax
from bakeoff.judgement.progress import events
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.rubric import COMMENTS, CRISIS_CHECKS, DIMENSIONS
from bakeoff.judgement.verdicts import summarise
from bakeoff.statistics.icc import Reliability, icc

WIDE = (
    *("judgement", "rater", "case", "reply", "model", "variant", "subject", "topic", "crisis", "repeat"),
    *("screen", "slot", "outcome", *DIMENSIONS, "confidence", *CRISIS_CHECKS, "seconds", "superseded"),
)
LONG = (
    "judgement",
    "rater",
    "case",
    "reply",
    "subject",
    "topic",
    "crisis",
    "repeat",
    "dimension",
    "score",
    "seconds",
)


@dataclass(frozen=True)
class Facts:
    """What the tables, figures and the methods paragraph are made of.

    Attributes:
        rows: judgements by people under the study's rubric, raters as codes, corrections marked "superseded".
        means: (part, dimension, subject) -> (ratings, mean, standard deviation) over first showings.
        icc: (part, dimension) -> intraclass correlation over replies that the raters of most replies scored.
        summary: of :func:`~bakeoff.judgement.verdicts.summarise`.
        consents: raters who ticked the statement; *attention*: (passed, shown).
    """

    study: Study
    rows: list[dict[str, Any]]
    means: Mapping[tuple[str, str, str], tuple[int, float, float]]
    icc: Mapping[tuple[str, str], Reliability]
    summary: Mapping[str, Any]
    consents: int
    attention: tuple[int, int]

    @property
    def counted(self) -> list[dict[str, Any]]:
        """Scored first showings that count."""
        return [
            row
            for row in self.rows
            if row["outcome"] == "scored" and not row["repeat"] and not row["superseded"]
        ]


def newest_scored(store: RatingStore) -> str:
    """The newest study that people scored.

    Raises:
        RatingError: there is none.
    """
    for name in reversed(store.studies()):
        if any(row["source"] == "study" for row in store.judgements(name)):
            return name
    raise RatingError(f"{store.path}: nobody has scored a study yet, so there is nothing to write about")


def write_pack(store: RatingStore, study_id: str, out: Path) -> list[Path]:
    """Write the pack of a study into *out*, for its owner only; the files.

    Raises:
        RatingError: no such study, or nobody scored it.
    """
    files = pack(store, study_id)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in files.items():
        path = out / name
        with replacing(path) as draft:
            draft.touch(mode=0o600)
            draft.write_text(text, encoding="utf-8-sig" if name.endswith(".csv") else "utf-8", newline="")
        written.append(path)
    return written


def zipped(store: RatingStore, study_id: str) -> bytes:
    """The paper pack as one zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in pack(store, study_id).items():
            archive.writestr(name, text.encode("utf-8-sig" if name.endswith(".csv") else "utf-8"))
    return buffer.getvalue()


def pack(store: RatingStore, study_id: str) -> dict[str, str]:
    """Name -> text of every file of the pack.

    Raises:
        RatingError: no such study, or nobody scored it.
    """
    facts = facts_of(store, study_id)
    study = facts.study
    replies = [
        {
            "reply": each.reply_id,
            "case": each.case_id,
            "subject": each.subject,
            "status": each.status,
            "text": each.shown,
        }
        for each in study.replies
    ]
    settled = [
        {
            "reply": each["reply_id"],
            "at": each["at"],
            **each["scores"],
            **each["crisis"],
            "note": each["note"],
        }
        for each in adjudications(store, study_id)
    ]
    files = {
        "wide.csv": csv_of([*WIDE, *COMMENTS], facts.rows),
        "long.csv": csv_of(LONG, _long(facts)),
        "jasp.csv": csv_of([name for name in WIDE if name not in ("superseded", "judgement")], facts.counted),
        "replies.csv": csv_of(["reply", "case", "subject", "status", "text"], replies),
        "adjudications.csv": csv_of(["reply", "at", *DIMENSIONS, *CRISIS_CHECKS, "note"], settled),
        "codebook.csv": csv_of(["variable", "label_zh", "label_en", "type", "values"], codebook()),
        "table_means.csv": csv_of(["part", "subject", "dimension", "n", "mean", "sd"], _means_rows(facts)),
        "table_agreement.csv": csv_of(_AGREEMENT, _agreement_rows(facts)),
        "spss.sps": spss_syntax([*WIDE, *COMMENTS]),
        "analysis.R": r_script(),
    }
    for name in DIMENSIONS:
        files[f"raters_{name}.csv"] = _by_rater(facts, name)
        files[f"figure_{name}.svg"] = figure_of_means(facts.summary, name)
    text = methods(facts)
    files |= {"methods_en.md": text.english, "methods_zh.md": text.chinese}
    return {"README.md": readme(study, sorted(files)), **files}


def facts_of(store: RatingStore, study_id: str) -> Facts:
    """All that the pack is made of.

    Raises:
        RatingError: no such study, or nobody scored it.
    """
    study = store.study(study_id)
    summary = summarise(store, study_id)
    rows = _rows(store, study, str(summary["study"]["rubric"]))
    if not any(row["outcome"] == "scored" for row in rows):
        raise RatingError(f"{study_id}: nobody has scored this study yet, so there is nothing to write about")
    checks = events(store, study_id, "attention")
    facts = Facts(
        study,
        rows,
        {},
        {},
        summary,
        sum(bool(event["text"]) for event in events(store, study_id, "consent")),
        (sum(event["exact"] == event["of"] for event in checks), len(checks)),
    )
    means, agreement = {}, {}
    for part, crisis in (("counselling", 0), ("crisis", 1)):
        in_part = [row for row in facts.counted if row["crisis"] == crisis]
        for name in DIMENSIONS:
            for subject in sorted({row["subject"] for row in in_part}):
                points = [row[name] for row in in_part if row["subject"] == subject and row[name] is not None]
                if points:
                    spread = statistics.stdev(points) if len(points) > 1 else math.nan
                    means[part, name, subject] = (len(points), statistics.fmean(points), spread)
            if in_part:
                agreement[part, name] = icc(_table(in_part, name))
    return Facts(study, rows, means, agreement, summary, facts.consents, facts.attention)


def _rows(store: RatingStore, study: Study, rubric: str) -> list[dict[str, Any]]:
    code = {name: f"R{place:02d}" for place, name in enumerate(store.raters(study.study_id), 1)}
    newest = {row["id"] for row in store.judgements(study.study_id)}
    at = {
        row["item_id"]: (row["screen"] + 1, row["slot"] + 1)
        for row in store.rows("SELECT item_id, screen, slot FROM item WHERE study_id = ?", study.study_id)
    }
    rows = []
    for row in store.judgements(study.study_id, history=True):
        if row["source"] != "study" or row["rubric_sha"] != rubric:
            continue
        case = study.case(row["case_id"])
        screen, slot = at.get(row["item_id"], ("", ""))
        rows.append(
            row
            | {
                "judgement": row["id"],
                "rater": code.get(row["judge_id"], "R00"),
                "case": case.id,
                "reply": row["reply_id"],
                "subject": f"{row['model']}/{row['variant']}",
                "topic": case.topic,
                "crisis": int(case.crisis),
                "screen": screen,
                "slot": slot,
                "superseded": int(row["id"] not in newest),
            }
        )
    return rows


def _long(facts: Facts) -> list[dict[str, Any]]:
    return [
        row | {"dimension": name, "score": row[name]}
        for row in facts.rows
        if row["outcome"] == "scored" and not row["superseded"]
        for name in DIMENSIONS
        if row[name] is not None
    ]


def _table(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    """[reply x rater] of one dimension, NaN where there is no score."""
    import numpy as np

    replies, raters = (sorted({row[key] for row in rows}) for key in ("reply", "rater"))
    table = np.full((len(replies), len(raters)), np.nan)
    for row in rows:
        if row[name] is not None:
            table[replies.index(row["reply"]), raters.index(row["rater"])] = row[name]
    return table


def _by_rater(facts: Facts, name: str) -> str:
    raters = sorted({row["rater"] for row in facts.counted})
    rows: dict[str, dict[str, Any]] = {}
    for row in facts.counted:
        entry = rows.setdefault(
            row["reply"], {key: row[key] for key in ("reply", "case", "subject", "crisis")}
        )
        entry[row["rater"]] = row[name]
    return csv_of(["reply", "case", "subject", "crisis", *raters], rows.values())


def _means_rows(facts: Facts) -> list[dict[str, Any]]:
    return [
        {
            "part": part,
            "subject": subject,
            "dimension": name,
            "n": count,
            "mean": f"{mean:.2f}",
            "sd": "" if math.isnan(spread) else f"{spread:.2f}",
        }
        for (part, name, subject), (count, mean, spread) in facts.means.items()
    ]


_AGREEMENT = (
    *("part", "dimension", "alpha", "alpha_low", "alpha_high", "units"),
    *("icc_2_1", "icc_2_k", "icc_2_k_low", "icc_2_k_high", "complete_replies", "raters"),
)


def _agreement_rows(facts: Facts) -> list[dict[str, Any]]:
    def shown(value: float | None) -> str:
        return "" if value is None or math.isnan(value) else f"{value:.3f}"

    rows = []
    for (part, name), agreed in facts.icc.items():
        alpha = facts.summary["parts"][part]["agreement"][name]
        rows.append(
            {
                "part": part,
                "dimension": name,
                "alpha": shown(alpha["value"]),
                "alpha_low": shown(alpha["low"]),
                "alpha_high": shown(alpha["high"]),
                "units": alpha["units"],
                "icc_2_1": shown(agreed.single),
                "icc_2_k": shown(agreed.mean),
                "icc_2_k_low": shown(agreed.mean_low),
                "icc_2_k_high": shown(agreed.mean_high),
                "complete_replies": agreed.units,
                "raters": agreed.raters,
            }
        )
    return rows
