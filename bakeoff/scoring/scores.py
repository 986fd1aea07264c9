"""A score and its ledger: how many questions were asked, what became of each, and whether the number can be trusted.

A sample ends in exactly one of five states (:data:`STATUSES`). ``errored`` (no reply came, or the reply was a
service's error text) is never graded; the other four are, the way the benchmark grades them. The tidy tables have
one row per value and are described in docs/suites.md.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from bakeoff.error_texts import may_be_error_text, skeleton
from bakeoff.errors import DataError
from bakeoff.files import read_rows, replacing, write_json, write_rows
from bakeoff.scoring.extraction import final_part
from bakeoff.sentences import Template, joined, with_statements

if TYPE_CHECKING:
    import pandas as pd

RULES = 1
"""Version of these rules; raise it by hand with a change after which kept answers should be graded anew."""

Status = Literal["answered", "unparsed", "empty", "truncated", "errored"]
STATUSES: tuple[Status, ...] = get_args(Status)
ALL = "ALL"
"""The subset name of a suite's total."""

SPEED = "evalscope perf"
"""The benchmark of the rows of the scores table that tell how fast a service was, not what it knows."""
CRISIS = "crisis"
"""The suite of crisis cases; it stands on its own and enters no mean over suites."""

SCORE_COLUMNS: tuple[str, ...] = (
    "run_id",
    "model",
    "variant",
    "suite",
    "subset",
    "metric",
    "value",
    "n_asked",
    "n_answered",
    "n_unparsed",
    "n_empty",
    "n_truncated",
    "n_errored",
    "n_judged",
    "worst",
    "best",
    "chance",
    "trusted",
    "why_not",
    "fingerprint",
    "benchmark",
    "few_shot",
    "finished_at",
    "commit",
    "versions",
    "record",
)

MADE_BY = ("commit", "versions", "record")
"""Columns of a score that say how it was made; a store of before they were kept lacks them."""

