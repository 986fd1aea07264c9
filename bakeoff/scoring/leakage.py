"""Which questions of a suite occur in the data a model was tuned on.

A question is compared with each training dialogue by the share of its shingles (overlapping pieces of :data:`SHINGLE`
characters, or words in Latin script) that a window of the dialogue, somewhat longer than the question, contains: the
containment of Broder (1997) within a window, which neither a long dialogue dilutes nor a very long row fakes. 1 with
the whole text inside is *exact*; at least :data:`NEAR` is a *near* duplicate. What several questions share (a case, a
common stem) tells nothing: there the rest must occur too, and a stem that says little only counts with its options.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from bakeoff.foundation.characters import simplified
from bakeoff.foundation.errors import DataError
from bakeoff.foundation.files import numbered_lines, unpacked_text
from bakeoff.foundation.sentences import Template, joined
from bakeoff.scoring.shingles import (
    SHINGLE,
    Shingle,
    joined_tokens,
    places_of,
    share_of_pairs,
    shingles_of,
    size_of,
    tokens_and_labels,
    tokens_of,
)

NO_ROWS = Template(
    "scoring.leakage.no_rows",
    "{path} holds no rows that can be read",
    zh="{path} 中没有可读取的数据",
    en="{path} has no readable rows",
)
NOT_CACHED = Template(
    "scoring.leakage.not_cached",
    "{dataset} is not in {folder}, where training leaves it",
    zh="{folder} 中没有 {dataset}（训练时下载到此处）",
    en="{dataset} is not in {folder}, where training downloads it",
)
NO_TRAINING_DATA = Template(
    "scoring.leakage.no_training_data",
    "the row names no training data",
    zh="该模型没有指定训练数据",
    en="no training data is given for this model",
)

RULES = 3
"""Version of these rules; raise it by hand with a change after which kept answers should be graded anew."""

NEAR = 0.7
"""Containment from which a question counts as a near duplicate."""
NEAR_WITH_OPTIONS = 0.5
"""The same where all of its options stand beside it, as its numbers do."""
_LONG = 30
"""Characters or words of a question from which one other word makes no other question of it."""
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
    """Return *text* without marks, blanks, case and width, simplified."""
    return re.sub(r"[\W_]+", "", simplified(unicodedata.normalize("NFKC", text))).lower()


def leaks(
    questions: Mapping[K, str],
    dialogues: Iterable[tuple[str, str]],
    options: Mapping[K, Sequence[str]] | None = None,
) -> dict[K, Leak]:
    """Return the questions that occur in *dialogues*, and where each does.

    Args:
        questions: text by any key.
        dialogues: pairs of a source and the dialogue's text, as :func:`training_dialogues` yields them.
        options: the options of choice questions; without them a short question, or a stem that several
            questions share, is never recognised.
    """
    searched = _wanted(questions, options or {})
    index: dict[Shingle, list[K]] = {}
    for key, question in searched.items():
        for piece in question.pieces:
            index.setdefault(piece, []).append(key)
    leaked: dict[K, Leak] = {}
    for source, dialogue in dialogues:
        tokens, labels = tokens_and_labels(dialogue)
        whole = joined_tokens(tokens)
        places: dict[K, list[tuple[int, Shingle]]] = {}
        for place in range(len(tokens) - SHINGLE + 1):
            piece = tuple(tokens[place : place + SHINGLE])
            for key in index.get(piece, ()):
                places.setdefault(key, []).append((place, piece))
        for key, hits in places.items():
            question = searched[key]
            overlap, start, end = _best_window(hits, len(question.tokens), len(question.pieces))
            best = (leaked[key].kind == "exact", leaked[key].overlap) if key in leaked else (False, 0.0)
            if overlap < NEAR_WITH_OPTIONS or best == (True, 1.0):
                continue
            if not question.is_in(tokens, labels, start, end, overlap):
                continue
            exact = joined_tokens(question.tokens) in whole
            if (exact, overlap) > best:
                leaked[key] = Leak("exact" if exact else "near", overlap, source)
    return leaked


@dataclass(frozen=True)
class _Wanted:
    """A question as it is searched for.

    Attributes:
        tokens: what is searched for: the question, and its options where they are what tells it from others.
        pieces: the shingles of its parts, each for itself: options may stand in another order.
        rest: the part after a case that several questions share; it must be there as well.
        options: whose words must follow where the text is itself a choice question.
        by_options: the options must follow in any case, for the stem says too little.
        stem: the question itself.
    """

    tokens: list[str]
    pieces: frozenset[Shingle]
    rest: list[str]
    options: tuple[list[str], ...]
    by_options: bool
    stem: list[str]

    def is_in(self, tokens: list[str], labels: list[int], start: int, end: int, overlap: float) -> bool:
        """Whether what tells this question from its like is near the window."""
        first = max(0, start - len(self.tokens))
        last = end + 20 + len(self.tokens) + 3 * sum(map(len, self.options))
        around = tokens[first:last]
        if self._asks_another(around):
            return False
        if overlap < NEAR and not self._has_all_options(around):
            return False
        if self.rest and share_of_pairs(self.rest, around) < NEAR:
            return False
        listed = sum(start < place <= last for place in labels) >= 2
        if not self.options or not (self.by_options or listed):
            return True
        text = joined_tokens(around)
        return sum(joined_tokens(option) in text for option in self.options) >= 0.75 * len(self.options)

    def _asks_another(self, around: list[str]) -> bool:
        """Whether *around* is this question with one other word in it.

        Exams ask for reliability and validity, or for the highest and the lowest, in the same words. A word that was
        left out, and one that differs in a long case, change nothing.
        """
        present = set(around)
        lacking = [i for i, token in enumerate(self.stem) if token not in present and token not in _ASKING]
        if not lacking or lacking[-1] - lacking[0] >= SHINGLE or len(self.stem) >= _LONG:
            return False
        before, after = self.stem[: lacking[0]], self.stem[lacking[-1] + 1 :]
        ends = places_of(before, around, len(before)) if before else [0]
        begins = places_of(after, around, 0) if after else [len(around)]
        return any(0 < begin - end <= 2 * SHINGLE for end in ends for begin in begins) or (
            not (before and after) and bool(ends and begins)
        )

    def _has_all_options(self, around: list[str]) -> bool:
        """Whether *around* holds all options, and the question's numbers."""
        text = joined_tokens(around)
        numbers = [token for token in self.tokens if token.isdigit()]
        telling = len(self.options) > 2 and sum(map(size_of, self.options)) >= SHORTEST
        return telling and all(
            joined_tokens(part) in text for part in (*self.options, *([n] for n in numbers))
        )


