"""The findings of a run, which every page and table is made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from bakeoff.foundation.errors import StoreError
from bakeoff.foundation.sentences import Template, restored, statement_of
from bakeoff.report.rows import EvaluationRow, LeakRow, PublishedRow, StageRow
from bakeoff.scoring.scores import SPEED
from bakeoff.store.events import Event
from bakeoff.store.placements import Placement

if TYPE_CHECKING:
    import pandas as pd

SCORE_COLUMNS: dict[str, str] = {
    "run_id": "str", "model": "str", "variant": "str", "suite": "str", "subset": "str", "metric": "str",
    "value": "float", "n_asked": "int", "n_answered": "int", "n_unparsed": "int", "n_empty": "int",
    "n_truncated": "int", "n_errored": "int", "n_judged": "int", "worst": "float", "best": "float",
    "chance": "float", "trusted": "bool", "why_not": "str", "fingerprint": "str", "benchmark": "str",
    "few_shot": "int", "finished_at": "str", "commit": "str", "versions": "str", "record": "str",
}  # fmt: skip
"""Columns of the scores table and their kinds; :mod:`bakeoff.scoring.tables` lists them."""

SAMPLE_COLUMNS: dict[str, str] = {
    "model": "str", "variant": "str", "suite": "str", "subset": "str", "sample_id": "str", "index": "int",
    "question": "str", "options": "str", "target": "str", "reply": "str", "extracted": "str",
    "extracted_alt": "str", "status": "str", "correct": "float", "prompt_sha": "str", "latency_s": "float",
    "leaked": "bool", "letter_logprobs": "str",
}  # fmt: skip
"""Columns of the samples table and their kinds."""


NO_OBJECT = Template(
    "report.findings.no_object",
    "{file}: must hold an object, found {kind}; run again",
    zh="{file}：应为一个 JSON 对象，实为 {kind}；请重新运行",
)
NO_PARQUET = Template(
    "report.findings.no_parquet",
    "{file}: not a readable Parquet file ({error}); run again",
    zh="{file}：无法读取的 Parquet 文件（{error}）；请重新运行",
)
NO_JSON = Template(
    "report.findings.no_json",
    "{file}: not a readable JSON file ({error}); run again or delete its folder",
    zh="{file}：无法读取的 JSON 文件（{error}）；请重新运行，或删除它所在的文件夹",
)
NO_SUCH_RUN = Template(
    "report.findings.no_such_run",
    "{place}: no run named {run!r}; latest known: {names}",
    zh="{place}：没有名为 {run} 的运行；最近的有：{names}",
)
NO_RUN = Template(
    "report.findings.no_run",
    "{place}: no run yet; `make smoke` or `pytest benchmarks/` makes one",
    zh="{place}：还没有运行；请先运行 `make smoke` 或 `pytest benchmarks/`",
)


class Subject(NamedTuple):
    """One thing that answers: a row of the matrix, before ("base") or after ("tuned") training."""

    model: str
    variant: str

    def __str__(self) -> str:
        return f"{self.model} ({self.variant})"


@dataclass(frozen=True)
class Row:
    """A row of the matrix that took part in the run."""

    model: str
    """Name of the row."""
    base_model: str = ""
    """Identifier of the model the row starts from, such as ``Qwen/Qwen2.5-7B-Instruct``."""
    group: Literal["smoke", "full", ""] = ""
    recipe: str = ""
    """Name of the recipe that the row trains under one of several seeds; empty, or the row's own name, where alone."""
    seed: int | None = None
    """Seed of its training; None where it trains nothing, or nobody noted it."""


