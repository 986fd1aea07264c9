"""Recompute a run and its report from the raw records, offline.

``python -m bakeoff.verify``
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bakeoff import __version__
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.files import write_json
from bakeoff.foundation.helps import localize
from bakeoff.foundation.sentences import Statement
from bakeoff.foundation.terminal import cells, complain, localized, padded
from bakeoff.verify import words
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, find
from bakeoff.verify.verifying import verify

_MOST = 50
"""Discrepancies that the terminal lists; the file of ``--json`` has all."""


def main(argv: list[str] | None = None) -> int:
    """Return 0: every check holds, 1: a discrepancy, 2: nothing to verify."""
    what = "Recompute a run and its report from the raw records, offline."
    parser = argparse.ArgumentParser(prog="python -m bakeoff.verify", description=what)
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
    arguments = localize(parser).parse_args(argv)
    try:
        evidence = find(arguments.target, arguments.store, arguments.run, arguments.report)
        audit = verify(evidence, matrix=arguments.matrix, key=arguments.key)
        if arguments.json:
            write_json(arguments.json, {"run_id": evidence.run_id, "bakeoff": __version__, **audit.as_json()})
    except (BakeoffError, OSError) as error:
        complain(error)
        return 2
    print("\n".join(lines_of(evidence, audit)))
    return 1 if audit.discrepancies else 0


def lines_of(evidence: Evidence, audit: Audit) -> Iterator[str]:
    """Yield the checks as a table, each discrepancy, and what is left open."""
    places = [words.STORE(path=evidence.root)] * bool(evidence.root)
    places += [words.REPORT(path=evidence.page)] * bool(evidence.page)
    yield localized(words.RUN(run=evidence.run_id, places=places))
    failed = Counter(item.rule for item in audit.discrepancies)
    rules = {rule: _rule(rule) for rule in audit.counts}
    head, values, wrong = (localized(word()) for word in (words.CHECKED, words.VALUES, words.DISCREPANCIES))
    width = max(map(cells, [*rules.values(), head]))
    yield f"{padded(head, width)}  {padded(values, 9, right=True)}  {wrong}"
    for rule, count in audit.counts.items():
        yield f"{padded(rules[rule], width)}  {count:>9,}  {failed[rule] or '–'}"
    for item in audit.discrepancies[:_MOST]:
        shown = {"value": _quoted(item.value), "expected": _quoted(item.expected)}
        yield localized(words.DISCREPANCY(place=item.place, rule=words.RULES[item.rule](), **shown))
    if len(audit.discrepancies) > _MOST:
        yield localized(words.MORE(count=len(audit.discrepancies) - _MOST))
    for note in audit.notes:
        yield localized(words.NOTE(words=note))
    total, count = f"{sum(audit.counts.values()):,}", len(audit.discrepancies)
    if count > 1:
        yield localized(words.SEVERAL_FAIL(count=total, failed=count))
    else:
        yield localized(words.ONE_FAILS(count=total) if count else words.ALL_HOLD(count=total))


def _rule(name: str) -> str:
    return localized(words.RULES[name]())


def _quoted(value: str) -> str:
    """A stored value in quotes; the verifier's own words as they are."""
    ours = isinstance(value, Statement) and value.template.id.startswith("verify.words.")
    return value if ours else repr(str(value))


if __name__ == "__main__":
    raise SystemExit(main())
