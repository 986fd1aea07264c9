"""The blind arena: two hidden models, several turns, apart from studies, read as pairs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from judge_app import study

from bakeoff.foundation.errors import ServiceError
from bakeoff.judgement import arena
from bakeoff.judgement.arena import ArenaDesk, arena_results, pairs, talks
from bakeoff.judgement.erasure import erase_identity, erase_judgements
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.rubric import DIMENSIONS

SERVICES = {name: f"http://127.0.0.1:1/{name}" for name in ("alpha-7b", "beta-7b", "gamma-7b")}


@pytest.fixture
def store(tmp_path: Path) -> RatingStore:
    return RatingStore(tmp_path / "r.sqlite")


@pytest.fixture
def desk(store: RatingStore, monkeypatch: pytest.MonkeyPatch) -> ArenaDesk:
    """An arena whose models say who they are and how many turns they have seen."""

    def complete(session: Any, url: str, payload: dict[str, Any], **_: Any) -> tuple[str, str]:
        own = [turn["content"] for turn in payload["messages"] if turn["role"] == "assistant"]
        assert all(payload["model"] in said for said in own), "a model was shown what another one said"
        return f"I am {payload['model']}, turn {len(own)}", "stop"

    monkeypatch.setattr(arena, "complete", complete)
    return ArenaDesk(store, SERVICES)


def finish(desk: ArenaDesk, rater: str, choose: Any, turns: int = 2) -> None:
    """A whole talk of *rater*; choose(left, right) gives the preference."""
    shown = desk.step({"action": "open"}, rater)
    for place in range(turns):
        shown = desk.step({"action": "say", "talk": shown["talk"], "text": "I feel low."}, rater)
        talk = talks(desk.store, rater)[-1]
        choice = choose(talk["left"], talk["right"])
        shown = desk.step({"action": "prefer", "talk": shown["talk"], "turn": place, "choice": choice}, rater)
    points = {"left": (5, 2), "right": (2, 5)}.get(choice, (3, 3))
    scores = {
        side: dict.fromkeys(DIMENSIONS, point) for side, point in zip(("left", "right"), points, strict=True)
    }
    desk.step({"action": "finish", "talk": shown["talk"], "choice": choice, "scores": scores}, rater)
    assert desk.step({"action": "anew"}, rater)["turns"] == []


def best(order: str) -> Any:
    """Prefers whatever stands first in *order*, which names models by their first letters."""
    return lambda left, right: "left" if order.index(left[0]) < order.index(right[0]) else "right"


def test_no_name_reaches_the_rater_in_any_turn(desk: ArenaDesk) -> None:
    shown = desk.step({"action": "say", "text": "你好"}, "anna")
    assert (shown["view"], len(shown["turns"])) == ("arena", 1)
    desk.step({"action": "prefer", "talk": shown["talk"], "turn": 0, "choice": "tie"}, "anna")
    again = desk.step({"action": "say", "talk": shown["talk"], "text": "再说说"}, "anna")
    told = json.dumps([shown, again])
    assert not [name for name in SERVICES if name in told or name.split("-")[0] in told]
    assert "turn 1" in again["turns"][1]["left"]


def test_what_is_sent_twice_counts_once_and_order_is_kept(desk: ArenaDesk, store: RatingStore) -> None:
    shown = desk.step({"action": "say", "text": "a"}, "anna")
    assert "better first" in desk.step({"action": "say", "talk": shown["talk"], "text": "b"}, "anna")["error"]
    for choice in ("left", "right"):
        desk.step({"action": "prefer", "talk": shown["talk"], "turn": 0, "choice": choice}, "anna")
    assert [turn["choice"] for turn in talks(store)[0]["turns"]] == ["left"]
    assert (
        "not open"
        in desk.step({"action": "prefer", "talk": shown["talk"], "turn": 0, "choice": "left"}, "boris")[
            "error"
        ]
    )


@pytest.mark.parametrize(
    "message",
    [None, [], {"action": "say"}, {"action": "say", "text": " "}, {"action": "say", "text": 5}, {"action": ["say"]},
     {"action": "prefer"}, {"action": "finish"}, {"action": "finish", "scores": 5, "choice": "left"}],
)  # fmt: skip
def test_nonsense_gets_an_answer_and_keeps_nothing(desk: ArenaDesk, store: RatingStore, message: Any) -> None:
    assert desk.step(message, "anna")["view"] in ("arena", "refused")
    assert talks(store) == []


def test_a_silent_model_leaves_no_half_turn_and_is_not_named(
    desk: ArenaDesk, store: RatingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: Any, **__: Any) -> tuple[str, str]:
        raise ServiceError("http://user:secret@10.0.0.7/alpha-7b does not answer")

    monkeypatch.setattr(arena, "complete", silent)
    said = desk.step({"action": "say", "text": "a"}, "anna")
    assert said["view"] == "refused"
    assert not [word for word in ("alpha", "10.0.0", "secret") if word in said["error"] + said["error_zh"]]
    assert talks(store) == []


def test_a_model_that_died_is_revived_and_asked_once_more(
    store: RatingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = {"beta-7b"}

    def complete(session: Any, url: str, payload: dict[str, Any], **_: Any) -> tuple[str, str]:
        if payload["model"] in dead:
            raise ServiceError("refused")
        return "I listen.", "stop"

    def revive(name: str) -> bool:
        dead.remove(name)
        return True

    monkeypatch.setattr(arena, "complete", complete)
    pair = {name: SERVICES[name] for name in ("alpha-7b", "beta-7b")}
    shown = ArenaDesk(store, pair, revive=revive).step({"action": "say", "text": "a"}, "anna")
    assert (shown["view"], len(talks(store)), dead) == ("arena", 1, set())


def test_pairs_are_drawn_evenly_and_sides_by_lot(desk: ArenaDesk, store: RatingStore) -> None:
    for number in range(12):
        finish(desk, f"r{number}", lambda left, right: "tie", turns=1)
    met = Counter(frozenset((talk["left"], talk["right"])) for talk in talks(store))
    assert set(met.values()) == {4}


def test_the_arena_is_read_as_pairs_whatever_side_a_model_stood_on(
    desk: ArenaDesk, store: RatingStore
) -> None:
    for number in range(9):
        finish(desk, f"r{number}", best("abg"))
    for what in ("turn", "final", "empathy"):
        met = pairs(store, what)
        assert set(met["outcome"]) == {1.0}, what  # a is before b in the alphabet, and better
        assert len(met) == (18 if what == "turn" else 9)
    found = arena_results(store)
    strengths = {one["subject"]: one["strength"] for one in found["duels"]["turn"]["strengths"]}
    assert strengths["alpha-7b"] > strengths["beta-7b"] > strengths["gamma-7b"]


def test_the_arena_stays_out_of_studies_and_goes_with_its_rater(desk: ArenaDesk, store: RatingStore) -> None:
    store.add_study(study())
    finish(desk, "anna", best("abg"))
    finish(desk, "boris", best("abg"))
    assert store.judgements() == []
    erase_judgements(store, "anna")
    assert [talk["rater"] for talk in talks(store)] == ["boris"]
    erased = erase_identity(store, "boris")
    assert [talk["rater"] for talk in talks(store)] == [erased.called]
