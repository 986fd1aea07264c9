"""How suites are measured, and what is measured of them: the types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

if TYPE_CHECKING:
    import pandas as pd

Missing = Literal["wrong", "worst", "best", "exclude"]
Subsets = Literal["sampled", "fixed"]


class Options(TypedDict, total=False):
    """Keywords of a comparison; :class:`Settings` says what they mean."""

    alpha: float
    missing: Missing
    subsets: Subsets
    scale: tuple[float, float]
    power: float
    resamples: int
    seed: int


class Settings(NamedTuple):
    """How suites are measured and compared.

    Attributes:
        alpha: one minus the confidence of intervals; chance of one or more false differences in the family of pairs.
        missing: what a missing sample counts as: "wrong" or "worst" the bottom of *scale*, "best" its top; "exclude"
            leaves it out of the score, and out of a pair if either lacks it. Bounds for all of them are returned
            whatever is chosen, and a difference that missing samples could undo is "depends on missing".
        subsets: "sampled": conclusions reach beyond the subsets at hand, whole subsets are resampled; "fixed": to new
            questions of exactly these subsets, questions are resampled within each. Fewer than 10 subsets are always
            fixed.
        scale: lowest and highest possible score, e.g. (1, 5) for Likert ratings.
        power: of the minimum detectable difference.
        resamples: bootstrap resamples.
        seed: of the bootstrap; the same table gives the same numbers.
    """

    alpha: float = 0.05
    missing: Missing = "wrong"
    subsets: Subsets = "sampled"
    scale: tuple[float, float] = (0.0, 1.0)
    power: float = 0.8
    resamples: int = 10_000
    seed: int = 0


class ScoreRow(TypedDict):
    """A score of one subject, as :attr:`bakeoff.statistics.comparison.Comparison.scores` has it."""

    subject: str
    value: float
    low: float
    high: float
    worst: float
    best: float
    n: int
    n_missing: int
    method: str


class Size(TypedDict):
    """How large the difference of a pair is."""

    n: int
    only_a: int
    only_b: int
    low: float
    high: float
    effect: float
    effect_low: float
    effect_high: float
    effect_name: str
    cohens_h: float


class PairRow(Size):
    """A pair before the correction over its family."""

    a: str
    b: str
    n_missing: int
    difference: float
    worst: float
    best: float
    p_mcnemar: float
    p_permutation: float
    p_clustered: float
    p: float
    p_least: float


class Measured(NamedTuple):
    """What was measured of one suite."""

    scores: pd.DataFrame
    pairs: list[PairRow]
    discordance: list[float]
    """Per pair the rate of disagreement to plan with; NaN where it cannot be estimated."""
    n: int
    design_effect: float
    percent: bool
    graded: bool
    method: str
