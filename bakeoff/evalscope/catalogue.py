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
from bakeoff.foundation.sentences import Template, of_error
from bakeoff.foundation.suggestions import suggestion
from bakeoff.suites import METRICS, OURS

NO_BENCHMARK = Template(
    "evalscope.catalogue.no_benchmark",
    "EvalScope {version} has no {benchmark!r}",
    zh="EvalScope {version} 没有 {benchmark!r}",
)
DROPPED = Template(
    "evalscope.catalogue.dropped", "'{key}' would be dropped without a word", zh="'{key}' 会被不作提示地丢弃"
)
NO_EXAMPLES = Template(
    "evalscope.catalogue.no_examples",
    "{benchmark} is asked without examples",
    zh="{benchmark} 不使用少样本示例",
)
LEAVE_OUT = Template("evalscope.catalogue.leave_out", "leave it out", zh="请删除此项")
NO_METRIC = Template(
    "evalscope.catalogue.no_metric",
    "{benchmark} does not give {metric!r}",
    zh="{benchmark} 没有指标 {metric!r}",
)
LOCAL_ONLY = Template(
    "evalscope.catalogue.local_only", "{benchmark} reads local files only", zh="{benchmark} 只读取本机文件"
)
NAME_FOLDER = Template("evalscope.catalogue.name_folder", "name their folder", zh="请给出所在文件夹")
NO_FOLDER = Template(
    "evalscope.catalogue.no_folder",
    "no folder {folder} ({parent} has none)",
    zh="没有文件夹 {folder}（{parent} 中没有）",
)
WITHIN = Template("evalscope.catalogue.within", "{place}: {what}", zh="{place}：{what}")
NO_SUBSET = Template(
    "evalscope.catalogue.no_subset", "{benchmark} has no {name!r}", zh="{benchmark} 没有子集 {name!r}"
)
LIST_SUBJECTS = Template(
    "evalscope.catalogue.list_subjects",
    "{file} must list each subject under 'configs:'",
    zh="{file} 应在 'configs:' 下列出每个科目",
)
SEE_SUITES = Template("evalscope.catalogue.see_suites", "see docs/suites.md", zh="见 docs/suites.md")
NO_CONFIG = Template(
    "evalscope.catalogue.no_config", "{file} has no config for {names}", zh="{file} 中没有 {names} 的配置"
)
CHOOSE_SUBSETS = Template("evalscope.catalogue.choose_subsets", "choose 'subsets'", zh="请选择 'subsets'")
NO_DATA_FILE = Template(
    "evalscope.catalogue.no_data_file",
    "{folder} holds no csv, json, jsonl, parquet or arrow file",
    zh="{folder} 中没有 csv、json、jsonl、parquet 或 arrow 文件",
)

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
        hint = suggestion(suite.benchmark, known_benchmarks())
        what = NO_BENCHMARK(version=version("evalscope"), benchmark=suite.benchmark)
        return [Complaint(f"{where}.benchmark", what, hint)]
    complaints = [
        Complaint(
            f"{where}.generation",
            DROPPED(key=key),
            suggestion(key, GENERATION_KEYS),
        )
        for key in suite.generation
        if key not in GENERATION_KEYS
    ]
    if suite.benchmark in OURS and suite.few_shot:
        complaints.append(Complaint(f"{where}.few_shot", NO_EXAMPLES(benchmark=suite.benchmark), LEAVE_OUT()))
    metrics = known_metrics(suite.benchmark)
    if suite.metric and metrics and suite.metric not in metrics:
        hint = suggestion(suite.metric, metrics)
        complaints.append(
            Complaint(f"{where}.metric", NO_METRIC(benchmark=suite.benchmark, metric=suite.metric), hint)
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
        return [*complaints, Complaint(f"{where}.data", LOCAL_ONLY(benchmark=suite.benchmark), NAME_FOLDER())]
    if data_dir is not None and not data_dir.is_dir():
        parent, hint = _near_folder(data_dir)
        return [*complaints, Complaint(f"{where}.data", NO_FOLDER(folder=data_dir, parent=parent), hint)]
    try:
        if suite.benchmark in OURS:
            complaints += _unknown_subsets(suite, data_dir)
        if data_dir is not None:
            subsets = suite.subsets or known_subsets(suite.benchmark, data_dir)
            complaints += _missing_files(suite, data_dir, subsets, where)
    except DataError as error:
        complaint = complaint_of(error)
        what = WITHIN(place=complaint.place, what=complaint.what) if complaint else of_error(error)
        return [*complaints, Complaint(f"{where}.data", what, complaint.remedy if complaint else "")]
    return complaints


def _unknown_subsets(suite: SuiteLike, data_dir: Path | None) -> list[Complaint]:
    listed = known_subsets(suite.benchmark, data_dir)
    return [
        Complaint(
            f"suites.{suite.name}.subsets",
            NO_SUBSET(benchmark=suite.benchmark, name=name),
            suggestion(name, listed),
        )
        for name in suite.subsets or ()
        if listed and name not in listed
    ]


def _near_folder(missing: Path) -> tuple[Path, str]:
    """The folder where *missing* was looked for, and similar names in it."""
    parent = next(folder for folder in missing.parents if folder.is_dir())
    name = missing.relative_to(parent).parts[0]
    return parent, suggestion(name, sorted(entry.name for entry in parent.iterdir() if entry.is_dir()))


def _missing_files(suite: SuiteLike, folder: Path, subsets: Sequence[str], where: str) -> list[Complaint]:
    if suite.benchmark == "ceval":
        readme = folder / "README.md"
        head = readme.read_text(encoding="utf-8") if readme.is_file() else ""
        configured = set(re.findall(r"config_name:\s*([\w-]+)", head))
        if not configured:
            return [Complaint(f"{where}.data", LIST_SUBJECTS(file=readme), SEE_SUITES())]
        lacking = [name for name in subsets if name not in configured]
        return (
            [Complaint(f"{where}.data", NO_CONFIG(file=readme, names=lacking), CHOOSE_SUBSETS())]
            if lacking
            else []
        )
    if suite.benchmark not in OURS and not any(
        path.suffix in (".csv", ".jsonl", ".json", ".tsv", ".parquet", ".arrow") for path in folder.rglob("*")
    ):
        return [Complaint(f"{where}.data", NO_DATA_FILE(folder=folder))]
    return []
