"""The evaluation process: asks every suite of a plan together."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bakeoff.endpoint.address import key_of, spared_by_proxies
from bakeoff.evalscope import choosing, sealing
from bakeoff.evalscope.caches import ask_changed, why_shared
from bakeoff.evalscope.catalogue import check_suite
from bakeoff.evalscope.choosing import ask_letters
from bakeoff.evalscope.commands import OFFLINE
from bakeoff.evalscope.distrust import (
    CHANGED,
    FINGERPRINTS,
    ask_alone,
    distrust,
    names_of,
    prompts_cut,
    repeated_errors,
    seen_noise,
)
from bakeoff.evalscope.grading import result_of, samples_of
from bakeoff.evalscope.loading import Loaded, drop_unusable, load, predictions_of
from bakeoff.evalscope.types import EvaluationPlan, SuiteResult
from bakeoff.foundation.errors import BakeoffError, DataError, MatrixError, ScoreError
from bakeoff.foundation.files import write_json, write_rows
from bakeoff.foundation.sentences import Template, joined, with_statements
from bakeoff.scoring.leakage import Leak, leaks, training_dialogues
from bakeoff.scoring.scores import Sample
from bakeoff.scoring.tables import sample_row, write_samples

if TYPE_CHECKING:
    from bakeoff.evalscope.asking import AskingAPI
    from bakeoff.evalscope.evaluating import Crew

_TURN_S = 0.02
"""How long a thread may hold the interpreter: every thread that waits for it wakes up so often, and hundreds do."""

NO_REPORT = Template(
    "evalscope.worker.no_report",
    "EvalScope made no report: {error}",
    zh="EvalScope 未能生成自己的报告：{error}",
    en="EvalScope could not write its own report: {error}",
)

NOT_SEALED = Template(
    "evalscope.worker.not_sealed",
    "{suite}: the replies on disk, or what was seen of the service, are not what was graded, and nobody is to be asked",
    zh="{suite}：磁盘上的回复或对服务的检查结果与评分时不一致，且没有可询问的服务",
)


def run(plan: EvaluationPlan) -> dict[str, SuiteResult]:
    """Evaluate every suite of *plan*; the results by suite.

    An interrupted plan is resumed: only the questions without an answer are asked. An answer is reused only where the
    questions, prompts, right answers, generation settings, weights and EvalScope's version are the same.

    A suite that breaks takes no other along: its result is ``{"error": why}``.

    Raises:
        MatrixError: a suite cannot be carried out; every reason is listed and nothing was asked.
        ScoreError: every suite broke, or an answer is missing and the plan names no service.
    """
    os.environ.update(spared_by_proxies())
    if all(suite["data_dir"] for suite in plan["suites"]):
        _keep_off_the_hubs()
    if complaints := _complaints(plan):
        raise MatrixError(complaints, "plan")
    from bakeoff.suites import register

    register()
    api = _api(plan)
    work_dir = Path(plan["work_dir"])
    (work_dir / "results.json").unlink(missing_ok=True)
    results: dict[str, SuiteResult] = {suite["name"]: {} for suite in plan["suites"]}
    loaded = _loaded(plan, api, results)
    leaked, unread = _leaked(loaded, plan)
    plan = {**plan, "training_unread": unread}
    futures = _asked(loaded, api, plan)
    # Nothing else is in flight any more: a service that mixes up replies under load does not do so alone.
    for suite, future in futures:
        try:
            result = _settled(suite, api, plan, leaked, future.result())
        except Exception as error:
            result = {"error": _in_words(error)}
        results[suite.suite["name"]] = result
    broken = {name: result["error"] for name, result in results.items() if "error" in result}
    if len(broken) == len(results):
        raise ScoreError("; ".join(f"{name}: {why}" for name, why in broken.items()))
    whole = {name: Path(result["folder"]) for name, result in results.items() if name not in broken}
    write_json(
        work_dir / "results.json",
        {"suites": {n: str(f.relative_to(work_dir)) for n, f in whole.items()}, "errors": broken},
    )
    return results


def _asked(
    loaded: Sequence[Loaded], api: AskingAPI, plan: EvaluationPlan
) -> list[tuple[Loaded, Future[_Round]]]:
    """Each suite with how its round went; all have ended."""
    from bakeoff.evalscope.evaluating import Crew

    crew, usual = Crew(plan["in_flight"]), sys.getswitchinterval()
    sys.setswitchinterval(max(usual, _TURN_S))
    try:
        with ThreadPoolExecutor(max(1, len(loaded))) as pool:
            return [(suite, pool.submit(_ask_all, suite, api, plan, crew)) for suite in loaded]
    finally:
        sys.setswitchinterval(usual)
        crew.end()


def _api(plan: EvaluationPlan) -> AskingAPI:
    from bakeoff.evalscope.asking import AskingAPI

    return AskingAPI(
        plan["served_name"],
        plan["service_url"] or "http://nobody.invalid",
        key_of(plan["key_env"], plan["service_url"]) or "EMPTY",
        in_flight=plan["in_flight"],
        answers_as=plan.get("answers_as") or "",
        timeout_s=plan["timeout_s"],
    )


def _loaded(plan: EvaluationPlan, api: AskingAPI, results: dict[str, SuiteResult]) -> list[Loaded]:
    """The suites of *plan* that can be read; why not in *results*.

    Raises:
        ScoreError: an answer is missing and the plan names no service.
    """
    work_dir = Path(plan["work_dir"])
    loaded: list[Loaded] = []
    for suite in plan["suites"]:
        try:
            loaded.append(load(suite, plan, api, work_dir))
        except Exception as error:
            results[suite["name"]] = {"error": _in_words(error)}
    for ready in loaded:
        whole = bool(plan["service_url"]) or sealing.is_whole(ready, _name_of(plan))
        drop_unusable(ready)
        sealing.drop_others(ready)
        if plan["service_url"]:
            continue
        missing = len(ready.samples) - len(predictions_of(ready))
        if missing and (whole or not ready.changed):
            raise ScoreError(
                f"{ready.suite['name']}: {missing} questions have no answer yet, and nobody is to be asked"
            )
        if not whole:
            raise ScoreError(NOT_SEALED(suite=ready.suite["name"]))
    folders = [str(ready.folder.relative_to(work_dir)) for ready in loaded]
    questions = sum(len(ready.samples) for ready in loaded)
    write_json(work_dir / "asked.json", {"questions": questions, "folders": folders})
    return loaded


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, BakeoffError) else f"{type(error).__name__}: {error}"


def _keep_off_the_hubs() -> None:
    """Set :data:`OFFLINE` for this process and what it has imported.

    The libraries may have been imported before it was forked.
    """
    os.environ.update(OFFLINE)
    for name in ("huggingface_hub.constants", "datasets.config"):
        if module := sys.modules.get(name):
            vars(module)["HF_HUB_OFFLINE"] = True


def _leaked(loaded: Sequence[Loaded], plan: EvaluationPlan) -> tuple[dict[tuple[str, str, int], Leak], str]:
    """The questions found in training files, and what was not searched."""
    files = [Path(path) for path in plan["training"]]
    if not files:
        return {}, plan["training_unread"]
    questions = {
        (ready.suite["name"], subset, sample.id): ready.questions.get((subset, sample.id), "")
        for ready in loaded
        for subset, sample in ready.samples
    }
    try:
        options = {
            (ready.suite["name"], subset, sample.id): [str(choice) for choice in sample.choices]
            for ready in loaded
            for subset, sample in ready.samples
            if sample.choices
        }
        return leaks(questions, training_dialogues(files), options), plan["training_unread"]
    except DataError as error:  # the scores are as good as they are without it
        return {}, str(error)


def _complaints(plan: EvaluationPlan) -> list[str]:
    complaints: list[str] = []
    for raw in plan["suites"]:
        suite = argparse.Namespace(**raw)
        complaints += check_suite(suite, Path(raw["data_dir"]) if raw["data_dir"] else None)
    if urlsplit(plan["service_url"]).scheme not in ("http", "https") and plan["service_url"]:
        complaints.append(f"service_url: must begin with http:// or https://, found {plan['service_url']!r}")
    if plan["key_env"] and plan["key_env"] not in os.environ:
        complaints.append(
            f"key_env: the environment has no {plan['key_env']}; export the service's key under this name"
        )
    return complaints


@dataclasses.dataclass
class _Round:
    """How the concurrent round of a suite went."""

    reused: int
    began: float
    alarms: list[str]
    replies: list[Sample]


def _ask_all(loaded: Loaded, api: AskingAPI, plan: EvaluationPlan, crew: Crew) -> _Round:
    """Ask each question without an answer; let EvalScope grade them all.

    What it takes to read the replies is done while those of another suite are waited for.
    """
    from bakeoff.evalscope.evaluating import evaluator_of

    began = time.monotonic()
    folder, task = loaded.folder, loaded.task
    (folder / "result.json").unlink(missing_ok=True)
    reused = len(predictions_of(loaded))
    if loaded.by_letters:
        ask_letters(loaded, api, plan["in_flight"])
        return _Round(reused, began, [], choosing.samples_of(loaded, api))
    evaluator = evaluator_of(loaded, api, crew)
    task.dump_yaml(str(folder / "configs"))
    alarms: list[str] = []
    try:
        evaluator.eval()
    except Exception as error:
        # Answers and grades are on disk by now unless asking itself broke; EvalScope's own report is extra.
        if not any((folder / "reviews").rglob("*.jsonl")):
            raise
        alarms.append(NO_REPORT(error=f"{type(error).__name__}: {error}"))
    return _Round(reused, began, alarms, samples_of(loaded, api))


def _settled(
    loaded: Loaded,
    api: AskingAPI,
    plan: EvaluationPlan,
    leaked: Mapping[tuple[str, str, int], Leak],
    concurrent: _Round,
) -> SuiteResult:
    """The result of a suite whose questions were concurrent.

    Samples, scores and what speaks against them.
    """
    folder = loaded.folder
    samples, alarms = repeated_errors(concurrent.replies)
    leaks_of: dict[str, Leak] = {}
    for number, (subset, question) in enumerate(loaded.samples):
        if leak := leaked.get((loaded.suite["name"], subset, question.id)):
            samples[number] = dataclasses.replace(samples[number], leaked=True)
            leaks_of[samples[number].sample_id] = leak
    new = len(samples) - concurrent.reused
    anew = new > 0 or not sealing.still_seen(loaded)
    alone = ask_alone(loaded, samples, api, plan, anew=anew)
    cached = why_shared(loaded, samples)
    if not alone and not cached:
        cached = ask_changed(loaded, samples, api, plan, anew=anew)
    alarms = [*concurrent.alarms, *plan.get("cautions", ()), *alarms]
    if loaded.changed:
        alarms.append(CHANGED(count=loaded.changed))
    names = names_of(loaded, api)
    if len(prints := names["system_fingerprints"]) > 1:
        alarms.append(FINGERPRINTS(count=len(prints), names=prints[:5]))
    result = result_of(loaded, samples, plan, alarms, leaks_of)
    little = choosing.why_little_mass(loaded) if loaded.by_letters else ""
    distrust(result, samples, joined((alone, prompts_cut(loaded), little, cached)))
    result |= {
        "noise": seen_noise(loaded),
        "answers_as": _name_of(plan),
        "answered_by": names,
        "reused": concurrent.reused,
        "asked_now": new,
        "seconds": round(time.monotonic() - concurrent.began, 3),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for row in result["scores"]:
        row["finished_at"] = result["finished_at"]
    _write_prompts(loaded, folder / "prompts.jsonl")
    rows = [sample_row(sample, model="", variant="", suite=loaded.suite["name"]) for sample in samples]
    write_samples(rows, folder / "samples.jsonl")
    write_json(folder / "result.json", with_statements(result))
    sealing.seal(loaded, samples, _name_of(plan))
    result["folder"] = str(folder)
    return result


def _name_of(plan: EvaluationPlan) -> str:
    """Who answers, where that is not just the name that is asked."""
    return plan.get("answered_by") or plan.get("answers_as") or ""


def _write_prompts(loaded: Loaded, path: Path) -> None:
    """Store each distinct prompt once, under its hash."""
    from bakeoff.evalscope.asking import prompt_sha

    prompts = {
        prompt_sha(question.input): [{"role": str(m.role), "content": m.text} for m in question.input]
        for _, question in loaded.samples
    }
    write_rows(path, ({"prompt_sha": sha, "messages": messages} for sha, messages in prompts.items()))
