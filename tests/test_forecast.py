"""What a run will take is told before it, and what differed after it; noise and agreement beside the scores."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from bakeoff.chain.chain import Bench, Chain
from bakeoff.foundation.errors import MatrixError
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import load_matrix, parse_matrix
from bakeoff.matrix.schema import Matrix
from bakeoff.runs import forecast, runs
from bakeoff.runs.expected import expected
from bakeoff.runs.finishing import scoring_agreement
from bakeoff.start import new
from bakeoff.store.stages import Record
from bakeoff.tools import engines
from fixtures import selection


def matrix(**row: Any) -> Matrix:
    facts = {"benchmark": "facts_exam", "data": "shipped:facts_exam", "hub": False}
    suites = {"exam": facts, "exam_logprob": {**facts, "scoring": "logprob"}}
    base = {
        "model": "Qwen/Qwen2.5-7B-Instruct",
        "dataset": ["shipped:facts_train.jsonl"],
        "suites": list(suites),
    }
    return parse_matrix({"models": {"row": {**base, **row}}, "suites": suites})


def test_a_row_that_never_ran_is_foretold_by_its_size_and_says_so(tmp_path: Path) -> None:
    needs = {"gpu_memory_gib": 70}
    (one,) = forecast.forecast(matrix(needs=needs), ["row"], Workspace(tmp_path))
    assert one.stages == {}
    assert one.download_gib == pytest.approx(7.62e9 * 2 / 2**30)
    assert one.disk_gib is not None
    assert one.download_gib < one.disk_gib < one.download_gib + 2
    assert one.memory_gib is not None
    assert one.memory_gib > one.download_gib
    assert "a guess by its size" in str(one)
    head, *_ = forecast.lines([one], Workspace(tmp_path))
    assert "download 14.2 GiB" in head
    assert "are free" in head


def test_a_base_of_unknown_size_is_told_as_unknown(tmp_path: Path) -> None:
    (one,) = forecast.forecast(matrix(model="some/body"), ["row"], Workspace(tmp_path))
    assert (one.download_gib, one.disk_gib) == (None, None)
    assert "not known before its config.json is here" in str(one)
    assert "not known for 1 of 1 rows" in next(iter(forecast.lines([one], Workspace(tmp_path))))
    chinese = "".join(forecast.lines_in_chinese([one], Workspace(tmp_path)))
    assert "1 行中有 1 行未知" in chinese
    assert not {" not ", "disk", "row", "known"} & set(chinese.split())


class Config:
    """What the first lines of a run ask of pytest's configuration."""

    def __init__(self, **options: bool) -> None:
        self.option = SimpleNamespace(collectonly=False, **options)
        self.stash: dict[Any, Any] = {selection.LEFT_OUT: {}, selection.RUN_ID: "r"}

    def getoption(self, name: str) -> Any:
        return getattr(self.option, name, False)