def _wanted(questions: Mapping[K, str], options: Mapping[K, Sequence[str]]) -> dict[K, _Wanted]:
    sentences = {
        key: [s for s in map(tokens_of, _SENTENCE.split(text)) if s] for key, text in questions.items()
    }
    texts: dict[tuple[str, ...], set[str]] = {}
    for key, parts in sentences.items():
        for part in parts:
            texts.setdefault(tuple(part), set()).add(normalised(questions[key]) + repr(options.get(key, ())))
    searches = {}
    for key, parts in sentences.items():
        tokens = [token for part in parts for token in part]
        rest = [token for part in parts if len(texts[tuple(part)]) == 1 for token in part]
        choices = tuple(filter(None, map(tokens_of, options.get(key, ()))))
        weak = size_of(rest) < SHORTEST or len(_FRAME.sub("", "".join(rest))) < 4
        if weak:
            if rest != tokens and parts:
                rest = parts[-1]
            if not choices and options.get(key) is None and size_of(tokens) >= SHORTEST:
                weak = False  # without options there is nothing else to go by
        searched = tokens + [token for choice in choices for token in choice] if weak and choices else tokens
        parts_searched = [tokens, *(choices if weak else ())]
        pieces = frozenset(piece for part in parts_searched for piece in shingles_of(part))
        if (weak and not choices) or not pieces or size_of(searched) < SHORTEST:
            continue
        searches[key] = _Wanted(searched, pieces, [] if rest == tokens else rest, choices, weak, tokens)
    return searches


def _best_window(hits: list[tuple[int, Shingle]], length: int, pieces: int) -> tuple[float, int, int]:
    """Return the largest share of *pieces* in a window, with its ends.

    The window is somewhat longer than the question.
    """
    width, best, first = length + length // 2 + 16, (0, 0, 0), 0
    inside: Counter[Shingle] = Counter()
    for place, piece in hits:
        inside[piece] += 1
        while hits[first][0] < place - width:
            inside[hits[first][1]] -= 1
            if not inside[hits[first][1]]:
                del inside[hits[first][1]]
            first += 1
        if len(inside) > best[0]:
            best = (len(inside), hits[first][0], place + SHINGLE)
    return best[0] / pieces, best[1], best[2]


_SENTENCE = re.compile(r"(?<=[。？！?!\n；;])|(?<=\. )")
_ASKING = frozenset("哪谁何几什么怎样多少吗呢些种项个不中对的是有为最应了与和者")
"""Characters that a question puts where a statement has its answer, or that carry no meaning of their own."""
_FRAME = re.compile(
    r"下列|以下|下面|关于|说法|叙述|描述|表述|选项|哪一?[项个些种]|正确|错误|属于|符合|不|中|对|的|是|有|为|最|应|了|与|和|which|following|ofthe"
)


_ROWS = (".jsonl", ".json", ".csv", ".parquet", ".arrow", ".txt")


