"""Do claims hold about recipes, what tuning lost, and judge models?

Parts of claims.py.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from batched import Floats, compare_recipes
from limits import head, line, mark
from populations import BIASES, Panel, Training, answers, blocks, likert, share_right

from bakeoff.statistics.prediction import corrected_mean, corrected_ratings
from bakeoff.statistics.raters import Ratings
from bakeoff.statistics.retention import judged, retention
from bakeoff.statistics.significance import mcnemar

NAIVE = 200
"""Studies per line of the usual mistake, which needs no more to be seen."""


def seeds(runs: int) -> None:
    """Equal recipes, each trained under several seeds."""
    head(
        *("questions", "recipes", "seeds", "seed SD, points", "one run each: false, %"),
        *("false, %", "pair, %", "mean, %"),
    )
    trainings = (
        *(Training(questions, 6, 3, 0.01) for questions in (232, 1_346, 11_582)),
        *(Training(1_346, 6, 3, sd) for sd in (0.0, 0.03)),
        *(Training(1_346, 6, count, 0.01) for count in (2, 5)),
        Training(1_346, 2, 3, 0.01),
        Training(1_346, 6, 3, 0.01, (1, 1, 1, 1, 1, 3)),
    )
    for number, training in enumerate(trainings):
        rng = np.random.default_rng(4_000 + number)
        truth = share_right(training.sd)
        counts, naive = np.zeros(3), 0
        for size in blocks(runs, training.questions * training.recipes * (training.seeds + 1)):
            drawn = answers(rng, size, training)
            studies = compare_recipes(drawn)
            wrong = studies.pairs.least < 0.05
            counts += size * np.array([wrong.mean(), studies.pairs.hold(), studies.means.hold(truth)])
        for size in blocks(min(runs, NAIVE), training.questions * training.recipes * (training.seeds + 1)):
            naive += sum(map(runs_differ, answers(rng, size, training)[..., 0]))
        false, pair, mean = counts / runs
        line(
            *(training.questions, training.recipes, training.seeds),
            f"{100 * training.sd:g}{', one recipe 3' if training.wild else ''}",
            f"{100 * naive / min(runs, NAIVE):.0f}",
            mark(f"{training}: false", false, 0.0, 0.05, runs),
            mark(f"{training}: pair", pair, 0.93, 0.97, runs),
            "-" if training.wild else mark(f"{training}: mean", mean, 0.93, 0.97, runs),
        )


def runs_differ(single: Floats) -> bool:
    """Return whether McNemar's test with Holm tells single runs apart.

    They are [question x recipe].
    """
    pairs = list(combinations(range(single.shape[1]), 2))
    p = [
        mcnemar(int((single[:, a] > single[:, b]).sum()), int((single[:, a] < single[:, b]).sum()))
        for a, b in pairs
    ]
    return min(p) * len(pairs) < 0.05


def lost(runs: int) -> None:
    """Compare a tuned model with its base, with a margin of two points."""
    head(
        *("questions", "disagreement, %", "true loss, points"),
        *("no loss beyond the margin, %", "loss, %", "cannot say, %"),
    )
    for number, (questions, apart, loss) in enumerate(
        (questions, apart, loss)
        for questions in (232, 1_346, 11_582)
        for apart in (0.1, 0.25)
        for loss in (0.0, 0.02, 0.05)
    ):
        rng = np.random.default_rng(5_000 + number)
        seen: dict[str, int] = {}
        chances = [1 - apart, (apart - loss) / 2, (apart + loss) / 2]
        for counts in rng.multinomial(questions, chances, size=runs):
            drawn = np.repeat(np.arange(3), counts)
            (verdict,) = judged([retention("m", "s", (drawn == 1).astype(float), (drawn == 2).astype(float))])
            seen[verdict.verdict] = seen.get(verdict.verdict, 0) + 1
        name = f"{questions} questions, {100 * loss:g} points lost"
        shares = [seen.get(kind, 0) / runs for kind in ("no loss beyond the margin", "loss", "cannot say")]
        line(
            *(questions, f"{100 * apart:g}", f"{100 * loss:g}"),
            mark(f"{name}: no loss", shares[0], 0.0, 0.025 if loss >= 0.02 else 1.0, runs),
            mark(f"{name}: loss", shares[1], 0.0, 0.025 if loss == 0 else 1.0, runs),
            f"{100 * shares[2]:.1f}",
        )


def judge(runs: int) -> None:
    """A mean by people, sharpened by a judge model with a bias.

    And six equal models, of which the judge likes the first and dislikes the last.
    """
    head("labels", "judge alone", "judge's bias", "r", "covers, %", "labels saved, %", "most that can be, %")
    for number, (labels, others, bias) in enumerate(
        (labels, others, bias) for labels, others in ((30, 300), (60, 1_200)) for bias in BIASES
    ):
        rng = np.random.default_rng(6_000 + number)
        covered, values, agree = 0, [], []
        for _ in range(runs):
            truth = rng.standard_normal(labels + others)
            scores = BIASES[bias](truth, rng) + rng.standard_normal(len(truth))
            agree.append(np.corrcoef(truth, scores)[0, 1])
            estimate = corrected_mean(truth[:labels], scores[:labels], scores[labels:])
            covered += estimate.low <= 0 <= estimate.high
            values.append(estimate.value)
        saved = 1 - float(np.var(values)) * labels  # people's scores have the variance 1
        r = float(np.mean(agree))
        bound = r**2 * others / (labels + others)  # with a weight that is known beforehand
        name = f"{labels} labels, bias {bias}"
        line(
            *(labels, others, bias, f"{r:.2f}"),
            mark(name, covered / runs, 0.93, 0.97, runs),
            mark(f"{name}: saved", saved, 0.4 if r >= 0.7 else -0.05, 1.0),
            f"{100 * bound:.1f}",
        )
    head(
        *("cases by people", "by the judge alone", "raters", "rater x model SD"),
        *("false, %", "pair, %", "cases saved, %"),
    )
    for number, (panel, others) in enumerate(
        ((Panel(24, 4, 0.2), 80), (Panel(30, 6, 0.0), 200), (Panel(40, 3, 0.35), 200))
    ):
        wrong, pair, saved = _liking(panel, others, runs, np.random.default_rng(6_500 + number))
        line(
            *(panel.cases, others, panel.raters, panel.taste),
            mark(f"{panel} and a judge: false", wrong, 0, 0.05, runs),
            mark(f"{panel} and a judge: pair", pair, 0.93, 0.97, runs),
            f"{100 * saved:.0f}",
        )


def _liking(panel: Panel, others: int, runs: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return how often a judge's liking makes a false difference.

    How often intervals of pairs hold 0, and the share of cases that the judge saves.
    """
    whole = Panel(panel.cases + others, panel.raters, panel.taste)
    cases, models, raters = (
        tuple(f"{kind}{n}" for n in range(size))
        for kind, size in (("c", whole.cases), ("m", 6), ("r", panel.raters))
    )
    replies = [(case, model) for case in cases for model in models]
    wrong, pair, saved = 0, 0.0, 0.0
    for _ in range(runs):
        people = likert(rng, 1, whole)[0]
        liked = people.mean(axis=2) - people.mean(axis=(0, 2))
        scores = 3.5 + liked + 0.3 * rng.standard_normal(liked.shape) + np.array([0.8, 0, 0, 0, 0, -0.8])
        table = Ratings(people[: panel.cases], models, cases[: panel.cases], raters)
        by_judge = dict(zip(replies, map(float, scores.ravel()), strict=True))
        both = corrected_ratings({"": table}, {"": by_judge})[""]
        wrong += len(set(both.groups.values())) > 1
        pair += float(np.mean([each.low <= 0 <= each.high for each in both.pairs]))
        saved += both.saved
    return wrong / runs, pair / runs, saved / runs
