"""bakeoff.judgement.agreement against published values, statsmodels, the krippendorff package and brute force."""

from __future__ import annotations

import math
import os
from itertools import combinations, permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.foundation.errors import RatingError, ScoreError
from bakeoff.judgement.agreement import (
    fleiss_kappa,
    intra_rater,
    krippendorff_alpha,
    reading,
    severity,
    weighted_kappa,
)
from bakeoff.judgement.duels import bradley_terry, duels, items_needed, items_needed_range, win_rates

NAN = math.nan


@pytest.fixture(autouse=True, scope="module")
def _numerical_libraries():
    """Imported late: collecting the tests stays light."""
    global np, pd
    import numpy as np
    import pandas as pd


@pytest.fixture
def published():
    root = Path(os.environ.get("BAKEOFF_TEST_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    if not (root / "reliability").is_dir():
        pytest.skip(f"no published rating matrices under {root}; set BAKEOFF_TEST_DATA")
    return lambda name: pd.read_csv(root / "reliability" / f"{name}.csv", index_col=0)


def likert(units: int, raters: int, noise: float, seed: int = 0, gaps: float = 0.0):
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=(units, 1)) + noise * rng.normal(size=(units, raters))
    table = np.clip(np.round(3 + 1.1 * quality), 1, 5)
    table[rng.random(table.shape) < gaps] = np.nan
    return pd.DataFrame(table, columns=[f"r{i}" for i in range(raters)])


def judgements(**scores):
    """One rater, items 0, 1, …: a column of scores per model."""
    return pd.DataFrame(
        [("r", item, model, score) for model, column in scores.items() for item, score in enumerate(column)],
        columns=["rater", "item", "model", "score"],
    )


# ------------------------------ Krippendorff's alpha


@pytest.mark.parametrize(
    ("name", "level", "expected", "digits"),
    [
        ("krippendorff_wikipedia", "nominal", 0.691358, 6),
        ("krippendorff_wikipedia", "interval", 0.810845, 6),
        ("krippendorff_2011_C", "nominal", 0.743, 3),
        ("krippendorff_2011_C", "ordinal", 0.815, 3),
        ("krippendorff_2011_C", "interval", 0.849, 3),
        ("krippendorff_2011_C", "ratio", 0.797, 3),
    ],
)
def test_alpha_equals_the_published_value(published, name, level, expected, digits):
    assert round(krippendorff_alpha(published(name), level).value, digits) == expected


def alpha_by_pairs(table, distance):
    """Disagreement of all pairs within units over that of all pairs: the definition, without a coincidence matrix."""
    units = [[value for value in row if not math.isnan(value)] for row in table]
    units = [unit for unit in units if len(unit) > 1]
    every = [value for unit in units for value in unit]
    within = sum(sum(distance(c, k) for c, k in permutations(unit, 2)) / (len(unit) - 1) for unit in units)
    overall = sum(distance(c, k) for c, k in permutations(every, 2)) / (len(every) - 1)
    return 1 - within / overall


@pytest.mark.parametrize("seed", range(5))
def test_alpha_equals_its_definition_by_pairs(seed):
    table = likert(25, 4, 0.8, seed, gaps=0.3)
    every = [v for row in table.to_numpy() if np.isfinite(row).sum() > 1 for v in row if np.isfinite(v)]

    def ordinal(c, k):
        low, high = sorted((c, k))
        between = sum(low <= v <= high for v in every)
        return (between - (every.count(low) + every.count(high)) / 2) ** 2

    distances = {
        "nominal": lambda c, k: float(c != k),
        "ordinal": ordinal,
        "interval": lambda c, k: (c - k) ** 2,
        "ratio": lambda c, k: ((c - k) / (c + k)) ** 2,
    }
    for level, distance in distances.items():
        expected = alpha_by_pairs(table.to_numpy(), distance)
        assert krippendorff_alpha(table, level, resamples=10).value == pytest.approx(expected)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval", "ratio"])
def test_alpha_equals_the_krippendorff_package(level):
    package = pytest.importorskip("krippendorff", reason="optional, only to compare with")
    for seed in range(5):
        table = likert(40, 5, 0.7, seed, gaps=0.2)
        expected = package.alpha(reliability_data=table.to_numpy().T, level_of_measurement=level)
        assert krippendorff_alpha(table, level, resamples=10).value == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["nominal", "ordinal", "interval"]))
