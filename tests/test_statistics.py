"""bakeoff.statistics against published values, statsmodels, scipy and brute force."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import combinations, product
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.foundation.errors import ScoreError
from bakeoff.statistics.bootstrap import Resampling, effective_clusters, expanded_percentiles
from bakeoff.statistics.comparison import compare, compare_suites
from bakeoff.statistics.intervals import (
    agresti_min,
    bounded_interval,
    clustered_wilson,
    cohens_h,
    matched_odds_ratio,
    wilson,
)
from bakeoff.statistics.power import (
    exact_power,
    fewest_disagreements,
    least_detectable,
    minimum_detectable_difference,
    samples_needed,
)
from bakeoff.statistics.significance import (
    PairsOf,
    clustered_t_test,
    holm,
    mcnemar,
    shaffer,
    sign_flip_tests,
    tie_groups,
)
from bakeoff.statistics.tables import sample_matrix


@pytest.fixture(autouse=True, scope="module")
def _numerical_libraries():
    """Imported late: collecting the tests stays light."""
    global np, pd
    import numpy as np
    import pandas as pd


def matrix(n: int, accuracies: dict[str, float], seed: int = 0, shared: float = 0.6):
    """Right/wrong answers to the same questions: each column's expected accuracy is exact, columns are correlated."""
    from scipy.stats import norm

    rng = np.random.default_rng(seed)
    ease = rng.normal(size=(n, 1)) * math.sqrt(shared)
    latent = ease + rng.normal(size=(n, len(accuracies))) * math.sqrt(1 - shared)
    right = latent + norm.ppf(list(accuracies.values())) > 0
    return pd.DataFrame(right.astype(float), columns=list(accuracies))


def columns_of_ones(n: int, **right: int):
    return pd.DataFrame({name: [1.0] * k + [0.0] * (n - k) for name, k in right.items()})


def row(comparison, a, b):
    pairs = comparison.pairs
    return pairs[(pairs["a"] == a) & (pairs["b"] == b)].iloc[0]


# ------------------------------ single numbers


def test_importing_the_module_loads_no_numerical_library():
    script = "import sys, bakeoff.statistics.comparison, bakeoff.judgement.agreement; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "pandas", "scipy", "statsmodels"} & set(loaded)


def test_wilson_gives_the_intervals_of_newcombe_s_table():
    # Newcombe, Statistics in Medicine 1998, table I, method 3: 81 of 263 and 0 of 20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1e-30])
def test_wilson_equals_statsmodels_also_for_samples_in_clusters(alpha):
    from scipy.stats import norm, t
    from statsmodels.stats.proportion import proportion_confint

    for right, n in ((0, 7), (3, 8), (12.5, 60.0), (977, 1346)):
        assert wilson(right, n, alpha) == pytest.approx(
            proportion_confint(right, n, alpha=alpha, method="wilson"), abs=1e-9
        )
    # Korn & Graubard: n over the design effect, and t with one less than the clusters in the place of the normal
    level = 2 * norm.sf(t.isf(0.025, 9))
    assert clustered_wilson(30, 90, 10, 2.5) == pytest.approx(
        proportion_confint(12, 36, alpha=level, method="wilson"), abs=1e-9
    )
    assert effective_clusters(np.array([5, 5, 5, 5])) == pytest.approx(4)
    assert effective_clusters(np.array([30, 10])) == pytest.approx(1.6)


def test_wilson_of_nothing_is_unknown():
    assert all(math.isnan(end) for end in wilson(0, 0))


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (5, 5), (12, 3), (150, 86), (3, 40)])
def test_mcnemar_equals_statsmodels(only_a, only_b):
    from statsmodels.stats.contingency_tables import mcnemar as reference

    expected = reference([[7, only_a], [only_b, 9]], exact=True).pvalue
    assert mcnemar(only_a, only_b) == pytest.approx(expected, abs=1e-12)


def test_mcnemar_finds_what_an_unpaired_test_misses():
    # Agresti, Categorical Data Analysis, prime minister's ratings: 150 changed one way, 86 the other.
    assert mcnemar(150, 86) == pytest.approx(3.7e-5, abs=1e-6)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 200))
def test_the_closed_interval_holds_the_difference_and_turns_with_the_pair(only_a, only_b, ties):
    n = only_a + only_b + ties + 1
    assert mcnemar(only_a, only_b) == mcnemar(only_b, only_a)
    low, high = agresti_min(only_a, only_b, n)
    assert low <= (only_a - only_b) / n <= high
    assert agresti_min(only_b, only_a, n) == pytest.approx((-high, -low))


def test_agresti_min_equals_its_formula_by_hand():
    # 150 and 86 of 1,600: (150 - 86) / 1602 -+ 1.96 * sqrt(237 - 64^2 / 1602) / 1602
    centre, spread = 64 / 1602, math.sqrt(237 - 64**2 / 1602) / 1602
    assert agresti_min(150, 86, 1600) == pytest.approx(
        (centre - 1.959964 * spread, centre + 1.959964 * spread)
    )


def test_two_identical_models_are_not_called_equal_with_certainty():
    low, high = agresti_min(0, 0, 50)
    assert low < -0.03
    assert high > 0.03


