"""A run as a whole: its name, what it found, its pages and tables."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bakeoff import provenance
from bakeoff.chain.results import why_unreadable
from bakeoff.doctor.comparability import beside_the_guide
from bakeoff.doctor.doctor import known_differences
from bakeoff.environments.building import built
from bakeoff.errors import BakeoffError, StoreError
from bakeoff.execution.gpus import cards
from bakeoff.execution.legs import placements
from bakeoff.files import readable_rows, write_json
from bakeoff.matrix.schema import Matrix, ModelSpec
from bakeoff.report.findings import Findings, has_scores, known_runs, run_folder
from bakeoff.runs import forecast
from bakeoff.runs.ending import board
from bakeoff.scoring.anchors import beside_published
from bakeoff.scoring.leakage import leaked_as
from bakeoff.scoring.scores import SPEED
from bakeoff.sentences import Template, of_error, restored, with_statements
from bakeoff.store.facts import EvaluationFacts
from bakeoff.store.stages import Record, record_of
from bakeoff.tools import engines
from bakeoff.verify import manifest
from bakeoff.workspace import Workspace


def new_id() -> str:
    """A name for a run that sorts by time."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)


def report_page(option: str) -> Path:
    """The file that ``--html`` means: ``index.html`` in a folder, or a file."""
    path = Path(option)
    return path if path.suffix in (".html", ".htm") else path / "index.html"


def events(workspace: Workspace, run_id: str) -> Iterator[dict[str, Any]]:
    """The timeline of a run, event by event, without truncated lines."""
    path = workspace.run(run_id) / "events.jsonl"
    if path.exists():
        yield from readable_rows(path)


def records(workspace: Workspace, run_id: str) -> list[Record]:
    """What every stage of a run did, in order, each stage once."""
    found: dict[str, Record] = {}
    for event in events(workspace, run_id):
        if event.pop("event") == "stage":
            event.pop("time")
            if not (record := record_of(event)):
                continue
            if record.output not in found or record.outcome != "reused":
                found[record.output] = record
    return list(found.values())


UNREADABLE = Template(
    "runs.runs.unreadable",
    "{output} cannot be read: {problem}; run again: it is made anew",
    zh="无法读取 {output}：{problem}；请重新运行，将重新生成",
    en="{output} cannot be read: {problem}; run again to make it anew",
)


def _forecasts(folder: Path) -> list[dict[str, Any]]:
    """The forecast of the run in *folder*; empty where none can be read."""
    with contextlib.suppress(OSError, ValueError):
        return list(json.loads((folder / "forecast.json").read_text(encoding="utf-8")))
    return []


