"""Shares and masks by magnitude: what magnitude pruning would keep.

Equal magnitudes are common in low-precision dtypes: if only some of them fit in a mask, those with the smaller
row-major index are in it. The shares of ‖W‖² do not depend on that.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from analyzer.model.observed import MagnitudeShares
from analyzer.model.run import Array, BoolArray

SQUARED_AT_A_TIME = 1 << 16  # elements in float64


def magnitude_shares(matrix: Array) -> MagnitudeShares | None:
    """Return the shares of ‖W‖² in the largest ⌈10 %⌉, ⌈50 %⌉ and ⌈90 %⌉ of the entries; None if W = 0."""
    magnitudes = _magnitudes(matrix)
    size = magnitudes.size
    ends = [size - -(-percent * size // 100) for percent in (90, 50, 10)]
    magnitudes.partition(ends)
    largest = float(magnitudes[ends[-1] :].max())
    if largest == 0:
        return None
    parts = [_energy(magnitudes[start:stop], largest) for start, stop in pairwise((0, *ends, size))]
    total = sum(parts)
    return MagnitudeShares(parts[3] / total, (parts[3] + parts[2]) / total, sum(parts[1:]) / total)


def largest_half(matrix: Array) -> BoolArray:
    """Return a flat mask of the ⌊N/2⌋ of the N entries with the largest magnitudes; of equals, the first."""
    magnitudes = _magnitudes(matrix)
    half = magnitudes.size // 2
    least = np.partition(magnitudes, magnitudes.size - half)[magnitudes.size - half]
    mask: BoolArray = magnitudes > least
    equals = np.flatnonzero(magnitudes == least)
    mask[equals[: half - np.count_nonzero(mask)]] = True
    return mask


def _magnitudes(matrix: Array) -> Array:
    """Return |w| of all entries as a new flat array: float32 for narrow dtypes, which numpy cannot sort."""
    flat = matrix.reshape(-1)
    result: Array = flat.astype(np.float32) if flat.dtype.itemsize <= 2 else flat.copy()
    np.abs(result, out=result)
    return result


def _energy(magnitudes: Array, largest: float) -> float:
    """Return Σ (w/largest)² in float64; the division keeps squares from underflowing."""
    total = 0.0
    for start in range(0, magnitudes.size, SQUARED_AT_A_TIME):
        block = magnitudes[start : start + SQUARED_AT_A_TIME].astype(np.float64) / largest
        total += float(block @ block)
    return total
