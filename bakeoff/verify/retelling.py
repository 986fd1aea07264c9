"""What run.json tells beside its stages, recomputed from the records."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from bakeoff.files import readable_rows
from bakeoff.matrix.loading import read_matrix
from bakeoff.report.cautions import NOTED
from bakeoff.scoring.anchors import beside_published
from bakeoff.sentences import SAID, with_statements
from bakeoff.store.placements import placements
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, Row, read_object
from bakeoff.verify.manifest import MATRIX

_RULE = "told by the run"


def check_retelling(audit: Audit, evidence: Evidence) -> None:
    """Hold what a page shows beside scores and stages against its sources."""
    if evidence.run_folder and (evidence.run_folder / "events.jsonl").is_file():
        events = list(readable_rows(evidence.run_folder / "events.jsonl"))
        expected = {
            "events": [event for event in events if event.get("event") in NOTED],
            "legs": placements(events),
        }
        for name, rows in expected.items():
            if name in evidence.run:
                audit.compare(_RULE, f"run.json {name}", _plain(evidence.run[name]), _plain(rows))
    _check_anchors(audit, evidence)
    _check_agreement(audit, evidence)


def _plain(value: object) -> object:
    """Return *value* as JSON without the statements that stand beside texts."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if key != SAID}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return str(value) if isinstance(value, str) else value


def _check_anchors(audit: Audit, evidence: Evidence) -> None:
    """Recompute what stands beside published scores, from the results."""
    if evidence.root is None or "anchors" not in evidence.run or evidence.superseded:
        return
    if evidence.read_otherwise:
        audit.note("published scores beside ours were chosen by another version, so they were not compared")
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
            result = read_object(output)
            expected += map(
                dict, beside_published(origins.get(model, ""), [result], model=model, variant=variant)
            )
    audit.compare(
        _RULE,
        "run.json anchors",
        _plain(evidence.run["anchors"]),
        _plain(json.loads(json.dumps(with_statements(expected)))),
    )


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