def scoring_agreement(matrix: Matrix, samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How often the likeliest letter is the generated answer.

    Two suites of the same benchmark, data and subsets are a pair where one is scored by log-probabilities and the other
    by generation. Questions that both read count.
    """
    letters: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in samples:
        if row["status"] == "answered":
            key = (row["model"], row["variant"], row["suite"])
            letters.setdefault(key, {})[row["sample_id"]] = row["extracted"]
    found = []
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
                agree = sum(by_letter[one] == generated[one] for one in both)
                found.append(
                    {
                        "model": model, "variant": variant, "suite": name, "generated": other.name,
                        "questions": len(both), "same": agree,
                    }
                )  # fmt: skip
    return found


def finish(
    workspace: Workspace,
    run_id: str,
    matrix: Matrix,
    skipped: Sequence[tuple[str, str]],
    asked: Sequence[tuple[str, str, str]] = (),
    *,
    may_judge: bool = False,
) -> None:
    """Write ``run.json`` and the tables of the run.

    Where the matrix names a judge model, it is asked first what it was not asked yet, if *may_judge*.

    Args:
        skipped: (row, why) of what did not run.
        asked: (model, variant, suite) of every score that the run was to make, also of those that were skipped.
    """
    from bakeoff.report.cautions import NOTED
    from bakeoff.scoring import scores

    folder = workspace.run(run_id)
    done = records(workspace, run_id)
    score_rows: list[dict[str, Any]] = []
    sample_rows: list[dict[str, Any]] = []
    published: list[dict[str, Any]] = []
    leaked: list[dict[str, Any]] = []
    evaluations: list[dict[str, Any]] = []
    for record in done:
        if record.stage in ("evaluate", "speed") and record.outcome in ("ran", "reused"):
            if problem := why_unreadable(Path(record.output)):
                record.outcome = "failed"
                record.why = UNREADABLE(output=record.output, problem=problem)
                continue
            result = restored(json.loads(Path(record.output).read_text(encoding="utf-8")))
            who = {"model": record.model, "variant": record.variant}
            if record.stage == "evaluate":
                if result.get("leakage_not_checked") and (other := _checked_for_leaks(done, record)):
                    result = leaked_as(result, other)
                evaluations.append({**who, **{name: result.get(name) for name in _OF_AN_EVALUATION}})
                base = matrix.models[record.model].model or ""
                published += beside_published(base, [result], **who)
                leaked += [{**who, **row} for row in result.get("leakage", [])]
            score_rows += [{**row, "run_id": run_id} for row in result["scores"]]
            sample_rows += [{**row, "run_id": run_id} for row in result["samples"]]
    skipped = list(skipped)
    try:
        judged: list[str] = []
        if matrix.judge:
            from bakeoff.runs.judging import judge_run

            by_judge = judge_run(matrix, workspace, run_id, done, may_run=may_judge)
            judged, score_rows = by_judge.studies, score_rows + by_judge.scores
            if by_judge.problem:
                skipped.append(("judge", by_judge.problem))
        ratings = _ratings(workspace, [asdict(record) for record in done], judged)
    except BakeoffError as error:  # the scores are whole without them
        ratings = None
        skipped.append(("judgements", of_error(error)))
    recipe_of = {child: recipe for recipe, children in matrix.recipes.items() for child in children}
    rows: list[dict[str, Any]] = [
        {
            "model": spec.name,
            "base_model": spec.model or spec.weights or spec.url or "",
            "group": spec.group,
            "recipe": recipe_of.get(spec.name, spec.name),
            "seed": spec.training.seed if spec.trains else None,
        }
        for spec in matrix.models.values()
        if any(record.model == spec.name for record in done)
    ]
    compared = [matrix.models[row["model"]] for row in rows]
    write_json(
        folder / "run.json",
        with_statements(
            {
                "run_id": run_id,
                "started_at": datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).isoformat(),
                "rows": rows,
                "skipped": skipped,
                "asked": list(asked),
                "stages": [asdict(record) for record in done],
                "events": [event for event in events(workspace, run_id) if event["event"] in NOTED],
                "legs": placements(events(workspace, run_id)),
                "comparability": [
                    beside_the_guide(one) for one in known_differences(compared, matrix, workspace)
                ],
                "anchors": published,
                "leakage": leaked,
                "interest": {suite.name: suite.interest for suite in matrix.suites.values()},
                "margin": {suite.name: suite.margin for suite in matrix.suites.values()},
                "evaluations": evaluations,
                "forecast": forecast.compared(_forecasts(folder), done),
                "scoring_agreement": scoring_agreement(matrix, sample_rows),
                "ratings": ratings,
                "manifest": manifest.NAME,
                "provenance": {
                    "versions": provenance.versions((*provenance.TOOLS, *engines.SERVERS)),
                    "commit": provenance.commit(Path(matrix.source).absolute().parent),
                    "machine": provenance.machine(
                        [f"{card.name}, {card.total_gib:.0f} GiB" for card in cards()]
                    ),
                    "matrix": matrix.source,
                    "environments": _environments(compared, matrix, workspace),
                    **_hubs(done),
                },
            }
        ),
    )
    scores.write_scores(score_rows, folder)
    scores.write_samples(sample_rows, folder / "samples.parquet")
    manifest.write_run_manifest(workspace.root, run_id, Path(matrix.source))


def found(workspace: Workspace, run_id: str | None = None) -> Findings:
    """The results of a run, by default the newest that has scores.

    Raises:
        StoreError: no such run, or one of its files cannot be read.
    """
    findings = Findings.from_store(workspace.root, run_id)
    if findings.run_id == run_folder(workspace.root).name:
        findings.ratings = _ratings(workspace, findings.stages) or findings.ratings
    return findings


def _environments(rows: Sequence[ModelSpec], matrix: Matrix, workspace: Workspace) -> dict[str, Any]:
    """What is installed in the environments that *rows* used, by name."""
    names = dict.fromkeys(name for row in rows if not row.url for _, name in row.environment)
    found = {name: built(matrix.environments[name], workspace.environments) for name in names}
    return {
        name: {
            "digest": one.digest,
            "python": one.python_version,
            "requirements": list(matrix.environments[name].requirements),
            "versions": dict(one.versions),
        }
        for name, one in found.items()
        if one
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


def _checked_for_leaks(done: Sequence[Record], record: Record) -> dict[str, Any] | None:
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
                return dict(result)
    return None


def _ratings(
    workspace: Workspace, stages: Sequence[Mapping[str, Any]], by_judge: Sequence[str] = ()
) -> dict[str, Any] | None:
    """The verdicts of the newest study that people judged.

    Each says under ``stale`` of which of its subjects this run served something else. None where nobody has judged
    anything.

    Args:
        workspace: the store.
        stages: the records of the run, as ``run.json`` has them.
        by_judge: the studies that the judge of the matrix was given; they are shown in any case.
    """
    if not workspace.ratings.exists():
        return None
    from bakeoff.judgement.ratings import RatingStore
    from bakeoff.judgement.verdicts import summarise

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


def earlier(store: Path, name: str, run_id: str = "") -> str:
    """The id of the run that *name* or ``last`` means.

    Raises:
        StoreError: there is none.
    """
    known = [folder.name for folder in known_runs(store)]
    if name == "last":
        before = known[: known.index(run_id)] if run_id in known else known
        scored = (one for one in reversed(before) if has_scores(store / "runs" / one))
        if found := next(scored, None):
            return found
        raise StoreError(
            f"--compare last: no earlier run in {store / 'runs'} has scores; run once without it"
        )
    if name not in known:
        raise StoreError(
            f"--compare: no run {name!r} in {store / 'runs'}; known: {', '.join(known[-5:]) or 'none'}"
        )
    return name


def _card(workspace: Workspace, run_id: str) -> Iterator[str]:
    """The sentences that head the report, and the board, in one language."""
    from bakeoff.report.analysis import analyse
    from bakeoff.report.answer import DEMONSTRATION, answer

    findings = Findings.from_store(workspace.root, run_id)
    languages = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    chinese = next(filter(None, languages), "").lower().startswith("zh")
    if findings.demonstration:
        yield DEMONSTRATION.zh if chinese else DEMONSTRATION.en
    analysis = analyse(findings)
    for label_zh, label_en, sentence in answer(findings, analysis):
        yield f"{label_zh}：{sentence.zh}" if chinese else f"{label_en}: {sentence.en}"
    yield from board(analysis, chinese=chinese)


def _beside_scores(run: Mapping[str, Any]) -> Iterator[str]:
    """Noise of the replies, agreement of scorings, and forecast errors."""
    for one in run.get("evaluations", ()):
        if noise := one.get("noise"):
            n, who = noise["asked_twice"], f"{one['model']:<16} {one['variant']:<6} {one['suite']:<18}"
            if noise["same_replies"] < n:
                low, high = noise["grades_interval"]
                yield (
                    f"{who} of {n} questions asked twice, {noise['same_replies']} replies and {noise['same_grades']} "
                    f"grades were the same (grades: {low:.0%} to {high:.0%})"
                )
    for one in run.get("scoring_agreement", ()):
        yield (
            f"{one['model']:<16} {one['variant']:<6} {one['suite']:<18} the likeliest letter is the generated answer "
            f"of {one['generated']} in {one['same']} of {one['questions']} questions"
        )
    if words := forecast.difference(run.get("forecast", ())):
        yield words


_SPEED_UNITS = {"ttft_s": "s to the first token", "output_tokens_per_s": "tokens/s"}


def summary(workspace: Workspace, run_id: str) -> Iterator[str]:
    """The answer card, the scores in a few lines, and the timeline's path."""
    path = workspace.run(run_id) / "scores.json"
    if not path.exists():
        return
    card: list[str] = []
    with contextlib.suppress(StoreError):  # a run that was killed at its end lacks tables
        card = list(_card(workspace, run_id))
    yield from card
    rows = json.loads(path.read_text(encoding="utf-8"))
    totals = [] if card else [row for row in rows if row["subset"] == "ALL"]
    seen: set[tuple[str, ...]] = set()
    for row in totals:
        key = (row["model"], row["variant"], row["suite"])
        if key in seen:
            continue  # the first metric of a suite is its headline
        seen.add(key)
        value = "no score" if row["value"] is None else f"{row['value']:.1%}"
        note = "" if row["trusted"] else f"  invalid: {row['why_not']}"
        yield f"{row['model']:<16} {row['variant']:<6} {row['suite']:<18} {value:>8} of {row['n_asked']}{note}"
    speeds: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["benchmark"] == SPEED and row["metric"] in _SPEED_UNITS and row["value"] is not None:
            told = f"{row['value']:.3g} {_SPEED_UNITS[row['metric']]} at {row['subset']}"
            speeds.setdefault((row["model"], row["variant"]), []).append(told)
    for (model, variant), told_of in speeds.items():
        yield f"{model:<16} {variant:<6} {'speed':<18} {', '.join(told_of)}"
    run = restored(json.loads((path.parent / "run.json").read_text(encoding="utf-8")))
    yield from _beside_scores(run)
    for stage in run["stages"]:
        if UNREADABLE.made(stage["why"]):
            yield f"{stage['model']:<16} {stage['variant']:<6} {stage['why']}"
    yield f"timeline: {workspace.run(run_id) / 'events.jsonl'}"
