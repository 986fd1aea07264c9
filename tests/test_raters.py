"""Comparison of models when cases and raters are both a sample."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.foundation.errors import ScoreError
from bakeoff.statistics.crossed import mean_squares, pair_error, variance_parts
from bakeoff.statistics.intervals import bounded_interval
from bakeoff.statistics.raters import Ratings, compare_ratings
from bakeoff.statistics.scatter import pair_errors
from bakeoff.statistics.study import cases_needed, detectable, plan_study, why_no_letters


@pytest.fixture(autouse=True, scope="module")
def _numerical_libraries():
    """Imported late: collecting the tests stays light."""
    global np, pd
    import numpy as np
    import pandas as pd


def draw(rng, cases, models, raters, taste=0.0, quality=None):
    quality = np.zeros(models) if quality is None else np.asarray(quality)
    return np.clip(
        np.round(
            3.3
            + quality[None, :, None]
            + 0.5 * rng.normal(size=(cases, 1, 1))
            + 0.4 * rng.normal(size=(cases, models, 1))
            + 0.3 * rng.normal(size=(1, 1, raters))
            + taste * rng.normal(size=(1, models, raters))
            + 0.6 * rng.normal(size=(cases, models, raters))
        ),
        1,
        5,
    )


def ratings(cube):
    names = [tuple(f"{kind}{n}" for n in range(size)) for kind, size in zip("cmr", cube.shape, strict=True)]
    return Ratings(np.asarray(cube, dtype=float), names[1], names[0], names[2])


def analysed(cube, **how):
    return compare_ratings({"": ratings(cube)}, **how)[""]


# ------------------------------ analysis of variance


def test_variance_parts_equal_a_least_squares_analysis_of_variance():
    import statsmodels.api as sm
    from statsmodels.formula.api import ols

    cases, models, raters = 9, 4, 3
    cube = draw(np.random.default_rng(3), cases, models, raters, taste=0.4)
    rows = pd.DataFrame(
        [(c, m, r, cube[c, m, r]) for c in range(cases) for m in range(models) for r in range(raters)],
        columns=["c", "m", "r", "y"],
    )
    table = sm.stats.anova_lm(ols("y ~ (C(c) + C(m) + C(r)) ** 2", rows).fit())
    square = table["mean_sq"]
    rest = square["Residual"]
    expected = {
        "case": (square["C(c)"] - square["C(c):C(r)"]) / (models * raters),
        "rater": (square["C(r)"] - square["C(c):C(r)"]) / (models * cases),
        "case x model": (square["C(c):C(m)"] - rest) / raters,
        "rater x model": (square["C(m):C(r)"] - rest) / cases,
        "case x rater": (square["C(c):C(r)"] - rest) / models,
        "rest": rest,
    }
    assert variance_parts(cube) == pytest.approx({name: max(0, part) for name, part in expected.items()})


def test_without_a_taste_for_models_two_models_and_endless_cases_give_the_paired_t_over_raters():
    """Where cases add nothing, the raters' mean differences are the sample, as in an ordinary paired t test."""
    from scipy.stats import ttest_1samp

    taste = np.random.default_rng(1).normal(0, 0.3, size=(2, 5))
    cube = np.broadcast_to(3 + taste, (200, 2, 5)).copy()
    pair = analysed(cube, scale=(1, 5)).pairs[0]
    expected = ttest_1samp(taste[0] - taste[1], 0)
    assert (pair.p, pair.df) == (pytest.approx(expected.pvalue), pytest.approx(4))
    ends = expected.confidence_interval()
    assert (pair.low, pair.high) == (pytest.approx(ends.low), pytest.approx(ends.high))


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_cases_raters_and_models_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    cube = draw(rng, 12, 4, 3, 0.3)
    plain = analysed(cube)
    moved = analysed(cube[rng.permutation(12)][:, :, rng.permutation(3)])
    assert [pair.p for pair in moved.pairs] == pytest.approx([pair.p for pair in plain.pairs])
    turned = analysed(cube[:, ::-1])
    assert sorted(pair.p for pair in turned.pairs) == pytest.approx(sorted(pair.p for pair in plain.pairs))
    shifted = analysed(6 - cube)
    assert [pair.difference for pair in shifted.pairs] == pytest.approx(
        [-pair.difference for pair in plain.pairs]
    )


