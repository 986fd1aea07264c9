"""The paper pack: data, scripts, tables, figures, methods paragraph."""

from __future__ import annotations

import csv
import io
import math
import re
import statistics
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.foundation.errors import RatingError
from bakeoff.foundation.files import replacing
from bakeoff.judgement.analysis_in_r import r_script
from bakeoff.judgement.blind import Study
from bakeoff.judgement.export import csv_of
from bakeoff.judgement.incomplete import reliability
from bakeoff.judgement.items import adjudications
from bakeoff.judgement.paper_texts import codebook, figure_of_means, methods, readme, spss_syntax
from bakeoff.judgement.progress import events
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.replies import Case
from bakeoff.judgement.rows import StudyRow, point
from bakeoff.judgement.rubric import COMMENTS, CRISIS_CHECKS, DIMENSIONS
from bakeoff.judgement.summary import Summary
from bakeoff.judgement.verdicts import summarise
from bakeoff.statistics.icc import Reliability

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NO_RATINGS_ZH = "还没有人评分，没有可写的内容"
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
class Rating:
    """A judgement by a person, as the files of the pack have it.

    Attributes:
        rater: a code; who that is stands nowhere in the pack.
        screen, slot: where the reply stood, from 1; empty where nobody knows any more.
        is_superseded: a later correction replaces it.
    """

    row: StudyRow
    rater: str
    case: Case
    screen: int | str
    slot: int | str
    is_superseded: bool

    @property
    def subject(self) -> str:
        """``model/variant``."""
        return f"{self.row['model']}/{self.row['variant']}"

    def flat(self) -> dict[str, object]:
        """Return the columns of wide.csv."""
        flat: dict[str, object] = {
            **self.row,
            "judgement": self.row["id"],
            "rater": self.rater,
            "case": self.case.id,
            "reply": self.row["reply_id"],
            "subject": self.subject,
            "topic": self.case.topic,
            "crisis": int(self.case.crisis),
            "screen": self.screen,
            "slot": self.slot,
            "superseded": int(self.is_superseded),
        }
        return {name: _in_one_line(value) for name, value in flat.items()}


def _in_one_line(value: object) -> object:
    """Return *value* without line breaks, at which SPSS would begin a new row."""
    return (
        re.sub(r"\s*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+\s*", " ⏎ ", value)
        if isinstance(value, str)
        else value
    )


@dataclass(frozen=True)
class Facts:
    """What the tables, figures and the methods paragraph are made of.

    Attributes:
        ratings: judgements by people under the study's rubric.
        means: (part, dimension, subject) -> (ratings, mean, standard deviation) over first showings.
        icc: (part, dimension) -> intraclass correlation over replies that the raters of most replies scored.
        summary: of :func:`~bakeoff.judgement.verdicts.summarise`.
        consents: raters who ticked the statement; *attention*: (passed, shown).
    """

    study: Study
    ratings: list[Rating]
    means: Mapping[tuple[str, str, str], tuple[int, float, float]]
    icc: Mapping[tuple[str, str], Reliability]
    summary: Summary
    consents: int
    attention: tuple[int, int]

    @property
    def counted(self) -> list[Rating]:
        """Scored first showings that count."""
        return [
            rating
            for rating in self.ratings
            if rating.row["outcome"] == "scored" and not rating.row["repeat"] and not rating.is_superseded
        ]


