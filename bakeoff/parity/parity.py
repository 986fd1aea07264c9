"""Is what is served what was trained? Prompts token by token, the merge tensor by tensor, the service by its replies.

:func:`check` is a stage of its own before a variant is served: a probe (:mod:`bakeoff.parity_probe`) measures
in the row's environment, and this module judges. :func:`check_replies` then holds the running service against it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from bakeoff import parity_probe
from bakeoff.command import Command, flags
from bakeoff.errors import DataError, IdentityError, ServiceError
from bakeoff.files import write_json
from bakeoff.parity_probe import PLUGIN_FLAGS, TEMPLATE_OPTIONS
from bakeoff.provenance import digest
from bakeoff.store.stages import Done, Record

if TYPE_CHECKING:
    from bakeoff.chain.chain import Chain
    from bakeoff.chain.service import Service

_LONG = "最近工作压力很大，晚上总是睡不着，白天又没有精神，我不知道该怎么办。"
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


# -- what was rendered ---------------------------------------------------------------------------------------------


def first_difference(trained: Mapping[str, Any], served: Mapping[str, Any], around: int = 10) -> str:
    """Where two renders of one dialogue part, with the text around it; empty where they are equal."""
    if "refused" in served:
        return f"the serving template refuses it: {served['refused']}"
    a, b = trained["ids"], served["ids"]
    if a == b:
        return ""
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))

    def shown(one: Mapping[str, Any]) -> str:
        pieces, ids = one["pieces"], one["ids"]
        before = "".join(pieces[max(0, at - around) : at])
        here = f"«{pieces[at]}» ({ids[at]})" if at < len(ids) else "«end»"
        return repr(before)[1:-1] + repr(here)[1:-1] + repr("".join(pieces[at + 1 : at + 1 + around]))[1:-1]

    return (
        f"token {at} differs ({len(a)} tokens in training, {len(b)} served)\n"
        f"    trained: …{shown(trained)}…\n    served:  …{shown(served)}…"
    )


def template_differences(
    trained: Mapping[str, Any], served: Mapping[str, Any], kind: str = "dialogues"
) -> dict[str, str]:
    """The dialogues (or "prompts" of suites) that training and serving render differently, each with where."""
    return {
        name: told
        for name, one in trained.get(kind, {}).items()
        if (told := first_difference(one, served[kind][name]))
    }


_PARTS = {
    "vocabulary": "the vocabulary",
    "merges": "the merges",
    "added": "the added tokens",
    "special": "the ids that begin and end a text",
    "sample": "the tokens of a fixed text, or the text that they make",
}


def why_other_tokenizer(trained: Mapping[str, Any], served: Mapping[str, Any]) -> str:
    """Where the tokenizer of what is served is not the training's, in words; empty where it is.

    What one of the two cannot tell is not compared.
    """
    for part, words in _PARTS.items():
        before, after = trained.get(part), served.get(part)
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


# -- what was merged -----------------------------------------------------------------------------------------------


def why_merge_wrong(told: Mapping[str, Any]) -> str:
    """What is wrong with merged weights, from what the probe's ``merge`` told; empty where nothing is."""
    if not told["adapted"]:
        return "the adapter holds no LoRA matrices"
    if not told["modules"]:
        return (
            f"none of the adapter's {told['adapted']} modules has a weight of its name in both the base and the merged "
            f"weights: {', '.join(told['unknown'])}; is it the adapter of another model?"
        )
    if told["not_finite"]:
        return (
            f"NaN or infinity in the merged weights of {', '.join(told['not_finite'])}, or base + scale * B A: "
            "see whether the loss of the training ran away"
        )
    if told["delta"] == 0:
        return "the adapter changes nothing: every scale * B A is zero, as before its first step"
    if told["applied"] < 0.01:
        return (
            f"the merged weights are the base: of what the adapter changes, {told['applied']:.0%} is in them "
            f"({told['modules']} modules compared)"
        )
    if not told["worst"] <= MERGE_TOLERANCE:
        return (
            f"{told['worst_module']}: merged differs from base + scale * B A by {told['worst']:.3g} roundings of "
            f"{told['dtype']} (at most {MERGE_TOLERANCE:g}); {told['applied']:.1%} of the adapter is in the merge"
        )
    if told["others_changed"]:
        return f"tensors without an adapter differ from the base: {', '.join(told['others_changed'])}"
    return ""


