"""The guide's evalscope lines against ours on one running service, on real C-Eval and CMMLU rows.

    python bench/gpu/evaluate.py --url http://127.0.0.1:8000/v1 --model m --data .data --out out

The guide's: a process per line, EvalScope's default of 8 requests in flight. Ours: one plan for both suites in a
fork of a process that has EvalScope imported, hundreds in flight. Both cap a reply (random weights never stop) and
ask without examples. The order is warm-up (other prompts; not counted), ours, the guide's C-Eval, ours again, the
guide's CMMLU: batching changes the order of additions, so replies differ between two runs of ours, too, and only more
than that is the guide's. A line that takes longer than --limit-s is stopped, and its seconds are told for as many rows
as it had.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bakeoff import evalscope
from bakeoff.evalscope.__main__ import main as ask
from bakeoff.execution.runner import WARM
from bakeoff.matrix.schema import Suite


def suites(options: argparse.Namespace) -> list[Suite]:
    """All C-Eval validation rows, and as many of CMMLU per subject as asked for (30: 2,010 rows)."""
    generation = {"max_tokens": options.max_tokens, "temperature": 0}
    rows = {"ceval": options.ceval, "cmmlu": options.cmmlu}
    return [
        Suite(name=name, benchmark=name, few_shot=0, limit=limit, limit_per="subset", generation=generation)
        for name, limit in rows.items()
    ]


def guide(suite: Suite, options: argparse.Namespace, work_dir: Path) -> float:
    """Seconds of ``evalscope eval`` for one suite, in the words that 1.14 understands, or until it is stopped."""
    args = {suite.benchmark: {"local_path": str(options.data / suite.benchmark), "few_shot_num": 0}}
    line = [
        sys.executable, "-m", "evalscope.cli.cli", "eval", "--model", options.model, "--api-url", options.url,
        "--api-key", "EMPTY", "--eval-type", "openai_api", "--datasets", suite.benchmark,
        "--dataset-args", json.dumps(args), "--generation-config", json.dumps(dict(suite.generation)),
        "--work-dir", str(work_dir), "--no-timestamp", *(["--limit", str(suite.limit)] if suite.limit else []),
    ]  # fmt: skip
    log = work_dir.with_suffix(".log")
    began = time.monotonic()
    with log.open("w") as file:
        environment = {**os.environ, **evalscope.OFFLINE, **evalscope.LOOPBACK}
        try:
            done = subprocess.run(
                line, env=environment, stdout=file, stderr=file, timeout=options.limit_s, check=False
            )
        except subprocess.TimeoutExpired:
            return time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(line)}\nended with {done.returncode}:\n{log.read_text()[-2000:]}")
    return time.monotonic() - began


PROCESSOR_S: dict[str, float] = {}
"""Processor time of each of our runs, without its imports."""


def ours(listed: list[Suite], options: argparse.Namespace, work_dir: Path, in_flight: int) -> float:
    """Seconds of one plan for all suites, in a child of this process."""
    plan = evalscope.evaluation_plan(
        options.url,
        options.model,
        listed,
        work_dir,
        data_dirs={suite.name: options.data / suite.benchmark for suite in listed},
        weights="bench",
        in_flight=in_flight,
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
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"the evaluation ended with {status}; see {work_dir.with_suffix('.log')}")
    took = time.monotonic() - began
    PROCESSOR_S[work_dir.name] = round(usage.ru_utime + usage.ru_stime, 2)
    if reused := sum(one["reused"] for one in evalscope.read_results(work_dir).values()):
        raise SystemExit(f"{work_dir}: {reused} replies were there already; time an empty folder")
    return took


def grades(work_dir: Path) -> dict[tuple[str, int], str]:
    """What was read from each reply and how it was graded, by file of EvalScope's reviews and index in it."""
    found = {}
    for path in sorted(work_dir.rglob("reviews/*/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            score = row["sample_score"]["score"]
            found[path.name, int(row["index"])] = json.dumps([score["extracted_prediction"], score["value"]])
    return found


def same(one: dict[tuple[str, int], str], other: dict[tuple[str, int], str]) -> str:
    """How many entries are equal, of how many that both have."""
    both = one.keys() & other.keys()
    return f"{sum(one[key] == other[key] for key in both)} of {len(both)}"


def replies(work_dir: Path) -> dict[tuple[str, int], str]:
    """What was answered, by file of EvalScope's predictions and index in it."""
    found = {}
    for path in sorted(work_dir.rglob("predictions/*/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            content = row["model_output"]["choices"][0]["message"]["content"]
            found[path.name, int(row["index"])] = json.dumps(content, ensure_ascii=False)
    return found


def times_the_guide(runs: dict[str, float], asked: dict[str, int]) -> dict[str, float]:
    """Return how many times as many rows a second each of our runs asks as the guide's lines."""
    guides = [name for name in runs if name.startswith("guide")]
    per_row = sum(runs[name] for name in guides) / sum(asked[name] for name in guides)
    return {name: per_row * asked[name] / seconds for name, seconds in runs.items() if name not in guides}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with ceval/ and cmmlu/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ceval", type=int, help="rows per subject; all of them if left out")
    parser.add_argument("--cmmlu", type=int, default=30, help="rows per subject")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--in-flight", type=int, nargs=2, default=(256, 256), help="ours, and ours again")
    parser.add_argument("--limit-s", type=float, default=400)
    parser.add_argument("--alone", action="store_true", help="without the guide's lines")
    options = parser.parse_args()
    if options.out.exists() and any(options.out.iterdir()):
        raise SystemExit(f"--out: {options.out} is not empty; EvalScope would reuse its replies")
    options.out.mkdir(parents=True, exist_ok=True)
    listed = suites(options)
    for module in WARM["bakeoff.evalscope"]:
        import_module(module)
    other_prompts = listed[0].model_copy(update={"few_shot": 1, "limit": 4})
    ours([other_prompts], options, options.out / "warm-up", options.in_flight[0])
    shutil.rmtree(options.out / "warm-up")

    def told(name: str, seconds: float) -> float:
        used = f", {PROCESSOR_S[name]:.1f} s of processor time" if name in PROCESSOR_S else ""
        print(f"{name}: {seconds:.1f} s{used}", flush=True)
        return seconds

    runs = {"ours": told("ours", ours(listed, options, options.out / "ours", options.in_flight[0]))}
    for suite in listed:
        if suite is not listed[0]:  # between the two of the guide
            again = options.out / "ours-again"
            runs[again.name] = told(again.name, ours(listed, options, again, options.in_flight[1]))
        if options.alone:
            continue
        work_dir = options.out / f"guide-{suite.name}"
        runs[work_dir.name] = told(work_dir.name, guide(suite, options, work_dir))
    found: dict[str, dict[str, object]] = {}
    for kind, read in (("replies", replies), ("grades", grades)):
        guides: dict[tuple[str, int], str] = {}
        for suite in listed:
            guides |= read(options.out / f"guide-{suite.name}")
        mine, mine_again = read(options.out / "ours"), read(options.out / "ours-again")
        found[kind] = {
            "rows": len(mine),
            **(
                {}
                if options.alone
                else {
                    "guide_and_ours_alike": same(guides, mine),
                    "guide_and_ours_again_alike": same(guides, mine_again),
                }
            ),
            "ours_and_ours_again_alike": same(mine, mine_again),
        }
    asked = {name: len(replies(options.out / name)) for name in runs}
    report = {
        "seconds": runs,
        "processor_s": {name: PROCESSOR_S[name] for name in runs if name in PROCESSOR_S},
        "rows": asked,
        "rows_per_s": {name: asked[name] / seconds for name, seconds in runs.items()},
        **({} if options.alone else {"times_the_guide": times_the_guide(runs, asked)}),
        **found,
        "max_tokens": options.max_tokens,
        "in_flight": dict(zip(("ours", "ours-again"), options.in_flight, strict=True)),
    }
    (options.out / "evaluate.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
