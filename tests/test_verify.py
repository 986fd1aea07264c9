"""A run can be recomputed by a stranger: what was tampered with is found, and an honest store raises no alarm."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bakeoff.foundation.sentences import with_statements
from bakeoff.scoring import scores
from bakeoff.store import stages
from bakeoff.suites import overlap
from bakeoff.verify import (
    answers,
    arithmetic,
    clock,
    cores,
    echoes,
    manifest,
    opinions,
    overlaps,
    page,
    pairs,
    queues,
    seals,
    texts,
)
from bakeoff.verify.__main__ import main
from bakeoff.verify.audit import Audit, Discrepancy
from bakeoff.verify.evidence import Evidence, find
from bakeoff.verify.letters import check_letters
from bakeoff.verify.verifying import verify
from tests.synthetic_store import RUN, honest_store
from tests.tampering import (
    change_of_page,
    change_of_rows,
    change_of_side_file,
    changed,
    changes_of_json,
    kind_of,
    leaves,
    with_change,
)

REAL = Path(os.environ.get("BAKEOFF_STORE", Path(__file__).parents[1] / "store"))


class House:
    """An honest store with its report, without the digests of manifests: its content must tell what was changed."""

    def __init__(self, folder: Path) -> None:
        self.root = honest_store(folder, seed=7, count=12, people=True)
        self.sealed = folder / "sealed"
        shutil.copytree(folder, self.sealed)
        self.run, self.reports = self.root / "runs" / RUN, folder / "reports"
        for place in (self.run, self.reports):
            (place / manifest.NAME).unlink()
            write(place / "run.json", {k: v for k, v in read(place / "run.json").items() if k != "manifest"})
        self.fresh = page.make_anew(self.evidence())

    def evidence(self, report: bool = True) -> Evidence:
        return find(self.root, None, None, self.reports if report else None)

    def discrepancies(self, report: bool = True) -> list[Discrepancy]:
        return verify(self.evidence(report), fresh=self.fresh, stop_early=True).discrepancies

    def stage(self, name: str, file: str = "result.json") -> Path:
        (path,) = (self.root / "models").glob(f"{name}-*/{file}")
        return path


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"))


@pytest.fixture
def house(pristine: House) -> Iterator[House]:
    """The house, put back as it was afterwards."""
    folder = pristine.root.parent
    before = {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and pristine.sealed not in path.parents
    }
    yield pristine
    for path in folder.rglob("*"):
        if path.is_file() and pristine.sealed not in path.parents and path not in before:
            path.unlink()
    for path, content in before.items():
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def test_an_honest_store_and_its_report_hold(pristine: House) -> None:
    audit = verify(pristine.evidence())
    assert audit.discrepancies == []
    assert audit.counts["grading"] > 100
    assert audit.counts["pairs"] > 20
    # counted by the verifier itself, not only against a page made anew
    for rule in ("page", "letters", "paired tests", "samples beside the page", "question"):
        assert audit.counts[rule] > 0, rule


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_several_processes_find_the_same_in_the_same_order(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = house.stage("m0/evaluate-exam-tuned")
    content = read(result)
    content["samples"][3]["reply"] += " 答案是A。"
    write(result, content)
    rows = pd.read_parquet(house.run / "samples.parquet")
    rows.loc[5, "extracted"] = "BC"
    rows.to_parquet(house.run / "samples.parquet")
    alone = verify(house.evidence(), fresh=house.fresh)
    assert {"reply", "extraction"} <= {item.rule for item in alone.discrepancies}
    monkeypatch.setattr(answers, "TOGETHER", 40)
    monkeypatch.setattr(answers, "LARGE", 40)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    began = []
    start = cores.ProcessPoolExecutor
    monkeypatch.setattr(
        cores, "ProcessPoolExecutor", lambda *args, **more: began.append(args) or start(*args, **more)
    )
    several = verify(house.evidence(), fresh=house.fresh)
    assert several.counts == alone.counts
    assert sorted(map(str, several.discrepancies)) == sorted(map(str, alone.discrepancies))
    assert [item.rule for item in several.discrepancies] == [item.rule for item in alone.discrepancies]
    assert several.notes == alone.notes
    assert began == [(3,)]


@pytest.mark.parametrize("seed", range(0, 20, 5))
def test_twenty_honest_stores_raise_no_alarm(seed: int, tmp_path: Path) -> None:
    for number in range(seed, seed + 5):
        folder = tmp_path / str(number)
        root = honest_store(folder, number, models=1 + number % 2, count=6 + number, report=number == 5)
        audit = verify(find(root, None, None, folder / "reports" if number == 5 else None))
        assert audit.discrepancies == [], number


@pytest.mark.skipif(not any(REAL.glob("runs/*/run.json")), reason="no store of a real run here")
def test_the_real_store_of_this_machine_raises_no_alarm() -> None:
    assert verify(find(REAL, None, None, None)).discrepancies == []


NUMBERS = [
    "runs/*/scores.json",
    "models/m1/evaluate-counsellor-tuned-*/result.json",
    "models/m0/evaluation/base/open/*/result.json",
    "models/m0/evaluation/tuned/exam/*/samples.jsonl",
    "models/m0/evaluation/tuned/exam/*/predictions/served/*.jsonl",
    "models/m1/evaluation/base/open/*/reviews/served/*.jsonl",
    "models/m0/speed-*/perf/8/benchmark_summary.json",
    "models/m0/train-*/record.json",
    "runs/*/events.jsonl",
]
WORDS = re.compile(
    r" (time|why|log|output|outcome|commit|folder|role|main_score_name|perf_metrics latency|model_output (model|time)"
    r"|(Avg|Req|Output) .*|run_id|stop_reason)$|(scores|evaluate) .* (finished_at|record|versions)$"
    r"|(answered|scores \S+) (model|variant|fingerprint)$"
)
"""What stands in several places, or in none of the numbers: a forger's change of it is left to the manifest."""


