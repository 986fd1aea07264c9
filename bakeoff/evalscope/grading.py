"""Makes samples, ledger and scores of EvalScope's predictions and reviews.

Runs in the evaluation process.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

from bakeoff.evalscope.choosing import summary_of
from bakeoff.evalscope.commands import generation_config
from bakeoff.evalscope.cuts import own_limit, was_cut
from bakeoff.evalscope.loading import Loaded, errored, known_of, predictions_of, reply_of, reviews_of
from bakeoff.evalscope.types import (
    AskedSuite,
    EvaluationPlan,
    Facts,
    Leakage,
    Question,
    ScoreRow,
    SuiteResult,
)
from bakeoff.foundation.errors import ScoreError
from bakeoff.foundation.sentences import Template, parts_of
from bakeoff.foundation.sentences import joined as joined_statements
from bakeoff.scoring.breadth import too_narrow
from bakeoff.scoring.extraction import extract_choice
from bakeoff.scoring.labels import LETTERS
from bakeoff.scoring.leakage import Leak
from bakeoff.scoring.open_replies import POOR_ALARM, poor_replies
from bakeoff.scoring.reading import final_part
from bakeoff.scoring.scores import (
    ALL,
    REPEATED_SHARE,
    Sample,
    Score,
    Status,
    Thresholds,
    agreement,
    answers,
    below_chance,
    chance_of,
    ledger,
    one_sided,
    repetitions,
    score,
)
from bakeoff.scoring.strangers import told_kinds
from bakeoff.scoring.tables import score_row
from bakeoff.suites import OURS

if TYPE_CHECKING:
    from bakeoff.evalscope.asking import AskingAPI

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
IN_SUBSET = Template(
    "evalscope.grading.in_subset",
    "subset {subset}: {why}",
    zh="科目 {subset}：{why}",
    en="subject {subset}: {why}",
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
CONFLICTING = Template(
    "evalscope.grading.conflicting",
    "{count} questions stand in the data with another right answer as well: {text!r}",
    zh="{count} 题在数据中重复出现，且正确答案不同：{text!r}",
    en="{count} questions appear again in the data with a different correct answer: {text!r}",
)
OVERLONG = Template(
    "evalscope.grading.overlong",
    "{count} of {total} replies have more tokens than the {limit} allowed (up to {most}): the service ignores "
    "max_tokens, or counts its thinking separately",
    zh="{total} 条回复中有 {count} 条超过 max_tokens 的上限 {limit} 个词元（最多 {most} 个）："
    "服务未遵守 max_tokens，或另计思考过程",
    en="{count} of {total} replies exceed the limit of {limit} tokens (up to {most}): the service ignores max_tokens, "
    "or counts thinking separately",
)
RULES = 3
"""Version of these rules; raise it by hand with a change after which kept answers should be graded anew."""

_CHOICE_METRICS = ("accuracy", "acc", "accuracy_alt", "accuracy_evalscope", "acc_evalscope")


def samples_of(loaded: Loaded, api: AskingAPI) -> list[Sample]:
    """A sample for each question, in order: its reply, reading and status."""
    predictions = predictions_of(loaded)
    reviews = reviews_of(loaded)
    second_rule = _second_rule(loaded)
    limit = _limit(loaded)
    cut = own_limit(predictions, limit).keys
    samples: list[Sample] = []
    for common, key, question in known_of(loaded):
        options, target, sha = common["options"], common["target"], common["prompt_sha"]
        prediction, review = predictions.get(key), reviews.get(key)
        choice = bool(options) and set(target) <= set(LETTERS[: len(options)])
        if prediction is None or review is None:
            why = api.errors.get(sha, "no reply") if prediction is None else "the reply could not be graded"
            samples.append(errored(common, why))
            continue
        reply, _, latency_s = reply_of(prediction)
        graded = review["sample_score"]["score"]
        if graded.get("status", "success") != "success" or not graded.get("value"):
            samples.append(errored(common, f"the reply could not be graded ({graded.get('status')})"))
            continue
        values = {
            key: float(value) for key, value in graded["value"].items() if isinstance(value, int | float)
        }
        extracted = str(graded.get("extracted_prediction") or "")
        other = second_rule(reply, common, question) if choice else extracted
        stated = (extracted if loaded.benchmark.name in OURS else other) if choice else final_part(reply)
        main = _primary(loaded.suite, values, graded.get("main_score_name"))
        if choice:
            if loaded.benchmark.name not in OURS:
                theirs = {f"{main}_evalscope": values[main]}
                values = (values if stated else dict.fromkeys(values, 0.0)) | theirs
            values["accuracy_alt"] = float(bool(other) and set(other) == set(target))
        samples.append(
            Sample(
                **common,
                reply=reply,
                extracted=extracted,
                extracted_alt=other,
                status=_status(
                    reply, stated, choice, key in cut or was_cut(prediction, limit, is_stated=bool(stated))
                ),
                correct=values[main],
                latency_s=latency_s,
                grades=values,
            )
        )
    return samples


def _status(reply: str, stated: str, choice: bool, is_cut: bool) -> Status:
    if is_cut:
        return "truncated"
    if not reply.strip() or not (choice or stated):
        return "empty"
    return "answered" if stated else "unparsed"


def _primary(suite: AskedSuite, values: Mapping[str, float], main: str | None) -> str:
    metric = suite["metric"] or main
    if metric in values:
        return str(metric)
    if suite["metric"]:
        listed = ", ".join(values)
        raise ScoreError(
            f"suites.{suite['name']}.metric: {suite['benchmark']} gives {listed}, not {metric!r}"
        )
    return next(iter(values))


def _second_rule(loaded: Loaded) -> Callable[[str, Facts, Question], str]:
    """The other rule for reading: EvalScope's for our suites, ours for its."""
    if loaded.benchmark.name not in OURS:
        multiple = bool(getattr(loaded.benchmark, "multiple_correct", False))
        return lambda reply, common, _: extract_choice(
            reply, common["options"], multiple=multiple, question=common["question"]
        )
    from evalscope.api.evaluator import TaskState
    from evalscope.utils.multi_choices import parse_answers_zh

    def theirs(reply: str, _: Facts, question: Question) -> str:
        state = TaskState(model="", sample=question)
        letters = parse_answers_zh(
            state, multiple_correct=bool((question.metadata or {}).get("multiple")), completion=reply
        )
        return "".join(sorted(letters))

    return theirs


