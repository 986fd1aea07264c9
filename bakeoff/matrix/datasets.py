"""Training data by name: what ms-swift takes, and what tells it apart."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from bakeoff.foundation.sentences import Template

NO_DATASET = Template(
    "matrix.datasets.no_dataset",
    "a data set is a text, or a mapping of texts with 'id' and 'revision'; put quotes around numbers",
    zh="数据集应为文本，或含 'id' 和 'revision' 的映射（均为文本）；数字请加引号",
)
REVISION_OF_HUB = Template(
    "matrix.datasets.revision_of_hub",
    "a revision is for data of a hub; what lies on this machine is known by its content: take 'revision' out",
    zh="只有站点上的数据才有版本；本机数据以内容识别：请删除 'revision'",
)
NO_ROWS = Template(
    "matrix.datasets.no_rows",
    "'#{number}' must be a number of rows, 1 or more",
    zh="'#{number}' 应为行数，至少为 1",
)
SHIPPED = Path(__file__).parents[1] / "data"


def is_there(path: str | Path) -> bool:
    """Whether something lies at *path*; not at a text that is no path."""
    try:
        return bool(str(path)) and Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # longer than any name, or the home of nobody
        return False


PINNED = ("id", "revision")
"""The keys of a data set that is written as a mapping."""


def _dataset_text(value: object) -> object:
    """A ``{id: owner/name, revision: v1}`` as ``owner/name@v1``."""
    if not isinstance(value, Mapping):
        return value
    name, revision = value.get("id"), value.get("revision")
    if not set(value) <= set(PINNED) or not isinstance(name, str) or not isinstance(revision, str):
        raise ValueError(NO_DATASET())
    end = re.search(r"(?<!:):(?!:)|#", name)
    place, rest = (name[: end.start()], name[end.start() :]) if end else (name, "")
    bare = place.rpartition("::")[2]
    if place == "shipped" or _looks_local(bare) or any(is_there(_place(path)) for path in (name, bare)):
        raise ValueError(REVISION_OF_HUB())
    return f"{place}@{revision}{rest}"


Dataset = Annotated[
    str,
    BeforeValidator(_dataset_text),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {name: {"type": "string"} for name in PINNED},
                    "required": list(PINNED),
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
"""Training data by name; see :class:`DatasetName`."""


@dataclass(frozen=True)
class DatasetName:
    """A data set as ms-swift names it, ``[hf::]place[:subset][#rows]``, with ``@revision`` behind a hub's id."""

    place: str
    """An absolute path, or the id of a hub."""
    hub: str = ""
    subset: str = ""
    rows: int | None = None
    is_local: bool = True
    revision: str = ""
    """The branch, tag or commit that the matrix names; on a local place it is a mistake."""

    @property
    def path(self) -> Path | None:
        """The file or folder on this machine; None for a hub's data set."""
        return Path(self.place) if self.is_local else None

    def __str__(self) -> str:
        """The name as ``--dataset`` takes it."""
        subset = f":{self.subset}" if self.subset else ""
        return (
            (f"{self.hub}::" if self.hub else "")
            + self.place
            + subset
            + (f"#{self.rows}" if self.rows is not None else "")
        )


def dataset_name(text: str) -> DatasetName:
    """Return the parts of *text*, split as ms-swift splits them.

    Raises:
        ValueError: what follows ``#`` is no number of rows.
    """
    whole = _place(text)
    if is_there(whole):
        return DatasetName(whole)
    hub, separator, rest = text.partition("::")
    if not separator:
        hub, rest = "", text
    if is_there(_place(rest)):
        return DatasetName(_place(rest), hub)
    rows = None
    if "#" in rest:
        rest, _, number = rest.rpartition("#")
        if not (number.isdecimal() and number.isascii() and int(number) > 0):
            raise ValueError(NO_ROWS(number=number))
        rows = int(number)
    if is_there(_place(rest)):
        return DatasetName(_place(rest), hub, rows=rows)
    scheme, colon, name = rest.partition(":")
    shipped = scheme == "shipped" and bool(colon)
    place, _, subset = (name if shipped else rest).partition(":")
    place = f"shipped:{place}" if shipped else place.strip()
    before, _, revision = place.rpartition("@")
    if before and (is_there(_place(before)) or not _looks_local(place)):
        place = before
    else:
        revision = ""
    is_local = is_there(_place(place)) or _looks_local(place)
    return DatasetName(_place(place) if is_local else place, hub, subset, rows, is_local, revision)


def _place(text: str) -> str:
    if text.startswith("shipped:"):
        return str(SHIPPED / text.removeprefix("shipped:"))
    try:
        return str(Path(text).expanduser().absolute())
    except RuntimeError:  # the home of nobody
        return str(Path(text).absolute())


def _looks_local(place: str) -> bool:
    suffixes = (".jsonl", ".json", ".csv", ".txt", ".parquet", ".arrow")
    return place.startswith(("/", ".", "~", "shipped:")) or place.endswith(suffixes) or "/" not in place


def dataset_argument(dataset: str) -> str:
    """Return *dataset* as ms-swift takes it: an absolute path or a hub id."""
    return str(dataset_name(dataset))


def dataset_files(path: Path) -> list[Path]:
    """Return the files of a local data set that ms-swift reads."""
    if not path.is_dir():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.is_file()
        and not file.name.startswith("dataset_infos.json")
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )


def dataset_identity(dataset: str, hash_of: Callable[[Path], str]) -> str:
    """Return a hash of the content of *dataset*, or its name at the hub."""
    path = dataset_name(dataset).path
    if path is None or not is_there(path):
        return f"hub:{dataset}"
    if path.is_file():
        return hash_of(path)
    contents = [f"{file.relative_to(path)}\0{hash_of(file)}" for file in dataset_files(path)]
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


def is_local_model(model: str) -> bool:
    """Whether *model* is, or is written like, a folder of this machine."""
    return model.startswith(("/", ".", "~")) or (is_there(model) and Path(model).expanduser().is_dir())
