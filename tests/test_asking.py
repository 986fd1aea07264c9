"""What a service says when it fails is no reply; what a model says about such things is one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from evalscope.api.messages import ChatMessageUser
from evalscope.api.model import GenerateConfig
from fakes.service import serving
from openai import APIConnectionError, BadRequestError

from bakeoff.evalscope.asking import AskingAPI, Tries, is_error_text


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
