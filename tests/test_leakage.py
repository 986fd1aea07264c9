# ruff: noqa: E501  (a question is a line)
from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.service import serving
from hypothesis import given
from hypothesis import strategies as st

from bakeoff import evalscope
from bakeoff.evalscope import worker
from bakeoff.foundation.characters import SIMPLIFIED, TRADITIONAL
from bakeoff.foundation.errors import DataError
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
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"deep\.jsonl: cannot be read \(line 1"):
        list(training_dialogues([tmp_path / "deep.jsonl"]))


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


# A set of its own, on which no rule was tuned: what training rows hold of a question, and rows that only resemble it.
CASES = (
    ("小梅升入高三后每次考试前都会腹泻、心慌，父母带她做了全套检查，医生没有发现器质性问题。", ("咨询师此时最不宜采取的做法是哪一种？", "小梅的表现更接近哪一类反应？")),
    ("老周退休半年，常说自己没用，夜里三点醒来就再也睡不着，对一向喜欢的钓鱼也提不起劲。", ("首次会谈中应当优先了解的是什么？", "若要评估严重程度，可选用哪一种量表？")),
    ("阿强在一次车祸中失去了同伴，此后不敢坐车，常在梦里回到事发路口，听到刹车声便浑身发抖。", ("对他最合适的初步处理是什么？", "这些症状持续多久才可以作出相应的诊断？")),
)  # fmt: skip
CHOICES = (
    ("来访者说“你根本不懂我”，咨询师首先应当怎样回应？", ("承认并询问她的感受", "解释自己的专业背景", "转到下一个话题", "结束这次会谈")),
    ("团体辅导开始阶段，带领者最主要的任务是什么？", ("建立信任和规范", "处理成员冲突", "总结收获", "布置作业")),
    ("下列哪一项属于负强化？", ("系上安全带后警报声停止", "做完作业得到糖果", "打架后被取消外出", "哭闹时没有人理会")),
    ("以下说法正确的是", ("阻抗可以是有意的", "移情只出现在精神分析中", "共情等于同意对方", "保密没有例外")),
    ("Which response shows the most empathy toward a friend who failed an exam?", ("It sounds like you are really disappointed", "Everyone fails now and then", "You should have studied", "Let us go and eat")),
    ("What is the first thing a counselor should do when a client mentions suicide?", ("Ask about it directly", "Change the subject", "Promise to keep it secret", "Call the parents at once")),
)  # fmt: skip
OPEN = (
    "我和室友因为作息不同已经冷战两个星期了，每天回宿舍都觉得压抑，要不要主动去说？",
    "生完孩子三个月，我总觉得自己是个失败的妈妈，一听见哭声就想逃开，这样正常吗？",
    "男朋友每次吵架都不说话，我越追问他越沉默，我感觉自己快要崩溃了，应该怎么沟通？",
    "My manager criticises me in front of the whole team every week and I have started to dread Mondays, what can I do?",
)
# Confusable rows: other options, another question on the case, the same words in another order, the same topic.
RESEMBLING = (
    listed("以下说法正确的是", ("情绪没有好坏之分", "梦都有含义", "智力不会改变", "人格由血型决定")),
    listed("下列哪一项属于负强化？", ("吃药后头痛消失", "考好了得到奖金", "迟到被扣钱", "撒娇没有人理")),
    listed(
        "以下说法正确的是（ ）", ("短时记忆容量有限", "遗忘先慢后快", "内隐记忆需要意识", "回忆比再认容易")
    ),
    "小梅升入高三后每次考试前都会腹泻、心慌，父母带她做了全套检查，医生没有发现器质性问题。请为她设计一份放松训练计划。",
    "老周退休半年，常说自己没用，夜里三点醒来就再也睡不着，对一向喜欢的钓鱼也提不起劲。他的家人可以做些什么？",
    "阿强在一次车祸中失去了同伴，此后不敢坐车，常在梦里回到事发路口，听到刹车声便浑身发抖。朋友应该怎样陪伴他？",
    "我和室友的作息完全不同，不过我们约好了晚上十一点以后戴耳机，现在相处得很好。",
    "生完孩子以后我一直睡不好，孩子三个月了，请问什么时候可以开始运动？",
    "男朋友吵架以后总是主动道歉，我反而不知道应该怎么沟通了，感觉怪怪的。",
    "团体辅导结束阶段，带领者最主要的任务是什么？带领者要总结收获，并处理分离的情绪。",
    "来访者说“你真懂我”，咨询师首先应当怎样理解这句话？",
    "What is the first thing a counselor should do when a client arrives late for the third time in a row?",
    "Which response shows the most respect toward a colleague who lost a project? Listening without judging helps.",
    "My manager praises me in front of the whole team every week, and I have started to enjoy Mondays, what a change!",
)


