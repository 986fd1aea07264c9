"""Writes the documents that must not lag: ``python docs/generate.py``; a test compares them with the program.

- docs/guide.md: the guide, with the very lines that ``--dry-run`` prints
- docs/matrix.md, docs/model_matrix.schema.json: every key of the matrix
- docs/architecture.md: the drawing of the rooms, from their imports; its text is written by hand
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue

from bakeoff.chain.chain import Bench, Chain
from bakeoff.environments import building as environments
from bakeoff.evalscope import evaluate_command
from bakeoff.execution.runner import Runner
from bakeoff.foundation.provenance import ContentHashes
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix import schema as matrix
from bakeoff.matrix import settings
from bakeoff.matrix.loading import load_matrix
from bakeoff.store.stages import Stages, Timeline
from bakeoff.tools.memory import TABLE_8_1

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
STORE = Path("/store")
PARTS: dict[str, type[BaseModel]] = {
    "models.<row>": matrix.ModelSpec,
    "models.<row>.training": settings.Training,
    "models.<row>.serving": settings.Serving,
    "models.<row>.environment": settings.Roles,
    "models.<row>.needs": settings.Needs,
    "models.<row>.limits": settings.Limits,
    "suites.<suite>": matrix.Suite,
    "suites.<suite>.trust": matrix.Trust,
    "suites.<suite>.expect": matrix.Expectation,
    "environments.<name>": matrix.Environment,
    "judge": matrix.Judge,
    "executor": matrix.ExecutorSpec,
}


PRESETS = """
## What is built in

`group: full` and `group: smoke` need not be written out: the first is for a GPU (packed training of dense models,
fused loss, lmdeploy with 256 requests in flight), the second for tiny models on a processor. A row whose `model` is
one of the guide's six takes `full`, its `model_type`, template and measured settings by itself. What the file says
comes before what is built in, and a group that the file writes replaces the one here. `bakeoff/matrix/presets.yaml`
has them in full.

## Who is told

`notify: [FEISHU_URL, MAIL_URL]` names environment variables (or lines of `.env`) that hold addresses of Apprise
(`pip install apprise`): `feishu://…`, `wecombot://…`, `dingtalk://…`, `mailto://…` and some 100 others. When a run
ends or fails, the sentences of its answer card are sent there. An address in the matrix itself is refused: it is a
secret.
"""


HUBS = """
## What comes from a hub

`model: owner/name` is ModelScope's, or with `use_hf: true` Hugging Face's (`dataset: ["hf::owner/data"]` for data
alone). A run asks the hub once for the commit, checks the disk, and fetches the files into the hub's own cache as the
stage `download`, before anything stands on them: the terminal and `store/hubs/<id>-<commit>/stage.log` tell how far
it is, and a cut connection or a kill costs nothing of what has come. The commit is part of every identity (training,
merge, parity, scores) and stands in the report under provenance.

* `revision` is a branch, a tag or a commit. Without it the main branch is taken, and where that has moved since the
  last run, the run says so and makes anew what stands on it; what was made before stays beside it. A commit in full
  (40 digits) never moves, and is not even asked for where the cache has it.
* Data take it as `{id: owner/data, revision: v2.1}`, or in short `owner/data@v2.1:subset#500`.
* A revision on a folder or file of this machine is a mistake: those are known by their content.
* A busy hub (429, or 503 with `Retry-After`) is asked again when it says, up to six times. A file whose content is not
  what the hub lists is refused, and so is a repository that lists a file outside of its folder.
* A gated or private repository needs a token in `.env`: `HF_TOKEN`, or `MODELSCOPE_API_TOKEN`. It never stands on a
  command line, in a log or in a record, and is sent to the hub alone.
* `HF_HUB_OFFLINE=1` (ModelScope: `MODELSCOPE_OFFLINE=1`) takes what the cache has, by the commit that it notes there;
  where that is not whole, the row ends before its first stage. Mirrors are given as `HF_ENDPOINT` and
  `MODELSCOPE_ENDPOINT`, other places for the caches as `HF_HOME` and `MODELSCOPE_CACHE`.
