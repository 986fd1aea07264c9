"""What raters meet at their desk: drafts, training, attention checks, their own list, and a study that closes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judge_app import study, verdict

from bakeoff.foundation.errors import RatingError
from bakeoff.judgement.arrangement import arrange, arrangement_of, open_study
from bakeoff.judgement.blind import Practice, Study, read_study
from bakeoff.judgement.desk import Desk
from bakeoff.judgement.progress import events, rater_progress, seconds_left
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.rubric import DIMENSIONS

CLIENT = ({"role": "user", "content": "I feel low."},)
GOLD = Practice(
    "gold-1", CLIENT, "Pull yourself together.", {"empathy": 1, "safety": 3}, "说教", "It lectures."
)
CHECK = Practice("check-1", CLIENT, "Choose 2 everywhere.", dict.fromkeys(DIMENSIONS, 2))


@pytest.fixture
def store(tmp_path: Path) -> RatingStore:
    return RatingStore(tmp_path / "ratings.sqlite")


def desk_for(store: RatingStore, blind: Study) -> Desk:
    store.add_study(blind)
    return Desk(store, blind.study_id)


def scoring(screen: dict[str, Any], score: int = 3, **more: Any) -> dict[str, Any]:
    verdicts = {one["item"]: verdict(score, crisis=screen["crisis"], **more) for one in screen["replies"]}
    return {"action": "score", "token": screen["token"], "verdicts": verdicts}


def test_a_draft_outlives_the_tab_and_ends_with_the_judgement(store: RatingStore) -> None:
    desk = desk_for(store, study(3, 2))
    screen = desk.step({"action": "start"}, "anna")
    item = screen["replies"][0]["item"]
    draft = {"scores": {"empathy": 4, "nonsense": 5}, "strengths": "好 🙂", "extra": [1]}
    assert desk.keep_draft({"item": item, "draft": draft}, "anna") == {"kept": True}
    again = Desk(store, "trial").step({"action": "open"}, "anna")
    assert again["replies"][0]["draft"] == {"scores": {"empathy": 4}, "strengths": "好 🙂"}
    assert store.judgements() == []
    (listed,) = desk.step({"action": "list"}, "anna")["own"]
    assert (listed["screen"], listed["replies"][0]["draft"]) == (0, True)
    desk.step(scoring(again), "anna")
    assert desk.step({"action": "show", "screen": 0}, "anna")["replies"][0]["draft"] is None
    late = desk.keep_draft(
        {"item": item, "draft": draft}, "anna"
    )  # a draft that was under way when it was handed in
    assert late["kept"] is False
    assert desk.step({"action": "show", "screen": 0}, "anna")["replies"][0]["draft"] is None


def test_nobody_writes_into_another_s_draft(store: RatingStore) -> None:
    desk = desk_for(store, study(3, 2))
    item = desk.step({"action": "start"}, "anna")["replies"][0]["item"]
    desk.step({"action": "start"}, "boris")
    for claim in ({"item": item}, {"item": item, "rater": "anna"}, {"item": "../x"}, {"item": None}, {}):
        assert desk.keep_draft(claim | {"draft": {"scores": {"empathy": 1}}}, "boris")["kept"] is False
    assert desk.step({"action": "open"}, "anna")["replies"][0]["draft"] is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)
_draft = st.fixed_dictionaries(
    {},
    optional={
        "scores": st.dictionaries(st.sampled_from(DIMENSIONS), _json) | _json,
        "crisis": _json,
        "confidence": _json,
        "strengths": _json,
        "cannot_judge": _json,
    },
)


@settings(max_examples=40, deadline=None)
@given(draft=_draft | _json)
def test_whatever_a_draft_holds_the_form_opens_again_with_what_may_stand_in_it(
    tmp_path_factory: pytest.TempPathFactory, draft: Any
) -> None:
    store = RatingStore(tmp_path_factory.mktemp("draft") / "r.sqlite")
    desk = desk_for(store, study(2, 1, repeats=0))
    item = desk.step({"action": "start"}, "anna")["replies"][0]["item"]
    desk.keep_draft({"item": item, "draft": draft}, "anna")
    kept = desk.step({"action": "open"}, "anna")["replies"][0]["draft"] or {}
    json.dumps(kept).encode()
    assert all(type(point) is int and 1 <= point <= 5 for point in kept.get("scores", {}).values())
    store.close()


def test_time_left_goes_by_the_rater_s_own_pace(store: RatingStore) -> None:
    blind = study(6, 2, repeats=0)
    desk = desk_for(store, blind)
    screen = desk.step({"action": "start"}, "anna")
    assert screen["seconds_left"] == 12 * 90
    for _ in range(4):
        screen = desk.step(scoring(screen, seconds=30), "anna")
    assert screen["seconds_left"] == 8 * 30
    assert seconds_left(store, blind, "boris", 2) == 180


def test_training_comes_first_and_is_never_counted(store: RatingStore) -> None:
    desk = desk_for(store, replace(study(3, 2), training=(GOLD,)))
    first = desk.step({"action": "start"}, "anna")
    assert (first["view"], first["key"], first["replies"][0]["text"]) == ("training", "gold-1", GOLD.shown)
    assert "scores" not in json.dumps(first)
    scores = dict.fromkeys(DIMENSIONS, 2)
    told = desk.step({"action": "practise", "key": "gold-1", "scores": scores}, "anna")
    assert (told["view"], told["expected"], told["why_zh"]) == ("feedback", GOLD.scores, "说教")
    desk.step({"action": "practise", "key": "gold-1", "scores": scores}, "anna")  # a double click
    (event,) = events(store, "trial", "training")
    assert (event["within_one"], event["exact"], event["of"]) == (2, 0, 2)
    assert desk.step({"action": "open"}, "anna")["view"] == "screen"
    assert store.judgements() == []
    assert (
        "no such training" in desk.step({"action": "practise", "key": "x", "scores": scores}, "anna")["error"]
    )


def test_an_attention_check_looks_like_any_reply_and_stays_out_of_the_results(store: RatingStore) -> None:
    desk = desk_for(store, replace(study(4, 2, repeats=0), attention=(CHECK,)))
    screen = desk.step({"action": "start"}, "anna")
    seen, keys = 0, set()
    while screen["view"] == "screen":
        keys.add(tuple(sorted(screen)))
        is_check = screen["replies"][0]["text"] == CHECK.shown
        seen += is_check
        screen = desk.step(scoring(screen, 2 if is_check else 4), "anna")
    assert (seen, len(keys)) == (1, 1)
    assert screen["view"] == "done"
    assert len(store.judgements("trial")) == 8
    (progress,) = rater_progress(store, store.study("trial"))
    assert progress["attention"] == {"passed": 1, "of": 1}


def test_whoever_is_faster_than_reading_is_shown_to_the_owner(store: RatingStore) -> None:
    desk = desk_for(store, study(3, 2, repeats=0))
    for rater, seconds in (("slow", 40.0), ("fast", 1.0)):
        screen = desk.step({"action": "start"}, rater)
        while screen["view"] == "screen":
            screen = desk.step(scoring(screen, seconds=seconds), rater)
    found = {one["rater"]: one for one in rater_progress(store, store.study("trial"))}
    assert (found["slow"]["speeding"], found["fast"]["speeding"], found["fast"]["median"]) == (0, 6, 1.0)


def test_consent_is_asked_for_and_crises_can_be_left_out(store: RatingStore) -> None:
    desk = desk_for(store, study(4, 2, repeats=0))
    arrange(store, "trial", {"consent_zh": "我同意", "consent_en": "I agree"}, "owner")
    assert desk.step({"action": "open"}, "anna")["arrangement"]["consent_zh"] == "我同意"
    assert "consent" in desk.step({"action": "start"}, "anna")["error"]
    assert not store.is_enrolled("trial", "anna")
    screen = desk.step({"action": "start", "consent": True, "skip_crises": True}, "anna")
    assert screen["total"] == 6
    arrange(store, "trial", {"may_skip_crises": False}, "owner")
    assert desk.step({"action": "start", "consent": True, "skip_crises": True}, "boris")["total"] == 8
    assert [each["skip_crises"] for each in events(store, "trial", "consent")] == [True, False]


def test_a_frozen_or_ended_study_takes_nothing_more_and_says_so(store: RatingStore) -> None:
    desk = desk_for(store, study(3, 2))
    screen = desk.step({"action": "start"}, "anna")
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    for change, undo in (({"frozen": True}, {"frozen": False}), ({"deadline": past}, {"deadline": ""})):
        arrange(store, "trial", change, "owner")
        said = desk.step(scoring(screen), "anna")
        assert "closed" in said["error"]
        assert "已结束" in said["error_zh"]
        assert desk.step({"action": "open"}, "anna")["view"] == "closed"
        assert desk.step({"action": "open"}, "newcomer")["view"] == "closed"
        assert desk.step({"action": "show", "screen": 0}, "anna")["view"] == "closed"
        assert store.judgements() == []
        arrange(store, "trial", undo, "owner")
    assert desk.step(scoring(screen), "anna")["done"] == 1
    arrange(store, "trial", {"frozen": True}, "owner")  # what was handed in can still be read
    views = [desk.step({"action": "show", "screen": number}, "anna")["view"] for number in (0, 1)]
    assert views == ["screen", "closed"]


@pytest.mark.parametrize(
    "change",
    [{"frozen": "yes"}, {"deadline": "tomorrow"}, {"deadline": "2027-01-01T10:00"}, {"purpose_zh": "x" * 4001},
     {"pause_after": -1}, {"owner": True}, {"help_en": "\ud800"}, {"pause_after": True}],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused_in_words(store: RatingStore, change: dict[str, Any]) -> None:
    store.add_study(study())
    before = arrangement_of(store, "trial")
    with pytest.raises(RatingError):
        arrange(store, "trial", change, "owner")
    assert arrangement_of(store, "trial") == before


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 24), st.integers(2, 12), st.integers(1, 6), st.integers(0, 6))
def test_partial_assignment_gives_every_case_to_as_many_and_nobody_two_cases_more(
    count: int, planned: int, per_case: int, crises: int
) -> None:
    per_case = min(per_case, planned - 1)
    blind = study(count, 2, repeats=0)
    cases = tuple(replace(case, crisis=place < crises) for place, case in enumerate(blind.cases))
    partial = replace(blind, cases=cases, planned_raters=planned, raters_per_case=per_case)
    dealt = [[case.id for case in partial.cases_of(rater)] for rater in range(planned)]
    assert Counter(case for own in dealt for case in own) == {case.id: per_case for case in cases}
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    assert partial.cases_of(planned) == partial.cases_of(0)


def test_what_a_good_reply_does_is_shown_when_the_study_says_so(store: RatingStore) -> None:
    blind = study(2, 1, repeats=0)
    cases = tuple(replace(case, what_a_good_reply_does=("asks back",)) for case in blind.cases)
    seen = {}
    for reference in ("none", "before", "after", "model"):
        shown = replace(blind, cases=cases, reference=reference, study_id=reference)
        desk = desk_for(store, shown)
        first = desk.step({"action": "start"}, "anna")
        after = desk.step(scoring(first), "anna")
        back = desk.step({"action": "show", "screen": 0}, "anna")
        seen[reference] = (first["reference"], after["reference"], back["reference"])
    asks = ["asks back"]
    assert seen == {
        "none": ([], [], []),
        "before": (asks, asks, asks),
        "after": ([], [], asks),
        "model": ([], [], []),
    }


def test_reference_points_after_rating_wait_for_the_last_reply_to_the_case(store: RatingStore) -> None:
    blind = study(2, 2, repeats=0)
    cases = tuple(replace(case, what_a_good_reply_does=(f"asks back in {case.id}",)) for case in blind.cases)
    desk = desk_for(store, replace(blind, cases=cases, reference="after"))
    screen, shown = desk.step({"action": "start"}, "anna"), []
    while screen["view"] == "screen":
        case = store.items("trial", "anna", screen["screen"])[0].case_id
        place = screen["screen"]
        screen = desk.step(scoring(screen), "anna")
        back = desk.step({"action": "show", "screen": place}, "anna")
        assert back["reference"] == screen.get("reference_after", [])
        shown.append(screen.get("reference_after"))
        assert shown[-1] in (None, [f"asks back in {case}"])
        assert screen.get("reference_screen", place) == place
    assert [bool(points) for points in shown] == [False, True, False, True]


def test_a_study_with_all_its_settings_survives_its_file_and_an_old_one_keeps_its_text() -> None:
    plain = study()
    assert not {"training", "reference", "planned_raters"} & set(json.loads(plain.to_json()))
    full = replace(
        plain, training=(GOLD,), attention=(CHECK,), reference="after", planned_raters=4, raters_per_case=2
    )
    assert read_study(full.to_json()) == full


def test_the_study_that_was_opened_last_is_the_one_that_raters_meet(store: RatingStore) -> None:
    desk = Desk(store, None, {"invited": "trial"}.get)
    assert desk.step({"action": "open"}, "anna")["view"] == "none"
    for name in ("trial", "second"):
        store.add_study(replace(study(), study_id=name, title=name))
    open_study(store, "second", "owner")
    assert desk.step({"action": "open"}, "anna")["title"] == "second"
    assert desk.step({"action": "open"}, "invited")["title"] == "trial"


def test_a_judge_model_reads_no_more_of_a_case_than_the_study_lets_people_know() -> None:
    blind = study(1, 1)
    cases = tuple(replace(case, what_a_good_reply_does=("asks back",)) for case in blind.cases)
    told = {
        reference: bool(
            replace(blind, cases=cases, reference=reference).case_for_model("case-0").what_a_good_reply_does
        )
        for reference in ("none", "before", "after", "model")
    }
    assert told == {"none": False, "before": True, "after": False, "model": True}
