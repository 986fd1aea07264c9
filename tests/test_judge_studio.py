"""The owner's side: invitations, studies made in the page, items, erasure, and the paper pack."""

from __future__ import annotations

import csv
import io
import json
import re
import secrets
import stat
import threading
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from chains import bench_in
from judge_app import cases, study, verdict

from bakeoff.chain import stages
from bakeoff.chain.chain import Chain
from bakeoff.execution.runner import Runner
from bakeoff.foundation.errors import BakeoffError, MatrixError, RatingError
from bakeoff.judgement.arrangement import Arrangement
from bakeoff.judgement.blind import Study
from bakeoff.judgement.database import APPEND_ONLY
from bakeoff.judgement.desk import Desk
from bakeoff.judgement.erasure import erase_identity, erase_judgements, erasures
from bakeoff.judgement.export import csv_of
from bakeoff.judgement.invitations import Invitations, link, qr_rows
from bakeoff.judgement.items import ItemsDesk, adjudications, disagreements, items
from bakeoff.judgement.paper import newest_scored, pack, write_pack
from bakeoff.judgement.progress import attention_item, rater_progress
from bakeoff.judgement.raters import Raters, Sessions
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.replies import Reply, load_cases
from bakeoff.judgement.results import ResultsDesk
from bakeoff.judgement.rubric import CRISIS_CHECKS, DIMENSIONS
from bakeoff.judgement.studio import Material, StudioDesk
from bakeoff.judgement.submissions import Judgement
from bakeoff.judgement.verdicts import summarise
from bakeoff.matrix.loading import load_matrix
from bakeoff.statistics.icc import icc
from bakeoff.statistics.study import outlook
from judge.__main__ import main

BASE = "https://judge.example.org/judge"


@pytest.fixture
def store(tmp_path: Path) -> RatingStore:
    return RatingStore(tmp_path / "ratings.sqlite")


@pytest.fixture
def raters(tmp_path: Path) -> Raters:
    made = Raters(tmp_path / "raters.json")
    made.add("boss", "the boss's password", owner=True)
    return made


def finish(store: RatingStore, rater: str, points: Any, comment: str = "") -> None:
    """Score the whole queue of *rater*: points(reply) gives the score of every dimension."""
    blind = store.study("trial")
    store.enrol("trial", rater)
    while (screen := store.next_screen("trial", rater)) is not None:
        handed = {}
        for item in store.items("trial", rater, screen):
            crisis = blind.case(item.case_id).crisis
            said = verdict(points(blind.reply(item.reply_id)), crisis=crisis, strengths=comment, seconds=40)
            handed[item.item_id] = Judgement.parse(said)
        store.record(rater, secrets.token_hex(8), handed)


# ------------------------------ invitations


def test_a_link_lets_in_once_and_only_its_hash_is_kept(raters: Raters, tmp_path: Path) -> None:
    invitations = Invitations(raters)
    one = invitations.invite("trial", "Anna <anna@uni.example>")
    assert link(BASE, one.token) == f"{BASE}/invite#{one.token}"
    entered = invitations.redeem(one.token)
    assert entered is not None
    assert entered[0] == one.rater
    assert invitations.redeem(one.token) is None
    held = (tmp_path / "raters.json").read_text(encoding="utf-8")
    assert one.token not in held
    assert entered[1] not in held
    assert stat.S_IMODE((tmp_path / "raters.json").stat().st_mode) == 0o600
    assert not raters.signs_in(one.rater, "")
    assert raters.study_of(one.rater) == "trial"
    assert "anna" not in one.rater.lower()
    (listed,) = invitations.listed()
    assert (listed["label"], listed["link_until"]) == ("Anna <anna@uni.example>", None)


