"""Metrics of magnitude pruning: which weights it would keep, and how that set changes (on request)."""

from __future__ import annotations

import numpy as np

from analyzer.metrics.motion import of_step
from analyzer.metrics.registry import metric
from analyzer.model.observed import InnerProducts, MagnitudeShares
from analyzer.model.run import UNDEFINED, Array, Value
from analyzer.numerics.magnitudes import largest_half

EARLY_BIRD = "You et al., Drawing early-bird tickets (ICLR 2020), mask distance"
LORENZ = "Lorenz curve of the squared weights; Hurley & Rickard, Comparing measures of sparsity (2009)"


@metric(
    family="pruning",
    unit="share of elements",
    definition="share of entries that enter or leave the largest-magnitude half since W_{t−1} (Hamming distance of the "
    "masks / entries; 0.5 by chance); of equal magnitudes, the first in row-major order are in",
    source=EARLY_BIRD,
)
def mask_churn(matrix: Array, previous_matrix: Array, matrix_step: InnerProducts) -> Value:
    """Return how much of the pruning mask changed; undefined if W_t or W_{t−1} is zero."""
    if matrix_step.current == 0 or matrix_step.previous == 0:
        return UNDEFINED
    changed = np.count_nonzero(largest_half(matrix) != largest_half(previous_matrix))
    return of_step(float(changed) / matrix.size, matrix_step)


SHARE = "Σw² over the {} % of entries (rounded up) of largest magnitude, over ‖W_t‖_F² (squared norms)"


@metric(family="pruning", unit="share of ‖W‖²", definition=SHARE.format(10), source=LORENZ)
def magnitude_share_10(magnitude_shares: MagnitudeShares | None) -> Value:
    """Return the energy in the largest tenth of the entries (0.1 if all are equal, 0.44 if they are normal)."""
    return UNDEFINED if magnitude_shares is None else Value(magnitude_shares.largest_10)


@metric(family="pruning", unit="share of ‖W‖²", definition=SHARE.format(50), source=LORENZ)
def magnitude_share_50(magnitude_shares: MagnitudeShares | None) -> Value:
    """Return the energy in the larger half of the entries: what pruning half of them keeps."""
    return UNDEFINED if magnitude_shares is None else Value(magnitude_shares.largest_50)


@metric(family="pruning", unit="share of ‖W‖²", definition=SHARE.format(90), source=LORENZ)
def magnitude_share_90(magnitude_shares: MagnitudeShares | None) -> Value:
    """Return the energy in the largest nine tenths of the entries."""
    return UNDEFINED if magnitude_shares is None else Value(magnitude_shares.largest_90)
