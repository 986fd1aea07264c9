import copy
import dataclasses
import math
import re

import pytest

from bakeoff.report import page
from bakeoff.report.analysis import analyse
from bakeoff.report.answer import answer
from bakeoff.report.findings import Findings
from bakeoff.report.opinions import people
from bakeoff.report.sentences import both_lists
from bakeoff.report.shortfalls import shortfall
from bakeoff.report.verdict import between, verdict
from bakeoff.report.views import Analysis
from bakeoff.report.weights import weighing
from bakeoff.report.words import decimal, points, ratio
from tests.synthetic_findings import MODELS, eventful, synthetic_findings, synthetic_ratings


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    made = eventful(synthetic_findings(60, suites=("ceval", "psyqa"), hostile=False))
    made.ratings = synthetic_ratings(tmp_path_factory.mktemp("ratings"), models=4, hostile=False)
    return made


@pytest.fixture(scope="module")
def analysis(findings: Findings) -> Analysis:
    return analyse(findings)


def test_the_sentence_about_weights_names_whom_its_table_puts_first(
    findings: Findings, analysis: Analysis
) -> None:
    weighed = weighing(findings, analysis)
    assert weighed is not None
    assert "qwen2.5-7b comes first whatever the weights" in weighed.sentence.en
    assert "(among the 4 models measured on every criterion)" in weighed.sentence.en
    other = copy.deepcopy(findings.ratings)
    assert other is not None
    rows = other["parts"]["counselling"]["scores"]["overall_quality"]["subjects"]
    next(row for row in rows if row["subject"] == "qwen2.5-7b/tuned")["value"] = 1.0
    weighed = weighing(dataclasses.replace(findings, ratings=other), analysis)
    assert weighed is not None
    assert set(weighed.points) == set(MODELS), "a further seed of a recipe is no model"
    for number, words in enumerate(("test suites alone", "human ratings alone")):
        best = max(
            (row[number], model) for model, row in weighed.points.items() if not math.isnan(row[number])
        )
        assert f"{best[1]} by {words}" in weighed.sentence.en


def test_seeds_of_a_recipe_are_one_model_of_several_runs(findings: Findings, analysis: Analysis) -> None:
    scope = next(sentence for sentence in verdict(findings, analysis) if "answered" in sentence.en)
    assert scope.en.startswith("6 models (7 counting every seed) answered")
    assert scope.zh.startswith("6 个模型（按种子计 7 个）在")


def test_names_of_models_stand_as_they_are_in_every_sentence(findings: Findings, analysis: Analysis) -> None:
    sentences = [point.sentence for point in answer(findings, analysis)] + verdict(findings, analysis)
    text = " ".join(sentence.en for sentence in sentences)
    assert "qwen2.5-7b" in text
    assert not re.search("|".join(re.escape(name.capitalize()) for name in MODELS), text)


def test_what_failed_is_listed_as_each_language_lists_things(findings: Findings) -> None:
    sentence = shortfall(findings)[0]
    first, second, third, *_ = MODELS
    assert f"(my_exam: {first}, {second}, {third} and 3 more)" in sentence.en
    assert f"（my_exam：{first}、{second}、{third} 等 6 个）" in sentence.zh


def test_ratings_that_are_all_alike_put_nobody_first() -> None:
    rows = [{"subject": f"{name}/tuned", "value": 3.0, "letters": "A"} for name in ("a", "b", "c")]
    part = {"scores": {"overall_quality": {"subjects": rows}}, "raters": ["R1"], "cases": 9}
    (sentence,) = people({"parts": {"counselling": part}})
    assert sentence.en == "1 rater, 9 cases: the 3 models have the same mean overall quality (3.0)."
    assert "最高" not in sentence.zh


def test_a_long_top_group_is_counted_and_not_listed() -> None:
    many = synthetic_findings(400, suites=("ceval",), awkward=False)
    view = analyse(many).views[0]
    last = view.delivered[-1]
    pair = next(pair for pair in view.pairs if pair.shown)
    view.delivered += [pair.a._replace(model=f"copy-{number}") for number in range(30)]
    for subject in view.delivered:
        view.cells[subject] = view.cells[last].__class__(**{**vars(view.cells[last]), "letters": "A"})
    sentence = between(Analysis([view], [], 1, 1))
    assert "等 36 个" in sentence.zh
    assert "and 33 more" in sentence.en
    assert "copy-29" not in sentence.en


def test_answers_stand_in_order_and_open_the_replies_that_gave_them(findings: Findings) -> None:
    html = page(findings)
    said = re.findall(r"is=said%3A(\w?)", html)
    assert said[:5] == ["A", "B", "C", "D", ""]
    assert html.count("提取的答案</span>") == 1, "a suite without answers has no column for them"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(-0.001, "0.00"), (0.0, "0.00"), (-0.306, "−0.31"), (2.0, "2.00"), (None, "–"), (math.nan, "–")],
)
def test_a_zero_has_no_sign_and_what_is_missing_is_a_dash(value: float | None, shown: str) -> None:
    assert decimal(value) == shown
    if value is not None:
        assert ratio(value) == shown
        assert points(value / 100, 2) == shown


def test_the_count_of_a_list_follows_a_blank_only_after_a_latin_end() -> None:
    assert both_lists(["a −1 分", "b −2 分"], 1).zh == "a −1 分等 2 个"
    assert both_lists(["a", "b"], 1).zh == "a 等 2 个"


def test_models_and_stages_that_were_skipped_are_told_apart(findings: Findings) -> None:
    skipped = [("glm-130b", "no card"), ("qwen2.5-7b · speed", "no package")]
    (sentence,) = shortfall(dataclasses.replace(findings, stages=[], skipped=skipped, asked=None))
    assert sentence.zh == "1 个模型未执行（glm-130b）；1 个步骤未执行（qwen2.5-7b · 服务速度）。"
    assert sentence.en == "1 row was skipped (glm-130b); 1 stage was skipped (qwen2.5-7b · Serving speed)."


def test_notes_on_ratings_are_sentences_and_name_models_as_the_page_does(findings: Findings) -> None:
    ratings = copy.deepcopy(findings.ratings)
    assert ratings is not None
    rated = ratings["study"]["subjects"][0]
    model = rated.split("/")[0]
    judge = ratings["judges"][0]
    judge["why"], judge["why_zh"] = f"it scores {rated} 0.8 points above people", f"对 {rated} 的评分偏高"
    scores = ratings["parts"]["counselling"]["scores"]["empathy"]
    scores["why_no_letters"], scores["why_no_letters_zh"] = "no letters: too few cases", "个案太少"
    scores["left_out"] = {"model": [rated], "case": ["3"]}
    ratings["raters"]["severity"][0]["severity"] = -0.004
    html = page(dataclasses.replace(findings, ratings=ratings))
    section = re.split(r'<section id="bk-(?:judgements|evidence)">', html)[1]
    assert "−0.00" not in section
    assert f"it scores {model} (tuned) 0.8 points above people." in section
    assert f"对 {model}（微调）的评分偏高。" in section
    notes = re.findall(r'<p class="note">(.*?)</p>', section, re.DOTALL)
    assert len(notes) > 5
    for note in notes:
        assert rated not in note
        for language, end in (("zh", "。"), ("en", ".")):
            parts = re.findall(rf'<span lang="{language}">(.*?)</span>', note, re.DOTALL)
            assert parts[-1].endswith(end), note
