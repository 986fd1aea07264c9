"""What ratings support while a study runs, with or without a judge model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Protocol, TypedDict

from bakeoff.statistics.peeking import always_valid_p, level_at
from bakeoff.statistics.prediction import CorrectedRatings, corrected_ratings
from bakeoff.statistics.raters import Pair, Rated, Ratings, adjusted_pairs, compare_ratings
from bakeoff.statistics.significance import sign_flip_tests, tie_groups

if TYPE_CHECKING:
    import pandas as pd

Table = tuple[str, str]
"""A part of the study and a dimension of the rubric."""


class Compare(Protocol):
    """Compares the models of each table, with one correction over all of their pairs."""

    def __call__(
        self, tables: Mapping[str, Ratings], *, alpha: float, scale: tuple[float, float]
    ) -> dict[str, Rated]:
        """Return the comparison of every table."""


def ratings_of(rows: pd.DataFrame, dimension: str) -> Ratings:
    """Return the ratings of *dimension* in *rows* of judgements."""
    names = {"case_id": "case", "subject": "model", "judge_id": "rater", dimension: "score"}
    return Ratings.of(rows.rename(columns=names)[["case", "model", "rater", "score"]])


class AtEveryLook(TypedDict):
    """Two models, whenever somebody looks at them."""

    low: float
    high: float
    p: float
    p_adjusted: float
    verdict: str


@dataclass(frozen=True)
class Always:
    """What holds at every look: intervals, adjusted p, verdicts and letters of one table.

    Attributes:
        scores: subject -> (low, high).
        pairs: (a, b) -> low, high, p, p_adjusted and verdict.
        groups: letters per subject; empty where there are none.
    """

    scores: Mapping[str, tuple[float, float]]
    pairs: Mapping[tuple[str, str], AtEveryLook]
    groups: Mapping[str, str]


def always_valid(
    tables: Mapping[Table, Ratings],
    rated: Mapping[Table, Rated],
    *,
    alpha: float = 0.05,
    scale: tuple[float, float] = (1.0, 5.0),
    compare: Compare = compare_ratings,
) -> dict[Table, Always]:
    """Return confidence sequences per table, corrected over all pairs.

    Args:
        compare: what *rated* was compared with.
    """
    tested = {
        name: [replace(pair, p=always_valid_p(pair.p, result.cases, alpha=alpha)) for pair in result.pairs]
        for name, result in rated.items()
        if not result.why[0]
    }
    adjusted = adjusted_pairs(tested)
    decided = {
        (name, pair.a, pair.b): (pair.p, p)
        for name, pairs in tested.items()
        for pair, p in zip(pairs, adjusted[name], strict=True)
    }
    results = {}
    for name, result in rated.items():
        level = level_at(result.cases, alpha=alpha) if result.cases > 1 else alpha
        wide = compare({"": tables[name]}, alpha=level, scale=scale)[""]
        pairs = {
            (pair.a, pair.b): _at_every_look(pair, decided.get((name, pair.a, pair.b)), alpha)
            for pair in wide.pairs
        }
        order = [score.subject for score in sorted(result.scores, key=lambda score: -score.value)]
        different = [key for key, pair in pairs.items() if pair["verdict"] != "tie"]
        letters = (
            tie_groups([subject for subject in order if subject in result.groups], different)
            if result.groups
            else {}
        )
        results[name] = Always(
            {score.subject: (score.low, score.high) for score in wide.scores}, pairs, letters
        )
    return results


def _at_every_look(pair: Pair, p: tuple[float, float] | None, alpha: float) -> AtEveryLook:
    value, adjusted = p or (float("nan"), float("nan"))
    verdict = "tie"
    if adjusted < alpha:
        verdict = "ahead" if pair.difference > 0 else "behind"
    return {"low": pair.low, "high": pair.high, "p": value, "p_adjusted": adjusted, "verdict": verdict}


def corrected_by_people(
    people: Mapping[Table, Ratings],
    judge: Mapping[Table, pd.DataFrame],
    *,
    alpha: float = 0.05,
    scale: tuple[float, float] = (1.0, 5.0),
) -> dict[Table, CorrectedRatings]:
    """Return people's ratings sharpened by the judge's.

    It helps where people left cases to the judge.

    Args:
        judge: per table the judge's rows: case_id, subject and the dimension's score, repeats included.
    """
    means: dict[str, dict[tuple[str, str], float]] = {}
    for (part, dimension), rows in judge.items():
        averages = rows.dropna(subset=[dimension]).groupby(["case_id", "subject"])[dimension].mean()
        means[f"{part}\n{dimension}"] = {
            (str(row["case_id"]), str(row["subject"])): float(row[dimension])
            for row in averages.reset_index().to_dict("records")
        }
    named = {f"{part}\n{dimension}": table for (part, dimension), table in people.items()}
    results = corrected_ratings(named, means, alpha=alpha, scale=scale)
    return {(name.split("\n")[0], name.split("\n")[1]): each for name, each in results.items()}


def judge_comparisons(
    tables: Mapping[Table, pd.DataFrame], *, calibrated: bool, alpha: float = 0.05
) -> dict[Table, dict[str, object]]:
    """Return pairs of models by a judge model alone, and their letters.

    One correction over all dimensions and parts. Sign flips of the paired differences over cases: what is said is
    about other cases, judged by this model. Without calibration there is no verdict and no letter.

    Args:
        tables: per part and dimension the judge's rows: case_id, subject, score of the dimension.
    """
    drafts: dict[Table, list[JudgedPair]] = {}
    order: dict[Table, list[str]] = {}
    for (part, dimension), rows in tables.items():
        cells = rows.pivot_table(index="case_id", columns="subject", values=dimension, aggfunc="mean")
        order[part, dimension] = [str(name) for name in cells.mean().sort_values(ascending=False).index]
        drafts[part, dimension] = []
        for a, b in combinations(sorted(map(str, cells.columns)), 2):
            apart = (cells[a] - cells[b]).dropna().to_numpy(dtype=float)
            if len(apart) > 1:
                p = float(sign_flip_tests(apart[:, None])[0])
                drafts[part, dimension].append(JudgedPair(a, b, len(apart), float(apart.mean()), p))
    adjusted = adjusted_pairs(drafts)
    results: dict[Table, dict[str, object]] = {}
    for name, draft in drafts.items():
        pairs = [_decided(pair, p, calibrated, alpha) for pair, p in zip(draft, adjusted[name], strict=True)]
        different = [(pair.a, pair.b) for pair in pairs if pair.verdict in ("ahead", "behind")]
        letters = tie_groups(order[name], different) if calibrated and pairs else {}
        results[name] = {"pairs": [vars(pair) for pair in pairs], "letters": letters}
    return results


@dataclass(frozen=True)
class JudgedPair:
    """Two models by a judge model alone, over *n* cases; "untested" without calibration."""

    a: str
    b: str
    n: int
    difference: float
    p: float
    p_adjusted: float = float("nan")
    verdict: str = "untested"


def _decided(pair: JudgedPair, p_adjusted: float, calibrated: bool, alpha: float) -> JudgedPair:
    way = "ahead" if pair.difference > 0 else "behind"
    verdict = (way if p_adjusted < alpha else "tie") if calibrated else "untested"
    return replace(pair, p_adjusted=p_adjusted, verdict=verdict)


def effect_sizes(cells: pd.DataFrame, a: str, b: str) -> dict[str, float]:
    """Return Cohen's d and dz of two models.

    d: the difference over the average SD of both; dz: over the SD of the paired differences. *cells* [case x subject]
    are means over raters. NaN where nothing varies.
    """
    import numpy as np

    both = cells[[a, b]].dropna()
    nothing = {"d": float("nan"), "dz": float("nan")}
    if len(both) < 2:
        return nothing
    apart = (both[a] - both[b]).to_numpy(dtype=float)
    spread = float(np.sqrt((both[a].var(ddof=1) + both[b].var(ddof=1)) / 2))
    paired = float(apart.std(ddof=1))
    return {
        "d": float(apart.mean()) / spread if spread > 1e-12 else float("nan"),
        "dz": float(apart.mean()) / paired if paired > 1e-12 else float("nan"),
    }


def plain(ratings: CorrectedRatings) -> dict[str, object]:
    """Return *ratings* as plain JSON-able data."""
    subjects: Sequence[dict[str, object]] = [
        {
            "subject": score.subject,
            "value": score.value,
            "low": score.low,
            "high": score.high,
            "letters": ratings.groups.get(score.subject, ""),
        }
        for score in sorted(ratings.scores, key=lambda score: -score.value)
    ]
    return {
        "subjects": list(subjects),
        "pairs": [vars(pair) for pair in ratings.pairs],
        "weight": ratings.weight,
        "cases_by_people": ratings.labels,
        "cases_by_judge_alone": ratings.others,
        "saved": ratings.saved,
    }