def test_twenty_at_once_with_one_link_are_one(raters: Raters) -> None:
    invitations = Invitations(raters)
    token = invitations.invite().token
    entered: list[Any] = []
    threads = [threading.Thread(target=lambda: entered.append(invitations.redeem(token))) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len([one for one in entered if one]) == 1


def test_a_link_that_is_old_wrong_or_replaced_lets_nobody_in(
    raters: Raters, monkeypatch: pytest.MonkeyPatch
) -> None:
    invitations = Invitations(raters)
    first = invitations.invite(days=1)
    again = invitations.again(first.rater)
    assert invitations.redeem(first.token) is None
    for wrong in ("", "x" * 43, None, 7, again.token[:-1], again.token + "A", ["a"]):
        assert invitations.redeem(wrong) is None
    begin = time.time()
    monkeypatch.setattr(time, "time", lambda: begin + 15 * 86400)
    assert invitations.redeem(again.token) is None
    with pytest.raises(RatingError):
        invitations.again("boss")
    with pytest.raises(RatingError):
        invitations.invite(days=0)


def test_guessing_links_is_stopped_by_address(raters: Raters) -> None:
    invitations = Invitations(raters)
    token = invitations.invite().token
    for _ in range(60):
        invitations.redeem("x" * 43, "10.0.0.1")
    assert invitations.redeem(token, "10.0.0.1") is None
    assert invitations.redeem(token, "10.0.0.2") is not None


def test_a_session_outlives_the_server_and_ends_with_the_rater(raters: Raters) -> None:
    invitations = Invitations(raters)
    one = invitations.invite()
    entered = invitations.redeem(one.token)
    assert entered
    later = Invitations(Raters(raters.path))
    sessions = Sessions(later.raters, later.session, later.end_sessions)
    assert sessions.get(entered[1]) == one.rater
    assert sessions.get("x" * 43) is None
    assert later.cookie_id() == invitations.cookie_id()
    again = invitations.redeem(invitations.again(one.rater).token)
    assert again
    del sessions[entered[1]]  # signing out
    assert later.session(entered[1]) is None
    assert later.session(again[1]) is None
    third = invitations.redeem(invitations.again(one.rater).token)
    assert third
    raters.remove(one.rater)
    assert Sessions(later.raters, later.session).get(third[1]) is None


@pytest.mark.parametrize(
    "base", ["javascript:alert(1)", "", None, "https://x/#y", "https://x y/", "ftp://x", "http://"]
)
def test_an_address_that_is_none_gets_no_link(base: Any) -> None:
    with pytest.raises(RatingError):
        link(base, "t")


def test_the_code_of_a_link_has_the_three_marks_a_reader_looks_for() -> None:
    rows = qr_rows(link(BASE, "t" * 43))
    assert len(rows) == len(rows[0]) >= 29
    for top, left in ((0, 0), (0, len(rows) - 7), (len(rows) - 7, 0)):
        assert [row[left : left + 7] for row in rows[top : top + 2]] == ["1111111", "1000001"]


# ------------------------------ the studio


def material(count: int = 6) -> Material:
    asked = cases(count)
    replies = [
        Reply(case.id, name, variant, f"reply of {case.id} {name} {variant}", "answered", case_sha=case.sha)
        for case in asked
        for name in ("m0", "m1")
        for variant in ("base", "tuned")
    ]
    return Material(replies, asked)


def wish(**more: Any) -> dict[str, Any]:
    chosen = {
        "title": "回复研究",
        "subjects": ["m0/tuned", "m1/tuned"],
        "cases": [case.id for case in cases(6)],
        "layout": "one-by-one",
        "reference": "none",
        "raters": 3,
        "raters_per_case": 0,
        "repeats": 0.1,
        "training": 2,
        "attention": 1,
    }
    return chosen | more


def test_the_owner_plans_makes_and_opens_a_study_and_invites_to_it(
    store: RatingStore, raters: Raters
) -> None:
    studio = StudioDesk(store, raters, material)
    assert studio.step({"action": "show"}, None)["view"] == "refused"
    Invitations(raters).invite()
    assert studio.step({"action": "make", "wish": wish()}, "nobody")["view"] == "refused"
    plan = studio.step({"action": "plan", "wish": wish()}, "boss")["plan"]
    assert (plan["counselling"], plan["crisis"], plan["ratings_per_case"]) == (5, 1, 3)
    assert plan["hours"] == pytest.approx(13 * 90 / 3600)
    assert store.studies() == []
    made = studio.step({"action": "make", "wish": wish(), "arrangement": {"purpose_zh": "目的"}}, "boss")
    (kept,) = store.studies()
    assert made["made"] == kept
    blind = store.study(kept)
    assert (blind.subjects, len(blind.training), len(blind.attention)) == (("m0/tuned", "m1/tuned"), 2, 1)
    desk = Desk(store, None, raters.study_of)
    invited = studio.step(
        {"action": "invite", "study": kept, "base": BASE, "labels": ["甲"], "count": 1}, "boss"
    )
    rater = invited["links"][0]["rater"]
    assert invited["links"][0]["link"].startswith(f"{BASE}/invite#")
    welcome = desk.step({"action": "open"}, rater)
    assert (welcome["view"], welcome["arrangement"]["purpose_zh"], welcome["training"]) == (
        "welcome",
        "目的",
        2,
    )
    assert welcome["arrangement"]["consent_en"]
    assert not {"m0", "m1", "tuned"} & set(re.findall(r"\w+", json.dumps(welcome)))


def test_a_partial_study_needs_fewer_hours_and_says_how_it_is_compared(
    store: RatingStore, raters: Raters
) -> None:
    studio = StudioDesk(store, raters, material)
    whole, part = (
        studio.step({"action": "plan", "wish": wish(raters=6, raters_per_case=each, repeats=0.0)}, "boss")[
            "plan"
        ]
        for each in (0, 2)
    )
    assert part["hours"] == pytest.approx(whole["hours"] / 3)
    expected = outlook(part["counselling"], 2, raters=2, dimensions=len(DIMENSIONS))  # as on the command line
    assert part["outlook"].startswith(expected.words[0])
    assert part["outlook_zh"].startswith(expected.words[1])
    assert "mixed model" in part["outlook"]
    assert "混合" in part["outlook_zh"]


@pytest.mark.parametrize(
    "change",
    [{"title": ""}, {"title": 5}, {"subjects": []}, {"subjects": ["ghost/tuned"]}, {"cases": ["ghost"]},
     {"cases": None}, {"layout": "x"}, {"reference": "all"}, {"raters": 0}, {"raters": True}, {"raters": 10**9},
     {"raters_per_case": 4}, {"repeats": 0.9}, {"repeats": float("nan")}, {"training": 99}, {"own_training": "{"},
     {"own_training": "5"}, {"own_training": '{"client": "a", "reply": "b", "scores": {"empathy": 6}}'},
     {"title": "半\ud800"}, {"title": "a\nb"}, {"raters": 2.5}, {"training": 0.5}, {"own_training": "{}\n" * 51},
     {"own_training": '{"client": "a\\ud800", "reply": "b", "scores": {"empathy": 2}}'},
     {"own_training": '{"client": "\\u200b", "reply": "b", "scores": {"empathy": 2}}'},
     {"own_training": '{"client": "a", "reply": "b", "scores": {"empathy": true}}'},
     {"own_training": '{"client": "a", "reply": "b", "scores": {"empathy": 2}, "client": "c"}'},
     {"deadline": "2020-01-01T00:00:00Z"}, {"pause_after": 1.5}, {"frozen": True}, {"consent_zh": "\ud800"},
     {"purpose_en": "x" * 4001}],
)  # fmt: skip
def test_a_wish_that_cannot_be_is_refused_in_words_and_nothing_is_made(
    store: RatingStore, raters: Raters, change: dict[str, Any]
) -> None:
    arranged = set(change) <= {each.name for each in fields(Arrangement)}
    message = {"wish": wish(), "arrangement": change} if arranged else {"wish": wish(**change)}
    said = StudioDesk(store, raters, material).step({"action": "make", **message}, "boss")
    assert said["view"] == "trouble"
    assert said["error"]
    assert store.studies() == []


def test_a_study_past_its_deadline_is_said_to_be_closed(store: RatingStore, raters: Raters) -> None:
    studio = StudioDesk(store, raters, material)
    made = studio.step({"action": "make", "wish": wish()}, "boss")
    assert [study["is_open"] for study in made["studies"]] == [True]
    changes = {"deadline": "2020-01-01T00:00:00+08:00"}
    changed = studio.step({"action": "arrange", "study": made["made"], "changes": changes}, "boss")
    assert [study["is_open"] for study in changed["studies"]] == [False]
    assert Desk(store, made["made"]).step({"action": "start", "consent": True}, "anna")["view"] == "closed"


def test_an_attention_check_that_two_tabs_hand_in_counts_once(store: RatingStore, raters: Raters) -> None:
    made = StudioDesk(store, raters, material).step({"action": "make", "wish": wish(training=0)}, "boss")
    desk, blind = Desk(store, made["made"]), store.study(made["made"])
    check = attention_item(blind, "anna", blind.attention[0])
    desk.step({"action": "start", "consent": True}, "anna")
    for score in (blind.attention[0].scores["empathy"], 1, 5):
        desk.step({"action": "score", "verdicts": {check: verdict(score)}}, "anna")
    (progress,) = rater_progress(store, blind)
    assert progress["attention"] == {"passed": 1, "of": 1}


def test_own_training_replies_are_practised_like_the_shipped(store: RatingStore, raters: Raters) -> None:
    own = '{"client": "睡不着", "reply": "早点睡", "scores": {"empathy": 1}, "why": "说教"}\n\n'
    StudioDesk(store, raters, material).step(
        {"action": "make", "wish": wish(training=0, own_training=own)}, "boss"
    )
    desk = Desk(store, store.studies()[0])
    first = desk.step({"action": "start", "consent": True}, "anna")
    assert (first["view"], first["replies"][0]["text"]) == ("training", "早点睡")


def test_an_owner_cannot_remove_or_erase_an_owner_in_the_page(store: RatingStore, raters: Raters) -> None:
    studio = StudioDesk(store, raters, material)
    for message in (
        {"action": "remove", "rater": "boss"},
        {"action": "erase", "rater": "boss", "what": "judgements"},
    ):
        assert studio.step(message, "boss")["view"] == "trouble"
    assert raters.is_owner("boss")


@pytest.mark.parametrize(
    "message",
    [None, [], 5, {"action": []}, {"action": "invite"}, {"action": "arrange"}, {"action": "make"},
     {"action": "erase", "rater": {}}, {"action": "renew", "rater": None}, {"action": "open", "study": 3}],
)  # fmt: skip
def test_nonsense_in_the_studio_gets_an_answer(store: RatingStore, raters: Raters, message: Any) -> None:
    store.add_study(study())
    assert StudioDesk(store, raters, material).step(message, "boss")["view"] in ("studio", "trouble")


# ------------------------------ items


def test_the_owner_reads_items_and_settles_what_raters_disagree_on(store: RatingStore) -> None:
    store.add_study(study(4, 2))
    finish(store, "anna", lambda _: 5, comment="好")
    finish(store, "boris", lambda reply: 2 if reply.model == "m1" else 5)
    blind = store.study("trial")
    found = {one["reply"]: one for one in items(store, blind)}
    assert {(one["subject"], one["mean"], one["range"]) for one in found.values()} == {
        ("m0/tuned", 5.0, 0),
        ("m1/tuned", 3.5, 3),
    }
    assert all(one["comments"] == 1 for one in found.values())
    queue = disagreements(store, blind)
    assert {one["subject"] for one in queue} == {"m1/tuned"}
    desk = ItemsDesk(store, lambda name: name == "boss")
    assert desk.step({"action": "show"}, "anna")["view"] == "refused"
    chosen = next(one for one in queue if not one["crisis"])
    read = desk.step({"action": "read", "reply": chosen["reply"]}, "boss")["item"]
    assert (len(read["judgements"]), read["messages"][0]["role"]) == (
        2 + sum(row["repeat"] for row in store.judgements() if row["reply_id"] == chosen["reply"]),
        "user",
    )
    before = summarise(store, "trial")["parts"]
    said = {"scores": dict.fromkeys(DIMENSIONS, 3), "note": "两人都有道理"}
    desk.step({"action": "adjudicate", "reply": chosen["reply"], "verdict": said}, "boss")
    assert len(disagreements(store, blind)) == len(queue) - 1
    (settled,) = adjudications(store, "trial")
    assert (settled["owner"], settled["note"], settled["scores"]["empathy"]) == ("boss", "两人都有道理", 3)
    assert summarise(store, "trial")["parts"] == before
    for wrong in ({}, None, {"scores": {"empathy": 9}}, {"scores": said["scores"], "note": 5}):
        refused = desk.step({"action": "adjudicate", "reply": chosen["reply"], "verdict": wrong}, "boss")
        assert refused["view"] == "trouble"
    assert desk.step({"action": "read", "reply": "ghost"}, "boss")["view"] == "trouble"
    crisis = next(
        one["reply"] for one in queue if one["crisis"]
    )  # settled as raters answer: all three checks
    checks = dict.fromkeys(CRISIS_CHECKS, False)
    for more, view in (
        ({}, "trouble"),
        ({"crisis": checks | {"x": True}}, "trouble"),
        ({"crisis": checks}, "item"),
    ):
        message = {"action": "adjudicate", "reply": crisis, "verdict": said | more}
        assert desk.step(message, "boss")["view"] == view


def test_a_failed_crisis_check_can_be_found_and_read(store: RatingStore) -> None:
    store.add_study(study(2, 1, repeats=0))
    store.enrol("trial", "anna")
    for screen in range(2):
        (item,) = store.items("trial", "anna", screen)
        crisis = store.study("trial").case(item.case_id).crisis
        said = verdict(2, crisis=crisis)
        if crisis:
            said["crisis"] = dict.fromkeys(CRISIS_CHECKS, True) | {"avoids_method": False}
        store.record("anna", f"screen-no-{screen}", {item.item_id: Judgement.parse(said)})
    failed = [one for one in items(store, store.study("trial")) if one["failed"]]
    assert [(one["case"], one["failed"]) for one in failed] == [("case-0", ["avoids_method"])]


def test_results_can_be_those_of_one_rater_or_one_topic(store: RatingStore, raters: Raters) -> None:
    blind = study(4, 2, repeats=0)
    topics = tuple(
        replace(case, topic="work" if place % 2 else "love") for place, case in enumerate(blind.cases)
    )
    store.add_study(replace(blind, cases=topics))
    finish(store, "anna", lambda _: 5)
    finish(store, "boris", lambda _: 1)
    desk = ResultsDesk(store, "trial", raters, False)

    def means(**chosen: str) -> set[float]:
        found = desk.step({"action": "show", **chosen}, "boss")["results"]["parts"]["counselling"]
        return {one["value"] for one in found["scores"]["empathy"]["subjects"]}

    assert (means(), means(rater="anna"), means(rater="boris")) == ({3.0}, {5.0}, {1.0})
    assert desk.step({"topic": "work"}, "boss")["results"]["counts"]["judgements"] == 8
    assert desk.step({"topic": {"a": 1}, "rater": [], "study": 5}, "boss")["view"] == "results"


# ------------------------------ erasure


def bytes_of(store: RatingStore) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(store.path.parent.glob(f"{store.path.name}*")))


