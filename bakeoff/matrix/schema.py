"""The matrix: what is compared, under which conditions, read from one YAML file.

:func:`load_matrix` reports all mistakes of a file at once, each with its place, the rule, the value found and
the nearest name that would be right. Nothing here looks at the machine or at installed tools.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bakeoff.errors import MatrixError
from bakeoff.secrecy import NAMES

Variant = Literal["base", "tuned"]
LOADS_ADAPTERS = ("transformers", "vllm")
"""Engines that really load an adapter beside the base (way A); the others would silently serve the base."""
VARIANTS: tuple[Variant, ...] = get_args(Variant)
Engine = Literal["transformers", "lmdeploy", "vllm", "sglang"]
Group = Literal["full", "smoke"]
Scalar = str | int | float | bool
Names = Annotated[tuple[str, ...], Field(strict=False)]

_P = TypeVar("_P", bound="_Part")
SHIPPED = Path(__file__).parents[1] / "data"
PLUGINS = Path(__file__).parents[1] / "plugins"


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, protected_namespaces=(), allow_inf_nan=False
    )


FLASH_ATTENTION = ("flash_attn", "flash_attention_2", "flash_attention_3", "flash_attention_4")


class Training(_Part):
    """LoRA fine-tuning with ``swift sft``; the defaults are the guide's shared configuration."""

    tuner: Literal["lora"] = "lora"
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    max_length: int = Field(3072, ge=8, description="tokens; longer dialogues are dropped by ms-swift")
    packing: bool = Field(
        False, description="needs a flash attention; packs dialogues into rows of max_length"
    )
    gradient_checkpointing: bool = True
    batch_size: int = Field(8, ge=1, description="dialogues (or packs) per device and forward pass")
    gradient_accumulation: int = Field(4, ge=1, description="forward passes per update")
    learning_rate: float = Field(2e-4, gt=0)
    epochs: float = Field(1, gt=0)
    max_steps: int | None = Field(None, ge=1, description="updates; overrides epochs")
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    lora_rank: int = Field(8, ge=1)
    lora_alpha: int = Field(32, ge=1)
    target_modules: Names = ("all-linear",)
    attention: str | None = Field(
        None, description="flash_attn, flash_attention_4, sdpa, eager …; None: the model's own"
    )
    fused_loss: bool = Field(False, description="--use_liger_kernel: same mathematics, a third of the memory")
    router_aux_loss_coef: float | None = Field(None, ge=0, description="mixture-of-experts models only")
    eval_batch_size: int | None = Field(None, ge=1)
    eval_steps: int | None = Field(None, ge=1)
    validation_share: float = Field(
        0.0, ge=0, lt=1, description="share of the dialogues held out for eval_steps"
    )
    save_steps: int = Field(200, ge=1)
    save_total_limit: int = Field(3, ge=1)
    logging_steps: int = Field(20, ge=1)
    data_workers: int = Field(0, ge=0)
    plugins: Names = Field((), description="files of bakeoff/plugins that speed a GPU row up, without .py")
    seed: int = 42
    tracker: Literal["none", "tensorboard", "swanlab"] = Field(
        "tensorboard", description="where SwanLab cannot be used, TensorBoard tracks the training"
    )
    tracker_mode: Literal["cloud", "local", "offline"] = Field(
        "cloud",
        description="SwanLab's; offline: kept in swanlog/ for 'swanlab sync'; local: for its own dashboard",
    )
    tracker_project: str = "multi-model-psychology"
    extra: dict[str, Scalar] = Field({}, description="further flags of swift sft, without the dashes")

    @property
    def row_tokens(self) -> int:
        """Tokens of the longest row of a batch: a dialogue, or with ``packing`` a pack of several."""
        return int(self.extra.get("packing_length", self.max_length)) if self.packing else self.max_length

    @property
    def effective_batch(self) -> int:
        """Dialogues (packs with ``packing``) per update and device."""
        return self.batch_size * self.gradient_accumulation


