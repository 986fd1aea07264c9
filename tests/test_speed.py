from __future__ import annotations

import base64
import json
import math
import os
import pickle
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fakes.service import serving

from bakeoff.evalscope.speed import Speed, read_speed, speed_command, speed_rows, write_prompts
from bakeoff.evalscope.streamed import check_replies
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import ScoreError

ROOT = Path(__file__).parent.parent


def measure(command: Command) -> None:
    done = subprocess.run(
        command.argv,
        env={**os.environ, **command.env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_speed_is_measured_at_every_load(tmp_path: Path) -> None:
    pytest.importorskip("sse_starlette", reason="needs the perf extra: pip install 'evalscope[perf]'")
    write_prompts(tmp_path)
    with serving("--reply", "先固定起床时间。", "--latency-s", "0.05") as service:
        command = speed_command(service.url, "m", tmp_path, levels=(1, 4), max_tokens=8)
        measure(command)
        stats = service.stats()
    one, four = read_speed(tmp_path)
    assert (one.in_flight, four.in_flight) == (1, 4)
    assert one.succeeded == one.requests == four.succeeded == 16
    assert one.ttft_s >= 0.05
    assert one.latency_s >= one.ttft_s
    assert stats["peak"] == 4
    assert stats["settings"][0]["temperature"] == 0.0
    rows = speed_rows([one, four], run_id="r", model="m", variant="base", fingerprint="")
    assert [row["subset"] for row in rows[::4]] == ["1 in flight", "4 in flight"]
    assert all(row["trusted"] for row in rows)
    assert one.checked
    assert one.checked.succeeded == 16
    assert not one.why_not


@pytest.mark.slow
def test_a_service_that_is_fast_with_what_is_no_reply_has_no_speed(tmp_path: Path) -> None:
    pytest.importorskip("sse_starlette", reason="needs the perf extra: pip install 'evalscope[perf]'")
    write_prompts(tmp_path)
    faults = ("errortext:1-4", "empty:5-7", "other:8-9", "broken:10-12")
    flags = [part for fault in faults for part in ("--fault", fault)]
    with serving("--reply", "先固定起床时间。", *flags) as service:
        measure(speed_command(service.url, "m", tmp_path, levels=(1,), max_tokens=16))
    (speed,) = read_speed(tmp_path, "m")
    assert (speed.succeeded, speed.errored) == (16, 12)
    for words in (
        "12 of 16 replies are none (4 × the reply is a service's error text: ",
        "3 × the reply is empty",
        "3 × the reply broke off before its end",
    ):
        assert words in speed.why_not
    rows = speed_rows([speed], run_id="r", model="m", variant="base", fingerprint="")
    assert all(math.isnan(row["value"]) and not row["trusted"] and row["n_errored"] == 12 for row in rows)


def piece(text: str | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"delta": {"content": text}, "finish_reason": finish}], **more}


def kept(folder: Path, *replies: list[Any], streamed: bool = True, tokens: int = 5) -> Path:
    """A database as EvalScope's client keeps it: what came to one question after the other."""
    path = folder / f"{len(list(folder.iterdir()))}.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE result(request, response_messages, completion_tokens, is_stream, success)"
        )
        for number, messages in enumerate(replies):
            body = {"messages": [{"role": "user", "content": f"第{number}题"}], "max_tokens": 8}
            column = base64.b64encode(pickle.dumps(messages)).decode()
            row = (json.dumps(body), column, tokens, streamed, 1)
            database.execute("INSERT INTO result VALUES (?, ?, ?, ?, ?)", row)
    return path


GOOD = [piece("先固定"), piece("起床时间"), piece(None, "stop", usage={})]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([piece("服务繁忙，请稍后再试", "stop")], "service's error text"),
        ([piece("想想", "content_filter")], "content filter"),
        ([piece("想想", "abort")], "finish_reason abort"),
        ([], "the reply is empty"),
        (["<html>502</html>"], "a piece of the reply is no text"),
        ([{**piece("好", "stop"), "model": "n"}], "'n' answered, 'm' was asked"),
        ([piece("好"), {**piece("的", "stop"), "model": "n"}], "several models answered at once: m, n"),
        ([piece("好"), {"choices": [None]}], "is no text"),
        ([piece("好"), {"choices": [{"delta": [1]}]}], "is no text"),
        ([subprocess.Popen], "the reply is empty"),  # a kept reply is read as data, never run
    ],
)
def test_each_kept_reply_is_held_against_the_checks_of_an_evaluation(
    messages: list[Any], words: str, tmp_path: Path
) -> None:
    checked = check_replies(kept(tmp_path, GOOD, messages, GOOD), "m")
    assert checked.bad == 1
    assert "1 of 3 replies are none (1 × " in checked.why_not
    assert words in checked.why_not


def test_thoughts_are_a_reply_and_one_repeated_error_text_is_none(tmp_path: Path) -> None:
    thinks = {"choices": [{"delta": {"reasoning_content": "他累了"}, "finish_reason": "length"}]}
    assert not check_replies(kept(tmp_path, [thinks], GOOD), "m").why_not
    failing = [piece("发生错误", "stop")]
    checked = check_replies(kept(tmp_path, failing, failing, failing, GOOD))
    assert (
        checked.why_not
        == "3 of 4 replies are none (3 × several questions got the same error text: '发生错误')"
    )


def test_what_the_replies_do_not_show_is_not_given_as_speed(tmp_path: Path) -> None:
    whole = {"model": "m", "choices": [{"message": {"content": "起床"}, "finish_reason": "stop"}]}
    checked = check_replies(kept(tmp_path, [whole], [whole], streamed=False, tokens=9), "m")
    speed = Speed(1, 2, 2, 0.1, 0.2, 900.0, 5.0, checked)
    assert math.isnan(speed.figure("ttft_s"))
    assert math.isnan(speed.figure("output_tokens_per_s"))
    assert (speed.figure("latency_s"), speed.figure("requests_per_s"), speed.errored) == (0.2, 5.0, 0)
    assert "2 of 2 replies came whole" in speed.why_not
    uncounted = check_replies(kept(tmp_path, GOOD, tokens=0))
    assert uncounted.why_not == "1 of 1 replies came without a count of their tokens"
    assert "counts 18 tokens in replies of 12 bytes, asked for at most 8 a reply" in speed.why_not


def test_a_service_that_was_not_measured_has_no_speed(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="measured nothing"):
        read_speed(tmp_path)


def test_the_prompts_are_the_shipped_questions_one_a_line(tmp_path: Path) -> None:
    lines = write_prompts(tmp_path).read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 10
    assert all(line.strip() for line in lines)
