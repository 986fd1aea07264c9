"""A small OpenAI-compatible service that misbehaves on request; takes the flags of ``swift deploy`` that matter.

``python tests/fakes/chat_server.py --served_model_name m --port 8000 --reply 你好 --die-at 20``. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

OPTIONS = argparse.ArgumentParser(description=__doc__)
OPTIONS.add_argument("--served_model_name", default="m")
OPTIONS.add_argument("--port", type=int, default=8000)
OPTIONS.add_argument("--reply", default="你好，很高兴见到你。")
OPTIONS.add_argument("--slow-start", type=float, default=0, metavar="S", help="listen after S seconds")
OPTIONS.add_argument("--crash", action="store_true", help="end with code 3 instead of listening")
OPTIONS.add_argument("--die-at", type=int, metavar="K", help="end with code 9 at the K-th completion")
OPTIONS.add_argument("--once", type=Path, metavar="FILE", help="die only while FILE does not exist; makes it")
OPTIONS.add_argument("--then", help="the reply once that FILE exists")
OPTIONS.add_argument("--cut", action="store_true", help="end in the middle of a streamed reply")
OPTIONS.add_argument(
    "--moves-on", action="store_true", help="take the next port where one is taken or lingers"
)
OPTIONS.add_argument("--moved", action="store_true", help="take the next free port")
OPTIONS.add_argument("--lingers", action="store_true", help="leave open connections to the kernel at the end")
OPTIONS.add_argument("--lists", help="list this name instead of the served one")
OPTIONS.add_argument("--garbage", action="store_true", help="answer completions with text that is no JSON")
OPTIONS.add_argument("--mute", action="store_true", help="never answer a completion")
OPTIONS.add_argument(
    "--deaf", type=Path, metavar="FILE", help="ignore SIGTERM, have deaf children; pids to FILE"
)
OPTIONS.add_argument("--key", help="refuse requests without this key")
OPTIONS.add_argument("--prompt-tokens", type=int, default=0, help="report this length of every prompt")

SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    options: argparse.Namespace
    asked = 0
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        """Keep the log for what matters."""

    def finish(self) -> None:
        """Send what is left before the connection is closed; only one that a death cuts is reset."""
        set_lingering(self.connection, True)
        super().finish()

    def do_GET(self) -> None:
        if self._admitted():
            name = self.options.lists or self.options.served_model_name
            self._send({"object": "list", "data": [{"id": name, "object": "model"}]})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._admitted():
            return
        with Handler.lock:
            Handler.asked += 1
            last = Handler.asked == self.options.die_at
        if last and not (self.options.once and self.options.once.exists()):
            if self.options.once:
                self.options.once.touch()
            print(f"dying at completion {self.options.die_at}", flush=True)
            os._exit(9)
        if self.options.mute:
            time.sleep(600)
        if self.options.garbage:
            self._send("<html>it works</html>")
        elif request.get("stream"):
            self._stream(request)
        else:
            self._send(self._completion(request))

    def _completion(self, request: dict[str, Any]) -> dict[str, Any]:
        died = self.options.once and self.options.once.exists()
        reply = self.options.then if self.options.then and died else self.options.reply
        message = {"role": "assistant", "content": reply}
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": self._usage(),
        }

    def _stream(self, request: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number, piece in enumerate(self.options.reply):
            if number and self.options.cut:
                self.wfile.flush()
                os._exit(9)
            self.wfile.write(b": ping\n\nevent: message\n")
            chunk = {"model": request["model"], "choices": [{"index": 0, "delta": {"content": piece}}]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        ended = {"model": request["model"], "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        told = {"model": request["model"], "choices": [], "usage": self._usage()}
        for chunk in (ended, told):
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _usage(self) -> dict[str, int]:
        return {"prompt_tokens": self.options.prompt_tokens, "completion_tokens": 4, "total_tokens": 4}

    def _admitted(self) -> bool:
        if self.options.key and self.headers["Authorization"] != f"Bearer {self.options.key}":
            self._send({"message": "wrong key"}, 401)
            return False
        return True

    def _send(self, answer: object, status: int = 200) -> None:
        body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def set_lingering(connection: socket.socket, lingers: bool) -> None:
    """Choose what closing does: send the rest and keep the port for a minute, or reset the connection at once."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", not lingers, 0))


class Server(ThreadingHTTPServer):
    """Whose port is free as soon as it dies; accepted connections take the option over."""

    def server_bind(self) -> None:
        if not getattr(Handler.options, "lingers", False):
            set_lingering(self.socket, False)
        super().server_bind()


def bindable(port: int) -> bool:
    """As ms-swift looks: a connection that lingers counts, too."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("", port))
        return True
    return False


def main() -> int:
    options, _ = OPTIONS.parse_known_args()
    Handler.options = options
    if options.crash:
        print("RuntimeError: no such weights", file=sys.stderr)
        return 3
    if options.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        near = subprocess.Popen([sys.executable, "-c", SLEEPER])
        far = subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True)
        options.deaf.write_text(f"{os.getpid()} {near.pid} {far.pid}")
    time.sleep(options.slow_start)
    port = options.port + options.moved
    while (options.moves_on or options.moved) and not bindable(port):
        port += 1
    Server(("127.0.0.1", port), Handler).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
