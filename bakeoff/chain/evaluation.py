"""All suites of one deployed model, asked together and kept one by one."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import cast

from bakeoff import evalscope
from bakeoff.chain import stages
from bakeoff.chain.deployment import Deployment, see_alive, see_answering
from bakeoff.chain.results import answered_by, readable, why_unanswered, without_nan
from bakeoff.chain.service import Service, who_answers_as
from bakeoff.evalscope.types import SuiteResult
from bakeoff.execution.attempts import Attempts
from bakeoff.foundation.errors import BakeoffError, CommandFailed, ScoreError
from bakeoff.foundation.files import write_json
from bakeoff.foundation.provenance import commit, versions
from bakeoff.foundation.sentences import Template, restored, with_statements
from bakeoff.matrix.schema import Suite
from bakeoff.scoring.leakage import training_files
from bakeoff.store.facts import EvaluationFacts, EvaluationResult, HealthFacts
from bakeoff.store.stage import Stage
from bakeoff.store.stages import Done, Record

ANOTHER_ANSWERS = Template(
    "chain.evaluation.another_answers",
    "{before!r} answered then, {now!r} answers now",
    zh="上次作答的是 {before!r}，现在是 {now!r}",
)

ANSWERED = Template(
    "chain.evaluation.answered", "answered {count:,} of {total:,}", zh="已作答 {count:,}/{total:,} 题"
)
ANSWERED_AND_LEFT = Template(
    "chain.evaluation.answered_and_left",
    "answered {count:,} of {total:,}, about {minutes} min left",
    zh="已作答 {count:,}/{total:,} 题，约剩 {minutes} 分钟",
)

ASK_ALONE = 12
"""Answered questions of each suite that are asked again one at a time, after the concurrent round."""


@dataclass
class Evaluation:
    """The scores of one variant of a row in the suites that a run asks for.

    Suites that have to run are run together, by one process, on a service that is started for them; it is started
    again a bounded number of times when it dies or hangs, and only the unanswered questions are asked then. What ends
    that process for good ends every suite of this run: asked one by one, they would pass a limit of hours each.
    """

    deployment: Deployment
    suites: Sequence[Suite]
    _took_s: float = 0.0
    _attempts: list[str] = field(default_factory=list)
    _failure: CommandFailed | None = None

    def record(self, suite: Suite) -> Record:
        """Return the record of *suite*, run now unless it is stored.

        All other suites that have to run are run with it.

        Raises:
            ScoreError: it has no result.
            ServiceError: the service could not be started, or kept dying.
        """
        store = self.deployment.chain.bench.stages
        with store.lock(self._work_dir):
            return store.ensure(self._stage(suite), lambda output: self._result(suite, output))

    def _stage(self, suite: Suite) -> Stage[EvaluationFacts]:
        stage = stages.evaluate(self.deployment.chain, self.deployment.variant, suite)
        return replace(stage, why_again=self._why_again)

    def _why_again(self, output: Path) -> str:
        """Return why the stored result *output* is asked again.

        In words; empty where it stands.
        """
        return why_unanswered(output) or self._why_another(output)

    def _why_another(self, output: Path) -> str:
        """Return that another model gave the stored result.

        In words; empty where none did.
        """
        before, now = answered_by(output), self._answers_now
        if not (self.deployment.chain.spec.url and before and now) or before == now:
            return ""
        return ANOTHER_ANSWERS(before=before, now=now)

    @cached_property
    def _answers_now(self) -> str:
        """Return who answers at somebody else's service.

        Empty where nothing has to be asked, or nobody answers.
        """
        if not self.deployment.chain.spec.url:
            return ""
        store = self.deployment.chain.bench.stages
        expected = [replace(self._stage(suite), why_again=why_unanswered) for suite in self.suites]
        if all(map(store.current, expected)) and len({answered_by(stage.output) for stage in expected}) <= 1:
            return ""
        try:
            return _name_of(self.deployment.service())
        except BakeoffError:
            return ""

    def result(self, suite: Suite) -> SuiteResult:
        """Return the result of *suite*.

        Its keys are ``trusted``, ``why_not``, ``ledger``, ``scores`` (rows) and ``samples`` (rows).
        """
        return cast(
            SuiteResult, restored(json.loads(Path(self.record(suite).output).read_text(encoding="utf-8")))
        )

    @property
    def _work_dir(self) -> Path:
        chain = self.deployment.chain
        return chain.bench.workspace.evaluation(chain.spec.name, self.deployment.variant)

    def folder(self, suite: Suite) -> Path:
        """Where the record of *suite* is kept."""
        return self._stage(suite).folder

    def _result(self, suite: Suite, output: Path) -> Done:
        began = time.monotonic()
        if self._failure:
            raise self._failure
        try:
            answers = self._together
        except CommandFailed as error:
            self._failure = error
            raise
        answer = answers[suite.name]
        if why := answer.get("error"):
            raise ScoreError(f"{self.deployment.chain.spec.name}: {suite.name}: {why}")
        self._took_s = self._took_s or time.monotonic() - began  # whoever asks first waits for all
        share = answer["seconds"] / sum(each.get("seconds", 0.0) for each in answers.values())
        chain, variant = self.deployment.chain, self.deployment.variant
        who = {"model": chain.spec.name, "variant": variant}
        origin = made_by(self.deployment, output)
        rows = [
            {**row, **origin}
            for row in evalscope.score_rows(answer, run_id="", fingerprint=self.deployment.fingerprint, **who)
        ]
        samples = evalscope.sample_rows(answer, **who)
        result = {key: value for key, value in answer.items() if key != "scores"}
        content = {**result, "scores": rows, "samples": [{**row, "run_id": ""} for row in samples]}
        write_json(output, with_statements(without_nan(content)))
        facts = {
            "suite": suite.name,
            "gpus": HealthFacts.read(self.deployment.service().facts).gpus if answer["asked_now"] else 0,
            "requests_s": answer["seconds"],
            "asked_now": answer["asked_now"],
            "restarts": self.deployment.restarts,
            "attempts": self._attempts,
            "alarms": answer["alarms"],
        }
        return Done(str(stages.evaluate_line(chain, variant, suite)), None, facts, self._took_s * share)

    @cached_property
    def _together(self) -> Mapping[str, evalscope.SuiteResult]:
        """The results of every suite that is not in the store, of one process."""
        store = self.deployment.chain.bench.stages
        missing = [suite for suite in self.suites if not store.current(self._stage(suite))]
        if graded := self._graded_again(missing):
            return graded
        attempts = Attempts(self.deployment.chain.spec.limits.retries, self._attempts)
        return self.deployment.ask(lambda service: self._ask(service, missing), attempts)

    def _graded_again(self, suites: Sequence[Suite]) -> Mapping[str, evalscope.SuiteResult]:
        """Return the results of *suites* from answers on disk.

        Only where what changed asks for no other answers; empty where one lacks.
        """
        names = set()
        for suite in suites:
            if self.deployment.chain.spec.url and self._why_another(self.folder(suite) / "result.json"):
                return {}
            paths = (self._work_dir / suite.name).glob("*/result.json")
            earlier = [EvaluationResult.read(readable(path)) for path in paths]
            if not any(
                result.weights == self.deployment.fingerprint and not result.errors for result in earlier
            ):
                return {}
            names |= {result.answers_as for result in earlier if result.answers_as}
        facts: dict[str, object] = {"answers_as": names.pop()} if len(names) == 1 else {}
        try:
            return self._ask(
                Service("", self.deployment.served_name, self.deployment.fingerprint, facts=facts), suites
            )
        except CommandFailed:
            return {}

    def _how_far(self) -> Callable[[], str]:
        """Return what says how many questions are answered.

        And how long the rest will take; empty until they are read.
        """
        (self._work_dir / "asked.json").unlink(missing_ok=True)
        first: tuple[float, int] | None = None

        def how_far() -> str:
            nonlocal first
            if not (counted := evalscope.how_far(self._work_dir)):
                return ""
            now, (answered, questions) = time.monotonic(), counted
            first = first or (now, answered)
            if answered == first[1]:
                return ANSWERED(count=answered, total=questions)
            left_s = (now - first[0]) / (answered - first[1]) * (questions - answered)
            return ANSWERED_AND_LEFT(count=answered, total=questions, minutes=math.ceil(left_s / 60))

        return how_far

    def _ask(self, service: Service, suites: Sequence[Suite]) -> Mapping[str, evalscope.SuiteResult]:
        chain = self.deployment.chain
        bench, spec = chain.bench, chain.spec
        training, unread = training_files(chain.origins.dataset_places(), use_hf=spec.use_hf)
        plan = evalscope.evaluation_plan(
            service.url,
            service.served_name,
            suites,
            self._work_dir,
            data_dirs={suite.name: suite.folder(bench.data_dir) for suite in suites},
            weights=self.deployment.fingerprint,
            answers_as=HealthFacts.read(service.facts).answers_as,
            in_flight=spec.serving.in_flight,
            key_env=spec.key_env,
            training=training,
            training_unread=unread,
            answered_by=_other_name(service) if spec.url else "",
            cautions=[words] if spec.url and service.url and (words := who_answers_as(service)) else [],
            ask_alone=ASK_ALONE,
        )
        path = self._work_dir / "plan.json"
        write_json(path, with_statements(plan))

        tell = bench.stages.timeline.progress(
            self._how_far(), stage="evaluate", model=spec.name, variant=self.deployment.variant
        )

        def sign_of_life() -> int:
            """Size of the answers on disk, which grows with each one."""
            see_alive(service)
            tell()
            files = [*self._work_dir.glob("*/*/predictions/*/*.jsonl"), *self._work_dir.glob("*/*/alone.log")]
            return sum(each.stat().st_size for each in files)

        bench.runner.run(
            evalscope.run_command(path),
            self._work_dir / "evaluation.log",
            timeout_s=spec.limits.evaluate_s,
            stall_s=spec.limits.stall_s,
            progress=sign_of_life,
        )
        see_alive(service)
        results = evalscope.read_results(self._work_dir)
        if lacking := [suite.name for suite in suites if suite.name not in results]:
            raise ScoreError(
                f"{spec.name}: no result for {', '.join(lacking)}; log: {self._work_dir / 'evaluation.log'}"
            )
        if any(each.get("errors") for each in results.values()) and self.deployment.may_start_again:
            see_answering(service)
        return results


def _name_of(service: Service) -> str:
    """Return model and system fingerprint of the canary of *service*."""
    facts = HealthFacts.read(service.facts)
    return "@".join(filter(None, (facts.answers_as, facts.system_fingerprint)))


def _other_name(service: Service) -> str:
    """Return who answers at *service*, if not the name that was asked."""
    name = _name_of(service)
    return "" if name == service.served_name else name


def made_by(deployment: Deployment, output: Path) -> dict[str, str]:
    """Return how a score was made, which it keeps for good.

    Whichever later run reuses it.
    """
    chain = deployment.chain
    used = chain.tools("serve").versions | versions(("bakeoff", "evalscope"))
    return {
        "commit": commit(Path(chain.bench.matrix.source).absolute().parent),
        "versions": "; ".join(f"{name} {version}" for name, version in used.items()),
        "record": output.with_name("record.json").relative_to(chain.bench.workspace.root).as_posix(),
    }
