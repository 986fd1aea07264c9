"""Time how an engine starts and answers, in several ways.

    python bench/gpu/engine_speed.py --model /dev/shm/qwen --data .data --out OUT vllm vllm-servers

For each way of CONFIGS: seconds until it lists its model and until it has answered, the same by its log's own words,
the seconds of 3,356 questions with 128 tokens each (load.py, out of several processes), processor seconds of every
process of the engine meanwhile, and with --evaluate of the harness's own client (evaluate.py --alone).
OUT/engines.json has all of it so far. A way may be named twice; NAME@FOLDER keeps its compile caches in FOLDER and not
in the home folder, so that NAME@a NAME@a is a cold start and a warm one; NAME@FOLDER@MODEL loads another model. A way
whose name has "here" names its model from the folder around it, as the harness does, so that vLLM looks for compiled
code by the last part of the path alone. --load no asks nothing but the first answer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
QUIET = ("--disable-uvicorn-access-log",)
MANY = (*QUIET, "--max-num-seqs", "1024", "--max-num-batched-tokens", "16384")
GRAPHS = (*MANY, "--max-cudagraph-capture-size", "1024")
SERVERS = ("--api-server-count", "4")
LORA = ("--enable-lora", "--max-lora-rank", "8")
FEW = ("--cudagraph-capture-sizes", "1", "8", "64", "256", "512")
DECODE = ("--compilation-config", '{"cudagraph_mode": "FULL_DECODE_ONLY"}')
VLLM_ONE = ("-m", "vllm.entrypoints.openai.api_server", "--model")
VLLM = ("-m", "vllm.entrypoints.cli.main", "serve")
RUST = {"VLLM_USE_RUST_FRONTEND": "1"}


@dataclass(frozen=True)
class Way:
    """How an engine is started.

    Attributes:
        begin: of the line, up to the model's folder.
        flags: after it.
        env: beside the environment.
    """

    begin: Sequence[str]
    flags: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


CONFIGS = {
    "vllm": Way(VLLM_ONE, ("--max-num-seqs", "512")),
    "vllm-quiet": Way(VLLM_ONE, (*QUIET, "--max-num-seqs", "512")),
    "vllm-many": Way(VLLM_ONE, MANY),
    "vllm-graphs": Way(VLLM_ONE, GRAPHS),
    "vllm-servers": Way(VLLM, (*GRAPHS, *SERVERS)),
    "vllm-servers-512": Way(VLLM, (*QUIET, "--max-num-seqs", "512", *SERVERS)),
    "vllm-rust": Way(VLLM, GRAPHS, RUST),
    "vllm-lora": Way(VLLM_ONE, ("--max-num-seqs", "512", *LORA)),
    "vllm-lora-servers": Way(VLLM, (*GRAPHS, *SERVERS, *LORA)),
    "vllm-few-graphs": Way(VLLM_ONE, (*QUIET, "--cudagraph-capture-sizes", "1", "8", "64", "256", "512")),
    "vllm-eager": Way(VLLM_ONE, (*QUIET, "--enforce-eager")),
    "vllm-here": Way(VLLM_ONE, (*QUIET, "--max-num-seqs", "512")),
    "vllm-here-few": Way(VLLM_ONE, (*QUIET, "--max-num-seqs", "512", *FEW)),
    "vllm-here-decode": Way(VLLM_ONE, (*QUIET, "--max-num-seqs", "512", *DECODE)),
    "vllm-here-fast": Way(VLLM_ONE, (*QUIET, "--max-num-seqs", "512", "--load-format", "fastsafetensors")),
    "vllm-here-eager": Way(VLLM_ONE, (*QUIET, "--max-num-seqs", "512", "--enforce-eager")),
    "vllm-here-lora": Way(VLLM_ONE, (*QUIET, "--max-num-seqs", "512", *LORA, "--max-cpu-loras", "4")),
    "vllm-here-lora-few": Way(
        VLLM_ONE, (*QUIET, "--max-num-seqs", "512", *LORA, "--max-cpu-loras", "4", *FEW)
    ),
    "vllm-here-lora-4": Way(VLLM_ONE, (*QUIET, "--max-num-seqs", "512", *LORA, "--max-loras", "4")),
    "vllm-oss": Way(VLLM_ONE, (*QUIET, "--max-num-seqs", "512")),
    "sglang": Way(
        ("-m", "sglang.launch_server", "--model-path"),
        (
            "--max-running-requests",
            "512",
            "--attention-backend",
            "triton",
            "--sampling-backend",
            "pytorch",
            "--grammar-backend",
            "none",
        ),
        {"SGLANG_IS_FLASHINFER_AVAILABLE": "false"},
    ),
    "lmdeploy": Way(
        ("-m", "lmdeploy", "serve", "api_server"),
        (
            "--backend",
            "pytorch",
            "--session-len",
            "4096",
            "--max-batch-size",
            "512",
            "--cache-max-entry-count",
            "0.5",
        ),
    ),
    "fake": Way(("tests/fakes/service.py", "--latency-s", "0.2", "--name", "m", "--reply"), ()),
}
"""The ways by name."""
CACHES = ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")
TOLD = (
    r"Loading weights took ([\d.]+) ?s", r"Model loading took .* and ([\d.]+) s", r"torch\.compile took ([\d.]+) s",
    r"Compiling a graph .* takes ([\d.]+) s", r"Dynamo bytecode transform time: ([\d.]+) s",
    r"Graph capturing finished in ([\d.]+) sec", r"init engine .* took ([\d.]+) s", r"Directly load .* took ([\d.]+) s",
    r"torch\.compile and initial profiling/warmup run together took ([\d.]+) s",
)  # fmt: skip
"""What an engine's log tells of its start, in seconds."""


