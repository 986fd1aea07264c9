"""One process that serves a row's base and its adapter under two names.

It is way A of the guide, started once for both variants: the one that comes next finds it ready. It ends when both have
been served, or when something else needs the machine in between.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bakeoff.chain import stages
from bakeoff.chain.service import Service, reach, restart, serving
from bakeoff.parity import answers
from bakeoff.store.facts import HealthFacts

if TYPE_CHECKING:
    from bakeoff.chain.chain import Chain


@dataclass
class SharedService:
    """A process that answers for every variant of a row.

    Attributes:
        trained: the facts of each variant's parity, by which its name is looked at.
        services: the process under the name of each variant.
        users: deployments that are open.
        turns: variants that have been asked for.
    """

    chain: Chain
    trained: Mapping[str, Mapping[str, object]]
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
        chain, spec = self.chain, self.chain.spec
        with contextlib.ExitStack() as stack:
            placed = stack.enter_context(chain.leased("serve"))
            base = stack.enter_context(
                serving(
                    lambda port: placed(chain.serve_command("base", port)),
                    served_name=spec.served_name("base"),
                    fingerprint=chain.fingerprint("base"),
                    runner=chain.bench.runner,
                    log=stages.deploy(chain, "base").log_file,
                    port=spec.serving.port,
                    ready_timeout_s=spec.serving.ready_timeout_s,
                )
            )
            base.facts["gpus"] = placed.gpus
            tuned = replace(
                base,
                served_name=spec.served_name("tuned"),
                fingerprint=chain.fingerprint("tuned"),
                facts=dict(base.facts),
            )
            self.services = {"base": base, "tuned": tuned}
            self._look()
            self._exit = stack.pop_all()

    def start_again(self) -> None:
        """Start a process that died, unless another deployment has done so by now.

        Raises:
            ServiceError: it did not come back.
            IdentityError: a name is answered by other weights than its own.
        """
        chain, base, tuned = self.chain, self.services["base"], self.services["tuned"]
        with self._lock:
            if not base.why_dead():
                return
            restart(base, chain.bench.runner, chain.spec.serving.ready_timeout_s)
            tuned.process = base.process
            tuned.facts["restarts"] = base.facts["restarts"]
            self._look()

    def _look(self) -> None:
        reach(self.services["tuned"])
        for variant, service in self.services.items():
            service.facts |= answers.check_replies(service, self.trained[variant])

    def why_dead(self) -> str:
        """Return in words how the process ended, empty while it runs."""
        return self.services["base"].why_dead()

    def close(self) -> None:
        """End the process."""
        self._exit.close()
        if missing := HealthFacts.read(self.services["base"].facts).memory_not_returned_gib:
            timeline = self.chain.bench.stages.timeline
            timeline.tell("memory not returned", model=self.chain.spec.name, gib=missing)


class SharedServices:
    """The shared services of a run, by row."""

    def __init__(self) -> None:
        self._running: dict[str, SharedService] = {}
        self._lock = threading.RLock()

    def take(self, row: str, variant: str, start: Callable[[], SharedService]) -> SharedService:
        """Return the running service of *row*; *start* starts it otherwise."""
        with self._lock:
            shared = self._running.get(row)
            if shared and shared.why_dead() and not shared.users:
                self._end(row)
                shared = None
            if shared is None:
                shared = self._running[row] = start()
            shared.users += 1
            shared.turns.add(variant)
            return shared

    def leave(self, shared: SharedService) -> None:
        """Note that a deployment is closed.

        Its service waits for the variant that has not had its turn, and ends where each has had it.
        """
        with self._lock:
            shared.users -= 1
            row = shared.chain.spec.name
            if (
                not shared.users
                and shared.turns == shared.services.keys()
                and self._running.get(row) is shared
            ):
                self._end(row)

    def end_unused(self) -> None:
        """End every service that no deployment uses: what it occupies is needed."""
        with self._lock:
            for row in [row for row, shared in self._running.items() if not shared.users]:
                self._end(row)

    def close(self) -> None:
        """End every service."""
        with self._lock:
            for row in list(self._running):
                self._end(row)

    def _end(self, row: str) -> None:
        self._running.pop(row).close()
