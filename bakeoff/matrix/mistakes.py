"""Mistakes of a matrix in words: place, rule, value, and the way out.

What pydantic says names Python's types; these words do not.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from bakeoff.foundation.errors import Complaint
from bakeoff.foundation.sentences import Statement, Template, of_error
from bakeoff.matrix.complaints import shown, unknown
from bakeoff.matrix.meanings import meaning_of

_NEVER_SHOWN = ("key_env", "url")
"""Where people paste a key or a password by mistake."""

NO_MAPPING = Template(
    "matrix.mistakes.no_mapping", "must be a mapping, found {value}", zh="应为映射（键: 值），实际是 {value}"
)
NO_MAPPING_BUT = Template(
    "matrix.mistakes.no_mapping_but",
    "must be a mapping, found {value}; {remedy}",
    zh="应为映射（键: 值），实际是 {value}；{remedy}",
)
WRITE_MODELS = Template(
    "matrix.mistakes.write_models",
    "write each row under its name, models: {{my-model: {{model: owner/name}}}}",
    zh="请把每一行写在它的名称下，models: {{my-model: {{model: owner/name}}}}",
)
WRITE_SUITES = Template(
    "matrix.mistakes.write_suites",
    "write each suite under its name, suites: {{ceval: {{}}}}",
    zh="请把每个测试集写在它的名称下，suites: {{ceval: {{}}}}",
)
WRITE_GROUPS = Template(
    "matrix.mistakes.write_groups",
    "write each group under its name, groups: {{full: {{}}}}",
    zh="请把每个组写在它的名称下，groups: {{full: {{}}}}",
)
WRITE_ENVIRONMENTS = Template(
    "matrix.mistakes.write_environments",
    "write each environment under its name, environments: {{vllm: {{requirements: [vllm]}}}}",
    zh="请把每个环境写在它的名称下，environments: {{vllm: {{requirements: [vllm]}}}}",
)
WRITE_EXECUTOR = Template(
    "matrix.mistakes.write_executor",
    "write executor: {{kind: slurm}}",
    zh="请写 executor: {{kind: slurm}}",
)
WRITE_JUDGE = Template(
    "matrix.mistakes.write_judge", "write judge: {{row: NAME}}", zh="请写 judge: {{row: NAME}}"
)
WRITE_DEFAULTS = Template(
    "matrix.mistakes.write_defaults",
    "write what all rows share, defaults: {{dataset: [owner/data]}}",
    zh="请写所有行共用的内容，defaults: {{dataset: [owner/data]}}",
)
_SECTIONS = {
    "models": WRITE_MODELS,
    "suites": WRITE_SUITES,
    "groups": WRITE_GROUPS,
    "environments": WRITE_ENVIRONMENTS,
    "executor": WRITE_EXECUTOR,
    "judge": WRITE_JUDGE,
    "defaults": WRITE_DEFAULTS,
}
GPUS = Template(
    "matrix.mistakes.gpus",
    'must be how many cards, 1 to 64, or which ones in quotes, such as "0,1", found {value}',
    zh='应为 GPU 的数量（1 至 64），或加引号写明哪几块，例如 "0,1"，实际是 {value}',
)
MISSING = Template("matrix.mistakes.missing", "'{key}' is missing", zh="缺少 '{key}'")
NO_VARIABLE = Template(
    "matrix.mistakes.no_variable",
    "must be the name of an environment variable (letters, digits, _), such as MY_API_KEY; the key itself belongs into "
    ".env under that name",
    zh="应为环境变量的名称（字母、数字、_），例如 MY_API_KEY；密钥本身请以该名称写入 .env",
)
NO_NAME = Template(
    "matrix.mistakes.no_name",
    "a name has at most 64 lower-case letters, digits, '.', '_' and '-', and begins with a letter or digit: it names "
    "folders and tests",
    zh="名称最多 64 个字符，由小写字母、数字、'.'、'_' 和 '-' 组成，并以字母或数字开头：文件夹和测试以它命名",
)
FOUND = Template("matrix.mistakes.found", "{rule}, found {value}", zh="{rule}，实际是 {value}")
MEANS = Template("matrix.mistakes.means", "{what} ({meaning})", zh="{what}（{meaning}）")


def no_mapping(value: object, section: str) -> Statement:
    """Return that *value* is no mapping, with an example where one helps."""
    if section in _SECTIONS:
        return NO_MAPPING_BUT(value=shown(value), remedy=_SECTIONS[section]())
    return NO_MAPPING(value=shown(value))


def in_words(kind: type[BaseModel], place: str, error: ErrorDetails) -> Complaint:
    """Return *error* of pydantic about a part of the matrix at *place*."""
    *path, last = [str(part) for part in error["loc"]] or [""]
    value: object = error.get("input")
    where = ".".join([place, *path])
    if path and path[-1] == "gpus" and last.startswith("constrained-"):
        return Complaint(where, GPUS(value=shown(value)))
    owner = _owner(kind, path)
    if error["type"] == "extra_forbidden" and owner:
        return unknown(last, [n for n in owner.model_fields if n != "name"], where)
    if error["type"] == "missing":
        return Complaint(where, MISSING(key=last))
    if last == "key_env":
        return Complaint(f"{where}.key_env", NO_VARIABLE())
    if last == "name" and error["type"] in ("string_pattern_mismatch", "string_too_long"):
        return Complaint(shown(place), NO_NAME())
    what: str = _rule(error)
    if last not in _NEVER_SHOWN:
        what = FOUND(rule=what, value=shown(value))
    if owner and (meaning := meaning_of(owner, last)):
        what = MEANS(what=what, meaning=meaning)
    return Complaint(f"{where}.{last}", what, _remedy(error, value, last))


def _owner(kind: type[BaseModel], path: Sequence[str]) -> type[BaseModel] | None:
    """The part of the matrix that *path* leads to."""
    owner: type[BaseModel] | None = kind
    for part in path:
        annotation = owner.model_fields[part].annotation if owner and part in owner.model_fields else None
        owner = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return owner


_RULES: Mapping[str, Template] = {
    "tuple_type": Template("matrix.mistakes.list", "must be a list", zh="应为列表"),
    "dict_type": Template("matrix.mistakes.mapping", "must be a mapping", zh="应为映射（键: 值）"),
    "string_pattern_mismatch": Template(
        "matrix.mistakes.pattern", "is not written as it must be", zh="写法不符合要求"
    ),
    "int_type": Template("matrix.mistakes.integer", "input should be a valid integer", zh="应为整数"),
    "float_type": Template("matrix.mistakes.number", "input should be a valid number", zh="应为数字"),
    "bool_type": Template(
        "matrix.mistakes.boolean", "input should be a valid boolean", zh="应为 true 或 false"
    ),
    "string_type": Template("matrix.mistakes.string", "input should be a valid string", zh="应为文本"),
    "finite_number": Template(
        "matrix.mistakes.finite", "input should be a finite number", zh="应为有限的数字"
    ),
}
_RULES = {**_RULES, "model_type": _RULES["dict_type"]}
_LIMITS: Mapping[str, tuple[str, Template]] = {
    "greater_than": (
        "gt",
        Template("matrix.mistakes.above", "input should be greater than {limit}", zh="应大于 {limit}"),
    ),
    "greater_than_equal": (
        "ge",
        Template(
            "matrix.mistakes.at_least",
            "input should be greater than or equal to {limit}",
            zh="应大于或等于 {limit}",
        ),
    ),
    "less_than": (
        "lt",
        Template("matrix.mistakes.below", "input should be less than {limit}", zh="应小于 {limit}"),
    ),
    "less_than_equal": (
        "le",
        Template(
            "matrix.mistakes.at_most",
            "input should be less than or equal to {limit}",
            zh="应小于或等于 {limit}",
        ),
    ),
    "string_too_short": (
        "min_length",
        Template(
            "matrix.mistakes.too_short",
            "string should have {limit} character or more",
            zh="至少 {limit} 个字符",
        ),
    ),
    "string_too_long": (
        "max_length",
        Template(
            "matrix.mistakes.too_long",
            "string should have at most {limit} characters",
            zh="最多 {limit} 个字符",
        ),
    ),
}
ONE_OF = Template("matrix.mistakes.one_of", "input should be {options}", zh="应为 {options}")
OR = Template("matrix.mistakes.or", "{options} or {last}", zh="{options} 或 {last}")
OTHER = Template("matrix.mistakes.other", "{rule}", zh="不符合要求（`{rule}`）")
VALUE_ERROR = Template("matrix.mistakes.value_error", "{why}", zh="{why}")


def _rule(error: ErrorDetails) -> Statement:
    """Return the rule that a value breaks."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _RULES:
        return _RULES[kind]()
    if kind in _LIMITS and _LIMITS[kind][0] in context:
        key, template = _LIMITS[kind]
        limit = context[key]
        return template(limit=f"{limit:g}" if isinstance(limit, float) else limit)
    if kind == "literal_error" and (options := _options(error)):
        *others, last = map(repr, options)
        return ONE_OF(options=OR(options=others, last=last) if others else last)
    if kind == "value_error" and isinstance(why := context.get("error"), Exception):
        return VALUE_ERROR(why=of_error(why))
    return OTHER(rule=error["msg"].lower())


