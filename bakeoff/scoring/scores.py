"""A score, its ledger, and whether it can be trusted.

A sample ends in exactly one of five states (:data:`STATUSES`). ``errored`` (no reply came, or the reply was a
service's error text) is never graded; the other four are, the way the benchmark grades them. The tidy tables have
one row per value and are described in docs/suites.md.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

from bakeoff.foundation.error_texts import may_be_error_text, skeleton
from bakeoff.foundation.sentences import Template, joined
from bakeoff.scoring.belonging import elsewhere
from bakeoff.scoring.open_replies import POOR_LIMIT, poor_replies
from bakeoff.scoring.reading import final_part
from bakeoff.scoring.uniformity import few_texts, unwanted

RULES = 3
"""Version of these rules; raise it by hand with a change after which kept answers should be graded anew."""

Status = Literal["answered", "unparsed", "empty", "truncated", "errored"]
STATUSES: tuple[Status, ...] = get_args(Status)
ALL = "ALL"
"""The subset name of a suite's total."""

SPEED = "evalscope perf"
"""The benchmark of the rows of the scores table that tell how fast a service was, not what it knows."""
CRISIS = "crisis"
"""The suite of crisis cases; it stands on its own and enters no mean over suites."""

NOTHING_ASKED = Template(
    "scoring.scores.nothing_asked", "no question was asked", zh="没有提问", en="No question was asked"
)
FEW_REPLIES = Template(
    "scoring.scores.few_replies",
    "{share:.1%} got a reply, {least:.1%} wanted",
    zh="仅 {share:pct} 的题得到回复（要求 ≥ {least:pct}）",
    en="only {share:pct} of questions got a reply ({least:pct} required)",
)
TOO_MANY: Mapping[str, Template] = {
    "errored": Template(
        "scoring.scores.errored",
        "{share:.1%} errored, at most {limit:.1%} allowed",
        zh="{share:pct} 的请求出错（上限 {limit:pct}）",
        en="{share:pct} of requests failed (limit {limit:pct})",
    ),
    "truncated": Template(
        "scoring.scores.truncated",
        "{share:.1%} truncated, at most {limit:.1%} allowed",
        zh="{share:pct} 的回复被截断（上限 {limit:pct}）",
        en="{share:pct} of replies were cut off (limit {limit:pct})",
    ),
    "unparsed": Template(
        "scoring.scores.unparsed",
        "{share:.1%} unparsed, at most {limit:.1%} allowed",
        zh="{share:pct} 的回复无法提取答案（上限 {limit:pct}）",
        en="no answer could be extracted from {share:pct} of replies (limit {limit:pct})",
    ),
}
RULES_DISAGREE = Template(
    "scoring.scores.rules_disagree",
    "two extraction rules agree on {share:.1%} only, {least:.1%} wanted",
    zh="两套答案提取规则的一致率仅为 {share:pct}（要求 ≥ {least:pct}）",
    en="the two answer-extraction rules agree on only {share:pct} ({least:pct} required)",
)
BELOW_CHANCE = Template(
    "scoring.scores.below_chance",
    "{value:.1%} is below the {chance:.1%} of guessing: look at template and prompt",
    zh="{value:pct} 低于随机猜测水平 {chance:pct}，请检查模板与提示词",
    en="{value:pct} is below the chance level of {chance:pct}: check template and prompt",
)
NOTHING_GRADED = Template(
    "scoring.scores.nothing_graded",
    "nothing was graded",
    zh="没有可评分的回复",
    en="no reply could be graded",
)
MOSTLY_ONE_LETTER = Template(
    "scoring.scores.mostly_one_letter",
    "{share:.1%} of the answers are {letter}, which is right for {right:.1%}",
    zh="{share:pct} 的回复选 {letter}，而正确答案为 {letter} 的题只占 {right:pct}",
    en="{share:pct} of answers are {letter}, but {letter} is correct for only {right:pct} of questions",
)
ALWAYS_ONE_LETTER = Template(
    "scoring.scores.always_one_letter",
    "100.0% of the answers are {letter}, which is right for {right:.1%}",
    zh="所有回复都选 {letter}，而正确答案为 {letter} 的题只占 {right:pct}",
    en="every answer is {letter}, but {letter} is correct for only {right:pct} of questions",
)
ONE_TEXT = Template(
    "scoring.scores.one_text",
    "{share:.1%} of the replies are one text: {text!r}",
    zh="{share:pct} 的回复是同一段文字：{text!r}",
    en="{share:pct} of replies are the same text: {text!r}",
)
REPEATED_TEXT = Template(
    "scoring.scores.repeated_text",
    "one text that states no choice answers {count} of {total} questions: {text!r}",
    zh="{total} 题中有 {count} 题的回复是同一段未作选择的文字：{text!r}",
    en="{count} of {total} questions got the same reply, which chooses no option: {text!r}",
)