def test_a_difference_that_every_rater_sees_is_told_and_one_rater_s_taste_is_not():
    rng = np.random.default_rng(0)
    told = analysed(draw(rng, 24, 3, 4, 0.1, quality=(1.2, 0, -1.2)))
    assert [told.groups[name] for name in ("m0", "m1", "m2")] == ["A", "B", "C"]
    cube = draw(rng, 100, 3, 4)
    cube[:, 0, 0] = np.clip(cube[:, 0, 0] + 2, 1, 5)
    assert set(analysed(cube).groups.values()) == {"A"}


@pytest.mark.parametrize(("cases", "raters", "taste"), [(20, 3, 0.35), (40, 5, 0.25), (100, 8, 0.35)])
def test_six_equal_models_stay_equal_and_intervals_hold_the_truth(cases, raters, taste):
    rng = np.random.default_rng(7)
    false = held = 0
    runs = 150
    for _ in range(runs):
        found = analysed(draw(rng, cases, 6, raters, taste))
        false += len(set(found.groups.values())) > 1
        held += np.mean([pair.low <= 0 <= pair.high for pair in found.pairs])
    # 5 % and 95 %, plus three standard errors of so few runs
    assert false / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert 0.92 <= held / runs <= 0.98


def test_dimensions_are_one_family_of_pairs():
    rng = np.random.default_rng(2)
    tables = {f"d{n}": ratings(draw(rng, 20, 4, 3, 0.2, (0.5, 0, 0, 0))) for n in range(5)}
    together = compare_ratings(tables)
    for name, table in tables.items():
        alone = compare_ratings({name: table})[name]
        for one, other in zip(alone.pairs, together[name].pairs, strict=True):
            assert one.p == other.p
            assert one.p_adjusted <= other.p_adjusted


# ------------------------------ where nothing could come out


def test_the_fewest_cases_are_those_on_which_all_going_one_way_is_significant():
    for models in range(2, 12):
        pairs, cases = models * (models - 1) // 2, cases_needed(models)
        assert pairs * 2.0 ** (1 - cases) < 0.05 <= pairs * 2.0 ** (2 - cases)
    assert cases_needed(6) == 10


def test_one_rater_or_too_few_cases_get_a_sentence_and_no_letters():
    cube = draw(np.random.default_rng(0), 30, 6, 1, quality=np.linspace(1.5, -1.5, 6))
    alone = analysed(cube)
    assert alone.groups == {}
    assert "one rater" in alone.why[0]
    assert all(score.low < score.value < score.high for score in alone.scores)
    few = analysed(draw(np.random.default_rng(0), 8, 6, 3, quality=np.linspace(1.5, -1.5, 6)))
    assert few.groups == {}
    assert {pair.verdict for pair in few.pairs} == {"untested"}
    assert "8 cases" in few.why[0]
    assert "at least 10 cases" in few.why[0]
    assert "10" in few.why[1]
    assert why_no_letters(10, 2, 6) == ("", "")
    assert analysed(draw(np.random.default_rng(0), 10, 6, 3)).groups


def test_more_raters_find_what_more_cases_cannot():
    assert detectable(20, 1, 6) == math.inf
    assert detectable(20, 8, 6) < detectable(20, 4, 6) < detectable(20, 2, 6)
    floor = detectable(10**6, 3, 6)
    assert floor > 0.5
    assert plan_study(0.5, 6).raters > 3
    plan = plan_study(0.5, 6)
    assert detectable(plan.cases, plan.raters, 6) <= 0.5
    assert plan_study(0.001, 6) is None
    with pytest.raises(ScoreError, match="above 0"):
        plan_study(0, 6)


# ------------------------------ gaps, ends


