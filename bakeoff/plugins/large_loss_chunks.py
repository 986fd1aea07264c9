"""Larger chunks for Liger's fused output layer and loss, for ``swift sft --external_plugins``.

Liger splits the rows so that the logits of a chunk take no more memory than the hidden states. With a vocabulary of
152,064 that leaves 128 rows per chunk: the weights of the output layer (1 GB) are read again for each of them. Eight
times as many rows still need only 0.3 GB.
"""

from __future__ import annotations

import functools
import inspect

CHUNK_MEMORY = 8
"""Memory for the logits of a chunk, in multiples of the hidden states (Liger's own default: 1)."""


def install() -> None:
    """Give Liger's fused linear cross-entropy another default; without Liger, or before 0.8, nothing happens."""
    try:
        from liger_kernel.transformers import functional
    except ImportError:
        return
    loss = functional.liger_fused_linear_cross_entropy
    if "chunk_mem_const" in inspect.signature(loss).parameters:
        functional.liger_fused_linear_cross_entropy = functools.partial(loss, chunk_mem_const=CHUNK_MEMORY)


if __name__.startswith("_swift_external_"):
    install()
