"""Curves without unreliable numbers, rates over uneven spacing, and robust summaries."""

from __future__ import annotations

import dataclasses
from math import sqrt

import numpy as np
import pytest
from planted import tables_with

from analyzer.findings.curves import (
    at_the_end,
    curves_of,
    deviation,
    longest_stretch,
    norm_jumps_at,
    per_unit,
    sane,
    smoothed,
    starts,
    stretches,
    without_returns,
)


def test_rates_are_per_unit_of_the_axis_however_the_checkpoints_are_spaced():
    tables = tables_with({"step_distance": [0, 3, 8, 2]}, axis=[0, 1, 5, 5])
    (series,) = curves_of(tables, "step_distance")
    np.testing.assert_array_equal(per_unit(tables, series), [np.nan, 3, 2, np.nan])


def test_a_rate_is_over_the_interval_to_the_checkpoint_that_it_names():
    tables = tables_with({"step_distance": [0, 3, 8, 12]}, axis=[0, 1, 5, 7])
    key = ("tensor", "w", "step_distance")
    curve = dataclasses.replace(tables.curves[key], references=(None, "c0", "c0", "c1"))
    tables = dataclasses.replace(tables, curves={key: curve})
    (series,) = curves_of(tables, "step_distance")
    assert starts(tables, series).tolist() == [0, 0, 0, 1]
    np.testing.assert_array_equal(per_unit(tables, series), [np.nan, 3, 1.6, 2])


def test_only_numbers_with_the_status_ok_are_reliable_and_missing_rows_leave_no_gap():
    tables = tables_with({"rms": [1, 2, 3, 4, 5]})
    key = ("tensor", "w", "rms")
    statuses = ("ok", "below_precision", None, "precision_limited", "ok")
    tables = dataclasses.replace(tables, curves={key: dataclasses.replace(tables.curves[key], statuses=statuses)})
    (series,) = curves_of(tables, "rms")
    assert series.places.tolist() == [0, 1, 3, 4] and series.stored.tolist() == [1, 2, 4, 5]
    np.testing.assert_array_equal(series.values, [1, np.nan, np.nan, 5])
    assert series.ends() == (0, 3)


@pytest.mark.parametrize(("values", "ends"), [([np.nan, 1, np.nan], None), ([np.nan, 1, 2], (1, 2))])
def test_ends_are_two_different_numbers(values, ends):
    (series,) = curves_of(tables_with({"rms": values}), "rms")
    assert series.ends() == ends


def test_values_whose_ratios_could_overflow_are_not_sane():
    values = np.array([0, 1e-100, 1.01e-100, -1, 0.99e100, 1e100, np.nan, np.inf])
    assert sane(values).tolist() == [True, False, True, True, True, False, False, False]
    (series,) = curves_of(tables_with({"rms": [1, 1e100, 2]}), "rms")
    np.testing.assert_array_equal(series.values, [1, np.nan, 2])
    assert series.stored.tolist() == [1, 1e100, 2]


def test_a_norm_that_jumps_more_than_tenfold_and_returns_is_left_out():
    values = np.array([1, 10, 1, 10.1, 1, 0.1, 1, 0.09, 1, 20.0])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(without_returns(values))), [3, 7])
    (series,) = curves_of(tables_with({"rms": values}), "rms")
    assert norm_jumps_at(series).tolist() == [3, 7]


def test_stretches():
    mask = np.array([True, False, True, True, False, True, True])
    assert stretches(mask) == [(0, 0), (2, 3), (5, 6)]
    assert longest_stretch(mask) == (2, 3)
    assert longest_stretch(np.array([False])) == (0, -1)


def test_robust_summaries():
    assert smoothed(np.array([9.0, 1, 2, 3, -5])).tolist() == [2, 2, 2, 2, 2]
    assert deviation(np.array([0.0, 2, 0, 2, 4])) == pytest.approx(2 * 1.4826 / sqrt(2))
    assert at_the_end(np.arange(40.0)) == 37.5  # a tenth are four
    assert at_the_end(np.array([*range(10), np.nan])) == 8  # three at least
    assert np.isnan(at_the_end(np.array([np.nan])))
