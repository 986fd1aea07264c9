"""Is a training set readable, in a schema that ms-swift keeps, and healthy?

The rules are those of ms-swift's automatic preprocessing (3.0 to 4.6): a dialogue under ``messages``,
``conversation`` or ``conversations`` as role and content, from and value, or pairs of user and assistant; else a
question and an answer in columns. A row in any other form is dropped without an error.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from bakeoff.errors import DataError

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
) -> Health:
    """The health of the first *first* rows of *path* (.jsonl, .json or .csv).

    Raises:
        DataError: it cannot be read.
    """
    health = Health(path)
    seen: set[bytes] = set()
    count = count_tokens or estimated_tokens
    for row in _rows(path):
        if health.rows == first:
            health.whole = False
            break
        health.rows += 1
        try:
            turns = dialogue(row)
        except ValueError as error:
            health.dropped[str(error)] += 1
            continue
        spoken = [turn for turn in turns if turn[0] != "system"]
        health.ends_on_client += bool(spoken) and spoken[-1][0] == "user"
        health.not_alternating += _out_of_turn(spoken)
        health.empty_turns += any(not text.strip() for _, text in spoken)
        mark = hashlib.sha256(json.dumps(turns).encode()).digest()
        health.duplicates += mark in seen
        seen.add(mark)
        length = sum(count(text) + 4 for _, text in turns)
        health.tokens.append(length)
        health.too_long += max_length is not None and length > max_length
    return health


def dialogue(row: Mapping[str, Any]) -> list[Turn]:
    """The turns of *row* as ms-swift reads it.

    Raises:
        ValueError: ms-swift drops such a row; the message is the reason.
    """
    name = next((key for key in _DIALOGUE if key in row), None)
    if name is None:
        return _question_and_answer(row)
    said = row[name]
    if isinstance(said, str):
        try:
            said = ast.literal_eval(said) if said[:1] == "[" and "'" in said[:3] else json.loads(said)
        except (ValueError, SyntaxError):
            raise ValueError(f"'{name}' is a text that is no list") from None
    if not isinstance(said, list) or not said:
        raise ValueError(f"'{name}' is empty")
    if not all(isinstance(one, dict) for one in said):
        raise ValueError(f"'{name}' does not hold mappings")
    system = row.get("system") or row.get("system_prompt")
    turns: list[Turn] = [("system", str(system))] if system else []
    keyed = [
        {("role" if k == "from" else "content" if k == "value" else k): v for k, v in one.items()}
        for one in said
    ]
    if "role" in keyed[0] or "content" in keyed[0]:
        for one in keyed:
            if "role" not in one or "content" not in one:
                raise ValueError(f"a turn of '{name}' has {_names(one)} instead of role and content")
            role = str(one["role"])
            role = _ROLES.get(role) or _TOOLS.get(role.replace("-", "_")) or role
            if role not in ("system", "user", "assistant", "tool_call", "tool_response"):
                raise ValueError(f"a turn of '{name}' has the role {role!r}")
            if one["content"] is None:
                raise ValueError(f"a turn of '{name}' has no content")
            turns.append((role, str(one["content"])))
        return turns
    for one in said:
        pair = {_ROLES[key]: value for key, value in one.items() if key in _ROLES}
        if set(pair) != {"user", "assistant"} or None in pair.values():
            raise ValueError(f"a turn of '{name}' has {_names(one)} instead of role and content")
        turns += [("user", str(pair["user"])), ("assistant", str(pair["assistant"]))]
    return turns


def _question_and_answer(row: Mapping[str, Any]) -> list[Turn]:
    columns = {str(key).lower(): value for key, value in row.items()}
    asked = [columns[key] for key in _QUESTION if columns.get(key)]
    answers = [columns[key] for key in _ANSWER if columns.get(key) is not None]
    if not answers:
        raise ValueError(f"has the columns {_names(row)}; none is a dialogue or an answer")
    answer = answers[0][0] if isinstance(answers[0], list) and answers[0] else answers[0]
    system = columns.get("system")
    head: list[Turn] = [("system", str(system))] if system else []
    return [*head, ("user", "\n".join(map(str, asked))), ("assistant", str(answer))]


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, row))) or "nothing"


def _out_of_turn(turns: list[Turn]) -> bool:
    roles = [role for role, _ in turns if role in ("user", "assistant")]
    return bool(roles) and (roles[0] != "user" or any(one == two for one, two in pairwise(roles)))


_WIDE = re.compile(r"[⺀-鿿가-힣豈-﫿＀-￯]")


def estimated_tokens(text: str) -> int:
    """Tokens of *text*, roughly: one per Chinese character, one per four others; tokenizers of today need fewer."""
    wide = len(_WIDE.findall(text))
    return wide + (len(text) - wide + 3) // 4


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from csv.DictReader(file)
            return
        with path.open(encoding="utf-8") as file:
            if path.suffix != ".jsonl":
                whole = json.load(file)
                if not isinstance(whole, list):
                    raise DataError(f"{path}: must hold a list of dialogues, found {type(whole).__name__}")
                yield from (_mapping(path, number, one) for number, one in enumerate(whole, 1))
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield _mapping(path, number, json.loads(line))
                    except ValueError as error:
                        raise DataError(f"{path}:{number}: no JSON ({error}); one object per line") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read: {error}; give a .jsonl, .json or .csv file in UTF-8"
        ) from None


def _mapping(path: Path, number: int, row: object) -> Mapping[str, Any]:
    if isinstance(row, dict):
        return row
    raise DataError(f"{path}: row {number} is a {type(row).__name__}; a row must be an object")
