"""Serving speed as a suite, so that cost stands beside quality.

Runs ``evalscope perf`` at several loads.

Questions of the shipped open-question set are streamed to the service with a fixed number of requests in flight. What
comes back are rows of the scores table: suite ``speed``, one subset per load, one metric per figure.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from bakeoff.endpoint.address import spared_by_proxies
from bakeoff.evalscope.streamed import Checked, check_replies
from bakeoff.evalscope.types import ScoreRow
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import ScoreError
from bakeoff.foundation.sentences import Template, joined
from bakeoff.matrix.datasets import SHIPPED
from bakeoff.scoring.scores import SPEED, Ledger, Score
from bakeoff.scoring.tables import score_row
from bakeoff.suites.rows import questions

REQUESTS_FAILED = Template(
    "evalscope.speed.requests_failed",
    "{failed} of {total} requests failed",
    zh="{total} 个请求中有 {failed} 个失败",
)

LEVELS = (1, 8, 64)
"""Requests in flight."""
METRICS = ("ttft_s", "latency_s", "output_tokens_per_s", "requests_per_s")
_FEW = 0.01
"""Share of replies that are none, up to which the figures of the others are still given (and not trusted)."""


@dataclass(frozen=True)
class Speed:
    """How fast a service was at one load.

    Attributes:
        ttft_s: mean seconds to the first token; latency_s: to the last.
        output_tokens_per_s: tokens generated per second, all requests together.
        checked: what became of the replies when they were looked at; None where none are kept.
    """

    in_flight: int
    requests: int
    succeeded: int
    ttft_s: float
    latency_s: float
    output_tokens_per_s: float
    requests_per_s: float
    checked: Checked | None = None

    @property
    def errored(self) -> int:
        """Requests that failed, or whose reply is none."""
        return self.requests - self.succeeded + (self.checked.bad if self.checked else 0)

    @property
    def why_not(self) -> str:
        """What speaks against the figures; empty for nothing."""
        failed = self.requests - self.succeeded
        words = REQUESTS_FAILED(failed=failed, total=self.requests) if failed else ""
        return joined([words, self.checked.why_not if self.checked else ""])

    def figure(self, metric: str) -> float:
        """The measured value; NaN where the replies say nothing of it."""
        checked = self.checked
        if checked and (
            checked.bad > _FEW * checked.succeeded
            or (metric == "ttft_s" and checked.not_streamed)
            or (metric == "output_tokens_per_s" and checked.why_not_tokens)
        ):
            return math.nan
        return float(getattr(self, metric))


def speed_command(
    service_url: str,
    served_name: str,
    work_dir: Path,
    *,
    levels: Sequence[int] = LEVELS,
    requests_per_level: int = 4,
    max_tokens: int = 128,
    key_env: str | None = None,
) -> Command:
    """The line that measures a service with the prompts in *work_dir*.

    :func:`write_prompts` must have written them.

    Args:
        requests_per_level: requests per request in flight, at least 16 in all; the first ones of a level are slow.
    """
    numbers = [str(max(16, level * requests_per_level)) for level in levels]
    argv = [sys.executable, "-m", "bakeoff.evalscope", "perf", "--model", served_name]
    argv += ["--url", f"{service_url.rstrip('/')}/chat/completions", "--api", "openai"]
    argv += ["--key-env", key_env] if key_env else []
    argv += ["--dataset", "line_by_line", "--dataset-path", str(work_dir / "prompts.txt")]
    argv += ["--parallel", *map(str, levels), "--number", *numbers, "--max-tokens", str(max_tokens)]
    argv += ["--temperature", "0", "--stream", "--no-test-connection", "--log-every-n-query", "1000"]
    argv += ["--outputs-dir", str(work_dir / "perf"), "--no-timestamp"]
    return Command(tuple(argv), spared_by_proxies())


def write_prompts(work_dir: Path) -> Path:
    """Write the shipped open questions, one a line, to ``prompts.txt``."""
    texts = [question.text for part in questions("psyqa", SHIPPED / "psyqa").values() for question in part]
    work_dir.mkdir(parents=True, exist_ok=True)
    path = work_dir / "prompts.txt"
    path.write_text("".join(" ".join(text.split()) + "\n" for text in texts), encoding="utf-8")
    return path


def read_speed(work_dir: Path, answers_as: str = "") -> list[Speed]:
    """What was measured in *work_dir*, by rising load.

    Args:
        answers_as: the model that must have answered; empty for any.

    Raises:
        ScoreError: nothing was.
    """
    speeds = []
    for path in (work_dir / "perf").rglob("benchmark_summary.json"):
        row: Mapping[str, object] = json.loads(path.read_text(encoding="utf-8"))

        def figure(name: str, scale: float = 1.0, row: Mapping[str, object] = row) -> float:
            value = row.get(name)
            return (
                float(value) * scale
                if isinstance(value, int | float) and row["Success Requests"]
                else math.nan
            )

        speeds.append(
            Speed(
                in_flight=int(str(row["Concurrency"])),
                requests=int(str(row["Total Requests"])),
                succeeded=int(str(row["Success Requests"])),
                ttft_s=figure("Avg TTFT (ms)", 1e-3),
                latency_s=figure("Avg Latency (s)"),
                output_tokens_per_s=figure("Output Throughput (tok/s)"),
                requests_per_s=figure("Req Throughput (req/s)"),
                checked=check_replies(replies, answers_as)
                if (replies := path.with_name("benchmark_data.db")).is_file()
                else None,
            )
        )
    if not speeds:
        raise ScoreError(f"{work_dir / 'perf'}: evalscope perf measured nothing; its log says why")
    return sorted(speeds, key=lambda speed: speed.in_flight)


def speed_rows(speeds: Sequence[Speed], **context: object) -> list[ScoreRow]:
    """Rows of the scores table; *context* gives the columns of the row."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    context = {
        "suite": "speed",
        "benchmark": SPEED,
        "few_shot": 0,
        "finished_at": now,
        **context,
    }
    rows: list[ScoreRow] = []
    for speed in speeds:
        counts = Ledger(
            speed.requests,
            speed.requests - speed.errored,
            unparsed=0,
            empty=0,
            truncated=0,
            errored=speed.errored,
        )
        for metric in METRICS:
            measured = Score(
                subset=f"{speed.in_flight} in flight",
                metric=metric,
                value=speed.figure(metric),
                ledger=counts,
                worst=math.nan,
                best=math.nan,
                chance=math.nan,
                why_not=speed.why_not,
            )
            rows.append(cast(ScoreRow, score_row(measured, **context)))
    return rows
