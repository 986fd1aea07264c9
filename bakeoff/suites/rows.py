"""Reads the data files of our own benchmarks into questions.

The module knows no EvalScope and imports nothing heavy.

Every reader is strict about what it cannot use and says the file and the line. A folder's rows are grouped into
subsets in a fixed order, so that a limit always picks the same questions.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bakeoff.foundation.errors import DataError
from bakeoff.foundation.files import numbered_lines, read_text, repeated_name
from bakeoff.foundation.sentences import Statement
from bakeoff.foundation.texts import has_half_character
from bakeoff.scoring.reading import final_part
from bakeoff.scoring.scores import ALL
from bakeoff.suites import reasons

RULES = 1
"""Version of these rules; raise it by hand with a change after which kept answers should be graded anew."""

LETTERS = "ABCDEFGHIJ"
MULTIPLE = "_multiple"
"""Ending of the subsets whose questions may have several right answers; guessing and grading go by it."""


@dataclass(frozen=True)
class Question:
    """One question of a suite.

    Attributes:
        options: the options' texts in the order A, B, …; empty for an open question.
        target: right letter(s) in order, such as ``B`` or ``ACD``; the reference answer of an open question.
        multiple: more than one letter may be right, and the prompt says so.
    """

    subset: str
    id: str
    text: str
    options: tuple[str, ...]
    target: str
    multiple: bool = False
    facts: dict[str, object] = field(default_factory=dict)


Reader = Callable[[Path], Iterator[Question]]


def questions(benchmark: str, folder: Path) -> dict[str, list[Question]]:
    """The questions of *folder* by subset, in the order of the files and rows.

    Raises:
        DataError: the folder holds no file of the benchmark's format, or a row is malformed.
    """
    by_subset: dict[str, list[Question]] = {}
    for question in FORMATS[benchmark](folder):
        by_subset.setdefault(question.subset, []).append(question)
    if not by_subset:
        raise DataError(reasons.NO_QUESTIONS(folder=folder, benchmark=benchmark))
    for name, part in by_subset.items():
        if why := _why_no_subset(name, part):
            raise DataError(reasons.SUBSET(folder=folder, name=name[:80], why=why))
    return by_subset


_LONGEST_SUBSET = 150
"""Most bytes of a subset's name: EvalScope names files by it and by further 60 bytes, and a file system ends at 255."""


def _why_no_subset(name: str, part: list[Question]) -> Statement | str:
    """Return why the questions of *part* cannot be the subset *name*."""
    if name == ALL:
        return reasons.TOTAL()
    if re.search(r"[/\\\x00-\x1f\x7f]", name) or name.strip(" .") != name:
        return reasons.NO_FILE_NAME()
    if len(name.encode()) > _LONGEST_SUBSET:
        return reasons.LONG_NAME(most=_LONGEST_SUBSET)
    if name.endswith(MULTIPLE) and any(question.options and not question.multiple for question in part):
        return reasons.SINGLES()
    return ""


def _json_rows(folder: Path, pattern: str = "*.json*") -> Iterator[tuple[Path, int, dict[str, object]]]:
    files = sorted(p for p in folder.glob(pattern) if p.suffix in (".json", ".jsonl") and p.is_file())
    for path in files:
        if path.stem.endswith(("_dev", "_train")) and len(files) > 1:
            continue
        text = read_text(path)
        numbered: Iterator[tuple[int, object]]
        if path.suffix == ".json":
            rows = _parsed(text, path, 1)
            if not isinstance(rows, list):
                raise DataError(reasons.NO_ROWS(path=path))
            numbered = iter(enumerate(rows, 1))
        else:
            numbered = ((number, _parsed(line, path, number)) for number, line in numbered_lines(text))
        for number, row in numbered:
            if not isinstance(row, dict):
                raise reasons.at(path, number, reasons.NO_OBJECT(kind=type(row).__name__))
            yield path, number, row


