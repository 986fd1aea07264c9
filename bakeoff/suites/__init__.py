"""Benchmarks that EvalScope lacks: exams, emotions, open questions.

Importing this package is cheap and registers nothing; :func:`register` makes the benchmarks known to EvalScope
and is called by the evaluation process only. File formats: docs/suites.md.
"""

from __future__ import annotations

from bakeoff.suites.overlap import METRICS as OVERLAP_METRICS
from bakeoff.suites.rows import FORMATS

OURS: tuple[str, ...] = tuple(FORMATS)
"""Ids that :func:`register` adds to EvalScope's registry."""

METRICS: dict[str, tuple[str, ...]] = {
    "pceb_mcq": ("accuracy", "elastic_accuracy"),
    "psyqa": OVERLAP_METRICS,
}
"""What they give where it is not accuracy alone; the first one is the headline."""


def register() -> None:
    """Register the benchmarks of :data:`OURS` with EvalScope, once."""
    import bakeoff.suites.adapters  # noqa: F401 - importing is how EvalScope registers
