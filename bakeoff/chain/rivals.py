"""Whether a name of a shared service is answered by another model of it.

Each variant's replies to the fixed dialogues were computed from its own weights beforehand. As long as two variants say
the same, the log-probabilities of both are known; where they part, each prefers its own token by a known margin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bakeoff.foundation.errors import IdentityError
from bakeoff.foundation.sentences import Template
from bakeoff.parity import answers

ANOTHER = Template(
    "chain.rivals.another",
    "{name} answers as the weights of {rival} do: adapters are exchanged, or one was not loaded. By hand: {line}",
    zh="{name} 的回复与 {rival} 的权重一致：适配器互换，或其中一个未加载。手动检查：{line}",
)
ALIKE = Template(
    "chain.rivals.alike",
    "the weights of {rival}, served by the same process, answer too much alike to tell them apart",
    zh="由同一进程提供服务的 {rival} 的回复过于相似，无法区分",
)

Facts = Mapping[str, object]
Reply = Mapping[str, Sequence[object]]


def why_not_told(service: answers.Service, facts: Facts, rival: str, rival_facts: Facts) -> str:
    """Return in words why *service* may be *rival*; empty if it is not.

    Args:
        service: as it runs, found to answer as its own weights do.
        facts: those of the comparison before it was served.
        rival: another name of the same process.
        rival_facts: the same of that name.

    Raises:
        IdentityError: it answers as the rival's weights do.
    """
    # the look at one of two: nothing but the log-probabilities counts
    against = {"said": _said_against(facts, rival_facts), "telling": [], "shared": False, "tuned": True}
    try:
        look = answers.check_replies(service, {**facts, **against})
    except IdentityError:
        words = ANOTHER(name=service.served_name, rival=rival, line=service.by_hand)
        raise IdentityError(words) from None
    return "" if look["identity"] == answers.SHOWN else ALIKE(rival=rival)


def _said_against(facts: Facts, rival_facts: Facts) -> dict[str, dict[str, object]]:
    ours, theirs = _replies(facts), _replies(rival_facts)
    return {
        name: {**reply, "base": judged_by(reply, theirs[name])}
        for name, reply in ours.items()
        if name in theirs
    }


def _replies(facts: Facts) -> Mapping[str, Reply]:
    replies = facts["said"]
    assert isinstance(replies, Mapping)
    return replies


def judged_by(reply: Reply, rival: Reply) -> list[float | None]:
    """Return the log-probabilities that a rival gives a reply's tokens.

    They are known up to the first token that the rival would not say; of that, at most what its margin leaves. None for
    what is not known.
    """
    judged: list[float | None] = []
    rows = zip(
        reply["tokens"], rival["tokens"], reply["logprobs"], rival["logprobs"], rival["margins"], strict=False
    )
    for token, other, trained, logprob, margin in rows:
        assert isinstance(trained, float)
        assert isinstance(logprob, float)
        assert isinstance(margin, float)
        if token != other:
            most = logprob - margin
            judged.append(most if most < trained else None)
            break
        judged.append(logprob)
    return judged + [None] * (len(reply["tokens"]) - len(judged))