* Data are read as files: a loading script in their repository is never run.
"""


def schema() -> str:
    """The JSON schema of the matrix file: every key of a row may also stand under defaults and groups."""
    row = _loose(matrix.ModelSpec)
    suite = _loose(matrix.Suite)
    environment = _loose(matrix.Environment)
    definitions = {}
    judge, executor = _loose(matrix.Judge), _loose(matrix.ExecutorSpec)
    for one in (row, suite, environment, judge, executor):
        definitions |= one.pop("$defs", {})
    for one in definitions.values():
        one.pop("required", None)
    several = {"type": "object", "additionalProperties": {"$ref": "#/$defs/row"}}
    made = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bakeoff model matrix",
        "type": "object",
        "required": ["models"],
        "additionalProperties": False,
        "patternProperties": {"^x-": {}},
        "properties": {
            "defaults": {"$ref": "#/$defs/row"},
            "groups": several,
            "models": several,
            "suites": {"type": "object", "additionalProperties": {"$ref": "#/$defs/suite"}},
            "environments": {"type": "object", "additionalProperties": {"$ref": "#/$defs/environment"}},
            "judge": judge,
            "cases": {"type": "string", "description": "JSONL file of own cases, relative to the matrix"},
            "executor": executor,
            "notify": {"type": "array", "items": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}},
        },
        "$defs": {**definitions, "row": row, "suite": suite, "environment": environment},
    }
    return json.dumps(made, ensure_ascii=False, indent=1) + "\n"


def _loose(part: type[BaseModel]) -> dict[str, Any]:
    made = part.model_json_schema()
    made.pop("required", None)
    made["properties"].pop("name", None)
    return made


def keys() -> str:
    """docs/matrix.md."""
    lines = [
        "# The matrix, key by key",
        "",
        "Generated by `python docs/generate.py` from `bakeoff/matrix/schema.py` and `settings.py`.",
        "",
        "A row takes `defaults:`, then `groups: <its group>:`, then what it says; mappings are merged by",
        "key. `pytest benchmarks/ --collect-only` tells all mistakes of the file at once. Keys beginning with `x-` are",
        "a place for YAML anchors. `2e-4` is a number, and a key given twice is a mistake.",
        "",
        "A number that no run could use is a mistake. One that can work and is seldom meant is taken as it stands and",
        "told before the run, by `--dry-run` and by `--doctor`, with the usual range: a hundredth to a hundred times",
        "the default for a quantity, up to a hundred times for a count, up to a half for a share. So are data that a",
        "row names twice, whatever the spelling, and lengths beyond the context of a model on this machine.",
        "",
        "```yaml",
        "defaults:",
        "  dataset: [owner/data]",
        "models:",
        "  my-model: {model: owner/name, model_type: qwen2, template: qwen2_5, training: {learning_rate: 1e-4}}",
        "  its-base: {model: owner/name, tune: false}                       # compared untuned",
        "  merged-already: {weights: /models/mine}                          # nothing is trained or merged",
        "  adapter-already: {model: owner/name, adapter: /runs/checkpoint-9}",
        "  pinned: {model: owner/name, revision: v1.0, dataset: [{id: owner/data, revision: v2.1}]}",
        "  a-reference: {url: 'https://example.org/v1', served_model: big, key_env: REFERENCE_API_KEY}",
        "```",
        "",
        *PRESETS.strip().splitlines(),
        "",
        *HUBS.strip().splitlines(),
    ]
    for place, part in PARTS.items():
        lines += [
            "",
            f"## `{place}`",
            "",
            (part.__doc__ or "").split("\n\n")[0],
            "",
            "| key | type | default | |",
            "|---|---|---|---|",
        ]
        for name, field in part.model_fields.items():
            if name == "name":
                continue
            kind = _kind(field.annotation)
            default = (
                "" if field.is_required() or isinstance(field.default, BaseModel) else f"`{field.default!r}`"
            )
            lines.append(f"| `{name}` | {kind.replace('|', '/')} | {default} | {field.description or ''} |")
    return "\n".join(lines) + "\n"


def _kind(annotation: Any) -> str:
    """The type of a key as people say it, without how it is checked."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return " / ".join(map(str, arguments))
    if origin in (Union, UnionType):
        return " / ".join(_kind(one) for one in arguments if one is not type(None))
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return f"mapping to {_kind(arguments[1])}"
    return "any value" if annotation is JsonValue else str(annotation.__name__)


