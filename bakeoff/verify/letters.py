"""Suites answered by log-probability, their letters chosen anew.

The rows that such an evaluation keeps hold no prompt. They are told by their place, and their letters are averaged
over the orders of the options and chosen here by code of its own.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from bakeoff.verify.arithmetic import mean
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Row
from bakeoff.verify.ledgers import options_of

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_RULE = "letters by log-probability"


def check_letters(
    audit: Audit,
    place: str,
    result: Row,
    samples: Sequence[Row],
    rows: Mapping[tuple[str, int], Row],
) -> None:
    """Hold every sample of a suite against the readings of its letters.

    *rows*: by subset and index in it.
    """
    of_subset: dict[str, list[Row]] = defaultdict(list)
    for (subset, _), row in sorted(rows.items()):
        of_subset[subset].append(row)
    for subset in {str(sample["subset"]) for sample in samples} | of_subset.keys():
        answered = [
            sample for sample in samples if str(sample["subset"]) == subset and sample["status"] != "errored"
        ]
        where = f"{place} {subset}"
        audit.compare("every reply has a sample", f"{where} replies", len(of_subset[subset]), len(answered))
        for sample, row in zip(answered, of_subset[subset], strict=False):
            _check_sample(audit, f"{where} {sample['sample_id']}", sample, row)
    if "letters" in result:
        _check_summary(audit, f"{place} letters", result["letters"], list(rows.values()))


def _check_sample(audit: Audit, where: str, sample: Row, row: Row) -> None:
    shares = shares_of(row["letters"], len(options_of(sample)))
    letter = choice_of(shares)
    output = row["model_output"]
    audit.compare("reply", f"{where} reply", sample["reply"], output["choices"][0]["message"]["content"])
    audit.compare("reply", f"{where} latency_s", sample["latency_s"], output["time"])
    choice = output["choices"][0]
    audit.compare("status", f"{where} stop_reason", choice.get("stop_reason"), "stop")
    audit.compare("reply", f"{where} role", choice["message"].get("role"), "assistant")
    for name in ("extracted", "extracted_alt"):
        audit.compare(_RULE, f"{where} {name}", sample[name], letter)
    audit.compare(_RULE, f"{where} status", sample["status"], "answered" if letter else "unparsed")
    audit.compare("grading", f"{where} correct", sample["correct"], float(letter == sample["target"]))
    if letter:
        audit.compare(_RULE, f"{where} reply is the letter", sample["reply"], letter)
    stated = json.loads(sample["letter_logprobs"] or "{}") if "letter_logprobs" in sample else None
    if stated is not None:
        expected = {name: math.log(share) for name, share in shares.items() if share > 0}
        audit.compare(_RULE, f"{where} letter_logprobs", stated, expected, tolerance=1e-6)


def shares_of(readings: Sequence[Row], count: int) -> dict[str, float]:
    """Return the mean probability of each option by its own letter.

    Reading number k shows the options k places on; orders in which no letter was read say nothing.
    """
    shares = dict.fromkeys(_ALPHABET[:count], 0.0)
    read = [(order, reading["logprobs"]) for order, reading in enumerate(readings) if reading["logprobs"]]
    for order, logprobs in read:
        for shown in range(count):
            shares[_ALPHABET[(shown + order) % count]] += math.exp(logprobs[_ALPHABET[shown]]) / len(read)
    return shares if read else {}


def choice_of(shares: Mapping[str, float]) -> str:
    """Return the likeliest letter; "" for none, and for a draw."""
    if not shares:
        return ""
    first, *rest = sorted(shares.values(), reverse=True)
    is_draw = bool(rest) and math.isclose(first, rest[0], rel_tol=1e-14)
    return "" if is_draw else max(shares, key=lambda letter: shares[letter])


def _check_summary(audit: Audit, where: str, summary: Row, rows: Sequence[Row]) -> None:
    """Recount what a result says of all readings together."""
    questions = [row["letters"] for row in rows]
    masses = [float(reading["mass"]) for readings in questions for reading in readings if reading["logprobs"]]
    read = sum(any(reading["logprobs"] for reading in readings) for readings in questions)
    permuted = sum(len(readings) > 1 for readings in questions)
    expected = {"read": read, "mass": mean(masses) if masses else None, "permuted": permuted}
    audit.compare_keys(_RULE, where, summary, expected)