@pytest.mark.parametrize("pattern", NUMBERS)
def test_a_change_of_any_number_is_found_by_its_content(house: House, pattern: str) -> None:
    (path,) = list(house.root.glob(pattern))[:1]
    rng = np.random.default_rng(3)
    kinds = [change for change in changes_of_json(path, rng) if not WORDS.search(change[0])]
    missed = []
    for place in rng.permutation(len(kinds))[:14]:
        what, content = kinds[int(place)]
        with changed(path, content):
            if not house.discrepancies(report=False):
                missed.append(what)
    assert kinds
    assert missed == []


def test_a_change_of_any_file_is_found_by_its_manifest(pristine: House) -> None:
    evidence = find(pristine.sealed / "store", None, None, pristine.sealed / "reports")
    assert evidence.run_folder
    store, reports = pristine.sealed / "store", pristine.sealed / "reports"
    listed = {store / name for name in read(evidence.run_folder / manifest.NAME)["files"]}
    listed |= {reports / name for name in read(reports / manifest.NAME)["files"]}
    assert len(listed) > 100
    for path in sorted(listed):
        content = path.read_bytes()
        place = len(content) // 2
        with changed(path, content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]):
            audit = Audit()
            seals.check_manifests(audit, evidence, None)
        assert audit.discrepancies, path


def reseal(result: Path) -> None:
    """Let the record of a stage know the new digest of its result, as a careful forger would."""
    record = read(result.with_name("record.json"))
    record["made"] = {result.name: hashlib.sha256(result.read_bytes()).hexdigest()}
    write(result.with_name("record.json"), record)


def edit_rows(path: Path, change: Callable[[list[Any]], object]) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    change(rows)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def edit_everywhere(house: House, change: Callable[[Any], object]) -> None:
    """Change the stages of a run wherever they are told: run.json, its copy, the timeline and the records."""
    for folder in (house.run, house.reports):
        content = read(folder / "run.json")
        for stage in content["stages"]:
            change(stage)
        write(folder / "run.json", content)
    edit_rows(house.run / "events.jsonl", lambda rows: [change(row) for row in rows])
    for path in house.root.glob("models/*/*/record.json"):
        record = read(path)
        change(record)
        write(path, record)


