"""The text of a matrix as YAML values; what YAML itself gets wrong."""

from __future__ import annotations

import re
from collections.abc import Hashable

import yaml

from bakeoff.foundation.sentences import Template
from bakeoff.foundation.texts import has_half_character
from bakeoff.matrix.complaints import shown

MOST_CHARACTERS = 2**20
MOST_VALUES = 200_000
MOST_DIGITS = 400
DEEPEST = 60
"""A matrix is some kilobytes and a few levels deep; aliases of aliases ("YAML bombs") would fill the memory."""

TWICE = Template(
    "matrix.yaml_text.twice",
    "{key} is given twice (again in line {line}); keep one of the two",
    zh="{key} 出现两次（第二次在第 {line} 行）；请只保留一个",
)
MERGED_TWICE = Template(
    "matrix.yaml_text.merged_twice",
    "{key} is given twice (again in line {line}); write both as <<: [*a, *b]",
    zh="{key} 出现两次（第二次在第 {line} 行）；请合写为 <<: [*a, *b]",
)
KEY_IS_NAME = Template(
    "matrix.yaml_text.key_is_name",
    "a key is a name, found {key} in line {line}; put quotes around it",
    zh="键应为名称，第 {line} 行实际是 {key}；请加引号",
)
ZERO_BYTES = Template(
    "matrix.yaml_text.zero_bytes",
    "holds zero bytes, as UTF-16 without a mark has them; save it as UTF-8",
    zh="含有零字节（无标记的 UTF-16 文件就是如此）；请另存为 UTF-8",
)
TOO_LONG = Template(
    "matrix.yaml_text.too_long",
    "has {characters} characters, and a matrix at most {most}",
    zh="有 {characters} 个字符，而矩阵文件最多 {most} 个",
)
BOMB = Template(
    "matrix.yaml_text.bomb",
    "its aliases (*name) stand for more than {most} values when written out; write a matrix without aliases of aliases",
    zh="其中的别名（*name）展开后超过 {most} 个值；请不要使用别名的别名",
)
TOO_DEEP = Template(
    "matrix.yaml_text.too_deep",
    "line {line}: is nested deeper than {levels} levels",
    zh="第 {line} 行：嵌套超过 {levels} 层",
)
IN_ITSELF = Template(
    "matrix.yaml_text.in_itself",
    "line {line}: holds itself by an alias (*name)",
    zh="第 {line} 行：通过别名（*name）包含自身",
)
MANY_DIGITS = Template(
    "matrix.yaml_text.many_digits",
    "line {line}: a number of {digits} digits; write a smaller one",
    zh="第 {line} 行：数字有 {digits} 位；请写较小的数",
)
HALF_CHARACTER = Template(
    "matrix.yaml_text.half_character",
    "line {line}: holds half a character; write it anew",
    zh="第 {line} 行：含有不完整的字符；请重新输入",
)

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
            twice = MERGED_TWICE if key.value == "<<" else TWICE
            loader.complaints.append(twice(key=shown(key.value), line=line))
        keys.add(str(key.value))
    loader.flatten_mapping(node)
    mapping: dict[object, object] = {}
    for key_node, value_node in node.value:
        key = _key(loader, key_node)
        if isinstance(key, Hashable):
            mapping[key] = loader.construct_object(value_node, deep=True)
        else:
            line = key_node.start_mark.line + 1
            loader.complaints.append(KEY_IS_NAME(key=shown(key), line=line))
    return mapping


def _key(loader: _Loader, node: yaml.Node) -> object:
    """The key as it is written: a row ``on`` or ``1.10`` is called so."""
    if isinstance(node, yaml.ScalarNode) and node.tag in _NOT_TEXT:
        return node.value
    return loader.construct_object(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def content_of(text: str) -> tuple[object, list[str]]:
    """Return what *text* says, and which keys in it are wrong.

    Raises:
        ValueError: it is too large, nested too deep, or holds what no file can.
        yaml.YAMLError: it is no YAML.
        RecursionError: it is nested deeper than Python can follow.
    """
    if "\0" in text[:1000]:
        raise ValueError(ZERO_BYTES())
    if len(text) > MOST_CHARACTERS:
        raise ValueError(TOO_LONG(characters=f"{len(text):,}", most=f"{MOST_CHARACTERS:,}"))
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, []
        if _expanded(node, {}, 0) > MOST_VALUES:
            raise ValueError(BOMB(most=f"{MOST_VALUES:,}"))
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
        raise ValueError(TOO_DEEP(line=line, levels=DEEPEST))
    if id(node) in sizes:
        if sizes[id(node)] < 0:
            raise ValueError(IN_ITSELF(line=line))
        return sizes[id(node)]
    sizes[id(node)] = -1
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        inner = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif len(node.value) > MOST_DIGITS and node.tag.endswith((":int", ":float")):
        raise ValueError(MANY_DIGITS(line=line, digits=f"{len(node.value):,}"))
    elif has_half_character(node.value):
        raise ValueError(HALF_CHARACTER(line=line))
    sizes[id(node)] = min(1 + sum(_expanded(part, sizes, depth + 1) for part in inner), 10 * MOST_VALUES)
    return sizes[id(node)]
