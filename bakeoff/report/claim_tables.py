"""Recipes with several seeds and losses by tuning, for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from bakeoff.foundation.sentences import plural
from bakeoff.report.findings import Findings
from bakeoff.report.sentences import LISTED, Sentence, both_lists, inset, spaced, trailing
from bakeoff.report.words import points

if TYPE_CHECKING:
    from bakeoff.report.views import Analysis


def claim_tables(analysis: Analysis) -> dict[str, str]:
    """Return file name -> CSV about recipes with several seeds."""
    import pandas as pd

    rows: dict[str, list[dict[str, object]]] = {
        "recipes.csv": [],
        "recipe_pairs.csv": [],
        "variance.csv": [],
    }
    for view in analysis.views:
        if view.recipes is None:
            continue
        suite = {"suite": view.name, "n": view.recipes.questions}
        letters = view.recipes.groups
        rows["recipes.csv"] += [
            suite | asdict(score) | {"letters": letters.get(score.recipe, "")}
            for score in view.recipes.scores
        ]
        rows["recipe_pairs.csv"] += [
            suite
            | asdict(pair)
            | {"matters": pair.verdict != "tie" and abs(pair.difference) >= view.interest - 1e-12}
            for pair in view.recipes.pairs
        ]
        rows["variance.csv"] += [
            suite | {"recipe": recipe, "part": part, "variance": value, "sd": value**0.5}
            for part, values in view.recipes.variance.items()
            for recipe, value in values.items()
        ]
    return {name: pd.DataFrame(table).to_csv(index=False) for name, table in rows.items() if table}


def claim_sentences(findings: Findings, analysis: Analysis) -> list[Sentence]:
    """Return sentences about recipes and about what tuning lost."""
    return [*_recipes(analysis), *_runs(findings, analysis), *_retention(analysis)]


def _recipes(analysis: Analysis) -> Iterator[Sentence]:
    pairs = [(view.name, pair) for view in analysis.views if view.recipes for pair in view.recipes.pairs]
    if not pairs:
        return
    shown = [(suite, pair) for suite, pair in pairs if pair.verdict != "tie"]
    if not shown:
        yield Sentence(
            f"按训练配方比较（种子与题目均视为随机样本，{len(pairs)} 对）：均无显著差异。",
            f"Recipes compared over seeds and questions ({len(pairs)} {plural(len(pairs), 'pair')}): "
            "no significant difference.",
            "#bk-suites",
        )
        return
    zh, en = [], []
    for suite, pair in shown[:LISTED]:
        ahead, behind = (pair.a, pair.b) if pair.difference > 0 else (pair.b, pair.a)
        zh.append(f"{spaced(suite)}上{inset(ahead)}领先{trailing(behind)} {points(abs(pair.difference))} 分")
        en.append(f"on {suite} {ahead} is ahead of {behind} by {points(abs(pair.difference))} points")
    rest = len(shown) - LISTED
    yield Sentence(
        f"按训练配方比较（种子与题目均视为随机样本）：{'，'.join(zh)}{f'，另有 {rest} 对' if rest > 0 else ''}。",
        f"Recipes compared over seeds and questions: {', '.join(en)}{f' and {rest} more' if rest > 0 else ''}.",
        "#bk-suites",
    )


def _runs(findings: Findings, analysis: Analysis) -> Iterator[Sentence]:
    """That a single training run speaks for itself alone."""
    tuned = {
        cell.subject.model
        for view in analysis.views
        for cell in view.cells.values()
        if cell.subject.variant == "tuned"
    }
    seeds = {row.model: row.seed for row in findings.rows}
    single = [
        recipe
        for recipe, models in findings.recipes.items()
        if len(models) == 1 and models[0] in tuned and seeds.get(models[0]) is not None
    ]
    if single:
        names = both_lists(single, LISTED)
        yield Sentence(
            f"{spaced(names.zh)}只训练了一次：结论只针对这次训练，不针对训练配方（在矩阵中设 seeds: 3 可检验配方）。",
            f"{names.en} {'was' if len(single) == 1 else 'were'} trained once: conclusions are about this run, "
            "not about this recipe (“seeds: 3” in the matrix tests the recipe).",
        )


def _retention(analysis: Analysis) -> Iterator[Sentence]:
    verdicts = [each for view in analysis.views for each in view.retention.values()]
    if not verdicts:
        return
    count = Counter(each.verdict for each in verdicts)
    margins = "/".join(f"{100 * margin:g}" for margin in sorted({each.margin for each in verdicts}))
    n_kept, n_lost, n_open = count["no loss beyond the margin"], count["loss"], count["cannot say"]
    counted = [
        (n_kept, f"{n_kept} 组已排除", f"ruled out in {n_kept}"),
        # the test of a loss is one against none: its size may lie on either side of the margin
        (
            n_lost,
            f"{n_lost} 组确有损失（未必超过界限）",
            f"some loss, perhaps a smaller one, shown in {n_lost}",
        ),
        (n_open, f"{n_open} 组未能排除", f"not ruled out in {n_open}"),
    ]
    zh = [chinese for shown, chinese, _ in counted if shown]
    en = [english for shown, _, english in counted if shown]
    yield Sentence(
        f"微调造成的损失是否超过 {margins} 分（{len(verdicts)} 组对照）：{'，'.join(zh)}。",
        f"Did tuning cost more than {margins} points ({len(verdicts)} {plural(len(verdicts), 'comparison')})? "
        f"{'; '.join(en).capitalize()}.",
        "#bk-tuning",
    )