def edit_parquet(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def better_score(house: House) -> None:
    rows = read(house.run / "scores.json")
    rows[0]["value"] = 0.99
    for folder in (house.run, house.reports):
        write(folder / "scores.json", rows)
        text = (folder / "scores.csv").read_text(encoding="utf-8")
        lines = list(csv.reader(io.StringIO(text)))
        lines[1][lines[0].index("value")] = "0.99"
        with (folder / "scores.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(lines)


def better_score_down_to_the_result(house: House) -> None:
    better_score(house)
    result = house.stage("m0/evaluate-exam-base")
    content = read(result)
    content["scores"][0]["value"] = 0.99
    write(result, content)
    reseal(result)


def _edited_statement(house: House, edit: Callable[[Any], object]) -> None:
    result = house.stage("m0/evaluate-counsellor-base")
    content = read(result)
    edit(
        next(
            row["statements"]["why_not"]
            for row in content["scores"]
            if "why_not" in row.get("statements", {})
        )
    )
    write(result, content)
    reseal(result)


def statement_with_other_values(house: House) -> None:
    _edited_statement(house, lambda said: said["values"].update(share=0.01))


def statement_of_another_template(house: House) -> None:
    _edited_statement(house, lambda said: said.update(id="scoring.trust.never"))


def other_count_of_ratings(house: House) -> None:
    content = read(house.run / "run.json")
    content["ratings"]["counts"]["judgements"] += 40
    write(house.run / "run.json", content)


def headline_statement_with_other_values(house: House) -> None:
    result = house.stage("m0/evaluate-counsellor-base")
    content = read(result)
    content["statements"]["why_not"]["values"].update(share=0.01)
    write(result, content)
    reseal(result)


def dropped_failure(house: House) -> None:
    for folder in (house.run, house.reports):
        content = read(folder / "run.json")
        content["stages"] = [stage for stage in content["stages"] if stage["outcome"] != "failed"]
        write(folder / "run.json", content)
    edit_rows(house.run / "events.jsonl", lambda rows: rows.pop())


def dropped_skip(house: House) -> None:
    for folder in (house.run, house.reports):
        content = read(folder / "run.json")
        write(folder / "run.json", {**content, "skipped": []})


def skip_without_reason(house: House) -> None:
    for folder in (house.run, house.reports):
        content = read(folder / "run.json")
        write(folder / "run.json", {**content, "skipped": [["large", " "]]})


def swapped_models(house: House) -> None:
    other = {"m0": "m1", "m1": "m0"}
    for folder in (house.run, house.reports):
        rows = [{**row, "model": other[row["model"]]} for row in read(folder / "scores.json")]
        write(folder / "scores.json", rows)
        edit_parquet(folder / "samples.parquet", lambda table: table.assign(model=table["model"].map(other)))


def swapped_variants_of_a_result(house: House) -> None:
    base, tuned = house.stage("m0/evaluate-exam-base"), house.stage("m0/evaluate-exam-tuned")
    first, second = base.read_bytes(), tuned.read_bytes()
    base.write_bytes(second)
    tuned.write_bytes(first)
    reseal(base)
    reseal(tuned)


def other_threshold(house: House) -> None:
    def change(stage: dict[str, Any]) -> None:
        if suite := stage.get("identity", {}).get("suite"):
            suite["trust"]["max_truncated"] = 0.9

    edit_everywhere(house, change)


def other_chance(house: House) -> None:
    def change(stage: dict[str, Any]) -> None:
        if stage.get("facts", {}).get("suite") == "exam":
            stage["identity"]["suite"]["chance"] = 0.1

    edit_everywhere(house, change)


def other_suite(house: House) -> None:
    def change(stage: dict[str, Any]) -> None:
        if stage.get("facts", {}).get("suite") == "exam":
            stage["identity"]["suite"]["benchmark"] = "emobench"

    edit_everywhere(house, change)


def other_weights(house: House) -> None:
    def change(stage: dict[str, Any]) -> None:
        if stage.get("model") == "m0" and "fingerprint" in stage.get("identity", {}):
            stage["identity"]["fingerprint"] = "0" * 64

    edit_everywhere(house, change)


def other_matrix_beside(house: House) -> None:
    for folder in (house.run, house.reports):
        text = (folder / manifest.MATRIX).read_text(encoding="utf-8")
        (folder / manifest.MATRIX).write_text(text.replace("chance: 0.25", "chance: 0.5"), encoding="utf-8")


def row_gone_from_the_matrix(house: House) -> None:
    for folder in (house.run, house.reports):
        text = (folder / manifest.MATRIX).read_text(encoding="utf-8")
        (folder / manifest.MATRIX).write_text(re.sub(r"(?m)^  m1:", "  m9:", text), encoding="utf-8")


def shortened_reply(house: House) -> None:
    for folder in (house.run, house.reports):
        edit_parquet(folder / "samples.parquet", lambda table: table.assign(reply=table["reply"].str[:2]))


def shortened_prediction(house: House) -> None:
    (path,) = house.root.glob("models/m0/evaluation/base/exam/*/predictions/*/*.jsonl")

    def change(rows: list[Any]) -> None:
        message = rows[2]["model_output"]["choices"][0]["message"]
        message["content"] = message["content"][:-1]

    edit_rows(path, change)


def edited_reply_in_every_copy(house: House) -> None:
    """A wrong answer becomes the right one in replies, reviews and samples; its grade stays."""
    (folder,) = house.root.glob("models/m1/evaluation/tuned/exam/*")
    result = house.stage("m1/evaluate-exam-tuned")
    content = read(result)
    sample = next(row for row in content["samples"] if row["correct"] == 0 and row["status"] == "answered")
    old, new, number = sample["reply"], f"答案：{sample['target']}", sample["index"]
    samples = [{**row, "reply": new} if row["index"] == number else row for row in content["samples"]]
    write(result, {**content, "samples": samples})
    for path in (folder / "samples.jsonl", *folder.glob("*/served/*.jsonl")):
        lines = path.read_text(encoding="utf-8").splitlines()
        lines = [
            line.replace(json.dumps(old, ensure_ascii=False), json.dumps(new, ensure_ascii=False))
            if json.loads(line)["index"] == number
            else line
            for line in lines
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    reseal(result)
    for place in (house.run, house.reports):
        edit_parquet(
            place / "samples.parquet",
            lambda table: table.assign(
                reply=table["reply"].mask(
                    (table["sample_id"] == sample["sample_id"])
                    & (table["model"] == "m1")
                    & (table["variant"] == "tuned"),
                    new,
                )
            ),
        )


def changed_grade(house: House) -> None:
    for folder in (house.run, house.reports):
        edit_parquet(
            folder / "samples.parquet", lambda table: table.assign(correct=table["correct"].clip(lower=1.0))
        )


def changed_review(house: House) -> None:
    (path,) = house.root.glob("models/m0/evaluation/base/exam/*/reviews/*/*.jsonl")

    def change(rows: list[Any]) -> None:
        rows[0]["sample_score"]["score"]["value"]["accuracy"] = (
            1 - rows[0]["sample_score"]["score"]["value"]["accuracy"]
        )

    edit_rows(path, change)


def error_in_place_of_a_reply(house: House) -> None:
    for folder in (house.run, house.reports):
        edit_parquet(
            folder / "samples.parquet", lambda table: table.assign(status=["errored", *table["status"][1:]])
        )


def removed_sample(house: House) -> None:
    for folder in (house.run, house.reports):
        edit_parquet(folder / "samples.parquet", lambda table: table.iloc[1:])


def removed_reply(house: House) -> None:
    (path,) = house.root.glob("models/m0/evaluation/base/exam/*/predictions/*/*.jsonl")
    edit_rows(path, lambda rows: rows.pop(3))


def removed_question_in_every_copy(house: House) -> None:
    result = house.stage("m0/evaluate-exam-base")
    content = read(result)
    content["samples"].pop(4)
    write(result, content)
    reseal(result)
    removed_sample(house)


def added_score(house: House) -> None:
    for folder in (house.run, house.reports):
        rows = read(folder / "scores.json")
        write(folder / "scores.json", [*rows, {**rows[0], "suite": "emobench"}])


def removed_score(house: House) -> None:
    for folder in (house.run, house.reports):
        write(folder / "scores.json", read(folder / "scores.json")[1:])


def speed_of_another_run(house: House) -> None:
    result = house.stage("m0/speed-1-tuned")
    content = read(result)
    for row in content["scores"]:
        row["value"] = row["value"] * 1.4
    write(result, content)
    reseal(result)
    for folder in (house.run, house.reports):
        rows = read(folder / "scores.json")
        faster = {(row["subset"], row["metric"]): row["value"] for row in content["scores"]}
        write(
            folder / "scores.json",
            [{**row, "value": faster.get((row["subset"], row["metric"]), row["value"])} for row in rows],
        )


def failed_requests_hidden(house: House) -> None:
    path = next(house.root.glob("models/m0/speed-*/perf/8/benchmark_summary.json"))
    write(path, {**read(path), "Success Requests": 100})


def exchanged_adapters(house: House) -> None:
    first, second = (
        next(house.root.glob(f"models/{name}/train-*/output/adapter_model.safetensors"))
        for name in ("m0", "m1")
    )
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


def exchanged_outputs(house: House) -> None:
    house.stage("m0/evaluate-exam-tuned").write_bytes(house.stage("m1/evaluate-exam-tuned").read_bytes())


def added_weights(house: House) -> None:
    (folder,) = house.root.glob("models/m0/train-*/output")
    (folder / "model.safetensors").write_bytes(b"another model")


def removed_record(house: House) -> None:
    house.stage("m0/evaluate-open-base", "record.json").unlink()


def removed_result(house: House) -> None:
    house.stage("m0/evaluate-open-base").unlink()


def removed_replies(house: House) -> None:
    (folder,) = house.root.glob("models/m1/evaluation/base/open/*")
    shutil.rmtree(folder)


def removed_timeline(house: House) -> None:
    (house.run / "events.jsonl").unlink()


def older_record_claimed(house: House) -> None:
    path = house.stage("m0/evaluate-exam-tuned", "record.json")
    write(path, {**read(path), "started": "2027-01-01T00:00:00+00:00"})


def untrusted_score_trusted(house: House) -> None:
    for folder in (house.run, house.reports):
        rows = read(folder / "scores.json")
        write(
            folder / "scores.json",
            [{**row, "n_truncated": 0, "trusted": True, "why_not": ""} for row in rows],
        )


def other_margin(house: House) -> None:
    for folder in (house.run, house.reports):
        content = read(folder / "run.json")
        write(folder / "run.json", {**content, "margin": {**content["margin"], "exam": 0.2}})


def hidden_leak(house: House) -> None:
    for folder in (house.run, house.reports):
        write(folder / "run.json", {**read(folder / "run.json"), "leakage": []})
        edit_parquet(folder / "samples.parquet", lambda table: table.assign(leaked=False))


def edit_run(house: House, change: Callable[[Any], object]) -> None:
    """Change run.json and its copy alike."""
    for folder in (house.run, house.reports):
        content = read(folder / "run.json")
        change(content)
        write(folder / "run.json", content)


def raised_rating(house: House) -> None:
    """A model's rating and the mean above it rise together."""

    def change(run: Any) -> None:
        item = next(item for item in run["ratings"]["items"] if not item["crisis"])
        rating = next(rating for rating in item["ratings"] if not rating["by_model"])
        old = rating["scores"]["empathy"]
        rating["scores"]["empathy"] = new = 5 if old < 5 else 1
        rows = run["ratings"]["parts"]["counselling"]["scores"]["empathy"]["subjects"]
        row = next(row for row in rows if row["subject"] == item["subject"])
        row["distribution"][old - 1] -= 1
        row["distribution"][new - 1] += 1

    edit_run(house, change)


def other_letters_of_raters(house: House) -> None:
    def change(run: Any) -> None:
        run["ratings"]["parts"]["counselling"]["scores"]["empathy"]["subjects"][0]["letters"] = "Z"

    edit_run(house, change)


def rater_gone(house: House) -> None:
    def change(run: Any) -> None:
        for item in run["ratings"]["items"]:
            item["ratings"] = [rating for rating in item["ratings"] if rating["rater"] != "R2"]

    edit_run(house, change)


def rating_in_the_database(house: House) -> None:
    with contextlib.closing(sqlite3.connect(house.root / "judge" / "ratings.sqlite")) as db:
        db.execute("DROP TRIGGER judgement_no_update")
        db.execute("UPDATE judgement SET empathy = 1 + empathy % 5 WHERE id = 3")
        db.commit()


def judged_under_these_weights(house: House) -> None:
    edit_run(
        house, lambda run: run["ratings"].update(stale=[{"subject": "m0/tuned", "judged": "", "now": ""}])
    )


def caution_invented(house: House) -> None:
    edit_run(house, lambda run: run["events"].append({"event": "branch moved", "repository": "org/model"}))


def published_score_invented(house: House) -> None:
    row = {"model": "m0", "variant": "base", "suite": "exam", "ours": 0.5, "published": 0.4, "warning": ""}
    edit_run(house, lambda run: run["anchors"].append(row))


def nodes_invented(house: House) -> None:
    edit_run(house, lambda run: run["legs"].append({"leg": "m0/train", "hosts": ["node7"], "stages": []}))


def begun_at_another_hour(house: House) -> None:
    edit_run(house, lambda run: run.update(started_at="2026-03-02T11:15:00+00:00"))


def page_without_manifest(house: House) -> None:
    path = house.reports / "index.html"
    assert not (house.reports / manifest.NAME).exists()
    text = path.read_text(encoding="utf-8")
    begin = text.index('<span lang="en">', text.index('class="board"')) + len('<span lang="en">')
    path.write_text(f"{text[:begin]}Better. {text[begin:]}", encoding="utf-8")


def half_a_file(house: House) -> None:
    path = house.run / "scores.json"
    path.write_bytes(path.read_bytes()[:-40])


def letter_in_the_paper_table(house: House) -> None:
    path = house.reports / "tables.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"(\\\]) A\b", r"\1 B", text, count=1), encoding="utf-8")


def table_of_another_run(house: House) -> None:
    path = house.reports / "differences.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")


TAMPERINGS = [
    better_score, better_score_down_to_the_result, statement_with_other_values, statement_of_another_template,
    headline_statement_with_other_values, other_count_of_ratings,
    dropped_failure, dropped_skip, skip_without_reason, swapped_models,
    swapped_variants_of_a_result, other_threshold, other_chance, other_suite, other_weights, other_matrix_beside,
    row_gone_from_the_matrix, shortened_reply, shortened_prediction, edited_reply_in_every_copy, changed_grade,
    changed_review, error_in_place_of_a_reply, removed_sample, removed_reply, removed_question_in_every_copy,
    added_score, removed_score, speed_of_another_run, failed_requests_hidden, exchanged_adapters, exchanged_outputs,
    added_weights, removed_record, removed_result, removed_replies, removed_timeline, older_record_claimed,
    raised_rating, other_letters_of_raters, rater_gone, rating_in_the_database, judged_under_these_weights,
    caution_invented, published_score_invented, nodes_invented, begun_at_another_hour, page_without_manifest,
    untrusted_score_trusted, other_margin, hidden_leak, half_a_file, letter_in_the_paper_table, table_of_another_run,
]  # fmt: skip


@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda tamper: tamper.__name__)
def test_tampering_is_found_without_a_manifest(house: House, tamper: Callable[[House], None]) -> None:
    tamper(house)
    assert house.discrepancies()


