"""``bakeoff``: every program of the project under one name."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bakeoff import __version__
from bakeoff.foundation.sentences import language_of
from bakeoff.foundation.suggestions import did_you_mean
from bakeoff.start.speech import Speaker

USAGE = """\
bakeoff COMMAND [options]        bakeoff COMMAND --help

  demo      the whole chain on tiny models, in minutes, without a GPU   用微型模型演示全流程
  new       write a matrix: models, training data, exam, cases (init)   新建比较：生成矩阵文件
  doctor    what would go wrong, before it does                         先检查会出什么问题
  run       train, export, deploy, evaluate, report                     运行；结果在 reports/
  report    every page again from the store                             由存档重建报告
  judge     the page where people rate replies                          人工评分页面
  chat      talk to a deployed model                                    与部署的模型对话
  verify    check a report against its samples                          核对报告
"""
MODULES = {
    "new": "bakeoff.start.new",
    "init": "bakeoff.start.new",
    "demo": "bakeoff.start.demo",
    "report": "bakeoff.report",
    "judge": "judge",
    "chat": "bakeoff.chat",
    "verify": "bakeoff.verify",
}


def pytest_line(command: str, arguments: Sequence[str]) -> list[str]:
    """The command line of pytest for ``bakeoff run`` or ``bakeoff doctor``."""
    line = [sys.executable, "-m", "pytest", "benchmarks/"]
    if command == "doctor":
        return [*line, "--doctor", *arguments]
    has_page = any(argument.startswith(("--html", "--dry-run", "--doctor", "--co")) for argument in arguments)
    return [*line, *([] if has_page else ["--html=reports/"]), *arguments]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that *arguments* name and return its exit code."""
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in ("--version", "-V"):
        print(f"bakeoff {__version__}")
        return 0
    if command in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if command in ("run", "doctor"):
        asks_help = any(argument in ("-h", "--help") for argument in rest)
        names_file = any(argument.startswith("--matrix") for argument in rest)
        if not asks_help and not names_file and not Path("model_matrix.yaml").is_file():
            speaker = Speaker(language_of(os.environ), takes_defaults=True)
            speaker.tell(
                "此文件夹中没有 model_matrix.yaml；请先运行 `bakeoff new`，或用 --matrix 指定文件",
                "no model_matrix.yaml in this folder; write one with `bakeoff new`, or name a file with --matrix",
            )
            return 4
        return _replaced_by(pytest_line(command, rest))
    module = MODULES.get(command)
    if module is None:
        hint = did_you_mean(command, [*MODULES, "run", "doctor"])
        hint = hint if hint.startswith("; is it") else ""
        print(f"bakeoff: no command {command!r}{hint}\n\n{USAGE}", end="", file=sys.stderr)
        return 2
    if importlib.util.find_spec(module) is None:
        print(f"bakeoff {command}: this version has no {module}", file=sys.stderr)
        return 2
    return _replaced_by([sys.executable, "-m", module, *rest])


def _replaced_by(line: list[str]) -> int:
    """Let this process become *line*, so that signals reach it."""
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(line[0], line)
    return subprocess.call(line)


if __name__ == "__main__":
    sys.exit(main())
