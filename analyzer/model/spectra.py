"""The singular values of a matrix through a run, condensed: a layer of 4,096 × 150 checkpoints must fit many times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analyzer.model.run import FloatArray

QUANTILES = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0)
MOST_KEPT = 100  # matrices with at most this many singular values keep them all
LEADING = 20  # of the others, this many of the largest are kept
BINS = 60  # of the histogram
DEEPEST = 1e-3  # the histogram begins at this share of the largest value, unless all values are larger


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumThroughTime:
    """The singular values of one matrix at each checkpoint; rows are NaN, or counts 0, where none were measured.

    Attributes:
        tensor: the matrix.
        count: how many singular values it has. A product of rank r has r: the others are zero by construction.
        leading: (checkpoints, L) the largest values, falling; all of them if there are at most :data:`MOST_KEPT`.
        quantiles: (checkpoints, len(QUANTILES)) of all values, (checkpoints, 0) if ``leading`` has them all.
        edge: (checkpoints,) the largest value that noise alone would have (``mp_edge``), NaN where it is unknown.
        bins: (BINS + 1,) the edges of a histogram, evenly spaced on a log axis and the same at all checkpoints; empty
            if there is no positive value.
        counts: (checkpoints, BINS) how many values are in each bin. Smaller values, zeros too, are in the first.
    """

    tensor: str
    count: int
    leading: FloatArray
    quantiles: FloatArray
    edge: FloatArray
    bins: FloatArray
    counts: npt.NDArray[np.int32]


def spectrum_through_time(tensor: str, spectra: Sequence[FloatArray | None], edge: FloatArray) -> SpectrumThroughTime:
    """Condense the spectra of one matrix.

    Args:
        tensor: the name of the matrix.
        spectra: for each checkpoint the singular values in falling order, None where they were not measured.
        edge: (checkpoints,) the edge of the noise.
    """
    count = max((len(values) for values in spectra if values is not None), default=0)
    has_all = count <= MOST_KEPT
    leading = np.full((len(spectra), count if has_all else LEADING), np.nan)
    quantiles = np.full((len(spectra), 0 if has_all else len(QUANTILES)), np.nan)
    bins = _bins(spectra)
    counts = np.zeros((len(spectra), BINS), dtype=np.int32)
    for place, values in enumerate(spectra):
        if values is None or not len(values):
            continue
        kept = values[: leading.shape[1]]
        leading[place, : len(kept)] = kept
        if not has_all:
            quantiles[place] = np.quantile(values, QUANTILES)
        if bins.size:
            inside = np.clip(np.searchsorted(bins, values, side="right") - 1, 0, BINS - 1)
            counts[place] = np.bincount(inside, minlength=BINS)
    return SpectrumThroughTime(tensor, count, leading, quantiles, edge, bins, counts)


def _bins(spectra: Sequence[FloatArray | None]) -> FloatArray:
    """Return edges that reach from the smallest positive value, or a thousandth of the largest, to the largest one."""
    positive = [values[values > 0] for values in spectra if values is not None]
    measured = [values for values in positive if values.size]
    if not measured:
        return np.zeros(0)
    largest = max(float(values.max()) for values in measured)
    smallest = max(min(float(values.min()) for values in measured), DEEPEST * largest)
    smallest = min(smallest, largest / 1.1)  # a single value needs bins, too
    return np.geomspace(smallest, largest, BINS + 1)
