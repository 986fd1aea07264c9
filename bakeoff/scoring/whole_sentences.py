"""Reads sentences that leave options out or weigh them against each other.

The labels of a sentence become one sign each, and the sentence counts only where a pattern explains all of it: an
option or a word that the pattern does not hold makes it none.
"""

from __future__ import annotations

import itertools
import re

from bakeoff.scoring.judgements import DOUBT, UNSURE
from bakeoff.scoring.labels import LETTERS, MOST_CUES
from bakeoff.scoring.short_answers import ShortAnswerReader
from bakeoff.scoring.speakers import is_of_others
from bakeoff.scoring.statements import EXPLANATION, MENTION

_LABEL = "\ue100"
"""Stands for a list of labels."""

_NUMBERS = "零一二三四五六七八九十"
_HEAD = (
    r"(?:综上(?:所述)?|显然|毫无疑问|所以|因此|故|我(?:认为|觉得|选|会选)?|(?:本|这|此|该)道?题|答案(?:是|为)?|应该?|就是|(?:所有|全部|这?[三四五六])(?:的|个)?选?项[中里]"
    r"|(?:so|thus|therefore|i think|i believe|i would say|the answer is|i (?:would |'d )?(?:choose|pick|select))\b|[\s,:(])*"
)
_REST = r"(?:其[他余它]|剩下|剩余|另外|余下)的?(?:[各两三四五六七八九]?(?:个|项|者)?(?:选项)?)?的?"
_GOOD = r"(?:都|全部?|均|皆|为|应该?|应当|要|需要?|可以?|当|是)*(?:选择?|入选|对|正确|无误|没错|成立|合适|恰当|符合(?:题意|要求)?|可以|可(?:取|选|行)?(?=$)|(?<=[都均皆])是)的?(?:选?项)?"
_BAD = (
    r"(?:都|全部?|均|皆|应该?|应当|要|可以?|是|唯一|的)*(?:错误?|有误|(?:被|可)?排除|不(?:太)?(?:是|(?:需?要|能|可|用)选|行|好|佳|可取|可行|可选|对|正确|合适|恰当|妥|成立|当选|入选|选|应该?选"
    r"|(?:符合|合)(?:题意|要求)?))的?(?:选?项|一项)?"
)
_RIGHT = r"(?:are|is)(?: all)? (?:correct|right|true|valid|appropriate)|apply|applies"
_FALSE = r"(?:are|is|can be|should be|must be)(?: all)? (?:wrong|incorrect|false|invalid|inappropriate|not correct|not right|eliminated|excluded|ruled out)"
_EVERY = r"(?:(?:choose |select )?all(?: of)?(?: them| these| (?:the )?(?:above|(?:\w+ )?options|choices|others))?|everything|every (?:option|choice))"
_BUT = r"(?:but|except(?: for)?|apart from|other than|besides|save)"
_X = _LABEL

