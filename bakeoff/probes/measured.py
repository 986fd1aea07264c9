"""What the probe measured, as it stands in its answer."""

from __future__ import annotations

from typing import TypedDict


class Rendered(TypedDict, total=False):
    """The tokens of one dialogue, or why the template refuses it."""

    ids: list[int]
    pieces: list[str]
    refused: str


class Sized(TypedDict):
    """A list of the tokenizer in short."""

    size: int
    digest: str


class TokenizerFacts(TypedDict, total=False):
    """What decides how a tokenizer works; None for what it cannot tell."""

    vocabulary: Sized | None
    merges: Sized | None
    added: dict[str, list[object]] | None
    special: dict[str, int | None] | None
    sample: list[object] | None
    tokens: list[tuple[int, str]] | None
    differing: tuple[int, list[tuple[int, str | None, str | None]]]


class Side(TypedDict, total=False):
    """How one side renders: training or serving."""

    dialogues: dict[str, Rendered]
    prompts: dict[str, Rendered]
    tokenizer: TokenizerFacts
    dated: str


class MergeFacts(TypedDict):
    """A merge against base + scale * B A."""

    modules: int
    adapted: int
    applied: float
    worst: float
    worst_module: str
    delta: float
    others: int
    others_changed: list[str]
    unknown: list[str]
    not_finite: list[str]
    dtype: str


class Judged(TypedDict):
    """How weights judge the tokens of a reply: log-probability, and margin to the best other."""

    logprobs: list[float]
    margins: list[float]


class Reply(Judged, total=False):
    """A reply to one dialogue, and how other weights judge it."""

    ids: list[int]
    texts: list[str]
    tokens: list[list[str]]
    adapter: Judged
    base: Judged
    beside: Judged


class Behaviour(TypedDict, total=False):
    """The replies to the dialogues, or why there are none."""

    dialogues: dict[str, Reply]
    device: str
    skipped: str


class Changed(TypedDict):
    """The first tensor that is not the base's; empty for none."""

    changed: str


class Measurements(TypedDict, total=False):
    """The whole answer of the probe."""

    renders: dict[str, Side]
    merge: MergeFacts
    tuned: Changed
    behaviour: Behaviour


class Spoken(TypedDict):
    """A reply of the probe token by token; the base's side is None where there is no base."""

    tokens: list[list[str]]
    logprobs: list[float]
    margins: list[float]
    base: list[float] | list[None]
