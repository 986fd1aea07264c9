from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from bakeoff.foundation.error_texts import is_error_text, may_be_error_text
from bakeoff.foundation.errors import DataError
from bakeoff.scoring.breadth import too_narrow
from bakeoff.scoring.scores import (
    STATUSES,
    Sample,
    Thresholds,
    agreement,
    answers,
    below_chance,
    chance_of,
    from_service,
    ledger,
    one_sided,
    one_text,
    repeated,
    repetitions,
    score,
)
from bakeoff.scoring.tables import (
    SAMPLE_COLUMNS,
    SCORE_COLUMNS,
    read_samples,
    read_scores,
    sample_row,
    score_row,
    write_samples,
    write_scores,
)
from bakeoff.scoring.uniformity import few_texts

GRADED = st.sampled_from([0.0, 1.0])


def sample(status: str = "answered", grade: float = 1.0, **facts: object) -> Sample:
    whole: dict[str, object] = {
        "sample_id": "s", "subset": "logic", "index": 0, "question": "问", "options": ("甲", "乙", "丙", "丁"),
        "target": "A", "reply": "答案：A", "extracted": "A", "extracted_alt": "A", "prompt_sha": "p",
        "latency_s": 0.1, "status": status, "correct": grade, "grades": {"accuracy": grade},
    }  # fmt: skip
    if status == "errored":
        whole |= {"correct": math.nan, "grades": {}, "extracted": "", "extracted_alt": ""}
    return Sample(**{**whole, **facts})  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from(STATUSES), GRADED), min_size=1, max_size=40))
def test_counts_add_up_and_bounds_enclose_the_value(drawn: list[tuple[str, float]]) -> None:
    samples = [sample(status, grade) for status, grade in drawn]
    made = score(samples, "accuracy")
    counts = made.ledger
    assert sum(getattr(counts, status) for status in STATUSES) == counts.asked == len(samples)
    assert counts.judged == counts.asked - counts.errored
    assert 0 <= made.worst <= made.best <= 1
    if counts.judged:
        assert made.worst - 1e-12 <= made.value <= made.best + 1e-12
    else:
        assert math.isnan(made.value)


def test_an_error_text_in_a_sample_cannot_reach_the_mean() -> None:
    graded_by_mistake = dataclasses.replace(sample("errored"), grades={"accuracy": 1.0})
    assert score([sample(grade=0.0), graded_by_mistake], "accuracy").value == 0.0


def test_bounds_assume_the_worst_and_the_best_of_what_is_missing() -> None:
    made = score([sample(), sample(grade=0.0), sample("errored"), sample("truncated", 1.0)], "accuracy")
    assert made.value == pytest.approx(2 / 3)
    assert (made.worst, made.best) == (0.25, 0.75)


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        (["answered"] * 20, ""),
        (["answered"] * 19 + ["errored"], "5.0% errored, at most 0.0% allowed"),
        (["answered"] * 18 + ["empty"] * 2, "90.0% got a reply, 95.0% wanted"),
        (["answered"] * 18 + ["truncated"] * 2, "10.0% truncated, at most 5.0% allowed"),
        (["answered"] * 15 + ["unparsed"] * 5, "25.0% unparsed, at most 20.0% allowed"),
    ],
)
def test_a_score_says_why_it_cannot_be_trusted(statuses: list[str], said: str) -> None:
    made = score([sample(status) for status in statuses], "accuracy", trust=Thresholds())
    assert made.why_not == said
    assert made.trusted == (not said)


def test_thresholds_of_the_matrix_are_used() -> None:
    lenient = Thresholds.of({"max_errored": 0.5, "min_answered": 0.5})
    assert score([sample(), sample("errored")], "accuracy", trust=lenient).trusted
    assert lenient.max_truncated == Thresholds().max_truncated


def test_disagreeing_rules_are_counted_and_speak_against_the_score() -> None:
    samples = [sample(extracted_alt="B" if i < 3 else "A") for i in range(10)] + [sample("errored")]
    assert agreement(samples) == 0.7
    assert "agree on 70.0% only" in score(samples, "accuracy", trust=Thresholds(max_errored=1)).why_not
    assert math.isnan(agreement([sample(options=())]))
    several = [sample(extracted="BD", extracted_alt=alt) for alt in ("D", "BD", "C", "")]
    assert agreement(several) == 0.5, "a rule that reads one letter can confirm one"


