"""Refuses a model whose rotary positions are wrong, right after it is loaded.

Given to ms-swift by ``--external_plugins`` (``--custom_register_path`` before 3.5), in any environment. Reason:
remote-code models of the ChatGLM, InternLM2 and Baichuan kind load under transformers 5 with uninitialised memory in
their non-persistent rotary buffers, train, and answer nonsense, without an error.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

_FREQUENCIES = ("inv_freq",)
_TABLES = ("cos_cached", "sin_cached")
_PLAIN = (None, "default")


def rotary_problem(model: Any) -> str | None:
    """What is wrong with the rotary positions of *model*, in words; None where nothing is.

    Every ``inv_freq`` must be finite and equal ``base ** (-2 i / d)`` (Su et al., RoFormer, arXiv 2104.09864,
    section 3.2.2), d = 2 * its length; every table of cosines or sines must hold such. Under a scaled rope (llama3,
    yarn …) the frequencies are only required to be finite and within (0, 1], falling.
    """
    import torch

    config = getattr(model, "config", None)
    for place, owner, name, tensor in _tensors(model):
        if tensor.device.type == "meta":
            return f"{place}: has no values (meta device)"
        value = tensor.detach().to("cpu", torch.float64)
        if not bool(torch.isfinite(value).all()):
            return f"{place}: holds values that are not finite"
        precise = tensor.dtype in (torch.float32, torch.float64)
        tolerance = 1e-3 if precise else 2e-2
        if name in _FREQUENCIES:
            problem = _frequency_problem(value, _bases(owner, config), _scaled(owner, config), tolerance)
        else:
            problem = _table_problem(value, name)
        if problem:
            return f"{place}: {problem}"
    return None


def _tensors(model: Any) -> Iterator[tuple[str, Any, str, Any]]:
    import torch

    for prefix, module in model.named_modules():
        for name in (*_FREQUENCIES, *_TABLES):
            # plain attributes too: Baichuan2 keeps its tables outside the buffers
            tensor = module._buffers.get(name, module.__dict__.get(name))
            if isinstance(tensor, torch.Tensor) and tensor.numel():
                yield (f"{prefix}.{name}" if prefix else name), module, name, tensor


def _rope(config: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("rope_scaling", "rope_parameters"):
        value = getattr(config, name, None)
        if isinstance(value, dict):
            found.update(value)
    return found


def _scaled(owner: Any, config: Any) -> bool:
    rope = _rope(config)
    kinds = (getattr(owner, "rope_type", None), rope.get("rope_type"), rope.get("type"))
    return any(kind not in _PLAIN for kind in kinds) or any(isinstance(v, dict) for v in rope.values())


def _bases(owner: Any, config: Any) -> list[float]:
    rope = _rope(config)
    given = [getattr(owner, "base", None), rope.get("rope_theta")]
    given += [getattr(config, name, None) for name in ("rope_theta", "rotary_emb_base")]
    ratio = getattr(config, "rope_ratio", None)
    bases = [float(one) for one in given if isinstance(one, int | float)]
    if isinstance(ratio, int | float):
        bases.append(10000.0 * ratio)
    return [*bases, 10000.0]


def _frequency_problem(value: Any, bases: list[float], scaled: bool, tolerance: float) -> str | None:
    import torch

    largest = float(value.abs().max())
    if scaled:
        falling = bool((value[1:] <= value[:-1] * (1 + tolerance)).all()) if value.ndim == 1 else True
        if float(value.min()) > 0 and largest <= 1 + tolerance and falling:
            return None
        return f"frequencies from {float(value.min()):.3g} to {largest:.3g}, not falling within (0, 1]"
    count = value.shape[-1]
    steps = torch.arange(count, dtype=torch.float64) / count
    for base in bases:
        if bool(torch.allclose(value, base**-steps, rtol=tolerance, atol=0)):
            return None
    wanted = ", ".join(f"{base:g}" for base in dict.fromkeys(bases))
    smallest = float(value.abs().min())
    return f"frequencies from {smallest:.3g} to {largest:.3g}, not 1 / base^(2i/d) for base {wanted}"


def _table_problem(value: Any, name: str) -> str | None:
    rows = value.reshape(-1, value.shape[-1])
    first = 1.0 if name.startswith("cos") else 0.0
    largest = float(rows.abs().max())
    if largest > 1.001:
        return f"holds {largest:.3g}, which no cosine or sine is"
    if float((rows[0] - first).abs().max()) > 1e-2:
        return f"position 0 holds {float(rows[0].abs().max()):.3g} instead of {first:g}"
    if len(rows) > 1 and float((rows[1] - rows[0]).abs().max()) < 0.1:
        return "positions 0 and 1 are the same"
    return None


def check_loaded_models() -> None:
    """From now on every model that transformers loads is checked; a wrong one raises RuntimeError."""
    from transformers import PreTrainedModel, __version__

    original = PreTrainedModel.from_pretrained.__func__
    if getattr(original, "checks_rotary", False):
        return

    @functools.wraps(original)
    def from_pretrained(cls: Any, *args: Any, **kwargs: Any) -> Any:
        loaded = original(cls, *args, **kwargs)
        problem = rotary_problem(loaded[0] if isinstance(loaded, tuple) else loaded)
        if problem:
            raise RuntimeError(
                f"{cls.__name__}: wrong rotary positions under transformers {__version__}: {problem}. Training and "
                "answers would be worthless. Name an environment with an older transformers for this row "
                "(docs/environments.md has pins that work)."
            )
        return loaded

    from_pretrained.checks_rotary = True  # type: ignore[attr-defined]
    PreTrainedModel.from_pretrained = classmethod(from_pretrained)


if __name__ != "bakeoff.plugins.rotary_check":  # ms-swift 4.6 names it by a hash
    check_loaded_models()
