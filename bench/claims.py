"""Do our claims hold for raters not asked and for runs not made?

And however often somebody looks? Populations are simulated.

    python bench/claims.py [--runs 1000] [false few power scatter seeds retention judge looks]

Counts studies with a false difference, how often 95 % intervals hold the truth, and how often a true difference is
found. Prints Markdown tables; exit code 1 if a number lies outside its limits (a false difference in at most 5 % of
studies; intervals 93 to 97 %, above that only where cases are few). What is counted in a limited number of runs may
lie beyond a limit by two standard errors.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from itertools import combinations

import numpy as np
from parts import run_parts

from bakeoff.statistics.crossed import errors, mean_squares, pair_error, variance_parts
from bakeoff.statistics.peeking import always_valid_p
from bakeoff.statistics.prediction import corrected_mean, corrected_ratings
from bakeoff.statistics.raters import Rated, Ratings, at_least_a_case, compare_ratings
from bakeoff.statistics.recipes import compare_recipes
from bakeoff.statistics.retention import judged, retention
from bakeoff.statistics.scatter import pair_errors
from bakeoff.statistics.significance import PairsOf, holm, mcnemar, shaffer, sign_flip_tests

CASES = (20, 40, 100)
RATERS = (3, 5, 8)
TASTES = (0.0, 0.25, 0.35)
"""Standard deviation, in points, of how much a rater likes one model in particular."""

failures: list[str] = []


def likert(
    rng: np.random.Generator, cases: int, raters: int, taste: float, quality: tuple[float, ...] = (0.0,) * 6
) -> np.ndarray:
    """Return ratings 1 to 5: [case x model x rater].

    *quality*: of each model, in points beyond 3.3.
    """
    models = len(quality)
    return np.clip(
        np.round(
            3.3
            + np.array(quality)[None, :, None]
            + 0.5 * rng.normal(size=(cases, 1, 1))
            + 0.4 * rng.normal(size=(cases, models, 1))
            + 0.3 * rng.normal(size=(1, 1, raters))
            + taste * rng.normal(size=(1, models, raters))
            + 0.3 * rng.normal(size=(cases, 1, raters))
            + 0.6 * rng.normal(size=(cases, models, raters))
        ),
        1,
        5,
    )


def analysed(cube: np.ndarray) -> Rated:
    """What a report says of *cube*."""
    cases, models, raters = (
        tuple(f"{kind}{n}" for n in range(size)) for kind, size in zip("cmr", cube.shape, strict=True)
    )
    return compare_ratings({"": Ratings(cube, models, cases, raters)})[""]


def mark(name: str, share: float, low: float, high: float, runs: int = 0) -> str:
    """Return *share* in per cent, bold where it leaves its limits.

    By more than two standard errors of *runs*.
    """
    below, above = (2 * math.sqrt(end * (1 - end) / runs) if runs else 0.0 for end in (low, high))
    if low - below <= share <= high + above:
        return f"{100 * share:.1f}"
    failures.append(f"{name}: {100 * share:.1f} is outside {100 * low:g} to {100 * high:g}")
    return f"**{100 * share:.1f}**"


def averaged_first(cube: np.ndarray) -> bool:
    """Return whether the usual mistake sees a difference.

    It tests the mean over raters over cases, with Bonferroni.
    """
    means = cube.mean(axis=2)
    first, second = np.triu_indices(means.shape[1], 1)
    return bool((sign_flip_tests(means[:, first] - means[:, second]) * len(first) < 0.05).any())


def false(runs: int) -> None:
    """Six equal models."""
    print(
        "\n| cases | raters | rater x model SD | raters averaged first: false, % | false, % | pair, % | mean, % |"
    )
    print("|" + "---|" * 7)
    for number, (cases, raters, taste) in enumerate(
        (cases, raters, taste) for cases in CASES for raters in RATERS for taste in TASTES
    ):
        rng = np.random.default_rng(1_000 + number)
        truth = float(likert(rng, 2_000, 300, taste).mean())
        wrong = naive = 0
        pair = mean = 0.0
        for run in range(runs):
            cube = likert(rng, cases, raters, taste)
            ratings = analysed(cube)
            wrong += len(set(ratings.groups.values())) > 1
            pair += np.mean([each.low <= 0 <= each.high for each in ratings.pairs])
            mean += np.mean([each.low <= truth <= each.high for each in ratings.scores])
            naive += run < 200 and averaged_first(cube)
        name = f"{cases} cases, {raters} raters, SD {taste:g}"
        cells = (
            mark(f"{name}: false", wrong / runs, 0.0, 0.05),
            mark(f"{name}: pair", pair / runs, 0.93, 0.97),
            mark(f"{name}: mean", mean / runs, 0.93, 0.97, runs),
        )
        usual = f"{100 * naive / min(runs, 200):.0f}"
        print(f"| {cases} | {raters} | {taste:g} | {usual} | " + " | ".join(cells) + " |", flush=True)


def few(runs: int) -> None:
    """Measure the mean of one model on few cases near the top of the scale.

    No interval may be a point.
    """
    print("\n| fives, % | raters | cases | covers, % | points in |")
    print("|" + "---|" * 5)
    rng = np.random.default_rng(2_000)
    for share in (0.5, 0.9, 0.97):
        for raters in (1, 3):
            for cases in (2, 3, 4, 8, 12, 30):
                truth = 5 * share + 3.4 * (1 - share)
                covered = points = 0
                for _ in range(runs):
                    fives = rng.random((cases, 1, raters)) < share
                    lower = rng.choice([2.0, 3.0, 4.0], p=[0.2, 0.2, 0.6], size=fives.shape)
                    score = analysed(np.where(fives, 5.0, lower)).scores[0]
                    covered += score.low <= truth <= score.high
                    points += score.high - score.low < 1e-9
                name = f"{share:.0%} fives, {raters} raters, {cases} cases"
                cells = (
                    mark(name, covered / runs, 0.93, 1.0),
                    mark(f"{name}: points", points / runs, 0.0, 0.0),
                )
                print(f"| {100 * share:g} | {raters} | {cases} | {cells[0]} | {cells[1]} |", flush=True)


def power(runs: int) -> None:
    """Measure how often one model is told from five equal, lesser ones.

    By us, and by analyses that know more.
    """
    from scipy.special import ndtr, stdtr

    print(
        "\n| cases | raters | rater x model SD | better by | ours, % | oracle, same df, % | oracle, normal, % "
        "| false among the equal five, % |"
    )
    print("|" + "---|" * 8)
    cells = (
        (20, 3, 0.0, 0.6),
        (20, 3, 0.25, 0.9),
        (40, 5, 0.25, 0.6),
        (40, 3, 0.35, 1.1),
        (100, 8, 0.35, 0.55),
    )
    pairs = list(combinations(range(6), 2))
    named = [(f"m{a}", f"m{b}") for a, b in pairs]
    for number, (cases, raters, taste, better) in enumerate(cells):
        rng = np.random.default_rng(3_000 + number)
        quality = (0.0, 0.0, 0.0, 0.0, 0.0, better)
        parts = variance_parts(likert(rng, 100, 400, taste, quality))
        rater = 2 * (parts["rater x model"] / raters + parts["rest"] / cases / raters)
        case = 2 * (parts["case x model"] / cases + parts["rest"] / cases / raters)
        rest = 2 * parts["rest"] / cases / raters
        variance = rater + case - rest
        shares = (
            rater**2 / (5 * (raters - 1)),
            case**2 / (5 * (cases - 1)),
            rest**2 / (5 * (cases - 1) * (raters - 1)),
        )
        freedom = variance**2 / sum(shares)
        ours, same, normal, wrong = 0.0, 0.0, 0.0, 0
        for _ in range(runs):
            cube = likert(rng, cases, raters, taste, quality)
            found = [(each.a, each.b) for each in analysed(cube).pairs if each.verdict != "tie"]
            ours += sum("m5" in pair for pair in found) / 5
            wrong += any("m5" not in pair for pair in found)
            mean = cube.mean(axis=(0, 2))
            score = np.array([-abs(mean[a] - mean[b]) / math.sqrt(variance) for a, b in pairs])
            with_best = [5 in pair for pair in pairs]
            by_t, by_normal = (
                np.array(shaffer([PairsOf(named, list(2 * tail))])[0])
                for tail in (stdtr(freedom, score), ndtr(score))
            )
            same += np.mean(by_t[with_best] < 0.05)
            normal += np.mean(by_normal[with_best] < 0.05)
        name = f"{cases} cases, {raters} raters, SD {taste:g}: power"
        shown = mark(name, ours / runs, 0.9 * same / runs, 1.0)
        print(
            f"| {cases} | {raters} | {taste:g} | {better:g} | {shown} | {100 * same / runs:.1f} | "
            f"{100 * normal / runs:.1f} | {mark(f'{name}: false', wrong / runs, 0.0, 0.05)} |",
            flush=True,
        )


def scatter(runs: int) -> None:
    """Models of which some scatter more than others, equal and with a better one.

    Ratings are not rounded or cut off here, for that would move the mean of a model that scatters. "Pooled": what an
    analysis finds that takes all models to scatter alike. The better model scatters as most do.
    """
    print(
        "\n| cases | raters | rater x model SD | scatter | pooled: false, % | false, % | pair, % "
        "| better by | pooled: found, % | found, % |"
    )
    print("|" + "---|" * 10)
    kinds = {
        "alike": (1.0,) * 6,
        "one three times": (3.0, *(1.0,) * 5),
        "two twice": (2.0, 2.0, *(1.0,) * 4),
        "one a third": (1 / 3, *(1.0,) * 5),
    }
    sizes = ((20, 3, 0.0, 0.6), (20, 3, 0.25, 0.9), (40, 5, 0.25, 0.6), (100, 8, 0.35, 0.55))
    for number, (size, kind) in enumerate((size, kind) for size in sizes for kind in kinds):
        cases, raters, taste, better = size
        rng = np.random.default_rng(3_500 + number)
        wrong, found, pair = np.zeros(2), np.zeros(2), 0.0
        for run in range(runs):
            cube = uneven(rng, cases, raters, taste, kinds[kind])
            for which, pairs in enumerate(both_ways(cube)):
                wrong[which] += min(p for _, p in pairs) * len(pairs) < 0.05
            pair += np.mean([p >= 0.05 for _, p in pairs])  # where the interval holds 0
            if run % 2:
                continue
            cube[:, 5] += better
            for which, pairs in enumerate(both_ways(cube)):
                adjusted = shaffer([PairsOf([named for named, _ in pairs], [p for _, p in pairs])])[0]
                found[which] += np.mean(
                    [p < 0.05 for (named, _), p in zip(pairs, adjusted, strict=True) if "m5" in named]
                )
        wrong, found = wrong / runs, found / len(range(0, runs, 2))
        name = f"{cases} cases, {raters} raters, SD {taste:g}, {kind}"
        shown = (
            mark(f"{name}: false", float(wrong[1]), 0.0, 0.05, runs),
            mark(f"{name}: pair", pair / runs, 0.92, 0.97, runs),
        )
        power = mark(f"{name}: found", float(found[1]), 0.9 * float(found[0]), 1.0)
        print(
            f"| {cases} | {raters} | {taste:g} | {kind} | {100 * wrong[0]:.1f} | {' | '.join(shown)} | {better:g} | "
            f"{100 * found[0]:.1f} | {power} |",
            flush=True,
        )


def uneven(
    rng: np.random.Generator, cases: int, raters: int, taste: float, scatter: tuple[float, ...]
) -> np.ndarray:
    """Return ratings of equal models that scatter so many times as much."""
    models = len(scatter)
    times = np.array(scatter)[None, :, None]
    return np.asarray(
        5
        + 0.5 * rng.normal(size=(cases, 1, 1))
        + 0.4 * times * rng.normal(size=(cases, models, 1))
        + 0.3 * rng.normal(size=(1, 1, raters))
        + taste * rng.normal(size=(1, models, raters))
        + 0.3 * rng.normal(size=(cases, 1, raters))
        + 0.6 * times * rng.normal(size=(cases, models, raters))
    )


def both_ways(cube: np.ndarray) -> tuple[list[tuple[tuple[str, str], float]], ...]:
    """Return the pairs with their p: all models' scatter pooled, and as we do."""
    from scipy.special import stdtr

    squares = mean_squares(cube)
    cases, models, raters = cube.shape
    pooled = pair_error(squares, cases, raters)
    mean = cube.mean(axis=(0, 2))
    ways: tuple[list[tuple[tuple[str, str], float]], ...] = ([], [])
    for (a, b), ours in zip(combinations(range(models), 2), pair_errors(cube, squares), strict=True):
        for pairs, error in zip(ways, (pooled, ours), strict=True):
            variance, freedom = at_least_a_case(error, cube.shape, 4.0)
            p = 2 * float(stdtr(freedom, -abs(mean[a] - mean[b]) / math.sqrt(variance)))
            pairs.append(((f"m{a}", f"m{b}"), p))
    return ways


