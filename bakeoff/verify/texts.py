"""Texts and their statements, from which a Chinese report is made.

A text is what the template and the values beside it make. Whoever edits one of them seldom thinks of the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from string import Formatter

from bakeoff.foundation.files import readable_rows
from bakeoff.foundation.sentences import SAID, Statement, Template, declared, restored
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, Row, read_object

_RULE = "text and its statement"
_NAME = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")
"""What the name of a template looks like."""


def check_texts(audit: Audit, evidence: Evidence) -> None:
    """See that texts of run, report and records match their statements."""
    for folder in evidence.folders:
        for path in [folder / name for name in ("run.json", "scores.json", "forecast.json")]:
            if path.is_file():
                with audit.reading(evidence.shown(path)):
                    check_statements(
                        audit, evidence.shown(path), json.loads(path.read_text(encoding="utf-8"))
                    )
    timeline = evidence.run_folder / "events.jsonl" if evidence.run_folder else None
    if timeline and timeline.is_file():
        check_statements(audit, evidence.shown(timeline), readable_rows(timeline))
    for stage in evidence.stages:
        output = evidence.place(stage)
        if output is None or str(stage["output"]) in evidence.superseded:
            continue
        record = output.with_name("record.json")
        if record.is_file():
            with audit.reading(evidence.shown(record)):
                check_statements(audit, evidence.shown(record), read_object(record))
        if output.is_file() and output.suffix == ".json":
            with audit.reading(evidence.shown(output)):
                check_statements(audit, evidence.shown(output), evidence.stored_summary(output))
    if len(evidence.folders) == 2:
        with audit.reading("scores.json"):
            _check_copies(audit, *(_rows(folder / "scores.json") for folder in evidence.folders))


def _rows(path: Path) -> list[Row]:
    return list(json.loads(path.read_text(encoding="utf-8")))


def _check_copies(audit: Audit, rows: Sequence[Row], copies: Sequence[Row]) -> None:
    """Hold the statements of a report's scores against those of its run.

    A report of a version that kept none has none at all.
    """
    if not any(SAID in row for row in copies):
        return
    for number, (row, copy) in enumerate(zip(rows, copies, strict=False)):
        ours, theirs = row.get(SAID) or {}, copy.get(SAID) or {}
        for name, beside in ours.items():
            if name in theirs or isinstance(
                restored({name: row.get(name), SAID: {name: beside}})[name], Statement
            ):
                audit.compare(_RULE, f"scores.json {number} {name}", theirs.get(name), beside)


def check_statements(audit: Audit, place: str, content: object) -> None:
    """See that each text is what the statement beside it makes.

    Of a template that this version does not have, or words otherwise, nothing can be said.
    """
    for where, text, beside in _statements(content, place):
        audit.compare(_RULE, where, _is_made(text, beside), True)


def _statements(value: object, place: str) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    """Yield the place of each text, the text, and what stands beside it."""
    if isinstance(value, list):
        for number, inside in enumerate(value):
            yield from _statements(inside, f"{place} {number}")
    if not isinstance(value, Mapping):
        return
    beside = value.get(SAID)
    for key, inside in value.items():
        if key == SAID:
            continue
        if isinstance(inside, Mapping | list):
            yield from _statements(inside, f"{place} {key}")
        if isinstance(beside, Mapping):
            yield from _pairs(inside, beside.get(key), f"{place} {key}")


def _pairs(value: object, beside: object, place: str) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    if isinstance(value, str) and isinstance(beside, Mapping):
        yield place, value, beside
        yield from _statements(beside.get("values"), f"{place} {SAID}")  # texts within the text
    elif isinstance(value, list) and isinstance(beside, list):
        for number, pair in enumerate(zip(value, beside, strict=False)):
            yield from _pairs(*pair, f"{place} {number}")


def _is_made(text: str, beside: Mapping[str, object]) -> bool:
    """Return whether a text may be what the statement beside it makes."""
    id, values = str(beside.get("id")), beside.get("values")
    if not isinstance(values, Mapping) or set(beside) != {"id", "values"}:
        return False
    if isinstance(restored({"text": text, SAID: {"text": beside}})["text"], Statement):
        return True
    template = declared().get(id)
    if template is not None:  # another version words it otherwise, or its values are not those of the text
        return not _form(template.text).fullmatch(text)
    module, spoken = id.rpartition(".")[0], restored(values)
    alike = [other for name, other in declared().items() if name.rpartition(".")[0] == module]
    return _NAME.fullmatch(id) is not None and not any(_makes(other, spoken, text) for other in alike)


@lru_cache(maxsize=1024)
def _form(text: str) -> re.Pattern[str]:
    """Return the pattern of all that a template makes."""
    parts = Formatter().parse(text)
    form = (re.escape(before) + (".*" if gap is not None else "") for before, gap, _, _ in parts)
    return re.compile("".join(form), re.DOTALL)


def _makes(template: Template, values: Mapping[str, object], text: str) -> bool:
    try:
        return str(Statement(template, values)) == text
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return False
