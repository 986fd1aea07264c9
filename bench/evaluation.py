"""Our warm evaluation against the guide's command line, suite by suite: ``python bench/evaluation.py``.

A service that takes 200 ms per reply answers 200 questions in each of four suites. The command line is EvalScope's own
(the guide's, with the options that 1.14 wants), once per suite, with its default of 8 requests in flight; ours is one
plan for all suites in a child forked from a process that has EvalScope imported, as the harness does it, with 8, 64 and
256 in flight. Both must grade every sample alike, and with 256, which the matrix gives a row on a GPU, ours must be
8 times faster; otherwise the exit code is 1. Figures of one run on one machine: read the ratio.

``--letters N`` instead asks N questions by log-probability with 256 in flight, and prints seconds and the processor
time of the client alone; 16,560 questions are to take at most 90 s.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fakes.service import Running, serving  # noqa: E402

from bakeoff import evalscope  # noqa: E402
from bakeoff.evalscope.__main__ import main as ask  # noqa: E402
from bakeoff.execution.runner import WARM  # noqa: E402
from bakeoff.matrix.loading import load_matrix  # noqa: E402
from bakeoff.matrix.schema import Suite  # noqa: E402

WANTED = 8.0
"""How many times faster ours must be with as many requests in flight as the matrix gives a row on a GPU."""
GPU_IN_FLIGHT = load_matrix(ROOT / "model_matrix.yaml").models["qwen2.5-7b"].serving.in_flight

CEVAL = ("logic", "law", "physician", "accountant")
CMMLU = ("professional_psychology", "anatomy", "virology", "sociology")


def data(folder: Path, questions: int) -> dict[str, Path]:
    """Invented questions in the formats of ceval, cmmlu and general_mcq."""
    numbers = iter(range(10**6))

    def row() -> dict[str, str]:
        n = next(numbers)
        options = {letter: f"第{n}题的选项{letter}" for letter in "ABCD"}
        return {
            "id": str(n),
            "question": f"来访者{n}最需要的回应是什么？",
            **options,
            "answer": "ABCD"[n % 4],
        }

    made = {name: folder / name for name in ("ceval", "cmmlu", "exam_one", "exam_two")}
    for path in made.values():
        path.mkdir(parents=True)
    configs = ""
    for subset in CEVAL:
        for split, count in (("dev", 5), ("val", questions // 4)):
            rows = [row() for _ in range(count)]
            with (made["ceval"] / f"{subset}_{split}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        files = "".join(f"\n  - split: {split}\n    path: {subset}_{split}.csv" for split in ("dev", "val"))
        configs += f"- config_name: {subset}\n  data_files:{files}\n"
    (made["ceval"] / "README.md").write_text(f"---\nconfigs:\n{configs}---\n", encoding="utf-8")
    for split, count in (("dev", 5), ("test", questions // 4)):
        rows = [
            {
                "question": one["question"],
                "choices": [f"({letter}) {one[letter]}" for letter in "ABCD"],
                "answer": f"({one['answer']})",
                "category": subset,
            }
            for subset in CMMLU
            for one in (row() for _ in range(count))
        ]
        write(made["cmmlu"] / f"default_{split}.jsonl", rows)
    for name in ("exam_one", "exam_two"):
        write(made[name] / "psychology_val.jsonl", [row() for _ in range(questions)])
    return made


def write(path: Path, rows: list[dict[str, object]] | list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


SUITES = (
    Suite(name="ceval", benchmark="ceval", subsets=CEVAL),
    Suite(name="cmmlu", benchmark="cmmlu", subsets=CMMLU),
    Suite(name="exam_one", benchmark="general_mcq", subsets=("psychology",)),
    Suite(name="exam_two", benchmark="general_mcq", subsets=("psychology",)),
)


def guide_line(service: Running, suite: Suite, folder: Path, work_dir: Path) -> list[str]:
    args = {suite.benchmark: {"local_path": str(folder), "subset_list": list(suite.subsets or ())}}
    return [
        str(Path(sys.executable).with_name("evalscope")), "eval", "--model", "m", "--api-url", service.url,
        "--api-key", "EMPTY", "--eval-type", "openai_api", "--datasets", suite.benchmark,
        "--dataset-args", json.dumps(args), "--work-dir", str(work_dir), "--no-timestamp",
    ]  # fmt: skip


def grades(work_dir: Path) -> str:
    """Hash of every sample's answer and grade, in order."""
    rows = []
    for path in sorted(work_dir.rglob("reviews/m/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            review = json.loads(line)
            score = review["sample_score"]["score"]
            rows.append((path.name, review["index"], score["extracted_prediction"], score["value"]))
    return f"{len(rows)} {hashlib.sha256(json.dumps(sorted(rows, key=str)).encode()).hexdigest()[:16]}"


def warm(
    service: Running,
    folders: dict[str, Path],
    work_dir: Path,
    in_flight: int,
    suites: tuple[Suite, ...] = SUITES,
) -> float:
    """Seconds of one plan for all suites, in a child of this process."""
    plan = evalscope.evaluation_plan(
        service.url, "m", suites, work_dir, data_dirs=dict(folders), weights="bench", in_flight=in_flight
    )
    path = work_dir.with_suffix(".json")
    path.write_text(json.dumps(plan), encoding="utf-8")
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        log = os.open(work_dir.with_suffix(".log"), os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os._exit(ask(["run", str(path)]))
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"the evaluation ended with {status}; see {work_dir.with_suffix('.log')}")
    return time.monotonic() - began


LETTERS_S, LETTERS_QUESTIONS = 90.0, 16_560
"""How long so many questions may take by log-probability."""


def letters(questions: int, latency_s: float) -> int:
    """Print what *questions* take by log-probability; 1 where all of the goal's would take longer than allowed."""
    suite = Suite(name="exam_one", benchmark="general_mcq", subsets=("psychology",), scoring="logprob")
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        folders = data(base / "data", questions)
        flags = ("--reply", "C", "--logprobs", "full", "--latency-s", str(latency_s))
        with serving(*flags) as service:
            for module in WARM["bakeoff.evalscope"]:
                import_module(module)
            before = os.times()
            seconds = warm(service, folders, base / "letters", GPU_IN_FLIGHT, (suite,))
            after = os.times()
    client_s = sum(after[2:4]) - sum(before[2:4])
    whole = seconds / questions * LETTERS_QUESTIONS
    print(f"{questions} questions by log-probability, {GPU_IN_FLIGHT} in flight: {seconds:.1f} s", end=", ")
    print(f"{client_s:.1f} s of the client's processor; {LETTERS_QUESTIONS:,} would take {whole:.0f} s")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0 if whole <= LETTERS_S else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=200, help="per suite, a multiple of 4")
    parser.add_argument("--latency-s", type=float, default=0.2)
    parser.add_argument(
        "--letters", type=int, metavar="N", help="measure N questions by log-probability instead"
    )
    options = parser.parse_args()
    if options.letters:
        return letters(options.letters, options.latency_s)
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        folders = data(base / "data", options.questions)
        with serving("--reply", "random:11", "--latency-s", str(options.latency_s)) as service:
            lines, same = [], True
            for suite in SUITES:
                began = time.monotonic()
                line = guide_line(service, suite, folders[suite.name], base / "cli" / suite.name)
                # else it would take the questions of an earlier run, whose README was the same
                prepared = {"HF_DATASETS_CACHE": str(base / "prepared")}
                env = {**os.environ, **evalscope.OFFLINE, **evalscope.LOOPBACK, **prepared}
                subprocess.run(line, env=env, check=True, capture_output=True, timeout=600)
                lines.append(time.monotonic() - began)
                print(f"command line, {suite.name}: {lines[-1]:.1f} s", flush=True)
            began = time.monotonic()
            for module in WARM["bakeoff.evalscope"]:
                import_module(module)
            print(f"imports of the warm process, once per worker: {time.monotonic() - began:.1f} s")
            for in_flight in (8, 64, GPU_IN_FLIGHT):
                before = os.times()
                seconds = warm(service, folders, base / f"warm{in_flight}", in_flight)
                ratio = sum(lines) / seconds
                used = sum(os.times()[2:4]) - sum(before[2:4])
                print(
                    f"warm, four suites together, {in_flight} in flight: {seconds:.1f} s, {ratio:.1f} times faster, "
                    f"{used:.1f} s of processor time"
                )
                for suite in SUITES:
                    cli, ours = (
                        grades(base / "cli" / suite.name),
                        grades(base / f"warm{in_flight}" / suite.name),
                    )
                    same &= cli == ours
                    print(
                        f"  {suite.name}: grades {'identical' if cli == ours else f'differ: {cli} / {ours}'} ({cli})"
                    )
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if ratio < WANTED:
        print(f"too slow: {ratio:.1f} times faster with {GPU_IN_FLIGHT} in flight, {WANTED:g} wanted")
    return 0 if same and ratio >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