class Lines:
    """The command lines of one row, with short paths."""

    def __init__(self, row: str) -> None:
        spec = load_matrix(ROOT / "model_matrix.yaml").models[row]
        workspace = Workspace(STORE)
        bench = Bench(
            load_matrix(ROOT / "model_matrix.yaml"),
            workspace,
            Stages(workspace, Timeline(STORE / "events.jsonl"), may_run=False),
            Runner(workspace.processes),
            ContentHashes(STORE / "hashes.json"),
            Path("/data"),
        )
        self.spec = spec
        self.chain = Chain(spec, bench)

    def block(self, *commands: object) -> list[str]:
        """A code block of *commands*."""
        shown = [self._short(str(command)) for command in commands if command]
        return ["```bash", *shown, "```"]

    def _short(self, line: str) -> str:
        chain = self.chain
        line = line.replace(str(chain.train_folder()), f"store/models/{self.spec.name}/train")
        line = line.replace(str(chain.export_folder()), f"store/models/{self.spec.name}/export")
        if chain.form_folder:
            line = line.replace(str(chain.form_folder / "output"), f"store/forms/{self.spec.name}")
        for name, environment in chain.bench.matrix.environments.items():
            if name != "default":
                folder = chain.bench.workspace.environments / environments.digest(environment)
                line = line.replace(str(folder / "venv" / "bin" / "python"), f"<{name}>/bin/python")
        line = (
            line.replace(sys.executable, "python").replace(str(ROOT) + "/", "").replace(f"{STORE}/", "store/")
        )
        return line.replace(" --", " \\\n  --")


def _sections() -> Iterator[str]:
    text = (DOCS / "guide.in.md").read_text(encoding="utf-8")
    yield "<!-- generated by `python docs/generate.py` from docs/guide.in.md and the program; edit those -->\n"
    full = [n for n, s in load_matrix(ROOT / "model_matrix.yaml").models.items() if s.group == "full"]
    for line in text.splitlines():
        word = line.strip()
        if not word.startswith("@"):
            yield line
            continue
        stage, _, wanted = word[1:].partition(" ")
        for row in [wanted or full[0]] if stage == "table8" else [wanted] if wanted else full:
            yield from _filled(stage, row)


def _filled(stage: str, row: str) -> Iterator[str]:
    lines = Lines(row)
    chain = lines.chain
    if stage == "table8":
        yield "| 模型大小 size | batch_size | grad_acc | 总批次 total |"
        yield "|---|---|---|---|"
        for one in TABLE_8_1:
            yield f"| {one.size} | {one.batch_size} | {one.gradient_accumulation} | {one.effective_batch} |"
        return
    if stage == "convert":
        if command := chain.convert_command():
            yield f"**{row}**"
            yield from lines.block(command)
        return
    if stage == "train":
        yield f"**{row}**"
        yield from lines.block(chain.train_command())
    if stage == "export":
        yield f"**{row}**"
        yield from lines.block(chain.export_command())
    if stage == "deploy":
        for title, command in chain.serve_commands("tuned", 8000).items():
            yield f"**{row}**{title}"
            yield from lines.block(command)
    if stage == "evaluate":
        suites = chain.bench.matrix.suites
        for name in ("ceval", "cmmlu", "pceb_mcq", "psyqa"):
            command = evaluate_command(
                "http://127.0.0.1:8000/v1",
                lines.spec.served_name("tuned"),
                suites[name],
                Path(f"out/{name}"),
                data_dir=suites[name].folder(Path("/data")) if suites[name].data else Path("/data") / name,
                in_flight=lines.spec.serving.in_flight,
            )
            yield from lines.block(command)


def guide() -> str:
    """docs/guide.md."""
    return "\n".join(_sections()) + "\n"


def architecture() -> str:
    """docs/architecture.md with the drawing of today."""
    spec = importlib.util.spec_from_file_location("structure", ROOT / "bench" / "structure.py")
    assert spec
    assert spec.loader
    structure = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(structure)
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    block = f"```mermaid\n{structure.drawing()}\n```"
    return re.sub(r"```mermaid\n.*?\n```", lambda _: block, text, count=1, flags=re.DOTALL)


MADE = {
    "guide.md": guide,
    "matrix.md": keys,
    "model_matrix.schema.json": schema,
    "architecture.md": architecture,
}

if __name__ == "__main__":
    for name, make in MADE.items():
        (DOCS / name).write_text(make(), encoding="utf-8")
