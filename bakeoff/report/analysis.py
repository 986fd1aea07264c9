"""From findings to what may be said: per suite the scores, their intervals, tie groups and differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bakeoff.report.claims import recipe_comparisons, retentions
from bakeoff.report.findings import Findings, Subject
from bakeoff.scoring.scores import CRISIS
from bakeoff.sentences import statement_of

if TYPE_CHECKING:
    import pandas as pd

    from bakeoff.statistics.comparison import Comparison
    from bakeoff.statistics.recipes import Recipes
    from bakeoff.statistics.retention import Retention


_GONE = -1.0
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
        """Put everything into the order of the leaderboard: models as in *order*, the tuned one before its base."""
        place = {model: number for number, model in enumerate(order)}

        def key(subject: Any) -> tuple[int, bool, str]:
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
        """Why the score in that place of ``subsets`` is invalid; None where it is not."""
        subject = Subject(*map(str, tuple(self.subsets.columns[column])))
        return self.invalid_subsets.get((subset, subject))

    def pair(self, a: Subject, b: Subject) -> Difference | None:
        """*a* minus *b*, if they were compared."""
        for one in self.pairs:
            if (one.a, one.b) == (a, b):
                return one
            if (one.a, one.b) == (b, a):
                return one.reversed()
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


def headline_metric(findings: Findings, suite: str) -> str:
    """The metric that the suite is compared by: the one which the per-sample verdicts average to.

    A suite may report several metrics while each sample carries one verdict; tests on samples speak about the
    metric whose totals lie closest to the samples' means. Without samples it is the first one reported.
    """
    totals = findings.scores[(findings.scores["suite"] == suite) & (findings.scores["subset"] == "ALL")]
    metrics = [str(one) for one in dict.fromkeys(totals["metric"])]
    own = findings.samples_by_suite.get(suite)
    if len(metrics) < 2 or own is None:
        return metrics[0] if metrics else ""
    means = own.groupby(["model", "variant"], observed=True)["correct"].mean()
    joined = totals.join(means.rename("mean_correct"), on=["model", "variant"])
    joined = joined[joined["trusted"]] if joined["trusted"].any() else joined
    distance = (joined["value"] - joined["mean_correct"]).abs().groupby(joined["metric"]).mean()
    return min(metrics, key=lambda one: (distance.get(one, math.inf), metrics.index(one)))


@lru_cache(maxsize=1)  # the page and the tables are made from one analysis
def analyse(findings: Findings) -> Analysis:
    """Everything that may be said about *findings*.

    Three families of differences, each corrected as a whole over all suites: between the models as delivered, between
    their bases, and tuned against base. Scores that cannot be trusted take part in none.
    """
    from bakeoff.statistics.comparison import compare, compare_suites

    views = [_suite_view(findings, suite) for suite in findings.suites]
    tables = {}
    own_intervals: dict[tuple[str, str], Mapping[Any, Any]] = {}
    for view in views:
        asked, clusters = _asked(findings, view)
        shared = asked.notna().all(axis=1)
        if asked.columns.empty or not shared.any():
            continue
        matrix = asked.where(asked != _GONE)
        tables[view.name] = matrix.loc[shared], clusters[shared]
        view.n_compared = int(shared.sum())
        for name in asked.columns[asked.notna().sum() > view.n_compared]:
            its = asked[
                name
            ].notna()  # a score on more questions than the shared ones has its interval on all of them
            alone = compare(matrix.loc[its, [name]], clusters[its], pairs=[])
            own_intervals[view.name, name] = alone.scores.iloc[0].to_dict()
    models = findings.models
    # further seeds of a recipe are no models of their own: the recipes are compared instead
    firsts = {children[0] for children in findings.recipes.values()}
    by_model = {
        model: [s for s in findings.subjects if s.model == model] for model in models if model in firsts
    }
    tuning_pairs = [(str(own[-1]), str(own[0])) for own in by_model.values() if len(own) > 1]
    delivered = [own[-1] for own in by_model.values() if own]
    bases = [own[0] for own in by_model.values() if len(own) > 1 or (own and own[0].variant == "base")]

    scored = {name for matrix, _ in tables.values() for name in matrix.columns}
    tuning_pairs = [pair for pair in tuning_pairs if scored.issuperset(pair)]
    everyone = compare_suites(tables, pairs=tuning_pairs) if tables else {}
    first = compare_suites(_only(tables, delivered))
    second = compare_suites(_only(tables, bases)) if bases != delivered else {}
    names = {str(subject): subject for subject in findings.subjects}
    for view in views:
        if view.name not in everyone:
            continue
        own, between = everyone[view.name], first.get(view.name)
        view.method = own.method
        view.tuning = {d.a.model: d for d in _differences(view.name, own, names)}
        if between is not None:
            view.pairs = _differences(view.name, between, names)
            view.mdd, view.least = between.mdd, between.least
        based = second.get(view.name)
        view.base_pairs = _differences(view.name, based, names) if based is not None else []
        letters = {
            **{name: own.lower() for name, own in (based.groups if based is not None else {}).items()},
            **(between.groups if between is not None else {}),
        }
        intervals = {row["subject"]: row for row in own.scores.to_dict("records")}
        for subject, cell in view.cells.items():
            row = own_intervals.get((view.name, str(subject))) or intervals.get(str(subject))
            if row is not None and cell.ranked:
                view.cells[subject] = _with(cell, row, letters.get(str(subject), ""))
        view.delivered = [
            cell.subject for cell in view.ordered() if cell.ranked and cell.subject in delivered
        ]
    retained = retentions(findings, tables, tuning_pairs)
    compared = recipe_comparisons(findings, tables)
    for view in views:
        view.retention = {names[each.name].model: each for each in retained if each.suite == view.name}
        view.recipes = compared.get(view.name)
    order = _order(models, delivered, views)
    for view in views:
        view.arrange(order)
    return Analysis(
        views=views,
        order=order,
        family=next((one.family for one in first.values()), 0),
        tuning_family=next((one.family for one in everyone.values()), 0),
    )


def _asked(findings: Findings, view: SuiteView) -> tuple[pd.DataFrame, pd.Series]:
    """Verdicts [sample x trusted subject] and the subset of each sample.

    NaN: the subject was not asked; ``_GONE``: it was, but there is no reply to grade (not answered and not graded as
    right), which the tests count as wrong, saying when that decides.
    """
    import pandas as pd

    from bakeoff.statistics.tables import sample_matrix

    trusted = {str(cell.subject) for cell in view.cells.values() if cell.ranked}
    own = findings.samples_by_suite.get(view.name)
    if own is None or not trusted:
        return pd.DataFrame(), pd.Series(dtype=object)
    gone = (own["status"] != "answered") & ~(own["correct"] > 0)
    coded = own[["suite", "model", "variant", "subset", "sample_id", "index"]].assign(
        correct=own["correct"].mask(gone, _GONE)
    )
    asked, clusters = sample_matrix(coded, view.name)
    return asked[[name for name in asked.columns if name in trusted]], clusters


def _only(
    tables: Mapping[str, tuple[pd.DataFrame, pd.Series]], subjects: Sequence[Subject]
) -> dict[str, tuple[pd.DataFrame, pd.Series | None]]:
    wanted = {str(subject) for subject in subjects}
    chosen: dict[str, tuple[pd.DataFrame, pd.Series | None]] = {}
    for suite, (matrix, clusters) in tables.items():
        columns = [name for name in matrix.columns if name in wanted]
        if len(columns) > 1:
            chosen[suite] = (matrix[columns], clusters)
    return chosen


def _differences(suite: str, comparison: Comparison, names: Mapping[str, Subject]) -> list[Difference]:
    return [
        Difference(
            suite=suite,
            a=names[row["a"]],
            b=names[row["b"]],
            n=int(row["n"]),
            value=float(row["difference"]),
            low=float(row["low"]),
            high=float(row["high"]),
            p=float(row["p_adjusted"]),
            effect=float(row["effect"]),
            effect_low=float(row["effect_low"]),
            effect_high=float(row["effect_high"]),
            effect_name=str(row["effect_name"]),
            verdict=str(row["verdict"]),
            only_a=int(row["only_a"]),
            only_b=int(row["only_b"]),
            mdd=float(row["mdd"]),
        )
        for row in comparison.pairs.to_dict("records")
    ]


def _order(models: Sequence[str], delivered: Sequence[Subject], views: Sequence[SuiteView]) -> list[str]:
    """Models by mean over the suites on which all that can be ranked at all have a score; the rest keep their order.

    The suite of crises is no part of a mean.
    """
    views = [view for view in views if view.name != CRISIS]
    values = {
        subject.model: {view.name: view.cells[subject].value for view in views if _ranked(view, subject)}
        for subject in delivered
    }
    rankable = {model: own for model, own in values.items() if own}
    shared = set.intersection(*(set(own) for own in rankable.values())) if rankable else set()
    if not shared:
        return list(models)
    mean = {model: sum(own[suite] for suite in shared) / len(shared) for model, own in rankable.items()}
    return sorted(models, key=lambda model: (-mean.get(model, -math.inf), models.index(model)))


def _ranked(view: SuiteView, subject: Subject) -> bool:
    return subject in view.cells and view.cells[subject].ranked


def _suite_view(findings: Findings, suite: str) -> SuiteView:
    scores = findings.scores[findings.scores["suite"] == suite]
    metric = headline_metric(findings, suite)
    head = scores[scores["metric"] == metric]
    totals = head[head["subset"] == "ALL"].drop_duplicates(["model", "variant"], keep="last")
    own = findings.samples_by_suite.get(suite, findings.samples.iloc[:0])
    leaked = own[own["leaked"]].groupby(["model", "variant"], observed=True).size()
    rows = {Subject(str(row["model"]), str(row["variant"])): row for row in totals.to_dict("records")}
    cells = {
        subject: _cell(subject, suite, rows[subject], int(leaked.get(tuple(subject), 0)))
        for subject in findings.subjects
        if subject in rows
    }
    others: dict[str, dict[Subject, float]] = {}
    rest = scores[(scores["metric"] != metric) & (scores["subset"] == "ALL") & scores["trusted"]]
    for row in rest.to_dict("records"):
        others.setdefault(str(row["metric"]), {})[Subject(str(row["model"]), str(row["variant"]))] = row[
            "value"
        ]
    subsets, invalid, sizes = _subset_values(head, [s for s, cell in cells.items() if cell.trusted])
    return SuiteView(
        name=suite,
        metric=metric,
        cells=cells,
        other_metrics=others,
        subsets=subsets,
        subset_sizes=sizes,
        invalid_subsets=invalid,
        interest=findings.interest.get(suite, INTEREST),
        n_questions=int(totals["n_asked"].max()) if len(totals) else 0,
    )


def _subset_values(
    head: pd.DataFrame, sure: Sequence[Subject]
) -> tuple[pd.DataFrame, dict[tuple[str, Subject], str], dict[str, int]]:
    """Value [subset x subject], NaN where it is invalid; why it is; and how many questions each subset has."""
    keys = ["model", "variant"]
    parts = head[head["subset"] != "ALL"].drop_duplicates(["subset", *keys], keep="last")
    parts = parts[parts.set_index(keys).index.isin(sure)]
    invalid = {
        (str(row["subset"]), Subject(str(row["model"]), str(row["variant"]))): statement_of(row, "why_not")
        for row in parts[~parts["trusted"]].to_dict("records")
    }
    order = parts["subset"].drop_duplicates()
    columns = parts[keys].drop_duplicates()
    values = parts.assign(value=parts["value"].where(parts["trusted"])).set_index(["subset", *keys])["value"]
    table = values.unstack(keys).reindex(order) if len(parts) else values.unstack(keys)
    table = table[[tuple(pair) for pair in columns.to_numpy()]] if len(parts) else table
    sizes = parts.groupby("subset", sort=False)["n_asked"].max()
    return table, invalid, {str(subset): int(n) for subset, n in sizes.items()}


def _cell(subject: Subject, suite: str, row: Mapping[Any, Any], n_leaked: int) -> Cell:
    missing = {kind: int(row[f"n_{kind}"]) for kind in ("unparsed", "empty", "truncated", "errored")}
    return Cell(
        subject=subject,
        suite=suite,
        value=float(row["value"]),
        low=math.nan,
        high=math.nan,
        letters="",
        n_asked=int(row["n_asked"]),
        n_answered=int(row["n_answered"]),
        missing={kind: count for kind, count in missing.items() if count},
        worst=float(row["worst"]),
        best=float(row["best"]),
        chance=float(row["chance"]),
        trusted=bool(row["trusted"]),
        why_not=statement_of(row, "why_not"),
        few_shot=int(row["few_shot"]),
        fingerprint=str(row["fingerprint"]),
        n_leaked=n_leaked,
    )


def _with(cell: Cell, row: Mapping[Any, Any], letters: str) -> Cell:
    from dataclasses import replace

    return replace(cell, low=float(row["low"]), high=float(row["high"]), letters=letters)