def test_the_matched_odds_ratio_is_the_odds_of_a_s_share_of_the_disagreements():
    value, ends = matched_odds_ratio(12, 5)
    low, high = wilson(12, 17)
    assert value == pytest.approx(12 / 5)
    assert ends == pytest.approx((low / (1 - low), high / (1 - high)))
    assert matched_odds_ratio(4, 0)[0] == math.inf
    assert math.isnan(matched_odds_ratio(0, 0)[0])
    assert matched_odds_ratio(0, 0)[1] == (0.0, math.inf)
    from statsmodels.stats.proportion import proportion_confint

    for only_a in (1, 3, 40):  # the side that was never right bounds the ratio on one side only
        share = proportion_confint(only_a, only_a, method="wilson")[0]
        assert matched_odds_ratio(only_a, 0)[1] == pytest.approx((share / (1 - share), math.inf))
        assert matched_odds_ratio(0, only_a) == (0.0, pytest.approx((0.0, (1 - share) / share)))


@given(st.integers(1, 80), st.integers(1, 80))
def test_turning_the_pair_inverts_the_odds_ratio(only_a, only_b):
    value, ends = matched_odds_ratio(only_a, only_b)
    other, turned = matched_odds_ratio(only_b, only_a)
    assert value * other == pytest.approx(1)
    assert (ends.low * turned.high, ends.high * turned.low) == pytest.approx((1, 1))


def test_cohens_h_equals_statsmodels():
    from statsmodels.stats.proportion import proportion_effectsize

    assert cohens_h(0.62, 0.5) == pytest.approx(proportion_effectsize(0.62, 0.5))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_equals_statsmodels(p_values):
    from statsmodels.stats.multitest import multipletests

    with patch("gc.collect"):  # it collects on each call: seconds where much is imported
        reference = list(multipletests(p_values, method="holm")[1])
    assert holm(p_values) == pytest.approx(reference)


def test_holm_of_no_pairs_is_empty():
    assert holm([]) == []


def groupings(names):
    """Every way to say which of *names* are equal: lists of groups."""
    if not names:
        yield []
        return
    for rest in groupings(names[1:]):
        yield [[names[0]], *rest]
        for place, group in enumerate(rest):
            yield [*rest[:place], [names[0], *group], *rest[place + 1 :]]


def closed_test(pairs, p_values):
    """Adjusted p by closed testing: every grouping of the models by itself, with Bonferroni within."""
    adjusted = dict.fromkeys(pairs, 0.0)
    for groups in groupings(sorted({name for pair in pairs for name in pair})):
        inside = [pair for pair in pairs if any(set(pair) <= set(group) for group in groups)]
        least = min((p_values[pairs.index(pair)] for pair in inside), default=1.0) * len(inside)
        for pair in inside:
            adjusted[pair] = max(adjusted[pair], min(1.0, least))
    return [adjusted[pair] for pair in pairs]


@pytest.mark.parametrize("models", [2, 3, 4, 6])
def test_shaffer_lies_between_holm_and_the_closed_test(models):
    pairs = list(combinations("abcdef"[:models], 2))
    drawn, gained = np.random.default_rng(models), 0
    for _ in range(30):
        p_values = list(drawn.random(len(pairs)) ** 6)
        (adjusted,) = shaffer([PairsOf(pairs, p_values)])
        by_holm = np.array(holm(p_values))
        assert (np.array(adjusted) <= by_holm + 1e-12).all()
        assert (np.array(adjusted) >= np.array(closed_test(pairs, p_values)) - 1e-12).all()
        assert min(adjusted) == pytest.approx(by_holm.min()), "equal models are told apart as rarely"
        gained += bool((np.array(adjusted) < by_holm - 1e-9).any())
    assert (gained > 0) is (models > 2)


def test_shaffer_by_hand():
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    assert shaffer([PairsOf(pairs, [0.01, 0.02, 0.03])]) == [pytest.approx([0.03, 0.03, 0.03])]
    # Two tables: once a and b differ, one pair at most of their table is equal, and still all three of the other.
    adjusted = shaffer([PairsOf(pairs, [0.001, 0.01, 0.5]), PairsOf(pairs, [0.02, 0.9, 0.9])])
    assert adjusted == [pytest.approx([0.006, 0.04, 1]), pytest.approx([0.08, 1, 1])]
    assert shaffer([PairsOf([], [])]) == [[]]


def test_shaffer_of_many_models_counts_pairs_only():
    pairs = list(combinations(range(9), 2))
    p_values = [1e-6 * (place + 1) for place in range(len(pairs))]
    named = [(str(a), str(b)) for a, b in pairs]
    (adjusted,) = shaffer([PairsOf(named, p_values)])
    assert adjusted[:2] == pytest.approx([36e-6, 2e-6 * 28 if 2 * 28 > 36 else 36e-6]), (
        "8 of 9 may be equal: 28"
    )
    assert (np.array(adjusted) <= np.array(holm(p_values)) + 1e-15).all()


@pytest.mark.parametrize("n", [2, 5, 11])
def test_sign_flips_are_exact_for_few_samples(n):
    d = np.random.default_rng(n).integers(-3, 4, size=n) / 3
    flips = [abs(sum(s * x for s, x in zip(signs, d, strict=True))) for signs in product((1, -1), repeat=n)]
    expected = sum(flip >= abs(d.sum()) - 1e-9 for flip in flips) / len(flips)
    assert sign_flip_tests(d[:, None])[0] == pytest.approx(expected)


@pytest.mark.parametrize("n", [40, 400])
def test_random_sign_flips_equal_scipy_s_permutation_test(n):
    from scipy.stats import permutation_test

    d = np.random.default_rng(3).normal(0.15, 1, size=n) * (20 / n) ** 0.5 + 0.02
    reference = permutation_test((d,), np.sum, permutation_type="samples", n_resamples=20_000, rng=1, axis=0)
    assert sign_flip_tests(d[:, None])[0] == pytest.approx(reference.pvalue, abs=0.02)


