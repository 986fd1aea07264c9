"""Suites -> a line that asks one of them, or a plan that asks all of them together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bakeoff.command import Command
from bakeoff.endpoint import spared_by_proxies
from bakeoff.evalscope.catalogue import SuiteLike
from bakeoff.scoring.scores import Thresholds
from bakeoff.suites import OURS

OFFLINE: dict[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "MODELSCOPE_API_MAX_RETRIES": "1",
}
"""Keeps EvalScope from looking for data on a hub when every suite has its own."""

LOOPBACK: dict[str, str] = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost,::1")


def generation_config(suite: SuiteLike) -> dict[str, Any]:
    """What is sent with every question: temperature 0 unless the suite says otherwise."""
    return {"temperature": 0.0, **suite.generation}


def dataset_args(suite: SuiteLike, data_dir: Path | None) -> dict[str, Any]:
    """What EvalScope is told of the data: folder, subsets and examples."""
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
    answers_as: str = "",
    in_flight: int = 8,
    key_env: str | None = None,
    timeout_s: float = 120.0,
    training: Sequence[Path] = (),
    training_unread: str = "",
    answered_by: str = "",
    cautions: Sequence[str] = (),
    ask_alone: int = 0,
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
        answered_by: who answers at somebody else's service, where it is not *served_name* that does.
        cautions: what is told with every result.
        ask_alone: answered questions of each suite that are asked again, one at a time, after all others.
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
        "answered_by": answered_by,
        "cautions": list(cautions),
        "ask_alone": ask_alone,
        "suites": listed,
    }


def run_command(plan: Path, python: str = sys.executable) -> Command:
    """The line that runs *plan*; quick in a warm process, see :data:`bakeoff.execution.runner.WARM`."""
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


@cache
def grading_rules() -> str:
    """SHA-256 of the sources that decide what is asked, how it is graded and what is said about it."""
    here = Path(__file__).parents[1]
    files = [one for pattern in _GRADING for one in here.glob(pattern)]
    return hashlib.sha256(b"".join(one.read_bytes() for one in sorted(files))).hexdigest()


_GRADING = (
    "evalscope/*.py",
    "suites/*.py",
    "error_texts.py",
    "scoring/characters.py",
    "scoring/extraction.py",
    "scoring/leakage.py",
    "scoring/reading.py",
    "scoring/scores.py",
)
