"""Which option did a reply choose? Rather none than a guess.

EvalScope's parser falls back to the last capital letter of a text, so a refusal that mentions ICD-10 is graded
as an answer "D". The rule here reads *statements*: a cue (``答案：``, ``故选``, ``The answer is``), the start of the
reply, or a judgement behind a label (``B正确``), each with the list of labels that belongs to it. A label is a letter,
an ordinal (第二项, ②) or an option's own words. A statement counts as long as its clause neither denies it, supposes
it, asks it, nor ascribes it to others. Of the statements that count, these win, in this order:

1. a reply that begins with its bare answer (``B\\n解析：…``), unless it takes it back;
2. a marked answer (``答案：B``, ``\\boxed{B}``): the first that is not taken back;
3. a choosing verb (``故选B``, ``应该是B``);
4. judgements of the options (``选项B正确，因为A错误``, ``A ✓ B ✗``);
5. the words of an option, in a reply that says little else;
6. where all of these read nothing, what the clauses say of the options, in the light of what the question asks for.

Several letters in a single-choice reply are no answer; so are letters beyond the options. A list that goes on where
it cannot be read is no answer either: a part of a list is not to pass for the list.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import lru_cache

from bakeoff.scoring.beginnings import beginning_with
from bakeoff.scoring.clauses import ClauseReader
from bakeoff.scoring.cues import CHOSEN, MARKED
from bakeoff.scoring.judgements import REJECTED, TAKEN_BACK, UNSURE, is_approved
from bakeoff.scoring.labels import LETTERS, MOST_CUES, Labels
from bakeoff.scoring.layout import below_heading, laid_out
from bakeoff.scoring.naming import in_letters
from bakeoff.scoring.options import OptionSet, bare, plain_form, prepared
from bakeoff.scoring.questions import Asks, Stem, stem_of
from bakeoff.scoring.quotations import without_question
from bakeoff.scoring.reading import spoken_part
from bakeoff.scoring.rivals import is_rivalled
from bakeoff.scoring.statements import EXPLANATION, MENTION
from bakeoff.scoring.tallies import contradicts
from bakeoff.scoring.turns import own_turn, thought_again, withdrawn_at

RULES = 6
"""Version of these rules; raise it by hand with a change after which kept answers should be graded anew."""


_NONE_FITS = beginning_with(
    "n无没缺",
    r"(?:没有|无|缺少)(?:一个|任何)?(?:正确|合适|符合题意)的?(?:选项|答案)"
    r"|\bno (?:correct|right) (?:option|answer|choice)\b|\bnone of (?:the|these|them)\b",
    re.IGNORECASE,
)


_ONLY = re.compile(r"(?:仅|只)(?:有|选)? ?|only ", re.IGNORECASE)
_ONLY_BEHIND = re.compile(r"^ only\b")
_LETTERS_APART = re.compile(r"[A-J](?:[\s。.;,、]+[A-J])+[。.;]?")
_INITIAL = re.compile(r"A *: *(?=[*_`(]*[A-J](?![A-Za-z0-9]))")
"""The "A:" before an answer."""
_NO_DENIAL = re.compile(r"[✗✘❌×✖没]")
_THROWS_OUT = re.compile(
    r"把\W*(?:选项)?\W*[A-J](?:选?项)?\W*(?:给|都)?(?:[拿去划删剔排扔移撤](?:掉|去|除|出|了|走)|不要)"
    r"|(?<![不能])(?:(?:去|划|删|剔|扔|拿)(?:掉|去|除)|\b(?:drop|remove|strike|discard|take out|leave out))"
    r"了?\W*(?:选项|option)?\W*[A-J](?![A-Za-z0-9])",
    re.IGNORECASE,
)
"""What takes a label out of the list that the reply gave."""
_LETTER = re.compile(r"[A-J](?![A-Za-z])")
_AFTER_LEAD = re.compile(
    r"[*_`\s]*(?:[.。,;!:(\n]|因(?![子素果数变])|理由|解析|$|-|—|正确|才?是因"
    r"|because|since|as\b|is because\b)"
)
_LABEL_FIRST = re.compile(r"[*_(\[【]*[A-J][*_)\]】]*(?:[.、:)]|\s*$)")
_HEADED = re.compile(r"(?:^|(?<=[;,。\n])) ?([A-J]):")
_LABEL_STARTS = re.compile(r"^[\s>*_-]*([A-J])[*_]*[.、:)]", re.MULTILINE)


def extract_choice(reply: str, options: Sequence[str], *, multiple: bool = False, question: str = "") -> str:
    """Return the letters that *reply* chooses, sorted; ``""`` for none.

    There are several only where *multiple* allows it.

    Args:
        reply: the model's text, reasoning blocks included.
        options: the options' texts in the order A, B, …
        multiple: whether several options may be right.
        question: what was asked; it tells whether the exception was asked for, and which words only repeat it.
    """
    text = spoken_part(reply)
    if text.startswith("<") and re.match(r"<!doctype|<html", text, re.IGNORECASE):
        return ""
    text = plain_form(laid_out(text))
    stem = _asked(question)
    own, whole = own_turn(text, stem)
    known = prepared(tuple(options))
    return _stated(own, known, multiple, stem) or _stated(whole, known, multiple, stem)


@lru_cache(maxsize=512)
def _asked(question: str) -> Stem:
    return stem_of(plain_form(question))


def _stated(text: str, options: OptionSet, multiple: bool, stem: Stem) -> str:
    """Return the letters that *text* states, unless it withdraws them."""
    letters = _sectioned(text, options, multiple, stem) if text else ""
    before, behind = thought_again(text) if letters else ("", "")
    if before and _names(before, options):
        later = _sectioned(behind, options, multiple, stem)
        confirmed = later or (behind if not multiple and letters in behind else "")
        if letters not in confirmed or (multiple and later != letters):
            return "" if multiple else later
    if not letters or (end := withdrawn_at(text)) < 0:
        return letters
    return letters if _names(text[end:], options) else ""


def _names(text: str, options: OptionSet) -> bool:
    """Whether *text* names an option by its letter or words."""
    return bool(MENTION.search(text)) or any(words in text for words in options.longest_first)


def _sectioned(text: str, options: OptionSet, multiple: bool, stem: Stem) -> str:
    """Return the letters of the section that answers, or of the whole text."""
    if section := below_heading(text):
        letters = _read(section, options, multiple, stem)
        if letters or not _LABEL_FIRST.match(section) or not without_question(section, options.whole):
            return letters
        if not multiple and len(set(_LABEL_STARTS.findall(section))) == len(options.whole):
            return ""  # the options are gone through, and none of them stands out
        return _read(f"答案:{section}", options, multiple, stem)
    letters = _read(text, options, multiple, stem)
    if letters or not (stop := EXPLANATION.search(text)):
        return letters
    if bare(stop[0]) in map(bare, options.whole):
        return ""
    behind = text[stop.start() :]
    if TAKEN_BACK.search(behind) or MARKED.search(behind):
        return ""
    return _read(text[: stop.start()].strip(), options, multiple, stem)


def _read(text: str, options: OptionSet, multiple: bool, stem: Stem) -> str:
    """Return the letters that *text*, in plain form, chooses."""
    reader = _ReplyReader(text, options, multiple, stem=stem)
    unquoted = without_question(text, reader.options)
    reader = reader if unquoted == text else _ReplyReader(unquoted, options, multiple, stem=stem)
    letters = _chosen(reader, unquoted, multiple)
    if letters and (contradicts(reader, letters) or reader.drops(letters)):
        return ""
    if len(letters) == 1 and not multiple:

        def again(part: str) -> str:
            return _chosen(_ReplyReader(part, options, False, stem=stem), part, False)

        return "" if is_rivalled(reader, letters, again) else letters
    return letters


def _chosen(reader: _ReplyReader, unquoted: str, multiple: bool) -> str:
    """Return what the reply chooses, by letters or by the options' words."""
    if letters := reader.answer():
        return letters
    # of several, a label beside the words may be one that the words do not repeat
    mixed = multiple and MENTION.search(unquoted)
    lettered = unquoted if mixed else in_letters(unquoted, reader.options)
    if lettered == unquoted:
        return reader.by_clauses()
    named = _ReplyReader(lettered, reader.prepared, multiple, True, reader.stem)
    return named.answer() or reader.by_clauses() or named.by_clauses()