def why_behaviour_wrong(told: Mapping[str, Any], dtype: str) -> str:
    """How merged weights act otherwise than base + adapter, or like the base, in words; empty where they do not."""
    tolerance = LOGPROB_TOLERANCE[dtype]
    same_as_base = []
    for name, one in told.get("dialogues", {}).items():
        if adapter := one.get("adapter"):
            gaps = [abs(x - y) for x, y in zip(one["logprobs"], adapter["logprobs"], strict=True)]
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
        if base := one.get("base"):
            same_as_base.append(one["logprobs"] == base["logprobs"])
    if same_as_base and all(same_as_base):
        return "the tuned model gives every token the base's probability: the adapter was never applied"
    return ""


def largest_gap(told: Mapping[str, Any], other: str) -> float | None:
    """The largest difference of a log-probability from *other* ("adapter" or "base"); None where not measured."""
    gaps = [
        abs(x - y)
        for one in told.get("dialogues", {}).values()
        if other in one
        for x, y in zip(one["logprobs"], one[other]["logprobs"], strict=True)
    ]
    return max(gaps, default=None)


# -- what answers --------------------------------------------------------------------------------------------------


def expected_replies(told: Mapping[str, Any], dtype: str) -> dict[str, str]:
    """The beginning of each reply that every sound computation shares: up to the first token that is a close call."""
    sure: dict[str, str] = {}
    for name, one in told.get("dialogues", {}).items():
        clear = _clear(one, dtype)
        sure[name] = one["texts"][clear - 1].rstrip("\ufffd") if clear else ""
    return sure


def telling_replies(told: Mapping[str, Any], dtype: str) -> list[str]:
    """The dialogues whose expected beginning the base would not say, by more than a close call."""
    return [
        name
        for name, one in told.get("dialogues", {}).items()
        if "base" in one
        and any(m < -4 * LOGPROB_TOLERANCE[dtype] for m in one["base"]["margins"][: _clear(one, dtype)])
    ]


def _clear(one: Mapping[str, Any], dtype: str) -> int:
    """How many tokens of a reply come before the first close call."""
    sound = (margin > 4 * LOGPROB_TOLERANCE[dtype] for margin in one["margins"])
    return next((at for at, clear in enumerate(sound) if not clear), len(one["ids"]))


