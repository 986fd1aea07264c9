"""Fields of rows and statements beside texts: what all rows of a file have.

A program writes every row of a file with the same fields. One that lacks a field, or has another, was edited; so was
a text that is not what the template and the values beside it make.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from string import Formatter

from bakeoff.foundation.sentences import SAID, Statement, Template, declared, restored
from bakeoff.verify import words
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Row

_FIELDS, _TEXTS = "fields of a row", "text and its statement"
_NAME = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")
"""What the name of a template looks like."""
_FEW = 3
"""Rows from which the most common fields tell what a row has."""
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
        found = [(number, part(row)) for number, row in enumerate(rows, 1)]
        held = [
            (number, frozenset(inside) - {SAID}) for number, inside in found if isinstance(inside, Mapping)
        ]
        audit.counts[_FIELDS] += len(held)
        fields = Counter(keys for _, keys in held)
        if len(fields) < 2 or len(held) < _FEW:
            continue
        usual = fields.most_common(1)[0][0]
        for number, keys in held:
            if keys != usual:
                where = f"{place}:{number} {name}".strip()
                audit.counts[_FIELDS] -= 1  # counted above
                audit.fail(_FIELDS, where, _listed(keys - usual), _listed(usual - keys))


def _whole(row: Row) -> object:
    return row


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(map(str, names))) or words.NOTHING()


def check_replies(audit: Audit, place: str, predictions: Sequence[Row], reviews: Sequence[Row]) -> None:
    """See that the rows that EvalScope kept of one suite have the same fields."""
    check_fields(audit, f"{place} predictions", predictions, _OF_A_REPLY)
    check_fields(audit, f"{place} reviews", reviews, _OF_A_REVIEW)


def check_statements(audit: Audit, place: str, content: object) -> None:
    """See that each text is what the statement beside it makes.

    Of a template that this version does not have, or words otherwise, nothing can be said.
    """
    for where, text, beside in _statements(content, place):
        audit.compare(_TEXTS, where, _is_made(text, beside), True)


def _statements(value: object, place: str) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    """Yield the place of each text, the text, and what stands beside it."""
    if isinstance(value, list):
        for number, inside in enumerate(value):
            yield from _statements(inside, f"{place} {number}")
    if not isinstance(value, Mapping):
        return
    beside = value.get(SAID)
    for key, inside in value.items():
        if key == SAID:
            continue
        if isinstance(inside, Mapping | list):
            yield from _statements(inside, f"{place} {key}")
        if isinstance(beside, Mapping):
            yield from _pairs(inside, beside.get(key), f"{place} {key}")


def _pairs(value: object, beside: object, place: str) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    if isinstance(value, str) and isinstance(beside, Mapping):
        yield place, value, beside
    elif isinstance(value, list) and isinstance(beside, list):
        for number, pair in enumerate(zip(value, beside, strict=False)):
            yield from _pairs(*pair, f"{place} {number}")


def _is_made(text: str, beside: Mapping[str, object]) -> bool:
    """Return whether a text may be what the statement beside it makes."""
    id, values = str(beside.get("id")), beside.get("values")
    if not isinstance(values, Mapping) or set(beside) != {"id", "values"}:
        return False
    if isinstance(restored({"text": text, SAID: {"text": beside}})["text"], Statement):
        return True
    template = declared().get(id)
    if template is not None:  # another version words it otherwise, or its values are not those of the text
        return not _form(template.text).fullmatch(text)
    module, spoken = id.rpartition(".")[0], restored(values)
    alike = [other for name, other in declared().items() if name.rpartition(".")[0] == module]
    return _NAME.fullmatch(id) is not None and not any(_makes(other, spoken, text) for other in alike)


@lru_cache(maxsize=1024)
def _form(text: str) -> re.Pattern[str]:
    """Return the pattern of all that a template makes."""
    parts = Formatter().parse(text)
    form = (re.escape(before) + (".*" if gap is not None else "") for before, gap, _, _ in parts)
    return re.compile("".join(form), re.DOTALL)


def _makes(template: Template, values: Mapping[str, object], text: str) -> bool:
    try:
        return str(Statement(template, values)) == text
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return False
