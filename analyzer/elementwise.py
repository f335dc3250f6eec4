"""Sums over elements in float64, by blocks that stay in the processor's cache, with buffers that are used again.

``numpy.linalg.norm`` of a float32 vector of 10⁸ elements was seen off by 1.4 %: each block is widened to float64
before anything is subtracted or squared.
"""

from __future__ import annotations

import threading
from math import isfinite, nan, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.metrics.needs import (
    ROUNDING_DISPLACEMENT,
    ChangedBits,
    DeadLines,
    ElementSummary,
    FinitenessCount,
    InnerProducts,
    SignFlips,
)

Array = npt.NDArray[Any]
Block = npt.NDArray[np.float64]

BLOCK = 1 << 14  # elements; the seven float64 blocks that are in use together take 0.9 MB
NEAR_ZERO = 1e-3  # of the tensor's rms


class _Buffers(threading.local):
    """Float64 blocks of one thread: allocating them anew for each tensor costs more than filling them."""

    def __init__(self) -> None:
        self.blocks = np.empty((8, BLOCK))
        self.flags = np.empty(BLOCK, dtype=bool)


_buffers = _Buffers()


def unit_roundoff(dtype: np.dtype[Any]) -> float:
    """u: half the distance from 1 to the next number of a stored floating-point type."""
    if dtype.kind == "f" and dtype.itemsize in (2, 4, 8) and dtype.type.__module__ == "numpy":
        return float(np.finfo(dtype).eps) / 2
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).eps) / 2  # type: ignore[no-untyped-call]


def inner_products(
    current: Array,
    previous: Array | None = None,
    before_previous: Array | None = None,
    initial: Array | None = None,
) -> InnerProducts:
    """All inner products of weights and displacements that the motion family needs, in one pass.

    Args:
        current: W_t, any shape, a floating-point dtype; the others have the same number of elements.
        previous: W_{t−1}.
        before_previous: W_{t−2}; used together with ``previous``.
        initial: W_0.

    Returns:
        sums that are exact to about 1e-15·√(blocks) relative; NaN or Inf in an input makes its sums non-finite, and
        sums for which an input is missing are NaN.

    """
    flat = _flat(current)
    flat_previous, flat_before, flat_initial = (
        None if other is None else _flat(other) for other in (previous, before_previous, initial)
    )
    blocks = _buffers.blocks
    sums = np.zeros(9)
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, flat.size, BLOCK):
            stop = min(start + BLOCK, flat.size)
            w = _widen(flat, start, stop, blocks[0])
            sums[0] += w @ w
            if flat_previous is not None:
                p = _widen(flat_previous, start, stop, blocks[1])
                step = np.subtract(w, p, out=blocks[2][: stop - start])
                sums[1] += p @ p
                sums[2] += step @ step
                sums[3] += step @ p
                if flat_before is not None:
                    q = _widen(flat_before, start, stop, blocks[3])
                    earlier = np.subtract(p, q, out=q)
                    sums[4] += earlier @ earlier
                    sums[5] += step @ earlier
            if flat_initial is not None:
                i = _widen(flat_initial, start, stop, blocks[4])
                sums[6] += i @ i
                sums[7] += w @ i
                drift = np.subtract(w, i, out=i)
                sums[8] += drift @ drift
    ww, pp, ss, sp, ee, se, ii, wi, dd = map(float, sums)
    has_previous, has_before, has_initial = (
        previous is not None,
        before_previous is not None,
        initial is not None,
    )
    return InnerProducts(
        count=flat.size,
        current=ww,
        previous=pp if has_previous else nan,
        initial=ii if has_initial else nan,
        step=ss if has_previous else nan,
        earlier_step=ee if has_before else nan,
        step_earlier_step=se if has_before else nan,
        step_previous=sp if has_previous else nan,
        drift=dd if has_initial else nan,
        current_initial=wi if has_initial else nan,
        rounding=(ROUNDING_DISPLACEMENT * unit_roundoff(current.dtype)) ** 2 * ww,
    )


def element_summary(current: Array, squares: float) -> ElementSummary:
    """Magnitudes and zeros of W_t; ``squares`` is ⟨W_t, W_t⟩, which fixes what counts as near zero."""
    flat = _flat(current)
    threshold = NEAR_ZERO * sqrt(squares / flat.size)
    absolute, largest, zeros, near_zeros = 0.0, 0.0, 0, 0
    for start in range(0, flat.size, BLOCK):
        stop = min(start + BLOCK, flat.size)
        w = _widen(flat, start, stop, _buffers.blocks[0])
        np.abs(w, out=w)
        absolute += float(w.sum())
        largest = max(largest, float(w.max()))
        flags = _buffers.flags[: stop - start]
        near_zeros += int(np.count_nonzero(np.less(w, threshold, out=flags)))
        zeros += stop - start - int(np.count_nonzero(w))
    return ElementSummary(flat.size, absolute, largest, zeros, near_zeros, squares)


def finiteness(current: Array, squares: float) -> FinitenessCount:
    """How many elements are NaN or infinite; looked for only where the sum of squares is not finite."""
    flat = _flat(current)
    if isfinite(squares):
        return FinitenessCount(flat.size, 0)
    nonfinite = sum(
        int(np.count_nonzero(~np.isfinite(flat[start : start + BLOCK]))) for start in range(0, flat.size, BLOCK)
    )
    return FinitenessCount(flat.size, nonfinite)


def changed_bits(current: Array, previous: Array) -> ChangedBits:
    """How many elements differ in their stored bits; both arrays have the same dtype and size."""
    unsigned = np.dtype(f"u{min(current.dtype.itemsize, 8)}")
    a, b = _flat(current).view(unsigned), _flat(previous).view(unsigned)
    if current.dtype.itemsize > 8:  # a complex element changes with either half
        a, b = a.reshape(current.size, -1), b.reshape(current.size, -1)
        return ChangedBits(current.size, int(np.count_nonzero((a != b).any(axis=1))))
    changed = sum(
        int(np.count_nonzero(np.not_equal(a[start : start + BLOCK], b[start : start + BLOCK])))
        for start in range(0, a.size, BLOCK)
    )
    return ChangedBits(current.size, changed)


def sign_flips(current: Array, previous: Array) -> SignFlips:
    """How many elements went from above zero to below or back."""
    a, b = _flat(current), _flat(previous)
    flipped = 0
    for start in range(0, a.size, BLOCK):
        stop = min(start + BLOCK, a.size)
        w = _widen(a, start, stop, _buffers.blocks[0])
        p = _widen(b, start, stop, _buffers.blocks[1])
        flipped += int(np.count_nonzero((w < 0) & (p > 0))) + int(np.count_nonzero((w > 0) & (p < 0)))
    return SignFlips(a.size, flipped)


def dead_lines(matrix: Array) -> DeadLines:
    """How many rows and columns of a matrix (rows, columns) are entirely zero."""
    live_columns = np.zeros(matrix.shape[1], dtype=bool)
    live_rows = 0
    rows = max(1, BLOCK * 4 // matrix.shape[1])
    for start in range(0, matrix.shape[0], rows):
        live = matrix[start : start + rows] != 0
        live_columns |= live.any(axis=0)
        live_rows += int(np.count_nonzero(live.any(axis=1)))
    return DeadLines(matrix.shape[0] - live_rows, matrix.shape[1] - int(np.count_nonzero(live_columns)))


def _flat(array: Array) -> Array:
    return array.reshape(-1)


def _widen(flat: Array, start: int, stop: int, block: Block) -> Block:
    target = block[: stop - start]
    np.copyto(target, flat[start:stop])
    return target