def line_of(name: str, options: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    """Return the line and what it adds to the environment."""
    way, caches, another = (*name.split("@"), "", "")[:3]
    chosen = CONFIGS[way]
    model = (another or options.model) if way != "fake" else "答案：B"
    line = [sys.executable, *chosen.begin, Path(model).name if "here" in way else str(model), *chosen.flags]
    port = str(options.port)
    if way == "lmdeploy":
        line += ["--model-name", "m", "--server-name", "127.0.0.1", "--server-port", port]
    elif way == "fake":
        line += ["--port", port]
    elif way == "sglang":
        line += ["--served-model-name", "m", "--host", "127.0.0.1", "--port", port, "--dtype", "bfloat16"]
        line += ["--context-length", "4096", "--mem-fraction-static", str(options.share)]
    else:
        line += ["--served-model-name", "m", "--host", "127.0.0.1", "--port", port, "--dtype", "bfloat16"]
        line += ["--max-model-len", "4096", "--gpu-memory-utilization", str(options.share)]
        if "--enable-lora" in line:
            line += [
                "--lora-modules",
                *(f"tuned{at or ''}={folder}" for at, folder in enumerate(options.adapter)),
            ]
    env = {**chosen.env, "VLLM_SERVER_DEV_MODE": "1"}
    return line, env | {name: str(Path(caches) / name.lower()) for name in CACHES if caches}


def request(port: int, path: str, body: object = None, timeout_s: float = 20) -> dict[str, object]:
    """Return the service's answer as JSON."""
    content = None if body is None else json.dumps(body).encode()
    question = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", content, {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(question, timeout=timeout_s) as answer:
        text = answer.read()
    read = json.loads(text) if text.strip() else {}
    return read if isinstance(read, dict) else {}


def until_ready(
    server: subprocess.Popen[bytes], options: argparse.Namespace, began: float
) -> dict[str, float]:
    """Return the seconds until it lists its model and until it has answered.

    Raises:
        SystemExit: it ended, or was too slow.
    """
    facts: dict[str, float] = {}
    ask = {"model": "m", "max_tokens": 4, "messages": [{"role": "user", "content": "你好"}]}
    for fact, path, body in (
        ("to_models_s", "/v1/models", None),
        ("to_answer_s", "/v1/chat/completions", ask),
    ):
        while fact not in facts:
            try:
                request(options.port, path, body)
                facts[fact] = round(time.monotonic() - began, 1)
            except (OSError, ValueError, urllib.error.URLError):
                if server.poll() is not None or time.monotonic() - began > options.ready_s:
                    raise SystemExit(f"no {path}: {server.poll()}") from None
                time.sleep(0.25)
    return facts


def processor_seconds(server: subprocess.Popen[bytes]) -> dict[str, float]:
    """Return what each process of the engine has used so far."""
    used: dict[str, float] = {}
    try:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    except psutil.Error:
        return used
    for process in family:
        try:
            words = " ".join(process.cmdline())[:60] or process.name()
            times = process.cpu_times()
        except psutil.Error:
            continue
        used[f"{process.pid} {words}"] = times.user + times.system
    return used


def measured(server: subprocess.Popen[bytes], line: list[str], log: Path) -> tuple[dict[str, object], str]:
    """Return what a program printed as JSON in its last line.

    With the engine's processor seconds meanwhile.
    """
    before = processor_seconds(server)
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=400)
    with log.open("a") as file:
        file.write(done.stderr + done.stdout)
    spent = {
        name: round(value - before.get(name, 0.0), 1)
        for name, value in processor_seconds(server).items()
        if value - before.get(name, 0.0) >= 0.5
    }
    words = done.stdout.strip().splitlines()
    try:
        found = json.loads(words[-1])
    except (IndexError, ValueError):
        found = {"failed_with": done.returncode, "words": done.stderr[-400:]}
    return {**found, "engine_processor_s": spent}, done.stdout


