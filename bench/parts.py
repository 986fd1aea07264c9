"""The command line of a benchmark that is made of parts, each with limits."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence

Part = Callable[[int], None]
"""Prints the table of a part from so many simulated runs."""


def run_parts(parts: Mapping[str, Part], failures: Sequence[str], words: str, *, runs: int) -> int:
    """Run the parts that the command line names; return 1 if any failed.

    Args:
        failures: numbers outside their limits, which the parts append to.
        words: what the benchmark measures.
        runs: of each line of a table, where the command line does not say.
    """
    arguments = argparse.ArgumentParser(description=words.split("\n")[0])
    arguments.add_argument("--runs", type=int, default=runs, help=f"simulations per line (default {runs})")
    arguments.add_argument("parts", nargs="*", metavar="part", help=", ".join(parts))
    chosen = arguments.parse_args()
    unknown = set(chosen.parts) - set(parts)
    if unknown:
        arguments.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    for name in chosen.parts or parts:
        start = time.perf_counter()
        print(f"\n## {name} ({chosen.runs:,} runs)")
        parts[name](chosen.runs)
        print(f"\n{time.perf_counter() - start:.0f} s", flush=True)
    print("\n" + ("\n".join(failures) if failures else "every number lies within its limits"))
    return 1 if failures else 0
