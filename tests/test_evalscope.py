"""The evaluation against a service that fails on command: every case ends in its row of the ledger."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fakes.service import Running, serving
from hypothesis import given
from hypothesis import strategies as st

from bakeoff import evalscope
from bakeoff.evalscope import distrust, grading, worker
from bakeoff.evalscope.__main__ import gather_for_dashboard, main
from bakeoff.foundation import error_texts
from bakeoff.foundation.errors import MatrixError, ScoreError
from bakeoff.matrix.schema import Suite
from bakeoff.scoring import extraction, leakage, scores
from bakeoff.scoring.scores import STATUSES
from bakeoff.store.identity import differences
from bakeoff.suites import rows as suite_rows

ROOT = Path(__file__).parent.parent
LETTERS = "BADCBCADABCD"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an evaluation in this process set its variables without leaking them into other tests."""
    for name in {**evalscope.OFFLINE, **evalscope.LOOPBACK}:
        monkeypatch.setenv(name, os.environ.get(name, ""))


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    """Twelve questions whose right letters are LETTERS, with the oracle's replies beside them."""
    folder = tmp_path / "exam"
    folder.mkdir()
    write_exam(folder, LETTERS)
    return folder


def write_exam(folder: Path, letters: str, question: str = "第{}题的答案是什么？") -> None:
    rows = [
        {"id": i, "question": question.format(i), **{x: f"{x} 的内容 {i}" for x in "ABCD"}, "answer": letter}
        for i, letter in enumerate(letters)
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "facts_val.jsonl").write_text(lines, encoding="utf-8")
    oracle = {row["question"]: f"答案：{row['answer']}" for row in rows}
    (folder.parent / "oracle.txt").write_text(json.dumps(oracle, ensure_ascii=False), encoding="utf-8")


def suite(**facts: Any) -> Suite:
    return Suite(**{"name": "facts", "benchmark": "facts_exam", **facts})


def plan(service: Running, folder: Path, *suites: Suite, **facts: Any) -> dict[str, Any]:
    suites = suites or (suite(),)
    options: dict[str, Any] = {"weights": "w0", "in_flight": 4, **facts}
    name = options.pop("served_name", "m")
    data = {one.name: options.pop("data", folder) for one in suites}
    return evalscope.evaluation_plan(
        service.url, name, suites, folder.parent / "work", data_dirs=data, **options
    )


def evaluate(service: Running, folder: Path, *suites: Suite, **facts: Any) -> dict[str, Any]:
    return worker.run(plan(service, folder, *suites, **facts))["facts"]


def oracle(exam: Path) -> tuple[str, ...]:
    return ("--reply", "oracle", "--answers", str(exam.parent / "oracle.txt"))


def ledger(**counts: int) -> dict[str, int]:
    whole = {"asked": len(LETTERS), **dict.fromkeys(STATUSES, 0), **counts}
    return {**whole, "judged": whole["asked"] - whole["errored"]}


def total(result: dict[str, Any], metric: str = "accuracy") -> dict[str, Any]:
    return next(row for row in result["scores"] if row["subset"] == "ALL" and row["metric"] == metric)


# --- what exists, and what would go wrong ---


def test_the_known_benchmarks_are_evalscopes_and_ours() -> None:
    known = evalscope.known_benchmarks()
    assert {"ceval", "cmmlu", "pceb_mcq", "psyqa", "facts_exam", "emobench"} <= set(known)
    assert len(known) > 200


def test_knowing_and_checking_suites_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pathlib import Path; from bakeoff import evalscope as e\n"
        "from bakeoff.matrix.schema import Suite\n"
        "s = Suite(name='x', benchmark='cmmlu', subsets=('professional_psychology',)); e.check_suite(s, None)\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'evalscope', 'torch', 'datasets', 'pandas', 'scipy'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_local_data_keeps_a_warm_process_off_the_hubs(exam: Path, tmp_path: Path) -> None:
    with serving("--reply", "always:A") as service:
        written = tmp_path / "plan.json"
        written.write_text(json.dumps(plan(service, exam)), encoding="utf-8")
        code = (
            "import sys, datasets, huggingface_hub; from bakeoff.evalscope.__main__ import main\n"
            "assert not huggingface_hub.constants.is_offline_mode()\n"
            f"code = main(['run', {str(written)!r}])\n"
            "print(code, huggingface_hub.constants.is_offline_mode(), datasets.config.HF_HUB_OFFLINE)"
        )
        env = {name: value for name, value in os.environ.items() if name not in evalscope.OFFLINE}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
        )
    assert done.stdout.splitlines()[-1:] == ["0 True True"], done.stderr[-2000:]


