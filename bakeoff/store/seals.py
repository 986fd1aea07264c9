"""What was changed in a stage's folder since it was done.

The record holds the digest of each file that the stage made. A second file, the seal, holds them again beside a digest
of the record, so that neither can be edited or removed alone. A folder of a version that kept no seal has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bakeoff.foundation.files import write_json
from bakeoff.foundation.provenance import INDEX, MADE, ContentHashes, digest
from bakeoff.foundation.sentences import Template

NAME = "seal.json"
ALTERED = Template(
    "store.seals.altered",
    "its output is not what it made ({files})",
    zh="产物在生成之后被改动（{files}）",
    en="Its output was changed afterwards ({files})",
)
ALTERED_MORE = Template(
    "store.seals.altered_more",
    "its output is not what it made ({files} and {count} more)",
    zh="产物在生成之后被改动（{files}，另有 {count} 个文件）",
    en="Its output was changed afterwards ({files} and {count} more)",
)
RECORD_EDITED = Template(
    "store.seals.record_edited",
    "its record is not what it wrote ({file})",
    zh="记录在写入之后被改动（{file}）",
    en="Its record was changed afterwards ({file})",
)
FILE_GONE = Template("store.seals.file_gone", "{name} is gone", zh="{name} 不存在", en="{name} is missing")
FILE_NEW = Template("store.seals.file_new", "{name} is new", zh="{name} 为新增")
FILE_OTHER = Template(
    "store.seals.file_other", "{name} is another one", zh="{name} 内容不同", en="{name} differs"
)

_OF_THE_PLACE = ("command", "log", "output", "why")
"""What a record says of where the store lies: it may be moved."""


@dataclass(frozen=True)
class Seal:
    """The digests that a stage left beside its record.

    Attributes:
        record: of what the record says.
        made: of each file of the output, by name.
    """

    record: str
    made: Mapping[str, str]


def seal(record: Path) -> None:
    """Write the seal of the record in the file *record*."""
    content = _content(record)
    write_json(record.with_name(NAME), {"record": _digest_of(content), "made": content.get("made")})


def seal_of(folder: Path) -> Seal | None:
    """Return the seal in *folder*; None where it has none."""
    content = _content(folder / NAME)
    made = content.get("made")
    if not (folder / NAME).exists():
        return None
    names = {str(name): str(value) for name, value in made.items()} if isinstance(made, dict) else {}
    return Seal(str(content.get("record", "")), names)


def why_edited(record: Path) -> str:
    """Return in words that a sealed *record* was edited, or nothing."""
    kept = seal_of(record.parent)
    edited = kept is not None and kept.record != _digest_of(_content(record))
    return RECORD_EDITED(file=record.name) if edited else ""


def contents(hashes: ContentHashes, output: Path) -> dict[str, str]:
    """Return the digests of the files of *output* that decide what it is."""
    return hashes.each(output, (*MADE, f"*{INDEX}"))


def changed(before: Mapping[str, str], now_there: Mapping[str, str]) -> list[str]:
    """Return the names of the files that are not as they were made."""
    if not any(name.endswith(INDEX) for name in before):
        now_there = {name: value for name, value in now_there.items() if not name.endswith(INDEX)}
    return [name for name in sorted({*before, *now_there}) if before.get(name) != now_there.get(name)]


def why_altered(before: Mapping[str, str], now_there: Mapping[str, str]) -> str:
    """Return in words which files are not as they were made."""
    words = [
        (FILE_GONE if name not in now_there else FILE_NEW if name not in before else FILE_OTHER)(name=name)
        for name in changed(before, now_there)
    ]
    if len(words) > 3:
        return ALTERED_MORE(files=words[:3], count=len(words) - 3)
    return ALTERED(files=words) if words else ""


def _content(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _digest_of(record: Mapping[str, object]) -> str:
    return digest({key: value for key, value in record.items() if key not in _OF_THE_PLACE})
