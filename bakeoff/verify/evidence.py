"""What there is to verify: a run's tables, its page, its raw records."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from bakeoff.evalscope import grading_rules
from bakeoff.foundation.errors import StoreError
from bakeoff.foundation.files import readable_rows
from bakeoff.foundation.sentences import restored
from bakeoff.report.findings import run_folder
from bakeoff.store.places import place_of
from bakeoff.verify.decoding import decoded, rows_in
from bakeoff.verify.words import NO_MARK, NO_TARGET

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
_CONTAINERS = frozenset((dict, list))


class _Summary(NamedTuple):
    """A result without its samples: as it is stored, and with statements in place of texts."""

    stored: Row
    told: Row


@dataclass
class Evidence:
    """A run, from its store, its report, or both.

    Attributes:
        root: the store; None where only a report is at hand.
        run_folder: the run's folder in the store; None without a store.
        page: the page of the report; None where none is at hand.
    """

    run_id: str
    root: Path | None = None
    run_folder: Path | None = None
    page: Path | None = None
    _summaries: dict[Path, _Summary] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def folders(self) -> list[Path]:
        """Return the folders that hold tables: the run's and the report's."""
        return [folder for folder in (self.run_folder, self.page and self.page.parent) if folder]

    @property
    def tables(self) -> Path:
        """Return the folder of the tables: the run's where there is a store."""
        return self.folders[0]

    @cached_property
    def run(self) -> Row:
        """Return what ``run.json`` says; nothing where there is none.

        Reports of older versions have none.
        """
        path = self.tables / "run.json"
        return read_object(path) if path.is_file() else {}

    @cached_property
    def scores(self) -> list[Row]:
        """Return the rows of ``scores.json``, with statements for texts."""
        return scores_in(self.tables / "scores.json")

    @cached_property
    def events(self) -> list[Row]:
        """Return the timeline of the run, with statements in place of texts.

        Nothing where there is none.
        """
        path = self.run_folder / "events.jsonl" if self.run_folder else None
        return [spoken(row) for row in readable_rows(path)] if path and path.is_file() else []

    @cached_property
    def ended(self) -> str:
        """Return the time of the run's last event as written; "" without events."""
        return max((str(event.get("time", "")) for event in self.events), default="")

    def told(self, name: str) -> object:
        """Return what ``run.json`` tells under *name*.

        With statements in place of texts.
        """
        return restored(self.run.get(name))

    @cached_property
    def samples(self) -> list[Row]:
        """Return the rows of ``samples.parquet``."""
        return samples_in(self.tables / "samples.parquet")

    @cached_property
    def samples_of(self) -> dict[tuple[str, str, str], list[Row]]:
        """Return the samples by model, variant and suite."""
        parts: dict[tuple[str, str, str], list[Row]] = {}
        for row in self.samples:
            parts.setdefault((str(row["model"]), str(row["variant"]), str(row["suite"])), []).append(row)
        return parts

    @property
    def stages(self) -> list[Row]:
        """Return the stages of the run that left something, as they are stored."""
        return [stage for stage in self.run.get("stages", []) if stage.get("outcome") in ("ran", "reused")]

    @cached_property
    def superseded(self) -> set[str]:
        """Return the outputs that a later run made anew.

        As the run names them; this run's own are gone.
        """
        return {
            str(stage["output"])
            for stage in self.stages
            if (path := self.place(stage))
            and path.with_name("record.json").is_file()
            and self._is_of_later_run(stage, path.with_name("record.json"))
        }

    def _is_of_later_run(self, stage: Row, path: Path) -> bool:
        """Return whether the record in the place of *stage* is a later run's."""
        try:
            record = read_object(path)
        except (OSError, ValueError):
            return False
        name = (path.parent.name, record.get("started"))
        return record.get("started") != stage["started"] and any(
            (Path(str(event.get("output"))).parent.name, event.get("started")) == name
            and event.get("identity") == record.get("identity")
            for event in self._later_events
        )

    @cached_property
    def _later_events(self) -> list[Row]:
        """Return what later runs in the store tell of their stages."""
        assert self.root is not None
        paths = sorted((self.root / "runs").glob("*/events.jsonl"))
        rows = [row for path in paths if path.parent.name > self.run_id for row in readable_rows(path)]
        return [row for row in rows if row.get("event") == "stage"]

    @cached_property
    def read_otherwise(self) -> set[tuple[str, str, str]]:
        """Return the (model, variant, suite) that other rules have read."""
        keys = set()
        for stage in self.stages:
            suite = stage["identity"].get("suite")
            today = grading_rules(str(suite.get("scoring")) if isinstance(suite, dict) else "generation")
            if stage["stage"] == "evaluate" and stage["identity"].get("grading_rules", today) != today:
                keys.add((str(stage["model"]), str(stage["variant"]), str(stage["facts"].get("suite"))))
        return keys

    @cached_property
    def asked_again(self) -> dict[Path, str]:
        """Return the folders of replies that a later run filled anew.

        With the time at which its evaluation finished.
        """
        folders = {}
        for event in self._later_events if self.root else []:
            output = self.place(event) if event.get("stage") == "evaluate" else None
            if output and output.is_file():
                result = read_object(output)
                if folder := self.replies_of(output):
                    folders[folder] = str(result.get("finished_at"))
        return folders

    def result(self, output: Path) -> Row:
        """Return the result of a stage, with statements in place of texts."""
        content = read_object(output)
        stored = {name: value for name, value in content.items() if name != "samples"}
        told = spoken(stored)
        self._summaries[output] = _Summary(stored, told)
        if "samples" not in content:
            return told
        return {**told, "samples": [row if _is_plain(row) else restored(row) for row in content["samples"]]}

    def summary(self, output: Path) -> Row:
        """Return the result of a stage without its samples; it is read once."""
        return self._summary(output).told

    def stored_summary(self, output: Path) -> Row:
        """Return the result of a stage as it is stored, without its samples."""
        return self._summary(output).stored

    def _summary(self, output: Path) -> _Summary:
        if output not in self._summaries:
            self.result(output)
        return self._summaries[output]

    def replies_of(self, output: Path) -> Path | None:
        """Return the folder of the replies behind *output*; None if it is gone."""
        try:
            folder = str(self.summary(output).get("folder", ""))
        except (OSError, ValueError):
            return None
        place = place_of(self.root, folder) if self.root else None
        return place if place and place.is_dir() else None

    def place(self, stage: Row) -> Path | None:
        """Return the output of *stage* in this store."""
        return place_of(self.root, str(stage.get("output", ""))) if self.root else None

    def shown(self, path: Path) -> str:
        """Return *path* as a reader of the outcome finds it."""
        for base in (self.root, self.page and self.page.parent):
            if base and path.is_relative_to(base):
                return path.relative_to(base).as_posix()
        return str(path)


