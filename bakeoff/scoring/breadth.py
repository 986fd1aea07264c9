"""How many options replies name where several may be right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bakeoff.foundation.sentences import Template

if TYPE_CHECKING:
    from bakeoff.scoring.scores import Sample

AT_MOST = Template(
    "scoring.breadth.at_most",
    "no reply to the {count} questions with more right options names more than {most}: look whether the prompt asks "
    "for all of them and the replies are read whole",
    zh="{count} 道题的正确选项多于 {most} 个，却没有一条回复选出超过 {most} 个："
    "请检查提示词是否要求多选、回复是否被完整读取",
    en="none of the replies to the {count} questions with more correct options names more than {most}: check that the "
    "prompt asks for all of them and that replies are read in full",
)

_FEWEST, _LEAST_SHARE = 20, 0.2
"""Questions, and their share of those with several right options, from which it is no coincidence."""


def too_narrow(samples: Sequence[Sample]) -> str:
    """Return a warning where replies never name as many options as are right."""
    read = [s for s in samples if s.options and s.extracted]
    several = [s for s in read if len(s.target) > 1 or s.subset.endswith("_multiple")]
    most = max((len(sample.extracted) for sample in several), default=0)
    wider = sum(len(sample.target) > most for sample in several)
    if wider < _FEWEST or wider < _LEAST_SHARE * len(several):
        return ""
    return AT_MOST(count=wider, most=most)
