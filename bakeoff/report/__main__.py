"""``python -m bakeoff.report``: rebuild pages and tables from a store."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.helps import localize
from bakeoff.foundation.terminal import complain, is_chinese, localized
from bakeoff.foundation.workspace import Workspace
from bakeoff.report import Findings, write_page, write_tables
from bakeoff.report.findings import run_folder
from bakeoff.report.history import Since, why_failed
from bakeoff.runs import runs
from bakeoff.verify import manifest


def main(argv: list[str] | None = None) -> int:
    """Write the report of a stored run: 0 written, 1 regression, 2 error."""
    parser = argparse.ArgumentParser(
        prog="python -m bakeoff.report", description="Rebuild pages and tables from a store."
    )
    parser.add_argument(
        "--store", type=Path, default=Path("store"), help="folder of the runs (default: store)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("reports"), help="folder to write to (default: reports)"
    )
    parser.add_argument("--run", metavar="RUN_ID", help="which run (default: the newest with scores)")
    parser.add_argument(
        "--compare", metavar="RUN_ID", help="also tell what moved since that run ('last': the one before)"
    )
    parser.add_argument(
        "--fail-on-regression",
        action="store_true",
        help="with --compare: exit 1 if a score got worse or is gone, or none was compared",
    )
    arguments = localize(parser).parse_args(argv)
    if arguments.fail_on_regression and not arguments.compare:
        parser.error("--fail-on-regression needs --compare RUN_ID: worse than which run?")
    store = arguments.store
    try:
        since = None
        findings = runs.findings_of(Workspace(store), arguments.run)
        if arguments.compare:
            against = Findings.from_store(store, runs.earlier(store, arguments.compare, findings.run_id))
            since = Since.of(against, findings)
        for path in (write_page(findings, arguments.out, since), *write_tables(findings, arguments.out)):
            print(path)
        manifest.write_report_manifest(
            arguments.out / "index.html", run_folder(store, findings.run_id), findings.ratings
        )
        if since:
            print("\n".join(since.lines(chinese=is_chinese())))
            if arguments.fail_on_regression and (reasons := why_failed(since.changes, findings)):
                print("--fail-on-regression:", *map(localized, reasons), sep="\n  ", file=sys.stderr)
                return 1
    except BakeoffError as error:
        complain(error)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
