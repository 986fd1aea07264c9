"""The report: one self-contained page in Chinese and English, and the tables behind it.

``section(findings)`` is the part that heads pytest-html's page, ``page(findings)`` the same in a page of its own,
``write_tables(findings, folder)`` the data for further work. Nothing on a page is fetched from anywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.report.findings import Findings, Row, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Findings", "Row", "Subject", "page", "section", "write_page", "write_tables"]


def section(findings: Findings, reports_dir: Path = Path("reports"), against: Findings | None = None) -> str:
    """The comparison as an HTML fragment with its own style and script, for the head of pytest-html's page.

    *reports_dir* is where the page will lie: links to logs are relative to it. With *against*, an earlier run,
    the page also tells what moved since.
    """
    from bakeoff.report.rendering import render

    return render(findings, reports_dir, against)


def page(findings: Findings, reports_dir: Path = Path("reports"), against: Findings | None = None) -> str:
    """The comparison as a complete HTML page."""
    from bakeoff.report.rendering import render_page

    return render_page(findings, reports_dir, against)


def write_page(findings: Findings, reports_dir: Path, against: Findings | None = None) -> Path:
    """Write ``index.html`` into *reports_dir* and return its path."""
    reports_dir.mkdir(parents=True, exist_ok=True)
    target = reports_dir / "index.html"
    target.write_text(page(findings, reports_dir, against), encoding="utf-8")
    return target


def write_tables(findings: Findings, reports_dir: Path) -> Sequence[Path]:
    """Write the data and the tables for a paper into *reports_dir*; see :mod:`bakeoff.report.tables`."""
    from bakeoff.report.tables import write_tables as write

    return write(findings, reports_dir)
