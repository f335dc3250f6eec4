"""An adapter's update against the product that numpy forms of the same factors, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.tensors.low_rank import Factors, multiply, product_spectrum


@pytest.mark.parametrize("scale", [2.0, -0.5])
@pytest.mark.parametrize(("rows", "rank", "columns"), [(12, 3, 9), (5, 7, 6), (4, 1, 30)])
def test_elements_and_singular_values_are_those_of_the_product(rows, rank, columns, scale):
    generator = np.random.default_rng(rows)
    factors = Factors(generator.standard_normal((rows, rank)), generator.standard_normal((rank, columns)), scale, 2**-8)
    expected = scale * (factors.left @ factors.right)
    product = multiply(factors, (rows, columns), np.empty(8 * rows * columns, np.uint8))
    np.testing.assert_allclose(product, expected, rtol=1e-14)
    assert not product.flags.writeable
    spectrum = product_spectrum(factors, product)
    count = min(rank, rows, columns)
    np.testing.assert_allclose(spectrum.values, np.linalg.svd(expected, compute_uv=False)[:count], rtol=1e-12)
    assert (spectrum.rows, spectrum.columns) == (rows, columns)
    largest = sum(np.linalg.norm(expected, axis=axis).max() for axis in (0, 1))
    assert spectrum.noise == pytest.approx(0.424661 * 2**-8 * largest, rel=1e-6)


def test_a_product_keeps_the_shape_of_a_convolution():
    left, right = np.arange(6.0).reshape(3, 2), np.arange(16.0).reshape(2, 8)
    product = multiply(Factors(left, right, 1.0, 2**-24), (3, 2, 2, 2), np.empty(8 * 24, np.uint8))
    np.testing.assert_array_equal(product, (left @ right).reshape(3, 2, 2, 2))
