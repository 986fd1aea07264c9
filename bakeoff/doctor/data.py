"""Models, training data and suites: are they there, and can they be read?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bakeoff.doctor.finding import (
    DATASET,
    Finding,
    Visit,
    cached,
    offline,
)
from bakeoff.environments.installed import Installed, nearest
from bakeoff.foundation.errors import DataError, complaint_of
from bakeoff.foundation.sentences import Statement, Template, of_error
from bakeoff.matrix.datasets import dataset_name
from bakeoff.matrix.schema import POINT_AT_DATA, ModelSpec, Suite
from bakeoff.scoring import leakage
from bakeoff.training_data.health import Health, check_dataset

_DESCRIBED_BY = {"model": "config.json", "adapter": "adapter_config.json", "weights": "config.json"}
NO_FOLDER = Template(
    "doctor.data.no_folder", "{key}: there is no folder {place}", zh="{key}：没有文件夹 {place}"
)
GIVE_FOLDER = Template("doctor.data.give_folder", "give an existing folder", zh="请给出已有的文件夹")
GIVE_FOLDER_OR_ID = Template(
    "doctor.data.give_folder_or_id",
    "give an existing folder, or a hub id owner/name",
    zh="请给出已有的文件夹，或模型站点的 id（owner/name）",
)
LACKS_FILE = Template(
    "doctor.data.lacks_file",
    "{key}: the folder {place} has no {file}",
    zh="{key}：文件夹 {place} 中没有 {file}",
)
GIVE_MODEL = Template(
    "doctor.data.give_model",
    "give the folder that holds it: a model in the format of Hugging Face",
    zh="请给出含有该文件的文件夹：Hugging Face 格式的模型",
)
GIVE_CHECKPOINT = Template(
    "doctor.data.give_checkpoint",
    "give the folder that holds it: a LoRA checkpoint, such as …/checkpoint-100",
    zh="请给出含有该文件的文件夹：LoRA 检查点，例如 …/checkpoint-100",
)
GIVE_WEIGHTS = Template(
    "doctor.data.give_weights",
    "give the folder that holds it: merged weights in the format of Hugging Face",
    zh="请给出含有该文件的文件夹：Hugging Face 格式的合并权重",
)
_HOLDS = {"model": GIVE_MODEL, "adapter": GIVE_CHECKPOINT, "weights": GIVE_WEIGHTS}
MODEL_OFFLINE = Template(
    "doctor.data.model_offline",
    "its model comes from the hub, {variables} is set, and no cache has it",
    zh="模型来自站点，而已设置 {variables}，缓存中也没有该模型",
)
UNSET_OR_MODEL = Template(
    "doctor.data.unset_or_model",
    "unset {variables}, or give a folder as model",
    zh="取消 {variables}，或将 model 改为本地文件夹",
)
VOCABULARY = Template(
    "doctor.data.vocabulary",
    "{engine} fetches the vocabulary of GPT-OSS's prompts from the network when it starts",
    zh="{engine} 启动时会从网络下载 GPT-OSS 提示词的词表",
)
WITHOUT_NETWORK = Template(
    "doctor.data.without_network",
    "without one: python -m bakeoff.forms.harmony MODEL FOLDER, and TIKTOKEN_ENCODINGS_BASE=FOLDER",
    zh="没有网络时：先运行 python -m bakeoff.forms.harmony MODEL FOLDER，再设置 TIKTOKEN_ENCODINGS_BASE=FOLDER",
)
NO_FILE = Template("doctor.data.no_file", "there is no such file", zh="没有这个文件")
GIVE_PATH = Template(
    "doctor.data.give_path", "give an existing path, or a hub id", zh="请给出已有的路径，或站点的 id"
)
DATA_OFFLINE = Template(
    "doctor.data.data_offline",
    "comes from the hub, {variables} is set, and no cache has it",
    zh="来自站点，而已设置 {variables}，缓存中也没有",
)
UNSET_OR_FILE = Template(
    "doctor.data.unset_or_file",
    "unset {variables}, or give a local file as dataset",
    zh="取消 {variables}，或将 dataset 改为本地文件",
)
NO_ROWS = Template("doctor.data.no_rows", "holds no rows", zh="没有数据")
GIVE_DIALOGUES = Template(
    "doctor.data.give_dialogues", "give a file with dialogues", zh="请给出含有对话的文件"
)
KEEP_COLUMN = Template(
    "doctor.data.keep_column",
    "keep one of them, or rename one to 'query'",
    zh="只保留其中一列，或将其中一列改名为 query",
)
DROPPED = Template(
    "doctor.data.dropped",
    "ms-swift would silently drop {count} of {rows} rows: {reasons}",
    zh="ms-swift 会不作提示地丢弃 {rows} 条中的 {count} 条：{reasons}",
    between=("; ", "；"),
)
DROPPED_OF_FIRST = Template(
    "doctor.data.dropped_of_first",
    "ms-swift would silently drop {count} of the first {rows} rows: {reasons}",
    zh="ms-swift 会不作提示地丢弃前 {rows} 条中的 {count} 条：{reasons}",
    between=("; ", "；"),
)
WRITE_MESSAGES = Template(
    "doctor.data.write_messages",
    "write them as {{messages: [{{role: user, content: …}}, {{role: assistant, content: …}}]}}",
    zh="请写成 {{messages: [{{role: user, content: …}}, {{role: assistant, content: …}}]}}",
)
WITHIN = Template("doctor.data.within", "{place}: {what}", zh="{place}：{what}")
WITH_COUNT = Template("doctor.data.with_count", "{why} ({count})", zh="{why}（{count} 条）")
COUNTED = Template("doctor.data.counted", "{count} of {rows} {what}", zh="{rows} 段中有 {count} 段{what}")
COUNTED_OF_FIRST = Template(
    "doctor.data.counted_of_first",
    "{count} of the first {rows} {what}",
    zh="前 {rows} 段中有 {count} 段{what}",
)
ENDS_ON_CLIENT = Template(
    "doctor.data.ends_on_client",
    "dialogues end on the client; their last turn trains nothing",
    zh="对话以来访者结尾；最后一轮不参与训练",
)
CUT_TURN = Template("doctor.data.cut_turn", "cut the last turn", zh="删去最后一轮")
NOT_ALTERNATING = Template(
    "doctor.data.not_alternating",
    "dialogues do not alternate between the two sides",
    zh="对话中双方没有交替发言",
)
REPAIR_TURNS = Template("doctor.data.repair_turns", "join or repair the turns", zh="合并或修正这些轮次")
EMPTY_TURNS = Template("doctor.data.empty_turns", "dialogues have an empty turn", zh="对话含有空白的轮次")
REMOVE_TURNS = Template(
    "doctor.data.remove_turns", "remove the turns or the dialogues", zh="删去这些轮次或对话"
)
DUPLICATES = Template(
    "doctor.data.duplicates",
    "dialogues are copies of others and weigh double",
    zh="对话与其他对话重复，权重加倍",
)
REMOVE_COPIES = Template("doctor.data.remove_copies", "remove the copies", zh="删去重复的对话")
TOO_LONG = Template(
    "doctor.data.too_long",
    "dialogues are longer than max_length {length} (estimated) and would be left out",
    zh="对话超过 max_length {length}（估计），会被丢弃",
)
SHORTEN = Template(
    "doctor.data.shorten",
    "a larger training.max_length, or shorten them",
    zh="增大 training.max_length，或缩短这些对话",
)
SKIPPED = Template("doctor.data.skipped", "{what}: it is skipped", zh="{what}；该测试集会被跳过")
GIVE_DATA_DIR = Template("doctor.data.give_data_dir", "give --data-dir", zh="请指定 --data-dir")
POINT_DATA_DIR = Template(
    "doctor.data.point_data_dir", "point --data-dir at the data", zh="请用 --data-dir 指明数据位置"
)
REPAIR_FILE = Template(
    "doctor.data.repair_file",
    "repair the file, or name another folder (docs/suites.md)",
    zh="修正该文件，或指定另一个文件夹（docs/suites.md）",
)
SUITE_OFFLINE = Template(
    "doctor.data.suite_offline",
    "comes from the hub, and {variables} is set: it runs only where a cache has it",
    zh="来自站点，而已设置 {variables}：只有缓存中有它时才能运行",
)
FOLDER_OR_UNSET = Template(
    "doctor.data.folder_or_unset",
    "its folder under --data-dir (docs/suites.md), or unset {variables}",
    zh="将其文件夹放到 --data-dir 下（docs/suites.md），或取消 {variables}",
)
SAME_SUITE = Template(
    "doctor.data.same_suite",
    "is the same as {first} in all but its name: each of its questions counts twice",
    zh="除名称外与 {first} 完全相同：每道题会计算两次",
)
TAKE_OUT = Template("doctor.data.take_out", "take one of the two out", zh="删去其中一个")
CHANGE_MATRIX = Template("doctor.data.change_matrix", "change it in the matrix", zh="请在矩阵中修改")


def check_models(visit: Visit) -> Iterator[Finding]:
    """Yield which models, adapters and weights are not there."""
    for row in visit.rows:
        for key in ("model", "adapter", "weights"):
            place = getattr(row, key)
            local = place and (key != "model" or place.startswith(("/", ".", "~")))
            if local and not Path(place).expanduser().is_dir():
                yield Finding(
                    "error",
                    row.name,
                    NO_FOLDER(key=key, place=place),
                    GIVE_FOLDER_OR_ID() if key == "model" else GIVE_FOLDER(),
                )
            elif local and not row.tiny and not (Path(place).expanduser() / _DESCRIBED_BY[key]).is_file():
                yield Finding(
                    "error",
                    row.name,
                    LACKS_FILE(key=key, place=place, file=_DESCRIBED_BY[key]),
                    _HOLDS[key](),
                )
        yield from _without_vocabulary(row, visit)
        hub = row.model if row.model and not (row.tiny or row.model.startswith(("/", ".", "~"))) else ""
        if hub and not Path(hub).is_dir() and offline(visit) and not cached(visit, "model", hub):
            yield Finding(
                "error",
                row.name,
                MODEL_OFFLINE(variables=offline(visit)),
                UNSET_OR_MODEL(variables=offline(visit)),
            )


def _without_vocabulary(row: ModelSpec, visit: Visit) -> Iterator[Finding]:
    engine = row.serving.engine
    asks = row.model_type == "gpt_oss" and engine != "transformers" and not row.url
    if asks and not visit.environ.get("TIKTOKEN_ENCODINGS_BASE"):
        yield Finding(
            "note",
            row.name,
            VOCABULARY(engine=engine),
            WITHOUT_NETWORK(),
        )


def check_datasets(visit: Visit) -> Iterator[Finding]:
    """Yield which training data are missing, unreadable or unhealthy."""
    lengths: dict[str, int] = {}
    users: dict[str, list[str]] = {}
    systems: dict[str, str] = {}
    for row in visit.rows:
        for dataset in row.dataset if row.trains else ():
            lengths[dataset] = min(lengths.get(dataset, row.training.max_length), row.training.max_length)
            users.setdefault(dataset, []).append(row.name)
            systems[dataset] = max(systems.get(dataset, ""), _default_system(row, visit), key=len)
    for dataset, length in lengths.items():
        name = dataset_name(dataset)
        path = name.path
        if path and path.exists():
            try:
                health = check_dataset(path, max_length=length, default_system=systems[dataset])
                for finding in unhealthy(dataset, health, length):
                    yield replace(finding, rows=tuple(users[dataset]))
            except DataError as error:
                yield _unreadable(dataset, error, tuple(users[dataset]))
        elif path:
            yield Finding(
                "error",
                DATASET(name=dataset),
                NO_FILE(),
                GIVE_PATH(),
                tuple(users[dataset]),
            )
        elif offline(visit) and not (
            cached(visit, "dataset", name.place)
            or any(leakage.files_in_cache(dataset, hub, visit.environ) for hub in (False, True))
        ):
            yield Finding(
                "error",
                DATASET(name=dataset),
                DATA_OFFLINE(variables=offline(visit)),
                UNSET_OR_FILE(variables=offline(visit)),
                tuple(users[dataset]),
            )


def _default_system(row: ModelSpec, visit: Visit) -> str:
    """Return what the row's template says to dialogues without a system turn."""
    tool = visit.installed(row, "train")
    template = template_of(row, tool) if tool else ""
    return (tool.templates[template] or "") if tool and template else ""


