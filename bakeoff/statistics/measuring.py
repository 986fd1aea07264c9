"""Scores and pairs of one suite: intervals, effect sizes, unadjusted p."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.foundation.errors import ScoreError
from bakeoff.foundation.sentences import Template
from bakeoff.statistics.bootstrap import (
    effective_clusters,
    expanded_percentiles,
    resample_clusters,
    resample_samples,
)
from bakeoff.statistics.intervals import (
    Interval,
    agresti_min,
    bounded_interval,
    clustered_wilson,
    cohens_h,
    matched_odds_ratio,
    odds,
    wilson,
)
from bakeoff.statistics.measurement import Measured, PairRow, ScoreRow, Settings, Size
from bakeoff.statistics.power import (
    PRIOR_DISCORDANCE,
    fewest_disagreements,
)
from bakeoff.statistics.significance import clustered_t_test, mcnemar, sign_flip_tests
from bakeoff.statistics.tables import checked, subset_codes

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

CLOSED = Template(
    "statistics.measuring.closed",
    "Wilson; Agresti-Min for differences",
    zh="Wilson 区间；差值用 Agresti–Min 区间",
    en="Wilson; Agresti–Min for differences",
)
OF_SAMPLES = Template(
    "statistics.measuring.of_samples",
    "bootstrap of samples",
    zh="逐题重抽样的 bootstrap",
    en="bootstrap over questions",
)
WITHIN_SUBSETS = Template(
    "statistics.measuring.within_subsets",
    "bootstrap of samples within {groups} fixed subsets",
    zh="科目内逐题重抽样的 bootstrap（{groups} 个科目）",
    en="bootstrap over questions within subjects ({groups} subjects)",
)
OF_SUBSETS = Template(
    "statistics.measuring.of_subsets",
    "bootstrap of {groups} subsets, taken as a sample of subsets",
    zh="以科目为单位重抽样的 bootstrap（{groups} 个科目）",
    en="bootstrap over subjects ({groups} subjects)",
)
FEWEST_CLUSTERS = 10
"""Below this many subsets a bootstrap over subsets is not trusted (bench/coverage.py) and they are taken as
fixed."""

FEWEST_EVENTS = 10
"""Below this many rights, wrongs or disagreements a closed formula replaces the bootstrap, which would
shrink to a point."""

EXTREME_SHARE = 0.15
"""Within this share of 0 or 1 the closed formula replaces the bootstrap of an accuracy, whose skewed side would
be too short."""


class _Table(NamedTuple):
    """A suite's table with its missing samples filled in every way that is needed."""

    names: list[str]
    chosen: list[tuple[str, str]]
    a: Ints
    b: Ints
    """Columns of the pairs' first and second subject."""
    codes: Ints | None
    """Subset of each sample; None where there is but one."""
    sampled: Ints | None
    """The same where whole subsets are resampled."""
    binary: bool
    scale: tuple[float, float]
    absent: NDArray[np.bool_]
    values: Floats
    lowest: Floats
    highest: Floats

    @property
    def groups(self) -> int:
        return 1 if self.codes is None else int(self.codes.max()) + 1

    @property
    def strata(self) -> Ints | None:
        """Return the subset of each sample where subsets are fixed, else None."""
        return self.codes if self.sampled is None else None

    @property
    def differences(self) -> Floats:
        return self.values[:, self.a] - self.values[:, self.b]

    @property
    def against(self) -> Floats:
        return self.lowest[:, self.a] - self.highest[:, self.b]

    @property
    def favour(self) -> Floats:
        return self.highest[:, self.a] - self.lowest[:, self.b]


class _Ends(NamedTuple):
    """Bootstrap ends [2 x column] of the values, of the differences and of a's share of the disagreements."""

    values: Floats
    differences: Floats
    shares: Floats | None
    method: str


