"""Several seeds of a recipe: the rows they become, and what may be said about recipes and about what tuning lost."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.foundation.errors import MatrixError, ScoreError
from bakeoff.matrix.loading import parse_matrix
from bakeoff.report.analysis import analyse
from bakeoff.report.claim_tables import claim_sentences, claim_tables
from bakeoff.report.claims import engine_in, recipe_comparisons
from bakeoff.report.findings import SAMPLE_COLUMNS, SCORE_COLUMNS, Findings, Row, with_columns
from bakeoff.report.verdict import between
from bakeoff.runs.plan import cases
from bakeoff.statistics.intervals import agresti_min
from bakeoff.statistics.recipes import (
    compare_recipes,
    engine_variance,
    repeat_variance,
    variance_table,
    with_measured,
)
from bakeoff.statistics.retention import Retention, judged, retention, tango_interval, tango_score
from bakeoff.statistics.tables import sample_matrix
from bakeoff.tools.swift import sft

ROW: dict[str, Any] = {"model": "owner/name", "dataset": ["owner/data"]}


@pytest.fixture(autouse=True, scope="module")
def _numerical_libraries():
    """Imported late: collecting the tests stays light."""
    global np, pd
    import numpy as np
    import pandas as pd


# ------------------------------ rows


def test_a_row_with_seeds_becomes_rows_that_share_its_base_and_differ_in_seed_and_order_of_the_data():
    matrix = parse_matrix({"models": {"a": {**ROW, "seeds": 3, "training": {"seed": 7}}, "b": ROW}})
    assert list(matrix.models) == ["a", "a.seed8", "a.seed9", "b"]
    assert matrix.recipes == {"a": ("a", "a.seed8", "a.seed9")}
    first, *further = (matrix.models[name] for name in matrix.recipes["a"])
    plain = parse_matrix({"models": {"a": {**ROW, "training": {"seed": 7}}}}).models["a"]
    assert first == plain  # what was trained before stays valid
    for number, child in enumerate(further, 8):
        assert child.training.seed == child.training.extra["data_seed"] == number
        assert child.variants == ("tuned",)
        alike = child.model_copy(update={"name": "a", "training": plain.training, "evaluate": plain.evaluate})
        assert alike == plain


def test_the_command_line_of_a_further_seed_names_both_seeds(tmp_path):
    matrix = parse_matrix({"models": {"a": {**ROW, "seeds": 2}}})
    argv = sft(matrix.models["a.seed43"], base="/base", output=tmp_path).argv
    assert argv[argv.index("--seed") + 1] == argv[argv.index("--data_seed") + 1] == "43"


def test_the_first_seed_alone_gathers_the_replies_that_people_score():
    matrix = parse_matrix({"models": {"a": {**ROW, "seeds": 3}, "a.seed9": ROW}})
    names = ["model", "variant"]
    asked = [case.values for case in cases(matrix, names, None, {"judge"}, elsewhere=True)]
    assert asked == [("a", "base"), ("a", "tuned"), ("a.seed9", "base"), ("a.seed9", "tuned")]
    assert len(cases(matrix, names, None, {"parity"}, elsewhere=True)) == 6


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"a": {**ROW, "seeds": 3, "tune": False}}, "a.seeds: a row that trains nothing has no seed"),
        ({"a": {"url": "http://h/v1", "served_model": "m", "seeds": 2}}, "a row that trains nothing"),
        ({"a": {**ROW, "seeds": 2, "evaluate": ["base"]}}, "a.seeds: the seeds concern the tuned model"),
        ({"a": {**ROW, "seeds": 2}, "a.seed43": ROW}, "needs the name 'a.seed43'"),
        ({"a": {**ROW, "seeds": 0}}, "greater than or equal to 1"),
        ({"x" * 60: {**ROW, "seeds": 2}}, "at most 64 characters"),
    ],
)
def test_seeds_that_cannot_be_are_complained_about(rows, words):
    with pytest.raises(MatrixError) as caught:
        parse_matrix({"models": rows})
    assert any(words in complaint for complaint in caught.value.complaints)


def test_further_seeds_are_no_unlike_conditions():
    from bakeoff.doctor.comparability import differences

    rows = {"a": {**ROW, "seeds": 3}, "b": {**ROW, "seeds": 2}}
    assert differences(list(parse_matrix({"models": rows}).models.values())) == []
    rows["b"] = {**ROW, "training": {"seed": 1}}
    (found,) = differences(list(parse_matrix({"models": rows}).models.values()))
    assert found.aspect == "seed"


# ------------------------------ recipes


def draw(rng, questions, recipes, seeds, sd=0.01, ability=0.0):
    """[question x recipe x seed] right or wrong answers; *sd* and *ability* move the share right by about so much."""
    latent = 0.5 + rng.normal(size=(questions, 1, 1)) + 0.9 * rng.normal(size=(questions, recipes, 1))
    latent = latent + 0.4 * rng.normal(size=(questions, recipes, seeds))
    moved = 4 * (sd * rng.normal(size=(1, recipes, seeds)) + np.asarray(ability).reshape(1, -1, 1))
    return (latent + moved > 0).astype(float)


def compared(cube, **how):
    return compare_recipes({"s": {f"r{n}": cube[:, n] for n in range(cube.shape[1])}}, **how)["s"]


@pytest.mark.parametrize(
    ("questions", "seeds", "recipes"), [(232, 3, 6), (1346, 3, 6), (1346, 2, 3), (3000, 5, 4)]
)
def test_equal_recipes_differ_in_at_most_five_of_a_hundred_studies(questions, seeds, recipes):
    rng, runs = np.random.default_rng(5), 150
    false = covered = 0
    for _ in range(runs):
        found = compared(draw(rng, questions, recipes, seeds))
        false += any(pair.verdict != "tie" for pair in found.pairs)
        covered += np.mean([pair.low <= 0 <= pair.high for pair in found.pairs])
    assert false / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert 0.92 <= covered / runs <= 0.99


def test_single_runs_of_equal_recipes_do_differ_which_is_why_they_make_no_claim():
    """With one run each, questions alone are the sample: the usual test, and the mistake."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(60):
        one = draw(rng, 11_582, 2, 1, sd=0.01)[:, :, 0]
        ends = agresti_min(int((one[:, 0] > one[:, 1]).sum()), int((one[:, 0] < one[:, 1]).sum()), len(one))
        wrong += not ends.low <= 0 <= ends.high
    assert wrong / 60 > 0.2