def test_sign_flips_of_many_samples_reach_the_same_p_by_their_normal_limit():
    d = np.random.default_rng(4).normal(0.04, 1, size=(2_001, 1))
    assert sign_flip_tests(d)[0] == pytest.approx(sign_flip_tests(d[:2_000])[0], abs=0.02)
    assert sign_flip_tests(np.zeros((3_000, 1)))[0] == 1


def test_on_right_and_wrong_sign_flips_are_mcnemar():
    d = np.array([1.0] * 7 + [-1.0] * 2)
    assert sign_flip_tests(d[:, None])[0] == pytest.approx(mcnemar(7, 2))


@pytest.mark.parametrize(
    ("n", "alone", "of_fifteen"),
    [(100, 14.0, 18.9), (232, 9.2, 12.4), (1_097, 4.2, 5.7), (1_346, 3.8, 5.1), (11_582, 1.3, 1.8)],
)
def test_the_minimum_detectable_difference_is_the_one_the_field_quotes(n, alone, of_fifteen):
    """The usual formula; of right and wrong it promises a little too much, see the next test."""
    assert round(100 * minimum_detectable_difference(n, graded=True), 1) == alone
    assert round(100 * minimum_detectable_difference(n, pairs=15, graded=True), 1) == of_fifteen
    assert 100 * minimum_detectable_difference(n) == pytest.approx(alone, rel=0.035)
    assert 100 * minimum_detectable_difference(n, pairs=15) == pytest.approx(of_fifteen, rel=0.035)


def found_by_brute_force(n, difference, discordance, pairs):
    """The chance that scipy's binomial test calls the difference significant, over all that may happen."""
    from scipy.stats import binom

    apart = np.arange(n + 1)
    rarer = [int(binom.ppf(0.025 / pairs, m, 0.5)) + 1 for m in apart]  # one too many at least
    for m in apart:
        while rarer[m] >= 0 and not 2 * binom.cdf(rarer[m], m, 0.5) < 0.05 / pairs:
            rarer[m] -= 1
    share = (1 + difference / discordance) / 2
    found = binom.cdf(rarer, apart, share) + binom.cdf(rarer, apart, 1 - share)
    return float((binom.pmf(apart, n, discordance) * found).sum())


@pytest.mark.parametrize("pairs", [1, 3, 15])
@pytest.mark.parametrize("n", [10, 12, 16, 25, 32, 50, 100, 200])
def test_what_is_promised_at_80_percent_is_found_in_80_percent(n, pairs):
    """Where a difference takes more disagreements than there are, all of them go one way."""
    for discordance in (0.02, 0.1, 0.15, 0.25, 0.6, 1.0):
        difference = minimum_detectable_difference(n, discordance, pairs=pairs)
        rate = max(discordance, difference)
        found = found_by_brute_force(n, difference, rate, pairs)
        # nothing below the fewest disagreements can be observed, so that ten of ten are more than 80 %
        highest = 0.801 if difference > least_detectable(n, pairs=pairs) else 1.0
        assert 0.799 < found <= highest
        assert exact_power(n, difference, rate, pairs=pairs) == pytest.approx(found, abs=1e-6)


def test_an_exact_power_of_more_difference_than_disagreement_is_refused():
    with pytest.raises(ScoreError, match="needs a discordance"):
        exact_power(20, 0.3, 0.2)
    with pytest.raises(ScoreError, match="number from -1 to 1"):
        samples_needed(1.5)
    with pytest.raises(ScoreError, match="number from -1 to 1"):
        samples_needed(math.nan)
    assert exact_power(4, 0.2, 0.2) == 0.0
    assert samples_needed(-0.2) == samples_needed(0.2)


def test_mcnemar_finds_the_minimum_detectable_difference_about_as_often_as_promised():
    n, discordance = 400, 0.25
    difference = minimum_detectable_difference(n, discordance)
    rng = np.random.default_rng(0)
    chances = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    found = np.mean([mcnemar(a, b) < 0.05 for a, b, _ in rng.multinomial(n, chances, size=1_500)])
    assert 0.76 < found < 0.86


def test_subsets_that_are_each_all_right_or_all_wrong_leave_an_interval_of_their_own() -> None:
    right = np.r_[np.ones(30), np.zeros(29), 1.0]
    table = pd.DataFrame({"a": right, "b": np.r_[np.zeros(59), 1.0]})
    result = compare(table, pd.Series(["x"] * 30 + ["y"] * 30))
    first = result.scores.set_index("subject").loc["a"]
    assert first["high"] - first["low"] > 0.2
    assert result.pairs["high"].iloc[0] - result.pairs["low"].iloc[0] > 0.2


@pytest.mark.parametrize("pairs", [1, 3, 10])
@pytest.mark.parametrize("n", [9, 10, 20])
def test_no_difference_of_more_than_all_samples_is_called_detectable(n: int, pairs: int) -> None:
    assert least_detectable(n, pairs=pairs) <= minimum_detectable_difference(n, 1.0, pairs=pairs) <= 1.0


@given(st.floats(0.005, 0.5), st.floats(0.02, 0.6), st.integers(1, 66))
def test_samples_needed_inverts_the_minimum_detectable_difference(difference, discordance, pairs):
    n = samples_needed(difference, discordance, pairs=pairs)
    assert minimum_detectable_difference(n, discordance, pairs=pairs) <= difference * (1 + 1e-6)
    if n > 1:
        assert minimum_detectable_difference(n - 1, discordance, pairs=pairs) > difference * (1 - 1e-6)


