"""Ticks: inside the limits, few, and labels that say which number is meant."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.figures.drawing.ticks import linear_limits, linear_ticks, log_limits, log_ticks, make_room

POWERS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-")


def number(text):
    mantissa, _, power = text.partition("×10") if "×" in text else ("1", "", text[2:])
    if "×" in text or any(c in "⁻⁰¹²³⁴⁵⁶⁷⁸⁹" for c in text):
        return float(mantissa.translate(POWERS)) * 10.0 ** int(power.translate(POWERS))
    return float(text.translate(POWERS))


@given(st.floats(-1e12, 1e12), st.floats(1e-3, 1e3), st.integers(3, 9))
def test_linear_labels_mean_their_places(low, relative, most):
    limits = linear_limits(np.array([low, low + relative * max(1e-6, abs(low))]))
    positions, labels = linear_ticks(limits, most)
    assert 1 <= len(positions) <= most
    assert len(set(labels)) == len(labels)
    step = np.diff(positions).min() if len(positions) > 1 else abs(positions[0]) or 1
    for position, label in zip(positions, labels, strict=True):
        assert number(label) == pytest.approx(position, abs=0.02 * step)
        assert limits[0] - 1e-6 * step <= position <= limits[1] + 1e-6 * step


@given(st.floats(-200, 200), st.floats(0, 90), st.integers(3, 9))
def test_log_labels_mean_their_places(exponent, decades, most):
    limits = log_limits(np.array([10.0**exponent, 10.0 ** (exponent + decades)]))
    positions, labels = log_ticks(limits, most)
    assert 1 <= len(positions) <= most
    assert len(set(labels)) == len(labels)
    for position, label in zip(positions, labels, strict=True):
        assert number(label) == pytest.approx(position, rel=0.01)
        assert limits[0] * (1 - 1e-9) <= position <= limits[1] * (1 + 1e-9)


@pytest.mark.parametrize(
    ("limits", "labels"),
    [
        ((0, 1), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ((0, 5e6), ["0", "1×10⁶", "2×10⁶", "3×10⁶", "4×10⁶", "5×10⁶"]),
        ((-2, 3), ["−2", "−1", "0", "1", "2", "3"]),
        ((0.0034, 0.0047), ["0.00350", "0.00375", "0.00400", "0.00425", "0.00450"]),
        ((0, 2e-20), ["0", "0.5×10⁻²⁰", "1.0×10⁻²⁰", "1.5×10⁻²⁰", "2.0×10⁻²⁰"]),
    ],
)
def test_linear_labels(limits, labels):
    assert linear_ticks(limits, 6)[1] == labels


@pytest.mark.parametrize(
    ("limits", "labels"),
    [
        ((0.9, 1200), ["1", "10", "100", "1000"]),
        ((3, 60), ["5", "10", "20", "50"]),
        ((1.6, 10.0), ["2", "3", "5", "10"]),
        ((3, 13), ["3", "4", "5", "6", "8", "10"]),
        ((1e-8, 1e20), ["10⁻⁵", "10⁰", "10⁵", "10¹⁰", "10¹⁵", "10²⁰"]),
        ((2.5e6, 6e7), ["5×10⁶", "10⁷", "2×10⁷", "5×10⁷"]),
    ],
)
def test_log_labels(limits, labels):
    assert log_ticks(limits, 6)[1] == labels


def test_limits_without_any_number():
    assert linear_limits(np.array([np.nan, np.inf])) == (-0.02, 1.0)
    assert log_limits(np.array([np.nan, 0.0, -1.0])) == (1.0, 10.0)


def test_room_at_the_edges():
    assert make_room((0, 8), 0.1, 0.1, log=False) == pytest.approx((-1, 9))
    assert make_room((1, 1e8), 0.1, 0.1, log=True) == pytest.approx((0.1, 1e9))


@pytest.mark.parametrize("most", [4, 5])
def test_over_decades_two_powers_of_ten_are_ticks_enough(most):
    assert log_ticks((1.1, 700.0), most)[1][-2:] == (["10", "100"] if most == 4 else ["100", "300"])
