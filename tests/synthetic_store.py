"""A store of a run that never took place, with every raw record that a real one leaves, by seed."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml

from bakeoff.evalscope import grading_rules, score_rows
from bakeoff.evalscope.grading import result_of
from bakeoff.evalscope.speed import read_speed, speed_rows
from bakeoff.foundation.files import append_line, write_json, write_rows
from bakeoff.foundation.sentences import with_statements
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import load_matrix
from bakeoff.matrix.schema import Matrix
from bakeoff.report.__main__ import main as write_report
from bakeoff.runs.finishing import finish as finish_run
from bakeoff.scoring.extraction import extract_choice
from bakeoff.scoring.leakage import Leak
from bakeoff.scoring.reading import final_part
from bakeoff.scoring.scores import Sample
from bakeoff.scoring.tables import sample_row
from bakeoff.store.stages import Record
from bakeoff.suites.overlap import overlap
from bakeoff.verify.answers import sha_of
from tests.synthetic_findings import synthetic_ratings

RUN = "20260302-101500-abcd"
STARTED = "2026-03-02T10:15:10+00:00"
OPTIONS = ("社会支持", "系统脱敏", "正强化", "延迟满足")
SUITES: dict[str, dict[str, Any]] = {
    "exam": {
        "benchmark": "facts_exam",
        "data": "shipped:facts_exam",
        "hub": False,
        "few_shot": 0,
        "chance": 0.25,
    },
    "counsellor": {"benchmark": "pceb_mcq", "data": "shipped:pceb_mcq", "hub": False, "few_shot": 0},
    "open": {"benchmark": "psyqa", "data": "shipped:psyqa", "hub": False, "few_shot": 0},
}
ROW = {
    "model": "tiny:qwen2",
    "dataset": ["shipped:facts_train.jsonl"],
    "model_type": "qwen2",
    "template": "qwen2_5",
    "suites": list(SUITES),
}


@dataclass
class House:
    """Writes a store stage by stage."""

    root: Path
    matrix: Matrix
    rng: np.random.Generator
    questions: Mapping[str, int]
    seed: int = 0
    thoughts: int = 0

    def stage(self, stage: str, model: str, variant: str, files: dict[str, str], **more: Any) -> Record:
        """Write and tell a stage; *files* of a folder, or one named as the output."""
        record = self.write(stage, model, variant, files, **more)
        self.tell(record)
        return record

    def write(self, stage: str, model: str, variant: str, files: dict[str, str], **more: Any) -> Record:
        """Write the files and the record of a stage."""
        name = "-".join(
            filter(
                None, (stage, more.pop("of", ""), variant, hashlib.sha256(model.encode()).hexdigest()[:10])
            )
        )
        folder = self.root / "models" / model / name
        output = folder / (next(iter(files)) if len(files) == 1 else "output")
        made = {}
        for file, content in files.items():
            path = folder / file if len(files) == 1 else output / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            made[file] = hashlib.sha256(content.encode()).hexdigest()
        facts, identity = more.get("facts", {}), more.get("identity", {})
        record = Record(
            stage, model, variant, "ran", "ran: for the first time", f"do {stage} {model}", str(folder / "stage.log"),
            str(output), STARTED, round(float(self.rng.uniform(1, 90)), 2), identity, 1.5, facts, made,
        )  # fmt: skip
        write_json(folder / "record.json", asdict(record))
        return record

    def tell(self, record: Record) -> None:
        told = {key: value for key, value in asdict(record).items() if key != "made"}
        append_line(self.root / "runs" / RUN / "events.jsonl", {"time": STARTED, "event": "stage", **told})

    def evaluate(self, model: str, variant: str, suite: str) -> Record:
        """Write an evaluation; return its record."""
        spec, fingerprint = self.matrix.suites[suite], self.fingerprint(model, variant)
        plain: dict[str, Any] = json.loads(json.dumps(spec.model_dump()))
        ability = float(self.rng.uniform(0.35, 0.9))
        folder = self.root / "models" / model / "evaluation" / variant / suite / "0123456789ab"
        samples, rows = [], []
        asked = questions(suite, self.questions[suite])
        for number, question in enumerate(asked):
            sample, prediction, review = self.answer(number, question, ability, plain)
            samples.append(sample)
            rows.append((question["subset"], prediction, review))
        write_rows(folder / "prompts.jsonl", [
            {"prompt_sha": sha_of(question["messages"]), "messages": question["messages"]}
            for question in asked
        ])  # fmt: skip
        for subset in dict.fromkeys(subset for subset, _, _ in rows):
            for at, kind in ((1, "predictions"), (2, "reviews")):
                part = [row[at] for row in rows if row[0] == subset and row[at]]
                write_rows(folder / kind / "served" / f"{spec.benchmark}_{subset}.jsonl", part)
        loaded: Any = SimpleNamespace(
            suite=plain, folder=folder, identity="0123456789ab" * 5, by_letters=False,
            benchmark=SimpleNamespace(name=spec.benchmark, few_shot_num=0),
            datasets={
                subset: [SimpleNamespace(id=row[1]["index"]) for row in rows if row[0] == subset and row[1]]
                for subset in dict.fromkeys(row[0] for row in rows)
            },
            task=SimpleNamespace(model_id="served"), read={},
        )  # fmt: skip
        found = {samples[0].sample_id: Leak("exact", 1.0, "train.jsonl:1")} if suite == "exam" else {}
        samples = [replace(sample, leaked=sample.sample_id in found) for sample in samples]
        plan = {"training_unread": "", "served_name": "served", "weights": fingerprint}
        result = result_of(loaded, samples, plan, [], found)
        kept = [sample_row(sample, model=model, variant=variant, suite=suite) for sample in samples]
        kept = [
            {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in kept
        ]
        write_rows(folder / "samples.jsonl", kept)
        result |= {"folder": str(folder), "finished_at": STARTED, "seconds": 2.0}
        write_json(folder / "result.json", result)
        made = [
            {**row, "commit": "0f3c1d2", "versions": "bakeoff 0.1.0", "record": "record.json"}
            for row in score_rows(result, run_id="", model=model, variant=variant, fingerprint=fingerprint)
        ]
        content = {**result, "scores": made, "samples": [{**row, "run_id": ""} for row in kept]}
        text = json.dumps(with_statements(content), ensure_ascii=False).replace("NaN", "null")
        excluded = {"expect", "data", "hub", "may_be_untrusted", "interest", "margin"}
        identity = {
            "suite": json.loads(json.dumps(spec.model_dump(exclude=excluded))),
            "fingerprint": fingerprint,
            "grading_rules": grading_rules(),
        }
        return self.write(
            "evaluate",
            model,
            variant,
            {"result.json": text},
            of=suite,
            identity=identity,
            facts={"suite": suite},
        )

    def evaluate_apart(self, model: str, variant: str, suite: str) -> Record:
        """Write an evaluation with replies of a seed of its own, in any process."""
        self.rng = np.random.default_rng([self.seed, *f"{model} {variant} {suite}".encode()])
        return self.evaluate(model, variant, suite)

    def evaluate_all(self, names: Sequence[str], processes: int) -> dict[tuple[str, ...], Record]:
        """Write every evaluation of the models at once; return the records by model, variant and suite."""
        jobs = [(name, variant, suite) for name in names for variant in ("base", "tuned") for suite in SUITES]
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("fork")) as pool:
            made = list(pool.map(self.evaluate_apart, *zip(*jobs, strict=True)))
        return dict(zip(jobs, made, strict=True))

    def fingerprint(self, model: str, variant: str) -> str:
        """Return what stands for the digest of a model's weights."""
        return hashlib.sha256(f"{model}{variant}{self.seed}".encode()).hexdigest()

    def answer(
        self, number: int, question: dict[str, Any], ability: float, suite: dict[str, Any]
    ) -> tuple[Any, ...]:
        """Return the sample, the prediction and the review of one question."""
        options, target = question["options"], question["target"]
        chance, reply, stop = self.rng.random(), "", "stop"
        if options:
            wrong = "".join(sorted(set("ABCD") - set(target)))[: len(target)]
            letters = target if self.rng.random() < ability else wrong
            reply = (f"答案：{letters}", f"我认为应当选择{letters}。\n答案：{letters}", f"选项：{letters}")[
                number % 3
            ]
        else:
            reply = target[: int(len(target) * self.rng.uniform(0.4, 1))] + f"，第{number}步要慢慢来。"
        if self.thoughts and self.rng.random() < 0.5:
            reply = f"{_thought(self.rng, int(self.rng.integers(40, self.thoughts)))}\n{reply}"
        if chance < 0.02:
            reply, stop = reply + "，因为", "max_tokens"
        elif chance < 0.04:
            reply = "" if number % 2 else f"这个问题第{number}次让我想到很多，但我无法判断。"
        extracted = extract_choice(reply, options, multiple=len(target) > 1) if options else final_part(reply)
        if options:
            values = {"accuracy": float(set(extracted) == set(target))}
            if suite["benchmark"] == "pceb_mcq":
                chosen, right = set(extracted), set(target)
                values["elastic_accuracy"] = len(chosen & right) / len(right) if chosen <= right else 0.0
        else:
            values = overlap(extracted, target)
        main = next(iter(values))
        status = "answered" if extracted else "unparsed" if options else "empty"
        status = "truncated" if stop != "stop" else status if reply.strip() else "empty"
        latency_s = round(float(self.rng.gamma(2, 0.2)), 6)
        graded = values | (
            {"accuracy_alt": float(bool(extracted) and set(extracted) == set(target))} if options else {}
        )
        sample = Sample(
            sample_id=question["id"], subset=question["subset"], index=number, question=question["text"],
            options=options, target=target, reply=reply, extracted=extracted, extracted_alt=extracted,
            status=status,  # type: ignore[arg-type]  # one of the five
            correct=values[main], prompt_sha=sha_of(question["messages"]), latency_s=latency_s, grades=graded,
        )  # fmt: skip
        sent = [
            {**message, **_unset("id", "source", "metadata", "perf_metrics")}
            for message in question["messages"]
        ]
        tokens = {"input_tokens": len(question["text"]), "output_tokens": len(reply)}
        timing = {"latency": latency_s, **tokens, "ttft": None}
        message = {
            "id": f"{number:08x}", "role": "assistant", "content": reply, "source": "generate", "metadata": None,
            "perf_metrics": timing, "model": "output",
        }  # fmt: skip
        output = {
            "id": f"chatcmpl-{number}",
            "model": "output",
            "choices": [{"message": message, "stop_reason": stop, "logprobs": None}],
            "usage": {**tokens, "total_tokens": sum(tokens.values()), "reasoning_tokens": None},
            "time": latency_s,
            "perf_metrics": timing,
            **_unset("metadata", "error"),
        }
        common = {"index": question["at"], "messages": [*sent, message], "agent_trace": None}
        prediction = {**common, "model": "served", "model_output": output, "metadata": {"id": number}}
        score = {
            "value": values, "status": "success", "extracted_prediction": extracted, "prediction": reply,
            "main_score_name": main,
        }  # fmt: skip
        of_review = {"sample_id": question["at"], "group_id": question["at"], "generation_index": 0}
        of_review |= {"score": score, "sample_metadata": {"id": number}}
        review = {**common, "target": target, "sample_score": of_review}
        return sample, prediction, review

    def speed(self, model: str, fingerprint: str) -> None:
        record = self.stage(
            "speed", model, "tuned", {"result.json": "{}"}, of="1", identity={"fingerprint": fingerprint}
        )
        folder = Path(record.output).parent
        for level in (1, 8):
            write_json(folder / "perf" / str(level) / "benchmark_summary.json", {
                "Concurrency": level, "Total Requests": 16 * level, "Success Requests": 16 * level,
                "Avg TTFT (ms)": round(float(self.rng.uniform(20, 90)), 3), "Avg Latency (s)": 0.5 * level,
                "Output Throughput (tok/s)": round(float(self.rng.uniform(100, 900)), 2), "Req Throughput (req/s)": 2.5,
            })  # fmt: skip
        rows = speed_rows(
            read_speed(folder), run_id="", model=model, variant="tuned", fingerprint=fingerprint, commit="",
            versions="", record="record.json", finished_at=STARTED,
        )  # fmt: skip
        text = json.dumps({"scores": rows, "samples": []}).replace("NaN", "null")
        Path(record.output).write_text(text, encoding="utf-8")
        content = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        content["made"] = {"result.json": hashlib.sha256(text.encode()).hexdigest()}
        write_json(folder / "record.json", content)


