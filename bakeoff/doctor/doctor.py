"""What would go wrong, before it does: every finding with its remedy, each once.

Nothing is started, loaded or downloaded; what was asked of installed tools before comes from the cache.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from bakeoff.chain.chain import Bench
from bakeoff.command import Command
from bakeoff.doctor import comparability
from bakeoff.doctor.dataset_health import Health, check_dataset
from bakeoff.environments.building import PythonEnvironment, ask, built, is_running
from bakeoff.environments.installed import (
    Asking,
    Installed,
    cache_file,
    check_command,
    installed,
    nearest,
    why_refused,
)
from bakeoff.errors import BakeoffError, DataError
from bakeoff.execution.gpus import cards
from bakeoff.execution.runner import Runner
from bakeoff.matrix.schema import Matrix, ModelSpec, dataset_name
from bakeoff.provenance import write_json
from bakeoff.scoring import leakage
from bakeoff.tools import engines, memory, swift
from bakeoff.workspace import Workspace

Level = Literal["error", "warning", "note"]
_LEVELS: tuple[Level, ...] = ("error", "warning", "note")

REMOTE_CODE = ("chatglm2", "chatglm3", "internlm", "internlm2", "baichuan", "baichuan2")
"""Model types whose code comes with the weights and was written for transformers 4."""
_NO_FLASH = ("chatglm2", "chatglm3", "baichuan", "baichuan2")
_FLASH = {
    "flash_attn": "flash-attn",
    "flash_attention_2": "flash-attn",
    "flash_attention_3": "flash-attn-3",
    "flash_attention_4": "flash-attn-4",
}


@dataclass(frozen=True)
class Finding:
    """One thing that would go wrong (error), may spoil the result (warning) or is worth knowing (note)."""

    level: Level
    place: str
    """Rows, suite or part of the machine."""
    what: str
    remedy: str
    rows: tuple[str, ...] = ()
    """The rows that would fail of it; none where it is of the machine or of the comparison."""

    def __str__(self) -> str:
        return f"{self.level}: {self.place}: {self.what}\n    -> {self.remedy}"


@dataclass
class _Visit:
    """What the checks share."""

    rows: Sequence[ModelSpec]
    matrix: Matrix
    workspace: Workspace
    data_dir: Path | None
    environ: Mapping[str, str]
    asking: Asking | None = None
    environments: dict[str, PythonEnvironment] = field(default_factory=dict)
    tools: dict[str, Installed] = field(default_factory=dict)

    def environment(self, row: ModelSpec, role: str) -> PythonEnvironment | None:
        return self.environments.get(getattr(row.environment, role))

    def installed(self, row: ModelSpec, role: str) -> Installed | None:
        return self.tools.get(getattr(row.environment, role))

    def users(self, name: str) -> tuple[str, ...]:
        """The rows whose commands run in environment *name*."""
        return tuple(row.name for row in self.rows if not row.url and name in dict(row.environment).values())


def findings(
    rows: Sequence[ModelSpec],
    matrix: Matrix,
    workspace: Workspace,
    *,
    data_dir: Path | None = None,
    environ: Mapping[str, str] | None = None,
    asking: Asking | None = None,
) -> list[Finding]:
    """Everything that would go wrong for *rows* of *matrix* on this machine, errors first.

    Args:
        data_dir: evaluation data of the user, see :class:`~bakeoff.matrix.schema.Suite`.
        environ: the environment variables of the run; None: this process's.
        asking: see :func:`~bakeoff.installed.installed`.
    """
    visit = _Visit(rows, matrix, workspace, data_dir, os.environ if environ is None else environ, asking)
    found = [one for check in _CHECKS for one in check(visit)]
    return sorted(_merged(found, [row.name for row in rows]), key=lambda one: _LEVELS.index(one.level))


def _merged(found: Sequence[Finding], rows: Sequence[str]) -> list[Finding]:
    """*found* with what several rows share said once, under all their names."""
    alike: dict[tuple[Level, str, str], list[Finding]] = {}
    for one in found:
        alike.setdefault((one.level, one.what, one.remedy), []).append(one)
    return [
        Finding(
            level,
            ", ".join(dict.fromkeys(one.place for one in same)),
            what,
            remedy,
            tuple(row for row in rows if any(row == one.place or row in one.rows for one in same)),
        )
        for (level, what, remedy), same in alike.items()
    ]


def before_run(rows: Sequence[str], bench: Bench, run: Path) -> dict[str, str]:
    """Why rows must not begin, by row; every finding is told to the timeline.

    Args:
        rows: names of the rows that are going to run.
        run: folder of the run; the processes that share it look once.
    """
    kept = run / "doctor.json"
    with bench.stages.lock(run):
        if not kept.exists():
            specs = [bench.matrix.models[name] for name in rows]
            asking = partial(_asking, bench.runner, run / "doctor.log")
            found = findings(specs, bench.matrix, bench.workspace, data_dir=bench.data_dir, asking=asking)
            for one in found:
                bench.stages.timeline.tell("finding", **asdict(one))
            write_json(kept, [asdict(one) for one in found if one.level == "error"])
        errors = [Finding(**one) for one in json.loads(kept.read_text(encoding="utf-8"))]
    told = {name: [str(one) for one in errors if name in one.rows] for name in rows}
    return {
        name: f"{name} does not begin: the doctor found (pytest --doctor)\n" + "\n".join(lines)
        for name, lines in told.items()
        if lines
    }


def _asking(runner: Runner, log: Path, environment: PythonEnvironment, out: Path) -> None:
    """Ask by the runner, whose keeper has imported ms-swift: the run needs it anyway."""
    if environment.python == Path(sys.executable):
        argv = (sys.executable, "-m", "bakeoff.environments.probe", "installed", str(out))
        runner.run(Command(argv, {"CUDA_VISIBLE_DEVICES": ""}), log, timeout_s=300, stall_s=300)
    else:
        ask(environment.python, "installed", out=out)


def _environments(visit: _Visit) -> Iterator[Finding]:
    for name in dict.fromkeys(n for row in visit.rows for _, n in row.environment if not row.url):
        environment = visit.matrix.environments[name]
        there = built(environment, visit.workspace.environments)
        if there is None:
            yield Finding(
                "note",
                f"environments.{name}",
                f"is not built yet ({', '.join(environment.requirements)}); its rows' flags are not checked",
                f"it is built on first use, in minutes; now: python -m bakeoff.environments {name}",
            )
            continue
        visit.environments[name] = there
        if there.version("ms-swift") is not None:
            try:
                visit.tools[name] = installed(there, visit.workspace.cache, visit.asking)
            except BakeoffError as error:
                again = (
                    "repair it with pip" if is_running(environment) else f"remove {there.python.parents[2]}"
                )
                yield Finding(
                    "error",
                    f"environments.{name}",
                    str(error),
                    f"{again}, then try again",
                    visit.users(name),
                )


def _tools(visit: _Visit) -> Iterator[Finding]:
    """Flags, model types and templates, by the row's own command lines and the row's own environment."""
    for row in visit.rows:
        if row.url:
            continue
        base = row.model or row.weights or ""
        for role, wanted in (("train", row.trains), ("serve", row.serving.engine == "transformers")):
            environment = visit.environment(row, role)
            if wanted and environment and environment.version("ms-swift") is None:
                name = getattr(row.environment, role)
                yield Finding(
                    "error",
                    row.name,
                    f"{role}: environment {name!r} has no ms-swift",
                    f"add ms-swift to environments.{name}.requirements",
                )
        place = Path("x")
        tools = visit.installed(row, "train")
        lines = []
        if tools and row.trains:
            lines = [
                swift.sft(row, base=base, output=place, version=tools.swift),
                swift.export(row, checkpoint=place, base=base, output=place, version=tools.swift),
            ]
            yield from _refused(row, lines, tools)
            recognised = tools.recognised(base)
            yield from _unlike(row, lines[0], tools)
            if not row.tiny and (not row.model_type or not row.template) and not recognised:
                yield Finding(
                    "error",
                    row.name,
                    f"ms-swift {tools.swift} cannot tell the model type of {base!r} by its name",
                    "give model_type and template; docs/matrix.md lists those of the guide's models",
                )
        served = visit.environment(row, "serve")
        if served and row.serving.engine != "transformers":
            line = engines.serve(row, model=base, served_name=row.name, port=8000)
            refused = why_refused(line, served, visit.workspace.cache, ask_now=True)
            yield from _told(row, refused, f"{row.serving.engine} {served.version(row.serving.engine)}")
        tools = visit.installed(row, "serve")
        if tools and row.serving.engine == "transformers":
            line = swift.deploy(row, model=base, served_name=row.name, port=8000, version=tools.swift)
            yield from _refused(row, [line], tools)


_TEMPLATE_INSTEAD = {"llama3_2": "llama3"}
"""Templates that a row may take instead of the one ms-swift would: the same words without the day's date."""


