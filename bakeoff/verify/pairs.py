"""The pairs of a report, recounted from the samples."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bakeoff.scoring.scores import SPEED
from bakeoff.verify.arithmetic import agresti_min, holm, mcnemar, mean
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
    """

    by_subject: dict[str, dict[Question, float]] = field(default_factory=dict)
    doubtful: dict[str, set[Question]] = field(default_factory=lambda: defaultdict(set))

    @property
    def shared(self) -> list[Question]:
        """Return the questions that every subject was asked."""
        tables = [set(table) for table in self.by_subject.values()]
        return sorted(set.intersection(*tables)) if tables else []

    @property
    def is_plain(self) -> bool:
        """Return whether every grade is right or wrong."""
        return all(grade in (0.0, 1.0) for table in self.by_subject.values() for grade in table.values())

    @property
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


def check_pairs(audit: Audit, evidence: Evidence) -> None:
    """Recount every row of the report's differences.csv."""
    if evidence.page is None:
        audit.note("no report at hand: page and tables were not read back")
        return
    path = evidence.page.parent / "differences.csv"
    with audit.reading("differences.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        suites = grades_of(evidence)
        families: dict[str, list[tuple[dict[str, str], float | None]]] = defaultdict(list)
        for number, row in enumerate(rows, 2):
            p = _check_pair(audit, f"differences.csv:{number}", row, suites.get(row["suite"], Grades()))
            families[row["family"]].append((row, p))
        for family, pairs in families.items():
            _check_family(audit, family, pairs)


def _check_pair(audit: Audit, where: str, row: Mapping[str, str], grades: Grades) -> float | None:
    """Recount one pair; return its p before Holm's correction, if any."""
    if row["a"] not in grades.by_subject or row["b"] not in grades.by_subject:
        audit.fail("pairs", where, f"{row['a']} against {row['b']}", "two subjects with trusted scores")
        return None
    first, second, shared = grades.by_subject[row["a"]], grades.by_subject[row["b"]], grades.shared
    apart = [first[question] - second[question] for question in shared]
    only_a, only_b = sum(d > 0 for d in apart), sum(d < 0 for d in apart)
    expected = {"n": len(shared), "difference": mean(apart), "only_a": only_a, "only_b": only_b}
    for name, value in expected.items():
        audit.compare("pairs", f"{where} {name}", float(row[name]), float(value))
    if not grades.is_plain:
        return None
    if only_b:
        audit.compare("pairs", f"{where} effect", float(row["effect"]), only_a / only_b)
    if grades.subsets == 1 or (grades.subsets > 1 and only_a + only_b < _FEWEST_CLUSTERS):
        low, high = agresti_min(only_a, only_b, len(shared))
        audit.compare("intervals", f"{where} low", float(row["low"]), low)
        audit.compare("intervals", f"{where} high", float(row["high"]), high)
    return mcnemar(only_a, only_b) if grades.subsets < _FEWEST_CLUSTERS else None


def _check_family(audit: Audit, family: str, pairs: Sequence[tuple[Mapping[str, str], float | None]]) -> None:
    """Hold the adjusted p of a family against the verifier's own tests."""
    p_values = [p for _, p in pairs if p is not None]
    if len(p_values) < len(pairs):
        audit.note(
            f"family {family}: p of graded scores and of sampled subsets need resampling; they were recomputed by the "
            "project's own code with the same seeds, not by the verifier's"
        )
        return
    for (row, _), p in zip(pairs, holm(p_values), strict=True):
        where = f"differences.csv {family} {row['suite']} {row['a']} {row['b']}"
        audit.compare("paired tests", f"{where} p_adjusted", float(row["p_adjusted"]), p)
        is_different = row["verdict"] in ("ahead", "behind", "depends on missing")
        audit.compare("paired tests", f"{where} verdict", is_different, p < 0.05)
        if row["verdict"] in ("ahead", "behind"):
            audit.compare(
                "paired tests",
                f"{where} verdict",
                row["verdict"],
                "ahead" if float(row["difference"]) > 0 else "behind",
            )


def report_tables(folder: Path) -> list[Path]:
    """Return the tables of a report that are texts."""
    names = ("differences.csv", "tables.md", "tables.tex", "recipes.csv", "recipe_pairs.csv", "variance.csv")
    return [folder / name for name in names if (folder / name).is_file()]
