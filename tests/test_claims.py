"""Claims from ratings: a judge corrected by people, looks at a running study, reliability, published figures."""

from __future__ import annotations

import math
import warnings
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.foundation.errors import RatingError, ScoreError
from bakeoff.judgement.agreement import severity, weighted_kappa
from bakeoff.judgement.claims import always_valid, effect_sizes, judge_comparisons
from bakeoff.statistics.crossed import errors
from bakeoff.statistics.icc import icc
from bakeoff.statistics.peeking import always_valid_p, level_at
from bakeoff.statistics.prediction import corrected_mean, corrected_ratings, judge_weight
from bakeoff.statistics.raters import Ratings, compare_ratings
from bakeoff.statistics.recipes import compare_recipes
from bakeoff.statistics.significance import sign_flip_tests
from bakeoff.statistics.study import detectable


@pytest.fixture(autouse=True, scope="module")
def _numerical_libraries():
    """Imported late: collecting the tests stays light."""
    global np, pd
    import numpy as np
    import pandas as pd


def ratings(cube):
    names = [
        tuple(f"{kind}{n:03}" for n in range(size)) for kind, size in zip("cmr", cube.shape, strict=True)
    ]
    return Ratings(np.asarray(cube, dtype=float), names[1], names[0], names[2])


# ------------------------------ a judge corrected by people


def test_the_corrected_mean_equals_ppi_python_s():
    """ppi-python 0.2.3: ppi_mean_pointestimate and ppi_mean_ci with lam 0, 0.5 and 1 on these numbers."""
    n, m = np.arange(40), np.arange(200)
    people = 3 + np.sin(1.7 * n) + 0.3 * np.cos(5 * n)
    judge = 3.8 + 0.6 * np.sin(1.7 * n) + 0.2 * np.sin(11 * n)
    others = 3.9 + 0.6 * np.sin(2.3 * m) + 0.2 * np.cos(7 * m)
    published = {
        0.0: (3.02367881, 2.79056771, 3.2567899),
        0.5: (3.06777255, 2.89435668, 3.24118843),
        1.0: (3.1118663, 2.97758725, 3.24614536),
    }
    for weight, (value, low, high) in published.items():
        found = corrected_mean(people, judge, others, weight=weight)
        assert found.value == pytest.approx(value, abs=1e-7)
        # theirs is the normal's with n in the denominator, ours Student's t: 4.5 % wider at 40 labels
        assert (found.high - found.low) / (high - low) == pytest.approx(1.045, abs=0.01)


def test_the_weight_of_the_judge_is_the_best_of_all():
    rng = np.random.default_rng(4)
    truth = rng.normal(size=400)
    people, judge = truth[:60], 0.7 * truth + 0.7 * rng.normal(size=400) + 2
    chosen = judge_weight(people, judge[:60], judge[60:])
    spread = [
        (found.high - found.low, weight)
        for weight in np.linspace(-1, 2, 301)
        for found in [corrected_mean(people, judge[:60], judge[60:], weight=float(weight))]
    ]
    assert min(spread)[1] == pytest.approx(chosen, abs=0.05)


def test_the_weight_of_the_judge_is_its_slope_shrunk_by_f_and_by_the_size_of_both_samples():
    """Slope and F of statsmodels' regression; PPI++ has the factor 1 / (1 + n / N)."""
    import statsmodels.api as sm

    rng = np.random.default_rng(11)
    judge = rng.normal(size=260)
    people = 0.4 * judge[:60] + rng.normal(size=60) + 3
    fit = sm.OLS(people, sm.add_constant(judge[:60])).fit()
    expected = fit.params[1] * (1 - 2 / fit.fvalue) / (1 + 60 / 200)
    assert judge_weight(people, judge[:60], judge[60:]) == pytest.approx(expected)


@pytest.mark.parametrize("bias", ["none", "a point too high", "twice as wide", "blind to half", "squared"])
def test_the_corrected_mean_covers_whatever_the_judge_s_bias(bias):
    rng, runs = np.random.default_rng(0), 1500
    held = 0
    for _ in range(runs):
        truth = rng.normal(3, 1, 240)
        judge = {
            "none": truth,
            "a point too high": truth + 1,
            "twice as wide": 2 * truth,
            "blind to half": np.where(rng.random(240) < 0.5, truth, 4.0),
            "squared": truth**2 / 4,
        }[bias] + rng.normal(0, 0.7, 240)
        found = corrected_mean(truth[:40], judge[:40], judge[40:])
        held += found.low <= 3 <= found.high
    assert 0.93 <= held / runs <= 0.97


