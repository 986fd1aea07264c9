"""The stages of a row, in the guide's order.

:class:`Chain` knows which stage stands on which; the values of :mod:`bakeoff.chain.stages` say what a stage is, and
:class:`~bakeoff.store.stages.Stages` whether it must be done.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bakeoff.chain import running, stages, training, weights
from bakeoff.chain.origins import Origins
from bakeoff.chain.shared import SharedServices
from bakeoff.environments.toolchain import Toolchain
from bakeoff.execution import gpus
from bakeoff.execution.runner import Runner
from bakeoff.forms.conversion import VERSION as FORMS_VERSION
from bakeoff.forms.published import BUILDERS, convert_command, identity_of, published_form
from bakeoff.forms.published import TINY as PUBLISHED
from bakeoff.foundation import secrecy
from bakeoff.foundation.command import CHECKPOINT, OUTPUT, Command
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.provenance import ContentHashes, digest
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.datasets import SHIPPED
from bakeoff.matrix.schema import Matrix, ModelSpec
from bakeoff.matrix.settings import Training
from bakeoff.store.facts import Facts
from bakeoff.store.stage import Line, Stage
from bakeoff.store.stages import Record, Stages, Timeline
from bakeoff.suites.rows import FORMATS, LETTERS
from bakeoff.tools import checkpoints, engines, memory, swift


@dataclass(frozen=True)
class Bench:
    """What all rows of a run share.

    Attributes:
        data_dir: evaluation data of the user, see :class:`~bakeoff.matrix.schema.Suite`.
        shared: services that answer under several names.
    """

    matrix: Matrix
    workspace: Workspace
    stages: Stages
    runner: Runner
    hashes: ContentHashes
    data_dir: Path | None = None
    shared: SharedServices = field(default_factory=SharedServices)

    @classmethod
    def at_rest(cls, matrix: Matrix, workspace: Workspace, data_dir: Path | None = None) -> Bench:
        """Return a bench that reads the store and runs no stage."""
        return cls(
            matrix,
            workspace,
            Stages(workspace, Timeline(workspace.root / "events.jsonl"), may_run=False),
            Runner(workspace.processes),
            ContentHashes(workspace.cache / "hashes.json"),
            data_dir,
        )

    def lines_of(self, row: ModelSpec) -> list[Line]:
        """Return the command lines of a row's stages, in order."""
        return [line for stage in Chain(row, self).stages() for line in stage.lines]


@dataclass(frozen=True)
class Artifact:
    """What a stage left: a hub id or folder, and the digest of its content."""

    path: str
    fingerprint: str
    record: Record | None = None

    @property
    def folder(self) -> Path:
        """:attr:`path` as a path."""
        return Path(self.path)


