"""The matrix: what is compared, and under which conditions, as types.

:func:`bakeoff.matrix.loading.load_matrix` reads it from a YAML file. Nothing here looks at installed tools.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    WithJsonSchema,
    model_validator,
)

from bakeoff.foundation.sentences import Statement, Template
from bakeoff.matrix.datasets import SHIPPED, Dataset
from bakeoff.matrix.settings import (
    Limits,
    Name,
    Names,
    Needs,
    Part,
    Roles,
    Serving,
    Training,
    Usual,
    Variable,
)

NO_DATA = Template("matrix.schema.no_data", "{suite}: {what}", zh="{suite}：{what}")
"""Why a suite cannot run; what it lacks is a statement of its own."""
NO_FOLDER = Template("matrix.schema.no_folder", "no folder {folder}", zh="没有文件夹 {folder}")
POINT_AT_DATA = Template(
    "matrix.schema.point_at_data",
    "{what}; point --data-dir at the data",
    zh="{what}，请用 --data-dir 指明数据位置",
    en="{what} (pass --data-dir DIR; see docs/suites.md)",
)
NO_DATA_DIR = Template(
    "matrix.schema.no_data_dir",
    "needs the folder {folder} under --data-dir, which was not given",
    zh="缺少数据：未指定 --data-dir（其中应有 {folder} 文件夹）",
    en="no `{folder}/` folder: pass --data-dir DIR (see docs/suites.md)",
)
FOLDER_LACKS = Template(
    "matrix.schema.folder_lacks",
    "needs the folder {folder} under --data-dir, which lacks it",
    zh="缺少数据：--data-dir 中没有 {folder} 文件夹",
    en="no `{folder}/` folder in --data-dir (see docs/suites.md)",
)

Variant = Literal["base", "tuned"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
Group = Literal["full", "smoke"]

ServiceUrl = Annotated[str, AfterValidator(str.strip)]
"""Where a service answers; loading.py says what is wrong with it, without repeating a password in it."""

Revision = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._/+-]*$"})]
"""A branch, a tag or a commit of a hub; complaints.py says in words what no revision can be called."""


PLUGINS = Path(__file__).parents[1] / "plugins"


class Environment(Part):
    """A Python environment, built on first use from its requirements."""

    name: Name
    python: str | None = Field(
        None, pattern=r"^[23](\.\d+){0,2}$", description="version such as 3.10; None: the running one"
    )
    requirements: Names = ()
    env: dict[str, str] = Field({})


class Trust(Part):
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


class Expectation(Part):
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
        """How *value* misses what is expected; empty where it does not."""
        if value is None:
            return f"no score, expected {self.of(variant)}" if self.of(variant) else ""
        too_low = variant == "tuned" and self.tuned_at_least is not None and not value >= self.tuned_at_least
        too_high = variant == "base" and self.base_at_most is not None and not value <= self.base_at_most
        return f"{value:.1%}, expected {self.of(variant)}" if too_low or too_high else ""


class Suite(Part):
    """One EvalScope benchmark with the conditions it is run under."""

    name: Name
    benchmark: str = Field(description="id in EvalScope's registry, or one of ours")
    data: str | None = Field(None, description="folder; 'shipped:x' is ours, 'data:x' lies under --data-dir")
    hub: bool = Field(True, description="may be fetched from the hub when no data folder has it")
    subsets: Names | None = None
    few_shot: Annotated[int | None, Usual(0, 32)] = Field(None, ge=0)
    limit: int | None = Field(None, ge=1)
    limit_per: Literal["total", "subset"] = "total"
    generation: dict[str, JsonValue] = Field(
        {}, description="what is sent with each question: max_tokens, temperature, stop_seqs, extra_body …"
    )
    metric: str | None = None
    chance: Annotated[float | None, Usual(0, 0.5)] = Field(
        None, ge=0, le=1, description="score of guessing; None: not a choice"
    )
    kind: Literal["choice", "open"] = "choice"
    scoring: Literal["generation", "logprob"] = Field(
        "generation",
        description="logprob: the letter that the model holds most likely, read from log-probabilities, not from text",
    )
    orders: int = Field(
        1,
        ge=1,
        le=10,
        description="logprob: in how many orders of its options each question is asked (rotated; the mean counts)",
    )
    trust: Trust = Trust()
    expect: Expectation = Expectation()
    may_be_untrusted: str | None = Field(
        None, description="why a score that cannot be trusted does not fail the run; it stays no score"
    )
    leakage_expected: bool = Field(False, description="the training set teaches these questions on purpose")
    interest: Annotated[float, Usual(0.001, 0.2)] = Field(
        0.02,
        gt=0,
        lt=1,
        description="smallest difference of scores that matters here; smaller ones are shown as such",
    )
    margin: Annotated[float, Usual(0.001, 0.2)] = Field(
        0.02,
        gt=0,
        lt=1,
        description="loss of the tuned model against its base that would still be acceptable",
    )

    def folder(self, data_dir: Path | None) -> Path | None:
        """The folder of this suite's data; None where it comes from the hub."""
        if self.data is None:
            standard = data_dir / self.benchmark if data_dir else None
            return standard if standard and standard.is_dir() else None
        place, _, rest = self.data.rpartition(":")
        if place == "shipped":
            return SHIPPED / rest
        if place == "data":
            return data_dir / rest if data_dir else None
        return Path(self.data).expanduser().absolute()

    def why_no_data(self, data_dir: Path | None) -> Statement | None:
        """Why this suite cannot run with *data_dir*; None where it can."""
        folder = self.folder(data_dir)
        if folder is not None:
            what = POINT_AT_DATA(what=NO_FOLDER(folder=folder))
            return None if folder.is_dir() else NO_DATA(suite=self.name, what=what)
        if self.hub:
            return None
        folder_name = (self.data or self.benchmark).removeprefix("data:")
        form = FOLDER_LACKS if data_dir else NO_DATA_DIR
        return NO_DATA(suite=self.name, what=form(folder=folder_name))


