import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bakeoff.chain.chain import Bench
from bakeoff.doctor import doctor
from bakeoff.doctor.comparability import beside_the_guide
from bakeoff.doctor.data import unhealthy
from bakeoff.doctor.doctor import Finding, known_differences, traps
from bakeoff.doctor.finding import Visit, lines_of
from bakeoff.doctor.unusual import seldom_meant
from bakeoff.environments.building import digest, running_environment
from bakeoff.foundation.errors import DataError
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import load_matrix, parse_matrix
from bakeoff.matrix.schema import Environment, Matrix, ModelSpec
from bakeoff.tools import memory
from bakeoff.training_data.dialogues import dialogue
from bakeoff.training_data.health import check_dataset, estimated_tokens, why_fewer
from tests.chains import plant_tools

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("BAKEOFF_TEST_DATA", ROOT.parent / "shared" / "data"))
HEALTHY = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def write_rows(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """A fresh store that knows already what the running environment accepts."""
    plant_tools(tmp_path / "store")
    return Workspace(tmp_path / "store")


def healthy_matrix(tmp_path: Path, **row: Any) -> dict[str, Any]:
    data = write_rows(tmp_path / "healthy.jsonl", HEALTHY)
    return {
        "models": {
            "good": {
                "model": "somewhere/Qwen2.5-7B-Instruct",
                "model_type": "qwen2",
                "template": "qwen2_5",
                "dataset": [data],
                "training": {"tracker": "none"},
                **row,
            }
        }
    }


def findings(rows: list[ModelSpec], matrix: Matrix, workspace: Workspace, **options: Any) -> list[Finding]:
    lines_of = Bench.at_rest(matrix, workspace, options.get("data_dir")).lines_of
    return doctor.findings(Visit(rows, matrix, workspace, lines_of, **options))


def examine(raw: dict[str, Any], workspace: Workspace, **options: Any) -> list[Finding]:
    matrix: Matrix = parse_matrix(raw)
    return findings(list(matrix.models.values()), matrix, workspace, **{"environ": {}, **options})


def test_a_healthy_row_has_no_findings(tmp_path, workspace, monkeypatch):
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda _: _Disk(10**15))
    assert examine(healthy_matrix(tmp_path), workspace) == []


def test_room_is_asked_for_what_is_not_there_yet(tmp_path, workspace, monkeypatch):
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda _: _Disk(1))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # no hub's cache

    matrix = healthy_matrix(tmp_path, model="Qwen/Qwen2.5-7B-Instruct")

    def asked() -> list[str]:
        told = [found.what for found in examine(matrix, workspace) if found.place == "disk"]
        return [re.findall(r"about (\d+) GiB", one)[0] for one in told]

    assert asked() == ["29"]  # base, merge and checkpoints
    hub = tmp_path / "home/.cache/modelscope/models/Qwen/Qwen2.5-7B-Instruct"
    hub.mkdir(parents=True)
    assert asked() == ["15"]
    record = workspace.model("good") / "export-0123456789/record.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    assert asked() == []
    untrained = healthy_matrix(tmp_path, model="LLM-Research/Meta-Llama-3.1-8B-Instruct", tune=False)
    untrained["models"]["good"] |= {"model_type": "llama", "template": "llama3"}
    matrix["models"]["other"] = untrained["models"]["good"]
    assert asked() == ["15"]  # only what it begins with


class _Disk:
    def __init__(self, free: int) -> None:
        self.free = free


