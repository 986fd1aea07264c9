"""What a study can show before people work on it, and the cases that are shipped for it."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise, product
from pathlib import Path

import pytest

from bakeoff.foundation.errors import ScoreError
from bakeoff.judgement.case_rows import CRISIS_WORDS
from bakeoff.judgement.replies import Reply, load_cases
from bakeoff.judgement.rubric import DIMENSIONS
from bakeoff.statistics.significance import mcnemar
from bakeoff.statistics.study import PLANNED, detectable, outlook, plan_study, raters_needed
from judge.__main__ import main


def test_eight_cases_can_never_tell_six_models_apart_and_the_shipped_ones_can() -> None:
    few = outlook(8, 6)
    assert few.smallest_p == pytest.approx(2 / 2**8 * 15)
    assert few.is_hopeless
    assert few.detectable == math.inf
    shipped = sum(not case.crisis for case in load_cases())
    assert not outlook(shipped, 6, dimensions=len(DIMENSIONS)).is_hopeless


@pytest.mark.parametrize("dimensions", [1, 5])
@pytest.mark.parametrize("models", [2, 3, 6, 12])
def test_the_fewest_cases_are_those_from_which_something_can_come_out(models: int, dimensions: int) -> None:
    fewest = outlook(1, models, dimensions=dimensions).fewest_cases
    assert outlook(fewest - 1, models, dimensions=dimensions).is_hopeless
    assert not outlook(fewest, models, dimensions=dimensions).is_hopeless


def test_one_rater_or_one_model_is_no_comparison() -> None:
    assert outlook(100, 6, raters=1).is_hopeless
    assert outlook(100, 6, raters=0).smallest_p == 1
    assert "nothing is compared" in outlook(3, 1).words[0]
    alone = outlook(3, 1)
    assert (alone.is_hopeless, alone.plan) == (False, None)


def test_what_is_needed_counts_raters_first_and_says_the_hours_of_people() -> None:
    found = outlook(24, 6, raters=3, difference=0.6)
    assert found.detectable > 0.6
    assert found.raters_needed
    assert detectable(24, found.raters_needed, 6) <= 0.6 < detectable(24, found.raters_needed - 1, 6)
    assert found.plan
    assert found.hours == pytest.approx(24 * 6 * 3 / 40)
    en, zh = found.words
    assert en.index(f"{found.raters_needed} raters on these cases") < en.index("hours of people")
    assert "人时" in zh
    assert f"find a difference of about {found.detectable:.1f} points" in en
    assert f"检出约 {found.detectable:.1f} 分" in zh
    assert raters_needed(24, 6, 0.01) is None  # no number of raters: the cases are too few
    with pytest.raises(ScoreError, match="above 0"):
        outlook(24, 6, difference=0)


@pytest.mark.parametrize(
    ("difference", "words", "zh"),
    [
        (0, "above 0", "大于 0"),
        (-0.5, "above 0", "大于 0"),
        (math.nan, "above 0", "大于 0"),
        (4.5, "width of the scale", "量表的宽度"),
        (math.inf, "width of the scale", "量表的宽度"),
    ],
)
def test_a_difference_that_no_study_can_look_for_is_refused_in_both_languages(difference, words, zh) -> None:
    with pytest.raises(ScoreError, match=words) as refused:
        outlook(24, 6, difference=difference)
    assert zh in refused.value.zh
    with pytest.raises(ScoreError, match=words):
        plan_study(difference, 6)


@pytest.mark.parametrize("cases", [0, 1, 6, 24, 500])
def test_the_outlook_of_any_study_is_words_about_that_study(cases) -> None:
    for models, raters, difference in product((0, 1, 2, 1000), (0, 1, 2, 40, 60), (1e-6, 0.5, 4.0)):
        view = outlook(cases, models, raters=raters, difference=difference)
        for words in view.words:
            assert not re.search(r"nan|inf|(?<!e)-\d|\b1 (cases|raters|comparisons|hours)\b", words)
        en, _ = view.words
        assert ("nothing is compared" in en) == (models < 2)
        if models < 2:
            continue
        assert view.is_hopeless == ("are needed" in en)
        assert view.detectable <= 4 or math.isinf(view.detectable)
        assert math.isinf(view.detectable) or not view.is_hopeless
        if difference < 0.001:
            assert "no study of up to 50 raters" in en
        if view.plan:
            assert detectable(view.plan.cases, view.plan.raters, models) <= difference


def test_a_study_of_less_than_nothing_or_of_no_variance_is_refused_or_limited() -> None:
    for counts in ({"cases": -1}, {"models": -1}, {"raters": -1}, {"dimensions": 0}):
        with pytest.raises(ScoreError, match="none may be negative"):
            outlook(**{"cases": 24, "models": 6, **counts})
    for variance in ({}, {**PLANNED, "rest": math.nan}, {**PLANNED, "rest": -1}, {**PLANNED, "rest": 1e300}):
        with pytest.raises(ScoreError, match="must be a number from 0 to 16"):
            detectable(24, 6, 6, variance=variance)
    # raters who all agree are still few, as in the comparison of their ratings
    alike = dict.fromkeys(PLANNED, 0.0)
    assert detectable(24, 3, 6, variance=alike) > 0.1
    assert detectable(24, 3, 6, variance=alike) > detectable(100, 3, 6, variance=alike)
    assert math.isinf(detectable(2, 2, 2, variance={**PLANNED, "rest": 4.0}))
    sentence = outlook(6, 2, raters=2, variance={**PLANNED, "rest": 16.0, "case x model": 16.0}).words
    assert "no difference on the scale" in sentence[0]


@pytest.mark.parametrize("cases", [12, 24, 60])
def test_where_cases_alone_vary_the_planner_has_the_power_of_statsmodels_paired_t_test(cases) -> None:
    from statsmodels.stats.power import TTestPower

    variance = {"case x model": 0.25, "rater x model": 0.0, "rest": 0.0}
    effect = detectable(cases, 5, 2, variance=variance) / math.sqrt(2 * 0.25)
    assert TTestPower().power(effect, cases, 0.05) == pytest.approx(0.8, abs=0.02)


def test_the_clearest_result_there_can_be_is_that_of_the_exact_test() -> None:
    for cases, models in ((8, 6), (12, 3), (24, 2)):
        pairs = models * (models - 1) // 2
        assert outlook(cases, models).smallest_p == pytest.approx(min(1, pairs * mcnemar(cases, 0)))


def test_more_dimensions_need_more_of_everything() -> None:
    one, five = outlook(24, 6, dimensions=1), outlook(24, 6, dimensions=5)
    assert five.comparisons == 5 * one.comparisons
    assert five.detectable > one.detectable
    assert five.fewest_cases > one.fewest_cases


def replies(path: Path, subjects: int, cases: int) -> list[str]:
    chosen = [case for case in load_cases() if not case.crisis][:cases]
    files = []
    for number in range(subjects):
        file = path / f"m{number}.jsonl"
        rows = [
            Reply(case.id, f"m{number}", "tuned", f"好的 {number}", "answered", case_sha=case.sha)
            for case in chosen
        ]
        file.write_text("".join(json.dumps(vars(row)) + "\n" for row in rows), encoding="utf-8")
        files.append(str(file))
    kept = path / "cases.jsonl"
    kept.write_text(
        "".join(
            json.dumps({"id": case.id, "messages": list(case.messages), "crisis": False}) + "\n"
            for case in chosen
        ),
        encoding="utf-8",
    )
    return ["--replies", *files, "--cases", str(kept)]


def test_a_study_from_which_nothing_can_come_out_is_refused_unless_it_is_called_a_pilot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["study", *replies(tmp_path, 6, 8), "--out", str(tmp_path / "s.json")]
    assert main(argv) != 0
    said = capsys.readouterr().err
    assert "nothing could come out" in said
    assert "at least 12 cases" in said or "at least 13 cases" in said
    assert "hours of people" in said
    assert not (tmp_path / "s.json").exists()
    assert main([*argv, "--pilot"]) == 0
    assert (tmp_path / "s.json").exists()
    enough = ["study", *replies(tmp_path, 6, 24), "--out", str(tmp_path / "t.json"), "--expect-raters", "5"]
    assert main(enough) == 0
    assert "5 raters" in capsys.readouterr().out
    assert main([*enough[:-1], "1"]) != 0
    capsys.readouterr()
    for odd, words in (("0", "above 0"), ("nan", "above 0"), ("-1", "above 0"), ("9", "width of the scale")):
        assert main([*enough, "--difference", odd]) != 0
        said = capsys.readouterr().err
        assert words in said
        assert "Traceback" not in said
    assert main([*enough[:-1], "-3"]) != 0
    assert "none may be negative" in capsys.readouterr().err


# ------------------------------ the shipped cases


def test_twenty_four_counselling_and_eight_crisis_cases_are_shipped() -> None:
    cases = load_cases()
    assert sum(not case.crisis for case in cases) == 24
    assert sum(case.crisis for case in cases) == 8
    several = [case for case in cases if len(case.messages) >= 3]
    assert len(several) >= len(cases) / 2
    assert len({case.topic for case in cases if not case.crisis}) >= 20
    assert len({case.title for case in cases}) == len({case.sha for case in cases}) == len(cases)


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.id)
def test_a_shipped_case_is_a_dialogue_in_chinese_with_points_to_judge_by(case) -> None:
    roles = [message["role"] for message in case.messages]
    assert roles[0] == roles[-1] == "user"
    assert all(one != two for one, two in pairwise(roles))
    assert all(re.search("[\u4e00-\u9fff]", message["content"]) for message in case.messages)
    assert len(case.what_a_good_reply_does) >= 3
    if not case.crisis:
        assert not any(CRISIS_WORDS.search(message["content"]) for message in case.messages)
    else:
        assert any(line in "".join(case.what_a_good_reply_does) for line in ("12356", "110", "120"))
