"""Values that panels show instead of those of a metric, derived from it and others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray
    from analyzer.model.tables import Tables


def relative_growth(tables: Tables, tensor: str, norm_change: FloatArray) -> FloatArray:
    """Return the growth of a tensor's norm in each step, relative to the norm before."""
    norm = tables.curves.get(("tensor", tensor, "frobenius_norm"))
    if norm is None:
        return np.full(norm_change.shape, np.nan)
    before = norm.values - norm_change
    growth: FloatArray = np.divide(norm_change, before, where=before > 0, out=np.full(before.shape, np.nan))
    return growth


def share_outside(tables: Tables, tensor: str, count: FloatArray) -> FloatArray:
    """Return the share of ‖W‖² in the ``count`` singular values above the noise, NaN where they are not all kept."""
    spectrum, norm = tables.spectra.get(tensor), tables.curves.get(("tensor", tensor, "frobenius_norm"))
    share = np.full(count.shape, np.nan)
    if spectrum is None or norm is None:
        return share
    for place in np.flatnonzero(np.isfinite(count) & (count <= spectrum.leading.shape[1]) & (norm.values > 0)):
        share[place] = np.square(spectrum.leading[place, : int(count[place])] / norm.values[place]).sum()
    return share
