"""Takes what a reply repeats of its question out of it.

A model that writes the options down again has chosen none of them, and neither has a sentence that asks to choose.
"""

from __future__ import annotations

import re
from functools import lru_cache

from bakeoff.scoring.beginnings import beginning_with

_LABELS = "ABCDEFGHIJ"
_ASKS_TO_CHOOSE = beginning_with(
    "cips请",
    r"(?:请(?:你|您)?(?:从[^。!\n]{1,40})?(?:仔细)?(?:选择|选出|选|找出|挑选?|判断|指出)(?=[^。!\n]{0,8}?(?:所有|全部|一个|一项|最|正确的?(?:答案|选项)|合适的|下列|以下|哪))"
    r"|请从[^。!\n]{1,40}选"
    r"|\b(?:please )?(?:select|choose|pick|identify) (?:all (?:that|the)|one (?:of|from|option)|any (?:of|that)|the (?:best|correct|right|most \w+) (?:answer|option|choice)s? (?:from|of|among|below))\b)"
    r"[^。!\n]*[。!]?",
    re.IGNORECASE,
)
_DESCRIBES = re.compile(
    r"(?:^|(?<=[。;!?\n]))[^。;!?\n]{0,120}?(?:分别|依次)(?:是|为|讲|说|对应|代表|描述)[^。;!?\n]*[。;]?",
    re.MULTILINE,
)
_INTRODUCES = re.compile(
    r"(?:答案|正确(?:选项|的)?|应?选(?!项)择?|\banswers?\b|\bcorrect\b|\bchoose\b|\bselect\b)[^。.!?\n]{0,10}$",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\?|_{2,}|\(\s*\)|下[列面]|以下|哪|选项|题目|请|which|following|options?\b|choices?\b|question",
    re.IGNORECASE,
)


def without_question(text: str, options: tuple[str, ...]) -> str:
    """Return *text* (in plain form) without the options written down again."""
    text = _ASKS_TO_CHOOSE.sub("", text)
    text = _DESCRIBES.sub(_unless_answer, text) if "分别" in text or "依次" in text else text
    text = text.strip()
    if len(options) < 2 or not all(options) or len(options) > len(_LABELS):
        return text
    if any(option not in text for option in options):  # before a pattern is made for this question alone
        return text
    written_again = _block_of(options).search(text)
    if written_again is None or _INTRODUCES.search(text[: written_again.start()].rstrip(" \t\n:*_`")):
        return text
    before, after = text[: written_again.start()].strip(), text[written_again.end() :].strip(" \t\n.。,;、|")
    if before and _ASKS.search(before.rsplit("\n", 1)[-1]):
        before = ""
    return f"{before}\n{after}".strip()


@lru_cache(maxsize=256)
def _block_of(options: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of all *options* written down one after the other."""
    lines = [
        rf"[*_`(\[]*{letter}[*_`)\]]*[ \t]*[.、:)]?[ \t]*[*_`\"'“”]*{re.escape(option)}[*_`\"'“”]*"
        for letter, option in zip(_LABELS, options, strict=False)
    ]
    return re.compile(
        r"(?:[-*+•][ \t]*)?" + r"[\s.。,;、|]*(?:[-*+•][ \t]*)?".join(lines) + r"[ \t]*(?=[\s.。,;、|]|$)"
    )


def _unless_answer(sentence: re.Match[str]) -> str:
    return sentence[0] if re.search(r"答案|正确|应选|我选", sentence[0]) else ""
