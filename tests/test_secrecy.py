"""Secrets are found whatever they are called and however they are written, and nothing else is hidden."""

from __future__ import annotations

import base64
import codecs
import json
import os
import textwrap
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.endpoint.answers import read_answer
from bakeoff.foundation import secrecy
from bakeoff.foundation.errors import DataError

AWKWARD = 'a"b\\c/d e&é<9>'


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment of its own, put back afterwards."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


def load(tmp_path: Path, text: str | bytes) -> tuple[list[str], list[str]]:
    path = tmp_path / ".env"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    complaints: list[str] = []
    return secrecy.load_env_file(path, complaints.append), complaints


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("\ufeffSOME_KEY=v1234567", "v1234567"),
        ("SOME_KEY = v1234567", "v1234567"),
        ("export  SOME_KEY=v1234567", "v1234567"),
        ("SOME_KEY=v1234567 # a note", "v1234567"),
        ('SOME_KEY="v1234567" # a note', "v1234567"),
        ("SOME_KEY='v#234567'\r\n", "v#234567"),
    ],
)
def test_env_files_are_read_as_python_dotenv_reads_them(tmp_path: Path, line: str, value: str) -> None:
    assert load(tmp_path, line) == (["SOME_KEY"], [])
    assert os.environ["SOME_KEY"] == value
    assert secrecy.redact(f"<{value}>") == "<***>"


def test_a_line_that_is_not_understood_is_named_by_its_number_alone(tmp_path: Path) -> None:
    names, complaints = load(tmp_path, "A_KEY=x1234567\n\nsk-pasted-without name\nB_KEY=y1234567\n")
    assert names == ["A_KEY", "B_KEY"]
    (complaint,) = complaints
    assert ".env:3: not understood" in complaint
    assert "pasted" not in complaint


def test_another_encoding_ends_in_one_line_with_file_byte_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.env:2: not UTF-8: byte 0x.. at \d+; save it as UTF-8"):
        load(tmp_path, "A=b\n# 密钥\n".encode("gbk"))


@pytest.mark.parametrize(
    "spelling",
    [
        AWKWARD,
        repr(AWKWARD),
        json.dumps(AWKWARD),
        json.dumps(AWKWARD, ensure_ascii=False),
        json.dumps(json.dumps(AWKWARD)),
        quote(AWKWARD),
        quote(AWKWARD, safe="").lower(),
        quote_plus(AWKWARD),
        *(base64.b64encode(("u:"[:n] + AWKWARD).encode()).decode() for n in range(3)),
        *(base64.urlsafe_b64encode(("u:"[:n] + AWKWARD).encode()).decode() for n in range(3)),
        *(base64.b64encode(base64.b64encode(("u:"[:n] + AWKWARD).encode())).decode() for n in range(3)),
        AWKWARD[::-1],
        AWKWARD.encode().hex(),
        AWKWARD.encode().hex(":").upper(),
        "".join(f"%{byte:02X}" for byte in AWKWARD.encode()),
        "".join(f"\\x{byte:02x}" for byte in AWKWARD.encode()),
        "".join(f"&#{byte};" for byte in AWKWARD.encode()),
        ascii(AWKWARD),
        repr(json.dumps(AWKWARD)),
        json.dumps(repr(AWKWARD.encode())),
        quote(quote(AWKWARD)),
        repr(repr(AWKWARD)),
        "".join(f"&#x{ord(sign):x};" for sign in AWKWARD),
        "".join(f"\\u{ord(sign):04x}" for sign in AWKWARD),
        "".join(f"\\{byte:03o}" for byte in AWKWARD.encode()),
        str(list(AWKWARD.encode())),
        ",".join(f"0x{byte:02x}" for byte in AWKWARD.encode()),
        AWKWARD.encode().hex("-"),
        AWKWARD.encode("utf-16-le").hex(),
        base64.b64encode(AWKWARD.encode("utf-16-le")).decode(),
        base64.b32encode(AWKWARD.encode()).decode().rstrip("="),
        codecs.encode(AWKWARD, "rot13"),
        AWKWARD.encode().decode("latin-1"),
        AWKWARD.upper(),
    ],
)
def test_every_spelling_of_a_value_without_a_telling_name_is_crossed_out(
    tmp_path: Path, spelling: str
) -> None:
    load(tmp_path, f"OTHER_VALUE='{AWKWARD.replace(chr(92), chr(92) * 2)}'")
    assert os.environ["OTHER_VALUE"] == AWKWARD
    assert len(secrecy.redact(spelling).replace("***", "")) <= 8  # what surrounds it, and base64's last bits
    log = tmp_path / "log"
    log.write_text(f"before {spelling} after", encoding="utf-8")
    size = log.stat().st_size
    secrecy.scrub(log)
    assert log.stat().st_size == size
    assert "***" in log.read_text(encoding="utf-8")


