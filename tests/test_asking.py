"""What a service says when it fails is no reply; what a model says about such things is one."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from evalscope.api.messages import ChatMessageSystem, ChatMessageUser
from evalscope.api.model import GenerateConfig
from evalscope.models.openai_compatible import OpenAICompatibleAPI
from fakes.service import serving
from openai import APIConnectionError, BadRequestError, OpenAIError

from bakeoff.evalscope.asking import AskingAPI, Tries, in_words, is_error_text


@pytest.mark.parametrize(
    "text",
    [
        "This model's maximum context length is 512 tokens. However, you requested more. 答案：B Option B",
        "Error code: 500 - {'error': {'message': 'boom'}}",
        "RuntimeError: CUDA out of memory",
        "502 Bad Gateway",
        "<html><body>503 Service Temporarily Unavailable</body></html>",
        "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head></html>",
        "<html><body>503</body></html>",
        '{"error": "rate limit"}',
        '{"message": "boom", "code": 500}',
        "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
        "服务繁忙",
        "服务繁忙，请稍后再试",
        "当前系统繁忙，请稍后重试。",
        "抱歉，服务器繁忙，请稍后再试！",
        "Internal Server Error",
        "HTTP 503 Service Unavailable",
        "HTTP Error 503: Service Unavailable",
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried",
        "CUDA out of memory. Tried to allocate 2 GiB",
        "CUDA error: device-side assert",
        '{"error": {"message": "CUDA error, see option B", "code": 500}}',
        '{"detail": "Not Found"}',
        '{"object":"error","message":"x","code":40301}',
        "[ERROR] x",
        "Traceback (most recent call last):\n",
        "Rate limit exceeded",
        "Connection error.",
        "Request timed out.",
        "系统内部错误，请稍后再试",
        "<html><body><h1>你好</h1></body></html>",
    ],
)
def test_a_failing_service_is_recognised(text: str) -> None:
    assert is_error_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "502 Bad Gateway 表示网关从上游收到无效响应，故选B",
        "答案：B，因为 500 是服务器内部错误",
        "Error code 是程序返回的代码，选A",
        "Error code: 404 表示没有找到，所以选C",
        "Internal Server Error 是 500，选B",
        "CUDA out of memory 是显存不足，答案：B",
        '{"answer": "B"}',
        '{"error": null, "answer": "B"}',
        '{"error": "none", "answer": "B"}',
        '{"message": "我很难过", "mood": 3}',
        "[1]",
        "服务繁忙时咨询师应当先安抚来访者，选B",
        "系统错误属于测量误差的一种，选A",
        "系统错误。选B",
        "系统错误",
        "<p>500 人参加了实验</p>",
        "我最近很忙，系统地复习了",
        "The model's maximum context length is a limit. Answer: B",
        "请求过多会让人疲惫",
        "模型错误：选项B",
        "网络",
        "B",
        "",
        "请再试一次",
        "Not Found 是 404，选D",
        "抱歉，我无法回答",
        "Connection errors are common",
        "RuntimeError 是运行时错误，选B",
    ],
)
def test_a_reply_that_speaks_of_failures_is_a_reply(text: str) -> None:
    assert not is_error_text(text)


def ask(api: AskingAPI, questions: int, threads: int) -> list[str]:
    def one(number: int) -> str:
        output = api.generate([ChatMessageUser(content=f"第{number}题")], [], "auto", GenerateConfig())
        return str(output.completion)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(questions)))


def test_many_threads_share_a_few_connections_and_use_them_again() -> None:
    with serving("--reply", "echo", "--latency-s", "0.01") as service:
        replies = ask(AskingAPI("m", service.url, "EMPTY", in_flight=4), questions=60, threads=16)
        told = service.stats()
    assert replies == [f"第{number}题" for number in range(60)]
    assert told["requests"] == 60
    assert 2 <= told["peak"] <= 4
    assert told["connections"] <= 4 + 1  # the last one asks for these figures


def test_a_slot_is_free_again_after_a_question_that_failed() -> None:
    with serving("--fault", "bad:1-8") as service:
        api = AskingAPI("m", service.url, "EMPTY", in_flight=2)
        for _ in range(8):
            with pytest.raises(BadRequestError):
                ask(api, 1, 1)
        assert len(ask(api, 8, 8)) == 8


def test_a_service_elsewhere_is_asked_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving("--reply", "here") as here, serving("--reply", "the proxy") as proxy:
        for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        named = proxy.url.removesuffix("/v1")
        for name in (named, named.removeprefix("http://")):
            monkeypatch.setenv("http_proxy", name)
            assert ask(AskingAPI("m", here.url, "EMPTY", in_flight=1), 1, 1) == ["here"]
            elsewhere = AskingAPI("m", "http://models.invalid/v1", "EMPTY", in_flight=1)
            assert ask(elsewhere, 1, 1) == ["the proxy"]
        monkeypatch.setenv("no_proxy", "models.invalid")
        with pytest.raises(APIConnectionError):
            ask(
                AskingAPI("m", "http://models.invalid/v1", "EMPTY", in_flight=1, tries=Tries(attempts=1)),
                1,
                1,
            )


CONFIG = GenerateConfig(
    temperature=0,
    max_tokens=12,
    top_k=3,
    repetition_penalty=1.1,
    stop_seqs=["完"],
    seed=5,
    extra_body={"chat_template_kwargs": {"thinking": False}, "max_tokens": 13},
    extra_headers={"x-trace": "1", "user-agent": "mine"},
    extra_query={"api-version": "2"},
)
MESSAGES = [ChatMessageSystem(content="简短回答"), ChatMessageUser(content="第1题“甲”？")]


class Echo(BaseHTTPRequestHandler):
    """Replies with what it was sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        ours = ("host", "content-length", "x-stainless-retry-count", "x-stainless-read-timeout")
        headers = {k.lower(): v for k, v in self.headers.items() if k.lower() not in ours}
        sent = json.dumps([self.path, headers, body], ensure_ascii=False, sort_keys=True)
        choice = {"index": 0, "finish_reason": "length", "message": {"content": sent, "reasoning": "想"}}
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        answer = {"id": "1", "created": 3, "model": "m", "choices": [choice], "usage": usage}
        content = json.dumps(answer, ensure_ascii=False).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def test_a_question_is_sent_and_read_as_the_client_would() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        api = AskingAPI("m", f"http://127.0.0.1:{server.server_port}/v1", "key", in_flight=1)
        mine = api.generate(MESSAGES, [], "none", CONFIG)
        with api.slots.taken():
            theirs = OpenAICompatibleAPI.generate(api, MESSAGES, [], "none", CONFIG)
    finally:
        server.shutdown()
        server.server_close()
    passing = {"id", "time", "perf_metrics", "latency"}

    def lasting(value: object) -> object:
        if isinstance(value, dict):
            return {name: lasting(item) for name, item in value.items() if name not in passing}
        return [lasting(item) for item in value] if isinstance(value, list) else value

    assert lasting(mine.model_dump()) == lasting(theirs.model_dump())
    path, headers, body = json.loads(mine.completion)
    assert path == "/v1/chat/completions?api-version=2"
    assert headers["authorization"] == "Bearer key"
    assert headers["user-agent"] == "mine"
    assert body["max_tokens"] == 13
    assert body["stop"] == ["完"]
    assert body["messages"][0]["role"] == "system"
    assert mine.message.perf_metrics.input_tokens == 7


@pytest.mark.parametrize("fault", ["500", "429", "503", "bad", "context", "gone"])
def test_a_refusal_is_the_client_s_own_error(fault: str) -> None:
    with serving("--fault", "503" if fault == "gone" else fault) as service:
        url = service.url.replace(str(service.port), "1") if fault == "gone" else service.url
        api = AskingAPI("m", url, "EMPTY", in_flight=1, timeout_s=1, tries=Tries(attempts=1, pause_s=2))
        with pytest.raises(OpenAIError) as mine:
            api.generate(MESSAGES, [], "none", GenerateConfig())
        with api.slots.taken(), pytest.raises(OpenAIError) as theirs:
            OpenAICompatibleAPI.generate(api, MESSAGES, [], "none", GenerateConfig(retries=1))
        assert type(mine.value) is type(theirs.value)
        assert in_words(mine.value) == in_words(theirs.value)
        assert list(api.errors.values()) == [in_words(mine.value)]
