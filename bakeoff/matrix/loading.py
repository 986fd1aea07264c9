"""The matrix from its YAML file, or everything that is wrong with it.

Each mistake comes with its place, the rule, the value found and the nearest name that would be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from bakeoff.foundation.errors import Complaint, DataError, MatrixError, complaint_of
from bakeoff.foundation.files import read_text
from bakeoff.foundation.sentences import Template, of_error
from bakeoff.matrix.addresses import of_judge
from bakeoff.matrix.borrowing import with_lenders
from bakeoff.matrix.complaints import secrets_in, shown, unknown
from bakeoff.matrix.executors import of_executor
from bakeoff.matrix.mistakes import in_words, no_mapping
from bakeoff.matrix.presets import environments_for, preset_of
from bakeoff.matrix.rows import of_row
from bakeoff.matrix.schema import Environment, ExecutorSpec, Group, Judge, Matrix, ModelSpec, Suite
from bakeoff.matrix.seeds import expand_seeds
from bakeoff.matrix.sharing import of_sharing
from bakeoff.matrix.suites import of_suite, unused_suites
from bakeoff.matrix.values import of_numbers, of_places, of_values
from bakeoff.matrix.yaml_mistakes import not_ascii, of_yaml
from bakeoff.matrix.yaml_text import DEEPEST, content_of

_Part = TypeVar("_Part", bound=BaseModel)
Section = dict[str, object]
"""A part of the file as YAML has it, before it is checked."""

IS_FOLDER = Template(
    "matrix.loading.is_folder",
    "is a folder; name the YAML file in it{hint} with --matrix",
    zh="是文件夹；请用 --matrix 指定其中的 YAML 文件{hint}",
)
NO_FILE = Template(
    "matrix.loading.no_file",
    "no file {file}; name one with --matrix",
    zh="没有文件 {file}；请用 --matrix 指定，或先用 `bakeoff new` 新建",
)
THE_MATRIX = Template("matrix.loading.the_matrix", "the matrix", zh="矩阵文件")
ONE_FILE = Template(
    "matrix.loading.one_file",
    "'{key}' is not known: a matrix is one file; copy what is shared into it",
    zh="没有 '{key}' 这个键：矩阵只有一个文件；请把共用的内容复制进来",
)
NO_CASES_PATH = Template(
    "matrix.loading.no_cases_path",
    "must be the path of a JSONL file, found {value}",
    zh="应为 JSONL 文件的路径，实际是 {value}",
)
CASES_IN_ONE = Template(
    "matrix.loading.cases_in_one", "put all cases into one file", zh="请把所有个案放进一个文件"
)
NO_ROWS = Template(
    "matrix.loading.no_rows",
    "'models' must list at least one row; see docs/matrix.md for an example",
    zh="'models' 中至少要有一行；示例见 docs/matrix.md",
)
OWN_ENVIRONMENT = Template(
    "matrix.loading.own_environment",
    "is the environment that pytest runs in, so it takes 'env' only; give requirements and Python another name, and "
    "name it in the row under 'environment'",
    zh="是运行 pytest 的环境，因此只能写 'env'；"
    "请把 requirements 和 python 写在另一个名称下，并在模型行的 'environment' 中引用它",
)
NO_VARIABLES = Template(
    "matrix.loading.no_variables",
    "must list names of environment variables, such as [FEISHU_URL]; the addresses themselves belong into .env under "
    "these names",
    zh="应列出环境变量的名称，例如 [FEISHU_URL]；地址本身请以这些名称写入 .env",
)
NO_ROW = Template(
    "matrix.loading.no_row",
    "a row is a mapping, found {value}",
    zh="每一行应为映射（键: 值），实际是 {value}",
)
WRITE_ROW = Template(
    "matrix.loading.write_row", "write {name}: {{model: {model}}}", zh="请写 {name}: {{model: {model}}}"
)
SECTION = Template("matrix.loading.section", "'{key}' {what}", zh="'{key}' {what}")
NAME_IS_KEY = Template(
    "matrix.loading.name_is_key",
    "'name' is not known: the name is {name!r}, as the key says; take it out",
    zh="没有 'name' 这个键：名称就是 {name!r}，以键为准；请删除",
)
NESTED = Template("matrix.loading.nested", "is nested deeper than {levels} levels", zh="嵌套超过 {levels} 层")


def load_matrix(path: Path) -> Matrix:
    """The matrix in the YAML file *path*.

    Raises:
        MatrixError: the file is absent, empty, no YAML, or holds mistakes; all of them are listed.
    """
    matrix, complaints = read_matrix(path)
    if complaints:
        raise MatrixError(complaints, matrix.source)
    return matrix


def read_matrix(path: Path) -> tuple[Matrix, list[str]]:
    """What the YAML file *path* says that is right, and every mistake in it.

    Raises:
        MatrixError: the file is absent, empty or no YAML.
    """
    if path.is_dir():
        inside = [file.name for file in sorted(path.glob("*.y*ml"))[:5]]
        hint = f" ({', '.join(inside)})" if inside else ""
        raise MatrixError(IS_FOLDER(hint=hint), str(path))
    if not path.exists():
        raise MatrixError(NO_FILE(file=path), str(path))
    try:
        text = read_text(path)
    except DataError as error:
        raise MatrixError(complaint_of(error) or of_error(error), str(path)) from None
    try:
        raw, complaints = content_of(text)
    except (yaml.YAMLError, ValueError) as error:
        raise MatrixError(of_yaml(error, text), str(path)) from None
    except RecursionError:
        raise MatrixError(NESTED(levels=DEEPEST), str(path)) from None
    try:
        matrix, complaints = _read(raw, str(path), complaints)
    except MatrixError as error:
        raise MatrixError([*not_ascii(text), *error.complaints], str(path)) from None
    if not complaints:  # a mistyped name leaves a suite without rows, too, and is told already
        complaints = list(unused_suites(matrix))
    return matrix, complaints


def parse_matrix(raw: object, source: str = "matrix") -> Matrix:
    """The matrix that *raw*, the content of a YAML file, describes."""
    matrix, complaints = _read(raw, source, [])
    if complaints:
        raise MatrixError(complaints, source)
    return matrix


_SECTIONS = ("defaults", "groups", "environments", "suites", "models", "judge", "executor")


def _unknown_sections(keys: Iterable[object]) -> Iterator[str]:
    for key in keys:
        if key in ("include", "extends", "import"):
            yield Complaint(THE_MATRIX(), ONE_FILE(key=key))
        elif key not in (*_SECTIONS, "cases") and not str(key).startswith("x-"):  # a place for YAML anchors
            yield unknown(str(key), (*_SECTIONS, "cases"), THE_MATRIX())


def _cases(value: object, complaints: list[str]) -> str | None:
    """The file under ``cases``; None for none, and for what is no path."""
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    several = CASES_IN_ONE() if isinstance(value, list) else ""
    complaints.append(Complaint("cases", NO_CASES_PATH(value=shown(value)), several))
    return None


def _read(raw: object, source: str, complaints: list[str]) -> tuple[Matrix, list[str]]:
    notify: object = None
    if isinstance(raw, dict):
        notify, raw = raw.get("notify"), {key: value for key, value in raw.items() if key != "notify"}
    if not isinstance(raw, dict) or not raw.get("models"):
        complaints.append(NO_ROWS())
        raise MatrixError(complaints, source)
    complaints += _unknown_sections(raw)
    sections = {key: _section(raw, key, complaints) for key in _SECTIONS}

    sections["models"] = with_lenders(sections["models"], complaints)
    sections["environments"] = {**environments_for(sections), **sections["environments"]}
    environments = _parse(Environment, sections["environments"], "environments", complaints)
    running = environments.setdefault("default", Environment(name="default"))
    if running.requirements or running.python:
        complaints.append(Complaint("environments.default", OWN_ENVIRONMENT()))
    suites = _parse(
        Suite,
        {n: {"benchmark": n, **s} if isinstance(s, dict) else s for n, s in sections["suites"].items()},
        "suites",
        complaints,
    )
    models, recipes = expand_seeds(_rows(sections, complaints), complaints)
    for spec in models.values():
        complaints += of_row(spec, sections["suites"], {**sections["environments"], "default": None})
        complaints += of_values(spec)
    complaints += of_sharing(models.values())
    for environment in environments.values():
        complaints += secrets_in(environment.env, f"environments.{environment.name}.env")
    for suite in suites.values():
        complaints += of_suite(suite)
    judge = _parse_single(Judge, "judge", sections, complaints)
    if judge:
        complaints += of_judge(judge, sections["models"])
    executor = _parse_single(ExecutorSpec, "executor", sections, complaints)
    if executor:
        complaints += of_executor(executor, "executor")
    matrix = Matrix(
        notify=_variables(notify, complaints),
        source=source,
        models=models,
        suites=suites,
        environments=environments,
        judge=judge,
        cases=_cases(raw.get("cases"), complaints),
        executor=executor,
        recipes=recipes,
        built_in=_built_in(sections, models),
    )
    complaints += of_places(matrix)
    named = {f"suites.{suite.name}": suite for suite in suites.values()}
    complaints += of_numbers({**named, "judge": judge, "executor": executor})
    return matrix, list(dict.fromkeys(complaints))


def _variables(value: object, complaints: list[str]) -> tuple[str, ...]:
    """The environment variables under ``notify``."""
    names = value if isinstance(value, list) else [] if value is None else [value]
    right = [
        name for name in names if isinstance(name, str) and re.fullmatch(r"[A-Za-z_]\w{0,254}", name, re.A)
    ]
    if len(right) < len(names):
        complaints.append(Complaint("notify", NO_VARIABLES()))
    return tuple(dict.fromkeys(right))


def _rows(sections: Mapping[str, Section], complaints: list[str]) -> dict[str, ModelSpec]:
    """The rows with what they inherit."""
    defaults, groups = sections["defaults"], sections["groups"]
    complaints += [
        unknown(str(name), get_args(Group), "groups") for name in groups if name not in get_args(Group)
    ]
    inherited = _mistakes(ModelSpec, "defaults", {**defaults, "name": "defaults"})
    for name, group in groups.items():
        if isinstance(group, dict):
            inherited |= _mistakes(ModelSpec, f"groups.{name}", {**group, "name": "groups"})
        elif group is not None:
            complaints.append(Complaint(f"groups.{name}", no_mapping(group, "")))
    rows: dict[str, object] = {}
    for name, row in sections["models"].items():
        if not isinstance(row, dict):
            is_plain = isinstance(row, str) and shown(row) == repr(row)
            example = WRITE_ROW(name=name, model=row) if is_plain else ""
            complaints.append(Complaint(str(name), NO_ROW(value=shown(row)), example))
            continue
        group_name = row.get("group", defaults.get("group", "full"))
        group = groups.get(group_name) if isinstance(group_name, str) else None
        preset = preset_of(defaults, groups, row)
        rows[name] = _merge(_merge(_merge(preset, defaults), group if isinstance(group, dict) else {}), row)
    models = _parse(ModelSpec, rows, "", complaints, inherited)
    complaints += inherited.values()
    return models


def _built_in(sections: Mapping[str, Section], models: Mapping[str, ModelSpec]) -> dict[str, str]:
    """The rows that start from a built-in group, and which."""
    rows = {name: row for name, row in sections["models"].items() if name in models and isinstance(row, dict)}
    groups = {
        name: preset_of(sections["defaults"], sections["groups"], row).get("group")
        for name, row in rows.items()
    }
    return {name: str(group) for name, group in groups.items() if group}


def _section(raw: Section, key: str, complaints: list[str]) -> Section:
    value = raw.get(key) or {}
    if isinstance(value, dict):
        return value
    complaints.append(SECTION(key=key, what=no_mapping(value, key)))
    return {}


def _parse(
    kind: type[_Part],
    raw: Mapping[str, object],
    where: str,
    complaints: list[str],
    inherited: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, _Part]:
    parsed: dict[str, _Part] = {}
    for name, value in raw.items():
        place = f"{where}.{name}" if where else str(name)
        if not isinstance(value, dict):
            complaints.append(Complaint(place, no_mapping(value, "")))
            continue
        if value.get("name", str(name)) != str(name):
            complaints.append(Complaint(place, NAME_IS_KEY(name=str(name))))
        value = {**value, "name": str(name)}
        if mistakes := _mistakes(kind, place, value):
            complaints += [words for mistake, words in mistakes.items() if mistake not in inherited]
        else:
            parsed[str(name)] = kind.model_validate(value)
    return parsed


def _parse_single(
    kind: type[_Part], key: str, sections: Mapping[str, Section], complaints: list[str]
) -> _Part | None:
    return _parse(kind, {key: sections[key]}, "", complaints).get(key) if sections[key] else None


def _mistakes(kind: type[BaseModel], place: str, value: Mapping[str, object]) -> dict[str, str]:
    """The mistakes of *value* in words, by type, place and input."""
    try:
        kind.model_validate(value)
    except ValidationError as error:
        return {
            repr((mistake["type"], mistake["loc"], shown(mistake.get("input")))): in_words(
                kind, place, mistake
            )
            for mistake in error.errors()
        }
    return {}


def _merge(under: Mapping[str, object], over: Mapping[str, object]) -> Section:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