def _unlike(row: ModelSpec, line: Command, tools: Installed) -> Iterator[Finding]:
    """Where the row says something else than ms-swift knows of a model of that name."""
    recognised = tools.recognised(row.model or "")
    if not recognised:
        return
    model_type, template = recognised
    said, spoken = line.value_of("--model_type"), line.value_of("--template")
    if said in tools.model_types and said != model_type:
        yield Finding(
            "error",
            row.name,
            f"model_type {said}, but ms-swift {tools.swift} loads {row.model} as {model_type}",
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
    refused = [one for line in lines for one in check_command(line, tools)]
    yield from _told(row, refused, f"ms-swift {tools.swift}")


def _told(row: ModelSpec, refused: Sequence[str], tool: str) -> Iterator[Finding]:
    for what in dict.fromkeys(one.partition(": ")[2] for one in refused):  # a model type stands in every line
        near = re.search(r"is it (\S+)\?$", what)
        remedy = (
            f"use {near[1]}" if near else f"remove it, or name an environment whose {tool.split()[0]} has it"
        )
        yield Finding("error", row.name, f"{what.partition(';')[0]} to {tool}", remedy)


def _remote_code(visit: _Visit) -> Iterator[Finding]:
    for row in visit.rows:
        roles = [r for r, w in (("train", row.trains), ("serve", row.serving.engine == "transformers")) if w]
        for role in roles if row.model_type in REMOTE_CODE else ():
            environment = visit.environment(row, role)
            version = environment.version("transformers") if environment else None
            if environment and version and int(version.split(".")[0]) >= 5:
                yield Finding(
                    "error",
                    row.name,
                    f"its remote code was written for transformers 4, and environment {environment.name!r} has "
                    f"{version}: rotary positions become uninitialised memory, mostly without an error",
                    "name an environment with transformers 4.41.2 under 'environment' (docs/environments.md)",
                )
        if row.serving.engine == "lmdeploy" and row.model_type in ("baichuan", "baichuan2"):
            yield Finding(
                "error",
                row.name,
                "lmdeploy no longer serves Baichuan models (since 0.18)",
                "serving: {engine: transformers} (or vllm) for this row",
            )


def _packages(visit: _Visit) -> Iterator[Finding]:
    for row in visit.rows:
        training = visit.environment(row, "train")
        wanted: list[tuple[str, str]] = []
        if row.trains and row.training.attention in _FLASH:
            package = _FLASH[row.training.attention]
            if "packed_rows" not in row.training.plugins:  # which lends PyTorch's own
                wanted.append((package, f"attention: sdpa (without packing), or install {package}"))
            if row.model_type in _NO_FLASH:
                yield Finding(
                    "error",
                    row.name,
                    f"the code of {row.model_type} models has no flash attention",
                    "training: {attention: null, packing: false} for this row",
                )
        if row.trains and row.training.fused_loss and row.model_type in REMOTE_CODE:
            yield Finding(
                "error",
                row.name,
                f"no fused loss knows the code of {row.model_type} models",
                "training: {fused_loss: false, batch_size: 4, gradient_accumulation: 8}: the same effective batch",
            )
        elif row.trains and row.training.fused_loss and not row.on_cpu:
            wanted.append(
                ("liger-kernel", "fused_loss: false (four times the memory), or install liger-kernel")
            )
        if training and _tracks_in_swanlab(visit, row) and training.version("swanlab") is None:
            yield Finding(
                "warning",
                row.name,
                f"environment {training.name!r} has no swanlab: TensorBoard tracks instead",
                "install swanlab, or say tracker: tensorboard",
            )
        for package, remedy in wanted if training else ():
            if training and training.version(package) is None:
                yield Finding("error", row.name, f"needs {package} in environment {training.name!r}", remedy)
        serving = visit.environment(row, "serve")
        engine = row.serving.engine
        if serving and not row.url and engine != "transformers" and serving.version(engine) is None:
            yield Finding(
                "error",
                row.name,
                f"is served by {engine}, which environment {serving.name!r} does not have",
                f"environment: {{serve: …}} with one that requires {engine}, or serving: {{engine: transformers}}",
            )


_OFF = 1.25
"""An estimate of memory may be off by a quarter, and must not stop what may fit."""


def _devices(visit: _Visit) -> Iterator[Finding]:
    found = cards() if any(not row.on_cpu for row in visit.rows) else []
    for card in found:
        if card.free_gib < 0.9 * card.total_gib:
            yield Finding(
                "warning",
                f"GPU {card.number}",
                f"{card.total_gib - card.free_gib:.0f} of {card.total_gib:.0f} GiB are taken by other processes",
                "end them (nvidia-smi shows who), or choose another card with gpus: or CUDA_VISIBLE_DEVICES",
            )
    for row in visit.rows:
        if row.on_cpu or row.url:
            continue
        if not found:
            yield Finding(
                "error",
                row.name,
                "needs a GPU, and this machine has none; its tests are skipped",
                "run it on a machine with a GPU; the smoke rows (-k tiny) run anywhere",
            )
            continue
        shape = memory.shape_of(row.model or row.weights or "")
        best = max(card.free_gib for card in found)
        whole = max(card.total_gib for card in found)
        if shape is None:
            continue
        fusible = row.model_type not in REMOTE_CODE
        training = row.training if fusible else row.training.model_copy(update={"fused_loss": False})
        need = memory.training_gib(shape, training) if row.trains else memory.serving_gib(shape, row)
        if need > best:
            rungs = memory.ladder(training, fused_loss=fusible)
            least = min((memory.training_gib(shape, rung) for rung in rungs if row.trains), default=need)
            if least <= best:
                remedy = "nothing: after an out-of-memory it steps down with the same effective batch (docs/matrix.md)"
            elif least <= whole:
                remedy = "end what else runs on the card (nvidia-smi shows it)"
            else:
                remedy = "a larger card, a smaller training.max_length, or a smaller model"
            yield Finding(
                "error" if least > _OFF * whole else "warning",
                row.name,
                f"needs about {need:.0f} GiB of device memory; the freest card has {best:.0f}",
                remedy,
            )


def _disk(visit: _Visit) -> Iterator[Finding]:
    """Room for what the rows will write: of one whose base is here and whose merge is in the store, that is nothing."""
    need = 0.0
    for row in visit.rows:
        model = row.model or ""
        shape = None if row.url else memory.shape_of(model)
        if not shape:
            continue
        if not Path(model).expanduser().is_dir() and not _cached(visit, "model", model):
            need += memory.disk_gib(shape, row, "base")
        if not any(visit.workspace.model(row.name).glob("export-*/record.json")):
            stages = {"train": row.trains, "export": row.trains or row.adapter}
            need += sum(memory.disk_gib(shape, row, stage) for stage, runs in stages.items() if runs)
    folder, free = memory.room_gib(visit.workspace.root)
    if need > free:
        yield Finding(
            "error",
            "disk",
            f"base, merged weights and checkpoints of these rows need about {need:.0f} GiB; "
            f"{folder} has {free:.0f} free",
            "`make clean-stale` makes room; or a larger disk with --store, fewer rows at a time (-k), or "
            "training.save_total_limit: 1",
        )


def _models(visit: _Visit) -> Iterator[Finding]:
    for row in visit.rows:
        for key in ("model", "adapter", "weights"):
            place = getattr(row, key)
            local = place and (key != "model" or place.startswith(("/", ".", "~")))
            if local and not Path(place).expanduser().is_dir():
                yield Finding(
                    "error",
                    row.name,
                    f"{key}: there is no folder {place}",
                    "give an existing folder" + (", or a hub id owner/name" if key == "model" else ""),
                )
        hub = row.model if row.model and not (row.tiny or row.model.startswith(("/", ".", "~"))) else ""
        if hub and not Path(hub).is_dir() and _offline(visit) and not _cached(visit, "model", hub):
            yield Finding(
                "error",
                row.name,
                f"its model comes from the hub, {_offline(visit)} is set, and no cache has it",
                f"unset {_offline(visit)}, or give a folder as model",
            )


def _offline(visit: _Visit) -> str:
    """The variables that keep the hubs' clients from asking; empty where none is set."""
    return " and ".join(name for name in _OFFLINE if visit.environ.get(name) in ("1", "true", "True"))


def _cached(visit: _Visit, kind: str, hub_id: str) -> bool:
    """Whether a hub's cache on this machine holds something of *hub_id*."""
    environ, home = visit.environ, Path.home() / ".cache"
    hf = Path(environ.get("HF_HUB_CACHE") or f"{environ.get('HF_HOME') or home / 'huggingface'}/hub")
    modelscope = Path(environ.get("MODELSCOPE_CACHE") or home / "modelscope")
    name = f"{kind}s/{hub_id}"
    places = (hf / name.replace("/", "--"), modelscope / name, modelscope / "hub" / name)
    return any(place.is_dir() for place in places)


def _datasets(visit: _Visit) -> Iterator[Finding]:
    lengths: dict[str, int] = {}
    users: dict[str, list[str]] = {}
    for row in visit.rows:
        for dataset in row.dataset if row.trains else ():
            lengths[dataset] = min(lengths.get(dataset, row.training.max_length), row.training.max_length)
            users.setdefault(dataset, []).append(row.name)
    for dataset, length in lengths.items():
        name = dataset_name(dataset)
        path = name.path
        if path and path.exists():
            try:
                for one in _unhealthy(dataset, check_dataset(path, max_length=length), length):
                    yield replace(one, rows=tuple(users[dataset]))
            except DataError as error:
                what, _, remedy = str(error).rpartition("; ")
                yield Finding(
                    "error", f"dataset {dataset}", what or str(error), remedy, tuple(users[dataset])
                )
        elif path:
            yield Finding(
                "error",
                f"dataset {dataset}",
                "there is no such file",
                "give an existing path, or a hub id",
                tuple(users[dataset]),
            )
        elif _offline(visit) and not (
            _cached(visit, "dataset", name.place)
            or any(leakage.files_in_cache(dataset, hub, visit.environ) for hub in (False, True))
        ):
            yield Finding(
                "error",
                f"dataset {dataset}",
                f"comes from the hub, {_offline(visit)} is set, and no cache has it",
                f"unset {_offline(visit)}, or give a local file as dataset",
                tuple(users[dataset]),
            )


_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "MODELSCOPE_OFFLINE")


