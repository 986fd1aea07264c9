"""Holds a running service against what was trained, by its replies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import requests

from bakeoff.foundation.errors import IdentityError, ServiceError
from bakeoff.foundation.sentences import Template
from bakeoff.parity.comparison import ASKED, DIALOGUES, TOKENS
from bakeoff.probes.measured import Spoken

SHOWN = "shown"
NOT_SHOWN = Template(
    "parity.answers.not_shown",
    "not shown: {why}",
    zh="未能证明作答的就是训练出的模型：{why}",
    en="not shown to be the trained model: {why}",
)
NOT_MEASURED = Template(
    "parity.answers.not_measured",
    "the replies of the weights were not measured: {why}",
    zh="未直接测量权重的回复：{why}",
    en="replies of the weights themselves were not measured: {why}",
)
NOTHING_ASKED = Template("parity.answers.nothing_asked", "nothing was asked", zh="没有提问")
NO_LOGPROBS = Template(
    "parity.answers.no_logprobs",
    "the service gives no log-probabilities, and its replies do not tell",
    zh="服务不提供对数概率，仅凭回复无法区分",
    en="the service returns no log-probabilities, and the replies alone cannot tell",
)
OTHER_TOKENS = Template(
    "parity.answers.other_tokens",
    "the service names its tokens otherwise than the tokenizer: their log-probabilities have no counterpart",
    zh="服务返回的词元名称与分词器不一致，对数概率无法对应",
    en="the service names tokens differently from the tokenizer, so log-probabilities cannot be matched",
)
NO_BASE = Template(
    "parity.answers.no_base",
    "nothing was compared with the base of these weights",
    zh="没有与这些权重的基座模型作比较",
    en="the weights were not compared with their base model",
)
TOO_ALIKE = Template(
    "parity.answers.too_alike",
    "tuned and base weights are {apart:.2g} apart in the log-probabilities of {tokens} tokens, and the "
    "service {distance:.2g} from the tuned ones: too little to tell them apart",
    zh="微调与基座权重在 {tokens} 个词元上的对数概率只差 {apart:.2g}，"
    "服务与微调权重相差 {distance:.2g}，差距太小，无法区分",
    en="on {tokens} tokens the log-probabilities of tuned and base weights differ by only {apart:.2g}, those of "
    "service and tuned weights by {distance:.2g}: too close to tell which one answers",
)

BASE_TOO_ALIKE = Template(
    "parity.answers.base_too_alike",
    "base and tuned weights are {apart:.2g} apart in the log-probabilities of {tokens} tokens, and the "
    "service {distance:.2g} from the base: too little to tell them apart",
    zh="基座与微调权重在 {tokens} 个词元上的对数概率只差 {apart:.2g}，"
    "服务与基座权重相差 {distance:.2g}，差距太小，无法区分",
    en="on {tokens} tokens the log-probabilities of base and tuned weights differ by only {apart:.2g}, those of "
    "service and base by {distance:.2g}: too close to tell which one answers",
)

TOO_FEW = Template(
    "parity.answers.too_few",
    "only {tokens} tokens of the replies are those of the weights, and fewer than {least} may agree by chance",
    zh="回复中只有 {tokens} 个词元与权重的回复一致，少于 {least} 个时可能只是巧合",
    en="only {tokens} tokens of the replies match those of the weights; fewer than {least} may match by chance",
)
ENOUGH = 12
"""Tokens that must agree before one of several models behind a service is taken for the one that answers."""


class Process(Protocol):
    """The process behind a service of ours."""

    log: Path

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end; return the exit code, or None while it runs."""


class Service(Protocol):
    """A running service, as far as it is asked here."""

    url: str
    served_name: str

    @property
    def process(self) -> Process | None:
        """Its process; None where somebody else serves."""

    @property
    def by_hand(self) -> str:
        """The line that asks it by hand."""

    def complete(
        self,
        messages: list[dict[str, str]],
        *,
        max_tokens: int,
        logprobs: bool = False,
        top_logprobs: int = 0,
    ) -> Mapping[str, Any]:
        """Return the answer to one chat completion, as JSON."""

    def why_dead(self) -> str:
        """Return in words why it has ended; nothing while it runs."""


Measured = tuple[float, float, float | None]
"""One token's log-probability at the service, by the probe, and by the probe of the base (None: no other model)."""