def training_files(datasets: Iterable[str], *, use_hf: bool = False) -> tuple[list[Path], str]:
    """Return the local files of *datasets*, and in words what is missing.

    What comes from a hub is looked for where ms-swift leaves it when it trains: in the cache of ModelScope, or of
    Hugging Face with *use_hf*; the newest version of each of its configurations counts. Nothing is fetched.

    Args:
        datasets: files, folders and hub ids as :func:`bakeoff.matrix.datasets.dataset_argument` gives them.
    """
    files: list[Path] = []
    lacking = []
    for dataset in datasets:
        path = Path(dataset)
        if not path.exists():  # [hf::]path[:subset][#rows]: all of its rows are looked at
            bare = Path(re.sub(r"#\d+$", "", dataset.rpartition("::")[2]))
            path = bare if bare.exists() else path
        local = _files_below(path) if path.exists() else files_in_cache(dataset, use_hf)
        if not local:
            lacking.append(
                NO_ROWS(path=path)
                if path.exists()
                else NOT_CACHED(dataset=dataset, folder=_cache(use_hf, os.environ))
            )
        files += local
    return files, joined(lacking) if files or lacking else NO_TRAINING_DATA()


def leaked_as(result: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, object]:
    """Return *result* with the leaked questions of *like*.

    Both are results of one suite with the same training data, as
    :class:`bakeoff.chain.evaluation.Evaluation` keeps them.
    """
    names = like["leaked_questions"]
    samples = [{**row, "leaked": row["sample_id"] in names} for row in result["samples"]]
    leaked = [row for row in samples if row["leaked"]]
    unseen = [row["correct"] for row in samples if not row["leaked"] and row["correct"] is not None]
    summary = {
        "suite": result["suite"],
        "expected": any(row["expected"] for row in like["leakage"]),
        "n_asked": len(samples),
        "n_leaked": len(leaked),
        "n_exact": sum(names[row["sample_id"]]["kind"] == "exact" for row in leaked),
        "value_without": sum(unseen) / len(unseen) if unseen else None,
    }
    return {**result, "samples": samples, "leakage": [summary] if leaked else [], "leakage_not_checked": ""}


def _files_below(path: Path) -> list[Path]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [
        file
        for file in files
        if file == path or (file.suffix in _ROWS and not file.name.startswith(("dataset_info", "cache-")))
    ]


def _cache(use_hf: bool, environ: Mapping[str, str]) -> Path:
    if use_hf:
        home = Path(environ.get("HF_HOME") or "~/.cache/huggingface")
        return Path(environ.get("HF_DATASETS_CACHE") or home / "datasets").expanduser()
    return Path(environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope/hub").expanduser() / "datasets"


def files_in_cache(dataset: str, use_hf: bool, environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the cached files of a hub's dataset.

    Args:
        dataset: ``[HF::]owner/name[:subset][#rows]``, as a training loaded it.
        use_hf: whether it comes from Hugging Face where it does not say so.
        environ: where the cache is looked for.
    """
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
            for info in sorted(folder.rglob("dataset_info.json"), key=lambda path: path.stat().st_mtime):
                configuration = re.sub(r"-[0-9a-f]{16}$", "", info.parents[2].name)
                builds[configuration] = info.parent
    return [file for folder in builds.values() for file in _files_below(folder)]


def training_dialogues(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Yield every row of the training files as one text, in any schema.

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


def _rows(path: Path) -> Iterator[object]:
    if path.suffix in (".arrow", ".parquet"):
        yield from _columns(path)
        return
    if not path.exists():
        raise DataError(f"{path}: no such training file")
    text, _ = unpacked_text(path)
    if path.suffix == ".txt":
        yield from (line for _, line in numbered_lines(text))
    elif path.suffix == ".csv":
        yield from csv.DictReader(io.StringIO(text))
    else:
        yield from _json_rows(text)


_SOLID = re.compile(r"[^ \t\r\n]")


def _json_rows(text: str) -> Iterator[object]:
    """Yield the rows of a list, of one object, or of an object a line."""
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        place, number, decoder = 0, 1, json.JSONDecoder()
        while found := _SOLID.search(
            text, place
        ):  # objects may be spread over lines, or follow one another in one
            begin = found.start()
            number += text.count("\n", place, begin)
            try:
                row, place = decoder.raw_decode(text, begin)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number}: {error}") from None
            number += text.count("\n", begin, place)
            yield row
        return
    yield from loaded if isinstance(loaded, list) else [loaded]


def _columns(path: Path) -> Iterator[object]:
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


def _texts(value: object) -> Iterator[str]:
    """Yield all texts of a row; ids and roles are not texts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if len(name) == 1 and "A" <= name <= "J" and not isinstance(item, dict | list):
                yield f"{name}. {item}"
            elif name in ("choices", "options") and isinstance(item, list):
                yield from (f"{letter}. {text}" for letter, text in zip("ABCDEFGHIJ", item, strict=False))
            elif name not in _NAMES:
                yield from _texts(item)
