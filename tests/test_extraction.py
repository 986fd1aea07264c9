"""The table of awkward replies: what was chosen, or nothing rather than a guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.scoring.extraction import extract_choice
from bakeoff.scoring.reading import final_part

OPTIONS = ("倾听", "共情", "面质", "解释")

SINGLE = [
    # marked answers
    ("答案：B", "B"),
    ("答案:B", "B"),
    ("答案：B，因为A不对", "B"),
    ("答案：B，A不对", "B"),
    ("答案：B。A、C、D错误。", "B"),
    ("答案：(B)", "B"),
    ("答案：（Ｂ）", "B"),
    ("答案：[B]", "B"),
    ("答案：「B」", "B"),
    ("**答案：B**", "B"),
    ("答案：**B**", "B"),
    ("【答案】B", "B"),
    ("答案：\nB", "B"),
    ("答案是 B。", "B"),
    ("正确答案为选项B", "B"),
    ("正确答案应该是选项B", "B"),
    ("答案选B", "B"),
    ("答案：$\\boxed{B}$", "B"),
    ("$\\boxed{\\text{B}}$", "B"),
    ("所以最终结果是 \\boxed{B}", "B"),
    ("The answer is B.", "B"),
    ("Answer: c", "C"),
    ("答案：B. 共情", "B"),
    ("答案：B 共情", "B"),
    # forms of the letter
    ("Ｂ", "B"),
    ("答案：Ｂ", "B"),
    ("b", "B"),
    ("答案：b", "B"),
    ("选b", "B"),
    ("B", "B"),
    ("B.", "B"),
    ("(B)", "B"),
    ("选项B", "B"),
    ("B选项", "B"),
    ("𝐁", "B"),
    # ordinals and words
    ("第二项", "B"),
    ("答案：第二项", "B"),
    ("应该选第2个", "B"),
    ("第二个选项是正确的", "B"),
    ("共情", "B"),
    ("“共情”。", "B"),
    ("答案：共情", "B"),
    ("B. 共情", "B"),
    ("B、共情", "B"),
    ("B 共情", "B"),
    # choosing and judging
    ("故选B。", "B"),
    ("我会选择B", "B"),
    ("我认为是B", "B"),
    ("正确的是B", "B"),
    ("不选A，选B", "B"),
    ("A、B都不对，应该选C", "C"),
    ("选项B正确，因为A错误", "B"),
    ("B正确，A错误", "B"),
    ("A错误，B正确，C错误，D错误", "B"),
    ("B，因为A不对", "B"),
    ("A不合适；最合适的做法是B", "B"),
    ("逐项分析。\n所以\nB", "B"),
    # changes of mind: the last word counts
    ("答案：A。更正：答案：C", "C"),
    ("答案是A吗？不，答案是C", "C"),
    ("先看 A。答案：A 不对，答案：D", "D"),
    ("答案：[LETTER]\n答案：B", "B"),
    # thinking does not count
    ("<think>答案：A</think>答案：D", "D"),
    ("<think>也许选A</think>\n\nD", "D"),
    ("先想想 A 吧</think>答案：D", "D"),
    (
        "<|channel|>analysis<|message|>答案：A<|end|><|start|>assistant<|channel|>final<|message|>答案：C<|return|>",
        "C",
    ),
    ("analysisWe need to pick A.assistantfinal答案：B", "B"),
    ("答案：C<|im_end|>", "C"),
    # no answer
    ("", ""),
    ("   \n", ""),
    ("无", ""),
    ("<think>答案：A", ""),
    ("<|channel|>analysis<|message|>答案：A", ""),
    ("抱歉，我无法回答这个问题。", ""),
    ("抱歉，我不能确定是共情还是面质。", ""),
    ("这道题涉及共情，我不能回答", ""),
    ("抑郁症(MDD)的诊断标准见ICD-10", ""),
    ("这是 ABA 疗法", ""),
    ("答案：ABA", ""),
    ("C-PTSD 是一种诊断", ""),
    ("A型人格的人容易着急", ""),
    ("Vitamin B is important", ""),
    ("A patient with PTSD was seen.", ""),
    ("答案：维生素B", ""),
    ("bad", ""),
    ("答案：B和C", ""),
    ("答案：B, C", ""),
    ("答案：B或C", ""),
    ("B 和 C 都正确", ""),
    ("答案：E", ""),
    ("答案：[LETTER]", ""),
    ("答案：A、B、C、D 中的一个", ""),
    ("A. 倾听不对\nB. 共情不错", ""),
    ("共情和面质都有道理", ""),
    ("不是共情", ""),
    ("选A不对", ""),
]

MULTIPLE = [
    ("答案：AC", "AC"),
    ("答案：A、C", "AC"),
    ("答案：A，C", "AC"),
    ("答案：A/C", "AC"),
    ("答案：A C D", "ACD"),
    ("答案：[A, C]", "AC"),
    ("答案：（A）（C）", "AC"),
    ("答案：A和C", "AC"),
    ("答案：A 和 C", "AC"),
    ("答案：A以及D", "AD"),
    ("答案：C、A", "AC"),
    ("答案：ＡＣ", "AC"),
    ("答案：ac", "AC"),
    ("答案：A，C都对", "AC"),
    ("Answer: A and C", "AC"),
    ("应选A、B、D。", "ABD"),
    ("A,C,D", "ACD"),
    ("A C", "AC"),
    ("选项A、选项C", "AC"),
    ("ABCD", "ABCD"),
    ("A. 倾听\nC. 面质", "AC"),
    ("A、C正确，B、D错误", "AC"),
    ("倾听、面质", "AC"),
    ("答案：A", "A"),
    ("<think>答案：ABCD</think>答案：BD", "BD"),
    ("bad", ""),
    ("ABA", ""),
    ("答案：ABA疗法", ""),
    ("答案：AE", ""),
    ("抱歉，我无法回答。", ""),
]


@pytest.mark.parametrize(("reply", "letter"), SINGLE)
def test_a_single_choice_reply(reply: str, letter: str) -> None:
    assert extract_choice(reply, OPTIONS) == letter


@pytest.mark.parametrize(("reply", "letters"), MULTIPLE)
def test_a_multiple_choice_reply(reply: str, letters: str) -> None:
    assert extract_choice(reply, OPTIONS, multiple=True) == letters


def test_the_table_is_as_long_as_promised() -> None:
    assert len({reply for reply, _ in SINGLE}) == len(SINGLE) >= 60


@pytest.mark.parametrize(
    "piece", ["(", "_*", "A B C D ", "ABCDEFGHIJ", "答案：", "\\boxed{", "选B", "都是", "应该", "选项里"]
)
@pytest.mark.parametrize("multiple", [False, True])
def test_a_model_that_repeats_itself_for_pages_is_read_all_the_same(piece: str, multiple: bool) -> None:
    endless = piece * (12_000 // len(piece))
    assert extract_choice(f"{endless}\n答案：C", OPTIONS, multiple=multiple) == "C"
    assert set(extract_choice(endless, OPTIONS, multiple=multiple)) <= set("ABCD")


def test_letters_beyond_the_options_are_no_answer() -> None:
    assert extract_choice("答案：D", OPTIONS[:2]) == ""
    assert extract_choice("答案：F", tuple("甲乙丙丁戊己")) == "F"


def test_an_option_that_is_part_of_another_is_not_mistaken_for_it() -> None:
    options = ("焦虑", "焦虑性抑郁", "强迫")
    assert extract_choice("焦虑性抑郁", options) == "B"
    assert extract_choice("焦虑", options) == "A"


def test_thinking_is_left_out_and_full_width_forms_are_folded() -> None:
    assert final_part("<think>嗯</think>\n好的，Ｂ") == "好的,B"


@given(st.text(max_size=200), st.booleans())
def test_whatever_is_said_only_letters_of_options_come_out(reply: str, multiple: bool) -> None:
    found = extract_choice(reply, OPTIONS, multiple=multiple)
    assert set(found) <= set("ABCD")
    assert list(found) == sorted(set(found))
    assert multiple or len(found) <= 1


@given(st.sampled_from("ABCD"), st.sampled_from(["", "。", "，因为其他选项不对", "\n解析：略"]))
def test_a_marked_answer_is_read_whatever_follows(letter: str, tail: str) -> None:
    assert extract_choice(f"先分析一下各项。\n答案：{letter}{tail}", OPTIONS) == letter