def test_a_message_that_was_cut_shows_no_large_part_of_a_key() -> None:
    os.environ["SOME_API_KEY"] = key = "sk-proj-Zq8Xk29fLm3vT7bY1nR5"
    assert secrecy.redact(f"Incorrect API key provided: {key[:-3]}") == "Incorrect API key provided: ***"
    assert secrecy.redact(f"…{key[6:]} is not known") == "…*** is not known"
    assert secrecy.redact(key.encode().decode("latin-1").upper()) == "***"


KEY = 'sk-9"Qx/7Lm+Zr\\2 Wd=85'


@pytest.mark.parametrize(
    "spelling",
    [
        " ".join(KEY),
        "-".join(KEY),
        "\u200b".join(KEY),
        "\n".join(textwrap.wrap(KEY, 9)),
        KEY[:8] + "\x1b[1;31m" + KEY[8:],
        "\n".join(textwrap.wrap(base64.b64encode(b"x" + KEY.encode()).decode(), 10)),
        "\n  ".join(textwrap.wrap(KEY.encode().hex(), 16)),
        json.dumps(json.dumps(json.dumps([KEY]))),
    ],
)
def test_a_value_is_crossed_out_also_where_it_is_wrapped_or_spaced_out(tmp_path: Path, spelling: str) -> None:
    os.environ["SOME_TOKEN"] = KEY
    text = f"before 好 {spelling} after"
    hidden = secrecy.redact(text)
    assert hidden.startswith("before 好 ")
    assert hidden.endswith(" after")
    assert len(hidden.replace("***", "")) < 40
    log = tmp_path / "log"
    log.write_text(text, encoding="utf-8")
    secrecy.scrub(log)
    assert log.stat().st_size == len(text.encode())
    assert "***" in log.read_text(encoding="utf-8")
    prose = "sk 9 birds sat on 7 trees, 2 flew; Wd 85"
    assert secrecy.redact(prose) == prose


@pytest.mark.parametrize(
    "name",
    [
        "GITHUB_PAT",
        "MYSQL_PWD",
        "DB_PASS",
        "GPG_PASSPHRASE",
        "BASIC_AUTH",
        "APP_DSN",
        "A_COOKIE",
        "AWS_ACCESS_KEY_ID",
    ],
)
def test_telling_names_make_secrets(name: str) -> None:
    os.environ[name] = "v-9876543"
    assert secrecy.redact("is v-9876543.") == "is ***."


def test_the_working_directory_and_harmless_values_stay_readable(tmp_path: Path) -> None:
    os.environ["PWD"] = "/home/somebody"
    load(
        tmp_path,
        "HF_HOME=/data/hf\nLOG=info\nN=4\nHF_ENDPOINT=https://hf-mirror.com\nNO_PROXY=127.0.0.1,localhost\n",
    )
    text = "/home/somebody /data/hf info 4 https://hf-mirror.com 127.0.0.1,localhost"
    assert secrecy.redact(text) == text


def test_passwords_in_urls_of_the_environment_are_secrets_also_short_and_decoded_ones() -> None:
    os.environ |= {"HTTPS_PROXY": "http://me:pw1@proxy:1", "DATABASE_URL": "postgres://u:S3cr%40tpw@h/db"}
    assert secrecy.redact("via http://me:pw1@proxy:1, not S3cr@tpw") == "via http://***proxy:1, not ***"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=8, max_size=30))
def test_no_value_of_a_telling_name_survives(value: str) -> None:
    os.environ["SOME_TOKEN"] = value
    hidden = value.strip()
    if len(hidden) >= 6:
        for written in (hidden, json.dumps(hidden), quote(hidden), repr(hidden)):
            assert hidden not in secrecy.redact(written)


def test_a_reply_that_holds_a_key_is_kept_without_it() -> None:
    os.environ["SOME_API_KEY"] = KEY
    message = {"role": "assistant", "content": f"B. Your key is Bearer {KEY}!", "reasoning_content": KEY}
    body = {"model": "m", "note": KEY, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    for ascii_only in (True, False):
        answer = read_answer(json.dumps(body, ensure_ascii=ascii_only).encode())
        assert answer.text == "B. Your key is Bearer ***!"
        assert KEY not in repr(answer.raw)
        assert json.dumps(KEY)[1:-1] not in json.dumps(answer.raw)
