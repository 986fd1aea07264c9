"""Reads answers without a cue: corrections, headed lines, what is left."""

from __future__ import annotations

import itertools
import re

from bakeoff.scoring.beginnings import beginning_with
from bakeoff.scoring.cues import CHOSEN
from bakeoff.scoring.judgements import DOUBT, SAFE, is_approved, is_rejected
from bakeoff.scoring.labels import LETTERS, MOST_CUES, Labels
from bakeoff.scoring.option_words import REFUSED, WordReader
from bakeoff.scoring.speakers import is_ascribed, is_of_others
from bakeoff.scoring.statements import MENTION
from bakeoff.scoring.verdicts import speaks_against

_CORRECTION = beginning_with(
    "acimnsw不修写哦啊嗯噢回应换改更笔等纠说退错",
    r"(?P<strong>更正|笔误|(?<!答案)应为|修正|改正|纠正|改为|改选|换(?:成|为|选)?(?=[*_` ]*[A-J](?![A-Za-z0-9]))|应改为|(?:回到|改回|换回|退回到?)(?=[*_` ]*(?:选项 ?)?[A-J](?![A-Za-z0-9]))|\bcorrection\b|\bi meant?\b|\bmake that\b|\bchanged? (?:it |my answer )?to\b)"
    r"|(?P<weak>(?:^|(?<=[\s,。;!?.…—(~-]))(?:哦|噢|啊|嗯)?(?:不对|不(?=[,。!…])|错了|说错了|写错了|等等|等一下|\bno\b|\bwait\b|\bactually\b|\bsorry\b))",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"(?:[\s,:。.…!—*_`(\"“-]|答案|选项?|应该?|为|是|成|一下|to\b|it\b|is\b|be\b|the\b|answer\b|should\b|it's\b|that's\b|i\b|meant\b|no\b|actually\b|rather\b)*",
    re.IGNORECASE,
)
_END = re.compile(
    r"[*_`)\]\"'”」』}>|~√✓✔✅]*\s*(?:了|吧|哦|噢|喔|呢|呀|啊|啦|哈|嘛|咯|喽|嘞|诶|哇|哟|无疑|没跑了?|选?项| for sure| obviously)*\s*[*_`)\]\"'”」』}>|~√✓✔✅]*\s*(?:[。.,;!~…|)]|$|\n)"
)
_DENIED_RUN = re.compile(
    r"[A-J](?![A-Za-z0-9])(?:(?:选?项)?\s*[,、]\s*[A-J](?![A-Za-z0-9]))*(?:选?项)?[,、]?\s*(?:\bor\b|\bnor\b|\band\b|和|或|及|、)\s*[A-J](?![A-Za-z0-9])(?:选?项)?"
)
"""Labels that one denial holds for: ``not A, B, or C``."""
_EXCELS = re.compile(
    r"\W*(?:选?项)?(?:(?:比|优于|胜过|好过)\W*(?:选项)?\W*[A-J](?![A-Za-z0-9])|[更最](?![差糟不难坏]))"
)
_MARKS_ONLY = re.compile(r"[\W_]*(?:了|吧|哦|噢|喔|呢|呀|啊|啦|哈|嘛|咯|喽|嘞|诶|哇|哟)?[\W_]*")
_CONNECTS = re.compile(
    r"(?:^|[\s\W_]|[是为选择取项案猜然脑有即就则故而但定下出向于当要剩了同]"
    r"|\b(?:is|be|option|choice|choose|chose|pick|select|with|for|answer|it|so|thus|hence|therefore|but|actually|then|meant|say|simply))\s*[\W_]*$",
    re.IGNORECASE,
)
_LATIN_BEFORE = re.compile(r"([A-Za-z]+)[ \t*_`(\[\"“]*$")
_LATIN_CONNECTS = frozenset(
    [
        "is",
        "be",
        "option",
        "choice",
        "choose",
        "chose",
        "pick",
        "select",
        "with",
        "for",
        "answer",
        "ans",
        "it",
        "so",
        "thus",
        "hence",
        "therefore",
        "but",
        "actually",
        "then",
        "meant",
        "say",
        "simply",
        "to",
        "on",
        "obviously",
        "clearly",
        "definitely",
        "certainly",
    ]
)
_CLOSING = re.compile(
    r"(?P<said>[^\n]{6,})(?:(?P<dash>—|–| - )| ?:) ?[*_(\[`]*(?:选项 ?|option )?(?P<label>[A-J])[)\]*_`]*[.。!]?[*_`]*$",
    re.IGNORECASE,
)
_SPOILS = re.compile(
    r"[差坏糟忌劣害险错陷次]|干扰|迷惑|相反|常见|多数|大部分|\b(?:worst|least|traps?|distract\w*|tempt\w*|bad|poor|harm\w*|runner|common|popular"
    r"|typical|opposite|majority|second|next|un\w+|in(?:app|corr|eff)\w+)\b",
    re.IGNORECASE,
)
"""What names another place than the first, or finds fault."""
_DELIBERATES = re.compile(
    r"(?:考虑|看看?|分析|\b(?:consider(?:ed|ing)?|look\w* at|start\w* with))\W*(?:选项)?\W*$", re.IGNORECASE
)
"""What only looks at the option that follows."""
_OTHERS = re.compile(
    r"其[他余它]|剩余|备选|候选|待选|选项\W*$|others?|rest|options?\W*$|题目|题干|question", re.IGNORECASE
)
_FITTING = re.compile(
    r"[^不没未非无错\n]{0,8}(?:正确|恰当|合适|适当|合理|最佳|最好|符合题意|符合要求)的?[\u4e00-\u9fff]{0,6}[\s:*_`(\[【\"“]*"
)
"""A head that calls what follows right: ``咨询师最恰当的反应:``."""
_CROSSES = re.compile(r"[✗✘❌×☐☒✖]")


