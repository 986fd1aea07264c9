"""The rubric, the blind study and the store of judgements."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import secrets
import sqlite3
import stat
import threading
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_app import cases, study, verdict

from bakeoff.foundation.errors import DataError, RatingError, StoreError
from bakeoff.foundation.workspace import Workspace
from bakeoff.judgement.blind import build_study, read_study, williams
from bakeoff.judgement.export import EXPORT_FIELDS
from bakeoff.judgement.hiding import HIDDEN, hide_makers
from bakeoff.judgement.raters import MAX_FAILURES, Raters
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.replies import SHIPPED_CASES, Reply, load_cases
from bakeoff.judgement.rubric import CRISIS_CHECKS, DIMENSIONS, load_rubric
from bakeoff.judgement.submissions import Judgement, check_rater
from bakeoff.judgement.verdicts import summarise
from bakeoff.matrix.loading import load_matrix
from bakeoff.runs.finishing import finish as finish_run
from bakeoff.store.stages import Record, Timeline, now

DATA = Path(os.environ.get("BAKEOFF_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
DIALOGUES = DATA / "cpsycoun" / "CPsyCounE.jsonl"


def token() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def store(tmp_path: Path) -> RatingStore:
    return RatingStore(tmp_path / "judge" / "ratings.sqlite")


def finish(store: RatingStore, rater: str, choose: Any) -> None:
    """Score the whole queue of *rater*; choose(reply) gives the points."""
    kept = store.study("trial")
    store.enrol("trial", rater)
    while (screen := store.next_screen("trial", rater)) is not None:
        verdicts = {
            item.item_id: Judgement.parse(
                verdict(choose(kept.reply(item.reply_id)), crisis=kept.case(item.case_id).crisis)
            )
            for item in store.items("trial", rater, screen)
        }
        store.record(rater, token(), verdicts)


# ------------------------------ rubric


def test_the_rubric_has_five_dimensions_with_an_anchor_for_each_point_in_both_languages() -> None:
    content = load_rubric().content
    assert [each["key"] for each in content["dimensions"]] == list(DIMENSIONS)
    for each in content["dimensions"]:
        texts = [each["anchors"][point][language] for point in range(1, 6) for language in ("zh", "en")]
        assert len(set(texts)) == 10
        assert all(texts)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (verdict(6), "whole number from 1 to 5"),
        (verdict(0), "whole number from 1 to 5"),
        (verdict(3) | {"scores": dict.fromkeys(DIMENSIONS, True)}, "whole number from 1 to 5"),
        (verdict(3) | {"scores": dict.fromkeys(DIMENSIONS, 3.0)}, "whole number from 1 to 5"),
        (verdict(3) | {"scores": dict.fromkeys(DIMENSIONS, "4")}, "whole number from 1 to 5"),
        (verdict(3) | {"scores": {"empathy": 3}}, "no score for professionalism"),
        (verdict(3) | {"scores": [3, 3, 3, 3, 3]}, "scores: wanted an object"),
        (verdict(3) | {"scores": verdict(3)["scores"] | {"charm": 3}}, "'charm' is no dimension"),
        (verdict(3, confidence=9), "confidence: 9"),
        (verdict(3, strengths="x" * 1_000_000), "at most 4,000"),
        (verdict(3, weaknesses="\ud800"), "lone surrogate"),
        (verdict(3, weaknesses=["a"]), "wanted text"),
        (verdict(3, cannot_judge=True), "together with scores"),
        (verdict(3, cannot_judge="yes"), "true or false"),
        (verdict(3, corrects="1"), "number of a judgement"),
        (verdict(3, judge_id="somebody else"), "unknown field"),
        (verdict(3) | {"crisis": {"takes_seriously": "yes"}}, "takes_seriously: wanted true or false"),
        ("5,5,5,5,5", "wanted an object"),
        (None, "wanted an object"),
    ],
)
def test_a_judgement_that_breaks_a_rule_is_refused_in_words(broken: Any, rule: str) -> None:
    with pytest.raises(RatingError, match=rule) as refused:
        Judgement.parse(broken)
    assert len(str(refused.value)) < 300


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
judgement_like = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(Judgement.__dataclass_fields__, json_values)
)


@given(judgement_like | json_values)
def test_whatever_is_sent_is_either_a_clean_judgement_or_a_refusal(raw: Any) -> None:
    try:
        judgement = Judgement.parse(raw)
    except RatingError:
        return
    assert judgement.cannot_judge or set(judgement.scores) == set(DIMENSIONS)
    assert all(type(score) is int and 1 <= score <= 5 for score in judgement.scores.values())


@pytest.mark.parametrize(
    "name", ["", " ", "../x", "a/b", "model:gpt", "x" * 41, None, 3, "<b>", "a\nb", "-rf", "_x"]
)
def test_a_name_that_could_be_a_path_markup_or_a_judge_model_is_refused(name: Any) -> None:
    with pytest.raises(RatingError):
        check_rater(name)


def test_names_in_chinese_and_addresses_are_fine() -> None:
    assert [check_rater(name) for name in ("王一", "li.si@uni", " Anna-Lena 2 ")] == [
        "王一",
        "li.si@uni",
        "Anna-Lena 2",
    ]


# ------------------------------ blind study


@pytest.mark.parametrize("size", range(2, 13))
def test_a_williams_design_balances_positions_and_neighbours(size: int) -> None:
    rows = williams(size)
    assert len(rows) == (size if size % 2 == 0 else 2 * size)
    places = Counter((place, value) for row in rows for place, value in enumerate(row))
    follows = Counter(pair for row in rows for pair in itertools.pairwise(row))
    assert len(set(places.values())) == 1
    assert len(places) == size * size
    assert len(set(follows.values())) == 1
    assert len(follows) == size * (size - 1)


@pytest.mark.parametrize("layout", ["one-by-one", "side-by-side"])
@pytest.mark.parametrize(("count", "subjects", "raters"), [(6, 2, 4), (5, 3, 6), (7, 6, 12)])
def test_every_model_stands_equally_often_at_every_position(
    layout: Any, count: int, subjects: int, raters: int
) -> None:
    blind = study(count, subjects, layout=layout)
    seen: Counter[tuple[int, str]] = Counter()
    for rater in range(raters):
        shown: dict[str, list[str]] = {}
        for screen in blind.screens(rater):
            if not screen.repeat:
                shown.setdefault(screen.case_id, []).extend(
                    blind.reply(one).subject for one in screen.reply_ids
                )
        assert all(sorted(order) == list(blind.subjects) for order in shown.values())
        seen.update((place, subject) for order in shown.values() for place, subject in enumerate(order))
    rows = len(williams(subjects))
    spread = max(seen.values()) - min(seen.values())
    # Whole designs balance exactly; a design cut short may differ by the rows that are left over.
    assert spread == 0 if count * raters % rows == 0 else spread <= 2


def test_orders_differ_between_raters_and_are_the_same_when_drawn_again() -> None:
    blind = study(8, 4)
    assert blind.screens(0) == blind.screens(0)
    assert [s.reply_ids for s in blind.screens(0)] != [s.reply_ids for s in blind.screens(1)]


@pytest.mark.parametrize("layout", ["one-by-one", "side-by-side"])
def test_repeats_are_mixed_into_the_second_half_and_come_from_the_first(layout: Any) -> None:
    blind = study(10, 3, layout=layout, repeats=0.2)
    for rater in range(5):
        screens = blind.screens(rater)
        again = [place for place, screen in enumerate(screens) if screen.repeat]
        assert len(again) == (6 if layout == "one-by-one" else 2)
        for place in again:
            first = [
                n
                for n, s in enumerate(screens)
                if not s.repeat and set(s.reply_ids) == set(screens[place].reply_ids)
            ]
            assert len(first) == 1
            assert first[0] < place
        if layout == "one-by-one":
            repeated = Counter(blind.reply(screens[place].reply_ids[0]).subject for place in again)
            assert set(repeated.values()) == {2}


@pytest.mark.parametrize(
    ("said", "hidden"),
    [
        ("我是通义千问，由阿里云研发。", ["通义千问", "阿里云"]),
        ("I am Llama 3.1, a model trained by Meta AI.", ["Llama 3.1", "Meta AI"]),
        ("我是由智谱AI训练的ChatGLM3-6B。", ["智谱AI", "ChatGLM3-6B"]),
        ("我是书生·浦语，上海人工智能实验室开发。", ["书生·浦语", "上海人工智能实验室"]),
        ("作为百川大模型，我无法感受。As Baichuan2 I cannot.", ["百川大模型", "Baichuan2"]),
        ("As ChatGPT by OpenAI (gpt-oss-20b) I…", ["ChatGPT", "OpenAI", "gpt-oss-20b"]),
        ("我是由OpenAI开发的语言模型", ["OpenAI"]),
        ("我是由Meta开发的AI助手", ["Meta"]),
        ("我是GLM-4", ["GLM-4"]),
        ("我是GPT", ["GPT"]),
        ("我是Claude", ["Claude"]),
        ("我是Gemini", ["Gemini"]),
        ("我是Gemma，由Google DeepMind训练", ["Gemma", "Google", "DeepMind"]),
        ("I am Phi, built by Microsoft.", ["Phi", "Microsoft"]),
        ("我是Yi，零一万物开发", ["Yi", "零一万物"]),
        ("Qwen是阿里云的模型", ["Qwen", "阿里云"]),
        ("我是Phi-3，不是Gemma-2", ["Phi-3", "Gemma-2"]),
    ],
)
def test_a_reply_that_names_its_maker_is_hidden_and_listed(said: str, hidden: list[str]) -> None:
    shown, found = hide_makers(said)
    assert sorted(found) == sorted(hidden)
    assert not any(name.lower() in shown.lower() for name in hidden)


@pytest.mark.parametrize(
    "said",
    [
        "你在阿里巴巴的工作压力很大。",
        "Metacognition helps.",
        "考上清华大学是你父母的愿望。",
        "他书生意气，你很难过。",
        "羊驼很可爱。",
        "梅塔这个名字很好听。",
        "The phi coefficient is .3, and I'm using the phi coefficient again.",
        "海纳百川，有容乃大。",
        "早饭吃豆包，读《文心雕龙》。",
        "Gemma is your sister, and Yi your cousin.",
        "他在Meta上班，周末看falcon。",
        "The metadata of glmnet.",
    ],
)
def test_a_client_s_own_life_is_not_hidden(said: str) -> None:
    assert hide_makers(said) == (said, [])


def test_rows_and_names_of_one_s_own_are_hidden_where_they_are_no_plain_word() -> None:
    names = ("tiny-llama", "tiny-llama-sft", "calm", "小梦")
    assert hide_makers("我是tiny-llama-sft，叫我小梦吧。", names)[0] == f"我是{HIDDEN}，叫我{HIDDEN}吧。"
    assert hide_makers("Stay calm.", names)[1] == []
    assert hide_makers("I am Calm, your helper.", names)[1] == ["Calm"]
    replies = [Reply("case-0", "row-7b", "tuned", "我是row-7b-sft", "answered", served_name="row-7b-sft")]
    assert build_study(replies, cases(1), study_id="own").replies[0].found == ("row-7b-sft",)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("我是Ｑｗｅｎ，由阿里雲開發", "我是▇▇▇，由▇▇▇開發"),
        ("I am Q\u200bwen-7B", "I am ▇▇▇"),
        ("𝐐𝐰𝐞𝐧 here", "▇▇▇ here"),
        ("Qw\u0435n here", "▇▇▇ here"),
        ("我是通義千問", "我是▇▇▇"),
        ("I’m Q w e n, made by A-l-i-b-a-b-a", "I’m ▇▇▇, made by ▇▇▇"),
        ("Deep-Seek, Chat-GPT and GPT‑4o", "▇▇▇, ▇▇▇ and ▇▇▇"),
        ("ＯｐｅｎＡＩ 的 ＧＰＴ－４", "▇▇▇ 的 ▇▇▇"),
        ("名字是 p a n d a - 9 吗", "名字是 p a n d a - 9 吗"),
        ("叫 Ｐａｎｄａ－9", "叫 ▇▇▇"),
        ("推理</think>你好，我是Kimi", "你好，我是▇▇▇"),
    ],
)
def test_a_name_is_hidden_however_its_letters_are_written(said: str, shown: str) -> None:
    assert hide_makers(said, ["panda-9"])[0] == shown


@pytest.mark.parametrize(
    "said",
    [
        "一步一步来：A - B - C - D",
        "ideas cohere, café，１２３４",
        "é\u0301 I a m s o t i r e d",
        "我问了钱文 Qian Wen",
        "ＱＱ群",
    ],
)
def test_what_is_no_name_stays_to_the_letter(said: str) -> None:
    assert hide_makers(said, ["panda-9"]) == (said, [])


def test_replies_that_were_asked_for_with_unlike_settings_are_not_compared() -> None:
    replies = [
        Reply("case-0", row, "tuned", "…", "answered", settings={"temperature": 0, "max_tokens": limit})
        for row, limit in (("one", 512), ("two", 1024))
    ]
    with pytest.raises(RatingError, match=r"one/tuned and two/tuned .*max_tokens 512 and 1024.*gather"):
        build_study(replies, cases(1), study_id="unlike")


def test_a_thinking_part_is_never_shown() -> None:
    assert hide_makers("<think>我是 Qwen</think>你好")[0] == "你好"
    assert hide_makers("<think>never closed")[0] == ""
    assert hide_makers("<|channel|>analysis<|message|>hm<|end|>你好")[0] == "你好"


def test_marks_of_a_chat_template_name_the_model_and_are_hidden() -> None:
    said = "<|channel|>final<|message|>慢慢说。<|end|><|start|>user<|message|>[INST] a < b |> c"
    assert hide_makers(said)[0] == f"{HIDDEN}慢慢说。{HIDDEN} a < b |> c"


def test_missing_replies_are_listed_and_shown_to_nobody() -> None:
    asked = cases(3)
    replies = [Reply(case.id, "a", "base", f"yes {case.id}", "answered") for case in asked]
    replies += [
        Reply("case-0", "b", "base", "", "errored", "HTTP 500"),
        Reply("case-1", "b", "base", "", "empty"),
    ]
    blind = build_study(replies, asked, study_id="gaps")
    assert sorted(blind.missing) == [("case-0", "b/base", "HTTP 500"), ("case-2", "b/base", "never asked")]
    assert {reply.status for reply in blind.replies} == {"answered", "empty"}
    assert len([screen for screen in blind.screens(0) if not screen.repeat]) == 4


def test_replies_to_an_older_version_of_a_case_are_refused() -> None:
    with pytest.raises(RatingError, match="another version of case case-0"):
        build_study(
            [Reply("case-0", "a", "base", "x", "answered", case_sha="0" * 12)], cases(1), study_id="old"
        )


def test_a_study_survives_its_file(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(study().to_json(), encoding="utf-8")
    assert read_study(tmp_path / "s.json") == study()
    (tmp_path / "bad.json").write_text('{"format": "other"}', encoding="utf-8")
    with pytest.raises(RatingError, match="not a study"):
        read_study(tmp_path / "bad.json")


@pytest.mark.skipif(not SHIPPED_CASES.is_file(), reason="the shipped cases are absent")
def test_the_shipped_cases_hold_multi_turn_and_crisis_dialogues() -> None:
    shipped = load_cases()
    assert any(case.crisis for case in shipped)
    assert any(len(case.messages) >= 3 for case in shipped)


def test_dialogues_of_the_user_are_cut_after_the_client_and_crises_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(
        '{"id": "a", "topic": "t", "dialog": ["求助者：我最近不想活了", "支持者：我在听"]}\n'
        '{"id": "b", "topic": "t", "dialog": ["求助者：睡不好", "支持者：多久了？", "求助者：两周\u2028吧"]}\n',
        encoding="utf-8",
    )
    first, second = load_cases(path)
    assert (first.crisis, second.crisis) == (True, False)
    assert [turn["role"] for turn in first.messages] == ["user"]
    assert second.messages[-1]["content"] == "两周\u2028吧"
    path.write_text('{"id": "a", "messages": [{"role": "assistant", "content": "x"}]}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"own\.jsonl:1: .*end on the user"):
        load_cases(path)


def case_file(path: Path, **row: Any) -> Path:
    content = {"id": "a", "messages": [{"role": "user", "content": "累"}], **row}
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "content",
    [None, "", "  ", 5, True, {"text": "x"}, [], [{"type": "image_url", "image_url": {}}], [None], [{"text": None}],
     [{"type": "text", "text": ""}], "half \ud83d"],
)  # fmt: skip
def test_a_message_that_is_no_text_is_refused_with_its_line(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "own.jsonl"
    row = {"id": "a", "messages": [{"role": "user", "content": content}]}
    path.write_text("\n" + json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"own\.jsonl:2: not a case"):
        load_cases(path)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": None}, {"messages": "hi"}, {"messages": {"role": "user"}}, {"messages": ["hi"]},
        {"messages": [{"role": "client", "content": "x"}]}, {"messages": [{"role": "user"}]},
        {"id": None}, {"id": ""}, {"id": ["a"]}, {"id": True}, {"title": {"zh": "x"}}, {"topic": [1]},
        {"what_a_good_reply_does": {"a": 1}}, {"what_a_good_reply_does": [None]}, {"what_a_good_reply_does": 3},
        {"dialog": "求助者：你好"}, {"dialog": [None]}, {"dialog": ["你好"]}, {"dialog": ["求助者："]},
        {"crisis": "no"},
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_refused_with_its_line(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"own\.jsonl:1: not a case"):
        load_cases(case_file(tmp_path / "own.jsonl", **row))


@pytest.mark.parametrize("line", ["[]", "5", "null", '"text"', "[" * 100_000, "{"])
def test_a_line_that_is_no_object_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "own.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match=r"own\.jsonl:1: not a case"):
        load_cases(tmp_path / "own.jsonl")


def test_parts_are_joined_and_a_text_is_one_point(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "我很"}, {"type": "text", "text": "累"}]
    row = {"messages": [{"role": "user", "content": parts}], "what_a_good_reply_does": "倾听并共情", "id": 7}
    (case,) = load_cases(case_file(tmp_path / "own.jsonl", **row))
    assert case.messages[0]["content"] == "我很累"
    assert case.what_a_good_reply_does == ("倾听并共情",)
    assert case.id == "7"


def test_a_byte_order_mark_is_read_and_another_encoding_is_named(tmp_path: Path) -> None:
    path = case_file(tmp_path / "own.jsonl")
    text = path.read_text(encoding="utf-8")
    path.write_bytes(text.encode("utf-8-sig"))
    assert load_cases(path)[0].messages[0]["content"] == "累"
    path.write_bytes(b"\n" + text.encode("gb18030"))
    with pytest.raises(DataError, match=r"own\.jsonl:2: not UTF-8 \(byte 0xc0 at position"):
        load_cases(path)


@pytest.mark.skipif(not DIALOGUES.is_file(), reason=f"{DIALOGUES} is absent; set BAKEOFF_TEST_DATA")
def test_a_public_set_of_dialogues_can_be_studied() -> None:
    asked = load_cases(DIALOGUES)
    assert len(asked) == 45
    assert all(case.messages[-1]["role"] == "user" and len(case.messages) >= 3 for case in asked)
    assert len({case.topic for case in asked}) == 9


# ------------------------------ store


def test_the_store_is_for_its_owner_only_and_syncs_every_judgement(store: RatingStore) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_rows_can_be_neither_changed_nor_removed(store: RatingStore) -> None:
    store.add_study(study())
    finish(store, "anna", lambda _: 3)
    with sqlite3.connect(store.path) as other:
        for statement in ("UPDATE judgement SET empathy = 5", "DELETE FROM judgement", "DELETE FROM item"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                other.execute(statement)


def test_the_same_submission_counts_once_and_another_under_its_token_is_refused(store: RatingStore) -> None:
    store.add_study(study())
    store.enrol("trial", "anna")
    item = store.items("trial", "anna", 0)[0]
    crisis = store.study("trial").case(item.case_id).crisis
    first = {item.item_id: Judgement.parse(verdict(4, crisis=crisis))}
    numbers = store.record("anna", "t" * 16, first)
    assert store.record("anna", "t" * 16, first) == numbers
    assert len(store.judgements("trial", history=True)) == 1
    with pytest.raises(RatingError, match="recorded before with other content"):
        store.record("anna", "t" * 16, {item.item_id: Judgement.parse(verdict(5, crisis=crisis))})
    with pytest.raises(RatingError, match="scored already"):
        store.record("anna", token(), first)


def test_corrections_are_new_rows_that_point_at_the_old(store: RatingStore) -> None:
    store.add_study(study())
    store.enrol("trial", "anna")
    item = store.items("trial", "anna", 0)[0]
    crisis = store.study("trial").case(item.case_id).crisis
    (first,) = store.record("anna", token(), {item.item_id: Judgement.parse(verdict(2, crisis=crisis))})
    (second,) = store.record(
        "anna", token(), {item.item_id: Judgement.parse(verdict(5, crisis=crisis, corrects=first))}
    )
    with pytest.raises(RatingError, match="changed meanwhile"):
        store.record(
            "anna", token(), {item.item_id: Judgement.parse(verdict(1, crisis=crisis, corrects=first))}
        )
    history = store.judgements("trial", history=True)
    assert [(row["id"], row["corrects"], row["empathy"]) for row in history] == [
        (first, None, 2),
        (second, first, 5),
    ]
    assert [row["id"] for row in store.judgements("trial")] == [second]


def test_nobody_judges_on_another_rater_s_queue(store: RatingStore) -> None:
    store.add_study(study())
    store.enrol("trial", "anna")
    store.enrol("trial", "boris")
    item = store.items("trial", "anna", 0)[0]
    for stranger in (item.item_id, "0" * 24, "../../etc/passwd", ""):
        with pytest.raises(RatingError):
            store.record("boris", token(), {stranger: Judgement.parse(verdict(3))})
    assert store.judgements() == []


def test_a_screen_is_kept_whole_or_not_at_all(store: RatingStore) -> None:
    store.add_study(study(4, 3, layout="side-by-side"))
    store.enrol("trial", "anna")
    items = store.items("trial", "anna", 0)
    crisis = store.study("trial").case(items[0].case_id).crisis
    verdicts = {item.item_id: Judgement.parse(verdict(3, crisis=crisis)) for item in items}
    verdicts["f" * 24] = Judgement.parse(verdict(3))
    with pytest.raises(RatingError, match="not in your queue"):
        store.record("anna", token(), verdicts)
    assert store.judgements() == []


def test_crisis_cases_ask_three_questions_that_others_must_not_have(store: RatingStore) -> None:
    store.add_study(study(1, 2))
    store.enrol("trial", "anna")
    item = store.items("trial", "anna", 0)[0]
    with pytest.raises(RatingError, match="crisis case needs a yes or no"):
        store.record("anna", token(), {item.item_id: Judgement.parse(verdict(3))})
    store.record("anna", token(), {item.item_id: Judgement(cannot_judge=True)})
    assert store.judgements()[0]["outcome"] == "cannot_judge"


def test_a_study_of_the_same_name_with_other_content_is_refused(store: RatingStore) -> None:
    store.add_study(study(3))
    store.add_study(study(3))
    with pytest.raises(RatingError, match="other content"):
        store.add_study(study(4))


def test_a_study_that_an_earlier_version_kept_is_still_the_same(store: RatingStore) -> None:
    older = re.sub(r',\s*"fingerprint": ""', "", study(3).to_json())
    assert older != study(3).to_json()
    with store.writing() as db:
        db.execute("INSERT INTO study VALUES ('trial', ?, '2026-01-01')", (older,))
    store.add_study(study(3))


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_text(
        "not a database, but long enough to be read as one " * 40, encoding="utf-8"
    )
    with pytest.raises(StoreError, match="cannot be used as the store"):
        RatingStore(tmp_path / "x.sqlite")


def test_a_full_disk_is_said_and_takes_nothing_that_was_kept(store: RatingStore) -> None:
    store.add_study(study(12, 4))
    store.enrol("trial", "anna")
    store._db.execute(f"PRAGMA max_page_count = {store._db.execute('PRAGMA page_count').fetchone()[0] + 3}")
    kept = 0

    def fill() -> None:
        nonlocal kept
        for screen in range(48):
            item = store.items("trial", "anna", screen)[0]
            crisis = store.study("trial").case(item.case_id).crisis
            said = verdict(3, crisis=crisis, strengths="x" * 1000)
            store.record("anna", token(), {item.item_id: Judgement.parse(said)})
            kept += 1

    with pytest.raises(StoreError, match=r"nothing was kept .*full"):
        fill()
    store.close()
    assert kept > 1
    assert len(RatingStore(store.path).judgements()) == kept


def test_the_export_has_the_guide_s_fields_first_and_no_formula(store: RatingStore) -> None:
    assert EXPORT_FIELDS == (
        "test_case_id", "model_name", "judge_id", "timestamp", "professionalism", "empathy", "usefulness", "safety",
        "overall_quality", "strengths", "weaknesses", "suggestions", "confidence",
    )  # fmt: skip
    store.add_study(study(1, 2))
    store.enrol("trial", "anna")
    item = store.items("trial", "anna", 0)[0]
    said = '=HYPERLINK("http://x")\n\'好\', "quoted"'
    store.record("anna", token(), {item.item_id: Judgement.parse(verdict(4, crisis=True, strengths=said))})
    store.export_csv(store.path.with_name("out.csv"))
    text = store.path.with_name("out.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0])[: len(EXPORT_FIELDS)] == list(EXPORT_FIELDS)
    assert (rows[0]["strengths"], rows[0]["empathy"], rows[0]["judge_id"]) == ("'" + said, "4", "anna")
    assert stat.S_IMODE(store.path.with_name("out.csv").stat().st_mode) == 0o600


def test_twenty_raters_in_threads_and_two_stores_on_one_file_mix_nothing(store: RatingStore) -> None:
    store.add_study(study(6, 3))
    other = RatingStore(store.path)
    raters = [f"rater {n}" for n in range(20)]
    threads = [
        threading.Thread(target=finish, args=(store if n % 2 else other, rater, lambda _, n=n: n % 5 + 1))
        for n, rater in enumerate(raters)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = store.judgements("trial")
    assert Counter(row["judge_id"] for row in rows) == dict.fromkeys(raters, 20)
    assert all(row["empathy"] == int(row["judge_id"].split()[1]) % 5 + 1 for row in rows)
    assert sorted(store.enrol("trial", rater) for rater in raters) == list(range(20))


# ------------------------------ what it all says


def test_the_summary_keeps_crises_apart_and_tells_models_apart(store: RatingStore) -> None:
    store.add_study(study(14, 3))
    quality = {"m0": 5, "m1": 3, "m2": 1}
    for shift, rater in enumerate(("anna", "boris", "chen")):
        finish(store, rater, lambda reply, shift=shift: min(5, max(1, quality[reply.model] - shift % 2)))
    said = summarise(store, "trial")
    ordinary, crisis = said["parts"]["counselling"], said["parts"]["crisis"]
    assert (ordinary["cases"], crisis["cases"]) == (13, 1)
    assert "checks" in crisis
    assert "checks" not in ordinary
    assert {one["subject"]: one["share"] for one in crisis["checks"]["points_to_help"]} == dict.fromkeys(
        ("m0/tuned", "m1/tuned", "m2/tuned"), 1.0
    )
    best = ordinary["scores"]["overall_quality"]["subjects"]
    assert [one["subject"] for one in best] == ["m0/tuned", "m1/tuned", "m2/tuned"]
    assert len({one["letters"] for one in best}) == 3
    assert best[0]["value"] == pytest.approx((5 + 4 + 5) / 3)
    assert [one["subject"] for one in ordinary["strengths"]] == ["m0/tuned", "m1/tuned", "m2/tuned"]
    assert {one["rate"] for one in ordinary["wins"]} == {1.0}
    assert ordinary["agreement"]["empathy"]["units"] == 39
    assert all(one["exact"] == 1.0 for one in said["raters"]["consistency"])
    severe = {one["rater"]: one["severity"] for one in said["raters"]["severity"]}
    assert severe["boris"] < 0 < severe["anna"]
    assert {row["done"] for row in said["counts"]["raters"].values()} == {
        row["total"] for row in said["counts"]["raters"].values()
    }


def test_one_rater_gets_no_letters_and_few_cases_say_how_many_are_needed(store: RatingStore) -> None:
    store.add_study(study(14, 3))
    finish(store, "anna", lambda reply: 5 - 2 * int(reply.model[1]))
    part = summarise(store, "trial")["parts"]["counselling"]["scores"]["overall_quality"]
    assert {one["letters"] for one in part["subjects"]} == {""}
    assert "one rater" in part["why_no_letters"]
    finish(store, "boris", lambda reply: 5 - 2 * int(reply.model[1]))
    said = summarise(store, "trial")["parts"]
    assert len({one["letters"] for one in said["counselling"]["scores"]["overall_quality"]["subjects"]}) == 3
    crisis = said["crisis"]["scores"]["safety"]
    assert {(one["letters"], one["low"]) for one in crisis["subjects"]} == {("", None)}
    assert "1 case" in crisis["why_no_letters"]
    assert set(said["counselling"]["scores"]["safety"]["variance"]) == {
        "case", "rater", "case x model", "rater x model", "case x rater", "rest",
    }  # fmt: skip


def test_a_store_from_before_a_dimension_gets_its_column_and_opens(
    store: RatingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_study(study(3, 2))
    finish(store, "anna", lambda _: 3)
    store.close()
    for module in ("ratings", "tables", "parts", "judged"):
        monkeypatch.setattr(f"bakeoff.judgement.{module}.DIMENSIONS", (*DIMENSIONS, "warmth"))
        monkeypatch.setattr(f"bakeoff.judgement.{module}.CRISIS_CHECKS", ("stays_calm", *CRISIS_CHECKS))
    monkeypatch.setattr("bakeoff.judgement.verdicts.DIMENSIONS", (*DIMENSIONS, "warmth"))
    newer = RatingStore(store.path)
    assert {row["warmth"] for row in newer.judgements()} == {None}
    said = summarise(newer, "trial")
    assert said["parts"]["counselling"]["scores"]["warmth"]["subjects"] == []
    assert said["parts"]["counselling"]["scores"]["empathy"]["subjects"]
    assert RatingStore(store.path).judgements()[0]["empathy"] == 3


def test_an_empty_study_has_a_summary_too(store: RatingStore) -> None:
    store.add_study(study())
    said = summarise(store, "trial")
    assert said["parts"] == {"counselling": None, "crisis": None}
    assert said["counts"]["judgements"] == 0


# ------------------------------ what a run shows of it


def finished(root: Path, fingerprint: str) -> dict[str, Any]:
    """What a run with the row m0 of these weights leaves in its run.json."""
    workspace = Workspace(root)
    (root / "matrix.yaml").write_text(
        "models: {m0: {url: 'http://127.0.0.1:9/v1', served_model: m}}", encoding="utf-8"
    )
    record = Record(
        "replies", "m0", "tuned", "ran", "", "", "", "replies.jsonl", now(), 0.0, {"fingerprint": fingerprint}
    )
    Timeline(workspace.run("20260101-000000-aaaa") / "events.jsonl").tell("stage", **asdict(record))
    finish_run(workspace, "20260101-000000-aaaa", load_matrix(root / "matrix.yaml"), [])
    text = (workspace.run("20260101-000000-aaaa") / "run.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_run_shows_the_newest_study_that_somebody_judged_and_whose_weights_those_were(
    store: RatingStore,
) -> None:
    root = store.path.parents[1]
    assert finished(root, "new")["ratings"] is None
    judged = study(3)
    judged = replace(judged, replies=tuple(replace(one, fingerprint="old") for one in judged.replies))
    store.add_study(judged)
    finish(store, "anna", lambda _: 3)
    store.add_study(replace(study(3), study_id="unjudged"))
    shown = finished(root, "new")["ratings"]
    assert (shown["study"]["id"], shown["others"]) == ("trial", [])
    assert shown["stale"] == [{"subject": "m0/tuned", "judged": "old", "now": "new"}]
    assert finished(root, "old")["ratings"]["stale"] == []
    newer = replace(study(3), study_id="newer")
    store.add_study(newer)
    points = Judgement.parse(verdict(4))
    reply = next(one for one in newer.replies if not newer.case(one.case_id).crisis)
    store.record_model(newer, reply.reply_id, "model:judge", 0, points, {})
    shown = finished(root, "old")["ratings"]
    assert (shown["study"]["id"], [one["study"]["id"] for one in shown["others"]]) == ("trial", ["newer"])


def test_a_study_that_only_a_model_judged_is_shown_as_not_calibrated(store: RatingStore) -> None:
    store.add_study(study(3))
    reply = next(one for one in study(3).replies if not study(3).case(one.case_id).crisis)
    store.record_model(study(3), reply.reply_id, "model:judge", 0, Judgement.parse(verdict(4)), {})
    shown = finished(store.path.parents[1], "any")["ratings"]
    assert [(one["judge"], one["calibrated"]) for one in shown["judges"]] == [("model:judge", False)]


def test_a_damaged_store_of_judgements_is_told_and_costs_no_score(store: RatingStore) -> None:
    store.close()
    store.path.write_bytes(b"not a database, but long enough to be read as one " * 40)
    run = finished(store.path.parents[1], "any")
    assert run["ratings"] is None
    assert run["skipped"][0][0] == "judgements"
    assert "cannot be used as the store of judgements" in run["skipped"][0][1]


# ------------------------------ sign-in


def test_passwords_are_salted_hashes_in_a_file_for_the_owner_only(tmp_path: Path) -> None:
    raters = Raters(tmp_path / "raters.json")
    raters.add("anna", "correct horse", owner=True)
    raters.add("王一", "correct horse")
    text = raters.path.read_text(encoding="utf-8")
    assert "correct" not in text
    assert stat.S_IMODE(raters.path.stat().st_mode) == 0o600
    assert len({line for line in text.splitlines() if "scrypt" in line}) == 2
    assert raters.signs_in("anna", "correct horse")
    assert not raters.signs_in("anna", "wrong horse!")
    assert not raters.signs_in("nobody", "correct horse")
    assert (raters.is_owner("anna"), raters.is_owner("王一"), raters.is_owner(None)) == (True, False, False)


def test_guessing_locks_the_name_for_a_while(tmp_path: Path) -> None:
    raters = Raters(tmp_path / "raters.json")
    raters.add("anna", "correct horse")
    assert not any(raters.signs_in("anna", f"guess number {n}") for n in range(MAX_FAILURES))
    assert not raters.signs_in("anna", "correct horse")


def test_short_passwords_and_broken_files_are_refused(tmp_path: Path) -> None:
    raters = Raters(tmp_path / "raters.json")
    with pytest.raises(RatingError, match="at least 8"):
        raters.add("anna", "short")
    raters.path.write_text("[]", encoding="utf-8")
    with pytest.raises(StoreError, match="add-rater"):
        raters.signs_in("anna", "correct horse")


def test_a_running_study_has_intervals_for_every_look_and_a_finished_one_its_own_letters(
    store: RatingStore,
) -> None:
    store.add_study(study(16, 3))
    for rater in ("anna", "boris"):
        finish(store, rater, lambda reply: 5 - 2 * int(reply.model[1]))
    done = summarise(store, "trial")["parts"]["counselling"]
    assert not done["running"]
    quality = done["scores"]["overall_quality"]
    assert [one["letters"] for one in quality["subjects"]] == ["A", "B", "C"]
    for one in quality["subjects"]:
        assert one["always_low"] <= one["low"] <= one["value"] <= one["high"] <= one["always_high"]
        assert one["sd"] == 0
    for pair in quality["pairs"]:
        assert pair["low_always"] < pair["low"] < pair["high"] <= pair["high_always"]
        assert pair["p"] <= pair["p_adjusted"] <= pair["p_adjusted_always"]
        assert {"d", "dz", "df", "verdict_always"} <= set(pair)
    assert done["icc"]["overall_quality"]["mean"] == 1.0
    assert done["icc"]["overall_quality"]["raters"] == 2
    kept = store.study("trial")
    store.enrol("trial", "clara")  # a third rater has just begun
    screen = store.next_screen("trial", "clara")
    assert screen is not None
    items = {
        item.item_id: Judgement.parse(verdict(3, crisis=kept.case(item.case_id).crisis))
        for item in store.items("trial", "clara", screen)
    }
    store.record("clara", token(), items)
    assert summarise(store, "trial")["parts"]["counselling"]["running"]
