"""Whether open replies belong to the questions that they were given to.

A reply has more letter pairs in common with its own question and reference than with those of the other questions,
however weak the model is. Where replies have not, they answer something else: they were mixed up, or the service never
read the questions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bakeoff.foundation.sentences import Template
from bakeoff.scoring.uniformity import letter_pairs, spread_evenly

if TYPE_CHECKING:
    from bakeoff.scoring.scores import Sample

ELSEWHERE = Template(
    "scoring.belonging.elsewhere",
    "the replies are no nearer to their own questions and references than to those of other questions",
    zh="回复与本题题目和参考答案的相近程度，并不高于与其他题的相近程度：回复可能与题目错配",
    en="replies are no closer to their own questions and references than to those of other questions",
)

_FEWEST, _MOST = 16, 120
"""Questions from which, and up to which, replies are held against each other's questions."""
_SHORTEST = 8
"""Letter pairs from which a reply says what it is about."""


def elsewhere(samples: Sequence[Sample]) -> str:
    """Return a warning where open replies answer other questions, or ``""``."""
    asked = list({s.question: s for s in samples if not s.options and s.status == "answered"}.values())
    chosen = spread_evenly(asked, _MOST)
    pairs = [(letter_pairs(s.reply), letter_pairs(f"{s.question}\n{s.target}")) for s in chosen]
    long = [(reply, wanted) for reply, wanted in pairs if len(reply) >= _SHORTEST]
    if len(long) < _FEWEST or len(long) <= len(pairs) / 2:
        return ""
    own = belonging([reply for reply, _ in long], [wanted for _, wanted in long])
    return ELSEWHERE() if own < max(2.0, math.sqrt(len(long)) / 2) else ""


def belonging(replies: Sequence[set[str]], wanted: Sequence[set[str]]) -> float:
    """Return how much nearer replies are to their own texts than to others.

    The likeness of each reply to each text, without what the reply and the text have in common with all others, is
    summed over the pairs that belong together, in standard deviations of that sum were the replies dealt out at
    random (the linear permutation statistic; Hoeffding 1951). 0 where nothing is shared, infinite where all texts are
    one.
    """
    likeness = [[_cosine(one, other) for other in wanted] for one in replies]
    size = len(likeness)
    of_reply = [math.fsum(row) / size for row in likeness]
    of_text = [math.fsum(column) / size for column in zip(*likeness, strict=True)]
    mean = math.fsum(of_reply) / size
    if not mean:
        return 0.0
    rest = [
        [value - of_reply[i] - of_text[j] + mean for j, value in enumerate(row)]
        for i, row in enumerate(likeness)
    ]
    spread = math.sqrt(math.fsum(value * value for row in rest for value in row) / max(1, size - 1))
    return math.fsum(rest[i][i] for i in range(size)) / spread if spread > 1e-9 else math.inf


def _cosine(one: set[str], other: set[str]) -> float:
    return len(one & other) / math.sqrt(len(one) * len(other)) if one and other else 0.0
