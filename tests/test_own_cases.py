"""Files of own cases, as editors, scripts and browsers really write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bakeoff.foundation.errors import DataError
from bakeoff.judgement.replies import load_cases, read_cases

CLIENT = {"role": "user", "content": "我睡不好"}
SYSTEM = {"role": "system", "content": "你是咨询师"}


def line(messages: Any = (CLIENT,), **more: Any) -> bytes:
    return json.dumps({"id": "a", "messages": messages, **more}, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("raw", "roles"),
    [
        (b"\xef\xbb\xbf" + line() + b"\r\n\r\n", ["user"]),
        (line([SYSTEM, CLIENT]), ["system", "user"]),
        (line([{"role": "user", "content": [{"type": "text", "text": "我"}, "睡不好"]}]), ["user"]),
        (line([{**CLIENT, "content": "一\u2028二\x85三"}]), ["user"]),
        (
            '{"id": "a", "dialog": ["求助者:早", "支持者：你好", "来访者： 睡不好", "支持者：嗯"]}'.encode(),
            None,
        ),
    ],
)
def test_what_is_a_case_is_read(raw: bytes, roles: list[str] | None) -> None:
    (case,) = read_cases(raw, "own.jsonl")
    assert [message["role"] for message in case.messages] == (roles or ["user", "assistant", "user"])
    assert case.id == "a"


@pytest.mark.parametrize(
    ("raw", "number", "word"),
    [
        (line() + b"\n" + line().decode().encode("gbk"), 2, "gb18030"),
        (line().decode().encode("utf-16"), 1, "UTF-16"),
        (line([{"role": "user", "content": None}]), 1, "content must be text, not null"),
        (line([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]), 1, "not image_url"),
        (line([{"role": "user", "content": "\u200b\ufeff\n"}]), 1, "content is empty"),
        (b'{"id": "a", "messages": [{"role": "user", '
         b'"content": "\\ud83d"}]}', 1, "half a character"),
        (line([CLIENT, SYSTEM]), 1, "end on the user"),
        (line([SYSTEM]), 1, "end on the user"),
        (line([{"role": "tool", "content": "x"}, CLIENT]), 1, "role must be"),
        (line() + b"\n\n" + line(), 3, "used twice: a, first in line 1"),
        (line(id=1) + b"\n" + line(id="1 "), 2, "used twice"),
        (line(id="e\u0301") + b"\n" + line(id="\u00e9"), 2, "used twice"),
        (line(id="a\nb"), 1, "one line"),
        (line(id="a" * 201), 1, "one line"),
        (line(id=True), 1, "id must be text"),
        (b'{"id": "a", "id": "b", "messages": []}', 1, "'id' stands twice"),
        (line(crisis="no"), 1, "true or false"),
        (b"[" + line() + b"]", 1, "not a list"),
        (line() + b",\n", 1, "Extra data"),
        (b'{"id": "a", "messages": ' + b"[" * 100_000, 1, "not a case"),
    ],
)  # fmt: skip
def test_what_is_none_is_named_with_file_and_line(raw: bytes, number: int, word: str, tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_bytes(raw)
    with pytest.raises(DataError) as refused:
        load_cases(tmp_path / "own.jsonl")
    assert str(refused.value).startswith(f"{tmp_path / 'own.jsonl'}:{number}: ")
    assert word in str(refused.value)


@pytest.mark.parametrize("raw", [b"", b"\xef\xbb\xbf", b"\n \n\r\n"])
def test_a_file_without_cases_is_refused(raw: bytes) -> None:
    with pytest.raises(DataError, match=r"own\.jsonl: holds no case"):
        read_cases(raw, "own.jsonl")