_LEAVES_OUT = re.compile(
    rf"{_HEAD}(?:"
    rf"除(?:了|去)?{_X}(?:之外|以外|外)?,?(?:{_REST})?,?{_GOOD}"
    rf"|除(?:了|去)?{_X}(?:之外|以外|外)?,?(?:{_REST})?(?:都|均|皆)(?:是|属于|符合|为)(?:(?![不没未无非错误干扰吗])[^,。;{_LABEL}]){{1,16}}"
    rf"|(?:只有|仅有?|唯独|唯有|就){_X}{_BAD}(?:,{_REST}{_GOOD})?"
    rf"|{_X}(?:之外|以外)的?(?:{_REST})?,?{_GOOD}"
    rf"|{_X},?除外(?:,?(?:{_REST})?{_GOOD})?"
    rf"|{_X}{_BAD},{_REST}{_GOOD}"
    rf"|{_X}是唯一(?:一个)?(?:错误|不正确|不对|不合适|不符合题意)的?(?:选?项|一项)?"
    rf"|(?:错误?|不正确|不对|不符合题意|不选)的?(?:选项)?(?:只有|仅有){_X}(?:,{_REST}{_GOOD})?"
    rf"|(?:错误?|不正确|不对|不符合题意|不选)的?(?:选项)?(?:是|为){_X},{_REST}{_GOOD}"
    rf"|不(?:包括|含|选){_X},{_REST}{_GOOD}"
    rf"|(?:排除|去掉|剔除)(?:了|掉)?{_X}(?:后|之后)?,?{_REST}{_GOOD}"
    rf"|(?:不(?:包括|含|选)|除(?:了|去)?){_X}(?:之外|以外|外)?(?:的|,)?(?:其[他余它]|剩下|剩余|另外|余下)(?:的|[两三四五六七八九])?(?:个|项|者)?(?:选项)?"
    rf"|(?:全选|全部(?:都)?选|(?:都|全部?)(?:选|对|正确)),?(?:除了?{_X}(?:之外|以外|外)?|{_X}除外)"
    rf"|{_EVERY},? {_BUT} (?:option )?{_X}(?: (?:{_RIGHT}))?"
    rf"|{_EVERY} (?:{_RIGHT}),? {_BUT} (?:option )?{_X}"
    rf"|only (?:option )?{_X} (?:{_FALSE})(?:, (?:the )?(?:rest|others) {_RIGHT})?"
    rf"|(?:option )?{_X} (?:{_FALSE}),? ?(?:and |but |while )?(?:all )?(?:the )?(?:rest|others|other (?:\w+ )?(?:options|choices)) {_RIGHT}"
    rf"|{_BUT} (?:option )?{_X}, (?:all|every)(?: (?:the|of the))?(?: other| remaining)?(?: options?| choices?| others)? (?:{_RIGHT})"
    rf")",
    re.IGNORECASE,
)
"""What is right are all options but the labels."""

_COUNTED = re.compile(
    rf"{_HEAD}(?P<right>[两二三四五六七八九])(?:个|项|个选项)(?:都|均)?(?:正确|对),{_X}{_BAD}"
)
_LEAVES = re.compile(
    rf"{_HEAD}(?:"
    rf"除(?:了|去)?(?P<a>{_X})(?:之外|以外|外)?,?(?:{_REST})?,?{_BAD}"
    rf"|非(?P<b>{_X})莫属"
    rf"|{_EVERY} {_BUT} (?:option )?(?P<c>{_X}) (?:{_FALSE})"
    rf"|(?P<d>{_X})(?:,?而)?(?:优于|好于|胜过|强于|胜于){_X}"
    rf"|{_X}(?:不如|不及|次于|逊于)(?P<e>{_X})"
    rf"|(?:i (?:would |'d )?|i'd )?(?:go(?:ing)? (?:for|with) |opt(?:ing)? for |choose |pick |prefer )?(?P<f>{_X}) (?:over|rather than|instead of) {_X}"
    rf"|(?:i (?:would |'d )?|i'd )?prefer (?P<g>{_X}) (?:to|over) {_X}"
    rf"|宁(?:可|愿)?选(?P<h>{_X}),?也?不选{_X}"
    rf"|(?P<i>{_X})(?: ?> ?{_X})+"
    rf"|答?案?(?:并?非|不是){_X},?(?:乃|而?是|应?为)(?P<j>{_X})"
    rf"|only (?:option )?(?P<k>{_X}) (?:{_RIGHT})"
    rf"|除(?:了|去)?{_X}(?:之外|以外|外)?,?(?P<m>{_X}){_GOOD}"
    rf"|与其选?{_X},?(?:还|倒)?不如选?(?P<n>{_X})"
    rf"|(?:首选|最佳(?:选项|答案)?:?)(?P<o>{_X})[,;]?(?:其次|次选|次佳|再次)(?:选项|答案)?(?:是|为|:)?{_X}"
    rf"|(?:把?票)?投给?(?P<l>{_X})(?:一票)?"
    rf")",
    re.IGNORECASE,
)
"""What is right is the label of the group that matched."""
_PREFERRED = "io"
"""Groups of orders of preference, of which several options may be right."""

