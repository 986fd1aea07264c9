"""The paths of the store, each a property of one class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The store: what stages leave behind, kept between runs.

    ::

        models/<row>/<stage>[-<variant>]-<identity>/   record.json, stage.log, output/
        tiny/<recipe>-<version>/                       base models that we build
        forms/<model>-<identity>/                      native forms of published base models
        hubs/<id>-<commit>/                            links to what the hubs' caches hold of a model or data set
        environments/<hash>/                           Python environments
        cache/compiled/<engine-versions>/              what engines compiled
        runs/<run id>/                                 run.json, events.jsonl, scores.json, samples.parquet
        judge/ratings.sqlite                           human and model judgements
        locks/, processes/                             who holds what, who runs
    """

    root: Path

    @property
    def tiny(self) -> Path:
        """Base models built on the spot."""
        return self.root / "tiny"

    @property
    def forms(self) -> Path:
        """Native forms of base models that are published in another one."""
        return self.root / "forms"

    @property
    def hubs(self) -> Path:
        """Models and data of hubs, by commit: links into the hubs' caches."""
        return self.root / "hubs"

    @property
    def environments(self) -> Path:
        """Python environments, by content hash."""
        return self.root / "environments"

    @property
    def cache(self) -> Path:
        """Answers of installed tools, hashes of large files, compiled code."""
        return self.root / "cache"

    @property
    def locks(self) -> Path:
        """Lock files; the kernel drops a lock when its holder dies."""
        return self.root / "locks"

    @property
    def processes(self) -> Path:
        """One file per process group that is running."""
        return self.root / "processes"

    @property
    def runs(self) -> Path:
        """One folder per run."""
        return self.root / "runs"

    @property
    def ratings(self) -> Path:
        """The store of human and model judgements."""
        return self.root / "judge" / "ratings.sqlite"

    @property
    def models(self) -> Path:
        """One folder per row."""
        return self.root / "models"

    def model(self, row: str) -> Path:
        """Everything about the matrix row *row*."""
        return self.models / row

    def replies(self, row: str, variant: str) -> Path:
        """The replies of a model to the judge's cases."""
        return self.model(row) / "replies" / f"{variant}.jsonl"

    def evaluation(self, row: str, variant: str) -> Path:
        """What an evaluation of a variant asks and is answered, by suite."""
        return self.model(row) / "evaluation" / variant

    def by_hand(self, row: str, variant: str, suite: str) -> Path:
        """What a pasted line that evaluates a suite leaves."""
        return self.model(row) / "by-hand" / f"{variant}-{suite}"

    def logs(self) -> Iterator[Path]:
        """Every log of a stage."""
        for folder in ("models/*/*", "models/*/evaluation/*", "tiny/*", "forms/*", "hubs/*"):
            yield from self.root.glob(f"{folder}/*.log")

    def run(self, run_id: str) -> Path:
        """The folder of one run."""
        return self.runs / run_id
