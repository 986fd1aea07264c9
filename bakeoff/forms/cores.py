"""Work on all cores of the machine, in threads.

torch, numpy and hashlib let others run while they compute.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


_PLACES = threading.BoundedSemaphore(cores())


def on_all_cores(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return what *work* returns for each of *items*, in their order.

    Calls from several threads share the cores: what is in memory for the work at hand is bounded by their number.
    """

    def in_place(item: Item) -> Result:
        with _PLACES:
            return work(item)

    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(in_place, items))


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let each thread of the block compute by itself.

    torch would start as many as there are cores.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
