"""What of an evaluation is asked again, what is only graded again, and what is neither."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from fakes.service import serving

from bakeoff.chain.chain import Chain
from bakeoff.chain.deployment import Deployment
from bakeoff.chain.evaluation import Evaluation
from bakeoff.execution.runner import Runner
from bakeoff.foundation.errors import ScoreError
from bakeoff.foundation.sentences import in_languages, restored
from bakeoff.matrix.loading import parse_matrix
from bakeoff.store.stages import Record
from tests.chains import Tiny, bench_in

QUESTION = "来访者在第一次会谈中说了什么话？"


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    folder = tmp_path / "exam"
    folder.mkdir()
    rows = [
        {"id": i, "question": question, **{x: f"{x}{i}" for x in "ABCD"}, "answer": "A"}
        for i, question in enumerate((QUESTION, "咨询师怎样回应了来访者的沉默？"))
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "x_val.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "train.jsonl").write_text("{}\n", encoding="utf-8")
    return folder


def evaluated(
    runner: Runner, exam: Path, url: str, wanted: str = "exam", *, more: bool = False, **changes: Any
) -> Record:
    """The record of the suite *wanted*; *changes* are made to the suite ``exam``, *more* asks for a second."""
    suite = {"benchmark": "facts_exam", "data": str(exam), **changes}
    broken = {"benchmark": "cmmlu", "data": str(exam.parent / "broken"), "subsets": ["anatomy"]}
    row = {
        "url": url,
        "served_model": "m",
        "dataset": [str(exam.parent / "train.jsonl")],
        "suites": ["exam", "broken"] if wanted == "broken" else ["exam", "second"] if more else ["exam"],
    }
    second = {"benchmark": "facts_exam", "data": str(exam), "few_shot": 0, "limit": 1}
    matrix = parse_matrix(
        {"models": {"hosted": row}, "suites": {"exam": suite, "broken": broken, "second": second}}
    )
    chain = Chain(matrix.models["hosted"], bench_in(exam.parent / "store", runner, matrix))
    with contextlib.closing(Deployment(chain, "base")) as deployment:
        evaluation = Evaluation(deployment, matrix.suites_of(chain.spec))
        if wanted == "broken":
            with pytest.raises(
                ScoreError, match=r"hosted: broken: suites\.broken: EvalScope cannot prepare it"
            ):
                evaluation.record(matrix.suites["broken"])
        return evaluation.record(matrix.suites["exam"])


def test_new_thresholds_and_training_data_need_grading_but_no_service(warm: Runner, exam: Path) -> None:
    with serving("--reply", "always:A") as service:
        first = evaluated(warm, exam, service.url)
    result = json.loads(Path(first.output).read_text(encoding="utf-8"))
    assert (result["trusted"], result["leakage"], result["leakage_not_checked"]) == (True, [], "")
    # The service is gone by now.
    again = evaluated(warm, exam, service.url, trust={"max_truncated": 0.5})
    assert "trust.max_truncated: '0.05' is now '0.5'" in again.why
    assert again.facts["asked_now"] == 0
    dialogue = {"messages": [{"role": "user", "content": QUESTION}]}
    (exam.parent / "train.jsonl").write_text(json.dumps(dialogue, ensure_ascii=False), encoding="utf-8")
    leaked = evaluated(warm, exam, service.url, trust={"max_truncated": 0.5})
    assert "training" in leaked.why
    result = json.loads(Path(leaked.output).read_text(encoding="utf-8"))
    assert result["leakage"][0]["n_leaked"] == 1


def test_a_broken_suite_fails_alone(warm: Runner, exam: Path) -> None:
    (exam.parent / "broken").mkdir()
    (exam.parent / "broken/default_test.jsonl").write_text('{"question": "？"}\n', encoding="utf-8")
    with serving("--reply", "always:A") as service:
        record = evaluated(warm, exam, service.url, "broken")
    assert (record.outcome, record.facts["asked_now"]) == ("ran", 2)


@pytest.mark.slow
def test_a_model_that_is_served_twice_answers_every_question_alike(tiny: Tiny, tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        chain = tiny.chain(tmp_path / name, model=tiny.chain().base().path, tune=False)
        suite = chain.bench.matrix.suites["exam"]
        with contextlib.closing(Deployment(chain, "base")) as deployment:
            rows = Evaluation(deployment, [suite]).result(suite)["samples"]
        found.append([{k: v for k, v in row.items() if k != "latency_s"} for row in rows])
    assert len(found[0]) > 20
    assert any(row["reply"] for row in found[0])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "flags", [("--fingerprint", "fp_2"), ("--fault", "other")], ids=["fingerprint", "name"]
)
def test_a_stored_suite_is_asked_again_where_another_is_seen_to_answer(
    warm: Runner, exam: Path, flags: tuple[str, str]
) -> None:
    with serving("--reply", "always:A", "--fingerprint", "fp_1") as service:
        evaluated(warm, exam, service.url)
        assert evaluated(warm, exam, service.url).outcome == "reused"
    same = ("--reply", "always:A", "--fingerprint", "fp_1", "--port", str(service.port))
    with serving(*same, *flags) as changed:
        # a second suite needs the service, which tells that the first one's answers are another's
        again = evaluated(warm, exam, changed.url, more=True)
    assert (again.outcome, again.facts["asked_now"]) == ("ran", 2)
    assert "'m@fp_1'" in again.why
    assert {"fp_2": "'m@fp_2'", "other": "'somebody-else@fp_1'"}[flags[1]] in again.why


def test_another_model_at_the_same_address_is_told_and_asked_anew(warm: Runner, exam: Path) -> None:
    with serving("--reply", "always:A") as service:
        first = json.loads(Path(evaluated(warm, exam, service.url).output).read_text(encoding="utf-8"))
    with serving("--reply", "always:A", "--port", str(service.port), "--fault", "other") as changed:
        assert changed.url == service.url
        # other settings need the service, and thus see who answers now
        again = evaluated(warm, exam, service.url, generation={"max_tokens": 9})
    results = [first, json.loads(Path(again.output).read_text(encoding="utf-8"))]
    assert [one["answers_as"] for one in results] == ["m", "somebody-else"]
    assert [len(one["alarms"]) for one in results] == [0, 1]
    assert "'m' was asked, and 'somebody-else' answers" in results[1]["alarms"]
    assert all(in_languages(alarm) for alarm in restored(results[1])["alarms"]), (
        "the page has no Chinese for it"
    )
