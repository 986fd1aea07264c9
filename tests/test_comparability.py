from typing import Any

from bakeoff.doctor.comparability import differences, has_dated_prompt, why_not_comparable
from bakeoff.matrix.schema import ModelSpec
from bakeoff.matrix.settings import Serving, Training


def row(name: str, *, serving: dict[str, Any] | None = None, **training: Any) -> ModelSpec:
    return ModelSpec(
        name=name,
        model="m",
        dataset=("a/b",),
        training=Training(**training),
        serving=Serving(**serving or {}),
    )


def test_rows_trained_and_served_alike_have_no_differences():
    assert differences([row("a"), row("b"), row("c")]) == []


def test_a_different_effective_batch_is_named_with_its_rows_and_what_the_guide_meant():
    (found,) = differences([row("a"), row("b"), row("big", batch_size=6, gradient_accumulation=6)])
    assert found.aspect == "effective batch"
    assert found.values == {"32 dialogues": ("a", "b"), "36 dialogues": ("big",)}
    assert "36 for 8B" in found.intended


def test_the_same_effective_batch_in_other_pieces_is_no_difference():
    assert differences([row("a"), row("b", batch_size=4, gradient_accumulation=8)]) == []


def test_every_condition_that_the_guide_shares_is_compared():
    changed = row(
        "b",
        serving={"session_len": 2048, "engine": "vllm", "way": "adapter"},
        learning_rate=1e-4,
        epochs=2,
        max_length=2048,
        lora_rank=16,
        lora_alpha=64,
        target_modules=("q_proj",),
        warmup_ratio=0.05,
        dtype="float16",
        seed=1,
        batch_size=4,
        validation_share=0.1,
        packing=True,
    )
    other = changed.model_copy(update={"dataset": ("c/d",)})
    found = {one.aspect for one in differences([row("a", serving={"session_len": 4096}), other])}
    assert found == {
        "effective batch",
        "learning rate",
        "warmup",
        "epochs",
        "max length",
        "packing",
        "held-out share",
        "LoRA rank",
        "LoRA alpha",
        "LoRA targets",
        "precision",
        "seed",
        "dataset",
        "token budget (prompt and reply)",
        "serving engine",
        "way of serving",
    }


def test_a_row_that_is_not_trained_is_not_compared_by_its_training():
    assert differences([row("a"), row("b", learning_rate=1.0).model_copy(update={"tune": False})]) == []


def test_default_system_prompts_and_trainers_are_compared_where_known():
    found = differences(
        [row("a"), row("b"), row("c")],
        default_systems={"a": "You are Qwen.", "b": None, "c": ""},
        trainers={"a": "4.6.0", "b": "3.0.3"},
    )
    assert {one.aspect: dict(one.values) for one in found} == {
        "template's default system prompt": {"none": ("b", "c"), "'You are Qwen.'": ("a",)},
        "ms-swift": {"4.6.0": ("a",), "3.0.3": ("b",)},
    }


def test_the_text_for_a_strict_run_names_every_difference_and_the_guides_intention():
    text = why_not_comparable(differences([row("a"), row("b", learning_rate=1e-4, seed=7)]))
    assert text.splitlines() == [
        "- learning rate: 0.0002 (a); 0.0001 (b)",
        "  the guide: 2e-4 for all but GPT-OSS-20B, 1e-4 (guide 2.6)",
        "- seed: 42 (a); 7 (b)",
    ]
    assert why_not_comparable([]) == ""


def test_templates_that_print_the_date_are_known():
    assert has_dated_prompt("llama3_2")
    assert has_dated_prompt("gpt_oss")
    assert not has_dated_prompt("llama3")
    assert not has_dated_prompt(None)
