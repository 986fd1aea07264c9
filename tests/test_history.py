import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bakeoff.foundation.errors import StoreError
from bakeoff.report import Findings, page
from bakeoff.report.__main__ import main
from bakeoff.report.history import Since, changes, moved, why_failed
from bakeoff.runs.runs import earlier
from tests.synthetic_findings import synthetic_findings
from tests.test_report import saved

SUITES = ("ceval", "psyqa")


def run(seed: int = 0, n_samples: int = 120) -> Findings:
    return synthetic_findings(n_samples, models=2, suites=SUITES, seed=seed, awkward=False, hostile=False)


def spoiled(
    share: float, suite: str = "ceval", model: str = "qwen2.5-7b", variant: str = "tuned"
) -> Findings:
    """The same run with *share* of one subject's right answers turned wrong."""
    findings = run()
    samples = findings.samples
    own = (samples["suite"] == suite) & (samples["model"] == model) & (samples["variant"] == variant)
    right = samples.index[own & (samples["correct"] == 1)]
    lost = np.random.default_rng(1).choice(right, int(share * len(right)), replace=False)
    samples.loc[lost, "correct"] = 0.0
    score = findings.scores
    total = (score["suite"] == suite) & (score["model"] == model) & (score["variant"] == variant)
    score.loc[total & (score["subset"] == "ALL"), "value"] = samples.loc[own, "correct"].mean()
    return findings


def test_the_same_run_twice_did_not_move() -> None:
    assert moved(changes(run(), run())) == []


def test_a_real_drop_is_a_regression_and_nothing_else_is() -> None:
    found = changes(run(), spoiled(0.5))
    worse = [one for one in found if one.regression]
    assert [(one.subject.model, one.subject.variant, one.suite, one.verdict) for one in worse] == [
        ("qwen2.5-7b", "tuned", "ceval", "worse")
    ]
    assert worse[0].n == 120
    assert worse[0].difference == pytest.approx(worse[0].after - worse[0].before)
    assert worse[0].low < worse[0].difference < worse[0].high < 0


def test_a_drop_within_noise_moved_but_is_no_regression() -> None:
    found = moved(changes(run(), spoiled(0.04)))
    assert [(one.verdict, one.regression) for one in found] == [("same", False)]
    assert "no measurable change" in str(found[0])


def test_the_other_way_round_is_an_improvement() -> None:
    found = moved(changes(spoiled(0.5), run()))
    assert [one.verdict for one in found] == ["better"]


def test_only_shared_samples_are_compared() -> None:
    fewer = run()
    fewer.samples = fewer.samples[fewer.samples["index"] < 80]
    assert {one.n for one in changes(fewer, run())} == {80}


def test_a_change_on_other_questions_is_not_comparable() -> None:
    other = run()
    other.samples["sample_id"] = "x" + other.samples["sample_id"]
    found = changes(other, run())
    assert {one.verdict for one in found} == {"not comparable"}
    assert {one.why for one in found} == {"the two runs share no sample"}
    assert not any(one.regression for one in found)


def test_a_score_that_cannot_be_trusted_any_more_is_a_regression() -> None:
    lost = run()
    own = (lost.scores["suite"] == "ceval") & (lost.scores["model"] == "qwen2.5-7b")
    lost.scores.loc[own & (lost.scores["variant"] == "tuned"), ["trusted", "why_not"]] = [
        False,
        "replies were empty",
    ]
    found = [one for one in changes(run(), lost) if one.regression]
    assert len(found) == 1
    assert math.isnan(found[0].after)
    assert found[0].words[1] == "not comparable: replies were empty"
    assert not any(one.regression for one in changes(lost, lost))


def test_a_score_that_was_asked_for_otherwise_is_not_comparable() -> None:
    five = run()
    five.scores.loc[five.scores["suite"] == "ceval", "few_shot"] = 5
    zero = spoiled(0.5)
    zero.scores["few_shot"] = 0
    five.scores.loc[five.scores["suite"] == "psyqa", "few_shot"] = 0
    found = changes(five, zero)
    assert {one.verdict for one in found if one.suite == "ceval"} == {"not comparable"}
    assert {one.words for one in found if one.suite == "ceval"} == {
        ("不可比：few_shot：由 '5' 变为 '0'", "not comparable: few_shot: '5' is now '0'")
    }
    assert {one.verdict for one in found if one.suite == "psyqa"} == {"same"}


def test_other_generation_settings_are_not_comparable() -> None:
    before, after = run(), spoiled(0.5)
    for findings, length in ((before, 512), (after, 16)):
        findings.stages = [
            {
                "stage": "evaluate",
                "model": "qwen2.5-7b",
                "variant": "tuned",
                "facts": {"suite": "ceval"},
                "identity": {"suite": {"generation": {"max_tokens": length}}},
            }
        ]
    other = [one for one in changes(before, after) if one.verdict == "not comparable"]
    assert [(one.subject.variant, one.suite, one.why) for one in other] == [
        ("tuned", "ceval", "generation.max_tokens: '512' is now '16'")
    ]