def result_of(
    loaded: Loaded,
    samples: list[Sample],
    plan: EvaluationPlan,
    alarms: list[str],
    leaked: Mapping[str, Leak],
) -> SuiteResult:
    """What ``result.json`` holds of a suite.

    Args:
        loaded: the suite.
        samples: all of them, in order.
        plan: of which the suite is a part.
        alarms: words on what else was seen; further ones are added.
        leaked: its questions that training data hold, by sample.
    """
    suite = loaded.suite
    subsets: dict[str, list[Sample]] = {}
    for sample in samples:
        subsets.setdefault(sample.subset, []).append(sample)
    rows, main = _score_rows(loaded, samples, subsets, alarms)
    if leaked:
        rows.append(_unleaked(loaded, samples, main))
        if not suite["leakage_expected"]:
            alarms.append(LEAKED(count=len(leaked), total=len(samples)))
    result: SuiteResult = {}
    if loaded.by_letters:
        result["letters"], doubts = summary_of(loaded)
        alarms += doubts
    alarms += [*_alarms(samples, rows[0]["why_not"]), *_overlong(loaded)]
    counts = ledger(samples)
    clean = [_without_nan(row) for row in rows]
    agreeing = agreement(samples)
    return {
        "suite": suite["name"],
        "benchmark": suite["benchmark"],
        "identity": loaded.identity,
        "metric": main,
        "ledger": {**dataclasses.asdict(counts), "judged": counts.judged},
        "trusted": rows[0]["trusted"],
        "why_not": rows[0]["why_not"],
        "alarms": alarms,
        "agreement": None if math.isnan(agreeing) else agreeing,
        "answers": answers(samples),
        **result,
        "errors": {sample.sample_id: sample.error for sample in samples if sample.error},
        "leakage": [_leakage(suite, samples, leaked, clean)] if leaked else [],
        "leakage_not_checked": plan["training_unread"],
        "leaked_questions": {name: dataclasses.asdict(leak) for name, leak in leaked.items()},
        "selected": {name: len(part) for name, part in subsets.items()},
        "limit": suite["limit"],
        "limit_per": suite["limit_per"],
        "few_shot": _few_shot(loaded),
        "generation": generation_config(argparse.Namespace(**suite)),
        "served_name": plan["served_name"],
        "weights": plan["weights"],
        "evalscope": version("evalscope"),
        "scores": clean,
    }