def test_any_edited_figure_of_the_page_is_found(house: House) -> None:
    path = house.reports / "index.html"
    text = path.read_text(encoding="utf-8")
    begin, end = text.index("</style>"), text.index("</section>", text.index('id="bk-provenance"'))
    # the links to logs depend on where the report lies; the manifest protects them
    logs = [match.span() for match in page._LOG.finditer(text)]
    digits = [
        match.start()
        for match in re.finditer(r"\d", text[:end])
        if match.start() > begin and not any(start <= match.start() < stop for start, stop in logs)
    ]
    places = np.random.default_rng(1).choice(digits, 40, replace=False)
    for place in [int(place) for place in places]:
        other = str((int(text[place]) + 1) % 10)
        with changed(path, (text[:place] + other + text[place + 1 :]).encode()):
            audit = Audit()
            page.check_page(audit, house.evidence(), house.fresh)
        assert audit.discrepancies, text[place - 60 : place + 20]
    with changed(path, text.replace("data-suite=", "data-suit=", 1).encode()):
        audit = Audit()
        page.check_page(audit, house.evidence(), house.fresh)
    assert audit.discrepancies
    for name in ("tables.md", "tables.tex"):
        table = (house.reports / name).read_text(encoding="utf-8")
        place = int(np.random.default_rng(2).choice([match.start() for match in re.finditer(r"\d", table)]))
        with changed(
            house.reports / name,
            f"{table[:place]}{(int(table[place]) + 1) % 10}{table[place + 1 :]}".encode(),
        ):
            audit = Audit()
            page.check_page(audit, house.evidence(), house.fresh)
        assert audit.discrepancies, name


