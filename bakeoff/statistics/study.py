"""What a study of people's ratings can show, before anybody rates."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bakeoff.foundation.errors import ScoreError
from bakeoff.foundation.sentences import plural
from bakeoff.statistics.significance import SMALLEST_P
from bakeoff.statistics.study_power import Parts, Size, least_difference

FEWEST_RATERS = 2
"""One rater's taste cannot be told from what other raters would say."""

HOURS_PER_REPLY = 90 / 3600
"""Hours to read and score one reply: about a minute and a half."""


MOST_RATERS = 50
"""More people for one study are not to be had."""

MOST_CASES = 400
"""More cases for one study are not to be had."""

WIDTH = 4.0
"""Of the scale, 1 to 5: no two means differ by more."""


def cases_needed(models: int, alpha: float = 0.05) -> int:
    """Return the fewest cases on which two of *models* could differ.

    If every single case goes the same way, chance alone does so with probability 2^(1 - cases); after
    Bonferroni's first step of Holm over the pairs that has to stay below *alpha*.
    """
    pairs = max(1, models * (models - 1) // 2)
    return max(2, math.floor(1 + math.log2(pairs / alpha)) + 1)


def why_no_letters(cases: int, raters: int, models: int, alpha: float = 0.05) -> tuple[str, str]:
    """Return why no letters can come out, in English and Chinese; or ""."""
    fewest = cases_needed(models, alpha)
    if raters < FEWEST_RATERS:
        who, who_zh = (
            ("one rater cannot show what other raters would say", "只有 1 位评分者")
            if raters == 1
            else ("without raters nothing shows what raters would say", "没有评分者")
        )
        return (
            f"no letters: {who}; at least {FEWEST_RATERS} raters "
            f"(better 5 or more) and {fewest} cases are needed for {_counted(models, 'model')}",
            f"不给出显著性分组：{who_zh}，无法推断其他评分者会如何评分；比较 {models} 个模型至少需要 "
            f"{FEWEST_RATERS} 位评分者（最好 5 位以上）和 {fewest} 个个案",
        )
    if cases < fewest:
        return (
            f"no letters: with {_counted(cases, 'case')} no difference between {_counted(models, 'model')} could come "
            "out, whatever the ratings; "
            f"at least {fewest} cases and {FEWEST_RATERS} raters (better 5 or more) are needed",
            f"不给出显著性分组：个案太少（{cases} 个），无论怎样评分，{models} 个模型之间的差异都不可能显著；"
            f"至少需要 {fewest} 个个案和 "
            f"{FEWEST_RATERS} 位评分者（最好 5 位以上）",
        )
    return "", ""


PLANNED = {"case x model": 0.25, "rater x model": 0.06, "rest": 0.5}
"""Variance parts to plan with before anybody has rated, points squared of a scale 1 to 5: standard deviations of
0.5, 0.25 and 0.7 points."""


def detectable(
    cases: int,
    raters: int,
    models: int,
    *,
    variance: Mapping[str, float] = PLANNED,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """Return the smallest true difference that such a study finds.

    In points, found with probability *power*. Infinite for a single rater or case, and where not even the width of the
    scale would do. Bonferroni's level stands for Holm's first step.

    Raises:
        ScoreError: a variance part is absent, no number, or below 0.
    """
    for part in PLANNED:
        if not 0 <= variance.get(part, math.nan) <= WIDTH**2:
            raise ScoreError(
                f"detectable: the variance {part!r} must be a number from 0 to {WIDTH**2:g}, not {variance.get(part)}"
            )

    if cases < 2 or raters < FEWEST_RATERS or models < 2:
        return math.inf
    parts = Parts(variance["case x model"], variance["rater x model"], variance["rest"])
    pairs = models * (models - 1) // 2
    return least_difference(Size(cases, raters, models), parts, alpha / pairs, power, WIDTH)


class Plan(NamedTuple):
    """Raters and cases that find a difference with 80 % power, and the hours of people they take together."""

    raters: int
    cases: int
    hours: float


def plan_study(
    difference: float,
    models: int,
    *,
    cases: int = 0,
    raters: int = FEWEST_RATERS,
    variance: Mapping[str, float] = PLANNED,
    alpha: float = 0.05,
) -> Plan | None:
    """Return the cheapest study that finds *difference* points.

    With 80 % power, from *cases* and *raters* upwards. More raters come first: their taste does not average out over
    cases. None where 50 raters and 400 cases would not do, or those that are there already.

    Raises:
        ScoreError: *difference* is not above 0, or above the width of the scale.
    """
    _check_difference(difference)
    plans = []
    least = max(cases, cases_needed(models, alpha))
    fewest = max(raters, FEWEST_RATERS)
    counts = [*range(least, 100), *range(max(least, 100), max(MOST_CASES, least) + 1, 10)]
    for number in range(fewest, max(MOST_RATERS, fewest) + 1):

        def is_enough(count: int, raters: int = number) -> bool:
            return detectable(count, raters, models, variance=variance, alpha=alpha) <= difference

        if not is_enough(counts[-1]):
            continue  # nor do fewer cases
        count = counts[bisect_left(counts, True, key=is_enough)]
        plans.append(Plan(number, count, number * count * models * HOURS_PER_REPLY))
    return min(plans, key=lambda plan: (round(plan.hours, 6), plan.cases), default=None)


def _check_difference(difference: float) -> None:
    """Refuse a difference that no study could look for."""
    if not difference > 0:
        why = (
            f"difference must be above 0, not {difference:g}: no study tells equals apart",
            f"要分辨的差异须大于 0，现为 {difference:g}：任何研究都无法区分完全相同的模型",
        )
    elif difference > WIDTH:
        why = (
            f"difference must be at most {WIDTH:g} points, the width of the scale, not {difference:g}",
            f"要分辨的差异不能超过量表的宽度 {WIDTH:g} 分，现为 {difference:g}",
        )
    else:
        return
    raise _refusal(f"study: {why[0]}", why[1])


def _refusal(english: str, chinese: str) -> ScoreError:
    error = ScoreError(english)
    error.zh = chinese
    return error


@dataclass(frozen=True)
class Outlook:
    """What a study of a given size can show.

    Attributes:
        comparisons: pairs of models times dimensions of the rubric: the family that Holm's correction spans.
        smallest_p: p of the clearest result there can be, after Holm's first step: every case goes the same way,
            which chance does with probability 2^(1 - cases). 1 for a single rater.
        fewest_cases: cases from which such a result is significant.
        detectable: difference in points that four studies of five find; infinite where nothing can come out, or none
            on the scale is found that often.
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
        """Return whether no ratings whatever could tell any two apart."""
        return self.models > 1 and not self.smallest_p < self.alpha

    @property
    def words(self) -> tuple[str, str]:
        """Return the smallest p, and what a difference takes.

        Raters first; in English and Chinese.
        """
        if self.models < 1:
            return "no model: nothing is compared", "没有模型，不作比较"
        if self.models < 2:
            return "one model: nothing is compared", "只有一个模型，不作比较"
        en = (
            f"{_counted(self.comparisons, 'comparison')} with {_counted(self.cases, 'case')} and "
            f"{_counted(self.raters, 'rater')}: the smallest p that can come out after Holm is {self.smallest_p:.2g}"
        )
        zh = (
            f"{self.comparisons} 项比较、{self.cases} 个个案、{self.raters} 位评分者：Holm 校正后可能出现的最小 p 值为 "
            f"{self.smallest_p:.2g}"
        )
        if self.is_hopeless:
            en += f"; at least {self.fewest_cases} cases and {FEWEST_RATERS} raters are needed"
            zh += f"，至少需要 {self.fewest_cases} 个个案和 {FEWEST_RATERS} 位评分者"
        elif math.isinf(self.detectable):
            en += (
                f"; in {_counted(round(self.hours), 'hour')} of work no difference on the scale is found in four "
                "studies of five"
            )
            zh += f"；共约 {self.hours:.0f} 人时，在 80% 检验效能下量表上的任何差异都检不出"
        else:
            en += (
                f"; in {_counted(round(self.hours), 'hour')} of work they find a difference of about "
                f"{self.detectable:.1f} points in four studies of five"
            )
            zh += f"；共约 {self.hours:.0f} 人时，在 80% 检验效能下可检出约 {self.detectable:.1f} 分的差异"
        needs, needs_zh = self._what_is_wanted
        return en + needs, zh + needs_zh

    @property
    def _what_is_wanted(self) -> tuple[str, str]:
        """Return what the wanted difference takes, raters first; or ""."""
        en = zh = ""
        if self.raters_needed and self.raters_needed > self.raters:
            en += f"; {_counted(self.raters_needed, 'rater')} on these cases find {self.difference:g} points"
            zh += f"；这些个案由 {self.raters_needed} 位评分者评分，可分辨 {self.difference:g} 分"
        if self.detectable <= self.difference:
            return en, zh
        if not self.plan:
            en += f"; no study of up to {MOST_RATERS} raters and {MOST_CASES} cases finds {self.difference:g} points"
            zh += f"；{MOST_RATERS} 位评分者、{MOST_CASES} 个个案以内的研究都无法分辨 {self.difference:g} 分"
        else:
            en += (
                f"; cheapest for {self.difference:g} points: {_counted(self.plan.raters, 'rater')} x "
                f"{_counted(self.plan.cases, 'case')}, {_counted(round(self.plan.hours), 'hour')} of people"
            )
            zh += (
                f"；分辨 {self.difference:g} 分的最省方案：{self.plan.raters} 位评分者 × {self.plan.cases} 个个案，"
                f"共约 {self.plan.hours:.0f} 人时"
            )
        return en, zh


def _counted(count: int, word: str) -> str:
    return f"{count:,} {plural(count, word)}"


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
        variance: variance parts to plan with, see :data:`PLANNED`.

    Raises:
        ScoreError: *difference* is not above 0 or beyond the scale, or there is a negative number of anything.
    """
    _check_difference(difference)
    if min(cases, models, raters) < 0 or dimensions < 1:
        sizes = f"{cases} cases, {models} models, {raters} raters, {dimensions} dimensions"
        raise _refusal(
            f"study: {sizes}: none may be negative, and there must be a dimension",
            f"个案数（{cases}）、模型数（{models}）和评分者人数（{raters}）不能为负，评分维度（{dimensions}）至少一个",
        )
    pairs = models * (models - 1) // 2
    family = pairs * dimensions
    smallest = (
        min(1.0, max(SMALLEST_P, 2.0 ** (1 - cases) * family))
        if raters >= FEWEST_RATERS and cases and family
        else 1.0
    )
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
    """Return how many raters find *difference* points with 80 % power.

    None where no number does on *cases* cases.
    """
    numbers = range(FEWEST_RATERS, MOST_RATERS + 1)
    return next(
        (n for n in numbers if detectable(cases, n, models, variance=variance, alpha=alpha) <= difference),
        None,
    )