@dataclass(eq=False)  # known by itself, not by its tables: so its analysis can be kept
class Findings:
    """Everything one run found, as read from the store or made by a test.

    ``scores`` and ``samples`` are tidy tables with the columns of :data:`SCORE_COLUMNS` and
    :data:`SAMPLE_COLUMNS`; both may be empty (nothing evaluated yet).
    """

    run_id: str
    started_at: str
    rows: list[Row]
    scores: pd.DataFrame
    samples: pd.DataFrame
    stages: list[StageRow] = field(default_factory=list)
    """Stage records in the order in which they happened."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(what, why) of everything asked for that did not run."""
    comparability: list[str] = field(default_factory=list)
    """Where the rows are not like for like."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    ratings: Mapping[str, Any] | None = None
    """Human and model judgements as :func:`bakeoff.judgement.verdicts.summarise` gives them."""
    anchors: list[PublishedRow] = field(default_factory=list)
    leakage: list[LeakRow] = field(default_factory=list)
    asked: list[tuple[str, str, str]] | None = None
    """(model, variant, suite) of every score that the run was to make; None where it is not known."""

    interest: dict[str, float] = field(default_factory=dict)
    """suite -> the smallest difference that matters there, on the scale of its score; others have the default."""

    margin: dict[str, float] = field(default_factory=dict)
    """suite -> the loss by tuning that would still be acceptable there; others have the default."""

    events: list[Event] = field(default_factory=list)
    """What the timeline told that a reader should know; see :mod:`bakeoff.report.cautions`."""

    legs: list[Placement] = field(default_factory=list)
    """Where the legs of rows ran that were jobs of a cluster."""

    evaluations: list[EvaluationRow] = field(default_factory=list)

    root: Path | None = None
    """The store; None where the findings are of none."""

    samples_file: Path | None = None
    """The Parquet file that holds ``samples`` as they are; None where something was changed or added."""

    @classmethod
    def from_store(cls, store: Path, run_id: str | None = None) -> Findings:
        """Return findings of *run_id*, or of the latest run with scores.

        Raises:
            StoreError: no such run, or one of its files cannot be read.
        """
        import pandas as pd

        folder = run_folder(store, run_id)
        run = restored(_read_json(folder / "run.json"))
        if not isinstance(run, dict):
            raise StoreError(NO_OBJECT(file=folder / "run.json", kind=type(run).__name__))
        scores_file, samples_file = folder / "scores.json", folder / "samples.parquet"
        scores = pd.DataFrame(_read_json(scores_file) if scores_file.exists() else [])
        try:
            samples = pd.read_parquet(samples_file) if samples_file.exists() else pd.DataFrame()
        except (OSError, ValueError) as error:
            raise StoreError(NO_PARQUET(file=samples_file, error=error)) from error
        return cls(
            run_id=str(run.get("run_id", folder.name)),
            started_at=str(run.get("started_at", "")),
            rows=[_row(item) for item in run.get("rows", [])],
            scores=with_columns(scores, SCORE_COLUMNS),
            samples=with_columns(samples, SAMPLE_COLUMNS),
            root=store,
            samples_file=samples_file if _complete(samples_file) else None,
            stages=list(run.get("stages", [])),
            skipped=[_pair(item) for item in run.get("skipped", [])],
            comparability=[_said(item) for item in run.get("comparability", [])],
            provenance=dict(run.get("provenance") or {}),
            ratings=run.get("ratings") or None,
            anchors=list(run.get("anchors", [])),
            leakage=list(run.get("leakage", [])),
            evaluations=list(run.get("evaluations", [])),
            events=list(run.get("events", [])),
            legs=[cast(Placement, item) for item in run.get("legs") or [] if isinstance(item, dict)],
            interest={str(suite): float(value) for suite, value in (run.get("interest") or {}).items()},
            margin={str(suite): float(value) for suite, value in (run.get("margin") or {}).items()},
            asked=[(str(m), str(v), str(s)) for m, v, s in run["asked"]] if "asked" in run else None,
        )

    @cached_property
    def samples_by_suite(self) -> dict[str, pd.DataFrame]:
        """Samples of each suite; taken apart once, as the table is long."""
        return {
            str(suite): samples for suite, samples in self.samples.groupby("suite", sort=False, observed=True)
        }

    @property
    def models(self) -> list[str]:
        """Names of the models in the order of the matrix.

        Scored ones that it lacks come last.
        """
        names = [row.model for row in self.rows]
        return names + [name for name in dict.fromkeys(self.scores["model"]) if name not in names]

    @property
    def demonstration(self) -> bool:
        """Whether every model is a tiny random one."""
        return bool(self.rows) and all(row.base_model.startswith("tiny:") for row in self.rows)

    @property
    def recipes(self) -> dict[str, list[str]]:
        """Recipe -> the models that train it, one per seed."""
        grouped: dict[str, list[str]] = {}
        named = {row.model: row.recipe for row in self.rows}
        for model in self.models:
            grouped.setdefault(named.get(model) or model, []).append(model)
        return grouped

    @property
    def suites(self) -> list[str]:
        """Names of the suites; speed is none."""
        return list(dict.fromkeys(self.scores["suite"][self.scores["benchmark"] != SPEED]))

    def evaluation(self, subject: Subject, suite: str) -> EvaluationRow:
        """Return what is noted of *subject* in *suite*; may be empty."""
        key = {"model": subject.model, "variant": subject.variant, "suite": suite}
        return next((entry for entry in self.evaluations if key.items() <= entry.items()), EvaluationRow())

    def unchecked(self, suite: str) -> dict[str, list[Subject]]:
        """Reason -> subjects whose training data was not searched."""
        reasons: dict[str, list[Subject]] = {}
        for entry in self.evaluations:
            if entry["suite"] == suite and (why := entry.get("leakage_not_checked")):
                reasons.setdefault(_said(why), []).append(Subject(entry["model"], entry["variant"]))
        return reasons

    @property
    def speeds(self) -> list[dict[str, Any]]:
        """Speed of each subject and load, one entry each.

        Keys: subject, load, each figure by its metric, n_asked and why_not.
        """
        loads: dict[tuple[Subject, str], dict[str, Any]] = {}
        for row in self.scores[self.scores["benchmark"] == SPEED].to_dict("records"):
            subject = Subject(str(row["model"]), str(row["variant"]))
            load = str(row["subset"]).removesuffix(" in flight")
            about = {"subject": subject, "load": load, "n_asked": row["n_asked"]}
            about["why_not"] = statement_of(row, "why_not")
            loads.setdefault((subject, load), about)[str(row["metric"])] = row["value"]
        return sorted(loads.values(), key=lambda speed: self.subjects.index(speed["subject"]))

    @property
    def subjects(self) -> list[Subject]:
        """What was scored, model by model, base before tuned."""
        present = {
            Subject(str(m), str(v)) for m, v in zip(self.scores["model"], self.scores["variant"], strict=True)
        }
        position = {model: index for index, model in enumerate(self.models)}
        return sorted(
            present, key=lambda subject: (position[subject.model], subject.variant != "base", subject.variant)
        )


def run_folder(store: Path, run_id: str | None = None) -> Path:
    """Return the folder of *run_id*, by default of the newest with scores.

    Without a run with scores, the newest.

    Raises:
        StoreError: the store holds no run of that name, or no run at all.
    """
    folders = known_runs(store)
    if run_id is not None:
        folder = next((path for path in folders if path.name == run_id), None)
        if folder is None:
            names = [path.name for path in folders[-5:]] or "–"
            raise StoreError(NO_SUCH_RUN(place=store / "runs", run=run_id, names=names))
        return folder
    if not folders:
        raise StoreError(NO_RUN(place=store / "runs"))
    return next((path for path in reversed(folders) if has_scores(path)), folders[-1])


def known_runs(store: Path) -> list[Path]:
    """Return folders of finished runs, oldest first."""
    folders = [path.parent for path in (store / "runs").glob("*/run.json")]
    return sorted(
        folders, key=lambda folder: (str(_read_json(folder / "run.json").get("started_at", "")), folder.name)
    )


def has_scores(folder: Path) -> bool:
    """Whether the run in *folder* left a score."""
    path = folder / "scores.json"
    return path.exists() and bool(_read_json(path))


def with_columns(table: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Return *table* with *columns* first; absent ones hold nothing."""
    filling: dict[str, Any] = {"str": "", "float": float("nan"), "int": 0, "bool": False}
    out = table.copy(deep=False)
    for name, kind in columns.items():
        if name not in out.columns:
            out[name] = filling[kind]
        if kind == "float":
            out[name] = out[name].astype("float64")
        elif kind == "str":
            if out[name].isna().any():
                out[name] = out[name].astype(object).where(out[name].notna(), "")
        elif kind == "int":
            out[name] = out[name].fillna(0).astype("int64")
        else:
            out[name] = out[name].fillna(False).astype(bool)
    return out[[*columns, *(name for name in out.columns if name not in columns)]]


