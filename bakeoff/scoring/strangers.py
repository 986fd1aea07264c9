# ruff: noqa: E501  (a line of a pattern is an idea)
"""Replies that speak of no question, as rare errors of a service do.

Each of these may be worded a little otherwise.

A model that fails to answer still speaks of what it was asked. An error speaks of its own things, in few words: a
request's number, the time, a place in the queue.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bakeoff.foundation.error_texts import LONGEST, answers_for_model, may_be_error_text, skeleton
from bakeoff.foundation.sentences import Template
from bakeoff.scoring.reading import final_part

if TYPE_CHECKING:
    from bakeoff.scoring.scores import Sample

OF_ONE_KIND = Template(
    "scoring.strangers.of_one_kind",
    "{count} of {total} replies state no choice and speak of nothing that was asked, in nearly the same words: {text!r}",
    zh="{total} 条回复中有 {count} 条未作选择、与题目无关且措辞几乎相同：{text!r}",
    en="{count} of {total} replies choose no option and speak of nothing that was asked, in nearly the same words: "
    "{text!r}",
)
OF_NOTHING = Template(
    "scoring.strangers.of_nothing",
    "{count} of {total} replies are short, state no choice and speak of nothing that was asked: {text!r}",
    zh="{total} 条回复中有 {count} 条很短、未作选择且与题目无关：{text!r}",
    en="{count} of {total} replies are short, choose no option and speak of nothing that was asked: {text!r}",
)
NO_LETTERS = Template(
    "scoring.strangers.no_letters",
    "{count} of {total} replies have no letters: {text!r}",
    zh="{total} 条回复中有 {count} 条不含任何文字：{text!r}",
    en="{count} of {total} replies contain no letters: {text!r}",
)

_ALIKE = 0.5
"""Share of words in common from which two short texts are one kind."""
_OWN = 0.25
"""Share of a reply's words up to which it may have them from its question by chance."""
_FEWEST = 3
_TOLD = 0.02
"""Share of short replies that speak of nothing asked, whatever they say, from which they are told."""
_MOST = 400
"""Replies that are held against each other."""
_TRANSIENT = re.compile(
    r"busy|overload|later|retry|try(?:ing)? again|time-?d? ?out|unavailable|too many|rate.?limit|quota|throttl|queue|request.?id"
    r"|trace|exception|upstream|gateway|server|backend|capacity|high (?:load|demand|traffic)|reset by|refused|\b[45]\d\d\b"
    r"|稍后|稍候|重试|再试|频繁|超时|逾时|限流|流控|超限|繁忙|过载|拥挤|排队|队列|请求|服务器|伺服器|网关|后端|上游|节点|加载中|不可用|开小差"
    r"|网络|接口|错误码|异常|报错|混み合|しばらく|リクエスト|サーバ|서버|잠시 후|다시 시도|요청|serveur|réessayer|servidor|сервер|запрос",
    re.IGNORECASE,
)


_NUMBERED = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{8,}|\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b|\b\d{1,2}:\d\d:\d\d\b"
    r"|\b(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[A-Za-z0-9_-]{12,}\b",
    re.IGNORECASE,
)


def failures_of_many_words(samples: Sequence[Sample]) -> list[Sample]:
    """Return the replies with which a service tells its failures.

    Each may have words of its own: what they share is that they are short, speak of machines and of nothing that was
    asked. At least three questions got such a reply.
    """
    failures = [sample for sample in _strangers(samples) if _is_failure(sample)]
    return failures if _are_enough(failures, len(samples)) else []


def _is_failure(sample: Sample) -> bool:
    text = final_part(sample.reply)
    # nobody but a program names a request, or tells the time, in reply to a choice; a bare name tells of no failure
    rest = _NUMBERED.sub("", text)
    named = bool(sample.options) and rest != text and any(sign.isalpha() for sign in rest)
    if named or answers_for_model(text):
        return True
    words = {match.lower() for match in _TRANSIENT.findall(text)}
    # people speak of requests and of what is abnormal, too: one such word needs a number beside it
    return bool(words) and may_be_error_text(text) and (len(words) > 1 or bool(re.search(r"\d", text)))


def _are_enough(part: Sequence[Sample], total: int) -> bool:
    return len({sample.question for sample in part}) >= _FEWEST and len(part) > 0.005 * total


def kinds(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Return groups of short replies in nearly the same words.

    None of them states a choice or speaks of its question; at least three questions got each.
    """
    groups: list[tuple[frozenset[str], list[Sample]]] = []
    for sample in _strangers(samples)[:_MOST]:
        words = _words(skeleton(final_part(sample.reply)))
        group = next((members for first, members in groups if _share(first, words) >= _ALIKE), None)
        if group is not None:
            group.append(sample)
        elif words:
            groups.append((words, [sample]))
    return [members for _, members in groups if _are_enough(members, len(samples))]


def told_kinds(samples: Sequence[Sample]) -> list[str]:
    """Warn of replies of one kind, and of those without any letter.

    What is one text to the letter is told elsewhere.
    """
    total = len(samples)
    groups = kinds(samples)
    warnings: list[str] = [
        OF_ONE_KIND(count=len(group), total=total, text=" ".join(group[0].reply.split())[:80])
        for group in groups
        if len({skeleton(sample.reply) for sample in group}) > 1
    ]
    others = [sample for sample in _strangers(samples) if sample.options]
    if _are_enough(others, total) and len(others) > _TOLD * total and len(others) > sum(map(len, groups)):
        warnings.append(OF_NOTHING(count=len(others), total=total, text=others[0].reply.strip()[:80]))
    silent = [s for s in samples if s.status == "unparsed" and not any(sign.isalpha() for sign in s.reply)]
    if _are_enough(silent, total) and len({skeleton(s.reply) for s in silent}) > 1:
        warnings.append(NO_LETTERS(count=len(silent), total=total, text=silent[0].reply.strip()[:40]))
    return warnings


def _strangers(samples: Sequence[Sample]) -> list[Sample]:
    """Return short replies without a choice or words of their question.

    In reply to an open question, one is much shorter than most replies, too.
    """
    sizes = sorted(len(s.reply) for s in samples if not s.options and s.status == "answered")
    usual = sizes[len(sizes) // 2] if sizes else 0
    return [
        sample
        for sample in samples
        if sample.status == ("unparsed" if sample.options else "answered")
        and len(sample.reply.strip()) <= LONGEST
        and (sample.options or 3 * len(sample.reply) <= usual)
        and _speaks_of_itself(sample)
    ]


def _speaks_of_itself(sample: Sample) -> bool:
    words = _words(final_part(sample.reply))
    if not words:
        return False
    return len(words & _words(" ".join((sample.question, *sample.options)))) <= _OWN * len(words)


_EVERYWHERE = frozenset([
    "the", "and", "this", "that", "with", "for", "from", "your", "you", "are", "was", "has", "have", "not", "please",
    "but", "its", "our", "can", "will", "been",
])  # fmt: skip


def _words(text: str) -> frozenset[str]:
    """Return the words of *text*: of Chinese, pairs of neighbouring signs."""
    lower = text.lower()
    latin = set(re.findall(r"[^\W\d_\u3040-\u9fff\uac00-\ud7af]{3,}", lower)) - _EVERYWHERE
    runs = re.findall(r"[\u3040-\u9fff\uac00-\ud7af]+", lower)
    return frozenset(latin | {run[i : i + 2] for run in runs for i in range(max(1, len(run) - 1))})


def _share(first: frozenset[str], second: frozenset[str]) -> float:
    return len(first & second) / max(1, len(first | second))
