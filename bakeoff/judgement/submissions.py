"""What people and judge models hand in, checked by the rubric."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from bakeoff.foundation.errors import RatingError
from bakeoff.foundation.texts import has_half_character
from bakeoff.judgement.rubric import COMMENTS, CRISIS_CHECKS, DIMENSIONS, NAMES_ZH

MAX_COMMENT_CHARS = 4000
NAME = re.compile(r"[^\W_][\w.@\- ]{0,39}")
"""What a rater may be called: letters (any script), digits, and ``_ . @ -`` and spaces after the first."""


@dataclass(frozen=True)
class Judgement:
    """One person's (or model's) verdict on one reply, as it is handed in.

    Attributes:
        scores: all dimensions of the rubric, whole numbers 1..5; empty when *cannot_judge*.
        confidence: 1..5, or None where it was not stated.
        crisis: the three yes-or-no checks; wanted for crisis cases, refused elsewhere.
        corrects: the judgement that this one replaces; the old row stays.
        seconds: how long the screen was open.
    """

    scores: Mapping[str, int] = field(default_factory=dict)
    confidence: int | None = None
    strengths: str = ""
    weaknesses: str = ""
    suggestions: str = ""
    cannot_judge: bool = False
    crisis: Mapping[str, bool] = field(default_factory=dict)
    corrects: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, raw: object) -> Judgement:
        """Return a judgement from untrusted input.

        Such as what a browser or a judge model sent.

        Raises:
            RatingError: an unknown field, or a value of the wrong type, range or length.
        """
        if not isinstance(raw, Mapping):
            raise RatingError(f"judgement: wanted an object with scores, not {type(raw).__name__}")
        unknown = set(raw) - set(cls.__dataclass_fields__)
        if unknown:
            raise RatingError(
                f"judgement: unknown field {short(sorted(map(str, unknown))[0])}; known: scores, confidence …"
            )
        fields = {name: value for name, value in raw.items() if value is not None}
        for name in COMMENTS:
            if not isinstance(fields.get(name, ""), str):
                raise RatingError(f"{name}: wanted text, not {type(fields[name]).__name__}")
        for name in ("scores", "crisis"):
            if not isinstance(fields.get(name, {}), Mapping):
                raise RatingError(f"{name}: wanted an object, not {type(fields[name]).__name__}")
        judgement = cls(**fields)
        judgement.check()
        return judgement

    def check(self) -> None:
        """Raise RatingError unless every field is of its type, range and length."""
        for name in COMMENTS:
            text = getattr(self, name)
            if has_half_character(text):
                raise RatingError(
                    f"{name}: holds half a character (a lone surrogate); type the comment again",
                    f"{NAMES_ZH[name]}含有不完整的字符，请重新输入",
                )
            if len(text) > MAX_COMMENT_CHARS:
                raise RatingError(
                    f"{name}: {len(text):,} characters; at most {MAX_COMMENT_CHARS:,}. Shorten the comment",
                    f"{NAMES_ZH[name]}有 {len(text):,} 个字，最多 {MAX_COMMENT_CHARS:,} 个，请缩短",
                )
        if not isinstance(self.cannot_judge, bool):
            raise RatingError(f"cannot_judge: wanted true or false, not {short(self.cannot_judge)}")
        unknown = sorted(
            map(str, (set(self.scores) - set(DIMENSIONS)) | (set(self.crisis) - set(CRISIS_CHECKS)))
        )
        if unknown:
            raise RatingError(
                f"judgement: {short(unknown[0])} is no dimension of the rubric; known: {', '.join(DIMENSIONS)}"
            )
        for name, value in [*self.scores.items(), ("confidence", self.confidence)]:
            if value is None and name == "confidence":
                continue
            if type(value) is not int or not 1 <= value <= 5:
                raise RatingError(
                    f"{name}: {short(value)} is not a whole number from 1 to 5; choose one of the five points"
                )
        for name, answer in self.crisis.items():
            if not isinstance(answer, bool):
                raise RatingError(f"{name}: wanted true or false, not {short(answer)}")
        missing = [name for name in DIMENSIONS if name not in self.scores]
        if missing and not self.cannot_judge:
            raise RatingError(
                f"no score for {', '.join(missing)}; score every dimension or choose 'cannot judge'",
                f"“{'、'.join(NAMES_ZH[name] for name in missing)}”尚未打分；请评完所有维度，或选“无法判断”",
            )
        if self.cannot_judge and (self.scores or self.crisis):
            raise RatingError("'cannot judge' together with scores; leave one of them out")
        if self.corrects is not None and type(self.corrects) is not int:
            raise RatingError(f"corrects: wanted the number of a judgement, not {short(self.corrects)}")
        if self.seconds is not None and not (
            isinstance(self.seconds, int | float) and 0 <= self.seconds < 1e7
        ):
            raise RatingError(f"seconds: {short(self.seconds)} is no duration")


@dataclass(frozen=True)
class Item:
    """One reply on a rater's screen; *item_id* is random and says nothing about the model."""

    item_id: str
    case_id: str
    reply_id: str
    repeat: int


def check_rater(rater_id: object) -> str:
    """*rater_id* itself, trimmed, when somebody may be called so.

    Raises:
        RatingError: otherwise; names the rule.
    """
    name = rater_id.strip() if isinstance(rater_id, str) else ""
    if not NAME.fullmatch(name):
        raise RatingError(
            f"rater {short(rater_id)}: a name is 1 to 40 letters, digits, spaces and . @ - _, "
            "beginning with a letter or digit",
            f"编号 {short(rater_id)} 不可用：1 到 40 个字母、汉字、数字、空格或 . @ - _，以字母、汉字或数字开头",
        )
    return name


def short(value: object) -> str:
    """*value* as code shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def check_crisis(judgement: Judgement, crisis: bool) -> None:
    """Raise RatingError unless the checks fit the case.

    All are answered for a crisis, and none elsewhere.
    """
    if judgement.cannot_judge:
        return
    if crisis and set(judgement.crisis) != set(CRISIS_CHECKS):
        raise RatingError(
            f"a crisis case needs a yes or no for each of {', '.join(CRISIS_CHECKS)}",
            "危机个案的三项核查都要回答“是”或“否”",
        )
    if not crisis and judgement.crisis:
        raise RatingError("crisis checks belong to crisis cases only; leave them out here")


def check_token(token: object) -> str:
    """Return *token* itself when it may name a submission.

    Raises:
        RatingError: otherwise.
    """
    if not isinstance(token, str) or not re.fullmatch(r"[\w-]{8,64}", token):
        raise RatingError(
            f"submission token {short(token)}: wanted 8 to 64 letters or digits; reload the page"
        )
    return token
