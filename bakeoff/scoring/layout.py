"""Takes the layout off a reply: tags, struck words, fences, run-on turns.

What a page would show is what was said: text that is struck out was not, and a tag is no word.
"""

from __future__ import annotations

import re

_STRUCK = re.compile(r"~~[^~\n]{1,200}~~|<(del|s|strike)>.{0,200}?</\1>", re.IGNORECASE | re.DOTALL)
_FENCE = re.compile(r"^[ \t]*```[\w+-]*[ \t]*$", re.MULTILINE)
_ANSWER_TAG = re.compile(
    r"<(?P<name>[\w-]*(?:answer|ans|choice|option|result|答案|选项)[\w-]*)(?: [^<>\n]{0,80})?>(?P<said>.{0,2000}?)</(?P=name)>",
    re.IGNORECASE | re.DOTALL,
)
_DENYING = re.compile(r"wrong|incorrect|other|bad|reject|错|误", re.IGNORECASE)
_LINE_TAG = re.compile(r"</?(?:p|br|div|li|ul|ol|tr|h\d|table)(?: [^<>\n]{0,80})?\s*/?>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][\w-]+(?: [^<>\n]{0,80})?\s*/?>|<([biupq])>(?=[^<>]{0,400}</\1>)|</[biupq]>")
_NEXT_TURN = re.compile(
    r"(?<=\S)\s*\n[ \t*_#]*(?:human|user|client|用户|人类|来访者)[ \t*_]*[:：]", re.IGNORECASE
)


def laid_out(text: str) -> str:
    """Return *text* as a page would show it, up to a run-on turn of the user."""
    if turn := _NEXT_TURN.search(text):
        text = text[: turn.start()]
    text = _FENCE.sub("", _STRUCK.sub(" ", text))
    text = _ANSWER_TAG.sub(
        lambda tag: tag[0] if _DENYING.search(tag["name"]) else f"\n答案：{tag['said'].strip()}\n", text
    )
    return _TAG.sub("", _LINE_TAG.sub("\n", text)).strip()
