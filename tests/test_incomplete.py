"""bakeoff.judgement.incomplete against the complete design, statsmodels and simulated studies."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from bakeoff.judgement.incomplete import compare_incomplete, crossed_components, icc_incomplete
from bakeoff.statistics.icc import icc
from bakeoff.statistics.raters import Ratings, compare_ratings, variance_parts

Cube = NDArray[np.float64]
WIDE = (-20.0, 26.0)
SPREAD = {
    "case": 0.5,
    "rater": 0.3,
    "case x model": 0.5,
    "rater x model": 0.25,
    "case x rater": 0.2,
    "rest": 0.7,
}


def ratings(cube: Cube) -> Ratings:
    cases, models, raters = cube.shape
    return Ratings(
        cube,
        tuple(f"m{n}" for n in range(models)),
        tuple(f"c{n:03d}" for n in range(cases)),
        tuple(f"r{n}" for n in range(raters)),
    )


def drawn(chance: np.random.Generator, size: tuple[int, int, int], means: tuple[float, ...] = ()) -> Cube:
    """Ratings of equal models around 3, or with *means*."""
    cases, models, raters = size
    shapes = {
        "case": (cases, 1, 1), "rater": (1, 1, raters), "case x model": (cases, models, 1),
        "rater x model": (1, models, raters), "case x rater": (cases, 1, raters), "rest": size,
    }  # fmt: skip
    centre = np.array(means or [3.0] * models)[None, :, None]
    return centre + sum(SPREAD[name] * chance.normal(size=shape) for name, shape in shapes.items())


def dealt(cube: Cube, per_case: int) -> Cube:
    """What is left where every case goes to *per_case* raters in turn."""
    cases, _, raters = cube.shape
    seen = np.zeros((cases, raters), dtype=bool)
    for case in range(cases):
        for copy in range(per_case):
            seen[case, (case * per_case + copy) % raters] = True
    return np.where(seen[:, None, :], cube, np.nan)


@pytest.mark.parametrize("seed", range(4))
def test_a_complete_design_is_compared_as_ever(seed: int) -> None:
    table = ratings(drawn(np.random.default_rng(seed), (20, 3, 5)))
    whole = compare_ratings({"": table}, scale=WIDE)[""]
    part = compare_incomplete({"": table}, scale=WIDE)[""]
    assert part.variance == pytest.approx(variance_parts(table.cube), abs=0.02)
    if min(whole.variance.values()) > 0:  # restricted likelihood and mean squares agree inside the boundary
        assert part.variance == pytest.approx(whole.variance, rel=1e-3, abs=1e-6)
        for a, b in zip(part.pairs, whole.pairs, strict=True):
            assert (a.difference, a.low, a.high) == pytest.approx((b.difference, b.low, b.high), abs=1e-3)
            assert (a.p_adjusted, a.verdict) == (pytest.approx(b.p_adjusted, abs=1e-3), b.verdict)
    assert [(score.subject, score.value) for score in part.scores] == [
        (score.subject, pytest.approx(score.value)) for score in whole.scores
    ]


def test_variance_parts_of_an_incomplete_layout_equal_those_of_statsmodels() -> None:
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    cube = dealt(drawn(np.random.default_rng(5), (24, 2, 4)), 2)
    case, rater = np.nonzero(np.isfinite(cube[:, 0]))
    apart = (cube[:, 0] - cube[:, 1])[case, rater]
    parts = crossed_components(apart[:, None], case, rater)
    frame = pd.DataFrame({"y": apart, "case": case, "rater": rater})
    fitted = MixedLM.from_formula(
        "y ~ 1", frame, groups=np.ones(len(frame)), vc_formula={"c": "0 + C(case)", "r": "0 + C(rater)"}
    ).fit(reml=True)
    assert (parts.first, parts.second, parts.rest) == pytest.approx(
        (*fitted.vcomp, fitted.scale), rel=0.02, abs=0.01
    )
    assert parts.means[0] == pytest.approx(fitted.fe_params.iloc[0], abs=1e-3)
    assert math.sqrt(parts.variance) == pytest.approx(fitted.bse_fe.iloc[0], rel=0.02)


def test_intervals_of_partial_studies_cover_and_equal_models_stay_together() -> None:
    chance, covered, false, studies = np.random.default_rng(7), 0, 0, 60
    for _ in range(studies):
        found = compare_incomplete({"": ratings(dealt(drawn(chance, (24, 3, 4)), 2))})[""]
        covered += sum(pair.low <= 0 <= pair.high for pair in found.pairs)
        false += any(pair.verdict != "tie" for pair in found.pairs)
    assert covered >= 0.91 * 3 * studies
    assert false <= 0.15 * studies


def test_a_clear_difference_is_found_although_nobody_saw_everything() -> None:
    cube = dealt(drawn(np.random.default_rng(2), (36, 3, 6), (4.2, 3.0, 2.9)), 2)
    found = compare_incomplete({"": ratings(cube)})[""]
    assert found.groups["m0"] == "A"
    assert "A" not in found.groups["m1"] + found.groups["m2"]
    assert found.why == ("", "")
    assert (found.cases, found.raters) == (36, 6)


def test_severe_raters_do_not_pass_for_bad_models() -> None:
    """Who meets a severe rater is chance: a difference within each case and rater does not hold it."""
    cube = dealt(drawn(np.random.default_rng(4), (24, 2, 4)), 2)
    severe = cube - np.array([0, 0, 2, 2])[None, None, :]
    apart, same = (
        compare_incomplete({"": ratings(each)}, scale=WIDE)[""].pairs[0] for each in (severe, cube)
    )
    assert apart.difference == pytest.approx(same.difference)
    assert apart.p == pytest.approx(same.p)


def test_blocks_with_gaps_are_left_out_by_name_and_so_is_a_model_without_half_of_them() -> None:
    cube = dealt(drawn(np.random.default_rng(3), (20, 3, 4)), 2)
    cube[4, 1, np.flatnonzero(np.isfinite(cube[4, 1]))[0]] = np.nan
    cube[:15, 2] = np.nan
    found = compare_incomplete({"": ratings(cube)})[""]
    assert found.left_out == {"models": ("m2",), "cases": ("c004 by r0",)}
    assert {score.subject: math.isnan(score.low) for score in found.scores} == {
        "m0": False, "m1": False, "m2": True,
    }  # fmt: skip
    assert [(pair.a, pair.b) for pair in found.pairs] == [("m0", "m1")]


@pytest.mark.parametrize("per_case", [1, 2])
def test_every_score_alike_promises_no_sharp_difference(per_case: int) -> None:
    found = compare_incomplete({"": ratings(dealt(np.full((12, 2, 4), 4.0), per_case))})[""]
    (pair,) = found.pairs
    assert (pair.difference, pair.verdict) == (pytest.approx(0), "tie")
    assert pair.high > 0.1
    assert all(score.low < 4 < score.high for score in found.scores)


def test_one_rater_per_case_is_analysed_too_and_says_nothing_of_what_it_cannot_tell() -> None:
    found = compare_incomplete({"": ratings(dealt(drawn(np.random.default_rng(6), (24, 3, 6)), 1))})[""]
    assert math.isnan(found.variance["case x model"])
    assert all(math.isfinite(pair.low) and pair.df >= 1 for pair in found.pairs)


@pytest.mark.parametrize(("size", "word"), [((4, 2, 3), "with 4 cases"), ((12, 2, 1), "one rater")])
def test_too_little_for_letters_is_said(size: tuple[int, int, int], word: str) -> None:
    table = ratings(np.clip(drawn(np.random.default_rng(1), size), 1, 5))
    found, whole = compare_incomplete({"": table})[""], compare_ratings({"": table})[""]
    assert word in found.why[0]
    assert found.why[1]
    assert found.why == whole.why
    assert [score.high - score.low for score in found.scores] == pytest.approx(
        [score.high - score.low for score in whole.scores], rel=0.4
    )
    assert found.groups == {}


def test_holm_spans_all_tables() -> None:
    chance = np.random.default_rng(8)
    tables = {name: ratings(dealt(drawn(chance, (24, 2, 4), (3.4, 3.0)), 2)) for name in "abc"}
    alone = {name: compare_incomplete({name: table})[name].pairs[0] for name, table in tables.items()}
    together = {name: rated.pairs[0] for name, rated in compare_incomplete(tables).items()}
    smallest = min(alone, key=lambda name: alone[name].p)
    assert together[smallest].p_adjusted == pytest.approx(min(1, 3 * alone[smallest].p))
    assert {name: replace(pair, p_adjusted=0, verdict="") for name, pair in together.items()} == {
        name: replace(pair, p_adjusted=0, verdict="") for name, pair in alone.items()
    }


def test_intraclass_correlation_needs_no_rater_who_scored_everything() -> None:
    cube = drawn(np.random.default_rng(9), (30, 2, 5))
    table = cube.reshape(60, 5)
    whole, part = icc(table), icc_incomplete(table)
    assert (part.single, part.mean) == pytest.approx((whole.single, whole.mean), abs=0.01)
    gaps = icc_incomplete(dealt(cube, 2).reshape(60, 5))
    assert (gaps.units, gaps.raters) == (60, 2)
    assert 0 < gaps.single < gaps.mean < 1
    assert math.isnan(icc_incomplete(dealt(cube, 1).reshape(60, 5)).single)
    assert math.isnan(icc_incomplete(np.full((5, 3), np.nan)).mean)


def test_raters_who_all_agree_count_as_in_a_complete_design() -> None:
    cube = np.broadcast_to(np.array([5.0, 4.0, 3.0])[None, :, None], (16, 3, 3)).copy()
    apart, whole = (
        compare({"": ratings(cube)})[""].pairs for compare in (compare_incomplete, compare_ratings)
    )
    assert [pair.df for pair in apart] == [pair.df for pair in whole] == [4, 4, 4]
    assert [pair.p for pair in apart] == pytest.approx([pair.p for pair in whole], rel=0.5)
