"""How the order of models depends on weights: suites, people, speed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bakeoff.report.findings import Findings, Subject
from bakeoff.report.sentences import LISTED, Sentence, both_lists, spaced, trailing
from bakeoff.report.views import Analysis
from bakeoff.scoring.scores import CRISIS

CRITERIA = {
    "suites": ("测试集", "Test suites"),
    "people": ("人工评分", "Human ratings"),
    "speed": ("速度", "Speed"),
}
"""What can be weighed, in Chinese and English."""
CRITERION_AT = {"suites": "bk-scores", "people": "bk-judgements", "speed": "bk-speed"}
"""The section of the page that shows each."""
_ONLY = {"suites": "test suites alone", "people": "human ratings alone", "speed": "speed alone"}


@dataclass(frozen=True)
class Weighing:
    """Points of 100 of each model by criterion, and whether weights matter."""

    criteria: list[str]
    points: dict[str, list[float]]
    """model -> points of 100, one per criterion; NaN where it was not measured."""
    sentence: Sentence

    def mean(self, model: str) -> float:
        """Return the mean at equal weights; NaN where a criterion is missing."""
        return sum(self.points[model]) / len(self.criteria)

    @property
    def order(self) -> list[str]:
        """Models at equal weights, best first; those not measured in full last."""
        return sorted(self.points, key=lambda model: (math.isnan(self.mean(model)), -self.mean(model)))


def weighing(findings: Findings, analysis: Analysis) -> Weighing | None:
    """Return the models by criterion; None where there is nothing to weigh.

    Suites count with the mean score over those that all delivered models have, people with overall quality (1 to 5
    points as 0 to 100), speed as a share of the fastest service.
    """
    delivered = _delivered(findings, analysis)
    columns = {
        "suites": _suites(analysis, delivered),
        "people": _people(findings, delivered),
        "speed": _speed(findings, delivered),
    }
    criteria = [name for name, column in columns.items() if len(column) > 1]
    if len(criteria) < 2:
        return None
    points = {
        subject.model: [columns[name].get(subject, math.nan) for name in criteria] for subject in delivered
    }
    return Weighing(criteria, points, _dependence(criteria, points))


def _delivered(findings: Findings, analysis: Analysis) -> list[Subject]:
    """Return each model as delivered, in the order of the board.

    Tuned where it was tuned; of several seeds of a recipe the first, as elsewhere.
    """
    last = {subject.model: subject for subject in findings.subjects}
    firsts = {seeds[0] for seeds in findings.recipes.values()}
    return [last[model] for model in analysis.order if model in last and model in firsts]


def _suites(analysis: Analysis, delivered: list[Subject]) -> dict[Subject, float]:
    views = [view for view in analysis.views if view.name != CRISIS]
    scored = {
        subject: {
            view.name: view.cells[subject].value
            for view in views
            if subject in view.cells and view.cells[subject].ranked
        }
        for subject in delivered
    }
    scored = {subject: scores for subject, scores in scored.items() if scores}
    shared = set.intersection(*map(set, scored.values())) if scored else set()
    if not shared:
        return {}
    return {
        subject: 100 * sum(scores[name] for name in shared) / len(shared)
        for subject, scores in scored.items()
    }


def _people(findings: Findings, delivered: list[Subject]) -> dict[Subject, float]:
    part = (findings.ratings or {}).get("parts", {}).get("counselling") or {}
    rows = part.get("scores", {}).get("overall_quality", {}).get("subjects") or []
    values = {row["subject"]: row["value"] for row in rows if row.get("value") is not None}
    names = {subject: f"{subject.model}/{subject.variant}" for subject in delivered}
    return {subject: 25 * (values[name] - 1) for subject, name in names.items() if name in values}


def _speed(findings: Findings, delivered: list[Subject]) -> dict[Subject, float]:
    rates: dict[Subject, float] = {}
    for row in findings.speeds:
        rate = float(row.get("output_tokens_per_s", math.nan))
        if row["subject"] in delivered and rate > 0:
            rates[row["subject"]] = max(rate, rates.get(row["subject"], 0.0))
    return {subject: 100 * rate / max(rates.values()) for subject, rate in rates.items()}


def _dependence(criteria: list[str], points: dict[str, list[float]]) -> Sentence:
    """Return whether the order depends on the weights."""
    complete = {model: row for model, row in points.items() if not any(map(math.isnan, row))}
    if len(complete) < 2:
        return Sentence(
            "没有两个模型在各项上都有结果，无法加权比较。",
            "No two models were measured on every criterion, so they cannot be weighed against each other.",
        )
    models = list(complete)
    split = any(
        min(differences) < 0 < max(differences)
        for place, a in enumerate(models)
        for b in models[place + 1 :]
        if (differences := [x - y for x, y in zip(complete[a], complete[b], strict=True)])
    )
    best = [max(column) for column in zip(*complete.values(), strict=True)]
    first = next((model for model in models if complete[model] == best), None)
    zh_among, en_among = "", ""
    if len(complete) < len(points):
        zh_among = f"（仅就各项均有结果的 {len(complete)} 个模型而言）"
        en_among = f" (among the {len(complete)} models measured on every criterion)"
    if first and not split:
        return Sentence(
            f"排序与权重无关{zh_among}。", f"The order is the same whatever the weights{en_among}."
        )
    if first:
        return Sentence(
            f"无论权重如何，{spaced(first)}均居首位；其余模型的排序取决于权重{zh_among}。",
            f"{first} comes first whatever the weights; the order of the others depends on them{en_among}.",
        )
    zh_parts, en_parts = [], []
    for i, name in enumerate(criteria):
        column = {model: row[i] for model, row in points.items() if not math.isnan(row[i])}
        top = [model for model, value in column.items() if value == max(column.values())]
        if len(top) < len(column):  # a criterion by which all are equal puts nobody first
            names = both_lists(top, LISTED)
            zh_parts.append(f"只看{CRITERIA[name][0]}是{trailing(names.zh)}")
            en_parts.append(f"{names.en} by {_ONLY[name]}")
    zh, en = "，".join(zh_parts), ", ".join(en_parts)
    return Sentence(f"首位取决于权重：{zh}。", f"Which model comes first depends on the weights: {en}.")
