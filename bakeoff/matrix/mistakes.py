"""Mistakes of a matrix in words: place, rule, value, and the way out.

What PyYAML and pydantic say names Python's types and repeats lines of the file, comments included; these words do not.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

import yaml
from pydantic import BaseModel
from pydantic_core import ErrorDetails

from bakeoff.matrix.complaints import shown, unknown

_NEVER_SHOWN = ("key_env", "url")
"""Where people paste a key or a password by mistake."""

_SECTIONS = {
    "models": "write each row under its name, models: {my-model: {model: owner/name}}",
    "suites": "write each suite under its name, suites: {ceval: {}}",
    "groups": "write each group under its name, groups: {full: {}}",
    "environments": "write each environment under its name, environments: {vllm: {requirements: [vllm]}}",
    "executor": "write executor: {kind: slurm}",
    "judge": "write judge: {row: NAME}",
    "defaults": "write what all rows share, defaults: {dataset: [owner/data]}",
}


def no_mapping(value: object, section: str) -> str:
    """Return that *value* is no mapping, with an example where one helps."""
    example = f"; {_SECTIONS[section]}" if section in _SECTIONS else ""
    return f"must be a mapping, found {shown(value)}{example}"


def of_yaml(error: yaml.YAMLError | ValueError, text: str) -> str:
    """Return why *text* is no YAML: line and rule, and no part of the text."""
    mark = getattr(error, "problem_mark", None)
    problem = " ".join(str(getattr(error, "problem", None) or "").split())
    if mark is None or not problem:
        return " ".join(str(error).split())
    lines = text.split("\n")
    line = lines[mark.line] if mark.line < len(lines) else ""
    return (
        f"line {mark.line + 1}, column {mark.column + 1}: {_without_value(problem)}{_way_out(problem, line)}"
    )


def _without_value(problem: str) -> str:
    """*problem* without its long words, which may be a pasted key."""
    return re.sub(r"[\w./+=-]{17,}", lambda word: word[0] if word[0].startswith("tag:") else "…", problem)


def _way_out(problem: str, line: str) -> str:
    """What to do about a *problem* that PyYAML met in *line*."""
    if "tag '" in problem:
        return "; nothing is included or filled in: write the value itself, without '!'"
    if "'\\t'" in problem:
        return "; indent with blanks, not with a tab"
    if "another document" in problem:
        return "; a matrix is one document: take the line '---' out"
    if "undefined alias" in problem:
        return "; define it above with '&name', or put quotes around a text that begins with '*'"
    if "escape character" in problem:
        return "; write a path with '/', or in single quotes"
    if "merging" in problem:
        return "; '<<' takes a mapping or a list of mappings, such as <<: *name"
    if any(mark in line for mark in "：，“”｛｝［］"):
        return "; the line holds full-width punctuation: write ':', ',' and '\"' as in English"
    return ""


def not_ascii(text: str) -> Iterator[str]:
    """Yield which lines hold a blank or a colon that YAML does not take."""
    for number, line in enumerate(text.split("\n"), 1):
        if re.match(r"[ ]*[\u00a0\u3000\u2003]", line):
            yield f"line {number}: is indented with a blank that is not YAML's; write ordinary blanks"
            return
        if re.match(r"\s*[\w.-]+：", line):
            yield f"line {number}: has a full-width '：' behind the key; write ':' and a blank"
            return


def in_words(kind: type[BaseModel], place: str, error: ErrorDetails) -> str:
    """Return *error* of pydantic about a part of the matrix at *place*."""
    *path, last = [str(part) for part in error["loc"]] or [""]
    value: object = error.get("input")
    if path and path[-1] == "gpus" and last.startswith("constrained-"):
        return (
            f'{".".join([place, *path])}: must be how many cards, 1 to 64, or which ones in quotes, such as "0,1", '
            f"found {shown(value)}"
        )
    owner = _owner(kind, path)
    where = ".".join([place, *path])
    if error["type"] == "extra_forbidden" and owner:
        return unknown(last, [n for n in owner.model_fields if n != "name"], where)
    if error["type"] == "missing":
        return f"{where}: '{last}' is missing"
    if last == "key_env":
        return (
            f"{where}.key_env: must be the name of an environment variable (letters, digits, _), such as MY_API_KEY; "
            "the key itself belongs into .env under that name"
        )
    if last == "name" and error["type"] in ("string_pattern_mismatch", "string_too_long"):
        return (
            f"{shown(place)}: a name has at most 64 lower-case letters, digits, '.', '_' and '-', and begins with a "
            "letter or digit: it names folders and tests"
        )
    field = owner.model_fields.get(last) if owner else None
    meaning = f" ({field.description})" if field and field.description else ""
    value_shown = "" if last in _NEVER_SHOWN else f", found {shown(value)}"
    return f"{where}.{last}: {_rule(error)}{value_shown}{meaning}{_remedy(error, value, last)}"


def _owner(kind: type[BaseModel], path: Sequence[str]) -> type[BaseModel] | None:
    """The part of the matrix that *path* leads to."""
    owner: type[BaseModel] | None = kind
    for part in path:
        annotation = owner.model_fields[part].annotation if owner and part in owner.model_fields else None
        owner = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return owner


_RULES: Mapping[str, str] = {
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "string_pattern_mismatch": "is not written as it must be",
}


def _rule(error: ErrorDetails) -> str:
    return _RULES.get(error["type"], error["msg"].lower())


def _remedy(error: ErrorDetails, value: object, last: str) -> str:
    """The way out of a wrong value; empty where none is sure."""
    kind = error["type"]
    if kind == "tuple_type":
        return f"; write [{value}]" if isinstance(value, str) and shown(value) == repr(value) else ""
    if kind in ("int_type", "float_type", "bool_type") and isinstance(value, str):
        plain = {"int_type": r"-?\d+", "float_type": r"-?[\d.]+(e-?\d+)?", "bool_type": "(?i)true|false"}[
            kind
        ]
        if re.fullmatch(plain, value):
            return "; write it without quotes"
        if re.fullmatch(r"[\d.]+\s*%", value):
            return "; write a share, such as 0.25 for 25 %"
        if re.fullmatch(r"[\d.]+\s*(s|m|min|h|d)", value) and last.endswith("_s"):
            return "; write the number of seconds"
        return ""
    if kind == "string_type" and value is not None and not isinstance(value, (list, dict)):
        return "; put it in quotes"
    if kind == "literal_error" and isinstance(value, str):
        options = re.findall(r"'([^']+)'", str(error.get("ctx", {}).get("expected", "")))
        alike = [option for option in options if option.lower() == value.strip().lower()]
        alike = alike or difflib.get_close_matches(value, options, n=1)
        return f"; is it {alike[0]!r}?" if alike else ""
    limit = error.get("ctx", {}).get({"less_than": "lt", "less_than_equal": "le"}.get(kind, ""))
    if limit == 1 and isinstance(value, (int, float)):
        return f"; write a share, {value / 100:g} for {value:g} %" if 1 <= value <= 100 else ""
    return ""
