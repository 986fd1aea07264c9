"""Environments, and the names and flags that their tools know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

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
from bakeoff.forms.published import published_form
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.sentences import Template, of_error
from bakeoff.matrix.schema import ModelSpec

NOT_BUILT = Template(
    "doctor.names.not_built",
    "is not built yet ({requirements}); its rows' flags are not checked",
    zh="尚未构建（{requirements}）；使用它的各行的参数暂未检查",
)
BUILD = Template(
    "doctor.names.build",
    "it is built on first use, in minutes; now: python -m bakeoff.environments {name}",
    zh="首次使用时自动构建，需几分钟；现在构建：python -m bakeoff.environments {name}",
)
PIP = Template("doctor.names.pip", "repair it with pip, then try again", zh="用 pip 修复后重试")
REMOVE = Template("doctor.names.remove", "remove {folder}, then try again", zh="删除 {folder} 后重试")
NO_SWIFT = Template(
    "doctor.names.no_swift",
    "{role}: environment {name!r} has no ms-swift",
    zh="{role}：环境 {name!r} 中没有 ms-swift",
)
ADD_SWIFT = Template(
    "doctor.names.add_swift",
    "add ms-swift to environments.{name}.requirements",
    zh="在 environments.{name}.requirements 中加入 ms-swift",
)
NOT_RECOGNISED = Template(
    "doctor.names.not_recognised",
    "ms-swift {version} cannot tell the model type of {model!r} by its name",
    zh="ms-swift {version} 无法从名称 {model!r} 判断模型类型",
)
GIVE_TYPE = Template(
    "doctor.names.give_type",
    "give model_type and template; docs/matrix.md lists those of the guide's models",
    zh="请写明 model_type 和 template；指南中各模型的取值见 docs/matrix.md",
)
ANOTHER_TYPE = Template(
    "doctor.names.another_type",
    "model_type {named}, but ms-swift {version} loads {model} as {right}",
    zh="model_type 为 {named}，而 ms-swift {version} 将 {model} 识别为 {right}",
)
TAKE_TYPE = Template(
    "doctor.names.take_type",
    "model_type: {right}, or leave it out",
    zh="改为 model_type: {right}，或删去此项",
)
ANOTHER_TEMPLATE = Template(
    "doctor.names.another_template",
    "template {named}, but {model} was made with {right}: it would be trained and asked in a prompt format that is "
    "not its own",
    zh="template 为 {named}，而 {model} 使用 {right}：会以不属于它的提示词格式训练和提问",
)
TAKE_TEMPLATE = Template(
    "doctor.names.take_template",
    "template: {right}, or leave it out",
    zh="改为 template: {right}，或删去此项",
)
NOT_KNOWN = Template("doctor.names.not_known", "{what} to {tool}", zh="{tool}：{what}")
ANOTHER_TOOL = Template(
    "doctor.names.another_tool",
    "remove it, or name an environment whose {tool} has it",
    zh="删去此项，或指定一个其 {tool} 支持它的环境",
)
USE = Template("doctor.names.use", "use {instead}", zh="请用 {instead}")


def check_environments(visit: Visit) -> Iterator[Finding]:
    """Yield which environments are missing or broken; note the others."""
    for name in dict.fromkeys(n for row in visit.rows for _, n in row.environment if not row.url):
        environment = visit.matrix.environments[name]
        installation = built(environment, visit.workspace.environments)
        if installation is None:
            yield Finding(
                "note",
                f"environments.{name}",
                NOT_BUILT(requirements=environment.requirements),
                BUILD(name=name),
            )
            continue
        visit.environments[name] = installation
        if installation.version("ms-swift") is not None:
            try:
                visit.tools[name] = installed(installation, visit.workspace.cache, visit.asking)
            except BakeoffError as error:
                again = PIP() if is_running(environment) else REMOVE(folder=installation.python.parents[2])
                yield Finding(
                    "error",
                    f"environments.{name}",
                    of_error(error),
                    again,
                    visit.users(name),
                )


def check_tools(visit: Visit) -> Iterator[Finding]:
    """Yield flags, model types and templates that the tools do not know."""
    for row in visit.rows:
        if row.url:
            continue
        lines = visit.lines_of(row)
        for role, is_used in (("train", row.trains), ("serve", row.serving.engine == "transformers")):
            environment = visit.environment(row, role)
            if is_used and environment and environment.version("ms-swift") is None:
                name = getattr(row.environment, role)
                yield Finding(
                    "error",
                    row.name,
                    NO_SWIFT(role=role, name=name),
                    ADD_SWIFT(name=name),
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
                    NOT_RECOGNISED(version=tools.swift, model=base),
                    GIVE_TYPE(),
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
            ANOTHER_TYPE(named=named, version=tools.swift, model=row.model, right=model_type),
            TAKE_TYPE(right=model_type),
        )
    if spoken in tools.templates and spoken not in (template, _TEMPLATE_INSTEAD.get(template)):
        yield Finding(
            "warning",
            row.name,
            ANOTHER_TEMPLATE(named=spoken, model=row.model, right=template),
            TAKE_TEMPLATE(right=template),
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
        remedy: str = ANOTHER_TOOL(tool=tool.split()[0])
        if refusal.instead:
            remedy = USE(instead=refusal.instead)
        if templates and refusal.flag == "--template":
            remedy = templates
        yield Finding("error", row.name, NOT_KNOWN(what=refusal.what, tool=tool), remedy)