def test_exchanged_rows_and_edited_pages_are_found(house: House) -> None:
    rng, missed, count = np.random.default_rng(11), [], 0
    raw = [
        *house.root.glob("runs/*/events.jsonl"),
        *house.root.glob("models/m0/evaluat*/*/*/*/*/*/*.jsonl"),
        *house.root.glob("models/m1/evaluate-*/result.json"),
    ]
    kinds = {
        change_of_rows: raw,
        change_of_page: [house.reports / "index.html"],
        change_of_side_file: sorted((house.reports / "samples").glob("*.js")),
    }
    for change, paths in kinds.items():
        for _ in range(8):
            path = paths[int(rng.integers(len(paths)))]
            what, content = change(path, rng)
            if path.name == "index.html" and page._LOG.search(what):
                continue  # where logs lie depends on the reader
            record = path.with_name("record.json") if path.name == "result.json" else path
            before = record.read_bytes()
            with changed(path, content):
                if record != path:
                    reseal(path)
                if not house.discrepancies():
                    missed.append((path.name, what))
            record.write_bytes(before)
            count += 1
    assert count > 16
    assert missed == []


def test_files_beside_the_page_are_all_there_and_no_others(house: House) -> None:
    first, *_ = sorted((house.reports / "samples").glob("*.js"))
    content = first.read_bytes()
    for other in (
        b"alert(1)",
        content + b";alert(1)",
        content.replace(b"bakeoffSamples(", b"bakeoffSample("),
    ):
        with changed(first, other):
            assert house.discrepancies()
    first.unlink()
    assert house.discrepancies()
    first.write_bytes(content)
    (first.parent / "more.js").write_bytes(content)
    assert house.discrepancies()


@pytest.mark.parametrize("name", ["scores.csv", "differences.csv"])
def test_any_changed_cell_of_a_csv_file_is_found(house: House, name: str) -> None:
    path = house.reports / name
    text = path.read_text(encoding="utf-8")
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    rng = np.random.default_rng(4)
    for column, title in enumerate(lines[0]):
        row = int(rng.integers(1, len(lines)))
        cell = lines[row][column]
        other = f"{float(cell) + 0.01}" if re.fullmatch(r"[\d.eE+-]+", cell) else f"{cell}x"
        lines[row][column] = other
        buffer = io.StringIO()
        csv.writer(buffer).writerows(lines)
        lines[row][column] = cell
        path.write_text(buffer.getvalue(), encoding="utf-8")
        audit = verify(house.evidence(), fresh=house.fresh) if title == "value" else Audit()
        if title != "value":
            page.check_page(audit, house.evidence(), house.fresh) if name != "scores.csv" else _check_csv(
                audit, house
            )
        assert audit.discrepancies, title
        path.write_text(text, encoding="utf-8")


def _check_csv(audit: Audit, house: House) -> None:
    from bakeoff.verify.records import check_tables_of_folders

    check_tables_of_folders(audit, house.evidence())


def keys(folder: Path, name: str) -> tuple[Path, Path]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    pem = serialization.Encoding.PEM
    private.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_a_manifest_is_signed_by_a_key_and_by_no_other(
    pristine: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mine, public), (_, foreign) = keys(tmp_path, "mine"), keys(tmp_path, "foreign")
    monkeypatch.setenv(manifest.KEY_VARIABLE, str(mine))
    root = tmp_path / "store"
    shutil.copytree(pristine.sealed / "store", root)
    written = manifest.write_run_manifest(root, RUN, tmp_path / "none.yaml")

    def found(key: Path) -> list[str]:
        audit = Audit()
        seals.check_manifests(audit, find(root, None, None, None), key)
        return [item.rule for item in audit.discrepancies]

    assert found(public) == []
    assert found(foreign) == ["signature"]
    written.write_text(
        written.read_text(encoding="utf-8").replace('"format": 1', '"format":  1'), encoding="utf-8"
    )
    assert found(public) == ["signature"]
    written.with_name(manifest.SIGNATURE).unlink()
    assert found(public) == ["signature"]
    monkeypatch.setenv(manifest.KEY_VARIABLE, str(public))  # the wrong file does not end the run
    manifest.write_run_manifest(root, RUN, tmp_path / "none.yaml")
    assert "no private key" in read(written)["not_signed"]
    assert found(public) == ["signature"]


def test_a_missing_manifest_is_found_where_the_run_promises_one(pristine: House, tmp_path: Path) -> None:
    shutil.copytree(pristine.sealed / "store", tmp_path / "store")
    (tmp_path / "store" / "runs" / RUN / manifest.NAME).unlink()
    audit = verify(find(tmp_path / "store", None, None, None), stop_early=True)
    assert [item.rule for item in audit.discrepancies] == ["manifest"]


def test_a_report_alone_is_verified_as_far_as_it_goes(
    pristine: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pristine.sealed / "reports", tmp_path / "mailed")
    assert main(["mailed", "--json", "outcome.json"]) == 0
    said = capsys.readouterr().out
    assert "every one holds" in said
    assert "no store at hand: weights, data and records are not compared" in said
    assert read(tmp_path / "outcome.json")["checked"]["grading"] > 100
    edit_parquet(tmp_path / "mailed" / "samples.parquet", lambda table: table.assign(reply="答案：A"))
    assert main(["mailed/index.html"]) == 1
    assert re.search(
        r"DISCREPANCY .*: extraction: '.*' stands there, '.*' is expected", capsys.readouterr().out
    )
    assert main(["nowhere"]) == 2
    assert "neither a store" in capsys.readouterr().err