def test_alpha_does_not_depend_on_the_order_of_raters_or_units_nor_on_lone_ratings(seed, level):
    table = likert(20, 3, 0.7, seed, gaps=0.2)
    value = krippendorff_alpha(table, level, resamples=10).value
    shuffled = table.sample(frac=1, random_state=seed, axis=0).sample(frac=1, random_state=seed, axis=1)
    lone = pd.concat([table, pd.DataFrame({"r0": [1.0, 5.0]})])
    for other in (shuffled, lone):
        assert krippendorff_alpha(other, level, resamples=10).value == pytest.approx(value, nan_ok=True)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_alpha_keeps_to_the_scale_it_claims(seed):
    table = likert(20, 3, 0.7, seed)
    stretched = table.replace({1.0: 0.5, 5.0: 40.0})
    linear = table * 3 - 1
    assert krippendorff_alpha(stretched, "ordinal", resamples=10).value == pytest.approx(
        krippendorff_alpha(table, "ordinal", resamples=10).value, nan_ok=True
    )
    assert krippendorff_alpha(linear, "interval", resamples=10).value == pytest.approx(
        krippendorff_alpha(table, "interval", resamples=10).value, nan_ok=True
    )


def test_perfect_agreement_is_1_and_no_variation_is_undefined():
    same = krippendorff_alpha([[1, 1], [2, 2], [3, 3], [1, 1]])
    assert (same.value, same.high, same.reading) == (1, 1, "reliable")
    assert same.low < 0.5  # four units may hide a good deal of disagreement
    flat = krippendorff_alpha([[3, 3], [3, 3], [3, 3]])
    assert math.isnan(flat.value)
    assert flat.reading == "undefined"
    assert krippendorff_alpha([[1, NAN], [NAN, 2]]).units == 0


def test_the_interval_of_alpha_holds_it_and_shrinks_with_the_units():
    few, many = (krippendorff_alpha(likert(units, 3, 0.7)) for units in (40, 640))
    assert few.low < few.value < few.high
    assert 2.5 < (few.high - few.low) / (many.high - many.low) < 6.5


def test_agreement_is_read_as_convention_has_it():
    assert [reading(v) for v in (0.95, 0.8, 0.79, 0.667, 0.66, -0.2, NAN)] == [
        "reliable", "reliable", "tentative", "tentative", "not reliable", "not reliable", "undefined",
    ]  # fmt: skip


