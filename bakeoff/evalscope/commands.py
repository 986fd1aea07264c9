"""Makes the line for one suite, and the plan for several."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Unpack

from bakeoff.endpoint.address import spared_by_proxies
from bakeoff.evalscope.catalogue import SuiteLike
from bakeoff.evalscope.types import AskedSuite, EvaluationPlan, LineOptions, PlanOptions
from bakeoff.foundation import error_texts
from bakeoff.foundation.command import Command
from bakeoff.scoring import extraction, leakage, letters, scores
from bakeoff.scoring.scores import Thresholds
from bakeoff.suites import OURS, rows

OFFLINE: dict[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "MODELSCOPE_API_MAX_RETRIES": "1",
}
"""Keeps EvalScope from looking for data on a hub when every suite has its own."""

LOOPBACK: dict[str, str] = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost,::1")


MOST_ALTERNATIVES = 20
"""Alternatives of a token that are asked for: what most services give at most."""


def generation_config(suite: SuiteLike) -> dict[str, object]:
    """What is sent with every question; temperature 0 by default."""
    if scoring_of(suite) == "logprob":
        return {
            "temperature": 0.0,
            "max_tokens": 1,
            "top_logprobs": MOST_ALTERNATIVES,
            **suite.generation,
            "logprobs": True,
        }
    return {"temperature": 0.0, **suite.generation}


def scoring_of(suite: object) -> str:
    """Return how a suite is scored: by ``generation``, or by ``logprob``."""
    return str(getattr(suite, "scoring", "generation"))


def dataset_args(suite: SuiteLike, data_dir: Path | None) -> dict[str, object]:
    """What EvalScope is told of the data: folder, subsets and examples."""
    args: dict[str, object] = {}
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
    **options: Unpack[LineOptions],
) -> Command:
    """The line that evaluates one *suite* with EvalScope's own command line.

    Args:
        service_url: …/v1 of an OpenAI-compatible service.
    """
    python, key_env = options.get("python", sys.executable), options.get("key_env")
    in_flight, timeout_s = options.get("in_flight", 8), options.get("timeout_s", 120.0)
    if scoring_of(suite) == "logprob":
        described = json.dumps(_asked_suite(suite, data_dir), ensure_ascii=False)
        argv = [
            python,
            "-m",
            "bakeoff.evalscope",
            "letters",
            "--model",
            served_name,
            "--api-url",
            service_url,
        ]
        argv += ["--key-env", key_env] if key_env else []
        argv += ["--in-flight", str(in_flight), "--timeout-s", f"{timeout_s:g}", "--suite", described]
        argv += ["--work-dir", str(work_dir)]
        return Command(tuple(argv), {**spared_by_proxies(), **(OFFLINE if data_dir else {})})
    sent = {"timeout": timeout_s, "retries": 3, "retry_interval": 1, **generation_config(suite)}
    argv = [python, "-m", "bakeoff.evalscope", "eval"]
    argv += ["--model", served_name, "--api-url", service_url, "--eval-type", "openai_api"]
    argv += ["--key-env", key_env] if key_env else []
    argv += ["--datasets", suite.benchmark]
    if suite.limit is not None:
        argv += ["--limit" if suite.limit_per == "subset" else "--limit-total", str(suite.limit)]
    argv += ["--eval-batch-size", str(in_flight), "--model-args", json.dumps({"max_retries": 0})]
    argv += ["--generation-config", json.dumps(sent, ensure_ascii=False)]
    if args := dataset_args(suite, data_dir):
        argv += ["--dataset-args", json.dumps({suite.benchmark: args}, ensure_ascii=False)]
    argv += ["--work-dir", str(work_dir), "--no-timestamp"]
    return Command(tuple(argv), {**spared_by_proxies(), **(OFFLINE if data_dir else {})})


def evaluation_plan(
    service_url: str,
    served_name: str,
    suites: Iterable[SuiteLike],
    work_dir: Path,
    *,
    data_dirs: Mapping[str, Path | None],
    weights: str,
    **options: Unpack[PlanOptions],
) -> EvaluationPlan:
    """Return what ``python -m bakeoff.evalscope run`` reads.

    Args:
        service_url: …/v1 of an OpenAI-compatible service; empty where nobody is to be asked: every answer is on disk.
        data_dirs: the data folder of each suite by its name.
        weights: fingerprint of what answers; other weights never reuse an answer.
    """
    listed = [_asked_suite(suite, data_dirs.get(suite.name)) for suite in suites]
    return {
        "service_url": service_url,
        "served_name": served_name,
        "answers_as": options.get("answers_as", ""),
        "key_env": options.get("key_env"),
        "work_dir": str(work_dir),
        "in_flight": options.get("in_flight", 8),
        "timeout_s": options.get("timeout_s", 120.0),
        "weights": weights,
        "training": [str(path) for path in options.get("training", ())],
        "training_unread": options.get("training_unread", ""),
        "answered_by": options.get("answered_by", ""),
        "cautions": list(options.get("cautions", ())),
        "ask_alone": options.get("ask_alone", 0),
        "suites": listed,
    }


def _asked_suite(suite: SuiteLike, folder: Path | None) -> AskedSuite:
    return {
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
        "scoring": scoring_of(suite),
        "orders": int(getattr(suite, "orders", 1)),
    }


def run_command(plan: Path, python: str = sys.executable) -> Command:
    """The line that runs *plan*.

    It is quick in a warm process, see :data:`bakeoff.execution.runner.WARM`.
    """
    return Command((python, "-m", "bakeoff.evalscope", "run", str(plan)), spared_by_proxies())


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


def grading_rules(scoring: str = "generation") -> dict[str, int]:
    """Return the versions of the rules for asking and grading.

    A result of other rules is made anew, from the answers on disk where they still fit.
    """
    from bakeoff.evalscope import distrust, grading

    checks = [rows, error_texts, extraction, leakage, scores, grading, distrust]
    checks += [letters] if scoring == "logprob" else []
    return {check.__name__.rpartition(".")[2]: check.RULES for check in checks}
