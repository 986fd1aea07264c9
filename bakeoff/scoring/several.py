"""Reads options that are ticked, pointed, listed or judged one by one."""

from __future__ import annotations

import itertools
import re

from bakeoff.scoring.judgements import JUDGES, is_approved, is_rejected
from bakeoff.scoring.labels import LETTERS, MOST_CUES, OPENERS, Labels
from bakeoff.scoring.questions import Asks
from bakeoff.scoring.statements import EXPLANATION, LINE_START, MENTION, StatementReader
from bakeoff.scoring.verdicts import verdict_of

_BOX = re.compile(
    r"[ \t>*_]*(?:(?:[-*+•]|\d{1,2}[.)、])[ \t]*)?(?:\[(?P<box>[ xX✓✔√]?)\]|(?P<on>[☑✅✔✓√])|(?P<off>[☐☒□❌✗✘×]))[ \t*_`(]*"
    r"(?=(?:选项[ ]?)?(?:[A-J](?![A-Za-z0-9])|[\ue000-\ue009])|(?(box)\S))"
)
_POINTED = re.compile(
    r"(?:(?<=[;。\n.,)）])|^)[ \t>*_`]*(?:(?:[-*+•]|\d{1,2}[.)、])[ \t]*)?[*_`(\[【]*(?:选项[ ]?)?"
    r"(?P<label>[A-J]|[\ue000-\ue009])[*_`)\]】]*[ \t]?[.、:()—-][*_` ]*(?=[^\s*_`])"
)
_AGAINST = re.compile(
    r"[不错误缺无除✗✘❌×]|wrong|incorrect|\b(?:not|absent|missing|lack\w*|except|exclud\w*|avoid\w*|least)\b",
    re.IGNORECASE,
)
_WRONG_ARE_WANTED = re.compile(r"选(?:出|择)?(?:错误|不正确|不恰当|不合适|不符合)")
_AS_WELL = re.compile(
    r"[\s*_`)]*(?:选?项)?(?:也|同样|亦)|[^,.;\n]{0,20}\b(?:too|also|as well)\b", re.IGNORECASE
)
_IN_A_NAME = re.compile(
    r"[\u4e00-\u9fff](?<![项是为选择取案有即就则故而但定下出向于当要剩了同以中里此么也和与及或对断说得觉除非把将用像如比看果认知且又还都像只题法点论来前后起肯仅独唯余它他下])$"
)
"""A letter right behind a noun is a part of its name, as in 维生素B."""


