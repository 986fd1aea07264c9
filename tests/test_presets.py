"""The groups and models that a matrix of one's own need not repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bakeoff.doctor.doctor import presets_taken
from bakeoff.matrix.loading import load_matrix, parse_matrix
from bakeoff.matrix.presets import presets
from bakeoff.matrix.schema import ModelSpec

ROOT = Path(__file__).parents[1]
SHIPPED = load_matrix(ROOT / "model_matrix.yaml").models


def settings(spec: ModelSpec) -> dict[str, Any]:
    """What a row runs with, apart from what it trains on, is asked, and is tracked by."""
    found = spec.model_dump(exclude={"name", "dataset", "suites"})
    del found["training"]["tracker"]
    return found


def one_row(**row: object) -> ModelSpec:
    suites = {"exam": {"benchmark": "ceval"}}
    return parse_matrix(
        {"models": {"mine": {"dataset": ["me/data"], **row, "suites": ["exam"]}}, "suites": suites}
    ).models["mine"]


@pytest.mark.parametrize("name", [name for name, spec in SHIPPED.items() if spec.group == "full"])
def test_a_matrix_of_one_row_runs_with_the_settings_of_the_shipped_one(name: str) -> None:
    assert settings(one_row(model=SHIPPED[name].model)) == settings(SHIPPED[name])


def test_the_tiny_rows_need_only_their_group() -> None:
    tiny = SHIPPED["tiny-qwen2"]
    row = one_row(group="smoke", model=tiny.model, model_type="qwen2", template="qwen2_5")
    assert settings(row) == settings(tiny)


def test_every_known_model_is_a_row_of_the_shipped_matrix() -> None:
    shipped = {(spec.model or "").lower() for spec in SHIPPED.values() if spec.group == "full"}
    assert set(presets()["models"]) == shipped


def test_what_the_file_says_comes_before_what_is_built_in() -> None:
    qwen = {"model": "Qwen/Qwen2.5-7B-Instruct", "dataset": ["me/data"]}
    raw = {"defaults": {"training": {"learning_rate": 1e-5}}, "models": {"a": qwen}}
    assert parse_matrix(raw).models["a"].training.learning_rate == 1e-5
    raw = {"groups": {"full": {}}, "models": {"a": {**qwen, "model_type": "qwen2", "template": "qwen2_5"}}}
    assert parse_matrix(raw).models["a"].serving.engine == "transformers"


def test_a_row_that_starts_from_the_built_in_group_of_the_card_is_told_so() -> None:
    other = {"model": "me/mine", "model_type": "llama", "template": "llama3", "dataset": ["me/data"]}
    matrix = parse_matrix(
        {"models": {"a": {**other, "group": "full"}, "b": other, "c": {**other, "group": "full"}}}
    )
    (note,) = presets_taken(["a", "b", "c"], matrix)
    assert (note.level, note.rows or note.place) == ("note", ("a", "c"))
    assert "built-in group 'full': a card with 70 GiB free, lmdeploy" in note.what
    own = parse_matrix({"groups": {"full": {}}, "models": {"a": {**other, "group": "full"}}})
    assert presets_taken(["a"], own) == []


def test_another_dense_model_trains_in_packs_and_other_rows_are_left_alone() -> None:
    other = {"model": "me/mine", "model_type": "llama", "template": "llama3"}
    assert one_row(group="full", **other).training.packing
    assert not one_row(group="full", **{**other, "model_type": "gpt_oss"}).training.packing
    assert one_row(**other).on_cpu
    assert one_row(url="http://127.0.0.1:1/v1", served_model="m").needs.gpu_memory_gib == 0
