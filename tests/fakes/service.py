"""An OpenAI-compatible service that answers by a script and fails on command. Standard library only.

``python tests/fakes/service.py --port 0 --name m --reply oracle --answers answers.json --fault 500:3-5`` prints
``READY <port>`` and serves until killed. ``GET /stats`` tells how many chat requests came, the greatest number
open at once, how many connections were made in all (with that for the stats) and the bodies' distinct settings.

Replies (``--reply``): a fixed text, or ``oracle`` (the answer of ``--answers``, a JSON map from a piece of the prompt
to the reply), ``always:A``, ``random:<seed>`` (a letter that depends on the prompt), ``echo`` (the prompt).

``--reply option:TEXT`` answers with the letter of the prompt's line that holds TEXT. With ``--logprobs`` each
character of a reply is a token with log-probabilities where a request asks for them: ``full`` (with as many
alternatives as it asks for), ``own`` (its own token alone), or a number (more alternatives are refused with HTTP 400).

Faults (``--fault kind[:from[-to]]``, counted from 1 by request, repeatable): ``500``, ``429``, ``503``, ``context``
(HTTP 400 with a length error), ``bad`` (HTTP 400), ``empty``, ``null``, ``cut`` (finish_reason length), ``slow``
(``--slow-s``), ``die`` (exit), ``other`` (another model's name in the reply), ``errortext`` and ``contexttext`` (HTTP
200 with an error for a reply), ``nochoices``, ``garbage`` (no JSON), ``broken`` (a stream stops
in its middle), ``nan`` (log-probabilities that are none). A 429 carries ``--retry-after`` where it is given.
``--fault-prompt TEXT=kind`` fails the requests whose prompt contains TEXT instead.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LENGTH_ERROR = (
    "This model's maximum context length is 512 tokens. However, you requested more. 答案：B Option B"
)


class Running:
    """A service that :func:`serving` started."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port
        self.url = f"http://127.0.0.1:{port}/v1"

    def stats(self) -> dict[str, Any]:
        """What it counted, over a connection that we close: after its own, the kernel keeps its port for a minute."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/stats")
            return dict(json.load(connection.getresponse()))


@contextlib.contextmanager
def serving(*flags: str) -> Iterator[Running]:
    """Run this program with *flags* until the block ends."""
    process = subprocess.Popen([sys.executable, __file__, *flags], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready = process.stdout.readline().split()
        assert ready[:1] == ["READY"], f"the service did not start: {ready}"
        yield Running(process, int(ready[1]))
    finally:
        process.kill()
        process.communicate()


class Service(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(("127.0.0.1", options.port), Handler)
        self.options = options
        self.lock = threading.Lock()
        self.requests = self.open = self.peak = self.connections = 0
        self.settings: list[dict[str, Any]] = []
        self.models: set[str] = set()
        self.prompts: list[str] = []
        answers = json.loads(Path(options.answers).read_text(encoding="utf-8")) if options.answers else {}
        self.answers = sorted(answers.items(), key=lambda pair: -len(pair[0]))
        self.exact = answers

    def server_bind(self) -> None:
        """Leave the port free at once after a death: accepted connections take the option over."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        super().server_bind()

    def fault(self, number: int, prompt: str) -> str:
        for piece, kind in (one.rsplit("=", 1) for one in self.options.fault_prompt):
            if piece in prompt:
                return str(kind)
        for one in self.options.fault:
            kind, _, span = one.partition(":")
            first, _, last = span.partition("-")
            if int(first or 1) <= number <= int(last or (first if first and "-" not in span else 10**9)):
                return str(kind)
        return ""

    def reply(self, prompt: str) -> str:
        script = self.options.reply
        if script == "oracle":
            if prompt in self.exact:
                return str(self.exact[prompt])
            return next((str(reply) for piece, reply in self.answers if piece in prompt), "不知道")
        if script.startswith("always:"):
            return f"答案：{script[7:]}"
        if script.startswith("option:"):
            lines = (line.strip(" (") for line in prompt.splitlines() if script[7:] in line)
            return next((line[0] for line in lines if line[1:2] in ").．"), "不知道")
        if script.startswith("random:"):
            digest = hashlib.sha256(f"{script[7:]} {prompt}".encode()).digest()
            return f"答案：{'ABCD'[digest[0] % 4]}"
        return prompt if script == "echo" else script


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def finish(self) -> None:
        """Send what is left before the connection is closed; only one that a death cuts is reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        super().finish()

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.endswith("/models"):
            self.send(200, {"object": "list", "data": [{"id": self.server.options.name, "object": "model"}]})
        elif self.path == "/stats":
            service = self.server
            names = ("requests", "peak", "connections", "settings", "prompts")
            self.send(
                200, {name: getattr(service, name) for name in names} | {"models": sorted(service.models)}
            )
        else:
            self.send(404, {"error": {"message": "no such path", "code": 404}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        service = self.server
        if not self.path.endswith("/chat/completions"):
            self.send(404, {"error": {"message": f"no such path {self.path}", "code": 404}})
            return
        prompt = "\n".join(str(message.get("content")) for message in body.get("messages", []))
        settings = {k: v for k, v in body.items() if k not in ("messages", "model")}
        with service.lock:
            service.requests += 1
            number = service.requests
            service.open += 1
            service.peak = max(service.peak, service.open)
            service.models.add(str(body.get("model")))
            if settings not in service.settings:
                service.settings.append(settings)
            if service.options.keep_prompts:
                service.prompts.append(prompt)
        try:
            self.answer(body, prompt, service.fault(number, prompt))
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with service.lock:
                service.open -= 1

    def answer(self, body: dict[str, Any], prompt: str, fault: str) -> None:
        options = self.server.options
        if fault == "die":
            os._exit(1)
        if options.latency_s:
            time.sleep(options.latency_s)
        if fault == "slow":
            time.sleep(options.slow_s)
        if options.check_name and body.get("model") != options.name:
            message = f"The model `{body.get('model')}` does not exist. Options: A B C"
            self.send(404, {"error": {"message": message, "code": "model_not_found"}})
            return
        if fault in ("500", "429", "503"):
            error = {"message": f"failed on purpose, Option B ({fault})", "code": int(fault)}
            after = {"Retry-After": options.retry_after} if fault == "429" and options.retry_after else {}
            self.send(int(fault), {"error": error}, after)
            return
        if fault == "context":
            error = {"message": LENGTH_ERROR, "type": "BadRequestError", "code": "context_length_exceeded"}
            self.send(400, {"error": error})
            return
        if fault == "bad":
            self.send(400, {"error": {"message": "invalid request B", "code": 400}})
            return
        if fault == "nochoices":
            self.send(200, {"error": {"message": "engine is dead, B", "code": 500}})
            return
        if fault == "garbage":
            self.raw(200, b"<html>Bad gateway B</html>", "text/html")
            return
        content: str | None = self.server.reply(prompt)
        if fault in ("empty", "null"):
            content = "" if fault == "empty" else None
        elif fault == "errortext":
            content = '{"error": {"message": "CUDA error, see option B", "code": 500}}'
        elif fault == "contexttext":
            content = LENGTH_ERROR
        elif fault == "cut":
            content = "我们来逐项分析。选项 A 的意思是"
        told: dict[str, Any] = {}
        if body.get("logprobs") and options.logprobs:
            most = int(options.logprobs) if options.logprobs.isdecimal() else 10**6
            if body.get("top_logprobs", 0) > most:
                message = f"top_logprobs must be at most {most}, found {body['top_logprobs']}"
                self.send(400, {"error": {"message": message, "code": 400}})
                return
            content = (content or "")[: body.get("max_tokens")]
            told = {"logprobs": {"content": [self.token(piece, body) for piece in content]}}
            if fault == "nan":
                told["logprobs"]["content"][0]["top_logprobs"][1]["logprob"] = float("nan")
        choice = {
            **told,
            "index": 0,
            "finish_reason": "length" if fault == "cut" else "stop",
            "message": {"role": "assistant", "content": content},
        }
        answered = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": "somebody-else" if fault == "other" else body.get("model", options.name),
            "choices": [choice],
            "system_fingerprint": options.fingerprint,
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        if body.get("stream"):
            self.stream(answered, content or "", broken=fault == "broken")
        else:
            self.send(200, answered)

    def token(self, piece: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """One token with its alternatives: letters of a question in several spellings, and a word."""
        own = {"token": piece, "logprob": -0.2, "bytes": list(piece.encode())}
        if self.server.options.logprobs == "own":
            return own
        others = [
            {"token": text, "logprob": -2.0 - place, "bytes": list(text.encode())}
            for place, text in enumerate((" B", "Ａ", "(C", "的", "▁D"))
            if text.strip(" (▁").replace("Ａ", "A") != piece
        ]
        return {**own, "top_logprobs": [own, *others][: body.get("top_logprobs", 0)]}

    def stream(self, answered: dict[str, Any], content: str, *, broken: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        finish = answered["choices"][0]["finish_reason"]
        pieces = [*({"content": piece} for piece in content), {}]
        for number, delta in enumerate(pieces[:-1] if broken else pieces, 1):
            ended = finish if number == len(pieces) else None
            choice = {"index": 0, "delta": delta, "finish_reason": ended}
            chunk = {**answered, "object": "chat.completion.chunk", "choices": [choice]}
            if ended:
                tokens = len(pieces) - 1
                chunk["usage"] = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
            else:
                chunk.pop("usage", None)
            self.wfile.write(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode())
            self.wfile.flush()
        if not broken:
            self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def send(self, status: int, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        self.raw(status, json.dumps(body, ensure_ascii=False).encode(), "application/json", headers)

    def raw(self, status: int, content: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--name", default="m")
    parser.add_argument("--reply", default="答案：A")
    parser.add_argument("--answers")
    parser.add_argument("--fault", action="append", default=[])
    parser.add_argument("--fault-prompt", action="append", default=[])
    parser.add_argument("--latency-s", type=float, default=0.0)
    parser.add_argument("--slow-s", type=float, default=5.0)
    parser.add_argument("--retry-after", help="seconds, or a date, that a 429 asks to wait")
    parser.add_argument(
        "--logprobs", default="", help="full, own, or how many alternatives are given at most"
    )
    parser.add_argument("--fingerprint", help="the system fingerprint of its replies")
    parser.add_argument("--check-name", action="store_true")
    parser.add_argument("--keep-prompts", action="store_true")
    service = Service(parser.parse_args())
    print(f"READY {service.server_address[1]}", flush=True)
    service.serve_forever()


if __name__ == "__main__":
    main()
