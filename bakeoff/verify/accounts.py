"""Every score, stage and setting of a run accounted for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bakeoff.foundation.files import readable_rows
from bakeoff.matrix.loading import read_matrix
from bakeoff.matrix.schema import ModelSpec
from bakeoff.scoring.scores import SPEED
from bakeoff.verify import shapes, words
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, Row, read_object
from bakeoff.verify.ledgers import is_by_judge, key_of
from bakeoff.verify.manifest import MATRIX

_STATES = {"answered", "truncated", "empty", "errored"}
_NOT_IN_MATRIX = ("expect", "data", "hub", "may_be_untrusted", "interest", "margin")


def check_outputs(audit: Audit, evidence: Evidence) -> None:
    """Hold what services and compared prompts left against their records."""
    for stage in evidence.stages:
        output = evidence.place(stage)
        if output is None or not output.is_file() or str(stage["output"]) in evidence.superseded:
            continue
        if stage["stage"] == "replies":
            with audit.reading(evidence.shown(output)):
                rows = list(readable_rows(output))
            _check_replies(audit, evidence.shown(output), stage, rows)
            _check_kept(audit, evidence, output, stage, rows)
        if stage["stage"] not in ("deploy", "parity"):
            continue
        with audit.reading(evidence.shown(output)):
            facts = {name: value for name, value in stage["facts"].items() if name != "statements"}
            content = {name: value for name, value in read_object(output).items() if name != "statements"}
            audit.compare("record", f"{evidence.shown(output)} fields", sorted(content), sorted(facts))
            audit.compare_keys("record", evidence.shown(output), content, facts)


def check_accounts(audit: Audit, evidence: Evidence) -> None:
    """See that every score is there, failed, or was skipped for a reason."""
    run = evidence.run
    scored = {key_of(row) for row in evidence.scores if row["subset"] == "ALL"}
    suites = {str(suite) for _, _, suite in run.get("asked", ())}
    skipped: set[str] = set()
    left_out: set[tuple[str, str]] = set()
    for what, why in run.get("skipped", []):
        audit.compare("a skip has a reason", f"run.json skipped {what}", bool(str(why).strip()), True)
        name, (suite, *_) = str(what).split(" · ")[0], str(why).split(": ")
        if suite in suites:  # a suite of the row alone
            left_out.add((name, suite))
        else:
            skipped.add(name)
    failed: set[tuple[str, str]] = set()
    for stage in run.get("stages", []):
        if stage.get("outcome") == "failed":
            place = f"run.json stages {stage['stage']} {stage['model']} {stage['variant']}"
            audit.compare("a failure has a reason", place, bool(str(stage.get("why", "")).strip()), True)
            failed.add((str(stage["model"]), str(stage["variant"])))
    if "asked" not in run:
        audit.note(words.NO_ASKED())
        return
    expected = {(str(model), str(variant), str(suite)) for model, variant, suite in run["asked"]}
    for model, variant, suite in sorted(expected):
        place = f"{model} {variant} {suite}"
        accounted = (model, variant, suite) in scored or model in skipped or suite in skipped
        accounted = accounted or (model, suite) in left_out
        accounted = accounted or bool({(model, variant), (model, "")} & failed)
        audit.compare("every score asked for is accounted for", place, accounted, True)
    if expected:
        extra = {
            key_of(row) for row in evidence.scores if row["benchmark"] != SPEED and not is_by_judge(row)
        } - expected
        for key in sorted(extra):
            audit.fail(
                "every score was asked for",
                f"scores.json {' '.join(key)}",
                words.A_SCORE(),
                words.ASKED_NAMES_IT(),
            )


def _check_replies(audit: Audit, place: str, stage: Row, rows: Sequence[Row]) -> None:
    """Hold the replies that people will judge against their record."""
    facts, identity = stage["facts"], stage["identity"]
    counts = Counter(str(row["status"]) for row in rows)
    for name in counts.keys() | (facts.keys() & _STATES):
        audit.compare("record", f"{place} {name}", counts[name], facts.get(name, 0))
    if "cases" in identity:
        audit.compare("record", f"{place} cases", [row["case_sha"] for row in rows], identity["cases"])
    for number, row in enumerate(rows, 1):
        who = [row["model"], row["variant"], row.get("fingerprint")]
        expected = [stage["model"], stage["variant"], identity.get("fingerprint", row.get("fingerprint"))]
        audit.compare("record", f"{place}:{number} who answered", who, expected)
        for name in ("settings", "served_name"):
            audit.compare("record", f"{place}:{number} {name}", row.get(name), rows[0].get(name))
        if row["status"] == "answered":
            audit.compare("record", f"{place}:{number} text", bool(str(row["text"]).strip()), True)


def _check_kept(audit: Audit, evidence: Evidence, output: Path, stage: Row, rows: Sequence[Row]) -> None:
    """Hold the replies of a stage against the copy that raters are shown."""
    shapes.check_fields(audit, evidence.shown(output), rows)
    path = output.parent.parent / "replies" / f"{stage['variant']}.jsonl"
    if not path.is_file():
        return
    kept = {str(row.get("case_id")): row for row in readable_rows(path)}
    if any(str(row.get("finished_at", "")) > evidence.ended for row in kept.values()):
        return  # a later run asked anew
    for number, row in enumerate(rows, 1):
        where = f"{evidence.shown(output)}:{number}"
        audit.compare_raw("both copies agree", where, path.name, row, kept.get(str(row["case_id"])))


def _check_training(audit: Audit, place: str, stage: Row, spec: ModelSpec) -> None:
    """Hold a row of the matrix against the settings that it was trained with."""
    flags, t = stage["identity"].get("train"), spec.training
    if not isinstance(flags, dict):
        return
    stated: dict[str, object] = {
        "model_type": spec.model_type,
        "template": spec.template,
        "tuner_type": t.tuner,
        "torch_dtype": t.dtype,
        "learning_rate": t.learning_rate,
        "num_train_epochs": t.epochs,
        "lora_rank": t.lora_rank,
        "lora_alpha": t.lora_alpha,
        "max_length": t.max_length,
        "warmup_ratio": t.warmup_ratio,
        "seed": t.seed,
    }
    for name, value in stated.items():
        if name in flags and value is not None and name not in t.extra:
            audit.compare("matrix", f"{place} {name}", _number(value), _number(flags[name]))
    shipped, stated_data = (
        sorted({str(name) for name in names if str(name).startswith("shipped:")})
        for names in (spec.dataset, str(flags.get("dataset", "")).split())
    )
    audit.compare("matrix", f"{place} dataset", shipped, stated_data)


def _number(value: object) -> object:
    try:
        return float(str(value))
    except ValueError:
        return str(value)


def check_matrix(audit: Audit, evidence: Evidence, path: Path | None) -> None:
    """Hold the suites and rows of the run against its matrix.

    Against the copy that it kept, and *path* where it is given.
    """
    copy = evidence.tables / MATRIX
    of_report = evidence.page.parent / MATRIX if evidence.page else copy
    if (
        copy.is_file()
        and of_report != copy
        and (of_report.with_name("run.json").is_file() or of_report.is_file())
    ):
        with audit.reading(f"{of_report.parent.name}/{MATRIX}"):
            is_same = of_report.read_bytes() == copy.read_bytes()
            audit.compare("both copies agree", f"{of_report.parent.name}/{MATRIX}", is_same, True)
    for source in [source for source in (copy, path) if source and source.is_file()]:
        with audit.reading(str(source)):
            matrix, _ = read_matrix(source)
            for stage in evidence.stages:
                if stage["stage"] != "evaluate" or not isinstance(
                    suite := stage["identity"].get("suite"), dict
                ):
                    continue
                spec = matrix.suites.get(str(suite["name"]))
                where = f"{source.name} suites.{suite['name']} ({stage['model']} {stage['variant']})"
                content = json.loads(json.dumps(spec.model_dump(exclude=set(_NOT_IN_MATRIX)))) if spec else {}
                audit.compare_keys("matrix", where, content, suite)
            for row in evidence.run.get("rows", []):
                spec_row = matrix.models.get(str(row["model"]))
                origin = (spec_row.model or spec_row.weights or spec_row.url or "") if spec_row else None
                audit.compare("matrix", f"{source.name} models.{row['model']}", row["base_model"], origin)
                if spec_row and "recipe" in row:
                    recipe = next(
                        (name for name, models in matrix.recipes.items() if row["model"] in models),
                        row["model"],
                    )
                    seed = spec_row.training.seed if spec_row.trains else None
                    stated = [row["group"], row["recipe"], row["seed"]]
                    expected = [spec_row.group, recipe, seed]
                    audit.compare(
                        "matrix", f"{source.name} models.{row['model']} group, recipe, seed", stated, expected
                    )
            for stage in evidence.stages:
                if stage["stage"] == "train" and (trained := matrix.models.get(str(stage["model"]))):
                    _check_training(audit, f"{source.name} models.{stage['model']}", stage, trained)
            for model, _, suite_name in evidence.run.get("asked", []):
                names = matrix.models[model].suites if model in matrix.models else []
                audit.compare(
                    "matrix", f"{source.name} models.{model}.suites {suite_name}", suite_name in names, True
                )
            for name in ("interest", "margin"):
                stated_by_suite = {key: getattr(spec, name) for key, spec in matrix.suites.items()}
                audit.compare(
                    "matrix", f"{source.name} suites.*.{name}", evidence.run.get(name), stated_by_suite
                )
    if not copy.is_file():
        audit.note(words.NO_MATRIX())
