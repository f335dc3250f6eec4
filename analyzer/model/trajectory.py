"""The path of all weights together through a run, from sketches: how far any two checkpoints are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analyzer.model.run import BoolArray, FloatArray

# Sketches are stored as float16, whose rounding displaces a vector by this share of its length (docs/metrics.md).
STORAGE_ROUNDING = 0.4245 * 2.0**-11
# A squared distance below this share of the squared positions has lost digits in their inner product.
CANCELED = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class StepSketch:
    """A sketch of one tensor's step: signed sums of its elements in ``buckets`` buckets.

    ``numbers`` (n,) float64, n ≤ ``buckets``, are those of the buckets ``first``, ``first`` + 1, ... (cyclic); all
    other buckets are empty, as of a tensor with fewer elements than buckets.
    """

    buckets: int
    first: int
    numbers: FloatArray

    def add_to(self, total: FloatArray) -> None:
        """Add the sketch to a sum of sketches, (buckets,)."""
        at_end = min(len(self.numbers), self.buckets - self.first)
        total[self.first : self.first + at_end] += self.numbers[:at_end]
        total[: len(self.numbers) - at_end] += self.numbers[at_end:]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Sketches of where all parameters together are at each checkpoint.

    Inner products of sketches estimate those of the weights' displacements; the relative error of a distance is
    1/√(2·buckets) rms (Alon, Matias & Szegedy 1999).

    Attributes:
        positions: (checkpoints, buckets) displacement from the first checkpoint of the same part.
        parts: (checkpoints,) the part of the run that a checkpoint belongs to. Between two parts is a step without a
            sketch (a tensor that is missing, reshaped or not finite), so that they cannot be compared. −1 for a
            checkpoint without any step.
        traveled: (checkpoints,) the sum of squared steps since the first checkpoint of the part: sketches are stored
            with a rounding in proportion to the steps.
    """

    positions: FloatArray
    parts: tuple[int, ...]
    traveled: FloatArray

    def distance(self, first: int, second: int) -> float:
        """Return ‖W_s − W_t‖_F of two checkpoints by position; NaN if they are not in the same part."""
        if self.parts[first] != self.parts[second] or self.parts[first] < 0:
            return float("nan")
        return float(np.linalg.norm(self.positions[first] - self.positions[second]))

    @cached_property
    def distances(self) -> FloatArray:
        """Return the distance between every two checkpoints, (checkpoints, checkpoints); NaN where it is undefined."""
        squares = np.einsum("ij,ij->i", self.positions, self.positions)
        sums = squares[:, None] + squares
        squared = sums - 2 * (self.positions @ self.positions.T)
        squared = (squared + squared.T) / 2  # a matrix product need not be symmetric to the last bit
        for row, is_canceled in enumerate(np.triu(squared <= CANCELED * sums)):
            others = np.flatnonzero(is_canceled)
            apart = self.positions[others] - self.positions[row]
            squared[row, others] = squared[others, row] = np.einsum("ij,ij->i", apart, apart)
        return np.where(self._are_comparable(), np.sqrt(squared), np.nan)

    @cached_property
    def roundings(self) -> FloatArray:
        """Return how far the storage of sketches alone displaces each distance, rms, (checkpoints, checkpoints)."""
        between = np.abs(self.traveled[:, None] - self.traveled)
        return np.where(self._are_comparable(), STORAGE_ROUNDING * np.sqrt(between), np.nan)

    @cached_property
    def cosines(self) -> FloatArray:
        """Return the cosine between the displacements of every two checkpoints from the start.

        The shape is (checkpoints, checkpoints); NaN where it is undefined, as at the start itself.
        """
        lengths = np.sqrt(np.einsum("ij,ij->i", self.positions, self.positions))
        products = lengths[:, None] * lengths
        known = self._are_comparable() & (products > 0)
        cosines = np.full(products.shape, np.nan)
        np.divide(self.positions @ self.positions.T, products, out=cosines, where=known)
        return np.clip(cosines, -1.0, 1.0)

    def _are_comparable(self) -> BoolArray:
        parts = np.array(self.parts, dtype=np.intp)
        comparable: BoolArray = (parts[:, None] == parts) & (parts >= 0)
        return comparable


def trajectory_of(steps: Sequence[tuple[int, FloatArray] | None], buckets: int) -> Trajectory:
    """Join the sketches of steps to the path of a run.

    Args:
        steps: for each checkpoint, the position of the earlier checkpoint where its step begins, and the step's sketch
            of shape (buckets,); None if it has none.
        buckets: length of the sketches.
    """
    positions, traveled = np.zeros((len(steps), buckets)), np.zeros(len(steps))
    parts = [-1] * len(steps)
    for place, step in enumerate(steps):
        if step is None:
            continue
        start, sketch = step
        if parts[start] < 0:
            parts[start] = start
        parts[place] = parts[start]
        positions[place] = positions[start] + sketch
        traveled[place] = traveled[start] + float(np.dot(sketch, sketch))
    return Trajectory(positions, tuple(parts), traveled)


NO_TRAJECTORY = trajectory_of((), 0)
