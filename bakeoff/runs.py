"""A run as a whole: its name, what it found, its pages and tables."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bakeoff import provenance
from bakeoff.anchors import beside_published
from bakeoff.comparability import differences
from bakeoff.errors import BakeoffError, StoreError
from bakeoff.matrix import Matrix
from bakeoff.stages import Record
from bakeoff.workspace import Workspace


def new_id() -> str:
    """A name for a run that sorts by time."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)


def report_page(option: str) -> Path:
    """The file that ``--html`` means: ``index.html`` in a folder, or the file it names."""
    path = Path(option)
    return path if path.suffix in (".html", ".htm") else path / "index.html"


def events(workspace: Workspace, run_id: str) -> Iterator[dict[str, Any]]:
    """The timeline of a run, event by event; a line that a kill cut short is passed over."""
    path = workspace.run(run_id) / "events.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def records(workspace: Workspace, run_id: str) -> list[Record]:
    """What every stage of a run did, in order; a stage that was asked for again counts once."""
    found: dict[str, Record] = {}
    for event in events(workspace, run_id):
        if event.pop("event") == "stage":
            event.pop("time")
            record = Record(**event)
            if record.output not in found or record.outcome != "reused":
                found[record.output] = record
    return list(found.values())


def finish(
    workspace: Workspace,
    run_id: str,
    matrix: Matrix,
    skipped: Sequence[tuple[str, str]],
    reports: Path | None,
    *,
    may_judge: bool = False,
) -> None:
    """Write ``run.json``, the tables of the run, and the same tables into *reports*.

    Where the matrix names a judge model, it is asked first what it was not asked yet, if *may_judge*.
    """
    from bakeoff import scores
    from bakeoff.report import Findings, write_tables

    folder = workspace.run(run_id)
    done = records(workspace, run_id)
    score_rows: list[dict[str, Any]] = []
    sample_rows: list[dict[str, Any]] = []
    published: list[dict[str, Any]] = []
    leaked: list[dict[str, Any]] = []
    for record in done:
        if record.stage in ("evaluate", "speed") and record.outcome in ("ran", "reused"):
            result = json.loads(Path(record.output).read_text(encoding="utf-8"))
            who = {"model": record.model, "variant": record.variant}
            if record.stage == "evaluate":
                base = matrix.models[record.model].model or ""
                published += beside_published(base, [result], **who)
                leaked += [{**who, **row} for row in result.get("leakage", [])]
            score_rows += [{**row, "run_id": run_id} for row in result["scores"]]
            sample_rows += [{**row, "run_id": run_id} for row in result["samples"]]
    skipped = list(skipped)
    try:
        judged: list[str] = []
        if matrix.judge:
            from bakeoff.judging import judge_run

            by_judge = judge_run(matrix, workspace, run_id, done, may_run=may_judge)
            judged, score_rows = by_judge.studies, score_rows + by_judge.scores
            if by_judge.problem:
                skipped.append(("judge", by_judge.problem))
        ratings = _ratings(workspace, [asdict(record) for record in done], judged)
    except BakeoffError as error:  # the scores are whole without them
        ratings = None
        skipped.append(("judgements", str(error)))
    rows = [
        {"model": spec.name, "base_model": spec.model or spec.weights or spec.url or "", "group": spec.group}
        for spec in matrix.models.values()
        if any(record.model == spec.name for record in done)
    ]
    provenance.write_json(
        folder / "run.json",
        {
            "run_id": run_id,
            "started_at": datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).isoformat(),
            "rows": rows,
            "skipped": skipped,
            "stages": [asdict(record) for record in done],
            "comparability": [str(one) for one in differences([matrix.models[row["model"]] for row in rows])],
            "anchors": published,
            "leakage": leaked,
            "ratings": ratings,
            "provenance": {
                "versions": provenance.versions(),
                "commit": provenance.commit(Path(matrix.source).absolute().parent),
                "machine": provenance.machine(),
                "matrix": matrix.source,
            },
        },
    )
    scores.write_scores(score_rows, folder)
    scores.write_samples(sample_rows, folder / "samples.parquet")
    if reports:
        write_tables(Findings.from_store(workspace.root, run_id), reports)


