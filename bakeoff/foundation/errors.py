"""The whole error vocabulary.

BakeoffError
├── MatrixError        the matrix, a suite or a row says something that cannot be carried out
├── DataError          a data file is missing, or its rows are not of the documented form
├── ToolError          an installed tool does not have what a row asks of it (flag, template, version)
├── EnvironmentFailed  a Python environment could not be built or read
├── CommandFailed      a command ended badly; carries the exit code, the log and its last lines
│   ├── TimeLimit      … because it ran past its time limit
│   ├── Stalled        … because nothing moved for too long
│   └── OutOfMemory    … because the device or the machine had no memory left
├── ServiceError       a service could not be started, is not ours, or died
│   └── NotReady       … did not become ready in time: wanted / waited / last seen / log / command
├── IdentityError      what answers is not what was trained (weights, template, merge)
├── ScoreError         an evaluation ended without a score that can be trusted
├── StoreError         a record on disk cannot be used
│   └── NotInStore     … is absent, and running was not allowed
└── RatingError        a human or model judgement was refused

Every message names the place, the rule, the value and the way out.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Self

from bakeoff.foundation.sentences import in_chinese


class BakeoffError(Exception):
    """Base of all errors that the program raises on purpose."""

    zh = ""
    """The message in Chinese, where it was given beside the English."""


class MatrixError(BakeoffError):
    """The matrix cannot be carried out; :attr:`complaints` holds every mistake found."""

    def __init__(self, complaints: list[str] | str, source: str = "") -> None:
        self.complaints = [complaints] if isinstance(complaints, str) else list(complaints)
        self.source = source
        head = f"{source}: " if source else ""
        count = len(self.complaints)
        plural = "mistake" if count == 1 else "mistakes"
        super().__init__(
            f"{head}{count} {plural}\n" + "\n".join(f"- {complaint}" for complaint in self.complaints)
        )


class DataError(BakeoffError):
    """A data file is missing or malformed."""

    def __init__(self, message: object, zh: str = "") -> None:
        super().__init__(message)
        self.zh = zh


class ToolError(BakeoffError):
    """An installed tool lacks what is asked of it."""


class EnvironmentFailed(BakeoffError):
    """A Python environment could not be built or read."""


class CommandFailed(BakeoffError):
    """A command ended badly.

    Attributes:
        returncode: exit code; negative for a signal, as in :mod:`subprocess`.
        log: the file that holds everything the command printed.
    """

    def __init__(self, message: str, *, returncode: int | None = None, log: Path | None = None) -> None:
        super().__init__(message)
        self.returncode = returncode
        self.log = log


class TimeLimit(CommandFailed):
    """A command ran past its time limit and was ended."""


class Stalled(CommandFailed):
    """A command printed nothing and made no step for too long, and was ended."""


class OutOfMemory(CommandFailed):
    """A command ended because memory ran out."""


class ServiceError(BakeoffError):
    """A service could not be started, is not ours, or died."""


class NotReady(ServiceError):
    """A service did not become ready in time."""


class IdentityError(BakeoffError):
    """What answers is not what was trained."""


class ScoreError(BakeoffError):
    """An evaluation ended without a score that can be trusted."""


class StoreError(BakeoffError):
    """A record on disk cannot be used."""


class NotInStore(StoreError):
    """A record is absent and running was not allowed."""


class RatingError(BakeoffError):
    """A human or model judgement was refused; :attr:`zh` says so in Chinese, where a rater may read it."""

    def __init__(self, message: str, zh: str = "") -> None:
        super().__init__(message)
        self.zh = zh


class Complaint(str):
    """What is wrong, where, and what to do about it; as a ``str`` all of it in one line."""

    place: str
    what: str
    remedy: str

    def __new__(cls, place: str, what: str, remedy: str = "") -> Self:
        """Return the complaint.

        A *remedy* may begin with the semicolon that stands before it in the line.
        """
        if remedy.startswith("; "):  # any other may be a statement, which has its Chinese
            remedy = remedy.removeprefix("; ")
        complaint = super().__new__(cls, f"{place}: {what}" + (f"; {remedy}" if remedy else ""))
        complaint.place, complaint.what, complaint.remedy = place, what, remedy
        return complaint

    @property
    def zh(self) -> str:
        """The complaint in Chinese, as far as its parts are statements."""
        place, what, remedy = map(in_chinese, (self.place, self.what, self.remedy))
        return f"{place}：{what}" + (f"；{remedy}" if remedy else "")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.place, self.what, self.remedy), vars(self)


def complaint_of(error: BaseException) -> Complaint | None:
    """Return the complaint that *error* was raised with; None for a text."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, Complaint) else None


def in_short(message: str) -> str:
    """The first line of *message*, and the reason below it.

    The reason is what was last seen of a service, else the last line of the log that is quoted; then its first error.
    """
    first, *rest = message.splitlines() or [""]
    quoted = [
        line.strip() for line in rest if line.startswith("    ") and line.strip() not in ("", "(empty)")
    ]
    seen = next((line.removeprefix("last seen: ") for line in rest if line.startswith("last seen: ")), "")
    reason = seen or (quoted[-1] if quoted else "")
    if reason.startswith("-> "):  # what to do about what the line above says
        above = next((line for line, below in pairwise(rest) if below.strip() == reason), "")
        reason = f"{above.strip()} {reason}"
    causes = [line for line in rest if line.startswith(("first error: ", DISK_IS_FULL))]
    return f"{first}{f': {reason}' if reason else ''}{''.join(f' ({line})' for line in causes)}"


DISK_IS_FULL = "the disk is full, it seems"
"""Begins the line of a failure whose log tells of no more room."""
