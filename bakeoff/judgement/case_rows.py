"""A row of a file of cases, read and checked; why a line is none."""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from bakeoff.foundation.files import repeated_name

MOST_ID_CHARS = 200
ROLES = ("system", "user", "assistant")
SPEAKERS = {"求助者": "user", "来访者": "user", "支持者": "assistant", "咨询师": "assistant"}
CRISIS_WORDS = re.compile(
    r"自杀|自残|自伤|轻生|结束生命|不想活|活着没意思|割腕|跳楼|suicid|self-harm|kill myself", re.I
)


class CaseFields(TypedDict):
    """What a row says of a case."""

    id: str
    title: str
    topic: str
    crisis: bool
    messages: tuple[dict[str, str], ...]
    what_a_good_reply_does: tuple[str, ...]


@dataclass(frozen=True)
class BadLine:
    """A line that holds no case, and why, in both languages."""

    number: int
    english: str
    chinese: str

    @classmethod
    def unlike_a_case(cls, number: int, english: str, chinese: str) -> BadLine:
        """A line in which *english* is wrong."""
        return cls(
            number,
            f"not a case ({english}); wanted id and messages, or id and dialog",
            f"不是个案（{chinese}）；每行需要 id 和 messages，或 id 和 dialog",
        )

    @classmethod
    def repeated(cls, number: int, case_id: str, first: int) -> BadLine:
        """A line whose id stands in line *first* already."""
        return cls(
            number,
            f"case ids used twice: {case_id}, first in line {first}; give each case its own",
            f"编号 {case_id} 与第 {first} 行重复，请为每个个案使用不同的编号",
        )


class NotACase(ValueError):
    """What is wrong with a row, in both languages."""

    def __init__(self, english: str, chinese: str) -> None:
        super().__init__(english)
        self.chinese = chinese


def decoded(raw: bytes, name: str) -> str | BadLine:
    """Return the text of a file without a byte order mark.

    Windows editors put one first. A file in another encoding is told as such, at the line where that shows.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return BadLine(1, "UTF-16; save the file as UTF-8", "文件编码是 UTF-16，请另存为 UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return BadLine(
            raw.count(b"\n", 0, error.start) + 1,
            f"not UTF-8 (byte {raw[error.start]:#04x} at position {error.start}); save the file as UTF-8 (from GBK: "
            f"iconv -f gb18030 -t utf-8 {Path(name).name})",
            "文件编码不是 UTF-8（可能是 GBK），请另存为 UTF-8",
        )


def not_by_line(text: str) -> BadLine | None:
    """Return the complaint on a file that is one JSON value, not one a line.

    Its single lines would each be complained of, and none of these would help.
    """
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, dict) or (first is value and "\n" not in text.strip()):
        return None
    return BadLine(
        1,
        "the file is a single JSON value; write each case in one line of its own, not a list",
        "整个文件是一个 JSON 值；请把每个个案写成一行，外面不加列表",
    )


def fields_of(line: str, number: int) -> CaseFields | BadLine:
    """Return what *line* says of a case, or why it holds none."""
    try:
        return _fields(json.loads(line, object_pairs_hook=without_repeats))
    except NotACase as error:
        return BadLine.unlike_a_case(number, str(error), error.chinese)
    except KeyError as error:
        return BadLine.unlike_a_case(
            number, f"{error.args[0]!r} is missing or unknown", f"缺少字段 {error.args[0]}"
        )
    except RecursionError as error:
        return BadLine.unlike_a_case(number, str(error), "嵌套太深")
    except ValueError as error:
        return BadLine.unlike_a_case(number, str(error), "不是有效的 JSON")


def without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the object of *pairs*, each key once."""
    if (name := repeated_name(pairs)) is not None:
        repeated = name[:40]
        raise NotACase(f"key {repeated!r} stands twice", f"字段 {repeated} 出现了两次")
    return dict(pairs)


