"""Files are whole or absent, and a JSON line ends at a line feed only."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.foundation.errors import DataError
from bakeoff.foundation.files import (
    append_line,
    numbered_lines,
    read_rows,
    read_text,
    readable_rows,
    replacing,
    write_json,
    write_rows,
)

ROOT = Path(__file__).parents[1]
SEPARATORS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\r\n"


@given(st.lists(st.dictionaries(st.text(max_size=3), st.text(alphabet="甲a" + SEPARATORS), max_size=3)))
def test_rows_come_back_whatever_line_separators_their_texts_hold(rows: list[dict[str, str]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    assert [json.loads(line) for _, line in numbered_lines(text)] == rows


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_rows_survive_their_file(separator: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    rows = [{"reply": f"答案：A{separator}理由"}, {"reply": "B"}]
    write_rows(path, rows)
    assert read_rows(path) == readable_rows(path) == rows
    append_line(path, rows[0])
    assert read_rows(path) == [*rows, rows[0]]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError), replacing(path) as draft:
        draft.write_bytes(b"half" + None)  # type: ignore[operator]
    with pytest.raises(TypeError):
        write_rows(path, [{"a": 2}, {1, 2}, {("no", "key"): 1}])
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_writers_in_several_threads_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    threads = [Thread(target=write_json, args=(path, [n] * 1000)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(json.loads(path.read_text()))) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_row_after_a_torn_line_begins_on_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"b": ')
    append_line(path, {"c": 3})
    assert readable_rows(path) == [{"a": 1}, {"c": 3}]
    with pytest.raises(DataError, match=r"a\.jsonl:2: not JSON"):
        read_rows(path)
    path.write_text('{"a": 1}\n' + "[" * 100_000)
    assert readable_rows(path) == [{"a": 1}]
    with pytest.raises(DataError, match=r"a\.jsonl:2: not JSON"):
        read_rows(path)


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "big5"])
def test_another_encoding_is_named_with_file_offset_and_remedy(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "exam.jsonl"
    path.write_bytes('{"q": "'.encode(encoding) + "問題".encode(encoding))
    with pytest.raises(DataError, match=r"exam\.jsonl:\d+: not UTF-8.*: byte 0x.. at \d+; save it as UTF-8"):
        read_text(path)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n', encoding="utf-8-sig")
    assert read_rows(path) == [{"a": 1}]


def test_no_other_module_replaces_a_file() -> None:
    for path in (ROOT / "bakeoff").rglob("*.py"):
        # hub_sites.py moves what it fetched into the hub's own cache
        if path.name in ("files.py", "raters.py", "hub_sites.py") or path.parent.name in (
            "data",
            "plugins",
            "environments",
            "swift",
        ):
            continue
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "replace"
            and len(node.args) == 1
            and not node.keywords
        ]
        assert not calls, f"{path}: writes through bakeoff.foundation.files.replacing instead"
