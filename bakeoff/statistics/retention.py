"""What tuning kept: is the loss smaller than a margin, or larger?

No significant loss is no evidence of no loss. Non-inferiority turns the question round: the loss is at least the
margin unless the data say otherwise. Right-or-wrong answers are compared by Tango's score test for paired
proportions (Statistics in Medicine 1998; 17:891), whose interval needs no correction for few disagreements;
graded scores by Student's t on the paired differences. docs/statistics.md has it in plain words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bakeoff.foundation.errors import ScoreError
from bakeoff.statistics.intervals import Interval
from bakeoff.statistics.significance import SMALLEST_P, clustered_t_test, holm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

MARGIN = 0.02
"""Two points of 100: the loss that is acceptable where a suite names none."""

Verdict = Literal["no loss beyond the margin", "loss", "cannot say"]


@dataclass(frozen=True)
class Retention:
    """Tuned against base on one suite.

    Attributes:
        name: the model, or whatever names the pair.
        n: questions compared; n_missing of them lack a score of either.
        difference: tuned minus base.
        low, high: the two-sided interval that the verdicts agree with before Holm's correction.
        margin: the loss that would still be acceptable.
        p_kept: one-sided p against "the loss is the margin or more"; every missing score counts against the tuned.
        p_loss: one-sided p against "no loss"; every missing score counts for the tuned.
        verdict: see :data:`Verdict`; from the Holm-adjusted p.
        small_loss: a loss was shown as well, and it is smaller than the margin.
    """

    name: str
    suite: str
    n: int
    n_missing: int
    difference: float
    low: float
    high: float
    margin: float
    p_kept: float
    p_loss: float
    p_kept_adjusted: float = math.nan
    p_loss_adjusted: float = math.nan
    verdict: Verdict = "cannot say"
    small_loss: bool = False


def tango_score(only_a: float, only_b: float, n: float, difference: float = 0.0) -> float:
    """Return Tango's score statistic at *difference*.

    Standard normal where a's proportion minus b's is *difference*: ``(b - c - n d) / sqrt(n (2 q + d (1 - d)))`` with
    q the probability of "only b" that fits best under that difference (Tango 1998, equations 7 to 9). At difference 0
    its square is McNemar's chi-square.
    """
    if not (only_a >= 0 and only_b >= 0 and only_a + only_b <= n + 1e-9) or not -1 <= difference <= 1:
        raise ScoreError(
            f"tango_score: {only_a:g} and {only_b:g} of {n:g}, difference {difference:g}, cannot be"
        )
    d = difference
    linear = -only_a - only_b + (2 * n - only_a + only_b) * d
    constant = -only_b * d * (1 - d)
    best = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * best + d * (1 - d))
    apart = only_a - only_b - n * d
    if variance <= 1e-12 * n:
        return 0.0 if abs(apart) < 1e-9 * n else math.copysign(math.inf, apart)
    return apart / math.sqrt(variance)


def tango_interval(only_a: float, only_b: float, n: float, alpha: float = 0.05) -> Interval:
    """Return Tango's interval of a difference of paired proportions.

    It is what his test does not reject; NaN for n = 0.
    """
    from scipy.special import ndtri

    if n <= 0:
        return Interval(math.nan, math.nan)
    reach = -float(ndtri(alpha / 2))
    estimate = (only_a - only_b) / n
    low = _crossing(lambda d: tango_score(only_a, only_b, n, d) <= reach, -1.0, estimate)
    high = _crossing(lambda d: tango_score(only_a, only_b, n, d) <= -reach, estimate, 1.0)
    return Interval(low, high)


def _crossing(is_past: Callable[[float], bool], low: float, high: float) -> float:
    """Return where *is_past* turns true between *low* and *high*.

    The statistic falls with the difference, so halving finds it.
    """
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if is_past(middle) else (middle, high)
    return (low + high) / 2


def retention(
    name: str,
    suite: str,
    tuned: Floats,
    base: Floats,
    *,
    margin: float = MARGIN,
    clusters: Ints | None = None,
    alpha: float = 0.05,
) -> Retention:
    """Compare *tuned* with *base*: scores 0..1 of the same questions.

    NaN for a missing one. The interval and the estimate count a missing score as 0, as scores do everywhere; the two
    p count it against what they would show. Where *clusters* (subset codes) are given, whole subsets are sampled, and
    the larger p counts. The verdict is "cannot say" until :func:`judged` has seen all of them.

    Raises:
        ScoreError: the two differ in length, or *margin* is not between 0 and 1.
    """
    import numpy as np

    if tuned.shape != base.shape:
        raise ScoreError(
            f"retention: {len(tuned)} scores stand against {len(base)}; give both for each question"
        )
    if not 0 < margin < 1:
        limit = "above 0" if not margin >= 1 else "below 1: a larger one allows to lose everything"
        raise ScoreError(f"retention: margin {margin:g} must be {limit}; 0.02 are two points of 100")
    apart = np.nan_to_num(tuned) - np.nan_to_num(base)
    worst = np.where(np.isfinite(tuned), tuned, 0.0) - np.where(np.isfinite(base), base, 1.0)
    best = np.where(np.isfinite(tuned), tuned, 1.0) - np.where(np.isfinite(base), base, 0.0)
    count = len(apart)
    missing = int((~np.isfinite(tuned) | ~np.isfinite(base)).sum())
    if count < 2:
        mean = float(apart.mean()) if count else math.nan
        return Retention(name, suite, count, missing, mean, math.nan, math.nan, margin, 1.0, 1.0)
    ends = _interval(apart, clusters, alpha)
    return Retention(
        name,
        suite,
        count,
        missing,
        float(apart.mean()),
        *ends,
        margin,
        _p_above(worst, -margin, clusters),
        _p_above(-best, 0.0, clusters),
    )


def judged(drafts: list[Retention], alpha: float = 0.05) -> list[Retention]:
    """Return *drafts* with their verdicts.

    Holm over all of them, for losses and for their absence each. Both are one-sided at alpha / 2, as the two-sided
    interval has it.
    """
    p_values_kept = holm([each.p_kept for each in drafts])
    p_values_lost = holm([each.p_loss for each in drafts])
    verdicts = []
    for draft, p_kept, p_loss in zip(drafts, p_values_kept, p_values_lost, strict=True):
        is_kept, is_lost = p_kept < alpha / 2, p_loss < alpha / 2
        verdict: Verdict = "no loss beyond the margin" if is_kept else "loss" if is_lost else "cannot say"
        verdicts.append(
            replace(
                draft,
                p_kept_adjusted=p_kept,
                p_loss_adjusted=p_loss,
                verdict=verdict,
                small_loss=is_kept and is_lost,
            )
        )
    return verdicts


def counts(verdicts: list[Retention]) -> Mapping[str, int]:
    """Return how many of *verdicts* there are of each kind."""
    kinds: tuple[Verdict, ...] = ("no loss beyond the margin", "loss", "cannot say")
    return {kind: sum(each.verdict == kind for each in verdicts) for kind in kinds}


def _is_binary(apart: Floats) -> bool:
    import numpy as np

    return bool(np.isin(apart, (-1.0, 0.0, 1.0)).all())


def _p_above(apart: Floats, least: float, clusters: Ints | None) -> float:
    """One-sided p against "the mean of *apart* is *least* or below"."""
    from scipy.special import ndtr, stdtr

    count = len(apart)
    if _is_binary(apart):
        p = float(ndtr(-tango_score(float((apart > 0).sum()), float((apart < 0).sum()), count, least)))
    else:
        error = math.sqrt(float(apart.var(ddof=1)) / count)
        distance = float(apart.mean()) - least
        # Equal scores everywhere are no proof: as if one question more had gone the other way.
        error = max(error, 1 / (count + 2))
        p = float(stdtr(count - 1, -distance / error))
    p = max(SMALLEST_P, p)
    if clusters is None:
        return p
    two_sided, _ = clustered_t_test(apart - least, clusters)
    clustered = two_sided / 2 if float(apart.mean()) > least else 1 - two_sided / 2
    return max(p, clustered)


def _interval(apart: Floats, clusters: Ints | None, alpha: float) -> Interval:
    """Return Tango's interval of answers, Student's t of graded scores.

    Widened by the design effect of clusters.
    """
    from scipy.special import stdtrit

    count = len(apart)
    effect = 1.0
    if clusters is not None:
        effect = max(1.0, clustered_t_test(apart, clusters)[1])
    if _is_binary(apart):
        only_a, only_b = float((apart > 0).sum()), float((apart < 0).sum())
        return tango_interval(only_a / effect, only_b / effect, count / effect, alpha)
    error = math.sqrt(max(float(apart.var(ddof=1)) * effect / count, 1 / (count + 2) ** 2))
    reach = float(stdtrit(count - 1, 1 - alpha / 2)) * error
    mean = float(apart.mean())
    return Interval(max(-1.0, mean - reach), min(1.0, mean + reach))