@dataclass(frozen=True)
class Sample:
    """One question put to one model, and what came back.

    Attributes:
        sample_id: hash of the question and its options: the same for every model that was asked it.
        extracted: the answer that was graded; ``extracted_alt``: what the second rule reads from the same reply.
        correct: grade of the primary metric, 0 to 1; NaN where nothing was graded.
        grades: every metric's grade of this reply.
        letter_logprobs: how likely each letter is, of a question that is scored by log-probabilities.
        error: why there is no reply, where the status is ``errored``.
    """

    sample_id: str
    subset: str
    index: int
    question: str
    options: tuple[str, ...]
    target: str
    reply: str
    extracted: str
    extracted_alt: str
    status: Status
    correct: float
    prompt_sha: str
    latency_s: float
    leaked: bool = False
    grades: Mapping[str, float] = field(default_factory=dict)
    letter_logprobs: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Ledger:
    """What became of the questions of one score: counts that add up to ``asked``."""

    asked: int
    answered: int
    unparsed: int
    empty: int
    truncated: int
    errored: int

    @property
    def judged(self) -> int:
        """Questions whose reply was graded: all that did not end in an error."""
        return self.asked - self.errored

    @property
    def missing(self) -> int:
        """Questions without a usable answer; the bounds assume both ends."""
        return self.asked - self.answered


@dataclass(frozen=True)
class Thresholds:
    """When a score can be trusted; shares of the questions asked.

    Attributes:
        min_answered: at least this share must have got a reply that is not empty.
        min_agreement: share of replies from which both extraction rules read the same answer.
        chance_level: a score is called below chance when guessing would do worse with less than this probability.
    """

    min_answered: float = 0.95
    max_errored: float = 0.0
    max_truncated: float = 0.05
    max_unparsed: float = 0.2
    min_agreement: float = 0.9
    chance_level: float = 0.01

    @classmethod
    def of(cls, trust: object) -> Thresholds:
        """Return the thresholds of *trust* (any object), with defaults."""
        settings = trust if isinstance(trust, Mapping) else getattr(trust, "__dict__", {})
        return cls(
            **{f.name: float(settings[f.name]) for f in fields(cls) if settings.get(f.name) is not None}
        )


