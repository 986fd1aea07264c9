"""The end of a run: ``run.json`` and its tables, from what its stages did."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from bakeoff.chain.results import why_unreadable
from bakeoff.doctor.comparability import beside_the_guide
from bakeoff.doctor.doctor import known_differences
from bakeoff.environments.building import built
from bakeoff.evalscope.types import SuiteResult
from bakeoff.execution.gpus import cards
from bakeoff.foundation import provenance
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.files import write_json
from bakeoff.foundation.sentences import of_error, restored, with_statements
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.schema import Matrix, ModelSpec
from bakeoff.runs import forecast
from bakeoff.runs.forecast import ForecastRow, PlannedStage
from bakeoff.runs.runs import UNREADABLE, events, ratings_of, records
from bakeoff.scoring.anchors import beside_published
from bakeoff.scoring.leakage import leaked_as
from bakeoff.store.events import Event
from bakeoff.store.facts import EvaluationFacts
from bakeoff.store.placements import Placement, placements
from bakeoff.store.stages import Record
from bakeoff.tools import engines
from bakeoff.verify import manifest

Row = dict[str, Any]
"""A row of a table, whose columns the table's own module names."""


class ComparedRow(TypedDict):
    """A row of the matrix that took part in a run."""

    model: str
    base_model: str
    group: str
    recipe: str
    seed: int | None


class AgreementRow(TypedDict):
    """How often two ways of scoring the same questions agree."""

    model: str
    variant: str
    suite: str
    generated: str
    questions: int
    same: int


class EnvironmentFacts(TypedDict):
    """What is installed in an environment that a run used."""

    digest: str
    python: str
    requirements: list[str]
    versions: dict[str, str]


class Provenance(TypedDict):
    """What a run's figures stand on, beside its stages."""

    versions: Mapping[str, object]
    commit: object
    machine: Mapping[str, object]
    matrix: str
    environments: Mapping[str, EnvironmentFacts]
    hubs: NotRequired[Mapping[str, str]]


class RunFile(TypedDict):
    """The content of ``run.json``."""

    run_id: str
    started_at: str
    rows: list[ComparedRow]
    skipped: list[tuple[str, str]]
    asked: list[tuple[str, str, str]]
    stages: list[Row]
    events: list[Event]
    legs: list[Placement]
    comparability: list[str]
    anchors: list[Row]
    leakage: list[Row]
    interest: dict[str, float]
    margin: dict[str, float]
    evaluations: list[Row]
    forecast: list[PlannedStage]
    scoring_agreement: list[AgreementRow]
    ratings: Row | None
    manifest: str
    provenance: Provenance


@dataclass
class _Results:
    """What the evaluations of a run found."""

    scores: list[Row] = field(default_factory=list)
    samples: list[Row] = field(default_factory=list)
    published: list[Row] = field(default_factory=list)
    leaked: list[Row] = field(default_factory=list)
    evaluations: list[Row] = field(default_factory=list)


def finish(
    workspace: Workspace,
    run_id: str,
    matrix: Matrix,
    skipped: Sequence[tuple[str, str]],
    expected: Sequence[tuple[str, str, str]] = (),
    *,
    may_judge: bool = False,
) -> None:
    """Write ``run.json`` and the tables of the run.

    Where the matrix names a judge model, it is asked first what it was not asked yet, if *may_judge*.

    Args:
        skipped: (row, why) of what did not run.
        expected: (model, variant, suite) of every score that the run was to make, also of those that were skipped.
    """
    from bakeoff.scoring import tables

    folder = workspace.run(run_id)
    done = records(workspace, run_id)
    results = _results(done, matrix, run_id)
    skipped = list(skipped)
    ratings = None
    try:
        judged: list[str] = []
        if matrix.judge:
            from bakeoff.runs.judging import judge_run

            by_judge = judge_run(matrix, workspace, run_id, done, may_run=may_judge)
            judged = by_judge.studies
            results.scores += by_judge.scores
            if by_judge.problem:
                skipped.append(("judge", by_judge.problem))
        ratings = ratings_of(workspace, [asdict(record) for record in done], judged)
    except BakeoffError as error:  # the scores are whole without them
        skipped.append(("judgements", of_error(error)))
    run = _run_file(workspace, run_id, matrix, done, results)
    run["skipped"], run["asked"], run["ratings"] = skipped, list(expected), ratings
    write_json(folder / "run.json", with_statements(run))
    tables.write_scores(results.scores, folder)
    tables.write_samples(results.samples, folder / "samples.parquet")
    manifest.write_run_manifest(workspace.root, run_id, Path(matrix.source))