def test_a_scale_that_the_ratings_do_not_have_is_refused():
    with pytest.raises(RatingError, match="level 'likert' is unknown; use nominal"):
        krippendorff_alpha([[1, 2]], "likert")
    with pytest.raises(RatingError, match="200 different ratings are too many for level 'ordinal'"):
        krippendorff_alpha(np.arange(400).reshape(200, 2) // 2 * 1.0)
    with pytest.raises(RatingError, match="rating -1 has no place on a ratio scale"):
        krippendorff_alpha([[-1, 2]], "ratio")


def test_alpha_of_measurements_is_the_intraclass_correlation_they_were_drawn_with():
    rng = np.random.default_rng(0)
    measured = rng.normal(size=(3_000, 1)) + 0.5 * rng.normal(size=(3_000, 2))
    assert krippendorff_alpha(measured, "interval", resamples=20).value == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("units", [1, 2, 4, 12, 31])
def test_no_interval_shrinks_to_a_point_where_hardly_anything_varies(units):
    for rare in ([5, 4], [4, 4], [4, 5]):
        table = np.array([[5, 5]] * units + [rare], dtype=float)
        for level in ("nominal", "ordinal", "interval"):
            found = krippendorff_alpha(table, level)
            assert not found.high - found.low < 0.01
        kappa = weighted_kappa(table[:, 0], table[:, 1])
        assert not kappa.high - kappa.low < 0.01
        assert not fleiss_kappa(table).high - fleiss_kappa(table).low < 0.01


def test_two_replies_that_agree_are_no_reliability():
    assert krippendorff_alpha([[5, 5], [1, 1]]).reading == "undefined"
    assert krippendorff_alpha([[5, 5], [1, 1], [3, 3]]).reading == "reliable"


@pytest.mark.parametrize("broken", [[["a", "b"]], [1.0, 2.0], [[[1.0, 2.0]]], [[1, 2], [3]]])
def test_what_is_no_table_of_numbers_is_refused_in_words(broken):
    for measure in (krippendorff_alpha, fleiss_kappa):
        with pytest.raises(RatingError, match=measure.__name__):
            measure(broken)


def test_kappa_refuses_unknown_weights_and_words():
    with pytest.raises(RatingError, match="weights 'cubic' are unknown"):
        weighted_kappa([1, 2], [1, 2], "cubic")
    with pytest.raises(RatingError, match="must be numbers"):
        weighted_kappa(["good"], ["bad"])


# ------------------------------ kappas


def test_fleiss_kappa_equals_the_published_value(published):
    counts = published("fleiss_wikipedia_counts").to_numpy()
    ratings = [np.repeat(np.arange(counts.shape[1]), row) for row in counts]
    assert round(fleiss_kappa(ratings).value, 3) == 0.210


def test_fleiss_kappa_equals_statsmodels():
    from statsmodels.stats.inter_rater import aggregate_raters
    from statsmodels.stats.inter_rater import fleiss_kappa as reference

    table = likert(60, 4, 0.8)
    expected = reference(aggregate_raters(table.to_numpy())[0])
    found = fleiss_kappa(table)
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high
    with pytest.raises(RatingError, match="same number of ratings"):
        fleiss_kappa([[1, 2], [1, NAN]])


@pytest.mark.parametrize(
    ("weights", "name"), [("none", None), ("linear", "linear"), ("quadratic", "quadratic")]
)
def test_cohens_kappa_equals_statsmodels(weights, name):
    from statsmodels.stats.inter_rater import cohens_kappa, to_table

    table = likert(150, 2, 0.6)
    reference = cohens_kappa(to_table(table.to_numpy(dtype=int))[0], wt=name)
    found = weighted_kappa(table["r0"], table["r1"], weights)
    assert found.value == pytest.approx(reference.kappa)
    assert (found.low, found.high) == pytest.approx((reference.kappa_low, reference.kappa_upp), abs=0.035)


def test_kappa_leaves_out_what_one_of_the_two_did_not_judge_and_says_so():
    found = weighted_kappa([1, 2, 3, NAN, 5, 1], [1, 2, 2, 4, NAN, 1], resamples=50)
    assert found.units == 4
    assert found.value == weighted_kappa([1, 2, 3, 1], [1, 2, 2, 1], resamples=50).value
    assert weighted_kappa([3, 3], [3, 3]).reading == "undefined"
    with pytest.raises(RatingError, match="2 ratings stand against 1"):
        weighted_kappa([1, 2], [1])


# ------------------------------ raters


def test_repeats_show_a_raters_own_consistency():
    rows = [("steady", i, score) for i, score in enumerate([1, 3, 5, 4])] * 2
    rows += [("drifting", i, score) for i, score in enumerate([1, 2, 3, 4])]
    rows += [("drifting", i, score) for i, score in enumerate([2, 2, 4, 6])]
    rows += [("once", 0, 3), ("silent", 0, NAN), ("silent", 0, 3)]
    table = intra_rater(pd.DataFrame(rows, columns=["rater", "item", "score"])).set_index("rater")
    assert list(table.index) == ["drifting", "steady"]
    assert table.loc["steady", ["repeats", "exact", "drift", "kappa"]].tolist() == [4, 1, 0, 1]
    assert table.loc["drifting", ["exact", "within_one", "drift"]].tolist() == [0.25, 0.75, 1.0]
    assert table.loc["steady", "low"] < 0.6
    assert intra_rater(pd.DataFrame(rows[-2:], columns=["rater", "item", "score"])).empty


def test_severity_is_measured_on_jointly_rated_units_only():
    ratings = pd.DataFrame(
        {"harsh": [1, 2, 3, 1, NAN], "mild": [3, 4, 4, NAN, 5], "middle": [2, 3, 3.5, NAN, NAN]}
    )
    table = severity(ratings).set_index("rater")
    assert table["units"].tolist() == [3, 3, 3]
    assert table.loc["harsh", "severity"] == pytest.approx(np.mean([1 - 2.5, 2 - 3.5, 3 - 3.75]))
    assert table.loc["mild", "severity"] == pytest.approx(np.mean([3 - 1.5, 4 - 2.5, 4 - 3.25]))
    assert table.loc["harsh", "high"] < 0 < table.loc["mild", "low"]


def test_units_that_all_say_the_same_are_no_certainty() -> None:
    """An interval of width 0 would promise that nobody else ever says otherwise."""
    always = severity(pd.DataFrame({"five": [5, 5, 5, 5], "four": [4, 4, 4, 4]}))
    assert always["severity"].tolist() == [1, -1]
    assert always[["low", "high"]].isna().all(axis=None)
    tied = duels(judgements(x=[3] * 12, y=[3] * 12, z=[3] * 12))
    strengths = bradley_terry(tied, resamples=50)
    assert strengths["strength"].tolist() == pytest.approx([0, 0, 0])
    assert strengths[["low", "high"]].isna().all(axis=None)
    assert (win_rates(tied, resamples=50)["high"] - win_rates(tied, resamples=50)["low"] > 0.2).all()


def test_a_rater_who_never_met_another_has_no_severity():
    table = severity(pd.DataFrame({"a": [1, NAN], "b": [NAN, 2]}))
    assert table["units"].tolist() == [0, 0]
    assert table["severity"].isna().all()


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_severities_of_two_raters_are_opposite(seed):
    table = severity(likert(15, 2, 0.8, seed, gaps=0.2))
    assert table["severity"][0] == pytest.approx(-table["severity"][1])


# ------------------------------ models


def test_duels_are_fought_within_rater_and_item_and_ties_count_half():
    met = duels(judgements(x=[5, 3, 2], y=[3, 3, 4], z=[1, NAN, NAN]))
    found = {(row.a, row.b, row.item): row.outcome for row in met.itertuples()}
    assert found == {
        ("x", "y", 0): 1,
        ("x", "y", 1): 0.5,
        ("x", "y", 2): 0,
        ("x", "z", 0): 1,
        ("y", "z", 0): 1,
    }
    table = win_rates(met).set_index(["a", "b"])
    assert table.loc[("x", "y"), ["duels", "ties", "rate"]].tolist() == [3, 1, 0.5]
    assert 0 <= table.loc[("x", "z"), "low"] < table.loc[("x", "z"), "rate"]


def one_sided(wins: dict[tuple[str, str], int]):
    rows = [(a, b, 1.0) for (a, b), count in wins.items() for _ in range(count)]
    return pd.DataFrame(rows, columns=["a", "b", "outcome"]).assign(item=range(len(rows)))


def test_strengths_of_two_models_are_the_log_odds_of_winning():
    table = bradley_terry(one_sided({("a", "b"): 30, ("b", "a"): 10}), prior_ties=0).set_index("model")
    assert table.loc["a", "strength"] - table.loc["b", "strength"] == pytest.approx(math.log(3))
    assert table["strength"].sum() == pytest.approx(0)


def test_strengths_equal_the_logistic_regression_of_statsmodels():
    import statsmodels.api as sm

    rng = np.random.default_rng(0)
    truth = {"a": 0.8, "b": 0.2, "c": -0.2, "d": -0.8}
    rows = [
        (x, y, float(rng.random() < 1 / (1 + math.exp(truth[y] - truth[x]))), item)
        for item in range(100)
        for x, y in combinations(truth, 2)
    ]
    met = pd.DataFrame(rows, columns=["a", "b", "outcome", "item"])
    met.loc[::7, "outcome"] = 0.5
    design = np.array(
        [[(x == m) - (y == m) for m in "abc"] for x, y in zip(met["a"], met["b"], strict=True)], float
    )
    fit = sm.GLM(met["outcome"], design, family=sm.families.Binomial()).fit()
    expected = np.append(fit.params, 0) - np.append(fit.params, 0).mean()
    found = bradley_terry(met, prior_ties=0).set_index("model").loc[list("abcd")]
    assert found["strength"].to_numpy() == pytest.approx(expected, abs=1e-6)
    assert (found["low"] < found["strength"]).all()
    assert (found["strength"] < found["high"]).all()
    assert found["duels"].tolist() == [300] * 4


def test_a_model_that_always_wins_has_a_finite_strength():
    table = bradley_terry(one_sided({("a", "b"): 20, ("a", "c"): 20, ("b", "c"): 20}))
    assert table["model"].tolist() == ["a", "b", "c"]
    assert np.isfinite(table["strength"]).all()
    assert table[["low", "high"]].isna().all(axis=None)  # the ends would be the prior's, not the data's


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=3, max_size=30))
@settings(max_examples=20, deadline=None)
def test_turning_every_duel_round_changes_no_strength(outcomes):
    met = pd.DataFrame({"a": "x", "b": "y", "outcome": outcomes, "item": range(len(outcomes))})
    turned = met.rename(columns={"a": "b", "b": "a"}).assign(outcome=1 - met["outcome"])
    one, other = (bradley_terry(rows, resamples=50).set_index("model")["strength"] for rows in (met, turned))
    assert one["x"] == pytest.approx(other["x"])
    assert one["x"] == pytest.approx(-one["y"])


