"""What a study of people's ratings can show, worked out before anybody works for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bakeoff.statistics.raters import FEWEST_RATERS, HOURS_PER_REPLY, PLANNED, Plan, detectable, plan_study

MOST_RATERS = 50
"""More people for one study are not to be had."""


@dataclass(frozen=True)
class Outlook:
    """What a study of a given size can show.

    Attributes:
        comparisons: pairs of models times dimensions of the rubric: the family that Holm's correction spans.
        smallest_p: p of the clearest result there can be, after Holm's first step: every case goes the same way,
            which chance does with probability 2^(1 - cases). 1 for a single rater.
        fewest_cases: cases from which such a result is significant.
        detectable: difference in points that four studies of five find; infinite where nothing can come out.
        raters_needed: raters that find *difference* on these cases; None where no number does.
        plan: the cheapest study that finds *difference*; None where there is none.
        hours: hours of people that this study takes.
    """

    cases: int
    models: int
    raters: int
    difference: float
    comparisons: int
    smallest_p: float
    fewest_cases: int
    detectable: float
    raters_needed: int | None
    plan: Plan | None
    hours: float
    alpha: float = 0.05

    @property
    def is_hopeless(self) -> bool:
        """Whether models are compared, and no ratings whatever could tell any two apart."""
        return self.models > 1 and not self.smallest_p < self.alpha

    @property
    def words(self) -> tuple[str, str]:
        """Return the smallest p and what a wanted difference takes, raters first, in English and Chinese."""
        if self.models < 2:
            return "one model: nothing is compared", "只有一个模型，不作比较"
        en = (
            f"{self.comparisons} comparisons with {self.cases} cases and {self.raters} raters: the smallest p that can "
            f"come out after Holm is {self.smallest_p:.2g}"
        )
        zh = (
            f"{self.comparisons} 项比较、{self.cases} 个个案、{self.raters} 位评审：Holm 校正后可能出现的最小 p 值为 "
            f"{self.smallest_p:.2g}"
        )
        if self.is_hopeless:
            en += f"; at least {self.fewest_cases} cases and {FEWEST_RATERS} raters are needed"
            zh += f"，至少需要 {self.fewest_cases} 个个案和 {FEWEST_RATERS} 位评审"
        else:
            en += (
                f"; in {self.hours:.0f} hours of work they find a difference of about {self.detectable:.1f} points in "
                "four studies of five"
            )
            zh += f"；共约 {self.hours:.0f} 人时，在 80% 检验效能下可检出约 {self.detectable:.1f} 分的差异"
        if self.raters_needed and self.raters_needed > self.raters:
            en += f"; {self.raters_needed} raters on these cases find {self.difference:g} points"
            zh += f"；这些个案由 {self.raters_needed} 位评审评分，可分辨 {self.difference:g} 分"
        if self.plan and not self.detectable <= self.difference:
            en += (
                f"; cheapest for {self.difference:g} points: {self.plan.raters} raters x {self.plan.cases} cases, "
                f"{self.plan.hours:.0f} hours of people"
            )
            zh += (
                f"；分辨 {self.difference:g} 分的最省方案：{self.plan.raters} 位评审 × {self.plan.cases} 个个案，"
                f"共约 {self.plan.hours:.0f} 人时"
            )
        return en, zh


def outlook(
    cases: int,
    models: int,
    *,
    raters: int = 3,
    dimensions: int = 1,
    difference: float = 0.5,
    variance: Mapping[str, float] = PLANNED,
    alpha: float = 0.05,
) -> Outlook:
    """Return what a study of this size can show.

    Args:
        dimensions: of the rubric; each adds its pairs to the family.
        difference: the difference in points that is worth finding.
        variance: variance parts to plan with, see :data:`~bakeoff.statistics.raters.PLANNED`.

    Raises:
        ScoreError: *difference* is not above 0.
    """
    pairs = models * (models - 1) // 2
    family = pairs * dimensions
    smallest = min(1.0, 2.0 ** (1 - cases) * family) if raters >= FEWEST_RATERS and cases and family else 1.0
    fewest = max(2, math.floor(1 + math.log2(max(family, 1) / alpha)) + 1)
    level = alpha / max(dimensions, 1)  # detectable() spreads it over the pairs of one dimension
    is_hopeless = not smallest < alpha
    plan = plan_study(difference, max(models, 2), cases=fewest, variance=variance, alpha=level)
    return Outlook(
        cases,
        models,
        raters,
        difference,
        family,
        smallest,
        fewest,
        math.inf if is_hopeless else detectable(cases, raters, models, variance=variance, alpha=level),
        raters_needed(cases, models, difference, variance=variance, alpha=level) if cases >= fewest else None,
        plan if models > 1 else None,
        cases * models * raters * HOURS_PER_REPLY,
        alpha,
    )


def raters_needed(
    cases: int,
    models: int,
    difference: float,
    *,
    variance: Mapping[str, float] = PLANNED,
    alpha: float = 0.05,
) -> int | None:
    """Return how many raters find *difference* points on *cases* cases with 80 % power; None where no number does."""
    numbers = range(FEWEST_RATERS, MOST_RATERS + 1)
    return next(
        (n for n in numbers if detectable(cases, n, models, variance=variance, alpha=alpha) <= difference),
        None,
    )
