"""What installed tools accept, asked of them and not remembered.

:func:`installed` asks an environment's own interpreter once (about ten seconds of imports) and keeps the answer;
:func:`check_command` holds a command line against it.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakeoff.environments.building import PROBE, PythonEnvironment, ask
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import Complaint, EnvironmentFailed, ToolError
from bakeoff.foundation.sentences import Template
from bakeoff.foundation.suggestions import IS_IT, NEAREST
from bakeoff.tools.engines import SERVERS
from bakeoff.tools.swift import OWN_TEMPLATES

REGISTERED = Template(
    "environments.installed.registered",
    "ms-swift registers {name} for {model}; others: {others}",
    zh="ms-swift 为 {model} 登记的是 {name}；其他：{others}",
)


@dataclass(frozen=True)
class Installed:
    """An environment's ms-swift: version, flags, model types and templates."""

    python: str
    swift: str
    transformers: str
    flags: Mapping[str, Mapping[str, list[str] | None]]
    """Stage (sft, export, deploy) -> flag without dashes -> its choices, or None where any value goes."""
    model_types: tuple[str, ...]
    templates: Mapping[str, str | None]
    """Template -> its default system prompt."""
    models: Mapping[str, tuple[str, str]]
    """Last part of a model id, lower case -> (model type, template), as ms-swift recognises it."""

    def recognised(self, model: str) -> tuple[str, str] | None:
        """Return model type and template of *model* by its name, or None.

        *model* is a hub id or a folder; ms-swift finds them.
        """
        return self.models.get(model.rstrip("/").rsplit("/", 1)[-1].lower())


Asking = Callable[[PythonEnvironment, Path], Any]
"""Has an environment's interpreter answer the question ``installed`` of ``probe.py`` into a file."""


def installed(environment: PythonEnvironment, store: Path, asking: Asking | None = None) -> Installed:
    """Return what the ms-swift of *environment* accepts.

    Kept under *store* until that ms-swift changes.

    Args:
        asking: how to ask it, where nothing is kept; None: in a process of its own.

    Raises:
        ToolError: the environment has no ms-swift.
        EnvironmentFailed: it has one that cannot be imported.
    """
    path = cache_file(environment, store)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        if environment.version("ms-swift") is None:
            raise ToolError(
                f"environment {environment.name!r} ({environment.python}) has no ms-swift: add a version of it to "
                f"environments.{environment.name}.requirements, or let the row use another environment"
            ) from None
        answer = path.with_suffix(f".{os.getpid()}")
        if asking:
            answer.parent.mkdir(parents=True, exist_ok=True)
            asking(environment, answer)
            raw = json.loads(answer.read_text(encoding="utf-8"))
        else:
            raw = ask(environment.python, "installed", out=answer)
        answer.replace(path)
    return Installed(
        str(environment.python),
        raw["swift"],
        raw["transformers"],
        raw["flags"],
        tuple(raw["model_types"]),
        raw["templates"],
        {name: (entry[0], entry[1]) for name, entry in raw["models"].items()},
    )


def cache_file(environment: PythonEnvironment, store: Path) -> Path:
    """Return where the answer for *environment* is kept.

    Named by interpreter, versions and the moment of installation.
    """
    package = swift_folder(environment.python)
    recorded = sorted(package.parent.glob("ms_swift-*.dist-info")) if package else []
    stamps = [str(path.stat().st_mtime_ns) for path in recorded]
    content = [
        str(environment.python),
        environment.version("ms-swift"),
        environment.version("transformers"),
        *stamps,
        PROBE.read_text(encoding="utf-8"),
    ]
    return store / "installed" / f"{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]}.json"


def swift_folder(python: Path) -> Path | None:
    """Return the package folder of ms-swift beside *python*, or None.

    Found without starting the interpreter.
    """
    prefix = python.parent.parent
    for folder in (*prefix.glob("lib/python*/site-packages/swift"), *prefix.glob("Lib/site-packages/swift")):
        if (folder / "version.py").is_file():
            return folder
    return None


def names_in_source(python: Path) -> dict[str, set[str]] | None:
    """Return the names in the source of *python*'s ms-swift, or None.

    ``model_type`` and ``template``; nothing is imported.

    A cheap first look: it knows the names of the constants, not what is registered under them.
    """
    package = swift_folder(python)
    if package is None:
        return None
    inner = package if (package / "model" / "constant.py").is_file() else package / "llm"
    try:
        return {
            "model_type": _constants(inner / "model" / "constant.py"),
            "template": _constants(inner / "template" / "constant.py"),
        }
    except OSError:
        return None


def _constants(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        line.value.value
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.Assign)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    }


