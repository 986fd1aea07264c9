from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.service import serving
from hypothesis import given
from hypothesis import strategies as st

from bakeoff import evalscope
from bakeoff.errors import DataError
from bakeoff.evalscope import worker
from bakeoff.matrix.schema import Suite
from bakeoff.scoring.leakage import (
    NEAR,
    SHORTEST,
    leaked_as,
    leaks,
    normalised,
    training_dialogues,
    training_files,
)

DIALOGUE = "你好，我最近总是失眠，躺下以后心跳很快，担心明天的工作做不好，该怎么办呢？"


def test_a_question_asked_in_training_is_exact_whatever_its_punctuation() -> None:
    found = leaks({"q": "我最近总是失眠 躺下以后，心跳很快！"}, [("train:1", DIALOGUE)])
    assert (found["q"].kind, found["q"].overlap, found["q"].source) == ("exact", 1.0, "train:1")


def test_a_slightly_reworded_question_is_near() -> None:
    asked = "你好，我最近老是失眠，躺下以后心跳很快，担心明天的工作做不好，怎么办呢？"
    found = leaks({"q": asked}, [("train:1", "今天天气不错"), ("train:2", DIALOGUE)])
    assert found["q"].kind == "near"
    assert NEAR <= found["q"].overlap < 1
    assert found["q"].source == "train:2"


def test_a_question_on_the_same_topic_is_no_leak() -> None:
    assert leaks({"q": "失眠的人躺下以后最常见的身体感受是什么？"}, [("train:1", DIALOGUE)]) == {}


def test_a_long_dialogue_does_not_dilute_a_short_question() -> None:
    long = "。".join(f"这是第{i}句无关的话" for i in range(2000))
    assert (
        leaks({"q": "躺下以后心跳很快怎么办"}, [("t:1", f"{long}躺下以后心跳很快，怎么办？{long}")])["q"].kind
        == "exact"
    )


def test_too_short_questions_are_never_called_leaked() -> None:
    assert leaks({"q": "怎么办呢？"}, [("t:1", DIALOGUE)]) == {}


