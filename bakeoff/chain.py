"""The stages of one row, in the guide's order: base, train, export, serve, evaluate.

:class:`Chain` knows which stage stands on which; *how* a stage is done is told by the adapters, *whether* it must be
done by :class:`~bakeoff.stages.Stages`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bakeoff import engines, environments, gpus, memory, secrecy, swift
from bakeoff.command import Command
from bakeoff.errors import CommandFailed, DataError, OutOfMemory, TimeLimit
from bakeoff.matrix import SHIPPED, Environment, Matrix, ModelSpec, Suite, Training, dataset_argument
from bakeoff.provenance import WEIGHTS, ContentHashes, digest, versions, write_json
from bakeoff.runner import Runner
from bakeoff.stages import Done, Record, Stages
from bakeoff.workspace import Workspace

TOOLS = ("ms-swift", "transformers", "peft", "torch", "lmdeploy", "vllm", "sglang")
PROGRESS_S = 30.0
BACKOFF_S = 5.0


@dataclass(frozen=True)
class Bench:
    """What all rows of a run share.

    Attributes:
        data_dir: evaluation data of the user, see :class:`~bakeoff.matrix.Suite`.
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


@dataclass(frozen=True)
class Placement:
    """The cards that a stage holds; called with a command it puts it on them."""

    numbers: tuple[int, ...] = ()

    @property
    def gpus(self) -> int:
        """How many they are; 0 on the CPU."""
        return len(self.numbers)

    def __call__(self, command: Command) -> Command:
        """*command* on these cards."""
        if not self.numbers:
            return command
        env = {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the numbers are nvidia-smi's
            "CUDA_VISIBLE_DEVICES": ",".join(str(number) for number in self.numbers),
        }
        return replace(command, env={**command.env, **env})


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
        return self._keep("base", Artifact(path, self._content(path), record))

    @cached_property
    def _tiny_recipe(self) -> dict[str, Any]:
        own = Path(__file__).parent
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
        return self.within(
            "train",
            swift.sft(
                spec,
                base=self.base_path(),
                output=output,
                python=self.python_of("train"),
                version=self._swift("train"),
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
            return self._keep("train", Artifact(str(folder), self._content(str(folder))))
        base = self.base()
        self.prepare("train")
        identity = self._train_recipe() | {
            "versions": self._versions("train"),
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
            why_broken=swift.why_unfinished,
        )
        checkpoint = swift.last_checkpoint(Path(record.output))
        assert checkpoint
        return self._keep("train", Artifact(str(checkpoint), self._content(str(checkpoint)), record))

    def _train_recipe(self) -> dict[str, Any]:
        command = swift.sft(
            self.spec,
            base=self.named(self.base_path()),
            output=Path("OUTPUT"),
            version=self._swift("train"),
        )
        return {"train": flags_of(command)}

    def _train(self, output: Path, identity: dict[str, Any]) -> Done:
        begun = output.parent / "begun.json"
        log = output.parent / "stage.log"
        told: list[str] = []
        attempts = 0
        training = self._rung_of(begun, identity)
        while True:
            resume = swift.last_checkpoint(output) if _says(begun, identity, training) else None
            if resume is None:
                shutil.rmtree(output, ignore_errors=True)
                log.unlink(missing_ok=True)
                write_json(begun, {"identity": identity, "training": training.model_dump()})
            else:
                told.append(f"continued from {resume.name}")
            command = self.train_command(training, resume)
            try:
                with self.leased("train") as placed:
                    process = self.bench.runner.run(
                        placed(command),
                        log,
                        timeout_s=self.spec.limits.train_s,
                        stall_s=self.spec.limits.stall_s,
                        progress=self._telling(output),
                    )
                break
            except OutOfMemory as error:
                smaller = next(memory.ladder(training, fused_loss=not self.spec.trust_remote_code), None)
                if smaller is None:
                    raise
                told.append(f"out of memory at batch {training.batch_size}: {str(error).splitlines()[0]}")
                training = smaller
            except CommandFailed as error:
                attempts += 1
                self._wait_or_give_up(attempts, error)
                told.append(f"attempt {attempts} failed: {str(error).splitlines()[0]}")
        facts = swift.training_facts(output, since=int(resume.name.partition("-")[2]) if resume else 0)
        if facts["global_step"] != facts["max_steps"]:
            raise CommandFailed(
                f"{self.spec.name}: training ended with exit code 0 at step {facts['global_step']} of "
                f"{facts['max_steps']}; log: {log}\nby hand: {command}",
                log=log,
            )
        facts |= {
            "gpus": placed.gpus,
            "attempts": told,
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

    def _wait_or_give_up(self, attempts: int, error: CommandFailed) -> None:
        """Sleep before the next attempt, longer each time; raise *error* where none is due."""
        if attempts > self.spec.limits.retries or not _may_pass(error):
            raise error
        time.sleep(BACKOFF_S * 2 ** (attempts - 1))

    def _telling(self, output: Path) -> Callable[[], None]:
        """Tells the timeline every half minute how far the training is."""
        told = time.monotonic()

        def tell() -> None:
            nonlocal told
            if time.monotonic() - told > PROGRESS_S and (how_far := swift.how_far(output)):
                told = time.monotonic()
                self.bench.stages.timeline.tell(
                    "progress", stage="train", model=self.spec.name, how_far=how_far
                )

        return tell

    # -- export ------------------------------------------------------------------------------------------------

    def export_folder(self) -> Path:
        """Where the merged weights of this row are kept."""
        return self.bench.stages.folder("export", self.spec.name, self._export_recipe())

    def export_command(self, output: Path | None = None) -> Command:
        """The ``swift export --merge_lora`` line of this row."""
        return self.within(
            "train",
            swift.export(
                self.spec,
                checkpoint=self.checkpoint_path(),
                base=self.base_path(),
                output=output or self.export_folder() / "output",
                python=self.python_of("train"),
                version=self._swift("train"),
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
            return self._keep("export", Artifact(str(folder), self._content(str(folder))))
        trained = self.train()
        record = self.bench.stages.ensure(
            "export",
            self.spec.name,
            folder=self.export_folder(),
            identity=self._export_recipe()
            | {
                "versions": self._versions("train"),
                "inputs": {"base": self.base().fingerprint, "adapter": trained.fingerprint},
            },
            work=lambda output: self._run("export", self.export_command(output), output),
            why_broken=swift.why_weights_broken,
        )
        return self._keep("export", Artifact(record.output, self._content(record.output), record))

    def _export_recipe(self) -> dict[str, Any]:
        command = swift.export(
            self.spec,
            checkpoint=Path("CHECKPOINT"),
            base=self.named(self.base_path()),
            output=Path("OUTPUT"),
            version=self._swift("train"),
        )
        source = {"adapter": self.spec.adapter} if self.spec.adapter else self._train_recipe()
        return {"export": flags_of(command), **source}

    # -- serve -------------------------------------------------------------------------------------------------

    def serve_command(self, variant: str, port: int, way: str | None = None) -> Command:
        """The serving line of *variant* on *port*: the base, base + adapter (way A), or merged weights (way B)."""
        way = way or self.spec.serving.way
        adapter = self.checkpoint_path() if variant == "tuned" and way == "adapter" else None
        model = self.loaded_path(variant, way)
        if self.spec.serving.engine != "transformers":
            model = str(self.view_folder(variant, way))
        return self.within(
            "serve",
            engines.serve(
                self.spec,
                model=model,
                adapter=adapter,
                served_name=self.spec.served_name(variant),
                port=port,
                python=self.python_of("serve"),
                version=self._swift("serve"),
            ),
        )

    def loaded_path(self, variant: str, way: str | None = None) -> str:
        """The folder or hub id whose weights are loaded to serve *variant*."""
        if variant == "base" or (way or self.spec.serving.way) == "adapter":
            return self.base_path()
        return self.spec.weights or str(self.export_folder() / "output")

    def parity_folder(self, variant: str, way: str) -> Path:
        """Where the record of what was compared for *variant* is kept; see :mod:`bakeoff.parity`."""
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
                "versions": self._versions("serve"),
            }
        )

    # -- shared ------------------------------------------------------------------------------------------------

    def _run(self, stage: str, command: Command | None, output: Path) -> Done:
        assert command
        limits = self.spec.limits
        log = output.parent / "stage.log"
        told: list[str] = []
        while True:
            shutil.rmtree(output, ignore_errors=True)
            log.unlink(missing_ok=True)
            try:
                with self.leased(stage) as placed:
                    process = self.bench.runner.run(
                        placed(command), log, timeout_s=limits.export_s, stall_s=limits.stall_s
                    )
                return Done(str(command), process.peak_memory_gib, {"gpus": placed.gpus, "attempts": told})
            except CommandFailed as error:
                told.append(f"attempt {len(told) + 1} failed: {str(error).splitlines()[0]}")
                self._wait_or_give_up(len(told), error)

    @contextlib.contextmanager
    def leased(self, stage: str) -> Iterator[Placement]:
        """Hold the cards that *stage* needs, and yield what puts a command on them; a row on the CPU needs none.

        A training has its card to itself. A service takes what its engine will: the share of the card that lmdeploy,
        vLLM and SGLang fill, else the row's need, so that two services share a card if both fit.
        """
        spec = self.spec
        found = [] if spec.on_cpu or stage == "build" else gpus.cards()
        if not found or not set(spec.gpus or "0") <= set(
            "0123456789, "
        ):  # a UUID in 'gpus' is taken as it is
            yield Placement()
            return
        least = spec.needs.gpu_memory_gib
        fills = stage == "serve" and spec.serving.engine != "transformers"

        def gib_of(card: gpus.Card) -> float:
            share = 1.0 if stage == "train" else spec.serving.memory_share if fills else 0.0
            return max(least, share * card.total_gib)

        def waiting(holders: list[gpus.Holder]) -> None:
            told = [f"card {h.card}: {h.gib:.0f} GiB by {h.who}, process {h.pid}" for h in holders]
            self.bench.stages.timeline.tell("waiting for a card", model=spec.name, stage=stage, held=told)

        with gpus.Leases(gpus.common_folder()).lease(
            found,
            gib_of,
            who=f"{spec.name} ({stage})",
            count=spec.serving.tensor_parallel if stage == "serve" else 1,
            fixed=spec.gpus,
            waiting=waiting,
        ) as numbers:
            yield Placement(numbers)

    def _keep(self, name: str, artifact: Artifact) -> Artifact:
        self._made[name] = artifact
        return artifact

    def _environment(self, role: str) -> Environment:
        return self.bench.matrix.environments[getattr(self.spec.environment, role)]

    def prepare(self, role: str) -> None:
        """Build the environment of *role*, unless it is there."""
        environments.ensure_environment(self._environment(role), self.bench.workspace.environments)

    def python_of(self, role: str) -> str:
        """The interpreter of *role*, also where its environment is yet to be built."""
        environment, root = self._environment(role), self.bench.workspace.environments
        there = environments.built(environment, root)
        return str(
            there.python if there else root / environments.digest(environment) / "venv" / "bin" / "python"
        )

    def _swift(self, role: str) -> str:
        found = environments.swift_version(self._environment(role), self.bench.workspace.environments)
        return found or swift.NEWEST

    def serving_versions(self) -> dict[str, str]:
        """The tools that serve, with their versions."""
        return self._versions("serve")

    def _versions(self, role: str) -> dict[str, str]:
        there = environments.built(self._environment(role), self.bench.workspace.environments)
        found = {name: there.version(name) for name in TOOLS} if there else {}
        return {name: version for name, version in found.items() if version}

    def within(self, role: str, command: Command) -> Command:
        """*command* with what the environment of *role* adds; another environment must not see our packages."""
        environment = self._environment(role)
        if environments.is_running(environment):
            return command
        return Command(command.argv, {**command.env, "PYTHONPATH": "", **environment.env}, command.cwd)

    def named(self, path: str) -> str:
        """*path* without the place of the store, so that a store can be moved."""
        return path.replace(str(self.bench.workspace.root), "STORE")

    def _content(self, path: str) -> str:
        folder = Path(path)
        if not folder.is_dir():
            return f"hub:{path}"
        try:
            return self.bench.hashes.of(folder, WEIGHTS)
        except FileNotFoundError:
            raise DataError(
                f"{self.spec.name}: {folder} holds no model; it needs config.json and *.safetensors"
            ) from None

    def _dataset_hash(self, dataset: str) -> str:
        path = Path(dataset_argument(dataset))
        return self.bench.hashes.of(path) if path.exists() else f"hub:{dataset}"


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


def _says(begun: Path, identity: dict[str, Any], training: Training) -> bool:
    try:
        told = json.loads(begun.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    wanted = json.loads(json.dumps({"identity": identity, "training": training.model_dump()}, default=str))
    return bool(told == wanted)


_PASSING = (
    "Connection",
    "timed out",
    "Temporary failure",
    "Too Many Requests",
    "503",
    "502",
    "Address already in use",
)


def _may_pass(error: CommandFailed) -> bool:
    """Whether trying again can help: a kill from outside, or a network that was away."""
    if isinstance(error, TimeLimit | OutOfMemory):
        return False
    killed = error.returncode is not None and error.returncode < 0
    return killed or any(sign in str(error) for sign in _PASSING)


def select_suites(matrix: Matrix, spec: ModelSpec, data_dir: Path | None) -> Sequence[tuple[Suite, str]]:
    """The suites of *spec*, each with why it cannot run here (or nothing)."""
    return [(suite, suite.why_no_data(data_dir)) for suite in matrix.suites_of(spec)]


def why_unmet(spec: ModelSpec) -> str:
    """Why this machine cannot run *spec*, in words; empty where it can."""
    from importlib.util import find_spec

    from bakeoff.gpus import cards

    for package in spec.needs.packages:
        if find_spec(package) is None:
            return f"needs the package {package}, which is not installed"
    wanted = spec.needs.gpu_memory_gib
    if wanted == 0 or spec.url:
        return ""
    found = cards()
    if not found:
        return f"needs a GPU with {wanted:g} GiB; this machine has none"
    best = max(card.total_gib for card in found)
    return "" if best >= wanted else f"needs a GPU with {wanted:g} GiB; the largest here has {best:.0f} GiB"