def test_no_number_of_samples_finds_no_difference():
    with pytest.raises(ScoreError, match="must not be 0"):
        samples_needed(0)
    assert minimum_detectable_difference(0) == math.inf


# ------------------------------ tie groups


def test_tie_groups_of_a_published_kind_of_table():
    # Best to worst: d apart from a; the others overlap in between.
    assert tie_groups("abcd", [("a", "c"), ("a", "d"), ("b", "d")]) == {
        "a": "A",
        "b": "AB",
        "c": "BC",
        "d": "C",
    }


def test_nobody_told_apart_is_one_group_and_everybody_told_apart_is_as_many_as_names():
    assert set(tie_groups("abc", []).values()) == {"A"}
    assert tie_groups("cab", list(combinations("abc", 2))) == {"c": "A", "a": "B", "b": "C"}


@settings(max_examples=300)
@given(
    st.integers(1, 8).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.sampled_from(list(combinations(range(8), 2)))))
    )
)
def test_two_names_share_a_letter_exactly_when_they_were_not_told_apart(drawn):
    count, apart = drawn
    names = [f"m{i}" for i in range(count)]
    different = {(f"m{i}", f"m{j}") for i, j in apart if j < count}
    letters = tie_groups(names, different)
    for a, b in combinations(names, 2):
        assert bool(set(letters[a]) & set(letters[b])) == ((a, b) not in different)
    used = sorted({letter for text in letters.values() for letter in text})
    members = [{name for name in names if letter in letters[name]} for letter in used]
    assert not any(one < other for one in members for other in members)


def test_more_than_26_groups_have_distinct_letters():
    names = [f"m{i:02}" for i in range(30)]
    assert len(set(tie_groups(names, combinations(names, 2)).values())) == 30


# ------------------------------ compare


def test_compare_reports_scores_with_wilson_s_interval():
    result = compare(columns_of_ones(100, good=80, poor=50))
    good = result.scores.iloc[0]
    assert (good["value"], good["n"], good["n_missing"]) == (0.8, 100, 0)
    assert (good["low"], good["high"]) == pytest.approx(wilson(80, 100))


def test_a_plain_difference_is_ahead_one_way_and_behind_the_other():
    table = matrix(400, {"good": 0.8, "poor": 0.5})
    pair = row(compare(table), "good", "poor")
    turned = row(compare(table[["poor", "good"]]), "poor", "good")
    assert (pair["verdict"], turned["verdict"]) == ("ahead", "behind")
    assert pair["words"] == turned["words"]
    assert "good is ahead of poor by" in pair["words"]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["none", "sampled", "fixed"]),
    st.sampled_from(["wrong", "best", "exclude"]),
)
def test_swapping_two_subjects_flips_every_sign(seed, subsets, missing):
    table = matrix(120, {"a": 0.7, "b": 0.6}, seed)
    table[np.random.default_rng(seed).random(table.shape) < 0.03] = np.nan
    clusters = None if subsets == "none" else pd.Series(np.arange(120) % 12)
    options = {
        "missing": missing,
        "subsets": "fixed" if subsets == "fixed" else "sampled",
        "resamples": 2_000,
    }
    one = row(compare(table, clusters, **options), "a", "b")
    other = row(compare(table, clusters, pairs=[("b", "a")], **options), "b", "a")
    for key in ("difference", "worst"):
        assert one[key] == pytest.approx(-other["best" if key == "worst" else key], abs=1e-12)
    for key in ("p_mcnemar", "p_clustered", "p", "p_least", "mdd"):
        assert one[key] == pytest.approx(other[key], nan_ok=True)
    assert (one["only_a"], one["only_b"]) == (other["only_b"], other["only_a"])
    assert (one["low"], one["high"]) == pytest.approx((-other["high"], -other["low"]), abs=1e-9)
    assert one["cohens_h"] == pytest.approx(-other["cohens_h"])


def test_a_sample_that_both_got_right_changes_no_p():
    table = matrix(80, {"a": 0.7, "b": 0.5})
    more = pd.concat([table, pd.DataFrame({"a": [1.0], "b": [1.0]})], ignore_index=True)
    assert row(compare(table), "a", "b")["p_mcnemar"] == row(compare(more), "a", "b")["p_mcnemar"]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_letters_agree_with_the_verdicts_and_a_higher_group_has_a_higher_score(seed):
    result = compare(matrix(150, {"a": 0.8, "b": 0.72, "c": 0.65, "d": 0.5}, seed))
    for _, pair in result.pairs.iterrows():
        shared = set(result.groups[pair["a"]]) & set(result.groups[pair["b"]])
        assert bool(shared) == (pair["verdict"] == "tie")
    value = dict(zip(result.scores["subject"], result.scores["value"], strict=True))
    best = max(value, key=value.__getitem__)
    assert "A" in result.groups[best]


def test_fifteen_pairs_need_more_than_one_pair():
    table = matrix(200, {"a": 0.7, "b": 0.6, "c": 0.6, "d": 0.6, "e": 0.6, "f": 0.6}, seed=2)
    every = compare(table)
    alone = compare(table, pairs=[("a", "b")])
    assert every.family == 15
    assert row(every, "a", "b")["p_adjusted"] > row(alone, "a", "b")["p_adjusted"]
    assert every.mdd > alone.mdd
    assert alone.groups == {}


