"""What is asked of a hub, and where its cache keeps it.

Nothing here opens a connection.

:mod:`bakeoff.tools.hub_client` is the program that does: it imports the hubs' own libraries, in a process of its own.
"""

from __future__ import annotations

import glob
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, TypedDict

from bakeoff.foundation.command import Command
from bakeoff.foundation.provenance import digest
from bakeoff.foundation.sentences import Template
from bakeoff.matrix.datasets import dataset_name, is_local_model
from bakeoff.matrix.schema import ModelSpec

FOLDER_GONE = Template(
    "tools.hubs.folder_gone", "its folder is gone", zh="文件夹已不存在", en="Its folder is missing"
)
GONE_FROM_CACHE = Template(
    "tools.hubs.gone_from_cache",
    "{name} is gone from the hub's cache",
    zh="模型站缓存中已没有 {name}",
    en="{name} is missing from the hub's cache",
)

Hub = Literal["huggingface", "modelscope"]
Kind = Literal["model", "dataset"]
TITLES: Mapping[Hub, str] = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
TOKENS: Mapping[Hub, str] = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}
"""The variable from which each hub's library takes its token."""
MAIN: Mapping[Hub, str] = {"huggingface": "main", "modelscope": "master"}
"""What a repository's first branch is called."""
OFFLINE: Mapping[Hub, tuple[str, ...]] = {
    "huggingface": ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"),
    "modelscope": ("MODELSCOPE_OFFLINE", "HF_HUB_OFFLINE"),
}
"""Variables that forbid to ask the hub."""
NOT_FETCHED: Mapping[Kind, tuple[str, ...]] = {
    "model": (
        "*.zip", "*.gguf", "*.pth", "*.pt", "consolidated*", "onnx/*", "*.safetensors.md", "*.msgpack", "*.onnx",
        "*.ot", "*.h5", "original/*.safetensors", "metal/*",
    ),
    "dataset": (),
}  # fmt: skip
"""Files that ms-swift leaves at the hub: the same weights for other programs."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TRUE = {"1", "true", "yes", "on", "y", "t"}


@dataclass(frozen=True)
class Source:
    """A repository of a hub, as a row asks for it."""

    hub: Hub
    kind: Kind
    id: str
    revision: str = ""
    """Branch, tag or commit; empty for the main branch."""

    @property
    def branch(self) -> str:
        """The revision in the hub's words."""
        if self.hub == "modelscope" and self.revision == "main":  # as ms-swift takes it
            return MAIN[self.hub]
        return self.revision or MAIN[self.hub]

    @property
    def name(self) -> str:
        """The last part of the id."""
        return self.id.rpartition("/")[2]

    def __str__(self) -> str:
        """The repository in words."""
        return f"{self.id}@{self.branch} of {TITLES[self.hub]}"

    @property
    def key(self) -> str:
        """What tells this source apart from others, as one word."""
        return f"{self.hub}:{self.kind}:{self.id}@{self.branch}"


class Answer(TypedDict, total=False):
    """What the client of the hubs writes into ``--out``.

    Sizes are in bytes, ``lacking`` is what a cache has not got, ``sha256`` is by file. A refusal has ``error``, a word,
    and ``message``, a sentence, alone.
    """

    commit: str
    size: int
    lacking: int
    files: int
    folder: str
    sha256: dict[str, str]
    error: str
    message: str


@dataclass(frozen=True)
class Cached:
    """A snapshot that a hub's cache on this machine has."""

    folder: Path
    commit: str


def is_commit(revision: str) -> bool:
    """Whether *revision* is a whole commit, which never moves."""
    return bool(_COMMIT.fullmatch(revision))


def hub_of(use_hf: bool, environ: Mapping[str, str]) -> Hub:
    """Return the hub that ms-swift asks.

    Hugging Face by its flag, or where USE_HF is set.
    """
    return "huggingface" if use_hf or is_true(environ.get("USE_HF")) else "modelscope"


def model_source(spec: ModelSpec, environ: Mapping[str, str]) -> Source | None:
    """Return the repository of a row's base; None for a local one."""
    if not spec.model or spec.tiny or is_local_model(spec.model):
        return None
    return Source(hub_of(spec.use_hf, environ), "model", spec.model, spec.revision or "")


def dataset_source(dataset: str, use_hf: bool, environ: Mapping[str, str]) -> Source | None:
    """The repository of a data set; None for one that lies here."""
    name = dataset_name(dataset)
    if name.is_local:
        return None
    prefixes: Mapping[str, Hub] = {"hf": "huggingface", "ms": "modelscope"}
    hub = prefixes.get(name.hub.lower()) or hub_of(use_hf, environ)
    return Source(hub, "dataset", name.place, name.revision)


