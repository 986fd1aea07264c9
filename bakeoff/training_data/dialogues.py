"""What ms-swift reads as a dialogue, row by row, and what it drops."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bakeoff.foundation.sentences import of_error
from bakeoff.training_data import reasons

Turn = tuple[str, str]
"""Role (system, user, assistant or tool…) and text."""

_DIALOGUE = ("messages", "conversation", "conversations")
_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "bot": "assistant"}
_TOOLS = {
    "function_call": "tool_call",
    "function_response": "tool_response",
    "observation": "tool_response",
    "observations": "tool_response",
    "tool": "tool_response",
    "tool_call": "tool_call",
    "tool_response": "tool_response",
}
_QUESTION = ("query", "prompt", "input", "instruction", "question", "problem")
_ANSWER = (
    *("response", "answer", "output", "targets", "target", "answer_key", "answers", "solution"),
    *("text", "completion", "content"),
)


@dataclass(frozen=True)
class Layout:
    """Which columns of a whole file ms-swift takes for what."""

    columns: tuple[str, ...]
    dialogue: str = ""
    """Column of the dialogues; empty where question and answer stand in columns."""
    question: tuple[str, ...] = ()
    answer: str = ""
    system: str = ""
    images: str = ""
    why_not: str = ""
    """Why ms-swift takes no row of the file at all."""
    why_no_question: str = ""

    @classmethod
    def of(cls, columns: Iterable[str]) -> Layout:
        """The layout of a file with *columns*."""
        names = tuple(columns)
        for standard in ("messages", "query", "response", "system", "images"):
            alike = [name for name in names if name.lower() == standard]
            if standard in alike and len(alike) > 1:
                return cls(names, why_not=reasons.BY_CASE(names=list(map(repr, alike))))
        system, _ = _taken(names, ("system", "system_prompt"), "system")
        images, _ = _taken(names, ("images", "image"), "images")
        if any(name in names for name in _DIALOGUE):
            column, rivals = _taken(names, _DIALOGUE, "messages")
            why = _several("dialogue", rivals) if not column else ""
            return cls(names, column or rivals[0], system=system, images=images, why_not=why)
        answer, answers = _taken(names, _ANSWER, "response")
        question, questions = _taken(names, _QUESTION, "query")
        asking: tuple[str, ...] = (question,) if question else ()
        if "instruction" in names and "input" in names:
            asking = ("input", "instruction")
            answer = "output" if "output" in names else answer
        why_not = _several("answer", answers) if len(answers) > 1 and not answer else ""
        why_no_question = _several("question", questions) if len(questions) > 1 and not asking else ""
        return cls(names, "", asking, answer, system, images, why_not, why_no_question)


def _taken(columns: Sequence[str], alike: Sequence[str], standard: str) -> tuple[str, list[str]]:
    """Return the column that becomes *standard*, and all that mean it."""
    by_lower = {name.lower(): name for name in columns}
    rivals = [by_lower[name] for name in alike if name in by_lower]
    if standard in columns:
        return standard, rivals
    return (rivals[0], rivals) if len(rivals) == 1 else ("", rivals)


def _several(meaning: str, rivals: Sequence[str]) -> str:
    return reasons.SEVERAL(names=list(map(repr, rivals)), meaning=reasons.MEANINGS[meaning]())


def dialogue(row: Mapping[str, object], layout: Layout | None = None) -> list[Turn]:
    """Return the turns of *row* as ms-swift reads them.

    Args:
        row: of a file.
        layout: of the whole file; None: of this row alone.

    Raises:
        ValueError: ms-swift drops such a row; the message is the reason.
    """
    layout = layout or Layout.of(map(str, row))
    if layout.why_not:
        raise ValueError(layout.why_not)
    turns = _turns(row, layout) if layout.dialogue else _question_and_answer(row, layout)
    if "rejected_response" in layout.columns:
        rejected = row.get("rejected_response")
        if rejected is None:
            raise ValueError(reasons.NULL_REJECTED())
        if turns and rejected == turns[-1][1]:
            raise ValueError(reasons.SAME_REJECTED())
    if turns and all(role == "system" for role, _ in turns):
        raise ValueError(reasons.SYSTEM_ALONE())
    if any(role == "system" for role, _ in turns[1:]):
        raise ValueError(reasons.SYSTEM_LATER())
    spoken = [role for role, _ in turns if role != "system"]
    if spoken and spoken[0] == "tool_response":
        raise ValueError(reasons.TOOL_FIRST())
    if layout.images:
        _images(row.get(layout.images))
    if isinstance(tools := row.get("tools"), str):
        try:
            json.loads(tools)
        except ValueError:
            raise ValueError(reasons.TOOLS_NO_JSON()) from None
    return turns


def _images(value: object) -> None:
    for image in value if isinstance(value, list) else [value]:
        place = image.get("path") if isinstance(image, dict) and not image.get("bytes") else image
        if place == "":
            raise ValueError(reasons.IMAGE_NAMELESS())
        if not isinstance(place, str) or re.match(r"https?://|data:", place) or len(place) > 1000:
            continue
        if not (Path(os.environ.get("ROOT_IMAGE_DIR", "")) / place).exists():
            raise ValueError(reasons.NO_IMAGE())


def _pictures(content: object) -> list[object]:
    """The images that the parts of *content* name."""
    named = []
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("image", "image_url"):
            place = part.get(kind) or part.get("url")
            named.append(place.get("url") if isinstance(place, dict) else place)
    return named


def _system_of(row: Mapping[str, object], layout: Layout) -> object:
    """The system prompt of *row*, which ms-swift takes as a text."""
    system = row.get(layout.system) if layout.system else None
    if kind := _no_text(system):
        raise ValueError(reasons.SYSTEM_NO_TEXT(kind=_kind(kind)))
    return system


def _turns(row: Mapping[str, object], layout: Layout) -> list[Turn]:
    name = layout.dialogue
    if row.get(name) is None:
        columns = _names({key: value for key, value in row.items() if value is not None})
        raise ValueError(reasons.OTHER_COLUMN(columns=columns, name=name))
    spoken = row[name]
    if isinstance(spoken, str):
        try:
            spoken = _value_of(spoken)
        except ValueError:
            raise ValueError(reasons.NO_LIST(name=name)) from None
    if not isinstance(spoken, list) or not spoken:
        raise ValueError(reasons.EMPTY(name=name))
    if not all(isinstance(turn, dict) for turn in spoken):
        raise ValueError(reasons.NO_MAPPINGS(name=name))
    system = _system_of(row, layout)
    turns: list[Turn] = []
    keyed = [
        {("role" if k == "from" else "content" if k == "value" else k): v for k, v in turn.items()}
        for turn in spoken
    ]
    if "role" in keyed[0] or "content" in keyed[0]:
        if system is not None and keyed[0].get("role") != "system":
            turns.append(("system", str(system)))
        for turn in keyed:
            if "role" in turn and turn.get("tool_calls") and turn.get("content") is None:
                turns.append(("tool_call", json.dumps(turn["tool_calls"], ensure_ascii=False)))
                continue
            if "role" not in turn or "content" not in turn:
                raise ValueError(reasons.OTHER_KEYS(name=name, keys=_names(turn)))
            role = str(turn["role"])
            role = _ROLES.get(role) or _TOOLS.get(role.replace("-", "_")) or role
            if role not in ("system", "user", "assistant", "tool_call", "tool_response"):
                raise ValueError(reasons.OTHER_ROLE(name=name, role=role))
            if turn["content"] is None:
                raise ValueError(reasons.NO_CONTENT(name=name))
            if kind := _no_text(turn["content"]):
                raise ValueError(reasons.CONTENT_NO_TEXT(name=name, kind=_kind(kind)))
            if role == "tool_call":
                _called(str(turn["content"]))
            _images(_pictures(turn["content"]))
            turns.append((role, str(turn["content"])))
        return turns
    if system is not None:
        turns.append(("system", str(system)))
    for turn in spoken:
        pair = {_ROLES[key]: value for key, value in turn.items() if key in _ROLES}
        if set(pair) != {"user", "assistant"} or None in pair.values():
            raise ValueError(reasons.OTHER_KEYS(name=name, keys=_names(turn)))
        turns += [("user", str(pair["user"])), ("assistant", str(pair["assistant"]))]
    return turns


def _value_of(text: str) -> object:
    """The value that *text* writes as JSON, or as Python does.

    Raises:
        ValueError: it is neither.
    """
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
            raise ValueError(of_error(error)) from None
    return value


def _called(text: str) -> None:
    """Raise where *text*, a tool call, is none that a template can write."""
    with contextlib.suppress(ValueError):
        call = _value_of(text)
        if isinstance(call, dict) and "name" in call:
            arguments = call.get("arguments")
            arguments = call.get("parameters") if arguments is None else arguments
            if (_value_of(arguments) if isinstance(arguments, str) else arguments) is not None:
                return
    raise ValueError(reasons.CALL_NO_JSON())


def _question_and_answer(row: Mapping[str, object], layout: Layout) -> list[Turn]:
    if not layout.answer:
        raise ValueError(reasons.NO_ANSWER_COLUMN(columns=_names(row)))
    answer = row.get(layout.answer)
    if isinstance(answer, list):
        answer = answer[0] if answer else None
    if answer is None:
        raise ValueError(reasons.NO_ANSWER(name=layout.answer))
    history = row.get("history")
    if isinstance(history, list) and not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise ValueError(reasons.HISTORY_NO_PAIRS())
    questions = [row[name] for name in layout.question if row.get(name)]
    if len(layout.question) > 1 and not questions and not any(row.get(n) == "" for n in layout.question):
        raise ValueError(reasons.NO_INSTRUCTION())
    texts = [*questions, answer]
    if kinds := list(filter(None, map(_no_text, texts))):
        raise ValueError(reasons.NO_TEXT(kind=_kind(kinds[0])))
    system = _system_of(row, layout)
    head: list[Turn] = [("system", str(system))] if system else []
    return [*head, ("user", "\n".join(map(str, questions))), ("assistant", str(answer))]


def _kind(name: str) -> str:
    """Return a kind of value as a statement, where it is a known one."""
    return reasons.KINDS[name]() if name in reasons.KINDS else name


def _no_text(value: object) -> str:
    """Return what *value* is, empty for a text or parts that have a type."""
    if isinstance(value, bool | int | float):
        return f"{'an' if type(value) is int else 'a'} {type(value).__name__}"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list) and not all(isinstance(part, dict) and "type" in part for part in value):
        return "a list"
    return ""


def _names(row: Mapping[str, object]) -> str:
    return ", ".join(sorted(map(str, row))) or "nothing"