def test_an_identity_is_erased_everywhere_and_the_scores_stay(store: RatingStore, raters: Raters) -> None:
    store.add_study(study(4, 2))
    raters.add("Anna Ångström", "a long password")
    finish(store, "Anna Ångström", lambda _: 4)
    finish(store, "boris", lambda _: 2)
    before = summarise(store, "trial")["parts"]["counselling"]["scores"]
    assert "Anna Ångström".encode() in bytes_of(store)
    erased = erase_identity(store, "Anna Ångström", raters)
    assert "Ångström".encode() not in bytes_of(store) + raters.path.read_bytes()
    assert store.raters("trial") == [erased.called, "boris"]
    after = summarise(store, "trial")
    assert after["parts"]["counselling"]["scores"] == before
    assert [one["what"] for one in after["study"]["erased"]] == ["identity"]
    with pytest.raises(RatingError):
        erase_identity(store, "Anna Ångström", raters)


def test_all_of_a_rater_s_judgements_are_erased_and_the_study_says_so(
    store: RatingStore, raters: Raters
) -> None:
    store.add_study(study(4, 2))
    finish(store, "anna", lambda _: 4, comment="a very telling comment")
    finish(store, "boris", lambda _: 2)
    kept = [row["id"] for row in store.judgements() if row["judge_id"] == "boris"]
    store.enrol("trial", "carla")
    count = len(store.judgements()) - len(kept)
    erased = erase_judgements(store, "anna", raters)
    assert (erased.judgements, erased.studies) == (count, ("trial",))
    assert b"telling" not in bytes_of(store)
    assert [row["id"] for row in store.judgements()] == kept
    assert store.raters("trial") == ["boris", "carla"]
    assert store.enrol("trial", "dora") == 3  # nobody takes an erased rater's place twice
    (said,) = erasures(store, "trial")
    assert (said["what"], said["judgements"]) == ("judgements", count)
    assert summarise(store, "trial")["counts"]["judgements"] == len(kept)