def test_a_table_of_another_version_is_no_alarm_where_it_alone_computes_it(house: House) -> None:
    """What the verifier recounts on its own is held against any version's table; the rest is told."""
    path = house.reports / "differences.csv"
    before = path.read_text(encoding="utf-8")
    for column, is_alarm in (("least_detectable", False), ("p_adjusted", True), ("n", True)):
        rows = list(csv.DictReader(io.StringIO(before)))
        for row in rows[:1]:
            row[column] = str(float(row[column] or 0) + 1)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        audits = []
        for code in ("0" * 64, manifest.page_code()):
            write(house.reports / manifest.NAME, {"page_code": code, "run_id": RUN, "files": {}})
            audit = Audit()
            page.check_page(audit, house.evidence(), house.fresh)
            pairs.check_pairs(audit, house.evidence())
            audits.append(audit)
        older, own = audits
        assert own.discrepancies, column
        assert bool(older.discrepancies) is is_alarm, column
        assert is_alarm or any(column in str(note) for note in older.notes)


def letters_of(samples: int) -> tuple[dict[str, Any], list[dict[str, Any]], dict[tuple[str, int], Any]]:
    """Return result, samples and rows of a suite whose letters were read in two orders."""
    rng = np.random.default_rng(5)
    table, rows = [], {}
    for index in range(samples):
        own = rng.dirichlet(np.ones(4))
        turned = rng.dirichlet(np.ones(4))
        shares = (own + np.roll(turned, 1)) / 2
        letter = "ABCD"[int(shares.argmax())]
        readings = [
            {"logprobs": dict(zip("ABCD", np.log(part).tolist(), strict=True)), "mass": 0.9, "begins": "A"}
            for part in (own, turned)
        ]
        message = {"role": "assistant", "content": letter}
        output = {"choices": [{"message": message, "stop_reason": "stop"}], "time": 0.1 * index}
        rows["facts", index] = {"index": index, "model_output": output, "letters": readings}
        logprobs = dict(zip("ABCD", np.log(shares).round(6).tolist(), strict=True))
        table.append({
            "subset": "facts", "sample_id": str(index), "options": json.dumps(list("wxyz")), "target": "A",
            "reply": letter, "latency_s": 0.1 * index, "extracted": letter, "extracted_alt": letter,
            "status": "answered", "correct": float(letter == "A"), "letter_logprobs": json.dumps(logprobs),
        })  # fmt: skip
    return {"letters": {"read": samples, "mass": 0.9, "permuted": samples}}, table, rows


def test_letters_by_log_probability_are_chosen_anew() -> None:
    def rules(result: dict[str, Any], table: list[dict[str, Any]], rows: dict[Any, Any]) -> set[str]:
        audit = Audit()
        check_letters(audit, "suite", result, table, rows)
        return {item.rule for item in audit.discrepancies}

    assert rules(*letters_of(6)) == set()
    for name, value in (("extracted", "Z"), ("correct", 0.5), ("reply", "Z"), ("letter_logprobs", "{}")):
        result, table, rows = letters_of(6)
        table[3][name] = value
        assert rules(result, table, rows), name
    result, table, rows = letters_of(6)
    rows["facts", 2]["letters"][1]["logprobs"]["A"] += 0.5
    assert "letters by log-probability" in rules(result, table, rows)
    del rows["facts", 2]
    assert "every reply has a sample" in rules(result, table, rows)
    result, table, rows = letters_of(6)
    assert rules({"letters": {**result["letters"], "mass": 0.8}}, table, rows)


def test_resampled_tests_and_letters_agree_with_independent_libraries() -> None:
    from scipy.stats import permutation_test, t
    from statsmodels.regression.linear_model import OLS

    rng = np.random.default_rng(1)
    for score, freedom in ((0.0, 3.0), (0.4, 1.0), (2.1, 7.3), (9.0, 40.5)):
        assert arithmetic.t_tail(score, freedom) == pytest.approx(2 * t.sf(score, freedom), abs=1e-12)
    few = rng.normal(0.4, 1, 11).round(1)
    exact = permutation_test((few,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert arithmetic.sign_flips(few.tolist()) == pytest.approx(exact.pvalue, abs=1e-12)
    many = rng.normal(0.1, 1, 200).round(1)
    drawn = permutation_test((many,), np.mean, permutation_type="samples", n_resamples=20_000, rng=rng)
    assert arithmetic.sign_flips(many.tolist()) == pytest.approx(drawn.pvalue, abs=0.015)
    clusters = np.repeat(np.arange(20), 10)
    fit = OLS(many, np.ones(200)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "df_correction": True}, use_t=True
    )
    assert arithmetic.clustered_t(many.tolist(), clusters.astype(str).tolist()) == pytest.approx(
        2 * t.sf(abs(float(fit.tvalues[0])), 19), rel=1e-9
    )
    names = list("abcdefg")
    for _ in range(20):
        different = [(a, b) for a in names for b in names if a < b and rng.random() < 0.4]
        together = [
            frozenset(group)
            for size in range(1, len(names) + 1)
            for group in combinations(names, size)
            if not any(a in group and b in group for a, b in different)
        ]
        cliques = {group for group in together if not any(group < other for other in together)}
        assert arithmetic.groups_of(names, different) == cliques


def test_the_short_formulas_agree_with_an_independent_library() -> None:
    from scipy.stats import binomtest
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.proportion import proportion_confint

    rng = np.random.default_rng(0)
    for right, count in ((0, 5), (3, 8), (50, 50), (977, 1346)):
        assert arithmetic.wilson(right, count) == pytest.approx(
            proportion_confint(right, count, method="wilson"), abs=1e-12
        )
    for only_a, only_b in ((0, 0), (1, 9), (7, 7), (300, 340), (900, 1100)):
        expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
        assert arithmetic.mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-9)
    p_values = rng.uniform(0, 0.1, 20).tolist()
    assert arithmetic.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())
    assert np.isnan(arithmetic.mean([]))


