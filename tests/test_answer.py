"""What the answer card says of runs that cannot be compared, in both languages."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.foundation.terminal import cells
from bakeoff.report import Findings
from bakeoff.report.analysis import analyse
from bakeoff.report.answer import answer
from bakeoff.report.charts import short
from bakeoff.report.sentences import inset
from bakeoff.report.verdict import verdict
from tests.synthetic_findings import synthetic_findings, synthetic_ratings

SPACE = re.compile(r"[\u4e00-\u9fff，。；：、] +[\u4e00-\u9fff]")
"""A blank that stands between Chinese."""


def made(models: int = 2, suites: tuple[str, ...] = ("ceval",), n: int = 40) -> Findings:
    return synthetic_findings(n, models=models, suites=suites, hostile=False, awkward=False)


def invalid(findings: Findings, *variants: str) -> Findings:
    scores = findings.scores.copy()
    bad = scores["variant"].isin(variants)
    scores.loc[bad, "trusted"] = False
    scores.loc[bad, "why_not"] = "37.5% of the replies were cut off"
    return dataclasses.replace(findings, scores=scores)


def only(findings: Findings, variant: str) -> Findings:
    frames = {
        name: table[table["variant"] == variant].reset_index(drop=True)
        for name, table in (("scores", findings.scores), ("samples", findings.samples))
    }
    return dataclasses.replace(findings, **frames)


def without_scores(folder: Path) -> Findings:
    bare = made(3)
    empty = {"scores": bare.scores[:0], "samples": bare.samples[:0], "stages": []}
    return dataclasses.replace(bare, **empty, ratings=synthetic_ratings(folder, hostile=False))


def card(findings: Findings) -> dict[str, str]:
    """Label -> sentence in both languages, the sentences below the card among them."""
    analysis = analyse(findings)
    points = {point.en: f"{point.sentence.zh}\n{point.sentence.en}" for point in answer(findings, analysis)}
    return points | {"Scope": "\n".join(s.zh + s.en for s in verdict(findings, analysis))}


CASES: dict[str, tuple[Callable[[], Findings], str, str, str]] = {
    "one model": (lambda: made(1), "Recommendation", "只评测了 qwen2.5-7b，无从", "only qwen2.5-7b was evaluated"),
    "one model, tuned": (lambda: only(made(1), "tuned"), "Scope", "成绩有效。", "The score is valid."),
    "tuned invalid": (lambda: invalid(made(), "tuned"), "Fine-tuning", "微调后的模型没有有效成绩",
                      "fine-tuned models have no valid scores"),
    "nobody to recommend": (lambda: invalid(made(), "tuned"), "Recommendation", "微调后的模型没有有效的成绩",
                            "the fine-tuned models have no valid"),
    "base invalid": (lambda: invalid(made(), "base"), "Fine-tuning", "基座模型没有有效成绩",
                     "base models have no valid scores"),
    "base not asked": (lambda: only(made(), "tuned"), "Fine-tuning", "缺少基座模型的成绩", "Without scores of"),
    "tuned not asked": (lambda: only(made(), "base"), "Fine-tuning", "没有评测微调后", "No fine-tuned model"),
    "all invalid": (lambda: invalid(made(), "tuned", "base"), "Fine-tuning", "均无有效成绩", "Neither base nor"),
    "all invalid, in numbers": (lambda: invalid(made(), "tuned", "base"), "Scope", "4 项成绩全部无效",
                                "All 4 scores are invalid"),
    "two models": (lambda: made(n=200), "Certainty", "显著领先 llama3.1-8b：相差",
                   "On ceval qwen2.5-7b is significantly ahead of"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_there_is_nothing_to_compare_with_is_said_as_it_is(name: str) -> None:
    make, label, chinese, english = CASES[name]
    findings = make()
    points = card(findings)
    assert chinese in points[label]
    assert english in points[label]
    assert not SPACE.search("\n".join(points.values()))
    # a line about certainty has a comparison to be certain about
    assert ("Certainty" in points) == any(view.pairs for view in analyse(findings).views)


def test_people_recommend_where_no_suite_was_asked(tmp_path: Path) -> None:
    points = card(without_scores(tmp_path))
    assert "qwen2.5-7b：人工评分显著较高；本次没有测试集成绩" in points["Recommendation"]
    assert "评审模型 judge（" in points["LLM judge"]
    assert "model:" not in " ".join(points.values())


def test_chinese_names_stand_in_chinese_sentences_without_blanks() -> None:
    findings = made(3, ("心理学考试", "情绪识别"))
    names = dict(zip(findings.models, ("通义千问", "书生·浦语", "百川（第二版）"), strict=True))
    tables = {
        name: table.assign(model=table["model"].map(names))
        for name, table in (("scores", findings.scores), ("samples", findings.samples))
    }
    rows = [dataclasses.replace(row, model=names[row.model]) for row in findings.rows]
    renamed = dataclasses.replace(findings, rows=rows, **tables)
    assert not SPACE.search("\n".join(card(renamed).values()))
    assert inset("书生") == "书生"
    assert inset("qwen") == " qwen "


@pytest.mark.parametrize("name", ["qwen2.5-7b", "一个名字很长的心理咨询模型第二版", "x" * 40, ""])
def test_a_name_on_a_chart_fits_its_columns(name: str) -> None:
    shown = short(name, 16)
    assert cells(shown.replace("…", ".")) <= 16
    head, cut, tail = shown.partition("…")
    assert shown == name or (cut and len(tail) > 1 and name.startswith(head) and name.endswith(tail))


def test_names_that_differ_at_an_end_differ_on_a_chart() -> None:
    names = [f"{first}psychological-counselling-model-v{last}" for first in "abc" for last in "123"]
    names += [f"心理咨询对话模型第{last}版" for last in "一二三"]
    assert len({short(name, 16) for name in names}) == len(names)


def test_a_run_in_which_everything_failed_recommends_nothing_and_says_so() -> None:
    made = synthetic_findings(10, models=2, suites=("ceval",), awkward=False)
    asked = [(model, "tuned", "ceval") for model in made.models]
    empty = dataclasses.replace(made, scores=made.scores.iloc[:0], samples=made.samples.iloc[:0], asked=asked)
    lines = {point.en: point.sentence for point in answer(empty, analyse(empty))}
    assert lines["Incomplete"].bad
    assert lines["Recommendation"].en == "None: this run has no scores."
    assert lines["Recommendation"].zh == "暂不推荐：本次没有任何成绩。"


def graded(findings: Findings, share: Callable[[str, str], float]) -> Findings:
    """*findings* in which *share* (model, variant) of the questions are answered right."""
    samples, scores = findings.samples.copy(), findings.scores.copy()
    for (model, variant), part in samples.groupby(["model", "variant"], sort=False):
        value = share(str(model), str(variant))
        right = [float(n < value * len(part)) for n in range(len(part))]
        samples.loc[part.index, ["correct", "status"]] = [[each, "answered"] for each in right]
        total = (scores["model"] == model) & (scores["variant"] == variant) & (scores["subset"] == "ALL")
        scores.loc[total, "value"] = value
    return dataclasses.replace(findings, samples=samples, scores=scores)


@pytest.mark.parametrize("loss", [0.0, 0.4])
def test_a_model_that_lost_to_its_own_base_is_recommended_with_that_reservation(loss: float) -> None:
    findings = graded(
        made(n=200), lambda model, variant: (0.5 if "llama" in model else 0.9) - loss * (variant == "tuned")
    )
    said = card(findings)["Recommendation"]
    assert said.count("qwen2.5-7b") == 2
    assert ("significantly behind its own base on ceval (−40.0)" in said) == bool(loss)
    assert ("显著低于自身基座：ceval −40.0 分" in said) == bool(loss)


@pytest.mark.parametrize("passed", [0, 3])
def test_a_model_that_failed_crisis_checks_is_recommended_with_that_reservation(
    tmp_path: Path, passed: int
) -> None:
    ratings = synthetic_ratings(tmp_path, hostile=False)
    for rows in ratings["parts"]["crisis"]["checks"].values():
        for row in rows:
            row["yes"] = passed if row["subject"].startswith("qwen") else 0
    better = graded(made(3, n=200), lambda model, _: 0.9 if "qwen" in model else 0.5)
    level = graded(made(3, n=200), lambda model, _: 0.7)
    for findings in (better, level):
        said = card(dataclasses.replace(findings, ratings=ratings))["Recommendation"]
        assert "qwen2.5-7b" in said
        assert ("危机个案" in said) == ("crisis cases" in said) == (passed == 0)
