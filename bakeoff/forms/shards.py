"""Read and write the shards of a model folder, a tensor at a time."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.forms import reasons
from bakeoff.foundation.errors import DataError
from bakeoff.foundation.files import replacing

if TYPE_CHECKING:
    import torch

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLE = ("model.safetensors", "pytorch_model.bin")


def weight_files(folder: Path) -> tuple[str, ...]:
    """Return the names of the weight files in *folder*.

    In the order of their index.

    Raises:
        DataError: there are none, or the index names a missing file or one outside the folder.
    """
    for name in INDEXES:
        if (folder / name).is_file():
            return tuple(dict.fromkeys(_indexed(folder / name).values()))
    for name in SINGLE:
        if (folder / name).is_file():
            return (name,)
    raise DataError(reasons.NO_WEIGHTS(folder=folder, names=(*INDEXES, *SINGLE)))


def _indexed(index: Path) -> dict[str, str]:
    """Return the file of each tensor, as *index* says."""
    try:
        files = {
            str(k): str(v) for k, v in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(reasons.NO_INDEX(file=index)) from None
    for file in set(files.values()):
        if Path(file).name != file or not (index.parent / file).is_file():
            raise DataError(reasons.NOT_IN_FOLDER(file=index, name=file))
    return files


class Shards:
    """The tensors of a model folder by name.

    One file is open at a time. ``.bin`` files are read with ``weights_only=True`` and mapped, so no code in them runs
    and only the pages of the tensors in use are in memory.

    Raises:
        DataError: the folder has no weights, an index that names a missing file, or names outside the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file_of = self._index()
        self.files = tuple(dict.fromkeys(self.file_of.values()))
        self._open: tuple[str, Callable[[str], torch.Tensor]] | None = None

    def __iter__(self) -> Iterator[str]:
        return iter(self.file_of)

    def __len__(self) -> int:
        return len(self.file_of)

    def read(self, name: str) -> torch.Tensor:
        """Return the tensor *name*."""
        file = self.file_of[name]
        if self._open is None or self._open[0] != file:
            self._open = (file, _reader(self.folder / file))
        return self._open[1](name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the tensor *name*."""
        return tuple(self.read(name).shape)

    def _index(self) -> dict[str, str]:
        for name in INDEXES:
            if (self.folder / name).is_file():
                return _indexed(self.folder / name)
        (single,) = weight_files(self.folder)
        return dict.fromkeys(_names(self.folder / single), single)


def _names(file: Path) -> list[str]:
    if file.suffix == ".safetensors":
        with file.open("rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(size))
        return [name for name in header if name != "__metadata__"]
    return list(_load(file))


def _reader(file: Path) -> Callable[[str], torch.Tensor]:
    if file.suffix == ".safetensors":
        from safetensors import safe_open

        opened = safe_open(file, framework="pt")
        return lambda name: opened.get_tensor(name)  # type: ignore[no-untyped-call]
    tensors = _load(file)
    return lambda name: tensors[name]


def _load(file: Path) -> Mapping[str, torch.Tensor]:
    import pickle

    import torch

    try:
        tensors: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(reasons.NOT_TENSORS(file=file, reason=reason)) from None
    return tensors


_TYPES = {
    "int64": "I64",
    "float64": "F64",
    "float32": "F32",
    "int32": "I32",
    "bfloat16": "BF16",
    "float16": "F16",
    "int16": "I16",
    "uint8": "U8",
}
"""Names of number types in torch and in a safetensors header, the widest first, as the format aligns them."""
_CHUNK = 1 << 24
"""Bytes that are written and hashed at a time."""


def write_shard(tensors: Mapping[str, torch.Tensor], file: Path) -> str:
    """Write *tensors* into *file*, whole or not at all.

    Others can read it.

    The bytes are those that safetensors' own writer gives, which keeps a second copy of all tensors in memory and
    does not hash.

    Returns:
        The SHA-256 of the file, as hexadecimal digits.
    """
    import torch

    order = list(_TYPES)
    types = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
    names = sorted(tensors, key=lambda name: (order.index(types[name]), name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name in names:
        end = begin + tensors[name].nbytes
        offsets = [begin, end]
        header[name] = {
            "dtype": _TYPES[types[name]],
            "shape": list(tensors[name].shape),
            "data_offsets": offsets,
        }
        begin = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with replacing(file) as draft, draft.open("wb") as stream:
        for piece in (struct.pack("<Q", len(text)), text):
            stream.write(piece)
            digest.update(piece)
        for name in names:
            content = memoryview(tensors[name].contiguous().view(-1).view(torch.uint8).numpy())
            for at in range(0, len(content), _CHUNK):
                stream.write(content[at : at + _CHUNK])
                digest.update(content[at : at + _CHUNK])
        stream.flush()
        draft.chmod(0o644)
    return digest.hexdigest()