ELSEWHERE = re.compile(
    r"(^| )(content|text|role|stop_reason|target|score|value|status)( |$)"
    r"|(extracted_prediction|score prediction|main_score_name)$|^index$|^model_output id$|metadata id$|ttft$"
)
"""Held against samples, prompts and grades by other checks; ids of requests and questions, on which nothing stands."""


def test_every_field_of_a_reply_that_is_written_twice_is_compared(pristine: House) -> None:
    (folder,) = pristine.root.glob("models/m0/evaluation/base/exam/*")
    result = read(pristine.stage("m0/evaluate-exam-base"))
    audit = Audit()
    raw = echoes.raw_rows(audit, "exam", folder, "facts_exam")
    echoes.check_rows(audit, "exam", raw, result)
    assert audit.discrepancies == []
    assert len(raw.predictions) == len(raw.reviews) > 5
    key = sorted(raw.predictions)[2]
    missed, counted = [], {**result, "answered_by": {"models": {"output": len(raw.predictions)}}}
    for rows in raw:
        row = rows[key]
        kinds = {kind_of(place, row): place for place, _ in leaves(row)}
        for kind, place in kinds.items():
            rows[key] = with_change(row, place)
            audit = Audit()
            echoes.check_rows(audit, "exam", raw, counted)
            if not audit.discrepancies and not ELSEWHERE.search(" ".join(kind)):
                missed.append(" ".join(kind))
        rows[key] = row
    assert missed == []


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _text(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _without(rows: list[Any], number: int, *keys: str) -> list[Any]:
    """Return *rows* without a key of one of them."""
    inside = rows[number]
    for key in keys[:-1]:
        inside = inside[key]
    del inside[keys[-1]]
    return rows


def test_fields_and_rows_that_are_gone_or_exchanged_are_found(house: House) -> None:
    evaluation = next((house.root / "models/m0/evaluation/base/exam").iterdir())
    served = next(evaluation.glob("predictions/*/*.jsonl"))
    reviews = next(evaluation.glob("reviews/*/*.jsonl"))
    samples, prompts = evaluation / "samples.jsonl", evaluation / "prompts.jsonl"
    timeline = house.run / "events.jsonl"
    stages = [number for number, row in enumerate(_lines(timeline)) if row["event"] == "stage"]
    speed = house.stage("m0/speed-1-tuned")
    measured = read(speed)
    del measured["scores"][2]["commit"]
    record = read(speed.with_name("record.json"))
    del record["made"]["result.json"]
    edits = {
        "time of a reply": (served, _text(_without(_lines(served), 1, "model_output", "time"))),
        "grade of a review": (
            reviews,
            _text(_without(_lines(reviews), 2, "sample_score", "score", "status")),
        ),
        "leaked of a sample": (samples, _text(_without(_lines(samples), 3, "leaked"))),
        "order of samples": (samples, _text(_lines(samples)[::-1])),
        "order of prompts": (prompts, _text(_lines(prompts)[::-1])),
        "command of a stage": (timeline, _text(_without(_lines(timeline), stages[0], "command"))),
        "commit of a speed": (speed, json.dumps(measured).encode()),
        "digest of a result": (speed.with_name("record.json"), json.dumps(record).encode()),
    }
    for name, (path, content) in edits.items():
        with changed(path, content):
            is_sealed = name == "commit of a speed"  # its digest differs, too
            found = verify(house.evidence(), fresh=house.fresh, stop_early=not is_sealed).discrepancies
        assert {item.rule for item in found} - {"digest of an output"} or name == "digest of a result", name
        assert found, name
    matrix = house.run / "matrix.yaml"
    before = matrix.read_bytes()
    matrix.unlink()
    assert "both copies agree" in {item.rule for item in house.discrepancies()}
    matrix.write_bytes(before)


def test_a_text_is_held_against_the_statement_beside_it() -> None:
    made = with_statements({"why": scores.FEW_REPLIES(share=0.5, least=0.95)})
    outer = with_statements({"why": stages.RAN(why=stages.FIRST_TIME())})

    def found(content: Any) -> int:
        audit = Audit()
        texts.check_statements(audit, "file", content)
        return len(audit.discrepancies)

    def edited(content: Any, *keys: str, value: object) -> Any:
        copy = json.loads(json.dumps(content))
        inside = copy
        for key in keys[:-1]:
            inside = inside[key]
        inside[keys[-1]] = value
        return copy

    assert [found(made), found(outer), found([{"rows": [made]}])] == [0, 0, 0]
    assert found(edited(made, "statements", "why", "values", "least", value=0.9)) == 1
    assert found(edited(made, "statements", "why", "values", value={})) == 1
    assert found(edited(made, "statements", "why", "id", value="scoring.scores.few_Qeplies")) == 1
    assert (
        found(edited(outer, "statements", "why", "values", "statements", "why", "id", value="store.stages.x"))
        == 1
    )
    # another version had other templates, or worded them otherwise
    assert found(edited(made, "why", value="only 50.0% came")) == 0
    assert found(edited(made, "statements", "why", "id", value="scoring.older.name")) == 0


def test_tables_of_ratings_are_held_against_one_another(house: House) -> None:
    database = house.root / "judge" / "ratings.sqlite"

    def found(*edits: str) -> list[str]:
        copy = database.with_name("copy.sqlite")
        with (
            contextlib.closing(sqlite3.connect(database)) as source,
            contextlib.closing(sqlite3.connect(copy)) as db,
        ):
            source.backup(db)
            for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                db.execute(f"DROP TRIGGER {name}")
            for edit in edits:
                db.execute(edit)
            db.commit()
        audit = Audit()
        with audit.reading("database"):
            queues.check_database(audit, "database", copy, same_code=True)
        copy.unlink()
        return [item.place for item in audit.discrepancies]

    assert found() == []
    for edit in (
        "UPDATE judgement SET reply_id = 'no such reply' WHERE id = 1",
        "UPDATE study SET added_at = '2030-01-01T00:00:0B'",
        "UPDATE study SET added_at = '2999-01-01T00:00:00+00:00'",
        "UPDATE enrolment SET rater_index = rater_index + 7 WHERE rater_index = 0",
        "UPDATE enrolment SET enrolled_at = '2999-01-01T00:00:00+00:00'",
        "UPDATE item SET screen = screen + 1000 WHERE rowid = 3",
        "UPDATE judgement SET variant = 'other' WHERE id = 1",
        "UPDATE judgement SET token = '?' WHERE id = 1",
        "UPDATE judgement SET token = upper(token) WHERE id = (SELECT MIN(id) FROM judgement WHERE source = 'study')",
        "UPDATE judgement SET token = replace(token, 'a', 'b') WHERE source = 'model' AND token LIKE '%a%'",
        "UPDATE judgement SET payload_sha = replace(payload_sha, 'a', 'b') WHERE source = 'study'",
        "UPDATE judgement SET confidence = 1 WHERE id = 1",
        "UPDATE judgement SET slot = 9 WHERE id = 1",
        "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'judgement'",
        "UPDATE sqlite_sequence SET name = 'judgemenB' WHERE name = 'judgement'",
    ):
        assert found(edit), edit


@pytest.mark.parametrize("pair", [("我很难过，也很累。", "我很难过。"), ("好", "不好"), ("", "好"), ("好的", "好的"),
    ("先听他说，再问他想要什么。" * 3, "先问他想要什么，再听他说。"), ("a b c", "a b d c")])  # fmt: skip
def test_overlap_by_our_own_formulas_is_that_of_the_suites(pair: tuple[str, str]) -> None:
    assert overlaps.overlap_of(*pair) == pytest.approx(overlap.overlap(*pair))


def test_times_that_cannot_be_are_found(house: House) -> None:
    path = house.run / "events.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    row = json.loads(lines[2])
    begun = {
        "time": row["started"],
        "event": "started",
        **{name: row[name] for name in ("stage", "model", "variant")},
    }
    lines.insert(2, json.dumps(begun) + "\n")
    for number, name, time in (
        (None, "", ""),  # as it was
        (3, "time", "2026-03-02T10:15:01+00:00"),  # before it started
        (3, "time", "2026-03-01T10:15:10+00:00"),  # before the run
        (5, "time", "2026-03-02T09:15:10+00:00"),
        (3, "time", "2026-03-02 noon"),
        (3, "started", "2026-03-02T10:15:40+00:00"),  # later than it was begun, and than it was told
        (2, "time", "2026-03-02T10:16:10+00:00"),
        (3, "twice", ""),
    ):
        rows = [json.loads(line) for line in lines]
        if name == "twice":
            rows.append(rows[3])
        elif number is not None:
            rows[number][name] = time
        path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
        audit = Audit()
        clock.check_times(audit, house.evidence(report=False))
        assert bool(audit.discrepancies) == (name != ""), (number, name, time)


def test_a_report_of_evalscope_is_recounted(tmp_path: Path) -> None:
    rows = {
        ("s", number): {
            "index": number,
            "model_output": {
                "perf_metrics": {"latency": 0.1 * (1 + number), "input_tokens": 9, "output_tokens": number}
            },
            "sample_score": {"score": {"value": {"accuracy": float(number < 3)}}},
        }
        for number in range(5)
    }
    part = {"name": "s", "num": 5, "score": 0.6, "is_aggregate": False}
    category = {"name": ["default"], "num": 5, "score": 0.6, "macro_score": 0.6, "subsets": [part]}
    metric = {
        "identity": {"name": "accuracy", "aggregation": "mean"}, "num": 5, "score": 0.6, "macro_score": 0.6,
        "categories": [category],
    }  # fmt: skip
    summary = {
        "n_samples": 5, "latency": {"mean": 0.3, "std": 0.158114, "min": 0.1, "25%": 0.2, "90%": 0.46, "max": 0.5},
        "throughput": {"avg_output_tps": 6.67, "avg_req_ps": 3.3333},
        "usage": {"output_tokens": {"mean": 2.0}, "total_output_tokens": 10, "total_tokens_count": 55},
    }  # fmt: skip
    coverage = {"requests_with_metrics": 5, "total_requests": 5}
    report = {
        "name": "m@bench", "dataset_name": "bench", "model_name": "m", "metrics": [metric],
        "perf_metrics": {"summary": summary, "coverage": coverage},
    }  # fmt: skip
    path = tmp_path / "reports" / "m" / "bench.json"
    path.parent.mkdir(parents=True)
    raw = echoes.Raw(rows, rows)

    def found(content: Any) -> int:
        write(path, content)
        audit = Audit()
        echoes.check_sums(audit, audit, "bench", tmp_path, {}, raw)
        return len(audit.discrepancies)

    assert found(report) == 0
    told = re.compile(r"identity|is_aggregate|categories \* name")  # the same in every evaluation, see below
    missed = [
        " ".join(map(str, place))
        for place, _ in leaves(report)
        if not found(with_change(report, place)) and not told.search(" ".join(kind_of(place, report)))
    ]
    assert missed == []
    others = {
        "base": tmp_path,
        "tuned": tmp_path.with_name(f"{tmp_path.name}-tuned"),
    }  # both in their suite's folder
    shutil.copytree(tmp_path / "reports", others["tuned"] / "reports")
    other = others["tuned"] / "reports" / "m" / "bench.json"
    for content, is_told in (
        (report, False),
        (with_change(report, ("metrics", 0, "identity", "aggregation")), True),
    ):
        write(path, report)
        write(other, content)
        audit = Audit()
        echoes.check_descriptions(audit, others)
        assert bool(audit.discrepancies) is is_told


def test_ratings_under_a_second_name_are_found() -> None:
    rng = np.random.default_rng(2)

    def item(first: list[int], second: list[int]) -> dict[str, Any]:
        plain = {"by_model": False, "repeat": False, "cannot_judge": False}
        ratings = [("甲", first), ("乙", second)]
        return {
            "ratings": [
                {**plain, "rater": r, "scores": dict(zip("abcde", s, strict=True))} for r, s in ratings
            ]
        }

    drawn = [rng.integers(1, 6, 5).tolist() for _ in range(14)]
    copied = [item(scores, scores) for scores in drawn]
    assert opinions.twins(copied) == [("乙", "甲")]
    assert opinions.twins([*copied[:-1], item(drawn[0], drawn[1])]) == []
    assert opinions.twins(copied[:11]) == []  # too few
    assert opinions.twins([item([5] * 5, [5] * 5)] * 14) == []  # nothing to tell them by
