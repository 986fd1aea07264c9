"""Cards of this machine, and leases of them that a crash cannot keep."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import BakeoffError
from bakeoff.matrix.schema import ModelSpec

UNNOTICED_GIB = 1.0
"""What a driver or a desktop keeps of an idle card."""
LOOK_S = 5.0
"""How often the cards are looked at again while one is waited for."""


@dataclass(frozen=True)
class Card:
    """A GPU as ``nvidia-smi`` numbers it."""

    number: int
    name: str
    total_gib: float
    free_gib: float


def cards() -> list[Card]:
    """The cards that ``CUDA_VISIBLE_DEVICES`` leaves visible."""
    query = "--query-gpu=index,name,memory.total,memory.free,uuid"
    try:
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    allowed = None if visible is None else [part.strip() for part in visible.split(",") if part.strip()]
    listed = []
    for line in done.stdout.splitlines():
        number, name, total, free, *unique = (part.strip() for part in line.split(","))
        if allowed is None or any(choice == number or _names(choice, unique) for choice in allowed):
            listed.append(Card(int(number), name, float(total) / 1024, float(free) / 1024))
    return listed


def _names(name: str, unique: list[str]) -> bool:
    """CUDA takes any beginning of a UUID; MIG devices are listed nowhere here."""
    return name.startswith("GPU-") and any(known_id.startswith(name) for known_id in unique)


def common_folder() -> Path:
    """The folder of this user's leases, shared by all stores of this host.

    The name of the host is in it, since a cluster's temporary folder may be one for all nodes.
    """
    return Path(tempfile.gettempdir()) / f"bakeoff-cards-{os.getuid()}-{socket.gethostname()}"


@dataclass(frozen=True)
class Holder:
    """A lease that somebody holds on a card."""

    card: int
    gib: float
    pid: int
    who: str


@dataclass(frozen=True)
class _Demand:
    """What is needed of cards at once."""

    who: str
    gib_of: Callable[[Card], float]
    count: int
    whole_gib: float


@dataclass
class Leases:
    """Leases of cards across processes.

    Each is a file that its holder keeps locked. The kernel drops the lock of a process that dies in whatever way, so a
    lease is never stale.

    Args:
        folder: where they are noted; the same one for all who share the cards.
        waiting: told once whom a lease waits for; what others than we use is among them, with process 0.
        look: tells the cards as they are by now, while one is waited for.
    """

    folder: Path
    waiting: Callable[[list[Holder]], None] = lambda holders: None
    look: Callable[[], Sequence[Card]] | None = None

    @contextmanager
    def lease(
        self,
        visible: Sequence[Card],
        gib_of: Callable[[Card], float],
        *,
        who: str,
        count: int = 1,
        fixed: str | None = None,
        patience_s: float = float("inf"),
        whole_gib: float = 0.0,
    ) -> Iterator[tuple[int, ...]]:
        """Hold cards with room for what is needed, and yield their numbers.

        Args:
            visible: the cards to choose from.
            gib_of: memory that is needed of a card, in GiB; all of it excludes everybody else.
            who: named to those who wait.
            count: cards that are needed at once; they are taken together or not at all.
            fixed: card numbers as in ``CUDA_VISIBLE_DEVICES``, which leave no choice.
            patience_s: seconds to wait for room.
            whole_gib: memory that must be free of a card that is taken as a whole, in GiB.

        Raises:
            BakeoffError: a fixed card is not visible, no card is large enough, or *patience_s* passed.
        """
        numbers = [int(part) for part in fixed.split(",")] if fixed else None
        if numbers and (absent := set(numbers) - {card.number for card in visible}):
            raise BakeoffError(
                f"{who}: gpus: card {min(absent)} is not visible; visible are "
                f"{[card.number for card in visible]}. Change 'gpus' or CUDA_VISIBLE_DEVICES"
            )
        choice = [card for card in visible if numbers is None or card.number in numbers]
        demand = _Demand(who, gib_of, len(numbers) if numbers else count, whole_gib)
        if sum(gib_of(card) <= card.total_gib for card in choice) < demand.count:
            raise BakeoffError(f"{who}: {demand.count} card(s) of the needed size, but there are {choice}")
        with contextlib.ExitStack() as leases:
            yield self._wait(choice, demand, leases, patience_s)

    def _wait(
        self, choice: Sequence[Card], demand: _Demand, leases: contextlib.ExitStack, patience_s: float
    ) -> tuple[int, ...]:
        """Take the cards as soon as there is room, and note them in *leases*."""
        began = looked = time.monotonic()
        is_announced = False
        with contextlib.ExitStack() as queue:
            while not (taken := self._take(choice, demand, leases, began)):
                if demand.count > 1 and not is_announced:
                    queue.enter_context(self._queued(choice, began))
                holders = self.holders()
                others = self._others(choice, holders)
                if not is_announced:
                    self.waiting(holders + others)
                    is_announced = True
                ours_alone = holders and not others and all(h.pid == os.getpid() for h in holders)
                if time.monotonic() > began + patience_s or ours_alone:
                    raise BakeoffError(f"{demand.who}: no card became free; held: {holders + others}")
                time.sleep(0.2)
                if self.look and time.monotonic() - looked > LOOK_S:
                    looked = time.monotonic()
                    seen = {card.number: card for card in self.look()}
                    choice = [seen.get(card.number, card) for card in choice]
        return taken

    @contextmanager
    def _queued(self, choice: Sequence[Card], since: float) -> Iterator[None]:
        """Hold a place in the queue for several cards at once.

        Without one, those who need a single card would take each as it becomes free, and several never were.
        """
        path = self.folder / f"{uuid.uuid4().hex}.queued"
        with contextlib.ExitStack() as stack:
            with FileLock(
                self.folder / "all.lock"
            ):  # a note that is not locked yet would be taken for a dead one's
                file = stack.enter_context(path.open("w"))
                fcntl.flock(file, fcntl.LOCK_EX)
                json.dump({"cards": [card.number for card in choice], "since": since}, file)
                file.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def _kept_free(self, since: float) -> set[int]:
        """The cards reserved for those who need several and came before."""
        reserved = set[int]()
        for path in self.folder.glob("*.queued"):
            with contextlib.suppress(FileNotFoundError), path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    waits = json.load(file)
                    reserved |= set(waits["cards"]) if waits["since"] < since else set()
                else:
                    path.unlink(missing_ok=True)  # it died
        return reserved

    def _take(
        self, choice: Sequence[Card], demand: _Demand, leases: contextlib.ExitStack, since: float
    ) -> tuple[int, ...]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(self.folder / "all.lock"):
            holders = list(self._holders())
            used, foreign = dict.fromkeys((card.number for card in choice), 0.0), dict[int, float]()
            for holder in holders:
                used[holder.card] = used.get(holder.card, 0.0) + holder.gib
            for other in self._others(choice, holders):
                foreign[other.card] = other.gib

            def fits(card: Card) -> bool:
                gib, room = demand.gib_of(card), card.total_gib - used[card.number] + 1e-6
                needed = min(gib, demand.whole_gib or gib) if gib >= card.total_gib else gib
                return gib <= room and needed <= room - foreign.get(card.number, 0.0)

            # Who holds a card already does not queue behind those who wait for it: none of them would get on.
            holds = any(holder.pid == os.getpid() for holder in holders)
            reserved = set() if holds else self._kept_free(since)
            roomy = [card for card in choice if card.number not in reserved and fits(card)]
            roomy.sort(key=lambda card: (used[card.number] + foreign.get(card.number, 0.0), card.number))
            if len(roomy) < demand.count:
                return ()
            for card in roomy[: demand.count]:
                leases.enter_context(
                    self._note(Holder(card.number, demand.gib_of(card), os.getpid(), demand.who))
                )
            return tuple(card.number for card in roomy[: demand.count])

    @staticmethod
    def _others(choice: Sequence[Card], holders: Sequence[Holder]) -> list[Holder]:
        """Memory of the cards that is in use beyond our leases."""
        others = []
        for card in choice:
            leased = sum(holder.gib for holder in holders if holder.card == card.number)
            if (gib := card.total_gib - card.free_gib - leased) > UNNOTICED_GIB:
                others.append(Holder(card.number, gib, 0, "processes that are not ours"))
        return others

    @contextmanager
    def _note(self, holder: Holder) -> Iterator[None]:
        path = self.folder / f"card-{holder.card}-{uuid.uuid4().hex}.lease"
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            json.dump(vars(holder), file)
            file.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def holders(self) -> list[Holder]:
        """Who holds a card now."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(self.folder / "all.lock"):
            return list(self._holders())

    def _holders(self) -> Iterator[Holder]:
        for path in self.folder.glob("*.lease"):
            with contextlib.suppress(FileNotFoundError), path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield Holder(**json.load(file))
                else:
                    path.unlink(missing_ok=True)  # its holder died


