"""Replies from the field: which part is the reply, and what it states, over phrasings and real questions."""

from __future__ import annotations

import csv
import importlib
import json
import pkgutil
import random
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bakeoff.scoring
from bakeoff.foundation.characters import SIMPLIFIED, TRADITIONAL, simplified
from bakeoff.judgement.hiding import HIDDEN, hide_makers
from bakeoff.judgement.judge_model import read_verdict
from bakeoff.scoring.extraction import extract_choice
from bakeoff.scoring.labels import LETTERS
from bakeoff.scoring.options import plain_form
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
    ("除了C都对", CARE, "ABD"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "options", "letter"), SINGLE)
def test_a_single_choice_from_the_field(reply: str, options: tuple[str, ...], letter: str) -> None:
    assert extract_choice(reply, options) == letter


@pytest.mark.parametrize(("reply", "options", "letters"), MULTIPLE)
def test_a_multiple_choice_from_the_field(reply: str, options: tuple[str, ...], letters: str) -> None:
    assert extract_choice(reply, options, multiple=True) == letters


# Phrasings: {L} a letter, {W} its option's words, {X}/{V} another option's letter and words; {M:sep:form} a list.
OPENINGS_ZH = (
    "答案：{}", "答案是{}", "答案为{}", "正确答案：{}", "正确答案是{}", "正确答案为{}", "正确答案应该是{}", "最终答案：{}", "**答案：{}**",
    "【答案】{}", "参考答案：{}", "故选{}", "应选{}", "因此选择{}", "所以答案是{}", "综上，答案是{}", "我的选择是{}", "我的答案是{}", "正确选项：{}",
    "正确选项是{}", "正确选项为{}", "正解：{}", "答：{}", "回答：{}", "结论：{}", "答案選{}", "正確答案為{}", "我會選擇{}", "应该选{}",
    "本题选{}", "这道题的答案是{}", "选择：{}", "选项：{}", "根据题意，选{}", "答案:{}", "答案 : {}", "先分析各项。\n\n答案：{}", "综合以上分析，正确答案是{}",
    "The answer is {}", "Answer: {}", "The correct answer is {}", "Final answer: {}", "The correct option is {}", "I choose {}",
    "I would pick {}", "So the answer is {}", "Ans: {}", "Therefore, the correct choice is {}",
)  # fmt: skip
FORMS_SINGLE = (
    "{L}",
    "{L}。",
    "（{L}）",
    "**{L}**",
    "「{L}」",
    "{L}. {W}",
    "{L}) {W}",
    "{L}、{W}",
    "{L}（{W}）",
    "{L}选项",
)
FORMS_SINGLE_MORE = (
    "{L}", "{L}.", "({L})", "[{L}]", "**{L}**", "**{L}. {W}**", "{L}. {W}", "{L}、{W}", "{L}) {W}", "选项{L}", "{L}选项", "选{L}", "选{L}。",
    "{L}\n\n解析：有人会选{X}，但题意不是这样。", "{L}\n解析：选{X}的人忽视了题干。", "{L}。理由：选{X}会出错。", "{L}，因为{X}不对", "{L}，{X}不对",
    "答案：{L}。{X}错误。", "答案：{L}，因为{X}不符合题意。", "答案：{L}\n常见错误答案：{X}", "答案：{L}。若答案是{X}，则与题意不符。",
    "答案：{L}（易错答案：{X}）", "答案：{L}。很多人误认为答案是{X}。", "答案不是{X}，而是{L}。", "不选{X}，选{L}", "{L}是正确的。", "{L}正确，{X}错误。",
    "选项{L}正确，因为{X}不合题意", "{X}错误，{L}正确。", "因此{L}是最佳答案", "{L}项当选", "因此，**{L}. {W}**是正确的。", "\\boxed{{{L}}}", "$\\boxed{{\\text{{{L}}}}}$",
    "所以结果是\\(\\boxed{{{L}}}\\)。", '{{"answer": "{L}"}}', '{{"choice": "{L}"}}', '```json\n{{"answer": "{L}"}}\n```', "答案是{X}吗？不，答案是{L}。",
    "答案：{X}。更正：答案：{L}", "<think>选{X}</think>{L}", "先想想{X}。</think>答案：{L}", "It is {L}.", "I think it is {L}", "{L} is correct.", "{L} is the best choice because {X} is wrong.",
    "Option {L} is correct.", "答案：{L}</s>", "{L}<|im_end|>", "## 答案\n{L}", "### 答案：\n\n**{L}**", "逐项分析如下。\n因此\n{L}",
    "如果选{X}就错了，所以选{L}。", "看似{X}，其实应该选{L}", "最合适的做法是{L}", "我认为是{L}", "正确的是{L}", "符合题意的是{L}。",
)  # fmt: skip
SEPARATORS = ("", "、", "，", ",", ", ", "/", " ", "和", " 和 ", "；")
FORMS_LIST = (
    "{L}",
    "**{L}**",
    "（{L}）",
    "({L})",
    "“{L}”",
    "{L}. {W}",
    "{L}) {W}",
    "{L}（{W}）",
    "{L}、{W}",
    "选项{L}",
    "【{L}】",
)
OPENINGS_MULTIPLE = (
    "答案：{}", "答案是{}", "正确答案：{}", "正确答案为{}", "【答案】{}", "故选{}", "应选{}", "正确选项：{}", "我的选择是{}", "{}", "正確答案為{}",
    "The correct answers are {}", "Answer: {}",
)  # fmt: skip
LISTS_WHOLE = (
    ("答案：\n", "{L}. {W}", "\n", ""), ("答案：\n", "- {L}", "\n", ""), ("答案：\n", "{L}", "\n", ""), ("", "{L}", "\n", ""), ("", "- {L}", "\n", ""),
    ("", "{L}. {W}", "\n", ""), ("", "* {L}. {W}", "\n", ""), ("答案：\n", "* **{L}**", "\n", ""), ("\\boxed{", "{L}", ", ", "}"), ("\\boxed{", "{L}", "", "}"),
    ("$\\boxed{\\text{", "{L}", "", "}}$"), ('{"answer": [', '"{L}"', ", ", "]}"), ("答案：[", "'{L}'", ", ", "]"), ("答案：[", "{L}", ", ", "]"),
    ("以下选项正确：", "{L}", "、", "。"), ("正确选项包括：", "{L}", "、", "。"), ("", "{L}", "、", "都是正确的。"), ("", "{L}", "、", "正确。"),
    ("答案：\n", "- {L}. {W}", "\n", "\n\n解析：略。"), ("答案：", "{L}", "", "\n解析：其余选项不符合题意。"), ("", "{L}", "", "\n\n因为这些符合题意。"),
    ("<think>选A</think>答案：", "{L}", "、", ""), ("答案：", "{L}", "", "</s>"), ("选", "{L}", "", "。"), ("因此，正确答案是**", "{L}", "、", "**。"),
)  # fmt: skip