def check_replies(service: Service, facts: Mapping[str, Any]) -> dict[str, object]:
    """Ask *service* the fixed dialogues, and see which model answers.

    Args:
        service: as it runs.
        facts: those of the parity stage.

    Returns:
        ``prompts_counted`` and ``replies_agreed``; ``logprobs_compared``, and their mean distance ``to_trained`` and
        ``to_base`` (None where not measured); ``identity``: "shown", or "not shown: " and why it could not be.

    Raises:
        IdentityError: it counts other prompt tokens, begins a reply otherwise, or gives its tokens other
            log-probabilities (or the base's) than what was trained and merged.
    """
    counted = agreed = 0
    told_apart = gave_any = False
    measured: list[Measured] = []
    for name in ASKED:
        answer = _asked(service, name)
        counted += _counts_alike(service, name, answer, facts)
        reply = str(answer["choices"][0]["message"].get("content") or "")
        expected = facts["expected"].get(name, "")
        if expected and not _begins(reply, expected):
            raise IdentityError(
                f"{service.served_name}: dialogue '{name}' is answered {reply!r}, but {facts['subject']} says "
                f"{expected!r}: another model answers at {service.url}. By hand: {service.by_hand}"
            )
        agreed += bool(expected)
        told_apart |= name in facts["telling"] and len(_bare(reply)) >= len(_bare(expected))
        pairs = _token_logprobs(answer["choices"][0])
        gave_any |= bool(pairs)
        if name in facts["said"]:
            measured += _aligned(pairs, facts["said"][name])
    shared = bool(facts.get("shared"))
    beside = shared and not facts.get("tuned")
    if problem := why_another(measured, facts["tolerance"], beside=beside):
        raise IdentityError(
            f"{service.served_name}: {problem}: another model than {facts['subject']} answers at {service.url}. "
            f"By hand: {service.by_hand}"
        )
    tuned = bool(facts.get("tuned"))
    doubt = why_not_shown(measured, tuned=tuned, beside=beside, least=ENOUGH if shared else 1)
    if told_apart and not (shared and gave_any):  # from the base, but not from another adapter
        doubt = ""
    if doubt and not facts["said"]:
        doubt = NOT_MEASURED(why=facts["skipped"] or NOTHING_ASKED())
    elif doubt and not gave_any:
        doubt = NO_LOGPROBS()
    return {
        "prompts_counted": counted,
        "replies_agreed": agreed,
        "logprobs_compared": len(measured),
        **dict(zip(("to_trained", "to_base", "apart"), _distances(measured), strict=True)),
        "identity": NOT_SHOWN(why=doubt) if doubt else SHOWN,
    }