def samples_in(path: Path) -> list[Row]:
    """Return the rows of a table of samples.

    Texts that are alike are one object: a question stands in the rows of every model.
    """
    import pyarrow.parquet as pq

    table = pq.ParquetFile(path).read()
    columns = [_values(table.column(number)) for number in range(table.num_columns)]
    names = list(map(str, table.column_names))
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: pa.ChunkedArray) -> list[object]:
    """Return the values of a column, each text that stands in it once."""
    import pyarrow as pa

    if not pa.types.is_string(column.type) or column.null_count:
        return list(column.to_pylist())
    values: list[object] = []
    for chunk in column.chunks:
        encoded = chunk.dictionary_encode()
        texts = encoded.dictionary.to_pylist()
        values += [texts[place] for place in encoded.indices.to_pylist()]
    return values


def spoken(row: Row) -> Row:
    """Return *row* with statements in place of texts.

    It is without the ids and values beside them, which are taken off here alone.
    """
    return dict(restored(row))


def scores_in(path: Path) -> list[Row]:
    """Return the rows of ``scores.json``, with statements for texts."""
    return [spoken(row) for row in json.loads(path.read_text(encoding="utf-8"))]


def _is_plain(row: object) -> bool:
    """Return whether *row* is flat, so that no statement can be in it."""
    return isinstance(row, dict) and _CONTAINERS.isdisjoint(map(type, row.values()))


def read_object(path: Path) -> Row:
    """Return the JSON object in a file.

    Raises:
        ValueError: it holds something else.
    """
    content = decoded(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds a {type(content).__name__}, not an object")
    return content


def row_objects(path: Path) -> list[Row]:
    """Return the rows of a file of JSON lines, which all are objects.

    Raises:
        ValueError: one is something else.
    """
    rows = rows_in(path)
    if any(type(row) is not dict for row in rows):
        raise ValueError(f"{path.name} holds a row that is no object")
    return cast("list[Row]", rows)


def find(target: Path, store: Path | None, run_id: str | None, report: Path | None) -> Evidence:
    """Return what *target* means: a store, a run's folder, or a report.

    A report is its folder or its page.

    Raises:
        StoreError: it is none of them, or lacks the run.
    """
    if (target / "runs").is_dir():
        store, target = target, target / "runs"
    elif target.parent.name == "runs" and (target / "run.json").is_file():
        store, run_id = target.parent.parent, target.name
    else:
        report = target
    page = _page(report) if report else None
    if page and run_id is None:
        run_id = _run_of(page)
    if page and store is None:
        beside = [
            folder
            for folder in (Path("store"), page.parent.parent / "store")
            if (folder / "runs" / (run_id or "-")).is_dir()
        ]
        store = beside[0] if beside else None
    if store is None:
        return Evidence(run_id or "", page=page)
    folder = run_folder(store, run_id)
    return Evidence(folder.name, root=store, run_folder=folder, page=page)


def _page(report: Path) -> Path:
    page = report if report.suffix in (".html", ".htm") else report / "index.html"
    if not page.is_file():
        raise StoreError(NO_TARGET(place=report))
    return page


def _run_of(page: Path) -> str:
    text = page.read_text(encoding="utf-8", errors="replace")
    begin = text.find("<!-- bakeoff ")
    if begin < 0:
        raise StoreError(NO_MARK(place=page))
    return text[begin + 13 : text.index(" -->", begin)]
