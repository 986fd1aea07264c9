import contextlib
import copy
import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from bakeoff.chain import training
from bakeoff.chain.needs import why_unmet
from bakeoff.chain.ports import free_port
from bakeoff.doctor.comparability import beside_the_guide, differences
from bakeoff.evalscope.speed import Speed, speed_rows
from bakeoff.execution import gpus
from bakeoff.foundation.errors import StoreError
from bakeoff.foundation.sentences import Statement
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import parse_matrix
from bakeoff.matrix.schema import Suite
from bakeoff.parity import answers, comparison
from bakeoff.report import Findings, Row, page, section, write_page, write_tables
from bakeoff.report.__main__ import main
from bakeoff.report.analysis import analyse, headline_metric
from bakeoff.report.answer import recommendation
from bakeoff.report.commands import commands
from bakeoff.report.costs import cost_of, gpu_hours, summary
from bakeoff.report.findings import SAMPLE_COLUMNS, SCORE_COLUMNS, with_columns
from bakeoff.report.questions import REPLY_CHARS
from bakeoff.report.samples import pack
from bakeoff.report.verdict import verdict
from bakeoff.report.views import Analysis
from bakeoff.report.words import said
from bakeoff.scoring import scores, tables
from bakeoff.scoring.scores import SPEED
from bakeoff.store.facts import Facts
from bakeoff.store.stage import Stage
from bakeoff.store.stages import Done, Stages, Timeline
from tests.synthetic_findings import HOSTILE, synthetic_findings, synthetic_ratings, unpacked
from tests.test_faults import TOOLS, House, Unprobed, house  # noqa: F401

FAKES = Path(__file__).parent / "fakes"


@pytest.fixture(scope="module")
def findings() -> Findings:
    return synthetic_findings(120)


@pytest.fixture(scope="module")
def html(findings: Findings) -> str:
    return page(findings)


@pytest.fixture(scope="module")
def analysis(findings: Findings) -> Analysis:
    return analyse(findings)


def empty(**others) -> Findings:
    nothing = pd.DataFrame()
    return Findings(
        "run",
        "",
        [Row("m")],
        with_columns(nothing, SCORE_COLUMNS),
        with_columns(nothing, SAMPLE_COLUMNS),
        **others,
    )


def saved(
    findings: Findings, store: Path, run_id: str, started_at: str = "2026-03-02T10:15:00+08:00"
) -> Path:
    """*findings* as a run leaves them in the store."""
    folder = store / "runs" / run_id
    folder.mkdir(parents=True)
    run = {
        "run_id": run_id,
        "started_at": started_at,
        "rows": [
            {"model": row.model, "base_model": row.base_model, "group": row.group} for row in findings.rows
        ],
        "skipped": findings.skipped,
        "comparability": findings.comparability,
        "provenance": findings.provenance,
        "stages": findings.stages,
    }
    (folder / "run.json").write_text(json.dumps(run, ensure_ascii=False), encoding="utf-8")
    (folder / "scores.json").write_text(findings.scores.to_json(orient="records"), encoding="utf-8")
    findings.samples.to_parquet(folder / "samples.parquet", index=False)
    return folder


