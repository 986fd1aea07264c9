"""The records of a run: stages, outputs, timeline, matrix, speed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from bakeoff.evalscope.speed import METRICS, read_speed
from bakeoff.foundation.files import readable_rows
from bakeoff.foundation.provenance import MADE
from bakeoff.foundation.sentences import SAID
from bakeoff.scoring.leakage import leaked_as
from bakeoff.scoring.scores import SPEED
from bakeoff.store.places import place_of
from bakeoff.verify import shapes, words
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, Row, read_object, samples_in, scores_in, spoken
from bakeoff.verify.ledgers import is_by_judge, key_of
from bakeoff.verify.manifest import MATRIX, digest_of

_OF_A_RECORD = (
    "stage",
    "model",
    "variant",
    "started",
    "seconds",
    "identity",
    "facts",
    "command",
    "peak_memory_gib",
)
_PLACES = ("output", "log")
_WEIGHTS = ("build", "download", "convert", "train", "export")
_OF_AN_EVALUATION = ("suite", "agreement", "answers", "alarms", "leakage_not_checked", "noise", "letters")


def check_timeline(audit: Audit, evidence: Evidence) -> None:
    """Hold the stages of the run, failures among them, against its timeline."""
    if evidence.run_folder is None:
        return
    path = evidence.run_folder / "events.jsonl"
    of_report = evidence.page.parent / MATRIX if evidence.page else None
    if of_report and of_report.is_file():
        there = (evidence.run_folder / MATRIX).is_file()
        audit.compare("both copies agree", evidence.shown(evidence.run_folder / MATRIX), there, True)
    if not path.is_file():
        audit.fail("timeline", evidence.shown(path), words.GONE(), words.ITS_TIMELINE())
        return
    audit.compare("timeline", "run.json run_id", evidence.run.get("run_id"), evidence.run_id)
    began = datetime.strptime(evidence.run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).isoformat()
    audit.compare("timeline", "run.json started_at", evidence.run.get("started_at"), began)
    latest: dict[str, Row] = {}
    for event in readable_rows(path):
        is_stage = event.get("event") == "stage" and "output" in event
        if is_stage and (event["output"] not in latest or event.get("outcome") != "reused"):
            latest[event["output"]] = event
    stages = {str(stage["output"]): stage for stage in evidence.run.get("stages", [])}
    audit.compare("every stage of the timeline is told", "run.json stages", list(stages), list(latest))
    for output, event in latest.items():
        stage = stages.get(output, {})
        where = f"run.json stages {event.get('stage')} {event.get('model')} {event.get('variant')}"
        unread = stage.get("outcome") == "failed" and " cannot be read: " in str(stage.get("why"))
        beside = ("event", "time", "leg", "host", *(("outcome", "why") if unread else ()))
        names = [name for name in event if name not in beside]
        audit.compare_keys("timeline", where, stage, {name: event[name] for name in names})
        untold = stage.keys() - event.keys() - {"made", SAID}
        audit.compare("timeline", f"events.jsonl {where} fields", sorted(untold), [])


def check_records(audit: Audit, evidence: Evidence) -> None:
    """Hold each stage against its record, and its files against digests."""
    if evidence.root is None:
        audit.note(words.NO_STORE_DIGESTS())
        return
    digests: list[tuple[str, Path, str]] = []
    anew: list[str] = []
    for stage in evidence.stages:
        output = evidence.place(stage)
        where = f"{stage['stage']} {stage['model']} {stage['variant']}".strip()
        if output is not None and output.exists() and not output.with_name("record.json").is_file():
            audit.fail("raw records are there", where, words.RECORDLESS(), words.RECORD_BESIDE())
            continue
        if output is None or not output.with_name("record.json").is_file():
            _tell_gone(audit, where, stage, words.RECORD())
            continue
        place = evidence.shown(output.with_name("record.json"))
        with audit.reading(place):
            record = read_object(output.with_name("record.json"))
            if str(stage["output"]) in evidence.superseded:
                anew.append(where)
                continue
            audit.compare_keys("record", place, record, {name: stage.get(name) for name in _OF_A_RECORD})
            audit.compare("record", f"{place} outcome", record.get("outcome"), "ran")
            if stage["outcome"] == "ran":
                untold = record.keys() - stage.keys() - {"made", SAID}
                audit.compare("record", f"{place} fields", sorted(untold), [])
                why = spoken(record).get("why")
                audit.compare("record", f"run.json stages {where} why", spoken(stage)["why"], why)
            # where a service is shared, a row that reuses it names its own log
            for name in _PLACES if stage["outcome"] == "ran" else _PLACES[:1]:
                at, told_at = (place_of(evidence.root, str(content[name])) for content in (record, stage))
                audit.compare("record", f"{place} {name}", at, told_at)
                if stage["outcome"] == "ran":  # the store lay where it did, in both
                    audit.compare_raw("record", place, f"{name} as written", record[name], stage[name])
            digests += _made(audit, where, stage, record, output)
    if anew:
        audit.note(words.MADE_ANEW(places=list(dict.fromkeys(anew))))
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter's lock
        contents = pool.map(digest_of, [path for _, path, _ in digests])
        for (_, path, expected), content in zip(digests, contents, strict=True):
            audit.compare("digest of an output", evidence.shown(path), content, expected)


def _made(audit: Audit, where: str, stage: Row, record: Row, output: Path) -> list[tuple[str, Path, str]]:
    """Return (name, file, digest) of what the stage made.

    Tell what is gone, or new.
    """
    digests = record.get("made")
    if not isinstance(digests, Mapping):
        audit.note(words.NO_DIGESTS_THEN(place=where))
        return []
    if not output.exists():
        _tell_gone(audit, where, stage, words.OUTPUT())
        return []
    base = output if output.is_dir() else output.parent
    present = {name: base / name for name in digests}
    if output.is_dir():
        paths = {path for pattern in MADE for path in output.rglob(pattern) if path.is_file()}
        folders = {path.parent for path in present.values()}
        for path in sorted(paths - set(present.values())):
            # a copy of a store may hold the files of a checkpoint where there was a link to it
            if path.parent in folders or digest_of(path) not in digests.values():
                audit.fail(
                    "digest of an output", f"{where} {path.relative_to(output)}", words.NEW(), words.NO_FILE()
                )
    elif output.name not in digests:
        audit.fail("digest of an output", f"{where} {output.name}", words.NEW(), words.NO_FILE())
    for name, path in present.items():
        if not path.is_file():
            audit.fail("digest of an output", f"{where} {name}", words.GONE(), digests[name])
    return [(name, path, str(digests[name])) for name, path in present.items() if path.is_file()]


def _tell_gone(audit: Audit, where: str, stage: Row, what: str) -> None:
    if stage["stage"] in _WEIGHTS:
        audit.note(words.WEIGHTS_GONE(place=where, what=what))
    else:
        audit.fail("raw records are there", where, words.IS_GONE(what=what), words.RECORD_AND_OUTPUT())


def check_results(audit: Audit, evidence: Evidence) -> None:
    """Hold the tables of the run against the results of its stages."""
    if evidence.root is None:
        return
    results: list[tuple[Row, Row, str]] = []
    gone: set[tuple[str, str, str]] = set()
    for stage in evidence.stages:
        output = evidence.place(stage)
        if str(stage["output"]) in evidence.superseded:
            gone.add((str(stage["model"]), str(stage["variant"]), _suite_of(stage)))
        elif stage["stage"] in ("evaluate", "speed") and output and output.is_file():
            with audit.reading(evidence.shown(output)):
                results.append((stage, evidence.result(output), evidence.shown(output)))
    scores, samples, evaluations, leakage = _told(results, evidence)
    table = [row for row in evidence.scores if not is_by_judge(row) and key_of(row) not in gone]
    _compare_rows(audit, "scores.json", table, scores)
    _compare_rows(
        audit, "samples.parquet", [row for row in evidence.samples if key_of(row) not in gone], samples
    )
    if not gone:
        audit.compare(
            "told of an evaluation",
            "run.json evaluations",
            [_stated(row) for row in cast(Sequence[Row], evidence.told("evaluations") or ())],
            [_stated(row) for row in evaluations],
        )
        audit.compare("told of an evaluation", "run.json leakage", evidence.run.get("leakage"), leakage)
    for stage, result, place in results:
        with audit.reading(place):
            if stage["stage"] == "speed":
                shapes.check_fields(audit, f"{place} scores", result["scores"])
            _check_identity(audit, stage, result, place)
            _check_folder(audit, evidence, stage, result, place)
            if stage["stage"] == "speed":
                _check_speed(audit, evidence, stage, result, place)


def _suite_of(stage: Row) -> str:
    return "speed" if stage["stage"] == "speed" else str(stage["facts"].get("suite"))


def _stated(row: Row) -> Row:
    """Return what is said of an evaluation; earlier versions said less."""
    return {name: value for name, value in row.items() if value is not None}


def _told(results: Sequence[tuple[Row, Row, str]], evidence: Evidence) -> tuple[list[Row], ...]:
    """Return scores, samples, evaluations and leakage from *results*.

    As the run puts them together.
    """
    scores: list[Row] = []
    samples: list[Row] = []
    evaluations: list[Row] = []
    leakage: list[Row] = []
    for stage, content, _ in results:
        result = content
        who = {"model": stage["model"], "variant": stage["variant"]}
        if stage["stage"] == "evaluate":
            if result.get("leakage_not_checked") and (other := _searched(results, stage)):
                result = leaked_as(result, other)
            evaluations.append({**who, **{name: result.get(name) for name in _OF_AN_EVALUATION}})
            leakage += [{**who, **row} for row in result.get("leakage", [])]
        scores += [{**row, "run_id": evidence.run_id} for row in result["scores"]]
        samples += [
            {key: value for key, value in row.items() if key != "run_id"} for row in result["samples"]
        ]
    return scores, samples, evaluations, leakage


def _searched(results: Iterable[tuple[Row, Row, str]], stage: Row) -> Row | None:
    """Return the result in which leaked questions were looked for.

    That of the row's other variant in the suite of *stage*.
    """
    for other, result, _ in results:
        alike = other["stage"] == "evaluate" and other["model"] == stage["model"]
        alike = alike and other["variant"] != stage["variant"]
        alike = alike and other["facts"].get("suite") == stage["facts"].get("suite")
        if alike and result.get("leakage_not_checked") == "":
            return result
    return None


def _compare_rows(audit: Audit, place: str, rows: Sequence[Row], expected: Sequence[Row]) -> None:
    """Compare two tables row by row; name rows that only one of them has."""
    table, source = _by_name(rows), _by_name(expected)
    if place.endswith(".json"):  # the columns of the other are those of all its rows
        shapes.check_fields(audit, place, rows)
    audit.compare("rows of a table", f"{place} rows", len(rows), len(expected))
    for key in table.keys() - source.keys():
        audit.fail("rows of a table", f"{place} {' '.join(key)}", words.A_ROW(), words.NO_SUCH_ROW())
    for key, row in source.items():
        if key not in table:
            audit.fail("rows of a table", f"{place} {' '.join(key)}", words.NO_ROW(), words.ROW_OF_RESULT())
            continue
        audit.compare_keys("table against its results", f"{place} {' '.join(key)}", table[key], row)
    audit.compare("rows of a table", f"{place} order", list(table) == list(source), True)


def _by_name(rows: Iterable[Row]) -> dict[tuple[str, ...], Row]:
    table: dict[tuple[str, ...], Row] = {}
    for row in rows:
        rest = (row["subset"], row["metric"]) if "metric" in row else (row["subset"], row["sample_id"])
        key = (*key_of(row), *map(str, rest))
        while key in table:
            key = (*key, "again")
        table[key] = row
    return table


def _check_identity(audit: Audit, stage: Row, result: Row, place: str) -> None:
    """Hold what a result says of itself against the stage.

    Who answered which suite, under which weights.
    """
    fingerprint, suite = stage["identity"].get("fingerprint"), stage["identity"].get("suite")
    for row in [*result["scores"], *result["samples"]]:
        for name in ("model", "variant"):
            audit.compare("who answered", f"{place} {name}", row[name], stage[name])
        audit.compare("who answered", f"{place} run_id", row.get("run_id") or "", "")  # any run may reuse it
        if "fingerprint" in row and fingerprint:
            audit.compare("who answered", f"{place} fingerprint", row["fingerprint"], fingerprint)
        if isinstance(suite, Mapping):
            audit.compare("who answered", f"{place} suite", row["suite"], suite["name"])
    if stage["stage"] == "evaluate" and "weights" in result and fingerprint:
        audit.compare("who answered", f"{place} weights", result["weights"], fingerprint)
    if isinstance(suite, Mapping) and stage["stage"] == "evaluate":
        for name in ("benchmark", "limit", "limit_per"):
            if name in result:
                audit.compare("suite", f"{place} {name}", result[name], suite.get(name))
        for name, value in (suite.get("generation") or {}).items():
            audit.compare(
                "suite", f"{place} generation {name}", result.get("generation", {}).get(name), value
            )
        for row in result["scores"]:
            audit.compare("suite", f"{place} benchmark", row["benchmark"], suite.get("benchmark"))
            audit.compare("suite", f"{place} few_shot", row["few_shot"], result.get("few_shot"))


def _check_folder(audit: Audit, evidence: Evidence, stage: Row, result: Row, place: str) -> None:
    """See that the folder of the replies lay in the store of the record."""
    output = evidence.place(stage)
    path = output.with_name("record.json") if output else None
    if "folder" not in result or path is None or not path.is_file():
        return
    written = str(read_object(path)["output"])
    told, store = (text.rpartition("/models/")[0] for text in (str(result["folder"]), written))
    audit.compare("record", f"{place} folder in the store of {written}", told, store)


def _check_speed(audit: Audit, evidence: Evidence, stage: Row, result: Row, place: str) -> None:
    """Hold the figures of speed against what EvalScope measured."""
    output = evidence.place(stage)
    assert output is not None
    shapes.check_summaries(audit, place, sorted(output.with_name("perf").rglob("benchmark_summary.json")))
    levels = {f"{level.in_flight} in flight": level for level in read_speed(output.parent)}
    rows = [row for row in result["scores"] if row["benchmark"] == SPEED]
    names = sorted((row["subset"], row["metric"]) for row in rows)
    audit.compare(
        "speed", f"{place} levels", names, sorted((name, metric) for name in levels for metric in METRICS)
    )
    for row in rows:
        if level := levels.get(row["subset"]):
            where = f"{place} {row['subset']} {row['metric']}"
            audit.compare("speed", where, row["value"], getattr(level, str(row["metric"]), None))
            counts = [row["n_asked"], row["n_answered"], row["n_errored"]]
            expected = [level.requests, level.succeeded, level.requests - level.succeeded]
            audit.compare("speed", f"{where} requests", counts, expected)


def check_tables_of_folders(audit: Audit, evidence: Evidence) -> None:
    """Hold scores.csv against scores.json, and copies against each other."""
    import csv

    for folder in evidence.folders:
        with (
            audit.reading(f"{folder.name}/scores.csv"),
            (folder / "scores.csv").open(encoding="utf-8", newline="") as file,
        ):
            rows = [dict(row) for row in csv.DictReader(file)]
            audit.compare("scores.csv", f"{folder.name}/scores.csv rows", len(rows), len(evidence.scores))
            for number, (row, source) in enumerate(zip(rows, evidence.scores, strict=False), 2):
                for name, value in source.items():
                    _compare_cell(audit, f"{folder.name}/scores.csv:{number} {name}", row.get(name), value)
    if len(evidence.folders) < 2:
        return
    report = evidence.folders[1]
    with audit.reading(f"{report.name}/scores.json"):
        _compare_rows(
            audit,
            f"{report.name}/scores.json",
            scores_in(report / "scores.json"),
            evidence.scores,
        )
    with audit.reading(f"{report.name}/samples.parquet"):
        path = report / "samples.parquet"
        is_copy = path.read_bytes() == (evidence.tables / path.name).read_bytes()
        rows = evidence.samples if is_copy else samples_in(path)
        _compare_rows(audit, f"{report.name}/samples.parquet", rows, evidence.samples)
    if (report / "run.json").is_file():
        with audit.reading(f"{report.name}/run.json"):
            content = {**read_object(report / "run.json"), "ratings": evidence.run.get("ratings")}
            audit.compare_keys("both copies agree", f"{report.name}/run.json", content, evidence.run)
    elif (report / MATRIX).is_file():  # both are copied at once
        audit.fail("both copies agree", f"{report.name}/run.json", words.GONE(), words.COPY_OF_RUN())


def _compare_cell(audit: Audit, place: str, text: str | None, value: object) -> None:
    """Compare a cell of a CSV file with the value that it stands for."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        try:
            audit.compare("scores.csv", place, float(text or ""), float(value))
        except (TypeError, ValueError):
            audit.fail("scores.csv", place, text, value)
        return
    audit.compare("scores.csv", place, text, "" if value is None else str(value))
