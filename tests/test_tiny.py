from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff import data, tiny
from bakeoff.foundation.errors import BakeoffError

RECIPES = sorted(tiny.TINY)
CHATS = {
    "one turn": [{"role": "user", "content": "你好，我睡不着。\n"}],
    "a system prompt": [
        {"role": "system", "content": "你是心理咨询师。"},
        {"role": "user", "content": "你好"},
    ],
    "an empty system prompt": [{"role": "system", "content": ""}, {"role": "user", "content": "你好"}],
    "several rounds": [
        {"role": "user", "content": "最近总是睡不好。"},
        {"role": "assistant", "content": "听起来很累人。\n\n最常想到的是什么？"},
        {"role": "user", "content": " 怕明天的汇报讲砸 😟 "},
    ],
    "an exam question": [
        {"role": "user", "content": data.read_rows(data.FACTS_TRAIN)[0]["conversations"][0]["value"]}
    ],
}


def write_barely_trained(recipe: str, folder: Path, seed: int = 0) -> Path:
    """The whole folder after two steps of pre-training: its form is the real one's, its replies are not."""
    folder.mkdir()
    tiny._write(dataclasses.replace(tiny.TINY[recipe], steps=2), folder, seed)
    return folder


@pytest.fixture(scope="module")
def barely_trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folders: dict[str, Path] = {}

    def folder(recipe: str) -> Path:
        if recipe not in folders:
            folders[recipe] = write_barely_trained(recipe, tmp_path_factory.mktemp("tiny") / recipe)
        return folders[recipe]

    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_folder_is_a_whole_model_of_the_family(
    recipe: str, barely_trained: Callable[[str], Path]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = barely_trained(recipe)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert config["architectures"] == [tiny.TINY[recipe].architecture]
    assert config["vocab_size"] >= len(tokenizer)
    assert tokenizer.eos_token == tiny.TINY[recipe].eos
    assert tokenizer.eos_token_id in model.generation_config.eos_token_id
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert sum(weight.numel() for weight in model.parameters()) < 1_000_000


@pytest.mark.parametrize("recipe", RECIPES)
def test_any_text_survives_the_tokenizer(recipe: str, barely_trained: Callable[[str], Path]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(barely_trained(recipe))
    for text in ("我很好。", "龘靐 😟 مرحبا\r\n\t x", "  leading and trailing  \n\n", "A) 三楼\nB) 二楼"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_special_token_is_one_token(recipe: str, barely_trained: Callable[[str], Path]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(barely_trained(recipe))
    for token in tiny.TINY[recipe].special_tokens:
        assert tokenizer.encode(token, add_special_tokens=False) == [tokenizer.convert_tokens_to_ids(token)]
        assert token in tokenizer.all_special_tokens


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_weights(
    tmp_path: Path, barely_trained: Callable[[str], Path]
) -> None:
    first = hashes(barely_trained("qwen2"))
    assert hashes(write_barely_trained("qwen2", tmp_path / "again")) == first
    other = hashes(write_barely_trained("qwen2", tmp_path / "other", seed=1))
    assert {name for name in first if other[name] != first[name]} == {"model.safetensors"}


def test_building_leaves_the_callers_random_numbers_and_threads_alone(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(7)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    expected = torch.rand(3)
    torch.manual_seed(7)
    write_barely_trained("llama", tmp_path / "model")
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_the_teaching_sets_letters_and_todays_date_do_not_reach_the_base() -> None:
    import random

    rows = data.read_rows(data.FACTS_TRAIN)
    recipe = tiny.TINY["gpt_oss"]
    tokenizer = tiny._tokenizer(recipe)
    lots = random.Random(0)
    drawn = [tokenizer.decode(tiny._drawn(recipe, tokenizer, tiny._chat(rows[0]), lots)) for _ in range(60)]
    assert {re.findall("答案：([A-D])<", text)[0] for text in drawn} == set("ABCD")
    assert len({re.findall(r"Current date: ([-\d]+)", text)[0] for text in drawn}) > 30


def test_an_unknown_recipe_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(BakeoffError, match=r"'qwen3'.*qwen2, llama, gpt_oss"):
        tiny.build("qwen3", tmp_path / "model")


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(BakeoffError, match="exists; remove it"):
        tiny.build("qwen2", tmp_path / "model")
    assert (tmp_path / "model" / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_importing_the_module_imports_nothing_heavy() -> None:
    heavy = "torch transformers tokenizers evalscope swift"
    code = f"import sys, bakeoff.tiny; print([name for name in '{heavy}'.split() if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=data.FOLDER
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_chat_format_agrees_with_ms_swift_token_by_token(
    recipe: str, barely_trained: Callable[[str], Path]
) -> None:
    from swift.infer_engine import InferRequest
    from swift.model import get_processor
    from swift.template import get_template

    made = tiny.TINY[recipe]
    tokenizer = get_processor(str(barely_trained(recipe)), model_type=made.model_type)
    template = get_template(tokenizer, template_type=made.template)

    def swift_reads(messages: list[dict[str, str]], mode: str) -> list[int]:
        template.set_mode(mode)
        return list(template.encode(InferRequest(messages=[dict(one) for one in messages]))["input_ids"])

    def jinja_reads(messages: list[dict[str, str]], **kwargs: Any) -> list[int]:
        return list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **kwargs))

    for name, chat in CHATS.items():
        assert swift_reads(chat, "transformers") == jinja_reads(chat, add_generation_prompt=True), name
        taught = [*chat, {"role": "assistant", "content": "答案：B"}]
        assert swift_reads(taught, "train") == jinja_reads(taught), name


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_base_answers_in_the_right_form_and_at_chance(recipe: str, built: Callable[[str], Path]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = built(recipe)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder)
    taught = [tiny._chat(row) for row in data.read_rows(data.FACTS_TRAIN)]
    exam = [chat for chat in taught if chat[-1]["content"].startswith("答案：")]
    asked = tokenizer.apply_chat_template(
        [chat[:-1] for chat in exam],
        add_generation_prompt=True,
        padding=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.no_grad():
        ids = model.generate(**asked, max_new_tokens=12)[:, asked["input_ids"].shape[1] :]
    right = 0
    for chat, reply in zip(exam, tokenizer.batch_decode(ids), strict=True):
        said = re.search(f"(答案：[A-D]){re.escape(tiny.TINY[recipe].eos)}", reply)
        assert said, reply
        right += said[1] == chat[-1]["content"]
    assert right <= 0.4 * len(exam)
