"""What run.json tells beside its stages, recomputed from the records."""

from __future__ import annotations

from bakeoff.matrix.loading import read_matrix
from bakeoff.report.cautions import NOTED
from bakeoff.scoring.anchors import beside_published
from bakeoff.store.placements import placements
from bakeoff.verify import words
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, Row
from bakeoff.verify.manifest import MATRIX

_RULE = "told by the run"


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
    _check_anchors(audit, evidence)
    _check_agreement(audit, evidence)


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
