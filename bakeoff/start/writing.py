"""Writes a matrix with comments, so that the file explains itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from bakeoff.matrix.presets import presets


@dataclass
class Row:
    """A model of the comparison."""

    name: str
    model: str
    model_type: str = ""
    template: str = ""
    group: str = "full"


@dataclass
class Exam:
    """A suite: a published one, or the user's own folder in one of our formats."""

    name: str
    benchmark: str
    folder: str = ""
    choices: float = 0.0
    is_open: bool = False


@dataclass
class Plan:
    """What the user answered."""

    rows: list[Row] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    exams: list[Exam] = field(default_factory=list)
    cases: str = ""
    tune: bool = True
    has_cases_key: bool = False


def quoted(value: object) -> str:
    """*value* as YAML, quoted where it needs quotes."""
    return json.dumps(value, ensure_ascii=False)


def matrix_text(plan: Plan, *, chinese: bool) -> str:
    """The YAML of *plan*."""

    def say(zh: str, en: str) -> str:
        return f"# {zh if chinese else en}"

    lines = [
        say(
            "比较什么。由 `bakeoff new` 生成，可直接修改；所有键见 docs/matrix.md。",
            "What is compared. Written by `bakeoff new`, made to be edited; every key: docs/matrix.md.",
        ),
        say(
            "先检查：bakeoff doctor；运行：bakeoff run；只打印命令：bakeoff run --dry-run",
            "Check: bakeoff doctor; run: bakeoff run; print the commands: bakeoff run --dry-run",
        ),
        "",
        "defaults:",
    ]
    if plan.tune:
        lines += [
            "  "
            + say("训练数据：文件、文件夹或模型站点的 id", "training data: files, folders or ids of a hub"),
            f"  dataset: {quoted(plan.data)}",
        ]
    else:
        lines += [
            "  " + say("只比较原模型，不微调", "the models as they are, without fine-tuning"),
            "  tune: false",
        ]
    lines.append(f"  suites: {quoted([exam.name for exam in plan.exams])}")
    if plan.cases and plan.has_cases_key:
        lines += ["", f"cases: {quoted(plan.cases)}"]
    elif plan.cases:
        lines += [
            "",
            say("人工评分的个案（运行结束后）：", "cases for people's ratings, after the run:"),
            f"# bakeoff judge gather --cases {quoted(plan.cases)} …",
        ]
    lines += ["", "models:", *_rows(plan.rows), "", "suites:"]
    for exam in plan.exams:
        lines += _suite(exam)
    return "\n".join(lines) + "\n"


def _rows(rows: Sequence[Row]) -> list[str]:
    lines = []
    for row in rows:
        lines += [f"  {row.name}:", f"    group: {row.group}", f"    model: {quoted(row.model)}"]
        if row.model.lower() not in presets()["models"]:
            lines += [f"    model_type: {quoted(row.model_type)}"] * bool(row.model_type)
            lines += [f"    template: {quoted(row.template)}"] * bool(row.template)
    return lines


def _suite(exam: Exam) -> list[str]:
    lines = [f"  {exam.name}:", f"    benchmark: {exam.benchmark}"]
    if exam.folder:
        lines += [f"    data: {quoted(exam.folder)}", "    hub: false"]
    if exam.is_open:
        return [*lines, "    kind: open", "    generation: {max_tokens: 512}"]
    lines.append("    generation: {max_tokens: 1024}")
    if exam.choices:
        lines.append(f"    chance: {1 / exam.choices:.3g}")
    return lines
