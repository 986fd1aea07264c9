"""Fields of rows: a program writes every row of a file with the same ones.

A row that lacks one, or has another, was edited.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from bakeoff.foundation.sentences import SAID
from bakeoff.verify import words
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Row

_RULE = "fields of a row"
_FEW = 3
"""Rows from which the most common fields tell what a row has."""
_OF_A_JUDGE = ("judge_summary",)
"""What a judge model leaves in every row that it graded, and nobody else in any."""
Part = Callable[[Row], object]


def _reply(row: Row) -> Row:
    return dict((row["model_output"].get("choices") or [{}])[0])


_OF_A_REPLY: dict[str, Part] = {
    "": lambda row: row,
    "model_output": lambda row: row["model_output"],
    "usage": lambda row: row["model_output"].get("usage"),
    "perf_metrics": lambda row: row["model_output"].get("perf_metrics"),
    "choice": _reply,
    "message": lambda row: _reply(row).get("message"),
    "timing": lambda row: (_reply(row).get("message") or {}).get("perf_metrics"),
}
_OF_A_REVIEW: dict[str, Part] = {
    "": lambda row: row,
    "sample_score": lambda row: row["sample_score"],
    "score": lambda row: row["sample_score"]["score"],
    "value": lambda row: row["sample_score"]["score"]["value"],
}


def check_fields(
    audit: Audit, place: str, rows: Sequence[Row], parts: Mapping[str, Part] | None = None
) -> None:
    """See that all *rows* of a file have the same fields.

    *parts*: what within a row is looked at, by name; by default the row itself. Where a row has no such part, nothing
    is said of it.
    """
    for name, part in (parts or {"": _whole}).items():
        insides = [part(row) for row in rows]
        written = [tuple(inside) for inside in insides if isinstance(inside, dict)]
        audit.counts[_RULE] += len(written)
        if len(set(written)) < 2 or len(written) < _FEW:
            continue
        held = [
            (number, frozenset(inside) - {SAID})
            for number, inside in enumerate(insides, 1)
            if isinstance(inside, dict)
        ]
        fields = Counter(keys for _, keys in held)
        usual = fields.most_common(1)[0][0]
        for number, keys in held:
            if keys != usual:
                where = f"{place}:{number} {name}".strip()
                audit.counts[_RULE] -= 1  # counted above
                audit.fail(_RULE, where, _listed(keys - usual), _listed(usual - keys))


def _whole(row: Row) -> object:
    return row


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(map(str, names))) or words.NOTHING()


def check_replies(audit: Audit, place: str, predictions: Sequence[Row], reviews: Sequence[Row]) -> None:
    """See that the rows that EvalScope kept of one suite have the same fields."""
    check_fields(audit, f"{place} predictions", predictions, _OF_A_REPLY)
    check_fields(audit, f"{place} reviews", reviews, _OF_A_REVIEW)
    for name in _OF_A_JUDGE:
        filled = [row for row in reviews if row["sample_score"]["score"].get(name) is not None]
        is_odd = 0 < len(filled) < len(reviews) / 2
        where = f"{place} reviews {filled[0]['index']} {name}" if is_odd else f"{place} reviews {name}"
        audit.compare(_RULE, where, is_odd, False)
