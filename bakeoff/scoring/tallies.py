"""Reads replies that say yes or no to one option after the other.

``A：是。B：是。C：否`` is no answer to a question with one right option, whichever of its clauses another rule might
take for one; where the yes is a single one, no other option may be read.
"""

from __future__ import annotations

import re

from bakeoff.scoring.beginnings import beginning_with
from bakeoff.scoring.labels import LETTERS, LabelReader
from bakeoff.scoring.questions import Asks
from bakeoff.scoring.statements import EXPLANATION

_NO = (
    r"(?:不是|不正确|不对|不选|不应选|不合适|不恰当|不符合(?:题意)?|不可以"
    r"|错误|错|否|假|no|not|false|incorrect|wrong|[✗✘❌×✖])"
)
_YES = r"(?:是|正确|对|选|应选|合适|恰当|符合(?:题意)?|可以|真|yes|true|correct|right|[✓✔✅√☑])"
_ENDED = r"的?(?=[\s*_`)\]】|]*(?:[,。;.!\n]|$|(?:选项 ?)?[*_`(\[【]*[A-J](?![A-Za-z0-9])))"
_APART = re.compile(r"[\s,。;.|>*_`•·-]*(?:\d{1,2}[.)、] )?(?:选项 ?|option )?[*_`(\[【]*", re.IGNORECASE)
_LETTER = re.compile(r"([A-J])(?![A-Za-z0-9])[*_`)\]】]*(?:选?项)?")
_SIGN = re.compile(
    r"(?:[ ]?[.、)][ ]?|[ ]?[:(—-][ ]?|[ ])?(?:(?![和与及/+&]|、|(?<![A-Za-z])[A-J](?![A-Za-z]))[^,。;\n]){0,80}?"
    r"(?:(?<=[:(—|\s✓✗)])|(?<=[A-J项]))[ ]?[*_`]*(?:[也都则]?[是为])?"
    rf"(?:(?P<no>{_NO})|(?P<yes>{_YES})){_ENDED}[*_`)\]】|]*",
    re.IGNORECASE,
)
_MAY_JUDGE = beginning_with(
    "✓✔✅√☑✗✘❌×✖不应是否对错正真假选合恰符可yntcrfiw", rf"{_NO}|{_YES}", re.IGNORECASE
)


def tally_of(reader: LabelReader) -> dict[int, bool]:
    """Return yes or no for each option, where the reply says nothing else."""
    text = reader.text
    if stop := EXPLANATION.search(text):
        text = text[: stop.start()].rstrip()
    if len(text) > 600 or not _MAY_JUDGE.search(text):
        return {}
    head = re.match(r"[^A-J,。;\n]{0,20}:\s*", text)
    place = head.end() if head and not reader.named_at & set(range(head.end())) else 0
    tally: dict[int, bool] = {}
    while place < len(text):
        start = _APART.match(text, place).end()  # type: ignore[union-attr]
        if start == len(text):
            break
        words = reader.own_words(start)  # first, since an option may begin with a letter: A型人格
        letter = None if words else _LETTER.match(text, start)
        if letter is None and words is None:
            return {}
        index = LETTERS.index(letter[1]) if letter else words[0][0]  # type: ignore[index]
        behind = letter.end() if letter else words[1]  # type: ignore[index]
        if index < reader.count and text.startswith(reader.glosses[index], gloss := _gloss_at(text, behind)):
            behind = gloss + len(reader.glosses[index])
        sign = _SIGN.match(text, behind)
        if sign is None or index in tally or index >= reader.count:
            return {}
        tally[index] = sign["yes"] is not None
        place = sign.end()
    return tally if len(tally) > 1 else {}


def contradicts(reader: LabelReader, letters: str) -> bool:
    """Whether the reply says yes to other options than *letters*."""
    tally = tally_of(reader)
    if not tally:
        return False
    picked = {LETTERS.index(letter) for letter in letters}
    sides = [{i for i, sign in tally.items() if sign is side} for side in (True, False)]
    return picked not in (sides[:1] if reader.stem.asks is Asks.FOR_WHAT_HOLDS else sides)


def _gloss_at(text: str, place: int) -> int:
    """Return where the words of the option would stand behind its letter."""
    return re.match(r"[^\w\n]{0,4}", text[place : place + 4]).end() + place  # type: ignore[union-attr]