class Serving(_Part):
    """Deployment behind an OpenAI-compatible service on the loopback interface."""

    engine: Engine = "transformers"
    way: Literal["merged", "adapter"] = Field(
        "merged", description="guide 4: B (merged weights) or A (base + adapter)"
    )
    port: int | None = Field(None, ge=1, le=65535, description="None: a free port")
    session_len: int | None = Field(None, ge=1, description="tokens of prompt and reply together")
    max_batch_size: int = Field(8, ge=1)
    memory_share: float = Field(
        0.8, gt=0, lt=1, description="share of the free device memory for weights and KV cache"
    )
    tensor_parallel: int = Field(1, ge=1)
    in_flight: int = Field(8, ge=1, description="requests that an evaluation keeps open at once")
    ready_timeout_s: float = Field(600, gt=0)
    restarts: int = Field(
        2, ge=0, description="how often a service that dies or hangs during an evaluation is started again"
    )
    extra: dict[str, Scalar] = Field(
        {}, description="further flags of the serving command, without the dashes"
    )


class Limits(_Part):
    """Time limits per stage; ``stall_s`` is the longest silence of a log that still counts as work."""

    train_s: float = Field(72 * 3600, gt=0)
    export_s: float = Field(2 * 3600, gt=0)
    evaluate_s: float = Field(12 * 3600, gt=0)
    stall_s: float = Field(1800, gt=0)
    retries: int = Field(2, ge=0, description="further attempts after a failure that may pass")


class Needs(_Part):
    """What a row asks of the machine; a row whose needs are not met is skipped with that reason."""

    gpu_memory_gib: float = Field(0, ge=0, description="free memory of one card; 0: runs on the CPU")
    packages: Names = ()


class Roles(_Part):
    """Names of the Python environments that train and serve a row; ``default`` is the one pytest runs in."""

    train: str = "default"
    serve: str = "default"


class Environment(_Part):
    """A Python environment, built on first use from its requirements."""

    name: str
    python: str | None = Field(None, description="version such as 3.10; None: the running one")
    requirements: Names = ()
    env: dict[str, str] = {}


class Trust(_Part):
    """When a score can be trusted: shares of the samples asked."""

    min_answered: float = Field(0.95, ge=0, le=1)
    max_errored: float = Field(0.0, ge=0, le=1)
    max_truncated: float = Field(0.05, ge=0, le=1)
    max_unparsed: float = Field(0.2, ge=0, le=1)
    min_agreement: float = Field(
        0.9, ge=0, le=1, description="share of replies that two extraction rules read alike"
    )
    chance_level: float = Field(
        0.01, ge=0, le=1, description="how improbable under guessing a low score may be"
    )


class Expectation(_Part):
    """What tuning must have taught; proves the chain, not the model."""

    tuned_at_least: float | None = Field(None, ge=0, le=1)
    base_at_most: float | None = Field(None, ge=0, le=1)

    def of(self, variant: str) -> str:
        """What is expected of *variant*, in words; empty for nothing."""
        if variant == "tuned" and self.tuned_at_least is not None:
            return f"at least {self.tuned_at_least:.0%}"
        if variant == "base" and self.base_at_most is not None:
            return f"at most {self.base_at_most:.0%}"
        return ""

    def why_missed(self, variant: str, value: float | None) -> str:
        """How *value* (None: no score) misses what is expected of *variant*, in words; empty where it does not."""
        if value is None:
            return f"no score, expected {self.of(variant)}" if self.of(variant) else ""
        too_low = variant == "tuned" and self.tuned_at_least is not None and not value >= self.tuned_at_least
        too_high = variant == "base" and self.base_at_most is not None and not value <= self.base_at_most
        return f"{value:.1%}, expected {self.of(variant)}" if too_low or too_high else ""


