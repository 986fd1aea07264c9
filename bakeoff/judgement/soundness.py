"""What speaks against replies that people or a judge model are to score.

The checks are those that an evaluation makes of the replies to its open questions: a service that answers several cases
with one failure, mixes replies up under load, or gives everybody one text is no better known by its replies to cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast

from bakeoff.foundation.sentences import Template, joined
from bakeoff.scoring.open_replies import is_in_other_script
from bakeoff.scoring.scores import Sample, Status, from_service, open_doubts, repeated
from bakeoff.scoring.uniformity import alikeness, spread_evenly

if TYPE_CHECKING:
    from bakeoff.judgement.blind import Study
    from bakeoff.judgement.replies import Case, Reply


class Answer(Protocol):
    """A reply, as gathered or as shown."""

    @property
    def case_id(self) -> str:
        """Which case it answers."""

    @property
    def text(self) -> str:
        """What the model said."""

    @property
    def status(self) -> str:
        """What became of the asking."""


SERVICE_TEXT = Template(
    "judgement.soundness.service_text",
    "the service gave several cases the same error text: {text!r}",
    zh="服务对多个个案返回同一段错误信息：{text!r}",
    en="the service gave the same error message for several cases: {text!r}",
)

ASKED_AGAIN = 4
"""Cases that are put once more, one at a time, after many were put at once."""
_FEWEST, _MOST = 8, 200
"""Replies from which that is done, and up to which the replies of one model in a study are looked at."""


def without_service_texts(replies: Sequence[Reply], cases: Sequence[Case]) -> list[Reply]:
    """Return *replies*; one error text in reply to several cases is an error."""
    named = {reply.case_id: reply for reply in replies}
    errors = {
        sample.sample_id: text
        for text, group in repeated(samples_of(replies, cases)).items()
        if from_service(text)
        for sample in group
    }
    return [
        replace(
            named[reply.case_id],
            text="",
            status="errored",
            error=SERVICE_TEXT(text=errors[reply.case_id][:80]),
        )
        if reply.case_id in errors
        else reply
        for reply in replies
    ]


def are_mixed_up(replies: Sequence[Reply], cases: Sequence[Case], ask: Callable[[Case], Reply]) -> bool:
    """Whether most of a few cases get another case's reply when put alone.

    Args:
        replies: what was answered when many cases were put at once.
        ask: puts one case.
    """
    answered = [reply for reply in replies if reply.status in ("answered", "truncated")]
    if len(answered) < _FEWEST:
        return False
    by_id = {case.id: case for case in cases}
    otherwise = 0
    for earlier in spread_evenly(answered, ASKED_AGAIN):
        now = ask(by_id[earlier.case_id])
        if now.status == "errored" or now.text.strip() == earlier.text.strip():
            continue
        mine = alikeness(earlier.text, now.text)
        otherwise += any(alikeness(other.text, now.text) > mine for other in answered if other is not earlier)
    return otherwise > ASKED_AGAIN / 2


def doubts_of(replies: Sequence[Answer], cases: Sequence[Case]) -> str:
    """Return why the replies of one model are no answers to *cases*, or ""."""
    return joined(open_doubts(samples_of(replies, cases)))


def doubts_of_study(study: Study) -> dict[str, str]:
    """Return such doubts for each subject of *study* that raises any."""
    doubts = {}
    for subject in study.subjects:
        replies = [reply for reply in study.replies if reply.subject == subject]
        if why := doubts_of(spread_evenly(replies, _MOST), study.cases):
            doubts[subject] = why
    return doubts


def samples_of(replies: Sequence[Answer], cases: Sequence[Case]) -> list[Sample]:
    """Return *replies* as answers to open questions.

    What a good reply does stands for the reference, where it is in the client's script.
    """
    by_id: Mapping[str, Case] = {case.id: case for case in cases}
    return [
        _sample(number, reply, by_id[reply.case_id])
        for number, reply in enumerate(replies)
        if reply.case_id in by_id
    ]


def _sample(index: int, reply: Answer, case: Case) -> Sample:
    question = "\n".join(message["content"] for message in case.messages if message["role"] == "user")
    target = "。".join(case.what_a_good_reply_does)
    return Sample(
        sample_id=case.id,
        subset="",
        index=index,
        question=question,
        options=(),
        target="" if is_in_other_script(target, question) else target,
        reply=reply.text,
        extracted=reply.text,
        extracted_alt=reply.text,
        status=cast(Status, reply.status),
        correct=0.0,
        prompt_sha="",
        latency_s=0.0,
    )
