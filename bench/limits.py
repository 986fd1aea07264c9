"""Shares that a benchmark counts, held against their limits."""

from __future__ import annotations

import math

failures: list[str] = []
"""Numbers outside their limits, in words."""


def mark(name: str, share: float, low: float, high: float, runs: int = 0) -> str:
    """Return *share* in per cent, bold where it leaves its limits.

    By more than two standard errors of *runs*.
    """
    below, above = (2 * math.sqrt(end * (1 - end) / runs) if runs else 0.0 for end in (low, high))
    if low - below <= share <= high + above:
        return f"{100 * share:.1f}"
    failures.append(f"{name}: {100 * share:.1f} is outside {100 * low:g} to {100 * high:g}")
    return f"**{100 * share:.1f}**"


def head(*columns: str) -> None:
    """Print the head of a Markdown table."""
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def line(*cells: object) -> None:
    """Print a line of a Markdown table; numbers as short as they are."""
    print(
        f"| {' | '.join(f'{cell:g}' if isinstance(cell, float) else str(cell) for cell in cells)} |",
        flush=True,
    )
