"""Rounding of stored elements: the unit roundoff of a dtype, and how far rounding displaces a weight."""

from __future__ import annotations

from typing import Any

import numpy as np

EPSILON = float(np.finfo(np.float64).eps)
# Root-mean-square relative displacement of a number that is rounded to nearest, in units of the unit roundoff, for
# significands distributed by Benford's law (docs/metrics.md, "Storage rounding").
ROUNDING_DISPLACEMENT = 0.4245


def unit_roundoff(dtype: np.dtype[Any]) -> float:
    """Return u, half the distance from 1 to the next number of a stored floating-point dtype."""
    if dtype in (np.float16, np.float32, np.float64):
        return float(np.finfo(dtype).eps) / 2
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).eps) / 2  # type: ignore[no-untyped-call]
