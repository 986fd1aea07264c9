"""Reads short statements that no other rule reads, each as a whole.

A form counts only where it explains all that the reply says: a word or a label that it does not hold makes it none.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from bakeoff.scoring.clauses import ClauseReader
from bakeoff.scoring.judgements import DOUBT, UNSURE
from bakeoff.scoring.labels import LETTERS
from bakeoff.scoring.option_words import REFUSED
from bakeoff.scoring.questions import Asks
from bakeoff.scoring.statements import EXPLANATION, MENTION

_LONGEST = 500
_A = r"(?-i:[A-J])"
_L = rf"(?<![A-Za-z])(?:选项 ?|option )?[*_(]*{_A}(?![A-Za-z0-9])[*_)]*(?:选?项)?"
_MANY = rf"(?:{_L}(?: ?(?:[、,/]|和|与|及|,? and ) ?{_L})+|(?<![A-Za-z]){_A}{{2,10}}(?![A-Za-z0-9]))"
_LIST = rf"(?:{_MANY}|{_L})"
_NUMBERS = "一二三四五六七八九十"
_STEMS = "甲乙丙丁戊己庚辛壬癸"
_RIGHT = (
    r"(?:是|应该?|可以?|也)*(?:正确|对|选|符合题意|可以|可选|成立|合适|恰当|没问题|没错)(?:的)?(?:答案|选项)?"
)
_HOLDS = r"(?:present|supported|stated|mentioned|correct|right|true|valid|appropriate|found|described|shown)"
_WHERE = r"(?: (?:in|by) the (?:text|passage|story|dialogue|scenario))?"

_COUNTED = re.compile(
    rf"(?:答案:)?(?P<list>{_MANY}) ?这?(?P<count>[两二三四五六七八九])(?:个选项|个|选?项)(?:都|均|全)(?:是)?{_RIGHT}"
)
_FAIR = re.compile(
    rf"(?:应?选|答案[是为:]?)(?P<a>{_LIST})"
    rf"|(?P<b>{_LIST})(?:肯定|一定|必然|显然|也|同样|亦|都|均|勉强)*{_RIGHT}"
)
_AS_WELL = re.compile(r"也|同样|亦|勉强")
_ALL_PRESENT = re.compile(rf"(?P<list>{_MANY}) (?:are|were)(?: all| both) {_HOLDS}{_WHERE}", re.IGNORECASE)
_ONLY = re.compile(rf"only (?P<list>{_LIST}) (?:is|are) {_HOLDS}{_WHERE}", re.IGNORECASE)
_LEFT_OUT = re.compile(
    rf"除了?(?P<a>{_LIST})(?:以外|之外|外)?"
    rf"|not (?P<b>{_LIST})[;,] ?(?:but )?(?:all (?:the )?others?|(?:all )?the (?:rest|others))",
    re.IGNORECASE,
)
_IS_NOT = re.compile(
    rf"(?P<poor>{_LIST}) (?:is|are)(?: not|n't)[;,.] ?(?:but )?(?P<fair>{_LIST}) (?:is|are)", re.IGNORECASE
)
_FIRST_FEW = re.compile(rf"前(?P<count>[两二三四五六七八九])(?:个选项|个|选?项)(?:都|均|全)(?:是)?{_RIGHT}")
_NUMBERED = re.compile(
    r"(?:(?:我|应)?(?:该)?选|答案[是为]?):? ?(?P<list>\d(?:、\d)+|[甲乙丙丁戊己](?:[、和,]?[甲乙丙丁戊己])*)"
)
_CHOSEN_NUMBER = re.compile(r"(?:我|应|故|所以)?选(?P<number>[一二三四五六])")
_ITEM = re.compile(rf"(?P<number>[{_NUMBERS}])[、.] ?(?P<label>{_L})[.。]?")
_HEAD = re.compile(
    r"(?:the )?(?:\w+ ){1,3}(?:that|which) (?:apply|fit|are "
    rf"{_HOLDS}{_WHERE}) (?:are|is):",
    re.IGNORECASE,
)
_BULLET = re.compile(r"[-*•] ?(?P<label>[A-J])[.):]? ?(?P<words>.*)")
_VALUED = re.compile(
    rf"(?:\d{{1,2}}\. )?(?P<label>{_A})(?: ?[–—-]|:) ?"
    r"(?:(?P<poor>not (?:appropriate|correct|suitable|right)|inappropriate|incorrect|unsuitable|wrong)"
    r"|(?:appropriate|correct|suitable|right))\b(?P<more>[^\n]*)",
    re.IGNORECASE,
)
_UNTELLING = re.compile(
    r"\b(?:not|no|never|but|however|unless|though|only|except|hardly|wrong)\b|n't\b|[?✗✘×]", re.IGNORECASE
)
_NAMED_RIGHT = re.compile(
    rf"正确的(?:选项|说法)?(?:是|有|为|包括):? ?(?P<list>{_LIST})[。;](?P<rest>[^。]+)", re.DOTALL
)
_FAULT = re.compile(r"不|没|未|无|错|误|过于|片面|绝对|牵强")
_PRAISE = re.compile(r"正确|也对|成立|可以|合适|恰当|不错|没错|没有?错|无误|没问题|[若如]果?|可能")
_EVERY = re.compile(
    r"(?:因此|所以|故),?(?:本?题(?:目)?中的?|以上|上述)?(?:所有|全部)的?选项(?:都|均)是?正确的?"
)

_ONE = re.compile(
    rf"(?:the )?(?:answer )?key: ?(?P<a>{_L})"
    rf"|(?P<b>{_L}) ?= ?(?:correct|right|正确|对)"
    rf"|(?:按照?|依照?|根据|凭)(?:常理|题意|经验|逻辑|语境|上下文|原文)(?:来看|来说)?,?(?:应该|应|当|就|会)?选(?P<c>{_L})"
    rf"|(?P<d>{_L}) (?:beats (?:the|all(?: the)?) (?:others|rest)|would be it|is the letter of the correct answer)"
    rf"|i(?:'m| am) (?:quite |very )?confident in (?P<e>{_L})"
    rf"|(?P<f>{_L})获胜"
    rf"|(?P<g>{_A}):"
    rf"|(?P<h>{_L}) ?👍"
    rf"|最佳:(?P<i>{_L})[;,] ?次佳:{_L}",
    re.IGNORECASE,
)
_INSTEAD = re.compile(
    rf"(?P<old>{_L}) ?(?:→|->|=>) ?(?P<new>{_L}) ?\((?:更正|修正|改正|corrected|correction)\)"
    rf"|(?:no, )?not (?P<denied>{_L})[:,;] ?(?:but |it's |it is )?(?P<meant>{_L})"
    rf"|(?P<early>{_L}) (?:would be|is|seems) (?:too|rather|overly) \w+, "
    rf"so (?P<best>{_L}) (?:is|would be) (?:preferable|better|best)",
    re.IGNORECASE,
)
_ALL_WRONG = re.compile(r"(?P<list>[A-J]{2,9})(?:都|均)?(?:错误?|有误)")
_EXPLAINED = re.compile(
    rf"(?P<before>[^,.;?!()]*(?:\([^()]*\))?[^,.;?!]*) (?:is|are|was|were) (?:best|most clearly|clearly) "
    rf"(?:explained|described|captured|supported|reflected|summed up) by (?P<label>{_L})",
    re.IGNORECASE,
)
_SAYS = re.compile(rf"(?:i'd|i would|i'll) (?:say|pick|choose) (?P<label>{_A})\. (?P<rest>.+)", re.IGNORECASE)
_BESIDE = re.compile(r"\((?P<label>[A-J])\) (?:is|are|would be|sounds|seems) ")
_TURNS = re.compile(
    r"\b(?:but|actually|however|wait|instead|though|correct|right|best|better|not|no)\b|n't\b|\?",
    re.IGNORECASE,
)
_ONLY_ZH = re.compile(
    rf"(?P<before>[^。]+),只有(?P<label>{_L})[^,。A-J]{{1,12}},(?:才)?(?:符合|契合)题[^,。A-J]*"
)
_AT_LAST = re.compile(
    rf"(?P<before>[^?]+)[;。](?:而)?(?P<label>{_L})[能可既][^,。;A-J]{{1,30}},(?:因而|因此|所以|故)最(?:合适|恰当|佳|好|妥当)的?"
)
_FEELS = re.compile(
    r"(?:(?:she|he|the \w+) is (?:experiencing|feeling)"
    r"|(?:the )?\w+'s (?:(?!no|never|hardly|barely|scarcely|rarely|seldom|lack|absence)\w+ ){1,3}"
    r"(?:points to|indicates|reflects)) (?P<words>[\w ]+)",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(r"如果|假如|若|并非|有人|错误|不是|不属于|不能|误|但")
_IMPLIES = re.compile(
    r"(?:which|this|that) (?:clearly )?(?:implies|shows|means|indicates|tells us)(?: that)?", re.IGNORECASE
)
_UNLIKE = re.compile(
    r"\b(?:wrong|mistake\w*|incorrect|tempt\w*|distractors?|if|might|may|some|students?|people|false)\b",
    re.IGNORECASE,
)
_OPEN = re.compile(r"\?|吗$|,不对$|有人")
"""What leaves open whether the reply itself states it."""
_QUOTED = re.compile(r"[\"“「『][^\"”」』]*[\"”」』]")


def _indices(words: str) -> set[int]:
    """Return the options whose letters *words* hold."""
    return {LETTERS.index(sign) for sign in re.findall(r"[A-J]", re.sub(r"(?i:options?)", "", words))}


class PlainReader(ClauseReader):
    """Reads a reply that is nothing but a plain statement."""

    def plainly(self) -> str:
        """Return the letters that the reply states, or ``""``."""
        if self.count < 2 or self.letters_are_names() or self.stem.asks is not Asks.FOR_WHAT_HOLDS:
            return ""
        text = self.text
        if (stop := EXPLANATION.search(text)) and stop.start():
            text = text[: stop.start()]
        text = re.sub(r"^(?:答案: ?)(?=.{3})", "", text.strip()).strip().rstrip("。.!* \n")
        if not text or len(text) > _LONGEST or any(doubt.search(text) for doubt in (REFUSED, UNSURE, _OPEN)):
            return ""
        every = set(range(self.count))
        for rule in _SEVERAL if self.multiple else _SINGLE:
            indices = rule(self, text)
            if indices and indices <= every and (len(indices) == 1 or self.multiple):
                return "".join(LETTERS[i] for i in sorted(indices))
        return ""

    def _every(self) -> set[int]:
        return set(range(self.count))

    def _listed(self, text: str) -> set[int]:
        """Return a list with its predicate: ``A、B、D三个选项都对``."""
        if match := _COUNTED.fullmatch(text):
            indices = _indices(match["list"])
            number = 2 if match["count"] == "两" else _NUMBERS.index(match["count"]) + 1
            return indices if number == len(indices) else set()
        if match := _ALL_PRESENT.fullmatch(text) or _ONLY.fullmatch(text):
            return _indices(match["list"])
        if match := _FIRST_FEW.fullmatch(text):
            number = 2 if match["count"] == "两" else _NUMBERS.index(match["count"]) + 1
            return set(range(number)) if number < self.count else set()
        return self._called_fair(text)

    def _called_fair(self, text: str) -> set[int]:
        """Return what clause after clause calls right, none of it twice."""
        indices: set[int] = set()
        clauses = [part for part in re.split(r"[,。;\n] ?", text) if part]
        for clause in clauses:
            match = _FAIR.fullmatch(clause)
            labels = _indices(match["a"] or match["b"]) if match else set()
            if not labels or labels & indices or (indices and not _AS_WELL.search(clause)):
                return set()
            indices |= labels
        return indices if len(clauses) > 1 else set()

    def _left_out(self, text: str) -> set[int]:
        """Return all options but those that are left out: ``除了D``."""
        if match := _IS_NOT.fullmatch(text):
            poor, fair = _indices(match["poor"]), _indices(match["fair"])
            return fair if not poor & fair and poor | fair == self._every() else set()
        match = _LEFT_OUT.fullmatch(text)
        out = _indices(match["a"] or match["b"]) if match else set()
        return self._every() - out if out <= self._every() and out else set()

    def _numbered(self, text: str) -> set[int]:
        """Return options by their places: ``选1、2、3``, ``应选:甲、乙``."""
        signs = _STEMS + "123456789"
        if any(sign in option for option in self.options for sign in signs):
            return set()
        match = _NUMBERED.fullmatch(text)
        places = [signs.index(s) % 10 for s in match["list"] if s in signs] if match else []
        return set(places) if len(set(places)) == len(places) else set()

    def _lines(self, text: str) -> set[int]:
        """Return options that stand one to a line."""
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        items = [_ITEM.fullmatch(line) for line in lines]
        if len(lines) > 1 and all(items):
            numbers = "".join(item["number"] for item in items if item)
            labels = [i for item in items if item for i in _indices(item["label"])]
            return set(labels) if _NUMBERS.startswith(numbers) and len(set(labels)) == len(labels) else set()
        if len(lines) > 1 and _HEAD.fullmatch(lines[0]):
            indices: set[int] = set()
            for line in lines[1:]:
                item = _BULLET.fullmatch(line)
                index = LETTERS.index(item["label"]) if item else self.count
                words = item["words"].strip(" .").lower() if item else ""
                if index >= self.count or words not in ("", self.options[index].lower()):
                    return set()
                indices.add(index)
            return indices
        valued = [_VALUED.fullmatch(line) for line in lines]
        if len(lines) != self.count or not all(valued):
            return set()
        judged = [value for value in valued if value]
        named = [LETTERS.index(value["label"]) for value in judged]
        if set(named) != self._every() or any(_UNTELLING.search(value["more"]) for value in judged):
            return set()
        return {index for index, value in zip(named, judged, strict=True) if not value["poor"]}

    def _named_right(self, text: str) -> set[int]:
        """Return what is named right where the rest is found fault with."""
        if match := _NAMED_RIGHT.fullmatch(text):
            fair = _indices(match["list"])
            clauses = re.split("[,;]", match["rest"])
            faults = all(re.match(_L, clause) and _FAULT.search(clause) for clause in clauses)
            others = _indices(match["rest"])
            return (
                fair
                if faults
                and not _PRAISE.search(match["rest"])
                and not fair & others
                and fair | others == self._every()
                else set()
            )
        last = text.rsplit(",", 2)
        clause = ",".join(last[-2:]) if last[-1].startswith(("所", "全")) else last[-1]
        ahead = text[: len(text) - len(clause)]
        return self._every() if _EVERY.fullmatch(clause) and not DOUBT.search(ahead) else set()

    def _stated_one(self, text: str) -> set[int]:
        """Return the one option of a short statement: ``A=correct``."""
        if match := _ONE.fullmatch(text) or _ONLY.fullmatch(text):
            return _indices(next(value for value in match.groups() if value))
        if match := _CHOSEN_NUMBER.fullmatch(text):
            numbers = any(sign in option for option in self.options for sign in _NUMBERS)
            return set() if numbers else {_NUMBERS.index(match["number"])}
        if match := _INSTEAD.fullmatch(text):
            old = _indices(match["old"] or match["denied"] or match["early"])
            new = _indices(match["new"] or match["meant"] or match["best"])
            return new if old != new and old <= self._every() else set()
        match = _ALL_WRONG.fullmatch(text)
        wrong = _indices(match["list"]) if match else set()
        return self._every() - wrong if len(wrong) == self.count - 1 and wrong < self._every() else set()

    def _concluded(self, text: str) -> set[int]:
        """Return the one option that the end of a longer reply names."""
        if (match := _EXPLAINED.fullmatch(text)) and not (
            DOUBT.search(text) or MENTION.search(match["before"])
        ):
            return _indices(match["label"])
        if match := _SAYS.fullmatch(text):
            label = {LETTERS.index(match["label"])}
            others = {LETTERS.index(beside["label"]) for beside in _BESIDE.finditer(match["rest"])}
            apart = not _TURNS.search(match["rest"]) and others == self._every() - label
            return label if apart else set()
        if match := _ONLY_ZH.fullmatch(text) or _AT_LAST.fullmatch(text):
            label = _indices(match["label"])
            return (
                label
                if _indices(match["before"]) == self._every() - label and not _PRAISE.search(match["before"])
                else set()
            )
        return self._in_words(text)

    def _in_words(self, text: str) -> set[int]:
        """Return the one option whose words the last clause states."""
        lowered = text.lower()
        named = [i for i, words in self.words.items() if words.lower() in lowered]
        if len(named) != 1 or len(self.words[named[0]]) < 2:
            return set()
        words = self.words[named[0]]
        if match := _FEELS.fullmatch(text):
            return set(named) if match["words"].lower() == words.lower() else set()
        clause = re.split(r"[,;。] ?|\. ", text)[-1]
        if re.fullmatch(rf"(?:这|这是)?属于{re.escape(words)}(?:技术|技巧)?", clause):
            return set() if _SUPPOSED.search(_QUOTED.sub("", text)) else set(named)
        end = f"{words} (option {LETTERS[named[0]]})".lower()
        lead = clause[: -len(end)].strip()
        if not clause.lower().endswith(end) or text.count("option") != 1 or _UNLIKE.search(text):
            return set()
        return set(named) if _IMPLIES.fullmatch(lead) else set()


_Rule = Callable[[PlainReader, str], set[int]]
_SEVERAL: tuple[_Rule, ...] = (
    PlainReader._listed,
    PlainReader._left_out,
    PlainReader._numbered,
    PlainReader._lines,
    PlainReader._named_right,
)
_SINGLE: tuple[_Rule, ...] = (PlainReader._stated_one, PlainReader._numbered, PlainReader._concluded)
