"""Report on a run: one page in Chinese and English, and its tables.

``section(findings)`` is the part that heads pytest-html's page, ``page(findings)`` the same in a page of its own,
``write_tables(findings, folder)`` the data for further work. Nothing on a page is fetched from anywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.foundation.files import write_text
from bakeoff.report.findings import Findings, Row, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bakeoff.report.history import Since

__all__ = ["Findings", "Row", "Subject", "page", "section", "write_page", "write_tables"]


def section(findings: Findings, reports_dir: Path = Path("reports"), since: Since | None = None) -> str:
    """Return the comparison as an HTML fragment for pytest-html's page.

    *reports_dir* is where the page will lie: links to logs are relative to it. With *since*, the page also
    tells what moved since an earlier run.
    """
    from bakeoff.report.rendering import render

    return render(findings, reports_dir, since)


def page(findings: Findings, reports_dir: Path = Path("reports"), since: Since | None = None) -> str:
    """The comparison as a complete HTML page."""
    from bakeoff.report.rendering import wrapped

    return wrapped(section(findings, reports_dir, since), findings.run_id)


def write_page(findings: Findings, reports_dir: Path, since: Since | None = None) -> Path:
    """Write ``index.html`` into *reports_dir* and return its path.

    Where pytest left a page of the same run there, its own table of results stays below the new comparison.
    """
    from bakeoff.report.rendering import replaced, wrapped

    reports_dir.mkdir(parents=True, exist_ok=True)
    target = reports_dir / "index.html"
    existing = target.read_text(encoding="utf-8") if target.exists() else ""
    fragment = section(findings, reports_dir, since)
    whole = replaced(existing, fragment, findings.run_id) or wrapped(fragment, findings.run_id)
    write_text(target, whole)
    return target


def write_tables(findings: Findings, reports_dir: Path) -> Sequence[Path]:
    """Write data, tables for a paper, and the samples beside the page.

    See :mod:`bakeoff.report.tables` and :func:`bakeoff.report.side_files.write_side_files`.
    """
    from bakeoff.report.side_files import write_side_files
    from bakeoff.report.tables import write_tables as write

    paths = write(findings, reports_dir)
    write_side_files(findings, reports_dir)
    return paths