def test_at_a_correlation_of_seven_tenths_four_of_ten_labels_are_saved():
    """The estimate of 60 labels varies no more than the plain mean of 100."""
    rng = np.random.default_rng(1)
    corrected, plain, saved = [], [], []
    for _ in range(1500):
        truth = rng.normal(size=1300)
        judge = 1.5 + 0.7 * truth + math.sqrt(1 - 0.49) * rng.normal(size=1300)
        found = corrected_mean(truth[:60], judge[:60], judge[60:])
        corrected.append(found.value)
        saved.append(found.saved)
        plain.append(rng.normal(size=100).mean())
    assert np.var(corrected) <= 1.05 * np.var(plain)
    assert np.mean(saved) >= 0.4


def test_a_judge_that_agrees_with_nobody_costs_nothing():
    rng = np.random.default_rng(2)
    people = rng.normal(3, 1, 200)
    found = corrected_mean(people, rng.normal(1, 3, 200), rng.normal(1, 3, 4000))
    assert abs(found.weight) < 0.1
    assert found.value == pytest.approx(people.mean(), abs=0.1)
    constant = corrected_mean(people, np.full(200, 5.0), np.full(50, 5.0))
    assert (constant.weight, constant.value) == (0.0, pytest.approx(people.mean()))
    alone = corrected_mean(people, rng.normal(size=200), np.array([]))
    assert alone.value == pytest.approx(people.mean())


def test_scores_that_do_not_match_are_refused():
    with pytest.raises(ScoreError, match="stand against"):
        corrected_mean(np.zeros(4), np.zeros(5), np.zeros(2))
    with pytest.raises(ScoreError, match="three or more"):
        corrected_mean(np.zeros(2), np.zeros(2), np.zeros(2))
    with pytest.raises(ScoreError, match="missing"):
        corrected_mean(np.array([1, 2, math.nan]), np.zeros(3), np.zeros(2))


def study(rng, cases, others, raters, taste=0.2, quality=(0.0, 0.0, 0.0, 0.0), biased=(0.6, 0.0, 0.0, -0.6)):
    """People's ratings of the first cases, and a judge that likes some models more than people do."""
    total, models = cases + others, len(quality)
    liked = np.asarray(quality) + 0.5 * rng.normal(size=(total, 1)) + 0.6 * rng.normal(size=(total, models))
    noise = 0.3 * rng.normal(size=(1, 1, raters)) + taste * rng.normal(size=(1, models, raters))
    people = np.clip(
        np.round(3.3 + liked[:, :, None] + noise + 0.6 * rng.normal(size=(total, models, raters))), 1, 5
    )
    judge = np.clip(np.round(3.5 + liked + 0.4 * rng.normal(size=liked.shape) + np.asarray(biased)), 1, 5)
    names = ratings(people)
    scored = {(names.cases[c], names.models[m]): judge[c, m] for c in range(total) for m in range(models)}
    return Ratings(people[:cases], names.models, names.cases[:cases], names.raters), scored


def test_a_judge_s_liking_for_a_model_makes_no_difference_between_equal_ones():
    rng, runs = np.random.default_rng(3), 120
    false = held = 0
    for _ in range(runs):
        people, judge = study(rng, 24, 80, 4)
        found = corrected_ratings({"d": people}, {"d": judge})["d"]
        false += len(set(found.groups.values())) > 1
        held += np.mean([pair.low <= 0 <= pair.high for pair in found.pairs])
    assert false / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert 0.91 <= held / runs <= 0.98


def test_the_judge_sharpens_what_people_say_and_never_speaks_alone():
    people, judge = study(np.random.default_rng(0), 30, 200, 6, 0.0, quality=(0.6, 0.2, -0.2, -0.6))
    plain = compare_ratings({"d": people})["d"]
    found = corrected_ratings({"d": people}, {"d": judge})["d"]
    assert (found.labels, found.others) == (30, 200)
    assert found.saved > 0.15
    widths = [
        (one.high - one.low) / (two.high - two.low) for one, two in zip(found.pairs, plain.pairs, strict=True)
    ]
    assert max(widths) < 1
    assert max(found.scores, key=lambda score: score.value).subject == "m000"
    few = Ratings(people.cube[:5], people.models, people.cases[:5], people.raters)
    assert corrected_ratings({"d": few}, {"d": judge}) == {}
    everything = {key: value for key, value in judge.items() if key[0] in people.cases}
    assert corrected_ratings({"d": people}, {"d": everything}) == {}
    assert corrected_ratings({"d": people}, {}) == {}
    nobody = Ratings(people.cube[..., :0], people.models, people.cases, ())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert corrected_ratings({"d": nobody}, {"d": judge}) == {}
    alone = Ratings(people.cube[..., :1], people.models, people.cases, people.raters[:1])
    assert corrected_ratings({"d": alone}, {"d": judge})["d"].groups == {}  # no judge spares a second rater


