"""Reads replies clause by clause: what each says of which options.

What these rules read has no cue that marks an answer. Each clause is taken for itself: the options that it names (by
letter, words, place, or as the rest), and whether it speaks for or against them. One rule decides over all of them. They
are asked only where every other rule read nothing, and they read nothing themselves where a clause that names an option is
not understood.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from os.path import commonpath

from bakeoff.scoring.beginnings import beginning_with
from bakeoff.scoring.cues import CHOSEN, MARKED
from bakeoff.scoring.judgements import BREAK, NO_ADVERB, UNSURE
from bakeoff.scoring.labels import LETTERS, MOST_CUES, Labels
from bakeoff.scoring.mentions import Mention, MentionReader
from bakeoff.scoring.option_words import REFUSED
from bakeoff.scoring.questions import Asks
from bakeoff.scoring.speakers import foreign_part, is_ascribed, is_of_others, is_own
from bakeoff.scoring.statements import EXPLANATION, MENTION
from bakeoff.scoring.verdicts import Verdict, is_doubtful, speaks_against, verdict_of

_LONGEST = 4000
_CLAUSE = beginning_with(
    r"\n !,.:;?–—。", r"[,。;!?\n]+|\.(?=\s|$)|(?<=\w) ?(?:—+|–) ?|(?<=[\u4e00-\u9fff][\u4e00-\u9fff]):"
)
_OUTRIGHT = beginning_with(
    "bm最",
    r"最(?:合适|恰当|适合|适当|佳|好|优|符合|贴切|准确|有效|合理|妥当|能|贴近|理想|体现|正确)|\b(?:best"
    r"|most (?:appropriate|likely|suitable|accurate|effective|fitting|plausible|reasonable|helpful|empathetic))\b"
    + NO_ADVERB,
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    r"[\W_]*(?:因此|所以|故|因而|这|此|该|那么?|正|就|都|显然|也就)*(?:属于|是|为|即|叫做?|称为|体现了?|反映了?|说明了?)(?:一种|典型的|所谓的?)?[\W_]*"
)
"""What a clause says before its option where it names the case of the question."""
_RECOMMENDS = re.compile(
    r"(?:建议|推荐|应该|应当|最好|不妨)(?:[你您他她]们?)?(?:[\u4e00-\u9fff]{0,6}[说道复应])?[\W_]*$"
    r"|\b(?:recommend|suggest|advise|should)(?: (?:that )?(?:you|he|she|they))?(?: (?:say|saying|reply|replying))?[\W_]*$",
    re.IGNORECASE,
)
"""What commends the words that follow."""
_SUMS_UP = re.compile(
    r"(?:因此|所以|故而?|因而|可见|综上|只有|唯独|唯有)[^\u4e00-\u9fff]*(?:选项)?\W*$|\b(?:so|thus|hence|therefore|only)\b[\W_]*(?:option)?\W*$",
    re.IGNORECASE,
)
"""What stands before an option in a clause that concludes, or singles it out."""
_SUPPOSES = re.compile(r"\W*(?:若|如果|假如|假设|要是|倘若|if\b|suppose)", re.IGNORECASE)
_EVERY = re.compile(
    r"(?:(?:本|此|这道?)题|因此|所以|故|应该?)[^,。;\n]{0,4}(?:全选|全部选|都选)(?:,?即[A-J]+)?[。.!]*$"
)
_BLANK = re.compile(r"\(\s*\)|_{2,}|[?。:]*\s*$")
_CONTRAST = re.compile(r"[\W_]*(?:而|whereas|while)[\W_]*", re.IGNORECASE)
_JOINING = " 而与和同对跟在把将其中有\"'“「"
_REVOKED = beginning_with(
    "acsw修再写口应弄抱搞收改更看等纠说重",
    r"更正|改正|纠正|修正|改为|应改|重新|[说写搞弄看]错|口误|抱歉|收回|再想|再看|等等|等一下|\b(?:wait|actually|correction|sorry)\b",
    re.IGNORECASE,
)
_PICKS = beginning_with(
    "ot三两中之二五仅其前只后唯四它第这那",
    r"只有|仅|唯|其中|中间|[两二三四五]个|这[两三]|那一?[个项]|前者|后者|第[一二三四五]|它们|之一|\b(?:only|the (?:former|latter)|one of)\b",
    re.IGNORECASE,
)
"""What speaks of some of the options that an earlier clause names."""
_SINGLES = re.compile(r"\W*(?:只有|唯独|唯有|only\b)", re.IGNORECASE)
_DENIES = re.compile(r"\b(?:does|do|is|are|did|has)(?: not|n't)\W*$")
_ALL = re.compile(r"[都均全皆]|\b(?:all|every|each)\b", re.IGNORECASE)
_SHORT = 400
_NEAR = 120
_TOPIC = beginning_with(
    "cefost主例前区基概比涉相知考要重题",
    r"考[查察]|涉及|知识点|要点(?!击)|重点|基础|前提|概念|主题|题[目干]问|相反|区别|例如|比如|\b(?:topic|opposite|common|concept|such as|for example|e\.g)\b",
    re.IGNORECASE,
)
"""What a question is about is not its answer."""
_PARTICLES = re.compile(r"[\W_]*(?:是也|嘛|的|了|呗|啊|呀|吧|哦|无疑|这一?[项条个])?[\W_]*")
_OBJECT = re.compile(
    r"[不没未无非]|[与和同对比把将从像除]\W*$|\b(?:than|with|from|like|and|or|of|about|not|without)\W*$",
    re.IGNORECASE,
)
"""What makes an option part of another thought: ``与焦虑``."""
_ILL = beginning_with(
    "abfhilmprtuw伤先劣坏害差忌糟警误避错防险",
    r"[差坏糟忌劣害伤险错误]|避免|防止|警惕|先(?=.*(?:再|然后|其次|之后|接着))|\b(?:worst|least|rude|impolite|mistake|avoid|tempt\w*|bad|poor|harm\w*|un\w+|in(?:app|corr|eff|acc)\w+|first)\b",
    re.IGNORECASE,
)
"""What commends nothing, whatever else it says."""
_TURNS = re.compile(r"却|但|然而|不过|\b(?:but|however)\b", re.IGNORECASE)
_ECHO = beginning_with(
    ":aiw→为包即叫在就属应是有正称",
    r"(?:就|应该?|正)?(?:是|为|即|在于|叫做?|称为?|有|包括|属于)(?=[\s*_`:(\[【\"“「《$\\]*(?:选项)?[^\s,。;!?])|:|→|\b(?:is|are|was|would be)\b:?",
    re.IGNORECASE,
)
_STRONGER = re.compile(r"最不|\b(?:least|except|unlikely)\b", re.IGNORECASE)


@dataclass
class _Heard:
    """What the clauses said so far.

    Attributes:
        fair: options spoken for as answers; ``poor``: spoken against; ``unclear``: named otherwise.
        outright: options put above all others.
        clauses: how many verdicts there were.
        plain: whether one of them said no more than ``是``.
        judged: whether one of them spoke of what an option states.
    """

    fair: set[int] = field(default_factory=set)
    poor: set[int] = field(default_factory=set)
    unclear: set[int] = field(default_factory=set)
    outright: set[int] = field(default_factory=set)
    clauses: int = 0
    plain: bool = False
    judged: bool = False

    def add(self, indices: set[int], verdict: Verdict, answers: bool) -> None:
        """Count *verdict* on the options of *indices*."""
        (self.fair if answers else self.poor).update(indices)
        self.clauses += 1
        self.plain = self.plain or verdict.plain
        self.judged = self.judged or not verdict.chooses


class ClauseReader(MentionReader):
    """Decides over what the clauses of one reply say."""

    def by_clauses(self) -> str:
        """Return the letters that the reply's clauses leave, or ""."""
        text = self.text
        if (stop := EXPLANATION.search(text)) and (before := text[: stop.start()].strip()):
            unexplained = type(self)(before, self.prepared.again, self.multiple, self.named, self.stem)
            return unexplained.by_clauses()
        if not text or len(text) > _LONGEST or re.search(r"\.{2}|…", text[-8:]):
            return ""
        if any(doubt.search(text) for doubt in (REFUSED, UNSURE, _REVOKED)):
            return ""
        if self.count < 2 or self.letters_are_names():
            return ""
        if letters := self._echoed():
            return letters
        if self.multiple and _EVERY.search(text):
            return LETTERS[: self.count]
        mentions = self.mentions()
        if not mentions or len(mentions) > MOST_CUES:
            return ""
        letters = self._weighed(mentions) or self._sole(mentions)
        stated = [*self.statements(MARKED), *self.statements(CHOSEN)]
        agree = all(self.letters(statement) == letters for statement in stated)
        return letters if agree else ""

    def _echoed(self) -> str:
        """Return what stands behind the question's own words: ``最不可能的是A``."""
        stated: list[Labels] = self._filled()
        for cue in itertools.islice(_ECHO.finditer(self.text), 2 * MOST_CUES):
            lead = BREAK.split(self.text[max(0, cue.start() - 80) : cue.start()])[-1]
            asked = lead + cue[0]
            if (
                not (self._repeats(lead) or (lead.endswith("不") and self._repeats(asked)))
                or MENTION.search(lead)
                or any(w in lead for w in self.words.values())
            ):
                continue
            labels = self.label_list(cue.end(), small=False)
            if labels and not self.denied(labels) and self.text[labels.end : labels.end + 1] != "?":
                stated.append(Labels(labels.indices, cue.start(), labels.end, self.complete(labels)))
        if not stated or any(set(s.indices) != set(stated[0].indices) for s in stated):
            return ""
        if self.multiple and len(stated[0].indices) < 2:
            return ""  # the first of several that follow in other words
        return self.letters(stated[0])

    def _filled(self) -> list[Labels]:
        """Return what fills the blank of the question, written down again."""
        asked = re.sub(r"[\W_]", "", self.stem.text[: _BLANK.search(self.stem.text).start()])  # type: ignore[union-attr]
        stated: list[Labels] = []
        places = {m.start() for m in itertools.islice(MENTION.finditer(self.text), MOST_CUES)} | self.named_at
        for place in sorted(places):
            lead = re.split(r"[。!?\n]", self.text[max(0, place - _NEAR) : place])[-1]
            lead = re.sub(r"[\W_]", "", lead)
            filling = lead[-len(commonpath([lead[::-1], asked[::-1]])) :]
            fills = len(filling) > 5 and asked.endswith(filling) and is_own(lead.removesuffix(filling))
            labels = self.label_list(place, small=False) if fills else None
            if labels and not self.denied(labels):
                stated.append(Labels(labels.indices, place, labels.end, self.complete(labels)))
        return stated

    def _repeats(self, lead: str) -> bool:
        """Whether *lead* asks again what the question asks, no more."""
        if self.asks_exception and len(lead) > 2 and lead.strip(" *_`") in self.stem.text:
            return True  # 不包括, as was asked
        left = self.stem.without(lead)
        if len(lead) - len(left) < 3 or lead.endswith("不") or is_of_others(left):
            return False
        foreign = re.sub(r"[\W_]", "", foreign_part(left))
        if foreign and (len(foreign) > 2 or len(lead) < 8 or foreign.isascii() or _ILL.search(foreign)):
            return False
        against = speaks_against(lead) or bool(_STRONGER.search(lead))
        if self.stem.asks is Asks.UNCLEAR:
            asked = self._asked_again(lead)
            return not against or (len(asked) > 4 and not speaks_against(lead[: len(lead) - len(asked)]))
        return against is self.asks_exception

    def _asked_again(self, lead: str) -> str:
        """Return the end of *lead* that stands in the question."""
        ends = (lead.rstrip(" *_`")[start:] for start in range(len(lead)))
        return next((end for end in ends if end in self.stem.text), "")

    def _weighed(self, mentions: list[Mention]) -> str:
        """Return what is left when each clause's verdict is counted."""
        named = {i for mention in mentions if not mention.rest for i in mention.indices}
        heard = _Heard()
        for mention, clause in self._parts(mentions):
            indices = set(mention.indices)
            if mention.rest:
                indices = set(range(self.count)) - (heard.fair | heard.poor or named)
                if not indices or (mention.indices and len(mention.indices) != len(indices)):
                    return ""
            lead = self._before(mention)
            sentence = re.split(r"[。!?;\n]", self.text[max(0, mention.start - _NEAR) : mention.start])[-1]
            verdict = None if _SUPPOSES.match(sentence) else self._verdict(clause)
            if (
                verdict is None
                and not clause.strip(" \n.。;*_`")
                and not self.text[: mention.start].strip(" *_`")
            ):
                verdict = Verdict(holds=True, chooses=True)  # the reply begins with its list
            if (
                verdict is None
                and heard.fair
                and self.multiple
                and _CONTRAST.fullmatch(lead)
                and not is_doubtful(clause)
            ):
                verdict = Verdict(holds=False, chooses=True)
            if verdict is None or (verdict.holds and not self._speaks_itself(mention, lead, clause)):
                heard.unclear |= indices
                continue
            heard.add(indices, verdict, self._answers(verdict))
            if verdict.holds and not self.asks_exception and self._is_outright(mention, lead, clause):
                heard.outright |= indices
        if heard.fair & heard.poor or (not heard.poor and (heard.plain or _TURNS.search(self.text))):
            return ""
        if heard.unclear - heard.poor:
            sole = len(heard.outright) == 1 and heard.outright == heard.fair and not self.multiple
            sole = sole and not heard.fair & heard.unclear
            return self.letters(Labels(tuple(heard.outright), 0, 0)) if sole else ""
        return self._left(heard)

    def _speaks_itself(self, mention: Mention, lead: str, clause: str) -> bool:
        """Whether the reply itself speaks for the options of *mention*."""
        return mention.rest or self.is_mine(lead.strip(_JOINING)) or self.stem.shares(clause)

    def _is_outright(self, mention: Mention, lead: str, clause: str) -> bool:
        """Whether a clause puts its option above all others."""
        sums_up = _SUMS_UP.search(lead) and not is_doubtful(lead)
        if (sums_up or _OUTRIGHT.search(clause)) and not _ILL.search(clause):
            return True
        return self._answers_question(lead, self._after(mention))

    def _parts(self, mentions: list[Mention]) -> Iterator[tuple[Mention, str]]:
        """Yield each mention with what its clause says beside it."""
        text = self.text
        covered = {at for m in mentions for at in range(m.start, m.end)}
        ends = {m.end for m in mentions}
        starts = [
            m.end()
            for m in _CLAUSE.finditer(text)
            if covered.isdisjoint(range(m.start(), m.end())) and not (m[0] in ":." and m.start() in ends)
        ]
        bounds = [0, *starts, len(text) + 1]
        clauses = [(a, b) for a, b in itertools.pairwise(bounds)]
        holding = [[m for m in mentions if a <= m.start < b] for a, b in clauses]
        for number, ((a, b), inside) in enumerate(zip(clauses, holding, strict=True)):
            for place, mention in enumerate(inside):
                left = inside[place - 1].end if place else a
                right = inside[place + 1].start if place + 1 < len(inside) else b
                said = text[left : mention.start] if not place else ""
                said += " " + text[mention.end : right]
                if place + 1 == len(inside):
                    said = self._with_following(said, clauses[number + 1 :], holding[number + 1 :])
                yield mention, said

    def _with_following(self, said: str, clauses: list[tuple[int, int]], holding: list[list[Mention]]) -> str:
        """Return *said*, or the verdict of a later clause about the same."""
        told = said if self._verdict(said) is not None else ""
        singled = bool(_SINGLES.match(said))
        for (a, b), inside in zip(clauses, holding, strict=True):
            later = self.text[a:b]
            if inside or (told and "\n" in self.text[a - 1 : a]):
                break
            if _PICKS.search(later) and not told:
                return ""
            if self._verdict(later) is None or is_of_others(later):
                continue
            if told and self._verdict(later) != self._verdict(told) and self._contradicts(told, later):
                first = self._verdict(told)
                if singled and self._verdict(later).chooses:  # type: ignore[union-attr]
                    return later  # the others all do: 只有D不需要，符合题意
                if not self.stem.shares(later) or (first and first.chooses):
                    return ""
                told = later
            if not told or _OUTRIGHT.search(later):
                told = later
        return told or said

    def _contradicts(self, first: str, later: str) -> bool:
        """Whether the verdicts of two clauses point in opposite directions."""
        verdicts = self._verdict(first), self._verdict(later)
        return all(verdicts) and verdicts[0].holds is not verdicts[1].holds  # type: ignore[union-attr]

    def _before(self, mention: Mention) -> str:
        """Return what the clause says before *mention*."""
        return _CLAUSE.split(self.text[max(0, mention.start - _NEAR) : mention.start])[-1]

    def _after(self, mention: Mention) -> str:
        """Return what the clause says behind *mention*."""
        return _CLAUSE.split(self.text[mention.end : mention.end + _NEAR] + "\n")[0]

    @cached_property
    def _verdicts(self) -> dict[str, Verdict | None]:
        return {}

    def _verdict(self, said: str) -> Verdict | None:
        if said not in self._verdicts:
            self._verdicts[said] = self._judged_by(said)
        return self._verdicts[said]

    def _judged_by(self, said: str) -> Verdict | None:
        if re.match(r"(?:中|里|内|之中|当中)(?!的是)", said.strip()):
            return None  # what is chosen from
        said = said.strip(" \t\n.,。;!*_`")
        return (
            verdict_of(said, self.stem.shares(said))
            if said and not is_of_others(said) and not is_ascribed(said)
            else None
        )

    def _answers(self, verdict: Verdict) -> bool:
        """Whether *verdict* speaks for the option as an answer."""
        return verdict.holds if verdict.chooses or not self.asks_exception else not verdict.holds

    def _left(self, heard: _Heard) -> str:
        """Return the letters that the verdicts leave, or ""."""
        every = set(range(self.count))
        fair, poor = heard.fair, heard.poor
        if self.stem.asks is Asks.UNCLEAR and self.stem.text and heard.judged:
            # of three or more that are all judged, the odd one is meant, whatever was asked for
            odd = min(fair, poor, key=len)
            told = not self.multiple and self.count > 2 and fair | poor == every and len(odd) == 1
            return self.letters(Labels(tuple(odd), 0, 0)) if told else ""
        if self.multiple:
            whole = fair and fair | poor == every and (poor or heard.clauses > 1 or _ALL.search(self.text))
            alone = heard.clauses == 1 and not heard.unclear | poor
            whole = whole or (
                alone and heard.outright == fair and (len(fair) > 1 or _SINGLES.match(self.text))
            )
            whole = whole or (alone and len(fair) > 1 and heard.judged and _ALL.search(self.text))
            return self.letters(Labels(tuple(fair), 0, 0)) if whole else ""
        if self.asks_exception and poor and heard.judged and fair | poor != every:
            return ""  # 正确 may have meant the right answer
        if len(fair) == 1 and (poor or heard.outright == fair):
            return self.letters(Labels(tuple(fair), 0, 0))
        if len(fair) == 1 and self.asks_exception and _denials(self.text) & _denials(self.stem.text):
            return self.letters(Labels(tuple(fair), 0, 0))  # what is said of it is what was asked for
        weighed = heard.clauses > 1 or not heard.judged
        if weighed and not fair and len(poor) == self.count - 1 and self.count > 2:
            return self.letters(Labels(tuple(every - poor), 0, 0))
        return ""

    def _sole(self, mentions: list[Mention]) -> str:
        """Return the only option that a reply names, where it is its answer."""
        named = {index for mention in mentions for index in mention.indices}
        if self.multiple or len(named) != 1 or len(self.text) > _SHORT or any(m.rest for m in mentions):
            return ""
        (index,) = named
        words = self.options[index]
        if (
            not self.stem.text
            or words.lower() not in self.text.lower()
            or words.lower() in self.stem.text.lower()
        ):
            return ""
        if _TURNS.search(self.text) or _TOPIC.search(self.text):
            return ""
        stands = False
        for mention in mentions:
            before = self._before(mention)
            after = self._after(mention)
            asked = "?" in self.text[mention.end : mention.end + len(after) + 1]
            sentence = re.split(r"[。!?;\n]|\. ", self.text[: mention.start])[-1] + after
            whole = sentence + re.split(r"[。!?;\n]|\. ", self.text[mention.end :])[0]
            if asked or is_doubtful(sentence) or speaks_against(before + after) or _DENIES.search(whole):
                return ""
            if self._recommends(mention, words):
                stands = True
                continue
            if is_of_others(sentence):
                return ""
            glossed = not self.text[: mention.start].strip() and mention.end - mention.start > len(words) + 1
            alone = not before.strip(" *_`") and not self.text[: mention.start].rstrip().endswith(
                (",", ":", "—", "–")
            )
            stands = (
                stands
                or glossed
                or bool(alone and _PARTICLES.fullmatch(after))
                or self._answers_question(before, after)
            )
            concludes = _CONCLUDES.fullmatch(before) and not foreign_part(self.stem.without(after))
            stands = stands or (bool(concludes) and not self.asks_exception)
        return LETTERS[index] if stands else ""

    def _recommends(self, mention: Mention, words: str) -> bool:
        """Whether the sentence before *mention* commends its long words."""
        lead = re.split(r"[。!?;\n]|\. ", self.text[: mention.start])[-1]
        commends = _RECOMMENDS.search(lead)
        if commends is None or len(words) < 6 or self.stem.asks is not Asks.FOR_WHAT_HOLDS:
            return False
        by = lead[: commends.start()]
        return not (speaks_against(lead) or is_ascribed(lead) or is_of_others(by))

    def _answers_question(self, before: str, after: str) -> bool:
        """Whether the words around an option are the question's, but for a few."""
        said = f"{before} {after}"
        if (
            self.asks_exception
            or is_ascribed(before)
            or _OBJECT.search(before)
            or _ILL.search(said)
            or not self.stem.shares(said)
        ):
            return False
        left = re.sub(
            r"[\W\d_]", "", foreign_part(self.stem.without(before) + " " + self.stem.without(after))
        )
        return len(left) <= 0.34 * len(re.sub(r"[\W\d_]", "", said))


def _denials(text: str) -> set[str]:
    """Return the words of *text* that deny, as far as they tell of what."""
    return set(re.findall(r"[不未无没]\w|错误|\bnot \w+", text))
