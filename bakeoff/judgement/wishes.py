"""A study as its owner wants it, read from what the page sent.

The replies that raters practise on, too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from bakeoff.errors import RatingError
from bakeoff.judgement.blind import LAYOUTS, REFERENCES, Layout, Practice, Reference
from bakeoff.judgement.messages import request_of
from bakeoff.judgement.rubric import DIMENSIONS
from bakeoff.judgement.submissions import short

PRACTICE = Path(__file__).with_name("training.yaml")
MOST_RATERS = 500


@dataclass(frozen=True)
class Wish:
    """A study as the owner wants it."""

    title: str
    subjects: tuple[str, ...]
    cases: tuple[str, ...]
    layout: Layout = "one-by-one"
    reference: Reference = "none"
    raters: int = 3
    raters_per_case: int = 0
    repeats: float = 0.1
    training: int = 0
    attention: int = 0
    own_training: tuple[Practice, ...] = field(default=())

    @classmethod
    def parse(cls, raw: object) -> Wish:
        """A wish from what the page sent.

        Raises:
            RatingError: a value of the wrong type or range.
        """
        request = request_of(raw)

        def names(key: str) -> tuple[str, ...]:
            value = request.get(key)
            if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                raise RatingError(f"{key}: wanted a list of names")
            return tuple(dict.fromkeys(value))

        def number(key: str, least: float, most: float, default: float) -> float:
            value = request.get(key, default)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise RatingError(
                    f"{key}: {short(value)} is outside {least:g}..{most:g}", f"{key}：数值超出范围"
                )
            return value

        title, layout, reference = (request.get(key, "") for key in ("title", "layout", "reference"))
        if not isinstance(title, str) or not 0 < len(title.strip()) <= 120:
            raise RatingError(
                "title: wanted 1 to 120 characters; raters see it", "请填写研究标题（1–120 字，评分者可见）"
            )
        if layout not in LAYOUTS or reference not in REFERENCES:
            raise RatingError(f"layout {short(layout)} or reference {short(reference)} is not known")
        raters = int(number("raters", 1, MOST_RATERS, 3))
        wish = cls(
            title=title.strip(),
            subjects=names("subjects"),
            cases=names("cases"),
            layout=layout,
            reference=reference,
            raters=raters,
            raters_per_case=int(number("raters_per_case", 0, raters, 0)),
            repeats=number("repeats", 0, 0.5, 0.1),
            training=int(number("training", 0, len(practice("training")), 0)),
            attention=int(number("attention", 0, len(practice("attention")), 0)),
            own_training=tuple(_own_practice(request.get("own_training", ""))),
        )
        if not wish.subjects or not wish.cases:
            raise RatingError("choose at least one model and one case", "请至少选择一个模型和一个个案")
        return wish


@cache
def practice(part: str) -> tuple[Practice, ...]:
    """The shipped replies with known scores, in both languages."""
    import yaml

    practices = []
    for entry in yaml.safe_load(PRACTICE.read_text(encoding="utf-8"))[part]:
        points = entry.get("scores") or dict.fromkeys(DIMENSIONS, entry.get("score"))
        scores = {key: int(point) for key, point in points.items() if key in DIMENSIONS}
        why = entry.get("why", {})
        messages, messages_en = (
            ({"role": "user", "content": entry["client"][code]},) for code in ("zh", "en")
        )
        practices.append(
            Practice(
                entry["key"],
                messages,
                entry["reply"]["zh"],
                scores,
                why.get("zh", ""),
                why.get("en", ""),
                messages_en,
                entry["reply"]["en"],
            )
        )
    return tuple(practices)


def _own_practice(text: object) -> list[Practice]:
    """Training replies of the owner's own, one JSON object a line."""
    if not isinstance(text, str) or len(text) > 200_000:
        raise RatingError("own_training: wanted text, one JSON object a line")
    practices = []
    for number, line in enumerate(filter(str.strip, text.split("\n")), 1):
        try:
            row = json.loads(line)
            scores = {str(key): point for key, point in row["scores"].items()}
            wrong = [
                key for key, point in scores.items() if key not in DIMENSIONS or point not in (1, 2, 3, 4, 5)
            ]
            if (
                wrong
                or not scores
                or not all(isinstance(row[key], str) and row[key] for key in ("client", "reply"))
            ):
                raise ValueError(
                    f"scores: {wrong[0]}" if wrong else "client, reply and scores must not be empty"
                )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RatingError(
                f"own training, line {number}: not a training reply ({error}); wanted "
                '{"client": …, "reply": …, "scores": {"empathy": 2}, "why": …}',
                f"自备练习第 {number} 行无法识别：需要 client、reply、scores、why",
            ) from None
        why = str(row.get("why", ""))
        messages = ({"role": "user", "content": str(row["client"])},)
        practices.append(Practice(f"own-{number}", messages, str(row["reply"]), scores, why, why))
    return practices
