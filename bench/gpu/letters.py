"""Time choice questions by log-probability, by the harness's own client.

    python bench/gpu/letters.py --url http://127.0.0.1:8000/v1 --model m --data .data --out FOLDER

One token a question, read from its alternatives. 16,966 questions, no two prompts alike: all of CMMLU (11,582) without
examples, and C-Eval's validation rows (1,346) without, with one, with two and with five. Those with examples share a
prefix within a subject.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import import_module
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import evaluate  # noqa: E402

from bakeoff import evalscope  # noqa: E402
from bakeoff.execution.runner import WARM  # noqa: E402
from bakeoff.matrix.schema import Suite  # noqa: E402

EXAMPLES = (0, 1, 2, 5)


def suites(rows: int | None) -> list[Suite]:
    """Return the suites; *rows* per subject for a rehearsal."""
    asked = [("cmmlu", 0), *(("ceval", examples) for examples in EXAMPLES)]
    return [
        Suite(
            name=f"{benchmark}-{examples}",
            benchmark=benchmark,
            few_shot=examples,
            limit=rows,
            limit_per="subset",
            scoring="logprob",
            chance=0.25,
        )
        for benchmark, examples in asked
    ]


def main() -> None:
    """Ask, and print the seconds as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="an empty folder")
    parser.add_argument("--in-flight", type=int, default=512)
    parser.add_argument("--rows", type=int, help="per subject, for a rehearsal")
    options = parser.parse_args()
    options.data, options.out = options.data.resolve(), options.out.resolve()
    for module in WARM["bakeoff.evalscope"]:
        import_module(module)
    options.out.mkdir(parents=True)
    work = options.out / "letters"
    began = time.monotonic()
    evaluate.ours(suites(options.rows), options, work, options.in_flight)
    took = time.monotonic() - began
    kept = [
        json.loads(line)
        for path in sorted(work.rglob("predictions/*/*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    results = evalscope.read_results(work)
    print(json.dumps({
        "model": options.model,
        "in_flight": options.in_flight,
        "seconds": round(took, 2),
        "rows": len(kept),
        "rows_per_s": round(len(kept) / took, 1),
        "prompt_tokens": sum(row["model_output"]["usage"]["input_tokens"] or 0 for row in kept),
        "processor_s": evaluate.PROCESSOR_S[work.name],
        "errors": sum(len(one.get("errors") or ()) for one in results.values()),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
