"""Questions that only an environment's interpreter can answer.

Run there as a script, answered as JSON.

``python probe.py versions OUT``, ``installed OUT``, ``parse OUT LINES``, ``engine OUT LINE`` or ``rotary OUT MODEL``.
It needs the standard library and, beyond ``versions``, that environment's ms-swift (3.0 or newer) or engine. OUT is a
file, because the imports print to stdout.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def versions() -> dict[str, object]:
    """Return the interpreter's version and all installed versions."""
    import platform

    return {"python": platform.python_version(), "packages": packages()}


def packages() -> dict[str, str]:
    """Return the version of every installed package, by its normalised name."""
    import importlib.metadata as metadata
    import re

    version_of: dict[str, str] = {}
    # setuptools, once imported, adds a folder of copies for itself: what is installed does not depend on imports
    places = [place for place in sys.path if Path(place).name != "_vendor"]
    for distribution in metadata.distributions(path=places):
        # two lines of a header: parsing all of each as a mail, as metadata does, takes ten times as long
        texts = map(
            distribution.read_text, ("METADATA", "PKG-INFO", "")
        )  # the last: an egg-info that is a file
        header = next(filter(None, texts), "").partition("\n\n")[0]
        fields = dict(re.findall(r"^(Name|Version):[ \t]*(.*?)[ \t\r]*$", header, re.MULTILINE))
        if "Name" in fields and "Version" in fields:
            version_of.setdefault(re.sub(r"[-_.]+", "-", fields["Name"]).lower(), fields["Version"])
    return dict(sorted(version_of.items()))


def installed() -> dict[str, object]:
    """Flags, model types and templates of the ms-swift found here.

    ``flags`` is stage -> flag (no dashes) -> choices or null; ``templates`` is name -> default system prompt;
    ``models`` is the lower-case last part of a model id -> ``[model type, template]``, as ms-swift matches them.
    """
    sys.argv = sys.argv[:1]
    import swift  # type: ignore[import-untyped,unused-ignore]
    import transformers
    from transformers import HfArgumentParser

    stages, models, templates = _registries()
    flags: dict[str, dict[str, list[str] | None]] = {}
    for stage, arguments in stages.items():
        # the long option lists are all that is asked for: no value is parsed, no __post_init__ runs
        parser = HfArgumentParser([arguments])
        flags[stage] = {
            option[2:]: [str(each) for each in action.choices] if action.choices else None
            for action in parser._actions
            for option in action.option_strings
            if option.startswith("--") and "-" not in option[2:]
        }
    matches: dict[str, list[str | None]] = {}
    for model_type, meta in models.items():
        for group in meta.model_groups:
            for each in group.models:
                for name in (each.ms_model_id, each.hf_model_id):
                    if name:
                        template = getattr(group, "template", None) or meta.template
                        matches.setdefault(name.rsplit("/", 1)[-1].lower(), [model_type, template])
    return {
        "swift": swift.__version__,
        "transformers": transformers.__version__,
        "flags": flags,
        "model_types": sorted(models),
        "templates": {str(name): _text(meta.default_system) for name, meta in sorted(templates.items())},
        "models": matches,
    }


def parse(lines: str) -> dict[str, object]:
    """Return what the argument parsers refuse in *lines*, in words.

    *lines* is a JSON list of ``[stage, [argument, …]]``.
    """
    import contextlib
    import io

    sys.argv = sys.argv[:1]
    from transformers import HfArgumentParser

    parsers = {stage: HfArgumentParser([arguments]) for stage, arguments in _registries()[0].items()}
    refusals = []
    for stage, arguments in json.loads(lines):
        output = io.StringIO()
        try:
            with contextlib.redirect_stderr(output):
                _, remaining = parsers[stage].parse_known_args(arguments)
        except SystemExit:
            remaining = [output.getvalue().strip().splitlines()[-1]]
        refusals += [f"{stage}: {argument}" for argument in remaining]
    return {"refusals": refusals}


def engine(line: str) -> dict[str, object]:
    """Return what an engine's own server says to *line*.

    A JSON list of its module and arguments; it is not started.

    ``refusals`` in words, and ``flags``: flag (no dashes) -> choices or null. The module is run until its parser has
    read the line, so whatever it registers on the way is there.
    """
    import argparse
    import contextlib
    import io
    import runpy

    class Read(BaseException):
        pass

    module, *arguments = json.loads(line)
    plain: Any = argparse.ArgumentParser.parse_known_args
    parsers: list[argparse.ArgumentParser] = []
    depth = 0
    refusals: list[str] = []

    def read(self: Any, args: Any = None, *rest: Any, **options: Any) -> Any:
        nonlocal depth
        if depth == 0 and args is not None and not set(args) & set(arguments):
            return plain(self, args, *rest, **options)  # somebody else's, on the way
        parsers.append(self)
        depth += 1
        try:
            answer = plain(self, args, *rest, **options)
        finally:
            depth -= 1
        if depth == 0:
            refusals.extend(argument for argument in answer[1] if argument.startswith("--"))
            raise Read
        return answer

    argparse.ArgumentParser.parse_known_args = read  # type: ignore[method-assign]
    sys.argv = [module, *arguments]
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Read:
        pass
    except SystemExit:
        refusals.append(output.getvalue().strip().splitlines()[-1])
    actions = [action for parser in parsers for action in parser._actions]
    flags = {
        option[2:]: [str(choice) for choice in action.choices] if action.choices else None
        for action in actions
        for option in action.option_strings
        if option.startswith("--")
    }
    return {"refusals": refusals, "flags": flags}


def _registries() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return argument classes, model registry and template registry.

    Wherever this ms-swift keeps them.
    """
    try:
        from swift import arguments, model, template

        models, templates = model.MODEL_MAPPING, template.TEMPLATE_MAPPING
        training = arguments.SftArguments
    except ImportError:  # before 4.0
        from swift import llm as arguments  # type: ignore[import-untyped,unused-ignore]

        models, templates = arguments.MODEL_MAPPING, arguments.TEMPLATE_MAPPING
        training = arguments.TrainArguments
    stages = {"sft": training, "export": arguments.ExportArguments, "deploy": arguments.DeployArguments}
    return stages, models, templates


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def main(argv: list[str]) -> int:
    """Answers the question ``argv[0]`` into the file ``argv[1]``."""
    question, out, *rest = argv
    questions: dict[str, Callable[..., dict[str, object]]] = {
        "versions": versions,
        "installed": installed,
        "parse": parse,
        "engine": engine,
    }
    answer = questions[question](*rest)
    Path(out).write_text(json.dumps(answer, ensure_ascii=False), encoding="utf-8")
    return 0


if __name__ == "__main__":
    # the folder of this script must not shadow the environment's own packages (swift, evalscope)
    sys.path[:] = [
        place for place in sys.path if Path(place or ".").resolve() != Path(__file__).resolve().parent
    ]
    sys.exit(main(sys.argv[1:]))
