"""Models, training data and suites: are they there, and can they be read?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bakeoff.doctor.finding import (
    Finding,
    Visit,
    cached,
    offline,
)
from bakeoff.environments.installed import Installed, nearest
from bakeoff.errors import DataError, complaint_of
from bakeoff.matrix.datasets import dataset_name
from bakeoff.matrix.schema import POINT_AT_DATA, ModelSpec
from bakeoff.scoring import leakage
from bakeoff.training_data.health import Health, check_dataset

_DESCRIBED_BY = {"model": "config.json", "adapter": "adapter_config.json", "weights": "config.json"}
_HOLDS = {
    "model": "a model in the format of Hugging Face",
    "adapter": "a LoRA checkpoint, such as …/checkpoint-100",
    "weights": "merged weights in the format of Hugging Face",
}


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
                    f"{key}: there is no folder {place}",
                    "give an existing folder" + (", or a hub id owner/name" if key == "model" else ""),
                )
            elif local and not row.tiny and not (Path(place).expanduser() / _DESCRIBED_BY[key]).is_file():
                yield Finding(
                    "error",
                    row.name,
                    f"{key}: the folder {place} has no {_DESCRIBED_BY[key]}",
                    "give the folder that holds it: " + _HOLDS[key],
                )
        yield from _without_vocabulary(row, visit)
        hub = row.model if row.model and not (row.tiny or row.model.startswith(("/", ".", "~"))) else ""
        if hub and not Path(hub).is_dir() and offline(visit) and not cached(visit, "model", hub):
            yield Finding(
                "error",
                row.name,
                f"its model comes from the hub, {offline(visit)} is set, and no cache has it",
                f"unset {offline(visit)}, or give a folder as model",
            )


def _without_vocabulary(row: ModelSpec, visit: Visit) -> Iterator[Finding]:
    engine = row.serving.engine
    asks = row.model_type == "gpt_oss" and engine != "transformers" and not row.url
    if asks and not visit.environ.get("TIKTOKEN_ENCODINGS_BASE"):
        yield Finding(
            "note",
            row.name,
            f"{engine} fetches the vocabulary of GPT-OSS's prompts from the network when it starts",
            "without one: python -m bakeoff.forms.harmony MODEL FOLDER, and TIKTOKEN_ENCODINGS_BASE=FOLDER",
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
                f"dataset {dataset}",
                "there is no such file",
                "give an existing path, or a hub id",
                tuple(users[dataset]),
            )
        elif offline(visit) and not (
            cached(visit, "dataset", name.place)
            or any(leakage.files_in_cache(dataset, hub, visit.environ) for hub in (False, True))
        ):
            yield Finding(
                "error",
                f"dataset {dataset}",
                f"comes from the hub, {offline(visit)} is set, and no cache has it",
                f"unset {offline(visit)}, or give a local file as dataset",
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
        template = nearest(template, tool.templates)
    return template or ""


def _unreadable(dataset: str, error: DataError, rows: tuple[str, ...]) -> Finding:
    """What is wrong with a training file that cannot be read, and the remedy."""
    complaint = complaint_of(error)
    what = f"{complaint.place}: {complaint.what}" if complaint else str(error)
    return Finding("error", f"dataset {dataset}", what, complaint.remedy if complaint else "", rows)


def unhealthy(dataset: str, health: Health, max_length: int) -> Iterator[Finding]:
    """Yield what *health* says against training on *dataset*."""
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
    usable = max(health.kept, 1)
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
            yield Finding("warning", place, f"{count} of {first}{usable} {what}", remedy)


def check_suites(visit: Visit) -> Iterator[Finding]:
    """Yield which suites cannot run, or are asked for by mistake."""
    from bakeoff.evalscope import check_suite
    from bakeoff.evalscope.local_data import unusable_data
    from bakeoff.suites import OURS

    used = {name for row in visit.rows for name in row.suites}
    for name, suite in visit.matrix.suites.items():
        if name not in used:
            continue
        if why := suite.why_no_data(visit.data_dir):
            what = why.values["what"]
            remedy = "give --data-dir"
            if POINT_AT_DATA.made(what):
                what, remedy = what.values["what"], "point --data-dir at the data"
            yield Finding("warning", f"suites.{name}", f"{what}: it is skipped", remedy)
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
                    "repair the file, or name another folder (docs/suites.md)",
                )
        if folder is None and not complaints and offline(visit):
            yield Finding(
                "warning",
                f"suites.{name}",
                f"comes from the hub, and {offline(visit)} is set: it runs only where a cache has it",
                f"its folder under --data-dir (docs/suites.md), or unset {offline(visit)}",
            )
        for complaint in complaints:
            remedy = complaint.remedy or "change it in the matrix"
            yield Finding("error", complaint.place, complaint.what, remedy)