_ORDER = r"(?:首先|其次|再次|最后|另外|此外|而且?|同时|并且|但|first(?:ly)?|second(?:ly)?|third(?:ly)?|finally|also|and|but|while)? ?"
_CALLED_RIGHT = re.compile(
    rf"{_ORDER}(?:both )?{_X}(?:[也则必]|同样|同时|一定|肯定)*(?:{_GOOD})|{_ORDER}(?:both )?{_X}(?: also| all)? (?:{_RIGHT})(?: as well| too)?"
    rf"|{_ORDER}(?:so|as) (?:is|are) {_X}|{_ORDER}{_X} (?:too|as well)",
    re.IGNORECASE,
)
_CALLED_WRONG = re.compile(
    rf"{_ORDER}{_X}(?:[也则]|同样)*{_BAD}|{_ORDER}{_X} (?:(?:is|are)(?: not|n't)|{_FALSE}|(?:does|do)(?: not|n't)(?: apply)?)",
    re.IGNORECASE,
)
_CHOSEN = re.compile(rf"{_HEAD}(?:答案(?:是|为|:)*|应?选|choose ){_X}", re.IGNORECASE)
_CHOSEN_TOO = re.compile(rf"{_X}(?:[也还]|同样)(?:可以?|应该?|应当|要|需要?|得)?选(?:上|择|入)?的?")
_ALONE_OUT = re.compile(
    rf"除了?{_X}(?:之?外|以外)?|not {_X}[,;]? ?(?:(?:all|every)(?: the)? others?|(?:all )?the (?:rest|others))(?: {_RIGHT}| are)?",
    re.IGNORECASE,
)
"""What a reply that says nothing else leaves out."""
_IS = re.compile(rf"{_ORDER}{_X}(?:(?:都|均|皆|也)?是[^不没非错误{_LABEL}]{{0,16}}| (?:is|are|do|does))")
_IS_NOT = re.compile(
    rf"{_ORDER}{_X}(?:(?:则|都|均|皆|也)?(?:不是|并非|不属于)[^{_LABEL},。;\n]{{0,16}}| (?:is|are|do|does)(?: not|n't))"
)
_EVERY_ONE = re.compile(
    rf"{_HEAD}(?:(?P<count>[二三四五六七八九十])个?(?:选?项)(?:都|均|皆|全部?){_GOOD}|(?:题[目干]?[中里]?的?)?(?:所有|全部)的?(?:选项|说法|答案)(?:都|均|皆)?{_GOOD}|(?:every|each) (?:option|choice|answer) (?:{_RIGHT})|{_EVERY} (?:{_RIGHT}))",
    re.IGNORECASE,
)

