"""The board of a run, in the terminal and on the live page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bakeoff.foundation.sentences import with_statements
from bakeoff.foundation.terminal import cells
from bakeoff.runs.following import Board, Cell, clock, earlier_seconds, fitted
from bakeoff.tools.checkpoints import STEP_AND_LEFT

CELLS: list[Cell] = [("a", "", "train"), ("a", "tuned", "ceval"), ("b<i>", "base", "ceval")]


def board(chinese: bool = False, seconds: dict[Cell, float] | None = None) -> Board:
    return Board(list(CELLS), seconds or {}, lambda: 0.0, chinese)


def ended(cell: Cell, outcome: str = "ran") -> dict[str, object]:
    row, variant, name = cell
    stage = {"stage": "evaluate", "facts": {"suite": name}} if name == "ceval" else {"stage": name}
    return {"event": "stage", "model": row, "variant": variant, "outcome": outcome, **stage}


@pytest.mark.parametrize("chinese", [False, True])
@pytest.mark.parametrize("width", [40, 80])
def test_no_line_is_wider_than_the_terminal(chinese: bool, width: int) -> None:
    shown = board(chinese)
    shown.take({"event": "progress", "model": "a", "stage": "train", "how_far": "第 7/9 步，损失 0.3，" * 20})
    assert max(map(cells, shown.lines(width))) <= width
    assert any("▶" in line for line in shown.lines(width))


def test_a_cell_is_ticked_off_once_and_a_failure_stays_visible() -> None:
    shown = board()
    shown.take(ended(CELLS[0]))
    shown.take(ended(CELLS[0], "reused"))
    shown.take(ended(CELLS[1], "failed"))
    assert "2/3 stages" in shown.head()
    assert "✓✗" in shown.lines()[2]


def test_stages_that_nobody_asked_for_do_not_count() -> None:
    shown = board()
    shown.take(ended(("a", "", "build")))
    assert shown.share == 0


def test_what_earlier_runs_took_says_what_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "20260101-1"
    folder.mkdir(parents=True)
    events = [{**ended(cell), "seconds": 60.0} for cell in CELLS] + [
        {**ended(CELLS[0], "reused"), "seconds": 0.0}
    ]
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, events)) + '\n{"event": "sta')
    seconds = earlier_seconds(tmp_path)
    assert seconds == dict.fromkeys(CELLS, 60.0)
    shown = board(seconds=seconds)
    assert shown.left_s() == 180
    shown.take(ended(CELLS[0]))
    assert shown.left_s() == 120
    assert board().left_s() is None


def test_the_page_reloads_itself_until_the_run_has_ended_and_shows_text_as_text() -> None:
    shown = board(chinese=True)
    shown.log.append("<script>alert(1)</script>")
    running, end = shown.page(), shown.page(ended="已结束。")
    assert 'http-equiv="refresh"' in running
    assert 'http-equiv="refresh"' not in end
    assert "index.html" in end
    for page in (running, end):
        assert "<script" not in page
        assert "<i>" not in page
        assert "://" not in page
        HTMLParser().feed(page)


def test_the_chinese_page_speaks_chinese_and_an_ended_run_has_nothing_left() -> None:
    shown = board(chinese=True, seconds=dict.fromkeys(CELLS, 60.0))
    how_far = STEP_AND_LEFT(step="7/9", loss=0.3, left="12s")
    told = json.loads(json.dumps(with_statements({"how_far": how_far})))
    shown.take({"event": "progress", "model": "a", "stage": "train", **told})
    page = shown.page()
    assert "训练：第 7/9 步，损失 0.3，剩余 12s" in page
    assert "基座 ceval" in page
    assert "约剩 3 分钟" in page
    assert "约剩" not in shown.page(ended="已结束。")  # stopped before its end
    for cell in CELLS:
        shown.take(ended(cell))
    assert "约剩" not in shown.page(ended="已结束。")
    assert clock(11_100, chinese=True) == "3 小时 05 分"


@pytest.mark.parametrize(("seconds", "words"), [(5, "5 s"), (600, "10 min"), (11_100, "3 h 05")])
def test_durations_are_told_as_people_say_them(seconds: float, words: str) -> None:
    assert clock(seconds) == words


def test_wide_characters_are_counted_as_two() -> None:
    assert cells("评测a") == 5
    assert cells(fitted("评测评测", 6)) <= 6
    assert cells(fitted("评", 6)) == 6