def _ratings(
    workspace: Workspace, stages: Sequence[Mapping[str, Any]], by_judge: Sequence[str] = ()
) -> dict[str, Any] | None:
    """What people found in the newest study that they judged; under ``others`` what only models judged since.

    Each says under ``stale`` of which of its subjects this run served something else. None where nobody has judged
    anything.

    Args:
        workspace: the store.
        stages: the records of the run, as ``run.json`` has them.
        by_judge: the studies that the judge of the matrix was given; they are shown in any case.
    """
    if not workspace.ratings.exists():
        return None
    from bakeoff.ratings import RatingStore
    from bakeoff.verdicts import summarise

    with contextlib.closing(RatingStore(workspace.ratings)) as store:
        judged = {name: {row["source"] for row in store.judgements(name)} for name in store.studies()}
        by_people = [name for name, sources in judged.items() if "study" in sources]
        by_any = [name for name, sources in judged.items() if sources]
        shown = list(
            dict.fromkeys([*by_people[-1:], *by_any[-1:], *(name for name in by_judge if judged[name])])
        )
        found = [summarise(store, name) for name in shown]
    weights = {
        f"{stage['model']}/{stage['variant']}": str(stage["identity"]["fingerprint"])
        for stage in stages
        if stage["variant"] and "fingerprint" in stage["identity"]
    }
    for one in found:
        judged_weights: dict[str, str] = one["study"]["weights"]
        one["stale"] = [
            {"subject": subject, "judged": held, "now": weights[subject]}
            for subject, held in judged_weights.items()
            if weights.get(subject, held) != held
        ]
    return {**found[0], "others": found[1:]} if found else None


def earlier(workspace: Workspace, run_id: str, name: str) -> str:
    """The run that *name* means: itself, or with ``last`` the one before *run_id*.

    Raises:
        StoreError: there is none.
    """
    known = sorted(
        path.parent.name for path in workspace.runs.glob("*/run.json") if path.parent.name != run_id
    )
    if name == "last" and known:
        return known[-1]
    if name not in known:
        raise StoreError(
            f"--compare: no run {name!r} in {workspace.runs}; known: {', '.join(known[-5:]) or 'none'}"
        )
    return name


def section(workspace: Workspace, run_id: str, reports: Path, against: str | None = None) -> str:
    """The comparison as a fragment of a page in *reports*; empty where the run compared nothing."""
    from bakeoff.report import Findings
    from bakeoff.report import section as rendered

    if not (workspace.run(run_id) / "run.json").exists():
        return ""
    before = Findings.from_store(workspace.root, against) if against else None
    return rendered(Findings.from_store(workspace.root, run_id), reports, before)


def summary(workspace: Workspace, run_id: str) -> Iterator[str]:
    """The scores of a run in a few lines, and where its timeline is."""
    path = workspace.run(run_id) / "scores.json"
    if not path.exists():
        return
    totals = [row for row in json.loads(path.read_text(encoding="utf-8")) if row["subset"] == "ALL"]
    seen: set[tuple[str, ...]] = set()
    for row in totals:
        key = (row["model"], row["variant"], row["suite"])
        if key in seen:
            continue  # the first metric of a suite is its headline
        seen.add(key)
        value = "no score" if row["value"] is None else f"{row['value']:.1%}"
        note = "" if row["trusted"] else f"  not to be trusted: {row['why_not']}"
        yield f"{row['model']:<16} {row['variant']:<6} {row['suite']:<18} {value:>8} of {row['n_asked']}{note}"
    yield f"timeline: {workspace.run(run_id) / 'events.jsonl'}"
