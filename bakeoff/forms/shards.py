"""Read and write the shards of a model folder, a tensor at a time."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.errors import DataError
from bakeoff.files import replacing

if TYPE_CHECKING:
    import torch

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLE = ("model.safetensors", "pytorch_model.bin")


def weight_files(folder: Path) -> tuple[str, ...]:
    """Return the names of the files that hold the weights in *folder*, in the order of their index.

    Raises:
        DataError: there are none, or the index names a missing file or one outside the folder.
    """
    for name in INDEXES:
        if (folder / name).is_file():
            return tuple(dict.fromkeys(_indexed(folder / name).values()))
    for name in SINGLE:
        if (folder / name).is_file():
            return (name,)
    raise DataError(f"{folder}: no weights; expected one of {', '.join((*INDEXES, *SINGLE))}")


def _indexed(index: Path) -> dict[str, str]:
    """Return the file of each tensor, as *index* says."""
    try:
        files = {
            str(k): str(v) for k, v in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{index}: not an index of weights; download it again") from None
    for file in set(files.values()):
        if Path(file).name != file or not (index.parent / file).is_file():
            raise DataError(f"{index}: names {file!r}, which is not in the folder")
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
        raise DataError(f"{file}: not a file of tensors alone ({reason}); nothing in it was run") from None
    return tensors


def write_shard(tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    """Write *tensors* into *file*, which appears whole or not at all and can be read by others."""
    from safetensors.torch import save_file

    with replacing(file) as draft:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()}, draft, metadata={"format": "pt"}
        )
        draft.chmod(0o644)
