"""What EvalScope wrote down more than once, held against each other.

Timing, tokens, names and messages of a reply stand in several places of its rows, and its report sums the rows up. No
score stands on most of it; whoever edits a record seldom thinks of all places.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from bakeoff.foundation.sentences import SAID
from bakeoff.verify import words
from bakeoff.verify.arithmetic import mean
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Row, read_object, row_objects

Rows = dict[tuple[str, int], Row]
_RULE = "written twice"
_SENT = ("role", "content", "id")
"""What a message that was sent holds; EvalScope leaves its other fields empty."""
_SHARES = {"min": 0.0, "25%": 0.25, "50%": 0.5, "75%": 0.75, "90%": 0.9, "99%": 0.99, "max": 1.0}
_FIRST_LOOK, _LOOKS, _FEW_TURNED = 6, 24, 2
"""Wrong answers asked once more with a number in front: at first, and where so many of them turn."""
_ROUNDED = 2e-6
"""EvalScope rounds figures of its report to six places."""
_OF_A_MACHINE = (
    *("eval_batch_size", "generation_config", "limit", "timeout", "api_url", "dataset_args"),
    *("model_id", "work_dir", "use_cache", "dataset_dir"),
)
"""Settings that may differ between two evaluations of a suite by the same EvalScope."""

_OF_A_RUN = ("api_url", "dataset_args", "dataset_dir", "timeout")
"""Those that a run on one machine gives all its evaluations of a suite."""


class Raw(NamedTuple):
    """Rows that EvalScope kept of a suite, by subset and index."""

    predictions: Rows
    reviews: Rows


def raw_rows(audit: Audit, place: str, folder: Path, benchmark: str) -> Raw:
    """Return the rows of a suite; one that stands twice is told."""
    return Raw(*(_rows(audit, place, folder / kind, benchmark) for kind in ("predictions", "reviews")))


def _rows(audit: Audit, place: str, folder: Path, benchmark: str) -> Rows:
    rows: Rows = {}
    for path in sorted(folder.glob("*/*.jsonl")):
        subset = path.stem.removeprefix(f"{benchmark}_")
        for row in row_objects(path):
            key = (subset, int(row["index"]))
            if key in rows:
                where = f"{place} {folder.name} {subset} {key[1]}"
                audit.compare(_RULE, f"{where} twice", row == rows[key], False)
            rows[key] = row
    return rows


def check_rows(audit: Audit, place: str, raw: Raw, result: Row) -> None:
    """Hold replies and reviews of a suite against what repeats them."""
    served = result.get("served_name")
    for key, row in raw.predictions.items():
        where = f"{place} predictions {key[0]} {key[1]}"
        if "model" in row and served:
            audit.compare_raw(_RULE, where, "model", row["model"], served)
        _check_reply(audit, where, row)
        if review := raw.reviews.get(key):
            _check_review(audit, f"{place} reviews {key[0]} {key[1]}", review, row)
    for subset, index in raw.reviews.keys() - raw.predictions.keys():
        audit.fail(_RULE, f"{place} reviews {subset} {index}", words.A_REVIEW(), words.ITS_REPLY())
    names = Counter(_model(row) for row in raw.predictions.values())
    stated = (result.get("answered_by") or {}).get("models")
    if stated is not None and all(name for name in names):
        audit.compare(_RULE, f"{place} answered_by", stated, dict(names))


def _model(row: Row) -> str:
    return str(row["model_output"].get("model") or "")


def _check_reply(audit: Audit, where: str, row: Row) -> None:
    """Hold what a row of replies says more than once against each other."""
    output = row["model_output"]
    choices = output.get("choices") or []
    audit.compare_raw(_RULE, where, "choices", len(choices), 1)
    if not choices or "messages" not in row:
        return
    for name, content in (("error", output), ("metadata", output), ("logprobs", choices[0])):
        audit.compare_raw(_RULE, where, name, content.get(name), None)
    message = choices[0]["message"]
    timing = message.get("perf_metrics") or {}
    pairs = {
        "model": (message.get("model"), output.get("model")),
        "perf_metrics": (output.get("perf_metrics"), message.get("perf_metrics")),
        "time": (output.get("time"), timing.get("latency")),
    }
    usage = output.get("usage") or {}
    for name in ("input_tokens", "output_tokens"):
        pairs[name] = (usage.get(name), timing.get(name))
    for name, (value, expected) in pairs.items():
        if value is not None and expected is not None:
            audit.compare_raw(_RULE, where, name, value, expected)
    for name, count in usage.items():
        is_count = count is None or (isinstance(count, int) and count >= 0)
        audit.compare_raw(_RULE, where, f"usage {name} is a count", is_count, True)
    parts: list[Any] = [usage.get(name) for name in ("input_tokens", "output_tokens")]
    if usage.get("total_tokens") is not None and None not in parts:
        audit.compare_raw(_RULE, where, "total_tokens", usage["total_tokens"], sum(map(int, parts)))
    *sent, last = row["messages"]
    if last["role"] != "assistant":
        sent.append(last)
    elif "id" in message:
        audit.compare_raw(_RULE, where, "reply in the conversation", _stripped(last), _stripped(message))
    for number, each in enumerate(sent):
        filled = {name: value for name, value in each.items() if name not in _SENT and value is not None}
        if each["role"] != "assistant":
            audit.compare_raw(_RULE, where, f"message {number}", filled, {})


def _stripped(message: Row) -> Row:
    """Return a message without the white space that thoughts leave around its text."""
    content = message.get("content")
    if isinstance(content, list):
        return {**message, "content": [{k: _bare(v) for k, v in part.items()} for part in content]}
    return {**message, "content": _bare(content)}


def _bare(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _check_review(audit: Audit, where: str, review: Row, row: Row) -> None:
    """Hold a review against the reply that it reviews."""
    for name in ("messages", "agent_trace"):
        if name in review and name in row:
            audit.compare_raw(_RULE, where, name, review[name], row[name])
    sample = review.get("sample_score") or {}
    for name, expected in (
        ("sample_id", row["index"]),
        ("group_id", row["index"]),
        ("generation_index", 0),
        ("sample_metadata", row.get("metadata")),
    ):
        if name in sample:
            audit.compare_raw(_RULE, where, name, sample[name], expected)


def check_sums(audit: Audit, beside: Audit, place: str, folder: Path, result: Row, raw: Raw) -> None:
    """Recount EvalScope's report and the replies asked twice.

    *beside*: for grades, which another version may have given otherwise.
    """
    alone, noise = folder / "alone.json", result.get("noise")
    if isinstance(noise, Mapping):
        content = read_object(alone)
        audit.compare(_RULE, f"{place} alone.json noise", content.get("noise"), noise)
        asked, otherwise = content.get("asked"), content.get("otherwise")
        # a reply in other words may state the same choice
        most = noise.get("asked_twice", 0) - noise.get("same_replies", 0)
        audit.compare(_RULE, f"{place} alone.json asked", asked, noise.get("asked_twice"))
        is_within = isinstance(otherwise, int) and 0 <= otherwise <= most
        audit.compare(_RULE, f"{place} alone.json otherwise", otherwise, otherwise if is_within else most)
        if why := content.get("why"):
            audit.compare(_RULE, f"{place} alone.json why", str(why) in str(result.get("why_not")), True)
    if (changed := folder / "changed.json").is_file():
        with audit.reading(f"{place} {changed.name}"):
            _check_changed(audit, f"{place} {changed.name}", read_object(changed), result)
    for path in sorted(folder.glob("configs/*.yaml")):
        with audit.reading(f"{place} {path.name}"):
            _check_settings(audit, f"{place} {path.name}", _settings(path.read_text("utf-8")), result, folder)
    for path in sorted(folder.glob("reports/*/*.json")):
        with audit.reading(f"{place} {path.name}"):
            where, report = f"{place} {path.name}", read_object(path)
            _check_report(audit, where, report, path, raw.predictions)
            _check_execution(audit, f"{where} execution_summary", report.get("execution_summary") or {})
            _check_grades(beside, where, report, raw.reviews)


def _check_changed(audit: Audit, where: str, content: Row, result: Row) -> None:
    """Hold what came of questions asked with a number in front.

    Only wrong answers are asked so, few of them; what is said of them is a reason against a score. Where nobody was
    asked since, they are those of an earlier reading.
    """
    fields = sorted(content.keys() - {SAID})
    audit.compare(_RULE, f"{where} fields", fields, ["asked", "turned", "why"])
    asked, turned, why = (content[name] for name in ("asked", "turned", "why"))
    graded = [row for row in result["samples"] if row["options"] and row["status"] == "answered"]
    wrong = sum(row["correct"] == 0 for row in graded)
    looks = (
        [min(wrong, most) for most in (_FIRST_LOOK, _LOOKS)] if result.get("asked_now") else range(_LOOKS + 1)
    )
    audit.compare(_RULE, f"{where} asked", asked, asked if asked in looks else list(looks))
    audit.compare(_RULE, f"{where} turned", isinstance(turned, int) and 0 <= turned <= asked, True)
    if turned < _FEW_TURNED:
        audit.compare(_RULE, f"{where} why", why, "")
        audit.compare(_RULE, f"{where} asked at first", asked <= _FIRST_LOOK, True)
    elif why:
        audit.compare(_RULE, f"{where} why", str(why) in str(result.get("why_not")), True)


def _check_settings(audit: Audit, where: str, settings: Row, result: Row, folder: Path) -> None:
    """Hold how EvalScope was set up against the result and the folder."""
    generation = settings.get("generation_config") or {}
    pairs = {
        "evalscope_version": (settings.get("evalscope_version"), result.get("evalscope")),
        "model_id": (settings.get("model_id"), result.get("served_name")),
        "datasets": (settings.get("datasets"), [result.get("benchmark")]),
        "batch_size": (generation.get("batch_size"), settings.get("eval_batch_size")),
        "limit": (settings.get("limit"), _limit(result)),
        "use_cache": (settings.get("use_cache"), settings.get("work_dir")),
        "work_dir": (Path(str(settings.get("work_dir"))).name, folder.name),
        **{
            f"generation {name}": (generation.get(name), value)
            for name, value in (result.get("generation") or {}).items()
        },
    }
    for name, (value, expected) in pairs.items():
        if (value is not None and expected is not None) or (name == "limit" and "limit_per" in result):
            audit.compare(_RULE, f"{where} {name}", value, expected)


def _limit(result: Row) -> object:
    """Return the limit that EvalScope was given: one of each subset alone."""
    return result.get("limit") if result.get("limit_per") == "subset" else None


def _check_report(audit: Audit, where: str, report: Row, path: Path, predictions: Rows) -> None:
    """Hold names and timing of a report against the replies."""
    stated = [report.get(name) for name in ("model_name", "dataset_name", "name")]
    served, benchmark = path.parent.name, path.stem
    if len(served) == len(str(stated[0])):  # a folder's name lacks what no file system takes
        audit.compare(_RULE, f"{where} names", stated, [served, benchmark, f"{served}@{benchmark}"])
    _check_timing(audit, f"{where} perf_metrics", report.get("perf_metrics") or {}, predictions.values())


def _check_execution(audit: Audit, where: str, summary: Row) -> None:
    """Recount how many questions of a report were answered."""
    if not summary:
        return
    subsets = summary.get("subsets") or {}
    for name in ("requested", "succeeded", "errored"):
        counted = sum(int(part[name]) for part in subsets.values())
        audit.compare(_RULE, f"{where} {name}", summary[name], counted)
    for subset, part in subsets.items():
        open_ones = int(part["requested"]) - int(part["succeeded"])
        audit.compare(_RULE, f"{where} {subset} errored", 0 <= part["errored"] <= open_ones, True)
    is_short = summary["succeeded"] < summary["requested"]
    audit.compare(_RULE, f"{where} incomplete", summary["incomplete"], is_short)


def _check_grades(audit: Audit, where: str, report: Row, reviews: Rows) -> None:
    """Recount the metrics of a report from the reviews."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (subset, _), review in reviews.items():
        for name, value in review["sample_score"]["score"]["value"].items():
            values[name][subset].append(float(value))
    counts = {metric["num"] for metric in report.get("metrics") or ()}
    if "num" in report and len(counts) == 1:
        audit.compare(_RULE, f"{where} num", report["num"], counts.pop())
    for metric in report.get("metrics") or ():
        identity = metric.get("identity") or {}
        if identity.get("aggregation") == "mean" and identity.get("name") in values:
            _check_metric(audit, f"{where} {identity['name']}", metric, values[identity["name"]])


