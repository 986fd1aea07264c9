"""Ceilings and kernels, one by one: what the card can do for the shapes of a 7B model, and what ours take.

python bench/gpu/kernels.py --out OUT
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bakeoff.plugins import fused_lora, packed_rows

ROWS, WIDTH, WIDE, RANK = 8192, 3584, 18944, 8
LENGTHS = [1450, 1820, 990, 1300, 1632, 1000]
"""Dialogues of one packed row."""


def seconds(run: Callable[[], Any]) -> float:
    """Median time of *run* on the device."""
    from triton.testing import do_bench

    return float(do_bench(run, warmup=20, rep=80, return_mode="median")) / 1e3


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def products() -> dict[str, float]:
    """TFLOP/s of the matrix products of a decoder layer and of the output layer, forward and for the input."""
    found = {}
    for name, (into, out) in {
        "q, o": (WIDTH, WIDTH),
        "k, v": (WIDTH, 512),
        "gate, up": (WIDTH, WIDE),
        "down": (WIDE, WIDTH),
        "head 1024 rows": (WIDTH, 152064),
        "head 128 rows": (WIDTH, 152064),
    }.items():
        rows = int(name.split()[1]) if name.startswith("head") else ROWS
        x, weight, up = random(rows, into), random(out, into), random(rows, out)
        work = 2 * rows * into * out / 1e12
        found[f"{name} forward"] = work / seconds(partial(torch.nn.functional.linear, x, weight))
        found[f"{name} input gradient"] = work / seconds(partial(torch.mm, up, weight))
    return found


def low_rank() -> dict[str, dict[str, float]]:
    """Milliseconds and share of 4.3 TB/s of the LoRA kernels, and of the same through cuBLAS."""
    shapes = ((WIDTH, WIDTH), (WIDTH, WIDE), (WIDE, WIDTH))
    return {name: value for into, out in shapes for name, value in _low_rank(into, out).items()}


def _low_rank(into: int, out: int) -> dict[str, dict[str, float]]:
    x, up, y, narrow = random(ROWS, into), random(ROWS, out), random(ROWS, out), random(ROWS, RANK)
    a = torch.randn(RANK, into, device="cuda") / into**0.5
    b = torch.randn(out, RANK, device="cuda")
    a16, b16 = a.bfloat16(), b.bfloat16()
    drop = {"seed": 1, "rate": 0.05}
    cases: dict[str, tuple[Callable[[], Any], float]] = {
        "project": (lambda: fused_lora.project(x, a), x.nbytes),
        "project dropout": (lambda: fused_lora.project(x, a, **drop), x.nbytes),
        "project cublas": (lambda: x @ a16.T, x.nbytes),
        "project back": (lambda: fused_lora.project(up, b.T), up.nbytes),
        "project back cublas": (lambda: up @ b16, up.nbytes),
        "add": (lambda: fused_lora.spread(narrow, factor=b.T, out=y, scale=4.0), 2 * y.nbytes),
        "add cublas": (lambda: y.addmm_(narrow, b16.T), 2 * y.nbytes),
        "gradient b": (lambda: fused_lora.spread(narrow, wide=up), up.nbytes),
        "gradient b cublas": (lambda: up.T @ narrow, up.nbytes),
        "gradient x and a": (
            lambda: fused_lora.spread(narrow, factor=a, out=x, wide=x, **drop),
            3 * x.nbytes,
        ),
    }
    found = {}
    for name, (run, moved) in cases.items():
        took = seconds(run)
        found[f"{into}->{out} {name}"] = {"ms": took * 1e3, "of_bandwidth": moved / took / 4.3e12}
    return found


def sweep() -> dict[str, float]:
    """Milliseconds of the LoRA kernels for other tiles (rows, columns, warps)."""
    wide, narrow = random(ROWS, WIDE), random(ROWS, RANK)
    a = torch.randn(RANK, WIDE, device="cuda")
    drop = {"seed": 1, "rate": 0.05}
    cases: dict[str, Callable[[], Any]] = {
        "_PROJECT": lambda: fused_lora.project(wide, a, **drop),
        "_ADD": lambda: fused_lora.spread(narrow, factor=a, out=wide),
        "_GRADIENT": lambda: fused_lora.spread(narrow, factor=a, out=wide, wide=wide, **drop),
    }
    found = {}
    for name, run in cases.items():
        chosen = getattr(fused_lora, name)
        for tile in ((64, 128, 4), (32, 128, 4), (64, 64, 4), (32, 64, 4), (64, 128, 8)):
            setattr(fused_lora, name, tile)
            found[f"{name} {tile}"] = 1e3 * seconds(run)
        setattr(fused_lora, name, chosen)
    return found


def low_rank_errors() -> dict[str, float]:
    """Relative errors of the fused layer against float64, for a height that is no multiple of a tile."""
    found = {}
    for into, out, rate in ((WIDTH, 512, 0.05), (WIDTH, WIDE, 0.05), (WIDE, WIDTH, 0.0)):
        x, weight, bias, up = (
            random(1999, into),
            random(out, into) / into**0.5,
            random(out),
            random(1999, out),
        )
        a = (torch.randn(RANK, into, device="cuda") / into**0.5).requires_grad_()
        b = torch.randn(out, RANK, device="cuda").requires_grad_()
        x.requires_grad_()
        y = fused_lora.LoraLinear.apply(x, weight, bias, a, b, 4.0, rate, 1234)
        y.backward(up)
        got = [y, x.grad, a.grad, b.grad]
        kept = fused_lora.keep_mask(1999, into, 1234, rate, "cuda").double() / (1 - rate)
        exact = [one.detach().double().requires_grad_() for one in (x, a, b)]
        want = exact[0] @ weight.double().T + bias.double() + 4 * (exact[0] * kept) @ exact[1].T @ exact[2].T
        want.backward(up.double())
        wanted = [want, *(one.grad for one in exact)]
        for name, one, other in zip(("y", "dx", "da", "db"), got, wanted, strict=True):
            error = torch.linalg.norm(one.double() - other) / torch.linalg.norm(other)
            found[f"{into}->{out} {name}"] = float(error)
    return found


def attention() -> dict[str, float]:
    """Milliseconds of variable-length causal attention, forward and backward, by whoever offers it."""
    lengths = torch.tensor([0, *LENGTHS], device="cuda").cumsum(0).to(torch.int32)
    total, longest = sum(LENGTHS), max(LENGTHS)
    q, k, v = random(total, 28, 128), random(total, 4, 128), random(total, 4, 128)
    offers: dict[str, Callable[..., Any]] = {"torch": packed_rows.torch_varlen}
    try:
        from flash_attn.cute import flash_attn_varlen_func

        offers["flash-attn-4"] = flash_attn_varlen_func
    except ImportError as error:
        print("no flash-attn-4:", error)
    found: dict[str, float] = {}
    outs = {}
    for name, offer in offers.items():

        def forward(offer: Callable[..., Any] = offer) -> torch.Tensor:
            out = offer(
                q,
                k,
                v,
                cu_seqlens_q=lengths,
                cu_seqlens_k=lengths,
                max_seqlen_q=longest,
                max_seqlen_k=longest,
                causal=True,
            )
            return out[0] if isinstance(out, tuple) else out

        def both() -> None:
            forward().backward(q.detach())

        for one in (q, k, v):
            one.requires_grad_(False)
        found[f"{name} forward ms"] = seconds(forward) * 1e3
        for one in (q, k, v):
            one.requires_grad_()
        found[f"{name} forward + backward ms"] = seconds(both) * 1e3
        outs[name] = forward().detach()
    if len(outs) == 2:
        one, other = (out.float() for out in outs.values())
        found["difference"] = float(torch.linalg.norm(one - other) / torch.linalg.norm(other))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    report: dict[str, Any] = {}
    for part in (low_rank_errors, low_rank, sweep, attention, products):
        try:
            report[part.__name__] = part()
        except Exception as error:
            report[part.__name__] = {"failed": repr(error)[:600]}
        for name, value in report[part.__name__].items():
            numbers = value if isinstance(value, dict) else {"": value}
            print(
                f"{part.__name__}: {name}",
                *(f"{key} {one:.4g}" if isinstance(one, float) else one for key, one in numbers.items()),
                flush=True,
            )
    (options.out / "kernels.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
