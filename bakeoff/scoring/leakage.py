"""Which questions of a suite occur in the data a model was tuned on.

A question is compared with each training dialogue by the share of its character shingles (overlapping pieces of
:data:`SHINGLE` characters, after normalisation) that the dialogue contains: the containment of Broder (1997), which
a long dialogue around a short question does not dilute. 1 with the whole text inside is *exact*; at least
:data:`NEAR` is a *near* duplicate. Shingles of the questions form an inverted index, so each dialogue is read once.
"""

from __future__ import annotations

import csv
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from bakeoff.errors import DataError

SHINGLE = 4
"""Characters per shingle: two Chinese words."""
NEAR = 0.7
"""Containment from which a question counts as a near duplicate."""
SHORTEST = 8
"""Characters below which a question says too little to be recognised; it is never called leaked."""

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Leak:
    """Where a question occurs in the training data.

    Attributes:
        overlap: share of the question's shingles found there, 0 to 1.
        source: file and row (from 1) of the dialogue that holds most of it.
    """

    kind: Literal["exact", "near"]
    overlap: float
    source: str


def normalised(text: str) -> str:
    """*text* without blanks, punctuation, case and width."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text)).lower()


def leaks(questions: Mapping[K, str], dialogues: Iterable[tuple[str, str]]) -> dict[K, Leak]:
    """The questions that occur in *dialogues*, each with the place that holds most of it.

    Args:
        questions: text by any key.
        dialogues: pairs of a source and the dialogue's text, as :func:`training_dialogues` yields them.
    """
    texts = {key: normalised(text) for key, text in questions.items()}
    texts = {key: text for key, text in texts.items() if len(text) >= SHORTEST}
    index: dict[str, list[K]] = {}
    sizes: dict[K, int] = {}
    for key, text in texts.items():
        pieces = _shingles(text)
        sizes[key] = len(pieces)
        for piece in pieces:
            index.setdefault(piece, []).append(key)
    known = index.keys()
    found: dict[K, Leak] = {}
    for source, dialogue in dialogues:
        text = normalised(dialogue)
        hits = Counter(key for piece in _shingles(text) & known for key in index[piece])
        for key, count in hits.items():
            overlap = count / sizes[key]
            if overlap < NEAR or (
                key in found and overlap <= found[key].overlap and found[key].kind == "exact"
            ):
                continue
            leak = Leak("exact" if texts[key] in text else "near", overlap, source)
            if key not in found or (leak.kind == "exact", overlap) > (
                found[key].kind == "exact",
                found[key].overlap,
            ):
                found[key] = leak
    return found


def _shingles(text: str) -> set[str]:
    return {text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1)}


_ROWS = (".jsonl", ".json", ".csv", ".parquet", ".arrow", ".txt")


def training_files(datasets: Iterable[str], *, use_hf: bool = False) -> tuple[list[Path], str]:
    """The files that hold *datasets* on this machine, and in words which datasets have none; ``""`` for all found.

    What comes from a hub is looked for where ms-swift leaves it when it trains: in the cache of ModelScope, or of
    Hugging Face with *use_hf*; the newest version of each of its configurations counts. Nothing is fetched.

    Args:
        datasets: files, folders and hub ids as :func:`bakeoff.matrix.schema.dataset_argument` gives them.
    """
    files: list[Path] = []
    lacking = []
    for dataset in datasets:
        path = Path(dataset)
        if not path.exists():  # [hf::]path[:subset][#rows]: all of its rows are looked at
            bare = Path(re.sub(r"#\d+$", "", dataset.rpartition("::")[2]))
            path = bare if bare.exists() else path
        found = _files_below(path) if path.exists() else files_in_cache(dataset, use_hf)
        if not found:
            lacking.append(
                f"{path} holds no rows that can be read"
                if path.exists()
                else f"{dataset} is not in {_cache(use_hf, os.environ)}, where training leaves it"
            )
        files += found
    return files, "; ".join(lacking) if files or lacking else "the row names no training data"


def leaked_as(result: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """*result*, whose questions were not searched for, with the leaked questions of *like*.

    Both are results of one suite with the same training data, as
    :class:`bakeoff.chain.evaluation.Evaluation` keeps them.
    """
    names = like["leaked_questions"]
    samples = [{**row, "leaked": row["sample_id"] in names} for row in result["samples"]]
    leaked = [row for row in samples if row["leaked"]]
    unseen = [row["correct"] for row in samples if not row["leaked"] and row["correct"] is not None]
    told = {
        "suite": result["suite"],
        "expected": any(row["expected"] for row in like["leakage"]),
        "n_asked": len(samples),
        "n_leaked": len(leaked),
        "n_exact": sum(names[row["sample_id"]]["kind"] == "exact" for row in leaked),
        "value_without": sum(unseen) / len(unseen) if unseen else None,
    }
    return {**result, "samples": samples, "leakage": [told] if leaked else [], "leakage_not_checked": ""}


def _files_below(path: Path) -> list[Path]:
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [
        one
        for one in found
        if one == path or (one.suffix in _ROWS and not one.name.startswith(("dataset_info", "cache-")))
    ]


def _cache(use_hf: bool, environ: Mapping[str, str]) -> Path:
    if use_hf:
        home = Path(environ.get("HF_HOME") or "~/.cache/huggingface")
        return Path(environ.get("HF_DATASETS_CACHE") or home / "datasets").expanduser()
    return Path(environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope/hub").expanduser() / "datasets"


def files_in_cache(dataset: str, use_hf: bool, environ: Mapping[str, str] = os.environ) -> list[Path]:
    """The files of a hub's dataset (``[HF::]owner/name[:subset][#rows]``) as a training left them in the cache."""
    hub, _, name = dataset.rpartition("::")
    name = name.partition("#")[0].partition(":")[0]
    root = _cache(use_hf or hub.lower() == "hf", environ)
    owner, _, rest = name.lower().partition("/")
    if not rest or not root.is_dir():
        return []
    builds: dict[str, Path] = {}
    for folder in root.glob("*___*"):
        theirs, _, called = folder.name.lower().partition("___")
        # The library writes names in snake case.
        if (theirs, called.replace("_", "")) == (owner, rest.replace("_", "")):
            for info in sorted(folder.rglob("dataset_info.json"), key=lambda one: one.stat().st_mtime):
                configuration = re.sub(r"-[0-9a-f]{16}$", "", info.parents[2].name)
                builds[configuration] = info.parent
    return [file for folder in builds.values() for file in _files_below(folder)]


