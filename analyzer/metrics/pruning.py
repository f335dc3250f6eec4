"""What magnitude pruning would keep, and how much that still changes (on request).

Equal magnitudes are common in low-precision dtypes: where some of them fit in a mask and some do not, those with the
smaller row-major index are in. The shares of ‖W‖² do not depend on that.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.metrics.motion import PRECISION_MARGIN
from analyzer.metrics.registry import metric
from analyzer.model.observed import InnerProducts, MagnitudeShares
from analyzer.model.run import Value

Array = npt.NDArray[Any]

EARLY_BIRD = "You et al., Drawing early-bird tickets (ICLR 2020), mask distance"
LORENZ = "Lorenz curve of the squared weights; Hurley & Rickard, Comparing measures of sparsity (2009)"
UNDEFINED = Value(None, "undefined")
BLOCK = 1 << 16  # elements squared in float64 at a time


def magnitude_shares(matrix: Array) -> MagnitudeShares | None:
    """Shares of ‖W‖² in the largest ⌈10 %⌉, ⌈50 %⌉ and ⌈90 %⌉ of the entries of (rows, columns); None if W = 0."""
    magnitudes = _magnitudes(matrix)
    size = magnitudes.size
    ends = [size - -(-percent * size // 100) for percent in (90, 50, 10)]
    magnitudes.partition(ends)
    largest = float(magnitudes[ends[-1] :].max())
    if largest == 0:
        return None
    pieces = [_energy(magnitudes[start:stop], largest) for start, stop in pairwise((0, *ends, size))]
    total = sum(pieces)
    return MagnitudeShares(pieces[3] / total, (pieces[3] + pieces[2]) / total, sum(pieces[1:]) / total)


def _magnitudes(matrix: Array) -> Array:
    """|w| of all entries, flat and new; float32 for the narrow types, which numpy cannot sort but float32 holds."""
    flat = matrix.reshape(-1)
    result: Array = flat.astype(np.float32) if flat.dtype.itemsize <= 2 else flat.copy()
    np.abs(result, out=result)
    return result


def _energy(magnitudes: Array, largest: float) -> float:
    """Σ (w/largest)² in float64; the division keeps squares from vanishing."""
    total = 0.0
    for start in range(0, magnitudes.size, BLOCK):
        block = magnitudes[start : start + BLOCK].astype(np.float64) / largest
        total += float(block @ block)
    return total


def _largest_half(matrix: Array) -> npt.NDArray[np.bool_]:
    """Which ⌊N/2⌋ of the N entries, flat, have the largest magnitudes; of equals, the first."""
    magnitudes = _magnitudes(matrix)
    half = magnitudes.size // 2
    least = np.partition(magnitudes, magnitudes.size - half)[magnitudes.size - half]
    mask: npt.NDArray[np.bool_] = magnitudes > least
    equals = np.flatnonzero(magnitudes == least)
    mask[equals[: half - np.count_nonzero(mask)]] = True
    return mask


@metric(
    family="pruning",
    unit="share of elements",
    definition="share of entries that enter or leave the largest-magnitude half since W_{t−1} (Hamming distance of the "
    "masks / entries; 0.5 by chance); of equal magnitudes, the first in row-major order are in",
    source=EARLY_BIRD,
)
def mask_churn(matrix: Array, previous_matrix: Array, matrix_step: InnerProducts) -> Value:
    """How much of the pruning mask changed; undefined where W_t or W_{t−1} is zero."""
    if matrix_step.current == 0 or matrix_step.previous == 0:
        return UNDEFINED
    changed = np.count_nonzero(_largest_half(matrix) != _largest_half(previous_matrix))
    hidden = matrix_step.step < PRECISION_MARGIN**2 * matrix_step.rounding
    return Value(float(changed) / matrix.size, "below_precision" if hidden else "ok")


SHARE = "Σw² over the {} % of entries (rounded up) of largest magnitude, over ‖W_t‖_F² (squared norms)"


@metric(family="pruning", unit="share of ‖W‖²", definition=SHARE.format(10), source=LORENZ)
def magnitude_share_10(magnitude_shares: MagnitudeShares | None) -> Value:
    """Energy in the largest tenth of the entries (0.1 if all are equal, 0.44 if they are normal)."""
    return UNDEFINED if magnitude_shares is None else Value(magnitude_shares.largest_10)


@metric(family="pruning", unit="share of ‖W‖²", definition=SHARE.format(50), source=LORENZ)
def magnitude_share_50(magnitude_shares: MagnitudeShares | None) -> Value:
    """Energy in the larger half of the entries: what pruning half of them keeps."""
    return UNDEFINED if magnitude_shares is None else Value(magnitude_shares.largest_50)


@metric(family="pruning", unit="share of ‖W‖²", definition=SHARE.format(90), source=LORENZ)
def magnitude_share_90(magnitude_shares: MagnitudeShares | None) -> Value:
    """Energy in the largest nine tenths of the entries."""
    return UNDEFINED if magnitude_shares is None else Value(magnitude_shares.largest_90)
