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
from types import TracebackType

from bakeoff.verify.audit import Audit

Check = Callable[[Audit], None]

_MOST = 4
"""Processes at most: each comes to hold its own copy of the samples that it looks at."""
_checks: Sequence[Check] = ()
"""What forked processes inherit, since functions of one run cannot be sent to them."""


class Cores:
    """Runs checks in forked processes, where the machine and their number are worth it.

    Args:
        checks: by name, in the order in which their findings are told.
        is_large: whether there is enough to check for another process to pay.
    """

    def __init__(self, checks: dict[str, Sequence[Check]], is_large: bool) -> None:
        self._checks = checks
        self._futures: dict[str, list[Future[Audit]]] = {}
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
        _checks = [check for checks in self._checks.values() for check in checks]
        self._pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("fork"))
        gc.freeze()  # a collection would touch, and so copy, all that is shared
        with warnings.catch_warnings():
            # Python warns of other threads; those are a library's, at rest.
            warnings.simplefilter("ignore", DeprecationWarning)
            futures = iter([self._pool.submit(_run, number) for number in range(len(_checks))])
        self._futures = {name: [next(futures) for _ in checks] for name, checks in self._checks.items()}

    def tell(self, name: str, audit: Audit) -> None:
        """Add to *audit* what the checks of *name* found."""
        for number, check in enumerate(self._checks[name]):
            try:
                part = self._futures[name][number].result() if self._pool else _audited(check)
            except BrokenProcessPool:  # ended from outside, for want of memory perhaps
                part = _audited(check)
            audit.add(part)

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


def _run(number: int) -> Audit:
    return _audited(_checks[number])


def _audited(check: Check) -> Audit:
    audit = Audit()
    check(audit)
    return audit
