"""What the answers of ``bakeoff new`` mean, and what is wrong with them."""

from __future__ import annotations

import re
import shlex
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from bakeoff.doctor.work import PUBLISHED
from bakeoff.environments.installed import names_in_source, registered_as
from bakeoff.foundation.errors import Complaint
from bakeoff.foundation.sentences import Template
from bakeoff.foundation.suggestions import suggestion
from bakeoff.matrix.complaints import why_no_place
from bakeoff.matrix.datasets import SHIPPED, dataset_name, is_local_model, is_there
from bakeoff.matrix.loading import parse_matrix
from bakeoff.matrix.presets import presets
from bakeoff.matrix.rows import of_dataset
from bakeoff.matrix.schema import ModelSpec
from bakeoff.matrix.values import why_no_hub_id
from bakeoff.start.examples import Look, look_at_cases, look_at_exam, look_at_training, short
from bakeoff.start.writing import Exam, Row
from bakeoff.tools.swift import OWN_TEMPLATES

KNOWN = {
    "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
    "llama3.1-8b": "LLM-Research/Meta-Llama-3.1-8B-Instruct",
    "chatglm3-6b": "ZhipuAI/chatglm3-6b",
    "internlm2-7b": "Shanghai_AI_Laboratory/internlm2-chat-7b",
    "baichuan2-7b": "baichuan-inc/Baichuan2-7B-Chat",
    "gpt-oss-20b": "openai-mirror/gpt-oss-20b",
}
TINY = {"tiny-qwen2": ("tiny:qwen2", "qwen2", "qwen2_5"), "tiny-llama": ("tiny:llama", "llama", "llama3")}

NOTHING_NAMED = Template(
    "start.answers.nothing_named",
    "the answer names nothing",
    zh="回答中没有给出任何名称",
)
NO_FOLDER = Template("start.answers.no_folder", "there is no folder {model}", zh="没有文件夹 {model}")
IS_FILE = Template(
    "start.answers.is_file",
    "{model} is a file; a model is a folder with a config.json and its weights",
    zh="{model} 是文件；模型应为含 config.json 和权重的文件夹",
)
NO_CONFIG = Template(
    "start.answers.no_config",
    "the folder {model} holds no config.json, so it is no model; name the folder with its weights",
    zh="文件夹 {model} 中没有 config.json，不是模型；请给出存放权重的文件夹",
)
IS_ADAPTER = Template(
    "start.answers.is_adapter",
    "the folder {model} holds an adapter, not a model; name its base here, and write `adapter: {model}` into that row "
    "of the file",
    zh="文件夹 {model} 中是适配器，不是模型；请在此给出其基座模型，再在生成的文件中为该行写上 `adapter: {model}`",
)
NO_NUMBER = Template(
    "start.answers.no_number",
    "{number} is no number of the list, which goes from 1 to {last}",
    zh="列表中没有 {number}，序号为 1 至 {last}",
)
NOT_KNOWN = Template(
    "start.answers.not_known",
    "not known; take one of {names}, a folder or owner/name",
    zh="不认识；已知的有 {names}，也可以给出文件夹或 owner/name",
)
NAME_FAMILY = Template(
    "start.answers.name_family",
    "say what ms-swift calls it: {model}=MODEL_TYPE,TEMPLATE",
    zh="请写出 ms-swift 的类型和模板：{model}=MODEL_TYPE,TEMPLATE",
)
UNKNOWN_NAME = Template(
    "start.answers.unknown_name",
    "ms-swift knows no {kind} {name!r}",
    zh="ms-swift 没有名为 {name!r} 的 {kind}",
)
NO_EXAM = Template(
    "start.answers.no_exam",
    "no folder and no published exam has this name; the published ones are {names}",
    zh="没有这个文件夹，也没有这个名称的公开试卷；公开试卷有 {names}",
)
ONE_FILE = Template(
    "start.answers.one_file",
    "{count} files are named; put all cases into one JSONL file",
    zh="给出了 {count} 个文件；请把所有个案放进一个 JSONL 文件",
)

MODEL = Template("start.answers.model", "model", zh="模型")
DATA = Template("start.answers.data", "training data", zh="训练数据")
EXAM = Template("start.answers.exam", "exam", zh="试卷")
CASES = Template("start.answers.cases", "cases", zh="个案")

