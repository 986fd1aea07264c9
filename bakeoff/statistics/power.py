"""What a paired test can detect, and with how many samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from bakeoff.foundation.errors import ScoreError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PRIOR_DISCORDANCE = 0.10
"""Share of samples on which two models are taken to disagree at least: an observed rate below it is mostly luck."""


def fewest_disagreements(alpha: float = 0.05, pairs: int = 1) -> int:
    """Return the fewest disagreements, all one way, that are significant.

    ``2 * 0.5**k * pairs < alpha``: the exact test's smallest p at the first step of Holm.
    """
    return math.floor(math.log2(2 * pairs / alpha)) + 1


def least_detectable(n: int, alpha: float = 0.05, pairs: int = 1) -> float:
    """Return the smallest observed difference that can be significant.

    Of two accuracies on *n* samples; inf if none can.
    """
    fewest = fewest_disagreements(alpha, pairs)
    return fewest / n if n >= fewest else math.inf


def minimum_detectable_difference(
    n: int,
    discordance: float = 0.25,
    alpha: float = 0.05,
    power: float = 0.8,
    pairs: int = 1,
    design_effect: float = 1.0,
    graded: bool = False,
) -> float:
    """Return the smallest true difference that a paired test finds.

    On *n* samples, with probability *power*. With *pairs* > 1 Bonferroni's level stands for the first step of Holm.
    Right or wrong: the power of the exact test itself, over how many samples may happen to disagree
    (:func:`exact_power`). For *graded* scores the usual formula with the null's variance throughout (Miettinen 1968;
    a little cautious): ``(z[1 - alpha/2/pairs] + z[power]) * sqrt(discordance / n)``. Either is multiplied by the root
    of *design_effect*.

    Args:
        discordance: the share of samples on which the two disagree; more, where a difference takes more (for *graded*
            scores: the mean squared difference).
        design_effect: the factor by which clustering inflates the variance.

    Returns:
        The difference in the unit of the score; inf where *n* samples cannot show any.
    """
    from scipy.special import ndtri

    least = least_detectable(n, alpha, pairs) if n > 0 else math.inf
    if math.isinf(least):
        return math.inf
    wider = math.sqrt(design_effect)
    if graded:
        return float(ndtri(power) - ndtri(alpha / 2 / pairs)) * math.sqrt(discordance / n) * wider
    if math.isnan(discordance):
        return math.nan
    return min(1.0, max(least, _exactly_detectable(n, min(discordance, 1.0), alpha / pairs, power) * wider))


@lru_cache(maxsize=4096)
def _exactly_detectable(n: int, discordance: float, level: float, power: float) -> float:
    """Return the difference at which the exact test has *power*."""
    from scipy.special import betaincinv

    fewest = fewest_disagreements(level)
    # If all disagreements go one way, only their number is left to chance: it has to reach the fewest that do.
    one_way = float(betaincinv(fewest, n - fewest + 1, power))
    if one_way >= discordance:
        return one_way
    test = _ExactTest(n, discordance, level)
    return _rising_root(lambda difference: test.power(difference) - power, discordance)


def _rising_root(value: Callable[[float], float], high: float) -> float:
    """Return where *value*, below 0 at 0 and above it at *high*, is 0.

    By the Illinois form of false position, from above.
    """
    low, at_low, at_high = 0.0, value(0.0), value(high)
    side = 0
    for _ in range(60):
        middle = high - at_high * (high - low) / (at_high - at_low)
        middle = min(max(middle, low + 1e-3 * (high - low)), high - 1e-3 * (high - low))
        here = value(middle)
        if here >= 0:
            at_low = at_low / 2 if side > 0 else at_low
            high, at_high, side = middle, here, 1
        else:
            at_high = at_high / 2 if side < 0 else at_high
            low, at_low, side = middle, here, -1
        if high - low <= 1e-8 * high or 0 <= here < 1e-12:
            break
    return high


def exact_power(n: int, difference: float, discordance: float, alpha: float = 0.05, pairs: int = 1) -> float:
    """Return how often the exact McNemar test finds a true *difference*.

    The number of disagreements is binomial, and so is a's share of them (Duffy, Biometrics 1984; 40:1005).

    Raises:
        ScoreError: the two differ by more than they disagree.
    """
    if abs(difference) > discordance or not 0 <= discordance <= 1:
        raise ScoreError(
            f"exact_power: a difference of {difference:g} needs a discordance of {abs(difference):g} to 1, "
            f"not {discordance:g}"
        )
    return _ExactTest(n, discordance, alpha / pairs).power(difference)


class _ExactTest:
    """The exact test on *n* samples of which a share disagrees: its power."""

    def __init__(self, n: int, discordance: float, level: float) -> None:
        """Tell which numbers of disagreements are likely, and the test's limits."""
        import numpy as np
        from scipy.special import gammaln, xlog1py, xlogy

        middle, reach = n * discordance, 6 * math.sqrt(n * discordance * (1 - discordance)) + 6
        apart = np.arange(max(0, math.floor(middle - reach)), min(n, math.ceil(middle + reach)) + 1)
        ways = gammaln(n + 1) - gammaln(apart + 1) - gammaln(n - apart + 1)
        chances = np.exp(ways + xlogy(apart, discordance) + xlog1py(n - apart, -discordance))
        limits = _limits(apart, level)
        can_show = limits >= 0
        self._apart, self._limits, self._chances = apart[can_show], limits[can_show], chances[can_show]
        self._discordance = discordance

    def power(self, difference: float) -> float:
        """Return how often a true *difference* is found, either way round."""
        from scipy.special import bdtr

        share = (1 + difference / self._discordance) / 2 if self._discordance else 0.5
        chances = sum(bdtr(self._limits, self._apart, chance) for chance in (share, 1 - share))
        return float((self._chances * chances).sum()) if len(self._apart) else 0.0