class SetReader(StatementReader):
    """Reads what is said of several options of one reply, each for itself."""

    def ticked_boxes(self) -> Labels | None:
        """Return the ticked boxes of a list (``- [x] A``); None without boxes.

        Of a single choice, boxes in brackets alone are: a tick may as well call what an option says right.
        """
        ticked: list[int] = []
        boxes = 0
        lines = (
            self.text if "\n" in self.text else re.sub(r"(?<=[A-J])[ ]+(?=[☑✅✔✓√☐☒❌✗✘×])", "\n", self.text)
        )
        for line in lines.split("\n")[:200]:
            box = _BOX.match(line)
            if box is None or (not self.multiple and box["box"] is None):
                continue
            item = self.reader_of(line, True).item(box.end(), small=False)
            if item is None:
                return None
            boxes += 1
            ticked += item[0] if box["on"] or (box["box"] or "").strip() else []
        return Labels(tuple(ticked), 0, 0) if boxes > 1 and ticked else None

    def pointed(self, marked: list[Labels]) -> Labels | None:
        """Return a marked list glossed in free words: ``答案：A. 仔细听；B. 体会``.

        Each label is set apart and none is judged; a list of all options that no cue marks repeats the question.
        """
        if not marked or self.taken_back(marked[-1].start):
            return None
        place = OPENERS.match(self.text, marked[0].cue_end).end()  # type: ignore[union-attr]
        stretch = re.split(r"\n[ \t]*\n", self.text[place : place + 4000], maxsplit=1)[0]
        if stop := EXPLANATION.search(stretch):
            stretch = stretch[: stop.start()]
        points = list(itertools.islice(_POINTED.finditer(stretch), MOST_CUES))
        if len(points) < 2 or stretch[: points[0].start()].strip(" \t\n*_`#"):
            return None
        indices: list[int] = []
        for point, following in itertools.zip_longest(points, points[1:]):
            words = stretch[point.end() : following.start() if following else None]
            label = self.label_at(place + point.start("label"), small=False)
            if label is None or max(label[0]) >= self.count:
                return None
            words = words.replace(self.options[label[0][0]] or " ", "", 1)
            if len(words) > 200 or MENTION.search(words) or JUDGES.search(words):
                return None
            indices += label[0]
        return Labels(tuple(indices), place, place)

    def line_labels(self) -> set[int]:
        """Return the options whose label begins a line."""
        labels: set[int] = set()
        for line in self.text.split("\n")[:200]:
            if match := re.match(
                rf"{LINE_START}(?P<label>[A-J](?=[\s*_`)\]】\"'”’」』.、:,(—|]|$|选项|项)|[a-j](?=[)\]】\"'”’」』.、:(—]|[ *_`]*$)|[\ue000-\ue009]|第)",
                line,
            ):
                item = self.reader_of(line, True).label_at(match.start("label"), small=True)
                labels |= set(item[0]) if item else set()
        return labels

    def judged(self) -> str | None:
        """Return the options that are judged right; None without judgements."""
        if self.asks_exception or self._tabled_otherwise() or _WRONG_ARE_WANTED.search(self.text):
            return ""
        fair: set[int] = set()
        poor: set[int] = set()
        unjudged: set[int] = set()
        also = False
        place = 0
        described = self.described() if self.multiple else []
        for match in MENTION.finditer(self.text):
            if match.start() < place or any(start <= match.start() < end for start, end in described):
                continue
            if _IN_A_NAME.search(self.text[max(0, match.start() - 1) : match.start()]):
                unjudged |= self.unclear(match.start(), match[0]) if self.multiple else set()
                continue
            labels = self.label_list(match.start(), small=self.multiple)
            if self.multiple and self.label_at(match.start(), small=True) is None:
                unjudged |= self.unclear(match.start(), match[0])
                continue
            if labels is None:
                continue
            place = labels.end
            tail = self.text[labels.end : labels.end + 60]
            if is_rejected(tail) or self.run_is_rejected(labels.end, set(labels.indices)):
                poor |= set(labels.indices)
            elif is_approved(tail) and not self.doubted(match.start()):
                fair |= set(labels.indices)
                also = also or bool(_AS_WELL.match(tail))
            else:
                unjudged |= set(labels.indices)
        if not fair:
            return "" if poor else None
        if self.stem.asks is Asks.UNCLEAR and poor and fair | poor != set(range(self.count)):
            return ""
        if (
            also
            and not self.multiple
            and {m[0] for m in MENTION.finditer(self.text)} - {LETTERS[i] for i in fair | poor}
        ):
            return ""  # the other that it is as good as
        if fair & poor or (self.multiple and (unjudged - fair - poor or not self.covers(fair | poor, 0))):
            return ""
        return self.letters(Labels(tuple(fair), 0, 0))

    def _tabled_otherwise(self) -> bool:
        """Whether a table of as many rows as options does not name each of them."""
        rows = [line for line in self.text.split("\n") if re.match(r"\s*\|[^|\n]*[^|\s:-][^|\n]*\|", line)][
            1:
        ]
        named = sum(
            any(words in row for words in self.words.values()) or bool(MENTION.search(row)) for row in rows
        )
        return self.multiple and len(rows) >= self.count > named

    def judged_alike(self, stated: Labels) -> str:
        """Return the options judged right, if *stated* is a part of them."""
        letters = self.judged() or ""
        return letters if set(stated.indices) <= {LETTERS.index(letter) for letter in letters} else ""

    def listed(self) -> str:
        """Return the labels of the lines where nothing speaks against them."""
        labels = self.line_labels()
        lines = [line for line in self.text.split("\n") if line.strip()]
        if not labels or any(_AGAINST.search(line) for line in lines):
            first = self.label_list(0, small=False)
            if first is None or len(labels) > 1 or self.denied(first) or not self._glossed_at(first):
                return ""
            return self.letters(first)
        head = (
            lines[0].strip(" *_#").removesuffix(":")
            if len(lines) > 2 and lines[0].rstrip(" *_").endswith(":")
            else ""
        )
        if (
            head
            and (called := verdict_of(head, self.stem.shares(head)))
            and called.holds
            and not self.asks_exception
        ):
            lines = lines if MENTION.search(head) else lines[1:]
        if self.multiple and len(labels) < self.count and len(labels) == len(lines):
            return self.letters(Labels(tuple(labels), 0, 0))
        first = self.label_list(0, small=False)
        if first and len(labels) == 1 and set(first.indices) == labels and not self.denied(first):
            return self.letters(first) if self.complete(first) and self._glossed_at(first) else ""
        return ""

    def _glossed_at(self, first: Labels) -> bool:
        ends = re.match(r"[\s*_`]*(?:$|[.。,;!(\n]|:(?=.*\S))", self.text[first.end :])
        return bool(ends) and len(first.indices) == 1 and first.end - first.start > 2