def in_traditional(text: str) -> str:
    table = dict(zip(SIMPLIFIED, TRADITIONAL, strict=True))
    return "".join(table.get(sign, sign) for sign in text)


def leaked_and_resembling() -> list[tuple[str, str, tuple[str, ...], str, bool]]:
    """Pairs of a question and a training row: form, question, options, row, whether the row holds the question."""
    whole = [(f"{case}{asked}", ()) for case, both in CASES for asked in both]
    questions = [*whole, *CHOICES, *((text, ()) for text in OPEN)]
    pairs = []
    for text, options in questions:
        row = listed(text, options) if options else text
        forms = {
            "verbatim": row,
            "traditional": in_traditional(row),
            "in a dialogue": f"你好。\n{row}\n好的，我们一起看看。\n嗯，谢谢。",
            "with tags": row.replace("，", "，<br>").replace(" ", " <b></b>"),
            "other punctuation": row.replace("，", " ").replace("。", "；").replace("？", "").upper(),
        }
        pairs += [(form, text, options, held, True) for form, held in forms.items()]
    for text, options in questions:
        others = [
            other for case, both in CASES for other in (f"{case}{asked}" for asked in both) if other != text
        ]
        pairs += [("resembling", text, options, row, False) for row in (*RESEMBLING, *others)]
    return pairs


OPTIONS_OF_A_PAIR = ("一致性", "有效性", "难度", "区分度")


@pytest.mark.parametrize(
    ("question", "row", "holds"),
    [
        ("心理测验的信度是指测验结果的", "心理测验的效度是指测验结果的 A一致性 B有效性 C难度 D区分度", False),
        ("需要层次理论中，最高层次的需要是", "需要层次理论中，最低层次的需要是 A一致性 B有效性 C难度 D区分度", False),
        ("What is the main function of the amygdala?", "What is the main function of the cerebellum?", False),
        ("提出认知失调理论的心理学家是", "提出归因理论的心理学家是 A一致性 B有效性 C难度 D区分度", False),
        ("心理测验的信度是指测验结果的", "心理测验的信度，指的是测验结果的（一致性 有效性 难度 区分度）", True),
        ("心理测验的信度是指测验结果的哪种性质", "心理测验的信度是指测验结果的什么性质？一致性", True),
        ("王女士，四十二岁，离异，近半年来情绪低落、早醒、体重下降，首先考虑的诊断是什么", "王女士，四十二岁，离异，近半年来情绪低落、早醒、体重减轻，首先考虑的诊断是什么", True),
    ],
)  # fmt: skip
def test_one_other_word_makes_another_question_of_a_short_stem(question: str, row: str, holds: bool) -> None:
    assert (question in leaks({question: question}, [("t:1", row)], {question: OPTIONS_OF_A_PAIR})) is holds


def test_precision_and_recall_on_a_set_that_no_rule_was_tuned_on() -> None:
    questions = {text: text for _, text, _, _, _ in leaked_and_resembling()}
    options = {text: choices for _, text, choices, _, _ in leaked_and_resembling() if choices}
    hits: dict[str, list[bool]] = {}
    wrong = []
    for form, text, _, row, holds in leaked_and_resembling():
        called = text in leaks(questions, [("t:1", row)], options)
        hits.setdefault(form, []).append(called)
        if called is not holds:
            wrong.append((form, text, row))
    found = sum(sum(calls) for form, calls in hits.items() if form != "resembling")
    false = sum(hits["resembling"])
    asked = sum(len(calls) for form, calls in hits.items() if form != "resembling")
    for form, calls in hits.items():
        print(f"{form}: {sum(calls)} of {len(calls)} called leaked")
    print(f"recall {found / asked:.1%}, precision {found / (found + false):.1%}")
    assert found >= 0.95 * asked, wrong
    assert false <= 0.02 * len(hits["resembling"]), wrong
