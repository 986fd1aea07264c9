"""Finds the part of a reply that answers its question, and withdrawals.

A model that runs on invents further questions and answers them; a reply may take back all that it said and put
nothing in its place.
"""

from __future__ import annotations

import re

from bakeoff.scoring.beginnings import beginning_with
from bakeoff.scoring.questions import Stem

_ASKED = beginning_with(
    r"\t\n #*>_0123456789epq下例原本此示第问题",
    r"(?:^|\n)[ \t>*_#]*(?:\d+[ .、]*[\[(【](?=(?:单|多|不定项)选题?[\])】])|题目|问题|例题?|[本原此]?题|示例|第 ?\d+ ?题|下一题|question|problem|example|q(?=\d*[ \t]*[:.]))[ \t*_]*\d*[ \t*_]*[:.、][ \t*_]*(?P<first>[^\n]*)",
    re.IGNORECASE,
)
_WITHDRAWN = beginning_with(
    ".cdilnst…上不以刚前呃哦啊嗯噢容尚当待忽我把撤收无暂现目答让请还麻",
    r"(?:[啊哦噢呃嗯…]|\.{2,})[, 。]*不对|(?:我|把)[^,。;\n]{0,8}(?:收回|撤回)|(?:收回|撤回)(?=[\W_]|$|刚|上|前|我|这个?答)|(?:答案|以上|上述|前面|刚才)[^,。;\n]{0,8}(?:作废|不算|不作数|撤回)|(?:请|麻烦)?(?:忽略|无视)(?:掉|一下)?(?:我|上|前|刚|以上|之前)"
    r"|不算数|当我没(?:说|答)|(?:目前|暂时|现在|尚|还|我)(?:还|也|是)?(?:不能|无法|没法|不敢)(?:最终)?(?:确定|肯定|下结论|断定|作答|给出)|(?:容|让|待)我(?:再|重新)[^,。;\n]{0,6}(?:[想看核查算]|考虑|确认)|(?:还|尚)(?:没有?|未)(?:来得及)?(?:核实|核对|查证|想清楚|想好|确认)"
    r"|\b(?:i )?(?:take|took) (?:that|it|this|my answer) back|\b(?:ignore|disregard|scratch) (?:that|this|it|my|the (?:last|previous|above))|\bnever ?mind\b|\blet me (?:re-?check|double-?check|check again|think again|reconsider)|\bi (?:retract|withdraw)\b"
    r"|\bi(?:'m| am) no longer (?:sure|certain)|\bi (?:still )?(?:need|have) to (?:re-?|double-?)?check|\bcan(?:no|')t (?:be sure|decide|say)(?: yet| now)?\b",
    re.IGNORECASE,
)


_FURTHER = re.compile(
    r"\n[ \t]*(?P<first>[^\n]{4,300}(?:\(\s*\)|_{2,}|\?|:|的?是|包括)[。.]?)[ \t]*\n\s*\(?A[.、:) ][^\n]+\n\s*\(?B[.、:) ]"
)
"""A question with its options that follows without a head."""


_GOES_THROUGH = re.compile(
    r"(?:选项|逐[项一个]|各项)[^?(_]{0,6}(?:分析|解析|说明|解释|判断|来看|如下)|(?:分析|解析|说明|判断|来看)[^?(_]{0,6}(?:选项|各项)"
    r"|\b(?:analy[sz]\w*|evaluat\w*|review\w*|go(?:ing)? through|look(?:ing)? at|explain\w*|explanation)\b",
    re.IGNORECASE,
)
"""A head below which the reply looks at the options of its own question."""


def own_turn(text: str, stem: Stem) -> tuple[str, str]:
    """Return what may answer the question, and the whole if that does not.

    The second is empty where a reply asks several questions of which none is the one that was asked.
    """
    further = _FURTHER.search(text)
    if (
        further
        and not _GOES_THROUGH.search(further["first"])
        and (before := text[: further.start()].strip())
        and not stem.is_repeated_by(further["first"], 0.5)
    ):
        return own_turn(before, stem)[0], ""
    asked = list(_ASKED.finditer(text)) if "\n" in text else [first] if (first := _ASKED.match(text)) else []
    if not asked:
        return text, ""
    before = text[: asked[0].start()].strip()
    parts = [
        text[a.start() : b.start() if b else None] for a, b in zip(asked, [*asked[1:], None], strict=True)
    ]
    share = 0.9 if before else 0.5
    own = [
        part
        for part, a in zip(parts, asked, strict=True)
        if stem.text and stem.is_repeated_by(a["first"], share)
    ]
    if before:
        return (text, "") if own else (before, text)
    if len(parts) == 1:
        return text, ""
    return (own[0], "") if len(own) == 1 else ("", "")


_THINKS_AGAIN = beginning_with(
    r"\s,。;!?.…—\-",
    r"[\n,。;!?.…—-]\s*(?:(?:哦|噢|啊|嗯|呃|唉|哎|但是?|不过)?,?(?:等等|等一下|且慢|慢着|不对|不(?=[,。!…])|错了|更正|再(?:仔细)?想|再(?:仔细)?看|重新[想看考审]"
    r"|抱歉|对不起|刚才?[^,。]{0,4}(?:错|不对)|[说写搞看弄想]错了|wait\b|actually\b|correction\b|no(?=[,.!])|sorry\b|on second thought"
    r"|scratch that|hold on\b|let me (?:re|correct))[\s,:。!…—-]*)+",
    re.IGNORECASE,
)
"""What shows that a reply thinks again, at the beginning of a clause."""


def thought_again(text: str) -> tuple[str, str]:
    """Return what *text* says before and after it last thinks again.

    The first is empty where it does not.
    """
    again = list(_THINKS_AGAIN.finditer(text))
    return (text[: again[-1].start()], text[again[-1].end() :]) if again else ("", text)


def withdrawn_at(text: str) -> int:
    """Return where *text* has last taken back what it said, or -1."""
    return max((match.end() for match in _WITHDRAWN.finditer(text)), default=-1)
