"""Values that can work and are seldom meant, and data given twice.

A number that no run could use is refused when the matrix is read. One that lies outside what is usual is told, with
the usual range, and taken. The usual range of a number is a hundredth to a hundred times its default (a count may be
as small as it likes), unless its key says another.
"""

from __future__ import annotations

import filecmp
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from bakeoff.doctor.finding import Finding, merged
from bakeoff.foundation.sentences import Template
from bakeoff.matrix.complaints import shown
from bakeoff.matrix.datasets import DatasetName, dataset_files, dataset_name
from bakeoff.matrix.schema import Matrix, ModelSpec, Suite
from bakeoff.matrix.settings import Usual

UNUSUAL = Template(
    "doctor.unusual.unusual",
    "{key} is {value}, and {least} to {most} is usual",
    zh="{key} 为 {value}，通常在 {least} 到 {most} 之间",
)
IS_IT_MEANT = Template(
    "doctor.unusual.is_it_meant",
    "correct it, or leave it if it is meant: it is taken as it stands",
    zh="请改正；如果确实如此，保留即可：会按原值使用",
)
BEYOND = Template(
    "doctor.unusual.beyond",
    "{key} is {value}, and the model's own context ends at {context} tokens",
    zh="{key} 为 {value}，而模型自身的上下文只有 {context} 个词元",
)
NO_MORE = Template(
    "doctor.unusual.no_more",
    "{key}: {context}, or a model that reads more",
    zh="{key}: {context}，或换用上下文更长的模型",
)
TWICE = Template(
    "doctor.unusual.twice",
    "dataset names {place} twice ({spellings}): its dialogues are trained twice in every epoch",
    zh="dataset 两次写了 {place}（{spellings}）：其中的对话每轮会训练两次",
    between=(", ", "、"),
)
HOLDS = Template(
    "doctor.unusual.holds",
    "dataset names {first} and {second}, which hold the same ({files}): these dialogues are trained twice in every "
    "epoch",
    zh="dataset 写了 {first} 和 {second}，二者内容相同（{files}）：这些对话每轮会训练两次",
    between=(", ", "、"),
)
ONCE = Template(
    "doctor.unusual.once",
    "list it once; if more weight is meant, set training.epochs",
    zh="只写一次；如需加大权重，请设置 training.epochs",
)

TOO_FEW_EXAMPLES = Template(
    "doctor.unusual.too_few_examples",
    "few_shot is {value}, and {benchmark} has {examples} examples to a subject: EvalScope would end with an error",
    zh="few_shot 为 {value}，而 {benchmark} 每个科目只有 {examples} 个示例：EvalScope 会报错退出",
)
GIVE_FEWER = Template(
    "doctor.unusual.give_fewer", "few_shot: {examples} or less", zh="few_shot 不超过 {examples}"
)

EXAMPLES: Mapping[str, int] = {"ceval": 5, "cmmlu": 5}
"""What the published sets show at most."""
FACTOR = 100
"""How far from its default a number is usual."""
GENERATION: Mapping[str, Usual] = {
    "max_tokens": Usual(1, 131072),
    "temperature": Usual(0, 2),
    "top_p": Usual(0.05, 1),
    "top_k": Usual(-1, 1000),
    "frequency_penalty": Usual(-2, 2),
    "presence_penalty": Usual(-2, 2),
    "repetition_penalty": Usual(0.5, 2),
    "timeout": Usual(5, 86400),
}
"""What is usually sent with a question; services refuse most of the rest."""
_PARTS = ("training", "serving", "limits")


def seldom_meant(rows: Sequence[ModelSpec], matrix: Matrix) -> list[Finding]:
    """Return what *rows* and their suites say and seldom mean."""
    return merged(_every(rows, matrix), [row.name for row in rows])


def _every(rows: Sequence[ModelSpec], matrix: Matrix) -> Iterator[Finding]:
    for row in rows:
        for part in _PARTS:
            is_used = row.trains if part == "training" else not row.url
            if is_used or part == "limits":
                yield from _of_part(getattr(row, part), f"{part}.", row.name)
        yield from _beyond_context(row)
        if row.trains:
            yield from data_twice(row)
    used = {name for row in rows for name in row.suites}
    for suite in matrix.suites.values():
        if suite.name in used:
            yield from _of_suite(suite)


