"""The command lines of ms-swift, held beside the guide's sections."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import get_args

import pytest

from bakeoff.execution.gpus import count_of
from bakeoff.foundation.command import Command
from bakeoff.matrix import rows
from bakeoff.matrix.loading import load_matrix
from bakeoff.matrix.schema import ModelSpec
from bakeoff.matrix.settings import Engine
from bakeoff.tools import checkpoints, engines, swift
from bakeoff.tools.memory import ladder
from tests.chains import ROW, Tiny
from tests.forking import Forks

ROOT = Path(__file__).parents[1]
MODELS = load_matrix(ROOT / "model_matrix.yaml").models


def words(line: object) -> dict[str, str]:
    parts = str(line).split()
    return {part: after for part, after in zip(parts, [*parts[1:], ""], strict=True) if part.startswith("--")}


def test_training_line_of_the_guides_qwen_says_what_section_2_1_says() -> None:
    line = swift.sft(MODELS["qwen2.5-7b"], base="Qwen/Qwen2.5-7B-Instruct", output=Path("/out"))
    assert "python -m swift.cli.sft --model Qwen/Qwen2.5-7B-Instruct --model_type qwen2" in str(line)
    said = words(line)
    guide = {
        "--template": "qwen2_5",
        "--tuner_type": "lora",  # the guide's --train_type, renamed in ms-swift 4
        "--dataset": "CodyWhy/mh-sharegpt-20250820",
        "--torch_dtype": "bfloat16",
        "--max_length": "3072",
        "--packing": "true",
        "--attn_impl": "flash_attn",
        "--gradient_accumulation_steps": "4",
        "--learning_rate": "0.0002",
        "--num_train_epochs": "1",
        "--warmup_ratio": "0.1",
        "--save_steps": "200",
        "--save_total_limit": "3",
        "--logging_steps": "20",
        "--output_dir": "/out",
        "--report_to": "swanlab",
        "--swanlab_project": "multi-model-psychology",
        "--swanlab_mode": "cloud",
    }
    assert {flag: said.get(flag) for flag in guide} == guide


def test_training_line_of_llama_differs_from_qwens_by_the_shape_of_its_packs() -> None:
    qwen, llama = (
        words(swift.sft(MODELS[name], base="m", output=Path("/out")))
        for name in ("qwen2.5-7b", "llama3.1-8b")
    )
    own = (
        "--model_type",
        "--template",
        "--swanlab_exp_name",
        "--packing_length",
        "--gradient_accumulation_steps",
    )
    assert {flag: said for flag, said in llama.items() if said != qwen[flag]}.keys() == set(own)
    assert (llama["--packing_length"], llama["--gradient_accumulation_steps"]) == ("10752", "5")


def test_training_line_of_gpt_oss_says_what_section_2_6_says() -> None:
    said = words(swift.sft(MODELS["gpt-oss-20b"], base="openai-mirror/gpt-oss-20b", output=Path("/out")))
    guide = {
        "--router_aux_loss_coef": "0.001",
        "--learning_rate": "0.0001",
        "--lora_rank": "8",
        "--lora_alpha": "32",
        "--target_modules": "all-linear",
        "--per_device_train_batch_size": "1",
        "--per_device_eval_batch_size": "1",
        "--gradient_accumulation_steps": "2",  # packs of 12,288: the guide's 16 dialogues
        "--packing_length": "12288",
        "--attn_impl": "flash_attn",
        "--eval_steps": "50",
        "--save_steps": "50",
        "--save_total_limit": "2",
        "--logging_steps": "5",
        "--max_length": "2048",
        "--warmup_ratio": "0.05",
        "--dataloader_num_workers": "4",
    }
    assert {flag: said.get(flag) for flag in guide} == guide


def test_outputs_land_where_they_are_looked_for() -> None:
    said = words(swift.sft(MODELS["qwen2.5-7b"], base="m", output=Path("/out")))
    assert said["--add_version"] == "false"


def test_no_line_carries_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWANLAB_API_KEY", "s3cret-value")
    assert "s3cret" not in str(swift.sft(MODELS["qwen2.5-7b"], base="m", output=Path("/o")))
    assert "token" not in str(swift.sft(MODELS["qwen2.5-7b"], base="m", output=Path("/o")))


def test_export_merges_as_section_3_does() -> None:
    line = swift.export(MODELS["qwen2.5-7b"], checkpoint=Path("/c"), base="m", output=Path("/e"))
    said = words(line)
    assert str(line).startswith("python -m swift.cli.export ")
    assert (said["--adapters"], said["--merge_lora"], said["--max_shard_size"]) == ("/c", "true", "2GB")
    assert (said["--safe_serialization"], said["--output_dir"]) == ("true", "/e")


def test_the_merge_and_the_service_do_not_want_the_attention_that_only_the_training_has() -> None:
    packed = MODELS["qwen2.5-7b"]
    assert words(swift.sft(packed, base="m", output=Path("/o")))["--attn_impl"] == "flash_attn"
    assert (
        words(swift.export(packed, checkpoint=Path("/c"), base="m", output=Path("/e")))["--attn_impl"]
        == "sdpa"
    )
    for adapter in (None, Path("/c")):
        line = swift.deploy(packed, model="/e", served_name="m", port=8000, adapter=adapter)
        assert words(line)["--attn_impl"] == "sdpa"


def test_a_model_with_attention_sinks_is_merged_and_served_with_eager_attention() -> None:
    training = MODELS["qwen2.5-7b"].training.model_copy(
        update={"plugins": ("packed_rows", "attention_sinks")}
    )
    packed = MODELS["qwen2.5-7b"].model_copy(update={"training": training})
    line = swift.export(packed, checkpoint=Path("/c"), base="m", output=Path("/e"))
    assert words(line)["--attn_impl"] == "eager"


@pytest.mark.slow
def test_a_checkpoint_of_packed_rows_is_merged_where_nobody_lends_it_flash_attention(
    tiny: Tiny, tmp_path: Path, forks: Forks
) -> None:
    checkpoint = shutil.copytree(tiny.chain().train().path, tmp_path / "checkpoint")
    told = json.loads((checkpoint / "args.json").read_text())
    told |= {
        "attn_impl": "flash_attn",
        "external_plugins": [str(Path(swift.__file__).parents[1] / "plugins" / "packed_rows.py")],
    }
    (checkpoint / "args.json").write_text(json.dumps(told))
    training = {**ROW["training"], "attention": "flash_attn", "packing": True, "plugins": ["packed_rows"]}
    spec = tiny.spec(training=training)
    base = tiny.chain().base_path()
    line = swift.export(
        spec, checkpoint=checkpoint, base=base, output=tmp_path / "merged", python=sys.executable
    )
    forks.run_line(line.argv[1:], **line.env)
    assert not checkpoints.why_truncated(next((tmp_path / "merged").glob("*.safetensors")))


def test_the_guides_engine_is_its_own_server_on_merged_weights() -> None:
    line = engines.serve(MODELS["qwen2.5-7b"], model="/e", served_name="qwen2.5-7b-sft", port=8000)
    assert "-m lmdeploy serve api_server /e --model-name qwen2.5-7b-sft --server-name 127.0.0.1" in str(line)
    assert words(line)["--session-len"] == "4096"
    assert (
        words(engines.serve(MODELS["gpt-oss-20b"], model="/e", served_name="x", port=1))["--session-len"]
        == "2048"
    )


def test_the_matrix_takes_the_engines_that_there_are() -> None:
    assert set(get_args(Engine)) == {"transformers", *engines.SERVERS}


@pytest.mark.parametrize("engine", get_args(Engine))
def test_every_engine_binds_to_the_loopback_interface(engine: str) -> None:
    row = MODELS["qwen2.5-7b"]
    spec = row.model_copy(update={"serving": row.serving.model_copy(update={"engine": engine})})
    assert "127.0.0.1" in engines.serve(spec, model="/m", served_name="n", port=8000).argv


def test_way_a_gives_the_adapter_to_an_engine_that_loads_it() -> None:
    spec = MODELS["tiny-qwen2"]
    line = engines.serve(spec, model="/base", adapter=Path("/lora"), served_name="n", port=8000)
    assert words(line)["--adapters"] == "/lora"
    assert words(line)["--model"] == "/base"


def test_several_front_ends_of_vllm_need_its_own_command() -> None:
    row = MODELS["qwen2.5-7b"]

    def line(**extra: int) -> Command:
        serving = row.serving.model_copy(update={"engine": "vllm", "way": "adapter", "extra": extra})
        spec = row.model_copy(update={"serving": serving})
        return engines.serve(spec, model="/base", adapter=Path("/lora"), served_name="n", port=8000)

    one, several = line(), line(**{"api-server-count": 4})
    assert "-m vllm.entrypoints.openai.api_server --model /base --served-model-name" in str(one)
    assert "-m vllm.entrypoints.cli.main serve /base --served-model-name" in str(several)
    assert several.argv[-2:] == ("--api-server-count", "4")
    assert several.argv[5:-2] == one.argv[5:], "and all else stays"


def test_vllm_is_given_room_for_the_rank_of_the_adapter(tmp_path: Path) -> None:
    row = MODELS["qwen2.5-7b"]
    training = row.training.model_copy(update={"lora_rank": 48})
    serving = row.serving.model_copy(update={"engine": "vllm", "way": "adapter"})
    spec = row.model_copy(update={"training": training, "serving": serving})

    def rank(spec: ModelSpec, adapter: Path | None) -> str | None:
        line = engines.serve(spec, model="/base", adapter=adapter, served_name="n", port=1)
        return line.value_of("--max-lora-rank")

    (tmp_path / "adapter_config.json").write_text('{"r": 8, "rank_pattern": {"q_proj": 100}}')
    assert rank(spec, Path("/lora")) == "64"
    assert rank(spec.model_copy(update={"adapter": str(tmp_path)}), tmp_path) == "128"
    assert rank(spec, None) is None


def checkpoint(folder: Path, step: int) -> Path:
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": 20}))
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (made / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    for name in ("optimizer.pt", "scheduler.pt"):
        with zipfile.ZipFile(made / name, "w") as archive:
            archive.writestr("data", b"x" * 100)
    return made


def test_newest_whole_checkpoint_is_found_by_number_not_by_name(tmp_path: Path) -> None:
    for step in (9, 10, 2):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-10-merged").mkdir()
    found = checkpoints.last_checkpoint(tmp_path)
    assert found
    assert found.name == "checkpoint-10"


@pytest.mark.parametrize(
    "name", ["trainer_state.json", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt"]
)
def test_a_checkpoint_that_a_kill_cut_short_is_passed_over(tmp_path: Path, name: str) -> None:
    checkpoint(tmp_path, 10)
    torn = checkpoint(tmp_path, 20) / name
    torn.write_bytes(torn.read_bytes()[:-5])
    found = checkpoints.last_checkpoint(tmp_path)
    assert found
    assert found.name == "checkpoint-10"
    assert name in checkpoints.why_incomplete(tmp_path / "checkpoint-20")


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoints.last_checkpoint(tmp_path / "nowhere") is None


def test_weights_that_lack_a_shard_are_broken(tmp_path: Path) -> None:
    assert "no config.json" in checkpoints.why_weights_broken(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    header = b"{}"
    (tmp_path / "model-1.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert checkpoints.why_weights_broken(tmp_path) == ""
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks model-2.safetensors" in checkpoints.why_weights_broken(tmp_path)


def test_training_facts_count_a_resumed_step_once(tmp_path: Path) -> None:
    checkpoint(tmp_path, 20)
    rows = [
        {"loss": 3.0, "global_step/max_steps": "10/20"},
        {"loss": 9.0, "global_step/max_steps": "20/20"},
        {"loss": 1.0, "global_step/max_steps": "20/20", "token_acc": 0.9},
        {"train_runtime": 2.5},
    ]
    (tmp_path / "logging.jsonl").write_text("\n".join(map(json.dumps, rows)))
    facts = checkpoints.training_facts(tmp_path)
    assert facts["loss_curve"] == [[10, 3.0], [20, 1.0]]
    assert (facts["global_step"], facts["max_steps"], facts["train_s"]) == (20, 20, 2.5)


def test_tokens_per_second_count_what_the_continued_training_did(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, 20)
    (folder / "trainer_state.json").write_text('{"global_step": 20, "max_steps": 20, "epoch": 2.0}')
    rows = [
        {"train_runtime": 4.0},
        {"train_dataset": "94.425000±11.01, min=49.0, max=110.0, size=40", "memory": 0},
    ]
    (tmp_path / "logging.jsonl").write_text("\n".join(map(json.dumps, rows)))
    facts = checkpoints.training_facts(tmp_path)
    assert (facts["tokens"], facts["tokens_per_s"]) == (3777, pytest.approx(2 * 3777 / 4, abs=0.1))
    resumed = checkpoints.training_facts(tmp_path, since=15)
    assert resumed["tokens_per_s"] == pytest.approx(2 * 3777 / 4 / 4, abs=0.1)
    (tmp_path / "logging.jsonl").write_text(json.dumps(rows[0]))
    assert not {"tokens", "tokens_per_s"} & set(checkpoints.training_facts(tmp_path))


def test_rows_on_the_cpu_are_told_so() -> None:
    spec: ModelSpec = MODELS["tiny-qwen2"]
    line = swift.sft(spec, base="m", output=Path("/o"))
    assert words(line)["--use_cpu"] == "true"
    assert line.env["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize("engine", engines.SERVERS)
def test_true_is_a_bare_switch_for_an_engines_own_server_and_false_is_none(engine: str) -> None:
    row = MODELS["llama3.1-8b"]
    extra = {"enable-prefix-caching": True, "disable-metrics": False, "log-level": "INFO"}
    serving = row.serving.model_copy(update={"engine": engine, "extra": extra})
    line = engines.serve(row.model_copy(update={"serving": serving}), model="m", served_name="s", port=1)
    assert str(line).endswith("--enable-prefix-caching --log-level INFO")


SWANLAB = """swanlab: Tracking run with swanlab version 0.10.3
Traceback (most recent call last):
  File "/v/lib/python3.11/site-packages/transformers/trainer.py", line 2, in train
    call()
  File "/v/lib/python3.11/site-packages/swanlab/sdk/cmd/init.py", line 338, in prompt_init_mode
    raise RuntimeError(
RuntimeError: Failed to initialize SwanLab in online mode: no TTY is available for interactive login.
"""
NOT_SWANLAB = """Traceback (most recent call last):
  File "/v/lib/python3.11/site-packages/transformers/trainer.py", line 2, in train
    call()
ValueError: remaining_argv: ['--swanlab_modus']
swanlab: Experiment stopped
"""


def test_only_an_error_that_passed_through_swanlab_is_swanlabs() -> None:
    assert swift.why_untracked(SWANLAB).startswith("RuntimeError: Failed to initialize SwanLab")
    assert swift.why_untracked(SWANLAB + NOT_SWANLAB) == ""
    assert swift.why_untracked("swanlab: Tracking run\nKilled\n") == ""
    not_installed = (
        "ValueError: You are using swanlab as `report_to`, please install swanlab by `pip install swanlab`"
    )
    assert (
        swift.why_untracked(f'Traceback (most recent call last):\n  File "x.py"\n{not_installed}\n')
        == not_installed
    )


def test_swanlabs_offline_mode_is_reached_by_a_plugin_because_ms_swifts_flag_has_no_such_choice() -> None:
    row = MODELS["qwen2.5-7b"]
    offline = row.model_copy(update={"training": row.training.model_copy(update={"tracker_mode": "offline"})})
    line = str(swift.sft(offline, base="m", output=Path("/out")))
    assert "plugins/swanlab_offline.py" in line
    assert "--swanlab_mode local" in line
    assert "swanlab_offline" not in str(swift.sft(row, base="m", output=Path("/out")))


# -- several cards -----------------------------------------------------------------------------------------------


def several(cards: object, batch: int = 8, accumulation: int = 4, **row: object) -> ModelSpec:
    training = {"batch_size": batch, "gradient_accumulation": accumulation, **row.pop("training", {})}  # type: ignore[dict-item]
    told = {
        "model": "Qwen/Qwen2.5-7B-Instruct",
        "needs": {"gpu_memory_gib": 60},
        "dataset": ["a.jsonl"],
        **row,
    }
    return ModelSpec.model_validate({"name": "row", "gpus": cards, "training": training, **told})


@pytest.mark.parametrize("cards", range(1, 9))
@pytest.mark.parametrize(("batch", "accumulation"), [(8, 4), (4, 1), (1, 16), (6, 6), (8, 3), (5, 8)])
def test_several_cards_see_as_many_dialogues_per_update_as_one_or_are_refused(
    cards: int, batch: int, accumulation: int
) -> None:
    row = several(cards, batch, accumulation)
    refused = [str(one) for one in rows.of_row(row, {}, {"default": None}) if "gpus" in str(one)]
    if batch * accumulation % cards:
        assert f"a multiple of {cards}, such as" in refused[0]
        return
    line = swift.sft(row, base="base", output=Path("/out"))
    said = words(line)
    each, passes = int(said["--per_device_train_batch_size"]), int(said["--gradient_accumulation_steps"])
    assert (each * passes * cards, each <= batch, refused) == (batch * accumulation, True, [])
    assert (line.processes, line.module) == (cards, "swift.cli.sft")
    assert line.arguments[0] == "--model"
    for rung in ladder(row.training):
        lower = swift.sft(row.model_copy(update={"training": rung}), base="base", output=Path("/out"))
        of_rung = words(lower)
        assert (
            cards
            * int(of_rung["--per_device_train_batch_size"])
            * int(of_rung["--gradient_accumulation_steps"])
            == batch * accumulation
        )


def test_a_training_on_several_cards_is_launched_and_ends_with_its_launcher() -> None:
    line = str(swift.sft(several(2), base="base", output=Path("/out")))
    launch = "python -m torch.distributed.run --standalone --local_addr 127.0.0.1 --nproc_per_node 2 -m swift.cli.sft "
    assert launch in line
    assert "end_with_launcher.py" in line
    assert "--fsdp" not in line
    one = str(swift.sft(several(1), base="base", output=Path("/out")))
    assert one == str(swift.sft(several(None), base="base", output=Path("/out")))
    assert "torch.distributed" not in one
    named = swift.sft(several("2,5"), base="base", output=Path("/out"))
    assert (named.processes, named.env["CUDA_VISIBLE_DEVICES"]) == (2, "2,5")
    cpu = swift.sft(several(2, needs={}, model="tiny:llama"), base="base", output=Path("/out"))
    assert words(cpu)["--ddp_backend"] == "gloo"


def test_large_weights_lie_in_parts_on_the_cards_and_the_row_may_say_otherwise() -> None:
    def line(model: str, **extra: object) -> dict[str, str]:
        row = several(2, model=model, training={"extra": extra})
        return words(swift.sft(row, base="base", output=Path("/out")))

    large = line("Qwen/Qwen2.5-32B-Instruct")
    assert "--fsdp" in large
    assert large["--gradient_checkpointing"] == "false"  # FSDP recomputes by itself
    fused = swift.sft(
        several(2, model="Qwen/Qwen2.5-32B-Instruct", training={"fused_loss": True}),
        base="base",
        output=Path("/out"),
    )
    assert "sharded_adapter.py" in str(fused)
    assert "--use_liger_kernel" not in str(fused)  # it would read a part of the output layer as the whole
    whole = swift.sft(several(2, training={"fused_loss": True}), base="base", output=Path("/out"))
    assert "--use_liger_kernel true" in str(whole)
    assert "sharded_adapter.py" not in str(whole)
    assert "--fsdp" not in line("Qwen/Qwen2.5-14B-Instruct")
    assert "--fsdp" not in line("some/3B-v2.5b7")
    zero = line("Qwen/Qwen2.5-32B-Instruct", deepspeed="zero3")
    assert ("--fsdp" in zero, zero["--deepspeed"]) == (False, "zero3")
    alone = several(1, training={"extra": {"deepspeed": "zero3"}})
    assert [one for one in rows.of_row(alone, {}, {"default": None}) if "cards" in str(one)]


def test_an_engine_serves_on_as_many_cards_as_train_unless_the_row_says_otherwise() -> None:
    def cards(gpus: object, **serving: object) -> tuple[int, int]:
        row = several(gpus, serving=serving)
        return count_of(row, "train"), count_of(row, "serve")

    assert cards(2, engine="vllm") == (2, 2)
    assert cards(4, engine="lmdeploy", tensor_parallel=2) == (4, 2)
    assert cards(2, engine="transformers") == (2, 1)
    assert cards(None, engine="sglang") == (1, 1)
    for engine, flag in (("vllm", "--tensor-parallel-size"), ("lmdeploy", "--tp"), ("sglang", "--tp-size")):
        row = several(2, serving={"engine": engine})
        line = engines.serve(row, model="m", served_name="n", port=1)
        assert words(line)[flag] == "2"


@pytest.mark.parametrize(
    ("files", "whole"),
    [
        ({"optimizer.pt": True}, True),
        ({"optimizer.bin": True}, True),
        (
            {"global_step8/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt": True, "latest": "global_step8"},
            True,
        ),
        (
            {"global_step8/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt": True},
            False,
        ),  # no last word
        ({"latest": "../../elsewhere"}, False),
        ({"latest": "global_step8"}, False),
    ],
)
def test_a_checkpoint_of_several_cards_is_whole_when_each_part_is(
    tmp_path: Path, files: dict[str, object], whole: bool
) -> None:
    (tmp_path / "trainer_state.json").write_text("{}")
    adapter({"lora_A": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}, tmp_path)
    for name, content in {"scheduler.pt": True, **files}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if content is True:
            with zipfile.ZipFile(tmp_path / name, "w") as file:
                file.writestr("data", "x")
        else:
            (tmp_path / name).write_text(str(content))
    assert (checkpoints.why_incomplete(tmp_path) == "") is whole
    adapter({}, tmp_path)
    assert checkpoints.why_incomplete(tmp_path) == "adapter_model.safetensors holds no tensor"


def adapter(header: dict[str, object], checkpoint: Path) -> None:
    content = json.dumps(header).encode()
    (checkpoint / "adapter_model.safetensors").write_bytes(len(content).to_bytes(8, "little") + content)


def test_an_adapter_without_a_tensor_is_filled_from_the_weights_of_all_cards(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from bakeoff.plugins import sharded_adapter

    place = "base_model.model.model.layers.0.mlp.up_proj"
    gathered = {
        f"{place}.lora_A.default.weight": torch.ones(2, 3),
        f"{place}.lora_B.default.weight": torch.ones(4, 2),
    }
    torch.save(gathered | {"lm_head.weight": torch.ones(1)}, tmp_path / sharded_adapter.WHOLE)
    save_file({}, tmp_path / sharded_adapter.ADAPTER)
    sharded_adapter.complete(tmp_path)
    filled = load_file(tmp_path / sharded_adapter.ADAPTER)
    assert {name: tuple(tensor.shape) for name, tensor in filled.items()} == {
        f"{place}.lora_A.weight": (2, 3),
        f"{place}.lora_B.weight": (4, 2),
    }
    save_file({"kept": torch.ones(1)}, tmp_path / sharded_adapter.ADAPTER)
    sharded_adapter.complete(tmp_path)
    assert list(load_file(tmp_path / sharded_adapter.ADAPTER)) == ["kept"]


def test_a_folders_hash_does_not_depend_on_how_many_files_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bakeoff.foundation import provenance

    folder = tmp_path / "weights"
    folder.mkdir()
    for number in range(20):
        (folder / f"model-{number}.safetensors").write_bytes(bytes([number]) * (2 << 20))
    hashes = []
    for readers in (1, 8):
        monkeypatch.setattr(provenance, "READERS", readers)
        cache = tmp_path / f"hashes-{readers}.json"
        hashed = provenance.ContentHashes(cache)
        hashes.append((hashed.of(folder), hashed.each(folder)))
        assert len(json.loads(cache.read_text())) == 20  # none of those read at once is forgotten
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0][1].values())) == 20