def test_generation_keys_are_those_that_evalscope_knows() -> None:
    from evalscope.api.model import GenerateConfig

    assert set(GenerateConfig.model_fields) >= evalscope.GENERATION_KEYS


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"benchmark": "pceb_mqc"}, "is it 'pceb_mcq'"),
        ({"benchmark": "cevall"}, "'ceval'"),
        ({"benchmark": "cmmlu", "subsets": ("profesional_psychology",)}, "'professional_psychology'"),
        ({"subsets": ("fact",)}, "is it 'facts'"),
        ({"generation": {"temprature": 0.5}}, "is it 'temperature'"),
        ({"few_shot": 3}, "few_shot"),
        ({"metric": "acuracy"}, "is it 'accuracy'"),
        ({"benchmark": "ceval", "metric": "acuracy", "data": "hub"}, "is it 'accuracy'"),
    ],
)
def test_a_mistaken_suite_is_told_the_nearest_name(facts: dict[str, Any], said: str, exam: Path) -> None:
    complaints = evalscope.check_suite(suite(**facts), None if facts.pop("data", None) else exam)
    assert len(complaints) == 1
    assert said in complaints[0]


def test_missing_data_is_named_before_anything_runs(tmp_path: Path, exam: Path) -> None:
    assert "has none); is it 'exam'?" in evalscope.check_suite(suite(), tmp_path / "exams")[0]
    assert f"({tmp_path} has none)" in evalscope.check_suite(suite(), tmp_path / "far/away")[0]
    assert "local files only" in evalscope.check_suite(suite(), None)[0]
    assert "configs:" in evalscope.check_suite(suite(benchmark="ceval"), exam)[0]
    (exam / "facts_val.jsonl").write_text('{"question": "？", "A": "x"}\n', encoding="utf-8")
    assert "facts_val.jsonl:1: needs 2 to 10 options" in evalscope.check_suite(suite(), exam)[0]


def test_a_mistaken_plan_asks_nothing(exam: Path) -> None:
    with serving() as service:
        bad = plan(
            service, exam, suite(), suite(name="typo", benchmark="psyqaa"), suite(name="x", subsets=("y",))
        )
        with pytest.raises(MatrixError) as caught:
            worker.run({**bad, "key_env": "NO_SUCH_KEY"})
        assert len(caught.value.complaints) == 3
        assert service.stats()["requests"] == 0


def test_data_that_evalscope_cannot_use_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    folder = tmp_path / "ceval"
    folder.mkdir()
    header = "id,question,A,B,C,D,answer\n"
    for split, rows in (("dev", 1), ("val", 3)):
        lines = "".join(f"{i},问{i},甲,乙,丙,丁,A\n" for i in range(rows))
        (folder / f"logic_{split}.csv").write_text(header + lines, encoding="utf-8")
    files = "".join(f"\n  - {{split: {split}, path: logic_{split}.csv}}" for split in ("dev", "val"))
    readme = f"---\nconfigs:\n- config_name: logic\n  data_files:{files}\n---\n"
    (folder / "README.md").write_text(readme, encoding="utf-8")
    asked = suite(benchmark="ceval", subsets=("logic",), few_shot=5)
    assert "no config for" in evalscope.check_suite(suite(benchmark="ceval"), folder)[0]
    with serving("--reply", "always:A") as service:
        with pytest.raises(ScoreError, match=r"suites\.facts: EvalScope cannot prepare it"):
            worker.run(plan(service, folder, asked))
        assert service.stats()["requests"] == 0
        result = worker.run(plan(service, folder, suite(benchmark="ceval", subsets=("logic",), few_shot=1)))
    assert total(result["facts"])["value"] == 1.0
    assert result["facts"]["few_shot"] == 1


