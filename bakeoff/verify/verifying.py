"""All checks of one run, in the order in which one stands on the other."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bakeoff.scoring.extraction import RULES
from bakeoff.verify import (
    accounts,
    answers,
    clock,
    data,
    ledgers,
    manifest,
    opinions,
    page,
    pairs,
    records,
    retelling,
    seals,
    texts,
    weights,
    words,
)
from bakeoff.verify.audit import UNREADABLE, Audit
from bakeoff.verify.cores import Check, Cores, Part
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
    audit, collects = Audit(), gc.isenabled()
    gc.disable()  # a run's rows are many and hold no cycles: looking for them took a tenth of the time
    try:
        _add_all(audit, evidence, matrix=matrix, key=key, fresh=fresh, stop_early=stop_early)
    finally:
        if collects:
            gc.enable()
    audit.note(words.OTHER_READER(rules=RULES))
    return audit


def _add_all(
    audit: Audit,
    evidence: Evidence,
    *,
    matrix: Path | None,
    key: Path | None,
    fresh: Mapping[str, str] | None,
    stop_early: bool,
) -> None:
    """Add what every check found to *audit*."""
    checks_of = {
        "replies": _listed("replies", lambda: answers.checks_of_evidence(evidence)),
        "samples.parquet": _listed("samples.parquet", lambda: answers.checks_of_answers(evidence)),
    }
    with Cores(checks_of, is_large=_is_large(evidence)) as cores:
        checks = _checks(evidence, matrix, key, fresh, cores)
        parts = {place: Audit() for place in checks}
        # Other processes are asked last, and what they found is told in its place.
        for place in sorted(checks, key=lambda place: cores.are_several and place in checks_of):
            with parts[place].reading(place):
                checks[place](parts[place])
            if stop_early and parts[place].discrepancies:
                break
    for part in parts.values():
        audit.add(part)


def _is_large(evidence: Evidence) -> bool:
    """Return whether there are so many samples that another process pays."""
    with contextlib.suppress(*UNREADABLE):
        return len(evidence.samples) > answers.LARGE
    return False


def _listed(place: str, make: Callable[[], Sequence[Part]]) -> Sequence[Part]:
    """Return the checks that *make* lists.

    What it cannot read is told in their place.
    """
    unread = Audit()
    with unread.reading(place):
        return make()
    return [Part(lambda audit: audit.add(unread))]


def _checks(
    evidence: Evidence,
    matrix: Path | None,
    key: Path | None,
    fresh: Mapping[str, str] | None,
    cores: Cores,
) -> dict[str, Check]:
    """Return all checks by the place that each is about."""
    return {
        "manifests": lambda audit: seals.check_manifests(audit, evidence, key),
        "events.jsonl": lambda audit: records.check_timeline(audit, evidence),
        "texts": lambda audit: texts.check_texts(audit, evidence),
        "times": lambda audit: clock.check_times(audit, evidence),
        "records": lambda audit: records.check_records(audit, evidence),
        "results": lambda audit: records.check_results(audit, evidence),
        "outputs": lambda audit: accounts.check_outputs(audit, evidence),
        "descriptions": lambda audit: answers.check_all_descriptions(audit, evidence),
        "replies": lambda audit: cores.tell("replies", audit),
        "samples.parquet": lambda audit: cores.tell("samples.parquet", audit),
        "scores.json": lambda audit: ledgers.check_ledgers(audit, evidence),
        "run.json": lambda audit: accounts.check_accounts(audit, evidence),
        "told by the run": lambda audit: retelling.check_retelling(audit, evidence),
        "matrix.yaml": lambda audit: accounts.check_matrix(audit, evidence, matrix),
        "weights": lambda audit: weights.check_weights(audit, evidence),
        "shipped data": lambda audit: data.check_data(audit, evidence),
        "tables": lambda audit: records.check_tables_of_folders(audit, evidence),
        "differences.csv": lambda audit: pairs.check_pairs(audit, evidence),
        "ratings": lambda audit: _check_ratings(audit, evidence),
        "page": lambda audit: page.check_page(audit, evidence, fresh),
    }


def _check_ratings(audit: Audit, evidence: Evidence) -> None:
    """Recount ratings where there is no page to read together with them."""
    path = evidence.tables / manifest.NAME
    if evidence.page is None and path.is_file():
        code = read_object(path).get("page_code")
        opinions.check_ratings(audit, evidence, code == manifest.page_code())
    elif evidence.page is None:
        opinions.check_ratings(audit, evidence, same_code=False)
