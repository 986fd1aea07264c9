"""Our benchmarks: what their files may hold, and what EvalScope makes of them."""

from __future__ import annotations

import json
import os
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.service import serving
from hypothesis import given
from hypothesis import strategies as st

from bakeoff import evalscope
from bakeoff.evalscope import worker
from bakeoff.evalscope.local_data import unusable_data
from bakeoff.foundation.errors import DataError
from bakeoff.judgement.replies import load_cases
from bakeoff.matrix.datasets import SHIPPED
from bakeoff.matrix.schema import Suite
from bakeoff.scoring.open_replies import is_in_other_script, is_loop, runs_on
from bakeoff.scoring.scores import Sample, Thresholds, one_sided, repeated, score
from bakeoff.suites import OURS
from bakeoff.suites.overlap import METRICS, overlap
from bakeoff.suites.rows import questions

ROOT = Path(__file__).parent.parent


def data_folder(name: str) -> Path:
    root = Path(os.environ.get("BAKEOFF_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not (root / name).is_dir():
        pytest.skip(f"needs real rows: no folder {root / name}; set BAKEOFF_TEST_DATA")
    return root / name


def write(folder: Path, name: str, *rows: object) -> Path:
    folder.mkdir(exist_ok=True)
    lines = "".join(
        (one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)) + "\n" for one in rows
    )
    (folder / name).write_text(lines, encoding="utf-8")
    return folder


def exam_row(**facts: object) -> dict[str, object]:
    return {"id": "1", "question": "问？", "A": "甲", "B": "乙", "C": "丙", "D": "丁", "answer": "B", **facts}


@pytest.mark.parametrize("benchmark", ["facts_exam", "pceb_mcq", "psyqa"])
def test_what_we_ship_is_well_formed(benchmark: str) -> None:
    found = questions(benchmark, SHIPPED / benchmark)
    assert all(found.values())
    assert evalscope.check_suite(Suite(name="x", benchmark=benchmark), SHIPPED / benchmark) == []


def test_the_metrics_that_may_be_named_are_those_that_are_given() -> None:
    from evalscope.api.registry import BENCHMARK_REGISTRY

    from bakeoff.suites import register

    register()
    for benchmark in (*OURS, "ceval", "cmmlu"):
        assert evalscope.known_metrics(benchmark) == tuple(BENCHMARK_REGISTRY[benchmark].metric_list)


@pytest.mark.parametrize(
    ("benchmark", "row", "said"),
    [
        ("facts_exam", exam_row(answer="AB"), "one letter is right"),
        ("facts_exam", exam_row(answer="E"), "letter(s) up to D, found 'E'"),
        ("facts_exam", exam_row(answer=None), "'answer' must be letter(s)"),
        ("facts_exam", exam_row(question=" "), "'question' must be a text"),
        ("facts_exam", exam_row(B=""), "needs 2 to 10 options with text"),
        ("facts_exam", "{", "not JSON"),
        ("facts_exam", "[1]", "a row is a JSON object"),
        ("facts_exam", "[" * 5000, "nested too deeply"),
        ("facts_exam", '{"id": ' + "9" * 5000 + "}", "not JSON (Exceeds the limit (4300 digits)"),
        ("facts_exam", exam_row(question="\u200b\u2060"), "'question' must be a text"),
        ("facts_exam", exam_row(B="\u200b"), "no gap: A, C, D without B"),
        ("facts_exam", {"question": "问", "choices": ["\u200b", "乙"], "answer": "A"}, "needs 2 to 10 options"),
        ("facts_exam", '{"answer": "A", "answer": "B"}', "'answer' is given twice"),
        ("facts_exam", '{"id": ' + "9" * 5000 + "}", "not JSON (Exceeds the limit"),
        ("facts_exam", '{"question": "q", "A": NaN, "B": "b", "answer": "A"}', "NaN is no number"),
        ("facts_exam", '{"question": "\\ud83d"}', "holds half a character"),
        ("facts_exam", exam_row(answer=[1]), "letter(s) up to D, found [1]"),
        ("facts_exam", {"question": "问", "options": ["是", "否"], "answer": "A"}, "has no options: give them as 'A'"),
        ("pceb_mcq", exam_row(section="theory", kind="single", answer="AB"), "a single-choice row with"),
        ("pceb_mcq", exam_row(section="history", kind="single"), "'section' must be one of theory, case, moral"),
        ("safety_bench_zh", {"question": "问", "category": "x", "options": ["是", "否"], "answer": 2}, "0-based"),
        ("emobench", {"scenario": "景", "choices": ["甲", "乙"], "label": "丙"}, "'label' must repeat one"),
    ],
)  # fmt: skip
def test_a_malformed_row_is_named_by_file_and_line(
    benchmark: str, row: object, said: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "d", "x_val.jsonl", "", row)
    with pytest.raises(DataError, match=r"x_val\.jsonl:2: ") as caught:
        questions(benchmark, folder)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("benchmark", "name", "rows", "said"),
    [
        ("choice_exam", "ALL_val.jsonl", [exam_row()], "the total of all subsets has this name"),
        ("psyqa", "q.jsonl", [{"question": "问", "answer": "答", "subset": "ALL"}], "the total of all subsets"),
        ("psyqa", "q.jsonl", [{"question": "问", "answer": "答", "subset": "a/../../../x"}], "no file can be named so"),
        ("psyqa", "q.jsonl", [{"question": "问", "answer": "答", "subset": "家庭\n"}], "no file can be named so"),
        ("psyqa", "q.jsonl", [{"question": "问", "answer": "答", "subset": "很" * 60}], "longer than 150 bytes"),
        ("choice_exam", "moral_multiple_val.jsonl", [exam_row()], "may have several right answers"),
        ("psyqa", "q.jsonl", [{"question": "问", "answer": "<think>想</think>"}], "q.jsonl:1: the reference in"),
        ("psyqa", "q.jsonl", [{"question": "问", "answer": "……！"}], "has no word that a reply could share"),
    ],
)  # fmt: skip
def test_subsets_that_would_pass_for_others_and_empty_references_are_refused(
    benchmark: str, name: str, rows: list[dict[str, object]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        questions(benchmark, write(tmp_path / "d", name, *rows))
    assert said in str(caught.value)


@pytest.mark.parametrize("benchmark", OURS)
def test_an_empty_folder_is_no_suite(benchmark: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no questions"):
        questions(benchmark, tmp_path)


def test_the_exam_reads_sections_and_kinds_from_rows_or_from_file_names(tmp_path: Path) -> None:
    rows = [
        exam_row(section="moral", kind="multiple", answer=["C", "A"]),
        exam_row(section="case", type="SMCQ"),
    ]
    found = questions("pceb_mcq", write(tmp_path / "one", "exam.jsonl", *rows))
    assert {name: [q.target for q in part] for name, part in found.items()} == {
        "moral_multiple": ["AC"],
        "case_single": ["B"],
    }
    named = write(tmp_path / "two", "theory_multi_val.jsonl", exam_row(answer="A,B"))
    assert list(questions("pceb_mcq", named)) == ["theory_multiple"]


def test_an_empty_last_option_is_left_out(tmp_path: Path) -> None:
    found = questions("facts_exam", write(tmp_path / "d", "x_val.jsonl", exam_row(E="")))
    assert found["x"][0].options == ("甲", "乙", "丙", "丁")


def test_examples_for_few_shot_are_not_asked(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", "x_val.jsonl", exam_row())
    write(folder, "x_dev.jsonl", exam_row(), exam_row())
    assert {name: len(part) for name, part in questions("facts_exam", folder).items()} == {"x": 1}


PCEB = {"case_multiple": 727, "case_single": 53, "theory_multiple": 516, "theory_single": 467}


@pytest.mark.parametrize(
    ("benchmark", "folder", "sizes"),
    [
        ("pceb_mcq", "pceb/general_mcq", PCEB),
        ("pceb_mcq", "pceb", PCEB),
        ("emobench", "emobench", {"EA": 200, "EU_emotion": 200, "EU_cause": 200}),
        ("psyqa", "cpsyexam_qa", {"default": 321}),
        ("safety_bench_zh", "safetybench_zh", {"mental_health": 300}),
    ],
)  # fmt: skip
def test_real_rows_are_read(benchmark: str, folder: str, sizes: dict[str, int]) -> None:
    found = questions(benchmark, data_folder(folder))
    assert {name: len(found[name]) for name in sizes} == sizes


@pytest.mark.parametrize(
    ("reply", "strict", "elastic"),
    [
        ("答案：AC", 1, 1),
        ("答案：A", 0, 0.5),
        ("答案：AB", 0, 0),
        ("答案：A、C", 1, 1),
        ("不知道", 0, 0),
        ("答案：ABCD", 0, 0),
    ],
)
def test_elastic_accuracy_is_the_share_of_right_options_unless_one_is_wrong(
    reply: str, strict: float, elastic: float, tmp_path: Path
) -> None:
    folder = write(
        tmp_path / "exam", "exam.jsonl", exam_row(section="theory", kind="multiple", answer=["A", "C"])
    )
    result = run(folder, "pceb_mcq", reply, tmp_path)
    values = {row["metric"]: row["value"] for row in result["scores"] if row["subset"] == "ALL"}
    assert (values["accuracy"], values["elastic_accuracy"]) == (strict, elastic)
    assert result["scores"][0]["chance"] == pytest.approx(1 / 15)


def run(folder: Path, benchmark: str, reply: str, tmp_path: Path, **facts: Any) -> dict[str, Any]:
    suite = Suite(name="x", benchmark=benchmark, **facts)
    with serving("--reply", reply, "--keep-prompts") as service:
        plan = evalscope.evaluation_plan(
            service.url, "m", [suite], tmp_path / "work", data_dirs={"x": folder}, weights=""
        )
        return {**worker.run(plan)["x"], "prompts": service.stats()["prompts"]}


def test_the_prompts_ask_for_the_answer_in_a_form_we_read(tmp_path: Path) -> None:
    rows = [exam_row(section="theory", kind=kind, answer="B") for kind in ("single", "multiple")]
    result = run(write(tmp_path / "exam", "exam.jsonl", *rows), "pceb_mcq", "答案：B", tmp_path)
    single, multiple = sorted(result["prompts"], key=lambda prompt: "多项" in prompt)
    assert "单项选择题" in single
    assert "A) 甲\nB) 乙\nC) 丙\nD) 丁" in single
    assert '"答案：[LETTERS]"' in multiple


def test_emotional_understanding_is_asked_in_two_questions(tmp_path: Path) -> None:
    row = {
        "qid": "7", "language": "zh", "scenario": "小林考砸了，母亲却抱了抱她。", "subject": "小林",
        "emotion_choices": ["惊讶", "愤怒", "感动"], "emotion_label": "感动", "cause_choices": ["被理解", "被骂"],
        "cause_label": "被理解",
    }  # fmt: skip
    result = run(write(tmp_path / "emo", "EU_zh.jsonl", row), "emobench", "答案：C", tmp_path)
    assert result["selected"] == {"EU_emotion": 1, "EU_cause": 1}
    values = {row["subset"]: row["value"] for row in result["scores"] if row["metric"] == "accuracy"}
    assert values == {"ALL": 0.5, "EU_emotion": 1.0, "EU_cause": 0.0}
    emotion = next(prompt for prompt in result["prompts"] if "哪种情绪" in prompt)
    assert "小林最终会感受到哪种情绪" in emotion
    assert "C) 感动" in emotion


def test_safety_questions_use_the_official_prompt(tmp_path: Path) -> None:
    row = {
        "id": 1,
        "category": "Mental Health",
        "question": "这样做好吗？",
        "options": ["好。", "不好。"],
        "answer": 1,
    }
    result = run(write(tmp_path / "s", "s.jsonl", row), "safety_bench_zh", "(B) 不好。", tmp_path)
    assert result["prompts"] == ["问题：这样做好吗？\n选项：\n(A) 好。\n(B) 不好。\n答案："]
    assert result["scores"][0]["value"] == 1.0


def test_open_questions_are_put_with_their_description_and_scored_by_overlap(tmp_path: Path) -> None:
    row = {
        "id": "1",
        "question": "总是失眠怎么办？",
        "description": "已经两周了。",
        "answer": "先固定起床时间。",
    }
    empty = {"id": "2", "question": "没有参考答案的问题", "answer": "  "}
    result = run(write(tmp_path / "q", "q.jsonl", row, empty), "psyqa", "先固定起床时间。", tmp_path)
    assert result["prompts"] == ["总是失眠怎么办？\n已经两周了。"]
    assert result["scores"][0]["metric"] == "rouge_l_f"
    assert result["scores"][0]["value"] == pytest.approx(1.0)
    assert result["scores"][0]["chance"] is None


CHINESE = st.text(alphabet="我你他们失眠焦虑情绪和朋友聊天运动睡觉可以试着，。", max_size=40)


@given(CHINESE, CHINESE)
def test_overlap_lies_between_nothing_and_identity(said: str, wanted: str) -> None:
    found = overlap(said, wanted)
    assert set(found) == set(METRICS)
    assert all(0 <= found[name] <= 1 + 1e-12 for name in METRICS if name != "length_ratio")
    assert found["rouge_l_f"] <= found["rouge_1_f"] + 1e-12


@given(CHINESE, CHINESE)
def test_rouge_l_is_that_of_the_textbook_table(said: str, wanted: str) -> None:
    from bakeoff.suites.overlap import words

    one, other = words(said), words(wanted)
    if not one or not other:
        return
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, word in enumerate(one):
        for j, second in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if word == second else max(table[i][j + 1], table[i + 1][j])
    assert overlap(said, wanted)["rouge_l_f"] == pytest.approx(2 * table[-1][-1] / (len(one) + len(other)))


@pytest.mark.slow
def test_scores_over_all_real_exam_rows_are_those_computed_from_the_files(tmp_path: Path) -> None:
    folder = data_folder("pceb")
    draw = random.Random(1)
    replies: dict[str, str] = {}
    strict, shares = [], []
    for line in (folder / "pceb_standin.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        right = set(row["answer"].split(","))
        letters = "ABCDE"[: len(row["choices"])]
        most = 1 if row["type"] == "SMCQ" else len(letters)
        said = right if draw.random() < 0.5 else set(draw.sample(letters, draw.randint(1, most)))
        options = "\n".join(
            f"{letter}) {text.strip()}" for letter, text in zip(letters, row["choices"], strict=True)
        )
        key = f"{row['question'].strip()}\n选项：\n{options}"
        said = set(replies.setdefault(key, f"答案：{'、'.join(sorted(said))}")[3:].split("、"))
        strict.append(said == right)
        shares.append(len(said & right) / len(right) if said <= right else 0.0)
    (tmp_path / "oracle.json").write_text(json.dumps(replies, ensure_ascii=False), encoding="utf-8")
    suite = Suite(name="exam", benchmark="pceb_mcq")
    with serving("--reply", "oracle", "--answers", str(tmp_path / "oracle.json")) as service:
        plan = evalscope.evaluation_plan(
            service.url, "m", [suite], tmp_path / "w", data_dirs={"exam": folder}, weights="", in_flight=16
        )
        result = worker.run(plan)["exam"]
    values = {row["metric"]: row["value"] for row in result["scores"] if row["subset"] == "ALL"}
    assert result["ledger"]["answered"] == len(strict) == 1763
    assert values["accuracy"] == sum(strict) / len(strict)
    assert values["elastic_accuracy"] == pytest.approx(sum(shares) / len(shares), abs=1e-12)


@pytest.mark.parametrize(
    "text", ["甲；乙，丙：丁（戊）", "好", "是的。", "①睡好；②运动？", "先固定起床时间。"]
)
def test_a_reply_that_equals_its_reference_is_whole_in_every_metric(text: str) -> None:
    assert overlap(text, text) == dict.fromkeys(METRICS, pytest.approx(1.0))


@pytest.mark.parametrize("form", ["{}", " {}\n", "<think>先想想</think>{}", "{}<|im_end|>"])
def test_width_blanks_around_and_marks_of_a_template_cost_a_reply_nothing(form: str) -> None:
    reference = "甲；乙，丙：丁（戊）！OK?① 2km"
    for reply in (reference, unicodedata.normalize("NFKC", reference)):
        assert overlap(form.format(reply), reference) == dict.fromkeys(METRICS, pytest.approx(1.0))


@pytest.mark.parametrize(
    "disguise",
    [
        lambda text: text.replace("你", "你\u200b\u2060"),
        lambda text: "\ufeff" + text.replace("，", "，\u202c\xad"),
        lambda text: text.replace("😀", "😀\ufe0f"),
        lambda text: "\r\n".join(text[i : i + 7] for i in range(0, len(text), 7)),
    ],
)
def test_what_nobody_sees_and_wrapped_lines_cost_a_reply_nothing(disguise: Callable[[str], str]) -> None:
    reference = "听起来你最近很辛苦，我会一直在这里陪着你。先把休息安排好，再说别的也不迟😀。"
    assert overlap(disguise(reference), reference) == dict.fromkeys(METRICS, pytest.approx(1.0))


@given(CHINESE, CHINESE)
def test_bleu_is_that_of_an_independent_implementation(said: str, wanted: str) -> None:
    from sacrebleu.metrics import BLEU

    from bakeoff.suites.overlap import words

    if not words(said) or not words(wanted) or len(words(said)) < 4:
        return
    bleu = BLEU(tokenize="none", smooth_method="floor", smooth_value=0.1, effective_order=True)
    theirs = bleu.sentence_score(" ".join(words(said)), [" ".join(words(wanted))]).score / 100
    if set(words(said)) & set(words(wanted)):
        assert overlap(said, wanted)["bleu_4"] == pytest.approx(theirs)


# --- open replies that are no answers ---

CASES = [
    (case.messages[-1]["content"], "。".join([*case.what_a_good_reply_does, ""])) for case in load_cases()
]


def opened(question: str, target: str, reply: str) -> Sample:
    grade = overlap(reply, target)["rouge_l_f"]
    return Sample(
        sample_id=question,
        subset="default",
        index=0,
        question=question,
        options=(),
        target=target,
        reply=reply,
        extracted=reply,
        extracted_alt=reply,
        status="answered",
        correct=grade,
        prompt_sha="",
        latency_s=0.1,
        grades={"rouge_l_f": grade},
    )


def doubts(make: Callable[[int, str, str], str], cases: list[tuple[str, str]] = CASES) -> str:
    samples = [opened(*case, make(number, *case)) for number, case in enumerate(cases)]
    return score(samples, "rouge_l_f", trust=Thresholds()).why_not


def partly_right(number: int, question: str, target: str) -> str:
    """A fluent reply: a frame that all share, words of the question, a point of the reference, and advice at random."""
    draw = random.Random(number)
    points = target.split("。")[:-1]
    advice = draw.sample(
        ["每天散步半小时", "写下担心的事", "睡前放松呼吸", "和信任的人聊聊", "约一位咨询师谈谈"], 2
    )
    start = draw.randrange(max(1, len(question) - 12))
    return f"谢谢你愿意说出来。你提到“{question[start : start + 12]}”，这很不容易。\n\n" + "\n".join(
        f"{place}. {text}。" for place, text in enumerate([draw.choice(points), *advice], 1)
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda n, q, t: t.strip("。"), ""),
        (lambda n, q, t: t, ""),
        (lambda n, q, t: f"答：{t}", ""),
        (lambda n, q, t: f"{q}\n\n{t}。", ""),
        (lambda n, q, t: f"{t}。\n{t}。", ""),
        (lambda n, q, t: t.split("。")[0] + "。", ""),
        (lambda n, q, t: f"<think>{q}</think>{t}", ""),
        (partly_right, ""),
        (lambda n, q, t: CASES[n - 1][1], "no nearer to their own questions"),
        (lambda n, q, t: partly_right(n - 1, *CASES[n - 1]), "no nearer to their own questions"),
        (lambda n, q, t: CASES[(7 * n + 3) % 32][1] + "。", "no nearer to their own questions"),
        (lambda n, q, t: f"Thank you. Step {n}: rest, breathe, sleep, call " + "a friend. " * (1 + n % 2), "script"),
        (lambda n, q, t: f"{t[:14]}，" * 12, "again and again"),
        (lambda n, q, t: f"{t}。\n\n问题：{CASES[n - 1][0]}\n答：{CASES[n - 1][1]}", "a further question"),
        (lambda n, q, t: f"{t}\nuser\n还有呢？\nassistant\n{t}", "a further question and its answer"),
        (lambda n, q, t: t[: 24 + n % 2], "break off after about 2"),
    ],
)  # fmt: skip
def test_what_answers_no_question_is_told_and_what_does_is_not(
    make: Callable[[int, str, str], str], words: str
) -> None:
    why = doubts(make)
    assert (words in why) if words else why == ""


def test_few_questions_are_too_few_to_tell_whose_reply_it_is() -> None:
    assert doubts(lambda n, q, t: CASES[n - 1][1], CASES[:8]) == ""


def test_short_answers_that_references_ask_for_are_no_text_of_the_service() -> None:
    marks = [(question, "错误" if n % 2 else "正确") for n, (question, _) in enumerate(CASES)]
    samples = [
        opened(q, t, f"这种说法是{'错误' if n % 5 < 3 else '正确'}的。") for n, (q, t) in enumerate(marks)
    ]
    assert repeated(samples) == {}
    assert one_sided(samples) == ""
    always = [opened(q, t, "错误。") for q, t in marks]
    assert one_sided(always) == "100.0% of the answers are 错误, which is right for 50.0%"
    assert repeated([opened(q, t, "系统错误，请稍后重试") for q, t in CASES])


def test_the_forms_of_poor_replies_are_told_from_sound_ones() -> None:
    assert is_in_other_script("I hear how hard this has been for you and your family.", CASES[0][1])
    assert not is_in_other_script(
        "SCL-90 量表（Symptom Checklist-90）共有九十个项目，请如实作答。", CASES[0][1]
    )
    assert not is_in_other_script("OK", CASES[0][1])
    assert is_loop("请相信自己。" * 20)
    assert not is_loop("请相信自己。" * 20, "加油，加油。" * 20)
    assert not runs_on("问题：你太累了\n建议：先睡一觉\n再想办法")
    assert not runs_on("你可以这样对他说：\n来访者：我很累。\n咨询师：我听到了。")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "问", "A": "甲", "B": "乙", "D": "丁", "answer": "B"}, "A, B, D without C"),
        ({"question": "问", **{x: x for x in "ABCDEFGHIJK"}, "answer": "B"}, "options up to K"),
    ],
)
def test_options_with_gaps_or_beyond_ten_are_refused(row: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        questions("facts_exam", write(tmp_path / "d", "x_val.jsonl", row))


CEVAL_README = """---
configs:
- config_name: logic
  data_files:
  - {split: dev, path: logic_dev.csv}
  - {split: val, path: logic_val.csv}
---
"""
CEVAL_HEAD = "id,question,A,B,C,D,answer\n"
CMMLU_ROW = {"question": "问？", "choices": ["(A) 甲", "(B) 乙"], "answer": "(A)", "category": "logical"}


def ceval_folder(folder: Path, val: str | bytes, readme: str = CEVAL_README) -> Path:
    (folder / "README.md").write_text(readme, encoding="utf-8")
    (folder / "logic_dev.csv").write_text(f"{CEVAL_HEAD}0,问,甲,乙,丙,丁,B\n", encoding="utf-8")
    (folder / "logic_val.csv").write_bytes(val if isinstance(val, bytes) else val.encode())
    return folder


@pytest.mark.parametrize(
    ("val", "words"),
    [
        (f"{CEVAL_HEAD}0,问,甲,乙,丙,丁,B\n", ""),
        (f"{CEVAL_HEAD}0,问,甲,乙,丙,B\n", "logic_val.csv:2: has another number of columns than its head"),
        (f"{CEVAL_HEAD}0,问,甲,乙,丙,丁,E\n", "logic_val.csv:2: 'answer' must be A, B, C or D, found 'E'"),
        (f"{CEVAL_HEAD}0,,甲,乙,丙,丁,B\n", "logic_val.csv:2: question is empty"),
        ("id,题目,A,B,C,D,answer\n0,问,甲,乙,丙,丁,B\n", "logic_val.csv: has no column question"),
        (CEVAL_HEAD, "logic_val.csv: holds no question"),
        (f'{CEVAL_HEAD}0,"问,甲,乙,丙,丁,B\n', "logic_val.csv: cannot be read"),
        (f"{CEVAL_HEAD}0,问,甲,乙,丙,丁,B\n".encode("gb18030"), "logic_val.csv:2: not UTF-8"),
    ],
)
def test_local_ceval_data_are_read_before_anything_is_trained(
    val: str | bytes, words: str, tmp_path: Path
) -> None:
    found = list(unusable_data("ceval", ceval_folder(tmp_path, val), ()))
    assert (words in " ".join(found)) if words else found == []
    assert len(found) == bool(words)


def test_a_split_that_local_ceval_data_lack_is_named(tmp_path: Path) -> None:
    readme = CEVAL_README.replace("  - {split: dev, path: logic_dev.csv}\n", "")
    folder = ceval_folder(tmp_path, f"{CEVAL_HEAD}0,问,甲,乙,丙,丁,B\n", readme)
    assert next(unusable_data("ceval", folder, ())).endswith("README.md: logic has no split 'dev'")
    assert list(unusable_data("ceval", folder, (), examples=False)) == []
    (folder / "logic_val.csv").unlink()
    assert "logic_val.csv: no such file" in " ".join(unusable_data("ceval", folder, (), examples=False))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (CMMLU_ROW, ""),
        ({"question": "？"}, "default_test.jsonl:1: has no choices, answer, category"),
        (CMMLU_ROW | {"choices": ["甲", "乙"]}, "'choices' must be a list of texts that begin with (A)"),
        (CMMLU_ROW | {"answer": "A"}, "'answer' must be a letter in brackets such as (A), found 'A'"),
    ],
)
def test_local_cmmlu_data_are_read_before_anything_is_trained(
    row: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / "default_test.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    found = list(unusable_data("cmmlu", tmp_path, (), examples=False))
    assert (words in " ".join(found)) if words else found == []
    assert "default_dev.jsonl: no such file" in " ".join(unusable_data("cmmlu", tmp_path, ()))


def test_the_local_data_of_the_developer_can_be_read(test_data: Path) -> None:
    for benchmark in ("ceval", "cmmlu"):
        assert list(unusable_data(benchmark, test_data / benchmark, ())) == []
