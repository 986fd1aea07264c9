"""What a suite demands that cannot be carried out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from bakeoff.foundation.errors import Complaint
from bakeoff.foundation.sentences import Statement, Template
from bakeoff.matrix.complaints import of_folder, secrets_in, shown
from bakeoff.matrix.schema import Matrix, Suite

OF_CRISES = "crisis"
"""The suite under which replies to crisis cases are scored; it enters no mean."""
MAX_LETTER_TOKENS = 32
"""Most tokens of a reply in which a letter is looked for: beyond them a model reasons, and its choice has fallen."""

NAME_OF_CRISES = Template(
    "matrix.suites.name_of_crises",
    "is the name under which replies to crisis cases are scored; give it another name",
    zh="是危机个案评分所用的名称；请换一个名称",
)
SUBSET_TWICE = Template(
    "matrix.suites.subset_twice", "names a subset twice; list each once", zh="同一子集写了两次；每个只写一次"
)
NO_SUBSET = Template(
    "matrix.suites.no_subset",
    "lists none; take the line out to ask all of them",
    zh="列表为空；删除这一行即评测全部子集",
)
NOT_TEXTS = Template(
    "matrix.suites.not_texts", "must be a list of texts, found {value}", zh="应为文本列表，实际是 {value}"
)
NOT_HEADERS = Template(
    "matrix.suites.not_headers",
    "must be a mapping of texts, found {value}",
    zh="应为由文本组成的映射（键: 值），实际是 {value}",
)
NOT_MAPPING = Template(
    "matrix.suites.not_mapping", "must be a mapping, found {value}", zh="应为映射（键: 值），实际是 {value}"
)
NOT_BOOLEAN = Template(
    "matrix.suites.not_boolean",
    "must be true or false, found {value}",
    zh="应为 true 或 false，实际是 {value}",
)
NOT_TEXT = Template("matrix.suites.not_text", "must be a text, found {value}", zh="应为文本，实际是 {value}")
NOT_NUMBER = Template(
    "matrix.suites.not_number", "must be a number, found {value}", zh="应为数字，实际是 {value}"
)
NOT_WHOLE = Template(
    "matrix.suites.not_whole", "must be a whole number, found {value}", zh="应为整数，实际是 {value}"
)
TOO_SMALL = Template(
    "matrix.suites.too_small",
    "must be {least} or more, found {value}",
    zh="应不小于 {least}，实际是 {value}",
)
NOT_ABOVE = Template(
    "matrix.suites.not_above",
    "must be greater than {least}, found {value}",
    zh="应大于 {least}，实际是 {value}",
)
TOO_GREAT = Template(
    "matrix.suites.too_great",
    "must be at most {most}, found {value}",
    zh="应不大于 {most}，实际是 {value}",
)
SPELLED = Template(
    "matrix.suites.spelled", "is not known; is it {name!r}?", zh="没有这个键；是否应为 {name!r}？"
)
OF_THE_REQUEST = Template(
    "matrix.suites.of_the_request",
    "{key!r} would replace what the harness asks; take it out",
    zh="{key!r} 会替换 bakeoff 发送的内容；请删除",
)
OWN_PLACE = Template(
    "matrix.suites.own_place",
    "{key!r} has a place of its own; write it as generation: {{{name}: …}}",
    zh="{key!r} 有专门的位置；请写成 generation: {{{name}: …}}",
)
ORDERS = Template(
    "matrix.suites.orders",
    "only 'scoring: logprob' asks a question in several orders of its options",
    zh="只有 'scoring: logprob' 会以多种选项顺序提问",
)
NO_LETTERS = Template(
    "matrix.suites.no_letters",
    "an open question has no letters whose log-probabilities could be read",
    zh="开放题没有选项字母，无法读取其对数概率",
)
TEMPERATURE = Template(
    "matrix.suites.temperature",
    "log-probabilities are read at temperature 0; take it out",
    zh="对数概率在 temperature 0 下读取；请删除",
)
STREAM = Template(
    "matrix.suites.stream",
    "log-probabilities are read from whole answers; take it out",
    zh="对数概率从完整的回答中读取；请删除",
)
LETTER_TOKENS = Template(
    "matrix.suites.letter_tokens",
    "a letter is looked for in the first {most} tokens at most, found {tokens}; 1 where replies begin with it, 8 "
    "behind words such as {example}",
    zh="最多只在前 {most} 个 token 中寻找字母，实际是 {tokens}；"
    "回复以字母开头时写 1，字母前有“{example}”一类的词时写 8",
)
TOP_LOGPROBS = Template(
    "matrix.suites.top_logprobs",
    "2 or more, so that letters can be compared, found {top}",
    zh="应不小于 2，才能比较各个字母，实际是 {top}",
)
UNUSED = Template(
    "matrix.suites.unused",
    "{names} is defined, and no row asks for it; add 'suites: [{names}]' to defaults, to a group or to a row, or take "
    "it out",
    zh="定义了 {names}，但没有模型行使用；请在 defaults、某个组或某一行中加上 'suites: [{names}]'，或将其删除",
)
SEVERAL_UNUSED = Template(
    "matrix.suites.several_unused",
    "{names} are defined, and no row asks for them; add 'suites: [{listed}]' to defaults, to a group or to a row, or "
    "take them out",
    zh="定义了 {names}，但没有模型行使用；请在 defaults、某个组或某一行中加上 'suites: [{listed}]'，或将其删除",
)

_AT_LEAST = {"max_tokens": 1, "temperature": 0, "top_p": 0, "top_logprobs": 0}
_ABOVE = {"timeout": 0, "repetition_penalty": 0}
_AT_MOST = {"top_p": 1, "max_tokens": 2**31 - 1}
_WHOLE = ("max_tokens", "top_k", "seed", "top_logprobs")
_NUMBERS = (*_AT_LEAST, *_WHOLE, "frequency_penalty", "presence_penalty", "repetition_penalty")
_OF_THE_REQUEST = (
    "model",
    "messages",
    "prompt",
    "stream",
    "stream_options",
    "n",
    "tools",
    "tool_choice",
    "functions",
)


def of_suite(suite: Suite) -> Iterator[Complaint]:
    """Yield settings that are impossible or contradict each other."""
    place = f"suites.{suite.name}"
    yield from of_folder(suite.name, place)
    if suite.name == OF_CRISES:
        yield Complaint(place, NAME_OF_CRISES())
    if suite.subsets and len(set(suite.subsets)) < len(suite.subsets):
        yield Complaint(f"{place}.subsets", SUBSET_TWICE())
    if suite.subsets is not None and not suite.subsets:
        yield Complaint(f"suites.{suite.name}.subsets", NO_SUBSET())
    yield from _scoring(suite)
    for name, value in suite.generation.items():
        where = f"{place}.generation.{name}"
        if why := _wrong_value(name, value):
            yield Complaint(where, why)
        if isinstance(value, dict):
            yield from secrets_in(value, where)
        if name == "extra_body" and isinstance(value, dict):
            yield from _of_the_request(value, where)
        plain = re.sub(r"[- ]", "_", name.lower())
        if name != plain and plain in (*_NUMBERS, "stop_seqs", "extra_headers", "extra_body"):
            yield Complaint(where, SPELLED(name=plain))


def _wrong_value(name: str, value: JsonValue) -> Statement | None:
    """Return why *value* cannot be sent as *name*; None where it can."""
    if name in _NUMBERS:
        return _number(name, value)
    if name == "stop_seqs":
        texts = isinstance(value, list) and value and all(isinstance(text, str) and text for text in value)
        return None if texts else NOT_TEXTS(value=shown(value))
    if name == "extra_headers":
        texts = isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
        return None if texts else NOT_HEADERS(value=shown(value))
    if name == "extra_body" and not isinstance(value, dict):
        return NOT_MAPPING(value=shown(value))
    if name in ("logprobs", "stream") and not isinstance(value, bool):
        return NOT_BOOLEAN(value=shown(value))
    if name == "reasoning_effort" and not isinstance(value, str):
        return NOT_TEXT(value=shown(value))
    return None


def _number(name: str, value: JsonValue) -> Statement | None:
    if isinstance(value, bool) or not isinstance(value, int if name in _WHOLE else (int, float)):
        return (NOT_WHOLE if name in _WHOLE else NOT_NUMBER)(value=shown(value))
    if name in _AT_LEAST and value < _AT_LEAST[name]:
        return TOO_SMALL(least=_AT_LEAST[name], value=shown(value))
    if name in _ABOVE and value <= _ABOVE[name]:
        return NOT_ABOVE(least=_ABOVE[name], value=shown(value))
    if name in _AT_MOST and value > _AT_MOST[name]:
        return TOO_GREAT(most=_AT_MOST[name], value=shown(value))
    return None


def _of_the_request(body: Mapping[str, JsonValue], where: str) -> Iterator[Complaint]:
    """Yield what in *body* would replace what the harness sends."""
    for key in body:
        if key in _OF_THE_REQUEST:
            yield Complaint(where, OF_THE_REQUEST(key=key))
        elif (spelling := {"stop": "stop_seqs"}.get(key, key)) in (*_NUMBERS, "stop_seqs", "logprobs"):
            yield Complaint(where, OWN_PLACE(key=key, name=spelling))


def _scoring(suite: Suite) -> Iterator[Complaint]:
    where = f"suites.{suite.name}"
    if suite.scoring == "generation":
        if suite.orders > 1:
            yield Complaint(f"{where}.orders", ORDERS())
        return
    if suite.kind == "open":
        yield Complaint(f"{where}.scoring", NO_LETTERS())
    if suite.generation.get("temperature"):
        yield Complaint(f"{where}.generation.temperature", TEMPERATURE())
    if suite.generation.get("stream"):
        yield Complaint(f"{where}.generation.stream", STREAM())
    tokens, top = suite.generation.get("max_tokens", 1), suite.generation.get("top_logprobs", 20)
    if isinstance(tokens, int) and tokens > MAX_LETTER_TOKENS:
        why = LETTER_TOKENS(most=MAX_LETTER_TOKENS, tokens=tokens, example="答案：")
        yield Complaint(f"{where}.generation.max_tokens", why)
    if isinstance(top, int) and top < 2:
        yield Complaint(f"{where}.generation.top_logprobs", TOP_LOGPROBS(top=top))


def unused_suites(matrix: Matrix) -> Iterator[Complaint]:
    """Yield the suites that no row asks for, in one sentence."""
    used = {name for spec in matrix.models.values() for name in spec.suites}
    unused = [name for name in matrix.suites if name not in used]
    if len(unused) == 1:
        yield Complaint("suites", UNUSED(names=unused[0]))
    elif unused:
        yield Complaint("suites", SEVERAL_UNUSED(names=unused, listed=", ".join(unused)))
