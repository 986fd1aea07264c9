"""The ratings behind the means, packed for the page to open on demand."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bakeoff.report.findings import Findings
from bakeoff.report.words import CHECKS, DIMENSIONS

BUDGET_BYTES = 1_000_000
"""Room for all ratings together, as base64 in the page."""
_LONG = (None, 2_000, 600, 200)
"""Characters that a reply may have, tried in this order until everything fits."""


@dataclass(frozen=True)
class RatedReplies:
    """What the browser of ratings needs."""

    studies: list[tuple[str, str]]
    """(id, title) of studies with ratings."""
    subjects: list[str]
    raters: list[str]
    dimensions: dict[str, tuple[str, str]]
    """Dimension or crisis check -> its names."""
    data: str
    """Study id -> replies with ratings, as JSON, gzip, base64."""


def rated_replies(findings: Findings) -> RatedReplies | None:
    """Return the ratings of the studies on the page; None without any."""
    first = findings.ratings or {}
    studies = [study for study in (first, *first.get("others", ())) if study.get("items")]
    if not studies:
        return None
    items = {str(study["study"]["id"]): study["items"] for study in studies}
    ratings = [rating for replies in items.values() for reply in replies for rating in reply["ratings"]]
    measured = set().union(
        *(rating["scores"] for rating in ratings), *(rating["checks"] for rating in ratings)
    )
    names = {**DIMENSIONS, **CHECKS}
    return RatedReplies(
        studies=[(str(study["study"]["id"]), str(study["study"]["title"])) for study in studies],
        subjects=_unique(subject for study in studies for subject in study["study"]["subjects"]),
        raters=_unique(str(rating["rater"]) for rating in ratings),
        dimensions={
            key: names.get(key, (key, key))
            for key in [*(key for key in names if key in measured), *sorted(measured - names.keys())]
        },
        data=_packed(items),
    )


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _packed(items: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return *items*, with replies cut in the middle until they fit."""
    data = ""
    for length in _LONG:
        shown = {
            study: [{**reply, "text": _cut(reply["text"], length)} for reply in replies]
            for study, replies in items.items()
        }
        text = json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()
        data = base64.b64encode(gzip.compress(text, mtime=0)).decode()
        if len(data) <= BUDGET_BYTES:
            break
    return data


def _cut(text: str, length: int | None) -> str:
    if length is None or len(text) <= length:
        return text
    half = length // 2
    return f"{text[:half]} ⟦…⟧ {text[-half:]}"
