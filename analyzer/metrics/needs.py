"""What metrics can ask for by naming a parameter, and the plain data that they are handed.

Additive needs can be summed over tensors; what is computed from the sum holds for all parameters together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LEADING = 8  # k: how many leading singular directions the family ``subspace`` compares


@dataclass(frozen=True, slots=True)
class Need:
    """Something that the engine computes for metrics.

    ``roles`` are the states of the tensor that it looks at; a metric has no row where one of them does not exist, and
    the status ``nonfinite`` where one holds NaN or Inf, unless ``any_bits`` says that this does not matter.
    """

    name: str
    roles: frozenset[str]
    meaning: str
    additive: bool = False
    matrix_only: bool = False
    any_bits: bool = False
    any_dtype: bool = False


def _need(name: str, roles: str, meaning: str, **flags: bool) -> tuple[str, Need]:
    return name, Need(name, frozenset(roles.split()), meaning, **flags)


NEEDS: Mapping[str, Need] = dict(
    [
        _need("current", "current", "W_t, numpy array as stored"),
        _need("previous", "previous", "W_{t−1}, numpy array as stored"),
        _need("initial", "initial", "W_0, numpy array as stored"),
        _need("matrix", "current", "W_t as (rows, columns), stored dtype", matrix_only=True),
        _need("weights", "current", "InnerProducts of W_t with itself", additive=True),
        _need("step", "current previous", "InnerProducts with Δ", additive=True),
        _need(
            "consecutive_steps",
            "current previous before_previous",
            "InnerProducts with Δ and Δ'",
            additive=True,
        ),
        _need("drift", "current initial", "InnerProducts with D", additive=True),
        _need("interval", "current previous", "Interval between the two checkpoints", additive=True),
        _need("elements", "current", "ElementSummary of W_t", additive=True),
        _need("finiteness", "current", "FinitenessCount of W_t", additive=True, any_bits=True),
        _need("changed_bits", "current previous", "ChangedBits", additive=True, any_bits=True, any_dtype=True),
        _need("sign_flips", "current previous", "SignFlips", additive=True),
        _need("dead_lines", "current", "DeadLines of W_t", additive=True, matrix_only=True),
        _need("spectrum", "current", "Spectrum of W_t", matrix_only=True),
        _need("singular_values", "current", "float64 singular values of W_t, falling", matrix_only=True),
        _need("power_law", "current", "PowerLaw of W_t, None where it has too few eigenvalues", matrix_only=True),
        _need("previous_matrix", "previous", "W_{t−1} as (rows, columns), stored dtype", matrix_only=True),
        _need("matrix_step", "current previous", "InnerProducts with Δ of this matrix alone", matrix_only=True),
        _need("step_spectrum", "current previous", "StepSpectrum", matrix_only=True),
        _need("leading_subspaces", "current", f"LeadingSubspaces of W_t, None up to {LEADING} σ", matrix_only=True),
        _need("previous_subspaces", "previous", "LeadingSubspaces of W_{t−1}, or None", matrix_only=True),
        _need("initial_subspaces", "initial", "LeadingSubspaces of W_0, or None", matrix_only=True),
        _need("magnitude_shares", "current", "MagnitudeShares of W_t, None for the zero matrix", matrix_only=True),
    ]
)