class _ReplyReader(ClauseReader):
    """Decides what one reply to one question answers."""

    def answer(self) -> str:
        """Return the letters that the reply states, and not a part of them."""
        if (none := _NONE_FITS.search(self.text)) and not MENTION.search(self.text, none.end()):
            return ""
        letters = self._stated() if self.text else ""
        return "" if self.multiple and self._leaves_open() else letters

    def drops(self, letters: str) -> bool:
        """Whether the reply denies one of several options that it chose."""
        if self.asks_exception or self.stem.asks is Asks.UNCLEAR:
            return False
        thrown = itertools.islice(_THROWS_OUT.finditer(self.text), MOST_CUES) if self.multiple else ()
        if any(letter in letters for out in thrown for letter in _LETTER.findall(out[0])):
            return True
        for mention in itertools.islice(MENTION.finditer(self.text), 1, MOST_CUES):
            item = self.item(mention.start(), small=False)
            if item is None or len(item[0]) > 1 or LETTERS[item[0][0]] not in letters:
                continue
            denial = REJECTED.match(self.text[item[1] : item[1] + 40])
            if denial and not _NO_DENIAL.search(denial[0]) and not self.doubted(mention.start()):
                return True
        return False

    def _leaves_open(self) -> bool:
        """Whether the reply says that it did not decide on all options."""
        text = self.text
        if stop := EXPLANATION.search(text):
            text = text[: stop.start()]
        for words in self.words.values():
            text = text.replace(words, "□") if len(words) > 1 else text
        return bool(UNSURE.search(text))

    def _stated(self) -> str:
        for sign in self.verdict(), self._whole():
            if sign is not None:
                return self.letters(sign)
        if (left := self.sentence()) is not None:
            return left
        lead = self._lead()
        marked = self.statements(MARKED)
        several = self.ticked_boxes() or (self.pointed(marked) if self.multiple else None)
        if several:
            return self.letters(several)
        if corrected := self.corrected([*([lead] if lead else ()), *marked]):
            return self.letters(next(reversed(self._corrections(marked, corrected.end + 1)), corrected))
        if lead and self.multiple and not lead.whole and not marked:
            return self.judged_alike(lead) or self.parted()
        if lead and not self._corrections(marked, 0):
            return self.letters(lead)
        if marked:
            corrections = self._corrections([], marked[0].end)
            merged = sorted((*marked, *corrections), key=lambda statement: statement.start)
            letters = self.decided(merged, MARKED)
            return letters if letters or not self.multiple else self.judged_alike(marked[0])
        if chosen := self.statements(CHOSEN):
            letters = self.decided(chosen, CHOSEN)
            return letters if letters or not self.multiple else self.judged_alike(chosen[0])
        judged = self.judged()
        if judged or (judged is not None and self.multiple):
            return judged or self.parted()
        if labels := self.headed() or self.left_over():
            return self.letters(labels) if self.complete(labels) else ""
        if judged is not None:
            return judged or self.parted()
        letters = self.listed() or self.by_words() or self.closing()
        stated = {LETTERS.index(letter) for letter in letters}
        whole = letters if not self.multiple or self.covers(stated, 0) else ""
        return whole or self.parted()

    def _corrections(self, marked: list[Labels], since: int) -> list[Labels]:
        """Return what of *marked* and of the choices from *since* on takes back."""
        if not self.takes_back:
            return []  # and the choices need not be looked for
        stated = (*marked, *self.statements(CHOSEN))
        return [c for c in stated if c.start >= since and self.taken_back(c.start)]

    def _whole(self) -> Labels | None:
        """Return the list that is the whole reply, or its whole last line."""
        exact = self.prepared.equal_to(self.text)
        if len(exact) == 1 and not re.fullmatch(r"[A-Ja-j]+", self.options[exact[0]]):
            return Labels((exact[0],), 0, len(self.text))
        lines = self.text.split("\n")
        for whole in dict.fromkeys((self.text, lines[-1])):
            reader = self if whole == self.text else self.reader_of(whole.strip(), self.multiple)
            only = _ONLY.match(reader.text)
            labels = reader.label_list(only.end() if only else 0)
            if self.multiple and _LETTERS_APART.fullmatch(whole.strip()):
                labels = Labels(tuple(map(LETTERS.index, re.findall("[A-J]", whole))), 0, len(reader.text))
            if labels and not _ONLY_BEHIND.sub("", reader.text[labels.end :]).strip(
                " \t\n.。!,;、*_`\"'”」)]】}>$\\"
            ):
                if self.multiple and reader.goes_on(labels.end):
                    return None
                if whole != self.text and self._speaks_before(lines):
                    continue
                return labels
        return None

    def _speaks_before(self, lines: list[str]) -> bool:
        """Whether more than the last of *lines* states an answer."""
        if self._lead() or self.statements(MARKED) or len(self.line_labels()) > 1:
            return True
        earlier = "\n".join(lines[:-1])
        if not self.multiple:
            return False
        named = any(words in earlier for words in self.words.values() if len(words) > 1)
        return named or bool(self.reader_of(earlier, True).statements(CHOSEN))

    def _lead(self) -> Labels | None:
        """Return the answer that the reply begins with, if it does."""
        initial = _INITIAL.match(self.text)
        labels = self.label_list(initial.end() if initial else 0, small=False)
        if labels is None or self.denied(labels) or max(labels.indices) >= self.count:
            return None
        tail = self.text[labels.end : labels.end + 60]
        headed = sum(f"{words}:" in self.text for words in self.words.values())
        headed = max(headed, len(set(_HEADED.findall(self.text))))
        if headed > 1 and self.text[labels.end :].lstrip(" *_").startswith(":"):
            return None  # each option is gone through
        if self.run_is_rejected(labels.end, set(labels.indices)) and re.match(
            r"[^。;\n]{0,30}?(?:都|均|皆|\bare\b|\band\b)|(?P<by>[,、]) ?[A-J](?:(?P=by) ?[A-J])*[ ]?[:(]",
            tail,
        ):
            return None
        if not _AFTER_LEAD.match(tail):
            return None
        if re.fullmatch(r"[*_`\s]*:[*_`\s]*", tail) or re.match(r" ?\([^()\n]{1,40}\) ?\w", tail):
            return None  # what the option says was to follow
        if len(self.line_labels()) > 1 and not (
            self.multiple and "\n" in self.text[labels.start : labels.end]
        ):
            return None
        if re.match(r"[*_`\s]*[.、:,]?\s*(?:[A-J]\.)", tail) or is_approved(tail):
            return None
        stop = re.match(
            r"[*_`\s]*(?:[。!\n;(]|$|[,.]\s*(?:因|理由|解析|because|since|其|而)|因(?![子素果数变])|理由|解析)",
            tail,
        )
        if not stop and (
            self.statements(MARKED) or any(c.indices != labels.indices for c in self.statements(CHOSEN))
        ):
            return None
        return Labels(labels.indices, labels.start, labels.end, self.complete(labels))