def _results(done: Sequence[Record], matrix: Matrix, run_id: str) -> _Results:
    """What the evaluations found; an unreadable one has failed."""
    results = _Results()
    for record in done:
        if record.stage not in ("evaluate", "speed") or record.outcome not in ("ran", "reused"):
            continue
        if problem := why_unreadable(Path(record.output)):
            record.outcome = "failed"
            record.why = UNREADABLE(output=record.output, problem=problem)
            continue
        result = restored(json.loads(Path(record.output).read_text(encoding="utf-8")))
        who = {"model": record.model, "variant": record.variant}
        if record.stage == "evaluate":
            if result.get("leakage_not_checked") and (other := _checked_for_leaks(done, record)):
                result = leaked_as(result, other)
            results.evaluations.append({**who, **{name: result.get(name) for name in _OF_AN_EVALUATION}})
            base = matrix.models[record.model].model or ""
            results.published += beside_published(base, [result], **who)
            results.leaked += [{**who, **row} for row in result.get("leakage", [])]
        results.scores += [{**row, "run_id": run_id} for row in result["scores"]]
        results.samples += [{**row, "run_id": run_id} for row in result["samples"]]
    return results


def _run_file(
    workspace: Workspace, run_id: str, matrix: Matrix, done: Sequence[Record], results: _Results
) -> RunFile:
    """The content of ``run.json``, without what was skipped and rated."""
    from bakeoff.report.cautions import NOTED

    folder = workspace.run(run_id)
    rows = _compared_rows(matrix, done)
    compared = [matrix.models[row["model"]] for row in rows]
    return RunFile(
        run_id=run_id,
        started_at=datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).isoformat(),
        rows=rows,
        skipped=[],
        asked=[],
        stages=[asdict(record) for record in done],
        events=[event for event in events(workspace, run_id) if event["event"] in NOTED],
        legs=placements(events(workspace, run_id)),
        comparability=[beside_the_guide(each) for each in known_differences(compared, matrix, workspace)],
        anchors=results.published,
        leakage=results.leaked,
        interest={suite.name: suite.interest for suite in matrix.suites.values()},
        margin={suite.name: suite.margin for suite in matrix.suites.values()},
        evaluations=results.evaluations,
        forecast=forecast.compared(_forecasts(folder), done),
        scoring_agreement=scoring_agreement(matrix, results.samples),
        ratings=None,
        manifest=manifest.NAME,
        provenance=_provenance(workspace, matrix, compared, done),
    )


def _compared_rows(matrix: Matrix, done: Sequence[Record]) -> list[ComparedRow]:
    """The rows of which a stage is among *done*, in the order of the matrix."""
    recipe_of = {child: recipe for recipe, children in matrix.recipes.items() for child in children}
    return [
        ComparedRow(
            model=spec.name,
            base_model=spec.model or spec.weights or spec.url or "",
            group=spec.group,
            recipe=recipe_of.get(spec.name, spec.name),
            seed=spec.training.seed if spec.trains else None,
        )
        for spec in matrix.models.values()
        if any(record.model == spec.name for record in done)
    ]


