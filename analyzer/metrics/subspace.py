"""Whether a matrix keeps its leading directions: overlap of the top singular subspaces (on request)."""

from __future__ import annotations

import numpy as np

from analyzer.metrics.needs import LEADING
from analyzer.metrics.registry import metric
from analyzer.model.observed import LeadingSubspaces
from analyzer.model.run import UNDEFINED, Value

SOURCE = "Björck & Golub, Numerical methods for computing angles between linear subspaces (1973)"
# If σ_k and σ_{k+1} differ by less than this share of σ_k, so small a change of W can swap their directions.
SEPARATION = 1e-3
CONVENTION = (
    f"mean cos² of the principal angles between the top-{LEADING} singular subspaces, mean of left and right; by "
    f"chance (k/rows + k/columns)/2, k = {LEADING}; undefined if (σ_k − σ_k+1)/σ_k < {SEPARATION:g} in either "
    "matrix, or min(rows, columns) ≤ k"
)


@metric(family="subspace", unit="1", definition=f"W_t against W_{{t−1}}: {CONVENTION}", source=SOURCE, version=2)
def overlap_previous(leading_subspaces: LeadingSubspaces | None, previous_subspaces: LeadingSubspaces | None) -> Value:
    """Return the overlap with the previous checkpoint; 1 if the leading directions span the same spaces."""
    return _overlap(leading_subspaces, previous_subspaces)


@metric(family="subspace", unit="1", definition=f"W_t against W_0: {CONVENTION}", source=SOURCE, version=2)
def overlap_initial(leading_subspaces: LeadingSubspaces | None, initial_subspaces: LeadingSubspaces | None) -> Value:
    """Return the overlap with the first checkpoint; 1 if the leading directions span the same spaces."""
    return _overlap(leading_subspaces, initial_subspaces)


def _overlap(one: LeadingSubspaces | None, other: LeadingSubspaces | None) -> Value:
    """Return ‖AᵀB‖_F²/k for orthonormal bases A and B; ``precision_limited`` if storage rounding exceeds a gap."""
    if one is None or other is None or min(one.gap, other.gap) < SEPARATION:
        return UNDEFINED
    shares = [
        float(np.square(a.T @ b).sum()) / a.shape[1] for a, b in ((one.left, other.left), (one.right, other.right))
    ]
    hidden = one.gap < one.rounding or other.gap < other.rounding
    return Value(min(1.0, sum(shares) / len(shares)), "precision_limited" if hidden else "ok")
