"""Letters read from log-probabilities: spellings, places, orders, bias; and suites that are scored by them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.service import Running, serving

from bakeoff import evalscope
from bakeoff.evalscope import worker
from bakeoff.evalscope.choosing import why_malformed
from bakeoff.foundation.errors import MatrixError, ScoreError
from bakeoff.matrix.loading import parse_matrix
from bakeoff.matrix.schema import Suite
from bakeoff.scoring.letters import (
    Reading,
    averaged,
    chosen,
    letter_of,
    position_bias,
    read_letters,
    refers_to_others,
    rotated,
)
from bakeoff.scoring.tables import read_samples, write_samples

RIGHT = "ABCDABCDAB"


def token(text: str, logprob: float, **others: float) -> dict[str, Any]:
    listed = [{"token": name, "logprob": value} for name, value in {text: logprob, **others}.items()]
    return {"token": text, "logprob": logprob, "top_logprobs": listed}


@pytest.mark.parametrize("text", ["A", " A", "Ａ", "▁A", "ĠA", "(A", "A.", "**A", "“A", "A)", "\nA", "（A）"])
def test_a_letter_is_known_in_every_spelling(text: str) -> None:
    assert letter_of(text, "ABCD") == "A"


@pytest.mark.parametrize("text", ["a", "An", "E", "", "AB", "啊", "1", "Α", "А"])
def test_what_only_resembles_a_letter_is_none(text: str) -> None:
    assert letter_of(text, "ABCD") == ""


def test_spellings_are_gathered_and_normalised_and_an_absent_letter_is_below_the_lowest() -> None:
    alternatives = {" A": math.log(0.2), "Ｂ": math.log(0.15), "我": math.log(0.05)}
    reading = read_letters([token("B", math.log(0.3), **{"A": math.log(0.2), **alternatives})], "ABCD")
    shares = {letter: math.exp(value) for letter, value in reading.logprobs.items()}
    assert math.isclose(sum(shares.values()), 1.0)
    assert math.isclose(reading.mass, 0.85)
    assert math.isclose(shares["B"] / shares["A"], 0.45 / 0.4)
    assert 0 < shares["C"] == shares["D"] < shares["A"] * 0.05 / 0.4
    assert chosen(reading.logprobs) == "B"


@pytest.mark.parametrize(
    ("tokens", "letter"),
    [
        ([token("答", -0.1), token("案", -0.1), token("：", -0.1), token("C", -0.5, B=-2.0)], "C"),
        ([token("<|channel|>", 0), token("final", 0), token("<|message|>", 0), token("D", -0.1)], "D"),
        ([token("▁Answer", -0.1), token(":", -0.1), token("▁B", -0.1)], "B"),
        ([token("A", -0.1), token("nswer", -0.1), token(":", 0.0), token(" D", -0.1)], "D"),
        ([token("我", -0.3, B=-3.0, A=-2.0)], "A"),  # a reply of one token: its alternatives
        ([token("我", -0.3)], ""),
        ([token("不", -0.3), token("选", -0.3), token("B", -0.3)], ""),
        ([token("答", -0.3, A=-1.0), token("案", -0.3, B=-1.0)], ""),  # what comes first is no letter's place
        ([token("A", -0.1), token(" person", -0.1), token(" feels", -0.1)], "A"),
        ([], ""),
        ([{"token": "A"}], ""),
        ([{"token": "A", "logprob": "high", "top_logprobs": 3}], ""),
        ([{"token": "A", "logprob": float("nan")}], ""),
        ([None, 3], ""),
        ("no list", ""),
        (None, ""),
    ],
)
def test_the_letter_is_read_where_the_reply_states_it(tokens: Any, letter: str) -> None:
    assert chosen(read_letters(tokens, "ABCD").logprobs) == letter


def test_tokens_that_are_parts_of_characters_are_read_by_the_text_that_they_make() -> None:
    tokens = [token("\ufffd", -0.1), token("\ufffd", -0.1), token("B", -0.1)]
    assert chosen(read_letters(tokens, "ABCD", "答：B").logprobs) == "B"
    assert not read_letters(tokens, "ABCD", "不选B").is_read


def test_an_even_choice_is_none() -> None:
    assert chosen(read_letters([token("A", -0.7, B=-0.7)], "AB").logprobs) == ""


def shares(*values: float) -> Reading:
    return Reading({"ABCD"[i]: math.log(value) for i, value in enumerate(values)}, 1.0, "")


def test_orders_are_averaged_by_option_and_what_stays_at_a_letter_is_bias() -> None:
    assert [rotated(3, order) for order in range(3)] == [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    for held in range(3):  # a model that knows option *held* is not biased, one that always says A is
        knows = [shares(*(0.8 if option == held else 0.1 for option in rotated(3, k))) for k in range(3)]
        assert chosen(averaged(knows, 3)) == "ABC"[held]
        assert all(abs(value) < 1e-9 for value in position_bias([knows]).values())
    says_a = [shares(0.8, 0.1, 0.1)] * 3
    assert max(abs(value - math.log(1 / 3)) for value in averaged(says_a, 3).values()) < 1e-9
    bias = position_bias([says_a])
    assert math.isclose(bias["A"], 0.8 - 1 / 3)
    assert math.isclose(sum(bias.values()), 0, abs_tol=1e-9)
    assert position_bias([[shares(0.8, 0.1, 0.1)]]) == {}


@pytest.mark.parametrize(
    "options",
    [
        ["甲", "以上都对"],
        ["甲", "A和B"],
        ["x", "All of the above"],
        ["x", "BC"],
        ["甲", "①②"],
        ["甲", "均不正确"],
    ],
)
def test_options_that_speak_of_others_keep_their_order(options: list[str]) -> None:
    assert refers_to_others(options)
    assert not refers_to_others(["来访者中心", "认知疗法", "DNA", "行为疗法 B 型"])


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    folder = tmp_path / "exam"
    folder.mkdir()
    rows = [
        {"id": i, "question": f"第{i}题的答案？", **{x: f"{x}{x}内容" for x in "ABCD"}, "answer": letter}
        for i, letter in enumerate(RIGHT)
    ]
    rows[3]["D"] = "以上都对"
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "facts_val.jsonl").write_text(text, encoding="utf-8")
    return folder


def suite(**facts: Any) -> Suite:
    return Suite(**{"name": "facts", "benchmark": "facts_exam", "scoring": "logprob", **facts})


def plan(service: Running, exam: Path, asked: Suite, work: str = "work") -> Any:
    return evalscope.evaluation_plan(
        service.url,
        "m",
        [asked],
        exam.parent / work,
        data_dirs={"facts": exam},
        weights="w",
        in_flight=4,
        ask_alone=6,
    )


def test_a_suite_is_scored_by_its_letters_with_one_request_a_question(exam: Path) -> None:
    with serving("--reply", "C", "--logprobs", "10") as service:
        result = worker.run(plan(service, exam, suite()))["facts"]
        stats = service.stats()
        again = worker.run(plan(service, exam, suite()))["facts"]
        assert service.stats()["requests"] == stats["requests"]
    total = result["scores"][0]
    assert (total["metric"], total["value"], total["n_answered"]) == ("accuracy", 0.2, 10)
    assert (result["trusted"], again["reused"], again["scores"][0]["value"]) == (True, 10, 0.2)
    assert (
        stats["requests"] == 2 + 10 + 6
    )  # 20 alternatives are refused, 10 given; six questions are asked twice
    assert stats["settings"][-1] == {
        "temperature": 0.0,
        "max_tokens": 1,
        "logprobs": True,
        "top_logprobs": 10,
    }
    assert result["letters"]["read"] == 10
    assert result["noise"]["same_grades"] == result["noise"]["same_replies"] == 6
    low, high = result["noise"]["replies_interval"]
    assert 0.5 < low < high == 1.0
    samples = read_samples(Path(result["folder"]) / "samples.jsonl")
    letters = json.loads(samples["letter_logprobs"][0])
    assert list(samples["reply"]) == ["C"] * 10
    assert letters["C"] > letters["B"] > letters["D"]
    write_samples(samples.drop(columns="letter_logprobs").to_dict("records"), exam / "old.parquet")
    assert set(read_samples(exam / "old.parquet")["letter_logprobs"]) == {""}


def test_options_in_four_orders_are_counted_by_what_they_say(exam: Path) -> None:
    with serving("--reply", "option:BB内容", "--logprobs", "full") as service:
        result = worker.run(plan(service, exam, suite(orders=4)))["facts"]
        stats = service.stats()
    letters = result["letters"]
    assert result["answers"] == {"B": 10}
    assert (letters["permuted"], letters["in_own_order_only"], letters["same_in_all_orders"]) == (9, 1, 9)
    assert stats["requests"] == 1 + (9 * 4 + 1) + 6 * 4
    assert set(letters["position_bias"]) == set("ABCD")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--reply", "C"), "the service gives no log-probabilities"),
        (("--reply", "C", "--logprobs", "own"), "its own token alone"),
        (("--reply", "C", "--logprobs", "0"), "refuses to give log-probabilities"),
        (("--reply", "<think>嗯", "--logprobs", "full"), "begins? with"),
    ],
)
def test_a_service_that_cannot_be_read_is_told_before_the_questions(
    exam: Path, flags: tuple[str, ...], words: str
) -> None:
    with serving(*flags) as service:
        with pytest.raises(ScoreError, match=words):
            worker.run(plan(service, exam, suite(generation={"max_tokens": 8})))
        assert service.stats()["requests"] <= 4


ODD: dict[str, tuple[Any, str]] = {
    "none": (None, "without log-probabilities"),
    "null": ({"content": None}, "without log-probabilities"),
    "no tokens": ({"content": []}, "without log-probabilities"),
    "text": ({"content": "C -0.1"}, "without log-probabilities"),
    "a list of texts": ({"content": ["C"]}, "no list of alternatives"),
    "no alternatives": ({"content": [{"token": "C", "logprob": -0.1}]}, "no list of alternatives"),
    "an empty list": ({"content": [{**token("C", -0.1), "top_logprobs": []}]}, "no list of alternatives"),
    "not a number": ({"content": [token("C", math.nan, A=-2.0)]}, "no log-probability"),
    "its own not a number": ({"content": [{**token("C", -0.1), "logprob": "NaN"}]}, "no log-probability"),
    "positive": ({"content": [token("C", 0.9, A=-2.0)]}, "no log-probability"),
    "infinite": ({"content": [token("C", math.inf)]}, "no log-probability"),
    "shares": ({"content": [token("C", 0.7, A=0.2, B=0.1)]}, "no log-probability"),
    "percentages": ({"content": [token("C", 70, A=20, B=10)]}, "no log-probability"),
    "over one": ({"content": [token("C", -0.1, A=-0.1, B=-0.2)]}, "probability of 2"),
    "words": ({"content": [token("C", "high")]}, "no log-probability"),  # type: ignore[arg-type]
    "true": ({"content": [token("C", True)]}, "no log-probability"),
    "a token twice": ({"content": [{**token("C", -1.2), "top_logprobs": [
        {"token": name, "logprob": -0.6} for name in ("C", "C", "C", "A")
    ]}]}, "probability of 2"),
    "an entry that is none": ({"content": [{**token("C", -0.1), "top_logprobs": [None]}]}, "no log-probability"),
    "old form": ({"tokens": ["C"], "token_logprobs": [-0.1], "top_logprobs": [{"C": -0.1}]}, "without log-prob"),
    "all alike": ({"content": [token("C", -100.0, A=-100.0)]}, "probability of 0"),
}  # fmt: skip
"""What stands in place of log-probabilities, and how the reason begins."""


@pytest.mark.parametrize("form", ODD)
def test_what_is_no_log_probability_is_errored_in_words(form: str) -> None:
    listed, words = ODD[form]
    choice = json.loads(json.dumps({"index": 0, "message": {"content": "C"}, "logprobs": listed}))
    assert words in why_malformed(choice)


@pytest.mark.parametrize("text", ["A", " A", "Ａ", "▁A", "ĠA"])
@pytest.mark.parametrize("others", [{}, {"D": -3.0}, {"的": -3.0}, {"A": -2.5, "Ａ": -3.0, " A": -3.5}])
def test_other_spellings_and_a_short_list_are_read_right(text: str, others: dict[str, float]) -> None:
    content = [token(text, -0.4, **{name: value for name, value in others.items() if name != text})]
    choice = {"index": 0, "message": {"content": text}, "logprobs": {"content": content}}
    assert not why_malformed(choice)
    assert chosen(read_letters(content, "ABCD", text).logprobs) == "A"


def test_a_token_that_is_listed_twice_counts_once() -> None:
    entries = [("A", -1.2), ("B", -1.6), ("B", -1.6), ("B", -1.6)]
    listed = [{"token": name, "logprob": value} for name, value in entries]
    content = [{"token": "A", "logprob": -1.2, "top_logprobs": listed}]
    assert not why_malformed({"logprobs": {"content": content}})
    assert chosen(read_letters(content, "ABCD").logprobs) == "A"


def test_tokens_given_as_bytes_alone_are_read_as_their_text() -> None:
    content = [token("", -0.1)]
    for entry in (content[0], content[0]["top_logprobs"][0]):
        entry |= {"token": None, "bytes": [67]}
    assert chosen(read_letters(content, "ABCD", "C").logprobs) == "C"


def test_one_malformed_reply_of_a_suite_is_errored_and_not_wrong(exam: Path) -> None:
    with serving("--reply", "C", "--logprobs", "full", "--fault-prompt", "第2题=nan") as service:
        result = worker.run(plan(service, exam, suite()))["facts"]
    assert (result["ledger"]["errored"], result["trusted"]) == (1, False)
    assert "1 × BadAnswer: an alternative has no log-probability" in result["why_not"]


def test_a_reply_without_a_letter_is_unread_and_never_a_guess(exam: Path) -> None:
    with serving("--reply", "我认为很难说", "--logprobs", "full") as service:
        result = worker.run(plan(service, exam, suite(generation={"max_tokens": 6})))["facts"]
    assert result["ledger"]["unparsed"] == 10
    assert not result["trusted"]
    assert any("'我认为很难说'" in alarm for alarm in result["alarms"])


def test_letters_that_the_model_would_hardly_begin_with_are_no_trusted_score(exam: Path) -> None:
    with serving("--reply", "答案：C", "--logprobs", "full") as service:
        first = worker.run(plan(service, exam, suite(), "first"))["facts"]
        behind = worker.run(plan(service, exam, suite(generation={"max_tokens": 8}), "behind"))["facts"]
    assert not first["trusted"]
    assert "begin its replies otherwise ('答')" in first["why_not"]
    assert (behind["trusted"], behind["answers"]) == (True, {"C": 10})


def test_failed_questions_are_errored_and_asked_again(exam: Path) -> None:
    with serving("--reply", "C", "--logprobs", "full", "--fault-prompt", "第2题=bad") as service:
        result = worker.run(plan(service, exam, suite(orders=2)))["facts"]
    assert result["ledger"]["errored"] == 1
    assert "invalid request" in next(iter(result["errors"].values()))
    with serving("--reply", "C", "--logprobs", "full") as service:
        again = worker.run(plan(service, exam, suite(orders=2)))["facts"]
    assert (again["reused"], again["asked_now"], again["ledger"]["errored"]) == (9, 1, 0)


def test_the_pasted_line_gives_the_same_score(exam: Path) -> None:
    with serving("--reply", "C", "--logprobs", "full") as service:
        line = evalscope.evaluate_command(service.url, "m", suite(), exam.parent / "by-hand", data_dir=exam)
        done = subprocess.run(line.argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "facts: accuracy 0.2000" in done.stdout
    assert line.argv[:3] == (sys.executable, "-m", "bakeoff.evalscope")


def test_what_has_no_single_letters_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    row = {
        "id": 1,
        "section": "case",
        "kind": "multiple",
        "question": "哪些？",
        "A": "甲",
        "B": "乙",
        "answer": "AB",
    }
    (tmp_path / "x.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with serving("--reply", "C", "--logprobs", "full") as service:
        asked = suite(benchmark="pceb_mcq")
        options: Any = {"data_dirs": {"facts": tmp_path}, "weights": "w"}
        with pytest.raises((ScoreError, MatrixError), match="several right letters"):
            worker.run(evalscope.evaluation_plan(service.url, "m", [asked], tmp_path / "w", **options))
        assert service.stats()["requests"] == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"orders": 4}, "several orders"),
        ({"scoring": "logprob", "kind": "open"}, "open question"),
        ({"scoring": "logprob", "generation": {"max_tokens": 512}}, "first 32 tokens"),
        ({"scoring": "logprob", "generation": {"temperature": 0.7}}, "temperature 0"),
        ({"scoring": "logprob", "generation": {"top_logprobs": 1}}, "2 or more"),
        ({"scoring": "logprop"}, "logprob"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], words: str) -> None:
    row = {"url": "http://127.0.0.1:1/v1", "served_model": "m", "suites": ["s"]}
    with pytest.raises(MatrixError, match=words):
        parse_matrix({"models": {"r": row}, "suites": {"s": {"benchmark": "facts_exam", **settings}}})