class Suite(_Part):
    """One EvalScope benchmark with the conditions it is run under."""

    name: str
    benchmark: str = Field(description="id in EvalScope's registry, or one of ours")
    data: str | None = Field(None, description="folder; 'shipped:x' is ours, 'data:x' lies under --data-dir")
    hub: bool = Field(True, description="may be fetched from the hub when no data folder has it")
    subsets: Names | None = None
    few_shot: int | None = Field(None, ge=0)
    limit: int | None = Field(None, ge=1)
    limit_per: Literal["total", "subset"] = "total"
    generation: dict[str, Scalar] = {}
    metric: str | None = None
    chance: float | None = Field(None, ge=0, le=1, description="score of guessing; None: not a choice")
    kind: Literal["choice", "open"] = "choice"
    trust: Trust = Trust()
    expect: Expectation = Expectation()
    may_be_untrusted: str | None = Field(
        None, description="why a score that cannot be trusted does not fail the run; it stays no score"
    )
    leakage_expected: bool = Field(False, description="the training set teaches these questions on purpose")

    def folder(self, data_dir: Path | None) -> Path | None:
        """The folder that holds this suite's data, or None where it would come from the hub."""
        if self.data is None:
            own = data_dir / self.benchmark if data_dir else None
            return own if own and own.is_dir() else None
        place, _, rest = self.data.rpartition(":")
        if place == "shipped":
            return SHIPPED / rest
        if place == "data":
            return data_dir / rest if data_dir else None
        return Path(self.data).expanduser().absolute()

    def why_no_data(self, data_dir: Path | None) -> str:
        """Why this suite cannot run with *data_dir*, in words; empty where it can."""
        folder = self.folder(data_dir)
        if folder is not None:
            return "" if folder.is_dir() else f"{self.name}: no folder {folder}; point --data-dir at the data"
        if self.hub:
            return ""
        wanted = (self.data or self.benchmark).removeprefix("data:")
        return f"{self.name}: needs the folder {wanted} under --data-dir, which was not given or lacks it"


class ModelSpec(_Part):
    """One row of the matrix, with its defaults filled in."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    group: Group = "full"
    model: str | None = Field(None, description="hub id, folder, or 'tiny:<recipe>' for one that we build")
    model_type: str | None = None
    template: str | None = None
    adapter: str | None = Field(None, description="LoRA checkpoint that exists already: nothing is trained")
    weights: str | None = Field(
        None, description="merged weights that exist already: nothing is trained or merged"
    )
    url: str | None = Field(None, description="…/v1 of a service that somebody else runs")
    served_model: str | None = Field(None, description="the model's name at that service")
    key_env: str | None = Field(None, description="environment variable that holds that service's key")
    use_hf: bool = Field(False, description="take model and dataset from Hugging Face instead of ModelScope")
    trust_remote_code: bool = False
    dataset: Names = ()
    tune: bool = Field(True, description="False: the base model itself is compared, untuned")
    evaluate: Annotated[tuple[Variant, ...], Field(strict=False)] = VARIANTS
    suites: Names = ()
    training: Training = Training()
    serving: Serving = Serving()
    environment: Roles = Roles()
    needs: Needs = Needs()
    limits: Limits = Limits()
    gpus: str | None = Field(None, description="card number(s) for CUDA_VISIBLE_DEVICES; None: any free one")
    prompt_date: str | None = Field(
        None, pattern=r"^\d{4}-\d{2}-\d{2}$", description="day that dated templates print"
    )

    @property
    def on_cpu(self) -> bool:
        """Whether the row runs without a GPU."""
        return self.needs.gpu_memory_gib == 0

    @property
    def tiny(self) -> str | None:
        """The recipe of a model that we build ourselves, else None."""
        return self.model.removeprefix("tiny:") if self.model and self.model.startswith("tiny:") else None

    @property
    def trains(self) -> bool:
        """Whether the chain for this row begins with ``swift sft``."""
        return self.tune and not (self.adapter or self.weights or self.url)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The variants of this row that are served and evaluated."""
        if self.url or not self.tune:
            return ("base",)
        if self.weights and not self.model:
            return ("tuned",)
        return self.evaluate

    def served_name(self, variant: str) -> str:
        """The name under which *variant* answers, as in the guide (``<short-name>-sft``)."""
        return self.served_model or f"{self.name}-{'sft' if variant == 'tuned' else 'base'}"