def _alarms(samples: Sequence[Sample], why_not: str) -> list[str]:
    """What is odd about the replies and not yet in *why_not*."""
    alarms = [warning] if (warning := one_sided(samples)) else _one_sided_subsets(samples)
    alarms += filter(None, [too_narrow(samples)])
    alarms += [*repetitions(samples), *told_kinds(samples)]
    alarms += [words for words in poor_replies(samples, POOR_ALARM) if words not in parts_of(why_not)]
    if count := sum(_ambiguous(sample) for sample in samples):
        alarms.append(AMBIGUOUS(count=count))
    return [*alarms, *_conflicting(samples)]


def _one_sided_subsets(samples: Sequence[Sample]) -> list[str]:
    """Return an alarm for each subset whose answers are nearly all the same."""
    subsets: dict[str, list[Sample]] = {}
    for sample in samples:
        subsets.setdefault(sample.subset, []).append(sample)
    return [IN_SUBSET(subset=subset, why=why) for subset, part in subsets.items() if (why := one_sided(part))]


def _conflicting(samples: Sequence[Sample]) -> list[str]:
    """Return an alarm where one choice question has several right answers.

    By the words of its options, whatever their letters.
    """
    answers_of: dict[tuple[str, frozenset[str]], set[tuple[str, ...]]] = {}
    for sample in samples:
        if sample.options and set(sample.target) <= set(LETTERS[: len(sample.options)]):
            words = tuple(sorted(sample.options[LETTERS.index(letter)] for letter in sample.target))
            answers_of.setdefault((sample.question, frozenset(sample.options)), set()).add(words)
    several = [question for (question, _), answers in answers_of.items() if len(answers) > 1]
    return [CONFLICTING(count=len(several), text=several[0][:80])] if several else []


def _limit(loaded: Loaded) -> object:
    """Return how many tokens a reply may have, None for any number."""
    return generation_config(argparse.Namespace(**loaded.suite)).get("max_tokens")


def _overlong(loaded: Loaded) -> list[str]:
    """Return an alarm where replies are longer than they were asked to be.

    Or where they break off at a limit of the service's own.
    """
    limit = _limit(loaded)
    if loaded.by_letters:
        return []
    words = own_limit(predictions_of(loaded), limit).words
    return [*([words] if words else []), *(_over(loaded, limit) if isinstance(limit, int) else [])]


def _over(loaded: Loaded, limit: int) -> list[str]:
    predictions = predictions_of(loaded).values()
    usages = [(prediction.get("model_output") or {}).get("usage") or {} for prediction in predictions]
    over = [n for usage in usages if isinstance(n := usage.get("output_tokens"), int) and n > limit + 1]
    if len(over) < 3 or len(over) <= REPEATED_SHARE * len(usages):
        return []
    return [OVERLONG(count=len(over), total=len(usages), limit=limit, most=max(over))]


def _score_rows(
    loaded: Loaded, samples: list[Sample], subsets: Mapping[str, list[Sample]], alarms: list[str]
) -> tuple[list[ScoreRow], str]:
    """The rows of a suite, the total first, and the main metric."""
    suite, trust = loaded.suite, Thresholds.of(loaded.suite["trust"])
    judged = [sample for sample in samples if sample.grades]
    metrics = list(dict.fromkeys(name for sample in judged for name in sample.grades))
    main = _main_metric(loaded, judged[0].grades) if judged else suite["metric"] or "accuracy"
    metrics = [main, *(name for name in metrics if name != main)]
    rows: list[ScoreRow] = []
    parts = {ALL: samples, **(subsets if list(subsets) != ["default"] else {})}
    for subset, part in parts.items():
        chance = suite["chance"] if suite["chance"] is not None else _chance(part)
        for metric in metrics:
            guess = chance if metric in _CHOICE_METRICS else math.nan
            # One of fifty subsets falls below chance by chance: each is held against its part of the level.
            tests = 1 if subset == ALL else len(subsets)
            level = dataclasses.replace(trust, chance_level=trust.chance_level / tests)
            rows.append(_row(loaded, score(part, metric, subset=subset, chance=guess, trust=level)))
    _hold_against_total(rows, trust.chance_level / len(subsets))
    alarms += [
        SUBSET(subset=row["subset"], why=row["why_not"])
        for row in rows
        if row["metric"] == main and row["subset"] != ALL and row["why_not"] and rows[0]["trusted"]
    ]
    if len(subsets) > 1:
        rows += [_macro(rows, metric) for metric in metrics if metric in ("accuracy", "acc")]
    return rows, main


