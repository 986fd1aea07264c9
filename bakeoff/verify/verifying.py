"""All checks of one run, in the order in which one stands on the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from bakeoff.scoring.extraction import RULES
from bakeoff.verify import answers, ledgers, manifest, opinions, page, pairs, records, retelling, seals
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, read_object


def verify(
    evidence: Evidence,
    *,
    matrix: Path | None = None,
    key: Path | None = None,
    fresh: Mapping[str, str] | None = None,
    stop_early: bool = False,
) -> Audit:
    """Return what became of every check of *evidence*.

    Args:
        matrix: the file that the run should have been made from; None: the copy that it kept.
        key: the public key of whoever signed the manifests; None: signatures are not checked.
        fresh: page and tables made anew from the same rows, see :func:`bakeoff.verify.page.make_anew`; None: make them.
        stop_early: end with the first group of checks that finds something.
    """
    audit = Audit()
    checks: dict[str, Callable[[], None]] = {
        "manifests": lambda: seals.check_manifests(audit, evidence, key),
        "events.jsonl": lambda: records.check_timeline(audit, evidence),
        "records": lambda: records.check_records(audit, evidence),
        "results": lambda: records.check_results(audit, evidence),
        "replies": lambda: answers.check_evidence(audit, evidence),
        "samples.parquet": lambda: answers.check_answers(audit, evidence),
        "scores.json": lambda: ledgers.check_ledgers(audit, evidence),
        "run.json": lambda: records.check_accounts(audit, evidence),
        "told by the run": lambda: retelling.check_retelling(audit, evidence),
        "matrix.yaml": lambda: records.check_matrix(audit, evidence, matrix),
        "tables": lambda: records.check_tables_of_folders(audit, evidence),
        "differences.csv": lambda: pairs.check_pairs(audit, evidence),
        "ratings": lambda: _check_ratings(audit, evidence),
        "page": lambda: page.check_page(audit, evidence, fresh),
    }
    for place, check in checks.items():
        with audit.reading(place):
            check()
        if stop_early and audit.discrepancies:
            break
    audit.note(f"answers were extracted by the project's own reader, rules {RULES}")
    return audit


def _check_ratings(audit: Audit, evidence: Evidence) -> None:
    """Recount ratings where there is no page to read together with them."""
    path = evidence.tables / manifest.NAME
    if evidence.page is None and path.is_file():
        code = read_object(path).get("page_code")
        opinions.check_ratings(audit, evidence, code == manifest.page_code())
    elif evidence.page is None:
        opinions.check_ratings(audit, evidence, same_code=False)