def _check_metric(audit: Audit, where: str, metric: Row, values: Mapping[str, Sequence[float]]) -> None:
    """Recount one metric of a report, by subset, category and in all."""
    shown: dict[str, tuple[int, float]] = {}
    for category in metric["categories"]:
        parts = [part for part in category["subsets"] if not part.get("is_aggregate")]
        for part in parts:
            shown[str(part["name"])] = (int(part["num"]), float(part["score"]))
        _check_mean(audit, f"{where} {category['name']}", category, parts)
    expected = {name: (len(grades), mean(grades)) for name, grades in values.items()}
    for name, (count, score) in expected.items():
        place = f"{where} {name}"
        audit.compare(_RULE, f"{place} num", shown.get(name, (0, 0.0))[0], count)
        audit.compare(_RULE, f"{place} score", shown.get(name, (0, 0.0))[1], score, tolerance=1e-4)
    audit.compare(_RULE, f"{where} subsets", sorted(shown), sorted(expected))
    _check_mean(audit, where, metric, metric["categories"])


def _check_mean(audit: Audit, where: str, whole: Row, parts: Sequence[Row]) -> None:
    count = sum(int(part["num"]) for part in parts)
    audit.compare(_RULE, f"{where} num", whole["num"], count)
    if count:
        score = math.fsum(float(part["score"]) * int(part["num"]) for part in parts) / count
        audit.compare(_RULE, f"{where} score", whole["score"], score, tolerance=2e-4)
        macro = mean(
            [float(part["macro_score"] if "macro_score" in part else part["score"]) for part in parts]
        )
        audit.compare(_RULE, f"{where} macro_score", whole["macro_score"], macro, tolerance=2e-4)


