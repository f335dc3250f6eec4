"""How curves go together: coefficients, intervals, and what may be said about chance.

Pure functions of arrays and tables. What is drawn or printed is never smoothed: a trend is taken out of differences
only, and the row's transform says so.
"""

from analyzer.statistics.bootstrap import intervals
from analyzer.statistics.coefficients import Coefficient, pearson, ranks, spearman, z_scores
from analyzer.statistics.correlating import PICTURED, Correlations, change_pairs, is_tested
from analyzer.statistics.curves import block_of, ordered_scalars, score_changes
from analyzer.statistics.relating import Relations, relate
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
