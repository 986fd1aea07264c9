"""The rows' command lines, held against the real argument parsers of the ms-swift that each row names."""

import json
import os
from pathlib import Path

import pytest

from bakeoff.environments.building import (
    PythonEnvironment,
    ask,
    running_environment,
)
from bakeoff.environments.installed import check_command, installed
from bakeoff.foundation.command import Command
from bakeoff.matrix.loading import load_matrix
from bakeoff.matrix.schema import ModelSpec
from bakeoff.tools import swift

ROOT = Path(__file__).parents[1]
STORE = Path(os.environ.get("BAKEOFF_STORE", ROOT / "store"))
MATRIX = load_matrix(ROOT / "model_matrix.yaml")
GUIDE = ("qwen2.5-7b", "llama3.1-8b", "chatglm3-6b", "internlm2-7b", "baichuan2-7b", "gpt-oss-20b")
REMOTE_CODE = {"chatglm3-6b": "chatglm4", "internlm2-7b": "internlm2", "baichuan2-7b": "baichuan"}
"""Rows that could also be run as they are published, in an environment of their year; and their templates there."""


def published(name: str) -> ModelSpec:
    """The row *name* with the code that came with its model instead of the native form."""
    row = MATRIX.models[name]
    training = row.training.model_copy(
        update={"packing": False, "attention": None, "plugins": (), "extra": {}}
    )
    changes = {"trust_remote_code": True, "template": REMOTE_CODE[name], "training": training}
    return row.model_copy(update=changes | {"model_type": name.partition("-")[0]})


def lines(row: ModelSpec, version: str) -> list[Command]:
    """The row's ms-swift lines: train, export, and deploy in both ways."""
    here = Path("/store")
    row = row.model_copy(
        update={"serving": row.serving.model_copy(update={"engine": "transformers", "extra": {}})}
    )
    base = row.model or ""
    return [
        swift.sft(row, base=base, output=here / "train", version=version),
        swift.export(row, base=base, checkpoint=here / "c", output=here / "merged", version=version),
        swift.deploy(row, model=base, adapter=here / "c", served_name="n", port=8000, version=version),
        swift.deploy(row, model=str(here / "merged"), served_name="n", port=8000, version=version),
    ]


def refusals(environment: PythonEnvironment, rows: list[ModelSpec], tmp_path: Path) -> list[str]:
    """What the environment's own parsers refuse in the lines of *rows*; each parser is asked once, for all."""
    version = environment.version("ms-swift") or ""
    all_lines = [line for row in rows for line in lines(row, version)]
    tools = installed(environment, STORE / "cache")
    asked = json.dumps([[(line.module or "").rpartition(".")[2], line.argv[3:]] for line in all_lines])
    said = ask(environment.python, "parse", asked, out=tmp_path / "answer.json")
    return [complaint for line in all_lines for complaint in check_command(line, tools)] + said["refusals"]


@pytest.mark.slow
def test_the_running_ms_swift_accepts_every_line_of_its_rows(tmp_path):
    rows = [MATRIX.models[name] for name in GUIDE]
    assert refusals(running_environment(), rows, tmp_path) == []


def words(command: Command) -> dict[str, str]:
    """Flag -> value."""
    found: dict[str, str] = {}
    for part in command.argv[3:]:
        if part.startswith("--"):
            flag = part
            found[flag] = ""
        else:
            found[flag] = f"{found[flag]} {part}".strip()
    return found


def test_chatglm3_is_trained_in_the_words_of_ms_swift_3_0():
    row = published("chatglm3-6b")
    training = row.training.model_copy(update={"fused_loss": True, "tracker": "swanlab"})
    row = row.model_copy(update={"training": training, "template": "chatglm4", "dataset": ("a/b",)})
    said = words(lines(row, "3.0.3")[0])
    plugins = [str(ROOT / "bakeoff" / "plugins" / "rotary_check.py")]
    expected = {
        "--train_type": "lora",
        "--template": "glm4",
        "--use_liger": "true",
        "--custom_register_path": " ".join(plugins),
        "--split_dataset_ratio": "0",
        "--eval_strategy": "no",
        "--adam_beta2": "0.95",
        "--report_to": "tensorboard",
        "--learning_rate": "0.0002",
        "--max_length": "3072",
    }
    assert expected.items() <= said.items()
    assert not {flag for flag in said if "swanlab" in flag} | (
        {"--tuner_type", "--external_plugins"} & set(said)
    )


def test_the_same_row_is_trained_in_todays_words_by_default():
    row = MATRIX.models["chatglm3-6b"].model_copy(update={"template": "chatglm4"})
    said = words(lines(row, swift.NEWEST)[0])
    assert {"--tuner_type": "lora", "--template": "chatglm4"}.items() <= said.items()
    assert "--external_plugins" in said
    assert "--adam_beta2" not in said
    assert "--split_dataset_ratio" not in said


@pytest.mark.parametrize(
    ("version", "backend", "plugins"),
    [
        ("3.0.3", "pt", ("--custom_register_path", "finish_reason.py")),
        ("3.12.6", "pt", ("--external_plugins", "rotary_check.py")),
        ("4.6.0", "transformers", ("--external_plugins", "rotary_check.py")),
    ],
)
def test_a_service_is_started_in_the_words_of_its_version(version, backend, plugins):
    said = words(lines(published("internlm2-7b"), version)[3])
    flag, last = plugins
    assert said["--infer_backend"] == backend
    assert said[flag].endswith(last)


@pytest.mark.parametrize("version", ["3.0.3", "3.12.6", "4.6.0"])
def test_only_rows_that_say_so_run_code_that_came_with_a_model(version):
    for line in lines(MATRIX.models["llama3.1-8b"], version):
        assert [Path(part).name for part in line.argv if "/plugins/" in part][:1] == ["refuse_model_code.py"]
    for line in lines(published("internlm2-7b"), version):
        assert "refuse_model_code.py" not in str(line)
    own = MATRIX.models["llama3.1-8b"].training.model_copy(update={"extra": {"external_plugins": "mine.py"}})
    row = MATRIX.models["llama3.1-8b"].model_copy(update={"training": own})
    assert "refuse_model_code.py mine.py" in str(lines(row, swift.NEWEST)[0])


def test_a_held_out_share_that_is_asked_for_is_kept_in_every_dialect():
    row = MATRIX.models["gpt-oss-20b"]
    row = row.model_copy(update={"training": row.training.model_copy(update={"validation_share": 0.25})})
    for version in ("3.0.3", "3.12.6", "4.6.0"):
        said = words(lines(row, version)[0])
        assert said["--split_dataset_ratio"] == "0.25"
        assert "--eval_strategy" not in said


def test_the_plugins_can_be_imported_by_name_as_ms_swift_3_0_does():
    for path in (ROOT / "bakeoff" / "plugins").glob("[a-z]*.py"):
        # ms-swift 3.0 takes the name with str.rstrip(".py"), which also eats a trailing p or y
        if path.stem in ("rotary_check", "finish_reason", "refuse_model_code"):
            assert path.name.rstrip(".py") == path.stem