@dataclass(frozen=True)
class Score:
    """One metric of one subset (or of the suite, ``ALL``) with its ledger.

    Attributes:
        value: mean grade over the judged questions; NaN when none was judged.
        worst: mean over all questions when every missing one is wrong; ``best``: when every one is right.
        chance: what guessing scores; NaN for open questions.
        why_not: why the value cannot be trusted, in words; empty when it can.
    """

    subset: str
    metric: str
    value: float
    ledger: Ledger
    worst: float
    best: float
    chance: float
    why_not: str = ""

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against the value."""
        return not self.why_not


def ledger(samples: Iterable[Sample]) -> Ledger:
    """Count what became of *samples*."""
    counts = Counter(sample.status for sample in samples)
    return Ledger(asked=counts.total(), **{status: counts[status] for status in STATUSES})


def score(
    samples: Sequence[Sample],
    metric: str,
    *,
    subset: str = ALL,
    chance: float = math.nan,
    trust: Thresholds | None = None,
) -> Score:
    """Return the mean of *metric* with bounds, and a verdict by *trust*."""
    counts = ledger(samples)
    grades = [s.grades[metric] for s in samples if s.status != "errored" and metric in s.grades]
    sure = math.fsum(s.grades[metric] for s in samples if s.status == "answered" and metric in s.grades)
    value = math.fsum(grades) / len(grades) if grades else math.nan
    bounded = all(0 <= grade <= 1 for grade in grades)
    mean = Score(
        subset=subset,
        metric=metric,
        value=value,
        ledger=counts,
        worst=sure / counts.asked if counts.asked and bounded else math.nan,
        best=(sure + counts.missing) / counts.asked if counts.asked and bounded else math.nan,
        chance=chance,
    )
    if trust is None:
        return mean
    reasons = why_not(mean, samples, trust)
    return Score(**{**{f.name: getattr(mean, f.name) for f in fields(mean)}, "why_not": joined(reasons)})


def why_not(mean: Score, samples: Sequence[Sample], trust: Thresholds) -> list[str]:
    """Return what speaks against *mean*, each with figure and threshold."""
    counts = mean.ledger
    if not counts.asked:
        return [NOTHING_ASKED()]
    reasons: list[str] = []
    replied = 1 - (counts.errored + counts.empty) / counts.asked
    if replied < trust.min_answered:
        reasons.append(FEW_REPLIES(share=replied, least=trust.min_answered))
    for status, limit in (
        ("errored", trust.max_errored),
        ("truncated", trust.max_truncated),
        ("unparsed", trust.max_unparsed),
    ):
        share = getattr(counts, status) / counts.asked
        if share > limit:
            reasons.append(TOO_MANY[status](share=share, limit=limit))
    if not math.isnan(agreed := agreement(samples)) and agreed < trust.min_agreement:
        reasons.append(RULES_DISAGREE(share=agreed, least=trust.min_agreement))
    if below_chance(mean.value, counts.judged, mean.chance, trust.chance_level):
        reasons.append(BELOW_CHANCE(value=mean.value, chance=mean.chance))
    reasons += open_doubts(samples)
    if math.isnan(mean.value):
        reasons.append(NOTHING_GRADED())
    return reasons


def open_doubts(samples: Sequence[Sample]) -> list[str]:
    """Return what makes replies no answers, whatever their grades are."""
    uniform = one_text(samples) or few_texts(samples)
    poor = poor_replies(samples, POOR_LIMIT)
    if uniform or poor:  # replies that are all alike, or no answers at all, belong to no question anyway
        return [*filter(None, [uniform]), *poor]
    return list(filter(None, [elsewhere(samples)]))


def agreement(samples: Iterable[Sample]) -> float:
    """Return the share of replies that both rules read alike, or NaN.

    EvalScope's rule reads one letter: of several that were read it can only confirm one.
    """
    both = [
        s.extracted == s.extracted_alt or (len(s.extracted) > 1 and s.extracted_alt in {*s.extracted})
        for s in samples
        if s.options and s.status not in ("errored", "empty")
    ]
    return sum(both) / len(both) if both else math.nan


def answers(samples: Iterable[Sample]) -> dict[str, int]:
    """Count the answers, the most frequent first; ``""`` is no answer."""
    read = (s.extracted for s in samples if s.options and s.status != "errored")
    return dict(Counter(read).most_common())


def one_sided(samples: Sequence[Sample], share: float = 0.9, at_least: int = 20) -> str:
    """Warn when nearly every reply is one letter that is seldom right.

    Or one short text, where the answers to open questions are short.
    """
    stated = [(_stated(s), s) for s in samples]
    read = Counter(answer for answer, _ in stated if answer)
    if read.total() < at_least:
        return ""
    letter, count = read.most_common(1)[0]
    right = sum(letter in (s.target, _letters(s.target)) for _, s in stated) / len(samples)
    if count / read.total() < share or right > share / 1.5:
        return ""
    if count == read.total():
        return ALWAYS_ONE_LETTER(letter=letter, right=right)
    return MOSTLY_ONE_LETTER(share=count / read.total(), letter=letter, right=right)


def _stated(sample: Sample) -> str:
    """Return the choice, or the few letters of a reply to which few belong."""
    if sample.options:
        return sample.extracted
    few = sample.status == "answered" and len(_letters(sample.target)) <= _FEW_LETTERS
    return letters if few and len(letters := _letters(sample.reply)) <= _FEW_LETTERS else ""


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", final_part(text))


def one_text(samples: Sequence[Sample], share: float = 0.5, at_least: int = 20) -> str:
    """Warn when most replies are one and the same text, numbers aside.

    That is a service speaking, or a broken template. A short text may well be said again and again: up to 20 letters
    in reply to a choice (``答案：B``), up to 8 in reply to an open question.
    """
    replies = [s for s in samples if s.status not in ("errored", "empty")]
    if len(replies) < at_least:
        return ""
    text, count = Counter(_without_numbers(s.reply) for s in replies).most_common(1)[0]
    if count > share * len(replies) and not any(s.options for s in replies):
        count = len(unwanted([s for s in replies if _without_numbers(s.reply) == text]))
    letters = len(_letters(text))
    if count <= share * len(replies) or letters <= (20 if any(s.options for s in samples) else _FEW_LETTERS):
        return ""
    return ONE_TEXT(share=count / len(replies), text=" ".join(text.split())[:80])


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+", "0", text.strip())


_FEW_LETTERS = 8
"""Letters up to which an answer to an open question may be given again and again."""
REPEATED_SHARE = 0.005
"""Share of the replies, and at least three, from which one text that states no choice is told as repeated."""


def repeated(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Return the texts that answer several questions and state no choice.

    Numbers aside, it is one and the same text in reply to at least three questions and to more than
    :data:`REPEATED_SHARE` of them: a service speaks, a model refuses, or a template is broken. What references ask
    for, of one open question word by word or of several nearly so, is an answer.
    """
    right = {skeleton(sample.target) for sample in samples if not sample.options}
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        # EvalScope's rule reads the last letter of any text; whether a choice is stated, the status tells.
        silent = sample.status == ("unparsed" if sample.options else "answered")
        if silent and (text := skeleton(sample.reply)) and text not in right:
            groups.setdefault(text, []).append(sample)
    return {
        text: group
        for text, group in groups.items()
        if (group[0].options or len(unwanted(group)) == len(group))
        and len({s.question for s in group}) >= 3
        and len(group) > REPEATED_SHARE * len(samples)
    }