def test_after_an_erasure_nothing_can_be_changed_as_before(store: RatingStore) -> None:
    store.add_study(study(2, 1))
    finish(store, "anna", lambda _: 4)
    erase_identity(store, "anna")
    for table in APPEND_ONLY:
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET rowid = rowid"):
            has_rows = store.rows(f"SELECT 1 FROM {table} LIMIT 1")
            if has_rows:
                with pytest.raises(Exception, match="append-only"), store.writing() as db:
                    db.execute(statement)


def test_corrections_are_erased_with_the_rest(store: RatingStore) -> None:
    store.add_study(study(2, 1, repeats=0))
    finish(store, "anna", lambda _: 4)
    desk = Desk(store, "trial")
    back = desk.step({"action": "show", "screen": 0}, "anna")
    one = back["replies"][0]
    said = verdict(1, crisis=back["crisis"], corrects=one["verdict"]["corrects"])
    desk.step({"action": "score", "token": back["token"], "verdicts": {one["item"]: said}}, "anna")
    assert len(store.judgements(history=True)) == 3
    assert erase_judgements(store, "anna").judgements == 3
    assert store.judgements(history=True) == []


# ------------------------------ the paper pack


def test_icc_is_that_of_shrout_and_fleiss() -> None:
    ratings = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
    )
    found = icc(ratings)
    assert (round(found.single, 2), round(found.mean, 2)) == (0.29, 0.62)
    assert (found.mean_low, found.mean_high) == (pytest.approx(0.07, abs=0.01), pytest.approx(0.93, abs=0.01))
    gaps = np.vstack([ratings, [np.nan, 1, 2, 3]])
    assert icc(gaps) == found
    assert np.isnan(icc(np.full((5, 3), 4.0)).mean)
    assert np.isnan(icc(ratings[:, :1]).mean)


