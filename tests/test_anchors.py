from __future__ import annotations

import math
from pathlib import Path

import pytest

from bakeoff.evalscope import known_benchmarks, known_subsets
from bakeoff.matrix.loading import load_matrix
from bakeoff.scoring.anchors import anchor_warning, anchors, beside_published


def test_every_anchor_names_a_benchmark_its_protocol_and_its_source() -> None:
    for anchor in anchors():
        assert anchor.benchmark in known_benchmarks()
        assert len(known_subsets(anchor.benchmark, None)) == anchor.subsets
        assert 0.25 < anchor.value < 1
        assert anchor.protocol
        assert anchor.source


QWEN = next(one for one in anchors() if "qwen2.5-7b-instruct" in one.models)


@pytest.mark.parametrize(
    ("value", "n", "said"),
    [
        (0.758, 1000, ""),
        (0.70, 1000, ""),
        (0.55, 1000, "look at the chat template"),
        (0.55, 10, ""),  # ten questions say too little
        (0.95, 1000, "leaked"),
        (math.nan, 1000, ""),
    ],
)
def test_only_a_difference_beyond_tolerance_and_sampling_error_warns(value: float, n: int, said: str) -> None:
    warning = anchor_warning(QWEN, value, n)
    assert (said in warning) if said else warning == ""


def result(subsets: int, value: float | None = 0.4) -> dict[str, object]:
    return {
        "suite": "cmmlu",
        "benchmark": "cmmlu",
        "selected": {f"s{i}": 3 for i in range(subsets)},
        "few_shot": 5,
        "scores": [
            {"metric": "accuracy", "value": 0.6, "n_judged": 201},
            {"metric": "accuracy_macro", "value": value, "n_judged": 201},
        ],
    }


def test_a_whole_run_of_a_known_model_is_shown_beside_its_published_score() -> None:
    rows = beside_published("Qwen/Qwen2.5-7B-Instruct", [result(67)], model="qwen")
    assert [(row["model"], row["ours"], row["published"]) for row in rows] == [("qwen", 0.4, 0.758)]
    assert rows[0]["protocol"].endswith("ours is 5-shot")
    assert "0-shot, OpenCompass; mean of subjects" in rows[0]["protocol"]
    assert "far below" in rows[0]["warning"]


def test_where_the_source_does_not_say_what_it_averages_ours_is_over_questions() -> None:
    rows = beside_published("LLM-Research/Meta-Llama-3.1-8B-Instruct", [result(67)], model="llama")
    assert [row["ours"] for row in rows] == [0.6]
    assert "ours over questions; ours is 5-shot" in rows[0]["protocol"]


def test_every_anchor_is_of_a_model_in_the_shipped_matrix() -> None:
    matrix = load_matrix(Path(__file__).parent.parent / "model_matrix.yaml")
    rows = {Path(spec.model or "").name.lower() for spec in matrix.models.values()}
    assert all(rows & set(anchor.models) for anchor in anchors())


def test_parts_of_a_benchmark_tuned_and_unknown_models_have_no_anchor() -> None:
    assert beside_published("Qwen/Qwen2.5-7B-Instruct", [result(1)], model="qwen") == []
    assert beside_published("Qwen/Qwen2.5-7B-Instruct", [result(67)], model="qwen", variant="tuned") == []
    assert beside_published("tiny:qwen2", [result(67)], model="tiny") == []


def test_no_score_is_no_warning() -> None:
    assert beside_published("Qwen2.5-7B-Instruct", [result(67, None)], model="q")[0]["warning"] == ""