def measure(
    matrix: pd.DataFrame,
    clusters: pd.Series | None,
    pairs: Sequence[tuple[str, str]] | None,
    settings: Settings,
) -> Measured:
    """Scores with intervals, and pairs with p not yet adjusted.

    Raises:
        ScoreError: the table is empty, a score lies outside the scale, or a name is unknown.
    """
    import numpy as np
    import pandas as pd

    table = _table(matrix, clusters, pairs, settings)
    ends = _resampled(table, settings) if not table.binary or table.groups > 1 else None
    rows, rates, design = _pair_rows(table, ends, settings)
    return Measured(
        pd.DataFrame(_score_rows(table, ends, settings.alpha)),
        rows,
        rates,
        len(table.values),
        max(1.0, float(np.median(design))) if design else 1.0,
        settings.scale == (0.0, 1.0),
        not table.binary,
        ends.method if ends else CLOSED(),
    )


def _table(
    matrix: pd.DataFrame,
    clusters: pd.Series | None,
    pairs: Sequence[tuple[str, str]] | None,
    settings: Settings,
) -> _Table:
    import numpy as np

    missing, scale = settings.missing, settings.scale
    if missing not in ("wrong", "worst", "best", "exclude"):
        raise ScoreError(f"compare: missing must be wrong, worst, best or exclude, not {missing!r}")
    names, scores = checked(matrix, scale)
    codes = subset_codes(matrix, clusters)
    chosen = list(combinations(names, 2)) if pairs is None else list(pairs)
    unknown = sorted({str(name) for pair in chosen for name in pair} - set(names))
    if unknown:
        raise ScoreError(f"compare: pairs name {', '.join(unknown)}; the table holds: {', '.join(names)}")
    bottom, top = scale
    absent = np.isnan(scores)
    lowest, highest = np.where(absent, bottom, scores), np.where(absent, top, scores)
    groups = 1 if codes is None else int(codes.max()) + 1
    return _Table(
        names=names,
        chosen=chosen,
        a=np.array([names.index(first) for first, _ in chosen], dtype=int),
        b=np.array([names.index(second) for _, second in chosen], dtype=int),
        codes=codes,
        sampled=codes if settings.subsets == "sampled" and groups >= FEWEST_CLUSTERS else None,
        binary=scale == (0.0, 1.0) and bool(np.isin(scores[~absent], (0.0, 1.0)).all()),
        scale=scale,
        absent=absent,
        values={"wrong": lowest, "worst": lowest, "best": highest, "exclude": scores}[missing],
        lowest=lowest,
        highest=highest,
    )


def _resampled(table: _Table, settings: Settings) -> _Ends:
    import numpy as np

    differences, names = table.differences, len(table.names)
    columns = [table.values, differences]
    if table.binary:
        finite = np.isfinite(differences)
        columns += [np.where(differences > 0, 1.0, 0.0), np.where(differences != 0, 1.0, 0.0) * finite]
    stacked = np.hstack(columns)
    rng = np.random.default_rng(settings.seed)
    if table.sampled is None:
        resampling = resample_samples(stacked, table.codes, settings.resamples, rng, keys=names)
        method = WITHIN_SUBSETS(groups=table.groups) if table.groups > 1 else OF_SAMPLES()
    else:
        resampling = resample_clusters(stacked, table.sampled, settings.resamples, rng)
        method = OF_SUBSETS(groups=table.groups)
    plain = names + differences.shape[1]
    ends = expanded_percentiles(resampling._replace(draws=resampling.draws[:, :plain]), settings.alpha)
    shares = None
    if table.binary:
        above, below = np.hsplit(resampling.draws[:, plain:], 2)
        share = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
        shares = expanded_percentiles(resampling._replace(draws=share), settings.alpha)
    return _Ends(ends[:, :names], ends[:, names:], shares, method)


