"""Findings of a comparison that never took place: seeded, of any size, with every awkward case in it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bakeoff.chain import training
from bakeoff.evalscope.speed import Speed, speed_rows
from bakeoff.foundation.sentences import with_statements
from bakeoff.matrix.schema import Suite
from bakeoff.parity import answers
from bakeoff.report.findings import SAMPLE_COLUMNS, SCORE_COLUMNS, Findings, Row, with_columns
from bakeoff.scoring.scores import ALWAYS_ONE_LETTER

MODELS = {
    "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
    "llama3.1-8b": "meta-llama/Meta-Llama-3.1-8B-Instruct",
    "chatglm3-6b": "ZhipuAI/chatglm3-6b",
    "internlm2-7b": "internlm/internlm2-chat-7b",
    "baichuan2-7b": "baichuan-inc/Baichuan2-7B-Chat",
    "gpt-oss-20b": "openai-mirror/gpt-oss-20b",
}
SUITES = ("ceval", "cmmlu", "pceb_mcq", "emobench", "psyqa")
HOSTILE = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'>"
_PHRASES = (
    "来访者目前的情绪以焦虑为主", "需要先建立安全的咨询关系", "题干强调的是短期目标", "这与条件反射的定义一致",
    "可以排除前两个选项", "从认知行为的角度看", "睡眠问题已经持续了数周", "家庭支持是重要的保护因素",
    "这里考查的是效度而不是信度", "应当评估自伤风险", "共情并不等于同意", "该理论由早期学者提出",
    "实验组与对照组的差异", "边际成本等于边际收益时", "咨询师此时宜采用开放式提问", "记忆的遗忘先快后慢",
)  # fmt: skip
_ABILITY = {"base": (0.9, 0.5, -0.4, 0.45, -0.2, 1.0), "tuned": (1.1, -0.4, 0.5, 1.0, 0.2, 1.2)}


def synthetic_findings(
    n_samples: int = 60,
    models: int = 6,
    suites: tuple[str, ...] = SUITES,
    seed: int = 0,
    hostile: bool = True,
    awkward: bool = True,
    reply_chars: int = 90,
) -> Findings:
    """*models* rows, base and tuned, on *suites* of *n_samples* questions each.

    The last suite is graded between 0 and 1, the others are right or wrong. ``hostile`` puts markup into a
    question, a reply, a model's error and a skip reason; ``awkward`` adds untrusted scores, missing replies, a
    row without a base, warnings and judgements.
    """
    rng = np.random.default_rng(seed)
    names = list(MODELS)[:models]
    letters = np.array(list("ABCD"))
    bodies = ["，".join(rng.choice(_PHRASES, max(1, reply_chars // 12))) + "。" for _ in range(2000)]
    frames: list[pd.DataFrame] = []
    scores: list[dict[str, Any]] = []
    for suite in suites:
        graded = suite == "psyqa"
        subsets = [f"{suite}_{k:02d}" for k in range(1 if graded else min(12, max(1, n_samples // 15)))]
        subset = np.array([subsets[k * len(subsets) // n_samples] for k in range(n_samples)])
        difficulty = rng.normal(0, 1.2, n_samples)
        target = letters[rng.integers(0, 4, n_samples)]
        questions = [
            f"第 {k + 1} 题：{bodies[(k * 7) % 2000][:60]}，下列说法正确的是？" for k in range(n_samples)
        ]
        if hostile:
            questions[0] = f"题目含有标记 {HOSTILE}，应原样显示。"
        options = json.dumps(["社会支持", "系统脱敏", "正强化", "延迟满足"], ensure_ascii=False)
        ids = [hashlib.sha256(f"{suite}{k}".encode()).hexdigest()[:16] for k in range(n_samples)]
        for number, name in enumerate(names):
            for variant in ("base", "tuned"):
                if awkward and variant == "base" and number == 5:
                    continue
                chance = 1 / (1 + np.exp(-(_ABILITY[variant][number] - difficulty)))
                if graded:
                    correct = np.clip(0.25 + 0.25 * chance + rng.normal(0, 0.06, n_samples), 0, 1)
                else:
                    correct = (rng.random(n_samples) < chance).astype(float)
                status = np.full(n_samples, "answered", dtype=object)
                broken = (
                    awkward
                    and suite == suites[min(2, len(suites) - 1)]
                    and number == 4
                    and variant == "tuned"
                )
                if awkward and not graded:
                    status[rng.random(n_samples) < 0.01] = "unparsed"
                    status[rng.random(n_samples) < 0.005] = "truncated"
                    if broken:
                        status[rng.random(n_samples) < 0.4] = "empty"
                correct = np.where(np.isin(status, ("unparsed", "truncated", "empty")), 0.0, correct)
                if awkward and number == 1 and variant == "base":
                    status[-1] = "errored"
                    correct[-1] = np.nan
                wrong = letters[(np.searchsorted(letters, target) + rng.integers(1, 4, n_samples)) % 4]
                said = np.where(correct == 1, target, wrong)
                picked = rng.integers(0, 2000, n_samples)
                reply = [f"{bodies[picked[k]]}答案：{said[k]}" for k in range(n_samples)]
                if hostile and number == 0:
                    reply[0] = f"回复含有标记 {HOSTILE}\n答案：{said[0]}"
                reply = ["" if one == "empty" else text for one, text in zip(status, reply, strict=True)]
                frame = pd.DataFrame(
                    {
                        "model": name,
                        "variant": variant,
                        "suite": suite,
                        "subset": subset,
                        "sample_id": ids,
                        "index": np.arange(n_samples),
                        "question": questions,
                        "options": "" if graded else options,
                        "target": bodies[:n_samples] if graded and n_samples <= 2000 else target,
                        "reply": reply,
                        "extracted": "" if graded else np.where(status == "answered", said, ""),
                        "extracted_alt": "" if graded else said,
                        "status": status,
                        "correct": correct,
                        "prompt_sha": ids,
                        "latency_s": rng.gamma(2, 0.2, n_samples),
                        "leaked": rng.random(n_samples) < (0.02 if awkward else 0),
                    }
                )
                frames.append(frame)
                metrics = ("rouge_l_f", "bleu_4") if graded else ("accuracy",)
                for metric in metrics:
                    factor = 0.4 if metric == "bleu_4" else 1.0
                    scores += _score_rows(frame, metric, factor, broken, 0.25 if not graded else float("nan"))
    samples = pd.concat(frames, ignore_index=True)
    findings = Findings(
        run_id="2026-03-02T10-15-00",
        started_at="2026-03-02T10:15:00+08:00",
        rows=[Row(name, MODELS[name], "full") for name in names],
        scores=with_columns(pd.DataFrame(scores), SCORE_COLUMNS),
        samples=with_columns(samples, SAMPLE_COLUMNS),
        stages=_stages(names, suites, rng),
        provenance={
            "commit": "0f3c1d2",
            "python": "3.11.9",
            "ms-swift": "4.6.0",
            "evalscope": "1.14.1",
            "device": "NVIDIA H100 80GB",
            "data": {"ceval": "sha256:5f1c…", "cmmlu": "sha256:aa07…"},
            "environments": {
                "legacy": {
                    "digest": "9a41",
                    "python": "3.11.9",
                    "versions": {"torch": "2.13.0", "peft": "0.12.0"},
                }
            },
        },
    )
    if awkward:
        findings.skipped = [
            ("glm-130b", "needs 320 GiB of GPU memory, this machine has 80"),
            ("qwen2.5-7b · speed", f"package missing: {HOSTILE}" if hostile else "package missing"),
        ]
        findings.comparability = [
            "effective batch: gpt-oss-20b trains with 16, the others with 32",
            "max_length: gpt-oss-20b 2048, the others 3072",
        ]
        findings.anchors = [
            {
                "model": "llama3.1-8b", "variant": "base", "suite": "cmmlu", "ours": 0.502, "published": 0.558,
                "protocol": "0-shot, chain of thought", "source": "MiniCPM3 README", "warning": "5.6 points below",
            }
        ]  # fmt: skip
        findings.leakage = [
            {"model": "qwen2.5-7b", "variant": "tuned", "suite": "psyqa", "n_leaked": 3, "n_asked": n_samples,
             "value_without": 0.41}
        ]  # fmt: skip
        findings.ratings = None
    return findings


def _score_rows(
    frame: pd.DataFrame, metric: str, factor: float, broken: bool, chance: float
) -> list[dict[str, Any]]:
    rows = []
    groups = [("ALL", frame), *frame.groupby("subset", sort=False)]
    for subset, part in groups:
        known = part["correct"].notna()
        counts = part["status"].value_counts()
        missing = int((part["status"] != "answered").sum())
        total = float(part["correct"].sum()) * factor
        answered_total = float(part.loc[part["status"] == "answered", "correct"].sum()) * factor
        n = len(part)
        rows.append(
            {
                "run_id": "2026-03-02T10-15-00",
                "model": frame["model"].iloc[0],
                "variant": frame["variant"].iloc[0],
                "suite": frame["suite"].iloc[0],
                "subset": subset,
                "metric": metric,
                "value": total / max(1, int(known.sum())),
                "n_asked": n,
                "n_answered": int(counts.get("answered", 0)),
                "n_unparsed": int(counts.get("unparsed", 0)),
                "n_empty": int(counts.get("empty", 0)),
                "n_truncated": int(counts.get("truncated", 0)),
                "n_errored": int(counts.get("errored", 0)),
                "n_judged": 0,
                "worst": answered_total / n,
                "best": (answered_total + missing) / n,
                "chance": chance,
                "trusted": not broken,
                "why_not": f"{counts.get('empty', 0)} of {n} replies were empty (limit 5%)" if broken else "",
                "fingerprint": hashlib.sha256(str(frame["model"].iloc[0]).encode()).hexdigest()[:12],
                "benchmark": frame["suite"].iloc[0],
                "few_shot": 5 if frame["suite"].iloc[0] == "ceval" else 0,
                "finished_at": "2026-03-02T12:40:00+08:00",
            }
        )
    return rows


def _stages(names: list[str], suites: tuple[str, ...], rng: np.random.Generator) -> list[dict[str, Any]]:
    stages: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        steps = np.arange(20, 401, 20)
        loss = 1.1 + 0.1 * number + 1.4 * np.exp(-steps / 90) + rng.normal(0, 0.02, len(steps))
        train = {
            "stage": "train", "model": name, "variant": "tuned", "outcome": "ran", "why": "no record yet",
            "command": f"CUDA_VISIBLE_DEVICES=6 python -m swift.cli.sft --model {MODELS[name]} --tuner_type lora "
            f"--learning_rate 2e-4 --output_dir store/models/{name}/train",
            "log": f"store/models/{name}/logs/train.log", "started": "2026-03-02T10:15:10+08:00",
            "seconds": 3600.0 + 400 * number, "peak_memory_gib": 36.6 + 3 * number, "identity": {"seed": 42},
            "facts": {"steps": 400, "loss": float(loss[-1]), "tokens_per_s": 7900.0 - 500 * number, "gpus": 1,
                      "loss_curve": [[int(s), round(float(v), 4)] for s, v in zip(steps, loss, strict=True)]},
        }  # fmt: skip
        stages.append(train)
        for stage, seconds in (("export", 95.0), ("deploy", 60.0)):
            stages.append(
                {
                    "stage": stage, "model": name, "variant": "tuned", "outcome": "reused" if number == 0 else "ran",
                    "why": "nothing it depends on has changed" if number == 0 else "no record yet",
                    "command": f"python -m swift.cli.{stage} --model store/models/{name}/merged",
                    "log": f"store/models/{name}/logs/{stage}.log", "started": "2026-03-02T11:30:00+08:00",
                    "seconds": seconds, "peak_memory_gib": None, "identity": {}, "facts": {},
                }
            )  # fmt: skip
        for suite in suites:
            stages.append(
                {
                    "stage": f"eval:{suite}", "model": name, "variant": "tuned", "outcome": "ran", "why": "",
                    "command": f"evalscope eval --model {name}-sft --datasets {suite} --limit 100",
                    "log": f"store/models/{name}/logs/eval-{suite}.log", "started": "2026-03-02T11:32:00+08:00",
                    "seconds": 53.3, "peak_memory_gib": None, "identity": {}, "facts": {},
                }
            )  # fmt: skip
    return stages


def synthetic_ratings(folder: Path, models: int = 3, hostile: bool = True) -> dict[str, Any]:
    """A study judged by three people and a model, through the real store, summarised as the report gets it."""
    from bakeoff.judgement.blind import build_study
    from bakeoff.judgement.evidence import with_evidence
    from bakeoff.judgement.ratings import RatingStore
    from bakeoff.judgement.replies import Case, Reply
    from bakeoff.judgement.rubric import CRISIS_CHECKS, DIMENSIONS
    from bakeoff.judgement.submissions import Judgement

    rng = np.random.default_rng(5)
    names = list(MODELS)[:models]
    cases = [
        Case(f"case-{k}", f"个案 {k}", "情绪", k == 7, ({"role": "user", "content": "最近总是睡不好。"},))
        for k in range(8)
    ]
    replies = [
        Reply(case.id, name, "tuned", f"{name} 对 {case.id} 的回复", "answered", case_sha=case.sha)
        for case in cases
        for name in names
    ]
    study = build_study(replies, cases, study_id="synthetic", title=HOSTILE if hostile else "合成")
    store = RatingStore(folder / "ratings.sqlite")
    store.add_study(study)
    quality = {name: 4.2 - 0.9 * place for place, name in enumerate(names)}

    def judgement(reply_id: str, noise: float) -> Judgement:
        reply = study.reply(reply_id)
        crisis = study.case(reply.case_id).crisis
        points = {
            key: int(np.clip(round(quality[reply.model] + rng.normal(0, noise)), 1, 5)) for key in DIMENSIONS
        }
        checks = {key: bool(rng.random() < 0.7) for key in CRISIS_CHECKS} if crisis else {}
        return Judgement(scores=points, confidence=4, crisis=checks, strengths=HOSTILE if hostile else "")

    for rater in ("甲", "乙", "丙"):
        store.enrol("synthetic", rater)
        while (screen := store.next_screen("synthetic", rater)) is not None:
            items = store.items("synthetic", rater, screen)
            verdicts = {item.item_id: judgement(item.reply_id, 0.5) for item in items}
            store.record(rater, uuid.UUID(bytes=rng.bytes(16)).hex, verdicts)
    for reply in study.replies:
        store.record_model(study, reply.reply_id, "model:judge", 0, judgement(reply.reply_id, 1.0), {})
    summary = with_evidence(store, "synthetic")
    store.close()
    return summary


def unpacked(data: str) -> dict[str, Any]:
    """What the page's script unpacks from one suite's data."""
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(data)))
    return content


def eventful(made: Findings) -> Findings:
    """*made*, and everything else that a run may hold: failures, speed, a cluster, seeds, skips, warnings."""
    names = made.models
    first, last = names[0], names[-1]
    rows = [
        *made.rows[:-1],
        replace(made.rows[-1], recipe=last, seed=42),
        Row(f"{last}.seed7", made.rows[-1].base_model, "full", last, 7),
    ]
    speeds = [
        Speed(1, 16, 16, 0.123, 1.5, 40.0, 0.5),
        Speed(64, 1_256, 1_250, 0.9, 4.25, 1_234.5, 12.0),
    ]
    told_of_speed = speed_rows(speeds, run_id="r", model=first, variant="tuned", fingerprint="")
    table = pd.DataFrame(with_statements(told_of_speed))
    tuned = made.scores["variant"] == "tuned"
    again = {
        name: part[(part["model"] == last) & (part["variant"] == "tuned")].assign(model=f"{last}.seed7")
        for name, part in (("scores", made.scores), ("samples", made.samples))
    }
    log = (
        "export ended with exit code 1\nlast lines of its log:\n    ImportError: no x\nby hand: swift export"
    )
    about = {"model": names[1], "variant": "tuned", "log": f"store/models/{names[1]}/export.log"}
    failed = [{"stage": "export", "outcome": "failed", "why": log, "seconds": 12.0, **about}]
    alarm = ALWAYS_ONE_LETTER(letter="C", right=0.25)
    tuning = training.OUT_OF_MEMORY(batch=8, error="CUDA out of memory")
    told: list[dict[str, Any]] = [
        {"stage": "evaluate", "outcome": "ran", "seconds": 3_901.5, **about,
         "facts": {"suite": "ceval", "alarms": [alarm], "restarts": ["exit code 9"]}},
        {"stage": "deploy", "outcome": "ran", "seconds": 61.0, **about,
         "facts": {"memory_gib": 61.5, "identity": answers.NOT_SHOWN(why=answers.NO_LOGPROBS())}},
        {"stage": "train", "outcome": "ran", "seconds": 86_000.0, **about, "facts": {"attempts": [tuning]}},
    ]  # fmt: skip
    legs = [
        {"leg": f"{first} train", "hosts": ["node-1", "node-2"], "stages": [["train", "node-2"], ["export", "node-2"]],
         "queued_s": 75.0, "seconds": 4_000.0, "lost": ["node failure"]},
    ]  # fmt: skip
    counts = dict.fromkeys("ABCD", 3000) | {"": 12}
    noted = [
        {"model": m, "variant": v, "suite": "ceval", "agreement": 0.987, "answers": counts, "alarms": []}
        for m, v in made.scores.loc[tuned, ["model", "variant"]].drop_duplicates().itertuples(index=False)
    ]
    why = Suite(name="cmmlu_full", benchmark="cmmlu", hub=False).why_no_data(None)
    return replace(
        made,
        rows=rows,
        scores=with_columns(pd.concat([made.scores, again["scores"], table]), SCORE_COLUMNS).reset_index(
            drop=True
        ),
        samples=pd.concat([made.samples, again["samples"]], ignore_index=True),
        stages=[*made.stages, *told, *failed],
        skipped=[*made.skipped, (first, why)],
        asked=[(m, "tuned", s) for m in names for s in (*made.suites, "my_exam", "cmmlu_full")],
        legs=legs,
        evaluations=[*made.evaluations, *noted],
        events=[
            {"event": "memory not returned", "model": first, "gib": 3.25},
            {"event": "ended what a killed run left behind", "command": "swift deploy"},
        ],
    )