def _forecasts(folder: Path) -> list[ForecastRow]:
    """The forecast of the run in *folder*; empty where none can be read."""
    with contextlib.suppress(OSError, ValueError):
        return list(json.loads((folder / "forecast.json").read_text(encoding="utf-8")))
    return []


def scoring_agreement(matrix: Matrix, samples: Sequence[Mapping[str, Any]]) -> list[AgreementRow]:
    """How often the likeliest letter is the generated answer.

    Two suites of the same benchmark, data and subsets are a pair where one is scored by log-probabilities and the other
    by generation. Questions that both read count.
    """
    letters: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in samples:
        if row["status"] == "answered":
            key = (row["model"], row["variant"], row["suite"])
            letters.setdefault(key, {})[row["sample_id"]] = row["extracted"]
    pairs: list[AgreementRow] = []
    for (model, variant, name), by_letter in letters.items():
        suite = matrix.suites.get(name)
        if suite is None or suite.scoring != "logprob":
            continue
        for other in matrix.suites.values():
            same = (other.benchmark, other.data, other.subsets) == (
                suite.benchmark,
                suite.data,
                suite.subsets,
            )
            generated = letters.get((model, variant, other.name), {})
            both = by_letter.keys() & generated.keys()
            if same and other.scoring == "generation" and both:
                agree = sum(by_letter[sample] == generated[sample] for sample in both)
                pairs.append(
                    {
                        "model": model, "variant": variant, "suite": name, "generated": other.name,
                        "questions": len(both), "same": agree,
                    }
                )  # fmt: skip
    return pairs


def _provenance(
    workspace: Workspace, matrix: Matrix, compared: Sequence[ModelSpec], done: Sequence[Record]
) -> Provenance:
    """Versions, machine, environments and the commits of hubs, if any."""
    made_on = {
        "versions": provenance.versions((*provenance.TOOLS, *engines.SERVERS)),
        "commit": provenance.commit(Path(matrix.source).absolute().parent),
        "machine": provenance.machine([f"{card.name}, {card.total_gib:.0f} GiB" for card in cards()]),
        "matrix": matrix.source,
        "environments": _environments(compared, matrix, workspace),
    }
    return cast(Provenance, {**made_on, **_hubs(done)})


def _environments(
    rows: Sequence[ModelSpec], matrix: Matrix, workspace: Workspace
) -> dict[str, EnvironmentFacts]:
    """What is installed in the environments that *rows* used, by name."""
    names = dict.fromkeys(name for row in rows if not row.url for _, name in row.environment)
    environments = {name: built(matrix.environments[name], workspace.environments) for name in names}
    return {
        name: {
            "digest": environment.digest,
            "python": environment.python_version,
            "requirements": list(matrix.environments[name].requirements),
            "versions": dict(environment.versions),
        }
        for name, environment in environments.items()
        if environment
    }


def _hubs(done: Sequence[Record]) -> dict[str, dict[str, str]]:
    """The commits of what came from a hub, by repository."""
    commits = {
        str(record.facts["source"]): str(record.facts["commit"])
        for record in done
        if record.stage == "download" and record.outcome in ("ran", "reused") and "commit" in record.facts
    }
    return {"hubs": commits} if commits else {}


_OF_AN_EVALUATION = ("suite", "agreement", "answers", "alarms", "leakage_not_checked", "noise", "letters")


def _checked_for_leaks(done: Sequence[Record], record: Record) -> SuiteResult | None:
    """The other variant's result, where it was searched for leaks.

    A base is evaluated before training fetches the data from a hub; the questions are those of the tuned model.
    """
    suite = EvaluationFacts.read(record.facts).suite
    for other in done:
        alike = (other.stage, other.model) == (record.stage, record.model)
        alike &= EvaluationFacts.read(other.facts).suite == suite
        if alike and other.variant != record.variant and other.outcome in ("ran", "reused"):
            result = restored(json.loads(Path(other.output).read_text(encoding="utf-8")))
            if result.get("leakage_not_checked") == "":
                return cast(SuiteResult, result)
    return None
