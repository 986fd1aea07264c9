"""EvalScope's predictions and reviews -> samples, their ledger and scores. Runs in the evaluation process."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from bakeoff.errors import ScoreError
from bakeoff.evalscope.choosing import summary_of
from bakeoff.evalscope.commands import generation_config
from bakeoff.evalscope.loading import Loaded, by_sample, errored, known_of, reply_of
from bakeoff.scoring.extraction import extract_choice, final_part
from bakeoff.scoring.labels import LETTERS
from bakeoff.scoring.leakage import Leak
from bakeoff.scoring.scores import (
    ALL,
    POOR_ALARM,
    Sample,
    Status,
    Thresholds,
    agreement,
    answers,
    below_chance,
    chance_of,
    ledger,
    one_sided,
    poor_replies,
    repetitions,
    score,
)
from bakeoff.scoring.tables import score_row
from bakeoff.sentences import Template, parts_of
from bakeoff.sentences import joined as joined_statements
from bakeoff.suites import OURS

SUBSET = Template(
    "evalscope.grading.subset",
    "subset {subset} cannot be trusted: {why}",
    zh="科目 {subset} 成绩无效：{why}",
    en="the score of subject {subset} is invalid: {why}",
)
SUBSET_BELOW_CHANCE = Template(
    "evalscope.grading.subset_below_chance",
    "subset {subset}: {value:.1%} is below the {chance:.1%} of guessing",
    zh="科目 {subset}：{value:pct} 低于随机猜测水平 {chance:pct}",
    en="subject {subset}: {value:pct} is below the chance level of {chance:pct}",
)
LEAKED = Template(
    "evalscope.grading.leaked",
    "{count} of {total} questions occur in the training data",
    zh="{total} 题中有 {count} 题出现在训练数据中（数据泄漏）",
    en="{count} of {total} questions are in the training data (leakage)",
)
AMBIGUOUS = Template(
    "evalscope.grading.ambiguous",
    "{count} questions have two equal options of which only one counts as right",
    zh="{count} 题有两个内容相同的选项，却只有一个算对",
    en="{count} questions have two identical options of which only one counts as correct",
)
RULES = 1
"""Version of these rules; raise it by hand with a change after which kept answers should be graded anew."""

_CHOICE_METRICS = ("accuracy", "acc", "accuracy_alt", "accuracy_evalscope", "acc_evalscope")


def samples_of(loaded: Loaded, api: Any) -> list[Sample]:
    """A sample for each question, in order: what was replied, how it was read, and what became of it."""
    predictions = by_sample(loaded.folder, "predictions", loaded)
    reviews = by_sample(loaded.folder, "reviews", loaded)
    second_rule = _second_rule(loaded)
    made: list[Sample] = []
    for common, key, one in known_of(loaded):
        options, target, sha = common["options"], common["target"], common["prompt_sha"]
        prediction, review = predictions.get(key), reviews.get(key)
        choice = bool(options) and set(target) <= set(LETTERS[: len(options)])
        if prediction is None or review is None:
            why = api.errors.get(sha, "no reply") if prediction is None else "the reply could not be graded"
            made.append(errored(common, why))
            continue
        reply, stop, latency_s = reply_of(prediction)
        graded = review["sample_score"]["score"]
        if graded.get("status", "success") != "success" or not graded.get("value"):
            made.append(errored(common, f"the reply could not be graded ({graded.get('status')})"))
            continue
        values = {
            key: float(value) for key, value in graded["value"].items() if isinstance(value, int | float)
        }
        extracted = str(graded.get("extracted_prediction") or "")
        other = second_rule(reply, options, one) if choice else extracted
        stated = (extracted if loaded.benchmark.name in OURS else other) if choice else final_part(reply)
        main = _primary(loaded.suite, values, graded.get("main_score_name"))
        if choice:
            if loaded.benchmark.name not in OURS:
                theirs = {f"{main}_evalscope": values[main]}
                values = (values if stated else dict.fromkeys(values, 0.0)) | theirs
            values["accuracy_alt"] = float(bool(other) and set(other) == set(target))
        made.append(
            Sample(
                **common,
                reply=reply,
                extracted=extracted,
                extracted_alt=other,
                status=_status(reply, stop, stated, choice),
                correct=values[main],
                latency_s=latency_s,
                grades=values,
            )
        )
    return made


def _status(reply: str, stop: str, stated: str, choice: bool) -> Status:
    if stop in ("max_tokens", "length", "model_length"):
        return "truncated"
    if not reply.strip() or not (choice or stated):
        return "empty"
    return "answered" if stated else "unparsed"


def _primary(suite: Mapping[str, Any], values: Mapping[str, float], main: str | None) -> str:
    wanted = suite["metric"] or main
    if wanted in values:
        return str(wanted)
    if suite["metric"]:
        known = ", ".join(values)
        raise ScoreError(f"suites.{suite['name']}.metric: {suite['benchmark']} gives {known}, not {wanted!r}")
    return next(iter(values))


def _second_rule(loaded: Loaded) -> Callable[[str, tuple[str, ...], Any], str]:
    """The other way to read an answer: ours for EvalScope's benchmarks, EvalScope's for ours."""
    if loaded.benchmark.name not in OURS:
        multiple = bool(getattr(loaded.benchmark, "multiple_correct", False))
        return lambda reply, options, _: extract_choice(reply, options, multiple=multiple)
    from evalscope.api.evaluator import TaskState
    from evalscope.utils.multi_choices import parse_answers_zh

    def theirs(reply: str, options: tuple[str, ...], one: Any) -> str:
        state = TaskState(model="", sample=one)
        found = parse_answers_zh(state, multiple_correct=bool(one.metadata.get("multiple")), completion=reply)
        return "".join(sorted(found))

    return theirs


def result_of(
    loaded: Loaded,
    samples: list[Sample],
    plan: Mapping[str, Any],
    alarms: list[str],
    found: Mapping[str, Leak],
) -> dict[str, Any]:
    """What ``result.json`` holds of a suite; *found* are its leaked questions by sample, *alarms* words on the rest."""
    suite = loaded.suite
    trust = Thresholds.of(suite["trust"])
    judged = [one for one in samples if one.grades]
    metrics = list(dict.fromkeys(name for one in judged for name in one.grades))
    given = next((one.grades for one in judged), {})
    main = _main_metric(loaded, given) if given else suite["metric"] or "accuracy"
    metrics = [main, *(name for name in metrics if name != main)]
    subsets: dict[str, list[Sample]] = {}
    for one in samples:
        subsets.setdefault(one.subset, []).append(one)
    right = {"suite": suite["name"], "benchmark": suite["benchmark"], "few_shot": _few_shot(loaded)}
    context = {**right, "run_id": "", "model": "", "variant": "", "fingerprint": "", "finished_at": ""}
    rows = []
    parts = {ALL: samples, **(subsets if list(subsets) != ["default"] else {})}
    for subset, part in parts.items():
        chance = suite["chance"] if suite["chance"] is not None else _chance(part)
        for metric in metrics:
            guess = chance if metric in _CHOICE_METRICS else math.nan
            # One of fifty subsets falls below chance by chance: each is held against its part of the level.
            tests = 1 if subset == ALL else len(subsets)
            level = dataclasses.replace(trust, chance_level=trust.chance_level / tests)
            rows.append(score_row(score(part, metric, subset=subset, chance=guess, trust=level), **context))
    _hold_against_total(rows, trust.chance_level / len(subsets))
    alarms += [
        SUBSET(subset=row["subset"], why=row["why_not"])
        for row in rows
        if row["metric"] == main and row["subset"] != ALL and row["why_not"] and rows[0]["trusted"]
    ]
    if len(subsets) > 1:
        rows += [_macro(rows, metric) for metric in metrics if metric in ("accuracy", "acc")]
    if found:
        unseen = [one for one in samples if not one.leaked]
        chance = suite["chance"] if suite["chance"] is not None else _chance(unseen)
        made = dataclasses.replace(score(unseen, main, chance=chance, trust=trust), metric=f"{main}_unleaked")
        rows.append(score_row(made, **context))
        if not suite["leakage_expected"]:
            alarms.append(LEAKED(count=len(found), total=len(samples)))
    if warning := one_sided(samples):
        alarms.append(warning)
    letters: dict[str, Any] = {}
    if loaded.by_letters:
        letters["letters"], told = summary_of(loaded)
        alarms += told
    alarms += repetitions(samples)
    alarms += [
        words for words in poor_replies(samples, POOR_ALARM) if words not in parts_of(str(rows[0]["why_not"]))
    ]
    if count := sum(_ambiguous(sample) for sample in samples):
        alarms.append(AMBIGUOUS(count=count))
    counts = ledger(samples)
    clean = [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows
    ]
    return {
        "suite": suite["name"],
        "benchmark": suite["benchmark"],
        "identity": loaded.identity,
        "metric": main,
        "ledger": {**dataclasses.asdict(counts), "judged": counts.judged},
        "trusted": rows[0]["trusted"],
        "why_not": rows[0]["why_not"],
        "alarms": alarms,
        "agreement": None if math.isnan(agreement(samples)) else agreement(samples),
        "answers": answers(samples),
        **letters,
        "errors": {one.sample_id: one.error for one in samples if one.error},
        "leakage": [
            {
                "suite": suite["name"],
                "expected": suite["leakage_expected"],
                "n_asked": len(samples),
                "n_leaked": len(found),
                "n_exact": sum(leak.kind == "exact" for leak in found.values()),
                "value_without": next(r["value"] for r in clean if r["metric"] == f"{main}_unleaked"),
            }
        ]
        if found
        else [],
        "leakage_not_checked": plan["training_unread"],
        "leaked_questions": {name: dataclasses.asdict(leak) for name, leak in found.items()},
        "selected": {name: len(part) for name, part in subsets.items()},
        "limit": suite["limit"],
        "limit_per": suite["limit_per"],
        "few_shot": right["few_shot"],
        "generation": generation_config(argparse.Namespace(**suite)),
        "served_name": plan["served_name"],
        "weights": plan["weights"],
        "evalscope": version("evalscope"),
        "scores": clean,
    }


def _hold_against_total(rows: Sequence[dict[str, Any]], level: float) -> None:
    """A subset that guessing would beat speaks against the suite's total, which a good rest would hide it in."""
    for total in (row for row in rows if row["subset"] == ALL):
        reasons = [
            SUBSET_BELOW_CHANCE(subset=row["subset"], value=row["value"], chance=row["chance"])
            for row in rows
            if row["metric"] == total["metric"]
            and row["subset"] != ALL
            and below_chance(row["value"], row["n_judged"], row["chance"], level)
        ]
        if reasons:
            total["why_not"] = joined_statements([total["why_not"], *reasons])
            total["trusted"] = False