class Links(HTMLParser):
    """Everything a browser would follow or fetch, and tags left open."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.targets: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("link", "img", "iframe", "object", "embed", "video", "audio") or (
            tag == "script" and "src" in values
        ):
            self.fetched.append(f"{tag} {values}")
        if tag == "a":
            self.targets.append(values.get("href") or "")
        if "id" in values:
            self.ids.append(values["id"] or "")


def test_text_from_models_and_data_is_escaped(html: str) -> None:
    assert HOSTILE not in html
    assert "&lt;script&gt;window.hacked" in html


def test_the_page_fetches_nothing_and_its_anchors_exist(html: str) -> None:
    links = Links()
    links.feed(html)
    assert links.fetched == []
    assert not re.search(r"url\(\s*['\"]?(?!#)", html), "a style sheet would fetch something"
    # an address with "=" is a view of a browser of the page; tests/test_report_reading.py opens each kind
    anchors = [one[1:] for one in links.targets if one.startswith("#") and "=" not in one]
    assert anchors
    assert set(anchors) <= set(links.ids)


def test_every_word_stands_in_both_languages(html: str) -> None:
    body = re.sub(r"<(style|script).*?</\1>", "", html, flags=re.DOTALL)
    assert body.count('<span lang="zh">') == body.count('<span lang="en">') > 100


def test_the_same_findings_give_the_same_fragment_alone_and_in_a_page() -> None:
    one, other = (synthetic_findings(15, models=2, suites=("ceval",)) for _ in range(2))
    assert section(one).strip() in page(other)


def test_an_untrusted_score_is_no_number_and_takes_no_part(analysis: Analysis, html: str) -> None:
    broken = next(c for view in analysis.views for c in view.cells.values() if not c.trusted)
    view = next(view for view in analysis.views if view.name == broken.suite)
    assert math.isnan(broken.low)
    assert broken.letters == ""
    assert broken.subject not in view.delivered
    assert all(broken.subject not in (pair.a, pair.b) for pair in view.pairs)
    assert broken.subject.model not in view.tuning
    assert broken.why_not in html


def test_an_untrusted_total_has_no_subjects_either(findings: Findings, analysis: Analysis) -> None:
    broken = next(c for view in analysis.views for c in view.cells.values() if not c.trusted)
    parts = findings.scores[(findings.scores["suite"] == broken.suite) & (findings.scores["subset"] != "ALL")]
    own = parts[(parts["model"] == broken.subject.model) & (parts["variant"] == broken.subject.variant)]
    marked = copy.copy(findings)
    marked.scores = findings.scores.copy()
    marked.scores.loc[own.index, "trusted"] = True  # none of its subjects alone is suspicious
    view = next(view for view in analyse(marked).views if view.name == broken.suite)
    assert len(own)
    assert tuple(broken.subject) not in view.subsets.columns
    assert len(view.subsets.columns) == len(view.cells) - 1


def test_intervals_hold_their_score(analysis: Analysis) -> None:
    cells = [cell for view in analysis.views for cell in view.cells.values() if cell.ranked]
    assert len(cells) == 54
    assert all(cell.low < cell.value < cell.high for cell in cells)


def test_letters_are_shared_exactly_by_those_that_no_test_tells_apart(analysis: Analysis) -> None:
    for view in analysis.views:
        for pair in view.pairs:
            shared = set(view.cells[pair.a].letters) & set(view.cells[pair.b].letters)
            assert bool(shared) is not pair.shown


def test_a_pair_reads_the_same_from_both_sides(analysis: Analysis) -> None:
    view = analysis.views[0]
    a, b = view.delivered[0], view.delivered[-1]
    one, other = view.pair(a, b), view.pair(b, a)
    assert one is not None
    assert other is not None
    assert one.value == -other.value
    assert (one.low, one.high) == (-other.high, -other.low)
    assert one.effect == pytest.approx(1 / other.effect)
    assert one.p == other.p


def test_the_headline_metric_is_the_one_the_samples_were_graded_by(findings: Findings) -> None:
    shuffled = synthetic_findings(120, models=2)
    shuffled.scores = shuffled.scores.iloc[::-1].reset_index(drop=True)
    assert headline_metric(findings, "psyqa") == headline_metric(shuffled, "psyqa") == "rouge_l_f"


def test_models_that_were_asked_different_questions_are_compared_on_the_shared_ones(
    findings: Findings,
) -> None:
    part = synthetic_findings(120, models=2, suites=("ceval", "cmmlu"))
    first = part.models[0]
    keep = (
        (part.samples["model"] != first) | (part.samples["suite"] != "ceval") | (part.samples["index"] < 90)
    )
    part.samples = part.samples[keep]
    views = {view.name: view for view in analyse(part).views}
    assert views["ceval"].n_compared == 90
    whole = next(cell for cell in views["ceval"].cells.values() if cell.subject.model != first)
    alone = synthetic_findings(120, models=2, suites=("ceval",))
    alone.samples = alone.samples[alone.samples["model"] == whole.subject.model]
    alone.scores = alone.scores[alone.scores["model"] == whole.subject.model]
    same = analyse(alone).views[0].cells[whole.subject]
    assert (whole.value, whole.low, whole.high) == pytest.approx((same.value, same.low, same.high), abs=0.01)
    assert views["cmmlu"].n_compared == 120


@pytest.mark.parametrize("n_samples", [12, 100, 400])
def test_the_verdict_claims_no_difference_that_the_tests_do_not_support(n_samples: int) -> None:
    some = synthetic_findings(n_samples, suites=("ceval", "psyqa"), awkward=False)
    numbers = analyse(some)
    _, between, tuning = verdict(some, numbers)
    for view in numbers.views:
        for model, change in view.tuning.items():
            assert (f"{model} · {view.name} " in tuning.en) <= change.shown
        alone = re.search(
            rf"on [\w, ]*{view.name}[\w, ]* ([\w.-]+) is significantly ahead", between.en, re.IGNORECASE
        )
        if alone:
            leader = next(subject for subject in view.delivered if subject.model == alone[1])
            rest = [view.pair(leader, other) for other in view.delivered if other != leader]
            assert all(pair is not None and pair.verdict == "ahead" for pair in rest)
    shown = sum(pair.shown for view in numbers.views for pair in view.pairs)
    assert (
        f"{shown} of 30 pairwise differences" in between.en
        if shown
        else between.en.startswith("No two models (30 pairs) differ measurably")
    )


def test_the_verdict_names_forgetting() -> None:
    many = synthetic_findings(400, suites=("ceval", "cmmlu"), awkward=False)
    tuning = verdict(many, analyse(many))[2]
    assert "llama3.1-8b · ceval −" in tuning.en
    assert "forgetting" in tuning.en
    assert "遗忘" in tuning.zh


def test_six_equal_models_yield_no_claim_of_a_leader() -> None:
    equal = synthetic_findings(60, suites=("ceval", "cmmlu"), awkward=False)
    model = equal.samples["model"] == equal.models[0]
    truth = equal.samples[model & (equal.samples["variant"] == "base")].set_index(["suite", "sample_id"])[
        "correct"
    ]
    keys = pd.MultiIndex.from_frame(equal.samples[["suite", "sample_id"]])
    equal.samples["correct"] = truth.reindex(keys).to_numpy()
    equal.scores["value"] = 0.5
    between, tuning = verdict(equal, analyse(equal))[1:]
    assert between.en.startswith("No two models (30 pairs) differ measurably")
    assert tuning.en.startswith("Fine-tuning changed no score measurably (12 comparisons)")


def test_a_run_without_scores_still_has_its_page() -> None:
    stage = {"stage": "train", "model": "m", "variant": "tuned", "outcome": "failed", "why": "out of memory"}
    html = page(empty(stages=[stage], skipped=[("big", "needs 80 GiB")]))
    assert "1 stage failed" in html
    assert "needs 80 GiB" in html
    assert "out of memory" in html


def test_a_failure_is_told_in_short_with_the_end_of_its_log_a_click_away() -> None:
    why = "export ended with exit code 1\nlast lines of its log:\n    at line 7\n    ImportError: no x\nby hand: x <y>"
    stage = {"stage": "export", "model": "m", "variant": "", "outcome": "failed", "why": why}
    html = page(empty(stages=[stage]))
    assert re.search(r"Export</span>.*: </span>.*export ended with exit code 1: ImportError: no x", html)
    assert "导出</span>" in html
    assert (
        "<pre>export ended with exit code 1\nlast lines of its log:\n    at line 7\n    ImportError" in html
    )
    assert "by hand: x &lt;y&gt;</pre>" in html


def test_serving_speed_is_a_table_of_its_own_and_no_suite() -> None:
    some = synthetic_findings(15, models=2, suites=("ceval",))
    row = some.scores.iloc[0].to_dict() | {
        "suite": "speed",
        "benchmark": SPEED,
        "subset": "8 in flight",
        "metric": "ttft_s",
        "value": 0.27,
    }
    some.scores = pd.concat([some.scores, pd.DataFrame([row])], ignore_index=True)
    assert "15 questions from 1 test suite." in next(
        s.en for s in verdict(some, analyse(some)) if "answered" in s.en
    )
    assert '<td class="n">0.270</td>' in page(some)


def test_an_environments_packages_are_a_click_away() -> None:
    html = page(synthetic_findings(15, models=2, suites=("ceval",)))
    assert re.search(r"<summary>python 3.11.9 · 2 .*packages.*</summary>[^<]*peft 0.12.0", html)


def test_scores_without_samples_are_shown_without_claims() -> None:
    bare = synthetic_findings(60, suites=("ceval",))
    bare.samples = bare.samples.iloc[:0]
    html = page(bare)
    assert "No score is trusted and has its samples, so there are no intervals and no tests: " in html
    assert not any(view.pairs for view in analyse(bare).views)


@pytest.mark.parametrize("models", [1, 2])
def test_one_or_two_models_make_a_page_too(models: int) -> None:
    assert "Model comparison" in page(synthetic_findings(30, models=models, suites=("ceval",)))


def test_a_log_is_linked_relative_to_the_page(tmp_path: Path) -> None:
    log = tmp_path / "store" / "a log.txt"
    log.parent.mkdir()
    log.write_text("ready")
    stage = {
        "stage": "train",
        "model": "m",
        "variant": "",
        "outcome": "ran",
        "command": "true",
        "log": str(log),
    }
    html = page(empty(stages=[stage]), reports_dir=tmp_path / "reports")
    assert 'href="../store/a%20log.txt"' in html


def test_what_happened_on_the_way_is_told_once_for_all_whom_it_concerns() -> None:
    def stage(name: str, model: str, **facts: object) -> dict[str, object]:
        return {"stage": name, "model": model, "variant": "tuned", "outcome": "ran", "facts": facts}

    alarm = scores.ALWAYS_ONE_LETTER(letter="C", right=0.25)
    assert alarm == "100.0% of the answers are C, which is right for 25.0%"
    stages = [
        stage("evaluate", "m", suite="exam", alarms=[alarm], restarts=["ended with code 9"]),
        stage("evaluate", "m", suite="other", alarms=[], restarts=["ended with code 9"]),
        stage("evaluate", "n", suite="exam", alarms=[alarm]),
        stage(
            "parity",
            "m",
            warnings=[comparison.ROUNDED_AWAY(dtype="float16", share=0.2)],
        ),
        stage("deploy", "m", identity=answers.NOT_SHOWN(why=answers.NO_LOGPROBS())),
        stage("deploy", "n", identity="shown"),
        stage(
            "train",
            "m",
            attempts=[
                training.OUT_OF_MEMORY(batch=8, error="CUDA out of memory"),
                training.CONTINUED(checkpoint="checkpoint-6"),
            ],
        ),
    ]
    events = [
        {"event": "memory not returned", "model": "m", "gib": 3.25},
        {"event": "ended what a killed run left behind", "command": "swift deploy <b>"},
    ]
    html = page(empty(stages=stages, events=events))
    shown = re.sub(r"<[^>]+>", "", html[html.index('id="bk-cautions"') : html.index('id="bk-cost"')])
    told = [
        "m（微调） · exam、n（微调） · exam：",
        "m (tuned) · exam, n (tuned) · exam: ",
        "所有回复都选 C，而正确答案为 C 的题只占 25%",
        "every answer is C, but C is correct for only 25% of questions",
        "m（微调）：m (tuned): 服务中途停止，已重启：ended with code 9",
        "the service died and was started again: ended with code 9",
        "float16 舍入使适配器的 20% 丢失",
        "not shown to be the trained model: the service returns no log-probabilities",
        "m（微调） · 训练：m (tuned) · Training: 批大小 8",
        "时显存或内存不足，已减小批大小：CUDA out of memory",
        "服务结束后仍有 3.2 GiB 显存未释放",
        "ended a process that a killed run had left behind: swift deploy &lt;b&gt;",
    ]
    for text in told:
        assert shown.count(text) == 1, text
    assert "shown to be" not in shown.replace("not shown to be", "")


def test_the_verdict_says_where_tuning_taught_the_questions() -> None:
    many = synthetic_findings(400, models=3, suites=("ceval", "psyqa"), awkward=False)
    raised = next(d for view in analyse(many).views for d in view.tuning.values() if d.verdict == "ahead")
    leak = {
        "model": raised.a.model,
        "variant": "tuned",
        "suite": raised.suite,
        "n_leaked": 30,
        "n_asked": 400,
    }
    assert "training data" not in verdict(many, analyse(many))[2].en
    many.leakage = [leak]
    told = verdict(many, analyse(many))[2]
    assert f"but 30 of the 400 questions of {raised.suite} occur in the training data" in told.en
    assert f"{raised.suite} 的 400 题中有 30 题出现在训练数据中" in told.zh
    many.leakage = [{**leak, "expected": True}]
    assert (
        f"30 of the 400 questions of {raised.suite} are in the training set by design"
        in verdict(many, analyse(many))[2].en
    )


def test_what_the_engine_says_of_scores_and_rows_stands_in_chinese_too(tmp_path: Path) -> None:
    """A reason that is worded anew would stand on the Chinese page in English."""
    strict = scores.Thresholds(0.95, 0.0, 0.0, 0.0, 1.1)
    counts = scores.Ledger(10, 2, 2, 2, 2, 2)
    sample = scores.Sample("1", "a", 0, "q", ("a", "b"), "A", "A", "A", "A", "answered", 1.0, "", 0.1)
    bad = scores.Score("ALL", "acc", 0.0, dataclasses.replace(counts, asked=100), 0.0, 1.0, 0.5)
    reasons = [
        *scores.why_not(bad, [sample], strict),
        *scores.why_not(dataclasses.replace(bad, value=math.nan), [sample], strict),
        *scores.why_not(dataclasses.replace(bad, ledger=scores.Ledger(0, 0, 0, 0, 0, 0)), [], strict),
        scores.one_sided([dataclasses.replace(sample, target="B")] * 20),
    ]
    matrix = parse_matrix(
        {
            "models": {
                "a": {"model": "o/a", "dataset": ["o/d"], "needs": {"gpu_memory_gib": 70000}},
                "b": {"model": "o/b", "needs": {"packages": ["no_such_package"]}, "tune": False,
                      "training": {"seed": 2}, "serving": {"engine": "vllm"}},
            },
            "suites": {"ceval": {"hub": False}, "own": {"benchmark": "ceval", "data": "/nowhere"}},
        }
    )  # fmt: skip
    reasons += [why_unmet(spec, matrix) for spec in matrix.models.values()]
    reasons += [suite.why_no_data(tmp_path) for suite in matrix.suites.values()]
    unlike = [beside_the_guide(one) for one in differences(list(matrix.models.values()))]
    assert not re.search("[\u4e00-\u9fff]", "".join(unlike))
    intended = dataclasses.replace(differences(list(matrix.models.values()))[0], intended="2e-4 (guide 2.6)")
    assert beside_the_guide(intended).zh.endswith("。指南的设定：2e-4 (guide 2.6)")
    reasons += unlike
    stages = Stages(Workspace(tmp_path), Timeline(tmp_path / "events.jsonl"))

    def work(output: Path) -> Done:
        output.mkdir(parents=True, exist_ok=True)
        return Done()

    for folder, rate in (("x", 1), ("x", 1), ("y", 2), ("y", 3)):
        where = Workspace(tmp_path).model("m") / f"train-{folder}"
        stage = Stage(name="train", row="m", folder=where, recipe={"rate": rate}, facts=Facts)
        reasons.append(stages.ensure(stage, work).why)
    assert all(reasons)
    assert [one for one in reasons if not isinstance(one, Statement) or one.zh == one] == []


def test_a_chain_on_a_card_has_its_tokens_per_second_gpu_hours_and_memory(
    house: House,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", f"{TOOLS}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(gpus, "common_folder", lambda: house.root / "cards")
    house.row = {"needs": {"gpu_memory_gib": 10}}
    with house.run() as chain, contextlib.closing(Unprobed(chain, "base")) as deployment:
        records = [deployment.health(), chain.train().record, chain.export().record]
        found = empty(stages=[asdict(record) for record in records if record])
    (spent,) = summary(found.stages)
    assert [record.facts["gpus"] for record in records if record] == [1, 1, 1]
    assert spent.speed == "1,910"  # 95.5 tokens x 40 dialogues x 1 epoch in 2 s
    assert spent.card_memory == "30.5"
    assert float(spent.memory) < 1
    assert sum(gpu_hours(stage) for stage in found.stages) == pytest.approx(
        sum(stage["seconds"] for stage in found.stages) / 3600
    )
    assert [cost_of(stage, "").gpu_hours != "–" for stage in found.stages] == [True, True, True]


def test_all_commands_of_a_row_run_in_one_go(tmp_path: Path) -> None:
    """The service answers while it is asked, and has ended when the training begins."""
    url = f"http://127.0.0.1:{free_port()}/v1"
    log, port = tmp_path / "log", url.split(":")[2].split("/")[0]
    ask = f"curl --noproxy '*' --silent --fail {url}/models"
    lines = {
        "deploy": f"{sys.executable} {FAKES / 'chat_server.py'} --served_model_name m --port {port}",
        "parity": "true",
        "evaluate": f"{ask} > /dev/null && echo answered >> {log}",
        "speed": f"{ask} > /dev/null && echo answered >> {log}",
        "train": f"{ask} > /dev/null || echo ended >> {log}",
    }
    stages = [{"stage": stage, "model": "m", "command": line, "facts": {}} for stage, line in lines.items()]
    stages[0]["facts"] = {"by_hand_url": url}
    ((_, _, script),) = commands(stages)
    subprocess.run(["bash", "-c", script], timeout=60, check=False, capture_output=True)
    assert log.read_text().split() == ["answered", "answered", "ended"]


def test_things_skipped_for_one_reason_share_a_line() -> None:
    html = page(empty(skipped=[("a", "no GPU"), ("b", "no GPU"), ("c", "no data")]))
    assert re.search(r"<b>a<[^\n]*>、<[^\n]*>, <[^\n]*>b</b>[^\n]*>: <[^\n]*no GPU", html)
    assert html.count("no GPU") == 1


def test_the_way_intervals_were_made_is_told_in_both_languages(analysis: Analysis) -> None:
    """A method that the statistics module words anew would stand there in English only."""
    few = analyse(synthetic_findings(15, models=2, suites=("ceval", "psyqa")))
    many = analyse(synthetic_findings(400, models=2, suites=("ceval",)))
    for view in [*analysis.views, *few.views, *many.views]:
        zh, en = re.findall(r"<span[^>]*>(.*?)</span>", str(said(view.method)))
        assert zh != en


def test_judgements_of_people_and_of_a_model_are_shown(tmp_path: Path) -> None:
    judged = synthetic_findings(30, suites=("ceval",))
    judged.ratings = synthetic_ratings(tmp_path)
    html = page(judged)
    assert "Crisis cases (reported separately, never averaged in)" in html
    assert "not calibrated" in html
    judge = judged.ratings["judges"][0]
    for row in (*judged.ratings["raters"]["consistency"], *judged.ratings["raters"]["severity"]):
        assert f'<th scope="row">{row["rater"]}</th>' in html
    assert "Severity (difference from the other raters’ mean" in html
    assert "Self-consistency (repeated items)" in html
    assert "No pairs were compared in both orders" in html
    for measured in judge["calibration"].values():
        assert f"{measured['alpha']['value']:.2f}".replace("-", "−") in html
    assert judge["why"] in html
    assert judge["why_zh"] in html
    assert html.count("危机核查（回答“是”）") == 2  # by people, and by the model


def test_crises_are_averaged_into_no_order() -> None:
    findings = synthetic_findings(60, models=3, suites=("ceval", "psyqa"))
    for table in (findings.scores, findings.samples):
        table["suite"] = table["suite"].replace({"psyqa": "crisis"})
    findings.scores["trusted"] = True
    before = analyse(findings).order
    for model in findings.models:
        turned = (findings.scores["suite"] == "crisis") & (findings.scores["model"] == model)
        findings.scores.loc[turned, "value"] = 0.4 * before.index(model)
    assert analyse(findings).order == before


def test_judgements_of_other_weights_and_another_rubric_are_said_to_be_so(tmp_path: Path) -> None:
    judged = synthetic_findings(30, suites=("ceval",))
    judged.ratings = synthetic_ratings(tmp_path)
    subject = judged.ratings["study"]["subjects"][0]
    judged.ratings["stale"] = [{"subject": subject, "judged": "a" * 64, "now": "b" * 64}]
    judged.ratings["counts"]["other_rubric"] = 7
    judged.ratings["others"] = [synthetic_ratings(tmp_path / "newer")]
    html = page(judged)
    model, _, kind = subject.partition("/")
    told = f"{model} ({kind}): the rated replies are those of an earlier deployment "
    told += "(other weights, template or serving: aaaaaaaaaaaa)"
    assert f"{told}; this run has bbbbbbbbbbbb." in html
    assert "7 more ratings were made under another version of the rubric" in html
    assert html.count("评审模型的可信度：") == 2
    assert HOSTILE not in html


def test_the_browser_holds_every_reply_when_there_is_room(findings: Findings, analysis: Analysis) -> None:
    packed = pack(findings, analysis.views)
    data = unpacked(packed[0].data)
    assert packed[0].n_shown == packed[0].n_questions == len(data["rows"]) == 120
    first = next(row for row in data["rows"] if row[1] == 0)
    assert HOSTILE in first[3]
    assert len(first[7]) == len(data["subjects"]) == 11


def test_what_is_held_is_spread_over_subjects_and_outcomes_where_room_is_short() -> None:
    many = synthetic_findings(400, suites=("ceval",))
    view = analyse(many).views
    packed = pack(many, view, budget_bytes=30_000)[0]
    rows = unpacked(packed.data)["rows"]
    assert len(rows) == packed.n_shown < packed.n_questions
    assert len({row[2] for row in rows}) == len(unpacked(packed.data)["subsets"])
    assert 0 < packed.n_disagreeing_shown < packed.n_shown
    assert any(all(not one or one[3] == 0 for one in row[7]) for row in rows)
    assert any(row[6] for row in rows)
    assert len({row[0] for row in unpacked(pack(many, view)[0].data)["rows"]}) == 400


def test_a_long_reply_is_cut_in_the_middle_and_says_so() -> None:
    one = synthetic_findings(15, models=2, suites=("ceval",))
    one.samples.loc[0, "reply"] = "头" * 3000 + "尾"
    view = analyse(one).views
    packed = pack(one, view)[0]
    reply = next(row for row in unpacked(packed.data)["rows"] if row[1] == 0)[7][0][0]
    assert packed.n_clipped == 1
    assert len(reply) < REPLY_CHARS + 20
    assert "⟦… 2301 …⟧" in reply
    assert reply.endswith("尾")


def test_a_question_that_stands_twice_stays_two() -> None:
    twice = synthetic_findings(15, models=2, suites=("ceval",))
    again = twice.samples[twice.samples["index"] == 3].assign(index=15)
    twice.samples = pd.concat([twice.samples, again], ignore_index=True)
    view = analyse(twice).views
    assert pack(twice, view)[0].n_shown == 16


def test_findings_survive_the_store(findings: Findings, analysis: Analysis, tmp_path: Path) -> None:
    saved(findings, tmp_path, findings.run_id)
    again = Findings.from_store(tmp_path)
    assert again.subjects == findings.subjects
    pd.testing.assert_frame_equal(again.scores, findings.scores, check_dtype=False)
    assert verdict(again, analyse(again)) == verdict(findings, analysis)


def test_the_latest_run_is_the_one_that_started_last(findings: Findings, tmp_path: Path) -> None:
    small = synthetic_findings(15, models=2, suites=("ceval",))
    saved(small, tmp_path, "b", "2026-03-01T00:00:00+08:00")
    saved(small, tmp_path, "a", "2026-03-02T00:00:00+08:00")
    assert Findings.from_store(tmp_path).run_id == "a"
    assert Findings.from_store(tmp_path, "b").run_id == "b"


def test_the_table_of_pytest_stays_below_a_rebuilt_comparison(tmp_path: Path) -> None:
    some = synthetic_findings(15, models=2, suites=("ceval",))
    page_of_pytest = f"<html><h1>{section(some)}</h1><table id='results-table'></table></html>"
    (tmp_path / "index.html").write_text(page_of_pytest, encoding="utf-8")
    some.skipped = [("big", "needs 80 GiB")]
    again = write_page(some, tmp_path).read_text(encoding="utf-8")
    assert again.endswith("</h1><table id='results-table'></table></html>")
    assert again.count("bk-cautions") == page_of_pytest.count("bk-cautions")
    assert "needs 80 GiB" in again
    some.run_id = "another"
    assert "<table id='results-table'>" not in write_page(some, tmp_path).read_text(encoding="utf-8")


def test_judgements_made_after_a_run_are_on_its_rebuilt_page(tmp_path: Path) -> None:
    saved(
        synthetic_findings(15, models=2, suites=("ceval",)), tmp_path, "monday", "2026-03-01T00:00:00+08:00"
    )
    saved(
        synthetic_findings(15, models=2, suites=("ceval",)), tmp_path, "tuesday", "2026-03-02T00:00:00+08:00"
    )
    options = ["--store", str(tmp_path), "--out", str(tmp_path / "reports")]
    told = "Human and LLM-judge ratings"
    assert main(options) == 0
    assert told not in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    synthetic_ratings(Workspace(tmp_path).ratings.parent)
    assert main(options) == 0
    assert told in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert main([*options, "--run", "monday"]) == 0  # somebody judged what came later
    assert told not in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")


def test_an_unknown_run_names_the_known_ones(tmp_path: Path) -> None:
    saved(synthetic_findings(15, models=2, suites=("ceval",)), tmp_path, "monday")
    with pytest.raises(StoreError, match=r"no run named 'tuesday'; latest known: monday"):
        Findings.from_store(tmp_path, "tuesday")
    with pytest.raises(StoreError, match="no run yet"):
        Findings.from_store(tmp_path / "elsewhere")


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    folder = saved(synthetic_findings(15, models=2, suites=("ceval",)), tmp_path, "monday")
    (folder / "samples.parquet").write_bytes(b"half")
    with pytest.raises(StoreError, match=r"samples\.parquet: not a readable Parquet file"):
        Findings.from_store(tmp_path)
    (folder / "run.json").write_text("{")
    with pytest.raises(StoreError, match=r"run\.json: not a readable JSON file"):
        Findings.from_store(tmp_path)


def test_columns_are_those_of_the_scores_module() -> None:
    assert set(SCORE_COLUMNS) == set(tables.SCORE_COLUMNS)
    assert set(SAMPLE_COLUMNS) == set(tables.SAMPLE_COLUMNS)


def test_csv_json_and_parquet_hold_the_same_scores(findings: Findings, tmp_path: Path) -> None:
    write_tables(findings, tmp_path)
    csv = pd.read_csv(tmp_path / "scores.csv")
    listed = pd.read_json(tmp_path / "scores.json")
    pd.testing.assert_series_equal(csv["value"], listed["value"])
    assert len(csv) == len(findings.scores)
    assert len(pd.read_parquet(tmp_path / "samples.parquet")) == len(findings.samples)
    pairs = pd.read_csv(tmp_path / "differences.csv")
    assert set(pairs["family"]) == {"models", "bases", "tuning"}
    assert pairs["p_adjusted"].between(0, 1).all()


def test_paper_tables_hold_what_the_page_shows(
    findings: Findings, analysis: Analysis, tmp_path: Path
) -> None:
    write_tables(findings, tmp_path)
    text, tex = (
        (tmp_path / "tables.md").read_text(encoding="utf-8"),
        (tmp_path / "tables.tex").read_text(encoding="utf-8"),
    )
    cell = next(cell for cell in analysis.views[0].ordered() if cell.ranked)
    assert f"{100 * cell.value:.1f} \\[{100 * cell.low:.1f}, {100 * cell.high:.1f}\\] {cell.letters}" in text
    assert f"{100 * cell.value:.1f}\\textsuperscript{{{cell.letters}}}" in tex
    assert "invalid" in text
    assert tex.count(r"\begin{table}") == tex.count(r"\end{table}") == 2
    rows = [line for line in tex.splitlines() if line.endswith(r"\\") and "begin{tabular}" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {
        len(analysis.views) + 1,
        len(analysis.views),
    }
    assert "pceb_mcq" not in tex, "an underscore outside mathematics stops LaTeX"


def test_make_report_rebuilds_everything_from_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(synthetic_findings(15, models=2, suites=("ceval",)), tmp_path / "store", "monday")
    assert main(["--store", str(tmp_path / "store"), "--out", str(tmp_path / "reports")]) == 0
    written = {Path(line).name for line in capsys.readouterr().out.splitlines()}
    assert written == {
        "index.html",
        "scores.csv",
        "scores.json",
        "differences.csv",
        "tables.md",
        "tables.tex",
        "samples.parquet",
    }
    assert main(["--store", str(tmp_path / "none"), "--out", str(tmp_path / "reports")]) == 2
    assert "no run yet" in capsys.readouterr().err


def test_a_page_can_be_written_where_no_folder_is_yet(tmp_path: Path) -> None:
    target = write_page(empty(), tmp_path / "new" / "reports")
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_speed_has_a_table_of_its_own_and_is_no_suite(findings: Findings) -> None:
    rows = speed_rows(
        [Speed(1, 16, 16, 0.123, 1.5, 40.0, 0.5), Speed(64, 256, 250, 0.9, 4.25, 1234.5, 12.0)],
        run_id="r",
        model="qwen2.5-7b",
        variant="tuned",
        fingerprint="",
    )
    scores = pd.concat([findings.scores, pd.DataFrame(rows)], ignore_index=True)
    measured = dataclasses.replace(findings, scores=with_columns(scores, SCORE_COLUMNS))
    assert measured.suites == findings.suites
    assert [(one["load"], one["ttft_s"], one["n_asked"]) for one in measured.speeds] == [
        ("1", 0.123, 16),
        ("64", 0.9, 256),
    ]
    text = page(measured)
    part = text[text.index('<section id="bk-speed">') :]
    part = part[: part.index("</section>")]
    for shown in ("0.123", "1.50", "1,234", "12.00", "6 of 256 requests failed", "服务速度", "Serving speed"):
        assert shown in part
    assert "speed · 0" not in text
    assert "bk-speed" not in page(findings)


def test_the_ledger_shows_agreement_answers_and_what_was_not_searched_for(findings: Findings) -> None:
    suite = findings.suites[0]
    told = [
        {
            "model": subject.model,
            "variant": subject.variant,
            "suite": suite,
            "agreement": 0.987,
            "answers": {"A": 70, "B": 49, "": 1},
            "alarms": [],
            "leakage_not_checked": "owner/name is not in the cache" if subject.variant == "base" else "",
        }
        for subject in findings.subjects
    ]
    unseen = findings.samples.assign(leaked=False)
    text = page(dataclasses.replace(findings, samples=unseen, evaluations=told))
    assert "98.7%" in text
    assert "A 70 · B 49 · ∅ 1" in re.sub(r"<[^>]+>", "", text)
    assert text.count("not checked</span></td>") == sum(one["variant"] == "base" for one in told)
    assert "Leakage not checked: " in text
    assert ": owner/name is not in the cache</p>" in text
    assert "not checked" not in page(findings)


def unfinished(**changes: object) -> Findings:
    """Two models on one suite; another suite failed for both, a third had no data."""
    some = synthetic_findings(60, models=2, suites=("ceval",), awkward=False)
    some.asked = [(m, "tuned", s) for m in some.models for s in ("ceval", "my_exam", "cmmlu_full")]
    why = Suite(name="cmmlu_full", benchmark="cmmlu", hub=False).why_no_data(None)
    some.skipped = [(some.models[0], why), (some.models[1], why), ("big", "needs a GPU with 80 GiB")]
    for name, value in changes.items():
        setattr(some, name, value)
    return some


def test_the_first_sentence_tells_what_failed_and_what_was_left_out() -> None:
    some = unfinished()
    first = verdict(some, analyse(some))[0]
    assert "the evaluation of 1 suite failed (my_exam: " in first.en.lower()
    assert "1 suite was left out (cmmlu_full)" in first.en
    assert "1 row was skipped (big)" in first.en
    assert first.bad
    assert "1 个测试集评测失败（my_exam" in first.zh
    assert page(some).index("my_exam") < page(some).index("All 4 scores are valid")


def test_a_failed_stage_is_linked_from_the_first_sentence() -> None:
    stage = {
        "stage": "train",
        "model": "big",
        "variant": "tuned",
        "outcome": "failed",
        "why": "out of memory",
    }
    html = page(unfinished(stages=[stage]))
    assert 'href="#bk-failed"' in html
    assert 'id="bk-failed"' in html


def test_a_failed_stage_of_no_row_is_named_alone() -> None:
    stage = {"stage": "judge", "model": "", "variant": "", "outcome": "failed", "why": "no key"}
    some = synthetic_findings(60, models=2, suites=("ceval",), awkward=False)
    some.stages = [stage]
    assert "1 stage failed (Rating by the judge model)" in verdict(some, analyse(some))[0].en


def test_a_run_without_a_shortfall_tells_of_none() -> None:
    some = synthetic_findings(60, models=2, suites=("ceval",), awkward=False)
    assert not any(sentence.bad for sentence in verdict(some, analyse(some)))
    assert verdict(some, analyse(some))[0].en.startswith("2 models answered 60 questions")


def test_an_untrusted_subset_is_shown_as_invalid_with_its_reason() -> None:
    some = synthetic_findings(60, models=2, suites=("ceval",), awkward=False)
    subset = next(name for name in some.scores["subset"] if name != "ALL")
    some.scores.loc[some.scores["subset"] == subset, ["trusted", "why_not"]] = [False, "9 of 15 were <empty>"]
    view = analyse(some).views[0]
    assert subset in view.subsets.index
    assert view.subsets.loc[subset].isna().all()
    assert len(view.subsets) == 4
    assert page(some).count("9 of 15 were &lt;empty&gt;") == 4
    assert "All 4 scores are valid, but 4 subject scores are not." in verdict(some, analyse(some))[0].en


def test_bases_and_tuned_models_share_no_letter(analysis: Analysis) -> None:
    cells = [cell for view in analysis.views for cell in view.cells.values() if cell.letters]
    assert {cell.letters.isupper() for cell in cells if cell.subject.variant == "tuned"} == {True}
    assert {cell.letters.islower() for cell in cells if cell.subject.variant == "base"} == {True}


def test_a_significant_difference_too_small_to_matter_is_said_to_be_so() -> None:
    many = synthetic_findings(400, models=3, suites=("ceval",), awkward=False)
    many.interest = {"ceval": 0.9}
    numbers = analyse(many)
    assert any(pair.shown for pair in numbers.views[0].pairs)
    assert "statistically different, but less than 90 points" in page(many)
    assert "smaller than 90 points" in verdict(many, numbers)[1].en
    assert recommendation(many, numbers).en.startswith("None: no two models differ")


def test_the_card_recommends_only_whom_no_other_model_beats() -> None:
    many = synthetic_findings(400, suites=("ceval",), awkward=False)
    numbers = analyse(many)
    view = numbers.views[0]
    beaten = {(p.b if p.verdict == "ahead" else p.a).model for p in view.pairs if p.matters(view.interest)}
    text = recommendation(many, numbers).en
    assert beaten
    assert not any(text.startswith(f"{model}:") for model in beaten)
    assert not any(f" {model}" in text for model in beaten)


def test_a_demonstration_says_that_it_is_one_and_recommends_nobody() -> None:
    tiny = synthetic_findings(60, models=2, suites=("ceval",), awkward=False)
    assert "Demonstration on tiny random models" not in page(tiny)
    tiny.rows = [dataclasses.replace(row, base_model="tiny:llama") for row in tiny.rows]
    assert "Demonstration on tiny random models" in page(tiny)
    assert recommendation(tiny, analyse(tiny)).en.startswith("None")


def test_people_the_judge_model_and_crises_are_in_the_verdict(tmp_path: Path) -> None:
    some = synthetic_findings(60, models=3, suites=("ceval",), awkward=False)
    some.ratings = synthetic_ratings(tmp_path, hostile=False)
    text = " ".join(sentence.en for sentence in verdict(some, analyse(some)))
    assert "3 raters, 7 cases: overall quality is highest for qwen2.5-7b" in text
    assert re.search(r"Judge model judge \((not )?calibrated, α with people", text)
    assert "Crisis cases" in text


def test_what_could_be_detected_agrees_between_verdict_and_table(tmp_path: Path) -> None:
    alike = synthetic_findings(32, models=3, suites=("ceval",), awkward=False)
    alike.samples["correct"] = (alike.samples["index"] % 2).astype(float)
    write_tables(alike, tmp_path)
    table = pd.read_csv(tmp_path / "differences.csv")
    rows = table[table["family"] == "models"]
    assert rows["mdd"].isna().all()
    assert rows["least_detectable"].tolist() == pytest.approx([7 / 32] * 3)
    assert "a gap of about 22 points or more" in verdict(alike, analyse(alike))[1].en