@pytest.fixture
def scored(store: RatingStore) -> RatingStore:
    store.add_study(replace(study(9, 2), title="=研究 <b>"))
    rng = np.random.default_rng(3)
    for rater, shift in (("Anna", 0), ("Boris", 1), ("Carla", 0)):
        finish(
            store,
            rater,
            lambda reply, shift=shift: int(
                np.clip(4 - 2 * int(reply.model[1]) + shift + rng.integers(-1, 2), 1, 5)
            ),
            comment="=SUM(A1), 'quoted' \"x\"",
        )
    return store


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_pack_holds_the_data_with_codes_for_people(scored: RatingStore, tmp_path: Path) -> None:
    files = pack(scored, newest_scored(scored))
    assert not [name for name, text in files.items() if "Anna" in text or "Boris" in text]
    wide, long = rows_of(files["wide.csv"]), rows_of(files["long.csv"])
    people = [row for row in scored.judgements() if row["source"] == "study"]
    assert len(wide) == len(people)
    assert len(long) == len(people) * len(DIMENSIONS)
    assert {row["rater"] for row in wide} == {"R01", "R02", "R03"}
    assert all(row["strengths"].startswith("'=") for row in wide)
    table = {(r["part"], r["subject"], r["dimension"]): r for r in rows_of(files["table_means.csv"])}
    points = [
        r["empathy"] for r in people if r["model"] == "m0" and not r["repeat"] and r["case_id"] != "case-0"
    ]
    cell = table["counselling", "m0/tuned", "empathy"]
    assert (cell["n"], cell["mean"], cell["sd"]) == (
        "24", f"{np.mean(points):.2f}", f"{np.std(points, ddof=1):.2f}"
    )  # fmt: skip
    by_rater = rows_of(files["raters_empathy.csv"])
    assert len(by_rater) == 18
    assert {"R01", "R02", "R03"} < set(by_rater[0])
    paths = write_pack(scored, "trial", tmp_path / "pack")
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert (tmp_path / "pack" / "wide.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_every_column_is_in_codebook_and_syntax_and_its_labels_are_those_of_the_rubric(
    scored: RatingStore,
) -> None:
    files = pack(scored, "trial")
    known = {row["variable"]: row for row in rows_of(files["codebook.csv"])}
    for name in ("wide.csv", "long.csv", "jasp.csv", "replies.csv", "adjudications.csv"):
        assert set(files[name].splitlines()[0].split(",")) <= set(known), name
    assert known["empathy"]["values"].startswith("1 = 很差 / very poor")
    assert known["avoids_method"]["values"] == "0 = 否 / no; 1 = 是 / yes"
    syntax = files["spss.sps"]
    columns = files["wide.csv"].splitlines()[0].split(",")
    read = re.findall(r"^    (\w+) [AF][\d.]+\.?$", syntax, re.M)
    assert read == columns
    assert all(re.search(rf"^  /?{name} '", syntax, re.M) for name in columns)
    assert "1 '很差 very poor'" in syntax


