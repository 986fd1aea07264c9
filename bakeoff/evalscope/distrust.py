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

from bakeoff.error_texts import may_be_error_text, repeated_texts, skeleton
from bakeoff.evalscope.loading import Loaded, by_sample
from bakeoff.files import write_bytes, write_json
from bakeoff.scoring.extraction import LETTERS, extract_choice
from bakeoff.scoring.scores import ALL, ONE_TEXT, TOO_MANY, Sample, one_text
from bakeoff.sentences import Template, joined, parts_of, restored, statement_of, with_statements

SAME_REPLY = Template(
    "evalscope.distrust.same_reply",
    "{count} different questions got the same reply: {text!r}",
    zh="{count} 道不同的题得到同一段回复：{text!r}",
)
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
REPEATED = Template(
    "evalscope.distrust.repeated",
    "the reply is a service's error text, the same to several questions: {reply}",
    zh="回复是服务的错误信息，多道题完全相同：{reply}",
    en="the reply is a service's error message, the same for several questions: {reply}",
)
_AT_LEAST, _SHARE = 3, 0.005
_MOST_REASONS = 3


def repeated_errors(samples: Sequence[Sample]) -> tuple[list[Sample], list[str]]:
    """*samples* where one text that speaks of a failure and came for several questions is an error; and alarms.

    No list of error texts is whole. A text that states no choice and answers three different questions alike is told
    in any case; it counts as an error where it is short and speaks of a failure as services do.
    """
    # Graders read letters also where a reply only mentions them: of a choice, only what states none is looked at.
    silent = [one for one in samples if one.reply and not (one.options and one.extracted)]
    texts = repeated_texts((one.question, one.reply) for one in silent)
    texts = {text: count for text, count in texts.items() if count > _SHARE * len(samples)}
    errors = {text for text in texts if may_be_error_text(text)}
    changed = [_as_error(one) if skeleton(one.reply) in errors and one in silent else one for one in samples]
    alarms = [words] if errors and (words := one_text(samples)) else []
    alarms += [
        SAME_REPLY(count=count, text=text[:80])
        for text, count in sorted(texts.items(), key=lambda item: -item[1])[:_MOST_REASONS]
    ]
    return changed, alarms


def _as_error(sample: Sample) -> Sample:
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
        error=REPEATED(reply=sample.reply[:200]),
    )


def forget_replies(loaded: Loaded, numbers: Sequence[int]) -> None:
    """Take the replies to the questions *numbers* off the disk, so that the next run asks them again."""
    gone: dict[str, set[int]] = {}
    for number in numbers:
        subset, one = loaded.samples[number]
        gone.setdefault(subset, set()).add(one.id)
    for subset, ids in gone.items():
        name = f"{loaded.benchmark.name}_{subset}.jsonl"
        path = loaded.folder / "predictions" / loaded.task.model_id / name
        lines = path.read_bytes().split(b"\n")
        kept = [line for line in lines if not line.strip() or json.loads(line)["index"] not in ids]
        write_bytes(path, b"\n".join(kept))


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
    differ = _otherwise(loaded, chosen, api)
    asked = len(chosen)
    if differ is not None and 2 <= differ <= asked / 2 and len(comparable) > asked:
        # Too many for rounding alone, too few to be sure: a service that changed half-way looks like this.
        taken = {id(one) for one in chosen}
        more = _spread([one for one in comparable if id(one) not in taken], 2 * count)
        others = _otherwise(loaded, more, api)
        if others is not None:
            differ, asked = differ + others, asked + len(more)
    if differ is None:
        return ""
    alarming = differ > asked / 2 if asked <= count else differ >= asked / 4
    why = ASKED_ALONE(count=differ, total=asked) if alarming and differ > 1 else ""
    write_json(seen, with_statements({"asked": asked, "otherwise": differ, "why": why}))
    return why


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """*count* of *samples*, evenly from the first to the last."""
    if len(samples) <= count:
        return list(samples)
    return [samples[round(number * (len(samples) - 1) / max(1, count - 1))] for number in range(count)]


def _otherwise(loaded: Loaded, chosen: Sequence[Sample], api: Any) -> int | None:
    """How many of *chosen* the service answers otherwise now; None where it does not answer any more."""
    config = loaded.task.generation_config
    replies: list[str | None] = []
    for one in chosen:
        _, question = loaded.samples[one.index]
        replies.append(api.ask_alone(question.input, config))
        with (loaded.folder / "alone.log").open("a", encoding="utf-8") as file:
            file.write(f"{one.sample_id}\n")  # a sign of life
        if replies[-3:] == [None] * 3:
            return None
    pairs = [(one, reply) for one, reply in zip(chosen, replies, strict=True) if reply is not None]
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
