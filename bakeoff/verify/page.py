"""The page read back: its board recounted, its words made anew."""

from __future__ import annotations

import csv
import difflib
import html
import io
import json
import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bakeoff.foundation.sentences import with_statements
from bakeoff.report import Findings, page, write_tables
from bakeoff.report.findings import SAMPLE_COLUMNS, SCORE_COLUMNS, with_columns
from bakeoff.report.history import Since
from bakeoff.report.side_files import SIDE_FOLDER
from bakeoff.verify import manifest, words
from bakeoff.verify.arithmetic import groups_of, mean, wilson
from bakeoff.verify.around import check_around
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, read_object
from bakeoff.verify.opinions import check_ratings
from bakeoff.verify.pairs import Grades, grades_of, pairs_in, report_tables
from bakeoff.verify.side_files import check_side_files, side_files

_LOG = re.compile(
    r'( · )?<a href="(?!#)[^"]*"><span lang="zh">日志</span><span lang="en">log</span></a>'
    r'|<span class="kind mono">[^<]*</span>'
)
_LINK = re.compile(r"</?a\b[^>]*>")
_CELL = re.compile(
    r'<span class="value">(?P<value>[^<]*)</span>.*?<small class="detail">'
    r"(?:\[(?P<low>[^,\]]*), (?P<high>[^\]]*)\] · )?"
    r"<span[^>]*>(?P<answered>\d+)/(?P<asked>\d+)</span>",
    re.DOTALL,
)
_PROGRAM = re.compile(r"<(?:style|script)>.*?</(?:style|script)>", re.DOTALL)
_HISTORY = re.compile(r'<section id="bk-history">\s*<h2>.*?Since run ([^<\s]+)', re.DOTALL)
_AROUND = "around"
_RECOUNTED = ("family", "suite", "a", "b", "n", "difference", "only_a", "only_b", "p_adjusted", "verdict")
"""Columns of pairs that the verifier has code of its own for."""
_MOST = 20
"""Differing lines of a page that are told one by one."""


def check_page(audit: Audit, evidence: Evidence, fresh: Mapping[str, str] | None = None) -> None:
    """Read the page and the tables beside it back.

    *fresh*: what :func:`make_anew` made of the same rows.
    """
    if evidence.page is None:
        return
    with audit.reading(evidence.page.name):
        text = evidence.page.read_text(encoding="utf-8")
        fragment = _fragment(text, evidence.run_id)
        if fragment is None:
            audit.fail("page", evidence.page.name, words.OTHER_RUN(), words.PAGE_OF_RUN(run=evidence.run_id))
            return
        if not evidence.run:
            audit.note(words.NO_RUN_JSON())
            return
        check_board(audit, evidence, fragment)
        _check_anew(audit, evidence, fragment, fresh)


def _fragment(page: str, run_id: str) -> str | None:
    """Return the comparison in *page*; None where it is not of that run."""
    _, begin, rest = page.partition(f"<!-- bakeoff {html.escape(run_id)} -->")
    comparison, end, _ = rest.partition("<!-- /bakeoff -->")
    return comparison if begin and end else None


def check_board(audit: Audit, evidence: Evidence, fragment: str) -> None:
    """Recompute every cell of the table of scores from the samples."""
    board = fragment.partition('<table class="board">')[2].partition("</table>")[0]
    if not board:
        return
    suites = [
        html.unescape(name) for name in re.findall(r"<th>([^<]+)<small>", board.partition("</thead>")[0])
    ]
    grades, model = grades_of(evidence), ""
    letters: dict[tuple[str, str], str] = {}
    for line in re.findall(r'<tr class="(\w*)">(.*?)</tr>', board, re.DOTALL):
        variant, cells = line
        if name := re.search(r'class="model">([^<]*)', cells):
            model = html.unescape(name[1])
        columns = re.findall(r"<td[^>]*>.*?</td>", _LINK.sub("", cells), re.DOTALL)[1:]
        for suite, cell in zip(suites, columns, strict=True):
            subject = f"{model} ({variant})"
            _check_cell(
                audit, f"{_name(evidence)} board {subject} {suite}", cell, evidence, (model, variant, suite)
            )
            _check_interval(
                audit, f"{_name(evidence)} board {subject} {suite}", cell, grades.get(suite), subject
            )
            if shown := re.search(r'class="letters">([^<]*)<', cell):
                letters[suite, subject] = html.unescape(shown[1])
    _check_letters(audit, evidence, letters)


