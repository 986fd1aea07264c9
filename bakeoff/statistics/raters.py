"""What ratings say about models; cases and raters are both a sample.

Averaging over raters first, and testing over cases alone, answers for exactly these raters: more cases then
make a difference between *their* tastes ever more certain. Here cases and raters are both random and models
fixed (multi-reader multi-case analysis: Dorfman, Berbaum & Metz 1992; Obuchowski & Rockette 1995; degrees of
freedom by Satterthwaite's rule as in Hillis 2007). docs/statistics.md has it in plain words, and
bench/claims.py measures that it keeps its promise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from bakeoff.foundation.errors import ScoreError
from bakeoff.foundation.sentences import plural
from bakeoff.statistics.crossed import Squares, at_least_a_case, mean_error, mean_squares, variance_parts
from bakeoff.statistics.intervals import bounded_interval
from bakeoff.statistics.scatter import pair_errors
from bakeoff.statistics.significance import PairsOf, shaffer, tie_groups
from bakeoff.statistics.study import why_no_letters

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


Name = TypeVar("Name")


@dataclass(frozen=True)
class Ratings:
    """Ratings of every model's reply to every case by every rater.

    Attributes:
        cube: [case x model x rater], NaN for none.
        models, cases, raters: what the three axes are.
    """

    cube: Floats
    models: tuple[str, ...]
    cases: tuple[str, ...]
    raters: tuple[str, ...]

    @classmethod
    def of(cls, table: pd.DataFrame) -> Ratings:
        """Return the ratings of *table*: rows of case, model, rater, score.

        Repeats of a rater are averaged.
        """
        import numpy as np

        rows = table.dropna(subset=["score"])
        axes = [sorted(map(str, rows[name].unique())) for name in ("case", "model", "rater")]
        total, count = np.zeros([len(axis) for axis in axes]), np.zeros([len(axis) for axis in axes])
        places = tuple(
            rows[name].astype(str).map({label: place for place, label in enumerate(axis)}).to_numpy(dtype=int)
            for name, axis in zip(("case", "model", "rater"), axes, strict=True)
        )
        np.add.at(total, places, rows["score"].to_numpy(dtype=float))
        np.add.at(count, places, 1.0)
        cube = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        return cls(cube, tuple(axes[1]), tuple(axes[0]), tuple(axes[2]))


@dataclass(frozen=True)
class Pair:
    """Two models: *difference* is the mean of a minus that of b, in points of the scale.

    ``p_adjusted`` and ``verdict`` ("ahead", "behind", "tie"; "untested" where nothing could come out) follow from
    the correction over the family.
    """

    a: str
    b: str
    difference: float
    low: float
    high: float
    df: float
    p: float
    p_adjusted: float
    verdict: str


@dataclass(frozen=True)
class Score:
    """The mean of one model over cases and raters, with its interval; NaN ends where none can be given."""

    subject: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rated:
    """What may be said about the models of one table of ratings.

    Attributes:
        scores, pairs: of the complete block of cases and raters; means of all ratings where no block is complete.
        groups: letters per model; empty where nothing could come out.
        variance: variance part -> points squared: case, rater, case x model, rater x model, case x rater, rest.
        cases, raters: how many stand in the complete block.
        left_out: cases, raters and models with gaps that the comparison leaves out, by name.
        why: why there are no letters, and what a study needs for them, in English and Chinese; empty with letters.
    """

    scores: tuple[Score, ...]
    pairs: tuple[Pair, ...]
    groups: Mapping[str, str]
    variance: Mapping[str, float]
    cases: int
    raters: int
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    why: tuple[str, str] = ("", "")


class Block(NamedTuple):
    """Ratings without gaps: [case x model x rater], what its axes are, and what was left out for it."""

    cube: Floats
    cases: tuple[str, ...]
    models: tuple[str, ...]
    left_out: dict[str, tuple[str, ...]]


def complete_block(ratings: Ratings) -> Block:
    """Return the block without gaps; what has most of them goes first.

    A model is left out only where it lacks more than half of the ratings of the others' cases and raters.
    """
    import numpy as np

    axes = (list(ratings.cases), list(ratings.models), list(ratings.raters))
    cube, dropped = ratings.cube, ([], [], [])  # type: ignore[var-annotated]
    while cube.size and np.isnan(cube).any():
        gaps = [np.isnan(cube).mean(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
        worst = [float(share.max()) for share in gaps]
        worst[1] = worst[1] if worst[1] > 0.5 else -1.0
        # A case is the smallest loss; raters are few, and a model is what the study is about.
        axis = max((0, 2, 1), key=lambda at: worst[at])
        place = int(gaps[axis].argmax())
        dropped[axis].append(axes[axis].pop(place))
        cube = np.delete(cube, place, axis=axis)
    left_out = {
        name: tuple(gone) for name, gone in zip(("cases", "models", "raters"), dropped, strict=True) if gone
    }
    return Block(cube, tuple(axes[0]), tuple(axes[1]), left_out)


def compare_ratings(
    tables: Mapping[str, Ratings],
    *,
    alpha: float = 0.05,
    scale: tuple[float, float] = (1.0, 5.0),
) -> dict[str, Rated]:
    """Compare the models of each table, with one family of pairs.

    A table is a dimension or a part; Shaffer's correction spans the pairs of all of them. Cases and raters are random,
    models fixed: a difference that is called so is to be expected of other raters and other cases, too. Ratings that
    lack somewhere are left out with their case or rater, and named.

    Raises:
        ScoreError: a rating outside *scale*.
    """
    blocks = {name: complete_block(ratings) for name, ratings in tables.items()}
    drafts = {name: _draft(tables[name], block, alpha, scale) for name, block in blocks.items()}
    return decided(drafts, alpha)


def decided(drafts: Mapping[str, Rated], alpha: float) -> dict[str, Rated]:
    """Return *drafts* with adjusted p, verdicts and letters.

    Shaffer's correction spans the pairs of all of them that have no reason against letters.
    """
    adjusted = adjusted_pairs({name: draft.pairs for name, draft in drafts.items() if not draft.why[0]})
    return {name: _judged(draft, adjusted.get(name, ()), alpha) for name, draft in drafts.items()}


class TestedPair(Protocol):
    """Two models and the p of their difference, however a room calls them."""

    @property
    def a(self) -> str:
        """Return the first."""

    @property
    def b(self) -> str:
        """Return the second."""

    @property
    def p(self) -> float:
        """Return the p of their difference."""


def adjusted_pairs(tables: Mapping[Name, Sequence[TestedPair]]) -> dict[Name, list[float]]:
    """Return the p of every pair by table, adjusted over all of them."""
    families = [
        PairsOf([(pair.a, pair.b) for pair in pairs], [pair.p for pair in pairs]) for pairs in tables.values()
    ]
    return dict(zip(tables, shaffer(families), strict=True))


def _judged(draft: Rated, adjusted: Sequence[float], alpha: float) -> Rated:
    pairs = []
    for place, pair in enumerate(draft.pairs):
        p = adjusted[place] if adjusted else math.nan
        verdict = "untested" if math.isnan(p) else "tie"
        if p < alpha:
            verdict = "ahead" if pair.difference > 0 else "behind"
        pairs.append(replace(pair, p_adjusted=p, verdict=verdict))
    order = [score.subject for score in sorted(draft.scores, key=lambda score: -score.value)]
    different = [(pair.a, pair.b) for pair in pairs if pair.verdict in ("ahead", "behind")]
    compared = {pair.a for pair in pairs} | {pair.b for pair in pairs}
    groups = {} if draft.why[0] else tie_groups([name for name in order if name in compared], different)
    return replace(draft, pairs=tuple(pairs), groups=groups)


def _draft(ratings: Ratings, block: Block, alpha: float, scale: tuple[float, float]) -> Rated:
    import numpy as np

    values = ratings.cube[np.isfinite(ratings.cube)]
    if values.size and (values.min() < scale[0] or values.max() > scale[1]):
        outside = values[(values < scale[0]) | (values > scale[1])][0]
        raise ScoreError(
            f"compare_ratings: rating {outside:g} lies outside scale {scale}; pass scale=(lowest, highest)"
        )
    cube = block.cube
    cases, models, raters = cube.shape
    if not cube.size:
        cases = models = raters = 0
    scores = [
        _loose_score(ratings, name, scale, alpha) for name in ratings.models if name not in block.models
    ]
    why = why_no_letters(cases, raters, max(2, models), alpha) if len(ratings.models) > 1 else ("", "")
    if why[0] and block.left_out and not why_no_letters(*_whole(ratings), alpha)[0]:
        why = _too_many_gaps(cases, raters, block.left_out)
    if cases < 2:
        rest = [_loose_score(ratings, name, scale, alpha) for name in block.models]
        return Rated(tuple(scores + rest), (), {}, {}, cases, raters, block.left_out, why)
    squares = mean_squares(cube)
    for place, name in enumerate(block.models):
        mean = float(cube[:, place].mean())
        ends = bounded_interval(mean, mean_error(cube, place, squares), cases, scale, alpha, raters)
        scores.append(Score(name, mean, *ends))
    pairs = _pairs(cube, block.models, squares, alpha, scale) if raters > 1 else ()
    parts = variance_parts(cube)
    return Rated(tuple(scores), pairs, {}, parts, cases, raters, block.left_out, why)


def _whole(ratings: Ratings) -> tuple[int, int, int]:
    return len(ratings.cases), len(ratings.raters), len(ratings.models)


def _too_many_gaps(cases: int, raters: int, left_out: Mapping[str, tuple[str, ...]]) -> tuple[str, str]:
    gone = ", ".join(f"{len(names)} {plural(len(names), kind[:-1])}" for kind, names in left_out.items())
    rated = (
        f"only {cases} {plural(cases, 'case')} {'was' if cases == 1 else 'were'} rated for every model by the same "
        f"{raters} {plural(raters, 'rater')}"
        if cases
        else "no case was rated for every model by the same raters"
    )
    rated_zh = (
        f"所有模型都由同一批评分者评过的只有 {cases} 个个案、{raters} 位评分者"
        if cases
        else "没有一个个案的所有模型都由同一批评分者评过"
    )
    return (
        f"no letters: {rated} ({gone} with gaps are left out); let the raters finish their queues",
        f"不给出字母分组：{rated_zh}；请评分者评完各自的队列",
    )


def _loose_score(ratings: Ratings, name: str, scale: tuple[float, float], alpha: float) -> Score:
    """Return the mean of a model that no complete block holds.

    Over the ratings that it has; the interval is over cases.
    """
    import numpy as np

    cube = ratings.cube[:, ratings.models.index(name), :]
    cells = [float(row[np.isfinite(row)].mean()) for row in cube if np.isfinite(row).any()]
    if len(cells) < 2:
        return Score(name, cells[0] if cells else math.nan, math.nan, math.nan)
    mean = float(np.mean(cells))
    error = (float(np.var(cells, ddof=1)) / len(cells), len(cells) - 1.0)
    return Score(name, mean, *bounded_interval(mean, error, len(cells), scale, alpha))


def _pairs(
    cube: Floats, names: Sequence[str], squares: Squares, alpha: float, scale: tuple[float, float]
) -> tuple[Pair, ...]:
    from scipy.special import stdtr, stdtrit

    cases, models, raters = cube.shape
    if models < 2:
        return ()
    width, size = scale[1] - scale[0], (cases, models, raters)
    pairs = []
    for (a, b), error in zip(combinations(range(models), 2), pair_errors(cube, squares), strict=True):
        variance, freedom = at_least_a_case(error, size, width)
        apart, spread = float(cube[:, a].mean() - cube[:, b].mean()), math.sqrt(variance)
        reach = float(stdtrit(freedom, 1 - alpha / 2)) * spread
        p = 2 * float(stdtr(freedom, -abs(apart) / spread))
        low, high = max(-width, apart - reach), min(width, apart + reach)
        pairs.append(Pair(names[a], names[b], apart, low, high, freedom, p, math.nan, "untested"))
    return tuple(pairs)