def broken_matrix(tmp_path: Path, port: int) -> dict[str, Any]:
    """Everything that can be wrong, once."""
    sick = write_rows(
        tmp_path / "sick.jsonl",
        HEALTHY,
        HEALTHY,
        {"messages": [{"role": "user", "content": "x"}]},
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "user", "content": "y"},
                HEALTHY["messages"][1],
            ]
        },
        {"messages": [{"role": "user", "content": " "}, {"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "user", "content": "长" * 90}, {"role": "assistant", "content": "b"}]},
        {"conversation": [{"input": "a", "output": "b"}]},
    )
    return {
        "environments": {
            "later": {"requirements": ["ms-swift==3.0.3", "never-built-in-a-test"]},
            "bare": {"requirements": ["bare"]},
        },
        "suites": {
            "no_such_benchmark": {"hub": True},
            "elsewhere": {"benchmark": "ceval", "data": "data:elsewhere", "hub": False},
            "ceval": {},
        },
        "models": {
            "flags": {
                "model": "x/Qwen2.5-7B-Instruct",
                "model_type": "qwen2_5",
                "template": "baichuan2",
                "dataset": [sick],
                "training": {"max_length": 80, "tracker": "none", "extra": {"train_type": "lora"}},
                "suites": ["no_such_benchmark", "elsewhere"],
            },
            "nameless": {
                "model": "x/mine",
                "dataset": [sick],
                "training": {"max_length": 80, "tracker": "none"},
            },
            "remote": {
                "model": "x/chatglm3-6b",
                "model_type": "chatglm3",
                "template": "chatglm4",
                "dataset": ["some/hub-dataset"],
                "training": {
                    "tracker": "none",
                    "fused_loss": True,
                    "batch_size": 4,
                    "gradient_accumulation": 8,
                },
                "needs": {"gpu_memory_gib": 10},
            },
            "flash": {
                "model": "x/Baichuan2-7B-Chat",
                "model_type": "baichuan2",
                "template": "baichuan",
                "tune": True,
                "dataset": [sick],
                "environment": {"train": "bare", "serve": "later"},
                "training": {"max_length": 80, "tracker": "none", "attention": "flash_attn"},
                "serving": {"engine": "lmdeploy"},
            },
            "served": {
                "model": "x/gpt-oss-20b",
                "model_type": "gpt_oss",
                "template": "gpt_oss",
                "dataset": [sick],
                "training": {
                    "max_length": 80,
                    "tracker": "swanlab",
                    "fused_loss": True,
                    "learning_rate": 1e-4,
                },
                "serving": {"engine": "vllm", "port": port},
                "environment": {"train": "bare", "serve": "bare"},
                "needs": {"gpu_memory_gib": 10},
            },
            "swapped": {
                "model": "x/gpt-oss-20b",
                "model_type": "gpt_oss",
                "template": "qwen2_5",
                "dataset": [sick],
                "training": {"max_length": 80, "tracker": "none"},
                "suites": ["ceval"],
            },
            "mistaken": {
                "model": "x/Qwen2.5-7B-Instruct",
                "model_type": "llama",
                "template": "qwen2_5",
                "dataset": [sick],
                "training": {"max_length": 80, "tracker": "none"},
            },
            "adapted": {"model": "/weights/typo", "adapter": "/nope", "template": "qwen2_5"},
            "merged": {"weights": "/nope2", "template": "qwen2_5"},
            "hollow": {"weights": str(tmp_path), "template": "qwen2_5"},
            "paid": {"url": "http://x/v1", "served_model": "m", "key_env": "NO_SUCH_KEY", "tune": False},
        },
    }


EXPECTED = (
    ("note", "environments.later", "is not built yet"),
    ("error", "flags", "--model_type qwen2_5 is not known to ms-swift"),
    ("error", "flags", "--template baichuan2 is not known to ms-swift"),
    ("error", "flags", "--train_type is not known to ms-swift"),
    ("error", "nameless", "cannot tell the model type of 'x/mine'"),
    ("error", "mistaken", "model_type llama, but ms-swift 4.6.0 loads x/Qwen2.5-7B-Instruct as qwen2"),
    ("warning", "swapped", "template qwen2_5, but x/gpt-oss-20b was made with gpt_oss"),
    ("error", "adapted", "model: there is no folder /weights/typo"),
    ("error", "adapted", "adapter: there is no folder /nope"),
    ("error", "merged", "weights: there is no folder /nope2"),
    ("error", "hollow", "has no config.json"),
    (
        "error",
        "flags, nameless, remote, flash, served, swapped, mistaken",
        "its model comes from the hub, HF_HUB_OFFLINE",
    ),
    ("warning", "suites.ceval", "comes from the hub, and HF_HUB_OFFLINE is set"),
    ("error", "remote", "remote code was written for transformers 4, and environment 'default'"),
    ("error", "flash", "remote code was written for transformers 4, and environment 'bare'"),
    ("error", "remote", "no fused loss knows the code of chatglm3"),
    ("error", "flash", "lmdeploy no longer serves Baichuan"),
    ("error", "flash", "has no flash attention"),
    ("error", "flash", "needs flash-attn in environment 'bare'"),
    ("error", "served", "needs liger-kernel in environment 'bare'"),
    ("warning", "served", "environment 'bare' has no swanlab: TensorBoard tracks instead"),
    ("error", "served", "is served by vllm"),
    ("note", "served", "vllm fetches the vocabulary of GPT-OSS"),
    ("warning", "GPU 0", "are taken by other processes"),
    ("warning", "remote", "GiB of device memory; the freest card has 27"),
    ("error", "served", "GiB of device memory; the freest card has 27"),
    ("error", "disk", "GiB; "),
    ("warning", "dataset", "silently drop 1 of 7 rows"),
    ("warning", "dataset", "1 of 6 dialogues end on the client"),
    ("warning", "dataset", "1 of 6 dialogues do not alternate"),
    ("warning", "dataset", "1 of 6 dialogues have an empty turn"),
    ("warning", "dataset", "1 of 6 dialogues are copies"),
    ("warning", "dataset", "1 of 6 dialogues are longer than max_length 80"),
    ("error", "dataset some/hub-dataset", "HF_HUB_OFFLINE is set, and no cache has it"),
    ("error", "suites.no_such_benchmark", "has no 'no_such_benchmark'"),
    ("warning", "suites.elsewhere", "needs the folder elsewhere under --data-dir"),
    ("note", "proxy", "NO_PROXY does not cover 127.0.0.1 and localhost"),
    ("error", "port", "would be scored under our name"),
    (
        "warning",
        "served",
        "SwanLab's cloud needs SWANLAB_API_KEY (SwanLab does not read the guide's SWANLAB_TOKEN)",
    ),
    ("error", "paid", "NO_SUCH_KEY is not set"),
    ("warning", "served", "prints the day's date"),
    (
        "warning",
        "comparability",
        "learning rate: 0.0002 (flags, nameless, remote, flash, swapped, mistaken); 0.0001",
    ),
    ("warning", "comparability", "max length: "),
    ("warning", "comparability", "dataset: "),
    ("warning", "comparability", "default system prompt: "),
    ("warning", "comparability", "serving engine: "),
)


NVIDIA_SMI = """#!/bin/sh
echo "0, A card, TOTAL, FREE"
"""


def plant_card(folder: Path, monkeypatch: pytest.MonkeyPatch, total_gib: int, free_gib: int) -> None:
    """A card as nvidia-smi would tell of it."""
    folder.mkdir()
    told = NVIDIA_SMI.replace("TOTAL", str(total_gib * 1024)).replace("FREE", str(free_gib * 1024))
    (folder / "nvidia-smi").write_text(told)
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def plant_environment(environment: Environment, workspace: Workspace, without: tuple[str, ...]) -> None:
    """The record of a built environment that is the running one less some packages."""
    here = running_environment()
    folder = workspace.environments / digest(environment)
    folder.mkdir(parents=True)
    record = {
        "python": str(here.python),
        "python_version": here.python_version,
        "versions": {name: version for name, version in here.versions.items() if name not in without},
    }
    (folder / "environment.json").write_text(json.dumps(record))


def test_each_finding_of_a_broken_matrix_appears_exactly_once_with_a_remedy(tmp_path, workspace, monkeypatch):
    plant_card(tmp_path / "bin", monkeypatch, 31, 27)
    monkeypatch.setenv("HOME", str(tmp_path))  # no hub's cache
    bare = Environment(name="bare", requirements=("bare",))
    plant_environment(bare, workspace, without=("swanlab", "liger-kernel", "flash-attn", "vllm", "lmdeploy"))
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda _: _Disk(1))
    environ = {"HTTP_PROXY": "http://proxy:1", "HF_HUB_OFFLINE": "1", "SWANLAB_TOKEN": "secret-token-1"}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = examine(broken_matrix(tmp_path, taken.getsockname()[1]), workspace, environ=environ)
    shown = "\n".join(map(str, found))
    for level, place, what in EXPECTED:
        fitting = [
            one for one in found if one.level == level and one.place.startswith(place) and what in one.what
        ]
        assert len(fitting) == 1, f"{len(fitting)} times: {level} {place} {what}\n{shown}"
    assert len(found) == len(EXPECTED), shown
    assert all(one.remedy for one in found), shown
    assert "secret-token-1" not in shown
    assert [one.level for one in found] == sorted(
        (one.level for one in found), key=["error", "warning", "note"].index
    )


def test_the_guides_rows_need_no_more_than_a_card_of_80_gb(tmp_path, workspace, monkeypatch):
    plant_card(tmp_path / "bin", monkeypatch, 80, 79)
    matrix = load_matrix(ROOT / "model_matrix.yaml")
    found = findings([row for row in matrix.models.values() if row.group == "full"], matrix, workspace)
    assert [str(one) for one in found if "device memory" in one.what] == []


def test_memory_that_others_hold_is_no_error_because_they_may_end(tmp_path, workspace, monkeypatch):
    plant_card(tmp_path / "bin", monkeypatch, 80, 10)
    raw = healthy_matrix(tmp_path, needs={"gpu_memory_gib": 70})
    (need,) = [one for one in examine(raw, workspace) if "device memory" in one.what]
    assert (need.level, need.remedy) == ("warning", "end what else runs on the card (nvidia-smi shows it)")


def test_a_finding_names_the_rows_that_would_fail_of_it(tmp_path, workspace):
    raw = healthy_matrix(tmp_path)
    gone = write_rows(tmp_path / "gone.jsonl", HEALTHY)
    raw["models"]["other"] = {**raw["models"]["good"], "dataset": [gone]}
    matrix = parse_matrix(raw)
    Path(gone).unlink()
    found = findings(list(matrix.models.values()), matrix, workspace, environ={})
    assert [one.rows for one in found if "no such file" in one.what] == [("other",)]


def test_what_a_cache_has_needs_no_hub(tmp_path, workspace):
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "MODELSCOPE_CACHE": str(tmp_path)}
    raw = healthy_matrix(tmp_path)
    assert "no cache has it" in "".join(map(str, examine(raw, workspace, environ=offline)))
    (tmp_path / "hub" / "models--somewhere--Qwen2.5-7B-Instruct").mkdir(parents=True)
    assert "no cache has it" not in "".join(map(str, examine(raw, workspace, environ=offline)))