def test_suites_share_one_family():
    tables = {
        name: (matrix(100, {"a": 0.7, "b": 0.6, "c": 0.6}, seed), None)
        for seed, name in enumerate(["x", "y"])
    }
    together = compare_suites(tables)
    assert [one.family for one in together.values()] == [6, 6]
    adjusted = [p for one in together.values() for p in one.pairs["p_adjusted"]]
    assert adjusted == pytest.approx(holm([p for one in together.values() for p in one.pairs["p"]]))


def test_base_and_tuned_are_compared_by_the_same_test_where_a_suite_has_both():
    table = matrix(300, {"m (base)": 0.5, "m (tuned)": 0.7})
    lone = matrix(300, {"m (base)": 0.5})
    result = compare_suites({"x": (table, None), "y": (lone, None)}, pairs=[("m (tuned)", "m (base)")])
    assert row(result["x"], "m (tuned)", "m (base)")["verdict"] == "ahead"
    assert result["y"].pairs.empty


# missing samples


def with_gaps(missing):
    table = columns_of_ones(100, a=70, b=60)
    table.loc[95:99, "a"] = np.nan
    table.loc[0:3, "b"] = np.nan
    return compare(table, missing=missing)


@pytest.mark.parametrize(
    ("missing", "a", "b", "n_a", "n_pair"),
    [
        ("wrong", 0.70, 0.56, 100, 100),
        ("worst", 0.70, 0.56, 100, 100),
        ("best", 0.75, 0.60, 100, 100),
        ("exclude", 70 / 95, 56 / 96, 95, 91),
    ],
)
def test_missing_samples_are_treated_as_stated_and_bounded(missing, a, b, n_a, n_pair):
    result = with_gaps(missing)
    first, second = (result.scores.iloc[i] for i in (0, 1))
    assert (first["value"], second["value"]) == pytest.approx((a, b))
    assert (first["worst"], first["best"]) == pytest.approx((0.70, 0.75))
    assert (second["worst"], second["best"]) == pytest.approx((0.56, 0.60))
    assert (first["n"], first["n_missing"], second["n_missing"]) == (n_a, 5, 4)
    pair = row(result, "a", "b")
    assert (pair["n"], pair["n_missing"]) == (n_pair, 9)
    assert (pair["worst"], pair["best"]) == pytest.approx((0.70 - 0.60, 0.75 - 0.56))
    assert result.missing == missing


def test_a_difference_that_missing_samples_could_undo_is_no_difference():
    table = columns_of_ones(100, a=70, b=58)
    table.loc[58:69, "b"] = np.nan
    result = compare(table, missing="wrong")
    pair = row(result, "a", "b")
    assert pair["p_adjusted"] < 0.05
    assert pair["verdict"] == "depends on missing"
    assert "12 missing samples could undo that" in pair["words"]
    assert result.groups == {"a": "A", "b": "A"}


def test_a_difference_that_missing_samples_cannot_undo_stands():
    table = columns_of_ones(200, a=170, b=90)
    table.loc[90:99, "b"] = np.nan
    pair = row(compare(table), "a", "b")
    assert pair["verdict"] == "ahead"
    assert pair["p"] <= pair["p_least"] < 0.05


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["wrong", "best", "exclude"]))
def test_the_difference_lies_between_its_bounds_and_the_unluckiest_p_is_the_largest(seed, missing):
    table = matrix(60, {"a": 0.7, "b": 0.55}, seed)
    table[np.random.default_rng(seed).random(table.shape) < 0.08] = np.nan
    pair = row(compare(table, missing=missing), "a", "b")
    assert pair["p"] <= pair["p_least"]
    if missing != "exclude":
        assert pair["worst"] - 1e-12 <= pair["difference"] <= pair["best"] + 1e-12


def test_a_subject_without_a_single_score_is_reported_and_never_ahead():
    table = columns_of_ones(60, a=50, b=40)
    table["b"] = np.nan
    result = compare(table, missing="exclude")
    assert math.isnan(result.scores["value"][1])
    assert row(result, "a", "b")["verdict"] == "tie"
    assert row(compare(table), "a", "b")["verdict"] == "depends on missing"


# subsets


def test_the_clustered_bootstrap_agrees_with_the_cluster_robust_error_of_statsmodels():
    import statsmodels.api as sm

    rng = np.random.default_rng(1)
    clusters = pd.Series(rng.integers(0, 40, 2_000))
    latent = rng.normal(size=(40, 2))[clusters] * 0.5 + rng.normal(size=(2_000, 2))
    table = pd.DataFrame((latent > -0.3).astype(float), columns=["a", "b"])
    result = compare(table, clusters)
    d = (table["a"] - table["b"]).to_numpy()
    fit = sm.OLS(d, np.ones_like(d)).fit(cov_type="cluster", cov_kwds={"groups": clusters.to_numpy()})
    pair = row(result, "a", "b")
    assert (pair["high"] - pair["low"]) / 2 == pytest.approx(2.03 * fit.bse[0], rel=0.06)
    assert pair["p_clustered"] == pytest.approx(fit.pvalues[0], abs=0.01)
    assert "40 subsets" in result.method


def test_the_clustered_test_is_statsmodels_cluster_robust_t_test_for_subsets_of_one_size():
    import statsmodels.api as sm

    rng = np.random.default_rng(8)
    codes = np.repeat(np.arange(12), 9)
    values = np.repeat(rng.normal(0.1, 0.3, 12), 9) + rng.choice([-1.0, 0.0, 1.0], size=108)
    robust = {"cov_type": "cluster", "cov_kwds": {"groups": codes}, "use_t": True}
    fit = sm.OLS(values, np.ones(108)).fit(**robust)
    p, effect = clustered_t_test(values, codes)
    assert p == pytest.approx(fit.pvalues[0], abs=1e-9)
    assert effect == pytest.approx(fit.bse[0] ** 2 / (values.var(ddof=1) / 108))


