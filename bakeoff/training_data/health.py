"""Is a training set readable, in a schema of ms-swift, and healthy?

The rules are those of ms-swift's automatic preprocessing (3.0 to 4.6), which looks at the columns of the whole file:
a dialogue under ``messages``, ``conversation`` or ``conversations`` as role and content, from and value, or pairs of
user and assistant; else a question and an answer in columns. Of several columns that mean the same it takes the one
that bears the standard name, or none. A row in any other form is dropped without an error.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from bakeoff.foundation.errors import DataError
from bakeoff.foundation.sentences import Template, of_error
from bakeoff.training_data import reasons
from bakeoff.training_data.rows import Row, training_rows

ROWS_LEFT_OUT = Template(
    "training_data.health.rows_left_out",
    "ms-swift trained on {trained} of the {rows} rows of its data: it left {lost} out, too long or in a form that it "
    "does not read (pytest --doctor says which)",
    zh="ms-swift 只用了 {rows} 条训练数据中的 {trained} 条：{lost} 条过长或格式无法读取（详见 pytest --doctor）",
    en="ms-swift trained on {trained} of {rows} rows: {lost} were too long or in a format that it cannot read (see "
    "pytest --doctor)",
)

NONE_LEFT_TOO_LONG = Template(
    "training_data.health.none_left_too_long",
    "no dialogue was left to train on: all {rows} are longer than max_length {max_length}, in which the system prompt "
    "counts that the template adds to a dialogue without any; give a larger training.max_length, or shorter dialogues",
    zh="没有剩下可训练的对话：全部 {rows} 条都超过 max_length {max_length}"
    "（模板自动加上的系统提示也计入长度）；请增大 training.max_length 或缩短对话",
    en="no dialogues were left to train on: all {rows} exceed max_length {max_length}, including the default system "
    "prompt that the template adds; increase training.max_length or shorten the dialogues",
)
NONE_LEFT = Template(
    "training_data.health.none_left",
    "no dialogue was left to train on: ms-swift left all {rows} out, the last for: {error} (pytest --doctor says more)",
    zh="没有剩下可训练的对话：ms-swift 丢弃了全部 {rows} 条，最后一条的原因：{error}（详见 pytest --doctor）",
    en="no dialogues were left to train on: ms-swift dropped all {rows}; the last error was: {error} "
    "(see pytest --doctor)",
)

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


@dataclass
class Health:
    """What a look through a training set found; counts are rows unless they say otherwise."""

    path: Path
    rows: int = 0
    """Rows read: the first of the file, up to the limit given."""
    whole: bool = True
    """Whether that is all of them."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Why ms-swift would drop rows silently -> how many."""
    ends_on_client: int = 0
    """Dialogues whose last turn is the client's: ms-swift keeps them and trains on what comes before."""
    not_alternating: int = 0
    """Dialogues in which one side speaks twice in a row, or the answering side begins."""
    empty_turns: int = 0
    """Dialogues with a turn without text."""
    duplicates: int = 0
    """Dialogues that are a copy of an earlier one."""
    no_question: str = ""
    """Why ms-swift takes no question from the file, though there are columns of that meaning."""
    too_long: int = 0
    """Dialogues over max_length, which ms-swift leaves out."""
    tokens: list[int] = field(default_factory=list)
    """Length of each dialogue, in tokens (estimated, unless a tokenizer was given)."""

    @property
    def kept(self) -> int:
        """Rows that ms-swift can read."""
        return self.rows - self.dropped.total()


def check_dataset(
    path: Path,
    *,
    max_length: int | None = None,
    count_tokens: Callable[[str], int] | None = None,
    first: int = 20_000,
    default_system: str = "",
) -> Health:
    """The health of the first *first* rows of *path*, a file or a folder.

    Args:
        path: what ms-swift would be given.
        max_length: tokens from which ms-swift leaves a dialogue out.
        count_tokens: the tokens of a text; None: estimate them.
        first: how many rows to look at.
        default_system: what the template says to a dialogue without a system turn; it counts in the length.

    Raises:
        DataError: it cannot be read.
    """
    health = Health(path)
    rows: list[Row] = []
    columns: dict[str, None] = {}
    for row in training_rows(path):
        columns.update(dict.fromkeys(map(str, row)))
        if len(rows) < first:
            rows.append(row)
        else:
            health.whole = False
    layout = Layout.of(columns)
    health.no_question = layout.why_no_question
    seen: set[bytes] = set()
    for row in rows:
        health.rows += 1
        try:
            turns = dialogue(row, layout)
        except ValueError as error:
            health.dropped[of_error(error)] += 1
            continue
        count = count_tokens or estimated_tokens
        length = sum(count(text) + 4 for _, text in turns)
        if default_system and turns[0][0] != "system":
            length += count(default_system) + 4
        health.tokens.append(length)
        health.too_long += max_length is not None and length > max_length
        _look_at(turns, health, seen)
    return health


