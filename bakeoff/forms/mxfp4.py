"""Unpack MXFP4, the number format of GPT-OSS's published experts.

A block holds 32 numbers of four bits (sign, two bits of exponent, one of mantissa) and one power of two. Source: OCP
Microscaling Formats (MX) Specification 1.0, sections 5.2 and 5.3.3.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bakeoff.forms.cores import on_all_cores

if TYPE_CHECKING:
    import torch

VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""What the low three bits of a number mean; the fourth is the sign."""
BIAS = 127
"""A scale s stands for 2^(s - BIAS)."""
HALF = 16
"""Bytes of a block."""
SLICE = 1 << 20
"""Numbers that are worked on at a time.

Enough that Python's own share of the work, which no two threads do at once, stays under 4 %; with a quarter of them it
is 18 %, and more than five cores wait for each other. More would not stay in a core's cache.
"""
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

    experts, outputs, groups, half = blocks.shape
    result = torch.empty(experts, groups * half * 2, outputs, dtype=torch.bfloat16)

    def fill(expert: int) -> None:
        _unpack(blocks[expert], scales[expert], result[expert])

    on_all_cores(fill, range(experts))
    return (result,)


def _unpack(blocks: torch.Tensor, scales: torch.Tensor, result: torch.Tensor) -> None:
    """Write the numbers of one expert into *result*, inputs x outputs."""
    import numpy as np
    import torch

    values = torch.tensor([*VALUES, *(-value for value in VALUES)], dtype=torch.bfloat16)
    byte = torch.arange(256)
    tables = [values[nibble].view(torch.int16).numpy() for nibble in (byte & 0x0F, byte >> 4)]
    for rows, packed, exponents in _slices(blocks, scales):
        target = result[rows].view(len(packed), HALF, 2, -1)
        powers = torch.ldexp(torch.ones(exponents.shape), exponents.int() - BIAS)
        plain = bool((powers == powers.bfloat16()).all())  # float32 and bfloat16 hold each power
        for place, table in enumerate(tables):
            numbers = torch.from_numpy(np.take(table, packed.numpy(), mode="clip")).view(torch.bfloat16)
            if plain:
                torch.mul(numbers, powers.bfloat16(), out=target[:, :, place])
            else:
                target[:, :, place] = torch.ldexp(numbers.double(), exponents.int() - BIAS).bfloat16()


def _slices(blocks: torch.Tensor, scales: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Yield one expert in slices that stay in a core's cache.

    Inputs before outputs.

    Yields:
        the inputs, as rows of the native form; their bytes, groups x 16 x outputs; their scales, groups x 1 x outputs.
    """
    outputs, groups, half = blocks.shape
    width = max(1, SLICE // (2 * half * outputs))
    for begin in range(0, groups, width):
        packed = blocks[:, begin : begin + width].permute(1, 2, 0).contiguous()
        exponents = scales[:, begin : begin + width].T.contiguous().unsqueeze(1)
        yield slice(begin * half * 2, (begin + len(packed)) * half * 2), packed, exponents


def holds_the_same(blocks: torch.Tensor, scales: torch.Tensor, native: torch.Tensor) -> bool:
    """Return whether *native* is bit by bit what the blocks stand for.

    *blocks* under *scales*.

    The bits of each number follow from its code and its scale by whole numbers alone, where :func:`unpack` looks up
    and multiplies.
    """
    experts, outputs, groups, half = blocks.shape
    if tuple(native.shape) != (experts, groups * half * 2, outputs):
        return False
    return all(
        on_all_cores(
            lambda expert: _holds_the_same(blocks[expert], scales[expert], native[expert]), range(experts)
        )
    )


def _holds_the_same(blocks: torch.Tensor, scales: torch.Tensor, native: torch.Tensor) -> bool:
    import torch

    for rows, packed, exponents in _slices(blocks, scales):
        bits = native[rows].view(torch.int16).view(len(packed), HALF, 2, -1)
        low, high = int(exponents.min()), int(exponents.max())
        plain = _PLAIN[0] <= low and high <= _PLAIN[1]
        for place, codes in enumerate((packed & 0x0F, packed >> 4)):
            if plain:
                same = torch.equal(_bits(codes.short(), exponents), bits[:, :, place])
            else:
                numbers = native[rows].view(len(packed), HALF, 2, -1)[:, :, place]
                read = _slow_codes(numbers, exponents)
                same = read is not None and torch.equal(read, codes.long())
            if not same:
                return False
    return True


def _bits(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return the bits of the bfloat16 numbers of *codes* and *scales*.

    *codes* are int16.
    """
    magnitudes = codes & 7
    # Exponent and first bit of the fraction, counted from 0.5: 0.5 gives 0, 1 gives 2, 1.5 gives 3, ... 6 gives 7.
    steps = magnitudes - magnitudes.eq(1).short()
    bits = steps.bitwise_left_shift_(_FRACTION - 1).add_((scales.short() - 1) << _FRACTION)
    bits.mul_(magnitudes.ne(0).short())
    return bits.bitwise_or_(codes.bitwise_and_(8) << 12)


def _slow_codes(numbers: torch.Tensor, scales: torch.Tensor) -> torch.Tensor | None:
    """Return what :func:`_codes` does, by arithmetic.

    Also for subnormal numbers.
    """
    import torch

    thresholds = torch.tensor(VALUES, dtype=torch.float64)
    plain = torch.ldexp(numbers.double(), BIAS - scales.int())
    codes = torch.searchsorted(thresholds, plain.abs().contiguous())
    if not torch.equal(thresholds[codes.clamp_max(7)], plain.abs()):
        return None
    return codes | (torch.signbit(numbers).int() << 3)


def pack(native: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return blocks and scales of the nearest MXFP4 numbers.

    The inverse of :func:`unpack`.

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
