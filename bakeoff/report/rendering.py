"""Findings into HTML: fills the templates, everything escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from markupsafe import Markup, escape

from bakeoff import __version__
from bakeoff.foundation.sentences import plural
from bakeoff.report import words
from bakeoff.report.commands import commands, log_link
from bakeoff.report.costs import cost_of, gpu_hours, kind_of, seconds_of, summary, why_of
from bakeoff.report.findings import Findings, Subject
from bakeoff.store.events import MADE_AHEAD

if TYPE_CHECKING:
    from jinja2 import Environment

    from bakeoff.report.history import Since
    from bakeoff.report.views import Analysis, SuiteView

_T = TypeVar("_T")
_FOLDER = Path(__file__).parent / "templates"
_SCRIPTS = ("report.js", "weights.js", "evidence.js")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        t=words.both,
        remark=lambda zh, en, subjects=(): words.both(*words.remark(zh, en, subjects)),
        variant=words.variant,
        subject=words.subject,
        nan=math.nan,
        count="{:,}".format,
        counted=_counted,
        view_of=lambda **parts: urlencode({key: part for key, part in parts.items() if part}),
        MISSING=words.MISSING,
        OUTCOME=words.OUTCOME,
        STAGE=words.STAGE,
        DIMENSIONS=words.DIMENSIONS,
        CHECKS=words.CHECKS,
        FACTS=words.FACTS,
        RETENTION=words.RETENTION,
        VARIANCE=words.VARIANCE,
    )
    environment.filters.update(
        points=words.points,
        figure=words.figure,
        decimal=words.decimal,
        p=words.p_value,
        p_is=words.p_is,
        ratio=words.ratio,
        moment=words.moment,
        duration=words.duration,
        evaluated=lambda subject, findings, suite: findings.evaluation(subject, suite),
        facts=words.facts,
        metric=words.metric,
        quoted=words.quoted,
        judge=words.judge_name,
        rated=lambda subject: words.both(*words.rated_names(subject)),
        rated_en=lambda subject: words.rated_names(subject)[1],
        rated_zh=lambda subject: words.rated_names(subject)[0],
        said=words.said,
        by_letter=lambda answers: sorted(answers.items(), key=lambda item: (not item[0], item[0])),
        by_rater=lambda rows: sorted(rows, key=lambda row: (len(row["rater"]), row["rater"])),
        stage=words.stage,
        why=why_of,
    )
    return environment


def _counted(number: int, word: str, several: str = "") -> str:
    """Return *number* things in English; *several* where an s is not enough."""
    return f"{number:,} {several if several and number != 1 else plural(number, word)}"


def render(findings: Findings, reports_dir: Path, since: Since | None = None) -> str:
    """Return the fragment; see :func:`bakeoff.report.section`."""
    from bakeoff.report.analysis import analyse

    analysis = analyse(findings)
    parts = {
        **_head(findings, analysis),
        **_scores(findings, analysis),
        **_stages(findings, analysis.order, reports_dir),
        **_rest(findings, analysis, since),
    }
    return _environment().get_template("section.html.j2").render(f=findings, a=analysis, **parts)


def _head(findings: Findings, analysis: Analysis) -> dict[str, object]:
    """Return what the first screen shows, and what the page is made of."""
    from bakeoff.report.answer import DEMONSTRATION, answer
    from bakeoff.report.claim_tables import claim_sentences
    from bakeoff.report.verdict import NOTHING_TO_COMPARE, verdict
    from bakeoff.report.weights import CRITERIA, CRITERION_AT, weighing

    points = answer(findings, analysis)
    on_card = {NOTHING_TO_COMPARE, *(point.sentence for point in points)}
    further = [*verdict(findings, analysis), *claim_sentences(findings, analysis)]

    return {
        "weighing": weighing(findings, analysis),
        "CRITERIA": CRITERIA,
        "CRITERION_AT": CRITERION_AT,
        "verdict": [sentence for sentence in further if sentence not in on_card],
        "answer": points,
        "demonstration": DEMONSTRATION if findings.demonstration else None,
        "css": Markup((_FOLDER / "report.css").read_text(encoding="utf-8")),
        "js": Markup("\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS)),
        "version": __version__,
    }


def _scores(findings: Findings, analysis: Analysis) -> dict[str, object]:
    """Return the board, the charts and the samples."""
    from bakeoff.report.charts import loss_charts, suite_chart
    from bakeoff.report.samples import pack
    from bakeoff.report.side_files import side_name

    views, order = analysis.views, analysis.order
    board = [
        (
            model,
            sorted((s for s in findings.subjects if s.model == model), key=lambda s: s.variant == "base"),
        )
        for model in order
    ]
    return {
        "board": [(model, variants) for model, variants in board if variants],
        "bases": dict.fromkeys(order, "") | {row.model: row.base_model for row in findings.rows},
        "has_tuning": any(view.tuning for view in views),
        "tuned_models": {model for view in views for model in view.tuning},
        "untested": [view.name for view in views if not view.method],
        "charts": [(view.name, _chance(view), svg) for view in views if (svg := suite_chart(view, order))],
        "losses": _placed(loss_charts(findings.stages), order, lambda item: item[0]),
        "packed": pack(findings, views),
        "browsable": set(findings.samples_by_suite),
        "recipe_subject": lambda recipe: f"{findings.recipes.get(recipe, [recipe])[0]}/tuned",
        "side_name": lambda suite: side_name(findings, suite),
    }


def _chance(view: SuiteView) -> str:
    """Return the chance level that a chart marks, in points; may be empty."""
    levels = [cell.chance for cell in view.cells.values() if not math.isnan(cell.chance)]
    return words.points(min(levels)).removesuffix(".0") if levels else ""


def _stages(findings: Findings, order: Sequence[str], reports_dir: Path) -> dict[str, object]:
    """Return what the stages took, and their commands and logs."""
    stages = findings.stages
    done = [record for record in stages if record.get("outcome") in ("ran", "failed")]
    ahead = {event["output"]: event["why"] for event in findings.events if event["event"] == MADE_AHEAD}
    costs = [cost_of(record, log_link(record, reports_dir), ahead) for record in stages]
    return {
        "costs": _placed(costs, order, lambda item: item.model),
        "total_seconds": sum(seconds_of(record) for record in done),
        "total_gpu_hours": sum(gpu_hours(record) or 0.0 for record in done),
        "commands": _placed(commands(stages), order, lambda item: item[0]),
        "summary": _placed(summary(stages), order, lambda item: item.model),
        "stage_names": list(dict.fromkeys(map(kind_of, stages))),
        "log_link": lambda record: log_link(record, reports_dir),
    }


def _rest(findings: Findings, analysis: Analysis, since: Since | None) -> dict[str, object]:
    """Return cautions, history, ratings and provenance."""
    from bakeoff.report.cautions import cautions
    from bakeoff.report.history import moved
    from bakeoff.report.rated import rated_replies
    from bakeoff.report.shortfalls import skipped_names

    order = analysis.order
    untrusted = [cell for view in analysis.views for cell in view.cells.values() if not cell.trusted]
    failed = [record for record in findings.stages if record.get("outcome") == "failed"]
    noted = cautions(findings)
    rated = rated_replies(findings)
    if rated:
        subjects = sorted(rated.subjects, key=lambda subject: _place(subject, order))
        rated = replace(rated, subjects=subjects)
    every = (
        noted,
        untrusted,
        failed,
        findings.comparability,
        findings.skipped,
        findings.anchors,
        findings.leakage,
    )
    return {
        "untrusted": untrusted,
        "failed": failed,
        "cautioned": any(every),
        "noted": noted,
        "fingerprints": _placed(_fingerprints(findings), order, lambda item: item[0].model),
        "moved": moved(since.changes) if since else None,
        "since": since,
        "r": findings.ratings,
        "rated": rated,
        "skipped": _by_reason(findings.skipped),
        "skipped_names": skipped_names,
        "subjects_of": _judged_subjects,
        "in_order": lambda subjects: sorted(subjects, key=lambda subject: _place(subject, order)),
        "recipes_in_order": lambda scores: _placed(
            scores, order, lambda score: findings.recipes.get(score.recipe, [score.recipe])[0]
        ),
        "facts_of": lambda facts: words.facts(
            {key: value for key, value in facts.items() if key not in ("python", "versions")}
        ),
    }


def wrapped(fragment: str, run_id: str) -> str:
    """A complete page around the fragment."""
    return _environment().get_template("page.html.j2").render(run_id=run_id, section=Markup(fragment))


def replaced(existing: str, fragment: str, run_id: str) -> str:
    """Return the page *existing* with *fragment* in place of its own.

    Empty where it holds none of *run_id*.
    """
    begin, end = f"<!-- bakeoff {escape(run_id)} -->", "<!-- /bakeoff -->"
    before, marker, rest = existing.partition(begin)
    after = rest.partition(end)[2]
    return before + fragment + after if marker and after else ""


def _placed(items: Iterable[_T], order: Sequence[str], model_of: Callable[[_T], str]) -> list[_T]:
    """Return *items* in the order of the leaderboard, others last."""
    place = {model: number for number, model in enumerate(order)}
    return sorted(items, key=lambda item: place.get(model_of(item), len(place)))


def _place(rated: str, order: Sequence[str]) -> tuple[int, bool]:
    """Return where a subject of a study stands on the board."""
    model, _, kind = rated.rpartition("/")
    return (order.index(model) if model in order else len(order), kind == "base")


def _judged_subjects(part: Mapping[str, Any]) -> list[str]:
    """Subjects of one part of the judgements, best overall quality first."""
    named = [row["subject"] for scored in reversed(part["scores"].values()) for row in scored["subjects"]]
    return list(dict.fromkeys(named))


def _fingerprints(findings: Findings) -> list[tuple[Subject, str]]:
    table = findings.scores[["model", "variant", "fingerprint"]].drop_duplicates()
    grouped: dict[Subject, list[str]] = {}
    for model, kind, fingerprint in table.itertuples(index=False):
        if fingerprint:
            grouped.setdefault(Subject(str(model), str(kind)), []).append(str(fingerprint))
    return [(subject, ", ".join(grouped[subject])) for subject in findings.subjects if subject in grouped]


def _by_reason(skipped: Sequence[tuple[str, str]]) -> list[tuple[list[str], str]]:
    """(what, why) with everything skipped for the same reason together."""
    grouped: dict[str, list[str]] = {}
    for what, why in skipped:
        grouped.setdefault(why, []).append(what)
    return [(list(dict.fromkeys(what)), why) for why, what in grouped.items()]
