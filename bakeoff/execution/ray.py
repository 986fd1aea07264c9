"""Jobs on a Ray cluster, each an actor that starts the command."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakeoff.execution import endings
from bakeoff.execution.executor import Job, State, memory_bytes
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.secrecy import redact
from bakeoff.matrix.schema import ExecutorSpec

ANSWER_S = 10.0
"""How long an actor may take to answer before nothing is known of it."""


class Attendant:
    """An actor on a node that starts one command and watches it.

    It says how the command is, and passes signals on.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, argv: list[str], env: dict[str, str], cwd: str, log: str) -> str:
        """Start the command and return the name of the host."""
        cards = os.environ.get("CUDA_VISIBLE_DEVICES")  # Ray's to set
        env = env if cards is None else {**env, "CUDA_VISIBLE_DEVICES": cards}
        with Path(log).open("ab") as output:
            self.process = subprocess.Popen(
                argv,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return socket.gethostname()

    def look(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self.process.poll() if self.process else None

    def end(self) -> None:
        """Ask the command to end in order."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)


@dataclass
class _Place:
    """Where a job went."""

    actor: Any
    started: Any
    host: str = ""


class Ray:
    """An executor; see :class:`bakeoff.execution.executor.Executor`."""

    keeps_time = False

    @property
    def look_s(self) -> float:
        """Return the seconds between two looks at the actors."""
        return 2.0

    def __init__(self, spec: ExecutorSpec) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise BakeoffError(endings.NO_RAY()) from None
        self.ray: Any = ray
        self.spec = spec
        address = spec.address or os.environ.get("RAY_ADDRESS") or "auto"
        try:
            with _own_signals():
                ray.init(address=address, namespace="bakeoff", log_to_driver=False, logging_level="error")
        except Exception as error:  # Ray raises many kinds
            problem = redact(
                str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            )
            raise BakeoffError(endings.NO_CLUSTER(address=redact(address), problem=problem)) from None
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the nodes need not have it
        self._places: dict[str, _Place] = {}
        self._ended: dict[str, State] = {}

    def why_unusable(self, jobs: Sequence[Job]) -> str:
        """Return which of *jobs* fits no node."""
        alive = self._nodes()
        for job in jobs:
            needs = {
                "GPU": float(job.gpus),
                "CPU": float(self.spec.cpus or 1),
                "memory": memory_bytes(self.spec.memory),
            }
            if not any(all(node.get(name, 0) >= amount for name, amount in needs.items()) for node in alive):
                demand = ", ".join(f"{name} {amount:g}" for name, amount in needs.items() if amount)
                return endings.NO_SUCH_NODE(job=job.name, demand=demand)
        return ""

    def cards(self) -> int:
        """Return how many cards the nodes have that are there now."""
        return int(sum(node.get("GPU", 0) for node in self._nodes()))

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def submit(self, job: Job) -> None:
        """Queue an actor that runs *job*."""
        options: dict[str, object] = {
            "num_gpus": job.gpus,
            "num_cpus": self.spec.cpus or 1,
            "max_restarts": 0,
            "max_concurrency": 2,
        }
        if self.spec.memory:
            options["memory"] = memory_bytes(self.spec.memory)
        argv = [*self.spec.launch, *job.command.argv]
        env = {**job.env, **job.command.env}
        self._ended.pop(job.name, None)
        actor = self.ray.remote(Attendant).options(**options).remote()
        cwd = str(job.command.cwd or job.folder)
        self._places[job.name] = _Place(actor, actor.start.remote(argv, env, cwd, str(job.log)))

    def states(self) -> Mapping[str, State]:
        """Return how the jobs are; one whose node does not answer now is left out."""
        states = dict(self._ended)
        for name, place in self._places.items():
            if name in states:
                continue
            try:
                if not place.host and not self.ray.wait([place.started], timeout=0)[0]:
                    states[name] = State("queued", endings.NO_NODE_FREE())
                    continue
                place.host = place.host or self.ray.get(place.started)
                code = self.ray.get(place.actor.look.remote(), timeout=ANSWER_S)
            except (self.ray.exceptions.ActorUnavailableError, self.ray.exceptions.GetTimeoutError):
                continue
            except self.ray.exceptions.RayActorError:
                self._ended[name] = states[name] = State("lost", endings.NODE_LOST(), place.host)
                continue
            except self.ray.exceptions.RayTaskError as error:
                why = endings.NOT_STARTED(error=redact(str(error.cause)))
                self._ended[name] = states[name] = State("ended", why, returncode=127)
                continue
            if code is None:
                states[name] = State("running", "", place.host)
            else:
                self._ended[name] = states[name] = State("ended", "", place.host, code)
                self.ray.kill(place.actor)
        return states

    def stop(self, name: str, *, kill: bool = False) -> None:
        """Ask the command to end in order, or end its actor with all it started."""
        place = self._places.get(name)
        if place is None or name in self._ended:
            return
        if kill or not (place.host or self.ray.wait([place.started], timeout=0)[0]):
            self.ray.kill(place.actor)
            self._ended[name] = State(
                "ended", endings.KILLED() if place.host else endings.LEFT_QUEUE(), place.host
            )
        else:
            with contextlib.suppress(self.ray.exceptions.RayError):
                self.ray.get(place.actor.end.remote(), timeout=ANSWER_S)

    def close(self) -> None:
        """End what still runs, and leave the cluster."""
        for name in list(self._places):
            if name not in self._ended:
                self.stop(name, kill=True)
        self.ray.shutdown()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handlers of this process where Ray would put its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(number, handler)
