"""What stands for the replies of a suite from one run to the next.

Replies are kept so that a new rule can grade them again without asking. Once they are graded, the digest of each row is
sealed, and of what was seen when the service was asked again. A row that is not the sealed one is asked anew; what was
seen of the service counts only while its file is the sealed one, and is looked for again where nothing is sealed.

Runs in the evaluation process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bakeoff.evalscope.loading import Loaded
from bakeoff.foundation.files import write_bytes, write_json
from bakeoff.scoring.scores import Sample

NAME = "seal.json"
SEEN = ("alone.json", "changed.json")
"""What was seen of the service beside its replies; of few questions there is none."""


def seal(loaded: Loaded, samples: Sequence[Sample], answers_as: str) -> None:
    """Seal the rows of *samples*, who gave them, and what else was seen.

    Questions without a reply are left out: they are asked again.
    """
    questions = loaded.samples
    failed = {
        (_file_name(loaded, questions[sample.index][0]), questions[sample.index][1].id)
        for sample in samples
        if sample.status == "errored"
    }
    rows: dict[str, dict[str, list[str]]] = {}
    for path in _files(loaded):
        for number, line in _numbered(path):
            if number is not None and (path.name, number) not in failed:
                rows.setdefault(path.name, {}).setdefault(str(number), []).append(_digest(line))
    seen = {name: _digest_of(loaded.folder / name) for name in SEEN}
    write_json(loaded.folder / NAME, {"rows": rows, "seen": seen, "answers_as": answers_as})


def is_whole(loaded: Loaded, answers_as: str) -> bool:
    """Return whether replies and what was seen are those that were sealed.

    *answers_as*: who is said to have answered. Without a seal they are not.
    """
    kept = _kept(loaded)
    return bool(kept) and kept.get("answers_as") == answers_as and still_seen(loaded) and not _others(loaded)


def still_seen(loaded: Loaded) -> bool:
    """Return whether what was seen of the service is what was sealed."""
    seen = _kept(loaded).get("seen")
    return isinstance(seen, dict) and seen == {name: _digest_of(loaded.folder / name) for name in SEEN}


def drop_others(loaded: Loaded) -> None:
    """Remove rows that are not the sealed ones; their questions are asked.

    :attr:`~bakeoff.evalscope.loading.Loaded.changed` counts them.
    """
    for path, others in _others(loaded).items():
        lines = path.read_bytes().split(b"\n")[:-1]
        write_bytes(path, b"".join(line + b"\n" for line in lines if line not in others))
        loaded.changed += len(others)


def _others(loaded: Loaded) -> Mapping[Path, set[bytes]]:
    """The rows of sealed questions that are not the sealed rows."""
    rows = _kept(loaded).get("rows")
    rows = rows if isinstance(rows, dict) else {}
    others: dict[Path, set[bytes]] = {}
    for path in _files(loaded) if rows else ():
        sealed: object = rows.get(path.name)
        for number, line in _numbered(path):
            digests = sealed.get(str(number)) if isinstance(sealed, dict) else None
            if digests is not None and _digest(line) not in digests:
                others.setdefault(path, set()).add(line)
    return others


def _files(loaded: Loaded) -> list[Path]:
    return sorted((loaded.folder / "predictions").rglob("*.jsonl"))


def _file_name(loaded: Loaded, subset: str) -> str:
    return f"{loaded.benchmark.name}_{subset}.jsonl"


def _numbered(path: Path) -> Iterator[tuple[int | None, bytes]]:
    """Yield each whole line of *path* with the number of its question."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        number = row.get("index") if isinstance(row, dict) else None
        yield number if isinstance(number, int) else None, line


def _kept(loaded: Loaded) -> Mapping[str, object]:
    try:
        content = json.loads((loaded.folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


def _digest_of(path: Path) -> str:
    return _digest(path.read_bytes()) if path.is_file() else ""
