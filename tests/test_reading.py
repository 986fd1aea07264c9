"""Replies from the field: which part is the reply, and what it states, over phrasings and real questions."""

from __future__ import annotations

import json

import pytest

from bakeoff.judgement.blind import HIDDEN, hide_makers
from bakeoff.judgement.judge_model import read_verdict
from bakeoff.scoring.extraction import extract_choice
from bakeoff.scoring.reading import spoken_part, without_thinking

FOUR = ("倾听", "共情", "面质", "解释")
CARE = ("共情", "忽视", "批评", "说教")
TRUTH = ("正确", "错误")
SHORT_TRUTH = ("对", "错")

THOUGHTS = [
    "用户说很累，我应该先选A。\n</think>\n\n{}",
    "<think>选A</think>{}",
    "<think>\n选A\n</think>\n\n{}",
    "<thinking>选A</thinking>{}",
    "<reasoning>选A</reasoning>{}",
    "<thought>选A</thought>{}",
    "[THINK]选A[/THINK]{}",
    "<seed:think>选A</seed:think>{}",
    "◁think▷选A◁/think▷{}",
    "<|begin_of_thought|>选A<|end_of_thought|>{}",
    "analysis选Aassistantfinal{}",
    "<|channel|>analysis<|message|>选A<|end|><|start|>assistant<|channel|>final<|message|>{}",
    "选A[/THINK]{}",
    "<think>a<think>b</think>选A</think>{}",
]
MARKS = [
    "</s>", "<s>", "[gMASK]<sop>", "<eop>", "<eoa>", "[UNUSED_TOKEN_145]", "<reserved_106>", "<start_of_turn>",
    "<|im_end|>", "<｜end▁of▁sentence｜>", "<|eot_id|>", "<|endoftext|>", "<end_of_turn>", "<eos>", "<|end|>", "<|user|>",
]  # fmt: skip


@pytest.mark.parametrize("thought", THOUGHTS)
def test_thinking_is_read_by_nobody(thought: str) -> None:
    assert spoken_part(thought.format("B")) == "B"
    assert extract_choice(thought.format("B"), FOUR) == "B"
    shown = hide_makers(thought.format("听起来你很辛苦。"))[0]
    assert shown.replace(HIDDEN, "") == "听起来你很辛苦。"


def test_a_judge_that_thinks_without_an_opening_tag_gives_a_verdict() -> None:
    names = ("professionalism", "empathy", "usefulness", "safety", "overall_quality")
    verdict = json.dumps(dict.fromkeys(names, 3))
    for thought in THOUGHTS:
        assert read_verdict(thought.format(verdict), crisis=False).scores["empathy"] == 3
    assert read_verdict(verdict + "<|im_end|>", crisis=False).scores["empathy"] == 3


@pytest.mark.parametrize("mark", MARKS)
def test_marks_of_a_template_are_no_part_of_a_reply(mark: str) -> None:
    assert spoken_part(f"B{mark}") == "B"
    assert spoken_part(f"{mark}B") == "B"
    assert extract_choice(f"B{mark}", FOUR) == "B"
    assert mark not in hide_makers(f"{mark}你好{mark}")[0]


@pytest.mark.parametrize(
    "mark", ["</s>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|user|>", "<｜end▁of▁sentence｜>"]
)
def test_what_follows_the_end_of_the_turn_is_not_the_reply(mark: str) -> None:
    assert spoken_part(f"答案：B{mark}\n答案：C") == "答案：B"


def test_thinking_that_never_ends_leaves_nothing() -> None:
    assert without_thinking("好<think>答案：A") == "好"
    assert without_thinking("[THINK]答案：A") == ""