_OPEN_ENDED = re.compile(
    r"\?|\.{2,}|…|等|起码|不限于|比如|例如|之一|分别|依次|中[的有]|[或若]|如果|可能|也许|至少|存疑|待定|选项|一般|有些|部分|题|哪|都不|均不|皆不|\b(?:or|if|may|might|some|maybe|perhaps|each|options)\b",
    re.IGNORECASE,
)
_AGAINST = re.compile(r"不|没|非|无|错|误|\b(?:not|no|never|wrong|false)\b|n't\b", re.IGNORECASE)
_SPOKEN_FOR = re.compile(
    rf"^[\s*]*{_LABEL}[\s*]*$|{_LABEL}(?:[三四五六两]?[项者个])?(?:都|均|皆|全)?(?:属于|[是为](?!.*(?:负|消极|干扰|常见)))|(?:包括|包含|属于|[是为]|的有):?{_LABEL}[\s*]*$|{_LABEL} (?:are|is)$|\b(?:are|includes?)\b:? {_LABEL}$",
    re.IGNORECASE,
)
_REST_ONLY = re.compile(
    r"(?:其[他余它]|剩下)(?:的|[两三四]项)?(?:都|均)?(?:不是|不属于|错|不对|不选)?|(?:the )?(?:rest|others) (?:are|do) not?"
)
_PRONOUN = re.compile(r"I(?=['’ ])(?:['’]|(?= [a-z]))")
_OPENERS = re.compile(r"(?:选项|\boptions? |[\"'“‘「『(*_`])+$", re.IGNORECASE)
_OPENER_ENDS = tuple("项 \"'“‘「『(*_`")
_LETTER = re.compile(r"([A-J])(?![A-Za-z0-9])(?:选?项)?[*_`)\]】」』”\"']*")
_REPEATED_LETTER = re.compile(r"([A-J])\1{2,19}")
_SENTENCE_END = re.compile(r"[。!;\n]+|\.(?:\s|$)")
_SPACED = re.compile(rf" *([,:{_LABEL}]) *")
_JOINT = re.compile(rf"(?<={_LABEL}) ?(?:[、和与及]|以及|\band\b) ?$")
"""What makes one list of two labels: ``B、D外``."""
_LOOKED_THROUGH = 400