@pytest.mark.parametrize("hub", ["MODELSCOPE_CACHE", "HF_HOME"])
def test_training_data_that_a_hub_has_prepared_before_needs_no_hub(tmp_path, workspace, hub):
    offline = {
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "MODELSCOPE_CACHE": str(tmp_path / "ms"),
    }
    raw = healthy_matrix(tmp_path)
    raw["models"]["good"]["dataset"] = ["Some/Hub-Dataset:all#500"]

    def lacking() -> list[str]:
        found = examine(raw, workspace, environ=offline)
        return [one.place for one in found if "no cache has it" in one.what and "dataset" in one.place]

    assert lacking() == ["dataset Some/Hub-Dataset:all#500"]
    folder = Path(offline[hub]) / "datasets" / "some___hub-dataset" / "all" / "0.0.0" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "hub-dataset-train.arrow").write_bytes(b"rows")
    assert lacking() == []


def test_templates_with_different_default_system_prompts_are_named(tmp_path, workspace, monkeypatch):
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda _: _Disk(10**15))
    raw = healthy_matrix(tmp_path)
    other = {"model": "somewhere/else", "model_type": "llama", "template": "llama3"}
    raw["models"]["llama"] = raw["models"]["good"] | other
    (found,) = examine(raw, workspace)
    assert "default system prompt: 'You are Qwen" in found.what
    assert "none (llama)" in found.what