def _score_rows(table: _Table, ends: _Ends | None, alpha: float) -> list[ScoreRow]:
    import numpy as np

    rows: list[ScoreRow] = []
    for place, name in enumerate(table.names):
        finite = np.isfinite(table.values[:, place])
        column = table.values[finite, place]
        n, total = len(column), float(column.sum())
        closed = table.binary and (
            ends is None or _extreme(total, n) or _drawn_alike(column, table.strata, finite)
        )
        if closed or ends is None:
            low, high = _closed(column, None if table.sampled is None else table.sampled[finite], alpha)
        elif n and not np.ptp(column):
            low, high = _of_equals(float(column[0]), n, table.scale, alpha)
        else:
            low, high = ends.values[:, place]
        rows.append(
            {
                "subject": name,
                "value": total / n if n else math.nan,
                "low": float(low),
                "high": float(high),
                "worst": float(table.lowest[:, place].mean()),
                "best": float(table.highest[:, place].mean()),
                "n": n,
                "n_missing": int(table.absent[:, place].sum()),
                "method": "Wilson" if closed or ends is None else ends.method,
            }
        )
    return rows


def _of_equals(value: float, n: int, scale: tuple[float, float], alpha: float) -> Interval:
    """Return the interval of *n* equal graded scores.

    A bootstrap would draw no others from them.

    A single score says nothing: its interval is the whole scale.
    """
    return bounded_interval(value, (0.0, n - 1.0), n, scale, alpha) if n > 1 else Interval(*scale)


def _extreme(right: float, n: int) -> bool:
    """Return whether an accuracy lies too near to 0 or 1 for a bootstrap.

    It is too short on its skewed side there.
    """
    fewer = min(right, n - right)
    return fewer < FEWEST_EVENTS or fewer < EXTREME_SHARE * n


def _drawn_alike(column: Floats, strata: Ints | None, finite: NDArray[np.bool_]) -> bool:
    """Return whether a bootstrap within *strata* draws hardly anything else.

    Each subset nearly all right or all wrong leaves nothing to vary, whatever the whole suite's share.
    """
    import numpy as np

    if strata is None or not len(column):
        return False
    of = strata[finite]
    alike = [np.unique(column[of == stratum], return_counts=True)[1].max() for stratum in np.unique(of)]
    return len(column) - int(sum(alike)) < FEWEST_EVENTS


def _closed(column: Floats, sampled: Ints | None, alpha: float) -> Interval:
    """Wilson's interval, for a sample of subsets with its design effect."""
    import numpy as np

    right, n = float(column.sum()), len(column)
    if sampled is None or len(np.unique(sampled)) < 2:
        return wilson(right, n, alpha)
    centred = column - right / n
    effect = clustered_t_test(centred + 1.0, sampled)[1] if centred.any() else 1.0
    sizes = np.bincount(sampled)
    return clustered_wilson(right, n, effective_clusters(sizes[sizes > 0]), effect, alpha)


def _pair_rows(
    table: _Table, ends: _Ends | None, settings: Settings
) -> tuple[list[PairRow], list[float], list[float]]:
    """Return rows, rates of disagreement and design effects of the pairs.

    p is not yet adjusted.
    """
    import numpy as np

    differences, against, favour = table.differences, table.against, table.favour
    gone = table.absent[:, table.a] | table.absent[:, table.b]
    exact = _sample_level_p(differences, table.binary, settings.seed)
    means = [
        float(d.mean()) if len(d := column[np.isfinite(column)]) else math.nan for column in differences.T
    ]
    unlucky = np.where(np.array(means) > 0, against, favour)
    exact_unlucky = _sample_level_p(unlucky, table.binary, settings.seed) if gone.any() else exact
    rows: list[PairRow] = []
    rates, design = [], []
    for place, (name_a, name_b) in enumerate(table.chosen):
        clustered, effect = (
            (math.nan, 1.0)
            if table.sampled is None
            else clustered_t_test(differences[:, place], table.sampled)
        )
        design.append(effect)
        p = p_least = float(np.nanmax([exact[place], clustered]))
        if gone[:, place].any():
            undone = not float(unlucky[:, place].mean()) * means[place] > 0
            again = (
                math.nan if table.sampled is None else clustered_t_test(unlucky[:, place], table.sampled)[0]
            )
            p_least = 1.0 if undone else float(np.nanmax([p, exact_unlucky[place], again]))
        size, rate = _size(table, ends, place, effect, settings.alpha)
        rates.append(rate)
        rows.append(
            {
                "a": name_a,
                "b": name_b,
                "n_missing": int(gone[:, place].sum()),
                "difference": means[place],
                "worst": float(against[:, place].mean()),
                "best": float(favour[:, place].mean()),
                "p_mcnemar": float(exact[place]) if table.binary else math.nan,
                "p_permutation": math.nan if table.binary else float(exact[place]),
                "p_clustered": clustered,
                "p": p,
                "p_least": p_least,
                **size,
            }
        )
    return rows, rates, design