def template_of(row: ModelSpec, tool: Installed) -> str:
    """Return the template that *tool* trains *row* with, empty if unknown."""
    recognised = tool.recognised(row.model or "")
    template = row.template or (recognised[1] if recognised else "")
    if template and template not in tool.templates:
        template = nearest(template, tool.templates) or ""
    return template


def _unreadable(dataset: str, error: DataError, rows: tuple[str, ...]) -> Finding:
    """What is wrong with a training file that cannot be read, and the remedy."""
    complaint = complaint_of(error)
    what = WITHIN(place=complaint.place, what=complaint.what) if complaint else of_error(error)
    return Finding("error", DATASET(name=dataset), what, complaint.remedy if complaint else "", rows)


def unhealthy(dataset: str, health: Health, max_length: int) -> Iterator[Finding]:
    """Yield what *health* says against training on *dataset*."""
    place = DATASET(name=dataset)
    if health.rows == 0:
        yield Finding("error", place, NO_ROWS(), GIVE_DIALOGUES())
        return
    if health.no_question:
        yield Finding("warning", place, health.no_question, KEEP_COLUMN())
    if dropped := health.dropped.total():
        reasons = [
            WITH_COUNT(why=why, count=count) if len(health.dropped) > 1 else why
            for why, count in health.dropped.most_common()
        ]
        yield Finding(
            "error" if dropped == health.rows else "warning",
            place,
            (DROPPED if health.whole else DROPPED_OF_FIRST)(count=dropped, rows=health.rows, reasons=reasons),
            WRITE_MESSAGES(),
        )
    usable = max(health.kept, 1)
    cautions: tuple[tuple[int, Statement, Statement], ...] = (
        (health.ends_on_client, ENDS_ON_CLIENT(), CUT_TURN()),
        (health.not_alternating, NOT_ALTERNATING(), REPAIR_TURNS()),
        (health.empty_turns, EMPTY_TURNS(), REMOVE_TURNS()),
        (health.duplicates, DUPLICATES(), REMOVE_COPIES()),
        (health.too_long, TOO_LONG(length=max_length), SHORTEN()),
    )
    counted = COUNTED if health.whole else COUNTED_OF_FIRST
    for count, what, remedy in cautions:
        if count:
            yield Finding("warning", place, counted(count=count, rows=usable, what=what), remedy)


