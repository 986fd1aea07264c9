"""Tidy tables of scores and samples: columns, rows, files.

There is a row for each value; docs/suites.md describes the columns.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.foundation.errors import DataError
from bakeoff.foundation.files import read_rows, replacing, write_json, write_rows
from bakeoff.foundation.sentences import with_statements
from bakeoff.scoring.scores import STATUSES, Sample, Score

if TYPE_CHECKING:
    import pandas as pd

SCORE_COLUMNS: tuple[str, ...] = (
    "run_id",
    "model",
    "variant",
    "suite",
    "subset",
    "metric",
    "value",
    "n_asked",
    "n_answered",
    "n_unparsed",
    "n_empty",
    "n_truncated",
    "n_errored",
    "n_judged",
    "worst",
    "best",
    "chance",
    "trusted",
    "why_not",
    "fingerprint",
    "benchmark",
    "few_shot",
    "finished_at",
    "commit",
    "versions",
    "record",
)

MADE_BY = ("commit", "versions", "record")
"""Columns of a score that say how it was made; a store of before they were kept lacks them."""

SAMPLE_COLUMNS: tuple[str, ...] = (
    "model",
    "variant",
    "suite",
    "sample_id",
    "subset",
    "index",
    "question",
    "options",
    "target",
    "reply",
    "extracted",
    "extracted_alt",
    "status",
    "correct",
    "prompt_sha",
    "latency_s",
    "leaked",
    "letter_logprobs",
)


def score_row(score: Score, **context: object) -> dict[str, object]:
    """Return *made* as a row; *context* gives run, model, suite and so on."""
    counts = score.ledger
    row = {
        "subset": score.subset,
        "metric": score.metric,
        "value": score.value,
        "worst": score.worst,
        "best": score.best,
        "chance": score.chance,
        "trusted": score.trusted,
        "why_not": score.why_not,
        "n_asked": counts.asked,
        "n_judged": counts.judged,
        **{f"n_{status}": getattr(counts, status) for status in STATUSES},
        **dict.fromkeys(MADE_BY, ""),
        **context,
    }
    return _row(row, SCORE_COLUMNS, "score")


def sample_row(sample: Sample, **context: object) -> dict[str, object]:
    """Return *sample* as a row; *context* gives model, variant and suite."""
    row: dict[str, object] = {**asdict(sample), **context}
    row["options"] = json.dumps(list(sample.options), ensure_ascii=False) if sample.options else ""
    row["letter_logprobs"] = json.dumps(dict(sample.letter_logprobs)) if sample.letter_logprobs else ""
    del row["grades"], row["error"]
    return _row(row, SAMPLE_COLUMNS, "sample")


def _row(row: Mapping[str, object], columns: Sequence[str], what: str) -> dict[str, object]:
    if missing := [name for name in columns if name not in row]:
        raise DataError(f"a {what} row lacks {', '.join(missing)}; give them as keyword arguments")
    return {name: row[name] for name in columns}


def write_scores(rows: Iterable[Mapping[str, object]], folder: Path) -> tuple[Path, Path]:
    """Write ``scores.csv`` and ``scores.json`` into *folder*, whole.

    NaN is empty in the one and null in the other.
    """
    rows = [
        {name: row[name] for name in SCORE_COLUMNS}
        for row in ({**dict.fromkeys(MADE_BY, ""), **r} for r in rows)
    ]
    table, listed = folder / "scores.csv", folder / "scores.json"
    with replacing(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, SCORE_COLUMNS)
        writer.writeheader()
        writer.writerows({k: "" if _is_nan(v) else v for k, v in row.items()} for row in rows)
    write_json(
        listed, with_statements([{k: None if _is_nan(v) else v for k, v in row.items()} for row in rows])
    )
    return table, listed


def read_scores(path: Path) -> pd.DataFrame:
    """The scores table from ``scores.csv`` or ``scores.json``."""
    import pandas as pd

    if path.suffix == ".json":
        frame = pd.DataFrame(json.loads(path.read_text(encoding="utf-8")), columns=list(SCORE_COLUMNS))
    else:
        frame = pd.read_csv(path, dtype={"run_id": str, "model": str, "subset": str, "fingerprint": str})
    text = [
        "run_id",
        "model",
        "variant",
        "suite",
        "subset",
        "metric",
        "why_not",
        "fingerprint",
        "benchmark",
        *MADE_BY,
    ]
    for name in text:
        frame[name] = frame[name].astype(object).fillna("").astype(str)
    for name in ("value", "worst", "best", "chance"):
        frame[name] = frame[name].astype(float)
    return frame


def write_samples(rows: Iterable[Mapping[str, object]], path: Path) -> Path:
    """Write the samples to *path* (``.parquet`` or ``.jsonl``), whole."""
    # a store of before log-probabilities were read has no such column
    rows = [{"letter_logprobs": "", **row} for row in rows]
    rows = [{name: row[name] for name in SAMPLE_COLUMNS} for row in rows]
    if path.suffix == ".jsonl":
        write_rows(path, ({k: None if _is_nan(v) else v for k, v in row.items()} for row in rows))
        return path
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"index": pa.int64(), "correct": pa.float64(), "latency_s": pa.float64(), "leaked": pa.bool_()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in SAMPLE_COLUMNS])
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)
    return path


def read_samples(path: Path) -> pd.DataFrame:
    """The samples table from *path*."""
    import pandas as pd

    if path.suffix == ".jsonl":
        frame = pd.DataFrame(read_rows(path), columns=list(SAMPLE_COLUMNS))
        frame["correct"] = frame["correct"].astype(float)
    else:
        frame = pd.read_parquet(path)
    if "letter_logprobs" not in frame:
        frame["letter_logprobs"] = ""
    frame["letter_logprobs"] = frame["letter_logprobs"].astype(object).fillna("")
    return frame


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