def _size(
    table: _Table, ends: _Ends | None, place: int, design_effect: float, alpha: float
) -> tuple[Size, float]:
    """Return the size of one pair's difference, and its disagreement rate."""
    import numpy as np

    d = table.values[:, table.a[place]] - table.values[:, table.b[place]]
    finite = np.isfinite(d)
    d, n = d[finite], int(finite.sum())
    only_a, only_b = int((d > 0).sum()), int((d < 0).sum())
    fewer = min(only_a + only_b, n - max(only_a, only_b))  # what a bootstrap could draw beside the rest
    closed = table.binary and (ends is None or fewer < FEWEST_EVENTS or _drawn_alike(d, table.strata, finite))
    low, high = (
        agresti_min(only_a, only_b, n, alpha) if closed or ends is None else ends.differences[:, place]
    )
    if not closed and n and not np.ptp(d):
        reach = table.scale[1] - table.scale[0]
        low, high = _of_equals(float(d[0]), n, (-reach, reach), alpha)
    if table.binary:
        size, size_ends = matched_odds_ratio(only_a, only_b, alpha)
        if ends is not None and ends.shares is not None:
            if min(only_a, only_b) >= FEWEST_EVENTS:
                size_ends = Interval(*(odds(float(end)) for end in ends.shares[:, place]))
            else:  # a side that is never ahead in the sample is never ahead in a resample either
                inflated = max(1.0, design_effect)
                size_ends = matched_odds_ratio(only_a / inflated, only_b / inflated, alpha)[1]
        discordance = _discordance(only_a + only_b, n)
    else:
        size, size_ends = _dz(d, float(low), float(high))
        few = only_a + only_b < fewest_disagreements(alpha)
        discordance = math.nan if few else float((d**2).mean())
    shares = table.values[finite][:, [table.a[place], table.b[place]]]
    size_row: Size = {
        "n": n,
        "only_a": only_a,
        "only_b": only_b,
        "low": float(low),
        "high": float(high),
        "effect": size,
        "effect_low": size_ends.low,
        "effect_high": size_ends.high,
        "effect_name": "matched odds ratio" if table.binary else "Cohen's dz",
        "cohens_h": cohens_h(*shares.mean(axis=0)) if table.binary and n else math.nan,
    }
    return size_row, discordance


def _discordance(apart: int, n: int) -> float:
    """Return the rate of disagreement to plan with; NaN for none.

    A rate of 0 is known from nothing.
    """
    return max(PRIOR_DISCORDANCE, apart / n) if apart else math.nan


def _sample_level_p(differences: Floats, binary: bool, seed: int) -> Floats:
    """[pair]: exact McNemar for right/wrong, sign flips for graded scores."""
    import numpy as np

    if not binary:
        return sign_flip_tests(differences, seed=seed)
    wins, losses = (differences > 0).sum(axis=0), (differences < 0).sum(axis=0)
    return np.array([mcnemar(int(won), int(lost)) for won, lost in zip(wins, losses, strict=True)])


def _dz(d: Floats, low: float, high: float) -> tuple[float, Interval]:
    """Return Cohen's dz of paired differences *d*, and its interval.

    Their mean in standard deviations; the ends come from the mean's interval. They are moved out by sqrt(1 + dz^2 /
    2), for the standard deviation is estimated too (Hedges & Olkin 1985, section 5).
    """
    spread = float(d.std(ddof=1)) if len(d) > 1 else 0.0
    if spread == 0:
        return math.nan, Interval(math.nan, math.nan)
    dz = float(d.mean()) / spread
    wider = math.sqrt(1 + dz**2 / 2)
    return dz, Interval(*(dz + (end / spread - dz) * wider for end in (low, high)))