# (reply, options, wanted)
SINGLE = [
    *[(reply, FOUR, "B") for reply in (
        "答案不是A，而是B。", "我的选择是「B」。", "最佳选择是B", "正解：B", "解：B", "答：B", "Ans: B", "Correct option: B",
        "It is B.", "B是最佳选择", "答案:\u200bB", "正確答案為B。", "我會選擇選項B。", "正确选项：B", "我的选择是：B", "回答：B",
        "结论：B", "最符合的是B", "因此B是最佳答案", "B项当选", "因此，**B. 共情**是正确的。", "选②", "选项二", "答案選B", "故選B",
        "選擇B", "The correct option is (B).", "I think it is B", "It's B.", '{"choice": "B"}', "B</s>", "B<eos>", "boxed{B}",
        "B\n\n解析：有人会选A，但点头是倾听。", "B\n解析：选C的人忽视了……", "B\n\n很多人会选择C。", "B。理由：选A会……",
        "答案：B。很多人误认为答案是C。",
    )],
    ("The correct choice is A.", FOUR, "A"),
    ("答案：A。若答案是B，则与题意不符。", FOUR, "A"),
    ("答案：A\n常见错误答案：B", FOUR, "A"),
    ("答案：A（易错答案：C）", FOUR, "A"),
    ("正确答案是A。很多人误以为答案是B。", FOUR, "A"),
    *[(reply, FOUR, "") for reply in (
        "A、B、C、D都不合适，我无法作答。", "A、B、C都不正确", "A, B, and D are wrong.", "选项A、B、C、D都不正确。", "易错答案：C",
        "The answer is a good one", "I choose a gentle approach", "select a response that helps", "我选择a方案",
        "The answer is a bit complicated.", "I would choose a counselor who listens", "<html>系统维护中…请选择 B 线路</html>",
    )],
    ("该说法不正确。", TRUTH, "B"),
    ("该说法正确。", TRUTH, "A"),
    ("这句话是错误的。", TRUTH, "B"),
    ("正确选项：B", TRUTH, "B"),
    ("答案：B) 错", SHORT_TRUTH, "B"),
    ("答案：B) 错误", TRUTH, "B"),
    ("错", SHORT_TRUTH, "B"),
    ("不对", SHORT_TRUTH, "B"),
    ("答案：A型人格", ("内向", "外向", "B型人格", "A型人格"), "D"),
    ("选择B细胞", ("T细胞", "巨噬细胞", "B细胞", "NK细胞"), "C"),
    ("答案：D-葡萄糖", ("D-葡萄糖", "果糖", "乳糖", "蔗糖"), "A"),
]  # fmt: skip

MULTIPLE = [
    *[(reply, FOUR, "ACD") for reply in ("答案：**A**、**C**、**D**", "答案：\nA. 倾听\nC. 面质\nD. 解释")],
    *[(reply, FOUR, "ABD") for reply in (
        "答案：(A)、(B)、(D)", "答案：A. 倾听；B. 共情；D. 解释", "答案：A.倾听 B.共情 D.解释", "答案：A（倾听）、B（共情）、D（解释）",
        "答案：A) 倾听, B) 共情, D) 解释", "答案：A\nB\nD", "- A\n- B\n- D", '{"answer": ["A","B","D"]}', '答案：["A","B","D"]',
        "答案：A, B, and D", "A, B, 和 D", "\\boxed{A, B, D}", "\\boxed{ABD}", "$\\boxed{\\text{ABD}}$",
        "The correct answers are A, B and D.", "正确选项包括：A、B、D。", "ABD（C不正确）",
    )],
    ("全选", FOUR, "ABCD"),
    *[(reply, CARE, "AC") for reply in (
        "答案：A（共情）、C（批评）", "答案：A. 共情；C. 批评", "答案：A 共情，C 批评", "答案：\nA. 共情\nC. 批评", "答案：\n- A\n- C",
        "答案：A. 共情\n答案：C. 批评", "A\nC", "* A\n* C", "\\boxed{A, C}", "\\boxed{A、C}", "\\boxed{AC}", "1. A\n2. C",
        '答案："A", "C"', "答案：['A', 'C']", "A. ✓\nB. ✗\nC. ✓\nD. ✗", "A: 正确\nB: 错误\nC: 正确\nD: 错误",
    )],
    ("除了C都对", CARE, ""),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "options", "letter"), SINGLE)
def test_a_single_choice_from_the_field(reply: str, options: tuple[str, ...], letter: str) -> None:
    assert extract_choice(reply, options) == letter


@pytest.mark.parametrize(("reply", "options", "letters"), MULTIPLE)
def test_a_multiple_choice_from_the_field(reply: str, options: tuple[str, ...], letters: str) -> None:
    assert extract_choice(reply, options, multiple=True) == letters