def test_spss_cuts_no_text_and_meets_no_line_break_inside_a_row(store: RatingStore) -> None:
    blind = study(2, 1, repeats=0)
    odd = replace(blind.cases[0], id="个案" * 90, topic="主题 'x'\r\n\u2028\"y\"")
    replies = [
        replace(each, case_id=odd.id) if each.case_id == blind.cases[0].id else each for each in blind.replies
    ]
    store.add_study(replace(blind, cases=(odd, *blind.cases[1:]), replies=tuple(replies)))
    finish(store, "anna", lambda _: 3, comment='第一行\n\x85\x0b第二行 "引号" ' + "评" * 3000)
    files = pack(store, "trial")
    assert len(re.split("[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]", files["wide.csv"].strip())) == 3
    widths = dict(re.findall(r"^    (\w+) A(\d+)\.?$", files["spss.sps"], re.M))
    rows = rows_of(files["wide.csv"])
    assert {row["case"] for row in rows} == {odd.id, "case-1"}
    assert [
        row for row in rows if any(len(row[name].encode()) > int(width) for name, width in widths.items())
    ] == []


def test_figures_are_whole_drawings_without_anything_from_elsewhere(scored: RatingStore) -> None:
    files = pack(scored, "trial")
    drawings = {name: text for name, text in files.items() if name.endswith(".svg")}
    assert len(drawings) == len(DIMENSIONS)
    for text in drawings.values():
        root = ElementTree.fromstring(text)
        assert len(root.findall(".//{*}circle")) == 4  # two models, two parts
        assert "href" not in text


def test_the_methods_paragraph_tells_the_numbers_of_this_study(scored: RatingStore) -> None:
    files = pack(scored, "trial")
    english, chinese = files["methods_en.md"], files["methods_zh.md"]
    alpha = summarise(scored, "trial")["parts"]["counselling"]["agreement"]["overall_quality"]["value"]
    for text in (english, chinese):
        assert f"= {alpha:.2f}" in text
        assert "bakeoff" in text
        assert "nan" not in text.lower().replace("analys", "")
    counted = sum(1 for row in scored.judgements() if not row["repeat"])
    repeated = sum(1 for row in scored.judgements() if row["repeat"])
    assert english.startswith("3 raters scored 18 replies of 2 models")
    assert "safety, overall quality)" in english
    assert f"{counted} ratings entered the analysis; {repeated} repeated" in english
    assert f"纳入分析的评分共 {counted} 次；另有重复呈现 {repeated} 次" in chinese
    assert "9 个个案（一般个案 8 个，危机个案 1 个）" in chinese
    erase_judgements(scored, "Anna")
    after = pack(scored, "trial")
    assert after["methods_en.md"].startswith("2 raters scored")
    assert re.search(r"All \d+ ratings by 1 rater were erased", after["methods_en.md"])
    assert "应要求删除了 1 位评分者的全部" in after["methods_zh.md"]


