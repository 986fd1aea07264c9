"""Services that lie, mix up, drip or change: none of it may end a stage, or become a score that is trusted."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bakeoff import evalscope
from bakeoff.endpoint.address import http_session, key_of, spared_by_proxies
from bakeoff.endpoint.answers import is_version_of
from bakeoff.endpoint.asking import ask
from bakeoff.endpoint.streams import stream
from bakeoff.endpoint.texts import printable
from bakeoff.error_texts import is_error_text, may_be_error_text
from bakeoff.errors import ServiceError
from bakeoff.evalscope import worker
from bakeoff.judgement.replies import Respondent, gather, load_cases
from bakeoff.matrix.schema import Suite

Answer = Callable[[int, str], Any]
"""(number of the request, prompt) -> the reply's content, or (status, headers, body)."""


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A service on a free loopback port; its address and the headers of the requests that came."""
    seen: list[dict[str, str]] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                seen.append({name.lower(): value for name, value in self.headers.items()})
                number = len(seen)
            content = answer(number, body["messages"][-1]["content"])
            status, headers, data = content if isinstance(content, tuple) else (200, {}, completion(content))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
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


def test_names_with_a_date_or_a_tag_are_versions_and_others_are_not() -> None:
    assert is_version_of("gpt-4o", "gpt-4o-2024-08-06")
    assert is_version_of("qwen", "qwen:latest")
    assert not is_version_of("gpt-4o", "gpt-4o-mini")
    assert not is_version_of("oracle", "cheap-mini")


def test_escapes_are_shown() -> None:
    assert printable("a\x1b[2Jb\u202ec\n") == "a\\x1b[2Jb\\u202ec\n"


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
    ],
)
def test_error_texts_are_known_by_their_form(text: str) -> None:
    assert is_error_text(text)


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
    "no gzip": (lambda p: Raw(Content_Encoding="gzip")(odd(p)), "DecodingError"),
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


@pytest.mark.parametrize("workers", [4, 8])
def test_one_broken_worker_of_several_is_not_trusted(workers: int, exam: Path) -> None:
    def answer(number: int, prompt: str) -> str:
        return "答案：A" if number <= len(LETTERS) and number % workers == 0 else right(prompt)

    with serving(answer) as (url, _):
        result = evaluated(url, exam)
    assert "asked alone, the service answers" in result["why_not"]


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