@dataclass
class Chain:
    """One row of the matrix and what has been made of it so far."""

    spec: ModelSpec
    bench: Bench
    _made: dict[str, Artifact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.spec.key_env:
            secrecy.declare(self.spec.key_env)

    def stages(self) -> Iterator[Stage[Facts]]:
        """Yield every stage of the row, in order."""
        return stages.of_row(self)

    @cached_property
    def origins(self) -> Origins:
        """What the row takes from a hub."""
        return Origins(self.spec, self.bench)

    # -- the base ----------------------------------------------------------------------------------------------

    def base_path(self) -> str:
        """Return the folder of the base, or its id at a hub.

        A tiny or published base need not be built or converted yet.
        """
        return str(self.form_folder / "output") if self.form_folder else self.published_path()

    def published_path(self) -> str:
        """Return where the published base is.

        A folder, or a hub's id where no run has fetched it yet.
        """
        spec = self.spec
        if spec.tiny:
            return str(self._tiny_folder() / "output")
        if spec.model is None:
            return spec.weights or ""
        local = Path(spec.model).expanduser()
        return str(local.absolute()) if local.is_dir() else self.origins.base_path()

    def build_command(self) -> Command | None:
        """The line that builds a tiny base; None for a model that exists."""
        if not self.spec.tiny:
            return None
        builder = "bakeoff.forms.tiny_published" if self.form_folder else "bakeoff.tiny"
        return Command((sys.executable, "-m", builder, self.spec.tiny, self.published_path()))

    @cached_property
    def form_folder(self) -> Path | None:
        """Return the folder of the base's native form.

        None for a base that is used as it is.
        """
        spec = self.spec
        model = spec.model if spec.tiny else self.published_path()
        form = published_form(model, trusts_code=spec.trust_remote_code) if spec.model and model else None
        if form is None:
            return None
        return self.bench.workspace.forms / f"{form.name.lower()}-{digest(self.form_identity())[:10]}"

    def form_identity(self) -> dict[str, object]:
        """What decides the native form of a published base."""
        if self.spec.tiny:
            return {"convert": {"version": FORMS_VERSION}, "inputs": {"published": self.tiny_recipe}}
        return identity_of(self.published_path(), self.bench.hashes.of, use_hf=self.spec.use_hf)

    def convert_command(self) -> Command | None:
        """Return the line that converts a published base.

        None where there is nothing to convert.
        """
        if self.form_folder is None:
            return None
        return convert_command(self.published_path(), self.form_folder / "output", use_hf=self.spec.use_hf)

    def base(self) -> Artifact:
        """The base model; a tiny one is built now, unless it is there."""
        if "base" in self._made:
            return self._made["base"]
        record = None
        if self.spec.tiny:
            record = running.line(self, stages.build(self))
        if self.form_folder:
            stage = stages.convert(self, self.form_folder)
            record = self.bench.stages.ensure(stage, lambda output: running.convert(self, stage, output))
        path = self.base_path()
        if not self.spec.tiny:
            weights.refuse_plugins(Path(path), self.spec)
            fetched = self.origins.base()
            record = record or (fetched.record if fetched else None)
        return self._keep("base", Artifact(path, self.origins.identity(self._content(path)), record))

    @cached_property
    def tiny_recipe(self) -> dict[str, object]:
        """What decides a tiny base: its name, builder and taught texts."""
        builders = BUILDERS if self.spec.tiny in PUBLISHED else BUILDERS[:1]
        texts = sorted(path for path in SHIPPED.rglob("*") if path.suffix in (".jsonl", ".txt"))
        contents = [self.bench.hashes.of(path) for path in texts]
        return {"tiny": self.spec.tiny, "source": digest([*builders, *contents])}

    def _tiny_folder(self) -> Path:
        return self.bench.workspace.tiny / f"{self.spec.tiny}-{digest(self.tiny_recipe)[:10]}"

    # -- train -------------------------------------------------------------------------------------------------

    def train_folder(self) -> Path:
        """Where the training of this row is kept."""
        return stages.train_folder(self)

    def train_command(self, training: Training | None = None, resume: Path | None = None) -> Command:
        """The ``swift sft`` line of this row."""
        line = self.tools("train").within(self.train_line(training, resume))
        return line.filled({OUTPUT: self.train_folder() / "output"})

    def train_line(self, training: Training | None = None, resume: Path | None = None) -> Command:
        """Return the ``swift sft`` line with a placeholder for its output.

        It lacks what the environment adds.
        """
        tools = self.tools("train")
        spec = self.origins.with_data(self.spec)
        return swift.sft(
            spec.model_copy(update={"training": training}) if training else spec,
            base=self.base_path(),
            output=OUTPUT,
            python=tools.python,
            version=tools.swift,
            resume=resume,
        )

    def train(self) -> Artifact:
        """The LoRA checkpoint of this row, trained now unless it is in the store."""
        if "train" in self._made:
            return self._made["train"]
        spec = self.spec
        if spec.adapter:
            folder = self.checkpoint_path()
            weights.refuse_adapter(folder, Path(self.base_path()), spec)
            return self._keep("train", Artifact(str(folder), self._content(str(folder))))
        self.base()
        self.tools("train").prepare()
        stage = stages.train(self)
        record = self.bench.stages.ensure(stage, lambda output: training.train(self, stage, output))
        checkpoint = checkpoints.last_checkpoint(Path(record.output))
        assert checkpoint
        return self._keep("train", Artifact(str(checkpoint), self._content(str(checkpoint)), record))

    # -- export ------------------------------------------------------------------------------------------------

    def export_folder(self) -> Path:
        """Where the merged weights of this row are kept."""
        return stages.export_folder(self)

    def export_command(self) -> Command:
        """The ``swift export --merge_lora`` line of this row."""
        stage = stages.export(self)
        return stage.command(stage.lines[0])

    def export_line(self) -> Command:
        """Return the ``swift export`` line with placeholders."""
        tools = self.tools("train")
        return swift.export(
            self.spec,
            checkpoint=CHECKPOINT,
            base=self.base_path(),
            output=OUTPUT,
            python=tools.python,
            version=tools.swift,
        )

    def checkpoint_path(self) -> Path:
        """Return the checkpoint that is merged or served.

        ms-swift keeps ``last-checkpoint`` on the newest whole one.
        """
        if self.spec.adapter:
            return Path(self.spec.adapter).expanduser().absolute()
        return self.train_folder() / "output" / "last-checkpoint"

    def export(self) -> Artifact:
        """Return the merged weights, exported now unless they are stored."""
        if "export" in self._made:
            return self._made["export"]
        if self.spec.weights:
            folder = Path(self.spec.weights).expanduser().absolute()
            weights.refuse_plugins(folder, self.spec)
            return self._keep("export", Artifact(str(folder), self._content(str(folder))))
        self.train()
        record = running.line(self, stages.export(self))
        return self._keep("export", Artifact(record.output, self._content(record.output), record))

    # -- serve -------------------------------------------------------------------------------------------------

    def serve_command(self, variant: str, port: int, way: str | None = None) -> Command:
        """Return the line that serves *variant* on *port*.

        It loads the base, base and adapter (way A), or merged weights (way B).
        """
        way = way or self.spec.serving.way
        has_adapter = self.spec.serving.shared or (variant == "tuned" and way == "adapter")
        adapter = self.checkpoint_path() if has_adapter else None
        if self.spec.serving.shared:
            variant = self.spec.variants[0]  # one line for both
        model = self.loaded_path(variant, way)
        if self.spec.serving.engine != "transformers":
            model = str(self.view_folder(variant, way))
        tools = self.tools("serve")
        return tools.within(
            engines.serve(
                self.spec,
                model=model,
                adapter=adapter,
                served_name=self.spec.served_name("base" if self.spec.serving.shared else variant),
                port=port,
                python=tools.python,
                version=tools.swift,
            ),
        )

    def loaded_path(self, variant: str, way: str | None = None) -> str:
        """The folder or hub id whose weights are loaded to serve *variant*."""
        if variant == "base" or (way or self.spec.serving.way) == "adapter":
            return self.base_path()
        return self.spec.weights or str(self.export_folder() / "output")

    def parity_folder(self, variant: str, way: str) -> Path:
        """Return where the comparison of *variant* is kept.

        See :mod:`bakeoff.chain.parity`.
        """
        recipe = stages.parity_recipe(self, variant, way)
        return self.bench.stages.folder("parity", self.spec.name, recipe, variant)

    def view_folder(self, variant: str, way: str) -> Path:
        """Return the weights beside the training's chat template."""
        return self.parity_folder(variant, way) / "served"

    def serve_commands(self, variant: str, port: int) -> dict[str, Command]:
        """Return the lines of every way to serve *variant*.

        By a word on the way; the row's own way comes first.
        """
        if self.spec.serving.shared:
            return {", way A, base and adapter under two names": self.serve_command(variant, port)}
        if variant == "base" or self.spec.weights:
            return {"": self.serve_command(variant, port)}
        lines = {", way B, merged": self.serve_command(variant, port, "merged")}
        if self.spec.serving.engine in engines.LOADS_ADAPTERS:
            lines[", or way A, base + adapter"] = self.serve_command(variant, port, "adapter")
        return lines if self.spec.serving.way == "merged" else dict(reversed(lines.items()))

    def served(self, variant: str) -> list[Artifact]:
        """What is loaded to serve *variant*, made now unless it is there."""
        if variant == "base":
            return [self.base()]
        if self.spec.serving.way == "adapter":
            return [self.base(), self.train()]
        return [self.export()]

    def fingerprint(self, variant: str) -> str:
        """Return the digest of all that decides the replies of *variant*.

        The request is not part of it.
        """
        spec = self.spec
        if spec.url:
            return digest({"url": spec.url, "model": spec.served_model})
        return digest(
            {
                "weights": [artifact.fingerprint for artifact in self.served(variant)],
                "template": spec.template,
                "model_type": spec.model_type,
                "dtype": spec.training.dtype,
                "serving": spec.serving.model_dump(
                    exclude={"port", "in_flight", "ready_timeout_s", "restarts"}
                    | {name for name in ("deterministic", "shared") if not getattr(spec.serving, name)}
                ),
                "prompt_date": spec.prompt_date,
                "versions": self.tools("serve").versions,
                **self.origins.commits(variant),
            }
        )

    # -- shared ------------------------------------------------------------------------------------------------

    def look_at_disk(self, stage: str) -> None:
        """Tell the timeline where what *stage* will write may not fit."""
        shape = memory.shape_of(self.base_path())
        needed = memory.disk_gib(shape, self.spec, stage) if shape else 0.0
        if why := memory.why_short_of_disk(needed, self.bench.workspace.root, stage):
            self.bench.stages.timeline.tell("short of disk", model=self.spec.name, why=why)

    def leased(self, stage: str) -> AbstractContextManager[gpus.Placement]:
        """Return the cards that *stage* needs, held while it runs.

        See :func:`bakeoff.execution.gpus.leased`.
        """
        self.bench.shared.end_unused()
        return gpus.leased(self.spec, stage, self.bench.stages.timeline.tell)

    def _keep(self, name: str, artifact: Artifact) -> Artifact:
        self._made[name] = artifact
        return artifact

    def tools(self, role: str) -> Toolchain:
        """What the commands of *role*, "train" or "serve", run with."""
        environment = self.bench.matrix.environments[getattr(self.spec.environment, role)]
        return Toolchain(
            environment, role, self.spec.name, self.bench.workspace, self.bench.stages.timeline.tell
        )

    def named(self, path: str) -> str:
        """Return *path* without the places of store and program."""
        return path.replace(str(self.bench.workspace.root), "STORE").replace(str(SHIPPED.parent), "BAKEOFF")

    def recipe_of(self, command: Command) -> dict[str, str]:
        """The flags of *command*, without the places of store and program."""
        named = command.filled({OUTPUT: Path("OUTPUT"), CHECKPOINT: Path("CHECKPOINT")})
        return {name: self.named(value) for name, value in flags_of(named).items()}

    def _content(self, path: str) -> str:
        return weights.content_of(path, self.spec, self.bench.hashes)

    def base_doubt(self) -> str:
        """Return why the row's adapter may be of another base."""
        if not self.spec.adapter:
            return ""
        adapter = Path(self.spec.adapter).expanduser()
        return weights.why_doubtful_base(adapter, self.base_path(), self.bench.hashes)

    def suite_prompts(self) -> dict[str, list[dict[str, str]]]:
        """Return the first question of each suite, as a dialogue."""
        prompts: dict[str, list[dict[str, str]]] = {}
        for suite in self.bench.matrix.suites_of(self.spec):
            data = suite.folder(self.bench.data_dir)
            if data is None or suite.benchmark not in FORMATS:
                continue
            try:
                first = next(iter(FORMATS[suite.benchmark](data)), None)
            except (BakeoffError, OSError, ValueError):
                continue  # the evaluation says what is wrong with them
            if first:
                options = [f"{letter}. {text}" for letter, text in zip(LETTERS, first.options, strict=False)]
                prompts[suite.name] = [{"role": "user", "content": "\n".join((first.text, *options))}]
        return prompts


def flags_of(command: Command) -> dict[str, str]:
    """Return the flags of a command as a mapping."""
    options: dict[str, str] = {"module": command.module or command.argv[0]}
    name = "argument"
    for part in command.arguments if command.module else command.argv[3:]:
        if part.startswith("--"):
            name = part[2:]
            options[name] = ""
        else:
            options[name] = f"{options.get(name, '')} {part}".strip()
    if command.processes > 1:
        options["processes"] = str(command.processes)
    return options | dict(command.env)