def test_a_difference_larger_than_what_seeds_do_is_found():
    found = compared(draw(np.random.default_rng(0), 1346, 3, 3, 0.01, ability=(0.15, 0.0, -0.15)))
    assert [found.groups[name] for name in ("r0", "r1", "r2")] == ["A", "B", "C"]
    assert all(pair.low <= pair.difference <= pair.high for pair in found.pairs)


def test_with_endless_questions_seeds_alone_are_the_sample():
    """Where questions add nothing, the test is the t test of two groups of seeds."""
    from scipy.stats import ttest_ind

    means = np.array([[0.61, 0.63, 0.66], [0.70, 0.74, 0.75]])
    table = np.broadcast_to(means, (400, 2, 3))
    pair = compared(table.copy()).pairs[0]
    expected = ttest_ind(*means)
    assert pair.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert pair.df == pytest.approx(4)


def test_where_seeds_do_nothing_questions_alone_are_the_sample():
    from scipy.stats import ttest_rel

    answers = (np.random.default_rng(0).random((500, 2)) < (0.6, 0.7)).astype(float)
    pair = compared(np.repeat(answers[:, :, None], 3, axis=2)).pairs[0]
    assert pair.p == pytest.approx(ttest_rel(*answers.T).pvalue, rel=0.02)


def test_a_recipe_trained_once_is_a_run_and_joins_no_pair():
    cube = draw(np.random.default_rng(0), 300, 2, 3)
    found = compare_recipes({"s": {"thrice": cube[:, 0], "once": cube[:, 1, :1]}})["s"]
    assert {score.recipe: score.claim for score in found.scores} == {"thrice": "recipe", "once": "run"}
    assert (found.pairs, found.groups) == ((), {})
    assert math.isnan(found.variance["seed"]["once"])