def _check_timing(audit: Audit, where: str, perf: Row, rows: Iterable[Row]) -> None:
    """Recount tokens and seconds of a report from the replies."""
    summary, rows = perf.get("summary") or {}, list(rows)
    timings = [
        timing
        for row in rows
        if (timing := row["model_output"].get("perf_metrics")) and timing.get("latency") is not None
    ]
    if not summary or not timings:
        return
    coverage = perf.get("coverage") or {}
    counted = [coverage.get(name, len(timings)) for name in ("requests_with_metrics", "total_requests")]
    if (
        summary.get("n_samples") != len(timings)
        and len(set(counted)) == 1
        and counted[0] == summary["n_samples"]
    ):
        return  # replies that were asked for again later are not in it
    expected_counts = [
        len(timings),
        len(timings),
        len(rows) if "total_requests" in coverage else len(timings),
    ]
    audit.compare(_RULE, f"{where} requests", [summary.get("n_samples"), *counted], expected_counts)
    columns = {
        "latency": [float(timing["latency"]) for timing in timings],
        "input_tokens": [float(timing["input_tokens"]) for timing in timings],
        "output_tokens": [float(timing["output_tokens"]) for timing in timings],
    }
    columns["total_tokens"] = [
        sum(pair) for pair in zip(columns["input_tokens"], columns["output_tokens"], strict=True)
    ]
    usage = summary.get("usage") or {}
    for name, values in columns.items():
        stated = summary.get(name) or usage.get(name) or {}
        ordered, middle = sorted(values), mean(values)
        expected = {share: _quantile(ordered, at) for share, at in _SHARES.items()} | {"mean": middle}
        if len(values) > 1:
            squares = math.fsum((value - middle) ** 2 for value in values)
            expected["std"] = math.sqrt(squares / (len(values) - 1))
        for key, value in expected.items():
            if key in stated:
                audit.compare(_RULE, f"{where} {name} {key}", stated[key], value, tolerance=_ROUNDED)
    seconds, throughput = math.fsum(columns["latency"]), summary.get("throughput") or {}
    if seconds > 0:
        speeds = {
            "avg_output_tps": sum(columns["output_tokens"]) / seconds,
            "avg_req_ps": len(timings) / seconds,
        }
        for name, value in speeds.items():
            if name in throughput:
                rounded = 6e-3 / max(1.0, value)
                audit.compare(_RULE, f"{where} {name}", throughput[name], value, tolerance=rounded)
    for name, column in (
        ("total_input_tokens", "input_tokens"),
        ("total_output_tokens", "output_tokens"),
        ("total_tokens_count", "total_tokens"),
    ):
        if name in usage:
            audit.compare(_RULE, f"{where} {name}", usage[name], sum(columns[column]))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile, drawn straight between neighbours."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def check_descriptions(audit: Audit, folders: Mapping[str, Path], own: Collection[str] = ()) -> None:
    """Hold EvalScope's words and settings against its other evaluations.

    *folders*: by place; *own*: places of those that one machine made in this run. What it calls a metric, and how it
    was set up, is the same in every evaluation of one suite by one version.
    """
    first: dict[tuple[str, str], tuple[str, object]] = {}
    for pattern in ("reports/*/*.json", "configs/*.yaml"):
        there = {place for place, folder in folders.items() if any(folder.glob(pattern))}
        for place, folder in folders.items():
            if there and any(folder.glob("reviews/*/*.jsonl")):
                audit.compare(_RULE, f"{place} has EvalScope's {pattern}", place in there, True)
    for place, folder in folders.items():
        for path in (*sorted(folder.glob("reports/*/*.json")), *sorted(folder.glob("configs/*.yaml"))):
            with audit.reading(f"{place} {path.name}"):
                name, content = _described(path, folder)
                other, expected = first.setdefault((path.suffix, name), (place, content))
                if other != place:
                    audit.compare(_RULE, f"{place} {path.name} against {other}", content, expected)
    settings: dict[str, tuple[str, Row]] = {}
    for place, folder in folders.items():
        for path in sorted(folder.glob("configs/*.yaml")) if place in own else ():
            with audit.reading(f"{place} {path.name}"):
                content_of = _settings(path.read_text(encoding="utf-8"))
                alike = {name: content_of.get(name) for name in _OF_A_RUN}
                who, first_of = settings.setdefault(folder.parent.name, (place, alike))  # its suite
                audit.compare(_RULE, f"{place} {path.name} against {who}", alike, first_of)