def said(told: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The probe's replies token by token, with the log-probability of each and what the base gives it (or None)."""
    return {
        name: {
            "tokens": one["tokens"],
            "logprobs": one["logprobs"],
            "base": one["base"]["logprobs"] if "base" in one else [None] * len(one["ids"]),
        }
        for name, one in told.get("dialogues", {}).items()
    }


Measured = tuple[float, float, float | None]
"""One token's log-probability at the service, by the probe, and by the probe of the base (None: no other model)."""


def check_replies(service: Service, facts: Mapping[str, Any]) -> dict[str, Any]:
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
        length = (answer.get("usage") or {}).get("prompt_tokens")
        wanted = facts["prompt_tokens"].get(name)
        if length and wanted:
            if length != wanted:
                raise IdentityError(
                    f"{service.served_name}: dialogue '{name}' has {length} prompt tokens at the service and {wanted} "
                    f"in training: it renders another prompt. Compare the templates: {service.by_hand}"
                )
            counted += 1
        reply = str(answer["choices"][0]["message"].get("content") or "")
        expected = facts["expected"].get(name, "")
        if expected and not _begins(reply, expected):
            raise IdentityError(
                f"{service.served_name}: dialogue '{name}' is answered {reply!r}, but {facts['subject']} says "
                f"{expected!r}: another model answers at {service.url}. By hand: {service.by_hand}"
            )
        agreed += bool(expected)
        told_apart |= name in facts["telling"] and len(_bare(reply)) >= len(_bare(expected))
        given = _given(answer["choices"][0])
        gave_any |= bool(given)
        if name in facts["said"]:
            measured += _aligned(given, facts["said"][name])
    if problem := why_another(measured, facts["tolerance"]):
        raise IdentityError(
            f"{service.served_name}: {problem}: another model than {facts['subject']} answers at {service.url}. "
            f"By hand: {service.by_hand}"
        )
    doubt = "" if told_apart else why_not_shown(measured, tuned=bool(facts.get("tuned")))
    if doubt and not facts["said"]:
        doubt = f"the replies of the weights were not measured: {facts['skipped'] or 'nothing was asked'}"
    elif doubt and not gave_any:
        doubt = "the service gives no log-probabilities, and its replies do not tell"
    return {
        "prompts_counted": counted,
        "replies_agreed": agreed,
        "logprobs_compared": len(measured),
        **dict(zip(("to_trained", "to_base", "apart"), _distances(measured), strict=True)),
        "identity": f"not shown: {doubt}" if doubt else "shown",
    }


def why_another(measured: Sequence[Measured], tolerance: float) -> str:
    """Why another model than the trained one gave these log-probabilities, in words; empty where none shows.

    Args:
        measured: see :data:`Measured`.
        tolerance: how far apart two sound computations may be in the mean; see :data:`LOGPROB_TOLERANCE`.
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
        return (
            f"the log-probabilities of {len(measured)} tokens are the base's ({to_base:.3g} away in the mean), not "
            f"those of the tuned weights ({to_trained:.3g} away)"
        )
    return ""


def why_not_shown(measured: Sequence[Measured], *, tuned: bool = False) -> str:
    """Why these log-probabilities do not tell the trained model from its base, in words; empty where they do.

    They do where the service is nearer to the trained model than a quarter of the way to the base. A base that is
    served as such has nothing else to be told from; *tuned* weights without a base to compare with are not shown.
    """
    to_trained, to_base, apart = _distances(measured)
    if to_trained is None:
        return "the service names its tokens otherwise than the tokenizer: their log-probabilities have no counterpart"
    if to_base is None:
        return "nothing was compared with the base of these weights" if tuned else ""
    if not apart or not to_trained <= apart / 4:
        return (
            f"tuned and base weights are {apart:.2g} apart in the log-probabilities of {len(measured)} tokens, and the "
            f"service {to_trained:.2g} from the tuned ones: too little to tell them apart"
        )
    return ""


def _distances(measured: Sequence[Measured]) -> tuple[float | None, float | None, float | None]:
    """Mean distances of log-probabilities: service to trained, service to base, trained to base."""
    if not measured:
        return None, None, None
    count = len(measured)
    to_trained = sum(abs(served - trained) for served, trained, _ in measured) / count
    against = [(served, trained, base) for served, trained, base in measured if base is not None]
    if not against:
        return to_trained, None, None
    to_base = sum(abs(served - base) for served, _, base in against) / count
    return to_trained, to_base, sum(abs(trained - base) for _, trained, base in against) / count


def _asked(service: Service, name: str) -> Any:
    """The answer to one dialogue, with log-probabilities where the service does not refuse a request for them."""
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


def _given(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The tokens of a reply and their log-probabilities, where the service gives any worth the name.

    An engine that takes them after its greedy choice has narrowed the tokens to one says 0 of each.
    """
    try:
        given = [(str(one["token"]), float(one["logprob"])) for one in choice["logprobs"]["content"]]
    except (KeyError, TypeError, ValueError):
        return []
    return given if any(logprob for _, logprob in given) else []


def _aligned(given: Sequence[tuple[str, float]], ours: Mapping[str, Any]) -> Iterable[Measured]:
    """The log-probabilities up to the first token that differs: what follows has another prompt."""
    for (token, logprob), names, trained, base in zip(
        given, ours["tokens"], ours["logprobs"], ours["base"], strict=False
    ):
        if _name(token) not in map(_name, names):
            break
        yield logprob, trained, base


def _name(token: str) -> str:
    return re.sub(r"[\s\u2581\u0120\ufffd]", "", token)  # engines write a leading space in several ways


def _begins(reply: str, expected: str) -> bool:
    """Whether one is the beginning of the other, but for white space and the marks of a harmony channel."""
    said, wanted = _bare(reply), _bare(expected)
    return said.startswith(wanted) or (bool(said) and wanted.startswith(said))


def _bare(text: str) -> str:
    """*text* without white space and the marks of a harmony channel.

    ms-swift leaves ``<|channel|>final<|message|>`` in a reply, a tokenizer's decoding only ``final``, and engines that
    know the format nothing.
    """
    return re.sub(r"^(analysis|final)", "", re.sub(r"<\|[a-z_]+\|>|\s", "", text))


# -- the stage -----------------------------------------------------------------------------------------------------


def check(chain: Chain, variant: str) -> Record:
    """The record of the stage ``parity`` of one variant, run now unless nothing has changed.

    Facts: ``dialogues`` and ``prompt_tokens`` rendered alike; for a merge ``modules``, ``applied``, ``worst``; the
    largest log-probability gaps ``to_adapter`` and ``to_base``; what :func:`check_replies` asks of a service
    (``expected``, ``telling``, ``said``, ``tolerance``, ``skipped``); ``warnings`` in words.

    Raises:
        IdentityError: the first thing that is not as it was trained.
    """
    plan = plan_for(chain, variant)
    return chain.bench.stages.ensure(
        "parity",
        chain.spec.name,
        variant=variant,
        folder=chain.parity_folder(variant, chain.spec.serving.way),
        identity={
            "fingerprint": chain.fingerprint(variant),
            "plan": digest(chain.named(json.dumps(plan))),
            "probe": digest(
                [chain.bench.hashes.of(Path(path)) for path in (__file__, parity_probe.__file__)]
            ),
        },
        work=lambda output: _probe(chain, variant, plan, output),
        output="parity.json",
    )


def view_command(chain: Chain, variant: str) -> Command | None:
    """The line that gives an engine's tokenizer the template of the training; None where ms-swift serves."""
    if chain.spec.serving.engine == "transformers" or chain.spec.url:
        return None
    way = chain.spec.serving.way
    options = options_of(chain.train_command(), chain.spec.training.plugins)
    places = {"model": chain.loaded_path(variant, way), "folder": chain.view_folder(variant, way)}
    return probe_command(chain, "train", "view", *flags({**places, **options}))


def plan_for(chain: Chain, variant: str) -> dict[str, Any]:
    """What the probe is to measure for *variant*; see :mod:`bakeoff.parity_probe`."""
    spec = chain.spec
    dtype = spec.training.dtype
    base = chain.base_path() if spec.model else None
    tuned = variant == "tuned"
    way_a = tuned and spec.serving.way == "adapter"
    adapter = str(chain.train().path) if tuned and not spec.weights else None
    merged = None if way_a or not tuned else chain.export().path
    options = options_of(chain.train_command(), chain.spec.training.plugins)
    trained: dict[str, Any] = {"by": "training", "model": base or merged, "model_type": spec.model_type}
    trained["options"] = options
    beside = next(
        (path for one in (adapter, merged) if one and (path := Path(one) / "args.json").is_file()), None
    )
    if beside and spec.trains:
        trained["args"] = str(beside)
    elif beside:
        trained["options"] = options | foreign_options(beside)
    served: dict[str, Any]
    if spec.serving.engine == "transformers":
        served = {"by": "deploy", "argv": list(chain.serve_command(variant, 0).argv[3:])}
    else:
        folder = str(chain.view_folder(variant, spec.serving.way))
        served = {"by": "tokenizer", "model": folder, "trust_remote_code": spec.trust_remote_code}
    plan: dict[str, Any] = {
        "view": None
        if spec.serving.engine == "transformers"
        else {"folder": served["model"], "how": trained | {"model": base if way_a else merged or base}},
        "renders": {"trained": trained, "served": served},
        "dialogues": dict(DIALOGUES),
        "prompts": chain.suite_prompts(),
        "asked": list(ASKED),
        "use_hf": spec.use_hf,
        "behaviour": {
            "base": base or merged,
            "adapter": adapter,
            "merged": merged,
            "dtype": dtype,
            "tokens": TOKENS,
            "limit_gib": BEHAVIOUR_LIMIT_GIB,
            "trust_remote_code": spec.trust_remote_code,
            "plugins": [file for flag in PLUGIN_FLAGS for file in options.get(flag, ())],
        },
    }
    if adapter and merged:
        plan["merge"] = {"base": base, "adapter": adapter, "merged": merged}
    elif merged and base:
        plan["tuned"] = {"base": base, "merged": merged}
    return plan


_NAME = re.compile(r"[\w.+,-]{0,200}")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(_NAME.fullmatch(value))


_FOREIGN: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "template": (_is_name, "the name of a template"),
    "system": (lambda value: isinstance(value, str), "a text"),
    "response_prefix": (lambda value: isinstance(value, str), "a text"),
    "agent_template": (_is_name, "the name of a template"),
    "loss_scale": (_is_name, "a name"),
    "template_backend": (lambda value: value in ("swift", "jinja"), "swift or jinja"),
    **{
        name: (lambda value: isinstance(value, bool), "true or false")
        for name in ("use_chat_template", "enable_thinking", "preserve_thinking", "add_non_thinking_prefix")
    },
}
"""What is taken from the arguments of a training that was not ours, and of which form it has to be."""


