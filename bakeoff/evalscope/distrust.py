"""What speaks against the replies of a whole suite.

Repeated error texts, other answers when asked alone, other names.

Runs in the evaluation process, after the questions were asked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bakeoff.evalscope.caches import is_right
from bakeoff.evalscope.choosing import ask_again
from bakeoff.evalscope.loading import Loaded, predictions_of
from bakeoff.evalscope.types import AnsweredBy, EvaluationPlan, Noise, SuiteResult
from bakeoff.foundation.error_texts import skeleton
from bakeoff.foundation.files import write_json
from bakeoff.foundation.sentences import Template, joined, parts_of, restored, statement_of, with_statements
from bakeoff.scoring.extraction import extract_choice
from bakeoff.scoring.labels import LETTERS
from bakeoff.scoring.scores import ALL, ONE_TEXT, TOO_MANY, Sample, from_service, one_text, repeated
from bakeoff.scoring.strangers import failures_of_many_words, kinds
from bakeoff.scoring.uniformity import alikeness
from bakeoff.statistics.intervals import wilson
from bakeoff.suites.rows import asked

if TYPE_CHECKING:
    from bakeoff.evalscope.asking import AskingAPI

ASKED_ALONE = Template(
    "evalscope.distrust.asked_alone",
    "asked alone, the service answers {count} of {total} questions otherwise",
    zh="逐题单独重问 {total} 题，其中 {count} 题的答案与并发时不同",
    en="asked one at a time, the service answers {count} of {total} questions differently",
)
ASKED_WRONG = Template(
    "evalscope.distrust.asked_wrong",
    "asked alone, the service answers {count} of {total} wrongly answered questions right",
    zh="单独重问 {total} 道答错的题，其中 {count} 道答对",
    en="asked one at a time, the service gets {count} of {total} wrongly answered questions right",
)
FINGERPRINTS = Template(
    "evalscope.distrust.fingerprints",
    "replies of one evaluation bear {count} system fingerprints ({names}): several versions answer, or the service was "
    "changed",
    zh="同一次评测的回复带有 {count} 个不同的系统指纹（{names}）：服务背后有多个版本，或服务中途被更换",
)
WITH_REASONS = Template(
    "evalscope.distrust.with_reasons",
    "{why} ({errors})",
    zh="{why}（错误信息：{errors}）",
    en="{why}: {errors}",
)
ERRORS = Template("evalscope.distrust.errors", "errors: {errors}", zh="错误信息：{errors}")
SERVICE_TEXT = Template(
    "evalscope.distrust.service_text",
    "the service gave several questions the same error text: {text!r}",
    zh="服务对多道题返回同一段错误信息：{text!r}",
    en="the service gave the same error message for several questions: {text!r}",
)
SERVICE_KIND = Template(
    "evalscope.distrust.service_kind",
    "the service gave several questions error texts of one kind: {text!r}",
    zh="服务对多道题返回同一类错误信息：{text!r}",
    en="the service gave error messages of one kind for several questions: {text!r}",
)
SERVICE_TEXTS = Template(
    "evalscope.distrust.service_texts",
    "{count} of {total} questions: {error}",
    zh="{total} 题中有 {count} 题：{error}",
)
CHANGED = Template(
    "evalscope.distrust.changed",
    "{count} replies on disk were not the ones that had been graded: their questions were asked again",
    zh="磁盘上有 {count} 条回复与已评分的不一致，相应题目已重新提问",
    en="{count} replies on disk differed from those that had been graded: their questions were asked again",
)
PROMPTS_CUT = Template(
    "evalscope.distrust.prompts_cut",
    "for {count} of {total} questions, the service counts fewer tokens than their prompts can have ({tokens} for "
    "{length} characters): it may not have read them whole",
    zh="{total} 题中有 {count} 题，服务统计的词元数少于提示词至少应有的数量（{length} 个字符仅 {tokens} 个），"
    "提示词可能被截断",
    en="for {count} of {total} questions, the service counts fewer tokens than the prompt can have ({tokens} for "
    "{length} characters): prompts may have been cut off",
)

RULES = 3
"""Version of these rules; raise it by hand with a change after which kept answers should be graded anew."""

_MOST_REASONS = 3


def repeated_errors(samples: Sequence[Sample]) -> tuple[list[Sample], list[str]]:
    """*samples* with a repeated error text counted as errors, and alarms.

    No list of error texts is whole: what answers three different questions alike, states no choice and is worded as
    services word their failures is a service's own. The next run asks these questions again.
    """
    texts: dict[int, str] = {
        id(sample): SERVICE_TEXT(text=text[:80])
        for text, group in repeated(samples).items()
        if from_service(text)
        for sample in group
    }
    similar = [group for group in kinds(samples) if any(from_service(skeleton(s.reply)) for s in group)]
    for group in [*similar, failures_of_many_words(samples)]:
        words = SERVICE_KIND(text=skeleton(group[0].reply)[:80]) if group else ""
        texts = {id(sample): words for sample in group} | texts
    if not texts:
        return list(samples), []
    changed = [_as_error(s, texts[id(s)]) if id(s) in texts else s for s in samples]
    # Once the replies are errors, nobody sees any more that they were all alike.
    alarms = list(filter(None, [one_text(samples)]))
    counts = Counter(s.error for s in changed if SERVICE_TEXT.made(s.error) or SERVICE_KIND.made(s.error))
    return changed, [
        *alarms,
        *(SERVICE_TEXTS(count=count, total=len(samples), error=error) for error, count in counts.items()),
    ]


def _as_error(sample: Sample, error: str) -> Sample:
    nothing = float("nan")
    return dataclasses.replace(
        sample,
        reply="",
        extracted="",
        extracted_alt="",
        status="errored",
        correct=nothing,
        latency_s=nothing,
        grades={},
        letter_logprobs={},
        error=error,
    )


def ask_alone(
    loaded: Loaded, samples: Sequence[Sample], api: AskingAPI, plan: EvaluationPlan, *, anew: bool
) -> str:
    """Ask some questions again, one at a time; why not to trust the rest.

    Empty where the answers are alike.

    A service may mix up replies under load, or change half-way. Only what a model says at temperature 0 can be
    compared by its choice; the texts of open questions are compared by which question they answer.

    Args:
        anew: whether answers came since the last time; else what was seen then is still true.
    """
    seen = loaded.folder / "alone.json"
    count = int(plan.get("ask_alone") or 0)
    if not anew or not plan["service_url"]:
        return statement_of(restored(_read(seen)), "why") if seen.is_file() else ""
    seen.unlink(missing_ok=True)
    answered = [sample for sample in samples if sample.status == "answered"]
    greedy = not (loaded.suite["generation"] or {}).get("temperature") and not (
        loaded.suite["generation"] or {}
    ).get("do_sample")
    comparable = [sample for sample in answered if greedy or not sample.options]
    if not count or len(comparable) < 2:
        return ""
    chosen = _spread(comparable, count)
    pairs = _asked_again(loaded, chosen, api)
    differ = _otherwise(pairs)
    total = len(chosen)
    if differ is not None and 1 <= differ <= total / 2 and len(comparable) > total:
        # Too many for rounding alone, too few to be sure: a service that changed half-way looks like this.
        taken = {id(sample) for sample in chosen}
        more = _spread([sample for sample in comparable if id(sample) not in taken], 2 * count)
        more_pairs = _asked_again(loaded, more, api)
        others = _otherwise(more_pairs)
        if others is not None and more_pairs:
            differ, total = differ + others, total + len(more)
            pairs = [*(pairs or ()), *more_pairs]
    if differ is None:
        return ""
    alarming = differ > total / 2 if total <= count else differ >= max(4, total / 8)
    why = ASKED_ALONE(count=differ, total=total) if alarming and differ > 1 else ""
    if not why and (differ or not loaded.by_letters):
        why = _second_look(loaded, comparable, count if differ else count // 2, api)
    write_json(
        seen,
        with_statements({"asked": total, "otherwise": differ, "why": why, "noise": noise_of(pairs or ())}),
    )
    return why


def _second_look(loaded: Loaded, samples: Sequence[Sample], count: int, api: AskingAPI) -> str:
    """Why many wrongly answered questions turn right when asked again.

    Empty where few do.

    One worker of many that is broken spoils few answers, and all of those are wrong. A model's own close calls turn
    either way, so that few of its wrong answers turn right.
    """
    wrong = [sample for sample in samples if sample.options and sample.correct == 0]
    chosen = _spread(wrong, count)
    pairs = _asked_again(loaded, chosen, api) or []
    # EvalScope's own rule grades some suites: the same reply is no other answer, whoever reads it
    right = sum(reply.strip() != sample.reply.strip() and is_right(sample, reply) for sample, reply in pairs)
    share = right / len(pairs) * len(wrong) / len(samples) if pairs else 0.0
    if right >= 3 and right >= len(pairs) / 3 and share >= 0.03:
        return ASKED_WRONG(count=right, total=len(pairs))
    return ""


def _read(path: Path) -> dict[str, object]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def seen_noise(loaded: Loaded) -> Noise | None:
    """The noise of *loaded* when it was last measured; None for never."""
    seen = loaded.folder / "alone.json"
    noise = _read(seen).get("noise") if seen.is_file() else None
    return cast(Noise, noise) if noise else None


def noise_of(pairs: Sequence[tuple[Sample, str]]) -> Noise:
    """How many questions got the same reply and grade twice, with intervals.

    The grade of an open question is the same where its reply is.
    """
    same_reply = [sample.reply.strip() == reply.strip() for sample, reply in pairs]
    same_grade = [same or _same_grade(*pair) for same, pair in zip(same_reply, pairs, strict=True)]
    n, replies, grades = len(pairs), sum(same_reply), sum(same_grade)
    return {
        "asked_twice": n,
        "same_replies": replies,
        "same_grades": grades,
        "replies_interval": list(wilson(replies, n)) if n else None,
        "grades_interval": list(wilson(grades, n)) if n else None,
    }


def _same_grade(sample: Sample, reply: str) -> bool:
    return bool(sample.options) and is_right(sample, sample.reply) == is_right(sample, reply)


def prompts_cut(loaded: Loaded) -> str:
    """Why the service seems not to have read whole prompts; "" where it has.

    By its own count of their tokens.

    No tokenizer makes fewer tokens than a quarter of the Chinese characters and a twelfth of the others. A service
    that counts none, or one, does not count.
    """
    texts = {
        (subset, sample.id): "".join(str(message.text) for message in sample.input)
        for subset, sample in loaded.samples
    }
    short = []
    for key, prediction in predictions_of(loaded).items():
        usage = (prediction.get("model_output") or {}).get("usage") or {}
        tokens, text = usage.get("input_tokens"), texts.get(key, "")
        wide = sum("\u4e00" <= sign <= "\u9fff" for sign in text)
        if isinstance(tokens, int) and 1 < tokens < wide / 4 + (len(text) - wide) / 12:
            short.append((tokens, len(text)))
    if len(short) < 3 or len(short) <= 0.005 * len(texts):
        return ""
    tokens, length = min(short)
    return PROMPTS_CUT(count=len(short), total=len(texts), tokens=tokens, length=length)


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """*count* of *samples*, one from each stretch of them.

    Not at even distances: one of several workers that take turns would be met always or never.
    """
    if len(samples) <= count:
        return list(samples)
    if len(samples) <= 2 * count:  # hardly any choice
        return [samples[round(number * (len(samples) - 1) / max(1, count - 1))] for number in range(count)]
    bounds = [len(samples) * number // count for number in range(count + 1)]
    return [
        min(samples[first:end], key=lambda sample: hashlib.sha256(sample.sample_id.encode()).digest())
        for first, end in itertools.pairwise(bounds)
    ]


def _asked_again(loaded: Loaded, chosen: Sequence[Sample], api: AskingAPI) -> list[tuple[Sample, str]] | None:
    """*chosen* with their new replies; None where the service is silent."""
    config = loaded.task.generation_config
    replies: list[str | None] = []
    for sample in chosen:
        _, question = loaded.samples[sample.index]
        if loaded.by_letters:
            replies.append(ask_again(loaded, api, (sample.subset, question.id), question))
        else:
            replies.append(api.ask_alone(question.input, config))
        with (loaded.folder / "alone.log").open("a", encoding="utf-8") as file:
            file.write(f"{sample.sample_id}\n")  # a sign of life
        if replies[-3:] == [None] * 3:
            return None
    return [(sample, reply) for sample, reply in zip(chosen, replies, strict=True) if reply is not None]


def _otherwise(pairs: Sequence[tuple[Sample, str]] | None) -> int | None:
    """How many of *pairs* were answered otherwise; None for no pairs."""
    if pairs is None:
        return None
    earlier = [sample.reply for sample, _ in pairs]
    return sum(_differs(sample, reply, earlier) for sample, reply in pairs)


def _differs(sample: Sample, reply: str, earlier: Sequence[str]) -> bool:
    if sample.reply.strip() == reply.strip():
        return False
    if sample.options:
        multiple = len(sample.target) > 1 or sample.subset.endswith("_multiple")
        multiple = multiple and set(sample.target) <= set(LETTERS)
        before, now = (
            extract_choice(
                text, sample.options, multiple=multiple, question=asked(sample.subset, sample.question)
            )
            for text in (sample.reply, reply)
        )
        return bool(before or now) and before != now
    mine = alikeness(sample.reply, reply)
    nearest = max((alikeness(text, reply) for text in earlier if text != sample.reply), default=0.0)
    return mine < 0.05 or mine < nearest


def distrust(result: SuiteResult, samples: Sequence[Sample], alone: str) -> None:
    """Put into *result* what speaks against it, and why questions errored."""
    same = next(filter(ONE_TEXT.made, result["alarms"]), "")
    for row in result["scores"]:
        part = [sample for sample in samples if row["subset"] in (ALL, sample.subset)]
        words = row["why_not"]
        reasons = most_frequent(sample.error for sample in part if sample.error)
        if reasons and words:
            last = parts_of(words)[-1]
            over = any(template.made(last) for template in TOO_MANY.values())
            words = (
                WITH_REASONS(why=words, errors=reasons) if over else joined([words, ERRORS(errors=reasons)])
            )
        row["why_not"] = joined([words, alone, same if row["subset"] == ALL else ""])
        row["trusted"] = bool(row["trusted"]) and not row["why_not"]
    result["trusted"], result["why_not"] = result["scores"][0]["trusted"], result["scores"][0]["why_not"]
    if alone:
        result["alarms"].append(alone)


def most_frequent(errors: Iterable[str]) -> str:
    """The most frequent *errors* with counts: ``17 × APIConnectionError: …``"""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for error in errors:
        counts[first.setdefault(skeleton(error)[:160], error)] += 1
    listed = [f"{count} × {error[:160]}" for error, count in counts.most_common(_MOST_REASONS)]
    rest = sum(counts.values()) - sum(count for _, count in counts.most_common(_MOST_REASONS))
    return ", ".join([*listed, f"{rest} others"] if rest else listed)


def names_of(loaded: Loaded, api: AskingAPI) -> AnsweredBy:
    """Who answered: replies by model name, and the system fingerprints."""
    names: Counter[str] = Counter()
    for prediction in predictions_of(loaded).values():
        names[str((prediction.get("model_output") or {}).get("model") or "")] += 1
    prints = sorted({fingerprint for _, fingerprint in api.names if fingerprint})
    return {"models": dict(names), "system_fingerprints": prints}