def _fields(row: object) -> CaseFields:
    if not isinstance(row, dict):
        raise NotACase(f"a row must be an object, not {_kind(row)}", "每行应为一个 JSON 对象")
    messages = _messages(row)
    crisis = row.get("crisis")
    if crisis is None:
        crisis = any(CRISIS_WORDS.search(each["content"]) for each in messages if each["role"] == "user")
    if not isinstance(crisis, bool):
        raise NotACase(f"crisis must be true or false, not {crisis!r}", "crisis 应为 true 或 false")
    name = _label(row["id"], "id")
    if not name:
        raise NotACase("id is empty", "id 为空")
    if len(name) > MOST_ID_CHARS or not name.isprintable():
        raise NotACase(
            f"id must be one line of at most {MOST_ID_CHARS} characters",
            f"id 应为一行，最多 {MOST_ID_CHARS} 个字符",
        )
    field = "what_a_good_reply_does"
    points = row.get(field)
    points = [] if points is None else [points] if isinstance(points, str) else _list(points, field)
    return {
        "id": name,
        "title": _label(row.get("title"), "title") or name,
        "topic": _label(row.get("topic"), "topic"),
        "crisis": crisis,
        "messages": tuple(messages),
        "what_a_good_reply_does": tuple(text_of(point, field) for point in points if point != ""),
    }


def _messages(row: dict[str, object]) -> list[dict[str, str]]:
    """The dialogue of *row*, up to the client's last turn.

    That of CPsyCounE goes on after it.
    """
    if "dialog" in row:
        messages = [_turn(text_of(turn, "dialog")) for turn in _list(row["dialog"], "dialog")]
        while messages and messages[-1]["role"] != "user":
            messages.pop()
    else:
        messages = [_message(each) for each in _list(row["messages"], "messages")]
    if not messages or messages[-1]["role"] != "user":
        raise NotACase("the dialogue must end on the user", "对话应以来访者（user）的话结尾")
    return messages


def _message(raw: object) -> dict[str, str]:
    if not isinstance(raw, dict):
        raise NotACase(
            f"a message must be an object with role and content, not {_kind(raw)}",
            "messages 中每一项应为含 role 和 content 的对象",
        )
    role = raw["role"]
    if role not in ROLES:
        raise NotACase(
            f"role must be {', '.join(ROLES)}, not {str(role)[:40]!r}", f"role 应为 {'、'.join(ROLES)} 之一"
        )
    return {"role": role, "content": _content(raw["content"])}


def _content(raw: object) -> str:
    """Return a message's text.

    Parts of text are joined as the chat interface of OpenAI has them.
    """
    if not isinstance(raw, list):
        return text_of(raw, "content")
    texts = []
    for part in raw:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type", "text") in ("text", "input_text") and "text" in part:
            if not isinstance(part["text"], str):
                raise NotACase(
                    f"a part's text must be text, not {_kind(part['text'])}", "content 各部分的 text 应为文本"
                )
            texts.append(part["text"])
        else:
            kind = part.get("type") if isinstance(part, dict) else _kind(part)
            raise NotACase(f"a part of content must be text, not {str(kind)[:40]}", "content 只能是文本")
    return text_of("".join(texts), "content")


def text_of(raw: object, name: str) -> str:
    """Return *raw* where it is text that somebody can read.

    Raises:
        NotACase: it is no text, holds half a character, or nothing visible.
    """
    if not isinstance(raw, str):
        raise NotACase(f"{name} must be text, not {_kind(raw)}", f"{name} 应为文本")
    if re.search("[\ud800-\udfff]", raw):
        raise NotACase(f"{name} holds half a character (a lone surrogate)", f"{name} 含有不完整的字符")
    if all(unicodedata.category(letter)[0] in "ZC" for letter in raw):
        raise NotACase(f"{name} is empty", f"{name} 为空")
    return raw


def _label(raw: object, name: str) -> str:
    """A short text, for which a whole number will do; "" for none."""
    if raw is None or raw == "":
        return ""
    if isinstance(raw, int) and not isinstance(raw, bool):
        return str(raw)
    return text_of(raw, name)


def _list(raw: object, name: str) -> list[object]:
    if not isinstance(raw, list):
        raise NotACase(f"{name} must be a list, not {_kind(raw)}", f"{name} 应为列表")
    return raw


def _kind(raw: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(raw), "a number")


def _turn(turn: str) -> dict[str, str]:
    speaker, content = [*re.split("[：:]", turn, maxsplit=1), ""][:2]
    if speaker.strip() not in SPEAKERS:
        raise NotACase(
            f"a turn must begin with one of {'：, '.join(SPEAKERS)}：, not {turn[:20]!r}",
            f"dialog 的每一项应以 {'：、'.join(SPEAKERS)}： 开头",
        )
    return {"role": SPEAKERS[speaker.strip()], "content": text_of(content.strip(), "a turn")}