@pytest.mark.parametrize("pasted", [False, True], ids=["plan", "pasted line"])
def test_other_rows_under_the_same_readme_are_other_questions(tmp_path: Path, pasted: bool) -> None:
    asked = suite(benchmark="ceval", subsets=("logic",), few_shot=0)
    readme = "---\nconfigs:\n- config_name: logic\n  data_files:\n"
    readme += (
        "".join(f"  - {{split: {split}, path: logic_{split}.csv}}\n" for split in ("dev", "val")) + "---\n"
    )
    found = []
    for letter, count in (("A", 2), ("B", 3)):
        folder = tmp_path / letter / "ceval"
        folder.mkdir(parents=True)
        (folder / "README.md").write_text(readme, encoding="utf-8")
        rows = "".join(f"{i},{letter} 问{i},甲,乙,丙,丁,{letter}\n" for i in range(count))
        for split in ("dev", "val"):
            (folder / f"logic_{split}.csv").write_text(
                "id,question,A,B,C,D,answer\n" + rows, encoding="utf-8"
            )
        with serving("--reply", f"always:{letter}") as service:
            if pasted:
                work = folder.parent / "work"
                line = evalscope.evaluate_command(service.url, "m", asked, work, data_dir=folder)
                environment = {**os.environ, **line.env}
                subprocess.run(line.argv, env=environment, check=True, capture_output=True, timeout=120)
                report = json.loads(next(work.rglob("reports/**/*.json")).read_text(encoding="utf-8"))
                found.append((report["metrics"][0]["num"], report["metrics"][0]["score"]))
            else:
                result = worker.run(plan(service, folder, asked))["facts"]
                found.append((result["ledger"]["asked"], total(result)["value"]))
    assert found == [(2, 1.0), (3, 1.0)]


def test_a_folder_s_readme_is_read_once_whatever_the_number_of_its_subsets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import DatasetCard

    folder = tmp_path / "ceval"
    folder.mkdir()
    subsets = {"logic": "A", "law": "B", "physician": "C"}
    readme = "---\nconfigs:\n"
    for subset, letter in subsets.items():
        readme += f"- config_name: {subset}\n  data_files:\n"
        for split in ("dev", "val"):
            line = f"0,{subset}{split}问,甲,乙,丙,丁,{letter}\n"
            (folder / f"{subset}_{split}.csv").write_text("id,question,A,B,C,D,answer\n" + line, "utf-8")
            readme += f"  - {{split: {split}, path: {subset}_{split}.csv}}\n"
    (folder / "README.md").write_text(readme + "---\n", encoding="utf-8")
    read: list[Path] = []
    load = DatasetCard.load

    def counted(path: Path, **options: Any) -> Any:
        read.append(path)
        return load(path, **options)

    monkeypatch.setattr(DatasetCard, "load", counted)
    asked = suite(benchmark="ceval", subsets=tuple(subsets), few_shot=1)
    with serving("--reply", "always:B") as service:
        result = worker.run(plan(service, folder, asked))["facts"]
    assert len(read) == 1
    rows = [row for row in result["scores"] if row["metric"] == "accuracy" and row["subset"] != "ALL"]
    assert {row["subset"]: row["value"] for row in rows} == {"logic": 0.0, "law": 1.0, "physician": 0.0}


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(0, 200))
def test_a_total_limit_takes_turns_and_only_grows(sizes: list[int], limit: int) -> None:
    named = {f"s{i}": size for i, size in enumerate(sizes)}
    taken = evalscope.spread(named, limit)
    assert sum(taken.values()) == min(limit, sum(sizes))
    assert all(taken[name] <= size for name, size in named.items())
    open_ones = [taken[name] for name, size in named.items() if taken[name] < size]
    assert not open_ones or max(taken.values()) - min(open_ones) <= 1
    more = evalscope.spread(named, limit + 1)
    assert all(more[name] >= taken[name] for name in named)