def test_what_the_tools_said_before_is_compared_without_asking_them(tmp_path, workspace):
    raw = healthy_matrix(tmp_path)
    raw["models"]["llama"] = raw["models"]["good"] | {"model_type": "llama", "template": "llama3"}
    matrix = parse_matrix(raw)
    rows = list(matrix.models.values())
    (found,) = known_differences(rows, matrix, workspace)
    assert "none (llama)" in str(found)
    assert beside_the_guide(found).endswith(". The guide: each model's own template (guide 8.2)")
    assert known_differences(rows, matrix, Workspace(tmp_path / "fresh")) == []


def test_only_the_first_dialogues_are_looked_at_and_all_reasons_are_told(tmp_path, monkeypatch):
    data = Path(
        write_rows(tmp_path / "d.jsonl", *[{"title": "x"}, {"messages": []}] * 2, HEALTHY, HEALTHY, HEALTHY)
    )
    assert check_dataset(data).whole
    health = check_dataset(data, first=6)
    assert not health.whole
    (dropped, copies) = unhealthy("d", health, 80)
    assert "drop 4 of the first 6 rows: has the columns title" in dropped.what
    assert dropped.what.endswith("(2); 'messages' is empty (2)")
    assert copies.what.startswith("1 of the first 2 dialogues are copies")