def _parsed(text: str, path: Path, number: int) -> object:
    try:
        value: object = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise reasons.at(path, number + error.lineno - 1, reasons.NO_JSON(error=error.msg)) from None
    except RecursionError:
        raise reasons.at(path, number, reasons.TOO_DEEP()) from None
    except _Twice as error:
        raise reasons.at(path, number, reasons.TWICE(name=str(error))) from None
    except ValueError as error:  # NaN, or a number of thousands of digits
        raise reasons.at(path, number, reasons.NO_JSON(error=str(error).partition(";")[0])) from None
    if has_half_character(json.dumps(value, ensure_ascii=False)):
        raise reasons.at(path, number, reasons.HALF_CHARACTER())
    return value


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number")


class _Twice(ValueError):
    """A name of a row is given twice."""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object whose names are each given once.

    Raises:
        _Twice: which name is given twice; the second would take the place of the first without a word.
    """
    if (name := repeated_name(pairs)) is not None:
        raise _Twice(name)
    return dict(pairs)


def _text(row: dict[str, object], key: str, path: Path, number: int) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not _visible(value):
        raise reasons.at(path, number, reasons.NO_TEXT(key=key, value=repr(value)))
    return value.strip()


def _visible(text: str) -> bool:
    """Whether *text* has a character that somebody can see."""
    return any(not sign.isspace() and unicodedata.category(sign) not in ("Cf", "Cc") for sign in text)


def _options(row: dict[str, object], path: Path, number: int) -> tuple[str, ...]:
    choices = row.get("choices")
    if choices is None:
        choices = _lettered(row, path, number)
    if not isinstance(choices, list):
        raise reasons.at(path, number, reasons.NO_LIST(kind=type(choices).__name__))
    if odd := [choice for choice in choices if isinstance(choice, dict | list | bool)]:
        raise reasons.at(path, number, reasons.ODD_OPTION(value=repr(odd[0])))
    texts = ("" if choice is None else str(choice).strip() for choice in choices)
    options = [text if _visible(text) else "" for text in texts]
    while options and not options[-1]:
        options.pop()
    if not 2 <= len(options) <= len(LETTERS) or not all(options):
        raise reasons.at(path, number, reasons.OPTIONS(most=len(LETTERS), found=repr(options)))
    return tuple(options)


def _lettered(row: dict[str, object], path: Path, number: int) -> list[object]:
    """Return the options under ``A``, ``B``, … without a gap.

    What follows a gap would change its letter.
    """
    letters = sorted(name for name in row if len(name) == 1 and "A" <= name <= "Z")
    filled = [name for name in letters if row[name] is not None and _visible(str(row[name]))]
    last = filled[-1] if filled else "A"
    if last > LETTERS[-1]:
        raise reasons.at(path, number, reasons.OPTIONS(most=len(LETTERS), found=reasons.UP_TO(last=last)))
    expected = [chr(code) for code in range(ord("A"), ord(last) + 1)]
    if not filled:
        raise reasons.at(path, number, reasons.NO_OPTIONS(names=", ".join(map(repr, row)) or "–"))
    if lacking := [name for name in expected if name not in filled]:
        raise reasons.at(path, number, reasons.GAP(most=len(LETTERS), filled=filled, lacking=lacking))
    return [row[name] for name in expected]


def _letters(value: object, count: int, path: Path, number: int) -> str:
    text = "".join(map(str, value)) if isinstance(value, list) else str(value)
    text = unicodedata.normalize("NFKC", text).upper()
    letters = sorted({letter for letter in text if letter not in " ,，、;；"})
    if not letters or not set(letters) <= set(LETTERS[:count]):
        raise reasons.at(path, number, reasons.LETTERS(last=LETTERS[count - 1], value=repr(value)))
    return "".join(letters)


def _subset_of(path: Path) -> str:
    stem = path.stem
    for split in ("_val", "_test"):
        stem = stem.removesuffix(split)
    return stem


def _choice_exam(folder: Path) -> Iterator[Question]:
    for path, number, row in _json_rows(folder):
        options = _options(row, path, number)
        target = _letters(row.get("answer"), len(options), path, number)
        if len(target) != 1:
            raise reasons.at(path, number, reasons.ONE_RIGHT(value=repr(row.get("answer"))))
        text = _text(row, "question", path, number)
        yield Question(_subset_of(path), str(row.get("id", number)), text, options, target)


_KINDS = {
    "single": "single",
    "multiple": "multiple",
    "multi": "multiple",
    "SMCQ": "single",
    "MMCQ": "multiple",
}
SECTIONS = ("theory", "case", "moral")


def _pceb_mcq(folder: Path) -> Iterator[Question]:
    for path, number, row in _json_rows(folder):
        options = _options(row, path, number)
        target = _letters(row.get("answer"), len(options), path, number)
        section, _, kind = _subset_of(path).partition("_")
        section = str(row.get("section", section))
        kind = _KINDS.get(str(row.get("kind", row.get("type", kind))), "")
        if section not in SECTIONS or not kind:
            raise reasons.at(path, number, reasons.SECTION(sections=list(SECTIONS)))
        if kind == "single" and len(target) != 1:
            raise reasons.at(path, number, reasons.SINGLE(value=repr(row.get("answer"))))
        text = _text(row, "question", path, number)
        name = str(row.get("id", number))
        yield Question(f"{section}_{kind}", name, text, options, target, multiple=kind == "multiple")


def _psyqa(folder: Path) -> Iterator[Question]:
    for path, number, row in _json_rows(folder):
        if not str(row.get("answer") or "").strip():
            continue  # without a reference there is nothing to compare with; docs/suites.md says so
        text = _text(row, "question", path, number)
        description = str(row.get("description") or "").strip()
        subset = str(row.get("subset") or "default")
        name = str(row.get("id", number))
        full = f"{text}\n{description}" if description and description != text else text
        reference = _text(row, "answer", path, number)
        if not re.search(r"[^\W_]", final_part(reference)):
            raise reasons.at(path, number, reasons.NO_WORDS(value=repr(reference[:80])))
        yield Question(subset, name, full, (), reference)


_LABELS = {
    "EA": (("EA", "choices", "label"),),
    "EU": (("EU_emotion", "emotion_choices", "emotion_label"), ("EU_cause", "cause_choices", "cause_label")),
}


def _emobench(folder: Path) -> Iterator[Question]:
    for path, number, row in _json_rows(folder):
        task = "EA" if "choices" in row else "EU"
        if row.get("language", "zh") != "zh":
            continue
        for subset, choices, label in _LABELS[task]:
            options = _options({"choices": row.get(choices) or []}, path, number)
            answer = str(row.get(label, "")).strip()
            if answer not in options:
                raise reasons.at(path, number, reasons.REPEATS(label=label, value=repr(answer)))
            facts = {"subject": str(row.get("subject", "")), "action": row.get("question type") == "Action"}
            yield Question(
                subset,
                f"{task}-{row.get('qid', number)}",
                _text(row, "scenario", path, number),
                options,
                LETTERS[options.index(answer)],
                facts=facts,
            )


_ASKED_OF_SCENARIOS = {
    "EU_emotion": "在这一情景中，最终会感受到哪种情绪？",
    "EU_cause": "在这一情景中产生这种情绪的原因是什么？",
    "EA": "在这一情景中，最有效的行动或回应是什么？",
}


def asked(subset: str, text: str) -> str:
    """Return what was asked, where a row's *text* may be a scenario alone."""
    about = _ASKED_OF_SCENARIOS.get(subset)
    return f"{text}\n问题：{about}" if about else text


def _safety_bench_zh(folder: Path) -> Iterator[Question]:
    for path, number, row in _json_rows(folder):
        options = _options({"choices": row.get("options") or []}, path, number)
        answer = row.get("answer")
        if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(options):
            raise reasons.at(path, number, reasons.NUMBER(value=repr(answer)))
        subset = _text(row, "category", path, number).lower().replace(" ", "_")
        text = _text(row, "question", path, number)
        yield Question(subset, str(row.get("id", number)), text, options, LETTERS[answer])


FORMATS: dict[str, Reader] = {
    "choice_exam": _choice_exam,
    "facts_exam": _choice_exam,  # its name in earlier versions
    "pceb_mcq": _pceb_mcq,
    "psyqa": _psyqa,
    "emobench": _emobench,
    "safety_bench_zh": _safety_bench_zh,
}
"""The reader of each of our benchmarks."""