def test_suites_are_one_family_and_the_order_of_seeds_and_questions_changes_nothing():
    rng = np.random.default_rng(3)
    cube = draw(rng, 400, 3, 3, ability=(0.05, 0, 0))
    tables = {f"r{n}": cube[:, n] for n in range(3)}
    alone = compare_recipes({"s": tables})["s"]
    both = compare_recipes({"s": tables, "t": tables})["s"]
    assert all(one.p_adjusted <= two.p_adjusted for one, two in zip(alone.pairs, both.pairs, strict=True))
    mixed = compared(cube[rng.permutation(400)][:, :, ::-1])
    assert [pair.p for pair in mixed.pairs] == pytest.approx([pair.p for pair in alone.pairs])


def test_subsets_that_differ_widen_the_interval():
    codes = np.repeat(np.arange(20), 30)
    shift = (
        np.random.default_rng(1).normal(0, 0.5, 20)[codes][:, None, None] * np.array([1, -1])[None, :, None]
    )
    cube = (np.random.default_rng(2).normal(size=(600, 2, 3)) + shift > 0).astype(float)
    plain = compared(cube).pairs[0]
    grouped = compared(cube, clusters={"s": codes}).pairs[0]
    assert grouped.high - grouped.low > 1.3 * (plain.high - plain.low)


def test_variance_parts_of_seeds_equal_a_mixed_model_of_statsmodels():
    import statsmodels.api as sm
    from statsmodels.formula.api import ols

    cube = draw(np.random.default_rng(2), 40, 1, 4, sd=0.08)[:, 0]
    rows = pd.DataFrame([(q, s, cube[q, s]) for q in range(40) for s in range(4)], columns=["q", "s", "y"])
    square = sm.stats.anova_lm(ols("y ~ C(q) + C(s)", rows).fit())["mean_sq"]
    parts = variance_table(cube)
    assert parts["question"] == pytest.approx(max(0, (square["C(q)"] - square["Residual"]) / 4))
    assert parts["seed"] == pytest.approx(max(0, (square["C(s)"] - square["Residual"]) / 40))
    assert parts["question x seed"] == pytest.approx(square["Residual"])
    assert math.isnan(parts["repeat"])


def test_the_variance_of_a_difference_of_recipes_is_that_of_statsmodels_mean_squares():
    """V = var_q(d) / N + sum over both of (s2 - e / N) / S, with Satterthwaite's degrees of freedom."""
    import statsmodels.api as sm
    from scipy.stats import t
    from statsmodels.formula.api import ols

    cube = draw(np.random.default_rng(4), 60, 2, 4, sd=0.08)
    squares = []
    for recipe in range(2):
        rows = pd.DataFrame(
            [(q, s, cube[q, recipe, s]) for q in range(60) for s in range(4)], columns=["q", "s", "y"]
        )
        squares.append(sm.stats.anova_lm(ols("y ~ C(q) + C(s)", rows).fit())["mean_sq"])
    seeds = np.mean([square["C(s)"] for square in squares]) / 60
    rest = np.mean([square["Residual"] for square in squares])
    over_questions = np.var(cube[:, 0].mean(axis=1) - cube[:, 1].mean(axis=1), ddof=1) / 60
    parts = over_questions, 2 * seeds / 4, 2 * rest / 60 / 4
    variance = parts[0] + parts[1] - parts[2]
    df = variance**2 / (parts[0] ** 2 / 59 + parts[1] ** 2 / 6 + parts[2] ** 2 / (6 * 59))
    (pair,) = compare_recipes({"s": {"a": cube[:, 0], "b": cube[:, 1]}})["s"].pairs
    assert pair.df == pytest.approx(df)
    assert pair.high - pair.low == pytest.approx(2 * t.ppf(0.975, df) * math.sqrt(variance))
    assert pair.p == pytest.approx(2 * t.sf(abs(pair.difference) / math.sqrt(variance), df))


def test_repeats_of_an_evaluation_are_told_from_what_a_seed_does_to_a_question():
    rng = np.random.default_rng(0)
    cell = rng.normal(0, 0.3, (4000, 3, 1))
    parts = variance_table(rng.normal(0, 0.4, (4000, 3, 4)) + cell + rng.normal(0, 0.5, (4000, 1, 1)))
    assert parts["repeat"] == pytest.approx(0.16, rel=0.05)
    assert parts["question x seed"] == pytest.approx(0.09, rel=0.08)
    assert parts["question"] == pytest.approx(0.25, rel=0.1)
    assert parts["seed"] < 0.001