def test_the_command_line_is_evalscopes_own(tmp_path: Path) -> None:
    exam = suite(name="psy", benchmark="cmmlu", subsets=("professional_psychology",), limit=50, few_shot=5)
    command = evalscope.evaluate_command(
        "http://127.0.0.1:8000/v1",
        "qwen-sft",
        exam,
        Path("out"),
        data_dir=Path("/d/cmmlu"),
        key_env="MY_KEY",
        python="python",
    )
    assert " ".join(command.argv[:13]) == (
        "python -m bakeoff.evalscope eval --model qwen-sft --api-url http://127.0.0.1:8000/v1"
        " --eval-type openai_api --key-env MY_KEY --datasets"
    )
    assert command.value_of("--limit-total") == "50"
    assert json.loads(command.value_of("--generation-config") or "")["temperature"] == 0.0
    assert json.loads(command.value_of("--dataset-args") or "") == {
        "cmmlu": {"local_path": "/d/cmmlu", "subset_list": ["professional_psychology"], "few_shot_num": 5}
    }
    assert command.env["HF_HUB_OFFLINE"] == "1"


# --- faults ---


def test_an_oracle_gets_everything_right_at_temperature_zero(exam: Path) -> None:
    with serving(*oracle(exam)) as service:
        result = evaluate(service, exam, suite(generation={"max_tokens": 32, "seed": 7}))
        stats = service.stats()
    assert result["ledger"] == ledger(answered=12)
    assert total(result)["value"] == 1.0
    assert total(result)["trusted"]
    assert stats["requests"] == 12
    assert stats["settings"] == [{"temperature": 0.0, "max_tokens": 32, "seed": 7}]


@pytest.mark.parametrize("kind", ["500", "503", "429", "nochoices"])
def test_a_passing_failure_is_asked_again(kind: str, exam: Path) -> None:
    with serving(*oracle(exam), "--fault", f"{kind}:2-3") as service:
        result = evaluate(service, exam)
        assert service.stats()["requests"] == 14
    assert result["ledger"] == ledger(answered=12)
    assert total(result)["value"] == 1.0


@pytest.mark.parametrize(
    "kind", ["500", "429", "context", "bad", "nochoices", "garbage", "errortext", "contexttext", "other"]
)
def test_a_lasting_failure_is_errored_and_never_graded(kind: str, exam: Path) -> None:
    with serving(*oracle(exam), "--fault-prompt", f"第4题={kind}") as service:
        result = evaluate(service, exam, timeout_s=3.0)
    assert result["ledger"] == ledger(answered=11, errored=1)
    made = total(result)
    assert made["value"] == 1.0
    assert made["worst"] == pytest.approx(11 / 12)
    assert made["best"] == 1.0
    assert not made["trusted"]
    assert "8.3% errored" in made["why_not"]
    assert len(result["errors"]) == 1
    rows = evalscope.sample_rows(result, model="x", variant="base")
    failed = next(row for row in rows if row["status"] == "errored")
    assert math.isnan(failed["correct"])
    assert (failed["reply"], failed["extracted"], failed["extracted_alt"]) == ("", "", "")


@pytest.mark.parametrize(("kind", "status"), [("empty", "empty"), ("null", "empty"), ("cut", "truncated")])
def test_a_reply_without_an_answer_counts_wrong_and_is_named(kind: str, status: str, exam: Path) -> None:
    with serving(*oracle(exam), "--fault-prompt", f"第4题={kind}") as service:
        result = evaluate(service, exam)
    assert result["ledger"] == ledger(answered=11, **{status: 1})
    assert total(result)["value"] == pytest.approx(11 / 12)
    assert (total(result)["worst"], total(result)["best"]) == (pytest.approx(11 / 12), 1.0)
    assert not total(result)["trusted"]


def test_a_reply_that_states_no_choice_is_unparsed(exam: Path) -> None:
    with serving("--reply", "抱歉，诊断标准见 ICD-10，ABA 疗法不在讨论之列") as service:
        result = evaluate(service, exam)
    assert result["ledger"] == ledger(unparsed=12)
    assert (total(result)["value"], total(result)["worst"], total(result)["best"]) == (0.0, 0.0, 1.0)
    assert "100.0% unparsed" in total(result)["why_not"]


