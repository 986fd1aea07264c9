"""What the engine says: templates in English and Chinese, and statements.

A template has an id; a statement is made from it with values.

A rule declares its templates beside it and returns a :class:`Statement`, which is the English text as a ``str``.
Whoever shows it in another language, or decides by it, asks its template and its values, never its words. On disk a
statement is its text, with id and values beside it under :data:`SAID`; see :func:`with_statements`.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

Form = Literal["text", "zh", "en"]

SAID = "statements"
"""Key of a mapping that holds statements: their ids and values, under the same keys and nested in the same lists."""
_MODULE = re.compile(r"[a-z][a-z_]*(\.[a-z][a-z_]*)*")
_TEMPLATES: dict[str, Template] = {}
_MOVED = {
    "chain.chain": "chain.needs",
    "tools.swift": "tools.checkpoints",
    "sentences": "foundation.sentences",
}
"""Modules whose sentences another module declares by now; older stores name them."""


class Template:
    """A sentence with named gaps.

    Attributes:
        id: the module below ``bakeoff`` that declares it, a dot, and a name.
        text: the English that is stored and printed. Gaps are those of ``str.format``; ``pct`` formats a share, and
            the items of a list are listed.
        zh: the Chinese of the report.
        en: the English of the report, by default *text*.
        between: what stands between the items of a list, in English and in Chinese.
    """

    def __init__(
        self, id: str, text: str, *, zh: str, en: str = "", between: tuple[str, str] = (", ", "、")
    ) -> None:
        if id in _TEMPLATES:
            raise ValueError(f"two templates are called {id!r}")
        self.id, self.text, self.zh, self.en, self.between = id, text, zh, en or text, between
        _TEMPLATES[id] = self

    def __call__(self, **values: object) -> Statement:
        """Return the statement with these *values*."""
        return Statement(self, {name: _storable(value) for name, value in values.items()})

    def made(self, text: object) -> bool:
        """Whether *text* is a statement of this template."""
        return isinstance(text, Statement) and text.template is self

    def filled(self, form: Form, values: Mapping[str, object]) -> str:
        """Return one *form* of the sentence with *values* in its gaps."""
        return _Formatter(form, self.between[form == "zh"]).vformat(getattr(self, form), (), values)


class Statement(str):
    """A template with its values; as a ``str`` the English text that is stored and printed."""

    template: Template
    values: Mapping[str, Any]

    def __new__(cls, template: Template, values: Mapping[str, object]) -> Statement:
        """Return the statement of *template* with *values*.

        :meth:`Template.__call__` makes the values storable first.
        """
        statement = super().__new__(cls, template.filled("text", values))
        statement.template, statement.values = template, MappingProxyType(dict(values))
        return statement

    @property
    def zh(self) -> str:
        """The Chinese of the report."""
        return self.template.filled("zh", self.values)

    @property
    def en(self) -> str:
        """The English of the report."""
        return self.template.filled("en", self.values)

    def __reduce__(self) -> tuple[object, ...]:
        return _revived, (str(self), self.template.id, dict(self.values))

    def __deepcopy__(self, memo: object) -> Statement:
        return self


class _Count(int):
    """A count of things, which a report writes with a comma between thousands."""

    def __format__(self, spec: str) -> str:
        return int.__format__(self, spec or ",")


class _Formatter(string.Formatter):
    """Fills gaps with numbers, texts, statements in the same form, and lists of these."""

    _COUNTS = frozenset({"count", "total", "rows", "failed"})
    """Gaps that hold a count; other whole numbers may be a port, a seed, a setting."""

    def __init__(self, form: Form, between: str) -> None:
        self._form = form
        self._between = between

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        value, name = super().get_field(field_name, args, kwargs)
        counts = self._form != "text" and type(value) is int and field_name in self._COUNTS
        return (_Count(value) if counts else value), name

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Statement):
            return str(value) if self._form == "text" else value.template.filled(self._form, value.values)
        if isinstance(value, list):
            return self._between.join(self.format_field(item, format_spec) for item in value)
        if self._form == "zh" and isinstance(value, str):
            value = in_chinese(value)
        if format_spec == "pct":
            return f"{100 * value:.1f}".removesuffix(".0") + "%"
        return format(value, format_spec)


def declared() -> Mapping[str, Template]:
    """Return every template that was declared so far, by its id."""
    return MappingProxyType(_TEMPLATES)


def gaps(form: str) -> set[str]:
    """Return the names of the gaps of one form of a sentence."""
    return {name for _, name, _, _ in string.Formatter().parse(form) if name}


JOINED = Template("foundation.sentences.joined", "{parts}", zh="{parts}", between=("; ", "；"))
"""Several statements, or texts, one after the other."""


def joined(parts: Iterable[str]) -> str:
    """Return *parts* that are not empty as one statement.

    A single one, or "", is returned as it is.
    """
    every = [piece for part in parts for piece in parts_of(part)]
    if len(every) < 2:
        return every[0] if every else ""
    return JOINED(parts=every)


def parts_of(text: str) -> Sequence[str]:
    """Return the statements that :func:`joined` put together in *text*."""
    if isinstance(text, Statement) and JOINED.made(text):
        return list(text.values["parts"])
    return [text] if text else []


def in_languages(text: str) -> tuple[str, str] | None:
    """Return Chinese and English of a statement; None for a text that is none."""
    return (text.zh, text.en) if isinstance(text, Statement) else None


def in_chinese(text: str) -> str:
    """Return the Chinese of a statement or complaint; another text as it is."""
    zh = getattr(text, "zh", text)
    return zh if isinstance(zh, str) else text


def language_of(environ: Mapping[str, str]) -> Literal["zh", "en"]:
    """Return ``zh`` or ``en``, as the locale in *environ* says."""
    locale = next(filter(None, (environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return "zh" if locale.lower().startswith("zh") else "en"


def of_error(error: BaseException) -> str:
    """Return the statement that *error* was raised with, else its text."""
    if len(error.args) == 1 and isinstance(error.args[0], Statement):
        return error.args[0]
    return str(error)


def with_statements(value: Any) -> Any:
    """Return *value* as JSON can hold it.

    Each mapping keeps ids and values of its statements under :data:`SAID`.
    """
    if isinstance(value, Mapping):
        plain = {key: with_statements(item) for key, item in value.items()}
        beside = {key: inner for key, item in value.items() if (inner := _beside(item)) is not None}
        return {**plain, SAID: beside} if beside else plain
    if isinstance(value, list | tuple):
        return [with_statements(item) for item in value]
    return str(value) if isinstance(value, Statement) else value


def restored(value: Any) -> Any:
    """Return *value*, read from JSON, with statements in place of texts.

    A text stays a text where nothing stands beside it, where no template has that id, and where template and values
    make another text: somebody changed either.
    """
    if isinstance(value, Mapping):
        beside = value.get(SAID)
        if not isinstance(beside, Mapping) or not beside.keys() <= value.keys():
            return {key: restored(item) for key, item in value.items()}
        return {
            key: _joined_up(restored(item), beside.get(key)) for key, item in value.items() if key != SAID
        }
    return [restored(item) for item in value] if isinstance(value, list) else value


def statement_of(row: Mapping[Any, object], key: str) -> str:
    """Return the text under *key* of a table's *row*.

    It is a statement where one stands beside it.
    """
    beside = row.get(SAID)
    text = row[key]
    text = text if isinstance(text, Statement) else str(text)
    return _joined_up(text, beside.get(key)) if isinstance(beside, Mapping) else text


def _storable(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def _beside(value: object) -> Any:
    """What is kept beside *value*; None where no statement is in it.

    Those within a mapping stand beside that mapping.
    """
    if isinstance(value, Statement):
        texts = {name: with_statements(item) for name, item in value.values.items()}
        inner = {name: part for name, item in value.values.items() if (part := _beside(item)) is not None}
        return {"id": value.template.id, "values": {**texts, SAID: inner} if inner else texts}
    if isinstance(value, list | tuple):
        items = [_beside(item) for item in value]
        return items if any(item is not None for item in items) else None
    return None


def _joined_up(value: Any, beside: Any) -> Any:
    if isinstance(value, list) and isinstance(beside, list) and len(value) == len(beside):
        return [_joined_up(*pair) for pair in zip(value, beside, strict=True)]
    if isinstance(value, str) and isinstance(beside, Mapping) and isinstance(beside.get("values"), Mapping):
        return _revived(value, beside.get("id"), restored(beside["values"]))
    return value


def _revived(text: str, id: object, values: Mapping[str, object]) -> str:
    template = _template(id)
    try:
        statement = Statement(template, values) if template else None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # another version's gaps
        return text
    return statement if statement is not None and str(statement) == text else text


def _template(id: object) -> Template | None:
    """The template called *id*, from the module that declares it."""
    if not isinstance(id, str):
        return None
    module, _, name = id.rpartition(".")
    if id not in _TEMPLATES and _MODULE.fullmatch(id):
        with contextlib.suppress(ImportError):
            importlib.import_module(f"bakeoff.{module}")
    if id not in _TEMPLATES and module in _MOVED:
        return _template(f"{_MOVED[module]}.{name}")
    return _TEMPLATES.get(id)


def plural(count: int, word: str) -> str:
    """Return the English *word* as it stands after *count*."""
    return word if count == 1 else word + "s"
