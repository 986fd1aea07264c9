"""What a stored result says, and whether it can be used as it is."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bakeoff.foundation.sentences import Template
from bakeoff.judgement.replies import read_replies
from bakeoff.scoring.scores import ALL, SPEED, STATUSES
from bakeoff.store.facts import EvaluationResult
from bakeoff.store.stage import OUTPUT_GONE

REQUESTS_FAILED = Template(
    "chain.results.requests_failed", "{count} requests failed", zh="有 {count} 个请求失败"
)
CUT_SHORT = Template(
    "chain.results.cut_short", "{name} is cut short", zh="{name} 不完整", en="{name} is incomplete"
)
NO_RESULT = Template(
    "chain.results.no_result", "{name} is no result", zh="{name} 不是评测结果", en="{name} holds no result"
)
NO_RESULT_BECAUSE = Template(
    "chain.results.no_result_because",
    "{name} is no result ({error})",
    zh="{name} 不是评测结果（{error}）",
    en="{name} holds no result ({error})",
)
MISCOUNTED = Template(
    "chain.results.miscounted",
    "{name}: {where} says {why}",
    zh="{name}：{where} 的计数与逐题记录不符（{why}）",
    en="{name}: the counts of {where} disagree with its samples ({why})",
)
LEDGER = Template("chain.results.ledger", "its ledger", zh="作答统计", en="the response accounting")
COUNTS = Template(
    "chain.results.counts",
    "{said} {key}, and its samples {counted}",
    zh="{key}：记为 {said}，实为 {counted}",
    en="{key}: {said} recorded, {counted} counted",
)
OTHER_VALUE = Template(
    "chain.results.other_value",
    "{name}: {where} is said to be {value}, and its samples' grades make {mean}",
    zh="{name}：{where} 记为 {value}，按逐题得分应为 {mean}",
    en="{name}: {where} is recorded as {value}, but its samples average {mean}",
)
NOTHING = Template("chain.results.nothing", "nothing", zh="无")
UNANSWERED = Template(
    "chain.results.unanswered", "{count} questions have no answer yet", zh="还有 {count} 题没有回复"
)
REPLIES_ERRORED = Template(
    "chain.results.replies_errored",
    "{count} replies had errored",
    zh="上次有 {count} 条回复出错",
    en="{count} replies had failed",
)


def why_unreadable(result: Path) -> str:
    """Return why a result file cannot be used, empty for a whole one."""
    try:
        content = json.loads(result.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return OUTPUT_GONE()
    except ValueError:
        return CUT_SHORT(name=result.name)
    except RecursionError:
        return NO_RESULT(name=result.name)
    if not isinstance(content, dict) or not {"scores", "samples"} <= content.keys():
        return NO_RESULT(name=result.name)
    try:
        return _why_inconsistent(content, result.name)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return NO_RESULT_BECAUSE(name=result.name, error=f"{type(error).__name__}: {error}")


def _why_inconsistent(result: Mapping[str, Any], name: str) -> str:
    """Return where the scores are not what the samples make.

    In words; empty where they are.

    The value of the main metric is the mean of its samples' grades, and a ledger counts what became of them. Rows of a
    speed measurement have no samples.
    """
    samples, main = result["samples"], result.get("metric")
    if result.get("ledger") is not None and (why := _why_miscounted(result["ledger"], samples, "")):
        return MISCOUNTED(name=name, where=LEDGER(), why=why)
    for row in result["scores"]:
        if row.get("benchmark") == SPEED:
            continue
        metric, subset = str(row["metric"]), row["subset"]
        part = [sample for sample in samples if subset in (ALL, sample["subset"])]
        if metric.endswith("_unleaked"):
            part = [sample for sample in part if not sample["leaked"]]
        where = metric if subset == ALL else f"{metric} of {subset}"
        if why := _why_miscounted(row, part, "n_"):
            return MISCOUNTED(name=name, where=where, why=why)
        if metric not in (main, f"{main}_unleaked"):
            continue
        grades = [
            sample["correct"]
            for sample in part
            if sample["status"] != "errored" and sample["correct"] is not None
        ]
        mean, value = math.fsum(grades) / len(grades) if grades else None, row["value"]
        if (mean is None) != (value is None) or (mean is not None and not abs(value - mean) <= 1e-9):
            mean_words = NOTHING() if mean is None else f"{mean:.4g}"
            return OTHER_VALUE(name=name, where=where, value=value, mean=mean_words)
    return ""


def _why_miscounted(
    counts: Mapping[str, object], samples: Sequence[Mapping[str, object]], prefix: str
) -> str:
    """Return which count is not that of *samples*, empty for none."""
    counted = Counter(sample["status"] for sample in samples)
    expected: dict[str, int] = {"asked": len(samples), **{status: counted[status] for status in STATUSES}}
    expected["judged"] = len(samples) - counted["errored"]
    for key, count in expected.items():
        if prefix + key in counts and counts[prefix + key] != count:
            return COUNTS(said=counts[prefix + key], key=key, counted=count)
    return ""


def answered_by(result: Path) -> str:
    """Who answered the stored *result*; "" where it does not say."""
    return EvaluationResult.read(readable(result)).answers_as


def readable(result: Path) -> dict[str, object]:
    """Return the content of *result*; nothing where it is cut or gone."""
    try:
        content = json.loads(result.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def why_unanswered(result: Path) -> str:
    """Return how many questions may still get a reply, empty for none."""
    errors = EvaluationResult.read(json.loads(result.read_text(encoding="utf-8"))).errors
    waiting = sum(not _FINAL.search(error) for error in errors.values())
    return UNANSWERED(count=waiting) if waiting else ""


_FINAL = re.compile(r"Error code: (400|413|422)\b|could not be graded")
"""A refusal of the question itself, or a grader's failure on a reply that is there: asking again changes nothing."""


def why_unmeasured(result: Path) -> str:
    """Return how many requests of a speed measurement failed.

    In words; empty for none.
    """
    rows = json.loads(result.read_text(encoding="utf-8"))["scores"]
    failed = {row["subset"]: row["n_errored"] for row in rows if row["n_errored"]}
    return REQUESTS_FAILED(count=sum(failed.values())) if failed else ""


def why_errored(replies: Path) -> str:
    """Return how many *replies* to the cases never came.

    In words; empty for none.
    """
    errored = sum(reply.status == "errored" for reply in read_replies([replies]))
    return REPLIES_ERRORED(count=errored) if errored else ""


def without_nan(value: object) -> object:
    """*value* with NaN as null, which JSON has no other word for."""
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return [without_nan(item) for item in value] if isinstance(value, list) else value
