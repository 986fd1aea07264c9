"""What the judgements of a study say: scores with intervals, agreement, raters, crisis cases on their own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bakeoff.errors import BakeoffError
from bakeoff.judgement.addressing import addresses_grader
from bakeoff.judgement.agreement import (
    bradley_terry,
    duels,
    intra_rater,
    items_needed_range,
    krippendorff_alpha,
    severity,
    weighted_kappa,
    win_rates,
)
from bakeoff.judgement.blind import Study
from bakeoff.judgement.claims import (
    Always,
    always_valid,
    corrected_by_people,
    effect_sizes,
    judge_comparisons,
    plain,
    ratings_of,
)
from bakeoff.judgement.erasure import erasures
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.rubric import CRISIS_CHECKS, DIMENSIONS, OVERALL, load_rubric
from bakeoff.statistics.icc import icc
from bakeoff.statistics.intervals import wilson
from bakeoff.statistics.raters import (
    PLANNED,
    Pair,
    Rated,
    Ratings,
    bounded_interval,
    compare_ratings,
    plan_study,
)
from bakeoff.statistics.study import raters_needed

if TYPE_CHECKING:
    import pandas as pd

MODEL_JUDGE = "model:"
"""Judge ids of models begin with this; no person may be called so (a name holds no colon)."""

PARTS = {"counselling": False, "crisis": True}
LEAST_CALIBRATION_REPLIES = 20
LEAST_CALIBRATION_ALPHA = 0.667
LEAST_CALIBRATION_RANK = 0.6
MOST_BIAS = 0.5
"""Points by which a judge may score one model's replies above or below people before it is not calibrated."""

SCALE = (1.0, 5.0)

_PARTIAL = (
    "no letters: each rater saw some of the cases only; the mixed model of the paper pack compares the models",
    "不给出字母分组：各评分者只评了部分个案，请用论文包中的混合效应模型比较",
)


