"""Findings into HTML: collects what the templates ask for and fills them in, everything escaped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup

from bakeoff import __version__
from bakeoff.report import words
from bakeoff.report.findings import Findings

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent / "templates"


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
        t=words.both, variant=words.variant, MISSING=words.MISSING, OUTCOME=words.OUTCOME
    )
    environment.filters.update(points=words.points, p=words.p_value, duration=words.duration, plain=_plain)
    return environment


def render(findings: Findings, reports_dir: Path, against: Findings | None = None) -> str:
    """The fragment; see :func:`bakeoff.report.section`."""
    from bakeoff.report.analysis import suite_views

    views = suite_views(findings)
    return (
        _environment()
        .get_template("section.html.j2")
        .render(
            f=findings,
            views=views,
            css=Markup((_FOLDER / "report.css").read_text(encoding="utf-8")),
            js=Markup((_FOLDER / "report.js").read_text(encoding="utf-8")),
            log_link=lambda record: _log_link(record, reports_dir),
            version=__version__,
        )
    )


def render_page(findings: Findings, reports_dir: Path, against: Findings | None = None) -> str:
    """A complete page around the fragment."""
    fragment = Markup(render(findings, reports_dir, against))
    return _environment().get_template("page.html.j2").render(f=findings, section=fragment)


def _log_link(record: Mapping[str, Any], reports_dir: Path) -> str:
    """Relative address of a stage's log, empty when the log is not there."""
    log = Path(str(record.get("log") or ""))
    if not record.get("log") or not log.is_file():
        return ""
    return quote(Path(os.path.relpath(log.resolve(), reports_dir.resolve())).as_posix())


def _plain(value: object) -> str:
    """A value of the provenance as text: nested ones as short JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