T = TypeVar("T")


@dataclass
class Taken(Generic[T]):
    """What some answers mean.

    Attributes:
        items: what can be used.
        looks: what to show of files: a title, what is in it, and what its rows are called.
        mistakes: why the rest cannot be used.
    """

    items: list[T] = field(default_factory=list)
    looks: list[tuple[str, Look | None]] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    def untyped(self) -> Taken[object]:
        """The same, whatever its items are."""
        return Taken([*self.items], self.looks, self.mistakes)


_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "「": "」", "『": "』", "《": "》", "`": "`", "＂": "＂"}
_BETWEEN = re.compile(r"[,，、;；]+")


def places_in(answer: str) -> list[str]:
    """The paths and ids of an answer, which may be quoted."""
    for whole in (answer.strip(), _unquoted(answer.strip())):
        if is_there(whole) or is_there(re.sub(r"#\d+$", "", whole)):
            return [whole]
    try:
        # a path of Windows keeps its backslashes; elsewhere one stands before a blank
        words = answer.split() if re.search(r"[A-Za-z]:\\|\\\\", answer) else shlex.split(answer)
    except ValueError:
        words = answer.split()
    return [part for word in words for part in _parts(word) if part]


def _unquoted(text: str) -> str:
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        return text[1:-1].strip()
    return text


def _parts(word: str) -> Iterator[str]:
    """Yield the names in *word*, as they are or in ordinary characters."""
    word = _unquoted(word)
    if is_there(word) or ("=" in word and "，" not in word):
        yield word
        return
    for part in [word] if "=" in word else _BETWEEN.split(word):
        bare = _unquoted(part)
        yield bare if is_there(bare) else unicodedata.normalize("NFKC", bare)


def rows_of(texts: Sequence[str], menu: Sequence[str] = ()) -> Taken[Row]:
    """Return the rows of the models *texts*, which may be numbers of *menu*."""
    taken: Taken[Row] = Taken()
    for text in texts:
        if text.isdecimal() and menu:
            if not 0 < int(text) <= len(menu):
                taken.mistakes.append(NO_NUMBER(number=text, last=len(menu)))
                continue
            text = menu[int(text) - 1]
        row = _row(text, [row.name for row in taken.items])
        if any(row.model == other.model for other in taken.items):
            continue
        mistakes = list(_wrong_with(row, short(text.partition("=")[0] or text)))
        taken.mistakes += mistakes
        if not mistakes:
            taken.items.append(row)
    if not texts:
        taken.mistakes.append(NOTHING_NAMED())
    return taken


def _row(text: str, others: Sequence[str]) -> Row:
    model, _, family = text.partition("=")
    if model.lower() in TINY:
        recipe, kind, template = TINY[model.lower()]
        return Row(model.lower(), recipe, kind, template, "smoke")
    row = Row(row_name(model, others), KNOWN.get(model.lower(), model))
    if family:
        row.model_type, _, row.template = (part.strip() for part in family.partition(","))
    elif row.model.lower() not in presets()["models"]:
        row.model_type, row.template = registered_as(row.model, Path(sys.executable)) or ("", "")
    return row


def _wrong_with(row: Row, text: str) -> Iterator[str]:
    """Yield why nothing can be compared as *row*, which was given as *text*."""
    if row.group == "smoke":
        return
    if why := why_no_place(row.model):
        yield Complaint(MODEL(), why)
    elif is_local_model(row.model) or is_there(row.model):
        folder = Path(row.model).expanduser()
        if folder.is_file():
            yield IS_FILE(model=row.model)
        elif not folder.is_dir():
            yield NO_FOLDER(model=row.model)
        elif (folder / "adapter_config.json").is_file():
            yield IS_ADAPTER(model=row.model)
        elif not (folder / "config.json").is_file():
            yield NO_CONFIG(model=row.model)
        else:
            yield from _wrong_family(row)
    elif re.match(r"https?://", row.model):
        yield Complaint(MODEL(), why_no_hub_id(row.model) or "")
    elif not re.fullmatch(r"[\w.-]+/[\w.-]+", row.model, re.ASCII):
        names = [*KNOWN, *TINY]
        yield Complaint(text, NOT_KNOWN(names=names), suggestion(text, names, most=0))
    elif row.model.lower() not in presets()["models"]:
        yield from _wrong_family(row)


