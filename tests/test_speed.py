from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from fakes.service import serving

from bakeoff.errors import ScoreError
from bakeoff.evalscope.speed import read_speed, speed_command, speed_rows, write_prompts

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_speed_is_measured_at_every_load(tmp_path: Path) -> None:
    pytest.importorskip("sse_starlette", reason="needs the perf extra: pip install 'evalscope[perf]'")
    write_prompts(tmp_path)
    with serving("--reply", "先固定起床时间。", "--latency-s", "0.05") as service:
        command = speed_command(service.url, "m", tmp_path, levels=(1, 4), max_tokens=8)
        done = subprocess.run(
            command.argv,
            env={**os.environ, **command.env},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        stats = service.stats()
    assert done.returncode == 0, done.stderr[-2000:]
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


def test_a_service_that_was_not_measured_has_no_speed(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="measured nothing"):
        read_speed(tmp_path)


def test_the_prompts_are_the_shipped_questions_one_a_line(tmp_path: Path) -> None:
    lines = write_prompts(tmp_path).read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 10
    assert all(line.strip() for line in lines)