class Judge(_Part):
    """A model that scores open questions and case replies by the rubric, after the evaluation; see docs/judge.md."""

    name: str = "judge"
    row: str | None = Field(None, description="row, or row/variant, that is deployed as the judge")
    url: str | None = Field(None, description="…/v1 of a judge that somebody else runs, instead of a row")
    served_model: str | None = Field(None, description="the judge's name at that service")
    key_env: str | None = Field(None, description="environment variable that holds that service's key")
    repeats: int = Field(
        1, ge=1, description="how often each reply is scored; 2 measures its own consistency"
    )
    max_tokens: int = Field(2048, ge=64, description="longest verdict, any thinking included")


class Matrix(_Part):
    """Rows, suites, environments and judge of one file."""

    source: str
    models: dict[str, ModelSpec]
    suites: dict[str, Suite]
    environments: dict[str, Environment]
    judge: Judge | None = None

    def suites_of(self, spec: ModelSpec) -> list[Suite]:
        """The suites that *spec* names, in the order of the file."""
        return [suite for name, suite in self.suites.items() if name in spec.suites]


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers (``2e-4`` is one), and a key given twice is a mistake, not an override."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.complaints: list[str] = []


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)$"),
    list("-+0123456789."),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    own: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in own:
            line = key.start_mark.line + 1
            loader.complaints.append(
                f"'{key.value}' is given twice (again in line {line}); keep one of the two"
            )
        own.add(str(key.value))
    loader.flatten_mapping(node)
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, Hashable):
            found[key] = loader.construct_object(value_node, deep=True)
        else:
            line = key_node.start_mark.line + 1
            loader.complaints.append(f"a key is a name, found {key!r} in line {line}; put quotes around it")
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_matrix(path: Path) -> Matrix:
    """The matrix in the YAML file *path*.

    Raises:
        MatrixError: the file is absent, empty, no YAML, or holds mistakes; all of them are listed.
    """
    matrix, complaints = read_matrix(path)
    if complaints:
        raise MatrixError(complaints, matrix.source)
    return matrix


