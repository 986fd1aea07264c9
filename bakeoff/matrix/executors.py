"""What is wrong with the words for a cluster that runs the rows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bakeoff.foundation.errors import Complaint
from bakeoff.foundation.secrecy import NAMES, redact
from bakeoff.foundation.sentences import Template
from bakeoff.matrix.complaints import shown
from bakeoff.matrix.schema import ExecutorSpec

OF_RAY = Template(
    "matrix.executors.of_ray",
    "is Ray's; write kind: ray, or take it out",
    zh="只用于 Ray；请写 kind: ray，或删除",
)
OF_SLURM = Template(
    "matrix.executors.of_slurm",
    "is Slurm's; write kind: slurm, or take it out",
    zh="只用于 Slurm；请写 kind: slurm，或删除",
)
NO_WORD = Template(
    "matrix.executors.no_word",
    "must be a word without blanks that does not begin with '-', found {value}",
    zh="应为不含空格、不以 '-' 开头的词，实际是 {value}",
)
GRES = Template(
    "matrix.executors.gres",
    "must hold {{}} once, for the number of cards, found {value}",
    zh="应含一个 {{}}，代表 GPU 数量，实际是 {value}",
)
NO_ARGUMENT = Template(
    "matrix.executors.no_argument",
    "each is one argument of sbatch, such as --reservation=lab, found {value}",
    zh="每一项应为 sbatch 的一个参数，例如 --reservation=lab，实际是 {value}",
)
SET_BY_US = Template(
    "matrix.executors.set_by_us",
    "{flag} is set by the harness; take it out",
    zh="{flag} 由 bakeoff 设置；请删除",
)
SECRET_FLAG = Template(
    "matrix.executors.secret_flag",
    "{flag} is a secret by its name, and would be shown in command lines; put it into the environment under the "
    "SBATCH_ variable that sbatch reads",
    zh="{flag} 从名称看是密钥，会出现在命令行中；请放入 sbatch 读取的 SBATCH_ 环境变量",
)
HOLDS_SECRET = Template(
    "matrix.executors.holds_secret",
    "holds a secret, which scripts and command lines would show; put it into the environment or .env: a leg gets both",
    zh="含有密钥，会出现在脚本和命令行中；请放入环境变量或 .env：每个作业都能读取",
)

_SLURM_ONLY = ("partition", "account", "qos", "constraint", "extra", "prelude", "gres")
_WORD = re.compile(r"[^\s\x00-\x1f\x7f-][^\s\x00-\x1f\x7f]*")
_OURS = (
    "array", "chdir", "dependency", "error", "export", "export-file", "export-from", "input", "job-name", "no-requeue",
    "ntasks", "nodes", "open-mode", "output", "parsable", "requeue", "signal", "test-only", "wait", "wrap", "nice",
    "get-user-env", "cluster", "clusters", "help", "usage", "version",
)  # fmt: skip
"""Arguments of sbatch that decide what a leg is; another value would break it. sbatch takes any beginning of them."""
_SHORT = ("-a", "-D", "-d", "-e", "-h", "-i", "-J", "-M", "-n", "-N", "-o", "-W", "-V")


def of_executor(executor: ExecutorSpec, where: str) -> Iterator[Complaint]:
    """Yield what is wrong with the words for an executor."""
    written = executor.model_fields_set
    if executor.kind != "ray" and "address" in written:
        yield Complaint(f"{where}.address", OF_RAY())
    if executor.kind != "slurm":
        for key in _SLURM_ONLY:
            if key in written:
                yield Complaint(f"{where}.{key}", OF_SLURM())
    for key in ("address", "partition", "account", "qos", "constraint", "gres"):
        value = getattr(executor, key)
        if value is not None and not _WORD.fullmatch(value):
            yield Complaint(f"{where}.{key}", NO_WORD(value=shown(value)))
    if executor.gres.count("{}") != 1:
        yield Complaint(f"{where}.gres", GRES(value=shown(executor.gres)))
    for argument in executor.extra:
        flag, _, value = argument.partition("=")
        name = flag.lstrip("-")
        if not re.fullmatch(r"--?[A-Za-z][A-Za-z0-9-]*(=[^\x00-\x1f\x7f]*)?", argument):
            yield Complaint(f"{where}.extra", NO_ARGUMENT(value=shown(argument)))
        elif any(ours.startswith(name) for ours in _OURS if flag[1] == "-") or flag[:2] in _SHORT:
            yield Complaint(f"{where}.extra", SET_BY_US(flag=flag))
        elif value and NAMES.search(name):
            yield Complaint(f"{where}.extra", SECRET_FLAG(flag=flag))
    texts = (executor.prelude, executor.address or "", *executor.launch)
    if any(redact(text) != text for text in texts) or re.search(
        r"\b\w*(TOKEN|SECRET|PASSWORD|API_KEY)=\S", texts[0]
    ):
        yield Complaint(where, HOLDS_SECRET())
