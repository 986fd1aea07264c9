"""Services that lie, mix up, drip or change: none of it may end a stage, or become a score that is trusted."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from evalscope.api.messages import ChatMessageUser
from openai import APIConnectionError

from bakeoff import evalscope
from bakeoff.endpoint.address import http_session, key_of, proxy_of, shown_url, spared_by_proxies
from bakeoff.endpoint.answers import BadAnswer, is_version_of, read_answer
from bakeoff.endpoint.asking import ask
from bakeoff.endpoint.models import listed_models, shown_names
from bakeoff.endpoint.streams import pieces_of, stream
from bakeoff.evalscope import worker
from bakeoff.evalscope.asking import AskingAPI, Tries, in_words
from bakeoff.execution.runner import Runner
from bakeoff.foundation.command import Command
from bakeoff.foundation.error_texts import is_error_text, may_be_error_text
from bakeoff.foundation.errors import CommandFailed, ServiceError, in_short
from bakeoff.foundation.texts import printable
from bakeoff.judgement.replies import Respondent, gather, load_cases
from bakeoff.matrix.schema import Suite

Answer = Callable[[int, str], Any]
"""(number of the request, prompt) -> the reply's content, or (status, headers, body)."""


@contextlib.contextmanager
def serving(
    answer: Answer, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A service on a free loopback port; its address and the headers of the requests that came."""
    seen: list[dict[str, str]] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.loads(data or b'{"messages": [{"content": ""}]}')
            with lock:
                seen.append({name.lower(): value for name, value in self.headers.items()})
                number = len(seen)
            content = answer(number, body["messages"][-1]["content"])
            status, headers, data = content if isinstance(content, tuple) else (200, {}, completion(content))
            for _ in range(int(headers.get("X-Interim", 0))):
                self.send_response_only(100)
                self.end_headers()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data)

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    server = Server((host, 0), Handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{server.server_address[1]}/v1", seen
    finally:
        server.shutdown()
        server.server_close()


def completion(content: Any, **more: Any) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    whole = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], **more}
    return json.dumps(whole).encode()


def reply(url: str, **options: Any) -> str:
    payload = {"model": "m", "messages": [{"role": "user", "content": "你好"}]}
    with http_session(url) as session:
        return ask(session, url, payload, **{"pause_s": 0.0, "timeout_s": 5.0, **options}).text


def test_parts_are_joined_and_half_characters_replaced() -> None:
    parts = [{"type": "text", "text": "听起来"}, {"type": "text", "text": "很累\ud83d"}]
    with serving(lambda *_: parts) as (url, _):
        assert reply(url) == "听起来很累\ufffd"


@pytest.mark.parametrize(
    "body",
    [
        completion(5),
        completion({"text": "x"}),
        completion([5]),
        b"[1, 2]",
        b"null",
        b"5",
        b'{"choices": [null]}',
        b'{"choices": [{"message": 5}]}',
        b'{"choices": []}',
        b"[" * 100_000,
        b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"<html>\x1b[31m</html>",
        completion("x" * (5 * 2**20)),
        completion("服务繁忙，请稍后再试"),
    ],
)
def test_what_is_no_reply_is_an_error_in_words(body: bytes) -> None:
    with serving(lambda *_: (200, {}, body)) as (url, _), pytest.raises(ServiceError) as told:
        reply(url)
    assert "\x1b" not in str(told.value)
    assert len(str(told.value)) < 500


@pytest.mark.parametrize(("text", "finish"), [("因为" * 40, "length"), ("好的。", "stop")])
def test_a_reply_of_all_the_tokens_it_may_have_is_cut_whatever_the_service_says(
    text: str, finish: str
) -> None:
    body = completion(text, usage={"prompt_tokens": 5, "completion_tokens": 40})
    with serving(lambda *_: (200, {}, body)) as (url, _), http_session(url) as session:
        assert ask(session, url, {"max_tokens": 40, "messages": [{"content": "x"}]}).finish == finish


def test_a_redirect_is_followed_and_another_host_gets_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "  sk-secret-value \n")
    with serving(lambda *_: "好") as (there, seen):
        elsewhere = f"{there}/chat/completions"
        with serving(lambda *_: (308, {"Location": elsewhere}, b"")) as (url, first):
            assert reply(url, api_key_env="A_KEY") == "好"
    assert first[0]["authorization"] == "Bearer sk-secret-value"
    assert "sk-secret-value" not in json.dumps(seen)


def test_a_loop_of_redirects_and_a_file_are_refused() -> None:
    for target in ("/v1/chat/completions", "file:///etc/passwd"):
        with (
            serving(lambda *_, to=target: (307, {"Location": to}, b"")) as (url, _),
            pytest.raises(ServiceError, match="redirected"),
        ):
            reply(url)


@pytest.mark.parametrize("status", [429, 503, 529])
def test_a_busy_service_is_waited_for_as_it_asks(status: int) -> None:
    busy = (status, {"Retry-After": "0.01"}, b"{}")
    with serving(lambda number, _: busy if number < 6 else "好") as (url, seen):
        assert reply(url) == "好"
    assert len(seen) == 6


def test_keys_that_no_header_can_carry_are_refused_unquoted(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("你的密钥", "sk abc def", "sk-\x07abc"):
        monkeypatch.setenv("A_KEY", value)
        with pytest.raises(ServiceError, match="no HTTP header can carry") as told:
            key_of("A_KEY", "http://me:pass-word@host/v1")
        assert value not in str(told.value)
        assert "pass-word" not in str(told.value)


def test_a_key_in_quotation_marks_and_a_proxy_that_is_none_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for mark in "\"'":
        monkeypatch.setenv("A_KEY", f"{mark}sk-abc{mark}")
        with pytest.raises(ServiceError, match="A_KEY holds its quotation marks") as told:
            key_of("A_KEY", "http://host/v1")
        assert "sk-abc" not in str(told.value)
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for proxy in (
        "::::",
        "http://",
        "http://me:pass-word@h:xx",
        "nonsense://h:1",
        "http://[::1",
        "socks4://h:1",
    ):
        monkeypatch.setenv("all_proxy", proxy)
        with pytest.raises(ServiceError, match="a proxy that is none") as told:
            proxy_of("http://far.example/v1")
        assert "pass-word" not in str(told.value)
        assert proxy_of("http://127.0.0.1:1/v1") == ""


def test_the_users_no_proxy_is_extended() -> None:
    spared = spared_by_proxies({"NO_PROXY": "10.0.0.0/8, .corp", "no_proxy": "other"})
    assert spared["NO_PROXY"] == spared["no_proxy"] == "10.0.0.0/8,.corp,other,127.0.0.1,localhost,::1"


def test_an_odd_stream_is_told_in_words() -> None:
    for event in (b"[1,2]", b"5", b'{"choices":[null]}', b"nonsense"):
        with (
            serving(lambda *_, data=event: (200, {}, b"data: " + data + b"\n\n")) as (url, _),
            pytest.raises(ServiceError, match="broke off"),
        ):
            list(stream(url, {"model": "m", "messages": [{"role": "user", "content": "x"}]}))


def event(text: str, finish: str | None = None) -> str:
    return json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": finish}]})


def streamed(body: str | bytes, content_type: str = "text/event-stream") -> str:
    data = body.encode() if isinstance(body, str) else body
    with serving(lambda *_: (200, {"Content-Type": content_type}, data)) as (url, _):
        return list(stream(url, {"model": "m", "messages": [{"role": "user", "content": "x"}]}))[-1]


@pytest.mark.parametrize(
    "body",
    [
        f"data: {event('听')}\r\n\r\ndata: {event('到', 'stop')}\r\n\r\ndata: [DONE]\r\n\r\n",
        f"data:{event('听')}\rdata:{event('到')}\rdata:[DONE]\r",
        f"data: {event('听')}\ndata: {event('到')}\ndata: [DONE]\n",
        f"\ufeffdata: {event('听')}\n\ndata: {event('到', 'stop')}\n\n",
        f": ping\nretry: 100\nid: 3\nevent: message\ndata: {event('听')}\n\n: ping\n\ndata: {event('到', 'stop')}",
        f"data:\n\ndata: {event('听到')[:9]}\ndata: {event('听到')[9:]}\n\ndata: [DONE]\n\n",
    ],
)
def test_streams_are_read_in_every_form_of_event(body: str) -> None:
    assert streamed(body) == "听到"


def test_a_reply_that_came_whole_where_a_stream_was_asked_for_is_read() -> None:
    assert streamed(completion("听到"), "application/json; charset=utf-8") == "听到"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (f"data: {event('听')}\n\n", "closed before its end"),
        (f"data: {event('听')}\n\ndata: {event('到')[:20]}", "no JSON came"),
        (f"data: {event('听')}\n\nevent: error\ndata: {{}}\n\ndata: [DONE]\n\n", "broke off"),
        (f'data: {event("听")}\n\ndata: {{"code": 500, "message": "engine died"}}\n\n', "engine died"),
        (f"data: {event('听', 'stop')}\n\n".replace("\\u542c", "听到了").encode("gbk"), "GBK"),
        ('data: {"choices": 5}\n\n', "is no text"),
    ],
)
def test_a_stream_that_fails_in_its_middle_is_told(body: str | bytes, words: str) -> None:
    with pytest.raises(ServiceError, match=words):
        streamed(body)


def in_chinese(encoding: str) -> bytes:
    choice = {"message": {"content": "答案：B，因为来访者"}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice]}, ensure_ascii=False).encode(encoding)


@pytest.mark.parametrize(
    ("headers", "body", "words"),
    [
        ({}, in_chinese("gbk"), "GBK, it seems"),
        ({"Content-Type": "application/json; charset=GB2312"}, in_chinese("gbk"), "text in GB2312 came"),
        ({"Content-Type": "application/json"}, in_chinese("utf-16"), "no UTF-8"),
        ({"Content-Encoding": "gzip, gzip"}, gzip.compress(gzip.compress(completion("B"))), "several times"),
        ({"Content-Encoding": "gzip"}, gzip.compress(completion("x" * 60 * 2**20)), "larger than 4 MiB"),
    ],
)
def test_another_encoding_and_a_bomb_are_told_and_no_reply(
    headers: dict[str, str], body: bytes, words: str
) -> None:
    with serving(lambda *_: (200, headers, body)) as (url, _), pytest.raises(ServiceError) as told:
        reply(url)
    assert words in str(told.value)
    assert ("答案：B" in str(told.value)) is ("GB" in words)


def test_an_answer_that_unpacks_to_gigabytes_at_once_is_not_unpacked() -> None:
    for encoding in ("zstd", "br", "compress", "gzip, br"):
        with serving(lambda *_, name=encoding: (200, {"Content-Encoding": name}, b"x" * 64)) as (url, seen):
            api = AskingAPI("m", url, "EMPTY", in_flight=1, tries=Tries(attempts=1))
            with pytest.raises(BadAnswer, match=r"packed as|compressed several times"):
                api.tokens([ChatMessageUser(content="x")], {})
        assert seen[0]["accept-encoding"] == "gzip, deflate"


def test_half_a_character_and_a_declared_utf_8_are_let_pass() -> None:
    cut = completion("CUT").replace(b"CUT", "因为".encode()[:-1])
    with serving(lambda *_: (200, {"Content-Type": "application/json; charset=UTF8"}, cut)) as (url, _):
        assert reply(url) == "因\ufffd"


def test_a_body_in_chunks_with_trailers_is_read() -> None:
    data = completion("好")
    chunked = b"%x\r\n%s\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(data), data)
    headers = {"Transfer-Encoding": "chunked", "Content-Length": "0"}
    with serving(lambda *_: (200, headers, chunked)) as (url, _):
        assert reply(url) == "好"


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"


@pytest.mark.parametrize(
    ("first", "for_ever"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
        (b"HTTP/1.1 200 OK\r\n", b""),
        (_CHUNKED, b"X: y\r\n"),
        (_CHUNKED + b"X: ", b"a"),
    ],
    ids=["interim answers", "a header", "silence", "trailers", "a trailer"],
)
def test_no_part_of_an_answer_is_waited_for_without_end(
    first: bytes, for_ever: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bakeoff.endpoint import connections as ours
    from bakeoff.evalscope import connections as theirs

    monkeypatch.setattr(ours, "_GRACE_S", 0.1)
    monkeypatch.setattr(theirs, "_GRACE_S", 0.1)
    over = threading.Event()

    def drip(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.recv(65536)
            client.sendall(first)
            while not over.wait(0.02):
                client.sendall(for_ever)

    def accept(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, args=(listening,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        try:
            with http_session(url) as session, pytest.raises(ServiceError, match="no reply"):
                ask(session, url, {"model": "m"}, timeout_s=0.2, pause_s=0)
            api = AskingAPI("m", url, "EMPTY", in_flight=1, timeout_s=0.2, tries=Tries(attempts=1))
            with pytest.raises(APIConnectionError):
                api.tokens([ChatMessageUser(content="x")], {})
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_interim_answers_and_addresses_of_either_kind_are_understood(host: str) -> None:
    with serving(lambda *_: (200, {"X-Interim": "2"}, completion("好")), host=host) as (url, _):
        assert reply(url) == "好"
        api = AskingAPI("m", url, "EMPTY", in_flight=1)
        assert api.tokens([ChatMessageUser(content="x")], {}).text == "好"


@pytest.mark.parametrize(
    ("pages", "names"),
    [
        ([{"data": [{"id": "a"}, {"id": None}, 5, {"name": "b"}, "c"]}], ["a", "b", "c"]),
        ([{"data": [{"id": "a"}], "has_more": True}, {"data": [{"id": "b"}]}], ["a", "b"]),
        ([{"data": [{"id": "a"}], "has_more": True}], ["a"]),  # the same page for ever
        ([{"models": [{"name": "a"}]}], ["a"]),
        ([{"data": []}], []),
        ([{"data": "a"}], None),
        ([{"error": "no key"}], None),
        ([["a"]], None),
        ([{"data": [{"id": "x" * 100}] * 60_000}], None),
    ],
)
def test_lists_of_models_are_read_or_refused_in_words(pages: list[Any], names: list[str] | None) -> None:
    bodies = [json.dumps(page).encode() for page in pages]
    with (
        serving(lambda number, _: (200, {}, bodies[min(number, len(pages)) - 1])) as (url, _),
        http_session(url) as session,
    ):
        if names is None:
            with pytest.raises(BadAnswer):
                listed_models(session, url, 5.0)
        else:
            assert listed_models(session, url, 5.0) == names


def test_a_long_list_of_models_is_told_in_short_with_near_names_first() -> None:
    words = shown_names([f"model-{number}" for number in range(500)] + ["qwen2.5-7b\x1b"], "qwen2.5-7b-it")
    assert "\x1b" not in words
    assert words.startswith("it lists ['qwen2.5-7b")
    assert words.endswith("'] and 493 more")
    assert shown_names([], "m") == "it lists no model"


def test_half_an_address_is_shown_and_ends_nothing() -> None:
    assert shown_url("http://[::1/v1") == "http://[::1/v1"
    assert shown_url("http://me:pass-word@[::1]:8000/v1?key=abc") == "http://[::1]:8000/v1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and the certificate that it signed itself, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    line = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {path} -out {path}.crt"
    line += " -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(line.split(), check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@contextlib.contextmanager
def behind_tls(certificate: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(lambda *_: "好", context) as (url, _):
        yield url.replace("http:", "https:")


def test_a_certificate_that_nobody_signed_is_told_with_the_way_out(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    question = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    messages = [ChatMessageUser(content="x")]
    with behind_tls(certificate) as url:
        for ask_it in (
            lambda: reply(url),
            lambda: list(stream(url, question)),
            lambda: AskingAPI("m", url, "EMPTY", in_flight=1).tokens(messages, {}),
        ):
            with pytest.raises((ServiceError, APIConnectionError)) as told:
                ask_it()
            words = in_words(told.value)
            assert "signed by nobody that this machine trusts" in words
            assert "export SSL_CERT_FILE" in words
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert reply(url) == "好"
        assert AskingAPI("m", url, "EMPTY", in_flight=1).tokens(messages, {}).text == "好"


def test_names_with_a_date_or_a_tag_are_versions_and_others_are_not() -> None:
    assert is_version_of("gpt-4o", "gpt-4o-2024-08-06")
    assert is_version_of("qwen", "qwen:latest")
    assert not is_version_of("gpt-4o", "gpt-4o-mini")
    assert not is_version_of("oracle", "cheap-mini")


def test_escapes_are_shown() -> None:
    assert printable("a\x1b[2Jb\u202ec\n") == "a\\x1b[2Jb\\u202ec\n"
    assert printable("\u061ca\u2028b\x9b2J") == "\\u061ca\\u2028b\\x9b2J"


@pytest.mark.parametrize(
    "text",
    [
        "The engine is currently overloaded, please try again later",
        "您的请求过于频繁，请稍后再试",
        "服務繁忙，請稍後再試",
        '{"success": false, "msg": "服务繁忙"}',
        '{"errorCode":"InternalError"}',
        "<!DOCTYPE html><html><p>系统维护中，请选择 B 线路</p></html>",
        "**NETWORK ERROR DUE TO HIGH TRAFFIC. PLEASE REGENERATE OR REFRESH THIS PAGE.**",
        "[ERR-7] inference worker gpu-3 lost, ticket 88",
        "Error A: upstream returned no answer",
        "错误代码：A",
    ],
)
def test_error_texts_are_known_by_their_form(text: str) -> None:
    assert is_error_text(text)


@pytest.mark.parametrize(
    "text",
    ["错误：A", "Error: B is wrong", "错误代码A的含义是…", "Type I error: A", "[B]", "错误码率高的是B"],
)
def test_a_statement_about_errors_is_no_error_text(text: str) -> None:
    assert not is_error_text(text)


@pytest.mark.parametrize("text", ["null", "Timeout", "发生错误", "系统错误", "Access denied"])
def test_what_a_model_may_say_needs_to_be_repeated(text: str) -> None:
    assert not is_error_text(text)
    assert may_be_error_text(text)


def test_one_odd_reply_is_one_case_of_a_gathering(tmp_path: Path) -> None:
    cases = load_cases()[:4]
    odd = ["好\ud83d", 5, [{"type": "text", "text": "嗯"}], "请求过于频繁，请稍后再试"]
    contents = {case.messages[-1]["content"]: content for case, content in zip(cases, odd, strict=True)}
    with serving(lambda _, prompt: contents[prompt]) as (url, _):
        replies = gather(
            Respondent(url=url, name="m", model="m", variant="base"), cases, tmp_path / "replies.jsonl"
        )
    assert [one.status for one in replies] == ["answered", "errored", "answered", "errored"]
    assert [one.text for one in replies] == ["好\ufffd", "", "嗯", ""]


# --- whole suites ---

LETTERS = "ABCDDCBABADCACBD" * 4


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    folder = tmp_path / "exam"
    folder.mkdir()
    rows = [
        {"id": i, "question": f"第{i}题是什么？", **{x: f"{x} 项 {i}" for x in "ABCD"}, "answer": letter}
        for i, letter in enumerate(LETTERS)
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "facts_val.jsonl").write_text(lines, encoding="utf-8")
    return folder


def right(prompt: str) -> str:
    number = int(prompt.partition("第")[2].partition("题")[0])
    return f"答案：{LETTERS[number]}"


def evaluated(url: str, exam: Path, **generation: Any) -> dict[str, Any]:
    suite = Suite(name="facts", benchmark="facts_exam", generation=generation)
    plan = evalscope.evaluation_plan(
        url, "m", [suite], exam.parent / "work", data_dirs={"facts": exam}, weights="w", ask_alone=12
    )
    return worker.run(plan)["facts"]


class OffByOne:
    """Hands each request the reply that the one before it should have had, as long as several are open."""

    def __init__(self) -> None:
        self.lock, self.open, self.last = threading.Lock(), 0, "答案：A"

    def __call__(self, _: int, prompt: str) -> str:
        with self.lock:
            self.open += 1
        time.sleep(0.02)
        with self.lock:
            mixed, self.last = self.open > 1, right(prompt) if (before := self.last) else ""
            self.open -= 1
        return before if mixed else right(prompt)


def test_replies_mixed_up_under_load_are_not_trusted(exam: Path) -> None:
    with serving(OffByOne()) as (url, _):
        result = evaluated(url, exam)
    assert not result["trusted"]
    assert "asked alone, the service answers" in result["why_not"]


def test_a_service_that_cuts_long_prompts_alone_is_not_trusted(exam: Path) -> None:
    path = exam / "facts_val.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows[::10]:
        row["question"] += "请结合下面的会谈记录作答。" * 60
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")

    def answer(_: int, prompt: str) -> tuple[int, dict[str, str], bytes]:
        usage = {"prompt_tokens": min(len(prompt), 100), "completion_tokens": 3}
        return 200, {}, completion(right(prompt), usage=usage)

    with serving(answer) as (url, _):
        result = evaluated(url, exam)
    assert not result["trusted"]
    assert "for 7 of 64 questions, the service counts fewer tokens" in result["why_not"]


def test_a_service_that_fails_after_a_while_is_errored_from_there_on_and_asked_again(exam: Path) -> None:
    failed = (503, {"Retry-After": "0"}, "服务繁忙，请稍后再试".encode("gbk"))
    with serving(lambda number, prompt: right(prompt) if number <= 40 else failed) as (url, _):
        result = evaluated(url, exam)
    assert (result["ledger"]["answered"], result["ledger"]["errored"]) == (40, 24)
    assert not result["trusted"]
    assert "服务繁忙，请稍后再试" in result["why_not"]
    with serving(lambda _, prompt: right(prompt)) as (url, _):
        assert evaluated(url, exam)["trusted"]


class Shuffled:
    """Deals the replies of eight requests in flight to one another, as long as as many come within a second."""

    def __init__(self) -> None:
        self.turn = threading.Condition()
        self.waiting: list[str] = []
        self.rounds: list[list[str]] = []

    def __call__(self, _: int, prompt: str) -> str:
        with self.turn:
            if len(self.rounds) == len(LETTERS) // 8:
                return right(prompt)
            batch, place = len(self.rounds), len(self.waiting)
            self.waiting.append(prompt)
            if len(self.waiting) == 8:
                self.rounds.append([right(other) for other in (*self.waiting[3:], *self.waiting[:3])])
                self.waiting = []
                self.turn.notify_all()
            elif not self.turn.wait_for(lambda: len(self.rounds) > batch, timeout=1.0):
                self.waiting.remove(prompt)
                return right(prompt)
            return self.rounds[batch][place]


@pytest.mark.parametrize(("tokens", "trusted"), [(5, False), (0, True), (1, True), (200, True)])
def test_a_service_that_reads_a_part_of_each_prompt_is_not_trusted(
    tokens: int, trusted: bool, exam: Path
) -> None:
    usage = {"prompt_tokens": tokens, "completion_tokens": 3, "total_tokens": tokens + 3}
    with serving(lambda _, prompt: (200, {}, completion(right(prompt), usage=usage))) as (url, _):
        result = evaluated(url, exam)
    assert result["trusted"] is trusted
    words = "for 64 of 64 questions, the service counts fewer tokens than their prompts can have (5 for"
    assert (words in result["why_not"]) is not trusted


def test_replies_dealt_round_among_eight_in_flight_are_not_trusted(exam: Path) -> None:
    with serving(Shuffled()) as (url, _):
        result = evaluated(url, exam)
    assert "asked alone, the service answers" in result["why_not"]


def test_a_service_that_changes_half_way_is_not_trusted(exam: Path) -> None:
    with serving(lambda number, prompt: right(prompt) if number <= 32 else "答案：A") as (url, _):
        result = evaluated(url, exam)
    assert "asked alone, the service answers" in result["why_not"]


def test_a_right_service_and_one_that_samples_are_not_alarmed(exam: Path) -> None:
    with serving(lambda _, prompt: right(prompt)) as (url, seen):
        assert evaluated(url, exam)["trusted"]
        assert len(seen) == len(LETTERS) + 12
    with serving(lambda number, prompt: right(prompt) if number % 3 else "答案：C") as (url, _):
        assert "asked alone" not in evaluated(url, exam, temperature=0.8)["why_not"]


def test_one_error_text_to_several_questions_is_errored_and_asked_again(exam: Path) -> None:
    with serving(lambda number, prompt: "发生错误" if number % 4 == 0 else right(prompt)) as (url, _):
        result = evaluated(url, exam)
    assert result["ledger"]["errored"] >= 12
    assert " × the service gave several questions the same error text: '发生错误'" in result["why_not"]
    assert sum("发生错误" in words for words in result["alarms"]) == 1
    with serving(lambda _, prompt: right(prompt)) as (url, _):
        again = evaluated(url, exam)
    assert again["ledger"]["answered"] == len(LETTERS)
    assert again["trusted"]


def test_the_most_frequent_errors_are_told_with_their_counts(exam: Path) -> None:
    with serving(lambda number, prompt: (400, {}, b"{}") if "第1" in prompt else right(prompt)) as (url, _):
        result = evaluated(url, exam)
    assert "11 × BadRequestError: Error code: 400" in result["why_not"]


class Raw:
    """Sends a reply as its bytes, with any status and headers, from the service of :func:`serving`."""

    def __init__(self, status: int = 200, **headers: str) -> None:
        self.status, self.headers = status, {k.replace("_", "-"): v for k, v in headers.items()}

    def __call__(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        return self.status, self.headers, body


def odd(prompt: str, **changes: Any) -> bytes:
    """A right completion with *changes* to its JSON; ``message`` and ``choice`` change these."""
    value = json.loads(completion(right(prompt)))
    value["choices"][0]["message"] |= changes.pop("message", {})
    value["choices"][0] |= changes.pop("choice", {})
    return json.dumps({**value, **changes}).encode()


HARMLESS: dict[str, Callable[[str], Any]] = {
    "other forms": lambda p: Raw(201)(
        odd(
            p,
            id=17,
            created="now",
            usage={"prompt_tokens": "12", "completion_tokens": None},
            service_tier={"x": 1},
            message={"tool_calls": "none", "reasoning_content": ["a"]},
            choice={"index": "0", "finish_reason": None, "logprobs": "x"},
        )
    ),
    "a byte order mark and gzip": lambda p: Raw(203, Content_Encoding="gzip")(
        gzip.compress(b"\xef\xbb\xbf" + odd(p, usage="many"))
    ),
    "a model as speaker, and no number": lambda p: Raw()(
        odd(p, message={"role": "Model"}, choice={"index": 7}).replace(b'"id": "1"', b'"id": "1", "id": "2"')
    ),
    "a list of parts": lambda p: Raw()(
        odd(p, message={"role": None, "content": [{"type": "text", "text": right(p)}]})
    ),
    "several choices": lambda p: Raw()(
        odd(p).replace(
            b'"choices": [',
            b'"choices": [{"index": 1, "message": {"content": "\xe7\xad\x94\xe6\xa1\x88\xef\xbc\x9aA"}}, ',
        )
    ),
}
BROKEN: dict[str, tuple[Callable[[str], Any], str]] = {
    "a part": (lambda p: Raw(206)(odd(p)), "HTTP 206 in place of a reply"),
    "queued": (lambda _: Raw(202)(b'{"status": "queued"}'), "HTTP 202 in place of a reply"),
    "created, and an error": (lambda _: Raw(201)(completion("服务繁忙，请稍后再试")), "error text"),
    "filtered": (lambda p: Raw()(odd(p, choice={"finish_reason": "content_filter"})), "content filter cut"),
    "sensitive": (lambda p: Raw()(odd(p, choice={"finish_reason": "sensitive"})), "finish_reason sensitive"),
    "SAFETY": (lambda p: Raw()(odd(p, choice={"finish_reason": "SAFETY"})), "finish_reason SAFETY"),
    "no resources": (
        lambda p: Raw()(odd(p, choice={"finish_reason": "insufficient_system_resource"})),
        "finish_reason insufficient_system_resource",
    ),
    "no gzip": (lambda p: Raw(Content_Encoding="gzip")(odd(p)), "DecodingError"),
    "the user speaks": (
        lambda p: Raw()(odd(p, message={"role": "user"})),
        "not the model's but of role user",
    ),
    "a tool speaks": (lambda p: Raw()(odd(p, message={"role": "tool"})), "not the model's but of role tool"),
    "two lists of choices": (
        lambda p: Raw()(odd(p).replace(b'{"id"', b'{"choices": [{"message": {"content": "A"}}], "id"', 1)),
        "says 'choices' twice",
    ),
    "two contents": (
        lambda p: Raw()(odd(p).replace(b'"content":', b'"content": "x", "content":')),
        "says 'content' twice",
    ),
    "two firsts": (
        lambda p: Raw()(odd(p, choices=[{"message": {"content": f"答案：{x}"}} for x in "AB"])),
        "2 replies came, none of which is the first",
    ),
    "a call of a tool": (
        lambda p: Raw()(odd(p, message={"content": None, "tool_calls": [{"id": "1"}]})),
        "a call of a tool came in place of a reply",
    ),
    "another answer": (
        lambda _: Raw()(completion("[系统繁忙，随机作答] C")),
        "a service's error text: [系统繁忙，随机作答] C",
    ),
    "refused": (lambda _: Raw(422)(b'{"detail": "too long"}'), "too long"),
}


@pytest.mark.parametrize("form", HARMLESS)
def test_what_is_odd_beside_a_reply_keeps_no_score_away(form: str, exam: Path) -> None:
    with serving(lambda _, prompt: HARMLESS[form](prompt)) as (url, _):
        result = evaluated(url, exam)
    assert result["trusted"], result["why_not"]
    assert result["scores"][0]["value"] == 1.0


@pytest.mark.parametrize("form", BROKEN)
def test_what_is_no_whole_reply_is_errored_in_words_and_never_wrong(form: str, exam: Path) -> None:
    answer, words = BROKEN[form]
    with serving(lambda _, prompt: answer(prompt) if "第1" in prompt else right(prompt)) as (url, _):
        result = evaluated(url, exam)
    assert not result["trusted"]
    assert result["ledger"]["errored"] == 11
    assert result["scores"][0]["value"] == 1.0
    assert "11 × " in result["why_not"]
    assert words in result["why_not"]


@pytest.mark.parametrize("finish", ["MAX_TOKENS", "max_output_tokens", "FINISH_REASON_LENGTH"])
def test_each_word_for_a_cut_reply_is_understood(finish: str, exam: Path) -> None:
    with serving(lambda _, p: Raw()(odd(p, choice={"finish_reason": finish}))) as (url, _):
        result = evaluated(url, exam)
    assert result["ledger"]["truncated"] == len(LETTERS)
    assert not result["trusted"]


ABOUT = "让我们分析各个选项，首先需要明确题目考查的概念，其次要结合题干中的关键信息，再次要"


@pytest.mark.parametrize(
    ("finish", "usage", "limit", "said"),
    [
        ("stop", {"prompt_tokens": 50, "completion_tokens": 40}, 40, ""),
        (None, {"prompt_tokens": 50, "completion_tokens": 90}, 40, ""),
        ("eos", {"prompt_tokens": 50, "total_tokens": 90}, 40, ""),
        ("stop", {"prompt_tokens": 50, "completion_tokens": 38}, 1024, "at exactly 38 tokens"),
        ("stop", None, 1024, "at exactly 256 characters"),
    ],
    ids=["its limit", "the prompt counted in", "a total alone", "a limit of its own", "no counts"],
)
def test_a_cut_reply_that_is_called_whole_is_truncated_and_never_unparsed(
    finish: str | None, usage: dict[str, int] | None, limit: int, said: str, exam: Path
) -> None:
    def answer(_: int, prompt: str) -> bytes:
        number = int(prompt.partition("第")[2].partition("题")[0])
        if number % 5:
            return completion(right(prompt))
        text = (str(number) + ABOUT * 9)[: 256 if usage is None else 50 + number % 7]
        return odd(prompt, message={"content": text}, choice={"finish_reason": finish}, usage=usage)

    with serving(lambda number, prompt: Raw()(answer(number, prompt))) as (url, _):
        result = evaluated(url, exam, max_tokens=limit)
    assert (result["ledger"]["truncated"], result["ledger"]["unparsed"]) == (13, 0)
    assert not result["trusted"]
    assert any(said in words for words in result["alarms"]) or not said


def test_a_whole_reply_is_not_cut_because_a_service_counts_wrongly(exam: Path) -> None:
    usage = {"prompt_tokens": 60, "completion_tokens": 1024}
    with serving(lambda _, prompt: (200, {}, completion(right(prompt), usage=usage))) as (url, _):
        assert evaluated(url, exam, max_tokens=1024)["trusted"]


def test_a_refusal_beside_no_content_is_read_and_another_reply_of_a_stream_is_not() -> None:
    message = {"role": "assistant", "content": None, "refusal": "我不能回答"}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert read_answer(json.dumps(body).encode()).text == "我不能回答"
    pieces = [
        {"choices": [{"index": i, "delta": {"content": text}}]}
        for i, text in ((0, "对"), (1, "错"), (0, "。"))
    ]
    lines = [f"data: {json.dumps(piece)}".encode() for piece in pieces]
    assert "".join(text for text, _ in pieces_of([*lines, b"data: [DONE]"])) == "对。"


def test_stock_words_without_a_full_stop_are_no_cut_replies(exam: Path) -> None:
    def stock(prompt: str) -> bytes:
        text = f"答案: ({right(prompt)[-1]})\n\nExplanation / 解析：这一点在教材中有明确而具体的表述与说明"
        return completion(text, usage={"prompt_tokens": 60, "completion_tokens": 40})

    with serving(lambda _, prompt: (200, {}, stock(prompt))) as (url, _):
        result = evaluated(url, exam, max_tokens=512)
    assert result["ledger"]["truncated"] == 0
    assert result["trusted"]
    assert not [words for words in result["alarms"] if "unfinished" in words]


ERRORS_OF_MANY_WORDS = (
    "服务器繁忙，请稍后再试 (request id: 7f{0}a-99c{0})",
    "Node gpu-{0} is at capacity, you are number {0} in the queue",
    "[12:00:{0}] 上游节点 node-{0} 超时，请求号 {0}a9c8f77e",
    "Sorry, something broke on our side at 09:41:{0}. Ticket ZK-{0}",
    "目前排队第 {0} 位，请耐心等待",
    "Les serveurs sont surchargés, réessayez plus tard ({0})",
)


def test_rare_errors_that_differ_in_their_words_are_errors_and_refusals_are_not(exam: Path) -> None:
    def failing(texts: tuple[str, ...], prompt: str) -> str:
        number = int(prompt.partition("第")[2].partition("题")[0])
        return texts[number // 10 % 6].format(number + 10) if number % 10 == 3 else right(prompt)

    with serving(lambda _, prompt: failing(ERRORS_OF_MANY_WORDS, prompt)) as (url, _):
        result = evaluated(url, exam)
    assert (result["ledger"]["errored"], result["ledger"]["unparsed"]) == (7, 0)
    assert "error texts of one kind" in result["why_not"]
    refusals = (
        "我无法回答。",
        "I cannot answer this.",
        "信息不足，无法判断。",
        "我不知道。",
        "未完成",
        "不确定",
    )
    with serving(lambda _, prompt: failing(refusals, prompt)) as (url, _):
        result = evaluated(url, exam)
    assert (result["ledger"]["errored"], result["ledger"]["unparsed"]) == (0, 7)
    assert any("speak of nothing that was asked" in words for words in result["alarms"])


@pytest.mark.parametrize("workers", [4, 8])
def test_one_broken_worker_of_several_is_not_trusted(workers: int, exam: Path) -> None:
    def answer(number: int, prompt: str) -> str:
        return "答案：A" if number <= len(LETTERS) and number % workers == 0 else right(prompt)

    with serving(answer) as (url, _):
        result = evaluated(url, exam)
    assert "asked alone, the service answers" in result["why_not"]


def test_replies_that_were_changed_on_disk_are_asked_for_again_and_told(exam: Path) -> None:
    with serving(lambda _, prompt: "答案：B") as (url, seen):
        before = evaluated(url, exam)["scores"][0]["value"]
        (path,) = (exam.parent / "work").rglob("predictions/*/*.jsonl")
        rows = path.read_text(encoding="utf-8").replace("答案：B", "答案：A", 3).split("\n")
        path.write_text("\n".join([rows[0], *rows]), encoding="utf-8")
        count = len(seen)
        result = evaluated(url, exam)
    assert result["scores"][0]["value"] == before
    assert result["ledger"]["asked"] == result["ledger"]["answered"] == len(LETTERS)
    assert count + 2 <= len(seen) <= count + 40
    assert any("replies on disk were not the ones" in words for words in result["alarms"])


def changed_alike(folder: Path) -> None:
    """Change three replies both where they were given and where they were graded."""
    for path in (next(folder.glob("predictions/*/*.jsonl")), folder / "samples.jsonl"):
        text = path.read_text(encoding="utf-8")
        assert text.count("答案：B") >= 3
        path.write_text(text.replace("答案：B", "答案：A", 3), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "asked", "words"),
    [
        (lambda folder: None, 0, ""),
        (changed_alike, 3, "replies on disk were not the ones"),
        (lambda folder: (folder / "alone.json").unlink(), 12, ""),
        (lambda folder: (folder / "alone.json").write_text('{"why": ""}'), 12, ""),
        (lambda folder: (folder / "seal.json").unlink(), 12, ""),
        (lambda folder: (folder / "seal.json").write_text("{"), 12, ""),
    ],
    ids=["nothing", "replies", "no second look", "another second look", "no seal", "a torn seal"],
)
def test_what_a_verdict_stands_on_is_sealed_and_sought_again_where_it_is_not_there(
    exam: Path, change: Callable[[Path], None], asked: int, words: str
) -> None:
    with serving(lambda _, prompt: "答案：B") as (url, seen):
        before = evaluated(url, exam)
        change(Path(before["folder"]))
        count = len(seen)
        result = evaluated(url, exam)
        assert result["scores"][0]["value"] == before["scores"][0]["value"]
        assert len(seen) - count >= asked
        assert any(words in alarm for alarm in result["alarms"]) if words else result["asked_now"] == 0
        if not asked:
            assert len(seen) == count


class Cached:
    """Gives whatever has the same *key* the reply that was given first, unless *model* was asked with a new one."""

    def __init__(self, key: Callable[[str], object], model: Callable[[str], str] = right) -> None:
        self.key, self.model, self.kept = key, model, dict[object, str]()
        self.lock = threading.Lock()

    def __call__(self, _: int, prompt: str) -> str:
        with self.lock:
            return self.kept.setdefault(self.key(prompt), self.model(prompt))


def in_words_of(prompt: str) -> str:
    letter = right(prompt)[-1]
    return f"答案：{letter}. " + prompt.partition(f"\n{letter}) ")[2].partition("\n")[0]


@pytest.fixture
def long_exam(exam: Path) -> Path:
    """The exam with questions of many lengths, whose beginnings some have in common."""
    path = exam / "facts_val.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows):
        row["question"] = (
            f"{'甲乙丙丁戊己庚辛'[number % 8] * 24}，" + "请看" * (number * 7 % 12) + row["question"]
        )
        row["D"] = "子丑寅卯辰巳午未"[number // 3 % 8] * 20
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return exam


@pytest.mark.parametrize(
    ("key", "spoken", "words"),
    [
        (len, right, "has the same length as another's"),
        (lambda prompt: prompt[: prompt.index("\n") + 20], right, "has the same beginning ("),
        (lambda prompt: prompt[-20:], right, "has the same end ("),
        (lambda prompt: prompt.strip()[:40], right, "with a number in front"),
        (
            lambda prompt: zlib.crc32(prompt.encode()) % 50,
            in_words_of,
            "choose an option of another question",
        ),
    ],
    ids=["length", "beginning", "end", "first words", "quoted options"],
)
def test_a_cache_that_questions_share_is_not_trusted(
    key: Callable[[str], object], spoken: Callable[[str], str], words: str, long_exam: Path
) -> None:
    with serving(Cached(key, spoken)) as (url, _):
        result = evaluated(url, long_exam)
    assert words in result["why_not"]
    assert not result["trusted"]


def test_a_cache_that_keeps_ids_is_told_also_of_a_weak_model_and_ids_of_the_time_are_not(exam: Path) -> None:
    def numbered(prompt: str, number: str) -> str:
        known = zlib.crc32(prompt.encode()) % 10 < 6
        return completion(right(prompt) if known else "答案：C", id=number).decode()

    kept = Cached(
        lambda prompt: zlib.crc32(prompt[::-1].encode()) % 80,
        lambda prompt: numbered(prompt, f"cmpl-{zlib.crc32(prompt.encode()):x}"),
    )
    with serving(lambda _, prompt: (200, {}, kept(0, prompt).encode())) as (url, _):
        result = evaluated(url, exam)
    assert "bear the id and the text of the reply to another question" in result["why_not"]
    (exam.parent / "work").rename(exam.parent / "before")
    with serving(lambda n, prompt: (200, {}, numbered(prompt, f"t{n * 2 // 3}").encode())) as (url, _):
        assert "bear the id" not in evaluated(url, exam)["why_not"]


def test_what_a_service_sends_behind_an_answer_is_not_the_next_one(exam: Path) -> None:
    def answer(_: int, prompt: str) -> tuple[int, dict[str, str], bytes]:
        body, other = completion(right(prompt)), completion("答案：A")
        more = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(other), other)
        return 200, {"Content-Length": str(len(body))}, body + more

    with serving(answer) as (url, _):
        result = evaluated(url, exam)
    assert result["trusted"], result["why_not"]
    assert result["scores"][0]["value"] == 1.0


@pytest.mark.parametrize(
    "weak",
    [
        lambda _: "答案：B",
        lambda prompt: f"答案：{'ABCD'[zlib.crc32(prompt.encode()) % 4]}",
        lambda prompt: right(prompt) if zlib.crc32(prompt.encode()) % 10 < 6 else "答案：C",
        lambda prompt: f"答案：{'ABCD'[zlib.crc32(prompt[40:60].encode()) % 4]}",
    ],
    ids=["one letter", "guesses", "knows some", "looks at a part"],
)
def test_a_weak_model_is_not_taken_for_a_cache(weak: Callable[[str], str], long_exam: Path) -> None:
    with serving(lambda _, prompt: weak(prompt)) as (url, seen):
        why = evaluated(url, long_exam)["why_not"]
    assert not any(words in why for words in ("cache", "another question", "number in front"))
    assert len(seen) <= 2 * len(LETTERS) + 60


def test_a_service_that_does_not_keep_max_tokens_is_told(exam: Path) -> None:
    usage = {"prompt_tokens": 60, "completion_tokens": 900}
    with serving(lambda _, prompt: (200, {}, completion(right(prompt), usage=usage))) as (url, _):
        result = evaluated(url, exam, max_tokens=16)
    assert any("64 of 64 replies have more tokens than the 16" in words for words in result["alarms"])
    assert result["trusted"]


def test_a_question_with_two_right_answers_is_told(exam: Path) -> None:
    path = exam / "facts_val.jsonl"
    row = json.loads(path.read_text(encoding="utf-8").split("\n")[0])
    turned = {
        "A": row["D"],
        "B": row["C"],
        "C": row["B"],
        "D": row["A"],
    }  # the same answer under another letter
    for more in (
        {**row, "answer": "B"},
        {**row, "question": "另一题？", "id": "x"},
        {**row, **turned, "answer": "D"},
    ):
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(more, ensure_ascii=False) + "\n")
    with serving(lambda _, prompt: "答案：A" if "另一题" in prompt else right(prompt)) as (url, _):
        result = evaluated(url, exam)
    assert any(
        "1 questions stand in the data with another right answer" in words for words in result["alarms"]
    )


def test_several_system_fingerprints_in_one_evaluation_are_told(exam: Path) -> None:
    with serving(lambda n, p: Raw()(odd(p, system_fingerprint=f"fp{n % 2}"))) as (url, _):
        result = evaluated(url, exam)
    assert any("2 system fingerprints (fp0, fp1)" in words for words in result["alarms"])


def test_a_key_at_the_cut_of_an_error_leaves_nothing_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sk-secret-value-123456")
    for before in ("x" * 290, " " * 395):
        for status in (401, 200):
            body = json.dumps({"error": f"{before}sk-secret-value-123456"}).encode()
            with (
                serving(lambda *_, s=status, b=body: (s, {}, b)) as (url, _),
                pytest.raises(ServiceError) as told,
            ):
                reply(url, api_key_env="A_KEY")
            assert "sk-sec" not in str(told.value)


def test_the_short_line_of_a_service_that_lost_its_port_is_what_was_last_seen() -> None:
    words = "m is not ready\nwanted: our process 7 on port 8000\nwaited: 3 s\nlast seen: process 9 listens there\n"
    words += (
        "first error: OSError: address in use\nlast lines of log:\n    [INFO:swift] rank: -1\nby hand: swift"
    )
    assert in_short(words) == "m is not ready: process 9 listens there (first error: OSError: address in use)"
    refused = (
        "m does not begin: the doctor found\nerror: m.key_env: KEY is not set\n    -> put KEY=… into .env"
    )
    assert in_short(refused).endswith("found: error: m.key_env: KEY is not set -> put KEY=… into .env")


@pytest.mark.parametrize(
    "last",
    [
        "RuntimeError: basic_ios::clear: iostream error",
        "RuntimeError: PytorchStreamWriter failed writing file data/0: file write failed",
        "OSError: [Errno 28] No space left on device",
    ],
)
def test_a_full_disk_is_told_as_such_however_a_tool_words_it(last: str, tmp_path: Path) -> None:
    command = Command((sys.executable, "-c", f"raise SystemExit({last!r})"))
    with contextlib.closing(Runner(tmp_path / "processes")) as runner, pytest.raises(CommandFailed) as caught:
        runner.run(command, tmp_path / "log", timeout_s=60, stall_s=60)
    assert "the disk is full, it seems: free some space" in str(caught.value)
    assert in_short(str(caught.value)).endswith(
        f"{last} (the disk is full, it seems: free some space (`make clean-stale`))"
    )