def _thought(rng: np.random.Generator, length: int) -> str:
    """Return so many characters of thinking aloud, other ones every time."""
    words = (
        "这道题考查的是",
        "来访者",
        "咨询师",
        "情绪",
        "支持",
        "首先",
        "因此",
        "比较各个选项",
        "需要",
        "关系",
        "，",
        "。",
    )
    return "".join(words[int(place)] for place in rng.integers(len(words), size=length))[:length]


def _unset(*names: str) -> dict[str, None]:
    """Return fields that EvalScope writes and leaves empty."""
    return dict.fromkeys(names)


@cache
def questions(suite: str, count: int) -> list[dict[str, Any]]:
    """Return the questions of a suite: the same for every model."""
    listed, place = [], {"theory_single": 0, "case_multiple": 0, "facts": 0, "default": 0}
    for number in range(count):
        subset = {"exam": "facts", "open": "default"}.get(suite) or ("theory_single", "case_multiple")[
            number * 2 // count
        ]
        text = f"{suite}第{number}题：下列说法正确的是？"
        target = "ABCD"[number % 4] if subset != "case_multiple" else ("AB", "BCD", "AD")[number % 3]
        if suite == "open":
            target = f"先听第{number}件事。{_thought(np.random.default_rng(number), 30)}"
        options = [] if suite == "open" else list(OPTIONS)
        name = json.dumps([SUITES[suite]["benchmark"], subset, text, options], ensure_ascii=False)
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        listed.append({
            "id": digest, "subset": subset, "text": text, "options": () if suite == "open" else OPTIONS,
            "target": target, "messages": [{"role": "user", "content": text + "".join(OPTIONS)}], "at": place[subset],
        })  # fmt: skip
        place[subset] += 1
    return listed