def test_what_was_measured_beside_the_seeds_stands_in_the_variance_table():
    rng = np.random.default_rng(1)
    chance = rng.beta(2, 2, 40_000)
    first, second = rng.random(40_000) < chance, rng.random(40_000) < chance
    # of two draws with the same chance p the grade differs with 2 p (1 - p): its mean is twice the variance
    assert repeat_variance(40_000, int((first == second).sum())) == pytest.approx(
        (chance * (1 - chance)).mean(), rel=0.02
    )
    assert math.isnan(repeat_variance(0, 0))
    shifts = rng.normal(0, 0.1, (1, 200))
    engines = rng.normal(size=(300, 1)) + shifts + rng.normal(0, 0.2, (300, 200))
    assert engine_variance(engines) == pytest.approx(float(shifts.var(ddof=1)), rel=0.05)
    assert math.isnan(engine_variance(engines[:, :1]))
    parts = {"question x seed": {"a": 0.05, "b": 0.01}, "repeat": {"a": math.nan, "b": math.nan}}
    table = with_measured(parts, {"a": 0.02, "b": 0.03}, {"a": 0.001})
    assert table["repeat"] == {"a": 0.02, "b": 0.03}
    assert table["question x seed"] == {"a": pytest.approx(0.03), "b": 0.0}
    assert table["engine"] == {"a": 0.001}
    assert "engine" not in with_measured(parts, {}, {"a": math.nan})


def test_the_report_takes_repeats_and_engines_from_what_the_run_measured():
    rng, questions = np.random.default_rng(2), 400
    level = rng.random(questions)
    subjects = [("a", "tuned", "1"), ("a.seed8", "tuned", "2"), ("a", "base", "3"), ("b", "base", "3")]
    samples = pd.DataFrame([
        {"model": model, "variant": variant, "suite": "s", "subset": "x", "sample_id": str(number), "index": number,
         "status": "answered", "correct": float(level[number] + 0.4 * rng.random() > 0.6 + 0.2 * (model == "b"))}
        for model, variant, _ in subjects for number in range(questions)
    ])  # fmt: skip
    scores = [{"model": m, "variant": v, "suite": "s", "fingerprint": print_} for m, v, print_ in subjects]
    command = "python -m swift.cli.deploy --infer_backend {} --port 1"
    findings = Findings(
        "run", "", [Row("a", recipe="a"), Row("a.seed8", recipe="a"), Row("b")],
        with_columns(pd.DataFrame(scores), SCORE_COLUMNS), with_columns(samples, SAMPLE_COLUMNS),
        stages=[{"stage": "deploy", "model": model, "variant": "base", "command": command.format(engine)}
                for model, engine in (("a", "vllm"), ("b", "sglang"))],
        evaluations=[{"model": model, "variant": "tuned", "suite": "s",
                      "noise": {"asked_twice": 20, "same_grades": same}}
                     for model, same in (("a", 18), ("a.seed8", 20))],
    )  # fmt: skip
    variance = recipe_comparisons(findings, {"s": sample_matrix(findings.samples, "s")})["s"].variance
    assert variance["repeat"]["a"] == pytest.approx(0.025)  # two of forty differ
    assert variance["engine"]["a"] > 0.001
    findings.stages[1]["command"] = command.format("vllm")
    same = recipe_comparisons(findings, {"s": sample_matrix(findings.samples, "s")})["s"].variance
    assert "engine" not in same
    assert engine_in("vllm serve /model") == "vllm"


def test_scores_that_lack_or_do_not_match_are_refused():
    table = np.zeros((4, 2))
    with pytest.raises(ScoreError, match="give shared ones"):
        compare_recipes({"s": {"a": table, "b": table[:3]}})
    with pytest.raises(ScoreError, match="lacks a score"):
        compare_recipes({"s": {"a": np.full((4, 2), np.nan)}})


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_recipes_that_get_everything_right_promise_no_sharp_difference(value):
    found = compared(np.full((50, 2, 3), value))
    assert found.pairs[0].low < 0 < found.pairs[0].high
    assert found.pairs[0].verdict == "tie"


# ------------------------------ what tuning lost


