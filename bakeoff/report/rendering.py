"""Findings into HTML: collects what the templates ask for and fills them in, everything escaped."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

from bakeoff import __version__
from bakeoff.errors import in_short
from bakeoff.report import words
from bakeoff.report.findings import Findings, Subject
from bakeoff.sentences import Statement

if TYPE_CHECKING:
    from jinja2 import Environment

    from bakeoff.report.history import Since

_T = TypeVar("_T")
_FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Cost:
    """One line of the table of stages, in the form in which it is shown."""

    model: str
    stage: str
    variant: str
    outcome: str
    seconds: float
    card_memory: str
    memory: str
    speed: str
    gpu_hours: str
    why: str
    link: str


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
        variant=words.variant,
        subject=words.subject,
        nan=math.nan,
        count="{:,}".format,
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
        p=words.p_value,
        p_is=words.p_is,
        ratio=words.ratio,
        moment=words.moment,
        duration=words.duration,
        evaluated=lambda subject, findings, suite: findings.evaluation(subject, suite),
        facts=words.facts,
        metric=words.metric,
        quoted=words.quoted,
        rated=lambda subject: words.both(*words.rated_names(subject)),
        rated_en=lambda subject: words.rated_names(subject)[1],
        rated_zh=lambda subject: words.rated_names(subject)[0],
        said=words.said,
        stage=words.stage,
        why=_why,
    )
    return environment


def render(findings: Findings, reports_dir: Path, since: Since | None = None) -> str:
    """The fragment; see :func:`bakeoff.report.section`."""
    from bakeoff.report.analysis import analyse
    from bakeoff.report.answer import DEMONSTRATION, answer
    from bakeoff.report.cautions import cautions
    from bakeoff.report.charts import loss_charts, suite_chart
    from bakeoff.report.claim_tables import claim_sentences
    from bakeoff.report.history import moved
    from bakeoff.report.samples import pack, side_name
    from bakeoff.report.verdict import verdict

    analysis = analyse(findings)
    views = analysis.views
    subjects = findings.subjects
    board = [
        (model, sorted((s for s in subjects if s.model == model), key=lambda s: s.variant == "base"))
        for model in analysis.order
    ]
    untrusted = [c for view in views for c in view.cells.values() if not c.trusted]
    failed = [one for one in findings.stages if one.get("outcome") == "failed"]
    ran = [one for one in findings.stages if one.get("outcome") in ("ran", "failed")]
    noted = cautions(findings)
    cautioned = (
        noted,
        untrusted,
        failed,
        findings.comparability,
        findings.skipped,
        findings.anchors,
        findings.leakage,
    )
    return (
        _environment()
        .get_template("section.html.j2")
        .render(
            f=findings,
            a=analysis,
            verdict=[*verdict(findings, analysis), *claim_sentences(findings, analysis)],
            answer=answer(findings, analysis),
            demonstration=DEMONSTRATION if findings.demonstration else None,
            board=[(model, own) for model, own in board if own],
            bases=dict.fromkeys(analysis.order, "") | {row.model: row.base_model for row in findings.rows},
            has_tuning=any(view.tuning for view in views),
            tuned_models={model for view in views for model in view.tuning},
            untested=[view.name for view in views if not view.method],
            charts=[(view.name, svg) for view in views if (svg := suite_chart(view, analysis.order))],
            losses=_placed(loss_charts(findings.stages), analysis.order, lambda item: item[0]),
            packed=pack(findings, views),
            browsable=set(findings.samples_by_suite),
            side_name=lambda suite: side_name(findings, suite),
            untrusted=untrusted,
            failed=failed,
            cautioned=any(cautioned),
            noted=noted,
            costs=_placed(
                [_cost(one, _log_link(one, reports_dir)) for one in findings.stages],
                analysis.order,
                lambda item: item.model,
            ),
            total_seconds=sum(float(one.get("seconds") or 0) for one in ran),
            total_gpu_hours=sum(gpu_hours(one) or 0.0 for one in ran),
            commands=_placed(_commands(findings), analysis.order, lambda item: item[0]),
            fingerprints=_placed(_fingerprints(findings), analysis.order, lambda item: item[0].model),
            moved=moved(since.changes) if since else None,
            since=since,
            r=findings.ratings,
            skipped=_by_reason(findings.skipped),
            subjects_of=_judged_subjects,
            in_order=lambda subjects: sorted(subjects, key=lambda one: _place(one, analysis.order)),
            facts_of=lambda one: words.facts(
                {k: v for k, v in one.items() if k not in ("python", "versions")}
            ),
            summary=_placed(_summary(findings), analysis.order, lambda item: item.model),
            stage_names=list(dict.fromkeys(_kind_of(one) for one in findings.stages)),
            css=Markup((_FOLDER / "report.css").read_text(encoding="utf-8")),
            js=Markup((_FOLDER / "report.js").read_text(encoding="utf-8")),
            log_link=lambda record: _log_link(record, reports_dir),
            version=__version__,
        )
    )


def wrapped(fragment: str, run_id: str) -> str:
    """A complete page around the fragment."""
    return _environment().get_template("page.html.j2").render(run_id=run_id, section=Markup(fragment))


def replaced(existing: str, fragment: str, run_id: str) -> str:
    """The page *there* with *fragment* in place of its own; empty where it holds none of *run_id*."""
    begin, end = f"<!-- bakeoff {escape(run_id)} -->", "<!-- /bakeoff -->"
    before, marker, rest = existing.partition(begin)
    after = rest.partition(end)[2]
    return before + fragment + after if marker and after else ""


def gpu_hours(record: Mapping[str, Any]) -> float | None:
    """Wall hours of a stage times the cards it held; None where it held none."""
    gpus = _number(_facts(record).get("gpus"))
    return float(record.get("seconds") or 0) * gpus / 3600 if gpus else None


def _why(record: Mapping[str, Any]) -> str:
    """What the record says of its outcome: a statement whole, an error in one line."""
    why = record.get("why") or ""
    return why if isinstance(why, Statement) else in_short(str(why))


def _facts(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return record.get("facts") or {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _memory(record: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Peak memory of the card and of the machine in GiB."""
    card, machine = _number(_facts(record).get("memory_gib")) or None, _number(record.get("peak_memory_gib"))
    return card, None if card and machine == card else machine


