"""The final values of every run."""

from __future__ import annotations

import pytest
from compared_runs import lone_runs, stored_run
from figure_parts import DRAW_COMPARED

from analyzer.comparing import compare_runs


@pytest.mark.parametrize(("far", "log"), [(5.0, False), (1e4, True)])
def test_one_distant_run_leaves_room_for_the_others(far, log):
    comparison = compare_runs([*lone_runs(2), stored_run("far", seed=9, distance=far)])
    ends = DRAW_COMPARED["final_values"](comparison)
    (distance,) = (axes for axes in ends.axes if any(text.get_text().startswith("Distance") for text in axes.texts))
    assert distance.get_xscale() == ("log" if log else "linear")
