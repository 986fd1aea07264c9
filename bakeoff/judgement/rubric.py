"""The rubric that people and judge models share.

Dimensions, checks, anchors in words.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypedDict, cast

from bakeoff.foundation.errors import StoreError

RUBRIC = Path(__file__).with_name("rubric.yaml")
COMMENTS = ("strengths", "weaknesses", "suggestions")
OVERALL = "overall_quality"
"""The dimension that calibration, duels and plans go by; every rubric has it."""

_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")


def _named(part: str) -> dict[str, str]:
    """Return key -> Chinese name of every entry of *part*, in order."""
    import yaml

    try:
        entries = yaml.safe_load(RUBRIC.read_bytes())[part]
        named = {str(each["key"]): str(each["name"]["zh"]) for each in entries}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise StoreError(
            f"{RUBRIC}: {part} cannot be read ({error}); each needs key, name, question"
        ) from None
    wrong = sorted(key for key in named if not _KEY.fullmatch(key))
    if wrong or len(named) < len(entries):
        why = f"{wrong[0]!r} is no name of a column" if wrong else "a key stands twice"
        raise StoreError(f"{RUBRIC}: {part}: {why}; use small letters, digits and _")
    return named


_DIMENSION_NAMES, _CHECK_NAMES = _named("dimensions"), _named("crisis")
DIMENSIONS = tuple(_DIMENSION_NAMES)
"""The rubric alone says which there are."""

CRISIS_CHECKS = tuple(_CHECK_NAMES)
NAMES_ZH = _DIMENSION_NAMES | dict(zip(COMMENTS, ("优点", "不足", "改进建议"), strict=True))


class Bilingual(TypedDict):
    """A text in both languages."""

    zh: str
    en: str


class Question(TypedDict):
    """A yes-or-no check, or the part of a dimension that it shares with one."""

    key: str
    name: Bilingual
    question: Bilingual


class Dimension(Question):
    """What is scored from 1 to 5, with an anchor in words for each point."""

    anchors: dict[int, Bilingual]


class RubricContent(TypedDict):
    """The YAML file of the rubric."""

    version: int
    scale: dict[int, Bilingual]
    dimensions: list[Dimension]
    confidence: Dimension
    crisis: list[Question]


@dataclass(frozen=True)
class Rubric:
    """The questions and the anchors in words for every point, in Chinese and English.

    Attributes:
        content: the YAML file as it stands: scale, dimensions, confidence, crisis.
        sha: twelve hex digits of the file's content; kept with every judgement.
    """

    content: RubricContent
    sha: str


@cache
def load_rubric() -> Rubric:
    """Return the rubric from ``rubric.yaml`` beside this module.

    People and judge models share it.

    Raises:
        StoreError: a dimension or an anchor is missing in either language.
    """
    import yaml

    path = RUBRIC
    raw = path.read_bytes()
    content = cast(RubricContent, yaml.safe_load(raw))
    if OVERALL not in DIMENSIONS:
        raise StoreError(f"{path}: dimensions are {', '.join(DIMENSIONS)}; one of them must be {OVERALL}")
    for each in [*content["dimensions"], content["confidence"]]:
        for point in range(1, 6):
            anchor = each["anchors"].get(point)
            if not (anchor and anchor.get("zh") and anchor.get("en")):
                raise StoreError(f"{path}: {each['name']['en']} has no anchor for {point} in both languages")
    return Rubric(content, hashlib.sha256(raw).hexdigest()[:12])