def foreign_options(args: Path) -> dict[str, Any]:
    """What the file *args*, which somebody's training left beside weights or an adapter, says of the prompts.

    Nothing that it names is ever imported; see :func:`bakeoff.tools.swift.own_plugin`.

    Raises:
        DataError: it cannot be read, or says something of another form.
    """
    try:
        told = json.loads(args.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{args}: no arguments of a training ({type(error).__name__}); remove it") from None
    if not isinstance(told, dict):
        raise DataError(f"{args}: no arguments of a training; remove it")
    options: dict[str, Any] = {}
    for name, (fits, words) in _FOREIGN.items():
        value = told.get(name)
        if value is None:
            continue
        if not fits(value):
            raise DataError(
                f"{args}: '{name}' is {str(value)[:120]!r}, which is not {words}; correct or remove it"
            )
        options[name] = value
    return options


def options_of(command: Command, faster: Sequence[str] = ()) -> dict[str, Any]:
    """The flags of an ms-swift line that decide how a dialogue is rendered, by name.

    Args:
        command: the line.
        faster: plugins that only make the training faster, and that a probe should not load.
    """
    names = ("model_type", "template", "use_hf", "system", *TEMPLATE_OPTIONS)
    found: dict[str, Any] = {
        name: value for name in names if (value := command.value_of(f"--{name}")) is not None
    }
    plugins = {
        name: [file for file in _values(command.argv, f"--{name}") if Path(file).stem not in faster]
        for name in PLUGIN_FLAGS
        if f"--{name}" in command.argv
    }
    return found | {name: files for name, files in plugins.items() if files}


def _values(argv: Sequence[str], flag: str) -> list[str]:
    rest = argv[argv.index(flag) + 1 :]
    return list(rest[: next((i for i, one in enumerate(rest) if one.startswith("--")), len(rest))])


def _probe(chain: Chain, variant: str, plan: Mapping[str, Any], output: Path) -> Done:
    """Measure in the environment that trains and, where it is another one, render in the one that serves."""
    spec = chain.spec
    told: dict[str, Any] = {}
    log = output.with_name("stage.log")
    log.unlink(missing_ok=True)
    parts: dict[str, Mapping[str, Any]] = {"train": plan}
    if chain.tools("serve").python != chain.tools("train").python:
        renders = plan["renders"]
        parts["train"] = {**plan, "renders": {"trained": renders["trained"]}}
        asked = {name: plan[name] for name in ("dialogues", "prompts")}
        parts["serve"] = {"renders": {"served": renders["served"]}, **asked}
    for role, part in parts.items():
        path, measured = output.with_name(f"plan-{role}.json"), output.with_name(f"measured-{role}.json")
        write_json(path, {**part, "output": str(measured)})
        command = probe_command(chain, role, "check", str(path))
        with chain.leased("parity") as placed:
            process = chain.bench.runner.run(
                placed(command), log, timeout_s=spec.limits.export_s, stall_s=spec.limits.stall_s
            )
        answer = json.loads(measured.read_text(encoding="utf-8"))
        told |= answer | {"renders": {**told.get("renders", {}), **answer["renders"]}}
    facts = judge(
        told, spec.training.dtype, spec.prompt_date, f"{spec.name}, {variant}", tuned=variant == "tuned"
    )
    if variant == "tuned" and (doubt := chain.base_doubt()):
        facts["warnings"].append(doubt)
        chain.bench.stages.timeline.tell("another base", model=spec.name, variant=variant, why=doubt)
    write_json(output, facts)
    return Done(str(command), process.peak_memory_gib, facts)


def probe_command(chain: Chain, role: str, *arguments: str) -> Command:
    """The line that starts the probe in the environment of *role*; another one than ours gets it as a plain file."""
    python = chain.tools(role).python
    own = ("-m", "bakeoff.parity_probe")
    argv = (
        python,
        *(own if python == sys.executable else (str(Path(parity_probe.__file__)),)),
    )
    return chain.tools(role).within(Command((*argv, *arguments), chain.train_command().env))


def judge(
    told: Mapping[str, Any], dtype: str, prompt_date: str | None, who: str, *, tuned: bool
) -> dict[str, Any]:
    """The facts of the stage from what the probe measured.

    Raises:
        IdentityError: a template, the merge or its behaviour is not as trained; says which and where.
    """
    trained, served = told["renders"]["trained"], told["renders"]["served"]
    warnings = list(_date_warnings(trained, served, prompt_date))
    if differences := template_differences(trained, served):
        name, where = next(iter(differences.items()))
        raise IdentityError(
            f"{who}: training and serving render dialogue '{name}' differently ({len(differences)} of "
            f"{len(trained['dialogues'])} dialogues differ): {where}\nGive both the same 'template', system prompt "
            f"and 'prompt_date' in the matrix, or serve with the engine 'transformers', which renders as training does"
        )
    _refuse_other_tokens(trained, served, who)
    if told.get("tuned") and not told["tuned"]["changed"]:
        raise IdentityError(
            f"{who}: every tensor of the weights is the base's: nothing was trained into them, or 'weights' names the "
            "base's folder"
        )
    facts: dict[str, Any] = {
        "dialogues": len(trained["dialogues"]),
        "suite_prompts": len(trained.get("prompts", {})),
        "prompt_tokens": {name: len(one["ids"]) for name, one in trained["dialogues"].items()},
    }
    if merge := told.get("merge"):
        if problem := why_merge_wrong(merge):
            raise IdentityError(f"{who}: {problem}. Remove the merged folder and export again")
        facts |= {key: merge[key] for key in ("modules", "applied", "worst", "others", "dtype")}
        if merge["modules"] < merge["adapted"]:
            warnings.append(
                f"{merge['adapted'] - merge['modules']} of {merge['adapted']} adapted modules have other names in the "
                f"merged weights and could not be compared: {', '.join(merge['unknown'])}"
            )
        if merge["applied"] < SHARE_APPLIED:
            warnings.append(
                f"{merge['dtype']} rounds {1 - merge['applied']:.0%} of the adapter away; way A, base + adapter, or "
                "a float32 merge keeps it"
            )
    behaviour = told.get("behaviour") or {}
    if problem := why_behaviour_wrong(behaviour, dtype):
        raise IdentityError(f"{who}: {problem}")
    if "skipped" in behaviour:
        warnings.append(f"replies were not compared: {behaviour['skipped']}")
    facts |= {
        "to_adapter": largest_gap(behaviour, "adapter"),
        "to_base": largest_gap(behaviour, "base"),
        "expected": expected_replies(behaviour, dtype),
        "telling": telling_replies(behaviour, dtype),
        "said": said(behaviour),
        "tolerance": LOGPROB_TOLERANCE[dtype],
        "skipped": behaviour.get("skipped", ""),
        "subject": "what was trained" if tuned else "the base",
        "tuned": tuned,
        "warnings": warnings,
    }
    return facts


def _refuse_other_tokens(trained: Mapping[str, Any], served: Mapping[str, Any], who: str) -> None:
    """Raise IdentityError where tokenizers, or the prompts of suites, differ though the dialogues are alike."""
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


def _date_warnings(
    trained: Mapping[str, Any], served: Mapping[str, Any], prompt_date: str | None
) -> Iterable[str]:
    if not prompt_date and (day := trained["dated"] or served["dated"]):
        yield (
            f"the template prints the day ({day}): tomorrow's prompts differ from today's; pin one with 'prompt_date'"
        )
