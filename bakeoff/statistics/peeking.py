"""Looking at a running study: p and intervals that hold at every look.

An ordinary 5 % test that is repeated with every new case finds a "difference" between equal models in far more than
5 % of studies. A confidence sequence holds the truth at all looks together: the normal mixture of Robbins (Annals of
Mathematical Statistics 1970; 41:1397), in the form that needs no known variance (Waudby-Smith, Arbour, Sinha, Kennedy
& Ramdas, Annals of Statistics 2024; 52:2613). A p of a t test enters by its normal score, so that few cases and
raters stay as cautious as they are. docs/statistics.md has it in plain words.
"""

from __future__ import annotations

import math

PLANNED_CASES = 24
"""Number of cases at which the sequence is tightest; it holds at any."""


def _tuning(alpha: float, planned: int) -> float:
    """Return the variance of the mixture, about best at *planned* cases.

    Waudby-Smith et al., appendix B.2.
    """
    return (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / planned


def always_valid_p(p: float, cases: int, *, alpha: float = 0.05, planned: int = PLANNED_CASES) -> float:
    """Return a p that may be looked at after every case.

    It falls below *alpha* at any time in at most *alpha* of studies.

    Args:
        p: two-sided p of the ordinary test after *cases* cases.
        alpha: the level that the sequence is tuned for; it holds at any.
        planned: the number of cases it is tuned for.
    """
    from scipy.special import ndtri

    if math.isnan(p) or cases < 1:
        return math.nan
    if p <= 0:
        return 0.0
    score = -float(ndtri(p / 2))
    time = cases * _tuning(alpha, planned)
    # 1 / the mixture's likelihood ratio, a supermartingale under no difference (Ville's inequality)
    return min(1.0, math.exp(math.log1p(time) / 2 - score**2 * time / (2 * (1 + time))))


def level_at(cases: int, *, alpha: float = 0.05, planned: int = PLANNED_CASES) -> float:
    """Return the level that makes an interval one of a sequence.

    An ordinary interval of this level after *cases* cases belongs to a confidence sequence.
    """
    from scipy.special import ndtr

    if cases < 1:
        return 0.0
    time = cases * _tuning(alpha, planned)
    reach = math.sqrt((1 + 1 / time) * (math.log1p(time) - 2 * math.log(alpha)))
    return 2 * float(ndtr(-reach))
