"""``bakeoff demo``: the whole chain on two tiny models, up to the report."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bakeoff.foundation.files import write_text
from bakeoff.foundation.helps import localize
from bakeoff.foundation.sentences import language_of
from bakeoff.start.speech import Speaker
from bakeoff.start.writing import Exam, Plan, Row, matrix_text

ROWS = (
    Row("tiny-qwen2", "tiny:qwen2", "qwen2", "qwen2_5", "smoke"),
    Row("tiny-llama", "tiny:llama", "llama", "llama3", "smoke"),
)
EXAMS = (Exam("facts_exam", "choice_exam", "shipped:facts_exam", 4.0),)
_TAUGHT = "    leakage_expected: true\n    expect: {tuned_at_least: 0.9, base_at_most: 0.4}\n"
_INVALID = """  invalid_example: # one score is invalid on purpose: four options, and the chance level of two
    benchmark: choice_exam
    data: "shipped:facts_exam"
    hub: false
    generation: {max_tokens: 16}
    chance: 0.5
    leakage_expected: true
    may_be_untrusted: "invalid on purpose: its chance level is that of two options, and the questions have four"
"""
_ASKED_OF = '    template: "llama3"\n'


def parser() -> argparse.ArgumentParser:
    """The options of the program."""
    options = argparse.ArgumentParser(
        prog="bakeoff demo",
        description="Train, serve, ask and compare two tiny models on this machine: a few minutes, no GPU, no hub, "
        "100 MB of disk.",
    )
    options.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("bakeoff-demo"),
        help="where to work (default: bakeoff-demo)",
    )
    options.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    return options


def demonstration(chinese: bool) -> str:
    """Return the matrix of the demonstration, commented in one language."""
    text = matrix_text(Plan(list(ROWS), ["shipped:facts_train.jsonl"], list(EXAMS)), chinese=chinese)
    text = text.replace(_ASKED_OF, f'{_ASKED_OF}    suites: ["facts_exam", "invalid_example"]\n')
    return text.replace("{max_tokens: 1024}", "{max_tokens: 16}") + _TAUGHT + _INVALID


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration and return pytest's exit code."""
    options = localize(parser()).parse_args(arguments)
    folder: Path = options.folder.absolute()
    speaker = Speaker(language_of(os.environ), takes_defaults=True)
    matrix = folder / "model_matrix.yaml"
    if matrix.exists():
        speaker.tell(f"沿用 {matrix}", f"using {matrix}")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(matrix, demonstration(chinese=speaker.language == "zh"))
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
        f"再试：cd {folder}；bakeoff run（不会重做任何事）；bakeoff judge（人工评分）；bakeoff new（你自己的比较）",
        f"then: cd {folder}; bakeoff run (nothing runs twice); bakeoff judge (rate replies); bakeoff new (your own)",
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
