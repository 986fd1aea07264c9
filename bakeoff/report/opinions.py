"""What people and judge models found, in a sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bakeoff.foundation.sentences import plural
from bakeoff.report.findings import Findings
from bakeoff.report.sentences import LISTED, Sentence, both_lists, inset, spaced, trailing
from bakeoff.report.words import CHECKS, decimal, judge_name, rated_names

_QUALITY = "overall_quality"
_LINK = "#bk-judgements"


def opinions(findings: Findings) -> list[Sentence]:
    """Return sentences from people, judge models and crisis checks."""
    if not findings.ratings:
        return []
    ratings = findings.ratings
    return [*people(ratings), *judges(ratings), *crises(ratings)]


def people(ratings: Mapping[str, Any]) -> Iterator[Sentence]:
    """How people rated the overall quality in counselling cases."""
    part = ratings["parts"].get("counselling")
    rows = _rated(((part or {}).get("scores") or {}).get(_QUALITY, {}).get("subjects") or [])
    if not part or not rows:
        return
    raters, cases = len(part["raters"]), part["cases"]
    top, others = rows[0], rows[1:]
    zh_top, en_top = rated_names(top["subject"])
    zh, en = (
        f"{raters} 位评分者、{cases} 个个案：",
        f"{raters} {plural(raters, 'rater')}, {cases} {plural(cases, 'case')}: ",
    )
    if alike := _alike(rows):
        yield Sentence(zh + alike.zh, en + alike.en, _LINK)
        return
    zh += f"整体质量最高的是{trailing(zh_top)}，{_interval(top)}"
    en += f"overall quality is highest for {en_top}, {_interval(top)}"
    letters = set(top.get("letters") or "")
    if others and not letters:
        zh += f"；{'评分者' if raters < 2 else '个案'}太少，无法判断差异是否显著"
        en += f"; there are too few {'raters' if raters < 2 else 'cases'} to say whether the difference is significant"
    elif others:
        below = [row["subject"] for row in others if not letters & set(row.get("letters") or "")]
        level = [row["subject"] for row in others if letters & set(row.get("letters") or "")]
        if below:
            names = _names(below)
            zh, en = f"{zh}，显著高于{trailing(names.zh)}", f"{en}, significantly above {names.en}"
        if level:
            names = _names(level)
            zh, en = (
                f"{zh}；与{inset(names.zh)}差异不显著",
                f"{en}; not significantly different from {names.en}",
            )
    yield Sentence(zh + "。", en + ".", _LINK)


def _alike(rows: Sequence[Mapping[str, Any]]) -> Sentence | None:
    """Return that all models were rated the same; None where they were not."""
    if len(rows) < 2 or len({row["value"] for row in rows}) > 1:
        return None
    value = f"{rows[0]['value']:.1f}"
    return Sentence(
        f"{len(rows)} 个模型的整体质量平均分相同（{value}）。",
        f"the {len(rows)} models have the same mean overall quality ({value}).",
    )


def _names(subjects: Sequence[str]) -> Sentence:
    """Subjects of a study listed in both languages."""
    zh, en = zip(*map(rated_names, subjects), strict=True)
    return Sentence(both_lists(zh, LISTED).zh, both_lists(en, LISTED).en)


def judges(ratings: Mapping[str, Any]) -> Iterator[Sentence]:
    """How each judge model rated the same, and how far it agrees with people."""
    for judge in ratings.get("judges") or ():
        rows = _rated((judge["parts"].get("counselling") or {}).get(_QUALITY) or [])
        if not rows:
            continue
        alpha = ((judge.get("calibration") or {}).get(_QUALITY) or {}).get("alpha")
        alpha = alpha.get("value") if isinstance(alpha, Mapping) else alpha
        zh_trust, en_trust = ("已校准", "calibrated") if judge["calibrated"] else ("未校准", "not calibrated")
        if alpha is not None:
            zh_trust, en_trust = (
                f"{zh_trust}，与人工评分的 α = {decimal(alpha)}",
                f"{en_trust}, α with people {decimal(alpha)}",
            )
        top = rows[0]
        zh_top, en_top = rated_names(top["subject"])
        name = _judge_name(judge["judge"], ratings)
        if alike := _alike(rows):
            zh, en = f"评审模型 {name}（{zh_trust}）：", f"Judge model {name} ({en_trust}): "
            yield Sentence(zh + alike.zh, en + alike.en, _LINK)
            continue
        yield Sentence(
            f"评审模型 {name}（{zh_trust}）：整体质量最高的是{trailing(zh_top)}，{top['value']:.1f} 分。",
            f"Judge model {name} ({en_trust}): overall quality is highest for {en_top}, {top['value']:.1f}.",
            _LINK,
        )


def _judge_name(judge: str, ratings: Mapping[str, Any]) -> str:
    """Return the name of a judge model, with its weights where two share it."""
    names = [judge_name(each["judge"]).partition("@")[0] for each in ratings.get("judges") or ()]
    name = judge_name(judge).partition("@")[0]
    return name if names.count(name) < 2 else judge_name(judge)


def crises(ratings: Mapping[str, Any]) -> Iterator[Sentence]:
    """Return which replies to crisis cases failed a check.

    By people, else by the first judge model that was asked.
    """
    checks, judge = _checks(ratings)
    if not checks:
        return
    zh_by, en_by = (f"（评审模型 {judge}）", f" (judge model {judge})") if judge else ("", "")
    missed = [
        (CHECKS.get(check, (check, check)), row)
        for check, rows in checks.items()
        for row in rows
        if row["yes"] < row["of"]
    ]
    if not missed:
        yield Sentence(
            f"危机个案{zh_by}：所有回复都通过了全部核查。",
            f"Crisis cases{en_by}: every reply passed every check.",
            _LINK,
        )
        return
    missed.sort(key=lambda item: item[1]["yes"] / item[1]["of"])
    zh = "，".join(
        f"{spaced(rated_names(row['subject'])[0])}“{zh_check}” {row['yes']}/{row['of']}"
        for (zh_check, _), row in missed[:LISTED]
    )
    en = ", ".join(
        f"{rated_names(row['subject'])[1]} “{en_check[0].lower()}{en_check[1:]}” {row['yes']}/{row['of']}"
        for (_, en_check), row in missed[:LISTED]
    )
    rest = len(missed) - LISTED
    zh_rest, en_rest = (f"，另有 {rest} 项", f" and {rest} more") if rest > 0 else ("", "")
    yield Sentence(
        f"危机个案{zh_by}：并非所有回复都通过核查（通过次数/评分次数）：{zh}{zh_rest}。",
        f"Crisis cases{en_by}: not every reply passed its checks (passed/rated): {en}{en_rest}.",
        _LINK,
        bad=True,
    )


def _checks(ratings: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return check -> rows by people, or by the judge model that is named."""
    if checks := (ratings["parts"].get("crisis") or {}).get("checks"):
        return checks, ""
    for judge in ratings.get("judges") or ():
        if any((judge.get("checks") or {}).values()):
            return judge["checks"], _judge_name(judge["judge"], ratings)
    return {}, ""


def failing(findings: Findings) -> set[str]:
    """Return the models of which a reply to a crisis case failed a check."""
    checks, _ = _checks(findings.ratings) if findings.ratings else ({}, "")
    return {
        row["subject"].split("/")[0] for rows in checks.values() for row in rows if row["yes"] < row["of"]
    }


def leaders(findings: Findings) -> set[str]:
    """Return the models in the top group of the human ratings.

    Empty where the ratings show no difference.
    """
    if not findings.ratings:
        return set()
    part = findings.ratings["parts"].get("counselling")
    rows = _rated(((part or {}).get("scores") or {}).get(_QUALITY, {}).get("subjects") or [])
    top = {row["subject"].split("/")[0] for row in rows if "A" in (row.get("letters") or "")}
    return top if top != {row["subject"].split("/")[0] for row in rows} else set()


def _rated(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted((row for row in rows if row.get("value") is not None), key=lambda row: -float(row["value"]))


def _interval(row: Mapping[str, Any]) -> str:
    value = f"{row['value']:.1f}"
    if row.get("low") is None or row.get("high") is None:
        return value
    return f"{value} [{row['low']:.1f}, {row['high']:.1f}]"
