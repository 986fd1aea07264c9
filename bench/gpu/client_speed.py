"""Time the harness's own client, of a chosen version, on a service.

    python bench/gpu/client_speed.py --tree . --url http://127.0.0.1:8000/v1 --model m --data .data --out FOLDER

The seconds of 3,356 questions by the code of TREE, so that two versions can be compared on one service; evaluate.py
compares with the guide's lines.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    """Ask, and print the seconds as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, default=Path())
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="an empty folder")
    parser.add_argument("--in-flight", type=int, default=512)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--ceval", type=int, help="rows per subject; all of them if left out")
    parser.add_argument("--cmmlu", type=int, default=30, help="rows per subject")
    options = parser.parse_args()
    options.data, options.out = options.data.resolve(), options.out.resolve()
    sys.path[:0] = [str(options.tree.resolve()), str(options.tree.resolve() / "bench/gpu")]
    evaluate = import_module("evaluate")
    for module in import_module("bakeoff.execution.runner").WARM["bakeoff.evalscope"]:
        import_module(module)
    options.out.mkdir(parents=True)
    work = options.out / "ours"
    seconds = evaluate.ours(evaluate.suites(options), options, work, options.in_flight)
    results = import_module("bakeoff.evalscope").read_results(work)
    print(json.dumps({
        "seconds": round(seconds, 2),
        "rows": len(evaluate.replies(work)),
        "requests_s": {name: result.get("requests_s") for name, result in results.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
