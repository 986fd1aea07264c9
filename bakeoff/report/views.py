"""Scores and differences of a suite, as the report holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bakeoff.report.findings import Subject

if TYPE_CHECKING:
    import pandas as pd

    from bakeoff.statistics.recipes import Recipes
    from bakeoff.statistics.retention import Retention

INTEREST = 0.02
"""The smallest difference that matters where a suite names none: 2 points of 100."""


@dataclass(frozen=True)
class Cell:
    """One score with how it came about."""

    subject: Subject
    suite: str
    value: float
    """0..1; NaN when there is none."""
    low: float
    high: float
    """Ends of the 95 % interval, NaN when there is none."""
    letters: str
    """Tie group within the suite: capitals among the models as delivered, small letters among bases that also
    have a tuned model; empty when not compared."""
    n_asked: int
    n_answered: int
    missing: dict[str, int]
    """How many were unparsed, empty, truncated, errored; only those above zero."""
    worst: float
    best: float
    chance: float
    trusted: bool
    why_not: str
    few_shot: int
    fingerprint: str
    n_leaked: int

    @property
    def ranked(self) -> bool:
        """Whether this is a number to compare."""
        return self.trusted and not math.isnan(self.value)


@dataclass(frozen=True)
class Difference:
    """*a* minus *b* on one suite, tested on the samples that both were asked."""

    suite: str
    a: Subject
    b: Subject
    n: int
    value: float
    low: float
    high: float
    p: float
    """Adjusted by Holm over the family."""
    effect: float
    effect_low: float
    effect_high: float
    effect_name: str
    verdict: str
    """"ahead", "behind", "tie" or "depends on missing": a as seen from b."""
    only_a: int
    only_b: int
    mdd: float

    @property
    def shown(self) -> bool:
        """Whether the tests support that there is a difference."""
        return self.verdict in ("ahead", "behind")

    def matters(self, interest: float) -> bool:
        """Whether there is a difference, and it is at least *interest*."""
        return self.shown and abs(self.value) >= interest - 1e-12

    def reversed(self) -> Difference:
        """The same comparison, *b* minus *a*."""
        odds = self.effect_name == "matched odds ratio"
        flip = _inverse if odds else _opposite
        turned = {"ahead": "behind", "behind": "ahead"}.get(self.verdict, self.verdict)
        return Difference(
            self.suite, self.b, self.a, self.n, -self.value, -self.high, -self.low, self.p, flip(self.effect),
            flip(self.effect_high), flip(self.effect_low), self.effect_name, turned, self.only_b, self.only_a, self.mdd,
        )  # fmt: skip


def _inverse(odds: float) -> float:
    return math.inf if odds == 0 else 1 / odds


def _opposite(value: float) -> float:
    return -value


@dataclass
class SuiteView:
    """Everything the report says about one suite."""

    name: str
    metric: str
    cells: dict[Subject, Cell]
    other_metrics: dict[str, dict[Subject, float]]
    subsets: pd.DataFrame
    """Value per subset (rows) and subject (columns): headline metric, of subjects whose total is trusted, too."""
    subset_sizes: dict[str, int]
    n_questions: int
    n_compared: int = 0
    """Questions that every trusted subject was asked; tests speak about these."""
    pairs: list[Difference] = field(default_factory=list)
    """Between models as delivered: tuned where there is a tuned one, else base."""
    base_pairs: list[Difference] = field(default_factory=list)
    tuning: dict[str, Difference] = field(default_factory=dict)
    """model -> tuned minus base."""
    mdd: float = math.nan
    method: str = ""
    least: float = math.nan
    """The smallest observed difference that the tests could call significant; NaN for graded scores."""
    interest: float = INTEREST
    """The smallest difference that matters, on the scale of the score."""
    invalid_subsets: dict[tuple[str, Subject], str] = field(default_factory=dict)
    """(subset, subject) of a score that is invalid although the subject's total is not -> why."""
    delivered: list[Subject] = field(default_factory=list)
    """Subjects of the pair matrix, in the order of the leaderboard."""
    retention: dict[str, Retention] = field(default_factory=dict)
    """model -> whether tuning lost more than the margin."""
    recipes: Recipes | None = None
    """Comparison of recipes with several seeds; None where every recipe was trained once."""

    def ordered(self) -> list[Cell]:
        """Scores best first, what is not a score last."""
        return sorted(
            self.cells.values(), key=lambda cell: (not cell.ranked, -cell.value if cell.ranked else 0.0)
        )

    def arrange(self, order: Sequence[str]) -> None:
        """Put everything into the order of the leaderboard.

        Models as in *order*, the tuned one before its base.
        """
        place = {model: number for number, model in enumerate(order)}

        def key(subject: object) -> tuple[int, bool, str]:
            assert isinstance(subject, tuple)
            model, variant = map(str, subject)
            return place.get(model, len(place)), variant == "base", variant

        self.cells = {subject: self.cells[subject] for subject in sorted(self.cells, key=key)}
        self.delivered.sort(key=key)
        if len(self.subsets.columns):
            self.subsets = self.subsets[sorted(self.subsets.columns, key=key)]

    def subset_rows(self) -> list[tuple[str, list[float]]]:
        """(subset, value per subject) in the order of the columns of ``subsets``."""
        return [
            (str(name), [float(x) for x in row])
            for name, row in zip(self.subsets.index, self.subsets.to_numpy(), strict=True)
        ]

    def why_invalid(self, subset: str, column: int) -> str | None:
        """Return why a score of ``subsets`` is invalid; None if it is not."""
        subject = Subject(*map(str, tuple(self.subsets.columns[column])))
        return self.invalid_subsets.get((subset, subject))

    def pair(self, a: Subject, b: Subject) -> Difference | None:
        """*a* minus *b*, if they were compared."""
        for pair in self.pairs:
            if (pair.a, pair.b) == (a, b):
                return pair
            if (pair.a, pair.b) == (b, a):
                return pair.reversed()
        return None


@dataclass
class Analysis:
    """The suites and what spans them."""

    views: list[SuiteView]
    order: list[str]
    """Models in the order of the leaderboard: by mean score over the suites that all of them have."""
    family: int
    """How many differences between models the correction spans."""
    tuning_family: int
    alpha: float = 0.05
