"""Reads replies that state their answer by structure alone.

What these rules read has no cue that marks an answer: a verdict on each of all options, a last line that concludes
with a label, one option that the reply commends. They are asked only where every other rule read nothing, and they read
nothing themselves where the reply states something else, doubts, or leaves an option open.
"""

from __future__ import annotations

import itertools
import re

from bakeoff.scoring.judgements import DOUBT, TAKEN_BACK, UNSURE, is_rejected
from bakeoff.scoring.labels import LETTERS, MOST_CUES, Labels
from bakeoff.scoring.option_words import REFUSED
from bakeoff.scoring.speakers import is_of_others, is_own
from bakeoff.scoring.statements import CHOSEN, LINE_START, MARKED, MENTION
from bakeoff.scoring.whole_sentences import SentenceReader

_LONGEST = 4000
_SHORT = 240
_ROW = re.compile(
    rf"(?:^|(?<=[\n;。!])|(?<=[.;] )){LINE_START}(?P<label>[A-J])[*_`)\]】]*(?:选?项)?[*_`)\]】]*[ \t]*(?=[.、:()|,—–\-✓✔✅☑√✗✘❌×✖])"
)
_FOR_MARK = re.compile(r"[✓✔✅☑√]")
_AGAINST_MARK = re.compile(r"[✗✘❌×✖]")
_MARK_FIRST = re.compile(r"[✓✔✅☑√✗✘❌×✖][*_`( ]*[A-J](?![A-Za-z0-9])")
_ADVERB = r"(?:[是也较更最很]|完全|显然|比较|较为|基本|均|都|应该?|应当|可以?|被|需要?|\b(?:is|are|this|that|it|a|an|the|very|most|quite|clearly|would be|seems?)\b|\s)*"
_FOR_WORD = re.compile(
    rf"{_ADVERB}(?:(?:正确|对|合适|恰当|适当|合理|妥当|可取|可行|成立|入选|当选|选择?|是|准确)的?(?=[\s]*$)|(?:符合|属于|满足)(?![^A-Z]{{0,12}}[不没无未错])"
    r"|(?:correct|right|appropriate|suitable|acceptable|reasonable|valid|true|yes|applies|fits|accurate|best|consistent)\b(?! (?:if|when|only|unless|but|answer))(?!.*\b(?:but|not|if|only|less)\b))",
    re.IGNORECASE,
)
_AGAINST_WORD = re.compile(
    rf"(?:(?:题干|题目|题中|材料|文中|原文|本题|案例)[中里]?(?:也|并)?)?{_ADVERB}(?:不(?!仅|只|但|妨|错|少|难)|未|没有?(?!错|问题|毛病)|无(?!误|疑)|非(?!常)|错误?|有误|误|排除|否|假|过于"
    r"|(?:not|no|never|wrong|incorrect|inappropriate|unsuitable|unreasonable|unacceptable|invalid|false|irrelevant|inaccurate|excluded|inconsistent|rude|harmful)\b)",
    re.IGNORECASE,
)
_PARTLY = re.compile(
    r"\?|[吗么](?=[\W_]|$)|部分|勉强|一定程度|某种|可能|也许|\b(?:part(?:ly|ially)?|somewhat|less|maybe|perhaps|might|may)\b",
    re.IGNORECASE,
)
_REVERSED = re.compile(
    r"(?:不(?:正确|恰当|合适|符合|属于|对|适宜|包括|应该?|是)|错误|有误)[^,。;\n]{0,12}的(?:一项|选项|做法|说法|是)?[是为有:(]"
    r"|选出?(?:择)?[^,。;\n]{0,6}(?:错|不)|[“\"](?:不|错)|除了|\b(?:except|least|NOT|false statement|incorrect (?:one|statement|option))\b",
)
"""What shows that the question asks for what does not hold."""
_CONCLUDES = r"(?:因此|所以|故而?|因而|由此可[见知]|可见|综上(?:所述)?|总之|总的来说|therefore|thus|hence|in conclusion|so)"
_ALL_RIGHT = re.compile(
    rf"(?:^|[,。;\n]){_CONCLUDES},?(?:本题|题[中目]|以上|上述|这|的|中|给出)*(?:所有|全部|各|[四五六]个?)(?:的?选?项|说法)?(?:[都均全皆]|全部)(?:是|为)?(?:正确|对|符合题意|应?选|符合要求)的?。?$"
)
_FINAL = re.compile(
    r"(?P<lead>[^\n:]{1,24})[*_`]{0,2}[ ]?(?::|→|—+|->|=>)[ ]?(?=[*_`(\[【$\\\"“]*[A-J](?![A-Za-z0-9]))"
)
_INTRODUCED = re.compile(
    rf"^(?P<head>[^\n]{{2,80}}):[ \t]*\n\s*(?P<block>(?:{LINE_START}[A-J](?![A-Za-z0-9])[^\n]*(?:\n(?!\n)|$)){{2,10}})",
    re.MULTILINE,
)
_HOLDS = re.compile(r"有|包括|属于|[是为]|正确|\b(?:are|includes?|apply|applies|correct)\b", re.IGNORECASE)
_COMMENDS = re.compile(
    r"(?:(?:应该?|应当|理应|最好|必须|适合|宜)(?:[要先去做用]|首先|直接|及时|立即|立刻|采[用取]|[使运选]用|选择|表达|进行|给予|主动|适当|优先|对其|对[他她]|与其)*|(?<![没不])(?:只|唯|仅)有|唯独|(?:这|正|就|完全|最)(?:正是|是|属于|符合)(?:典型的|所谓的)?"
    r"|\b(?:should|ought to|had better|(?:best|most (?!un|im|in|dis|harm|rude|danger|common|tempt)[a-z]+|right|correct|ideal|proper|appropriate|kind(?:est)?|wis(?:e|est)|polite|helpful)(?: [a-z]+){0,2} (?:is|would be|(?:is )?for [a-z]+ is) to)(?: (?:simply|just|first|probably|definitely|immediately))*"
    r"|\bbest \w+ed by(?: option)?|\b(?:implies|suggests|indicates|shows|means)(?: that)?|(?:说明|表明|体现|反映)(?:出|了)?(?:[他她]|来访者|当事人|患者)?)[ *_`\"“'(]*$",
    re.IGNORECASE,
)
_IS = re.compile(
    r"(?:是|为|叫做?|称[为作]|属于|即|\b(?:is|feeling|feels?|shows?|points? to|(?:sign|definition|example|expression) of|typical of))(?:一种|典型的| an?)?[ *_`\"“'(]*$",
    re.IGNORECASE,
)
_ENDS = re.compile(
    r"[*_`\"”')]*(?:(?![不没未无非错吗])[\u4e00-\u9fff]){0,4}[*_`\"”')]*[。.!]*(?:的?运用)?[。.!]*"
)
_REFERS = re.compile(
    r"[这此该]|上述|题干|因此|所以|故|因而|创立|提出|[使运采]用|属于|\b(?:this|that|the|here|so|thus|therefore|hence)\b",
    re.IGNORECASE,
)
"""What ties a sentence to the case of the question."""
_TOPIC = re.compile(
    r"考[查察]|涉及|关键|知识点|要点|重点|核心|基础|前提|概念|主题|题[目干]问|相反|区别|\b(?:topic|about|opposite|common|first|asks?|concept)\b",
    re.IGNORECASE,
)
"""What a question is about is not its answer."""
_EXCELS = re.compile(
    r"[*_`\"”' ]*(?:best|most (?:clearly|accurately|closely|directly)) (?:explain|fit|match|describe|captur|reflect|address|answer|account|summari[sz]|convey|suit)\w*\b|[*_`\"”' ]*(?:最(?:能|为)?|才能?)(?:符合|体现|反映|说明|解释|贴合|合适|恰当)",
    re.IGNORECASE,
)
_SUBJECT = re.compile(r"\b(?:you|we|i|one|he|she|they)\b(?= (?:should|ought))", re.IGNORECASE)
_INSTEAD = re.compile(
    r"(?:而(?!且)|而[不非]|并非|不是|\b(?:rather than|instead of|whereas|while|not)\b)", re.IGNORECASE
)
_TURNS = re.compile(
    r"[?…]|[吗呢么](?=[\W_]|$)|可能|也许|如果|除非|取决于|尽管|虽然|但|不过|然而"
    r"|\b(?:if|whether|unless|depends?|however|although|though|but|might|may|perhaps|maybe|sometimes)\b",
    re.IGNORECASE,
)
_OPEN = re.compile(
    r"其次|然后|再|之前|之后|而且|同时|并且|或|也|\b(?:then|before|after|or|could|also)\b", re.IGNORECASE
)
"""What makes a commended option one thought of several."""
_DENIES = re.compile(r"[不没未无非错]|\b(?:not|no|never|without)\b|n't\b", re.IGNORECASE)
_LACKS = re.compile(
    r"(?:没有?|未|不(?:存在|包括|包含|涉及|属于|是)|\b(?:not|no|without))[^,。;]{0,8}$", re.IGNORECASE
)
_CLAUSE = re.compile(r"[,。;!?:\n]|\.(?=\s|$)")


