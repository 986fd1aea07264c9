"""Legs of rows: what is one job on one node, in order, with durations.

A row has three: ``train`` (training and export), ``base`` and ``tuned`` (parity, service and evaluation of a variant).
A leg keeps its service on its own node's loopback; what legs tell each other are the records of the store.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bakeoff.foundation.workspace import Workspace
from bakeoff.store.stages import read_record

SHARES = {"train": 0.5, "base": 0.25, "tuned": 0.25}
"""How the time of a row that was never run is guessed to be spent."""
NEAR = 1.01
"""Times the lower bound: a schedule that is not worth bettering."""
WORK = 200_000
"""Bounds how many orders of legs are tried: half a second at most."""
WRONG, WRONG_GUESSES = 0.25, 4
"""By how much a duration may be wrong, and how many such cases an order is tried on."""
_OF_TRAINING = ("train", "export", "build")


@dataclass(frozen=True)
class Leg:
    """The tests of one row that run as one job.

    Attributes:
        kind: ``train``, ``base`` or ``tuned``.
        tests: node ids of pytest, in their order.
        after: names of the legs that must have ended.
        gpus: cards of the node that it needs at once.
        seconds: how long it is expected to take.
    """

    row: str
    kind: str
    tests: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    gpus: int = 0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The row and the kind, unique in a run."""
        return f"{self.row}-{self.kind}"


def kind_of(variant: str | None) -> str:
    """Return the kind of the leg that a test of *variant* belongs to."""
    return variant or "train"


def legs_of(
    tests: Iterable[tuple[str, str | None, str]],
    gpus: Mapping[tuple[str, str], int],
    *,
    shared: Container[str] = (),
) -> list[Leg]:
    """Return the legs of *tests* (row, variant, node id), in their order.

    Args:
        gpus: cards that a leg (row, kind) needs.
        shared: rows whose base is served together with the adapter, and so after the training.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for row, variant, test in tests:
        groups.setdefault((row, kind_of(variant)), []).append(test)

    def needs_training(row: str, kind: str) -> bool:
        return kind == "tuned" or (kind == "base" and row in shared)

    return [
        Leg(
            row,
            kind,
            tuple(group),
            (f"{row}-train",) if needs_training(row, kind) and (row, "train") in groups else (),
            gpus.get((row, kind), 0),
        )
        for (row, kind), group in groups.items()
    ]


def recorded_seconds(workspace: Workspace, row: str) -> dict[str, float]:
    """Return how long the legs of *row* took when they last ran, by kind."""
    took: dict[str, float] = {}
    for path in workspace.model(row).glob("*/record.json"):
        if (record := read_record(path)) is not None:
            kind = "train" if record.stage in _OF_TRAINING else record.variant
            took[kind] = took.get(kind, 0.0) + record.seconds
    return took


def remaining(legs: Sequence[Leg]) -> dict[str, float]:
    """Return the longest path from each leg to the end of its row."""
    seconds: dict[str, float] = {}

    def of(leg: Leg) -> float:
        if leg.name not in seconds:
            later = (of(other) for other in legs if other.row == leg.row and leg.name in other.after)
            seconds[leg.name] = leg.seconds + max(later, default=0.0)
        return seconds[leg.name]

    for leg in legs:
        of(leg)
    return seconds


def in_order(legs: Sequence[Leg], cards: int = 0, at_once: float = float("inf")) -> list[Leg]:
    """Return *legs* in the order in which they should begin.

    That is the longest remaining path first. Where it is not near the lower bound, orders with a leg or two at another
    place are tried, always the same ones, and a better one is taken: hundreds for a few rows, a handful for hundreds.
    Durations are guesses, so an order is better only if it also is where they are somewhat wrong.

    Args:
        cards: how many there are; 0 where that is not known.
        at_once: how many legs may run at the same time.
    """
    path = remaining(legs)
    best = sorted(legs, key=lambda leg: (-path[leg.name], -leg.gpus, leg.name))
    if not cards or duration(best, cards, at_once=at_once) <= NEAR * lower_bound(legs, cards):
        return best
    draw = random.Random(len(best))
    guesses = [{leg.name: leg for leg in best}]
    for _ in range(WRONG_GUESSES):
        guesses.append(
            {leg.name: replace(leg, seconds=leg.seconds * draw.uniform(1 - WRONG, 1 + WRONG)) for leg in best}
        )

    def expected(order: Sequence[Leg]) -> tuple[float, float]:
        each = [duration([guess[leg.name] for leg in order], cards, at_once=at_once) for guess in guesses]
        return each[0], sum(each)

    took = expected(best)
    for _ in range(WORK // len(best) ** 2):
        order = list(best)
        for _ in range(draw.choice((1, 1, 2))):
            order.insert(draw.randrange(len(order)), order.pop(draw.randrange(len(order))))
        again = expected(order)
        if again[0] <= took[0] and again[1] < took[1]:
            best, took = order, again
    return best


def lower_bound(legs: Sequence[Leg], cards: int) -> float:
    """Return the seconds that no schedule of *legs* can beat.

    Args:
        cards: how many there are; 0 where that is not known.
    """
    work = sum(leg.seconds * max(1, leg.gpus) for leg in legs)
    return max(max(remaining(legs).values(), default=0.0), work / cards if cards else 0.0)


def duration(order: Sequence[Leg], cards: int, queue_s: float = 0.0, at_once: float = float("inf")) -> float:
    """Return how long legs take if each begins as soon as it can.

    Of those that could, the first in *order* begins.

    Args:
        queue_s: seconds that each job waits in the queue before a card may be given to it.
        at_once: how many legs may run at the same time.
    """
    waiting, ended, free, now = list(order), set[str](), cards, 0.0
    names = {leg.name for leg in order}
    ready = {leg.name: queue_s for leg in order if not names & set(leg.after)}
    running: list[tuple[float, str, int]] = []
    while waiting or running:
        for leg in list(waiting):
            if not free or len(running) >= at_once:
                break
            needs = min(cards, max(1, leg.gpus))
            if needs <= free and ready.get(leg.name, float("inf")) <= now:
                waiting.remove(leg)
                free -= needs
                heapq.heappush(running, (now + leg.seconds, leg.name, needs))
        due = [at for name, at in ready.items() if at > now and any(leg.name == name for leg in waiting)]
        if running and (not due or running[0][0] <= min(due)):
            now, name, needs = heapq.heappop(running)
            free += needs
            ended.add(name)
            for leg in waiting:
                if leg.name not in ready and (names & set(leg.after)) <= ended:
                    ready[leg.name] = now + queue_s
        else:
            now = min(due)
    return now
