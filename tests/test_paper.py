"""The paper pack's R script: whole without R, and of one mind with the page where R is there."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bakeoff.judgement.analysis_in_r import r_script
from bakeoff.judgement.rubric import DIMENSIONS
from bakeoff.statistics.raters import Ratings, compare_ratings

PAIRS = {")": "(", "]": "[", "}": "{"}


def test_the_r_script_closes_what_it_opens_and_escapes_only_what_r_knows() -> None:
    for is_partial in (False, True):
        _check_signs(re.sub(r"(?m)#[^\n\"]*$", "", r_script(is_partial)))


def _check_signs(script: str) -> None:
    texts = re.findall(r'"((?:[^"\\]|\\.)*)"', script)
    assert texts
    assert {escape for text in texts for escape in re.findall(r"\\(.)", text)} <= set("ntr\\\"'")
    open_ones: list[str] = []
    for sign in re.sub(r'"(?:[^"\\]|\\.)*"', '""', script):
        if sign in PAIRS.values():
            open_ones.append(sign)
        elif sign in PAIRS:
            assert open_ones.pop() == PAIRS[sign]
    assert open_ones == []
    assert "library(irr)" not in script  # the models are compared without it, too


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_r_finds_what_the_page_says(tmp_path: Path) -> None:
    import pandas as pd

    rng = np.random.default_rng(1)
    tables, rows = {}, []
    for place, dimension in enumerate(DIMENSIONS):
        for part, cases in (("counselling", 24), ("crisis", 12 + place)):
            liked = np.array([0.9 * (place % 2), 0, 0, -0.5])[None, :, None]
            cube = 3.3 + liked + rng.normal(0, 0.7, (cases, 4, 3)) + rng.normal(0, 0.3, (1, 4, 3))
            cube[:, 0] += 1.5 * (place == 1) * rng.normal(size=(cases, 3))  # scatters more than the others
            cube = np.clip(np.round(cube), 1, 5)
            cube[place, 1, :place] = np.nan  # gaps
            axes = [
                tuple(f"{kind}{n}" for n in range(size)) for kind, size in zip("cmr", cube.shape, strict=True)
            ]
            tables[part, dimension] = Ratings(cube, axes[1], axes[0], axes[2])
            for c, m, r in zip(*np.nonzero(np.isfinite(cube)), strict=True):
                rows.append({
                    "rater": axes[2][r], "case": axes[0][c], "subject": axes[1][m], "crisis": int(part == "crisis"),
                    "repeat": 0, "dimension": dimension, "score": int(cube[c, m, r]),
                })  # fmt: skip
    table = pd.DataFrame(rows)
    table.to_csv(tmp_path / "long.csv", index=False, encoding="utf-8-sig")
    for dimension, part in table.groupby("dimension"):
        wide = part.pivot_table(
            index=["case", "subject", "crisis"], columns="rater", values="score"
        ).reset_index()
        wide.insert(0, "reply", wide["case"])
        wide.to_csv(tmp_path / f"raters_{dimension}.csv", index=False, encoding="utf-8-sig")
    (tmp_path / "analysis.R").write_text(r_script(), encoding="utf-8")
    run = subprocess.run(["Rscript", "analysis.R"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    shown = {
        tuple(row.pop(name) for name in ("part", "dimension", "a", "b")): {
            k: float(v) for k, v in row.items()
        }
        for row in pd.read_csv(tmp_path / "analysis_pairs.csv", dtype=str, keep_default_na=False)
        .replace(r"^\s*NA$", "nan", regex=True)
        .to_dict("records")
    }
    names = ("difference", "low", "high", "df", "p", "p_adjusted")
    expected = {
        (*key, pair.a, pair.b): {name: getattr(pair, name) for name in names}
        for key, rated in compare_ratings(tables).items()
        for pair in rated.pairs
    }
    assert shown.keys() == expected.keys()
    for key, values in expected.items():
        assert shown[key] == pytest.approx(values, rel=1e-9, abs=1e-12, nan_ok=True), key
    scattering = {round(values["df"], 6) for key, values in expected.items() if key[1] == DIMENSIONS[1]}
    assert len(scattering) > 2  # not pooled
    assert not any(math.isnan(values["p_adjusted"]) for values in expected.values())
    assert any(0 < values["p_adjusted"] < 0.05 for values in expected.values())