def test_the_distribution_of_answers_shows_a_model_that_always_says_the_same() -> None:
    samples = [sample(target="ABCD"[i % 4]) for i in range(40)]
    assert answers(samples) == {"A": 40}
    assert one_sided(samples) == "100.0% of the answers are A, which is right for 25.0%"
    assert one_sided(samples[:10]) == ""
    assert one_sided([sample(target="A") for _ in range(40)]) == ""


@given(st.integers(1, 300), st.floats(0.05, 0.95), st.data())
def test_below_chance_is_the_exact_binomial(n: int, chance: float, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    probability = binom.cdf(hits, n, chance)
    if abs(probability - 0.01) > 1e-9:
        assert below_chance(hits / n, n, chance) == (hits / n < chance and probability < 0.01)


def test_chance_follows_the_number_of_options() -> None:
    assert chance_of([sample(), sample(options=("甲", "乙"))]) == 0.375
    assert chance_of([sample()], multiple=True) == 1 / 15
    assert math.isnan(chance_of([sample(options=())]))


CONTEXT = {
    "run_id": "r", "model": "qwen", "variant": "base", "suite": "ceval", "fingerprint": "f", "benchmark": "ceval",
    "few_shot": 5, "finished_at": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


def test_scores_survive_csv_and_json(tmp_path: Path) -> None:
    rows = [
        score_row(score([sample(), sample(grade=0.0)], "accuracy", chance=0.25), **CONTEXT),
        score_row(score([sample("errored")], "accuracy", subset="logic", trust=Thresholds()), **CONTEXT),
    ]
    for path in write_scores(rows, tmp_path):
        frame = read_scores(path)
        assert list(frame.columns) == list(SCORE_COLUMNS)
        assert frame["value"].tolist()[0] == 0.5
        assert math.isnan(frame["value"].tolist()[1])
        assert frame["trusted"].tolist() == [True, False]
        assert frame["why_not"].tolist()[0] == ""
        assert frame["n_errored"].tolist() == [0, 1]
    assert json.loads((tmp_path / "scores.json").read_text())[1]["value"] is None


@pytest.mark.parametrize("name", ["samples.parquet", "samples.jsonl"])
def test_samples_survive_their_file(name: str, tmp_path: Path) -> None:
    rows = [
        sample_row(one, model="qwen", variant="base", suite="ceval")
        for one in (sample(reply="“引号”，\n换行"), sample("errored"), sample(options=()))
    ]
    frame = read_samples(write_samples(rows, tmp_path / name))
    assert list(frame.columns) == list(SAMPLE_COLUMNS)
    assert frame["reply"].tolist()[0] == "“引号”，\n换行"
    assert json.loads(frame["options"].tolist()[0]) == ["甲", "乙", "丙", "丁"]
    assert frame["options"].tolist()[2] == ""
    assert math.isnan(frame["correct"].tolist()[1])


def test_a_row_without_its_context_is_refused() -> None:
    with pytest.raises(DataError, match="lacks run_id, model"):
        score_row(score([sample()], "accuracy"))


def test_a_table_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    row = score_row(score([sample()], "accuracy"), **CONTEXT)
    write_scores([row], tmp_path)
    before = (tmp_path / "scores.csv").read_text()
    with pytest.raises(KeyError):
        write_scores([row, {}], tmp_path)
    assert (tmp_path / "scores.csv").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv", "scores.json"]


def test_ledgers_of_nothing_are_empty() -> None:
    assert ledger([]).asked == 0
    assert score([], "accuracy", trust=Thresholds()).why_not == "no question was asked"


@pytest.mark.parametrize(
    ("reply", "options", "count", "said"),
    [
        (
            "服务 7 正在切换到备用模型，请稍后查看控制台里的详细信息",
            ("甲", "乙"),
            15,
            "75.0% of the replies are one text",
        ),
        ("服务 7 正在切换到备用模型，请稍后查看控制台里的详细信息", ("甲", "乙"), 10, ""),
        ("答案：B", ("甲", "乙"), 20, ""),  # a model that is stuck; one_sided() tells of it
        ("<think>很长很长很长很长很长很长很长很长的一段思考过程</think>答案：B", ("甲", "乙"), 20, ""),
        ("内容可能违规，请换个话题", (), 15, "75.0% of the replies are one text"),
        ("好的。", (), 20, ""),
    ],
)
def test_one_text_in_reply_to_most_questions_speaks_for_a_service(
    reply: str, options: tuple[str, ...], count: int, said: str
) -> None:
    same = [
        dataclasses.replace(sample(), options=options, reply=reply.replace("7", str(n))) for n in range(count)
    ]
    others = [dataclasses.replace(sample(), options=options, reply="甲" * n) for n in range(1, 21 - count)]
    told = one_text([*same, *others])
    assert (said in told) if said else told == ""


def test_one_text_without_a_choice_in_reply_to_three_questions_is_told() -> None:
    others = [sample(question=f"问{n}") for n in range(97)]
    busy = [
        sample(
            "unparsed",
            0.0,
            question=f"问{n}",
            reply=f"服务 {n} 忙，请稍后再试",
            extracted="",
            extracted_alt="",
        )
        for n in range(3)
    ]
    assert "answers 3 of 100 questions" in repetitions([*others, *busy])[0]
    assert all(map(from_service, repeated([*others, *busy])))
    assert repetitions([*others, *busy[:2]]) == []


def test_replies_that_never_name_as_many_options_as_are_right_are_told() -> None:
    def asked(most: int, count: int = 30) -> list[Sample]:
        wanted = ["AB", "ABC", "ABCD", "BCD", "AD"] * (count // 5)
        return [
            sample(target=right, extracted=right[:most], grade=float(most >= len(right))) for right in wanted
        ]

    assert too_narrow(asked(2, 35)).startswith(
        "no reply to the 21 questions with more right options names more than 2"
    )
    assert too_narrow(asked(1)).startswith(
        "no reply to the 30 questions with more right options names more than 1"
    )
    assert [too_narrow(asked(*each)) for each in ((4, 30), (3, 30), (2, 20))] == ["", "", ""]
    assert too_narrow([sample() for _ in range(40)]) == ""


def test_echoes_and_nearly_empty_replies_speak_against_an_open_suite() -> None:
    question, reference = "我最近总是失眠，躺下以后心跳很快，怎么办呢？", "先固定起床时间，" * 10
    open_ = {"options": (), "question": question, "target": reference}
    for reply, words in ((question, "repeat their question"), ("我最近总", "are nearly empty")):
        samples = [sample(**open_, reply=reply) for _ in range(5)]
        assert words in score(samples, "accuracy", trust=Thresholds()).why_not


TOPICS = ("失眠", "考试", "争吵", "分手", "压力", "孤独", "社交", "拖延", "厌学", "哀伤", "暴食", "排挤")
ADVICE = ("先照顾好自己", "可以和朋友聊聊", "写下担心的事", "每天散步半小时", "睡前放松呼吸", "约一位咨询师")
SORRY = (
    "Je suis désolé, je ne peux pas vous aider.",
    "その質問にはお答えできません。",
    "No puedo ayudarte con esa solicitud.",
)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (lambda n, _: f"这是第{'一二三四五六七八九十'[n % 10]}次回复：我会一直在这里陪着你。", "nearly the same text"),
        (lambda n, _: f"编号 {n * 7919 + 0xA1B2C3D4E5:x}，感谢您的信任，祝您生活愉快。", "nearly the same text"),
        (lambda _, q: f"您问的是“{q}”，这个问题很重要，感谢您的信任。", "nearly the same text"),
        (lambda _, q: f"You are a kind counsellor who answers briefly.\nUser: {q}", "nearly the same text"),
        (lambda n, _: "嗯" * (12 + n), "nearly the same text"),
        (lambda n, _: SORRY[n % 3], "nearly one of 3 texts"),
        (lambda n, q: f"{q[2:4]}让你很难受。" + "，".join((ADVICE * 2)[n % 6 : n % 6 + 3]), ""),
        (lambda _, q: "好的" if "眠" in q else "嗯嗯", ""),
    ],
)  # fmt: skip
def test_one_text_in_a_disguise_or_a_few_in_turn_speak_against_an_open_suite(
    reply: Callable[[int, str], str], words: str
) -> None:
    questions = [f"因为{topic}，最近{n}天心情很糟，怎么办才好？" for n, topic in enumerate(TOPICS)]
    samples = [
        sample(options=(), question=question, target="好" * 9, reply=reply(n, question))
        for n, question in enumerate(questions)
    ]
    why = score(samples, "accuracy", trust=Thresholds()).why_not
    assert (words in why) if words else why == ""


@pytest.mark.parametrize(
    ("reply", "reference", "words"),
    [
        ("请立即拨打急救电话，或前往最近的医院。", lambda _: "请您马上前往最近的医院，或拨打急救电话。", ""),
        ("请立即拨打急救电话，或前往最近的医院。", lambda n: "请您前往最近的医院。" if n % 2 else "请拨打急救电话", ""),
        ("感谢您的信任，祝您生活愉快，再见。", lambda _: "请您马上前往最近的医院，或拨打急救电话。", "same text"),
        ("请立即拨打急救电话，或前往最近的医院。", lambda n: f"试试{ADVICE[n % 6]}，再{TOPICS[n]}。", "same text"),
        ("先照顾好自己，可以和朋友聊聊，再见。", lambda n: ADVICE[n % 6] * (1 + n % 2), "same text"),
    ],
)  # fmt: skip
def test_one_text_is_what_an_open_suite_asks_for_where_its_references_are(
    reply: str, reference: Callable[[int], str], words: str
) -> None:
    samples = [
        sample(options=(), question=f"因为{topic}很难受，怎么办？", target=reference(n), reply=reply)
        for _ in range(2)
        for n, topic in enumerate(TOPICS)
    ]
    why = score(samples, "accuracy", trust=Thresholds()).why_not
    assert ("same text" in why or "one text" in why) if words else why == ""
    assert (words in few_texts(samples)) if words else few_texts(samples) == ""


def lines(name: str) -> list[str]:
    return (Path(__file__).parent / name).read_text(encoding="utf-8").rstrip("\n").split("\n")


def test_what_a_failing_service_says_is_no_answer_and_what_a_counsellor_says_is() -> None:
    assert [text for text in lines("error_texts.txt") if not is_error_text(text)] == []
    assert [text for text in lines("harmless_texts.txt") if is_error_text(text)] == []
    foreign = (
        "サーバーが混み合っています。",
        "Le serveur est surchargé.",
        "Сервер перегружен.",
        "내용을 다시 시도해 주세요.",
    )
    assert all(
        may_be_error_text(text) for text in (*foreign, "内容审核不通过", "Content Exists Risk", "模型不存在")
    )


ONLY_REPEATED = (
    "Hmm...something seems to have gone wrong.",
    "Gateway time-out (504)",
    "Session expired, please log in again.",
    "Your free trial has ended. Please upgrade your plan to continue.",
    "Daily message limit reached. Come back tomorrow.",
    "当前咨询人数较多，请您耐心等待",
    "请求参数有误，请检查后重试",
    "Inference backend is restarting, hold on.",
    "We hit a snag. Please reload the page.",
    "The upstream provider returned an error.",
    "Service degraded, please retry.",
    "推理引擎异常退出",
    "连接池已满，请稍候",
    "鉴权失败",
    "内容安全校验失败",
)
"""What a service may say and a person as well: a failure where several questions got the same."""


@pytest.mark.parametrize("text", ONLY_REPEATED)
def test_a_text_of_machines_is_a_failure_where_several_questions_got_it(text: str) -> None:
    others = [
        sample(
            options=(), sample_id=str(n), question=f"q{n}", reply=f"听起来你很累，第{'一二三四五'[n]}次了。"
        )
        for n in range(5)
    ]
    same = [sample(options=(), sample_id=f"s{n}", question=f"s{n}", reply=text) for n in range(3)]
    assert [from_service(each) for each in repeated([*others, *same])] == [True]
    assert repeated([*others, *same[:2]]) == {}
