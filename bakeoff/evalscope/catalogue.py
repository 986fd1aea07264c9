"""Benchmarks that can be asked, and what is wrong with a suite.

Nothing here imports EvalScope.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from bakeoff.foundation.errors import Complaint, DataError, ToolError, complaint_of
from bakeoff.foundation.suggestions import did_you_mean
from bakeoff.suites import METRICS, OURS

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


class SuiteLike(Protocol):
    """What is asked of a suite; :class:`bakeoff.matrix.schema.Suite` has it."""

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
    def limit_per(self) -> str: ...  # noqa: D102
    @property
    def generation(self) -> Mapping[str, object]: ...  # noqa: D102
    @property
    def metric(self) -> str | None: ...  # noqa: D102
    @property
    def chance(self) -> float | None: ...  # noqa: D102
    @property
    def trust(self) -> object: ...  # noqa: D102


@cache
def _installed() -> Path:
    """The folder of the installed EvalScope's benchmarks."""
    spec = importlib.util.find_spec("evalscope")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError("evalscope is not installed; install it with: pip install evalscope")
    return Path(spec.submodule_search_locations[0]) / "benchmarks"


@cache
def known_benchmarks() -> tuple[str, ...]:
    """The ids of all benchmarks, EvalScope's and ours.

    Raises:
        ToolError: EvalScope is not installed.
    """
    index = json.loads((_installed() / "_index.json").read_text(encoding="utf-8"))
    return tuple(sorted({*index, *OURS}))


def known_subsets(benchmark: str, data_dir: Path | None) -> tuple[str, ...]:
    """The subsets of *benchmark*; empty where its description names none.

    Ours are read from the data.

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
    """The metrics of *benchmark*; empty where its description names none."""
    if benchmark in OURS:
        return METRICS.get(benchmark, ("accuracy",))
    described = _installed() / "_meta" / f"{benchmark}.json"
    named = json.loads(described.read_text(encoding="utf-8")).get("meta", {}) if described.is_file() else {}
    return ("accuracy",) if named.get("metrics") == ["accuracy"] else ()


def check_settings(suite: SuiteLike) -> list[Complaint]:
    """What is wrong with the settings of *suite*, whatever its data."""
    where = f"suites.{suite.name}"
    if suite.benchmark not in known_benchmarks():
        hint = did_you_mean(suite.benchmark, known_benchmarks())
        what = f"EvalScope {version('evalscope')} has no {suite.benchmark!r}"
        return [Complaint(f"{where}.benchmark", what, hint)]
    complaints = [
        Complaint(
            f"{where}.generation",
            f"'{key}' would be dropped without a word",
            did_you_mean(key, GENERATION_KEYS),
        )
        for key in suite.generation
        if key not in GENERATION_KEYS
    ]
    if suite.benchmark in OURS and suite.few_shot:
        complaints.append(
            Complaint(f"{where}.few_shot", f"{suite.benchmark} is asked without examples", "leave it out")
        )
    metrics = known_metrics(suite.benchmark)
    if suite.metric and metrics and suite.metric not in metrics:
        hint = did_you_mean(suite.metric, metrics)
        complaints.append(
            Complaint(f"{where}.metric", f"{suite.benchmark} does not give {suite.metric!r}", hint)
        )
    return complaints + ([] if suite.benchmark in OURS else _unknown_subsets(suite, None))


def check_suite(suite: SuiteLike, data_dir: Path | None) -> list[Complaint]:
    """What would keep *suite* from running, without starting anything.

    Args:
        data_dir: the folder with the suite's data; None where it comes from the hub.
    """
    where = f"suites.{suite.name}"
    complaints = check_settings(suite)
    if suite.benchmark not in known_benchmarks():
        return complaints
    if suite.benchmark in OURS and data_dir is None:
        what = f"{suite.benchmark} reads local files only"
        return [*complaints, Complaint(f"{where}.data", what, "name their folder")]
    if data_dir is not None and not data_dir.is_dir():
        parent, hint = _near_folder(data_dir)
        return [*complaints, Complaint(f"{where}.data", f"no folder {data_dir} ({parent} has none)", hint)]
    try:
        if suite.benchmark in OURS:
            complaints += _unknown_subsets(suite, data_dir)
        if data_dir is not None:
            subsets = suite.subsets or known_subsets(suite.benchmark, data_dir)
            complaints += _missing_files(suite, data_dir, subsets, where)
    except DataError as error:
        complaint = complaint_of(error)
        what = f"{complaint.place}: {complaint.what}" if complaint else str(error)
        return [*complaints, Complaint(f"{where}.data", what, complaint.remedy if complaint else "")]
    return complaints


def _unknown_subsets(suite: SuiteLike, data_dir: Path | None) -> list[Complaint]:
    listed = known_subsets(suite.benchmark, data_dir)
    return [
        Complaint(
            f"suites.{suite.name}.subsets", f"{suite.benchmark} has no {name!r}", did_you_mean(name, listed)
        )
        for name in suite.subsets or ()
        if listed and name not in listed
    ]


def _near_folder(missing: Path) -> tuple[Path, str]:
    """The folder where *missing* was looked for, and similar names in it."""
    parent = next(folder for folder in missing.parents if folder.is_dir())
    name = missing.relative_to(parent).parts[0]
    return parent, did_you_mean(name, sorted(entry.name for entry in parent.iterdir() if entry.is_dir()))


def _missing_files(suite: SuiteLike, folder: Path, subsets: Sequence[str], where: str) -> list[Complaint]:
    if suite.benchmark == "ceval":
        readme = folder / "README.md"
        head = readme.read_text(encoding="utf-8") if readme.is_file() else ""
        configured = set(re.findall(r"config_name:\s*([\w-]+)", head))
        if not configured:
            what = f"{readme} must list each subject under 'configs:'"
            return [Complaint(f"{where}.data", what, "see docs/suites.md")]
        lacking = [name for name in subsets if name not in configured]
        return (
            [
                Complaint(
                    f"{where}.data", f"{readme} has no config for {', '.join(lacking)}", "choose 'subsets'"
                )
            ]
            if lacking
            else []
        )
    if suite.benchmark not in OURS and not any(
        path.suffix in (".csv", ".jsonl", ".json", ".tsv", ".parquet", ".arrow") for path in folder.rglob("*")
    ):
        return [Complaint(f"{where}.data", f"{folder} holds no csv, json, jsonl, parquet or arrow file")]
    return []
