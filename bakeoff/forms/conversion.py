"""Convert a published model once, whole or not at all.

The copy is keyed by the content of the original and by :data:`VERSION`. It is made in a draft folder beside the target,
shard by shard, so that a conversion that was cut short continues at the next shard; each shard is read back and held
against the original before it gets its name. The original is only read, and no code in it runs.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.forms import reasons, sentencepiece
from bakeoff.forms.cores import cores, on_all_cores, one_thread_each
from bakeoff.forms.families import FAMILIES
from bakeoff.forms.family import Family, Step, complaints
from bakeoff.forms.layouts import PACKED, layout
from bakeoff.forms.shards import Shards, weight_files, write_shard
from bakeoff.foundation.errors import DataError

if TYPE_CHECKING:
    import torch

VERSION = 1
"""Rises whenever the same original would give another copy."""
SHARD_BYTES = 500_000_000
"""A shard is closed once it holds this much."""
MEMORY_BYTES = 3_000_000_000
"""What the shards that are worked on at the same time may need together, the pages of the original included."""
RECORD = "conversion.json"
_LICENCES = ("*LICENSE*", "*License*", "*licence*", "NOTICE*", "USAGE_POLICY*", "README.md", "*.pdf")

Json = Mapping[str, object]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Original:
    """A published folder that has a native form, looked at and found convertible."""

    folder: Path
    family: Family
    config: Json
    steps: tuple[Step, ...]
    shards: Shards


def family_of(folder: Path) -> Family | None:
    """Return the family of *folder* if its native form differs.

    None otherwise.

    Raises:
        DataError: ``config.json`` cannot be read.
    """
    config = _config(folder)
    family = next((each for each in FAMILIES if each.model_type == config.get("model_type")), None)
    if family and family.copies_config and "quantization_config" not in config:
        return None  # dequantised already
    return family


def examine(folder: Path) -> Original | None:
    """Return what there is to convert in *folder*.

    None where the published form is the native one.

    Raises:
        DataError: it is of a known family, but not of the kind that the conversion was proven for.
    """
    family = family_of(folder)
    if family is None:
        return None
    config = _config(folder)
    problems = complaints(family, config)
    quantised = config.get("quantization_config")
    if family.copies_config and isinstance(quantised, Mapping) and quantised.get("quant_method") != "mxfp4":
        problems.append(reasons.QUANTISED(kind=repr(quantised.get("quant_method"))))
    if problems:
        raise DataError(reasons.OTHER_FAMILY(folder=folder, family=family.name, problems=problems))
    steps, shards = tuple(family.steps(config)), Shards(folder)
    expected = {name for step in steps for name in step.sources}
    missing = sorted(expected.difference(shards))
    surplus = sorted(name for name in shards if name not in expected and not family.unused(name))
    problems = [reasons.NO_TENSOR(name=name) for name in missing[:5]]
    problems += [reasons.FOREIGN_TENSOR(name=name, family=family.name) for name in surplus[:5]]
    if family.specials and not (folder / "tokenizer.model").is_file():
        problems.append(reasons.NO_TOKENIZER())
    if problems:
        count = len(missing) + len(surplus)
        raise DataError(reasons.OTHER_TENSORS(folder=folder, number=count, problems=problems))
    return Original(folder, family, config, steps, shards)


def contents(folder: Path, digest: Callable[[Path], str]) -> dict[str, str]:
    """Return the digest of each file that decides what the copy is.

    Raises:
        DataError: the folder has no weights.
    """
    names = (
        "config.json",
        "tokenizer.model",
        "tokenizer.json",
        "tokenizer_config.json",
        *weight_files(folder),
    )
    return {name: digest(folder / name) for name in names if (folder / name).is_file()}


def key_of(original: Original, digest: Callable[[Path], str]) -> str:
    """Return the identity of the copy.

    The content of the original and the version of the conversion.

    Args:
        original: what is converted.
        digest: content hash of a file, for instance a cached one.
    """
    return _key(_inputs(original, digest))


def convert(
    source: Path,
    target: Path,
    *,
    digest: Callable[[Path], str] | None = None,
    progress: Progress = lambda message: None,
    prove: Callable[[Path, Path], Json] = lambda source, native: {},
) -> Path:
    """Return *target* with the native form, made unless it is there.

    Args:
        source: the published folder.
        target: the folder to make.
        digest: content hash of a file, for instance a cached one.
        progress: told in words how far it is.
        prove: computes with the copy (:func:`bakeoff.forms.proof.prove`); what it returns is recorded.

    Raises:
        DataError: the original cannot be converted, the disk is too small, or what was written does not hold the same
            numbers; *target* does not exist then, and another call continues after the last whole shard.
    """
    original = examine(source)
    if original is None:
        raise DataError(reasons.NATIVE_ALREADY(folder=source))
    inputs = _inputs(original, digest) if digest else _hashed(original)
    key = _key(inputs)
    if _record(target).get("key") == key:
        return target
    if target.exists():
        raise DataError(reasons.OTHER_CONVERSION(folder=target))
    draft = _draft(target, key)
    _see_room(original, draft)
    digests = _convert_tensors(original, draft, progress)
    _write_json(draft / "model.safetensors.index.json", _index(draft, digests))
    warnings = _write_tokenizer(original, draft, inputs)
    ends = _ends(original, draft)
    _write_json(draft / "config.json", {**original.family.config(original.config), **ends})
    if original.family.generation:
        _write_json(draft / "generation_config.json", {**original.family.generation, **ends})
    _copy_licences(source, draft)
    record = {
        "key": key,
        "version": VERSION,
        "family": original.family.name,
        "source": inputs,
        "target": {
            file.name: digests.get(file.name) or sha256(file)
            for file in sorted(draft.iterdir())
            if file.name != _KEY
        },
        "tensors": [[list(step.sources), list(step.targets)] for step in original.steps],
        "unused": [name for name in original.shards if original.family.unused(name)],
        "warnings": warnings,
        "proof": prove(source, draft),
    }
    _write_json(draft / RECORD, record)
    (draft / _KEY).unlink()
    draft.rename(target)  # a folder: nothing can be half of it
    return target


def _copy_licences(source: Path, draft: Path) -> None:
    for pattern in _LICENCES:
        for file in source.glob(pattern):
            shutil.copyfile(file, draft / file.name)


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content, as hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_KEY = "key.txt"
_UNPROVEN = "unproven-"
"""Begins the name of a shard that was not yet held against the original."""
_PIECE = 1 << 20
"""Numbers that are looked at at a time."""


def _draft(target: Path, key: str) -> Path:
    draft = target.with_name(f"{target.name}.partial")
    if draft.exists() and (not (draft / _KEY).is_file() or (draft / _KEY).read_text() != key):
        shutil.rmtree(draft)
    draft.mkdir(parents=True, exist_ok=True)
    (draft / _KEY).write_text(key)
    return draft


@dataclass(frozen=True)
class _Group:
    """The steps whose tensors become one shard."""

    file: str
    steps: tuple[Step, ...]
    cost: int
    """Bytes of memory while it is converted: what is read and what is written."""


def _groups(original: Original) -> Iterator[_Group]:
    """Yield the shards of the copy.

    Only the config decides, so that a second call continues the first.
    """
    shapes = dict(layout(original.config))
    steps: list[Step] = []
    number, size, cost = 1, 0, 0
    for step in original.steps:
        for name in step.sources:
            numbers = math.prod(shapes[name])
            packed = name.endswith(PACKED)
            cost += numbers if packed else 2 * numbers
            size += 4 * numbers if packed else 2 * numbers  # four bits become sixteen
        steps.append(step)
        if size >= SHARD_BYTES:
            yield _Group(f"model-{number:05d}.safetensors", tuple(steps), size + cost)
            steps, number, size, cost = [], number + 1, 0, 0
    if steps:
        yield _Group(f"model-{number:05d}.safetensors", tuple(steps), size + cost)


def _convert_tensors(original: Original, draft: Path, progress: Progress) -> dict[str, str]:
    """Write every shard that is missing; return digests by name.

    Each is held against the original.

    As many are worked on at a time as fit into :data:`MEMORY_BYTES`. They appear in their order.
    """
    for file in draft.glob(f"{_UNPROVEN}*"):
        file.unlink()
    digests: dict[str, str] = {}
    waiting: deque[tuple[_Group, Future[str]]] = deque()
    count = 0

    def finish() -> None:
        nonlocal count
        group, future = waiting.popleft()
        digests[group.file] = future.result()
        (draft / f"{_UNPROVEN}{group.file}").rename(draft / group.file)
        count += len(group.steps)
        progress(f"{original.family.name}: {count} of {len(original.steps)} tensors converted and checked")

    with one_thread_each(), ThreadPoolExecutor(cores()) as pool:
        try:
            for group in _groups(original):
                if (draft / group.file).is_file():
                    digests[group.file] = sha256(draft / group.file)
                    count += len(group.steps)
                    continue
                while waiting and group.cost + sum(each.cost for each, _ in waiting) > MEMORY_BYTES:
                    finish()
                file = draft / f"{_UNPROVEN}{group.file}"
                waiting.append((group, pool.submit(_convert_group, original, group.steps, file)))
            while waiting:
                finish()
        finally:
            pool.shutdown(cancel_futures=True)
    return digests


def _convert_group(original: Original, steps: Sequence[Step], file: Path) -> str:
    """Write one shard, hold it against the original, return its digest."""
    shapes = dict(layout(original.config))
    source = Shards(original.folder)  # of its own: pages that were read leave the memory with it
    shard: dict[str, torch.Tensor] = {}
    for step in steps:
        sources = [source.read(name) for name in step.sources]
        for name, tensor in zip(step.sources, sources, strict=True):
            if tuple(tensor.shape) != shapes[name]:
                shape = " x ".join(map(str, tensor.shape))
                expected = " x ".join(map(str, shapes[name]))
                raise DataError(f"{original.folder}: {name} is {shape}, and config.json asks for {expected}")
        shard.update(zip(step.targets, step.convert(*sources), strict=True))
    digest = write_shard(shard, file)
    shard.clear()
    _prove(original.folder, source, steps, file)
    return digest


def _prove(folder: Path, source: Shards, steps: Iterable[Step], file: Path) -> None:
    """Hold a written shard against the original."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as written:
        for step in steps:
            sources = [source.read(name) for name in step.sources]
            targets = [written.get_tensor(name) for name in step.targets]
            finite = all(map(_is_finite, targets))
            if finite and step.proves(*sources, *targets):
                continue
            file.unlink()
            what = "does not hold the numbers of the original" if finite else "holds NaN or infinity"
            raise DataError(f"{folder}: {', '.join(step.targets)} {what}; download it again")


