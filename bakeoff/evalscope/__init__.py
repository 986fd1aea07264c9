"""The only package that knows EvalScope: asks suites, grades, scores.

Two ways to run, same requests and same grades:

* ``python -m bakeoff.evalscope eval …`` is EvalScope's own command line with our benchmarks registered, for one
  suite at a time (:func:`evaluate_command`).
* ``python -m bakeoff.evalscope run plan.json`` runs all suites of one model together in one process, resumes what
  an earlier call left unfinished, and writes for each suite ``result.json`` and ``samples.jsonl``
  (:func:`evaluation_plan`). It prints one line per suite.

``python -m bakeoff.evalscope dashboard store/models`` shows the results in EvalScope's own viewer.

What the harness asks for is named here; ``worker``, ``loading``, ``grading`` and ``asking`` are the process that runs
a plan. Importing this package imports nothing of EvalScope.
"""

from bakeoff.evalscope.catalogue import (
    GENERATION_KEYS,
    check_settings,
    check_suite,
    known_benchmarks,
    known_metrics,
    known_subsets,
)
from bakeoff.evalscope.commands import (
    LOOPBACK,
    OFFLINE,
    evaluate_command,
    evaluation_plan,
    grading_rules,
    run_command,
    spread,
)
from bakeoff.evalscope.outcomes import how_far, read_results, sample_rows, score_rows
from bakeoff.evalscope.types import SuiteResult

__all__ = [
    "GENERATION_KEYS",
    "LOOPBACK",
    "OFFLINE",
    "SuiteResult",
    "check_settings",
    "check_suite",
    "evaluate_command",
    "evaluation_plan",
    "grading_rules",
    "how_far",
    "known_benchmarks",
    "known_metrics",
    "known_subsets",
    "read_results",
    "run_command",
    "sample_rows",
    "score_rows",
    "spread",
]