def test_gaps_leave_out_the_case_or_the_rater_and_say_so():
    cube = draw(np.random.default_rng(4), 20, 3, 4)
    cube[3, 1, :] = np.nan  # a model that gave no reply
    cube[2:, :, 3] = np.nan  # a rater who has just begun
    found = analysed(cube)
    assert found.left_out == {"cases": ("c3",), "raters": ("r3",)}
    assert (found.cases, found.raters) == (19, 3)
    rest = np.delete(cube[:, :, :3], 3, axis=0)
    assert [pair.p for pair in found.pairs] == [pair.p for pair in analysed(rest).pairs]


def test_ratings_with_no_common_block_are_refused_in_words():
    cube = draw(np.random.default_rng(4), 20, 3, 2)
    cube[:10, :, 0], cube[10:, :, 1] = np.nan, np.nan  # each rater rated other cases
    found = analysed(cube)
    assert found.groups == {}
    assert "no letters" in found.why[0]
    assert all(math.isfinite(score.value) for score in found.scores)


def test_a_model_that_is_mostly_absent_costs_the_others_nothing():
    cube = draw(np.random.default_rng(4), 20, 4, 3)
    cube[2:, 3, :] = np.nan
    found = analysed(cube)
    assert found.left_out == {"models": ("m3",)}
    assert set(found.groups) == {"m0", "m1", "m2"}
    assert {score.subject for score in found.scores} == {"m0", "m1", "m2", "m3"}


@pytest.mark.parametrize("raters", [1, 3])
@pytest.mark.parametrize("cases", [2, 3, 5, 30])
def test_no_interval_is_a_point_even_where_all_agree(cases, raters):
    cube = np.full((cases, 2, raters), 5.0)
    cube[:, 1] = 1.0
    found = analysed(cube)
    for each in [*found.scores, *found.pairs]:
        assert each.high - each.low > 0.01
    assert {score.value: (score.low, score.high) for score in found.scores}[5.0][1] == 5.0
    assert all(pair.high <= 4 for pair in found.pairs)


def test_below_two_cases_there_is_no_interval():
    found = analysed(np.full((1, 2, 3), 4.0))
    assert all(math.isnan(score.low) and score.value == 4 for score in found.scores)
    assert all(math.isnan(end) for end in bounded_interval(4.0, (0.1, 1.0), 1, (1, 5)))


@given(st.lists(st.lists(st.integers(1, 5), min_size=2, max_size=2), min_size=2, max_size=12))
@settings(max_examples=50, deadline=None)
def test_an_interval_stays_on_the_scale_and_holds_its_mean(rows):
    cube = np.array(rows, dtype=float)[:, :, None]
    for score in analysed(cube).scores:
        assert 1 <= score.low <= score.value <= score.high <= 5
        assert score.high > score.low


def test_a_rating_off_the_scale_is_refused():
    with pytest.raises(ScoreError, match="rating 9 lies outside"):
        analysed(np.full((3, 2, 2), 9.0))


def test_rows_become_a_table_and_repeats_are_averaged():
    rows = [(c, m, r, 3) for c in "xy" for m in "ab" for r in "pq"] + [
        ("x", "a", "p", 5),
        ("x", "a", "p", None),
    ]
    table = Ratings.of(pd.DataFrame(rows, columns=["case", "model", "rater", "score"]))
    assert (table.cases, table.models, table.raters) == (("x", "y"), ("a", "b"), ("p", "q"))
    assert table.cube[0, 0, 0] == 4
    assert len(list(combinations(table.models, 2))) == 1


# ------------------------------ models that scatter unequally


def scattering(rng, cases, raters, times):
    times = np.asarray(times, dtype=float)[None, :, None]
    shape = (cases, times.shape[1], 1)
    return 5 + rng.normal(size=(cases, 1, 1)) + times * (
        0.4 * rng.normal(size=shape) + 0.6 * rng.normal(size=(*shape[:2], raters))
    )  # fmt: skip