def test_new_and_vanished_scores_are_named() -> None:
    one_suite = synthetic_findings(120, models=2, suites=("ceval",), awkward=False, hostile=False)
    assert {one.suite for one in changes(one_suite, run()) if one.verdict == "new"} == {"psyqa"}
    gone = [one for one in changes(run(), one_suite) if one.verdict == "gone"]
    assert {one.suite for one in gone} == {"psyqa"}


def test_noise_alone_rarely_fails_a_run() -> None:
    """A model that is asked again at random: the family keeps false alarms at or below 5 % of the comparisons."""
    rng = np.random.default_rng(11)
    alarms = 0
    base = synthetic_findings(60, models=2, suites=("ceval",), awkward=False, hostile=False)
    for _ in range(8):
        sides = []
        for _ in range(2):
            one = synthetic_findings(15, models=2, suites=("ceval",), awkward=False, hostile=False)
            one.samples, one.scores = base.samples.copy(), base.scores
            one.samples["correct"] = (rng.random(len(one.samples)) < 0.6).astype(float)
            sides.append(one)
        alarms += any(change.regression for change in changes(*sides))
    assert alarms <= 1


def test_the_report_tells_what_moved() -> None:
    html = page(spoiled(0.5), since=Since.of(run(), spoiled(0.5)))
    assert "Since run" in html
    assert ">better<" not in html
    assert '<span lang="en">worse</span>' in html


def test_the_exit_code_tells_a_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(run(), tmp_path, "monday", "2026-03-01T00:00:00+08:00")
    saved(spoiled(0.5), tmp_path, "tuesday", "2026-03-02T00:00:00+08:00")
    options = ["--store", str(tmp_path), "--out", str(tmp_path / "reports")]
    assert main([*options, "--compare", "monday", "--fail-on-regression"]) == 1
    assert "qwen2.5-7b (tuned) on ceval" in capsys.readouterr().out
    assert main([*options, "--compare", "monday"]) == 0
    assert main([*options, "--run", "monday", "--compare", "tuesday", "--fail-on-regression"]) == 0
    with pytest.raises(SystemExit, match="2"):
        main([*options, "--fail-on-regression"])


OPTIONS = ["--compare", "last", "--fail-on-regression"]


def stored(store: Path, *runs: Findings) -> list[str]:
    """The runs, one a day; options to report on the newest."""
    for day, findings in enumerate(runs, 1):
        saved(findings, store, f"day-{day}", f"2026-03-{day:02}T00:00:00+08:00")
    return ["--store", str(store), "--out", str(store / "reports")]


def without_scores() -> Findings:
    findings = run()
    findings.scores, findings.samples = findings.scores.iloc[:0], findings.samples.iloc[:0]
    return findings


def test_the_last_run_is_the_newest_one_before_with_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = stored(tmp_path, run(), without_scores(), spoiled(0.5), without_scores())
    assert Findings.from_store(tmp_path).run_id == "day-3"
    assert main([*options, *OPTIONS]) == 1
    assert "since day-1:" in capsys.readouterr().out
    assert earlier(tmp_path, "last") == "day-3"
    with pytest.raises(StoreError, match="no earlier run in"):
        earlier(tmp_path, "last", "day-1")
    with pytest.raises(StoreError, match="no run 'friday'"):
        earlier(tmp_path, "friday")


def test_a_gate_that_compared_nothing_does_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = run()
    other.samples["sample_id"] = "x" + other.samples["sample_id"]
    options = stored(tmp_path, run(), other)
    assert main([*options, *OPTIONS]) == 1
    assert "no score was compared" in capsys.readouterr().err
    assert why_failed([], without_scores())


def test_a_score_that_is_gone_fails_where_the_run_was_to_make_it() -> None:
    part = synthetic_findings(120, models=2, suites=("ceval",), awkward=False, hostile=False)
    found = changes(run(), part)
    assert (
        len(why_failed(found, part)) == 4
    )  # not known what it was to make: psyqa of two models, base and tuned
    part.asked = [(model, "tuned", "psyqa") for model in part.models]
    assert [why.split(":")[0] for why in why_failed(found, part)] == [
        f"{model} (tuned) on psyqa" for model in part.models
    ]
    part.asked = [(model, "tuned", "ceval") for model in part.models]
    assert why_failed(found, part) == []


def test_duplicate_questions_pair_one_to_one() -> None:
    twice = run()
    extra = twice.samples[twice.samples["index"] == 3].assign(index=120)
    twice.samples = pd.concat([twice.samples, extra], ignore_index=True)
    assert {one.n for one in changes(twice, twice)} == {121}
    assert {one.n for one in changes(run(), twice)} == {120}
