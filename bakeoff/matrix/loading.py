"""The matrix from its YAML file, or everything that is wrong with it.

Each mistake comes with its place, the rule, the value found and the nearest name that would be right.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from bakeoff.foundation.errors import DataError, MatrixError
from bakeoff.foundation.files import read_text
from bakeoff.foundation.sentences import Template, of_error
from bakeoff.foundation.texts import has_half_character
from bakeoff.matrix import complaints as checks
from bakeoff.matrix.borrowing import with_lenders
from bakeoff.matrix.complaints import shown, unknown
from bakeoff.matrix.executors import of_executor
from bakeoff.matrix.mistakes import in_words, no_mapping, not_ascii, of_yaml
from bakeoff.matrix.presets import environments_for, preset_of
from bakeoff.matrix.schema import Environment, ExecutorSpec, Group, Judge, Matrix, ModelSpec, Suite
from bakeoff.matrix.seeds import expand_seeds
from bakeoff.matrix.sharing import of_sharing
from bakeoff.matrix.values import of_places, of_values

_Part = TypeVar("_Part", bound=BaseModel)
Section = dict[str, object]
"""A part of the file as YAML has it, before it is checked."""

MOST_CHARACTERS = 2**20
MOST_VALUES = 200_000
MOST_DIGITS = 400
DEEPEST = 60
"""A matrix is some kilobytes and a few levels deep; aliases of aliases ("YAML bombs") would fill the memory."""
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
NESTED = Template("matrix.loading.nested", "is nested deeper than {levels} levels", zh="嵌套超过 {levels} 层")


_NOT_TEXT = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "int", "null", "timestamp"))


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers (``2e-4`` is one, ``1:30`` and ``010`` are none), and a key given twice is a mistake."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as in the base class)
        first: [pair for pair in pairs if pair[0] not in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.complaints: list[str] = []


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$"),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"), list("-+.")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"), list("-+0123456789")
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[object, object]:
    keys: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in keys:
            line = key.start_mark.line + 1
            way_out = "write both as <<: [*a, *b]" if key.value == "<<" else "keep one of the two"
            loader.complaints.append(f"{shown(key.value)} is given twice (again in line {line}); {way_out}")
        keys.add(str(key.value))
    loader.flatten_mapping(node)
    mapping: dict[object, object] = {}
    for key_node, value_node in node.value:
        key = _key(loader, key_node)
        if isinstance(key, Hashable):
            mapping[key] = loader.construct_object(value_node, deep=True)
        else:
            line = key_node.start_mark.line + 1
            loader.complaints.append(
                f"a key is a name, found {shown(key)} in line {line}; put quotes around it"
            )
    return mapping


def _key(loader: _Loader, node: yaml.Node) -> object:
    """The key as it is written: a row ``on`` or ``1.10`` is called so."""
    if isinstance(node, yaml.ScalarNode) and node.tag in _NOT_TEXT:
        return node.value
    return loader.construct_object(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


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
        raise MatrixError(of_error(error), str(path)) from None
    try:
        raw, complaints = _content(text)
    except (yaml.YAMLError, ValueError) as error:
        raise MatrixError(of_yaml(error, text), str(path)) from None
    except RecursionError:
        raise MatrixError(NESTED(levels=DEEPEST), str(path)) from None
    try:
        matrix, complaints = _read(raw, str(path), complaints)
    except MatrixError as error:
        raise MatrixError([*not_ascii(text), *error.complaints], str(path)) from None
    if not complaints:  # a mistyped name leaves a suite without rows, too, and is told already
        complaints = list(checks.unused_suites(matrix))
    return matrix, complaints


def _content(text: str) -> tuple[object, list[str]]:
    if "\0" in text[:1000]:
        raise ValueError("holds zero bytes, as UTF-16 without a mark has them; save it as UTF-8")
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"has {len(text):,} characters, and a matrix at most {MOST_CHARACTERS:,}")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, []
        if _expanded(node, {}, 0) > MOST_VALUES:
            raise ValueError(
                f"its aliases (*name) stand for more than {MOST_VALUES:,} values when written out; write a matrix "
                "without aliases of aliases"
            )
        return loader.construct_document(node), loader.complaints
    finally:
        loader.dispose()


def _expanded(node: yaml.Node, sizes: dict[int, int], depth: int) -> int:
    """How many values *node* holds with all of its aliases written out.

    Raises:
        ValueError: it holds itself, or is nested too deep.
    """
    line = node.start_mark.line + 1
    if depth > DEEPEST:
        raise ValueError(f"line {line}: is nested deeper than {DEEPEST} levels")
    if id(node) in sizes:
        if sizes[id(node)] < 0:
            raise ValueError(f"line {line}: holds itself by an alias (*name)")
        return sizes[id(node)]
    sizes[id(node)] = -1
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        inner = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif len(node.value) > MOST_DIGITS and node.tag.endswith((":int", ":float")):
        raise ValueError(f"line {line}: a number of {len(node.value):,} digits; write a smaller one")
    elif has_half_character(node.value):
        raise ValueError(f"line {line}: holds half a character; write it anew")
    sizes[id(node)] = min(1 + sum(_expanded(part, sizes, depth + 1) for part in inner), 10 * MOST_VALUES)
    return sizes[id(node)]


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
            yield f"the matrix: '{key}' is not known: a matrix is one file; copy what is shared into it"
        elif key not in (*_SECTIONS, "cases") and not str(key).startswith("x-"):  # a place for YAML anchors
            yield unknown(str(key), (*_SECTIONS, "cases"), "the matrix")


def _cases(value: object, complaints: list[str]) -> str | None:
    """The file under ``cases``; None for none, and for what is no path."""
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    several = "; put all cases into one file" if isinstance(value, list) else ""
    complaints.append(f"cases: must be the path of a JSONL file, found {shown(value)}{several}")
    return None


def _read(raw: object, source: str, complaints: list[str]) -> tuple[Matrix, list[str]]:
    notify: object = None
    if isinstance(raw, dict):
        notify, raw = raw.get("notify"), {key: value for key, value in raw.items() if key != "notify"}
    if not isinstance(raw, dict) or not raw.get("models"):
        complaints.append("'models' must list at least one row; see docs/matrix.md for an example")
        raise MatrixError(complaints, source)
    complaints += _unknown_sections(raw)
    sections = {key: _section(raw, key, complaints) for key in _SECTIONS}

    sections["models"] = with_lenders(sections["models"], complaints)
    sections["environments"] = {**environments_for(sections), **sections["environments"]}
    environments = _parse(Environment, sections["environments"], "environments", complaints)
    running = environments.setdefault("default", Environment(name="default"))
    if running.requirements or running.python:
        complaints.append(
            "environments.default: is the environment that pytest runs in, so it takes 'env' only; "
            "give requirements and Python another name, and name it in the row under 'environment'"
        )
    suites = _parse(
        Suite,
        {n: {"benchmark": n, **s} if isinstance(s, dict) else s for n, s in sections["suites"].items()},
        "suites",
        complaints,
    )
    models, recipes = expand_seeds(_rows(sections, complaints), complaints)
    for spec in models.values():
        complaints += checks.of_row(spec, sections["suites"], {**sections["environments"], "default": None})
        complaints += of_values(spec)
    complaints += of_sharing(models.values())
    for environment in environments.values():
        complaints += checks.secrets_in(environment.env, f"environments.{environment.name}.env")
    for suite in suites.values():
        complaints += checks.of_suite(suite)
    judge = _parse_single(Judge, "judge", sections, complaints)
    if judge:
        complaints += checks.of_judge(judge, sections["models"])
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
    return matrix, list(dict.fromkeys(complaints))


def _variables(value: object, complaints: list[str]) -> tuple[str, ...]:
    """The environment variables under ``notify``."""
    names = value if isinstance(value, list) else [] if value is None else [value]
    right = [
        name for name in names if isinstance(name, str) and re.fullmatch(r"[A-Za-z_]\w{0,254}", name, re.A)
    ]
    if len(right) < len(names):
        complaints.append(
            "notify: must list names of environment variables, such as [FEISHU_URL]; the addresses themselves belong "
            "into .env under these names"
        )
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
            complaints.append(f"groups.{name}: {no_mapping(group, '')}")
    rows: dict[str, object] = {}
    for name, row in sections["models"].items():
        if not isinstance(row, dict):
            example = (
                f"; write {name}: {{model: {row}}}"
                if isinstance(row, str) and shown(row) == repr(row)
                else ""
            )
            complaints.append(f"{name}: a row is a mapping, found {shown(row)}{example}")
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
    complaints.append(f"'{key}' {no_mapping(value, key)}")
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
            complaints.append(f"{place}: {no_mapping(value, '')}")
            continue
        if value.get("name", str(name)) != str(name):
            complaints.append(
                f"{place}: 'name' is not known: the name is {str(name)!r}, as the key says; take it out"
            )
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