def _limits(apart: NDArray[np.int64], level: float) -> NDArray[np.int64]:
    """Return for each number of disagreements how many may go the rarer way.

    At most, for the exact test to call it significant; -1 where it never does.
    """
    import numpy as np
    from scipy.special import bdtr, ndtri

    # The normal limit is never off by more than one; start above it and step down.
    limits = np.minimum(np.ceil(apart / 2 + float(ndtri(level / 2)) * np.sqrt(apart) / 2) + 1, apart // 2)
    while (above := (limits >= 0) & ~(2 * bdtr(np.maximum(limits, 0), apart, 0.5) < level)).any():
        limits = limits - above
    return np.asarray(limits, dtype=np.int64)


def samples_needed(
    difference: float,
    discordance: float = 0.25,
    alpha: float = 0.05,
    power: float = 0.8,
    pairs: int = 1,
    design_effect: float = 1.0,
    graded: bool = False,
) -> int:
    """Return how many samples find a true *difference*.

    With probability *power*: the inverse of :func:`minimum_detectable_difference`.

    Raises:
        ScoreError: *difference* is 0, which no number of samples can find, no number, or more than all samples.
    """
    from scipy.special import ndtri

    size = abs(difference)
    if size == 0:
        raise ScoreError("samples_needed: difference must not be 0: no number of samples tells equals apart")
    if not math.isfinite(size) or (size > 1 and not graded):
        raise ScoreError(f"samples_needed: difference {difference:g} must be a number from -1 to 1")
    reach = float(ndtri(power) - ndtri(alpha / 2 / pairs))
    fewest = fewest_disagreements(alpha, pairs)
    by_formula = math.ceil(round(discordance * design_effect * (reach / size) ** 2, 9))
    if graded:
        return max(by_formula, fewest)

    unclustered = size / math.sqrt(design_effect)
    rate = min(max(discordance, unclustered), 1.0)

    def is_enough(n: int) -> bool:
        return fewest / n <= size and _ExactTest(n, rate, alpha / pairs).power(unclustered) >= power

    too_few, enough = fewest - 1, max(by_formula + by_formula // 8, fewest)
    while not is_enough(enough):
        too_few, enough = enough, 2 * enough
    if (fewer := by_formula - by_formula // 8) > too_few and not is_enough(fewer):
        too_few = fewer
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if is_enough(middle) else (middle, enough)
    return enough
