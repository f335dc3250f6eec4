"""Numbers of sketches as float16 times a power of two."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.store.sketches import decode, encode


@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1e-7, 1.0, 3e4, 1e300])
def test_numbers_of_any_size_keep_eleven_bits(scale: float) -> None:
    numbers = scale * np.random.default_rng(0).standard_normal(5000)
    encoded = encode(numbers)
    assert encoded is not None and len(encoded[1]) == 2 * 5000
    error = np.abs(decode(*encoded) - numbers)
    assert (error <= 2.0**-11 * np.abs(numbers) + 2.0**-39 * np.abs(numbers).max() + 5e-324).all()
    if scale > 1e-300:
        assert np.linalg.norm(error / scale) < 0.45 * 2.0**-11 * np.linalg.norm(numbers / scale)


def test_zeros_and_nothing_are_themselves() -> None:
    for numbers in (np.zeros(3), np.zeros(0)):
        encoded = encode(numbers)
        assert encoded is not None
        np.testing.assert_array_equal(decode(*encoded), numbers)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_not_encoded(bad: float) -> None:
    assert encode(np.array([1.0, bad])) is None