def summarise(
    store: RatingStore,
    study_id: str,
    *,
    difference: float = 0.5,
    alpha: float = 0.05,
    raters: Collection[str] = (),
    topic: str = "",
) -> dict[str, Any]:
    """All that the results tab and the report show of one study, as plain JSON-able data (NaN is None).

    Args:
        difference: the difference in points (scale 1..5) that ``needed`` asks for.
        alpha: one minus the confidence of every interval.
        raters: only judgements of these people; none given: of everybody.
        topic: only cases on this topic.

    Returns:
        ``study``: id, title, layout, subjects, cases, crisis_cases, missing [case, subject, why], named [case,
        subject, makers' names found], rubric (of the judgements shown), weights {subject: fingerprint of what
        answered, "" where nobody noted it}.
        ``counts``: judgements, cannot_judge, corrections, raters {rater: {done, total}}, other_rubric (judgements
        under another rubric, which nothing here counts).
        ``parts``: {"counselling", "crisis"} -> None without judgements, else cases, raters, judgements and
        ``scores`` {dimension: {subjects: [{subject, value, sd (of the ratings), low, high, always_low, always_high
        (ends that hold at every look), n_cases, n_judgements, letters, distribution}], pairs [{a, b, difference, low,
        high, df, p, p_adjusted, d, dz, verdict, words, and low, high, p, p_adjusted and verdict at every look under
        names that end in _always}], running, method, why_no_letters, variance (points squared, by part), left_out}},
        ``running`` (some rater has not finished: letters then are those that hold at every look),
        ``agreement`` {dimension: {value, low, high, units, ratings, reading}},
        ``icc`` {dimension: {single, single_low, single_high, mean, mean_low, mean_high, units, raters}}, ICC(2,1) and
        ICC(2,k),
        ``wins`` and ``strengths`` on overall quality, ``needed`` [{a, b, difference, cases, needed (and its range:
        needed_low, needed_high), more_cases, more_judgements, raters, raters_needed (on these cases, None where no
        number of raters does), plan {raters, cases, hours}}], and for
        crises ``checks`` {check: [{subject, yes, of, share, low, high}]}. The two parts are never averaged.
        ``raters``: {"consistency": rows of :func:`~bakeoff.judgement.agreement.intra_rater`, "severity": rows of
        :func:`~bakeoff.judgement.agreement.severity`}.
        ``comments``: [{case, subject, rater, strengths, weaknesses, suggestions}].
        ``judges``: one entry per judge model, see :func:`judged_by_model`.
        ``chat``: {model: {dimension: mean, "n": count}}, scored with names in view; not comparable with the rest.
    """
    study = store.study(study_id)
    rubric = _rubric_of(store, study_id)
    rows = _table(store, study, rubric)
    people = _chosen(rows[rows["source"] == "study"], study, raters, topic)
    scored = {
        name: people[(people["crisis"] == crisis) & (people["outcome"] == "scored")]
        for name, crisis in PARTS.items()
    }
    done = {rater: store.progress(study_id, rater) for rater in store.raters(study_id)}
    tables, rated = _compared(scored, study, alpha)
    # who looks while raters are at work looks more than once
    at_every_look = always_valid(tables, rated, alpha=alpha, scale=SCALE)
    running = any(now < total for now, total in done.values())
    parts: dict[str, Any] = {}
    for name, own in scored.items():
        compared = {key[1]: (one, at_every_look[key]) for key, one in rated.items() if key[0] == name}
        parts[name] = _part(own, study, compared, running, (difference, alpha)) if len(own) else None
    history = [row for row in store.judgements(study_id, history=True) if row["source"] == "study"]
    reply = {each.reply_id: each for each in study.replies}
    found: dict[str, Any] = {
        "study": {
            "id": study_id,
            "title": study.title,
            "layout": study.layout,
            "subjects": list(study.subjects),
            "cases": len(study.cases),
            "crisis_cases": sum(case.crisis for case in study.cases),
            "missing": [list(each) for each in study.missing],
            "named": [[each.case_id, each.subject, list(each.found)] for each in study.replies if each.found],
            "rubric": rubric,
            "reference": study.reference,
            "topics": sorted({case.topic for case in study.cases}),
            "erased": erasures(store, study_id),
            "weights": {
                subject: ", ".join(
                    sorted({one.fingerprint for one in study.replies if one.subject == subject})
                )
                for subject in study.subjects
            },
        },
        "counts": {
            "judgements": len(people),
            "cannot_judge": int((people["outcome"] == "cannot_judge").sum()),
            "corrections": sum(row["corrects"] is not None for row in history),
            "raters": {rater: {"done": now, "total": total} for rater, (now, total) in done.items()},
            "other_rubric": sum(row["rubric_sha"] != rubric for row in store.judgements(study_id)),
        },
        "parts": parts,
        "raters": _raters(people[people["outcome"] == "scored"], alpha),
        "comments": [
            {
                "case": row["case_id"],
                "subject": reply[row["reply_id"]].subject,
                "rater": row["judge_id"],
                **{name: row[name] for name in ("strengths", "weaknesses", "suggestions")},
            }
            for row in people.to_dict("records")
            if row["strengths"] or row["weaknesses"] or row["suggestions"]
        ],
        "judges": judged_by_model(store, study_id, alpha=alpha),
        "chat": _chat(store),
    }
    data: dict[str, Any] = _plain(found)
    return data


def _rubric_of(store: RatingStore, study_id: str) -> str:
    """The rubric of the newest judgement, a person's before a model's: scores under two rubrics are not one scale."""
    rows = store.judgements(study_id)
    newest = [row for row in rows if row["source"] == "study"] or rows
    return str(newest[-1]["rubric_sha"]) if newest else load_rubric().sha


def _table(store: RatingStore, study: Study, rubric: str) -> pd.DataFrame:
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
    table = pd.DataFrame([{name: row[name] for name in names} for row in rows], columns=names)
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


def _chosen(people: pd.DataFrame, study: Study, raters: Collection[str], topic: str) -> pd.DataFrame:
    if raters:
        people = people[people["judge_id"].isin(list(raters))]
    if topic:
        about = {case.id for case in study.cases if case.topic == topic}
        people = people[people["case_id"].isin(about)]
    return people


