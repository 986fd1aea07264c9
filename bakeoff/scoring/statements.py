"""Finds statements: a cue (``答案：``, ``故选``) and the labels it marks.

A statement that goes on where it cannot be read is no answer: a part of a list is not to pass for the list.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from functools import cached_property

from bakeoff.scoring.beginnings import beginning_with
from bakeoff.scoring.cues import CHOSEN, OF_TRUTH, is_about_another
from bakeoff.scoring.judgements import (
    ASCRIBED,
    AT_LEAST,
    BREAK,
    CONTRASTS,
    CROSSED,
    DISAGREES,
    DOUBT,
    ELSE,
    OPEN_END,
    QUESTIONED,
    REJECTED,
    SAFE,
    TAKEN_BACK,
    UNSURE,
    is_approved,
    is_rejected,
)
from bakeoff.scoring.labels import LETTERS, MOST_CUES, LabelReader, Labels
from bakeoff.scoring.questions import Asks
from bakeoff.scoring.speakers import is_ascribed, is_of_others, is_own

_REASON = re.compile(
    r"因(?!此|而)|由于|理由|解析|而[不非]|不[选是]|其[他余]|排除|除了|\bbecause\b|\bsince\b|\bnot\b|\brather\b",
    re.IGNORECASE,
)
MENTION = beginning_with(
    r"A-Ja-jst第前\ue000-\ue009",
    r"(?<![A-Za-z0-9])[A-J]{1,10}(?![A-Za-z0-9])|(?<=[a-z])[A-J](?=[.:()—]|选?项| (?:is|in)?correct\b| is\b)|[\ue000-\ue009]|第(?=[ ]?[一二三四五六七八九十\d])|(?<![和与跟同及])前(?=[两二三四五六](?:个|选?项))"
    r"|(?<![A-Za-z0-9'’])[a-j](?=[*_`\"'”’」』)\]】]*[ ]?(?:[.。、:()\]】」』”;,/|}\n—✓✔✅☑√✗✘❌×]|[ ](?:in)?correct\b|[是都均正对错不和与及也]|$|选?项))"
    r"|\b(?:first|second|third|fourth|fifth)(?= (?:option|choice|one)\b)",
)
EXPLANATION = beginning_with(
    r"\s#(*>\[_aer【分原理解说",
    r"(?:^|(?<=[\n。;!,.]))[\s#*_>【\[(]*(?:解析|理由|分析|说明|解释|原因|explanation|reason(?:ing|s)?|analysis)[】\])*_ ]*(?:[:\n]|如下|是)",
    re.IGNORECASE,
)
LINE_START = r"[ \t*_`>•|+(\[【\"'“‘「『《-]*(?:\d{1,2}[.)、][ \t]*)?(?:\[[ xX✓]?\][ \t]*)?(?:选项[ ]?|options?[ ])?[*_(`\"'“‘「『]*"
_SEVERAL = r"[*_`-]*[ ]?[A-J](?:(?:[、,] ?|[和与及]| and )[A-J])*[*_`)]*"
_DESCRIBED = re.compile(
    rf"(?:(?:(?<=[。!\n])|(?<=[。!\n] )|(?<=[。;!,\n]而))(?:{_SEVERAL}(?:选?项[*_`)]*(?=[\u4e00-\u9fff])|(?![*_`)]*[ ]?[.、:)(,])(?=[^。;!,\n]{{0,10}}?(?:没有?|无|未|不|缺)))"
    r"|[^。;!\n]{0,24}(?:未(?:提|涉|见)|没有?(?:提|涉|出现|体现)|不(?:包括|包含)))"
    rf"|(?:(?<=[。!,;\n])|(?<=[。!,;\n] )){_SEVERAL}(?:选?项)?(?=(?:则|均|都|分别)*(?:属于|体现|反映|描述|讲的|指的|表示|过于|缺乏|强调|忽视|侧重|与[^,。;]{{1,8}}无关|无关|无依据|超出))"
    rf"|(?:(?<=[.!\n])|(?<=[.!;\n] )|(?<=\n[-*•] )){_SEVERAL} (?!(?:and|or|both|as|too|also)\b)(?=[a-z]))"
    r"(?P<said>[^。;!\n]*)"
)
_NAMED_AS_WELL = beginning_with(
    "acdfghilmoprstuvw√✅✓✔一也亦值可合同吻对恰成或有正相符视还选部",
    r"[也亦还]|同样|一样|(?<!不)正确|(?<![不绝相反针面])对|(?<!不)选|(?<!不)合适|(?<!不)恰当|(?<!不)符合|(?<!不)可取|(?<!不)(?:成立|相符|吻合|一致|可行)|有(?:一?定|些)?的?道理|值得|或许|可能|也许|可选|部分|视情况|[✓✔✅√]"
    r"|\b(?:also|too|as well|likewise|so (?:is|are)|(?<!not )(?:correct|right|appropriate|acceptable|valid|true|fine|good|reasonable|applies|suitable|fits?|plausible|relevant|possible|maybe|perhaps|helpful|useful|partly|partially|important|defensible|consistent|ok|okay)|(?:could|can|may|might|would|should|is|are|does|do|will)(?! ?n[o']t\b| never\b)(?=[^.]{0,20}(?:be (?:ok|chosen|included|accept|added)|include|apply|work|help|fit)))\b",
    re.IGNORECASE,
)
_ADDS = beginning_with(
    r"\s!,;?ABCDEFGHIJacfimnoprstuw、。不也以但其剩加包取另只可因待我或有此至补视还需",
    rf"需要?进一步|有?待|此外|另外|以及|加上|包括|补充|其[他余它]|剩下|{UNSURE.pattern}|\b(?:plus|in addition|moreover|furthermore|include|others?|rest|actually|wait|should|could)\b",
    re.IGNORECASE,
)
"""What makes a sentence behind a list go on with it."""
_LISTED = re.compile(
    rf"{LINE_START}[A-Ja-j](?![A-Za-z0-9])[*_`)\]】]*(?!选?项?[*_`]*[\u4e00-\u9fff]| [a-z])|[\ue000-\ue009]|第"
)
_SAYS_AGAIN = re.compile(r"\W*(?:也就是|也即|亦即|即|换言之|that is|i\.e|namely)", re.IGNORECASE)
_PERSON = re.compile(r"[他她]|\b(?:he|she|they|their)\b", re.IGNORECASE)
_QUOTED = re.compile(r"[\"“「『][^\"“”「」『』\n]{1,20}[\"”」』]")
_DENIED_TOGETHER = re.compile(
    r"[*_`]*(?P<by>[、,])[ ]?[A-J](?:(?:(?P=by)|[和与及])[ ]?[A-J])*(?:[和与及][ ]?[A-J])?(?:选?项)?(?:都|均|皆|全)"
)
"""The rest of a list that one verdict holds for, the label before it included."""
_ALTERNATIVE = re.compile(
    r"(?<![A-Za-z])[A-J](?:选?项)?[\s*_`]*(?:还是|或者?|\bor\b)[\s*_`]*(?:选择?|选项|是|should i |do i )*$",
    re.IGNORECASE,
)
_LINE_LABEL = re.compile(
    rf"\n{LINE_START}(?P<label>[A-J](?![A-Za-z0-9])|[a-j](?=[*_`\"'”’」』)\]】]*[ ]?(?:[.。、:()\]】」』”;,/|\n—✓✔✅☑√✗✘❌×]|[ ](?:in)?correct\b|$))"
    r"|[\ue000-\ue009]|第(?=[ ]?[一二三四五六七八九十\d]))",
)
_TURN = re.compile(
    r"而是|(?<!anything )(?<!everything )(?<!nothing )(?<!all )(?<!any )\bbut\b", re.IGNORECASE
)
_SUPPOSES = re.compile(r"[\s*_`,:]*(?:如果|若|假如|假设|假使|要是|倘若|\bif\b|\bunless\b)", re.IGNORECASE)
_BRANCHES = re.compile(r"当(?!然).{1,30}时.{1,40}[;。,].{0,20}(?:时|的话|情况下),?(?:则|就|选|应|用|可)")
_BY_OTHERS = re.compile(
    r"(?:按照?|根据|依照|据|在|从|对)[^,。;]{0,10}(?:某些?|有些|部分|一些|另一些|他们|别人|前人|旧)[^,。;]{0,10},\s*$"
)
_MAY_SUPPOSE = re.compile(
    r"[若某旧]|如果|假[如设使]|要是|有些|部分|一些|他们|别人|前人|if|unless", re.IGNORECASE
)
"""What a condition, or the view of others, cannot do without."""
_OF_CHOOSING = re.compile(
    r"选|挑|答|判断|猜|二者|三者|只能|非要|必须|一定要|题(?:目|干)?(?:没|无|不)|理解|没(?:有)?(?:看|记|理解)错|\b(?:choose|pick|select|answer|guess|must|have to|had to|question|forced|understand)\b",
    re.IGNORECASE,
)
_NEGATIONS = tuple("不没未非")
_CONNECTIVE = re.compile(r"(?:故|因此|所以|那就?是|[,。;]是|so|thus|hence|therefore),?", re.IGNORECASE)
_GOES_ON = re.compile(
    r"(?![了吧呢啊呀哦啦嘛无])[\u4e00-\u9fff]|[ ](?:is|are|was|does|has|would|can|could|seems|isn't|doesn't)\b"
)
_JOINED = re.compile(r"、\s*|[\s*_`,、;。]*(?:也|还|同时|并且?|另外|以及|再|又|and|also)[^。;\n]{0,6}")
_SET_APART = re.compile(
    r"[;。\n][\s*_`(\[【\"'“‘「『-]*(?:(?:还有|另外|以及|同时|和|选项?|[Oo]ptions?|[Aa]lso)[\s,]*|[a-j\d]{1,2}[.)、:][\s*_`]*)?$"
    r"|\n[^\u4e00-\u9fff\n]{0,12}$|[, ]\d{1,2}[.)、:(][\s*_`]*$"
)
_MAY_TAKE_BACK = re.compile(TAKEN_BACK.pattern.replace(r"\b", ""), re.IGNORECASE)
"""What may take something back, wherever a text is cut."""


class StatementReader(LabelReader):
    """Reads the statements of one reply."""

    @property
    def asks_exception(self) -> bool:
        """Whether the question asks for what does not hold."""
        return self.stem.asks is Asks.FOR_THE_EXCEPTION

    def is_mine(self, lead: str) -> bool:
        """Whether *lead* is the reply's own or repeats words of the question."""
        return is_own(lead) or (not is_of_others(lead) and is_own(self.stem.without(lead)))

    def letters(self, stated: Labels) -> str:
        """Return the list's letters, sorted; ``""`` where it is no answer."""
        indices = set(stated.indices)
        if not stated.whole or not indices or len(indices) < len(stated.indices):
            return ""
        if max(indices) >= self.count or (len(indices) > 1 and not self.multiple):
            return ""
        return "".join(LETTERS[i] for i in sorted(indices))

    def goes_on(self, end: int) -> bool:
        """Whether the list that ends at *end* is left open: 等, …, a comma."""
        return bool(OPEN_END.match(self.text, end))

    def decided(self, stated: list[Labels], cue: re.Pattern[str]) -> str:
        """Return the letters of the first statement that is not taken back."""
        current = previous = stated[0]
        for later in stated[1:]:
            between = self.text[previous.end : later.start]
            previous = later
            if self.taken_back(later.start):
                current = later
            elif not self.multiple and later.indices != current.indices and not between.strip(" ,.。;、\n"):
                current = replace(current, whole=False)  # two answers side by side
            elif not self.multiple and cue is CHOSEN and later.indices != current.indices:
                # of two choices that contradict each other, a turn such as 但 or 因此 tells which is meant
                clause = self.text[max(0, later.start - 16) : later.cue_end]
                turned = CONTRASTS.search(clause)
                current = later if turned else replace(current, whole=False)
            elif self.multiple and not set(later.indices) <= set(current.indices):
                # one label a line is a list; any other two statements contradict each other
                linked = between.count("\n") == 1 or _JOINED.fullmatch(between)
                joined = bool(linked) and not set(current.indices) & set(later.indices)
                current = Labels(current.indices + later.indices, current.start, later.end, joined)
                current = replace(current, whole=self.complete(current))
        return self.letters(current)

    @cached_property
    def takes_back(self) -> bool:
        """Whether anything in the reply may take something back."""
        return bool(_MAY_TAKE_BACK.search(self.text))

    def taken_back(self, start: int) -> bool:
        """Whether what stands before *start* takes something back."""
        if not self.takes_back:
            return False
        return bool(TAKEN_BACK.search(self.text[max(0, start - 24) : start].rsplit("\n\n", 1)[-1]))

    def statements(self, cue: re.Pattern[str]) -> list[Labels]:
        """Return what the *cue* marks wherever it stands undoubted."""
        if cue not in self._stated_by:
            self._stated_by[cue] = self._statements(cue)
        return list(self._stated_by[cue])

    @cached_property
    def _stated_by(self) -> dict[re.Pattern[str], list[Labels]]:
        return {}

    def _statements(self, cue: re.Pattern[str]) -> list[Labels]:
        statements: list[Labels] = []
        end = -1
        cues = list(cue.finditer(self.text))
        for match in cues if len(cues) <= 2 * MOST_CUES else cues[:MOST_CUES] + cues[-MOST_CUES:]:
            if match.start() < end or match[0].endswith(_NEGATIONS) or self.doubted(match.start()):
                continue
            if self.asks_exception and OF_TRUTH.match(match[0]):
                continue
            marked = self.label_list(match.end())
            if marked is None or self.denied(marked) or self._is_judgement(match):
                continue
            goes_on = _CONNECTIVE.fullmatch(match[0]) and _GOES_ON.match(self.text, marked.end)
            if goes_on and not is_approved(self.text[marked.end : marked.end + 60]):
                continue  # what concludes is said of the option: 因此C有所偏颇
            lead = self.lead_up(match.start())
            if is_about_another(match[0], self.named):
                if MENTION.search(lead) and not self.named:
                    continue  # the choice of A is best explained by B
            elif not self.is_mine(lead):
                continue
            statements.append(
                Labels(marked.indices, match.start(), marked.end, self.complete(marked), match.end())
            )
            end = marked.end
        return statements

    def lead_up(self, start: int) -> str:
        """Return what the clause says before *start*, options' words left out."""
        before = self.text[max(0, start - 40) : start]
        *earlier, clause = BREAK.split(before)
        if (
            earlier
            and is_of_others(_PERSON.sub("", earlier[-1]))
            and _SAYS_AGAIN.match(self.text, start - len(clause))
        ):
            clause = earlier[-1] + clause  # who says the first says the second
        clause = _QUOTED.sub("", clause)
        for words in self.prepared.longest_first:
            clause = clause.replace(words, "")
        return clause

    def _is_judgement(self, cue: re.Match[str]) -> bool:
        """Whether *cue* judges the label before it: the 选 of ``A:选``."""
        if cue[0] != "选":
            return False
        before = re.sub(r"[\s*_`]*:[\s*_`]*$", ":", self.text[max(0, cue.start() - 80) : cue.start()])
        if not before.endswith(":"):
            return False
        return bool(re.search(r"(?:(?<![A-Za-z])[A-Ja-j]|[项)\ue000-\ue009])[*_`)\]】]*:$", before)) or any(
            before.endswith(f"{words}:") for words in self.words.values()
        )

    def doubted(self, start: int, since: int = 0) -> bool:
        """Whether the clause before *start* denies or supposes what follows."""
        before = self.text[max(0, since, start - 40) : start]
        breaks = [m.end() for m in BREAK.finditer(before)]
        clause = before[breaks[-1] :] if breaks else before
        if len(breaks) > 1 and _SAYS_AGAIN.match(self.text, start - len(clause)):
            clause = before[breaks[-2] :]
        if self._supposed(start, len(clause)):
            return True
        for words in self.words.values():
            # what an option says is no doubt, but 不建议 may be what is said of the letter behind it
            stated = len(words) > 1 and not (len(words) < 5 and words[0] in "不没别非未勿")
            clause = clause.replace(words, "") if stated else clause
        if not clause.strip() and breaks and len(breaks) > 1:
            previous = before[breaks[-2] :]
            return bool(ASCRIBED.search(previous) and DOUBT.search(previous))
        if clause.endswith("而") and clause != "而":
            return False
        clause = _TURN.split(clause)[-1]
        if self.multiple and AT_LEAST.search(clause):
            return True
        if _ALTERNATIVE.search(clause) or is_ascribed(clause):
            return True
        return bool(DOUBT.search(SAFE.sub("", clause)))

    @cached_property
    def _supposes(self) -> bool:
        """Whether anything in the reply may be a condition or name others."""
        return bool(_MAY_SUPPOSE.search(self.text)) or ("当" in self.text and "时" in self.text)

    def _supposed(self, start: int, clause: int) -> bool:
        """Whether what stands at *start* holds under a condition of the case.

        A condition of the choice itself (``如果必须选一个，选B``) and one that a turn such as 但 ends are none.
        """
        if not self._supposes:
            return False
        sentence = re.split(r"[。!?;:\n]|\.\s", self.text[max(0, start - 80) : start])[-1]
        earlier = sentence[: max(0, len(sentence) - clause)]
        first = re.split(r"[。!?\n]", self.text[max(0, start - 80) : start])[-1]
        if _BRANCHES.search(first + re.split(r"[。!?\n]", self.text[start : start + 120])[0]):
            return True
        if _BY_OTHERS.search(earlier):
            return True
        supposed = _SUPPOSES.match(earlier)
        if supposed is None:
            return False
        return not (_OF_CHOOSING.search(earlier) or CONTRASTS.search(sentence[supposed.end() :]))

    def denied(self, stated: Labels) -> bool:
        """Whether what follows the list denies it or asks."""
        tail = self.text[stated.end : stated.end + 40]
        if _DENIED_TOGETHER.match(tail) and self.run_is_rejected(stated.end, set(stated.indices)):
            return True
        return bool(is_rejected(tail) or QUESTIONED.match(tail) or ELSE.match(tail) or DISAGREES.match(tail))

    def complete(self, stated: Labels) -> bool:
        """Whether no further label follows that may belong to the list."""
        if not stated.whole or not self.multiple:
            return stated.whole
        if self.goes_on(stated.end):
            return False
        line = self.text[stated.end : stated.end + 2000].split("\n", 1)[0]
        if is_approved(line[:40]) and any(
            (item := self.label_at(stated.end + mention.start(), small=True))
            and not set(item[0]) <= set(stated.indices)
            for mention in itertools.islice(MENTION.finditer(line), MOST_CUES)
        ):
            return False  # the options are judged, each for itself
        return self.covers(set(stated.indices), stated.end)

    def covers(self, indices: set[int], end: int) -> bool:
        """Whether *indices* hold every option that is named behind *end*.

        Options that are denied, or that an explanation names, do not count.
        """
        rest = self.text[end : end + 2000]
        if stop := EXPLANATION.search(rest):
            rest = rest[: stop.start()]
        rest = _DESCRIBED.sub(_unless_named_as_well, rest)
        rest = self._unexplained(rest) if end else rest
        line = rest.split("\n", 1)[0][:400]
        for words in self.words.values():
            line = line.replace(words, "□" * len(words)) if len(words) > 1 else line
        reason = _REASON.search(line)
        stated = reason.start() if reason else len(line)
        for label in itertools.islice(_LINE_LABEL.finditer(rest), MOST_CUES):
            item = self.label_at(end + label.start("label"), small=True)
            if end and item is not None and set(item[0]) <= indices:
                rest = rest[: label.start()]
                break  # the options are gone through again, which explains the list
        spoken_to = denied_to = 0
        for mention in itertools.islice(MENTION.finditer(rest), 2 * MOST_CUES):
            place = mention.start()
            if place >= stated and not _SET_APART.search(rest[max(0, place - 20) : place]):
                continue
            if place < denied_to:
                continue
            item = self.label_at(end + place, small=True)
            if item is None and self.unclear(end + place, mention[0]) - indices:
                return False
            if item is None or max(item[0]) >= self.count:
                continue
            if not set(item[0]) <= indices:
                further = self.label_list(end + place)
                if further is None or not (against := self._spoken_against(further, end + spoken_to)):
                    return False
                spoken_to = denied_to = against - end
            else:
                spoken_to = item[1] - end
        return not any(
            (place := rest.find(words)) >= 0
            and (place < stated or _SET_APART.search(rest[max(0, place - 20) : place]))
            and not is_rejected(self.text[end + place + len(words) :][:40])
            and not self.doubted(end + place)
            for i, words in self._apart(indices)
            if i not in indices and len(words) > 1
        )

    def described(self) -> list[tuple[int, int]]:
        """Return where the sentences stand that explain an option, no more."""
        text = self.text
        for words in self.prepared.longest_first:
            text = text.replace(words, "□" * len(words))  # 缺乏 in an option's own words describes nothing
        sentences = itertools.islice(_DESCRIBED.finditer(text), MOST_CUES)
        return [
            sentence.span()
            for sentence in sentences
            if not _NAMED_AS_WELL.search(sentence["said"]) and not is_rejected(sentence["said"])
        ]

    def _unexplained(self, rest: str) -> str:
        """Return *rest* with blanks for sentences that only tell about options.

        A list that a full stop ends goes on where a sentence adds to it, not where one says what another option is.
        """
        first, *later = re.split(r"(?<=[。!\n])|(?<=\. )", rest)
        return first + "".join(" " * len(part) if self._explains(part) else part for part in later)

    def _explains(self, sentence: str) -> bool:
        if _LISTED.match(sentence) or _NAMED_AS_WELL.search(sentence) or _ADDS.search(sentence):
            return False
        for words in self.words.values():
            sentence = sentence.replace(words, "") if len(words) > 1 else sentence
        remainder = re.sub(r"选?项|\boptions?\b", "", sentence)
        return (
            len(re.findall(r"[\u4e00-\u9fff]", remainder)) > 3
            or len(re.findall(r"\b[a-z]{2,}", remainder)) > 1
        )

    def unclear(self, place: int, mention: str) -> set[int]:
        """Return the option that an odd letter at *place* may stand for."""
        if len(mention) > 1 or not mention.isalpha() or not mention.isascii() or self.own_words(place):
            return set()
        index = LETTERS.index(mention.upper())
        named = re.match(r"[A-Ja-j]型|[A-Ja-j][-‐–'’·]", self.text[place : place + 2])
        return {index} if index < self.count and not named else set()

    def _spoken_against(self, stated: Labels, since: int) -> int:
        """Return where the denial of *found* ends, 0 without any.

        A doubt that stands behind *since* is a denial, too.
        """
        tail = self.text[stated.end : stated.end + 40]
        if denial := REJECTED.match(tail) or CROSSED.match(tail):
            return stated.end + denial.end()
        denied = self.run_is_rejected(stated.end, set(stated.indices), weak=True) or self.doubted(
            stated.start, since
        )
        return stated.end if denied else 0

    def _apart(self, indices: set[int]) -> list[tuple[int, str]]:
        """Return the options whose words are in no listed option's words."""
        listed = [self.options[i] for i in indices if i < self.count]
        return [(i, words) for i, words in self.words.items() if not any(words in other for other in listed)]


def _unless_named_as_well(sentence: re.Match[str]) -> str:
    """Return blanks for a sentence that explains an option, no more."""
    return sentence[0] if _NAMED_AS_WELL.search(sentence["said"]) else " " * len(sentence[0])
