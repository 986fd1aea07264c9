"""A study as its owner wants it, read from what the page sent.

The replies that raters practise on, too.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from bakeoff.foundation.errors import RatingError
from bakeoff.judgement.blind import LAYOUTS, REFERENCES, Layout, Practice, Reference
from bakeoff.judgement.case_rows import text_of, without_repeats
from bakeoff.judgement.messages import request_of
from bakeoff.judgement.rubric import DIMENSIONS
from bakeoff.judgement.submissions import short

PRACTICE = Path(__file__).with_name("training.yaml")
MOST_RATERS = 500
MOST_OWN_PRACTICE = 50
FIELDS_ZH = {
    "raters": "评分者人数",
    "raters_per_case": "每个个案由几人评",
    "repeats": "重复比例",
    "training": "练习题数",
    "attention": "注意力检查题数",
}
"""What the page calls the numbers of a wish in Chinese."""


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

        def count(key: str, least: int, most: int, default: int) -> int:
            value = request.get(key, default)
            if type(value) is not int or not least <= value <= most:
                raise RatingError(
                    f"{key}: {short(value)} is no whole number from {least} to {most}",
                    f"“{FIELDS_ZH[key]}”应为 {least} 到 {most} 的整数",
                )
            return value

        title, layout, reference = (request.get(key, "") for key in ("title", "layout", "reference"))
        if not isinstance(title, str) or not 0 < len(title.strip()) <= 120:
            raise RatingError(
                "title: wanted 1 to 120 characters; raters see it", "请填写研究标题（1–120 字，评分者可见）"
            )
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in title.strip()):
            raise RatingError(
                "title: wanted one line without control characters or half characters",
                "研究标题应为一行，不含控制字符或不完整的字符",
            )
        repeats = request.get("repeats", 0.1)
        if isinstance(repeats, bool) or not isinstance(repeats, int | float) or not 0 <= repeats <= 0.5:
            raise RatingError(
                f"repeats: {short(repeats)} is outside 0..0.5", f"“{FIELDS_ZH['repeats']}”应在 0 到 0.5 之间"
            )
        if layout not in LAYOUTS or reference not in REFERENCES:
            raise RatingError(f"layout {short(layout)} or reference {short(reference)} is not known")
        raters = count("raters", 1, MOST_RATERS, 3)
        wish = cls(
            title=title.strip(),
            subjects=names("subjects"),
            cases=names("cases"),
            layout=layout,
            reference=reference,
            raters=raters,
            raters_per_case=count("raters_per_case", 0, raters, 0),
            repeats=float(repeats),
            training=count("training", 0, len(practice("training")), 0),
            attention=count("attention", 0, len(practice("attention")), 0),
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
        raise RatingError(
            "own_training: wanted at most 200,000 characters, one JSON object a line",
            "自备练习最多 20 万字，每行一个 JSON 对象",
        )
    practices = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            practices.append(_practice_of(json.loads(line, object_pairs_hook=without_repeats), number))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RatingError(
                f"own training, line {number}: not a training reply ({error}); wanted "
                '{"client": …, "reply": …, "scores": {"empathy": 2}, "why": …}',
                f"自备练习第 {number} 行无法识别：需要 client、reply、scores（1–5 的整数），可选 why",
            ) from None
    if len(practices) > MOST_OWN_PRACTICE:
        raise RatingError(
            f"own training: {len(practices)} replies; at most {MOST_OWN_PRACTICE}",
            f"自备练习共 {len(practices)} 条，最多 {MOST_OWN_PRACTICE} 条",
        )
    return practices


def _practice_of(row: dict[str, object], number: int) -> Practice:
    """The training reply in *row*, which stands in line *number*."""
    scores = row["scores"]
    if not isinstance(scores, dict) or not scores:
        raise ValueError("scores must not be empty")
    for key, point in scores.items():
        if key not in DIMENSIONS or type(point) is not int or not 1 <= point <= 5:
            raise ValueError(f"scores: {key}")
    client, reply = (text_of(row[key], key) for key in ("client", "reply"))
    why = text_of(row["why"], "why") if row.get("why") else ""
    return Practice(f"own-{number}", ({"role": "user", "content": client},), reply, scores, why, why)