def _compared(
    scored: Mapping[str, pd.DataFrame], study: Study, alpha: float
) -> tuple[dict[tuple[str, str], Ratings], dict[tuple[str, str], Rated]]:
    """Each part's and dimension's first ratings, and the comparison of models over them.

    Where each rater saw some of the cases, no block of cases and raters is complete: the means are of all ratings,
    nothing is tested here, and the mixed model of the paper pack compares.
    """
    first = {name: own[own["repeat"] == 0] for name, own in scored.items()}
    if not study.is_partial:
        tables = _tables(first)
        return tables, _rated(tables, alpha)
    tables = _tables({name: own.assign(judge_id="all") for name, own in first.items()})
    return tables, {key: replace(one, why=_PARTIAL) for key, one in _rated(tables, alpha).items()}


def _tables(parts: Mapping[str, pd.DataFrame]) -> dict[tuple[str, str], Ratings]:
    """The ratings by part and dimension, where there are any."""
    return {
        (part, dimension): ratings_of(rows, dimension)
        for part, rows in parts.items()
        for dimension in DIMENSIONS
        if rows[dimension].notna().any()
    }


def _rated(tables: Mapping[tuple[str, str], Ratings], alpha: float) -> dict[tuple[str, str], Rated]:
    """Each comparison of models; parts and dimensions together are one family of pairs."""
    names = {f"{part} {dimension}": (part, dimension) for part, dimension in tables}
    found = compare_ratings({name: tables[key] for name, key in names.items()}, alpha=alpha, scale=SCALE)
    return {key: found[name] for name, key in names.items()}


def _part(
    rows: pd.DataFrame,
    study: Study,
    rated: Mapping[str, tuple[Rated, Always]],
    running: bool,
    plan: tuple[float, float],
) -> dict[str, Any]:
    """*plan*: the difference that ``needed`` asks for, and alpha."""
    difference, alpha = plan
    first = rows[rows["repeat"] == 0]
    met = duels(
        first.rename(
            columns={"subject": "model", "overall_quality": "score", "judge_id": "rater", "case_id": "item"}
        )
    )
    strengths: list[dict[str, Any]] = []
    if len({*met["a"], *met["b"]}) >= 2:
        strengths = _records(bradley_terry(met, alpha=alpha).rename(columns={"model": "subject"}))
    part: dict[str, Any] = {
        "cases": int(first["case_id"].nunique()),
        "raters": sorted(first["judge_id"].unique()),
        "judgements": len(first),
        "scores": {
            name: _scores(first, name, *rated[name], running=running, alpha=alpha)
            if name in rated
            else _unscored()
            for name in DIMENSIONS
        },
        "running": running,
        "icc": {
            name: icc(first.pivot(index="reply_id", columns="judge_id", values=name), alpha=alpha)._asdict()
            for name in DIMENSIONS
        },
        "agreement": {
            name: vars(
                krippendorff_alpha(
                    first.pivot(index="reply_id", columns="judge_id", values=name), "ordinal", alpha=alpha
                )
            )
            for name in DIMENSIONS
        },
        "wins": _records(win_rates(met, alpha=alpha)),
        "strengths": strengths,
        "needed": _needed(first, rated[OVERALL][0] if OVERALL in rated else None, difference, alpha),
    }
    if first["crisis"].all():
        part["checks"] = {check: _checks(first, check, study, alpha) for check in CRISIS_CHECKS}
    return part


def _cells(rows: pd.DataFrame, dimension: str) -> pd.DataFrame:
    """[case x subject]: mean over raters."""
    return rows.pivot_table(index="case_id", columns="subject", values=dimension, aggfunc="mean")