def offline(hub: Hub, environ: Mapping[str, str]) -> str:
    """Return the variables that forbid to ask *hub*, empty for none."""
    return " and ".join(name for name in OFFLINE[hub] if is_true(environ.get(name)))


def is_true(value: str | None) -> bool:
    """Whether an environment variable says yes, as hubs' libraries read it."""
    return (value or "").strip().lower() in _TRUE


def is_fetched(kind: Kind, path: str) -> bool:
    """Whether the file *path* of a repository is fetched at all."""
    return not any(fnmatch(path, pattern) for pattern in NOT_FETCHED[kind])


def resolving(source: Source, out: Path) -> Command:
    """Return the line that asks the hub for the commit of *source*.

    The answer is written into the file *out*.
    """
    return Command((*_client("resolve", source), "--out", str(out)))


def fetching(source: Source, commit: str, folder: Path, out: Path | None = None) -> Command:
    """Return the line that fetches a *commit* into the hub's cache.

    It fills *folder* with links to the files.

    Args:
        source: the repository.
        commit: what to fetch, wherever the branch is by now.
        folder: the folder to fill.
        out: receives what was fetched as JSON; None: the line is for a person.
    """
    into = ("--out", str(out)) if out else ()
    return Command((*_client("download", source), "--commit", commit, "--link", str(folder), *into))


def _client(verb: str, source: Source) -> tuple[str, ...]:
    argv = (sys.executable, "-m", "bakeoff.tools.hub_client", verb, source.hub, source.kind, source.id)
    return (*argv, "--revision", source.branch)


# -- the caches ----------------------------------------------------------------------------------------------------


def repository_folder(source: Source, environ: Mapping[str, str]) -> Path:
    """Where the hub's library keeps what it fetched of *source*."""
    home = Path(environ.get("HOME") or Path.home())
    caches = Path(environ.get("XDG_CACHE_HOME") or home / ".cache").expanduser()
    if source.hub == "huggingface":
        chosen = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
        root = Path(chosen or Path(environ.get("HF_HOME") or caches / "huggingface") / "hub").expanduser()
        return root / f"{source.kind}s--{source.id.replace('/', '--')}"
    root = Path(environ.get("MODELSCOPE_CACHE") or home / ".cache" / "modelscope").expanduser()
    return root / f"{source.kind}s" / source.id.replace("/", "--")


def snapshot_folder(source: Source, commit: str, environ: Mapping[str, str]) -> Path:
    """Where the files of one *commit* lie, once they are fetched."""
    return repository_folder(source, environ) / "snapshots" / commit


def older_folders(source: Source, environ: Mapping[str, str]) -> list[Path]:
    """Return where ModelScope's library may have kept files before.

    Under a branch's name, or without any.
    """
    if source.hub != "modelscope":
        return []
    repository = repository_folder(source, environ)
    owner, _, name = source.id.partition("/")
    old_name = Path(owner) / name.replace(".", "___")
    kinds = repository.parent
    places = [*sorted((repository / "snapshots").glob("*")), kinds / old_name]
    places.append(kinds.parent / "hub" / kinds.name / old_name)
    return [place for place in places if place.is_dir()]


def find_cached(source: Source, environ: Mapping[str, str], noted: str = "") -> Cached | None:
    """Return the whole snapshot of *source* in this machine's cache.

    Nobody is asked.

    Args:
        source: the repository.
        environ: the environment variables that say where the caches are.
        noted: the commit that its branch was at when a run asked last.
    """
    repository = repository_folder(source, environ)
    snapshots = repository / "snapshots"
    ref = repository / "refs" / source.branch
    commits = [source.branch if is_commit(source.branch) else ""]
    if not commits[0]:
        if source.hub == "huggingface" and ref.is_file():
            commits.append(ref.read_text(encoding="utf-8", errors="replace").strip())
        commits.append(noted)
    for commit in filter(None, commits):
        if not why_incomplete(snapshots / commit, source, commit):
            return Cached(snapshots / commit, commit)
    if source.hub == "huggingface" or commits[0]:
        return None
    named = snapshots / source.branch
    unnamed = [folder for folder in older_folders(source, environ) if folder.parent != snapshots]
    for folder in [named, *(unnamed if not source.revision or source.branch == MAIN[source.hub] else [])]:
        if not why_incomplete(folder, source, ""):
            return Cached(folder, "")
    return None


