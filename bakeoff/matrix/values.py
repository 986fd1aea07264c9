"""Values of a row that are well formed, and that no run could use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from bakeoff.foundation.errors import Complaint
from bakeoff.foundation.sentences import Statement, Template
from bakeoff.matrix.complaints import of_folder, shown, why_no_place
from bakeoff.matrix.datasets import is_local_model, is_there
from bakeoff.matrix.schema import Matrix, ModelSpec

SHIPPED_CASES = Template(
    "matrix.values.shipped_cases",
    "the shipped cases are what is taken where none are given; take 'cases' out",
    zh="未给出个案时就使用自带的个案；请删除 'cases'",
)
CASES_ARE_FOLDER = Template(
    "matrix.values.cases_are_folder",
    "{file} is a folder; name the JSONL file in it",
    zh="{file} 是文件夹；请写其中的 JSONL 文件",
)
CASES_ARE_FOLDER_WITH = Template(
    "matrix.values.cases_are_folder_with",
    "{file} is a folder; name the JSONL file in it ({names})",
    zh="{file} 是文件夹；请写其中的 JSONL 文件（{names}）",
    between=(", ", ", "),
)
NO_CASES = Template(
    "matrix.values.no_cases",
    "no such file {file}; a relative path counts from the matrix",
    zh="没有文件 {file}；相对路径从矩阵文件所在的文件夹算起",
)
WORD_OF_K = Template(
    "matrix.values.word_of_k",
    "is a word of 'pytest -k', which could not select this row; give it another name",
    zh="是 'pytest -k' 的关键词，无法用它选择该行；请换一个名称",
)
SUITE_TWICE = Template(
    "matrix.values.suite_twice", "names a suite twice; list each once", zh="同一测试集写了两次；每个只写一次"
)
VARIANT_TWICE = Template(
    "matrix.values.variant_twice",
    "names a variant twice; list each once",
    zh="base 或 tuned 写了两次；每个只写一次",
)
NO_VARIANT = Template(
    "matrix.values.no_variant",
    "is empty, and the row asks for suites; list base, tuned or both, or take 'suites' out",
    zh="为空，而该行要评测测试集；请写 base、tuned 或两者，或删除 'suites'",
)
SET_BY_US = Template(
    "matrix.values.set_by_us",
    "'{name}' is set by the harness itself; take it out",
    zh="'{name}' 由 bakeoff 设置；请删除",
)
LOOKS_LIKE_KEY = Template(
    "matrix.values.looks_like_key",
    "must be the name of an environment variable, such as MY_API_KEY, and what stands there looks like the key itself; "
    "put the key into .env under such a name",
    zh="应为环境变量的名称，例如 MY_API_KEY，而这里写的像是密钥本身；请把密钥以这样的名称放入 .env",
)
EMPTY = Template(
    "matrix.values.empty",
    "is empty; give a value, or take the line out",
    zh="为空；请给出值，或删除这一行",
)
EMPTY_TEXT = Template(
    "matrix.values.empty_text",
    "holds an empty text; give a value, or take it out",
    zh="含有空文本；请给出值，或删除",
)
TOO_GREAT = Template(
    "matrix.values.too_great",
    "must be at most {most}, found {value}",
    zh="应不大于 {most}，实际是 {value}",
)
PAGE = Template(
    "matrix.values.page",
    "is the address of a page; give the id of the hub, such as {example}, or a folder",
    zh="是网页地址；请给出站点 id，例如 {example}，或给出文件夹",
)
NO_HUB_ID = Template(
    "matrix.values.no_hub_id",
    "{model} is no id of a hub (owner/name of letters, digits, '.', '_' and '-'), and there is no such folder; begin a "
    "folder with '/' or './'",
    zh="{model} 不是站点 id（owner/name，由字母、数字、'.'、'_' 和 '-' 组成），也没有这个文件夹；"
    "文件夹请以 '/' 或 './' 开头",
)
NO_CARDS = Template(
    "matrix.values.no_cards",
    'must be numbers or UUIDs of cards as in CUDA_VISIBLE_DEVICES, such as "0,1", found {value}; without quotes it is '
    "how many",
    zh='应为 GPU 的编号或 UUID，写法同 CUDA_VISIBLE_DEVICES，例如 "0,1"，实际是 {value}；不加引号表示数量',
)
CARD_TWICE = Template(
    "matrix.values.card_twice",
    "names a card twice, found {value}; list each once",
    zh="同一块 GPU 写了两次，实际是 {value}；每块只写一次",
)

LARGEST = 2**31 - 1
"""What the tools take as a number of steps, tokens or seconds."""
LARGEST_SENT = 2**63 - 1
"""What JSON and command lines carry without loss."""
PASSED_ON = ("extra", "extra_body", "generation")
MAY_BE_EMPTY = ("prelude", "revision")  # of a revision it is said elsewhere what can be one
OF_SELECTION = ("and", "or", "not")
"""Words of ``pytest -k``, which could select no row of such a name."""
OURS = {
    "training": ("model", "dataset", "output_dir", "adapters", "resume_from_checkpoint", "add_version"),
    "serving": (
        "model",
        "adapters",
        "port",
        "host",
        "server_name",
        "server_port",
        "served_model_name",
    ),
}
"""Flags that the harness sets by itself; another value would lead around what it records."""

_PLACES = ("model", "weights", "adapter")


def of_places(matrix: Matrix) -> Iterator[Complaint]:
    """Yield which paths of suites and cases nothing could be read from."""
    for suite in matrix.suites.values():
        if suite.data and (why := why_no_place(suite.data)):
            yield Complaint(f"suites.{suite.name}.data", why)
    if matrix.cases is None or (file := matrix.cases_file) is None:
        return
    if why := why_no_place(matrix.cases):
        yield Complaint("cases", why)
    elif matrix.cases.startswith("shipped:"):
        yield Complaint("cases", SHIPPED_CASES())
    elif file.is_dir():
        inside = [path.name for path in sorted(file.glob("*.jsonl"))[:3]]
        why = CASES_ARE_FOLDER_WITH(file=file, names=inside) if inside else CASES_ARE_FOLDER(file=file)
        yield Complaint("cases", why)
    elif not is_there(file) or not file.is_file():
        yield Complaint("cases", NO_CASES(file=file))


def of_values(spec: ModelSpec) -> Iterator[Complaint]:
    """Yield which values of a row no run could use, each with what would do."""
    where = spec.name
    if spec.name in OF_SELECTION:
        yield Complaint(where, WORD_OF_K())
    yield from of_folder(where, where)
    yield from _empty_or_huge(spec, where)
    yield from _model(spec)
    yield from _cards(spec)
    if len(set(spec.suites)) < len(spec.suites):
        yield Complaint(f"{where}.suites", SUITE_TWICE())
    if len(set(spec.evaluate)) < len(spec.evaluate):
        yield Complaint(f"{where}.evaluate", VARIANT_TWICE())
    if spec.suites and not spec.evaluate:
        yield Complaint(f"{where}.evaluate", NO_VARIANT())
    for part, names in OURS.items():
        for name in names:
            if name in getattr(spec, part).extra:
                yield Complaint(f"{where}.{part}.extra", SET_BY_US(name=name))
    if spec.key_env and _looks_like_a_key(spec.key_env):
        yield Complaint(f"{where}.key_env", LOOKS_LIKE_KEY())


def _empty_or_huge(part: BaseModel, where: str) -> Iterator[Complaint]:
    for name, value in part:
        place = f"{where}.{name}"
        if isinstance(value, BaseModel):
            yield from _empty_or_huge(value, place)
        elif isinstance(value, str) and not value.strip() and name not in MAY_BE_EMPTY:
            yield Complaint(place, EMPTY())
        elif isinstance(value, tuple) and any(isinstance(item, str) and not item.strip() for item in value):
            yield Complaint(place, EMPTY_TEXT())
    yield from _huge(dict(part), where)


def _huge(value: object, place: str, most: int = LARGEST) -> Iterator[Complaint]:
    """Yield which numbers of *value*, however deep, no tool could take."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            # what is only passed on, such as a seed, may have 64 bits
            yield from _huge(inner, f"{place}.{name}", LARGEST_SENT if name in PASSED_ON else most)
    elif isinstance(value, list):
        for inner in value:
            yield from _huge(inner, place, most)
    elif isinstance(value, int | float) and abs(value) > most:
        yield Complaint(place, TOO_GREAT(most=f"{most:,}", value=shown(value)))