def test_a_service_that_answers_too_late_is_errored(exam: Path) -> None:
    with serving(*oracle(exam), "--fault-prompt", "第4题=slow", "--slow-s", "60") as service:
        result = evaluate(service, exam, timeout_s=1.0)
    assert result["ledger"] == ledger(answered=11, errored=1)
    assert "Timeout" in next(iter(result["errors"].values()))


def test_a_service_that_dies_leaves_the_rest_errored_for_the_next_run(exam: Path) -> None:
    with serving(*oracle(exam), "--fault", "die:6") as service:
        result = evaluate(service, exam, in_flight=1)
        assert service.process.wait(10) == 1
    assert result["ledger"] == ledger(answered=5, errored=7)
    assert total(result)["value"] == 1.0
    assert total(result)["worst"] == pytest.approx(5 / 12)
    assert not total(result)["trusted"]
    with serving(*oracle(exam)) as service:  # on another port
        again = evaluate(service, exam, in_flight=1)
        assert service.stats()["requests"] == 7
    assert again["ledger"] == ledger(answered=12)
    assert again["reused"] == 5
    assert total(again)["trusted"]


def test_after_many_failures_in_a_row_the_service_counts_as_gone(tmp_path: Path) -> None:
    folder = tmp_path / "exam"
    folder.mkdir()
    write_exam(folder, LETTERS * 10)
    with serving("--fault", "500") as service:
        result = evaluate(service, folder, in_flight=8)
        asked = service.stats()["requests"]
    assert result["ledger"]["errored"] == 120
    assert total(result)["value"] is None
    assert asked < 3 * 40
    assert "in a row failed" in " ".join(result["errors"].values())


def test_a_busy_spell_is_waited_for_and_does_not_count_as_gone(tmp_path: Path) -> None:
    folder = tmp_path / "exam"
    folder.mkdir()
    write_exam(folder, LETTERS * 5)
    with serving(*oracle(folder), "--fault", "429:1-150", "--retry-after", "0.1") as service:
        result = evaluate(service, folder, in_flight=32)
        assert service.stats()["requests"] == 150 + 60
    assert result["ledger"]["answered"] == 60


def test_a_service_that_stays_busy_counts_as_gone(tmp_path: Path) -> None:
    folder = tmp_path / "exam"
    folder.mkdir()
    write_exam(folder, LETTERS * 5)
    with serving("--fault", "429", "--retry-after", "60") as service:
        result = evaluate(service, folder, in_flight=8, timeout_s=2.0)
        assert service.stats()["requests"] < 30
    assert result["ledger"]["errored"] == 60
    assert "in a row failed" in " ".join(result["errors"].values())


@pytest.mark.parametrize(
    "reply",
    [
        "引擎重启中，第1次尝试失败，请联系管理员查看部署日志，编号 A",
        "服务已切换到备用模型，请稍后查看控制台中的详情 B",
    ],
)
def test_one_text_in_reply_to_most_questions_is_not_trusted(reply: str, tmp_path: Path) -> None:
    folder = tmp_path / "exam"
    folder.mkdir()
    write_exam(folder, LETTERS * 2)
    with serving("--reply", reply) as service:
        result = evaluate(service, folder)
    assert f"100.0% of the replies are one text: '{reply}".replace("第1次", "第0次") in result["why_not"]


def test_a_reply_that_states_no_choice_earns_nothing_in_evalscopes_benchmarks(exam: Path) -> None:
    asked = suite(benchmark="general_mcq", subsets=("facts",))
    with serving("--reply", "抱歉，诊断标准见 ICD-10，ABA 疗法不在讨论之列") as service:
        result = evaluate(service, exam, asked)
    assert result["ledger"] == ledger(unparsed=12)
    assert total(result)["value"] == 0.0
    assert total(result, f"{result['metric']}_evalscope")["value"] > 0.0
    with serving(*oracle(exam)) as service:
        right = evaluate(service, exam, asked, weights="w1")
    assert total(right)["value"] == total(right, f"{right['metric']}_evalscope")["value"] == 1.0


