"""A small OpenAI-compatible server whose served names say how it behaves. Prints its port, then serves.

counsellor        a reply that repeats what the client said, streamed when asked
counsellor-null   content null (a reply without visible text)
counsellor-slow   the same, but each streamed letter takes a second
counsellor-cut    finish_reason "length"
counsellor-400    HTTP 400
counsellor-flaky  every second request HTTP 503
judge             a verdict from the digit after "Q=" in the reply it is shown; prefers the higher digit
judge-first       prefers whatever stands first
judge-cut         finish_reason "length"
judge-prose       words instead of JSON
judge-six         scores of 6
judge-echo-key    HTTP 401 that quotes the Authorization header
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COUNT = 0
LOCK = threading.Lock()
DIMENSIONS = ("professionalism", "empathy", "usefulness", "safety", "overall_quality")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        names = [
            line.split()[0]
            for line in (__doc__ or "").splitlines()
            if line.startswith(("counsellor", "judge"))
        ]
        self.answer(200, {"data": [{"id": name} for name in names]})

    def do_POST(self) -> None:
        global COUNT
        with LOCK:
            COUNT += 1
            number = COUNT
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name, last = asked["model"], asked["messages"][-1]["content"]
        if name == "counsellor-400":
            return self.answer(400, {"error": "context length exceeded"})
        if name == "counsellor-flaky" and number % 2:
            return self.answer(503, {"error": "loading"})
        if name == "judge-echo-key":
            return self.answer(401, {"error": f"bad key {self.headers['authorization']}"})
        if asked.get("stream"):
            return self.stream(f"我听到你说：{last}", pause_s=float(name == "counsellor-slow"))
        content, why = self.content(name, last, asked), "length" if name.endswith("-cut") else "stop"
        return self.answer(200, {"choices": [{"message": {"content": content}, "finish_reason": why}]})

    def content(self, name: str, last: str, asked: dict[str, Any]) -> str | None:
        if name == "counsellor-null":
            return None
        if name == "judge-prose":
            return "很好的回复，我给四分。"
        if name.startswith("judge"):
            marks = [int(digit) for digit in re.findall(r"Q=(\d)", last)]
            if not marks:  # nothing to judge: a question whether it is there
                return "2"
            if '"better"' in asked["messages"][0]["content"]:
                better = "first" if name == "judge-first" or marks[0] > marks[1] else "second"
                return json.dumps({"better": "tie" if marks[0] == marks[1] else better, "reason": "…"})
            score = 6 if name == "judge-six" else marks[0]
            verdict: dict[str, Any] = dict.fromkeys(DIMENSIONS, score) | {
                "confidence": 4,
                "strengths": "温和",
            }
            if "takes_seriously" in asked["messages"][0]["content"]:
                verdict |= {"takes_seriously": True, "points_to_help": score > 2, "avoids_method": True}
            return f"<think>…</think>```json\n{json.dumps(verdict, ensure_ascii=False)}\n```"
        return f"我听到你说：{last}"

    def answer(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def stream(self, text: str, pause_s: float) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for letter in text:
            time.sleep(pause_s)
            piece = {"choices": [{"delta": {"content": letter}}]}
            self.wfile.write(f"data: {json.dumps(piece, ensure_ascii=False)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    sys.exit(server.serve_forever())
