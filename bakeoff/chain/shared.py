"""One process that serves a base and adapters, each under its own name.

It is way A of the guide, started once for both variants of a row and for the further seeds of its recipe:
whichever comes next finds it ready. It ends when all have been served, or when something else needs the
machine in between.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.chain import stages
from bakeoff.chain.rivals import why_not_told
from bakeoff.chain.service import Service, reach, restart, serving
from bakeoff.parity import answers
from bakeoff.store.facts import HealthFacts
from bakeoff.tools.engines import with_adapters

if TYPE_CHECKING:
    from bakeoff.chain.chain import Chain


@dataclass
class SharedService:
    """A process that answers for the variants of rows with one base.

    Attributes:
        chains: the rows; the line of the first is started, the others' adapters are added to it.
        compared: the facts of the comparison before, by the name that the process lists.
        services: the process under each name.
        users: deployments that are open.
        turns: names that have been asked for.
    """

    chains: Sequence[Chain]
    compared: Mapping[str, Mapping[str, object]]
    services: dict[str, Service] = field(default_factory=dict)
    users: int = 0
    turns: set[str] = field(default_factory=set)
    _exit: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def start(self) -> None:
        """Start the process, and see who answers under each name.

        Raises:
            ServiceError: it does not get ready, or lacks a name.
            IdentityError: a name is answered by other weights than its own.
        """
        first, *others = self.chains
        further = {each.spec.served_name("tuned"): each.checkpoint_path() for each in others}
        variant = first.spec.variants[0]
        with contextlib.ExitStack() as stack:
            placed = stack.enter_context(first.leased("serve"))
            main = stack.enter_context(
                serving(
                    lambda port: placed(
                        first.tools("serve").with_caches(
                            with_adapters(first.serve_command(variant, port), further)
                        )
                    ),
                    served_name=first.spec.served_name(variant),
                    fingerprint=first.fingerprint(variant),
                    runner=first.bench.runner,
                    log=stages.deploy(first, variant).log_file,
                    port=first.spec.serving.port,
                    ready_timeout_s=first.spec.serving.ready_timeout_s,
                )
            )
            main.facts["gpus"] = placed.gpus
            for name, chain, kind in _names(self.chains):
                self.services[name] = (
                    main
                    if name == main.served_name
                    else replace(
                        main, served_name=name, fingerprint=chain.fingerprint(kind), facts=dict(main.facts)
                    )
                )
            self._look()
            self._exit = stack.pop_all()

    @property
    def _main(self) -> Service:
        return next(iter(self.services.values()))

    def start_again(self) -> None:
        """Start a process that died, unless another deployment has done so by now.

        Raises:
            ServiceError: it did not come back.
            IdentityError: a name is answered by other weights than its own.
        """
        first, main = self.chains[0], self._main
        with self._lock:
            if not main.why_dead():
                return
            restart(main, first.bench.runner, first.spec.serving.ready_timeout_s)
            for service in self.services.values():
                service.process = main.process
                service.facts["restarts"] = main.facts["restarts"]
            self._look()

    def _look(self) -> None:
        for name, service in self.services.items():
            if service is not self._main:
                reach(service)
            service.facts |= answers.check_replies(service, self.compared[name])
        if len(self.chains) == 1:
            return  # the two variants of a row were held against each other by the comparison
        for name, service in self.services.items():
            if service.facts["identity"] != answers.SHOWN:
                continue
            doubts = (
                why_not_told(service, self.compared[name], rival, self.compared[rival])
                for rival in self.services
                if rival != name
            )
            if doubt := next(filter(None, doubts), ""):
                service.facts["identity"] = answers.NOT_SHOWN(why=doubt)

    def why_dead(self) -> str:
        """Return in words how the process ended, empty while it runs."""
        return self._main.why_dead()

    def close(self) -> None:
        """End the process."""
        self._exit.close()
        if missing := HealthFacts.read(self._main.facts).memory_not_returned_gib:
            first = self.chains[0]
            first.bench.stages.timeline.tell("memory not returned", model=first.spec.name, gib=missing)


def link_log(log: Path, service: Service) -> None:
    """Let the *log* of a row be that of the process that serves it."""
    assert service.process
    to = service.process.log
    if log == to:
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    log.symlink_to(os.path.relpath(to, log.parent))


def _names(chains: Sequence[Chain]) -> Iterator[tuple[str, Chain, str]]:
    """Yield each name that answers, with its row and variant."""
    for chain in chains:
        for variant in chain.spec.variants:
            yield chain.spec.served_name(variant), chain, variant


class SharedServices:
    """The shared services of a run.

    Attributes:
        requested: rows whose tuned model this run asks for, each with the marks of its tests.
    """

    def __init__(self) -> None:
        self.requested: Mapping[str, Collection[str]] = {}
        self._running: list[SharedService] = []
        self._lock = threading.RLock()

    def take(self, name: str, start: Callable[[], SharedService]) -> SharedService:
        """Return the running service of *name*; *start* starts it otherwise."""
        with self._lock:
            shared = next((each for each in self._running if name in each.services), None)
            if shared and shared.why_dead() and not shared.users:
                self._end(shared)
                shared = None
            if shared is None:
                shared = start()
                self._running.append(shared)
            shared.users += 1
            shared.turns.add(name)
            return shared

    def leave(self, shared: SharedService) -> None:
        """Note that a deployment is closed.

        Its service waits for the names that have not had their turn, and ends where each has had it.
        """
        with self._lock:
            shared.users -= 1
            if not shared.users and shared.turns == shared.services.keys() and shared in self._running:
                self._end(shared)

    def end_unused(self) -> None:
        """End every service that no deployment uses: what it occupies is needed."""
        with self._lock:
            for shared in [each for each in self._running if not each.users]:
                self._end(shared)

    def close(self) -> None:
        """End every service."""
        with self._lock:
            for shared in list(self._running):
                self._end(shared)

    def _end(self, shared: SharedService) -> None:
        self._running = [each for each in self._running if each is not shared]
        shared.close()
