"""The six rows of the guide on one card, computed from measured parts: python bench/gpu/six_rows.py [OPTIONS]

10,000 dialogues of 1,460 tokens in one epoch, 16,560 questions of 128 tokens to base and tuned model, one row after the
other. Every part was measured at full size with random weights (docs/performance.md says where), but not in one run;
what is assumed instead is marked by a star. Two real rows once took 7 and 9 % longer than their parts together.

--engine vllm    each variant behind vLLM, 512 in flight
--shared         base and adapter out of one vLLM: one start, nothing merged
--compiled       vLLM finds what an earlier run compiled
--fp8            frozen weights in 8 bits, where the row has dense layers alone
--logprob        scoring: logprob, one token a question, behind vLLM with LoRA
--overlapped     as the harness does on one card: download, conversion and their hashing while the row before is on it
--download MB/S  the bases come from a hub at this speed (else they are at hand)
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

DIALOGUE_TOKENS, DIALOGUES, QUESTIONS, ASKED = 1460, 10_000, 16_560, 3356
SECONDS = {
    "lmdeploy": (36.3, 36.3),
    "lmdeploy, 512": (34.2, 34.2),
    "vllm": (24.1, 24.1),
    "shared": (24.1, 32.4),
}
"""Of 3,356 questions to base and tuned model (Qwen2.5-7B's shape, an idle machine), by our client. lmdeploy and vLLM
were measured with the base; merged weights have its shape."""
LETTERS, LETTER_QUESTIONS = (49.2, 54.2), 16_966
"""The same by log-probability: base and adapter out of one vLLM."""
STARTED = {"lmdeploy": (49, 51), "lmdeploy, 512": (49, 51), "vllm": (113, 53), "shared": (117, 0)}
"""Seconds to the first answer of base and tuned model, the first time that vLLM sees the architecture."""
COMPILED = {"vllm": (53, 53), "shared": (60, 0)}
"""The same where the store has what an earlier start compiled."""
HASHED_GB_PER_S = 3.8
"""Four files at a time; what a row loads and makes is hashed once."""
MERGE_CHECK = 5.6
FP8 = 24_475 / 17_946


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
    weights_gb: float
    """As published, native and merged."""
    assumed: str = ""
    dense: bool = True


OTHERS = "parity of the base, service, questions"
ROWS = (
    Row("Qwen2.5-7B", 17_946, 0, 43, 33, (6, 14), 30.4),
    Row("Llama-3.1-8B", 16_548, 0, 43, 42, (6, 14), 32.2, f"parity; {OTHERS}"),
    Row("ChatGLM3-6B", 19_698, 96, 53, 40, (6, 45), 37.5, OTHERS),
    Row("InternLM2-7B", 16_308, 111, 53, 47, (6, 45), 46.4, OTHERS),
    Row("Baichuan2-7B", 17_203, 120, 53, 49, (6, 69), 45.0, OTHERS),
    Row("GPT-OSS-20B", 28_389, 139, 61, 91, (6, 55), 97.4, OTHERS, dense=False),
)
"""Parity of a tuned model is what was measured, without imports; but for Qwen beside other work."""


def parts_of(row: Row, options: argparse.Namespace) -> list[float]:
    """Return the seconds of a *row* by part."""
    engine = "shared" if options.shared else options.engine
    speed = row.tokens_per_s * (FP8 if options.fp8 and row.dense else 1)
    asked, of = (LETTERS, LETTER_QUESTIONS) if options.logprob else (SECONDS[engine], ASKED)
    started = COMPILED.get(engine, STARTED[engine]) if options.compiled else STARTED[engine]
    return [
        row.convert + downloaded(row, options.download),
        row.begin + DIALOGUES * DIALOGUE_TOKENS / speed,
        0 if options.shared else row.export,
        sum(row.parity) - (MERGE_CHECK if options.shared else 0),
        sum(started),
        QUESTIONS / of * sum(asked),
        (row.weights_gb - (MERGED_GB[row.name] if options.shared else 0)) / HASHED_GB_PER_S,
    ]


MERGED_GB = {
    "Qwen2.5-7B": 15.2,
    "Llama-3.1-8B": 16.1,
    "ChatGLM3-6B": 12.5,
    "InternLM2-7B": 15.5,
    "Baichuan2-7B": 15.0,
    "GPT-OSS-20B": 41.8,
}
"""What is made of a row's weights on the card; a native form is as large."""


def downloaded(row: Row, megabytes_per_s: float) -> float:
    """Return the seconds of a download; 0 where the base is at hand."""
    published_gb = row.weights_gb - MERGED_GB[row.name] * (2 if row.convert else 1)
    return published_gb * 1000 / megabytes_per_s if megabytes_per_s else 0.0


def overlapped(table: list[list[float]]) -> list[list[float]]:
    """Return *table* without what is made while the row before is on the card.

    Nobody goes before the first row, and no more is hidden than the row before has seconds. That a training is as fast
    beside a conversion, which runs at low priority, is assumed.
    """
    rows = [table[0]]
    for row, parts in zip(ROWS[1:], table[1:], strict=True):
        room = sum(rows[-1][1:])
        hashed = (row.weights_gb - MERGED_GB[row.name]) / HASHED_GB_PER_S
        prepared = min(parts[0], room)
        rows.append([parts[0] - prepared, *parts[1:-1], parts[-1] - min(hashed, room - prepared)])
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--engine", choices=sorted(set(SECONDS) - {"shared"}), default="lmdeploy")
    for flag in ("--shared", "--compiled", "--fp8", "--logprob", "--overlapped"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--download", type=float, default=0.0, metavar="MB/S")
    options = parser.parse_args()
    if options.logprob and not (options.shared or options.engine == "vllm"):
        parser.error("--logprob was measured behind vLLM: add --shared, or --engine vllm")
    table = [parts_of(row, options) for row in ROWS]
    table = overlapped(table) if options.overlapped else table
    first = f"{'download, ' if options.download else ''}conversion"
    print(f"| seconds | {first} | training | export | parity | service | questions | hashing | all |")
    print("|---" * 9 + "|")
    total = [0.0] * 8
    for row, parts in zip(ROWS, table, strict=True):
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
