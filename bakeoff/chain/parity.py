"""The stage that compares what is served with what was trained.

A probe (:mod:`bakeoff.parity_probe`) measures in the row's environment, :mod:`bakeoff.parity` judges.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict, cast

from bakeoff import parity_probe
from bakeoff.chain.weights import other_settings
from bakeoff.foundation.command import Command, flags
from bakeoff.foundation.errors import DataError
from bakeoff.foundation.files import write_json
from bakeoff.parity.comparison import ASKED, BEHAVIOUR_LIMIT_GIB, DIALOGUES, TOKENS, judge
from bakeoff.probes.loading import PLUGIN_FLAGS, TEMPLATE_OPTIONS
from bakeoff.probes.measured import Measurements
from bakeoff.store.facts import ParityFacts
from bakeoff.store.stage import Stage
from bakeoff.store.stages import Done, Record
from bakeoff.tools.foreign import is_name, is_plain_text

if TYPE_CHECKING:
    from bakeoff.chain.chain import Chain


RULES = 1
"""The version of what is measured, compared and judged here, in :mod:`bakeoff.parity` and in its probe.

Raise it by hand with a change after which what was found sound should be looked at again: every record then runs anew.
"""


class Render(TypedDict, total=False):
    """How one side renders a dialogue: by the training's template, ``swift deploy``, or a tokenizer."""

    by: str
    model: str | None
    model_type: str | None
    options: dict[str, object]
    args: str
    argv: list[str]
    trust_remote_code: bool


class Merge(TypedDict):
    """The folders of a merge."""

    base: str | None
    adapter: str
    merged: str


class Behaviour(TypedDict):
    """What is run to see what it says; see :class:`bakeoff.probes.replies.Subject`."""

    base: str | None
    adapter: str | None
    merged: str | None
    dtype: str
    tokens: int
    limit_gib: float
    trust_remote_code: bool
    plugins: list[str]
    beside: NotRequired[str]


class Plan(TypedDict):
    """What the probe is to measure."""

    view: dict[str, object] | None
    renders: dict[str, Render]
    dialogues: dict[str, list[dict[str, str]]]
    prompts: dict[str, list[dict[str, str]]]
    asked: list[str]
    use_hf: bool
    behaviour: Behaviour
    merge: NotRequired[Merge]
    tuned: NotRequired[dict[str, str]]


def check(chain: Chain, stage: Stage[ParityFacts]) -> Record:
    """Return the record of the stage ``parity`` of one variant.

    It runs now unless nothing has changed.

    Facts: ``dialogues`` and ``prompt_tokens`` rendered alike; for a merge ``modules``, ``applied``, ``worst``; the
    largest log-probability gaps ``to_adapter`` and ``to_base``; what :func:`check_replies` asks of a service
    (``expected``, ``telling``, ``said``, ``tolerance``, ``skipped``); ``warnings`` in words; ``seconds`` of each part.

    Raises:
        IdentityError: the first thing that is not as it was trained.
    """
    plan = plan_for(chain, stage.variant)
    return chain.bench.stages.ensure(stage, lambda output: _probe(chain, stage, plan, output))


def view_command(chain: Chain, variant: str) -> Command | None:
    """Return the line that writes the view of a variant.

    The view gives an engine's tokenizer the template of the training; None where ms-swift serves.
    """
    if chain.spec.serving.engine == "transformers" or chain.spec.url:
        return None
    way = chain.spec.serving.way
    options = options_of(chain.train_command(), chain.spec.training.plugins)
    places = {"model": chain.loaded_path(variant, way), "folder": chain.view_folder(variant, way)}
    return probe_command(chain, "train", "view", *flags({**places, **options}))


def plan_for(chain: Chain, variant: str) -> Plan:
    """Return what the probe is to measure for *variant*.

    See :mod:`bakeoff.parity_probe`.
    """
    spec = chain.spec
    dtype = spec.training.dtype
    base = chain.base_path() if spec.model else None
    tuned = variant == "tuned"
    way_a = tuned and spec.serving.way == "adapter"
    adapter = str(chain.train().path) if tuned and not spec.weights else None
    merged = None if way_a or not tuned else chain.export().path
    options = options_of(chain.train_command(), spec.training.plugins)
    plugins = plugins_of(chain.train_command(), spec.training.plugins)
    trained: Render = {"by": "training", "model": base or merged, "model_type": spec.model_type}
    trained["options"] = options
    beside = next(
        (path for place in (adapter, merged) if place and (path := Path(place) / "args.json").is_file()), None
    )
    if beside and spec.trains:
        trained["args"] = str(beside)
    elif beside:
        trained["options"] = options | foreign_options(beside)
    served: Render
    if spec.serving.engine == "transformers":
        served = {"by": "deploy", "argv": list(chain.serve_command(variant, 0).argv[3:])}
    else:
        folder = str(chain.view_folder(variant, spec.serving.way))
        served = {"by": "tokenizer", "model": folder, "trust_remote_code": spec.trust_remote_code}
    plan: Plan = {
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
            "plugins": [file for files in plugins.values() for file in files],
        },
    }
    if spec.serving.shared and not tuned:
        plan["behaviour"]["beside"] = str(chain.train().path)
    if adapter and merged:
        plan["merge"] = {"base": base, "adapter": adapter, "merged": merged}
    elif merged and base:
        plan["tuned"] = {"base": base, "merged": merged}
    return plan