def test_tango_s_interval_is_the_published_one():
    """Airway hyper-responsiveness before and after transplantation (Bentur et al. 2009): 1 and 7 of 21.

    Interval -0.517 to -0.026: Fagerland, Lydersen & Laake, Statistics in Medicine 2014; 33:2850.
    """
    low, high = tango_interval(1, 7, 21)
    assert (round(low, 3), round(high, 3)) == (-0.517, -0.026)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 60), st.floats(-0.6, 0.6))
@settings(max_examples=60, deadline=None)
def test_tango_s_score_equals_a_maximisation_by_brute_force(only_a, only_b, rest, difference):
    """q of "only b" that maximises the multinomial likelihood under the difference, found on a grid."""
    total = only_a + only_b + rest
    low, high = max(0.0, -difference), (1 - difference) / 2
    q = np.linspace(low, high, 400_001)[1:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        log = rest * np.log(1 - 2 * q - difference)
        log = log + np.where(only_a, only_a * np.log(q + difference), 0.0)
        log = log + np.where(only_b, only_b * np.log(q), 0.0)
    best = q[np.nanargmax(log)]
    expected = (only_a - only_b - total * difference) / math.sqrt(
        total * (2 * best + difference * (1 - difference))
    )
    assert tango_score(only_a, only_b, total, difference) == pytest.approx(expected, rel=2e-3, abs=2e-3)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_tango_s_interval_holds_what_its_test_does_not_reject_and_turns_with_the_pair(only_a, only_b, rest):
    total = only_a + only_b + rest
    if not total:
        assert math.isnan(tango_interval(0, 0, 0).low)
        return
    low, high = tango_interval(only_a, only_b, total)
    assert -1 <= low <= (only_a - only_b) / total <= high <= 1
    assert low < high
    turned = tango_interval(only_b, only_a, total)
    assert (turned.low, turned.high) == pytest.approx((-high, -low), abs=1e-9)
    for end in (low, high):
        if -0.999 < end < 0.999:
            assert abs(tango_score(only_a, only_b, total, end)) == pytest.approx(1.959964, abs=1e-4)


def test_at_difference_zero_tango_s_score_is_mcnemar_s():
    from statsmodels.stats.contingency_tables import mcnemar

    score = tango_score(25, 11, 100)
    expected = mcnemar([[40, 25], [11, 24]], exact=False, correction=False)
    assert score**2 == pytest.approx(expected.statistic)


def verdict_of(tuned, base, **how):
    return judged([retention("m", "s", np.asarray(tuned, float), np.asarray(base, float), **how)])[0]


def with_disagreements(gained, lost, total):
    tuned, base = np.zeros(total), np.zeros(total)
    tuned[:gained], base[gained : gained + lost] = 1, 1
    tuned[gained + lost :: 2], base[gained + lost :: 2] = 1, 1
    return tuned, base


@pytest.mark.parametrize(
    ("gained", "lost", "total", "verdict"),
    [
        (30, 30, 5000, "no loss beyond the margin"),
        (10, 150, 2000, "loss"),
        (10, 12, 100, "cannot say"),
        (0, 0, 20, "cannot say"),  # no loss seen on twenty questions is no proof of none
        (0, 0, 400, "no loss beyond the margin"),
        (200, 20, 2000, "no loss beyond the margin"),
    ],
)
def test_a_loss_is_shown_excluded_or_open(gained, lost, total, verdict):
    found = verdict_of(*with_disagreements(gained, lost, total))
    assert found.verdict == verdict
    assert (found.low > -0.02) == (verdict == "no loss beyond the margin")


def test_a_small_loss_is_shown_as_such():
    found = verdict_of(*with_disagreements(30, 90, 11_582))
    assert (found.verdict, found.small_loss) == ("no loss beyond the margin", True)
    assert verdict_of(*with_disagreements(30, 90, 11_582), margin=0.003).verdict == "loss"


def test_missing_replies_never_help_the_tuned_model():
    tuned, base = with_disagreements(30, 30, 4000)
    assert verdict_of(tuned, base).verdict == "no loss beyond the margin"
    base = base.copy()
    base[-200:] = np.nan  # the base may have known all of these
    found = verdict_of(tuned, base)
    assert (found.verdict, found.n_missing) == ("cannot say", 200)
    tuned = tuned.copy()
    tuned[:] = np.where(np.arange(4000) < 800, np.nan, tuned)  # and the tuned one may have known these
    assert verdict_of(tuned, np.nan_to_num(base)).p_loss > 0.05


def test_losses_of_exactly_the_margin_are_called_acceptable_in_at_most_one_of_forty():
    rng, runs = np.random.default_rng(0), 400
    wrong = 0
    for _ in range(runs):
        drawn = rng.choice(3, p=[0.80, 0.09, 0.11], size=1346)
        tuned, base = (drawn == 1).astype(float), (drawn == 2).astype(float)
        wrong += verdict_of(tuned, base).verdict == "no loss beyond the margin"
    assert wrong / runs <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / runs)


