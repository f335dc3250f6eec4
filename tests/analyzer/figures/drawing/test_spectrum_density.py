"""Densities of singular values: they integrate to one, and random matrices follow the Marchenko–Pastur law."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from analyzer.figures.drawing.spectrum_density import density, marchenko_pastur_density, shown_sizes, sizes
from analyzer.model.spectra import spectrum_through_time


@pytest.mark.parametrize("shape", [(300, 300), (300, 100), (150, 600)])
def test_the_law_is_that_of_random_matrices(shape):
    values = np.linalg.svd(np.random.default_rng(0).standard_normal(shape), compute_uv=False)
    edge = sqrt(shape[0]) + sqrt(shape[1])
    logs = np.linspace(-8, 0, 4001)
    law = marchenko_pastur_density(np.exp(logs), shape)
    cumulated = np.cumsum(law) * (logs[1] - logs[0])
    assert cumulated[-1] == pytest.approx(1, abs=0.01)
    shares = [np.mean(np.log(values / edge) <= place) for place in logs]
    assert np.abs(shares - cumulated).max() < 0.03


def test_the_densities_of_noise_and_of_a_random_matrix_agree():
    shape = (200, 400)
    values = np.linalg.svd(np.random.default_rng(0).standard_normal(shape), compute_uv=False)
    spectrum = spectrum_through_time("w", [values], np.array([sqrt(200) + sqrt(400)]))
    found = density(spectrum, 0, shape)
    width = np.diff(np.log(sizes(spectrum)))[0]
    assert found.values.sum() * width == pytest.approx(1, abs=0.02)
    assert np.abs(found.values - found.noise).max() < 0.1 * found.values.max()
    assert len(found.outside) <= 1


def test_noise_is_unknown_without_an_edge():
    spectrum = spectrum_through_time("w", [np.linspace(2, 1, 20)], np.array([np.nan]))
    found = density(spectrum, 0, (20, 20))
    assert np.isnan(found.noise).all()
    assert not found.outside.size


def test_the_smallest_percent_of_all_values_is_not_shown():
    values = np.append(np.linspace(2, 1, 500), 0.01)
    spectrum = spectrum_through_time("w", [values], np.array([np.nan]))
    assert 0.5 < shown_sizes(spectrum)[0] < 1