def _look_at(turns: list[Turn], health: Health, seen: set[bytes]) -> None:
    spoken = [turn for turn in turns if turn[0] != "system"]
    health.ends_on_client += bool(spoken) and spoken[-1][0] == "user"
    health.not_alternating += _out_of_turn(spoken)
    health.empty_turns += any(not text.strip() for _, text in spoken)
    mark = hashlib.sha256(json.dumps(turns).encode()).digest()
    health.duplicates += mark in seen
    seen.add(mark)


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
    if isinstance(tools := row.get("tools"), str) and tools:
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


def _turns(row: Mapping[str, object], layout: Layout) -> list[Turn]:
    name = layout.dialogue
    if row.get(name) is None:
        columns = _names({key: value for key, value in row.items() if value is not None})
        raise ValueError(reasons.OTHER_COLUMN(columns=columns, name=name))
    spoken = row[name]
    if isinstance(spoken, str):
        try:
            spoken = (
                ast.literal_eval(spoken) if spoken[:1] == "[" and "'" in spoken[:3] else json.loads(spoken)
            )
        except (ValueError, SyntaxError):
            raise ValueError(reasons.NO_LIST(name=name)) from None
    if not isinstance(spoken, list) or not spoken:
        raise ValueError(reasons.EMPTY(name=name))
    if not all(isinstance(turn, dict) for turn in spoken):
        raise ValueError(reasons.NO_MAPPINGS(name=name))
    system = row.get(layout.system) if layout.system else None
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
    system = row.get(layout.system) if layout.system else None
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


def _out_of_turn(turns: list[Turn]) -> bool:
    roles = [role for role, _ in turns if role in ("user", "assistant")]
    return bool(roles) and (roles[0] != "user" or any(first == second for first, second in pairwise(roles)))


_WIDE = re.compile(r"[⺀-鿿가-힣豈-﫿＀-￯]")


def estimated_tokens(text: str) -> int:
    """Return roughly how many tokens *text* has.

    One for a Chinese character, one for four others; tokenizers of today need fewer.
    """
    wide = len(_WIDE.findall(text))
    return wide + (len(text) - wide + 3) // 4


def why_fewer(rows: int, trained_on: str, validation_share: float) -> str:
    """Return why a training is doubtful whose log counts fewer rows.

    Args:
        trained_on: ms-swift's ``train_dataset``: ``94.4±11.0, min=49.0, max=110.0, size=40``.
    """
    counted = re.search(r"size=(\d+)", trained_on)
    if not counted:
        return ""
    held_out = max(int(rows * validation_share), 1) if validation_share else 0
    lost = rows - held_out - int(counted[1])
    if lost <= 0:
        return ""
    return ROWS_LEFT_OUT(trained=int(counted[1]), rows=rows - held_out, lost=lost)


_ERROR = re.compile(r"^(?:\[[^\]\n]*\] *)?((?:\w+\.)*\w*(?:Error|Exception)\b.{0,200})", re.MULTILINE)


def why_none_left(log: str, max_length: int) -> str:
    """Return why a training had no rows, empty where that is not so.

    Args:
        log: what ms-swift printed; it names every error but that a dialogue is too long.
        max_length: of the training.
    """
    filtered = re.findall(r"origin length: (\d+), filtered dataset length: (\d+)", log)
    if not filtered or int(filtered[-1][1]):
        return ""
    rows = int(filtered[-1][0])
    errors = _ERROR.findall(log[: log.rfind("filtered dataset")])
    if errors:
        return NONE_LEFT(rows=rows, error=errors[-1].strip())
    return NONE_LEFT_TOO_LONG(rows=rows, max_length=max_length)


def count_rows(path: Path) -> int:
    """Return how many rows training data has, 0 if it cannot be read."""
    try:
        return sum(1 for _ in training_rows(path))
    except DataError:
        return 0