def test_graded_scores_and_subsets_are_compared_too():
    rng = np.random.default_rng(0)
    base = rng.random(900)
    tuned = np.clip(base + rng.normal(0, 0.05, 900), 0, 1)
    assert verdict_of(tuned, base).verdict == "no loss beyond the margin"
    assert verdict_of(np.clip(tuned - 0.1, 0, 1), base).verdict == "loss"
    codes = np.repeat(np.arange(12), 75)
    uneven = np.clip(tuned - 0.2 * (codes < 2), 0, 1)  # two subjects lost much, the others nothing
    assert verdict_of(uneven, base, clusters=codes).verdict == "cannot say"
    with pytest.raises(ScoreError, match="stand against"):
        verdict_of(tuned, base[:-1])
    with pytest.raises(ScoreError, match="above 0"):
        verdict_of(tuned, base, margin=0)


def test_many_suites_are_one_family():
    draft = retention("m", "s", *with_disagreements(40, 40, 1300))
    assert judged([draft])[0].verdict == "no loss beyond the margin"
    hopeless = Retention("m", "t", 10, 0, 0.0, -0.5, 0.5, 0.02, 0.9, 0.9)
    assert judged([draft, *[hopeless] * 400])[0].verdict == "cannot say"


# ------------------------------ in the report


def findings(seeds: int, recipes=("alpha", "beta"), questions=400):
    rng = np.random.default_rng(1)
    rows, scores, samples = [], [], []
    for number, recipe in enumerate(recipes):
        base = (rng.random(questions) < 0.6).astype(float)
        for seed in range(seeds):
            model = recipe if seed == 0 else f"{recipe}.seed{42 + seed}"
            rows.append(Row(model, "o/m", "full", recipe, 42 + seed))
            for variant in ("base", "tuned") if seed == 0 else ("tuned",):
                changed = (rng.random(questions) < 0.03) & (variant == "tuned")
                right = np.where(changed, 1 - base if number else 1.0, base)
                who = {"model": model, "variant": variant, "suite": "quiz", "subset": "ALL"}
                scores.append(
                    {**who, "metric": "accuracy", "value": right.mean(), "n_asked": questions,
                     "n_answered": questions, "worst": 0.0, "best": 1.0, "chance": 0.25, "trusted": True}
                )  # fmt: skip
                samples += [
                    {
                        **who,
                        "subset": "x",
                        "sample_id": f"q{n}",
                        "index": n,
                        "status": "answered",
                        "correct": right[n],
                    }
                    for n in range(questions)
                ]
    return Findings(
        run_id="r",
        started_at="",
        rows=rows,
        scores=with_columns(pd.DataFrame(scores), SCORE_COLUMNS),
        samples=with_columns(pd.DataFrame(samples), SAMPLE_COLUMNS),
    )


def test_the_report_compares_recipes_and_keeps_further_seeds_out_of_the_pairs_of_models():
    analysis = analyse(findings(3))
    (view,) = analysis.views
    assert analysis.family == 1  # alpha against beta, not six runs against each other
    assert {score.recipe: score.seeds for score in view.recipes.scores} == {"alpha": 3, "beta": 3}
    assert len(view.cells) == 8  # every run keeps its own score
    tables = claim_tables(analysis)
    assert set(tables) == {"recipes.csv", "recipe_pairs.csv", "variance.csv"}
    assert tables["variance.csv"].count("alpha,seed,") == 1
    said = " ".join(sentence.en for sentence in claim_sentences(findings(3), analysis))
    assert "Recipes compared over seeds" in said
    assert "about this run" not in said


