"""Types of what an evaluation reads and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NotRequired, Protocol, TypedDict

Key = tuple[str, int]
"""A question of a suite: its subset and its number there."""


class Message(Protocol):
    """A message of a prompt, as EvalScope has it."""

    @property
    def role(self) -> str: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102


class Question(Protocol):
    """A question with its prompt, as EvalScope has it."""

    @property
    def id(self) -> int: ...  # noqa: D102
    @property
    def input(self) -> Sequence[Message]: ...  # noqa: D102
    @property
    def choices(self) -> Sequence[str] | None: ...  # noqa: D102
    @property
    def target(self) -> str | Sequence[str]: ...  # noqa: D102
    @property
    def metadata(self) -> Mapping[str, object] | None: ...  # noqa: D102


class AskedSuite(TypedDict):
    """One suite of an :class:`EvaluationPlan`; see :class:`~bakeoff.evalscope.catalogue.SuiteLike`."""

    name: str
    benchmark: str
    data_dir: str | None
    subsets: list[str] | None
    few_shot: int | None
    limit: int | None
    limit_per: str
    generation: dict[str, object]
    metric: str | None
    chance: float | None
    trust: dict[str, float]
    leakage_expected: bool
    scoring: str
    orders: int


class EvaluationPlan(TypedDict):
    """What ``plan.json`` holds; :class:`PlanOptions` says what its further keys mean."""

    service_url: str
    served_name: str
    answers_as: str
    key_env: str | None
    work_dir: str
    in_flight: int
    timeout_s: float
    weights: str
    training: list[str]
    training_unread: str
    answered_by: str
    cautions: list[str]
    ask_alone: int
    suites: list[AskedSuite]


class PlanOptions(TypedDict, total=False):
    """How the suites of a plan are asked, where the defaults do not fit.

    Attributes:
        answers_as: the name that replies bear where it is not that which is asked (swift deploy gives the folder's).
        in_flight: requests open at any time, all suites together.
        training: files whose dialogues are searched for the suites' questions (leakage).
        training_unread: which training data cannot be searched, in words; empty for none.
        answered_by: who answers at somebody else's service, where it is not the name that is asked.
        cautions: what is told with every result.
        ask_alone: answered questions of each suite that are asked again, one at a time, after all others.
    """

    answers_as: str
    in_flight: int
    key_env: str | None
    timeout_s: float
    training: Sequence[Path]
    training_unread: str
    answered_by: str
    cautions: Sequence[str]
    ask_alone: int


class LineOptions(TypedDict, total=False):
    """How a line asks a service, where the defaults do not fit.

    Attributes:
        key_env: environment variable that holds the service's key; never its value.
    """

    in_flight: int
    key_env: str | None
    timeout_s: float
    python: str


class Facts(TypedDict):
    """What the sample of a question holds before there is a reply."""

    sample_id: str
    subset: str
    index: int
    question: str
    options: tuple[str, ...]
    target: str
    prompt_sha: str


class KeptReading(TypedDict):
    """What was read of the letters in one order of a question's options."""

    logprobs: dict[str, float]
    mass: float
    begins: str


class Usage(TypedDict, total=False):
    """How many tokens the service counted."""

    input_tokens: int | None
    output_tokens: int | None


class Content(TypedDict, total=False):
    """A message of a reply."""

    role: str
    content: str | Sequence[Mapping[str, str]] | None
    perf_metrics: Mapping[str, float] | None


class Choice(TypedDict, total=False):
    """A reply, and why it ended."""

    message: Content
    stop_reason: str | None


class Output(TypedDict, total=False):
    """What a service gave to one question."""

    id: str | None
    model: str
    choices: Sequence[Choice]
    usage: Usage | None
    time: float | None


class Prediction(TypedDict):
    """A row of EvalScope's predictions."""

    index: int
    model: str
    model_output: Output
    letters: NotRequired[list[KeptReading]]


class Grade(TypedDict, total=False):
    """How EvalScope graded one reply."""

    status: str
    value: Mapping[str, object]
    extracted_prediction: str | None
    main_score_name: str | None


class SampleScore(TypedDict):
    """The grade of a sample, within a :class:`Review`."""

    score: Grade


class Review(TypedDict):
    """A row of EvalScope's reviews."""

    index: int
    sample_score: SampleScore


class Noise(TypedDict):
    """How many of the questions that were asked twice got the same, with 95 % intervals."""

    asked_twice: int
    same_replies: int
    same_grades: int
    replies_interval: list[float] | None
    grades_interval: list[float] | None


class ScoreRow(TypedDict):
    """A row of the scores table."""

    run_id: str
    model: str
    variant: str
    suite: str
    benchmark: str
    subset: str
    few_shot: int
    metric: str
    value: float | None
    worst: float | None
    best: float | None
    chance: float | None
    trusted: bool
    why_not: str
    n_asked: int
    n_judged: int
    fingerprint: str
    finished_at: str


class SampleRow(TypedDict):
    """A row of the samples table, as far as it is read by name."""

    model: str
    variant: str
    suite: str
    sample_id: str
    subset: str
    index: int
    prompt_sha: str
    question: str
    reply: str
    status: str
    correct: float | None
    leaked: bool


class Leakage(TypedDict):
    """What training data hold of a suite."""

    suite: str
    expected: bool
    n_asked: int
    n_leaked: int
    n_exact: int
    value_without: float | None


class AnsweredBy(TypedDict):
    """Who answered: how many replies by each name, and the system fingerprints."""

    models: dict[str, int]
    system_fingerprints: list[str]


class LetterSummary(TypedDict):
    """What the letters of a suite show beside its score."""

    orders: int
    read: int
    mass: float | None
    in_own_order_only: int
    same_in_all_orders: int | None
    permuted: int
    position_bias: dict[str, float]


class SuiteResult(TypedDict, total=False):
    """What ``result.json`` holds of a suite; of one that broke there is only ``error``."""

    error: str
    folder: str
    suite: str
    benchmark: str
    identity: str
    metric: str
    ledger: dict[str, int]
    trusted: bool
    why_not: str
    alarms: list[str]
    agreement: float | None
    answers: dict[str, int]
    letters: LetterSummary
    errors: dict[str, str]
    leakage: list[Leakage]
    leakage_not_checked: str
    leaked_questions: dict[str, dict[str, object]]
    selected: dict[str, int]
    limit: int | None
    limit_per: str
    few_shot: int
    generation: dict[str, object]
    served_name: str
    weights: str
    evalscope: str
    scores: list[ScoreRow]
    noise: Noise | None
    answers_as: str
    answered_by: AnsweredBy
    reused: int
    asked_now: int
    seconds: float
    finished_at: str