def answers(
    rng: np.random.Generator,
    questions: int,
    recipes: int,
    seeds: int,
    sd: float,
    wild: tuple[float, ...] = (),
) -> np.ndarray:
    """Return answers of equal recipes: [question x recipe x seed].

    61 % are right (1).

    *sd*: standard deviation of a seed's score; *wild*: per recipe, how many times as much its seeds vary.
    """
    slope = 0.264  # of the score per unit of what follows, at 61 % right
    moved = sd / slope * rng.normal(size=(1, recipes, seeds))
    if wild:
        moved = moved * np.array(wild)[None, :, None]
    liked = 0.4 + rng.normal(size=(questions, 1, 1)) + 0.9 * rng.normal(size=(questions, recipes, 1))
    return (liked + moved + 0.4 * rng.normal(size=(questions, recipes, seeds)) > 0).astype(float)


def seeds(runs: int) -> None:
    """Equal recipes, each trained under several seeds."""
    print(
        "\n| questions | recipes | seeds | seed SD, points | one run each: false, % | false, % | pair, % | mean, % |"
    )
    print("|" + "---|" * 8)
    cells: tuple[tuple[int, int, int, float, tuple[float, ...]], ...] = (
        *((n, 6, 3, 0.01, ()) for n in (232, 1_346, 11_582)),
        *((1_346, 6, 3, sd, ()) for sd in (0.0, 0.03)),
        *((1_346, 6, count, 0.01, ()) for count in (2, 5)),
        (1_346, 2, 3, 0.01, ()),
        (1_346, 6, 3, 0.01, (1, 1, 1, 1, 1, 3)),
    )
    for number, (questions, recipes, count, sd, wild) in enumerate(cells):
        rng = np.random.default_rng(4_000 + number)
        truth = float(answers(rng, 4_000, 4, 200, sd).mean())
        wrong = naive = 0
        pair = mean = 0.0
        for run in range(runs):
            cube = answers(rng, questions, recipes, count, sd, wild)
            recipes_apart = compare_recipes({"": {f"r{n}": cube[:, n] for n in range(recipes)}})[""]
            wrong += any(each.verdict != "tie" for each in recipes_apart.pairs)
            pair += np.mean([each.low <= 0 <= each.high for each in recipes_apart.pairs])
            mean += np.mean([each.low <= truth <= each.high for each in recipes_apart.scores])
            naive += run < 200 and runs_differ(cube[:, :, 0])
        name = f"{questions} questions, {recipes} recipes, {count} seeds, SD {sd:g}{', one wild' if wild else ''}"
        shown = (
            mark(f"{name}: false", wrong / runs, 0.0, 0.05, runs),
            mark(f"{name}: pair", pair / runs, 0.93, 0.97),
            "-" if wild else mark(f"{name}: mean", mean / runs, 0.93, 0.97),
        )
        points = f"{100 * sd:g}{', one recipe 3' if wild else ''}"
        usual = f"{100 * naive / min(runs, 200):.0f}"
        print(
            f"| {questions} | {recipes} | {count} | {points} | {usual} | " + " | ".join(shown) + " |",
            flush=True,
        )


