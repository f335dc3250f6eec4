"""Metrics on positive scales, whose logarithms are differenced.

Accuracy and weight motion share drivers (schedule, saturation), so the curves themselves correlate by construction.
Differences remove most of that, but not all: the differences of curves that saturate with little noise still decay
together. tests/analyzer/statistics/test_calibration.py measures the false positive rates.
"""

from __future__ import annotations

import numpy as np

from analyzer.model.run import FloatArray

# Positive scales, on which equal ratios are equal changes. Angles, shares, cosines and counts are not.
POSITIVE_SCALES = frozenset(
    {
        *("step_distance", "relative_step_distance", "distance_rate", "initial_distance", "path_length", "tortuosity"),
        *("rotation", "frobenius_norm", "mean_absolute", "rms", "max_absolute"),
        *("spectral_norm", "smallest_singular_value", "nuclear_norm", "condition_number"),
        *("stable_rank", "effective_rank", "participation_ratio", "update_stable_rank", "update_effective_rank"),
        *("alpha_xmin", "mp_scale", "mp_edge"),
    }
)


def logarithms(values: FloatArray) -> FloatArray:
    """Return natural logarithms, NaN where a value is not positive."""
    positive = np.where(values > 0, values, np.nan)
    return np.asarray(np.log(positive))
