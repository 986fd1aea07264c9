import json
from pathlib import Path

import pytest

from bakeoff.matrix.loading import load_matrix
from bakeoff.matrix.schema import ModelSpec
from bakeoff.matrix.settings import Training
from bakeoff.tools.memory import TABLE_8_1, Shape, disk_gib, ladder, serving_gib, shape_of, training_gib

ROOT = Path(__file__).parents[1]
QWEN = shape_of("Qwen/Qwen2.5-7B-Instruct")
assert QWEN


def test_the_ladder_takes_the_fused_loss_before_it_touches_the_batch():
    rungs = [(t.fused_loss, t.batch_size, t.gradient_accumulation) for t in ladder(Training())]
    assert rungs == [(True, 8, 4), (True, 4, 8), (True, 2, 16), (True, 1, 32)]


@pytest.mark.parametrize(("batch", "accumulation"), [(8, 4), (6, 6), (5, 3), (1, 16), (7, 1)])
def test_every_rung_keeps_the_effective_batch_and_the_ladder_ends_at_one(batch, accumulation):
    training = Training(batch_size=batch, gradient_accumulation=accumulation)
    rungs = list(ladder(training))
    assert {rung.effective_batch for rung in rungs} == {training.effective_batch}
    assert rungs[-1].batch_size == 1
    assert [r.batch_size for r in rungs] == sorted((r.batch_size for r in rungs), reverse=True)


def test_the_ladder_of_a_model_that_no_fused_loss_knows_begins_with_the_batch():
    rungs = [(t.fused_loss, t.batch_size) for t in ladder(Training(), fused_loss=False)]
    assert rungs == [(False, 4), (False, 2), (False, 1)]


def test_recomputation_comes_before_a_smaller_batch():
    first, second, *_ = ladder(Training(gradient_checkpointing=False))
    assert (first.fused_loss, first.gradient_checkpointing) == (True, False)
    assert (second.gradient_checkpointing, second.batch_size) == (True, 8)


def test_nothing_is_left_to_try_at_the_bottom():
    assert list(ladder(Training(fused_loss=True, batch_size=1, gradient_accumulation=32))) == []


@pytest.mark.parametrize(
    ("changes", "measured_gib"),
    [
        ({}, 134.5),
        ({"fused_loss": True}, 36.6),
        ({"fused_loss": True, "attention": "flash_attention_4", "gradient_accumulation": 1}, 30.1),
        (
            {
                "fused_loss": True,
                "attention": "flash_attention_4",
                "batch_size": 4,
                "gradient_accumulation": 2,
                "gradient_checkpointing": False,
            },
            91.4,
        ),
    ],
)
def test_the_estimate_is_within_a_tenth_of_what_was_measured_on_an_h200(changes, measured_gib):
    assert training_gib(QWEN, Training(**changes)) == pytest.approx(measured_gib, rel=0.1)


@pytest.mark.parametrize(("pack", "measured_gib"), [(12288, 65.9), (8704, 50.8)])
def test_the_estimate_of_the_shipped_row_is_within_a_twentieth_of_what_was_measured(pack, measured_gib):
    shipped = load_matrix(ROOT / "model_matrix.yaml").models["qwen2.5-7b"].training
    training = shipped.model_copy(update={"extra": {**shipped.extra, "packing_length": pack}})
    assert training_gib(QWEN, training) == pytest.approx(measured_gib, rel=0.05)
    in_8_bits = training.model_copy(update={"plugins": (*training.plugins, "frozen_fp8")})
    more = training_gib(QWEN, in_8_bits) - training_gib(QWEN, training)
    assert more == pytest.approx(78.6 - 66.2, rel=0.05), (
        "with 12,288 it was measured, and packs do not matter"
    )


def test_every_rung_needs_less_than_the_one_before():
    needs = [training_gib(QWEN, t) for t in (Training(), *ladder(Training()))]
    assert needs == sorted(needs, reverse=True)
    assert len(set(needs)) == len(needs)


def test_the_guides_batches_are_those_of_its_table():
    assert [(line.batch_size, line.gradient_accumulation, line.effective_batch) for line in TABLE_8_1] == [
        (8, 4, 32),
        (6, 6, 36),
        (1, 16, 16),
        (1, 32, 32),
    ]


def test_a_shape_is_read_from_a_folder(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "hidden_size": 3584,
                "num_hidden_layers": 28,
                "intermediate_size": 18944,
                "vocab_size": 152064,
                "num_attention_heads": 28,
            }
        )
    )
    shape = shape_of(str(tmp_path))
    assert shape
    assert shape.hidden == QWEN.hidden
    assert shape.parameters == pytest.approx(QWEN.parameters, rel=0.15)


def test_an_unknown_model_has_no_shape(tmp_path):
    assert shape_of("somebody/something") is None
    (tmp_path / "config.json").write_text("{}")
    assert shape_of(str(tmp_path)) is None


def test_disk_holds_base_and_merged_weights_and_checkpoints():
    row = ModelSpec(name="q", model="Qwen/Qwen2.5-7B-Instruct", dataset=("a/b",))
    assert 14 < disk_gib(QWEN, row, "base") == disk_gib(QWEN, row, "export") < 15
    assert 0.5 < disk_gib(QWEN, row, "train") < 4
    assert 14 < serving_gib(QWEN, row) < 20


def test_several_cards_share_the_batch_and_where_they_must_the_weights() -> None:
    large = Shape(32.8e9, 5120, 64, 27648, 152064, 40)
    training = Training(batch_size=4, gradient_accumulation=8, fused_loss=True)
    alone = training_gib(large, training)
    assert alone > 80  # a row of this size does not fit one card of 80 GB
    assert training_gib(large, training, 2) == pytest.approx(
        alone
    )  # whole on each card, and the batch is no smaller
    halves = training_gib(large, training, 2, sharded=True)
    assert alone - halves == pytest.approx(32.8e9 * (2 - 1 - 4 / 64) / 2**30, abs=1)
    assert training_gib(large, training, 4, sharded=True) < halves < 80