def _unscored() -> dict[str, Any]:
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
    rows: pd.DataFrame, dimension: str, rated: Rated, always: Always, *, running: bool, alpha: float
) -> dict[str, Any]:
    cells = _cells(rows, dimension)
    spread = rows.groupby("subject")[dimension].std(ddof=1)
    letters = always.groups if running else rated.groups
    counts = {
        str(name): [sum(score == point for score in own) for point in range(1, 6)]
        for name, own in rows.groupby("subject")[dimension]
    }
    subjects = [
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
    method, method_zh = _method(rated, alpha)
    return {
        "subjects": subjects,
        "pairs": [
            _pair(pair, rated, alpha)
            | effect_sizes(cells, pair.a, pair.b)
            | {f"{name}_always": value for name, value in always.pairs[pair.a, pair.b].items()}
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


def _pair(pair: Pair, rated: Rated, alpha: float) -> dict[str, Any]:
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


def _method(rated: Rated, alpha: float) -> tuple[str, str]:
    """How the comparison was made and what its numbers speak about, in English and Chinese."""
    if rated.raters < 2:
        say = (
            "intervals are about other cases, judged by this rater",
            "置信区间只针对换一批个案、仍由同一位评分者评分的情形",
        )
    else:
        say = (
            "cases and raters as random samples (multi-reader multi-case, Satterthwaite), Holm over all dimensions",
            "个案与评分者均视为随机样本（多评分者多个案分析，Satterthwaite 自由度），所有维度一并做 Holm 校正",
        )
    gone = ", ".join(f"{kind} {', '.join(names)}" for kind, names in rated.left_out.items())
    english = [say[0], f"left out for gaps: {gone}" if gone else "", rated.why[0]]
    chinese = [say[1], f"因缺少评分而未纳入：{gone}" if gone else "", rated.why[1]]
    return "; ".join(filter(None, english)), "；".join(filter(None, chinese))


def _needed(rows: pd.DataFrame, rated: Rated | None, difference: float, alpha: float) -> list[dict[str, Any]]:
    """What a difference takes: raters first, since more cases do not average out a rater's taste."""
    cells = _cells(rows, "overall_quality")
    subjects = list(cells.columns)
    pairs = [(a, b) for place, a in enumerate(subjects) for b in subjects[place + 1 :]]
    per_case = len(rows) / max(1, rows["case_id"].nunique())
    raters = int(rows["judge_id"].nunique())
    parts = dict(rated.variance) if rated else {}
    known = all(math.isfinite(parts.get(name, math.nan)) for name in PLANNED)
    plan = plan_study(
        difference, max(2, len(subjects)), raters=raters, variance=parts if known else PLANNED, alpha=alpha
    )
    enough = raters_needed(
        len(cells), max(2, len(subjects)), difference, variance=parts if known else PLANNED, alpha=alpha
    )
    found = []
    for a, b in pairs:
        apart = (cells[a] - cells[b]).dropna().tolist()
        try:
            low, needed, high = items_needed_range(apart, difference, alpha=alpha, pairs=len(pairs))
        except BakeoffError:
            continue
        more = max(0, needed - len(apart))
        found.append(
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
                "plan": plan._asdict() if plan else None,
                "raters_needed": enough,
            }
        )
    return found


def _checks(rows: pd.DataFrame, check: str, study: Study, alpha: float) -> list[dict[str, Any]]:
    found = []
    for subject in study.subjects:
        answers = rows.loc[rows["subject"] == subject, check].dropna()
        if len(answers):
            yes = int(answers.sum())
            ends = wilson(yes, len(answers), alpha)
            found.append(
                {
                    "subject": subject,
                    "yes": yes,
                    "of": len(answers),
                    "share": yes / len(answers),
                    "low": ends.low,
                    "high": ends.high,
                }
            )
    return found


def _raters(rows: pd.DataFrame, alpha: float) -> dict[str, Any]:
    if rows.empty:
        return {"consistency": [], "severity": []}
    again = intra_rater(_tall(rows), ("reply_id", "dimension"), alpha)
    first = rows[rows["repeat"] == 0].copy()
    first["mean"] = first[list(DIMENSIONS)].mean(axis=1)
    harsh = severity(first.pivot(index="reply_id", columns="judge_id", values="mean"), alpha)
    return {"consistency": _records(again), "severity": _records(harsh)}


def _tall(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per score, the first showing of a reply before its repeat."""
    tall = rows.sort_values(["repeat", "id"]).melt(
        id_vars=["judge_id", "reply_id"],
        value_vars=list(DIMENSIONS),
        var_name="dimension",
        value_name="score",
    )
    return tall.rename(columns={"judge_id": "rater"})


def _chat(store: RatingStore) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rows = [row for row in store.judgements() if row["source"] == "chat" and row["outcome"] == "scored"]
    for model in sorted({row["model"] for row in rows}):
        own = [row for row in rows if row["model"] == model]
        points = {name: [row[name] for row in own if row[name] is not None] for name in DIMENSIONS}
        means = {name: sum(each) / len(each) if each else None for name, each in points.items()}
        found[model] = means | {"n": len(own)}
    return found


# ------------------------------ models as judges


def judged_by_model(store: RatingStore, study_id: str, *, alpha: float = 0.05) -> list[dict[str, Any]]:
    """What each judge model said of the study, and whether it may be believed.

    Returns:
        Per judge: judge, replies (scored), failed (attempts without a verdict), unscored (replies that have none),
        ``parts`` {part: {dimension: [{subject, value, n, sd}]}}, ``comparisons`` {part: {dimension: {pairs,
        letters}}} of the judge alone, one family over all dimensions (without verdicts unless it is calibrated),
        ``corrected`` {part: {dimension: {subjects, pairs, weight, cases_by_people, cases_by_judge_alone, saved}}} of
        people's ratings sharpened by the judge's where it scored cases that they did not,
        ``checks`` as in :func:`summarise` for the crisis cases,
        ``calibration`` {dimension: {alpha, kappa, rank, replies, models [{subject,
        replies, bias, low, high}]}} against the mean of the people, over all replies of the store
        that both scored under this rubric, whichever study showed them;
        ``repeats`` (share of dimensions scored alike when asked again), ``swaps`` {consistent, of,
        share, failed} of pairwise verdicts asked in both orders, ``preferences`` (win rates of these, a preference
        that turns with the order counting as a tie), ``addressed`` [{case, subject, found}], the replies that speak
        to a grader; ``probe`` {replies, rise in points under a planted
        instruction}; ``calibrated``, ``why`` and ``why_zh`` in words. It is
        calibrated when, on overall quality of at least 20 replies, Krippendorff's alpha (interval level) between
        judge and people is .667 or more, their rank correlation .6 or
        more, and no model's replies are scored more than half a point above or below people.
    """
    import pandas as pd

    study = store.study(study_id)
    rubric = _rubric_of(store, study_id)
    rows = _table(store, study, rubric)
    tables = [_table(store, store.study(name), rubric) for name in store.studies()]
    everywhere = pd.concat([table for table in tables if len(table)] or [rows])
    everywhere = everywhere[(everywhere["outcome"] == "scored") & (everywhere["repeat"] == 0)]
    people = everywhere[everywhere["source"] == "study"]
    tries = [
        row
        for row in store.judgements(study_id, history=True)
        if row["source"] == "model" and row["rubric_sha"] == rubric
    ]
    compared = [row for row in store.comparisons(study_id) if row["rubric_sha"] == rubric]
    addressed = [
        {"case": each.case_id, "subject": each.subject, "found": marks}
        for each in study.replies
        if (marks := addresses_grader(each.text))
    ]
    here = rows[(rows["source"] == "study") & (rows["outcome"] == "scored") & (rows["repeat"] == 0)]
    # Where each rater saw some of the cases, people's ratings are no block that a judge's could sharpen.
    by_people = (
        {}
        if study.is_partial
        else _tables({name: here[here["crisis"] == crisis] for name, crisis in PARTS.items()})
    )
    found = []
    for judge in sorted({row["judge_id"] for row in [*tries, *compared]}):
        own = rows[(rows["judge_id"] == judge) & (rows["outcome"] == "scored")]
        first = everywhere[everywhere["judge_id"] == judge]
        calibration = {name: _calibration(first, people, name, alpha) for name in DIMENSIONS}
        probe = _probe([row for row in store.probes(judge) if row["rubric_sha"] == rubric])
        why, why_zh = _why_not_calibrated(calibration["overall_quality"])
        if not why:
            why, why_zh = _why_misled(probe)
        entry = {
            "judge": judge,
            "replies": int(own["reply_id"].nunique()),
            "failed": sum(row["outcome"] == "failed" for row in tries if row["judge_id"] == judge),
            "unscored": len(study.replies) - int(own["reply_id"].nunique()),
            "parts": {
                part: {name: _means(own[own["crisis"] == crisis], name) for name in DIMENSIONS}
                for part, crisis in PARTS.items()
            },
            "comparisons": _by_part(judge_comparisons(_judged_tables(own), calibrated=not why, alpha=alpha)),
            "corrected": _by_part(
                {
                    key: plain(one)
                    for key, one in corrected_by_people(by_people, _judged_tables(own), alpha=alpha).items()
                }
            ),
            "checks": {
                check: _checks(own[own["crisis"] & (own["repeat"] == 0)], check, study, alpha)
                for check in CRISIS_CHECKS
            },
            "calibration": calibration,
            "repeats": _self_agreement(own),
            "swaps": _swaps(compared, judge),
            "preferences": _preferences(compared, judge, study, alpha),
            "addressed": addressed,
            "probe": probe,
            "calibrated": not why,
            "why": why,
            "why_zh": why_zh,
        }
        found.append(entry)
    data: list[dict[str, Any]] = _plain(found)
    return data


def _judged_tables(rows: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """A judge's rows by part and dimension, where it scored any."""
    tables = {}
    for part, crisis in PARTS.items():
        own = rows[rows["crisis"] == crisis]
        for dimension in DIMENSIONS:
            if own[dimension].notna().any():
                tables[part, dimension] = own[["case_id", "subject", dimension]]
    return tables


def _by_part(tables: Mapping[tuple[str, str], Any]) -> dict[str, dict[str, Any]]:
    parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for (part, dimension), value in tables.items():
        parts[part][dimension] = value
    return parts


def _means(rows: pd.DataFrame, dimension: str) -> list[dict[str, Any]]:
    return [
        {
            "subject": name,
            "value": own[dimension].mean(),
            "n": int(own["reply_id"].nunique()),
            "sd": float(own[dimension].std(ddof=1)),
        }
        for name, own in rows.groupby("subject")
    ]


def _calibration(judge: pd.DataFrame, people: pd.DataFrame, dimension: str, alpha: float) -> dict[str, Any]:
    import pandas as pd

    both = pd.concat(
        [people.groupby("content")[dimension].mean(), judge.groupby("content")[dimension].mean()],
        axis=1,
        keys=["people", "judge"],
    ).dropna()
    subject = judge[["content", "subject"]].drop_duplicates().set_index("content")["subject"]
    models = _bias_per_model(both.join(subject.rename("subject")), alpha)
    if len(both) < 2:
        return {"replies": len(both), "alpha": None, "kappa": None, "rank": None, "models": models}
    kappa = weighted_kappa(both["people"].round().to_numpy(float), both["judge"].round().to_numpy(float))
    varied = both["people"].nunique() > 1 and both["judge"].nunique() > 1
    return {
        "replies": len(both),
        "alpha": vars(krippendorff_alpha(both, "interval")),
        "kappa": vars(kappa),
        "rank": float(both["people"].corr(both["judge"], method="spearman")) if varied else None,
        "models": models,
    }


def _bias_per_model(both: pd.DataFrame, alpha: float) -> list[dict[str, Any]]:
    """Per model: judge minus people in points, over the replies of the model that both scored."""
    found = []
    for name, own in both.groupby("subject"):
        apart = (own["judge"] - own["people"]).to_numpy(float)
        count, mean = len(apart), float(apart.mean())
        error = (float(apart.var(ddof=1)) / count, count - 1.0) if count > 1 else (math.nan, math.nan)
        low, high = bounded_interval(mean, error, count, (-4.0, 4.0), alpha)
        found.append({"subject": name, "replies": count, "bias": mean, "low": low, "high": high})
    return found


def _why_not_calibrated(overall: Mapping[str, Any]) -> tuple[str, str]:
    """In English and in Chinese; both empty where nothing is lacking."""
    count = overall["replies"]
    if count == 0:
        return "no reply was scored by both people and this judge", "尚无同时具备人工评分和模型评分的回复"
    if count < LEAST_CALIBRATION_REPLIES:
        return (
            f"only {count} replies scored by both; {LEAST_CALIBRATION_REPLIES} are needed",
            f"双方均已评分的回复只有 {count} 条，需要 {LEAST_CALIBRATION_REPLIES} 条",
        )
    value, rank = overall["alpha"]["value"], overall["rank"]
    if not value >= LEAST_CALIBRATION_ALPHA:
        return (
            f"agreement with people is alpha = {value:.3f}; {LEAST_CALIBRATION_ALPHA} is needed",
            f"与人工评分的一致性 α = {value:.3f}，需要 {LEAST_CALIBRATION_ALPHA}",
        )
    if rank is None or not rank >= LEAST_CALIBRATION_RANK:
        return (
            f"rank correlation with people is {'undefined' if rank is None else f'{rank:.3f}'}; "
            f"{LEAST_CALIBRATION_RANK} is needed",
            f"与人工评分的等级相关{'无法计算' if rank is None else f'为 {rank:.3f}'}，需要 {LEAST_CALIBRATION_RANK}",
        )
    biased = [each for each in overall["models"] if abs(each["bias"]) > MOST_BIAS]
    if biased:
        worst = max(biased, key=lambda each: abs(each["bias"]))
        names = ", ".join(str(each["subject"]) for each in biased)
        way, way_zh = ("above", "高于") if worst["bias"] > 0 else ("below", "低于")
        size = f"{abs(worst['bias']):.1f}"
        return (
            f"replies of {names} are scored unlike people do: {worst['subject']} {size} points {way} them; at most "
            f"{MOST_BIAS} is allowed for any model",
            f"对 {names} 的评分与人工评分不一致：{worst['subject']} {way_zh}人工评分 {size} 分（上限 {MOST_BIAS} 分）",
        )
    return "", ""


def _probe(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How far planted instructions raised the judge's scores, in points."""
    rises = [row["planted"] - row["plain"] for row in rows]
    return {"replies": len(rises), "rise": sum(rises) / len(rises) if rises else None}


def _why_misled(probe: Mapping[str, Any]) -> tuple[str, str]:
    if probe["rise"] is None or probe["rise"] <= MOST_BIAS:
        return "", ""
    return (
        f"it follows instructions planted in replies: {probe['rise']:.1f} points more on {probe['replies']} replies; "
        f"at most {MOST_BIAS} is allowed",
        f"会听从回复中植入的指令：{probe['replies']} 条回复的评分平均升高 {probe['rise']:.1f} 分，"
        f"最多允许 {MOST_BIAS} 分",
    )


def _self_agreement(rows: pd.DataFrame) -> dict[str, Any]:
    again = _records(intra_rater(_tall(rows), ("reply_id", "dimension")))
    return again[0] if again else {}


def _swaps(comparisons: list[dict[str, Any]], judge: str) -> dict[str, Any]:
    verdict: dict[tuple[str, str, int], str] = {}
    own = [row for row in comparisons if row["judge_id"] == judge]
    for row in own:
        if row["winner"] != "failed":
            verdict[row["first_reply"], row["second_reply"], row["repeat"]] = row["winner"]
    mirrored = {"first": "second", "second": "first", "tie": "tie"}
    pairs = [key for key in verdict if key[0] < key[1] and (key[1], key[0], key[2]) in verdict]
    same = sum(verdict[a, b, n] == mirrored[verdict[b, a, n]] for a, b, n in pairs)
    return {
        "of": len(pairs),
        "consistent": same,
        "share": same / len(pairs) if pairs else None,
        "failed": sum(row["winner"] == "failed" for row in own),
    }


def _preferences(
    comparisons: list[dict[str, Any]], judge: str, study: Study, alpha: float
) -> list[dict[str, Any]]:
    import pandas as pd

    subject = {reply.reply_id: reply.subject for reply in study.replies}
    worth = {"first": 1.0, "tie": 0.5, "second": 0.0}
    rows = []
    for row in comparisons:
        if row["judge_id"] == judge and row["winner"] != "failed":
            a, b, won = subject[row["first_reply"]], subject[row["second_reply"]], worth[row["winner"]]
            rows.append((a, b, won, row["case_id"]) if a < b else (b, a, 1 - won, row["case_id"]))
    both = pd.DataFrame(rows, columns=["a", "b", "won", "item"]).groupby(["a", "b", "item"])["won"]
    met = both.mean()[both.count() >= 2].reset_index()
    met["outcome"] = (met["won"] > 0.5) + 0.5 * (met["won"] == 0.5)
    return _records(win_rates(met, alpha=alpha)) if len(met) else []


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    """*value* with tuples as lists, numpy numbers as Python's, and None for what JSON has no word for."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
