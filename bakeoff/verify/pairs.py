"""The pairs of a report, recounted from the samples."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bakeoff.scoring.scores import SPEED
from bakeoff.verify import words
from bakeoff.verify.arithmetic import agresti_min, clustered_t, holm, mcnemar, mean, sign_flips
from bakeoff.verify.audit import Audit, is_absent
from bakeoff.verify.evidence import Evidence, Row
from bakeoff.verify.ledgers import is_by_judge

_FEWEST_CLUSTERS = 10
Question = tuple[str, str, int]


@dataclass
class Grades:
    """The grades of one suite that the comparisons stand on.

    Attributes:
        by_subject: "model (variant)" -> question -> grade, 0 where no reply could be graded.
        doubtful: questions of a subject without a reply that could be graded.

    What follows from them is worked out once, when all grades are there.
    """

    by_subject: dict[str, dict[Question, float]] = field(default_factory=dict)
    doubtful: dict[str, set[Question]] = field(default_factory=lambda: defaultdict(set))

    @cached_property
    def shared(self) -> list[Question]:
        """Return the questions that every subject was asked."""
        tables = [set(table) for table in self.by_subject.values()]
        return sorted(set.intersection(*tables)) if tables else []

    @cached_property
    def is_plain(self) -> bool:
        """Return whether every grade is right or wrong."""
        return all(grade in (0.0, 1.0) for table in self.by_subject.values() for grade in table.values())

    @cached_property
    def subsets(self) -> int:
        """Return how many subsets the shared questions come from."""
        return len({subset for subset, _, _ in self.shared})


def grades_of(evidence: Evidence) -> dict[str, Grades]:
    """Return the grades by suite, of the subjects whose total can be trusted."""
    trusted: dict[str, set[str]] = defaultdict(set)
    heads = _heads(evidence)
    for row in evidence.scores:
        suite = str(row["suite"])
        if (
            row["subset"] == "ALL"
            and row["metric"] == heads.get(suite)
            and row["trusted"]
            and not is_absent(row["value"])
        ):
            trusted[suite].add(f"{row['model']} ({row['variant']})")
    suites: dict[str, Grades] = {}
    again: Counter[tuple[str, str, str, str]] = Counter()
    for sample in sorted(evidence.samples, key=lambda row: int(row["index"])):
        suite, subject = str(sample["suite"]), f"{sample['model']} ({sample['variant']})"
        if subject not in trusted[suite]:
            continue
        name = (suite, subject, str(sample["subset"]), str(sample["sample_id"]))
        question = (name[2], name[3], again[name])
        again[name] += 1
        grades = suites.setdefault(suite, Grades())
        grade = 0.0 if is_absent(sample["correct"]) else float(sample["correct"])
        if sample["status"] != "answered" and not grade > 0:
            grade = 0.0
            grades.doubtful[subject].add(question)
        grades.by_subject.setdefault(subject, {})[question] = grade
    return suites


def _heads(evidence: Evidence) -> dict[str, str]:
    """Return the metric that each suite is compared by.

    The one whose totals are nearest to the samples' means.
    """
    metrics: dict[str, dict[str, dict[tuple[str, str], Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in evidence.scores:
        if row["subset"] == "ALL" and row["benchmark"] != SPEED and not is_by_judge(row):
            metrics[str(row["suite"])][str(row["metric"])][str(row["model"]), str(row["variant"])] = row
    sums: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for sample in evidence.samples:
        if not is_absent(sample["correct"]):
            sums[str(sample["suite"]), str(sample["model"]), str(sample["variant"])].append(
                float(sample["correct"])
            )
    heads = {}
    for suite, tables in metrics.items():
        trusted = any(row["trusted"] for table in tables.values() for row in table.values())

        def distance(metric: str, suite: str = suite, trusted: bool = trusted) -> float:
            rows = metrics[suite][metric]
            apart = [
                abs(row["value"] - mean(sums[suite, *who]))
                for who, row in rows.items()
                if (row["trusted"] or not trusted) and not is_absent(row["value"]) and sums[suite, *who]
            ]
            return mean(apart) if apart else float("inf")

        heads[suite] = min(tables, key=distance)
    return heads


@dataclass(frozen=True)
class _P:
    """p of a pair before Holm's correction; *least*: if missing replies went against the one ahead."""

    value: float
    least: float


def check_pairs(audit: Audit, evidence: Evidence) -> None:
    """Recount every row of the report's differences.csv."""
    if evidence.page is None:
        audit.note(words.NO_REPORT())
        return
    with audit.reading("differences.csv"):
        rows = pairs_in(evidence.page.parent)
        suites = grades_of(evidence)
        families: dict[str, list[dict[str, str]]] = defaultdict(list)
        for number, row in enumerate(rows, 2):
            _check_pair(audit, f"differences.csv:{number}", row, suites.get(row["suite"], Grades()))
            families[row["family"]].append(row)
        for family, pairs in families.items():
            _check_family(audit, family, pairs, suites)


