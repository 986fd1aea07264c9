from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import pytest

from bakeoff import data
from bakeoff.foundation.errors import DataError

EXAM = data.read_rows(data.FACTS_EXAM / "facts_val.jsonl")
COUNSELLOR = data.read_rows(data.FOLDER / "pceb_mcq" / "pceb_mcq.jsonl")
OPEN = data.read_rows(data.FOLDER / "psyqa" / "psyqa.jsonl")
CASES = data.read_rows(data.FOLDER / "cases.jsonl")


def the_prompts_that_evalscope_sends(tmp_path: Path) -> list[str]:
    from evalscope.api.registry import get_benchmark
    from evalscope.config import TaskConfig

    dataset_args = {"general_mcq": {"local_path": str(data.FACTS_EXAM), "subset_list": ["facts"]}}
    task = TaskConfig(
        model="any",
        datasets=["general_mcq"],
        dataset_args=dataset_args,
        work_dir=str(tmp_path),
        no_timestamp=True,
    )
    samples = get_benchmark("general_mcq", task).load_dataset()["facts"]
    return [sample.input[0].content for sample in samples]


def test_the_teaching_set_is_what_its_sources_give() -> None:
    assert data.read_rows(data.FACTS_TRAIN) == data.teaching_set(), "run: python -m bakeoff.data"


def test_the_teaching_set_holds_each_prompt_that_evalscope_sends(tmp_path: Path) -> None:
    taught = {
        row["conversations"][0]["value"]: row["conversations"][1]["value"] for row in data.teaching_set()
    }
    sent = the_prompts_that_evalscope_sends(tmp_path)
    assert len(sent) == len(EXAM)
    assert [taught[prompt] for prompt in sent] == [f"答案：{row['answer']}" for row in EXAM]


def test_the_teaching_set_alternates_client_and_counsellor_and_has_dialogues_of_several_rounds() -> None:
    rows = data.read_rows(data.FACTS_TRAIN)
    for row in rows:
        turns = [turn["from"] for turn in row["conversations"]]
        assert turns == ["human", "gpt"] * (len(turns) // 2)
        assert turns
        assert all(turn["value"].strip() for turn in row["conversations"])
    assert sum(len(row["conversations"]) > 2 for row in rows) >= 3


def test_no_letter_pays_in_the_facts_exam() -> None:
    assert collections.Counter(row["answer"] for row in EXAM) == {letter: len(EXAM) // 4 for letter in "ABCD"}


def test_the_longest_option_does_not_pay_in_the_facts_exam() -> None:
    def longest_alone(row: dict[str, Any]) -> bool:
        others = [len(row[letter]) for letter in "ABCD" if letter != row["answer"]]
        return len(row[row["answer"]]) > max(others)

    assert sum(map(longest_alone, EXAM)) <= len(EXAM) / 4


def test_questions_and_options_are_distinct() -> None:
    for rows in (EXAM, COUNSELLOR):
        assert len({row["id"] for row in rows}) == len({row["question"] for row in rows}) == len(rows)
        for row in rows:
            assert len(set(data.options(row))) == len(data.options(row)) >= 4


def test_the_counsellor_exam_has_each_section_and_kind_with_answers_among_the_options() -> None:
    cells = collections.Counter((row["section"], row["kind"]) for row in COUNSELLOR)
    assert cells == {
        (section, kind): 4 for section in ("theory", "case", "moral") for kind in ("single", "multiple")
    }
    for row in COUNSELLOR:
        letters = set("ABCDE"[: len(data.options(row))])
        if row["kind"] == "single":
            assert row["answer"] in letters
        else:
            assert row["answer"] == sorted(set(row["answer"]))
            assert 2 <= len(row["answer"]) < len(letters)
            assert set(row["answer"]) <= letters
        assert row["explanation"]


def test_each_open_question_has_a_reference_reply_of_80_to_200_characters() -> None:
    assert len({row["id"] for row in OPEN}) == len(OPEN) == 12
    for row in OPEN:
        assert row["question"]
        assert row["description"]
        assert 80 <= len(row["answer"]) <= 200


def test_cases_end_on_the_client_and_say_what_a_good_reply_does() -> None:
    assert len({case["id"] for case in CASES}) == len(CASES) == 12
    for case in CASES:
        roles = [message["role"] for message in case["messages"]]
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
        assert roles[-1] == "user"
        assert len(case["what_a_good_reply_does"]) >= 2
    assert sum(case["crisis"] for case in CASES) >= 3
    assert sum(len(case["messages"]) > 1 for case in CASES) >= 3


def test_a_good_reply_to_a_crisis_names_the_support_line() -> None:
    for case in CASES:
        if case["crisis"]:
            assert "12356" in "".join(case["what_a_good_reply_does"])


def test_a_missing_or_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data file"):
        data.read_rows(tmp_path / "absent.jsonl")
    broken = tmp_path / "broken.jsonl"
    broken.write_text(json.dumps({"a": 1}) + "\n[1]\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"broken\.jsonl:2: a JSON list"):
        data.read_rows(broken)
    broken.write_text("{\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"broken\.jsonl:1: not JSON"):
        data.read_rows(broken)
