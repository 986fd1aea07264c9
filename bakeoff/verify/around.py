"""What pytest-html puts around the comparison, made anew.

Its page is a fixed form, filled with the outcome of every test: the installed version fills it in once more, the
outcomes are counted again, and the hour is held against the run's.
"""

from __future__ import annotations

import html
import importlib.util
import json
import re
from collections import Counter
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, Row

_RULE = "list of tests"
_PLACE = "\0comparison\0"
_MADE = re.compile(r"<p>Report generated on (\S+) at (\S+) by <a [^>]*>pytest-html</a>\s*v(\S+?)</p>")
_DATA = re.compile(r'<div id="data-container" data-jsonblob="([^"]*)"></div>')
_COUNT = re.compile(r'<p class="run-count">([^<]*)</p>')
_STYLE = re.compile(r'<style type="text/css">(.*?)\s*</style>', re.DOTALL)
_TOOK = re.compile(r"(\d+) tests? took (?:(\d+) ms|(\d+):(\d\d):(\d\d))\.")
_CELL = re.compile(r'<td class="col-(\w+)">(.*)</td>', re.DOTALL)
_ADDED = re.compile(r"\s*/\*{30}\n \* (?:CUSTOM CSS|ANSI2HTML STYLES)\n")
_HEAD = (
    '<th class="sortable" data-column-type="result">Result</th>',
    '<th class="sortable" data-column-type="testId">Test</th>',
    '<th class="sortable" data-column-type="duration">Duration</th>',
    "<th>Links</th>",
)
_OUTCOMES = {
    "failed": "Failed",
    "passed": "Passed",
    "skipped": "Skipped",
    "xfailed": "Expected failures",
    "xpassed": "Unexpected passes",
    "error": "Errors",
    "rerun": "Reruns",
    "retried": "Retried",
}
"""Outcomes in the order, and with the names, in which pytest-html counts them."""
_RUN = ("passed", "failed", "xpassed", "xfailed")
_ZONES = timedelta(hours=-12), timedelta(hours=14)
"""How far a clock on a wall may be from UTC."""
_SLACK = timedelta(hours=1)
"""Within which a page is written after its run ended."""
_TITLE = "模型对比 · Model comparison"


class _Page(NamedTuple):
    """What is filled into the form."""

    date: str
    time: str
    version: str
    counted: str
    data: Row
    style: str


def check_around(audit: Audit, evidence: Evidence, before: str, after: str) -> bool:
    """Make what stands *before* and *after* the comparison anew.

    Return whether the installed pytest-html could: False where another version wrote the page.
    """
    made = _MADE.search(before)
    if made is not None and made[3] != _installed():
        return False
    shown = _read(before, after)
    _check_tests(audit, shown.data)
    _check_hour(audit, evidence, shown)
    fresh = _filled(shown)
    for name, text, expected in zip(("before", "after"), (before, after), fresh, strict=True):
        lines, others = text.splitlines(), expected.splitlines()
        audit.compare(_RULE, f"lines {name} the comparison", len(lines), len(others))
        for number, (line, other) in enumerate(zip(lines, others, strict=False), 1):
            audit.compare(_RULE, f"{name} the comparison:{number}", line, other)
    return True


def _installed() -> str:
    try:
        return version("pytest-html")
    except PackageNotFoundError:
        return ""


def _read(before: str, after: str) -> _Page:
    """Return what is filled in.

    Raises:
        ValueError: one of its parts is not there.
    """
    found = [
        pattern.search(text)
        for pattern, text in ((_MADE, before), (_COUNT, after), (_DATA, after), (_STYLE, before))
    ]
    made, count, data, style = found
    if made is None or count is None or data is None or style is None:
        raise ValueError("not a page of pytest-html")
    return _Page(
        made[1],
        made[2],
        made[3],
        html.unescape(count[1]),
        json.loads(html.unescape(data[1])),
        style[1],
    )


