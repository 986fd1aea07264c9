"""Fields of rows: a program writes every row of a file with the same ones.

A row that lacks one, or has another, was edited.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bakeoff.foundation.sentences import SAID
from bakeoff.verify import words
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Row, read_object

_RULE = "fields of a row"
_FEW = 3
"""Rows from which the most common fields tell what a row has."""
_OF_A_JUDGE = ("judge_summary",)
"""What a judge model leaves in every row that it graded, and nobody else in any."""
_MEASURED = (
    *("Test Duration (s)", "Concurrency", "Request Rate (req/s)"),
    *("Total Requests", "Success Requests", "Failed Requests", "Stream Requests", "Non-Stream Requests"),
    *("Req Throughput (req/s)", "Output Throughput (tok/s)", "Total Throughput (tok/s)"),
    *("Avg Latency (s)", "Avg TTFT (ms)", "Avg TPOT (ms)", "Avg ITL (ms)"),
    *("Avg Input Tokens", "Avg Output Tokens", "Input Throughput (tok/s)"),
)
"""What every summary of ``evalscope perf`` holds, as far as its version knows it."""
_MEASURED_AT_TIMES = (
    *(
        "Avg Turns/Request",
        "KV Cache Hit Rate (%)",
        "Avg First-Turn TTFT (ms)",
        "Avg Subsequent-Turn TTFT (ms)",
    ),
    *("Avg Decoded Tok/Iter", "Spec. Accept Rate", "Avg Steady ITL (ms)"),
    *("Avg PD Handoff Latency (ms)", "Avg PD Handoff Overhead (ms)", "Not Applicable Metrics"),
)
"""What it holds where that could be measured."""
_TO_FOUR_PLACES = 6e-5
Part = Callable[[Row], object]


def _reply(row: Row) -> Row:
    return dict((row["model_output"].get("choices") or [{}])[0])


_OF_A_REPLY: dict[str, Part] = {
    "": lambda row: row,
    "model_output": lambda row: row["model_output"],
    "usage": lambda row: row["model_output"].get("usage"),
    "perf_metrics": lambda row: row["model_output"].get("perf_metrics"),
    "choice": _reply,
    "message": lambda row: _reply(row).get("message"),
    "timing": lambda row: (_reply(row).get("message") or {}).get("perf_metrics"),
}
_OF_A_REVIEW: dict[str, Part] = {
    "": lambda row: row,
    "sample_score": lambda row: row["sample_score"],
    "score": lambda row: row["sample_score"]["score"],
    "value": lambda row: row["sample_score"]["score"]["value"],
}


def check_fields(
    audit: Audit, place: str, rows: Sequence[Row], parts: Mapping[str, Part] | None = None
) -> None:
    """See that all *rows* of a file have the same fields.

    *parts*: what within a row is looked at, by name; by default the row itself. Where a row has no such part, nothing
    is said of it.
    """
    for name, part in (parts or {"": _whole}).items():
        insides = [part(row) for row in rows]
        written = [tuple(inside) for inside in insides if isinstance(inside, dict)]
        audit.counts[_RULE] += len(written)
        if len(set(written)) < 2 or len(written) < _FEW:
            continue
        held = [
            (number, frozenset(inside) - {SAID})
            for number, inside in enumerate(insides, 1)
            if isinstance(inside, dict)
        ]
        fields = Counter(keys for _, keys in held)
        usual = fields.most_common(1)[0][0]
        for number, keys in held:
            if keys != usual:
                where = f"{place}:{number} {name}".strip()
                audit.counts[_RULE] -= 1  # counted above
                audit.fail(_RULE, where, _listed(keys - usual), _listed(usual - keys))


def _whole(row: Row) -> object:
    return row


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(map(str, names))) or words.NOTHING()


def check_replies(audit: Audit, place: str, predictions: Sequence[Row], reviews: Sequence[Row]) -> None:
    """See that the rows that EvalScope kept of one suite have the same fields."""
    check_fields(audit, f"{place} predictions", predictions, _OF_A_REPLY)
    check_fields(audit, f"{place} reviews", reviews, _OF_A_REVIEW)
    readings = [reading for row in predictions for reading in row.get("letters") or ()]
    check_fields(audit, f"{place} letters", readings)
    for name in _OF_A_JUDGE:
        filled = [row for row in reviews if row["sample_score"]["score"].get(name) is not None]
        is_odd = 0 < len(filled) < len(reviews) / 2
        where = f"{place} reviews {filled[0]['index']} {name}" if is_odd else f"{place} reviews {name}"
        audit.compare(_RULE, where, is_odd, False)


def check_summaries(audit: Audit, place: str, paths: Sequence[Path]) -> None:
    """See that summaries of speed have the same fields, which fit each other.

    A field that this program does not know may be of a later version, and stands in all of them then.
    """
    rows = [read_object(path) for path in paths]
    common = frozenset.intersection(*(frozenset(row) for row in rows)) if len(rows) > 1 else frozenset()
    usual = common - set(_MEASURED_AT_TIMES)
    for path, row in zip(paths, rows, strict=True):
        where = f"{place} {path.parent.name}/{path.name}"
        unknown = row.keys() - {*_MEASURED, *_MEASURED_AT_TIMES} - common
        if unknown:
            audit.fail(_RULE, where, _listed(unknown), words.NOTHING())
        if len(rows) > 1:
            own = row.keys() - set(_MEASURED_AT_TIMES) - unknown
            audit.compare(_RULE, where, sorted(own), sorted(usual))
        _check_measured(audit, where, row)


def _check_measured(audit: Audit, where: str, row: Row) -> None:
    """Hold the figures of a summary against each other."""
    for name, value in row.items():
        if name != "Not Applicable Metrics":
            is_figure = isinstance(value, int | float) and not isinstance(value, bool) and value >= -1
            audit.compare("speed", f"{where} {name} is a figure", is_figure, True)
    total, done = row["Total Requests"], row["Success Requests"]
    if "Failed Requests" in row:
        audit.compare("speed", f"{where} Failed Requests", row["Failed Requests"], total - done)
    if {"Stream Requests", "Non-Stream Requests"} <= row.keys():
        parts = row["Stream Requests"] + row["Non-Stream Requests"]
        audit.compare("speed", f"{where} Stream Requests", parts, done)
    seconds = row.get("Test Duration (s)", 0)
    if not done or seconds <= 0:
        return
    sent, written = row.get("Avg Input Tokens"), row.get("Avg Output Tokens")
    figures = {
        "Req Throughput (req/s)": 1.0,
        "Output Throughput (tok/s)": written,
        "Total Throughput (tok/s)": None if sent is None or written is None else sent + written,
    }
    for name, each in figures.items():
        if name in row and each is not None and each >= 0:
            expected = each * done / seconds
            # duration, tokens and rate are each rounded to four places
            slack = _TO_FOUR_PLACES * (1 + 2 * done / seconds + expected / seconds)
            audit.compare("speed", f"{where} {name}", abs(row[name] - expected) <= slack, True)