def test_expanded_percentiles_are_hesterberg_s():
    """The American Statistician 2015, section 3.3: alpha' / 2 = Phi(-sqrt(n / (n - 1)) t[1 - alpha / 2, n - 1])."""
    from scipy.stats import norm, t

    draws = np.random.default_rng(0).normal(size=(4_000, 2))
    for n in (5, 10, 40):
        tail = norm.cdf(-math.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1))
        found = expanded_percentiles(Resampling(draws, math.sqrt(n / (n - 1)), n - 1.0))
        assert found == pytest.approx(np.quantile(draws, [tail, 1 - tail], axis=0))


def test_dz_has_the_large_sample_error_of_hedges_and_olkin():
    """Section 5: the variance of d of n pairs is 1 / n + d^2 / (2 n); beside it the mean's own interval."""
    scores = np.random.default_rng(3).normal(0.6, 1, size=400).clip(-2, 2) + 2.5
    table = pd.DataFrame({"a": scores, "b": np.full(400, 2.5)})
    pair = row(compare(table, scale=(0, 5)), "a", "b")
    dz = (scores - 2.5).mean() / (scores - 2.5).std(ddof=1)
    assert pair["effect"] == pytest.approx(dz)
    error = math.sqrt(1 / 400 + dz**2 / 800)
    assert (pair["effect_high"] - pair["effect_low"]) / 2 == pytest.approx(1.96 * error, rel=0.06)


def test_a_mean_on_a_bounded_scale_has_half_a_case_at_each_end_by_hand():
    """Right or wrong, one rater: the mean and variance of the n cases with half a case of 0 and half a case of 1."""
    from scipy.stats import t

    cases, right = 12, 9
    p = right / cases
    low, high = bounded_interval(p, (p * (1 - p) / (cases - 1), cases - 1.0), cases, (0.0, 1.0))
    weights = np.array([cases - right, right]) + 0.5
    middle = weights[1] / (cases + 1)
    of_cases = p * (1 - p) / (cases - 1) * (cases / (cases + 1)) ** 2
    ends_apart = cases * (p - middle) ** 2 + ((0 - middle) ** 2 + (1 - middle) ** 2) / 2
    added = ends_apart / (cases + 1) ** 2
    # within the cases and between cases and ends: the sum of squares of all thirteen
    total = cases * p * (1 - p) + ends_apart
    assert total == pytest.approx((cases + 1) * middle * (1 - middle))
    df = (of_cases + added) ** 2 / ((of_cases**2 + added**2) / (cases - 1))
    reach = t.ppf(0.975, df) * math.sqrt(of_cases + added)
    assert (low, high) == pytest.approx((middle - reach, min(1.0, middle + reach)))


def test_subsets_that_differ_widen_the_interval_when_sampled_and_narrow_it_when_fixed():
    rng = np.random.default_rng(2)
    clusters = pd.Series(np.repeat(np.arange(20), 30))
    ease = np.repeat(rng.uniform(0.1, 0.95, 20), 30)
    table = pd.DataFrame({name: (rng.random(600) < ease).astype(float) for name in "ab"})
    width = {
        kind: float(np.diff(compare(table, of, subsets=way).scores.loc[0, ["low", "high"]].astype(float))[0])
        for kind, of, way in [
            ("sampled", clusters, "sampled"),
            ("fixed", clusters, "fixed"),
            ("none", None, "sampled"),
        ]
    }
    assert width["sampled"] > 1.4 * width["none"]
    assert width["fixed"] < 0.95 * width["none"]


def test_fixed_subsets_have_the_stratified_standard_error_even_with_two_samples_each():
    rng = np.random.default_rng(5)
    clusters = pd.Series(np.repeat(np.arange(50), 2))
    table = pd.DataFrame(
        {name: (rng.random(100) < np.repeat(rng.uniform(0.3, 0.9, 50), 2)).astype(float) for name in "ab"}
    )
    score = compare(table, clusters, subsets="fixed").scores.iloc[0]
    within = table["a"].groupby(clusters).var(ddof=1)
    error = math.sqrt(float((within * 2).sum())) / 100
    assert (score["high"] - score["low"]) / 2 == pytest.approx(2.009 * error, rel=0.08)


def test_few_subsets_are_taken_as_fixed_whatever_was_asked():
    table = matrix(100, {"a": 0.7, "b": 0.6})
    result = compare(table, pd.Series(np.arange(100) % 2))
    assert "2 fixed subsets" in result.method
    assert result.pairs["p_clustered"].isna().all()


def test_one_subset_and_no_subset_are_the_same():
    table = matrix(100, {"a": 0.7, "b": 0.6})
    one = compare(table, pd.Series(["psychology"] * 100))
    pd.testing.assert_frame_equal(one.pairs, compare(table).pairs)


def test_a_subset_with_a_single_sample_is_no_obstacle():
    table = matrix(40, {"a": 0.7, "b": 0.6})
    result = compare(table, pd.Series([0] * 39 + [1]))
    assert np.isfinite(result.scores[["low", "high"]].to_numpy()).all()


