"""What follows from weights, shipped data and other programs is held against them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bakeoff.chain.chain import Chain
from bakeoff.execution.runner import Runner
from bakeoff.foundation.provenance import ContentHashes, digest
from bakeoff.matrix.datasets import SHIPPED
from bakeoff.suites.rows import questions
from bakeoff.verify import shapes
from bakeoff.verify.accounts import check_accounts
from bakeoff.verify.around import check_around
from bakeoff.verify.audit import Audit
from bakeoff.verify.data import check_data
from bakeoff.verify.echoes import Raw, check_sums
from bakeoff.verify.evidence import Evidence
from bakeoff.verify.weights import check_weights, fingerprint_of
from tests.chains import ROW, SUITE, bench_in, matrix_with, plant_base, plant_tools

RUN = "20260302-101500-abcd"
CONFTEST = """
def pytest_html_report_title(report):
    report.title = "模型对比 · Model comparison"
def pytest_html_results_summary(prefix, summary, postfix):
    prefix.append("<!-- bakeoff run -->the comparison<!-- /bakeoff -->")
"""
TESTS = """
import pytest
def test_that_passes(): assert 1
@pytest.mark.parametrize("way", ["<a>", "b"])
def test_that_is_skipped(way): pytest.skip("needs a GPU with 70 GiB")
@pytest.mark.xfail
def test_that_cannot(): assert 0, "no & no"
def test_that_fails():
    print("said")
    assert 0
