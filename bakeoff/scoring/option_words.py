"""Reads replies in words: a verdict such as 不正确, or an option itself."""

from __future__ import annotations

import itertools
import re
from functools import lru_cache

from bakeoff.scoring.beginnings import beginning_with
from bakeoff.scoring.cues import MARKED
from bakeoff.scoring.judgements import BREAK, DOUBT
from bakeoff.scoring.labels import LETTERS, MOST_CUES, Labels
from bakeoff.scoring.options import bare
from bakeoff.scoring.several import SetReader
from bakeoff.scoring.speakers import is_own
from bakeoff.scoring.statements import MENTION

REFUSED = beginning_with(
    "csu不对抱拒无",
    r"抱歉|对不起|无法(?:回答|确定|判断|给出|提供|作答)|不能(?:回答|确定|判断|提供|给出)|不便|拒绝|不知道|不确定|sorry|cannot|can't|unable",
    re.IGNORECASE,
)
_OPEN = beginning_with(
    r"\n?abdeilnorw剔去反吗否呢如排放无最淘缺请错",
    r"(?:^|\n)请|\?|吗|呢|错|否|反对|缺|无关|最[差坏少后]|排除|淘汰|放弃|去掉|剔除|如果|\bno\b|whether|exclude|eliminate|rule[sd]? out|dismiss|reject|doubt|avoid"
    r"|least|worst|opposite|lack|without|instead|before|after",
    re.IGNORECASE,
)
"""What leaves it open whether an option that is named is the answer."""
_ADVERBS = r"(?:应该|应当|应|就|显然|当然|完全|肯定|其实|也)?"
_HOLDS = re.compile(
    r"^(?:没有(?:任何)?(?:错误?|问题)|正确|准确|对|是|成立|属实|真|无误|没错|没问题|true|yes|right|correct|accurate|√|✓|✔)(?:的)?$",
    re.IGNORECASE,
)
_FAILS = re.compile(
    r"^(?:错误|错|不正确|不对|否|不是|不成立|不属实|假|非|false|no|wrong|incorrect|not (?:true|correct)|×|✗|✘|x)(?:的)?$",
    re.IGNORECASE,
)
_VERDICT = re.compile(
    rf"^(?:非也[,。]|(?:不是这样的?|并非如此),(?=错|不对|不正确))?(?:(?:此|本|该|这道?)题(?:应该?)?(?:判断?|判定))?(?:我的?判断|答案|判断|结论|回答|答)?(?:是|为)?[\s:*_`\"“]*(?:(?:我(?:认为|觉得)|该|此|这|题[目干](?:中?的)?|上述|以上|本题|i (?:think|believe) |the |this |that |that(?='s)|it)*"
    rf"(?:种|个|句|道|项|一)*(?:说法|表述|观点|陈述|命题|话|题|描述|论断|判断|statement|claim)?)?\s*{_ADVERBS}(?:是|为|'s|is)?\s*[\"'“*]*"
    r"(?P<sign>不正确|不对|不是|不成立|不属实|没有(?:任何)?(?:错误?|问题)|不准确|不妥|有误|有问题|站不住脚|无误|没错|没问题|属实|成立|正确|错误|错了(?!,?(?:应|其实|是))|准确|对|错|是|否|真|假|√|×|✓|✗|true|false|yes|no|not (?:true|correct|right|accurate)|incorrect|inaccurate|accurate|correct|wrong|right)"
    r"(?:的|哦|呢)?(?=[\s*_`\"'”.。,!;:—]|$)",
    re.IGNORECASE,
)
_CHOOSES = re.compile(r"\s*(?:应?选择?|属于|(?:答案)?[是为])(?=\S)")
_TELLS_APART = re.compile(r"(?![不没非无])\w[\u4e00-\u9fff]{1,8}|[\u0370-\u03ff]")
"""A word, or a Greek letter, with which one option alone begins: ``B类``, ``α``."""
_NOT = re.compile(r"\b(?:not|no|neither|nor|without)\b|n't\b", re.IGNORECASE)
_CONCLUDED = re.compile(
    r"(?:^|[,。;.!] ?)(?:因此|所以|故而?|因而|由此可[见知]|可见|综上(?:所述)?|总之|这|therefore|thus|hence|so),? ?(?P<said>[^,。;.!\n]{1,30})[。.!*]*$",
    re.IGNORECASE,
)
"""The last clause, where it concludes."""


@lru_cache(maxsize=1024)
def _sides_of(options: tuple[str, ...]) -> tuple[bool, ...]:
    """Return which of two *options* affirms, where the other one denies."""
    affirm = tuple(bool(_HOLDS.match(option)) for option in options)
    decided = len(options) == 2 and all(
        holds or _FAILS.match(option) for holds, option in zip(affirm, options, strict=True)
    )
    return affirm if decided and len(set(affirm)) == 2 else ()


