"""Statistics of curves: coefficients, intervals, significance, and tests over several runs.

Pure functions of arrays and tables. The curves are never smoothed; a trend is removed from differences only, and the
``transform`` of each row says so. docs/metrics.md, "Statistics of curves", describes the method.
"""
