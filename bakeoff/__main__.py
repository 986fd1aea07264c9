"""``bakeoff``: every program of the project under one name."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from bakeoff import __version__
from bakeoff.foundation.sentences import Template, language_of
from bakeoff.foundation.terminal import tell

USAGE = {
    "zh": """\
bakeoff 命令 [选项]        bakeoff 命令 --help

  demo      用微型模型演示全流程，约 2 分钟，无需 GPU
  new       新建比较：选择模型、训练数据、试卷、个案，生成矩阵文件（也可写作 init）
  doctor    运行之前检查会出什么问题
  run       训练、导出、部署、评测、生成报告；结果在 reports/
  report    由 store 重新生成报告
  judge     人工评分页面
  chat      与部署的模型对话
  verify    核对报告与样本是否一致
""",
    "en": """\
bakeoff COMMAND [options]        bakeoff COMMAND --help

  demo      the whole chain on tiny models, in minutes, without a GPU
  new       write a matrix: models, training data, exam, cases (also: init)
  doctor    what would go wrong, before it does
  run       train, export, deploy, evaluate, report into reports/
  report    every page again from the store
  judge     the page where people rate replies
  chat      talk to a deployed model
  verify    check a report against its samples
""",
}
RUN_HELP = {
    "zh": """\
bakeoff {command} [选项]        等同于 {line}

  -k 名称               只选名称中含有它的行、变体（base、tuned）或测试集；可用 and、or、not 组合
  -m 阶段               train、export、deploy、eval、judge、speed，可用 or 连接；缺少的前置阶段会自动补齐
  --matrix 文件         比较什么（默认 model_matrix.yaml）
  --store 文件夹        各阶段的结果（默认 store）
  --data-dir 文件夹     本机的评测数据
  --rows smoke|full     只要微型模型，或只要其余模型
  --dry-run             打印每条命令，不运行
  --doctor              检查会出什么问题，不运行
  --compare RUN         自那次运行以来的变化（last：上一次）
  -n 2                  同时运行的行数
  --live-port 端口      在浏览器中显示实时进度（0：任意空闲端口）

全部选项见 docs/usage.md；pytest 自身的选项见 pytest --help
""",
    "en": """\
bakeoff {command} [options]        the same as {line}

  -k NAME               rows, variants (base, tuned) or suites whose name has it; joined by and, or, not
  -m STAGE              train, export, deploy, eval, judge, speed, joined by or; missing stages are done first
  --matrix FILE         what is compared (default model_matrix.yaml)
  --store DIR           what the stages leave behind (default store)
  --data-dir DIR        evaluation data on this disk
  --rows smoke|full     the tiny rows only, or the others
  --dry-run             print every command line, run nothing
  --doctor              say what would go wrong, run nothing
  --compare RUN         what changed since that run (last: the one before)
  -n 2                  rows that run at once
  --live-port PORT      show the progress in a browser (0: any free port)

every option: docs/usage.md; those of pytest itself: pytest --help
""",
}
NO_MATRIX = Template(
    "__main__.no_matrix",
    "no model_matrix.yaml in this folder; write one with `bakeoff new`, or name a file with --matrix",
    zh="此文件夹中没有 model_matrix.yaml；请先运行 `bakeoff new`，或用 --matrix 指定文件",
)
NO_SUCH_MATRIX = Template(
    "__main__.no_such_matrix",
    "no file {file}; write one with `bakeoff new --out {file}`",
    zh="没有文件 {file}；可用 `bakeoff new --out {file}` 新建",
)
NO_COMMAND = Template(
    "__main__.no_command", "bakeoff: no command {command!r}", zh="bakeoff：没有命令 {command}"
)
NEAR_COMMAND = Template(
    "__main__.near_command",
    "bakeoff: no command {command!r}; is it {near!r}?",
    zh="bakeoff：没有命令 {command}；是否想输入 {near}？",
)
NO_MODULE = Template(
    "__main__.no_module",
    "bakeoff {command}: this version has no {module}",
    zh="bakeoff {command}：此版本没有 {module}",
)
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
        print(USAGE[language_of(os.environ)], end="")
        return 0
    if command in ("run", "doctor"):
        if any(argument in ("-h", "--help") for argument in rest):
            line = " ".join(["pytest", *pytest_line(command, [])[3:]])
            print(RUN_HELP[language_of(os.environ)].format(command=command, line=line), end="")
            return 0
        named = _named_matrix(rest)
        if not Path(named or "model_matrix.yaml").exists():
            tell(NO_SUCH_MATRIX(file=named) if named else NO_MATRIX())
            return 4
        return _replaced_by(pytest_line(command, rest))
    module = MODULES.get(command)
    if module is None:
        near = get_close_matches(command, [*MODULES, "run", "doctor"], 1)
        words = NEAR_COMMAND(command=command, near=near[0]) if near else NO_COMMAND(command=command)
        tell(words, to=sys.stderr)
        print(f"\n{USAGE[language_of(os.environ)]}", end="", file=sys.stderr)
        return 2
    if importlib.util.find_spec(module) is None:
        tell(NO_MODULE(command=command, module=module), to=sys.stderr)
        return 2
    return _replaced_by([sys.executable, "-m", module, *rest])


def _named_matrix(arguments: Sequence[str]) -> str:
    """The file after ``--matrix``; empty without."""
    for place, argument in enumerate(arguments):
        if argument == "--matrix" and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith("--matrix="):
            return argument.removeprefix("--matrix=")
    return ""


def _replaced_by(line: list[str]) -> int:
    """Let this process become *line*, so that signals reach it."""
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(line[0], line)
    return subprocess.call(line)


if __name__ == "__main__":
    sys.exit(main())