def _is_finite(tensor: torch.Tensor) -> bool:
    """Return whether no number is NaN or infinity.

    A finite sum says so faster than a look at each.
    """
    return all(
        bool(piece.float().sum().isfinite()) or bool(piece.isfinite().all())
        for piece in tensor.flatten().split(_PIECE)
    )


def _inputs(original: Original, digest: Callable[[Path], str]) -> dict[str, str]:
    return contents(original.folder, digest)


def _hashed(original: Original) -> dict[str, str]:
    names = list(contents(original.folder, str))
    digests = on_all_cores(lambda name: sha256(original.folder / name), names)
    return dict(zip(names, digests, strict=True))


def _key(inputs: Mapping[str, str]) -> str:
    content = json.dumps({"version": VERSION, "files": dict(inputs)}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _see_room(original: Original, draft: Path) -> None:
    growth = 4 if original.family.copies_config else 1  # four bits become sixteen
    files = [original.folder / name for name in original.shards.files]
    need = growth * sum(file.stat().st_size for file in files)
    need -= sum(file.stat().st_size for file in draft.iterdir())
    free = shutil.disk_usage(draft).free
    if free < need:
        raise DataError(
            f"{draft}: the conversion needs {need / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; free some space"
        )


def _write_tokenizer(original: Original, draft: Path, inputs: Mapping[str, str]) -> list[str]:
    """Write the tokenizer; return warnings."""
    specials = original.family.specials
    if specials is None:
        for name in (
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "chat_template.jinja",
        ):
            if (original.folder / name).is_file():
                shutil.copyfile(original.folder / name, draft / name)
        return []
    vocabulary = sentencepiece.read_vocabulary(original.folder / "tokenizer.model")
    size = len(vocabulary.pieces)
    # A small model of the same kind has a smaller vocabulary: its code's tokens follow its own pieces.
    fitting = sentencepiece.fit(specials, size)
    _write_json(draft / "tokenizer.json", sentencepiece.tokenizer_json(vocabulary, fitting))
    _write_json(
        draft / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": fitting.bos,
            "eos_token": fitting.eos,
            "pad_token": fitting.pad,
            "unk_token": fitting.unk,
            "clean_up_tokenization_spaces": False,
            "model_max_length": _native_length(original),
        },
    )
    if inputs["tokenizer.model"] == original.family.release_tokenizer:
        return []
    return [f"tokenizer.model is not that of the {original.family.name} release: {inputs['tokenizer.model']}"]


def _ends(original: Original, draft: Path) -> dict[str, object]:
    """Return the ids at which a reply ends, as both configs say."""
    if not original.family.ends:
        return {}
    vocabulary = json.loads((draft / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return {"eos_token_id": [2, *(vocabulary[name] for name in original.family.ends if name in vocabulary)]}


def _native_length(original: Original) -> object:
    return original.family.config(original.config)["max_position_embeddings"]


def _index(draft: Path, shards: Iterable[str]) -> dict[str, object]:
    weight_map = {name: file for file in shards for name in _header(draft / file)}
    size = sum((draft / file).stat().st_size for file in set(weight_map.values()))
    return {"metadata": {"total_size": size}, "weight_map": weight_map}


def _header(file: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())


def _config(folder: Path) -> Json:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(reasons.CONFIG_UNREADABLE(file=folder / "config.json", error=error)) from None
    if not isinstance(config, dict):
        raise DataError(reasons.CONFIG_NO_MAPPING(file=folder / "config.json"))
    return config


def _record(target: Path) -> Json:
    try:
        record = json.loads((target / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_json(file: Path, content: Mapping[str, object]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
