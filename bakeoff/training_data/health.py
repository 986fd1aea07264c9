"""Is a training set readable, in a schema of ms-swift, and healthy?

The rules are those of ms-swift's automatic preprocessing (3.0 to 4.6), which looks at the columns of the whole file:
a dialogue under ``messages``, ``conversation`` or ``conversations`` as role and content, from and value, or pairs of
user and assistant; else a question and an answer in columns. Of several columns that mean the same it takes the one
that bears the standard name, or none. A row in any other form is dropped without an error.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from bakeoff.foundation.errors import DataError
from bakeoff.foundation.sentences import Template, of_error
from bakeoff.training_data.dialogues import Layout, Turn, dialogue
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
