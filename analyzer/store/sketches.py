"""Encode the numbers of a sketch: float16 times a power of two."""

from __future__ import annotations

import numpy as np

from analyzer.metrics.needs import STEP_SKETCH
from analyzer.model.run import FloatArray

SKETCH_METRIC = STEP_SKETCH.name  # the metric whose rows are sketches
LARGEST = 15  # the largest number becomes less than 2¹⁵, within the range of float16


def encode(numbers: FloatArray) -> tuple[int, bytes] | None:
    """Return the exponent of the power of two and the float16 numbers, (n,) little-endian; None if not finite."""
    largest = float(np.max(np.abs(numbers), initial=0.0))
    if not np.isfinite(largest):
        return None
    exponent = int(np.frexp(largest)[1]) - LARGEST
    return exponent, np.ldexp(numbers, -exponent).astype("<f2").tobytes()


def decode(exponent: int, data: bytes) -> FloatArray:
    """Return the float64 numbers, (n,)."""
    return np.ldexp(np.frombuffer(data, dtype="<f2").astype(np.float64), exponent)