def _ambiguous(sample: Sample) -> bool:
    """Whether the words of a right option are those of a wrong one, so that a reply in words cannot be graded."""
    named = {letter: text.strip() for letter, text in zip(LETTERS, sample.options, strict=False)}
    right = {named[letter] for letter in sample.target if letter in named}
    return any(text in right for letter, text in named.items() if letter not in sample.target)


def _main_metric(loaded: Loaded, given: Mapping[str, float]) -> str:
    for row in by_sample(loaded.folder, "reviews", loaded).values():
        return _primary(loaded.suite, given, row["sample_score"]["score"].get("main_score_name"))
    return next(iter(given))


def _few_shot(loaded: Loaded) -> int:
    return 0 if loaded.benchmark.name in OURS else int(loaded.benchmark.few_shot_num or 0)


def _chance(part: Sequence[Sample]) -> float:
    multiple = [one for one in part if len(one.target) > 1 or one.subset.endswith("_multiple")]
    single = [one for one in part if one not in multiple]
    shares = [(chance_of(single), len(single)), (chance_of(multiple, multiple=True), len(multiple))]
    known = [(share, count) for share, count in shares if not math.isnan(share)]
    return sum(share * count for share, count in known) / sum(c for _, c in known) if known else math.nan


def _macro(rows: Sequence[dict[str, Any]], metric: str) -> dict[str, Any]:
    """The mean of the subsets' values, each weighing the same."""
    total = next(row for row in rows if row["subset"] == ALL and row["metric"] == metric)
    values = [row["value"] for row in rows if row["subset"] != ALL and row["metric"] == metric]
    values = [value for value in values if not math.isnan(value)]
    mean = math.fsum(values) / len(values) if values else math.nan
    return {**total, "metric": f"{metric}_macro", "value": mean, "worst": math.nan, "best": math.nan}