def questions(
    number: int, has_adapters: bool, options: argparse.Namespace
) -> Iterator[tuple[str, list[str]]]:
    """Yield what is asked of a running service, with the lines that ask."""
    shared = ["--url", f"http://127.0.0.1:{options.port}/v1", "--data", str(options.data)]
    few = options.rows is not None
    names = ["m", *(f"tuned{at or ''}" for at in range(len(options.adapter)))]
    models = options.models or ([*names[:2], ",".join(names[1:])] if has_adapters else ["m"])
    for in_flight in options.in_flight if options.load == "yes" else ():
        for model in dict.fromkeys(models):
            ask = [sys.executable, str(HERE / "load.py"), *shared, "--model", model]
            ask += ["--in-flight", str(in_flight), "--mark", f"{number}.{in_flight}.{model}: "]
            ask += ["--processes", str(options.processes), *(["--rows", str(options.rows)] if few else [])]
            yield f"load, {in_flight}, {model}", ask
    for model in options.letters:
        out = options.out / f"{number}-letters-{model}"
        ask = [sys.executable, str(HERE / "letters.py"), *shared, "--model", model, "--out", str(out)]
        yield f"letters, {model}", [*ask, *(["--rows", "1"] if few else [])]
    if options.evaluate:
        out = options.out / f"{number}-evaluation"
        ask = [sys.executable, str(HERE / "evaluate.py"), *shared, "--model", "m", "--out", str(out)]
        ask += ["--alone", "--in-flight", *(str(level) for level in options.evaluate)]
        yield "evaluate", [*ask, *(["--ceval", "2", "--cmmlu", "2"] if few else [])]


def started(name: str, number: int, options: argparse.Namespace) -> dict[str, object]:
    """Start the engine, ask it, end it, and return what was seen."""
    line, more = line_of(name, options)
    around = Path(name.split("@")[2] if name.count("@") > 1 else options.model).parent
    log = options.out / f"{number}-{re.sub('[^a-z0-9]+', '-', name)}.log"
    began = time.monotonic()
    with log.open("wb") as file:
        server = subprocess.Popen(
            line,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **more},
            cwd=around if "here" in name.partition("@")[0] else None,
            start_new_session=True,
        )
    facts: dict[str, object] = {"line": " ".join(line), "env": more}
    try:
        facts |= until_ready(server, options, began)
        words = log.read_text(errors="replace")
        facts["log_s"] = {
            match[0][:90]: float(match[1]) for pattern in TOLD for match in re.finditer(pattern, words)
        }
        for what, ask in questions(number, "--enable-lora" in line, options):
            facts[what] = measured(server, ask, log)[0]
    except (SystemExit, subprocess.TimeoutExpired) as error:
        facts["failed"] = f"{error}\n{log.read_text(errors='replace')[-1500:]}"
    ended = time.monotonic()
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    facts["end_s"] = round(time.monotonic() - ended, 1)
    return facts


def main() -> None:
    """Go through the ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", help=f"of {', '.join(CONFIGS)}")
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter", nargs="*", default=[], help="for the ways with LoRA: tuned, tuned1, …")
    parser.add_argument("--load", choices=("yes", "no"), default="yes")
    parser.add_argument("--models", nargs="*", help="of the load; several by commas take turns")
    parser.add_argument("--letters", nargs="*", default=[], metavar="MODEL", help="letters.py for each")
    parser.add_argument("--data", type=Path, required=True, help="folder with ceval/ and cmmlu/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[512])
    parser.add_argument("--evaluate", type=int, nargs=2, metavar="IN_FLIGHT")
    parser.add_argument("--processes", type=int, default=6, help="of the load")
    parser.add_argument("--rows", type=int, help="few questions, for a rehearsal")
    parser.add_argument("--share", type=float, default=0.6, help="of the card's memory")
    parser.add_argument("--port", type=int, default=8200)
    parser.add_argument("--ready-s", type=float, default=260)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, object]] = {}
    for number, name in enumerate(options.names):
        found[f"{number} {name}"] = started(name, number, options)
        (options.out / "engines.json").write_text(
            json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        print(
            f"{number} {name}:", json.dumps(found[f"{number} {name}"], ensure_ascii=False)[:900], flush=True
        )


if __name__ == "__main__":
    main()
