"""Takes the layout off a reply: tags, struck words, fences, run-on turns.

What a page would show is what was said: text that is struck out was not, and a tag is no word.
"""

from __future__ import annotations

import re

_STRUCK = re.compile(r"~~[^~\n]{1,200}~~|<(del|s|strike)>.{0,200}?</\1>", re.IGNORECASE | re.DOTALL)
_CALLED_STRUCK = re.compile(r"(?<![A-Za-z0-9])[A-J][ ]?[(（](?:已?划掉|作废)[)）]")
"""A letter that plain text calls struck out."""
_FENCE = re.compile(r"^[ \t]*```[\w+-]*[ \t]*$", re.MULTILINE)
_ANSWER_TAG = re.compile(
    r"<(?P<name>[\w-]*(?:answer|ans|choice|option|result|答案|选项)[\w-]*)(?: [^<>\n]{0,80})?>(?P<said>.{0,2000}?)</(?P=name)>",
    re.IGNORECASE | re.DOTALL,
)
_DENYING = re.compile(r"wrong|incorrect|other|bad|reject|错|误", re.IGNORECASE)
_LINE_TAG = re.compile(r"</?(?:p|br|div|li|ul|ol|tr|h\d|table)(?: [^<>\n]{0,80})?\s*/?>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][\w-]+(?: [^<>\n]{0,80})?\s*/?>|<([biupq])>(?=[^<>]{0,400}</\1>)|</[biupq]>")
_LATEX_WORD = re.compile(r"\\(?:text|mathrm|textrm)\s*\{\s*(and|or|和|与|或)\s*\}")
_COLUMNS = re.compile(
    r"^[ \t]*\|?(?P<labels>[ \t]*[*_]*[A-J][*_]*[ \t]*(?:\|[ \t]*[*_]*[A-J][*_]*[ \t]*)+)\|?[ \t]*\n[ \t|:-]+\n"
    r"[ \t]*\|?(?P<marks>[ \t]*[^|\n]{1,8}(?:\|[^|\n]{1,8})+)\|?[ \t]*$",
    re.MULTILINE,
)
_PAIRS = re.compile(
    r"(?<![A-Za-z0-9])[A-J][\"']?\s*[:=：]\s*[01](?![\d.%])(?:[\s,;，；]+[\"']?[A-J][\"']?\s*[:=：]\s*[01](?![\d.%]))+"
)
_SIGNS = "✓✔✅☑√✗✘❌×✖"
_SIGN_FIRST = re.compile(
    rf"^(?P<label>[ \t>*_+-]*(?:选项[ ]?)?[A-J][*_]*(?:[.、:：)）|-]+[ \t]*|[ \t]+))(?P<sign>[{_SIGNS}])[\ufe0f:：|]*[ \t]*"
    rf"(?P<words>[^\n{_SIGNS}]*[^\s{_SIGNS}])[ \t]*$",
    re.MULTILINE,
)
"""A line on one option whose sign stands before its words."""
_QUOTED_LINE = re.compile(r"^[ \t]*>+[ \t]?", re.MULTILINE)
_STRONG = re.compile(r"(\*\*|__)(?=[^\s*_])([^*_\n]*[^\s*_])\1")
_POLITE = re.compile(
    r"\A(?:好的|好|当然可以|当然|可以|没问题|[你您]好|嗯+|sure|certainly|of course|okay|ok|hello|hi)(?:[,，!！。.~～][^\n,，。.!！A-Za-z]{0,16})?[。.!！:：~～]?[ \t]*\n\s*(?=\S)",
    re.IGNORECASE,
)
"""A first line that greets or agrees and says no more."""
_HEADING = re.compile(
    r"^[ \t]*#{1,6}[ \t]*[*_]*(?:(?:最终|正确|参考)?答案|回答|结论|(?:(?:final|correct) )?answer|conclusion)[*_]*[ \t]*[:：]?[*_]*[ \t]*\n",
    re.IGNORECASE | re.MULTILINE,
)
_NEXT_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]*\S", re.MULTILINE)
_NEXT_TURN = re.compile(
    r"(?<=\S)\s*\n[ \t*_#]*(?:human|user|client|用户|人类|来访者)[ \t*_]*[:：]", re.IGNORECASE
)


