"""One variant of a row behind a service.

It is compared with its training before it is served, and checked once it runs.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import requests

from bakeoff.chain import parity, stages
from bakeoff.chain.chain import Bench, Chain
from bakeoff.chain.needs import why_unmet
from bakeoff.chain.service import CANARY_TIMEOUT_S, Service, reach, restart, serving
from bakeoff.chain.shared import SharedService, link_log
from bakeoff.execution.attempts import Attempts
from bakeoff.execution.runner import Process, Runner, end_orphans
from bakeoff.foundation.errors import (
    BakeoffError,
    CommandFailed,
    DataError,
    MatrixError,
    ServiceError,
    Stalled,
)
from bakeoff.foundation.files import write_json
from bakeoff.foundation.provenance import ContentHashes
from bakeoff.foundation.sentences import Template, joined
from bakeoff.foundation.suggestions import suggestion
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.schema import Matrix, ModelSpec
from bakeoff.matrix.sharing import guests_of
from bakeoff.parity import answers
from bakeoff.store.facts import HealthFacts
from bakeoff.store.stage import Stage
from bakeoff.store.stages import Done, Record, Stages, Timeline

CANNOT_RUN = Template("chain.deployment.cannot_run", "{row} {why}", zh="{row}：{why}")
NO_ROW = Template("chain.deployment.no_row", "no row {row!r}", zh="没有模型行 {row!r}")
NO_VARIANT = Template(
    "chain.deployment.no_variant",
    "{row} has {names}, not {variant!r}",
    zh="{row} 有 {names}，没有 {variant!r}",
    between=(" and ", " 和 "),
)
ONLY_ASKED = Template(
    "chain.deployment.only_asked",
    "a service that somebody else runs can only be asked, not opened",
    zh="由他人运行的服务只能提问，无法检查其权重",
)
T = TypeVar("T")


@dataclass
class Deployment:
    """One variant of a row, served on first need and until :meth:`close`.

    Nothing is served before :meth:`parity` found it to be what was trained, and nothing is handed out before the
    running service has shown it, too. What could not be started once is not tried again.

    Attributes:
        restarts: how the service died, each time it was started again.
    """

    chain: Chain
    variant: str
    restarts: list[str] = field(default_factory=list)
    _service: Service | None = None
    _shown: Record | None = None
    _shared: SharedService | None = None
    _failure: BakeoffError | None = None
    _exit: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _lock: threading.RLock = field(default_factory=threading.RLock)  # pages ask from several threads

    @property
    def fingerprint(self) -> str:
        """See :meth:`Chain.fingerprint`."""
        return self.chain.fingerprint(self.variant)

    @property
    def served_name(self) -> str:
        """The name that the service must list."""
        return self.chain.spec.served_name(self.variant)

    def service(self) -> Service:
        """Return the running service, started now unless it runs.

        One that died is started again, a bounded number of times.

        Raises:
            ServiceError: it could not be started, or keeps dying.
            IdentityError: it is not what was trained.
        """
        with self._lock:
            if self._failure:
                raise self._failure
            try:
                if self._service is None:
                    self._service = self._started()
                elif why := self._service.why_dead():
                    self._start_again(self._service, why)
            except BaseException as error:  # also what a service's odd reply, or an interrupt, raises
                self._failure = error if isinstance(error, BakeoffError) else None
                self.close()
                raise
            return self._service

    def _started(self) -> Service:
        chain, spec = self.chain, self.chain.spec
        name = spec.served_name(self.variant)
        if spec.url:
            service = Service(spec.url.rstrip("/"), name, self.fingerprint, key_env=spec.key_env)
            reach(service)
            return service
        chain.tools("serve").prepare()
        chain.tools("serve").check(chain.serve_command(self.variant, 0))
        if spec.serving.shared:
            self._shared = chain.bench.shared.take(name, self._start_shared)
            service = self._shared.services[name]
            link_log(self.stage.log_file, service)
            return service
        chain.served(self.variant)
        self._shown = self.parity()
        placed = self._exit.enter_context(chain.leased("serve"))
        service = self._exit.enter_context(
            serving(
                lambda port: placed(
                    chain.tools("serve").with_caches(chain.serve_command(self.variant, port))
                ),
                served_name=name,
                fingerprint=self.fingerprint,
                runner=chain.bench.runner,
                log=self.folder() / "stage.log",
                port=spec.serving.port,
                ready_timeout_s=spec.serving.ready_timeout_s,
            )
        )
        service.facts["gpus"] = placed.gpus
        service.facts |= answers.check_replies(service, self._shown.facts)
        return service

    def _start_shared(self) -> SharedService:
        """Return a running service for all variants of the row.

        And for the other adapters on its base that this run asks for. Each was found to be what was trained.
        """
        chains: list[Chain] = []
        compared: dict[str, Mapping[str, object]] = {}
        for chain in (self.chain, *self._guests()):
            try:
                facts = self._compared(chain)
            except BakeoffError:
                if chain is self.chain:
                    raise
                continue  # the tests of that row will say why
            chains.append(chain)
            compared |= facts
        rows = list(self.chain.bench.matrix.models)
        chains.sort(key=lambda chain: ("base" not in chain.spec.variants, rows.index(chain.spec.name)))
        shared = SharedService(chains, compared)
        shared.start()
        return shared

    def _guests(self) -> list[Chain]:
        """Return the rows that the service answers for, as this run asks."""
        bench = self.chain.bench
        guests = guests_of(self.chain.spec, bench.matrix.models)
        names = [name for name in guests if "tuned" in bench.shared.requested.get(name, ())]
        return [Chain(bench.matrix.models[name], bench) for name in names]

    def _compared(self, chain: Chain) -> dict[str, Mapping[str, object]]:
        """Return the facts of the comparison of each name of a row.

        Training and merge come first, so that nothing needs the machine while the service runs.
        """
        if "export" in chain.bench.shared.requested.get(chain.spec.name, ()):
            chain.export()
        compared: dict[str, Mapping[str, object]] = {}
        for variant in chain.spec.variants:
            chain.served(variant)
            deployment = type(self)(chain, variant)
            compared[deployment.served_name] = deployment.parity().facts
        return compared

    def _start_again(self, service: Service, why: str) -> None:
        chain, limits = self.chain, self.chain.spec.serving
        if not self.may_start_again:
            raise ServiceError(
                f"{why}; it was started again {len(self.restarts)} times, as often as 'serving.restarts' allows"
            )
        self.restarts.append(why)
        chain.bench.stages.timeline.tell(
            "service died", model=chain.spec.name, why=why, restart=len(self.restarts)
        )
        if self._shared:
            self._shared.start_again()
            return
        restart(service, chain.bench.runner, limits.ready_timeout_s)
        assert self._shown
        service.facts |= answers.check_replies(service, self._shown.facts)

    def ask(self, work: Callable[[Service], T], attempts: Attempts | None = None) -> T:
        """Return what *work* does with the running service.

        The service is revived when it dies or hangs.

        *work* is called again after each start, and has to go on where it was. What else ends it passes through, but
        for failures of its commands that may pass: they are tried again.

        Args:
            work: raises ServiceError where the service died, Stalled where it hangs.
            attempts: counts the tries and tells of them; None: as ``limits.retries`` says.

        Raises:
            ServiceError: the service could not be started, keeps dying, or refuses.
        """
        attempts = attempts or Attempts(self.chain.spec.limits.retries)
        while True:
            service = self.service()
            process = service.process
            try:
                see_alive(service)
                return work(service)
            except (ServiceError, CommandFailed, requests.RequestException) as error:
                if process and not isinstance(error, CommandFailed):
                    process.wait(1)  # its end is seen a moment after the broken connection
                if service.process is not process or service.why_dead():
                    continue  # dead, or another thread has started it again by now
                if self._hangs(service, error):
                    self._stop(service, process)
                    attempts.failed(error)
                elif isinstance(error, CommandFailed):
                    attempts.again(error)
                else:
                    raise

    def revive(self) -> bool:
        """Return whether a service of ours answers.

        It is started again if it has died or hangs.

        Raises:
            ServiceError: it could not be started again.
        """
        self.ask(see_answering)
        return not self.chain.spec.url

    def _hangs(self, service: Service, error: Exception) -> bool:
        """Return whether *error* calls for another start, and one is left."""
        if not service.process or not self.may_start_again:
            return False
        if isinstance(error, CommandFailed):
            return isinstance(error, Stalled)
        try:
            see_answering(service)
        except Stalled:
            return True
        return False

    def _stop(self, service: Service, process: Process | None) -> None:
        """End *process*, unless another thread has replaced it."""
        with self._lock:
            if process and service.process is process:
                process.stop()

    @property
    def may_start_again(self) -> bool:
        """Whether ``serving.restarts`` leaves a start for a service that dies."""
        return len(self.restarts) < self.chain.spec.serving.restarts

    def parity(self) -> Record:
        """That it is what was trained; see :func:`bakeoff.chain.parity.check`.

        Raises:
            IdentityError: it is not.
            DataError: somebody else runs the service, so there is nothing to look at.
        """
        if self.chain.spec.url:
            raise DataError(
                f"{self.chain.spec.name}: what runs at {self.chain.spec.url} can only be asked, not opened"
            )
        return parity.check(self.chain, stages.parity(self.chain, self.variant))

    @property
    def stage(self) -> Stage[HealthFacts]:
        """The stage that serves it and checks its health."""
        return stages.deploy(self.chain, self.variant)

    def folder(self) -> Path:
        """Where the record and the log of this deployment are kept."""
        return self.stage.folder

    def health(self) -> Record:
        """Return the record that the service answers and completes.

        It is checked once for what is served.
        """
        return self.chain.bench.stages.ensure(self.stage, self._check)

    def _check(self, output: Path) -> Done:
        service = self.service()
        facts = {**service.facts, "models": service.models(), "by_hand_url": self.by_hand_url}
        write_json(output, facts)
        peak = service.process.peak_memory_gib if service.process else None
        return Done(self.by_hand(), peak or None, facts)

    def by_hand(self) -> str:
        """Return the line that serves it at :attr:`by_hand_url`.

        As ``--dry-run`` prints it; where somebody else serves, the line that asks.
        """
        return str(self.stage.lines[0].command)

    @property
    def by_hand_url(self) -> str:
        """See :func:`bakeoff.chain.stages.by_hand_url`."""
        return stages.by_hand_url(self.chain.spec)

    def close(self) -> None:
        """End the service; a shared one waits for the next deployment.

        Memory of a card that did not come back is told in the timeline.
        """
        service, self._service = self._service, None
        if self._shared:
            self.chain.bench.shared.leave(self._shared)
            self._shared = None
            return
        self._exit.close()
        missing = HealthFacts.read(service.facts).memory_not_returned_gib if service else 0.0
        if missing:
            timeline = self.chain.bench.stages.timeline
            timeline.tell("memory not returned", model=self.chain.spec.name, gib=missing)


def see_alive(service: Service) -> None:
    """Raise ServiceError where our own service has ended."""
    if why := service.why_dead():
        raise ServiceError(why)


def see_answering(service: Service) -> None:
    """Raise Stalled where our running service no longer answers.

    A refusal or an odd reply is an answer.
    """
    if not service.process:
        return
    try:
        service.complete([{"role": "user", "content": "你好"}], max_tokens=1, timeout_s=CANARY_TIMEOUT_S)
    except (ServiceError, requests.JSONDecodeError):
        return
    except requests.RequestException as error:
        raise Stalled(f"{service.served_name} runs, and answers no more ({type(error).__name__})") from error


def chosen(matrix: Matrix, subject: str) -> tuple[ModelSpec, str]:
    """Return the row and the variant that *subject* names.

    ``row/variant``, or ``row`` for its tuned variant if it has one.

    Raises:
        MatrixError: there is none of that name.
        BakeoffError: this machine cannot run it.
    """
    row, _, variant = subject.partition("/")
    if row not in matrix.models:
        raise MatrixError(joined([NO_ROW(row=row), suggestion(row, matrix.models)]), matrix.source)
    spec = matrix.models[row]
    if variant and variant not in spec.variants:
        raise MatrixError(NO_VARIANT(row=row, names=spec.variants, variant=variant), matrix.source)
    if unmet := why_unmet(spec, matrix):
        raise BakeoffError(CANNOT_RUN(row=row, why=unmet))
    return spec, variant or spec.variants[-1]


@contextlib.contextmanager
def deployments(
    matrix: Matrix, subjects: Sequence[str], workspace: Workspace, run_id: str, *, may_run: bool = True
) -> Iterator[list[Deployment]]:
    """Yield a deployment of each of *subjects*, closed afterwards.

    For subjects see :func:`chosen`.

    What is missing is made when a service is first asked for, unless *may_run* is False.

    Raises:
        BakeoffError: as :func:`chosen`.
    """
    subjects_found = [chosen(matrix, subject) for subject in subjects]
    end_orphans(workspace.processes)
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(contextlib.closing(Runner(workspace.processes)))
        store = Stages(workspace, Timeline(workspace.run(run_id) / "events.jsonl"), may_run=may_run)
        hashes = ContentHashes(workspace.cache / "hashes.json")
        bench = Bench(matrix, workspace, store, runner, hashes)
        stack.callback(bench.shared.close)
        yield [
            stack.enter_context(contextlib.closing(Deployment(Chain(spec, bench), variant)))
            for spec, variant in subjects_found
        ]
