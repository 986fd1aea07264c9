"""Says whether a reply commits itself to another option as well.

A reading of one option stands on some clause. Where that clause names another option that it neither denies nor
compares (``选A的原因用B来解释最好``), or where the last sentences state another answer by themselves, nothing tells
which of the two is meant.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator

from bakeoff.scoring.cues import CHOSEN, MARKED
from bakeoff.scoring.judgements import is_rejected
from bakeoff.scoring.labels import LETTERS, MOST_CUES, LabelReader
from bakeoff.scoring.statements import MENTION, StatementReader

_CLAUSE = re.compile(r"[,。;!?\n]|\.(?=\s|$)|[(（—:]|\b(?:because|since|as|while|whereas)\b|因为|由于")
_SENTENCE = re.compile(r"(?<=[。!?\n])\s*|(?<=[a-z)\d][.!?]) +")
_COMPARES = re.compile(
    r"[不非没未无别除比胜优强于超过]|排|而是|还是|与其|代替|区别|误|错"
    r"|\b(?:not|nor?|than|over|rather|instead|beats?|unlike|without|except|but|versus|vs|wrong|or|and|exclud\w+|eliminat\w+|rul\w+)\b|n't\b|[/、&+~→>-]|[和与及或跟]",
    re.IGNORECASE,
)
"""What denies or compares one of two options, or lists both."""
_SO = r"(?:所以|因此|故|应该?|答案|选项?|是|为|:|so |the answer is |choose )*"
_LOOKED_BACK = 3


def _singles(reader: LabelReader, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield place, end and option of each letter between *start* and *end*."""
    for count, mention in enumerate(MENTION.finditer(reader.text, start, end)):
        if count >= MOST_CUES:
            return
        if mention[0] in LETTERS[: reader.count]:
            yield mention.start(), mention.end(), LETTERS.index(mention[0])


def clauses_of_two(reader: LabelReader, letters: str) -> list[tuple[int, int]]:
    """Return the clauses that name the chosen option and one besides."""
    chosen = LETTERS.index(letters)
    bounds = [0, *(m.end() for m in _CLAUSE.finditer(reader.text)), len(reader.text)]
    mixed: list[tuple[int, int]] = []
    for start, end in itertools.pairwise(bounds):
        if len(re.findall(r"[A-J]", reader.text[start:end])) < 2:
            continue
        named = list(_singles(reader, start, end))
        others = [(a, b) for a, b, index in named if index != chosen]
        if not others or len(others) == len(named):
            continue
        if _COMPARES.search(reader.text[start:end]) or any(
            is_rejected(reader.text[b : b + 40]) for a, b in others
        ):
            continue
        mixed.append((start, end))
    return mixed


def _names_another_in_words(reader: StatementReader, letters: str) -> bool:
    """Whether the letter follows what was said to be it: ``是氯解磷定，选B``."""
    chosen = LETTERS.index(letters)
    shown = reader.words.get(chosen, "")
    return any(
        index != chosen
        and words not in shown
        and words in reader.text
        and re.search(
            rf"(?<![不A-J])(?:是|为|属于|\bis) ?[\"“《]?{re.escape(words)}[\"”》]?[,。] ?{_SO}{letters}(?![A-Za-z])",
            reader.text,
        )
        for index, words in reader.prepared.long_words.items()
    )


def is_rivalled(reader: StatementReader, letters: str, read: Callable[[str], str]) -> bool:
    """Whether *letters*, one option, are no more than one of two answers.

    Args:
        reader: of the reply; ``letters``: what was read.
        read: returns the letters of another text.
    """
    text = reader.text
    if mixed := clauses_of_two(reader, letters):
        for start, end in reversed(mixed):
            text = text[:start] + text[end:]
        if read(text) != letters:
            return True
    if _names_another_in_words(reader, letters):
        return True
    starts = [m.end() for m in _SENTENCE.finditer(reader.text) if m.end() < len(reader.text)]
    for start in reversed(starts[-_LOOKED_BACK:]):
        closing = reader.reader_of(reader.text[start:], False)
        for cue in (MARKED, CHOSEN):
            if stated := closing.statements(cue):
                return closing.decided(stated, cue) not in ("", letters)
    return False