@pytest.mark.parametrize("chinese", [False, True])
def test_every_place_that_foretells_says_the_same(
    chinese: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`bakeoff new`, the doctor, the first lines of a run, and ``--dry-run``; a small file makes a short training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8" if chinese else "C")
    chosen = [
        "--model",
        "qwen2.5-7b",
        "--model",
        "tiny-qwen2",
        "--exam",
        "ceval",
        "--lang",
        "zh" if chinese else "en",
    ]
    assert new.main(["--yes", "--data", "shipped:facts_train.jsonl", *chosen]) == 0
    first = "预计" if chinese else "forecast"
    _, _, rest = capsys.readouterr().out.partition(first)
    lines = [
        f"{first}{rest}".splitlines()[0],
        *re.findall("^  (?:qwen2.5-7b|tiny-qwen2).*", rest, re.MULTILINE),
    ]
    assert len(lines) == 3
    assert ("按模型大小与数据量估计" if chinese else "a guess by its size and data") in lines[1]

    spoken = load_matrix(tmp_path / "model_matrix.yaml")
    assert (
        sum(row.seconds for row in forecast.forecast(spoken, spoken.models, Workspace(Path("store")))) < 1800
    )
    items = [
        SimpleNamespace(callspec=SimpleNamespace(params={"model": row}), get_closest_marker=lambda name: None)
        for row in spoken.models
    ]
    for name, value in {
        "matrix_of": spoken,
        "workspace_of": Workspace(Path("store")),
        "data_dir_of": None,
    }.items():
        monkeypatch.setattr(selection, name, lambda config, value=value: value)
    monkeypatch.setattr(selection.doctor, "findings", lambda *_, **__: [])
    monkeypatch.setattr(selection, "elsewhere", lambda *_: None)
    for show, options in (
        (selection.look_only, {"dry_run": True}),
        (selection.look_only, {"doctor": True}),
        (selection.foretell, {}),
    ):
        show(SimpleNamespace(config=Config(**options), items=items, testsfailed=0))  # type: ignore[operator]
        told = capsys.readouterr().out.splitlines()
        assert [line.removeprefix("# ") for line in told[1:4]] == lines, options


@pytest.mark.parametrize(
    ("more", "changed"),
    [
        ("training: {epochs: 3}", {"train"}),
        ("training: {max_steps: 1}", {"train"}),
        (
            "evaluate: [tuned]",
            {"parity base", "deploy base", "evaluate base exam", "evaluate base logprob", "replies base"},
        ),
        ("suites: [exam]", {"evaluate base logprob", "evaluate tuned logprob"}),
    ],
)
def test_a_forecast_goes_by_what_the_row_has_to_do(more: str, changed: set[str], tmp_path: Path) -> None:
    facts = {"benchmark": "choice_exam", "data": "shipped:facts_exam", "hub": False}
    suites = {"exam": facts, "logprob": {**facts, "scoring": "logprob", "orders": 4}}
    row = {
        "model": "Qwen/Qwen2.5-7B-Instruct",
        "dataset": ["shipped:facts_train.jsonl"],
        "suites": list(suites),
    }

    def guessed(**words: Any) -> dict[str, float]:
        spoken = parse_matrix({"models": {"row": {**row, **words}}, "suites": suites})
        bench = Bench.at_rest(spoken, Workspace(tmp_path))
        return dict(expected(Chain(spoken.models["row"], bench), ["row"]).guessed)

    plain, other = guessed(), guessed(**yaml.safe_load(more))
    assert {key for key in plain if plain[key] != other.get(key)} == changed
    asked = {key: seconds for key, seconds in plain.items() if "exam" in key or "logprob" in key}
    assert asked["evaluate base logprob"] > asked["evaluate base exam"]  # four orders of the same questions


def test_stages_that_ran_before_take_what_they_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = matrix()
    bench = Bench.at_rest(spoken, Workspace(tmp_path))
    chain = Chain(spoken.models["row"], bench)
    guess = expected(chain, ["row"])
    took = record("train", 7.0)
    monkeypatch.setattr(bench.stages, "newest", lambda stage: took if stage.name == "train" else None)
    partly = expected(chain, ["row"])
    assert (partly.basis, partly.measured) == ("partly", {"train": 7.0})
    assert partly.seconds == pytest.approx(guess.seconds - guess.guessed["train"] + 7.0)


def record(stage: str, seconds: float, outcome: Any = "ran", **facts: Any) -> Record:
    return Record(
        stage=stage, model="row", variant="", outcome=outcome, why="", command="", log="", output=stage, started="",
        seconds=seconds, identity={}, peak_memory_gib=None, facts=facts,
    )  # fmt: skip


def test_what_differed_is_told_by_stage() -> None:
    planned = [{"row": "row", "stages": {"train": 600.0, "evaluate exam": 60.0}}]
    done = [record("train", 1200.0), record("evaluate", 55.0, suite="exam"), record("export", 9.0)]
    told = forecast.compared(planned, [*done, record("deploy", 3.0, "reused")])
    assert [(one["stage"], one["planned_s"], one["took_s"]) for one in told] == [
        ("train", 600.0, 1200.0),
        ("evaluate exam", 60.0, 55.0),
        ("export", None, 9.0),
    ]
    assert forecast.difference(told) == (
        "forecast: 2 stages were to take 11 min and took 21 min; furthest off: row train, 20 min instead of 10 min"
    )
    assert forecast.difference(told[2:]) == ""


def sample(suite: str, number: int, letter: str, status: str = "answered") -> dict[str, Any]:
    who = {"model": "row", "variant": "base", "suite": suite}
    return {**who, "sample_id": str(number), "extracted": letter, "status": status}


def test_both_scorings_of_a_suite_are_held_against_each_other() -> None:
    generated = [sample("exam", number, letter) for number, letter in enumerate("ABCD")]
    letters = [sample("exam_logprob", number, letter) for number, letter in enumerate("ABDD")]
    letters[3] = sample("exam_logprob", 3, "", "unparsed")
    (found,) = scoring_agreement(matrix(), [*generated, *letters])
    assert (found["suite"], found["generated"], found["questions"], found["same"]) == (
        "exam_logprob",
        "exam",
        3,
        2,
    )
    assert scoring_agreement(matrix(), generated) == []


def test_noise_is_printed_where_replies_differed(tmp_path: Path) -> None:
    noise = {"asked_twice": 12, "same_replies": 9, "same_grades": 11, "grades_interval": [0.64, 0.99]}
    who = {"model": "row", "variant": "base", "suite": "exam"}
    folder = Workspace(tmp_path).run("r")
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text("[]")
    (folder / "run.json").write_text(json.dumps({"stages": [], "evaluations": [{**who, "noise": noise}]}))
    words = "\n".join(runs.summary(Workspace(tmp_path), "r"))
    assert "of 12 questions asked twice, 9 replies and 11 grades were the same (grades: 64% to 99%)" in words


@pytest.mark.parametrize(
    ("engine", "shown"), [("vllm", "VLLM_BATCH_INVARIANT=1"), ("sglang", "--enable-deterministic")]
)
def test_a_deterministic_row_switches_batch_invariance_on(engine: str, shown: str) -> None:
    def line(**serving: Any) -> str:
        spec = matrix(serving={"engine": engine, **serving}).models["row"]
        return str(engines.serve(spec, model="m", served_name="m", port=1))

    assert shown in line(deterministic=True)
    assert shown not in line()


@pytest.mark.parametrize("engine", ["transformers", "lmdeploy"])
def test_an_engine_without_batch_invariance_refuses_to_be_deterministic(engine: str) -> None:
    with pytest.raises(MatrixError, match=f"deterministic: {engine} cannot"):
        matrix(serving={"engine": engine, "deterministic": True})
