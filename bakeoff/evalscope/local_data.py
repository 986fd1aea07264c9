"""Whether local data of EvalScope's own benchmarks can be read.

Each file is read once, before anything is trained for them.

EvalScope reads them only when the questions are asked, hours later, and then says less: a CSV with a torn line, a
missing split or a column under another name ends in an error of its loader that names no file.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import yaml

from bakeoff.foundation.errors import DataError
from bakeoff.foundation.files import numbered_lines, read_text

_CEVAL_COLUMNS = ("question", "A", "B", "C", "D", "answer")
_MOST = 3
"""Mistakes of one file that are told; where one row is wrong, most are."""


def unusable_data(
    benchmark: str, folder: Path, subsets: Collection[str], *, examples: bool = True
) -> Iterator[str]:
    """Yield what *benchmark* could not read in *folder*, by file.

    Args:
        subsets: those that are asked; empty: all.
        examples: whether the prompts show examples, which come from a split of their own.
    """
    if benchmark == "ceval":
        yield from _ceval(folder, subsets, examples)
    elif benchmark == "cmmlu":
        for split in ("test", "dev") if examples else ("test",):
            yield from _mistakes(folder / f"default_{split}.jsonl", _cmmlu_rows)
    else:
        for path in sorted(folder.rglob("*.jsonl")):
            yield from _mistakes(path, _json_rows)


def _ceval(folder: Path, subsets: Collection[str], examples: bool) -> Iterator[str]:
    readme = folder / "README.md"
    try:
        head = re.match(r"\s*---\n(.*?)\n---", read_text(readme), re.DOTALL)
        configs = (yaml.safe_load(head[1]) or {}).get("configs") if head else None
    except (OSError, DataError, yaml.YAMLError, AttributeError) as error:
        yield f"{readme}: cannot be read ({' '.join(str(error).split())[:200]})"
        return
    if not isinstance(configs, list):
        yield f"{readme}: must list each subject under 'configs:' between two lines of ---"
        return
    for config in configs:
        name = config.get("config_name") if isinstance(config, dict) else None
        if name is None or (subsets and name not in subsets):
            continue
        listed = config.get("data_files")
        paths: dict[str, list[str]] = {}
        for entry in listed if isinstance(listed, list) else []:
            if isinstance(entry, dict) and entry.get("path"):
                named = entry["path"]
                paths[str(entry.get("split"))] = [
                    str(path) for path in (named if isinstance(named, list) else [named])
                ]
        for split in ("val", "dev") if examples else ("val",):
            if split not in paths:
                yield f"{readme}: {name} has no split '{split}'"
            for path in paths.get(split, ()):
                files = sorted(folder.glob(path))
                if not files:
                    yield f"{folder / path}: no such file; {readme.name} names it as the split '{split}' of {name}"
                for file in files:
                    yield from _mistakes(file, _ceval_rows)


def _mistakes(path: Path, check: Callable[[str], Iterator[str]]) -> Iterator[str]:
    if not path.exists():
        yield f"{path}: no such file"
        return
    try:
        mistakes = list(check(read_text(path)))
    except (OSError, DataError, csv.Error) as error:
        words = str(error)
        yield words if str(path) in words else f"{path}: cannot be read ({words})"
        return
    yield from (f"{path}{mistake}" for mistake in mistakes[:_MOST])
    if len(mistakes) > _MOST:
        yield f"{path}: {len(mistakes) - _MOST} further rows cannot be used"


def _ceval_rows(text: str) -> Iterator[str]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    columns = reader.fieldnames or []
    if lacking := [name for name in _CEVAL_COLUMNS if name not in columns]:
        yield f": has no column {', '.join(lacking)} (it has {', '.join(columns) or 'none'})"
        return
    rows = 0
    for row in reader:
        rows += 1
        if None in row or None in row.values():
            yield f":{reader.line_num}: has another number of columns than its head"
        elif lacking := [name for name in _CEVAL_COLUMNS if not row[name].strip()]:
            yield f":{reader.line_num}: {', '.join(lacking)} is empty"
        elif row["answer"].strip() not in "ABCD":
            yield f":{reader.line_num}: 'answer' must be A, B, C or D, found {row['answer'][:40]!r}"
    if not rows:
        yield ": holds no question"


def _json_rows(text: str) -> Iterator[str]:
    for number, line in numbered_lines(text):
        try:
            json.loads(line)
        except (ValueError, RecursionError) as error:
            yield f":{number}: no JSON ({error})"


def _cmmlu_rows(text: str) -> Iterator[str]:
    rows = 0
    for number, line in numbered_lines(text):
        rows += 1
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield f":{number}: no JSON ({error})"
            continue
        if not isinstance(row, dict):
            yield f":{number}: a row is a JSON object, found {type(row).__name__}"
        elif lacking := [name for name in ("question", "choices", "answer", "category") if not row.get(name)]:
            yield f":{number}: has no {', '.join(lacking)}"
        elif not isinstance(row["choices"], list) or not all(
            isinstance(choice, str) and re.match(r"\([A-J]\)", choice) for choice in row["choices"]
        ):
            yield f":{number}: 'choices' must be a list of texts that begin with (A), (B), …"
        elif not re.fullmatch(r"\([A-J]\)", str(row["answer"])):
            yield f":{number}: 'answer' must be a letter in brackets such as (A), found {str(row['answer'])[:40]!r}"
    if not rows:
        yield ": holds no question"
