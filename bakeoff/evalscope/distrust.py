"""What speaks against the replies of a whole suite: repeated error texts, other answers when asked alone, other names.

Runs in the evaluation process, after the questions were asked.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bakeoff.error_texts import skeleton
from bakeoff.evalscope.choosing import ask_again
from bakeoff.evalscope.loading import Loaded, by_sample
from bakeoff.files import write_json
from bakeoff.scoring.extraction import extract_choice
from bakeoff.scoring.labels import LETTERS
from bakeoff.scoring.scores import ALL, ONE_TEXT, TOO_MANY, Sample, from_service, one_text, repeated
from bakeoff.sentences import Template, joined, parts_of, restored, statement_of, with_statements
from bakeoff.statistics.intervals import wilson

ASKED_ALONE = Template(
    "evalscope.distrust.asked_alone",
    "asked alone, the service answers {count} of {total} questions otherwise",
    zh="逐题单独重问 {total} 题，其中 {count} 题的答案与并发时不同",
    en="asked one at a time, the service answers {count} of {total} questions differently",
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
SERVICE_TEXTS = Template(
    "evalscope.distrust.service_texts",
    "{count} of {total} questions: {error}",
    zh="{total} 题中有 {count} 题：{error}",
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

RULES = 1
"""Version of these rules; raise it by hand with a change after which kept answers should be graded anew."""

_MOST_REASONS = 3


def repeated_errors(samples: Sequence[Sample]) -> tuple[list[Sample], list[str]]:
    """*samples* where one text that speaks of a failure and came for several questions is an error; and alarms.

    No list of error texts is whole: what answers three different questions alike, states no choice and is worded as
    services word their failures is a service's own. The next run asks these questions again.
    """
    texts = {
        id(sample): text
        for text, group in repeated(samples).items()
        if from_service(text)
        for sample in group
    }
    if not texts:
        return list(samples), []
    changed = [_as_error(one, texts[id(one)]) if id(one) in texts else one for one in samples]
    # Once the replies are errors, nobody sees any more that they were all alike.
    alarms = list(filter(None, [one_text(samples)]))
    counts = Counter(one.error for one in changed if SERVICE_TEXT.made(one.error))
    return changed, [
        *alarms,
        *(SERVICE_TEXTS(count=count, total=len(samples), error=error) for error, count in counts.items()),
    ]


def _as_error(sample: Sample, text: str) -> Sample:
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
        error=SERVICE_TEXT(text=text[:80]),
    )


def ask_alone(
    loaded: Loaded, samples: Sequence[Sample], api: Any, plan: Mapping[str, Any], *, anew: bool
) -> str:
    """Ask answered questions again, one at a time; why the answers are not to be trusted, "" where they are alike.

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
    answered = [one for one in samples if one.status == "answered"]
    greedy = not (loaded.suite["generation"] or {}).get("temperature") and not (
        loaded.suite["generation"] or {}
    ).get("do_sample")
    comparable = [one for one in answered if greedy or not one.options]
    if not count or len(comparable) < 2:
        return ""
    chosen = _spread(comparable, count)
    pairs = _asked_again(loaded, chosen, api)
    differ = _otherwise(pairs)
    asked = len(chosen)
    if differ is not None and 2 <= differ <= asked / 2 and len(comparable) > asked:
        # Too many for rounding alone, too few to be sure: a service that changed half-way looks like this.
        taken = {id(one) for one in chosen}
        more = _spread([one for one in comparable if id(one) not in taken], 2 * count)
        more_pairs = _asked_again(loaded, more, api)
        others = _otherwise(more_pairs)
        if others is not None and more_pairs:
            differ, asked = differ + others, asked + len(more)
            pairs = [*(pairs or ()), *more_pairs]
    if differ is None:
        return ""
    alarming = differ > asked / 2 if asked <= count else differ >= asked / 4
    why = ASKED_ALONE(count=differ, total=asked) if alarming and differ > 1 else ""
    write_json(
        seen,
        with_statements({"asked": asked, "otherwise": differ, "why": why, "noise": noise_of(pairs or ())}),
    )
    return why


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def seen_noise(loaded: Loaded) -> dict[str, Any] | None:
    """The noise of the replies of *loaded*, as it was measured when its last questions were asked; None for never."""
    seen = loaded.folder / "alone.json"
    noise = _read(seen).get("noise") if seen.is_file() else None
    return dict(noise) if noise else None


