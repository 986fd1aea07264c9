"""Whether different open questions are answered by a handful of texts.

One text with a counter, a time, a quotation of the question or a changing apology is still one text: replies are
alike where nearly all pairs of neighbouring letters that are not the question's own are shared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from bakeoff.foundation.sentences import Template
from bakeoff.scoring.reading import final_part

if TYPE_CHECKING:
    from bakeoff.scoring.scores import Sample

Item = TypeVar("Item")

FEW_TEXTS = Template(
    "scoring.uniformity.few_texts",
    "{share:.1%} of the replies are nearly the same text, whatever was asked: {text!r}",
    zh="{share:pct} 的回复与提问无关，几乎是同一段文字：{text!r}",
    en="{share:pct} of replies are nearly the same text, whatever was asked: {text!r}",
)
SOME_TEXTS = Template(
    "scoring.uniformity.some_texts",
    "{share:.1%} of the replies are nearly one of {count} texts, whatever was asked: {text!r}",
    zh="{share:pct} 的回复与提问无关，几乎都是 {count} 段文字之一：{text!r}",
    en="{share:pct} of replies are nearly one of {count} texts, whatever was asked: {text!r}",
)

ALIKE = 0.8
"""Share of letter pairs in common from which two replies are the same text."""
_SHORTEST, _FEWEST, _MOST = 8, 5, 200
"""Letters up to which a text may be said again and again; questions from which, and up to which, replies are held
against each other."""


def alikeness(first: str, second: str) -> float:
    """The share of letter pairs that two texts have in common, 0 to 1."""
    pairs = [_pairs(text) or {text} for text in (first, second)]
    return _share(*pairs)


def _pairs(text: str) -> set[str]:
    return {text[i : i + 2] for i in range(len(text) - 1)}


def _share(first: set[str], second: set[str]) -> float:
    return len(first & second) / len(first | second)


def spread_evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most that many of *items*, at even distances."""
    step = max(1.0, len(items) / most)
    return [items[int(step * number)] for number in range(min(most, len(items)))]


def few_texts(samples: Sequence[Sample]) -> str:
    """Return a warning if most open replies are a few texts, else ``""``.

    Of many replies at most 200, evenly spread, are compared. A text counts where at least three questions got it. Of
    those that got it, the ones whose references are nearly one text as well, and near to it, do not count.
    """
    replies = [s for s in samples if not s.options and s.status not in ("errored", "empty")]
    if len({s.question for s in replies}) < _FEWEST:
        return ""
    chosen = spread_evenly(replies, _MOST)
    groups = map(unwanted, _alike(chosen, _own_pairs))
    common = [members for members in groups if len({s.question for s in members}) >= 3]
    share = sum(map(len, common)) / len(chosen)
    if share <= 0.5:
        return ""
    text = " ".join(max(common, key=len)[0].reply.split())[:80]
    if len(common) == 1:
        return FEW_TEXTS(share=share, text=text)
    return SOME_TEXTS(share=share, count=len(common), text=text)


def _alike(samples: Sequence[Sample], pairs_of: Callable[[Sample], set[str]]) -> list[list[Sample]]:
    """Return *samples* in groups of nearly the same text."""
    groups: list[tuple[set[str], list[Sample]]] = []
    for sample in samples:
        pairs = pairs_of(sample)
        group = next((members for first, members in groups if pairs and _share(first, pairs) >= ALIKE), None)
        if group is not None:
            group.append(sample)
        elif pairs:
            groups.append((pairs, [sample]))
    return [members for _, members in groups]


def unwanted(samples: Sequence[Sample]) -> list[Sample]:
    """Return *samples* of one text but for what their references ask for.

    At least three references that are nearly one text do, where they have some of the reply's letter pairs.
    """
    near = [sample for sample in samples if _is_near(_letters(sample.reply), _letters(sample.target))]
    wanted = [group for group in _alike(near, _pairs_of_reference) if len(group) >= 3]
    ids = {id(sample) for group in wanted for sample in group}
    return [sample for sample in samples if id(sample) not in ids]


def _is_near(reply: str, reference: str) -> bool:
    pairs = _pairs(reply), _pairs(reference)
    if not all(pairs):  # a single letter has no pairs
        return reply == reference
    return len(pairs[0] & pairs[1]) > 0.2 * min(map(len, pairs))


def _pairs_of_reference(sample: Sample) -> set[str]:
    letters = _letters(sample.target)
    return _pairs(letters) or {letters}


def letter_pairs(text: str) -> set[str]:
    """Return the pairs of neighbouring letters in *text*'s final part."""
    return _pairs(_letters(text))


def _own_pairs(sample: Sample) -> set[str]:
    """Return the letter pairs of a reply that its question lacks.

    None of a short reply.
    """
    letters = _letters(sample.reply)
    if len(letters) <= _SHORTEST:
        return set()
    pairs = _pairs(letters)
    rest = pairs - _pairs(_letters(sample.question))
    return rest if len(rest) >= _SHORTEST else pairs


def _letters(text: str) -> str:
    """Return the letters of *text* in lower case, no numbers or hexadecimals."""
    text = re.sub(r"(?=[a-f-]*\d)[0-9a-f-]{6,}|[零一二三四五六七八九十百千]+", " ", final_part(text).lower())
    return "".join(sign for sign in text if sign.isalpha())