def _complete(samples_file: Path) -> bool:
    """Whether the file has exactly the columns of samples, without gaps."""
    import pyarrow.parquet as pq

    if not samples_file.exists():
        return False
    about = pq.read_metadata(samples_file)
    if about.schema.names != list(SAMPLE_COLUMNS):
        return False
    counts = [
        about.row_group(group).column(column).statistics
        for group in range(about.num_row_groups)
        for column, kind in enumerate(SAMPLE_COLUMNS.values())
        if kind != "float"
    ]
    return all(count is not None and count.null_count == 0 for count in counts)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(NO_JSON(file=path, error=error)) from error


def _row(value: Any) -> Row:
    if isinstance(value, str):
        return Row(value)
    name = value.get("model") or value.get("name") or ""
    return Row(
        str(name),
        str(value.get("base_model") or value.get("base") or ""),
        value.get("group") or "",
        str(value.get("recipe") or ""),
        value.get("seed"),
    )


def _pair(value: Any) -> tuple[str, str]:
    if isinstance(value, dict):
        return str(value.get("what", "")), _said(value.get("why") or value.get("reason") or "")
    what, why = value
    return str(what), _said(why)


def _said(text: Any) -> str:
    """*text* as a ``str``, which a statement is already."""
    return text if isinstance(text, str) else str(text)
