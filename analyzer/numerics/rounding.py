"""Rounding of stored elements: the unit roundoff of a dtype, and how far rounding displaces a weight."""

from __future__ import annotations

from math import log, sqrt
from typing import Any

import numpy as np

EPSILON = float(np.finfo(np.float64).eps)
# Root-mean-square relative displacement of a number that is rounded to nearest, in units of the unit roundoff, 0.42466:
# an error uniform in ±u on a significand s in [1, 2) has the relative variance u²/(3s²), and by Benford's law, with the
# density 1/(s ln 2), the mean of 1/s² is 3/(8 ln 2) (docs/metrics.md, "Storage rounding").
ROUNDING_DISPLACEMENT = 1 / sqrt(8 * log(2))


def unit_roundoff(dtype: np.dtype[Any]) -> float:
    """Return u, half the distance from 1 to the next number of a stored floating-point dtype."""
    if dtype in (np.float16, np.float32, np.float64):
        return float(np.finfo(dtype).eps) / 2
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).eps) / 2  # type: ignore[no-untyped-call]


def rounding_noise(roundoff: float, largest_lines: float) -> float:
    """Return the largest singular value that rounding the elements of a matrix to nearest could have made by itself.

    The errors are independent, and the norm of a matrix of such errors is at most about the sum of its largest row and
    column norms (Bandeira & van Handel, Sharp nonasymptotic bounds on the norm of random matrices with independent
    entries, Ann. Probab. 2016, thm 1.1). One large row or column makes it larger than the root mean square of all
    elements suggests.

    Args:
        roundoff: unit roundoff u of the stored dtype.
        largest_lines: the largest norm of a row plus that of a column, of the stored matrix.
    """
    return ROUNDING_DISPLACEMENT * roundoff * largest_lines