class WordReader(SetReader):
    """Reads the words of the options in one reply."""

    def verdict(self) -> Labels | None:
        """Return the side of a set such as 正确/错误 that the reply takes."""
        sides = _sides_of(self.options)
        if not sides:
            return None
        if re.fullmatch(r"[TF][.。]?", self.text):
            return Labels((sides.index(self.text[0] == "T"),), 0, 1)
        last = self.text.rsplit("\n", 1)[-1]
        match = _VERDICT.match(self.text) or _VERDICT.match(last)
        if match is None and (turn := _CONCLUDED.search(last[-80:])):
            match = _VERDICT.match(turn["said"])
        if not match or re.match(
            r"[*\s]*(?:的?(?:选项|答案|选择)|\s+(?:answer|option|choice))", match.string[match.end() :]
        ):
            return None
        holds = bool(_HOLDS.match(match["sign"]))
        return Labels((sides.index(holds),), 0, match.end())

    def by_words(self) -> str:
        """Return the options whose words make up most of the reply."""
        if REFUSED.search(self.text):
            return ""
        for cue in itertools.islice(MARKED.finditer(self.text), MOST_CUES):
            line = self.text[cue.end() : cue.end() + 2000].split("\n", 1)[0]
            if self.doubted(cue.start()):
                continue
            if letters := self._named(line) or self._begun(line):
                return letters
        return self._named(self.text) or self._begun(self.text) or self._alone()

    def _begun(self, text: str) -> str:
        """Return the one option of which *text* is the larger part: ``1879``."""
        stem = bare(_CHOOSES.sub("", text))
        begun = [i for i, option in enumerate(self.prepared.bare) if stem and option.startswith(stem)]
        if len(begun) != 1 or re.fullmatch(r"[a-j]+", stem):
            return ""
        large = len(stem) >= 2 and len(stem) * 2 > len(self.prepared.bare[begun[0]])
        return LETTERS[begun[0]] if large or _TELLS_APART.fullmatch(stem) else ""

    def _alone(self) -> str:
        """Return the one option that a short reply names, at its start or end.

        Words are named for a reason where a letter may be a part of anything.
        """
        text = self.text
        named = {i for i, words in self.words.items() if len(words) > 1 and words.lower() in text.lower()}
        longest = {
            i
            for i in named
            if not any(i != j and self.words[i].lower() in self.words[j].lower() for j in named)
        }
        if self.multiple or len(longest) != 1 or len(text) > 120 or DOUBT.search(text) or _OPEN.search(text):
            return ""
        (index,) = longest
        words = re.escape(self.words[index])
        letter = rf"(?:\b{LETTERS[index]}[.、:)]? ?)?"
        rest = re.sub(rf"{letter}[*_`\"'“‘「]*{words}[*_`\"'”’」]*", "\n", text, flags=re.IGNORECASE)
        beside = re.search(
            rf"{LETTERS[index]}[.、:)]? ?[*_`\"'“‘「]*{words}|{words}[*_`\"'”’」]* ?\((?:option |choice |选项 ?)?{LETTERS[index]}\)",
            text,
        )
        ends = re.search(r"\n[.。!]?$", rest) and (beside or is_own(BREAK.split(rest.rstrip("\n.。!"))[-1]))
        stands = ends or re.match(r"\n ?(?:\([^()\n]{0,40}\))?(?:[,.。;!:—]|$)", rest)
        return LETTERS[index] if stands and not MENTION.search(rest) else ""

    def _named(self, text: str) -> str:
        if re.search(r"[✗✘❌×✖]|:\s*(?:yes|no|true|false|是|否|对|选)(?!\w{4})", text, re.IGNORECASE):
            return ""
        words_only = bare(text)
        named = {
            i: words for i, words in enumerate(self.prepared.bare) if len(words) > 1 and words in words_only
        }
        named = {
            i: words
            for i, words in named.items()
            if not any(words != other and words in other for other in named.values())
        }
        if not named or len(set(named.values())) < len(named) or (len(named) > 1 and _NOT.search(text)):
            return ""
        rest = words_only
        for words in sorted(set(named.values()), key=len, reverse=True):
            if any(f"{denial}{words}" in rest for denial in ("不", "没", "非", "不选", "不属于")):
                return ""
            rest = rest.replace(words, "\n")
        left = text
        for i in named:
            left = re.sub(re.escape(self.words.get(i, self.options[i])), "", left, flags=re.IGNORECASE)
        if not self.multiple and (_OPEN.search(left) or DOUBT.search(left)):
            return ""
        if len(rest) > max(6, len(words_only) // 2) or re.search(
            r"[不错误非否缺无若]|如果|not|wrong|lack|absent|missing|without|except", rest
        ):
            return ""
        return self.letters(Labels(tuple(named), 0, 0))