# Names that ms-swift changed and that spelling alone would not lead to; the same thing stands in one line.
_SAME = (
    ("train_type", "tuner_type"),
    ("ckpt_dir", "adapters"),
    ("model_dir", "model"),
    ("use_liger", "use_liger_kernel"),
    ("custom_register_path", "external_plugins"),
    ("tp", "lmdeploy_tp"),
    ("session_len", "lmdeploy_session_len"),
    ("cache_max_entry_count", "lmdeploy_cache_max_entry_count"),
    ("tensor_parallel_size", "vllm_tensor_parallel_size"),
    ("max_model_len", "vllm_max_model_len"),
    ("gpu_memory_utilization", "vllm_gpu_memory_utilization"),
    ("pt", "transformers"),
    ("qwen2_5", "qwen2"),
    ("llama3_1", "llama"),
    ("chatglm3", "chatglm4", "glm4"),
    ("baichuan2", "baichuan"),
)


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the name among *candidates* that *name* likely means.

    A renamed one, else the closest spelling.
    """
    candidates = list(candidates)
    for names in _SAME:
        if name in names:
            for other in names:
                if other != name and other in candidates:
                    return other
    closest = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return closest[0] if closest else None


def near_templates(name: str, python: Path, model: str = "") -> str:
    """Return in words the templates that *name* may mean.

    The end of a sentence, each with models that ms-swift registers for it.

    What it registers for *model* comes first. Read from its source, which is not imported.
    """
    package = swift_folder(python)
    templates = (names_in_source(python) or {}).get("template", set())
    if package is None or not templates:
        return ""
    users = _models_by_template(package)
    model_name = model.rstrip("/").rsplit("/", 1)[-1].lower()
    registered = [
        each for each, models in users.items() if model_name and model_name in map(str.lower, models)
    ]
    stem = re.sub(r"[\W_]*\d.*$", "", name.lower())
    family = sorted(
        each for each in templates if len(stem) > 2 and re.match(rf"{re.escape(stem)}([\W_\d]|$)", each)
    )
    spelled = difflib.get_close_matches(name, sorted(templates), n=4, cutoff=0.6)
    renamed = [nearest(name, sorted(templates))] if any(name in names for names in _SAME) else []
    slip = [each for each in spelled if difflib.SequenceMatcher(None, name, each).ratio() > 0.9]
    if len(slip) == 1 and registered in ([], slip):
        return IS_IT(names=[repr(slip[0])])
    names = [each for each in dict.fromkeys([*registered, *spelled, *family, *renamed]) if each in templates]
    if not names:
        names = difflib.get_close_matches(name, sorted(templates), 3, 0)
    described = [
        f"{each!r} ({', '.join(users[each][:2])}{', …' if len(users[each]) > 2 else ''})"
        if users.get(each)
        else repr(each)
        for each in names[:8]
    ]
    if registered:
        return REGISTERED(name=described[0], model=model, others=described[1:])
    return NEAREST(names=described)


def _models_by_template(package: Path) -> dict[str, list[str]]:
    """Return the models of each template, in the source's order.

    By the last parts of their ids.
    """
    inner = package if (package / "model" / "constant.py").is_file() else package / "llm"
    values = _named_constants(inner / "template" / "constant.py")
    users: dict[str, list[str]] = {}
    for path in sorted((inner / "model").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "ModelMeta"):
                continue
            default = _template_of(call, values)
            for group in ast.walk(call):
                if isinstance(group, ast.Call) and getattr(group.func, "id", "") == "ModelGroup":
                    template = _template_of(group, values) or default
                    if template:
                        users.setdefault(template, []).extend(_ids_in(group))
    return {template: list(dict.fromkeys(ids)) for template, ids in users.items()}


def registered_as(model: str, python: Path) -> tuple[str, str] | None:
    """Return the model type and template registered for *model*.

    By the last part of its id; None for none.
    """
    package = swift_folder(python)
    if package is None or not (package / "model" / "constant.py").is_file():
        return None
    model_name = model.rstrip("/").rsplit("/", 1)[-1].lower()
    templates = _named_constants(package / "template" / "constant.py")
    types = _named_constants(package / "model" / "constant.py")
    for path in sorted((package / "model").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if model_name not in text.lower():
            continue
        for call in ast.walk(ast.parse(text)):
            if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "ModelMeta" and call.args):
                continue
            kind = types.get(getattr(call.args[0], "attr", ""), "")
            for group in ast.walk(call):
                if isinstance(group, ast.Call) and getattr(group.func, "id", "") == "ModelGroup":
                    template = _template_of(group, templates) or _template_of(call, templates)
                    if kind and template and model_name in map(str.lower, _ids_in(group)):
                        return kind, template
    return None


def _template_of(call: ast.Call, values: Mapping[str, str]) -> str:
    for keyword in call.keywords:
        if keyword.arg == "template" and isinstance(keyword.value, ast.Attribute):
            return values.get(keyword.value.attr, "")
    positional = [value for value in call.args if isinstance(value, ast.Attribute)]
    named = [
        values[value.attr]
        for value in positional
        if "Template" in ast.unparse(value) and value.attr in values
    ]
    return named[0] if named else ""


def _ids_in(group: ast.Call) -> list[str]:
    return [
        argument.value.rsplit("/", 1)[-1]
        for call in ast.walk(group)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Model"
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


def _named_constants(path: Path) -> dict[str, str]:
    """Name of a constant in the classes of *path* -> its text."""
    return {
        target.id: line.value.value
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.Assign)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
        for target in line.targets
        if isinstance(target, ast.Name)
    }


def check_command(command: Command, tools: Installed) -> list[Refused]:
    """Return what *tools* would refuse in *command*.

    Each with the nearest name that exists; empty where it is right.

    Only ``python -m swift.cli.<sft|export|deploy>`` lines are checked; others yield nothing.
    """
    stage = re.fullmatch(r"swift\.cli\.(\w+)", command.module or "")
    if not stage or stage[1] not in tools.flags:
        return []
    where = f"swift {stage[1]} of ms-swift {tools.swift}"
    values = {"model_type": list(tools.model_types), "template": [*tools.templates, *_registered(command)]}
    return _complaints(where, command.arguments, {**tools.flags[stage[1]], **values})


def _registered(command: Command) -> list[str]:
    """Return our templates that a plugin of *command* registers."""
    files = {Path(argument).name for argument in command.argv}
    return [name for name, plugin in OWN_TEMPLATES.items() if plugin in files]


class Refused(Complaint):
    """A flag, or a value of one, that a tool does not know.

    Attributes:
        flag: the flag as the tool spells it.
        instead: the nearest word that the tool knows; empty where none is near.
    """

    flag: str
    instead: str

    @classmethod
    def of(cls, place: str, flag: str, value: str, instead: str) -> Refused:
        """The refusal of *flag*, or of its *value* where that is given."""
        what = f"{flag} {value} is not known" if value else f"{flag} is not known"
        refused = cls(place, what, f"is it {instead}?" if instead else "")
        refused.flag, refused.instead = flag, instead
        return refused


def _complaints(
    where: str, argv: tuple[str, ...], flags: Mapping[str, list[str] | None], dash: str = "_"
) -> list[Refused]:
    """Return what of *argv* is not in *flags*.

    *dash* stands between the words of a flag where it is told.
    """

    def spelled(flag: str) -> str:
        return "--" + flag.replace("_", dash)

    complaints = []
    for flag, values in _options(argv):
        whole = [flag] if flag in flags else [each for each in flags if each.startswith(flag)]
        if len(whole) != 1:
            meant = nearest(flag, flags)
            complaints.append(Refused.of(where, spelled(flag), "", spelled(meant) if meant else ""))
            continue
        choices = flags[whole[0]]
        for value in values:
            if choices and value not in choices:
                meant = nearest(value, choices)
                if whole[0] == "template":  # a template of nearly that name may be another model's
                    meant = next(iter(difflib.get_close_matches(value, choices, 1)), None)
                complaints.append(Refused.of(where, spelled(whole[0]), value, meant or ""))
    return complaints


def why_refused(
    command: Command, environment: PythonEnvironment, store: Path, *, ask_now: bool
) -> list[Refused]:
    """Return what *environment* would refuse in *command*.

    See :func:`check_command`.

    Args:
        store: keeps what they answered.
        ask_now: ask them where nothing is kept; else nothing is refused.
    """
    if command.module in _PACKAGE:
        return _refused_by_engine(command, environment, store, ask_now)
    if not (command.module or "").startswith("swift.cli."):
        return []
    may_look = ask_now or cache_file(environment, store).exists()
    return check_command(command, installed(environment, store)) if may_look else []


_PACKAGE = {server.module: package for package, server in SERVERS.items()}


def _refused_by_engine(
    command: Command, environment: PythonEnvironment, store: Path, ask_now: bool
) -> list[Refused]:
    module = str(command.module)
    version = environment.version(_PACKAGE[module])
    if version is None:
        return []
    argv = [str(environment.python), module, version, PROBE.read_text(encoding="utf-8")]
    name = hashlib.sha256(json.dumps(argv).encode()).hexdigest()[:16]
    cache = store / "installed" / f"{_PACKAGE[module]}-{name}.json"
    if not cache.exists():
        if not ask_now:
            return []
        answer = cache.with_suffix(f".{os.getpid()}")
        line = json.dumps([module, *command.argv[3:]])
        try:
            ask(environment.python, "engine", line, out=answer)
        except EnvironmentFailed:  # what cannot even be asked says so when it is started
            return []
        answer.replace(cache)
    flags = json.loads(cache.read_text(encoding="utf-8"))["flags"]
    spoken = {flag.replace("-", "_"): choices for flag, choices in flags.items()}
    return _complaints(f"{_PACKAGE[module]} {version}", command.argv[3:], spoken, "-")


def _options(argv: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    options: list[tuple[str, list[str]]] = []
    for token in argv:
        if token.startswith("--"):
            name, sign, value = token[2:].partition("=")
            options.append((name.replace("-", "_"), [value] if sign else []))
        elif options:
            options[-1][1].append(token)
    return options
