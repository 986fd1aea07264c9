"""Whether a service answers different questions from one cache entry.

A cache that is keyed by a part of the prompt gives some questions another question's reply, each time that they are
asked. Three things give it away: replies that follow the length or one end of the prompt, replies that quote another
question's options, and wrong answers that turn right when the prompt merely gets a number in front.

Runs in the evaluation process, after the questions were asked.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bakeoff.evalscope.loading import Loaded, predictions_of
from bakeoff.evalscope.types import EvaluationPlan, Message
from bakeoff.foundation.files import write_json
from bakeoff.foundation.sentences import Template, joined, restored, statement_of, with_statements
from bakeoff.scoring.extraction import extract_choice
from bakeoff.scoring.reading import final_part
from bakeoff.scoring.scores import REPEATED_SHARE, Sample, chance_of
from bakeoff.statistics.intervals import wilson
from bakeoff.suites.rows import asked

if TYPE_CHECKING:
    from bakeoff.evalscope.asking import AskingAPI

SHARED = Template(
    "evalscope.caches.shared",
    "{count} of {total} questions whose prompt has the same {part} as another's got the same reply as that: it seems "
    "to come from a cache that different questions share",
    zh="提示词的{part}与另一题相同的 {total} 题中，有 {count} 题得到与那一题完全相同的回复：不同的题目似乎共用了缓存",
    en="{count} of {total} questions whose prompt has the same {part} as another question's got that question's reply: "
    "different questions seem to share a cache",
)
SAME_ID = Template(
    "evalscope.caches.same_id",
    "{count} of {total} replies bear the id and the text of the reply to another question: they seem to come from a "
    "cache that different questions share",
    zh="{total} 条回复中有 {count} 条的编号和内容与另一题的回复完全相同：不同的题目似乎共用了缓存",
    en="{count} of {total} replies have the id and the text of the reply to another question: different questions seem "
    "to share a cache",
)
LENGTH = Template("evalscope.caches.length", "length", zh="长度")
BYTES = Template("evalscope.caches.bytes", "number of bytes", zh="字节数")
BEGINNING = Template(
    "evalscope.caches.beginning", "beginning ({count} characters)", zh="开头（{count} 个字符）"
)
END = Template("evalscope.caches.end", "end ({count} characters)", zh="结尾（{count} 个字符）")
QUOTES = Template(
    "evalscope.caches.quotes",
    "{count} of {total} replies choose an option of another question, such as {text!r}: replies seem to be mixed up",
    zh="{total} 条回复中有 {count} 条选的是其他题目的选项（如 {text!r}）：回复似乎与题目错配",
    en="{count} of {total} replies choose an option of another question, such as {text!r}: replies seem to be mixed up",
)
TURNED = Template(
    "evalscope.caches.turned",
    "with a number in front of the prompt, {right} of {wrong} wrong answers are right and {lost} of {others} right "
    "ones wrong: the service does not seem to read each prompt anew",
    zh="仅在提示词前加一个编号，{wrong} 道答错的题中有 {right} 道答对，而 {others} 道答对的题中仅 {lost} 道答错："
    "服务似乎没有逐题读取提示词",
    en="with a number in front of the prompt, {right} of {wrong} wrong answers become right, and {lost} of {others} "
    "right answers wrong: the service does not seem to read each prompt anew",
)

_ENDS = (16, 20, 24, 32, 40, 48, 50, 64, 80, 100, 120, 128, 150, 160, 200, 250, 256, 300, 400, 500, 512)
"""Characters from either end that a cache may look at."""
_IMPROBABLE = 1e-6
_FEWEST = 8
"""Questions with a shared part from which replies are compared."""
_FEWEST_IDS, _IMPROBABLE_ID = 4, 1e-3
_FIRST_LOOK, _WRONG, _RIGHT = 6, 24, 24
"""Wrong answers that are asked first with a number, and how many of either kind where some of them turn right."""
_LEAST_GAIN = 0.03


def why_shared(loaded: Loaded, samples: Sequence[Sample]) -> str:
    """Return what the replies themselves tell of a shared cache, or ""."""
    prompts = ["\n".join(str(message.text) for message in question.input) for _, question in loaded.samples]
    predictions = predictions_of(loaded)
    ids = {
        number: str(prediction["model_output"].get("id") or "")
        for number, (subset, question) in enumerate(loaded.samples)
        if (prediction := predictions.get((subset, question.id))) and prediction.get("model_output")
    }
    why = follow_a_part(prompts, samples) or bear_others_ids(prompts, samples, ids)
    return joined((why, quote_others(samples)))


def bear_others_ids(prompts: Sequence[str], samples: Sequence[Sample], ids: Mapping[int, str]) -> str:
    """Return a warning if replies with one id are one text, whatever was asked.

    A cache keeps a reply with its id. Some services make ids of the time: two of theirs may be the same, but the texts
    are then no more alike than others.

    Args:
        ids: of the replies, by the index of their sample.
    """
    replies: dict[str, Sample] = {}
    for sample in samples:
        if sample.status not in ("errored", "empty") and ids.get(sample.index):
            replies.setdefault(prompts[sample.index], sample)
    groups: dict[str, list[Sample]] = {}
    for sample in replies.values():
        groups.setdefault(ids[sample.index], []).append(sample)
    pairs = [(group[0], sample) for group in groups.values() for sample in group[1:]]
    if len(pairs) < _FEWEST_IDS or len(groups) < len(pairs):
        return ""
    usual = Counter(sample.reply.strip() for sample in replies.values()).most_common(1)[0][1] / len(replies)
    same = sum(first.reply.strip() == second.reply.strip() for first, second in pairs)
    if same < 0.95 * len(pairs) or _at_least(same, len(pairs), usual) >= _IMPROBABLE_ID:
        return ""
    return SAME_ID(count=same, total=len(replies))


def follow_a_part(prompts: Sequence[str], samples: Sequence[Sample]) -> str:
    """Return a warning if equal parts of prompts always get equal replies.

    The probability of that is reckoned from the most frequent reply: who always says the same is no cache. Where most
    right answers agree as well, a model that knows them answers so.
    """
    replies: dict[str, Sample] = {}
    for sample in samples:
        if sample.status not in ("errored", "empty"):
            replies.setdefault(prompts[sample.index], sample)
    if len(replies) <= _FEWEST:
        return ""
    usual = Counter(sample.reply.strip() for sample in replies.values()).most_common(1)[0][1] / len(replies)
    parts: dict[str, Callable[[str], object]] = {LENGTH(): len, BYTES(): lambda text: len(text.encode())}
    for count in _ENDS:
        parts[BEGINNING(count=count)] = functools.partial(_beginning, count=count)
        parts[END(count=count)] = functools.partial(_end, count=count)
    for words, part in parts.items():
        groups: dict[object, list[Sample]] = {}
        for prompt, sample in replies.items():
            groups.setdefault(part(prompt), []).append(sample)
        pairs = [(group[0], sample) for group in groups.values() for sample in group[1:]]
        same = sum(first.reply.strip() == second.reply.strip() for first, second in pairs)
        alike = sum(first.target == second.target for first, second in pairs)
        if len(pairs) < _FEWEST or same < 0.95 * len(pairs) or alike > 0.8 * len(pairs):
            continue
        if _at_least(same, len(pairs), usual) < _IMPROBABLE:
            return SHARED(count=same, total=len(pairs), part=words)
    return ""


def _beginning(text: str, count: int) -> str:
    return text[:count]


def _end(text: str, count: int) -> str:
    return text[-count:]


def _at_least(hits: int, n: int, share: float) -> float:
    """Return the binomial probability of *hits* or more out of *n*."""
    if share >= 1:
        return 1.0
    return math.fsum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(hits, n + 1))


_LABELLED = re.compile(r"(?<![A-Za-z])[A-J](?:\s*[.、:：)）．，,（(【\[*]+|\s)\s*([^\n]{4,200})")


def quote_others(samples: Sequence[Sample]) -> str:
    """Return a warning if replies choose options of other questions.

    An option counts that stands in one question alone, has at least four letters, and follows a label of the reply.
    """
    asked_samples = [sample for sample in samples if sample.options and sample.status == "answered"]
    owners: dict[str, set[str]] = {}
    for sample in asked_samples:
        for option in sample.options:
            owners.setdefault(_letters(option), set()).add(sample.question)
    starts: dict[str, list[str]] = {}
    for option, questions in owners.items():
        if len(option) >= 4 and len(questions) == 1:
            starts.setdefault(option[:4], []).append(option)
    quoting: list[str] = []
    for sample in asked_samples:
        question = _letters(sample.question + "".join(sample.options))
        for match in _LABELLED.finditer(final_part(sample.reply)):
            text = _letters(match[1])
            quoted = [option for option in starts.get(text[:4], ()) if text.startswith(option)]
            if quoted and not any(option in question for option in quoted):
                quoting.append(" ".join(match[0].split())[:60])
                break
    if len(quoting) < 3 or len(quoting) <= 2 * REPEATED_SHARE * len(asked_samples):
        return ""
    return QUOTES(count=len(quoting), total=len(asked_samples), text=quoting[0])


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).lower()


def ask_changed(
    loaded: Loaded, samples: Sequence[Sample], api: AskingAPI, plan: EvaluationPlan, *, anew: bool
) -> str:
    """Ask wrongly answered choices with a number; why not to trust the rest.

    Close calls of a model turn either way, so that what turns right is held against what turns wrong.

    Args:
        anew: whether answers came since the last time; else what was seen then is still true.
    """
    seen = loaded.folder / "changed.json"
    if not anew or not plan["service_url"]:
        return (
            statement_of(restored(json.loads(seen.read_text(encoding="utf-8"))), "why")
            if seen.is_file()
            else ""
        )
    seen.unlink(missing_ok=True)
    settings = loaded.suite["generation"] or {}
    sampled = settings.get("temperature") or settings.get("do_sample")
    graded = [sample for sample in samples if sample.options and sample.status == "answered"]
    wrong, right = (_shuffled(s for s in graded if s.correct == value) for value in (0, 1))
    if not plan.get("ask_alone") or loaded.by_letters or sampled or len(wrong) < 2:
        return ""
    look = functools.partial(_right_ones, loaded, api, Padding(loaded))
    turned = look(wrong[:_FIRST_LOOK])
    why = ""
    if sum(turned) >= 2:
        turned += look(wrong[_FIRST_LOOK:_WRONG])
        stayed = look(right[:_RIGHT])
        why = why_turned(turned, stayed, len(right) / len(graded), chance_of(wrong))
    write_json(seen, with_statements({"asked": len(turned), "turned": sum(turned), "why": why}))
    return why


def why_turned(turned: Sequence[bool], stayed: Sequence[bool], share: float, chance: float) -> str:
    """Return a warning if clearly more answers turn right than wrong.

    Args:
        turned: of wrongly answered questions, which are right with a number.
        stayed: of rightly answered ones, which still are.
        share: of the questions that were answered right.
        chance: what guessing scores.
    """
    if not turned:
        return ""
    lost = len(stayed) - sum(stayed)
    least = wilson(sum(turned), len(turned), 0.01)[0]
    most = wilson(lost, len(stayed), 0.01)[1] if stayed else float(share > 0)
    gain = (1 - share) * least - share * most
    if least <= chance or gain <= 0 or (1 - share) * sum(turned) / len(turned) < _LEAST_GAIN:
        return ""
    return TURNED(right=sum(turned), wrong=len(turned), lost=lost, others=len(stayed))


class Padding:
    """A number in front and blanks behind, which give a prompt another beginning and length."""

    def __init__(self, loaded: Loaded) -> None:
        texts = [str(question.input[-1].text) for _, question in loaded.samples]
        self.lengths = {len(text) for text in texts}
        self.sizes = {len(text.encode()) for text in texts}

    def around(self, text: str) -> str:
        """Return *text* with a number of its own, as long as no prompt is."""
        front = f"\n[{hashlib.sha256(text.encode()).hexdigest()[:8]}]\n"
        for count in range(64):
            longer = f"{front}{text}{' ' * count}\n"
            if len(longer) not in self.lengths and len(longer.encode()) not in self.sizes:
                return longer
        return f"{front}{text}\n"


def _right_ones(loaded: Loaded, api: AskingAPI, padding: Padding, samples: Sequence[Sample]) -> list[bool]:
    """Return whether each of *samples* is right with a number in front.

    Those that get no reply are left out.
    """
    config = loaded.task.generation_config

    def ask(sample: Sample) -> str | None:
        _, question = loaded.samples[sample.index]
        return api.ask_alone(_changed(question.input, padding), config)

    with ThreadPoolExecutor(_FIRST_LOOK) as pool:
        replies = list(pool.map(ask, samples))
    with (loaded.folder / "alone.log").open("a", encoding="utf-8") as file:
        file.writelines(f"{sample.sample_id}\n" for sample in samples)  # a sign of life
    return [
        is_right(sample, reply) for sample, reply in zip(samples, replies, strict=True) if reply is not None
    ]


def _changed(messages: Sequence[Message], padding: Padding) -> list[Message]:
    from evalscope.api.messages import ChatMessageUser

    *others, last = messages
    return [*others, ChatMessageUser(content=padding.around(str(last.text)))]


def is_right(sample: Sample, reply: str) -> bool:
    """Whether *reply* states what the question of *sample* asks for."""
    multiple = len(sample.target) > 1 or sample.subset.endswith("_multiple")
    letters = extract_choice(
        reply, sample.options, multiple=multiple, question=asked(sample.subset, sample.question)
    )
    return set(letters) == set(sample.target)


def _shuffled(samples: Iterable[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda sample: hashlib.sha256(sample.sample_id.encode()).digest())
