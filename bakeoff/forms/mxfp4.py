"""Unpack MXFP4, the number format of GPT-OSS's published experts.

A block holds 32 numbers of four bits (sign, two bits of exponent, one of mantissa) and one power of two. Source: OCP
Microscaling Formats (MX) Specification 1.0, sections 5.2 and 5.3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""What the low three bits of a number mean; the fourth is the sign."""
BIAS = 127
"""A scale s stands for 2^(s - BIAS)."""


def unpack(blocks: torch.Tensor, scales: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the numbers in bfloat16, which holds each of them exactly.

    Args:
        blocks: uint8, experts x outputs x groups x 16; the low four bits of a byte come first.
        scales: uint8, experts x outputs x groups.

    Returns:
        experts x inputs x outputs, as transformers keeps its experts.
    """
    import torch

    table = torch.tensor([*VALUES, *(-value for value in VALUES)], dtype=torch.bfloat16)
    experts, outputs, groups, half = blocks.shape
    result = torch.empty(experts, groups * half * 2, outputs, dtype=torch.bfloat16)
    for expert in range(experts):  # one at a time: the indices need four times the memory of the result
        nibbles = torch.stack([blocks[expert] & 0x0F, blocks[expert] >> 4], dim=-1)
        numbers = table[nibbles.view(outputs, groups, half * 2).int()]
        exponents = scales[expert].int().unsqueeze(-1) - BIAS
        result[expert] = torch.ldexp(numbers, exponents).view(outputs, -1).T
    return (result,)


def holds_the_same(blocks: torch.Tensor, scales: torch.Tensor, native: torch.Tensor) -> bool:
    """Return whether packing *native* with the same *scales* gives *blocks* again, bit by bit."""
    import torch

    experts, outputs, groups, half = blocks.shape
    thresholds = torch.tensor(VALUES)
    for expert in range(experts):
        numbers = native[expert].T.contiguous().view(outputs, groups, half * 2).float()
        numbers = torch.ldexp(numbers, BIAS - scales[expert].int().unsqueeze(-1))
        codes = torch.searchsorted(thresholds, numbers.abs().contiguous())
        if not torch.equal(thresholds[codes.clamp_max(7)], numbers.abs()):
            return False
        codes = codes | (torch.signbit(numbers).int() << 3)
        pairs = codes.view(outputs, groups, half, 2)
        if not torch.equal((pairs[..., 0] | (pairs[..., 1] << 4)).to(torch.uint8), blocks[expert]):
            return False
    return True
