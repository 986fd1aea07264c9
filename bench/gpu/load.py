"""Ask a running service as fast as it answers, out of several processes, with nothing of the harness between.

    python bench/gpu/load.py --url http://127.0.0.1:8000/v1 --model m --data .data --in-flight 512

What a client can cost at least: C-Eval's 1,346 validation rows and 30 of CMMLU per subject (3,356 questions) as chat
requests over connections that stay open, the length of each reply counted and nothing else looked at. The seconds are
those that the engine and its own server need. Every --mark begins the prompts in another way, so that a second call
does not find the first one's prompts in a prefix cache.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import itertools
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

LETTERS = "ABCD"


def questions(data: Path, per_subject: int) -> list[str]:
    """Return the prompts, C-Eval's first."""
    asked = []
    for path in sorted((data / "ceval").glob("*_val.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            asked += [
                "\n".join([row["question"], *(f"{letter}. {row[letter]}" for letter in LETTERS)])
                for row in csv.DictReader(file)
            ]
    subjects: Counter[str] = Counter()
    with (data / "cmmlu/default_test.jsonl").open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            subjects[row["category"]] += 1
            if subjects[row["category"]] <= per_subject:
                asked.append("\n".join([row["question"], *row["choices"]]))
    return asked


async def ask(url: str, bodies: list[bytes], in_flight: int) -> dict[str, int]:
    """Return how many tokens were read and written, and how many requests failed."""
    parts = urlsplit(url)
    path = f"{parts.path}/chat/completions"
    counted = {"prompt_tokens": 0, "completion_tokens": 0, "failed": 0, "answered": 0}
    waiting = iter(bodies)

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for body in waiting:
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            if "content-length:" in head:
                content = await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
            else:
                content = await _chunks(reader)
            if " 200 " not in head.split("\r\n")[0]:
                counted["failed"] += 1
                print(content[:300], file=sys.stderr)
                continue
            counted["answered"] += 1
            for name, value in json.loads(content)["usage"].items():
                if name in counted:
                    counted[name] += int(value)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(min(in_flight, len(bodies)))))
    return counted


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    content = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        content += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return content


def shared(url: str, bodies: list[bytes], in_flight: int, processes: int) -> dict[str, int]:
    """The same from several processes, each with its part of the requests and of the connections."""
    readers = []
    for number in range(processes):
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.close(reading)
            counted = asyncio.run(ask(url, bodies[number::processes], max(1, in_flight // processes)))
            os.write(writing, json.dumps(counted).encode())
            os._exit(0)
        os.close(writing)
        readers.append(reading)
    total: Counter[str] = Counter()
    for reading in readers:
        with os.fdopen(reading, "rb") as file:
            text = file.read()
        total.update(json.loads(text) if text else {"died": 1})
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return dict(total)


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Return the seconds and what was counted."""
    asked = [f"{options.mark}{prompt}" for prompt in questions(options.data, options.cmmlu)]
    settings = {"max_tokens": options.max_tokens, "temperature": 0}
    names = options.model.split(",")
    bodies = [
        json.dumps(
            {**settings, "model": name, "messages": [{"role": "user", "content": prompt}]}, ensure_ascii=False
        ).encode()
        for prompt, name in zip(asked[: options.rows], itertools.cycle(names))
    ]
    began = time.monotonic()
    counted = shared(options.url, bodies, options.in_flight, options.processes)
    took = time.monotonic() - began
    return {
        "in_flight": options.in_flight,
        "processes": options.processes,
        "seconds": round(took, 2),
        "rows": len(bodies),
        "rows_per_s": round(len(bodies) / took, 1),
        "written_tokens_per_s": round(counted.get("completion_tokens", 0) / took),
        **counted,
    }


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--url", required=True)
    made.add_argument("--model", required=True, help="several, by commas, take turns")
    made.add_argument("--data", type=Path, required=True, help="folder with ceval/ and cmmlu/")
    made.add_argument("--in-flight", type=int, default=512)
    made.add_argument("--processes", type=int, default=8)
    made.add_argument("--max-tokens", type=int, default=128)
    made.add_argument("--cmmlu", type=int, default=30, help="rows per subject")
    made.add_argument("--rows", type=int, help="only the first of the questions")
    made.add_argument("--mark", default="", help="begins every prompt")
    return made


if __name__ == "__main__":
    print(json.dumps(measure(parser().parse_args())))