def _unleaked(loaded: Loaded, samples: Sequence[Sample], main: str) -> ScoreRow:
    """The row of the questions that no training data hold."""
    unseen = [sample for sample in samples if not sample.leaked]
    chance = loaded.suite["chance"] if loaded.suite["chance"] is not None else _chance(unseen)
    unleaked = score(unseen, main, chance=chance, trust=Thresholds.of(loaded.suite["trust"]))
    return _row(loaded, dataclasses.replace(unleaked, metric=f"{main}_unleaked"))


def _leakage(
    suite: AskedSuite, samples: Sequence[Sample], leaked: Mapping[str, Leak], rows: Sequence[ScoreRow]
) -> Leakage:
    return {
        "suite": suite["name"],
        "expected": suite["leakage_expected"],
        "n_asked": len(samples),
        "n_leaked": len(leaked),
        "n_exact": sum(leak.kind == "exact" for leak in leaked.values()),
        "value_without": next(row["value"] for row in rows if row["metric"].endswith("_unleaked")),
    }


def _row(loaded: Loaded, value: Score) -> ScoreRow:
    """*value* as a row whose run is not known yet."""
    context = {"suite": loaded.suite["name"], "benchmark": loaded.suite["benchmark"]}
    unknown = dict.fromkeys(("run_id", "model", "variant", "fingerprint", "finished_at"), "")
    return cast(ScoreRow, score_row(value, few_shot=_few_shot(loaded), **context, **unknown))


def _without_nan(row: ScoreRow) -> ScoreRow:
    return cast(ScoreRow, {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()})


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _hold_against_total(rows: Sequence[ScoreRow], level: float) -> None:
    """Let a subset below chance speak against the suite's total.

    A good rest would hide it.
    """
    for total in (row for row in rows if row["subset"] == ALL):
        reasons = [
            SUBSET_BELOW_CHANCE(subset=row["subset"], value=row["value"], chance=row["chance"])
            for row in rows
            if row["metric"] == total["metric"]
            and row["subset"] != ALL
            and below_chance(_number(row["value"]), row["n_judged"], _number(row["chance"]), level)
        ]
        if reasons:
            total["why_not"] = joined_statements([total["why_not"], *reasons])
            total["trusted"] = False


def _ambiguous(sample: Sample) -> bool:
    """Whether a right and a wrong option have the same words.

    A reply in words could not be graded.
    """
    named = {letter: text.strip() for letter, text in zip(LETTERS, sample.options, strict=False)}
    right = {named[letter] for letter in sample.target if letter in named}
    return any(text in right for letter, text in named.items() if letter not in sample.target)


def _main_metric(loaded: Loaded, grades: Mapping[str, float]) -> str:
    for row in reviews_of(loaded).values():
        return _primary(loaded.suite, grades, row["sample_score"]["score"].get("main_score_name"))
    return next(iter(grades))


def _few_shot(loaded: Loaded) -> int:
    return 0 if loaded.benchmark.name in OURS else int(loaded.benchmark.few_shot_num or 0)


def _chance(part: Sequence[Sample]) -> float:
    multiple = [sample for sample in part if len(sample.target) > 1 or sample.subset.endswith("_multiple")]
    single = [sample for sample in part if sample not in multiple]
    shares = [(chance_of(single), len(single)), (chance_of(multiple, multiple=True), len(multiple))]
    sizable = [(share, count) for share, count in shares if not math.isnan(share)]
    return (
        sum(share * count for share, count in sizable) / sum(c for _, c in sizable) if sizable else math.nan
    )


def _macro(rows: Sequence[ScoreRow], metric: str) -> ScoreRow:
    """The mean of the subsets' values, each weighing the same."""
    total = next(row for row in rows if row["subset"] == ALL and row["metric"] == metric)
    values = [row["value"] for row in rows if row["subset"] != ALL and row["metric"] == metric]
    numbers = [value for value in values if value is not None and not math.isnan(value)]
    mean = math.fsum(numbers) / len(numbers) if numbers else math.nan
    return {**total, "metric": f"{metric}_macro", "value": mean, "worst": math.nan, "best": math.nan}
