"""Limits for what a hub may send, which no library of a hub has.

A page that unpacks to gigabytes, or a file without end, would take all memory or fill the disk.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

from bakeoff.tools.hub_refusals import Refused
from bakeoff.tools.hubs import TITLES, Source

LISTING_MIB = 512
"""Memory for what a hub says of a repository; a hundred thousand files take a fifth of it."""
SMALLEST_FILE = 16 << 20
"""Bytes that any file may have: the log of a download is one, too."""


@contextlib.contextmanager
def memory_for_a_listing(source: Source) -> Iterator[None]:
    """Give the block :data:`LISTING_MIB` more memory than is used now.

    Raises:
        Refused: it wanted more.
    """
    statm = Path("/proc/self/statm")
    try:
        if statm.is_file():
            used = int(statm.read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
            with _limited(resource.RLIMIT_AS, used + (LISTING_MIB << 20)):
                yield
        else:
            yield
    except MemoryError:
        raise Refused(
            "endless",
            f"{TITLES[source.hub]} answers for {source.id} with more than {LISTING_MIB} MiB; not read on",
        ) from None


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let no file that the block writes grow beyond *size* bytes.

    Writing on raises ``OSError`` with ``errno.EFBIG``.
    """
    with _limited(resource.RLIMIT_FSIZE, max(size, SMALLEST_FILE)):
        yield


@contextlib.contextmanager
def _limited(kind: int, most: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    others = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(kind, (min(most, *others) if others else most, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))