def honest_store(
    folder: Path,
    seed: int = 0,
    models: int = 2,
    count: int | Mapping[str, int] = 24,
    *,
    report: bool = True,
    people: bool = False,
    thoughts: int = 0,
    processes: int = 1,
) -> Path:
    """Write a store below *folder*, and its report in ``reports``; return the store.

    *count*: questions of each suite; *people*: with a study that three raters and a judge model scored; *thoughts*:
    every other reply thinks aloud before it answers, for 40 to so many characters; *processes*: that write the
    evaluations.
    """
    root, rng = folder / "store", np.random.default_rng(seed)
    path = folder / "matrix.yaml"
    rows = {f"m{number}": ROW for number in range(models)} | {"broken": ROW, "large": ROW}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"models": rows, "suites": SUITES}, allow_unicode=True), encoding="utf-8")
    counts = dict.fromkeys(SUITES, count) if isinstance(count, int) else count
    house = House(root, load_matrix(path), rng, counts, seed=seed, thoughts=thoughts)
    names = list(rows)[:models]
    evaluated = house.evaluate_all(names, processes) if processes > 1 else {}
    for name in names:
        for variant in ("base", "tuned"):
            fingerprint = house.fingerprint(name, variant)
            if variant == "tuned":
                adapter = {
                    "adapter_model.safetensors": f"weights of {name} {seed}",
                    "adapter_config.json": "{}",
                }
                house.stage("train", name, "", adapter, facts={"loss_curve": [[1, 2.0], [9, 1.0]], "gpus": 1})
            house.stage("deploy", name, variant, {"health.json": "{}"}, identity={"fingerprint": fingerprint})
            for suite in SUITES:
                house.tell(evaluated.get((name, variant, suite)) or house.evaluate(name, variant, suite))
    house.speed("m0", house.fingerprint("m0", "tuned"))
    house.tell(Record(
        "train", "broken", "", "failed", "CommandFailed: out of memory", "do", "",
        str(root / "models/broken/train-1/output"), STARTED, 3.0, {},
    ))  # fmt: skip
    asked = [(name, variant, suite) for name in rows for variant in ("base", "tuned") for suite in SUITES]
    asked = [entry for entry in asked if entry[0] != "broken" or entry[1] == "tuned"]
    if people:
        synthetic_ratings(root / "judge")
    finish_run(
        Workspace(root),
        RUN,
        house.matrix,
        [("large", "needs a GPU with 70 GiB; this machine has none")],
        asked,
    )
    assert not report or write_report(["--store", str(root), "--out", str(folder / "reports")]) == 0
    return root