@dataclass(frozen=True)
class Placement:
    """The cards that a stage holds; called with a command it puts it on them."""

    numbers: tuple[int, ...] = ()

    @property
    def gpus(self) -> int:
        """How many they are; 0 on the CPU."""
        return len(self.numbers)

    def __call__(self, command: Command) -> Command:
        """*command* on these cards."""
        if not self.numbers:
            return command
        env = {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the numbers are nvidia-smi's
            "CUDA_VISIBLE_DEVICES": ",".join(str(number) for number in self.numbers),
        }
        return replace(command, env={**command.env, **env})


def count_of(spec: ModelSpec, stage: str) -> int:
    """Return how many cards *stage* of a row needs at once."""
    if stage in ("train", "export"):
        return spec.cards
    return spec.serving.tensor_parallel if stage in ("serve", "parity") else 1


@contextmanager
def leased(spec: ModelSpec, stage: str, tell: Callable[..., object]) -> Iterator[Placement]:
    """Hold the cards of a stage, and yield what puts a command on them.

    A training has its card to itself. A service takes what its engine will: the share of the card that lmdeploy,
    vLLM and SGLang fill, else the row's need, so that two services share a card if both fit.

    Args:
        tell: told (as :meth:`bakeoff.store.stages.Timeline.tell`) whom it waits for.
    """
    visible = [] if spec.on_cpu or stage in ("build", "convert") else cards()
    if not visible or not set(spec.visible or "0") <= set(
        "0123456789, "
    ):  # a UUID in 'gpus' is taken as it is
        yield Placement()
        return
    least = spec.needs.gpu_memory_gib
    fills = stage == "serve" and spec.serving.engine != "transformers"

    def gib_of(card: Card) -> float:
        share = 1.0 if stage == "train" else spec.serving.memory_share if fills else 0.0
        return max(least, share * card.total_gib)

    def waiting(holders: list[Holder]) -> None:
        holdings = [
            f"card {h.card}: {h.gib:.0f} GiB by {h.who}" + (f", process {h.pid}" if h.pid else "")
            for h in holders
        ]
        tell("waiting for a card", model=spec.name, stage=stage, held=holdings)

    with Leases(common_folder(), waiting, cards).lease(
        visible,
        gib_of,
        who=f"{spec.name} ({stage})",
        count=count_of(spec, stage),
        fixed=spec.visible,
        whole_gib=least,
    ) as numbers:
        yield Placement(numbers)
