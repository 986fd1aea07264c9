"""What may be said about scores: intervals, paired tests, tie groups, and what could not have been seen.

:func:`compare` takes one suite's table [sample x subject] of right/wrong (or graded) scores and answers in
tables; :func:`compare_suites` does so for a whole run with one family of pairs. The rest are its parts,
usable alone. docs/statistics.md explains each method in plain words; bench/coverage.py measures that the
intervals hold what they say.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bakeoff.errors import ScoreError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

Missing = Literal["wrong", "worst", "best", "exclude"]
Subsets = Literal["sampled", "fixed"]

FEWEST_CLUSTERS = 10
"""Below this many subsets a bootstrap over subsets is not trusted (bench/coverage.py) and they are taken as
fixed."""

FEWEST_EVENTS = 10
"""Below this many rights, wrongs or disagreements a closed formula replaces the bootstrap, which would
shrink to a point."""


class Interval(NamedTuple):
    """A confidence interval, in the unit of the value it belongs to."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """What may be said about the subjects (model and variant) of one suite.

    Attributes:
        scores: one row per subject: subject, value, low, high (``1 - alpha`` interval of value), worst,
            best (value if all missing samples were at the bottom / top of the scale), n (samples behind
            value), n_missing, method.
        pairs: one row per pair: a, b, n, n_missing (samples that at least one of the two lacks), only_a,
            only_b (samples that only one got right; for graded scores: scored higher), difference (value of
            a minus value of b), low, high, worst, best (the difference if all missing samples went against
            / for a), p_mcnemar (NaN for graded scores), p_permutation (NaN for right/wrong scores),
            p_clustered (NaN unless subsets are sampled), p (the largest of them), p_least (p if all missing
            samples went against the one ahead), p_adjusted (Holm over the family), effect, effect_low,
            effect_high, effect_name, cohens_h, mdd (see below, for this pair's own rate of disagreement),
            verdict ("ahead", "behind", "tie", "depends on missing": a as seen from b), words (the verdict
            as a sentence).
        groups: letters per subject, best first. Two subjects share a letter exactly when they were not told
            apart. Empty when only chosen pairs were compared.
        mdd: minimum detectable difference of a typical pair: with the family's correction, at the power
            asked for.
        family: how many pairs the adjustment of p spans.
        alpha: chance of one or more false differences in the family.
        missing: how missing samples were treated.
        method: how the intervals were made, in words.
    """

    scores: pd.DataFrame
    pairs: pd.DataFrame
    groups: dict[str, str]
    mdd: float
    family: int
    alpha: float
    missing: Missing
    method: str


# ------------------------------ single numbers


def wilson(right: float, n: int, alpha: float = 0.05) -> Interval:
    """Wilson's score interval for an accuracy of *right* out of *n* (E. B. Wilson, JASA 1927); NaN for n =
    0.
    """
    from statsmodels.stats.proportion import proportion_confint

    if n == 0:
        return Interval(math.nan, math.nan)
    low, high = proportion_confint(right, n, alpha=alpha, method="wilson")
    return Interval(float(low), float(high))


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided p of the exact McNemar test: are the disagreements a fair coin? (McNemar 1947; binomial
    form).
    """
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def agresti_min(only_a: int, only_b: int, n: int, alpha: float = 0.05) -> Interval:
    """Interval for the difference of two paired accuracies, right even without a single disagreement.

    Wald's formula with half a sample added to each of the four cells (Agresti & Min, Statistics in Medicine
    2005).
    """
    from scipy.special import ndtri

    total = n + 2
    difference = (only_a - only_b) / total
    spread = math.sqrt((only_a + only_b + 1) / total - difference**2) / math.sqrt(total)
    reach = -float(ndtri(alpha / 2)) * spread
    return Interval(max(-1.0, difference - reach), min(1.0, difference + reach))


def matched_odds_ratio(only_a: int, only_b: int, alpha: float = 0.05) -> tuple[float, Interval]:
    """How much more often a alone was right than b alone: only_a / only_b, and its interval.

    Wilson's interval for a's share of the disagreements, taken to odds (conditional on them: Breslow & Day
    1980, section 5.2). NaN and (0, inf) without a disagreement; inf where b alone was never right.
    """
    total = only_a + only_b
    if total == 0:
        return math.nan, Interval(0.0, math.inf)
    low, high = wilson(only_a, total, alpha)
    return _odds(only_a / total), Interval(_odds(low), _odds(high))


def _odds(share: float) -> float:
    return math.inf if share >= 1 else share / (1 - share)


def cohens_h(first: float, second: float) -> float:
    """Difference of two proportions on the arcsine scale; .2 small, .5 medium, .8 large (Cohen 1988,
    chapter 6).
    """
    return 2 * math.asin(math.sqrt(first)) - 2 * math.asin(math.sqrt(second))


def sign_flip_tests(differences: Floats, resamples: int = 9_999, seed: int = 0) -> Floats:
    """[pair]: two-sided p that the paired *differences* [sample x pair] have mean 0.

    Fisher's randomisation test: a sample's sign is flipped at random. Every flip is tried where that takes
    no more than *resamples*, else that many at random (smallest p: 1 / (resamples + 1)). Above 2,000
    samples the normal limit of the same distribution (mean 0, variance: sum of squares) takes over. NaN
    count as no difference.
    """
    import numpy as np
    from scipy.special import ndtr

    given = np.nan_to_num(np.asarray(differences, dtype=float))
    n = len(given)
    seen = np.abs(given.sum(axis=0))
    moved = given.any(axis=0)
    if n > 2_000:
        spread = np.sqrt((given**2).sum(axis=0))
        far = np.divide(seen, spread, out=np.zeros_like(seen), where=moved)
        return np.asarray(2 * ndtr(-far), dtype=float)
    every = 2**n <= resamples
    if every:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    else:
        bits = np.random.default_rng(seed).integers(0, 2, size=(resamples, n), dtype=np.int8)
    flipped = np.abs((1.0 - 2.0 * bits) @ given)
    reached = (flipped >= seen - 1e-9 * (1 + seen)).sum(axis=0)
    return np.asarray(reached / 2**n if every else (reached + 1) / (resamples + 1), dtype=float)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of *p_values* (Scandinavian Journal of Statistics 1979)."""
    adjusted = [0.0] * len(p_values)
    reached = 0.0
    for done, place in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        reached = max(reached, min(1.0, (len(p_values) - done) * p_values[place]))
        adjusted[place] = reached
    return adjusted


def minimum_detectable_difference(
    n: int,
    discordance: float = 0.25,
    alpha: float = 0.05,
    power: float = 0.8,
    pairs: int = 1,
    design_effect: float = 1.0,
) -> float:
    """The smallest true difference that a paired test on *n* samples finds with probability *power*.

    ``(z[1 - alpha/2/pairs] + z[power]) * sqrt(discordance * design_effect / n)``, the usual two-sided
    formula with the null's variance throughout (Miettinen 1968; a little cautious). With *pairs* > 1
    Bonferroni's level stands for the first step of Holm. *discordance* is the share of samples on which the
    two disagree (for graded scores: the mean squared difference), *design_effect* the factor by which
    clustering inflates the variance. Unit: that of the score; inf for n = 0.
    """
    from scipy.special import ndtri

    if n <= 0:
        return math.inf
    reach = float(ndtri(power) - ndtri(alpha / 2 / pairs))
    return reach * math.sqrt(discordance * design_effect / n)


def samples_needed(
    difference: float,
    discordance: float = 0.25,
    alpha: float = 0.05,
    power: float = 0.8,
    pairs: int = 1,
    design_effect: float = 1.0,
) -> int:
    """How many samples find a true *difference* with probability *power*: the inverse of the function above.

    Raises:
        ScoreError: *difference* is 0, which no number of samples can find.
    """
    if difference == 0:
        raise ScoreError("samples_needed: difference must not be 0: no number of samples tells equals apart")
    one = minimum_detectable_difference(1, discordance, alpha, power, pairs, design_effect)
    return math.ceil(round((one / difference) ** 2, 9))


# ------------------------------ tie groups


def tie_groups(order: Sequence[str], different: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Letters per name, by insert-and-absorb (Piepho, J. Comp. Graph. Statistics 2004).

    Args:
        order: all names, best first; the best is in group A.
        different: the pairs that were told apart, in any order.

    Returns:
        name -> letters such as "A" or "AB". Two names share a letter exactly when they are not in
        *different*.
    """
    groups: list[frozenset[str]] = [frozenset(order)]
    for a, b in different:
        split = [part for group in groups if {a, b} <= group for part in (group - {a}, group - {b})]
        kept = [group for group in groups if not {a, b} <= group]
        for part in split:
            if not any(part <= group for group in kept):
                kept = [group for group in kept if not group < part]
                kept.append(part)
        groups = kept
    rank = {name: place for place, name in enumerate(order)}
    groups.sort(key=lambda group: sorted(rank[name] for name in group))
    return {
        name: "".join(_letter(place) for place, group in enumerate(groups) if name in group) for name in order
    }


def _letter(place: int) -> str:
    """A, B, … Z, A', B', …: one visible symbol per group, however many there are."""
    return chr(ord("A") + place % 26) + "'" * (place // 26)


# ------------------------------ bootstrap


class Resampling(NamedTuple):
    """Bootstrap draws and how they are to be read."""

    draws: Floats
    """[resample x column] means."""
    scale: float
    """The draws spread too little by this factor: sqrt(G / (G - 1)) for G clusters."""
    df: float
    """Degrees of freedom of Student's t for the tails."""


def effective_clusters(sizes: Ints) -> float:
    """How many clusters of equal size are worth these *sizes* (Kish, Survey Sampling 1965, section 8.2)."""
    return float(sizes.sum()) ** 2 / float((sizes.astype(float) ** 2).sum())


def resample_clusters(values: Floats, clusters: Ints, resamples: int, rng: np.random.Generator) -> Resampling:
    """Means of the columns of *values* [sample x column] when whole clusters (codes 0..G-1) are drawn anew.

    NaN count neither above nor below the fraction line. Only per-cluster sums are weighted, so the cost
    does not grow with n.
    """
    import numpy as np

    sizes = np.bincount(clusters)
    count = len(sizes)
    known = np.isfinite(values)
    above = np.zeros((count, values.shape[1]))
    below = np.zeros((count, values.shape[1]))
    np.add.at(above, clusters, np.where(known, values, 0.0))
    np.add.at(below, clusters, known.astype(float))
    weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = (weights @ above) / (weights @ below)
    effective = effective_clusters(sizes)
    return Resampling(draws, math.sqrt(effective / (effective - 1)), effective - 1)


def resample_samples(
    values: Floats, strata: Ints | None, resamples: int, rng: np.random.Generator, keys: int | None = None
) -> Resampling:
    """Means of the columns of *values* [sample x column] when samples are drawn anew within each stratum.

    From a stratum of m samples m - 1 are drawn, which makes its variance unbiased even for small m
    (McCarthy & Snowden 1985); strata of one sample are put together. Equal rows share one weight; with very
    many different rows *resamples* falls, never below 2,000. *keys*: the first so many columns determine
    the others.
    """
    import numpy as np

    codes = _no_singletons(np.zeros(len(values), dtype=int) if strata is None else strata)
    key = np.nan_to_num(values[:, :keys], nan=np.inf)
    _, first, counts = np.unique(np.column_stack([codes, key]), axis=0, return_index=True, return_counts=True)
    resamples = min(resamples, max(2_000, 10_000_000 // len(first)))
    rows, of = values[first], codes[first]
    known = np.isfinite(rows)
    both = np.hstack([np.where(known, rows, 0.0), known.astype(float)])
    sums = np.zeros((resamples, both.shape[1]))
    present = np.unique(of)
    for stratum in present:
        here = of == stratum
        size = int(counts[here].sum())
        drawn = max(size - 1, 1)
        for block in _blocks(resamples, max(1, 4_000_000 // size)):
            weights = multinomial_weights(counts[here], drawn, block.stop - block.start, rng)
            sums[block] += (weights @ both[here]) * (size / drawn)
    above, below = np.hsplit(sums, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = above / below
    return Resampling(draws, 1.0, max(1, len(values) - len(present)))


def multinomial_weights(counts: Ints, drawn: int, resamples: int, rng: np.random.Generator) -> Floats:
    """[resample x category]: how often each category comes up in *drawn* draws in proportion to *counts*."""
    import numpy as np

    size, kinds = int(counts.sum()), len(counts)
    if kinds * 8 < drawn:
        return rng.multinomial(drawn, counts / size, size=resamples).astype(float)
    # One binomial per category is slower than one integer per draw once nearly every row is its own category.
    of = np.repeat(np.arange(kinds), counts)[rng.integers(size, size=(resamples, drawn))]
    flat = (of + kinds * np.arange(resamples)[:, None]).ravel()
    return np.bincount(flat, minlength=resamples * kinds).reshape(resamples, kinds).astype(float)


def _blocks(total: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def _no_singletons(strata: Ints) -> Ints:
    import numpy as np

    sizes = np.bincount(strata)
    lone = np.flatnonzero(sizes == 1)
    if lone.size == 0 or len(strata) == 1:
        return strata
    partner = lone[0] if lone.size > 1 else int(np.argmax(sizes))
    return np.where(np.isin(strata, lone), partner, strata)


def expanded_percentiles(resampling: Resampling, alpha: float = 0.05) -> Floats:
    """[2 x column]: bootstrap percentile interval, its tails widened as Student's t is wider than the normal.

    Without this a percentile interval is too short for few clusters (Hesterberg, The American Statistician
    2015, section 3.3).
    """
    import numpy as np
    from scipy.special import ndtr, stdtrit

    tail = float(ndtr(resampling.scale * stdtrit(resampling.df, alpha / 2)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        ends: Floats = np.nanquantile(resampling.draws, [tail, 1 - tail], axis=0)
    return ends


def clustered_t_test(differences: Floats, clusters: Ints) -> tuple[float, float]:
    """Is the mean of paired *differences* 0, when whole clusters were sampled?

    Returns:
        p of Student's t on the cluster-robust standard error (Liang & Zeger 1986; for evaluations Miller,
        arXiv 2411.00640), with the effective number of clusters less one as degrees of freedom, and the
        design effect: clustered variance over that of independent samples. p is 1 where nothing differs,
        the design effect then 1.
    """
    import numpy as np
    from scipy.special import stdtr

    known = np.isfinite(differences)
    given, of = differences[known], clusters[known]
    if not given.any() or len(np.unique(of)) < 2:
        return 1.0, 1.0
    sizes = np.bincount(of)
    effective = effective_clusters(sizes)
    n, mean = len(given), float(given.mean())
    sums = np.bincount(of, weights=given - mean)
    variance = float((sums**2).sum()) * effective / (effective - 1) / n**2
    independent = float(given.var(ddof=1)) / n
    if variance == 0 or independent == 0:
        return (0.0 if mean else 1.0), 1.0
    return float(2 * stdtr(effective - 1, -abs(mean) / math.sqrt(variance))), variance / independent


# ------------------------------ comparison


def sample_matrix(samples: pd.DataFrame, suite: str) -> tuple[pd.DataFrame, pd.Series]:
    """The table [sample x subject] of *suite* from the samples table, and the subset of each sample.

    A subject is named "model (variant)". A question that stands twice in the suite stays two samples. A
    sample that a subject was not asked, or that has no score, is NaN.

    Raises:
        ScoreError: there is no sample of *suite*.
    """
    import numpy as np
    import pandas as pd

    rows = samples[samples["suite"] == suite]
    if rows.empty:
        known = ", ".join(sorted(map(str, samples["suite"].unique()))) or "none"
        raise ScoreError(f"samples: no sample of suite {suite!r}; the table holds: {known}")
    rows = rows[["model", "variant", "subset", "sample_id", "index", "correct"]]
    rows = rows.sort_values("index", kind="stable")
    # Codes instead of texts: at a hundred thousand replies a pivot over texts takes most of the time.
    who, names = pd.factorize(rows["model"].astype(str) + " (" + rows["variant"].astype(str) + ")")
    subset, subsets = pd.factorize(rows["subset"], sort=True)
    sample, samples_ids = pd.factorize(rows["sample_id"], sort=True)
    again = rows.groupby([who, subset, sample], sort=False).cumcount().to_numpy()
    times = int(again.max()) + 1
    keys, place = np.unique((subset * len(samples_ids) + sample) * times + again, return_inverse=True)
    values = np.full((len(keys), len(names)), np.nan)
    values[place, who] = rows["correct"].to_numpy(dtype=float)
    index = pd.MultiIndex.from_arrays(
        [
            subsets.take(keys // times // len(samples_ids)),
            samples_ids.take(keys // times % len(samples_ids)),
            keys % times,
        ],
        names=["subset", "sample_id", "again"],
    )
    matrix = pd.DataFrame(values, index=index, columns=pd.Index(names, name="subject"))
    return matrix, matrix.index.get_level_values("subset").to_series(index=matrix.index)


def compare(
    matrix: pd.DataFrame,
    clusters: pd.Series | None = None,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    alpha: float = 0.05,
    missing: Missing = "wrong",
    subsets: Subsets = "sampled",
    scale: tuple[float, float] = (0.0, 1.0),
    power: float = 0.8,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """What may be said about the subjects of one suite; every subject answered (or failed on) the same
    samples.

    Args:
        matrix: [sample x subject]; 1 right, 0 wrong, NaN no score. Other numbers make it graded.
        clusters: the subset of each sample, aligned with *matrix*; None or a single one: samples are
            independent.
        pairs: compare only these, e.g. (tuned, base) of each model; default: each with each.
        alpha: one minus the confidence of intervals; chance of one or more false differences in the family
            of pairs.
        missing: what a missing sample counts as: "wrong" or "worst" the bottom of *scale*, "best" its top;
            "exclude" leaves it out of the score, and out of a pair if either lacks it. Bounds for all of
            them are returned whatever is chosen, and a difference that missing samples could undo is
            reported as "depends on missing".
        subsets: "sampled": conclusions reach beyond the subsets at hand, whole subsets are resampled;
            "fixed": to new questions of exactly these subsets, questions are resampled within each. Fewer
            than 10 subsets are always fixed.
        scale: lowest and highest possible score, e.g. (1, 5) for Likert ratings.
        power: of :attr:`Comparison.mdd`.
        resamples: bootstrap resamples.
        seed: of the bootstrap; the same table gives the same numbers.

    Raises:
        ScoreError: the table is empty, a score lies outside *scale*, a name is unknown, or *clusters* does
            not fit.
    """
    return compare_suites(
        {"": (matrix, clusters)},
        pairs=pairs,
        alpha=alpha,
        missing=missing,
        subsets=subsets,
        scale=scale,
        power=power,
        resamples=resamples,
        seed=seed,
    )[""]


def compare_suites(
    tables: Mapping[str, tuple[pd.DataFrame, pd.Series | None]],
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    alpha: float = 0.05,
    missing: Missing = "wrong",
    subsets: Subsets = "sampled",
    scale: tuple[float, float] = (0.0, 1.0),
    power: float = 0.8,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Comparison]:
    """:func:`compare` for each suite, with *one* family of pairs over all of them.

    Six equal models on five suites are 75 pairs: adjusted suite by suite, about one report in five would
    hold a false difference; adjusted together, at most one in twenty. *tables*: suite -> (matrix,
    clusters). Chosen *pairs* are compared where a suite holds both names.
    """
    import pandas as pd

    measured = {
        suite: _measure(
            matrix,
            clusters,
            pairs if pairs is None or len(tables) == 1 else [p for p in pairs if {*p} <= {*matrix.columns}],
            alpha,
            missing,
            subsets,
            scale,
            resamples,
            seed,
        )
        for suite, (matrix, clusters) in tables.items()
    }
    family = sum(len(one.pairs) for one in measured.values())
    adjusted = iter(holm([row["p"] for one in measured.values() for row in one.pairs]))
    least = iter(holm([row["p_least"] for one in measured.values() for row in one.pairs]))
    result = {}
    for suite, one in measured.items():
        rates = [row.pop("discordance") for row in one.pairs]
        for row, rate in zip(one.pairs, rates, strict=True):
            row["p_adjusted"] = next(adjusted)
            row["mdd"] = minimum_detectable_difference(
                row["n"], rate, alpha, power, family, one.design_effect
            )
            row["verdict"] = _verdict(row, alpha, robust=next(least) < alpha)
            row["words"] = _words(row, alpha, one.percent)
        different = [(row["a"], row["b"]) for row in one.pairs if row["verdict"] in ("ahead", "behind")]
        order = one.scores.sort_values("value", ascending=False, kind="stable")["subject"]
        typical = sum(rates) / len(rates) if rates else 0.25
        result[suite] = Comparison(
            scores=one.scores,
            pairs=pd.DataFrame(one.pairs, columns=list(_PAIR_COLUMNS)),
            groups=tie_groups(list(order), different) if pairs is None else {},
            mdd=minimum_detectable_difference(
                one.n, typical, alpha, power, max(family, 1), one.design_effect
            ),
            family=family,
            alpha=alpha,
            missing=missing,
            method=one.method,
        )
    return result


class _Measured(NamedTuple):
    scores: pd.DataFrame
    pairs: list[dict[str, Any]]
    n: int
    design_effect: float
    percent: bool
    method: str


def _measure(
    matrix: pd.DataFrame,
    clusters: pd.Series | None,
    pairs: Sequence[tuple[str, str]] | None,
    alpha: float,
    missing: Missing,
    subsets: Subsets,
    scale: tuple[float, float],
    resamples: int,
    seed: int,
) -> _Measured:
    import numpy as np
    import pandas as pd

    if missing not in ("wrong", "worst", "best", "exclude"):
        raise ScoreError(f"compare: missing must be wrong, worst, best or exclude, not {missing!r}")
    names, given = _check(matrix, scale)
    codes = _codes(matrix, clusters)
    chosen = list(combinations(names, 2)) if pairs is None else list(pairs)
    unknown = sorted({str(name) for pair in chosen for name in pair} - set(names))
    if unknown:
        raise ScoreError(f"compare: pairs name {', '.join(unknown)}; the table holds: {', '.join(names)}")
    a = np.array([names.index(first) for first, _ in chosen], dtype=int)
    b = np.array([names.index(second) for _, second in chosen], dtype=int)

    bottom, top = scale
    absent = np.isnan(given)
    binary = scale == (0.0, 1.0) and bool(np.isin(given[~absent], (0.0, 1.0)).all())
    lowest, highest = np.where(absent, bottom, given), np.where(absent, top, given)
    values = {"wrong": lowest, "worst": lowest, "best": highest, "exclude": given}[missing]
    differences = values[:, a] - values[:, b]
    against, favour = lowest[:, a] - highest[:, b], highest[:, a] - lowest[:, b]
    gone = absent[:, a] | absent[:, b]

    groups = 1 if codes is None else int(codes.max()) + 1
    sampled = codes if subsets == "sampled" and groups >= FEWEST_CLUSTERS else None
    ends: Floats | None = None
    shares: Floats | None = None
    method = "Wilson; Agresti-Min for differences"
    if not binary or groups > 1:
        known_differences = np.isfinite(differences)
        won, apart = (
            np.where(differences > 0, 1.0, 0.0),
            np.where(differences != 0, 1.0, 0.0) * known_differences,
        )
        columns = np.hstack([values, differences, won, apart] if binary else [values, differences])
        rng = np.random.default_rng(seed)
        if sampled is None:
            resampling = resample_samples(columns, codes, resamples, rng, keys=len(names))
            method = "bootstrap of samples" + (f" within {groups} fixed subsets" if groups > 1 else "")
        else:
            resampling = resample_clusters(columns, sampled, resamples, rng)
            method = f"bootstrap of {groups} subsets, taken as a sample of subsets"
        plain = len(names) + len(chosen)
        ends = expanded_percentiles(resampling._replace(draws=resampling.draws[:, :plain]), alpha)
        if binary:
            above, below = np.hsplit(resampling.draws[:, plain:], 2)
            share = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
            shares = expanded_percentiles(resampling._replace(draws=share), alpha)

    scores = []
    for place, name in enumerate(names):
        column = values[:, place][np.isfinite(values[:, place])]
        n, total = len(column), float(column.sum())
        closed = binary and (ends is None or min(total, n - total) < FEWEST_EVENTS)
        low, high = wilson(total, n, alpha) if closed or ends is None else ends[:, place]
        scores.append(
            {
                "subject": name,
                "value": total / n if n else math.nan,
                "low": float(low),
                "high": float(high),
                "worst": float(lowest[:, place].mean()),
                "best": float(highest[:, place].mean()),
                "n": n,
                "n_missing": int(absent[:, place].sum()),
                "method": "Wilson" if closed else method,
            }
        )

    exact = _sample_level_p(differences, binary, seed)
    means = [
        float(d.mean()) if len(d := column[np.isfinite(column)]) else math.nan for column in differences.T
    ]
    unlucky = np.where(np.array(means) > 0, against, favour)
    exact_unlucky = _sample_level_p(unlucky, binary, seed) if gone.any() else exact
    rows, design = [], []
    for place, (name_a, name_b) in enumerate(chosen):
        d = differences[:, place]
        known = np.isfinite(d)
        d, n = d[known], int(known.sum())
        only_a, only_b = int((d > 0).sum()), int((d < 0).sum())
        clustered, effect = (
            (math.nan, 1.0) if sampled is None else clustered_t_test(differences[:, place], sampled)
        )
        design.append(effect)
        p = p_least = float(np.nanmax([exact[place], clustered]))
        if gone[:, place].any():
            undone = not float(unlucky[:, place].mean()) * means[place] > 0
            again = math.nan if sampled is None else clustered_t_test(unlucky[:, place], sampled)[0]
            p_least = 1.0 if undone else float(np.nanmax([p, exact_unlucky[place], again]))
        closed = binary and (ends is None or only_a + only_b < FEWEST_EVENTS)
        low, high = (
            agresti_min(only_a, only_b, n, alpha) if closed or ends is None else ends[:, len(names) + place]
        )
        if binary:
            size, size_ends = matched_odds_ratio(only_a, only_b, alpha)
            if not closed and shares is not None:
                size_ends = Interval(*(_odds(float(end)) for end in shares[:, place]))
        else:
            size, size_ends = _dz(d, float(low), float(high))
        rows.append(
            {
                "a": name_a,
                "b": name_b,
                "n": n,
                "n_missing": int(gone[:, place].sum()),
                "only_a": only_a,
                "only_b": only_b,
                "difference": means[place],
                "low": float(low),
                "high": float(high),
                "worst": float(against[:, place].mean()),
                "best": float(favour[:, place].mean()),
                "p_mcnemar": float(exact[place]) if binary else math.nan,
                "p_permutation": math.nan if binary else float(exact[place]),
                "p_clustered": clustered,
                "p": p,
                "p_least": p_least,
                "effect": size,
                "effect_low": size_ends.low,
                "effect_high": size_ends.high,
                "effect_name": "matched odds ratio" if binary else "Cohen's dz",
                "cohens_h": cohens_h(*values[known][:, [a[place], b[place]]].mean(axis=0))
                if binary and n
                else math.nan,
                # Half a disagreement each way: two identical columns must not promise an infinitely sharp
                # test.
                "discordance": (only_a + only_b + 1) / (n + 2) if binary else float((d**2).mean()),
            }
        )
    return _Measured(
        pd.DataFrame(scores),
        rows,
        len(given),
        max(1.0, float(np.median(design))) if design else 1.0,
        scale == (0.0, 1.0),
        method,
    )


_PAIR_COLUMNS = (
    *("a", "b", "n", "n_missing", "only_a", "only_b", "difference", "low", "high", "worst", "best"),
    *("p_mcnemar", "p_permutation", "p_clustered", "p", "p_least", "p_adjusted"),
    *("effect", "effect_low", "effect_high", "effect_name", "cohens_h", "mdd", "verdict", "words"),
)


def _check(matrix: pd.DataFrame, scale: tuple[float, float]) -> tuple[list[str], Floats]:
    import numpy as np

    names = [str(name) for name in matrix.columns]
    if matrix.empty:
        raise ScoreError(
            "compare: the table has no samples or no subjects; give one row per sample, one column each"
        )
    if len(set(names)) < len(names):
        raise ScoreError("compare: a subject stands twice in the table; name each column differently")
    given = matrix.to_numpy(dtype=float, na_value=np.nan)
    outside = given[np.isfinite(given) & ((given < scale[0]) | (given > scale[1]))]
    if outside.size or np.isinf(given).any():
        value = float(outside[0]) if outside.size else math.inf
        raise ScoreError(f"compare: score {value:g} lies outside scale {scale}; pass scale=(lowest, highest)")
    return names, given


def _codes(matrix: pd.DataFrame, clusters: pd.Series | None) -> Ints | None:
    """Subset codes 0..G-1 of the rows, or None where there is no more than one subset."""
    import numpy as np

    if clusters is None:
        return None
    if len(clusters) != len(matrix) or not clusters.index.equals(matrix.index):
        raise ScoreError(
            f"compare: clusters ({len(clusters)} rows) is not aligned with the table ({len(matrix)} rows); "
            "give one subset per sample under the same index"
        )
    if clusters.isna().any():
        raise ScoreError("compare: a sample has no subset; name one, or pass clusters=None")
    present, codes = np.unique(clusters.astype(str).to_numpy(dtype=str), return_inverse=True)
    return codes if len(present) > 1 else None


def _sample_level_p(differences: Floats, binary: bool, seed: int) -> Floats:
    """[pair]: exact McNemar for right/wrong, sign flips for graded scores."""
    import numpy as np

    if not binary:
        return sign_flip_tests(differences, seed=seed)
    wins, losses = (differences > 0).sum(axis=0), (differences < 0).sum(axis=0)
    return np.array([mcnemar(int(won), int(lost)) for won, lost in zip(wins, losses, strict=True)])


def _dz(d: Floats, low: float, high: float) -> tuple[float, Interval]:
    """Cohen's dz, the mean of paired differences *d* in their standard deviations, from the mean's interval.

    The ends are moved out by sqrt(1 + dz^2 / 2), for the standard deviation is estimated too (Hedges &
    Olkin 1985, section 5).
    """
    spread = float(d.std(ddof=1)) if len(d) > 1 else 0.0
    if spread == 0:
        return math.nan, Interval(math.nan, math.nan)
    dz = float(d.mean()) / spread
    wider = math.sqrt(1 + dz**2 / 2)
    return dz, Interval(*(dz + (end / spread - dz) * wider for end in (low, high)))


def _verdict(row: Mapping[str, Any], alpha: float, robust: bool) -> str:
    if not row["p_adjusted"] < alpha:
        return "tie"
    if not robust:
        return "depends on missing"
    return "ahead" if row["difference"] > 0 else "behind"


def _words(row: Mapping[str, Any], alpha: float, percent: bool) -> str:
    unit, by = (" points", 100) if percent else ("", 1)
    sign = -1 if row["difference"] < 0 else 1
    ahead, behind = (row["a"], row["b"]) if sign > 0 else (row["b"], row["a"])
    low, high = sorted((sign * row["low"] * by, sign * row["high"] * by))
    numbers = (
        f"{abs(row['difference']) * by:.1f}{unit} ({1 - alpha:.0%} interval {low:.1f} to {high:.1f}; "
        f"adjusted p = {row['p_adjusted']:.2g})"
    )
    if row["verdict"] == "tie":
        return f"{ahead} and {behind} cannot be told apart on {row['n']} samples: {numbers}"
    doubt = f", but {row['n_missing']} missing samples could undo that"
    return (
        f"{ahead} is ahead of {behind} by {numbers}{doubt if row['verdict'] == 'depends on missing' else ''}"
    )