def _unhealthy(dataset: str, health: Health, max_length: int) -> Iterator[Finding]:
    place = f"dataset {dataset}"
    if health.rows == 0:
        yield Finding("error", place, "holds no rows", "give a file with dialogues")
        return
    first = "" if health.whole else "the first "
    if health.no_question:
        yield Finding("warning", place, health.no_question, "keep one of them, or rename one to 'query'")
    if dropped := health.dropped.total():
        reasons = [
            f"{why} ({count})" if len(health.dropped) > 1 else why
            for why, count in health.dropped.most_common()
        ]
        yield Finding(
            "error" if dropped == health.rows else "warning",
            place,
            f"ms-swift would silently drop {dropped} of {first}{health.rows} rows: {'; '.join(reasons)}",
            "write them as {messages: [{role: user, content: …}, {role: assistant, content: …}]}",
        )
    kept = max(health.kept, 1)
    for count, what, remedy in (
        (health.ends_on_client, "dialogues end on the client; their last turn trains nothing", "cut the last turn"),
        (health.not_alternating, "dialogues do not alternate between the two sides", "join or repair the turns"),
        (health.empty_turns, "dialogues have an empty turn", "remove the turns or the dialogues"),
        (health.duplicates, "dialogues are copies of others and weigh double", "remove the copies"),
        (
            health.too_long,
            f"dialogues are longer than max_length {max_length} (estimated) and would be left out",
            "a larger training.max_length, or shorten them",
        ),
    ):  # fmt: skip
        if count:
            yield Finding("warning", place, f"{count} of {first}{kept} {what}", remedy)


