"""Finds options in a reply: by letters, words, places, or as the rest."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bakeoff.scoring.beginnings import beginning_with
from bakeoff.scoring.labels import LETTERS, MOST_CUES
from bakeoff.scoring.whole_sentences import SentenceReader

_COUNT = "零一二三四五六七八九十"
_REST = beginning_with(
    "ort余其剩另",
    r"(?:其[余他它]|剩[余下]|余下|另外|另)(?:的|下的)?(?P<count>[两二三四五六七八九]?)(?:个|项|条|者|种|点|样|位)?(?:选项|选择|说法|描述|表述|技术|答案)?(?:内容)?(?=[^\w]|$|[都均全皆也是才则不属符正错为选可描])"
    r"|\b(?:the )?(?:rest|others|other (?P<english>two|three|four)?\s?(?:options|choices|statements))\b",
    re.IGNORECASE,
)
_FIRST = re.compile(
    r"(?<![和与跟同及])(?P<side>前|后)(?:面)?(?P<count>[两二三四五])(?:个|项|条|者|种|点|样)(?:选项)?"
)
_EVERY = beginning_with(
    "a以上这所全三四五六",
    r"(?:以上|上述|这)?(?:(?P<zh>[三四五六])个?|(?:所有|全部)的?)(?:选项|说法|选?项)(?=(?:都|均|皆|全))"
    r"|\ball (?:the |of the )?(?P<en>three|four|five|six)? ?(?:options|statements|choices|answers)\b(?: ?\([A-J](?:, ?[A-J])*,?(?: and [A-J])?\))?",
    re.IGNORECASE,
)
"""What names all options at once."""
_ENGLISH_COUNT = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_LETTER = beginning_with(
    "ABCDEFGHIJo选",
    r"(?<![A-Za-z0-9])(?:选项 ?|option )?([A-J]{1,10})(?![A-Za-z0-9'’]| ?[-+*/^=] ?\d)(?:选?项)?[*_`)\]】」』”\"']*",
    re.IGNORECASE,
)
_BETWEEN = re.compile(
    r"[ \t]*(?:[、,/&+]|和|与|及|以及|还有|跟|\band\b|,? and\b|,? or\b|或)?[ \t]*", re.IGNORECASE
)
_GLOSS = re.compile(r"[ \t]*[.、:(|]?[ \t]*[*_`\"'“‘「(]*")
_QUOTE = re.compile(r"[\"“「『]([^\"“”「」『』\n]{2,40})[\"”」』]")


@dataclass(frozen=True)
class Mention:
    """Options named at one place of a reply; the rest of them, if *rest*."""

    start: int
    end: int
    indices: tuple[int, ...]
    rest: bool = False


class MentionReader(SentenceReader):
    """Finds the options that one reply names."""

    def letters_are_names(self) -> bool:
        """Whether letters of the question or of options name other things."""
        return any(
            re.search(r"(?<![A-Za-z])[A-J](?![A-Za-z])", words) for words in (self.stem.text, *self.options)
        )

    def mentions(self) -> list[Mention]:
        """Return where options are named, lists as one, in their order."""
        single = sorted(
            itertools.chain(self._by_letter(), self._by_text(), self._by_place()),
            key=lambda m: (m.start, -m.end),
        )
        joined: list[Mention] = []
        for mention in single:
            last = joined[-1] if joined else None
            if last and mention.start < last.end:
                continue
            between = self.text[last.end : mention.start] if last else ""
            if last and not mention.rest and not last.rest and len(between) < 8:
                if set(mention.indices) == set(last.indices[-1:]) and _GLOSS.fullmatch(between):
                    joined[-1] = Mention(last.start, self._closed(mention.end), last.indices)
                    continue
                if (
                    _BETWEEN.fullmatch(between)
                    and between.strip()
                    and not set(mention.indices) & set(last.indices)
                ):
                    joined[-1] = Mention(last.start, mention.end, last.indices + mention.indices)
                    continue
            joined.append(mention)
        return joined

    def _closed(self, end: int) -> int:
        return end + len(re.match(r"[*_`\"'”’」)]*", self.text[end:])[0])  # type: ignore[index]

    def _by_letter(self) -> Iterator[Mention]:
        for letter in itertools.islice(_LETTER.finditer(self.text), 2 * MOST_CUES):
            indices = tuple(LETTERS.index(name) for name in letter[1] if name in LETTERS)
            if len(set(indices)) == len(letter[1]) and max(indices) < self.count:
                yield Mention(letter.start(), letter.end(), indices)
        for quoted in itertools.islice(_QUOTE.finditer(self.text), MOST_CUES):
            owners = [i for i, words in enumerate(self.options) if quoted[1] in words]
            if len(owners) == 1 and quoted[1] not in self.stem.text:
                yield Mention(quoted.start(), quoted.end(), (owners[0],))

    def _by_text(self) -> Iterator[Mention]:
        lowered = self.text.lower()
        for index, words in self.words.items():
            place = lowered.find(words.lower()) if len(words) > 1 else -1
            while place >= 0:
                end = place + len(words)
                if not any(
                    other != index and len(longer) > len(words) and self._within(place, end, longer)
                    for other, longer in self.words.items()
                ):
                    yield Mention(place, self._closed(end), (index,))
                place = lowered.find(words.lower(), end)

    def _within(self, start: int, end: int, longer: str) -> bool:
        """Whether the words at *start* are a part of *longer* there."""
        window = self.text[max(0, start - len(longer)) : end + len(longer)]
        return longer in window

    def _by_place(self) -> Iterator[Mention]:
        for rest in _REST.finditer(self.text):
            yield Mention(rest.start(), rest.end(), self._counted(rest), rest=True)
        for every in _EVERY.finditer(self.text):
            if self._counted_all(every["zh"] or every["en"] or ""):
                yield Mention(every.start(), every.end(), tuple(range(self.count)))
        for few in _FIRST.finditer(self.text):
            count = 2 if few["count"] == "两" else _COUNT.index(few["count"])
            places = range(count) if few["side"] == "前" else range(self.count - count, self.count)
            if 0 < count < self.count:
                yield Mention(few.start(), few.end(), tuple(places))

    def _counted_all(self, count: str) -> bool:
        """Whether *count* is that of all options, as far as it is any."""
        number = _COUNT.index(count) if count in _COUNT else _ENGLISH_COUNT.get(count.lower(), 0)
        return not number or number == self.count

    @staticmethod
    def _counted(rest: re.Match[str]) -> tuple[int, ...]:
        """Return as many places as the rest is said to have, if it is."""
        if rest["english"]:
            return tuple(range(_ENGLISH_COUNT[rest["english"].lower()]))
        if not rest["count"]:
            return ()
        return tuple(range(2 if rest["count"] == "两" else _COUNT.index(rest["count"])))