def _of_suite(suite: Suite) -> Iterator[Finding]:
    place = f"suites.{suite.name}"
    yield from _of_part(suite, "", place)
    if (examples := EXAMPLES.get(suite.benchmark)) and (suite.few_shot or 0) > examples:
        what = TOO_FEW_EXAMPLES(value=suite.few_shot, benchmark=suite.benchmark, examples=examples)
        yield Finding("error", place, what, GIVE_FEWER(examples=examples))
    for key, usual in GENERATION.items():
        value = suite.generation.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield from _told(f"generation.{key}", value, usual, place)


def _of_part(part: BaseModel, prefix: str, place: str) -> Iterator[Finding]:
    for key, field in type(part).model_fields.items():
        value = getattr(part, key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        usual = next((mark for mark in field.metadata if isinstance(mark, Usual)), None)
        least = max([getattr(mark, "ge", 0) for mark in field.metadata], default=0)
        usual = usual or _around(field.default, None if field.annotation is float else least)
        if usual and key in part.model_fields_set:
            yield from _told(f"{prefix}{key}", value, usual, place)


def _around(default: object, least: float | None) -> Usual | None:
    """The usual range of a number with that *default*; None for no number."""
    if isinstance(default, bool) or not isinstance(default, int | float) or default <= 0:
        return None
    return Usual(default / FACTOR if least is None else least, default * FACTOR)


def _told(key: str, value: float, usual: Usual, place: str) -> Iterator[Finding]:
    if not usual.least <= value <= usual.most:
        what = UNUSUAL(key=key, value=shown(value), least=f"{usual.least:.10g}", most=f"{usual.most:.10g}")
        yield Finding("warning", place, what, IS_IT_MEANT())


def _beyond_context(row: ModelSpec) -> Iterator[Finding]:
    context = _context_of(row)
    lengths = {
        "training.max_length": row.training.max_length if row.trains else 0,
        "serving.session_len": row.serving.session_len or 0,
    }
    for key, value in lengths.items():
        if context and value > context:
            yield Finding(
                "warning",
                row.name,
                BEYOND(key=key, value=value, context=context),
                NO_MORE(key=key, context=context),
            )


def _context_of(row: ModelSpec) -> int:
    """The tokens that a model of this machine reads; 0 where nobody knows."""
    if row.url or row.tiny or not (place := row.weights or row.model):
        return 0
    try:
        config = json.loads((Path(place).expanduser() / "config.json").read_text("utf-8"))
        scaled = config.get("rope_scaling") or config.get("rope_parameters") or {}
        context = config.get("max_position_embeddings")
        # a stretched rope reads further than the number says
        is_plain = scaled.get("rope_type", scaled.get("type", "default")) == "default"
    except (OSError, ValueError, AttributeError, RuntimeError):
        return 0
    return context if type(context) is int and is_plain else 0


def data_twice(row: ModelSpec) -> Iterator[Finding]:
    """Yield which data a row names twice, whatever the spelling."""
    names: dict[str, list[str]] = {}
    parts: dict[str, DatasetName] = {}
    for text in row.dataset:
        try:
            name = dataset_name(text)
        except ValueError:  # the matrix is refused for it
            continue
        key = _key(name)
        names.setdefault(key, []).append(text)
        parts[key] = name
    for spellings in names.values():
        if len(spellings) > 1:
            what = TWICE(place=spellings[0], spellings=spellings)
            yield Finding("warning", row.name, what, ONCE())
    local = [(names[key][0], name.path) for key, name in parts.items() if name.path]
    for index, (second, path) in enumerate(local):
        for first, earlier in local[:index]:
            if common := _common(earlier, path):
                what = HOLDS(first=first, second=second, files=common)
                yield Finding("warning", row.name, what, ONCE())


def _key(name: DatasetName) -> str:
    """What tells data apart: a path without links, or an id of a hub."""
    if name.path:
        return str(name.path.resolve())
    return f"{name.hub}::{name.place.lower()}:{name.subset}@{name.revision}"


def _common(first: Path, second: Path) -> list[str]:
    """The names of the files of *second* whose content *first* holds, too."""
    try:
        sizes: dict[int, list[Path]] = {}
        for file in dataset_files(first):
            sizes.setdefault(file.stat().st_size, []).append(file)
        return [
            file.name
            for file in dataset_files(second)
            if (size := file.stat().st_size)
            and any(file.samefile(other) or _alike(file, other) for other in sizes.get(size, ()))
        ]
    except OSError:  # told where the data are looked at
        return []


def _alike(first: Path, second: Path) -> bool:
    """Whether two files of one size hold the same."""
    return filecmp.cmp(first, second, shallow=False)