def _count(gpus: object) -> int:
    """How many cards ``gpus`` of a row means; 1 where it is no count."""
    if isinstance(gpus, str):
        return max(1, len([part for part in gpus.split(",") if part.strip()]))
    return gpus if type(gpus) is int and gpus > 0 else 1


class ModelSpec(Part):
    """One row of the matrix, with its defaults filled in."""

    name: Name
    group: Group = "full"
    model: str | None = Field(None, description="hub id, folder, or 'tiny:<recipe>' for one that we build")
    revision: Revision | None = Field(
        None,
        description="branch, tag or commit of a hub's model (numbers in quotes); None: the hub's main branch",
    )
    model_type: str | None = None
    template: str | None = None
    adapter: str | None = Field(None, description="LoRA checkpoint that exists already: nothing is trained")
    weights: str | None = Field(
        None, description="merged weights that exist already: nothing is trained or merged"
    )
    url: ServiceUrl | None = Field(None, description="…/v1 of a service that somebody else runs")
    served_model: str | None = Field(None, description="the model's name at that service")
    key_env: Variable | None = Field(None, description="environment variable that holds that service's key")
    use_hf: bool = Field(False, description="take model and dataset from Hugging Face instead of ModelScope")
    trust_remote_code: bool = False
    dataset: Annotated[tuple[Dataset, ...], Field(strict=False)] = Field(
        (),
        description="files, folders or hub ids of dialogues, as ms-swift writes them: [hf::]place[:subset][#rows]; "
        "'shipped:x' is ours; of a hub also {id: owner/name, revision: v1}",
    )
    weights_of: Name | None = Field(
        None,
        description="another row whose weights this one serves in another way: it may set serving, environment.serve, "
        "suites, evaluate, needs and limits; nothing is trained again",
    )
    tune: bool = Field(True, description="False: the base model itself is compared, untuned")
    seeds: int = Field(
        1,
        ge=1,
        le=20,
        description="training runs of this row under further seeds (order of the data, LoRA initialisation): rows "
        "NAME.seed43, NAME.seed44 … that share its base; only then a claim is about the recipe, not about one run",
    )
    evaluate: Annotated[tuple[Variant, ...], Field(strict=False)] = VARIANTS
    suites: Names = ()
    training: Training = Training()
    serving: Serving = Serving()
    environment: Roles = Roles()
    needs: Needs = Needs()
    limits: Limits = Limits()
    gpus: Annotated[int, Field(ge=1, le=64)] | Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="how many cards of one host train the row together (a number), or which ones (in quotes, as in "
        "CUDA_VISIBLE_DEVICES); None: any free one. An engine of its own serves on as many, unless "
        "serving.tensor_parallel says otherwise; on the CPU it is a number of processes",
    )
    prompt_date: str | None = Field(
        None, pattern=r"^\d{4}-\d{2}-\d{2}$", description="day that dated templates print"
    )

    @model_validator(mode="before")
    @classmethod
    def _serve_on_as_many(cls, row: object) -> object:
        """Let an engine serve on as many cards as train, unless the row differs."""
        if not isinstance(row, dict):
            return row
        serving, cards = row.get("serving", {}), _count(row.get("gpus"))
        if cards < 2 or not isinstance(serving, dict) or "tensor_parallel" in serving:
            return row
        if serving.get("engine", "transformers") == "transformers":
            return row
        return {**row, "serving": {**serving, "tensor_parallel": cards}}

    @property
    def cards(self) -> int:
        """How many cards (on the CPU: processes) train the row together."""
        return _count(self.gpus)

    @property
    def visible(self) -> str | None:
        """The cards that it must take, as in ``CUDA_VISIBLE_DEVICES``; None: any."""
        return self.gpus if isinstance(self.gpus, str) else None

    @property
    def on_cpu(self) -> bool:
        """Whether the row runs without a GPU."""
        return self.needs.gpu_memory_gib == 0

    @property
    def tiny(self) -> str | None:
        """The recipe of a model that we build ourselves, else None."""
        return self.model.removeprefix("tiny:") if self.model and self.model.startswith("tiny:") else None

    @property
    def trained_as(self) -> str:
        """The row under whose name training and merge are kept."""
        return self.weights_of or self.name

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
        """The name under which *variant* answers, as in the guide."""
        # ms-swift hands an adapter's name to PEFT, which takes none with a dot
        dotless = variant == "tuned" and self.serving.shared and self.serving.engine == "transformers"
        name = self.name.replace(".", "_") if dotless else self.name
        return self.served_model or f"{name}-{'sft' if variant == 'tuned' else 'base'}"


