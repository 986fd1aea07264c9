"""The data behind the report: CSV, JSON, Parquet, tables for a paper."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.foundation.files import replacing, write_text
from bakeoff.foundation.sentences import restored
from bakeoff.report.analysis import analyse
from bakeoff.report.claim_tables import claim_tables
from bakeoff.report.findings import Findings, Subject
from bakeoff.report.words import points

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bakeoff.report.views import Analysis, Cell, Difference
    from bakeoff.statistics.retention import Retention


def write_tables(findings: Findings, reports_dir: Path) -> Sequence[Path]:
    """Write data and tables into *reports_dir*, and return their paths.

    scores.csv, scores.json and samples.parquet hold the tidy tables (columns: docs/report.md), differences.csv every
    tested pair and whether tuning lost more than its margin, recipes.csv, recipe_pairs.csv and variance.csv the recipes
    with several seeds, tables.md and tables.tex the scores with intervals and tie groups; tables.tex needs booktabs.
    """
    from bakeoff.scoring.tables import write_scores

    reports_dir.mkdir(parents=True, exist_ok=True)
    analysis = analyse(findings)
    # with the ids of its sentences, so that the page can be made anew from what lies beside it
    rows = [
        restored({str(key): value for key, value in row.items()})
        for row in findings.scores.to_dict("records")
    ]
    paths = [*write_scores(rows, reports_dir)]
    for name, text in (
        ("differences.csv", _differences_csv(analysis)),
        ("tables.md", markdown(findings, analysis)),
        ("tables.tex", latex(findings, analysis)),
        *claim_tables(analysis).items(),
    ):
        paths.append(reports_dir / name)
        write_text(paths[-1], text)
    paths.append(reports_dir / "samples.parquet")
    with replacing(paths[-1]) as draft:
        if findings.samples_file:
            shutil.copyfile(findings.samples_file, draft)
        else:
            findings.samples.to_parquet(draft, index=False, compression="zstd")
    return paths


def markdown(findings: Findings, analysis: Analysis) -> str:
    """Return scores and fine-tuning as Markdown tables."""
    head = [
        "Model",
        "",
        *(f"{view.name} ({view.metric}, n = {view.n_questions:,})" for view in analysis.views),
    ]
    rows = [
        [
            _md(subject.model),
            subject.variant,
            *(_md(_cell(view.cells.get(subject))) for view in analysis.views),
        ]
        for subject in _subjects(findings, analysis)
    ]
    text = (
        f"# Scores of run {_md(findings.run_id)}\n\n{_md_table([_md(name) for name in head], rows)}\n{NOTE}\n"
    )
    changed = [[_md(model), *(_md(cell) for cell in cells)] for model, cells in _tuning(analysis)]
    if changed:
        names = ["Model", *(_md(view.name) for view in analysis.views)]
        text += f"\n# Tuned minus base\n\n{_md_table(names, changed)}\n{_tuning_note(analysis)}\n"
    return text


def latex(findings: Findings, analysis: Analysis) -> str:
    """The same tables as LaTeX with booktabs, each in a ``table`` environment."""
    columns = "ll" + "r" * len(analysis.views)
    heads = [
        rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{_tex(view.name)}\\\footnotesize {_tex(view.metric)}, "
        rf"$n = {view.n_questions}$\end{{tabular}}"
        for view in analysis.views
    ]
    lines = [
        "% Needs \\usepackage{booktabs}. Made by bakeoff; run " + _tex(findings.run_id) + ".",
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(["Model", "", *heads]) + r" \\",
        r"\midrule",
    ]
    before = ""
    for subject in _subjects(findings, analysis):
        if before and subject.model != before:
            lines.append(r"\addlinespace")
        name = _tex(subject.model) if subject.model != before else ""
        before = subject.model
        cells = [_tex_cell(view.cells.get(subject)) for view in analysis.views]
        lines.append(" & ".join([name, subject.variant, *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{_tex(NOTE)}}}", r"\end{table}"]
    changed = _tuning(analysis)
    if changed:
        lines += [
            "",
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{l{'r' * len(analysis.views)}}}",
            r"\toprule",
            " & ".join(["Model", *(_tex(view.name) for view in analysis.views)]) + r" \\",
            r"\midrule",
            *(
                " & ".join([_tex(model), *(_tex(cell) for cell in cells)]) + r" \\"
                for model, cells in changed
            ),
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{Tuned minus base. {_tex(_tuning_note(analysis))}}}",
            r"\end{table}",
        ]
    return "\n".join(lines) + "\n"


NOTE = (
    "Scores out of 100 with 95% confidence intervals. Models that share a letter in a column do not differ "
    "significantly (paired tests, Holm-adjusted over all pairs of all suites); capitals compare the models as "
    "delivered, small letters their bases."
)


def _tuning_note(analysis: Analysis) -> str:
    return (
        f"Points of 100 with 95% confidence intervals, paired on the same questions. * adjusted p < {analysis.alpha:g} "
        f"(Holm over {analysis.tuning_family} comparisons)."
    )


def _subjects(findings: Findings, analysis: Analysis) -> list[Subject]:
    place = {model: index for index, model in enumerate(analysis.order)}
    return sorted(findings.subjects, key=lambda subject: (place[subject.model], subject.variant == "base"))


def _cell(cell: Cell | None) -> str:
    if cell is None or not cell.ranked:
        return "–" if cell is None or cell.trusted else "invalid"
    text = f"{100 * cell.value:.1f}"
    if not math.isnan(cell.low):
        text += f" [{100 * cell.low:.1f}, {100 * cell.high:.1f}]"
    return f"{text} {cell.letters}".rstrip()


def _tex_cell(cell: Cell | None) -> str:
    if cell is None or not cell.ranked:
        return "--" if cell is None or cell.trusted else r"\emph{invalid}"
    text = f"{100 * cell.value:.1f}"
    if cell.letters:
        text += rf"\textsuperscript{{{_tex(cell.letters)}}}"
    if not math.isnan(cell.low):
        text += rf" {{\footnotesize [{100 * cell.low:.1f}, {100 * cell.high:.1f}]}}"
    return text


def _tuning(analysis: Analysis) -> list[tuple[str, list[str]]]:
    rows = []
    for model in analysis.order:
        differences = [view.tuning.get(model) for view in analysis.views]
        if any(differences):
            rows.append((model, [_change(difference) if difference else "–" for difference in differences]))
    return rows


def _change(difference: Difference) -> str:
    ends = f"[{points(difference.low, sign=True)}, {points(difference.high, sign=True)}]"
    return f"{points(difference.value, sign=True)}{'*' if difference.shown else ''} {ends}"


def _differences_csv(analysis: Analysis) -> str:
    import pandas as pd

    rows = [
        {
            "family": family,
            "suite": difference.suite,
            "a": str(difference.a),
            "b": str(difference.b),
            "n": difference.n,
            "difference": difference.value,
            "low": difference.low,
            "high": difference.high,
            "p_adjusted": difference.p,
            "effect": difference.effect,
            "effect_low": difference.effect_low,
            "effect_high": difference.effect_high,
            "effect_name": difference.effect_name,
            "only_a": difference.only_a,
            "only_b": difference.only_b,
            "mdd": difference.mdd,
            "least_detectable": view.least if family == "models" else math.nan,
            "verdict": difference.verdict,
            "matters": difference.matters(view.interest),
            **_retention(view.retention.get(difference.a.model) if family == "tuning" else None),
        }
        for view in analysis.views
        for family, differences in (
            ("models", view.pairs),
            ("bases", view.base_pairs),
            ("tuning", list(view.tuning.values())),
        )
        for difference in differences
    ]
    columns = (
        "family suite a b n difference low high p_adjusted effect effect_low effect_high effect_name only_a only_b "
        "mdd least_detectable verdict matters margin p_no_loss retention"
    )
    return pd.DataFrame(rows, columns=columns.split()).to_csv(index=False)


def _retention(retention: Retention | None) -> dict[str, object]:
    """What tuning kept of the base, for the family of tuned against base."""
    if retention is None:
        return {"margin": math.nan, "p_no_loss": math.nan, "retention": ""}
    return {
        "margin": retention.margin,
        "p_no_loss": retention.p_kept_adjusted,
        "retention": retention.verdict,
    }


def _md_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _md(text: str) -> str:
    return re.sub(r"([\\|<>*_`\[\]#])", r"\\\1", text.replace("\n", " "))


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "−": "$-$", "\n": " ",
    "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)