def pairs_in(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a report's differences.csv."""
    with (folder / "differences.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _check_pair(audit: Audit, where: str, row: Mapping[str, str], grades: Grades) -> None:
    """Recount one pair: its questions, its difference, its effect."""
    if row["a"] not in grades.by_subject or row["b"] not in grades.by_subject:
        audit.fail("pairs", where, words.AGAINST(a=row["a"], b=row["b"]), words.TWO_VALID())
        return
    first, second, shared = grades.by_subject[row["a"]], grades.by_subject[row["b"]], grades.shared
    apart = [first[question] - second[question] for question in shared]
    only_a, only_b = sum(d > 0 for d in apart), sum(d < 0 for d in apart)
    expected = {"n": len(shared), "difference": mean(apart), "only_a": only_a, "only_b": only_b}
    for name, value in expected.items():
        audit.compare("pairs", f"{where} {name}", float(row[name]), float(value))
    if not grades.is_plain:
        return
    if only_b:
        audit.compare("pairs", f"{where} effect", float(row["effect"]), only_a / only_b)
    fewer = min(only_a + only_b, len(shared) - max(only_a, only_b))
    if grades.subsets == 1 or (grades.subsets > 1 and fewer < _FEWEST_CLUSTERS):
        low, high = agresti_min(only_a, only_b, len(shared))
        audit.compare("intervals", f"{where} low", float(row["low"]), low)
        audit.compare("intervals", f"{where} high", float(row["high"]), high)


def _p_of(grades: Grades, a: str, b: str, is_plain: bool) -> _P:
    """Return the p of one pair, by formulas of the verifier's own."""
    first, second, shared = grades.by_subject[a], grades.by_subject[b], grades.shared
    apart = [first[question] - second[question] for question in shared]
    p = _larger(apart, shared, is_plain, grades)
    lost_a = {question for question in grades.doubtful[a] if question in first}
    lost_b = {question for question in grades.doubtful[b] if question in second}
    if not (lost_a | lost_b) & set(shared):
        return _P(p, p)
    ahead = mean(apart) > 0
    # every missing reply is taken as right for the one behind, as wrong for the one ahead
    unlucky = [
        (1.0 if not ahead and question in lost_a else first[question])
        - (1.0 if ahead and question in lost_b else second[question])
        for question in shared
    ]
    if not mean(unlucky) * mean(apart) > 0:
        return _P(p, 1.0)
    return _P(p, max(p, _larger(unlucky, shared, is_plain, grades)))


def _larger(apart: Sequence[float], shared: Sequence[Question], is_plain: bool, grades: Grades) -> float:
    """Return the larger p: over questions, or over subsets if enough."""
    p = mcnemar(sum(d > 0 for d in apart), sum(d < 0 for d in apart)) if is_plain else sign_flips(apart)
    if grades.subsets < _FEWEST_CLUSTERS:
        return p
    return max(p, clustered_t(apart, [subset for subset, _, _ in shared]))


def _check_family(
    audit: Audit, family: str, pairs: Sequence[Mapping[str, str]], suites: Mapping[str, Grades]
) -> None:
    """Hold adjusted p and verdicts of a family against our own tests."""
    recounted = [row for row in pairs if {row["a"], row["b"]} <= suites[row["suite"]].by_subject.keys()]
    if len(recounted) < len(pairs):
        return  # told where the pair was recounted
    p_values = [
        _p_of(
            suites[row["suite"]],
            row["a"],
            row["b"],
            _is_plain(suites[row["suite"]], family, pairs, row["suite"]),
        )
        for row in pairs
    ]
    adjusted, least = (holm([getattr(p, name) for p in p_values]) for name in ("value", "least"))
    for row, p, p_least in zip(pairs, adjusted, least, strict=True):
        where = f"differences.csv {family} {row['suite']} {row['a']} {row['b']}"
        audit.compare("paired tests", f"{where} p_adjusted", float(row["p_adjusted"]), p, tolerance=1e-7)
        expected = "tie"
        if p < 0.05:
            expected = "ahead" if float(row["difference"]) > 0 else "behind"
            expected = expected if p_least < 0.05 else "depends on missing"
        audit.compare("paired tests", f"{where} verdict", row["verdict"], expected)


def _is_plain(grades: Grades, family: str, pairs: Sequence[Mapping[str, str]], suite: str) -> bool:
    """Return whether the subjects' answers are all right or wrong.

    A reply that is missing says nothing of it.
    """
    names = {row[end] for row in pairs if row["suite"] == suite for end in ("a", "b")}
    names = set(grades.by_subject) if family == "tuning" else names
    return all(
        grade in (0.0, 1.0) or question in grades.doubtful[name]
        for name in names
        for question, grade in grades.by_subject[name].items()
    )


def report_tables(folder: Path) -> list[Path]:
    """Return the tables of a report that are texts."""
    names = ("differences.csv", "tables.md", "tables.tex", "recipes.csv", "recipe_pairs.csv", "variance.csv")
    return [folder / name for name in names if (folder / name).is_file()]