def runs_differ(single: np.ndarray) -> bool:
    """Return whether McNemar's test with Holm tells single runs apart.

    They are [question x recipe].
    """
    p = [
        mcnemar(int((single[:, a] > single[:, b]).sum()), int((single[:, a] < single[:, b]).sum()))
        for a, b in combinations(range(single.shape[1]), 2)
    ]
    return min(holm(p)) < 0.05


def lost(runs: int) -> None:
    """Compare a tuned model with its base, with a margin of two points."""
    print(
        "\n| questions | disagreement, % | true loss, points | no loss beyond the margin, % | loss, % | cannot say, % |"
    )
    print("|" + "---|" * 6)
    for number, (questions, apart, loss) in enumerate(
        (questions, apart, loss)
        for questions in (232, 1_346, 11_582)
        for apart in (0.1, 0.25)
        for loss in (0.0, 0.02, 0.05)
    ):
        rng = np.random.default_rng(5_000 + number)
        seen: dict[str, int] = {}
        for _ in range(runs):
            drawn = rng.choice(3, p=[1 - apart, (apart - loss) / 2, (apart + loss) / 2], size=questions)
            (verdict,) = judged([retention("m", "s", (drawn == 1).astype(float), (drawn == 2).astype(float))])
            seen[verdict.verdict] = seen.get(verdict.verdict, 0) + 1
        name = f"{questions} questions, {100 * loss:g} points lost"
        shares = [seen.get(kind, 0) / runs for kind in ("no loss beyond the margin", "loss", "cannot say")]
        no_loss = mark(f"{name}: no loss", shares[0], 0.0, 0.025 if loss >= 0.02 else 1.0, runs)
        gone = mark(f"{name}: loss", shares[1], 0.0, 0.025 if loss == 0 else 1.0, runs)
        print(
            f"| {questions} | {100 * apart:g} | {100 * loss:g} | {no_loss} | {gone} | {100 * shares[2]:.1f} |",
            flush=True,
        )