def test_a_judge_alone_gives_letters_only_when_calibrated_and_as_one_family():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        [(f"c{c}", m, rng.normal(3 + (m == "x"), 0.5)) for c in range(20) for m in "xyz"],
        columns=["case_id", "subject", "score"],
    )
    tables = {("counselling", f"d{n}"): rows.rename(columns={"score": f"d{n}"}) for n in range(5)}
    found = judge_comparisons(tables, calibrated=False)
    for entry in found.values():
        assert entry["letters"] == {}
        assert {pair["verdict"] for pair in entry["pairs"]} == {"untested"}
    found = judge_comparisons(tables, calibrated=True)
    assert found["counselling", "d0"]["letters"]["x"] == "A"
    alone = judge_comparisons({("counselling", "d0"): tables["counselling", "d0"]}, calibrated=True)
    for one, five in zip(
        alone["counselling", "d0"]["pairs"], found["counselling", "d0"]["pairs"], strict=True
    ):
        assert one["p"] == five["p"]
        assert one["p_adjusted"] <= five["p_adjusted"]


# ------------------------------ looks at a running study


@given(st.floats(1e-12, 1), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_a_p_that_holds_at_every_look_is_never_smaller_and_agrees_with_its_interval(p, cases):
    always = always_valid_p(p, cases)
    assert p <= always * (1 + 1e-9)
    assert always <= 1
    assert (always < 0.05) == (p < level_at(cases)) or abs(always - 0.05) < 1e-9


def test_the_p_of_a_sequence_is_one_over_the_mean_likelihood_ratio_of_a_normal_mixture():
    """By brute force: the likelihood ratio of effect d after n cases, averaged over d ~ N(0, tuning)."""
    n, z = 30, 3.1
    tuning = (-2 * math.log(0.05) + math.log(1 - 2 * math.log(0.05))) / 24
    d = np.linspace(-6, 6, 200_001)
    prior = np.exp(-(d**2) / 2 / tuning) / math.sqrt(2 * math.pi * tuning)
    ratio = np.trapezoid(np.exp(d * z * math.sqrt(n) - n * d**2 / 2) * prior, d)
    from scipy.stats import norm

    assert always_valid_p(2 * norm.sf(z), n) == pytest.approx(1 / ratio, rel=1e-6)


def test_daily_looks_at_a_true_null_alarm_in_at_most_five_of_a_hundred():
    rng, runs = np.random.default_rng(0), 2000
    path = np.cumsum(rng.normal(size=(runs, 300)), axis=1) / np.sqrt(np.arange(1, 301))
    from scipy.special import ndtr

    p = 2 * ndtr(-np.abs(path))
    levels = np.array([level_at(n) for n in range(1, 301)])
    assert (p < 0.05).any(axis=1).mean() > 0.4  # what looking every day does to an ordinary test
    assert (p < levels).any(axis=1).mean() <= 0.05


def test_what_cannot_be_looked_at_has_no_p():
    assert math.isnan(always_valid_p(math.nan, 10))
    assert math.isnan(always_valid_p(0.5, 0))
    assert (always_valid_p(0.0, 10), level_at(0)) == (0.0, 0.0)


def test_looks_at_ratings_have_wider_intervals_and_fewer_letters_than_one_look():
    rng = np.random.default_rng(0)
    cube = np.clip(
        np.round(3 + np.array([0.5, 0, -0.5])[None, :, None] + 0.7 * rng.normal(size=(20, 3, 4))), 1, 5
    )
    tables = {("counselling", "d"): ratings(cube)}
    rated = {("counselling", "d"): compare_ratings({"": tables["counselling", "d"]})[""]}
    found = always_valid(tables, rated)["counselling", "d"]
    for pair in rated["counselling", "d"].pairs:
        always = found.pairs[pair.a, pair.b]
        assert always["low"] < pair.low < pair.high < always["high"]
        assert always["p_adjusted"] >= pair.p_adjusted
    for score in rated["counselling", "d"].scores:
        low, high = found.scores[score.subject]
        assert low <= score.low <= score.high <= high
    assert len(set(found.groups.values())) <= len(set(rated["counselling", "d"].groups.values()))


# ------------------------------ reliability


def test_the_interval_of_a_coefficient_is_scipy_s_bca_with_wider_tails():
    from scipy.stats import bootstrap, norm, t

    rng = np.random.default_rng(5)
    first = rng.integers(1, 6, size=150)
    second = np.clip(first + rng.integers(-1, 2, size=150), 1, 5)

    def kappa(x, y):
        return 1 - ((x - y) ** 2).mean() / ((x[:, None] - y[None, :]) ** 2).mean()

    found = weighted_kappa(first, second, resamples=6_000)
    assert found.value == pytest.approx(kappa(first, second))
    reach = math.sqrt(150 / 149) * t.ppf(0.975, 149)
    options = {"paired": True, "vectorized": False, "method": "BCa", "n_resamples": 3_000, "rng": rng}
    ends = bootstrap((first, second), kappa, confidence_level=1 - 2 * norm.sf(reach), **options)
    assert (found.low, found.high) == pytest.approx(ends.confidence_interval, abs=0.008)


def test_severity_is_the_one_sample_t_test_of_scipy():
    from scipy.stats import ttest_1samp

    scores = pd.DataFrame(
        np.random.default_rng(6).integers(1, 6, size=(20, 2)).astype(float), columns=["x", "y"]
    )
    found = severity(scores).set_index("rater").loc["x"]
    expected = ttest_1samp(scores["x"] - scores["y"], 0).confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))