class LastResortReader(SentenceReader):
    """Reads what no cue of one reply marks."""

    def by_structure(self) -> str:
        """Return the letters that the reply's structure states, or ""."""
        text = self.text
        if not text or len(text) > _LONGEST or REFUSED.search(text) or _REVERSED.search(text):
            return ""
        if UNSURE.search(text) or TAKEN_BACK.search(text) or re.search(r"\.{2}|…", text[-8:]):
            return ""
        rules = self._rows, self._all_right, self._final, self._introduced, self._commended, self._all_parted
        return next((letters for rule in rules if (letters := rule())), "")

    def _rows(self) -> str:
        """Return what a verdict on each of all options leaves."""
        rows = list(itertools.islice(_ROW.finditer(self.text), MOST_CUES))
        labels = [LETTERS.index(row["label"]) for row in rows]
        if sorted(labels) != list(range(self.count)) or self.count < 2 or _MARK_FIRST.search(self.text):
            return ""
        fair: set[int] = set()
        end = 0
        for row, following, label in itertools.zip_longest(rows, rows[1:], labels):
            verdict_text = self.text[row.end() : following.start() if following else None]
            verdict_text = (
                re.split(r"\n[ \t]*\n", verdict_text, maxsplit=1)[0] if following is None else verdict_text
            )
            end = row.end() + len(verdict_text)
            verdict = self._polarity(verdict_text, label)
            if verdict is None:
                return ""
            fair |= {label} if verdict else set()
        stated = [*self.statements(MARKED), *self.statements(CHOSEN)]
        if any(
            set(s.indices) != fair for s in stated if s.cue_end <= rows[0].start("label") or s.start >= end
        ):
            return ""
        return self.letters(Labels(tuple(fair), 0, 0))

    def _polarity(self, verdict_text: str, label: int) -> bool | None:
        """Return whether *verdict_text* speaks for *label*; None if unclear."""
        verdict_text = (
            verdict_text.replace(self.options[label], " ", 1) if self.options[label] else verdict_text
        )
        fair, poor = bool(_FOR_MARK.search(verdict_text)), bool(_AGAINST_MARK.search(verdict_text))
        if fair or poor:
            return None if fair and poor else fair
        parts = [part.strip(" \t*_`\"'“”") for part in re.split(r"[,。;!:|()\n—–.]|-(?= )", verdict_text)]
        parts = [part for part in parts if part]
        if not parts or _PARTLY.search(verdict_text):
            return None
        verdicts = {
            not _AGAINST_WORD.match(part)
            for part in (parts[0], parts[-1])
            if _AGAINST_WORD.match(part) or _FOR_WORD.match(part)
        }
        return verdicts.pop() if len(verdicts) == 1 else None

    def _all_right(self) -> str:
        """Return all letters where the reply concludes that all are right."""
        if not self.multiple or not _ALL_RIGHT.search(self.text[-60:]):
            return ""
        return LETTERS[: self.count]

    def _final(self) -> str:
        """Return the labels that the last line concludes with."""
        last = re.split(r"\n|(?<=[。;!])", self.text.rstrip(" \n*_`。.!$}"))[-1].strip(" *_`-")
        reader = self.reader_of(last, self.multiple)
        if (final := _FINAL.match(reader.text)) is None or not is_own(final["lead"]):
            return ""
        labels = reader.label_list(final.end())
        if MENTION.search(final["lead"]) or (self.multiple and self.line_labels()):
            return ""
        if (
            labels is None
            or reader.goes_on(labels.end)
            or reader.text[labels.end :].strip(' \t*_`。.!$\\)}]】"”')
        ):
            return ""
        if DOUBT.search(final["lead"]) or is_rejected(final["lead"]):
            return ""
        stated = [*self.statements(MARKED), *self.statements(CHOSEN)]
        return "" if any(set(s.indices) != set(labels.indices) for s in stated) else self.letters(labels)

    def _introduced(self) -> str:
        """Return the labels of the one list that a line introduces."""
        lists = list(itertools.islice(_INTRODUCED.finditer(self.text), 2))
        if not self.multiple or len(lists) != 1:
            return ""
        head, block = lists[0]["head"], lists[0]["block"]
        if (
            _DENIES.search(head + block)
            or DOUBT.search(head)
            or is_of_others(head)
            or not _HOLDS.search(head)
        ):
            return ""
        if _AGAINST_MARK.search(block):
            return ""
        labels = [
            LETTERS.index(letter) for letter in re.findall(rf"^{LINE_START}([A-J])", block, re.MULTILINE)
        ]
        beside = self.text[: lists[0].start()] + "\n" + self.text[lists[0].end() :]
        if _ROW.search(beside) or _TURNS.search(beside) or re.search(r"[也亦还]|\balso\b|\btoo\b", beside):
            return ""
        stated = [*self.statements(MARKED), *self.statements(CHOSEN)]
        if any(set(s.indices) != set(labels) for s in stated) or len(labels) >= self.count:
            return ""
        return self.letters(Labels(tuple(labels), 0, 0))

    def _commended(self) -> str:
        """Return the option of a short reply that alone is commended."""
        text = self.text
        if self.multiple or len(text) > _SHORT or _TURNS.search(text):
            return ""
        fair: set[int] = set()
        sole = self.named and len({m[0] for m in MENTION.finditer(text)}) == 1 and not _TOPIC.search(text)
        for mention in itertools.islice(MENTION.finditer(text), MOST_CUES):
            item = self.label_at(mention.start(), small=False)
            index = LETTERS.index(mention[0][0]) if mention[0][0] in LETTERS else -1
            index = item[0][0] if item else index
            lead = _CLAUSE.split(text[: mention.start()])[-1]
            tail = text[mention.end() : mention.end() + 60]
            if index < 0 or (item is None and not self.named) or (item and len(item[0]) > 1):
                return ""
            if (against := _INSTEAD.search(lead)) or is_rejected(tail):
                if index in fair and not (against and is_rejected(tail)):
                    return ""
                continue
            commended = _COMMENDS.search(lead) or (
                sole and _REFERS.search(lead) and _IS.search(lead) and _ENDS.fullmatch(text[mention.end() :])
            )
            clause = _CLAUSE.split(tail)[0]
            if commended or _EXCELS.match(tail):
                subject = _SUBJECT.sub("", lead)
                speaks_itself = not self.doubted(mention.start()) and not is_of_others(subject)
                if not speaks_itself or _DENIES.search(lead) or _OPEN.search(lead + text[mention.start() :]):
                    return ""
                if commended and "有" in commended[0] and re.search(r"[不没未无错忽伤违]", clause):
                    return ""
                fair.add(index)
            elif index not in fair and lead.strip(" *_`\"“'("):
                return ""
        return self.letters(Labels(tuple(fair), 0, 0)) if len(fair) == 1 else ""

    def _all_parted(self) -> str:
        """Return the options that a reply names without denying them.

        It must name every option once and deny some of them: ``存在A、B和D,没有C和E的表现``.
        """
        text = self.text
        marks = _FOR_MARK.search(text) or _AGAINST_MARK.search(text)
        marks = marks or re.search(r"[—–~]|[A-J], ?[A-J]\b", text)  # where such a list ends, they do not tell
        if not self.multiple or marks or len(text) > _SHORT or _TURNS.search(text):
            return ""
        fair: set[int] = set()
        poor: set[int] = set()
        end = 0
        for place in sorted({m.start() for m in MENTION.finditer(text)} | set(self.named_at)):
            if place < end:
                continue
            labels = self.label_list(place, small=False) or self._worded(place)
            if labels is None or set(labels.indices) & (fair | poor):
                return ""
            end = labels.end
            lead = _CLAUSE.split(text[:place])[-1]
            rest = _CLAUSE.split(text[end:])[0]
            if is_of_others(lead) or _OPEN.search(lead):
                return ""
            if _LACKS.search(lead) or (fair and lead.strip() == "而") or is_rejected(rest):
                poor |= set(labels.indices)
            elif not _DENIES.search(lead + rest) and not DOUBT.search(lead):
                fair |= set(labels.indices)
            else:
                return ""
        if fair | poor != set(range(self.count)) or not fair or not poor:
            return ""
        return self.letters(Labels(tuple(fair), 0, 0))

    def _worded(self, place: int) -> Labels | None:
        """Return the option whose words stand at *place*, whatever follows."""
        standing = [(len(words), i) for i, words in self.words.items() if self.text.startswith(words, place)]
        if not standing:
            return None
        length, index = max(standing)
        return Labels((index,), place, place + length)