def test_a_difference_must_hold_over_subsets_too():
    # a wins two subsets of twelve by far and is level elsewhere: questions say yes, subsets say not yet.
    clusters = pd.Series(np.repeat(np.arange(12), 20))
    table = pd.DataFrame({"a": 1.0, "b": np.where(clusters < 2, 0.0, 1.0)})
    table.loc[clusters >= 2, ["a", "b"]] = 1.0
    pair = row(compare(table, clusters), "a", "b")
    assert pair["p_mcnemar"] < 1e-6
    assert pair["p_clustered"] > 0.05
    assert pair["verdict"] == "tie"
    assert row(compare(table, clusters, subsets="fixed"), "a", "b")["verdict"] == "ahead"


# graded scores


def test_graded_scores_are_compared_by_sign_flips_on_their_own_scale():
    rng = np.random.default_rng(0)
    base = rng.integers(1, 5, 80).astype(float)
    table = pd.DataFrame({"a": np.clip(base + rng.integers(0, 2, 80), 1, 5), "b": base})
    result = compare(table, scale=(1, 5))
    pair = row(result, "a", "b")
    assert math.isnan(pair["p_mcnemar"])
    assert pair["verdict"] == "ahead"
    assert pair["effect_name"] == "Cohen's dz"
    assert pair["effect_low"] < pair["effect"] < pair["effect_high"]
    assert "points" not in pair["words"]


def test_the_bootstrap_of_graded_scores_agrees_with_scipy_s():
    from scipy.stats import bootstrap

    scores = np.random.default_rng(1).beta(2, 1, 150)
    table = pd.DataFrame({"a": scores, "b": scores[::-1]})
    mine = compare(table).scores.iloc[0]
    reference = bootstrap((scores,), np.mean, method="percentile", rng=0).confidence_interval
    assert (mine["low"], mine["high"]) == pytest.approx((reference.low, reference.high), abs=0.004)


def test_a_missing_rating_counts_as_the_lowest_of_its_scale():
    table = pd.DataFrame({"a": [5.0, np.nan, 4.0], "b": [3.0, 3.0, 3.0]})
    score = compare(table, scale=(1, 5)).scores.iloc[0]
    assert (score["value"], score["worst"], score["best"]) == pytest.approx((10 / 3, 10 / 3, 14 / 3))


# the whole


def test_the_same_table_gives_the_same_numbers():
    table, clusters = matrix(200, {"a": 0.7, "b": 0.6}), pd.Series(np.arange(200) % 20)
    pd.testing.assert_frame_equal(compare(table, clusters).pairs, compare(table, clusters).pairs)


def test_six_equal_models_rarely_yield_a_difference():
    runs = 60
    accuracies = dict.fromkeys("abcdef", 0.65)
    false = sum(len(set(compare(matrix(100, accuracies, seed)).groups.values())) > 1 for seed in range(runs))
    assert (
        false <= 5
    )  # 60 runs at 4 %: six or more in 3 of 100 seeds; the benchmark does the counting properly


def test_wrong_input_is_refused_with_the_way_out():
    table = matrix(20, {"a": 0.7, "b": 0.6})
    with pytest.raises(ScoreError, match="no samples"):
        compare(table.iloc[:0])
    with pytest.raises(ScoreError, match=r"score 3 lies outside scale \(0.0, 1.0\)"):
        compare(table * 3)
    with pytest.raises(ScoreError, match=r"pairs name c; the table holds: a, b"):
        compare(table, pairs=[("a", "c")])
    with pytest.raises(ScoreError, match="not aligned"):
        compare(table, pd.Series(range(19)))
    with pytest.raises(ScoreError, match="has no subset"):
        compare(table, pd.Series([None] + ["x"] * 19))
    with pytest.raises(ScoreError, match="missing must be"):
        compare(table, missing="drop")
    with pytest.raises(ScoreError, match="stands twice"):
        compare(table[["a", "a"]])


def test_the_sample_matrix_keeps_repeated_questions_and_marks_unasked_ones():
    rows = [("m", "base", "s1", "q1", 0, 1.0), ("m", "base", "s1", "q1", 1, 0.0), ("m", "base", "s2", "q2", 2, 1.0),
            ("m", "tuned", "s1", "q1", 0, 0.0), ("m", "tuned", "s1", "q1", 1, 1.0)]  # fmt: skip
    samples = pd.DataFrame(
        rows, columns=["model", "variant", "subset", "sample_id", "index", "correct"]
    ).assign(suite="x")
    table, clusters = sample_matrix(samples, "x")
    assert list(table.columns) == ["m (base)", "m (tuned)"]
    assert list(clusters) == ["s1", "s1", "s2"]
    assert table["m (base)"].tolist() == [1, 0, 1]
    assert table["m (tuned)"].tolist()[:2] == [0, 1]
    assert math.isnan(table["m (tuned)"].iloc[2])
    assert compare(table, clusters).scores["n_missing"].tolist() == [0, 1]
    with pytest.raises(ScoreError, match=r"no sample of suite 'y'; the table holds: x"):
        sample_matrix(samples, "y")


# ------------------------------ what a test can reach


@pytest.mark.parametrize(("n", "pairs"), [(32, 3), (32, 1), (12, 1), (60, 15), (400, 66)])
def test_no_difference_below_what_the_exact_test_can_call_significant_is_promised(n, pairs):
    fewest = next(k for k in range(1, 60) if mcnemar(k, 0) * pairs < 0.05)
    assert fewest_disagreements(pairs=pairs) == fewest
    assert least_detectable(n, pairs=pairs) == pytest.approx(fewest / n)
    assert minimum_detectable_difference(n, 0.001, pairs=pairs) >= fewest / n
    assert minimum_detectable_difference(fewest - 1, 0.5, pairs=pairs) == math.inf