def why_incomplete(folder: Path, source: Source, commit: str) -> str:
    """Return what the snapshot in *folder* lacks, in words.

    Empty where nothing is known to be missing.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return f"there is no {folder}"
    listed = _listed(folder, source, commit)
    for name in listed:
        if not (folder / name).exists():
            return f"{name} is missing in {folder}"
    if cut := next(folder.rglob("*.incomplete"), None):
        return f"{cut.name} was cut short in {folder}"
    if source.kind == "model" and not (folder / "config.json").exists():
        return f"config.json is missing in {folder}"
    return ""


def _listed(folder: Path, source: Source, commit: str) -> Iterable[str]:
    """Yield the files that a snapshot must have.

    By the list in the cache, or by the index of its weights.
    """
    with_list = folder.parent.parent / "trees" / f"{commit}.json"
    for path, key in (
        (with_list, "files"),
        *((index, "weight_map") for index in folder.glob("*.index.json")),
    ):
        try:
            read = json.loads(path.read_text(encoding="utf-8"))[key]
            names = read if key == "files" else read.values()
            yield from (name for name in names if is_fetched(source.kind, str(name)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue


def texts_in(path: Path | None, key: str = "") -> dict[str, str]:
    """Return the texts by name that a JSON file holds.

    Below *key* where one is given; nothing where it cannot be read.
    """
    if path is None:
        return {}
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        texts = read[key] if key else read
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {str(name): str(value) for name, value in texts.items()} if isinstance(texts, dict) else {}


def notes_file(cache: Path) -> Path:
    """Return where the store notes where each branch was.

    When a run asked last; *cache* is a folder of the store.
    """
    return cache / "hubs.json"


# -- what the store keeps of a snapshot ----------------------------------------------------------------------------


def recipe(source: Source, commit: str) -> dict[str, str]:
    """Return what names the store's folder of a snapshot.

    Not the branch, which may move.
    """
    return {"hub": source.hub, "kind": source.kind, "id": source.id, "commit": commit}


def store_folder(root: Path, source: Source, commit: str) -> Path:
    """The store's folder of a snapshot, below *root*."""
    return root / f"{_word(source)}-{digest(recipe(source, commit))[:10]}"


def store_folders(root: Path, source: Source) -> Iterator[Path]:
    """Yield the store's folders of all snapshots of *source*, below *root*."""
    return root.glob(f"{glob.escape(_word(source))}-{'[0-9a-f]' * 10}")


def _word(source: Source) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "--", source.id)


def link_snapshot(snapshot: Path, output: Path, *, code: bool = True) -> int:
    """Fill *output* with links to the files of *snapshot*.

    Returns how many there are.

    ms-swift renames and writes files in the folder that it is given; those of the cache stay as they are.

    Args:
        snapshot: the folder in the hub's cache.
        output: the folder to make.
        code: whether Python files are linked, too.
    """
    count = 0
    for path in sorted(_files(snapshot)):
        relative = path.relative_to(snapshot)
        if path.suffix == ".py" and not code:
            continue
        target = output / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(path.absolute())
        count += 1
    return count


def _files(snapshot: Path) -> Iterator[Path]:
    """Yield the files of a snapshot, without its library's own."""
    bookkeeping = {".msc", ".mdl", ".mv", ".lock", "._____temp", ".cache"}
    for path in snapshot.rglob("*"):
        parts = path.relative_to(snapshot).parts
        if (
            path.is_file()
            and not bookkeeping & set(parts)
            and not path.name.endswith((".incomplete", ".lock"))
        ):
            yield path


def hashes_by_name(snapshot: Path) -> dict[str, str]:
    """Return the SHA-256 of the large files of *snapshot*.

    The cache of Hugging Face names them after it.
    """
    names = {path: path.resolve().name for path in _files(snapshot) if path.is_symlink()}
    return {
        str(p.relative_to(snapshot)): name for p, name in names.items() if re.fullmatch("[0-9a-f]{64}", name)
    }


def why_links_broken(output: Path) -> str:
    """Return why the links in *output* cannot be used, or nothing."""
    if not output.is_dir():
        return FOLDER_GONE()
    for path in output.rglob("*"):
        if path.is_symlink() and not path.exists():
            return GONE_FROM_CACHE(name=path.relative_to(output))
    return ""


def gib(size_bytes: float) -> str:
    """A size as people read it."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes:.0f} bytes"
