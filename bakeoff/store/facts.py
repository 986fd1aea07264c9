"""What each kind of stage measures, as it is read back.

A reader passes over keys that it does not know, and gives a default to what is absent or of another type: a record of
another version is read as far as it goes. What is written are mappings, so that a record keeps what it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True)
class Facts:
    """Nothing that another module reads."""

    @classmethod
    def read(cls, values: object) -> Self:
        """Return the facts that a mapping holds, whichever version wrote it."""
        usable: dict[str, Any] = {}
        for one_field in fields(cls):
            factory = one_field.default_factory
            default = factory() if factory is not MISSING else one_field.default
            value = values.get(one_field.name) if isinstance(values, Mapping) else None
            usable[one_field.name] = value if _fits(value, default) else default
        return cls(**usable)


def _fits(value: object, default: object) -> bool:
    """Return whether *value* is of the type of *default*.

    Of a default that is None nothing is known.
    """
    if default is None or value is None:
        return value is not None
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    return isinstance(value, int | float) if isinstance(default, float) else isinstance(value, type(default))


@dataclass(frozen=True)
class CommandFacts(Facts):
    """Of a stage that is one command: the base that is built, the export.

    Attributes:
        gpus: how many cards it held.
        attempts: a line for each try that another one followed.
    """

    gpus: int = 0
    attempts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DownloadFacts(Facts):
    """Of what was fetched from a hub.

    Attributes:
        source: hub and repository.
        revision: the branch or commit that the row names.
        commit: what was fetched.
        size: in bytes; None for what a cache already held.
        files: how many.
    """

    source: str = ""
    revision: str = ""
    commit: str = ""
    size: int | None = None
    files: int | None = None


@dataclass(frozen=True)
class ConversionFacts(Facts):
    """Of the conversion of a published base: what its record says, and how many tensors were written."""

    conversion: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingFacts(CommandFacts):
    """Of a training.

    Attributes:
        global_step: updates that were done, of *max_steps*.
        loss_curve: [step, loss] pairs.
        train_dataset: what ms-swift says of the data, in its words.
        tokens: of one epoch, without padding; None where they were not counted.
        train_s: seconds, since the checkpoint that it was continued from.
        batch_size: after the last step down of the memory ladder.
        warnings: in words.
    """

    checkpoint: str = ""
    global_step: int = 0
    max_steps: int = -1
    epochs: float | None = None
    loss_curve: list[list[float]] = field(default_factory=list)
    token_accuracy: float | None = None
    train_dataset: str = ""
    train_s: float | None = None
    memory_gib: float | None = None
    tokens: int | None = None
    tokens_per_s: float | None = None
    batch_size: int = 0
    effective_batch: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ParityFacts(Facts):
    """Of the comparison of what is served with what was trained; see :mod:`bakeoff.chain.parity`.

    Attributes:
        dialogues: how many were rendered alike; *prompt_tokens* has the length of each.
        applied: the share of the adapter that is in the merged weights; None where nothing was merged.
        expected: how the reply to each dialogue begins.
        identity: empty, or why it could not be shown.
    """

    dialogues: int = 0
    suite_prompts: int = 0
    prompt_tokens: dict[str, int] = field(default_factory=dict)
    modules: int | None = None
    applied: float | None = None
    worst: float | None = None
    to_adapter: float | None = None
    to_base: float | None = None
    expected: dict[str, str] = field(default_factory=dict)
    telling: list[str] = field(default_factory=list)
    skipped: str = ""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class HealthFacts(Facts):
    """Of a running service.

    Attributes:
        models: the names that it lists.
        answers_as: the model that its replies name; empty where they name none.
        replies_agreed: replies that began as those of the weights.
        identity: "shown", or "not shown: " and why.
        restarts: how often it was started again.
        memory_not_returned_gib: what its cards still lacked after its end.
    """

    models: list[str] = field(default_factory=list)
    by_hand_url: str = ""
    gpus: int = 0
    seconds_to_models: float | None = None
    seconds_to_answer: float | None = None
    canary: str = ""
    answers_as: str = ""
    system_fingerprint: str = ""
    prompts_counted: int = 0
    replies_agreed: int = 0
    identity: str = "not shown: the record is of a time when it was not asked for"
    restarts: int = 0
    memory_not_returned_gib: float = 0.0


@dataclass(frozen=True)
class EvaluationFacts(Facts):
    """Of one suite of one variant.

    Attributes:
        requests_s: seconds that the questions took.
        asked_now: questions that were asked by this run; the others were answered before.
        restarts: how the service died, each time it was started again.
        attempts: a line for each try that another one followed.
        alarms: in words.
    """

    suite: str = ""
    gpus: int = 0
    requests_s: float = 0.0
    asked_now: int = 0
    restarts: list[str] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class EvaluationResult(Facts):
    """The file ``result.json`` of one suite, as far as another module reads it.

    Attributes:
        metric: the main one.
        why_not: why the score cannot be trusted, in words; empty where it can.
        errors: sample id -> why it got no reply.
        weights: the fingerprint of what answered.
        answers_as: who answered, where that is not just the name that was asked.
        folder: where the answers lie; a store that was moved still says where it lay.
        agreement: of two extraction rules, 0 to 1.
        leakage_not_checked: why no leaked question was looked for; empty where it was.
    """

    suite: str = ""
    benchmark: str = ""
    metric: str = ""
    trusted: bool = False
    why_not: str = ""
    alarms: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    weights: str = ""
    answers_as: str = ""
    folder: str = ""
    agreement: float | None = None
    leakage_not_checked: str = ""


@dataclass(frozen=True)
class RepliesFacts(Facts):
    """Of the replies to the judge's cases: how many cases there are, and what became of each."""

    cases: int = 0
    answered: int = 0
    empty: int = 0
    truncated: int = 0
    errored: int = 0


@dataclass(frozen=True)
class SpeedFacts(Facts):
    """Of a measurement of speed; see :class:`EvaluationFacts`."""

    gpus: int = 0
    restarts: list[str] = field(default_factory=list)