_FOREIGN: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "template": (is_name, "the name of a template"),
    "system": (is_plain_text, "a text, which has to be no name of a file"),
    "response_prefix": (is_plain_text, "a text, which has to be no name of a file"),
    "agent_template": (is_name, "the name of a template"),
    "loss_scale": (is_name, "a name"),
    "template_backend": (lambda value: value in ("swift", "jinja"), "swift or jinja"),
    **{
        name: (lambda value: isinstance(value, bool), "true or false")
        for name in ("use_chat_template", "enable_thinking", "preserve_thinking", "add_non_thinking_prefix")
    },
}
"""What is taken from the arguments of a training that was not ours, and of which form it has to be."""


def foreign_options(args: Path) -> dict[str, object]:
    """Return what somebody's training arguments say of the prompts.

    *args* is the file that it left beside weights or an adapter.

    Nothing that it names is ever imported; see :func:`bakeoff.tools.foreign.own_plugin`.

    Raises:
        DataError: it cannot be read, or says something of another form.
    """
    try:
        arguments = json.loads(args.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{args}: no arguments of a training ({type(error).__name__}); remove it") from None
    if not isinstance(arguments, dict):
        raise DataError(f"{args}: no arguments of a training; remove it")
    options: dict[str, object] = {}
    for name, (fits, words) in _FOREIGN.items():
        value = arguments.get(name)
        if value is None:
            continue
        if not fits(value):
            raise DataError(
                f"{args}: '{name}' is {str(value)[:120]!r}, which is not {words}; correct or remove it"
            )
        options[name] = value
    return options


def options_of(command: Command, faster: Sequence[str] = ()) -> dict[str, object]:
    """Return the flags that decide how a dialogue is rendered.

    By name, of an ms-swift line.

    Args:
        command: the line.
        faster: plugins that only make the training faster, and that a probe should not load.
    """
    names = ("model_type", "template", "use_hf", "system", *TEMPLATE_OPTIONS)
    options: dict[str, object] = {
        name: value for name in names if (value := command.value_of(f"--{name}")) is not None
    }
    return options | plugins_of(command, faster)


def plugins_of(command: Command, faster: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return the plugins of an ms-swift line that a probe loads, by flag."""
    plugins = {
        name: [file for file in _values(command.argv, f"--{name}") if Path(file).stem not in faster]
        for name in PLUGIN_FLAGS
        if f"--{name}" in command.argv
    }
    return {name: files for name, files in plugins.items() if files}


def _values(argv: Sequence[str], flag: str) -> list[str]:
    rest = argv[argv.index(flag) + 1 :]
    return list(rest[: next((i for i, argument in enumerate(rest) if argument.startswith("--")), len(rest))])


def _probe(chain: Chain, stage: Stage[ParityFacts], plan: Plan, output: Path) -> Done:
    """Measure in the environment that trains.

    Where another one serves, it is asked to render, too.
    """
    spec, variant = chain.spec, stage.variant
    measurement: dict[str, object] = {}
    renders: dict[str, object] = {}
    seconds: dict[str, float] = {}
    log, limits = stage.log_file, stage.limits
    log.unlink(missing_ok=True)
    parts: dict[str, Mapping[str, object]] = {"train": plan}
    if chain.tools("serve").python != chain.tools("train").python:
        parts["train"] = {**plan, "renders": {"trained": plan["renders"]["trained"]}}
        questions = {name: plan[name] for name in ("dialogues", "prompts")}
        parts["serve"] = {"renders": {"served": plan["renders"]["served"]}, **questions}
    for role, part in parts.items():
        path, measured = output.with_name(f"plan-{role}.json"), output.with_name(f"measured-{role}.json")
        write_json(path, {**part, "output": str(measured)})
        command = probe_command(chain, role, "check", str(path))
        with chain.leased(stage.needs) as placed:
            process = chain.bench.runner.run(
                placed(command), log, timeout_s=limits.timeout_s, stall_s=limits.stall_s
            )
        answer = json.loads(measured.read_text(encoding="utf-8"))
        seconds |= answer.get("seconds", {})
        renders |= answer["renders"]
        measurement |= answer
    facts = judge(
        cast(Measurements, {**measurement, "renders": renders}),
        spec.training.dtype,
        spec.prompt_date,
        f"{spec.name}, {variant}",
        tuned=variant == "tuned",
    )
    if variant == "tuned" and (doubt := chain.base_doubt()):
        facts["warnings"].append(doubt)
        chain.bench.stages.timeline.tell("another base", model=spec.name, variant=variant, why=doubt)
    if variant == "tuned" and spec.weights and spec.model:
        facts["warnings"] += other_settings(Path(chain.export().path), Path(chain.base_path()))
    if spec.serving.shared:
        facts["shared"] = True
    facts["seconds"] = seconds
    write_json(output, facts)
    return Done(str(command), process.peak_memory_gib, facts)


def probe_command(chain: Chain, role: str, *arguments: str) -> Command:
    """Return the line that starts the probe for *role*.

    Another environment than ours gets it as a plain file.
    """
    python = chain.tools(role).python
    module = ("-m", "bakeoff.parity_probe")
    argv = (
        python,
        *(module if python == sys.executable else (str(Path(parity_probe.__file__)),)),
    )
    return chain.tools(role).within(Command((*argv, *arguments), chain.train_command().env))
