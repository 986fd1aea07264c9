"""Checks spread over the cores of this machine."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from bakeoff.verify.audit import Audit

Check = Callable[[Audit], None]

_MOST = 8
"""Processes at most: each comes to hold its own copy of the samples that it looks at."""


class Part(NamedTuple):
    """A part of a group of checks.

    Attributes:
        together: parts of the same name run in one process, one after the other, since they work out the same;
            "" for one that may run anywhere.
    """

    check: Check
    together: str = ""


_checks: Sequence[Check] = ()
"""What forked processes inherit, since functions of one run cannot be sent to them."""


@dataclass(frozen=True)
class _Place:
    """Where the findings of a part come to lie: the outcome of a process, and the number there."""

    future: Future[list[Audit]]
    number: int


class Cores:
    """Runs checks in forked processes, where the machine and their number are worth it.

    Args:
        checks: by name, in the order in which their findings are told.
        is_large: whether there is enough to check for another process to pay.
    """

    def __init__(self, checks: dict[str, Sequence[Part]], is_large: bool) -> None:
        self._checks = checks
        self._places: dict[str, list[_Place]] = {}
        self._pool: ProcessPoolExecutor | None = None
        count = min(_MOST, len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1)
        if is_large and count > 1:  # elsewhere than on Linux a fork is no safe copy
            self._start(count)

    @property
    def are_several(self) -> bool:
        """Return whether other processes work already."""
        return self._pool is not None

    def _start(self, count: int) -> None:
        global _checks
        parts = [part for parts in self._checks.values() for part in parts]
        _checks = [part.check for part in parts]
        groups: dict[str, list[int]] = {}
        for number, part in enumerate(parts):
            groups.setdefault(part.together or str(number), []).append(number)
        pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("fork"))
        gc.freeze()  # a collection would touch, and so copy, all that is shared
        self._pool = pool
        places: dict[int, _Place] = {}
        # the longest first, so that no process is left alone with one of them
        for numbers in sorted(groups.values(), key=len, reverse=True):
            with warnings.catch_warnings():
                # Python warns of other threads; those are a library's, at rest.
                warnings.simplefilter("ignore", DeprecationWarning)
                future = pool.submit(_run, tuple(numbers))
            places |= {number: _Place(future, at) for at, number in enumerate(numbers)}
        ordered = (places[number] for number in range(len(parts)))
        self._places = {name: [next(ordered) for _ in parts] for name, parts in self._checks.items()}

    def tell(self, name: str, audit: Audit) -> None:
        """Add to *audit* what the checks of *name* found."""
        for number, part in enumerate(self._checks[name]):
            try:
                audit.add(self._told(self._places[name][number]) if self._pool else _audited(part.check))
            except BrokenProcessPool:  # ended from outside, for want of memory perhaps
                audit.add(_audited(part.check))

    @staticmethod
    def _told(place: _Place) -> Audit:
        return place.future.result()[place.number]

    def __enter__(self) -> Cores:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            gc.unfreeze()


def _run(numbers: Sequence[int]) -> list[Audit]:
    return [_audited(_checks[number]) for number in numbers]


def _audited(check: Check) -> Audit:
    audit = Audit()
    check(audit)
    return audit
