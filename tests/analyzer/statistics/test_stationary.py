"""Which metrics are put on a logarithm."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.statistics.stationary import POSITIVE_SCALES, logarithms


def test_logarithms_are_of_positive_numbers_only():
    found = logarithms(np.array([[np.e, 1.0], [0.0, -1.0], [np.nan, np.inf]]))
    assert found == pytest.approx(np.array([[1, 0], [np.nan, np.nan], [np.nan, np.inf]]), nan_ok=True)


def test_only_what_is_positive_by_nature_is_put_on_a_log():
    assert {"step_distance", "path_length", "rms", "condition_number", "stable_rank", "mp_edge"} <= POSITIVE_SCALES
    assert not {"update_cosine", "initial_cosine", "zero_fraction", "numerical_rank", "alpha"} & POSITIVE_SCALES
    assert len(POSITIVE_SCALES) == 23
