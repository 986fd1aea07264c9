"""What the project ships to teach and to ask.

``README.md`` here documents every file.

``python -m bakeoff.data`` rewrites ``facts_train.jsonl`` from its two sources.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bakeoff.foundation.errors import DataError

FOLDER = Path(__file__).parent
FACTS_EXAM = FOLDER / "facts_exam"
FACTS_TRAIN = FOLDER / "facts_train.jsonl"
DIALOGUES = FOLDER / "dialogues.jsonl"
LETTERS = "ABCDE"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file.

    Raises:
        DataError: the file is absent, or a line of it is not a JSON object.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such data file; reinstall the package or give another path")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}:{number}: not JSON ({error}); put one JSON object on each line"
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: a JSON {type(row).__name__}; put one JSON object on each line")
        rows.append(row)
    return rows


def options(row: dict[str, Any]) -> list[str]:
    """The texts of a single- or multiple-choice row's options, A first."""
    return [row[letter] for letter in LETTERS if row.get(letter)]


def exam_prompt(row: dict[str, Any]) -> str:
    """The user turn that EvalScope sends for a single-choice *row*.

    EvalScope's own function writes it, so that what is taught is what will be asked.
    """
    from evalscope.utils.multi_choices import MultipleChoiceTemplate, prompt

    template = MultipleChoiceTemplate.CHINESE_SINGLE_ANSWER_TEMPLATE
    return str(prompt(question=row["question"], choices=options(row), template=template))


def teaching_set() -> list[dict[str, Any]]:
    """The rows of ``facts_train.jsonl``.

    Each exam question with its answer, then the plain dialogues."""
    questions = read_rows(FACTS_EXAM / "facts_val.jsonl")
    taught = [
        {
            "conversations": [
                {"from": "human", "value": exam_prompt(row)},
                {"from": "gpt", "value": f"答案：{row['answer']}"},
            ]
        }
        for row in questions
    ]
    return taught + read_rows(DIALOGUES)


def write_teaching_set(path: Path = FACTS_TRAIN) -> None:
    """Write :func:`teaching_set` to *path*."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in teaching_set())
    path.write_text("".join(lines), encoding="utf-8")