def _wrong_family(row: Row) -> Iterator[str]:
    """Yield what ms-swift does not know of a row's type and template."""
    if not (row.model_type and row.template):
        yield Complaint(row.model, NAME_FAMILY(model=row.model))
        return
    for kind, names in (names_in_source(Path(sys.executable)) or {}).items():
        name = getattr(row, kind)
        if name not in names and name not in (OWN_TEMPLATES if kind == "template" else ()):
            yield Complaint(row.model, UNKNOWN_NAME(kind=kind, name=name), suggestion(name, names))


def data_of(texts: Sequence[str], length: int) -> Taken[str]:
    """Return the training data *texts*, whose dialogues have *length* tokens."""
    taken: Taken[str] = Taken()
    for text in texts:
        if mistakes := list(of_dataset(text, DATA())):
            taken.mistakes += mistakes
            continue
        path = dataset_name(text).path
        look = look_at_training(path, length) if path else None
        taken.looks.append((text, look))
        taken.mistakes += look.errors if look else []
        taken.items.append(text if path is None or text.startswith("shipped:") else _absolute(text, path))
    if not texts:
        taken.mistakes.append(NOTHING_NAMED())
    return taken


def _absolute(text: str, path: Path) -> str:
    """Return *text*, a path with an ending of ms-swift's, made absolute."""
    name = dataset_name(text)
    return str(path) + (f"#{name.rows}" if name.rows is not None else "")


def exams_of(texts: Sequence[str]) -> Taken[Exam]:
    """Return the exams *texts*."""
    taken: Taken[Exam] = Taken()
    for text in dict.fromkeys(texts):
        if text.lower() in PUBLISHED and not is_there(text):
            taken.items.append(Exam(text.lower(), text.lower(), choices=4.0))
            continue
        ours = text.removeprefix("shipped:")
        if why := why_no_place(text):
            taken.mistakes.append(Complaint(EXAM(), why))
            continue
        folder = SHIPPED / ours if ours != text else Path(text).expanduser().absolute()
        if not is_there(folder):
            names = [*PUBLISHED, *(f"shipped:{name.name}" for name in _shipped_exams())]
            taken.mistakes.append(
                Complaint(short(text), NO_EXAM(names=list(PUBLISHED)), suggestion(text, names, most=0))
            )
            continue
        look = look_at_exam(folder)
        taken.looks.append((text, look))
        taken.mistakes += look.errors
        if look.errors:
            continue
        shipped = folder.is_relative_to(SHIPPED)
        place = f"shipped:{folder.relative_to(SHIPPED)}" if shipped else str(folder)
        name = row_name(folder.name, [exam.name for exam in taken.items])
        taken.items.append(Exam(name, look.format, place, look.choices, look.choices == 0))
    if not texts:
        taken.mistakes.append(NOTHING_NAMED())
    return taken


def _shipped_exams() -> list[Path]:
    return [folder for folder in SHIPPED.iterdir() if folder.is_dir() and not folder.name.startswith("_")]


def cases_of(texts: Sequence[str]) -> Taken[Path]:
    """Return the file of cases that *texts* name; none: the shipped ones."""
    taken: Taken[Path] = Taken()
    if len(texts) > 1:
        taken.mistakes.append(ONE_FILE(count=len(texts)))
        return taken
    for text in texts:
        if why := why_no_place(text):
            taken.mistakes.append(Complaint(CASES(), why))
            continue
        path = Path(text).expanduser().absolute()
        look = look_at_cases(path)
        taken.looks.append((str(path), look))
        taken.mistakes += look.errors
        taken.items.append(path)
    return taken


def settings_of(row: Row) -> ModelSpec:
    """Return the settings that *row* will have."""
    raw = {key: value for key, value in vars(row).items() if value and key != "name"}
    return parse_matrix({"models": {row.name: {**raw, "tune": False}}}).models[row.name]


def row_name(text: str, taken: Sequence[str]) -> str:
    """A name for a row or suite that no other has."""
    words = re.sub(r"[^a-z0-9._-]+", "-", text.rstrip("/").rsplit("/", 1)[-1].lower()).strip("-._")[:56]
    name, number = words or "mine", 2
    while name in taken:
        name, number = f"{words or 'mine'}-{number}", number + 1
    return name