def test_a_model_that_scatters_counts_with_its_own_scatter():
    rng = np.random.default_rng(8)
    seen = {"wild": [], "quiet": [], "pooled": []}
    for _ in range(120):
        cube = scattering(rng, 40, 4, [3, 1, 1, 1, 1, 1])
        squares = mean_squares(cube)
        errors = dict(zip(combinations(range(6), 2), pair_errors(cube, squares), strict=True))
        seen["wild"].append(errors[0, 1].variance)
        seen["quiet"].append(errors[2, 3].variance)
        seen["pooled"].append(pair_error(squares, 40, 4).variance)
        assert all(error.freedom >= 5 - 1e-9 for error in errors.values())
    of_one = (0.4**2 + 0.6**2 / 4) / 40
    true = {"wild": 10 * of_one, "quiet": 2 * of_one, "pooled": 14 / 3 * of_one}
    means = {name: np.mean(values) for name, values in seen.items()}
    assert means["pooled"] < 0.6 * true["wild"]  # what pooling promises too much
    assert 0.85 * true["wild"] < means["wild"] < 1.2 * true["wild"]
    assert true["quiet"] < means["quiet"] < 0.75 * means["pooled"]  # never less than is true


def test_models_that_scatter_alike_are_pooled():
    rng = np.random.default_rng(9)
    pooled = ratio = 0
    for _ in range(100):
        cube = scattering(rng, 30, 3, [1] * 6)
        squares = mean_squares(cube)
        errors, one = pair_errors(cube, squares), pair_error(squares, 30, 3)
        pooled += errors == [one] * 15
        ratio += np.mean([error.variance for error in errors]) / one.variance
    assert pooled > 40  # about half of the samples vary less than chance has it
    assert ratio / 100 == pytest.approx(1, abs=0.03)
    for cube in (scattering(rng, 30, 3, [1, 4]), scattering(rng, 2, 3, [1, 4, 1]), np.ones((9, 4, 3))):
        squares = mean_squares(cube)
        assert set(pair_errors(cube, squares)) == {pair_error(squares, len(cube), 3)}


ODD_TABLES = {
    "one case": (lambda c: c[:1], {"why": "with 1 case no difference"}),
    "one rater": (lambda c: c[..., :1], {"why": "one rater"}),
    "one model": (lambda c: c[:, :1], {}),
    "one of everything": (lambda c: c[:1, :1, :1], {}),
    "more raters than cases": (lambda c: np.repeat(c[:3], 3, axis=2), {"why": "with 3 cases no difference"}),
    "nobody rated": (lambda c: c * np.nan, {"why": "no case was rated for every model"}),
    "no rater": (lambda c: c[..., :0], {"why": "without raters nothing shows"}),
    "a rater without ratings": (lambda c: without(c, np.s_[:, :, 1]), {"letters": 3, "gone": {"raters": 1}}),
    "a model with one rating": (
        lambda c: without(c, np.s_[:, 2, 1:], np.s_[1:, 2]),
        {"letters": 2, "gone": {"models": 1}},
    ),
    "a model without ratings": (lambda c: without(c, np.s_[:, 2]), {"letters": 2, "gone": {"models": 1}}),
    "unequal numbers of ratings": (
        lambda c: without(c, *[np.s_[n % 4 :: 4, n % 3, (n + n // 4) % 4] for n in range(8)]),
        {"why": "with gaps are left out"},
    ),
    "raters who are all alike": (lambda c: np.repeat(c[..., :1], 4, axis=2), {"letters": 3}),
    "no variation": (lambda c: c * 0 + 4, {"letters": 3}),
}


def without(cube, *places):
    cube = cube.copy()
    for place in places:
        cube[place] = np.nan
    return cube


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ODD_TABLES)
def test_odd_tables_of_equal_models_get_right_words_and_no_letter_apart(name):
    change, expected = ODD_TABLES[name]
    drawn = np.clip(np.round(3 + np.random.default_rng(1).normal(size=(24, 3, 4))), 1, 5)
    rated = compare_ratings({"": ratings(change(drawn))})[""]
    assert set(rated.groups.values()) == ({"A"} if "letters" in expected else set())
    assert len(rated.groups) == expected.get("letters", 0)
    assert {kind: len(names) for kind, names in rated.left_out.items()}.items() >= expected.get(
        "gone", {}
    ).items()
    for words in rated.why:
        assert bool(words) == ("why" in expected)
        assert "nan" not in words
    assert expected.get("why", "") in rated.why[0]
    for score in rated.scores:
        assert math.isnan(score.low) or 1 <= score.low < score.high <= 5
