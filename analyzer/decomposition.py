"""Singular values of dense matrices in float64."""

from __future__ import annotations

from math import frexp
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.elementwise import unit_roundoff
from analyzer.metrics.needs import Spectrum


def spectrum(matrix: npt.NDArray[Any]) -> Spectrum:
    """All singular values of a finite matrix (rows, columns) of any floating-point dtype, falling, in float64.

    The matrix is scaled by a power of two first, which is exact, so that weights of 1e20 or 1e-30 neither overflow
    nor vanish. LAPACK's gesdd; its error is a small multiple of eps·σ₁ (Golub & Van Loan, sec. 8.6).

    Raises:
        numpy.linalg.LinAlgError: the iteration did not converge.

    """
    wide = matrix.astype(np.float64)
    if wide.shape[0] < wide.shape[1]:
        wide = wide.T
    exponent = frexp(float(np.abs(wide).max()))[1]
    values = np.linalg.svd(np.ldexp(wide, -exponent), compute_uv=False)
    rows, columns = matrix.shape
    return Spectrum(np.ldexp(values, exponent), rows, columns, unit_roundoff(matrix.dtype))
