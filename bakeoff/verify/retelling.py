"""What run.json tells beside its stages, recomputed from the records."""

from __future__ import annotations

import json

from bakeoff.foundation.sentences import Statement
from bakeoff.matrix.loading import read_matrix
from bakeoff.report.cautions import NOTED
from bakeoff.scoring.anchors import beside_published
from bakeoff.store.placements import placements
from bakeoff.verify import words
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, Row
from bakeoff.verify.manifest import MATRIX

_RULE = "told by the run"
_OF_A_FINDING = ("level", "place", "what", "remedy", "rows")


def check_retelling(audit: Audit, evidence: Evidence) -> None:
    """Hold what a page shows beside scores and stages against its sources."""
    if events := evidence.events:
        expected = {
            "events": [event for event in events if event.get("event") in NOTED],
            "legs": placements(events),
        }
        for name, rows in expected.items():
            if name in evidence.run:
                audit.compare(_RULE, f"run.json {name}", evidence.told(name), rows)
    _check_findings(audit, evidence)
    _check_anchors(audit, evidence)
    _check_agreement(audit, evidence)


def _check_findings(audit: Audit, evidence: Evidence) -> None:
    """Hold the doctor's findings in the timeline against its errors, and see what they name."""
    if evidence.run_folder is None:
        return
    told = [event for event in evidence.events if event.get("event") == "finding"]
    path, matrix = evidence.run_folder / "doctor.json", evidence.run_folder / MATRIX
    if told or path.is_file():
        with audit.reading(evidence.shown(path)):
            errors = [_finding(event) for event in told if event.get("level") == "error"]
            stored = [_finding(row) for row in json.loads(path.read_text(encoding="utf-8"))]
            audit.compare(_RULE, evidence.shown(path), stored, errors)
    if not told or not matrix.is_file():
        return
    rows, suites = (set(part) for part in (read_matrix(matrix)[0].models, read_matrix(matrix)[0].suites))
    for event in told:
        where = f"events.jsonl finding {event['time']}"
        audit.compare(_RULE, f"{where} level", event["level"] in ("error", "warning"), True)
        audit.compare(_RULE, f"{where} rows", set(map(str, event["rows"])) <= rows, True)
        place = event["place"]
        if not isinstance(place, Statement) and not set("/\\: ") & set(place):  # no file, and no line in one
            head, _, name = place.partition(".")
            is_named = place in rows or (head == "suites" and any(name in (s, f"{s}.data") for s in suites))
            audit.compare(_RULE, f"{where} place", place if is_named else "", place)


def _finding(row: Row) -> list[object]:
    return [row.get(name) if name == "rows" else str(row.get(name)) for name in _OF_A_FINDING]


def _check_anchors(audit: Audit, evidence: Evidence) -> None:
    """Recompute what stands beside published scores, from the results."""
    if evidence.root is None or "anchors" not in evidence.run or evidence.superseded:
        return
    if evidence.read_otherwise:
        audit.note(words.OTHER_ANCHORS())
        return
    path = evidence.tables / MATRIX
    models = read_matrix(path)[0].models if path.is_file() else {}
    origins = {str(row["model"]): str(row["base_model"]) for row in evidence.run.get("rows", [])}
    origins |= {name: spec.model or "" for name, spec in models.items()}
    expected: list[Row] = []
    for stage in evidence.stages:
        output = evidence.place(stage)
        if stage["stage"] == "evaluate" and output and output.is_file():
            model, variant = str(stage["model"]), str(stage["variant"])
            result = evidence.summary(output)
            expected += map(
                dict, beside_published(origins.get(model, ""), [result], model=model, variant=variant)
            )
    audit.compare(_RULE, "run.json anchors", evidence.told("anchors"), expected)


def _check_agreement(audit: Audit, evidence: Evidence) -> None:
    """Recount how often the likeliest letter is the answer that was generated."""
    answers: dict[tuple[str, str, str], dict[str, str]] = {}
    for sample in evidence.samples:
        if sample["status"] == "answered":
            key = (str(sample["model"]), str(sample["variant"]), str(sample["suite"]))
            answers.setdefault(key, {})[str(sample["sample_id"])] = str(sample["extracted"])
    for row in evidence.run.get("scoring_agreement") or ():
        who = (str(row["model"]), str(row["variant"]))
        first, second = (answers.get((*who, str(row[name])), {}) for name in ("suite", "generated"))
        both = first.keys() & second.keys()
        counted = [len(both), sum(first[name] == second[name] for name in both)]
        place = f"run.json scoring_agreement {' '.join(who)} {row['suite']}"
        audit.compare(_RULE, place, [row["questions"], row["same"]], counted)