BIASES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "none": lambda truth, rng: truth,
    "a point too high": lambda truth, rng: truth + 1,
    "twice as wide": lambda truth, rng: 2 * truth,
    "blind to half of the replies": lambda truth, rng: np.where(rng.random(len(truth)) < 0.5, truth, 1.0),
    "squared": lambda truth, rng: truth**2,
}


def judge(runs: int) -> None:
    """A mean by people, sharpened by a judge model with a bias."""
    print("\n| labels | judge alone | judge's bias | r | covers, % | labels saved, % | most that can be, % |")
    print("|" + "---|" * 7)
    for number, (labels, others, bias) in enumerate(
        (labels, others, bias) for labels, others in ((30, 300), (60, 1_200)) for bias in BIASES
    ):
        rng = np.random.default_rng(6_000 + number)
        covered, values, agree = 0, [], []
        for _ in range(runs):
            truth = rng.normal(size=labels + others)
            scores = BIASES[bias](truth, rng) + rng.normal(size=len(truth))
            agree.append(np.corrcoef(truth, scores)[0, 1])
            estimate = corrected_mean(truth[:labels], scores[:labels], scores[labels:])
            covered += estimate.low <= 0 <= estimate.high
            values.append(estimate.value)
        saved = 1 - np.var(values) * labels  # people's scores have the variance 1
        r = float(np.mean(agree))
        name = f"{labels} labels, bias {bias}"
        covers = mark(name, covered / runs, 0.93, 0.97)
        bound = r**2 * others / (labels + others)  # with a weight that is known beforehand
        spared = mark(f"{name}: saved", saved, 0.4 if r >= 0.7 else -0.05, 1.0)
        print(
            f"| {labels} | {others} | {bias} | {r:.2f} | {covers} | {spared} | {100 * bound:.1f} |",
            flush=True,
        )
    print(
        "\n| cases by people | by the judge alone | raters | rater x model SD | false, % | pair, % | cases saved, % |"
    )
    print("|" + "---|" * 7)
    for number, (cases, others, raters, taste) in enumerate(
        ((24, 80, 4, 0.2), (30, 200, 6, 0.0), (40, 200, 3, 0.35))
    ):
        rng = np.random.default_rng(6_500 + number)
        wrong, pair, saved = 0, 0.0, 0.0
        for _ in range(runs):
            people = likert(rng, cases + others, raters, taste)
            liked = people.mean(axis=2) - people.mean(axis=(0, 2))
            scores = 3.5 + liked + 0.3 * rng.normal(size=liked.shape) + np.array([0.8, 0, 0, 0, 0, -0.8])
            names = [
                tuple(f"{kind}{n}" for n in range(size))
                for kind, size in zip("cmr", people.shape, strict=True)
            ]
            table = Ratings(people[:cases], names[1], names[0][:cases], names[2])
            by_judge = {
                (c, m): float(scores[i, j]) for i, c in enumerate(names[0]) for j, m in enumerate(names[1])
            }
            both = corrected_ratings({"": table}, {"": by_judge})[""]
            wrong += len(set(both.groups.values())) > 1
            pair += np.mean([each.low <= 0 <= each.high for each in both.pairs])
            saved += both.saved
        name = f"{cases} cases by people, {raters} raters"
        shown = (
            mark(f"{name}: false", wrong / runs, 0, 0.05, runs),
            mark(f"{name}: pair", pair / runs, 0.93, 0.97),
        )
        print(
            f"| {cases} | {others} | {raters} | {taste:g} | {shown[0]} | {shown[1]} | {100 * saved / runs:.0f} |",
            flush=True,
        )


