"""Scores of a run against its samples: counts, means and bounds.

Recomputed by the verifier's own code.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache

from bakeoff.scoring.scores import SPEED
from bakeoff.suites.overlap import METRICS as OVERLAPS
from bakeoff.verify import words
from bakeoff.verify.arithmetic import mean
from bakeoff.verify.audit import Audit, is_absent
from bakeoff.verify.evidence import Evidence, Row
from bakeoff.verify.overlaps import overlap_of

STATES = ("answered", "unparsed", "empty", "truncated", "errored")
_CHOICE = ("accuracy", "acc", "accuracy_alt", "accuracy_evalscope", "acc_evalscope")
_LIMITS = {"errored": "max_errored", "truncated": "max_truncated", "unparsed": "max_unparsed"}
_STATED = re.compile(r"(?:^|; )([\d.]+)% (errored|truncated|unparsed), at most")
Key = tuple[str, str, str]


def is_by_judge(row: Row) -> bool:
    """Return whether a score comes from a judge model, not from samples."""
    return str(row["metric"]).startswith("rubric_")


def key_of(row: Row) -> Key:
    """Return model, variant and suite of a row."""
    return str(row["model"]), str(row["variant"]), str(row["suite"])


def check_ledgers(audit: Audit, evidence: Evidence) -> None:
    """Recount every score of the run from its samples."""
    parts = evidence.samples_of
    identities = {
        (*map(str, (stage["model"], stage["variant"])), str(suite.get("name"))): suite
        for stage in evidence.stages
        if stage.get("stage") == "evaluate" and isinstance(suite := stage["identity"].get("suite"), dict)
    }
    rows: dict[Key, list[Row]] = defaultdict(list)
    for row in evidence.scores:
        if is_by_judge(row):
            audit.note(words.BY_JUDGE())
        elif row["benchmark"] != SPEED:
            rows[key_of(row)].append(row)
    for key, scores in rows.items():
        with audit.reading(f"scores.json {' '.join(key)}"):
            derived = Audit() if key in evidence.read_otherwise else audit
            _check_subject(audit, scores, parts.get(key, []), identities.get(key, {}), derived)
            if derived is not audit:
                audit.merge_if_sound(derived, words.OTHER_METRICS(subject=" ".join(key)))
    for key in parts.keys() - rows.keys():
        audit.fail(
            "every sample has a score",
            f"samples.parquet {' '.join(key)}",
            words.NOT_IN_SCORES(),
            words.A_SCORE(),
        )


def _check_subject(
    audit: Audit, rows: Sequence[Row], samples: Sequence[Row], suite: Row, derived: Audit
) -> None:
    """Recount the scores *rows* of one subject in one suite.

    Metrics beside the main one are for the audit *derived*.
    """
    main = str(rows[0]["metric"])
    parts: dict[str, list[Row]] = {"ALL": list(samples)}
    for sample in samples:
        parts.setdefault(str(sample["subset"]), []).append(sample)
    expected = set(parts) - ({"default"} if len(parts) == 2 else set())
    place = f"scores.json {' '.join(key_of(rows[0]))}"
    audit.compare(
        "every subset has a score", place, sorted({str(row["subset"]) for row in rows}), sorted(expected)
    )
    names = Counter((row["subset"], row["metric"]) for row in rows)
    audit.compare("a score stands once", place, max(names.values()), 1)
    for row in rows:
        metric = str(row["metric"])
        part = parts.get(str(row["subset"]), [])
        if metric.endswith("_unleaked"):
            part = [sample for sample in part if not sample["leaked"]]
        where = f"{place} {row['subset']} {metric}"
        _check_counts(audit, where, row, part)
        if metric.endswith("_macro"):
            values = [
                r["value"] for r in rows if r["subset"] != "ALL" and r["metric"] == metric[: -len("_macro")]
            ]
            audit.compare(
                "mean", f"{where} value", row["value"], mean([v for v in values if not is_absent(v)])
            )
        else:
            is_main = metric.removesuffix("_unleaked") == main
            _check_value(audit if is_main else derived, where, row, part, main)
        _check_chance(audit, where, row, part, suite)
        if row["subset"] == "ALL" and metric == main:
            _check_trust(audit, where, row, part, suite)


def _check_counts(audit: Audit, where: str, row: Row, part: Sequence[Row]) -> None:
    counts = Counter(str(sample["status"]) for sample in part)
    for status in counts.keys() - set(STATES):
        audit.fail("ledger", where, words.A_STATUS(status=status), words.ONE_OF(names=list(STATES)))
    ledger = {"n_asked": len(part), "n_judged": len(part) - counts["errored"]}
    ledger |= {f"n_{status}": counts[status] for status in STATES}
    audit.compare_keys("ledger", where, row, ledger)


def _check_value(audit: Audit, where: str, row: Row, part: Sequence[Row], main: str) -> None:
    """Recompute value and bounds from the grades of the samples.

    Where they can be had from the reply.
    """
    metric = str(row["metric"]).removesuffix("_unleaked")
    grades = [(sample, grade_of(sample, metric, main)) for sample in part if sample["status"] != "errored"]
    if any(grade is None for _, grade in grades):
        audit.note(words.ONLY_EVALSCOPE(metric=metric))
        return
    numbers = [
        (sample, float(grade)) for sample, grade in grades if grade is not None and not math.isnan(grade)
    ]
    audit.compare("mean", f"{where} value", row["value"], mean([grade for _, grade in numbers]))
    bounded = all(0 <= grade <= 1 for _, grade in numbers) and bool(part)
    sure = math.fsum(grade for sample, grade in numbers if sample["status"] == "answered")
    missing = sum(sample["status"] != "answered" for sample in part)
    audit.compare("bounds", f"{where} worst", row["worst"], sure / len(part) if bounded else None)
    audit.compare("bounds", f"{where} best", row["best"], (sure + missing) / len(part) if bounded else None)


def grade_of(sample: Row, metric: str, main: str) -> float | None:
    """Return a sample's grade in *metric*; None if EvalScope alone knows."""
    if metric == main:
        return math.nan if is_absent(sample["correct"]) else float(sample["correct"])
    right = set(str(sample["target"]))
    if metric == "accuracy_alt":
        other = set(str(sample["extracted_alt"]))
        return float(bool(other) and other == right)
    if metric == "elastic_accuracy":
        chosen = set(str(sample["extracted"]))
        return len(chosen & right) / len(right) if chosen <= right else 0.0
    if metric in OVERLAPS:
        return overlap_of(str(sample["extracted"]), str(sample["target"]))[metric]
    return None