SAMPLE_COLUMNS: tuple[str, ...] = (
    "model",
    "variant",
    "suite",
    "sample_id",
    "subset",
    "index",
    "question",
    "options",
    "target",
    "reply",
    "extracted",
    "extracted_alt",
    "status",
    "correct",
    "prompt_sha",
    "latency_s",
    "leaked",
    "letter_logprobs",
)

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
ECHOES = Template(
    "scoring.scores.echoes",
    "{share:.1%} of the replies repeat their question",
    zh="{share:pct} 的回复只是重复题目",
    en="{share:pct} of replies only repeat the question",
)
NEARLY_EMPTY = Template(
    "scoring.scores.nearly_empty",
    "{share:.1%} of the replies are nearly empty",
    zh="{share:pct} 的回复几乎为空",
    en="{share:pct} of replies are nearly empty",
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
        """Questions without a usable answer, for which the bounds assume the worst and the best."""
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
        """The thresholds named in *trust* (an object or a mapping), defaults for the rest."""
        given = trust if isinstance(trust, Mapping) else getattr(trust, "__dict__", {})
        return cls(**{f.name: float(given[f.name]) for f in fields(cls) if given.get(f.name) is not None})


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
    """The mean of *metric* over *samples*, with bounds and, where *trust* is given, a verdict."""
    counts = ledger(samples)
    grades = [s.grades[metric] for s in samples if s.status != "errored" and metric in s.grades]
    sure = math.fsum(s.grades[metric] for s in samples if s.status == "answered" and metric in s.grades)
    value = math.fsum(grades) / len(grades) if grades else math.nan
    bounded = all(0 <= grade <= 1 for grade in grades)
    made = Score(
        subset=subset,
        metric=metric,
        value=value,
        ledger=counts,
        worst=sure / counts.asked if counts.asked and bounded else math.nan,
        best=(sure + counts.missing) / counts.asked if counts.asked and bounded else math.nan,
        chance=chance,
    )
    if trust is None:
        return made
    reasons = why_not(made, samples, trust)
    return Score(**{**{f.name: getattr(made, f.name) for f in fields(made)}, "why_not": joined(reasons)})


def why_not(made: Score, samples: Sequence[Sample], trust: Thresholds) -> list[str]:
    """What speaks against trusting *made*, each in words with the figure and the threshold."""
    counts = made.ledger
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
    if below_chance(made.value, counts.judged, made.chance, trust.chance_level):
        reasons.append(BELOW_CHANCE(value=made.value, chance=made.chance))
    if told := one_text(samples):
        reasons.append(told)
    reasons += poor_replies(samples, POOR_LIMIT)
    if math.isnan(made.value):
        reasons.append(NOTHING_GRADED())
    return reasons


def agreement(samples: Iterable[Sample]) -> float:
    """Share of the replies to choice questions from which both rules read the same answer; NaN without any."""
    both = [
        s.extracted == s.extracted_alt for s in samples if s.options and s.status not in ("errored", "empty")
    ]
    return sum(both) / len(both) if both else math.nan


def answers(samples: Iterable[Sample]) -> dict[str, int]:
    """How often each answer was given, the most frequent first; ``""`` stands for no answer."""
    given = (s.extracted for s in samples if s.options and s.status != "errored")
    return dict(Counter(given).most_common())


def one_sided(samples: Sequence[Sample], share: float = 0.9, at_least: int = 20) -> str:
    """A warning when nearly every reply is one letter that is right far less often; ``""`` otherwise."""
    given = Counter(s.extracted for s in samples if s.options and s.extracted)
    if given.total() < at_least:
        return ""
    letter, count = given.most_common(1)[0]
    right = sum(s.target == letter for s in samples) / len(samples)
    if count / given.total() < share or right > share / 1.5:
        return ""
    if count == given.total():
        return ALWAYS_ONE_LETTER(letter=letter, right=right)
    return MOSTLY_ONE_LETTER(share=count / given.total(), letter=letter, right=right)


def one_text(samples: Sequence[Sample], share: float = 0.5, at_least: int = 20) -> str:
    """A warning when most replies are one and the same text, numbers aside; ``""`` otherwise.

    That is a service speaking, or a broken template. A short text may well be said again and again: up to 20 letters
    in reply to a choice (``答案：B``), up to 8 in reply to an open question.
    """
    said = Counter(
        re.sub(r"\d+", "0", s.reply.strip()) for s in samples if s.status not in ("errored", "empty")
    )
    if said.total() < at_least:
        return ""
    text, count = said.most_common(1)[0]
    letters = len(re.sub(r"[\W_]+", "", final_part(text)))
    if count <= share * said.total() or letters <= (20 if any(s.options for s in samples) else 8):
        return ""
    return ONE_TEXT(share=count / said.total(), text=" ".join(text.split())[:80])


REPEATED_SHARE = 0.005
"""Share of the replies, and at least three, from which one text that states no choice is told as repeated."""
POOR_ALARM, POOR_LIMIT = 0.05, 0.2
"""Share of echoes, or of near-empty replies, in an open suite that is told, and that makes the score invalid."""


def repeated(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """The texts that state no choice and answer several different questions, with the samples that they answer.

    Numbers aside, it is one and the same text in reply to at least three questions and to more than
    :data:`REPEATED_SHARE` of them: a service speaks, a model refuses, or a template is broken.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        # EvalScope's rule reads the last letter of any text; whether a choice is stated, the status tells.
        silent = sample.status == ("unparsed" if sample.options else "answered")
        if silent and (text := skeleton(sample.reply)):
            groups.setdefault(text, []).append(sample)
    return {
        text: group
        for text, group in groups.items()
        if len({s.question for s in group}) >= 3 and len(group) > REPEATED_SHARE * len(samples)
    }


def from_service(text: str) -> bool:
    """Whether a *repeated* text reads like a service's error: short, with a word such as "busy" or 稍后."""
    return may_be_error_text(text)


def repetitions(samples: Sequence[Sample]) -> list[str]:
    """A warning for each text that answers several questions and states no choice."""
    return [
        REPEATED_TEXT(count=len(group), total=len(samples), text=text[:80])
        for text, group in repeated(samples).items()
    ]


def is_echo(question: str, reply: str) -> bool:
    """Whether at least 80 % of what *reply* says is the question's own wording (pieces of three characters)."""
    asked, text = _letters(question), _letters(reply)
    pieces = [text[i : i + 3] for i in range(len(text) - 2)]
    in_question = {asked[i : i + 3] for i in range(len(asked) - 2)}
    return len(text) > 10 and sum(piece in in_question for piece in pieces) >= 0.8 * len(pieces)


def is_near_empty(reply: str, reference: str) -> bool:
    """Whether *reply* has at most ten letters where the reference has five times as many or more."""
    letters = len(_letters(reply))
    return letters <= 10 and 5 * letters <= len(_letters(reference))


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", final_part(text)).lower()


def poor_replies(samples: Sequence[Sample], share: float) -> list[str]:
    """Warnings where more than *share* of an open suite's replies echo the question, or say next to nothing."""
    replies = [s for s in samples if not s.options and s.status == "answered"]
    echoes = sum(is_echo(s.question, s.reply) for s in replies)
    brief = sum(is_near_empty(s.reply, s.target) for s in replies)
    return [
        form(share=count / len(replies))
        for count, form in ((echoes, ECHOES), (brief, NEARLY_EMPTY))
        if count > share * len(replies) and count >= min(3, len(replies))
    ]


def below_chance(value: float, n: int, chance: float, level: float = 0.01) -> bool:
    """Whether guessing at *chance* would score *value* or less with a probability under *level* (exact binomial)."""
    if not n or math.isnan(value) or math.isnan(chance) or not 0 < chance < 1 or value >= chance:
        return False
    hits = math.floor(value * n + 1e-9)
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        + k * math.log(chance) + (n - k) * math.log1p(-chance)
        for k in range(hits + 1)
    ]  # fmt: skip
    top = max(logs)
    return math.exp(top) * math.fsum(math.exp(one - top) for one in logs) < level


def chance_of(samples: Iterable[Sample], *, multiple: bool = False) -> float:
    """What guessing scores: the mean of 1/options, or of 1/(2^options - 1) where several may be right; NaN if open."""
    shares = [1 / (2 ** len(s.options) - 1 if multiple else len(s.options)) for s in samples if s.options]
    return math.fsum(shares) / len(shares) if shares else math.nan


def score_row(made: Score, **context: object) -> dict[str, Any]:
    """*made* as a row of the scores table; *context* gives run_id, model, variant, suite, fingerprint and so on."""
    counts = made.ledger
    row = {
        "subset": made.subset,
        "metric": made.metric,
        "value": made.value,
        "worst": made.worst,
        "best": made.best,
        "chance": made.chance,
        "trusted": made.trusted,
        "why_not": made.why_not,
        "n_asked": counts.asked,
        "n_judged": counts.judged,
        **{f"n_{status}": getattr(counts, status) for status in STATUSES},
        **dict.fromkeys(MADE_BY, ""),
        **context,
    }
    return _row(row, SCORE_COLUMNS, "score")


def sample_row(sample: Sample, **context: object) -> dict[str, Any]:
    """*sample* as a row of the samples table; *context* gives model, variant and suite."""
    row: dict[str, Any] = {**asdict(sample), **context}
    row["options"] = json.dumps(list(sample.options), ensure_ascii=False) if sample.options else ""
    row["letter_logprobs"] = json.dumps(dict(sample.letter_logprobs)) if sample.letter_logprobs else ""
    del row["grades"], row["error"]
    return _row(row, SAMPLE_COLUMNS, "sample")


def _row(row: Mapping[str, Any], columns: Sequence[str], what: str) -> dict[str, Any]:
    if missing := [name for name in columns if name not in row]:
        raise DataError(f"a {what} row lacks {', '.join(missing)}; give them as keyword arguments")
    return {name: row[name] for name in columns}


def write_scores(rows: Iterable[Mapping[str, Any]], folder: Path) -> tuple[Path, Path]:
    """Write ``scores.csv`` and ``scores.json`` (rows; NaN becomes null) into *folder*, whole or not at all."""
    rows = [
        {name: row[name] for name in SCORE_COLUMNS}
        for row in ({**dict.fromkeys(MADE_BY, ""), **r} for r in rows)
    ]
    table, listed = folder / "scores.csv", folder / "scores.json"
    with replacing(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, SCORE_COLUMNS)
        writer.writeheader()
        writer.writerows({k: "" if _is_nan(v) else v for k, v in row.items()} for row in rows)
    write_json(
        listed, with_statements([{k: None if _is_nan(v) else v for k, v in row.items()} for row in rows])
    )
    return table, listed


def read_scores(path: Path) -> pd.DataFrame:
    """The scores table from ``scores.csv`` or ``scores.json``."""
    import pandas as pd

    if path.suffix == ".json":
        frame = pd.DataFrame(json.loads(path.read_text(encoding="utf-8")), columns=list(SCORE_COLUMNS))
    else:
        frame = pd.read_csv(path, dtype={"run_id": str, "model": str, "subset": str, "fingerprint": str})
    text = [
        "run_id",
        "model",
        "variant",
        "suite",
        "subset",
        "metric",
        "why_not",
        "fingerprint",
        "benchmark",
        *MADE_BY,
    ]
    for name in text:
        frame[name] = frame[name].astype(object).fillna("").astype(str)
    for name in ("value", "worst", "best", "chance"):
        frame[name] = frame[name].astype(float)
    return frame


def write_samples(rows: Iterable[Mapping[str, Any]], path: Path) -> Path:
    """Write the samples table to *path* (``.parquet``, or ``.jsonl``), whole or not at all."""
    # a store of before log-probabilities were read has no such column
    rows = [{"letter_logprobs": "", **row} for row in rows]
    rows = [{name: row[name] for name in SAMPLE_COLUMNS} for row in rows]
    if path.suffix == ".jsonl":
        write_rows(path, ({k: None if _is_nan(v) else v for k, v in row.items()} for row in rows))
        return path
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"index": pa.int64(), "correct": pa.float64(), "latency_s": pa.float64(), "leaked": pa.bool_()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in SAMPLE_COLUMNS])
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)
    return path


def read_samples(path: Path) -> pd.DataFrame:
    """The samples table from *path*."""
    import pandas as pd

    if path.suffix == ".jsonl":
        frame = pd.DataFrame(read_rows(path), columns=list(SAMPLE_COLUMNS))
        frame["correct"] = frame["correct"].astype(float)
    else:
        frame = pd.read_parquet(path)
    if "letter_logprobs" not in frame:
        frame["letter_logprobs"] = ""
    frame["letter_logprobs"] = frame["letter_logprobs"].astype(object).fillna("")
    return frame


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