def from_service(text: str) -> bool:
    """Whether a *repeated* text is short and speaks of a failure."""
    return may_be_error_text(text)


def repetitions(samples: Sequence[Sample]) -> list[str]:
    """Warn of each text that answers several questions without a choice."""
    return [
        REPEATED_TEXT(count=len(group), total=len(samples), text=text[:80])
        for text, group in repeated(samples).items()
    ]


def below_chance(value: float, n: int, chance: float, level: float = 0.01) -> bool:
    """Whether guessing would hardly score as little as *value*.

    The exact binomial probability of that, at *chance*, is under *level*.
    """
    if not n or math.isnan(value) or math.isnan(chance) or not 0 < chance < 1 or value >= chance:
        return False
    hits = math.floor(value * n + 1e-9)
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        + k * math.log(chance) + (n - k) * math.log1p(-chance)
        for k in range(hits + 1)
    ]  # fmt: skip
    top = max(logs)
    return math.exp(top) * math.fsum(math.exp(log - top) for log in logs) < level


def chance_of(samples: Iterable[Sample], *, multiple: bool = False) -> float:
    """Return what guessing scores, NaN for open questions.

    It is the mean of 1/options, or of 1/(2^options - 1) where several may be right.
    """
    shares = [1 / (2 ** len(s.options) - 1 if multiple else len(s.options)) for s in samples if s.options]
    return math.fsum(shares) / len(shares) if shares else math.nan
