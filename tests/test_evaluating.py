"""Threads that the suites of a plan share, and the rows that are kept of each question."""

from __future__ import annotations

import datetime
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from evalscope.utils.io_utils import JsonlWriter, convert_normal_types

from bakeoff.evalscope.evaluating import Crew, RowWriter


def test_suites_share_the_threads_of_a_crew_and_never_take_more() -> None:
    crew, lock = Crew(3), threading.Lock()
    at_work, most, done = 0, 0, []
    together = threading.Barrier(3)

    def task(name: str) -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        together.wait(30)  # only three at a time can go on
        with lock:
            at_work -= 1
            done.append(name)

    def suite(name: str, size: int) -> None:
        crew.do([lambda: task(name) for _ in range(size)], lambda: None)

    with ThreadPoolExecutor(2) as suites:
        for future in [suites.submit(suite, "first", 20), suites.submit(suite, "second", 10)]:
            future.result()
    crew.end()
    assert most == 3
    assert sorted(done) == ["first"] * 20 + ["second"] * 10


def test_what_breaks_a_suite_is_raised_and_leaves_the_crew_fit_for_the_next() -> None:
    crew, done = Crew(1), list[int]()

    def broken() -> None:
        raise OSError("disk is full")

    with pytest.raises(OSError, match="disk is full"):
        crew.do([lambda: done.append(1), broken, lambda: done.append(2)], lambda: None)
    crew.do([lambda: done.append(3)], lambda: None)
    crew.do([], lambda: None)
    crew.end()
    assert done == [1, 3]


def test_rows_are_written_as_evalscope_writes_them(tmp_path: Path) -> None:
    row = {
        "文": "来访者\u2028",
        "numbers": [np.float64(0.1), np.int64(3), np.float32(0.5), np.bool_(True), float("nan")],
        "rest": (np.array([1, 2]), datetime.datetime(2026, 1, 2, 3), tmp_path),
    }
    theirs, ours = JsonlWriter(str(tmp_path / "theirs")), RowWriter(str(tmp_path / "ours"))
    theirs.write(convert_normal_types(row))
    ours.write(row)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()  # before it is closed
    with pytest.raises(TypeError, match="object has no place"):
        ours.write({"a": object()})
    theirs.close()
    ours.close()
    assert (tmp_path / "ours").read_bytes().count(b"\n") == 1
