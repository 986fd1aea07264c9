"""Environments, and the names and flags that their tools know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bakeoff.chain.chain import Bench, Chain
from bakeoff.command import Command
from bakeoff.doctor.finding import (
    Finding,
    Visit,
)
from bakeoff.environments.building import built, is_running
from bakeoff.environments.installed import (
    Installed,
    Refused,
    check_command,
    installed,
    near_templates,
    why_refused,
)
from bakeoff.errors import BakeoffError
from bakeoff.forms.published import published_form
from bakeoff.matrix.schema import ModelSpec


def check_environments(visit: Visit) -> Iterator[Finding]:
    """Yield which environments are missing or broken; note the others."""
    for name in dict.fromkeys(n for row in visit.rows for _, n in row.environment if not row.url):
        environment = visit.matrix.environments[name]
        installation = built(environment, visit.workspace.environments)
        if installation is None:
            yield Finding(
                "note",
                f"environments.{name}",
                f"is not built yet ({', '.join(environment.requirements)}); its rows' flags are not checked",
                f"it is built on first use, in minutes; now: python -m bakeoff.environments {name}",
            )
            continue
        visit.environments[name] = installation
        if installation.version("ms-swift") is not None:
            try:
                visit.tools[name] = installed(installation, visit.workspace.cache, visit.asking)
            except BakeoffError as error:
                again = (
                    "repair it with pip"
                    if is_running(environment)
                    else f"remove {installation.python.parents[2]}"
                )
                yield Finding(
                    "error",
                    f"environments.{name}",
                    str(error),
                    f"{again}, then try again",
                    visit.users(name),
                )


def check_tools(visit: Visit) -> Iterator[Finding]:
    """Yield flags, model types and templates that the tools do not know."""
    for row in visit.rows:
        if row.url:
            continue
        chain = Chain(row, Bench.at_rest(visit.matrix, visit.workspace, visit.data_dir))
        lines = [line for stage in chain.stages() for line in stage.lines]
        for role, is_used in (("train", row.trains), ("serve", row.serving.engine == "transformers")):
            environment = visit.environment(row, role)
            if is_used and environment and environment.version("ms-swift") is None:
                name = getattr(row.environment, role)
                yield Finding(
                    "error",
                    row.name,
                    f"{role}: environment {name!r} has no ms-swift",
                    f"add ms-swift to environments.{name}.requirements",
                )
        training = [line.command for line in lines if line.role == "train"]
        serving = [line.command for line in lines if line.role == "serve" and not line.instead]
        tools = visit.installed(row, "train")
        if tools and row.trains:
            yield from _refused(row, training, tools)
            yield from _unlike(row, training[0], tools)
            base = row.model or row.weights or ""
            named = row.model_type and row.template
            if not row.tiny and not named and not tools.recognised(base):
                yield Finding(
                    "error",
                    row.name,
                    f"ms-swift {tools.swift} cannot tell the model type of {base!r} by its name",
                    "give model_type and template; docs/matrix.md lists those of the guide's models",
                )
        served = visit.environment(row, "serve")
        if served and row.serving.engine != "transformers":
            refused = [
                why
                for line in serving
                for why in why_refused(line, served, visit.workspace.cache, ask_now=True)
            ]
            yield from _told(row, refused, f"{row.serving.engine} {served.version(row.serving.engine)}")
        tools = visit.installed(row, "serve")
        if tools and row.serving.engine == "transformers":
            yield from _refused(row, serving, tools)


_TEMPLATE_INSTEAD = {"llama3_2": "llama3"}
"""Templates that a row may take instead of the one ms-swift would: the same words without the day's date."""


def _unlike(row: ModelSpec, line: Command, tools: Installed) -> Iterator[Finding]:
    """Where the row contradicts what ms-swift knows of its model."""
    recognised = tools.recognised(row.model or "")
    if not recognised:
        return
    form = published_form(row.model or "", trusts_code=row.trust_remote_code)
    is_another = form is not None and form.brings_code  # converted, it is of another type than its name says
    model_type, template = recognised
    named, spoken = line.value_of("--model_type"), line.value_of("--template")
    if named in tools.model_types and named != model_type and not is_another:
        yield Finding(
            "error",
            row.name,
            f"model_type {named}, but ms-swift {tools.swift} loads {row.model} as {model_type}",
            f"model_type: {model_type}, or leave it out",
        )
    if spoken in tools.templates and spoken not in (template, _TEMPLATE_INSTEAD.get(template)):
        yield Finding(
            "warning",
            row.name,
            f"template {spoken}, but {row.model} was made with {template}: it would be trained and asked in a "
            "prompt format that is not its own",
            f"template: {template}, or leave it out",
        )


def _refused(row: ModelSpec, lines: Sequence[Command], tools: Installed) -> Iterator[Finding]:
    refused = [refusal for line in lines for refusal in check_command(line, tools)]
    unknown = any(refusal.flag == "--template" for refusal in refused)
    templates = near_templates(row.template or "", Path(tools.python), row.model or "") if unknown else ""
    yield from _told(row, refused, f"ms-swift {tools.swift}", templates)


def _told(row: ModelSpec, refused: Sequence[Refused], tool: str, templates: str = "") -> Iterator[Finding]:
    for refusal in {
        refusal.what: refusal for refusal in refused
    }.values():  # a model type stands in every line
        remedy = f"remove it, or name an environment whose {tool.split()[0]} has it"
        if refusal.instead:
            remedy = f"use {refusal.instead}"
        if templates and refusal.flag == "--template":
            remedy = templates
        yield Finding("error", row.name, f"{refusal.what} to {tool}", remedy)