def test_a_pack_of_a_partial_study_names_the_mixed_model(store: RatingStore) -> None:
    blind: Study = replace(study(8, 2, repeats=0), planned_raters=4, raters_per_case=2)
    store.add_study(blind)
    for place in range(4):
        finish(store, f"rater{place}", lambda reply: 4 - int(reply.model[1]))
    said = summarise(store, "trial")["parts"]["counselling"]["scores"]["empathy"]
    assert {(one["value"], one["n_cases"], one["letters"]) for one in said["subjects"]} == {
        (4.0, 7, "A"),
        (3.0, 7, "B"),
    }
    assert said["why_no_letters"] == ""
    assert "mixed model" in said["method"]
    assert "混合模型" in said["method_zh"]
    text = pack(store, "trial")["methods_en.md"]
    assert "2 of 4 raters" in text
    assert "linear mixed model" in text


def test_the_place_of_an_erased_rater_goes_to_the_next_and_the_balance_is_told(
    store: RatingStore, raters: Raters
) -> None:
    blind: Study = replace(study(8, 2, repeats=0), planned_raters=4, raters_per_case=2)
    store.add_study(blind)

    def balance() -> dict[str, Any]:
        state = StudioDesk(store, raters, Material, "trial").step({"action": "show"}, "boss")
        (shown,) = state["studies"]
        return dict(shown["balance"])

    assert balance() == {
        "planned": 2, "assigned": [[0, 8]], "rated": [[0, 8]], "short": [case.title for case in blind.cases],
    }  # fmt: skip
    for place in range(4):
        finish(store, f"rater{place}", lambda reply: 3)
    assert balance() == {"planned": 2, "assigned": [[2, 8]], "rated": [[2, 8]], "short": []}
    erase_judgements(store, "rater1", raters)
    assert [count for count, _ in balance()["assigned"]] == [1, 2]
    store.enrol("trial", "next", skip_crises=False)
    assert balance()["assigned"] == [[2, 8]]
    assert [count for count, _ in balance()["rated"]] == [1, 2]
    store.enrol("trial", "late")
    assert sorted({count for count, _ in balance()["assigned"]}) == [2, 3]


def test_nothing_is_written_about_a_study_that_nobody_scored(store: RatingStore) -> None:
    store.add_study(study())
    with pytest.raises(RatingError, match="nobody has scored"):
        pack(store, "trial")
    with pytest.raises(RatingError, match="nobody has scored"):
        newest_scored(store)


# ------------------------------ the command line


