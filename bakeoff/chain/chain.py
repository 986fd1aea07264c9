"""The stages of one row, in the guide's order: base, train, export, serve, evaluate.

:class:`Chain` knows which stage stands on which; the values of :mod:`bakeoff.chain.stages` say what a stage is, and
:class:`~bakeoff.store.stages.Stages` whether it must be done.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from bakeoff import secrecy
from bakeoff.chain import running, stages, training, weights
from bakeoff.chain.origins import Origins
from bakeoff.command import CHECKPOINT, OUTPUT, Command
from bakeoff.environments import building as environments
from bakeoff.environments.toolchain import Toolchain
from bakeoff.errors import BakeoffError
from bakeoff.execution import gpus
from bakeoff.execution.runner import Runner
from bakeoff.forms.conversion import VERSION as FORMS_VERSION
from bakeoff.forms.published import TINY as PUBLISHED
from bakeoff.forms.published import convert_command, identity_of, published_form
from bakeoff.matrix.datasets import SHIPPED
from bakeoff.matrix.schema import Matrix, ModelSpec
from bakeoff.matrix.settings import Training
from bakeoff.provenance import ContentHashes, digest
from bakeoff.sentences import Template
from bakeoff.store.facts import Facts
from bakeoff.store.stage import Stage
from bakeoff.store.stages import Record, Stages, Timeline
from bakeoff.suites.rows import FORMATS, LETTERS
from bakeoff.tools import engines, memory, swift
from bakeoff.workspace import Workspace

NEEDS_PACKAGE = Template(
    "chain.chain.needs_package",
    "needs the package {package}, which is not installed",
    zh="缺少软件包 {package}",
    en="the package {package} is not installed",
)
NEEDS_GPU = Template(
    "chain.chain.needs_gpu",
    "needs a GPU with {gib:g} GiB; this machine has none",
    zh="需要 {gib:g} GiB 显存的 GPU，本机没有 GPU",
    en="needs a GPU with {gib:g} GiB of memory; this machine has no GPU",
)
NEEDS_DEEPSPEED = Template(
    "chain.chain.needs_deepspeed",
    "training.extra.deepspeed needs the package deepspeed, which is not installed; pip install deepspeed, or take it "
    "out: large weights are then shared by PyTorch's own FSDP",
    zh="training.extra.deepspeed 需要安装 deepspeed；也可去掉该项，由 PyTorch 自带的 FSDP 分片",
)
NEEDS_MORE_GPUS = Template(
    "chain.chain.needs_more_gpus",
    "needs {cards} GPUs with {gib:g} GiB each; this machine has {here} of that size",
    zh="需要 {cards} 张显存不低于 {gib:g} GiB 的显卡，本机只有 {here} 张",
)
NEEDS_LARGER_GPU = Template(
    "chain.chain.needs_larger_gpu",
    "needs a GPU with {gib:g} GiB; the largest here has {largest:.0f} GiB",
    zh="需要 {gib:g} GiB 显存的 GPU，本机最大的只有 {largest:.0f} GiB",
    en="needs a GPU with {gib:g} GiB of memory; the largest here has {largest:.0f} GiB",
)


@dataclass(frozen=True)
class Bench:
    """What all rows of a run share.

    Attributes:
        data_dir: evaluation data of the user, see :class:`~bakeoff.matrix.schema.Suite`.
    """

    matrix: Matrix
    workspace: Workspace
    stages: Stages
    runner: Runner
    hashes: ContentHashes
    data_dir: Path | None = None

    @classmethod
    def at_rest(cls, matrix: Matrix, workspace: Workspace, data_dir: Path | None = None) -> Bench:
        """Return a bench to look at what the store has and would have; it runs no stage."""
        return cls(
            matrix,
            workspace,
            Stages(workspace, Timeline(workspace.root / "events.jsonl"), may_run=False),
            Runner(workspace.processes),
            ContentHashes(workspace.cache / "hashes.json"),
            data_dir,
        )


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
        """Yield every stage of the row, in their order; nothing is made or looked up for it."""
        return stages.of_row(self)

    @cached_property
    def origins(self) -> Origins:
        """What the row takes from a hub."""
        return Origins(self.spec, self.bench)

    # -- the base ----------------------------------------------------------------------------------------------

    def base_path(self) -> str:
        """Where the base model is (or will be built or converted): a folder or a hub id."""
        return str(self.form_folder / "output") if self.form_folder else self.published_path()

    def published_path(self) -> str:
        """Where the base model is as it is published: a folder, or a hub's id where no run has fetched it yet."""
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
        """Where the native form of a published base is kept; None for a base that is used as it is."""
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
        """The line that converts a published base into its native form; None where there is nothing to convert."""
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
    def tiny_recipe(self) -> dict[str, Any]:
        """What decides a tiny base: its name, and the content of what builds it."""
        own = Path(__file__).parents[1]
        builders = [own / "tiny.py"]
        if self.spec.tiny in PUBLISHED:
            builders = [*builders, own / "forms" / "tiny_published.py"]
        sources = [*builders, *sorted(p for p in SHIPPED.rglob("*") if p.suffix in (".jsonl", ".txt"))]
        return {"tiny": self.spec.tiny, "source": digest([self.bench.hashes.of(p) for p in sources])}

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
        """The ``swift sft`` line with a placeholder, and without what an environment adds."""
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
        checkpoint = swift.last_checkpoint(Path(record.output))
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
        """The ``swift export`` line with placeholders, and without what an environment adds."""
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
        """The checkpoint that is merged or served; ms-swift keeps ``last-checkpoint`` on the newest whole one."""
        if self.spec.adapter:
            return Path(self.spec.adapter).expanduser().absolute()
        return self.train_folder() / "output" / "last-checkpoint"

    def export(self) -> Artifact:
        """The merged weights of this row, exported now unless they are in the store."""
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
        """The serving line of *variant* on *port*: the base, base + adapter (way A), or merged weights (way B)."""
        way = way or self.spec.serving.way
        adapter = self.checkpoint_path() if variant == "tuned" and way == "adapter" else None
        model = self.loaded_path(variant, way)
        if self.spec.serving.engine != "transformers":
            model = str(self.view_folder(variant, way))
        tools = self.tools("serve")
        return tools.within(
            engines.serve(
                self.spec,
                model=model,
                adapter=adapter,
                served_name=self.spec.served_name(variant),
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
        """Where the record of what was compared for *variant* is kept; see :mod:`bakeoff.chain.parity`."""
        recipe = stages.parity_recipe(self, variant, way)
        return self.bench.stages.folder("parity", self.spec.name, recipe, variant)

    def view_folder(self, variant: str, way: str) -> Path:
        """Where an engine that asks the tokenizer for its template finds the weights beside the training's template."""
        return self.parity_folder(variant, way) / "served"

    def serve_commands(self, variant: str, port: int) -> dict[str, Command]:
        """The lines of every way to serve *variant*, by a word on the way; the row's own way comes first."""
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
        """Digest of everything that decides what *variant* answers, except the request."""
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
                    | (set() if spec.serving.deterministic else {"deterministic"})
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
        """The cards that *stage* needs, held while it runs; see :func:`bakeoff.execution.gpus.leased`."""
        return gpus.leased(self.spec, stage, self.bench.stages.timeline.tell)

    def _keep(self, name: str, artifact: Artifact) -> Artifact:
        self._made[name] = artifact
        return artifact

    def tools(self, role: str) -> Toolchain:
        """What the commands of *role*, "train" or "serve", run with."""
        environment = self.bench.matrix.environments[getattr(self.spec.environment, role)]
        return Toolchain(environment, role, self.spec.name, self.bench.workspace, self.bench.stages.timeline)

    def named(self, path: str) -> str:
        """*path* without the places of store and program, so that both can be moved."""
        return path.replace(str(self.bench.workspace.root), "STORE").replace(str(SHIPPED.parent), "BAKEOFF")

    def recipe_of(self, command: Command) -> dict[str, str]:
        """The flags of *command*, without the places of store and program."""
        named = command.filled({OUTPUT: Path("OUTPUT"), CHECKPOINT: Path("CHECKPOINT")})
        return {name: self.named(value) for name, value in flags_of(named).items()}

    def _content(self, path: str) -> str:
        return weights.content_of(path, self.spec, self.bench.hashes)

    def base_doubt(self) -> str:
        """Why the row's adapter may be of another base than the row's, in words; empty where nothing speaks for it."""
        if not self.spec.adapter:
            return ""
        adapter = Path(self.spec.adapter).expanduser()
        return weights.why_doubtful_base(adapter, self.base_path(), self.bench.hashes)

    def suite_prompts(self) -> dict[str, list[dict[str, str]]]:
        """The first question of each of the row's suites whose data are ours to read, as a dialogue."""
        found: dict[str, list[dict[str, str]]] = {}
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
                found[suite.name] = [{"role": "user", "content": "\n".join((first.text, *options))}]
        return found


def flags_of(command: Command) -> dict[str, str]:
    """The flags of a command as a mapping, for an identity that can be told apart in words."""
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


def why_unmet(spec: ModelSpec, matrix: Matrix) -> str:
    """Why this machine cannot run *spec* of *matrix*, in words; empty where it can.

    Packages are looked for in the running environment, unless the row has others for everything: what is in those
    their requirements say.
    """
    from importlib.util import find_spec

    here = any(environments.is_running(matrix.environments[name]) for _, name in spec.environment)
    for package in spec.needs.packages if here else ():
        if find_spec(package) is None:
            return NEEDS_PACKAGE(package=package)
    if here and "deepspeed" in spec.training.extra and spec.trains and find_spec("deepspeed") is None:
        return NEEDS_DEEPSPEED()
    return "" if spec.on_cpu or spec.url else _why_no_cards(spec)


def _why_no_cards(spec: ModelSpec) -> str:
    """Return in words why the cards of this machine are too few or too small, empty where they are not."""
    wanted, sizes = spec.needs.gpu_memory_gib, _card_sizes_gib()
    several = max(gpus.count_of(spec, stage) for stage in ("train", "serve"))
    if not sizes:
        return NEEDS_GPU(gib=wanted)
    if max(sizes) < wanted:
        return NEEDS_LARGER_GPU(gib=wanted, largest=max(sizes))
    fitting = sum(size >= wanted for size in sizes)
    return NEEDS_MORE_GPUS(cards=several, gib=wanted, here=fitting) if fitting < several else ""


@cache
def _card_sizes_gib() -> tuple[float, ...]:
    """Asked once per process: nvidia-smi takes its time, and collecting asks for every row and test."""
    return tuple(card.total_gib for card in gpus.cards())
