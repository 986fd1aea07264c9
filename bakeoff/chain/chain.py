"""The stages of one row, in the guide's order: base, train, export, serve, evaluate.

:class:`Chain` knows which stage stands on which; *how* a stage is done is told by the adapters, *whether* it must be
done by :class:`~bakeoff.store.stages.Stages`.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from bakeoff import secrecy
from bakeoff.command import Command
from bakeoff.environments import building as environments
from bakeoff.environments.toolchain import Toolchain
from bakeoff.errors import BakeoffError, CommandFailed, DataError, OutOfMemory, Stalled
from bakeoff.execution import gpus
from bakeoff.execution.attempts import Attempts
from bakeoff.execution.runner import Runner
from bakeoff.files import write_json
from bakeoff.matrix.schema import SHIPPED, Matrix, ModelSpec, Training, dataset_identity, dataset_name
from bakeoff.provenance import TENSORS, WEIGHTS, ContentHashes, digest, versions
from bakeoff.sentences import Template
from bakeoff.store.stages import Done, Record, Stages
from bakeoff.suites.rows import FORMATS, LETTERS
from bakeoff.tools import engines, memory, swift
from bakeoff.training_data.health import count_rows, why_fewer
from bakeoff.workspace import Workspace

CONTINUED = Template("chain.chain.continued", "continued from {checkpoint}", zh="从 {checkpoint} 继续训练")
OUT_OF_MEMORY = Template(
    "chain.chain.out_of_memory",
    "out of memory at batch {batch}: {error}",
    zh="批大小 {batch} 时显存或内存不足，已减小批大小：{error}",
    en="out of memory at batch size {batch}, retried with a smaller one: {error}",
)
TENSORBOARD_INSTEAD = Template(
    "chain.chain.tensorboard_instead",
    "{why}: TensorBoard tracks the rest of this training",
    zh="SwanLab 中断（{why}），其余训练改由 TensorBoard 记录",
    en="SwanLab failed ({why}); TensorBoard logs the rest of this training",
)
SILENCE = Template(
    "chain.chain.silence",
    "a silence, perhaps SwanLab's",
    zh="长时间没有输出，可能与 SwanLab 有关",
    en="no output for too long, perhaps because of SwanLab",
)
OTHER_BASE = Template(
    "chain.chain.other_base",
    "the adapter says that it was trained on {named}, and this row's base is {base}",
    zh="适配器记录的训练基座是 {named}，而此处的基座是 {base}",
    en="the adapter was trained on {named}, but this row's base is {base}",
)
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

    # -- the base ----------------------------------------------------------------------------------------------

    def base_path(self) -> str:
        """Where the base model is (or will be built): a folder or a hub id."""
        spec = self.spec
        if spec.tiny:
            return str(self._tiny_folder() / "output")
        if spec.model is None:
            return spec.weights or ""
        local = Path(spec.model).expanduser()
        return str(local.absolute()) if local.is_dir() else spec.model

    def build_command(self, output: Path | None = None) -> Command | None:
        """The line that builds a tiny base; None for a model that exists."""
        if not self.spec.tiny:
            return None
        folder = output or Path(self.base_path())
        return Command((sys.executable, "-m", "bakeoff.tiny", self.spec.tiny, str(folder)))

    def base(self) -> Artifact:
        """The base model; a tiny one is built now, unless it is there."""
        if "base" in self._made:
            return self._made["base"]
        record = None
        if self.spec.tiny:
            bench = self.bench
            record = bench.stages.ensure(
                "build",
                self.spec.name,
                folder=self._tiny_folder(),
                identity=self._tiny_recipe | {"versions": versions(("torch", "transformers"))},
                work=lambda output: self._run("build", self.build_command(output), output),
                why_broken=lambda output: swift.why_truncated(output / "model.safetensors"),
            )
        path = self.base_path()
        if not self.spec.tiny:
            self._refuse_plugins(Path(path))
        return self._keep("base", Artifact(path, self._content(path), record))

    @cached_property
    def _tiny_recipe(self) -> dict[str, Any]:
        own = Path(__file__).parents[1]
        sources = [own / "tiny.py", *sorted(p for p in SHIPPED.rglob("*") if p.suffix in (".jsonl", ".txt"))]
        return {"tiny": self.spec.tiny, "source": digest([self.bench.hashes.of(p) for p in sources])}

    def _tiny_folder(self) -> Path:
        return self.bench.workspace.tiny / f"{self.spec.tiny}-{digest(self._tiny_recipe)[:10]}"

    # -- train -------------------------------------------------------------------------------------------------

    def train_folder(self) -> Path:
        """Where the training of this row is kept."""
        return self.bench.stages.folder("train", self.spec.name, self._train_recipe())

    def train_command(self, training: Training | None = None, resume: Path | None = None) -> Command:
        """The ``swift sft`` line of this row."""
        spec = self.spec.model_copy(update={"training": training}) if training else self.spec
        output = self.train_folder() / "output"
        tools = self.tools("train")
        return tools.within(
            swift.sft(
                spec,
                base=self.base_path(),
                output=output,
                python=tools.python,
                version=tools.swift,
                resume=resume,
            ),
        )

    def train(self) -> Artifact:
        """The LoRA checkpoint of this row, trained now unless it is in the store."""
        if "train" in self._made:
            return self._made["train"]
        spec = self.spec
        if spec.adapter:
            folder = Path(spec.adapter).expanduser().absolute()
            if problem := swift.why_truncated(folder / "adapter_model.safetensors"):
                raise DataError(
                    f"{spec.name}.adapter: {folder}: {problem}; point 'adapter' at a checkpoint folder"
                )
            self._refuse_plugins(folder)
            base_folder = Path(self.base_path())
            if base_folder.is_dir() and (problem := swift.why_other_base(folder, base_folder)):
                raise DataError(f"{spec.name}.adapter: {folder}: {problem}")
            return self._keep("train", Artifact(str(folder), self._content(str(folder))))
        base = self.base()
        self.tools("train").prepare()
        identity = self._train_recipe() | {
            "versions": self.tools("train").versions,
            "inputs": {
                "base": base.fingerprint,
                "dataset": [self._dataset_hash(one) for one in spec.dataset],
            },
        }
        record = self.bench.stages.ensure(
            "train",
            spec.name,
            folder=self.train_folder(),
            identity=identity,
            work=lambda output: self._train(output, identity),
            why_broken=lambda output: swift.why_unfinished(output, spec.training),
        )
        checkpoint = swift.last_checkpoint(Path(record.output))
        assert checkpoint
        return self._keep("train", Artifact(str(checkpoint), self._content(str(checkpoint)), record))

    def _train_recipe(self) -> dict[str, Any]:
        command = swift.sft(
            self.spec, base=self.base_path(), output=Path("OUTPUT"), version=self.tools("train").swift
        )
        # A data file is known by its content, and here by the name that the matrix gives it: it may be moved.
        return {"train": self.recipe_of(command) | {"dataset": " ".join(self.spec.dataset)}}

    def _train(self, output: Path, identity: dict[str, Any]) -> Done:
        for line in (self.train_command(), self.export_command()):
            self.tools("train").check(line)
        begun = output.parent / "begun.json"
        log = output.parent / "stage.log"
        attempts = Attempts(self.spec.limits.retries)
        training = self._rung_of(begun, identity)
        self._look_at_disk("train")
        while True:
            resume = swift.last_checkpoint(output) if _says(begun, identity, training) else None
            if resume and swift.why_other_adapter(resume, training):
                resume = None
            if resume is None:
                shutil.rmtree(output, ignore_errors=True)
                log.unlink(missing_ok=True)
                write_json(begun, {"identity": identity, "training": _mathematics(training)})
            else:
                attempts.told.append(CONTINUED(checkpoint=resume.name))
            command = self.train_command(training, resume)
            written = log.stat().st_size if log.exists() else 0
            try:
                with self.leased("train") as placed:
                    process = self.bench.runner.run(
                        placed(command),
                        log,
                        timeout_s=self.spec.limits.train_s,
                        stall_s=self.spec.limits.stall_s,
                        progress=self.bench.stages.timeline.progress(
                            lambda: swift.how_far(output), stage="train", model=self.spec.name
                        ),
                    )
                break
            except OutOfMemory as error:
                smaller = next(memory.ladder(training, fused_loss=not self.spec.trust_remote_code), None)
                if smaller is None:
                    raise
                attempts.told.append(
                    OUT_OF_MEMORY(batch=training.batch_size, error=str(error).splitlines()[0])
                )
                # The same batch continues from its newest checkpoint. Another one starts again: transformers 4 takes
                # the checkpoint's batch for the dataloader, whatever the line says, and may count other updates.
                if smaller.batch_size == training.batch_size:
                    write_json(begun, {"identity": identity, "training": _mathematics(smaller)})
                training = smaller
            except CommandFailed as error:
                if training.tracker == "swanlab" and (why := _why_untracked(error, log, written)):
                    attempts.told.append(TENSORBOARD_INSTEAD(why=why))
                    training = training.model_copy(update={"tracker": "tensorboard"})
                    continue
                attempts.again(error)
        facts = swift.training_facts(output, since=int(resume.name.partition("-")[2]) if resume else 0)
        if facts["global_step"] != facts["max_steps"]:
            raise CommandFailed(
                f"{self.spec.name}: training ended with exit code 0 at step {facts['global_step']} of "
                f"{facts['max_steps']}; log: {log}\nby hand: {command}",
                log=log,
            )
        if why := self._why_fewer_rows(facts):
            facts["warnings"] = [why]
        facts |= {
            "gpus": placed.gpus,
            "attempts": attempts.told,
            "batch_size": training.batch_size,
            "effective_batch": training.effective_batch,
        }
        link, newest = output / "last-checkpoint", swift.last_checkpoint(output)
        if newest and link.resolve() != newest.resolve():  # ms-swift 3 does not make it
            link.unlink(missing_ok=True)
            link.symlink_to(newest.name)
        return Done(str(self.train_command(training)), process.peak_memory_gib, facts)

    def _rung_of(self, begun: Path, identity: dict[str, Any]) -> Training:
        """The rung of the memory ladder that a training which was cut short had reached."""
        first = self.spec.training
        rungs = (first, *memory.ladder(first, fused_loss=not self.spec.trust_remote_code))
        return next((rung for rung in rungs if _says(begun, identity, rung)), first)

    # -- export ------------------------------------------------------------------------------------------------

    def export_folder(self) -> Path:
        """Where the merged weights of this row are kept."""
        return self.bench.stages.folder("export", self.spec.name, self._export_recipe())

    def export_command(self, output: Path | None = None) -> Command:
        """The ``swift export --merge_lora`` line of this row."""
        tools = self.tools("train")
        return tools.within(
            swift.export(
                self.spec,
                checkpoint=self.checkpoint_path(),
                base=self.base_path(),
                output=output or self.export_folder() / "output",
                python=tools.python,
                version=tools.swift,
            ),
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
            self._refuse_plugins(folder)
            return self._keep("export", Artifact(str(folder), self._content(str(folder))))
        trained = self.train()
        record = self.bench.stages.ensure(
            "export",
            self.spec.name,
            folder=self.export_folder(),
            identity=self._export_recipe()
            | {
                "versions": self.tools("train").versions,
                "inputs": {"base": self.base().fingerprint, "adapter": trained.fingerprint},
            },
            work=self._export,
            why_broken=swift.why_weights_broken,
        )
        return self._keep("export", Artifact(record.output, self._content(record.output), record))

    def _export(self, output: Path) -> Done:
        command = self.export_command(output)
        self.tools("train").check(command)
        return self._run("export", command, output)

    def _export_recipe(self) -> dict[str, Any]:
        command = swift.export(
            self.spec,
            checkpoint=Path("CHECKPOINT"),
            base=self.base_path(),
            output=Path("OUTPUT"),
            version=self.tools("train").swift,
        )
        source = {"adapter": self.spec.adapter} if self.spec.adapter else self._train_recipe()
        return {"export": self.recipe_of(command), **source}

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
        spec = self.spec
        recipe = {
            "way": way,
            "engine": spec.serving.engine,
            "template": spec.template,
            "dated": spec.prompt_date,
        }
        return self.bench.stages.folder("parity", spec.name, recipe, variant)

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
                ),
                "prompt_date": spec.prompt_date,
                "versions": self.tools("serve").versions,
            }
        )

    # -- shared ------------------------------------------------------------------------------------------------

    def _look_at_disk(self, stage: str) -> None:
        """Tell the timeline where what *stage* will write may not fit."""
        shape = memory.shape_of(self.base_path())
        needed = memory.disk_gib(shape, self.spec, stage) if shape else 0.0
        if why := memory.why_short_of_disk(needed, self.bench.workspace.root, stage):
            self.bench.stages.timeline.tell("short of disk", model=self.spec.name, why=why)

    def _run(self, stage: str, command: Command | None, output: Path) -> Done:
        assert command
        if stage == "export":
            self._look_at_disk(stage)
        limits = self.spec.limits
        log = output.parent / "stage.log"
        attempts = Attempts(limits.retries)
        while True:
            shutil.rmtree(output, ignore_errors=True)
            log.unlink(missing_ok=True)
            try:
                with self.leased(stage) as placed:
                    process = self.bench.runner.run(
                        placed(command), log, timeout_s=limits.export_s, stall_s=limits.stall_s
                    )
                return Done(
                    str(command), process.peak_memory_gib, {"gpus": placed.gpus, "attempts": attempts.told}
                )
            except CommandFailed as error:
                attempts.again(error)

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
        return {name: self.named(value) for name, value in flags_of(command).items()}

    def _content(self, path: str) -> str:
        folder = Path(path)
        if not folder.is_dir():
            return f"hub:{path}"
        if not self.spec.trust_remote_code and (named := swift.own_code(folder)):
            raise DataError(
                f"{self.spec.name}: {folder / named} names Python code of the model's own (auto_map), which runs only "
                "for rows that say 'trust_remote_code: true'; say so if you trust it, or remove 'auto_map' where "
                "the installed transformers knows the model"
            )
        try:
            return self.bench.hashes.of(folder, WEIGHTS)
        except FileNotFoundError:
            raise DataError(
                f"{self.spec.name}: {folder} holds no model; it needs config.json and *.safetensors"
            ) from None

    def _refuse_plugins(self, folder: Path) -> None:
        """Raise DataError where ``args.json`` in somebody's *folder* names Python files, which are never imported."""
        if not self.spec.trust_remote_code and (file := swift.own_plugin(folder)):
            raise DataError(
                f"{self.spec.name}: {folder / 'args.json'} names a Python file that its training imported ({file!r}); "
                "a file beside weights decides nothing here. If the prompts depend on it, name a copy that you trust "
                "in 'training.extra' and 'serving.extra' (external_plugins), and remove it from args.json"
            )

    def base_doubt(self) -> str:
        """Why the row's adapter may be of another base than the row's, in words; empty where nothing speaks for it."""
        if not self.spec.adapter:
            return ""
        named, base = swift.trained_on(Path(self.spec.adapter).expanduser()), self.base_path()
        if not named or named == base:
            return ""
        if Path(named).is_dir() and Path(base).is_dir():
            same = self.bench.hashes.each(Path(named), TENSORS) == self.bench.hashes.each(Path(base), TENSORS)
        else:  # a cache of a hub, or another machine, has the model's name somewhere in its place
            same = _name_in(named) == _name_in(base)
        return "" if same else OTHER_BASE(named=named, base=base)

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

    def _why_fewer_rows(self, facts: dict[str, Any]) -> str:
        """Why fewer rows were trained on than the data have; empty where that cannot be counted here."""
        names = [dataset_name(dataset) for dataset in self.spec.dataset]
        if self.spec.training.packing or not all(name.path and name.path.exists() for name in names):
            return ""
        rows = sum(name.rows or count_rows(Path(name.place)) for name in names)
        return why_fewer(rows, str(facts.get("train_dataset")), self.spec.training.validation_share)

    def _dataset_hash(self, dataset: str) -> str:
        return dataset_identity(dataset, self.bench.hashes.of)


