"""Judges what the probe measured: prompts, merged tensors, replies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from bakeoff.foundation.errors import IdentityError
from bakeoff.foundation.sentences import Template
from bakeoff.probes.measured import (
    Behaviour,
    Judged,
    Measurements,
    MergeFacts,
    Rendered,
    Reply,
    Side,
    Spoken,
    TokenizerFacts,
)

_LONG = "最近工作压力很大，晚上总是睡不着，白天又没有精神，我不知道该怎么办。"
NOT_COMPARED = Template(
    "parity.comparison.not_compared",
    "{count} of {total} adapted modules have other names in the merged weights and could not be compared: {names}",
    zh="{total} 个适配模块中有 {count} 个在合并后的权重中名称不同，无法核对：{names}",
    en="{count} of {total} adapted modules have other names in the merged weights and could not be checked: {names}",
)
ROUNDED_AWAY = Template(
    "parity.comparison.rounded_away",
    "{dtype} rounds {share:.0%} of the adapter away; way A, base + adapter, or a float32 merge keeps it",
    zh="{dtype} 舍入使适配器的 {share:.0%} 丢失；用方式 A（基座 + 适配器）或以 float32 合并可保留",
    en="rounding to {dtype} loses {share:.0%} of the adapter; way A (base + adapter) or a float32 merge keeps it",
)
REPLIES_NOT_COMPARED = Template(
    "parity.comparison.replies_not_compared",
    "replies were not compared: {why}",
    zh="没有比对回复：{why}",
)
DATED_PROMPT = Template(
    "parity.comparison.dated_prompt",
    "the template prints the day ({day}): tomorrow's prompts differ from today's; pin one with 'prompt_date'",
    zh="模板会写入当天日期（{day}），明天的提示词将与今天不同；可用 prompt_date 固定",
    en="the template prints the date ({day}), so prompts change from day to day; fix it with prompt_date",
)

DIALOGUES: Mapping[str, list[dict[str, str]]] = {
    "single turn": [{"role": "user", "content": "我最近总是失眠，怎么办？"}],
    "several turns": [
        {"role": "user", "content": "你好"},
        {"role": "assistant", "content": "你好，请问有什么可以帮你？"},
        {"role": "user", "content": "I feel anxious before exams.\n\nWhat can I do?"},
    ],
    "system prompt": [
        {"role": "system", "content": "你是一位耐心的心理咨询师。"},
        {"role": "user", "content": "他不理我了。"},
    ],
    "empty system prompt": [
        {"role": "system", "content": ""},
        {"role": "user", "content": "他不理我了。"},
    ],
    "long": [
        {"role": "user", "content": _LONG * 6},
        {"role": "assistant", "content": "听起来你很累。" * 4},
        {"role": "user", "content": _LONG * 2},
    ],
}
"""What is rendered on both sides."""
ASKED = ("single turn", "several turns", "system prompt")
"""The dialogues that a running service is asked."""
TOKENS = 12
"""Length of the replies that are compared, in tokens."""
LOGPROB_TOLERANCE = {"float32": 1e-3, "float16": 5e-2, "bfloat16": 0.5}
"""How far two computations of one log-probability (natural logarithm) may differ, by dtype."""
MERGE_TOLERANCE = 4.0
"""How far a merged weight may be from base + scale * B A, in roundings of its dtype."""
BEHAVIOUR_LIMIT_GIB = 2.0
"""Weights up to this size are also run on the CPU; a card takes what fits into its free memory."""
SHARE_APPLIED = 0.9
"""Below this share of the adapter in the merged weights a warning is due: the dtype rounds small changes away."""


def first_difference(trained: Rendered, served: Rendered, around: int = 10) -> str:
    """Where two renders of one dialogue part; empty where they are equal."""
    if "refused" in served:
        return f"the serving template refuses it: {served['refused']}"
    a, b = trained["ids"], served["ids"]
    if a == b:
        return ""
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))

    def shown(side: Rendered) -> str:
        pieces, ids = side["pieces"], side["ids"]
        before = "".join(pieces[max(0, at - around) : at])
        here = f"«{pieces[at]}» ({ids[at]})" if at < len(ids) else "«end»"
        return repr(before)[1:-1] + repr(here)[1:-1] + repr("".join(pieces[at + 1 : at + 1 + around]))[1:-1]

    return (
        f"token {at} differs ({len(a)} tokens in training, {len(b)} served)\n"
        f"    trained: …{shown(trained)}…\n    served:  …{shown(served)}…"
    )


def template_differences(
    trained: Side, served: Side, kind: Literal["dialogues", "prompts"] = "dialogues"
) -> dict[str, str]:
    """The dialogues that training and serving render differently, and where.

    Or the "prompts" of suites.
    """
    return {
        name: where
        for name, rendered in trained.get(kind, {}).items()
        if (where := first_difference(rendered, served[kind][name]))
    }


_PARTS = {
    "vocabulary": "the vocabulary",
    "merges": "the merges",
    "added": "the added tokens",
    "special": "the ids that begin and end a text",
    "sample": "the tokens of a fixed text, or the text that they make",
}


def why_other_tokenizer(trained: TokenizerFacts, served: TokenizerFacts) -> str:
    """Where the served tokenizer is not the training's; empty where it is.

    What one of the two cannot tell is not compared.
    """
    sides: tuple[Mapping[str, Any], Mapping[str, Any]] = (trained, served)
    for part, words in _PARTS.items():
        before, after = (side.get(part) for side in sides)
        if before is None or after is None or before == after:
            continue
        if part == "vocabulary" and (differing := trained.get("differing")):
            count, examples = differing
            shown = ", ".join(
                f"{number} is {old!r} in training and {new!r} served" for number, old, new in examples
            )
            return f"{words}: {count} ids differ: {shown}"
        if part in ("vocabulary", "merges"):
            return f"{words}: {before['size']} in training, {after['size']} served, with other content"
        if part == "sample":
            return words
        keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        return f"{words}: {keys[0]} is {before.get(keys[0])} in training and {after.get(keys[0])} served"
    return ""


def why_merge_wrong(merge: MergeFacts) -> str:
    """What is wrong with merged weights; empty where nothing is."""
    if not merge["adapted"]:
        return "the adapter holds no LoRA matrices"
    if not merge["modules"]:
        return (
            f"none of the adapter's {merge['adapted']} modules has a weight of its name in both the base and the "
            f"merged weights: {', '.join(merge['unknown'])}; is it the adapter of another model?"
        )
    if merge["not_finite"]:
        return (
            f"NaN or infinity in the merged weights of {', '.join(merge['not_finite'])}, or base + scale * B A: "
            "see whether the loss of the training ran away"
        )
    if merge["delta"] == 0:
        return "the adapter changes nothing: every scale * B A is zero, as before its first step"
    if merge["applied"] < 0.01:
        return (
            f"the merged weights are the base: of what the adapter changes, {merge['applied']:.0%} is in them "
            f"({merge['modules']} modules compared)"
        )
    if not merge["worst"] <= MERGE_TOLERANCE:
        return (
            f"{merge['worst_module']}: merged differs from base + scale * B A by {merge['worst']:.3g} roundings of "
            f"{merge['dtype']} (at most {MERGE_TOLERANCE:g}); {merge['applied']:.1%} of the adapter is in the merge"
        )
    if merge["others_changed"]:
        return f"tensors without an adapter differ from the base: {', '.join(merge['others_changed'])}"
    return ""


def why_behaviour_wrong(behaviour: Behaviour, dtype: str) -> str:
    """How merged weights act unlike base + adapter, or like the base."""
    tolerance = LOGPROB_TOLERANCE[dtype]
    same_as_base = []
    for name, reply in behaviour.get("dialogues", {}).items():
        if adapter := reply.get("adapter"):
            gaps = [abs(x - y) for x, y in zip(reply["logprobs"], adapter["logprobs"], strict=True)]
            # written so that a NaN is wrong, too
            for at, gap in enumerate(gaps):
                if not gap <= tolerance:
                    return (
                        f"{name}: merged and base + adapter differ by {gap:.3g} in the log-probability of token {at} "
                        f"of a reply (at most {tolerance:g} for {dtype})"
                    )
            # a token that is not its first choice there, by more than two computations may differ
            for at, margin in enumerate(adapter["margins"]):
                if not margin >= -2 * tolerance:
                    return (
                        f"{name}: base + adapter would not have said token {at} of the merged weights' reply"
                    )
        if base := reply.get("base"):
            same_as_base.append(reply["logprobs"] == base["logprobs"])
    if same_as_base and all(same_as_base):
        return "the tuned model gives every token the base's probability: the adapter was never applied"
    return ""


def largest_gap(behaviour: Behaviour, other: Literal["adapter", "base"]) -> float | None:
    """The largest log-probability gap to *other*; None where not measured.

    That is "adapter" or "base".
    """
    gaps = [
        abs(x - y)
        for reply in behaviour.get("dialogues", {}).values()
        if other in reply
        for x, y in zip(reply["logprobs"], reply[other]["logprobs"], strict=True)
    ]
    return max(gaps, default=None)


def expected_replies(behaviour: Behaviour, dtype: str) -> dict[str, str]:
    """The beginning of each reply that every sound computation shares.

    It ends before the first token that is a close call.
    """
    sure: dict[str, str] = {}
    for name, reply in behaviour.get("dialogues", {}).items():
        clear = _clear(reply, dtype)
        sure[name] = reply["texts"][clear - 1].rstrip("\ufffd") if clear else ""
    return sure


def telling_replies(behaviour: Behaviour, dtype: str) -> list[str]:
    """The dialogues whose expected beginning the base would not say."""
    return [
        name
        for name, reply in behaviour.get("dialogues", {}).items()
        if (rival := _rival(reply))
        and any(m < -4 * LOGPROB_TOLERANCE[dtype] for m in rival["margins"][: _clear(reply, dtype)])
    ]


def _rival(reply: Reply) -> Judged | None:
    """How the base, or what is served beside it, judges a reply."""
    return reply.get("base") or reply.get("beside")


def _clear(reply: Reply, dtype: str) -> int:
    """How many tokens of a reply come before the first close call."""
    sound = (margin > 4 * LOGPROB_TOLERANCE[dtype] for margin in reply["margins"])
    return next((at for at, clear in enumerate(sound) if not clear), len(reply["ids"]))


def spoken(behaviour: Behaviour) -> dict[str, Spoken]:
    """The probe's replies token by token, with both log-probabilities.

    None where there is no base.
    """
    return {
        name: {
            "tokens": reply["tokens"],
            "logprobs": reply["logprobs"],
            "margins": reply["margins"],
            "base": rival["logprobs"] if (rival := _rival(reply)) else [None] * len(reply["ids"]),
        }
        for name, reply in behaviour.get("dialogues", {}).items()
    }


def judge(
    measured: Measurements, dtype: str, prompt_date: str | None, who: str, *, tuned: bool
) -> dict[str, Any]:
    """The facts of the stage from what the probe measured.

    Raises:
        IdentityError: a template, the merge or its behaviour is not as trained; says which and where.
    """
    trained, served = measured["renders"]["trained"], measured["renders"]["served"]
    warnings = list(_date_warnings(trained, served, prompt_date))
    if differences := template_differences(trained, served):
        name, where = next(iter(differences.items()))
        raise IdentityError(
            f"{who}: training and serving render dialogue '{name}' differently ({len(differences)} of "
            f"{len(trained['dialogues'])} dialogues differ): {where}\nGive both the same 'template', system prompt "
            f"and 'prompt_date' in the matrix, or serve with the engine 'transformers', which renders as training does"
        )
    _refuse_other_tokens(trained, served, who)
    if measured.get("tuned") and not measured["tuned"]["changed"]:
        raise IdentityError(
            f"{who}: every tensor of the weights is the base's: nothing was trained into them, or 'weights' names the "
            "base's folder"
        )
    facts: dict[str, object] = {
        "dialogues": len(trained["dialogues"]),
        "suite_prompts": len(trained.get("prompts", {})),
        "prompt_tokens": {name: len(rendered["ids"]) for name, rendered in trained["dialogues"].items()},
    }
    if merge := measured.get("merge"):
        if problem := why_merge_wrong(merge):
            raise IdentityError(f"{who}: {problem}. Remove the merged folder and export again")
        facts |= {key: merge[key] for key in ("modules", "applied", "worst", "others", "dtype")}
        if merge["modules"] < merge["adapted"]:
            left = merge["adapted"] - merge["modules"]
            warnings.append(NOT_COMPARED(count=left, total=merge["adapted"], names=merge["unknown"]))
        if merge["applied"] < SHARE_APPLIED:
            warnings.append(ROUNDED_AWAY(dtype=merge["dtype"], share=1 - merge["applied"]))
    behaviour = measured.get("behaviour") or {}
    if problem := why_behaviour_wrong(behaviour, dtype):
        raise IdentityError(f"{who}: {problem}")
    if "skipped" in behaviour:
        warnings.append(REPLIES_NOT_COMPARED(why=behaviour["skipped"]))
    facts |= {
        "to_adapter": largest_gap(behaviour, "adapter"),
        "to_base": largest_gap(behaviour, "base"),
        "expected": expected_replies(behaviour, dtype),
        "telling": telling_replies(behaviour, dtype),
        "said": spoken(behaviour),
        "tolerance": LOGPROB_TOLERANCE[dtype],
        "skipped": behaviour.get("skipped", ""),
        "subject": "what was trained" if tuned else "the base",
        "tuned": tuned,
        "warnings": warnings,
    }
    return facts


def _refuse_other_tokens(trained: Side, served: Side, who: str) -> None:
    """Raise IdentityError where tokenizers or suites' prompts differ."""
    if problem := why_other_tokenizer(trained.get("tokenizer") or {}, served.get("tokenizer") or {}):
        raise IdentityError(
            f"{who}: the tokenizer that is served is not the training's: {problem}. Serve it with the tokenizer of "
            "the base that was trained"
        )
    if differences := template_differences(trained, served, "prompts"):
        name, where = next(iter(differences.items()))
        raise IdentityError(
            f"{who}: training and serving render the first question of suite '{name}' differently: {where}"
        )


def _date_warnings(trained: Side, served: Side, prompt_date: str | None) -> Iterable[str]:
    if not prompt_date and (day := trained["dated"] or served["dated"]):
        yield DATED_PROMPT(day=day)