def _shown(number: float | None, form: str) -> str:
    return "–" if number is None else format(number, form)


def _cost(record: Mapping[str, Any], link: str) -> Cost:
    card, machine = _memory(record)
    return Cost(
        model=str(record.get("model", "")),
        stage=_stage(record),
        variant=str(record.get("variant", "")),
        outcome=str(record.get("outcome", "")),
        seconds=float(record.get("seconds") or math.nan),
        card_memory=_shown(card, ".1f"),
        memory=_shown(machine, ".1f"),
        speed=_shown(_number(_facts(record).get("tokens_per_s")), ",.0f"),
        gpu_hours=_shown(gpu_hours(record), ".2f"),
        why=_why(record),
        link=link,
    )


@dataclass(frozen=True)
class Spent:
    """What one model took, over all its stages."""

    model: str
    seconds: dict[str, float]
    card_memory: str
    memory: str
    speed: str
    gpu_hours: str


def _summary(findings: Findings) -> list[Spent]:
    spent = []
    for model in dict.fromkeys(str(record.get("model", "")) for record in findings.stages):
        records = [record for record in findings.stages if str(record.get("model", "")) == model]
        seconds: dict[str, float] = {}
        for record in records:
            seconds[_kind_of(record)] = seconds.get(_kind_of(record), 0.0) + float(record.get("seconds") or 0)
        cards, machines = zip(*map(_memory, records), strict=True)
        speeds = [_number(_facts(record).get("tokens_per_s")) for record in records]
        hours = [h for record in records if (h := gpu_hours(record)) is not None]
        spent.append(
            Spent(
                model=model,
                seconds=seconds,
                card_memory=_shown(max(filter(None, cards), default=None), ".1f"),
                memory=_shown(max(filter(None, machines), default=None), ".1f"),
                speed=_shown(next(filter(None, reversed(speeds)), None), ",.0f"),
                gpu_hours=_shown(sum(hours) if hours else None, ".2f"),
            )
        )
    return spent


