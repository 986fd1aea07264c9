"""Which replies a service cut, also where it says that they are whole.

Some services end a reply at its limit and call that ``stop``; some have a limit of their own below the one asked for.
Their counts of tokens and the ends of their texts tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bakeoff.evalscope.loading import reply_of
from bakeoff.evalscope.types import Key, Prediction
from bakeoff.foundation.sentences import Template

CUT_AT = Template(
    "evalscope.cuts.cut_at",
    "{count} of {total} replies end unfinished at exactly {length} {unit}: the service seems to have a limit of its "
    "own, though it calls them whole",
    zh="{total} 条回复中有 {count} 条恰好在 {length} {unit}处中断：服务似乎另有长度上限，却称回复已完成",
    en="{count} of {total} replies stop unfinished at exactly {length} {unit}: the service seems to have a limit of "
    "its own, although it reports them as complete",
)
TOKENS = Template("evalscope.cuts.tokens", "tokens", zh="个词元")
CHARACTERS = Template("evalscope.cuts.characters", "characters", zh="个字符")
BYTES = Template("evalscope.cuts.bytes", "bytes", zh="个字节")

_CUT = ("max_tokens", "length", "model_length")
_SMALL = 32
"""Tokens up to which whole replies may often have just as many as the limit."""
_ENDS = frozenset(".!?。！？…．｡‼⁇~～)]}）】」』》〉”’\"'`*|$;；")
_LAST_LABEL = re.compile(r"(?<![A-Za-z])[A-J](?:[、,，\s]*[A-J])*(?:选?项)?$")
_OPTION = re.compile(r"\W*[A-J]\s*[).、:：．）]\s*\S.{0,24}")
_FEWEST = 3
_LABEL = re.compile(r"(?<![A-Za-z])[A-J](?![A-Za-z])")


def was_cut(prediction: Prediction, limit: object, *, is_stated: bool) -> bool:
    """Whether the service cut this reply at the *limit* of its tokens.

    It says so, or it counts as many as are allowed. A count may hold thoughts that are not shown, and some services
    count wrongly: a statement that ends as such, of fewer bytes than tokens, is whole.

    Args:
        limit: the ``max_tokens`` of the request; anything but a whole number for none.
        is_stated: whether the reply states an answer.
    """
    text, stop, _ = reply_of(prediction)
    if stop in _CUT:
        return True
    if not isinstance(limit, int) or not _at_limit(prediction, limit):
        return False
    return not is_stated or ends_openly(text) or max(_SMALL, limit) <= len(text.encode("utf-8", "replace"))


def _at_limit(prediction: Prediction, limit: int) -> bool:
    """Whether a reply has all the tokens that it may have.

    Some services count its beginning or its end as one more, some its prompt as well.
    """
    counts = _usage(prediction)
    prompt, reply = counts.get("input_tokens"), counts.get("output_tokens")
    if not isinstance(reply, int):
        return False
    with_prompt = limit + prompt if isinstance(prompt, int) and prompt > 0 else limit
    return reply in (limit, limit + 1, with_prompt, with_prompt + 1)


def _usage(prediction: Prediction) -> Mapping[str, object]:
    return (prediction.get("model_output") or {}).get("usage") or {}


def ends_openly(text: str) -> bool:
    """Whether *text* breaks off: no mark, label or option ends it."""
    text = text.rstrip()
    last = text[text.rfind("\n") + 1 :]
    whole = text[-1:] in _ENDS or _LAST_LABEL.search(text[-12:]) or _OPTION.fullmatch(last)
    return not text or not whole


@dataclass(frozen=True)
class OwnLimit:
    """The length at which a service ends replies that are not finished."""

    keys: frozenset[Key] = frozenset()
    words: str = ""


def own_limit(predictions: Mapping[Key, Prediction], limit: object) -> OwnLimit:
    """The replies that break off at one length, below the *limit*.

    The longest of all; at least three different texts, and most of those nearly as long: of whole replies, the longest
    have different lengths, and end. Replies in stock words that differ in their option alone are one text.
    """
    replies: dict[Key, tuple[str, Prediction]] = {}
    for key, prediction in predictions.items():
        text, _, _ = reply_of(prediction)
        if text.strip() and not was_cut(prediction, limit, is_stated=True):
            replies[key] = text, prediction
    measures: tuple[tuple[Template, int, int, Callable[[str, Prediction], int]], ...] = (
        (TOKENS, _SMALL, 0, _tokens),
        (CHARACTERS, 64, 0, _characters),
        (BYTES, 128, 2, _bytes),
    )
    for unit, least, leeway, measure in measures:
        sizes = {key: measure(*reply) for key, reply in replies.items()}
        most = max(sizes.values(), default=0)
        if most < least:
            continue
        broken = [
            key for key, size in sizes.items() if size >= most - leeway and ends_openly(replies[key][0])
        ]
        long = sum(size >= 0.95 * most for size in sizes.values())
        texts = {_LABEL.sub("", replies[key][0]) for key in broken}
        if len(texts) >= _FEWEST and len(broken) >= 0.75 * long:
            words = CUT_AT(count=len(broken), total=len(predictions), length=most, unit=unit())
            return OwnLimit(frozenset(broken), words)
    return OwnLimit()


def _tokens(text: str, prediction: Prediction) -> int:
    """The tokens of *text*; 0 for none, or with something else counted in."""
    count = _usage(prediction).get("output_tokens")
    return count if isinstance(count, int) and count <= _bytes(text, prediction) else 0


def _characters(text: str, _: Prediction) -> int:
    return len(text)


def _bytes(text: str, _: Prediction) -> int:
    """The bytes of *text*, without what is left of a character that was cut."""
    return len(text.rstrip("\ufffd").encode("utf-8", "replace"))
