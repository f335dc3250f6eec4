"""A sketch of every step, from which the distance between any two checkpoints follows later.

It is kept in a table of its own and has no rows among the measurements.
"""

from __future__ import annotations

import numpy as np

from analyzer.metrics.registry import metric
from analyzer.model.trajectory import StepSketch


@metric(
    family="trajectory",
    unit="weight units",
    definition="k sums s_j = Σ ±Δ_t[i] over elements i ≡ j mod k with random signs, k prime: 4099 if the first "
    "checkpoint has up to 32 tensors, 1031 up to 128, else 257; in the store, without rows of its own",
    source="Alon, Matias & Szegedy (1999); Charikar, Chen & Farach-Colton (2004)",
)
def step_sketch(step_sketch: StepSketch) -> float:
    """Return the length of the step as the sketch estimates it; the store keeps the sketch itself."""
    return float(np.linalg.norm(step_sketch.numbers))