def noise_of(pairs: Sequence[tuple[Sample, str]]) -> dict[str, Any]:
    """How many of the questions that were asked twice got the same reply, and the same grade, with 95 % intervals.

    The grade of an open question is the same where its reply is.
    """
    same_reply = [one.reply.strip() == reply.strip() for one, reply in pairs]
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
    if not sample.options:
        return False
    multiple = len(sample.target) > 1 or sample.subset.endswith("_multiple")
    first, second = (
        extract_choice(text, sample.options, multiple=multiple) for text in (sample.reply, reply)
    )
    return (set(first) == set(sample.target)) == (set(second) == set(sample.target))


def prompts_cut(loaded: Loaded) -> str:
    """Why the service seems not to have read whole prompts, by its own count of their tokens; "" where it has.

    No tokenizer makes fewer tokens than a quarter of the Chinese characters and a twelfth of the others. A service
    that counts none, or one, does not count.
    """
    texts = {
        (subset, one.id): "".join(str(message.text) for message in one.input)
        for subset, one in loaded.samples
    }
    short = []
    for key, prediction in by_sample(loaded.folder, "predictions", loaded).items():
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
    """*count* of *samples*, evenly from the first to the last."""
    if len(samples) <= count:
        return list(samples)
    return [samples[round(number * (len(samples) - 1) / max(1, count - 1))] for number in range(count)]


def _asked_again(loaded: Loaded, chosen: Sequence[Sample], api: Any) -> list[tuple[Sample, str]] | None:
    """*chosen* with the replies that the service gives now; None where it does not answer any more."""
    config = loaded.task.generation_config
    replies: list[str | None] = []
    for one in chosen:
        _, question = loaded.samples[one.index]
        if loaded.by_letters:
            replies.append(ask_again(loaded, api, (one.subset, question.id), question))
        else:
            replies.append(api.ask_alone(question.input, config))
        with (loaded.folder / "alone.log").open("a", encoding="utf-8") as file:
            file.write(f"{one.sample_id}\n")  # a sign of life
        if replies[-3:] == [None] * 3:
            return None
    return [(one, reply) for one, reply in zip(chosen, replies, strict=True) if reply is not None]


def _otherwise(pairs: Sequence[tuple[Sample, str]] | None) -> int | None:
    """How many of *pairs* were answered otherwise the second time; None for no pairs."""
    if pairs is None:
        return None
    earlier = [one.reply for one, _ in pairs]
    return sum(_differs(one, reply, earlier) for one, reply in pairs)


def _differs(sample: Sample, reply: str, earlier: Sequence[str]) -> bool:
    if sample.reply.strip() == reply.strip():
        return False
    if sample.options:
        multiple = len(sample.target) > 1 or sample.subset.endswith("_multiple")
        multiple = multiple and set(sample.target) <= set(LETTERS)
        before, now = (
            extract_choice(text, sample.options, multiple=multiple) for text in (sample.reply, reply)
        )
        return bool(before or now) and before != now
    mine = alikeness(sample.reply, reply)
    nearest = max((alikeness(text, reply) for text in earlier if text != sample.reply), default=0.0)
    return mine < 0.05 or mine < nearest


def alikeness(first: str, second: str) -> float:
    """The share of pairs of letters that two texts have in common, from 0 to 1."""
    pairs = [{text[i : i + 2] for i in range(len(text) - 1)} or {text} for text in (first, second)]
    return len(pairs[0] & pairs[1]) / len(pairs[0] | pairs[1])


def distrust(result: dict[str, Any], samples: Sequence[Sample], alone: str) -> None:
    """Put into *result* what was seen asking alone, and why questions errored, with counts."""
    same = next(filter(ONE_TEXT.made, result["alarms"]), "")
    for row in result["scores"]:
        part = [one for one in samples if row["subset"] in (ALL, one.subset)]
        words = row["why_not"]
        reasons = most_frequent(one.error for one in part if one.error)
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


def most_frequent(errors: Any) -> str:
    """The most frequent of *errors* with their counts, such as ``17 × APIConnectionError: Connection error.``"""
    counts = Counter(skeleton(error)[:160] if len(error) > 160 else error for error in errors)
    listed = [f"{count} × {error[:160]}" for error, count in counts.most_common(_MOST_REASONS)]
    rest = sum(counts.values()) - sum(count for _, count in counts.most_common(_MOST_REASONS))
    return ", ".join([*listed, f"{rest} others"] if rest else listed)


def names_of(loaded: Loaded, api: Any) -> dict[str, Any]:
    """Who answered, as the replies say: how many by each name, and the system fingerprints of this run."""
    names: Counter[str] = Counter()
    for prediction in by_sample(loaded.folder, "predictions", loaded).values():
        names[str((prediction.get("model_output") or {}).get("model") or "")] += 1
    prints = sorted({fingerprint for _, fingerprint in api.names if fingerprint})
    return {"models": dict(names), "system_fingerprints": prints}
