"""Reads what a question asks for: what holds, or the exception.

``Which is NOT …`` turns every verdict on an option around: there, ``C is correct`` speaks against C. Where a question
holds a negation that belongs to its story as well as to what it asks, nothing is told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache

_HEAD = re.compile(r"(?:^|\n)[ \t*#_]*(?:问题|题目|question)[ \t*_]*\d*[ \t*_]*:", re.IGNORECASE)
_OPTIONS = re.compile(r"\n\s*(?:[*_]*(?:选项|options|choices)[*_]*\s*:|\(?A[).、])", re.IGNORECASE)
_QUOTED = re.compile(r"[\"“「『《][^\"“”「」『』《》\n]{1,200}[\"”」』》]")
_CONTENT = re.compile(
    r"非常|不良|不安|不满|不同|不断|不仅|不但|不过|不久|不少|不足|不幸|不适(?!合|当|宜)|不利(?!于)|不平|未来|未成年|无论|无意识|无条件|无助|无望|无力|无私|无规则"
    r"|非言语|非语言|非理性|非参与|非结构|非特异|非自愿|错觉|错构|误差|误会|没落|除此|除夕|清除|解除|消除|排除|删除|去除|不由自主|情不自禁|不知不觉|莫不|无不|不得不|错误(?=观念|信念|认知)|不合理(?:信念|情绪|认知)"
)
"""Words that hold a sign of negation and negate nothing that is asked for."""
_HOLDS_NOT = (
    r"(?:不(?:正确|恰当|合适|符合|属于|对|适宜|适合|适当|包括|包含|含|是|应该?|宜|合理|准确|妥当?|成立|一致|相符|可取|科学|存在|当|文明|安全|道德|合法|利于|可能)"
    r"|(?:错误|有误|错(?!误))(?!观念|信念|认知)|无关|没有关系|有违|违反|违背|相反|例外|最不|不(?=\w{0,4}的是))"
)
_EXCEPTION_ZH = re.compile(
    rf"{_HOLDS_NOT}[^,。;!?]{{0,24}}(?:[是有为]|一项|选项|[(:?_]|$)|(?:下列|以下|下面|哪[^,。]{{0,6}}?|选项中?)[^,。;]{{0,16}}(?:不|没有?|未|无法)[^,。;]{{1,24}}的?"
    rf"|除[^,。;]{{0,20}}(?:外|之外|以外)|(?:选出|找出|指出)[^,。]{{0,6}}(?:错|不)"
)
_EXCEPTION_EN = re.compile(
    r"\bNOT\b|\bEXCEPT\b|\bexcept\b|\b(?:least|incorrect|false|untrue|wrong|inappropriate|unlikely|inaccurate|unsuitable|exception)\b"
    r"|\bwhich\b[^.?!]{0,60}\b(?:is|are|does|do|was|were|would|should|can|could)(?: not\b|n't\b)"
)
_NEGATES = re.compile(
    r"[不没未无非错误除否]|\b(?:not|no|never|none|without|neither|nor|cannot)\b|n't\b", re.IGNORECASE
)
_COMMON = re.compile(
    r"下列|以下|下面|哪[一个项种]?|[项个种]|选项|正确|的是|属于|包括|关于|说法|[是的在了和与及有为对于这那中]|[\W\d_]"
)

_LONGER_WORD = re.compile(r"[a-z]{4,}")
_LATIN_WORD = re.compile(r"[a-z]+")


class Asks(StrEnum):
    """What a question asks for."""

    FOR_WHAT_HOLDS = "what holds"
    FOR_THE_EXCEPTION = "the exception"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Stem:
    """A question without its options: its text, and what it asks for."""

    text: str
    asks: Asks

    @cached_property
    def _lowered(self) -> str:
        return self.text.lower()

    @cached_property
    def _own_signs(self) -> str:
        return _COMMON.sub("", self.text)

    @cached_property
    def _own_words(self) -> set[str]:
        """The longer Latin words, with and without their last letter."""
        words = set(_LONGER_WORD.findall(self._lowered))
        return words | {word[:-1] for word in words}

    def shares(self, words: str) -> bool:
        """Whether *words* repeat enough of the question to be about it."""
        zh = _COMMON.sub("", words)
        pairs = {zh[i : i + 2] for i in range(len(zh) - 1) if not zh[i : i + 2].isascii()}
        if sum(pair in self._own_signs for pair in pairs) >= 2:
            return True
        if not self._own_words:
            return False
        said = _LATIN_WORD.findall(words.lower())
        shared = {word for word in said if len(word) > 3 and word in self._own_words}
        return len(shared) >= (2 if len(said) > 6 else 1)

    def is_repeated_by(self, words: str, share: float) -> bool:
        """Whether *share* of *words* writes the question down again."""
        said = re.sub(r"[\W_]", "", words)
        return len(said) > 5 and len(re.sub(r"[\W_]", "", self.without(said))) < (1 - share) * len(said)

    def without(self, words: str) -> str:
        """Return *words* without what they repeat of the question."""
        left, place = "", 0
        while place < len(words):
            length = _repeated(self._lowered, words, place)
            left += "" if length else words[place]
            place += length or 1
        return left


def _repeated(text: str, words: str, place: int) -> int:
    """Return how many signs of *words* at *place* stand in *text*, if two.

    Args:
        text: in lower case.
        words: what may repeat it; ``place``: where.
    """
    length = 2
    while place + length <= len(words) and words[place : place + length].lower() in text:
        length += 1
    return length - 1 if length > 2 else 0


@lru_cache(maxsize=4096)
def stem_of(question: str) -> Stem:
    """Return the stem of *question*, a prompt around it left out.

    Args:
        question: what was asked, in plain form.
    """
    text = question
    if heads := list(_HEAD.finditer(text)):
        text = text[heads[-1].end() :]
    if block := _OPTIONS.search(text):
        text = text[: block.start()]
    return Stem(text.strip(), _asks(text.strip()))


def _asks(text: str) -> Asks:
    asked = _QUOTED.sub("", text).rstrip(" \n。.?!:_()…")
    sentences = [part for part in re.split(r"[。!?;\n]|\.\s", asked) if len(part.strip(" ()_")) > 1]
    last = _CONTENT.sub("", sentences[-1]) if sentences else ""
    if _EXCEPTION_EN.search(last):
        return Asks.FOR_THE_EXCEPTION
    focus = re.split(r",", last)[-1]
    if _EXCEPTION_ZH.search(focus) or (
        focus != last and re.search(r"的是?$|[(_]$", last) and _EXCEPTION_ZH.search(last)
    ):
        return Asks.FOR_THE_EXCEPTION
    return Asks.UNCLEAR if _NEGATES.search(last) else Asks.FOR_WHAT_HOLDS