def test_the_place_that_holds_most_is_named() -> None:
    part = DIALOGUE[: len(DIALOGUE) * 4 // 5]
    assert leaks({"q": DIALOGUE}, [("t:1", part), ("t:2", DIALOGUE), ("t:3", part)])["q"].source == "t:2"


@given(
    st.text(alphabet="甲乙丙丁戊己庚辛壬癸 ，。", min_size=1, max_size=60),
    st.text(max_size=30),
    st.text(max_size=30),
)
def test_whatever_surrounds_it_a_contained_question_is_found(asked: str, before: str, after: str) -> None:
    found = leaks({"q": asked}, [("t:1", f"{before}\n{asked}\n{after}")])
    assert ("q" in found) == (len(normalised(asked)) >= SHORTEST)
    assert not found or found["q"].kind == "exact"


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [{"from": "human", "value": DIALOGUE}, {"from": "gpt", "value": "嗯"}]},
        {"messages": [{"role": "user", "content": DIALOGUE}]},
        {"conversation": [{"human": DIALOGUE, "assistant": "嗯"}]},
        {"instruction": DIALOGUE, "input": "", "output": "嗯"},
        {"query": "嗯", "response": "好", "history": [[DIALOGUE, "嗯"]]},
    ],
)
def test_every_schema_of_training_rows_is_read(row: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert leaks({"q": DIALOGUE}, training_dialogues([path]))["q"].source == "train.jsonl:1"


def test_a_missing_training_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl: no such training file"):
        list(training_dialogues([tmp_path / "nowhere.jsonl"]))


def test_a_folder_of_training_files_is_read_whole(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "deep").mkdir()
    (tmp_path / "a.jsonl").write_text('{"messages": [{"content": "今天天气不错"}]}\n', encoding="utf-8")
    (tmp_path / "README.md").write_text("{no row", encoding="utf-8")
    rows = [{"messages": [{"role": "user", "content": DIALOGUE}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "deep" / "b.parquet")
    files, unread = training_files([str(tmp_path)])
    assert unread == ""
    assert leaks({"q": DIALOGUE}, training_dialogues(files))["q"].source == "b.parquet:1"


@pytest.mark.parametrize(
    ("asked", "use_hf"), [("CodyWhy/mh-Talks", False), ("HF::CodyWhy/mh-Talks#20", True)]
)
def test_what_training_fetched_from_a_hub_is_searched(
    asked: str, use_hf: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.packaged_modules.json.json import Json

    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    rows = tmp_path / "rows.jsonl"
    for version, text in (("old", "今天天气不错"), ("new", DIALOGUE)):
        rows.write_text(json.dumps({"messages": [{"content": text}]}, ensure_ascii=False) + "\n", "utf-8")
        builder = Json(
            cache_dir=str(tmp_path / "hf" if use_hf else tmp_path / "ms/datasets"),
            repo_id="CodyWhy/mh-Talks",
            dataset_name="mh-Talks",
            data_files={"train": [str(rows)]},
            hash=version,
        )
        builder.download_and_prepare()
    files, unread = training_files([asked])
    assert (len(files), unread) == (1, "")
    assert "q" in leaks({"q": DIALOGUE}, training_dialogues(files))


def test_what_is_not_on_this_machine_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    there = tmp_path / "train.jsonl"
    there.write_text("{}\n", encoding="utf-8")
    files, unread = training_files([str(there), "CodyWhy/mh-talks"])
    assert files == [there]
    assert unread == f"CodyWhy/mh-talks is not in {tmp_path / 'datasets'}, where training leaves it"
    assert training_files([])[1] == "the row names no training data"


def test_a_base_takes_the_leaks_of_the_tuned_model(tmp_path: Path) -> None:
    rows = [
        {"sample_id": name, "correct": correct, "leaked": False}
        for name, correct in (("a", 1.0), ("b", 0.0), ("c", None), ("d", 1.0))
    ]
    base = {"suite": "x", "samples": rows, "leakage": [], "leakage_not_checked": "absent"}
    tuned = {"leaked_questions": {"a": {"kind": "exact"}}, "leakage": [{"expected": True}]}
    found = leaked_as(base, tuned)
    assert [row["leaked"] for row in found["samples"]] == [True, False, False, False]
    assert found["leakage"] == [
        {"suite": "x", "expected": True, "n_asked": 4, "n_leaked": 1, "n_exact": 1, "value_without": 0.5}
    ]
    assert found["leakage_not_checked"] == ""


@pytest.mark.parametrize("expected", [False, True])
def test_a_score_is_also_shown_without_the_leaked_questions(expected: bool, tmp_path: Path) -> None:
    folder = tmp_path / "exam"
    folder.mkdir()
    letters = "AABB"
    questions = [f"来访者在第{word}次会谈中说了什么话？" for word in ("一", "二", "三", "四")]
    rows = [
        {"id": i, "question": q, **{x: f"{x}{i}" for x in "ABCD"}, "answer": letter}
        for i, (q, letter) in enumerate(zip(questions, letters, strict=True))
    ]
    (folder / "x_val.jsonl").write_text(
        "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8"
    )
    train = tmp_path / "train.jsonl"
    train.write_text(
        json.dumps({"messages": [{"role": "user", "content": questions[0]}]}, ensure_ascii=False), "utf-8"
    )
    suite = Suite(name="x", benchmark="facts_exam", leakage_expected=expected)
    with serving("--reply", "always:A") as service:
        plan = evalscope.evaluation_plan(
            service.url, "m", [suite], tmp_path / "w", data_dirs={"x": folder}, weights="", training=[train]
        )
        result = worker.run(plan)["x"]
    values = {
        row["metric"]: (row["value"], row["n_asked"]) for row in result["scores"] if row["subset"] == "ALL"
    }
    assert values["accuracy"] == (0.5, 4)
    assert values["accuracy_unleaked"] == (pytest.approx(1 / 3), 3)
    assert result["leakage"] == [
        {
            "suite": "x", "expected": expected, "n_asked": 4, "n_leaked": 1, "n_exact": 1,
            "value_without": pytest.approx(1 / 3),
        }
    ]  # fmt: skip
    assert result["leakage_not_checked"] == ""
    assert [leak["source"] for leak in result["leaked_questions"].values()] == ["train.jsonl:1"]
    assert ("occur in the training data" in " ".join(result["alarms"])) is not expected
    marked = [row["question"] for row in evalscope.sample_rows(result, model="", variant="") if row["leaked"]]
    assert marked == questions[:1]


STEM = "下列说法正确的是（ ）"
MINE, OTHER = ("压抑是防御机制", "投射是防御机制"), ("注意有三种", "记忆有四种")


def listed(text: str, options: tuple[str, ...]) -> str:
    return "\n".join([text, *(f"{letter}. {words}" for letter, words in zip("ABCD", options, strict=False))])


def test_a_common_stem_is_a_leak_only_with_its_options() -> None:
    for row, expected in ((listed(STEM, MINE), True), (listed(STEM, OTHER), False), (STEM, False)):
        assert ("q" in leaks({"q": STEM}, [("t:1", row)], {"q": MINE})) is expected


def test_another_question_on_the_same_case_is_no_leak() -> None:
    case = "小林在母亲去世后三个月里一直无法入睡，工作效率下降，常常独自流泪，不愿与人来往。"
    asked = {"a": f"{case}咨询师首先应当评估的是哪一方面？", "b": f"{case}小林出现的情绪属于什么反应？"}
    assert leaks(asked, [("t:1", asked["a"])]).keys() == {"a"}


def test_english_words_scattered_over_a_long_row_are_no_leak() -> None:
    asked = "Why does the client feel so lonely after the wedding of her sister"
    row = " and then nothing of interest was said at all ".join(asked.split())
    assert leaks({"q": asked}, [("t:1", row)]) == {}
    assert leaks({"q": asked}, [("t:1", f"{row} {asked}? {row}")])["q"].kind == "exact"
