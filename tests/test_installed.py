import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bakeoff.environments.building import PythonEnvironment, running_environment
from bakeoff.environments.compiled import with_caches
from bakeoff.environments.installed import (
    Installed,
    cache_file,
    check_command,
    installed,
    names_in_source,
    nearest,
)
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import ToolError

ROOT = Path(__file__).parents[1]
STORE = Path(os.environ.get("BAKEOFF_STORE", ROOT / "store"))


@pytest.fixture(scope="module")
def here() -> Installed:
    pytest.importorskip("swift.version", reason="ms-swift is not installed")
    return installed(running_environment(), STORE / "cache")


def line(stage: str, text: str) -> Command:
    return Command(("python", "-m", f"swift.cli.{stage}", *text.split()))


GUIDE_2_1 = (
    "--model Qwen/Qwen2.5-7B-Instruct --model_type qwen2_5 --template qwen2_5 --train_type lora --dataset d "
    "--torch_dtype bfloat16 --max_length 3072 --packing true --gradient_checkpointing true "
    "--per_device_train_batch_size 8 --gradient_accumulation_steps 4 --learning_rate 2e-4 --num_train_epochs 1 "
    "--warmup_ratio 0.1 --save_steps 200 --save_total_limit 3 --logging_steps 20 --output_dir o --report_to swanlab "
    "--swanlab_project p --swanlab_mode cloud --swanlab_exp_name e --attn_impl flash_attn"
)


def test_the_guides_training_line_is_refused_for_its_two_outdated_words(here):
    assert check_command(line("sft", GUIDE_2_1), here) == [
        f"swift sft of ms-swift {here.swift}: --model_type qwen2_5 is not known; is it qwen2?",
        f"swift sft of ms-swift {here.swift}: --train_type is not known; is it --tuner_type?",
    ]


def test_the_guides_training_line_with_todays_words_is_accepted(here):
    today = GUIDE_2_1.replace("--model_type qwen2_5", "--model_type qwen2").replace(
        "train_type", "tuner_type"
    )
    assert check_command(line("sft", today), here) == []


@pytest.mark.parametrize(
    ("stage", "said", "meant"),
    [
        ("sft", "--template chatglm3", "is it chatglm4?"),
        ("sft", "--template baichuan2", "is it baichuan?"),
        ("sft", "--swanlab_mode offline", "--swanlab_mode offline is not known"),
        ("sft", "--lerning_rate 8", "is it --learning_rate?"),
        ("export", "--ckpt_dir x", "is it --adapters?"),
        ("deploy", "--model_dir x", "is it --model?"),
        ("deploy", "--tp 1", "is it --lmdeploy_tp?"),
        ("deploy", "--session-len 4096", "is it --lmdeploy_session_len?"),
        ("deploy", "--cache-max-entry-count 0", "is it --lmdeploy_cache_max_entry_count?"),
        ("deploy", "--infer_backend tranformers", "is it transformers?"),
    ],
)
def test_a_word_that_ms_swift_does_not_know_is_named_with_the_nearest_that_it_does(here, stage, said, meant):
    (complaint,) = check_command(line(stage, said), here)
    assert meant in complaint
    assert f"swift {stage}" in complaint


def test_abbreviations_dashes_and_equals_signs_are_read_as_argparse_reads_them(here):
    assert (
        check_command(line("deploy", "--served-model-name x --infer_backend=pt --served_model y"), here) == []
    )


def test_commands_of_other_tools_are_not_judged(here):
    assert check_command(Command(("lmdeploy", "serve", "api_server", "m", "--no-such-flag")), here) == []


def test_a_model_is_recognised_by_the_last_part_of_its_name(here):
    assert here.recognised("/weights/Qwen2.5-7B-Instruct/") == ("qwen2", "qwen2_5")
    assert here.recognised("/weights/mine") is None


def test_the_source_names_what_the_import_registers(here):
    names = names_in_source(running_environment().python)
    assert names is not None
    assert set(here.model_types) <= names["model_type"]
    assert set(here.templates) <= names["template"]


def test_the_answer_is_kept_until_ms_swift_changes(here, tmp_path):
    environment = running_environment()
    source = cache_file(environment, STORE / "cache")
    kept = cache_file(environment, tmp_path)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(source.read_bytes())
    unrunnable = PythonEnvironment("x", Path("/nowhere/python"), "3.11", environment.versions, "x")
    assert installed(environment, tmp_path) == here
    assert cache_file(unrunnable, tmp_path) != kept


def test_an_environment_without_ms_swift_is_named(tmp_path):
    empty = PythonEnvironment("bare", Path("/nowhere/python"), "3.11", {}, "x")
    with pytest.raises(
        ToolError, match=r"'bare' .* has no ms-swift: add a version of it to environments\.bare"
    ):
        installed(empty, tmp_path)


def test_the_closest_spelling_is_offered_only_where_it_is_close():
    assert nearest("lora_rnk", ["lora_rank", "seed"]) == "lora_rank"
    assert nearest("zzz", ["lora_rank", "seed"]) is None


def test_an_engine_starts_from_what_another_model_of_its_architecture_has_compiled(tmp_path):
    models = [tmp_path / row / "served" for row in ("one", "two")]
    for model in models:
        model.mkdir(parents=True)
    begin = ("python", "-m", "vllm.entrypoints.openai.api_server", "--port", "1", "--model")
    line, other = (Command((*begin, str(model))) for model in models)
    first, second = (with_caches(each, "vllm", tmp_path / "c", {}) for each in (line, other))
    assert first.argv == second.argv, "vLLM looks by the path as it is written"
    assert first.env == second.env
    assert [each.cwd for each in (first, second)] == [model.parent for model in models]
    assert Path(first.env["VLLM_CACHE_ROOT"]).is_relative_to(tmp_path / "c")
    shown = subprocess.run(
        ["sh", "-c", str(replace(first, argv=("pwd",)))], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == str(models[0].parent), "the pasted line starts in the same folder"
    # what somebody has chosen stays, a hub's id is no folder, and other engines do not look by the path
    assert "VLLM_CACHE_ROOT" not in with_caches(line, "vllm", tmp_path, {"VLLM_CACHE_ROOT": "/mine"}).env
    hub = Command((*begin, "Qwen/Qwen2.5-7B"))
    assert with_caches(hub, "vllm", tmp_path, {}).argv == hub.argv
    assert with_caches(line, "lmdeploy", tmp_path, {}).argv == line.argv
    assert with_caches(line, "transformers", tmp_path, {}) == line