def _counts_alike(service: Service, name: str, answer: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Return whether the service counted the prompt tokens of a dialogue.

    Raises:
        IdentityError: there are other tokens than in training.
    """
    length = (answer.get("usage") or {}).get("prompt_tokens")
    expected = facts["prompt_tokens"].get(name)
    if not length or not expected:
        return False
    if length != expected:
        raise IdentityError(
            f"{service.served_name}: dialogue '{name}' has {length} prompt tokens at the service and {expected} "
            f"in training: it renders another prompt. Compare the templates: {service.by_hand}"
        )
    return True


def why_another(measured: Sequence[Measured], tolerance: float, *, beside: bool = False) -> str:
    """Why another model than the trained one answers; empty where none shows.

    Args:
        measured: see :data:`Measured`.
        tolerance: how far apart two sound computations may be in the mean; see :data:`LOGPROB_TOLERANCE`.
        beside: the base is looked at, and has to be told from tuned weights that are served beside it.
    """
    to_trained, to_base, apart = _distances(measured)
    if to_trained is None:
        return ""
    if not to_trained <= tolerance:
        return (
            f"the log-probabilities of {len(measured)} tokens are {to_trained:.3g} away in the mean from those of the "
            f"weights (at most {tolerance:g})"
        )
    if to_base is not None and apart and to_base <= apart / 4:
        rival, subject = ("the tuned weights'", "the base") if beside else ("the base's", "the tuned weights")
        return (
            f"the log-probabilities of {len(measured)} tokens are {rival} ({to_base:.3g} away in the mean), not "
            f"those of {subject} ({to_trained:.3g} away)"
        )
    return ""


def why_not_shown(
    measured: Sequence[Measured], *, tuned: bool = False, beside: bool = False, least: int = 1
) -> str:
    """Why trained model and base cannot be told apart; empty if they can.

    They do where the service is nearer to the trained model than a quarter of the way to the base. A base that is
    served as such has nothing else to be told from; *tuned* weights without a base to compare with are not shown, nor
    is a base without the tuned weights that are served *beside* it. Fewer tokens than *least* may agree by chance.
    """
    to_trained, to_base, apart = _distances(measured)
    if to_trained is None:
        return OTHER_TOKENS()
    if to_base is None:
        return NO_BASE() if tuned or beside else ""
    if (agreed := sum(base is not None for _, _, base in measured)) < least:
        return TOO_FEW(tokens=agreed, least=least)
    if not apart or not to_trained <= apart / 4:
        return (BASE_TOO_ALIKE if beside else TOO_ALIKE)(
            apart=apart, tokens=len(measured), distance=to_trained
        )
    return ""


def _distances(measured: Sequence[Measured]) -> tuple[float | None, float | None, float | None]:
    """Mean distances: service to trained, service to base, trained to base."""
    if not measured:
        return None, None, None
    count = len(measured)
    to_trained = sum(abs(served - trained) for served, trained, _ in measured) / count
    against = [(served, trained, base) for served, trained, base in measured if base is not None]
    if not against:
        return to_trained, None, None
    to_base = sum(abs(served - base) for served, _, base in against) / count
    return to_trained, to_base, sum(abs(trained - base) for _, trained, base in against) / count


def _asked(service: Service, name: str) -> Mapping[str, Any]:
    """The answer to one dialogue, with log-probabilities where offered."""
    messages = list(DIALOGUES[name])
    try:
        try:
            answer = service.complete(messages, max_tokens=TOKENS, logprobs=True, top_logprobs=1)
        except ServiceError:
            answer = service.complete(messages, max_tokens=TOKENS)
        answer["choices"][0]["message"].get("content")
    except (requests.RequestException, AttributeError, LookupError, TypeError, ValueError) as error:
        look = f"by hand: {service.by_hand}"
        if service.process:
            service.process.wait(1)  # its end is told a moment later
            look = f"see {service.process.log}"
        raise ServiceError(
            f"{service.served_name}: dialogue '{name}' was not answered ({type(error).__name__}: {str(error)[:300]}); "
            f"{service.why_dead() or look}"
        ) from None
    return answer


def _token_logprobs(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The tokens of a reply and their log-probabilities, if worth the name.

    An engine that takes them after its greedy choice has narrowed the tokens to one says 0 of each.
    """
    try:
        pairs = [(str(token["token"]), float(token["logprob"])) for token in choice["logprobs"]["content"]]
    except (KeyError, TypeError, ValueError):
        return []
    return pairs if any(logprob for _, logprob in pairs) else []


def _aligned(pairs: Sequence[tuple[str, float]], ours: Spoken) -> Iterable[Measured]:
    """The log-probabilities up to the first token that differs.

    What follows it has another prompt.

    The weights prefer their own token by a margin. A service that says another is at least half of it away from them
    in the log-probability of one of the two.
    """
    margins = ours.get("margins") or [0.0] * len(ours["tokens"])
    for (token, logprob), names, trained, base, margin in zip(
        pairs, ours["tokens"], ours["logprobs"], ours["base"], margins, strict=False
    ):
        if _name(token) not in map(_name, names):
            if margin:
                yield trained - margin / 2, trained, None
            break
        yield logprob, trained, base


def _name(token: str) -> str:
    return re.sub(r"[\s\u2581\u0120\ufffd]", "", token)  # engines write a leading space in several ways


def _begins(reply: str, expected: str) -> bool:
    """Whether one begins the other, but for white space and channel marks."""
    whole, beginning = _bare(reply), _bare(expected)
    return whole.startswith(beginning) or (bool(whole) and beginning.startswith(whole))


def _bare(text: str) -> str:
    """*text* without white space and the marks of a harmony channel.

    ms-swift leaves ``<|channel|>final<|message|>`` in a reply, a tokenizer's decoding only ``final``, and engines that
    know the format nothing.
    """
    return re.sub(r"^(analysis|final)", "", re.sub(r"<\|[a-z_]+\|>|\s", "", text))
