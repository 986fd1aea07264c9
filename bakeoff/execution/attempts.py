"""Repeated attempts at a stage whose failure may be temporary."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from bakeoff.execution.runner import tail
from bakeoff.foundation.errors import CommandFailed, OutOfMemory, Stalled, TimeLimit
from bakeoff.foundation.sentences import Template

FAILED = Template(
    "execution.attempts.failed",
    "attempt {number} failed: {error}",
    zh="第 {number} 次尝试失败：{error}",
)

BACKOFF_S = 5.0
"""The pause before the second try; it doubles with each further one."""

_PASSING = re.compile(
    r"^(?:\[rank\d+\]: *)?(?=[\w.]*(?:Error|Exception|Timeout|gaierror)\b).*"
    r"(?:\bConnection (?:aborted|broken|error|refused|reset)|ConnectionError|ReadTimeout|timed out"
    r"|Max retries exceeded|Temporary failure in name resolution|Too Many Requests|Response \[(?:429|50[234])\]"
    r"|\b(?:429|50[234]) (?:Client|Server) Error|Address already in use)",
    re.MULTILINE,
)
"""An exception's line about a network, or a port, that was away; paths and flags may hold any number or word."""


@dataclass
class Attempts:
    """The tries of one stage.

    Attributes:
        retries: how many may follow the first (``limits.retries``).
        notes: for the record, a line for each try that another one followed, and what else was done about it.
    """

    retries: int
    notes: list[str] = field(default_factory=list)
    _failed: int = 0
    _spent: int = 0

    def again(self, error: CommandFailed) -> None:
        """Pause before the next try, longer each time.

        Raises:
            CommandFailed: *error*, where no try is left or another one cannot help.
        """
        if self._spent >= self.retries or not _may_pass(error):
            raise error
        time.sleep(BACKOFF_S * 2**self._spent)
        self._spent += 1
        self.failed(error)

    def failed(self, error: Exception) -> None:
        """Note a failure that another attempt follows."""
        self._failed += 1
        self.notes.append(FAILED(number=self._failed, error=str(error).splitlines()[0]))


def _may_pass(error: CommandFailed) -> bool:
    """Whether the failure may be temporary: silence, a kill, a lost network."""
    if isinstance(error, TimeLimit | OutOfMemory):
        return False
    killed = error.returncode is not None and error.returncode < 0
    return isinstance(error, Stalled) or killed or bool(error.log and _PASSING.search(tail(error.log)))
