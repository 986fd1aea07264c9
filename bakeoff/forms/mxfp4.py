"""Unpack MXFP4, the number format of GPT-OSS's published experts.

A block holds 32 numbers of four bits (sign, two bits of exponent, one of mantissa) and one power of two. Source: OCP
Microscaling Formats (MX) Specification 1.0, sections 5.2 and 5.3.3.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""What the low three bits of a number mean; the fourth is the sign."""
BIAS = 127
"""A scale s stands for 2^(s - BIAS)."""
_FRACTION = 7
"""Bits of the fraction of a bfloat16 number; its exponent has the same bias as a scale."""
_PLAIN = (3, 251)
"""Scales between these give no subnormal numbers and no infinity."""


def unpack(blocks: torch.Tensor, scales: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the numbers in bfloat16, which holds each of them exactly.

    Args:
        blocks: uint8, experts x outputs x groups x 16; the low four bits of a byte come first.
        scales: uint8, experts x outputs x groups.

    Returns:
        experts x inputs x outputs, as transformers keeps its experts.
    """
    import torch

    nibbles = torch.tensor([*VALUES, *(-value for value in VALUES)], dtype=torch.bfloat16)
    byte = torch.arange(256)
    # both numbers of a byte at once
    pairs = torch.stack([nibbles[byte & 0x0F], nibbles[byte >> 4]], dim=-1).view(torch.int32).flatten()
    experts, outputs, groups, half = blocks.shape
    result = torch.empty(experts, groups * half * 2, outputs, dtype=torch.bfloat16)
    for expert in range(experts):  # one at a time: the indices need twice the memory of the result
        numbers = pairs.index_select(0, blocks[expert].flatten().int()).view(torch.bfloat16)
        exponents = scales[expert].int() - BIAS
        powers = torch.ldexp(torch.ones(exponents.shape), exponents).unsqueeze(-1)
        scaled = numbers.view(outputs, groups, half * 2)
        if bool((powers == powers.bfloat16()).all()):
            scaled = scaled.mul_(powers.bfloat16())
        else:  # a power that float32 or bfloat16 cannot hold
            scaled = torch.ldexp(scaled.double(), exponents.unsqueeze(-1)).bfloat16()
        result[expert] = scaled.view(outputs, -1).T
    return (result,)


def holds_the_same(blocks: torch.Tensor, scales: torch.Tensor, native: torch.Tensor) -> bool:
    """Return whether packing *native* with the same *scales* gives *blocks* again, bit by bit."""
    import torch

    experts, outputs, groups, half = blocks.shape
    low, high = int(scales.min()), int(scales.max())
    codes_of = _codes if _PLAIN[0] <= low and high <= _PLAIN[1] else _slow_codes
    for expert in range(experts):
        numbers = native[expert].T.contiguous().view(outputs, groups, half * 2)
        codes = codes_of(numbers, scales[expert].unsqueeze(-1))
        if codes is None:
            return False
        pairs = codes.to(torch.uint8).view(outputs, groups, half, 2)
        if not torch.equal(pairs[..., 0] | (pairs[..., 1] << 4), blocks[expert]):
            return False
    return True


def _codes(numbers: torch.Tensor, scales: torch.Tensor) -> torch.Tensor | None:
    """Return the four bits of each of *numbers*, read from its own bits; None where it has more than four."""
    import torch

    bits = numbers.view(torch.int16)
    if bool((bits & ((1 << (_FRACTION - 1)) - 1)).any()):  # more than one bit of fraction
        return None
    # Exponent and first bit of the fraction, counted from 0.5: 0.5 gives 0, 1 gives 2, 1.5 gives 3, ... 6 gives 7.
    steps = ((bits >> (_FRACTION - 1)) & 0x1FF) - ((scales.short() - 1) << 1)
    is_zero = (bits & 0x7FFF) == 0
    is_half = steps == 0
    fits = is_zero | is_half | ((steps >= 2) & (steps <= 7))
    if not bool(fits.all()):
        return None
    magnitude = torch.where(is_zero, 0, torch.where(is_half, 1, steps))
    return magnitude | ((bits < 0).short() << 3)


def _slow_codes(numbers: torch.Tensor, scales: torch.Tensor) -> torch.Tensor | None:
    """Return what :func:`_codes` does, by arithmetic, also for subnormal numbers."""
    import torch

    thresholds = torch.tensor(VALUES, dtype=torch.float64)
    plain = torch.ldexp(numbers.double(), BIAS - scales.int())
    codes = torch.searchsorted(thresholds, plain.abs().contiguous())
    if not torch.equal(thresholds[codes.clamp_max(7)], plain.abs()):
        return None
    return codes | (torch.signbit(numbers).int() << 3)


def pack(native: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return blocks and scales of the nearest MXFP4 numbers to *native*, the inverse of :func:`unpack`.

    Args:
        native: experts x inputs x outputs; inputs are a multiple of 32.
    """
    import torch

    experts, inputs, outputs = native.shape
    numbers = native.float().transpose(1, 2).reshape(experts, outputs, inputs // 32, 32)
    largest = numbers.abs().amax(-1).clamp_min(2.0**-100)
    exponents = (
        torch.floor(torch.log2(largest)) - 2
    )  # the largest number of a block is 4 to 6 times its power
    plain = torch.ldexp(numbers, -exponents.int().unsqueeze(-1))
    between = torch.tensor([(a + b) / 2 for a, b in itertools.pairwise(VALUES)])
    codes = torch.bucketize(plain.abs(), between) | ((plain < 0).long() << 3)
    pairs = codes.view(experts, outputs, inputs // 32, 16, 2)
    blocks = (pairs[..., 0] | (pairs[..., 1] << 4)).to(torch.uint8)
    return blocks, (exponents + BIAS).to(torch.uint8)
