"""``python -m bakeoff.report``: rebuild the pages and tables from the store, running nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bakeoff.errors import BakeoffError
from bakeoff.report import Findings, write_page, write_tables


def main(argv: list[str] | None = None) -> int:
    """Write the report of one stored run; 0 when written, 1 on a regression asked about, 2 on an error."""
    parser = argparse.ArgumentParser(prog="python -m bakeoff.report", description=__doc__)
    parser.add_argument(
        "--store", type=Path, default=Path("store"), help="folder of the runs (default: store)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("reports"), help="folder to write to (default: reports)"
    )
    parser.add_argument("--run", metavar="RUN_ID", help="which run (default: the latest)")
    arguments = parser.parse_args(argv)
    try:
        findings = Findings.from_store(arguments.store, arguments.run)
        for path in (write_page(findings, arguments.out), *write_tables(findings, arguments.out)):
            print(path)
    except BakeoffError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
