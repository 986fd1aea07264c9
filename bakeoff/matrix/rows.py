"""What a row demands that cannot be carried out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from bakeoff.foundation.errors import Complaint
from bakeoff.foundation.sentences import Statement, Template, of_error
from bakeoff.foundation.suggestions import suggestion
from bakeoff.matrix.addresses import NO_SERVED_MODEL, of_url
from bakeoff.matrix.complaints import secrets_in, shown, unknown, why_no_place
from bakeoff.matrix.datasets import SHIPPED, dataset_name, is_local_model, is_there
from bakeoff.matrix.schema import PLUGINS, ModelSpec
from bakeoff.matrix.settings import BATCH_INVARIANT, FLASH_ATTENTION, LOADS_ADAPTERS

ONE_START = Template(
    "matrix.rows.one_start",
    "give one of 'adapter', 'weights' and 'url'; each says where the row starts",
    zh="'adapter'、'weights' 和 'url' 只能给出一个；它们都规定该行从哪里开始",
)
NO_MODEL = Template(
    "matrix.rows.no_model",
    "needs a 'model' (or 'weights', or a 'url' of a service that runs already)",
    zh="缺少 'model'（或 'weights'，或已在运行的服务的 'url'）",
)
ADAPTER_OF_WHAT = Template(
    "matrix.rows.adapter_of_what",
    "'adapter' needs the 'model' it was trained on",
    zh="给出 'adapter' 时还需写明训练它所用的 'model'",
)
NO_DATASET = Template(
    "matrix.rows.no_dataset",
    "'dataset' is missing; give it here or under defaults, or say 'tune: false'",
    zh="缺少 'dataset'；请在此处或 defaults 中给出，或写 'tune: false'",
)
PACKING = Template(
    "matrix.rows.packing",
    "packing needs one of {names}, found {value}; or say 'packing: false'",
    zh="packing 需要 {names} 之一，实际是 {value}；或写 'packing: false'",
)
SERVES_BASE = Template(
    "matrix.rows.serves_base",
    "'adapter' on {engine} would silently serve the base model; use 'merged', or engine 'transformers' or 'vllm'",
    zh="{engine} 遇到 'adapter' 会不作提示地部署基座模型；请用 'merged'，或改用引擎 'transformers' 或 'vllm'",
)
NOT_DETERMINISTIC = Template(
    "matrix.rows.not_deterministic",
    "{which} cannot be told to answer alike whatever is in flight; use engine {engines}, or take it out: the report's "
    "measured noise tells how alike replies are",
    zh="{which} 无法保证并发不同时回答一致；请用引擎 {engines}，或删除此项：报告会给出实测的回复一致程度",
    between=(" or ", " 或 "),
)
FOREIGN_SERVICE = Template("matrix.rows.foreign_service", "somebody else's service", zh="他人运行的服务")
PRINTS_TODAY = Template(
    "matrix.rows.prints_today",
    "vllm renders gpt_oss by code of its own that prints today instead of 'prompt_date' {date}; use engine 'lmdeploy' "
    "or 'transformers', or take 'prompt_date' out",
    zh="vllm 用自己的代码生成 gpt_oss 的提示词，写入的是当天日期而不是 'prompt_date' {date}；请用引擎 'lmdeploy' 或 "
    "'transformers'，或删除 'prompt_date'",
)
OF_GPT_OSS = Template(
    "matrix.rows.of_gpt_oss",
    "{name} is for model_type gpt_oss, and this row's is {kind}; take it out",
    zh="{name} 只用于 model_type gpt_oss，而该行是 {kind}；请删除",
)
COMES_AFTER = Template(
    "matrix.rows.comes_after",
    "attention_sinks comes after packed_rows, which lends the attention that it extends",
    zh="attention_sinks 应排在 packed_rows 之后，因为它扩展的是后者的注意力",
)
SINKS_NEED_PACKS = Template(
    "matrix.rows.sinks_need_packs",
    "attention_sinks attends over packed rows only; say 'packing: true' or take it out",
    zh="attention_sinks 只用于打包的数据；请写 'packing: true'，或删除它",
)
SINKS_STAND_IN = Template(
    "matrix.rows.sinks_stand_in",
    "attention_sinks stands in for {names}, found {value}; say 'attention: flash_attn' or take it out",
    zh="attention_sinks 替代的是 {names}，实际是 {value}；请写 'attention: flash_attn'，或删除它",
    between=(" or ", " 或 "),
)
UNEVEN = Template(
    "matrix.rows.uneven",
    "{cards} cards cannot share {batch} dialogues per update evenly ({size} x {accumulation}); let training.batch_size "
    "x gradient_accumulation be a multiple of {cards}, such as {fitting}",
    zh="{cards} 块 GPU 无法均分每次更新的 {batch} 条对话（{size} x {accumulation}）；请让 training.batch_size x "
    "gradient_accumulation 为 {cards} 的倍数，例如 {fitting}",
)
SEVERAL_CARDS = Template(
    "matrix.rows.several_cards",
    "needs several cards; say 'gpus: 2', or take it out",
    zh="需要多块 GPU；请写 'gpus: 2'，或删除此项",
)
ONE_SHARDING = Template(
    "matrix.rows.one_sharding", "give one of deepspeed and fsdp", zh="deepspeed 和 fsdp 只能给出一个"
)
NAMES_NO_MODEL = Template("matrix.rows.names_no_model", "the row names no 'model'", zh="该行没有 'model'")
BUILT_HERE = Template("matrix.rows.built_here", "{model} is built here", zh="{model} 由本机构建")
FOLDER_HERE = Template(
    "matrix.rows.folder_here",
    "{model} is a folder on this machine, which is known by its content",
    zh="{model} 是本机文件夹，以内容识别",
)
REVISION_OF_HUB = Template(
    "matrix.rows.revision_of_hub",
    "is for a model that comes from a hub, and {what}; take 'revision' out",
    zh="只用于来自模型站点的模型，而{what}；请删除 'revision'",
)
NO_REVISION = Template(
    "matrix.rows.no_revision",
    "{revision} is no name of a branch, a tag or a commit",
    zh="{revision} 不是分支、标签或提交的名称",
)
DATASET = Template("matrix.rows.dataset", "{dataset}: {why}", zh="{dataset}：{why}")
IS_ADDRESS = Template(
    "matrix.rows.is_address",
    "{dataset} is an address; download it and give its path, or the hub id owner/name",
    zh="{dataset} 是网址；请下载后给出路径，或给出站点 id owner/name",
)
NO_PATTERNS = Template(
    "matrix.rows.no_patterns",
    "{dataset}: no file has that name, and patterns are not filled in; give the folder",
    zh="{dataset}：没有这个文件，通配符也不会展开；请给出文件夹",
)
LOCAL_REVISION = Template(
    "matrix.rows.local_revision",
    "{place} has the revision {revision}, which only data of a hub have, and lies on this machine, where it is known "
    "by its content; take 'revision' out",
    zh="{place} 写了版本 {revision}，而只有站点上的数据才有版本；它在本机，以内容识别；请删除 'revision'",
)
DATA_REVISION = Template(
    "matrix.rows.data_revision",
    "{dataset}: the revision {revision} is no name of a branch, a tag or a commit",
    zh="{dataset}：版本 {revision} 不是分支、标签或提交的名称",
)
NO_HUB_ID = Template(
    "matrix.rows.no_hub_id",
    "{dataset} is no id of a hub, owner/name, with :subset, @revision and #rows behind it if need be",
    zh="{dataset} 不是站点 id；应为 owner/name，需要时其后可接 :子集、@版本 和 #行数",
)
NO_FILE = Template("matrix.rows.no_file", "no file {dataset}", zh="没有文件 {dataset}")
GIVE_PATH = Template(
    "matrix.rows.give_path",
    "give an existing path or a hub id owner/name",
    zh="请给出存在的路径，或站点 id owner/name",
)


def of_row(
    spec: ModelSpec, suites: Mapping[str, object], environments: Mapping[str, object]
) -> Iterator[Complaint]:
    """Yield what is wrong with a row whose keys are all right by themselves."""
    where = spec.name
    yield from (unknown(name, suites, f"{where}.suites") for name in spec.suites if name not in suites)
    for role, name in spec.environment:
        if name not in environments:
            yield unknown(name, environments, f"{where}.environment.{role}")
    if sum(bool(place) for place in (spec.adapter, spec.weights, spec.url)) > 1:
        yield Complaint(where, ONE_START())
    if not (spec.model or spec.weights or spec.url):
        yield Complaint(where, NO_MODEL())
    if spec.url is not None:
        yield from of_url(spec.url, f"{where}.url")
    if spec.url and not spec.served_model:
        yield Complaint(where, NO_SERVED_MODEL())
    if spec.adapter and not spec.model:
        yield Complaint(where, ADAPTER_OF_WHAT())
    if spec.trains and not spec.dataset:
        yield Complaint(where, NO_DATASET())
    yield from _revision(spec)
    yield from _training_and_serving(spec)
    for dataset in spec.dataset:
        yield from of_dataset(dataset, f"{where}.dataset")
    yield from secrets_in(spec.training.extra, f"{where}.training.extra")
    yield from secrets_in(spec.serving.extra, f"{where}.serving.extra")


def _training_and_serving(spec: ModelSpec) -> Iterator[Complaint]:
    where = spec.name
    if spec.training.packing and spec.training.attention not in FLASH_ATTENTION:
        why = PACKING(names=FLASH_ATTENTION, value=repr(spec.training.attention))
        yield Complaint(f"{where}.training.attention", why)
    yield from _several_cards(spec)
    for plugin in spec.training.plugins:
        if plugin not in (shipped := sorted(path.stem for path in PLUGINS.glob("[a-z]*.py"))):
            yield unknown(plugin, shipped, f"{where}.training.plugins")
    yield from _plugins_of_gpt_oss(spec)
    if spec.serving.way == "adapter" and spec.serving.engine not in LOADS_ADAPTERS:
        yield Complaint(f"{where}.serving.way", SERVES_BASE(engine=spec.serving.engine))
    if spec.serving.deterministic and (spec.url or spec.serving.engine not in BATCH_INVARIANT):
        which = FOREIGN_SERVICE() if spec.url else spec.serving.engine
        why = NOT_DETERMINISTIC(which=which, engines=BATCH_INVARIANT)
        yield Complaint(f"{where}.serving.deterministic", why)
    if spec.serving.engine == "vllm" and spec.template == "gpt_oss" and spec.prompt_date:
        yield Complaint(f"{where}.serving.engine", PRINTS_TODAY(date=spec.prompt_date))


_OF_GPT_OSS = ("attention_sinks", "fused_experts")
_LENT = FLASH_ATTENTION[:2]
"""What attention_sinks stands in for; the third and fourth flash attention are other functions."""


def _plugins_of_gpt_oss(spec: ModelSpec) -> Iterator[Complaint]:
    """Yield where a plugin for GPT-OSS has no effect or breaks training."""
    training, where = spec.training, f"{spec.name}.training"
    plugins = training.plugins
    foreign = [name for name in _OF_GPT_OSS if name in plugins and spec.model_type not in (None, "gpt_oss")]
    for name in foreign:
        yield Complaint(f"{where}.plugins", OF_GPT_OSS(name=name, kind=spec.model_type))
    if "attention_sinks" not in plugins or foreign:
        return
    if "packed_rows" not in plugins[: plugins.index("attention_sinks")]:
        yield Complaint(f"{where}.plugins", COMES_AFTER())
    if not training.packing:
        yield Complaint(f"{where}.packing", SINKS_NEED_PACKS())
    elif training.attention not in _LENT:
        yield Complaint(f"{where}.attention", SINKS_STAND_IN(names=_LENT, value=repr(training.attention)))


def _several_cards(spec: ModelSpec) -> Iterator[Complaint]:
    """What speaks against a row that several cards train together."""
    cards, training = spec.cards, spec.training
    if spec.trains and (rest := training.effective_batch % cards):
        why = UNEVEN(
            cards=cards,
            batch=training.effective_batch,
            size=training.batch_size,
            accumulation=training.gradient_accumulation,
            fitting=training.effective_batch - rest or cards,
        )
        yield Complaint(f"{spec.name}.gpus", why)
    several = [word for word in ("deepspeed", "fsdp") if training.extra.get(word)]
    if several and cards == 1:
        yield Complaint(f"{spec.name}.training.extra.{several[0]}", SEVERAL_CARDS())
    if len(several) == 2:
        yield Complaint(f"{spec.name}.training.extra", ONE_SHARDING())


def _revision(spec: ModelSpec) -> Iterator[Complaint]:
    if spec.revision is None:
        return
    what: Statement
    if not spec.model:
        what = NAMES_NO_MODEL()
    elif spec.tiny:
        what = BUILT_HERE(model=shown(spec.model))
    elif is_local_model(spec.model):
        what = FOLDER_HERE(model=shown(spec.model))
    else:
        if not _may_be_revision(spec.revision):
            yield Complaint(f"{spec.name}.revision", NO_REVISION(revision=shown(spec.revision)))
        return
    yield Complaint(f"{spec.name}.revision", REVISION_OF_HUB(what=what))


def _may_be_revision(revision: str) -> bool:
    """Whether a branch, tag or commit can have this name."""
    is_word = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,254}", revision)
    return bool(is_word and not re.search(r"\.\.|//|/\.|\.lock(/|$)|[./]$", revision))


def of_dataset(dataset: str, where: str) -> Iterator[Complaint]:
    """Yield why nothing could be trained on *dataset*."""
    try:
        name = dataset_name(dataset)
    except ValueError as error:
        yield Complaint(where, DATASET(dataset=shown(dataset), why=of_error(error)))
        return
    path = name.path
    if (why := why_no_place(dataset)) and not (path and is_there(path)):
        yield Complaint(where, why)
        return
    if re.match(r"https?://", dataset):
        yield Complaint(where, IS_ADDRESS(dataset=shown(dataset)))
        return
    if re.search(r"[*?]", dataset) and not (path and is_there(path)):
        yield Complaint(where, NO_PATTERNS(dataset=shown(dataset)))
        return
    if name.revision and name.is_local:
        yield Complaint(where, LOCAL_REVISION(place=shown(name.place), revision=shown(name.revision)))
        return
    if name.revision and not _may_be_revision(name.revision):
        yield Complaint(where, DATA_REVISION(dataset=shown(dataset), revision=shown(name.revision)))
        return
    is_id = re.fullmatch(r"[^\s/@]+/[^\s/@]+", name.place) and not re.search(r"@(?=[:#]|$)", dataset)
    if path is None and not is_id:
        yield Complaint(where, NO_HUB_ID(dataset=shown(dataset)))
    if path is None or is_there(path):
        return
    ours = [f"shipped:{file.name}" for file in SHIPPED.glob("*.jsonl")]
    hint = suggestion(dataset, ours) if dataset.startswith("shipped:") else ""
    yield Complaint(where, NO_FILE(dataset=shown(dataset)), hint or GIVE_PATH())