def read_matrix(path: Path) -> tuple[Matrix, list[str]]:
    """What the YAML file *path* says that is right, and every mistake in it.

    Raises:
        MatrixError: the file is absent, empty or no YAML.
    """
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        raw = loader.get_single_data()
    except FileNotFoundError:
        raise MatrixError(f"no file {path}; name one with --matrix", str(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MatrixError(" ".join(str(error).split()), str(path)) from None
    return _read(raw, str(path), loader.complaints)


def parse_matrix(raw: object, source: str = "matrix") -> Matrix:
    """The matrix that *raw*, the content of a YAML file, describes; see :func:`load_matrix`."""
    matrix, complaints = _read(raw, source, [])
    if complaints:
        raise MatrixError(complaints, source)
    return matrix


def _read(raw: object, source: str, complaints: list[str]) -> tuple[Matrix, list[str]]:
    if not isinstance(raw, dict) or not raw.get("models"):
        complaints.append("'models' must list at least one row; see docs/matrix.md for an example")
        raise MatrixError(complaints, source)
    known = ("defaults", "groups", "environments", "suites", "models", "judge")
    complaints += [_unknown(str(key), known, "the matrix") for key in raw if not _known(key, known)]
    sections = {key: _section(raw, key, complaints) for key in known}

    environments = _parse(Environment, sections["environments"], "environments", complaints)
    running = environments.setdefault("default", Environment(name="default"))
    if running.requirements or running.python:
        complaints.append(
            "environments.default: is the environment that pytest runs in, so it takes 'env' only; "
            "give requirements and Python another name, and name it in the row under 'environment'"
        )
    suites = _parse(
        Suite,
        {n: {"benchmark": n, **s} if isinstance(s, dict) else s for n, s in sections["suites"].items()},
        "suites",
        complaints,
    )
    defaults, groups = sections["defaults"], sections["groups"]
    complaints += [
        _unknown(str(name), get_args(Group), "groups") for name in groups if name not in get_args(Group)
    ]
    inherited = _mistakes(ModelSpec, "defaults", {**defaults, "name": "defaults"})
    for name, group in groups.items():
        if isinstance(group, dict):
            inherited |= _mistakes(ModelSpec, f"groups.{name}", {**group, "name": "groups"})
        elif group is not None:
            complaints.append(f"groups.{name}: must be a mapping, found {group!r}")
    rows: dict[str, object] = {}
    for name, row in sections["models"].items():
        if not isinstance(row, dict):
            complaints.append(f"{name}: a row is a mapping, found {row!r}")
            continue
        wanted = row.get("group", defaults.get("group", "full"))
        group = groups.get(wanted) if isinstance(wanted, str) else None
        rows[name] = _merge(_merge(defaults, group if isinstance(group, dict) else {}), row)
    models = _parse(ModelSpec, rows, "", complaints, inherited)
    complaints += inherited.values()
    for spec in models.values():
        complaints += _row_complaints(spec, sections["suites"], {**sections["environments"], "default": None})
        complaints += _secrets(spec.training.extra, f"{spec.name}.training.extra")
        complaints += _secrets(spec.serving.extra, f"{spec.name}.serving.extra")
    for environment in environments.values():
        complaints += _secrets(environment.env, f"environments.{environment.name}.env")
    judge = None
    if sections["judge"]:
        judge = _parse(Judge, {"judge": sections["judge"]}, "", complaints).get("judge")
    if judge and bool(judge.row) == bool(judge.url):
        complaints.append(
            "judge: give either 'row', a row that is deployed as the judge, or 'url' and 'served_model'"
        )
    if judge and judge.url and not judge.served_model:
        complaints.append(
            "judge: 'url' needs 'served_model', the name that the service lists under /v1/models"
        )
    if judge and judge.row and (row := judge.row.partition("/")[0]) not in rows:
        complaints.append(_unknown(row, rows, "judge.row"))
    matrix = Matrix(source=source, models=models, suites=suites, environments=environments, judge=judge)
    return matrix, list(dict.fromkeys(complaints))


def _secrets(given: Mapping[str, Scalar], where: str) -> list[str]:
    """Complaints about secrets in the matrix, whose values every command line and record would show."""
    return [
        f"{where}: {name!r} is a secret by its name, and would be shown in command lines and records; put its value "
        "into the environment or .env under the name that the tool reads (such as HF_TOKEN), and leave it out here"
        for name, value in given.items()
        # a number is a count, as in max_tokens; a text of several tokens is no secret either
        if NAMES.search(name) and isinstance(value, str) and not name.lower().endswith("tokens")
    ]


def _known(key: object, known: Sequence[str]) -> bool:
    return key in known or str(key).startswith("x-")  # a place for YAML anchors


def _section(raw: dict[str, Any], key: str, complaints: list[str]) -> dict[str, Any]:
    value = raw.get(key) or {}
    if isinstance(value, dict):
        return value
    complaints.append(f"'{key}' must be a mapping, found {value!r}")
    return {}


def _parse(
    kind: type[_P],
    raw: Mapping[str, Any],
    where: str,
    complaints: list[str],
    told: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, _P]:
    parsed: dict[str, _P] = {}
    for name, value in raw.items():
        place = f"{where}.{name}" if where else str(name)
        if not isinstance(value, dict):
            complaints.append(f"{place}: must be a mapping, found {value!r}")
            continue
        value = {**value, "name": str(name)}
        if mistakes := _mistakes(kind, place, value):
            complaints += [words for mistake, words in mistakes.items() if mistake not in told]
        else:
            parsed[str(name)] = kind.model_validate(value)
    return parsed


def _mistakes(kind: type[BaseModel], place: str, value: Mapping[str, Any]) -> dict[str, str]:
    """The mistakes of *value* in words, each by what tells it apart wherever it is inherited."""
    try:
        kind.model_validate(value)
    except ValidationError as error:
        return {
            repr((one["type"], one["loc"], one.get("input"))): _complaint(kind, place, dict(one))
            for one in error.errors()
        }
    return {}


def _complaint(kind: type[BaseModel], place: str, error: Mapping[str, Any]) -> str:
    *path, last = [str(part) for part in error["loc"]] or [""]
    owner: type[BaseModel] | None = kind
    for part in path:
        annotation = owner.model_fields[part].annotation if owner and part in owner.model_fields else None
        owner = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    where = ".".join([place, *path])
    if error["type"] == "extra_forbidden" and owner:
        return _unknown(last, [n for n in owner.model_fields if n != "name"], where)
    if error["type"] == "missing":
        return f"{where}: '{last}' is missing"
    field = owner.model_fields.get(last) if owner else None
    meaning = f" ({field.description})" if field and field.description else ""
    return f"{where}.{last}: {error['msg'].lower()}, found {error.get('input')!r}{meaning}"


def _unknown(name: str, known: Iterable[str], where: str) -> str:
    return f"{where}: '{name}' is not known{did_you_mean(name, known)}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence: the nearest of the *known* names, or all of them where they are few."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f"; is it {' or '.join(repr(one) for one in near)}?"
    return f"; known: {', '.join(known)}" if len(known) <= 60 else ""


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _row_complaints(
    spec: ModelSpec, suites: Mapping[str, object], environments: Mapping[str, object]
) -> list[str]:
    where = spec.name
    found = [_unknown(name, suites, f"{where}.suites") for name in spec.suites if name not in suites]
    found += [
        _unknown(name, environments, f"{where}.environment.{role}")
        for role, name in spec.environment
        if name not in environments
    ]
    if sum(bool(one) for one in (spec.adapter, spec.weights, spec.url)) > 1:
        found.append(f"{where}: give one of 'adapter', 'weights' and 'url'; each says where the row starts")
    if not (spec.model or spec.weights or spec.url):
        found.append(f"{where}: needs a 'model' (or 'weights', or a 'url' of a service that runs already)")
    if spec.url and not spec.served_model:
        found.append(f"{where}: 'url' needs 'served_model', the name that the service lists under /v1/models")
    if spec.adapter and not spec.model:
        found.append(f"{where}: 'adapter' needs the 'model' it was trained on")
    if spec.trains and not spec.dataset:
        found.append(f"{where}: 'dataset' is missing; give it here or under defaults, or say 'tune: false'")
    if spec.training.packing and spec.training.attention not in FLASH_ATTENTION:
        found.append(
            f"{where}.training.attention: packing needs one of {', '.join(FLASH_ATTENTION)}, "
            f"found {spec.training.attention!r}; or say 'packing: false'"
        )
    for plugin in spec.training.plugins:
        if plugin not in (known := sorted(path.stem for path in PLUGINS.glob("[a-z]*.py"))):
            found.append(_unknown(plugin, known, f"{where}.training.plugins"))
    if spec.serving.way == "adapter" and spec.serving.engine not in LOADS_ADAPTERS:
        found.append(
            f"{where}.serving.way: 'adapter' on {spec.serving.engine} would silently serve the base model; "
            "use 'merged', or engine 'transformers' or 'vllm'"
        )
    if spec.serving.engine == "vllm" and spec.template == "gpt_oss" and spec.prompt_date:
        found.append(
            f"{where}.serving.engine: vllm renders gpt_oss by code of its own that prints today instead of "
            f"'prompt_date' {spec.prompt_date}; use engine 'lmdeploy' or 'transformers', or take 'prompt_date' out"
        )
    for dataset in spec.dataset:
        if Path(dataset_argument(dataset)).exists() or not _looks_local(dataset):
            continue
        shipped = [f"shipped:{path.name}" for path in SHIPPED.glob("*.jsonl")]
        hint = did_you_mean(dataset, shipped) if dataset.startswith("shipped:") else ""
        found.append(
            f"{where}.dataset: no file {dataset!r}{hint or '; give an existing path or a hub id owner/name'}"
        )
    return found


def _looks_local(dataset: str) -> bool:
    named = dataset.startswith(("/", ".", "~")) or dataset.endswith((".jsonl", ".json", ".csv", ".txt"))
    return named or "/" not in dataset  # a hub id is owner/name


def dataset_argument(dataset: str) -> str:
    """*dataset* as ms-swift takes it: an absolute path for a file, the hub id otherwise."""
    if dataset.startswith("shipped:"):
        return str(SHIPPED / dataset.removeprefix("shipped:"))
    return str(Path(dataset).expanduser().absolute()) if _looks_local(dataset) else dataset
