"""Weights compared tensor by tensor: a merge, and a model with its base."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bakeoff.probes.loading import local_folder
from bakeoff.probes.measured import MergeFacts

_LORA = re.compile(r"^(?:base_model\.model\.)?(.+)\.lora_(A|B)(?:\.[^.]+)?\.weight$")


def merge(base: str, adapter: str, merged: str) -> MergeFacts:
    """How far *merged* is from base + scale * B A, tensor by tensor.

    Tensors are read one by one, so the memory needed is that of the largest. A difference counts in units of what one
    rounding of the merged dtype may cost: ``|merged - expected| / (eps * (|base| + scale |B| |A| + |expected|))``.

    Returns:
        ``modules`` adapted and compared; ``worst`` and ``worst_module``; ``applied``, the projection of what the merge
        changed on what the adapter asks for (1: all of it, 0: none); ``delta``, the largest change that the adapter
        asks for; ``others`` compared and ``others_changed``; ``unknown``, tensors without a counterpart; ``dtype``;
        ``not_finite``, modules with a NaN or an infinity in base, adapter or merge.
    """
    comparison = _Comparison(Path(adapter), Path(local_folder(base)), Path(merged))
    for name in comparison.before:
        if name in comparison.after:
            comparison.take(name)
    return comparison.facts()


class _Comparison:
    """A merge, its base and its adapter, looked at one tensor after another."""

    def __init__(self, adapter: Path, base: Path, merged: Path) -> None:
        import torch

        self.config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        self.adapter, self.before, self.after = Tensors(adapter), Tensors(base), Tensors(merged)
        self.lora: dict[str, dict[str, str]] = {}
        for name in self.adapter:
            if match := _LORA.match(name):
                self.lora.setdefault(match[1], {})[match[2]] = name
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cpu" and len(self.lora) > 64:
            torch.set_num_threads(os.cpu_count() or 1)
        self.modules = self.others = 0
        self.worst = self.delta = self.along = self.square = 0.0
        self.worst_module = self.dtype = ""
        self.changed: list[str] = []
        self.not_finite: list[str] = []

    def take(self, name: str) -> None:
        """Compare the tensor *name*."""
        import torch

        old, new = self.before[name].to(self.device), self.after[name].to(self.device)
        self.dtype = str(new.dtype).removeprefix("torch.")
        module = name.removesuffix(".weight")
        if module in self.lora and name != module:
            self._take_adapted(module, old, new)
            return
        self.others += 1
        if old.shape != new.shape or not torch.equal(old.to(new.dtype), new):
            self.changed.append(name)

    def _take_adapted(self, module: str, old: Any, new: Any) -> None:
        import torch

        a, b = (self.adapter[self.lora[module][half]].to(self.device, torch.float32) for half in "AB")
        scale = _scale(self.config, module, a.shape[0])
        delta, bound = (b @ a) * scale, (b.abs() @ a.abs()) * abs(scale)
        if self.config.get("fan_in_fan_out"):
            delta, bound = delta.T, bound.T
        old32, new32 = old.to(new.dtype).to(torch.float32), new.to(torch.float32)
        expected = (old32 + delta).to(new.dtype).to(torch.float32)
        unit = torch.finfo(new.dtype).eps * (old32.abs() + bound + expected.abs()) + 1e-12
        worst = float(((new32 - expected).abs() / unit).max())
        self.along += float(((new32 - old32) * delta).sum())
        self.square += float((delta * delta).sum())
        self.modules += 1
        self.delta = max(self.delta, float(delta.abs().max()))
        if not all(bool(torch.isfinite(tensor).all()) for tensor in (new32, expected)):
            self.not_finite.append(module)
        elif worst > self.worst:
            self.worst, self.worst_module = worst, module

    def facts(self) -> MergeFacts:
        """What was seen; see :func:`merge`."""
        unknown = [
            name
            for name in self.lora
            if not all(f"{name}.weight" in side for side in (self.before, self.after))
        ]
        return {
            "modules": self.modules,
            "worst": self.worst,
            "worst_module": self.worst_module,
            "delta": self.delta,
            "others": self.others,
            "dtype": self.dtype,
            "applied": self.along / self.square if self.square else 0.0,
            "adapted": len(self.lora),
            "unknown": unknown[:5],
            "others_changed": self.changed[:5],
            "not_finite": self.not_finite[:5],
        }


def first_changed(base: str, merged: str) -> str:
    """The first tensor of *merged* that is not the base's; "" for none.

    Whatever the files are called.
    """
    import torch

    before, after = Tensors(Path(local_folder(base))), Tensors(Path(merged))
    for name in after:
        if name not in before:
            if _is_tied(after, name):
                continue
            return name
        old, new = before[name], after[name]
        if old.shape != new.shape or not torch.equal(old.to(new.dtype), new):
            return name
    return ""


def _is_tied(tensors: Tensors, name: str) -> bool:
    """Whether *name* is a copy of the embedding that the model shares."""
    import torch

    tensor = tensors[name]
    return any(
        tensor.shape == tensors[other].shape and torch.equal(tensor, tensors[other])
        for other in tensors
        if other != name and re.search(r"embed_tokens|wte|word_embeddings|tok_embeddings|embed_in", other)
    )


def weight_files(folder: Path) -> list[Path]:
    """The weight files of *folder*, of the form that transformers prefers."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*model*.bin"))


class Tensors:
    """The tensors of a folder of weights, read when asked for."""

    def __init__(self, folder: Path) -> None:
        import torch
        from safetensors import safe_open

        self._read: dict[str, Callable[[str], Any]] = {}
        for path in weight_files(folder):
            if path.suffix == ".bin":
                tensors = torch.load(path, mmap=zipfile.is_zipfile(path), weights_only=True)
                self._read.update(dict.fromkeys(tensors, tensors.__getitem__))
            else:
                file = safe_open(str(path), framework="pt")
                self._read.update(dict.fromkeys(file.keys(), file.get_tensor))  # type: ignore[no-untyped-call]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __contains__(self, name: str) -> bool:
        return name in self._read

    def __getitem__(self, name: str) -> Any:
        return self._read[name](name)


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """alpha / r of *module*, or alpha / sqrt(r) for rsLoRA.

    (Kalajdzievski, arXiv 2312.03732.)
    """
    alpha = config["lora_alpha"]
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = value
    return float(alpha / rank**0.5 if config.get("use_rslora") else alpha / rank)