def test_the_intraclass_correlations_are_those_of_shrout_and_fleiss():
    """Their table 2 and results: ICC(2,1) = .29, ICC(2,4) = .62; intervals as R's psych::ICC prints them."""
    found = icc([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
    assert (round(found.single, 2), round(found.mean, 2)) == (0.29, 0.62)
    assert (round(found.single_low, 3), round(found.single_high, 2)) == (0.019, 0.76)
    assert (round(found.mean_low, 3), round(found.mean_high, 2)) == (0.071, 0.93)
    assert (found.units, found.raters) == (6, 4)


def test_the_intraclass_correlation_is_that_of_the_variance_parts():
    cube = (
        np.random.default_rng(0).normal(size=(40, 1))
        + np.random.default_rng(1).normal(size=(40, 3))
        + [0, 1, 2]
    )
    import statsmodels.api as sm
    from statsmodels.formula.api import ols

    rows = pd.DataFrame([(u, r, cube[u, r]) for u in range(40) for r in range(3)], columns=["u", "r", "y"])
    square = sm.stats.anova_lm(ols("y ~ C(u) + C(r)", rows).fit())["mean_sq"]
    rest = square["Residual"]
    unit, rater = (square["C(u)"] - rest) / 3, (square["C(r)"] - rest) / 40
    found = icc(cube)
    assert found.single == pytest.approx(unit / (unit + rater + rest))
    assert found.mean == pytest.approx(unit / (unit + (rater + rest) / 3))


def test_the_interval_of_the_intraclass_correlation_covers():
    rng, runs = np.random.default_rng(0), 600
    held = 0
    truth = 1 / (1 + (0.3 + 1) / 4)
    for _ in range(runs):
        table = rng.normal(size=(60, 1)) + math.sqrt(0.3) * rng.normal(size=(1, 4)) + rng.normal(size=(60, 4))
        found = icc(table)
        held += found.mean_low <= truth <= found.mean_high
    assert 0.93 <= held / runs <= 0.985


def test_gaps_units_and_raters_without_variation_are_no_agreement():
    table = np.array([[1, 2, 1], [4, 5, 4], [3, 3, math.nan], [5, 5, 5], [2, 1, 2.0]])
    found = icc(table)
    assert (found.units, found.raters) == (4, 3)
    assert found == icc(table[[0, 1, 3, 4]])
    late = np.column_stack([table[:, :2], [1, math.nan, math.nan, math.nan, math.nan]])
    assert icc(late).raters == 2
    assert math.isnan(icc(np.full((5, 3), 4.0)).mean)
    assert icc(np.repeat([[1.0], [3], [5]], 3, axis=1)).mean == 1
    assert math.isnan(icc(np.empty((0, 0))).single)
    with pytest.raises(RatingError, match="must be numbers"):
        icc([["a", "b"]])
    with pytest.raises(RatingError, match="dimension"):
        icc([1, 2, 3])


def test_effect_sizes_are_those_of_the_textbook():
    cells = pd.DataFrame({"a": [3.0, 4, 5, 4], "b": [2.0, 4, 3, 3]})
    found = effect_sizes(cells, "a", "b")
    apart = np.array([1.0, 0, 2, 1])
    assert found["dz"] == pytest.approx(apart.mean() / apart.std(ddof=1))
    assert found["d"] == pytest.approx(1 / math.sqrt((cells["a"].var() + cells["b"].var()) / 2))
    assert math.isnan(effect_sizes(cells[:1], "a", "b")["d"])
    assert math.isnan(effect_sizes(cells * 0, "a", "b")["dz"])


# ------------------------------ a published study of many readers

VAN_DYKE = {
    "CINE": (0x1FFFDFEFFE7E, 0x1FEF8FEFEA7E, 0x1FFFBFE9EE7E, 0x1FFFDFFFFE7F, 0x15EF9FEE2A7E),
    "SE": (0x1FFFFFFFFFFE, 0x1FEFDFEBEB7E, 0x17FFDFEFFFFE, 0x1FFFFFFFFFFF, 0x17FFFFEB6FFF),
}
"""Van Dyke et al. (Radiology 1993): 45 patients with aortic dissection, five readers, two kinds of MRI. A bit per
patient: rated 3 or higher. Data and figures as in the R package MRMCaov (Smith & Hillis), dataset VanDyke,
``mrmc(binary_sens(...), cov = jackknife)``."""


def test_a_published_multi_reader_study_is_reproduced():
    bits = np.array(
        [[[row >> (44 - case) & 1 for case in range(45)] for row in rows] for rows in VAN_DYKE.values()]
    )
    cube = bits.transpose(2, 0, 1).astype(float)
    found = compare_ratings({"": ratings(cube)}, scale=(0, 1))[""]
    assert [round(score.value, 7) for score in found.scores] == [0.8222222, 0.92]
    pair = found.pairs[0]
    (variance, df), _ = errors(cube)
    assert pair.difference == pytest.approx(-0.09777778, abs=1e-8)
    assert math.sqrt(variance) == pytest.approx(0.03780451, abs=1e-8)
    assert (pair.difference / math.sqrt(variance)) ** 2 == pytest.approx(6.689493, abs=1e-5)  # F
    # Parts in their terms: Cov2 - Cov3, reader x treatment; p with their degrees of freedom, which take the
    # covariances of cases as known. Ours count what cases leave open, too, and are fewer.
    assert found.variance["case x model"] / 45 == pytest.approx(0.0010145903 - 0.0006604938, abs=1e-9)
    reader = 0.001802469
    theirs = 0.003572952**2 / (reader**2 / 4)
    assert theirs == pytest.approx(15.71732, abs=1e-3)
    from scipy.stats import t

    assert 2 * t.sf(0.09777778 / 0.03780451, theirs) == pytest.approx(0.02008822, abs=1e-6)
    assert 4 < df < theirs
    assert 0.02 < pair.p < 0.03
    assert pair.verdict == "behind"


# ------------------------------ simulations of many studies at once


@pytest.fixture
def simulated(monkeypatch):
    """The benchmark's analyses and populations."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "bench")
    import batched
    import populations

    return batched, populations


def ends(items):
    return [(item.low, item.high) for item in items]


@pytest.mark.parametrize(
    ("cases", "models", "raters"),
    [(20, 6, 3), (12, 3, 8), (7, 2, 2), (5, 4, 3), (3, 3, 3), (30, 1, 3), (9, 1, 1), (2, 2, 4)],
)
def test_studies_simulated_at_once_have_the_product_s_intervals_and_p(simulated, cases, models, raters):
    batched, populations = simulated
    rng = np.random.default_rng(cases)
    panel = populations.Panel(cases, raters, 0.3)
    quality = (0.0,) * (models - 1) + (1.2,)
    cubes = populations.likert(rng, 24, panel, quality)
    cubes[0] = (
        3  # no rating differs, one model alone has equal ratings, one scatters far more than the others
    )
    cubes[1, :, 0] = 5
    cubes[2:6, :, 0] = rng.choice([1.0, 5.0], size=(4, cases, raters))
    means = batched.rated_means(cubes)
    pairs = batched.rated_pairs(cubes) if models > 1 and raters > 1 else None
    for study, cube in enumerate(cubes):
        rated = compare_ratings({"": ratings(cube)})[""]
        assert ends(rated.scores) == [
            pytest.approx((means.low[study, at], means.high[study, at]), abs=1e-9) for at in range(models)
        ]
        if pairs is None:
            assert not rated.pairs
            continue
        assert ends(rated.pairs) == [
            pytest.approx((pairs.low[study, at], pairs.high[study, at]), abs=1e-9)
            for at in range(len(rated.pairs))
        ]
        assert [pair.p for pair in rated.pairs] == pytest.approx(pairs.p[study], rel=1e-6, abs=1e-12)
        if not rated.why[0]:
            assert (len(set(rated.groups.values())) > 1) == (pairs.least[study] < 0.05)


@pytest.mark.parametrize(
    ("questions", "recipes", "seeds", "sd"), [(40, 6, 3, 0.01), (200, 2, 5, 0.0), (90, 3, 2, 0.08)]
)
def test_recipes_simulated_at_once_have_the_product_s_intervals_and_p(
    simulated, questions, recipes, seeds, sd
):
    batched, populations = simulated
    training = populations.Training(questions, recipes, seeds, sd, (3.0, *(1.0,) * (recipes - 1)))
    answers = populations.answers(np.random.default_rng(questions), 20, training)
    answers[0] = 1  # everything right
    studies = batched.compare_recipes(answers)
    for study, cube in enumerate(answers):
        compared = compare_recipes({"": {f"r{n}": cube[:, n] for n in range(recipes)}})[""]
        for place, score in enumerate(compared.scores):
            assert (studies.means.low[study, place], studies.means.high[study, place]) == pytest.approx(
                (score.low, score.high), abs=1e-9
            )
        for place, pair in enumerate(compared.pairs):
            assert (studies.pairs.low[study, place], studies.pairs.high[study, place]) == pytest.approx(
                (pair.low, pair.high), abs=1e-9
            )
            assert studies.pairs.p[study, place] == pytest.approx(pair.p, rel=1e-6, abs=1e-12)
        assert any(pair.verdict != "tie" for pair in compared.pairs) == (studies.pairs.least[study] < 0.05)


@pytest.mark.parametrize(("cases", "raters", "models"), [(24, 2, 2), (12, 3, 6), (24, 8, 6)])
def test_what_a_plan_promises_at_80_percent_is_found_in_80_percent(simulated, cases, raters, models):
    """Two raters hardly know their own variance: the usual formula's promise is found in 55 %."""
    batched, populations = simulated
    variance = {
        "case x model": populations.CASE_MODEL**2, "rater x model": 0.0625, "rest": populations.REST**2
    }  # fmt: skip
    cubes = populations.uneven(
        np.random.default_rng(0), 1_000, populations.Panel(cases, raters, 0.25), (1.0,) * models
    )
    cubes[:, :, -1] += detectable(cases, raters, models, variance=variance)
    pairs = batched.rated_pairs(cubes)
    with_best = [models - 1 in pair for pair in combinations(range(models), 2)]
    found = (pairs.p[:, with_best] * len(with_best) < 0.05).mean()
    assert 0.75 < found < 0.85


def test_the_truth_of_simulated_studies_is_what_large_ones_come_to(simulated):
    batched, populations = simulated
    rng = np.random.default_rng(0)
    for taste in (0.0, 0.35):
        means = populations.likert(rng, 3_000, populations.Panel(2, 2, taste)).mean(axis=(1, 2, 3))
        error = means.std() / math.sqrt(len(means))
        assert abs(means.mean() - populations.mean_rating(taste)) < 4 * error
        shares = populations.answers(rng, 400, populations.Training(20, 2, 2, taste / 10)).mean(
            axis=(1, 2, 3)
        )
        assert abs(shares.mean() - populations.share_right(taste / 10)) < 4 * shares.std() / math.sqrt(400)
    differences = rng.normal(0.4, 1, size=(6, 22, 3))
    by_product = [bool((sign_flip_tests(study) * 3 < 0.05).any()) for study in differences]
    assert batched.sign_flips_differ(differences).tolist() == by_product
    assert len(set(by_product)) == 2
