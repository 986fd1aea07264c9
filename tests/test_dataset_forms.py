"""Training files from the field: what the doctor counts is what ms-swift keeps, and no row left is said in words."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bakeoff.foundation.errors import DataError
from bakeoff.training_data.health import check_dataset, estimated_tokens, why_none_left

TALK = {
    "messages": [{"role": "user", "content": "我睡不着"}, {"role": "assistant", "content": "听起来很辛苦"}]
}
PAIRS = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
PLAIN = {"query": "q", "response": "a"}


def turns(*spoken: tuple[str, object], **columns: object) -> dict[str, object]:
    return {"messages": [{"role": role, "content": text} for role, text in spoken], **columns}


def parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


CALLS = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "f"}}]},
    {"role": "tool", "content": "r"},
    {"role": "assistant", "content": "a"},
]
CALL = {"from": "function_call", "value": "{}"}
PICTURE = {"type": "image_url", "image_url": {"url": "/nowhere/x.png"}}
KEPT: tuple[tuple[str, list[object], int], ...] = (
    ("messages_among_questions", [TALK, {"question": "q", "answer": "a"}, TALK], 2),
    ("conversations_among_messages", [{"conversations": PAIRS}, TALK], 1),
    ("capitals", [{"Question": "q", "Answer": "a"}] * 2, 2),
    ("system_in_the_middle", [TALK, turns(("user", "q"), ("system", "s"), ("assistant", "a"))], 1),
    ("two_systems", [TALK, turns(("system", "s"), ("system", "t"), ("user", "q"), ("assistant", "a"))], 1),
    ("system_alone", [TALK, turns(("system", "s"))], 1),
    ("begins_with_the_assistant", [TALK, turns(("assistant", "hi"), ("user", "q"), ("assistant", "a"))], 2),
    ("ends_on_the_user", [TALK, turns(("user", "q"), ("assistant", "a"), ("user", "r"))], 2),
    ("empty_turns", [turns(("user", ""), ("assistant", "a")), turns(("user", "q"), ("assistant", ""))], 2),
    ("white_space", [turns(("user", "   "), ("assistant", "\n"))] * 2, 2),
    ("two_users", [TALK, turns(("user", "q"), ("user", "r"), ("assistant", "a"))], 2),
    ("number", [TALK, turns(("user", 3), ("assistant", "a"))], 1),
    ("unknown_roles", [TALK, turns(("therapist", "q"), ("client", "a"))], 1),
    ("typed_parts", [turns(("user", parts("q")), ("assistant", parts("a")))] * 2, 2),
    ("mapping_as_content", [turns(("user", {"text": "q"}), ("assistant", "a"))] * 2, 0),
    ("turns_as_a_prompt", [{"prompt": TALK["messages"][:1], "completion": TALK["messages"][1:]}] * 2, 0),
    ("tool_calls", [{"messages": CALLS}, TALK], 2),
    ("line_separators", [turns(("user", "a\u2028b\u2029c\x85d"), ("assistant", "a")), TALK], 2),
    ("a_text_of_turns", [{"conversations": json.dumps(PAIRS)}] * 2, 2),
    ("half_a_pair", [{"conversation": [{"human": "q", "assistant": "a"}, {"human": "r"}]}], 0),
    ("nested", [{"conversation": TALK}] * 2, 0),
    ("history", [{**PLAIN, "history": [["q", "a"]]}, {**PLAIN, "history": None}], 2),
    ("missing_image", [{**TALK, "images": ["nowhere.png"]}, {**TALK, "images": []}], 1),
    ("rejected", [{**TALK, "rejected_response": reply} for reply in ("n", None, "听起来很辛苦")], 1),
    ("null_messages", [{"messages": None}, TALK], 1),
    ("no_messages", [{"messages": []}, TALK], 1),
    ("text_alone", [{"text": "t"}] * 2, 2),
    ("history_without_pairs", [{**PLAIN, "history": [["q"]]}, PLAIN], 1),
    ("image_without_a_name", [{**TALK, "images": ""}, {**TALK, "images": None}], 1),
    ("tool_first", [turns(("tool", "r"), ("assistant", "a")), TALK], 1),
    ("empty_list_as_answer", [{"query": "q", "response": []}, {"query": "q", "response": ["c"]}], 1),
    ("one_name_by_case", [{"query": "q", "Query": "Q", "response": "a"}] * 2, 0),
    ("two_names_by_case", [{"question": "q", "Question": "Q", "answer": "a"}] * 2, 2),
    ("tools_no_json", [{**TALK, "tools": "not json"}, {**TALK, "tools": "[]"}], 1),
    ("tools_without_text", [{**TALK, "tools": ""}, {**TALK, "tools": "[]"}], 1),
    ("a_number_as_system", [{**PLAIN, "system": 3}, {**PLAIN, "system": None}], 1),
    ("a_list_as_system", [{**PLAIN, "system": ["s"]}], 0),
    ("a_call_without_name", [{"conversations": [PAIRS[0], CALL, PAIRS[1]]}], 0),
    ("a_missing_part", [turns(("user", [PICTURE, *parts("q")]), ("assistant", "a"))], 0),
    ("turns_as_python_writes_them", [{"messages": " " + str(TALK["messages"])}], 1),
    ("capital_roles", [turns(("User", "q"), ("Assistant", "a")), TALK], 1),
    (
        "from_and_content",
        [{"conversations": [{"from": "human", "content": "q"}, {"from": "gpt", "content": "a"}]}],
        1,
    ),
)
"""Rows of a file, and how many of them ms-swift 4.6.0 keeps."""


@pytest.mark.parametrize(("rows", "kept"), [case[1:] for case in KEPT], ids=[case[0] for case in KEPT])
def test_the_doctor_counts_the_rows_that_ms_swift_keeps(
    tmp_path: Path, rows: list[object], kept: int
) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    health = check_dataset(path)
    assert (health.rows, health.kept) == (len(rows), kept)


FILES: tuple[tuple[str, str, int], ...] = (
    ("mark.jsonl", "\ufeff" + json.dumps(TALK) + "\n", 1),
    ("blank.jsonl", json.dumps(TALK) + "\n\n  \n" + json.dumps(TALK), 2),
    ("returns.jsonl", json.dumps(TALK) + "\r\n" + json.dumps(TALK) + "\r\n", 2),
    ("indented.json", json.dumps([TALK, TALK], indent=2), 2),
    ("one.json", json.dumps(TALK, indent=2), 1),
    ("wrapped.json", json.dumps({"data": [TALK]}), 0),
    ("quoted.csv", 'query,response\n"a\nb",c\nd,\n', 2),
    ("lines.txt", "one\n\ntwo\n", 3),
    ("numbers.csv", "query,response\n1,2\n3,4.5\n", 0),
    ("short.csv", "query,response\nq\nx,y\n", 2),
    ("returns_alone.jsonl", json.dumps(TALK) + "\r" + json.dumps(TALK) + "\r", 2),
    ("truths.csv", "query,response\nq,True\nr,False\n", 0),
    ("powers.csv", "query,response\nq,1e5\nr,2e3\n", 0),
    ("spread.jsonl", json.dumps(PLAIN, indent=1) + "\n" + json.dumps(PLAIN, indent=1), 2),
    ("texts.json", '["a", "b"]', 2),
    ("glued.jsonl", json.dumps(PLAIN) * 2 + "\n", 2),
)
"""Files, and how many rows ms-swift 4.6.0 keeps of each."""


@pytest.mark.parametrize(("name", "text", "kept"), FILES, ids=[file[0] for file in FILES])
def test_each_kind_of_file_holds_the_rows_that_ms_swift_reads(
    tmp_path: Path, name: str, text: str, kept: int
) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert check_dataset(tmp_path / name).kept == kept


COMPARED = (
    *(
        "messages_among_questions",
        "conversations_among_messages",
        "system_in_the_middle",
        "number",
        "tool_calls",
    ),
    *(
        "half_a_pair",
        "missing_image",
        "rejected",
        "history_without_pairs",
        "image_without_a_name",
        "tool_first",
    ),
    *("empty_list_as_answer", "typed_parts", "mark.jsonl", "one.json", "quoted.csv", "lines.txt"),
    *("tools_without_text", "a_number_as_system", "a_call_without_name", "a_missing_part", "spread.jsonl"),
    *("turns_as_python_writes_them", "truths.csv", "texts.json"),
    *("tools_no_json", "numbers.csv", "short.csv", "glued.jsonl"),
)
"""What the tables above say of these is held against the installed ms-swift; all of them would take a minute."""


def test_the_installed_ms_swift_keeps_the_rows_that_the_tables_say(tmp_path: Path) -> None:
    expected = {name: kept for name, _, kept in (*KEPT, *FILES) if name in COMPARED}
    for name, rows, _ in KEPT:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / name).with_suffix(".jsonl").write_text(text, encoding="utf-8")
    for name, text, _ in FILES:
        (tmp_path / name).write_bytes(text.encode())
    paths = [
        str(tmp_path / name if "." in name else (tmp_path / name).with_suffix(".jsonl")) for name in expected
    ]
    program = Path(__file__).parent / "fakes" / "ms_swift_rows.py"
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "HF_HOME": str(tmp_path / "hf"),
    }
    ended = subprocess.run(
        [sys.executable, program, str(tmp_path / "tokenizer"), *paths],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    kept = dict(zip(expected, json.loads(ended.stdout.splitlines()[-1]), strict=True))
    assert len(kept) == len(COMPARED)
    assert kept == expected


def test_files_that_ms_swift_takes_for_a_hub_id_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("query\tresponse\nq\ta\n", encoding="utf-8")
    for name in ("a.ndjson", "a.JSONL"):
        (tmp_path / name).write_text(json.dumps(TALK) + "\n", encoding="utf-8")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(TALK).encode()))
    for path in tmp_path.iterdir():
        with pytest.raises(DataError):
            check_dataset(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("marked.json", b"\xef\xbb\xbf[" + json.dumps(PLAIN).encode() + b"]"),
        ("indented.jsonl", b"\n  [" + json.dumps(PLAIN).encode() + b"]"),
        ("feed.jsonl", json.dumps(PLAIN).encode() + b"\x0c\n" + json.dumps(PLAIN).encode()),
        ("open.csv", b'query,response\n"a,c\nd,e\n'),
        ("wide.csv", b"query,response\nq,a\nr,b,c\n"),
    ],
)
def test_files_that_ms_swift_cannot_read_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        check_dataset(tmp_path / name)


def test_a_folder_holds_the_files_of_its_most_common_kind_in_one_form(tmp_path: Path) -> None:
    row = json.dumps(PLAIN).encode() + b"\n"
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(row * 2))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(row))
    (tmp_path / "c.csv").write_bytes(b"query,response\nq,a\n")
    assert check_dataset(tmp_path).kept == 3
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps(TALK).encode()))
    with pytest.raises(DataError, match="columns that the folder's first file lacks"):
        check_dataset(tmp_path)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(row)[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        check_dataset(tmp_path)


def test_the_templates_own_system_prompt_counts_in_the_length(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    rows = [TALK, turns(("system", "s"), ("user", "我睡不着"), ("assistant", "听起来很辛苦"))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    prompt = "你是书生" * 60
    without, with_it = (check_dataset(path, max_length=100, default_system=s) for s in ("", prompt))
    assert (without.too_long, with_it.too_long) == (0, 1)
    assert with_it.tokens[0] == without.tokens[0] + estimated_tokens(prompt) + 4
    assert with_it.tokens[1] == without.tokens[1]


FILTERED = "[INFO:swift] Dataset filtered, origin length: 16, filtered dataset length: {}\n"
DIED = "Traceback (most recent call last):\nTypeError: 'NoneType' object is not iterable\n"


def test_a_training_without_rows_says_why_none_was_left() -> None:
    assert why_none_left(DIED, 256) == why_none_left(FILTERED.format(16) + DIED, 256) == ""
    words = why_none_left(FILTERED.format(0) + DIED, 256)
    assert "no dialogue was left" in words
    assert "all 16 are longer than max_length 256" in words
    assert "NoneType" not in words
    refused = 'AssertionError: query_role: "system"\n[WARNING:swift] There are errors in the dataset\n'
    words = why_none_left(refused + FILTERED.format(0) + DIED, 256)
    assert 'query_role: "system"' in words
