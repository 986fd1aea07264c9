import pandas as pd

from bakeoff.report import page, section, write_tables
from tests.synthetic_findings import HOSTILE, synthetic_findings


def test_text_from_models_and_data_is_escaped() -> None:
    html = page(synthetic_findings(30))
    assert HOSTILE not in html
    assert "&lt;script&gt;window.hacked" in html


def test_the_fragment_is_the_same_in_a_page_of_its_own() -> None:
    findings = synthetic_findings(30)
    assert section(findings).strip() in page(findings)


def test_scores_csv_and_json_hold_the_same_table(tmp_path) -> None:
    findings = synthetic_findings(30)
    write_tables(findings, tmp_path)
    csv = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False, na_values=["", "NaN"])
    json = pd.read_json(tmp_path / "scores.json")
    assert list(csv.columns) == list(json.columns) == list(findings.scores.columns)
    pd.testing.assert_series_equal(csv["value"], json["value"])
