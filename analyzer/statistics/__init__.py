"""Statistics of curves: coefficients, intervals, significance, and tests over several runs.

Pure functions of arrays and tables. The curves are never smoothed; a trend is removed from differences only, and the
``transform`` of each row says so. docs/metrics.md, "Statistics of curves", describes the method.
"""

from analyzer.statistics.bootstrap import intervals
from analyzer.statistics.change_pairs import change_pairs
from analyzer.statistics.coefficients import Coefficient, pearson, ranks, spearman, z_scores
from analyzer.statistics.correlating import Correlations
from analyzer.statistics.curves import PICTURED, block_of, ordered_scalars, score_changes
from analyzer.statistics.relating import Relations, relate
from analyzer.statistics.rows import is_tested
from analyzer.statistics.significance import benjamini_hochberg
from analyzer.statistics.stationary import Trend, logarithms, trend_over
from analyzer.statistics.swap import SwapTest, swap_test
from analyzer.statistics.two_groups import GroupTest, compare_groups, least_p_value

__all__ = [
    "PICTURED",
    "Coefficient",
    "Correlations",
    "GroupTest",
    "Relations",
    "SwapTest",
    "Trend",
    "benjamini_hochberg",
    "block_of",
    "change_pairs",
    "compare_groups",
    "intervals",
    "is_tested",
    "least_p_value",
    "logarithms",
    "ordered_scalars",
    "pearson",
    "ranks",
    "relate",
    "score_changes",
    "spearman",
    "swap_test",
    "trend_over",
    "z_scores",
]
