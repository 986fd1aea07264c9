"""The data behind the report, for further work: CSV, JSON, Parquet, and tables ready for a paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.report.findings import Findings

if TYPE_CHECKING:
    from collections.abc import Sequence


def write_tables(findings: Findings, reports_dir: Path) -> Sequence[Path]:
    """Write scores.csv, scores.json and samples.parquet into *reports_dir*; returns their paths."""
    reports_dir.mkdir(parents=True, exist_ok=True)
    csv, js, parquet = (reports_dir / name for name in ("scores.csv", "scores.json", "samples.parquet"))
    findings.scores.to_csv(csv, index=False)
    records = json.loads(findings.scores.to_json(orient="records", double_precision=15))
    js.write_text(json.dumps(records, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    findings.samples.to_parquet(parquet, index=False, compression="zstd")
    return [csv, js, parquet]
