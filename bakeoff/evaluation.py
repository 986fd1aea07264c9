"""All suites of one deployed model, asked together and kept one by one."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bakeoff import evalscope
from bakeoff.deployment import Deployment
from bakeoff.errors import ScoreError, ServiceError
from bakeoff.matrix import Suite, dataset_argument
from bakeoff.provenance import versions, write_json
from bakeoff.service import Service, restart
from bakeoff.stages import Done, Record


@dataclass
class Evaluation:
    """The scores of one variant of a row in the suites that a run asks for.

    Suites that have to run are run together, by one process, on a service that is started for them; it is started
    again a bounded number of times when it dies, and only the unanswered questions are asked then.
    """

    deployment: Deployment
    suites: Sequence[Suite]
    restarts: list[str] = field(default_factory=list)

    def record(self, suite: Suite) -> Record:
        """What became of *suite*, run now (with all others that have to) unless its result is in the store.

        Raises:
            ScoreError: it has no result.
            ServiceError: the service could not be started, or kept dying.
        """
        chain = self.deployment.chain
        stages = chain.bench.stages
        with stages.lock(self._work_dir):
            return stages.ensure(
                "evaluate",
                chain.spec.name,
                variant=self.deployment.variant,
                folder=self.folder(suite),
                identity=self._identity(suite),
                work=lambda output: self._result(suite, output),
                output="result.json",
            )

    def result(self, suite: Suite) -> dict[str, Any]:
        """The result of *suite*: ``trusted``, ``why_not``, ``ledger``, ``scores`` (rows) and ``samples`` (rows)."""
        return dict(json.loads(Path(self.record(suite).output).read_text(encoding="utf-8")))

    @property
    def _work_dir(self) -> Path:
        chain = self.deployment.chain
        return chain.bench.workspace.model(chain.spec.name) / "evaluation" / self.deployment.variant

    def folder(self, suite: Suite) -> Path:
        """Where the record of *suite* is kept."""
        chain = self.deployment.chain
        recipe = {"suite": suite.name, "in": self.deployment.folder().name}
        return chain.bench.stages.folder(
            f"evaluate-{suite.name}", chain.spec.name, recipe, self.deployment.variant
        )

    def _identity(self, suite: Suite) -> dict[str, Any]:
        bench = self.deployment.chain.bench
        data = suite.folder(bench.data_dir)
        return {
            "suite": suite.model_dump(exclude={"expect", "data", "hub", "may_be_untrusted"}),
            "data": bench.hashes.of(data) if data else f"hub:{suite.benchmark}",
            "fingerprint": self.deployment.fingerprint,
            "versions": versions(("evalscope",)),
        }

    def _result(self, suite: Suite, output: Path) -> Done:
        answer = self._together[suite.name]
        chain, variant = self.deployment.chain, self.deployment.variant
        who = {"model": chain.spec.name, "variant": variant}
        rows = evalscope.score_rows(answer, run_id="", fingerprint=self.deployment.fingerprint, **who)
        samples = evalscope.sample_rows(answer, **who)
        result = {key: value for key, value in answer.items() if key != "scores"}
        write_json(
            output,
            _without_nan({**result, "scores": rows, "samples": [{**row, "run_id": ""} for row in samples]}),
        )
        facts = {
            "suite": suite.name,
            "requests_s": answer["seconds"],
            "asked_now": answer["asked_now"],
            "restarts": self.restarts,
            "alarms": answer["alarms"],
        }
        return Done(self._command_by_hand(suite), None, facts)

    def _command_by_hand(self, suite: Suite) -> str:
        chain = self.deployment.chain
        command = evalscope.evaluate_command(
            chain.spec.url or "http://127.0.0.1:8000/v1",
            self.deployment.served_name,
            suite,
            chain.bench.workspace.model(chain.spec.name)
            / "by-hand"
            / f"{self.deployment.variant}-{suite.name}",
            data_dir=suite.folder(chain.bench.data_dir),
            in_flight=chain.spec.serving.in_flight,
            key_env=chain.spec.key_env,
        )
        return str(command)

    @cached_property
    def _together(self) -> dict[str, dict[str, Any]]:
        """The results of every suite that is not in the store, of one process."""
        chain = self.deployment.chain
        stages = chain.bench.stages
        missing = [one for one in self.suites if not stages.current(self.folder(one), self._identity(one))]
        while True:
            service = self.deployment.service()
            try:
                return self._ask(service, missing)
            except ServiceError:
                told = service.why_dead()
                if not told or len(self.restarts) >= chain.spec.serving.restarts:
                    raise
                self.restarts.append(told)
                stages.timeline.tell(
                    "service died", model=chain.spec.name, why=told, restart=len(self.restarts)
                )
                restart(service, chain.bench.runner, chain.spec.serving.ready_timeout_s)

    def _ask(self, service: Service, suites: Sequence[Suite]) -> dict[str, dict[str, Any]]:
        chain = self.deployment.chain
        bench, spec = chain.bench, chain.spec
        plan = evalscope.evaluation_plan(
            service.url,
            service.served_name,
            suites,
            self._work_dir,
            data_dirs={suite.name: suite.folder(bench.data_dir) for suite in suites},
            weights=self.deployment.fingerprint,
            answers_as=service.facts.get("answers_as", ""),
            in_flight=spec.serving.in_flight,
            key_env=spec.key_env,
            training=[path for one in spec.dataset if (path := Path(dataset_argument(one))).exists()],
        )
        path = self._work_dir / "plan.json"
        write_json(path, plan)

        def alive() -> None:
            if told := service.why_dead():
                raise ServiceError(told)

        bench.runner.run(
            evalscope.run_command(path),
            self._work_dir / "evaluation.log",
            timeout_s=spec.limits.evaluate_s,
            stall_s=spec.limits.evaluate_s,
            progress=alive,
        )
        alive()
        results = evalscope.read_results(self._work_dir)
        if lacking := [suite.name for suite in suites if suite.name not in results]:
            raise ScoreError(
                f"{spec.name}: no result for {', '.join(lacking)}; log: {self._work_dir / 'evaluation.log'}"
            )
        return results


def replies(deployment: Deployment) -> Record:
    """The replies of a deployed model to the counselling cases, gathered for the judge unless they are in the store."""
    from bakeoff import replies as gathered

    chain, variant = deployment.chain, deployment.variant
    stages, spec = chain.bench.stages, chain.spec
    cases = gathered.load_cases()
    recipe = {"cases": [case.sha for case in cases], "max_tokens": gathered.MAX_TOKENS}
    kept = chain.bench.workspace.replies(spec.name, variant)

    def work(output: Path) -> Done:
        service = deployment.service()
        answers = gathered.gather(
            service.url,
            service.served_name,
            cases,
            output,
            model=spec.name,
            variant=variant,
            fingerprint=deployment.fingerprint,
            at_once=spec.serving.in_flight,
            api_key_env=spec.key_env or "",
        )
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(output, kept)
        counts = Counter(answer.status for answer in answers)
        return Done("", None, {"cases": len(answers)} | {str(status): n for status, n in counts.items()})

    return stages.ensure(
        "replies",
        spec.name,
        variant=variant,
        folder=stages.folder("replies", spec.name, recipe, variant),
        identity=recipe | {"fingerprint": deployment.fingerprint},
        work=work,
        output="replies.jsonl",
        why_broken=lambda output: "" if output.exists() and kept.exists() else "its output is gone",
    )


def speed(deployment: Deployment) -> Record:
    """Time to first token, tokens and requests per second of a deployed model, measured unless in the store."""
    from bakeoff.suites import speed as measuring

    chain, variant = deployment.chain, deployment.variant
    stages, spec = chain.bench.stages, chain.spec
    recipe = {"levels": list(measuring.LEVELS), "in": deployment.folder().name}
    folder = stages.folder("speed", spec.name, recipe, variant)

    def work(output: Path) -> Done:
        service = deployment.service()
        measuring.write_prompts(folder)
        command = measuring.speed_command(service.url, service.served_name, folder, key_env=spec.key_env)
        limits = spec.limits
        chain.bench.runner.run(
            command, folder / "stage.log", timeout_s=limits.evaluate_s, stall_s=limits.stall_s
        )
        rows = measuring.speed_rows(
            measuring.read_speed(folder),
            run_id="",
            model=spec.name,
            variant=variant,
            suite="speed",
            fingerprint=deployment.fingerprint,
        )
        write_json(output, _without_nan({"scores": rows, "samples": []}))
        return Done(str(command), None, {})

    return stages.ensure(
        "speed",
        spec.name,
        variant=variant,
        folder=folder,
        identity=recipe | {"fingerprint": deployment.fingerprint, "versions": versions(("evalscope",))},
        work=work,
        output="result.json",
    )


def _without_nan(value: Any) -> Any:
    """*value* with NaN as null, which JSON has no other word for."""
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    return [_without_nan(one) for one in value] if isinstance(value, list) else value
