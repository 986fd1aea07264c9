"""The board with which a run ends."""

from __future__ import annotations

import pytest

from bakeoff.report.analysis import analyse
from bakeoff.runs.ending import WIDTH, board
from bakeoff.runs.following import width_of
from tests.synthetic_findings import synthetic_findings


@pytest.mark.parametrize("chinese", [False, True])
def test_every_score_has_its_interval_or_says_why_it_is_none(chinese: bool) -> None:
    analysis = analyse(synthetic_findings(40, models=3))
    lines = list(board(analysis, chinese=chinese))
    assert max(map(width_of, lines)) <= WIDTH
    cells = [cell for view in analysis.views for cell in view.ordered()]
    assert len(lines) == len(cells) + len(analysis.views)
    assert sum("[" in line for line in lines) >= sum(cell.ranked for cell in cells) > 0
    words = ("无效", "没有成绩") if chinese else ("invalid", "no score")
    assert sum(any(word in line for word in words) for line in lines) == sum(
        not cell.ranked for cell in cells
    )
