"""Scaling by a power of two, where squares of float64 numbers would leave the range of float64."""

from __future__ import annotations

from math import ldexp

import numpy as np
import pytest

from analyzer.numerics.gram import power_of_two
from analyzer.numerics.singular_values import spectrum


def planted(values, shape=(120, 60), seed=0):
    """A matrix with these singular values."""
    generator = np.random.default_rng(seed)
    left, right = (np.linalg.qr(generator.standard_normal((size, len(values))))[0] for size in shape)
    return (left * values) @ right.T


@pytest.mark.parametrize(
    ("largest", "exponent"),
    [
        (1.0, 0),
        (ldexp(1, 399), 0),
        (ldexp(1, 400), 401),
        (-ldexp(1, 450), 451),
        (ldexp(1, -401), 0),
        (ldexp(1, -402), -401),
        (-ldexp(1, -450), -449),
    ],
)
def test_only_magnitudes_beyond_two_to_the_400_are_scaled(largest, exponent):
    matrix = np.zeros((3, 4))
    matrix[1, 2] = largest
    assert power_of_two(matrix) == exponent
    if abs(largest) < 3e38:
        assert power_of_two(matrix.astype(np.float32)) == 0


@pytest.mark.parametrize("exponent", [-1000, -520, -450, -399, 399, 450, 520, 1000])
def test_the_scale_of_float64_weights_does_not_change_their_spectrum(exponent):
    """Squares of 2^±520 are outside of float64; those of 2^±450 and of 2^±399 are inside, as are their sums."""
    values = np.append(np.linspace(1, 0.3, 59), 1e-6)
    matrix = planted(values)
    assert matrix.shape[0] * matrix.shape[1] ** 2 > 300_000  # large enough to use the Gram matrix
    found = spectrum(np.ldexp(matrix, exponent))
    np.testing.assert_allclose(np.ldexp(found.values, -exponent), values, rtol=1e-9)
