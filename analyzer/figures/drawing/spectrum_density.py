"""The density of a matrix's singular values on a log axis, and that of noise, the Marchenko–Pastur law."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt
from typing import TYPE_CHECKING

import numpy as np

from analyzer.model.spectra import BINS

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.spectra import SpectrumThroughTime

FEWEST = 8  # singular values that have a density
_NARROWEST = 0.8  # bins: the least standard deviation of the kernel
_BESIDE = 8  # bins at both sides of the histogram, into which the smoothing reaches
_ORDER = np.arange(-_BESIDE, BINS + _BESIDE)
_HIDDEN = 0.01  # of all values; the smallest ones of square matrices reach down many powers of ten


@dataclass(frozen=True, slots=True)
class Density:
    """Smoothed densities (n,) of ln σ at one checkpoint: of a matrix, and of noise with the same median.

    ``noise`` is NaN if it is unknown. ``outside`` are the singular values beyond the edge of the noise.
    """

    values: FloatArray
    noise: FloatArray
    outside: FloatArray


def measured_places(spectrum: SpectrumThroughTime) -> list[int]:
    """Return the checkpoints at which there is a spectrum with a positive value."""
    return [int(place) for place in np.flatnonzero(spectrum.counts.any(axis=1))]


def sizes(spectrum: SpectrumThroughTime) -> FloatArray:
    """Return the singular values (n,) at which densities are given, evenly spaced on a log axis."""
    return np.asarray(spectrum.bins[0] * np.exp((_ORDER + 0.5) * _bin_width(spectrum)))


def shown_sizes(spectrum: SpectrumThroughTime) -> tuple[float, float]:
    """Return limits between which nearly all singular values of all checkpoints lie."""
    below = np.cumsum(spectrum.counts.sum(axis=0))
    first = int(np.searchsorted(below, _HIDDEN * below[-1], side="right"))
    width = _bin_width(spectrum)
    return float(spectrum.bins[first] * np.exp(-4 * width)), float(spectrum.bins[-1] * np.exp(4 * width))


def density(spectrum: SpectrumThroughTime, place: int, shape: tuple[int, int] | None) -> Density:
    """Return the densities at one checkpoint.

    The kernel is a normal one, the same for both; its width follows Silverman's rule of thumb (Density Estimation,
    1986, eq. 3.31).

    Args:
        spectrum: the singular values.
        place: the checkpoint.
        shape: of the matrix, None if it is unknown.
    """
    counts = spectrum.counts[place].astype(np.float64)
    shares = counts / counts.sum()
    kernel = _kernel(shares, counts.sum())
    width = _bin_width(spectrum)
    noise = np.full(_ORDER.shape, np.nan)
    if shape is not None and np.isfinite(spectrum.edge[place]):
        finer = (np.arange(10) - 4.5) / 10  # the law ends steeply: its mean over a bin, not its value in the middle
        sigma = sizes(spectrum)[:, None] * np.exp(finer * width)
        noise = kernel @ marchenko_pastur_density(sigma / spectrum.edge[place], shape).mean(axis=1)
    leading = spectrum.leading[place]
    values = kernel[:, _BESIDE : _BESIDE + BINS] @ shares / width
    return Density(np.asarray(values), np.asarray(noise), leading[leading > spectrum.edge[place]])


def marchenko_pastur_density(sigma: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Return the Marchenko–Pastur density of ln σ at ``sigma``, given as shares of the upper edge.

    With λ = σ²/(s²m), β = n/m and λ± = (1 ± √β)² it is √((λ₊ − λ)(λ − λ₋)) / (πβ): the law's density of λ (Marchenko &
    Pastur 1967) times dλ/d ln σ = 2λ.
    """
    ratio = min(shape) / max(shape)
    largest, smallest = (1 + sqrt(ratio)) ** 2, (1 - sqrt(ratio)) ** 2
    eigenvalues = largest * np.minimum(sigma, 2.0) ** 2
    inside = (largest - eigenvalues) * (eigenvalues - smallest)
    return np.asarray(np.sqrt(np.maximum(inside, 0.0)) / (pi * ratio))


def _kernel(shares: FloatArray, count: float) -> FloatArray:
    order = np.arange(BINS)
    mean = shares @ order
    spread = sqrt(float(shares @ (order - mean) ** 2))
    low, high = np.interp([0.25, 0.75], np.cumsum(shares), order)
    spread = min(spread, (high - low) / 1.34) or spread
    width = max(0.9 * spread * count**-0.2, _NARROWEST)
    return np.asarray(np.exp(-0.5 * ((_ORDER[:, None] - _ORDER) / width) ** 2) / (width * sqrt(2 * pi)))


def _bin_width(spectrum: SpectrumThroughTime) -> float:
    return float(np.log(spectrum.bins[1] / spectrum.bins[0]))
