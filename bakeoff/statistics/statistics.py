"""The statistics of scores under one name; each part is documented in the module that it comes from."""

from bakeoff.statistics.bootstrap import (
    Resampling,
    effective_clusters,
    expanded_percentiles,
    multinomial_weights,
    resample_clusters,
    resample_samples,
)
from bakeoff.statistics.comparison import Comparison, compare, compare_suites
from bakeoff.statistics.intervals import (
    Interval,
    agresti_min,
    clustered_wilson,
    cohens_h,
    matched_odds_ratio,
    wilson,
)
from bakeoff.statistics.measuring import Missing, Subsets
from bakeoff.statistics.power import (
    fewest_disagreements,
    least_detectable,
    minimum_detectable_difference,
    samples_needed,
)
from bakeoff.statistics.significance import (
    clustered_t_test,
    holm,
    mcnemar,
    sign_flip_tests,
    tie_groups,
)
from bakeoff.statistics.tables import sample_matrix

__all__ = [
    "Comparison",
    "Interval",
    "Missing",
    "Resampling",
    "Subsets",
    "agresti_min",
    "clustered_t_test",
    "clustered_wilson",
    "cohens_h",
    "compare",
    "compare_suites",
    "effective_clusters",
    "expanded_percentiles",
    "fewest_disagreements",
    "holm",
    "least_detectable",
    "matched_odds_ratio",
    "mcnemar",
    "minimum_detectable_difference",
    "multinomial_weights",
    "resample_clusters",
    "resample_samples",
    "sample_matrix",
    "samples_needed",
    "sign_flip_tests",
    "tie_groups",
    "wilson",
]