def _options(error: ErrorDetails) -> list[str]:
    return re.findall(r"'([^']+)'", str(error.get("ctx", {}).get("expected", "")))


WRITE_LIST = Template("matrix.mistakes.write_list", "write [{value}]", zh="请写 [{value}]")
NO_QUOTES = Template("matrix.mistakes.no_quotes", "write it without quotes", zh="请去掉引号")
NO_ZERO = Template("matrix.mistakes.no_zero", "write it without the zero in front", zh="请去掉开头的 0")
QUOTES = Template("matrix.mistakes.quotes", "put it in quotes", zh="请加引号")
A_SHARE = Template(
    "matrix.mistakes.a_share", "write a share, such as 0.25 for 25 %", zh="请写比例，例如 25 % 写作 0.25"
)
SHARE = Template(
    "matrix.mistakes.share", "write a share, {share} for {percent} %", zh="请写比例，{percent} % 写作 {share}"
)
SECONDS = Template("matrix.mistakes.seconds", "write the number of seconds", zh="请写秒数")
IS_IT = Template("matrix.mistakes.is_it", "is it {name!r}?", zh="是否应为 {name!r}？")


def _remedy(error: ErrorDetails, value: object, last: str) -> str:
    """The way out of a wrong value; empty where none is sure."""
    kind = error["type"]
    if kind == "tuple_type":
        is_plain = isinstance(value, str) and shown(value) == repr(value)
        return WRITE_LIST(value=value) if is_plain else ""
    if kind in ("int_type", "float_type", "bool_type") and isinstance(value, str):
        plain = {"int_type": r"-?\d+", "float_type": r"-?[\d.]+(e-?\d+)?", "bool_type": "(?i)true|false"}[
            kind
        ]
        if re.fullmatch(r"[-+]?0\d+|0[oO]\d+", value):
            return NO_ZERO()
        if re.fullmatch(plain, value):
            return NO_QUOTES()
        if re.fullmatch(r"[\d.]+\s*%", value):
            return A_SHARE()
        if re.fullmatch(r"[\d.]+\s*(s|m|min|h|d)|\d+(:\d+)+", value) and last.endswith("_s"):
            return SECONDS()
        return ""
    if kind == "string_type" and value is not None and not isinstance(value, (list, dict)):
        return QUOTES()
    if kind == "literal_error" and isinstance(value, str):
        options = _options(error)
        alike = [option for option in options if option.lower() == value.strip().lower()]
        alike = alike or difflib.get_close_matches(value, options, n=1)
        return IS_IT(name=alike[0]) if alike else ""
    limit = error.get("ctx", {}).get({"less_than": "lt", "less_than_equal": "le"}.get(kind, ""))
    if limit == 1 and isinstance(value, (int, float)) and 1 <= value <= 100:
        return SHARE(share=f"{value / 100:g}", percent=f"{value:g}")
    return ""
