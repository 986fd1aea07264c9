"""The six rows of the guide on one card, computed from measured parts: python bench/gpu/six_rows.py [--in-flight 512]

10,000 dialogues of 1,460 tokens in one epoch, 16,560 questions of 128 tokens to base and tuned model, one row after the
other. Every part was measured at full size with random weights (docs/performance.md says where), but not in one run;
what is assumed instead is marked by a star. Two real rows took 7 and 9 % longer than their parts and hashing together.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

DIALOGUE_TOKENS, DIALOGUES, QUESTIONS = 1460, 10_000, 16_560
ASKED = {256: 3356 / 59.8, 512: 3356 / 50.5}
"""Questions of 128 tokens a second behind lmdeploy, by how many are in flight (Qwen2.5-7B's shape, an idle machine)."""
HASHED_GB_PER_S = 0.9
"""By one core; what a row loads and makes is hashed once."""


@dataclass(frozen=True)
class Row:
    """What was measured of a row, in seconds but for the speed of its training."""

    name: str
    tokens_per_s: float
    convert: float
    begin: float
    """From the start of the training's program to its first update, and after the last."""
    export: float
    parity: tuple[float, float]
    service: tuple[float, float]
    """To the first answer."""
    weights_gb: float
    """As published, native and merged."""
    assumed: str = ""


ROWS = (
    Row("Qwen2.5-7B", 17_514, 0, 43, 33, (61, 71), (65, 67), 30.4),
    Row("Llama-3.1-8B", 16_548, 0, 43, 42, (61, 70), (65, 61), 32.2, "parity and service of the base"),
    Row("ChatGLM3-6B", 19_698, 96, 53, 40, (61, 99), (65, 98), 37.5, "parity and service of the base"),
    Row("InternLM2-7B", 16_308, 111, 53, 47, (61, 96), (65, 98), 46.4, "parity of the base, service"),
    Row("Baichuan2-7B", 17_203, 120, 53, 49, (61, 120), (65, 98), 45.0, "parity of the base, service"),
    Row(
        "GPT-OSS-20B", 28_389, 139, 61, 91, (61, 95), (65, 98), 97.4, "parity of the base, service, questions"
    ),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in-flight", type=int, choices=sorted(ASKED), default=256)
    options = parser.parse_args()
    asking = 2 * QUESTIONS / ASKED[options.in_flight]
    print("| seconds | conversion | training | export | parity | service | questions | hashing | all |")
    print("|---" * 9 + "|")
    total = [0.0] * 8
    for row in ROWS:
        training = row.begin + DIALOGUES * DIALOGUE_TOKENS / row.tokens_per_s
        parts = [
            row.convert,
            training,
            row.export,
            sum(row.parity),
            sum(row.service),
            asking,
            row.weights_gb / HASHED_GB_PER_S,
        ]
        parts.append(sum(parts))
        total = [before + part for before, part in zip(total, parts, strict=True)]
        print(
            f"| {row.name}{'*' if row.assumed else ''} | "
            + " | ".join(f"{part:,.0f}" for part in parts)
            + " |"
        )
    print(
        "| **all six** | " + " | ".join(f"{part:,.0f}" for part in total) + f" ({total[-1] / 3600:.1f} h) |"
    )
    print("\n" + "\n".join(f"\\* {row.name}: {row.assumed}: another row's" for row in ROWS if row.assumed))


if __name__ == "__main__":
    main()