def of_numbers(parts: Mapping[str, BaseModel | None]) -> Iterator[Complaint]:
    """Yield which numbers of *parts*, by their places, no tool could take."""
    for place, part in parts.items():
        if part is not None:
            yield from _huge(part.model_dump(), place)


def _model(spec: ModelSpec) -> Iterator[Complaint]:
    """Yield why a model is neither a folder nor an id of a hub."""
    places = {name: getattr(spec, name) or "" for name in _PLACES}
    if wrong := {name: why for name, text in places.items() if (why := why_no_place(text))}:
        yield from (Complaint(f"{spec.name}.{name}", why) for name, why in wrong.items())
        return
    model = spec.model
    if not model or not model.strip() or spec.tiny is not None or is_local_model(model):
        return
    if no_id := why_no_hub_id(model):
        yield Complaint(f"{spec.name}.model", no_id)


def why_no_hub_id(model: str) -> Statement | None:
    """Return why a hub has no model of this id; None where it may have."""
    if re.match(r"https?://", model):
        words = re.sub(r"https?://[^/]+/(models/)?", "", model).split("/")
        example = "/".join(words[:2]) if len(words) > 1 else "owner/name"
        return PAGE(example=shown(example))
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model, re.ASCII):
        return NO_HUB_ID(model=shown(model))
    return None


def _cards(spec: ModelSpec) -> Iterator[Complaint]:
    """Yield why ``gpus`` names no cards."""
    if spec.visible is None:
        return
    names = [part.strip() for part in spec.visible.split(",")]
    if not all(re.fullmatch(r"\d{1,3}|(GPU|MIG)-[\w/-]+", name, re.ASCII) for name in names):
        yield Complaint(f"{spec.name}.gpus", NO_CARDS(value=shown(spec.visible)))
    elif len(set(names)) < len(names):
        yield Complaint(f"{spec.name}.gpus", CARD_TWICE(value=shown(spec.visible)))


def _looks_like_a_key(name: str) -> bool:
    """Whether *name* is a random mixture, as a key is."""
    kinds = [re.search(kind, name) for kind in ("[a-z]", "[0-9]")]
    return len(name) >= 20 and all(kinds) and sum(char.isdigit() for char in name) >= 4