def _suites(visit: _Visit) -> Iterator[Finding]:
    from bakeoff.evalscope import check_suite

    used = {name for row in visit.rows for name in row.suites}
    for name, suite in visit.matrix.suites.items():
        if name not in used:
            continue
        if why := suite.why_no_data(visit.data_dir):
            what, _, remedy = why.removeprefix(f"{name}: ").partition("; ")
            yield Finding("warning", f"suites.{name}", f"{what}: it is skipped", remedy or "give --data-dir")
            continue
        complaints = check_suite(suite, folder := suite.folder(visit.data_dir))
        if folder is None and not complaints and _offline(visit):
            yield Finding(
                "warning",
                f"suites.{name}",
                f"comes from the hub, and {_offline(visit)} is set: it runs only where a cache has it",
                f"its folder under --data-dir (docs/suites.md), or unset {_offline(visit)}",
            )
        for complaint in complaints:
            place, _, what = complaint.partition(": ")
            what, _, remedy = what.partition("; ")
            yield Finding("error", place, what, remedy or "change it in the matrix")


def _network(visit: _Visit) -> Iterator[Finding]:
    environ = visit.environ
    proxies = [n for n in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY") if environ.get(n)]
    spared = f"{environ.get('no_proxy', '')},{environ.get('NO_PROXY', '')}".replace(" ", "").split(",")
    missing = [host for host in ("127.0.0.1", "localhost") if host not in spared and "*" not in spared]
    if proxies and missing:
        yield Finding(
            "note",
            "proxy",
            f"{proxies[0]} is set and NO_PROXY does not cover {' and '.join(missing)}: the run spares them, lines that "
            "are pasted by hand do not",
            'for such lines: export NO_PROXY="${NO_PROXY:+$NO_PROXY,}127.0.0.1,localhost,::1" no_proxy="$NO_PROXY"',
        )
    for port in dict.fromkeys(row.serving.port for row in visit.rows if row.serving.port and not row.url):
        users = tuple(row.name for row in visit.rows if row.serving.port == port and not row.url)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                yield Finding(
                    "error",
                    f"port {port}",
                    f"cannot be used: {error.strerror}; whoever answers there would be scored under our name",
                    "end that program, or remove serving.port: a free one is taken",
                    users,
                )


def _tracks_in_swanlab(visit: _Visit, row: ModelSpec) -> bool:
    """Whether the row's training reports to SwanLab; an ms-swift without it (before 3.1) does not."""
    tools = visit.installed(row, "train")
    has_it = tools is None or "swanlab_project" in tools.flags["sft"]
    return row.trains and row.training.tracker == "swanlab" and has_it


def _tokens(visit: _Visit) -> Iterator[Finding]:
    for row in visit.rows:
        cloud = _tracks_in_swanlab(visit, row) and row.training.tracker_mode == "cloud"
        if cloud and not visit.environ.get("SWANLAB_API_KEY"):
            old = (
                " (SwanLab does not read the guide's SWANLAB_TOKEN)"
                if visit.environ.get("SWANLAB_TOKEN")
                else ""
            )
            yield Finding(
                "warning",
                row.name,
                f"SwanLab's cloud needs SWANLAB_API_KEY{old}; without it nothing is tracked there",
                "put SWANLAB_API_KEY=… into .env, or tracker_mode: local, or tracker: tensorboard",
            )
        if row.key_env and not visit.environ.get(row.key_env):
            yield Finding("error", row.name, f"{row.key_env} is not set", f"put {row.key_env}=… into .env")


def _prompts(visit: _Visit) -> Iterator[Finding]:
    for row in visit.rows:
        if comparability.has_dated_prompt(row.template) and not row.prompt_date and not row.url:
            yield Finding(
                "warning",
                row.name,
                f"template {row.template} prints the day's date into every prompt: scores drift from day to day",
                "prompt_date: YYYY-MM-DD (any fixed day)"
                + (", or template: llama3" * (row.template == "llama3_2")),
            )


def _comparability(visit: _Visit) -> Iterator[Finding]:
    for one in _by_group(visit.rows, visit.tools):
        intended = (
            f"the guide: {one.intended}" if one.intended else "give the rows the same, or say why they differ"
        )
        yield Finding("warning", "comparability", f"{one}; {one.why_it_matters}", intended)


def known_differences(
    rows: Sequence[ModelSpec], matrix: Matrix, workspace: Workspace
) -> list[comparability.Difference]:
    """Where *rows* are not like for like, as far as their tools have been asked before; nothing is asked now."""
    tools = {}
    for name in {row.environment.train for row in rows}:
        there = built(matrix.environments[name], workspace.environments)
        if there and cache_file(there, workspace.cache).exists():
            tools[name] = installed(there, workspace.cache)
    return _by_group(rows, tools)


def _by_group(rows: Sequence[ModelSpec], tools: Mapping[str, Installed]) -> list[comparability.Difference]:
    """Tiny rows stand in for full ones: they are never compared with them."""
    groups = dict.fromkeys(row.group for row in rows)
    alike = [[row for row in rows if row.group == group] for group in groups]
    return [one for some in alike for one in differences(some, tools)]


def differences(rows: Sequence[ModelSpec], tools: Mapping[str, Installed]) -> list[comparability.Difference]:
    """Where *rows* are not like for like, templates and trainers included; *tools* by environment name."""
    systems: dict[str, str | None] = {}
    trainers: dict[str, str] = {}
    for row in rows:
        found = tools.get(row.environment.train)
        if not found or row.url:
            continue
        if row.trains:
            trainers[row.name] = found.swift
        recognised = found.recognised(row.model or "")
        template = row.template or (recognised[1] if recognised else None)
        if template and template not in found.templates:
            template = nearest(template, found.templates)
        if template:
            systems[row.name] = found.templates[template]
    return comparability.differences(rows, default_systems=systems, trainers=trainers)


_CHECKS: tuple[Callable[[_Visit], Iterator[Finding]], ...] = (
    _environments,
    _tools,
    _remote_code,
    _packages,
    _devices,
    _disk,
    _models,
    _datasets,
    _suites,
    _network,
    _tokens,
    _prompts,
    _comparability,
)

__all__ = ["Finding", "Level", "before_run", "differences", "findings", "known_differences"]