class SentenceReader(ShortAnswerReader):
    """Reads the one sentence of a reply that names options."""

    def sentence(self) -> str | None:
        """Return what the sentence leaves; None where no pattern fits."""
        text = self.text
        if stop := EXPLANATION.search(text):
            text = text[: stop.start()]
        if _REPEATED_LETTER.fullmatch(text):
            return text[0] if LETTERS.index(text[0]) < self.count else ""
        if len(text) > _LOOKED_THROUGH or self.asks_exception:
            return None
        signs, lists = self._signs(text)
        if any(max(labels) >= self.count for labels in lists):
            return None
        sentences = [part.strip(" ,") for part in _SENTENCE_END.split(signs) if part.strip()]
        naming = [part for part in sentences if _LABEL in part]
        if not lists and self.multiple and len(sentences) == 1:
            every = _EVERY_ONE.fullmatch(sentences[0])
            counted = every and every["count"] and _NUMBERS.index(every["count"]) != self.count
            return self._letters(set(range(self.count))) if every and not counted else None
        if len(naming) == 1:
            whole = ",".join(sentences)
            for form in dict.fromkeys((naming[0], _SPACED.sub(r"\1", naming[0]), whole)):
                if (indices := self._explained(form, lists, form == whole)) is not None:
                    return self._letters(indices)
        return self._clauses(sentences, lists) if self.multiple and len(lists) > 1 else None

    def _clauses(self, sentences: list[str], lists: list[tuple[int, ...]]) -> str | None:
        """Return what is called right where each clause calls its labels so."""
        parts = [part.strip(" ,") for sentence in sentences for part in re.split("[,\n]", sentence)]
        if _CHOSEN.fullmatch(parts[0]) and all(_CHOSEN_TOO.fullmatch(part) for part in parts[1:]):
            return self._letters({index for several in lists for index in several})
        fair: set[int] = set()
        poor: set[int] = set()
        contrast = _IS_NOT.search("\n".join(sentences))
        place = 0
        for clause in re.split(r"[,\n]| (?=and so\b)", "\n".join(sentences)):
            clause = clause.strip()
            named = clause.count(_LABEL)
            labels = {index for several in lists[place : place + named] for index in several}
            place += named
            if _CALLED_RIGHT.fullmatch(clause) or (contrast and _IS.fullmatch(clause)):
                fair |= labels
            elif _CALLED_WRONG.fullmatch(clause) or _IS_NOT.fullmatch(clause):
                poor |= labels
            elif clause:
                return None
        return self._letters(fair) if fair and not fair & poor else None

    def _explained(self, sentence: str, lists: list[tuple[int, ...]], alone: bool) -> set[int] | None:
        """Return what *sentence* leaves, *alone* where the reply says no more."""
        if match := _LEAVES.fullmatch(sentence):
            group = next(name for name, value in match.groupdict().items() if value)
            if self.multiple and group in _PREFERRED:
                return None
            return set(lists[match.string[: match.start(group)].count(_LABEL)])
        without = set(lists[0])
        if len(lists) != 1:
            return None
        if _LEAVES_OUT.fullmatch(sentence):
            return set(range(self.count)) - without
        if alone and self.multiple and _ALONE_OUT.fullmatch(sentence):
            return set(range(self.count)) - without
        if counted := _COUNTED.fullmatch(sentence):
            right = 2 if counted["right"] == "两" else _NUMBERS.index(counted["right"])
            return set(range(self.count)) - without if right == self.count - len(without) else set()
        return None

    def _letters(self, indices: set[int]) -> str:
        fits = indices and (self.multiple or len(indices) == 1)
        return "".join(LETTERS[i] for i in sorted(indices)) if fits else ""

    def _signs(self, text: str) -> tuple[str, list[tuple[int, ...]]]:
        """Return *text* with a sign for each list of labels, and the lists."""
        signs, place = "", 0
        lists: list[tuple[int, ...]] = []
        mentions = {m.start() for m in itertools.islice(MENTION.finditer(text), MOST_CUES)}
        for start in sorted(mentions | self.named_at):
            if not place <= start < len(text):
                continue
            signs += text[place:start]
            place = start
            labels, end = self._labels_at(place, place in mentions)
            if labels and end <= len(text) and not _PRONOUN.match(text, place):
                if signs.removesuffix("\n")[-1:] in _OPENER_ENDS:
                    signs = _OPENERS.sub("", signs)
                if lists and (joint := _JOINT.search(signs)):
                    signs = signs[: joint.start()]
                    lists[-1] += labels
                else:
                    signs += _LABEL
                    lists.append(labels)
                place = end
            else:
                signs += text[place]
                place += 1
        return signs + text[place:], lists

    def _labels_at(self, place: int, mentioned: bool) -> tuple[tuple[int, ...], int]:
        if not mentioned and self.own_words(place) is None:
            return (), place
        if labels := self.label_list(place, small=False):
            return labels.indices, labels.end
        # The whole sentence is looked at, so that any word may follow a letter.
        if letter := _LETTER.match(self.text[place : place + 12]):
            return (LETTERS.index(letter[1]),), place + letter.end()
        return (), place

    def parted(self) -> str:
        """Return the options that a short reply speaks for.

        It must part all of them, or name one list and nothing else.
        """
        text = self.text
        if (
            not self.multiple
            or self.asks_exception
            or len(text) > 200
            or _OPEN_ENDED.search(text)
            or UNSURE.search(text)
        ):
            return ""
        if re.match(r"[A-J](?:, ?[A-J])*, [A-J]\b", text) or "—" in text:
            return ""  # where such a list ends, its commas do not tell
        signs, lists = self._signs(text)
        fair: list[int] = []
        poor: set[int] = set()
        place = count = 0
        for clause in re.split(r"[,;。!\n—]|\.\s", signs):
            named = clause.count(_LABEL)
            if named > 1 or (not named and clause.strip() and not _REST_ONLY.fullmatch(clause.strip())):
                return ""
            if not named:
                continue
            labels, lead = lists[place], clause[: clause.index(_LABEL)]
            place += 1
            if max(labels) >= self.count or is_of_others(lead) or DOUBT.search(lead):
                return ""
            if _AGAINST.search(clause):
                poor |= set(labels)
            elif _SPOKEN_FOR.search(clause.strip()):
                fair += labels
                count += 1
            else:
                return ""
        if len(set(fair)) < len(fair) or set(fair) & poor:
            return ""
        whole = len(fair) + len(poor) == self.count and poor
        return self._letters(set(fair)) if whole or (count == 1 and len(fair) > 1 and not poor) else ""
