"""Spectra through time: what is kept of them, and what the histogram counts."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.model.spectra import BINS, DEEPEST, LEADING, QUANTILES, spectrum_through_time


def falling(count: int, seed: int = 0) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).uniform(0.5, 2.0, count))[::-1]


def test_a_small_matrix_keeps_all_its_values():
    first, last = falling(100), falling(100, 1)
    edge = np.array([1.5, np.nan, 1.6])
    found = spectrum_through_time("fc", [first, None, last], edge)
    assert (found.tensor, found.count) == ("fc", 100)
    np.testing.assert_array_equal(found.leading[[0, 2]], [first, last])
    assert np.isnan(found.leading[1]).all()
    assert found.quantiles.shape == (3, 0)
    np.testing.assert_array_equal(found.edge, edge)


def test_a_large_matrix_keeps_the_leading_values_and_quantiles():
    values = falling(101)
    found = spectrum_through_time("fc", [values, None], np.full(2, np.nan))
    assert found.count == 101
    assert found.leading.shape == (2, LEADING)
    np.testing.assert_array_equal(found.leading[0], values[:LEADING])
    assert found.quantiles.shape == (2, len(QUANTILES))
    assert found.quantiles[0, [0, 4, 8]] == pytest.approx([values[100], values[50], values[0]])
    assert np.isnan(found.quantiles[1]).all()


def test_the_histogram_counts_every_value_between_its_edges():
    first, last = falling(300), 2 * falling(300, 1)
    found = spectrum_through_time("fc", [first, last, None], np.full(3, np.nan))
    assert found.bins[[0, -1]] == pytest.approx([min(first.min(), last.min()), last.max()])
    assert np.ptp(np.diff(np.log(found.bins))) < 1e-9  # evenly spaced on a log axis
    np.testing.assert_array_equal(found.counts.sum(axis=1), [300, 300, 0])
    below = (first < found.bins[30]).sum()
    assert found.counts[0, :30].sum() == below > 0


def test_values_below_the_histogram_and_zeros_are_in_its_first_bin():
    values = np.array([10.0, 5.0, 1e-9, 0.0])
    found = spectrum_through_time("fc", [values], np.array([np.nan]))
    assert found.bins[0] == pytest.approx(10 * DEEPEST)
    assert found.counts[0, 0] == 2
    assert found.counts[0].sum() == 4


def test_a_rank_that_changes_leaves_the_missing_values_unknown():
    found = spectrum_through_time("lora", [falling(8), falling(4)], np.full(2, np.nan))
    assert found.count == 8
    assert np.isfinite(found.leading).sum(axis=1).tolist() == [8, 4]


@pytest.mark.parametrize("spectra", [[None], [np.zeros(3)], [np.zeros(0)], []])
def test_without_a_positive_value_there_is_no_histogram(spectra):
    found = spectrum_through_time("fc", spectra, np.full(len(spectra), np.nan))
    assert found.bins.size == 0
    assert found.counts.shape == (len(spectra), BINS)
    assert not found.counts.any()


def test_a_single_value_has_a_histogram():
    found = spectrum_through_time("fc", [np.array([3.0])], np.array([np.nan]))
    assert (np.diff(found.bins) > 0).all()
    assert found.counts.sum() == 1