def check_suites(visit: Visit) -> Iterator[Finding]:
    """Yield which suites cannot run, or are asked for by mistake."""
    from bakeoff.evalscope import check_suite
    from bakeoff.evalscope.local_data import unusable_data
    from bakeoff.suites import OURS

    used = {name for row in visit.rows for name in row.suites}
    yield from _same_suites([suite for name, suite in visit.matrix.suites.items() if name in used])
    for name, suite in visit.matrix.suites.items():
        if name not in used:
            continue
        if why := suite.why_no_data(visit.data_dir):
            what, where = why.values["what"], GIVE_DATA_DIR()
            if POINT_AT_DATA.made(what):
                what, where = what.values["what"], POINT_DATA_DIR()
            yield Finding("warning", f"suites.{name}", SKIPPED(what=what), where)
            continue
        complaints = check_suite(suite, folder := suite.folder(visit.data_dir))
        if folder is not None and not complaints and suite.benchmark not in OURS:
            for words in unusable_data(
                suite.benchmark, folder, suite.subsets or (), examples=suite.few_shot != 0
            ):
                yield Finding(
                    "error",
                    f"suites.{name}.data",
                    words,
                    REPAIR_FILE(),
                )
        if folder is None and not complaints and offline(visit):
            yield Finding(
                "warning",
                f"suites.{name}",
                SUITE_OFFLINE(variables=offline(visit)),
                FOLDER_OR_UNSET(variables=offline(visit)),
            )
        for complaint in complaints:
            remedy = complaint.remedy or CHANGE_MATRIX()
            yield Finding("error", complaint.place, complaint.what, remedy)


def _same_suites(suites: Sequence[Suite]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for suite in suites:
        data = str(suite.folder(None)) if suite.data and ":" not in suite.data else suite.data
        settings = repr(suite.model_copy(update={"name": "", "data": data}))
        same = first.setdefault(settings, suite.name)
        if same != suite.name:
            yield Finding("warning", f"suites.{suite.name}", SAME_SUITE(first=same), TAKE_OUT())
