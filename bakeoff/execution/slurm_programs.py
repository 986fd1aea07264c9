"""Programs of Slurm: what they print, and whether a refusal may pass."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping

from bakeoff.execution.endings import EXIT_CODE, NO_ANSWER, NO_PROGRAM, REFUSED
from bakeoff.execution.executor import Busy
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.secrecy import redact

ANSWER_S = 120.0
"""How long a program may take; sbatch tries for so long where the controller takes no more jobs."""
_HABITS = re.compile(
    r"(SQUEUE|SINFO|SCANCEL|SCONTROL)_\w+|SBATCH_(ARRAY_INX|WAIT|GET_USER_ENV|CLUSTERS|IGNORE_PBS|DEBUG)"
)
"""Variables by which a user has these programs ask, filter or wait: jobs would be missed."""
_PASSING = re.compile(
    r"timed out|unable to contact|connect failure|temporarily|try again|MaxSubmit\w*|communication connection"
    r"|zero bytes|inactive or drain",
    re.IGNORECASE,
)
"""Refusals of a controller that is away or busy, of a queue that is full, of a partition that is being repaired."""


def run(*argv: str, env: Mapping[str, str] | None = None, check: bool = True) -> str:
    """Run a program of Slurm and return what it prints.

    Args:
        env: its environment; None: this process's.
        check: whether it matters that it did its work.

    Raises:
        Busy: it hangs, or refuses for a reason that may pass.
        BakeoffError: it is missing or refuses.
    """
    plain = {
        name: value
        for name, value in (os.environ if env is None else env).items()
        if not _HABITS.fullmatch(name)
    }
    try:
        done = subprocess.run(argv, env=plain, capture_output=True, text=True, timeout=ANSWER_S, check=False)
    except FileNotFoundError:
        raise BakeoffError(NO_PROGRAM(program=argv[0])) from None
    except subprocess.TimeoutExpired:
        if not check:
            return ""
        raise Busy(NO_ANSWER(program=argv[0], seconds=ANSWER_S)) from None
    if done.returncode and check:
        answer = " ".join(f"{done.stdout} {done.stderr}".split())
        kind = Busy if _PASSING.search(answer) else BakeoffError
        reason = redact(answer) if answer else EXIT_CODE(code=done.returncode)
        raise kind(REFUSED(program=argv[0], answer=reason))
    return done.stdout