def test_the_guides_six_rows_are_examined_without_importing_a_heavy_module(workspace):
    code = (
        "import sys; from pathlib import Path; from bakeoff.chain.chain import Bench; "
        "from bakeoff.doctor.doctor import Visit, findings; "
        "from bakeoff.matrix.loading import load_matrix; from bakeoff.foundation.workspace import Workspace; "
        "m = load_matrix(Path(sys.argv[1])); rows = [r for r in m.models.values() if r.group == 'full']; "
        "assert len(rows) == 6; w = Workspace(Path(sys.argv[2])); "
        "findings(Visit(rows, m, w, Bench.at_rest(m, w).lines_of)); "
        "print([n for n in ('torch', 'swift', 'evalscope', 'transformers', 'pandas', 'gradio') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "model_matrix.yaml"), str(workspace.root)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_the_shipped_rows_need_nothing_but_what_their_machine_and_environments_must_have(workspace):
    matrix = load_matrix(ROOT / "model_matrix.yaml")
    smoke = [row for row in matrix.models.values() if row.group == "smoke"]
    found = findings(smoke, matrix, workspace, environ={})
    assert [one for one in found if one.level == "error"] == []


def test_a_dataset_in_an_unknown_schema_is_refused_with_its_columns():
    path = DATA / "emollm" / "data_50.json"
    if not path.is_file():
        pytest.skip(f"no {path}: point BAKEOFF_TEST_DATA at the test data")
    health = check_dataset(path)
    assert (health.rows, health.kept) == (50, 0)
    assert dict(health.dropped) == {
        "a turn of 'conversation' has input, output, system instead of role and content": 50
    }


@pytest.mark.parametrize(
    ("name", "rows", "ends_on_client"), [("smile_sharegpt_3000", 3000, 426), ("smile_conversation_50", 50, 0)]
)
def test_real_dialogues_are_read_and_those_that_end_on_the_client_counted(name, rows, ends_on_client):
    path = DATA / "smile" / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path}: point BAKEOFF_TEST_DATA at the test data")
    health = check_dataset(path)
    assert (health.rows, health.kept, health.ends_on_client) == (rows, rows, ends_on_client)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"conversation": [{"human": "q", "assistant": "a"}]},
        {"messages": json.dumps([{"role": "human", "content": "q"}, {"role": "bot", "content": "a"}])},
        {"query": "q", "response": "a"},
        {"question": "q", "answer": ["a", "b"]},
    ],
)
def test_every_schema_that_ms_swift_reads_is_read(row):
    assert dialogue(row) == [("user", "q"), ("assistant", "a")]


def test_instruction_and_input_are_one_question_and_a_system_prompt_leads():
    assert dialogue({"instruction": "do", "input": "this", "output": "done", "system": "s"}) == [
        ("system", "s"),
        ("user", "this\ndo"),
        ("assistant", "done"),
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": []},
        {"messages": "no list"},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": "narrator", "content": "x"}]},
        {"conversation": [{"input": "a", "output": "b"}]},
        {"title": "x"},
    ],
)
def test_what_ms_swift_would_drop_is_a_value_error(row):
    with pytest.raises(ValueError, match=r"messages|conversation|columns|role"):
        dialogue(row)


