"""Published scores beside ours.

An untuned model far below its published score is more often misserved than bad.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from bakeoff.foundation.sentences import Template

FAR_BELOW = Template(
    "scoring.anchors.far_below",
    "{value:.1%} is far below the published {published:.1%}: look at the chat template before the model",
    zh="{value:pct} 远低于公布的 {published:pct}：请先检查对话模板，再怀疑模型",
    en="{value:pct} is far below the published {published:pct}: check the chat template before blaming the model",
)
FAR_ABOVE = Template(
    "scoring.anchors.far_above",
    "{value:.1%} is far above the published {published:.1%}: look for leaked questions",
    zh="{value:pct} 远高于公布的 {published:pct}：请检查是否有数据泄漏",
    en="{value:pct} is far above the published {published:pct}: check for leaked test questions",
)
MEAN_OF_SUBJECTS = Template(
    "scoring.anchors.mean_of_subjects",
    "{protocol}; mean of subjects; ours is {shots}-shot",
    zh="{protocol}；按科目平均；本次为 {shots}-shot",
    en="{protocol}; mean over subjects; ours is {shots}-shot",
)
MEAN_NOT_STATED = Template(
    "scoring.anchors.mean_not_stated",
    "{protocol}; mean not stated, ours over questions; ours is {shots}-shot",
    zh="{protocol}；未说明如何平均，本次按题平均；本次为 {shots}-shot",
    en="{protocol}; averaging not stated, ours is over questions; ours is {shots}-shot",
)
FILE = Path(__file__).with_name("anchors.yaml")
TOLERANCE = 0.05
"""How far protocol and backend may move a score, 0 to 1; backends alone differ by 0.01 to 0.025."""


@dataclass(frozen=True)
class Anchor:
    """A published score of an untuned model.

    Attributes:
        models: last parts of hub ids, in lower case.
        value: 0 to 1.
        subsets: how many subsets the published mean covers; ours is compared only where it covers as many.
        few_shot: examples in the prompt; None where the source does not say.
        mean: "subjects" where each subject weighs the same; empty where the source does not say.
    """

    models: tuple[str, ...]
    benchmark: str
    value: float
    subsets: int
    few_shot: int | None
    protocol: str
    source: str
    mean: str = ""


@cache
def anchors() -> tuple[Anchor, ...]:
    """All published scores that we know of."""
    rows = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return tuple(
        Anchor(
            models=tuple(name.lower() for name in row["models"]),
            benchmark=row["benchmark"],
            value=row["value"] / 100,
            subsets=row["subsets"],
            few_shot=row.get("few_shot"),
            protocol=row["protocol"],
            source=row["source"],
            mean=row.get("mean", ""),
        )
        for row in rows
    )


def anchor_warning(anchor: Anchor, value: float, n: int, tolerance: float = TOLERANCE) -> str:
    """Return what is odd about *value* beside *anchor*; ``""`` for nothing.

    The tolerance is widened by the sampling error of *n* questions (normal approximation, 95 %).
    """
    if not n or math.isnan(value):
        return ""
    room = tolerance + 1.96 * math.sqrt(anchor.value * (1 - anchor.value) / n)
    if value < anchor.value - room:
        return FAR_BELOW(value=value, published=anchor.value)
    if value > anchor.value + room:
        return FAR_ABOVE(value=value, published=anchor.value)
    return ""


def beside_published(
    model_id: str, results: Iterable[Mapping[str, Any]], *, model: str, variant: str = "base"
) -> list[dict[str, object]]:
    """Return a row for each of the *results* that have a published score.

    Args:
        model_id: hub id or folder of the untuned model.
        results: results of suites as :func:`bakeoff.evalscope.read_results` gives them.
        model: name of the row in the matrix.
        variant: only ``base`` has anchors; what tuning moved is not a question of protocol.
    """
    if variant != "base":
        return []
    name = Path(model_id).name.lower()
    rows = []
    for result in results:
        for anchor in anchors():
            if anchor.benchmark != result["benchmark"] or name not in anchor.models:
                continue
            if len(result["selected"]) != anchor.subsets:
                continue
            total = result["scores"][0]
            if anchor.mean == "subjects":
                macro = (row for row in result["scores"] if row["metric"] == f"{total['metric']}_macro")
                total = next(macro, total)
            ours = math.nan if total["value"] is None else float(total["value"])
            form = MEAN_OF_SUBJECTS if anchor.mean == "subjects" else MEAN_NOT_STATED
            protocol = form(protocol=anchor.protocol, shots=result["few_shot"])
            rows.append(
                {
                    "model": model,
                    "variant": variant,
                    "suite": result["suite"],
                    "ours": ours,
                    "published": anchor.value,
                    "protocol": protocol,
                    "source": anchor.source,
                    "warning": anchor_warning(anchor, ours, total["n_judged"]),
                }
            )
    return rows
