"""Rows with ``weights_of``: trained once under the lender's name, served in their own way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bakeoff.chain.chain import Bench, Chain
from bakeoff.foundation.errors import MatrixError
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import parse_matrix
from bakeoff.matrix.schema import Matrix
from bakeoff.runs import plan
from tests.chains import ROW, SUITE


def matrix_of(**rows: dict[str, Any]) -> Matrix:
    return parse_matrix({"models": rows, "suites": {"exam": SUITE}})


def test_what_decides_the_weights_is_the_lenders_and_how_they_are_served_is_its_own(tmp_path: Path) -> None:
    merged_by_default = {**ROW, "seeds": 2}
    matrix = matrix_of(
        apart={"weights_of": "tiny", "serving": {"way": "adapter"}, "evaluate": ["tuned"]},
        tiny=merged_by_default,
    )
    assert list(matrix.models) == ["apart", "tiny", "tiny.seed43"]
    apart, tiny = (
        Chain(matrix.models[name], Bench.at_rest(matrix, Workspace(tmp_path))) for name in ("apart", "tiny")
    )
    stages = {name: list(chain.stages()) for name, chain in (("apart", apart), ("tiny", tiny))}
    training = {
        name: [(s.row, s.folder) for s in every if s.name in ("train", "export")]
        for name, every in stages.items()
    }
    assert training["apart"] == training["tiny"]
    assert [row for row, _ in training["apart"]] == ["tiny", "tiny"]
    assert {s.row for s in stages["apart"]} == {"apart", "tiny"}
    assert (apart.spec.serving.way, tiny.spec.serving.way) == ("adapter", "merged")
    assert apart.spec.variants == ("tuned",)
    served = {chain.spec.served_name("tuned") for chain in (apart, tiny)}
    assert served == {"apart-sft", "tiny-sft"}


def test_a_dry_run_trains_once_and_also_where_the_lender_is_not_asked(tmp_path: Path) -> None:
    matrix = matrix_of(tiny=ROW, apart={"weights_of": "tiny", "serving": {"way": "adapter"}})
    lines = {
        rows: "\n".join(plan.dry_run(matrix, rows, Workspace(tmp_path), None))
        for rows in (("tiny", "apart"), ("apart",))
    }
    assert [text.count("swift.cli.sft") for text in lines.values()] == [1, 1]
    assert "# trained and merged as tiny, above" in lines["tiny", "apart"]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"weights_of": "tinny"}, "weights_of: 'tinny' is not known; is it 'tiny'"),
        ({"weights_of": "other"}, "weights_of: 'other' is not known; known: tiny, lent, untuned"),
        ({"weights_of": ["tiny"]}, "weights_of: .* is not known"),
        ({"weights_of": "lent"}, "weights_of: 'lent' has the weights of 'tiny'; name that row here"),
        ({"weights_of": "untuned"}, "weights_of: 'untuned' trains nothing"),
        ({"weights_of": "tiny", "training": {"epochs": 9}}, "training: the weights are those of 'tiny'"),
        ({"weights_of": "tiny", "model": "tiny:qwen2"}, "model: the weights are those of 'tiny'"),
        (
            {"weights_of": "tiny", "environment": {"train": "x"}},
            "environment.train: the training is that of 'tiny'",
        ),
    ],
)
def test_a_row_that_borrows_what_it_cannot_is_refused_in_one_sentence(row: dict[str, Any], why: str) -> None:
    with pytest.raises(MatrixError, match=f"1 mistake.*\n- other[.]{why}"):
        matrix_of(tiny=ROW, lent={"weights_of": "tiny"}, untuned={**ROW, "tune": False}, other=row)