def test_one_model_alone_has_no_strength():
    with pytest.raises(RatingError, match="fewer than two models met"):
        bradley_terry(duels(judgements(x=[1, 2])))


def test_items_needed_are_those_of_a_paired_z_test():
    differences = [1.0, -1.0] * 10
    variance = 20 / 19
    expected = math.ceil((1.959964 + 0.841621) ** 2 * variance / 0.5**2)
    assert items_needed(differences, 0.5) == expected
    assert items_needed([*differences, NAN], 0.5) == expected
    assert items_needed(differences, 0.25) > 3.9 * expected
    assert items_needed(differences, 0.5, pairs=15) > expected
    for few in ([1.0], [1.0, 1.0], [1.0, 0.0] * 3, [0.5] * 20):
        with pytest.raises(RatingError, match="judge 8 items"):
            items_needed(few, 0.5)
    with pytest.raises(ScoreError, match="must not be 0"):
        items_needed(differences, 0)


def test_the_range_of_items_needed_is_that_of_the_variance_and_holds_what_is_needed():
    # Nine differences with a sum of squares of 64; chi-square with 8 degrees of freedom has its 5 and 95 % points at
    # 2.7326 and 15.5073 (any printed table), and (1.959964 + 0.841621)**2 / 0.25 is 31.396.
    differences = [4.0, -4.0, 4.0, -4.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    table = [math.ceil(31.396 * 64 / quantile) for quantile in (15.5073, 8.0, 2.7326)]
    assert list(items_needed_range(differences, 0.5)) == table == [130, 252, 736]
    # The variance is 1, so that 32 items are needed; each tail of the range misses them in 5 % of pilots.
    rng = np.random.default_rng(11)
    low, _, high = np.array([items_needed_range(row, 0.5) for row in rng.normal(size=(2_000, 12))]).T
    assert np.mean(low > 32) == pytest.approx(0.05, abs=0.015)
    assert np.mean(high < 32) == pytest.approx(0.05, abs=0.015)


def test_items_needed_come_with_a_range_that_narrows_with_the_pilot():
    small, large = [1.0, -1.0] * 4, [1.0, -1.0] * 100
    low, needed, high = items_needed_range(small, 0.5)
    assert low < needed == items_needed(small, 0.5) < high
    assert high / low > 5
    low, _, high = items_needed_range(large, 0.5)
    assert high / low < 1.5
