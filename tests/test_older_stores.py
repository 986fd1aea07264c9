"""A store that an earlier version wrote is read, and nothing of it is made again."""

# ruff: noqa: F811  (a fixture that is imported and asked for)

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.chain.evaluation import Evaluation
from bakeoff.chain.replies import replies
from bakeoff.execution.runner import Runner
from bakeoff.foundation import error_texts
from bakeoff.scoring import extraction
from bakeoff.store.facts import EvaluationFacts, Facts, HealthFacts, RepliesFacts, TrainingFacts
from bakeoff.store.stages import Record
from tests.test_faults import House, Unprobed, house  # noqa: F401

KEYS = """stage model variant outcome why command log output started seconds identity peak_memory_gib facts"""
FACTS = {
    "train": "checkpoint global_step max_steps epochs token_accuracy train_s memory_gib train_dataset tokens "
    "tokens_per_s loss_curve gpus attempts batch_size effective_batch",
    "export": "gpus attempts",
    "deploy": "seconds_to_models seconds_to_answer canary answers_as gpus prompts_counted replies_agreed "
    "logprobs_compared to_trained to_base apart identity models by_hand_url",
    "evaluate": "suite gpus requests_s asked_now restarts attempts alarms",
    "replies": "cases answered",
}
"""The keys of a record of version 0.1.0, and of what each stage measured."""


def of_0_1_0(record: dict[str, Any]) -> dict[str, Any]:
    facts = {key: value for key, value in record["facts"].items() if key in FACTS[record["stage"]].split()}
    return {key: value for key, value in record.items() if key in KEYS.split()} | {"facts": facts}


def of_a_later_version(record: dict[str, Any]) -> dict[str, Any]:
    facts = {**record["facts"], "power_w": [1, {"card": 300}]}
    return {**record, "facts": facts, "host": "h", "schema": {"version": 9}}


def with_little(record: dict[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in ("identity", "output")}


def done(house: House) -> list[Record]:
    """What each stage of a run did."""
    with house.run() as chain, contextlib.closing(Unprobed(chain, "tuned")) as deployment:
        suite = chain.bench.matrix.suites["exam"]
        records = [artifact.record for artifact in (chain.train(), chain.export())]
        records += [deployment.health(), Evaluation(deployment, [suite]).record(suite), replies(deployment)]
    return [record for record in records if record]


def test_records_of_other_versions_are_read_and_nothing_runs_again(house: House, warm: Runner) -> None:
    house.asking = warm
    house.row = {"limits": {"stall_s": 60.0}}
    first = done(house)
    assert [record.outcome for record in first] == ["ran"] * 5
    steps = house.steps()
    places = [Path(record.output).with_name("record.json") for record in first]
    written = [json.loads(place.read_text(encoding="utf-8")) for place in places]
    layouts: list[Callable[[dict[str, Any]], dict[str, Any]]] = [of_0_1_0, of_a_later_version, with_little]
    for layout in layouts:
        for place, record in zip(places, written, strict=True):
            place.write_text(json.dumps(layout(record)), encoding="utf-8")
            place.with_name("seal.json").unlink()  # which those versions did not keep
        again = done(house)
        assert [(record.stage, record.outcome) for record in again] == [
            (record["stage"] if layout is not with_little else "", "reused") for record in written
        ]
        assert house.steps() == steps
    # A digest of our sources, as 0.1.0 kept it, is another rule: said, and graded again from the answers on disk.
    evaluation = of_0_1_0(written[3])
    evaluation["identity"]["grading_rules"] = "0" * 64
    places[3].write_text(json.dumps(evaluation), encoding="utf-8")
    graded = done(house)[3]
    assert graded.why.startswith("ran: grading_rules.rows: absent is now '1'")
    assert EvaluationFacts.read(graded.facts).asked_now == 0
    # So does a version of the readings before this one, and nobody is asked again.
    current = json.loads(places[3].read_text(encoding="utf-8"))
    for rules in ("extraction", "error_texts"):
        current["identity"]["grading_rules"][rules] = 1
    places[3].write_text(json.dumps(current), encoding="utf-8")
    graded = done(house)[3]
    for rules, version in ("extraction", extraction.RULES), ("error_texts", error_texts.RULES):
        assert f"grading_rules.{rules}: '1' is now '{version}'" in graded.why
    assert EvaluationFacts.read(graded.facts).asked_now == 0
    assert house.steps() == steps
    assert [record.outcome for record in done(house)] == ["reused"] * 5


@pytest.mark.parametrize("kind", [TrainingFacts, HealthFacts, EvaluationFacts, RepliesFacts])
@pytest.mark.parametrize("values", [None, [], "x", {}, {"unknown": 1}])
def test_facts_that_hold_nothing_have_their_defaults(kind: type[Facts], values: object) -> None:
    assert kind.read(values) == kind()


def test_facts_of_another_type_are_not_believed() -> None:
    odd = {
        "global_step": "12",
        "loss_curve": None,
        "gpus": True,
        "attempts": {},
        "train_s": 1,
        "epochs": None,
    }
    assert TrainingFacts.read(odd) == TrainingFacts(train_s=1)
    assert EvaluationFacts.read({"requests_s": 3, "asked_now": 2.5}) == EvaluationFacts(requests_s=3)