def flags_of(command: Command) -> dict[str, str]:
    """The flags of a command as a mapping, for an identity that can be told apart in words."""
    options: dict[str, str] = {"module": command.module or command.argv[0]}
    name = "argument"
    for part in command.argv[3:]:
        if part.startswith("--"):
            name = part[2:]
            options[name] = ""
        else:
            options[name] = f"{options.get(name, '')} {part}".strip()
    return options | dict(command.env)


_NO_NAME = re.compile(r"output|snapshots?|models?|master|main|[0-9a-f]{40}|last-checkpoint|checkpoint-\d+")


def _name_in(place: str) -> str:
    """The name that *place*, a hub id or a folder of a hub's cache, gives a model, however the hub spells it."""
    parts = place.lower().replace("--", "/").replace("___", ".").split("/")
    return next((part for part in reversed(parts) if part and not _NO_NAME.fullmatch(part)), "")


def _says(begun: Path, identity: dict[str, Any], training: Training) -> bool:
    try:
        told = json.loads(begun.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    wanted = json.loads(json.dumps({"identity": identity, "training": _mathematics(training)}, default=str))
    return bool(told == wanted)


def _mathematics(training: Training) -> dict[str, Any]:
    """What decides the weights: who watches the training does not."""
    return training.model_dump(exclude={"tracker"})


def _why_untracked(error: CommandFailed, log: Path, written: int) -> str:
    """How SwanLab ended a training whose *log* had *written* bytes before it; empty where it did not.

    A silence may be anybody's. It is laid at the tracker's door once, because going on without it costs nothing.
    """
    if isinstance(error, Stalled):
        return SILENCE()
    if (error.returncode or 0) <= 0:
        return ""
    with log.open("rb") as file:
        file.seek(max(written, log.stat().st_size - 64 * 1024))
        return secrecy.redact(swift.why_untracked(file.read().decode("utf-8", "replace")))


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
    wanted = spec.needs.gpu_memory_gib
    if wanted == 0 or spec.url:
        return ""
    best = _largest_card_gib()
    if best is None:
        return NEEDS_GPU(gib=wanted)
    return "" if best >= wanted else NEEDS_LARGER_GPU(gib=wanted, largest=best)


@cache
def _largest_card_gib() -> float | None:
    """Asked once per process: nvidia-smi takes its time, and collecting asks for every row and test."""
    return max((card.total_gib for card in gpus.cards()), default=None)