def newest_scored(store: RatingStore) -> str:
    """The newest study that people scored.

    Raises:
        RatingError: there is none.
    """
    for name in reversed(store.studies()):
        if any(row["source"] == "study" for row in store.judgements(name)):
            return name
    raise RatingError(
        f"{store.path}: nobody has scored a study yet, so there is nothing to write about", NO_RATINGS_ZH
    )


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
    wide = csv_of([*WIDE, *COMMENTS], [rating.flat() for rating in facts.ratings])
    files = {
        "wide.csv": wide,
        "long.csv": csv_of(LONG, _long(facts)),
        "jasp.csv": csv_of(
            [name for name in WIDE if name not in ("superseded", "judgement")],
            [rating.flat() for rating in facts.counted],
        ),
        "replies.csv": csv_of(["reply", "case", "subject", "status", "text"], replies),
        "adjudications.csv": csv_of(["reply", "at", *DIMENSIONS, *CRISIS_CHECKS, "note"], settled),
        "codebook.csv": csv_of(["variable", "label_zh", "label_en", "type", "values"], codebook()),
        "table_means.csv": csv_of(["part", "subject", "dimension", "n", "mean", "sd"], _means_rows(facts)),
        "table_agreement.csv": csv_of(_AGREEMENT, _agreement_rows(facts)),
        "spss.sps": spss_syntax([*WIDE, *COMMENTS], list(csv.DictReader(io.StringIO(wide)))),
        "analysis.R": r_script(study.is_partial),
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
    ratings = _ratings(store, study, summary["study"]["rubric"])
    if not any(rating.row["outcome"] == "scored" for rating in ratings):
        raise RatingError(
            f"{study_id}: nobody has scored this study yet, so there is nothing to write about", NO_RATINGS_ZH
        )
    checks = events(store, study_id, "attention")
    facts = Facts(
        study,
        ratings,
        {},
        {},
        summary,
        sum(bool(event["text"]) for event in events(store, study_id, "consent")),
        (sum(event["exact"] == event["of"] for event in checks), len(checks)),
    )
    means, agreement = {}, {}
    for part, is_crisis in (("counselling", False), ("crisis", True)):
        in_part = [rating for rating in facts.counted if rating.case.crisis is is_crisis]
        for name in DIMENSIONS:
            for subject in sorted({rating.subject for rating in in_part}):
                points = _points([rating for rating in in_part if rating.subject == subject], name)
                if points:
                    spread = statistics.stdev(points) if len(points) > 1 else math.nan
                    means[part, name, subject] = (len(points), statistics.fmean(points), spread)
            if in_part:
                agreement[part, name] = reliability(_table(in_part, name), study)
    return replace(facts, means=means, icc=agreement)


def _points(ratings: Sequence[Rating], name: str) -> list[int]:
    return [score for rating in ratings if (score := point(rating.row, name)) is not None]


def _ratings(store: RatingStore, study: Study, rubric: str) -> list[Rating]:
    code = {name: f"R{place:02d}" for place, name in enumerate(store.raters(study.study_id), 1)}
    newest = {row["id"] for row in store.judgements(study.study_id)}
    at: dict[str | None, tuple[int, int]] = {
        row["item_id"]: (row["screen"] + 1, row["slot"] + 1)
        for row in store.rows("SELECT item_id, screen, slot FROM item WHERE study_id = ?", study.study_id)
    }
    ratings = []
    for row in store.judgements(study.study_id, history=True):
        if row["source"] == "study" and row["rubric_sha"] == rubric:
            screen, slot = at.get(row["item_id"], ("", ""))
            rater, is_superseded = code.get(row["judge_id"], "R00"), row["id"] not in newest
            ratings.append(Rating(row, rater, study.case(row["case_id"]), screen, slot, is_superseded))
    return ratings


def _long(facts: Facts) -> list[dict[str, object]]:
    return [
        rating.flat() | {"dimension": name, "score": score}
        for rating in facts.ratings
        if rating.row["outcome"] == "scored" and not rating.is_superseded
        for name in DIMENSIONS
        if (score := point(rating.row, name)) is not None
    ]


def _table(ratings: Sequence[Rating], name: str) -> NDArray[np.float64]:
    """[reply x rater] of one dimension, NaN where there is no score."""
    import numpy as np

    replies = sorted({rating.row["reply_id"] for rating in ratings})
    raters = sorted({rating.rater for rating in ratings})
    table = np.full((len(replies), len(raters)), np.nan)
    for rating in ratings:
        score = point(rating.row, name)
        if score is not None:
            table[replies.index(rating.row["reply_id"]), raters.index(rating.rater)] = score
    return table


def _by_rater(facts: Facts, name: str) -> str:
    raters = sorted({rating.rater for rating in facts.counted})
    rows: dict[str, dict[str, object]] = {}
    for rating in facts.counted:
        flat = rating.flat()
        entry = rows.setdefault(
            rating.row["reply_id"], {key: flat[key] for key in ("reply", "case", "subject", "crisis")}
        )
        entry[rating.rater] = point(rating.row, name)
    return csv_of(["reply", "case", "subject", "crisis", *raters], rows.values())


def _means_rows(facts: Facts) -> list[dict[str, object]]:
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


def _agreement_rows(facts: Facts) -> list[dict[str, object]]:
    def shown(value: float | None) -> str:
        return "" if value is None or math.isnan(value) else f"{value:.3f}"

    rows = []
    for (part, name), agreed in facts.icc.items():
        verdicts = facts.summary["parts"][part]
        assert verdicts  # somebody scored the part, for it has an ICC
        alpha = verdicts["agreement"][name]
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
