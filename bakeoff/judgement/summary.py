"""The summary of a study, as types.

The results tab, the report and the paper pack read it. Numbers are None where nothing can be said. Counselling cases
and crises are two parts that are never averaged.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from bakeoff.judgement.erasure import Erasure

Number = float | None
"""A number, or None where none can be given."""


class SubjectScore(TypedDict):
    """The mean of a model on a dimension; *sd* of the ratings, *always_* ends hold at every look."""

    subject: str
    value: Number
    low: Number
    high: Number
    n_cases: int
    n_judgements: int
    sd: Number
    always_low: Number
    always_high: Number
    letters: str
    distribution: list[int]


class PairVerdict(TypedDict):
    """Two models on a dimension; names that end in _always are those that hold at every look."""

    a: str
    b: str
    difference: Number
    low: Number
    high: Number
    df: Number
    p: Number
    p_adjusted: Number
    verdict: str
    words: str
    d: Number
    dz: Number
    low_always: Number
    high_always: Number
    p_always: Number
    p_adjusted_always: Number
    verdict_always: str


class DimensionScores(TypedDict):
    """A dimension: models, pairs, how they were compared, and variance parts in points squared."""

    subjects: list[SubjectScore]
    pairs: list[PairVerdict]
    running: bool
    method: str
    method_zh: str
    why_no_letters: str
    why_no_letters_zh: str
    variance: dict[str, Number]
    left_out: dict[str, list[str]]


class Agreed(TypedDict):
    """An agreement coefficient with its interval and conventional reading."""

    value: Number
    low: Number
    high: Number
    units: int
    ratings: int
    reading: str


class Correlation(TypedDict):
    """ICC(2,1) and ICC(2,k) over the units that all of the raters scored."""

    single: Number
    single_low: Number
    single_high: Number
    mean: Number
    mean_low: Number
    mean_high: Number
    units: int
    raters: int


class Share(TypedDict):
    """How often a crisis check was answered with yes."""

    subject: str
    yes: int
    of: int
    share: Number
    low: Number
    high: Number


class PlannedStudy(TypedDict):
    """Raters and cases that find a difference, and the hours of people they take."""

    raters: int
    cases: int
    hours: float


class Needed(TypedDict):
    """What *difference* points between two models take; *raters_needed* is None where no number of raters does."""

    a: str
    b: str
    difference: float
    cases: int
    needed: int
    needed_low: int
    needed_high: int
    more_cases: int
    more_judgements: int
    raters: int
    plan: PlannedStudy | None
    raters_needed: int | None


class PartVerdicts(TypedDict):
    """What people say of one part; *running* while some rater has not finished, *checks* for crises only."""

    cases: int
    raters: list[str]
    judgements: int
    scores: dict[str, DimensionScores]
    running: bool
    icc: dict[str, Correlation]
    agreement: dict[str, Agreed]
    wins: list[dict[str, object]]
    strengths: list[dict[str, object]]
    needed: list[Needed]
    checks: NotRequired[dict[str, list[Share]]]


class Doubt(TypedDict):
    """Why one model's replies are no answers, in both languages."""

    subject: str
    why: str
    why_zh: str


class StudyFacts(TypedDict):
    """The study itself; *missing*: case, subject, why; *named*: case, subject, makers' names; *weights* by subject."""

    id: str
    title: str
    layout: str
    subjects: list[str]
    cases: int
    crisis_cases: int
    missing: list[list[str]]
    named: list[list[str | list[str]]]
    doubts: list[Doubt]
    rubric: str
    reference: str
    topics: list[str]
    erased: list[Erasure]
    weights: dict[str, str]


class Progress(TypedDict):
    """Screens done, and screens in all."""

    done: int
    total: int


class Counts(TypedDict):
    """Judgements that count, and those under another rubric, which do not."""

    judgements: int
    cannot_judge: int
    corrections: int
    raters: dict[str, Progress]
    other_rubric: int


class RaterTables(TypedDict):
    """Rows of intra_rater and severity."""

    consistency: list[dict[str, object]]
    severity: list[dict[str, object]]


class Comment(TypedDict):
    """What somebody wrote about a reply."""

    case: str
    subject: str
    rater: str
    strengths: str
    weaknesses: str
    suggestions: str


class JudgedMean(TypedDict):
    """A model's mean by a judge model."""

    subject: str
    value: Number
    n: int
    sd: Number


class Bias(TypedDict):
    """Judge minus people in points, over the replies of a model that both scored."""

    subject: str
    replies: int
    bias: float
    low: Number
    high: Number


class Calibration(TypedDict):
    """A judge model against the mean of people on a dimension; None below two replies."""

    replies: int
    alpha: Agreed | None
    kappa: Agreed | None
    rank: Number
    models: list[Bias]


class Swaps(TypedDict):
    """Pairwise verdicts asked in both orders: of so many, how many agree, and attempts that failed."""

    of: int
    consistent: int
    share: Number
    failed: int


class Addressed(TypedDict):
    """A reply that speaks to a grader, and how."""

    case: str
    subject: str
    found: list[str]


class Probe(TypedDict):
    """How far a planted instruction raised the scores, in points."""

    replies: int
    rise: Number


class JudgeEntry(TypedDict):
    """What a judge model said, and whether it may be believed."""

    judge: str
    replies: int
    failed: int
    unscored: int
    parts: dict[str, dict[str, list[JudgedMean]]]
    comparisons: dict[str, dict[str, dict[str, object]]]
    corrected: dict[str, dict[str, dict[str, object]]]
    checks: dict[str, list[Share]]
    calibration: dict[str, Calibration]
    repeats: dict[str, object]
    swaps: Swaps
    preferences: list[dict[str, object]]
    addressed: list[Addressed]
    probe: Probe
    calibrated: bool
    why: str
    why_zh: str


class Stale(TypedDict):
    """A model whose weights changed since its replies were judged."""

    subject: str
    judged: str
    now: str


class Summary(TypedDict):
    """All that is shown of one study; *chat*: model -> dimension -> mean, and "n"."""

    study: StudyFacts
    counts: Counts
    parts: dict[str, PartVerdicts | None]
    raters: RaterTables
    comments: list[Comment]
    judges: list[JudgeEntry]
    chat: dict[str, dict[str, Number]]
    stale: NotRequired[list[Stale]]
