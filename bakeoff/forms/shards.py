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
                files = dict(json.loads((self.folder / name).read_text(encoding="utf-8"))["weight_map"])
                for file in set(files.values()):
                    if Path(file).name != file or not (self.folder / file).is_file():
                        raise DataError(f"{self.folder / name}: names {file!r}, which is not in the folder")
                return files
        for name in SINGLE:
            if (self.folder / name).is_file():
                return dict.fromkeys(_names(self.folder / name), name)
        raise DataError(f"{self.folder}: no weights; expected one of {', '.join((*INDEXES, *SINGLE))}")


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