def _check_letters(audit: Audit, evidence: Evidence, letters: Mapping[tuple[str, str], str]) -> None:
    """Hold the letters of the board against the verdicts beside it.

    Capitals compare the models as delivered, small letters their bases.
    """
    assert evidence.page is not None
    rows = pairs_in(evidence.page.parent)
    for family, suite in sorted({(row["family"], row["suite"]) for row in rows if row["family"] != "tuning"}):
        pairs = [row for row in rows if (row["family"], row["suite"]) == (family, suite)]
        names = sorted({row[end] for row in pairs for end in ("a", "b")})
        different = [(row["a"], row["b"]) for row in pairs if row["verdict"] in ("ahead", "behind")]
        shown: dict[str, set[str]] = {}
        for name in names:
            for letter in re.findall(r"[A-Za-z]'*", letters.get((suite, name), "")):
                if letter[0].isupper() == (family == "models"):
                    shown.setdefault(letter, set()).add(name)
        expected = sorted(sorted(group) for group in groups_of(names, different))
        audit.compare(
            "letters",
            f"{_name(evidence)} board {family} {suite}",
            sorted(sorted(group) for group in shown.values()),
            expected,
        )


def _check_cell(audit: Audit, where: str, cell: str, evidence: Evidence, key: tuple[str, str, str]) -> None:
    part = evidence.samples_of.get(key, [])
    shown = _CELL.search(cell)
    if shown is None or not part:
        return  # an invalid score, or none: its words are compared with the page made anew
    graded = [
        float(s["correct"]) for s in part if s["status"] != "errored" and not math.isnan(float(s["correct"]))
    ]
    audit.compare("page", f"{where} value", shown["value"], f"{100 * mean(graded):.1f}")
    answered = sum(s["status"] == "answered" for s in part)
    audit.compare(
        "page", f"{where} answered/asked", f"{shown['answered']}/{shown['asked']}", f"{answered}/{len(part)}"
    )


def _check_interval(audit: Audit, where: str, cell: str, grades: Grades | None, subject: str) -> None:
    """Hold an interval against Wilson's.

    Right or wrong answers of one subset have that.
    """
    shown = _CELL.search(cell)
    answers = grades.by_subject.get(subject) if grades else None
    if shown is None or shown["low"] is None or answers is None or grades is None:
        return
    if grades.is_plain and len({subset for subset, _, _ in answers}) == 1:
        low, high = wilson(sum(answers.values()), len(answers))
        audit.compare(
            "intervals", where, f"[{shown['low']}, {shown['high']}]", f"[{100 * low:.1f}, {100 * high:.1f}]"
        )


def make_anew(evidence: Evidence, before: str = "") -> dict[str, str]:
    """Return the tables of a report by name, made anew; "": its page.

    From the rows of *evidence*.

    Args:
        before: the run that the page compares with; empty for none.
    """
    assert evidence.page is not None
    findings, since = _findings(evidence), None
    if before and evidence.root:
        since = Since.of(Findings.from_store(evidence.root, before), findings)
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        write_tables(findings, Path(scratch))
        texts = {path.name: path.read_text(encoding="utf-8") for path in report_tables(Path(scratch))}
        texts |= {
            f"{SIDE_FOLDER}/{path.name}": path.read_text(encoding="utf-8")
            for path in side_files(Path(scratch))
        }
    whole = page(findings, evidence.page.parent, since)
    return {**texts, "": _fragment(whole, evidence.run_id) or "", _AROUND: _around(whole)}


def _around(page: str) -> str:
    """Return a page without its comparison."""
    before, _, rest = page.partition("<!-- bakeoff ")
    return before + rest.partition("<!-- /bakeoff -->")[2]


def _check_anew(audit: Audit, evidence: Evidence, fragment: str, fresh: Mapping[str, str] | None) -> None:
    """Compare tables and page with those made anew from verified rows."""
    assert evidence.page is not None
    folder, before = evidence.page.parent, ""
    if history := _HISTORY.search(fragment):
        before = history[1]
        if not evidence.root or not (evidence.root / "runs" / before / "run.json").is_file():
            audit.note(words.NO_EARLIER(run=before))
            fragment, before = _without_history(fragment), ""
    texts = dict(make_anew(evidence, before) if fresh is None else fresh)
    shown, around = texts.pop(""), texts.pop(_AROUND)
    same_code = is_of_this_version(evidence, shown)
    check_ratings(audit, evidence, same_code)
    fresh_files = {name: texts.pop(name) for name in list(texts) if name.startswith(f"{SIDE_FOLDER}/")}
    if same_code:
        check_side_files(audit, evidence, folder, fresh_files)
    for name in {path.name for path in report_tables(folder)} - texts.keys():
        audit.fail("tables of the report", name, words.A_TABLE(), words.NO_TABLE())
    for name, expected in texts.items():
        with audit.reading(name):
            text = (folder / name).read_text(encoding="utf-8")
            if name.endswith(".csv"):
                _compare_csv(audit, name, text, expected, same_code)
            elif same_code:
                _compare_lines(audit, name, text, expected)
    if same_code:
        _compare_lines(audit, _name(evidence), _normal(fragment), _normal(shown))
        _check_around(audit, evidence, around)
    else:
        audit.note(words.OTHER_PAGE_CODE())