def _described(path: Path, folder: Path) -> tuple[str, object]:
    """Return what a file describes, and what all evaluations share of it."""
    if path.suffix == ".json":
        report = {
            name: value for name, value in read_object(path).items() if name not in ("name", "model_name")
        }
        is_timed = bool((report.get("perf_metrics") or {}).get("summary"))
        return f"{folder.parent.name} {path.stem} {_version(folder)} {is_timed}", _shape(report)
    settings = _settings(path.read_text(encoding="utf-8"))
    kept = {name: value for name, value in settings.items() if name not in _OF_A_MACHINE}
    return f"{folder.parent.name} {settings.get('datasets')} {settings.get('evalscope_version')}", kept


@lru_cache(maxsize=64)
def _settings(text: str) -> Row:
    """Return the settings that EvalScope wrote down.

    Raises:
        ValueError: they are no YAML.
    """
    import yaml

    try:
        return dict(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML ({error})") from None


def _shape(value: object) -> object:
    """Return the keys and texts of a report, with 0 for its figures."""
    if isinstance(value, Mapping):
        return {name: part if "semantics" in name else _shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_shape(part) for part in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0
    return value


def _version(folder: Path) -> str:
    path = folder / "result.json"
    return str(json.loads(path.read_text(encoding="utf-8")).get("evalscope")) if path.is_file() else ""
