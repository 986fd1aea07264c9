"""Three parsed examples of a user's files, and what will be dropped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from bakeoff.doctor.data import WITHIN, unhealthy
from bakeoff.foundation.errors import BakeoffError, DataError, complaint_of
from bakeoff.foundation.sentences import Statement, Template, of_error
from bakeoff.judgement.replies import Case, load_cases
from bakeoff.start.speech import Both
from bakeoff.suites import reasons
from bakeoff.suites.rows import FORMATS, Question, questions
from bakeoff.training_data.dialogues import Layout, dialogue
from bakeoff.training_data.health import check_dataset
from bakeoff.training_data.rows import training_rows

SHOWN = 3
WITH_REMEDY = Template("start.examples.with_remedy", "{what} -> {remedy}", zh="{what} -> {remedy}")
COPIES = Template(
    "start.examples.copies",
    "{count} questions are copies of others and count twice",
    zh="{count} 道题与其他题重复，会计算两次",
)
EXAM_IS_FOLDER = Template(
    "start.examples.exam_is_folder",
    "{folder}: an exam is a folder of .jsonl files; there is none",
    zh="{folder}：试题应为含 .jsonl 文件的文件夹；没有这个文件夹",
)
EXAM_IS_JSONL = Template(
    "start.examples.exam_is_jsonl",
    "{file}: an exam is a folder of .jsonl files, one JSON object a line, such as {example}; convert it",
    zh="{file}：试题应为含 .jsonl 文件的文件夹，每行一个 JSON 对象，例如 {example}；请先转换",
)
PUT_INTO_FOLDER = Template(
    "start.examples.put_into_folder",
    "{file}: an exam is a folder of .jsonl files; put {name} into a folder of its own and name that",
    zh="{file}：试题应为含 .jsonl 文件的文件夹；请把 {name} 放入单独的文件夹，再给出该文件夹",
)
_ORDER = ("choice_exam", "pceb_mcq", "safety_bench_zh", "emobench", "psyqa")
_OPEN = ("psyqa",)
"""Formats in the order in which they are tried: the strictest that fits comes first."""


@dataclass
class Look:
    """What a file or folder holds.

    Attributes:
        count: rows that will be used.
        examples: the first of them, in words.
        warnings: what will be dropped, or may spoil the result.
        errors: why it cannot be used.
        tokens: estimated tokens of all rows, for training data.
        format: the benchmark that reads an exam.
        choices: mean number of options of an exam; 0 for open questions.
        rows: what its rows are.
    """

    count: int = 0
    examples: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    tokens: int = 0
    format: str = ""
    choices: float = 0.0
    rows: Literal["dialogues", "questions", "cases"] = "questions"


def short(text: str, width: int = 60) -> str:
    """The beginning of *text* in one line."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _told(error: Exception) -> str:
    """Return what is wrong with a file, as a statement where it is one."""
    complaint = complaint_of(error)
    if complaint is None:
        zh = error.zh if isinstance(error, BakeoffError) else ""
        return Both(str(error), zh) if zh else of_error(error)
    what = WITHIN(place=complaint.place, what=complaint.what)
    return WITH_REMEDY(what=what, remedy=complaint.remedy) if complaint.remedy else what


def look_at_training(path: Path, max_length: int) -> Look:
    """What ms-swift will make of the training data at *path*."""
    look = Look(rows="dialogues")
    try:
        health = check_dataset(path, max_length=max_length)
        rows = list(islice(training_rows(path), 200))
    except DataError as error:
        look.errors.append(_told(error))
        return look
    look.count, look.tokens = health.kept - health.too_long, sum(min(n, max_length) for n in health.tokens)
    layout = Layout.of({str(name): None for row in rows for name in row})
    for row in rows:
        try:
            turns = dialogue(row, layout)
        except ValueError:
            continue
        look.examples.append(" | ".join(f"{role}: {short(text, 40)}" for role, text in turns[:3]))
        if len(look.examples) == SHOWN:
            break
    for finding in unhealthy(str(path), health, max_length):
        where = look.errors if finding.level == "error" else look.warnings
        what = WITHIN(place=path.name, what=finding.what)
        where.append(WITH_REMEDY(what=what, remedy=finding.remedy))
    return look


def look_at_exam(folder: Path) -> Look:
    """What is in *folder*, by the first format that reads every row."""
    if not folder.is_dir():
        if folder.is_file():
            is_read = folder.suffix in (".jsonl", ".json")
            put = PUT_INTO_FOLDER(file=folder, name=folder.name) if is_read else _convert(folder)
            return Look(errors=[put])
        return Look(errors=[EXAM_IS_FOLDER(folder=folder)])
    others = sorted(path for path in folder.iterdir() if path.is_file())
    if others and not any(folder.rglob("*.json*")):
        return Look(errors=[_convert(others[0])])
    complaints: dict[str, str] = {}
    spoilt = False
    for name in _ORDER:
        if name not in FORMATS:
            continue
        try:
            subsets = questions(name, folder)
        except (DataError, OSError) as error:
            complaints[name] = _told(error)
            spoilt = spoilt or reasons.has_options(error)
            continue
        if name in _OPEN and spoilt:  # one wrong row would make open questions of a choice exam
            continue
        return _questions(name, [question for group in subsets.values() for question in group])
    return Look(errors=[complaints.get(_ORDER[0]) or next(iter(complaints.values()))])


def _convert(file: Path) -> Statement:
    """Return how a file of another kind becomes an exam."""
    example = {"id": "1", "question": "…", "A": "…", "B": "…", "C": "…", "D": "…", "answer": "B"}
    return EXAM_IS_JSONL(file=file, example=json.dumps(example, ensure_ascii=False))


def _questions(name: str, every: list[Question]) -> Look:
    look = Look(count=len(every), format=name)
    look.choices = sum(len(question.options) for question in every) / len(every)
    for question in every[:SHOWN]:
        options = " ".join(f"{chr(65 + i)}) {short(text, 12)}" for i, text in enumerate(question.options))
        look.examples.append(f"{short(question.text, 40)} {options} -> {short(question.target, 20)}")
    texts = [question.text for question in every]
    if twice := len(texts) - len(set(texts)):
        look.warnings.append(COPIES(count=twice))
    return look


def look_at_cases(path: Path, read: Callable[[Path], list[Case]] = load_cases) -> Look:
    """What the cases for people's ratings are."""
    try:
        cases = read(path)
    except DataError as error:
        return Look(errors=[_told(error)], rows="cases")
    shown = [f"{case.id}: {short(case.messages[-1]['content'], 50)}" for case in cases[:SHOWN]]
    return Look(count=len(cases), examples=shown, rows="cases")