def test_one_seed_is_a_run_and_the_report_says_so():
    once = findings(1)
    analysis = analyse(once)
    assert analysis.views[0].recipes is None
    said = [sentence.en for sentence in claim_sentences(once, analysis)]
    assert any("conclusions are about this run, not about this recipe" in words for words in said)
    assert any("Did tuning cost more than" in words and "uled out in" in words for words in said)
    assert claim_tables(analysis) == {}
    retained = analysis.views[0].retention
    assert set(retained) == {"alpha", "beta"}
    assert retained["alpha"].verdict == "no loss beyond the margin"


def with_beta_worse(found: Findings) -> Findings:
    """Beta gets a third of the questions wrong."""
    rows = found.samples["model"].str.startswith("beta") & (found.samples["variant"] == "tuned")
    found.samples.loc[rows & (found.samples["index"] % 3 == 0), "correct"] = 0.0
    return found


@pytest.mark.parametrize(("margin", "shown"), [(0.0001, "0.01"), (0.025, "2.5"), (0.07, "7"), (0.99, "99")])
def test_the_page_says_the_margin_that_was_set(margin: float, shown: str) -> None:
    once = findings(1)
    once.margin = once.interest = {"quiz": margin}
    analysis = analyse(once)
    said = [f"{sentence.en} {sentence.zh}" for sentence in claim_sentences(once, analysis)]
    (words,) = [words for words in said if "Did tuning cost" in words]
    assert f"cost more than {shown} points (2 comparisons)?" in words
    assert f"超过 {shown} 分" in words
    # what is less than everything lost may be ruled out of a model that lost little, a ten-thousandth may not
    assert ("Ruled out in 2." in words) == (margin > 0.05)
    worse = with_beta_worse(findings(1))
    worse.interest = {"quiz": margin}
    apart = analyse(worse)
    assert apart.views[0].pairs[0].shown
    assert (f"less than the {shown} points that matter" in between(apart).en) == (margin > 0.5)


def test_a_suite_of_one_question_and_a_model_without_its_base_claim_nothing() -> None:
    single = findings(1, questions=1)
    (view,) = analyse(single).views
    assert {each.verdict for each in view.retention.values()} == {"cannot say"}
    said = " ".join(sentence.en for sentence in claim_sentences(single, analyse(single)))
    assert "Not ruled out in 2." in said
    alone = findings(1)
    alone.scores = alone.scores[alone.scores["variant"] == "tuned"]
    alone.samples = alone.samples[alone.samples["variant"] == "tuned"]
    analysis = analyse(alone)
    assert [view.retention for view in analysis.views] == [{}]
    assert not any("Did tuning cost" in sentence.en for sentence in claim_sentences(alone, analysis))


def test_a_recipe_pair_matters_only_where_it_differs_and_by_enough() -> None:
    for interest, matters in ((0.001, "True"), (0.99, "False")):
        three = with_beta_worse(findings(3))
        three.interest = {"quiz": interest}
        analysis = analyse(three)
        rows = list(csv.DictReader(io.StringIO(claim_tables(analysis)["recipe_pairs.csv"].lstrip("\ufeff"))))
        assert [(row["verdict"] != "tie", row["matters"]) for row in rows] == [(True, matters)]
    equal = findings(3, questions=12)
    equal.interest = {"quiz": 0.001}
    (row,) = csv.DictReader(io.StringIO(claim_tables(analyse(equal))["recipe_pairs.csv"].lstrip("\ufeff")))
    assert (row["verdict"], row["matters"]) == ("tie", "False")
    assert abs(float(row["difference"])) > 0.001


def test_seeds_that_all_agree_are_still_few() -> None:
    right, wrong = np.ones((40, 2)), np.zeros((40, 2))
    (pair,) = compare_recipes({"s": {"a": right, "b": wrong}})["s"].pairs
    assert (pair.verdict, pair.df) == ("ahead", 2)
    assert pair.p > 1e-5, "four runs cannot make anybody surer"


@pytest.mark.parametrize("questions", [0, 1])
def test_no_letters_where_nothing_was_tested(questions: int) -> None:
    found = compare_recipes({"s": {"a": np.ones((questions, 3)), "b": np.zeros((questions, 3))}})["s"]
    assert (found.pairs, found.groups) == ((), {})