def single_phrasings() -> list[str]:
    forms = [opening.format(form) for opening in OPENINGS_ZH for form in FORMS_SINGLE]
    return [*forms, *FORMS_SINGLE_MORE]


def multiple_phrasings() -> list[tuple[str, str, str, str]]:
    made = [
        (*opening.split("{}"), form, sep)
        for opening in OPENINGS_MULTIPLE
        for form in FORMS_LIST
        for sep in SEPARATORS
    ]
    lists = [
        (before, form, sep, after)
        for before, after, form, sep in made
        if sep not in ("", " ") or form in ("{L}", "（{L}）", "**{L}**")
    ]
    return [*lists, *LISTS_WHOLE]


def questions(folder: Path) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every choice question of the sample data: its options and the letters of its right answer."""
    for path in sorted((folder / "ceval").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield tuple(row[letter] for letter in "ABCD"), row["answer"]
    for name in ("default_test", "default_dev"):
        for row in rows(folder / "cmmlu" / f"{name}.jsonl"):
            yield tuple(choice[4:] for choice in row["choices"]), row["answer"].strip("()")
    for row in rows(folder / "safetybench_zh" / "test_zh_subset_with_answers.jsonl"):
        yield tuple(row["options"]), LETTERS[row["answer"]]
    for row in rows(folder / "emobench" / "EA_zh.jsonl"):
        yield tuple(row["choices"]), LETTERS[row["choices"].index(row["label"])]
    for path in sorted((folder / "pceb" / "general_mcq").glob("*.jsonl")):
        for row in rows(path):
            yield tuple(row[letter] for letter in LETTERS if row.get(letter)), "".join(sorted(row["answer"]))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def said(phrasing: str, options: Sequence[str], right: str, chance: random.Random) -> str:
    other = chance.choice([i for i in range(len(options)) if LETTERS[i] != right])
    words = options[LETTERS.index(right)]
    return phrasing.format(L=right, W=words, X=LETTERS[other], V=options[other])


def listed(phrasing: tuple[str, str, str, str], options: Sequence[str], right: str) -> str:
    before, form, sep, after = phrasing
    items = [form.format(L=letter, W=options[LETTERS.index(letter)]) for letter in right]
    return before + sep.join(items) + after


def test_the_corpus_is_as_long_as_promised() -> None:
    assert len(set(single_phrasings())) >= 400
    assert len(set(multiple_phrasings())) >= 400


def outcomes(folder: Path) -> Iterator[tuple[str, str, tuple[str, ...], str, str]]:
    """Replies to every question: phrasing by turns, all phrasings many times, every question at least once."""
    chance = random.Random(20)
    single, several = single_phrasings(), multiple_phrasings()
    for number, (options, right) in enumerate(questions(folder)):
        if len(right) == 1 and len(options) > 1:
            phrasing = single[number % len(single)]
            reply = said(phrasing, options, right, chance)
            yield phrasing, reply, options, right, extract_choice(reply, options)
        for turn in range(3 if len(right) > 1 else 0):
            shape = several[(3 * number + turn) % len(several)]
            reply = listed(shape, options, right)
            yield str(shape), reply, options, right, extract_choice(reply, options, multiple=True)


def test_no_phrasing_of_a_right_answer_is_read_as_another(test_data: Path) -> None:
    wrong, unread, asked = [], [], 0
    for _, reply, options, right, found in outcomes(test_data):
        asked += 1
        if found and found != right:
            wrong.append((reply, options, right, found))
        elif not found:
            unread.append((reply, options, right))
    assert asked > 10_000
    assert not wrong, wrong[:5]
    assert len(unread) <= 0.01 * asked, (len(unread), asked, unread[:5])


WRAPS = ("{}", "**{}**", "> {}", "### {}", "{}\n\n解析：其余不合题意。", "<think>先想想。</think>\n\n{}")


@given(
    st.permutations(("静静地听完", "设身处地理解", "指出矛盾", "说明原理")),
    st.integers(0, 3),
    st.sampled_from(WRAPS),
)
def test_order_explanation_and_markdown_never_change_what_is_read(
    order: list[str], place: int, wrap: str
) -> None:
    letter, words = LETTERS[place], order[place]
    for phrasing in ("答案：{L}", "答案：{L}. {W}", "故选{L}", "{L}. {W}", "The answer is {L}"):
        reply = wrap.format(phrasing.format(L=letter, W=words))
        assert extract_choice(reply, order) == letter
        assert extract_choice(reply, order, multiple=True) == letter


# Lists and judgements of any form: {L} a letter and its likes (full width, small, circled, ordinal), {W} the option's words.
OPTION_POOL = (
    "静静地听完", "设身处地理解", "指出矛盾", "说明原理", "给予建议", "不评价对方", "鼓励表达", "维生素B缺乏", "抑郁症(MDD)", "转移话题",
    "A型人格", "认知重评", "正强化", "Listening", "active empathy", "Not judging", "a calm voice", "共情", "倾听", "错误归因",
)  # fmt: skip
LABEL_STYLES = (
    "{L}", "({L})", "（{L}）", "**{L}**", "【{L}】", "[{L}]", "“{L}”", "`{L}`", "「{L}」", "{full}", "{small}", "{circle}", "第{ordinal}项",
    "选项{L}", "{L}选项", "{L}项", "Option {L}", "{roman}", "{digit}",
)  # fmt: skip
GLOSSES = (
    "",
    ". {W}",
    "、{W}",
    "（{W}）",
    "({W})",
    ") {W}",
    " {W}",
    "：{W}",
    ": {W}",
    "．{W}",
    ". **{W}**",
    "——{W}",
)
LIST_SEPARATORS = (
    "、", "，", ",", ", ", "，", "；", "; ", "/", " / ", "和", " and ", "\n", "\n- ", "+", "&", "、和", "\n\n", "以及", " | ", "，还有", "\n* ",
    ", and ",
)  # fmt: skip
LIST_CUES = (
    "{}", "答案：{}", "答案是{}", "正确答案：{}", "正确答案为{}。", "故选{}", "应选{}。", "正确选项：{}", "【答案】{}", "**答案：** {}", "**答案：{}**",
    "## 答案\n{}", "答案：\n{}", "Answer: {}", "The correct answers are {}.", "I would choose {}", "\\boxed{{{}}}", "$\\boxed{{\\text{{{}}}}}$",
    '{{"answer": "{}"}}', '{{"answer": [{}]}}', '```json\n{{"answer": "{}"}}\n```', "正確答案：{}", "應選{}", "我選擇{}", "我的选择是{}",
    "先分析题目。\n\n综上，答案：{}", "正确的是{}", "{}都正确", "{} are correct.", "> 答案：{}", "The answer is {}.", "因此，{}是正确答案", "最终答案：{}",
)  # fmt: skip
AFTERWARDS = (
    "", "\n\n解析：其余选项不符合题意。", "\n\n理由：这样做更专业。", "。因为这些做法合适。", "\n解析：{X}项不正确。", "，{X}错误", "。{X}不对", "\n\n{X}是常见的错误选择。",
    "</s>", "\n\nExplanation: {X} is wrong because it judges.", "（{X}不选）", "，不选{X}", "。很多人会误选{X}。", "，因为{X}不合适",
)  # fmt: skip
SIGNS = (
    ("对", "错"), ("正确", "错误"), ("✓", "✗"), ("√", "×"), ("✅", "❌"), (" is correct", " is wrong"), (": true", ": false"), ("：正确", "：不正确"),
    ("是正确的", "是错误的"), ("：选", "：不选"), ("符合题意", "不符合题意"), ("合适", "不合适"), ("：是", "：否"), ("正確", "錯誤"), ("：對", "：錯"), (": Yes", ": No"),
)  # fmt: skip


def named(style: str, index: int, words: str) -> str:
    return style.format(
        L=LETTERS[index],
        small=LETTERS[index].lower(),
        full=chr(ord("Ａ") + index),
        circle="①②③④⑤⑥"[index],
        ordinal="一二三四五六"[index],
        roman="ⅠⅡⅢⅣⅤⅥ"[index],
        digit=index + 1,
        W=words,
    )


@st.composite
def stated_sets(draw: st.DrawFn) -> tuple[str, list[str], str]:
    """A reply that states a set of options as a list or by judging each option, the options, and the set."""
    options = draw(st.lists(st.sampled_from(OPTION_POOL), min_size=3, max_size=6, unique=True))
    picked = draw(st.sets(st.integers(0, len(options) - 1), min_size=1))
    others = [i for i in range(len(options)) if i not in picked]
    style = draw(st.sampled_from(LABEL_STYLES)) + draw(st.sampled_from(GLOSSES))
    after = draw(st.sampled_from(AFTERWARDS))
    after = after.format(X=LETTERS[draw(st.sampled_from(others))]) if others else ""
    if draw(st.booleans()):
        items = [named(style, i, options[i]) for i in sorted(picked)]
        reply = draw(st.sampled_from(LIST_CUES)).format(draw(st.sampled_from(LIST_SEPARATORS)).join(items))
    else:
        signs = draw(st.sampled_from(SIGNS))
        items = [named(style, i, words) + signs[i not in picked] for i, words in enumerate(options)]
        separator = draw(st.sampled_from(("，", "；", "。", "\n", "\n- ", "; ", ", ")))
        reply = draw(st.sampled_from(("{}", "答案：{}", "逐项判断：\n{}"))).format(separator.join(items))
    return reply + after, options, "".join(LETTERS[i] for i in sorted(picked))


@settings(max_examples=600)
@given(stated_sets())
def test_a_set_is_read_whole_or_not_at_all(stated: tuple[str, list[str], str]) -> None:
    reply, options, letters = stated
    assert extract_choice(reply, options, multiple=True) in (letters, "")
    if len(letters) == 1:
        assert extract_choice(reply, options) in (letters, "")


# Phrasings that were written after the rules, so that the rules were not made for them; unread is allowed, wrong is not.
LATER_SINGLE = (
    ("我倾向于B。", "B"), ("经过比较，B更合适。", "B"), ("B最符合题意", "B"), ("显然，答案非B莫属", "B"), ("答案应为B", "B"), ("答案为B项", "B"),
    ("正确的选项是 B 。", "B"), ("选B，不选C。", "B"), ("很多同学会选C，但正确答案是B", "B"), ("My answer is (B) 共情", "B"),
    ("The best option is B because A is passive.", "B"), ("I'd go with B.", 'B'), ("**Answer:** B", "B"),
    ("**答案**：B", "B"), ("答案：`B`", "B"), ("最终选择：B", "B"), ("Option B", "B"),
    ("B. 共情\n\n理由：A、C、D都不合适", "B"), ("如果是C，则不合理。答案：B", "B"), ("无法确定", ""), ("A和B都可以", ""), ("没有正确答案", ""),
    ("可能是A，也可能是B", ""), ("我不会选A", ""), ("除B外都对", ""), ("答案不是B", ""), ("Not B.", ""), ("答案B", "B"),
    ("Ｂ．共情", "B"), ("正確選項是（Ｂ）", "B"), ("答案：C反应蛋白", ""), ("维生素B缺乏", ""),
    ("A选项错误；B选项正确；C选项错误；D选项错误。", "B"), ("A ✗ B ✓ C ✗ D ✗", "B"), ("答案是C……等等，应该是B。", "B"), ("这题选 B 哦", "B"),
    ("答案：B（共情）。", "B"), ("| 答案 |\n|---|\n| B |", "B"), ("正确答案毫无疑问是B", "B"), ("B才是正确的选择", "B"),
    ("本题的正确选项应当为B。", "B"), ("我的判断：B", "B"), ("综上所述，应该选择B选项", "B"), ("这道题，选B没错", "B"), ("经排除法，只剩B", "B"),
    ("A、C、D均可排除，故答案为B", "B"), ("答案呢，是B", "B"), ("B（共情）最为恰当", "B"), ("选择题答案：B", "B"),
    ("【正确答案】B【解析】A不符合", "B"), ("【答案】：B\n【分析】很多考生误选C", "B"), ("第2题答案：B", "B"), ("2. B", "B"), ("答：选B。", "B"),
    ("答案：选项二", "B"), ("我选第二个", "B"), ("应该是第二个选项", "B"), ("肯定是B啦", "B"), ("起初我以为是A，后来发现应该是B", "B"),
    ("答案是A。抱歉，更正一下，答案是B。", "B"), ("A？不对，是B。", "B"), ("先选A……再想想，应选B", "B"), ("The answer would be B", "B"),
    ("Answer - B", "B"), ("Answer → B", "B"), ("My choice: B", "B"), ("I'm going with option B.", 'B'),
    ("B, since the others judge the client.", "B"), ("Definitely B.", "B"), ("**B** is the best answer", "B"),
    ("The most appropriate response is B.", "B"), ("Let me think. A is wrong. C is wrong. So B.", "B"),
    ("Correct answer: (B) 共情", "B"), ("<answer>B</answer>", "B"), ('{"answer": "B", "reason": "A 不对"}', 'B'),
    ("```\nB\n```", "B"), ("$$B$$", "B"), ("\\text{B}", "B"), ("答案：B，而不是A", "B"), ("答案：B而非A", "B"),
    ("不是A也不是C，而是B", "B"), ("若为A则不妥，故B", "B"), ("常见误区是选C，正确的是B", "B"), ("也许是B吧", ""), ("难说，A或B", ""), ("不是A", ""),
    ("绝对不选B", ""), ("如果是B就好了", ""), ("大多数人选B", ""), ("B类药物有副作用", ""), ("本题考查B型血", ""),
    ("请给出选项A-D的具体内容", ""), ("以上都不对", ""), ("I can't decide between A and B.", ''), ("Many would pick B.", ""),
    ("A common mistake is B.", ""), ("Not A, not B.", ""), ("It depends: if she is angry, B; otherwise A.", ""),
)  # fmt: skip
LATER_MULTIPLE = (
    ("答案：A、B、D。C错误。", "ABD"), ("选A、B和D", "ABD"), ("A、B、D三项正确", "ABD"), ("除C外，其余都正确", "ABD"), ("A对B对C错D对", "ABD"),
    ("答案：ABD，其中C不对", "ABD"), ("以上都对", "ABCD"), ("- [x] A\n- [x] B\n- [ ] C\n- [x] D", "ABD"),
    ("正确答案：A. 仔细听；B. 体会；D. 讲清楚", "ABD"), ("The answers: A, B & D", "ABD"),
    ("Options A, B and D are correct.", "ABD"), ("答案：**A. 倾听**\n**B. 共情**\n**D. 解释**", "ABD"),
    ("答案：\n1. A. 倾听\n2. B. 共情\n3. D. 解释", "ABD"), ("正确的有ABD", "ABD"), ("A、B、D", "ABD"), ("A,B不对，C、D对", "CD"),
    ("答案：A；B；D", "ABD"), ("答案：①②④", "ABD"), ("倾听、共情和解释", "ABD"), ("答案：ABD三项", "ABD"), ("应选ABD", "ABD"),
    ("A、B、D 三个选项都对", "ABD"), ("正确的选项有：A 倾听、B 共情、D 解释", "ABD"), ("答案包含A，B以及D", "ABD"), ("答案：A && B && D", "ABD"),
    ("本题选择A,B,D三项。C项错误，因为面质过早", "ABD"), ("A B D", "ABD"), ("答案是：A项、B项、D项", "ABD"), ("(A)(B)(D)", "ABD"),
    ("答案：A．倾听\u3000B．共情\u3000D．解释", "ABD"), ("【答案】ABD\n【解析】A项…B项…C项属于面质，不选", "ABD"), ("答案：①、②、④", "ABD"),
    ("选择：第一项、第二项、第四项", "ABD"), ("答案：A、B和D都应该选", "ABD"), ("A是对的，B是对的，C是错的，D是对的", "ABD"),
    ("A：√；B：√；C：×；D：√", "ABD"), ("A（对）B（对）C（错）D（对）", "ABD"),
    ("A项正确。B项正确。C项错误。D项正确。故选ABD。", "ABD"), ("选项C不正确，其余均正确，故选ABD", "ABD"), ("The answers are A, B, and D.", "ABD"),
    ("A, B and D are all correct; C is not.", "ABD"), ("Correct: A, B, D. Incorrect: C.", "ABD"),
    ("Answers: [A, B, D]", "ABD"), ('{"A": true, "B": true, "C": false, "D": true}', 'ABD'),
    ('{"correct": ["A", "B", "D"], "wrong": ["C"]}', 'ABD'), ('["A", "B", "D"]', 'ABD'),
    ("\\boxed{A}, \\boxed{B}, \\boxed{D}", "ABD"), ("$A, B, D$", "ABD"),
    ("| 选项 | 是否正确 |\n|---|---|\n| A | 是 |\n| B | 是 |\n| C | 否 |\n| D | 是 |", "ABD"),
    ("答案：AB。更正：还应包括D，答案是ABD", "ABD"), ("一开始选AB，最终选ABD", "ABD"), ("答案：A、B。哦不，应为A、B、D", "ABD"),
    ("除C外，A、B、D都对", "ABD"), ("选A、B。D也可以选。", "ABD"), ("A肯定对，B也对，D勉强可以", "ABD"), ("答案：A与B，D存疑", ""), ("至少有A", ""),
    ("可能是ABD", ""), ("答案：倾听；共情；解释", "ABD"), ("应当倾听、共情并解释", "ABD"),
    ("答案：A 倾听\n答案：B 共情\n答案：D 解释", "ABD"), ("一、A\n二、B\n三、D", "ABD"), ("ABD选项", "ABD"), ("正確答案為A、B及D", "ABD"),
    ("應選：甲、乙、丁", "ABD"), ("答案：a,b,d", "ABD"), ("答案：Ａ，Ｂ，Ｄ", "ABD"), ("A,B,D，不包括C", "ABD"),
)  # fmt: skip


def test_phrasings_that_no_rule_was_made_for_are_not_read_wrong() -> None:
    found = [(reply, letter, extract_choice(reply, FOUR)) for reply, letter in LATER_SINGLE]
    found += [
        (reply, letters, extract_choice(reply, FOUR, multiple=True)) for reply, letters in LATER_MULTIPLE
    ]
    assert [row for row in found if row[2] not in ("", row[1])] == []
    assert len([row for row in found if row[1] and not row[2]]) <= 0.08 * len(found)


# A line each of phrasings_single.tsv and phrasings_several.tsv: what is right, and a reply. L: the letter; S: three of four
# options, ?: the same or nothing; 1: one; R: from A to a letter; *: all; E: all but one, or nothing; N: nothing.
PHRASED = (
    ("静静地听完", "设身处地理解", "指出矛盾", "说明原理"), ("倾听", "共情", "面质", "解释"), ("Listening", "Advising", "Judging", "Blaming"),
    ("A型人格", "B型人格", "C型人格", "D型人格"), ("15%", "25%", "35%", "50%"), ("不评价", "不打断", "不建议", "鼓励表达"),
)  # fmt: skip


def phrasings(name: str) -> list[tuple[str, str]]:
    lines = (Path(__file__).parent / name).read_text(encoding="utf-8").split("\n")
    return [
        (kind, reply.replace("\\n", "\n"))
        for kind, _, reply in (line.partition("\t") for line in lines)
        if reply
    ]


def filled(reply: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: values.get(name[1], name[0]), reply)


def label_forms(name: str, index: int) -> dict[str, str]:
    forms = {"p": LETTERS[index], "l": LETTERS[index].lower(), "F": chr(ord("Ａ") + index)}
    forms |= {"C": "①②③④⑤⑥"[index], "O": "一二三四五六"[index], "N": str(index + 1)}
    return {f"{form}{name}": text for form, text in forms.items()}


def test_no_single_phrasing_is_read_wrong_at_any_place_of_the_answer() -> None:
    unread, asked = [], 0
    for number, (kind, reply) in enumerate(phrasings("phrasings_single.tsv")):
        for turn in range(4):
            options = PHRASED[(number + turn) % len(PHRASED)]
            right, wrong, third = (turn, (turn + 1 + number % 3) % 4, (turn + 1 + (number + 1) % 3) % 4)
            values = {name[0]: text for name, text in label_forms("", right).items()}
            values |= {"L": LETTERS[right], "W": options[right], "X": LETTERS[wrong], "V": options[wrong]}
            values |= {f"w{LETTERS[place]}": words for place, words in enumerate(options)}
            said = filled(reply, values | {"Y": LETTERS[third]})
            letter = extract_choice(said, options)
            asked += 1
            assert letter in ("", LETTERS[right] if kind in "L?" else ""), (said, options, letter)
            if kind == "L" and not letter:
                unread.append(said)
    assert asked > 3000
    assert len(unread) <= 0.02 * asked, unread


def test_no_phrasing_of_several_options_is_read_in_part() -> None:
    unread, asked = [], 0
    for number, (kind, reply) in enumerate(phrasings("phrasings_several.tsv")):
        for turn in range(4):
            options = PHRASED[(number + turn) % len(PHRASED)]
            right = [place for place in range(4) if place != turn]
            values = {"n": LETTERS[turn], "v": options[turn], "Z": "CD"[turn % 2]}
            values |= {name: options[place] for name, place in zip("abc", right, strict=True)}
            for place, words in enumerate(options):
                judged = "错误" if place == turn else "正确"
                values |= {f"w{LETTERS[place]}": words, f"j{LETTERS[place]}": judged}
            for name, place in zip("123", right, strict=True):
                values |= label_forms(name, place)
            letters = "".join(LETTERS[place] for place in right)
            answer = {
                "S": letters,
                "?": letters,
                "E": letters,
                "1": letters[0],
                "R": "ABCD"[: 3 + turn % 2],
                "*": "ABCD",
            }.get(kind, "")
            said = filled(reply, values)
            read = extract_choice(said, options, multiple=True)
            asked += 1
            assert read in ("", answer), (said, options, read)
            if kind not in "NE?" and not read:
                unread.append(said)
    assert asked > 1900
    assert len(unread) <= 0.03 * asked, unread


@settings(max_examples=150)
@given(
    st.sampled_from(phrasings("phrasings_single.tsv")),
    st.permutations(("静静地听完", "设身处地理解", "指出矛盾", "说明原理")),
    st.integers(0, 3),
)
def test_traditional_characters_and_a_later_explanation_change_no_reading(
    phrased: tuple[str, str], order: list[str], place: int
) -> None:
    others = [other for other in range(4) if other != place]
    values = {name[0]: text for name, text in label_forms("", place).items()}
    values |= {"L": LETTERS[place], "W": order[place], "X": LETTERS[others[0]], "V": order[others[0]]}
    values |= {f"w{letter}": words for letter, words in zip("ABCD", order, strict=True)}
    said = filled(phrased[1], values | {"Y": LETTERS[others[1]]})
    letter = extract_choice(said, order)
    traditional = said.translate(str.maketrans(SIMPLIFIED, TRADITIONAL))
    assert extract_choice(traditional, order) == letter
    if letter and "<" not in said and "```" not in said:
        assert extract_choice(f"{said}\n\n解析：选{LETTERS[others[1]]}的人忽略了题干。", order) in (
            letter,
            "",
        )


# Options, one or several, what is right, and the reply as JSON: phrasings that no rule was made for when they were first read.
FRESH = [
    (json.loads(reply), options.split("|"), kind == "several", wanted.strip("-"))
    for options, kind, wanted, reply in (
        line.split("\t")
        for line in (Path(__file__).parent / "phrasings_fresh.tsv").read_text(encoding="utf-8").split("\n")
        if line
    )
]
# What was asked, by the first option; the other sets were written without a question.
ASKED = {
    "保持沉默": "在这种情况下，咨询师最合适的做法是（ ）。",
    "倾听": "该咨询师所使用的技术是（ ）。",
    "系统脱敏": "案例中使用的疗法是（ ）。",
    "Thank him": "What is the most appropriate response in this situation?",
    "共情": "在这种情况下，最能回应来访者情绪的技术是（ ）。",
    "焦虑": "该来访者表现出的症状有（ ）。",
    "先稳定来访者情绪": "面对危机中的来访者，咨询师首先应该（ ）。",
    "遗传": "影响儿童发展的环境因素包括（ ）。",
    "Maria should apologize": "What is the right course of action for Maria?",
    "尊重": "咨询师所遵循的原则包括（ ）。",
    "倾听来访者的感受": "咨询师此时的做法是（ ）。",
    "He is jealous of Anna": "Which statement about Mark is supported by the text?",
    "失眠": "抑郁发作的常见症状包括（ ）。",
    "注意": "属于认知过程的有（ ）。",
    "Call a friend": "What should she do to feel better?",
    "Ask her how she feels": "What is the most empathetic thing to do?",
    "Apologize to Tom": "What addresses the cause of the problem?",
    "Anger": "Which emotions are present in the text?",
    "精神分析": "贝克创立的疗法是（ ）。",
    "弗洛伊德": "提出“集体潜意识”这一概念的心理学家是（ ）。",
    "T细胞": "负责体液免疫的是（ ）。",
    "MMPI": "测量成人智力应使用的测验是（ ）。",
    "Hope": "What emotion is she experiencing?",
    "A类人格障碍": "边缘型人格障碍属于（ ）。",
    "前额叶": "视觉皮层位于（ ）。",
}


def asked(options: Sequence[str]) -> str:
    return ASKED.get(options[0], "")


WRAPPINGS: tuple[Callable[[str], str], ...] = (
    lambda said: said,
    lambda said: said if "\n" in said or "*" in said else f"**{said}**",
    lambda said: "\n".join(f"> {line}" for line in said.split("\n")),
    lambda said: f"{said}\n\n解析：其他选项不符合题意。",
    lambda said: f"{said}\n\nExplanation: the other options do not fit.",
    lambda said: f"好的。\n\n{said}",
    lambda said: f"<think>\n先看A，再看B和C。\n</think>\n\n{said}<|im_end|>",
    lambda said: said if said.startswith(("#", "{", "|", "答案")) else f"### 答案\n\n{said}",
)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_no_wrapping_makes_a_fresh_phrasing_read_wrong_or_leaves_it_unread(
    wrapping: Callable[[str], str],
) -> None:
    read = [
        (said, right, extract_choice(wrapping(said), o, multiple=m, question=asked(o)))
        for said, o, m, right in FRESH
    ]
    assert [row for row in read if row[2] not in ("", row[1])] == []
    stated = [row for row in read if row[1]]
    assert len(stated) > 1900
    assert len([row for row in stated if not row[2]]) <= 0.03 * len(stated)


# Question, options, what is right, and the reply: what is asked for turns verdicts around.
SAFE_HABITS = ("睡前喝热牛奶", "每天散步", "整夜玩手机", "按时起床")
NOT_HELPFUL = "下列做法中，不利于睡眠的是（ ）。"
REVERSED = (
    (NOT_HELPFUL, SAFE_HABITS, "C", "A有利于睡眠，B有利于睡眠，D有利于睡眠，C不利于睡眠。"),
    (NOT_HELPFUL, SAFE_HABITS, "C", "不利于睡眠的是C。"),
    (NOT_HELPFUL, SAFE_HABITS, "C", "答案：C"),
    (NOT_HELPFUL, SAFE_HABITS, "C", "睡前喝热牛奶、每天散步、按时起床都有利于睡眠，整夜玩手机不利于睡眠。"),
    (NOT_HELPFUL, SAFE_HABITS, "", "A有利于睡眠。"),
    ("下列关于散步的说法，错误的是", SAFE_HABITS, "D", "A的说法没问题。B、C的说法也正确。D的说法有问题。"),
    ("下列关于散步的说法，错误的是", SAFE_HABITS, "B", "选项B错误，其余选项描述均正确。"),
    ("下列关于散步的说法，错误的是", SAFE_HABITS, "", "A正确，B正确。"),
    ("下列关于散步的说法，错误的是", SAFE_HABITS, "", "A错误，B错误，C正确，D正确。"),
    ("下列关于散步的说法，正确的是", SAFE_HABITS, "A", "A正确，B错误，C错误，D错误。"),
    ("下列关于散步的说法，正确的是", SAFE_HABITS, "", "A正确，B正确，C正确，D错误。"),
    ("他不愿出门，因为他没有睡好，这说明（ ）", SAFE_HABITS, "D", "A正确；B正确；C正确；D不正确。"),
    ("Which habit is NOT good for sleep?", SAFE_HABITS, "C", "A is good. B is good. D is good. C is not good."),
    ("All of these help sleep EXCEPT", SAFE_HABITS, "C", "A helps sleep, B helps sleep, D helps sleep. C does not help sleep."),
    # the question's own words, and its blank
    ("最能帮助睡眠的习惯是____。", SAFE_HABITS, "B", "最能帮助睡眠的习惯是每天散步。"),
    ("睡前最应该做的是（ ）。", SAFE_HABITS, "A", "睡前最应该做的是（ A ）。"),
    ("最不可能帮助睡眠的是（ ）。", SAFE_HABITS, "C", "结合材料，最不可能帮助睡眠的习惯是整夜玩手机（选项C）。"),
    # what is taken back, and further questions that a model invents
    ("最能帮助睡眠的习惯是____。", SAFE_HABITS, "", "B。抱歉，请忽略上一句，我还没有核实。"),
    ("最能帮助睡眠的习惯是____。", SAFE_HABITS, "", "答案是B。我收回，目前不能确定。"),
    ("最能帮助睡眠的习惯是____。", SAFE_HABITS, "B", "B\n\n题目：最适合早晨的运动是（ ）。\nA. 跑步\nB. 游泳\nC. 打球\n答案：C"),
    ("最能帮助睡眠的习惯是____。", SAFE_HABITS, "D", "问题1：一加一是几？答案：A\n问题2：最能帮助睡眠的习惯是什么？答案：D"),
    ("最能帮助睡眠的习惯是____。", SAFE_HABITS, "", "答案是A，答案是C。"),
    ("最能帮助睡眠的习惯是____。", SAFE_HABITS, "B", "[ ] 睡前喝热牛奶\n[x] 每天散步\n[ ] 整夜玩手机\n[ ] 按时起床"),
)  # fmt: skip


@pytest.mark.parametrize(("question", "options", "letter", "reply"), REVERSED)
def test_a_reply_is_read_as_an_answer_to_its_question(
    question: str, options: tuple[str, ...], letter: str, reply: str
) -> None:
    assert extract_choice(reply, options, question=question) == letter
    prompt = f"回答下面的单项选择题。\n\n问题：{question}\n选项：\nA) …\nB) …"
    assert extract_choice(reply, options, question=prompt) == letter


@given(st.permutations(SAFE_HABITS), st.booleans())
def test_shuffled_options_never_turn_an_exception_around(order: list[str], traditional: bool) -> None:
    odd = LETTERS[order.index("整夜玩手机")]
    reply = "，".join(f"{LETTERS[i]}{'不' if LETTERS[i] == odd else ''}利于睡眠" for i in range(4)) + "。"
    reply = reply.translate(str.maketrans(SIMPLIFIED, TRADITIONAL)) if traditional else reply
    assert extract_choice(reply, order, question=NOT_HELPFUL) == odd
    wanted = "".join(letter for letter in "ABCD" if letter != odd)
    assert extract_choice(reply, order, multiple=True, question="利于睡眠的有（ ）。") == wanted


# The reader asks a costly pattern only where a cheap look says that it can match. What the look rests on is held here.


def beginnings(parsed: Any) -> tuple[set[str], bool]:
    """The signs that a parsed pattern can begin with, and whether it can be empty; "" stands for any sign."""
    signs: set[str] = set()
    for kind, value in parsed:
        name = str(kind)
        if name in ("ASSERT", "ASSERT_NOT", "AT"):
            continue
        if name == "LITERAL":
            return signs | {chr(value)}, False
        if name == "IN":
            for part, what in value:
                if str(part) == "RANGE":
                    signs |= set(map(chr, range(what[0], what[1] + 1)))
                else:
                    signs |= {chr(what)} if str(part) == "LITERAL" else CATEGORIES[str(what)]
            return signs, False
        if name == "BRANCH":
            ways = [beginnings(branch) for branch in value[1]]
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            ways = [beginnings(value[2])] + ([] if value[0] else [(set(), True)])
        elif name == "SUBPATTERN":
            ways = [beginnings(value[3])]
        else:
            return {""}, False
        signs = signs.union(*(way[0] for way in ways))
        if not any(way[1] for way in ways):
            return signs, False
    return signs, True


CATEGORIES = {"CATEGORY_SPACE": set(" \t\n\r\f\v"), "CATEGORY_DIGIT": set("0123456789")}


def test_no_pattern_can_match_where_it_is_not_tried() -> None:
    parser = importlib.import_module("re._parser")
    looked_at = 0
    for module in pkgutil.iter_modules(bakeoff.scoring.__path__):
        for name, pattern in vars(importlib.import_module(f"bakeoff.scoring.{module.name}")).items():
            if not isinstance(pattern, re.Pattern) or not pattern.pattern.startswith(("(?=[", "(?=(?-i:[")):
                continue
            look, *parsed = parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
            assert str(look[0]) == "ASSERT"
            tried, _ = beginnings(look[1][1])
            signs, empty = beginnings(parsed)
            assert not empty, name
            every = signs | {
                sign.swapcase() for sign in signs if sign.isascii() and pattern.flags & re.IGNORECASE
            }
            assert every <= tried, (name, every - tried)
            looked_at += 1
    assert looked_at > 30


@given(st.text(alphabet=st.sampled_from("答案ABｂ：:，。 \n*①⑩🅰\u200b\ufeff\xad選項說İſ_—-…１"), max_size=40))
def test_a_plain_form_is_what_all_of_its_steps_make(text: str) -> None:
    kept = {ord(sign): chr(0xE000 + i) for i, sign in enumerate("①②③④⑤⑥⑦⑧⑨⑩")}
    unseen = dict.fromkeys([*range(0x200B, 0x2010), 0x2060, 0xFEFF, 0xAD])
    boxed = {0x1F170 + i: letter for i, letter in enumerate(LETTERS)}
    plain = simplified(unicodedata.normalize("NFKC", text.translate(kept | unseen | boxed))).strip()
    marks = r"(?:(?![\ue000-\ue009])[\W_]){12,}"
    shortened = re.sub(marks, lambda run: run[0][:4] + ("\n" if "\n" in run[0] else " ") + run[0][-4:], plain)
    assert plain_form(text) == shortened


def test_how_often_a_question_was_seen_changes_no_reading() -> None:
    some = FRESH[::25]
    once = [extract_choice(said, o, multiple=m, question=asked(o)) for said, o, m, _ in some]
    for said, o, m, _ in reversed(some):
        extract_choice(said, o[::-1], multiple=not m, question=asked(o))
    assert [extract_choice(said, o, multiple=m, question=asked(o)) for said, o, m, _ in some] == once


# What is thought over again, gone through, concluded or run on: one or several, what may be read, and the reply.
TECHNIQUES = "咨询师使用的技术有（ ）。"
THOUGHT_OVER = (
    (False, "B", "答案是A倾听。等等，倾听只是前提，最合适的应当是共情。"),
    (False, "B", "D，解释。……再想想，还是B吧。"),
    (False, "B", "选A……抱歉，刚才说错了，这是在回应感受，B才对。"),
    (False, "B", "选B，不对别的选项作评价。"),
    (False, "", "别一看见“听”字就选A，也别一看见“情”字就选B。"),
    (False, "", "A有问题，因此A过于片面，不能算完整。"),
    (False, "", "D的说法太绝对，因此D有失偏颇。"),
    (True, "AB", "ABC。更正：面质用得过早，要去掉C。"),
    (True, "ABD", "ABCD全选……不对，面质用得太早，应去掉C。"),
    (True, "AB", "ABC。不过案例里没有对质，C（面质）不成立，把它拿掉。"),
    (True, "ABD", "C用得过早，因此C有问题，另外三项没有问题。"),
    (True, "ABD", "面质出现得太早，把它当成这里的技术就闹笑话了。其余的都是所用的技术。"),
)


@pytest.mark.parametrize(("multiple", "letters", "reply"), THOUGHT_OVER)
def test_nothing_is_read_of_what_a_reply_thinks_over(multiple: bool, letters: str, reply: str) -> None:
    assert extract_choice(reply, FOUR, multiple=multiple, question=TECHNIQUES) in (letters, "")


def test_a_name_of_the_question_and_a_question_that_runs_on_are_no_answers() -> None:
    lead = "A因子高的人见于多种人群。\n答案：A、B、D"
    assert extract_choice(lead, FOUR, multiple=True, question="A因子得分高的人可能（ ）。") == "ABD"
    further = "C\n\n下列属于共情的是()\nA 甲\nB 乙\nC 丙\nD 丁\n答案：D"
    assert extract_choice(further, FOUR, question=TECHNIQUES) == "C"


@given(
    st.lists(st.sampled_from(OPTION_POOL), min_size=2, max_size=5, unique=True),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.sampled_from(
        (
            "{L}) {W}：{s}",
            "{L}. {W}: {s}",
            "（{L}）{W}：{s}",
            "{L}：{s}",
            "{L} {s}",
            "{L}（{W}）：{s}",
            "{W}：{s}",
        )
    ),
    st.sampled_from((*SIGNS[:5], ("是", "否"), ("选", "不选"), ("Yes", "No"), ("是的", "不是"))),
    st.sampled_from(("。", "；", "\n", "，", "。 ")),
)
def test_yes_to_several_options_is_no_single_answer(
    options: list[str], holds: list[bool], form: str, signs: tuple[str, str], between: str
) -> None:
    judged = list(zip(options, holds, strict=False))
    items = [form.format(L=LETTERS[i], W=words, s=signs[not yes]) for i, (words, yes) in enumerate(judged)]
    right = "".join(LETTERS[i] for i, (_, yes) in enumerate(judged) if yes)
    assert extract_choice(between.join(items), options) in ("", right if len(right) == 1 else "")


@pytest.mark.parametrize(
    ("said", "options", "letter"),
    [
        ("答案：A（划掉）", FOUR, ""),
        ("我判断：错", ["对", "错"], "B"),
        ("不是这样的，错", ["对", "错"], "B"),
        ("Interrupting (A) is rude and leaving (C) is unkind.", FOUR, ""),
    ],
)
def test_what_is_struck_out_or_found_fault_with_is_no_answer(
    said: str, options: list[str], letter: str
) -> None:
    assert extract_choice(said, options) == letter


GREETS = ("Thank him", "Correct him", "Laugh at him", "Walk away")
LISTED = ("遗传", "家庭环境", "学校教育", "同伴")


@pytest.mark.parametrize(
    ("options", "multiple", "letters", "replies"),
    [
        # best and most praise an option, unless they only say how something is done to it
        (
            GREETS,
            False,
            "C",
            ("The scene is best described by option C.", "The gap is best filled by (C).", "C is best."),
        ),
        (
            GREETS,
            False,
            "",
            (
                "Option A is best avoided.",
                "A is best seen as a distractor.",
                "A is most likely wrong.",
                "B is best left to experts.",
                "The choice of A is best explained by option B.",
                "A is better than nothing.",
                "A的说法最好由C来纠正。",
                "选A的原因最好用B来解释。",
                "对A的偏好最能用B来解释。",
            ),
        ),
        # a clause that concludes outweighs remarks, and the end of a reply may set its letter apart
        (
            GREETS,
            False,
            "A",
            ("B would sound arrogant, so A is preferable.", "This leaves the one that comforts him: A."),
        ),
        (
            GREETS,
            False,
            "",
            (
                "The answer of the majority — B.",
                "The usual trap here — B.",
                "最差的做法——C",
                "Anna's answer: B",
            ),
        ),
        # taken back later, put forward by others, or only considered
        (
            FOUR,
            False,
            "",
            ("答案是C。等一下，C不对。", "大部分字典归为面质，也就是C。", "接着考虑C，同样的问题。"),
        ),
        (
            FOUR,
            False,
            "",
            (
                "要看谁快：如果他快，那就选D；如果我快，那就选A。",
                "该技术是面质，选B。",
                "倾听？那是A，说反了。",
            ),
        ),
        (FOUR, True, "", ("ABC。噢，C说的是别的，把C拿掉。", "ABC，去掉C")),
        # lists below a head, glossed before their letters, named all at once, or added to by choosing
        (
            LISTED,
            True,
            "BC",
            (
                "正确的有：\n- B. 家庭环境\n- C. 学校教育",
                "包括：家里的环境（B）、学校的教育（C）。",
            ),
        ),
        (
            LISTED,
            True,
            "",
            ("先看以下两项：\n- B. 家庭环境\n- C. 学校教育", "这里缺的是：\n- B. 家庭环境\n- C. 学校教育"),
        ),
        (LISTED, True, "BCD", ("A is not; B, C, D are.", "选B、C，D也选。")),
        (LISTED, True, "ABCD", ("All four options (A, B, C, D) are right.", "题中的所有选项都正确。")),
        (("A类人格障碍", "B类人格障碍", "C类人格障碍"), False, "B", ("答案：B类", "选B类", "B类")),
        (("α波", "β波", "θ波", "δ波"), False, "C", ("θ", "答案：θ")),
    ],
)
def test_what_a_clause_says_of_an_option(
    options: tuple[str, ...], multiple: bool, letters: str, replies: tuple[str, ...]
) -> None:
    for reply in replies:
        assert extract_choice(reply, options, multiple=multiple) == letters, reply