def training_dialogues(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Every row of the training files as one text, whatever schema ms-swift would read it in.

    Raises:
        DataError: a file is missing, or a row cannot be read.
    """
    for path in paths:
        try:
            rows = list(_rows(path))
        except FileNotFoundError:
            raise DataError(f"{path}: no such training file") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error})") from None
        for number, row in enumerate(rows, 1):
            yield f"{path.name}:{number}", "\n".join(_texts(row))


def _rows(path: Path) -> Iterator[Any]:
    if path.suffix in (".arrow", ".parquet"):
        yield from _columns(path)
        return
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".txt":
        yield from text.splitlines()
    elif path.suffix == ".csv":
        yield from csv.DictReader(text.splitlines())
    elif path.suffix == ".json":
        loaded = json.loads(text)
        yield from loaded if isinstance(loaded, list) else [loaded]
    else:
        yield from (json.loads(line) for line in text.splitlines() if line.strip())


def _columns(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        table = pq.read_table(path)
    else:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_stream(file).read_all()
    for batch in table.to_batches(max_chunksize=1000):
        yield from batch.to_pylist()


_NAMES = {"id", "from", "role", "system", "images", "audios", "videos"}


def _texts(value: Any) -> Iterator[str]:
    """All texts of a row: turns, queries, histories; ids and roles are not texts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name not in _NAMES:
                yield from _texts(one)