def _stage(record: Mapping[str, Any]) -> str:
    """The stage's name, with the suite where it has one; see :func:`bakeoff.report.words.stage`."""
    suite = _facts(record).get("suite")
    return f"{record.get('stage', '')}{f':{suite}' if suite else ''}"


def _by_reason(skipped: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """(what, why) with everything skipped for the same reason on one line."""
    grouped: dict[str, list[str]] = {}
    for what, why in skipped:
        grouped.setdefault(why, []).append(what)
    return [(", ".join(dict.fromkeys(what)), why) for why, what in grouped.items()]


def _kind_of(record: Mapping[str, Any]) -> str:
    return str(record.get("stage", "")).split(":")[0]


def _placed(items: Iterable[_T], order: Sequence[str], model_of: Callable[[_T], str]) -> list[_T]:
    """*items* in the order of the leaderboard; models that are not on it come last."""
    place = {model: number for number, model in enumerate(order)}
    return sorted(items, key=lambda item: place.get(model_of(item), len(place)))


def _place(rated: str, order: Sequence[str]) -> tuple[int, bool]:
    """Where a subject of a study stands: models as on the board, the tuned one before its base."""
    model, _, kind = rated.rpartition("/")
    return (order.index(model) if model in order else len(order), kind == "base")


def _judged_subjects(part: Mapping[str, Any]) -> list[str]:
    """Subjects of one part of the judgements, best overall quality first."""
    named = [row["subject"] for scored in reversed(part["scores"].values()) for row in scored["subjects"]]
    return list(dict.fromkeys(named))


def _commands(findings: Findings) -> list[tuple[str, Sequence[Mapping[str, Any]], str]]:
    """(model, its records with a command, all of them as one script)."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for record in findings.stages:
        if record.get("command"):
            grouped.setdefault(str(record.get("model", "")), []).append(record)
    return [
        (model, [{"outcome": "", **one, "stage": _stage(one)} for one in records], _script(records))
        for model, records in grouped.items()
    ]


def _script(records: Sequence[Mapping[str, Any]]) -> str:
    """The commands of one row to run in one go: a service runs in the background while it is asked, and no longer."""
    lines: list[str] = []
    serving = False
    for record in records:
        kind, command = _kind_of(record), str(record["command"])
        if serving and kind in ("train", "export", "deploy", "build", "convert"):
            lines.append("kill $service; wait $service")
            serving = False
        url = _facts(record).get("by_hand_url", "http://127.0.0.1:8000/v1")
        if kind == "deploy" and not command.startswith("curl "):  # somebody else's service is only asked
            lines.append(f"{command} &\nservice=$!")
            asks = f"curl --noproxy '*' --silent --fail --output /dev/null {url}/models"
            lines.append(f"until {asks}; do kill -0 $service || break; sleep 2; done")
            serving = True
        else:
            lines.append(command)
    return "\n".join([*lines, *(["kill $service; wait $service"] if serving else [])]) + "\n"


def _fingerprints(findings: Findings) -> list[tuple[Subject, str]]:
    table = findings.scores[["model", "variant", "fingerprint"]].drop_duplicates()
    grouped: dict[Subject, list[str]] = {}
    for model, kind, fingerprint in table.itertuples(index=False):
        if fingerprint:
            grouped.setdefault(Subject(str(model), str(kind)), []).append(str(fingerprint))
    return [(subject, ", ".join(grouped[subject])) for subject in findings.subjects if subject in grouped]


def _log_link(record: Mapping[str, Any], reports_dir: Path) -> str:
    """Relative address of a stage's log, empty when the log is not there."""
    log = Path(str(record.get("log") or ""))
    if not record.get("log") or not log.is_file():
        return ""
    return quote(Path(os.path.relpath(log.resolve(), reports_dir.resolve())).as_posix())