def test_a_broken_file_is_a_data_error_that_names_the_line(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"query": "q", "response": "a"}\n{"query": \n', encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.jsonl:2: no JSON"):
        check_dataset(path)


def test_a_chinese_character_counts_for_one_token_and_four_latin_ones_for_one():
    assert estimated_tokens("你好abcd") == 3
    assert estimated_tokens("") == 0


def test_a_full_row_that_nothing_compares_is_told_with_what_it_takes_by_default(tmp_path):
    (trap,) = traps(list(parse_matrix(healthy_matrix(tmp_path)).models.values()))
    assert all(words in trap.what for words in ("no suites", "no needs", "no serving engine"))
    tiny = {"model": "tiny:qwen2", "dataset": ["o/d"], "group": "smoke"}
    assert traps(list(parse_matrix({"models": {"t": tiny}}).models.values())) == []


def seldom_meant_of(row: dict[str, Any], suite: dict[str, Any] | None = None) -> list[Finding]:
    base = {"model": "tiny:qwen2", "dataset": ["shipped:facts_train.jsonl"], "suites": ["s"]}
    raw = {"models": {"a": {**base, **row}}, "suites": {"s": {"benchmark": "ceval", **(suite or {})}}}
    matrix = parse_matrix(raw)
    return seldom_meant(list(matrix.models.values()), matrix)


@pytest.mark.parametrize(
    ("row", "suite", "told"),
    [
        ({"training": {"learning_rate": 5}}, {}, "training.learning_rate is 5.0, and 2e-06 to 0.02"),
        ({"training": {"learning_rate": 1e-9}}, {}, "2e-06 to 0.02 is usual"),
        ({"training": {"epochs": 1000, "lora_rank": 8}}, {}, "training.epochs is 1000"),
        ({"training": {"warmup_ratio": 0.9}}, {}, "0 to 0.5 is usual"),
        ({"limits": {"train_s": 1}}, {}, "limits.train_s is 1.0, and 30 to 2592000"),
        ({"serving": {"in_flight": 5000}}, {}, "serving.in_flight is 5000, and 1 to 800"),
        ({}, {"generation": {"max_tokens": 900_000}}, "generation.max_tokens is 900000, and 1 to 131072"),
        ({}, {"generation": {"temperature": 7, "top_p": 0.9}}, "generation.temperature is 7"),
        ({}, {"few_shot": 6}, "few_shot is 6, and ceval has 5 examples"),
        ({}, {"few_shot": 5, "chance": 0.25, "generation": {"temperature": 0, "max_tokens": 8192}}, ""),
        ({"training": {"epochs": 0.5, "warmup_ratio": 0, "seed": 2**31 - 1}}, {}, ""),
        ({"limits": {"retries": 0}, "serving": {"restarts": 0, "max_batch_size": 256}}, {}, ""),
        ({"url": "http://x/v1", "served_model": "m", "training": {"epochs": 1000}}, {}, ""),
    ],
)
def test_a_number_that_is_seldom_meant_is_told_with_the_usual_range(row, suite, told):
    found = seldom_meant_of(row, suite)
    assert len(found) == bool(told), found
    assert all(told in str(finding) for finding in found)
    assert all(re.search("[一-鿿]", finding.zh) for finding in found)


def test_the_shipped_matrix_says_nothing_that_is_seldom_meant():
    matrix = load_matrix(ROOT / "model_matrix.yaml")
    assert seldom_meant(list(matrix.models.values()), matrix) == []


def test_data_that_a_row_names_twice_are_told_whatever_the_spelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    write_rows(tmp_path / "set" / "x.jsonl", HEALTHY)
    write_rows(tmp_path / "copy.jsonl", HEALTHY)
    write_rows(tmp_path / "other.jsonl", HEALTHY, HEALTHY)
    (tmp_path / "link.jsonl").symlink_to("set/x.jsonl")
    first, other = "set/x.jsonl", ["other.jsonl", "o/d:x", "o/d:y", "o/e@v1", "o/e@v2"]
    assert seldom_meant_of({"dataset": [first, *other]}) == []
    for second in (str(tmp_path / first), "./set/../set/x.jsonl", "link.jsonl", f"{first}#1"):
        (twice,) = seldom_meant_of({"dataset": [first, second]})
        assert f"names {first} twice ({first}, {second})" in twice.what
    for second in ("set", "copy.jsonl"):
        (twice,) = seldom_meant_of({"dataset": [first, second]})
        assert f"{first} and {second}, which hold the same" in twice.what
    (twice,) = seldom_meant_of({"dataset": ["o/d#8", "O/d"]})
    assert "trained twice" in twice.what


def test_lengths_beyond_the_context_of_a_model_on_this_machine_are_told(tmp_path):
    config = tmp_path / "config.json"
    for text, told in (('{"max_position_embeddings": 2048}', 2), ("[]", 0), ("{", 0)):
        config.write_text(text, encoding="utf-8")
        row = {"model": str(tmp_path), "training": {"max_length": 3000}, "serving": {"session_len": 4096}}
        assert sum("context ends at 2048" in finding.what for finding in seldom_meant_of(row)) == told


PLAIN = {"question": "q", "answer": "a"}


@pytest.mark.parametrize(
    ("rows", "kept", "why"),
    [
        ([{**PLAIN, "solution": "s"}] * 2, 0, "both mean the answer"),
        ([{"query": "q", "question": "z", "answer": "a"}] * 2, 2, ""),
        ([HEALTHY, PLAIN], 1, "but not 'messages'"),
        (
            [{**HEALTHY, "rejected_response": "n"}, {**HEALTHY, "rejected_response": None}],
            1,
            "rejected_response",
        ),
        ([{"messages": [*HEALTHY["messages"], {"role": "system", "content": "s"}]}], 0, "a system turn"),
        ([{"messages": [{"role": "user", "content": 3}]}], 0, "int as content"),
        ([{**HEALTHY, "images": ["nowhere.png"]}], 0, "image"),
        ([{"instruction": None, "input": None, "output": "o"}], 0, "both missing"),
    ],
)
def test_rows_are_kept_by_the_columns_of_the_whole_file(tmp_path, rows, kept, why):
    health = check_dataset(Path(write_rows(tmp_path / "d.jsonl", *rows)))
    assert health.kept == kept
    assert why in " ".join(health.dropped)


def test_each_form_of_a_file_that_ms_swift_reads_holds_the_same_rows(tmp_path):
    lines = json.dumps(HEALTHY) + "\n" + json.dumps(PLAIN | HEALTHY) + "\n"
    listed = json.dumps([HEALTHY, PLAIN | HEALTHY])
    for name, text in (
        ("a.jsonl", "\ufeff" + lines),
        ("b.json", lines),
        ("c.jsonl", listed),
        ("d.json", listed),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert check_dataset(tmp_path / name).kept == 2
    assert check_dataset(tmp_path).kept == 8
    for bad in ('{"question": "a\\ud83d", "answer": "x"}', '{"answer": "a", "answer": "b"}'):
        (tmp_path / "e.jsonl").write_text(bad)
        with pytest.raises(DataError, match="ms-swift refuses the whole file"):
            check_dataset(tmp_path / "e.jsonl")


def test_fewer_rows_than_the_data_have_is_a_caution():
    assert why_fewer(16, "94.4±11.0, min=49.0, max=110.0, size=16", 0.0) == ""
    assert "it left 8 out" in why_fewer(16, "94.4±11.0, min=49.0, max=110.0, size=8", 0.0)
    assert why_fewer(100, "94.4±11.0, min=49.0, max=110.0, size=99", 0.01) == ""


SERVED = {"url": "http://127.0.0.1:9/v1", "served_model": "m"}


def test_every_finding_of_a_broken_matrix_has_its_chinese_and_a_line_sums_them_up(
    tmp_path, workspace, monkeypatch
):
    matrix = parse_matrix(
        {
            "models": {
                "a": {"model": "/nowhere", "model_type": "llama", "template": "llama3_2", "dataset": ["o/d"]},
                "b": {**SERVED, "key_env": "NO_SUCH_KEY", "suites": ["s", "t"]},
            },
            "suites": {name: {"benchmark": "choice_exam", "data": str(tmp_path / "no")} for name in "st"},
        }
    )  # fmt: skip
    environ = {"http_proxy": "http://h:1", "HF_HUB_OFFLINE": "1"}
    rows = list(matrix.models.values())
    every = findings(rows, matrix, workspace, environ=environ) + traps(rows)
    chinese, english = (lines_of(list(reversed(every)), chinese=flag) for flag in (True, False))
    assert len(chinese) == len(english) == len(every) + 1
    assert [line.split("：")[0] for line in chinese[:-1]] == sorted(
        (line.split("：")[0] for line in chinese[:-1]), key=["错误", "警告", "提示"].index
    )
    for line in chinese:
        assert not re.search(r"\b[a-z]{3,} [a-z]{2,} [a-z]{2,}\b", line.partition("export ")[0]), line
    assert "错误：b：未设置 NO_SUCH_KEY\n    -> 在 .env 中写入 NO_SUCH_KEY=…" in chinese
    assert re.fullmatch(r"\d+ errors?, \d+ warnings?, 1 note\. Rows with an error .*", english[-1])
    assert "suites.t: is the same as s in all but its name" in "\n".join(english)
    assert lines_of([], chinese=False) == ["nothing speaks against this run"]
