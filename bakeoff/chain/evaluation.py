"""All suites of one deployed model, asked together and kept one by one."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import requests

from bakeoff import evalscope
from bakeoff.chain.deployment import Deployment
from bakeoff.chain.service import CANARY_TIMEOUT_S, Service, who_answers_as
from bakeoff.command import Command
from bakeoff.errors import BakeoffError, CommandFailed, ScoreError, ServiceError, Stalled
from bakeoff.execution.attempts import Attempts
from bakeoff.files import write_json
from bakeoff.matrix.schema import Suite, dataset_argument
from bakeoff.provenance import commit, versions
from bakeoff.scoring.leakage import training_files
from bakeoff.scoring.scores import ALL, SPEED, STATUSES
from bakeoff.sentences import Template, restored, with_statements
from bakeoff.store.stages import OUTPUT_GONE, Done, Record

REQUESTS_FAILED = Template(
    "chain.evaluation.requests_failed", "{count} requests failed", zh="有 {count} 个请求失败"
)
CUT_SHORT = Template(
    "chain.evaluation.cut_short", "{name} is cut short", zh="{name} 不完整", en="{name} is incomplete"
)
NO_RESULT = Template(
    "chain.evaluation.no_result", "{name} is no result", zh="{name} 不是评测结果", en="{name} holds no result"
)
NO_RESULT_BECAUSE = Template(
    "chain.evaluation.no_result_because",
    "{name} is no result ({error})",
    zh="{name} 不是评测结果（{error}）",
    en="{name} holds no result ({error})",
)
MISCOUNTED = Template(
    "chain.evaluation.miscounted",
    "{name}: {where} says {why}",
    zh="{name}：{where} 的计数与逐题记录不符（{why}）",
    en="{name}: the counts of {where} disagree with its samples ({why})",
)
LEDGER = Template("chain.evaluation.ledger", "its ledger", zh="作答统计", en="the response accounting")
COUNTS = Template(
    "chain.evaluation.counts",
    "{said} {key}, and its samples {counted}",
    zh="{key}：记为 {said}，实为 {counted}",
    en="{key}: {said} recorded, {counted} counted",
)
OTHER_VALUE = Template(
    "chain.evaluation.other_value",
    "{name}: {where} is said to be {value}, and its samples' grades make {mean}",
    zh="{name}：{where} 记为 {value}，按逐题得分应为 {mean}",
    en="{name}: {where} is recorded as {value}, but its samples average {mean}",
)
NOTHING = Template("chain.evaluation.nothing", "nothing", zh="无")
ANOTHER_ANSWERS = Template(
    "chain.evaluation.another_answers",
    "{before!r} answered then, {now!r} answers now",
    zh="上次作答的是 {before!r}，现在是 {now!r}",
)
UNANSWERED = Template(
    "chain.evaluation.unanswered", "{count} questions have no answer yet", zh="还有 {count} 题没有回复"
)
REPLIES_ERRORED = Template(
    "chain.evaluation.replies_errored",
    "{count} replies had errored",
    zh="上次有 {count} 条回复出错",
    en="{count} replies had failed",
)

_T = TypeVar("_T")

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
                log=self._work_dir / "evaluation.log",
                why_broken=why_unreadable,
                why_again=self._why_again,
            )

    def _why_again(self, output: Path) -> str:
        """Why the stored result *output* is asked again, in words; empty where it stands."""
        return why_unanswered(output) or self._why_another(output)

    def _why_another(self, output: Path) -> str:
        """That another model answered the stored result than answers now, in words; empty where none did."""
        before, now = _answered_by(output), self._answers_now
        if not (self.deployment.chain.spec.url and before and now) or before == now:
            return ""
        return ANOTHER_ANSWERS(before=before, now=now)

    @cached_property
    def _answers_now(self) -> str:
        """Who answers at somebody else's service; "" where nothing has to be asked, or nobody answers."""
        if not self.deployment.chain.spec.url:
            return ""
        stages = self.deployment.chain.bench.stages
        outputs = [self.folder(one) / "result.json" for one in self.suites]
        usable = all(
            stages.current(
                self.folder(one),
                self._identity(one),
                lambda path: why_unreadable(path) or why_unanswered(path),
            )
            for one in self.suites
        )
        if usable and len({_answered_by(path) for path in outputs}) <= 1:
            return ""
        try:
            return _name_of(self.deployment.service())
        except BakeoffError:
            return ""

    def result(self, suite: Suite) -> dict[str, Any]:
        """The result of *suite*: ``trusted``, ``why_not``, ``ledger``, ``scores`` (rows) and ``samples`` (rows)."""
        return dict(restored(json.loads(Path(self.record(suite).output).read_text(encoding="utf-8"))))

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
        datasets = [dataset_argument(one) for one in self.deployment.chain.spec.dataset]
        return {
            "suite": suite.model_dump(exclude={"expect", "data", "hub", "may_be_untrusted"}),
            "data": bench.hashes.of(data) if data else f"hub:{suite.benchmark}",
            "fingerprint": self.deployment.fingerprint,
            "training": [bench.hashes.of(Path(one)) if Path(one).exists() else one for one in datasets],
            "grading_rules": evalscope.grading_rules(),
            "versions": versions(("evalscope",)),
        }

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
        share = answer["seconds"] / sum(one.get("seconds", 0.0) for one in answers.values())
        chain, variant = self.deployment.chain, self.deployment.variant
        who = {"model": chain.spec.name, "variant": variant}
        made = _made_by(self.deployment, output)
        rows = [
            {**row, **made}
            for row in evalscope.score_rows(answer, run_id="", fingerprint=self.deployment.fingerprint, **who)
        ]
        samples = evalscope.sample_rows(answer, **who)
        result = {key: value for key, value in answer.items() if key != "scores"}
        whole = {**result, "scores": rows, "samples": [{**row, "run_id": ""} for row in samples]}
        write_json(output, with_statements(_without_nan(whole)))
        facts = {
            "suite": suite.name,
            "gpus": self.deployment.service().facts.get("gpus", 0) if answer["asked_now"] else 0,
            "requests_s": answer["seconds"],
            "asked_now": answer["asked_now"],
            "restarts": self.deployment.restarts,
            "attempts": self._attempts,
            "alarms": answer["alarms"],
        }
        return Done(self.by_hand(suite), None, facts, self._took_s * share)

    def by_hand(self, suite: Suite) -> str:
        """The line that evaluates *suite* on the service at the deployment's ``by_hand_url``, to paste."""
        chain = self.deployment.chain
        command = evalscope.evaluate_command(
            self.deployment.by_hand_url,
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
        missing = [
            one
            for one in self.suites
            if not stages.current(
                self.folder(one),
                self._identity(one),
                lambda output: why_unreadable(output) or self._why_again(output),
            )
        ]
        if graded := self._graded_again(missing):
            return graded
        return _on_living(self.deployment, lambda service: self._ask(service, missing), self._attempts)

    def _graded_again(self, suites: Sequence[Suite]) -> dict[str, dict[str, Any]]:
        """The results of *suites* from answers on disk, where what changed asks for no other; empty where one lacks."""
        names = set()
        for suite in suites:
            if self.deployment.chain.spec.url and self._why_another(self.folder(suite) / "result.json"):
                return {}
            earlier = [_kept(path) for path in (self._work_dir / suite.name).glob("*/result.json")]
            if not any(
                one.get("weights") == self.deployment.fingerprint and not one["errors"] for one in earlier
            ):
                return {}
            names |= {one["answers_as"] for one in earlier if one.get("answers_as")}
        facts = {"answers_as": names.pop()} if len(names) == 1 else {}
        try:
            return self._ask(
                Service("", self.deployment.served_name, self.deployment.fingerprint, facts=facts), suites
            )
        except CommandFailed:
            return {}

    def _how_far(self) -> Callable[[], str]:
        """What says how many questions are answered, and how long the rest will take; empty until they are read."""
        (self._work_dir / "asked.json").unlink(missing_ok=True)
        first: tuple[float, int] | None = None

        def how_far() -> str:
            nonlocal first
            if not (counted := evalscope.how_far(self._work_dir)):
                return ""
            now, (answered, questions) = time.monotonic(), counted
            first = first or (now, answered)
            words = f"answered {answered:,} of {questions:,}"
            if answered > first[1]:
                left_s = (now - first[0]) / (answered - first[1]) * (questions - answered)
                words += f", about {math.ceil(left_s / 60)} min left"
            return words

        return how_far

    def _ask(self, service: Service, suites: Sequence[Suite]) -> dict[str, dict[str, Any]]:
        chain = self.deployment.chain
        bench, spec = chain.bench, chain.spec
        training, unread = training_files(map(dataset_argument, spec.dataset), use_hf=spec.use_hf)
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
            _see_alive(service)
            tell()
            files = [*self._work_dir.glob("*/*/predictions/*/*.jsonl"), *self._work_dir.glob("*/*/alone.log")]
            return sum(one.stat().st_size for one in files)

        bench.runner.run(
            evalscope.run_command(path),
            self._work_dir / "evaluation.log",
            timeout_s=spec.limits.evaluate_s,
            stall_s=spec.limits.stall_s,
            progress=sign_of_life,
        )
        _see_alive(service)
        results = evalscope.read_results(self._work_dir)
        if lacking := [suite.name for suite in suites if suite.name not in results]:
            raise ScoreError(
                f"{spec.name}: no result for {', '.join(lacking)}; log: {self._work_dir / 'evaluation.log'}"
            )
        if any(one.get("errors") for one in results.values()) and self.deployment.may_start_again:
            _see_answering(service)
        return results


def why_unreadable(result: Path) -> str:
    """Why the file *result* of an evaluation cannot be used, in words; empty for a whole one."""
    try:
        kept = json.loads(result.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return OUTPUT_GONE()
    except ValueError:
        return CUT_SHORT(name=result.name)
    except RecursionError:
        return NO_RESULT(name=result.name)
    if not isinstance(kept, dict) or not {"scores", "samples"} <= kept.keys():
        return NO_RESULT(name=result.name)
    try:
        return _why_inconsistent(kept, result.name)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return NO_RESULT_BECAUSE(name=result.name, error=f"{type(error).__name__}: {error}")


def _why_inconsistent(kept: dict[str, Any], name: str) -> str:
    """Where the scores of a result are not what its samples make, in words; empty where they are.

    The value of the main metric is the mean of its samples' grades, and a ledger counts what became of them. Rows of a
    speed measurement have no samples.
    """
    samples, main = kept["samples"], kept.get("metric")
    if kept.get("ledger") is not None and (why := _why_miscounted(kept["ledger"], samples, "")):
        return MISCOUNTED(name=name, where=LEDGER(), why=why)
    for row in kept["scores"]:
        if row.get("benchmark") == SPEED:
            continue
        metric, subset = str(row["metric"]), row["subset"]
        part = [one for one in samples if subset in (ALL, one["subset"])]
        if metric.endswith("_unleaked"):
            part = [one for one in part if not one["leaked"]]
        where = metric if subset == ALL else f"{metric} of {subset}"
        if why := _why_miscounted(row, part, "n_"):
            return MISCOUNTED(name=name, where=where, why=why)
        if metric not in (main, f"{main}_unleaked"):
            continue
        grades = [one["correct"] for one in part if one["status"] != "errored" and one["correct"] is not None]
        mean, value = math.fsum(grades) / len(grades) if grades else None, row["value"]
        if (mean is None) != (value is None) or (mean is not None and not abs(value - mean) <= 1e-9):
            told = NOTHING() if mean is None else f"{mean:.4g}"
            return OTHER_VALUE(name=name, where=where, value=value, mean=told)
    return ""


def _why_miscounted(counts: dict[str, Any], samples: Sequence[dict[str, Any]], prefix: str) -> str:
    """Which count of a ledger is not that of *samples*, in words; empty for none."""
    there = Counter(one["status"] for one in samples)
    wanted: dict[str, int] = {"asked": len(samples), **{status: there[status] for status in STATUSES}}
    wanted["judged"] = len(samples) - there["errored"]
    for key, count in wanted.items():
        if prefix + key in counts and counts[prefix + key] != count:
            return COUNTS(said=counts[prefix + key], key=key, counted=count)
    return ""


def _name_of(service: Service) -> str:
    """The model and the system fingerprint that answered the canary of *service*."""
    return "@".join(
        part for name in ("answers_as", "system_fingerprint") if (part := service.facts.get(name) or "")
    )


def _other_name(service: Service) -> str:
    """Who answers at *service*, where that is not just the name that was asked."""
    name = _name_of(service)
    return "" if name == service.served_name else name


def _answered_by(result: Path) -> str:
    """Who answered the stored *result*; "" where it does not say."""
    try:
        return str(json.loads(result.read_text(encoding="utf-8")).get("answers_as") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def _kept(result: Path) -> dict[str, Any]:
    """What the file *result* holds; nothing where it was cut short."""
    try:
        return dict(json.loads(result.read_text(encoding="utf-8")))
    except ValueError:
        return {}


def why_unanswered(result: Path) -> str:
    """How many questions of a kept *result* got no reply that might come yet, in words; empty for none."""
    errors = json.loads(result.read_text(encoding="utf-8")).get("errors") or {}
    waiting = sum(not _FINAL.search(error) for error in errors.values())
    return UNANSWERED(count=waiting) if waiting else ""


_FINAL = re.compile(r"Error code: (400|413|422)\b|could not be graded")
"""A refusal of the question itself, or a grader's failure on a reply that is there: asking again changes nothing."""


def _on_living(deployment: Deployment, ask: Callable[[Service], _T], told: list[str] | None = None) -> _T:
    """What *ask* returns on the service, which is started again a bounded number of times when it dies or hangs.

    A failure that may pass is tried again as often as ``limits.retries`` says; *told* gets a line for each.
    """
    attempts = Attempts(deployment.chain.spec.limits.retries, told if told is not None else [])
    while True:
        service = deployment.service()
        try:
            _see_alive(service)
            return ask(service)
        except (ServiceError, CommandFailed) as error:
            if service.why_dead():
                continue
            if isinstance(error, Stalled) and service.process and deployment.may_start_again:
                service.process.stop()  # it runs and answers nothing: another one may
                attempts.failed(error)
            elif isinstance(error, CommandFailed):
                attempts.again(error)
            else:
                raise


def _see_answering(service: Service) -> None:
    """Raises Stalled where our own service runs, but no longer answers; a refusal or an odd reply is an answer."""
    if not service.process:
        return
    try:
        service.complete([{"role": "user", "content": "你好"}], max_tokens=1, timeout_s=CANARY_TIMEOUT_S)
    except (ServiceError, requests.JSONDecodeError):
        return
    except requests.RequestException as error:
        raise Stalled(f"{service.served_name} runs, and answers no more ({type(error).__name__})") from error


def _see_alive(service: Service) -> None:
    if told := service.why_dead():
        raise ServiceError(told)


def _made_by(deployment: Deployment, output: Path) -> dict[str, str]:
    """What a score keeps for good of how it was made, whichever later run reuses it."""
    chain = deployment.chain
    used = chain.tools("serve").versions | versions(("bakeoff", "evalscope"))
    return {
        "commit": commit(Path(chain.bench.matrix.source).absolute().parent),
        "versions": "; ".join(f"{name} {version}" for name, version in used.items()),
        "record": output.with_name("record.json").relative_to(chain.bench.workspace.root).as_posix(),
    }


def replies(deployment: Deployment) -> Record:
    """The replies of a deployed model to the counselling cases, gathered for the judge unless they are in the store."""
    from bakeoff.judgement import replies as gathered

    chain, variant = deployment.chain, deployment.variant
    stages, spec = chain.bench.stages, chain.spec
    cases = gathered.load_cases()
    recipe = {"cases": [case.sha for case in cases], "max_tokens": gathered.MAX_TOKENS}
    kept = chain.bench.workspace.replies(spec.name, variant)

    asked = False

    def work(output: Path) -> Done:
        nonlocal asked
        while True:
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
                timeout_s=min(300.0, spec.limits.stall_s),
            )
            counts = Counter(answer.status for answer in answers)
            if not counts["errored"] or not service.why_dead():
                break
        asked = True
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(output, kept)
        return Done("", None, {"cases": len(answers)} | {str(status): n for status, n in counts.items() if n})

    def why_again(output: Path) -> str:
        errored = sum(one.status == "errored" for one in gathered.read_replies([output]))
        return REPLIES_ERRORED(count=errored) if errored and not asked else ""

    return stages.ensure(
        "replies",
        spec.name,
        variant=variant,
        folder=stages.folder("replies", spec.name, recipe, variant),
        identity=recipe | {"fingerprint": deployment.fingerprint},
        work=work,
        output="replies.jsonl",
        # nothing is started for it: the service's log, or where somebody else serves, the timeline
        log=stages.timeline.path if spec.url else deployment.folder() / "stage.log",
        why_broken=lambda output: "" if output.exists() and kept.exists() else OUTPUT_GONE(),
        why_again=why_again,
    )


def _speed_recipe(deployment: Deployment) -> dict[str, Any]:
    from bakeoff.evalscope.speed import LEVELS

    return {"levels": list(LEVELS), "in": deployment.folder().name}


def speed_folder(deployment: Deployment) -> Path:
    """Where the record of the speed of *deployment* is kept."""
    chain = deployment.chain
    return chain.bench.stages.folder("speed", chain.spec.name, _speed_recipe(deployment), deployment.variant)


def speed(deployment: Deployment) -> Record:
    """Time to first token, tokens and requests per second of a deployed model, measured unless in the store."""
    from bakeoff.evalscope import speed as measuring

    chain, variant = deployment.chain, deployment.variant
    stages, spec = chain.bench.stages, chain.spec
    recipe, folder = _speed_recipe(deployment), speed_folder(deployment)

    def measure(service: Service) -> Command:
        shutil.rmtree(folder / "perf", ignore_errors=True)  # an earlier attempt's levels
        measuring.write_prompts(folder)
        measured = measuring.speed_command(service.url, service.served_name, folder, key_env=spec.key_env)
        by_hand = measuring.speed_command(
            deployment.by_hand_url, service.served_name, folder, key_env=spec.key_env
        )
        limits = spec.limits
        chain.bench.runner.run(
            measured,
            folder / "stage.log",
            timeout_s=limits.evaluate_s,
            stall_s=limits.stall_s,
            progress=lambda: _see_alive(service),
        )
        _see_alive(service)
        return by_hand

    def work(output: Path) -> Done:
        command = _on_living(deployment, measure)
        rows = measuring.speed_rows(
            measuring.read_speed(folder),
            run_id="",
            model=spec.name,
            variant=variant,
            suite="speed",
            fingerprint=deployment.fingerprint,
            **_made_by(deployment, output),
        )
        write_json(output, with_statements(_without_nan({"scores": rows, "samples": []})))
        gpus = deployment.service().facts.get("gpus", 0)
        return Done(str(command), None, {"gpus": gpus, "restarts": deployment.restarts})

    return stages.ensure(
        "speed",
        spec.name,
        variant=variant,
        folder=folder,
        identity=recipe | {"fingerprint": deployment.fingerprint, "versions": versions(("evalscope",))},
        work=work,
        output="result.json",
        why_broken=why_unreadable,
        why_again=_why_unmeasured,
    )


def _why_unmeasured(result: Path) -> str:
    rows = json.loads(result.read_text(encoding="utf-8"))["scores"]
    failed = {row["subset"]: row["n_errored"] for row in rows if row["n_errored"]}
    return REQUESTS_FAILED(count=sum(failed.values())) if failed else ""


def _without_nan(value: Any) -> Any:
    """*value* with NaN as null, which JSON has no other word for."""
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    return [_without_nan(one) for one in value] if isinstance(value, list) else value