def test_where_nothing_disagreed_the_detectable_difference_is_not_estimated():
    alike = np.r_[np.ones(20), np.zeros(12)]
    result = compare(pd.DataFrame(dict.fromkeys("abc", alike)))
    assert math.isnan(result.mdd)
    assert result.pairs["mdd"].isna().all()
    assert result.least == pytest.approx(7 / 32)


def test_a_single_disagreement_promises_no_sharp_test():
    few = np.zeros(32)
    few[0] = 1
    result = compare(pd.DataFrame({"a": np.zeros(32), "b": few}))
    assert result.pairs["mdd"].iloc[0] >= result.least == pytest.approx(6 / 32)


def test_graded_scores_that_are_alike_have_no_detectable_difference_of_zero():
    graded = np.random.default_rng(0).random(50)
    other = graded.copy()
    other[0] = 1 - other[0]
    result = compare(pd.DataFrame({"a": graded, "b": graded, "c": other}))
    assert result.pairs["mdd"].isna().all()
    assert math.isnan(result.mdd)


def test_an_odds_ratio_of_subsets_with_an_empty_side_keeps_an_interval():
    table = pd.DataFrame({"a": np.zeros(200), "b": np.r_[np.ones(83), np.zeros(117)]})
    subsets = pd.Series(np.arange(200) % 4)
    pair = compare(table, subsets).pairs.iloc[0]
    assert (pair["effect"], pair["effect_low"]) == (0, 0)
    assert pair["effect_high"] == pytest.approx(matched_odds_ratio(0, 83)[1].high, rel=0.01)
    turned = compare(table[["b", "a"]], subsets).pairs.iloc[0]
    assert turned["effect_low"] == pytest.approx(1 / pair["effect_high"])


def test_intervals_of_an_accuracy_near_the_ceiling_cover_with_subsets():
    rng = np.random.default_rng(11)
    clusters = pd.Series(np.repeat(np.arange(52), 26))
    held = 0
    for _ in range(200):
        ease = np.clip(rng.beta(9.6, 0.4, 52), 0, 1)
        right = (rng.random(52 * 26) < np.repeat(ease, 26)).astype(float)
        score = compare(pd.DataFrame({"a": right}), clusters, resamples=500).scores.iloc[0]
        held += score["low"] <= 0.96 <= score["high"]
    assert held / 200 >= 0.93


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("missing", ["wrong", "exclude"])
def test_equal_scores_promise_neither_a_point_nor_certainty(missing):
    answers = (np.random.default_rng(0).random((30, 2)) < 0.6) * 1.0
    lost = np.column_stack([answers[:, 0], np.full(30, np.nan)])
    tables = {
        "one question": np.ones((1, 2)),
        "all right": np.ones((40, 2)),
        "all wrong": np.zeros((40, 2)),
        "one always": np.column_stack([np.ones(1_200), np.zeros(1_200)]),
        "graded alike": np.full((30, 2), 0.5),
        "graded apart": np.column_stack([np.full(30, 0.5), np.full(30, 0.7)]),
        "graded, one question": np.array([[0.5, 0.7]]),
        "no reply of one": lost,
    }
    for name, table in tables.items():
        subsets = {"": None, "own": np.arange(len(table)), "twelve": np.arange(len(table)) % 12}
        for of in subsets.values():
            clusters = None if of is None else pd.Series(of.astype(str))
            result = compare(
                pd.DataFrame(table, columns=["a", "b"]),
                clusters,
                missing=missing,
                subsets="sampled",
                resamples=200,
            )
            for row in [*result.scores.to_dict("records"), *result.pairs.to_dict("records")]:
                assert row["low"] != row["high"], name
                estimate = row["value"] if "value" in row else row["difference"]
                assert not row["n"] or row["low"] <= estimate <= row["high"], name
            (pair,) = result.pairs.to_dict("records")
            assert pair["p"] > 0, name
            assert "nan" not in pair["words"], name
            assert "p = 0)" not in pair["words"], name
    if missing == "exclude":
        assert (
            "no sample has a score of both"
            in compare(pd.DataFrame(lost, columns=["a", "b"]), missing=missing).pairs["words"][0]
        )


def test_no_difference_is_significant_below_the_smallest_that_can_be():
    # Ten pairs differ beyond doubt, and Holm's rule then has fewer pairs left: 8 of 20 are enough for the last.
    rights = {"a": 20, "b": 20, "c": 20, "d": 8, "e": 0}
    table = pd.DataFrame({name: [1.0] * count + [0.0] * (20 - count) for name, count in rights.items()})
    found = compare(table)
    told = found.pairs[found.pairs.verdict != "tie"]
    assert found.family == 10
    assert min(abs(told.difference)) == pytest.approx(0.4)
    assert least_detectable(20, pairs=10) == pytest.approx(0.45)
    assert found.least == least_detectable(20, pairs=10 - len(told)) <= 0.4
    assert (found.pairs.mdd.dropna() >= found.least).all()


def test_no_interval_holds_nothing_where_the_exact_test_finds_a_difference():
    for n, apart in product((5, 20, 50, 1346), range(41)):
        for only_a in range(apart // 2 + 1) if apart <= n else ():
            low, high = agresti_min(only_a, apart - only_a, n)
            assert mcnemar(only_a, apart - only_a) >= 0.05 or not low <= 0 <= high
