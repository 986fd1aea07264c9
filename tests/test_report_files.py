import base64
import json
import math
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bakeoff.report import Findings, write_tables
from bakeoff.report.findings import SAMPLE_COLUMNS
from bakeoff.report.questions import STATUS
from tests.synthetic_findings import HOSTILE, synthetic_findings
from tests.synthetic_store import honest_store, questions
from tests.test_report import saved


def files_of(reports: Path) -> list[dict[str, Any]]:
    """What the files beside a page hand to its script."""
    read = []
    for path in sorted((reports / "samples").glob("*.js")):
        packed = path.read_text(encoding="utf-8").rpartition(',"')[2].removesuffix('")')
        read.append(json.loads(zlib.decompress(base64.b64decode(packed), 31)))
    return read


def test_the_prompt_as_sent_stands_behind_every_sample_of_a_store(tmp_path: Path) -> None:
    store = honest_store(tmp_path, models=1, count=6)
    sent = {q["id"]: q["messages"] for suite in ("exam", "counsellor", "open") for q in questions(suite, 6)}
    store.rename(tmp_path / "moved")  # records name the place where a file was made
    write_tables(Findings.from_store(tmp_path / "moved"), tmp_path / "again")
    for reports in (tmp_path / "reports", tmp_path / "again"):
        files = files_of(reports)
        assert len(files) == 3
        for file in files:
            assert file["rows"]
            for row, shas in zip(file["rows"], file["sent"], strict=True):
                assert [file["prompts"][sha] for sha in shas] == [sent[row[0]]]


@pytest.mark.parametrize("from_store", [True, False])
def test_files_beside_the_page_hold_every_reply_as_it_is(tmp_path: Path, from_store: bool) -> None:
    findings = synthetic_findings(1_030, models=2, suites=("ceval", "psyqa"))
    nasty = ['"', "\\", "\u2028</script>", "\x00\x1f", "😀\ud7ff", "", HOSTILE]
    findings.samples.loc[: len(nasty) - 1, "reply"] = nasty
    findings.samples = findings.samples.drop(index=[5, 2_000, 3_001]).reset_index(drop=True)
    if from_store:
        saved(findings, tmp_path / "store", "run")
        findings = Findings.from_store(tmp_path / "store")
    write_tables(findings, tmp_path / "reports")
    seen = set()
    for file, (suite, kinds) in zip(
        files_of(tmp_path / "reports"), [("ceval", 4)] * 2 + [("psyqa", 4)] * 2, strict=True
    ):
        samples = findings.samples_by_suite[suite]
        order = list(dict.fromkeys(zip(samples["model"], samples["variant"], strict=True)))
        subsets = list(dict.fromkeys(samples["subset"]))
        by_key = {(r["sample_id"], r["model"], r["variant"]): r for r in samples.to_dict("records")}
        for row in file["rows"]:
            assert len(row[7]) == kinds
            for subject, answer in zip(order, row[7], strict=True):
                sample = by_key.get((row[0], *subject))
                if sample is None:
                    assert answer == 0
                    continue
                seen.add((suite, row[0], *subject))
                assert row[1:6] == [
                    sample["index"],
                    subsets.index(sample["subset"]),
                    sample["question"],
                    json.loads(sample["options"] or "[]"),
                    sample["target"],
                ]
                grade = None if math.isnan(sample["correct"]) else round(sample["correct"], 3)
                expected = [sample["reply"], sample["extracted"], STATUS.index(sample["status"]), grade]
                second = sample["extracted_alt"]
                assert answer == expected + [second] * (second != sample["extracted"])
    assert len(seen) == len(findings.samples) == 2 * 4 * 1_030 - 3
    again = pd.read_parquet(tmp_path / "reports" / "samples.parquet")
    assert list(again.columns) == list(SAMPLE_COLUMNS)
    pd.testing.assert_frame_equal(again, findings.samples, check_dtype=False)


def test_a_file_of_samples_with_gaps_is_written_anew(tmp_path: Path) -> None:
    folder = saved(synthetic_findings(15, models=1, suites=("ceval",)), tmp_path / "store", "run")
    old = pd.read_parquet(folder / "samples.parquet").drop(columns="letter_logprobs")
    old.loc[0, "extracted"] = None
    old.to_parquet(folder / "samples.parquet", index=False)
    findings = Findings.from_store(tmp_path / "store")
    assert findings.samples_file is None
    write_tables(findings, tmp_path / "reports")
    again = pd.read_parquet(tmp_path / "reports" / "samples.parquet")
    assert list(again.columns) == list(SAMPLE_COLUMNS)
    assert not again["extracted"].isna().any()