_SPACED_ITEM = re.compile(r"(?<![A-Za-z0-9])([A-J]) (?=选?项)")


_IN_BRACKETS = re.compile(r"[(（](?:选项 ?|option )?[A-J][)）]")
_GLOSSED_ITEM = r"[^\s、,，。;；:：()（）\n][^、,，。;；:：()（）\n]{1,40}[(（](?:选项 ?|option )?[A-J][)）]"
_GLOSSED_ITEMS = re.compile(
    rf"(?<=[:：括含])[ \t]*{_GLOSSED_ITEM}(?:(?:[、,，;；]|和|与|及|以及|,? and )[ ]?{_GLOSSED_ITEM})+(?=[。.;；!]|$)",
    re.IGNORECASE | re.MULTILINE,
)
"""A list whose items are told in other words than the options', each with its letter behind it."""


def _without_glosses(items: re.Match[str]) -> str:
    return "、".join(item[0][-2] for item in _IN_BRACKETS.finditer(items[0]))


def laid_out(text: str) -> str:
    """Return *text* as a page would show it, up to a run-on turn of the user."""
    # each pattern is asked only where a sign stands that it cannot do without
    if "\n" in text and (turn := _NEXT_TURN.search(text)):
        text = text[: turn.start()]
    text = _STRUCK.sub(" ", text) if "~~" in text or "<" in text else text
    text = _CALLED_STRUCK.sub(" ", text) if "划掉" in text or "作废" in text else text
    text = _FENCE.sub("", text) if "```" in text else text
    if all(line.lstrip().startswith(">") for line in text.split("\n") if line.strip()):
        text = _QUOTED_LINE.sub("", text)
    text = _STRONG.sub(r"\2", text) if "**" in text or "__" in text else text
    text = text.lstrip()
    text = _POLITE.sub("", text) if "\n" in text else text
    if "<" in text:
        text = _ANSWER_TAG.sub(
            lambda tag: tag[0] if _DENYING.search(tag["name"]) else f"\n答案：{tag['said'].strip()}\n", text
        )
        text = _TAG.sub("", _LINE_TAG.sub("\n", text))
    text = (_LATEX_WORD.sub(r" \1 ", text) if "\\" in text else text).strip()
    text = _GLOSSED_ITEMS.sub(_without_glosses, text) if _IN_BRACKETS.search(text) else text
    text = _SPACED_ITEM.sub(r"\1", text) if "项" in text else text
    text = _COLUMNS.sub(_by_row, text) if "|" in text else text
    if any(sign in text for sign in _SIGNS) and len(_SIGN_FIRST.findall(text)) > 1:
        text = _SIGN_FIRST.sub(r"\g<label>\g<words> \g<sign>", text)
    return _PAIRS.sub(_ticked, text) if "0" in text or "1" in text else text


def _by_row(table: re.Match[str]) -> str:
    """Return a table of one column an option as one line an option."""
    labels, marks = (re.split(r"\s*\|\s*", table[name].strip(" \t|")) for name in ("labels", "marks"))
    if len(labels) != len(marks):
        return table[0]
    return "\n" + "\n".join(f"{label} {mark}" for label, mark in zip(labels, marks, strict=True)) + "\n"


def _ticked(pairs: re.Match[str]) -> str:
    """Return ``A:0 B:1`` with ticks in the place of the numbers."""
    return re.sub(r"[\"']?\s*[:=：]\s*([01])", lambda value: " ✓" if value[1] == "1" else " ✗", pairs[0])


def below_heading(text: str) -> str:
    """Return what stands below the last heading such as ``### 答案``."""
    headings = list(_HEADING.finditer(text)) if "#" in text else []
    if not headings:
        return ""
    section = text[headings[-1].end() :]
    following = _NEXT_HEADING.search(section)
    return section[: following.start() if following else None].strip()
