"""What is wrong with the words for a cluster that runs the rows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bakeoff.foundation.secrecy import NAMES, redact
from bakeoff.matrix.complaints import shown
from bakeoff.matrix.schema import ExecutorSpec

_SLURM_ONLY = ("partition", "account", "qos", "constraint", "extra", "prelude", "gres")
_WORD = re.compile(r"[^\s\x00-\x1f\x7f-][^\s\x00-\x1f\x7f]*")
_OURS = (
    "array", "chdir", "dependency", "error", "export", "export-file", "export-from", "input", "job-name", "no-requeue",
    "ntasks", "nodes", "open-mode", "output", "parsable", "requeue", "signal", "test-only", "wait", "wrap", "nice",
    "get-user-env", "cluster", "clusters", "help", "usage", "version",
)  # fmt: skip
"""Arguments of sbatch that decide what a leg is; another value would break it. sbatch takes any beginning of them."""
_SHORT = ("-a", "-D", "-d", "-e", "-h", "-i", "-J", "-M", "-n", "-N", "-o", "-W", "-V")


def of_executor(executor: ExecutorSpec, where: str) -> Iterator[str]:
    """Yield what is wrong with the words for an executor."""
    written = executor.model_fields_set
    if executor.kind != "ray" and "address" in written:
        yield f"{where}.address: is Ray's; write kind: ray, or take it out"
    if executor.kind != "slurm":
        for key in _SLURM_ONLY:
            if key in written:
                yield f"{where}.{key}: is Slurm's; write kind: slurm, or take it out"
    for key in ("address", "partition", "account", "qos", "constraint", "gres"):
        value = getattr(executor, key)
        if value is not None and not _WORD.fullmatch(value):
            yield f"{where}.{key}: must be a word without blanks that does not begin with '-', found {shown(value)}"
    if executor.gres.count("{}") != 1:
        yield f"{where}.gres: must hold {{}} once, for the number of cards, found {shown(executor.gres)}"
    for argument in executor.extra:
        flag, _, value = argument.partition("=")
        name = flag.lstrip("-")
        if not re.fullmatch(r"--?[A-Za-z][A-Za-z0-9-]*(=[^\x00-\x1f\x7f]*)?", argument):
            yield f"{where}.extra: each is one argument of sbatch, such as --reservation=lab, found {shown(argument)}"
        elif any(ours.startswith(name) for ours in _OURS if flag[1] == "-") or flag[:2] in _SHORT:
            yield f"{where}.extra: {flag} is set by the harness; take it out"
        elif value and NAMES.search(name):
            yield (
                f"{where}.extra: {flag} is a secret by its name, and would be shown in command lines; put it into "
                "the environment under the SBATCH_ variable that sbatch reads"
            )
    texts = (executor.prelude, executor.address or "", *executor.launch)
    if any(redact(text) != text for text in texts) or re.search(
        r"\b\w*(TOKEN|SECRET|PASSWORD|API_KEY)=\S", texts[0]
    ):
        yield (
            f"{where}: holds a secret, which scripts and command lines would show; put it into the environment or "
            ".env: a leg gets both"
        )
