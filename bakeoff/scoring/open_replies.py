"""What is odd about the replies to open questions.

Overlap gives any text a number. A reply that echoes its question, says nearly nothing, loops, runs on into further
questions, speaks another language or was cut off is no answer to be compared by it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean, pstdev
from typing import TYPE_CHECKING

from bakeoff.foundation.sentences import Template
from bakeoff.scoring.reading import final_part

if TYPE_CHECKING:
    from bakeoff.scoring.scores import Sample

ECHOES = Template(
    "scoring.open_replies.echoes",
    "{share:.1%} of the replies repeat their question",
    zh="{share:pct} 的回复只是重复题目",
    en="{share:pct} of replies only repeat the question",
)
NEARLY_EMPTY = Template(
    "scoring.open_replies.nearly_empty",
    "{share:.1%} of the replies are nearly empty",
    zh="{share:pct} 的回复几乎为空",
    en="{share:pct} of replies are nearly empty",
)
OTHER_SCRIPT = Template(
    "scoring.open_replies.other_script",
    "{share:.1%} of the replies are written in another script than their references: overlap says nothing about them",
    zh="{share:pct} 的回复与参考答案不是同一种文字，重合度指标对其没有意义",
    en="{share:pct} of replies are in a different script from their references, so overlap says nothing about them",
)
LOOPS = Template(
    "scoring.open_replies.loops",
    "{share:.1%} of the replies say the same again and again",
    zh="{share:pct} 的回复在反复重复同样的内容",
    en="{share:pct} of replies repeat themselves over and over",
)
RUNS_ON = Template(
    "scoring.open_replies.runs_on",
    "{share:.1%} of the replies go on with a further question and its answer: the model may not know where to stop",
    zh="{share:pct} 的回复在作答之后又自问自答，模型可能没有学会结束回复",
    en="{share:pct} of replies go on to ask and answer another question: the model may not know when to stop",
)
CUT_OFF = Template(
    "scoring.open_replies.cut_off",
    "{share:.1%} of the replies break off after about {length} letters, though the service calls them whole",
    zh="{share:pct} 的回复在约 {length} 字处中断，服务却标记为已完成",
    en="{share:pct} of replies break off after about {length} letters, although the service reports them as complete",
)

POOR_ALARM, POOR_LIMIT = 0.05, 0.2
"""Share of poor replies in an open suite that is told, and that makes the score invalid."""
_FEWEST, _FEWEST_CUT = 3, 5
"""Poor replies from which they are told, and different ones from which one length is no coincidence."""
_PIECE, _LOOP_LENGTH, _LOOP_SHARE = 5, 40, 0.35
"""Letters of a piece, letters from which a text can loop, and the share of different pieces below which it does."""
_LONG_ENOUGH = 10
"""Letters, a Latin word counting as about two, from which the script of a text is certain."""

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_HANGUL = re.compile(r"[\uac00-\ud7af]")
_FURTHER_TURN = re.compile(
    r"\S[^\n]*\n\s*(?:[#*\s]*)(?:user|human|用户|提问|问题|题目|问|question|q)[ \d*]*(?:[:：]|\n)[^\n]*\S[^\n]*\n"
    r"(?:[^\n]*\n){0,5}?\s*[#*\s]*(?:assistant|助手|回答|答案|答|answer|a)[ \d*]*(?:[:：]|\n)",
    re.IGNORECASE,
)
_CLOSED = re.compile(r"[^\w\s,、;:\-(\[{<「『“‘（【《]\s*\Z")
"""A mark at the end that closes a sentence, a quotation or a list."""


def poor_replies(samples: Sequence[Sample], share: float) -> list[str]:
    """Warn when more than *share* of the open replies are poor ones."""
    replies = [s for s in samples if not s.options and s.status == "answered"]
    warnings: list[str] = []
    flaws = Counter(flaw for s in replies for flaw in _flaws(s.question, s.reply, s.target))
    for form in (ECHOES, NEARLY_EMPTY, OTHER_SCRIPT, LOOPS, RUNS_ON):
        if flaws[form.id] > share * len(replies) and flaws[form.id] >= min(_FEWEST, len(replies)):
            warnings.append(form(share=flaws[form.id] / len(replies)))
    cut = _cut_off(replies)
    if cut and len(cut) > share * len(replies):
        length = round(fmean(len(_letters(sample.reply)) for sample in cut))
        warnings.append(CUT_OFF(share=len(cut) / len(replies), length=length))
    return warnings


def is_echo(question: str, reply: str) -> bool:
    """Whether *reply* says little but what the question says.

    At least 80 % of its pieces of three characters are the question's.
    """
    prompt, text = _letters(question), _letters(reply)
    pieces = [text[i : i + 3] for i in range(len(text) - 2)]
    in_question = {prompt[i : i + 3] for i in range(len(prompt) - 2)}
    return len(text) > 10 and sum(piece in in_question for piece in pieces) >= 0.8 * len(pieces)


def is_near_empty(reply: str, reference: str) -> bool:
    """Whether *reply* has at most ten letters, the reference far more."""
    letters = len(_letters(reply))
    return letters <= 10 and 5 * letters <= len(_letters(reference))


def is_in_other_script(reply: str, reference: str) -> bool:
    """Whether two texts, long enough to tell, are of different scripts."""
    ours, theirs = _script(reply), _script(reference)
    return bool(ours and theirs) and ours != theirs


def is_loop(reply: str, reference: str = "") -> bool:
    """Whether *reply* says the same again and again, and not *reference* too."""
    return _varied(reply) < _LOOP_SHARE <= _varied(reference)


def runs_on(reply: str) -> bool:
    """Whether a further question with an answer follows in *reply*."""
    return bool(_FURTHER_TURN.search(final_part(reply)))


@lru_cache(maxsize=65536)
def _flaws(question: str, reply: str, target: str) -> tuple[str, ...]:
    """Return the kinds of poor reply that *reply* is; each metric asks."""
    kinds = {
        ECHOES.id: is_echo(question, reply),
        NEARLY_EMPTY.id: is_near_empty(reply, target),
        OTHER_SCRIPT.id: is_in_other_script(reply, target),
        LOOPS.id: is_loop(reply, target),
        RUNS_ON.id: runs_on(reply) and not runs_on(target),
    }
    return tuple(kind for kind, holds in kinds.items() if holds)


def _cut_off(samples: Sequence[Sample]) -> list[Sample]:
    """Return the replies that break off at nearly one length.

    None where references end without a closing mark as well, or where the lengths vary as those of whole texts do.
    """
    open_ended = [sample for sample in samples if not _is_closed(sample.reply)]
    references = sum(not _is_closed(sample.target) for sample in samples)
    if len({sample.reply for sample in open_ended}) < _FEWEST_CUT or references > len(open_ended) / 2:
        return []
    lengths = [len(_letters(sample.reply)) for sample in open_ended]
    return open_ended if pstdev(lengths) < 0.15 * fmean(lengths) and fmean(lengths) > 4 else []


@lru_cache(maxsize=65536)
def _is_closed(text: str) -> bool:
    return bool(_CLOSED.search(final_part(text)))


def _varied(text: str) -> float:
    """Return the share of different pieces in *text*; 1 for a short one."""
    letters = _letters(text)
    pieces = [letters[i : i + _PIECE] for i in range(len(letters) - _PIECE + 1)]
    return len(set(pieces)) / len(pieces) if len(letters) >= _LOOP_LENGTH else 1.0


def _script(text: str) -> str:
    """Return the script of most of *text*, "" for a short or a mixed one.

    Three letters of an alphabet count as one sign of the others.
    """
    letters = final_part(text)
    hangul, kana, han = (len(script.findall(letters)) for script in (_HANGUL, _KANA, _HAN))
    rest = (sum(sign.isalpha() for sign in letters) - hangul - kana - han) / 3
    sizes = {"hangul": hangul, "chinese": han, "alphabet": rest}
    if kana > han / 10:
        sizes = {"hangul": hangul, "japanese": han + kana, "alphabet": rest}
    total = sum(sizes.values())
    name = max(sizes, key=lambda script: sizes[script])
    return name if total >= _LONG_ENOUGH and sizes[name] >= 0.7 * total else ""


@lru_cache(maxsize=4096)
def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", final_part(text)).lower()
