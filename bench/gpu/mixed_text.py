"""Write DATA/mixed.jsonl: dialogues and exam questions from which a tokenizer like a real model's is trained.

    python bench/gpu/mixed_text.py DATA        # with DATA/smile/train.jsonl and DATA/ceval/

12,000 pieces of it make 78 tokens of a C-Eval question; Qwen's vocabulary makes 79, 500 pieces of dialogues 175.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

DIALOGUES, GROUPS = 600, 400


def questions(folder: Path) -> list[str]:
    """Return the questions of C-Eval's validation sets with their options."""
    found = []
    for path in sorted(folder.rglob("*val*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            found += [
                "\n".join([row["question"], *(f"{letter}. {row[letter]}" for letter in "ABCD")])
                for row in csv.DictReader(file)
            ]
    return found


def main(data: Path) -> None:
    """Write the mixed text."""
    lines = (data / "smile/train.jsonl").read_text(encoding="utf-8").splitlines()[:DIALOGUES]
    asked = questions(data / "ceval")
    groups = ("\n".join(asked[number::GROUPS]) for number in range(GROUPS))
    lines += [
        json.dumps({"conversations": [{"from": "human", "value": text}]}, ensure_ascii=False)
        for text in groups
    ]
    (data / "mixed.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