def _check_chance(audit: Audit, where: str, row: Row, part: Sequence[Row], suite: Row) -> None:
    metric = str(row["metric"])
    if metric.removesuffix("_macro") not in _CHOICE:
        return
    guess = suite.get("chance")
    audit.compare("chance", f"{where} chance", row["chance"], guess if guess is not None else chance_of(part))


def chance_of(part: Sequence[Row]) -> float:
    """Return what guessing scores: 1 of the options, or of combinations.

    Combinations where several may be right.
    """
    shares = []
    for sample in part:
        if options := options_of(sample):
            several = len(str(sample["target"])) > 1 or str(sample["subset"]).endswith("_multiple")
            shares.append(1 / (2 ** len(options) - 1 if several else len(options)))
    return mean(shares)


def options_of(sample: Row) -> list[str]:
    """Return the options of a question; nothing for an open one."""
    text = sample["options"]
    return list(_options_in(text)) if isinstance(text, str) and text else []


@lru_cache(maxsize=65536)
def _options_in(text: str) -> tuple[str, ...]:
    """Return the options that *text* lists; every model was shown the same."""
    return tuple(str(option) for option in json.loads(text))


def _check_trust(audit: Audit, where: str, row: Row, part: Sequence[Row], suite: Row) -> None:
    """Hold a total against the thresholds that its suite was evaluated with."""
    why = str(row["why_not"] or "")
    audit.compare("trust", f"{where} trusted", bool(row["trusted"]), not why)
    counts = Counter(str(sample["status"]) for sample in part)
    for percent, status in _STATED.findall(why):
        audit.compare(
            "trust", f"{where} why_not {status}", f"{percent}%", f"{counts[status] / max(1, len(part)):.1%}"
        )
    trust = suite.get("trust")
    if not isinstance(trust, Mapping) or not part:
        return
    crossed = [status for status, limit in _LIMITS.items() if counts[status] / len(part) > trust[limit]]
    if 1 - (counts["errored"] + counts["empty"]) / len(part) < trust["min_answered"]:
        crossed.append("answered")
    if crossed:
        audit.compare("trust", f"{where} trusted", bool(row["trusted"]), False)
    stated = {status for _, status in _STATED.findall(why)}
    audit.compare("trust", f"{where} why_not", sorted(stated), sorted({*crossed} & {*_LIMITS}))