class ShortAnswerReader(WordReader):
    """Reads what short replies answer without any of the usual cues."""

    def corrected(self, stated: list[Labels]) -> Labels | None:
        """Return what a correction puts in the place of an answer.

        ``更正：B`` says by itself that it is one; ``不，是B`` does so behind an answer, one of *stated* or a choice.
        """
        latest = None
        for match in itertools.islice(_CORRECTION.finditer(self.text), MOST_CUES):
            before = self.text[: match.start()]
            if re.search(r"(?:无需|不用|不必|不需要?|need no|no)\s*$", before):
                continue
            if match["weak"] and not (
                any(labels.start < match.start() for labels in stated)
                or MENTION.search(before[-12:])
                or any(labels.start < match.start() for labels in self.statements(CHOSEN))
            ):
                continue
            place = _FILLER.match(self.text, match.end()).end()  # type: ignore[union-attr]
            labels = self.label_list(place)
            if labels and not self.denied(labels) and not is_approved(self.text[labels.end :][:40]):
                latest = Labels(labels.indices, match.start(), labels.end, self.complete(labels))
        return latest

    def headed(self) -> Labels | None:
        """Return the list that stands alone behind a head: ``第1题：B``."""
        seen: dict[tuple[int, ...], Labels] = {}
        place = 0
        for line in self.text.split("\n")[:200]:
            start, place = place, place + len(line) + 1
            mentions = [m for m in itertools.islice(MENTION.finditer(line), 3) if m[0] != "第"]
            if not mentions or mentions[0].start() > 40:
                continue
            mention = mentions[0]
            head = line[: mention.start()]
            labels = self.label_list(start + mention.start(), small=False)
            if labels is None or labels.end > start + len(line) or re.search(r"[A-Za-z][/.&'’-]$", head):
                return None
            if is_rejected(self.text[labels.end : labels.end + 40]):
                continue
            if not head.strip() or re.search(r"\w\s*$", head) or len(re.sub(r"[\W_]", "", head)) > 16:
                return None
            if _CROSSES.search(head) or _OTHERS.search(head) or DOUBT.search(SAFE.sub("", head)):
                return None
            after = self.text[labels.end : start + len(line)]
            if (
                not _MARKS_ONLY.fullmatch(after)
                or "?" in after
                or not (self.is_mine(head) or _FITTING.fullmatch(head))
            ):
                return None
            seen[tuple(sorted(labels.indices))] = labels
        return next(iter(seen.values())) if len(seen) == 1 else None

    def closing(self) -> str:
        """Return the letter that a dash or colon sets apart at the very end."""
        end = _CLOSING.search(self.text[-400:])
        if end is None or self.asks_exception:
            return ""
        sentence = re.split(r"[。!?\n]|\. ", end["said"])[-1]
        if not end["dash"] and len(re.findall(r"[a-z]+|[\u4e00-\u9fff]", sentence)) < 5:
            return ""  # a head, such as that of another's answer
        if (
            MENTION.search(sentence)
            or _SPOILS.search(sentence)
            or DOUBT.search(sentence)
            or speaks_against(sentence)
            or is_of_others(sentence)
        ):
            return ""
        index = LETTERS.index(end["label"])
        return LETTERS[index] if index < self.count and not is_ascribed(sentence) else ""

    def left_over(self) -> Labels | None:
        """Return the option of a short reply that is not denied, if it is alone.

        Its label must stand where an answer stands, at the end of a clause: ``不是A，是B``.
        """
        if self.multiple or self.asks_exception or len(self.text) > 160 or REFUSED.search(self.text):
            return None
        left: Labels | None = None
        others: set[int] = set()
        sure = True
        place = 0
        for mention in MENTION.finditer(self.text):
            if mention.start() < place:
                continue
            labels = self.label_list(mention.start(), small=False)
            if labels is None:
                if mention[0] in LETTERS[: self.count]:
                    return None
                continue
            tail = self.text[labels.end : labels.end + 40]
            if self.doubted(mention.start()):
                place = mention.end()  # what follows in another clause is judged on its own
                if run := _DENIED_RUN.match(self.text, mention.start()):
                    others |= {
                        LETTERS.index(letter)
                        for letter in re.findall(r"(?<![A-Za-z])[A-J](?![A-Za-z])", run[0])
                    }
                    place = run.end()
                others |= set(labels.indices[:1])
                continue
            place = labels.end
            if is_rejected(tail) or self.denied(labels):
                others |= set(labels.indices) if is_rejected(tail) else set()
                continue
            if _DELIBERATES.search(self.lead_up(mention.start())):
                return None
            fits = _END.match(tail) or _EXCELS.match(tail) or is_approved(tail)
            if len(set(labels.indices)) > 1 or not fits:
                return None
            if left and left.indices != labels.indices:
                return None
            sure = sure and self._stands_alone(mention.start()) and self._speaks_for_itself(mention.start())
            left = labels
        if left is None or set(left.indices) & others:
            return None
        # against options that are denied, the one that is left is meant whatever is said of it
        return left if sure or (self.named and others) or len(others) == self.count - 1 else None

    def _speaks_for_itself(self, place: int) -> bool:
        lead = self.lead_up(place)
        return self.is_mine(lead) or bool(_FITTING.fullmatch(lead))

    def _stands_alone(self, place: int) -> bool:
        """Whether the letter at *place* is no part of a name such as 维生素B."""
        before = self.text[max(0, place - 30) : place]
        if re.search(r"[A-Za-z0-9][/&.'’-]$", before):
            return False
        if word := _LATIN_BEFORE.search(before):
            return word[1].lower() in _LATIN_CONNECTS
        return bool(_CONNECTS.search(before))
