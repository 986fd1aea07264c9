"""What is wrong with the address of a service, and with a judge."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from bakeoff.foundation.errors import Complaint
from bakeoff.foundation.sentences import Template
from bakeoff.matrix.complaints import LONGEST_SHOWN, shown, unknown
from bakeoff.matrix.schema import VARIANTS, Judge

NO_ADDRESS = Template(
    "matrix.addresses.no_address", "is no address (http://host:port/v1)", zh="不是地址（http://host:port/v1）"
)
HOLDS_PASSWORD = Template(
    "matrix.addresses.holds_password",
    "holds a user name or password, which every command line and record would show; take it out, put the key into "
    ".env, and name its variable under 'key_env'",
    zh="含有用户名或密码，会出现在所有命令行和记录中；请删除，把密钥放入 .env，并在 'key_env' 中写其变量名",
)
NO_SCHEME = Template(
    "matrix.addresses.no_scheme",
    "{url} must begin with http:// or https://",
    zh="{url} 应以 http:// 或 https:// 开头",
)
WRITE_SCHEME = Template("matrix.addresses.write_scheme", "write http://{place}", zh="请写 http://{place}")
NO_HOST = Template(
    "matrix.addresses.no_host",
    "{url} names no host; write http://host:port/v1",
    zh="{url} 没有主机名；请写 http://host:port/v1",
)
WRONG_CHARACTER = Template(
    "matrix.addresses.wrong_character",
    "{url} holds a blank or another character that no address can; write http://host:port/v1",
    zh="{url} 含有空格或地址中不能出现的字符；请写 http://host:port/v1",
)
HAS_QUERY = Template(
    "matrix.addresses.has_query",
    "ends in a query or fragment, behind which no path can follow; give {url}, and what the service needs beside it "
    "under 'key_env' or a suite's generation: {{extra_headers: …}}",
    zh="以查询或片段（? 或 #）结尾，其后无法再接路径；请写 {url}，服务另外需要的内容写在 'key_env' 或测试集的 "
    "generation: {{extra_headers: …}} 中",
)
OF_A_FUNCTION = Template(
    "matrix.addresses.of_a_function",
    "{url} is the address of one function; cut it to {base}",
    zh="{url} 是单个接口的地址；请缩短为 {base}",
)
NO_PATH = Template(
    "matrix.addresses.no_path",
    "{url} has no path; most services answer under {usual} (where one really answers at its root, end the address "
    "with /)",
    zh="{url} 没有路径；多数服务的地址是 {usual}（若服务确实在根路径应答，请让地址以 / 结尾）",
)
ROW_OR_URL = Template(
    "matrix.addresses.row_or_url",
    "give either 'row', a row that is deployed as the judge, or 'url' and 'served_model'",
    zh="请给出 'row'（部署为评审模型的行），或 'url' 和 'served_model'，二者选一",
)
NO_SERVED_MODEL = Template(
    "matrix.addresses.no_served_model",
    "'url' needs 'served_model', the name that the service lists under /v1/models",
    zh="给出 'url' 时还需 'served_model'，即服务在 /v1/models 中列出的名称",
)

_NO_ADDRESS_HOLDS = re.compile(
    r"[\s\x00-\x1f\x7f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\\<>\"{}|^`]|%(?![0-9A-Fa-f]{2})"
)
_ENDPOINTS = re.compile(r"/(chat/completions|completions|responses|embeddings|models)/*$")


def of_judge(judge: Judge, rows: Iterable[str]) -> Iterator[Complaint]:
    """Yield what is wrong with the judge."""
    if bool(judge.row) == bool(judge.url):
        yield Complaint("judge", ROW_OR_URL())
    if judge.url is not None:
        yield from of_url(judge.url, "judge.url")
    if judge.url and not judge.served_model:
        yield Complaint("judge", NO_SERVED_MODEL())
    rows = list(rows)
    row, _, variant = (judge.row or "").partition("/")
    if row and row not in rows:
        yield unknown(row, map(str, rows), "judge.row")
    if variant and variant not in VARIANTS:
        yield unknown(variant, VARIANTS, "judge.row")


def of_url(url: str, where: str) -> Iterator[Complaint]:
    """Yield what is wrong with a service's address, without its secrets."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        whole = port != 0 and (not host or ":" in host or bool(host.rstrip(".").encode("idna")))
    except ValueError:
        whole = False
    if not whole:
        yield Complaint(where, NO_ADDRESS())
        return
    place = url.partition("://")[2] or url.removeprefix("//")
    if "@" in re.split(r"[?#]", place)[0]:
        yield Complaint(where, HOLDS_PASSWORD())
        return
    bare = shown(re.split(r"[?#]", url)[0])
    if parts.scheme not in ("http", "https") or "://" not in url:
        behind = re.sub(r"^https?:?/*", "", re.split(r"[?#]", place)[0])
        hint = "" if "://" in url else WRITE_SCHEME(place=behind[:LONGEST_SHOWN])
        yield Complaint(where, NO_SCHEME(url=bare), hint)
        return
    if not host:
        yield Complaint(where, NO_HOST(url=bare))
        return
    if _NO_ADDRESS_HOLDS.search(url):
        yield Complaint(where, WRONG_CHARACTER(url=bare))
        return
    if "?" in url or "#" in url:
        yield Complaint(where, HAS_QUERY(url=bare))
    if _ENDPOINTS.search(parts.path):
        base = _ENDPOINTS.sub("", re.split(r"[?#]", url)[0])
        yield Complaint(where, OF_A_FUNCTION(url=bare, base=shown(base)))
    elif not parts.path:
        yield Complaint(where, NO_PATH(url=bare, usual=shown(re.split(r"[?#]", url)[0] + "/v1")))