def _check_around(audit: Audit, evidence: Evidence, fresh: str) -> None:
    """Compare what stands around the comparison with what should."""
    assert evidence.page is not None
    text = evidence.page.read_text(encoding="utf-8")
    if "pytest-html" not in _around(text) and "data-container" not in _around(text):
        _compare_lines(audit, f"{_name(evidence)} around the comparison", _around(text), fresh)
        return
    before, _, rest = text.partition("<!-- bakeoff ")
    _, _, after = rest.partition("<!-- /bakeoff -->")
    if not check_around(audit, evidence, before, after):
        audit.note(words.TESTS_OF_PYTEST())


def _findings(evidence: Evidence) -> Findings:
    """Return the findings that the page should show.

    The verified tables, and what the run tells beside them.
    """
    import pandas as pd

    beside = evidence.page.parent / "run.json" if evidence.page else None
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        folder = Path(scratch) / "runs" / evidence.run_id
        folder.mkdir(parents=True)
        content = dict(evidence.run)
        if beside and beside.is_file():
            content["ratings"] = read_object(beside).get("ratings")
        (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")
        findings = Findings.from_store(Path(scratch), evidence.run_id)
    return replace(
        findings,
        scores=with_columns(pd.DataFrame(with_statements(evidence.scores)), SCORE_COLUMNS),
        samples=with_columns(pd.DataFrame(evidence.samples), SAMPLE_COLUMNS),
    )


def is_of_this_version(evidence: Evidence, fresh: str) -> bool:
    """Return whether this version of the program made the page.

    The manifest says so. Where there is none, whoever removed it may have edited the page: the same style or script
    as that of *fresh*, made anew, tells the version.
    """
    assert evidence.page is not None
    path = evidence.page.parent / manifest.NAME
    if path.is_file():
        return bool(read_object(path).get("page_code") == manifest.page_code())
    text = evidence.page.read_text(encoding="utf-8")
    return any(part in text for part in _PROGRAM.findall(fresh))  # either may be what was edited


def _normal(fragment: str) -> str:
    """Return a page without what depends on where it lies: links to logs."""
    return _LOG.sub("", fragment)


def _without_history(fragment: str) -> str:
    text = re.sub(r'<section id="bk-history">.*?</section>\n*', "", fragment, flags=re.DOTALL)
    return re.sub(r'<a href="#bk-history">.*?</a>\n', "", text)


def _compare_csv(audit: Audit, name: str, text: str, expected: str, same_code: bool) -> None:
    """Compare two tables cell by cell; numbers as numbers.

    *same_code*: whether this version wrote them; another one may have computed otherwise what the verifier does not
    recount by code of its own.
    """
    rows, fresh = (list(csv.DictReader(io.StringIO(content))) for content in (text, expected))
    audit.compare("tables of the report", f"{name} rows", len(rows), len(fresh))
    columns: dict[str, Audit] = {}
    for number, (row, source) in enumerate(zip(rows, fresh, strict=False), 2):
        for column, value in source.items():
            if column in row:
                columns.setdefault(column, Audit()).compare(
                    "tables of the report", f"{name}:{number} {column}", _number(row[column]), _number(value)
                )
    for column, part in columns.items():
        if not same_code and column not in _RECOUNTED:
            audit.merge_if_sound(part, words.OTHER_COLUMN(place=f"{name} {column}"))
        else:
            audit.add(part)


def _number(text: str | None) -> object:
    try:
        return float(text or "")
    except ValueError:
        return text


def _compare_lines(audit: Audit, name: str, text: str, expected: str) -> None:
    """Compare two texts line by line; each line counts as a check."""
    lines, fresh = text.splitlines(), expected.splitlines()
    audit.counts["page made anew"] += len(fresh)
    if lines == fresh:
        return
    matcher = difflib.SequenceMatcher(None, lines, fresh, autojunk=False)
    changes = [change for change in matcher.get_opcodes() if change[0] != "equal"]
    for _, first, last, start, end in changes[:_MOST]:
        shown, expected_text = _apart("\n".join(lines[first:last]), "\n".join(fresh[start:end]))
        audit.fail(
            "page made anew",
            f"{name}:{first + 1}",
            shown or words.NOTHING(),
            expected_text or words.NOTHING(),
        )
    if len(changes) > _MOST:
        audit.fail("page made anew", name, words.PLACES_DIFFER(count=len(changes)), words.NONE())


def _apart(text: str, expected: str) -> tuple[str, str]:
    """Return two texts from shortly before they begin to differ."""
    pairs = zip(text, expected, strict=False)
    first = next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(text), len(expected)))
    return text[max(0, first - 30) : first + 90], expected[max(0, first - 30) : first + 90]


def _name(evidence: Evidence) -> str:
    return evidence.page.name if evidence.page else ""
