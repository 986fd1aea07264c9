"""``bakeoff demo``: the whole chain on two tiny models, up to the report."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bakeoff.files import write_text
from bakeoff.start.speech import Speaker, language_of
from bakeoff.start.writing import Exam, Plan, Row, matrix_text

ROWS = (
    Row("tiny-qwen2", "tiny:qwen2", "qwen2", "qwen2_5", "smoke"),
    Row("tiny-llama", "tiny:llama", "llama", "llama3", "smoke"),
)
EXAMS = (Exam("facts_exam", "choice_exam", "shipped:facts_exam", 4.0),)


def parser() -> argparse.ArgumentParser:
    """The options of the program."""
    options = argparse.ArgumentParser(
        prog="bakeoff demo",
        description="Train, serve, ask and compare two tiny models on this machine: a few minutes, no GPU, no hub, "
        "100 MB of disk. 在本机用两个微型模型走完整条链路。",
    )
    options.add_argument("folder", nargs="?", type=Path, default=Path("bakeoff-demo"))
    options.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration and return pytest's exit code."""
    options = parser().parse_args(arguments)
    folder: Path = options.folder.absolute()
    speaker = Speaker(language_of(os.environ), takes_defaults=True)
    plan = Plan(list(ROWS), ["shipped:facts_train.jsonl"], list(EXAMS))
    text = matrix_text(plan, chinese=speaker.language == "zh")
    text += "    leakage_expected: true\n    expect: {tuned_at_least: 0.9, base_at_most: 0.4}\n"
    matrix = folder / "model_matrix.yaml"
    if matrix.exists():
        speaker.tell(f"沿用 {matrix}", f"using {matrix}")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(matrix, text.replace("{max_tokens: 1024}", "{max_tokens: 16}"))
    speaker.tell(
        "演示：两个随机的微型模型，学习并回答同一份小试卷；分数只说明流程可用。约 2 分钟。",
        "demonstration: two tiny random models learn and sit one small exam; the scores only show that the procedure "
        "works. About 2 minutes.",
    )
    begun = time.monotonic()
    line = [
        sys.executable,
        "-m",
        "pytest",
        "benchmarks/",
        "--html=reports/",
        *["--dry-run"] * options.dry_run,
    ]
    code = subprocess.call(line, cwd=folder)
    if code or options.dry_run:
        return code
    speaker.tell(
        f"用时 {time.monotonic() - begun:.0f} 秒。打开 {folder / 'reports' / 'index.html'}",
        f"took {time.monotonic() - begun:.0f} s. Open {folder / 'reports' / 'index.html'}",
    )
    speaker.tell(
        f"再试：cd {folder}；bakeoff run（不会重做任何事）；bakeoff judge（人工评判）；bakeoff new（你自己的比较）",
        f"then: cd {folder}; bakeoff run (nothing runs twice); bakeoff judge (rate replies); bakeoff new (your own)",
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
