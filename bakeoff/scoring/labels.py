"""Reads labels: letters, ordinals, options' own words, and lists of them.

A label is a letter, an ordinal (第二项, ②) or an option's own words. What may stand around and between the labels of a
list (brackets, Markdown, LaTeX, an option's words) belongs to the list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from bakeoff.scoring.judgements import is_approved, is_rejected
from bakeoff.scoring.options import OptionSet
from bakeoff.scoring.questions import Stem, stem_of

LETTERS = "ABCDEFGHIJ"
MOST_CUES = 40
"""How often one rule looks: a model that repeats itself for pages must not cost minutes."""
_ORDINALS = "一二三四五六七八九十"

# What may stand between a cue and its list, and around each label of it.
OPENERS = re.compile(
    r"(?:\(\d{1,2}\)[ \t]*(?=[*_`(\[]*[A-J](?![A-Za-z0-9]))|[\s*_`~\"'“”‘’「」『』()\[\]【】〔〕〈〉<>《》{}$:=#—→|✅👉]|->|=>|\\(?:boxed|text|textbf|mathbf|mathrm|mathsf|fbox)\s*\{|\\[(\[ ,;])*"
)
_BULLET = re.compile(
    r"(?:[-*+•·▪]|\d{1,2}[.)、])[ \t]+|\(\d{1,2}\)[ \t]*(?=[*_`(\[]*[A-J](?![A-Za-z0-9]))|[\ue000-\ue009][.、)]?[ \t]*(?=[*_`(\[]*[A-J](?![A-Za-z0-9]))"
)
_PREFIX = re.compile(r"(?:从|选项|options?\b|choices?\b)[\s:*_`(\[\"'“「]*", re.IGNORECASE)
_CLOSERS = re.compile(r"(?:[*_`\"'”’」』)\]】〕〉>》}$]|\\[)\]])*")
_SUFFIX = re.compile(r"[ \t]?(?:选项|项|(?=\b)options?\b)", re.IGNORECASE)
_POINT = re.compile(r"[^\w\n\ue000-\ue009]{0,16}")
_GAP = re.compile(r"\s*\n\s*")
_OPENS = frozenset("([*_`\"'“「【〈《<{")
_GLOSS_END = re.compile(
    r"[*_`\"'”」』》)\]】}$]*[.。](?=[*\s]*[、,;]?[ \t\n]*[A-J(]|[*_`\"'”」』》)\]】])[*_`\"'”」』》)\]】}$]*|[*_`\"'”」』》)\]】}$]*"
)
_GLOSS = re.compile(
    r"[ \t]*[*_`]{0,2}\((?!\s*(?:[A-J]|不?正确|不?对|是|否|错误?|不?选|[✓✔✅√✗✘❌×]|(?:in)?correct|wrong|true|false|yes|no)\s*\))[^()\n]{0,200}\)[*_`]{0,2}",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(
    r"[ \t]*(?:,[,、]|[,、;/&+|.·]|-(?=[A-J](?![A-Za-z0-9]))|\\(?=[A-J](?![A-Za-z]))|\\[,;]|和|与|及|跟|以及|还有|并且|\band\b|\bas well as\b)?[ \t]*"
    r"(?:[,、]?[ \t]*(?:和|与|及|以及|还有|\band\b|&))?[ \t]*",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"[ \t]?(?:这|共)?[两三四五六七八九十2-9](?:个选项|个|选?项|者)(?![\u4e00-\u9fff]|$)|[ \t]?(?:这|共)?[两三四五六七八九十](?:个选项|个|选?项|者)$"
)
_PREDICATE = re.compile(
    r"(?!选|项|(?:[和与及跟或]|以及)[*_` ]*[A-J]|还|并|都|均|也|皆|全|正确|对|错|[两三四五六]|这|合适|恰当|符合|当选|等|应|无误|没错|没问题|更|比|之|吧|呢|啊|啦|了|同样|亦|才|最"
    r"|是(?:正确|对|答案|最|本题?|应|合|恰|符|标准))[\u4e00-\u9fff]"
    r"|[ ](?:is|was|does|has|would|can|could|seems|isn't|doesn't)\b",
    re.IGNORECASE,
)
"""What begins a clause about the label before it."""
_FIRST_FEW = re.compile(r"前([两二三四五六])(?:个选项|个|选?项)(?![\u4e00-\u9fff]*(?:错|不))")
_LETTER_BEHIND = re.compile(r"[*_`\"'”’」]{0,4}[ ]?\(([A-J])\)[*_`]{0,2}")
_LETTERS_RUN = re.compile(r"[A-J]{1,10}(?![A-Za-z0-9])")
_SMALL_RUN = re.compile(r"[a-j]{1,10}(?![A-Za-z0-9])")
_HYPHENED = re.compile(r"[-‐–'’·]\s?(?![A-J](?![A-Za-z0-9]))[A-Za-z0-9\u4e00-\u9fff]")
_FOLLOWING_WORD = re.compile(r"[ \t]+([a-z]+)")
_ENGLISH_FOLLOWERS = frozenset(
    [
        "and",
        "or",
        "is",
        "are",
        "because",
        "since",
        "as",
        "for",
        "which",
        "that",
        "with",
        "based",
        "not",
        "but",
        "both",
        "were",
        "was",
        "would",
        "should",
        "vs",
        "the",
        "rather",
        "while",
        "best",
        "correct",
        "right",
        "seems",
        "looks",
        "only",
        "option",
        "choice",
        "here",
        "in",
        "it",
        "fits",
        "makes",
        "shows",
        "all",
        "apply",
        "seem",
        "must",
        "has",
        "appears",
        "looks",
        "wins",
        "stands",
        "remains",
        "works",
        "explains",
        "captures",
        "describes",
        "matches",
        "answers",
        "also",
        "too",
        "then",
        "over",
        "instead",
        "though",
        "appear",
    ]
)
_BEHIND_WORDS = re.compile(r"和|与|及|跟|以及|或|是|为|才|最|因|的|更|都|不|这")
_CJK = re.compile(r"[\u4e00-\u9fff]")
_CJK_FOLLOWERS = re.compile(
    r"选|项|当之无愧|没|有(?!人)|考虑|关注|强调|既|仅|过于|太(?!太)|在|从|把|让|使|忽|缺|直接|尊|针对|贴|切|较|很|非|极|毫|未|无|胜|占|仍|已|却|恰|刚|确|上(?=[\W_]|$)|和|与|及|跟|或|以及|还|并|都|均|也|皆|全|是|为|才|正确|对|错|最|两|三|四|五|这|更|比较|合适|恰当|符合|当选|不|其|因(?![子素果数变])|而|作|等|属|应该|应|无误"
    r"|有误|中|吗|么|之一|的|所|即|说|描述|表述|更正|理由|解析|答案|吧|呢|啊|啦|哦|哈|嘛|了|没错|没问题|无疑|方案|选项|会|则|就|虽|但|可|能|被|误|除外|排除|确|一项|比|呀|哟|噢|喔|咯|喽|嘞|诶|哇|同样|亦|之|与"
)
_ORDINAL = re.compile(
    rf"第[ ]?(?P<word>[{_ORDINALS}]|10|[1-9])[ ]?(?:个选项|个答案|个|项|条|选项|种)|选项[ ]?(?P<bare>[{_ORDINALS}]|10|[1-9])(?![\d.])"
    rf"|(?P<circle>[\ue000-\ue009])"
    r"|(?:the )?(?P<english>first|second|third|fourth|fifth) (?:option|choice|one)\b",
    re.IGNORECASE,
)
_ORDINAL_BEGINS = frozenset("第选fstFSTſ") | frozenset(map(chr, range(0xE000, 0xE00A)))
_RANGE = re.compile(
    r"(?<![A-J][-–—~])([A-J])[ ]?(?:-|–|—|~|到|至|\bthrough\b|\bto\b)[ ]?([A-J])(?![A-Za-z0-9]|[ ]?[-–—~][ ]?[A-J])"
)
_ORDINALS_RUN = re.compile(
    rf"第[ ]?((?:[{_ORDINALS}]|10|[1-9])(?:[ ]?[,、和及与][ ]?(?:第[ ]?)?(?:[{_ORDINALS}]|10|[1-9]))+)[ ]?(?:个选项|个答案|选项|个|项|条)"
)
_ENGLISH_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_ALL = re.compile(
    rf"(?:全选|(?:(?:以上|上述)(?:各|[{_ORDINALS}]个?)?|各|[{_ORDINALS}]个?)(?:选?项|者|说法|答案)?(?:都|均|全)(?:是?正确|是?对|选)的?"
    r"|(?:以上|上述)?(?:全部|所有)(?:的?选项)?(?:都|均)?(?:正确|对|选)?|(?:都|均|全)(?:正确|对|选)|all (?:of them|of the above|options))"
    r"(?:(?: are)? (?:correct|right|true))?(?=[\s。.!,*]|$)"
    r"|(?:本题|此题|这题|应该?|答案[是为]?)?(?:全部?都?(?:应?该?选|正确|对)|(?:所有|全部)(?:的?选项)?(?:都|均)?应该?选|每一?个?(?:选?项|说法|答案)?(?:都|均)(?:是?正确|是?对|应?选)的?|(?:以上|上述)?(?:全|都|皆|均)(?:是|为?正确|为?对|应?选))(?=[\s。.!,*]|$)"
    r"|(?:select |choose )?all(?=[.!\n]|$)|(?:all|everything)(?: \w+ options| four| five| three| the above| options| choices| of them| of these| of the above)? (?:are|is) (?:correct|right|true)(?=[\s.!,*]|$)",
    re.IGNORECASE,
)


NO_STEM = stem_of("")
"""Stands for a question that is not known."""


@dataclass(frozen=True)
class Labels:
    """A list of labels: indices of options, where it ends, and whether it can be what was answered."""

    indices: tuple[int, ...]
    start: int
    end: int
    whole: bool = True
    cue_end: int = 0


class LabelReader:
    """Reads the labels of one reply to one question.

    Attributes:
        text: the reply in plain form.
        prepared: the options; ``options``, ``glosses``, ``words`` and ``count`` are its own.
        stem: the question without its options.
        named: whether letters stand in the place of the options' own words, so that each is an option.
    """

    def __init__(
        self,
        text: str,
        options: OptionSet,
        multiple: bool,
        named: bool = False,
        stem: Stem = NO_STEM,
    ) -> None:
        self.text = text
        self.stem = stem
        self.named = named
        self.multiple = multiple
        self.prepared = options
        self.count = options.count
        self.options = options.texts
        self.glosses = options.glosses
        self.words = options.words

    @cached_property
    def named_at(self) -> set[int]:
        """Where the words of an option begin."""
        places: set[int] = set()
        for words in self.words.values():
            place = self.text.find(words)
            while place >= 0:
                places.add(place)
                place = self.text.find(words, place + 1)
        return places

    def reader_of(self, text: str, multiple: bool) -> Self:
        """Return a reader of another *text* for the same question."""
        return type(self)(text, self.prepared.again, multiple, stem=self.stem)

    def label_list(self, place: int, small: bool = True) -> Labels | None:
        """Return the list of labels that begins at *place*, or None."""
        start = OPENERS.match(self.text, place).end()  # type: ignore[union-attr]
        fresh = "\n" in self.text[place:start]
        every = _ALL.match(self.text, start) if self.multiple else None
        if every and self._counts_all(every[0]) and self.own_words(start) is None:
            return Labels(tuple(range(self.count)), start, every.end())
        first = self.item(start, small)
        if first is None:
            return None
        indices, end = list(first[0]), first[1]
        packed = len(indices) > 1
        whole = True
        while len(indices) <= 30:
            further = self._next(end, indices, fresh, packed)
            if further is None:
                break
            indices += further[0]
            end = further[1]
        if counted := _COUNTED.match(self.text, end):
            end = counted.end()
        if packed and self.multiple and indices != sorted(set(indices)) and len(set(indices)) < len(indices):
            whole = False
        return Labels(tuple(indices), start, end, whole)

    def _counts_all(self, every: str) -> bool:
        """Whether a number in *every*, as in ``三项全对``, is that of all options."""
        counted = re.match(rf"(?:以上|上述)?([两{_ORDINALS}])(?:个|项|者|选|说|答)", every)
        if counted is None:
            return True
        return (2 if counted[1] == "两" else _ORDINALS.index(counted[1]) + 1) == self.count

    def _next(self, end: int, indices: list[int], fresh: bool, packed: bool) -> tuple[list[int], int] | None:
        """Return the list's next labels and where they end, None at its end."""
        separator = _SEPARATOR.match(self.text, end)
        place = separator.end() if separator else end
        gap = _GAP.match(self.text, place, place + 20)
        if gap:
            lines = gap[0].count("\n")
            if packed or (lines > 1 and not fresh) or not self.multiple:
                return None
            place = gap.end()
        elif place == end and self.text[end : end + 1] not in _OPENS:
            previous = self.text[end - 1 : end]
            circles = all("\ue000" <= sign <= "\ue009" for sign in (previous, self.text[end : end + 1]))
            if not circles and previous not in ")]】」”〉》>\"'*`} ":
                return None
        opened = OPENERS.match(self.text, place).end()  # type: ignore[union-attr]
        if "\n" in self.text[place:opened]:
            return None
        item = self.item(opened, small=True)
        if item is None or (set(item[0]) & set(indices) and not gap and not self.multiple):
            return None
        if gap and set(item[0]) & set(indices):
            return None
        if ">" in self.text[place:opened] and "<" not in self.text[end:opened]:
            return None  # an order of preference
        tail = self.text[item[1] : item[1] + 40]
        if separator and re.search("[,.;]", separator[0]) and _PREDICATE.match(tail):
            return None
        if is_rejected(tail) or self.run_is_rejected(
            item[1], set(indices), separator[0] if separator else ""
        ):
            return None
        if (
            gap
            and not re.match(r"[\s.。,;、*)\]}`\"'”]*(?:\n|$)", tail)
            and not (fresh and not is_approved(tail))
        ):
            return None
        return item

    def run_is_rejected(self, place: int, before: set[int], ahead: str = "", weak: bool = False) -> bool:
        """Whether the labels from here on are denied together: ``答案:B,A、C、D错误``.

        A comma ends what a pause mark holds together: in ``A、B、D,C不选`` only C is denied. *weak*: every comma does.
        """
        for _ in range(10):
            separator = _SEPARATOR.match(self.text, place)
            between = self.text[place - 1 : place] + (separator[0] if separator else "")
            if re.search(r"\.\s|;", between):
                return False
            if ("、" in ahead or weak) and re.search("[,;。.]", between):
                return False
            ahead = between
            opened = OPENERS.match(self.text, separator.end() if separator else place).end()  # type: ignore[union-attr]
            if "✅" in self.text[place:opened]:
                return False  # the label before it is ticked
            if "\n" in self.text[place:opened]:
                return False
            item = self.item(opened, small=False)
            if item is None or set(item[0]) & before:
                return False
            place = item[1]
            if is_rejected(self.text[place : place + 40]):
                return True
        return False

    def item(self, place: int, small: bool) -> tuple[list[int], int] | None:
        """Return the labels at *place* and where their wrapping ends."""
        if bullet := _BULLET.match(self.text, place):
            place = OPENERS.match(self.text, bullet.end()).end()  # type: ignore[union-attr]
        labels = self.label_at(place, small)
        if labels is None and (prefix := _PREFIX.match(self.text, place)):
            labels = self.label_at(prefix.end(), small)
        if labels is None:
            return self.own_words(place)
        indices, end = labels
        end = _CLOSERS.match(self.text, end).end()  # type: ignore[union-attr]
        if suffix := _SUFFIX.match(self.text, end):
            end = _CLOSERS.match(self.text, suffix.end()).end()  # type: ignore[union-attr]
        if len(indices) == 1 and indices[0] < self.count:
            words = self.glosses[indices[0]]
            after = _POINT.match(self.text, end).end()  # type: ignore[union-attr]
            behind = after + len(words)
            if (
                words
                and self.text.startswith(words, after)
                and (behind == len(self.text) or not self._ends_before(end, after, words))
            ):
                end = behind
                end = _GLOSS_END.match(self.text, end).end()  # type: ignore[union-attr]
        if gloss := _GLOSS.match(self.text, end):
            end = gloss.end()
        return indices, end

    def _ends_before(self, end: int, after: int, words: str) -> bool:
        """Whether the label that ends at *end* has none of the words at *after*."""
        if after == end and re.fullmatch(r"[\w ]{1,3}", words):
            return True
        ended = re.search(r"[。!?;\n]", self.text[end:after])
        return bool(ended and re.match(r"\w", self.text[after + len(words) :]))

    def label_at(self, place: int, small: bool) -> tuple[list[int], int] | None:
        """Return what the letters or the ordinal at *place* stand for."""
        sign = self.text[place : place + 1]
        if sign in _ORDINAL_BEGINS and (
            ordinal := _ORDINALS_RUN.match(self.text, place) or _ORDINAL.match(self.text, place)
        ):
            return self._ordinal(ordinal)
        if sign == "前" and (first := _FIRST_FEW.match(self.text, place)):
            return list(range(2 if first[1] == "两" else _ORDINALS.index(first[1]) + 1)), first.end()
        if "A" <= sign <= "J":
            span = _RANGE.match(self.text, place)
            if span and span[1] < span[2] and self.own_words(place) is None:
                return list(range(LETTERS.index(span[1]), LETTERS.index(span[2]) + 1)), span.end()
            run = _LETTERS_RUN.match(self.text, place)
        else:
            run = _SMALL_RUN.match(self.text, place) if small else None
        if run is None:
            return None
        end = run.end()
        indices = [LETTERS.index(letter) for letter in run[0].upper()]
        if len(indices) > 1 and (
            len(set(indices)) < len(indices) or (indices != sorted(indices) and run[0].islower())
        ):
            return None
        words = self.glosses[indices[0]] if len(indices) == 1 and indices[0] < self.count else ""
        if words and self._glossed(end, words):
            return indices, end
        if self.own_words(place) is not None or _HYPHENED.match(self.text, end):
            return None
        if word := _FOLLOWING_WORD.match(self.text, end):
            small_word = run[0].islower() and len(run[0]) == 1 and word[1] == "is"
            praised = word[1].endswith("s") and is_approved(self.text[end : end + 20])
            return (indices, end) if (word[1] in _ENGLISH_FOLLOWERS or praised) and not small_word else None
        following = self.text[end : end + 1]
        if _CJK.match(following):
            if len(run[0]) == 1 and run[0] + following in self.stem.text and following not in "是项选的":
                return None  # a name of the question's: A因子
            follows = _CJK_FOLLOWERS.match(self.text, end) or is_approved(self.text[end : end + 12])
            return (indices, end) if follows and not run[0].islower() else None
        return indices, end

    def _glossed(self, end: int, words: str) -> bool:
        return self.text.startswith(words, _POINT.match(self.text, end).end())  # type: ignore[union-attr]

    def _ordinal(self, ordinal: re.Match[str]) -> tuple[list[int], int] | None:
        if ordinal.re is _ORDINALS_RUN:
            words = re.findall(rf"[{_ORDINALS}]|10|[1-9]", ordinal[1])
            places = [_ORDINALS.index(w) if w in _ORDINALS else int(w) - 1 for w in words]
            return places, ordinal.end()
        if circle := ordinal["circle"]:
            return ([ord(circle) - 0xE000], ordinal.end()) if self.prepared.circles else None
        if english := ordinal["english"]:
            return [_ENGLISH_ORDINALS.index(english.lower())], ordinal.end()
        word = ordinal["word"] or ordinal["bare"]
        index = _ORDINALS.index(word) if word in _ORDINALS else int(word) - 1
        return [index], ordinal.end()

    def own_words(self, place: int) -> tuple[list[int], int] | None:
        """Return the option whose words stand at *place*, the longest first."""
        if place not in self.named_at:
            return None
        standing = [i for i, words in self.words.items() if self.text.startswith(words, place)]
        index = max(standing, key=lambda i: len(self.words[i]))
        end = place + len(self.words[index])
        following = self.text[end : end + 1]
        short = len(self.words[index]) < 4 and _CJK.match(following)
        if short and not _BEHIND_WORDS.match(self.text, end):
            return None
        if (
            following.isascii()
            and following.isalnum()
            and self.words[index][-1:].isascii()
            and self.words[index][-1:].isalnum()
        ):
            return None
        if letter := _LETTER_BEHIND.match(self.text, end):
            return ([index], letter.end()) if LETTERS[index] == letter[1] else None
        return [index], end + len(_CLOSERS.match(self.text, end)[0])  # type: ignore[index]