class Judge(Part):
    """A model that scores open questions and case replies by the rubric, after the evaluation; see docs/judge.md."""

    name: str = "judge"
    row: str | None = Field(None, description="row, or row/variant, that is deployed as the judge")
    url: ServiceUrl | None = Field(
        None, description="…/v1 of a judge that somebody else runs, instead of a row"
    )
    served_model: str | None = Field(None, description="the judge's name at that service")
    key_env: Variable | None = Field(None, description="environment variable that holds that service's key")
    repeats: int = Field(
        1, ge=1, description="how often each reply is scored; 2 measures its own consistency"
    )
    max_tokens: int = Field(2048, ge=64, description="longest verdict, any thinking included")


class ExecutorSpec(Part):
    """Where the legs of rows run: on this machine, or as jobs of a Ray or Slurm cluster; see docs/clusters.md."""

    name: str = "executor"
    kind: Literal["here", "ray", "slurm"] = "here"
    address: str | None = Field(
        None, description="Ray: ray://host:10001, or host:port on a node of the cluster; None: this node's"
    )
    partition: str | None = Field(None, description="Slurm: sbatch --partition")
    account: str | None = Field(None, description="Slurm: sbatch --account")
    qos: str | None = Field(None, description="Slurm: sbatch --qos")
    constraint: str | None = Field(None, description="Slurm: sbatch --constraint")
    time: str | None = Field(
        None,
        pattern=r"^(\d+-)?\d+(:\d+){0,2}$",
        description="time limit of a job from its start, in quotes, as sbatch reads it: minutes, "
        "hours:minutes:seconds, days-hours …",
    )
    cpus: int | None = Field(None, ge=1, description="processor cores of a job")
    memory: str | None = Field(None, pattern=r"^\d+[KMGT]?$", description="memory of a job, such as 64G")
    gres: str = Field("gpu:{}", description="Slurm: what cards are called; {} is their number: gpu:h100:{}")
    extra: Names = Field((), description="Slurm: further arguments of sbatch, such as --reservation=lab")
    prelude: str = Field("", description="Slurm: shell lines before the job's command, such as module load")
    launch: Names = Field(
        (), description="words before the job's command, such as apptainer exec --nv image.sif"
    )
    restarts: int = Field(3, ge=0, description="how often a leg whose node was lost begins again")
    max_jobs: int | None = Field(None, ge=1, description="legs in the queue or running at once; None: all")


class Matrix(Part):
    """Rows, suites, environments, judge and executor of one file."""

    source: str
    models: dict[str, ModelSpec]
    suites: dict[str, Suite]
    environments: dict[str, Environment]
    judge: Judge | None = None
    cases: str | None = None
    recipes: dict[str, tuple[str, ...]] = Field(
        default={}, description="row with several seeds -> the rows that train it, itself first"
    )
    built_in: dict[str, str] = Field(
        default={},
        description="row -> the built-in group that it starts from, which the file does not spell out",
    )
    executor: ExecutorSpec | None = None
    notify: tuple[Variable, ...] = Field(
        (),
        strict=False,
        description="environment variables that hold addresses of Apprise, told when a run ends",
    )

    @property
    def cases_file(self) -> Path | None:
        """The user's own cases, relative to the matrix; None for the shipped ones."""
        return Path(self.source).absolute().parent / Path(self.cases).expanduser() if self.cases else None

    def suites_of(self, spec: ModelSpec) -> list[Suite]:
        """The suites that *spec* names, in the order of the file."""
        return [suite for name, suite in self.suites.items() if name in spec.suites]
