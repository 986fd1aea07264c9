"""What a paired test can detect, and with how many samples."""

from __future__ import annotations

import math

from bakeoff.foundation.errors import ScoreError

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

    On *n* samples, with probability *power*.

    ``(z[1 - alpha/2/pairs] + z[power]) * sqrt(discordance * design_effect / n)``, the usual two-sided
    formula with the null's variance throughout (Miettinen 1968; a little cautious), and never less than the exact
    test can reach (:func:`least_detectable`). With *pairs* > 1 Bonferroni's level stands for the first step of Holm.
    *discordance* is the share of samples on which the two disagree (for *graded* scores: the mean squared
    difference), *design_effect* the factor by which clustering inflates the variance. Unit: that of the score; inf
    where *n* samples cannot show any difference.
    """
    from scipy.special import ndtri

    floor = least_detectable(n, alpha, pairs) if n > 0 else math.inf
    if math.isinf(floor):
        return math.inf
    reach = float(ndtri(power) - ndtri(alpha / 2 / pairs))
    found = reach * math.sqrt(discordance * design_effect / n)
    return found if graded else max(min(found, 1.0), floor)


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

    With probability *power*: the inverse of the function above.

    Raises:
        ScoreError: *difference* is 0, which no number of samples can find.
    """
    from scipy.special import ndtri

    if difference == 0:
        raise ScoreError("samples_needed: difference must not be 0: no number of samples tells equals apart")
    reach = float(ndtri(power) - ndtri(alpha / 2 / pairs))
    fewest = fewest_disagreements(alpha, pairs)
    by_formula = math.ceil(round(discordance * design_effect * (reach / difference) ** 2, 9))
    return max(by_formula, fewest if graded else math.ceil(round(fewest / abs(difference), 9)))
