"""What is wrong with a matrix is told before anything runs, and what the machine lacks is not wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakeoff import plan
from bakeoff.errors import MatrixError
from bakeoff.matrix import load_matrix

ROW = "models:\n  a: {model: 'tiny:qwen2', model_type: qwen2, template: qwen2_5, tune: false, suites: [s]}\n"


def complaints(tmp_path: Path, suite: str, data_dir: Path | None = None) -> list[str]:
    path = tmp_path / "matrix.yaml"
    path.write_text(f"{ROW}suites:\n  s: {{{suite}}}\n", encoding="utf-8")
    matrix = load_matrix(path)
    try:
        plan.check(matrix, data_dir)
    except MatrixError as error:
        return error.complaints
    return []


def test_a_path_that_is_not_there_does_not_hide_the_other_mistakes(tmp_path: Path) -> None:
    (tmp_path / "exams").mkdir()
    suite = f"benchmark: pceb_mcq, data: {tmp_path}/exam, few_shot: 2, metric: elastic"
    found = complaints(tmp_path, suite)
    assert len(found) == 3
    assert "few_shot" in found[0]
    assert "is it 'elastic_accuracy'" in found[1]
    assert "is it 'exams'" in found[2]


@pytest.mark.parametrize("where", ["hub: false, data: 'data:pceb'", "hub: false"])
def test_settings_are_checked_also_where_the_data_are_absent(where: str, tmp_path: Path) -> None:
    assert "is it 'pceb_mcq'" in complaints(tmp_path, f"benchmark: pceb_mcqq, {where}")[0]
    assert (
        "'temprature'" in complaints(tmp_path, f"benchmark: ceval, generation: {{temprature: 1}}, {where}")[0]
    )
    assert "is it 'logic'" in complaints(tmp_path, f"benchmark: ceval, subsets: [logics], {where}")[0]
    assert complaints(tmp_path, f"benchmark: pceb_mcq, {where}") == []


def test_a_data_folder_that_lacks_a_suite_is_no_mistake_but_a_mistyped_name_is(tmp_path: Path) -> None:
    (tmp_path / "counsellor").mkdir()
    assert complaints(tmp_path, "benchmark: pceb_mcq, data: 'data:other'", tmp_path) == []
    assert (
        "is it 'counsellor'"
        in complaints(tmp_path, "benchmark: pceb_mcq, data: 'data:counselor'", tmp_path)[0]
    )


def test_a_shipped_folder_that_we_do_not_ship_is_a_mistake(tmp_path: Path) -> None:
    assert "is it 'psyqa'" in complaints(tmp_path, "benchmark: psyqa, data: 'shipped:psyqaa'")[0]