def looks(runs: int) -> None:
    """Look at six equal models after every second of sixty cases.

    From the tenth on.
    """
    from scipy.special import stdtr

    print(
        "\n| raters | rater x model SD | ordinary p: false at some look, % | always-valid p, % | or at the end, % |"
    )
    print("|" + "---|" * 5)
    pairs = list(combinations(range(6), 2))
    for number, (raters, taste) in enumerate(((3, 0.0), (3, 0.35), (5, 0.25), (8, 0.35))):
        rng = np.random.default_rng(7_000 + number)
        ordinary = always = ever = 0
        for _ in range(runs):
            cube = likert(rng, 60, raters, taste)
            seen = at_any_look = last = False
            for cases in range(10, 61, 2):
                (variance, freedom), _ = errors(cube[:cases])
                mean = cube[:cases].mean(axis=(0, 2))
                spread = max(math.sqrt(variance), 1 / (cases + 1))
                p = [2 * float(stdtr(freedom, -abs(mean[a] - mean[b]) / spread)) for a, b in pairs]
                last = min(holm(p)) < 0.05  # the first step is that of every step-down rule here
                seen |= last
                at_any_look |= min(holm([always_valid_p(each, cases) for each in p])) < 0.05
            ordinary, always, ever = ordinary + seen, always + at_any_look, ever + (at_any_look or last)
        name = f"{raters} raters, SD {taste:g}: looks"
        shown = (
            mark(name, always / runs, 0.0, 0.05),
            mark(f"{name} and the end", ever / runs, 0.0, 0.05, runs),
        )
        print(f"| {raters} | {taste:g} | {100 * ordinary / runs:.1f} | {shown[0]} | {shown[1]} |", flush=True)


PARTS: dict[str, Callable[[int], None]] = {
    "false": false,
    "few": few,
    "power": power,
    "scatter": scatter,
    "seeds": seeds,
    "retention": lost,
    "judge": judge,
    "looks": looks,
}


if __name__ == "__main__":
    sys.exit(run_parts(PARTS, failures, __doc__ or "", runs=1_000))
