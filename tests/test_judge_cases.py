"""The owner's own cases: checked line by line, put to the served models, made into a study."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from judge_app import ROOT, cases

from bakeoff.judgement.raters import Raters
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.studio import Material, StudioDesk
from judge.own_cases import MOST_CASES, OwnCases, StudioPage

TURNS = [
    {"role": "user", "content": "睡不着 😔"},
    {"role": "assistant", "content": "多久了？"},
    {"role": "user", "content": "三个月，不想活了"},
]


def line(name: str, **more: Any) -> str:
    return json.dumps({"id": name, "messages": TURNS, **more}, ensure_ascii=False)


def taking(content: str | bytes, name: object = "C:\\Users\\..\\mine.jsonl") -> dict[str, Any]:
    raw = content if isinstance(content, bytes) else content.encode()
    return {"action": "take_cases", "name": name, "content": base64.b64encode(raw).decode()}


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    program = [sys.executable, str(ROOT / "tests" / "fakes" / "judge_service.py")]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.terminate()


def page(folder: Path, services: dict[str, str] | None = None) -> StudioPage:
    """A studio of a run with two cases and no replies; "boss" owns it."""
    raters = Raters(folder / "raters.json")
    raters.add("boss", "the boss's password", owner=True)
    own = OwnCases(folder / "own", services or {}, {})

    def run() -> Material:
        return Material((), cases(2))

    studio = StudioDesk(RatingStore(folder / "r.sqlite"), raters, lambda: own.added_to(run()))
    return StudioPage(studio, own, run)


def test_every_line_that_is_no_case_is_named_and_nothing_is_stored(tmp_path: Path) -> None:
    studio = page(tmp_path)
    text = "\n".join(
        [line("a"), "{", "", line("a"), '{"id": "b"}', line("case-0"), line("c", messages=TURNS[:2])]
    )
    message = taking(text)
    said = studio.step(message, "boss")
    assert said["view"] == "trouble"
    assert [part.split(" ")[0] for part in str(said["error"]).split("\n")] == [
        f"mine.jsonl:{number}:" for number in (2, 4, 5, 6, 7)
    ]
    assert [part.partition("行")[0] for part in str(said["error_zh"]).split("\n")] == [
        f"mine.jsonl 第 {number} " for number in (2, 4, 5, 6, 7)
    ]
    assert str(tmp_path) not in str(said)
    many = "\n".join(line(f"n{number}") for number in range(MOST_CASES + 1))
    for odd in (
        "",
        "\ufeff",
        "\n \n",
        many,
        "{\n" * 50,
        '{"id": "\\ud83d"}',
        "x" * 2_500_001,
        b"PK\x03\x04\0",
    ):
        assert studio.step(taking(odd), "boss")["view"] == "trouble"
    for whole in (
        [json.loads(line("a"))],
        json.loads(line("a")),
    ):  # a list of cases, or a case in several lines
        said = studio.step(taking(json.dumps(whole, indent=1)), "boss")
        assert "single JSON value" in str(said["error"])
        assert "\n" not in str(said["error"])
    for content in ("no base64!", "YQ", "\ud83d", 7, None, [], {}):
        assert studio.step({**message, "content": content}, "boss")["view"] == "trouble"
    for raw, english, chinese in (
        (line("a") + "\n", "mine.jsonl:2: not UTF-8", "mine.jsonl 第 2 行：文件编码不是 UTF-8（可能是 GBK）"),
        ("", "mine.jsonl:1: UTF-16", "mine.jsonl 第 1 行：文件编码是 UTF-16"),
    ):
        encoded = raw.encode() + line("b").encode("gbk", "replace") if raw else line("b").encode("utf-16")
        said = studio.step(taking(encoded), "boss")
        assert str(said["error"]).startswith(english)
        assert str(said["error_zh"]).startswith(chinese)
    assert studio.step(message, "somebody")["view"] == "refused"
    assert studio.cases.cases() == []


def test_own_cases_with_several_turns_become_a_study_of_what_the_models_said(
    tmp_path: Path, service: str
) -> None:
    studio = page(
        tmp_path, {"counsellor": service, "org/counsellor-null": service, "counsellor-400": service}
    )
    taken = studio.step(taking("\ufeff" + line("a", crisis=False) + "\r\n" + line("b"), name=5), "boss")
    own: Any = taken["own"]
    assert (taken["taken"], own["crises"], own["several_turns"]) == (2, 1, 2)
    assert stat.S_IMODE(Path(own["file"]).stat().st_mode) == 0o600
    assert {"a", "b", "case-0"} <= {case["id"] for case in taken["cases"]}  # type: ignore[attr-defined]
    studio.step({"action": "ask_models"}, "boss")
    studio.step({"action": "ask_models"}, "boss")  # a double click asks once
    thread = studio.cases._asking
    assert thread is not None
    thread.join(60)
    state: Any = studio.step({"action": "show"}, "boss")
    progress = {each["model"]: (each["done"], each["trouble"]) for each in state["own"]["progress"]}
    assert progress["counsellor"] == (2, "")
    assert progress["counsellor-400"][1] == "incomplete"
    wish = {"title": "自备个案", "subjects": ["counsellor/served"], "cases": ["a", "b"], "raters": 2}
    wish |= {"layout": "one-by-one", "reference": "none", "repeats": 0}
    made = studio.step({"action": "make", "wish": wish}, "boss")
    blind = studio.studio.store.study(str(made["made"]))
    assert sorted(reply.shown for reply in blind.replies) == ["我听到你说：三个月，不想活了"] * 2
    assert [len(case.messages) for case in blind.cases] == [3, 3]
    # Other cases under the same ids: what was said to the old ones is not theirs.
    other = line("a", messages=TURNS[2:])
    studio.step(taking(other), "boss")
    assert studio.cases.replies() == []