def test_an_unknown_model_name_ends_in_no_score(exam: Path) -> None:
    with serving("--check-name") as service:
        result = evaluate(service, exam, served_name="somebody")
    assert result["ledger"] == ledger(errored=12)
    assert total(result)["value"] is None
    assert "nothing was graded" in total(result)["why_not"]


def test_always_the_same_letter_raises_an_alarm(tmp_path: Path) -> None:
    folder = tmp_path / "exam"
    folder.mkdir()
    write_exam(folder, "ABCD" * 8)
    with serving("--reply", "always:A") as service:
        result = evaluate(service, folder)
    assert total(result)["value"] == 0.25
    assert result["answers"] == {"A": 32}
    assert result["alarms"] == ["100.0% of the answers are A, which is right for 25.0%"]


def test_a_score_below_chance_is_not_trusted(tmp_path: Path) -> None:
    folder = tmp_path / "exam"
    folder.mkdir()
    write_exam(folder, "BCDB" * 8)
    with serving("--reply", "always:A") as service:
        result = evaluate(service, folder)
    assert "below the 25.0% of guessing" in total(result)["why_not"]


# --- resume and identity ---


def test_a_killed_evaluation_asks_only_what_is_unanswered(tmp_path: Path) -> None:
    folder = tmp_path / "exam"
    folder.mkdir()
    write_exam(folder, LETTERS * 5)
    with serving(*oracle(folder), "--latency-s", "0.15") as service:
        written = tmp_path / "plan.json"
        written.write_text(json.dumps(plan(service, folder, in_flight=2)), encoding="utf-8")
        process = subprocess.Popen(
            evalscope.run_command(written).argv,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while service.stats()["requests"] < 20 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        predictions = next((tmp_path / "work").rglob("predictions/m/*.jsonl"))
        stored = predictions.read_text(encoding="utf-8").count("\n")
        with predictions.open("a", encoding="utf-8") as file:
            file.write('{"index": 59, "model_out')  # killed in the middle of a line
        before = service.stats()["requests"]
        result = evaluate(service, folder, in_flight=2)
        assert service.stats()["requests"] - before == 60 - stored
    assert 10 <= stored < 60
    assert result["reused"] == stored
    assert result["ledger"] == {**ledger(answered=60), "asked": 60, "judged": 60}
    assert total(result)["value"] == 1.0


def test_the_same_questions_are_not_asked_twice(exam: Path) -> None:
    with serving(*oracle(exam)) as service:
        first = evaluate(service, exam)
        second = evaluate(service, exam)
        assert service.stats()["requests"] == 12
    assert second["reused"] == 12
    assert [row["value"] for row in first["scores"]] == [row["value"] for row in second["scores"]]


def test_answers_on_disk_are_graded_again_without_a_service(exam: Path) -> None:
    with serving(*oracle(exam)) as service:
        first = evaluate(service, exam)
        asked = plan(service, exam, suite(trust={"min_answered": 0.5}), training_unread="the data is away")
    again = worker.run({**asked, "service_url": ""})["facts"]
    assert again["identity"] == first["identity"]
    assert [row["value"] for row in again["scores"]] == [row["value"] for row in first["scores"]]
    assert again["leakage_not_checked"] == "the data is away"
    write_exam(exam, LETTERS, "第{}题：请选择")
    with pytest.raises(ScoreError, match="facts: 12 questions have no answer yet"):
        worker.run({**asked, "service_url": ""})


def test_an_answer_that_is_an_error_text_is_asked_again(exam: Path) -> None:
    with serving(*oracle(exam)) as service:
        evaluate(service, exam)
        path = next((exam.parent / "work").rglob("predictions/m/*.jsonl"))
        lines = path.read_text(encoding="utf-8").splitlines()
        changed = lines[3].replace("答案：", "Error code: 500 - 答案：")
        assert changed != lines[3]
        path.write_text("\n".join([*lines[:3], changed, *lines[4:]]) + "\n", encoding="utf-8")
        result = evaluate(service, exam)
        assert service.stats()["requests"] == 13
    assert result["reused"] == 11
    assert total(result)["value"] == 1.0


@pytest.mark.parametrize("check", [extraction, leakage, scores, error_texts, distrust, grading, suite_rows])
def test_each_check_has_a_version_of_its_rules(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = evalscope.grading_rules()
    monkeypatch.setattr(check, "RULES", check.RULES + 1)
    assert differences({"grading_rules": before}, {"grading_rules": evalscope.grading_rules()}) == (
        f"grading_rules.{check.__name__.rpartition('.')[2]}: '{check.RULES - 1}' is now '{check.RULES}'"
    )


@pytest.mark.parametrize("change", ["data", "answers", "generation", "weights"])
def test_whatever_changed_is_asked_anew(change: str, exam: Path) -> None:
    with serving("--reply", "always:B") as service:
        first = evaluate(service, exam)
        if change == "data":
            write_exam(exam, LETTERS, "第{}题：请选择")
        elif change == "answers":
            write_exam(exam, LETTERS[::-1])
        sent = {"max_tokens": 5} if change == "generation" else {}
        result = evaluate(
            service, exam, suite(generation=sent), weights="w1" if change == "weights" else "w0"
        )
        assert service.stats()["requests"] == 24
    assert result["reused"] == 0
    assert result["identity"] != first["identity"]


def test_the_same_run_twice_gives_the_same_samples(exam: Path, tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        with serving("--reply", "random:3") as service:
            asked = plan(service, exam)
            result = worker.run({**asked, "work_dir": str(tmp_path / name)})["facts"]
        rows = evalscope.sample_rows(result, model="x", variant="base")
        found.append([{k: v for k, v in row.items() if k != "latency_s"} for row in rows])
    assert found[0] == found[1]
    assert len({row["sample_id"] for row in found[0]}) == 12


# --- several suites ---


def test_a_broken_suite_takes_no_other_along(exam: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "default_test.jsonl").write_text('{"question": "？"}\n', encoding="utf-8")
    suites = (
        suite(name="broken", benchmark="cmmlu", subsets=("anatomy",)),
        suite(),
    )
    with serving(*oracle(exam)) as service:
        asked = evalscope.evaluation_plan(
            service.url,
            "m",
            suites,
            tmp_path / "work",
            data_dirs={"broken": broken, "facts": exam},
            weights="w0",
        )
        written = tmp_path / "plan.json"
        written.write_text(json.dumps(asked), encoding="utf-8")
        assert main(["run", str(written)]) == 0
    results = evalscope.read_results(tmp_path / "work")
    assert results["facts"]["ledger"] == ledger(answered=12)
    assert "EvalScope cannot prepare it from" in results["broken"]["error"]


def test_suites_share_the_requests_in_flight_and_limits_are_kept(exam: Path, tmp_path: Path) -> None:
    qa = tmp_path / "qa"
    qa.mkdir()
    rows = [{"id": i, "question": f"我最近睡不好，第{i}晚了", "answer": "睡前放松一下。"} for i in range(9)]
    (qa / "open.jsonl").write_text(
        "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8"
    )
    suites = [suite(limit=5), suite(name="open", benchmark="psyqa", limit=4, limit_per="subset")]
    with serving("--reply", "睡前放松一下。", "--latency-s", "0.1") as service:
        asked = evalscope.evaluation_plan(
            service.url,
            "m",
            suites,
            tmp_path / "work",
            data_dirs={"facts": exam, "open": qa},
            weights="",
            in_flight=3,
        )
        results = worker.run(asked)
        stats = service.stats()
    assert stats["requests"] == 9
    assert stats["peak"] == 3
    assert results["facts"]["selected"] == {"facts": 5}
    assert results["open"]["metric"] == "rouge_l_f"
    assert total(results["open"], "rouge_l_f")["value"] == pytest.approx(1.0)
    assert total(results["open"], "length_ratio")["value"] == pytest.approx(1.0)
    assert results["open"]["ledger"]["answered"] == 4
    assert evalscope.read_results(tmp_path / "work").keys() == results.keys()


def test_the_viewer_gets_the_latest_results_and_cannot_delete_ours(exam: Path, tmp_path: Path) -> None:
    store = tmp_path / "models"
    with serving(*oracle(exam)) as service:
        for weights in ("w0", "w1"):
            asked = plan(service, exam, weights=weights)
            last = worker.run({**asked, "work_dir": str(store / "qwen/evaluation/base")})["facts"]
    shown = tmp_path / "shown"
    assert gather_for_dashboard(store, shown) == ["qwen-base-facts"]
    report = shown / "qwen-base-facts/reports/m/facts_exam.json"
    kept = Path(last["folder"]) / "reports/m/facts_exam.json"
    assert report.samefile(kept)
    report.unlink()
    assert kept.is_file()


def test_results_of_an_unfinished_plan_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="no evaluation has finished"):
        evalscope.read_results(tmp_path)


# --- EvalScope's own command line, and real rows ---


@pytest.mark.slow
def test_the_pasted_line_gives_the_same_score(exam: Path, tmp_path: Path) -> None:
    with serving("--reply", "random:5") as service:
        warm = evaluate(service, exam, suite(limit=10))
        command = evalscope.evaluate_command(
            service.url, "m", suite(limit=10), tmp_path / "cli", data_dir=exam, in_flight=4
        )
        done = subprocess.run(
            command.argv,
            env={**os.environ, **command.env},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert service.stats()["requests"] == 20
    reviews = (tmp_path / "cli/reviews/m/facts_exam_facts.jsonl").read_text(encoding="utf-8").splitlines()
    grades = [json.loads(line)["sample_score"]["score"]["value"]["accuracy"] for line in reviews]
    assert math.fsum(grades) / len(grades) == total(warm)["value"]


def data_folder(name: str) -> Path:
    root = Path(os.environ.get("BAKEOFF_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not (root / name).is_dir():
        pytest.skip(f"needs real rows: no folder {root / name}; set BAKEOFF_TEST_DATA")
    return root / name


def ceval_rows(folder: Path) -> list[tuple[str, str, str]]:
    """Key in the prompt, subset and right letter of every validation row, read without EvalScope."""
    rows = []
    for path in sorted(folder.glob("*_val.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                rows.append(
                    (row["question"].strip(), path.name.removesuffix("_val.csv"), row["answer"].strip())
                )
    return rows


def cmmlu_rows(folder: Path) -> list[tuple[str, str, str]]:
    rows = [
        json.loads(line) for line in (folder / "default_test.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return [
        (row["question"].strip(), row["category"], row["answer"][1])
        for row in rows
        if row["category"] == "professional_psychology"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("script", ["right", "always-A", "random"])
def test_scores_over_all_real_rows_are_those_computed_from_the_files(script: str, tmp_path: Path) -> None:
    folders = {"ceval": data_folder("ceval"), "psychology": data_folder("cmmlu")}
    rows = {"ceval": ceval_rows(folders["ceval"]), "psychology": cmmlu_rows(folders["psychology"])}
    assert {name: len(part) for name, part in rows.items()} == {"ceval": 1346, "psychology": 232}
    import random

    draw = random.Random(20)
    replies: dict[str, str] = {}
    expected: dict[str, list[bool]] = {"ceval": [], "psychology": []}
    for name, part in rows.items():
        for question, _, letter in part:
            given = {"right": letter, "always-A": "A", "random": draw.choice("ABCD")}[script]
            given = replies.setdefault(question, f"答案：{given}")[-1]  # a question that occurs twice
            expected[name].append(given == letter)
    (tmp_path / "oracle.json").write_text(json.dumps(replies, ensure_ascii=False), encoding="utf-8")
    suites = [
        Suite(name="ceval", benchmark="ceval", few_shot=0),
        Suite(name="psychology", benchmark="cmmlu", subsets=("professional_psychology",)),
    ]
    with serving("--reply", "oracle", "--answers", str(tmp_path / "oracle.json")) as service:
        asked = evalscope.evaluation_plan(
            service.url, "m", suites, tmp_path / "work", data_dirs=folders, weights="", in_flight=16
        )
        results = worker.run(asked)
    for name, right in expected.items():
        assert results[name]["ledger"]["answered"] == len(right)
        assert total(results[name])["value"] == sum(right) / len(right)
        assert total(results[name], "accuracy_alt")["value"] == sum(right) / len(right)
