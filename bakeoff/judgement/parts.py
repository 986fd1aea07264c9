"""What people's judgements say of counselling cases, or of crises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from bakeoff.foundation.errors import BakeoffError
from bakeoff.judgement.agreement import krippendorff_alpha
from bakeoff.judgement.blind import Study
from bakeoff.judgement.claims import Always, effect_sizes
from bakeoff.judgement.duels import bradley_terry, duels, items_needed_range, win_rates
from bakeoff.judgement.incomplete import reliability
from bakeoff.judgement.rubric import CRISIS_CHECKS, DIMENSIONS, OVERALL
from bakeoff.judgement.summary import (
    Agreed,
    Correlation,
    DimensionScores,
    Needed,
    PairVerdict,
    PartVerdicts,
    PlannedStudy,
    SubjectScore,
)
from bakeoff.judgement.tables import check_shares, records
from bakeoff.statistics.raters import Pair, Rated
from bakeoff.statistics.study import PLANNED, plan_study, raters_needed

if TYPE_CHECKING:
    import pandas as pd

KINDS_ZH = {"models": "模型", "cases": "个案", "raters": "评分者"}
"""What is left out for gaps -> its Chinese name."""


def part_verdicts(
    rows: pd.DataFrame,
    study: Study,
    rated: Mapping[str, tuple[Rated, Always]],
    running: bool,
    plan: tuple[float, float],
) -> PartVerdicts:
    """*plan*: the difference that ``needed`` asks for, and alpha."""
    difference, alpha = plan
    first = rows[rows["repeat"] == 0]
    met = duels(
        first.rename(
            columns={"subject": "model", "overall_quality": "score", "judge_id": "rater", "case_id": "item"}
        )
    )
    strengths: list[dict[str, object]] = []
    if len({*met["a"], *met["b"]}) >= 2:
        strengths = records(bradley_terry(met, alpha=alpha).rename(columns={"model": "subject"}))
    part: PartVerdicts = {
        "cases": int(first["case_id"].nunique()),
        "raters": sorted(first["judge_id"].unique()),
        "judgements": len(first),
        "scores": {
            name: _scores(
                first, name, *rated[name], running=running, alpha=alpha, is_partial=study.is_partial
            )
            if name in rated
            else _unscored()
            for name in DIMENSIONS
        },
        "running": running,
        "icc": {
            name: cast(
                Correlation,
                reliability(
                    first.pivot(index="reply_id", columns="judge_id", values=name), study, alpha
                )._asdict(),
            )
            for name in DIMENSIONS
        },
        "agreement": {
            name: cast(
                Agreed,
                vars(
                    krippendorff_alpha(
                        first.pivot(index="reply_id", columns="judge_id", values=name), "ordinal", alpha=alpha
                    )
                ),
            )
            for name in DIMENSIONS
        },
        "wins": records(win_rates(met, alpha=alpha)),
        "strengths": strengths,
        "needed": _needed(first, rated[OVERALL][0] if OVERALL in rated else None, difference, alpha),
    }
    if first["crisis"].all():
        part["checks"] = {check: check_shares(first, check, study, alpha) for check in CRISIS_CHECKS}
    return part


def _cells(rows: pd.DataFrame, dimension: str) -> pd.DataFrame:
    """[case x subject]: mean over raters."""
    return rows.pivot_table(index="case_id", columns="subject", values=dimension, aggfunc="mean")


def _unscored() -> DimensionScores:
    """For a dimension newer than the judgements."""
    return {
        "subjects": [],
        "pairs": [],
        "method": "nobody scored this dimension",
        "method_zh": "该维度暂无评分",
        "why_no_letters": "",
        "why_no_letters_zh": "",
        "variance": {},
        "left_out": {},
        "running": False,
    }


def _scores(
    rows: pd.DataFrame,
    dimension: str,
    rated: Rated,
    always: Always,
    *,
    running: bool,
    alpha: float,
    is_partial: bool,
) -> DimensionScores:
    cells = _cells(rows, dimension)
    spread = rows.groupby("subject")[dimension].std(ddof=1)
    letters = always.groups if running else rated.groups
    counts = {
        str(name): [sum(score == point for score in points) for point in range(1, 6)]
        for name, points in rows.groupby("subject")[dimension]
    }
    subjects: list[SubjectScore] = [
        {
            "subject": each.subject,
            "value": each.value,
            "low": each.low,
            "high": each.high,
            "n_cases": int(cells[each.subject].notna().sum()),
            "n_judgements": sum(counts[each.subject]),
            "sd": float(spread.get(each.subject, math.nan)),
            "always_low": always.scores.get(each.subject, (math.nan, math.nan))[0],
            "always_high": always.scores.get(each.subject, (math.nan, math.nan))[1],
            "letters": letters.get(each.subject, ""),
            "distribution": counts[each.subject],
        }
        for each in sorted(rated.scores, key=lambda each: -each.value)
    ]
    method, method_zh = _method(rated, is_partial)
    return {
        "subjects": subjects,
        "pairs": [
            cast(
                PairVerdict,
                _pair(pair, rated, alpha)
                | effect_sizes(cells, pair.a, pair.b)
                | {f"{name}_always": value for name, value in always.pairs[pair.a, pair.b].items()},
            )
            for pair in rated.pairs
        ],
        "running": running,
        "method": method,
        "method_zh": method_zh,
        "why_no_letters": rated.why[0],
        "why_no_letters_zh": rated.why[1],
        "variance": dict(rated.variance),
        "left_out": {kind: list(names) for kind, names in rated.left_out.items()},
    }


def _pair(pair: Pair, rated: Rated, alpha: float) -> dict[str, object]:
    sign = -1 if pair.difference < 0 else 1
    ahead, behind = (pair.a, pair.b) if sign > 0 else (pair.b, pair.a)
    low, high = sorted((sign * pair.low, sign * pair.high))
    size = f"{abs(pair.difference):.1f} ({1 - alpha:.0%} interval {low:.1f} to {high:.1f}"
    where = f"on {rated.cases} cases by {rated.raters} raters"
    told_apart = f"{ahead} is ahead of {behind} by {size}; adjusted p = {pair.p_adjusted:.2g})"
    words = {
        "untested": f"{ahead} and {behind} are not tested {where}: {size})",
        "tie": f"{ahead} and {behind} cannot be told apart {where}: {size}; adjusted p = {pair.p_adjusted:.2g})",
    }.get(pair.verdict, told_apart)
    return {
        "a": pair.a,
        "b": pair.b,
        "difference": pair.difference,
        "low": pair.low,
        "high": pair.high,
        "df": pair.df,
        "p": pair.p,
        "p_adjusted": pair.p_adjusted,
        "verdict": "tie" if pair.verdict == "untested" else pair.verdict,
        "words": words,
    }


def _method(rated: Rated, is_partial: bool) -> tuple[str, str]:
    """Return how the models were compared, in English and Chinese.

    And what the numbers speak about.
    """
    if rated.raters < 2:
        say = (
            "intervals are about other cases, judged by this rater",
            "置信区间只针对换一批个案、仍由同一位评分者评分的情形",
        )
    elif is_partial:
        say = (
            "each rater saw some of the cases: linear mixed model with cases and raters as random samples (restricted "
            "maximum likelihood, Satterthwaite), p adjusted over all dimensions (Shaffer)",
            "各评分者只评了部分个案：线性混合模型，个案与评分者均视为随机样本（REML 估计，Satterthwaite 自由度），"
            "所有维度一并做 Shaffer 校正",
        )
    else:
        say = (
            "cases and raters as random samples (multi-reader multi-case, Satterthwaite), p "
            "adjusted over all dimensions (Shaffer)",
            "个案与评分者均视为随机样本（多评分者多个案分析，Satterthwaite 自由度），所有维度一并做 Shaffer 校正",
        )
    gone = ", ".join(f"{kind} {', '.join(names)}" for kind, names in rated.left_out.items())
    english = [say[0], f"left out for missing ratings: {gone}" if gone else "", rated.why[0]]
    gone_zh = "；".join(
        f"{KINDS_ZH.get(kind, kind)} {'、'.join(names)}" for kind, names in rated.left_out.items()
    )
    chinese = [say[1], f"因缺少评分而未纳入：{gone_zh}" if gone else "", rated.why[1]]
    return "; ".join(filter(None, english)), "；".join(filter(None, chinese))


def _needed(rows: pd.DataFrame, rated: Rated | None, difference: float, alpha: float) -> list[Needed]:
    """Return what a difference takes, raters first.

    More cases do not average out a rater's taste.
    """
    cells = _cells(rows, "overall_quality")
    subjects = list(cells.columns)
    pairs = [(a, b) for place, a in enumerate(subjects) for b in subjects[place + 1 :]]
    per_case = len(rows) / max(1, rows["case_id"].nunique())
    raters = int(rows["judge_id"].nunique())
    parts = dict(rated.variance) if rated else {}
    is_known = all(math.isfinite(parts.get(name, math.nan)) for name in PLANNED)
    plan = plan_study(
        difference, max(2, len(subjects)), raters=raters, variance=parts if is_known else PLANNED, alpha=alpha
    )
    enough = raters_needed(
        len(cells), max(2, len(subjects)), difference, variance=parts if is_known else PLANNED, alpha=alpha
    )
    entries: list[Needed] = []
    for a, b in pairs:
        apart = (cells[a] - cells[b]).dropna().tolist()
        try:
            low, needed, high = items_needed_range(apart, difference, alpha=alpha, pairs=len(pairs))
        except BakeoffError:
            continue
        more = max(0, needed - len(apart))
        entries.append(
            {
                "a": a,
                "b": b,
                "difference": difference,
                "cases": len(apart),
                "needed": needed,
                "needed_low": low,
                "needed_high": high,
                "more_cases": more,
                "more_judgements": math.ceil(more * per_case),
                "raters": raters,
                "plan": cast(PlannedStudy, plan._asdict()) if plan else None,
                "raters_needed": enough,
            }
        )
    return entries