def _filled(shown: _Page) -> tuple[str, str]:
    """Return the form, filled in anew: before and after the comparison."""
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    package = importlib.util.find_spec("pytest_html")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).with_name("resources")
    # as pytest-html itself sets it up
    forms = Environment(loader=FileSystemLoader(folder), autoescape=select_autoescape(("jinja2",)))
    style = (folder / "style.css").read_text(encoding="utf-8")
    if shown.style.startswith(style.rstrip()) and _ADDED.match(shown.style[len(style.rstrip()) :]):
        style = shown.style  # somebody's own style, or that of a terminal's colours, follows the fixed one
    counts = _counts(shown.data)
    text = forms.get_template("index.jinja2").render(
        title=_TITLE,
        date=shown.date,
        time=shown.time,
        version=shown.version,
        styles=style,
        run_count=shown.counted,
        running_state="finished",
        self_contained=True,
        outcomes={name: {"label": label, "value": counts[name]} for name, label in _OUTCOMES.items()},
        test_data=json.dumps(shown.data),
        table_head=_HEAD,
        additional_summary={"prefix": [_PLACE], "summary": [], "postfix": []},
    )
    before, _, after = text.partition(_PLACE)
    return before, after


def _tests(data: Row) -> list[tuple[str, Row]]:
    return [(name, test) for name, tests in data["tests"].items() for test in tests]


def _counts(data: Row) -> Counter[str]:
    return Counter(str(test["result"]).lower() for _, test in _tests(data))


def _check_tests(audit: Audit, data: Row) -> None:
    """Hold what is told of each test against the cells that show it."""
    fields = {"environment", "tests", "renderCollapsed", "initialSort", "title"}
    audit.compare(_RULE, "fields", sorted(data), sorted(fields))
    audit.compare(_RULE, "title", data.get("title"), _TITLE)
    of_a_test = sorted(("extras", "result", "testId", "duration", "resultsTableRow", "log"))
    for name, test in _tests(data):
        audit.compare(_RULE, f"{name} fields", sorted(test), of_a_test)
        audit.compare(_RULE, f"{name} name", str(test["testId"]).removesuffix("::setup"), name)
        cells = [_CELL.fullmatch(cell) for cell in test["resultsTableRow"]]
        shown = {cell[1]: cell[2] for cell in cells if cell}
        told = {key: test.get(key) for key in ("result", "testId", "duration")}
        audit.compare(_RULE, f"{name} cells", shown, told | {"links": ""})
        audit.compare(_RULE, f"{name} outcome", str(test["result"]).lower() in _OUTCOMES, True)
        if test["result"] == "Skipped":
            reason = html.unescape(str(test["log"]))
            audit.compare(_RULE, f"{name} says why it was skipped", "Skipped: " in reason, True)


def _check_hour(audit: Audit, evidence: Evidence, shown: _Page) -> None:
    """Hold the page's hour, and how long the tests took, against the run."""
    taken = _TOOK.fullmatch(shown.counted)
    if taken is None:
        raise ValueError(f"{shown.counted!r} is no count of tests")
    counts = _counts(shown.data)
    audit.compare(_RULE, "tests that ran", int(taken[1]), sum(counts[name] for name in _RUN))
    written = datetime.strptime(f"{shown.date} {shown.time}", "%d-%b-%Y %H:%M:%S")
    if not evidence.ended:
        return
    ended = datetime.fromisoformat(evidence.ended).replace(tzinfo=None)
    earliest, latest = ended + _ZONES[0], ended + _ZONES[1] + _SLACK
    audit.compare(
        _RULE, f"written at {written}, of a run that ended at {ended}", earliest <= written <= latest, True
    )
    milliseconds, hours, minutes, seconds = (int(part or 0) for part in taken.groups()[1:])
    took = timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    began = datetime.fromisoformat(str(evidence.run["started_at"])).replace(tzinfo=None)
    is_whole = took + timedelta(seconds=3) >= ended - began
    audit.compare(_RULE, f"the tests took {took}, the run {ended - began}", is_whole, True)