def test_links_erasure_and_pack_come_from_the_command_line_too(
    scored: RatingStore, raters: Raters, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    where = ["--store", str(scored.path), "--raters", str(raters.path)]
    asked = ["invite", "--raters", str(raters.path), "--url", BASE, "--study", "trial", "--label", "甲", "乙"]
    assert main(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [
        re.fullmatch(rf"(R-\w{{5}})  {BASE}/invite#([\w-]{{43}})  \(once, until .*\)", line) for line in lines
    ]
    assert len(lines) == 2
    assert all(found)
    assert found[0]
    entered = Invitations(raters).redeem(found[0][2])
    assert entered
    assert entered[0] == found[0][1]
    assert main(["invite", "--raters", str(raters.path), "--url", "judge.example.org"]) == 2
    assert main(["paper", "--store", str(scored.path), "--out", str(tmp_path / "paper")]) == 0
    assert (tmp_path / "paper" / "methods_zh.md").read_text(encoding="utf-8").startswith("3 位评分者")
    assert main(["erase", "Anna", "--judgements", *where]) == 0
    assert "backups made before still hold it" in capsys.readouterr().out
    assert scored.raters("trial") == ["Boris", "Carla"]
    assert main(["erase", "Anna", "--identity", *where]) == 2
    assert main(["paper", "--store", str(tmp_path / "none.sqlite"), "--out", str(tmp_path / "p")]) == 2


def test_own_cases_stand_in_the_matrix_and_are_asked_for_there(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    (tmp_path / "mine.jsonl").write_text(json.dumps({"id": "one", "messages": turns}), encoding="utf-8")
    row = {"url": "http://127.0.0.1:9/v1", "served_model": "m"}
    (tmp_path / "matrix.yaml").write_text(
        json.dumps({"cases": "mine.jsonl", "models": {"m": row}}), encoding="utf-8"
    )
    matrix = load_matrix(tmp_path / "matrix.yaml")
    (case,) = load_cases(matrix.cases_file)
    assert (case.id, len(case.messages)) == ("one", 3)
    chain = Chain(matrix.models["m"], bench_in(tmp_path / "store", Runner(tmp_path / "processes"), matrix))
    assert stages.replies(chain, "base").recipe["cases"] == [case.sha]
    for wrong in ("gone.jsonl", ["mine.jsonl"], ""):
        (tmp_path / "matrix.yaml").write_text(
            json.dumps({"cases": wrong, "models": {"m": row}}), encoding="utf-8"
        )
        with pytest.raises(MatrixError, match="cases"):
            load_matrix(tmp_path / "matrix.yaml")


# ------------------------------ damage


@pytest.mark.parametrize("content", ["{", "[]", '{"nope": 1}'])
@pytest.mark.parametrize("table", ["setting", "event", "arena", "adjudication"])
def test_a_row_that_is_no_longer_what_was_written_ends_in_words(
    store: RatingStore, table: str, content: str
) -> None:
    store.add_study(study(2, 2))
    finish(store, "anna", lambda _: 3)
    rows = {
        "setting": "study_id, name, content, set_by, created_at) VALUES ('trial', 'arrangement', ?, '', ''",
        "event": "study_id, rater_id, kind, content, created_at) VALUES ('trial', 'anna', 'attention', ?, ''",
        "arena": "talk_id, rater_id, kind, turn, content, created_at) VALUES ('t', 'anna', 'turn', 0, ?, ''",
        "adjudication": "study_id, reply_id, owner_id, content, rubric_sha, created_at) "
        "VALUES ('trial', 'r', '', ?, '', ''",
    }
    with store.writing() as db:
        db.execute(f"INSERT INTO {table} ({rows[table]})", (content,))
    readers = {
        "setting": lambda: Desk(store, "trial").step({"action": "open"}, "anna"),
        "event": lambda: pack(store, "trial"),
        "arena": lambda: ResultsDesk(store, "trial", None, True).step({}, None),
        "adjudication": lambda: pack(store, "trial"),
    }
    try:
        said = readers[table]()
    except BakeoffError as error:
        said = {"error": str(error)}
    assert "damaged" in said["error"], said


@pytest.mark.parametrize("damage", ["text", "half", "noise", "names"])
def test_a_file_that_is_damaged_ends_in_words(
    store: RatingStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    store.add_study(study(4, 2))
    finish(store, "anna", lambda _: 3, comment="x" * 300)
    store.close()
    whole = store.path.read_bytes()
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(
        {
            "text": b"hello\n" * 100,
            "half": whole[: len(whole) // 2],
            "noise": whole[:4096] + bytes(255 - byte for byte in whole[4096:]),
            "names": whole.replace(b"CREATE", b"CR\x9aATE"),  # SQLite's own complaint is no UTF-8 then
        }[damage]
    )
    where = ["--store", str(broken)]
    for command in (
        ["results"],
        ["export", "--out", str(tmp_path / "o.csv")],
        ["paper", "--out", str(tmp_path / "p")],
    ):
        assert main([*command, *where]) == 2
        assert "broken.sqlite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "is_formula"),
    [
        *[(f"{sign}cmd|' /C calc'!A0", True) for sign in "=+-@\t＝＋－＠﹦﹢﹣﹫−"],
        *[(f"{before}=1+1", True) for before in (" ", "\n", "\ufeff", "\u200b", "\u3000", '"', "'")],
        *[(plain, False) for plain in ("good", "a = b", "-0.25", "+3", "1e-5", "很好", "(－)", "5 - 3")],
    ],
)
def test_no_cell_of_a_csv_is_calculated_and_a_number_stays_one(text: str, is_formula: bool) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_of(["cell"], [{"cell": text, "more": "x"}])))
    assert row["cell"] == ("'" if is_formula else "") + text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        # Excel in German separates at semicolons, and knows no quotation mark in the middle of a field.
        ('good;=WEBSERVICE("http://x")', 'good;\'=WEBSERVICE("http://x")'),
        ("good\n@SUM(A1)\t+cmd|' /C calc'!A0", "good\n'@SUM(A1)\t'+cmd|' /C calc'!A0"),
        ('a; "＝HYPERLINK（1）', "a;' \"＝HYPERLINK（1）"),
        ("listens\n- warm\n- slow; -0.5 (so)", "listens\n- warm\n- slow;' -0.5 (so)"),
        ("f(x); g(x)", "f(x); g(x)"),
    ],
)
def test_a_text_that_another_language_s_spreadsheet_splits_starts_nothing(text: str, written: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_of(["cell"], [{"cell": text}])))
    assert row["cell"] == written


def test_no_control_character_ends_a_field_or_the_file() -> None:
    written = csv_of(
        ["cell", "next"], [{"cell": "a\0b\x1ac\x7f\r\n\td", "next": "\0=1"}, {"cell": "e", "next": 2}]
    )
    assert list(csv.reader(io.StringIO(written)))[1:] == [["a␀b␚c␡\n\td", "'␀=1"], ["e", "2"]]
    assert not set(written) & {chr(code) for code in range(32) if chr(code) not in "\t\n"}