"""


class House:
    """A run of one tiny row: its matrix, its records, what it says, and its samples."""

    def __init__(self, folder: Path) -> None:
        self.root, self.run = folder / "store", folder / "store" / "runs" / RUN
        self.run.mkdir(parents=True)
        matrix = {"models": {"tiny": ROW}, "suites": {"exam": SUITE}}
        (self.run / "matrix.yaml").write_text(yaml.safe_dump(matrix), encoding="utf-8")
        self.versions = {"torch": "2", "peft": "3", "other": "4"}
        self.made = {
            "build": {"config.json": "1" * 64, "model.safetensors": "2" * 64},
            "train": {
                "args.json": "3" * 64,
                "checkpoint-9/adapter_model.safetensors": "4" * 64,
                "checkpoint-12/adapter_config.json": "5" * 64,
                "checkpoint-12/adapter_model.safetensors": "6" * 64,
                "checkpoint-12/args.json": "7" * 64,
            },
            "export": {"config.json": "8" * 64, "model.safetensors": "9" * 64, "args.json": "a" * 64},
        }
        base = digest([["config.json", "1" * 64], ["model.safetensors", "2" * 64]])
        adapter = digest([["adapter_config.json", "5" * 64], ["adapter_model.safetensors", "6" * 64]])
        merged = digest([["config.json", "8" * 64], ["model.safetensors", "9" * 64]])
        hashes, data = ContentHashes(folder / "hashes.json"), SHIPPED / "facts_train.jsonl"
        trained = [hashes.of(data)]
        spec = matrix_with().models["tiny"]
        prints = {
            way: fingerprint_of(spec, [sha], self.versions)
            for way, sha in (("base", base), ("tuned", merged))
        }
        self.stages = [
            self.stage("build", ""),
            self.stage("train", "", {"inputs": {"base": base, "dataset": trained}}),
            self.stage("export", "", {"inputs": {"base": base, "adapter": adapter}}),
        ]
        asked = {"suite": {"name": "exam"}, "data": hashes.of(SHIPPED / "facts_exam"), "training": trained}
        for way, sha in prints.items():
            self.stages.append(self.stage("deploy", way, {"fingerprint": sha}))
            self.stages.append(self.stage("evaluate", way, {"fingerprint": sha, **asked}, suite="exam"))
        self.samples = [
            {
                "model": "tiny",
                "variant": way,
                "suite": "exam",
                "subset": name,
                "sample_id": each.id,
                "question": each.text,
                "target": each.target,
                "options": json.dumps(each.options, ensure_ascii=False),
            }
            for way in prints
            for name, part in questions("facts_exam", SHIPPED / "facts_exam").items()
            for each in part
        ]

    def stage(self, name: str, variant: str, identity: Any = None, **facts: str) -> dict[str, Any]:
        output = self.root / "models" / "tiny" / f"{name}-{variant}" / "output"
        output.mkdir(parents=True)
        output.with_name("record.json").write_text(
            json.dumps({"made": self.made.get(name)}), encoding="utf-8"
        )
        return {
            "stage": name,
            "model": "tiny",
            "variant": variant,
            "outcome": "ran",
            "started": "x",
            "identity": identity or {},
            "facts": facts,
            "output": str(output),
        }

    def found(self, check: Callable[[Audit, Evidence], None]) -> Audit:
        evidence = Evidence(RUN, root=self.root, run_folder=self.run)
        evidence.__dict__["run"] = {
            "stages": self.stages,
            "provenance": {"environments": {"default": {"versions": self.versions}}},
        }
        evidence.__dict__["samples"] = self.samples
        evidence.__dict__["superseded"] = set()
        audit = Audit()
        check(audit, evidence)
        return audit


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_base_that_was_converted_is_the_converted_one(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.made["convert"] = house.made["build"]
    published = {"config.json": "b" * 64, "model.safetensors": "c" * 64}
    record = house.root / "models" / "tiny" / "build-" / "record.json"
    record.write_text(json.dumps({"made": published}), encoding="utf-8")
    assert house.found(check_weights).discrepancies, "nothing converted it"
    house.stages.append(house.stage("convert", ""))
    assert not house.found(check_weights).discrepancies


def test_digests_of_weights_lead_from_the_files_to_the_scores(house: House) -> None:
    audit = house.found(check_weights)
    assert (audit.discrepancies, audit.notes) == ([], [])
    assert audit.counts["weights"] == 9
    honest = copy.deepcopy(house.stages)
    for number, *keys in (
        (1, "inputs", "base"),
        (2, "inputs", "adapter"),
        (2, "inputs", "base"),
        (3, "fingerprint"),
        (4, "fingerprint"),
    ):
        house.stages = copy.deepcopy(honest)
        inside = house.stages[number]["identity"]
        for key in keys[:-1]:
            inside = inside[key]
        inside[keys[-1]] = "f" * 64
        assert house.found(check_weights).discrepancies, (number, keys)
    # base and tuned model of the same row change places, in every stage
    house.stages = copy.deepcopy(honest)
    for stage in house.stages[3:]:
        stage["variant"] = {"base": "tuned", "tuned": "base"}[stage["variant"]]
    assert len(house.found(check_weights).discrepancies) == 2
    # a version that computes fingerprints otherwise is told, and no alarm
    house.stages, house.versions = honest, {"torch": "1"}
    audit = house.found(check_weights)
    assert (audit.discrepancies, len(audit.notes)) == ([], 1)


def test_the_fingerprint_is_that_of_the_chain(tmp_path: Path) -> None:
    plant_tools(tmp_path / "store")
    folder = plant_base(tmp_path / "base")
    matrix = matrix_with(model=str(folder))
    with_runner = Runner(tmp_path / "processes")
    try:
        bench = bench_in(tmp_path / "store", with_runner, matrix)
        chain = Chain(matrix.models["tiny"], bench)
        versions = {**chain.tools("serve").versions, "pytest": "9"}
        ours = fingerprint_of(chain.spec, [chain.base().fingerprint], versions)
        assert ours == chain.fingerprint("base")
    finally:
        with_runner.close()


def test_questions_of_a_shipped_suite_are_all_there_and_as_shipped(house: House) -> None:
    audit = house.found(check_data)
    assert (audit.discrepancies, audit.notes) == ([], [])
    honest = copy.deepcopy(house.samples)
    half = len(honest) // 2

    def left_out(rows: list[dict[str, Any]]) -> None:
        del rows[half + 3], rows[3]

    edits: list[Callable[[list[dict[str, Any]]], object]] = [
        left_out,
        lambda rows: rows.pop(0),
        lambda rows: [row.update(question="?") for row in (rows[1], rows[half + 1])],
        lambda rows: [
            row.update(target="D" if row["target"] != "D" else "A") for row in (rows[1], rows[half + 1])
        ],
        lambda rows: rows[2].update(sample_id="another"),
    ]
    for number, edit in enumerate(edits):
        house.samples = copy.deepcopy(honest)
        edit(house.samples)
        assert house.found(check_data).discrepancies, number
    house.samples = honest
    house.stages[1]["identity"]["inputs"]["dataset"] = ["f" * 64]  # of another version, or other data
    audit = house.found(check_data)
    assert (audit.discrepancies, len(audit.notes)) == ([], 1)


def test_a_suite_that_a_row_skipped_excuses_no_other_of_its_scores() -> None:
    asked = [["m", way, suite] for way in ("base", "tuned") for suite in ("exam", "ceval")]

    def found(*skipped: tuple[str, str]) -> list[str]:
        evidence = Evidence(RUN)
        evidence.__dict__.update(run={"asked": asked, "skipped": skipped, "stages": []}, scores=[])
        audit = Audit()
        check_accounts(audit, evidence)
        return [item.place for item in audit.discrepancies]

    assert found(("m", "ceval: needs the folder ceval")) == ["m base exam", "m tuned exam"]
    assert found(("m", "ceval: needs the folder ceval"), ("m", "exam: needs a key")) == []
    assert found(("m", "needs a GPU: 70 GiB")) == []
    assert len(found()) == 4


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page that pytest-html wrote."""
    folder = tmp_path_factory.mktemp("tests")
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "test_some.py").write_text(TESTS, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    line = [sys.executable, "-m", "pytest", "-q", "--html=page.html", "--self-contained-html", "test_some.py"]
    subprocess.run(line, cwd=folder, capture_output=True, check=False)
    return (folder / "page.html").read_text(encoding="utf-8")


def test_the_list_of_tests_is_made_anew(page: str) -> None:
    evidence = Evidence(RUN)
    evidence.__dict__["ended"] = ""

    def found(text: str) -> int:
        before, _, rest = text.partition("<!-- bakeoff ")
        audit = Audit()
        with audit.reading("page"):
            assert check_around(audit, evidence, before, rest.partition("<!-- /bakeoff -->")[2])
        return len(audit.discrepancies)

    assert found(page) == 0
    script = page.index("<script>")
    for old, new in (
        ("1 Passed", "4 Passed"),
        ("1 Failed", "0 Failed"),
        ("4 tests took", "5 tests took") if "4 tests took" in page else ("3 tests took", "5 tests took"),
        ("&#34;Failed&#34;", "&#34;Passed&#34;"),
        ("test_that_fails&#34;, &#34;duration", "test_that_works&#34;, &#34;duration"),
        (
            "needs a GPU",
            "Needs nothing",
        ),
        ("class DataManager", "class DataMonger"),
        ("font-size: 12px", "font-size: 13px"),
        ("</table>", "</table><p>All is well.</p>"),
        (page[script : page.index("\n", script + 200)], "<script>"),
    ):
        assert page.count(old), old
        is_found = found(page.replace(old, new, 1))
        assert is_found or old == "needs a GPU", old  # why a test was skipped is pytest's alone
    evidence.__dict__["ended"] = "2999-01-01T00:00:00+00:00"
    evidence.__dict__["run"] = {"started_at": "2998-12-31T00:00:00+00:00"}
    assert found(page) == 2  # of another day, and shorter than the run
    other = page.replace("pytest-html</a>\n        v", "pytest-html</a>\n        v0.")
    assert not check_around(Audit(), evidence, other.partition("<!-- bakeoff ")[0], "")


def test_summaries_of_speed_fit_each_other(tmp_path: Path) -> None:
    summary = {
        "Test Duration (s)": 1.0285,
        "Concurrency": 8,
        "Request Rate (req/s)": -1.0,
        "Total Requests": 32,
        "Success Requests": 32,
        "Failed Requests": 0,
        "Stream Requests": 32,
        "Non-Stream Requests": 0,
        "Req Throughput (req/s)": 31.1133,
        "Avg Latency (s)": 0.0709,
        "Avg Input Tokens": 9.5,
        "Output Throughput (tok/s)": 124.4531,
        "Total Throughput (tok/s)": 420.0291,
        "Avg TTFT (ms)": 70.53,
        "Avg Output Tokens": 4.0,
        "Avg TPOT (ms)": 0.12,
    }

    def found(*rows: dict[str, Any]) -> int:
        paths = []
        for number, row in enumerate(rows):
            paths.append(tmp_path / str(number) / "benchmark_summary.json")
            paths[-1].parent.mkdir(exist_ok=True)
            paths[-1].write_text(json.dumps(row), encoding="utf-8")
        audit = Audit()
        shapes.check_summaries(audit, "speed", paths)
        return len(audit.discrepancies)

    later, optional = {"Avg Joy": 1.0}, {"Spec. Accept Rate": 0.5}
    assert (
        found(summary) == found(summary, summary | optional) == found(summary | later, summary | later) == 0
    )
    for odd in (
        summary | {"Avg TTFT (ms)_more": 1.0},
        summary | {"Avg TTFT (ms)": "fast"},
        summary | {"Output Throughput (tok/s)": 224.4531},
        summary | {"Req Throughput (req/s)": 31.2},
        summary | {"Failed Requests": 1},
        summary | {"Stream Requests": 31},
    ):
        assert found(odd), odd
        assert found(odd, summary), odd
    assert found({name: value for name, value in summary.items() if name != "Avg TPOT (ms)"}, summary)


def test_answers_asked_with_a_number_are_few_and_explain_a_doubt(tmp_path: Path) -> None:
    rows = [{"options": "[]", "status": "answered", "correct": float(number < 3)} for number in range(8)]
    result: dict[str, Any] = {"samples": rows, "asked_now": 8, "why_not": "x: many turn right"}

    def found(**content: Any) -> int:
        (tmp_path / "changed.json").write_text(json.dumps(content), encoding="utf-8")
        audit = Audit()
        check_sums(audit, audit, "exam", tmp_path, result, Raw({}, {}))
        return len(audit.discrepancies)

    assert found(asked=5, turned=0, why="") == found(asked=5, turned=3, why="many turn right") == 0
    assert found(asked=4, turned=0, why="")
    assert found(asked=5, turned=6, why="")
    assert found(asked=5, turned=1, why="many turn right")
    assert found(asked=5, turned=3, why="few do")
    assert found(asked=5, turned=0)
    result["asked_now"] = 0  # read by other rules since
    assert found(asked=4, turned=0, why="") == 0
