"""What was checked, how often, and every discrepancy."""

from __future__ import annotations

import marshal
import math
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.sentences import Statement
from bakeoff.verify.words import WHOLE_RECORD, WOULD_DIFFER

_SHOWN = 160
_SINGLE = (str, int, float, bool, type(None))
_PLAIN = frozenset(_SINGLE)
_CONTAINERS = (dict, list)
UNREADABLE = (
    BakeoffError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    RecursionError,
    ArithmeticError,
    StopIteration,
    sqlite3.Error,
)
"""What reading a file that somebody edited may raise."""


@dataclass(frozen=True)
class Discrepancy:
    """A value that is not what it should be.

    Attributes:
        place: the file, and the row or key in it.
        rule: what was checked.
        value: what stands there.
        expected: what should.
    """

    place: str
    rule: str
    value: str
    expected: str


@dataclass
class Audit:
    """The checks of one run.

    Attributes:
        counts: how many values each rule was applied to.
        notes: what could not be checked, and why.
    """

    counts: Counter[str] = field(default_factory=Counter)
    discrepancies: list[Discrepancy] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def compare(
        self, rule: str, place: str, value: object, expected: object, tolerance: float = 1e-9
    ) -> bool:
        """Count one check; *value* should equal *expected*.

        Numbers may differ by *tolerance*.
        """
        self.counts[rule] += 1
        if is_same(value, expected, tolerance):
            return True
        self.discrepancies.append(Discrepancy(place, rule, shorten(value), shorten(expected)))
        return False

    def compare_raw(self, rule: str, where: str, name: str, value: object, expected: object) -> None:
        """Compare the JSON values under *name* in *where* just as they are.

        A reply and its conversation are long and mostly alike: written out they are compared at once.
        """
        if is_plainly_same(value, expected) or (
            type(value) is type(expected)
            and type(value) in _CONTAINERS
            and _is_written_alike(value, expected)
        ):
            self.counts[rule] += 1
        else:
            self.compare(rule, f"{where} {name}", value, expected)

    def compare_keys(
        self, rule: str, place: str, value: Mapping[str, object], expected: Mapping[str, object]
    ) -> None:
        """Compare every key that *expected* has."""
        stated_values, values = [value.get(key) for key in expected], list(expected.values())
        types = list(map(type, values))
        if stated_values == values and types == list(map(type, stated_values)) and _PLAIN.issuperset(types):
            self.counts[rule] += len(values)  # all alike, as most rows are
            return
        for key, content in expected.items():
            stated = value.get(key)
            if is_plainly_same(stated, content):  # most are, and their place need not be named
                self.counts[rule] += 1
            else:
                self.compare(rule, f"{place} {key}", stated, content)

    def fail(self, rule: str, place: str, value: object, expected: object) -> None:
        """Count one check, which did not hold."""
        self.counts[rule] += 1
        self.discrepancies.append(Discrepancy(place, rule, shorten(value), shorten(expected)))

    def note(self, words: str) -> None:
        """Tell what could not be checked; the same words once."""
        if words not in self.notes:
            self.notes.append(words)

    def add(self, other: Audit) -> None:
        """Take over everything that *other* found."""
        self.counts.update(other.counts)
        self.discrepancies += other.discrepancies
        for words in other.notes:
            self.note(words)

    def merge_if_sound(self, other: Audit, words: str) -> None:
        """Take over the checks of *other* if they all hold.

        Else note how many did not, with *words* on why.
        """
        if not other.discrepancies:
            self.counts.update(other.counts)
        else:
            self.note(
                WOULD_DIFFER(words=words, count=len(other.discrepancies), total=sum(other.counts.values()))
            )

    @contextmanager
    def reading(self, place: str) -> Iterator[None]:
        """Turn an error in reading *place* into a discrepancy.

        A whole record can be read.
        """
        try:
            yield
        except UNREADABLE as error:
            self.fail("readable", place, f"{type(error).__name__}: {error}", WHOLE_RECORD())

    def as_json(self) -> dict[str, object]:
        """Return everything as plain values."""
        return {
            "checked": dict(self.counts),
            "discrepancies": [asdict(item) for item in self.discrepancies],
            "notes": self.notes,
        }


def is_same(value: object, expected: object, tolerance: float = 1e-9) -> bool:
    """Return whether two values are equal; NaN is null.

    Numbers may differ by *tolerance*, relative above 1. A statement equals one of the same template and values alone,
    for its Chinese comes from them; what is expected may have been stored with more than *value*.
    """
    if is_plainly_same(value, expected):
        return True
    if isinstance(value, Statement):
        return _is_same_statement(value, expected)
    if is_absent(value) or is_absent(expected):
        return is_absent(value) and is_absent(expected)
    if isinstance(value, bool) or isinstance(expected, bool):
        return isinstance(value, bool) and isinstance(expected, bool) and value == expected
    if isinstance(value, int | float) and isinstance(expected, int | float):
        return value == expected or abs(value - expected) <= tolerance * max(1.0, abs(expected))
    if isinstance(value, Mapping) and isinstance(expected, Mapping):
        return value.keys() == expected.keys() and all(
            is_same(value[key], expected[key], tolerance) for key in value
        )
    if isinstance(value, list | tuple) and isinstance(expected, list | tuple):
        return len(value) == len(expected) and all(
            is_same(a, b, tolerance) for a, b in zip(value, expected, strict=True)
        )
    return value == expected


def is_plainly_same(value: object, expected: object) -> bool:
    """Return whether two values are equal at first sight.

    Those within containers are looked at singly.
    """
    return type(value) is type(expected) and type(value) in _SINGLE and value == expected


def _is_written_alike(value: Any, expected: Any) -> bool:
    """Return whether two JSON values are the same, types and order too."""
    if value != expected:
        return False
    try:
        return marshal.dumps(value, 2) == marshal.dumps(expected, 2)  # in half the time of a repr
    except ValueError:  # nested too deeply
        return repr(value) == repr(expected)


def _is_same_statement(value: Statement, expected: object) -> bool:
    return (
        isinstance(expected, Statement)
        and str(value) == str(expected)
        and value.template.id == expected.template.id
        and is_same(value.values, expected.values)
    )


def is_absent(value: object) -> bool:
    """Return whether *value* is null or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def shorten(value: object) -> str:
    """Return *value* as text of a bearable length."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
