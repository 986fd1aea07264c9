"""Recompute a run and its report from the raw records, offline.

``python -m bakeoff.verify``
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bakeoff import __version__
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.files import write_json
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, find
from bakeoff.verify.verifying import verify

_MOST = 50
"""Discrepancies that the terminal lists; the file of ``--json`` has all."""


def main(argv: list[str] | None = None) -> int:
    """Return 0: every check holds, 1: a discrepancy, 2: nothing to verify."""
    parser = argparse.ArgumentParser(prog="python -m bakeoff.verify", description=__doc__)
    parser.add_argument(
        "target", type=Path, metavar="REPORT-OR-STORE", help="a store, a run's folder, a report or its page"
    )
    parser.add_argument(
        "--store",
        type=Path,
        help="the store of a report (default: ./store or the one beside it, if it has the run)",
    )
    parser.add_argument(
        "--report", type=Path, help="the report of a store: also read its page and tables back"
    )
    parser.add_argument(
        "--run", metavar="RUN_ID", help="which run of a store (default: the newest with scores)"
    )
    parser.add_argument("--matrix", type=Path, help="hold the run against this matrix, too")
    parser.add_argument(
        "--key",
        type=Path,
        metavar="PUBLIC",
        help="Ed25519 public key (PEM) that the manifests must be signed for",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE")
    arguments = parser.parse_args(argv)
    try:
        evidence = find(arguments.target, arguments.store, arguments.run, arguments.report)
        audit = verify(evidence, matrix=arguments.matrix, key=arguments.key)
        if arguments.json:
            write_json(arguments.json, {"run_id": evidence.run_id, "bakeoff": __version__, **audit.as_json()})
    except (BakeoffError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(lines_of(evidence, audit)))
    return 1 if audit.discrepancies else 0


def lines_of(evidence: Evidence, audit: Audit) -> Iterator[str]:
    """Yield the checks as a table, each discrepancy, and what is left open."""
    where = [
        f"store {evidence.root}" if evidence.root else "",
        f"report {evidence.page}" if evidence.page else "",
    ]
    yield f"run {evidence.run_id}: {', '.join(filter(None, where))}"
    failed = Counter(item.rule for item in audit.discrepancies)
    width = max((len(rule) for rule in audit.counts), default=0)
    yield f"{'checked':<{width}}  {'values':>9}  discrepancies"
    for rule, count in audit.counts.items():
        yield f"{rule:<{width}}  {count:>9,}  {failed[rule] or '–'}"
    for item in audit.discrepancies[:_MOST]:
        yield f"DISCREPANCY {item.place}: {item.rule}: {item.value!r} stands there, {item.expected!r} is expected"
    if len(audit.discrepancies) > _MOST:
        yield f"… and {len(audit.discrepancies) - _MOST} more; --json FILE has all"
    for note in audit.notes:
        yield f"not checked or to note: {note}"
    total = f"{sum(audit.counts.values()):,} values checked"
    count = len(audit.discrepancies)
    yield (
        f"{total}; {count} {'discrepancy' if count == 1 else 'discrepancies'}"
        if count
        else f"{total}; every one holds"
    )


if __name__ == "__main__":
    raise SystemExit(main())
