"""The only module that knows EvalScope: suite -> task, what came back -> samples, ledger and scores.

Two ways to run, same requests and same grades:

* ``python -m bakeoff.evalscope eval …`` is EvalScope's own command line with our benchmarks registered, for one
  suite at a time (:func:`evaluate_command`).
* ``python -m bakeoff.evalscope run plan.json`` runs all suites of one model together in one process, resumes what
  an earlier call left unfinished, and writes for each suite ``result.json`` and ``samples.jsonl``
  (:func:`evaluation_plan`). It prints one line per suite.

``python -m bakeoff.evalscope dashboard store/models`` shows the results in EvalScope's own viewer.

Importing this module imports nothing of EvalScope.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import hashlib
import importlib.util
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from bakeoff.command import Command
from bakeoff.errors import BakeoffError, DataError, MatrixError, ScoreError, ToolError
from bakeoff.extraction import LETTERS, extract_choice, final_part
from bakeoff.leakage import Leak, leaks, training_dialogues
from bakeoff.matrix import did_you_mean
from bakeoff.scores import (
    ALL,
    Sample,
    Status,
    Thresholds,
    agreement,
    answers,
    chance_of,
    ledger,
    one_sided,
    sample_row,
    score,
    score_row,
    write_json,
    write_samples,
)
from bakeoff.suites import METRICS, OURS

PRELOAD: tuple[str, ...] = ("evalscope.run", "datasets", "bakeoff.suites.adapters", "bakeoff.suites.asking")
"""Modules that a warm process imports before it forks an evaluation."""

OFFLINE: dict[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "MODELSCOPE_API_MAX_RETRIES": "1",
}
"""Keeps EvalScope from looking for data on a hub when every suite has its own."""

LOOPBACK: dict[str, str] = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost,::1")

GENERATION_KEYS = frozenset(
    [
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "stop_seqs",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "extra_body",
        "extra_headers",
        "reasoning_effort",
        "logprobs",
        "top_logprobs",
        "stream",
        "timeout",
    ]
)
"""What a suite may send along; EvalScope drops unknown keys without a word."""

_CHOICE_METRICS = ("accuracy", "acc", "accuracy_alt", "accuracy_evalscope", "acc_evalscope")


class SuiteLike(Protocol):
    """What is asked of a suite; :class:`bakeoff.matrix.Suite` has it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def benchmark(self) -> str: ...  # noqa: D102
    @property
    def subsets(self) -> tuple[str, ...] | None: ...  # noqa: D102
    @property
    def few_shot(self) -> int | None: ...  # noqa: D102
    @property
    def limit(self) -> int | None: ...  # noqa: D102
    @property
    def limit_per(self) -> Any: ...  # noqa: D102
    @property
    def generation(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def metric(self) -> str | None: ...  # noqa: D102
    @property
    def chance(self) -> float | None: ...  # noqa: D102
    @property
    def trust(self) -> Any: ...  # noqa: D102


# --- what exists, and what would go wrong -----------------------------------------------------------------------


@cache
def _installed() -> Path:
    """The folder of the installed EvalScope's benchmarks."""
    spec = importlib.util.find_spec("evalscope")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError("evalscope is not installed; install it with: pip install evalscope")
    return Path(spec.submodule_search_locations[0]) / "benchmarks"


@cache
def known_benchmarks() -> tuple[str, ...]:
    """The ids of all benchmarks, EvalScope's and ours, read without importing EvalScope.

    Raises:
        ToolError: EvalScope is not installed.
    """
    index = json.loads((_installed() / "_index.json").read_text(encoding="utf-8"))
    return tuple(sorted({*index, *OURS}))


def known_subsets(benchmark: str, data_dir: Path | None) -> tuple[str, ...]:
    """The subsets of *benchmark*: ours from the data, EvalScope's from its description; empty where it says none.

    Raises:
        DataError: the files of one of our benchmarks are absent or malformed.
    """
    if benchmark in OURS:
        from bakeoff.suites.rows import questions

        return tuple(questions(benchmark, data_dir)) if data_dir else ()
    described = _installed() / "_meta" / f"{benchmark}.json"
    if not described.is_file():
        return ()
    meta = json.loads(described.read_text(encoding="utf-8")).get("meta", {})
    return tuple(name for name in meta.get("subset_list", ()) if name != "default")


def known_metrics(benchmark: str) -> tuple[str, ...]:
    """The metrics of *benchmark*; empty where its description does not name them as they are reported."""
    if benchmark in OURS:
        return METRICS.get(benchmark, ("accuracy",))
    described = _installed() / "_meta" / f"{benchmark}.json"
    named = json.loads(described.read_text(encoding="utf-8")).get("meta", {}) if described.is_file() else {}
    return ("accuracy",) if named.get("metrics") == ["accuracy"] else ()


def check_settings(suite: SuiteLike) -> list[str]:
    """What is wrong with *suite* whatever its data: benchmark, subsets, few-shot, generation settings, metric."""
    where = f"suites.{suite.name}"
    if suite.benchmark not in known_benchmarks():
        near = did_you_mean(suite.benchmark, known_benchmarks())
        return [f"{where}.benchmark: EvalScope {version('evalscope')} has no {suite.benchmark!r}{near}"]
    found = [
        f"{where}.generation: '{key}' would be dropped without a word{did_you_mean(key, GENERATION_KEYS)}"
        for key in suite.generation
        if key not in GENERATION_KEYS
    ]
    if suite.benchmark in OURS and suite.few_shot:
        found.append(f"{where}.few_shot: {suite.benchmark} is asked without examples; leave it out")
    metrics = known_metrics(suite.benchmark)
    if suite.metric and metrics and suite.metric not in metrics:
        near = did_you_mean(suite.metric, metrics)
        found.append(f"{where}.metric: {suite.benchmark} does not give {suite.metric!r}{near}")
    return found + ([] if suite.benchmark in OURS else _unknown_subsets(suite, None))


def check_suite(suite: SuiteLike, data_dir: Path | None) -> list[str]:
    """What would keep *suite* from running, in words, without starting or looking up anything.

    Args:
        data_dir: the folder with the suite's data; None where it comes from the hub.
    """
    where = f"suites.{suite.name}"
    found = check_settings(suite)
    if suite.benchmark not in known_benchmarks():
        return found
    if suite.benchmark in OURS and data_dir is None:
        return [*found, f"{where}.data: {suite.benchmark} reads local files only; name their folder"]
    if data_dir is not None and not data_dir.is_dir():
        return [*found, f"{where}.data: no folder {data_dir}{_near_folder(data_dir)}"]
    try:
        if suite.benchmark in OURS:
            found += _unknown_subsets(suite, data_dir)
        if data_dir is not None:
            asked = suite.subsets or known_subsets(suite.benchmark, data_dir)
            found += _missing_files(suite, data_dir, asked, where)
    except DataError as error:
        return [*found, f"{where}.data: {error}"]
    return found


def _unknown_subsets(suite: SuiteLike, data_dir: Path | None) -> list[str]:
    known = known_subsets(suite.benchmark, data_dir)
    return [
        f"suites.{suite.name}.subsets: {suite.benchmark} has no {name!r}{did_you_mean(name, known)}"
        for name in suite.subsets or ()
        if known and name not in known
    ]


def _near_folder(missing: Path) -> str:
    """The end of a sentence: what lies where *missing* was looked for."""
    there = next(folder for folder in missing.parents if folder.is_dir())
    asked = missing.relative_to(there).parts[0]
    return f" ({there} has none){did_you_mean(asked, sorted(one.name for one in there.iterdir() if one.is_dir()))}"


def _missing_files(suite: SuiteLike, folder: Path, subsets: Sequence[str], where: str) -> list[str]:
    if suite.benchmark == "ceval":
        readme = folder / "README.md"
        head = readme.read_text(encoding="utf-8") if readme.is_file() else ""
        configured = set(re.findall(r"config_name:\s*([\w-]+)", head))
        if not configured:
            return [f"{where}.data: {readme} must list each subject under 'configs:'; see docs/suites.md"]
        lacking = [name for name in subsets if name not in configured]
        return (
            [f"{where}.data: {readme} has no config for {', '.join(lacking)}; choose 'subsets'"]
            if lacking
            else []
        )
    if suite.benchmark not in OURS and not any(
        path.suffix in (".csv", ".jsonl", ".json", ".tsv", ".parquet", ".arrow") for path in folder.rglob("*")
    ):
        return [f"{where}.data: {folder} holds no csv, json, jsonl, parquet or arrow file"]
    return []


def spread(sizes: Mapping[str, int], limit: int | None) -> dict[str, int]:
    """How many questions to take from each subset when *limit* is a total.

    The subsets take turns, one question each, in their order, until *limit* questions are chosen or none are left; so
    subsets weigh the same, and a larger limit only adds questions. Within a subset the first ones are taken.
    """
    taken = dict.fromkeys(sizes, 0)
    left = sum(sizes.values()) if limit is None else min(limit, sum(sizes.values()))
    while left:
        for name, size in sizes.items():
            if left and taken[name] < size:
                taken[name] += 1
                left -= 1
    return taken


# --- commands and plans -----------------------------------------------------------------------------------------


def generation_config(suite: SuiteLike) -> dict[str, Any]:
    """What is sent with every question: temperature 0 unless the suite says otherwise."""
    return {"temperature": 0.0, **suite.generation}


def _dataset_args(suite: SuiteLike, data_dir: Path | None) -> dict[str, Any]:
    args: dict[str, Any] = {}
    if data_dir is not None:
        args["local_path"] = str(data_dir)
    if suite.subsets:
        args["subset_list"] = list(suite.subsets)
    if suite.few_shot is not None and suite.benchmark not in OURS:
        args["few_shot_num"] = suite.few_shot
    return args


def evaluate_command(
    service_url: str,
    served_name: str,
    suite: SuiteLike,
    work_dir: Path,
    *,
    data_dir: Path | None = None,
    in_flight: int = 8,
    key_env: str | None = None,
    timeout_s: float = 120.0,
    python: str = sys.executable,
) -> Command:
    """The line that evaluates one *suite* with EvalScope's own command line.

    Args:
        service_url: …/v1 of an OpenAI-compatible service.
        key_env: environment variable that holds the service's key; never its value.
    """
    sent = {"timeout": timeout_s, "retries": 3, "retry_interval": 1, **generation_config(suite)}
    argv = [python, "-m", "bakeoff.evalscope", "eval"]
    argv += ["--model", served_name, "--api-url", service_url, "--eval-type", "openai_api"]
    argv += ["--key-env", key_env] if key_env else []
    argv += ["--datasets", suite.benchmark]
    if suite.limit is not None:
        argv += ["--limit" if suite.limit_per == "subset" else "--limit-total", str(suite.limit)]
    argv += ["--eval-batch-size", str(in_flight), "--model-args", json.dumps({"max_retries": 0})]
    argv += ["--generation-config", json.dumps(sent, ensure_ascii=False)]
    if args := _dataset_args(suite, data_dir):
        argv += ["--dataset-args", json.dumps({suite.benchmark: args}, ensure_ascii=False)]
    argv += ["--work-dir", str(work_dir), "--no-timestamp"]
    return Command(tuple(argv), {**LOOPBACK, **(OFFLINE if data_dir else {})})


def evaluation_plan(
    service_url: str,
    served_name: str,
    suites: Iterable[SuiteLike],
    work_dir: Path,
    *,
    data_dirs: Mapping[str, Path | None],
    weights: str,
    answers_as: str = "",
    in_flight: int = 8,
    key_env: str | None = None,
    timeout_s: float = 120.0,
    training: Sequence[Path] = (),
    training_unread: str = "",
) -> dict[str, Any]:
    """What ``python -m bakeoff.evalscope run`` reads: all *suites* of one model.

    Args:
        service_url: …/v1 of an OpenAI-compatible service; empty where nobody is to be asked: every answer is on disk.
        data_dirs: the data folder of each suite by its name.
        weights: fingerprint of what answers; other weights never reuse an answer.
        answers_as: the name that replies bear where it is not *served_name* (swift deploy gives the folder's).
        in_flight: requests open at any time, all suites together.
        training: files whose dialogues are searched for the suites' questions (leakage).
        training_unread: which training data cannot be searched, in words; empty for none.
    """
    listed = []
    for suite in suites:
        folder = data_dirs.get(suite.name)
        listed.append(
            {
                "name": suite.name,
                "benchmark": suite.benchmark,
                "data_dir": str(folder) if folder else None,
                "subsets": list(suite.subsets) if suite.subsets else None,
                "few_shot": suite.few_shot,
                "limit": suite.limit,
                "limit_per": suite.limit_per,
                "generation": dict(suite.generation),
                "metric": suite.metric,
                "chance": suite.chance,
                "trust": dataclasses.asdict(Thresholds.of(suite.trust)),
                "leakage_expected": bool(getattr(suite, "leakage_expected", False)),
            }
        )
    return {
        "service_url": service_url,
        "served_name": served_name,
        "answers_as": answers_as,
        "key_env": key_env,
        "work_dir": str(work_dir),
        "in_flight": in_flight,
        "timeout_s": timeout_s,
        "weights": weights,
        "training": [str(path) for path in training],
        "training_unread": training_unread,
        "suites": listed,
    }


@cache
def grading_rules() -> str:
    """SHA-256 of the sources that decide what is asked, how it is graded and what is said about it."""
    here = Path(__file__).parent
    files = [*(here / "suites").glob("*.py"), *(here / f"{name}.py" for name in _GRADING)]
    return hashlib.sha256(b"".join(one.read_bytes() for one in sorted(files))).hexdigest()


_GRADING = ("evalscope", "extraction", "leakage", "scores")


def run_command(plan: Path, python: str = sys.executable) -> Command:
    """The line that runs the plan written to *plan*; quick where a warm process has :data:`PRELOAD` imported."""
    return Command((python, "-m", "bakeoff.evalscope", "run", str(plan)), dict(LOOPBACK))


# --- results ----------------------------------------------------------------------------------------------------


def read_results(work_dir: Path) -> dict[str, dict[str, Any]]:
    """The results of the last finished plan of *work_dir*, by suite; ``folder`` says where each suite's files lie.

    Of a suite that broke there is only ``error``, which says why.

    Raises:
        ScoreError: no plan has finished there.
    """
    index = work_dir / "results.json"
    if not index.is_file():
        raise ScoreError(f"{index}: no evaluation has finished there; its log says why")
    index_of = json.loads(index.read_text(encoding="utf-8"))
    results: dict[str, dict[str, Any]] = {name: {"error": why} for name, why in index_of["errors"].items()}
    for name, folder in index_of["suites"].items():
        result = json.loads((work_dir / folder / "result.json").read_text(encoding="utf-8"))
        results[name] = {**result, "folder": str(work_dir / folder)}
    return results


def how_far(work_dir: Path) -> tuple[int, int] | None:
    """How many questions of a running evaluation are answered, and of how many; None until they are read."""
    try:
        asked = json.loads((work_dir / "asked.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    files = [path for one in asked["folders"] for path in (work_dir / one / "predictions").rglob("*.jsonl")]
    return sum(path.read_bytes().count(b"\n") for path in files), asked["questions"]


def score_rows(
    result: Mapping[str, Any], *, run_id: str, model: str, variant: str, fingerprint: str
) -> list[dict[str, Any]]:
    """The rows of the scores table that *result* (of :func:`read_results`) holds."""
    context = {"run_id": run_id, "model": model, "variant": variant, "fingerprint": fingerprint}
    rows = []
    for row in result["scores"]:
        values = {
            k: math.nan if v is None and k in ("value", "worst", "best", "chance") else v
            for k, v in row.items()
        }
        rows.append({**values, **context})
    return rows


def sample_rows(result: Mapping[str, Any], *, model: str, variant: str) -> list[dict[str, Any]]:
    """The rows of the samples table that belong to *result*."""
    lines = (Path(result["folder"]) / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [
        {
            **row,
            "correct": math.nan if row["correct"] is None else row["correct"],
            "model": model,
            "variant": variant,
        }
        for row in rows
    ]


# --- the worker: everything below runs in the evaluation process --------------------------------------------------


@dataclasses.dataclass
class _Loaded:
    """A suite whose questions are read and whose prompts are made, before anything is asked."""

    suite: dict[str, Any]
    folder: Path
    task: Any
    benchmark: Any
    datasets: Any
    questions: dict[tuple[str, int], str]
    identity: str

    @property
    def samples(self) -> list[tuple[str, Any]]:
        """All samples with their subset, in order."""
        return [(subset, one) for subset, dataset in self.datasets.items() for one in dataset]


def run(plan: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Evaluate every suite of *plan* and write what came of it; the results by suite.

    An interrupted plan is resumed: only the questions without an answer are asked. An answer is reused only where the
    questions, prompts, right answers, generation settings, weights and EvalScope's version are the same.

    A suite that breaks takes no other along: its result is ``{"error": why}``.

    Raises:
        MatrixError: a suite cannot be carried out; every reason is listed and nothing was asked.
        ScoreError: every suite broke, or an answer is missing and the plan names no service.
    """
    os.environ.update(LOOPBACK)
    if all(suite["data_dir"] for suite in plan["suites"]):
        _keep_off_the_hubs()
    if complaints := _complaints(plan):
        raise MatrixError(complaints, "plan")
    from bakeoff.suites import register
    from bakeoff.suites.asking import AskingAPI

    register()
    key = os.environ.get(plan["key_env"] or "", "") or "EMPTY"
    api = AskingAPI(
        plan["served_name"],
        plan["service_url"] or "http://nobody.invalid",
        key,
        in_flight=plan["in_flight"],
        answers_as=plan.get("answers_as") or "",
        timeout_s=plan["timeout_s"],
    )
    work_dir = Path(plan["work_dir"])
    (work_dir / "results.json").unlink(missing_ok=True)
    results: dict[str, dict[str, Any]] = {suite["name"]: {} for suite in plan["suites"]}
    loaded: list[_Loaded] = []
    for suite in plan["suites"]:
        try:
            loaded.append(_load(suite, plan, api, work_dir))
        except Exception as error:
            results[suite["name"]] = {"error": _in_words(error)}
    for one in loaded:
        _drop_unusable(one)
    if not plan["service_url"]:
        for one in loaded:
            if missing := len(one.samples) - len(_by_sample(one.folder, "predictions", one)):
                raise ScoreError(
                    f"{one.suite['name']}: {missing} questions have no answer yet, and nobody is to be asked"
                )
    folders = [str(one.folder.relative_to(work_dir)) for one in loaded]
    write_json(
        work_dir / "asked.json", {"questions": sum(len(one.samples) for one in loaded), "folders": folders}
    )
    leaked, unread = _leaked(loaded, plan)
    plan = {**plan, "training_unread": unread}
    with ThreadPoolExecutor(max(1, len(loaded))) as pool:
        futures = {one.suite["name"]: pool.submit(_evaluate, one, api, plan, leaked) for one in loaded}
        for name, future in futures.items():
            try:
                results[name] = future.result()
            except Exception as error:
                results[name] = {"error": _in_words(error)}
    broken = {name: result["error"] for name, result in results.items() if "error" in result}
    if len(broken) == len(results):
        raise ScoreError("; ".join(f"{name}: {why}" for name, why in broken.items()))
    whole = {name: Path(result["folder"]) for name, result in results.items() if name not in broken}
    write_json(
        work_dir / "results.json",
        {"suites": {n: str(f.relative_to(work_dir)) for n, f in whole.items()}, "errors": broken},
    )
    return results


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, BakeoffError) else f"{type(error).__name__}: {error}"


def _keep_off_the_hubs() -> None:
    """Set :data:`OFFLINE` for this process, also where the libraries were imported before it was forked."""
    os.environ.update(OFFLINE)
    for name in ("huggingface_hub.constants", "datasets.config"):
        if module := sys.modules.get(name):
            vars(module)["HF_HUB_OFFLINE"] = True


def _leaked(
    loaded: Sequence[_Loaded], plan: Mapping[str, Any]
) -> tuple[dict[tuple[str, str, int], Leak], str]:
    """The questions that the training files hold, by suite, subset and number; and what could not be searched."""
    files = [Path(path) for path in plan["training"]]
    if not files:
        return {}, plan["training_unread"]
    questions = {
        (one.suite["name"], subset, sample.id): one.questions.get((subset, sample.id), "")
        for one in loaded
        for subset, sample in one.samples
    }
    try:
        return leaks(questions, training_dialogues(files)), plan["training_unread"]
    except DataError as error:  # the scores are as good as they are without it
        return {}, str(error)


def _complaints(plan: Mapping[str, Any]) -> list[str]:
    found = []
    for raw in plan["suites"]:
        suite = argparse.Namespace(**raw)
        found += check_suite(suite, Path(raw["data_dir"]) if raw["data_dir"] else None)
    if urlsplit(plan["service_url"]).scheme not in ("http", "https") and plan["service_url"]:
        found.append(f"service_url: must begin with http:// or https://, found {plan['service_url']!r}")
    if plan["key_env"] and plan["key_env"] not in os.environ:
        found.append(
            f"key_env: the environment has no {plan['key_env']}; export the service's key under this name"
        )
    return found


def _load(suite: dict[str, Any], plan: Mapping[str, Any], api: Any, work_dir: Path) -> _Loaded:
    from evalscope.api.registry import get_benchmark
    from evalscope.config import TaskConfig
    from evalscope.utils.io_utils import safe_filename

    from bakeoff.suites.asking import prompt_sha

    view = argparse.Namespace(**suite)
    task = TaskConfig(
        model=api,
        model_id=safe_filename(plan["served_name"]),
        eval_type="openai_api",
        datasets=[suite["benchmark"]],
        dataset_args={
            suite["benchmark"]: _dataset_args(view, Path(suite["data_dir"]) if suite["data_dir"] else None)
        },
        generation_config={"timeout": plan["timeout_s"], **generation_config(view)},
        eval_batch_size=plan["in_flight"],
        limit=suite["limit"] if suite["limit_per"] == "subset" else None,
        ignore_errors=True,
        no_timestamp=True,
        rerun_review=True,
        judge={"strategy": "rule"},
    )
    questions: dict[tuple[str, int], str] = {}
    try:
        benchmark = get_benchmark(suite["benchmark"], task)
        benchmark.validate_judge_strategy()
        afresh = _prepared_afresh() if suite["data_dir"] else contextlib.nullcontext()
        with afresh, _remembering_questions(benchmark, questions), _looking_once_at_each_folder():
            benchmark.load_dataset()
    except Exception as error:  # EvalScope raises whatever its loaders raise
        where = suite["data_dir"] or "the hub"
        raise DataError(
            f"suites.{suite['name']}: EvalScope cannot prepare it from {where}: {error}"
        ) from error
    total = suite["limit"] if suite["limit_per"] == "total" else None
    taken = spread({name: len(dataset) for name, dataset in benchmark.test_dataset.items()}, total)
    for name, count in taken.items():
        if count:
            benchmark.test_dataset[name] = benchmark.test_dataset[name][:count]
        else:
            del benchmark.test_dataset[name]
    identity = hashlib.sha256()
    facts = {
        "evalscope": version("evalscope"),
        "benchmark": suite["benchmark"],
        "served_name": plan["served_name"],
        "weights": plan["weights"],
        "generation": generation_config(view),
    }
    identity.update(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, dataset in benchmark.test_dataset.items():
        for one in dataset:
            row = [name, one.id, prompt_sha(one.input), one.target, one.choices]
            identity.update(json.dumps(row, ensure_ascii=False, default=str).encode())
    digest = identity.hexdigest()
    folder = work_dir / suite["name"] / digest[:12]
    folder.mkdir(parents=True, exist_ok=True)
    task.work_dir = task.use_cache = str(folder)
    ready = benchmark.test_dataset
    benchmark.load_dataset = lambda: ready  # the evaluator would read everything a second time
    return _Loaded(suite, folder, task, benchmark, ready, questions, digest)


@contextlib.contextmanager
def _prepared_afresh() -> Any:
    """Let ``datasets`` prepare local files anew, which takes well under a second.

    It keeps what it prepared under the README of their folder, not under their content: another folder with the same
    README, or the same one with other rows, would get the earlier questions.
    """
    import datasets.config

    kept = datasets.config.HF_DATASETS_CACHE
    with tempfile.TemporaryDirectory(prefix="datasets-") as folder:
        datasets.config.HF_DATASETS_CACHE = Path(folder)
        try:
            yield
        finally:
            datasets.config.HF_DATASETS_CACHE = kept


@contextlib.contextmanager
def _looking_once_at_each_folder() -> Any:
    """Let ``datasets`` read and hash a local folder's README once, not for each of its subsets (ceval has 52)."""
    import datasets.load

    look = datasets.load.dataset_module_factory
    seen: dict[str, Any] = {}

    def looking(path: Any, **options: Any) -> Any:
        if not Path(path).is_dir():
            return look(path, **options)
        key = repr(
            (path, [options.get(name) for name in ("revision", "data_dir", "data_files", "cache_dir")])
        )
        if key not in seen:
            seen[key] = look(path, **options)
        return copy.deepcopy(seen[key])  # the caller takes things out of it

    datasets.load.dataset_module_factory = looking
    try:
        yield
    finally:
        datasets.load.dataset_module_factory = look


@contextlib.contextmanager
def _remembering_questions(benchmark: Any, questions: dict[tuple[str, int], str]) -> Any:
    """Note each question's own text before EvalScope replaces it by the prompt."""
    make_prompts = benchmark._post_process_samples

    def noting() -> None:
        for subset, dataset in benchmark.test_dataset.items():
            for one in dataset:
                questions[subset, one.id] = one.input if isinstance(one.input, str) else _joined(one.input)
        make_prompts()

    benchmark._post_process_samples = noting
    try:
        yield
    finally:
        del benchmark._post_process_samples


def _joined(messages: Iterable[Any]) -> str:
    return "\n".join(str(message.text) for message in messages)


def _evaluate(
    loaded: _Loaded, api: Any, plan: Mapping[str, Any], leaked: Mapping[tuple[str, str, int], Leak]
) -> dict[str, Any]:
    from evalscope.api.model import Model
    from evalscope.api.registry import create_evaluator
    from evalscope.utils.io_utils import OutputsStructure

    began = time.monotonic()
    folder, task = loaded.folder, loaded.task
    (folder / "result.json").unlink(missing_ok=True)
    reused = len(_by_sample(folder, "predictions", loaded))
    evaluator = create_evaluator(
        benchmark=loaded.benchmark,
        model=Model(api, task.generation_config, {}),
        outputs=OutputsStructure(outputs_dir=str(folder)),
        task_config=task,
    )
    task.dump_yaml(str(folder / "configs"))
    alarms = []
    try:
        evaluator.eval()
    except Exception as error:
        # Answers and grades are on disk by now unless asking itself broke; EvalScope's own report is extra.
        if not any((folder / "reviews").rglob("*.jsonl")):
            raise
        alarms.append(f"EvalScope made no report: {type(error).__name__}: {error}")
    samples = _samples(loaded, api)
    found: dict[str, Leak] = {}
    for number, (subset, one) in enumerate(loaded.samples):
        if leak := leaked.get((loaded.suite["name"], subset, one.id)):
            samples[number] = dataclasses.replace(samples[number], leaked=True)
            found[samples[number].sample_id] = leak
    result = _result(loaded, samples, plan, alarms, found)
    result |= {
        "reused": reused,
        "asked_now": len(samples) - reused,
        "seconds": round(time.monotonic() - began, 3),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for row in result["scores"]:
        row["finished_at"] = result["finished_at"]
    _write_prompts(loaded, folder / "prompts.jsonl")
    rows = [sample_row(one, model="", variant="", suite=loaded.suite["name"]) for one in samples]
    write_samples(rows, folder / "samples.jsonl")
    write_json(folder / "result.json", result)
    return {**result, "folder": str(folder)}


def _drop_unusable(loaded: _Loaded) -> None:
    """Take away what a killed run left half written, and replies that are known by now for a service's error text."""
    from bakeoff.suites.asking import is_error_text

    for kind in ("predictions", "reviews"):
        for path in (loaded.folder / kind).rglob("*.jsonl*"):
            if ".rerun-" in path.name:
                path.unlink()  # left by a run that was killed while it graded
                continue
            content = path.read_bytes()
            # What follows the last newline is torn; the next row would be glued to it.
            lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
            if kind == "predictions":
                lines = [line for line in lines if not is_error_text(_text_of(line))]
            if len(kept := b"".join(lines)) != len(content):
                temporary = path.with_suffix(".tmp")
                temporary.write_bytes(kept)
                temporary.replace(path)


def _text_of(line: bytes) -> str:
    with contextlib.suppress(ValueError, KeyError, AttributeError):
        return _reply(json.loads(line))[0]
    return ""


def _by_sample(folder: Path, kind: str, loaded: _Loaded) -> dict[tuple[str, int], dict[str, Any]]:
    """The last row of each sample in EvalScope's predictions or reviews."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for subset, dataset in loaded.datasets.items():
        path = folder / kind / loaded.task.model_id / f"{loaded.benchmark.name}_{subset}.jsonl"
        if not path.is_file():
            continue
        wanted = {one.id for one in dataset}
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                row = json.loads(line)
                if row["index"] in wanted:
                    rows[subset, row["index"]] = row
    return rows


def _samples(loaded: _Loaded, api: Any) -> list[Sample]:
    from bakeoff.suites.asking import prompt_sha

    predictions = _by_sample(loaded.folder, "predictions", loaded)
    reviews = _by_sample(loaded.folder, "reviews", loaded)
    second_rule = _second_rule(loaded)
    made: list[Sample] = []
    seen: dict[str, int] = {}
    for number, (subset, one) in enumerate(loaded.samples):
        question = loaded.questions.get((subset, one.id)) or _joined(one.input)
        options = tuple(str(choice) for choice in one.choices or ())
        target = "".join(one.target) if options else _joined_target(one.target)
        content = json.dumps([loaded.suite["benchmark"], subset, question, options], ensure_ascii=False)
        name = hashlib.sha256(content.encode()).hexdigest()[:16]
        seen[name] = seen.get(name, 0) + 1
        sha = prompt_sha(one.input)
        prediction, review = predictions.get((subset, one.id)), reviews.get((subset, one.id))
        choice = bool(options) and set(target) <= set(LETTERS[: len(options)])
        common: dict[str, Any] = {
            "sample_id": name if seen[name] == 1 else f"{name}-{seen[name]}",
            "subset": subset,
            "index": number,
            "question": question,
            "options": options,
            "target": target,
            "prompt_sha": sha,
        }
        if prediction is None or review is None:
            why = api.errors.get(sha, "no reply") if prediction is None else "the reply could not be graded"
            made.append(_errored(common, why))
            continue
        reply, stop, latency_s = _reply(prediction)
        graded = review["sample_score"]["score"]
        if graded.get("status", "success") != "success" or not graded.get("value"):
            made.append(_errored(common, f"the reply could not be graded ({graded.get('status')})"))
            continue
        values = {
            key: float(value) for key, value in graded["value"].items() if isinstance(value, int | float)
        }
        extracted = str(graded.get("extracted_prediction") or "")
        other = second_rule(reply, options, one) if choice else extracted
        stated = (extracted if loaded.benchmark.name in OURS else other) if choice else final_part(reply)
        main = _primary(loaded.suite, values, graded.get("main_score_name"))
        if choice:
            if loaded.benchmark.name not in OURS:
                theirs = {f"{main}_evalscope": values[main]}
                values = (values if stated else dict.fromkeys(values, 0.0)) | theirs
            values["accuracy_alt"] = float(bool(other) and set(other) == set(target))
        made.append(
            Sample(
                **common,
                reply=reply,
                extracted=extracted,
                extracted_alt=other,
                status=_status(reply, stop, stated, choice),
                correct=values[main],
                latency_s=latency_s,
                grades=values,
            )
        )
    return made


def _joined_target(target: Any) -> str:
    return target if isinstance(target, str) else "\n".join(str(one) for one in target or ())


def _errored(common: dict[str, Any], why: str) -> Sample:
    nothing: dict[str, Any] = {
        "reply": "",
        "extracted": "",
        "extracted_alt": "",
        "correct": math.nan,
        "latency_s": math.nan,
    }
    return Sample(**common, **nothing, status="errored", error=why)


def _reply(prediction: dict[str, Any]) -> tuple[str, str, float]:
    """Text, stop reason and seconds of a prediction row."""
    output = prediction["model_output"]
    choice = (output.get("choices") or [{}])[0]
    message = choice.get("message") or {}
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "\n".join(str(part.get("text") or "") for part in content if part.get("type") == "text")
    timing = message.get("perf_metrics") or {}
    seconds = timing.get("latency", output.get("time"))
    return content, str(choice.get("stop_reason") or ""), float(seconds) if seconds is not None else math.nan


def _status(reply: str, stop: str, stated: str, choice: bool) -> Status:
    if stop in ("max_tokens", "length", "model_length"):
        return "truncated"
    if not reply.strip() or not (choice or stated):
        return "empty"
    return "answered" if stated else "unparsed"


def _primary(suite: Mapping[str, Any], values: Mapping[str, float], main: str | None) -> str:
    wanted = suite["metric"] or main
    if wanted in values:
        return str(wanted)
    if suite["metric"]:
        known = ", ".join(values)
        raise ScoreError(f"suites.{suite['name']}.metric: {suite['benchmark']} gives {known}, not {wanted!r}")
    return next(iter(values))


def _second_rule(loaded: _Loaded) -> Callable[[str, tuple[str, ...], Any], str]:
    """The other way to read an answer: ours for EvalScope's benchmarks, EvalScope's for ours."""
    if loaded.benchmark.name not in OURS:
        multiple = bool(getattr(loaded.benchmark, "multiple_correct", False))
        return lambda reply, options, _: extract_choice(reply, options, multiple=multiple)
    from evalscope.api.evaluator import TaskState
    from evalscope.utils.multi_choices import parse_answers_zh

    def theirs(reply: str, options: tuple[str, ...], one: Any) -> str:
        state = TaskState(model="", sample=one)
        found = parse_answers_zh(state, multiple_correct=bool(one.metadata.get("multiple")), completion=reply)
        return "".join(sorted(found))

    return theirs


def _result(
    loaded: _Loaded,
    samples: list[Sample],
    plan: Mapping[str, Any],
    alarms: list[str],
    found: Mapping[str, Leak],
) -> dict[str, Any]:
    suite = loaded.suite
    trust = Thresholds.of(suite["trust"])
    judged = [one for one in samples if one.grades]
    metrics = list(dict.fromkeys(name for one in judged for name in one.grades))
    given = next((one.grades for one in judged), {})
    main = _main_metric(loaded, given) if given else suite["metric"] or "accuracy"
    metrics = [main, *(name for name in metrics if name != main)]
    subsets: dict[str, list[Sample]] = {}
    for one in samples:
        subsets.setdefault(one.subset, []).append(one)
    right = {"suite": suite["name"], "benchmark": suite["benchmark"], "few_shot": _few_shot(loaded)}
    context = {**right, "run_id": "", "model": "", "variant": "", "fingerprint": "", "finished_at": ""}
    rows = []
    parts = {ALL: samples, **(subsets if list(subsets) != ["default"] else {})}
    for subset, part in parts.items():
        chance = suite["chance"] if suite["chance"] is not None else _chance(part)
        for metric in metrics:
            guess = chance if metric in _CHOICE_METRICS else math.nan
            # One of fifty subsets falls below chance by chance: only the total is held against it.
            level = trust if subset == ALL else dataclasses.replace(trust, chance_level=0.0)
            rows.append(score_row(score(part, metric, subset=subset, chance=guess, trust=level), **context))
    if len(subsets) > 1:
        rows += [_macro(rows, metric) for metric in metrics if metric in ("accuracy", "acc")]
    if found:
        unseen = [one for one in samples if not one.leaked]
        chance = suite["chance"] if suite["chance"] is not None else _chance(unseen)
        made = dataclasses.replace(score(unseen, main, chance=chance), metric=f"{main}_unleaked")
        rows.append(score_row(made, **context))
        if not suite["leakage_expected"]:
            alarms.append(f"{len(found)} of {len(samples)} questions occur in the training data")
    if warning := one_sided(samples):
        alarms.append(warning)
    counts = ledger(samples)
    clean = [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows
    ]
    return {
        "suite": suite["name"],
        "benchmark": suite["benchmark"],
        "identity": loaded.identity,
        "metric": main,
        "ledger": {**dataclasses.asdict(counts), "judged": counts.judged},
        "trusted": rows[0]["trusted"],
        "why_not": rows[0]["why_not"],
        "alarms": alarms,
        "agreement": None if math.isnan(agreement(samples)) else agreement(samples),
        "answers": answers(samples),
        "errors": {one.sample_id: one.error for one in samples if one.error},
        "leakage": [
            {
                "suite": suite["name"],
                "expected": suite["leakage_expected"],
                "n_asked": len(samples),
                "n_leaked": len(found),
                "n_exact": sum(leak.kind == "exact" for leak in found.values()),
                "value_without": next(r["value"] for r in clean if r["metric"] == f"{main}_unleaked"),
            }
        ]
        if found
        else [],
        "leakage_not_checked": plan["training_unread"],
        "leaked_questions": {name: dataclasses.asdict(leak) for name, leak in found.items()},
        "selected": {name: len(part) for name, part in subsets.items()},
        "limit": suite["limit"],
        "limit_per": suite["limit_per"],
        "few_shot": right["few_shot"],
        "generation": generation_config(argparse.Namespace(**suite)),
        "served_name": plan["served_name"],
        "weights": plan["weights"],
        "evalscope": version("evalscope"),
        "scores": clean,
    }


def _main_metric(loaded: _Loaded, given: Mapping[str, float]) -> str:
    for row in _by_sample(loaded.folder, "reviews", loaded).values():
        return _primary(loaded.suite, given, row["sample_score"]["score"].get("main_score_name"))
    return next(iter(given))


def _few_shot(loaded: _Loaded) -> int:
    return 0 if loaded.benchmark.name in OURS else int(loaded.benchmark.few_shot_num or 0)


def _chance(part: Sequence[Sample]) -> float:
    multiple = [one for one in part if len(one.target) > 1 or one.subset.endswith("_multiple")]
    single = [one for one in part if one not in multiple]
    shares = [(chance_of(single), len(single)), (chance_of(multiple, multiple=True), len(multiple))]
    known = [(share, count) for share, count in shares if not math.isnan(share)]
    return sum(share * count for share, count in known) / sum(c for _, c in known) if known else math.nan


def _macro(rows: Sequence[dict[str, Any]], metric: str) -> dict[str, Any]:
    """The mean of the subsets' values, each weighing the same."""
    total = next(row for row in rows if row["subset"] == ALL and row["metric"] == metric)
    values = [row["value"] for row in rows if row["subset"] != ALL and row["metric"] == metric]
    values = [value for value in values if not math.isnan(value)]
    mean = math.fsum(values) / len(values) if values else math.nan
    return {**total, "metric": f"{metric}_macro", "value": mean, "worst": math.nan, "best": math.nan}


def _write_prompts(loaded: _Loaded, path: Path) -> None:
    """Store each distinct prompt once, under its hash."""
    from bakeoff.suites.asking import prompt_sha

    prompts = {
        prompt_sha(one.input): [{"role": str(m.role), "content": m.text} for m in one.input]
        for _, one in loaded.samples
    }
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        for sha, messages in prompts.items():
            file.write(json.dumps({"prompt_sha": sha, "messages": messages}, ensure_ascii=False) + "\n")
    temporary.replace(path)


# --- command line -----------------------------------------------------------------------------------------------


def _own_options(argv: list[str]) -> tuple[list[str], argparse.Namespace]:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--limit-total", type=int)
    parser.add_argument("--key-env")
    ours, rest = parser.parse_known_args(argv)
    return rest, ours


def _evalscope(verb: str, argv: list[str]) -> None:
    """EvalScope's own *verb* with our benchmarks, a limit in total, and no error text for an answer."""
    rest, ours = _own_options(argv)
    if ours.key_env and ours.key_env not in os.environ:
        raise MatrixError(f"--key-env: the environment has no {ours.key_env}")
    from evalscope.api.benchmark import DefaultDataAdapter
    from evalscope.cli.cli import run_cmd
    from evalscope.models.openai_compatible import OpenAICompatibleAPI

    from bakeoff.suites import register
    from bakeoff.suites.asking import AskingAPI

    register()
    OpenAICompatibleAPI.handle_bad_request = AskingAPI.handle_bad_request
    if ours.limit_total is not None:
        load = DefaultDataAdapter.load_dataset

        def limited(adapter: Any) -> Any:
            datasets = load(adapter)
            taken = spread({name: len(datasets[name]) for name in datasets.keys()}, ours.limit_total)  # noqa: SIM118
            for name, count in taken.items():
                datasets[name] = datasets[name][:count]
            return datasets

        DefaultDataAdapter.load_dataset = limited
    key = ["--api-key", os.environ[ours.key_env]] if ours.key_env else []
    sys.argv = ["evalscope", verb, *rest, *key]
    local = any('"local_path"' in one for one in rest)
    with _prepared_afresh() if local else contextlib.nullcontext():
        run_cmd()


def gather_for_dashboard(root: Path, folder: Path) -> list[str]:
    """Lay the latest results under *root* out as EvalScope's viewer wants them; the names they get there.

    The files are hard links: what the viewer deletes is gone from its folder only.
    """
    latest: dict[Path, tuple[int, Path]] = {}
    for path in root.rglob("result.json"):
        if (path.parent / "reports").is_dir():
            suite, written = path.parent.parent, path.stat().st_mtime_ns
            latest[suite] = max(latest.get(suite, (0, path.parent)), (written, path.parent))
    names = []
    for suite, (_, results) in sorted(latest.items()):
        names.append("-".join(part for part in suite.relative_to(root).parts if part != "evaluation"))
        shutil.copytree(results, folder / names[-1], copy_function=_link)
    return names


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _dashboard(argv: list[str]) -> None:
    """EvalScope's viewer on the results under a folder, on the loopback address only: it has no login."""
    parser = argparse.ArgumentParser(prog="python -m bakeoff.evalscope dashboard")
    parser.add_argument("root", type=Path, help="store/models, or the folder of one evaluation")
    parser.add_argument("--port", type=int, default=9000)
    options = parser.parse_args(argv)
    if importlib.util.find_spec("flask") is None:
        raise ToolError("the viewer needs an extra: pip install 'evalscope[app]'")
    with tempfile.TemporaryDirectory(prefix="dashboard-") as folder:
        if not gather_for_dashboard(options.root, Path(folder)):
            raise ScoreError(f"{options.root}: no evaluation has finished below it")
        from evalscope.cli.cli import run_cmd

        sys.argv = [
            "evalscope",
            "service",
            "--host",
            "127.0.0.1",
            "--port",
            str(options.port),
            "--outputs",
            folder,
        ]
        run_cmd()


def main(argv: Sequence[str]) -> int:
    """``eval …``, ``perf …``, ``dashboard …`` or ``run plan.json``; 0 when a suite has a result, trusted or not."""
    verb, *rest = argv or ("",)
    try:
        if verb in ("eval", "perf"):
            _evalscope(verb, rest)
        elif verb == "dashboard":
            _dashboard(rest)
        elif verb == "run" and len(rest) == 1:
            results = run(json.loads(Path(rest[0]).read_text(encoding="utf-8")))
            for name, result in results.items():
                if why := result.get("error"):
                    print(f"{name}: broken: {why}")
                    continue
                total = result["scores"][0]
                value = "no score" if total["value"] is None else f"{total['value']:.4f}"
                print(
                    f"{name}: {total['metric']} {value}, {json.dumps(result['ledger'])} {result['why_not']}".rstrip()
                )
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except BakeoffError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2 if isinstance(error, MatrixError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
